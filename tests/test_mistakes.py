"""What a user reads after a mistake: one sentence that says what is wrong, and what to do."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from pytest_expedition.cli import main
from pytest_expedition.fake.http import Response
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.server import ExpeditionServer
from pytest_expedition.protocol.requirements import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_expedition.fake.http import Request

CONTRACT = ("--pyargs", "pytest_expedition.contract", "--expedition-profile=smoke")
KEY = "EXPEDITION_API_KEY"


def page(status: int, body: str = "", **headers: str) -> type[Instance]:
    """An instance behind something that gives the same answer to everything."""

    class Gateway(Instance):
        def handle(self, request: Request) -> Response:
            self.requests.append(request)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return Response(status=status, headers=named, body=body.encode())

    return Gateway


@pytest.fixture
def serve() -> Iterator[object]:
    servers = []

    def start(make: type[Instance], *, tls: bool = False) -> ExpeditionServer:
        server = ExpeditionServer(make, tls=tls)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def reason(pytester: pytest.Pytester, *arguments: str) -> str:
    """Run the contract, which cannot be judged; return the reason that the summary tells."""
    result = pytester.runpytest_inprocess(*CONTRACT, *arguments)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    (line,) = [each for each in result.stdout.lines if each.startswith("reason: ")]
    assert "Traceback" not in result.stdout.str()
    return line.removeprefix("reason: ")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (page(503, "<h1>Down for maintenance</h1>"), "it begins with “<h1>Down for maintenance"),
        (
            page(301, Location="https://other/"),
            "HTTP 301, a redirect to https://other/; the suite ",
        ),
        (page(301, Location="https://other/"), "no redirect: give the URL of the instance itself"),
        (page(429, "slowly"), "it begins with “slowly”; run again later"),
        (page(403, "<p>No"), "; is that the address of the instance, and may this machine send"),
        (page(401, "{}"), "refuses the key: "),
        (page(501, "<p>Not supported"), " does not answer as an Expedition instance: HTTP 501 "),
        (page(501, "<p>Not supported"), "is that the address of the instance, and is it running?"),
        (page(200, "<!DOCTYPE html><p>Shop"), " creates no job: POST /api/v1/project/1/import got"),
        (page(200, "\n<html><p>Shop"), "“<html><p>Shop”; is that the address of the instance, and"),
    ],
    ids=[
        "maintenance",
        "redirect",
        "after it",
        "throttled",
        "firewall",
        "key refused",
        "another server",
        "what to do then",
        "another site",
        "what to do there",
    ],
)
def test_an_answer_in_the_place_of_the_application_is_named(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    serve: object,
    make: type[Instance],
    told: str,
) -> None:
    assert callable(serve)
    monkeypatch.setenv(KEY, "secret")
    said = reason(pytester, f"--expedition-url={serve(make).url}")
    assert told in said
    assert "secret" not in said


def test_a_server_that_is_down(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret")
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    said = reason(pytester, f"--expedition-url={url}")
    assert said.startswith(f"{url} does not answer: ")
    assert said.endswith("is the instance running, and are host and port right?")


def test_a_host_that_is_not_known(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv(KEY, "secret")
    monkeypatch.setattr(socket, "getaddrinfo", is_unknown)
    said = reason(pytester, "--expedition-url=http://nowhere.invalid")
    assert said == (
        "http://nowhere.invalid does not answer: no address is known for the host (Name or service "
        "not known); is its name right?"
    )


def test_a_wrong_path_without_a_target_file(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, serve: object
) -> None:
    assert callable(serve)
    monkeypatch.setenv(KEY, "fake-expedition-key")
    url = f"{serve(Instance).url}/wrong"
    result = pytester.runpytest_inprocess(*CONTRACT, f"--expedition-url={url}")
    result.stdout.fnmatch_lines(
        [
            f"reason: {url} creates no job: *HTTP 404*. Is the URL right? Without a target file *",
            "profile: smoke",
            f"all {len(CATALOGUE)} errors have the same reason: one test fails with it, and *",
        ]
    )
    result.assert_outcomes(failed=1, skipped=len(CATALOGUE) - 1)


def test_https_for_http_and_http_for_https(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, serve: object
) -> None:
    assert callable(serve)
    monkeypatch.setenv(KEY, "secret")
    plain, encrypted = serve(Instance).url, serve(Instance, tls=True).url
    said = reason(pytester, f"--expedition-url={plain.replace('http:', 'https:')}")
    assert said.endswith("is the url http://…?")
    said = reason(pytester, f"--expedition-url={encrypted.replace('https:', 'http:')}")
    assert said.endswith("is the url https://…?")
    said = reason(pytester, f"--expedition-url={encrypted}")
    assert "cannot be trusted" in said
    assert "verify = " in said


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (None, "EXPEDITION_API_KEY is not set: set it to the key of the instance, or set "),
        ("", "EXPEDITION_API_KEY is empty: set it to the key of the instance, or set "),
        (
            "Bearer x",
            "ERROR: EXPEDITION_API_KEY begins with `Bearer `: give the key alone, without that",
        ),
    ],
)
def test_a_key_that_cannot_be_used(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, key: str | None, told: str
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    if key is not None:
        monkeypatch.setenv(KEY, key)
    result = pytester.runpytest_inprocess(*CONTRACT, "--expedition-url=http://127.0.0.1:9")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert told in result.stderr.str()


LONG = 300 * "x"
"""The plans that a run may write beside its report have longer names."""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("--expedition-config=none.toml", "none.toml: cannot be read: No such file"),
        ("--expedition-url=192.0.2.1", "url = '192.0.2.1': must begin with http:// or https://"),
        (
            "--expedition-url=e.toml",
            "like https://192.0.2.10; give a target file with --expedition-c",
        ),
        ("--expedition-replay=report.json", "report.json: is a report, not a plan; its plans are"),
        ("--expedition-url=http://h/api/v1", "must be given without /api/v1 at its end"),
        ("--expedition-report=r.txt", "the suffix must be one of .json, .html, .md"),
        ("--expedition-report=no/r.md", "no/r.md': the folder does not exist"),
        ("--expedition-report=/proc/r.md", "'/proc/r.md': cannot be written: "),
        ("--expedition-record=no/t.jsonl", "no/t.jsonl': the folder does not exist"),
        (f"--expedition-report={LONG}.md", "cannot be written: File name too long"),
        (f"--expedition-report={LONG[:240]}.md", "cannot be written: File name too long"),
        ("--expedition-report=a.md --expedition-record=./a.md", "a report would replace it: name"),
        (
            "--expedition-report=./a.json --expedition-replay=a.json",
            "expedition_replay: a report would replace it: name another file",
        ),
        (f"--expedition-record={LONG}.jsonl", "cannot be written: File name too long"),
        ("--expedition-profile=big", "invalid choice: 'big'"),
        (
            "-opython_files=x.py",
            "hidden by python_files = 'x.py' (add `-o python_files=test_*.py`)",
        ),
    ],
)
def test_a_setting_that_cannot_be_used(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, settings: str, told: str
) -> None:
    monkeypatch.setenv(KEY, "secret")
    (pytester.path / "report.json").write_text('{"tool": {}, "requirements": []}')
    result = pytester.runpytest_inprocess(*CONTRACT, *settings.split())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert told in result.stderr.str()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("url = \n", "is not TOML: "),
        ('url = "http://h"\n', "[[job]] is missing: "),
        ('url = "http://h"\n[limits]\njobs = 0\n', "jobs = 0: must be "),
    ],
)
def test_a_target_file_that_cannot_be_used(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.setenv(KEY, "secret")
    job = '[[job]]\nname = "import"\npath = "/api/v1/project/1/import"\n' if "jobs" in text else ""
    (pytester.path / "target.toml").write_text(text + job)
    result = pytester.runpytest_inprocess(*CONTRACT, "--expedition-config=target.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert told in result.stderr.str()


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["compare", "page.html", "page.html"], 4, "compare takes reports that end in .json"),
        (["compare", "none.json", "none.json"], 4, "none.json: cannot be read: No such file"),
        (["check", "page.html"], 4, "page.html: is not a recording: give a HAR file"),
        (["serve", "--record=no/t.jsonl"], 2, "the trace no/t.jsonl cannot be written: No such"),
        (["client", "--record=no/t.jsonl", "--", "true"], 4, "no/t.jsonl cannot be written: No"),
        (["client", "--record=a.md", "--report=a.md", "--", "true"], 4, "would replace the trace"),
    ],
)
def test_a_file_that_cannot_be_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.html").write_text("<p>")
    assert main(arguments) == status
    printed = capsys.readouterr().err
    assert told in printed
    assert "Errno" not in printed


@pytest.mark.parametrize("option", ["-q", "-qq", "--no-header", "--no-summary"])
def test_options_that_make_pytest_terse_change_no_exit_status(
    pytester: pytest.Pytester, option: str
) -> None:
    result = pytester.runpytest_inprocess(*CONTRACT, "-k", "create", option)
    assert result.ret == pytest.ExitCode.OK
    told = [line for line in result.stdout.lines if line.startswith("verdict: ")]
    # With --no-summary pytest decides, by its version, whether plugins show their summaries.
    assert told or option == "--no-summary"


def test_a_target_that_asks_to_wait_for_longer_than_the_run_may_take(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, serve: object
) -> None:
    assert callable(serve)
    monkeypatch.setenv(KEY, "secret")
    url = serve(page(429, "Too many requests", Retry_After="3600")).url
    result = pytester.runpytest_inprocess(*CONTRACT, f"--expedition-url={url}")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(
        [
            "*asked to wait 3600 s (Retry-After), longer than the run may take: run again later",
            "*HTTP 429: too many requests for the target; send them more slowly, or later",
            "nothing was judged: no requirement passed or failed",
            "verdict: inconclusive",
        ]
    )


def test_a_proxy_that_refuses_the_requests(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, serve: object
) -> None:
    assert callable(serve)
    monkeypatch.setenv(KEY, "secret")
    proxy = serve(page(403, "<h1>Access denied</h1>")).url
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    said = reason(pytester, "--expedition-url=http://192.0.2.10")
    assert "it begins with “<h1>Access denied</h1>”" in said
    assert said.endswith(f"the proxy {proxy}; name the host in NO_PROXY to do without it")


def test_a_contract_without_the_plugin(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    result = pytester.runpytest_inprocess("--pyargs", "pytest_expedition.contract", "-q")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["the plugin of pytest-expedition is not loaded, *"])
    result.stdout.no_fnmatch_line("*fixture*not found*")
