"""What the answer to a request that creates a job promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_expedition.oracle.history import CANCELLED
from pytest_expedition.oracle.rules.base import (
    HELD,
    Across,
    Judgement,
    Violation,
    another_dialect,
    envelope_problem,
    job_rule,
    rule,
)
from pytest_expedition.protocol.envelope import MISSING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from pytest_expedition.oracle.history import Exchange, History, Job


def _creations(history: History) -> Sequence[Exchange]:
    return history.creations


def _way_of_answering(history: History) -> Hashable:
    """What is the same for all creations that are judged alike."""
    return (
        tuple(
            (x.method, x.path, x.answer.dialect, x.ok, envelope_problem(x, "creation"))
            for x in history.creations
            if x.answered
        )
        or None
    )


@rule("create.envelope", across=Across(_way_of_answering, _creations))
def envelope(history: History) -> Iterator[Judgement]:
    """The creation answer is a success, is JSON, and validates."""
    first: dict[tuple[str, str], Exchange] = {}
    for creation in history.creations:
        if not creation.answered:
            continue
        problem = envelope_problem(creation, "creation")
        before = creation
        if creation.answer.tells_of_a_job:
            before = first.setdefault((creation.method, creation.path), creation)
        if not creation.ok:
            yield Violation("not-a-success", creation, status=creation.status)
        elif problem is not None:
            yield Violation("not-the-envelope", creation, envelope="creation", problem=problem)
        else:
            yield another_dialect(before, creation) or HELD


@rule("create.job-id")
def job_id(history: History) -> Iterator[Judgement]:
    """`jobId` is a whole number of at least 1, at the documented place."""
    for creation in history.creations:
        if not (creation.answered and creation.ok):
            continue
        told = creation.answer.job_id
        if type(told) is int and told >= 1:
            yield HELD
        else:
            yield Violation("no-job-id", creation, value=told)


def _times_given_out(history: History) -> int | None:
    """How often an id was given out, as far as it matters."""
    return min(max(map(len, history.creations_by_id.values()), default=0), 2) or None


@rule("create.unique-id", across=Across(_times_given_out, _creations))
def unique_id(history: History) -> Iterator[Judgement]:
    """No two creations answer the same `jobId`, also when they run at the same time."""
    for given, creations in history.creations_by_id.items():
        if len(creations) > 1:
            yield Violation("same-id-twice", *creations[:2], job=given)
    if len(history.creations_by_id) > 1:
        yield HELD


@job_rule("create.visible")
def visible(job: Job) -> Iterator[Judgement]:
    """As soon as creation has answered, the status of that `jobId` answers with that job."""
    if job.creation is None:
        return
    first = next((x for x in job.statuses if job.creation.before(x)), None)
    if first is None or first.failed or first.answer.problem is not None:
        return
    if first.gone and job.may_be_cancelled_by(first):
        return  # the cancel may have done away with it
    if first.ok and first.answer.state is not MISSING and job.is_about_it(first):
        yield HELD
    else:
        yield Violation("not-visible", job.creation, first, job=job.id, status=first.status)


@rule("create.initial-state")
def initial_state(history: History) -> Iterator[Judgement]:
    """Where the creation answer carries a state, it is from 0 to 1."""
    for creation in history.creations:
        if not (creation.answered and creation.ok) or creation.answer.state is MISSING:
            continue
        if creation.state is None or creation.state == CANCELLED:
            yield Violation("initial-state", creation, value=creation.answer.state)
        else:
            yield HELD
