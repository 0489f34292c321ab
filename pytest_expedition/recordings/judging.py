"""Judges traffic that was recorded: trace files and HAR files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_expedition.oracle import rules
from pytest_expedition.oracle.history import History, spoken
from pytest_expedition.oracle.record import RunRecord
from pytest_expedition.oracle.verdict import decide_outcomes, waive
from pytest_expedition.recordings import har, traffic
from pytest_expedition.recordings.by_job import Judged, judge_history, judge_trace
from pytest_expedition.recordings.trace import Line, Trace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from pytest_expedition.oracle.verdict import Waiver
    from pytest_expedition.protocol.recipe import JobRecipe
    from pytest_expedition.protocol.requirements import Need
    from pytest_expedition.recordings.traffic import Traffic
    from pytest_expedition.suite.target import Target


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What recordings showed.

    ``record`` is what was judged. ``passed_over`` is how many requests were not of the job API,
    ``cut`` are the traces whose last line is cut off.
    """

    record: RunRecord
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
    record = record_of(
        together(parts),
        started=started,
        secrets=tuple(secrets),
        offers=() if target is None else target.offers,
        waivers=() if target is None else target.waivers,
        verify=True if target is None else target.verify,
    )
    return Recorded(record=record, passed_over=passed_over, cut=tuple(cut))


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


def record_of(
    judged: Judged,
    *,
    started: datetime,
    secrets: tuple[str, ...] = (),
    offers: Collection[Need] = (),
    waivers: Collection[Waiver] = (),
    verify: bool | str = True,
) -> RunRecord:
    """Return the record of what recordings showed.

    ``offers`` is what the servers are known to have besides what the recording shows.
    """
    dialect = spoken(judged.created_in, judged.dialects)
    results = decide_outcomes(judged.findings, offers={*offers, *_shown(judged)}, dialect=dialect)
    return RunRecord(
        url=", ".join(judged.servers),
        verify=verify,
        dialect=dialect,
        results=waive(results, waivers, today=started.date()),
        started=started,
        seconds=judged.seconds,
        requests=judged.requests,
        jobs=judged.jobs,
        unanswered=judged.unanswered,
        secrets=secrets,
    )


def _shown(judged: Judged) -> Iterator[Need]:
    """What a recording says that its servers have."""
    if True in judged.cancellable:
        yield "cancellable"
        yield "granted"
    if False in judged.cancellable:
        yield "refusable"
