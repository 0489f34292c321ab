"""The pytest plugin: options, fixtures, and the summary of a contract run.

Where the plugin is installed, every run of pytest imports this module, even if nothing uses it. So
it imports nothing heavy, and all that only users of the plugin need is in other modules.

PYTEST_DONT_REWRITE: this module has no assertions.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pytest_expedition.clients.scenario import ExpeditionScenario
    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.server import ExpeditionServer
    from pytest_expedition.monitor import Monitor
    from pytest_expedition.oracle.record import RunRecord
    from pytest_expedition.suite.target import Target

PROFILES: Final = ("smoke", "default", "thorough")
CONTRACT_MODULE: Final = "pytest_expedition.contract"
FOUND: Final = "expedition"
"""The attribute of a test report with what the test found out."""

OPTIONS: Final = ("url", "config", "report", "record", "replay", "profile", "strict", "dry-run")
"""The names of our options, without what all begin with."""

CHECKED_AT_ONCE: Final = ("url", "config", "report", "record", "replay")
"""The options that are checked before anything is collected."""

SCENARIOS_MARKER: Final = "expedition_scenarios"
WITHOUT_SCENARIOS: Final = (
    "expedition_scenario runs a test once in each scenario, so it must be a parameter of a test "
    "function; it does not work with unittest.TestCase or getfixturevalue"
)

_MONITOR = pytest.StashKey["Monitor"]()
_COLLECTED = pytest.StashKey[bool]()
"""Whether tests of the contract were collected, selected or not."""
_MISTAKES = pytest.StashKey[list[str]]()
_SCENARIO = pytest.StashKey["ExpeditionScenario"]()
_TLS = pytest.StashKey[bool]()
"""Whether the server of the session was told to speak HTTPS."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options of the contract suite, and their ini settings."""
    # With `-p`, or `pytest_plugins` in a conftest, the module would be registered twice.
    registered = pluginmanager.get_plugin(__name__) is not None
    pluginmanager.set_blocked("expedition" if registered else __name__)
    group = parser.getgroup("expedition", "contract suite for the job API of Expedition 2.0")
    for name, metavar, text in (
        ("url", "URL", "address of the instance to judge, without /api/v1"),
        ("config", "FILE", "target file of the instance to judge (expedition.toml)"),
        ("replay", "FILE", "run only this plan, which failed before"),
        ("record", "FILE", "write a trace of all requests, for `pytest-expedition check`"),
    ):
        group.addoption(f"--expedition-{name}", metavar=metavar, help=_help(name, text))
        parser.addini(f"expedition_{name}", text, default="")
    group.addoption(
        "--expedition-profile",
        choices=PROFILES,
        help=_help("profile", "how much to try: smoke (four jobs), default or thorough"),
    )
    parser.addini("expedition_profile", "how much to try", default="")
    report = "write a report; its suffix is the format: .html, .md or .json"
    group.addoption(
        "--expedition-report",
        metavar="FILE",
        action="append",
        help=_help("report", f"{report}; may be given more than once"),
    )
    parser.addini("expedition_report", f"{report}, one a line", type="linelist")
    strict = "let the test of a broken SHOULD fail, too"
    group.addoption(
        "--expedition-strict", action="store_true", default=None, help=_help("strict", strict)
    )
    parser.addini("expedition_strict", strict, type="bool", default=False)
    group.addoption(
        "--expedition-dry-run",
        action="store_true",
        help="print the requests that the contract suite would send, and send none; needs no key",
    )
    group.addoption("--expedition-no-fake", action="store_true", help=argparse.SUPPRESS)


def _help(name: str, text: str) -> str:
    return f"{text} [ini: expedition_{name}, environment: EXPEDITION_{name.upper()}]"


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    parser: pytest.Parser, args: list[str]
) -> Generator[None, None, None]:
    """Let pytest's error about an unknown option name ours, if only its prefix is missing."""
    yield
    if any(CONTRACT_MODULE in argument for argument in args):
        _, unknown = parser.parse_known_and_unknown_args(args)
        given = {argument.partition("=")[0] for argument in unknown}
        given |= {"--strict"}.intersection(args)  # which pytest has, too
        meant = [f"--expedition-{each}" for each in OPTIONS if f"--{each}" in given]
        if meant:
            parser.extra_info["did you mean"] = ", ".join(meant)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and check options before anything runs."""
    config.addinivalue_line(
        "markers",
        f"{SCENARIOS_MARKER}(*ids, dialect=None, without=()): the scenarios in which "
        "expedition_scenario runs a test (default: all), the ids of scenarios to leave out, and "
        "the dialect of the server (system, msg or data)",
    )
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist reports to its controller
        config.pluginmanager.register(_Listener(config), "expedition-listener")
    if any(config.getoption(f"--expedition-{name}") is not None for name in CHECKED_AT_ONCE):
        from pytest_expedition.session.settings import check_options

        check_options(config)


class _Listener:
    """Receives what tests found out, also in other processes (pytest-xdist)."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_sessionstart(self) -> None:
        """Empty the trace file, to which all processes of this session add.

        A usage error if several processes would judge a live instance.
        """
        if (
            (self.is_set("url") or self.is_set("config"))
            and self.config.getoption("dist", "no") != "no"
            and any(CONTRACT_MODULE in argument for argument in self.config.args)
        ):
            from pytest_expedition.session.settings import live_target

            live_target(self.config)
        if self.is_set("record"):
            from pytest_expedition.session.settings import begin_trace

            begin_trace(self.config)

    def is_set(self, name: str) -> bool:
        return self.is_asked_for(name) or bool(self.config.getini(f"expedition_{name}"))

    def is_asked_for(self, name: str) -> bool:
        """Whether this run is told the setting, not only the ini file of all runs."""
        option = self.config.getoption(f"--expedition-{name}")
        return option is not None or f"EXPEDITION_{name.upper()}" in os.environ

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int
    ) -> None:
        """Say that a report which was asked for was not made, as a monitor alone makes none."""
        ended = exitstatus not in {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR}
        if ended and self.is_asked_for("report") and not self.config.getoption("collectonly"):
            from pytest_expedition.session.results import NO_REPORT, session_report

            if session_report(self.config).document is None:
                terminalreporter.write_line(NO_REPORT)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test found out about a server or a client, before the terminal may fail."""
        found = getattr(report, FOUND, None)
        if found is not None:
            from pytest_expedition.session.results import session_report

            gathered = session_report(self.config)
            if "scenario" in found:
                gathered.add_trial(found)
            else:
                gathered.add_contract(found)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Refuse to judge a server again and again; with this option no other hook is called."""
    asked_for = any(CONTRACT_MODULE in argument for argument in config.args)
    if asked_for and config.getoption("looponfail", None):
        from pytest_expedition.session.settings import ONE_LOOP

        raise pytest.UsageError(ONE_LOOP)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note whether contract tests were collected, before other plugins deselect some."""
    config.stash[_COLLECTED] = any(_is_contract(item) for item in items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the markers, and the settings of a contract that is about to run.

    pytest also calls this when an error or Ctrl-C ends the collection. Then nothing is checked, so
    that pytest tells of that.
    """
    if _COLLECTED not in session.config.stash:
        return
    mistakes = session.config.stash.get(_MISTAKES, [])
    if mistakes:
        raise pytest.UsageError("\n".join(mistakes))
    judged = any(_is_contract(item) for item in session.items)
    if judged:
        from pytest_expedition.session.settings import note_process

        note_process(session.config)
    if hasattr(session.config, "workerinput"):
        return  # the controller checks, or the test that needs the setting
    asked_for = any(CONTRACT_MODULE in argument for argument in session.config.args)
    if asked_for and not session.config.stash[_COLLECTED] and not session.testsfailed:
        from pytest_expedition.session.settings import hidden_contract

        raise pytest.UsageError(hidden_contract(session.config))
    if judged or any(_puts_in_scenarios(item) for item in session.items):
        from pytest_expedition.session import settings

        settings.strict(session.config)
        settings.report_paths(session.config)
        if judged:
            settings.require_one_run(session)
            settings.profile(session.config)
            live = settings.live_target(session.config)
            if live is None and session.config.getoption("--expedition-no-fake"):
                raise pytest.UsageError(settings.NO_INSTANCE)
            settings.replay(session.config)


def _is_contract(item: pytest.Item) -> bool:
    module = getattr(item, "module", None)
    return getattr(module, "__name__", "").startswith(CONTRACT_MODULE)


def _puts_in_scenarios(item: pytest.Item) -> bool:
    return "expedition_scenario" in getattr(item, "fixturenames", ())


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """Replace the timer thread of pytest-timeout, which would end the process without clean-up."""
    if not _is_contract(item) or settings.method != "thread":
        return None
    from importlib import import_module

    from pytest_expedition.contract.run import end_run_by_timer

    end_run_by_timer(
        item,
        settings.timeout,
        lambda: import_module("pytest_timeout").timeout_timer(item, settings),
    )
    return True


@pytest.fixture(scope="session")
def expedition_server_tls() -> bool:
    """Whether ``expedition_server`` speaks HTTPS (default: no). Override it to change that."""
    return False


@pytest.fixture(scope="session")
def expedition_session_server(
    pytestconfig: pytest.Config, *, expedition_server_tls: bool
) -> Iterator[ExpeditionServer]:
    """The fake instance behind ``expedition_server``, which lives as long as the session.

    Use ``expedition_server`` in tests: it is the same server, reset for each test.
    """
    from pytest_expedition.fake.server import ExpeditionServer

    pytestconfig.stash[_TLS] = expedition_server_tls
    server = ExpeditionServer(tls=expedition_server_tls)
    try:
        server.start()
    except ImportError as error:
        pytest.fail(str(error), pytrace=False)
    yield server
    server.stop()


@pytest.fixture
def expedition_server(
    expedition_session_server: ExpeditionServer,
    request: pytest.FixtureRequest,
    *,
    expedition_server_tls: bool,
) -> Iterator[ExpeditionServer]:
    """A fake instance of Expedition on loopback, without jobs for each test."""
    from pytest_expedition.session.settings import record_path

    started_with = request.config.stash.get(_TLS, expedition_server_tls)
    if started_with is not expedition_server_tls:
        pytest.fail(
            f"expedition_server_tls is {expedition_server_tls} for this test, but the server of "
            f"this session was started with {started_with}, for an earlier test: override "
            f"expedition_server_tls for all tests, in the conftest.py of {request.config.rootpath}",
            pytrace=False,
        )
    server = expedition_session_server
    server.reset()
    path = record_path(request.config)
    if path is not None and "expedition_monitor" not in request.fixturenames:  # which records it
        from pytest_expedition.recordings.answers import to_trace

        name = _part(request)
        server.listeners.append(
            to_trace(path, url=server.url, part=lambda: f"{name}, {server.beginnings}")
        )
    yield server
    server.listeners.clear()
    server.check()


def _part(request: pytest.FixtureRequest) -> str:
    """Return a unique name for the part of a trace that a test writes."""
    from datetime import datetime, timezone

    return f"{request.node.nodeid} {datetime.now(timezone.utc).isoformat(timespec='milliseconds')}"


@pytest.fixture
def expedition_monitor(request: pytest.FixtureRequest) -> Iterator[Monitor]:
    """Fails the test if a server broke a MUST in what it answered.

    It watches ``expedition_server``, if the test uses that, and each session (of requests or httpx)
    that is passed to ``watch``.
    """
    from pytest_expedition.monitor import Monitor
    from pytest_expedition.session.settings import record_path

    monitor = Monitor(record=record_path(request.config), part=_part(request))
    if "expedition_server" in request.fixturenames:
        monitor.watch(request.getfixturevalue("expedition_server"))
    request.node.stash[_MONITOR] = monitor
    yield monitor
    monitor.stop()
    del request.node.stash[_MONITOR]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Judge what a monitor saw, as part of the test that used it."""
    try:
        yield
    except BaseException:
        broken = _end_watch(item)
        if broken:  # perhaps the test failed because of it
            item.add_report_section("call", "expedition monitor", "\n\n".join(broken))
        raise
    broken = _end_watch(item)
    if broken:
        pytest.fail("\n\n".join(broken), pytrace=False)


def _end_watch(item: pytest.Item) -> list[str]:
    """Return the story of each MUST that the test's monitor saw broken."""
    monitor = item.stash.get(_MONITOR, None)
    if monitor is None:
        return []
    monitor.stop()
    return monitor.broken()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses ``expedition_scenario`` once in each scenario."""
    if "expedition_scenario" in metafunc.fixturenames:
        from pytest_expedition.clients.choice import ChoiceError, choose

        chosen: list[tuple[str, DialectName | None]] = []
        try:
            chosen = choose(metafunc.definition.iter_markers(SCENARIOS_MARKER))
        except ChoiceError as error:  # raised here, pytest would print tracebacks
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
) -> Iterator[ExpeditionScenario]:
    """Runs a test once in each scenario; ``check`` judges what the client does there."""
    from pytest_expedition.clients.harness import Harness
    from pytest_expedition.clients.scenario import ExpeditionScenario

    if not hasattr(request, "param"):
        pytest.fail(WITHOUT_SCENARIOS, pytrace=False)
    scenario_id, dialect = request.param
    harness = Harness(expedition_server)
    scenario = ExpeditionScenario(scenario_id, harness, dialect=dialect, strict=expedition_strict)
    request.node.stash[_SCENARIO] = scenario
    yield scenario
    harness.close()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail a test that passed without a call of ``check`` or another way to run the client."""
    result = yield
    scenario = pyfuncitem.stash.get(_SCENARIO, None)
    if scenario is not None and not scenario.results:
        pytest.fail(
            "expedition_scenario was not used: call expedition_scenario.check(…)", pytrace=False
        )
    return result


@pytest.fixture(scope="session")
def expedition_target(pytestconfig: pytest.Config) -> Iterator[Target]:
    """The instance that the contract suite judges. Override it to describe a target in Python.

    The default is the instance of `--expedition-url` or `--expedition-config`, or else a fake
    instance in this process.
    """
    from pytest_expedition.session.settings import live_target, require_no_other_target

    try:
        live = live_target(pytestconfig)
    except pytest.UsageError as error:  # a worker of pytest-xdist checks only here
        pytest.fail(str(error), pytrace=False)
    if live is not None:
        yield live
        return
    require_no_other_target(pytestconfig)
    from pytest_expedition.suite.embedded import embedded_target

    with embedded_target() as target:
        yield target


@pytest.fixture(scope="session")
def expedition_conformance(expedition_target: Target, request: pytest.FixtureRequest) -> RunRecord:
    """What the contract suite found out about ``expedition_target``.

    The workers of pytest-xdist share the run; each has a fake instance of its own.
    """
    from pytest_expedition.contract.run import judge_target

    return judge_target(expedition_target, request)


@pytest.fixture(scope="session")
def expedition_strict(pytestconfig: pytest.Config) -> bool:
    """Whether the test of a broken SHOULD fails, too: `--expedition-strict`."""
    from pytest_expedition.session.settings import strict

    return strict(pytestconfig)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach what a test found out to its test report."""
    report = yield
    if _SCENARIO in item.stash and report.when == "call":
        setattr(report, FOUND, item.stash[_SCENARIO].entry)
    elif _is_contract(item):
        from pytest_expedition.contract.run import found_out

        setattr(report, FOUND, found_out(item, report, call))
    return report
