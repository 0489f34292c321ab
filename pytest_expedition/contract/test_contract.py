"""One test a requirement: what the run has found out about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_expedition.contract.run import entry_key
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.report.document import (
    has_stale_waiver,
    is_failure,
    requirement_entry,
    run_entry,
)
from pytest_expedition.report.text import failure
from pytest_expedition.session.settings import replay_entry

if TYPE_CHECKING:
    from pytest_expedition.suite.share import Conformance


@pytest.mark.parametrize("requirement", CATALOGUE)
def test_requirement(
    requirement: str,
    expedition_conformance: Conformance,
    expedition_strict: bool,  # noqa: FBT001 - a fixture
    request: pytest.FixtureRequest,
) -> None:
    """The target keeps the promise."""
    conformance = expedition_conformance
    result = next(each for each in conformance.results if each.requirement.id == requirement)
    entry = requirement_entry(conformance, result)
    if "plan" in entry:
        entry |= replay_entry(request.config, requirement)
    request.node.stash[entry_key] = {"run": run_entry(conformance), "requirement": entry}
    match result.outcome:
        case "fail" if is_failure(entry, strict=expedition_strict):
            pytest.fail(failure(entry), pytrace=False)
        case "fail" | "waived":
            pytest.xfail(entry["reason"])
        case "error" if conformance.reason and result is not conformance.first_error:
            pytest.skip("not judged, as said above")
        case "error":
            pytest.fail(result.crash or entry["reason"], pytrace=False)
        case _ if has_stale_waiver(entry):
            pytest.fail(f"{requirement}: {entry['reason']}", pytrace=False)
        case "inconclusive" | "not-tested":
            pytest.skip(f"{result.outcome}: {entry['reason']}")
