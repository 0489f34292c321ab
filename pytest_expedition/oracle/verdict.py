"""From what the rules found to an outcome for each requirement and a verdict of the whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pytest_expedition.protocol.requirements import BARE_DIALECTS, CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import date

    from pytest_expedition.oracle.rules import Finding, Violation
    from pytest_expedition.protocol.requirements import Level, Need, Requirement
    from pytest_expedition.suite.target import Waiver

Outcome = Literal["pass", "fail", "waived", "inconclusive", "not-tested", "error"]
Verdict = Literal[
    "conformant", "conformant-with-waivers", "non-conformant", "inconclusive", "error"
]
WaiverState = Literal["used", "undecided", "not-needed", "expired"]
"""What became of a waiver: it excused a failure; there was neither failure nor pass; the
requirement passed; its last day is over."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one requirement.

    ``held`` is how often the promise was put to the test and kept, ``violation`` the proof that it
    was broken, ``unseen`` how often what came of it could not be seen. ``lacking`` is what the
    target had to have for a chance, ``dialect`` the one that does not carry it, ``limit`` the limit
    that ended the run before there was one, ``crash`` the traceback of a rule that broke down.
    ``waiver`` is that of the target, if it has one, and ``waiver_state`` what became of it.
    """

    requirement: Requirement
    outcome: Outcome
    held: int = 0
    violation: Violation | None = None
    unseen: int = 0
    lacking: Need | None = None
    dialect: str = ""
    limit: str = ""
    crash: str = ""
    waiver: Waiver | None = None
    waiver_state: WaiverState | None = None


def settle(
    findings: Mapping[str, Finding],
    *,
    offers: Collection[Need],
    dialect: str | None = None,
    limit: str = "",
    broke: bool = False,
    minimal: Mapping[str, Violation] | None = None,
    catalogue: Mapping[str, Requirement] = CATALOGUE,
) -> list[Result]:
    """Give every requirement its outcome.

    ``offers`` is what the target is known to have, ``dialect`` the one that it speaks, ``limit``
    the limit that ended the run, if one did; ``broke`` whether the run could not be carried out, so
    that what was not judged is an error. ``minimal`` are violations that are preferred as proof,
    and ``catalogue`` has the requirements by id.
    """
    results = []
    for name, finding in findings.items():
        requirement = catalogue[name]
        if finding.violations:
            proof = (minimal or {}).get(name) or min(
                finding.violations, key=lambda violation: len(violation.proof)
            )
            result = Result(
                requirement=requirement, outcome="fail", held=finding.held, violation=proof
            )
        elif finding.crash or (broke and not finding.held):
            result = Result(requirement=requirement, outcome="error", crash=finding.crash)
        elif finding.unseen:
            result = Result(requirement=requirement, outcome="inconclusive", unseen=finding.unseen)
        elif finding.held:
            result = Result(requirement=requirement, outcome="pass", held=finding.held)
        elif requirement.need == "field" and dialect in BARE_DIALECTS:
            result = Result(
                requirement=requirement, outcome="not-tested", lacking="field", dialect=dialect
            )
        elif _is_lacking(requirement.need, offers, limit):
            result = Result(requirement=requirement, outcome="not-tested", lacking=requirement.need)
        else:
            result = Result(requirement=requirement, outcome="inconclusive", limit=limit)
        results.append(result)
    return results


def waive(results: Iterable[Result], waivers: Iterable[Waiver], *, today: date) -> list[Result]:
    """Excuse the failures for which there are waivers that have not expired."""
    by_id = {waiver.id: waiver for waiver in waivers}
    return [_waived(result, by_id.get(result.requirement.id), today) for result in results]


def _waived(result: Result, waiver: Waiver | None, today: date) -> Result:
    if waiver is None:
        return result
    if result.outcome == "pass":
        return replace(result, waiver=waiver, waiver_state="not-needed")
    if waiver.until < today:
        return replace(result, waiver=waiver, waiver_state="expired")
    if result.outcome == "fail":
        return replace(result, outcome="waived", waiver=waiver, waiver_state="used")
    return replace(result, waiver=waiver, waiver_state="undecided")


def conclude(outcomes: Iterable[tuple[Level, Outcome]], *, broke: bool = False) -> Verdict:
    """Give the verdict of the whole from each requirement's level and outcome.

    ``broke`` says that the run could not be carried out to its end.
    """
    seen = set(outcomes)
    if ("MUST", "fail") in seen:
        return "non-conformant"
    if broke or {("MUST", "error"), ("SHOULD", "error")} & seen:
        return "error"
    judged = {outcome for _, outcome in seen} & {"pass", "fail", "waived"}
    if ("MUST", "inconclusive") in seen or not judged:
        return "inconclusive"
    return "conformant-with-waivers" if "waived" in judged else "conformant"


def _is_lacking(need: Need | None, offers: Collection[Need], limit: str) -> bool:
    """Whether there was no chance because the target does not have what it takes."""
    if need == "field":
        # Had the field been there, its rule would have had something to judge.
        return not limit
    return need is not None and need not in offers
