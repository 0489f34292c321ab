"""Runs a client in a scenario: tells it to run a job, and judges what it did and said."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import sys
import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pytest_expedition import real_time
from pytest_expedition.clients.catalogue import CANCELS_AFTER
from pytest_expedition.clients.guard import CANCELS_OF_A_TASK, Guard, own_place, place_of
from pytest_expedition.clients.rules import judge_client
from pytest_expedition.clients.transcript import ENDS, Call, Said, Step, Transcript
from pytest_expedition.clients.virtual_time import VirtualTime
from pytest_expedition.fake.dialects import WRITTEN
from pytest_expedition.fake.instance import CANCEL_PATH, LOGIN_PATHS, is_of_job_api
from pytest_expedition.fake.situation import SituationInstance
from pytest_expedition.oracle.history import Exchange
from pytest_expedition.oracle.verdict import decide_outcomes
from pytest_expedition.protocol.requirements import CLIENT_CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine

    from pytest_expedition.clients.transcript import Saying
    from pytest_expedition.fake.http import Handled
    from pytest_expedition.fake.server import ExpeditionServer
    from pytest_expedition.fake.situation import JobRequestKind, Situation
    from pytest_expedition.oracle.history import Kind
    from pytest_expedition.oracle.verdict import Result

IDS_OF_A_RUN: Final = 1000

SECONDS_UNTIL_CANCELLED: Final = 1.0
"""How long a task has to end before it is cancelled once more, in real time."""

LOOK_SECONDS: Final = 0.002
"""The pause between two looks whether it has ended."""

STUMBLES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)
"""Exceptions that show that a client did not expect an answer."""

_KINDS: Final[dict[JobRequestKind | None, Kind]] = {
    "creation": "create",
    "status": "status",
    "cancel": "cancel",
    None: "other",
}

_really_sleep: Final = asyncio.sleep  # a test may replace the one in the module

Exceptions = type[Exception] | tuple[type[Exception], ...]

if TYPE_CHECKING:
    _WaitFor = Callable[[Awaitable[Any]], Coroutine[Any, Any, Any]]


class ClockStandsStill(Exception):  # noqa: N818 - it says what is the matter
    """The client waits by another clock than the scenario's; the message says what to do."""


class _LoopRuns(BaseException):
    """An event loop already runs in which the client would have to run."""


class Harness:
    """Runs a client in one situation after the other, against a server that plays them.

    Its time is virtual: it moves when the client sleeps. ``sleep``, ``sleep_async`` and
    ``monotonic`` are what such a client sleeps and tells the time with.

    A library that is first imported while they replace others may keep them: `from time import
    sleep`. So after ``close`` they act as those of the next harness, if one is open, or else as
    the real ones.
    """

    _latest: ClassVar[Harness | None] = None
    """The harness that was made last, unless it is closed."""

    def __init__(self, server: ExpeditionServer) -> None:
        Harness._latest = self
        self._closed = False
        self.server = server
        self.transcript = Transcript(steps=(), calls=())
        """What the client did in the last situation."""
        self._speed: float | None = None
        self._guard = Guard(server)
        self._time = VirtualTime(server, self._guard.threads)
        self._runs = 0
        self._earlier_ids: frozenset[int] = frozenset()
        self._loop: asyncio.AbstractEventLoop | None = None

    def real_time(self, *, speed: float = 1.0) -> None:
        """Let the fake's time move by itself, ``speed`` times as fast as the world's.

        This is for clients that sleep elsewhere: in another process or language. Raises
        ``ValueError`` for a speed that is not a number above 0.
        """
        self.server.clock.run(speed=speed)
        self._speed = speed
        self._guard.in_real_time = True

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass, without waiting: what ``time.sleep`` is replaced with."""
        if (current := self._current()) is not self:
            pause = current.sleep if current else real_time.pause
            pause(seconds)
            return
        if self._speed is None:
            self._time.sleep(seconds)
        else:
            real_time.pause(seconds)
        self._guard.end_if_too_long()

    async def sleep_async(self, seconds: float, result: Any = None) -> Any:
        """Let ``seconds`` pass, without waiting: what ``asyncio.sleep`` is replaced with."""
        if (current := self._current()) is not self:
            pause = current.sleep_async if current else _pause_async
            await pause(seconds)
            return result
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # another library than asyncio, in which no task runs meanwhile
            self.sleep(max(seconds, 0))
            return result
        if self._speed is None:
            await self._time.sleep_async(max(seconds, 0))
        else:
            await _really_sleep(seconds)
        self._guard.end_if_too_long()
        return result

    def monotonic(self) -> float:
        """Return the fake's time in seconds: what ``time.monotonic`` is replaced with."""
        current = self._current()
        return current.server.clock.now() if current else real_time.now()

    def _current(self) -> Harness | None:
        """Return the harness whose time passes; ``None`` for the real time."""
        return Harness._latest if self._closed else self

    def run(self, situation: Situation, client: ClientFunctions) -> list[Result]:
        """Tell the client to run the jobs of a situation; return the outcome of each promise.

        Raises ``TypeError`` if what the client returns means nothing, and
        ``ClockStandsStill`` where it does not sleep by ``sleep``.
        """
        try:
            return _finish(self._run(situation, client, self._wait_for))
        except _LoopRuns:
            raise TypeError(
                "the client is async, and so is the test: await expedition_scenario.check_async(…)"
            ) from None
        finally:
            self._end_tasks()

    async def run_async(self, situation: Situation, client: ClientFunctions) -> list[Result]:
        """Do what ``run`` does, in the event loop of an async test."""
        before = _tasks()
        try:
            return await self._run(situation, client, self._guard.wait_for)
        finally:
            left = [each for each in _tasks() if each not in before]
            await _cancel(left)

    def close(self) -> None:
        """End the virtual time, and close the event loop in which an async client ran."""
        self._closed = True
        if Harness._latest is self:
            Harness._latest = None
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self._loop = None

    async def _run(
        self, situation: Situation, client: ClientFunctions, wait_for: _WaitFor
    ) -> list[Result]:
        # No id comes twice from one harness: a client may remember how a job ended.
        first_id = situation.first_id + IDS_OF_A_RUN * self._runs
        self._runs += 1
        instance = SituationInstance(replace(situation, first_id=first_id))
        instance.earlier_ids = self._earlier_ids
        instance.when_exhausted = self._guard.end
        self.server.play(instance)
        if self._speed is not None:
            self.server.clock.run(speed=self._speed)
        started: list[_Attempt] = []
        with self._guard:
            for _ in range(situation.jobs):
                started.append(await self._attempt("start", wait_for, client.start))
                if self._guard.ended:
                    break
            calls = [await self._go_on(situation, client, each, wait_for) for each in started]
        self.transcript = Transcript(
            steps=steps(instance),
            calls=calls,
            told_to_cancel=situation.client_cancels and client.cancel is not None,
            can_cancel=client.cancel is not None,
        )
        self._earlier_ids |= instance.jobs.keys()
        if self._guard.complaint:
            raise ClockStandsStill(self._guard.told)
        self.server.check()
        return judge_transcript(self.transcript)

    async def _go_on(
        self, situation: Situation, client: ClientFunctions, creation: _Attempt, wait_for: _WaitFor
    ) -> Call:
        """Let the client wait for a job that it has started, or cancel it first."""
        attempts = [creation]
        cancelled_by = None
        if creation.raised is None and not self._guard.ended:
            if situation.client_cancels and client.cancel is not None:
                if self._speed is None:
                    self.server.advance(CANCELS_AFTER)
                else:
                    real_time.pause(CANCELS_AFTER / self._speed)
                attempts.append(
                    await self._attempt("cancel", wait_for, client.cancel, creation.result)
                )
                cancelled_by = attempts[-1].done
            if not (self._guard.ended or attempts[-1].stumbled):
                attempts.append(await self._attempt("wait", wait_for, client.wait, creation.result))
        if self._guard.ended:
            said = Said(words=frozenset({"endless"}), how="")
        else:
            said = client.meaning(attempts[-1].result, attempts[-1].raised)
        return Call(
            said=said,
            spans=[(attempt.begun, attempt.done) for attempt in attempts],
            done=self.monotonic(),
            cancelled_by=cancelled_by,
        )

    async def _attempt(
        self, name: str, wait_for: _WaitFor, function: Callable[..., Any], *arguments: Any
    ) -> _Attempt:
        attempt = _Attempt()
        try:
            with self._guard.watching(name):
                result = function(*arguments)
                attempt.result = await wait_for(result) if inspect.isawaitable(result) else result
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # A client that is ended may pass that on as an error of its own, or in a group.
            if self._guard.ended:
                self._guard.place = place_of(error)
            elif isinstance(error, Exception):
                attempt.raised = error
            else:
                raise
        attempt.done = real_time.now()
        return attempt

    async def _wait_for(self, awaitable: Awaitable[Any]) -> Any:
        """Run what a client awaits in an event loop of its own, which lasts until ``close``."""
        if _tasks():
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise _LoopRuns
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(self._guard.wait_for(awaitable))

    def _end_tasks(self) -> None:
        if self._loop is not None:
            self._loop.run_until_complete(_cancel(asyncio.all_tasks(self._loop)))


async def _pause_async(seconds: float) -> None:
    """Wait that many seconds of real time, in whatever event loop runs."""
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        await trio.sleep_until(trio.current_time() + seconds)  # a test may replace `trio.sleep`
    else:
        await _really_sleep(seconds)


def _finish(coroutine: Coroutine[Any, Any, list[Result]]) -> list[Result]:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        results: list[Result] = returned.value
        return results
    raise AssertionError("it waited")


def _tasks() -> set[asyncio.Task[Any]]:
    try:
        return asyncio.all_tasks()
    except RuntimeError:  # another library than asyncio
        return set()


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks that a client has left behind: none may poll on in the next situation.

    What a task awaits may swallow a cancel: until Python 3.12 ``asyncio.wait_for`` sometimes does.
    No timeout of asyncio serves: event loops go by ``time.monotonic``, which a test may replace.
    """
    left = set(tasks)
    for _ in range(CANCELS_OF_A_TASK):
        for task in left:
            task.cancel()
        until = real_time.now() + SECONDS_UNTIL_CANCELLED
        while left and real_time.now() < until:
            await _really_sleep(0)
            left = {task for task in left if not task.done()}
            real_time.pause(LOOK_SECONDS if left else 0)


@dataclass(frozen=True, kw_only=True)
class ClientFunctions:
    """How a client is told to run a job: for the fields see ``ExpeditionScenario.check``."""

    start: Callable[[], Any]
    wait: Callable[[Any], object]
    cancel: Callable[[Any], object] | None = None
    failed: Exceptions = ()
    cancelled: Exceptions = ()

    def meaning(self, returned: object, raised: Exception | None) -> Said:
        """Tell what it means that the client returned or raised something."""
        if raised is not None:
            meant: dict[Saying, Exceptions] = {"failed": self.failed, "cancelled": self.cancelled}
            words = frozenset(word for word, each in meant.items() if isinstance(raised, each))
            how = f"raised {raised!r}{own_place(traceback.extract_tb(raised.__traceback__))}"
            if words:
                return Said(words=words, how=how)
            return Said(words=frozenset({"gave-up"}), how=how, stumbled=_stumbled(raised))
        for end in ENDS:
            if returned == end:
                return Said(words=frozenset({end}), how=f"returned {end!r}")
        if self.failed or self.cancelled:
            return Said(words=frozenset({"finished"}), how=f"returned {returned!r}")
        raise TypeError(
            f"wait returned {returned!r}: let it return 'finished', 'failed' or 'cancelled', or "
            "name the exceptions that the client raises instead: failed=…, cancelled=…"
        )


class _Attempt:
    """One call of the client's code: what it returned or raised, and when."""

    def __init__(self) -> None:
        self.result: Any = None
        self.raised: Exception | None = None
        self.begun = real_time.now()
        self.done = self.begun

    @property
    def stumbled(self) -> bool:
        return _stumbled(self.raised)


def _stumbled(error: Exception | None) -> bool:
    return isinstance(error, STUMBLES)


def judge_transcript(transcript: Transcript) -> list[Result]:
    """Return the outcome of each promise of clients."""
    return decide_outcomes(judge_client(transcript), offers=(), catalogue=CLIENT_CATALOGUE)


def transcript_by_hand(instance: SituationInstance, *, pace: float = 1.0) -> Transcript:
    """Return what a client did that was run by hand: what it said is not known.

    ``pace`` is how many seconds of the instance's time passed in a second.
    """
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
        pace=pace,
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
            of_job_api=is_of_job_api(handled.request.path),
            host=handled.request.header("Host"),
        )
        for handled in sorted(instance.journal, key=lambda handled: handled.begun)
        if not handled.by_another_user and id(handled.request) not in turned_away
    ]


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
