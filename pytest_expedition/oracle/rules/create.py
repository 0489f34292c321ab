"""Rules about the answer to a request that creates a job."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import CANCELLED, created_id
from pytest_expedition.oracle.rules.base import (
    INCONCLUSIVE,
    KEPT,
    NOT_A_SUCCESS,
    NOT_THE_ENVELOPE,
    Fault,
    Judgement,
    Violation,
    another_dialect,
    envelope_problem,
    hide_the_result,
    job_rule,
    rule,
    rule_across_jobs,
)
from pytest_expedition.protocol.envelope import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_expedition.oracle.history import Exchange, History, JobHistory


def _creations(history: History) -> Iterable[Exchange]:
    return history.creations


@rule_across_jobs("create.envelope", notes=_creations)
def envelope(creations: list[Exchange]) -> Iterator[Judgement]:
    """The creation answer is a success, is JSON, and validates."""
    first: dict[tuple[str, str], Exchange] = {}
    works = {(x.method, x.path) for x in creations if created_id(x) is not None}
    answered = filter(attrgetter("answered"), creations)
    for creation in sorted(answered, key=attrgetter("sent", "position")):
        if works and creation.refused_as_busy:
            continue  # the server lets few jobs run at once, and others may have been running
        if works and creation.refused_as_wrong and (creation.method, creation.path) not in works:
            continue  # the request may name something that does not exist
        problem = envelope_problem(creation, "creation")
        before = creation
        if creation.answer.tells_of_a_job:
            before = first.setdefault((creation.method, creation.path), creation)
        if not creation.ok:
            yield Violation(NOT_A_SUCCESS, creation, status=creation.status)
        elif problem is not None:
            yield Violation(NOT_THE_ENVELOPE, creation, envelope="creation", problem=problem)
        else:
            yield another_dialect(before, creation) or KEPT
    if hide_the_result(creations):
        yield INCONCLUSIVE


NO_JOB_ID: Final = Fault("no-job-id", "The job id at the documented place is {value}.")


@rule("create.job-id")
def job_id(history: History) -> Iterator[Judgement]:
    """`jobId` is a whole number of at least 1, at the documented place.

    In the dialect `data`: `data.job_id` is a whole number of at least 1.
    """
    for creation in history.creations:
        if not (creation.answered and creation.ok):
            continue
        told = creation.answer.job_id
        if type(told) is int and told >= 1:
            yield KEPT
        else:
            yield Violation(NO_JOB_ID, creation, value=told)


def _by_id(history: History) -> Iterable[list[Exchange]]:
    return history.creations_by_id.values()


SAME_ID_TWICE: Final = Fault(
    "same-id-twice", "Two creations were both answered with the job id {job}."
)


@rule_across_jobs("create.unique-id", notes=_by_id)
def unique_id(by_id: list[list[Exchange]]) -> Iterator[Judgement]:
    """No two creations answer the same `jobId`, also when they run at the same time."""
    for creations in by_id:
        if len(creations) > 1:
            yield Violation(SAME_ID_TWICE, *creations[:2], job=created_id(creations[0]))
    if len(by_id) > 1:
        yield KEPT


NOT_VISIBLE: Final = Fault(
    "not-visible",
    "Job {job} was created, but when its status was asked for, the answer (HTTP {status}) did not "
    "show that job.",
)


@job_rule("create.visible")
def visible(job: JobHistory) -> Iterator[Judgement]:
    """As soon as a creation has answered, a status request for its `jobId` answers with that
    job.
    """
    if job.creation is None:
        return
    first = next((x for x in job.statuses if job.creation.before(x)), None)
    if first is None or first.failed or first.answer.problem is not None:
        return
    if first.gone and job.may_be_cancelled_by(first):
        return  # the cancel may have removed it
    if first.ok and first.answer.state is not MISSING and job.is_about_it(first):
        yield KEPT
    else:
        yield Violation(NOT_VISIBLE, job.creation, first, job=job.id, status=first.status)


INITIAL_STATE: Final = Fault("initial-state", "The creation answer shows the state {value}.")


@rule("create.initial-state")
def initial_state(history: History) -> Iterator[Judgement]:
    """Where the creation answer carries a state, it is from 0 to 1."""
    for creation in history.creations:
        if not (creation.answered and creation.ok) or creation.answer.state is MISSING:
            continue
        if creation.state is None or creation.state == CANCELLED:
            yield Violation(INITIAL_STATE, creation, value=creation.answer.state)
        else:
            yield KEPT
