"""Servers whose answers break tools: the suite reports them, goes on, and needs little memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from histories import JOB, envelope, job_fields
from test_har import entry

from pytest_expedition import validate
from pytest_expedition.cli import main
from pytest_expedition.fake.http import Response
from pytest_expedition.fake.instance import Instance
from pytest_expedition.report.document import assemble, requirement_entry, run_entry
from pytest_expedition.report.text import requirement_line, stories, verdict_lines
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract
from pytest_expedition.suite.transport import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_expedition.fake.simulation import Job
    from pytest_expedition.oracle.record import RunRecord
    from pytest_expedition.report.entries import Document

NASTY = "\x1b[2J\x9b31m\x07\r\u202e\u2066</script><script>alert(1)</script>\ud800 & <b>|`x`"
JSON = {"Content-Type": "application/json"}


def hostile(
    change: Callable[[bytes], bytes],
    *,
    status: int = 200,
    headers: Mapping[str, str] = JSON,
    every: int = 3,
) -> type[Instance]:
    """An instance whose every third status of a job is something else."""

    class Hostile(Instance):
        def answer_status(self, job: Job) -> Response:
            honest = super().answer_status(job)
            if job.polls % every:
                return honest
            return Response(status=status, headers=headers, body=change(honest.body))

    return Hostile


def with_text(text: str) -> Callable[[bytes], bytes]:
    """Replace the description of a job, and make the answer an invalid envelope."""

    def change(body: bytes) -> bytes:
        document = json.loads(body)
        jobs = document["Contents"]["response"]["data"]["content"]["system"]["jobs"]
        jobs["description"] = jobs["JobMsg"]["statusMessage"] = text
        jobs["nextStep"] = text
        return json.dumps(document).encode()

    return change


ANSWERS: dict[str, type[Instance]] = {
    "longer than anybody keeps": hostile(lambda _: b" " * (MOST_BYTES + 1)),
    "unzips to a gigabyte": hostile(
        lambda _: gzip.compress(bytes(MOST_BYTES)) * 1024, headers={"Content-Encoding": "gzip"}
    ),
    "said to be zipped": hostile(lambda body: body, headers={"Content-Encoding": "gzip"}),
    "nested a hundred thousand deep": hostile(lambda _: b"[" * 100_000 + b"]" * 100_000),
    "not UTF-8": hostile(lambda body: body.replace(b"Running", b"\xff\xfe")),
    "repeats keys": hostile(lambda body: body.replace(b'"state"', b'"state": 0, "state"')),
    "a million digits": hostile(
        lambda body: body.replace(b'"state": 0.', b'"state": ' + b"9" * 1_000_000 + b".")
    ),
    "a million errors": hostile(
        lambda body: body.replace(b'"TasksMsg": []', b'"TasksMsg": [0' + b",0" * 400_000 + b"]")
    ),
    "control characters and script": hostile(with_text(NASTY)),
    "a text without end": hostile(with_text("x" * 500_000)),
    "a page": hostile(lambda _: b"<html>Whoops</html>", headers={"Content-Type": "text/html"}),
    "nothing": hostile(lambda _: b""),
}


def document_of(conformance: RunRecord) -> Document:
    entries = [requirement_entry(conformance, each) for each in conformance.results]
    return assemble([run_entry(conformance)], entries)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_requirement_at_hand_fails_and_the_others_are_judged(name: str) -> None:
    with embedded_target(ANSWERS[name]) as target:
        few = replace(target, limits=replace(target.limits, jobs=2))
        conformance = run_contract(few, profile="smoke")
    document = document_of(conformance)
    outcomes = {entry["id"]: entry["outcome"] for entry in document["requirements"]}
    assert outcomes["status.envelope"] == "fail"
    assert outcomes["create.envelope"] == outcomes["auth.required"] == "pass"
    assert not conformance.reason
    assert [result.crash for result in conformance.results if result.crash] == []

    validate(document, "report")
    assert len(json.dumps(document).encode("utf-8")) < 2_000_000
    told = stories(x for x in document["requirements"] if x["outcome"] == "fail")
    told += [requirement_line(entry) for entry in document["requirements"]]
    told += verdict_lines(document)
    for line in "\n".join(told).split("\n"):
        assert line.isprintable()
        line.encode("utf-8")
        assert len(line) < 3000


def test_a_redirect_to_another_host_is_not_followed_and_says_nothing_of_jobs() -> None:
    where = {"Location": "http://192.0.2.1/api/v1/job/status/1"}
    with embedded_target(hostile(lambda _: b"", status=302, headers=where)) as target:
        found = run_contract(target, profile="smoke")
    assert found.unanswered[302] > 0
    assert [x for x in found.results if x.outcome == "fail"] == []


MEASURE = r"""
import json, pathlib, re, sys
sys.path.insert(0, {tests!r})
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract
from test_hostile import hostile
heavy = b'{{"x": [' + b'[],' * 60_000 + b'"' + b'x' * 800_000 + b'"], '
with embedded_target(hostile(lambda body: heavy + body[1:], every=1)) as target:
    conformance = run_contract(target)
# Not that of getrusage, which a process takes over from the one that started it.
peak = re.search(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]
print(json.dumps([int(peak), conformance.reason, conformance.verdict]))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak there")
def test_memory_stays_small_however_much_is_sent(request: pytest.FixtureRequest) -> None:
    """Each status is a megabyte that takes four times as much once it is read."""
    script = MEASURE.format(tests=str(request.path.parent))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    kilobytes, reason, verdict = json.loads(done.stdout)
    assert kilobytes < 300 * 1024
    assert "has sent more than" in reason
    assert verdict in {"error", "non-conformant"}


# Files that break tools

FILES: dict[str, bytes | None] = {
    "empty": b"",
    "a folder": None,
    "not there": None,
    "binary": bytes(range(256)) * 4,
    "in UTF-16": '{"log": 1}'.encode("utf-16"),
    "in Latin-1": '{"é": 1}'.encode("latin-1"),
    "nested too deep": b"[" * 100_000,
    "nested in objects": b'{"a":' * 50_000,
    "5000 digits": b"9" * 5000,
    "10^400": b'{"log": {"entries": 1%s}}' % (b"0" * 400),
    "not a number": b"NaN",
    "gzip that breaks off": gzip.compress(b"{}")[:12],
    "of the wrong kind": b"[]",
    "control characters": b'{"requirement": "\\u001b[2J\\u202e", "target": "\\u001b[2J\\u202e"}',
}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    content = FILES[request.param]
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    elif request.param == "a folder":
        path.mkdir()
    return path


def require_one_sentence(told: str, path: Path) -> None:
    (line,) = told.splitlines()
    assert str(path) in line
    assert line.isprintable()
    assert len(line) < 400 + len(str(path))
    assert "set_int_max_str_digits" not in line


@pytest.mark.parametrize("command", ["check", "compare"])
def test_a_file_that_cannot_be_read_ends_a_command_in_one_sentence(
    file: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *[str(file)] * (2 if command == "compare" else 1)]) == 4
    printed = capsys.readouterr()
    assert printed.out == ""
    require_one_sentence(printed.err, file)


@pytest.mark.parametrize("option", ["--expedition-replay", "--expedition-config"])
def test_a_file_that_cannot_be_read_ends_a_session_in_one_sentence(
    file: Path, option: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPEDITION_API_KEY", "key")
    result = pytester.runpytest_inprocess("--pyargs", "pytest_expedition.contract", option, file)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    require_one_sentence("\n".join(line for line in result.errlines if line), file)


@pytest.mark.parametrize(
    ("place", "number"),
    [
        (("response", "status"), "9" * 5000),
        (("response", "headersSize"), "9" * 5000),
        (("timings", "receive"), "9" * 5000),
        (("timings", "receive"), "1" + "0" * 400),
        (("time",), "1e999"),
        (("startedDateTime",), "9" * 5000),
    ],
)
def test_a_number_of_any_size_in_a_recording_spoils_one_entry_at_the_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: tuple[str, ...], number: str
) -> None:
    created = json.dumps(envelope({"system": {"jobs": job_fields(JOB)}}))
    honest = entry("POST", "/api/v1/project/1/import", text=created)
    strange = json.loads(json.dumps(honest))
    inner = strange
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = "THE NUMBER"
    text = json.dumps({"log": {"version": "1.2", "entries": [strange, honest]}})
    path = tmp_path / "recorded.har"
    path.write_text(text.replace('"THE NUMBER"', number))
    main(["check", str(path)])
    assert "create.job-id                MUST   pass" in capsys.readouterr().out
