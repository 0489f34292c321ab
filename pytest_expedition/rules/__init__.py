"""The oracle: one function a requirement, from a history to judgements, without any I/O.

A rule yields one judgement each time its promise was put to the test: ``HELD``, a ``Violation``
with the exchanges that prove it, or ``UNSEEN`` where lost answers hide what came of it. A rule that
yields nothing had no chance.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_expedition.requirements import CATALOGUE
from pytest_expedition.rules import access, agent, cancel, create, refuse, result, status
from pytest_expedition.rules.base import ACROSS, HELD, RULES, UNSEEN, Held, Judgement, Violation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_expedition.history import History

__all__ = [
    "ACROSS",
    "HELD",
    "RULES",
    "UNSEEN",
    "Finding",
    "Held",
    "Judgement",
    "Violation",
    "judge",
]

_MODULES = (access, agent, cancel, create, refuse, result, status)
"""Importing a module of rules registers its rules."""


@dataclass(frozen=True)
class Finding:
    """What one rule found: how often its promise held, and how it was broken.

    ``crash`` is the traceback of a rule that broke down, which is a fault of the rule.
    """

    held: int = 0
    violations: tuple[Violation, ...] = ()
    unseen: int = 0
    crash: str = ""


def judge(history: History, requirements: Iterable[str] = CATALOGUE) -> dict[str, Finding]:
    """Ask every rule about ``history``; findings by requirement id, in the catalogue's order."""
    return {requirement: _ask(requirement, history) for requirement in requirements}


def _ask(requirement: str, history: History) -> Finding:
    held, unseen, crash = 0, 0, ""
    violations: list[Violation] = []
    try:
        for judgement in RULES[requirement](history):
            if judgement is HELD:
                held += 1
            elif judgement is UNSEEN:
                unseen += 1
            else:
                assert isinstance(judgement, Violation)
                judgement.history = history
                violations.append(judgement)
    except Exception:  # noqa: BLE001 - a broken rule must not take the others with it
        crash = traceback.format_exc()
    return Finding(held, tuple(violations), unseen, crash)
