"""Which failure follows from which other: one defect often breaks several requirements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_expedition.protocol.requirements import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from pytest_expedition.oracle.rules import Finding

_WRONG_STATE: Final = ("status.identity", "status.monotonic", "status.terminal")
"""If one of these is broken, the state of a job is not reliable."""

MAY_FOLLOW_FROM: Final[dict[str, tuple[str, ...]]] = {
    "create.envelope": ("create.initial-state", "result.next-step"),
    "create.visible": ("status.identity",),
    "status.envelope": ("create.visible", "status.bounds", "result.next-step", "cancel.minus-one"),
    "status.monotonic": (
        "status.identity",
        "cancel.minus-one",
        "cancel.completed",
        "cancel.isolation",
        "refuse.continues",
        "refuse.state",
    ),
    "status.terminal": ("status.identity", "status.monotonic", "cancel.completed"),
    "status.completes": (*_WRONG_STATE, "cancel.isolation"),
    "status.no-spontaneous-cancel": (
        "create.initial-state",
        "status.identity",
        "status.terminal",
        "cancel.isolation",
    ),
    "status.message-agrees": _WRONG_STATE,
    "cancel.envelope": ("status.bounds", "result.next-step"),
    "cancel.minus-one": (
        "status.identity",
        "status.monotonic",
        "status.completes",
        "cancel.completed",
        "cancel.isolation",
    ),
    "cancel.immediate": ("status.identity", "cancel.envelope", "cancel.minus-one"),
    "cancel.persists": (
        *_WRONG_STATE,
        "create.visible",
        "status.no-spontaneous-cancel",
        "refuse.state",
    ),
    "cancel.completed": _WRONG_STATE,
    "cancel.repeat": (*_WRONG_STATE, "cancel.persists", "cancel.race"),
    "cancel.isolation": (
        *_WRONG_STATE,
        "status.no-spontaneous-cancel",
        "cancel.completed",
        "refuse.continues",
    ),
    "cancel.race": (
        *_WRONG_STATE,
        "cancel.persists",
        "cancel.completed",
        "cancel.isolation",
        "refuse.continues",
        "refuse.state",
    ),
    "refuse.state": (
        *_WRONG_STATE,
        "status.no-spontaneous-cancel",
        "cancel.envelope",
        "cancel.completed",
        "cancel.isolation",
        "refuse.continues",
    ),
    "refuse.message": ("cancel.envelope",),
    "refuse.continues": (
        *_WRONG_STATE,
        "create.visible",
        "status.completes",
        "cancel.completed",
        "cancel.isolation",
    ),
    "result.stable": ("status.message-agrees",),
    "agent.idempotent": (
        *_WRONG_STATE,
        "status.no-spontaneous-cancel",
        "cancel.isolation",
        "refuse.continues",
        "refuse.state",
    ),
}
"""For each requirement those that may break it, too. No MUST follows from a SHOULD."""

NEEDS: Final[dict[str, str]] = {
    "status.terminal": "status.completes",
    "cancel.immediate": "cancel.minus-one",
    "cancel.persists": "cancel.minus-one",
    "cancel.completed": "status.completes",
    "cancel.repeat": "cancel.minus-one",
    "refuse.message": "refuse.state",
    "refuse.continues": "refuse.state",
}
"""For some requirements another one: if that is never kept, nothing shows what the first is about.

No answer shows 1, or -1, or that a job goes on after its cancel was refused.
"""

_ABOUT_ONE_ANSWER: Final = frozenset({"status.message-agrees"})
"""What one answer breaks by itself: it follows only from what the same answer broke."""

_PLACES: Final = {name: place for place, name in enumerate(CATALOGUE)}


def find_causes(findings: Mapping[str, Finding]) -> dict[str, str]:
    """Return, for each broken requirement that follows from another one, its first cause.

    A requirement follows from another if this one was broken about the same jobs, and for none of
    them later. A cause follows from nothing.
    """
    broken = {name: x.first_broken for name, x in findings.items() if x.violations}
    direct: dict[str, str] = {}

    def root(name: str) -> str:
        return root(direct[name]) if name in direct else name

    for name in broken:
        for cause in MAY_FOLLOW_FROM.get(name, ()):
            if cause in broken and root(cause) != name and _precedes(cause, name, broken):
                direct[name] = cause
                break
    return {name: root(name) for name in direct}


def _precedes(cause: str, name: str, broken: Mapping[str, Mapping[Hashable, float]]) -> bool:
    """Whether one requirement was broken before another, about the jobs that broke both.

    Two that may follow from each other are often broken by the same answers. Then the more special
    one, which is the later in the catalogue, is the cause if it explains all jobs that broke the
    other.
    """
    earlier, later = broken[cause], broken[name]
    both = earlier.keys() & later.keys()
    if not both or any(earlier[job] > later[job] for job in both):
        return False
    if name in _ABOUT_ONE_ANSWER and any(earlier[job] < later[job] for job in both):
        return False
    if name not in MAY_FOLLOW_FROM.get(cause, ()) or any(earlier[x] < later[x] for x in both):
        return True
    if _PLACES[cause] > _PLACES[name]:
        return later.keys() <= earlier.keys()
    return not earlier.keys() <= later.keys()
