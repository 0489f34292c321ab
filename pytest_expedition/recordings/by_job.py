"""Judges traces job by job, with the rules for any history, so that they need not fit into memory.

To judge a job, a rule needs the exchanges about this job, the cancels of all jobs, when others were
created, and the commands to the agent. So the exchanges are written to a temporary database and
read from it job by job. Memory holds those of one job, and what all jobs have in common.
"""

from __future__ import annotations

import marshal
import math
import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import fields, replace
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.oracle.history import (
    Created,
    Exchange,
    History,
    OfAllJobs,
    answered_cancels,
    created,
    id_of,
    listing_of,
)
from pytest_expedition.oracle.rules import ACROSS_JOBS, RULES, Violation, find
from pytest_expedition.oracle.rules.base import MOST_OTHERS
from pytest_expedition.recordings.classification import cancellable
from pytest_expedition.recordings.judged import Judged, together
from pytest_expedition.recordings.trace import exchange_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_expedition.protocol.recipe import JobRecipe
    from pytest_expedition.recordings.trace import Trace, Whose

_sent: Final = attrgetter("sent")
_all_but_position: Final = attrgetter(
    *(each.name for each in fields(Exchange) if each.name != "position")
)

_TABLE: Final = "CREATE TABLE stored (judge INTEGER, job TEXT, exchanges BLOB)"
_INDEX: Final = "CREATE INDEX by_job ON stored (judge, job)"
_INSERT: Final = "INSERT INTO stored VALUES (?, ?, ?)"
_ALL: Final = "SELECT exchanges, job FROM stored WHERE judge = ? ORDER BY job, rowid"
_ONE_JOB: Final = "SELECT exchanges FROM stored WHERE (judge, job) = (?, ?) ORDER BY rowid"

_WAITING: Final = 16 * 2**20
_WITHOUT_BODY: Final = 2000
"""About how many bytes of exchanges wait in memory to be written together, and how many of them an
exchange takes without its body."""


def judge_trace(
    trace: Trace, *, recipes: Sequence[JobRecipe] = (), job_seconds: float = math.inf
) -> Judged:
    """Judge the exchanges of a trace, each server and each part separately.

    ``recipes`` say which jobs can be cancelled if the trace does not.
    """
    # A database without a name is a temporary file that is deleted with the connection.
    with closing(sqlite3.connect("")) as database:
        judges: dict[Whose, _Judge] = {}
        database.execute(_TABLE)
        database.executemany(_INSERT, _rows(trace, recipes, judges))
        database.execute(_INDEX)
        settings = {"job_seconds": job_seconds, "others_may_act": trace.incomplete}
        return together([judge.judge(database, settings) for judge in judges.values()])


def _rows(
    trace: Trace, recipes: Sequence[JobRecipe], judges: dict[Whose, _Judge]
) -> Iterator[tuple[int, str, bytes]]:
    """Yield the rows of the database; each judge remembers what concerns all jobs."""
    waiting: defaultdict[tuple[int, str], list[Any]] = defaultdict(list)
    size = 0
    for whose, values in trace:
        judge = judges.get(whose) or judges.setdefault(whose, _Judge(whose, len(judges)))
        judge.lines += 1
        job, kind = values.get("job_id"), values["kind"]
        if kind != "status":
            exchange = exchange_of(values.copy())  # which adds what it computes
            if kind == "create":
                job = id_of(exchange)
                known = cancellable(recipes, exchange.method, exchange.path)
                if known is not None:
                    values["cancellable"] = known
            judge.remember(exchange)
            if kind == "agent":
                continue
        waiting[judge.number, str(job)].append(values)
        size += _WITHOUT_BODY + len(values.get("body", b""))
        if size > _WAITING:
            yield from ((*key, marshal.dumps(part)) for key, part in waiting.items())
            waiting.clear()
            size = 0
    yield from ((*key, marshal.dumps(part)) for key, part in waiting.items())


def _read(parts: Iterable[tuple[bytes]]) -> list[Exchange]:
    """Read exchanges as the database has them, without repetitions."""
    return _without_repetitions(
        [
            exchange_of(values)
            for (part,) in parts
            for values in marshal.loads(part)  # noqa: S302 - written above
        ]
    )


def _without_repetitions(exchanges: list[Exchange]) -> list[Exchange]:
    """Leave out each exchange that repeats an earlier one in all but its position."""
    if len({(x.sent, x.received) for x in exchanges}) == len(exchanges):
        return exchanges
    once: dict[tuple[Any, ...], Exchange] = {}
    for exchange in exchanges:
        once.setdefault(_all_but_position(exchange), exchange)
    return list(once.values())


class _Judge:
    """Judges the exchanges with one server, in one part of a trace, job by job."""

    def __init__(self, whose: Whose, number: int) -> None:
        self.number = number
        """What the database knows the judge by."""
        self.lines = 0
        self._of_all_jobs = OfAllJobs()
        """Without the bodies of answers, except for those of the agent."""
        self._judged = Judged(servers=[whose.server])
        self._notes: dict[str, list[Any]] = {name: [] for name in ACROSS_JOBS}
        self._rules = RULES | {
            name: across.noting_into(self._notes[name]) for name, across in ACROSS_JOBS.items()
        }

    def remember(self, exchange: Exchange) -> None:
        """Remember what concerns all jobs."""
        if exchange.kind == "agent":
            self._of_all_jobs.agent.append(exchange)
            return
        if exchange.kind == "create" and not exchange.probe:
            self._of_all_jobs.creations.append(created(exchange))
            return
        without_body = replace(exchange, body=b"")
        if answered_cancels([exchange]):
            self._of_all_jobs.cancels.append(without_body)
        elif (listing := listing_of(exchange)) is not None:
            self._of_all_jobs.lists.append(listing._replace(exchange=without_body))

    def judge(self, database: sqlite3.Connection, settings: dict[str, Any]) -> Judged:
        """Judge what the database has of the server; the settings are those of a history."""
        judged, of_all_jobs = self._judged, self._of_all_jobs
        of_all_jobs.creations.sort(key=_sent)
        of_all_jobs.cancels.sort(key=_sent)
        of_all_jobs.agent = sorted(_without_repetitions(of_all_jobs.agent), key=_sent)
        of_all_jobs.lists.sort(key=lambda listing: listing.exchange.sent)

        def history_of(exchanges: Iterable[Exchange]) -> History:
            return History(exchanges, of_all_jobs=of_all_jobs, **settings)

        if of_all_jobs.agent:
            self._judge_history(history_of(of_all_jobs.agent))
        for _, rows in groupby(database.execute(_ALL, (self.number,)), itemgetter(1)):
            self._judge_history(history_of(_read(row[:1] for row in rows)))
        judged.told_twice = self.lines - judged.requests
        for name, notes in self._notes.items():
            judged.add(name, find(ACROSS_JOBS[name].rule, notes))
        for name, found in judged.findings.items():
            told = [self._with_jobs(each, database, history_of) for each in found.violations]
            judged.findings[name] = replace(found, violations=tuple(told))
        return judged

    def _judge_history(self, history: History) -> None:
        for name, rule in self._rules.items():
            self._judged.add(name, find(rule, history))
        self._judged.count(history)

    def _with_jobs(
        self,
        violation: Violation,
        database: sqlite3.Connection,
        history_of: Callable[[Iterable[Exchange]], History],
    ) -> Violation:
        """Give a violation the history of the jobs that it is about."""
        known = {x.position: x for x in violation.proof if x.kind != "agent"}
        unknown = (
            {"None"} if any(id_of(exchange) is None for exchange in violation.proof) else set()
        )
        for job in {*map(str, violation.jobs), *unknown}:
            of_job = _read(database.execute(_ONE_JOB, (self.number, job)))
            known |= {x.position: x for x in of_job if job != "None" or x.position in known}
        proof = [x if x.kind == "agent" else known[x.position] for x in violation.proof]
        told = Violation(violation.fault, *proof, **violation.facts)
        told.history = history_of([*known.values(), *self._of_all_jobs.agent])
        for job in self._changed_meanwhile(told):
            of_job = _read(database.execute(_ONE_JOB, (self.number, job)))
            known = {x.position: x for x in of_job} | known
        told.history = history_of([*known.values(), *self._of_all_jobs.agent])
        told.history.server = self._judged.servers[0]
        return told

    def _changed_meanwhile(self, violation: Violation) -> list[str]:
        """Name the jobs that were created or cancelled before the last exchange of a proof."""
        if violation.last_change is None:
            return []
        earlier, later = violation.last_change
        others: list[Created | Exchange] = [
            *self._of_all_jobs.creations_under_way.between(earlier, later),
            *self._of_all_jobs.cancels_under_way.between(earlier, later),
        ]
        latest = sorted(others, key=_sent)[-MOST_OTHERS:]
        return [str(x.job_id) for x in latest if x.job_id is not None]
