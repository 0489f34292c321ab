"""The pytest plugin: options, fixtures, and the summary of a contract run.

Nothing heavy is imported here: what a hook or a fixture needs, it imports itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from pytest_expedition.conformance import Conformance, ProfileName, Share, Standing
    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.server import ExpeditionServer
    from pytest_expedition.monitor import Monitor
    from pytest_expedition.plan import Replay
    from pytest_expedition.scenarios.scenario import ExpeditionScenario
    from pytest_expedition.target import Target
    from pytest_expedition.trace import Recorder

PROFILES: Final = ("smoke", "default", "thorough")
CONTRACT_MODULE: Final = "pytest_expedition.contract"
REPORTED: Final = "expedition"
"""The attribute of a test report that carries what was found out about one requirement."""

TRIED: Final = "expedition_client"
"""The attribute of a test report that carries what was found out about a client."""

ONE_PROCESS: Final = (
    "a live instance is judged by one process: each worker of pytest-xdist would create jobs of "
    "its own; leave -n out"
)

SCENARIOS_MARKER: Final = "expedition_scenarios"

_TARGET = pytest.StashKey["Target"]()
_MONITOR = pytest.StashKey["Monitor"]()
_MISTAKES = pytest.StashKey[list[str]]()
_SCENARIO = pytest.StashKey["ExpeditionScenario"]()
_PREVIEW = pytest.StashKey[list[str]]()

entry_key = pytest.StashKey[dict[str, Any]]()
"""Where a contract test leaves its requirement's entry of the report."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the contract suite, and their ini settings."""
    group = parser.getgroup("expedition", "contract suite for the job API of Expedition 2.0")
    for name, metavar, text in (
        ("url", "URL", "address of the instance under test, without /api/v1"),
        ("config", "FILE", "target file of the instance under test (expedition.toml)"),
        ("replay", "FILE", "carry out one plan that failed before, and no other"),
        ("record", "FILE", "write a trace of all requests: `pytest-expedition check` judges it"),
    ):
        group.addoption(f"--expedition-{name}", metavar=metavar, help=_help(name, text))
        parser.addini(f"expedition_{name}", text, default="")
    group.addoption(
        "--expedition-profile",
        choices=PROFILES,
        help=_help("profile", "how much to try: smoke, default or thorough"),
    )
    parser.addini("expedition_profile", "how much to try", default="")
    report = "write a report, in the format of the suffix (.json, .html, .md)"
    group.addoption(
        "--expedition-report",
        metavar="FILE",
        action="append",
        help=_help("report", f"{report}; may be given more than once"),
    )
    parser.addini("expedition_report", f"{report}, one a line", type="linelist")
    strict = "a SHOULD that fails is a failed test"
    group.addoption(
        "--expedition-strict", action="store_true", default=None, help=_help("strict", strict)
    )
    parser.addini("expedition_strict", strict, default="")
    group.addoption(
        "--expedition-dry-run",
        action="store_true",
        help="tell what the contract suite would send, and send nothing",
    )


def _help(name: str, text: str) -> str:
    return f"{text} [ini: expedition_{name}, environment: EXPEDITION_{name.upper()}]"


def _setting(config: pytest.Config, name: str) -> str:
    """Look a setting up: option, then environment, then ini; empty if it is nowhere.

    An option or a variable that is there and empty is a mistake: that of an unset variable in CI.
    """
    option, variable = f"--expedition-{name}", f"EXPEDITION_{name.upper()}"
    for where, found in ((option, config.getoption(option)), (variable, os.environ.get(variable))):
        if found == "":
            raise pytest.UsageError(f"{where} is empty: give it a value, or leave it out")
        if found is not None:
            return str(found)
    return str(config.getini(f"expedition_{name}"))


def _path_setting(config: pytest.Config, name: str) -> Path | None:
    """Look up the path of a file: in the ini file it counts from there, else from here."""
    value = _setting(config, name)
    if not value:
        return None
    if value == config.getini(f"expedition_{name}") and config.inipath is not None:
        return config.inipath.parent / value
    return config.invocation_params.dir / value


def _strict(config: pytest.Config) -> bool:
    value = _setting(config, "strict").lower()
    if value in {"true", "1", "yes", "on"}:
        return True
    if value in {"", "false", "0", "no", "off"}:
        return False
    raise pytest.UsageError(f"expedition_strict = {value!r}: must be true or false")


def _profile(config: pytest.Config) -> ProfileName:
    value = _setting(config, "profile") or "default"
    for profile in PROFILES:
        if value == profile:
            return profile
    raise pytest.UsageError(f"expedition_profile = {value!r}: must be one of {', '.join(PROFILES)}")


def _report_paths(config: pytest.Config) -> list[Path]:
    """Look up the reports to write: options, else the environment (parted as in PATH), else ini."""
    option, variable = "--expedition-report", "EXPEDITION_REPORT"
    folder = config.invocation_params.dir
    if config.getoption(option) is not None:
        where, names = option, config.getoption(option)
    elif variable in os.environ:
        where, names = variable, os.environ[variable].split(os.pathsep)
    else:
        where, names = "expedition_report", config.getini("expedition_report")
        folder = folder if config.inipath is None else config.inipath.parent
    if not names:
        return []
    if "" in names:
        raise pytest.UsageError(f"{where} is empty: give it a value, or leave it out")
    from pytest_expedition.report.file import FORMATS

    paths = [folder / name for name in names]
    for path in paths:
        if path.suffix not in FORMATS:
            known = f"one of {', '.join(FORMATS)}"
            raise pytest.UsageError(
                f"expedition_report = {str(path)!r}: the suffix must be {known}"
            )
        if not path.parent.is_dir():
            raise pytest.UsageError(f"expedition_report = {str(path)!r}: the folder does not exist")
    return paths


def _record_path(config: pytest.Config) -> Path | None:
    path = _path_setting(config, "record")
    if path is not None and not path.parent.is_dir():
        raise pytest.UsageError(f"expedition_record = {str(path)!r}: the folder does not exist")
    if path is not None and path.is_dir():
        raise pytest.UsageError(f"expedition_record = {str(path)!r}: must be a file")
    return path


def _replay(config: pytest.Config) -> Replay | None:
    """Return the plan that is to be carried out alone, if one is named."""
    path = _path_setting(config, "replay")
    if path is None:
        return None
    if config.getoption("--expedition-dry-run"):
        raise pytest.UsageError("--expedition-replay, --expedition-dry-run: leave one out")
    from pytest_expedition.plan import PlanError, read, require_recipes

    try:
        replay = read(path)
        target = _live_target(config)
        if target is not None:
            require_recipes(replay, target.jobs)
    except PlanError as error:
        raise pytest.UsageError(f"expedition_replay: {error}") from None
    return replay


def _plan_path(report: Path, requirement: str) -> Path:
    """Return where a plan is kept that showed a requirement broken: beside the report."""
    return report.with_name(f"{report.stem}.plan.{requirement}.json")


def replay_entry(config: pytest.Config, requirement: str) -> dict[str, str]:
    """Return how a plan is carried out again, where there is a report beside which it is kept."""
    reports = _report_paths(config)
    if not reports:
        return {}
    path = _plan_path(reports[0], requirement)
    here = config.invocation_params.dir
    parts = ["pytest --pyargs pytest_expedition.contract --expedition-replay"]
    parts.append(shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path)))
    for name in ("url", "config"):
        value = _setting(config, name)
        if value and value != config.getini(f"expedition_{name}"):
            parts.append(f"--expedition-{name} {shlex.quote(value)}")
    return {"replay": " ".join(parts)}


def _workers(config: pytest.Config) -> int:
    """Return how many workers of pytest-xdist there are, of which this process is one; else 0."""
    return int(getattr(config, "workerinput", {"workercount": 0})["workercount"])


def _seed(config: pytest.Config) -> int | None:
    """Return the number that `--hypothesis-seed` gives, if it gives one."""
    seed = str(config.getoption("--hypothesis-seed", None))
    return int(seed) if seed.isdecimal() else None


def _live_target(config: pytest.Config) -> Target | None:
    """Return the target that the settings name, or ``None`` if they name none."""
    url, file = _setting(config, "url"), _path_setting(config, "config")
    if not url and file is None:
        return None
    if _workers(config) or config.getoption("numprocesses", None):
        raise pytest.UsageError(ONE_PROCESS)
    if _TARGET not in config.stash:
        from pytest_expedition.target import TargetError, at_url, load

        try:
            target = at_url(url) if file is None else load(file, url=url)
        except TargetError as error:
            raise pytest.UsageError(str(error)) from None
        config.stash[_TARGET] = target
    return config.stash[_TARGET]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that cannot be followed, before anything runs."""
    config.addinivalue_line(
        "markers",
        f"{SCENARIOS_MARKER}(*ids, dialect=None): the scenarios that expedition_scenario runs a "
        "test in, and the dialect that is spoken (system, msg, data)",
    )
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist reports to its controller
        config.pluginmanager.register(_ContractReport(config), "expedition-contract-report")
    if any(config.getoption(f"--expedition-{name}") is not None for name in ("url", "config")):
        _live_target(config)
    if config.getoption("--expedition-report") is not None:
        _report_paths(config)
    if config.getoption("--expedition-record") is not None:
        _record_path(config)
    if config.getoption("--expedition-replay") is not None:
        _replay(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse markers, and settings of a contract about to run, that cannot be followed."""
    mistakes = session.config.stash.get(_MISTAKES, [])
    if mistakes:
        raise pytest.UsageError("\n".join(mistakes))
    judged = any(_is_contract(item) for item in session.items)
    if judged or any(_puts_in_scenarios(item) for item in session.items):
        _strict(session.config)
        _report_paths(session.config)
    if judged:
        _profile(session.config)
        _live_target(session.config)
        _replay(session.config)


def _is_contract(item: pytest.Item) -> bool:
    module = getattr(item, "module", None)
    return getattr(module, "__name__", "").startswith(CONTRACT_MODULE)


def _puts_in_scenarios(item: pytest.Item) -> bool:
    return "expedition_scenario" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def expedition_server_tls() -> bool:
    """Whether ``expedition_server`` speaks HTTPS; override it to say so."""
    return False


@pytest.fixture(scope="session")
def expedition_session_server(*, expedition_server_tls: bool) -> Iterator[ExpeditionServer]:
    """A fake Expedition instance that lives as long as the session.

    Use ``expedition_server`` in tests: it is this server, clean for each of them.
    """
    from pytest_expedition.fake.server import ExpeditionServer

    server = ExpeditionServer(tls=expedition_server_tls)
    try:
        server.start()
    except ImportError as error:
        pytest.fail(str(error), pytrace=False)
    yield server
    server.stop()


@pytest.fixture
def expedition_server(expedition_session_server: ExpeditionServer) -> Iterator[ExpeditionServer]:
    """A fake Expedition instance on loopback, without jobs: see ``ExpeditionServer``."""
    expedition_session_server.reset()
    yield expedition_session_server
    expedition_session_server.check()


@pytest.fixture
def expedition_monitor(request: pytest.FixtureRequest) -> Iterator[Monitor]:
    """Watches what clients are told: a MUST that was broken by the end of the test fails it.

    It watches what `expedition_server` answers, if the test uses that, and each session that is
    given to ``watch``.
    """
    from pytest_expedition.monitor import Monitor

    started = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    monitor = Monitor(record=_record_path(request.config), part=f"{request.node.nodeid} {started}")
    if "expedition_server" in request.fixturenames:
        monitor.watch(request.getfixturevalue("expedition_server"))
    request.node.stash[_MONITOR] = monitor
    yield monitor
    monitor.stop()
    del request.node.stash[_MONITOR]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Judge what a monitor has seen, as part of the test that used it."""
    try:
        yield
    except BaseException:
        broken = _end_watch(item)
        if broken:  # the test failed by itself: perhaps that is why
            item.add_report_section("call", "expedition monitor", "\n\n".join(broken))
        raise
    broken = _end_watch(item)
    if broken:
        pytest.fail("\n\n".join(broken), pytrace=False)


def _end_watch(item: pytest.Item) -> list[str]:
    """Return the story of each MUST that was broken before the eyes of the test's monitor."""
    monitor = item.stash.get(_MONITOR, None)
    if monitor is None:
        return []
    monitor.stop()
    return monitor.broken()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses ``expedition_scenario`` once in each scenario."""
    if "expedition_scenario" in metafunc.fixturenames:
        from pytest_expedition.scenarios.choice import ChoiceError, choose

        chosen: list[tuple[str, DialectName | None]] = []
        try:
            chosen = choose(metafunc.definition.iter_markers(SCENARIOS_MARKER))
        except ChoiceError as error:  # raised here, it would be buried in tracebacks
            complaint = f"{metafunc.definition.nodeid}: {error}"
            metafunc.config.stash.setdefault(_MISTAKES, []).append(complaint)
        ids = [scenario_id for scenario_id, _ in chosen]
        metafunc.parametrize("expedition_scenario", chosen, ids=ids, indirect=True)


@pytest.fixture
def expedition_scenario(
    request: pytest.FixtureRequest,
    expedition_server: ExpeditionServer,
    *,
    expedition_strict: bool,
) -> ExpeditionScenario:
    """A situation in which a client is put, once in each: see ``ExpeditionScenario``."""
    from pytest_expedition.scenarios.scenario import ExpeditionScenario

    scenario_id, dialect = request.param
    scenario = ExpeditionScenario(
        scenario_id, expedition_server, dialect=dialect, strict=expedition_strict
    )
    request.node.stash[_SCENARIO] = scenario
    return scenario


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail a test that has passed without having put its client in the scenario."""
    result = yield
    scenario = pyfuncitem.stash.get(_SCENARIO, None)
    if scenario is not None and not scenario.results:
        pytest.fail("expedition_scenario was not used: call its check(…)", pytrace=False)
    return result


@pytest.fixture(scope="session")
def expedition_target(pytestconfig: pytest.Config) -> Iterator[Target]:
    """The instance that the contract suite judges; override it to say it in Python.

    It is the one that `--expedition-url` or `--expedition-config` name, else a fake instance of
    this process.
    """
    live = _live_target(pytestconfig)
    if live is not None:
        yield live
        return
    from pytest_expedition.conformance import embedded_target

    with embedded_target() as target:
        yield target


@pytest.fixture(scope="session")
def expedition_conformance(
    expedition_target: Target, pytestconfig: pytest.Config, request: pytest.FixtureRequest
) -> Conformance:
    """What the contract suite has found out about ``expedition_target``.

    The workers of pytest-xdist share the work, each at a fake instance of its own.
    """
    from pytest_expedition.conformance import Interrupted, carry_out, concluded
    from pytest_expedition.report.words import left_behind

    replay = _replay(pytestconfig)
    _require_usable(expedition_target, replay, pytestconfig)
    profile = _profile(pytestconfig)
    if pytestconfig.getoption("--expedition-dry-run"):
        from pytest_expedition.report.preview import preview

        pytestconfig.stash[_PREVIEW] = list(preview(expedition_target, profile=profile))
        pytest.skip("dry run: nothing is sent")
    standing = _StandingLine(pytestconfig)
    recorder = _recorder(pytestconfig, server=expedition_target.url)
    shares = (replay is None and _workers(pytestconfig)) or 1

    def carry_out_share(number: int) -> Share:
        return carry_out(
            expedition_target,
            profile=profile,
            seed=_seed(pytestconfig),
            watch=standing.show,
            record=None if recorder is None else recorder.write,
            plan=None if replay is None else replay.plan,
            share=(number, shares),
        )

    try:
        if not _workers(pytestconfig):
            return concluded(expedition_target, [carry_out_share(0)])
        from pytest_expedition.shares import carry_out as carry_out_together

        base = request.getfixturevalue("tmp_path_factory").getbasetemp()
        folder = base.parent / "expedition"  # where all workers of this session find it
        return concluded(expedition_target, carry_out_together(folder, shares, carry_out_share))
    except Interrupted as interrupt:
        told = left_behind(interrupt.left_behind, interrupt.perhaps_created)
        pytest.exit(told or "no job is left behind", returncode=pytest.ExitCode.INTERRUPTED)
    finally:
        standing.clear()
        if recorder is not None:
            recorder.close()


def _require_usable(target: Target, replay: Replay | None, config: pytest.Config) -> None:
    """Fail if a target that was said in Python cannot be judged, or a plan not at it."""
    from pytest_expedition.target import Target

    if not isinstance(target, Target):
        pytest.fail(f"expedition_target must be a Target, got {target!r}", pytrace=False)
    if _live_target(config) not in {None, target}:
        pytest.fail(
            "the target is given twice: by a fixture expedition_target and by an option, an "
            "environment variable or an ini setting; leave one out",
            pytrace=False,
        )
    if target.clock.waits and _workers(config):
        pytest.fail(ONE_PROCESS, pytrace=False)
    if replay is not None:
        from pytest_expedition.plan import PlanError, require_recipes

        try:
            require_recipes(replay, target.jobs)
        except PlanError as error:
            pytest.fail(f"expedition_replay: {error}", pytrace=False)


def _recorder(config: pytest.Config, *, server: str, part: str = "") -> Recorder | None:
    """Open the trace file for exchanges to come, if one is asked for."""
    path = _record_path(config)
    if path is None:
        return None
    from pytest_expedition.trace import Recorder

    return Recorder(path, server=server, part=part)


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
            from pytest_expedition.report.words import standing_line

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


@pytest.fixture(scope="session")
def expedition_strict(pytestconfig: pytest.Config) -> bool:
    """Whether a SHOULD that fails is a failed test."""
    return _strict(pytestconfig)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the test report carry what a contract test has found out, to wherever it is read."""
    report = yield
    if _SCENARIO in item.stash and report.when == "call":
        setattr(report, TRIED, item.stash[_SCENARIO].entry)
    if entry_key in item.stash and report.when == "call":
        setattr(report, REPORTED, item.stash[entry_key])
        _add_properties(item)
    elif report.failed and _is_contract(item) and entry_key not in item.stash:
        from pytest_expedition.report.document import broken_down

        assert isinstance(item, pytest.Function)
        assert call.excinfo is not None
        entry = broken_down(str(item.callspec.params["requirement"]), call.excinfo.exconly())
        item.stash[entry_key] = {"run": None, "requirement": entry}
        setattr(report, REPORTED, item.stash[entry_key])
        _add_properties(item)
    return report


def _add_properties(item: pytest.Item) -> None:
    """Let the JUnit XML say what was found out; the report of the teardown carries it there."""
    if item.config.getoption("xmlpath", None):
        entry = item.stash[entry_key]["requirement"]
        item.user_properties += [
            (f"expedition_{name}", entry[name])
            for name in ("id", "level", "basis", "outcome", "reason")
        ]


_COLOURS: Final = {"pass": "green", "fail": "red", "error": "red"}
_VERDICT_COLOURS: Final = {"conformant": "green", "inconclusive": "yellow"}


class _ContractReport:
    """Gathers what contract tests have found out, also in other processes (pytest-xdist)."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.runs: dict[str, dict[str, Any]] = {}
        self.requirements: list[dict[str, Any]] = []
        self.document: dict[str, Any] = {}
        self.trials: list[dict[str, Any]] = []
        self.unwritten: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test report carries."""
        found = getattr(report, REPORTED, None)
        if found is not None:
            if found["run"] is not None:
                self.runs[found["run"]["started"]] = found["run"]
            self.requirements.append(found["requirement"])
        trial = getattr(report, TRIED, None)
        if trial is not None:
            self.trials.append(trial)

    def pytest_sessionstart(self) -> None:
        """Begin the trace anew: all processes of this session add to it."""
        path = _record_path(self.config)
        if path is None or self.config.getoption("collectonly"):
            return
        try:
            path.write_bytes(b"")
        except OSError as error:
            message = f"expedition_record = {str(path)!r}: cannot be written: {error.strerror}"
            raise pytest.UsageError(message) from None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, and see to the exit status."""
        if not (self.requirements or self.trials):
            return
        from pytest_expedition.report.document import assemble

        runs, entries = list(self.runs.values()), list(self.requirements)
        if self.trials:
            from pytest_expedition.report.client import promise_entries

            runs += [trial["run"] for trial in self.trials]
            entries += promise_entries(self.trials)
        self.document = assemble(runs, entries)
        for path in _report_paths(self.config):
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
                _plan_path(report, entry["id"]).write_text(text, encoding="utf-8")

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
        if _PREVIEW in self.config.stash:
            terminalreporter.section("expedition contract: dry run")
            for line in self.config.stash[_PREVIEW]:
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
        replay = _replay(self.config)
        if replay is not None:
            lines.append(replay_line(self.document, replay.requirement))
        for line in lines:
            terminalreporter.write_line(line)
        colour = _VERDICT_COLOURS.get(self.document["verdict"], "red")
        terminalreporter.write_line(verdict, bold=True, **{colour: True})
