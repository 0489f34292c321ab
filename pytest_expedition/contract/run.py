"""The one run that all contract tests share: its settings, its trace, and how it stands."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from pytest_expedition.conformance import Interrupted, check
from pytest_expedition.report.words import left_behind, standing_line
from pytest_expedition.session import session_report
from pytest_expedition.settings import live_target, profile, record_path, replay
from pytest_expedition.target import Target
from pytest_expedition.trace import Recorder

if TYPE_CHECKING:
    from pytest_expedition.conformance import Conformance, Standing


def judge_target(target: object, config: pytest.Config) -> Conformance:
    """Carry the run out against what the fixture ``expedition_target`` gave."""
    if not isinstance(target, Target):
        pytest.fail(f"expedition_target must be a Target, got {target!r}", pytrace=False)
    if live_target(config) not in {None, target}:
        pytest.fail(
            "the target is given twice: by a fixture expedition_target and by an option, an "
            "environment variable or an ini setting; leave one out",
            pytrace=False,
        )
    if config.getoption("--expedition-dry-run"):
        from pytest_expedition.report.preview import preview

        session_report(config).preview = list(preview(target, profile=profile(config)))
        pytest.skip("dry run: nothing is sent")
    again = replay(config)
    if again is not None:
        from pytest_expedition.plan import PlanError, require_recipes

        try:
            require_recipes(again, target.jobs)
        except PlanError as error:
            pytest.fail(f"expedition_replay: {error}", pytrace=False)
    standing = _StandingLine(config)
    recorder = _recorder(config, server=target.url)
    record = None if recorder is None else recorder.write
    try:
        return check(
            target,
            profile=profile(config),
            watch=standing.show,
            record=record,
            plan=None if again is None else again.plan,
        )
    except Interrupted as interrupt:
        told = left_behind(interrupt.left_behind, interrupt.perhaps_created)
        pytest.exit(told or "no job is left behind", returncode=pytest.ExitCode.INTERRUPTED)
    finally:
        standing.clear()
        if recorder is not None:
            recorder.close()


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

    def show(self, standing: Standing) -> None:
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
