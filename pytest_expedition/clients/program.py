"""Clients that are programs: a command runs in a scenario; its exit status is what it says."""

from __future__ import annotations

import builtins
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition import real_time
from pytest_expedition.clients.catalogue import CANCELS_AFTER
from pytest_expedition.clients.harness import STUMBLES, judge_transcript, steps
from pytest_expedition.clients.transcript import Call, Said, Transcript
from pytest_expedition.fake.server import ExpeditionServer
from pytest_expedition.fake.situation import SituationInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

    from pytest_expedition.clients.transcript import Saying
    from pytest_expedition.fake.http import Handled
    from pytest_expedition.fake.situation import Situation
    from pytest_expedition.oracle.verdict import Result

    Listen = Callable[[str], Sequence[Callable[[Handled], None]]]

JOB_SECONDS: Final = 2.0
LIMIT_SECONDS: Final = 60.0
WORDS: Final[tuple[Saying, ...]] = ("finished", "failed", "cancelled", "gave-up")
"""What an exit status may mean."""

HANDLED_SIGNALS: Final = signal.valid_signals() - {
    getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")
}
"""The signals that a program can handle."""

_LOOK_SECONDS: Final = 0.02
_LAST_OUTPUT: Final = 2000
_NEEDS_CANCEL: Final = "no signal is given that makes the program cancel its job"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A command that runs one job, and how to deal with it.

    In the ``command``, ``{url}`` and ``{key}`` become the server's address without ``/api/v1``
    and for its key; they are in the environment, too: ``EXPEDITION_URL``, ``EXPEDITION_API_KEY``.
    ``exits`` says what an exit status means: 0 is ``finished``; any other that is not named means
    one of the other words that are not named either. ``cancel_signal`` makes the program cancel its
    job. A job takes ``job_seconds``, and after ``limit_seconds`` the program is killed.

    Raises ``ValueError`` for a value that is not allowed.
    """

    command: Sequence[str]
    exits: Mapping[int, str] = field(default_factory=dict)
    cancel_signal: int | None = None
    job_seconds: float = JOB_SECONDS
    limit_seconds: float = LIMIT_SECONDS

    def __post_init__(self) -> None:
        if isinstance(self.command, str) or not self.command:
            raise ValueError(f"command must be a list of texts, got {self.command!r}")
        for status, word in self.exits.items():
            if word not in WORDS:
                raise ValueError(
                    f"exit status {status} cannot mean {word!r}: must be one of {', '.join(WORDS)}"
                )
        if self.cancel_signal not in {None, *HANDLED_SIGNALS}:
            raise ValueError(
                f"cancel_signal = {self.cancel_signal}: must be a signal that a program can handle"
            )
        for name in ("job_seconds", "limit_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a number above 0, got {getattr(self, name)!r}")

    def lacks(self, situation: Situation) -> str:
        """Say why the program cannot be put in a situation; empty if it can."""
        return _NEEDS_CANCEL if situation.client_cancels and self.cancel_signal is None else ""

    def meaning(self, status: int) -> Said:
        """Tell what an exit status means."""
        exits: dict[int, str] = {0: "finished", **self.exits}
        how = f"ended with exit status {status}"
        if status < 0:
            how = f"was ended by signal {-status}"
        words = [w for w in WORDS if w == exits[status]] if status in exits else _others(exits)
        return Said(words=frozenset(words), how=how)


def _others(exits: Mapping[int, str]) -> list[Saying]:
    """Return what an exit status can mean that is not named."""
    return [word for word in WORDS if word not in exits.values()] or ["gave-up"]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a program did in a situation; ``output`` is the end of what it wrote."""

    url: str
    transcript: Transcript
    results: list[Result]
    output: str


def try_program(
    program: Program,
    situation: Situation,
    *,
    listen: Listen = lambda _: (),
    stop: threading.Event | None = None,
) -> Tried:
    """Run a program in a situation, once for each job; return the outcome of each promise.

    ``listen`` returns the listeners of a server, by its address. Once ``stop`` is set, the program
    is killed. Raises ``OSError`` where the command cannot be run.
    """
    speed = situation.speed_for(program.job_seconds)
    instance = SituationInstance(situation)
    instance.clock.run(speed=speed)
    ended = threading.Event()
    instance.when_exhausted = ended.set
    # Each run has an address of its own, which tells whose requests they are.
    servers = [ExpeditionServer(lambda: instance) for _ in range(situation.jobs)]
    runs: list[_Run] = []
    with tempfile.TemporaryFile() as output:
        try:
            for server in servers:
                server.start()
                server.listeners.extend(listen(server.url))
                runs.append(_Run(program, server, output))
            _wait(runs, instance, [ended] if stop is None else [ended, stop], speed=speed)
        finally:
            for run in runs:
                run.kill()
            for server in servers:
                server.stop()
        written = _end_of(output)
    for server in servers:
        server.check()
    transcript = Transcript(
        steps=steps(instance),
        calls=[run.call(instance, written) for run in runs],
        told_to_cancel=situation.client_cancels,
        can_cancel=program.cancel_signal is not None,
        pace=speed,
    )
    results = judge_transcript(transcript)
    return Tried(url=servers[0].url, transcript=transcript, results=results, output=written)


class _Run:
    """One process of the program, which runs one job."""

    def __init__(self, program: Program, server: ExpeditionServer, output: IO[bytes]) -> None:
        self.program = program
        self.host = server.url.partition("//")[2]
        self.begun = real_time.now()
        self.until = self.begun + program.limit_seconds
        self.cancelled_by: float | None = None
        self.status: int | None = None
        self.done = self.begun
        self.process = subprocess.Popen(  # noqa: S603 - the command is the user's
            [
                part.replace("{url}", server.url).replace("{key}", server.api_key)
                for part in program.command
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={
                **os.environ,
                "EXPEDITION_URL": server.url,
                "EXPEDITION_API_KEY": server.api_key,
            },
            start_new_session=True,
        )

    def poll(self) -> bool:
        """Look whether the process has ended by itself."""
        if self.status is None:
            self.status = self.process.poll()
            self.done = real_time.now()
        return self.status is not None

    def cancel(self) -> None:
        """Let the program cancel its job."""
        assert self.program.cancel_signal is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(self.program.cancel_signal)
        self.cancelled_by = real_time.now()

    def kill(self) -> None:
        """End the process, and all that it has started."""
        if sys.platform == "win32":
            self.process.kill()
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def call(self, instance: SituationInstance, written: str) -> Call:
        """Return what the program said, as far as it said anything; ``written`` is its output."""
        if self.status is None:
            how = "did not end by itself, and was killed"
            if self.done > self.until:
                within = f"{self.program.limit_seconds:g} s"
                how = f"did not end within {within}, and was killed (--limit, limit_seconds)"
            said = Said(words=frozenset({"endless"}), how=how)
        else:
            said = self.program.meaning(self.status)
            named = {0, *self.program.exits}
            if self.status < 0 or (self.status not in named and _crashed(written)):
                said = replace(said, stumbled=True)
        # By the time it ends it has done what it does when told to cancel.
        cancelled_by = None if self.cancelled_by is None else self.done
        return Call(
            said=said,
            spans=[(self.begun, self.done)],
            done=instance.clock.now(),
            cancelled_by=cancelled_by,
            host=self.host,
        )


def _wait(
    runs: Sequence[_Run],
    instance: SituationInstance,
    ends: Sequence[threading.Event],
    *,
    speed: float,
) -> None:
    """Wait until all programs have ended, or an event is set; tell those to cancel that must."""
    created: dict[str, float] = {}
    while [run for run in runs if not run.poll()]:
        now = real_time.now()
        late = any(now > run.until for run in runs if run.status is None)
        if late or any(each.is_set() for each in ends):
            return
        if instance.situation.client_cancels:
            with instance.lock:
                hosts = {each.header("Host") for each in instance.created_by.values()}
            for run in runs:
                if run.host in hosts and run.status is None and run.cancelled_by is None:
                    since = created.setdefault(run.host, now)
                    if now - since >= CANCELS_AFTER / speed:
                        run.cancel()
        real_time.pause(_LOOK_SECONDS)


def _crashed(written: str) -> bool:
    """Whether the output ends with the traceback of an error in a program of Python."""
    _, traceback, rest = written.rpartition('\n  File "')
    *_, last = rest.strip().splitlines() or [""]
    name = last.partition(":")[0].rpartition(".")[2]
    error = getattr(builtins, name, ValueError if name == "JSONDecodeError" else None)
    return bool(traceback) and isinstance(error, type) and issubclass(error, STUMBLES)


def _end_of(output: Any) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _LAST_OUTPUT))
    return str(output.read().decode("utf-8", "replace"))
