"""One run of the contract against a target: its plans, and what the rules say of the traffic."""

from __future__ import annotations

import functools
import random
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from hypothesis import settings

from pytest_expedition.oracle.rules import judge
from pytest_expedition.oracle.rules.base import ended_with_its_creation
from pytest_expedition.oracle.situations import exercised
from pytest_expedition.suite.client import Client
from pytest_expedition.suite.errors import TargetUnusableError
from pytest_expedition.suite.executor import Executor
from pytest_expedition.suite.profile import RANDOM_PLANS, SMOKE_JOBS
from pytest_expedition.suite.search import Search
from pytest_expedition.suite.share import Share, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pytest_expedition.oracle.history import Exchange, History
    from pytest_expedition.oracle.record import RunRecord
    from pytest_expedition.suite.plan import Plan
    from pytest_expedition.suite.profile import ProfileName
    from pytest_expedition.suite.target import Target


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is while it waits.

    ``jobs`` is how far each running job is, by its id; ``seconds`` have passed, and the run ends
    within ``seconds_left``.
    """

    jobs: Mapping[int, float]
    seconds: float
    seconds_left: float


class RunStoppedError(Exception):
    """The suite cannot go on, though the target is not the reason; the message says why."""


class RunEndedEarly(Exception):  # noqa: N818 - no error of ours
    """Ctrl-C, a timeout or an error ended a run, which has cleaned up.

    ``share`` is what the run found until then, ``cause`` what ended it.
    """

    def __init__(self, share: Share, cause: BaseException) -> None:
        super().__init__(share.reason)
        self.share = share
        self.cause = cause


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
    """Run the contract, or one ``plan`` alone, against a target, in one share.

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


def run_share(  # noqa: PLR0913 - all but the target by name
    target: Target,
    *,
    profile: ProfileName,
    seed: int | None = None,
    until_broken: Collection[str] = (),
    watch: Callable[[Progress], None] | None = None,
    record: Callable[[Exchange, Sequence[str]], object] | None = None,
    plan: Plan | None = None,
    share: tuple[int, int] = (0, 1),
    before_clean_up: Callable[[str], None] | None = None,
) -> Share:
    """Carry out one share of a run, or one ``plan`` alone.

    ``share`` is its number, from 0, and how many there are. The first has the plan that covers
    everything; the random ones are shared evenly. The same ``seed`` draws the same plans; ``None``
    leaves the choice to Hypothesis, which takes that of `--hypothesis-seed`. Once a requirement of
    ``until_broken`` has shown broken, no further plan begins. ``watch`` is told how the run stands
    before each pause that takes time, ``record`` each exchange; ``record`` may raise
    ``RunStoppedError``. That, and a target that cannot be used, is the ``reason`` why the share
    ended. Whatever else ends it is told to ``before_clean_up``, and raised as ``RunEndedEarly``
    once the jobs are cancelled, for which there are as many seconds as for one answer.
    """
    number, count = share
    started = datetime.now(timezone.utc)
    begun = time.monotonic()
    target = _with_jobs_of(profile, target)

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
    ended: BaseException | None = None
    try:
        with client:
            try:
                work()
                client.require_answers()
            except (TargetUnusableError, RunStoppedError) as error:
                reason = _why_stopped(error, client.proxy)
            except BaseException as error:  # noqa: BLE001 - whatever it is, jobs are cancelled
                ended = error
                client.end_within(target.limits.answer_seconds)
                if before_clean_up is not None:
                    before_clean_up(_why_ended(error))
    except BaseException as error:  # noqa: BLE001 - the second Ctrl-C, say
        ended = ended or error

    def found_out(*, judged: bool) -> Share:
        return _found_out(
            search,
            judged=judged,
            reason=reason or _why_ended(ended),
            alone=plan is not None,
            started=started,
            seconds=time.monotonic() - begun,
        )

    try:
        done = found_out(judged=True)
    except BaseException as error:  # noqa: BLE001 - judging may take long
        ended = ended or error
        done = found_out(judged=False)
    if ended is not None:
        raise RunEndedEarly(done, ended) from None
    return done


def _with_jobs_of(profile: ProfileName, target: Target) -> Target:
    """Lower the limit `jobs` of a target to the jobs of a profile."""
    if profile != "smoke":
        return target
    jobs = min(SMOKE_JOBS, target.limits.jobs)
    return replace(target, limits=replace(target.limits, jobs=jobs))


def _found_out(
    search: Search,
    *,
    judged: bool,
    reason: str,
    alone: bool,
    started: datetime,
    seconds: float,
) -> Share:
    """Return what a share found out; what its requests show only where that is to be ``judged``.

    ``alone`` says whether it had one plan alone to carry out.
    """
    client = search.client
    leftovers = client.leftovers
    reason = _also(reason, leftovers.agent)
    # A target that never created a job is not judged.
    judged = judged and (bool(client.ledger.ids) or not reason)
    history = search.history(client.exchanges if judged else [])
    return Share(
        findings=judge(history),
        created_in=history.created_in,
        dialects=history.dialects,
        limit=search.limit,
        pause=search.pause,
        smallest=search.smallest,
        exercised=exercised(history, jobs_at_once=search.target.limits.concurrent_jobs),
        planned=search.planned,
        why_no_more=_why_no_more(search.limit, search.profile, alone=alone),
        alone=alone,
        started=started,
        seconds=seconds,
        requests=client.requests,
        jobs=client.ledger.jobs,
        longest_job=0.0 if _no_job_was_reached(history) else search.executor.job_seconds,
        unanswered=history.unanswered,
        refused_creations=history.refused_creations,
        proxy=client.proxy,
        reason=reason,
        left_behind=leftovers.jobs,
        unconfirmed_creations=leftovers.unconfirmed_creations,
        unconfirmed_ids=leftovers.unconfirmed_ids,
        secrets=client.secrets,
    )


def _no_job_was_reached(history: History) -> bool:
    """Whether each creation was answered only when its job had ended: no job may be long enough."""
    jobs = history.jobs.values()
    return bool(jobs) and all(any(ended_with_its_creation(job)) for job in jobs)


def _why_no_more(limit: str, profile: ProfileName, *, alone: bool) -> str:
    """Say why a run created no more jobs than it did."""
    if alone:
        return "this run carried out one plan alone"
    if limit:
        return f"the limit `{limit}` of the target was reached before"
    return f"the profile `{profile}` creates fewer jobs, or has no time for more"


def _also(reason: str, further: str) -> str:
    """Add a further reason, unless the first says it."""
    return reason if further in reason else "; ".join(filter(None, (reason, further)))


def _why_stopped(error: TargetUnusableError | RunStoppedError, proxy: str) -> str:
    """Say why a run could not go on."""
    if proxy and isinstance(error, TargetUnusableError):
        return (
            f"{error}; requests go through the proxy {proxy}; name the host in NO_PROXY to do "
            "without it"
        )
    return str(error)


def _why_ended(ended: BaseException | None) -> str:
    """Say in a line what ended a run early; empty if nothing did."""
    if ended is None:
        return ""
    said = str(ended).strip().partition("\n")[0]
    if isinstance(ended, KeyboardInterrupt):
        return said or "interrupted by Ctrl-C"
    return f"the run was ended by {type(ended).__name__}: {said}"


def _own_seed(seed: int | None, number: int) -> int:
    """Return the seed of a share, so that no two shares draw the same plans."""
    if seed is None:
        seed = 0 if settings().derandomize else random.randrange(2**32)  # noqa: S311
    return seed + 10_000 * number
