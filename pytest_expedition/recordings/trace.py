"""Trace files: one JSON object a line, one exchange each, as `schemas/trace.json` describes them.

The fields are those of ``Exchange``. ``server`` is the address of the server, without ``/api/v1``;
exchanges with different servers, or in different ``part`` s of a trace, are judged apart. A trace
holds all requests to a server about the jobs that are created in it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import fields
from sys import intern
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pytest_expedition.oracle.history import Exchange
from pytest_expedition.protocol.envelope import whole_number
from pytest_expedition.protocol.redaction import NO_REDACTION, Redaction
from pytest_expedition.protocol.validation import find_violation
from pytest_expedition.recordings.bodies import is_json
from pytest_expedition.recordings.files import RecordingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from typing_extensions import Self

    from pytest_expedition.recordings.files import Recording

_FAR: Final = 1e12
"""Seconds that no clock shows."""

_WHITESPACE: Final = " \t\r\n"
"""What JSON allows around an object."""

_DECODER: Final = json.JSONDecoder(parse_int=whole_number)

_DEFAULTS: Final = {each.name: each.default for each in fields(Exchange) if each.name != "position"}


class Whose(NamedTuple):
    """What an exchange of a trace belongs to: a server, and a part of the trace."""

    server: str
    part: str = ""


class Line(NamedTuple):
    """One exchange of a trace, as the values of its fields."""

    whose: Whose
    values: dict[str, Any]


def exchange_of(values: dict[str, Any]) -> Exchange:
    """Make an exchange of its fields: what the constructor does, in a fraction of the time.

    A field that is missing has its usual value.
    """
    exchange = object.__new__(Exchange)
    object.__setattr__(exchange, "__dict__", values)
    return exchange


class Recorder:
    """Appends exchanges to a trace file, each at once; safe to use from several threads.

    Raises ``OSError`` if the file cannot be written.
    """

    def __init__(self, path: Path, *, server: str, part: str = "") -> None:
        self._whose = Whose(server, part)
        self._known: tuple[str, ...] = ()
        self._redaction = Redaction()
        # One write for each line, always at the end, so that lines of several writers do not mix.
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, exchange: Exchange, secrets: Iterable[str] = ()) -> None:
        """Write one exchange, with secrets struck out."""
        known = tuple(secrets)
        if known != self._known:
            self._known, self._redaction = known, Redaction(known)
        self._file.write(as_line(exchange, self._whose, self._redaction))


def as_line(exchange: Exchange, whose: Whose, redaction: Redaction = NO_REDACTION) -> bytes:
    """Return the line of an exchange; what has its usual value is left out."""
    line: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(exchange, name)
        if name in _REDACTED:
            value = _REDACTED[name](redaction, value)
        if name == "body":
            line |= _body_fields(value)
        elif value != default or name == "status":
            line[name] = value
    line |= {name: value for name, value in whose._asdict().items() if value or name == "server"}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


_REDACTED: Final[Mapping[str, Callable[[Redaction, Any], Any]]] = {
    "path": Redaction.path,
    "body": Redaction.body,
    "request_body": Redaction.text_body,
    "lost": Redaction.prose,
    "unreadable": Redaction.prose,
    "location": Redaction.prose,
}


def _body_fields(body: bytes) -> dict[str, str]:
    if not body:
        return {}
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode("ascii")}


class Trace:
    """A trace, read line by line.

    ``remarks`` say what could not be read. ``incomplete`` says whether any line is missing:
    then there may have been other requests.
    """

    def __init__(self, recording: Recording) -> None:
        self.remarks: list[str] = []
        self.incomplete = False
        self._recording = recording
        self._known: dict[tuple[object, ...], tuple[Whose, tuple[str, ...]]] = {}
        """Kinds of lines that the schema allows: what they belong to, and the names of their
        fields. Interned names make the fields of an exchange quick to store and to ask for."""

    def __iter__(self) -> Iterator[Line]:
        """Read all lines. Raises ``RecordingError`` if none of them can be read."""
        name = self._recording.name
        read = 0
        for number, line in enumerate(self._recording.text, 1):
            if line.isspace():
                continue
            try:
                yield self._read(line.strip(_WHITESPACE), position=read + 1)
                read += 1
            except ValueError as error:
                if not line.endswith("\n") and not is_json(line.encode("utf-8", "replace")):
                    self.remarks.append(f"{name}: the last line is cut off; the rest is judged")
                    continue
                self.incomplete = True
                self.remarks.append(f"{name}:{number}: {error}: the line was skipped")
        if self._recording.damaged:
            self.remarks.append(f"{name}: the file is cut off; what is whole is judged")
        if not read and self.incomplete:
            raise RecordingError(self.remarks[0])

    def _read(self, line: str, position: int) -> Line:
        try:
            found, end = _DECODER.raw_decode(line)
        except RecursionError:
            raise ValueError("is nested too deep") from None
        except ValueError as error:
            raise ValueError(f"is not JSON: {error}") from None
        if end < len(line):
            raise ValueError("is not JSON: more follows the object")
        whose, names = self._valid(found)
        values = dict(zip(names, found.values(), strict=True))
        del values["server"]
        values.pop("part", None)
        values["position"] = position
        if "body" in found:
            try:
                values["body"] = found["body"].encode()
            except UnicodeEncodeError:
                raise ValueError("$.body is not Unicode text: write body_base64 instead") from None
        elif "body_base64" in found:
            try:
                values["body"] = base64.b64decode(values.pop("body_base64"), validate=True)
            except ValueError as error:
                raise ValueError(f"$.body_base64 is not base64: {error}") from None
        return Line(whose, values)

    def _valid(self, found: Any) -> tuple[Whose, tuple[str, ...]]:
        """Check a line by the schema, once for all lines with the same fields of the same types.

        Return what it belongs to, and the names of its fields.
        """
        try:
            kind = (
                *map(found.get, ("kind", "probe", "server", "part")),
                *found,
                *map(type, found.values()),
            )
            known = self._known.get(kind)
        except (AttributeError, TypeError):  # not an object, or a list in place of a text
            kind, known = (), None
        if known is not None and -_FAR < found["sent"] <= found["received"] < _FAR:
            return known
        violation = find_violation(found, "trace")
        if violation is not None:
            raise violation
        if not -_FAR < found["sent"] <= found["received"] < _FAR:
            raise ValueError(f"$.sent and $.received must follow each other, within {_FAR:g} s")
        whose = Whose(found["server"], found.get("part", ""))
        return self._known.setdefault(kind, (whose, tuple(map(intern, found))))
