"""From what the rules found to an outcome for each requirement, a verdict, and an exit status."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Literal

from pytest_expedition.checked import checked
from pytest_expedition.exit_statuses import EXIT_BROKE, EXIT_FAILED, EXIT_NOTHING_JUDGED, EXIT_OK
from pytest_expedition.oracle.causes import NEEDS, find_causes
from pytest_expedition.oracle.rules.base import best_told
from pytest_expedition.protocol.requirements import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pytest_expedition.oracle.rules import Finding, Violation
    from pytest_expedition.protocol.requirements import Capability, Level, Requirement

Outcome = Literal["pass", "fail", "waived", "inconclusive", "not-tested", "error"]
Verdict = Literal[
    "conformant", "conformant-with-waivers", "non-conformant", "inconclusive", "error"
]
WaiverState = Literal["used", "undecided", "unused", "not-needed", "expired"]
"""The state of a waiver: it excused a failure; the requirement neither failed nor passed; it
passed, but may fail in another run; it passed, so it is not needed; its last day is over."""

# The exit statuses of pytest.


@checked
@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A requirement that the instance is known to break.

    ``reason`` says why the failure is accepted, ``until`` is the last day on which it is.
    ``sometimes`` says that the failure does not show in every run.
    """

    id: str
    reason: str
    until: date
    sometimes: bool = False

    def __post_init__(self) -> None:
        if self.id not in CATALOGUE:
            raise ValueError(f"Waiver: id = {self.id!r}: must be {_requirement_like(self.id)}")
        if not self.reason.strip():
            raise ValueError(f"Waiver: reason = {self.reason!r}: must be a text, not empty")
        if type(self.until) is not date:
            raise ValueError(f"Waiver: until = {self.until!r}: must be a date")


def _requirement_like(name: str) -> str:
    """Say what the id of a waiver must be, with the nearest id that there is."""
    alike = difflib.get_close_matches(name, CATALOGUE, 1)
    return "the id of a requirement" + (f"; did you mean {alike[0]}?" if alike else "")


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one requirement.

    ``kept`` is how often the promise was tested and kept, ``violation`` the proof that it was
    broken, ``follows_from`` the requirement whose failure explains it, or ``waived_cause`` if that
    failure is waived, ``inconclusive`` how often lost answers hid the result. The others say why it
    was not tested: ``not_exercised`` is what was missing, if the rule knows that better than the
    catalogue, ``waived_cause`` the waived requirement that hides what this one is about,
    ``lacking`` the capability that the target lacks, ``dialect`` the one that does not have what
    the requirement is about, ``limit`` the limit that ended the run, ``pause`` the seconds that the
    target asked to wait, if they were too long for that limit, ``crash`` the traceback of the rule.
    ``waiver`` is the target's waiver, if it has one, and ``waiver_state`` its state.
    """

    requirement: Requirement
    outcome: Outcome
    kept: int = 0
    violation: Violation | None = None
    follows_from: str = ""
    waived_cause: str = ""
    inconclusive: int = 0
    not_exercised: str = ""
    lacking: Capability | None = None
    dialect: str = ""
    limit: str = ""
    pause: float = 0.0
    crash: str = ""
    waiver: Waiver | None = None
    waiver_state: WaiverState | None = None


def decide_outcomes(
    findings: Mapping[str, Finding],
    *,
    offers: Collection[Capability],
    dialect: str | None = None,
    limit: str = "",
    pause: float = 0.0,
    broke: bool = False,
    minimal: Mapping[str, Violation] | None = None,
    catalogue: Mapping[str, Requirement] = CATALOGUE,
) -> list[Result]:
    """Give every requirement its outcome.

    ``offers`` is what the target is known to have, ``dialect`` the one that it speaks, ``limit``
    the limit that ended the run, if one did; ``pause`` the seconds that the target asked to wait if
    they were too long for that limit; ``broke`` whether the run could not be carried out, so
    that what was not judged is an error. ``minimal`` are violations that are preferred as proof,
    and ``catalogue`` has the requirements by id.
    """
    results = []
    causes = find_causes(findings)
    for name, finding in findings.items():
        requirement = catalogue[name].in_dialect(dialect)
        if finding.violations:
            proof = (minimal or {}).get(name) or best_told(finding.violations)
            result = Result(
                requirement=requirement,
                outcome="fail",
                kept=finding.kept,
                violation=proof,
                follows_from=causes.get(name, ""),
            )
        elif finding.crash or (broke and not finding.kept):
            result = Result(requirement=requirement, outcome="error", crash=finding.crash)
        elif finding.inconclusive:
            result = Result(
                requirement=requirement,
                outcome="inconclusive",
                kept=finding.kept,
                inconclusive=finding.inconclusive,
            )
        elif finding.kept:
            result = Result(requirement=requirement, outcome="pass", kept=finding.kept)
        elif not requirement.is_about(dialect):
            result = Result(
                requirement=requirement,
                outcome="not-tested",
                lacking="field",
                dialect=dialect or "",
            )
        elif _is_lacking(requirement.capability, offers, limit):
            result = Result(
                requirement=requirement, outcome="not-tested", lacking=requirement.capability
            )
        else:
            result = Result(
                requirement=requirement,
                outcome="inconclusive",
                not_exercised=finding.not_exercised,
                limit=limit,
                pause=pause,
            )
        results.append(result)
    return results


def waive(
    results: Iterable[Result], waivers: Iterable[Waiver], *, today: date, complete: bool = True
) -> list[Result]:
    """Excuse the failures for which there are waivers that have not expired.

    ``complete`` says that a whole run was judged: a recording, or one plan, cannot show that a
    waiver is not needed. A failure that is not waived gets its whole story, also where its cause is
    waived. What could not be exercised, since a waived requirement is never kept, is not tested.
    """
    by_id = {waiver.id: waiver for waiver in waivers}
    waived = [
        _waived(result, by_id.get(result.requirement.id), today, complete=complete)
        for result in results
    ]
    excused = {result.requirement.id: result for result in waived if result.outcome == "waived"}
    never_kept = {name for name, result in excused.items() if not result.kept}
    return [_beside(result, excused, never_kept) for result in waived]


def _beside(result: Result, excused: Collection[str], never_kept: Collection[str]) -> Result:
    """Return a result as it is beside waived failures of others."""
    if result.outcome == "fail" and result.follows_from in excused:
        return replace(result, follows_from="", waived_cause=result.follows_from)
    needed = NEEDS.get(result.requirement.id, "")
    not_exercised = result.outcome == "inconclusive" and not (result.inconclusive or result.limit)
    if not_exercised and needed in never_kept:
        return replace(result, outcome="not-tested", waived_cause=needed)
    return result


def _waived(result: Result, waiver: Waiver | None, today: date, *, complete: bool) -> Result:
    if waiver is None:
        return result
    state: WaiverState = "unused" if result.outcome == "pass" else "undecided"
    if result.outcome == "pass" and complete and not waiver.sometimes:
        state = "not-needed"
    elif waiver.until < today and (complete or result.outcome == "fail"):
        state = "expired"
    elif result.outcome == "fail":
        return replace(result, outcome="waived", waiver=waiver, waiver_state="used")
    return replace(result, waiver=waiver, waiver_state=state)


def conclude(
    outcomes: Iterable[tuple[Level, Outcome]], *, broke: bool = False, complete: bool = True
) -> Verdict:
    """Give the verdict from each requirement's level and outcome.

    ``broke`` says that the run could not be carried out to its end, ``complete`` that tests asked
    for the whole catalogue. From a selection it cannot be known that the target conforms.
    """
    seen = set(outcomes)
    if ("MUST", "fail") in seen:
        return "non-conformant"
    if broke or {("MUST", "error"), ("SHOULD", "error")} & seen:
        return "error"
    judged = {outcome for _, outcome in seen} & {"pass", "fail", "waived"}
    if ("MUST", "inconclusive") in seen or not judged or not complete:
        return "inconclusive"
    return "conformant-with-waivers" if "waived" in judged else "conformant"


def has_stale_waiver(result: Result) -> bool:
    """Whether there is a waiver that is not needed or has expired."""
    return result.waiver_state in {"not-needed", "expired"}


def is_failure(result: Result, *, strict: bool) -> bool:
    """Whether a result fails its run: a broken MUST, an error, a stale waiver.

    ``strict``: a broken SHOULD, too.
    """
    if result.outcome == "fail":
        return strict or result.requirement.level == "MUST" or has_stale_waiver(result)
    return result.outcome == "error" or has_stale_waiver(result)


def exit_status(results: Collection[Result], *, strict: bool, broke: bool = False) -> int:
    """Return the exit status of a command that judged all of this, as pytest has them."""
    verdict = conclude(((x.requirement.level, x.outcome) for x in results), broke=broke)
    if verdict == "error":
        return EXIT_BROKE
    if any(is_failure(result, strict=strict) for result in results):
        return EXIT_FAILED
    judged = {result.outcome for result in results} & {"pass", "fail", "waived"}
    return EXIT_OK if judged else EXIT_NOTHING_JUDGED


def _is_lacking(capability: Capability | None, offers: Collection[Capability], limit: str) -> bool:
    """Whether the promise could not be tested because the target lacks a capability."""
    if capability == "field":
        # Had the field been there, its rule would have had something to judge.
        return not limit
    return capability is not None and capability not in offers
