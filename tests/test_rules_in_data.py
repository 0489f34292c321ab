"""The rules in the dialect `data`, where the vendor's API reference makes the promises."""

from __future__ import annotations

from typing import Any

import pytest
from histories import JOB, Story, error, in_data, verdict_on

from pytest_expedition.oracle.rules import judge
from pytest_expedition.oracle.verdict import decide_outcomes
from pytest_expedition.protocol.requirements import CATALOGUE

NO_JOB: dict[str, Any] = {"success": True, "metadata": [], "messages": []}
"""The answer to a DELETE by the reference."""


def refused(text: str = "It cannot be cancelled", *, success: bool = True) -> dict[str, Any]:
    return {"success": success, "messages": [{"message": text, "code": 0}]}


class InData(Story):
    """A story in the dialect `data`."""

    def shows(self, state: Any, **fields: Any) -> InData:
        """A status request, answered with a job."""
        timing = {name: fields.pop(name) for name in ("at", "until") if name in fields}
        self.answer_poll(in_data(id=JOB, state=state, **fields), **timing)
        return self

    def cancelled_by(self, document: Any = None, **options: Any) -> InData:
        """A cancel, answered as the reference has it unless with another document."""
        self.answer_cancel(NO_JOB if document is None else document, **options)
        return self


def started(*, cancellable: bool | None = None) -> InData:
    """A job that was seen half-way."""
    story = InData()
    path = "/api/v1/project/1/import/device"
    story.add("create", "POST", path, in_data(job_id=JOB), cancellable=cancellable)
    return story.shows(0.5)


def may_be_cancelled() -> InData:
    return started(cancellable=True)


def may_not_be_cancelled() -> InData:
    return started(cancellable=False)


CASES: list[tuple[str, Story, str | list[str]]] = [
    # Whether a cancel took effect is told by the statuses after it.
    ("cancel.envelope", may_be_cancelled().cancelled_by(), "kept"),
    ("cancel.envelope", started().cancelled_by({"success": True, "data": None}), "kept"),
    ("cancel.envelope", started().cancelled_by({"success": True, "data": []}), "kept"),
    ("cancel.envelope", started().cancelled_by(in_data(id=JOB, state=-1)), "kept"),
    ("cancel.envelope", started().cancelled_by(refused(), status=409), "kept"),
    ("cancel.envelope", started().cancelled_by(refused(success=False), status=400), "kept"),
    ("cancel.envelope", started().cancelled_by(b"<html>"), ["not-the-envelope"]),
    ("cancel.envelope", started().cancelled_by({"success": "yes"}), ["not-the-envelope"]),
    ("cancel.envelope", started().cancelled_by(in_data(state="-1")), ["not-the-envelope"]),
    ("cancel.envelope", started().cancelled_by(error(), status=409), "kept"),
    ("cancel.envelope", started().cancelled_by(NO_JOB, status=500), ["not-a-success"]),
    (
        "cancel.envelope",  # each answer is judged
        started().cancelled_by(NO_JOB, status=500).cancelled_by(b"<html>"),
        ["not-a-success", "not-the-envelope"],
    ),
    ("cancel.minus-one", may_be_cancelled().cancelled_by().shows(-1), "kept"),
    (
        "cancel.minus-one",
        may_be_cancelled().cancelled_by().shows(0.6, at=30.0),
        ["cancel-ignored"],
    ),
    ("cancel.immediate", may_be_cancelled().cancelled_by().shows(-1), "not exercised"),
    (
        "cancel.immediate",
        may_be_cancelled().cancelled_by(in_data(state=0.5)).shows(-1),
        ["cancelled-later"],
    ),
    ("cancel.immediate", may_be_cancelled().cancelled_by(in_data(state=-1)), "kept"),
    # A refusal: its message stands in `messages`, and the job goes on.
    ("refuse.state", may_not_be_cancelled().cancelled_by(refused()).shows(0.6), "kept"),
    ("refuse.state", may_not_be_cancelled().cancelled_by(refused()), "not exercised"),
    (
        "refuse.state",
        may_not_be_cancelled().cancelled_by(refused()).shows(0.6).shows(-1),
        ["refused-but-cancelled"],
    ),
    (
        "refuse.state",
        may_not_be_cancelled().cancelled_by(in_data(state=0.4)).shows(0.6),
        ["refused-stale"],
    ),
    (
        "refuse.state",  # the first refusal shows no state, the second one does
        may_not_be_cancelled()
        .cancelled_by(refused())
        .shows(0.6)
        .cancelled_by(in_data(state=0.4))
        .shows(0.7),
        ["refused-stale"],
    ),
    ("refuse.message", may_not_be_cancelled().cancelled_by(refused()).shows(0.6), "kept"),
    (
        "refuse.message",
        may_not_be_cancelled().cancelled_by(NO_JOB).shows(0.6),
        ["refused-silently"],
    ),
    (
        "refuse.message",
        may_not_be_cancelled().cancelled_by(refused(""), status=409).shows(0.6),
        ["refused-silently"],
    ),
    (
        "refuse.message",  # the job is cancelled, so nothing was refused: refuse.state fails
        may_not_be_cancelled().cancelled_by(NO_JOB).shows(-1),
        "not exercised",
    ),
    (
        "refuse.message",  # the refusal is judged, though the job is cancelled later
        may_not_be_cancelled().cancelled_by(NO_JOB).shows(0.6).shows(-1),
        ["refused-silently"],
    ),
    (
        "refuse.message",  # which request it was is no message
        may_not_be_cancelled()
        .cancelled_by({**NO_JOB, "metadata": {"request_info": {"request_method": "DELETE"}}})
        .shows(0.6),
        ["refused-silently"],
    ),
    # The word and the state.
    ("status.message-agrees", started().shows(1, status_message="completed"), "kept"),
    ("status.message-agrees", started().shows(-1, status_message="cancelled"), "kept"),
    ("status.message-agrees", started().shows(0.9, status_message="failed"), "kept"),
    ("status.message-agrees", started().shows(1, status_message="failed"), "kept"),
    ("status.message-agrees", started(), "not exercised"),
    ("status.message-agrees", started().shows(1, status_message="done"), "not exercised"),
    ("status.message-agrees", started().shows(1, status_message=["failed"]), "not exercised"),
    (
        "status.message-agrees",  # each answer is judged
        started().shows(0.6, status_message="running").shows(1, status_message="running"),
        ["word-disagrees"],
    ),
    *(
        ("status.message-agrees", started().shows(state, status_message=word), expected)
        for word in ("pending", "started", "running")
        for state, expected in ((0, "kept"), (0.9, "kept"), (1, ["word-disagrees"]))
    ),
    *(
        (
            "status.message-agrees",
            started().shows(state, status_message=word),
            ["word-disagrees"],
        )
        for state, word in (
            (0.99, "completed"),
            (-1, "completed"),
            (0.5, "cancelled"),
            (1, "cancelled"),
            (-1, "running"),
            (-1, "failed"),
        )
    ),
    # A job that has failed has ended, wherever its state is.
    ("status.completes", started().shows(0.6, status_message="failed", at=30.0), "kept"),
    (
        "status.completes",
        started().shows(0.6, status_message="failed").shows(0.6, at=90.0),
        "kept",
    ),
    (
        "status.completes",
        started().shows(0.6, status_message="running", at=90.0),
        ["never-completed"],
    ),
    (
        "status.terminal",
        started().shows(0.6, status_message="failed").shows(0.6, status_message="failed"),
        "kept",
    ),
    (
        "status.terminal",
        started().shows(0.6, status_message="failed").shows(0.7, status_message="failed"),
        ["failed-no-more"],
    ),
    (
        "status.terminal",
        started().shows(0.6, status_message="failed").shows(0.6, status_message="running"),
        ["failed-no-more"],
    ),
    (
        "status.terminal",
        started().shows(0.6, status_message="failed").cancelled_by().shows(-1),
        "not exercised",
    ),
    (
        "status.terminal",  # a cancel that arrives as -1 is answered may have been carried out
        started().shows(0.6, status_message="failed").shows(-1, at=5, until=6).cancelled_by(at=6),
        "not exercised",
    ),
    (
        "status.terminal",
        started().shows(0.6, status_message="failed").shows(-1),
        ["failed-no-more"],
    ),
    (
        "status.terminal",
        started().shows(0.6, status_message="failed").cancelled_by().shows(0.7),
        ["failed-no-more"],
    ),
    (
        "status.terminal",
        started().shows(0.6, status_message="failed").cancelled_by().shows(-1).shows(0.7),
        ["failed-no-more"],
    ),
    (
        "status.terminal",
        started().shows(0.6, status_message="failed").shows(0.3, status_message="failed"),
        ["failed-no-more"],
    ),
    (
        "status.terminal",  # what shows no state is the subject of status.bounds
        started().shows(0.6, status_message="failed").shows("x", status_message="failed"),
        "not exercised",
    ),
    (
        "status.terminal",  # an answer about another job is the subject of status.identity
        started().shows(0.6, status_message="failed").answer_poll(in_data(id=7, state=0.1)),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        may_be_cancelled()
        .shows(0.6, status_message="failed")
        .cancelled_by()
        .shows(0.6, status_message="failed", at=30.0),
        "not exercised",
    ),
    (
        "cancel.minus-one",  # it failed before the cancel reached it, or because of it
        may_be_cancelled().cancelled_by().shows(0.6, status_message="failed", at=30.0),
        "not exercised",
    ),
    (
        "refuse.continues",
        may_not_be_cancelled()
        .cancelled_by(refused())
        .shows(0.6)
        .shows(0.6, status_message="failed"),
        "kept",
    ),
    (
        "refuse.continues",  # what a failed job shows is the subject of status.terminal
        may_not_be_cancelled()
        .cancelled_by(refused())
        .shows(0.6)
        .shows(0.6, status_message="failed")
        .shows(0.2, status_message="failed"),
        "kept",
    ),
    (
        "refuse.message",
        may_not_be_cancelled().shows(0.6, status_message="failed").cancelled_by(NO_JOB),
        "not exercised",
    ),
    # `id` and `job_id` both name the job.
    ("status.identity", started(), "kept"),
    ("status.identity", started().answer_poll(in_data(id=3, state=1)), ["another-job"]),
    ("status.identity", started().answer_poll(in_data(job_id=3, state=1)), ["another-job"]),
    ("result.next-step", started().shows(1, next_step=[{"resource": 255}]), "kept"),
    ("result.next-step", started().shows(1, next_step={"resource": 255}), ["no-list"]),
    ("result.next-step", started(), "not exercised"),
    # Types: a MUST for what the rules read, a SHOULD for the rest.
    ("status.envelope", started().shows(1, status_message="done"), ["not-the-envelope"]),
    ("status.envelope", started().shows(1, task=["x"]), ["not-the-envelope"]),
    ("status.envelope", started().shows(1, pid="12"), "kept"),
    ("envelope.field-types", started().shows(1, pid="12"), ["field-type"]),
    ("envelope.field-types", started().shows(1, pid=None, task_message=None), "kept"),
    ("envelope.field-types", started().cancelled_by({**NO_JOB, "metadata": 7}), ["field-type"]),
    ("envelope.field-types", Story().create().poll(0.5), "not exercised"),
    ("envelope.field-types", Story().create().answer_poll({}), "not exercised"),
    (
        "envelope.field-types",  # after an answer that contradicts itself
        started()
        .answer_poll(in_data(id=JOB, job_id=7, state=0.6))
        .answer_poll(in_data(id=JOB, state=1, pid="12")),
        ["field-type"],
    ),
]


@pytest.mark.parametrize(("requirement", "story", "verdict"), CASES)
def test_what_a_rule_says(requirement: str, story: Story, verdict: str | list[str]) -> None:
    assert verdict_on(story, requirement) == verdict


@pytest.mark.parametrize(
    "requirement",
    [
        each.id
        for each in CATALOGUE.values()
        if each.dialects == ("data",) and not each.id.startswith("list.")
    ],
)
def test_every_rule_of_this_dialect_alone_is_held_broken_and_without_a_chance(
    requirement: str,
) -> None:
    outcomes = [outcome for name, _, outcome in CASES if name == requirement]
    assert "kept" in outcomes
    assert "not exercised" in outcomes
    assert any(isinstance(outcome, list) for outcome in outcomes)


def test_a_message_that_granted_cancels_carry_too_does_not_refuse() -> None:
    story = may_not_be_cancelled().cancelled_by(refused("Done")).shows(0.6)
    other = JOB + 1
    story.add("create", "POST", "/", in_data(job_id=other), cancellable=True)
    story.answer_cancel(refused("Done"), job=other)
    story.answer_poll(in_data(id=other, state=-1), job=other)
    assert verdict_on(story, "refuse.message") == ["refused-silently"]


def test_the_first_dialects_still_show_the_state_in_the_answer_to_a_cancel() -> None:
    story = Story().create(cancellable=True).poll(0.5).answer_cancel(NO_JOB).poll(-1)
    assert verdict_on(story, "cancel.envelope") == ["not-the-envelope"]


@pytest.mark.parametrize("name", [each.id for each in CATALOGUE.values() if each.in_data])
def test_a_result_tells_the_promise_as_the_dialect_makes_it(name: str) -> None:
    findings = judge(started().history(), [name])
    (in_system,) = decide_outcomes(findings, offers=(), dialect="system")
    (in_data_,) = decide_outcomes(findings, offers=(), dialect="data")
    assert in_system.requirement == CATALOGUE[name]
    assert in_data_.requirement.basis == "reference"
    assert in_data_.requirement.source.text.startswith("API reference")
    assert in_data_.requirement.id == name
    assert in_data_.requirement.level == CATALOGUE[name].level


@pytest.mark.parametrize(
    ("cancellable", "states"), [(False, (-1,)), (False, (0.6, -1)), (True, (0.6, -1))]
)
def test_the_text_of_a_refusal_is_no_message_of_a_cancel(
    *, cancellable: bool, states: tuple[float, ...]
) -> None:
    story = may_not_be_cancelled().cancelled_by(refused()).shows(0.6)
    other = JOB + 1
    story.add("create", "POST", "/", in_data(job_id=other), cancellable=cancellable)
    story.answer_cancel(refused(), job=other)
    for state in states:
        story.answer_poll(in_data(id=other, state=state), job=other)
    assert verdict_on(story, "refuse.message") == "kept"


def test_the_next_step_is_named_as_the_dialect_spells_it() -> None:
    for story, field in (
        (started().shows(1, next_step=7), "next_step"),
        (Story().create().poll(1, fields={"nextStep": 7}), "nextStep"),
    ):
        (violation,) = judge(story.history())["result.next-step"].violations
        assert violation.facts["field"] == field
