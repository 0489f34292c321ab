"""Servers that break the promises about lists of jobs, and about the job of a project."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pytest_expedition.fake.broken.base import broken, nth
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.simulation import CANCELLED, FINISHED

if TYPE_CHECKING:
    from pytest_expedition.fake.http import Request, Response
    from pytest_expedition.fake.simulation import Job


@broken("list-at-jobs", "list.envelope", dialects=("data",))
class ListAtJobs(Instance):
    """The list of jobs stands at `data.jobs`, not at `data.job`."""

    def answer_list(self, request: Request) -> Response:
        document = json.loads(super().answer_list(request).body)
        document["data"] = {"jobs": document["data"]["job"]}
        return self.reply(document)


@broken("list-of-the-cancelled-fails", "list.envelope", shows="rarely", dialects=("data",))
class ListOfTheCancelledFails(Instance):
    """A request for the list of cancelled jobs is answered with 500, in the envelope."""

    def answer_list(self, request: Request) -> Response:
        if "status=cancelled" in request.query:
            return self.error(HTTPStatus.INTERNAL_SERVER_ERROR, "Unknown column")
        return super().answer_list(request)


@broken("list-rounds-down", "list.agrees", shows="by a hair", dialects=("data",))
class ListRoundsDown(Instance):
    """The states in a list are cut off after one decimal."""

    def tell_in_list(self, job: Job) -> dict[str, Any]:
        told = super().tell_in_list(job)
        if 0 < told["state"] < FINISHED:
            told["state"] = math.floor(told["state"] * 10) / 10
        return told


@broken("list-leaves-out-running", "list.agrees", dialects=("data",))
class ListLeavesOutRunning(Instance):
    """The list of all jobs leaves out the running ones."""

    def is_listed(self, job: Job, status: str) -> bool:
        runs = status == "all" and 0 < self.state(job) < FINISHED
        return super().is_listed(job, status) and not runs


@broken(
    "list-leaves-out-every-second", "list.agrees", shows="one of several jobs", dialects=("data",)
)
class ListLeavesOutEverySecond(Instance):
    """The list of all jobs leaves out every second job."""

    def is_listed(self, job: Job, status: str) -> bool:
        return super().is_listed(job, status) and not (status == "all" and nth(job, 2))


@broken(
    "list-takes-cancelled-for-completed",
    "list.agrees",
    "list.filters",
    shows="one part of a job's life",
    dialects=("data",),
)
class ListTakesCancelledForCompleted(Instance):
    """A list shows a cancelled job with the state 1, as `completed`."""

    def tell_in_list(self, job: Job) -> dict[str, Any]:
        told = super().tell_in_list(job)
        ended = {"state": 1, "status_message": "completed"}
        return {**told, **ended} if self.state(job) == CANCELLED else told


@broken("job-of-a-project-is-as-created", "list.agrees", shows="rarely", dialects=("data",))
class JobOfAProjectIsAsCreated(Instance):
    """The job of a project always shows the state 0 and `pending`, as at its creation."""

    def answer_job_of(self, request: Request, kind: str, number: str) -> Response:
        document = json.loads(super().answer_job_of(request, kind, number).body)
        document.get("data", {}).update(state=0, status_message="pending")
        return self.reply(document)


@broken("list-ignores-the-filter", "list.filters", dialects=("data",))
class ListIgnoresTheFilter(Instance):
    """A list has all jobs, whatever status was asked for."""

    def is_listed(self, job: Job, status: str) -> bool:  # noqa: ARG002
        return True


@broken(
    "cancelled-stay-pending", "list.filters", shows="one part of a job's life", dialects=("data",)
)
class CancelledStayPending(Instance):
    """The list of pending jobs still has the cancelled ones."""

    def is_listed(self, job: Job, status: str) -> bool:
        stays = status == "pending" and self.state(job) == CANCELLED
        return stays or super().is_listed(job, status)


@broken(
    "completed-from-a-quarter-on",
    "list.filters",
    shows="one part of a job's life",
    dialects=("data",),
)
class CompletedFromAQuarterOn(Instance):
    """The list of completed jobs also has jobs that are running beyond a quarter."""

    def is_listed(self, job: Job, status: str) -> bool:
        early = status == "completed" and self.state(job) > 1 / 4
        return early or super().is_listed(job, status)


@broken("project-tells-the-next", "list.of-resource", dialects=("data",))
class ProjectTellsTheNext(Instance):
    """Asked for the job of a project, the server answers with one of the next project."""

    def answer_job_of(self, request: Request, kind: str, number: str) -> Response:
        document = json.loads(super().answer_job_of(request, kind, number).body)
        document.get("data", {})["resource"] = int(number) + 1
        return self.reply(document)


@broken(
    "project-tells-a-strangers",
    "list.of-resource",
    "list.agrees",
    shows="while others are under way",
    dialects=("data",),
)
class ProjectTellsAStrangers(Instance):
    """While several jobs run, the job of a project is answered with one of another project."""

    def answer_job_of(self, request: Request, kind: str, number: str) -> Response:
        answer = super().answer_job_of(request, kind, number)
        if sum(not self.has_ended(job) for job in self.jobs.values()) < 2:
            return answer
        document = json.loads(answer.body)
        document.get("data", {}).update(id=999_999, resource=int(number) + 7)
        return self.reply(document)
