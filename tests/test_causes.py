"""Which failure follows from which other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from histories import JOB, Story, error
from steady import run_against

from pytest_expedition.oracle.causes import MAY_FOLLOW_FROM, find_causes
from pytest_expedition.oracle.rules import Finding, Violation, judge, together
from pytest_expedition.oracle.rules.status import WENT_BACK
from pytest_expedition.protocol.requirements import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Hashable

A_VIOLATION = Violation(WENT_BACK)


def causes(**broken: dict[Hashable, float]) -> dict[str, str]:
    """Find causes, by when each job first broke each requirement; `_` in a name reads `.`."""
    findings = {
        name.replace("_", ".", 1).replace("_", "-"): Finding(
            violations=(A_VIOLATION,), first_broken=first
        )
        for name, first in broken.items()
    }
    return find_causes(findings)


def test_the_table_names_requirements_and_no_must_follows_from_a_should() -> None:
    for name, others in MAY_FOLLOW_FROM.items():
        assert len(set(others)) == len(others)
        for other in others:
            assert other != name
            assert "SHOULD" not in {CATALOGUE[other].level} - {CATALOGUE[name].level}


def test_a_failure_follows_from_one_that_showed_before_about_the_same_job() -> None:
    assert causes(status_monotonic={1: 5.0}, refuse_state={1: 7.0}) == {
        "refuse.state": "status.monotonic"
    }


@pytest.mark.parametrize(
    "broken",
    [
        {"status_monotonic": {1: 5.0}, "refuse_state": {2: 7.0}},
        {"status_monotonic": {1: 9.0}, "status_terminal": {1: 7.0}},
        {"status_monotonic": {1: 5.0, 2: 9.0}, "status_terminal": {1: 7.0, 2: 8.0}},
        {"status_monotonic": {1: 5.0}, "auth_required": {1: 7.0}},
        {"status_monotonic": {1: 5.0}, "status_message_agrees": {1: 7.0}},
    ],
    ids=[
        "another job",
        "broken later",
        "broken later for one of two jobs",
        "not related",
        "broken by another answer alone",
    ],
)
def test_a_failure_does_not_follow_from_any_other(broken: dict[str, dict[Hashable, float]]) -> None:
    assert causes(**broken) == {}


def test_a_cause_must_have_failed_too() -> None:
    findings = {
        "status.monotonic": Finding(kept=9),
        "refuse.state": Finding(violations=(A_VIOLATION,), first_broken={1: 7.0}),
    }
    assert find_causes(findings) == {}


def test_the_first_cause_of_a_chain_is_named() -> None:
    found = causes(status_identity={1: 1.0}, status_monotonic={1: 2.0}, cancel_isolation={1: 3.0})
    assert found == {"status.monotonic": "status.identity", "cancel.isolation": "status.identity"}


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("further", [{}, {9: 9.0}])
def test_of_two_broken_by_the_same_answers_the_more_special_one_is_the_cause(
    jobs: int, further: dict[Hashable, float]
) -> None:
    broken: dict[Hashable, float] = {job: 5.0 + job for job in range(jobs)}
    assert causes(status_monotonic=broken, cancel_isolation={**broken, **further}) == {
        "status.monotonic": "cancel.isolation"
    }


@pytest.mark.parametrize(("explained", "broken"), [(1, 2), (1, 3), (3, 4)])
def test_what_explains_only_some_of_the_jobs_is_not_the_cause(explained: int, broken: int) -> None:
    jobs: dict[Hashable, float] = {job: 5.0 + job for job in range(broken)}
    special: dict[Hashable, float] = {job: jobs[job] for job in range(explained)}
    assert causes(status_monotonic=jobs, cancel_isolation=special) == {
        "cancel.isolation": "status.monotonic"
    }


def test_jobs_that_a_cause_may_have_broken_do_not_speak_against_it() -> None:
    story = Story().create().create(JOB + 1).create(JOB + 2).poll(0.5).poll(0.5, job=JOB + 1)
    story.cancel(-1, job=JOB + 2).poll(0.4).create(JOB + 3).poll(0.4, job=JOB + 1)
    findings = judge(story.history())
    assert len(findings["cancel.isolation"].violations) == 1
    assert find_causes(findings) == {"status.monotonic": "cancel.isolation"}


def test_a_creation_is_not_told_as_a_cancel_of_another_job() -> None:
    story = Story().create().create(JOB + 1).poll(0.5).cancel(-1, job=JOB + 1).create(JOB + 2)
    findings = judge(story.poll(0.4).history())
    assert [name for name, found in findings.items() if found.violations] == ["status.monotonic"]


def test_of_two_that_break_jobs_of_their_own_the_general_one_is_the_cause() -> None:
    assert causes(status_monotonic={1: 5.0, 2: 6.0}, cancel_isolation={1: 5.0, 3: 6.0}) == {
        "cancel.isolation": "status.monotonic"
    }


def test_of_two_causes_the_first_in_the_table_is_named() -> None:
    found = causes(status_identity={1: 1.0}, cancel_envelope={1: 1.0}, cancel_immediate={1: 2.0})
    assert found == {"cancel.immediate": "status.identity"}


def test_what_explains_only_some_of_the_jobs_has_the_same_cause() -> None:
    found = causes(
        status_monotonic={1: 5.0, 2: 6.0, 3: 7.0},
        cancel_completed={3: 1.0},
        cancel_isolation={1: 5.0, 2: 6.0},
    )
    assert found == {
        "status.monotonic": "cancel.completed",
        "cancel.isolation": "cancel.completed",
    }


def test_of_three_that_may_follow_from_each_other_in_a_ring_one_is_the_cause() -> None:
    found = causes(
        status_monotonic={1: 2.0, 3: 1.0},
        cancel_isolation={1: 1.0, 2: 2.0},
        cancel_completed={2: 1.0, 3: 2.0},
    )
    assert found == {
        "status.monotonic": "cancel.completed",
        "cancel.isolation": "cancel.completed",
    }


def test_what_one_answer_breaks_by_itself_follows_from_what_the_same_answer_broke() -> None:
    assert causes(status_monotonic={1: 5.0}, status_message_agrees={1: 5.0}) == {
        "status.message-agrees": "status.monotonic"
    }


def test_jobs_of_different_instances_are_not_taken_for_the_same() -> None:
    back = judge(Story().create().poll(0.5).poll(0.4).history())
    forward = judge(Story().create().poll(0.5).poll(1).poll(0.4).history())
    assert find_causes(together([back, forward])) == {}


def test_a_job_that_the_first_poll_does_not_find_was_not_visible() -> None:
    story = Story().create()
    story.answer_poll(error(), status=404)
    findings = judge(story.poll(0.5).history())
    assert find_causes(findings) == {"status.envelope": "create.visible"}


def test_a_refused_cancel_is_no_cause_where_other_jobs_do_not_end_either() -> None:
    story = Story().create(7, cancellable=False).create(8).cancel(0.5, job=7)
    findings = judge(story.poll(0.5, job=8, at=70).poll(0.5, job=7, at=71).history())
    assert find_causes(findings) == {"refuse.continues": "status.completes"}


def test_a_state_that_goes_back_after_a_cancel_without_effect_follows_from_that() -> None:
    story = Story().create(cancellable=True).poll(0.85).cancel(0).poll(0).poll(0, at=9)
    assert find_causes(judge(story.history()))["status.monotonic"] == "cancel.minus-one"


def test_a_state_that_went_back_before_the_cancel_does_not_follow_from_it() -> None:
    story = Story().create(cancellable=True).poll(0.85).poll(0.5).cancel(0).poll(0).poll(0, at=9)
    assert find_causes(judge(story.history()))["cancel.minus-one"] == "status.monotonic"


@pytest.mark.parametrize(
    ("server", "cause"),
    [
        ("cancel-nudges-others", "cancel.isolation"),
        ("cancelled-shows-once", "cancel.persists"),
        ("refusal-is-rounded", "refuse.state"),
        ("second-cancel-in-plain-text", "cancel.envelope"),
        ("worker-writes-on", "cancel.persists"),
        ("no-content", "cancel.envelope"),
    ],
)
def test_a_broken_server_has_one_cause(server: str, cause: str) -> None:
    results = {
        each.requirement.id: each
        for each in run_against(server, 1619, profile="smoke", http=False).results
        if each.outcome == "fail"
    }
    assert len(results) > 1
    assert results[cause].follows_from == ""
    assert {each.follows_from for each in results.values()} == {"", cause}
    assert [name for name, each in results.items() if not each.follows_from] == [cause]


def test_of_all_requirements_that_a_lagging_replica_breaks_two_are_causes() -> None:
    """A late old answer contradicts itself, too: that is told by itself."""
    results = {
        each.requirement.id: each.follows_from
        for each in run_against("lagging-replica", 1619, profile="default", http=False).results
        if each.outcome == "fail"
    }
    assert len(results) >= 7
    assert [name for name, cause in results.items() if not cause] == [
        "status.monotonic",
        "status.message-agrees",
    ]
    assert set(results.values()) == {"", "status.monotonic"}
