"""HAR files in the shapes in which browsers, proxies and test tools export them.

``Har`` builds a file of a short life of a job. A shape is a function that changes what an entry, a
file, or its bytes look like; each is judged with an honest server and with broken ones. A new quirk
of a recorder is one more line in a table.
"""

from __future__ import annotations

# ruff: noqa: E501 - a shape is a line
import base64
import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, Final

import pytest
from histories import envelope, error, job_fields

from pytest_expedition import JobRecipe
from pytest_expedition.cli import main
from pytest_expedition.recordings.judging import judge_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_expedition.recordings.judging import Recorded

JOB: Final = 7
SERVER: Final = "https://192.0.2.10"
EXPORT: Final = JobRecipe(name="export", path="/api/v1/projects/1/export", cancellable=False)

Entry = dict[str, Any]
Shape = "Callable[[Entry], Entry | None]"


def body(state: float, *messages: str) -> str:
    fields = job_fields(JOB, state)
    return json.dumps(envelope({"system": {"jobs": fields}}, messages=messages))


def entry(second: float, method: str, path: str, text: str) -> Entry:
    """One entry, as a careful recorder writes it."""
    return {
        "startedDateTime": f"2026-03-01T10:00:{second:06.3f}Z",
        "time": 5,
        "request": {
            "method": method,
            "url": f"{SERVER}/api/v1/{path}",
            "headers": [{"name": "Authorization", "value": "Bearer a-long-key"}],
            "bodySize": 0,
        },
        "response": {
            "status": 200,
            "headers": [{"name": "Content-Length", "value": str(len(text.encode()))}],
            "content": {"size": len(text.encode()), "mimeType": "application/json", "text": text},
            "bodySize": len(text.encode()),
        },
        "cache": {},
        "timings": {"send": 0, "wait": 5, "receive": 0},
    }


def life(*answers: float | tuple[str, float]) -> list[Entry]:
    """A job that cannot be cancelled, and what is asked about it, once in three seconds."""
    entries = [entry(0, "POST", "projects/1/export", body(0))]
    for number, answer in enumerate(answers, 1):
        if isinstance(answer, tuple):
            says, state = answer
            text = body(state, says)
            entries.append(entry(3 * number, "DELETE", f"job/{JOB}", text))
        else:
            entries.append(entry(3 * number, "GET", f"job/status/{JOB}", body(answer)))
    return entries


HONEST: Final = life(0.2, 0.4, ("Cannot be cancelled", 0.5), 0.6, 1)
BROKEN: Final = {
    "goes back": (life(0.2, 0.4, 0.2, 0.6), "status.monotonic"),
    "-1, then running": (life(0.2, -1, 0.4), "cancel.persists"),
    "refused, then -1": (life(0.2, ("Cannot be cancelled", 0.3), -1), "refuse.state"),
}


def har(entries: list[Entry]) -> dict[str, Any]:
    return {"log": {"version": "1.2", "creator": {"name": "x", "version": "1"}, "entries": entries}}


def judge(tmp_path: Path, content: bytes, name: str = "a.har") -> Recorded:
    path = tmp_path / name
    path.write_bytes(content)
    return judge_files([path], recipes=[EXPORT])


def failed(recorded: Recorded) -> set[str]:
    return {x.requirement.id for x in recorded.record.results if x.outcome == "fail"}


def copy(entries: list[Entry]) -> list[Entry]:
    return json.loads(json.dumps(entries))  # type: ignore[no-any-return]


def content_of(one: Entry) -> dict[str, Any]:
    return one["response"]["content"]  # type: ignore[no-any-return]


def bytes_of(one: Entry) -> bytes:
    return str(content_of(one)["text"]).encode()


def with_body(one: Entry, packed: bytes, coding: str = "") -> Entry:
    """The same answer, its body as base64 of other bytes."""
    content_of(one).update(text=base64.b64encode(packed).decode(), encoding="base64")
    if coding:
        one["response"]["headers"].append({"name": "Content-Encoding", "value": coding})
    one["response"]["headers"].pop(0)
    return one


def unpadded(one: Entry) -> Entry:
    return with_content(one, text=content_of(one)["text"].rstrip("="))


def updated(one: Entry, **changes: Any) -> Entry:
    return {**one, **changes}


def with_content(one: Entry, **changes: Any) -> Entry:
    content_of(one).update(changes)
    return one


def with_headers(one: Entry, *headers: Any) -> Entry:
    one["request"]["headers"] = list(headers)
    return one


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def halves(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


WHOLE: dict[str, Callable[[Entry], Entry]] = {
    "as it is": lambda x: x,
    "base64": lambda x: with_body(x, bytes_of(x)),
    "base64 in capitals": lambda x: with_content(with_body(x, bytes_of(x)), encoding="BASE64"),
    "base64 without padding": lambda x: unpadded(with_body(x, bytes_of(x) + b" ")),
    "base64 in lines": lambda x: with_content(x, text=base64.encodebytes(bytes_of(x)).decode(), encoding="base64"),
    "text that is called base64": lambda x: with_content(x, encoding="base64"),
    "still gzip": lambda x: with_body(x, gzip.compress(bytes_of(x)), "gzip"),
    "still gzip, unsaid": lambda x: with_body(x, gzip.compress(bytes_of(x))),
    "still gzip, as characters": lambda x: with_content(x, text=gzip.compress(bytes_of(x)).decode("latin-1")),
    "still deflate": lambda x: with_body(x, zlib.compress(bytes_of(x)), "deflate"),
    "still raw deflate": lambda x: with_body(x, raw_deflate(bytes_of(x)), "deflate"),
    "decompressed, header kept": lambda x: with_body(x, bytes_of(x), "br"),
    "chunks in hexadecimal": lambda x: with_content(
        x, text=json.dumps([half.hex() for half in halves(bytes_of(x))]), _isBinary=True
    ),
    "chunks of gzip in base64": lambda x: with_content(
        x,
        text=json.dumps([base64.b64encode(half).decode() for half in halves(gzip.compress(bytes_of(x)))]),
        encoding="base64",
    ),
    "status as text": lambda x: updated(x, response={**x["response"], "status": "200"}),
    "no sizes": lambda x: with_content(x, size=-1),
    "no cache, no timings": lambda x: {k: v for k, v in x.items() if k not in {"cache", "timings"}},
    "credentials removed": with_headers,
    "other headers that sound like keys": lambda x: with_headers(
        x,
        *([{"name": "X-CSRF-TOKEN", "value": "0123"}] if x["request"]["method"] == "POST" else ()),
        {"name": ":authority", "value": "192.0.2.10"},
        {"name": "sec-websocket-key", "value": "x"},
    ),
    "only the creation shows its key": lambda x: x if x["request"]["method"] == "POST" else with_headers(x),
    "broken headers": lambda x: with_headers(x, {"name": "Cookie"}, {"value": "x"}, 5, None),
    "headers null": lambda x: updated(x, request={**x["request"], "headers": None}),
    "time with a zone": lambda x: updated(x, startedDateTime=x["startedDateTime"].replace("Z", "+00:00")),
    "whole seconds": lambda x: updated(x, startedDateTime=x["startedDateTime"].replace(".000Z", "Z")),
    "from the network": lambda x: updated(x, _fetchType="Network Load", _fromCache=None),
}  # fmt: skip
"""Shapes that tell all that was said: honest ones pass, and broken ones are found out."""


@pytest.mark.parametrize("shape", WHOLE)
def test_an_honest_server_is_not_accused(tmp_path: Path, shape: str) -> None:
    entries = [WHOLE[shape](each) for each in copy(HONEST)]
    assert failed(judge(tmp_path, json.dumps(har(entries)).encode())) == set()


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("shape", WHOLE)
def test_a_broken_server_is_found_out(tmp_path: Path, shape: str, broken: str) -> None:
    told, requirement = BROKEN[broken]
    entries = [WHOLE[shape](each) for each in copy(told)]
    assert requirement in failed(judge(tmp_path, json.dumps(har(entries)).encode()))


EMPTY: Final = {"size": 0, "text": "", "mimeType": "x"}


def without_body(one: Entry, content: Any, **response: Any) -> Entry:
    one["response"].update(content=content, **response)
    return one


LOST: dict[str, tuple[Callable[[Entry], Entry], str]] = {
    "empty, though bodySize tells of one": (lambda x: without_body(x, EMPTY, headers=[]), "not recorded"),
    "empty, though Content-Length tells of one": (lambda x: without_body(x, EMPTY, bodySize=0), "not recorded"),
    "empty, though its size tells of one": (lambda x: without_body(x, {**EMPTY, "size": 9}, headers=[], bodySize=0), "not recorded"),
    "empty, of unknown size": (lambda x: without_body(x, EMPTY, headers=[], bodySize=-1), "not recorded"),
    "left out": (lambda x: without_body(x, {"size": 400, "mimeType": "x"}), "not recorded"),
    "no content": (lambda x: without_body(x, None), "not recorded"),
    "in a file that is missing": (lambda x: without_body(x, {"size": 9, "_file": "gone.json"}), "not recorded"),
    "cut off": (lambda x: with_content(x, text=content_of(x)["text"][:200]), "not all of the body"),
    "compressed by what cannot be read": (lambda x: with_body(x, b"\x91\x00\xff", "compress"), "compressed by compress"),
    "gzip that is cut off": (lambda x: with_body(x, gzip.compress(bytes_of(x))[:60], "gzip"), "not all of the body"),
    "base64 that is none": (lambda x: with_content(x, text="MANUALLY REMOVED!", encoding="base64"), "not"),
    "characters replaced": (lambda x: with_content(x, text="\ufffd\ufffd\x08", size=3), "characters missing"),
    "no answer at all": (lambda x: updated(x, response=None), "no answer"),
    "given up": (lambda x: updated(x, response={"status": 0}), "no answer"),
}  # fmt: skip
"""Shapes in which answers are missing: none of them says anything of the server."""


@pytest.mark.parametrize("shape", LOST)
@pytest.mark.parametrize("which", range(1, len(HONEST)))
def test_what_the_recorder_left_out_is_counted_and_fails_no_must(
    tmp_path: Path, shape: str, which: int
) -> None:
    change, why = LOST[shape]
    entries = copy(HONEST)
    entries[which] = change(entries[which])
    recorded = judge(tmp_path, json.dumps(har(entries)).encode())
    assert failed(recorded) == set()
    assert recorded.record.unanswered == {None: 1}
    assert any("1 without an answer" in each and why in each for each in recorded.remarks)


def test_an_empty_body_that_was_recorded_as_such_is_the_servers(tmp_path: Path) -> None:
    entries = copy(life(0.2, 0.4))
    without_body(entries[1], EMPTY, headers=[{"name": "Content-Length", "value": "0"}], bodySize=0)
    assert failed(judge(tmp_path, json.dumps(har(entries)).encode())) == {"status.envelope"}


NOT_THE_SERVERS: dict[str, dict[str, Any]] = {
    "disk cache": {"_fromCache": "disk"},
    "memory cache": {"_fromCache": "memory"},
    "a service worker": {"_fetchedViaServiceWorker": True},
    "WebKit's cache": {"_fetchType": "Disk Cache"},
    "WebKit's service worker": {"_fetchType": "Service Worker"},
    "a test that answered": {"_wasFulfilled": True},
    "not modified": {"response": {"status": 304, "content": {"size": 0, "text": ""}}},
}


@pytest.mark.parametrize("shape", NOT_THE_SERVERS)
def test_what_no_server_answered_is_passed_over_and_counted(tmp_path: Path, shape: str) -> None:
    stale = updated(entry(8, "GET", f"job/status/{JOB}", body(0.1)), **NOT_THE_SERVERS[shape])
    recorded = judge(tmp_path, json.dumps(har([*HONEST, stale])).encode())
    assert failed(recorded) == set()
    assert "1 answer skipped: from a cache" in recorded.remarks[0]


FOREIGN: dict[str, Any] = {
    "bad base64": {**entry(1, "GET", "x", ""), "request": {"url": "https://x.example/a", "method": "GET"}},
    "no method": {"request": {"url": "https://x.example/"}},
    "a header without a value": with_headers(updated(entry(1, "GET", "x", "{}")), {"name": "Cookie"}),
    "no request": {"response": {}},
    "no object": 5,
    "null": None,
    "a method that is no text": {"request": {"url": f"{SERVER}/api/v1/job/status/7", "method": 1}},
}  # fmt: skip


@pytest.mark.parametrize("shape", FOREIGN)
def test_one_bad_entry_costs_one_entry(tmp_path: Path, shape: str) -> None:
    told, requirement = BROKEN["goes back"]
    for entries in ([FOREIGN[shape], *told], [*told, FOREIGN[shape]]):
        recorded = judge(tmp_path, json.dumps(har(entries)).encode())
        assert failed(recorded) == {requirement}
    recorded = judge(tmp_path, json.dumps(har([FOREIGN[shape], *HONEST])).encode())
    assert failed(recorded) == set()


def test_a_broken_entry_is_told_with_its_number(tmp_path: Path) -> None:
    recorded = judge(tmp_path, json.dumps(har([*HONEST, {"request": 1}])).encode())
    assert recorded.remarks[0].startswith(f"{tmp_path}/a.har: entry 7 is broken and was skipped: ")


def zipped(**files: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name.replace("__", "."), data)
    return archive.getvalue()


def attached(entries: list[Entry]) -> tuple[list[Entry], dict[str, bytes]]:
    """The entries with their bodies in other files, as Playwright writes them."""
    files = {}
    entries = copy(entries)
    for number, each in enumerate(entries):
        files[f"body{number}.json"] = str(content_of(each).pop("text")).encode()
        content_of(each)["_file"] = f"body{number}.json"
    return entries, files


def text_of(entries: list[Entry]) -> bytes:
    return json.dumps(har(entries), indent=1).encode()


def playwright_zip(entries: list[Entry]) -> bytes:
    told, files = attached(entries)
    return zipped(**{"har.har": text_of(told), **files})


def playwright_trace(entries: list[Entry], *, older: bool = False) -> bytes:
    """A trace.zip of Playwright: an entry a line, bodies in a folder."""
    told, files = attached(entries)
    for each in told:
        name = content_of(each).pop("_file")
        content_of(each).update({"_sha1": name} if older else {"_file": f"resources/{name}"})
    lines = [{"type": "resource-snapshot", "snapshot": each} for each in told]
    network = "".join(json.dumps(line) + "\n" for line in lines).encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("trace.trace", '{"version":8,"type":"context-options"}\n')
        file.writestr("trace.network", network)
        for name, data in files.items():
            file.writestr(f"resources/{name}", data)
    return archive.getvalue()


PACKED: dict[str, Callable[[list[Entry]], bytes]] = {
    "plain": text_of,
    "in one line": lambda x: json.dumps(har(x)).encode(),
    "UTF-8 with BOM": lambda x: b"\xef\xbb\xbf" + text_of(x),
    "UTF-16 with BOM": lambda x: text_of(x).decode().encode("utf-16"),
    "UTF-16 without BOM": lambda x: text_of(x).decode().encode("utf-16-le"),
    "UTF-16, big end first": lambda x: text_of(x).decode().encode("utf-16-be"),
    "gzip": lambda x: gzip.compress(text_of(x)),
    "zip": lambda x: zipped(har__har=text_of(x)),
    "zip, another name": lambda x: zipped(recording__json=text_of(x)),
    "zip of Playwright": playwright_zip,
    "trace of Playwright": playwright_trace,
    "trace of an older Playwright": lambda x: playwright_trace(x, older=True),
    "members in another order": lambda x: json.dumps(
        {"comment": [1], "log": {"pages": [{"a": [1]}], "entries": x, "version": "1.2"}}
    ).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", ["a.har", "a.HAR", "a.har.txt", "a", "a.jsonl", "a.zip", "a.json"])
@pytest.mark.parametrize("pack", PACKED)
def test_a_recording_is_known_by_its_content(tmp_path: Path, pack: str, name: str) -> None:
    told, requirement = BROKEN["goes back"]
    assert failed(judge(tmp_path, PACKED[pack](told), name)) == {requirement}
    assert failed(judge(tmp_path, PACKED[pack](HONEST), name)) == set()


@pytest.mark.parametrize("pack", ["plain", "in one line", "UTF-16 with BOM", "gzip"])
@pytest.mark.parametrize("part", [0.5, 0.7, 0.9, 0.99])
def test_of_a_file_that_is_cut_off_the_whole_entries_are_judged(
    tmp_path: Path, pack: str, part: float
) -> None:
    content = PACKED[pack](HONEST)
    recorded = judge(tmp_path, content[: int(len(content) * part)])
    assert failed(recorded) == set()
    judged = recorded.record.requests
    assert judged > 0 or pack == "gzip"  # half of a packed file may hold not one entry
    assert judged == len(HONEST) or any("cut off" in each for each in recorded.remarks)


def test_a_trace_of_playwright_that_was_unpacked_is_read(tmp_path: Path) -> None:
    told, requirement = BROKEN["goes back"]
    with zipfile.ZipFile(io.BytesIO(playwright_trace(told))) as archive:
        archive.extractall(tmp_path)
    content = (tmp_path / "trace.network").read_bytes()
    assert failed(judge(tmp_path, content, "trace.network")) == {requirement}
    recorded = judge(tmp_path, content[:-50], "trace.network")
    assert recorded.record.requests == len(told) - 1
    assert any("cut off" in each for each in recorded.remarks)


def test_bodies_in_files_beside_the_recording_are_read(tmp_path: Path) -> None:
    told, files = attached(BROKEN["goes back"][0])
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert failed(judge(tmp_path, text_of(told))) == {"status.monotonic"}


@pytest.mark.parametrize("name", ["../outside.json", "{folder}/outside.json", "link.json"])
def test_files_outside_the_folder_are_never_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "outside.json").write_text(body(0.1))
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    entries = copy(HONEST)
    without_body(entries[-1], {"size": 9, "_file": name.format(folder=tmp_path)})
    recorded = judge(folder, text_of(entries))
    assert recorded.record.unanswered == {None: 1}
    assert failed(recorded) == set()


@pytest.mark.parametrize(
    ("content", "name", "hint"),
    [
        (b"\x80" * 100, "a.flow", "mitmdump -n -r FLOWS --set hardump=recording.har"),
        (b"1909:8:response;0:~}", "a", "mitmdump"),
        (b"PK\x05\x06" + 18 * b"\0", "a.zip", "give a HAR file or a trace"),
        (b"PK\x03\x04", "a.zip", "is a broken zip file: File is not a zip file"),
        (b"<html>", "a.har", "give a HAR file or a trace"),
        (b"[]", "a.json", "give a HAR file or a trace"),
        (b'{"a": 1}', "a.json", "give a HAR file or a trace"),
        (b'{"log": {"version": 1}}', "a.har", "has no list of entries"),
        (b'{"log": {"entries": {}}}', "a.har", "has no list of entries"),
        (b'{"log": {"entries": [1, 2]}}', "a.har", "no entry can be used: entry 1 is broken"),
        (
            b'{"log": {"entries": [{"request": null}]}}',
            "a.har",
            "no entry can be used: entry 1 is broken and was skipped: it has no request with a url",
        ),
        (zipped(readme__md=b"x"), "a.zip", "give a HAR file or a trace"),
    ],
)
def test_what_is_no_recording_is_refused_with_what_is_known(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    name: str,
    hint: str,
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["check", str(tmp_path / name)]) == 4
    assert hint in capsys.readouterr().err


def test_a_file_without_entries_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.har").write_bytes(text_of([]))
    assert main(["check", str(tmp_path / "a.har")]) == 5
    assert f"{tmp_path}/a.har: it has no entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"startedDateTime": None}, "6 of 6 entries without the time"),
        ({"time": -1, "timings": {"send": -1, "wait": -1}}, "6 of 6 entries without the time"),
        ({"startedDateTime": "2026-03-01T10:00:00Z"}, "its times are whole seconds"),
    ],
)
def test_times_that_do_not_tell_the_order_are_remarked(
    tmp_path: Path, change: dict[str, Any], remark: str
) -> None:
    for told in (HONEST, life(0.2, 0.4, 0.2, 0.6, 1)):
        entries = [updated(each, **change) for each in told]
        recorded = judge(tmp_path, text_of(entries))
        assert failed(recorded) <= {"refuse.state"}
        assert any(remark in each for each in recorded.remarks)


def test_without_a_config_it_is_said_what_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "a.har").write_bytes(text_of(HONEST))
    assert "with --config" in judge_files([tmp_path / "a.har"]).remarks[-1]
    assert not judge(tmp_path, text_of(HONEST)).remarks


def test_entries_that_are_told_twice_are_judged_once(tmp_path: Path) -> None:
    recorded = judge(tmp_path, text_of([*HONEST, *HONEST]))
    assert failed(recorded) == set()
    assert recorded.record.requests == len(HONEST)
    assert "6 entries repeated" in recorded.remarks[0]


def set_back(entries: list[Entry], second: int, place: int) -> list[Entry]:
    """The entries with a clock that was set back before one of them."""
    late = [f"2026-03-01T09:{second:02}:{3 * n:02}.000Z" for n in range(len(entries))]
    return [
        updated(each, startedDateTime=late[number]) if number >= place else each
        for number, each in enumerate(copy(entries))
    ]


@pytest.mark.parametrize("place", range(1, 10))
def test_a_clock_that_was_set_back_fails_no_must(tmp_path: Path, place: int) -> None:
    honest = life(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1)
    recorded = judge(tmp_path, text_of(set_back(honest, 0, place)))
    assert failed(recorded) == set()
    assert "contradict the order of the entries" in recorded.remarks[0]


def test_behind_a_clock_that_was_set_back_faults_are_found(tmp_path: Path) -> None:
    broken = life(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.4, 0.8)
    assert failed(judge(tmp_path, text_of(set_back(broken, 0, 3)))) == {"status.monotonic"}


def test_entries_that_stand_in_any_order_are_judged_by_their_times(tmp_path: Path) -> None:
    told, requirement = BROKEN["goes back"]
    assert failed(judge(tmp_path, text_of(told[::-1]))) == {requirement}
    assert failed(judge(tmp_path, text_of(HONEST[::-1]))) == set()


def test_a_refusal_is_known_by_its_recipe(tmp_path: Path) -> None:
    entries = life(0.2, ("Cannot be cancelled", 0.3), 0.4, 1)
    entries[2] = entry(6, "DELETE", f"job/{JOB}", json.dumps(error("No")))
    assert "refuse.state" in failed(judge(tmp_path, text_of(entries)))


def test_the_terminal_may_have_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.har").write_bytes(text_of(life(0.2, ("No \u2192 \u00e9", 0.4), 0.3)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest_expedition.cli", "check", "a.har"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert "status.monotonic" in done.stdout.decode("cp1252")


def test_a_pipe_that_is_closed_ends_the_command_quietly(tmp_path: Path) -> None:
    (tmp_path / "a.har").write_bytes(text_of(BROKEN["goes back"][0]))
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "pytest_expedition.cli", "check", "a.har"],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
