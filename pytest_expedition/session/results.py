"""What a session of pytest has found out: gathered from its tests, written to files, and told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_expedition.session.settings import plan_path, replay, report_paths

if TYPE_CHECKING:
    from pathlib import Path

_NAME: Final = "expedition-session-report"

_COLOURS: Final = {"pass": "green", "fail": "red", "error": "red"}
_VERDICT_COLOURS: Final = {"conformant": "green", "inconclusive": "yellow"}


class SessionReport:
    """Gathers what tests have found out, also in other processes (pytest-xdist), and tells it."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.runs: dict[str, dict[str, Any]] = {}
        self.requirements: list[dict[str, Any]] = []
        self.document: dict[str, Any] = {}
        self.trials: list[dict[str, Any]] = []
        self.unwritten: list[str] = []
        self.preview: list[str] = []

    def add(self, found: dict[str, Any]) -> None:
        """Keep what a test has found out: about a requirement, or about a client."""
        if "requirement" in found:
            if found["run"] is not None:
                self.runs[found["run"]["started"]] = found["run"]
            self.requirements.append(found["requirement"])
        else:
            self.trials.append(found)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, and see to the exit status."""
        if not (self.requirements or self.trials):
            return
        from pytest_expedition.report.document import assemble

        runs, entries = list(self.runs.values()), list(self.requirements)
        if self.trials:
            from pytest_expedition.clients.report import promise_entries

            runs += [trial["run"] for trial in self.trials]
            entries += promise_entries(self.trials)
        self.document = assemble(runs, entries)
        for path in report_paths(self.config):
            self._write(path)
        self._add_suite_properties()
        if self.unwritten or self.requirements:
            self._see_to_the_exit_status(session)

    def _see_to_the_exit_status(self, session: pytest.Session) -> None:
        ran = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
        if ran and (self.document["verdict"] == "error" or self.unwritten):
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        outcomes = {entry["outcome"] for entry in self.requirements}
        judged = outcomes & {"pass", "fail", "waived"} or self.trials
        if session.exitstatus == pytest.ExitCode.OK and not judged:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def _write(self, path: Path) -> None:
        from pytest_expedition.report.file import write

        try:
            write(self.document, path)
            self._keep_plans(path)
        except OSError as error:
            self.unwritten.append(f"the report was not written to {path}: {error.strerror}")

    def _add_suite_properties(self) -> None:
        """Let the JUnit XML say what was judged, and the verdict."""
        if self.config.getoption("xmlpath", None):
            writers: list[Any] = [
                plugin
                for plugin in self.config.pluginmanager.get_plugins()
                if hasattr(plugin, "add_global_property")
            ]
            for writer in writers:
                writer.add_global_property("expedition_target", self.document["target"]["url"])
                writer.add_global_property("expedition_verdict", self.document["verdict"])

    def _keep_plans(self, report: Path) -> None:
        """Write the plans of what failed to files of their own."""
        for entry in self.document["requirements"]:
            if "plan" in entry:
                text = json.dumps(entry["plan"], indent=2) + "\n"
                plan_path(report, entry["id"]).write_text(text, encoding="utf-8")

    def _entries_to_list(self) -> list[dict[str, Any]]:
        """Return the entries that get a line: of many with the same error only the first."""
        seen = set()
        listed = []
        for entry in self.document["requirements"]:
            if entry["outcome"] != "error" or entry["reason"] not in seen:
                listed.append(entry)
            seen.add(entry["reason"])
        return listed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell the verdict, and the outcome of each requirement."""
        if self.preview:
            terminalreporter.section("expedition contract: dry run")
            for line in self.preview:
                terminalreporter.write_line(line)
        if not self.document:
            return
        from pytest_expedition.report.text import failure, requirement_line

        judged = ["contract"] if self.requirements else []
        judged += ["client"] if self.trials else []
        terminalreporter.section(f"expedition {' and '.join(judged)}")
        for entry in self._entries_to_list():
            colour = _COLOURS.get(entry["outcome"], "yellow")
            terminalreporter.write_line(requirement_line(entry), **{colour: True})
        for entry in self.document["requirements"]:
            if (entry["level"], entry["outcome"]) == ("SHOULD", "fail"):
                terminalreporter.section(entry["id"], sep="-")
                terminalreporter.write_line(failure(entry))
        self._tell_verdict(terminalreporter)

    def _tell_verdict(self, terminalreporter: pytest.TerminalReporter) -> None:
        from pytest_expedition.report.text import replay_line, verdict_lines

        terminalreporter.section("verdict", sep="-")
        for line in self.unwritten:
            terminalreporter.write_line(line, red=True)
        *lines, verdict = verdict_lines(self.document)
        again = replay(self.config)
        if again is not None:
            lines.append(replay_line(self.document, again.requirement))
        for line in lines:
            terminalreporter.write_line(line)
        colour = _VERDICT_COLOURS.get(self.document["verdict"], "red")
        terminalreporter.write_line(verdict, bold=True, **{colour: True})


def session_report(config: pytest.Config) -> SessionReport:
    """Return the report of a session, which is begun when it is first asked for."""
    report: SessionReport | None = config.pluginmanager.get_plugin(_NAME)
    if report is None:
        report = SessionReport(config)
        config.pluginmanager.register(report, _NAME)
    return report
