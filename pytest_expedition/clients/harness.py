"""Runs a client in a scenario: tells it to run a job, and judges what it did and said."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition import real_time
from pytest_expedition.clients.rules import judge_client
from pytest_expedition.clients.transcript import ENDS, Call, Said, Step, Transcript
from pytest_expedition.fake.dialects import WRITTEN
from pytest_expedition.fake.instance import AGENT_COMMANDS, CANCEL_PATH, JOB_REQUESTS, LOGIN_PATHS
from pytest_expedition.fake.situation import LONGEST, SituationInstance
from pytest_expedition.oracle.history import Exchange
from pytest_expedition.oracle.verdict import settle
from pytest_expedition.protocol.requirements import CLIENT_CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition.clients.transcript import Saying
    from pytest_expedition.fake.instance import Handled
    from pytest_expedition.fake.server import ExpeditionServer
    from pytest_expedition.fake.situation import RequestKind, Situation
    from pytest_expedition.oracle.history import Kind
    from pytest_expedition.oracle.verdict import Result

CANCELS_AFTER: Final = 15.0
"""Seconds between the start of a job and its cancel by the client."""

IDS_OF_A_RUN: Final = 1000

_STUMBLES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)
"""What a client raises that did not expect what it met."""

_KINDS: Final[dict[RequestKind | None, Kind]] = {
    "creation": "create",
    "status": "status",
    "cancel": "cancel",
    None: "other",
}

_OF_THE_SERVER: Final = "(process_request_thread)"
"""How the names of the threads end in which the server answers."""

_yield_to_others: Final = asyncio.sleep

Exceptions = type[Exception] | tuple[type[Exception], ...]


class ClientNeverEnds(BaseException):
    """Ends a client that would wait for ever; no client catches it."""


class Harness:
    """A client in one situation after the other, against a server that plays them.

    Its time is virtual: it moves when the client sleeps. ``sleep``, ``sleep_async`` and
    ``monotonic`` are what such a client sleeps and tells the time with.
    """

    def __init__(self, server: ExpeditionServer) -> None:
        self.server = server
        self.transcript = Transcript(steps=(), calls=())
        """What the client did in the last situation."""
        self._speed: float | None = None
        self._endless = False
        self._runs = 0
        self._thread: threading.Thread | None = None
        self._others = frozenset(threading.enumerate())
        self._interrupting = threading.Lock()

    def real_time(self, *, speed: float = 1.0) -> None:
        """Let the fake's time move by itself, ``speed`` times as fast as the world's.

        This is for clients that sleep elsewhere: in another process or language. Raises
        ``ValueError`` for a speed that is none.
        """
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed must be a number above 0, got {speed!r}")
        self._speed = speed
        self.server.clock.run(speed=speed)

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass, without waiting: what ``time.sleep`` is replaced with."""
        self._pass(seconds)
        if self._endless or self.server.clock.now() > LONGEST:
            self._endless = True
            raise ClientNeverEnds

    async def sleep_async(self, seconds: float, result: Any = None) -> Any:
        """Let ``seconds`` pass, without waiting: what ``asyncio.sleep`` is replaced with."""
        self.sleep(max(seconds, 0))
        await _yield_to_others(0)
        return result

    def monotonic(self) -> float:
        """Return the fake's time in seconds: what ``time.monotonic`` is replaced with."""
        return self.server.clock.now()

    def _pass(self, seconds: float) -> None:
        if self._speed is None:
            self.server.advance(seconds)
        else:
            real_time.pause(seconds)

    def run(
        self,
        situation: Situation,
        *,
        start: Callable[[], Any],
        wait: Callable[[Any], object],
        cancel: Callable[[Any], object] | None = None,
        failed: Exceptions = (),
        cancelled: Exceptions = (),
    ) -> list[Result]:
        """Tell the client to run the jobs of a situation; return what became of each promise.

        For the parameters see ``ExpeditionScenario.check``. Raises ``TypeError`` where the client
        says what nobody can understand.
        """
        meanings: dict[Saying, Exceptions] = {"failed": failed, "cancelled": cancelled}
        _require_exceptions(meanings)
        self._endless = False
        # No id comes twice from one harness: a client may remember how a job ended.
        first_id = situation.first_id + IDS_OF_A_RUN * self._runs
        self._runs += 1
        instance = SituationInstance(replace(situation, first_id=first_id))
        instance.when_exhausted = self._interrupt
        self.server.play(instance)
        if self._speed is not None:
            self.server.clock.run(speed=self._speed)
        calls: list[Call] = []
        started: list[_Attempt] = []
        for _ in range(situation.jobs):
            started.append(self._attempt(start))
            if self._endless:
                break
        for creation in started:
            attempts = [creation]
            cancelled_by = None
            if creation.raised is None and not self._endless:
                if situation.client_cancels and cancel is not None:
                    speed = self._speed or 1.0
                    self._pass(CANCELS_AFTER / speed)
                    attempts.append(self._attempt(cancel, creation.result))
                    cancelled_by = attempts[-1].done
                if not (self._endless or attempts[-1].stumbled):
                    attempts.append(self._attempt(wait, creation.result))
            said = _endless() if self._endless else _said(attempts[-1], meanings)
            spans = [(attempt.begun, attempt.done) for attempt in attempts]
            done = self.monotonic()
            calls.append(Call(said=said, spans=spans, done=done, cancelled_by=cancelled_by))
        self.transcript = Transcript(
            steps=steps(instance),
            calls=calls,
            told_to_cancel=situation.client_cancels and cancel is not None,
        )
        self.server.check()
        return judge(self.transcript)

    def _attempt(self, function: Callable[..., Any], *arguments: Any) -> _Attempt:
        attempt = _Attempt()
        try:
            self._thread = threading.current_thread()
            try:
                attempt.result = function(*arguments)
            finally:
                self._leave()
        except ClientNeverEnds:
            self._endless = True
        except Exception as error:  # noqa: BLE001 - it is what the client says
            attempt.raised = error
        attempt.done = real_time.now()
        return attempt

    def _leave(self) -> None:
        with self._interrupting:
            for thread in self._threads():
                _raise_in(thread, None)
            self._thread = None

    def _interrupt(self) -> None:
        """End the client, wherever it is: it may catch all that a request can raise."""
        self._endless = True
        with self._interrupting:
            for thread in self._threads():
                _raise_in(thread, ClientNeverEnds)

    def _threads(self) -> list[threading.Thread]:
        """Return the threads of the client: the one it was called in, and all that are new."""
        if self._thread is None:
            return []
        new = [
            thread
            for thread in threading.enumerate()
            if thread not in self._others and not thread.name.endswith(_OF_THE_SERVER)
        ]
        return list({self._thread, *new})


class _Attempt:
    """One call of the client's code: what it returned or raised, and when."""

    def __init__(self) -> None:
        self.result: Any = None
        self.raised: Exception | None = None
        self.begun = real_time.now()
        self.done = self.begun

    @property
    def stumbled(self) -> bool:
        return isinstance(self.raised, _STUMBLES)


def _raise_in(thread: threading.Thread, error: type[BaseException] | None) -> None:
    """Let a thread raise an error, or take back one that it has not raised yet."""
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), raised)


def _require_exceptions(meanings: dict[Saying, Exceptions]) -> None:
    for name, given in meanings.items():
        for each in given if isinstance(given, tuple) else (given,):
            if not (isinstance(each, type) and issubclass(each, Exception)):
                raise TypeError(f"{name} must be an exception that the client raises, got {each!r}")


def _endless() -> Said:
    return Said(words=frozenset({"endless"}), how="")


def _said(attempt: _Attempt, meanings: dict[Saying, Exceptions]) -> Said:
    error = attempt.raised
    if error is not None:
        words = frozenset(word for word, given in meanings.items() if isinstance(error, given))
        how = f"raised {error!r}{_place(error)}"
        if words:
            return Said(words=words, how=how)
        return Said(words=frozenset({"gave-up"}), how=how, stumbled=attempt.stumbled)
    for end in ENDS:
        if attempt.result == end:
            return Said(words=frozenset({end}), how=f"returned {end!r}")
    if any(meanings.values()):
        return Said(words=frozenset({"finished"}), how=f"returned {attempt.result!r}")
    raise TypeError(
        f"wait returned {attempt.result!r}: let it return 'finished', 'failed' or 'cancelled', or "
        "name the exceptions that the client raises instead: failed=…, cancelled=…"
    )


def _place(error: Exception) -> str:
    """Tell where the client raised it: the last place that is not a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [x for x in frames if "site-packages" not in x.filename and Path(x.filename) != _HERE]
    own = [x for x in own if f"{Path(traceback.__file__).parent}/" not in x.filename]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


_HERE: Final = Path(__file__)


def judge(transcript: Transcript) -> list[Result]:
    """Return what became of each promise of clients."""
    return settle(judge_client(transcript), offers=(), catalogue=CLIENT_CATALOGUE)


def transcript_by_hand(instance: SituationInstance) -> Transcript:
    """Return what a client did that nobody told what to do, nor heard what it said."""
    done = steps(instance)
    begun = [x.exchange.sent for x in done if x.exchange.kind == "create"]
    # What it creates beyond the jobs of the situation counts as created again for the last.
    begun = begun[: instance.situation.jobs]
    ended = [math.nextafter(later, 0) for later in begun[1:]] + [math.inf]
    said = Said(words=frozenset(), how="")
    return Transcript(
        steps=done,
        calls=[
            Call(said=said, spans=[span], done=instance.clock.now())
            for span in zip(begun, ended, strict=False)
        ],
        told_to_cancel=instance.situation.client_cancels,
    )


def steps(instance: SituationInstance) -> list[Step]:
    """Return what a client sent to an instance, and what it was answered."""
    created_by = {id(request): job_id for job_id, request in instance.created_by.items()}
    turned_away = {id(request) for request in instance.turned_away}
    return [
        Step(
            exchange=_exchange(instance, handled),
            at=handled.request.at,
            keyed=handled.request.path in LOGIN_PATHS or instance.is_authorized(handled.request),
            created=created_by.get(id(handled.request)),
            of_job_api=_is_of_job_api(handled.request.path),
        )
        for handled in sorted(instance.journal, key=lambda handled: handled.begun)
        if id(handled.request) not in turned_away
    ]


def _is_of_job_api(path: str) -> bool:
    """Whether a path is one of jobs, of the agent or of the login."""
    return (
        path in LOGIN_PATHS
        or path in AGENT_COMMANDS
        or f"{path}/".startswith("/api/v1/job/")
        or any(each.pattern.fullmatch(path) for each in JOB_REQUESTS)
    )


def _exchange(instance: SituationInstance, handled: Handled) -> Exchange:
    request, response = handled.request, handled.response
    kind = _KINDS[instance.kind(request)]
    broken = response.cut is not None
    where = "amid" if response.cut else "before"
    return Exchange(
        kind=_KINDS[instance.kind(request)],
        method=request.method,
        path=request.path + (request.query and f"?{request.query}"),
        sent=handled.begun,
        received=handled.done,
        status=None if broken else response.status,
        body=b"" if broken else response.body,
        lost=f"the connection broke {where} the answer" if broken else "",
        job_id=_job_id(instance, request.path) if kind in {"status", "cancel"} else None,
    )


def _job_id(instance: SituationInstance, path: str) -> int | None:
    match = CANCEL_PATH.fullmatch(path) or WRITTEN[instance.dialect].status_path.fullmatch(path)
    with contextlib.suppress(ValueError):
        return None if match is None else int(match[1])
    return None
