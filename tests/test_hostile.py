"""Servers whose answers break tools: the suite reports them, goes on, and needs little memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_expedition import validate
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
        conformance = run_contract(target, profile="smoke")
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
