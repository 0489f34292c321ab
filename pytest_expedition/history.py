"""Frozen traffic: what was asked, what was answered, and when.

Times are seconds on one clock that never goes back. One exchange is *before* another only if its
answer was there before the other's request was sent; all else is at the same time.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pytest_expedition import envelope
from pytest_expedition.envelope import MISSING, Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_expedition.envelope import Dialect

Kind = Literal["create", "status", "cancel", "agent", "other"]
Probe = Literal["", "unknown-id", "bad-id", "no-key", "wrong-key"]

NO_KEY: Final = 401

UNAVAILABLE: Final = frozenset({NO_KEY, 407, 408, 429, 502, 503, 504})
"""HTTP statuses that say nothing of a job: the key, a limit or a gateway stood in between."""

LARGEST_ID: Final = 2**63 - 1
"""The largest id that a database gives out; jobs with larger ones are not followed."""

LARGE: Final = 65536
"""Bytes of a body from which on its document is not kept: it may take many times as many."""

CANCELLED: Final = -1.0
FINISHED: Final = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Exchange:
    """One request and its answer.

    ``sent`` and ``received`` are seconds; of a lost answer ``received`` is when it was given up,
    ``status`` is ``None`` and ``lost`` says why; ``unreadable`` says why nothing was kept of a body
    that did come. ``job_id`` is the id that the request names, ``cancellable`` what is known of the
    job that the request creates. A ``probe`` is a request that is meant to be refused.
    """

    kind: Kind
    method: str
    path: str
    sent: float
    received: float
    status: int | None = None
    body: bytes = b""
    lost: str = ""
    unreadable: str = ""
    job_id: int | None = None
    request_type: str = ""
    request_body: str = ""
    cancellable: bool | None = None
    probe: Probe = ""

    def before(self, other: Exchange) -> bool:
        """Whether this answer was there before the other request was sent."""
        return self.received < other.sent

    @property
    def answered(self) -> bool:
        """Whether the application itself answered."""
        if self.probe and self.status == NO_KEY:
            return True
        return self.status is not None and self.status not in UNAVAILABLE

    @property
    def ok(self) -> bool:
        """Whether the HTTP status is one of success."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the answer says that there is no such job."""
        if not self.answered or self.answer.tells_of_a_job:
            return False
        return self.status in {404, 410} or (self.answer.success is False and not self.failed)

    @property
    def failed(self) -> bool:
        """Whether the server says that it failed itself."""
        return self.status is not None and self.status >= 500

    @functools.cached_property
    def answer(self) -> Answer:
        """What the answer says."""
        if self.unreadable:
            return Answer(problem=self.unreadable)
        answer = envelope.read(self.body)
        return answer if len(self.body) <= LARGE else envelope.abridged(answer)

    @property
    def document(self) -> object:
        """All of the answer, as JSON reads it."""
        if len(self.body) <= LARGE:
            return self.answer.document
        return envelope.read(self.body).document  # read anew each time: memory is precious

    @functools.cached_property
    def state(self) -> float | None:
        """The job's state that the answer shows, if it is one that the documentation allows."""
        return self.answer.progress if self.answered and not self.failed else None


class Job:
    """What a history tells of one job: its exchanges, and the states seen in them."""

    def __init__(self, creation: Exchange, *, job_id: int, seconds_allowed: float) -> None:
        self.id = job_id
        self.seconds_allowed = seconds_allowed
        self.creation = creation
        self.cancellable = creation.cancellable
        self.statuses: list[Exchange] = []
        """Answered status requests, in the order in which they were sent."""
        self.silent = 0
        """How many status requests at the end were not answered."""
        self.cancels: list[Exchange] = []
        """Answered cancels, in the order in which they were sent."""
        self.attempts: list[Exchange] = []
        """Every cancel that may have been carried out: also the unanswered and the keyless."""
        self.agent_stopped = float("inf")
        """From when on the agent may not have run the job, because it was told to stop."""

    @functools.cached_property
    def answers(self) -> list[Exchange]:
        """Creation, status and cancel answers, in the order in which they were sent."""
        everything = [self.creation, *self.statuses, *self.cancels]
        return sorted(everything, key=lambda exchange: exchange.sent)

    @functools.cached_property
    def seen(self) -> list[Exchange]:
        """The answers that show a state of this job, in the order in which they were sent."""
        return [x for x in self.answers if x.state is not None and self.is_about_it(x)]

    def is_about_it(self, exchange: Exchange) -> bool:
        """Whether the answer does not say that it is about another job."""
        told = exchange.answer.job_id
        return told is MISSING or told == self.id or told == str(self.id)

    @functools.cached_property
    def first_cancel_sent(self) -> float:
        """When the first cancel was sent, infinity if none was."""
        return min((x.sent for x in self.attempts), default=float("inf"))

    @functools.cached_property
    def finished(self) -> Exchange | None:
        """The first answer to arrive that shows the job finished."""
        return self._first(FINISHED)

    @functools.cached_property
    def cancelled(self) -> Exchange | None:
        """The first answer to arrive that shows the job cancelled."""
        return self._first(CANCELLED)

    def _first(self, state: float) -> Exchange | None:
        shown = (x for x in self.seen if x.state == state)
        return min(shown, key=lambda exchange: exchange.received, default=None)

    def finished_before(self, exchange: Exchange) -> bool:
        """Whether the job was seen finished before the request was sent."""
        return self.finished is not None and self.finished.before(exchange)

    def cancelled_before(self, exchange: Exchange) -> bool:
        """Whether the job was seen cancelled before the request was sent."""
        return self.cancelled is not None and self.cancelled.before(exchange)

    def last_before(self, exchange: Exchange) -> Exchange | None:
        """The highest progress seen before the request was sent."""
        shown = (x for x in self.seen if x.before(exchange) and x.state != CANCELLED)
        return max(shown, key=lambda other: other.state or 0.0, default=None)


class History:
    """All exchanges of a run, and the jobs in them.

    ``job_seconds`` is how long a job may take from its creation to its end. ``jobs`` holds the
    jobs whose id was given out once: of an id that was given out twice nobody knows which job an
    answer is about.
    """

    def __init__(self, exchanges: Iterable[Exchange], *, job_seconds: float) -> None:
        self.exchanges: Sequence[Exchange] = sorted(exchanges, key=lambda x: x.sent)
        self.creations = [x for x in self.exchanges if x.kind == "create" and not x.probe]
        by_id: dict[int, list[Exchange]] = defaultdict(list)
        for creation in self.creations:
            job_id = created_id(creation)
            if job_id is not None:
                by_id[job_id].append(creation)
        self.creations_by_id = dict(by_id)
        self.jobs = {
            job_id: Job(creation, job_id=job_id, seconds_allowed=job_seconds)
            for job_id, (creation, *others) in by_id.items()
            if not others
        }
        self.agent = [x for x in self.exchanges if x.kind == "agent"]
        """What the agent was told: to start, to stop, or to restart."""
        self._assign()
        if self.agent:
            self._assign_agent()

    @functools.cached_property
    def dialect(self) -> Dialect | Literal["mixed"] | None:
        """The dialect of the first creation answer that tells of a job.

        ``mixed`` where answers show both ``system`` and ``msg``, as “Managing Jobs” does.
        """
        told = (x.answer.dialect for x in self.creations if x.ok and x.answer.tells_of_a_job)
        created_in = next(told, None)
        shown = {x.answer.dialect for x in self.exchanges if x.answer.tells_of_a_job}
        return "mixed" if {"system", "msg"} <= shown and created_in != "data" else created_in

    def _assign(self) -> None:
        for exchange in self.exchanges:
            job = self.jobs.get(exchange.job_id) if exchange.job_id is not None else None
            if job is None:
                continue
            if exchange.kind == "cancel":
                job.attempts.append(exchange)
            if exchange.kind == "status" and not exchange.probe:
                job.silent = 0 if exchange.answered else job.silent + 1
            if exchange.probe or not exchange.answered:
                continue
            if exchange.kind == "cancel":
                job.cancels.append(exchange)
            elif exchange.kind == "status":
                job.statuses.append(exchange)

    def _assign_agent(self) -> None:
        for job in self.jobs.values():
            before = [x for x in self.agent if x.before(job.creation)]
            later = [x for x in self.agent if not x.before(job.creation)]
            # A stop counts even if its answer was lost, a start only if it is known to be done.
            done = [x for x in before if x.ok or agent_command(x) == "stop"]
            if done and agent_command(done[-1]) == "stop":
                job.agent_stopped = job.creation.sent
            else:
                stops = (x.sent for x in later if agent_command(x) != "start")
                job.agent_stopped = min(stops, default=float("inf"))


def agent_command(exchange: Exchange) -> str:
    """What a request tells the agent: `start`, `stop` or `restart`."""
    return exchange.path.partition("?")[0].rstrip("/").rpartition("/")[2]


def created_id(creation: Exchange) -> int | None:
    """The id that a creation answer gives out, if it is one."""
    if not (creation.answered and creation.ok):
        return None
    told = creation.answer.job_id
    return told if type(told) is int and 1 <= told <= LARGEST_ID else None
