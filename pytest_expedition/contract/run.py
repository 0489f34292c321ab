"""The one run that all contract tests share: its settings, its trace, and how it stands."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from pytest_expedition.recordings.trace import Recorder
from pytest_expedition.report.words import left_behind
from pytest_expedition.session.results import ContractFound, JudgedRun, session_report
from pytest_expedition.session.settings import (
    ONE_PROCESS,
    live_target,
    profile,
    record_path,
    replay,
    replay_command,
    seed,
    workers,
)
from pytest_expedition.suite.run import Interrupted, run_share
from pytest_expedition.suite.share import merge
from pytest_expedition.suite.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_expedition.oracle.record import RunRecord
    from pytest_expedition.report.entries import RequirementEntry
    from pytest_expedition.suite.plan import Replay
    from pytest_expedition.suite.run import Progress
    from pytest_expedition.suite.share import Share


found_key = pytest.StashKey[ContractFound]()
"""Where a contract test leaves what it found."""

_JUDGED = pytest.StashKey[JudgedRun]()


def judge_target(target: Target, request: pytest.FixtureRequest) -> RunRecord:
    """Carry the run out against what the fixture ``expedition_target`` gave."""
    config = request.config
    again = replay(config)
    _require_usable(target, again, config)
    if config.getoption("--expedition-dry-run"):
        from pytest_expedition.suite.dry_run import preview

        session_report(config).preview = list(preview(target, profile=profile(config)))
        pytest.skip("dry run: nothing is sent")
    progress = _ProgressLine(config)
    recorder = _recorder(config, server=target.url)
    count = (again is None and workers(config)) or 1

    def share(number: int) -> Share:
        return run_share(
            target,
            profile=profile(config),
            seed=seed(config),
            watch=progress.show,
            record=None if recorder is None else recorder.write,
            plan=None if again is None else again.plan,
            share=(number, count),
        )

    try:
        return merge(target, _all_shares(count, share, request))
    except Interrupted as interrupt:
        told = left_behind(interrupt.left_behind, interrupt.unconfirmed_creations)
        pytest.exit(told or "no job is left behind", returncode=pytest.ExitCode.INTERRUPTED)
    finally:
        progress.clear()
        if recorder is not None:
            recorder.close()


def _all_shares(
    count: int, share: Callable[[int], Share], request: pytest.FixtureRequest
) -> list[Share]:
    """Carry the shares out, together with the other workers if this is one."""
    if not workers(request.config):
        return [share(number) for number in range(count)]
    from pytest_expedition.session import shares

    base: Path = request.getfixturevalue("tmp_path_factory").getbasetemp()
    folder = base.parent / "expedition"  # where all workers of this session find it
    return shares.do_together(folder, count, share)


def _require_usable(target: object, again: Replay | None, config: pytest.Config) -> None:
    """Fail if a target that was said in Python cannot be judged, or a plan not at it."""
    if not isinstance(target, Target):
        pytest.fail(f"expedition_target must be a Target, got {target!r}", pytrace=False)
    if live_target(config) not in {None, target}:
        pytest.fail(
            "the target is given twice: by a fixture expedition_target and by an option, an "
            "environment variable or an ini setting; leave one out",
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
    """Look up what the run found out about the requirement of a test, and leave it for the report.

    The first test of a process leaves the whole run.
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


def judged_run(record: RunRecord, config: pytest.Config) -> JudgedRun:
    """Return what the report says of a run."""
    from pytest_expedition.report.document import requirement_entry, run_entry

    entries = [requirement_entry(record, result) for result in record.results]
    for entry in entries:
        command = replay_command(config, entry["id"]) if "plan" in entry else ""
        if command:
            entry["replay"] = command
    return {"run": run_entry(record), "requirements": entries}


def found_out(
    item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]
) -> ContractFound | None:
    """Return what a contract test has found out, if this report of it is the one to carry it."""
    if found_key not in item.stash:
        if not report.failed:
            return None
        from pytest_expedition.report.document import broken_down  # it failed before it knew

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
    """Let the JUnit XML say what was found out; the report of the teardown carries it there."""
    if item.config.getoption("xmlpath", None):
        item.user_properties += [
            ("expedition_id", entry["id"]),
            ("expedition_level", entry["level"]),
            ("expedition_basis", entry["basis"]),
            ("expedition_outcome", entry["outcome"]),
            ("expedition_reason", entry["reason"]),
        ]


def _recorder(config: pytest.Config, *, server: str) -> Recorder | None:
    """Open the trace file for exchanges to come, if one is asked for."""
    path = record_path(config)
    return None if path is None else Recorder(path, server=server)


def _progress_line(progress: Progress) -> str:
    """Tell in one line how a run stands while it waits."""
    jobs = ", ".join(f"job {job_id} at {state:g}" for job_id, state in progress.jobs.items())
    return f"{progress.seconds:.0f} s, at most {progress.seconds_left:.0f} s more: {jobs}"


class _ProgressLine:
    """One line that says how a run stands, for a person at a terminal; nothing elsewhere."""

    def __init__(self, config: pytest.Config) -> None:
        reporter = config.pluginmanager.getplugin("terminalreporter")
        watched = reporter is not None and reporter.isatty and not os.environ.get("CI")
        self._reporter: pytest.TerminalReporter | None = reporter if watched else None
        self._capture = config.pluginmanager.getplugin("capturemanager")

    def show(self, progress: Progress) -> None:
        """Write the line anew."""
        if self._reporter is not None:
            self._write(self._reporter, _progress_line(progress))

    def clear(self) -> None:
        """Take the line away."""
        if self._reporter is not None:
            self._write(self._reporter, "")

    def _write(self, reporter: pytest.TerminalReporter, line: str) -> None:
        uncaptured = (
            contextlib.nullcontext()
            if self._capture is None
            else self._capture.global_and_fixture_disabled()
        )
        with uncaptured:
            reporter.rewrite(line[: shutil.get_terminal_size().columns - 1], erase=True)
            reporter.rewrite("")  # back to the beginning, where the next may write
            reporter.flush()
