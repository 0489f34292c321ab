"""The one run that all contract tests share: its settings, its trace, and how it stands."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from pytest_expedition.recordings.trace import Recorder
from pytest_expedition.report.words import left_behind, standing_line
from pytest_expedition.session.results import session_report
from pytest_expedition.session.settings import (
    ONE_PROCESS,
    live_target,
    profile,
    record_path,
    replay,
    seed,
    workers,
)
from pytest_expedition.suite.run import Interrupted, run_share
from pytest_expedition.suite.share import merge
from pytest_expedition.suite.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_expedition.suite.plan import Replay
    from pytest_expedition.suite.run import Progress
    from pytest_expedition.suite.share import Conformance, Share


entry_key = pytest.StashKey[dict[str, Any]]()
"""Where a contract test leaves its requirement's entry of the report, and the run's."""


def judge_target(target: Target, request: pytest.FixtureRequest) -> Conformance:
    """Carry the run out against what the fixture ``expedition_target`` gave."""
    config = request.config
    again = replay(config)
    _require_usable(target, again, config)
    if config.getoption("--expedition-dry-run"):
        from pytest_expedition.suite.dry_run import preview

        session_report(config).preview = list(preview(target, profile=profile(config)))
        pytest.skip("dry run: nothing is sent")
    standing = _StandingLine(config)
    recorder = _recorder(config, server=target.url)
    count = (again is None and workers(config)) or 1

    def share(number: int) -> Share:
        return run_share(
            target,
            profile=profile(config),
            seed=seed(config),
            watch=standing.show,
            record=None if recorder is None else recorder.write,
            plan=None if again is None else again.plan,
            share=(number, count),
        )

    try:
        return merge(target, _all_shares(count, share, request))
    except Interrupted as interrupt:
        told = left_behind(interrupt.left_behind, interrupt.perhaps_created)
        pytest.exit(told or "no job is left behind", returncode=pytest.ExitCode.INTERRUPTED)
    finally:
        standing.clear()
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
        from pytest_expedition.suite.plan import PlanError, require_recipes

        try:
            require_recipes(again, target.jobs)
        except PlanError as error:
            pytest.fail(f"expedition_replay: {error}", pytrace=False)


def found_out(
    item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]
) -> dict[str, Any] | None:
    """Return what a contract test has found out, if this report of it is the one to carry it."""
    if entry_key not in item.stash:
        if not report.failed:
            return None
        from pytest_expedition.report.document import broken_down  # it failed before it knew

        assert isinstance(item, pytest.Function)
        assert call.excinfo is not None
        entry = broken_down(str(item.callspec.params["requirement"]), call.excinfo.exconly())
        item.stash[entry_key] = {"run": None, "requirement": entry}
    elif report.when != "call":
        return None
    _add_properties(item)
    return item.stash[entry_key]


def _add_properties(item: pytest.Item) -> None:
    """Let the JUnit XML say what was found out; the report of the teardown carries it there."""
    if item.config.getoption("xmlpath", None):
        entry = item.stash[entry_key]["requirement"]
        item.user_properties += [
            (f"expedition_{name}", entry[name])
            for name in ("id", "level", "basis", "outcome", "reason")
        ]


def _recorder(config: pytest.Config, *, server: str) -> Recorder | None:
    """Open the trace file for exchanges to come, if one is asked for."""
    path = record_path(config)
    return None if path is None else Recorder(path, server=server)


class _StandingLine:
    """One line that says how a run stands, for a person at a terminal; nothing elsewhere."""

    def __init__(self, config: pytest.Config) -> None:
        reporter = config.pluginmanager.getplugin("terminalreporter")
        watched = reporter is not None and reporter.isatty and not os.environ.get("CI")
        self._reporter: pytest.TerminalReporter | None = reporter if watched else None
        self._capture = config.pluginmanager.getplugin("capturemanager")

    def show(self, standing: Progress) -> None:
        """Write the line anew."""
        if self._reporter is not None:
            self._write(self._reporter, standing_line(standing))

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
