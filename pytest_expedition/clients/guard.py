"""Watches a client while it runs, and ends it if it does not end by itself."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import re
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pytest_expedition import real_time
from pytest_expedition.clients.virtual_time import code_of_threads, idle_workers
from pytest_expedition.fake.situation import LONGEST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator
    from types import FrameType

    from typing_extensions import Self

    from pytest_expedition.fake.server import ExpeditionServer

LOOK_SECONDS: Final = 0.05
STILL_SECONDS: Final = 4.0
"""Real seconds after which a client that waits by another clock than the scenario's is ended."""

BUSY_SECONDS: Final = 0.5
"""Processor seconds from which on a client counts as working, not waiting."""

LONGEST_STILL_SECONDS: Final = 15.0
"""Real seconds after which a client is ended even so."""

AGAIN_SECONDS: Final = 0.5
"""Real seconds that a client gets to clean up before it is interrupted once more."""

CANCELS_OF_A_TASK: Final = 4
"""How often an async client is cancelled before its thread is interrupted."""

_OF_SERVERS: Final = ("(process_request_thread)", "(thread_target)")
"""The ends of the names of a server's threads."""

_DEBUGGERS: Final = re.compile(r"[/\\](cmd\.py|bdb\.py|_?pydevd|debugpy|IPython|prompt_toolkit)")
"""Parts of the path of a debugger's code, in which a thread waits for a person."""

# Its default is to do nothing, so it does no harm where it arrives too late.
_SIGNAL: Final[int] = getattr(signal, "SIGURG", 0)

WAYS_OUT: Final = """\
The time of a scenario moves only when the client sleeps by it. There are three ways:
  1. Replace the function by which the client sleeps, before `check`:
       monkeypatch.setattr("time.sleep", expedition_scenario.sleep)
     After `from time import sleep` in my_client.py the name is "my_client.sleep". In async code:
       monkeypatch.setattr("asyncio.sleep", expedition_scenario.sleep_async)
  2. If the function cannot be replaced, as with threading.Event.wait, or asyncio.wait_for as a
     pause, let the client take the function that it pauses with as a parameter, and pass
     expedition_scenario.sleep, or sleep_async.
  3. Let the time pass by itself: call expedition_scenario.real_time(speed=50) before `check`, and
     give the client short pauses."""


class ClientNeverEnds(BaseException):
    """Ends a client that would wait for ever. Clients do not catch BaseException."""


class Guard:
    """Ends a client that goes on for ever, or that waits while the clock stands still.

    It watches as a context manager, from the first call of the client's code to the last.
    ``ended`` says whether it had to end the client, ``place`` where the client was then;
    ``complaint`` says why, if the clock stood still.
    """

    _of_guards: ClassVar[set[threading.Thread]] = set()
    """The threads of all guards, and those in which they call clients."""

    def __init__(self, server: ExpeditionServer) -> None:
        self.in_real_time = False
        self.ended = False
        self.place = ""
        self.complaint = ""
        self._server = server
        self._others = set(threading.enumerate())
        """The threads that are not the client's."""
        self._spare = idle_workers()
        """Workers of older pools: one that gets work has become the client's."""
        self._lock = threading.Condition()
        """Notified when the client was interrupted."""
        self._call = ""
        """Which function of the client runs: `start`, `cancel`, `wait`; empty if none does."""
        self._calls = 0
        self._asked_before = 0
        """How many requests had come before that call."""
        self._thread: threading.Thread | None = None
        self._cancel_task: Callable[[], object] | None = None
        """Cancels the task of an async client, from another thread."""
        self._interrupts = 0
        self._interrupted_at = 0.0
        self._traced = False
        self._raised_in: set[int] = set()
        """The threads that were told to raise an error; some may not have done it yet."""
        self._handler: Any = None
        self._watcher: threading.Thread | None = None
        self._over = threading.Lock()

    def __enter__(self) -> Self:
        self.ended, self.place, self.complaint = False, "", ""
        self._traced = _is_traced()
        self._over = threading.Lock()
        self._over.acquire()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._of_guards.add(self._watcher)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._watcher is not None
        self._over.release()
        self._watcher.join()
        self._of_guards.discard(self._watcher)

    @property
    def told(self) -> str:
        """The complaint, with where the client was, and what to do."""
        return f"{self.complaint}{self.place}.\n{WAYS_OUT}"

    def threads(self) -> list[threading.Thread]:
        """Return the threads of the client: the one it was called in, and all that are new."""
        called = self._thread
        if called is None:
            return []
        if self._spare:
            self._others -= self._spare - idle_workers()
        new = [
            thread
            for thread in threading.enumerate()
            if thread not in self._others
            and thread not in self._of_guards
            and not thread.name.endswith(_OF_SERVERS)
        ]
        return list({called, *new})

    @contextlib.contextmanager
    def watching(self, call: str) -> Iterator[None]:
        """Watch over one call of the client's code."""
        self._calls += 1
        self._interrupts, self._interrupted_at = 0, 0.0
        self._asked_before = len(self._server.instance.requests)
        self._call = call
        if threading.current_thread() is threading.main_thread() and _SIGNAL:
            self._handler = signal.signal(_SIGNAL, self._on_signal)
        self._thread = threading.current_thread()
        self._of_guards.add(self._thread)
        with _interrupts_are_not_told():
            try:
                yield
            finally:
                try:
                    self._leave()
                finally:  # a signal may have arrived just then
                    self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._thread = None
            self._of_guards.discard(threading.current_thread())
            self._call = ""
        if self._raised_in:
            _take_back(self._raised_in)
            self._raised_in.clear()
        if self._handler is not None:
            signal.signal(_SIGNAL, self._handler)
            self._handler = None

    async def wait_for(self, awaitable: Awaitable[Any]) -> Any:
        """Await what an async client returned, as a task that can be cancelled."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            trio = sys.modules.get("trio")
            if trio is not None and trio.lowlevel.in_trio_run():
                return await self._wait_in_trio(awaitable, trio)
            return await awaitable  # another library than asyncio and trio
        task = asyncio.ensure_future(awaitable)
        self._cancel_task = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            return await task
        finally:
            self._cancel_task = None

    async def _wait_in_trio(self, awaitable: Awaitable[Any], trio: Any) -> Any:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            self._cancel_task = lambda: token.run_sync_soon(scope.cancel)
            try:
                return await awaitable
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                if self.ended:  # the scope would swallow it, and the place of the client with it
                    raise ClientNeverEnds from error
                raise
            finally:
                self._cancel_task = None

    def end_if_too_long(self) -> None:
        """Raise ``ClientNeverEnds`` in a client that has waited for too long."""
        if self.ended or self._server.clock.now() > LONGEST:
            self.ended = True
            raise ClientNeverEnds

    def end(self) -> None:
        """Let the watcher end the client; it may catch whatever a request can raise.

        This is called before a request is answered, and returns once the client was interrupted.
        So the client is interrupted while it waits for an answer, and never while it opens a
        connection, which nothing would close then.
        """
        self.ended = True
        with self._lock:
            self._lock.wait(AGAIN_SECONDS)

    def _interrupt(self) -> None:
        """End the client: cancel its task, or raise an error in its threads."""
        self.ended = True
        with self._lock:
            if self._thread is None or real_time.now() - self._interrupted_at < AGAIN_SECONDS:
                return
            self._lock.notify_all()
            self._interrupts, self._interrupted_at = self._interrupts + 1, real_time.now()
            cancel = self._cancel_task
            if cancel is not None and self._interrupts <= CANCELS_OF_A_TASK:
                # The loop may have been closed just now; trio then raises an error of its own.
                with contextlib.suppress(Exception):
                    cancel()
                return
            idle = idle_workers()
            threads = [each for each in self.threads() if each not in idle]
            if not self._raised_in:
                # Those which the client has started come first: they must not outlive the call.
                threads = [each for each in threads if each is not self._thread] or threads
            for thread in threads:
                if thread is threading.main_thread() and self._handler is not None:
                    signal.pthread_kill(thread.ident or 0, _SIGNAL)
                elif thread.ident is not None:
                    self._raised_in.add(thread.ident)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(thread.ident), ctypes.py_object(ClientNeverEnds)
                    )
            raised = bool(self._raised_in)
        if raised and self._traced:
            # A thread that waits for ever must not hold up the traced ones.
            real_time.pause(AGAIN_SECONDS / 2)
            _take_back(())

    def _on_signal(self, _: int, frame: FrameType | None) -> None:
        # Trio breaks down if its own code is interrupted; then it waits for a thread of the client.
        in_trio = frame is not None and frame.f_globals.get("__name__", "").startswith("trio.")
        if self._thread is threading.current_thread() and not in_trio:
            # An event loop that runs a task which cannot be cancelled passes it on as it is.
            raise ClientNeverEnds(self.complaint and self.told)

    def _watch(self) -> None:
        seen: tuple[int, float] | None = None
        since, used = real_time.now(), time.process_time()
        sys.settrace(None)  # `_take_back` says why this thread must not be traced
        sys.setprofile(None)
        while not self._over.acquire(timeout=LOOK_SECONDS):
            clock = self._server.clock.now()
            still = real_time.now() - since
            busy = time.process_time() - used > BUSY_SECONDS
            if self.ended or (self.in_real_time and clock > LONGEST):
                self._interrupt()
            elif not self._may_stand_still() or seen != (self._calls, clock):
                seen, since, used = (self._calls, clock), real_time.now(), time.process_time()
            elif still > (LONGEST_STILL_SECONDS if busy else STILL_SECONDS):
                if self._is_debugged():
                    since = real_time.now()
                    continue
                self.complaint = self._complain(still)
                self._interrupt()

    def _may_stand_still(self) -> bool:
        """Whether a clock that stands still means that the client waits by another clock.

        Before its first request it may be at work.
        """
        if not self._call or self.in_real_time:
            return False
        asked = len(self._server.instance.requests) > self._asked_before
        return self._call == "wait" or asked

    def _is_debugged(self) -> bool:
        """Whether a person looks at the client with a debugger, in which it waits."""
        codes = code_of_threads()
        return any(
            _DEBUGGERS.search(codes[thread.ident].co_filename)
            for thread in self.threads()
            if thread.ident in codes
        )

    def _complain(self, seconds: float) -> str:
        asked = len(self._server.instance.requests) - self._asked_before
        requests = "1 request" if asked == 1 else f"{asked or 'no'} requests"
        return (
            f"The clock stands still: the client's `{self._call}` sent {requests}, and did not "
            f"sleep by the scenario's time for {seconds:.0f} real seconds"
        )


@contextlib.contextmanager
def _interrupts_are_not_told() -> Iterator[None]:
    """Keep Python from warning of interrupts that nothing caught.

    One ends a thread of the client. Or it arrives in a destructor, or in a callback of the garbage
    collector, and goes no further; the next one comes soon.
    """

    def without_interrupts(hook: Callable[[Any], object]) -> Callable[[Any], None]:
        def tell(uncaught: Any) -> None:
            if uncaught.exc_type is not ClientNeverEnds:
                hook(uncaught)

        return tell

    before = sys.unraisablehook, threading.excepthook
    ours = without_interrupts(before[0]), without_interrupts(before[1])
    sys.unraisablehook, threading.excepthook = ours
    try:
        yield
    finally:  # the client may have set others
        if sys.unraisablehook is ours[0]:
            sys.unraisablehook = before[0]
        if threading.excepthook is ours[1]:
            threading.excepthook = before[1]


def _is_traced() -> bool:
    """Whether coverage, a debugger or a profiler traces this thread, or those that it starts."""
    traces = (sys.gettrace, sys.getprofile, threading.gettrace, threading.getprofile)
    return any(trace() is not None for trace in traces)


def _take_back(threads: Collection[int]) -> None:
    """Take back the errors that these threads have not raised yet.

    CPython has one flag that says that some thread has an error to raise. Raising an error clears
    the flag, and taking one back sets it. While it is set, Python 3.11 begins no call in any
    thread that coverage or a debugger traces. So this thread raises an error, and catches it.
    Until then it calls no function of Python.
    """
    here, error = threading.get_ident(), ctypes.py_object(ClientNeverEnds)
    set_error = ctypes.pythonapi.PyThreadState_SetAsyncExc
    with contextlib.suppress(ClientNeverEnds):
        for thread in threads:
            set_error(ctypes.c_ulong(thread), None)
        set_error(ctypes.c_ulong(here), error)
        while True:  # the error is raised within a few instructions
            pass


def own_place(stack: traceback.StackSummary) -> str:
    """Tell the last place of a stack that is neither ours nor a library's."""
    here, library = str(Path(__file__).parent), f"{Path(traceback.__file__).parent}/"
    own = [
        each
        for each in stack
        if not each.filename.startswith((here, library)) and "site-packages" not in each.filename
    ]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


def place_of(error: BaseException | None) -> str:
    """Tell where a client was when it was ended.

    A second interrupt may have come while the first left the client; that one knows the place.
    """
    while error is not None:
        if place := own_place(traceback.extract_tb(error.__traceback__)):
            return place
        error = error.__context__
    return ""
