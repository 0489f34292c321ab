"""Bodies of answers in HAR files: as text, encoded, compressed, in other files, or missing.

A body that the recorder left out, or that cannot be decoded here, is *not recorded*. It never
counts as an answer of the server.
"""

from __future__ import annotations

import base64
import importlib
import json
import re
import zlib
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.protocol.envelope import whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

LARGEST_BODY: Final = 16 * 2**20
"""The most bytes that are read of a decompressed body, or of an attached file."""

_HEADERS: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""The headers of an answer that describe its body."""

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_UNREADABLE_CHARACTER: Final = "\ufffd"


class NotRecordedError(ValueError):
    """The recording does not have the body of an answer; the message says why."""


def body_of(response: dict[str, Any], attached: Callable[[str], bytes | None]) -> bytes:
    """Return the body of an answer. Raises ``NotRecordedError`` if the recording lacks it.

    ``attached`` returns the content of a file that the recording names, if it is there.
    """
    content = response.get("content")
    content = content if isinstance(content, dict) else {}
    headers = headers_of(response, _HEADERS)
    size = content.get("size")
    size = size if type(size) is int else -1
    text = content.get("text")
    if isinstance(text, str):
        body = _decoded(text, content, size)
    else:
        named = content.get("_file")
        if isinstance(content.get("_sha1"), str):  # as the traces of older Playwrights name files
            named = f"resources/{content['_sha1']}"
        found = attached(named) if isinstance(named, str) else None
        if found is None:
            raise NotRecordedError("the body was not recorded")
        body = found
    if not body:
        _require_empty(response, headers, size)
        return body
    body = _decompressed(body, headers.get("content-encoding", ""))
    told = max(size, _number(headers.get("content-length", "")))
    if len(body) < told and not is_json(body):
        raise NotRecordedError("not all of the body was recorded")
    return body


def headers_of(message: dict[str, Any], wanted: Collection[str]) -> dict[str, str]:
    """Return the wanted headers of a request or an answer by their names in lower case."""
    headers = message.get("headers")
    return {
        name.lower(): str(each.get("value", ""))
        for each in (headers if isinstance(headers, list) else ())
        if isinstance(each, dict)
        and isinstance(name := each.get("name"), str)
        and name.lower() in wanted
    }


def is_json(body: bytes) -> bool:
    """Whether a body is JSON, and therefore complete."""
    try:
        json.loads(body, parse_int=whole_number)
    except (ValueError, RecursionError):
        return False
    return True


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 16 else -1


def _require_empty(response: dict[str, Any], headers: dict[str, str], size: int) -> None:
    """Raise ``NotRecordedError`` if the recording says that an empty body once had content."""
    sent = response.get("bodySize", 0)
    length = headers.get("content-length", "0")
    coded = "content-encoding" in headers or "transfer-encoding" in headers
    if size != 0 or sent != 0 or _number(length) != 0 or coded:
        raise NotRecordedError("the body was not recorded")


def _decoded(text: str, content: dict[str, Any], size: int) -> bytes:
    """Return the bytes that the recorded text of a body represents."""
    plain = text.encode("utf-8", "replace")
    says_base64 = str(content.get("encoding", "")).lower() == "base64"
    if says_base64 or content.get("_isBinary"):
        chunks = _chunks(text)  # as Polly.js writes them
        if chunks is not None:
            decode = _from_base64 if says_base64 else _from_hex
            return b"".join(decode(chunk) for chunk in chunks)
    if says_base64:
        if text.lstrip()[:1] in {"{", "["} or (size == len(plain) and is_json(plain)):
            return plain  # the recorder says base64, but wrote the text itself
        return _from_base64(text)
    if text[:2] == "\x1f\x8b":
        return _from_latin1(text)
    if _UNREADABLE_CHARACTER in text and not is_json(plain):
        raise NotRecordedError("the body was recorded with characters missing")
    return plain


def _chunks(text: str) -> list[str] | None:
    try:
        found = json.loads(text, parse_int=whole_number)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(found, list) and all(isinstance(each, str) for each in found)
    return found if whole else None


def _from_base64(text: str) -> bytes:
    bare = re.sub(r"\s", "", text).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        raise NotRecordedError("the body is said to be base64, but is not") from None


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise NotRecordedError("the body is said to be hexadecimal, but is not") from None


def _from_latin1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise NotRecordedError("the body was recorded with characters missing") from None


def _decompressed(body: bytes, encodings: str) -> bytes:
    """Undo compression if the recorder left it; most do not, even if the headers name one."""
    for encoding in reversed(encodings.lower().replace(" ", "").split(",")):
        magic = {_GZIP: "gzip", _ZSTD: "zstd"}.get(body[:4]) or {_GZIP: "gzip"}.get(body[:2])
        used = magic or encoding
        if used in {"", "identity"} or is_json(body):
            return body
        try:
            body = _DECOMPRESSORS[used.removeprefix("x-")](body)
        except KeyError:
            hint = f": pip install {_LIBRARIES[used]} to read it" if used in _LIBRARIES else ""
            raise NotRecordedError(f"the body is still compressed by {used}{hint}") from None
        except NotRecordedError:
            raise
        except Exception:  # noqa: BLE001 - each library has errors of its own
            if magic is None and _is_text(body):
                return body  # it was decompressed already
            raise NotRecordedError(f"the body cannot be decompressed by {used}") from None
    return body


def _is_text(body: bytes) -> bool:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not re.search("[\x00-\x08\x0e-\x1f\ufffd]", text)


def _inflate(bits: int) -> Callable[[bytes], bytes]:
    def inflate(body: bytes) -> bytes:
        found, place = bytearray(), 0
        # Only what `gzip` wrote may go on: other bytes that follow are no part of the body.
        while not place or (bits > zlib.MAX_WBITS and body.startswith(_GZIP, place)):
            decompressor = zlib.decompressobj(bits)
            while not decompressor.eof:
                piece = body[place : place + _PIECE]
                found += decompressor.decompress(piece)
                if not piece or len(found) > LARGEST_BODY:
                    raise NotRecordedError("not all of the body was recorded, or it is too long")
                place += len(piece) - len(decompressor.unused_data)
        return bytes(found)

    return inflate


def _deflate(body: bytes) -> bytes:
    """Undo `deflate`, which some servers send with a header and others without."""
    try:
        return _inflate(zlib.MAX_WBITS)(body)
    except zlib.error:
        return _inflate(-zlib.MAX_WBITS)(body)


def _installed(*modules: str) -> Callable[[bytes], bytes]:
    """Decompress by the first of these modules that is installed."""

    def decompress(body: bytes) -> bytes:
        for name in modules:
            try:
                module = importlib.import_module(name)
            except ImportError:
                continue
            found = bytearray()
            pieces = (body[place : place + _PIECE] for place in range(0, len(body), _PIECE))
            for part in (_by_brotli if "brotli" in name else _by_zstd)(module, pieces):
                found += part
                if len(found) > LARGEST_BODY:
                    raise NotRecordedError("the body is too long")
            return bytes(found)
        raise KeyError(modules[0])

    return decompress


_PIECE: Final = 16
"""How many bytes are decompressed at a time: a few bytes can decompress to megabytes."""


def _by_brotli(module: Any, pieces: Iterator[bytes]) -> Iterator[bytes]:
    decompressor = module.Decompressor()
    yield from map(decompressor.process, pieces)
    if not decompressor.is_finished():
        raise EOFError


def _by_zstd(module: Any, pieces: Iterator[bytes]) -> Iterator[bytes]:
    decompressor = None
    for each in pieces:
        piece = each
        while piece:
            if decompressor is None or decompressor.eof:  # what follows was compressed by itself
                decompressor = module.ZstdDecompressor()
                if module.__name__ == "zstandard":
                    decompressor = decompressor.decompressobj()
            yield decompressor.decompress(piece)
            piece = decompressor.unused_data
    if decompressor is None or not decompressor.eof:
        raise EOFError


_LIBRARIES: Final = {"br": "brotli", "zstd": "zstandard"}
"""The packages that undo what the standard library does not."""

_DECOMPRESSORS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": _inflate(zlib.MAX_WBITS | 16),
    "deflate": _deflate,
    "br": _installed("brotli", "brotlicffi"),
    "zstd": _installed("compression.zstd", "backports.zstd", "zstandard"),
}
