"""What a refused cancel promises: that of a running job that cannot be cancelled."""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from pytest_expedition.oracle.history import CANCELLED, FINISHED
from pytest_expedition.oracle.rules.base import (
    HELD,
    Judgement,
    Violation,
    job_rule,
    rule_across_jobs,
)
from pytest_expedition.oracle.rules.status import overdue
from pytest_expedition.protocol.envelope import LARGE, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.oracle.history import Exchange, History, Job


@job_rule("refuse.state")
def state(job: Job) -> Iterator[Judgement]:
    """The answer to a refused cancel shows the current progress, never -1, nor does the job."""
    for refused in _refused(job):
        shown = refused.state
        if shown is None:
            yield Violation("refused-without-state", refused, job=job.id)
            continue
        if shown == CANCELLED:
            yield Violation("refused-but-cancelled", refused, job=job.id)
            continue
        behind = job.last_before(refused)
        if behind is not None and behind.state is not None and shown < behind.state:
            yield Violation(
                "refused-stale", behind, refused, job=job.id, shown=shown, known=behind.state
            )
            continue
        ahead = next((x for x in job.seen if _contradicts(job, refused, shown, x)), None)
        if ahead is None:
            yield HELD
        elif ahead.state == CANCELLED:
            yield Violation("refused-but-cancelled", refused, ahead, job=job.id)
        else:
            yield Violation(
                "refused-ahead", refused, ahead, job=job.id, shown=shown, known=ahead.state
            )


def _contradicts(job: Job, refused: Exchange, shown: float, later: Exchange) -> bool:
    """Whether a later answer shows less than the refusal, or the job cancelled."""
    if not refused.before(later) or later.state is None or later.state >= shown:
        return False
    return later.state == CANCELLED or not job.finished_before(later)


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


@rule_across_jobs("refuse.message", notes=_said)
def message(jobs: list[_Said]) -> Iterator[Judgement]:
    """The answer to a refused cancel carries a message, not empty, that says so.

    No language is read, and no place is asked for: a text says so if the job's answers before did
    not carry it, nor those to granted cancels. Where every granted cancel, too, carries a text of
    its own, texts prove nothing.
    """
    granted = [texts for job in jobs for texts in job.granted]
    times = Counter(text for texts in granted for text in texts)
    if len(granted) > 1 and all(any(times[text] == 1 for text in texts) for texts in granted):
        return
    for job in jobs:
        for refused, own in job.refused:
            if own.difference(times):
                yield HELD
            else:
                yield Violation("refused-silently", refused, job=job.job)


def _own_texts(job: Job) -> Iterator[tuple[Exchange, frozenset[str]]]:
    """The refusals of a job, and the texts of each that its answers before did not carry."""
    refusals = list(_refused(job))
    if not refusals:
        return
    first = min(refusals, key=lambda refused: refused.sent)
    before = [_texts(x) for x in job.answers if x.before(first)]
    for refused in refusals:
        if refused.state != CANCELLED:  # that is no refusal
            yield refused, _texts(refused).difference(*before)


def _granted(job: Job) -> list[Exchange]:
    """The cancels that were granted for sure: no other was under way or came before."""
    if job.shared:
        return []
    return [
        cancel
        for cancel in job.cancels
        if cancel.state == CANCELLED and all(x is cancel or cancel.before(x) for x in job.attempts)
    ]


_NO_MESSAGE = frozenset({"Type", "type", "Contents-Format", "module"})
"""Fields whose texts are words of the envelope."""


def _texts(exchange: Exchange) -> frozenset[str]:
    """Return all texts of an answer, without their numbers: 12 % says the same as 13 %."""
    large = len(exchange.answer.form) > LARGE
    return _texts_of.__wrapped__(exchange.answer.form) if large else _texts_of(exchange.answer.form)


@functools.lru_cache(maxsize=4096)
def _texts_of(form: bytes) -> frozenset[str]:
    leaves = _leaves(read(form).document)
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


@job_rule("refuse.continues")
def continues(job: Job) -> Iterator[Judgement]:
    """After a refused cancel the job goes on: not reset, not stopped, and it reaches 1."""
    refused = next(_refused(job), None)
    if refused is None:
        return
    behind = job.last_before(refused)
    for later in job.statuses:
        if not refused.before(later) or job.finished_before(later):
            continue
        if later.gone and not job.may_be_gone(later):
            yield Violation("refused-gone", refused, later, job=job.id)
            return
        if behind is None or later.state is None or later.state == CANCELLED:
            continue
        if not job.is_about_it(later):
            continue
        if behind.state is not None and later.state < behind.state:
            yield Violation(
                "refused-reset",
                behind,
                refused,
                later,
                job=job.id,
                high=behind.state,
                low=later.state,
            )
            return
    late = overdue(job)
    if late is not None and refused.before(late):
        yield Violation(
            "refused-stopped",
            refused,
            late,
            job=job.id,
            value=late.state,
            seconds=job.seconds_allowed,
        )
    elif any(x.state == FINISHED and refused.before(x) for x in job.seen):
        yield HELD


def _refused(job: Job) -> Iterator[Exchange]:
    """The answered cancels of a job that cannot be cancelled, where it was running for sure."""
    if job.cancellable is not False:
        return
    for cancel in job.cancels:
        ended = job.finished_before(cancel) or job.cancelled_before(cancel)
        telling = [cancel] if cancel.state is not None else filter(cancel.before, job.seen)
        if not ended and any(x.state != FINISHED for x in telling):
            yield cancel
