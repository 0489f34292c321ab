"""Judges traces job by job, with the rules for any history, so that they need not fit into memory.

To judge a job, a rule needs the exchanges about this job, the cancels of all jobs, and the commands
to the agent. So the exchanges are written to a temporary database and read from it job by job.
Memory holds those of one job, and what all jobs have in common.
"""

from __future__ import annotations

import marshal
import math
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.oracle.history import (
    Exchange,
    History,
    answered_cancels,
    id_of,
    listing_of,
)
from pytest_expedition.oracle.rules import ACROSS_JOBS, RULES, Finding, Violation, find
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.recordings.classification import cancellable
from pytest_expedition.recordings.judged import Judged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_expedition.oracle.history import Listing
    from pytest_expedition.oracle.rules.base import AcrossJobs, Judgement
    from pytest_expedition.protocol.recipe import JobRecipe
    from pytest_expedition.recordings.trace import Trace, Whose

_FIELDS: Final = tuple(each.name for each in fields(Exchange) if each.name != "position")
_values: Final = attrgetter(*_FIELDS)
_sent: Final = attrgetter("sent")

_TABLE: Final = "CREATE TABLE exchange (server INTEGER, job TEXT, fields BLOB)"
_INDEX: Final = "CREATE INDEX by_job ON exchange (server, job)"
_INSERT: Final = "INSERT INTO exchange VALUES (?, ?, ?)"
_ALL: Final = "SELECT server, job, rowid, fields FROM exchange ORDER BY server, job, rowid"
_ONE: Final = "SELECT rowid, fields FROM exchange WHERE rowid = ?"
_ONE_JOB: Final = "SELECT rowid, fields FROM exchange WHERE server = ? AND job = ? ORDER BY rowid"

_NOTHING: Final = Finding()


def judge_trace(
    trace: Trace, *, recipes: Sequence[JobRecipe] = (), job_seconds: float = math.inf
) -> Judged:
    """Judge the exchanges of a trace, each server and each part separately.

    ``recipes`` say which jobs can be cancelled if the trace does not.
    """
    # A database without a name is a temporary file that is deleted with the connection.
    with closing(sqlite3.connect("")) as database:
        return _Judge(database, trace, recipes, job_seconds).judge()


@dataclass
class _Server:
    """What the jobs of one server have in common, in one part of a trace."""

    number: int
    address: str
    cancels: list[Exchange] = field(default_factory=list)
    """All answered cancels, without their bodies."""
    agent: list[Exchange] = field(default_factory=list)
    """All commands to the agent."""
    lists: list[Listing] = field(default_factory=list)
    """All lists of jobs, without the bodies of their answers."""
    begun: float = math.inf
    ended: float = -math.inf
    notes: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in ACROSS_JOBS})


@dataclass
class _Judge:
    """Judges one trace."""

    database: sqlite3.Connection
    trace: Trace
    recipes: Sequence[JobRecipe]
    job_seconds: float
    servers: dict[Whose, _Server] = field(default_factory=dict)
    proved_on: dict[str, _Server] = field(default_factory=dict)
    """The server on which the shortest proof against a requirement was seen."""
    first_creation: float = math.inf
    judged: Judged = field(
        default_factory=lambda: Judged(findings=dict.fromkeys(CATALOGUE, _NOTHING))
    )

    def judge(self) -> Judged:
        self.database.execute(_TABLE)
        self.database.executemany(_INSERT, self._rows())
        self.database.execute(_INDEX)
        servers = list(self.servers.values())
        for server in servers:
            server.cancels.sort(key=_sent)
            server.agent = sorted({_values(x): x for x in server.agent}.values(), key=_sent)
            if server.agent:
                self._judge_history(server.agent, server)
        for (number, _), rows in groupby(self.database.execute(_ALL), itemgetter(0, 1)):
            stored: dict[bytes, int] = {}
            for _, _, position, fields_of_it in rows:
                if stored.setdefault(fields_of_it, position) != position:
                    self.judged.told_twice += 1
            exchanges = [_exchange(position, each) for each, position in stored.items()]
            self._judge_history(exchanges, servers[number])
        for server in servers:
            for name, notes in server.notes.items():
                self._add(name, find(ACROSS_JOBS[name].rule, notes), server)
        for name, server in self.proved_on.items():
            self._tell_the_story(name, server)
        self.judged.servers = list({server.address: None for server in servers})
        self.judged.seconds = sum(server.ended - server.begun for server in servers)
        return self.judged

    def _rows(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield the rows of the database, and remember what concerns all jobs."""
        position = 0
        for whose, exchange in self.trace:
            server = self.servers.get(whose)
            if server is None:
                server = self.servers[whose] = _Server(len(self.servers), whose.server)
            server.begun = min(server.begun, exchange.sent)
            server.ended = max(server.ended, exchange.received)
            if exchange.kind == "create":
                known = cancellable(self.recipes, exchange.method, exchange.path)
                if known is not None:
                    exchange = replace(exchange, cancellable=known)  # noqa: PLW2901
            elif exchange.kind == "agent":
                server.agent.append(exchange)
                continue
            position += 1
            if exchange.kind == "cancel" and answered_cancels([exchange]):
                server.cancels.append(replace(exchange, body=b"", position=position))
            if (listing := listing_of(exchange)) is not None:
                without_body = replace(exchange, body=b"", position=position)
                server.lists.append(listing._replace(exchange=without_body))
            yield server.number, str(id_of(exchange)), marshal.dumps(_values(exchange))

    def _judge_history(self, exchanges: Iterable[Exchange], server: _Server) -> None:
        history = self._history(exchanges, server)
        for name, rule in RULES.items():
            across = ACROSS_JOBS.get(name)
            asked = rule if across is None else partial(_take_notes, across, server.notes[name])
            self._add(name, find(asked, history), server)
        judged = self.judged
        judged.requests += len(history.exchanges)
        judged.unanswered.update(x.status for x in history.exchanges if not x.answered)
        judged.jobs += history.count_jobs()
        judged.dialects |= history.dialects
        judged.cancellable.update(x.cancellable for x in history.creations)
        if history.created_in and history.creations[0].sent < self.first_creation:
            self.first_creation = history.creations[0].sent
            judged.created_in = history.created_in

    def _history(self, exchanges: Iterable[Exchange], server: _Server) -> History:
        return History(
            exchanges,
            job_seconds=self.job_seconds,
            others_may_act=self.trace.incomplete,
            cancels=server.cancels,
            agent=server.agent,
            lists=server.lists,
        )

    def _add(self, name: str, found: Finding, server: _Server) -> None:
        """Add what was found, and keep the shortest proof."""
        if found == _NOTHING:
            return
        known = self.judged.findings[name]
        proofs = [*known.violations, *found.violations]
        shortest = tuple(sorted(proofs, key=lambda each: len(each.proof))[:1])
        if shortest != known.violations:
            self.proved_on[name] = server
        self.judged.findings[name] = Finding(
            kept=known.kept + found.kept,
            violations=shortest,
            first_broken={
                **known.first_broken,
                **{(server.number, job): sent for job, sent in found.first_broken.items()},
            },
            unseen=known.unseen + found.unseen,
            crash=known.crash or found.crash,
        )

    def _tell_the_story(self, name: str, server: _Server) -> None:
        """Give a violation the history of the jobs that it is about."""
        (violation,) = self.judged.findings[name].violations
        known = {exchange.position: exchange for exchange in violation.proof}
        for job_id in {id_of(exchange) for exchange in violation.proof} - {None}:
            for row in self.database.execute(_ONE_JOB, (server.number, str(job_id))):
                known[row[0]] = _exchange(*row)
        for each in violation.proof:
            if each.kind == "list":
                (row,) = self.database.execute(_ONE, (each.position,))
                known[each.position] = _exchange(*row)
        proof = [x if x.kind == "agent" else known[x.position] for x in violation.proof]
        others = (x for x in known.values() if x.kind != "agent")
        told = Violation(violation.fault, *proof, **violation.facts)
        told.history = self._history([*others, *server.agent], server)
        told.history.server = server.address
        findings = self.judged.findings
        findings[name] = replace(findings[name], violations=(told,))


def _take_notes(across: AcrossJobs, notes: list[Any], history: History) -> Iterator[Judgement]:
    notes.extend(across.notes(history))
    return iter(())


def _exchange(position: int, stored: bytes) -> Exchange:
    # This does what the constructor does, in a fraction of the time.
    exchange = object.__new__(Exchange)
    values = zip(_FIELDS, marshal.loads(stored), strict=True)  # noqa: S302 - written above
    exchange.__dict__.update(values, position=position)
    return exchange
