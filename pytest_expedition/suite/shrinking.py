"""Makes a plan that showed a requirement broken smaller, so that one sees what matters.

Each try creates jobs on the target. Hypothesis, which does not know which jobs a violation is
about, would need too many.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.suite.plan import AT_ONCE, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pytest_expedition.suite.plan import Act, JobPlan

_PLAIN: Final[Mapping[str, Any]] = {
    "agent_stopped": False,
    "probes": False,
    "framed": False,
    "together": False,
    "at_once": 0,
}
"""The fields of a plan without anything unusual."""


def shrink(plan: Plan, suspects: Collection[JobPlan], fails: Callable[[Plan], bool]) -> Plan:
    """Return the smallest plan found that ``fails``, as ``plan`` does.

    ``suspects`` are those jobs of the plan that the failure is about, as far as is known.
    """
    tried = {plan}
    while True:
        for smaller in _smaller_plans(plan, suspects):
            if smaller not in tried:
                tried.add(smaller)
                if fails(smaller):
                    plan = smaller
                    break
        else:
            return plan


def _smaller_plans(plan: Plan, suspects: Collection[JobPlan]) -> Iterator[Plan]:
    """Return plans that are one step smaller or plainer; those that save most come first."""
    for jobs in _fewer_jobs(plan.jobs, suspects):
        yield replace(plan, jobs=jobs)
    yield replace(plan, **_PLAIN)
    for name, plain in _PLAIN.items():
        yield replace(plan, **{name: plain})
    for number, job in enumerate(plan.jobs):
        for smaller in _smaller_jobs(job):
            yield replace(plan, jobs=(*plan.jobs[:number], smaller, *plan.jobs[number + 1 :]))


def _fewer_jobs(
    jobs: tuple[JobPlan, ...], suspects: Collection[JobPlan]
) -> Iterator[tuple[JobPlan, ...]]:
    """Return the suspects alone; then what is left without each half, quarter and so on."""
    alone = tuple(job for job in jobs if any(job is suspect for suspect in suspects))
    if alone:
        yield alone
    size = len(jobs) // 2
    while size:
        for start in range(0, len(jobs), size):
            yield jobs[:start] + jobs[start + size :]
        size //= 2


def _smaller_jobs(job: JobPlan) -> Iterator[JobPlan]:
    """Return the job without each act, and without each request; then with the usual pauses."""
    for number, act in enumerate(job.acts):
        before, after = job.acts[:number], job.acts[number + 1 :]
        yield replace(job, acts=before + after)
        for smaller in _smaller_acts(act):
            yield replace(job, acts=(*before, smaller, *after))
    yield replace(job, after=AT_ONCE, poll_every=1)


def _smaller_acts(act: Act) -> Iterator[Act]:
    """Return the act without each request, if it has several."""
    if len(act.requests) > 1:
        for number in range(len(act.requests)):
            yield replace(act, requests=act.requests[:number] + act.requests[number + 1 :])
