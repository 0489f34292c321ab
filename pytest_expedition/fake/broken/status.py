"""Servers that break the promises about the status."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pytest_expedition.fake.broken.base import (
    GOES_BACK,
    NAMED,
    another_dialect,
    born_together,
    broken,
    laravel_page,
    nth,
)
from pytest_expedition.fake.http import Response
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.simulation import CANCELLED, FINISHED

if TYPE_CHECKING:
    from pytest_expedition.fake.http import Request
    from pytest_expedition.fake.simulation import Job, JobScript

OLD_STATES = (
    *GOES_BACK,
    "status.terminal",
    "status.message-agrees",
    "cancel.persists",
    "cancel.completed",
    "cancel.minus-one",
    "cancel.repeat",
)
"""The requirements that may break if a server shows old states."""


OTHER_STATES = (
    *OLD_STATES,
    "status.no-spontaneous-cancel",
    "status.completes",
    "cancel.immediate",
)
"""The requirements that may break if a server shows the states of another job."""


class _ChangesStatus(Instance):
    """An instance that changes the job in its status answers."""

    def answer_status(self, job: Job) -> Response:
        described = self.describe(job)
        self.change(described, job)
        answer = self.reply(self.envelope(self.content(described, first=not job.polls)))
        self.poll(job)
        return answer

    def change(self, described: dict[str, Any], job: Job) -> None:
        raise NotImplementedError


@broken(
    "zero-is-filtered-out", "status.envelope", "create.visible", shows="one part of a job's life"
)
class ZeroIsFilteredOut(_ChangesStatus):
    """Empty values are left out of the status: a state of 0 is missing."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        if described["state"] == 0:
            del described["state"]


@broken("every-eighth-poll-fails", "status.envelope", shows="rarely")
class EveryEighthPollFails(Instance):
    """Every eighth status request for a job is answered with 500 and Laravel's error page."""

    def answer_status(self, job: Job) -> Response:
        answer = super().answer_status(job)
        if job.polls % 8:
            return answer
        return laravel_page(500, "Server Error")


@broken("unavailable-in-the-envelope", "status.envelope", "create.visible", shows="rarely")
class UnavailableInTheEnvelope(Instance):
    """Every sixth status request for a job is answered with 503 in the envelope."""

    def answer_status(self, job: Job) -> Response:
        answer = super().answer_status(job)
        if job.polls % 6:
            return answer
        return self.error(HTTPStatus.SERVICE_UNAVAILABLE, "The database has gone away")


@broken("fatal-error-near-the-end", "status.envelope", shows="one part of a job's life")
class FatalErrorNearTheEnd(Instance):
    """From 0.8 on, a status request is answered with 500 and a fatal error of PHP."""

    def answer_status(self, job: Job) -> Response:
        answer = super().answer_status(job)
        if not 0.8 <= self.state(job) < FINISHED:
            return answer
        message = b"PHP Fatal error:  Uncaught Error: Call to a member function on null in Job.php"
        return Response(status=500, headers={"Content-Type": "text/html"}, body=message)


@broken("empty-tasks-as-object", "status.envelope")
class EmptyTasksAsObject(_ChangesStatus):
    """While there are no tasks, `TasksMsg` is an empty object."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        described["TasksMsg"] = described["TasksMsg"] or {}


@broken("debug-output-near-the-end", "status.envelope", shows="one part of a job's life")
class DebugOutputNearTheEnd(Instance):
    """From 0.8 on, debug output follows the JSON of the status until the job is done."""

    def answer_status(self, job: Job) -> Response:
        late = 0.8 <= self.state(job) < FINISHED
        answer = super().answer_status(job)
        return replace(answer, body=answer.body + b"\narray(0) {}") if late else answer


@broken("status-from-another-node", "status.envelope", shows="rarely")
class StatusFromAnotherNode(Instance):
    """Every seventh status of a job is answered by a node of another generation, in its dialect."""

    def answer_status(self, job: Job) -> Response:
        if job.polls % 7 != 6:
            return super().answer_status(job)
        with another_dialect(self):
            return super().answer_status(job)


@broken(
    "cache-key-too-short",
    "status.identity",
    "create.visible",
    shows="one of several jobs",
    dialects=NAMED,
)
class CacheKeyTooShort(_ChangesStatus):
    """A status carries the id of the first job whose id has the same last two bits."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        first = next(each for each in self.jobs.values() if each.id % 4 == job.id % 4)
        described["jobId"] = first.id


@broken(
    "answers-swapped",
    "status.identity",
    "create.visible",
    shows="while others are under way",
    nameless=OTHER_STATES,
)
class AnswersSwapped(Instance):
    """Of two status requests under way at the same time, one may get the other's answer."""

    def handle(self, request: Request) -> Response:
        if request.method != "GET" or not request.path.startswith("/api/v1/job/"):
            return super().handle(request)
        with self.lock:
            self.memory["path"] = request.path
        time.sleep(0.003)
        with self.lock:
            return super().handle(replace(request, path=self.memory["path"]))


@broken(
    "neighbour-now-and-then",
    "status.identity",
    "create.visible",
    shows="rarely",
    nameless=OTHER_STATES,
)
class NeighbourNowAndThen(_ChangesStatus):
    """Every sixth status of a job is the status of the job with the id before it."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        neighbour = self.find(job.id - 1)
        if neighbour is not None and job.polls % 6 == 5:
            described.update(self.describe(neighbour))


@broken(
    "percent",
    "status.bounds",
    "status.envelope",
    "status.terminal",
    "status.message-agrees",
    "status.wire-number",
    "cancel.completed",
    *GOES_BACK,
)
class Percent(_ChangesStatus):
    """The state is in percent: a finished job shows 100."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        described["state"] *= 100


@broken("one-and-a-hair", "status.bounds", "status.envelope", shows="by a hair")
class OneAndAHair(_ChangesStatus):
    """Near its end a job has the state 1.0000000000000002, by a rounding error."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        if 0.85 <= described["state"] < FINISHED:
            described["state"] = math.nextafter(1, 2)


@broken("finished-as-text", "status.bounds", "status.envelope", shows="one part of a job's life")
class FinishedAsText(_ChangesStatus):
    """The state of a finished job is the text "1"."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        if described["state"] == FINISHED:
            described["state"] = "1"


@broken("finished-as-true", "status.bounds", "status.envelope", shows="one part of a job's life")
class FinishedAsTrue(_ChangesStatus):
    """The state of a finished job is true."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        if described["state"] == FINISHED:
            described["state"] = True


@broken("null-while-written", "status.bounds", "status.envelope", shows="rarely")
class NullWhileWritten(_ChangesStatus):
    """Every seventh status of a job has the state null."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if job.polls % 7 == 6:
            described["state"] = None


@broken("nothing-of-nothing", "status.bounds", "status.envelope", shows="one part of a job's life")
class NothingOfNothing(_ChangesStatus):
    """The state of a job that has not begun is NaN: 0 of 0 tasks are done."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        if described["state"] == 0:
            described["state"] = math.nan


@broken(
    "cancelled-is-minus-its-progress",
    "status.bounds",
    "status.envelope",
    "cancel.envelope",
    shows="one part of a job's life",
)
class CancelledIsMinusItsProgress(Instance):
    """A cancelled job shows its last progress with a minus, such as -0.4, not -1."""

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        if job.cancelled_after is not None and described["state"] == CANCELLED:
            described["state"] = -job.script.progress_at(job.cancelled_after) or -0.001
        return described


@broken("back-by-a-hair", *GOES_BACK, shows="by a hair")
class BackByAHair(_ChangesStatus):
    """The state in the fifth status of a job is smaller than in the fourth, by the last bit."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if job.polls == 4 and 0 < described["state"] < FINISHED:
            described["state"] = math.nextafter(job.memory["shown"], 0)
        job.memory["shown"] = described["state"]


@broken("total-grows", *GOES_BACK, shows="rarely")
class TotalGrows(_ChangesStatus):
    """Half-way, the state of a job falls once by a tenth of itself: new tasks were added."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if described["state"] > 0.5 and not job.memory.get("grown"):
            job.memory["grown"] = True
            if described["state"] < FINISHED:
                described["state"] = round(job.memory.get("shown", 0) * 0.9, 3)
        job.memory["shown"] = described["state"]


@broken("lagging-replica", *OLD_STATES, shows="rarely")
class LaggingReplica(_ChangesStatus):
    """Every third status of a job is read from a replica that lags by five seconds."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if job.polls % 3 != 2:
            return
        job.polled_seconds -= 5
        age = max(self.age(job), 0)
        shown = self.state(job) if age else 0
        described["state"] = int(shown) if shown in {-1, 0, 1} else shown
        job.polled_seconds += 5


@broken("redelivered-by-the-queue", *GOES_BACK, "status.completes", shows="one of several jobs")
class RedeliveredByTheQueue(Instance):
    """Every third job starts again from 0 once it is at 0.6: the queue delivers it twice."""

    def state(self, job: Job) -> float:
        state = super().state(job)
        if nth(job, 3) and 0.6 <= state < FINISHED and "again" not in job.memory:
            job.memory["again"] = True
            job.polled_seconds -= self.age(job)
            return 0
        return state


@broken("old-answer-from-the-cache", *GOES_BACK, shows="rarely")
class OldAnswerFromTheCache(_ChangesStatus):
    """Once in a job's life the status comes from a cache that is two polls old."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        shown = job.memory.setdefault("shown", [])
        if len(shown) == 5 and described["state"] not in {CANCELLED, FINISHED}:
            described["state"] = shown[-2]
        shown.append(described["state"])


@broken(
    "finished-is-rounded",
    "status.terminal",
    "status.message-agrees",
    "cancel.completed",
    "cancel.race",
    "cancel.isolation",
    shows="the second time",
)
class FinishedIsRounded(_ChangesStatus):
    """Only the first status of a finished job shows 1; later ones show 0.99."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if described["state"] == FINISHED and job.memory.setdefault("done", job.polls) < job.polls:
            described["state"] = 0.99


@broken(
    "row-is-recycled",
    "status.terminal",
    "status.message-agrees",
    "cancel.completed",
    "cancel.race",
    "cancel.isolation",
    shows="rarely",
)
class RowIsRecycled(_ChangesStatus):
    """About two minutes after its end, a finished job has the state 0 again."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if described["state"] == FINISHED and self.age(job) > 150:
            described["state"] = 0


@broken(
    "cleaned-up-is-cancelled",
    "status.terminal",
    "status.no-spontaneous-cancel",
    "status.message-agrees",
    "cancel.completed",
    "cancel.race",
    "cancel.isolation",
    "cancel.persists",
    "cancel.repeat",
    "refuse.state",
    shows="the second time",
)
class CleanedUpIsCancelled(_ChangesStatus):
    """A finished job shows -1 from its third status on: a clean-up marks it as cancelled."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if described["state"] == FINISHED:
            job.memory["asked"] = job.memory.get("asked", 0) + 1
            if job.memory["asked"] > 2:
                described["state"] = -1


@broken(
    "stuck-at-ninety-nine",
    "status.completes",
    "refuse.continues",
    "cancel.minus-one",
    shows="one of several jobs",
)
class StuckAtNinetyNine(Instance):
    """Every second job stays at 0.99 for ever."""

    def state(self, job: Job) -> float:
        return min(super().state(job), 0.99) if nth(job, 2) else super().state(job)


@broken(
    "worker-lost",
    "status.completes",
    "refuse.continues",
    "cancel.minus-one",
    shows="while others are under way",
)
class WorkerLost(Instance):
    """Of jobs created at the same time, the first never begins."""

    def state(self, job: Job) -> float:
        state = super().state(job)
        twins = born_together(self, job)
        return 0 if len(twins) > 1 and job is twins[0] and state != CANCELLED else state


@broken("never-quite-done", "status.completes", "refuse.continues", "cancel.minus-one")
class NeverQuiteDone(Instance):
    """No job gets beyond 0.97."""

    def state(self, job: Job) -> float:
        return min(super().state(job), 0.97)


@broken(
    "killed-for-memory",
    "status.no-spontaneous-cancel",
    "refuse.state",
    "refuse.message",
    "status.terminal",
    "cancel.isolation",
    "cancel.persists",
    shows="one of several jobs",
)
class KilledForMemory(Instance):
    """Every third job is killed at 0.7 and then shows -1."""

    def state(self, job: Job) -> float:
        state = super().state(job)
        return CANCELLED if nth(job, 3) and state >= 0.7 else state


@broken(
    "timeout-is-cancelled",
    "status.no-spontaneous-cancel",
    "refuse.state",
    "cancel.isolation",
    "status.terminal",
    shows="one part of a job's life",
)
class TimeoutIsCancelled(Instance):
    """A job that takes longer than 25 seconds is marked as cancelled."""

    def state(self, job: Job) -> float:
        return CANCELLED if self.age(job) > 25 else super().state(job)


@broken(
    "failed-is-minus-one",
    "status.no-spontaneous-cancel",
    "refuse.state",
    "cancel.isolation",
    shows="one of several jobs",
)
class FailedIsMinusOne(Instance):
    """Every second job fails, and a failed job has the state -1 instead of 1."""

    def state(self, job: Job) -> float:
        state = super().state(job)
        return CANCELLED if nth(job, 2) and state == FINISHED else state


@broken(
    "completed-too-early", "status.message-agrees", shows="one part of a job's life", dialects=NAMED
)
class CompletedTooEarly(_ChangesStatus):
    """From 0.9 on, the job status code says that the job is completed."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        if described["state"] >= 0.9:
            described["JobMsg"] = {"statusCode": 1, "statusMessage": "Completed"}


@broken(
    "code-comes-later", "status.message-agrees", "result.stable", shows="rarely", dialects=NAMED
)
class CodeComesLater(_ChangesStatus):
    """In the first status of a finished job, the job status code still says that it runs."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if described["state"] == FINISHED and job.memory.setdefault("done", job.polls) == job.polls:
            described["JobMsg"] = {"statusCode": 0, "statusMessage": "Running"}


@broken(
    "cancelled-is-completed",
    "status.message-agrees",
    shows="one part of a job's life",
    dialects=NAMED,
)
class CancelledIsCompleted(Instance):
    """A cancelled job has the job status code of a completed one."""

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        if described["state"] == CANCELLED:
            described["JobMsg"] = {"statusCode": 1, "statusMessage": "Completed"}
        return described


@broken("finished-with-fraction", "status.wire-number", shows="by a hair")
class FinishedWithFraction(Instance):
    """A finished state is spelled 1.0."""

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        return {**described, "state": 1.0} if described["state"] == FINISHED else described


@broken("cancelled-with-fraction", "status.wire-number", shows="by a hair")
class CancelledWithFraction(Instance):
    """A cancelled state is spelled -1.0."""

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        return {**described, "state": -1.0} if described["state"] == CANCELLED else described


@broken("finished-with-exponent", "status.wire-number", shows="rarely")
class FinishedWithExponent(_ChangesStatus):
    """The first status of a finished job spells its state 1e0; later ones spell it 1."""

    def answer_status(self, job: Job) -> Response:
        answer = super().answer_status(job)
        if not job.memory.pop("computed", False):
            return answer
        body = answer.body.replace(b'"state": 1,', b'"state": 1e0,')
        return replace(answer, body=body)

    def change(self, described: dict[str, Any], job: Job) -> None:
        if described["state"] == FINISHED and "done" not in job.memory:
            job.memory.update(done=True, computed=True)


@broken("unknown-is-empty", "status.unknown", "input.bad-id")
class UnknownIsEmpty(Instance):
    """The status of an unknown id is a success without content."""

    def answer_about_job(self, method: str, job_id: str) -> Response:
        unknown = job_id.isdecimal() and self.find(int(job_id)) is None
        if method == "GET" and unknown and int(job_id):
            return self.reply(self.envelope([]))
        return super().answer_about_job(method, job_id)


@broken("unknown-is-done", "status.unknown", "input.bad-id")
class UnknownIsDone(Instance):
    """A status request for an unknown id is answered with the state 1."""

    def answer_about_job(self, method: str, job_id: str) -> Response:
        answer = super().answer_about_job(method, job_id)
        if method == "DELETE" or answer.status != 404:
            return answer
        return self.reply(self.envelope(self.content({"state": 1})))


@broken(
    "places-disagree",
    "status.envelope",
    "cancel.envelope",
    shows="one of several jobs",
    dialects=("system",),
)
class PlacesDisagree(Instance):
    """For every second job, the state at `content.msg` stays 0."""

    def content(self, described: dict[str, Any], *, first: bool = False) -> dict[str, Any]:
        content = super().content(described, first=first)
        if content.keys() == {"system", "msg"} and described["jobId"] % 2 == 0:
            content["msg"] = {**described, "state": 0}
        return content


@broken(
    "next-id-with-fraction", "status.identity", "create.visible", shows="by a hair", dialects=NAMED
)
class NextIdWithFraction(_ChangesStatus):
    """The status carries the id of the next job, spelled with a fraction."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        described["jobId"] = float(job.id + 1)


@broken("cancel-answers-for-another", "status.identity", "refuse.state", dialects=NAMED)
class CancelAnswersForAnother(Instance):
    """The answer to a cancel carries the id of the next job."""

    def answer_cancel(self, job: Job) -> Response:
        granted = self.cancel(job)
        described = {**self.describe(job), "jobId": job.id + 1}
        messages = self.cancel_messages(job, granted=granted)
        return self.reply(self.envelope(self.content(described), messages=messages))


@broken(
    "new-job-ends-older",
    "status.no-spontaneous-cancel",
    "refuse.state",
    shows="one of several jobs",
)
class NewJobEndsOlder(Instance):
    """A new job ends all jobs that have begun: they show -1."""

    def create(self, request: str, script: JobScript) -> Job:
        for other in self.jobs.values():
            if 0.05 < self.state(other) < FINISHED and other.cancelled_after is None:
                other.cancelled_after = self.age(other)
        return super().create(request, script)


@broken(
    "new-job-restarts-older",
    "status.monotonic",
    "status.completes",
    "cancel.race",
    shows="one of several jobs",
)
class NewJobRestartsOlder(Instance):
    """A new job restarts all jobs that have begun, from 0."""

    def create(self, request: str, script: JobScript) -> Job:
        for other in self.jobs.values():
            if 0.05 < self.state(other) < FINISHED:
                other.polled_seconds -= self.age(other)
        return super().create(request, script)
