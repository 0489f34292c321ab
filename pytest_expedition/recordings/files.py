"""Opens recordings, and recognises their kind by their content, not by their names."""

from __future__ import annotations

import codecs
import io
import re
import shutil
import tempfile
import zipfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from pytest_expedition.recordings.bodies import LARGEST_BODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO, TextIO

    from typing_extensions import Buffer

_HEAD: Final = 65536
"""Bytes from which the kind of a file is recognised."""

_ZIP: Final = b"PK\x03\x04"
_GZIP: Final = b"\x1f\x8b"
_GZIP_BITS: Final = zlib.MAX_WBITS | 16
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"{\0", "utf-16-le"),
    (b"\0{", "utf-16-be"),
)
_HAR: Final = re.compile(r'\s*\{\s*"log"\s*:')
_HAR_LATER: Final = re.compile(r'\s*\{.*"log"\s*:\s*\{', re.DOTALL)
_TRACE: Final = re.compile(r'^\s*\{[^\n]*"kind"\s*:', re.MULTILINE)
_PLAYWRIGHT: Final = re.compile(r'\s*\{"type":\s*"resource-snapshot"')
_MITMPROXY: Final = re.compile(r"\d+:\d+:")

KNOWN: Final = (
    "give a HAR file or a trace that --expedition-record wrote, each also gzipped or in a zip "
    "file, or the trace.zip of Playwright"
)
CONVERT: Final = (
    "mitmproxy converts its flows to HAR: mitmdump -n -r FLOWS --set hardump=recording.har"
)


RecordingKind = Literal["har", "trace", "playwright"]
"""What a recording is; ``playwright`` is the file ``trace.network`` of a trace of Playwright."""


class RecordingError(ValueError):
    """A recording that cannot be read: names the file, the place, and what is wrong there."""


@dataclass(kw_only=True)
class Recording:
    """A recording that has been opened.

    ``name`` is its path; ``attached`` returns the content of a file beside it.
    """

    name: str
    kind: RecordingKind
    text: TextIO
    raw: ReadableRest
    attached: Callable[[str], bytes | None]

    @property
    def damaged(self) -> bool:
        """Whether the compressed file ended early, or was damaged, up to where it was read."""
        return self.raw.damaged


class ReadableRest(io.RawIOBase):
    """Reads a file, which may be packed by gzip, as far as it can be read."""

    def __init__(self, file: BinaryIO, *, packed: bool = False) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj(_GZIP_BITS) if packed else None
        self._ready = b""
        self.damaged = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read some bytes, none if the file ends or is damaged."""
        view = memoryview(buffer)
        try:
            while not self._ready and (packed := self._file.read(_HEAD)):
                self._ready = packed if self._unpacker is None else self._unpacked(packed)
        except (EOFError, zlib.error, zipfile.BadZipFile):
            self.damaged = True
        found, self._ready = self._ready[: len(view)], self._ready[len(view) :]
        view[: len(found)] = found
        if not found and self._unpacker is not None and not self._unpacker.eof:
            self.damaged = True
        return len(found)

    def _unpacked(self, packed: bytes) -> bytes:
        unpacked = b""
        while packed:
            assert self._unpacker is not None
            if self._unpacker.eof:  # what follows was packed by itself
                self._unpacker = zlib.decompressobj(_GZIP_BITS)
            unpacked += self._unpacker.decompress(packed)
            packed = self._unpacker.unused_data
        return unpacked


def open_recordings(path: Path) -> Iterator[Recording]:
    """Open the recordings in a file, one after the other: a zip file may hold several.

    Raises ``RecordingError`` for a file that cannot be read, or is no recording.
    """
    with ExitStack() as stack:
        try:
            file: BinaryIO = stack.enter_context(path.open("rb"))
            reader = io.BufferedReader(ReadableRest(file), 2 * _HEAD)  # a pipe is read only once
            head = reader.peek(_HEAD)
            if head.startswith(_ZIP):
                if not file.seekable():
                    file = stack.enter_context(tempfile.TemporaryFile())
                    shutil.copyfileobj(reader, file)
                yield from _in_zip(stack.enter_context(zipfile.ZipFile(file)), path)
                return
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from None
        except zipfile.BadZipFile as error:
            raise RecordingError(f"{path}: is a broken zip file: {error}") from None
        recording = _recognise(reader, str(path), partial(_beside, path))
        if recording is None:
            raise RecordingError(_unknown(path, head))
        yield recording


def _in_zip(archive: zipfile.ZipFile, path: Path) -> Iterator[Recording]:
    names = [each.filename for each in archive.infolist() if not each.is_dir()]
    wanted = [name for name in names if name.lower().endswith((".har", ".network"))]
    candidates = wanted or names
    found = False
    for name in candidates:
        attached = partial(_in_folder, archive, PurePosixPath(name).parent)
        try:
            file = archive.open(name)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise RecordingError(f"{path}: {name} cannot be read: {error}") from None
        with file:
            recording = _recognise(file, f"{path}: {name}", attached)  # type: ignore[arg-type]
            if recording is not None:
                found = True
                yield recording
    if not found:
        raise RecordingError(_unknown(path, _ZIP))


def _in_folder(archive: zipfile.ZipFile, folder: PurePosixPath, name: str) -> bytes | None:
    """Read a file that is beside a recording in a zip file."""
    try:
        member = archive.getinfo(str(folder / name))
        return archive.read(member) if member.file_size <= LARGEST_BODY else None
    except (KeyError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError):
        return None


def _recognise(
    file: BinaryIO, name: str, attached: Callable[[str], bytes | None]
) -> Recording | None:
    raw = ReadableRest(file)
    reader = io.BufferedReader(raw, 2 * _HEAD)
    if reader.peek(2)[:2] == _GZIP:
        raw = ReadableRest(reader, packed=True)
        reader = io.BufferedReader(raw, 2 * _HEAD)
    head = reader.peek(_HEAD)
    encoding = next((name for bom, name in _BOMS if head.startswith(bom)), "utf-8")
    start = head.decode(encoding, "replace")
    kind: RecordingKind
    if _HAR.match(start):
        kind = "har"
    elif _PLAYWRIGHT.match(start):
        kind = "playwright"
    elif _TRACE.search(start):
        kind = "trace"
    elif _HAR_LATER.match(start):
        kind = "har"
    else:
        return None
    errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    text = io.TextIOWrapper(reader, encoding, errors=errors, newline="\n")
    return Recording(name=name, kind=kind, text=text, raw=raw, attached=attached)


def _beside(path: Path, name: str) -> bytes | None:
    """Read a file that is beside a recording, never one outside its folder."""
    try:
        folder = path.resolve().parent
        wanted = (folder / name).resolve()
        if not wanted.is_relative_to(folder) or not wanted.is_file():
            return None
        return wanted.read_bytes() if wanted.stat().st_size <= LARGEST_BODY else None
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
        return None


def _unknown(path: Path, head: bytes) -> str:
    """Say of a file that begins with these bytes why it is not a recording."""
    is_packed = head.startswith(_GZIP)
    if not ReadableRest(io.BytesIO(head), packed=is_packed).read(1):
        cut_off = ", or cut off before anything that can be read" if is_packed else ""
        return f"{path}: is empty{cut_off}"
    begins_as_flows = _MITMPROXY.match(head.decode("latin-1"))
    of_mitmproxy = path.suffix in {".flow", ".flows", ".mitm"} or begins_as_flows
    hint = f"; {CONVERT}" if of_mitmproxy else ""
    return f"{path}: is not a recording: {KNOWN}{hint}"
