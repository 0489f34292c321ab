"""Report files, in the format that their suffix names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_expedition.report.document import Document


def _as_json(document: Document) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


FORMATS: Final[dict[str, Callable[[Document], str]]] = {".json": _as_json}
"""What writes a report, by the suffix of its file."""


def write(document: Document, path: Path) -> None:
    """Write a report. Raises ``OSError`` where that is not possible."""
    path.write_text(FORMATS[path.suffix](document), encoding="utf-8")
