"""The public API is typed, from the side of a project that uses it."""

from __future__ import annotations

import ast
from pathlib import Path

from test_readme import rows

import pytest_expedition

PROJECT = Path(__file__).parent / "examples" / "test_typed_project.py"
FOR_THE_CONTRACT = "expedition_conformance"
"""The fixture that the contract suite itself is made of."""


def test_the_project_uses_every_public_name_and_fixture() -> None:
    tree = ast.parse(PROJECT.read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(pytest_expedition.__all__) - used == set()
    written = {
        node.arg if isinstance(node, ast.arg) else node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.arg, ast.FunctionDef))
    }
    fixtures = {row[0].strip("`") for row in rows("fixture")}
    assert fixtures - written == {FOR_THE_CONTRACT}
