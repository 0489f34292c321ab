"""Judges traces job by job, with the rules for any history, so that they need not fit into memory.

To judge a job, a rule needs the exchanges about this job, the cancels of all jobs, and the commands
to the agent. So the exchanges are written to a temporary database and read from it job by job.
Memory holds those of one job, and what all jobs have in common.
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
    Exchange,
    History,
    OfAllJobs,
    answered_cancels,
    id_of,
    listing_of,
)
from pytest_expedition.oracle.rules import ACROSS_JOBS, RULES, Finding, Violation, find
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.recordings.classification import cancellable
from pytest_expedition.recordings.judged import Judged, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_expedition.protocol.envelope import Dialect
    from pytest_expedition.protocol.recipe import JobRecipe
    from pytest_expedition.recordings.trace import Trace, Whose

_FIELDS: Final = tuple(each.name for each in fields(Exchange) if each.name != "position")
_values: Final = attrgetter(*_FIELDS)
_sent: Final = attrgetter("sent")

_TABLE: Final = "CREATE TABLE stored (server TEXT, part TEXT, job TEXT, exchanges BLOB)"
_INDEX: Final = "CREATE INDEX by_job ON stored (server, part, job)"
_INSERT: Final = "INSERT INTO stored VALUES (?, ?, ?, ?)"
_ALL: Final = "SELECT exchanges, job FROM stored WHERE (server, part) = (?, ?) ORDER BY job, rowid"
_ONE_JOB: Final = (
    "SELECT exchanges FROM stored WHERE (server, part, job) = (?, ?, ?) ORDER BY rowid"
)

_WAITING: Final = 16 * 2**20
_WITHOUT_BODY: Final = 2000
"""About how many bytes of exchanges wait in memory to be written together, and how many of them an
exchange takes without its body."""

_NOTHING: Final = Finding()


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
) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield the rows of the database; each judge remembers what concerns all jobs."""
    waiting: defaultdict[tuple[str, str, str], list[Any]] = defaultdict(list)
    size = 0
    for position, (whose, exchange) in enumerate(trace, 1):
        if whose not in judges:
            judges[whose] = _Judge(whose)
        judge = judges[whose]
        judge.lines += 1
        judge.begun = min(judge.begun, exchange.sent)
        judge.ended = max(judge.ended, exchange.received)
        if exchange.kind == "agent":
            judge.of_all_jobs.agent.append(exchange)
            continue
        if exchange.kind == "create":
            known = cancellable(recipes, exchange.method, exchange.path)
            if known is not None:
                exchange = replace(exchange, cancellable=known)  # noqa: PLW2901
        elif exchange.kind in {"cancel", "list"}:
            without_body = replace(exchange, body=b"", position=position)
            if answered_cancels([exchange]):
                judge.of_all_jobs.cancels.append(without_body)
            elif (listing := listing_of(exchange)) is not None:
                judge.of_all_jobs.lists.append(listing._replace(exchange=without_body))
        waiting[(*whose, str(id_of(exchange)))].append((position, _values(exchange)))
        size += _WITHOUT_BODY + len(exchange.body)
        if size > _WAITING:
            yield from ((*key, marshal.dumps(part)) for key, part in waiting.items())
            waiting.clear()
            size = 0
    yield from ((*key, marshal.dumps(part)) for key, part in waiting.items())


def _read(parts: Iterable[tuple[bytes]]) -> list[Exchange]:
    """Read exchanges as the database has them, without repetitions."""
    once: dict[tuple[Any, ...], int] = {}
    for (part,) in parts:
        for position, values in marshal.loads(part):  # noqa: S302 - written above
            once.setdefault(values, position)
    exchanges = []
    for values, position in once.items():
        # This does what the constructor does, in a fraction of the time.
        exchange = object.__new__(Exchange)
        exchange.__dict__.update(zip(_FIELDS, values, strict=True), position=position)
        exchanges.append(exchange)
    return exchanges


class _Judge:
    """Judges the exchanges with one server, in one part of a trace, job by job."""

    def __init__(self, whose: Whose) -> None:
        self.whose = whose
        self.of_all_jobs = OfAllJobs()
        """Without the bodies of answers, except for those of the agent."""
        self.lines = 0
        self.begun, self.ended = math.inf, -math.inf
        self._judged = Judged(findings={name: Finding() for name in CATALOGUE})
        self._notes: dict[str, list[Any]] = {name: [] for name in ACROSS_JOBS}
        self._rules = RULES | {
            name: across.noting_into(self._notes[name]) for name, across in ACROSS_JOBS.items()
        }
        self._created_in: list[tuple[float, Dialect]] = []
        """When jobs were created, and in which dialect."""

    def judge(self, database: sqlite3.Connection, settings: dict[str, Any]) -> Judged:
        """Judge what the database has of the server; the settings are those of a history."""
        judged, of_all_jobs = self._judged, self.of_all_jobs
        of_all_jobs.cancels.sort(key=_sent)
        of_all_jobs.agent = sorted({_values(x): x for x in of_all_jobs.agent}.values(), key=_sent)
        of_all_jobs.lists.sort(key=lambda listing: listing.exchange.sent)

        def history_of(exchanges: Iterable[Exchange]) -> History:
            return History(exchanges, of_all_jobs=of_all_jobs, **settings)

        if of_all_jobs.agent:
            self._judge_history(history_of(of_all_jobs.agent))
        for _, rows in groupby(database.execute(_ALL, self.whose), itemgetter(1)):
            self._judge_history(history_of(_read(row[:1] for row in rows)))
        judged.told_twice = self.lines - judged.requests
        for name, notes in self._notes.items():
            self._add(name, find(ACROSS_JOBS[name].rule, notes))
        for name, found in judged.findings.items():
            told = [self._with_jobs(each, database, history_of) for each in found.violations]
            judged.findings[name] = replace(found, violations=tuple(told))
        judged.servers = [self.whose.server]
        judged.seconds = self.ended - self.begun
        judged.created_in = min(self._created_in, default=(0, None))[1]
        return judged

    def _judge_history(self, history: History) -> None:
        judged = self._judged
        for name, rule in self._rules.items():
            self._add(name, find(rule, history))
        judged.requests += len(history.exchanges)
        judged.unanswered.update(x.status for x in history.exchanges if not x.answered)
        judged.jobs += history.count_jobs()
        judged.dialects |= history.dialects
        judged.cancellable.update(x.cancellable for x in history.creations)
        if history.created_in is not None:
            self._created_in.append((history.creations[0].sent, history.created_in))

    def _add(self, name: str, found: Finding) -> None:
        """Add what was found, and keep the shortest proof."""
        if found == _NOTHING:
            return
        known = self._judged.findings[name]
        known.first_broken.update(found.first_broken)
        proofs = sorted((*known.violations, *found.violations), key=lambda x: len(x.proof))
        self._judged.findings[name] = replace(
            known,
            kept=known.kept + found.kept,
            violations=tuple(proofs[:1]),
            inconclusive=known.inconclusive + found.inconclusive,
            crash=known.crash or found.crash,
        )

    def _with_jobs(
        self,
        violation: Violation,
        database: sqlite3.Connection,
        history_of: Callable[[Iterable[Exchange]], History],
    ) -> Violation:
        """Give a violation the history of the jobs that it is about."""
        known = {x.position: x for x in violation.proof if x.kind != "agent"}
        for job in {str(id_of(exchange)) for exchange in violation.proof}:
            of_job = _read(database.execute(_ONE_JOB, (*self.whose, job)))
            known |= {x.position: x for x in of_job if job != "None" or x.position in known}
        proof = [x if x.kind == "agent" else known[x.position] for x in violation.proof]
        told = Violation(violation.fault, *proof, **violation.facts)
        told.history = history_of([*known.values(), *self.of_all_jobs.agent])
        told.history.server = self.whose.server
        return told
