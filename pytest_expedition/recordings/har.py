"""HAR 1.2 files, as browsers and proxies export them.

What a file does not tell is taken to be as uncertain as it is: a request without times may have
been sent, and answered, at any time of the recording.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from pytest_expedition.recordings.trace import RecordingError
from pytest_expedition.recordings.traffic import Seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLOCK_SECONDS: Final = 0.001
"""How exact times are at the best: many writers round to milliseconds."""

_TIME: Final = re.compile(
    r"(?P<minute>\d{4}-\d\d-\d\d[T ]\d\d:\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r" *(?:Z|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?)?",
    re.IGNORECASE,
)


def read(path: Path) -> Iterator[Seen]:
    """Read the entries of a HAR file; times are in seconds from the beginning of the recording.

    Raises ``RecordingError`` for what is no HAR.
    """
    entries = _entries(path)
    times = [_times(entry) for entry in entries]
    known = [instant for each in times for instant in each if instant is not None]
    first, last = min(known, default=0.0), max(known, default=0.0)
    for number, (entry, (sent, received)) in enumerate(zip(entries, times, strict=True), 1):
        try:
            seen = _seen(
                entry,
                sent=(first if sent is None else sent) - first,
                received=(last if received is None else received) - first,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            raise RecordingError(f"{path}: entry {number} is none of a HAR: {what}") from None
        yield seen


def _entries(path: Path) -> list[Any]:
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: is no HAR file: {error}") from None
    log = document.get("log") if isinstance(document, dict) else None
    entries = log.get("entries") if isinstance(log, dict) else None
    if not isinstance(entries, list):
        raise RecordingError(f"{path}: is no HAR file: log.entries must be a list")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise RecordingError(f"{path}: entry {number}: must be an object, got {entry!r}")
    return entries


def _times(entry: dict[str, Any]) -> tuple[float | None, float | None]:
    """When an entry was sent and answered, at the earliest and at the latest."""
    begun = entry.get("startedDateTime")
    found = _TIME.fullmatch(begun.strip()) if isinstance(begun, str) else None
    if found is None:
        return None, None
    offset = timedelta(hours=int(found["hours"] or 0), minutes=int(found["minutes"] or 0))
    try:
        zone = timezone(-offset if found["sign"] == "-" else offset)
        minute = datetime.fromisoformat(found["minute"]).replace(tzinfo=zone)
    except ValueError:
        return None, None
    fraction = found["fraction"] or ""
    seconds = float(f"{found['second'] or 0}.{fraction or 0}")
    inexact = max(10.0 ** -len(fraction), CLOCK_SECONDS)
    sent = minute.timestamp() + seconds
    took = _milliseconds(entry.get("time"))
    timings = entry.get("timings")
    if took is None and isinstance(timings, dict):
        # The time for TLS is part of that for the connection.
        parts = [_milliseconds(timings[name]) for name in timings if name != "ssl"]
        took = sum(part for part in parts if part is not None) or None
    received = None if took is None else sent + took / 1000 + inexact
    return sent - inexact, received


def _milliseconds(value: object) -> float | None:
    """A time that was measured; writers that have measured none put -1, or 0."""
    return float(value) if isinstance(value, int | float) and 0 < value < 1e12 else None


def _seen(entry: dict[str, Any], *, sent: float, received: float) -> Seen:
    request, response = entry["request"], entry.get("response") or {}
    status = response.get("status")
    lost, body = "", b""
    if type(status) is not int or status <= 0:
        status, lost = None, "no answer was recorded"
    else:
        recorded = _body(response.get("content") or {})
        if recorded is None:
            status, lost = None, "the body of the answer was not recorded, or not all of it"
        else:
            body = recorded
    return Seen(
        method=request["method"].upper(),
        url=request["url"],
        headers={each["name"]: str(each["value"]) for each in request.get("headers") or ()},
        request_body=_posted(request.get("postData") or {}),
        sent=sent,
        received=max(sent, received),
        status=status,
        body=body,
        lost=lost,
    )


def _body(content: dict[str, Any]) -> bytes | None:
    """The body of an answer, unless it was not recorded or is cut off."""
    text, size = content.get("text"), content.get("size")
    if not isinstance(text, str):
        return None
    if content.get("encoding") == "base64":
        body = base64.b64decode(text)
    else:
        body = text.encode("utf-8", "replace")
    if not body:
        return body if size == 0 else None
    told = size if isinstance(size, int) else 0
    return None if len(body) < told and not _is_json(body) else body


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _posted(data: dict[str, Any]) -> bytes:
    if isinstance(data.get("text"), str):
        return str(data["text"]).encode("utf-8", "replace")
    params = data.get("params") or ()
    return urlencode([(each["name"], each.get("value", "")) for each in params]).encode()
