"""One run of the contract against a target: its plans, and what the rules say of the traffic."""

from __future__ import annotations

import functools
import random
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from hypothesis import settings

from pytest_expedition.oracle.rules import judge
from pytest_expedition.suite.client import Client, TargetUnusableError
from pytest_expedition.suite.executor import Executor
from pytest_expedition.suite.profile import RANDOM_PLANS, SMOKE_JOBS
from pytest_expedition.suite.search import Search
from pytest_expedition.suite.share import Share, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.oracle.record import RunRecord
    from pytest_expedition.suite.plan import Plan
    from pytest_expedition.suite.profile import ProfileName
    from pytest_expedition.suite.target import Target


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How a run stands while it waits.

    ``jobs`` is how far each running job is, by its id; ``seconds`` have passed, and the run ends
    within ``seconds_left``.
    """

    jobs: Mapping[int, float]
    seconds: float
    seconds_left: float


class Interrupted(KeyboardInterrupt):
    """A run was interrupted, and has cleaned up; ``left_behind`` are the jobs that still run."""

    def __init__(self, client: Client) -> None:
        super().__init__("the run was interrupted")
        self.left_behind = client.leftovers.jobs
        self.unconfirmed_creations = client.leftovers.unconfirmed_creations


def run_contract(
    target: Target,
    *,
    profile: ProfileName = "default",
    seed: int | None = None,
    until_broken: Collection[str] = (),
    watch: Callable[[Progress], None] | None = None,
    record: Callable[[Exchange, Sequence[str]], object] | None = None,
    plan: Plan | None = None,
) -> RunRecord:
    """Run the contract against a target, or one ``plan`` alone: all of it, in one share.

    For the parameters see ``run_share``.
    """
    done = run_share(
        target,
        profile=profile,
        seed=seed,
        until_broken=until_broken,
        watch=watch,
        record=record,
        plan=plan,
    )
    return merge(target, [done])


def run_share(
    target: Target,
    *,
    profile: ProfileName,
    seed: int | None = None,
    until_broken: Collection[str] = (),
    watch: Callable[[Progress], None] | None = None,
    record: Callable[[Exchange, Sequence[str]], object] | None = None,
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
            watch(Progress(jobs=jobs, seconds=seconds, seconds_left=search.longest - seconds))

    client = Client(target, record=record)
    search = Search(
        Executor(client, watch=tell),
        covering=number == 0,
        random_plans=len(range(number, RANDOM_PLANS[profile], count)),
        profile=profile,
        seed=_own_seed(seed, number) if count > 1 else seed,
        until_broken=frozenset(until_broken),
    )
    work = search.run if plan is None else functools.partial(search.run_alone, plan)
    reason = ""
    try:
        with client:
            try:
                work()
                client.require_answers()
            except TargetUnusableError as error:
                reason = f"{error}{client.by_proxy}"
    except KeyboardInterrupt:
        # Without its traceback, which holds what was being sent.
        raise Interrupted(client) from None
    reason = reason or client.leftovers.agent
    # Of a target that never let us create a job, nothing is held against it.
    history = search.history(client.exchanges if client.ledger.ids or not reason else [])
    return Share(
        findings=judge(history),
        created_in=history.created_in,
        dialects=history.dialects,
        limit=search.limit,
        smallest=search.smallest,
        started=started,
        seconds=time.monotonic() - begun,
        requests=client.requests,
        jobs=len(client.ledger.ids),
        unanswered=Counter(x.status for x in history.exchanges if not x.answered),
        reason=reason,
        left_behind=client.leftovers.jobs,
        unconfirmed_creations=client.leftovers.unconfirmed_creations,
        secrets=client.secrets,
    )


def _own_seed(seed: int | None, number: int) -> int:
    """Return the seed of a share: no two draw the same plans, whatever Hypothesis is told."""
    if seed is None:
        seed = 0 if settings().derandomize else random.randrange(2**32)  # noqa: S311
    return seed + 10_000 * number
