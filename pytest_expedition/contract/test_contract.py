"""One test for each requirement: what the run found out about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_expedition.contract.run import entries_told, find_entry
from pytest_expedition.oracle.verdict import has_stale_waiver, is_failure
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.report.text import failure, why

if TYPE_CHECKING:
    from pytest_expedition.oracle.record import RunRecord


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Refuse to be collected without the plugin, which has the fixtures."""
    if not hasattr(metafunc.config.option, "expedition_profile"):
        raise pytest.Collector.CollectError(
            "the plugin of pytest-expedition is not loaded, so nothing can be judged: remove "
            "`-p no:expedition`, or add `-p expedition` if plugins are not autoloaded"
        )


@pytest.mark.parametrize("requirement", CATALOGUE)
def test_requirement(
    requirement: str,
    expedition_conformance: RunRecord,
    expedition_strict: bool,  # noqa: FBT001 - a fixture
    request: pytest.FixtureRequest,
) -> None:
    """The target keeps the promise."""
    record = expedition_conformance
    result = next(each for each in record.results if each.requirement.id == requirement)
    entry = find_entry(request.node, record, requirement)
    told = entries_told(request.session)
    match result.outcome:
        case "fail" if is_failure(result, strict=expedition_strict):
            pytest.fail(failure(entry, told), pytrace=False)
        case "fail" | "waived" if request.config.getoption("runxfail"):
            pytest.fail(failure(entry, told), pytrace=False)
        case "fail" | "waived":
            pytest.xfail(why(entry))
        case "error" if record.reason and result is not record.first_error:
            pytest.skip("not judged: the run ended early, see the first failure")
        case "error":
            pytest.fail(result.crash or entry["reason"], pytrace=False)
        case _ if has_stale_waiver(result):
            pytest.fail(f"{requirement}: {entry['reason']}", pytrace=False)
        case "inconclusive" | "not-tested":
            pytest.skip(f"{result.outcome}: {entry['reason']}")
