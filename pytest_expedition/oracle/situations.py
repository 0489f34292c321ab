"""Situations: which request was sent in which phase of a job's life, and beside how many others.

What a run exercised is decided from its history, not from what was planned.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pytest_expedition.oracle.history import CANCELLED, FINISHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_expedition.oracle.history import Exchange, History, JobHistory

Phase = Literal["created", "queued", "early", "middle", "late", "finished", "cancelled", "refused"]
SituationRequest = Literal[
    "poll", "cancel", "cancel-twice", "cancel-and-polls", "two-cancels", "creation"
]
Company = Literal["alone", "beside", "crowd", "any"]

MIDDLE: Final = 0.35
"""From which state on a job is in the middle of its life."""

LATE: Final = 0.9
"""From which state on a job is in its last tenth."""

UNDER_WAY: Final = 0.15
"""From which state on a job is well under way."""

STILL_AT_ZERO: Final = 0.02
"""Below which estimated state a job that was last seen at 0 is still taken to be there."""

PHASES: Final[Mapping[Phase, str]] = {
    "created": "a job of which nothing was asked since its creation",
    "queued": "a job still at 0",
    "early": f"a job below {MIDDLE:g}",
    "middle": f"a job from {MIDDLE:g} on",
    "late": "a job in its last tenth",
    "finished": "a finished job",
    "cancelled": "a cancelled job",
    "refused": "a job that goes on after a refused cancel",
}
RUNNING: Final[tuple[Phase, ...]] = ("created", "queued", "early", "middle", "late")

REQUESTS: Final[Mapping[SituationRequest, str]] = {
    "poll": "a poll of",
    "cancel": "a cancel of",
    "cancel-twice": "a cancel, and another once it was answered, of",
    "cancel-and-polls": "a cancel and polls at the same instant of",
    "two-cancels": "two cancels at the same instant of",
    "creation": "the creation of a job beside",
}
CANCELS: Final[tuple[SituationRequest, ...]] = (
    "cancel",
    "cancel-twice",
    "cancel-and-polls",
    "two-cancels",
)

COMPANIES: Final[Mapping[Company, str]] = {
    "crowd": ", while as many jobs as allowed are alive and the others well under way",
    "beside": ", while other jobs are alive, but not as in a crowd",
    "alone": ", while no other job is alive",
    "any": "",
}


class Situation(NamedTuple):
    """A request about a job in some phase of its life, beside some number of other jobs."""

    phase: Phase
    request: SituationRequest
    company: Company

    @property
    def id(self) -> str:
        """The short name."""
        company = "" if self.company == "any" else f".{self.company}"
        return f"{self.phase}.{self.request}{company}"

    @property
    def text(self) -> str:
        """The situation in one sentence."""
        text = f"{REQUESTS[self.request]} {PHASES[self.phase]}{COMPANIES[self.company]}"
        return f"{text[0].upper()}{text[1:]}."


def _all() -> Iterator[Situation]:
    """Yield every situation that makes sense.

    Company is told apart for a poll and a cancel of a running job. For requests at the same instant
    it is not, since they are about one another; nor for jobs that have ended.
    """
    apart: tuple[Company, ...] = ("crowd", "beside", "alone")
    for phase in PHASES:
        for request in REQUESTS:
            if request == "cancel-twice" and phase in {"finished", "cancelled"}:
                continue  # the second cancel is one more of a job that has ended
            if phase in RUNNING and request in {"poll", "cancel"}:
                yield from (Situation(phase, request, company) for company in apart)
            else:
                yield Situation(phase, request, "any")


SITUATIONS: Final = tuple(_all())
"""Every situation, by phase and request."""


@dataclass(frozen=True, kw_only=True)
class SituationResult:
    """How often a run exercised a situation; if it did not, ``reason`` says why."""

    situation: Situation
    exercised: int
    reason: str = ""


def exercised(history: History, *, jobs_at_once: int) -> Counter[Situation]:
    """Count the situations that a history shows.

    ``jobs_at_once`` is how many jobs were allowed to be alive at the same time. The state of a job
    between two answers is estimated by its pace. Where its phase cannot be told, nothing is
    counted. Cancels of running jobs count if the jobs may be cancelled; where the history has no
    such job, those of all.
    """
    lives = [_Life(job) for job in history.jobs.values() if job.creation is not None]
    paces: dict[str, list[float]] = {}
    for life in lives:
        if life.pace is not None:
            paces.setdefault(life.recipe, []).append(life.pace)
    for life in lives:
        if life.pace is None and life.recipe in paces:
            life.pace = statistics.median(paces[life.recipe])
    events = sorted(
        ((time, life, request, first) for life in lives for time, request, first in life.events()),
        key=lambda event: event[0],
    )
    waiting = sorted(lives, key=lambda life: life.born, reverse=True)
    alive: list[_Life] = []
    grants = any(life.job.cancellable is not False for life in lives)
    seen: Counter[Situation] = Counter()
    ended: set[Phase] = set()
    for time, life, request, first in events:
        while waiting and waiting[-1].born <= time:
            alive.append(waiting.pop())
        ended |= {each.end for each in alive if each.gone <= time}
        alive = [each for each in alive if each.gone > time]
        others = [each for each in alive if each is not life]
        if request == "creation":
            sure = [each for each in others if each.over > time]
            phases = ended | _phases_beside(life, time, sure, lives)
            seen.update(Situation(phase, request, "any") for phase in phases)
            continue
        phase = life.phase_of(first)
        first_cancel = phase in RUNNING and request != "poll"
        if phase is None or (first_cancel and grants and life.job.cancellable is False):
            continue
        told = Situation(phase, request, _company(others, time, jobs_at_once))
        if told not in _LISTED:
            told = Situation(phase, request, "any")
        seen[told] += told in _LISTED
    return +seen


def _phases_beside(
    created: _Life, time: float, alive: Iterable[_Life], lives: Iterable[_Life]
) -> set[Phase]:
    """Return the phases of the jobs beside which another was created."""
    phases = {phase for each in alive if (phase := each.phase_at(time)) is not None}
    if any(_overlap(each.first, created.first) for each in lives if each is not created):
        phases.add("created")
    return phases


_LISTED: Final = frozenset(SITUATIONS)


def _company(others: Sequence[_Life], time: float, jobs_at_once: int) -> Company:
    """Return the company of a job; `any` where it cannot be told whether others were alive."""
    if not others:
        return "alone"
    alive = [each for each in others if each.over > time]
    if len(alive) + 1 >= jobs_at_once and all(each.under_way(time) for each in alive):
        return "crowd"
    return "beside" if alive else "any"


def _overlap(one: Exchange, other: Exchange) -> bool:
    return not one.before(other) and not other.before(one)


def _middle(exchange: Exchange) -> float:
    return (exchange.sent + exchange.received) / 2


class _Life:
    """What the answers about a job tell of its life."""

    def __init__(self, job: JobHistory) -> None:
        assert job.creation is not None
        self.job = job
        self.first = job.creation
        self.recipe = f"{job.creation.method} {job.creation.path}"
        self.born = job.creation.received
        self.asked = sorted((*job.statuses, *job.cancels), key=lambda x: x.sent)
        self.first_known = min((x.received for x in self.asked), default=math.inf)
        """When the first answer after that to the creation arrived."""
        running = (x for x in job.seen if x.state is not None and 0 <= x.state < FINISHED)
        self.running = sorted(running, key=_middle)
        self.times = [_middle(x) for x in self.running]
        self.highest = list(itertools.accumulate((x.state or 0.0 for x in self.running), max))
        """The highest state that was shown so far, for each of ``times``."""
        self.pace = self._own_pace()

    def _own_pace(self) -> float | None:
        """How much the state grows in a second, as far as two answers tell."""
        moving = [x for x in self.running if x.state]
        if not moving:
            return None
        last = max(moving, key=_middle)
        before = [x for x in self.running if (x.state or 0) < (last.state or 0)]
        first = min(before, key=_middle, default=None)
        if first is not None:
            since, gained = _middle(last) - _middle(first), (last.state or 0) - (first.state or 0)
        else:
            since, gained = _middle(last) - self.born, last.state or 0
        return gained / since if since > 0 else None

    @functools.cached_property
    def end(self) -> Phase:
        """How the job ended."""
        return "cancelled" if self.job.cancelled is not None else "finished"

    @functools.cached_property
    def gone(self) -> float:
        """When the job was known to have ended."""
        ends = (self.job.cancelled, self.job.finished, self.job.failed)
        return min((x.received for x in ends if x is not None), default=math.inf)

    @functools.cached_property
    def over(self) -> float:
        """Until when the job was alive, as far as is known; needs the paces of all jobs."""
        if self.job.cancelled is not None:
            # The first cancel that may have ended it, unless it was seen to run on after that.
            last_alive = self.running[-1].sent if self.running else self.born
            granted = (x.sent for x in self.job.attempts if x.received >= last_alive)
            return min(granted, default=last_alive)
        if not self.running:
            return self.born
        last = self.running[-1]
        if self.job.finished is None or self.pace is None:
            return _middle(last)
        left = (FINISHED - (last.state or 0)) / self.pace
        return min(_middle(last) + left, self.job.finished.received)

    def state_at(self, time: float) -> float | None:
        """Estimate the state at a time at which the job was running."""
        place = bisect_right(self.times, time)
        low = self.highest[place - 1] if place else 0.0
        since = self.times[place - 1] if place else self.born
        if place < len(self.times):
            until, high = self.times[place], max(self.running[place].state or 0, low)
            return low + (high - low) * (time - since) / (until - since)
        if self.pace is None:
            return low if low == 0 else None
        return low + self.pace * (time - since)

    def under_way(self, time: float) -> bool:
        """Whether the job was well under way."""
        return (self.state_at(time) or 0) >= UNDER_WAY

    def phase_at(self, time: float) -> Phase | None:
        """The phase at a time at which the job was alive, by its state alone."""
        if self.first_known > time:
            return "created"
        if self.job.cancellable is not True and self.refused_at < time:
            return "refused"
        return _phase_by(self.state_at(time), was_zero=self._was_zero(time))

    def _was_zero(self, time: float) -> bool:
        place = bisect_right(self.times, time)
        return not place or self.highest[place - 1] == 0

    def phase_of(self, exchange: Exchange) -> Phase | None:
        """The phase in which a request about the job came; ``None`` if that cannot be told."""
        job = self.job
        if job.cancelled_before(exchange):
            return "cancelled"
        if job.finished_before(exchange):
            return "finished"
        if exchange.state == FINISHED or job.failed_before(exchange):
            return None
        if self.first_known >= exchange.sent:
            return "created"
        if exchange.state == CANCELLED and exchange.kind == "status":
            return None  # a cancel at the same time has ended it, or may have
        if job.cancellable is not True and self.refused_at < exchange.sent:
            return "refused"
        shows = exchange.state is not None and 0 <= exchange.state < FINISHED
        state = exchange.state if shows else self.state_at(_middle(exchange))
        return _phase_by(state, was_zero=self._was_zero(exchange.sent))

    @functools.cached_property
    def refused_at(self) -> float:
        """When the first cancel was answered after which the job was seen to go on."""
        last = self.running[-1] if self.running else None
        refused = (
            x for x in self.job.cancels if last is not None and (x is last or x.before(last))
        )
        return min((x.received for x in refused), default=math.inf)

    def events(self) -> Iterator[tuple[float, SituationRequest, Exchange]]:
        """Yield the requests about the job: their time, what they are, and the first of them."""
        yield self.first.sent, "creation", self.first
        previous: tuple[float, Exchange] | None = None
        for group in _at_the_same_instant(self.asked):
            cancels = [x for x in group if x.kind == "cancel"]
            first = cancels[0] if cancels else group[0]
            time = _middle(first)
            if not cancels:
                yield from ((_middle(x), "poll", x) for x in group)
                previous = None
                continue
            if len(cancels) > 1:
                yield time, "two-cancels", first
            if len(cancels) < len(group):
                yield time, "cancel-and-polls", first
            if len(group) > 1:
                previous = None
                continue
            yield time, "cancel", first
            if previous is not None:
                yield previous[0], "cancel-twice", previous[1]
            previous = time, first


def _phase_by(state: float | None, *, was_zero: bool) -> Phase | None:
    if state is None or state >= FINISHED:
        return None
    if was_zero and state < STILL_AT_ZERO:
        return "queued"
    return "early" if state < MIDDLE else "middle" if state < LATE else "late"


def _at_the_same_instant(asked: Iterable[Exchange]) -> Iterator[list[Exchange]]:
    """Part requests into those that overlap in time."""
    group: list[Exchange] = []
    for exchange in asked:
        if group and any(x.before(exchange) for x in group):
            yield group
            group = []
        group.append(exchange)
    if group:
        yield group
