"""From findings to outcomes, and from outcomes to the verdict."""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from histories import Story

from pytest_expedition.oracle.history import Exchange, History, JobHistory
from pytest_expedition.oracle.job_lists import JobList, read_job_list
from pytest_expedition.oracle.record import RunRecord
from pytest_expedition.oracle.rules import Finding, Violation, judge
from pytest_expedition.oracle.rules.base import rule_across_jobs
from pytest_expedition.oracle.rules.status import WENT_BACK
from pytest_expedition.oracle.verdict import (
    Outcome,
    Result,
    Waiver,
    WaiverState,
    conclude,
    decide_outcomes,
    exit_status,
    has_stale_waiver,
    is_failure,
    waive,
)
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.report.messages import reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition.protocol.requirements import Capability

LONG = Violation(WENT_BACK, *Story().create().poll(0.5).poll(0.4).exchanges)
SHORT = Violation(WENT_BACK, *Story().create().exchanges)
LAST_DAY = date(2027, 3, 1)
WAIVER = Waiver(id="status.monotonic", reason="known to the vendor", until=LAST_DAY)
RECORD = RunRecord(
    url="http://localhost",
    dialect=None,
    results=(),
    started=datetime(2026, 3, 1, tzinfo=timezone.utc),
    seconds=1.0,
    requests=1,
    jobs=1,
    unanswered=Counter(),
)


def outcome(name: str, finding: Finding, **facts: Any) -> Any:
    (result,) = decide_outcomes({name: finding}, **{"offers": set(), **facts})
    return result


@pytest.mark.parametrize(
    "record",
    [
        SHORT.proof[0],
        SHORT.fault,
        Finding(),
        outcome("cancel.race", Finding()),
        WAIVER,
        RECORD,
        read_job_list("", {}),
    ],
)
def test_what_was_found_cannot_be_changed(record: Any) -> None:
    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field.name, None)


@pytest.mark.parametrize(
    ("function", "by_place"),
    [
        (Exchange, 0),
        (JobList, 0),
        (Result, 0),
        (RunRecord, 0),
        (Waiver, 0),
        (JobHistory, 1),
        (History, 1),
        (decide_outcomes, 1),
        (waive, 2),
        (conclude, 1),
        (exit_status, 1),
        (is_failure, 1),
        (rule_across_jobs, 1),
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
    assert reason(result) == "9 checks passed, but lost or unusable answers hide the rest"
    never = outcome("status.completes", Finding(inconclusive=1))
    assert reason(never) == "exercised, but lost or unusable answers hide the result"


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


def test_a_pause_that_was_too_long_is_told_where_it_left_the_result_open() -> None:
    assert outcome("status.bounds", Finding(), limit="seconds", pause=90.0).pause == 90.0
    assert outcome("status.bounds", Finding(), limit="seconds").pause == 0.0
    assert outcome("status.bounds", Finding(kept=1), limit="seconds", pause=90.0).pause == 0.0


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
        (Finding(crash="oops"), date(2027, 3, 2), "undecided"),
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


def broken(at: float) -> Finding:
    """A finding of a requirement that was broken about one job."""
    return Finding(violations=(SHORT,), first_broken={1: at})


def test_a_failure_whose_cause_is_waived_gets_its_whole_story() -> None:
    findings = {
        "status.monotonic": broken(5.0),
        "status.completes": Finding(kept=1),
        "refuse.state": broken(7.0),
        "refuse.continues": Finding(kept=1),
    }
    results = decide_outcomes(findings, offers=set())
    assert [each.follows_from for each in results] == ["", "", "status.monotonic", ""]
    waived = waive(results, [WAIVER], today=LAST_DAY)
    assert [each.outcome for each in waived] == ["waived", "pass", "fail", "pass"]
    assert [each.follows_from for each in waived] == ["", "", "", ""]
    assert [each.waived_cause for each in waived] == ["", "", "status.monotonic", ""]


class TestNeeds:
    """What can be exercised only where another requirement is kept: -1 must show to persist."""

    WAIVER = dataclasses.replace(WAIVER, id="cancel.minus-one")
    IGNORED = Story().create(cancellable=True).cancel(0.5).poll(0.6, at=9).poll(1)
    AT_TIMES = Story().create(cancellable=True).cancel(0.5).poll(0.6, at=9).poll(1)
    AT_TIMES.create(7, cancellable=True).cancel(-1, job=7)

    def judged(self, story: Story, **facts: Any) -> list[Result]:
        findings = judge(story.history(), ["cancel.minus-one", "cancel.persists"])
        return decide_outcomes(findings, offers={"cancellable", "granted"}, **facts)

    def verdict(self, results: list[Result]) -> Any:
        return conclude((each.requirement.level, each.outcome) for each in results)

    def test_it_is_not_tested_while_the_other_is_never_kept_and_waived(self) -> None:
        results = self.judged(self.IGNORED)
        assert [each.outcome for each in results] == ["fail", "inconclusive"]
        waived = waive(results, [self.WAIVER], today=LAST_DAY)
        assert [each.outcome for each in waived] == ["waived", "not-tested"]
        assert [each.waived_cause for each in waived] == ["", "cancel.minus-one"]
        assert self.verdict(waived) == "conformant-with-waivers"
        assert reason(waived[1]) == (
            "cannot be tested: it needs cancel.minus-one, which is broken and waived"
        )

    def test_it_is_inconclusive_otherwise(self) -> None:
        later = date(2027, 3, 2)
        for each, today in (
            (self.judged(self.AT_TIMES), LAST_DAY),  # another run may exercise it
            (self.judged(self.IGNORED, limit="requests"), LAST_DAY),
            (self.judged(self.IGNORED), later),
        ):
            waived = waive(each, [self.WAIVER], today=today)
            assert waived[1] == each[1]
            assert waived[1].outcome == "inconclusive"

    @pytest.mark.parametrize("finding", [Finding(inconclusive=1), broken(5.0), Finding(kept=1)])
    def test_what_was_exercised_keeps_its_outcome(self, finding: Finding) -> None:
        findings = {"cancel.minus-one": broken(1.0), "cancel.persists": finding}
        results = decide_outcomes(findings, offers={"cancellable", "granted"})
        waived = waive(results, [self.WAIVER], today=LAST_DAY)
        assert waived[1] == results[1]


def test_a_failure_whose_cause_is_not_waived_follows_from_it() -> None:
    findings = {"status.monotonic": broken(5.0), "refuse.state": broken(7.0)}
    results = decide_outcomes(findings, offers=set())
    expired = waive(results, [WAIVER], today=date(2027, 3, 2))
    assert [each.follows_from for each in expired] == ["", "status.monotonic"]
    of_another = dataclasses.replace(WAIVER, id="status.bounds")
    assert waive(results, [of_another], today=LAST_DAY) == results
    of_both = [WAIVER, dataclasses.replace(WAIVER, id="refuse.state")]
    waived = waive(results, of_both, today=LAST_DAY)
    assert [each.outcome for each in waived] == ["waived", "waived"]
    assert [each.follows_from for each in waived] == ["", "status.monotonic"]


@pytest.mark.parametrize(
    ("name", "outcome", "state", "fails", "fails_strictly"),
    [
        ("status.monotonic", "fail", None, True, True),
        ("status.monotonic", "fail", "expired", True, True),
        ("status.monotonic", "error", None, True, True),
        ("status.monotonic", "pass", None, False, False),
        ("status.monotonic", "pass", "not-needed", True, True),
        ("status.monotonic", "pass", "unused", False, False),
        ("status.monotonic", "waived", "used", False, False),
        ("status.monotonic", "inconclusive", None, False, False),
        ("status.monotonic", "inconclusive", "expired", True, True),
        ("status.monotonic", "not-tested", None, False, False),
        ("status.wire-number", "fail", None, False, True),
        ("status.wire-number", "fail", "expired", True, True),
        ("status.wire-number", "error", None, True, True),
        ("status.wire-number", "pass", None, False, False),
    ],
)
def test_a_broken_must_an_error_or_a_stale_waiver_fails_a_run(
    *,
    name: str,
    outcome: Outcome,
    state: WaiverState | None,
    fails: bool,
    fails_strictly: bool,
) -> None:
    result = Result(requirement=CATALOGUE[name], outcome=outcome, waiver_state=state)
    assert is_failure(result, strict=False) == fails
    assert is_failure(result, strict=True) == fails_strictly


@pytest.mark.parametrize(
    ("outcomes", "strict", "broke", "status"),
    [
        (["pass", "pass"], False, False, 0),
        (["pass", "fail"], False, False, 0),
        (["pass", "fail"], True, False, 1),
        (["fail", "pass"], False, False, 1),
        (["fail", "error"], False, False, 1),
        (["fail", "pass"], False, True, 1),
        (["pass", "error"], False, False, 3),
        (["pass", "pass"], False, True, 3),
        (["waived", "not-tested"], False, False, 0),
        (["inconclusive", "fail"], False, False, 0),
        (["inconclusive", "inconclusive"], False, False, 5),
        (["not-tested", "not-tested"], True, False, 5),
    ],
)
def test_the_exit_status_is_pytests(
    *, outcomes: list[Outcome], strict: bool, broke: bool, status: int
) -> None:
    results = [
        Result(requirement=CATALOGUE[name], outcome=outcome)
        for name, outcome in zip(("status.monotonic", "status.wire-number"), outcomes, strict=True)
    ]
    assert exit_status(results, strict=strict, broke=broke) == status
    assert broke or exit_status(results, strict=strict) == status


def test_a_record_names_the_first_error() -> None:
    outcomes: list[Outcome] = ["pass", "fail", "error", "inconclusive", "error"]
    requirement = CATALOGUE["status.monotonic"]
    results = [Result(requirement=requirement, outcome=outcome) for outcome in outcomes]
    record = dataclasses.replace(RECORD, results=results)
    assert record.first_error is results[2]
    assert dataclasses.replace(record, results=results[:2]).first_error is None


def test_a_record_has_the_verdict_on_its_results() -> None:
    passed = [Result(requirement=CATALOGUE["status.monotonic"], outcome="pass")]
    record = dataclasses.replace(RECORD, results=passed)
    assert record.verdict == "conformant"
    assert dataclasses.replace(record, reason="The target is gone.").verdict == "error"


def test_a_record_is_of_a_verified_target_that_left_nothing_unless_it_says_otherwise() -> None:
    assert RECORD.verify is True
    assert not RECORD.embedded
    assert RECORD.unconfirmed_creations == 0
    assert "sesame" not in repr(dataclasses.replace(RECORD, secrets=("sesame",)))


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (
            {"id": "status.monotonous"},
            (
                r"id = 'status\.monotonous': must be the id of a requirement; "
                r"did you mean status\.monotonic\?$"
            ),
        ),
        ({"id": "xyz"}, "id = 'xyz': must be the id of a requirement$"),
        ({"reason": " "}, "reason = ' ': must be a text, not empty$"),
        ({"until": datetime(2027, 3, 1, tzinfo=timezone.utc)}, "until = .*: must be a date$"),
    ],
)
def test_a_waiver_says_what_is_wrong_with_it(facts: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^Waiver: {says}"):
        dataclasses.replace(WAIVER, **facts)
