"""The jobs that a run created: their ids, which may still run, which may have been created."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_expedition.oracle.history import CANCELLED, FINISHED, created_id

if TYPE_CHECKING:
    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.protocol.envelope import Dialect
    from pytest_expedition.suite.target import Limits


class Ledger:
    """What a run knows of the jobs that it created.

    ``ids`` are the ids that creations answered, ``running`` those of the jobs that were not seen
    to have ended, with whether they may be cancelled. ``unconfirmed_creations`` are the times of
    creations that may have created a job, though no answer gives its id. ``jobs`` counts the
    creations that the limit `jobs` allows.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.ids: list[int] = []
        self.jobs = 0
        self.running: dict[int, bool] = {}
        self.unconfirmed_creations: list[float] = []
        self.dialects: dict[int, Dialect | None] = {}
        """The dialect in which each job was created: its status is asked for in the same."""

    def enter(self, exchange: Exchange, *, unsent: bool) -> None:
        """Learn from an exchange; of an ``unsent`` one the server cannot know."""
        if exchange.kind == "create":
            self._enter_creation(exchange, unsent=unsent)
        elif exchange.job_id in self.running and (
            exchange.state in {CANCELLED, FINISHED} or (exchange.gone and not exchange.probe)
        ):
            del self.running[exchange.job_id]

    def _enter_creation(self, creation: Exchange, *, unsent: bool) -> None:
        job_id = created_id(creation)
        if job_id is not None:
            self.ids.append(job_id)
            if creation.state not in {CANCELLED, FINISHED}:
                self.running[job_id] = creation.cancellable is not False
            self.dialects[job_id] = creation.answer.dialect
        elif not unsent and (creation.status is None or creation.ok or creation.failed):
            self.unconfirmed_creations.append(creation.received)

    def room(self) -> int:
        """How many more jobs may run at the same time."""
        at_once = self._limits.concurrent_jobs
        return at_once - len(self.running) - len(self.unconfirmed_creations)

    def jobs_left(self) -> int:
        """How many more jobs the run may create."""
        return self._limits.jobs - self.jobs
