"""What each folder of the package may import, so that the tree itself tells what needs what."""

from __future__ import annotations

import ast
import functools
from graphlib import TopologicalSorter
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
    "recordings": {"protocol", "oracle", "fake"},
    "clients": {"protocol", "oracle", "fake", "report"},
    "session": {"protocol", "oracle", "suite", "report", "clients"},
    "contract": {"protocol", "oracle", "suite", "recordings", "report", "session"},
}
"""The folders that the modules of each may import, besides its own and what any may import."""

FOR_ALL = {"checked", "exit_statuses", "real_time", "signals", "user_files"}
"""The modules that any folder may import."""


class WithoutTypes(ast.NodeTransformer):
    """Leaves out what is imported for types alone."""

    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else node


@functools.cache
def imports_of(path: Path, *, for_types: bool = True) -> set[str]:
    """What a module imports of the package anywhere, also in functions and for types alone."""
    names = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree if for_types else WithoutTypes().visit(tree)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            names += [each.name for each in node.names]
    inside = f"{PACKAGE.name}."
    return {name.removeprefix(inside) for name in names if name.startswith(inside)}


def imported(folder: str) -> set[str]:
    """The parts of the package that a folder imports."""
    found = set().union(*map(imports_of, (PACKAGE / folder).rglob("*.py")))
    return {name.partition(".")[0] for name in found} - {folder}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    assert imported(folder) <= MAY_IMPORT[folder] | FOR_ALL


def test_recordings_imports_the_fake_for_types_alone() -> None:
    found = [imports_of(x, for_types=False) for x in (PACKAGE / "recordings").rglob("*.py")]
    assert not any(name.startswith("fake") for names in found for name in names)


def test_every_folder_has_its_rule_and_none_imports_in_a_circle() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == MAY_IMPORT.keys()
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        order.append(next(x for x in MAY_IMPORT if x not in order and MAY_IMPORT[x] <= {*order}))


def test_no_modules_import_each_other_in_a_circle() -> None:
    found = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): imports_of(path)
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"  # these import the modules of their folder
    }
    TopologicalSorter({name: found[name] & found.keys() for name in found}).prepare()
