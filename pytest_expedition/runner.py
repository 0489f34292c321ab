"""Carries plans out: sends requests to the target, within its limits, and writes the history."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import requests

from pytest_expedition.history import CANCELLED, FINISHED, Exchange, created_id
from pytest_expedition.plan import AT_THE_END
from pytest_expedition.target import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

    from pytest_expedition.envelope import Dialect
    from pytest_expedition.history import Kind, Probe
    from pytest_expedition.plan import Act, JobPlan, Plan
    from pytest_expedition.target import JobRecipe, Target

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0
MOST_BYTES: Final = 4 * 1024 * 1024
"""Bytes that an answer may have; a longer one counts as lost."""

MOST_AT_ONCE: Final = 16
POLLS_AFTER_THE_END: Final = 2
POLLS_WITHOUT_ANSWER: Final = 5
"""Polls in a row that may say nothing of a job until the runner gives it up."""

LOST_IN_A_ROW: Final = 8
"""Answers that may be lost one after the other until the target is taken to be down."""

SLOWER: Final = 0.02
"""Part of a job's age that lies between two polls: who has waited for minutes can wait a second."""

WRONG_KEY: Final = "not-a-key"

FAR_ID: Final = 1_000_000
"""How far above all ids given out an id lies that nobody else is given meanwhile."""


class LimitReachedError(Exception):
    """Another request would go beyond a limit of the target; ``limit`` is its name."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the limit `{limit}` of the target is reached")
        self.limit = limit


class TargetUnusableError(Exception):
    """The target does not answer, or does not let us in: nothing can be judged."""


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A request to be sent."""

    kind: Kind
    method: str
    path: str
    job_id: int | None = None
    recipe: JobRecipe | None = None
    probe: Probe = ""


@dataclass(kw_only=True)
class _Running:
    """A job of the plan that is being carried out."""

    plan: JobPlan
    id: int
    created: float
    due: float
    acts: list[Act]
    progress: float = 0.0
    ended: bool = False
    polls_after_the_end: int = 0
    silent_polls: int = 0
    cancel_sent: float = float("-inf")
    overdue: bool = False

    @property
    def done(self) -> bool:
        """Whether nothing is left to be found out."""
        if self.silent_polls >= POLLS_WITHOUT_ANSWER or self.overdue:
            return True
        return self.ended and not self.acts and self.polls_after_the_end >= POLLS_AFTER_THE_END


@dataclass
class _Worker(threading.local):
    """What each sending thread keeps: its own session."""

    session: requests.Session | None = field(default=None)


class Runner:
    """Sends the requests of plans to one target, and keeps every exchange.

    ``exchanges`` are all of the run, ``ledger`` the ids of the jobs that it created, which alone
    are ever cancelled, ``dialect`` the one that the target speaks, once an answer has shown it,
    ``longest_job`` how many seconds the slowest job took until it was seen to have ended.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.clock = target.clock
        self.exchanges: list[Exchange] = []
        self.ledger: list[int] = []
        self._to_be_cancelled: set[int] = set()
        self.requests = 0
        self.jobs = 0
        self.longest_job = 0.0
        self.dialect: Dialect | None = None if target.dialect == "auto" else target.dialect
        self._recipes = {recipe.name: recipe for recipe in target.jobs}
        self._started = self.clock.now()
        self._wall_started = time.monotonic()
        self._reached = False
        self._lost_in_a_row = 0
        self._key = Secret(target.api_key)
        self._spellings = _spellings(self.secrets)
        self._worker = _Worker()
        self._sessions: list[requests.Session] = []
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="expedition")
        self._proxies = requests.utils.get_environ_proxies(target.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.cancel_what_still_runs()
        finally:
            self._pool.shutdown()
            for session in self._sessions:
                session.close()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may read: the key and the password."""
        return tuple(text for text in (str(self._key), str(self.target.password)) if text)

    # Plans

    def run(self, plan: Plan) -> list[Exchange]:
        """Carry out a plan and return its exchanges.

        Raises ``LimitReachedError`` before a request that a limit forbids, and
        ``TargetUnusableError`` where the target does not answer at all or refuses the key.
        """
        self.log_in()
        first = len(self.exchanges)
        waiting = list(plan.jobs)
        running = self._start(waiting, [], reached=plan.jobs[0].after)
        if plan.probes and running:
            self._probe_access(running)
        while running:
            self._round(plan, running)
            waits_for = running[0]
            running = [job for job in running if not job.done]
            over = not running or waits_for.plan is not plan.jobs[0] or waits_for.ended
            reached = AT_THE_END if over else waits_for.progress
            running += self._start(waiting, running, reached=reached)
            if running:
                pause = min(job.due for job in running) - self.clock.now()
                self.clock.sleep(max(pause, 0.0))
        if plan.probes:
            self._probe_ids()
        return self.exchanges[first:]

    def ask_again(self, job_ids: Iterable[int]) -> None:
        """Ask once for the status of jobs of earlier plans."""
        for job_id in job_ids:
            self._send([self._about("poll", job_id)])

    def cancel_what_still_runs(self) -> None:
        """Cancel the jobs of the ledger that have not ended and may be cancelled."""
        while self._to_be_cancelled:
            self._exchange(self._about("cancel", self._to_be_cancelled.pop()), None)

    def _start(
        self, waiting: list[JobPlan], running: list[_Running], *, reached: float
    ) -> list[_Running]:
        """Create, at the same instant, the waiting jobs whose turn has come, as many as may run.

        ``reached`` is how far the plan's first job is.
        """
        limits = self.target.limits
        room = min(limits.concurrent_jobs - len(running), limits.jobs - self.jobs)
        starting = [job for job in waiting if job.after <= reached][:room]
        if not starting:
            if waiting and not running:
                raise LimitReachedError("jobs")
            return []
        for job in starting:
            waiting.remove(job)
        self.jobs += len(starting)
        creations = self._send([self._creation(job.recipe) for job in starting])
        self._require_creations(creations)
        started = []
        for job, creation in zip(starting, creations, strict=True):
            job_id = created_id(creation)
            if job_id is None:
                continue
            started.append(
                _Running(
                    plan=job,
                    id=job_id,
                    created=creation.received,
                    due=self.clock.now(),
                    acts=list(job.acts),
                )
            )
            self._learn(started[-1], [creation])
        return started

    def _round(self, plan: Plan, running: list[_Running]) -> None:
        """Send what is due, and learn from the answers."""
        now = self.clock.now()
        due = [job for job in running if job.due <= now]
        for job in due:
            job.polls_after_the_end += job.ended and not job.acts
        groups = [(job, self._due_calls(job)) for job in due]
        if plan.together:
            self._send_groups(groups, running if plan.framed else [])
        else:
            for group in groups:
                self._send_groups([group], running if plan.framed else [])
        for job, _ in groups:
            job.due = now + self._pause(job)

    def _send_groups(
        self, groups: Sequence[tuple[_Running, list[_Call]]], watched: Sequence[_Running]
    ) -> None:
        """Send the requests of several jobs at the same instant, and learn from the answers.

        Where a cancel is among them, the watched jobs are polled before and after.
        """
        calls = [call for _, group in groups for call in group]
        frame = watched if any(call.kind == "cancel" for call in calls) else []
        for job in frame:
            self._learn(job, self._send([self._about("poll", job.id)]))
        answers = iter(self._send(calls))
        for job, group in groups:
            self._learn(job, [next(answers) for _ in group])
        for job in frame:
            self._learn(job, self._send([self._about("poll", job.id)]))

    def _due_calls(self, job: _Running) -> list[_Call]:
        reached = AT_THE_END if job.ended else min(job.progress, 1 - 1e-12)
        if job.acts and job.acts[0].progress <= reached:
            return [self._about(request, job.id) for request in job.acts.pop(0).requests]
        return [self._about("poll", job.id)]

    def _pause(self, job: _Running) -> float:
        usual = self.target.limits.poll_seconds * job.plan.poll_every
        now = self.clock.now()
        if now - self._started - job.cancel_sent < 10 * self.target.limits.poll_seconds:
            return usual
        return max(usual, SLOWER * (now - self._started - job.created))

    def _learn(self, job: _Running, exchanges: Sequence[Exchange]) -> None:
        """Take from the answers how the job stands."""
        ended_before = job.ended
        for exchange in sorted(exchanges, key=lambda each: each.received):
            if exchange.kind == "cancel":
                job.cancel_sent = exchange.sent
            state = exchange.state
            if state is None:
                job.silent_polls += exchange.kind == "status"
                continue
            job.silent_polls = 0
            if state in {CANCELLED, FINISHED}:
                job.ended = True
            job.progress = max(job.progress, state)
            allowed = self.target.limits.job_seconds
            job.overdue = not job.ended and exchange.sent > job.created + allowed
        if job.ended:
            self._to_be_cancelled.discard(job.id)
        if job.ended and not ended_before:
            age = self.clock.now() - self._started - job.created
            self.longest_job = max(self.longest_job, age)

    # Requests that ought to be refused

    def _probe_access(self, running: Sequence[_Running]) -> None:
        """Ask without a key and with a wrong one, for a running job and for a new one."""
        victim = running[min(1, len(running) - 1)]
        probes: tuple[Probe, ...] = ("no-key", "wrong-key")
        for probe in probes:
            self._send([self._about("poll", victim.id, probe)])
            self._send([self._about("cancel", victim.id, probe)])
            if self.jobs < self.target.limits.jobs:
                self.jobs += 1
                (creation,) = self._send([self._creation(victim.plan.recipe, probe)])
                self.jobs -= created_id(creation) is None

    def _probe_ids(self) -> None:
        """Ask for ids that were never given out, and for ids that are none."""
        if not self.ledger:
            return
        unknown = max(self.ledger) + FAR_ID
        self._send([self._about("poll", unknown, "unknown-id")])
        self._send([self._about("cancel", unknown, "unknown-id")])
        ended = next((each for each in self.ledger if each not in self._to_be_cancelled), None)
        for text in _bad_ids(ended):
            self._send([self._about("poll", text, "bad-id")])
            self._send([self._about("cancel", text, "bad-id")])

    # Requests

    def log_in(self) -> None:
        """Get a key for user name and password, unless there is one.

        Raises ``TargetUnusableError`` where none is given.
        """
        if self._key:
            return
        form = {"username": self.target.username, "password": self.target.password}
        for path in ("/api/v1/generate_api_key", "/api/v1/login"):
            exchange = self._exchange(
                _Call(kind="other", method="POST", path=path, probe="no-key"), None, form=form
            )
            if exchange.status != requests.codes.not_found:
                break
        if exchange.status is None:
            raise TargetUnusableError(f"{self.target.url} does not answer: {exchange.lost}")
        key = _key_in(exchange.answer.document)
        if not exchange.ok or key is None:
            raise TargetUnusableError(
                f"{self.target.url} gives no key for the user name and the password: "
                f"POST {path} was answered with {exchange.status}"
            )
        self._key = key
        self._spellings = _spellings(self.secrets)

    def _creation(self, name: str, probe: Probe = "") -> _Call:
        recipe = self._recipes[name]
        path = recipe.path
        if recipe.query:
            path = f"{path}?{urlencode(recipe.query)}"
        return _Call(kind="create", method=recipe.method, path=path, recipe=recipe, probe=probe)

    def _about(self, request: str, job_id: int | str, probe: Probe = "") -> _Call:
        method = "DELETE" if request == "cancel" else "GET"
        return _Call(
            kind="cancel" if request == "cancel" else "status",
            method=method,
            path=self._path(method, str(job_id)),
            job_id=job_id if isinstance(job_id, int) else None,
            probe=probe,
        )

    def _path(self, method: str, job_id: str) -> str:
        if method == "DELETE":
            return f"/api/v1/job/{job_id}"
        if self.dialect == "data":
            return f"/api/v1/job/{job_id}?complete=true"
        return f"/api/v1/job/status/{job_id}"

    def _send(self, calls: Sequence[_Call]) -> list[Exchange]:
        """Send requests, several at the same instant, and return the exchanges in their order."""
        limits = self.target.limits
        if self.requests + len(calls) + self._reserved(calls) > limits.requests:
            raise LimitReachedError("requests")
        if time.monotonic() - self._wall_started > limits.seconds:
            raise LimitReachedError("seconds")
        if len(calls) == 1:
            exchanges = [self._exchange(calls[0], None)]
        else:
            exchanges = []
            for start in range(0, len(calls), MOST_AT_ONCE):
                batch = calls[start : start + MOST_AT_ONCE]
                barrier = threading.Barrier(len(batch))
                exchanges += self._pool.map(self._exchange, batch, [barrier] * len(batch))
        self._require_reached(exchanges)
        return exchanges

    def _reserved(self, calls: Sequence[_Call]) -> int:
        """Count the requests it would take to cancel what runs, and what the calls create."""
        return len(self._to_be_cancelled) + sum(call.kind == "create" for call in calls)

    def _require_reached(self, exchanges: Sequence[Exchange]) -> None:
        for exchange in exchanges:
            self._lost_in_a_row = self._lost_in_a_row + 1 if exchange.status is None else 0
            if exchange.status == requests.codes.unauthorized and not exchange.probe:
                raise TargetUnusableError(
                    f"{self.target.url} refuses the key: {exchange.method} {exchange.path} was "
                    "answered with 401"
                )
            self._reached = self._reached or exchange.status is not None
        if not self._reached:
            raise TargetUnusableError(f"{self.target.url} does not answer: {exchanges[0].lost}")
        if self._lost_in_a_row >= LOST_IN_A_ROW:
            raise TargetUnusableError(
                f"{self.target.url} stopped answering {exchanges[-1].sent:.1f} s after the start: "
                f"{exchanges[-1].lost}"
            )

    def _require_creations(self, creations: Sequence[Exchange]) -> None:
        """Refuse to judge a target for requests that it does not know."""
        refused = [x for x in creations if x.status is not None and 300 <= x.status < 500]
        if not self.ledger and len(refused) == len(creations):
            raise TargetUnusableError(
                f"{self.target.url} creates no job: {refused[0].method} {refused[0].path} was "
                f"answered with {refused[0].status}; is it the request of a [[job]] that works?"
            )

    def _exchange(
        self,
        call: _Call,
        barrier: threading.Barrier | None,
        form: dict[str, str] | None = None,
    ) -> Exchange:
        """Send one request, at the barrier's instant, and keep the exchange."""
        recipe = call.recipe
        request = requests.Request(
            call.method, self.target.url + call.path, headers=self._headers(call)
        )
        request.data = form or (recipe.form if recipe else None) or []
        if recipe is not None and recipe.json is not None:
            request.json = recipe.json
        session = self._session()
        prepared = session.prepare_request(request)
        # Noted before the barrier: of requests sent at the same instant none was first.
        sent = self.clock.now() - self._started
        if barrier is not None:
            barrier.wait(ANSWER_SECONDS)
        self.requests += 1
        status, body, lost = self._answer(session, prepared)
        for secret in self._spellings:
            body = body.replace(secret, b"***")
        exchange = Exchange(
            kind=call.kind,
            method=call.method,
            path=call.path,
            sent=sent,
            received=self.clock.now() - self._started,
            status=status,
            body=body,
            lost=lost,
            job_id=call.job_id,
            request_type=prepared.headers.get("Content-Type", ""),
            request_body=_as_text(prepared.body) if recipe is not None else "",
            cancellable=recipe.cancellable if recipe is not None else None,
            probe=call.probe,
        )
        if call.kind != "other":
            self.exchanges.append(exchange)
        if call.kind == "create":
            self._enter_into_ledger(exchange)
        return exchange

    def _answer(
        self, session: requests.Session, prepared: requests.PreparedRequest
    ) -> tuple[int | None, bytes, str]:
        """Return HTTP status and body, or why the answer was lost."""
        give_up = time.monotonic() + ANSWER_SECONDS
        try:
            response = session.send(
                prepared,
                stream=True,
                verify=self.target.verify,
                allow_redirects=False,
                proxies=self._proxies,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
            )
            with contextlib.closing(response):
                body = bytearray()
                for chunk in response.iter_content(65536):
                    body += chunk
                    if len(body) > MOST_BYTES:
                        return None, b"", f"it is longer than {MOST_BYTES} bytes"
                    if time.monotonic() > give_up:
                        return None, b"", f"it took longer than {ANSWER_SECONDS:g} s"
                return response.status_code, bytes(body), ""
        except (requests.RequestException, OSError, ValueError, HTTPException) as error:
            # Some headers break the library itself: it raises what the parser raised.
            return None, b"", _why_lost(error)

    def _session(self) -> requests.Session:
        if self._worker.session is None:
            session = requests.Session()
            # No credentials from .netrc: they would take the place of the key.
            session.trust_env = False
            # No cookies: a session of the login's would let requests without a key in.
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            session.headers["Accept"] = "application/json"
            self._worker.session = session
            self._sessions.append(session)
        return self._worker.session

    def _headers(self, call: _Call) -> dict[str, str]:
        if call.probe == "no-key":
            return {}
        key = WRONG_KEY if call.probe == "wrong-key" else self._key
        return {"Authorization": f"Bearer {key}"}

    def _enter_into_ledger(self, creation: Exchange) -> None:
        job_id = created_id(creation)
        if job_id is not None:
            self.ledger.append(job_id)
            if creation.cancellable is not False:
                self._to_be_cancelled.add(job_id)
        if self.dialect is None and creation.ok:
            self.dialect = creation.answer.dialect


def _bad_ids(own: int | None) -> list[str]:
    """Ids that are none, as they stand in a path; some begin with the id of an ended job."""
    texts = ["abc", "0", "-1", "1.5", "9" * 30, "", "..%2F..%2Fagent", "%27", "%22%3B--"]
    return texts if own is None else [f"{own}abc", f"{own}%2F1", f"{own}%27", *texts]


def _key_in(document: Any) -> Secret | None:
    """Find the key in the answer to a login."""
    for step in ("Contents", "response", "data", "content", "api_key"):
        document = document.get(step) if isinstance(document, dict) else None
    usable = isinstance(document, str) and document.isascii() and document.isprintable()
    return Secret(document) if usable and document else None


def _spellings(secrets: Iterable[str]) -> list[bytes]:
    """The ways in which an answer may repeat a secret: plain, in JSON, in PHP's JSON, in a URL."""
    ways = {
        way
        for secret in secrets
        for way in (
            secret,
            json.dumps(secret)[1:-1],
            json.dumps(secret)[1:-1].replace("/", r"\/"),
            quote(secret, safe=""),
        )
    }
    return [way.encode() for way in sorted(ways, key=len, reverse=True)]


def _as_text(body: bytes | str | None) -> str:
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else body or ""


def _why_lost(error: Exception) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return f"the TLS connection cannot be trusted: {error}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"the connection failed: {_root_cause(error)}"
    return f"the answer broke off: {_root_cause(error)}"


def _root_cause(error: BaseException) -> str:
    """What the operating system said of it, without the layers between."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        error, cause = cause, cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
