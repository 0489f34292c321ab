"""What a session of pytest found out: collected from its tests, written to files, printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypedDict

import pytest

from pytest_expedition.report.messages import LACKING
from pytest_expedition.session.settings import (
    path_setting,
    plan_path,
    profile,
    replay,
    report_paths,
    setting,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_expedition.clients.report import TrialFound
    from pytest_expedition.report.entries import Document, RequirementEntry, RunEntry

NO_REPORT: Final = (
    "no report was written: it is about what the contract suite or expedition_scenario judges, and "
    "neither judged anything"
)

UNKNOWN: Final = {LACKING[each] for each in ("cancellable", "granted", "refusable")}
"""The reasons of outcomes that depend on what a target file says of jobs."""

_NAME: Final = "expedition-session-report"

_COLOURS: Final = {"pass": "green", "fail": "red", "error": "red"}
_VERDICT_COLOURS: Final = {"conformant": "green", "inconclusive": "yellow"}


class JudgedRun(TypedDict):
    """A run and its requirements."""

    run: RunEntry
    requirements: list[RequirementEntry]


class ContractFound(TypedDict):
    """What the test of one requirement found; it passes between processes (pytest-xdist).

    ``judged`` is the whole run; the first test of each process has it. ``broke`` is the
    requirement's entry if the test failed before the run was done.
    """

    requirement: str
    judged: JudgedRun | None
    broke: RequirementEntry | None


class SessionReport:
    """Collects what tests found out, also in other processes (pytest-xdist), and reports it."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.judged: JudgedRun | None = None
        self.selected: set[str] = set()
        self.broke: dict[str, RequirementEntry] = {}
        self.trials: list[TrialFound] = []
        self.document: Document | None = None
        self.unwritten: list[str] = []
        self.written: list[Path] = []
        self.preview: list[str] = []

    def add_contract(self, found: ContractFound) -> None:
        """Keep what the test of a requirement found."""
        self.selected.add(found["requirement"])
        self.judged = self.judged or found["judged"]
        if found["broke"] is not None:
            self.broke[found["requirement"]] = found["broke"]

    def add_trial(self, found: TrialFound) -> None:
        """Keep what a client did in a scenario."""
        self.trials.append(found)

    def write_ended_run(self, judged: JudgedRun) -> None:
        """Keep a run that ended early, and write its report before anything else can go wrong."""
        self.judged = judged
        self._write_reports()

    @property
    def found_anything(self) -> bool:
        """Whether there is anything to report."""
        return bool(self.judged or self.broke or self.trials)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Write the reports, and set the exit status, before the terminal may fail."""
        if self.found_anything:
            document = self._write_reports()
            self._add_suite_properties(document)
            if self.unwritten or self.judged or self.broke:
                self._set_exit_status(session, document)
        yield

    def _write_reports(self) -> Document:
        self.document = self._make_document()
        self.unwritten, self.written = [], []
        for path in report_paths(self.config):
            self._write(self.document, path)
        return self.document

    def _make_document(self) -> Document:
        from pytest_expedition.protocol.requirements import CATALOGUE
        from pytest_expedition.report.document import assemble
        from pytest_expedition.report.text import is_broken_must

        judged = self.judged
        runs = [] if judged is None else [judged["run"]]
        entries = [*self.broke.values(), *([] if judged is None else judged["requirements"])]
        not_selected: list[str] = []
        if self.selected:
            not_selected = [name for name in CATALOGUE if name not in self.selected]
            entries = [x for x in entries if x["id"] in self.selected or is_broken_must(x)]
        if self.trials:
            from pytest_expedition.clients.report import promise_entries

            runs += [trial["run"] for trial in self.trials]
            entries += promise_entries(self.trials)
        return assemble(runs, entries, not_selected=not_selected)

    def _set_exit_status(self, session: pytest.Session, document: Document) -> None:
        """Make a session fail that found a MUST broken, or could not judge."""
        ran = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
        if ran and (document["verdict"] == "error" or self.unwritten):
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        if session.exitstatus != pytest.ExitCode.OK:
            return
        outcomes = {entry["outcome"] for entry in document["requirements"]}
        if document["verdict"] == "non-conformant":
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif not (outcomes & {"pass", "fail", "waived"} or self.trials):
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def _write(self, document: Document, path: Path) -> None:
        from pytest_expedition.report.file import replace_text, write

        what, file = "report", path
        try:
            write(document, path)
            self.written.append(path)
            for entry in document["requirements"]:
                if "plan" in entry:  # in a file of its own, for --expedition-replay
                    what, file = "plan", plan_path(path, entry["id"])
                    replace_text(file, json.dumps(entry["plan"], indent=2) + "\n")
        except OSError as error:
            self.unwritten.append(f"the {what} was not written to {file}: {error.strerror}")

    def _add_suite_properties(self, document: Document) -> None:
        """Add the target and the verdict to the JUnit XML."""
        if self.config.getoption("xmlpath", None):
            writers: list[Any] = [
                plugin
                for plugin in self.config.pluginmanager.get_plugins()
                if hasattr(plugin, "add_global_property")
            ]
            for writer in writers:
                writer.add_global_property("expedition_target", document["target"]["url"])
                writer.add_global_property("expedition_verdict", document["verdict"])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the outcome of each requirement, and the verdict."""
        if self.preview:
            terminalreporter.section("expedition contract: dry run")
            for line in self.preview:
                terminalreporter.write_line(line)
        document = self.document
        if document is None:
            return
        from pytest_expedition.report.text import failure, requirement_line

        judged = ["contract"] if self.judged or self.broke else []
        judged += ["client"] if self.trials else []
        terminalreporter.section(f"expedition {' and '.join(judged)}")
        for entry in _entries_to_list(document):
            colour = _COLOURS.get(entry["outcome"], "yellow")
            terminalreporter.write_line(requirement_line(entry), **{colour: True})
        for entry in document["requirements"]:
            untold = entry["level"] == "SHOULD" or entry["id"] in document["not_selected"]
            if entry["outcome"] == "fail" and untold and not entry["follows_from"]:
                terminalreporter.section(entry["id"], sep="-")
                terminalreporter.write_line(failure(entry, document["requirements"]))
        self._tell_verdict(terminalreporter, document)

    def _tell_verdict(self, terminalreporter: pytest.TerminalReporter, document: Document) -> None:
        from pytest_expedition.report.text import (
            first_to_waive,
            replay_line,
            verdict_lines,
        )

        terminalreporter.section("verdict", sep="-")
        for line in self.unwritten:
            terminalreporter.write_line(line, red=True)
        for path in self.written:
            terminalreporter.write_line(f"report written to {self._shown(path)}")
        *lines, verdict = verdict_lines(document)
        again = replay(self.config)
        if self.judged is not None:
            lines += self._lines_of_the_run(document)
        if again is None:
            lines += first_to_waive(document)
        for line in lines:
            terminalreporter.write_line(line)
        colour = _VERDICT_COLOURS.get(document["verdict"], "red")
        terminalreporter.write_line(verdict, bold=True, **{colour: True})
        if again is not None:
            terminalreporter.write_line(replay_line(document, again.requirement), bold=True)

    def _lines_of_the_run(self, document: Document) -> list[str]:
        """Tell how much a run tried, and why some of it was not judged."""
        if replay(self.config) is not None:
            return []
        lines = [f"profile: {profile(self.config)}"]
        errors = sum(entry["outcome"] == "error" for entry in document["requirements"])
        if document["reason"] and errors > 1 and not self.broke:
            lines.append(
                f"all {errors} errors have the same reason: one test fails with it, and "
                f"{errors - 1} are skipped"
            )
        unknown = sum(entry["reason"] in UNKNOWN for entry in document["requirements"])
        judged = {"pass", "fail"} & {entry["outcome"] for entry in document["requirements"]}
        if (
            unknown
            and judged
            and not path_setting(self.config, "config")
            and setting(self.config, "url")
        ):
            lines.append(
                f"no target file says which jobs can be cancelled, so {unknown} requirements were "
                "not tested: write one, and pass it with --expedition-config"
            )
        return lines

    def _shown(self, path: Path) -> Path:
        here = self.config.invocation_params.dir
        return path.relative_to(here) if path.is_relative_to(here) else path


def _entries_to_list(document: Document) -> list[RequirementEntry]:
    """Return the entries that get a line: of many with the same error only the first.

    The reason of the whole run is told with the verdict.
    """
    seen = {document["reason"]}
    listed = []
    for entry in document["requirements"]:
        if entry["outcome"] != "error" or entry["reason"] not in seen:
            listed.append(entry)
        seen.add(entry["reason"])
    return listed


def session_report(config: pytest.Config) -> SessionReport:
    """Return the report of a session; the first call makes it."""
    report: SessionReport | None = config.pluginmanager.get_plugin(_NAME)
    if report is None:
        report = SessionReport(config)
        config.pluginmanager.register(report, _NAME)
    return report
