"""Rules about all answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.rules.base import (
    KEPT,
    Fault,
    Judgement,
    Violation,
    envelope_problem,
    job_rule,
    rule,
    schema_problem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.oracle.history import Exchange, History, JobHistory


FIELD_TYPE: Final = Fault(
    "field-type", "A field of the answer about job {job} has another type: {problem}."
)


@job_rule("envelope.field-types")
def field_types(job: JobHistory) -> Iterator[Judgement]:
    """Fields of a job and of the envelope that no other requirement reads have the declared
    types; null counts as absent.
    """
    for exchange in job.answers:
        if exchange.answer.dialect != "data" or exchange.answer.problem is not None:
            continue
        problem = schema_problem(exchange, "fields-data")
        if problem is None:
            yield KEPT
        else:
            yield Violation(FIELD_TYPE, exchange, job=job.id, problem=problem)


BY_OTHERS: Final = frozenset({401, 403, 407, 408, 429, 502, 503, 504})
"""HTTP statuses of refused keys, throttles and gateways; they do not show the form of answers."""

ANOTHER_FORM: Final = Fault(
    "another-form",
    "Without the header Accept the status of job {job} is answered with HTTP {status}{problem}; "
    "with it, it is a status.",
)


@rule("envelope.for-plain-clients")
def for_plain_clients(history: History) -> Iterator[Judgement]:
    """A status request without the header Accept is answered as one with it.

    The requests with it that came right before and after show what that is at the time.
    """
    asked: dict[int | None, list[Exchange]] = {}
    for probe in history.probes:
        if probe.probe == "no-accept" and probe.status not in {None, *BY_OTHERS}:
            asked.setdefault(probe.job_id, []).append(probe)
    for job_id, probes in asked.items():
        job = history.jobs.get(job_id) if job_id is not None else None
        usual = _neighbours(job, probes[-1]) if job else []
        problem = envelope_problem(probes[-1], "status")
        if problem is None:
            yield KEPT
        elif any(envelope_problem(x, "status") is not None for x in usual):
            continue
        # What stands before the application may answer any one request by itself.
        elif usual and (probes[-1].answered or len(probes) > 1):
            if probes[-1].gone and job is not None and job.may_be_gone(probes[-1]):
                continue
            yield Violation(
                ANOTHER_FORM,
                usual[0],
                *probes,
                job=job_id,
                status=probes[-1].status,
                problem=f": {problem}" if probes[-1].ok else "",
            )


def _neighbours(job: JobHistory, probe: Exchange) -> list[Exchange]:
    """Return the last usual status answer before a probe, and the first after it."""
    before = [x for x in job.statuses if x.before(probe)]
    after = [x for x in job.statuses if probe.before(x)]
    return before[-1:] + after[:1]
