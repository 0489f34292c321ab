"""What the rules found in recorded traffic: in the exchanges with one server, and in several."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_expedition.oracle import rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_expedition.oracle.history import History
    from pytest_expedition.oracle.rules import Finding
    from pytest_expedition.protocol.envelope import Dialect


@dataclass(kw_only=True)
class Judged:
    """What a recording showed.

    ``findings`` are by requirement, with only the shortest proof. ``seconds`` is the length of all
    parts of the recording together, ``told_twice`` counts the exchanges that were left out because
    the recording has them twice.
    """

    findings: dict[str, Finding]
    servers: list[str] = field(default_factory=list)
    requests: int = 0
    jobs: int = 0
    unanswered: Counter[int | None] = field(default_factory=Counter)
    told_twice: int = 0
    seconds: float = 0.0
    created_in: Dialect | None = None
    dialects: set[Dialect | None] = field(default_factory=set)
    cancellable: set[bool | None] = field(default_factory=set)


def judge_history(history: History, *, server: str) -> Judged:
    """Judge the exchanges with one server that fit into memory."""
    exchanges = history.exchanges
    history.server = server
    return Judged(
        findings=rules.judge(history),
        servers=[server],
        requests=len(exchanges),
        jobs=history.count_jobs(),
        unanswered=Counter(x.status for x in exchanges if not x.answered),
        seconds=max(x.received for x in exchanges) - exchanges[0].sent,
        created_in=history.created_in,
        dialects=history.dialects,
        cancellable={x.cancellable for x in history.creations},
    )


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
