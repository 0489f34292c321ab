"""The contract suite against every broken and every odd server.

A broken server fails the requirement that it is about, the first that it is declared to break; the
run ends once it has. Until then it fails no MUST that is not declared. An odd server fails none
with the profile `smoke`. Run this with `-n auto --dist worksteal`.

The long tests try other dialects, and odd servers with all fixed plans and two random ones. Of
these the gate, `.ci/run`, tries all but those in other dialects than `data`; `nox -s long` all.

This is about plans and rules, so the suite hands its requests to the server in the process, from
the same threads as ever (`in_process.py`). Over HTTP it tries only servers whose quirk is about
HTTP itself. `nox -s matrix` carries out all plans against all servers, over HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from in_process import needs_http
from steady import run_against

from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.dialects import DIALECTS
from pytest_expedition.fake.odd import ODD
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.report.messages import reason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_expedition.fake.broken import BrokenServer
    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.odd import OddServer
    from pytest_expedition.oracle.record import RunRecord
    from pytest_expedition.oracle.verdict import Result

SEED = 1619
"""The plans of this test are always the same; `tests/steady.py` tries many seeds."""

MUST = {name for name, requirement in CATALOGUE.items() if requirement.level == "MUST"}


def failed(conformance: RunRecord) -> dict[str, Result]:
    return {
        result.requirement.id: result for result in conformance.results if result.outcome == "fail"
    }


def told(conformance: RunRecord) -> str:
    lines = [
        f"{result.requirement.id}: {reason(result)}" for result in failed(conformance).values()
    ]
    return "\n".join(lines)


def require_found_out(name: str, dialect: DialectName, *, shares: int = 1) -> None:
    broken = BROKEN[name]
    declared = broken.breaks_in(dialect)
    about = declared[:1]
    conformance = run_against(
        name, SEED, dialect=dialect, until_broken=about, shares=shares, http=False
    )
    found = set(failed(conformance))
    assert declared[0] in found, f"{broken.defect} Not found out. {told(conformance)}"
    assert found & MUST <= set(declared), told(conformance)
    assert not conformance.reason
    assert [result for result in conformance.results if result.crash] == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_server_is_found_out(name: str) -> None:
    # Some defects show only in the history of the whole run: ten random plans are enough.
    require_found_out(name, BROKEN[name].dialects[0], shares=5)


def require_no_failure(name: str, dialect: DialectName, **options: Any) -> None:
    conformance = run_against(name, SEED, dialect=dialect, http=False, **options)
    assert set(failed(conformance)) <= set(ODD[name].may_fail), told(conformance)
    assert conformance.verdict in {"conformant", "inconclusive"}
    assert not conformance.reason


@pytest.mark.parametrize("name", ODD)
def test_an_odd_server_fails_no_must(name: str) -> None:
    require_no_failure(name, ODD[name].dialects[0], profile="smoke")


@pytest.mark.long
@pytest.mark.parametrize("name", ODD)
def test_an_odd_server_fails_no_must_in_all_fixed_plans(name: str) -> None:
    require_no_failure(name, ODD[name].dialects[0], shares=25)


FIRST_IN_DATA = {
    broken.breaks_in("data")[0]: name
    for name, broken in reversed(BROKEN.items())
    if "data" in broken.dialects
}
"""The first server that is about each requirement in the dialect `data`."""

OWN_IN_DATA = [
    name for name, broken in BROKEN.items() if broken.in_data or "data" not in broken.dialects
]
"""The servers that break something else in the dialect `data`, or nothing."""


def others(
    of: Mapping[str, BrokenServer | OddServer], *, in_data: Collection[str]
) -> dict[str, list[tuple[str, DialectName]]]:
    """Return what is tried in the dialect `data`, and what in all other dialects but the first.

    `msg` and `mixed` carry the fields of `system` at other places.
    """
    pairs: list[tuple[str, DialectName]] = [
        (name, dialect)
        for name, server in of.items()
        for dialect in DIALECTS
        if dialect != server.dialects[0]
    ]
    usual = [pair for pair in pairs if pair[1] == "data" and pair[0] in in_data]
    return {"data": usual, "others": [pair for pair in pairs if pair not in usual]}


OTHER_BROKEN = others(BROKEN, in_data=[*FIRST_IN_DATA.values(), *OWN_IN_DATA])
OTHER_ODD = others(ODD, in_data=ODD)


def require_as_declared(name: str, dialect: DialectName) -> None:
    if dialect in BROKEN[name].dialects:
        require_found_out(name, dialect)
    else:
        conformance = run_against(name, SEED, dialect=dialect, profile="smoke", http=False)
        assert failed(conformance) == {}, f"Its defect is declared not to show in {dialect}."


@pytest.mark.long
@pytest.mark.parametrize(("name", "dialect"), OTHER_BROKEN["data"])
def test_a_broken_server_is_found_out_in_data(name: str, dialect: DialectName) -> None:
    require_as_declared(name, dialect)


@pytest.mark.long
@pytest.mark.parametrize(("name", "dialect"), OTHER_BROKEN["others"])
def test_a_broken_server_is_found_out_in_other_dialects(name: str, dialect: DialectName) -> None:
    require_as_declared(name, dialect)


@pytest.mark.long
@pytest.mark.parametrize(("name", "dialect"), OTHER_ODD["data"])
def test_an_odd_server_fails_no_must_in_data(name: str, dialect: DialectName) -> None:
    require_no_failure(name, dialect, profile="smoke")


@pytest.mark.long
@pytest.mark.parametrize(("name", "dialect"), OTHER_ODD["others"])
def test_an_odd_server_fails_no_must_in_other_dialects(name: str, dialect: DialectName) -> None:
    require_no_failure(name, dialect, profile="smoke")


def test_servers_whose_quirk_is_about_http_are_tried_over_http() -> None:
    instances = {name: (BROKEN.get(name) or ODD[name]).make() for name in (*BROKEN, *ODD)}
    assert {name for name, instance in instances.items() if needs_http(instance)} == {
        "answers-in-chunks",
        "answers-in-gzip",
        "closes-each-time",
        "speaks-http10",
    }


def test_every_requirement_has_two_servers_that_are_about_it() -> None:
    about = [server.breaks[0] for server in BROKEN.values()]
    assert {name: about.count(name) for name in CATALOGUE if about.count(name) < 2} == {}


def test_there_are_enough_and_half_of_them_are_not_plain() -> None:
    plain = [server for server in BROKEN.values() if server.shows == "always"]
    assert len(BROKEN) >= 70
    assert len(plain) <= len(BROKEN) / 2
    assert len(ODD) >= 20


@pytest.mark.parametrize("server", BROKEN.values(), ids=lambda server: server.name)
def test_a_defect_is_one_sentence_and_names_requirements(server: object) -> None:
    from pytest_expedition.fake.broken import BrokenServer

    assert isinstance(server, BrokenServer)
    assert server.defect.endswith(".")
    assert "\n" not in server.defect
    assert set(server.breaks) <= set(CATALOGUE)
    assert len(set(server.breaks)) == len(server.breaks)


def test_odd_servers_fail_no_must() -> None:
    for server in ODD.values():
        assert not set(server.may_fail) & MUST, server.name
