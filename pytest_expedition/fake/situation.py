"""Situations that a client may meet at a correct server, as plain data, and what plays them.

No situation breaks a promise of the job API: a job goes in an unusual way, somebody else cancels
it, or a gateway or the network fails.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

from pytest_expedition import real_time
from pytest_expedition.checked import checked
from pytest_expedition.fake.dialects import WRITTEN, DialectName
from pytest_expedition.fake.http import Handled, Request, Response
from pytest_expedition.fake.instance import CANCEL_PATH, MAX_JOB_ID, Instance
from pytest_expedition.fake.job_requests import JOB_REQUESTS
from pytest_expedition.fake.simulation import FINISHED, FIRST_JOB_ID, Clock, JobScript

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from pytest_expedition.fake.simulation import Job

OutageKind = Literal["unavailable", "bad-gateway", "unauthorized", "lost", "cut-short", "slow"]
JobRequestKind = Literal["creation", "status", "cancel"]
Spelling = Literal["plain", "fraction"]

SLOW_SECONDS: Final = 20.0
"""Seconds that a slow answer takes on the fake's clock."""

_REALLY_SLOW: Final = 0.15
"""Seconds that it takes in real time, by which a client's own timeout goes."""

LONGEST: Final = 7200.0
"""Seconds on the fake's clock after which a client that still waits is ended."""

MOST_POLLS: Final = 7_200
"""Status requests after which a client that still waits is ended."""

_MOST_REQUESTS: Final = 9_000
_MOST_AFTER_THE_END: Final = 10
_MOST_AT_ONCE: Final = 100
_AT_ONCE_SECONDS: Final = 10.0


@checked
@dataclass(frozen=True, kw_only=True)
class Outage:
    """A failure that happens to a request, and to the ``times - 1`` requests that follow.

    It happens to the ``nth`` request ``of`` its kind, counted from 1, and to all of its kind within
    ``seconds`` after it.

    * ``unavailable``: a gateway answers 503, and the instance never sees it;
    * ``bad-gateway``: the instance carries it out, and the gateway answers 502;
    * ``unauthorized``: the key is refused with 401;
    * ``lost``: it is carried out, and the connection breaks before the answer;
    * ``cut-short``: it is carried out, and the connection breaks within the answer;
    * ``slow``: the answer takes 20 seconds on the fake's clock, and 0.15 seconds of real time.

    Raises ``ValueError`` if it could not happen.
    """

    kind: OutageKind
    of: JobRequestKind = "status"
    nth: int = 2
    times: int = 1
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.nth < 1 or self.times < 1:
            raise ValueError("nth and times must not be below 1")
        if not self.seconds >= 0:
            raise ValueError("seconds must not be below 0")


@checked
@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a server does while a client runs a job. The defaults are an ordinary job.

    The jobs run through ``progress``, each state for ``step_seconds``, and end in failure if they
    ``fail``. Numbers are ``spelled`` plainly or with a fraction (``1.0``). ``jobs`` is how many the
    client is to run at the same time. Somebody else cancels the first ``cancelled_after`` seconds.
    The agent stands still for the first ``agent_idle`` seconds of a job; infinity is for ever. A
    job that has finished or failed has the ``status_message`` at ``JobMsg``, where its dialect has
    that, and the messages of its ``tasks``.

    If ``client_cancels``, the client is to cancel its job soon after it has started it. The cancel
    is refused unless ``cancellable``, shows after ``cancel_seconds``, and comes too late if
    ``cancel_too_late``: the job finishes first.

    Raises ``ValueError`` if no correct server could do so.
    """

    progress: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)
    step_seconds: float = 10.0
    spelled: Spelling = "plain"
    dialect: DialectName = "system"
    fails: bool = False
    jobs: int = 1
    cancelled_after: float | None = None
    agent_idle: float = 0.0
    client_cancels: bool = False
    cancellable: bool = True
    cancel_seconds: float = 0.0
    cancel_too_late: bool = False
    outages: Sequence[Outage] = ()
    first_id: int = FIRST_JOB_ID
    unknown_fields: bool = False
    status_message: str = ""
    tasks: Sequence[str | Mapping[str, Any]] = ()
    next_step: Sequence[Any] = ()
    refusal: str = JobScript.refusal

    def __post_init__(self) -> None:
        if self.fails and self.dialect != "data" and tuple(self.progress)[-1:] < (1,):
            raise ValueError("fails: only in the dialect 'data' may a job fail below 1")
        if self.cancelled_after is not None and not self.cancelled_after >= 0:
            raise ValueError("cancelled_after must not be below 0")
        if self.jobs < 1 or self.first_id < 1 or not self.agent_idle >= 0:
            raise ValueError("jobs and first_id must not be below 1, agent_idle not below 0")
        if self.first_id + self.jobs - 1 > MAX_JOB_ID:
            raise ValueError(f"first_id = {self.first_id}: no id may be above {MAX_JOB_ID}")
        endless = self.seconds_to_finish == float("inf")
        if self.cancel_too_late and endless:
            raise ValueError("cancel_too_late: the job never finishes")
        for name in ("progress", "outages", "tasks", "next_step"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def seconds_to_finish(self) -> float:
        """How long a job takes if it is not cancelled; infinity if it never ends."""
        return self.script.seconds_to_finish + self.agent_idle

    def speed_for(self, seconds: float) -> float:
        """Return how fast the time must run for a job to take ``seconds`` of real time."""
        usual = Situation().seconds_to_finish
        finite = 0 < self.seconds_to_finish < float("inf")
        return (self.seconds_to_finish if finite else usual) / seconds

    @property
    def script(self) -> JobScript:
        """The script of its jobs."""
        return JobScript(
            progress=self.progress,
            step_seconds=self.step_seconds,
            cancellable=self.cancellable,
            cancel_seconds=self.cancel_seconds,
            fails=self.fails,
            tasks=self.tasks,
            next_step=self.next_step,
            refusal=self.refusal,
        )

    def __repr__(self) -> str:
        """Return the Python code that makes it, without what has its default value."""
        told = [
            f"{field.name}={_as_python(getattr(self, field.name))}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"Situation({', '.join(told)})"


def _as_python(value: object) -> str:
    if isinstance(value, Outage):
        told = [
            f"{field.name}={getattr(value, field.name)!r}"
            for field in fields(value)
            if getattr(value, field.name) != field.default
        ]
        return f"Outage({', '.join(told)})"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_as_python, value))}]"
    return 'float("inf")' if value == float("inf") else repr(value)


class SituationInstance(Instance):
    """An instance that plays a situation. Its clock stands still until it is moved."""

    def __init__(self, situation: Situation) -> None:
        super().__init__(Clock(), dialect=situation.dialect)
        self.situation = situation
        self.usual_scripts = dict.fromkeys(self.usual_scripts, situation.script)
        self.created_by: dict[int, Request] = {}
        """The request that created each job, by its id."""
        self.when_exhausted: Callable[[], None] | None = None
        """Called for each request of a client that would go on for ever; it gets no answer."""
        self.turned_away: list[Request] = []
        """The requests without an answer, and those about a job of an earlier situation."""
        self.earlier_ids: Container[int] = ()
        """The ids of the jobs of earlier situations, whose clients may still ask for them."""
        self._ids = itertools.count(situation.first_id)
        self._outage_until: dict[Outage, float] = {}
        self._seen: Counter[JobRequestKind | None] = Counter()
        self._latest: deque[float] = deque(maxlen=_MOST_AT_ONCE)
        self._after_the_end: Counter[int] = Counter()
        self._request: Request | None = None

    @property
    def exhausted(self) -> bool:
        """Whether a client has had far more answers than it takes to see how its jobs ended."""
        latest = self._latest
        at_once = len(latest) == latest.maxlen and latest[-1] - latest[0] < _AT_ONCE_SECONDS
        return (
            at_once
            or self._seen["status"] >= MOST_POLLS
            or self._seen.total() > _MOST_REQUESTS
            or max(self._after_the_end.values(), default=0) > _MOST_AFTER_THE_END
            or self.clock.now() > LONGEST
        )

    def handle(self, request: Request) -> Response:
        """Answer one request, unless an outage prevents it."""
        kind = self.kind(request)
        with self.lock:
            if self._is_about_an_earlier_job(request):
                self.turned_away.append(request)
                return self.error(HTTPStatus.NOT_FOUND, "There is no such job")
            if self.exhausted and self.when_exhausted is not None:
                self.turned_away.append(request)
                self.when_exhausted()
                return Response(cut=0)
            self._seen[kind] += 1
            self._latest.append(self.clock.now())
            outage = self._outage(kind)
            if outage in {"unavailable", "unauthorized"}:
                self.requests.append(request)
                if outage == "unauthorized":
                    return self.error(HTTPStatus.UNAUTHORIZED, "Unauthenticated.")
                headers = {"Content-Type": "text/html", "Retry-After": "1"}
                return Response(status=503, headers=headers, body=b"<h1>Later</h1>")
            self._request = request
            response = super().handle(request)
            if outage == "slow":
                self.clock.advance(SLOW_SECONDS)
        match outage:
            case "bad-gateway":
                headers = {"Content-Type": "text/html"}
                return Response(status=502, headers=headers, body=b"<h1>Bad Gateway</h1>")
            case "lost":
                return replace(response, cut=0)
            case "cut-short":
                return replace(response, cut=len(response.body) // 2)
            case "slow":
                real_time.pause(_REALLY_SLOW)
        return response

    def kind(self, request: Request) -> JobRequestKind | None:
        """Return what a request is for, if it is one about jobs."""
        if any(
            each.method == request.method and each.pattern.fullmatch(request.path)
            for each in JOB_REQUESTS
        ):
            return "creation"
        if request.method == "GET" and WRITTEN[self.dialect].status_path.fullmatch(request.path):
            return "status"
        is_cancel = request.method == "DELETE" and CANCEL_PATH.fullmatch(request.path)
        return "cancel" if is_cancel else None

    def _is_about_an_earlier_job(self, request: Request) -> bool:
        match = CANCEL_PATH.fullmatch(request.path) or WRITTEN[self.dialect].status_path.fullmatch(
            request.path
        )
        return match is not None and match[1].isdecimal() and int(match[1]) in self.earlier_ids

    def _outage(self, kind: JobRequestKind | None) -> OutageKind | None:
        number, now = self._seen[kind], self.clock.now()
        for outage in self.situation.outages:
            if outage.of != kind or number < outage.nth:
                continue
            until = self._outage_until.setdefault(outage, now + outage.seconds)
            if number < outage.nth + outage.times or now < until:
                return outage.kind
        return None

    def create(self, request: str, script: JobScript) -> Job:
        """Create a job, and remember which request created it."""
        job = super().create(request, script)
        assert self._request is not None
        self.created_by[job.id] = self._request
        return job

    def age(self, job: Job) -> float:
        """Return the seconds of the job's own time, which begins once the agent runs."""
        return max(0.0, super().age(job) - self.situation.agent_idle)

    def state(self, job: Job) -> float:
        """Return the job's state, also once somebody else has cancelled it."""
        after = self.situation.cancelled_after
        is_first = job.id == self.situation.first_id
        if after is not None and is_first and job.cancelled_after is None:
            age = max(0.0, after - self.situation.agent_idle)
            if super().age(job) >= after and job.script.progress_at(age) < FINISHED:
                job.cancelled_after = age
                self.by_another_user.append(self._granted_cancel(job))
        return super().state(job)

    def _granted_cancel(self, job: Job) -> Handled:
        """Return the cancel by which another user has cancelled a job, for those who record."""
        request = Request(
            method="DELETE",
            path=f"/api/v1/job/{job.id}",
            headers={"Authorization": f"Bearer {self.api_key}"},
            at=self.clock.now(),
        )
        now = real_time.now()
        return Handled(
            request=request,
            response=self.cancel_answer(job, granted=True),
            begun=now,
            done=now,
            by_another_user=True,
        )

    def cancel(self, job: Job) -> bool:
        """Cancel a job, or finish it just before."""
        if self.situation.cancel_too_late and 0 <= self.state(job) < FINISHED:
            job.polled_seconds += job.script.seconds_to_finish + self.situation.agent_idle
        return super().cancel(job)

    def answer_status(self, job: Job) -> Response:
        """Answer with the state of a job, and count the answers after its end."""
        if self.has_ended(job):
            self._after_the_end[job.id] += 1
        return super().answer_status(job)

    def describe(self, job: Job) -> dict[str, Any]:
        """Return all fields of a job, with numbers spelled as the situation says."""
        described = super().describe(job)
        if self.situation.spelled == "fraction":
            described["state"] = float(described["state"])
        if self.situation.status_message and described["JobMsg"]["statusCode"]:
            described["JobMsg"]["statusMessage"] = self.situation.status_message
        if self.situation.unknown_fields:
            described |= {"percent": 7, "state_text": None, "job": {"state": 3}}
        return described

    def reply(
        self, document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Return a document as an answer, with all characters as they are."""
        if self.situation.unknown_fields:
            document = {**document, "version": "2.0.5", "state": 3, "jobs": []}
        answer = super().reply(document, status=status, **({"headers": headers} if headers else {}))
        return replace(answer, body=json.dumps(document, ensure_ascii=False).encode())
