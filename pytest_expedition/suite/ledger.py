"""The jobs that a run created: their ids, which may still run, which may have been created."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import CANCELLED, FINISHED, created_id, is_about
from pytest_expedition.protocol.envelope import MISSING, spelled

if TYPE_CHECKING:
    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.protocol.envelope import Dialect
    from pytest_expedition.suite.target import Limits

REFUSED: Final = frozenset({400, 401, 403, 404, 405, 406, 407, 411, 413, 414, 415, 422, 429})
"""HTTP statuses of requests that were refused before anything was done."""


@dataclass(frozen=True, eq=False)
class CreationUnderWay:
    """A creation that was sent at that time; its answer is not there yet."""

    sent: float


class Ledger:
    """The jobs that a run created.

    A job counts as running until it was seen at 1 or -1, or its time (``job_seconds``) is over; one
    that was seen to run beyond its time counts until it was seen to end. No other answer about a
    job changes this. ``ids`` are the ids that creations answered as numbers, ``left_behind`` those
    of the jobs that were not seen to end. ``unconfirmed_creations`` are the times of creations that
    may have created a job of which no answer gives the id, ``unconfirmed_ids`` what some of these
    answers give as an id that is none. ``creations`` is how many creations were sent: each counts
    towards the limit ``jobs``, whatever was answered. All times are those of exchanges.

    Threads that send creations enter them; so it does not matter when a signal interrupts the main
    thread, which alone gets signals.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.ids: list[int] = []
        self._answered_creations = 0
        self._unconfirmed: list[float] = []
        self.unconfirmed_ids: list[str] = []
        self._under_way: set[CreationUnderWay] = set()
        self._entering = threading.Lock()
        self.dialects: dict[int, Dialect | None] = {}
        """The dialect in which each job was created: its status is asked for in the same."""
        self._cancellable: dict[int, bool] = {}
        self._created: dict[int, float] = {}
        """When each job was created that was not seen to end."""
        self._overdue: set[int] = set()
        """Jobs that were seen to run beyond their time."""
        self._at_once = limits.concurrent_jobs

    @property
    def jobs(self) -> int:
        """How many jobs are known by their ids, also by ids that are texts of digits."""
        return len(self.dialects)

    @property
    def creations_under_way(self) -> int:
        """How many creations were sent whose answer is not there yet."""
        return len(self._under_way)

    @property
    def creations(self) -> int:
        """How many creations were sent."""
        return self._answered_creations + self.creations_under_way

    @property
    def unconfirmed_creations(self) -> list[float]:
        """When creations were sent that may have created a job whose id no answer gives."""
        return [*self._unconfirmed, *(each.sent for each in list(self._under_way))]

    @property
    def left_behind(self) -> list[int]:
        """The ids of the jobs that were not seen to end."""
        return list(self._created)

    @property
    def to_be_cancelled(self) -> list[int]:
        """The ids of the jobs that were not seen to end and may be cancelled."""
        return [each for each in list(self._created) if self._cancellable[each]]

    @property
    def jobs_left(self) -> int:
        """How many more creations the run may send: one that was refused may have created a job."""
        return self._limits.jobs - self.creations

    def note_creation(self, now: float) -> CreationUnderWay:
        """Count a creation that is about to be sent: from now on it may create a job."""
        noted = CreationUnderWay(now)
        self._under_way.add(noted)
        return noted

    def enter(
        self, exchange: Exchange, *, unsent: bool, noted: CreationUnderWay | None = None
    ) -> None:
        """Learn from an exchange; the server never got one that is ``unsent``.

        Of a creation, ``noted`` is what was noted before it was sent.
        """
        if exchange.kind == "create":
            with self._entering:
                if not unsent:
                    self._answered_creations += 1
                    self._enter_creation(exchange)
                if noted is not None:
                    self._under_way.discard(noted)
        elif exchange.job_id in self._created:
            self._enter_state(exchange.job_id, exchange)

    def _enter_creation(self, creation: Exchange) -> None:
        job_id = created_id(creation) or _id_in_text(creation)
        if job_id is None:
            if not _was_refused(creation):
                self._unconfirmed.append(creation.received)
                if creation.answer.job_id is not MISSING:
                    self.unconfirmed_ids.append(spelled(creation.answer.job_id))
            return
        if job_id in self.dialects:  # given out twice: what it shows may be either of two jobs
            self._unconfirmed.append(creation.received)
        elif created_id(creation) is not None:
            self.ids.append(job_id)
        self.dialects[job_id] = creation.answer.dialect
        self._cancellable[job_id] = creation.cancellable is not False
        self._created[job_id] = creation.received
        self._enter_state(job_id, creation)

    def _enter_state(self, job_id: int, exchange: Exchange) -> None:
        if exchange.state is None or not is_about(exchange, job_id):
            return
        if exchange.state in {CANCELLED, FINISHED} or exchange.answer.says_failed:
            del self._created[job_id]
            self._overdue.discard(job_id)
        elif exchange.sent > self._end_of(self._created[job_id]):
            self._overdue.add(job_id)

    def running(self, now: float) -> list[int]:
        """Return the ids of the jobs that count as running."""
        return [
            job_id
            for job_id, created in list(self._created.items())
            if self._end_of(created) > now or job_id in self._overdue
        ]

    def room(self, now: float) -> int:
        """Return how many more jobs may run at the same time."""
        unconfirmed = sum(self._end_of(sent) > now for sent in self.unconfirmed_creations)
        return self._at_once - len(self.running(now)) - unconfirmed

    def next_room(self, now: float) -> float | None:
        """Return when the time of the next job that counts is over; ``None`` if that is never."""
        times = [
            each for job_id, each in list(self._created.items()) if job_id not in self._overdue
        ]
        ends = map(self._end_of, (*times, *self.unconfirmed_creations))
        return min((end for end in ends if end > now), default=None)

    def _end_of(self, created: float) -> float:
        """Return when the time of a job is over."""
        return created + self._limits.job_seconds

    def lower_jobs_at_once(self, now: float) -> None:
        """Lower the jobs that may run at once to those that run now: the server refused another."""
        self._at_once = max(1, min(self._at_once, len(self.running(now))))


def _id_in_text(creation: Exchange) -> int | None:
    """Return the id that a creation gives as a text of digits, as in `"jobId": "1619"`.

    No id may be a text. But the job runs, and in a path this id reads as the number does.
    """
    told = creation.answer.job_id
    given = creation.answered and creation.ok and isinstance(told, str)
    return int(told) if given and _ID.fullmatch(told) else None


_ID: Final = re.compile("[1-9][0-9]{0,17}")


def _was_refused(creation: Exchange) -> bool:
    """Whether the answer to a creation says that no job was created."""
    status, answer = creation.status, creation.answer
    if status is None or status in REFUSED:
        return status is not None
    says_error = answer.problem is None and answer.success is False
    return says_error and (400 <= status < 500 or creation.refused_as_busy)
