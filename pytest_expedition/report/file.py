"""Report files, in the format that their suffix names."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_expedition.protocol.envelope import escaped, whole_number
from pytest_expedition.protocol.validation import validate
from pytest_expedition.report.html import as_html
from pytest_expedition.report.markdown import as_markdown
from pytest_expedition.user_files import read_user_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_expedition.report.entries import Document


def as_json(document: Document) -> str:
    """Make the JSON text of a report; control characters are escaped."""
    return escaped(json.dumps(document, indent=2, ensure_ascii=False), keep="\n") + "\n"


FORMATS: Final[dict[str, Callable[[Document], str]]] = {
    ".json": as_json,
    ".html": as_html,
    ".md": as_markdown,
}
"""The function that makes a report's text, by the suffix of its file."""


def read_report(path: Path) -> Document:
    """Read a JSON report.

    Raises ``OSError`` for a file that cannot be read, ``SchemaViolation`` for one that is not
    a report, and another ``ValueError`` or ``RecursionError`` for one that is not JSON.
    """
    document: Document = json.loads(read_user_file(path), parse_int=whole_number)
    validate(document, "report")
    return document


def require_report_path(path: Path) -> None:
    """Raise ``ValueError`` where no report can be written; it says why."""
    if path.suffix not in FORMATS:
        raise ValueError(f"the suffix must be one of {', '.join(FORMATS)}")
    try:
        if not path.parent.is_dir():
            raise ValueError("the folder does not exist")
        if path.is_dir():
            raise ValueError("must be a file")
        path = _real_path(path)
        if path.exists() and not path.is_file():  # a device or a pipe
            path.open("a").close()
        else:
            _unfinished(path).touch()
            _unfinished(path).unlink()
    except OSError as error:
        raise ValueError(f"cannot be written: {error.strerror}") from None


def write(document: Document, path: Path) -> None:
    """Write a report. Raises ``OSError`` if that is not possible; an old report is kept then."""
    replace_text(path, FORMATS[path.suffix](document))


def write_all(document: Document, paths: Iterable[Path]) -> bool:
    """Write reports, and say on standard error where they are; return whether that was possible."""
    for path in paths:
        try:
            write(document, path)
        except OSError as error:
            print(f"pytest-expedition: {path} was not written: {error.strerror}", file=sys.stderr)
            return False
        print(f"report written to {path}", file=sys.stderr)
    return True


def replace_text(path: Path, text: str) -> None:
    """Write a file as a whole, or leave it as it was."""
    path = _real_path(path)  # where it is a link, that stays
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    unfinished = _unfinished(path)
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _real_path(path: Path) -> Path:
    """Return where a path leads to; unlike ``Path.resolve`` also where links go in a circle."""
    return Path(os.path.realpath(path))


def _unfinished(path: Path) -> Path:
    """Return where a file is written before it replaces the old one."""
    return path.with_name(f".{path.name}.{os.getpid()}")
