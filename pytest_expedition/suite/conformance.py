"""Puts a target to the test: plans, the oracle's findings, the verdict."""

from __future__ import annotations

import contextlib
import functools
import math
import random
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, Literal

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import HypothesisException

from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.server import ExpeditionServer
from pytest_expedition.oracle.history import History, spoken
from pytest_expedition.oracle.rules import judge, together
from pytest_expedition.oracle.verdict import Result, conclude, settle, waive
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.suite.clock import SkippingClock
from pytest_expedition.suite.plan import Plan, covering, plans
from pytest_expedition.suite.runner import LimitReachedError, Runner, TargetUnusableError
from pytest_expedition.suite.target import JobRecipe, Limits, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.oracle.rules import Finding, Violation
    from pytest_expedition.oracle.verdict import Verdict
    from pytest_expedition.protocol.envelope import Dialect

ProfileName = Literal["smoke", "default", "thorough"]

RANDOM_PLANS: Final[dict[ProfileName, int]] = {"smoke": 0, "default": 50, "thorough": 500}
"""How many random plans follow the covering one, at the most."""

SMOKE_JOBS: Final = 4
MOST_JOBS_OF_A_PLAN: Final = 3
SHRINKING_PLANS: Final = 60
"""How many plans of a run may be tried to make failing ones smaller."""

ASKED_AGAIN: Final = 20
"""How many jobs, at the most, an instance that makes one wait is asked for once more at the end."""

EMBEDDED_JOB_SECONDS: Final = 30.0
EMBEDDED_POLL_SECONDS: Final = 2.7
"""No whole part of a job's length: so jobs are seen at odd places, not at each tenth."""

JOBS_IN_A_ROW: Final = 3
SPARE_SECONDS: Final = 10.0
"""The default profile begins no plan that may take it longer than three jobs and this together."""


@dataclass(frozen=True, kw_only=True)
class Conformance:
    """What a run found out.

    ``dialect`` is the one that the answers show. ``results`` are in the catalogue's order;
    ``reason`` says why the suite broke, if it did. ``seconds`` are those of the wall clock.
    ``left_behind`` are the ids of jobs that the run created and has not seen end,
    ``perhaps_created`` is how many more may have been, by requests without an answer. ``secrets``
    is what no report may show, ``plans`` are the smallest that broke each requirement.
    """

    target: Target
    dialect: Dialect | Literal["mixed"] | None
    verdict: Verdict
    results: list[Result]
    started: datetime
    seconds: float
    requests: int
    jobs: int
    unanswered: int
    reason: str = ""
    left_behind: tuple[int, ...] = ()
    perhaps_created: int = 0
    secrets: tuple[str, ...] = field(default=(), repr=False)
    plans: dict[str, Plan] = field(default_factory=dict)

    @property
    def first_error(self) -> Result | None:
        """The first requirement that could not be judged because the suite broke."""
        return next((each for each in self.results if each.outcome == "error"), None)


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a part of a run found out, at an instance of its own: see ``Conformance``.

    ``created_in`` and ``dialects`` are the dialects that the answers show, ``limit`` is the one
    that ended the run, ``smallest`` the smallest plan that broke each requirement.
    """

    findings: Mapping[str, Finding]
    created_in: Dialect | None
    dialects: Collection[Dialect | None]
    limit: str
    smallest: Mapping[str, tuple[Plan, Violation]]
    started: datetime
    seconds: float
    requests: int
    jobs: int
    unanswered: int
    reason: str
    left_behind: tuple[int, ...]
    perhaps_created: int
    secrets: tuple[str, ...]


class _Broken(Exception):  # noqa: N818 - raised for Hypothesis, which tells its types apart
    """A plan that showed a requirement broken; each requirement has a type of its own."""


_BROKEN: Final = {name: type(name, (_Broken,), {}) for name in CATALOGUE}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands while it waits.

    ``jobs`` is how far each running job is, by its id; ``seconds`` have passed, and the run ends
    within ``seconds_left``.
    """

    jobs: Mapping[int, float]
    seconds: float
    seconds_left: float


class Interrupted(KeyboardInterrupt):
    """A run was interrupted, and has cleaned up; ``left_behind`` are the jobs that still run."""

    def __init__(self, runner: Runner) -> None:
        super().__init__("the run was interrupted")
        self.left_behind = tuple(runner.left_behind)
        self.perhaps_created = runner.perhaps_created


def check(
    target: Target,
    *,
    profile: ProfileName = "default",
    seed: int | None = None,
    until_broken: Collection[str] = (),
    watch: Callable[[Standing], None] | None = None,
    record: Callable[[Exchange], None] | None = None,
    plan: Plan | None = None,
) -> Conformance:
    """Run the contract against a target, or one ``plan`` alone: all of it, in one share.

    For the parameters see ``carry_out``.
    """
    done = carry_out(
        target,
        profile=profile,
        seed=seed,
        until_broken=until_broken,
        watch=watch,
        record=record,
        plan=plan,
    )
    return concluded(target, [done])


def carry_out(
    target: Target,
    *,
    profile: ProfileName,
    seed: int | None = None,
    until_broken: Collection[str] = (),
    watch: Callable[[Standing], None] | None = None,
    record: Callable[[Exchange], None] | None = None,
    plan: Plan | None = None,
    share: tuple[int, int] = (0, 1),
) -> Share:
    """Carry out one share of a run, or one ``plan`` alone.

    ``share`` is its number, from 0, and how many there are. The first has the plan that covers
    everything; the random ones are shared evenly. The same ``seed`` draws the same plans; ``None``
    leaves the choice to Hypothesis, which takes that of `--hypothesis-seed`. Once a requirement of
    ``until_broken`` has shown broken, no further plan begins. ``watch`` is told how the run stands
    before each pause that takes time, ``record`` each exchange. A target that cannot be used is
    the ``reason`` why the share ended. Raises ``Interrupted`` once jobs are cancelled where it is
    interrupted.
    """
    number, count = share
    started = datetime.now(timezone.utc)
    begun = time.monotonic()
    if profile == "smoke":
        jobs = min(SMOKE_JOBS, target.limits.jobs)
        target = replace(target, limits=replace(target.limits, jobs=jobs))

    def tell(jobs: Mapping[int, float]) -> None:
        if watch is not None:
            seconds = time.monotonic() - begun
            watch(Standing(jobs=jobs, seconds=seconds, seconds_left=trial.longest - seconds))

    runner = Runner(target, watch=tell, record=record)
    trial = _Trial(
        runner,
        covering=number == 0,
        random_plans=len(range(number, RANDOM_PLANS[profile], count)),
        profile=profile,
        seed=_own_seed(seed, number) if count > 1 else seed,
        until_broken=frozenset(until_broken),
    )
    carry_out = trial.carry_out if plan is None else functools.partial(trial.carry_out_alone, plan)
    reason = ""
    try:
        with runner:
            try:
                carry_out()
            except TargetUnusableError as error:
                reason = str(error)
    except KeyboardInterrupt:
        # Without its traceback, which holds what was being sent.
        raise Interrupted(runner) from None
    # Of a target that never let us create a job, nothing is held against it.
    history = trial.history(runner.exchanges if runner.ledger or not reason else [])
    return Share(
        findings=judge(history),
        created_in=history.created_in,
        dialects=history.dialects,
        limit=trial.limit,
        smallest=trial.smallest,
        started=started,
        seconds=time.monotonic() - begun,
        requests=runner.requests,
        jobs=len(runner.ledger),
        unanswered=sum(not exchange.answered for exchange in history.exchanges),
        reason=reason,
        left_behind=tuple(runner.left_behind),
        perhaps_created=runner.perhaps_created,
        secrets=runner.secrets,
    )


def _own_seed(seed: int | None, number: int) -> int:
    """Return the seed of a share: no two draw the same plans, whatever Hypothesis is told."""
    if seed is None:
        seed = 0 if settings().derandomize else random.randrange(2**32)  # noqa: S311
    return seed + 10_000 * number


def concluded(target: Target, shares: Sequence[Share]) -> Conformance:
    """Give the verdict on all shares of a run."""
    reason = next((share.reason for share in shares if share.reason), "")
    smallest: dict[str, tuple[Plan, Violation]] = {}
    for share in shares:
        for name, found in share.smallest.items():
            if name not in smallest or found[0].size < smallest[name][0].size:
                smallest[name] = found
    created_in = next((each.created_in for each in shares if each.created_in is not None), None)
    dialect = spoken(created_in, {dialect for share in shares for dialect in share.dialects})
    started = min(share.started for share in shares)
    results = settle(
        together([share.findings for share in shares]),
        offers=target.offers,
        dialect=dialect,
        limit=next((share.limit for share in shares if share.limit), ""),
        broke=bool(reason),
        minimal={name: violation for name, (_, violation) in smallest.items()},
    )
    results = waive(results, target.waivers, today=started.date())
    return Conformance(
        target=target,
        dialect=dialect,
        verdict=conclude(
            ((each.requirement.level, each.outcome) for each in results), broke=bool(reason)
        ),
        results=results,
        started=started,
        seconds=max((x.started - started).total_seconds() + x.seconds for x in shares),
        requests=sum(share.requests for share in shares),
        jobs=sum(share.jobs for share in shares),
        unanswered=sum(share.unanswered for share in shares),
        reason=reason,
        left_behind=tuple(job_id for share in shares for job_id in share.left_behind),
        perhaps_created=sum(share.perhaps_created for share in shares),
        secrets=tuple(dict.fromkeys(each for share in shares for each in share.secrets)),
        plans={name: plan for name, (plan, _) in smallest.items()},
    )


@contextlib.contextmanager
def embedded_target(make_instance: Callable[[], Instance] = Instance) -> Iterator[Target]:
    """Start a fake instance in this process, and make the target of it: nothing waits."""

    def make() -> Instance:
        instance = make_instance()
        instance.set_pace(EMBEDDED_JOB_SECONDS)
        return instance

    server = ExpeditionServer(make)
    server.start()
    try:
        yield Target(
            url=server.url,
            api_key=server.api_key,
            start_agent=True,
            control_agent=True,
            clock=SkippingClock(server.advance),
            jobs=(
                JobRecipe(
                    name="import",
                    path="/api/v1/project/1/import",
                    form={"resource": "/tmp/config.xml"},  # noqa: S108
                    cancellable=True,
                ),
                JobRecipe(name="export", path="/api/v1/projects/1/export", cancellable=False),
            ),
            limits=Limits(
                job_seconds=4 * EMBEDDED_JOB_SECONDS,
                poll_seconds=EMBEDDED_POLL_SECONDS,
                requests=1_000_000,
                jobs=100_000,
            ),
        )
    finally:
        server.stop()


class _Trial:
    """One run: what is done in which order, and what it has shown so far."""

    def __init__(
        self,
        runner: Runner,
        *,
        covering: bool,
        random_plans: int,
        profile: ProfileName,
        seed: int | None,
        until_broken: frozenset[str],
    ) -> None:
        self.runner = runner
        self.covering = covering
        self.random_plans = random_plans
        self.profile = profile
        self.seed = seed
        self.until_broken = until_broken
        self.target = runner.target
        self.limit = ""
        self.smallest: dict[str, tuple[Plan, Violation]] = {}
        self._unusable: TargetUnusableError | None = None
        self._clock_begun = self.target.clock.now()
        self._shrinking_plans = 0

    def history(self, exchanges: list[Exchange]) -> History:
        """Return exchanges as what rules judge."""
        return History(exchanges, job_seconds=self.target.limits.job_seconds)

    def carry_out(self) -> None:
        """Run the covering plan, random ones as far as the profile goes, and a last look back."""
        if self.covering:
            plan = covering(self.target.jobs, start_agent=self.target.start_agent)
            if self.profile == "smoke":
                plan = replace(plan, jobs=plan.jobs[:SMOKE_JOBS])
            self._try(plan)
        if self.random_plans:
            self._search()
        if self._unusable is not None:
            raise self._unusable
        self._within_limits(self._ask_again)

    def carry_out_alone(self, plan: Plan) -> None:
        """Run one plan."""
        self._try(plan)
        if self._unusable is not None:
            raise self._unusable

    def _search(self) -> None:
        """Try random plans; shrink those that show a requirement broken that none has before."""
        most_jobs = min(MOST_JOBS_OF_A_PLAN, self.target.limits.concurrent_jobs)
        left = self.random_plans
        shrunk: set[str] = set()
        shrinking = False

        def search(plan: Plan) -> None:
            nonlocal left, shrinking
            if self._spent() or (shrinking and self._shrinking_plans >= SHRINKING_PLANS):
                return
            self._shrinking_plans += shrinking
            left -= not shrinking
            if not self._has_time_for(plan):
                return
            fresh = [name for name in self._try(plan) if name not in shrunk]
            if fresh:
                shrinking = True
                raise _BROKEN[fresh[0]]

        while left > 0 and not self._spent():
            shrinking = False
            drawn = settings(
                max_examples=left,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
                verbosity=Verbosity.quiet,
                report_multiple_bugs=False,
            )(given(plans(self.target.jobs, most_jobs=most_jobs))(search))
            if self.seed is not None:
                drawn = hypothesis.seed(self.seed + len(shrunk))(drawn)
            # What was found is kept; that a plan no longer fails once the means are spent is no
            # news.
            with contextlib.suppress(_Broken, HypothesisException):
                drawn()
            if not shrinking:
                return  # Hypothesis has drawn all that it would
            shrunk |= set(self.smallest)

    def _spent(self) -> bool:
        """Whether no further random plan may begin."""
        if self.limit or self._unusable is not None:
            return True
        if not self.until_broken.isdisjoint(self.smallest):
            return True
        return self._elapsed + self.runner.longest_job > self._seconds_for_plans

    def _has_time_for(self, plan: Plan) -> bool:
        """Whether a plan ends in time, if its jobs take as long as the longest so far."""
        if self._seconds_for_plans == math.inf:
            return True
        jobs_in_a_row = 1 + max(job.after for job in plan.jobs)
        seconds = jobs_in_a_row * self.runner.longest_job
        return self._elapsed + seconds <= self._seconds_for_plans

    @property
    def _elapsed(self) -> float:
        return self.target.clock.now() - self._clock_begun

    @property
    def _seconds_for_plans(self) -> float:
        if not self.target.clock.waits or self.profile == "thorough":
            return math.inf
        return JOBS_IN_A_ROW * self.runner.longest_job + SPARE_SECONDS

    @property
    def longest(self) -> float:
        """Seconds after which the run has ended, as far as is known."""
        seconds = self.target.limits.seconds
        known = self.runner.longest_job > 0 and self.profile == "default"
        return min(seconds, self._seconds_for_plans + SPARE_SECONDS) if known else seconds

    def _try(self, plan: Plan) -> list[str]:
        """Carry out a plan; return the requirements that it showed broken."""
        first = len(self.runner.exchanges)
        self._within_limits(lambda: self.runner.run(plan))
        findings = judge(self.history(self.runner.exchanges[first:]))
        broken = [name for name, finding in findings.items() if finding.violations]
        for name in broken:
            known = self.smallest.get(name)
            if known is None or plan.size < known[0].size:
                self.smallest[name] = (plan, findings[name].violations[0])
        return broken

    def _ask_again(self) -> None:
        """Look once more at jobs of the whole run: what has ended stays as it is."""
        ids = self.runner.ledger
        step = -(-len(ids) // ASKED_AGAIN) if self.target.clock.waits and ids else 1
        self.runner.ask_again(ids[::step])

    def _within_limits(self, action: Callable[[], object]) -> None:
        """Do something that sends requests, and remember what stopped it."""
        try:
            action()
        except LimitReachedError as error:
            self.limit = self.limit or error.limit
        except TargetUnusableError as error:
            self._unusable = error
