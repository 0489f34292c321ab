"""Sends requests to the target: with its key, within its limits, every job in the ledger."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from urllib3.exceptions import InsecureRequestWarning

from pytest_expedition.oracle.history import NO_KEY, Exchange
from pytest_expedition.protocol.redaction import LogFilter, Redaction, Secret
from pytest_expedition.real_time import now as machine_now
from pytest_expedition.real_time import pause
from pytest_expedition.suite.agent import AGENT_TRIES, Agent
from pytest_expedition.suite.availability import Availability
from pytest_expedition.suite.calls import Call, listed
from pytest_expedition.suite.errors import (
    TOO_MANY_REQUESTS,
    LimitReachedError,
    TargetUnusableError,
)
from pytest_expedition.suite.ledger import Ledger
from pytest_expedition.suite.login import fetch_key
from pytest_expedition.suite.transport import TIMED_OUT, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

    from pytest_expedition.oracle.history import Kind, Probe
    from pytest_expedition.protocol.envelope import Dialect
    from pytest_expedition.suite.plan import RequestKind
    from pytest_expedition.suite.target import Target

MOST_BYTES_IN_ALL: Final = 64 * 1024 * 1024
"""How many bytes all answers of a run may have together; beyond that the run ends."""

MOST_AT_ONCE: Final = 16
"""Requests that are sent at the same instant."""

SECONDS_AFTER_INTERRUPT: Final = 5.0
"""Seconds that an interrupted run waits for the answers to requests that it has sent."""

LOOK_SECONDS: Final = 0.01
"""The pause between two looks whether those answers are there."""

LEAST_SECONDS: Final = 0.1
"""How many seconds to wait for an answer at the least, also at the end of the run."""

BARRIER_SECONDS: Final = 60.0
"""Seconds after which a thread no longer waits for the others that send at the same instant."""

MOST_WAITS: Final = 3
"""How often a request is sent again because its answer asked to wait (Retry-After)."""

TRIES_WHILE_CLEANING_UP: Final = 10
"""How often the clean-up sends a request, with longer and longer pauses: for about 20 seconds."""

CLEANING_UP: Final = 0.1
"""Part of the seconds of a run that is kept for cancelling what still runs."""

MOST_SECONDS_OF_CLEANING_UP: Final = 30.0

STARTING_THE_AGENT: Final = 0.25
CANCELLING: Final = 0.75
"""After which part of the clean-up's time the agent must run, and all cancels must be answered.

The rest of the time is for asking for the status of the jobs.
"""

SECONDS_OF_RESTART: Final = 2.0
"""How long to wait if a target that has answered before refuses the connection."""

LOGGERS: Final = tuple(
    f"urllib3.{name}" for name in ("connection", "connectionpool", "poolmanager", "response")
)
"""The loggers that may write what was sent or received."""

WRONG_KEY: Final = "not-a-key"


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """What a run could not clean up.

    ``jobs`` are the ids of jobs that were not seen to end. ``unconfirmed_creations`` is how many
    requests may have created a job though no answer gives its id, ``unconfirmed_ids`` what some of
    these answers give as an id that is none. ``agent`` says that the agent was stopped and was not
    seen to run again; it is empty otherwise.
    """

    jobs: tuple[int, ...]
    unconfirmed_creations: int
    unconfirmed_ids: tuple[str, ...]
    agent: str


class Client:
    """Sends requests to one target and keeps every exchange.

    ``exchanges`` are all of the run, ``ledger`` knows the jobs that it created, which alone are
    ever cancelled, ``agent`` is the target's. ``requests`` counts what was sent. ``dialect`` is
    the one that the target speaks, once an answer has shown it. ``secrets`` are the keys and the
    password. The client calls ``record`` with each exchange, unredacted, and the secrets so far.

    A client is a context manager: at its end it cleans up and closes its connections.
    """

    def __init__(
        self, target: Target, *, record: Callable[[Exchange, Sequence[str]], object] | None = None
    ) -> None:
        self.target = target
        self.clock = target.clock
        self.ledger = Ledger(target.limits)
        self.agent = Agent(
            target, send=lambda call: self.send([call])[0], require_limits=self._require_limits
        )
        self.exchanges: list[Exchange] = []
        self.requests = 0
        self.dialect: Dialect | None = None if target.dialect == "auto" else target.dialect
        self._record = record
        self._unsent: set[Exchange] = set()
        """The requests that were not sent, because there was no connection."""
        self._refused: set[Exchange] = set()
        """Those of them whose connection was refused though the target had answered before."""
        self._recipes = {recipe.name: recipe for recipe in target.jobs}
        self._started = self.clock.now()
        self.until = machine_now() + target.limits.seconds
        """When the run ends, on the machine's clock."""
        self._availability = Availability(target.url)
        self._retry_after: dict[Exchange, float] = {}
        """For how many seconds each answer asked to wait (Retry-After)."""
        self._not_before = 0.0
        """When the next request may be sent, because the target asked to wait."""
        self._next_try = 0.0
        """When the next request may be sent, because the target refused a connection."""
        self._bytes = 0
        self._key = Secret(target.api_key)
        self.secrets: tuple[str, ...] = ()
        self._log_filter = LogFilter(Redaction())
        by_name = f"{target.username}:{target.password}"  # as a proxy may log it, in base64
        self._keep_secret(target.api_key, target.password, by_name if target.password else "")
        self._transport = Transport(
            target.url, verify=target.verify, cert=target.certificate, connections=MOST_AT_ONCE
        )
        self._pool = _new_pool()
        self._quiet = warnings.catch_warnings()

    def __enter__(self) -> Self:
        self._quiet.__enter__()
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self._log_filter)
        if self.target.verify is False:  # said once, in the report, and not for each request
            warnings.simplefilter("ignore", InsecureRequestWarning)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.clean_up()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._transport.close()
            for name in LOGGERS:
                logging.getLogger(name).removeFilter(self._log_filter)
            self._quiet.__exit__(None, None, None)

    @property
    def proxy(self) -> str:
        """The proxy that requests go through; empty if there is none."""
        return self._transport.proxy

    @property
    def now(self) -> float:
        """Seconds since the start of the run, on the target's clock."""
        return self.clock.now() - self._started

    @property
    def seconds_left(self) -> float:
        """Seconds until the last request that is not for cleaning up, on the machine's clock."""
        return self._last_start - machine_now()

    # Cleaning up

    @property
    def leftovers(self) -> Leftovers:
        """What has not been cleaned up so far."""
        return Leftovers(
            jobs=tuple(self.ledger.left_behind),
            unconfirmed_creations=len(self.ledger.unconfirmed_creations),
            unconfirmed_ids=tuple(self.ledger.unconfirmed_ids),
            agent=self.agent.leftover,
        )

    def end_within(self, seconds: float) -> None:
        """From now on wait no longer than this for anything."""
        self.until = min(self.until, machine_now() + seconds)

    def clean_up(self) -> Leftovers:
        """Start the agent if this run stopped it, cancel running jobs; return what is left.

        It uses the requests that were kept back for it, and ends with the seconds of the run.
        """
        begun = machine_now()
        seconds = max(self.until - begun, 0.0)
        if self.agent.stopped:
            until = begun + STARTING_THE_AGENT * seconds

            def send(call: Call) -> Exchange | None:
                return next(iter(self._send_while_cleaning_up([call], until)), None)

            # No restart: if the agent was never stopped after all, it could end running jobs.
            with contextlib.suppress(Exception):  # jobs are to be cancelled whatever happens
                self.agent.make_run("start", send, until)
        self._cancel_what_still_runs(begun + CANCELLING * seconds)
        return self.leftovers

    def _send_while_cleaning_up(self, calls: Sequence[Call], until: float) -> list[Exchange]:
        """Send requests at the same instant, as long as requests and seconds are left.

        Each is sent once, even where the target asked for a longer pause (Retry-After) than there
        is time for. What was put off is sent again if there is time, and so is a cancel that
        something before the application answered. One that got no answer in time is not sent again:
        it may have arrived.
        """
        exchanges: list[Exchange] = []
        for number in range(TRIES_WHILE_CLEANING_UP):
            left = min(until - machine_now(), self.target.limits.answer_seconds)
            pause = max(self._not_before - self.now, self._next_try - self.now, 0.0)
            if number:
                longer = self.target.limits.poll_seconds * 2 ** (number - 1)
                pause = max(pause, min(longer, SECONDS_OF_RESTART))
            too_long = self.clock.waits and pause > left
            calls = calls[: max(self.target.limits.requests - self.requests, 0)]
            if not calls or left <= 0 or (too_long and number):
                break
            if not too_long:
                self.clock.sleep(pause)
            exchanges = self._send_once(calls, until)
            refused = any(each.status == NO_KEY for each in exchanges)
            if refused and self.target.password:
                with contextlib.suppress(TargetUnusableError):
                    self._fetch_key(cleaning_up=True)
            calls = [
                call
                for call, each in zip(calls, exchanges, strict=True)
                if self._is_put_off(each)
                or (each.status == NO_KEY and self.target.password)
                or (call.kind == "cancel" and not each.answered and each.lost != TIMED_OUT)
            ]
        return exchanges

    def _cancel_what_still_runs(self, until: float) -> None:
        """Cancel the jobs of the ledger that have not ended and may be cancelled.

        Cancels that are not answered ``until`` then leave time to ask for all jobs.
        """
        # Threads of the run may still wait for an answer.
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = _new_pool()
        requests: tuple[RequestKind, ...] = ("cancel", "poll")  # a cancel may take a moment
        for request in requests:
            calls = [self.about(request, job_id) for job_id in self.ledger.to_be_cancelled]
            for start in range(0, len(calls), MOST_AT_ONCE):
                with contextlib.suppress(Exception):  # the others are to be cancelled, too
                    self._send_while_cleaning_up(
                        calls[start : start + MOST_AT_ONCE],
                        until if request == "cancel" else self.until,
                    )

    # The key

    def log_in(self) -> None:
        """Get a key for user name and password, unless there is one.

        Raises ``TargetUnusableError`` if the target gives none.
        """
        if not self._key:
            self._fetch_key()

    def _fetch_key(self, *, cleaning_up: bool = False) -> None:
        def send(call: Call) -> Exchange:
            if cleaning_up:
                return self._send_once([call])[0]
            self._require_limits(call)
            return self._send_in_time([call])[0]

        self._key = fetch_key(self.target, send, json_first=self.dialect == "data")
        self._keep_secret(self._key)

    def _keep_secret(self, *secrets: str) -> None:
        self.secrets = (*self.secrets, *(text for text in secrets if text))
        self._log_filter.redaction = Redaction(self.secrets)

    # Requests

    def creation(self, name: str, probe: Probe = "") -> Call:
        """Make the request of a recipe."""
        recipe = self._recipes[name]
        joint = "&" if "?" in recipe.path else "?"
        query = f"{joint}{urlencode(recipe.query)}" if recipe.query else ""
        method, path = listed("creation", method=recipe.method, path=recipe.path + query)
        return Call(
            kind="create",
            method=method,
            path=path,
            recipe=recipe,
            form=recipe.form,
            probe=probe,
        )

    def about(self, request: RequestKind, job_id: int | str, probe: Probe = "") -> Call:
        """Make a request of a plan about a job, or a probe about an id."""
        if request == "start-agent":
            return self.agent.call("start")
        ids = {"unknown-id": "far", "bad-id": "malformed"}.get(probe, "job")
        kind: Kind = "cancel" if request == "cancel" else "status"
        dialect = self.ledger.dialects.get(job_id) if isinstance(job_id, int) else None
        in_data = kind == "status" and (dialect or self.dialect) == "data"
        method, path = listed(f"{ids}-{kind}{'-data' if in_data else ''}", **{ids: job_id})
        return Call(
            kind=kind,
            method=method,
            path=path,
            job_id=job_id if isinstance(job_id, int) else None,
            probe=probe,
        )

    def about_jobs(self, name: str, **parts: object) -> Call:
        """Make a request of the list that tells of several jobs, or of that of a project."""
        method, path = listed(name, **parts)
        return Call(kind="list", method=method, path=path)

    def send(self, calls: Sequence[Call]) -> list[Exchange]:
        """Send requests, several at the same instant, and return the exchanges in their order.

        Where the key has expired, and there is a user name and a password, a new one is fetched,
        and what was refused is sent again. Where an answer that is not the application's asks
        to wait (Retry-After), this waits within the limits, and sends again what was put off. So it
        does where a target that has answered before refuses the connection: it may restart.

        Raises ``LimitReachedError`` before a request that a limit forbids, and
        ``TargetUnusableError`` where the target does not answer at all or refuses the key.
        """
        self._require_limits(*calls)
        exchanges = self._send_in_time(calls)
        refused = [
            number
            for number, exchange in enumerate(exchanges)
            if exchange.status == NO_KEY and not exchange.probe
        ]
        if refused and self.target.password:
            self._fetch_key()
            again = [calls[number] for number in refused]
            self._require_limits(*again)
            for number, exchange in zip(refused, self._send_in_time(again), strict=True):
                exchanges[number] = exchange
        self._availability.note(exchanges)
        if self._bytes > MOST_BYTES_IN_ALL:
            raise TargetUnusableError(
                f"{self.target.url} has sent more than {MOST_BYTES_IN_ALL} bytes in all, which is "
                "too much: try --expedition-profile=smoke, or recipes with smaller results"
            )
        return exchanges

    def require_answers(self) -> None:
        """Raise ``TargetUnusableError`` if the application answered nothing at the end of a run."""
        self._availability.require_answers()
        if not self.ledger.ids:
            self._availability.require_answers(at_least=1)

    def _send_in_time(self, calls: Sequence[Call]) -> list[Exchange]:
        """Send requests; wait, and send again, what an answer put off until later."""
        self._wait(self._seconds_until_end())
        exchanges = self._send_once(calls)
        for _ in range(MOST_WAITS):
            put_off = self._put_off(exchanges)
            if not put_off:
                break
            again = [calls[number] for number in put_off]
            self._require_limits(*again)
            self._wait(self._seconds_until_end())
            for number, exchange in zip(put_off, self._send_once(again), strict=True):
                exchanges[number] = exchange
        return exchanges

    def _put_off(self, exchanges: Sequence[Exchange]) -> list[int]:
        """Return the places of what is to be sent again later; creations as far as allowed."""
        jobs_left = self.ledger.jobs_left
        numbers = []
        for number, exchange in enumerate(exchanges):
            if self._is_put_off(exchange):
                jobs_left -= exchange.kind == "create"
                if exchange.kind != "create" or jobs_left >= 0:
                    numbers.append(number)
        return numbers

    def _is_put_off(self, exchange: Exchange) -> bool:
        """Whether a request is to be sent again later: the server did not carry it out."""
        if exchange in self._refused:
            return True
        if exchange not in self._retry_after or exchange.answered:
            return False
        return exchange.kind != "create" or exchange.status == TOO_MANY_REQUESTS

    def _wait(self, longest: float) -> None:
        """Wait until the target may be asked again.

        Raises ``LimitReachedError`` if that is later than the run may wait.
        """
        asked = self._not_before - self.now
        pause = max(asked, self._next_try - self.now)
        if pause <= 0:
            return
        if pause > longest:
            raise LimitReachedError("seconds", pause=asked if asked > longest else 0.0)
        self.clock.sleep(pause)

    def _seconds_until_end(self) -> float:
        return self.seconds_left if self.clock.waits else float("inf")

    @property
    def _last_start(self) -> float:
        """Until when requests may begin that are not for cleaning up, on the machine's clock."""
        seconds = self.target.limits.seconds
        return self.until - min(CLEANING_UP * seconds, MOST_SECONDS_OF_CLEANING_UP)

    def _require_limits(self, *calls: Call) -> None:
        """Raise ``LimitReachedError`` if requests would go beyond a limit.

        The requests that cleaning up will take are kept back: a cancel and a status request for
        each job, and the tries to start a stopped agent.
        """
        if sum(call.kind == "create" for call in calls) > max(self.ledger.jobs_left, 0):
            raise LimitReachedError("jobs")
        to_be_cancelled = len(self.ledger.to_be_cancelled)
        to_be_cancelled += sum(call.kind == "create" and call.may_be_cancelled for call in calls)
        kept = 2 * to_be_cancelled + AGENT_TRIES * self.target.control_agent
        if self.requests + len(calls) + kept > self.target.limits.requests:
            raise LimitReachedError("requests")
        if machine_now() > self._last_start:
            raise LimitReachedError("seconds")

    def _send_once(self, calls: Sequence[Call], until: float = float("inf")) -> list[Exchange]:
        """Send requests; wait for their answers ``until`` then at the most."""
        self.requests += len(calls)
        exchanges: list[Exchange] = []
        for start in range(0, len(calls), MOST_AT_ONCE):
            exchanges += self._send_at_once(calls[start : start + MOST_AT_ONCE], until)
        return exchanges

    def _send_at_once(self, calls: Sequence[Call], until: float) -> list[Exchange]:
        """Send a few requests at the same instant.

        Threads send creations, and enter them into the ledger. Signals interrupt the main thread
        alone, so no job is forgotten, whenever one arrives.
        """
        if len(calls) == 1 and calls[0].kind != "create":
            exchanges = [self._exchange(calls[0], None, until)]
        else:
            barrier = threading.Barrier(len(calls))
            under_way: list[Future[Exchange]] = []
            try:
                under_way.extend(
                    self._pool.submit(self._exchange, call, barrier, until) for call in calls
                )
                exchanges = [each.result() for each in under_way]
            except BaseException:  # whatever ends the run: what was sent may have created jobs
                barrier.abort()
                self._keep_what_arrives(under_way)
                raise
        self._keep(exchanges)
        return exchanges

    def _keep_what_arrives(self, under_way: Sequence[Future[Exchange]]) -> None:
        """Wait a little for the answers to what was sent before the run was ended."""
        self.end_within(self.target.limits.answer_seconds)
        until = machine_now() + min(SECONDS_AFTER_INTERRUPT, self.target.limits.answer_seconds)
        while machine_now() < until and (
            # The signal may have come before the list had the last one.
            self.ledger.creations_under_way or not all(each.done() for each in under_way)
        ):
            pause(LOOK_SECONDS)
        self._keep([x.result() for x in under_way if x.done() and x.exception() is None])

    def _keep(self, exchanges: Sequence[Exchange]) -> None:
        """Keep exchanges, and learn from those about a job how it stands."""
        about_jobs = [each for each in exchanges if each.kind != "other"]
        for exchange in about_jobs:
            if exchange.kind != "create":  # those are in the ledger
                self.ledger.enter(exchange, unsent=exchange in self._unsent)
            tells = exchange.ok and exchange.answer.tells_of_a_job
            if self.dialect is None and exchange.kind == "create" and tells:
                self.dialect = exchange.answer.dialect
        self.exchanges += about_jobs
        self._bytes += sum(len(each.body) for each in exchanges)
        if self._record is not None:  # last of all: it may fail, and no job may be lost by that
            for exchange in about_jobs:
                self._record(exchange, self.secrets)

    def _exchange(self, call: Call, barrier: threading.Barrier | None, until: float) -> Exchange:
        """Send one request, at the barrier's instant."""
        recipe = call.recipe
        request = self._transport.prepare(
            call.method, call.path, headers=self._headers(call), form=call.form, json=call.json
        )
        left = max(min(self.until, until) - machine_now(), LEAST_SECONDS)
        # Noted before the barrier: of requests sent at the same instant none was first.
        sent = self.now
        if barrier is not None:
            barrier.wait(BARRIER_SECONDS)
        is_creation = call.kind == "create"
        noted = self.ledger.note_creation(sent) if is_creation else None
        reply = self._transport.send(request, seconds=min(self.target.limits.answer_seconds, left))
        asked = _as_bytes(request.body) if recipe is not None else b""
        exchange = Exchange(
            kind=call.kind,
            method=call.method,
            path=call.path,
            sent=sent,
            received=self.now,
            status=reply.status,
            body=reply.body,
            lost=reply.lost,
            unreadable=reply.unreadable,
            location=reply.location,
            job_id=call.job_id,
            request_type=request.headers.get("Content-Type", ""),
            request_body=asked.decode("utf-8", "replace"),
            cancellable=recipe.cancellable if recipe is not None else None,
            probe=call.probe,
        )
        if reply.unsent:
            self._unsent.add(exchange)
            if self._availability.reached and reply.lost != TIMED_OUT:
                self._refused.add(exchange)
                self._next_try = self.now + SECONDS_OF_RESTART
        if reply.retry_after is not None and not exchange.answered:
            self._retry_after[exchange] = reply.retry_after
            self._not_before = max(self._not_before, self.now + reply.retry_after)
        if is_creation:
            self.ledger.enter(exchange, unsent=reply.unsent, noted=noted)
        return exchange

    def _headers(self, call: Call) -> dict[str, str | None]:
        if call.probe == "no-key":
            return {}
        key = WRONG_KEY if call.probe == "wrong-key" else self._key
        without: dict[str, str | None] = {"Accept": None} if call.probe == "no-accept" else {}
        return {"Authorization": Secret(f"Bearer {key}"), **without}


def _new_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="expedition")


def _as_bytes(body: bytes | str | None) -> bytes:
    return body.encode() if isinstance(body, str) else body or b""
