"""Each requirement has a rule, its docstring is the promise, and its faults have sentences."""

from __future__ import annotations

import ast
import inspect
import string
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pytest_expedition.clients import rules as client_rules
from pytest_expedition.clients.rules import CLIENT_RULES
from pytest_expedition.oracle.rules import (
    RULES,
    access,
    agent,
    cancel,
    create,
    envelope,
    lists,
    refuse,
    result,
    status,
)
from pytest_expedition.oracle.rules.base import Fault
from pytest_expedition.protocol.requirements import CATALOGUE, CLIENT_CATALOGUE, DOCUMENTATION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

MODULES = (access, agent, cancel, create, envelope, lists, refuse, result, status, client_rules)
EVERY_REQUIREMENT = {**CATALOGUE, **CLIENT_CATALOGUE}
TOLD_ABOUT_CLIENTS = {"asked", "answer", "was_answered"}
"""Fields of sentences that `clients/report.py` fills in from the proof of a violation."""


def test_each_requirement_has_a_rule() -> None:
    assert set(RULES) == set(CATALOGUE)
    assert set(CLIENT_RULES) == set(CLIENT_CATALOGUE)


@pytest.mark.parametrize("name", EVERY_REQUIREMENT)
def test_the_docstring_of_a_rule_begins_with_the_promise(name: str) -> None:
    requirement = EVERY_REQUIREMENT[name]
    promises = [requirement.text]
    if requirement.in_data is not None and requirement.in_data.text is not None:
        promises.append(f"In the dialect `data`: {requirement.in_data.text}")
    rule = RULES.get(name) or CLIENT_RULES[name]
    paragraphs = (inspect.getdoc(rule) or "").split("\n\n")
    assert [" ".join(each.split()) for each in paragraphs][: len(promises)] == promises


@pytest.mark.parametrize("name", EVERY_REQUIREMENT)
def test_what_is_documented_has_the_url_of_its_heading(name: str) -> None:
    requirement = EVERY_REQUIREMENT[name]
    if requirement.basis not in {"stated", "shown"}:
        return
    page, _, heading = requirement.source.url.removeprefix(DOCUMENTATION).partition("/#")
    assert requirement.source.url.startswith(DOCUMENTATION)
    assert page
    assert f"“{heading.replace('-', ' ')}”" in requirement.source.text.lower()


def violations(module: ModuleType) -> Iterator[tuple[Fault, set[str]]]:
    """The faults of the violations that a module of rules yields, with the names of the facts."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Violation":
            named = [
                fault
                for each in ast.walk(node.args[0])
                if isinstance(each, ast.Name)
                and isinstance(fault := getattr(module, each.id, None), Fault)
            ]
            assert named, ast.unparse(node)
            for fault in named:
                yield fault, {str(keyword.arg) for keyword in node.keywords}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_violation_has_the_facts_that_the_sentence_of_its_fault_names(module: ModuleType) -> None:
    found = list(violations(module))
    assert found
    for fault, facts in found:
        fields = {field for _, field, _, _ in string.Formatter().parse(fault.sentence) if field}
        assert fields <= facts | TOLD_ABOUT_CLIENTS, fault


def test_no_two_faults_share_an_id() -> None:
    faults = {
        each for module in MODULES for each in vars(module).values() if isinstance(each, Fault)
    }
    assert Counter(fault.id for fault in faults).most_common(1)[0][1] == 1
