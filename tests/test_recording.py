"""Recorded traffic is judged as in the suite, and nothing unknown is a failure."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from histories import Story
from in_process import in_process

from pytest_expedition import validate
from pytest_expedition.cli import main
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.instance import Instance
from pytest_expedition.oracle.rules import Violation, judge
from pytest_expedition.recordings.judging import judge_files
from pytest_expedition.recordings.trace import Recorder
from pytest_expedition.report.document import document_of
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pytest_expedition.report.entries import Document

URL = "https://192.0.2.10"
CONFIG = """
url = "https://192.0.2.99"
[auth]
api_key_env = "NOT_SET_ANYWHERE"
[[job]]
name = "import"
path = "/api/v1/project/1/import"
cancellable = true
[limits]
job_seconds = 60
"""


def test_a_recording_that_simply_ends_fails_no_must(tmp_path: Path) -> None:
    story = Story().create().poll(0.1)
    entries = outcomes(traced(tmp_path, story))
    assert entries["status.completes"] == "inconclusive"
    assert "fail" not in entries.values()


def write(path: Path, exchanges: Iterable[Any], *, server: str = URL, part: str = "") -> Path:
    with Recorder(path, server=server, part=part) as recorder:
        for exchange in exchanges:
            recorder.write(exchange)
    return path


def traced(tmp_path: Path, story: Story, **options: Any) -> Document:
    path = write(tmp_path / "trace.jsonl", story.exchanges)
    document = document_of(judge_files([path], **options).record)
    validate(document, "report")
    return document


def outcomes(document: Document) -> dict[str, str]:
    return {entry["id"]: entry["outcome"] for entry in document["requirements"]}


HONEST_AND_BROKEN = (
    "",
    "id-read-then-written",
    "places-disagree",
    "cancels-the-whole-project",
    "refuses-silently",
    "new-job-ends-older",
    "any-key-will-do",
    "start-begins-anew",
)


@pytest.mark.parametrize("name", HONEST_AND_BROKEN)
def test_a_recorded_run_is_judged_as_the_run_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / "trace.jsonl"
    make = BROKEN[name].make if name else Instance
    with (
        in_process(),
        embedded_target(make) as target,
        Recorder(path, server=target.url) as recorder,
    ):
        conformance = run_contract(target, profile="smoke", seed=1, record=recorder.write)
        document = document_of(
            judge_files([path], recipes=target.jobs, offers=target.offers).record
        )
    validate(document, "report")
    assert document["verdict"] == conformance.verdict
    assert outcomes(document) == {
        result.requirement.id: result.outcome for result in conformance.results
    }
    assert document["jobs"] == conformance.jobs
    assert document["target"]["dialect"] == conformance.dialect
    assert conformance.secrets
    assert not any(secret.encode() in path.read_bytes() for secret in conformance.secrets)


def test_parts_and_servers_of_a_trace_are_judged_apart(tmp_path: Path) -> None:
    story = Story().create().poll(0.5)
    path = tmp_path / "trace.jsonl"
    write(path, story.exchanges)
    write(path, story.exchanges, part="another test")
    write(path, story.exchanges, server="https://192.0.2.11")
    document = document_of(judge_files([path]).record)
    assert outcomes(document)["create.unique-id"] == "inconclusive"
    assert document["jobs"] == 3
    assert document["target"]["url"] == f"{URL}, https://192.0.2.11"
    write(path, Story().create(at=5).exchanges)
    assert outcomes(document_of(judge_files([path]).record))["create.unique-id"] == "fail"


def test_lines_that_are_told_twice_are_judged_once(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.jsonl", Story().create().poll(0.5).exchanges)
    path.write_bytes(2 * path.read_bytes())
    recorded = judge_files([path])
    assert "fail" not in outcomes(document_of(recorded.record)).values()
    assert recorded.record.requests == 2
    assert recorded.remarks[0] == f"{path}: 2 lines repeated: judged once"


def test_a_line_that_spells_out_a_usual_value_repeats_the_one_that_leaves_it_out(
    tmp_path: Path,
) -> None:
    story = Story().create().poll(0.5).tell_agent("start")
    path = write(tmp_path / "trace.jsonl", story.exchanges)
    spelled_out = [
        json.loads(line) | {"lost": "", "request_body": "", "part": ""}
        for line in path.read_text().splitlines()
    ]
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in spelled_out)
    recorded = judge_files([path])
    assert recorded.record.requests == 3
    assert recorded.remarks[0] == f"{path}: 3 lines repeated: judged once"


def test_answers_that_differ_are_no_repetition_though_their_times_are_equal(
    tmp_path: Path,
) -> None:
    story = Story().create().poll(0.5, at=2, until=3).poll(0.25, at=2, until=3)
    recorded = judge_files([write(tmp_path / "trace.jsonl", story.exchanges)])
    assert recorded.record.requests == 3
    assert not any("repeated" in remark for remark in recorded.remarks)


def test_the_proof_names_the_server_it_was_seen_on(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    write(path, Story().create().poll(0.5).exchanges)
    write(path, Story().create().poll(0.5).poll(0.4).exchanges, server="https://192.0.2.11")
    document = document_of(judge_files([path]).record)
    (failed,) = [x for x in document["requirements"] if x["outcome"] == "fail"]
    assert failed["id"] == "status.monotonic"
    assert [each["summary"].partition(" s ")[2] for each in failed["evidence"]] == [
        "POST project/1/import → job 1619, state 0",
        "GET job/status/1619 → state 0.5",
        "GET job/status/1619 → state 0.4",
    ]
    commands = [line for line in failed["curl"] if not line.startswith("#")]
    assert "https://192.0.2.11/api/v1/project/1/import" in commands[0]


def test_recipes_say_which_jobs_can_be_cancelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story().create().cancel(0.1).poll(0.2, at=20)
    assert outcomes(traced(tmp_path, story))["cancel.minus-one"] == "not-tested"
    config = tmp_path / "expedition.toml"
    config.write_text(CONFIG)
    arguments = ["check", f"--config={config}", str(tmp_path / "trace.jsonl")]
    reports = [f"--report={tmp_path}/report.{suffix}" for suffix in ("json", "md")]
    assert main([*arguments, *reports]) == 1
    said = [f"report written to {tmp_path}/report.{suffix}" for suffix in ("json", "md")]
    assert capsys.readouterr().err.splitlines() == said
    assert "status.monotonic" in (tmp_path / "report.md").read_text(encoding="utf-8")
    document = json.loads((tmp_path / "report.json").read_text())
    assert outcomes(document)["cancel.minus-one"] == "fail"


def test_a_recording_does_not_judge_whether_a_waiver_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traced(tmp_path, Story().create().poll(0.5).poll(1))
    config = tmp_path / "expedition.toml"
    waiver = '[[waive]]\nid = "status.monotonic"\nreason = "known"\nuntil = 2020-01-01\n'
    config.write_text(CONFIG + waiver)
    assert main(["check", f"--config={config}", str(tmp_path / "trace.jsonl")]) == 0
    line = "waiver not used, which does not fail the run: status.monotonic"
    assert line in capsys.readouterr().out.splitlines()


def test_what_the_summary_says_of_waivers_can_be_pasted_into_a_target_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story().create().poll(0.5).poll(0.4)
    trace = str(write(tmp_path / "trace.jsonl", story.exchanges))
    config = tmp_path / "expedition.toml"
    config.write_text(CONFIG)
    assert main(["check", f"--config={config}", trace]) == 1
    lines = capsys.readouterr().out.splitlines()
    pasted = lines.index(
        "To accept it until a given day, add to the target file (status.monotonic):"
    )
    assert lines[pasted + 5 :] == ["verdict: non-conformant"]
    with config.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines[pasted + 1 : pasted + 5]))
    assert main(["check", f"--config={config}", trace]) == 0
    assert "waived: status.monotonic" in capsys.readouterr().out.splitlines()


def test_limits_say_how_long_a_job_may_take(tmp_path: Path) -> None:
    story = Story().create().poll(0.1, at=100)
    assert outcomes(traced(tmp_path, story))["status.completes"] == "inconclusive"
    known = judge_files([tmp_path / "trace.jsonl"], job_seconds=60)
    assert outcomes(document_of(known.record))["status.completes"] == "fail"


def as_har(path: Path, story: Story) -> Path:
    entries = [
        {
            "startedDateTime": f"2026-03-01T10:00:{x.sent:09.6f}Z",
            "time": 1000 * (x.received - x.sent),
            "request": {"method": x.method, "url": URL + x.path, "headers": []},
            "response": {
                "status": x.status,
                "content": {"size": len(x.body), "text": x.body.decode()},
            },
        }
        for x in story.exchanges
    ]
    path.write_text(json.dumps({"log": {"entries": entries}}))
    return path


def test_a_har_file_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story().create().poll(0.5).poll(0.4).poll(0.6, at=9.99, until=10.5)
    story.add("other", "GET", "/index.html", {})
    path = as_har(tmp_path / "a.har", story)
    assert main(["check", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    line = (
        "status.monotonic             MUST   fail         The state of job 1619 was 0.5, then 0.4."
    )
    assert line in lines
    assert "To do it again:" in lines
    assert "1 request ignored: not part of the job API" in lines
    assert any(line.startswith(f"{URL}, dialect system: 1 job, 4 requests, ") for line in lines)
    assert lines[-1] == "verdict: non-conformant"


def test_exit_status_and_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def status(story: Story, *options: str) -> int:
        path = tmp_path / "trace.jsonl"
        path.unlink(missing_ok=True)
        return main(["check", *options, str(write(path, story.exchanges))])

    assert status(Story().create().poll(0.5)) == 0
    assert "verdict: inconclusive" in capsys.readouterr().out
    misspelled = Story().create().poll(1.0)
    assert status(misspelled) == 0
    assert status(misspelled, "--strict") == 1
    assert status(Story().create().poll("x")) == 1
    capsys.readouterr()
    (tmp_path / "idle.har").write_text('{"log": {"entries": []}}')
    reports = [tmp_path / name for name in ("a.json", "a.html", "a.md")]
    options = [f"--report={path}" for path in reports]
    assert main(["check", *options, str(tmp_path / "idle.har")]) == 5
    assert "\nno server: 0 jobs, 0 requests, " in capsys.readouterr().out
    assert json.loads(reports[0].read_text())["target"]["url"] == ""
    assert all("no server" in path.read_text() for path in reports[1:])
    assert main(["compare", str(reports[0]), str(reports[0])]) == 0
    assert "inconclusive, no server, 0 jobs" in capsys.readouterr().out


def test_creations_whose_answers_were_not_recorded_are_told_as_what_they_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story().create().poll(0.5).create(7)
    story.add("other", "POST", "/api/v1/generate_api_key", {}).add("other", "GET", "/x.html", {})
    path = as_har(tmp_path / "a.har", story)
    recorded = json.loads(path.read_text())
    for entry in recorded["log"]["entries"]:
        entry["response"]["content"] = {"size": 100}
    path.write_text(json.dumps(recorded))
    main(["check", str(path)])
    lines = capsys.readouterr().out.splitlines()
    unknown = "without an answer that can be judged"
    assert f"{path}: 1 {unknown}: the body was not recorded" in lines
    assert f"{path}: 2 requests {unknown} may have created jobs" in lines
    assert "2 requests ignored: not part of the job API" in lines


def test_a_trace_that_is_cut_off_is_judged_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "trace.jsonl", Story().create().poll(0.5).poll(0.4).exchanges)
    path.write_bytes(path.read_bytes() + b'{"kind": "st')
    assert main(["check", str(path)]) == 1
    assert f"{path}: the last line is cut off; the rest is judged" in capsys.readouterr().out


def test_a_rule_that_breaks_down_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(*_: object) -> Any:
        raise ZeroDivisionError("too odd")

    monkeypatch.setitem(judge.__globals__["RULES"], "status.bounds", crash)
    path = write(tmp_path / "trace.jsonl", Story().create().poll(0.5).exchanges)
    assert main(["check", str(path)]) == 3
    assert "the rule crashed: ZeroDivisionError: too odd" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["none.jsonl"], 4, "none.jsonl: cannot be read: No such file or directory"),
        (["none.har"], 4, "none.har: cannot be read: No such file or directory"),
        (["."], 4, "cannot be read: Is a directory"),
        (["bad.jsonl"], 4, "bad.jsonl: is not a recording: "),
        (["bad.json"], 4, "bad.json: is not a recording: "),
        (["empty.jsonl"], 4, "empty.jsonl: is empty\n"),
        ([os.devnull], 4, f"{os.devnull}: is empty\n"),
        (["cut.gz"], 4, "cut.gz: is empty, or cut off before anything that can be read\n"),
        (["idle.har", "--config=none.toml"], 4, "none.toml: cannot be read"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("bad.jsonl", "x\n"), ("bad.json", "x"), ("empty.jsonl", "")):
        (tmp_path / name).write_text(text)
    (tmp_path / "idle.har").write_text('{"log": {"entries": []}}')
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"x" * 99)[:10])
    assert main(["check", *arguments]) == status
    assert message in capsys.readouterr().err


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("trace.json", content)
    return archive.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zipped])
@pytest.mark.parametrize("name", ["trace.json", "trace.jsonl", "trace", "trace.har"])
def test_a_trace_is_known_by_its_content(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    path = write(tmp_path / name, Story().create().poll(0.5).poll(0.4).exchanges)
    path.write_bytes(pack(path.read_bytes()))
    results = judge_files([path]).record.results
    assert [x.requirement.id for x in results if x.outcome == "fail"] == ["status.monotonic"]


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ("report.pdf", "'report.pdf': the suffix must be one of .json"),
        ("folder.json", "'folder.json': must be a file"),
    ],
)
def test_a_report_that_cannot_be_written_is_told_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    report: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(SystemExit) as caught:
        main(["check", "x.jsonl", f"--report={report}"])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_keys_do_not_reach_the_report(tmp_path: Path) -> None:
    key = "the-secret-key"
    story = Story().create().poll(0.5).poll(0.4, fields={"description": key})
    path = as_har(tmp_path / "a.har", story)
    document = json.loads(path.read_text())
    for entry in document["log"]["entries"]:
        entry["request"]["headers"] = [{"name": "Authorization", "value": f"Bearer {key}"}]
    path.write_text(json.dumps(document))
    assert main(["check", str(path), f"--report={tmp_path}/report.json"]) == 1
    assert key not in (tmp_path / "report.json").read_text()


def test_a_proof_is_part_of_its_history() -> None:
    (found,) = [
        violation
        for finding in judge(Story().create().poll(0.5).poll(0.4).history()).values()
        for violation in finding.violations
    ]
    assert isinstance(found, Violation)
    assert set(found.proof) <= set(found.history.exchanges)


LOADED = """
import sys
from pytest_expedition.cli import main
status = main(["check", *sys.argv[1:]])
never = {"hypothesis", "werkzeug", "requests", "pytest"}
found = never.intersection(name.partition(".")[0] for name in sys.modules)
found.update(name for name in sys.modules if name.startswith("pytest_expedition.fake"))
sys.exit(f"{status} {sorted(found)}")
"""


def test_to_judge_a_file_loads_nothing_that_makes_or_answers_traffic(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.jsonl", Story().create().poll(0.5).exchanges)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, path, as_har(tmp_path / "a.har", Story().create())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "0 []\n"
