"""Carries plans out: sends requests to the target, within its limits, and writes the history."""

from __future__ import annotations

import threading
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from urllib3.exceptions import InsecureRequestWarning

from pytest_expedition.oracle.history import CANCELLED, FINISHED, NO_KEY, Exchange, created_id
from pytest_expedition.suite.plan import AT_THE_END, JobPlan, Plan
from pytest_expedition.suite.target import Secret, spellings
from pytest_expedition.suite.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from typing_extensions import Self

    from pytest_expedition.oracle.history import Kind, Probe
    from pytest_expedition.protocol.envelope import Dialect
    from pytest_expedition.suite.plan import Act, Request
    from pytest_expedition.suite.target import JobRecipe, Target

MOST_BYTES_IN_ALL: Final = 64 * 1024 * 1024
"""Bytes of all answers of a run that are kept; who sends more is not judged any further."""

MOST_AT_ONCE: Final = 16
POLLS_AFTER_THE_END: Final = 2
POLLS_WITHOUT_ANSWER: Final = 5
"""Polls in a row that may say nothing of a job until the runner gives it up."""

SECONDS_AFTER_INTERRUPT: Final = 5.0
"""Seconds that a run which is interrupted waits for answers under way."""

LEAST_SECONDS: Final = 0.1
"""Seconds that an answer is waited for even where the run is as good as over."""

BARRIER_SECONDS: Final = 60.0
"""Seconds that a thread waits for those that send at the same instant, should one break down."""

LOST_IN_A_ROW: Final = 8
"""Answers that may be lost one after the other until the target is taken to be down."""

SLOWER: Final = 0.02
"""Part of a job's age that lies between two polls: who has waited for minutes can wait a second."""

CLEANING_UP: Final = 0.1
"""Part of the seconds of a run that is kept for cancelling what still runs."""

MOST_SECONDS_OF_CLEANING_UP: Final = 30.0

PART_OF_A_JOB_STOPPED: Final = 0.5
"""For what part of the longest job's time the agent is stopped, to see that a job stands still."""

WRONG_KEY: Final = "not-a-key"
NO_SUCH_RESOURCE: Final = 404

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
    form: Mapping[str, str] | None = None
    probe: Probe = ""

    @property
    def json(self) -> Any:
        """The document that the request carries, if it is none with a form."""
        return self.recipe.json if self.recipe is not None else None

    @property
    def may_be_cancelled(self) -> bool:
        """Whether the job that the request creates may be cancelled, as far as is known."""
        return self.recipe is not None and self.recipe.cancellable is not False


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


class Runner:
    """Sends the requests of plans to one target, and keeps every exchange.

    ``exchanges`` are all of the run, ``ledger`` the ids of the jobs that it created, which alone
    are ever cancelled, ``left_behind`` those of them that were not seen to have ended, ``dialect``
    the one that the target speaks, once an answer has shown it, ``longest_job`` how many seconds
    the slowest job took until it was seen to have ended. ``watch`` is told, before each pause, how
    far each running job is, by its id; ``record`` is told each exchange.
    """

    def __init__(
        self,
        target: Target,
        *,
        watch: Callable[[Mapping[int, float]], None] | None = None,
        record: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.target = target
        self.clock = target.clock
        self.exchanges: list[Exchange] = []
        self.ledger: list[int] = []
        self.requests = 0
        self.jobs = 0
        self.longest_job = 0.0
        self.dialect: Dialect | None = None if target.dialect == "auto" else target.dialect
        self._watch = watch
        self._record = record
        self._alive: dict[int, bool] = {}
        """The jobs not seen to have ended, and whether they may be cancelled."""
        self._perhaps_created: list[float] = []
        """When creations were sent of which nobody knows whether they created a job."""
        self._unsent: set[Exchange] = set()
        """Those for which there was no connection."""
        self._dialects: dict[int, Dialect | None] = {}
        """The dialect in which each job was created: its status is asked for in the same."""
        self._recipes = {recipe.name: recipe for recipe in target.jobs}
        self._started = self.clock.now()
        self._until = time.monotonic() + target.limits.seconds
        self._reached = False
        self._lost_in_a_row = 0
        self._agent_started = False
        self._bytes = 0
        self._key = Secret(target.api_key)
        self._renewed = False
        self.secrets: tuple[str, ...] = ()
        """What nobody may read: the keys and the password."""
        self._keep_secret(target.api_key, target.password)
        self._transport = Transport(target.url, verify=target.verify, connections=MOST_AT_ONCE)
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="expedition")
        self._quiet = warnings.catch_warnings()

    def __enter__(self) -> Self:
        self._quiet.__enter__()
        if self.target.verify is False:  # said once, in the report, and not for each request
            warnings.simplefilter("ignore", InsecureRequestWarning)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.target.start_agent and not self._agent_started and self.requests:
                self._send_once([_told_to_agent("start")])
            self.cancel_what_still_runs()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._transport.close()
            self._quiet.__exit__(None, None, None)

    @property
    def left_behind(self) -> list[int]:
        """The ids of the jobs that this run created and has not seen end."""
        return list(self._alive)

    @property
    def perhaps_created(self) -> int:
        """How many jobs may have been created by requests that got no answer."""
        return len(self._perhaps_created)

    # Plans

    def run(self, plan: Plan) -> list[Exchange]:
        """Carry out a plan and return its exchanges.

        Raises ``LimitReachedError`` before a request that a limit forbids, and
        ``TargetUnusableError`` where the target does not answer at all or refuses the key.
        """
        first = len(self.exchanges)
        self._begin()
        waiting = list(plan.jobs)
        running = self._start(waiting, [], reached=plan.jobs[0].after)
        if plan.probes and running:
            self._probe_access(running)
        self._watch_to_the_end(plan, waiting, running)
        if plan.probes:
            self._probe_creation(plan.jobs[0].recipe)
            self._probe_ids()
            if self.target.control_agent:
                self._probe_stopped_agent(plan.jobs[0].recipe)
        return self.exchanges[first:]

    def _begin(self) -> None:
        """Get in, and start the agent where that is allowed."""
        self.log_in()
        if self.target.start_agent and not self._agent_started:
            self._tell_agent("start")

    def _watch_to_the_end(
        self, plan: Plan, waiting: list[JobPlan], running: list[_Running]
    ) -> None:
        """Do to the running jobs what the plan says, create those that wait, and poll them all."""
        while running or waiting:
            self._round(plan, running)
            running = [job for job in running if not job.done]
            first = running[0] if running else None
            on_its_way = first is not None and first.plan is plan.jobs[0] and not first.ended
            reached = first.progress if first is not None and on_its_way else AT_THE_END
            running += self._start(waiting, running, reached=reached)
            if running:
                self._sleep(min(job.due for job in running), running)

    def ask_again(self, job_ids: Iterable[int]) -> None:
        """Ask once for the status of jobs of earlier plans."""
        for job_id in job_ids:
            self._send([self._about("poll", job_id)])

    def cancel_what_still_runs(self) -> None:
        """Cancel the jobs of the ledger that have not ended and may be cancelled.

        It takes the requests that were kept for it, and ends with the seconds of the run.
        """
        requests: tuple[Request, ...] = ("cancel", "poll")  # a cancel may take a moment
        for request in requests:
            for job_id, cancellable in list(self._alive.items()):
                if cancellable and time.monotonic() < self._until:
                    self._send_once([self._about(request, job_id)])

    def _sleep(self, until: float, running: Sequence[_Running] = ()) -> None:
        """Sleep until it is that late, or the run is over."""
        pause = max(until - self.clock.now(), 0.0)
        if self.clock.waits:
            if self._watch is not None:
                self._watch({job.id: job.progress for job in running})
            pause = min(pause, max(self._last_start - time.monotonic(), 0.0))
        self.clock.sleep(pause)

    @property
    def _last_start(self) -> float:
        """When the last request may begin that does not clean up, on the machine's clock."""
        seconds = self.target.limits.seconds
        return self._until - min(CLEANING_UP * seconds, MOST_SECONDS_OF_CLEANING_UP)

    def _start(
        self, waiting: list[JobPlan], running: list[_Running], *, reached: float
    ) -> list[_Running]:
        """Create, at the same instant, the waiting jobs whose turn has come, as many as may run.

        ``reached`` is how far the plan's first job is.
        """
        ready = [job for job in waiting if job.after <= reached]
        if ready and not running:
            self._make_room()
        starting = ready[: min(self._room(), self.target.limits.jobs - self.jobs)]
        if not starting:
            if waiting and not running:
                over = self.jobs >= self.target.limits.jobs
                raise LimitReachedError("jobs" if over else "concurrent_jobs")
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

    def _room(self) -> int:
        """How many more jobs may run at the same time as those that do, or that may do."""
        return self.target.limits.concurrent_jobs - len(self._alive) - len(self._perhaps_created)

    def _make_room(self) -> None:
        """See to it that jobs of earlier plans, of which nothing was learned, are no longer there.

        They may have ended meanwhile; else they are cancelled, if that is allowed. What nobody
        knows of has ended when the time of a job is over.
        """
        requests: tuple[Request, ...] = ("poll", "cancel", "poll")
        for request in requests:
            for job_id, cancellable in list(self._alive.items()):
                if self._room() <= 0 and (cancellable or request == "poll"):
                    self._send([self._about(request, job_id)])
        while self._room() <= 0 and self._perhaps_created:
            over = self._perhaps_created[0] + self.target.limits.job_seconds
            self._sleep(self._started + over)
            if time.monotonic() > self._last_start:
                raise LimitReachedError("seconds")
            del self._perhaps_created[0]

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
        if job.ended and not ended_before:
            age = self.clock.now() - self._started - job.created
            self.longest_job = max(self.longest_job, age)

    # Requests that ought to be refused

    def _probe_access(self, running: Sequence[_Running]) -> None:
        """Ask for a running job without a key and with a wrong one."""
        victim = running[min(1, len(running) - 1)]
        for probe in _WITHOUT_ACCESS:
            self._send([self._about("poll", victim.id, probe)])
            self._send([self._about("cancel", victim.id, probe)])

    def _probe_creation(self, recipe: str) -> None:
        """Ask for a new job without a key and with a wrong one, as far as jobs may be created."""
        for probe in _WITHOUT_ACCESS:
            if self.jobs < self.target.limits.jobs and self._room() > 0:
                (creation,) = self._send([self._creation(recipe, probe)])
                self.jobs += created_id(creation) is not None

    def _probe_ids(self) -> None:
        """Ask for ids that were never given out, and for ids that are none.

        What shows itself as a job after all is not cancelled: it would be somebody else's.
        """
        if not self.ledger:
            return
        ended = next((each for each in self.ledger if each not in self._alive), None)
        unknown: list[tuple[int | str, Probe]] = [(max(self.ledger) + FAR_ID, "unknown-id")]
        for job_id, probe in unknown + [(text, "bad-id") for text in _bad_ids(ended)]:
            (answer,) = self._send([self._about("poll", job_id, probe)])
            if answer.answered and not answer.answer.tells_of_a_job:
                self._send([self._about("cancel", job_id, probe)])

    # The agent

    def _tell_agent(self, command: str) -> None:
        """Start, stop or restart the agent."""
        self._agent_started = command != "stop"  # noted before: an answer may be lost
        self._send([_told_to_agent(command)])

    def _probe_stopped_agent(self, recipe: str) -> None:
        """Create a job while the agent is stopped, restart it, and watch the job to its end."""
        plan = Plan(jobs=(JobPlan(recipe=recipe),))
        if self.jobs >= self.target.limits.jobs:
            raise LimitReachedError("jobs")
        self._make_room()
        if self._room() <= 0:
            raise LimitReachedError("concurrent_jobs")
        self._tell_agent("stop")
        running = self._start(list(plan.jobs), [], reached=plan.jobs[0].after)
        restart = self.clock.now() + self.longest_job * PART_OF_A_JOB_STOPPED
        while not all(job.ended for job in running) and self.clock.now() < restart:
            self._round(plan, running)
            self._sleep(min(job.due for job in running), running)
        self._tell_agent("restart")
        for job in running:
            job.created = self.clock.now() - self._started
            job.due = self.clock.now()
        self._watch_to_the_end(plan, [], running)
        self._tell_agent("start")

    # Requests

    def log_in(self) -> None:
        """Get a key for user name and password, unless there is one.

        Raises ``TargetUnusableError`` where none is given.
        """
        if not self._key:
            self._fetch_key()

    def _fetch_key(self) -> None:
        form = {"username": self.target.username, "password": self.target.password}
        for path in ("/api/v1/generate_api_key", "/api/v1/login"):
            call = _Call(kind="other", method="POST", path=path, probe="no-key", form=form)
            self._require_room_for([call])
            (exchange,) = self._send_once([call])
            if exchange.status != NO_SUCH_RESOURCE:
                break
        if exchange.status is None:
            raise TargetUnusableError(f"{self.target.url} does not answer: {exchange.lost}")
        key = _key_in(exchange.document)
        if not exchange.ok or key is None:
            raise TargetUnusableError(
                f"{self.target.url} gives no key for the user name and the password: "
                f"POST {path} was answered with {exchange.status}"
            )
        self._key = key
        self._keep_secret(key)

    def _struck_out(self, body: bytes) -> bytes:
        for secret in self._spellings:
            body = body.replace(secret, b"***")
        return body

    def _keep_secret(self, *secrets: str) -> None:
        self.secrets = (*self.secrets, *(text for text in secrets if text))
        self._spellings = spellings(self.secrets)

    def _creation(self, name: str, probe: Probe = "") -> _Call:
        recipe = self._recipes[name]
        path = recipe.path
        if recipe.query:
            path = f"{path}?{urlencode(recipe.query)}"
        return _Call(
            kind="create",
            method=recipe.method,
            path=path,
            recipe=recipe,
            form=recipe.form,
            probe=probe,
        )

    def _about(self, request: Request, job_id: int | str, probe: Probe = "") -> _Call:
        if request == "start-agent":
            return _told_to_agent("start")
        method = "DELETE" if request == "cancel" else "GET"
        return _Call(
            kind="cancel" if request == "cancel" else "status",
            method=method,
            path=self._path(method, job_id),
            job_id=job_id if isinstance(job_id, int) else None,
            probe=probe,
        )

    def _path(self, method: str, job_id: int | str) -> str:
        if method == "DELETE":
            return f"/api/v1/job/{job_id}"
        created_in = self._dialects.get(job_id) if isinstance(job_id, int) else None
        if (created_in or self.dialect) == "data":
            return f"/api/v1/job/{job_id}?complete=true"
        return f"/api/v1/job/status/{job_id}"

    def _send(self, calls: Sequence[_Call]) -> list[Exchange]:
        """Send requests, several at the same instant, and return the exchanges in their order.

        Where the key has expired, and there is a user name and a password, a new one is fetched
        once, and what was refused is sent again.
        """
        self._require_room_for(calls)
        exchanges = self._send_once(calls)
        refused = [
            number
            for number, exchange in enumerate(exchanges)
            if exchange.status == NO_KEY and not exchange.probe
        ]
        if refused and self.target.password and not self._renewed:
            self._renewed = True
            self._fetch_key()
            again = [calls[number] for number in refused]
            self._require_room_for(again)
            for number, exchange in zip(refused, self._send_once(again), strict=True):
                exchanges[number] = exchange
        self._require_reached(exchanges)
        return exchanges

    def _require_room_for(self, calls: Sequence[_Call]) -> None:
        """Raise ``LimitReachedError`` if requests would go beyond a limit.

        What cleaning up will take is kept for it: a cancel and a look for each job, and the start
        of an agent that is stopped.
        """
        to_be_cancelled = sum(self._alive.values())
        to_be_cancelled += sum(call.kind == "create" and call.may_be_cancelled for call in calls)
        kept = 2 * to_be_cancelled + self.target.control_agent
        if self.requests + len(calls) + kept > self.target.limits.requests:
            raise LimitReachedError("requests")
        if time.monotonic() > self._last_start:
            raise LimitReachedError("seconds")

    def _send_once(self, calls: Sequence[_Call]) -> list[Exchange]:
        self.requests += len(calls)
        if len(calls) == 1 and calls[0].kind != "create":
            exchange = self._exchange(calls[0], None)
            self._keep(exchange)
            return [exchange]
        exchanges = []
        for start in range(0, len(calls), MOST_AT_ONCE):
            batch = calls[start : start + MOST_AT_ONCE]
            barrier = threading.Barrier(len(batch))
            under_way = [self._pool.submit(self._exchange, call, barrier) for call in batch]
            try:
                exchanges += [each.result() for each in under_way]
            except KeyboardInterrupt:
                self._keep_what_arrives(batch, under_way)
                raise
            for exchange in exchanges[start:]:
                self._keep(exchange)
        return exchanges

    def _keep_what_arrives(self, calls: Sequence[_Call], under_way: list[Future[Exchange]]) -> None:
        """Wait a little for what was sent before an interrupt: it may have created jobs."""
        arrived, _ = wait(under_way, timeout=SECONDS_AFTER_INTERRUPT)
        for call, each in zip(calls, under_way, strict=True):
            if each in arrived and each.exception() is None:
                self._keep(each.result())
            elif call.kind == "create":
                self._perhaps_created.append(self.clock.now() - self._started)

    def _keep(self, exchange: Exchange) -> None:
        """Enter an exchange into the books: what was sent, which jobs there are, which ended."""
        self._bytes += len(exchange.body)
        if exchange.kind == "other":
            return
        self.exchanges.append(exchange)
        if self._record is not None:
            self._record(exchange)
        if exchange.kind == "create":
            self._enter_into_ledger(exchange)
        elif exchange.job_id in self._alive and (
            exchange.state in {CANCELLED, FINISHED} or (exchange.gone and not exchange.probe)
        ):
            del self._alive[exchange.job_id]

    def _require_reached(self, exchanges: Sequence[Exchange]) -> None:
        url = self.target.url
        for exchange in exchanges:
            self._lost_in_a_row = self._lost_in_a_row + 1 if exchange.status is None else 0
            if exchange.status == NO_KEY and not exchange.probe:
                raise TargetUnusableError(
                    f"{url} refuses the key: {exchange.method} {exchange.path} was answered with "
                    f"{NO_KEY}"
                )
            self._reached = self._reached or exchange.status is not None
        if not self._reached:
            raise TargetUnusableError(f"{url} does not answer: {exchanges[0].lost}")
        if self._lost_in_a_row >= LOST_IN_A_ROW:
            raise TargetUnusableError(
                f"{url} stopped answering {exchanges[-1].sent:.1f} s after the start: "
                f"{exchanges[-1].lost}"
            )
        if self._bytes > MOST_BYTES_IN_ALL:
            raise TargetUnusableError(f"{url} has sent more than {MOST_BYTES_IN_ALL} bytes in all")

    def _require_creations(self, creations: Sequence[Exchange]) -> None:
        """Refuse to judge a target for requests that it does not know."""
        refused = [x for x in creations if x.status is not None and 300 <= x.status < 500]
        if not self.ledger and len(refused) == len(creations):
            raise TargetUnusableError(
                f"{self.target.url} creates no job: {refused[0].method} {refused[0].path} was "
                f"answered with {refused[0].status}; is it the request of a [[job]] that works?"
            )
        for creation in creations:
            spoken = creation.answer.dialect if creation.answer.tells_of_a_job else None
            if spoken not in {None, self.target.dialect} and self.target.dialect != "auto":
                raise TargetUnusableError(
                    f"{self.target.url} does not speak the dialect {self.target.dialect}, as the "
                    f"target says: {creation.method} {creation.path} was answered in the dialect "
                    f'{spoken}; say `dialect = "{spoken}"`, or "auto"'
                )

    def _exchange(self, call: _Call, barrier: threading.Barrier | None) -> Exchange:
        """Send one request, at the barrier's instant."""
        recipe = call.recipe
        request = self._transport.prepare(
            call.method, call.path, headers=self._headers(call), form=call.form, json=call.json
        )
        left = max(self._until - time.monotonic(), LEAST_SECONDS)
        # Noted before the barrier: of requests sent at the same instant none was first.
        sent = self.clock.now() - self._started
        if barrier is not None:
            barrier.wait(BARRIER_SECONDS)
        reply = self._transport.send(request, seconds=min(self.target.limits.answer_seconds, left))
        asked = _as_bytes(request.body) if recipe is not None else b""
        exchange = Exchange(
            kind=call.kind,
            method=call.method,
            path=call.path,
            sent=sent,
            received=self.clock.now() - self._started,
            status=reply.status,
            body=self._struck_out(reply.body),
            lost=reply.lost,
            unreadable=reply.unreadable,
            job_id=call.job_id,
            request_type=request.headers.get("Content-Type", ""),
            request_body=self._struck_out(asked).decode("utf-8", "replace"),
            cancellable=recipe.cancellable if recipe is not None else None,
            probe=call.probe,
        )
        if reply.unsent:
            self._unsent.add(exchange)
        return exchange

    def _headers(self, call: _Call) -> dict[str, str]:
        if call.probe == "no-key":
            return {}
        key = WRONG_KEY if call.probe == "wrong-key" else self._key
        return {"Authorization": Secret(f"Bearer {key}")}

    def _enter_into_ledger(self, creation: Exchange) -> None:
        job_id = created_id(creation)
        if job_id is not None:
            self.ledger.append(job_id)
            if creation.state not in {CANCELLED, FINISHED}:
                self._alive[job_id] = creation.cancellable is not False
            self._dialects[job_id] = creation.answer.dialect
        elif creation in self._unsent:
            pass  # it cannot have created anything
        elif creation.status is None or creation.ok or creation.failed:
            self._perhaps_created.append(creation.received)
        if self.dialect is None and creation.ok:
            self.dialect = creation.answer.dialect


def _told_to_agent(command: str) -> _Call:
    return _Call(kind="agent", method="GET", path=f"/api/v1/agent/{command}")


_WITHOUT_ACCESS: Final[tuple[Probe, ...]] = ("no-key", "wrong-key")


def _bad_ids(own: int | None) -> list[str]:
    """Ids that are none, as they stand in a path.

    Those that begin like a number begin with the id of an ended job of ours: a server that reads
    no further than the number must not hit anybody else's.
    """
    texts = ["abc", "0", "-1", "9" * 30, "", "..%2F..%2Fagent", "%27", "%22%3B--"]
    return texts if own is None else [f"{own}abc", f"{own}%2F1", f"{own}%27", f"{own}.5", *texts]


def _key_in(document: Any) -> Secret | None:
    """Find the key in the answer to a login."""
    for step in ("Contents", "response", "data", "content", "api_key"):
        document = document.get(step) if isinstance(document, dict) else None
    usable = isinstance(document, str) and document.isascii() and document.isprintable()
    return Secret(document) if usable and document else None


def _as_bytes(body: bytes | str | None) -> bytes:
    return body.encode() if isinstance(body, str) else body or b""
