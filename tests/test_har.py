"""HAR files and what is taken from them: nothing that they do not say."""

from __future__ import annotations

import base64
import importlib
import json
import sys
import tracemalloc
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from histories import JOB, envelope, error, job_fields

from pytest_expedition import JobRecipe
from pytest_expedition.recordings import bodies, classification, har
from pytest_expedition.recordings.files import RecordingError, open_recordings

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_expedition.oracle.history import Exchange

URL = "https://192.0.2.10"
KEY = {"name": "Authorization", "value": "Bearer a-long-key"}
SHOWN = json.dumps(envelope({"system": {"jobs": job_fields(JOB, 0.5)}}))


def entry(
    method: str = "GET",
    path: str = f"/api/v1/job/status/{JOB}",
    *,
    text: Any = SHOWN,
    url: str = URL,
    **changes: Any,
) -> dict[str, Any]:
    """An entry as Chrome writes it."""
    content = {"size": len(text or ""), "mimeType": "application/json", "text": text}
    return {
        "startedDateTime": "2026-03-01T10:00:00.000Z",
        "time": 20.5,
        "request": {
            "method": method,
            "url": url + path,
            "httpVersion": "HTTP/1.1",
            "headers": [KEY],
            "queryString": [],
            "cookies": [],
            "headersSize": -1,
            "bodySize": 0,
        },
        "response": {
            "status": 200,
            "statusText": "OK",
            "headers": [],
            "content": {name: value for name, value in content.items() if value is not None},
        },
        "cache": {},
        "timings": {"blocked": -1, "dns": -1, "connect": -1, "send": 0.5, "wait": 19, "receive": 1},
        **changes,
    }


def response(status: Any = 200, **content: Any) -> dict[str, Any]:
    return {"status": status, "headers": [], "content": content}


def read(tmp_path: Path, *entries: Any, recipes: Any = ()) -> classification.Classified:
    path = tmp_path / "a.har"
    document = {"log": {"version": "1.2", "creator": {}, "entries": list(entries)}}
    path.write_text("\ufeff" + json.dumps(document), encoding="utf-8")
    log = har_log(path)
    found = classification.classify(log.requests, recipes=recipes, all_headers=False)
    return replace(found, passed_over=found.passed_over + log.passed_over)


def har_log(path: Path) -> har.HarLog:
    (log,) = (har.read_har(recording) for recording in open_recordings(path))
    return log


def one(tmp_path: Path, *entries: Any, recipes: Any = ()) -> Exchange:
    found = read(tmp_path, *entries, recipes=recipes)
    ((exchange,),) = found.servers.values()
    return exchange


def test_an_entry_becomes_an_exchange(tmp_path: Path) -> None:
    exchange = one(tmp_path, entry())
    assert (exchange.kind, exchange.job_id, exchange.status) == ("status", JOB, 200)
    assert exchange.path == f"/api/v1/job/status/{JOB}"
    assert exchange.state == 0.5
    assert exchange.probe == ""
    assert exchange.received - exchange.sent == pytest.approx(0.0225, abs=1e-5)


@pytest.mark.parametrize(
    ("method", "path", "text", "purpose"),
    [
        ("GET", "/api/v1/job/status/7", SHOWN, ("status", 7)),
        ("GET", "/api/v1/job/status/7/complete", SHOWN, ("status", 7)),
        ("GET", "/api/v1/job/7?complete=true", SHOWN, ("status", 7)),
        ("get", "/api/v1/job/7", "", ("status", 7)),
        ("DELETE", "/api/v1/job/7", SHOWN, ("cancel", 7)),
        ("DELETE", "/api/v1/job/7/", SHOWN, ("cancel", 7)),
        ("POST", "/api/v1/project/1/import", SHOWN, ("create", None)),
        ("POST", "/api/v1/anything", '{"data": {"job_id": 7}}', ("create", None)),
        ("PUT", "/api/v1/anything", json.dumps(envelope({"jobId": 7})), ("create", None)),
        ("GET", "/api/v1/device/1/retrieveContent/running", SHOWN, ("create", None)),
        ("GET", "/api/v1/agent/stop", "{}", ("agent", None)),
        ("GET", "/api/v1/project/1/last-import", SHOWN, None),  # it only tells of a job
        ("POST", "/api/v1/project/1/import", json.dumps(error()), None),
        ("GET", "/api/v1/job/list", SHOWN, None),
        ("GET", "/api/v1/job/status/undefined", SHOWN, None),
        ("GET", "/api/v1/job/status/0", SHOWN, None),
        ("GET", "/api/v1/job/status/99999999999999999999", SHOWN, None),
        ("GET", "/api/v1/job/7/log", SHOWN, None),
        ("OPTIONS", "/api/v1/job/7", "", None),
        ("POST", "/api/v1/generate_api_key", SHOWN, None),
        ("GET", "/index.html", SHOWN, None),
    ],
)
def test_what_a_request_was_for(
    tmp_path: Path, method: str, path: str, text: str, purpose: Any
) -> None:
    found = read(tmp_path, entry(method, path, text=text))
    if purpose is None:
        assert (found.servers, found.passed_over) == ({}, 1)
    else:
        ((exchange,),) = found.servers.values()
        assert (exchange.kind, exchange.job_id) == purpose
        assert found.passed_over == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_request_that_may_have_changed_a_job_counts_as_a_cancel_at_an_unknown_time(
    tmp_path: Path, method: str
) -> None:
    exchange = one(tmp_path, entry(method, "/api/v1/job/7/anything"))
    assert (exchange.kind, exchange.job_id, exchange.status) == ("cancel", 7, None)
    assert exchange.lost


def test_a_recipe_tells_of_creations_that_show_no_id_and_whether_jobs_can_be_cancelled(
    tmp_path: Path,
) -> None:
    recipe = JobRecipe(name="fetch", method="GET", path="/api/v1/fetch", cancellable=True)
    other = JobRecipe(name="other", method="GET", path="/api/v1/fetch", cancellable=False)
    fetch = entry("GET", "/api/v1/fetch?x=1", text="{}")
    assert one(tmp_path, fetch, recipes=[recipe]).cancellable is True
    assert one(tmp_path, fetch, recipes=[recipe, other]).cancellable is None
    failed = entry("GET", "/api/v1/fetch", response=response(422, text="{}", size=2))
    assert read(tmp_path, failed, recipes=[recipe]).servers == {}


def test_hosts_and_prefixes_are_kept_apart(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        entry(url="https://192.0.2.10"),
        entry(url="https://192.0.2.10:443"),
        entry(url="HTTPS://192.0.2.10"),
        entry(url="https://192.0.2.10:8443"),
        entry(url="https://192.0.2.10/expedition"),
        entry(url="http://[2001:db8::1]:8080"),
        entry(url="https://user:word@192.0.2.11"),
        entry(url="https://192.0.2.10:x"),
        entry(url="data:"),
    )
    assert {server: len(exchanges) for server, exchanges in found.servers.items()} == {
        "https://192.0.2.10": 3,
        "https://192.0.2.10:8443": 1,
        "https://192.0.2.10/expedition": 1,
        "http://[2001:db8::1]:8080": 1,
        "https://192.0.2.11": 1,
    }
    assert found.passed_over == 2


def test_a_body_in_base64(tmp_path: Path) -> None:
    text = base64.b64encode(b"\xff{").decode()
    coded = response(text=text, encoding="base64", size=2)
    assert one(tmp_path, entry(response=coded)).body == b"\xff{"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (response(0, text="", size=0), "no answer"),  # Chrome, where a request was given up
        (response(-1), "no answer"),
        (None, "no answer"),
        ({}, "no answer"),
        (response(size=500), "body"),  # the browser did not keep it
        (response(text="", size=500), "body"),
        (response(text="", size=-1), "body"),
        (response(text=SHOWN[:100], size=500), "body"),  # Firefox cuts long ones
        (response(302, text="", size=0), "elsewhere"),
        (response(600, text=SHOWN, size=10), "elsewhere"),
    ],
)
def test_what_was_not_recorded_counts_as_no_answer(tmp_path: Path, answer: Any, why: str) -> None:
    exchange = one(tmp_path, entry(response=answer))
    assert exchange.status is None
    assert why in exchange.lost


@pytest.mark.parametrize("size", [len(SHOWN) + 40, len(SHOWN), 10, None, -1])
def test_a_body_that_is_whole_counts_whatever_its_size_is_said_to_be(
    tmp_path: Path, size: int | None
) -> None:
    assert one(tmp_path, entry(response=response(text=SHOWN, size=size))).state == 0.5


def test_an_empty_body_that_was_recorded_is_one(tmp_path: Path) -> None:
    exchange = one(tmp_path, entry(response=response(text="", size=0)))
    assert exchange.status == 200
    assert exchange.answer.problem == "it is empty"


def span(tmp_path: Path, **changes: Any) -> tuple[float, float]:
    """When an entry was sent and answered, beside one from 10:00:00 to 10:01:00."""
    whole_minute = entry(time=60_000, startedDateTime="2026-03-01T10:00:00.000000Z")
    found = read(tmp_path, whole_minute, {**entry(), **changes})
    ((first, second),) = found.servers.values()
    return round(second.sent - first.sent, 5), round(second.received - first.sent, 5)


@pytest.mark.parametrize(
    ("begun", "sent"),
    [
        ("2026-03-01T10:00:30.000Z", 30),
        ("2026-03-01T11:30:30.000+01:30", 30),
        ("2026-03-01T04:30:30.000-0530", 30),
        ("2026-03-01 09:00:30.000 -01", 30),
        ("2026-03-01T10:00:30.000000z", 30),
        ("2026-03-01T10:00:30.5Z", 30.401),  # what is told with one digit is no more exact
        ("2026-03-01T10:00:30Z", 29.001),
        ("2026-03-01T10:00:30.0004Z", 30.0004),
    ],
)
def test_times_have_zones_and_are_as_exact_as_they_are_told(
    tmp_path: Path, begun: str, sent: float
) -> None:
    assert span(tmp_path, startedDateTime=begun)[0] == sent


@pytest.mark.parametrize("begun", ["yesterday", "", None, 0, "2026-13-01T10:00:00Z", "…+99:00"])
def test_a_request_of_unknown_time_may_have_been_sent_at_any_time(
    tmp_path: Path, begun: Any
) -> None:
    assert span(tmp_path, startedDateTime=begun) == (0, 60.002)


@pytest.mark.parametrize("took", [None, -1, 0, "5", float("inf")])
def test_an_answer_of_unknown_time_may_have_come_at_the_very_end(tmp_path: Path, took: Any) -> None:
    begun = "2026-03-01T10:00:30.000Z"
    nothing: Any
    for nothing in ({}, {"wait": -1}, {"wait": 0}, None):
        times = span(tmp_path, startedDateTime=begun, time=took, timings=nothing)
        assert times == (30, 60.002)
    parts = {"connect": 20, "ssl": 15, "wait": 30, "receive": -1}
    assert span(tmp_path, startedDateTime=begun, time=took, timings=parts)[1] == 30.052


def test_a_request_is_without_a_key_only_where_the_file_shows_keys(tmp_path: Path) -> None:
    bare = entry(text=json.dumps(error()), response=response(401, text="{}", size=2))
    bare["request"]["headers"] = []
    assert one(tmp_path, bare).probe == ""  # Chrome leaves credentials out
    elsewhere = entry(url="https://192.0.2.11")
    assert {x.probe for (x,) in read(tmp_path, bare, elsewhere).servers.values()} == {""}
    ((first, second),) = read(tmp_path, bare, entry()).servers.values()
    assert (first.probe, second.probe) == ("no-key", "")
    with_cookie = entry()
    with_cookie["request"]["headers"] = [{"name": "cookie", "value": "laravel_session=x"}]
    ((first, second),) = read(tmp_path, with_cookie, entry()).servers.values()
    assert (first.probe, second.probe) == ("", "")
    other = {"name": "X-Csrf-Token", "value": "no-key"}
    with_other = entry()
    with_other["request"]["headers"] = [other, {"name": ":authority", "value": "192.0.2.10"}]
    assert [x.probe for (x,) in read(tmp_path, with_other).servers.values()] == [""]


def test_a_poll_without_a_key_that_was_answered_is_judged_as_a_poll(tmp_path: Path) -> None:
    bare = entry()
    bare["request"]["headers"] = []
    ((first, second),) = read(tmp_path, bare, entry()).servers.values()
    assert (first.probe, second.probe) == ("", "")


def test_keys_and_passwords_are_known_as_secrets(tmp_path: Path) -> None:
    granted = json.dumps(envelope({"api_key": "the-new-key", "csrfToken": "the-token", "id": 1}))
    login = entry("POST", "/api/v1/login", text=granted)
    login["request"]["postData"] = {
        "mimeType": "application/x-www-form-urlencoded",
        "params": [{"name": "username", "value": "admin"}, {"name": "password", "value": "pass&ä"}],
    }
    as_json = entry("POST", "/api/v1/login", text="{}")
    as_json["request"]["postData"] = {"text": '{"password": "another one"}'}
    assert set(read(tmp_path, login, as_json).secrets) == {
        "a-long-key",
        "the-new-key",
        "the-token",
        "pass&ä",
        "another one",
    }


def test_credentials_in_queries_and_bodies_are_known_as_secrets(tmp_path: Path) -> None:
    in_query = entry(path="/api/v1/job/status/12?complete=true&token=in+the+query&_=1")
    in_form = entry("POST", "/api/v1/project/1/import")
    in_form["request"]["postData"] = {"text": "resource=%2Ftmp%2Fa.xml&Password=in-a-form"}
    in_json = entry("POST", "/api/v1/project/2/import")
    in_json["request"]["postData"] = {"text": '{"device": {"apiKey": "in json", "id": 7}}'}
    assert set(read(tmp_path, in_query, in_form, in_json).secrets) == {
        "a-long-key",
        "in the query",
        "in-a-form",
        "in json",
    }


CODINGS = {
    "br": ["brotli", "brotlicffi"],
    "zstd": ["compression.zstd", "backports.zstd", "zstandard"],
}
"""Compressions, and the modules that undo them."""


def compress(coding: str, body: bytes) -> bytes:
    """Compress a body as a server does that does not know its length beforehand."""
    if coding in {"gzip", "deflate"}:
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS | (16 if coding == "gzip" else 0))
        return packer.compress(body) + packer.flush()
    if coding == "br":
        return bytes(pytest.importorskip("brotli").compress(body))
    zstd = pytest.importorskip("zstandard").ZstdCompressor().compressobj()
    return bytes(zstd.compress(body) + zstd.flush())


def compressed(coding: str, body: bytes) -> dict[str, Any]:
    """An entry whose body the recorder left compressed."""
    text = base64.b64encode(body).decode()
    answer = response(size=len(SHOWN), text=text, encoding="base64")
    answer["headers"] = [{"name": "Content-Encoding", "value": coding}]
    return entry(response=answer)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_body_is_read_by_each_module_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    whole = compressed(coding, compress(coding, SHOWN.encode()))
    cut_off = compressed(coding, compress(coding, SHOWN.encode())[:-20])
    installed = [name for name in CODINGS[coding] if is_installed(name)]
    assert installed
    for module in installed:
        for other in CODINGS[coding]:
            if other != module:
                monkeypatch.setitem(sys.modules, other, None)
        assert one(tmp_path, whole).body == SHOWN.encode()
        assert one(tmp_path, cut_off).status is None
        monkeypatch.undo()


@pytest.mark.parametrize("coding", ["gzip", "deflate", *CODINGS])
def test_a_body_is_decompressed_no_further_than_to_the_largest_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    monkeypatch.setattr(bodies, "LARGEST_BODY", 1000)
    bomb = compressed(coding, compress(coding, bytes(64 * 2**20)))
    modules = CODINGS.get(coding, [])
    for module in [name for name in modules if is_installed(name)] or [""]:
        with pytest.MonkeyPatch.context() as patch:
            for other in modules:
                if other != module:
                    patch.setitem(sys.modules, other, None)
            tracemalloc.start()
            exchange = one(tmp_path, bomb)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert exchange.status is None
        assert exchange.lost.endswith("the body is too long" if module else "or it is too long")
        assert peak < 32 * 2**20


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_body_may_be_compressed_in_parts(tmp_path: Path, coding: str) -> None:
    parts = [compress(coding, part.encode()) for part in (SHOWN[:40], "", SHOWN[40:])]
    assert one(tmp_path, compressed(coding, b"".join(parts))).body == SHOWN.encode()
    cut_off = one(tmp_path, compressed(coding, b"".join(parts)[:-20]))
    assert cut_off.status is None


@pytest.mark.parametrize("junk", [b"x", bytes(9)], ids=["x", "zeros"])
def test_what_follows_a_body_that_is_zipped_is_ignored(tmp_path: Path, junk: bytes) -> None:
    packed = compress("gzip", SHOWN[:40].encode()) + compress("gzip", SHOWN[40:].encode())
    assert one(tmp_path, compressed("gzip", packed + junk)).body == SHOWN.encode()


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_body_is_not_recorded_where_no_module_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    packed = compressed(coding, compress(coding, SHOWN.encode()))
    for module in CODINGS[coding]:
        monkeypatch.setitem(sys.modules, module, None)
    exchange = one(tmp_path, packed)
    assert exchange.status is None
    assert exchange.lost.startswith(f"the body is still compressed by {coding}: pip install ")


def is_installed(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        har_log(tmp_path / "none.har")


def test_the_dialects_all_tell_of_creations() -> None:
    for document in ({"data": {"job_id": 1}}, envelope({"jobId": 1}), json.loads(SHOWN)):
        body = json.dumps(document).encode()
        purpose = classification.purpose_of("POST", "/api/v1/project/1/export", body, ok=True)
        assert purpose.kind == "create"
