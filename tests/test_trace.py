"""Trace files: what is written is read again, whatever it was, and what is broken is told."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_expedition import validate
from pytest_expedition.oracle.history import Exchange
from pytest_expedition.protocol.redaction import Redaction
from pytest_expedition.recordings.files import RecordingError, open_recordings
from pytest_expedition.recordings.trace import Line, Recorder, Trace, Whose, as_line, exchange_of

if TYPE_CHECKING:
    from pathlib import Path

HERE = Whose("http://192.0.2.10", "a part")
POLL = Exchange(
    kind="status",
    method="GET",
    path="/api/v1/job/status/1619",
    sent=1.5,
    received=1.75,
    status=200,
    body=b'{"state": 1}',
    job_id=1619,
)

exchanges = st.builds(
    Exchange,
    kind=st.sampled_from(("create", "status", "cancel", "agent")),
    method=st.sampled_from(("GET", "POST")),
    path=st.text(min_size=1).map(lambda text: text.encode("utf-8", "replace").decode()),
    sent=st.floats(0, 1e6),
    received=st.floats(1e6, 1e7),
    status=st.one_of(st.none(), st.integers(100, 599)),
    body=st.binary(),
    lost=st.sampled_from(("", "no answer in time")),
    unreadable=st.sampled_from(("", "too long")),
    job_id=st.one_of(st.none(), st.integers(1, 2**63)),
    request_type=st.sampled_from(("", "application/json")),
    request_body=st.sampled_from(("", "resource=/tmp/ä.xml\n\u2028")),
    cancellable=st.sampled_from((None, True, False)),
    probe=st.sampled_from(("", "no-key", "bad-id")),
)


def values(exchange: Exchange) -> dict[str, Any]:
    named = {each.name: getattr(exchange, each.name) for each in fields(Exchange)}
    del named["position"]
    return named


def read(path: Path) -> tuple[list[Line], Trace]:
    """The lines of a trace that can be read, and what is said about the others."""
    for recording in open_recordings(path):
        trace = Trace(recording)
        return list(trace), trace
    raise AssertionError


def written(path: Path, *lines: bytes) -> tuple[list[Line], Trace]:
    path.write_bytes(b"".join(lines))
    return read(path)


@settings(deadline=None)
@given(st.lists(exchanges, min_size=1, max_size=3))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, told: list[Exchange]
) -> None:
    path = tmp_path_factory.mktemp("traces") / "trace.jsonl"
    with Recorder(path, server=HERE.server, part=HERE.part) as recorder:
        for exchange in told:
            recorder.write(exchange)
    for line in path.read_bytes().splitlines():
        validate(json.loads(line), "trace")
    lines, _ = read(path)
    assert {line.whose for line in lines} <= {HERE}
    assert [values(exchange_of(line.values)) for line in lines] == [
        values(exchange) for exchange in told
    ]


def test_a_trace_can_be_read_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    with Recorder(path, server=HERE.server) as recorder:
        for number in range(1, 4):
            recorder.write(POLL)
            assert len(read(path)[0]) == number


def test_secrets_are_struck_out_in_every_spelling() -> None:
    key = 'to/p"secret'
    body = json.dumps({"key": key, "php": "x"}).encode() + rb' "to\/p\"secret" to%2Fp%22secret'
    line = as_line(replace(POLL, body=body, path=f"/x?key={key}"), HERE, Redaction([key]))
    assert b"secret" not in line
    assert json.loads(line)["path"] == "/x?key=***"


def test_a_last_line_that_is_cut_off_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    line = as_line(POLL, HERE)
    for end in range(1, len(line) - 1):
        lines, trace = written(tmp_path / "trace.jsonl", line, line[:end])
        assert len(lines) == 1
        assert "the last line is cut off" in trace.remarks[0]


def test_a_last_line_without_its_end_of_line_is_whole(tmp_path: Path) -> None:
    line = as_line(POLL, HERE)
    lines, trace = written(tmp_path / "trace.jsonl", line, line[:-1])
    assert len(lines) == 2
    assert not trace.remarks


def test_spaces_around_a_line_are_no_part_of_it(tmp_path: Path) -> None:
    lines, trace = written(tmp_path / "trace.jsonl", b" \t" + as_line(POLL, HERE)[:-1] + b" \r\n")
    assert [values(exchange_of(line.values)) for line in lines] == [values(POLL)]
    assert not trace.remarks


def changed(**changes: Any) -> bytes:
    fields_of_it = json.loads(as_line(POLL, HERE)) | changes
    return json.dumps({k: v for k, v in fields_of_it.items() if v is not ...}).encode() + b"\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{\n", "is not JSON: "),
        (b"\xff\n", "is not JSON: "),
        (b"[" * 100_000 + b"\n", "is nested too deep"),
        (b"[]\n", "$ is [], expected object"),
        (b"{} {}\n", "is not JSON: more follows the object"),
        (changed(kind="poll"), '$.kind is "poll", expected one of'),
        (changed(kind=["status"]), '$.kind is ["status"], expected one of'),
        (changed(sent=...), "$.sent is missing, expected this field"),
        (changed(sent="1"), '$.sent is "1", expected number'),
        (changed(sent=float("nan")), "$.sent is NaN, expected number"),
        (changed(sent=2), "$.sent and $.received must follow each other"),
        (changed(received=1e300), "$.sent and $.received must follow each other"),
        (changed(status=True), "$.status is true, expected integer or null"),
        (changed(body="\ud800"), "$.body is not Unicode text: write body_base64 instead"),
        (changed(body=..., body_base64="?"), "$.body_base64 is not base64: "),
        (changed(body_base64="AA=="), "$ is "),
        (changed(answer={}), "$ is "),
        (changed(server="192.0.2.10"), '$.server is "192.0.2.10", expected'),
    ],
)
def test_any_other_broken_line_is_passed_over_and_told_with_its_number(
    tmp_path: Path, line: bytes, message: str
) -> None:
    good = as_line(POLL, HERE)
    lines, trace = written(tmp_path / "trace.jsonl", good, b"\n", line, good)
    assert len(lines) == 2
    assert trace.incomplete
    assert trace.remarks[0].startswith(f"{tmp_path}/trace.jsonl:3: {message}")


def test_a_line_is_not_taken_for_valid_because_one_like_it_was(tmp_path: Path) -> None:
    _, trace = written(tmp_path / "trace.jsonl", as_line(POLL, HERE), changed(probe="none"))
    assert "trace.jsonl:2: $.probe" in trace.remarks[0]


def test_a_trace_of_which_no_line_can_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"trace.jsonl:1: \$.probe"):
        written(tmp_path / "trace.jsonl", changed(probe="none"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"none\.jsonl: cannot be read: No such file"):
        read(tmp_path / "none.jsonl")
