"""Clients that are programs: run in a scenario, and judged by requests and exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pytest_expedition import validate
from pytest_expedition.cli import main
from pytest_expedition.clients.catalogue import SCENARIOS
from pytest_expedition.clients.program import Program, try_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_expedition.oracle.verdict import Result

PROGRAM = """
import json, os, signal, sys, time, urllib.error, urllib.request

url, key = sys.argv[1:3]
job_id = None

def ask(method, path):
    request = urllib.request.Request(
        f"{url}/api/v1/{path}", method=method, headers={"Authorization": f"Bearer {key}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        content = json.load(answer)["Contents"]["response"]["data"]["content"]
    return content.get("system", {}).get("jobs") or content.get("msg") or content

def cancel(*_):
    if job_id is not None:
        ask("DELETE", f"job/{job_id}")

signal.signal(signal.SIGINT, cancel)
"""

GOOD = """
try:
    job_id = ask("POST", "project/1/import")["jobId"]
except Exception:
    sys.exit(4)
for _ in range(300):
    try:
        job = ask("GET", f"job/status/{job_id}")
    except OSError:
        job = {"state": None}
    if job["state"] == -1:
        sys.exit(3)
    if job["state"] == 1:
        sys.exit(2 if job["JobMsg"]["statusCode"] == -1 else 0)
    time.sleep(0.25)
sys.exit(4)
"""

EXITS = {2: "failed", 3: "cancelled", 4: "gave-up"}


def program(code: str, **options: object) -> Program:
    command = [sys.executable, "-c", PROGRAM + textwrap.dedent(code), "{url}", "{key}"]
    given = {"exits": EXITS, "cancel_signal": signal.SIGINT, "limit_seconds": 30, **options}
    return Program(command=command, **given)  # type: ignore[arg-type]


def broken(results: Sequence[Result]) -> set[str]:
    return {
        each.requirement.id.removeprefix("client.")
        for each in results
        if each.outcome in {"fail", "error"}
    }


@pytest.mark.parametrize(
    "scenario",
    [
        "two-jobs",
        "two-jobs-cancelled",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in (
                "ordinary",
                "fails",
                "cancelled-by-another",
                "cancel-granted",
                "creation-lost",
                "status-lost",
            )
        ),
    ],
)
def test_a_good_program_copes(scenario: str) -> None:
    tried = try_program(program(GOOD), SCENARIOS[scenario].situation)
    assert not broken(tried.results), tried.output
    assert len(tried.transcript.calls) == SCENARIOS[scenario].situation.jobs


def test_a_program_that_sends_nothing_has_failed() -> None:
    tried = try_program(program("sys.exit(0)"), SCENARIOS["ordinary"].situation)
    assert tried.transcript.steps == []
    assert "fail" in {each.outcome for each in tried.results}


@pytest.mark.parametrize(
    ("scenario", "code", "breaks"),
    [
        (
            "cancelled-by-another",
            """
            job_id = ask("POST", "project/1/import")["jobId"]
            while ask("GET", f"job/status/{job_id}")["state"] != 1:
                time.sleep(0.1)
            """,
            {"stops-on-cancel"},
        ),
        (
            "fails",
            """
            job_id = ask("POST", "project/1/import")["jobId"]
            while ask("GET", f"job/status/{job_id}")["state"] != 1:
                time.sleep(0.25)
            """,
            {"sees-failure"},
        ),
        (
            "creation-lost",
            """
            try:
                job_id = ask("POST", "project/1/import")["jobId"]
            except Exception:
                job_id = ask("POST", "project/1/import")["jobId"]
            while ask("GET", f"job/status/{job_id}")["state"] != 1:
                time.sleep(0.25)
            """,
            {"creates-once"},
        ),
        (
            "ordinary",
            """
            job_id = ask("POST", "project/1/import")["jobId"]
            while ask("GET", f"job/status/{job_id}")["state"] != 1:
                pass
            """,
            {"does-not-hammer"},
        ),
        (
            "status-lost",
            GOOD.replace("except OSError", "except ZeroDivisionError"),
            {"survives-outages"},
        ),
    ],
    ids=["goes on for ever", "failure as success", "creates twice", "hammers", "gives up"],
)
def test_a_broken_program_is_caught(scenario: str, code: str, breaks: set[str]) -> None:
    tried = try_program(program(code), SCENARIOS[scenario].situation)
    assert breaks <= broken(tried.results), tried.output


CRASHES = """
job_id = ask("POST", "project/1/import")["jobId"]
ask("GET", f"job/status/{job_id}")
"""


@pytest.mark.parametrize(
    ("code", "breaks"),
    [
        ("{}['state']", {"understands-answers"}),
        ("json.loads('')", {"understands-answers"}),
        ("os.kill(os.getpid(), signal.SIGSEGV)", {"understands-answers"}),
        ("raise RuntimeError('it takes too long')", {"is-patient"}),
        ("sys.exit(1)", {"is-patient"}),
    ],
)
def test_a_program_that_crashes_did_not_understand_an_answer(code: str, breaks: set[str]) -> None:
    tried = try_program(program(CRASHES + code), SCENARIOS["ordinary"].situation)
    assert broken(tried.results) == breaks, tried.output


def test_a_program_that_was_killed_is_not_said_to_be_fine(
    script: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["client", "--scenario=agent-stopped", "--limit=3", *script]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(
        "agent-stopped             killed before it had said how the job ended  ("
    )


def test_a_broken_should_is_not_said_to_have_failed(capsys: pytest.CaptureFixture[str]) -> None:
    code = PROGRAM + CRASHES
    arguments = ["--scenario=ordinary", "--exit=0=gave-up", "--", sys.executable, "-c", code]
    assert main(["client", *arguments, "{url}", "{key}"]) == 0
    assert capsys.readouterr().out.startswith("ordinary                  SHOULD broken  (")


@pytest.mark.long
def test_a_program_that_does_not_end_is_killed_with_all_that_it_has_started(
    tmp_path: Path,
) -> None:
    pid = tmp_path / "pid"
    code = f"""
    import pathlib, subprocess
    job_id = ask("POST", "project/1/import")["jobId"]
    while ask("GET", f"job/status/{{job_id}}")["state"] != 1:
        time.sleep(0.25)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path({str(pid)!r}).write_text(str(child.pid))
    print("waiting", flush=True)
    child.wait()
    """
    tried = try_program(program(code, limit_seconds=6), SCENARIOS["ordinary"].situation)
    assert broken(tried.results) == {"stops-when-finished"}
    assert tried.transcript.calls[0].said.how == (
        "did not end within 6 s, and was killed (--limit, limit_seconds)"
    )
    assert "waiting" in tried.output
    for _ in range(1000):
        try:
            os.kill(int(pid.read_text()), 0)
        except ProcessLookupError:
            break
        time.sleep(0.01)
        with open(f"/proc/{pid.read_text()}/stat", encoding="ascii") as stat:  # noqa: PTH123
            if stat.read().rpartition(")")[2].split()[0] == "Z":  # killed, and not yet waited for
                break
    else:
        pytest.fail("what the program had started still runs")


def pipe_and_program(folder: Path) -> tuple[Path, str]:
    """Make a pipe, and the code of a program that writes its process id there and goes on."""
    pipe = folder / "pid"
    os.mkfifo(pipe)
    write = f"open({str(pipe)!r}, 'w').write(str(os.getpid()))"
    return pipe, f"import os, time; {write}; time.sleep(600)"


@pytest.mark.parametrize(
    "ending",
    ["SIGTERM", *(pytest.param(each, marks=pytest.mark.long) for each in ("SIGINT", "SIGHUP"))],
)
def test_the_command_client_leaves_no_program_behind(ending: str, tmp_path: Path) -> None:
    pipe, code = pipe_and_program(tmp_path)
    command = [sys.executable, "-m", "pytest_expedition.cli", "client", "--scenario=ordinary", "--"]
    with subprocess.Popen(
        [*command, sys.executable, "-c", code], stderr=subprocess.PIPE, text=True
    ) as process:
        program_id = int(pipe.read_text())
        process.send_signal(getattr(signal, ending))
        assert process.communicate(timeout=30)[1] == "pytest-expedition: interrupted\n"
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(program_id, 0)


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.parametrize(
    "ending",
    ["SIGTERM", *(pytest.param(each, marks=pytest.mark.long) for each in ("SIGINT", "SIGHUP"))],
)
def test_a_test_that_is_ended_leaves_no_program_behind(ending: str, tmp_path: Path) -> None:
    pipe, code = pipe_and_program(tmp_path)
    test = f"""
        import pytest

        @pytest.mark.expedition_scenarios("ordinary")
        def test_program(expedition_scenario):
            expedition_scenario.run([{sys.executable!r}, "-c", {code!r}])
    """
    (tmp_path / "test_program.py").write_text(textwrap.dedent(test), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_program.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        program_id = int(pipe.read_text())
        process.send_signal(getattr(signal, ending))
        output = process.communicate(timeout=30)[0]
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert ending == "SIGINT" or f"Exit: ended by {ending}" in output
    with pytest.raises(ProcessLookupError):
        os.kill(program_id, 0)


def test_an_exit_status_that_is_not_named_is_not_held_against_it() -> None:
    tried = try_program(program(GOOD, exits={}), SCENARIOS["fails"].situation)
    assert not broken(tried.results)
    (call,) = tried.transcript.calls
    assert call.said.words == {"failed", "cancelled", "gave-up"}
    assert call.said.how == "ended with exit status 2"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"command": "./run.sh"}, "command must be a list of texts, got './run.sh'"),
        ({"exits": {1: "broken"}}, "exit status 1 cannot mean 'broken': must be one of finished"),
        ({"cancel_signal": 9}, "cancel_signal = 9: must be a signal that a program can handle"),
        ({"cancel_signal": 999}, "cancel_signal = 999: must be a signal that a program can handle"),
        ({"limit_seconds": 0}, "limit_seconds must be a number above 0, got 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        Program(**{"command": ["true"], **options})  # type: ignore[arg-type]


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    path = tmp_path / "client.py"
    path.write_text(PROGRAM + GOOD, encoding="utf-8")
    return ["--", sys.executable, str(path), "{url}", "{key}"]


def test_the_command_client_judges_a_program_in_several_scenarios(
    script: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    scenarios = ["--scenario=fails", "--scenario=ordinary", "--scenario=cancel-granted"]
    exits = ["--exit=2=failed", "--exit=3=cancelled"]
    assert main(["client", *scenarios, *exits, f"--report={report}", *script]) == 0
    written, said = capsys.readouterr()
    assert said.endswith(f"report written to {report}\n")
    assert "fails                     ok" in written
    assert "not tested: cancel-granted: no signal is given" in written
    assert "its job (--cancel-signal)\n" in written
    document = json.loads(report.read_text(encoding="utf-8"))
    validate(document, "report")
    outcomes = {each["id"]: each["outcome"] for each in document["requirements"]}
    assert outcomes["client.sees-failure"] == outcomes["client.sees-success"] == "pass"


def test_the_command_client_may_be_run_in_a_thread(script: list[str]) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, ["client", "--scenario=ordinary", *script]).result() == 0


def test_the_command_client_tells_what_is_broken(
    script: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["client", "--scenario=fails", "--exit=2=finished", *script]) == 1
    written = capsys.readouterr().out
    assert "The job failed, but the client ended with exit status 2." in written
    assert "verdict: non-conformant" in written


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--scenario=ordinry", "--", "true"], 2, "did you mean ordinary?"),
        (["--without=ordinry", "--", "true"], 2, "did you mean ordinary?"),
        (["--scenario=fails", "--without=fails", "--", "true"], 2, "no scenario is left"),
        (["--exit=two", "--", "true"], 2, "'two' must be an exit status and what it means"),
        (["--cancel-signal=NONE", "--", "true"], 2, "'NONE' is not a signal: must be "),
        (["--cancel-signal=KILL", "--", "true"], 2, "'KILL' is a signal that no program can"),
        (["--dialect=php", "--", "true"], 2, "'php' must be one of system, msg, data"),
        (["--limit=0", "--", "true"], 2, "must be a number of seconds above 0"),
        (["--side-by-side=0", "--", "true"], 2, "'0' must be a number above 0"),
        (["--scenario=fails", "--", "./is-not-there"], 4, "the command cannot be run"),
    ],
)
def test_what_the_command_client_cannot_do_is_said(
    arguments: list[str], status: int, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        left_with = main(["client", *arguments])
    except SystemExit as error:
        left_with = int(str(error.code))
    assert left_with == status
    assert complaint in capsys.readouterr().err


def test_a_test_runs_a_program_in_every_scenario_that_it_chooses(
    pytester: pytest.Pytester, script: list[str]
) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.expedition_scenarios("fails", "cancel-granted", "random", "ordinary")
        def test_import(expedition_scenario):
            expedition_scenario.run({script[1:]!r}, exits={{2: "gave-up"}})
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rs")
    result.assert_outcomes(failed=1, skipped=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*The job failed, but the client ended with exit status 2.*",
            "*not-tested: no signal is given that makes the program cancel its job*",
        ]
    )


def test_of_a_program_that_sends_nothing_it_is_asked_whether_it_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [sys.executable, "-c", "pass", "{url}"]
    assert main(["client", "--scenario=ordinary", "--", *command]) == 1
    assert "does the program start" in capsys.readouterr().out
