"""Servers whose defect shows only at 0, in the last tenth, or while all workers are busy."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.fake.broken.base import GOES_BACK, broken
from pytest_expedition.fake.broken.cancel import since_cancel
from pytest_expedition.fake.broken.status import _ChangesStatus
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.simulation import CANCELLED, FINISHED

if TYPE_CHECKING:
    from pytest_expedition.fake.http import Response
    from pytest_expedition.fake.simulation import Job

WORKERS: Final = 4
UNDER_WAY: Final = 0.15
LAST_TENTH: Final = 0.9


def cancelled_at(job: Job) -> float:
    """Return the progress at which the cancel of a job was granted; -1 if none was."""
    after = job.cancelled_after
    return CANCELLED if after is None else job.script.progress_at(after)


def all_are_busy(instance: Instance, job: Job) -> bool:
    """Whether all workers are busy: the other jobs must be well under way."""
    others = [x for x in instance.jobs.values() if x is not job]
    states = [state for x in others if 0 <= (state := Instance.state(instance, x)) < FINISHED]
    return len(states) + 1 >= WORKERS and min(states) >= UNDER_WAY


@broken(
    "cancel-lost-in-the-queue",
    "cancel.minus-one",
    "cancel.immediate",
    shows="one part of a job's life",
)
class CancelLostInTheQueue(Instance):
    """A cancel of a job at 0 is answered as granted, but never carried out."""

    def cancel(self, job: Job) -> bool:
        if self.state(job) > 0:
            return super().cancel(job)
        job.cancel_requests += 1
        return job.script.cancellable


@broken(
    "cancelled-in-the-queue-runs",
    "cancel.persists",
    "cancel.race",
    "cancel.repeat",
    shows="one part of a job's life",
    in_data=("cancel.persists", "cancel.race", "cancel.repeat", "cancel.minus-one"),
)
class CancelledInTheQueueRuns(Instance):
    """A job cancelled at 0 shows -1, but a second later it runs."""

    def state(self, job: Job) -> float:
        if cancelled_at(job) == 0 and since_cancel(self, job) >= 1:
            return job.script.progress_at(self.age(job))
        return super().state(job)


@broken(
    "cancel-before-the-row-fails",
    "cancel.envelope",
    "cancel.minus-one",
    "cancel.immediate",
    "refuse.state",
    shows="one part of a job's life",
)
class CancelBeforeTheRowFails(Instance):
    """A cancel of a job at 0 is answered with 500."""

    def answer_cancel(self, job: Job) -> Response:
        if self.state(job) == 0:
            return self.error(HTTPStatus.INTERNAL_SERVER_ERROR, "No query results for model [Job]")
        return super().answer_cancel(job)


@broken(
    "busy-workers-ignore-cancels",
    "cancel.minus-one",
    "cancel.immediate",
    shows="while others are under way",
)
class BusyWorkersIgnoreCancels(Instance):
    """While all workers are busy, cancels are answered as granted, but never carried out."""

    def cancel(self, job: Job) -> bool:
        if not all_are_busy(self, job):
            return super().cancel(job)
        job.cancel_requests += 1
        return job.script.cancellable and self.state(job) < FINISHED


@broken("busy-workers-lag", *GOES_BACK, shows="while others are under way")
class BusyWorkersLag(_ChangesStatus):
    """While all workers are busy, every third status of a job is four seconds old."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if 0 < described["state"] < FINISHED and job.polls % 3 == 2 and all_are_busy(self, job):
            described["state"] = job.script.progress_at(max(self.age(job) - 4, 0))


@broken(
    "busy-workers-cancel-the-oldest",
    "cancel.isolation",
    "status.no-spontaneous-cancel",
    "refuse.state",
    "cancel.race",
    "refuse.continues",
    shows="while others are under way",
)
class BusyWorkersCancelTheOldest(Instance):
    """While all workers are busy, a cancel also cancels the oldest running job."""

    def cancel(self, job: Job) -> bool:
        busy = all_are_busy(self, job)
        granted = super().cancel(job)
        running = (x for x in self.jobs.values() if 0 <= self.state(x) < FINISHED)
        oldest = min(running, key=lambda x: x.created, default=None)
        if granted and busy and oldest is not None and oldest is not job:
            oldest.cancelled_after = self.age(oldest)
        return granted


@broken(
    "cancelled-late-is-done",
    "cancel.persists",
    "cancel.race",
    "cancel.repeat",
    shows="one part of a job's life",
    in_data=("cancel.persists", "cancel.race", "cancel.repeat", "cancel.minus-one"),
)
class CancelledLateIsDone(Instance):
    """A job cancelled in its last tenth shows -1, and a second later 1."""

    def state(self, job: Job) -> float:
        if cancelled_at(job) >= LAST_TENTH and since_cancel(self, job) >= 1:
            return FINISHED
        return super().state(job)


@broken(
    "cancel-while-results-are-written-fails",
    "cancel.envelope",
    "cancel.immediate",
    "refuse.state",
    shows="one part of a job's life",
)
class CancelWhileResultsAreWrittenFails(Instance):
    """A cancel in the last tenth of a job is answered with 500: its row is locked."""

    def answer_cancel(self, job: Job) -> Response:
        if LAST_TENTH <= self.state(job) < FINISHED:
            return self.error(HTTPStatus.INTERNAL_SERVER_ERROR, "Lock wait timeout exceeded")
        return super().answer_cancel(job)


@broken("cancelled-late-is-cleaned-up", "cancel.persists", shows="one part of a job's life")
class CancelledLateIsCleanedUp(Instance):
    """A job cancelled in its last tenth is gone once a status has shown its -1."""

    def answer_status(self, job: Job) -> Response:
        answer = super().answer_status(job)
        if cancelled_at(job) >= LAST_TENTH and self.state(job) == CANCELLED:
            job.memory["told"] = True
        return answer

    def find(self, job_id: int) -> Job | None:
        job = super().find(job_id)
        return None if job is not None and job.memory.get("told") else job
