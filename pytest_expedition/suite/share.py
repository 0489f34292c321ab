"""What each share of a run found out, and what all of them found out together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pytest_expedition.oracle.history import spoken
from pytest_expedition.oracle.rules import together
from pytest_expedition.oracle.verdict import Result, conclude, settle, waive

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pytest_expedition.oracle.rules import Finding, Violation
    from pytest_expedition.oracle.verdict import Verdict
    from pytest_expedition.protocol.envelope import Dialect
    from pytest_expedition.suite.plan import Plan
    from pytest_expedition.suite.target import Target


@dataclass(frozen=True, kw_only=True)
class Conformance:
    """What a run found out.

    ``dialect`` is the one that the answers show. ``results`` are in the catalogue's order;
    ``reason`` says why the suite broke, if it did. ``seconds`` are those of the wall clock.
    ``left_behind`` are the ids of jobs that the run created and has not seen end,
    ``perhaps_created`` is how many more may have been, by requests without an answer. ``secrets``
    is what no report may show, ``plans`` are the smallest that broke each requirement.
    """

    target: Target
    dialect: Dialect | Literal["mixed"] | None
    verdict: Verdict
    results: list[Result]
    started: datetime
    seconds: float
    requests: int
    jobs: int
    unanswered: int
    reason: str = ""
    left_behind: tuple[int, ...] = ()
    perhaps_created: int = 0
    secrets: tuple[str, ...] = field(default=(), repr=False)
    plans: dict[str, Plan] = field(default_factory=dict)

    @property
    def first_error(self) -> Result | None:
        """The first requirement that could not be judged because the suite broke."""
        return next((each for each in self.results if each.outcome == "error"), None)


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a part of a run found out, at an instance of its own: see ``Conformance``.

    ``created_in`` and ``dialects`` are the dialects that the answers show, ``limit`` is the one
    that ended the run, ``smallest`` the smallest plan that broke each requirement.
    """

    findings: Mapping[str, Finding]
    created_in: Dialect | None
    dialects: Collection[Dialect | None]
    limit: str
    smallest: Mapping[str, tuple[Plan, Violation]]
    started: datetime
    seconds: float
    requests: int
    jobs: int
    unanswered: int
    reason: str
    left_behind: tuple[int, ...]
    perhaps_created: int
    secrets: tuple[str, ...]


def merge(target: Target, shares: Sequence[Share]) -> Conformance:
    """Give the verdict on all shares of a run."""
    reason = next((share.reason for share in shares if share.reason), "")
    smallest: dict[str, tuple[Plan, Violation]] = {}
    for share in shares:
        for name, found in share.smallest.items():
            if name not in smallest or found[0].size < smallest[name][0].size:
                smallest[name] = found
    created_in = next((each.created_in for each in shares if each.created_in is not None), None)
    dialect = spoken(created_in, {dialect for share in shares for dialect in share.dialects})
    started = min(share.started for share in shares)
    results = settle(
        together([share.findings for share in shares]),
        offers=target.offers,
        dialect=dialect,
        limit=next((share.limit for share in shares if share.limit), ""),
        broke=bool(reason),
        minimal={name: violation for name, (_, violation) in smallest.items()},
    )
    results = waive(results, target.waivers, today=started.date())
    return Conformance(
        target=target,
        dialect=dialect,
        verdict=conclude(
            ((each.requirement.level, each.outcome) for each in results), broke=bool(reason)
        ),
        results=results,
        started=started,
        seconds=max((x.started - started).total_seconds() + x.seconds for x in shares),
        requests=sum(share.requests for share in shares),
        jobs=sum(share.jobs for share in shares),
        unanswered=sum(share.unanswered for share in shares),
        reason=reason,
        left_behind=tuple(job_id for share in shares for job_id in share.left_behind),
        perhaps_created=sum(share.perhaps_created for share in shares),
        secrets=tuple(dict.fromkeys(each for share in shares for each in share.secrets)),
        plans={name: plan for name, (plan, _) in smallest.items()},
    )
