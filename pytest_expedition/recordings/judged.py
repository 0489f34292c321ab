"""What the rules found in recorded traffic: in the exchanges with one server, and in several."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_expedition.oracle import rules
from pytest_expedition.oracle.rules import NOTHING, Finding
from pytest_expedition.oracle.rules.base import best_told
from pytest_expedition.protocol.requirements import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_expedition.oracle.history import History
    from pytest_expedition.protocol.envelope import Dialect


@dataclass(kw_only=True)
class Judged:
    """What a recording showed.

    ``findings`` are by requirement, with only the shortest proof. ``seconds`` is the length of all
    parts of the recording together, ``told_twice`` counts the exchanges that were left out because
    the recording has them twice.
    """

    findings: dict[str, Finding] = field(
        default_factory=lambda: {name: Finding() for name in CATALOGUE}
    )
    servers: list[str] = field(default_factory=list)
    requests: int = 0
    jobs: int = 0
    unanswered: Counter[int | None] = field(default_factory=Counter)
    told_twice: int = 0
    seconds: float = 0.0
    created_in: Dialect | None = None
    dialects: set[Dialect | None] = field(default_factory=set)
    cancellable: set[bool | None] = field(default_factory=set)
    _begun: float = math.inf
    _ended: float = -math.inf
    _first_created: float = math.inf

    def add(self, name: str, found: Finding) -> None:
        """Add what a rule found in a part of the recording, and keep the shortest proof."""
        if found is NOTHING:
            return
        known = self.findings[name]
        violations = known.violations
        known.first_broken.update(found.first_broken)
        if found.violations:
            violations = (best_told((*known.violations, *found.violations)),)
        self.findings[name] = Finding(
            kept=known.kept + found.kept,
            violations=violations,
            first_broken=known.first_broken,
            inconclusive=known.inconclusive + found.inconclusive,
            crash=known.crash or found.crash,
            not_exercised=known.not_exercised or found.not_exercised,
        )

    def count(self, history: History) -> None:
        """Count what a history of the server shows."""
        exchanges = history.exchanges
        self._begun = min(self._begun, exchanges[0].sent)
        self._ended = max(self._ended, *(x.received for x in exchanges))
        self.seconds = self._ended - self._begun
        self.requests += len(exchanges)
        self.jobs += history.count_jobs()
        self.unanswered.update(x.status for x in exchanges if not x.answered)
        self.dialects |= history.dialects
        self.cancellable.update(x.cancellable for x in history.creations)
        if history.created_in is not None and history.creations[0].sent < self._first_created:
            self.created_in, self._first_created = history.created_in, history.creations[0].sent


def judge_history(history: History, *, server: str) -> Judged:
    """Judge the exchanges with one server that fit into memory."""
    history.server = server
    judged = Judged(findings=rules.judge(history), servers=[server])
    judged.count(history)
    return judged


def together(parts: Sequence[Judged]) -> Judged:
    """Merge what several recordings showed."""
    return Judged(
        findings=rules.together([part.findings for part in parts]),
        servers=list({server: None for part in parts for server in part.servers}),
        requests=sum(part.requests for part in parts),
        jobs=sum(part.jobs for part in parts),
        unanswered=sum((part.unanswered for part in parts), Counter()),
        told_twice=sum(part.told_twice for part in parts),
        seconds=sum(part.seconds for part in parts),
        created_in=next((part.created_in for part in parts if part.created_in is not None), None),
        dialects={dialect for part in parts for dialect in part.dialects},
        cancellable={known for part in parts for known in part.cancellable},
    )
