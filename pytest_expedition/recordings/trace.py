"""Trace files: one JSON object a line, one exchange each, as `schemas/trace.json` describes them.

The fields are those of ``Exchange``. ``server`` is the address of the server, without ``/api/v1``;
exchanges with different servers, or in different ``part`` s of a trace, are judged apart. A trace
holds all requests to a server about the jobs that are created in it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pytest_expedition.oracle.history import Exchange
from pytest_expedition.protocol.redaction import spellings
from pytest_expedition.protocol.validation import find_violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from typing_extensions import Self

_FAR: Final = 1e12
"""Seconds that no clock shows."""

_DEFAULTS: Final = {each.name: each.default for each in fields(Exchange) if each.name != "position"}


class RecordingError(ValueError):
    """A recording that cannot be read: names the file, the place, and what is wrong there."""


class Whose(NamedTuple):
    """What an exchange of a trace belongs to: a server, and a part of the trace."""

    server: str
    part: str = ""


class Line(NamedTuple):
    """One exchange of a trace."""

    whose: Whose
    exchange: Exchange


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
    """A trace file, read line by line. ``cut`` says whether its last line was found cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut = False
        self._known: set[tuple[object, ...]] = set()
        """Kinds of lines that the schema allows."""

    def __iter__(self) -> Iterator[Line]:
        """Read all lines. Raises ``RecordingError`` for one that holds no exchange."""
        with self._open() as file:
            for number, line in enumerate(file, 1):
                try:
                    yield self._read(line)
                except ValueError as error:  # noqa: PERF203 - each line has its number
                    if not line.endswith(b"\n") and not _is_json(line):
                        self.cut = True
                        return
                    if line.strip():
                        raise RecordingError(f"{self.path}:{number}: {error}") from None

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise RecordingError(f"{self.path}: cannot be read: {error.strerror}") from None

    def _read(self, line: bytes) -> Line:
        try:
            found = json.loads(line.decode("utf-8"))
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
        exchange.__dict__.update(found)
        return Line(whose, exchange)

    def _require_valid(self, found: Any) -> None:
        """Ask the schema, once for all lines that have the same fields of the same types."""
        if isinstance(found, dict):
            constants = (found.get("kind"), found.get("probe"), found.get("server"))
            kind = (str(constants), *found, *map(type, found.values()))
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
