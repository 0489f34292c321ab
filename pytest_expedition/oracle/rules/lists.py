"""Rules about lists of jobs, and about the job of a project or a device."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from pytest_expedition.oracle.history import CANCELLED, FINISHED, progress_rank
from pytest_expedition.oracle.job_lists import created_in, is_of_all_jobs, told_resource
from pytest_expedition.oracle.rules.base import (
    KEPT,
    NOT_A_SUCCESS,
    NOT_THE_ENVELOPE,
    Fault,
    Judgement,
    Violation,
    after_furthest,
    rule,
    rule_across_jobs,
    schema_problem,
)
from pytest_expedition.oracle.rules.status import WORDS
from pytest_expedition.protocol.envelope import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.oracle.history import Exchange, History, JobHistory
    from pytest_expedition.oracle.job_lists import JobList
    from pytest_expedition.protocol.envelope import Answer

_rank: Final = attrgetter("rank")

NOT_OFFERED: Final = frozenset({403, 404, 405, 410, 501})
"""HTTP statuses that say that there is no such list, no such job, or no permission to see it."""


@rule("list.envelope")
def envelope(history: History) -> Iterator[Judgement]:
    """The answer to a request for a list of jobs, or for the job of a project or device, is a
    success, is JSON, and has the declared types.
    """
    for exchange in history.exchanges:
        if exchange.kind != "list" or not exchange.answered or exchange.status in NOT_OFFERED:
            continue
        if not exchange.ok:
            yield Violation(NOT_A_SUCCESS, exchange, status=exchange.status)
            continue
        of_all = is_of_all_jobs(exchange.path)
        problem = schema_problem(exchange, "jobs-data" if of_all else "status-data")
        if problem is None:
            yield KEPT
        elif of_all or exchange.answer.state is not MISSING:
            name = "job list" if of_all else "status"
            yield Violation(NOT_THE_ENVELOPE, exchange, envelope=name, problem=problem)


LISTED_STALE: Final = Fault(
    "listed-stale",
    "The status of job {job} had shown {seen}; a list asked for after that shows {listed}.",
)
LISTED_AHEAD: Final = Fault(
    "listed-ahead", "A list showed {listed} for job {job}; its status after that shows {seen}."
)
LISTED_OTHERWISE: Final = Fault(
    "listed-otherwise", "A list shows {listed} for job {job}, which its status shows at {seen}."
)
LISTED_IN_OTHER_WORDS: Final = Fault(
    "listed-in-other-words",
    "A list shows {word} as the status message of job {job}, which is at {seen}.",
)
NOT_LISTED: Final = Fault(
    "not-listed",
    "Job {job} had been created, and its status still answers, but the list of jobs ({status}) "
    "leaves it out.",
)


class _Notes(NamedTuple):
    """What `list.agrees` notes of a job: judgements, and the lists that leave it out."""

    job: int
    created: float
    answered: float
    judgements: list[Judgement]
    left_out: list[tuple[JobList, Violation]]


def _notes(history: History) -> Iterator[_Notes]:
    for job in history.jobs.values() if history.lists else ():
        if _contradicts_itself(job):
            continue
        judgements: list[Judgement] = []
        left_out = []
        for shown_by, jobs in history.lists:
            if job.id in jobs.jobs:
                judgements += _compared(job, shown_by, jobs.jobs[job.id])
            elif (violation := _left_out(job, shown_by, jobs)) is not None:
                left_out.append((jobs, violation))
        yield _Notes(job.id, job.first.sent, job.first.received, judgements, left_out)


@rule_across_jobs("list.agrees", notes=_notes)
def agrees(notes: list[_Notes]) -> Iterator[Judgement]:
    """A list of jobs, or the job of a project or device, says of each job what its status says, and
    a list of all jobs leaves out none.
    """
    answered = {each.job: each.answered for each in notes}
    for each in notes:
        yield from each.judgements
        for jobs, violation in each.left_out:
            # A server may keep the latest jobs alone: then it has no older one either.
            older = any(answered.get(job, each.created) < each.created for job in jobs.jobs)
            if older or not jobs.jobs:
                yield violation


def _contradicts_itself(job: JobHistory) -> bool:
    """Whether the statuses of a job contradict each other: then none says what a list must show."""
    if job.finished is not None and job.cancelled is not None:
        return True
    return any(later.rank < earlier.rank for earlier, later in after_furthest(job.seen))


def _compared(job: JobHistory, shown_by: Exchange, listed: Answer) -> Iterator[Judgement]:
    """Compare what a list says of a job with what its status said before and after."""
    state, word = listed.progress, listed.status_message
    if state is None:
        return
    before = max((x for x in job.seen if x.before(shown_by)), key=_rank, default=None)
    after = min((x for x in job.seen if shown_by.before(x)), key=_rank, default=None)
    other_end = _other_end(job, shown_by, state)
    if before is not None and before.rank > progress_rank(state):
        yield Violation(
            LISTED_STALE,
            before,
            shown_by,
            job=job.id,
            seen=before.answer.state,
            listed=listed.state,
        )
    elif after is not None and after.rank < progress_rank(state):
        yield Violation(
            LISTED_AHEAD,
            shown_by,
            after,
            job=job.id,
            seen=after.answer.state,
            listed=listed.state,
        )
    elif other_end is not None:
        yield Violation(
            LISTED_OTHERWISE,
            shown_by,
            other_end,
            job=job.id,
            seen=other_end.answer.state,
            listed=listed.state,
        )
    elif isinstance(word, str) and word in WORDS and not WORDS[word](state):
        yield Violation(LISTED_IN_OTHER_WORDS, shown_by, job=job.id, word=word, seen=listed.state)
    elif isinstance(word, str) and job.failed_before(shown_by) and not listed.says_failed:
        assert job.failed is not None
        yield Violation(
            LISTED_IN_OTHER_WORDS, job.failed, shown_by, job=job.id, word=word, seen="failed"
        )
    else:
        yield KEPT


def _other_end(job: JobHistory, shown_by: Exchange, state: float) -> Exchange | None:
    """Return an answer that shows that a job ended otherwise than a list shows."""
    if state == CANCELLED:
        return job.finished
    # Whether a cancel may change a finished job is the subject of `cancel.completed`.
    cancelled_later = any(not x.before(shown_by) for x in job.attempts)
    return job.cancelled if state == FINISHED and not cancelled_later else None


def _left_out(job: JobHistory, shown_by: Exchange, jobs: JobList) -> Violation | None:
    """Return what is wrong if a job ought to be in a list in which it is not."""
    known = {
        "all": job.first,
        "completed": job.finished,
        "cancelled": job.cancelled,
    }.get(jobs.status)
    still_there = next((x for x in job.seen if shown_by.before(x)), None)
    if not jobs.is_whole or known is None or not known.before(shown_by) or still_there is None:
        return None
    return Violation(NOT_LISTED, known, shown_by, still_there, job=job.id, status=jobs.status)


WRONG_FILTER: Final = Fault(
    "wrong-filter", "The list of {status} jobs has job {job}, and shows {listed} for it."
)
WRONG_FILTER_BY_STATUS: Final = Fault(
    "wrong-filter-by-status", "The list of {status} jobs has job {job}, whose status shows {seen}."
)


@rule("list.filters")
def filters(history: History) -> Iterator[Judgement]:
    """A list of jobs has only jobs of the status that was asked for."""
    for shown_by, jobs in history.own_lists:
        for job_id, listed in jobs.jobs.items():
            fits = _fits(jobs.status, listed)
            if fits is False:
                yield Violation(
                    WRONG_FILTER,
                    shown_by,
                    status=jobs.status,
                    job=job_id,
                    listed=listed.state,
                )
            elif fits:
                yield KEPT
    for job in history.jobs.values() if history.lists else ():
        if _contradicts_itself(job):
            continue
        for shown_by, jobs in history.lists:
            shown = _does_not_fit(job, shown_by, jobs.status) if job.id in jobs.jobs else None
            if shown is not None:
                yield Violation(
                    WRONG_FILTER_BY_STATUS,
                    shown_by,
                    shown,
                    status=jobs.status,
                    job=job.id,
                    seen=shown.answer.state,
                )


def _fits(status: str, listed: Answer) -> bool | None:
    """Whether a job fits the filter of its list, by what the list itself shows of it.

    ``None`` where that cannot be said. A failed job may count as completed or as neither, and a
    job may be listed as cancelled while its cancel is under way.
    """
    state = listed.progress
    if state is None or listed.says_failed or status not in {"pending", "completed", "cancelled"}:
        return None
    if status == "pending":
        return 0 <= state < FINISHED
    return state == FINISHED if status == "completed" else state != FINISHED


def _does_not_fit(job: JobHistory, shown_by: Exchange, status: str) -> Exchange | None:
    """Return an answer about a job that shows that it does not fit the filter of a list."""
    after = next((x for x in job.seen if shown_by.before(x)), None)
    if status == "pending":
        ends = (job.finished, job.cancelled)
        return next((x for x in ends if x is not None and x.before(shown_by)), None)
    if status == "completed":
        if job.cancelled_before(shown_by):
            return job.cancelled
        going_on = after is not None and not after.shows_the_end
        return after if going_on and not job.failed_before(shown_by) else None
    if status == "cancelled":
        if job.finished is not None and job.finished.before(shown_by):
            return job.finished
        cancelled = job.first_cancel_sent <= shown_by.received or job.others_may_act
        return None if cancelled or after is None or after.state == CANCELLED else after
    return None


OF_ANOTHER: Final = Fault(
    "of-another", "The request was for the job of {resource}, the answer shows a job of {owner}."
)
CREATED_IN_ANOTHER: Final = Fault(
    "created-in-another",
    "The request was for the job of {resource}, the answer shows job {job}, created in {owner}.",
)


@rule("list.of-resource")
def of_resource(history: History) -> Iterator[Judgement]:
    """The job shown for a project or device belongs to that project or device."""
    for shown_by, jobs in history.own_lists:
        for listed in jobs.jobs.values() if jobs.resource else ():
            told = told_resource(listed)
            assert jobs.resource is not None
            if told is None or told.kind != jobs.resource.kind:
                continue
            if told == jobs.resource:
                yield KEPT
            else:
                yield Violation(OF_ANOTHER, shown_by, resource=str(jobs.resource), owner=str(told))
    for job in history.jobs.values() if history.lists else ():
        created = created_in(job.creation.path) if job.creation is not None else None
        for shown_by, jobs in history.lists:
            asked = jobs.resource
            if created is None or asked is None or job.id not in jobs.jobs:
                continue
            if asked.kind == created.kind and asked != created:
                yield Violation(
                    CREATED_IN_ANOTHER,
                    job.first,
                    shown_by,
                    resource=str(asked),
                    owner=str(created),
                    job=job.id,
                )
            elif asked == created:
                yield KEPT
