"""The command: a fake instance as a process of its own, and the suite against it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import requests
from test_plugin import SMOKE

from pytest_expedition.catalogues import CATALOGUES
from pytest_expedition.cli import main
from pytest_expedition.clients.catalogue import SCENARIOS
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.odd import ODD
from pytest_expedition.protocol.requirements import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVE = (sys.executable, "-m", "pytest_expedition.cli", "serve")


@pytest.mark.parametrize(
    "ending",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)],
)
def test_a_server_in_the_background_of_a_script_can_be_ended(ending: signal.Signals) -> None:
    ignoring_interrupts = ("sh", "-c", 'trap "" INT; exec "$@"', "sh", *SERVE)
    with subprocess.Popen(ignoring_interrupts, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        process.send_signal(ending)
        assert process.wait(10) == 0


@pytest.mark.long
def test_a_server_may_outlive_its_terminal() -> None:
    command = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh", *SERVE)  # what nohup does
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().partition("=")[2]
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(10):
                assert session.get(url, timeout=10).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_serve_says_that_no_client_sent_a_request() -> None:
    """Two signals may come: `timeout -s INT` sends one to the process, and one to its group."""
    command = [*SERVE, "--scenario=two-jobs"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for each in (signal.SIGINT, signal.SIGTERM):
            process.send_signal(each)
        assert "No client sent a request." in process.stdout.read()
        assert process.wait(10) == 1


def test_a_scenario_is_told_with_what_a_good_client_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for scenario in SCENARIOS.values():
        assert main(["list", "scenarios", scenario.id]) == 0
        assert capsys.readouterr().out == (
            f"{scenario.id}\n    the situation: {scenario.text}\n"
            f"    a good client: {scenario.good}\n"
        )


@pytest.mark.parametrize("name", CATALOGUES)
def test_every_entry_of_a_catalogue_is_listed_in_a_line(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", name]) == 0
    printed = capsys.readouterr().out.splitlines()
    catalogue = CATALOGUES[name]()
    assert [line.split("  ")[0] for line in printed] == [row[0] for row in catalogue.rows]
    for row, line in zip(catalogue.rows, printed, strict=True):
        assert all(row[catalogue.columns.index(told)] in line for told in catalogue.told)


def test_it_lists_servers_without_their_docstrings() -> None:
    both = "from pytest_expedition.cli import main; main(['list', 'broken']); main(['list', 'odd'])"
    command = [sys.executable, "-OO", "-c", both]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    not_shown = "(not shown: Python runs with -OO, which removes docstrings)"
    assert listed.count(not_shown) == len(BROKEN) + len(ODD)


def test_one_entry_is_listed_with_the_requirements_that_it_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "broken", "second-cancel-fails"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("second-cancel-fails\n    its defect: Cancelling a cancelled job")
    assert CATALOGUE["cancel.repeat"].text in printed
    assert "cancel-ignored" not in printed


def test_without_a_name_the_catalogues_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out.splitlines()
    *names, one, entry = (line.partition(": ") for line in printed)
    assert [name for name, _, _ in names] == list(CATALOGUES)
    for _, _, example in (one, entry):
        assert main(example.split()[1:]) == 0
    assert "broken: the broken servers" in printed


def the_suite(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    names = {"EXPEDITION_URL", "EXPEDITION_CONFIG"}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest_expedition.cli",
            "test",
            "-p",
            "no:cacheprovider",
            *arguments,
        ],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in names},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_suite_is_not_run_without_an_instance(tmp_path: pathlib.Path) -> None:
    done = the_suite(tmp_path, "-v")
    assert done.returncode == 4
    assert done.stderr.startswith("ERROR: no instance to judge: give its URL")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param("expedition_url = {url}", marks=pytest.mark.long),
        "expedition_config = target.toml",
    ],
)
def test_the_instance_may_be_named_in_the_settings_of_pytest(
    tmp_path: pathlib.Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plugins are not loaded by themselves: the command loads its own."""
    url = "http://127.0.0.1:9"
    monkeypatch.setenv("EXPEDITION_API_KEY", "key")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{setting.format(url=url)}\n")
    (tmp_path / "target.toml").write_text(
        f'url = "{url}"\n[[job]]\nname = "import"\npath = "/api/v1/project/1/import"\n'
    )
    done = the_suite(tmp_path, "--expedition-dry-run")
    assert f"{url}, profile default" in done.stdout
    assert done.returncode == 0, done.stderr


def test_the_help_of_test_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["test", "--help"])
    assert caught.value.code == 0
    assert "pytest-expedition test [-h] [URL] [ARGUMENT_OF_PYTEST ...]" in capsys.readouterr().out


@pytest.mark.parametrize("order", ["--expedition-config {file}", "--expedition-config={file} -v"])
def test_a_target_file_may_name_the_instance(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    started: list[str] = []
    monkeypatch.setattr("os.execv", lambda _, command: started.extend(command))
    monkeypatch.setattr("subprocess.call", lambda _: 0)
    arguments = order.format(file=tmp_path / "expedition.toml").split()
    main(["test", *arguments])
    assert started[-len(arguments) :] == arguments
    assert "--expedition-url" not in started


@pytest.mark.parametrize("order", ["{url}", "-v {url}", "--expedition-profile smoke {url} -x"])
@pytest.mark.parametrize(
    "url", ["127.0.0.1:9811", "localhost:80/", "192.0.2.10", "a-b.example:1/x"]
)
def test_an_address_without_http_is_taken_for_the_url(
    monkeypatch: pytest.MonkeyPatch, order: str, url: str
) -> None:
    started: list[str] = []
    monkeypatch.setattr("os.execv", lambda _, command: started.extend(command))
    monkeypatch.setattr("subprocess.call", lambda _: 0)
    main(["test", *order.format(url=url).split()])
    assert started[started.index("--expedition-url") + 1] == url
    assert started.count(url) == 1


def test_pytest_says_that_an_address_lacks_http(tmp_path: pathlib.Path) -> None:
    done = the_suite(tmp_path, "127.0.0.1:9811")
    assert done.returncode == 4
    assert "url = '127.0.0.1:9811': must begin with http:// or https://" in done.stderr


def test_the_help_of_client_says_how_often_to_poll(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["client", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "a pause of about half a second between polls" in printed


@pytest.mark.parametrize(
    ("polls_after_the_end", "exit_status", "told"),
    [
        (0, 0, "It broke no promise, as far as its requests show."),
        (3, 1, "After an answer had shown -1, it polled the job 3 times more."),
    ],
)
def test_a_client_that_is_put_in_a_scenario_by_hand_is_judged_at_the_end(
    polls_after_the_end: int, exit_status: int, told: str
) -> None:
    command = [*SERVE, "--scenario=cancelled-at-once", "--job-seconds=1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url, key = (process.stdout.readline().strip().split("=", 1)[1] for _ in range(2))
        headers = {"Authorization": f"Bearer {key}"}
        with requests.Session() as session:
            session.trust_env = False
            session.post(f"{url}/api/v1/project/1/import", headers=headers, timeout=10)
            states: list[float] = []
            while states.count(-1) <= polls_after_the_end:
                answer = session.get(f"{url}/api/v1/job/status/1619", headers=headers, timeout=10)
                content = answer.json()["Contents"]["response"]["data"]["content"]
                states.append(content["system"]["jobs"]["state"])
        process.send_signal(signal.SIGINT)
        printed, introduction = process.communicate(timeout=10)
    assert "A good client: Stops polling at -1" in introduction
    assert "A second is 40 of the scenario's." in introduction
    assert "Job 1619 was cancelled: check that the client said so." in printed
    assert told in printed
    assert process.returncode == exit_status


@contextlib.contextmanager
def serving(*options: str) -> Iterator[dict[str, str]]:
    """Run `pytest-expedition serve`; what it prints is the environment of its clients."""
    with subprocess.Popen([*SERVE, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = 3 if "--tls" in options else 2
            printed = [process.stdout.readline().strip() for _ in range(lines)]
            yield dict(line.split("=", 1) for line in printed)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0


def contract(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", *SMOKE, "-p", "no:cacheprovider", *options],
        env={**os.environ, **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.long
def test_the_suite_against_a_server_that_is_a_process_of_its_own(tmp_path: Any) -> None:
    with serving("--job-seconds=2") as environment:
        config = tmp_path / "expedition.toml"
        config.write_text(
            f"""
            url = "{environment["EXPEDITION_URL"]}"
            [[job]]
            name = "import"
            path = "/api/v1/project/1/import"
            cancellable = true
            [[job]]
            name = "export"
            path = "/api/v1/projects/1/export"
            cancellable = false
            [limits]
            job_seconds = 20
            poll_seconds = 0.05
            """
        )
        result = contract(environment, f"--expedition-config={config}")
        assert "verdict: conformant" in result.stdout
        assert result.returncode == 0
        assert environment["EXPEDITION_API_KEY"] not in result.stdout
        alone = contract(environment)  # EXPEDITION_URL is set
        assert environment["EXPEDITION_URL"] in alone.stdout
        assert alone.returncode == 0


def test_a_broken_server_is_found_out(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving("--broken=finished-with-fraction", "--job-seconds=0.5") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        result = pytester.runpytest_inprocess(*SMOKE, "--expedition-strict")
    assert result.ret == 1
    result.stdout.re_match_lines(["status.wire-number +SHOULD +fail"])


@pytest.mark.long
def test_the_suite_finds_out_the_dialect_of_a_server() -> None:
    with serving("--dialect=data", "--job-seconds=0.5") as environment:
        result = contract(environment)
    assert f"{environment['EXPEDITION_URL']}, dialect data: " in result.stdout
    assert re.search(
        r"create.initial-state +MUST +not-tested +the dialect data does not have", result.stdout
    )
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["serve", "--host="], "'' is not an address: it must be a host name or an IP address"),
        (["serve", "--host=http://x"], "'http://x' is not an address"),
        (["serve", "--port=x"], "'x' is not a port: it must be a number from 0 to 65535"),
        (["serve", "--port=65536"], "is not a port"),
        (["check", "x", "--report=none/r.json"], "'none/r.json': the folder does not exist"),
        (["serve", "--job-seconds=0"], "'0' must be a number of seconds above 0"),
        (["serve", "--job-seconds=1e-320"], "must be a number of seconds above 0, from 0.001 to"),
        (["serve", "--job-seconds=x"], "'x' must be a number of seconds above 0"),
        (["serve", "--broken=percnt"], "there is no broken server 'percnt'; did you mean percent?"),
        (
            ["serve", "--scenario=ordinry"],
            "--scenario: there is no scenario 'ordinry'; did you mean ordinary?",
        ),
        (
            ["serve", "--scenario=first-under-msg", "--dialect=data"],
            "--scenario: 'first-under-msg' cannot happen in the dialect 'data'",
        ),
        (
            ["serve", "--scenario=fails", "--broken=percent"],
            "--broken and --scenario do not work together",
        ),
        (["list", "broken", "laging-replica"], "no entry 'laging-replica'; did you mean lagging-"),
        (["list", "odd", "zzz"], "odd has no entry 'zzz'; `pytest-expedition list odd` has all"),
        (["check", "x", "--report=/proc/r.json"], "'/proc/r.json': cannot be written: "),
        *(
            ([*command, ""], "is empty: give the name of a file")
            for command in (
                ["check"],
                ["check", "x", "--config"],
                ["compare", "x"],
                ["serve", "--answers"],
                ["serve", "--record"],
            )
        ),
        (["serve", "--broken="], "--broken: there is no broken server ''"),
        (["serve", "--broken=zzz"], "'zzz'; `pytest-expedition list broken` lists"),
        (["serve", "--dialect=php"], "invalid choice: 'php' (choose from "),
        (
            ["serve", "--broken=places-disagree", "--dialect=msg"],
            "--dialect: places-disagree does not show in 'msg': must be one of system",
        ),
    ],
)
def test_mistakes_are_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", f"--port={port}"]) == 2
    printed = capsys.readouterr().err
    assert printed.strip() == (
        f"pytest-expedition: cannot listen on 127.0.0.1, port {port}: Address already in use; "
        "choose another --port, or leave it out for a free one"
    )


def test_an_address_and_a_port_of_ones_choice_with_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving("--host=localhost", f"--port={port}", "--tls") as environment:
        url = environment["EXPEDITION_URL"]
        assert url == f"https://localhost:{port}"
        ca_file = pathlib.Path(environment["REQUESTS_CA_BUNDLE"])
        assert requests.get(url, verify=str(ca_file), timeout=10).status_code == 401
    assert not ca_file.exists()


@pytest.mark.long
def test_what_it_prints_is_what_the_suite_goes_by() -> None:
    with serving("--tls", "--job-seconds=1") as printed:
        done = contract(printed)
    assert f"{printed['EXPEDITION_URL']}, dialect system: 4 jobs" in done.stdout
    assert "certificate was not verified" not in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host=nowhere.invalid"], "cannot listen on nowhere.invalid, port 0: "),
        (["--host=nowhere.invalid", "--tls"], "cannot listen on nowhere.invalid, port 0: "),
        (["--host=a b", "--tls"], "cannot make a certificate for the host 'a b'"),
    ],
)
def test_an_invalid_address_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["serve", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_where_trustme_is_missing_it_is_said_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    assert main(["serve", "--tls"]) == 2
    assert capsys.readouterr().err == (
        "pytest-expedition: TLS needs trustme: pip install 'pytest-expedition[tls]'\n"
    )
