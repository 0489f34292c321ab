"""HAR 1.2 files, as browsers, proxies and test tools export them, and the traces of Playwright.

A trace of Playwright has a line for each request, with an entry as in a HAR file.

What a file does not say is taken as unknown: a request without times may have been sent, and
answered, at any time of the recording.
"""

from __future__ import annotations

import functools
import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from pytest_expedition.protocol.envelope import whole_number
from pytest_expedition.recordings.bodies import NotRecordedError, body_of, headers_of
from pytest_expedition.recordings.classification import ForeignExchange, is_of_the_api
from pytest_expedition.recordings.files import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from pytest_expedition.recordings.files import Recording

CLOCK_SECONDS: Final = 0.001
"""How exact times are at best: many writers round to milliseconds."""

_TIME: Final = re.compile(
    r"(?P<minute>\d{4}-\d\d-\d\d[T ]\d\d:\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r" *(?:Z|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?)?",
    re.IGNORECASE,
)
_HEADERS: Final = frozenset({"authorization", "cookie", "content-type"})
"""The headers of a request that are needed to judge it."""

_FEW_BREAKS: Final = 4
"""A log is in order of time, except for mistakes, if at most one entry in this many goes back."""

_CHUNK: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class HarLog:
    """What a HAR file holds: the requests to an API, and remarks on what could not be used."""

    requests: list[ForeignExchange]
    passed_over: int
    remarks: list[str]


@dataclass(frozen=True)
class _Entry:
    """An entry that was read; ``sent`` and ``received`` are ``None`` if it has no times."""

    exchange: ForeignExchange
    sent: float | None
    received: float | None
    exact: bool
    """Whether the time has fractions of a second."""


def read_har(recording: Recording) -> HarLog:
    """Read a HAR file; times are in seconds from the beginning of the recording.

    Raises ``RecordingError`` for a file without a list of entries.
    """
    return _Reader(recording).read()


class _BrokenEntryError(ValueError):
    """An entry that cannot be used; the message says why."""


class _Reader:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._found: dict[object, _Entry] = {}
        self._passed_over = 0
        self._not_from_the_server = 0
        self._told_twice = 0
        self._remarks: list[str] = []

    def read(self) -> HarLog:
        name = self._recording.name
        number = 0
        of_playwright = self._recording.kind == "playwright"
        entries = self._entries_of_playwright() if of_playwright else self._entries()
        for number, entry in enumerate(entries, 1):
            try:
                self._take(entry)
            except (AttributeError, KeyError, TypeError, ValueError) as error:  # noqa: PERF203
                told = isinstance(error, _BrokenEntryError)
                what = str(error) if told else "a field is missing or of the wrong type"
                self._remarks.append(f"entry {number} is broken and was skipped: {what}")
        found = list(self._found.values())
        if not number:
            self._remarks.append("it has no entries")
        elif self._remarks and not found and not self._passed_over:
            raise RecordingError(f"{name}: no entry can be used: {self._remarks[0]}")
        if self._not_from_the_server:
            self._remarks.append(
                f"{_number(self._not_from_the_server, 'answer')} skipped: from a cache or a "
                "service worker, not from the server"
            )
        if self._told_twice:
            self._remarks.append(f"{_number(self._told_twice, 'entry')} repeated: judged once")
        requests = self._in_time(found)
        return HarLog(
            requests=requests,
            passed_over=self._passed_over,
            remarks=[f"{name}: {remark}" for remark in self._remarks],
        )

    def _entries(self) -> Iterator[Any]:
        """Yield the entries, as many as are whole."""
        text = JsonText(self._recording.text)
        try:
            if not (text.member("log") and text.member("entries") and text.take("[")):
                raise RecordingError(f"{self._recording.name}: has no list of entries")
            while text.peek() not in {"]", ""}:
                yield text.value()
                text.take(",")
            if text.peek() != "]":
                self._remarks.append("it is cut off; the entries that are whole are judged")
        except json.JSONDecodeError as error:
            where = "it is cut off" if text.at_end else f"it is not JSON from here on ({error.msg})"
            self._remarks.append(f"{where}; the entries before are judged")
        except RecursionError:
            self._remarks.append("an entry is nested too deep; the entries before are judged")

    def _entries_of_playwright(self) -> Iterator[Any]:
        for line in self._recording.text:
            try:
                event = json.loads(line, parse_int=whole_number)
            except (ValueError, RecursionError):
                self._remarks.append("it is cut off; the entries before are judged")
                return
            if isinstance(event, dict) and event.get("type") == "resource-snapshot":
                yield event.get("snapshot")

    def _take(self, entry: Any) -> None:
        """Take up an entry, if it is a request to an API that the server answered."""
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict) or not isinstance(request.get("url"), str):
            raise _BrokenEntryError("it has no request with a url")
        if not is_of_the_api(request["url"]):
            self._passed_over += 1
            return
        response = entry.get("response")
        response = response if isinstance(response, dict) else {}
        if _is_not_from_the_server(entry, response):
            self._not_from_the_server += 1
            return
        sent, received, exact = _times(entry)
        status: object = response.get("status")
        if isinstance(status, str) and status.isdecimal():
            status = int(status)
        body, lost = b"", ""
        if type(status) is not int or status <= 0:
            status, lost = None, "no answer was recorded"
        else:
            try:
                body = body_of(response, self._recording.attached)
            except NotRecordedError as error:
                status, lost = None, str(error)
        exchange = ForeignExchange(
            method=request["method"].upper(),
            url=request["url"],
            headers=headers_of(request, _HEADERS),
            request_body=_posted(request.get("postData")),
            sent=0.0,
            received=0.0,
            status=status,
            body=body,
            lost=lost,
        )
        names = ("startedDateTime", "time", "connection", "_request_id")
        told = str([*(entry.get(name) for name in names), exchange.headers])
        # Without a time, two equal entries may be two requests.
        key = (
            object()
            if sent is None
            else hash((told, exchange.method, exchange.url, status, body, lost))
        )
        if key in self._found:
            self._told_twice += 1
        else:
            self._found[key] = _Entry(exchange, sent, received, exact)

    def _in_time(self, entries: list[_Entry]) -> list[ForeignExchange]:
        """Give the requests their times, or the whole recording if a time is unknown."""
        known = [x for each in entries for x in (each.sent, each.received) if x is not None]
        first, last = min(known, default=0.0), max(known, default=0.0)
        sent = [first if each.sent is None else each.sent for each in entries]
        received = [last if each.received is None else each.received for each in entries]
        unknown = sum(each.sent is None or each.received is None for each in entries)
        if unknown:
            self._remarks.append(
                f"{unknown} of {_number(len(entries), 'entry')} without the time of sending or of "
                "the answer: their order is unknown"
            )
        whole_seconds = [not each.exact for each in entries if each.sent is not None]
        if whole_seconds and all(whole_seconds):
            self._remarks.append(
                "its times are whole seconds: the order of requests within a second is unknown"
            )
        doubtful = _doubtful(list(zip(sent, received, strict=True)))
        for place in doubtful:
            sent[place], received[place] = first, last
        if doubtful:
            self._remarks.append(
                f"the times of {_number(len(doubtful), 'entry')} contradict the order of the "
                "entries: when these were sent is unknown"
            )
        for each, begun, ended in zip(entries, sent, received, strict=True):
            each.exchange.sent = begun - first
            each.exchange.received = max(begun, ended) - first
        return [each.exchange for each in entries]


class JsonText:
    """JSON text that is read value by value, so that all of it need not fit into memory."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._decoder = json.JSONDecoder(parse_int=whole_number)
        self._text = ""
        self._at = 0
        self.at_end = False

    def member(self, name: str) -> bool:
        """Go into an object, to the value of its member of this name; say whether there is one."""
        if not self.take("{"):
            return False
        while self.peek() == '"':
            found = self.value()
            self.take(":")
            if found == name:
                return True
            self.value()
            self.take(",")
        return False

    def peek(self) -> str:
        """Return the next character that is no white space, "" at the end."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                if character not in " \t\r\n":
                    return character
                self._at += 1
            if not self._more():
                return ""

    def take(self, character: str) -> bool:
        """Skip the next character, if it is this one."""
        is_there = self.peek() == character
        self._at += is_there
        return is_there

    def value(self) -> Any:
        """Read the next value. Raises ``json.JSONDecodeError`` if there is none."""
        self.peek()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if not self._more():
                    raise
                continue
            if end == len(self._text) and self._more():
                continue  # a number may go on
            self._at = end
            return found

    def _more(self) -> bool:
        """Read on; say whether there was more."""
        more = self._file.read(max(_CHUNK, len(self._text) - self._at))
        if not more:
            self.at_end = True
            return False
        self._text = self._text[self._at :] + more
        self._at = 0
        return True


def _doubtful(times: list[tuple[float, float]]) -> set[int]:
    """Return the places of entries whose times contradict their places.

    Recorders write entries in the order in which they are sent, or answered. If an entry ended
    before an entry above it was sent, a clock was set back or a time is wrong. The smallest set of
    entries that explains this is returned. In a file that is sorted otherwise, times are trusted.
    """
    earliest = float("inf")
    contradicts = False
    for sent, received in reversed(times):
        contradicts |= earliest < sent
        earliest = min(earliest, received)
    if not contradicts:
        return set()
    doubtful = set(range(len(times))) - _in_order([sent for sent, _ in times])
    breaks = sum(later < earlier for (earlier, _), (later, _) in pairwise(times))
    is_a_log = 2 * len(doubtful) <= len(times) or breaks * _FEW_BREAKS <= len(times)
    return doubtful if is_a_log else set()


def _in_order(times: list[float]) -> set[int]:
    """Return the places of the longest non-decreasing subsequence of the times."""
    ends: list[float] = []
    """The smallest time with which a subsequence of each length can end."""
    last: list[int] = []
    before: list[int | None] = []
    for place, time in enumerate(times):
        length = bisect_right(ends, time)
        ends[length : length + 1] = [time]
        last[length : length + 1] = [place]
        before.append(last[length - 1] if length else None)
    row: set[int] = set()
    at = last[-1] if last else None
    while at is not None:
        row.add(at)
        at = before[at]
    return row


def _number(count: int, what: str) -> str:
    plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{count} {what if count == 1 else plural}"


def _is_not_from_the_server(entry: dict[str, Any], response: dict[str, Any]) -> bool:
    """Whether a cache, a service worker or a test answered, as far as the recorder says."""
    fetched = str(entry.get("_fetchType") or response.get("_fetchType") or "network").lower()
    return bool(
        entry.get("_fromCache")
        or response.get("_fromCache")
        or entry.get("_fetchedViaServiceWorker")
        or response.get("_fetchedViaServiceWorker")
        or entry.get("_wasFulfilled")
        or not fetched.startswith("network")
        or response.get("status") in {304, "304"}
    )


def _times(entry: dict[str, Any]) -> tuple[float | None, float | None, bool]:
    """When an entry was sent and answered, at the earliest and at the latest.

    The third value says whether the time has fractions of a second.
    """
    begun = entry.get("startedDateTime")
    found = _TIME.fullmatch(begun.strip()) if isinstance(begun, str) else None
    if found is None:
        return None, None, False
    try:
        minute = _minute(found["minute"], found["sign"], found["hours"], found["minutes"])
    except ValueError:
        return None, None, False
    fraction = found["fraction"] or ""
    seconds = float(f"{found['second'] or 0}.{fraction or 0}")
    inexact = max(10.0 ** -len(fraction), CLOCK_SECONDS)
    if found["second"] is None:
        inexact = 60.0
    sent = minute + seconds
    took = _milliseconds(entry.get("time"))
    timings = entry.get("timings")
    if took is None and isinstance(timings, dict):
        # The time for TLS is part of that for the connection.
        parts = [_milliseconds(timings[name]) for name in timings if name != "ssl"]
        took = sum(part for part in parts if part is not None) or None
    received = None if took is None else sent + took / 1000 + inexact
    return sent - inexact, received, bool(fraction)


@functools.lru_cache(maxsize=64)  # most entries are of the same few minutes
def _minute(text: str, sign: str | None, hours: str | None, minutes: str | None) -> float:
    """Return when a minute began in a time zone. Raises ``ValueError`` if there is none."""
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    zone = timezone(-offset if sign == "-" else offset)
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def _milliseconds(value: object) -> float | None:
    """Return a measured time; writers that have measured none write -1 or 0."""
    return float(value) if isinstance(value, int | float) and 0 < value < 1e12 else None


def _posted(data: object) -> bytes:
    """Return the body of a request, or what its parameters say of it."""
    if not isinstance(data, dict):
        return b""
    if isinstance(data.get("text"), str) and data["text"]:
        return str(data["text"]).encode("utf-8", "replace")
    params = data.get("params")
    pairs = [
        (each["name"], str(each.get("value", "")))
        for each in (params if isinstance(params, list) else ())
        if isinstance(each, dict) and isinstance(each.get("name"), str)
    ]
    return urlencode(pairs, errors="replace").encode()
