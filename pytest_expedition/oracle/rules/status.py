"""Rules about the status of a job."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import CANCELLED, FINISHED
from pytest_expedition.oracle.rules.base import (
    FEWEST_HIDDEN,
    INCONCLUSIVE,
    KEPT,
    MOST_OTHERS,
    NOT_A_SUCCESS,
    NOT_THE_ENVELOPE,
    UNSEEN,
    Fault,
    Judgement,
    NotExercised,
    Suspicion,
    Violation,
    after_furthest,
    another_dialect,
    envelope_problem,
    hide_the_result,
    job_rule,
    rule,
)
from pytest_expedition.protocol.envelope import FAILED as JOB_FAILED
from pytest_expedition.protocol.envelope import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_expedition.oracle.history import Exchange, History, JobHistory

SILENT = 5
"""Requests about a job in a row without an answer, after which a client may give up."""

COMPLETED = 1
FAILED = -1


def _goes_on(state: float | None) -> bool:
    return state is not None and 0 <= state < FINISHED


WORDS: Final[dict[str, Callable[[float | None], bool]]] = {
    "pending": _goes_on,
    "started": _goes_on,
    "running": _goes_on,
    "completed": lambda state: state == FINISHED,
    "cancelled": lambda state: state == CANCELLED,
    "failed": lambda state: state != CANCELLED,
}
"""With which states each ``status_message`` of the dialect ``data`` agrees."""


@job_rule("status.envelope")
def envelope(job: JobHistory) -> Iterator[Judgement]:
    """The status answer is a success, is JSON, and validates.

    In the dialect `data`: The status answer is a success, is JSON, and carries the job's state at
    `data`; `id`, `status_message`, `next_step`, `task` and `messages` have the declared types.
    """
    for poll in job.statuses:
        if poll.gone and job.may_be_gone(poll):
            continue  # whether ended jobs are still there is the subject of other requirements
        problem = envelope_problem(poll, "status")
        if not poll.ok:
            yield Violation(NOT_A_SUCCESS, poll, job=job.id, status=poll.status)
        elif problem is not None:
            yield Violation(NOT_THE_ENVELOPE, poll, job=job.id, envelope="status", problem=problem)
        else:
            yield another_dialect(job.creation, poll) or KEPT
    if hide_the_result(job.polls) or hide_the_result(job.polls[-FEWEST_HIDDEN:]):
        yield INCONCLUSIVE


ANOTHER_JOB: Final = Fault(
    "another-job", "The request was about job {job}, the answer is about job {told}."
)


@job_rule("status.identity")
def identity(job: JobHistory) -> Iterator[Judgement]:
    """The answer is about the job asked for."""
    for exchange in (*job.statuses, *job.cancels):
        if exchange.answer.job_id is MISSING or not exchange.ok:
            continue
        if job.is_about_it(exchange):
            yield KEPT
        else:
            yield Violation(ANOTHER_JOB, exchange, job=job.id, told=exchange.answer.job_id)


OUT_OF_BOUNDS: Final = Fault("out-of-bounds", "The state of job {job} is {value}.")


@job_rule("status.bounds")
def bounds(job: JobHistory) -> Iterator[Judgement]:
    """The state is a number (no text, no boolean, no null, no NaN) from 0 to 1, or -1."""
    for exchange in (*job.statuses, *job.cancels):
        value = exchange.answer.state
        if value is MISSING:
            continue
        if exchange.answer.progress is None:
            yield Violation(OUT_OF_BOUNDS, exchange, job=job.id, value=value)
        else:
            yield KEPT


WENT_BACK: Final = Fault("went-back", "The state of job {job} was {high}, then {low}.")


@job_rule("status.monotonic")
def monotonic(job: JobHistory) -> Iterator[Judgement]:
    """While a job is not cancelled, its state never decreases."""
    for earlier, later in after_furthest(job.seen):
        if later.rank < earlier.rank < FINISHED:
            yield Violation(
                WENT_BACK, earlier, later, job=job.id, high=earlier.state, low=later.state
            )
        else:
            yield KEPT


UNFINISHED_AGAIN: Final = Fault("unfinished-again", "The state of job {job} was 1, then {value}.")


@job_rule("status.terminal")
def terminal(job: JobHistory) -> Iterator[Judgement]:
    """A state of 1 stays 1.

    In the dialect `data`: A state of 1 stays 1; a job that has failed stays failed, and its state
    stays where it was.
    """
    yield from _stays_failed(job)
    for later in job.seen:
        if not job.finished_before(later):
            continue
        assert job.finished is not None
        if later.state == CANCELLED and job.first_cancel_sent <= later.received:
            continue  # what a cancel does to a finished job is the subject of `cancel.completed`
        if later.state == FINISHED:
            yield KEPT
        else:
            yield Violation(
                UNFINISHED_AGAIN, job.finished, later, job=job.id, value=later.answer.state
            )


FAILED_NO_MORE: Final = Fault(
    "failed-no-more",
    "Job {job} had failed at a state of {first}; later it shows {value}, and {word} as its "
    "status message.",
)


def _stays_failed(job: JobHistory) -> Iterator[Judgement]:
    failed = job.failed
    if failed is None or failed.state in {None, CANCELLED}:
        return
    for later in job.statuses:
        if not failed.before(later) or later.state is None or not job.is_about_it(later):
            continue
        if later.state == CANCELLED and job.first_cancel_sent <= later.received:
            continue  # what a cancel does to a job that has failed is not documented
        word = later.answer.status_message
        if later.state == failed.state and word in {MISSING, JOB_FAILED}:
            yield KEPT
        else:
            yield Violation(
                FAILED_NO_MORE,
                failed,
                later,
                job=job.id,
                first=failed.answer.state,
                value=later.answer.state,
                word=word,
            )


NEVER_COMPLETED: Final = Fault(
    "never-completed",
    "{seconds} s after its creation, the state of job {job} was still {value}.",
)
NEVER_MOVED: Final = Fault(
    "never-moved",
    "{seconds} s after its creation, the state of job {job} was still {value}, as at first. (Does "
    "the agent run?)",
    asks=True,
)
STANDS_STILL: Final = Fault(
    "stands-still",
    "{seconds} s after its creation, the state of job {job} was still {value}. It has shown this "
    "since {since} s after its creation. (Does the agent run?)",
    asks=True,
)
STILL_SINCE_CANCEL: Final = Fault(
    "still-since-cancel",
    "{seconds} s after its creation, the state of job {job} was still {value}. It has shown this "
    "since {since} s after its creation; a cancel of {jobs} was sent about then.",
)


@rule("status.completes")
def completes(history: History) -> Iterator[Judgement]:
    """A job that is not cancelled reaches 1 within `job_seconds`.

    In the dialect `data`: A job that is not cancelled reaches 1, or says that it has failed, within
    `job_seconds`.
    """
    for job in history.jobs.values():
        late = overdue(job)
        if late is not None and not job.may_be_cancelled_by(late):
            yield _never_completed(job, late, history.of_all_jobs.cancels)
        elif late is not None and job.cancellable is False and not job.others_may_act:
            yield Suspicion(job.id, late.sent)  # or a cancel that it refused has stopped it
        elif (ended := job.finished or job.failed) is not None:
            if ended.received < job.first_cancel_sent:
                yield KEPT
        elif job.silent >= SILENT and not job.attempts:
            yield INCONCLUSIVE
        elif job.others_may_act and not job.attempts and first_after_its_time(job) is not None:
            yield NotExercised(
                f"others may have cancelled the jobs, or stopped the agent, {UNSEEN}"
            )


def _never_completed(job: JobHistory, late: Exchange, cancels: Sequence[Exchange]) -> Violation:
    """Tell since when a job shows the state that it shows late, and which cancels came meanwhile.

    It stopped after the last answer that shows another state was asked for, and before its next
    move was due: as long after the last one as the longest before.
    """
    until = [x for x in job.seen if x.before(late)]
    another = next((x for x in reversed(until) if x.state != late.state), None)
    same = [x for x in until if another is not None and another.before(x)]
    if another is None or not same:
        return Violation(
            NEVER_MOVED if another is None else NEVER_COMPLETED,
            job.first,
            late,
            job=job.id,
            seconds=job.seconds_allowed,
            value=late.state,
        )
    moved = same[0]
    moves = [job.first, *(x for last, x in pairwise(until) if x.state != last.state)]
    due = moved.received + max(y.received - x.received for x, y in pairwise(moves))
    meanwhile = [x for x in cancels if x.received > another.sent and x.sent < due][:MOST_OTHERS]
    since = round(moved.received - job.first.sent, 1)
    if not meanwhile:
        return Violation(
            STANDS_STILL,
            job.first,
            moved,
            late,
            job=job.id,
            seconds=job.seconds_allowed,
            value=late.state,
            since=since,
        )
    again = next((x for x in same if x is not moved and meanwhile[0].before(x)), late)
    return Violation(
        STILL_SINCE_CANCEL,
        *dict.fromkeys([job.first, moved, *meanwhile, again, late]),
        job=job.id,
        seconds=job.seconds_allowed,
        value=late.state,
        since=since,
        jobs=" and of ".join(dict.fromkeys(f"job {x.job_id}" for x in meanwhile)),
    )


def overdue(job: JobHistory) -> Exchange | None:
    """Return the first answer that shows the job not yet finished though its time is over.

    Where the agent was told to stop, the job may stay incomplete.
    """
    late = first_after_its_time(job)
    return late if late is not None and late.sent < job.agent_stopped else None


def first_after_its_time(job: JobHistory) -> Exchange | None:
    """Return the first answer that shows the job not yet finished though its time is over.

    It counts even if the agent may have been stopped.
    """
    deadline = job.first.received + job.seconds_allowed
    return next(
        (
            x
            for x in job.seen
            if deadline < x.sent
            and not x.shows_the_end
            and not job.finished_before(x)
            and not job.failed_before(x)
        ),
        None,
    )


CANCELLED_ITSELF: Final = Fault(
    "cancelled-itself", "Job {job} shows -1, though no cancel had been sent for it."
)


@job_rule("status.no-spontaneous-cancel")
def no_spontaneous_cancel(job: JobHistory) -> Iterator[Judgement]:
    """Only a job for which a cancel was sent shows -1."""
    if job.cancelled is not None and not job.may_be_cancelled_by(job.cancelled):
        last_before = [x for x in job.seen if x.before(job.cancelled)][-1:]
        proof = dict.fromkeys([job.first, *last_before, job.cancelled])
        yield Violation(CANCELLED_ITSELF, *proof, job=job.id)
    elif any(not job.may_be_cancelled_by(x) for x in job.seen):
        yield KEPT
    elif job.others_may_act and job.seen:
        yield NotExercised(f"others may have cancelled the jobs, {UNSEEN}")


CODE_DISAGREES: Final = Fault(
    "code-disagrees", "Job {job} shows a state of {value} and a job status code of {code}."
)


WORD_DISAGREES: Final = Fault(
    "word-disagrees",
    "Job {job} shows a state of {value}, and {word} as its status message.",
)


@job_rule("status.message-agrees")
def message_agrees(job: JobHistory) -> Iterator[Judgement]:
    """A job status code of 1 (completed) shows only with a state of 1, and a state of 1 only with a
    code of 1, or of -1 where the job failed.

    In the dialect `data`: `status_message` agrees with the state: `completed` only at 1,
    `cancelled` only at -1, `pending`, `started` and `running` only below 1.
    """
    for exchange in job.seen:
        word = exchange.answer.status_message
        if exchange.answer.dialect == "data":
            if not isinstance(word, str) or word not in WORDS:
                continue
            if WORDS[word](exchange.state):
                yield KEPT
            else:
                yield Violation(
                    WORD_DISAGREES, exchange, job=job.id, word=word, value=exchange.answer.state
                )
            continue
        code = exchange.answer.status_code
        if type(code) is not int:
            continue
        done = exchange.state == FINISHED
        if (code == COMPLETED and not done) or (done and code not in {COMPLETED, FAILED}):
            yield Violation(
                CODE_DISAGREES, exchange, job=job.id, code=code, value=exchange.answer.state
            )
        else:
            yield KEPT


MISSPELLED: Final = Fault("misspelled", "The state of job {job} is spelled {value}, not 1 or -1.")


@job_rule("status.wire-number")
def wire_number(job: JobHistory) -> Iterator[Judgement]:
    """A finished state is spelled `1`, a cancelled one `-1`: the documented client compares
    text.
    """
    for exchange in job.seen:
        if exchange.state not in {CANCELLED, FINISHED}:
            continue
        if type(exchange.answer.state) is int:
            yield KEPT
        else:
            yield Violation(MISSPELLED, exchange, job=job.id, value=exchange.answer.state)


@rule("status.unknown")
def unknown(history: History) -> Iterator[Judgement]:
    """The status of an id that was never given out is an error, not a job."""
    yield from unknown_id(history, "status")


UNKNOWN_ACCEPTED: Final = Fault(
    "unknown-accepted",
    "The server never gave out the id {job}, yet it answered HTTP {status} and no error.",
)


def unknown_id(history: History, kind: str) -> Iterator[Judgement]:
    """Judge the answers to requests of a kind about ids that were never given out."""
    for probe in history.probes:
        if probe.probe != "unknown-id" or probe.kind != kind:
            continue
        if not (probe.answered or probe.refused_in_json):
            continue
        says_error = not probe.ok or probe.answer.success is False
        if says_error and not probe.answer.tells_of_a_job:
            yield KEPT
        else:
            yield Violation(UNKNOWN_ACCEPTED, probe, job=probe.job_id, status=probe.status)
