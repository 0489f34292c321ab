"""Servers that break the promises about cancels."""

from __future__ import annotations

import threading
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pytest_expedition.fake.broken.base import (
    FULL,
    GOES_BACK,
    SHOWN_BY_DELETE,
    another_dialect,
    broken,
    nth,
)
from pytest_expedition.fake.http import Response
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.simulation import CANCELLED, FINISHED

if TYPE_CHECKING:
    from pytest_expedition.fake.http import Request
    from pytest_expedition.fake.simulation import Job

CANCEL_SECONDS = 12.0


def since_cancel(instance: Instance, job: Job) -> float:
    """Return the seconds of a job's own time since its cancel was granted; -1 if none was."""
    return -1 if job.cancelled_after is None else instance.age(job) - job.cancelled_after


@broken("second-cancel-crashes", "cancel.repeat", "cancel.envelope", shows="the second time")
class SecondCancelCrashes(Instance):
    """Cancelling a cancelled job is answered with 500 and Laravel's JSON for a crash."""

    def answer_cancel(self, job: Job) -> Response:
        if self.state(job) == CANCELLED:
            return self.reply({"message": "Server Error"}, status=500)
        return super().answer_cancel(job)


@broken("no-content", "cancel.envelope", "cancel.immediate", "refuse.state", "refuse.message")
class NoContent(Instance):
    """A cancel is answered with 204 and nothing else."""

    def answer_cancel(self, job: Job) -> Response:
        self.cancel(job)
        return Response(status=204, headers={})


@broken(
    "second-cancel-in-plain-text",
    "cancel.envelope",
    "refuse.state",
    "refuse.message",
    shows="the second time",
)
class SecondCancelInPlainText(Instance):
    """The second cancel of a job is answered in plain text."""

    def answer_cancel(self, job: Job) -> Response:
        answer = super().answer_cancel(job)
        if job.cancel_requests < 2:
            return answer
        return Response(headers={"Content-Type": "text/plain"}, body=b"Job already handled")


@broken("cancel-message-as-text", "cancel.envelope", shows="one of several jobs", dialects=FULL)
class CancelMessageAsText(Instance):
    """In the cancel answers of every second job, `JobMsg` is a text."""

    def answer_cancel(self, job: Job) -> Response:
        self.memory["cancelling"] = nth(job, 2)
        answer = super().answer_cancel(job)
        self.memory["cancelling"] = False
        return answer

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        if self.memory.get("cancelling"):
            described["JobMsg"] = described["JobMsg"]["statusMessage"]
        return described


@broken("ended-elsewhere", "cancel.envelope", shows="one part of a job's life")
class EndedElsewhere(Instance):
    """The cancel of a job that has ended is answered by another node, in another dialect."""

    def answer_cancel(self, job: Job) -> Response:
        if 0 <= self.state(job) < FINISHED:
            return super().answer_cancel(job)
        with another_dialect(self):
            return super().answer_cancel(job)


@broken("cancel-ignored", "cancel.minus-one", "cancel.immediate")
class CancelIgnored(Instance):
    """A cancel is answered as granted, but never carried out."""

    def cancel(self, job: Job) -> bool:
        job.cancel_requests += 1
        return job.script.cancellable


@broken("cancel-too-late", "cancel.minus-one", "cancel.immediate", shows="one part of a job's life")
class CancelTooLate(Instance):
    """A cancel at a state of 0.4 or more has no effect."""

    def cancel(self, job: Job) -> bool:
        if self.state(job) < 0.4:
            return super().cancel(job)
        job.cancel_requests += 1
        return job.script.cancellable and self.state(job) < FINISHED


@broken(
    "cancel-too-early", "cancel.minus-one", "cancel.immediate", shows="one part of a job's life"
)
class CancelTooEarly(Instance):
    """A cancel at a state of 0.15 or less has no effect."""

    def cancel(self, job: Job) -> bool:
        if self.state(job) > 0.15:
            return super().cancel(job)
        job.cancel_requests += 1
        return job.script.cancellable


@broken(
    "refusal-is-for-all", "cancel.minus-one", "cancel.immediate", shows="one part of a job's life"
)
class RefusalIsForAll(Instance):
    """After a refused cancel, every later cancel of any job is refused."""

    def cancel(self, job: Job) -> bool:
        if self.memory.get("refused"):
            job.cancel_requests += 1
            return False
        granted = super().cancel(job)
        self.memory["refused"] = not job.script.cancellable and 0 <= self.state(job) < FINISHED
        return granted


@broken("cancel-takes-its-time", "cancel.minus-one", "cancel.immediate")
class CancelTakesItsTime(Instance):
    """A cancel takes effect only after twelve seconds."""

    def state(self, job: Job) -> float:
        if 0 <= since_cancel(self, job) < CANCEL_SECONDS:
            return job.script.progress_at(self.age(job))
        if job.cancelled_after is not None:
            done = job.cancelled_after + CANCEL_SECONDS >= job.script.seconds_to_finish
            return FINISHED if done else CANCELLED
        return super().state(job)


@broken("cancel-deletes", "cancel.minus-one", "status.envelope", shows="one of several jobs")
class CancelDeletes(Instance):
    """A cancel deletes every second job: its status is 404 from then on."""

    def answer_cancel(self, job: Job) -> Response:
        before = self.describe(job)
        answer = super().answer_cancel(job)
        if job.cancelled_after is None or not nth(job, 2):
            return answer
        del self.jobs[job.id]
        return self.reply(self.envelope(self.content(before)))


@broken("answers-before-cancelling", "cancel.immediate")
class AnswersBeforeCancelling(Instance):
    """The answer to a cancel is written before the cancel is carried out."""

    def answer_cancel(self, job: Job) -> Response:
        before = self.describe(job)
        granted = self.cancel(job)
        messages = self.cancel_messages(job, granted=granted)
        return self.reply(self.envelope(self.content(before), messages=messages))


@broken(
    "cancel-queues-behind-others",
    "cancel.immediate",
    shows="while others are under way",
    dialects=SHOWN_BY_DELETE,
)
class CancelQueuesBehindOthers(Instance):
    """While other jobs run, a cancel takes effect only after a second."""

    def cancel(self, job: Job) -> bool:
        others = [x for x in self.jobs.values() if x is not job and 0 <= self.state(x) < FINISHED]
        if others:
            job.script = replace(job.script, cancel_seconds=1.0)
        return super().cancel(job)


@broken("worker-writes-on", "cancel.persists", "cancel.race", "cancel.repeat", shows="rarely")
class WorkerWritesOn(Instance):
    """Four seconds after its cancel, a job shows its progress again: its worker never stopped."""

    def state(self, job: Job) -> float:
        if since_cancel(self, job) >= 4:
            return job.script.progress_at(self.age(job))
        return super().state(job)


@broken(
    "finishes-all-the-same",
    "cancel.persists",
    "cancel.race",
    "cancel.repeat",
    shows="one part of a job's life",
)
class FinishesAllTheSame(Instance):
    """A job cancelled beyond a third shows -1 at first, but finishes and then shows 1."""

    def state(self, job: Job) -> float:
        state = super().state(job)
        began_late = (job.cancelled_after or 0) > job.script.seconds_to_finish / 3
        if began_late and since_cancel(self, job) >= 3:
            return FINISHED
        return state


@broken("cancelled-rows-are-purged", "cancel.persists", shows="rarely")
class CancelledRowsArePurged(Instance):
    """A minute after its cancel a job is gone."""

    def find(self, job_id: int) -> Job | None:
        job = super().find(job_id)
        return None if job is not None and since_cancel(self, job) > 60 else job


@broken(
    "cancelled-shows-once",
    "cancel.persists",
    "cancel.repeat",
    "cancel.race",
    shows="the second time",
)
class CancelledShowsOnce(Instance):
    """-1 shows only once; after that the state is the progress before the cancel."""

    def answer_status(self, job: Job) -> Response:
        answer = super().answer_status(job)
        if self.state(job) == CANCELLED:
            job.memory["told"] = True
        return answer

    def state(self, job: Job) -> float:
        if job.memory.get("told") and job.cancelled_after is not None:
            return job.script.progress_at(job.cancelled_after)
        return super().state(job)


@broken("cancels-the-finished", "cancel.completed", "cancel.race", "status.terminal")
class CancelsTheFinished(Instance):
    """A finished job can be cancelled, and then shows -1."""

    def cancel(self, job: Job) -> bool:
        if job.script.cancellable and self.state(job) == FINISHED:
            job.memory["cancelled"] = True
        return super().cancel(job)

    def state(self, job: Job) -> float:
        return CANCELLED if job.memory.get("cancelled") else super().state(job)


@broken(
    "cancel-restarts-the-finished",
    "cancel.completed",
    "status.terminal",
    "cancel.minus-one",
    "cancel.race",
    *GOES_BACK,
    shows="one of several jobs",
)
class CancelRestartsTheFinished(Instance):
    """Every second finished job starts again from 0 when it is cancelled."""

    def cancel(self, job: Job) -> bool:
        if nth(job, 2) and self.state(job) == FINISHED:
            job.polled_seconds -= self.age(job)
            return False
        return super().cancel(job)


@broken(
    "cancels-the-finished-later",
    "cancel.completed",
    "cancel.race",
    "status.terminal",
    shows="rarely",
)
class CancelsTheFinishedLater(Instance):
    """Three seconds after a finished job was cancelled, its state is -1."""

    def cancel(self, job: Job) -> bool:
        if job.script.cancellable and self.state(job) == FINISHED:
            job.memory.setdefault("cancel", self.age(job))
        return super().cancel(job)

    def state(self, job: Job) -> float:
        late = self.age(job) - job.memory.get("cancel", float("inf")) >= 3
        return CANCELLED if late else super().state(job)


@broken("second-cancel-fails", "cancel.repeat", "cancel.envelope", shows="the second time")
class SecondCancelFails(Instance):
    """Cancelling a cancelled job ends in a server error."""

    def answer_cancel(self, job: Job) -> Response:
        if self.state(job) == CANCELLED:
            return self.error(HTTPStatus.INTERNAL_SERVER_ERROR, "Integrity constraint violation")
        return super().answer_cancel(job)


@broken(
    "second-cancel-revives",
    "cancel.repeat",
    "cancel.persists",
    "cancel.race",
    "cancel.minus-one",
    shows="the second time",
)
class SecondCancelRevives(Instance):
    """A second cancel undoes the first: the job goes on."""

    def cancel(self, job: Job) -> bool:
        if self.state(job) == CANCELLED:
            job.cancelled_after = None
            job.cancel_requests += 1
            return False
        return super().cancel(job)


@broken(
    "cancels-the-whole-project", "cancel.isolation", "status.no-spontaneous-cancel", "refuse.state"
)
class CancelsTheWholeProject(Instance):
    """A cancel cancels all running jobs: its query selects the project, not the job."""

    def cancel(self, job: Job) -> bool:
        granted = super().cancel(job)
        for other in self.jobs.values():
            running = 0 <= self.state(other) < FINISHED
            if granted and running and other.cancelled_after is None:
                other.cancelled_after = self.age(other)
        return granted


@broken(
    "cancel-resets-the-next",
    "cancel.isolation",
    "status.completes",
    "cancel.minus-one",
    *GOES_BACK,
    shows="one of several jobs",
)
class CancelResetsTheNext(Instance):
    """A granted cancel restarts the job with the next id from 0."""

    def cancel(self, job: Job) -> bool:
        granted = super().cancel(job)
        other = self.find(job.id + 1)
        if granted and other is not None and 0 < self.state(other) < FINISHED:
            other.polled_seconds -= self.age(other)
        return granted


@broken("cancel-nudges-others", "cancel.isolation", *GOES_BACK, shows="by a hair")
class CancelNudgesOthers(Instance):
    """Each granted cancel lowers the progress of all other jobs by a thousandth."""

    def cancel(self, job: Job) -> bool:
        granted = super().cancel(job)
        if granted:
            for other in self.jobs.values():
                if other is not job:
                    other.memory["nudged"] = super().state(other)
        return granted

    def state(self, job: Job) -> float:
        state = super().state(job)
        nudged = job.memory.get("nudged")
        return round(state - 0.001, 6) if state == nudged and 0 < state < FINISHED else state


@broken(
    "poll-revives-while-cancelling",
    "cancel.race",
    "cancel.persists",
    "cancel.repeat",
    "cancel.minus-one",
    "cancel.immediate",
    shows="while others are under way",
)
class PollRevivesWhileCancelling(Instance):
    """A status request that arrives while a cancel is answered undoes the cancel."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Condition()
        self.cancels: dict[str, int] = {}
        self.polls: dict[str, int] = {}

    def handle(self, request: Request) -> Response:
        job_id = request.path.rpartition("/")[2]
        if request.method == "GET":
            return self._poll(request, job_id)
        if request.method == "DELETE" and request.header("Authorization"):
            return self._cancel(request, job_id)
        return super().handle(request)

    def _poll(self, request: Request, job_id: str) -> Response:
        with self.arrived:
            self.polls[job_id] = self.polls.get(job_id, 0) + 1
            self.arrived.notify_all()
        return super().handle(request)

    def _cancel(self, request: Request, job_id: str) -> Response:
        seen = self.polls.get(job_id, 0)
        answer = super().handle(request)
        with self.arrived:
            met = self.arrived.wait_for(lambda: self.polls.get(job_id, 0) > seen, timeout=0.02)
        job = self.find(int(job_id)) if met and job_id.isdecimal() else None
        if job is not None:
            job.cancelled_after = None
        return answer


@broken(
    "cancelled-but-done",
    "cancel.race",
    "cancel.persists",
    "cancel.repeat",
    shows="one part of a job's life",
)
class CancelledButDone(Instance):
    """A job cancelled near its end shows -1 at first, but finishes and then shows 1."""

    def state(self, job: Job) -> float:
        after = job.cancelled_after
        late = after is not None and after > 0.6 * job.script.seconds_to_finish
        if late and since_cancel(self, job) > 1:
            return FINISHED
        return super().state(job)


@broken(
    "two-cancels-cancel-each-other",
    "cancel.race",
    "cancel.persists",
    "cancel.repeat",
    shows="while others are under way",
    in_data=("cancel.minus-one", "cancel.race", "cancel.persists", "cancel.repeat"),
)
class TwoCancelsCancelEachOther(Instance):
    """Two cancels of one job within the same second undo each other."""

    def cancel(self, job: Job) -> bool:
        last = job.memory.get("cancel", float("-inf"))
        job.memory["cancel"] = self.clock.now()
        if self.state(job) == CANCELLED and self.clock.now() - last < 1:
            job.cancelled_after = None
            return False
        return super().cancel(job)


@broken("unknown-cancel-succeeds", "cancel.unknown")
class UnknownCancelSucceeds(Instance):
    """Cancelling an unknown id is answered as a success."""

    def answer_about_job(self, method: str, job_id: str) -> Response:
        answer = super().answer_about_job(method, job_id)
        if method == "DELETE" and answer.status == 404:
            return self.reply(self.envelope([]))
        return answer


@broken("unknown-is-cancelled", "cancel.unknown")
class UnknownIsCancelled(Instance):
    """Cancelling an unknown id answers with a cancelled job."""

    def answer_about_job(self, method: str, job_id: str) -> Response:
        answer = super().answer_about_job(method, job_id)
        if method == "DELETE" and answer.status == 404:
            return self.reply(self.envelope(self.content({"state": -1})))
        return answer
