"""The contract suite against every broken and every odd server.

A broken server fails at least one of the requirements that it is declared to break, and no MUST
besides; an odd one fails none. In the first dialect each is tried with all plans; in the others a
broken server until it is found out, and an odd one with the covering plan. This is the longest part
of the tests, so run it with `-n auto --dist worksteal`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from steady import run_against

from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.dialects import DIALECTS
from pytest_expedition.fake.odd import ODD
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.report.words import FAULTS, reason

if TYPE_CHECKING:
    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.oracle.verdict import Result
    from pytest_expedition.suite.share import Conformance

SEED = 1619
"""The plans of this test are always the same; `tests/steady.py` tries many seeds."""

MUST = {name for name, requirement in CATALOGUE.items() if requirement.level == "MUST"}


def failed(conformance: Conformance) -> dict[str, Result]:
    return {
        result.requirement.id: result for result in conformance.results if result.outcome == "fail"
    }


def told(conformance: Conformance) -> str:
    lines = [
        f"{result.requirement.id}: {reason(result)}" for result in failed(conformance).values()
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_server_is_found_out(name: str) -> None:
    broken = BROKEN[name]
    conformance = run_against(name, SEED)
    found = set(failed(conformance))
    assert found & set(broken.breaks), f"{broken.lie} Not found out."
    assert found & MUST <= set(broken.breaks), told(conformance)
    assert not conformance.reason
    assert [result for result in conformance.results if result.crash] == []


@pytest.mark.parametrize("name", ODD)
def test_an_odd_server_is_left_in_peace(name: str) -> None:
    odd = ODD[name]
    conformance = run_against(name, SEED)
    assert set(failed(conformance)) <= set(odd.bends), told(conformance)
    assert conformance.verdict in {"conformant", "inconclusive"}
    assert not conformance.reason


OTHER_DIALECTS = [name for name in DIALECTS if name != "system"]


@pytest.mark.parametrize("dialect", OTHER_DIALECTS)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_server_is_found_out_in_other_dialects(name: str, dialect: DialectName) -> None:
    broken = BROKEN[name]
    if dialect not in broken.dialects:
        conformance = run_against(name, SEED, dialect=dialect, profile="smoke")
        assert failed(conformance) == {}, f"Yet it is said to tell no lie in {dialect}."
        return
    conformance = run_against(name, SEED, dialect=dialect, until_caught=True)
    found = set(failed(conformance))
    assert found & set(broken.breaks_in(dialect)), f"{broken.lie} Not found out."
    assert found & MUST <= set(broken.breaks_in(dialect)), told(conformance)
    assert not conformance.reason
    assert [result for result in conformance.results if result.crash] == []


@pytest.mark.parametrize("dialect", OTHER_DIALECTS)
@pytest.mark.parametrize("name", ODD)
def test_an_odd_server_is_left_in_peace_in_other_dialects(name: str, dialect: DialectName) -> None:
    conformance = run_against(name, SEED, dialect=dialect, profile="smoke")
    assert set(failed(conformance)) <= set(ODD[name].bends), told(conformance)
    assert conformance.verdict in {"conformant", "inconclusive"}
    assert not conformance.reason


def test_every_requirement_has_two_servers_that_are_about_it() -> None:
    about = [server.breaks[0] for server in BROKEN.values()]
    assert {name: about.count(name) for name in CATALOGUE if about.count(name) < 2} == {}


def test_there_are_enough_and_half_of_them_are_not_plain() -> None:
    plain = [server for server in BROKEN.values() if server.shows == "always"]
    assert len(BROKEN) >= 70
    assert len(plain) <= len(BROKEN) / 2
    assert len(ODD) >= 20


@pytest.mark.parametrize("server", BROKEN.values(), ids=lambda server: server.name)
def test_a_lie_is_one_sentence_and_names_requirements(server: object) -> None:
    from pytest_expedition.fake.broken import BrokenServer

    assert isinstance(server, BrokenServer)
    assert server.lie.endswith(".")
    assert "\n" not in server.lie
    assert set(server.breaks) <= set(CATALOGUE)
    assert len(set(server.breaks)) == len(server.breaks)


def test_odd_servers_bend_no_must() -> None:
    for server in ODD.values():
        assert not set(server.bends) & MUST, server.name


def test_every_fault_that_a_rule_may_find_has_its_sentence() -> None:
    import ast
    from pathlib import Path

    import pytest_expedition.oracle.rules
    from pytest_expedition.clients.report import CLIENT_FAULTS

    used: dict[str, set[str]] = {"servers": set(), "clients": set()}
    for path in Path(pytest_expedition.oracle.rules.__file__).parent.glob("*.py"):
        of = used["clients" if path.name == "client.py" else "servers"]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Violation":
                named = [
                    str(x.value) for x in ast.walk(node.args[0]) if isinstance(x, ast.Constant)
                ]
                assert named
                of.update(named)
    assert used == {"servers": set(FAULTS), "clients": set(CLIENT_FAULTS)}
