"""What all answers promise, whatever they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.rules.base import (
    KEPT,
    Fault,
    Judgement,
    Violation,
    job_rule,
    schema_problem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.oracle.history import JobHistory


FIELD_TYPE: Final = Fault(
    "field-type", "A field of the answer about job {job} has another type: {problem}."
)


@job_rule("envelope.field-types")
def field_types(job: JobHistory) -> Iterator[Judgement]:
    """The fields of a job and of the envelope that no other requirement reads have the declared
    types; null is as good as absent.
    """
    for exchange in job.answers:
        if exchange.answer.dialect != "data" or exchange.answer.problem is not None:
            continue
        problem = schema_problem(exchange, "fields-data")
        if problem is None:
            yield KEPT
        else:
            yield Violation(FIELD_TYPE, exchange, job=job.id, problem=problem)
