"""Judges traffic that was recorded: trace files and HAR files."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_expedition.oracle.history import History, spoken
from pytest_expedition.oracle.record import RunRecord
from pytest_expedition.oracle.verdict import decide_outcomes, waive
from pytest_expedition.recordings import har
from pytest_expedition.recordings.by_job import judge_trace
from pytest_expedition.recordings.classification import classify
from pytest_expedition.recordings.files import open_recordings
from pytest_expedition.recordings.judged import judge_history, together
from pytest_expedition.recordings.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from pytest_expedition.oracle.verdict import Waiver
    from pytest_expedition.protocol.recipe import JobRecipe
    from pytest_expedition.protocol.requirements import Capability
    from pytest_expedition.recordings.classification import Classified
    from pytest_expedition.recordings.files import Recording
    from pytest_expedition.recordings.judged import Judged


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What recordings showed.

    ``record`` is what was judged. ``passed_over`` is how many requests were not of the job API,
    ``remarks`` say what could not be read, or not be judged, and why.
    """

    record: RunRecord
    passed_over: int
    remarks: tuple[str, ...]


def judge_files(
    paths: Iterable[Path],
    *,
    recipes: Sequence[JobRecipe] = (),
    job_seconds: float = math.inf,
    offers: Collection[Capability] = (),
    waivers: Collection[Waiver] = (),
    verify: bool | str = True,
) -> Recorded:
    """Judge recordings: HAR files and traces.

    The recipes say which jobs can be cancelled, ``job_seconds`` how long a job may take. Without
    them, only a trace says so of its jobs. Each file and each server in it is judged by itself.
    Raises ``RecordingError`` for a file that cannot be read.
    """
    started = datetime.now(timezone.utc)
    parts: list[Judged] = []
    secrets: dict[str, None] = {}
    passed_over = 0
    remarks: list[str] = []
    for recording in (each for path in paths for each in open_recordings(path)):
        if recording.kind == "trace":
            trace = Trace(recording)
            judged = judge_trace(trace, recipes=recipes, job_seconds=job_seconds)
            remarks += trace.remarks
            if judged.told_twice:
                remarks.append(f"{recording.name}: {judged.told_twice} lines repeated: judged once")
        else:
            log = har.read_har(recording)
            classified = classify(log.requests, recipes=recipes, all_headers=False)
            judged = judge_classified(classified, job_seconds=job_seconds, others_may_act=True)
            secrets.update(dict.fromkeys(classified.secrets))
            passed_over += log.passed_over + classified.passed_over
            remarks += [*log.remarks, *_unanswered(recording, classified)]
        parts.append(judged)
    found = together(parts)
    if not recipes and found.jobs and found.cancellable <= {None}:
        remarks.append(
            "which jobs can be cancelled is unknown: say it in a target file, with --config"
        )
    record = record_of(
        found,
        started=started,
        secrets=tuple(secrets),
        offers=offers,
        waivers=waivers,
        verify=verify,
    )
    return Recorded(record=record, passed_over=passed_over, remarks=tuple(remarks))


def _unanswered(recording: Recording, classified: Classified) -> Iterator[str]:
    """Say how many answers a HAR file does not have, and why."""
    lost = Counter(
        exchange.lost
        for exchanges in classified.servers.values()
        for exchange in exchanges
        if exchange.status is None
    )
    for why, times in lost.items():
        yield f"{recording.name}: {times} without an answer that can be judged: {why}"
    count = classified.perhaps_creations
    if count:
        requests = "request" if count == 1 else "requests"
        yield (
            f"{recording.name}: {count} {requests} without an answer that can be judged may have "
            "created jobs"
        )


def judge_classified(classified: Classified, *, job_seconds: float, others_may_act: bool) -> Judged:
    """Judge exchanges that fit into memory, each server by itself."""
    return together(
        [
            judge_history(
                History(exchanges, job_seconds=job_seconds, others_may_act=others_may_act),
                server=server,
            )
            for server, exchanges in classified.servers.items()
        ]
    )


def record_of(
    judged: Judged,
    *,
    started: datetime,
    secrets: tuple[str, ...] = (),
    offers: Collection[Capability] = (),
    waivers: Collection[Waiver] = (),
    verify: bool | str = True,
) -> RunRecord:
    """Return the record of what recordings showed.

    ``offers`` are capabilities of the servers, in addition to those that the recording shows.
    """
    dialect = spoken(judged.created_in, judged.dialects)
    results = decide_outcomes(judged.findings, offers={*offers, *_shown(judged)}, dialect=dialect)
    return RunRecord(
        url=", ".join(judged.servers),
        verify=verify,
        dialect=dialect,
        results=waive(results, waivers, today=started.date(), complete=False),
        started=started,
        seconds=judged.seconds,
        requests=judged.requests,
        jobs=judged.jobs,
        unanswered=judged.unanswered,
        secrets=secrets,
    )


def _shown(judged: Judged) -> Iterator[Capability]:
    """Return the capabilities that a recording shows."""
    if True in judged.cancellable:
        yield "cancellable"
        yield "granted"
    if False in judged.cancellable:
        yield "refusable"
