"""The fixed plans of a run: they exercise every situation once, the most telling ones first."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.situations import CANCELS, PHASES, Situation
from pytest_expedition.suite.plan import AT_ONCE, AT_THE_END, Act, JobPlan, Plan
from pytest_expedition.suite.profile import SMOKE_JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_expedition.oracle.situations import Company, Phase, SituationRequest
    from pytest_expedition.protocol.recipe import JobRecipe
    from pytest_expedition.suite.plan import RequestKind
    from pytest_expedition.suite.target import Target

_POLL: Final[tuple[RequestKind, ...]] = ("poll",)
_CANCEL: Final[tuple[RequestKind, ...]] = ("cancel",)
_AT_ONE_INSTANT: Final[tuple[SituationRequest, ...]] = ("cancel-and-polls", "two-cancels")
"""Two situations that one job exercises: two cancels and two polls are sent at the same instant."""

_REQUESTS_AT_ONE_INSTANT: Final[tuple[RequestKind, ...]] = ("cancel", "cancel", "poll", "poll")

_ORDER: Final[tuple[tuple[Phase, tuple[SituationRequest, ...], float], ...]] = (
    ("middle", _AT_ONE_INSTANT, 0.75),
    ("created", ("cancel",), AT_ONCE),
    ("middle", ("cancel",), 0.4),
    ("early", ("cancel",), 0.14),
    ("late", ("cancel",), 0.95),
    ("created", _AT_ONE_INSTANT, AT_ONCE),
    ("queued", ("cancel",), AT_ONCE),
    ("late", _AT_ONE_INSTANT, 0.91),
    ("early", _AT_ONE_INSTANT, 0.1),
    ("middle", ("cancel-twice",), 0.6),
    ("created", ("cancel-twice",), AT_ONCE),
    ("queued", _AT_ONE_INSTANT, AT_ONCE),
    ("early", ("cancel-twice",), 0.05),
    ("queued", ("cancel-twice",), AT_ONCE),
    ("late", ("cancel-twice",), 0.93),
)
"""The first cancel of a job, in a crowd, and at which progress.

The most telling come first: the profile `smoke` has the first two, `default` six. The order also
decides which jobs are alive at a cancel: where company is told apart, all of them well under way.
"""

_ONE_AFTER_THE_OTHER: Final[Mapping[Phase, float]] = {
    "late": 0.95,
    "created": AT_ONCE,
    "queued": AT_ONCE,
    "early": 0.1,
    "middle": 0.4,
}
"""At which progress a job with less company is first cancelled, by its phase.

Beside others, the first of these runs longest.
"""

_POLLED_BEFORE: Final[Mapping[Phase, tuple[float, ...]]] = {
    "queued": (AT_ONCE, AT_ONCE),
    "early": (0.03,),
    "middle": (0.36,),
    "late": (0.905,),
}
"""At which progress a job is polled before the cancel, by the phase of the cancel."""

_PLACES: Final[Mapping[Company, int]] = {"beside": 2, "alone": 1}
"""How many jobs of a fixed plan may be alive at the same time; in a crowd as many as allowed."""

AMONG_OLDER: Final = 0.3
"""How far the first job is before one is created that is cancelled at once."""

SOON: Final = 0.04
"""How far a job that refuses its cancels is at the first of them.

`smoke` creates its jobs that are to be cancelled when the first job of all is three and four times
as far: a fault may show in a cancel that comes after a refused one.
"""

UNTIL_THE_STOP: Final = 8
"""How many jobs of the crowd come before the agent is stopped, where that is allowed."""


@dataclass(frozen=True, kw_only=True)
class CoveringJob:
    """A job of a fixed plan, and the situations that it is there for."""

    plan: JobPlan
    situations: tuple[Situation, ...]

    @property
    def is_cancelled(self) -> bool:
        """Whether a cancel ends the job."""
        return Situation("cancelled", "poll", "any") in self.situations


def plans_of(
    jobs: Mapping[Company, Sequence[CoveringJob]], *, stop_agent: bool = False
) -> list[Plan]:
    """Return the fixed plans: first the crowd, with the probes.

    ``stop_agent``: the crowd is parted in two, and the agent is stopped between the two.
    """
    plans = [
        Plan(
            jobs=tuple(job.plan for job in group),
            framed=True,
            probes=company == "crowd",
            at_once=_PLACES.get(company, 0),
        )
        for company, group in jobs.items()
    ]
    if stop_agent:
        crowd = plans[0]
        place = min(UNTIL_THE_STOP, len(crowd.jobs) - 1)
        before, after = crowd.jobs[:place], crowd.jobs[place:]
        second = replace(crowd, jobs=after, probes=False, agent_stopped=True)
        plans[:1] = [replace(crowd, jobs=before), second]
    return plans


def covering_jobs(
    recipes: Sequence[JobRecipe], *, jobs_at_once: int, start_agent: bool = False
) -> dict[Company, list[CoveringJob]]:
    """Return the jobs of the fixed plans by the company in which they run.

    A job that may be cancelled has one first cancel, so each of these takes a job of its own. What
    does not end a job is done to one that has to be there anyway. ``start_agent``: the agent, which
    runs, is started once more half-way.
    """
    may_be_cancelled = [recipe.name for recipe in recipes if recipe.cancellable is not False]
    refuses = [recipe.name for recipe in recipes if recipe.cancellable is False]
    names = itertools.cycle(may_be_cancelled or refuses)
    finishing = _finishing(next(names))
    refusing = [_refusing(name) for name in refuses if may_be_cancelled]
    cancelled = [_cancelled(next(names), *each, "crowd") for each in _ORDER]
    beside: list[CoveringJob] = []
    if jobs_at_once > _PLACES["beside"]:
        beside += _one_after_the_other(names, "beside")
        # In whatever company; when it ends, the next is created beside a job in its last tenth.
        beside.insert(1, cancelled.pop())
    alone: list[CoveringJob] = []
    if jobs_at_once > _PLACES["alone"]:
        alone += _one_after_the_other(names, "alone")
    # Two neighbours of each finish: a fault may show on every second or third job.
    again = [_again(finishing)] * 2 + [
        _refusing_early(name) for name in refuses[:1] if refusing
    ] * 2
    spare = -(1 + len(refusing) + len(cancelled) + len(again)) % jobs_at_once
    filled = itertools.islice(itertools.cycle(again), spare)  # the last round is full
    first = [finishing, *refusing[:1]]
    if start_agent:
        first[-1] = _with_start_of_agent(first[-1])
    early = UNTIL_THE_STOP - len(first)
    crowd = [
        *(*first, *cancelled[:early]),
        *(*refusing[1:], *again, *cancelled[early:], *filled),
    ]
    made: dict[Company, list[CoveringJob]] = {"crowd": crowd, "beside": beside, "alone": alone}
    return {company: jobs for company, jobs in made.items() if jobs}


def fixed_jobs(target: Target, *, smoke: bool) -> dict[Company, list[CoveringJob]]:
    """Return the jobs of the fixed plans for a target; ``smoke``: the few of that profile."""
    jobs = covering_jobs(
        target.jobs,
        jobs_at_once=target.limits.concurrent_jobs,
        start_agent=target.start_agent,
    )
    if smoke:
        return {"crowd": smoke_jobs(jobs["crowd"], stop_agent=target.control_agent)}
    return jobs


def smoke_jobs(crowd: Sequence[CoveringJob], *, stop_agent: bool = False) -> list[CoveringJob]:
    """Return the first jobs of the crowd, as the profile `smoke` creates them.

    First, at the same instant, come those that are not cancelled. So their ids follow one another,
    and a fault of every second job shows on one of them. The others come one after the other, the
    first to be cancelled first: a job that is created after a cancel may get the cancelled one's
    id. ``stop_agent``: the first job is the last instead, and is created while the agent is
    stopped.
    """
    few = crowd[:SMOKE_JOBS]
    jobs = [job for job in few if not job.is_cancelled]
    cancelled = [job for job in few if job.is_cancelled]
    cancelled.sort(key=lambda job: job.plan.acts[0].progress)
    for number, job in enumerate(cancelled, 3):
        jobs.append(replace(job, plan=replace(job.plan, after=number * SOON)))
    return [*jobs[1:], jobs[0]] if stop_agent else jobs


def _one_after_the_other(recipes: Iterator[str], company: Company) -> list[CoveringJob]:
    return [
        _cancelled(next(recipes), phase, ("cancel",), progress, company)
        for phase, progress in _ONE_AFTER_THE_OTHER.items()
    ]


def _cancelled(
    recipe: str,
    phase: Phase,
    requests: tuple[SituationRequest, ...],
    progress: float,
    company: Company,
) -> CoveringJob:
    """Make a job that a cancel ends in some phase, and that is cancelled once more after that."""
    plain, at_one_instant = requests == ("cancel",), requests == _AT_ONE_INSTANT
    polled = _POLLED_BEFORE.get(phase, ()) if plain or phase == "queued" else ()
    cancel = _REQUESTS_AT_ONE_INSTANT if at_one_instant else _CANCEL
    acts = [
        *(Act(progress=at, requests=_POLL) for at in polled),
        *[Act(progress=progress, requests=cancel)] * (1 + ("cancel-twice" in requests)),
        Act(progress=AT_THE_END, requests=_POLL),
        Act(progress=AT_THE_END, requests=cancel),
    ]
    told = company if plain else "any"
    again: tuple[SituationRequest, ...] = _AT_ONE_INSTANT if at_one_instant else ("cancel",)
    polls: tuple[Phase, ...] = ("created", "queued") if phase == "queued" else (phase,)
    comes_late = company == "crowd" and phase == "created"
    return CoveringJob(
        plan=JobPlan(recipe=recipe, acts=tuple(acts), after=AMONG_OLDER if comes_late else AT_ONCE),
        situations=(
            *(Situation(phase, request, told) for request in requests),
            *(Situation(each, "poll", company) for each in polls if polled),
            Situation("cancelled", "poll", "any"),
            *(Situation("cancelled", request, "any") for request in again),
        ),
    )


def _with_start_of_agent(job: CoveringJob) -> CoveringJob:
    acts = (*job.plan.acts, Act(progress=0.5, requests=("start-agent",)))
    in_order = tuple(sorted(acts, key=lambda act: act.progress))
    return replace(job, plan=replace(job.plan, acts=in_order))


def _finishing(recipe: str) -> CoveringJob:
    """Make a job that runs to its end while others are cancelled, and is cancelled too late."""
    too_late: tuple[SituationRequest, ...] = ("cancel", *_AT_ONE_INSTANT)
    return CoveringJob(
        plan=JobPlan(
            recipe=recipe,
            acts=(
                Act(progress=AT_THE_END, requests=_POLL),
                Act(progress=AT_THE_END, requests=_CANCEL),
                Act(progress=AT_THE_END, requests=("cancel", "poll", "poll")),
                Act(progress=AT_THE_END, requests=("cancel", "cancel")),
            ),
        ),
        situations=(
            *(Situation(phase, "creation", "any") for phase in PHASES if phase != "refused"),
            *(Situation("finished", each, "any") for each in ("poll", *too_late)),
        ),
    )


def _refusing(recipe: str) -> CoveringJob:
    """Make a job that refuses its cancels: one before others are cancelled, the rest after.

    It is cancelled once more when it has finished, as a fault may show on every second job.
    """
    acts = (
        Act(progress=SOON, requests=_CANCEL),
        Act(progress=0.78, requests=_CANCEL),
        Act(progress=0.8, requests=("cancel", "poll")),
        Act(progress=0.84, requests=_CANCEL),
        Act(progress=0.84, requests=_CANCEL),
        Act(progress=0.88, requests=("cancel", "cancel")),
        Act(progress=0.93, requests=_CANCEL),
        Act(progress=AT_THE_END, requests=_POLL),
        Act(progress=AT_THE_END, requests=_CANCEL),
    )
    requests: tuple[SituationRequest, ...] = ("poll", *CANCELS, "creation")
    return CoveringJob(
        plan=JobPlan(recipe=recipe, acts=acts),
        situations=tuple(Situation("refused", each, "any") for each in requests),
    )


def _refusing_early(recipe: str) -> CoveringJob:
    """Make a further job that refuses its cancels, the first right after its creation."""
    acts = (
        Act(progress=AT_ONCE, requests=_CANCEL),
        Act(progress=0.2, requests=("cancel", "poll")),
        Act(progress=0.4, requests=_CANCEL),
    )
    return CoveringJob(plan=JobPlan(recipe=recipe, acts=acts), situations=())


def _again(job: CoveringJob) -> CoveringJob:
    """Return a further job like another, which is there for no situation of its own."""
    return CoveringJob(plan=job.plan, situations=())
