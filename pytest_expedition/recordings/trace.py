"""Trace files: one JSON object a line, one exchange each, as `schemas/trace.json` describes them.

The fields are those of ``Exchange``. ``server`` is the address of the server, without ``/api/v1``;
exchanges with different servers, or in different ``part`` s of a trace, are judged apart. A trace
holds all requests to a server about the jobs that are created in it.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pytest_expedition.oracle.history import Exchange
from pytest_expedition.protocol.envelope import Pattern, around
from pytest_expedition.protocol.redaction import spellings
from pytest_expedition.protocol.validation import find_violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from typing_extensions import Self

    _Read = Callable[[bytes, int], "Line"]

_POLL: Final = re.compile(
    rb'\{"kind": "status", "method": "GET", "path": ("[^"\\]+"), "sent": ([0-9]+(?:\.[0-9]+)?), '
    rb'"received": ([0-9]+(?:\.[0-9]+)?), ("status": 200, .*\n)',
    re.DOTALL,
)
"""A line that was written here, about an answered status request."""

_PROGRESS: Final = re.compile(rb'(\\"state\\"\s*:\s*)(0\.[0-9]+)(?![0-9.eE])')

MOST_PATTERNS: Final = 10_000

_FAR: Final = 1e12
"""Seconds that no clock shows."""

_DEFAULTS: Final = {each.name: each.default for each in fields(Exchange) if each.name != "position"}


class RecordingError(ValueError):
    """A recording that cannot be read: names the file, the place, and what is wrong there."""


class Whose(NamedTuple):
    """What an exchange of a trace belongs to: a server, and a part of the trace."""

    server: str
    part: str = ""


class LinePattern(Pattern):
    """What many lines about a job have alike: all but their times and its progress."""

    __slots__ = ("owner", "read")

    def __init__(self, pieces: Sequence[bytes], read: _Read) -> None:
        super().__init__(pieces)
        self.read = read
        self.owner: Any = None
        """Whatever the reader of a trace wants to find again when a line like this one comes."""

    @property
    def shows_progress(self) -> bool:
        """Whether lines like this one may differ in the progress."""
        return len(self.pieces) > 1


class Line(NamedTuple):
    """One exchange of a trace; ``pattern`` is what later lines may have alike with it."""

    whose: Whose
    exchange: Exchange
    pattern: LinePattern | None = None


class Like(NamedTuple):
    """An exchange that differs from an earlier one in its times and its progress alone."""

    pattern: LinePattern
    position: int
    sent: float
    received: float
    progress: float
    text: bytes

    def line(self) -> Line:
        """Read the line after all."""
        whose, exchange, _ = self.pattern.read(self.text, self.position)
        return Line(whose, exchange, self.pattern)


class Recorder:
    """Writes exchanges to the end of a trace file, each at once; safe to use from several threads.

    Raises ``OSError`` where the file cannot be written.
    """

    def __init__(self, path: Path, *, server: str, part: str = "") -> None:
        self._whose = Whose(server, part)
        # One write for each line, always at the end: so lines of several writers do not mix.
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, exchange: Exchange, *, secrets: Iterable[str] = ()) -> None:
        """Write one exchange, with secrets struck out."""
        self._file.write(as_line(exchange, self._whose, secrets=secrets))


def as_line(exchange: Exchange, whose: Whose, *, secrets: Iterable[str] = ()) -> bytes:
    """Return the line of an exchange; what has its usual value is left out."""
    ways = spellings(secrets)
    line: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(exchange, name)
        if name in _FREE_TEXTS:
            value = _struck_out(value, ways)
        if name == "body":
            line |= _body_fields(value)
        elif value != default or name == "status":
            line[name] = value
    line |= {name: value for name, value in whose._asdict().items() if value or name == "server"}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


_FREE_TEXTS: Final = {"path", "body", "request_body", "lost"}


def _struck_out(text: str | bytes, ways: Iterable[bytes]) -> str | bytes:
    for way in ways:
        if isinstance(text, bytes):
            text = text.replace(way, b"***")
        else:
            text = text.replace(way.decode(), "***")
    return text


def _body_fields(body: bytes) -> dict[str, str]:
    if not body:
        return {}
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode("ascii")}


class Trace:
    """A trace file, read line by line. ``cut`` says whether its last line was found cut off.

    The position of an exchange is where its line begins, in bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut = False
        self._known: set[tuple[object, ...]] = set()
        """Kinds of lines that the schema allows."""

    def __iter__(self) -> Iterator[Line]:
        """Read all lines. Raises ``RecordingError`` for one that holds no exchange."""
        return (found if isinstance(found, Line) else found.line() for found in self.skim())

    def skim(self) -> Iterator[Line | Like]:
        """Read all lines, but of those that are like others no more than what differs."""
        position = 0
        patterns: dict[bytes, LinePattern] = {}
        with self._open() as file:
            for number, line in enumerate(file, 1):
                try:
                    found = self._like(line, position, patterns)
                except ValueError as error:
                    if not line.endswith(b"\n") and not _is_json(line):
                        self.cut = True
                        return
                    if line.strip():
                        raise RecordingError(f"{self.path}:{number}: {error}") from None
                else:
                    yield found
                position += len(line)

    def _like(self, line: bytes, position: int, patterns: dict[bytes, LinePattern]) -> Line | Like:
        """Read a line, no more of it than differs from the last one about the same job."""
        parted = _POLL.fullmatch(line)
        if parted is None:
            return self._read(line, position)
        path, sent, received, rest = parted.groups()
        times = float(sent), float(received)
        pattern = patterns.get(path)
        if pattern is not None and times[0] <= times[1]:
            progress = pattern.progress_in(rest)
            if progress is not None:
                return Like(pattern, position, *times, progress, line)
        whose, exchange, _ = self._read(line, position)
        if len({number for _, number in _PROGRESS.findall(rest)}) > 1:
            return Line(whose, exchange)
        if len(patterns) >= MOST_PATTERNS:
            patterns.clear()
        patterns[path] = LinePattern(around(_PROGRESS, rest), self._read)
        return Line(whose, exchange, patterns[path])

    def again(self, positions: Iterable[int]) -> Iterator[Exchange]:
        """Read the lines at some positions once more."""
        with self._open() as file:
            for position in positions:
                file.seek(position)
                yield self._read(file.readline(), position).exchange

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise RecordingError(f"{self.path}: cannot be read: {error.strerror}") from None

    def _read(self, line: bytes, position: int) -> Line:
        try:
            found = json.loads(line)
        except RecursionError:
            raise ValueError("is nested too deep") from None
        except ValueError as error:
            raise ValueError(f"is no JSON: {error}") from None
        self._require_valid(found)
        whose = Whose(found.pop("server"), found.pop("part", ""))
        if "body" in found:
            try:
                found["body"] = found["body"].encode()
            except UnicodeEncodeError:
                raise ValueError("$.body is no text: write body_base64 instead") from None
        elif "body_base64" in found:
            try:
                found["body"] = base64.b64decode(found.pop("body_base64"), validate=True)
            except ValueError as error:
                raise ValueError(f"$.body_base64 is no base64: {error}") from None
        # What is not there has the default, which stands at the class.
        exchange = object.__new__(Exchange)
        exchange.__dict__.update(found, position=position)
        return Line(whose, exchange)

    def _require_valid(self, found: Any) -> None:
        """Ask the schema, once for all lines that have the same fields of the same types."""
        if isinstance(found, dict):
            kind = (
                *(str(found.get(name)) for name in ("kind", "probe", "server")),
                *found,
                *map(type, found.values()),
            )
            if kind in self._known and -_FAR < found["sent"] <= found["received"] < _FAR:
                return
        violation = find_violation(found, "trace")
        if violation is not None:
            raise violation
        if not -_FAR < found["sent"] <= found["received"] < _FAR:
            raise ValueError(f"$.sent and $.received must follow each other, within {_FAR:g} s")
        self._known.add(kind)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
