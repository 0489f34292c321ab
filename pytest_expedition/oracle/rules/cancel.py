"""Rules about cancelling a job."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import CANCELLED, FINISHED
from pytest_expedition.oracle.rules.base import (
    INCONCLUSIVE,
    KEPT,
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
    ended_with_its_creation,
    envelope_problem,
    hide_the_result,
    job_rule,
    rule,
)
from pytest_expedition.oracle.rules.status import unknown_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_expedition.oracle.history import Exchange, History, JobHistory, OfAllJobs

CANCEL_GRACE: Final = 5.0
"""Seconds that a granted cancel may take until the job's state is -1."""


NO_ENVELOPE_BUT_AN_ERROR: Final = Fault(
    "no-envelope-but-an-error",
    "The cancel of job {job} was answered with HTTP {status}, and not by a valid cancel envelope: "
    "{problem}.",
)


@rule("cancel.envelope")
def envelope(history: History) -> Iterator[Judgement]:
    """The answer to a cancel is JSON and validates, whether it is granted or refused.

    In the dialect `data`: The answer to a cancel is JSON and the envelope, with or without the job,
    and no server error, whether the cancel is granted or refused.
    """
    jobs = history.jobs.values()
    for job in jobs:
        yield from _enveloped(job)
    if hide_the_result(x for job in jobs for x in job.attempts if not x.probe):
        yield INCONCLUSIVE


def _enveloped(job: JobHistory) -> Iterator[Judgement]:
    for cancel in job.cancels:
        if job.dialect == "data" and cancel.failed:
            yield Violation(NOT_A_SUCCESS, cancel, job=job.id, status=cancel.status)
            continue
        # An answer that shows no job is validated in the dialect of the creation.
        dialect = cancel.answer.dialect if cancel.answer.tells_of_a_job else job.dialect
        problem = envelope_problem(cancel, "cancel", dialect)
        if problem is not None and (cancel.failed or envelope_problem(cancel, "error")):
            yield Violation(
                NOT_THE_ENVELOPE if cancel.ok else NO_ENVELOPE_BUT_AN_ERROR,
                cancel,
                job=job.id,
                envelope="cancel",
                status=cancel.status,
                problem=problem,
            )
        else:
            yield another_dialect(job.creation, cancel) or KEPT


CANCELLED_AWAY: Final = Fault(
    "cancelled-away", "After its cancel was answered, job {job} was gone: HTTP {status}."
)
CANCEL_IGNORED: Final = Fault(
    "cancel-ignored",
    "More than {seconds} s after its cancel was answered, the state of job {job} was still "
    "{value}. (Is `cancellable = true` right for its recipe?)",
)
CANCEL_NOT_FOUND: Final = Fault(
    "cancel-not-found",
    "The cancel of job {job} was answered with HTTP {status}, as if there were no such job; more "
    "than {seconds} s later its state was {value}.",
)


@job_rule("cancel.minus-one")
def minus_one(job: JobHistory) -> Iterator[Judgement]:
    """Cancelling a running job that can be cancelled brings its state to -1 within five seconds."""
    if job.cancellable is not True:
        return
    cancels = _cancels_while_running(job)
    if not cancels:
        yield from ended_with_its_creation(job)
        return
    last = max(cancels, key=lambda cancel: cancel.received)
    for poll in job.statuses:
        if not last.before(poll) or job.ended_before(poll) or poll.shows_the_end:
            continue
        if poll.gone and not job.may_be_gone(poll):
            yield Suspicion(job.id, last.sent)  # broken from the cancel on
            yield Violation(CANCELLED_AWAY, last, poll, job=job.id, status=poll.status)
            return
        late = last.received + CANCEL_GRACE < poll.sent
        if not late or poll.state is None or not job.is_about_it(poll):
            continue
        if poll.sent < job.agent_stopped:
            yield Suspicion(job.id, last.sent)
            yield Violation(
                CANCEL_NOT_FOUND if last.not_found else CANCEL_IGNORED,
                last,
                poll,
                job=job.id,
                value=poll.state,
                seconds=CANCEL_GRACE,
                status=last.status,
            )
            return
        if job.others_may_act:
            yield NotExercised(f"others may have stopped the agent, {UNSEEN}")
    if job.cancelled is not None:
        yield KEPT


CANCELLED_LATER: Final = Fault(
    "cancelled-later",
    "The answer to the cancel of job {job} shows {value}; only a later answer shows -1.",
)


@job_rule("cancel.immediate")
def immediate(job: JobHistory) -> Iterator[Judgement]:
    """The answer to the cancel of a running job that can be cancelled already shows -1.

    In the dialect `data`: Where the answer to the cancel of a running job that can be cancelled
    carries a state, it is -1.

    In the dialect ``data`` the answer need not show a state; then nothing is judged.
    """
    if job.cancellable is not True:
        return
    cancels = _cancels_while_running(job)
    if job.dialect == "data":
        cancels = [cancel for cancel in cancels if cancel.state is not None]
    if job.others_may_act:
        if cancels and job.cancelled is not None:
            yield NotExercised(f"others may have cancelled the jobs, {UNSEEN}")
        return
    shown = {cancel.state for cancel in cancels}
    if CANCELLED in shown:
        yield KEPT
    elif cancels and FINISHED not in shown and job.cancelled is not None:
        first = cancels[0]
        yield Violation(CANCELLED_LATER, first, job.cancelled, job=job.id, value=first.answer.state)


def _cancels_while_running(job: JobHistory) -> list[Exchange]:
    """The first cancel, with those sent at the same time, unless the job had ended before.

    There are none if another may have been carried out without an answer, or without a key.
    """
    if not job.cancels:
        return []
    first = job.cancels[0]
    if job.ended_before(first):
        return []
    concurrent = [x for x in job.attempts if not x.before(first) and not first.before(x)]
    lost_before = any(x.before(first) and not x.answered for x in job.attempts)
    if lost_before or any(x.probe or not x.answered for x in concurrent):
        return []
    return concurrent


CANCELLED_GONE: Final = Fault(
    "cancelled-gone", "The state of job {job} was -1, then the job was gone."
)
UNCANCELLED: Final = Fault("uncancelled", "The state of job {job} was -1, then {value}.")


@job_rule("cancel.persists")
def persists(job: JobHistory) -> Iterator[Judgement]:
    """Once any answer has shown -1, the job stays at -1, and its status can still be asked for."""
    if job.cancelled is not None:
        polls = [x for x in job.polls if job.cancelled.before(x)]
        if hide_the_result(polls) and not any(x.answered for x in polls):
            yield INCONCLUSIVE
    for later in job.answers:
        if not job.cancelled_before(later):
            continue
        assert job.cancelled is not None
        if later.gone and later.kind == "status":
            yield Violation(CANCELLED_GONE, job.cancelled, later, job=job.id)
        elif later.state == CANCELLED:
            yield KEPT
        elif later.state is not None and job.is_about_it(later):
            yield Violation(UNCANCELLED, job.cancelled, later, job=job.id, value=later.answer.state)


FINISHED_CHANGED: Final = Fault(
    "finished-changed", "Job {job} was finished; after a cancel its state is {value}."
)


@job_rule("cancel.completed")
def completed(job: JobHistory) -> Iterator[Judgement]:
    """Cancelling a finished job leaves it at 1."""
    cancel = next((x for x in job.cancels if job.finished_before(x)), None)
    if cancel is None or job.cancelled_before(cancel):
        return
    assert job.finished is not None
    for later in job.seen:
        if later.sent < cancel.sent:
            continue
        if later.state != FINISHED:
            yield Violation(
                FINISHED_CHANGED,
                job.finished,
                cancel,
                *(() if later is cancel else (later,)),
                job=job.id,
                value=later.answer.state,
            )
        elif later is not cancel:
            yield KEPT


REPEAT_FAILED: Final = Fault(
    "repeat-failed", "The second cancel of job {job} was answered with HTTP {status}."
)
REPEAT_CHANGED: Final = Fault(
    "repeat-changed", "After a second cancel, the state of job {job} is {value}."
)


@job_rule("cancel.repeat")
def repeat(job: JobHistory) -> Iterator[Judgement]:
    """Cancelling a cancelled job leaves it at -1 and is not a server error."""
    for again in job.cancels:
        if not job.cancelled_before(again):
            continue
        assert job.cancelled is not None
        if again.failed:
            yield Violation(REPEAT_FAILED, job.cancelled, again, job=job.id, status=again.status)
            continue
        changed = next((x for x in job.seen if x.sent >= again.sent and x.state != CANCELLED), None)
        if changed is not None:
            proof = (again,) if changed is again else (again, changed)
            yield Violation(
                REPEAT_CHANGED, job.cancelled, *proof, job=job.id, value=changed.answer.state
            )
        else:
            yield KEPT


@rule("cancel.isolation")
def isolation(history: History) -> Iterator[Judgement]:
    """Cancelling one job changes no other."""
    for job in history.jobs.values():
        if not job.others_may_act:
            yield from _isolated(job, history.of_all_jobs)
        elif _another_cancelled_meanwhile(job, history.of_all_jobs):
            yield NotExercised(f"others may have cancelled the jobs, {UNSEEN}")


OTHER_CHANGED: Final = Fault(
    "other-changed",
    "The state of job {job} was {high}; after the cancel of job {cancelled} it is {low}.",
)


def _isolated(job: JobHistory, of_all_jobs: OfAllJobs) -> Iterator[Judgement]:
    """Compare each two neighbouring answers about a job, and blame a cancel between them.

    A cancel of the job itself parts its answers: after it, only a job that refuses it is compared.
    If it, the creation of another job or what the agent was told may lie between them, too, that
    may be to blame.
    """
    refuses = job.cancellable is False
    kept = False
    earlier: Exchange | None = None
    for later in job.answers:
        if job.may_be_cancelled_by(later) and not (refuses and later.state != CANCELLED):
            return
        if later.kind == "cancel":
            earlier = None
            continue
        vanished = later.gone and not job.ended_before(later)
        if not vanished and (later.state is None or not job.is_about_it(later)):
            continue
        cancel = _first_between(of_all_jobs, earlier, later)
        if cancel is not None and earlier is not None and earlier.state != CANCELLED:
            assert earlier.state is not None
            changed = earlier.kind == "status" if vanished else later.rank < earlier.state
            changed = changed or later.state == CANCELLED
            if changed and job.influences(earlier, later) - {"cancel of another"}:
                yield Suspicion(job.id, later.sent)
            elif changed:
                yield Violation(
                    OTHER_CHANGED,
                    earlier,
                    cancel,
                    later,
                    job=job.id,
                    cancelled=cancel.job_id,
                    high=earlier.state,
                    low=later.state,
                )
                return
            elif not (kept or vanished) and cancel.before(later):
                kept = True
                yield KEPT
        if later.state is not None:
            earlier = later


def _another_cancelled_meanwhile(job: JobHistory, of_all_jobs: OfAllJobs) -> bool:
    """Whether another job was cancelled between two answers about this one."""
    if not job.seen:
        return False
    first, last = job.seen[0], job.seen[-1]
    sent = of_all_jobs.cancels_under_way.sent
    between = range(bisect_left(sent, first.received), bisect_left(sent, last.sent))
    return any(of_all_jobs.cancels[number].job_id != job.id for number in between)


def _first_between(
    of_all_jobs: OfAllJobs, earlier: Exchange | None, later: Exchange
) -> Exchange | None:
    """The first cancel that may have done what the later answer shows and the earlier does not."""
    if earlier is None or not earlier.before(later):
        return None
    sent = of_all_jobs.cancels_under_way.sent
    first = bisect_left(sent, earlier.received)
    is_between = first < len(sent) and sent[first] < later.received
    return of_all_jobs.cancels[first] if is_between else None


NO_ORDER: Final = Fault(
    "no-order", "Answers about job {job} show {one} and {other}: no order of events explains both."
)


@job_rule("cancel.race")
def race(job: JobHistory) -> Iterator[Judgement]:
    """The answers to cancels and polls sent at the same time fit one order of events: no job is
    both finished and cancelled.
    """
    cancel = next((x for x in job.cancels if _raced(job, x)), None)
    if cancel is None:
        return
    concerned = [x for x in job.seen if not x.before(cancel)]
    contradiction = find_contradiction(concerned)
    if contradiction is None:
        yield KEPT
    else:
        one, other = contradiction
        yield Violation(
            NO_ORDER,
            one,
            other,
            job=job.id,
            one=one.answer.state,
            other=other.answer.state,
        )


def _raced(job: JobHistory, cancel: Exchange) -> bool:
    """Whether a cancel of an unfinished job overlapped another request about it."""
    if job.ended_before(cancel):
        return False
    return any(
        x is not cancel and not x.before(cancel) and not cancel.before(x) for x in job.answers
    )


def find_contradiction(seen: Sequence[Exchange]) -> tuple[Exchange, Exchange] | None:
    """Find two answers about one job that no order of events explains.

    A job's states go up to 1 or, from any point before, to -1 for good. So any number of answers
    has an order that explains them if, and only if, every two of them have one: a longest chain
    of "was there before" and "is further" that closes to a ring contains two answers that
    contradict each other outright.
    """
    ends = {x.state: x for x in seen if x.state in {CANCELLED, FINISHED}}
    if len(ends) == len({CANCELLED, FINISHED}):
        return ends[FINISHED], ends[CANCELLED]
    return next(
        ((one, other) for one, other in after_furthest(seen) if other.rank < one.rank), None
    )


@rule("cancel.unknown")
def unknown(history: History) -> Iterator[Judgement]:
    """Cancelling an id that was never given out is an error."""
    yield from unknown_id(history, "cancel")
