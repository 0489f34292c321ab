"""Judges traffic that was recorded: trace files and HAR files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_expedition.oracle import rules
from pytest_expedition.oracle.history import History, spoken
from pytest_expedition.oracle.verdict import conclude, settle, waive
from pytest_expedition.recordings import har, traffic
from pytest_expedition.recordings.by_job import Judged, judge_history, judge_trace
from pytest_expedition.recordings.trace import Line, Trace
from pytest_expedition.report.document import assemble, requirement_entry, run_entry
from pytest_expedition.suite.share import Conformance
from pytest_expedition.suite.target import Target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from pytest_expedition.protocol.recipe import JobRecipe
    from pytest_expedition.protocol.requirements import Need
    from pytest_expedition.recordings.traffic import Traffic
    from pytest_expedition.report.document import Document
    from pytest_expedition.suite.target import Waiver

_NOWHERE = "http://nowhere.invalid"
"""What stands for the address where nothing was recorded."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What recordings showed.

    ``document`` is the report. ``passed_over`` is how many requests were not of the job API,
    ``cut`` are the traces whose last line is cut off.
    """

    document: Document
    passed_over: int
    cut: tuple[Path, ...]


def check(paths: Iterable[Path], *, target: Target | None = None) -> Recorded:
    """Judge recordings: HAR files (`.har`, `.json`) and traces (all others).

    The recipes of ``target`` say which jobs can be cancelled, its limits how long a job may take;
    without it neither is known, beyond what a trace says of its jobs. Each file is judged by
    itself, and each server in it. Raises ``RecordingError`` for a file that cannot be read.
    """
    started = datetime.now(timezone.utc)
    parts: list[Judged] = []
    secrets: dict[str, None] = {}
    passed_over = 0
    cut = []
    recipes = () if target is None else target.jobs
    job_seconds = math.inf if target is None else target.limits.job_seconds
    for path in paths:
        if path.suffix in {".har", ".json"}:
            seen = traffic.read(har.read(path), recipes=recipes, all_headers=False)
            judged = judge(seen, job_seconds=job_seconds, shared=True)
            secrets.update(dict.fromkeys(seen.secrets))
            passed_over += seen.passed_over
        else:
            trace = Trace(path)
            judged = judge_trace(
                _with_recipes(trace, recipes) if recipes else trace, job_seconds=job_seconds
            )
            cut += [path] if trace.cut else []
        parts.append(judged)
    report = document(
        together(parts),
        started=started,
        secrets=tuple(secrets),
        offers=() if target is None else target.offers,
        waivers=() if target is None else target.waivers,
        verify=True if target is None else target.verify,
    )
    return Recorded(document=report, passed_over=passed_over, cut=tuple(cut))


def judge(seen: Traffic, *, job_seconds: float, shared: bool) -> Judged:
    """Judge traffic that fits into memory, each server by itself."""
    return together(
        [
            judge_history(History(exchanges, job_seconds=job_seconds, shared=shared), server=server)
            for server, exchanges in seen.servers.items()
        ]
    )


def _with_recipes(lines: Iterable[Line], recipes: Sequence[JobRecipe]) -> Iterator[Line]:
    """Add to the creations of a trace what the recipes say of their jobs."""
    for whose, exchange in lines:
        known = None
        if exchange.kind == "create":
            known = traffic.cancellable(recipes, exchange.method, exchange.path)
        yield Line(whose, exchange if known is None else replace(exchange, cancellable=known))


def together(parts: Sequence[Judged]) -> Judged:
    """Put what several recordings showed together."""
    return Judged(
        findings=rules.together([part.findings for part in parts]),
        servers=list({server: None for part in parts for server in part.servers}),
        requests=sum(part.requests for part in parts),
        jobs=sum(part.jobs for part in parts),
        unanswered=sum(part.unanswered for part in parts),
        seconds=sum(part.seconds for part in parts),
        created_in=next((part.created_in for part in parts if part.created_in is not None), None),
        dialects={dialect for part in parts for dialect in part.dialects},
        cancellable={known for part in parts for known in part.cancellable},
    )


def document(
    judged: Judged,
    *,
    started: datetime,
    secrets: tuple[str, ...] = (),
    offers: Collection[Need] = (),
    waivers: Collection[Waiver] = (),
    verify: bool | str = True,
) -> Document:
    """Return the report on what was recorded.

    ``offers`` is what the servers are known to have besides what the recording shows.
    """
    dialect = spoken(judged.created_in, judged.dialects)
    results = settle(judged.findings, offers={*offers, *_shown(judged)}, dialect=dialect)
    results = waive(results, waivers, today=started.date())
    conformance = Conformance(
        target=_target(judged.servers[0] if judged.servers else _NOWHERE, verify),
        dialect=dialect,
        verdict=conclude((each.requirement.level, each.outcome) for each in results),
        results=results,
        started=started,
        seconds=judged.seconds,
        requests=judged.requests,
        jobs=judged.jobs,
        unanswered=judged.unanswered,
        secrets=secrets,
    )
    entries = []
    for result in results:
        of = conformance
        if result.violation is not None:
            of = replace(conformance, target=_target(result.violation.history.server, verify))
        entries.append(requirement_entry(of, result))
    run = run_entry(conformance)
    run["target"]["url"] = ", ".join(judged.servers)
    return assemble([run], entries)


def _shown(judged: Judged) -> Iterator[Need]:
    """What a recording says that its servers have."""
    if True in judged.cancellable:
        yield "cancellable"
        yield "granted"
    if False in judged.cancellable:
        yield "refusable"


def _target(server: str, verify: bool | str) -> Target:  # noqa: FBT001
    """The target that a server stands for; the key is needed by none who only looks back."""
    return Target(url=server, verify=verify, api_key="not recorded")
