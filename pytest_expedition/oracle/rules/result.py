"""Rules about the result of a finished job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import FINISHED
from pytest_expedition.oracle.rules.base import (
    KEPT,
    Fault,
    Judgement,
    Violation,
    job_rule,
)
from pytest_expedition.protocol.envelope import MISSING, abridged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.oracle.history import Exchange, JobHistory


NO_LIST: Final = Fault("no-list", "`{field}` of job {job} is {value}, which is not a list.")


@job_rule("result.next-step")
def next_step(job: JobHistory) -> Iterator[Judgement]:
    """`nextStep` is a list wherever the documentation shows it.

    In the dialect `data`: `next_step` is a list of objects.
    """
    for exchange in job.answers:
        if not exchange.ok:
            continue
        value = exchange.answer.next_step
        shown_here = exchange is job.creation and exchange.answer.place == "system.jobs"
        if value is MISSING and not shown_here:
            continue
        if isinstance(value, list):
            yield KEPT
        else:
            name = "next_step" if exchange.answer.dialect == "data" else "nextStep"
            yield Violation(NO_LIST, exchange, job=job.id, value=value, field=name)


FINISHED_GONE: Final = Fault("finished-gone", "Job {job} was finished, then it was gone.")
RESULT_CHANGED: Final = Fault(
    "result-changed", "The result of job {job} was {first}, then {again}."
)


@job_rule("result.stable")
def stable(job: JobHistory) -> Iterator[Judgement]:
    """Asking again for the result of a finished job gives the same result, and the job is still
    there.
    """
    first_at: dict[tuple[str, str], Exchange] = {}
    for poll in job.statuses:
        if poll.gone and job.finished_before(poll):
            assert job.finished is not None
            yield Violation(FINISHED_GONE, job.finished, poll, job=job.id)
        if poll.state != FINISHED or not job.is_about_it(poll):
            continue
        first = first_at.setdefault((poll.path, poll.answer.place), poll)
        if first is poll:
            continue
        one, again = first.answer, poll.answer
        # One of the two may be so large that it was kept abridged.
        if one.result == again.result or abridged(one).result == abridged(again).result:
            yield KEPT
        else:
            yield Violation(
                RESULT_CHANGED,
                first,
                poll,
                job=job.id,
                first=first.answer.result,
                again=poll.answer.result,
            )
