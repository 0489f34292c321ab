"""The virtual clock of a client: it moves when the client sleeps, so nothing waits."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import contextlib
import gc
import itertools
import queue
import re
import sys
import threading
from typing import TYPE_CHECKING, Final

from pytest_expedition import real_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import CodeType

    from pytest_expedition.fake.server import ExpeditionServer

LOOK_SECONDS: Final = 0.0005

QUIET_SECONDS: Final = 0.005
"""After so many real seconds without a request or a new sleep, all other sleepers are asleep."""

FOREVER: Final = 1e9
"""Seconds that a sleep takes which never ends."""

BUSY_SECONDS: Final = 0.2
"""How many real seconds a sleeping thread waits for another that is still at work."""

_WAITING_IN: Final = frozenset(
    module.__file__ for module in (threading, queue, concurrent.futures.thread)
)
_WAITING_FUNCTIONS: Final = frozenset({"_wait_for_tstate_lock", "_worker", "get", "join", "wait"})
"""A thread that waits for another thread is in one of these files and functions."""

_IDLE_IN: Final = re.compile(
    r"[/\\](futures[/\\]thread|multiprocessing[/\\]pool|trio[/\\]_core[/\\]_thread_cache)\.py$"
)
_IDLE_FUNCTIONS: Final = frozenset({"_worker", "worker", "_work"})
"""A worker of a pool of threads that has no work is in one of these files and functions."""

_let_others_run: Final = asyncio.sleep  # a test may replace the one in the module


class VirtualTime:
    """The clock of the fake, moved by the client's sleep.

    Several threads or tasks may sleep at the same time. Then the clock moves to the end of the
    shortest sleep first, and all of them take as long as the longest, not as long as their sum.
    """

    def __init__(
        self, server: ExpeditionServer, threads: Callable[[], Collection[threading.Thread]]
    ) -> None:
        self._server = server
        self._threads = threads
        """Returns the threads of the client."""
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._sleeps: dict[int, tuple[float, int]] = {}
        """For each sleep: the time at which it ends, and the thread that sleeps."""

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass. Raises ``ValueError`` where the time would go back."""
        with self._asleep(seconds) as (number, until):
            news, quiet_since = self._news(), real_time.now()
            busy_until = quiet_since + BUSY_SECONDS
            while self._ends_later(until, in_this_thread=False) or (
                self._threads_awake()
                and real_time.now() - quiet_since < QUIET_SECONDS
                and real_time.now() < busy_until
            ):
                real_time.pause(LOOK_SECONDS)
                if self._others_are_at_work() or news != (news := self._news()):
                    quiet_since = real_time.now()
            self._move_to(until, number)

    async def sleep_async(self, seconds: float) -> None:
        """Let ``seconds`` pass, while other tasks go on."""
        with self._asleep(seconds) as (number, until):
            await _let_others_run(0)
            news, quiet_since = self._news(), real_time.now()
            while self._ends_later(until, in_this_thread=True) or (
                len(asyncio.all_tasks()) > 1 and real_time.now() - quiet_since < QUIET_SECONDS
            ):
                real_time.pause(LOOK_SECONDS)
                await _let_others_run(0)
                if news != (news := self._news()):
                    quiet_since = real_time.now()
            self._move_to(until, number)

    @contextlib.contextmanager
    def _asleep(self, seconds: float) -> Iterator[tuple[int, float]]:
        if not seconds >= 0:
            raise ValueError(f"the clock cannot go back: cannot advance by {seconds!r} seconds")
        with self._lock:
            number = next(self._numbers)
            until = self._server.clock.now() + min(seconds, FOREVER)
            self._sleeps[number] = (until, threading.get_ident())
        try:
            yield number, until
        finally:
            self._sleeps.pop(number, None)

    def _move_to(self, until: float, number: int) -> None:
        with self._lock:
            self._server.advance(max(0.0, until - self._server.clock.now()))
            del self._sleeps[number]

    def _ends_later(self, until: float, *, in_this_thread: bool) -> bool:
        """Whether another sleep ends earlier than ``until``.

        A sleep that blocks its thread keeps the tasks in that thread from waking up before it.
        """
        here = threading.get_ident()
        with self._lock:
            return any(
                other < until and (in_this_thread or thread != here)
                for other, thread in self._sleeps.values()
            )

    def _news(self) -> tuple[int, int, int]:
        instance = self._server.instance
        return len(instance.requests), len(instance.journal), len(self._sleeps)

    def _threads_awake(self) -> list[int | None]:
        with self._lock:
            asleep = {thread for _, thread in self._sleeps.values()}
        return [each.ident for each in self._threads() if each.ident not in asleep]

    def _others_are_at_work(self) -> bool:
        """Whether another thread of the client is neither asleep nor waiting for one that is."""
        codes = code_of_threads()
        return any(
            ident is None or (ident in codes and not _waits(codes[ident]))
            for ident in self._threads_awake()
        )


_looking: Final = threading.Lock()


def code_of_threads() -> dict[int, CodeType]:
    """Return the code that each thread runs, by the identifier of the thread.

    The garbage collector is off meanwhile. The interpreter has locked its list of threads then. A
    callback of the collector, such as Hypothesis has, could let another thread run that waits for
    this list: a deadlock. And the frames, which change while they run, are not kept.
    """
    with _looking:
        collects = gc.isenabled()
        gc.disable()
        try:
            frames = sys._current_frames()  # noqa: SLF001 - there is no other way to see them
            codes = {ident: frame.f_code for ident, frame in frames.items()}
            frames.clear()
        finally:
            if collects:
                gc.enable()
    return codes


def idle_workers() -> frozenset[threading.Thread]:
    """Return the threads of pools that wait for work."""
    codes = code_of_threads()
    return frozenset(
        thread
        for thread in threading.enumerate()
        if (thread.ident in codes and _is_idle(codes[thread.ident]))
        or thread in getattr(thread, "idle_workers", ())  # AnyIO's
    )


def _is_idle(code: CodeType) -> bool:
    return code.co_name in _IDLE_FUNCTIONS and _IDLE_IN.search(code.co_filename) is not None


def _waits(code: CodeType) -> bool:
    return code.co_filename in _WAITING_IN and code.co_name in _WAITING_FUNCTIONS
