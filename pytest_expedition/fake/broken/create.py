"""Servers that break the promises about creating jobs."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pytest_expedition.fake.broken.base import FULL, another_dialect, born_together, broken, nth
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.simulation import FINISHED, FIRST_JOB_ID

if TYPE_CHECKING:
    from pytest_expedition.fake.http import Request, Response
    from pytest_expedition.fake.job_requests import JobRequest
    from pytest_expedition.fake.simulation import Job


class _ChangesCreation(Instance):
    """An instance that changes the job in its creation answer."""

    def answer_creation(self, job_request: JobRequest) -> Response:
        job = self.create(job_request.name, self.usual_scripts[job_request.name])
        described = self.describe(job)
        self.change(described, job)
        return self.reply(self.envelope(self.creation_content(described)))

    def change(self, described: dict[str, Any], job: Job) -> None:
        raise NotImplementedError


@broken("creation-success-as-text", "create.envelope")
class CreationSuccessAsText(Instance):
    """`success` of the creation answer is the text "true"."""

    def answer_creation(self, job_request: JobRequest) -> Response:
        answer = super().answer_creation(job_request)
        document = json.loads(answer.body)
        document["success"] = "true"
        return self.reply(document)


@broken(
    "creation-without-description", "create.envelope", shows="one of several jobs", dialects=FULL
)
class CreationWithoutDescription(_ChangesCreation):
    """Every third creation answer lacks the description."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if nth(job, 3):
            del described["description"]


@broken("creation-after-notice", "create.envelope", "create.job-id", shows="one of several jobs")
class CreationAfterNotice(Instance):
    """Every fourth creation answer begins with a PHP notice, before the JSON."""

    def answer_creation(self, job_request: JobRequest) -> Response:
        answer = super().answer_creation(job_request)
        if len(self.jobs) % 4:
            return answer
        return replace(answer, body=b"<br />\nNotice: Undefined index<br />\n" + answer.body)


@broken("creation-twice-is-conflict", "create.envelope", shows="the second time")
class CreationTwiceIsConflict(Instance):
    """The second creation is answered with 409, though the job is created."""

    def answer_creation(self, job_request: JobRequest) -> Response:
        answer = super().answer_creation(job_request)
        return answer if len(self.jobs) != 2 else replace(answer, status=409)


@broken(
    "creation-by-another-node",
    "create.envelope",
    "create.visible",
    "status.envelope",
    "cancel.envelope",
    "cancel.persists",
    "cancel.minus-one",
    "refuse.continues",
    shows="one of several jobs",
)
class CreationByAnotherNode(Instance):
    """Every third creation is answered by a node of another generation, in its dialect."""

    def answer_creation(self, job_request: JobRequest) -> Response:
        if len(self.jobs) % 3 != 2:
            return super().answer_creation(job_request)
        with another_dialect(self):
            return super().answer_creation(job_request)


@broken("text-job-id", "create.job-id", "create.envelope")
class TextJobId(_ChangesCreation):
    """`jobId` is a text of digits."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        described["jobId"] = str(job.id)


@broken("job-id-zero", "create.job-id", "create.envelope", shows="one of several jobs")
class JobIdZero(Instance):
    """The first job has the id 0."""

    def new_id(self) -> int:
        return super().new_id() - FIRST_JOB_ID


@broken("job-id-with-fraction", "create.job-id", shows="by a hair")
class JobIdWithFraction(_ChangesCreation):
    """`jobId` of the creation answer is spelled with a fraction: 1619.0."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        described["jobId"] = float(job.id)


@broken("ids-of-the-second", "create.unique-id", shows="while others are under way")
class IdsOfTheSecond(Instance):
    """The id is the time in seconds: jobs created within the same second share it."""

    def new_id(self) -> int:
        return FIRST_JOB_ID + int(self.clock.now())


@broken("id-read-then-written", "create.unique-id", shows="while others are under way")
class IdReadThenWritten(Instance):
    """The new id is the highest id plus 1, without a lock: jobs created at once share it."""

    def handle(self, request: Request) -> Response:
        if request.method != "POST":
            return super().handle(request)
        mine = max(self.jobs, default=FIRST_JOB_ID - 1) + 1
        time.sleep(0.003)
        with self.lock:
            self.memory["id"] = mine
            return super().handle(request)

    def new_id(self) -> int:
        mine: int = self.memory["id"]
        return mine


@broken("cancelled-ids-again", "create.unique-id", shows="one of several jobs")
class CancelledIdsAgain(Instance):
    """A new job is given the id of a cancelled one."""

    def new_id(self) -> int:
        given = (job.id for job in self.jobs.values() if job.cancelled_after is not None)
        return next(given, None) or super().new_id()


class _Hides(Instance):
    """An instance that sometimes answers a status request for an existing job with 404."""

    def answer_status(self, job: Job) -> Response:
        if not self.is_hidden(job):
            return super().answer_status(job)
        self.poll(job)
        return self.error(HTTPStatus.NOT_FOUND, "There is no such job")

    def is_hidden(self, job: Job) -> bool:
        raise NotImplementedError


@broken(
    "visible-after-the-queue",
    "create.visible",
    "status.envelope",
    "cancel.persists",
    "refuse.continues",
    in_data=(
        "create.visible",
        "status.envelope",
        "cancel.persists",
        "refuse.continues",
        "cancel.minus-one",
    ),
)
class VisibleAfterTheQueue(_Hides):
    """The status of a new job is 404 for half a second, until the queue has taken the job."""

    def is_hidden(self, job: Job) -> bool:
        return self.age(job) < 0.5


@broken(
    "first-poll-finds-nothing",
    "create.visible",
    "status.envelope",
    "cancel.persists",
    "cancel.minus-one",
    "refuse.continues",
    shows="one of several jobs",
)
class FirstPollFindsNothing(_Hides):
    """The first status request for every second job is answered with 404."""

    def is_hidden(self, job: Job) -> bool:
        return nth(job, 2) and not job.polls


@broken(
    "last-of-many-invisible",
    "create.visible",
    "status.envelope",
    "cancel.minus-one",
    "cancel.persists",
    "refuse.continues",
    shows="while others are under way",
)
class LastOfManyInvisible(_Hides):
    """Of jobs created at the same time, all but the first are 404 for half a second."""

    def is_hidden(self, job: Job) -> bool:
        return job is not born_together(self, job)[0] and self.age(job) < 0.5


@broken(
    "queued-is-minus-one",
    "create.initial-state",
    "create.envelope",
    "status.no-spontaneous-cancel",
    "cancel.persists",
    "cancel.isolation",
    "cancel.repeat",
    dialects=FULL,
)
class QueuedIsMinusOne(_ChangesCreation):
    """The creation answer shows the state -1: the job waits in the queue."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        described["state"] = -1


@broken(
    "queued-is-two",
    "create.initial-state",
    "create.envelope",
    shows="one of several jobs",
    dialects=FULL,
)
class QueuedIsTwo(_ChangesCreation):
    """The creation answer of every third job shows the state 2, a code of the queue."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if nth(job, 3):
            described["state"] = 2


@broken(
    "initial-state-null",
    "create.initial-state",
    "create.envelope",
    shows="one part of a job's life",
    dialects=FULL,
)
class InitialStateNull(_ChangesCreation):
    """The state in the creation answer is null, unless the job has finished already."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        if self.state(job) < FINISHED:
            described["state"] = None
