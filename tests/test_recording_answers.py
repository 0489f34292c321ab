"""What a fake instance of this process answers is written to a trace, or to the terminal."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from pytest_expedition.cli import main
from pytest_expedition.clients.catalogue import SCENARIOS
from pytest_expedition.recordings.answers import TraceError, to_terminal, to_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition import ExpeditionServer

CLIENT = """
    import pytest, requests

    def run_job(server, sleep=lambda _: None):
        session = requests.Session()
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {server.api_key}"
        url = f"{server.url}/api/v1"

        def start():
            answer = session.post(f"{url}/project/1/import").json()
            return answer["Contents"]["response"]["data"]["content"]["system"]["jobs"]["jobId"]

        def wait(job):
            while True:
                answer = session.get(f"{url}/job/status/{job}").json()
                state = answer["Contents"]["response"]["data"]["content"]["system"]["jobs"]["state"]
                if state in (1, -1):
                    return {1: "finished", -1: "cancelled"}[state]
                sleep(5)

        return start, wait
"""

CREATES_A_JOB = [
    sys.executable,
    "-c",
    textwrap.dedent("""
        import sys, urllib.request
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        key = {"Authorization": f"Bearer {sys.argv[2]}"}
        url = f"{sys.argv[1]}/api/v1/project/1/import"
        opener.open(urllib.request.Request(url, method="POST", headers=key)).read()
        sys.exit(1)
    """),
    "{url}",
    "{key}",
]

TWO = ("-p", "xdist", "-n", "2")


def judged(trace: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["check", str(trace)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("fixture", "workers"),
    [
        pytest.param("expedition_server", (), id="expedition_server-one"),
        pytest.param("expedition_server", TWO, id="expedition_server-two", marks=pytest.mark.long),
        pytest.param("expedition_scenario", (), id="expedition_scenario-one"),
        pytest.param(
            "expedition_scenario", TWO, id="expedition_scenario-two", marks=pytest.mark.long
        ),
    ],
)
def test_what_the_fixtures_answered_is_recorded(
    pytester: pytest.Pytester,
    fixture: str,
    workers: tuple[str, ...],
) -> None:
    test = {
        "expedition_server": """
            @pytest.mark.parametrize("number", range(3))
            def test_it(expedition_server, number):
                start, wait = run_job(expedition_server)
                assert wait(start()) == "finished"
                expedition_server.reset()
                assert wait(start()) == "finished"
        """,
        "expedition_scenario": """
            @pytest.mark.expedition_scenarios("ordinary", "cancelled-by-another", "two-jobs")
            def test_it(expedition_scenario):
                start, wait = run_job(expedition_scenario, expedition_scenario.sleep)
                expedition_scenario.check(start, wait)
        """,
    }[fixture]
    pytester.makepyfile(textwrap.dedent(CLIENT) + textwrap.dedent(test))
    result = pytester.runpytest_inprocess("--expedition-record=trace.jsonl", *workers)
    result.assert_outcomes(passed=3)
    trace = pytester.path / "trace.jsonl"
    text = trace.read_text(encoding="utf-8")
    assert text.count('"kind": "create"') == {"expedition_server": 6}.get(fixture, 4)
    assert "fake-expedition-key" not in text


def test_jobs_before_and_after_a_reset_are_recorded_apart(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their ids are the same."""
    test = """
        from pytest_expedition import Situation

        def test_it(expedition_server):
            run_job(expedition_server)[0]()
            expedition_server.reset()
            run_job(expedition_server)[0]()
            expedition_server.play(Situation())
            run_job(expedition_server)[0]()
    """
    pytester.makepyfile(textwrap.dedent(CLIENT) + textwrap.dedent(test))
    pytester.runpytest_inprocess("--expedition-record=trace.jsonl").assert_outcomes(passed=1)
    assert "3 jobs, 3 requests" in judged(pytester.path / "trace.jsonl", capsys)


def test_a_cancel_by_another_user_is_seen_by_a_monitor_and_recorded(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it, a correct server seems to cancel a job by itself."""
    test = """
        from pytest_expedition import Situation

        def test_it(expedition_server, expedition_monitor):
            expedition_server.play(Situation(cancelled_after=15))
            start, wait = run_job(expedition_server, expedition_server.advance)
            assert wait(start()) == "cancelled"
            assert [each.method for each in expedition_server.requests].count("DELETE") == 0
    """
    pytester.makepyfile(textwrap.dedent(CLIENT) + textwrap.dedent(test))
    pytester.runpytest_inprocess("--expedition-record=trace.jsonl").assert_outcomes(passed=1)
    trace = pytester.path / "trace.jsonl"
    assert trace.read_text(encoding="utf-8").count('"kind": "cancel"') == 1
    assert "fake-expedition-key" not in trace.read_text(encoding="utf-8")
    assert "verdict: inconclusive" in judged(trace, capsys)


def test_a_recording_of_every_scenario_shows_a_correct_server(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    pytester.makepyfile(
        "from test_scenarios import test_the_model_client_copes_with_every_scenario"
    )
    pytester.runpytest_inprocess("--expedition-record=trace.jsonl").assert_outcomes(
        passed=len(SCENARIOS)
    )
    assert "MUST   fail" not in judged(pytester.path / "trace.jsonl", capsys)


def test_a_test_with_a_monitor_records_each_request_once(pytester: pytest.Pytester) -> None:
    test = """
        def test_it(expedition_server, expedition_monitor):
            start, wait = run_job(expedition_server)
            assert wait(start()) == "finished"
    """
    pytester.makepyfile(textwrap.dedent(CLIENT) + textwrap.dedent(test))
    pytester.runpytest_inprocess("--expedition-record=trace.jsonl").assert_outcomes(passed=1)
    text = (pytester.path / "trace.jsonl").read_text(encoding="utf-8")
    assert text.count('"kind": "create"') == 1
    assert text.count('"kind": "status"') == 5


@pytest.fixture
def serve() -> Callable[..., tuple[str, str, int]]:
    """Run `serve` and send it some requests; return its URL, standard error and exit status."""

    def run(*options: str) -> tuple[str, str, int]:
        command = [sys.executable, "-m", "pytest_expedition.cli", "serve", *options]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        ) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip().partition("=")[2]
            key = process.stdout.readline().strip().partition("=")[2]
            try:
                with requests.Session() as session:
                    session.trust_env = False
                    session.headers["Authorization"] = f"Bearer {key}"
                    session.post(f"{url}/api/v1/project/1/import", timeout=10)
                    session.get(f"{url}/api/v1/job/status/1619", timeout=10)
                    session.get(f"{url}/api/v1/version", timeout=10)
            finally:
                process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        return url, errors, process.returncode

    return run


def test_serve_records_what_it_answered(
    serve: Callable[..., tuple[str, str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.jsonl"
    url, errors, status = serve("--record", str(trace))
    assert (errors, status) == ("", 0)
    assert url in judged(trace, capsys)


def test_serve_writes_a_line_about_each_request(
    serve: Callable[..., tuple[str, str, int]],
) -> None:
    _, errors, _ = serve("--log")
    said = [line.split(" ", 1)[1] for line in errors.splitlines()]
    assert said[0] == "POST /api/v1/project/1/import → 200, state 0"
    assert said[1].startswith("GET /api/v1/job/status/1619 → 200, state 0")
    assert said[2] == "GET /api/v1/version → 404"


FULL = "the trace /dev/full cannot be written: No space left on device"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
class TestWhereTheTraceCannotBeWritten:
    def test_serve_says_so_and_answers(self, serve: Callable[..., tuple[str, str, int]]) -> None:
        assert serve("--record", "/dev/full")[1:] == (f"pytest-expedition: {FULL}\n", 3)

    def test_no_client_is_accused(self, capsys: pytest.CaptureFixture[str]) -> None:
        options = ["--scenario=ordinary", "--record=/dev/full"]
        assert main(["client", *options, "--", *CREATES_A_JOB]) == 3
        assert capsys.readouterr() == ("", f"pytest-expedition: {FULL}\n")

    def test_a_test_is_told_at_its_end(
        self, expedition_server: ExpeditionServer, call: Callable[..., requests.Response]
    ) -> None:
        expedition_server.listeners.append(to_trace(Path("/dev/full"), url=expedition_server.url))
        for _ in range(2):
            assert call("POST", "project/1/import").status_code == 200
        with pytest.raises(TraceError, match=FULL):
            expedition_server.check()
        expedition_server.clear()


def test_a_log_that_cannot_be_written_is_left_out(
    expedition_server: ExpeditionServer,
    call: Callable[..., requests.Response],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("sys.stderr", Closed())
    expedition_server.listeners.append(to_terminal)
    assert call("POST", "project/1/import").status_code == 200
    expedition_server.check()


def test_a_record_that_cannot_be_written_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "there-is-no-such-folder" / "trace.jsonl"
    assert main(["client", "--record", str(trace), "--", "true"]) == 4
    assert f"{trace} cannot be written: No such file" in capsys.readouterr().err


def test_the_command_client_records_each_scenario_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.jsonl"
    scenarios = ["--scenario=ordinary", "--scenario=fails"]
    main(["client", *scenarios, "--record", str(trace), "--", *CREATES_A_JOB])
    assert trace.read_text(encoding="utf-8").count('"kind": "create"') == 2
    assert "create.unique-id" in judged(trace, capsys)
