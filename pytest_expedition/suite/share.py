"""What each share of a run found out, and what all of them found out together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_expedition.oracle.history import spoken
from pytest_expedition.oracle.record import RunRecord
from pytest_expedition.oracle.rules import together
from pytest_expedition.oracle.verdict import decide_outcomes, waive
from pytest_expedition.suite.coverage import coverage
from pytest_expedition.suite.plan import Replay, as_document

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pytest_expedition.oracle.rules import Finding, Violation
    from pytest_expedition.oracle.situations import Situation
    from pytest_expedition.protocol.envelope import Dialect
    from pytest_expedition.suite.plan import Plan
    from pytest_expedition.suite.target import Target


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a part of a run found out, at an instance of its own: see ``RunRecord``.

    ``created_in`` and ``dialects`` are the dialects that the answers show, ``limit`` is the one
    that ended the run, ``pause`` the seconds that the target asked to wait if that was too long,
    ``smallest`` the smallest plan that broke each requirement. ``exercised`` counts the situations
    that the traffic shows, ``planned`` are those for which jobs were created, and ``why_no_more``
    says why no jobs were created for the others. ``alone`` says that it carried out one plan alone.
    """

    findings: Mapping[str, Finding]
    created_in: Dialect | None
    dialects: Collection[Dialect | None]
    limit: str
    pause: float
    smallest: Mapping[str, tuple[Plan, Violation]]
    exercised: Counter[Situation]
    planned: Collection[Situation]
    why_no_more: str
    alone: bool
    started: datetime
    seconds: float
    requests: int
    jobs: int
    longest_job: float
    unanswered: Counter[int | None]
    refused_creations: Counter[int]
    proxy: str
    reason: str
    left_behind: tuple[int, ...]
    unconfirmed_creations: int
    unconfirmed_ids: tuple[str, ...]
    secrets: tuple[str, ...]


def merge(target: Target, shares: Sequence[Share]) -> RunRecord:
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
    results = decide_outcomes(
        together([share.findings for share in shares]),
        offers=target.offers,
        dialect=dialect,
        limit=next((share.limit for share in shares if share.limit), ""),
        pause=next((share.pause for share in shares if share.limit), 0.0),
        broke=bool(reason),
        minimal={name: violation for name, (_, violation) in smallest.items()},
    )
    results = waive(results, target.waivers, today=started.date(), complete=not shares[0].alone)
    return RunRecord(
        url=target.url,
        verify=target.verify,
        cert=target.cert,
        cert_key=target.cert_key,
        proxy=next((share.proxy for share in shares if share.proxy), ""),
        embedded=not target.clock.waits,
        dialect=dialect,
        results=results,
        started=started,
        seconds=max((x.started - started).total_seconds() + x.seconds for x in shares),
        requests=sum(share.requests for share in shares),
        jobs=sum(share.jobs for share in shares),
        longest_job=max(share.longest_job for share in shares),
        unanswered=sum((share.unanswered for share in shares), Counter()),
        refused_creations=sum((share.refused_creations for share in shares), Counter()),
        reason=reason,
        left_behind=tuple(job_id for share in shares for job_id in share.left_behind),
        unconfirmed_creations=sum(share.unconfirmed_creations for share in shares),
        unconfirmed_ids=tuple(each for share in shares for each in share.unconfirmed_ids),
        situations=coverage(
            target,
            counts=sum((share.exercised for share in shares), Counter()),
            planned={each for share in shares for each in share.planned},
            otherwise="the run broke off" if reason else shares[0].why_no_more,
        ),
        secrets=tuple(dict.fromkeys(each for share in shares for each in share.secrets)),
        plans={
            name: as_document(Replay(requirement=name, plan=plan))
            for name, (plan, _) in smallest.items()
        },
    )
