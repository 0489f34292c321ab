"""What each folder of the package may import, so that the tree itself tells what needs what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pytest_expedition

PACKAGE = Path(pytest_expedition.__file__).parent

MAY_IMPORT: dict[str, set[str]] = {
    "protocol": set(),
    "oracle": {"protocol"},
    "fake": {"protocol"},
    "report": {"protocol", "oracle"},
    "suite": {"protocol", "oracle", "fake"},
    "recordings": {"protocol", "oracle"},
    "clients": {"protocol", "oracle", "fake", "report"},
    "session": {"protocol", "oracle", "suite", "report", "clients"},
    "contract": {"protocol", "oracle", "suite", "recordings", "report", "session"},
}
"""The folders that the modules of each may import, besides its own and ``real_time.py``."""


def imported(folder: str) -> set[str]:
    """The parts of the package that a folder imports anywhere: in functions, for types, too."""
    found = set()
    for path in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
            elif isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            else:
                continue
            parts = [name.split(".") for name in names]
            found |= {part[1] for part in parts if part[0] == PACKAGE.name and len(part) > 1}
    return found - {folder}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    assert imported(folder) <= MAY_IMPORT[folder] | {"real_time"}


def test_every_folder_has_its_rule_and_none_imports_in_a_circle() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == MAY_IMPORT.keys()
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        order.append(next(x for x in MAY_IMPORT if x not in order and MAY_IMPORT[x] <= {*order}))
