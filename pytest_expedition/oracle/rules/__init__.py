"""The oracle: one function a requirement, from a history to judgements, without any I/O.

A rule yields one judgement for each check of its promise: ``KEPT``, a ``Violation`` with the
exchanges that prove it, or ``INCONCLUSIVE`` if lost answers hide the result. A rule that yields
nothing had nothing to check; one that yields ``NotExercised`` says what it would have needed.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from pytest_expedition.oracle.history import created_id
from pytest_expedition.oracle.rules import (
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
from pytest_expedition.oracle.rules.base import (
    ACROSS_JOBS,
    INCONCLUSIVE,
    KEPT,
    RULES,
    Judgement,
    NotExercised,
    Suspicion,
    Violation,
    best_told,
)
from pytest_expedition.protocol.requirements import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from pytest_expedition.oracle.history import History

__all__ = [
    "ACROSS_JOBS",
    "INCONCLUSIVE",
    "KEPT",
    "NOTHING",
    "RULES",
    "Finding",
    "Judgement",
    "NotExercised",
    "Suspicion",
    "Violation",
    "find",
    "judge",
    "together",
]

_Subject = TypeVar("_Subject")

_MODULES = (access, agent, cancel, create, envelope, lists, refuse, result, status)
"""Importing a module of rules registers its rules."""


@dataclass(frozen=True)
class Finding:
    """What one rule found: how often its promise was kept, and how it was broken.

    ``first_broken`` tells for each job when the promise was first broken, or may have been: when
    the last exchange of the proof was sent. Violations that are about no job are under ``None``.
    ``crash`` is the traceback of a rule that crashed, which is a mistake of ours.
    ``not_exercised`` says what was missing, where the rule came near to checking something.
    """

    kept: int = 0
    violations: tuple[Violation, ...] = ()
    first_broken: dict[Hashable, float] = field(default_factory=dict)
    inconclusive: int = 0
    crash: str = ""
    not_exercised: str = ""


NOTHING: Final = Finding()
"""What a rule found that had nothing to check, as most have in a history of one job."""


def judge(history: History, requirements: Iterable[str] = CATALOGUE) -> dict[str, Finding]:
    """Ask every rule about ``history``; findings by requirement id, in the catalogue's order."""
    findings = {name: find(RULES[name], history) for name in requirements}
    for finding in findings.values():
        for violation in finding.violations:
            violation.history = history
    return findings


def together(parts: Sequence[Mapping[str, Finding]]) -> dict[str, Finding]:
    """Put together what was found in histories of different instances, with the shortest proof."""
    findings = {}
    for name in CATALOGUE:
        found = [part[name] for part in parts]
        proofs = [violation for finding in found for violation in finding.violations]
        findings[name] = Finding(
            kept=sum(finding.kept for finding in found),
            violations=(best_told(proofs),) if proofs else (),
            first_broken={
                (number, job): sent
                for number, finding in enumerate(found)
                for job, sent in finding.first_broken.items()
            },
            inconclusive=sum(finding.inconclusive for finding in found),
            crash=next((finding.crash for finding in found if finding.crash), ""),
            not_exercised=next((x.not_exercised for x in found if x.not_exercised), ""),
        )
    return findings


def find(rule: Callable[[_Subject], Iterable[Judgement]], subject: _Subject) -> Finding:
    """Ask one rule about what it judges."""
    kept, inconclusive, crash = 0, 0, ""
    told: list[Judgement] = []
    try:
        for judgement in rule(subject):
            if judgement is KEPT:
                kept += 1
            elif judgement is INCONCLUSIVE:
                inconclusive += 1
            else:
                told.append(judgement)
    except Exception:  # noqa: BLE001 - a broken rule must not take the others with it
        crash = traceback.format_exc()
    if not (kept or inconclusive or crash or told):
        return NOTHING
    first_broken: dict[Hashable, float] = {}
    for suspicion in (each for each in told if isinstance(each, Suspicion)):
        first_broken.setdefault(suspicion.job, suspicion.sent)
    violations = tuple(each for each in told if isinstance(each, Violation))
    for violation in violations:
        if not violation.proof:
            continue  # a client that should have sent something, and did not
        last = violation.proof[-1]
        job = violation.facts.get("job", created_id(last))
        first_broken[job] = min(last.sent, first_broken.get(job, last.sent))
    missing = next((each.reason for each in told if isinstance(each, NotExercised)), "")
    return Finding(kept, violations, first_broken, inconclusive, crash, missing)
