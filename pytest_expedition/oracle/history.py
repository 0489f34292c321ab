"""Frozen traffic: what was asked, what was answered, and when.

Times are seconds on one clock that never goes back. One exchange is *before* another only if its
answer was there before the other's request was sent; all else is at the same time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Generic, Literal, NamedTuple, TypeVar

from pytest_expedition.oracle.job_lists import JobList, read_job_list
from pytest_expedition.protocol import envelope
from pytest_expedition.protocol.envelope import MISSING, Answer
from pytest_expedition.protocol.origin import ABOUT_ACCESS, is_from_application
from pytest_expedition.protocol.reading_cache import read_cached

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from pytest_expedition.protocol.envelope import Dialect

Kind = Literal["create", "status", "cancel", "agent", "list", "other"]
"""What a request is for. `list`: it asks for a list of jobs, or the job of a project or device."""

Probe = Literal["", "unknown-id", "bad-id", "no-key", "wrong-key", "no-accept"]

NO_KEY: Final = 401

BUSY: Final = frozenset({409, 429, 503})
"""HTTP statuses by which a server refuses a job because others run."""

LARGEST_ID: Final = 2**63 - 1
"""The largest id that a database gives out; jobs with larger ones are not followed."""

Influence = Literal[
    "cancel", "cancel of another", "creation of another", "start", "stop or restart"
]
"""What may change a job: requests about it, about others, and what the agent is told."""

CANCELLED: Final = -1.0
FINISHED: Final = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Exchange:
    """One request and its answer.

    ``sent`` and ``received`` are seconds; of a lost answer ``received`` is when it was given up,
    ``status`` is ``None`` and ``lost`` says why; ``unreadable`` says why nothing was kept of a body
    that did come. ``location`` is where a redirect leads. ``job_id`` is the id that the request
    names, ``cancellable`` what is known of the job that the request creates. A ``probe`` is a
    request that is meant to be refused, or that is sent without the header Accept.
    ``position`` is the exchange's number in the recording that it was read from.
    """

    kind: Kind
    method: str
    path: str
    sent: float
    received: float
    status: int | None = None
    body: bytes = field(default=b"", repr=False)
    lost: str = ""
    unreadable: str = ""
    location: str = ""
    job_id: int | None = None
    request_type: str = ""
    request_body: str = field(default="", repr=False)
    cancellable: bool | None = None
    probe: Probe = ""
    position: int = 0

    def before(self, other: Exchange) -> bool:
        """Whether this answer was there before the other request was sent."""
        return self.received < other.sent

    @cached_property
    def answered(self) -> bool:
        """Whether the application itself answered: see ``protocol/origin.py``."""
        if self.status is None:
            return False
        if self.ok or (self.probe and self.status == NO_KEY):
            return True
        return is_from_application(self.status, self.body, self.document)

    @property
    def refused_in_json(self) -> bool:
        """Whether an answer in JSON says that a request was wrong, from the application or not.

        What is about the key or the number of requests says nothing of the request.
        """
        status = self.status
        return (
            status is not None
            and 400 <= status < 500
            and status not in ABOUT_ACCESS
            and isinstance(self.document, dict)
        )

    @property
    def ok(self) -> bool:
        """Whether the HTTP status is one of success."""
        return self.status is not None and 200 <= self.status < 300

    @cached_property
    def gone(self) -> bool:
        """Whether the answer says that there is no such job."""
        if not self.answered or self.answer.tells_of_a_job:
            return False
        return self.not_found or (self.answer.success is False and not self.failed)

    @property
    def not_found(self) -> bool:
        """Whether the HTTP status says that there is no such job."""
        return self.status in {404, 410}

    @property
    def failed(self) -> bool:
        """Whether the server says that it failed itself."""
        return self.status is not None and self.status >= 500

    @property
    def refused_as_busy(self) -> bool:
        """Whether the application may have refused to create a job because others run."""
        busy = self.kind == "create" and self.status in BUSY
        return busy and self.answer.problem is None and self.answer.success is False

    @property
    def refused_as_wrong(self) -> bool:
        """Whether the application says that the request itself is wrong, such as an unknown id."""
        return self.answered and self.status in {400, 403, 404, 405, 410, 415, 422}

    @cached_property
    def answer(self) -> Answer:
        """What the answer says."""
        if self.unreadable:
            return Answer(problem=self.unreadable, pattern=self.body)
        return read_cached(self.body)

    @property
    def document(self) -> object:
        """All of the answer, as JSON reads it; read anew each time, since memory is precious."""
        return envelope.read_answer(self.body).document

    @property
    def shows_the_end(self) -> bool:
        """Whether the answer shows that the job has ended: finished, cancelled or failed."""
        if not self.answered or self.failed:
            return False
        return self.state in {CANCELLED, FINISHED} or self.answer.says_failed

    @cached_property
    def state(self) -> float | None:
        """The job's state that the answer shows, if it is one that the documentation allows."""
        return self.answer.progress if self.answered and not self.failed else None

    @cached_property
    def rank(self) -> float:
        """The place of the state that the answer shows in a job's life; it must show one."""
        assert self.state is not None
        return progress_rank(self.state)


def progress_rank(state: float) -> float:
    """Rank a state by its place in a job's life: progress, 1, and -1 last."""
    return state if state != CANCELLED else 2.0


_sent: Final = attrgetter("sent")
_received: Final = attrgetter("received")


class Listing(NamedTuple):
    """A list of jobs, and the exchange that showed it."""

    exchange: Exchange
    told: JobList


class JobHistory:
    """What a history tells of one job: its exchanges, and the states seen in them.

    ``creation`` is ``None`` for a job whose creation is not in the history; ``first`` is then the
    first answer that shows it. ``others_may_act`` says whether others may have sent requests about
    the job that are not in the history.
    """

    def __init__(
        self,
        first: Exchange,
        *,
        job_id: int,
        seconds_allowed: float,
        others_may_act: bool,
        of_all_jobs: OfAllJobs,
    ) -> None:
        self.id = job_id
        self.seconds_allowed = seconds_allowed
        self.first = first
        self.creation = first if first.kind == "create" else None
        self.others_may_act = others_may_act or self.creation is None
        self.of_all_jobs = of_all_jobs
        self.cancellable = first.cancellable
        self.statuses: list[Exchange] = []
        """Answered status requests, in the order in which they were sent."""
        self.polls: list[Exchange] = []
        """Every status request, answered or not, in the order in which they were sent."""
        self.silent = 0
        """How many status requests at the end were not answered."""
        self.cancels: list[Exchange] = []
        """Answered cancels, in the order in which they were sent."""
        self.attempts: list[Exchange] = []
        """Every cancel that may have been carried out: also the unanswered and the keyless."""
        self.agent_stopped = float("inf")
        """From when on the agent may not have run the job, because it was told to stop."""

    @property
    def dialect(self) -> Dialect | None:
        """The dialect in which the job was created, or first shown."""
        return self.first.answer.dialect

    @cached_property
    def answers(self) -> list[Exchange]:
        """Creation, status and cancel answers, in the order in which they were sent."""
        creation = [] if self.creation is None else [self.creation]
        everything = [*creation, *self.statuses, *self.cancels]
        return sorted(everything, key=_sent)

    @cached_property
    def seen(self) -> list[Exchange]:
        """The answers that show a state of this job, in the order in which they were sent."""
        return [x for x in self.answers if x.state is not None and is_about(x, self.id)]

    def is_about_it(self, exchange: Exchange) -> bool:
        """Whether the answer is about this job, or names no job at all."""
        return is_about(exchange, self.id)

    @cached_property
    def first_cancel_sent(self) -> float:
        """When the first cancel was sent, infinity if none was."""
        return min((x.sent for x in self.attempts), default=float("inf"))

    def may_be_cancelled_by(self, exchange: Exchange) -> bool:
        """Whether a cancel may have been sent before the answer was there."""
        return self.others_may_act or self.first_cancel_sent <= exchange.received

    def may_be_gone(self, poll: Exchange) -> bool:
        """Whether the job had ended before the poll, or others may have ended it by then."""
        if self.ended_before(poll):
            return True
        return self.others_may_act and not any(poll.before(later) for later in self.seen)

    @cached_property
    def finished(self) -> Exchange | None:
        """The first answer to arrive that shows the job finished."""
        return self._first(FINISHED)

    @cached_property
    def cancelled(self) -> Exchange | None:
        """The first answer to arrive that shows the job cancelled."""
        return self._first(CANCELLED)

    @cached_property
    def failed(self) -> Exchange | None:
        """The first answer to arrive that says in the dialect ``data`` that the job has failed.

        Its state may then be anything: such a job has ended without reaching 1.
        """
        said = (x for x in self.answers if x.answer.says_failed and x.shows_the_end)
        about_it = (x for x in said if self.is_about_it(x))
        return min(about_it, key=_received, default=None)

    def _first(self, state: float) -> Exchange | None:
        shown = (x for x in self.seen if x.state == state)
        return min(shown, key=_received, default=None)

    def finished_before(self, exchange: Exchange) -> bool:
        """Whether the job was seen finished before the request was sent."""
        return self.finished is not None and self.finished.before(exchange)

    def cancelled_before(self, exchange: Exchange) -> bool:
        """Whether the job was seen cancelled before the request was sent."""
        return self.cancelled is not None and self.cancelled.before(exchange)

    def failed_before(self, exchange: Exchange) -> bool:
        """Whether an answer had said that the job has failed before the request was sent."""
        return self.failed is not None and self.failed.before(exchange)

    def ended_before(self, exchange: Exchange) -> bool:
        """Whether the job was seen to have ended, in any way, before the request was sent."""
        return (
            self.finished_before(exchange)
            or self.cancelled_before(exchange)
            or self.failed_before(exchange)
        )

    def last_before(self, exchange: Exchange) -> Exchange | None:
        """Return the answer that showed progress last before the request was sent."""
        arrived, shown = self._progress
        number = bisect_left(arrived, exchange.sent)
        return shown[number - 1] if number else None

    @cached_property
    def _progress(self) -> tuple[list[float], list[Exchange]]:
        """The answers that show progress in the order in which they arrived, and when."""
        shown = sorted((x for x in self.seen if x.state != CANCELLED), key=_received)
        return [x.received for x in shown], shown

    def influences(self, earlier: Exchange, later: Exchange) -> set[Influence]:
        """What was sent that may have changed what the later of two answers shows."""
        own = (x for x in self.attempts if not (x.before(earlier) or later.before(x)))
        others = self.of_all_jobs.cancels_under_way.between(earlier, later)
        created = self.of_all_jobs.creations_under_way.between(earlier, later)
        told = self.of_all_jobs.commands_under_way.between(earlier, later)
        found: set[Influence] = {
            "start" if agent_command(x) == "start" else "stop or restart" for x in told
        }
        if any(own):
            found.add("cancel")
        if any(x.job_id != self.id for x in others):
            found.add("cancel of another")
        if any(x.job_id != self.id for x in created):
            found.add("creation of another")
        return found


class Created(NamedTuple):
    """What concerns other jobs about a creation, answered or not."""

    sent: float
    received: float
    job_id: int | None


_Sent = TypeVar("_Sent", Created, Exchange)


class UnderWay(Generic[_Sent]):
    """Requests in the order in which they were sent; finds those between two answers.

    ``sent`` is when each of them was sent.
    """

    def __init__(self, requests: Sequence[_Sent]) -> None:
        self.sent = [x.sent for x in requests]
        self._requests: Sequence[_Sent] = requests
        self._done = list(accumulate((x.received for x in requests), max))
        """For each request, when all up to it were answered, or given up."""

    def between(self, earlier: Exchange, later: Exchange) -> Iterator[_Sent]:
        """Yield what may have done what the later answer shows and the earlier does not."""
        number = bisect_right(self.sent, later.received)
        while number and self._done[number - 1] >= earlier.sent:
            number -= 1
            if self._requests[number].received >= earlier.sent:
                yield self._requests[number]


@dataclass
class OfAllJobs:
    """What concerns all jobs of a server, in the order in which it was sent."""

    creations: list[Created] = field(default_factory=list)
    """All creations."""
    cancels: list[Exchange] = field(default_factory=list)
    """All answered cancels."""
    agent: list[Exchange] = field(default_factory=list)
    """All that the agent was told."""
    lists: list[Listing] = field(default_factory=list)
    """All lists of jobs."""

    @cached_property
    def creations_under_way(self) -> UnderWay[Created]:
        """When the creations were under way."""
        return UnderWay(self.creations)

    @cached_property
    def cancels_under_way(self) -> UnderWay[Exchange]:
        """When the answered cancels were under way."""
        return UnderWay(self.cancels)

    @cached_property
    def commands_under_way(self) -> UnderWay[Exchange]:
        """When the commands to the agent were under way."""
        return UnderWay(self.agent)


class History:
    """Exchanges with one server, and the jobs in them.

    ``job_seconds`` is how long a job may take from its creation to its end. ``others_may_act``
    says whether others may have sent requests to the server too, about the same jobs. Where the
    exchanges are those about one job, ``of_all_jobs`` is what concerns it besides.

    ``jobs`` holds the jobs whose id was given out once: if an id was given out twice, an answer
    does not tell which of the two jobs it is about. A job whose creation is not in the history is
    known from the first answer that shows it: the history does not tell whether it existed before.
    """

    def __init__(
        self,
        exchanges: Iterable[Exchange],
        *,
        job_seconds: float,
        others_may_act: bool = False,
        of_all_jobs: OfAllJobs | None = None,
    ) -> None:
        self.server = ""
        """The server's address, where it is not said elsewhere."""
        self.others_may_act = others_may_act
        self.exchanges: Sequence[Exchange] = sorted(exchanges, key=_sent)
        few = [x for x in self.exchanges if x.kind != "status"]
        self.creations = [x for x in few if x.kind == "create" and not x.probe]
        self.commands = [x for x in few if x.kind == "agent"]
        """What these exchanges told the agent: to start, to stop, or to restart."""
        self.own_lists = [found for x in few if (found := listing_of(x)) is not None]
        """The lists of jobs among these exchanges."""
        of_all_jobs = of_all_jobs or OfAllJobs(
            [created(x) for x in self.creations],
            answered_cancels(few),
            self.commands,
            self.own_lists,
        )
        self.of_all_jobs = of_all_jobs
        self.cancels, self.agent = of_all_jobs.cancels, of_all_jobs.agent
        self.lists = of_all_jobs.lists
        self.probes = [x for x in self.exchanges if x.probe]
        """The probes, in the order in which they were sent."""
        self.creations_by_id: dict[int, list[Exchange]] = {}
        self.jobs: dict[int, JobHistory] = {}
        by_id: dict[int, list[Exchange]] = {}
        for exchange in self.exchanges:
            job_id = id_of(exchange)
            if job_id is not None:
                by_id.setdefault(job_id, []).append(exchange)
                if exchange.kind == "create":
                    self.creations_by_id.setdefault(job_id, []).append(exchange)
        for job_id, about_it in by_id.items():
            creations = self.creations_by_id.get(job_id, [])
            if len(creations) > 1:
                continue
            first = creations[0] if creations else _first_shown(about_it, job_id)
            if first is not None:
                job = JobHistory(
                    first,
                    job_id=job_id,
                    seconds_allowed=job_seconds,
                    others_may_act=others_may_act,
                    of_all_jobs=of_all_jobs,
                )
                self.jobs[job_id] = job
                _assign(about_it, job)
                job.agent_stopped = _stopped(self.agent, job)

    def count_jobs(self) -> int:
        """Count the jobs that the answers show, by their ids."""
        return len(self.jobs.keys() | self.creations_by_id.keys())

    @cached_property
    def _refused(self) -> set[Exchange]:
        """The creations that the application refused in its envelope."""
        return {x for x in self.creations if not x.ok and x.answer.success is False}

    @property
    def refused_creations(self) -> Counter[int]:
        """Count, by HTTP status, the creations that the application refused in its envelope."""
        return Counter(x.status for x in self._refused if x.status is not None)

    @property
    def unanswered(self) -> Counter[int | None]:
        """Count, by HTTP status, the requests that the application neither answered nor refused."""
        unanswered = (x for x in self.exchanges if not x.answered)
        return Counter(x.status for x in unanswered if x not in self._refused)

    @cached_property
    def created_in(self) -> Dialect | None:
        """The dialect of the first creation answer that tells of a job."""
        told = (x.answer.dialect for x in self.creations if x.ok and x.answer.tells_of_a_job)
        return next(told, None)

    @cached_property
    def dialects(self) -> set[Dialect | None]:
        """The dialects of all answers that tell of a job."""
        return {x.answer.dialect for x in self.exchanges if x.answer.tells_of_a_job}

    @property
    def dialect(self) -> Dialect | Literal["mixed"] | None:
        """The dialect that the server speaks."""
        return spoken(self.created_in, self.dialects)


def listing_of(exchange: Exchange) -> Listing | None:
    """Read the list of jobs that an answer shows; ``None`` if it shows none."""
    if exchange.kind != "list" or exchange.probe or not exchange.ok:
        return None
    return Listing(exchange, read_job_list(exchange.path, exchange.document))


def created(creation: Exchange) -> Created:
    """Return what concerns other jobs about a creation."""
    return Created(creation.sent, creation.received, created_id(creation))


def answered_cancels(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Return the cancels that the application answered, without the probes."""
    return [x for x in exchanges if x.kind == "cancel" and not x.probe and x.answered]


def spoken(
    created_in: Dialect | None, shown: Collection[Dialect | None]
) -> Dialect | Literal["mixed"] | None:
    """The dialect of a server whose creations are answered in one, and that shows some in all.

    ``mixed`` where answers show both ``system`` and ``msg``, as “Managing Jobs” does.
    """
    both = "system" in shown and "msg" in shown
    return "mixed" if both and created_in != "data" else created_in


def _first_shown(asked: Iterable[Exchange], job_id: int) -> Exchange | None:
    """The first answer to arrive that shows a job."""
    shown = (
        x
        for x in asked
        if not x.probe and x.answered and x.state is not None and is_about(x, job_id)
    )
    return min(shown, key=_received, default=None)


def _assign(asked: Iterable[Exchange], job: JobHistory) -> None:
    """Give a job the exchanges about it; answers only from when the job is known to exist."""
    for exchange in asked:
        kind = exchange.kind
        if kind == "cancel":
            job.attempts.append(exchange)
        if exchange.probe:
            continue
        if kind == "status":
            job.polls.append(exchange)
            job.silent = 0 if exchange.answered else job.silent + 1
        if not exchange.answered:
            continue
        shown = job.creation is not None or job.first.before(exchange)
        if not shown and (exchange.state is None or not job.is_about_it(exchange)):
            continue
        if kind == "cancel":
            job.cancels.append(exchange)
        elif kind == "status":
            job.statuses.append(exchange)


def is_about(exchange: Exchange, job_id: int) -> bool:
    """Whether the answer is about this job, or names no job at all."""
    told = exchange.answer.job_id
    return told is MISSING or told == job_id or told == str(job_id)


def _stopped(agent: Sequence[Exchange], job: JobHistory) -> float:
    """From when on the agent may not have run a job."""
    if job.others_may_act:
        return float("-inf")
    before = [x for x in agent if x.before(job.first)]
    later = [x for x in agent if not x.before(job.first)]
    # A stop counts even if its answer was lost, a start only if it is known to be done.
    done = [x for x in before if x.ok or agent_command(x) == "stop"]
    if done and agent_command(done[-1]) == "stop":
        return job.first.sent
    return min((x.sent for x in later if agent_command(x) != "start"), default=float("inf"))


def agent_command(exchange: Exchange) -> str:
    """What a request tells the agent: `start`, `stop` or `restart`."""
    return exchange.path.partition("?")[0].rstrip("/").rpartition("/")[2]


def id_of(exchange: Exchange) -> int | None:
    """The id that an exchange is about: that which it gives out, or that which it names."""
    if exchange.kind != "create":
        return exchange.job_id
    return None if exchange.probe else created_id(exchange)


def created_id(creation: Exchange) -> int | None:
    """The id that a creation answer gives out, if it is one."""
    if not (creation.answered and creation.ok):
        return None
    told = creation.answer.job_id
    return told if type(told) is int and 1 <= told <= LARGEST_ID else None
