"""Which situations a run has exercised, and why not the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_expedition.oracle.situations import RUNNING, SITUATIONS, SituationResult

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_expedition.oracle.situations import Situation
    from pytest_expedition.suite.target import Target


def coverage(
    target: Target,
    *,
    counts: Mapping[Situation, int],
    planned: Collection[Situation],
    otherwise: str,
) -> list[SituationResult]:
    """Tell how often each situation was exercised, or why it was not.

    ``planned`` are those for which the run created jobs, ``otherwise`` is why it created none for
    the others.
    """
    results = []
    for situation in SITUATIONS:
        count = counts.get(situation, 0)
        reason = ""
        if not count:
            reason = _impossible(situation, target)
            if not reason and situation in planned:
                reason = "it was planned, but the request did not come at that moment"
            reason = reason or otherwise
        results.append(SituationResult(situation=situation, exercised=count, reason=reason))
    return results


def _impossible(situation: Situation, target: Target) -> str:
    """Say why no run against a target can exercise a situation; nothing if it can."""
    places = target.limits.concurrent_jobs
    if situation.company == "crowd" and places == 1:
        return "the target allows one job at a time, and a crowd needs two"
    if situation.company == "beside" and places <= 2:
        if places == 1:
            return "the target allows one job at a time"
        return "the target allows two jobs at a time, and two jobs count as a crowd"
    beside_one = situation.request == "creation" and situation.phase in {*RUNNING, "refused"}
    if beside_one and places == 1:
        return "the target allows one job at a time"
    recipes = [recipe.cancellable for recipe in target.jobs]
    if situation.phase == "refused" and all(recipes):
        return "the target has no job that refuses a cancel"
    if situation.phase == "cancelled" and not any(each is not False for each in recipes):
        return "the target has no job that may be cancelled"
    return ""
