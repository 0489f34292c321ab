"""What to do to an instance, as plain data: which jobs, and what to do to each and when."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from hypothesis import strategies as st

from pytest_expedition.protocol.envelope import whole_number
from pytest_expedition.protocol.validation import find_violation
from pytest_expedition.user_files import read_user_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_expedition.protocol.recipe import JobRecipe
    from pytest_expedition.suite.target import Target

RequestKind = Literal["poll", "cancel", "start-agent"]

AT_ONCE: Final = 0.0
AT_THE_END: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Act:
    """Requests about a job that are sent at the same instant.

    They are sent once the job is at ``progress`` or beyond: 0 is right after its creation, before
    it is polled, 1 after it has finished or was cancelled. A job is at a progress once a poll has
    shown it, or, where the next poll would come too late, once it is by the pace that is known of
    it. Acts of the same progress below 1 follow one another without a pause.
    """

    progress: float
    requests: tuple[RequestKind, ...]


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """One job: the recipe that creates it, and what is done to it besides being polled.

    It is created once the plan's first job was seen at ``after`` or beyond, so that jobs meet at
    different ages. ``poll_every`` is how many pauses lie between two polls.
    """

    recipe: str
    acts: tuple[Act, ...] = ()
    after: float = AT_ONCE
    poll_every: int = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Jobs that run side by side.

    ``together``: the jobs' requests are sent at the same instant, not one after the other.
    ``framed``: right before and right after each cancel every running job is polled.
    ``probes``: requests that ought to be refused are sent, too: without a key, or with an unknown
    or malformed id. ``at_once``: how many of the jobs are alive at the same time, at the most; 0
    for as many as the target allows. ``agent_stopped``: the first job is created while the agent is
    stopped, and watched for a while; the others follow once the agent was restarted.
    """

    jobs: tuple[JobPlan, ...]
    together: bool = False
    framed: bool = False
    probes: bool = False
    at_once: int = 0
    agent_stopped: bool = False

    @property
    def size(self) -> tuple[int, int, int]:
        """How large the plan is: its jobs, the requests of their acts, and what is not usual."""
        requests = sum(len(act.requests) for job in self.jobs for act in job.acts)
        plan = (self.together, self.framed, self.probes, self.at_once > 0, self.agent_stopped)
        jobs = (unusual for job in self.jobs for unusual in (job.after > 0, job.poll_every > 1))
        return len(self.jobs), requests, sum(plan) + sum(jobs)


class PlanError(ValueError):
    """A plan that cannot be used; the message names the file, the place and what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A plan that showed a requirement broken, to be replayed."""

    requirement: str
    plan: Plan


def as_document(replay: Replay) -> dict[str, Any]:
    """Return a plan as plain data: what `schemas/plan.json` describes."""
    return {"requirement": replay.requirement, **asdict(replay.plan)}


def read_replay(path: Path) -> Replay:
    """Read a plan file. Raises ``PlanError`` for a file that is not a plan."""
    try:
        text = read_user_file(path)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        document = json.loads(text, parse_constant=_refuse, parse_int=whole_number)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path}: is not a plan: it is not JSON: {error}") from None
    if isinstance(document, dict) and {"tool", "requirements"} <= document.keys():
        plans = path.with_name(f"{path.stem}.plan.<requirement>.json")
        raise PlanError(f"{path}: is a report, not a plan; its plans are beside it: {plans.name}")
    violation = find_violation(document, "plan")
    if violation is not None:
        raise PlanError(f"{path}: is not a plan: {violation}")
    requirement = document.pop("requirement")
    jobs = tuple(
        JobPlan(
            **{
                **job,
                "acts": tuple(
                    Act(progress=act["progress"], requests=tuple(act["requests"]))
                    for act in job.get("acts", ())
                ),
            }
        )
        for job in document["jobs"]
    )
    return Replay(requirement=requirement, plan=Plan(**{**document, "jobs": jobs}))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number in JSON")


def require_allowed(replay: Replay, target: Target) -> None:
    """Raise ``PlanError`` if a plan needs a recipe or a permission that the target lacks."""
    known = [recipe.name for recipe in target.jobs]
    for number, job in enumerate(replay.plan.jobs, 1):
        if job.recipe not in known:
            raise PlanError(
                f"job {number} of the plan is made by the recipe {job.recipe!r}, which the target "
                f"does not have: it has {', '.join(known)}"
            )
        starts_agent = any("start-agent" in act.requests for act in job.acts)
        if starts_agent and not target.start_agent:
            raise PlanError(
                f"job {number} of the plan starts the agent, which the target does not allow: "
                "set start = true under [agent]"
            )
    if replay.plan.agent_stopped and not target.control_agent:
        raise PlanError(
            "the plan stops the agent, which the target does not allow: set control = true under "
            "[agent]"
        )


def plans(
    recipes: Sequence[JobRecipe], *, most_jobs: int, usual_jobs: int = 1
) -> st.SearchStrategy[Plan]:
    """Return the strategy that draws plans; most have at least ``usual_jobs`` jobs."""
    acts = st.builds(
        Act,
        progress=st.sampled_from((0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)),
        requests=st.sampled_from(
            (
                ("cancel",),
                ("poll",),
                ("cancel", "poll"),
                ("cancel", "cancel"),
                ("poll", "poll"),
                ("cancel", "poll", "poll"),
                ("cancel", "cancel", "poll"),
            )
        ),
    )
    jobs = st.builds(
        JobPlan,
        recipe=st.sampled_from([recipe.name for recipe in recipes]),
        acts=st.lists(acts, max_size=3).map(
            lambda drawn: tuple(sorted(drawn, key=lambda act: act.progress))
        ),
        after=st.sampled_from((AT_ONCE, AT_ONCE, 0.1, 0.5, 0.9)),
        poll_every=st.integers(1, 3),
    )
    any_number = st.lists(jobs, min_size=1, max_size=most_jobs)
    usual_number = st.lists(jobs, min_size=usual_jobs, max_size=most_jobs)
    return st.builds(
        Plan,
        jobs=st.one_of(any_number, usual_number, usual_number).map(tuple),
        together=st.booleans(),
        framed=st.booleans(),
    )
