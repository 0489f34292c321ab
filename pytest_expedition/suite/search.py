"""Looks for plans that show a requirement broken, and shrinks those that do."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings

from pytest_expedition.oracle.history import History, id_of
from pytest_expedition.oracle.rules import judge
from pytest_expedition.oracle.rules.base import best_told
from pytest_expedition.suite.cover import fixed_jobs, plans_of
from pytest_expedition.suite.errors import LimitReachedError, TargetUnusableError
from pytest_expedition.suite.executor import SLOWER
from pytest_expedition.suite.plan import Plan, plans
from pytest_expedition.suite.probes import run_plan
from pytest_expedition.suite.profile import DEFAULT_JOBS, SMOKE_JOBS
from pytest_expedition.suite.shrinking import shrink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.oracle.rules import Violation
    from pytest_expedition.oracle.situations import Situation
    from pytest_expedition.suite.executor import Executor
    from pytest_expedition.suite.plan import JobPlan
    from pytest_expedition.suite.profile import ProfileName

MOST_JOBS_OF_A_PLAN: Final = 3
"""How many jobs a random plan has at the most, if waiting takes no real time."""

USUAL_ROUNDS: Final = 3
MOST_ROUNDS: Final = 6
"""How many jobs it has for each that may run at once, usually and at the most, if waiting takes
real time: whenever a job ends the next begins, so that few places are empty."""

SHRINKING_PLANS: Final = 60
"""How many plans of a run may be tried to make failing ones smaller."""

SUSPICIONS: Final = 4
"""How often at the most a plan that raised a suspicion is carried out once more."""

ASKED_AGAIN: Final = 20
"""How many jobs at the most are asked for once more at the end, if waiting takes real time."""

JOBS_IN_A_ROW: Final = 3
SPARE_SECONDS: Final = 10.0
"""The default profile may take three times as long as a job, and so many seconds more. It begins no
job or plan that may end later."""

LAST_LOOK_SECONDS: Final = 15.0
LAST_LOOK_JOBS: Final = 1.5
"""When the default profile looks once more at jobs that have ended: three jobs in a row, and then
so many seconds, or lengths of a job, later. What has ended is to stay as it is, for good."""

RANDOM_SECONDS: Final = 3.0
"""Random plans of the default profile end within so many seconds, where its usual jobs are done."""


class _Enough(BaseException):
    """No further random plan may begin. Hypothesis lets it through: it takes it for no failure."""


class Search:
    """Carries out the plans of a run, and keeps the smallest that broke each requirement."""

    def __init__(
        self,
        executor: Executor,
        *,
        covering: bool,
        random_plans: int,
        profile: ProfileName,
        seed: int | None,
        until_broken: frozenset[str],
    ) -> None:
        self.executor = executor
        self.client = executor.client
        self.covering = covering
        self.random_plans = random_plans
        self.profile = profile
        self.seed = seed
        self.until_broken = until_broken
        self.target = executor.target
        self.limit = ""
        self.pause = 0.0
        """For how many seconds the target asked to wait, if that ended the run."""
        self.smallest: dict[str, tuple[Plan, Violation]] = {}
        self.planned: set[Situation] = set()
        """The situations for which jobs were created."""
        self._ended: BaseException | None = None
        """What ended the run, other than a limit."""
        self._clock_begun = self.target.clock.now()
        self._suspected: list[tuple[str, Plan]] = []
        """Requirements that a plan may have shown broken, or something else did what was seen."""
        self._suspicions: Counter[str] = Counter()
        self._shrunk: set[str] = set()
        """The requirements for which a smaller plan was looked for."""
        self._shrinking_plans = 0
        executor.may_wait = self._may_wait

    def history(self, exchanges: list[Exchange]) -> History:
        """Return exchanges as what rules judge."""
        return History(exchanges, job_seconds=self.target.limits.job_seconds)

    def run(self) -> None:
        """Run the fixed plans and the random plans of the profile; then ask for jobs once more."""
        if self.covering:
            self._cover()
        if self.random_plans:
            self._search()
        if self._ended is not None:
            raise self._ended
        self._within_limits(self._ask_again)

    def _cover(self) -> None:
        """Carry out the fixed plans, or as many of their jobs as the profile allows."""
        jobs = fixed_jobs(self.target, smoke=self.profile == "smoke")
        fixed = plans_of(jobs, stop_agent=self.target.control_agent)
        if self.profile != "smoke" and not self.target.clock.waits:
            # Judging in between costs no time then.
            crowd = fixed[0]
            rest = replace(crowd, jobs=crowd.jobs[SMOKE_JOBS:], probes=False)
            fixed[:1] = [replace(crowd, jobs=crowd.jobs[:SMOKE_JOBS]), rest]
        self.executor.may_begin = self._may_begin
        for number, plan in enumerate(fixed):
            if number and (self._ends or self._may_begin() < 1):
                break
            self._try(plan)
        self.executor.may_begin = lambda: math.inf
        begun = {id(plan) for plan in self.executor.begun.values()}
        for job in itertools.chain(*jobs.values()):
            self.planned.update(job.situations if id(job.plan) in begun else ())

    def _may_begin(self) -> float:
        """Return how many more jobs of the fixed plans the time of the profile allows."""
        if self._is_over_with(1, self.executor.job_seconds):
            return 0
        left = DEFAULT_JOBS - self._jobs
        return math.inf if not self._is_over_with(left + 1, self.executor.job_seconds) else left

    def _may_wait(self, seconds: float) -> bool:
        """Return whether the time of the profile allows to begin a job so many seconds later."""
        return not self._is_over_with(1, seconds + self.executor.longest_job)

    @property
    def _jobs(self) -> int:
        """How many jobs the run has created."""
        return len(self.client.ledger.ids)

    def _is_over_with(self, jobs: int, seconds: float, *, for_many: float = SPARE_SECONDS) -> bool:
        """Whether so many more jobs, which take so long, are more than the profile has time for.

        ``for_many`` is the time that the profile has for more jobs than its usual ones. Where a job
        does not end in its time, there is time for no other: each may take as long.
        """
        if self._seconds_for_plans == math.inf:
            return False
        if self.executor.any_overdue:
            return True
        few = self._jobs + jobs <= DEFAULT_JOBS
        return self._elapsed + seconds > (self._seconds_for_plans if few else for_many)

    def run_alone(self, plan: Plan) -> None:
        """Run one plan."""
        self._try(plan)
        if self._ended is not None:
            raise self._ended

    def _search(self) -> None:
        """Look for smaller plans than the fixed ones that failed, and try random plans."""
        at_once = self.target.limits.concurrent_jobs
        drawn = plans(self.target.jobs, most_jobs=min(MOST_JOBS_OF_A_PLAN, at_once))
        if self.target.clock.waits:
            drawn = plans(
                self.target.jobs,
                most_jobs=MOST_ROUNDS * at_once,
                usual_jobs=USUAL_ROUNDS * at_once,
            )

        @settings(
            max_examples=self.random_plans,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        @given(drawn)
        def search(plan: Plan) -> None:
            if self._spent():
                raise _Enough
            if not self._has_time_for(plan, for_many=RANDOM_SECONDS):
                return
            try:
                self._try(plan)
                self._make_sure()
                self._shrink()
            except BaseException as error:  # noqa: BLE001 - Hypothesis would try the plan again
                self._ended = error

        if self.seed is not None:
            search = hypothesis.seed(self.seed)(search)
        self._shrink()
        with contextlib.suppress(_Enough):
            search()

    def _make_sure(self) -> None:
        """Carry out plans that raised a suspicion once more, with polls around each cancel."""
        while self._suspected:
            name, plan = self._suspected.pop()
            if name not in self.smallest:
                self._shows_broken(name, replace(plan, framed=True))

    def _shrink(self) -> None:
        """Look for a smaller plan for each requirement that has newly shown broken."""
        for name in [name for name in self.smallest if name not in self._shrunk]:
            self._shrunk.add(name)
            plan, violation = self.smallest[name]
            ids = {id_of(exchange) for exchange in violation.proof}
            suspects = [job for job_id, job in self.executor.begun.items() if job_id in ids]
            shrink(plan, suspects, functools.partial(self._shows_broken, name))

    def _shows_broken(self, name: str, plan: Plan) -> bool:
        """Carry out a smaller plan, if that may be; return whether the requirement breaks.

        Nothing is tried once a job ran beyond its time: a smaller plan may create more such jobs,
        and they would take the places that random plans need.
        """
        if self._ends or self.executor.any_overdue or self._shrinking_plans >= SHRINKING_PLANS:
            return False
        if not self._has_time_for(plan, for_many=SPARE_SECONDS):
            return False
        self._shrinking_plans += 1
        broken = self._try(plan)
        self._make_sure()
        return name in broken

    @property
    def _ends(self) -> bool:
        """Whether no further plan may begin, however short it is."""
        if self.limit or self._ended is not None:
            return True
        return not self.until_broken.isdisjoint(self.smallest)

    def _spent(self) -> bool:
        """Whether no further random plan may begin."""
        over = self._is_over_with(1, self.executor.longest_job, for_many=RANDOM_SECONDS)
        return self._ends or over

    def _has_time_for(self, plan: Plan, *, for_many: float) -> bool:
        """Whether a plan ends in time, if its jobs take as long as the longest so far."""
        if self._seconds_for_plans == math.inf:
            return True
        rounds = -(-len(plan.jobs) // self.target.limits.concurrent_jobs)
        jobs_in_a_row = rounds + max(job.after for job in plan.jobs)
        seconds = jobs_in_a_row * self.executor.longest_job + self.executor.seconds_until_room
        return not self._is_over_with(len(plan.jobs), seconds, for_many=for_many)

    @property
    def _elapsed(self) -> float:
        return self.target.clock.now() - self._clock_begun

    @property
    def _seconds_for_plans(self) -> float:
        if not self.target.clock.waits or self.profile != "default":
            return math.inf
        return JOBS_IN_A_ROW * self.executor.job_seconds + SPARE_SECONDS

    @property
    def longest(self) -> float:
        """Seconds after which the run has ended, as far as is known."""
        seconds = self.target.limits.seconds
        known = self.executor.longest_job > 0 and self.profile == "default"
        return min(seconds, self._seconds_for_plans + SPARE_SECONDS) if known else seconds

    def _try(self, plan: Plan) -> list[str]:
        """Carry out a plan; return the requirements that it showed broken."""
        first, asked_before = len(self.client.exchanges), len(self.executor.asked_for)
        self._within_limits(lambda: run_plan(self.executor, plan))
        plan = _as_far_as_carried_out(plan, self.executor.asked_for[asked_before:])
        findings = judge(self.history(self.client.exchanges[first:]))
        broken = [name for name, finding in findings.items() if finding.violations]
        for name, finding in findings.items():
            suspected = finding.first_broken and not (finding.violations or plan.framed)
            if suspected and self._suspicions[name] < SUSPICIONS:
                self._suspicions[name] += 1
                self._suspected.append((name, plan))
        for name in broken:
            known = self.smallest.get(name)
            if known is None or plan.size < known[0].size:
                self.smallest[name] = (plan, best_told(findings[name].violations))
        return broken

    def _ask_again(self) -> None:
        """Look once more at jobs of the whole run: what has ended stays as it is.

        The default profile does so late, as far as its time allows.
        """
        ids = self.client.ledger.ids
        ends_early = self._ends or self.executor.any_overdue
        if self._seconds_for_plans < math.inf and ids and not ends_early:
            seconds = self.executor.job_seconds / (1 + SLOWER)  # its end was seen late by that part
            late = min(LAST_LOOK_SECONDS, LAST_LOOK_JOBS * seconds)
            self.executor.wait(JOBS_IN_A_ROW * seconds + late - self._elapsed)
        step = -(-len(ids) // ASKED_AGAIN) if self.target.clock.waits and ids else 1
        self.executor.ask_again(ids[::step])

    def _within_limits(self, action: Callable[[], object]) -> None:
        """Do something that sends requests, and remember what stopped it."""
        try:
            action()
        except LimitReachedError as error:
            if not self.limit:
                self.limit, self.pause = error.limit, error.pause
        except TargetUnusableError as error:
            self._ended = error


def _as_far_as_carried_out(plan: Plan, asked_for: Iterable[JobPlan]) -> Plan:
    """Return a plan without the jobs for which no time or place was left."""
    times_asked = Counter(asked_for)
    jobs = []
    for job in plan.jobs:
        if times_asked[job] > 0:
            times_asked[job] -= 1
            jobs.append(job)
    return replace(plan, jobs=tuple(jobs)) if jobs else plan
