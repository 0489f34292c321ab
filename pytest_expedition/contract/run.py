"""The one run that all contract tests share: its settings, its trace, and how it stands."""

from __future__ import annotations

import _thread
import contextlib
import os
import shutil
import signal
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from pytest_expedition import signals
from pytest_expedition.recordings.trace import Recorder
from pytest_expedition.report.document import run_entry
from pytest_expedition.report.messages import left_behind
from pytest_expedition.report.text import is_broken_must
from pytest_expedition.session.results import (
    ContractFound,
    JudgedRun,
    session_report,
)
from pytest_expedition.session.settings import (
    ONE_PROCESS,
    ONE_RUN,
    is_another_process,
    live_target,
    profile,
    record_path,
    replay,
    replay_command,
    seed,
    workers,
)
from pytest_expedition.suite.run import RunEndedEarly, RunStoppedError, run_share
from pytest_expedition.suite.share import merge
from pytest_expedition.suite.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.oracle.record import RunRecord
    from pytest_expedition.report.entries import RequirementEntry, RunEntry
    from pytest_expedition.suite.clock import SuiteClock
    from pytest_expedition.suite.plan import Replay
    from pytest_expedition.suite.run import Progress
    from pytest_expedition.suite.share import Share


found_key = pytest.StashKey[ContractFound]()
"""The stash key under which a contract test keeps what it found."""

_JUDGED = pytest.StashKey[JudgedRun]()
_BEGUN = pytest.StashKey[bool]()


def judge_target(target: Target, request: pytest.FixtureRequest) -> RunRecord:
    """Carry out the run against the target of the fixture ``expedition_target``."""
    config = request.config
    again = replay(config)
    _require_usable(target, again, config)
    _require_first_run(config)
    if config.getoption("--expedition-dry-run"):
        from pytest_expedition.suite.dry_run import preview

        session_report(config).preview = list(preview(target, profile=profile(config)))
        pytest.skip("dry run: nothing is sent")
    progress = _ProgressLine(config)
    trace = _Trace(config, server=target.url)
    count = (again is None and workers(config)) or 1

    def share(number: int) -> Share:
        return run_share(
            replace(target, clock=_InterruptibleClock(target.clock, arrived)),
            profile=profile(config),
            seed=seed(config),
            watch=progress.show,
            record=trace.write,
            plan=None if again is None else again.plan,
            share=(number, count),
            before_clean_up=clean_up_begins,
        )

    def clean_up_begins(why: str) -> None:
        arrived.received.clear()
        _tell_of_clean_up(progress, target, why)

    try:
        with _signals_end_the_run() as arrived:
            return merge(target, _all_shares(count, share, request))
    except RunEndedEarly as ended:
        record = merge(target, [ended.share])
        if isinstance(ended.cause, KeyboardInterrupt) and not workers(config):
            _let_signals_end_at_once(_what_is_left(run_entry(record)), config)
        return _end(record, ended.cause, config)
    finally:
        progress.clear()
        trace.close()


def _require_first_run(config: pytest.Config) -> None:
    """Fail if a session would have a second run, which would exceed the limits."""
    if is_another_process(config):
        pytest.fail(ONE_RUN, pytrace=False)
    if config.stash.get(_BEGUN, False):
        pytest.fail(
            "the run of this session has already ended, see the first failure", pytrace=False
        )
    config.stash[_BEGUN] = True


def _end(record: RunRecord, cause: BaseException, config: pytest.Config) -> RunRecord:
    """Report a run that was ended early, and pass on what ended it.

    A timeout of pytest-timeout fails the test that was running.
    """
    judged = judged_run(record, config)
    if not workers(config):
        session_report(config).write_ended_run(judged)
    if isinstance(cause, KeyboardInterrupt):
        said = f"{record.reason}; {_what_is_left(judged['run'])}"
        raise pytest.exit.Exception(said, pytest.ExitCode.INTERRUPTED) from None
    if isinstance(cause, pytest.fail.Exception):
        return record
    raise cause


def _what_is_left(run: RunEntry) -> str:
    return left_behind(run) or "no job is left behind"


def _let_signals_end_at_once(left: str, config: pytest.Config) -> None:
    """Let a further signal end the process at once, and say what is left, until the session ends.

    The clean-up is over then. Pytest, which ends already, would tell the signal as a traceback.
    """

    def end(*_: object) -> None:
        capture = config.pluginmanager.getplugin("capturemanager")
        with contextlib.suppress(Exception):  # what it interrupts may be writing, too
            if capture is not None:
                capture.suspend(in_=True)
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            os.write(2, f"\ninterrupted again, so it ends at once; {left}\n".encode())
        os._exit(pytest.ExitCode.INTERRUPTED)

    handlers = contextlib.ExitStack()
    handlers.enter_context(signals.handled(end, "SIGINT", "SIGTERM", "SIGHUP"))
    config.add_cleanup(handlers.close)


def _tell_of_clean_up(progress: _ProgressLine, target: Target, why: str) -> None:
    """Say what the clean-up of an ended run does, and for how long."""
    if target.clock.waits:
        progress.tell(
            f"{why}: cancelling the jobs that still run, for at most "
            f"{target.limits.answer_seconds:g} s; press Ctrl-C again to end at once"
        )


LONGEST_PAUSE: Final = 1.0
"""Seconds that the run waits before it looks again whether a signal should have ended it."""

_END_REASON: Final[list[str]] = []
"""Why a signal was sent that ends the run, if another reason than the signal is known."""


class _Signals:
    """The signals that should have ended the run.

    Python drops what a handler raises while a destructor runs, or a callback of the garbage
    collector: Hypothesis has one, which is where a signal ends up that arrives in a collection. So
    each signal is kept, and raised again before and after each pause of the run.
    """

    def __init__(self) -> None:
        self.received: list[str] = []

    def end(self, number: int, _: object) -> None:
        """Handle a signal: end the run."""
        why = "" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        self.received.append(_END_REASON.pop() if _END_REASON else why)
        raise KeyboardInterrupt(self.received[-1])

    def raise_lost(self) -> None:
        """Raise the first signal that is still kept."""
        if self.received:
            raise KeyboardInterrupt(self.received[0])


class _InterruptibleClock:
    """The clock of a target; its pauses end soon after a signal, even one that Python dropped."""

    def __init__(self, clock: SuiteClock, signals: _Signals) -> None:
        self._clock = clock
        self._signals = signals
        self.waits = clock.waits
        self.now = clock.now

    def sleep(self, seconds: float) -> None:
        """Return after that many seconds, unless a signal ends the run."""
        self._signals.raise_lost()
        longest = LONGEST_PAUSE if self.waits else seconds
        while seconds > longest:
            self._clock.sleep(longest)
            self._signals.raise_lost()
            seconds -= longest
        self._clock.sleep(seconds)
        self._signals.raise_lost()


@contextlib.contextmanager
def _signals_end_the_run() -> Iterator[_Signals]:
    """Let SIGTERM and SIGHUP end the run as Ctrl-C does, so that it cleans up.

    Signals that are ignored or have a handler of others are left as they are.
    """
    arrived = _Signals()
    with signals.handled(arrived.end, "SIGINT", "SIGTERM", "SIGHUP"):
        yield arrived


def end_run_by_timer(item: pytest.Item, seconds: float, otherwise: Callable[[], object]) -> None:
    """Set a timer of pytest-timeout that ends the run, which cleans up, and then the session.

    Its own would end the process at once. ``otherwise`` is called where no run is under way.
    """

    def end() -> None:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            otherwise()
            return
        _END_REASON.append(f"timeout after {seconds:g} s (pytest-timeout)")
        if hasattr(signal, "pthread_kill"):  # it also wakes what waits for an answer
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        else:
            _thread.interrupt_main(signal.SIGTERM)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    item.cancel_timeout = timer.cancel  # type: ignore[attr-defined] # pytest-timeout calls it


def _all_shares(
    count: int, share: Callable[[int], Share], request: pytest.FixtureRequest
) -> list[Share]:
    """Carry out the shares, together with the other workers if this process is a worker."""
    if not workers(request.config):
        return [share(number) for number in range(count)]
    from pytest_expedition.session import shares

    base: Path = request.getfixturevalue("tmp_path_factory").getbasetemp()
    folder = base.parent / "expedition"  # a folder that all workers of this session know
    return shares.do_together(folder, count, share)


def _require_usable(target: object, again: Replay | None, config: pytest.Config) -> None:
    """Fail if the target of a conftest cannot be judged, or the plan does not fit it."""
    if not isinstance(target, Target):
        pytest.fail(f"expedition_target must be a Target, got {target!r}", pytrace=False)
    if live_target(config) not in {None, target}:
        pytest.fail(
            "the target is given twice, by a fixture expedition_target and by an option, an "
            "environment variable or an ini setting: remove one of them",
            pytrace=False,
        )
    if target.clock.waits and workers(config):
        pytest.fail(ONE_PROCESS, pytrace=False)
    if again is not None:
        from pytest_expedition.suite.plan import PlanError, require_allowed

        try:
            require_allowed(again, target)
        except PlanError as error:
            pytest.fail(f"expedition_replay: {error}", pytrace=False)


def find_entry(item: pytest.Item, record: RunRecord, requirement: str) -> RequirementEntry:
    """Look up what the run found out about the requirement of a test, and store it for the report.

    The first test of a process stores the whole run.
    """
    first = _JUDGED not in item.config.stash
    if first:
        item.config.stash[_JUDGED] = judged_run(record, item.config)
    judged = item.config.stash[_JUDGED]
    item.stash[found_key] = ContractFound(
        requirement=requirement, judged=judged if first else None, broke=None
    )
    entry = next(entry for entry in judged["requirements"] if entry["id"] == requirement)
    _add_properties(item, entry)
    return entry


def entries_told(session: pytest.Session) -> list[RequirementEntry]:
    """Return the entries that the session reports: those of its tests, and each broken MUST."""
    selected = {
        item.callspec.params.get("requirement")
        for item in session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }
    return [
        entry
        for entry in session.config.stash[_JUDGED]["requirements"]
        if entry["id"] in selected or is_broken_must(entry)
    ]


def judged_run(record: RunRecord, config: pytest.Config) -> JudgedRun:
    """Return what the report says of a run."""
    from pytest_expedition.report.document import requirement_entry

    entries = [requirement_entry(record, result) for result in record.results]
    for entry in entries:
        command = replay_command(config, entry["id"]) if "plan" in entry else ""
        if command:
            entry["replay"] = command
    return {"run": run_entry(record), "requirements": entries}


def found_out(
    item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]
) -> ContractFound | None:
    """Return what a contract test found out, once: in one of its test reports."""
    if found_key not in item.stash:
        if not report.failed:
            return None
        from pytest_expedition.report.document import broken_down  # it failed before the run

        assert isinstance(item, pytest.Function)
        assert call.excinfo is not None
        requirement = str(item.callspec.params["requirement"])
        entry = broken_down(requirement, call.excinfo.exconly())
        item.stash[found_key] = ContractFound(requirement=requirement, judged=None, broke=entry)
        _add_properties(item, entry)
    elif report.when != "call":
        return None
    return item.stash[found_key]


def _add_properties(item: pytest.Item, entry: RequirementEntry) -> None:
    """Add the outcome to the JUnit XML."""
    if item.config.getoption("xmlpath", None):
        item.user_properties += [
            ("expedition_id", entry["id"]),
            ("expedition_level", entry["level"]),
            ("expedition_basis", entry["basis"]),
            ("expedition_outcome", entry["outcome"]),
            ("expedition_reason", entry["reason"]),
        ]


class _Trace:
    """The trace file of the run, if one is asked for."""

    def __init__(self, config: pytest.Config, *, server: str) -> None:
        self._path = record_path(config)
        self._recorder = None if self._path is None else Recorder(self._path, server=server)

    def write(self, exchange: Exchange, secrets: Sequence[str]) -> None:
        """Write an exchange. Raises ``RunStoppedError``, once, if that is not possible."""
        if self._recorder is None:
            return
        try:
            self._recorder.write(exchange, secrets)
        except OSError as error:
            self._recorder = None
            raise RunStoppedError(
                f"the trace {self._path} cannot be written: {error.strerror}"
            ) from None

    def close(self) -> None:
        """Close the file."""
        if self._recorder is not None:
            self._recorder.close()


def _progress_line(progress: Progress) -> str:
    """Say in one line how far a run is."""
    jobs = ", ".join(f"job {job_id} at {state:g}" for job_id, state in progress.jobs.items())
    return f"{progress.seconds:.0f} s, at most {progress.seconds_left:.0f} s more: {jobs}"


class _ProgressLine:
    """A line at the terminal that shows how far a run is; nothing where there is no terminal."""

    def __init__(self, config: pytest.Config) -> None:
        reporter = config.pluginmanager.getplugin("terminalreporter")
        watched = reporter is not None and reporter.isatty and not os.environ.get("CI")
        self._any_reporter: pytest.TerminalReporter | None = reporter
        self._reporter: pytest.TerminalReporter | None = reporter if watched else None
        self._capture = config.pluginmanager.getplugin("capturemanager")

    def show(self, progress: Progress) -> None:
        """Write the line again."""
        if self._reporter is not None:
            self._write(self._reporter, _progress_line(progress))

    def clear(self) -> None:
        """Remove the line."""
        if self._reporter is not None:
            self._write(self._reporter, "")

    def tell(self, line: str) -> None:
        """Write a line that stays, also where there is no terminal."""
        self.clear()
        reporter = self._any_reporter
        if reporter is not None:
            with self._uncaptured(), contextlib.suppress(OSError):  # the terminal may be gone
                reporter.ensure_newline()
                reporter.write_line(line)
                reporter.flush()

    def _write(self, reporter: pytest.TerminalReporter, line: str) -> None:
        with self._uncaptured(), contextlib.suppress(OSError):
            reporter.rewrite(line[: shutil.get_terminal_size().columns - 1], erase=True)
            reporter.rewrite("")  # back to the beginning, where the next may write
            reporter.flush()

    def _uncaptured(self) -> AbstractContextManager[None]:
        if self._capture is None:
            return contextlib.nullcontext()
        uncaptured: AbstractContextManager[None] = self._capture.global_and_fixture_disabled()
        return uncaptured
