"""A plan that showed a requirement broken is made smaller with few tries."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import in_process

from pytest_expedition import JobRecipe
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.oracle.rules import Finding
from pytest_expedition.suite import search
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.plan import Act, JobPlan, Plan, plans
from pytest_expedition.suite.run import run_contract, run_share
from pytest_expedition.suite.shrinking import shrink

if TYPE_CHECKING:
    from collections.abc import Callable

RECIPES = (JobRecipe(name="import", path="/api/v1/x"), JobRecipe(name="export", path="/api/v1/y"))
CANCEL = Act(progress=0.5, requests=("cancel",))
POLL = Act(progress=0.9, requests=("poll",))
JOB = JobPlan(recipe="import")


def counted(fails: Callable[[Plan], bool]) -> tuple[list[Plan], Callable[[Plan], bool]]:
    tried: list[Plan] = []

    def try_it(plan: Plan) -> bool:
        tried.append(plan)
        return fails(plan)

    return tried, try_it


def cancels(job: JobPlan) -> bool:
    return any("cancel" in act.requests for act in job.acts)


@settings(max_examples=50, deadline=None)
@given(plans(RECIPES, most_jobs=8, usual_jobs=4).filter(lambda plan: any(map(cancels, plan.jobs))))
def test_what_does_not_matter_goes(plan: Plan) -> None:
    smallest = shrink(plan, [], lambda smaller: any(map(cancels, smaller.jobs)))
    (job,) = smallest.jobs
    (act,) = job.acts
    assert act.requests == ("cancel",)
    assert (job.after, job.poll_every, smallest.together, smallest.framed) == (0, 1, False, False)
    assert smallest.size == (1, 1, 0)


@given(plans(RECIPES, most_jobs=8), st.integers(0, 7))
def test_what_fails_no_longer_is_not_kept(plan: Plan, more: int) -> None:
    tried, never = counted(lambda _: False)
    assert shrink(plan, plan.jobs[more:], never) == plan
    assert plan not in tried
    assert len(tried) == len(set(tried))


def test_the_jobs_that_the_failure_is_about_are_tried_first() -> None:
    first, second = (JobPlan(recipe="import", acts=(CANCEL,), after=after) for after in (0.1, 0.2))
    plan = Plan(jobs=(JOB, first, JOB, second, *[JOB] * 12))
    tried, fails = counted(lambda smaller: {first, second} <= set(smaller.jobs))
    assert shrink(plan, [first, second], fails).jobs == (first, second)
    assert tried[0].jobs == (first, second)


def test_of_equal_jobs_the_suspect_alone_is_tried() -> None:
    suspect = JobPlan(recipe="import")
    tried, fails = counted(lambda _: True)
    shrink(Plan(jobs=(JOB, suspect, JOB)), [suspect], fails)
    assert len(tried[0].jobs) == 1


def test_half_of_many_jobs_goes_at_a_time() -> None:
    last = JobPlan(recipe="import", acts=(CANCEL,))
    tried, fails = counted(lambda smaller: last in smaller.jobs)
    assert shrink(Plan(jobs=(*[JOB] * 1023, last)), [], fails).jobs == (last,)
    assert len(tried) < 30


@pytest.mark.parametrize(
    "unusual",
    [
        Plan(jobs=(JOB,), probes=True),
        Plan(jobs=(JOB,), at_once=1),
        Plan(jobs=(JOB,), agent_stopped=True),
        Plan(jobs=(JOB,), framed=True),
        Plan(jobs=(JOB,), together=True),
        Plan(jobs=(JobPlan(recipe="import", after=0.5),)),
        Plan(jobs=(JobPlan(recipe="import", poll_every=2),)),
    ],
)
def test_the_usual_is_smaller(unusual: Plan) -> None:
    usual = Plan(jobs=(JOB,))
    assert usual.size < unusual.size < Plan(jobs=(JobPlan(recipe="import", acts=(POLL,)),)).size
    assert shrink(unusual, [], lambda _: True) == usual


@pytest.mark.parametrize(
    ("name", "requirement", "size"),
    [
        ("lagging-replica", "status.monotonic", (1, 0)),
        ("cancel-nudges-others", "cancel.isolation", (2, 1)),
        ("status-for-everybody", "auth.required", (1, 0)),
    ],
)
def test_of_a_fixed_plan_what_shows_the_fault_is_left(
    name: str, requirement: str, size: tuple[int, int]
) -> None:
    with in_process(), embedded_target(BROKEN[name].make) as target:
        found = run_share(target, profile="default", seed=1, share=(0, 25))
        plan, _ = found.smallest[requirement]
        assert plan.size[:2] == size
        replayed = run_contract(target, plan=plan)
    failed = {each.requirement.id for each in replayed.results if each.outcome == "fail"}
    assert requirement in failed


def test_a_plan_that_raises_a_suspicion_is_tried_with_polls_around_each_cancel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[Plan] = []
    suspected = {"cancel.isolation": Finding(first_broken={1: 2.0})}
    monkeypatch.setattr(search, "run_plan", lambda _, plan: tried.append(plan))
    monkeypatch.setattr(search, "judge", lambda _: suspected)
    with in_process(), embedded_target() as target:
        run_share(target, profile="default", seed=1)
    followed = [
        replace(plan, framed=True) == after
        for plan, after in itertools.pairwise(tried)
        if not plan.framed
    ]
    assert len(followed) > search.SUSPICIONS
    assert followed.index(False) == search.SUSPICIONS
