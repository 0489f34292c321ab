"""What the command writes, wherever that goes: full disks, closed pipes, terminals of any encoding.

A failure takes one sentence, and no traceback.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from histories import Story

from pytest_expedition import validate
from pytest_expedition.recordings.trace import Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="runs what POSIX has")

COMMAND = f"{sys.executable} -m pytest_expedition.cli"
COMMANDS = (
    "--version",
    "list",
    "list requirements",
    "openapi",
    "check trace.jsonl",
    "client --scenario ordinary -- true {url}",
    "serve",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a trace, in which a server says what few terminals can show."""
    recorder = Recorder(tmp_path / "trace.jsonl", server="http://127.0.0.1")
    fields = {"TasksMsg": ["a → b, ακυρώνεται"]}
    for exchange in Story().create(fields=fields).poll(0.5, fields=fields).poll(2.5).exchanges:
        recorder.write(exchange, ())
    recorder.close()
    return tmp_path


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell, with `expedition` for the command."""
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; expedition() {{ {COMMAND} "$@"; }}; {line}'],
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "0", **environment},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


def each_of(commands: Sequence[str], *usual: str) -> Any:
    """Return values of a parameter; with all but the usual ones a test is long."""
    return [
        pytest.param(each, marks=[] if each in usual else pytest.mark.long) for each in commands
    ]


@pytest.mark.parametrize("command", each_of(COMMANDS, "--version", "check trace.jsonl", "serve"))
def test_a_full_disk_is_told_in_one_sentence(command: str, folder: Path) -> None:
    done = shell(f"expedition {command} > /dev/full", folder)
    assert done.returncode == 3
    assert done.stderr == (
        "pytest-expedition: the output cannot be written: No space left on device\n"
    )


@pytest.mark.parametrize(
    "command",
    each_of([each for each in COMMANDS if each != "serve"], "list", "check trace.jsonl"),
)
def test_a_pipe_that_is_closed_ends_the_output_quietly(command: str, folder: Path) -> None:
    done = shell(f"expedition {command} | head -c 1", folder)
    assert len(done.stdout) == 1
    assert done.stderr == ""


@pytest.mark.parametrize("encoding", each_of(["ascii", "cp1252", "utf-8"], "ascii"))
@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("list requirements", 0),
        ("check trace.jsonl", 1),
        ("client --scenario ordinary -- echo ακυρώνεται", 1),
        ("openapi", 0),
    ],
)
def test_a_terminal_may_have_any_encoding(
    command: str, status: int, encoding: str, folder: Path
) -> None:
    done = shell(f"expedition {command}", folder, PYTHONIOENCODING=encoding)
    assert done.returncode == status
    assert done.stderr == ""
    assert done.stdout


@pytest.mark.parametrize(
    ("pipe", "told"),
    [
        ("cat trace.jsonl", "verdict: non-conformant"),
        ("echo hello", "/dev/stdin: is not a recording: give a HAR file or a trace"),
    ],
)
def test_a_recording_may_come_through_a_pipe(pipe: str, told: str, folder: Path) -> None:
    done = shell(f"{pipe} | expedition check /dev/stdin", folder)
    assert told in done.stdout + done.stderr


def test_a_report_never_replaces_the_recording(folder: Path) -> None:
    recording = (folder / "trace.jsonl").rename(folder / "recording.json")
    (folder / "link.json").symlink_to(recording)
    before = recording.read_bytes()
    done = shell("expedition check recording.json --report link.json", folder)
    assert (done.returncode, done.stdout) == (4, "")
    assert "--report link.json would replace the recording: name another file" in done.stderr
    assert recording.read_bytes() == before


def test_standard_error_may_be_closed(folder: Path) -> None:
    assert shell("expedition list 2>&-", folder).returncode == 0


@pytest.mark.parametrize(
    "command", each_of(["--version", "list requirements", "check trace.jsonl"], "check trace.jsonl")
)
def test_python_may_leave_out_assertions_and_docstrings(command: str, folder: Path) -> None:
    plain, optimized = (
        shell(f"expedition {command}", folder, PYTHONOPTIMIZE=level) for level in ("0", "2")
    )
    assert optimized.stderr == ""
    assert (optimized.stdout, optimized.returncode) == (plain.stdout, plain.returncode)


def test_the_suite_writes_its_report_though_the_terminal_takes_nothing(folder: Path) -> None:
    suite = f"{sys.executable} -m pytest --pyargs pytest_expedition.contract -p no:cacheprovider"
    options = "--expedition-profile=smoke --expedition-report=report.json"
    done = shell(f"{suite} -q {options} > /dev/full", folder)
    assert done.returncode != 0
    document = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    validate(document, "report")
    assert document["jobs"] == 4


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ("/proc/1/report.json", "cannot be written"),
        ("missing/report.json", "the folder does not exist"),
        (f"{300 * 'x'}.json", "cannot be written: File name too long"),
        ("report.txt", "the suffix must be one of .json, .html, .md"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_judged(
    report: str, told: str, folder: Path
) -> None:
    done = shell(f"expedition check trace.jsonl --report {report}", folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("sink", ["> /dev/full", "| true"])
def test_the_report_on_a_client_is_written_although_the_output_fails(
    sink: str, folder: Path
) -> None:
    client = "client --scenario=ordinary --scenario=fails --side-by-side=1 --report r.json -- true"
    done = shell(f"expedition {client} {sink}", folder)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    document = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    assert document["verdict"] == "non-conformant"


def test_a_report_replaces_a_link_that_leads_nowhere(folder: Path) -> None:
    (folder / "loop.json").symlink_to("loop.json")
    done = shell("expedition check loop.json", folder)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.endswith("loop.json: cannot be read: Too many levels of symbolic links\n")
    done = shell("expedition check trace.jsonl --report loop.json", folder)
    assert done.returncode == 1  # the trace shows a state of 2.5
    assert json.loads((folder / "loop.json").read_text(encoding="utf-8"))["verdict"]
