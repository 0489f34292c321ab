"""Rules about requests that should be refused: without a key, or with a malformed id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.rules.base import (
    KEPT,
    Fault,
    Judgement,
    Violation,
    rule,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.oracle.history import Exchange, History


LET_IN: Final = Fault(
    "let-in", "A request with {key} was answered with HTTP {status} as if it had one."
)
DONE_ALL_THE_SAME: Final = Fault(
    "done-all-the-same", "A cancel with {key} was refused, yet job {job} shows -1 after it."
)


@rule("auth.required")
def required(history: History) -> Iterator[Judgement]:
    """A request without a key, or with a wrong key, gets no data and changes nothing."""
    for probe in history.probes:
        if probe.probe not in {"no-key", "wrong-key"}:
            continue
        if not (probe.answered or probe.refused_in_json):
            continue
        let_in = probe.ok and probe.answer.problem is None and probe.answer.success is not False
        done = _cancelled_by(probe, history)
        if let_in or probe.answer.tells_of_a_job:
            yield Violation(LET_IN, probe, key=probe.probe, status=probe.status)
        elif done is not None:
            yield Violation(DONE_ALL_THE_SAME, probe, done, key=probe.probe, job=probe.job_id)
        else:
            yield KEPT


def _cancelled_by(probe: Exchange, history: History) -> Exchange | None:
    """Return the answer that shows that a cancel without a key was carried out, if one does."""
    job = history.jobs.get(probe.job_id) if probe.job_id is not None else None
    if probe.kind != "cancel" or job is None or job.others_may_act or job.cancelled is None:
        return None
    # Cancels with a key, or let in without one: one of these may have cancelled the job instead.
    taken = [x for x in job.attempts if not x.probe or (x is not probe and x.ok)]
    other = any(not job.cancelled.before(x) for x in taken)
    earlier = job.cancelled.received <= probe.sent
    return None if other or earlier else job.cancelled


BAD_ID_ACCEPTED: Final = Fault("bad-id-accepted", "The answer tells of a job (HTTP {status}).")
BAD_ID_STATUS: Final = Fault(
    "bad-id-status", "The answer is HTTP {status}, which is not a client error (4xx)."
)
BAD_ID_NO_JSON: Final = Fault(
    "bad-id-no-json", "The answer (HTTP {status}) is not JSON: {problem}."
)


@rule("input.bad-id")
def bad_id(history: History) -> Iterator[Judgement]:
    """A malformed id (text, `1619abc`, 0, negative, huge, empty, encoded slashes, quotes) gets
    a client error in JSON, never a server error, never another job.
    """
    for probe in history.probes:
        if probe.probe != "bad-id":
            continue
        if not probe.answered:
            if probe.refused_in_json:
                yield KEPT
            continue
        status = probe.status
        assert status is not None
        if probe.answer.tells_of_a_job:
            yield Violation(BAD_ID_ACCEPTED, probe, status=status)
        elif not 400 <= status < 500:
            yield Violation(BAD_ID_STATUS, probe, status=status)
        elif probe.answer.problem is not None:
            yield Violation(BAD_ID_NO_JSON, probe, status=status, problem=probe.answer.problem)
        else:
            yield KEPT
