"""A session has one run: no plugin, option or environment multiplies what its limits allow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_plugin import BROKEN_TARGET, LETS_ANYBODY_IN, SLIPS_BACK, SMOKE, report_of

from pytest_expedition import contract
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.suite.search import Search

if TYPE_CHECKING:
    from pytest_expedition import ExpeditionServer

SMOKE_JOBS = 4
ALL = len(CATALOGUE)


@pytest.fixture(autouse=True)
def live(
    pytester: pytest.Pytester, expedition_server: ExpeditionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment names an instance."""
    expedition_server.clock.seconds_per_poll = 4
    expedition_server.instance.set_pace(20)
    monkeypatch.setenv("EXPEDITION_URL", expedition_server.url)
    monkeypatch.setenv("EXPEDITION_API_KEY", expedition_server.api_key)
    assert pytester.path.is_dir()


def test_forked_tests_are_refused(
    pytester: pytest.Pytester, expedition_server: ExpeditionServer
) -> None:
    pytest.importorskip("pytest_forked")
    result = pytester.runpytest_inprocess(*SMOKE, "-p", "pytest_forked", "--forked")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: the tests of the contract share one run, *remove --forked*"]
    )
    assert expedition_server.requests == []


def test_a_marker_that_forks_tests_is_refused(
    pytester: pytest.Pytester, expedition_server: ExpeditionServer
) -> None:
    pytest.importorskip("pytest_forked")
    pytester.makeconftest(
        "import pytest\n"
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items: item.add_marker(pytest.mark.forked)\n"
    )
    result = pytester.runpytest_inprocess(*SMOKE, "-p", "pytest_forked", "-k", "create")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: the tests of the contract share one run, *marker `forked`"]
    )
    assert expedition_server.requests == []


@pytest.mark.parametrize("option", ["-f", "--looponfail"])
def test_a_run_for_each_change_of_a_file_is_refused(
    pytester: pytest.Pytester, expedition_server: ExpeditionServer, option: str
) -> None:
    pytest.importorskip("xdist")
    result = pytester.runpytest_subprocess(*SMOKE, "-p", "xdist.looponfail", option, timeout=60)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: the contract is run once: with --looponfail *"])
    assert expedition_server.requests == []


@pytest.mark.parametrize(
    ("plugin", "options"),
    [
        ("pytest_rerunfailures", ["--reruns=2"]),
        pytest.param("pytest_repeat", ["--count=2"], marks=pytest.mark.long),
        pytest.param(
            "pytest_repeat", ["--count=2", "--repeat-scope=session"], marks=pytest.mark.long
        ),
    ],
)
def test_tests_that_run_again_share_the_one_run(
    pytester: pytest.Pytester,
    expedition_server: ExpeditionServer,
    plugin: str,
    options: list[str],
) -> None:
    pytest.importorskip(plugin)
    result = pytester.runpytest_inprocess(*SMOKE, "-p", plugin, *options)
    assert result.ret == 0
    assert len(expedition_server.jobs) == SMOKE_JOBS


def test_a_run_that_broke_down_is_not_run_again(
    pytester: pytest.Pytester, expedition_server: ExpeditionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError

    pytest.importorskip("pytest_rerunfailures")
    monkeypatch.setattr(Search, "_try", breaks)
    result = pytester.runpytest_inprocess(
        *SMOKE, "-k", "create.envelope", "-p", "pytest_rerunfailures", "--reruns=2"
    )
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*the run of this session has already ended*"])
    assert expedition_server.jobs == []


@pytest.mark.parametrize(
    "options",
    ["-n 2", "--tx 2*popen --dist load", "--tx 2*popen --dist each"],
)
def test_several_processes_are_refused_wherever_they_are_asked_for(
    pytester: pytest.Pytester,
    expedition_server: ExpeditionServer,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", f"-p expedition -p xdist {options}")
    result = pytester.runpytest_inprocess(*SMOKE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "a live instance is judged by one process" in result.stderr.str()
    assert expedition_server.requests == []


@pytest.mark.long
def test_a_path_instead_of_the_name_creates_no_jobs_by_several_processes_either(
    pytester: pytest.Pytester, expedition_server: ExpeditionServer
) -> None:
    pytester.makepyfile(
        test_mine="from pytest_expedition.contract.test_contract import test_requirement"
    )
    result = pytester.runpytest_subprocess("-p", "xdist", "-n", "2")
    assert result.ret != 0
    assert expedition_server.requests == []


# A verdict on a selection


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no instance."""
    monkeypatch.delenv("EXPEDITION_URL")


@pytest.mark.usefixtures("embedded")
def test_a_selection_that_holds_is_not_conformant(pytester: pytest.Pytester) -> None:
    selected = [name for name in CATALOGUE if "create" in name]
    others = [name for name in CATALOGUE if name not in selected]
    result, document = report_of(pytester, "-k", "create")
    assert result.ret == 0
    assert document["verdict"] == "inconclusive"
    assert [entry["id"] for entry in document["requirements"]] == selected
    assert document["not_selected"] == others
    part = f"{len(selected)} of {ALL} requirements"
    summary = [f"{part}: *", f"verdict: inconclusive (on {part})"]
    result.stdout.fnmatch_lines(summary)


@pytest.mark.usefixtures("embedded")
def test_a_broken_must_shows_though_its_test_is_not_selected(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(SLIPS_BACK)
    result, document = report_of(pytester, "-k", "create")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert document["verdict"] == "non-conformant"
    (entry,) = [x for x in document["requirements"] if x["id"] == "status.monotonic"]
    assert entry["evidence"]
    result.stdout.fnmatch_lines(
        [
            "This breaks status.monotonic (MUST, stated): *",
            "also broken, though not selected: *status.monotonic*",
            "verdict: non-conformant (on * of * requirements)",
        ]
    )


@pytest.mark.usefixtures("embedded")
def test_a_session_that_stops_at_the_first_failure_says_what_its_verdict_is_about(
    pytester: pytest.Pytester,
) -> None:
    body = "def state(self, job): return super().state(job) * (0.5 if job.polls % 2 else 1)"
    pytester.makeconftest(BROKEN_TARGET.format(body=body))
    result, document = report_of(pytester, "-x", "-p", "no:randomly")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert document["verdict"] == "non-conformant"
    broken = {x["id"] for x in document["requirements"] if x["outcome"] == "fail"}
    assert broken - {*document["not_selected"]}
    assert "cancel.isolation" in broken & {*document["not_selected"]}


def test_what_ends_the_collection_is_told_as_it_is(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(*SMOKE, "no_such_test.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = result.stderr.str()
    assert "not found: no_such_test.py" in told
    assert "hidden" not in told


def test_ctrl_c_ends_the_collection(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(interrupts="def pytest_collect_file(): raise KeyboardInterrupt")
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess("-p", "interrupts", *SMOKE, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "hidden" not in result.stderr.str()


def test_of_an_option_that_hides_the_contract_only_the_kind_is_told(
    pytester: pytest.Pytester,
) -> None:
    """The usual python_functions, `test`, is a prefix."""
    result = pytester.runpytest_inprocess(
        *SMOKE, f"--ignore={Path(contract.__file__).with_name('test_contract.py')}"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = result.stderr.str()
    assert "they are hidden by an option that hides tests, such as --ignore" in told


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(
    ("name", "value"), [("python_files", "check_*.py"), ("python_functions", "check_*")]
)
def test_rules_of_collection_that_hide_the_contract_are_named(
    pytester: pytest.Pytester, name: str, value: str
) -> None:
    pytester.makeini(f"[pytest]\n{name} = {value}\n")
    result = pytester.runpytest_inprocess(*SMOKE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = result.stderr.str()
    assert "pytest collected no test of pytest_expedition.contract: they are hidden by" in told
    assert f"{name} = {value!r} (add `-o {name}=test_*" in told


@pytest.mark.usefixtures("embedded")
def test_runxfail_lets_a_should_fail(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(LETS_ANYBODY_IN)
    result = pytester.runpytest_inprocess(*SMOKE, "--runxfail")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=ALL - 6, failed=1, skipped=5)


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(("value", "status"), [("true", 1), ("false", 0)])
def test_strict_may_be_a_boolean_of_toml(
    pytester: pytest.Pytester, value: str, status: int
) -> None:
    pytester.makeconftest(LETS_ANYBODY_IN)
    if pytest.version_tuple >= (9, 0):
        (pytester.path / "pytest.toml").write_text(f"[pytest]\nexpedition_strict = {value}\n")
    else:
        pytester.makeini(f"[pytest]\nexpedition_strict = {value}\n")
    assert pytester.runpytest_inprocess(*SMOKE).ret == status


def test_a_setting_of_the_ini_file_that_is_no_boolean_is_named(pytester: pytest.Pytester) -> None:
    path = pytester.makeini("[pytest]\nexpedition_strict = maybe\n")
    result = pytester.runpytest_inprocess(*SMOKE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {path}: expedition_strict: invalid truth value 'maybe'"])


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [["-k", "create.envelope"], ["-k", "no such test"]],
)
def test_the_command_judges_an_instance_and_has_the_exit_status_of_pytest(
    pytester: pytest.Pytester, expedition_server: ExpeditionServer, options: list[str]
) -> None:
    smoke = [*options, "--expedition-profile=smoke"]
    same = pytester.runpytest_subprocess(*SMOKE, *options)
    command = [sys.executable, "-m", "pytest_expedition.cli", "test", expedition_server.url]
    assert pytester.run(*command, *smoke).ret == same.ret


@pytest.mark.long
@pytest.mark.parametrize(
    "order",
    [
        "-v URL -k create.envelope",
        "--expedition-profile smoke URL -k create.envelope",
        "-k create.envelope -v --expedition-url URL",
    ],
)
def test_the_command_takes_the_url_anywhere_among_the_options(
    pytester: pytest.Pytester, expedition_server: ExpeditionServer, order: str
) -> None:
    arguments = order.replace("URL", expedition_server.url).split()
    command = [sys.executable, "-m", "pytest_expedition.cli", "test", *arguments]
    result = pytester.run(*command, "--expedition-profile=smoke")
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"{expedition_server.url}, dialect system: *"])
