"""Servers that break the promises about results."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pytest_expedition.fake.broken.base import NAMED, broken, nth
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.simulation import FINISHED

if TYPE_CHECKING:
    from pytest_expedition.fake.http import Response
    from pytest_expedition.fake.simulation import Job


@broken(
    "no-next-step-is-null",
    "result.next-step",
    "create.envelope",
    "status.envelope",
    "cancel.envelope",
    dialects=NAMED,
)
class NoNextStepIsNull(Instance):
    """Where there is no next step, `nextStep` is null."""

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        return {**described, "nextStep": described["nextStep"] or None}


@broken(
    "next-step-is-object",
    "result.next-step",
    "status.envelope",
    "cancel.envelope",
    shows="one part of a job's life",
    dialects=NAMED,
)
class NextStepIsObject(Instance):
    """`nextStep` of a finished job is an object with numbers as keys."""

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        if described["state"] == FINISHED:
            described["nextStep"] = {"1": "Download the configuration"}
        return described


@broken(
    "one-next-step-is-text",
    "result.next-step",
    "status.envelope",
    "cancel.envelope",
    shows="one of several jobs",
    dialects=NAMED,
)
class OneNextStepIsText(Instance):
    """`nextStep` of every third finished job is a text, not a list with one text."""

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        if nth(job, 3) and described["state"] == FINISHED:
            described["nextStep"] = "Download the configuration"
        return described


@broken("tasks-are-told-once", "result.stable", shows="the second time")
class TasksAreToldOnce(Instance):
    """The tasks of a finished job show only once; after that their list is empty."""

    def answer_status(self, job: Job) -> Response:
        answer = super().answer_status(job)
        if self.state(job) == FINISHED:
            job.memory["told"] = job.memory.get("told", 0) + 1
        return answer

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        if job.memory.get("told"):
            described["TasksMsg"] = []
        return described


@broken("result-expires", "result.stable", shows="rarely")
class ResultExpires(Instance):
    """A finished job is gone half a minute after its end."""

    def answer_about_job(self, method: str, job_id: str) -> Response:
        job = self.find(int(job_id)) if job_id.isdecimal() else None
        if job is not None and method == "GET" and self.state(job) == FINISHED:
            age = self.age(job)
            if age - job.memory.setdefault("done", age) > 30:
                return self.error(HTTPStatus.NOT_FOUND, "There is no such job")
        return super().answer_about_job(method, job_id)


@broken("each-result-is-new", "result.stable", shows="rarely")
class EachResultIsNew(Instance):
    """The tasks of a finished job change with the number of polls."""

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        if described["state"] == FINISHED:
            described["TasksMsg"] = [f"Completed. Result {job.polls // 3} of this job"]
        return described
