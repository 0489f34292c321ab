"""From findings to outcomes, and from outcomes to the verdict."""

from __future__ import annotations

import dataclasses
import inspect
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from histories import Story

from pytest_expedition.oracle.history import Exchange, History, JobHistory
from pytest_expedition.oracle.rules import Finding, Violation
from pytest_expedition.oracle.rules.status import WENT_BACK
from pytest_expedition.oracle.verdict import (
    Outcome,
    Result,
    Waiver,
    conclude,
    decide_outcomes,
    has_stale_waiver,
    waive,
)
from pytest_expedition.protocol.requirements import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition.protocol.requirements import Capability

LONG = Violation(WENT_BACK, *Story().create().poll(0.5).poll(0.4).exchanges)
SHORT = Violation(WENT_BACK, *Story().create().exchanges)


def outcome(name: str, finding: Finding, **facts: Any) -> Any:
    (result,) = decide_outcomes({name: finding}, **{"offers": set(), **facts})
    return result


@pytest.mark.parametrize("record", [SHORT.proof[0], Finding(), outcome("cancel.race", Finding())])
def test_what_was_found_cannot_be_changed(record: Any) -> None:
    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field.name, None)


@pytest.mark.parametrize(
    ("function", "by_place"),
    [
        (Exchange, 0),
        (Result, 0),
        (JobHistory, 1),
        (History, 1),
        (decide_outcomes, 1),
        (waive, 2),
        (conclude, 1),
    ],
)
def test_only_what_cannot_be_mistaken_is_told_by_its_place(
    function: Callable[..., object], by_place: int
) -> None:
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    assert kinds.index(inspect.Parameter.KEYWORD_ONLY) == by_place


def test_held_is_pass_and_says_how_often() -> None:
    result = outcome("status.bounds", Finding(kept=3))
    assert (result.outcome, result.kept) == ("pass", 3)


def test_one_violation_among_many_that_held_is_fail() -> None:
    result = outcome("status.monotonic", Finding(kept=99, violations=(LONG, SHORT)))
    assert result.outcome == "fail"
    assert result.violation is SHORT


def test_the_proof_of_the_smallest_plan_is_preferred() -> None:
    finding = Finding(violations=(SHORT,))
    result = outcome("status.monotonic", finding, minimal={"status.monotonic": LONG})
    assert result.violation is LONG


def test_a_violation_counts_even_if_the_rule_broke_down_later() -> None:
    assert outcome("status.bounds", Finding(violations=(SHORT,), crash="x")).outcome == "fail"


def test_a_rule_that_broke_down_is_error_however_much_held() -> None:
    assert outcome("status.bounds", Finding(kept=9, crash="oops")).outcome == "error"


def test_what_could_not_be_seen_is_inconclusive_however_much_held() -> None:
    result = outcome("status.completes", Finding(kept=9, inconclusive=1))
    assert (result.outcome, result.inconclusive) == ("inconclusive", 1)


def test_what_a_dialect_does_not_have_is_not_tested_however_the_run_ended() -> None:
    dialect = "msg"
    result = outcome("result.next-step", Finding(), dialect=dialect, limit="jobs")
    assert (result.outcome, result.lacking, result.dialect) == ("not-tested", "field", dialect)
    assert outcome("result.next-step", Finding(kept=1), dialect=dialect).outcome == "pass"
    assert (
        outcome("result.next-step", Finding(violations=(LONG,)), dialect=dialect).outcome == "fail"
    )


@pytest.mark.parametrize("dialect", ["system", "mixed", None])
def test_what_a_dialect_does_carry_is_not_exercised_if_a_limit_ended_the_run(
    dialect: str | None,
) -> None:
    facts = {"dialect": dialect, "limit": "jobs"}
    assert outcome("result.next-step", Finding(), **facts).outcome == "inconclusive"


def test_a_run_that_broke_is_an_error_whatever_passed() -> None:
    assert conclude([("MUST", "pass")], broke=True) == "error"
    assert conclude([("MUST", "fail")], broke=True) == "non-conformant"


def test_not_exercised_is_inconclusive_and_names_the_limit() -> None:
    result = outcome("cancel.race", Finding(), limit="requests")
    assert (result.outcome, result.limit) == ("inconclusive", "requests")
    assert (result.kept, result.inconclusive) == (0, 0)


def test_what_a_run_that_broke_did_not_judge_is_error() -> None:
    assert outcome("cancel.race", Finding(), broke=True).outcome == "error"
    assert outcome("cancel.race", Finding(kept=1), broke=True).outcome == "pass"


@pytest.mark.parametrize(
    ("name", "offers", "expected"),
    [
        ("cancel.minus-one", {"cancellable"}, "inconclusive"),
        ("cancel.minus-one", {"granted", "refusable"}, "not-tested"),
        ("cancel.persists", {"granted"}, "inconclusive"),
        ("cancel.persists", set(), "not-tested"),
        ("refuse.state", {"refusable"}, "inconclusive"),
        ("refuse.state", {"cancellable"}, "not-tested"),
        ("status.identity", {"cancellable"}, "not-tested"),
        ("status.monotonic", set(), "inconclusive"),
        ("agent.gates", {"agent-start"}, "not-tested"),
        ("agent.gates", {"agent-control"}, "inconclusive"),
    ],
)
def test_what_the_target_lacks_is_not_tested(
    name: str, offers: set[Capability], expected: str
) -> None:
    assert outcome(name, Finding(), offers=offers).outcome == expected


def test_a_missing_field_is_inconclusive_where_a_limit_may_have_hidden_it() -> None:
    assert outcome("status.identity", Finding(), limit="jobs").outcome == "inconclusive"


@pytest.mark.parametrize(
    ("must", "should", "verdict"),
    [
        ("pass", "pass", "conformant"),
        ("pass", "fail", "conformant"),
        ("pass", "inconclusive", "conformant"),
        ("not-tested", "pass", "conformant"),
        ("fail", "pass", "non-conformant"),
        ("fail", "error", "non-conformant"),
        ("error", "pass", "error"),
        ("pass", "error", "error"),
        ("inconclusive", "error", "error"),
        ("inconclusive", "pass", "inconclusive"),
        ("not-tested", "not-tested", "inconclusive"),
        ("waived", "pass", "conformant-with-waivers"),
        ("pass", "waived", "conformant-with-waivers"),
        ("waived", "not-tested", "conformant-with-waivers"),
        ("waived", "inconclusive", "conformant-with-waivers"),
        ("inconclusive", "waived", "inconclusive"),
        ("fail", "waived", "non-conformant"),
        ("waived", "error", "error"),
    ],
)
def test_verdict(must: Outcome, should: Outcome, verdict: str) -> None:
    assert conclude([("MUST", must), ("SHOULD", should)]) == verdict


def test_nothing_judged_is_not_conformant() -> None:
    assert conclude([]) == "inconclusive"


def test_the_catalogue_gives_every_result_its_requirement() -> None:
    results = decide_outcomes({name: Finding(kept=1) for name in CATALOGUE}, offers=set())
    assert [result.requirement.id for result in results] == list(CATALOGUE)


LAST_DAY = date(2027, 3, 1)
WAIVER = Waiver(id="status.monotonic", reason="known to the vendor", until=LAST_DAY)


@pytest.mark.parametrize(
    ("finding", "today", "outcome", "state"),
    [
        (Finding(violations=(SHORT,)), date(2026, 1, 1), "waived", "used"),
        (Finding(violations=(SHORT,)), LAST_DAY, "waived", "used"),
        (Finding(violations=(SHORT,)), date(2027, 3, 2), "fail", "expired"),
        (Finding(kept=1), date(2026, 1, 1), "pass", "not-needed"),
        (Finding(kept=1), date(2027, 3, 2), "pass", "not-needed"),
        (Finding(inconclusive=1), date(2026, 1, 1), "inconclusive", "undecided"),
        (Finding(), date(2026, 1, 1), "inconclusive", "undecided"),
        (Finding(), date(2027, 3, 2), "inconclusive", "expired"),
        (Finding(crash="oops"), date(2026, 1, 1), "error", "undecided"),
    ],
)
def test_a_waiver_excuses_a_failure_until_its_last_day_is_over(
    finding: Finding, today: date, outcome: Outcome, state: str
) -> None:
    results = decide_outcomes({"status.monotonic": finding}, offers=set())
    (result,) = waive(results, [WAIVER], today=today)
    assert (result.outcome, result.waiver_state, result.waiver) == (outcome, state, WAIVER)
    assert result.violation is results[0].violation


@pytest.mark.parametrize(
    ("finding", "today", "outcome", "state"),
    [
        (Finding(violations=(SHORT,)), LAST_DAY, "waived", "used"),
        (Finding(violations=(SHORT,)), date(2027, 3, 2), "fail", "expired"),
        (Finding(kept=1), LAST_DAY, "pass", "unused"),
        (Finding(kept=1), date(2027, 3, 2), "pass", "expired"),
        (Finding(), LAST_DAY, "inconclusive", "undecided"),
    ],
)
def test_a_failure_that_comes_and_goes_may_be_waived(
    finding: Finding, today: date, outcome: Outcome, state: str
) -> None:
    waiver = dataclasses.replace(WAIVER, sometimes=True)
    results = decide_outcomes({"status.monotonic": finding}, offers=set())
    (result,) = waive(results, [waiver], today=today)
    assert (result.outcome, result.waiver_state) == (outcome, state)
    assert has_stale_waiver(result) == (state == "expired")


@pytest.mark.parametrize("sometimes", [False, True])
@pytest.mark.parametrize(
    ("finding", "today", "state"),
    [
        (Finding(violations=(SHORT,)), LAST_DAY, "used"),
        (Finding(violations=(SHORT,)), date(2027, 3, 2), "expired"),
        (Finding(kept=1), LAST_DAY, "unused"),
        (Finding(kept=1), date(2027, 3, 2), "unused"),
        (Finding(), date(2027, 3, 2), "undecided"),
    ],
)
def test_what_is_no_whole_run_does_not_show_that_a_waiver_is_not_needed(
    finding: Finding, today: date, state: str, *, sometimes: bool
) -> None:
    waiver = dataclasses.replace(WAIVER, sometimes=sometimes)
    results = decide_outcomes({"status.monotonic": finding}, offers=set())
    (result,) = waive(results, [waiver], today=today, complete=False)
    assert result.waiver_state == state
    assert has_stale_waiver(result) == (state == "expired")


def test_a_waiver_excuses_nothing_else() -> None:
    results = decide_outcomes({"status.bounds": Finding(violations=(SHORT,))}, offers=set())
    assert waive(results, [WAIVER], today=LAST_DAY) == results
