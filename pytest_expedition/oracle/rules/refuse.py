"""Rules about refused cancels: those of running jobs that cannot be cancelled."""

from __future__ import annotations

import functools
import re
from collections import Counter, deque
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from pytest_expedition.oracle.history import CANCELLED, FINISHED
from pytest_expedition.oracle.rules.base import (
    KEPT,
    UNSEEN,
    Fault,
    Judgement,
    NotExercised,
    Violation,
    ended_with_its_creation,
    job_rule,
    rule_across_jobs,
    unless_others,
)
from pytest_expedition.oracle.rules.status import first_after_its_time, overdue
from pytest_expedition.protocol.envelope import LARGE, read_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.oracle.history import Exchange, History, JobHistory


REFUSED_WITHOUT_STATE: Final = Fault(
    "refused-without-state", "The answer to the refused cancel of job {job} shows no state."
)
REFUSED_NOT_FOUND: Final = Fault(
    "refused-not-found",
    "The cancel of job {job} was answered with HTTP {status}, as if there were no such job; its "
    "status shows that it runs.",
)
REFUSED_BUT_CANCELLED: Final = Fault(
    "refused-but-cancelled",
    "Job {job} cannot be cancelled, yet after a cancel it shows -1. (Is `cancellable = false` "
    "right for its recipe?)",
)
REFUSED_STALE: Final = Fault(
    "refused-stale",
    "The answer to the refused cancel of job {job} shows {shown}; the job had already reached "
    "{known}.",
)
REFUSED_AHEAD: Final = Fault(
    "refused-ahead",
    "The answer to the refused cancel of job {job} shows {shown}; after it the job was at {known}.",
)


@job_rule("refuse.state")
def state(job: JobHistory) -> Iterator[Judgement]:
    """The answer to a refused cancel shows the current progress, never -1, and the job never
    becomes -1.

    In the dialect `data`: After a refused cancel the job never becomes -1; where the answer carries
    a state, it is the current progress.
    """
    yield from _not_reached(job)
    for refused in _refused(job):
        shown = refused.state
        if shown is None and job.dialect == "data":  # there the next status shows the progress
            yield from _stays_uncancelled(job, refused)
            continue
        if shown is None:
            yield Violation(
                REFUSED_NOT_FOUND if refused.not_found else REFUSED_WITHOUT_STATE,
                refused,
                job=job.id,
                status=refused.status,
            )
            continue
        if shown == CANCELLED:
            yield Violation(REFUSED_BUT_CANCELLED, refused, job=job.id)
            continue
        behind = job.last_before(refused)
        after, cancelled = _shown_after(job, refused)
        if behind is not None and refused.rank < behind.rank:
            yield unless_others(
                Violation(
                    REFUSED_STALE, behind, refused, job=job.id, shown=shown, known=behind.state
                ),
                job,
                "cancel",
            )
        elif cancelled is not None:
            yield Violation(REFUSED_BUT_CANCELLED, refused, cancelled, job=job.id)
        elif after and after[0].rank < refused.rank:
            yield unless_others(
                Violation(
                    REFUSED_AHEAD, refused, after[0], job=job.id, shown=shown, known=after[0].state
                ),
                job,
                "cancel",
            )
        else:
            yield KEPT


def _stays_uncancelled(job: JobHistory, refused: Exchange) -> Iterator[Judgement]:
    """Judge a refusal that shows no state by the answers after it."""
    after, cancelled = _shown_after(job, refused)
    if cancelled is not None:
        yield Violation(REFUSED_BUT_CANCELLED, refused, cancelled, job=job.id)
    elif after:
        yield KEPT


def _shown_after(job: JobHistory, refused: Exchange) -> tuple[list[Exchange], Exchange | None]:
    """Return the answers after a refusal that show a state, and the first of them that shows -1."""
    after = [x for x in job.seen if refused.before(x)]
    return after, next((x for x in after if x.state == CANCELLED), None)


class _Said(NamedTuple):
    """What was said about one job when its cancels were granted, and when they were refused."""

    job: int
    granted: list[frozenset[str]]
    refused: list[tuple[Exchange, frozenset[str]]]
    """Each refusal, with the texts that no earlier answer about the job carried."""


def _said(history: History) -> Iterator[_Said]:
    for job in history.jobs.values():
        if job.cancels:
            granted = [_texts(cancel) for cancel in _granted(job)]
            yield _Said(job.id, granted, list(_own_texts(job)))


REFUSED_SILENTLY: Final = Fault(
    "refused-silently", "The cancel of job {job} was refused, but no text in the answer says so."
)


@rule_across_jobs("refuse.message", notes=_said)
def message(jobs: list[_Said]) -> Iterator[Judgement]:
    """The answer to a refused cancel has a message which says that it was refused.

    The rule reads no language and asks for no place. A text says so if neither an earlier answer
    about the job nor the answer to a granted cancel carried it. Where the answer to each granted
    cancel has a text of its own, too, texts prove nothing.
    """
    granted = [texts for job in jobs for texts in job.granted]
    times = Counter(text for texts in granted for text in texts)
    if len(granted) > 1 and all(any(times[text] == 1 for text in texts) for texts in granted):
        if any(job.refused for job in jobs):
            yield NotExercised(
                "the answer to each granted cancel has a text of its own, so a text does not tell "
                "that a cancel was refused"
            )
        return
    for job in jobs:
        for refused, own in job.refused:
            if own.difference(times):
                yield KEPT
            else:
                yield Violation(REFUSED_SILENTLY, refused, job=job.job)


def _own_texts(job: JobHistory) -> Iterator[tuple[Exchange, frozenset[str]]]:
    """The refusals of a job, and the texts of each that its answers before did not carry."""
    refusals = list(_refused(job))
    if not refusals:
        return
    first = min(refusals, key=lambda refused: refused.sent)
    before = [_texts(x) for x in job.answers if x.before(first)]
    for refused in refusals:
        if any(x.state != CANCELLED for x in _telling(job, refused)):  # else the job was cancelled
            yield refused, _texts(refused).difference(*before)


def _granted(job: JobHistory) -> list[Exchange]:
    """Return the cancels that were certainly granted: no other was under way or came before."""
    if job.others_may_act or job.cancellable is False:
        return []
    return [
        cancel
        for cancel in job.cancels
        if _led_to_minus_one(job, cancel)
        and all(x is cancel or cancel.before(x) for x in job.attempts)
    ]


def _led_to_minus_one(job: JobHistory, cancel: Exchange) -> bool:
    """Whether a cancel was granted, if it was the only cancel.

    Its answer shows that; in the dialect `data` the next answer does, if the cancel's has no state.
    """
    told = _telling(job, cancel) if job.dialect == "data" else [cancel]
    return bool(told) and told[0].state == CANCELLED


_NO_MESSAGE = frozenset({"Type", "type", "Contents-Format", "module", "metadata"})
"""Fields whose texts are words of the envelope."""


def _texts(exchange: Exchange) -> frozenset[str]:
    """Return all texts of an answer, without their numbers: 12 % says the same as 13 %."""
    large = len(exchange.answer.pattern) > LARGE
    return (
        _texts_of.__wrapped__(exchange.answer.pattern)
        if large
        else _texts_of(exchange.answer.pattern)
    )


@functools.lru_cache(maxsize=4096)
def _texts_of(pattern: bytes) -> frozenset[str]:
    leaves = _leaves(read_answer(pattern).document)
    return frozenset(text for leaf in leaves if (text := re.sub(r"\d+", "#", leaf).strip()))


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _NO_MESSAGE:
                yield from _leaves(item)


REFUSED_STOPPED: Final = Fault(
    "refused-stopped",
    "The cancel of job {job} was refused; {seconds} s after its creation its state was still "
    "{value}.",
)
REFUSED_GONE: Final = Fault("refused-gone", "After its cancel was refused, job {job} was gone.")
REFUSED_RESET: Final = Fault(
    "refused-reset", "The state of job {job} was {high}; after its cancel was refused it is {low}."
)


@job_rule("refuse.continues")
def continues(job: JobHistory) -> Iterator[Judgement]:
    """A refused cancel does not affect the job: it is not reset, not stopped, and reaches 1."""
    all_refused = list(_refused(job))
    if not all_refused:
        yield from _not_reached(job)
        return
    for judgement in _not_left_alone(job, all_refused):
        yield judgement
        if isinstance(judgement, Violation):
            return
    late = overdue(job)
    stopped_by = None if late is None else _stopped_by(job, all_refused, late)
    if late is not None and stopped_by is not None:
        yield Violation(
            REFUSED_STOPPED,
            stopped_by,
            late,
            job=job.id,
            value=late.state,
            seconds=job.seconds_allowed,
        )
        return
    refused = all_refused[0]
    if any((x.state == FINISHED or x.answer.says_failed) and refused.before(x) for x in job.seen):
        yield KEPT
    elif job.others_may_act and (late := first_after_its_time(job)) and refused.before(late):
        yield NotExercised(f"others may have stopped the agent, {UNSEEN}")


def _not_left_alone(job: JobHistory, all_refused: list[Exchange]) -> Iterator[Judgement]:
    """Tell of refused cancels after which the job was gone, or back behind where it was."""
    judged = None
    for refused, later in _after_refusals(job, all_refused):
        if job.finished_before(later) or job.failed_before(later):
            continue
        if later.gone and not job.may_be_gone(later):
            yield Violation(REFUSED_GONE, refused, later, job=job.id)
        shows_progress = later.state not in {None, CANCELLED} and job.is_about_it(later)
        if refused is judged or not shows_progress:
            continue
        judged = refused  # what the job shows still later need not be the refusal's doing
        behind = job.last_before(refused)
        if behind is not None and later.rank < behind.rank:
            told = refused.state not in {None, CANCELLED} and later.rank < refused.rank
            high = refused if told else behind
            proof = dict.fromkeys([high, refused, later])
            reset = Violation(REFUSED_RESET, *proof, job=job.id, high=high.state, low=later.state)
            yield unless_others(reset, job, "cancel")


def _stopped_by(job: JobHistory, refused: list[Exchange], late: Exchange) -> Exchange | None:
    """Return the first refused cancel after which the job may have stood still until ``late``."""
    last_step = next(x for x in job.seen if x.rank >= late.rank)
    return next((x for x in refused if x.before(late) and not x.before(last_step)), None)


def _after_refusals(
    job: JobHistory, refused: list[Exchange]
) -> Iterator[tuple[Exchange, Exchange]]:
    """Pair each status answer with the refused cancel before it that was sent last."""
    arrived = deque(sorted(refused, key=attrgetter("received")))
    last = arrived[0]
    for later in job.statuses:
        while arrived and arrived[0].before(later):
            last = max(last, arrived.popleft(), key=attrgetter("sent"))
        if last.before(later):
            yield last, later


def _refused(job: JobHistory) -> Iterator[Exchange]:
    """Yield the answered cancels of a job that cannot be cancelled and was certainly running."""
    if job.cancellable is not False:
        return
    for cancel in job.cancels:
        told = _telling(job, cancel)
        went_on = any(x.state != FINISHED and not x.answer.says_failed for x in told)
        if went_on and not job.ended_before(cancel):
            yield cancel


def _not_reached(job: JobHistory) -> Iterator[Judgement]:
    """Say if no cancel could reach a job that cannot be cancelled while it ran."""
    if job.cancellable is False:
        yield from ended_with_its_creation(job)


def _telling(job: JobHistory, cancel: Exchange) -> list[Exchange]:
    """Return what shows the state that a cancel left: its answer, or else the answers after it."""
    if cancel.state is not None:
        return [cancel]
    return [x for x in job.seen if cancel.before(x)]
