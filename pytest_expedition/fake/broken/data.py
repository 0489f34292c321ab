"""Servers that break promises that only the API reference makes, in the dialect `data`."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pytest_expedition.fake.broken.base import broken, nth
from pytest_expedition.fake.http import Response
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.odd import FailsOnTheWay
from pytest_expedition.fake.simulation import CANCELLED, FINISHED

if TYPE_CHECKING:
    from pytest_expedition.fake.simulation import Job


class _ChangesJob(Instance):
    """An instance that changes what its answers in the dialect `data` say of a job."""

    def change(self, told: dict[str, Any], job: Job) -> None:
        """Change what the answer says of a job."""
        raise NotImplementedError

    def with_what_data_tells(self, job: Job, content: dict[str, Any]) -> dict[str, Any]:
        told = super().with_what_data_tells(job, content)
        self.change(told, job)
        return told


@broken("pid-is-text", "envelope.field-types", dialects=("data",))
class PidIsText(_ChangesJob):
    """`pid` is a text, not a number."""

    def change(self, told: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        told["pid"] = str(told["pid"] or "")


@broken(
    "load-is-a-number", "envelope.field-types", shows="one part of a job's life", dialects=("data",)
)
class LoadIsANumber(_ChangesJob):
    """While a job runs, `consumed_cpu` is a number, not a text."""

    def change(self, told: dict[str, Any], job: Job) -> None:
        if 0 < self.state(job) < FINISHED:
            told["consumed_cpu"] = 12.5


@broken(
    "date-of-every-third-is-a-number",
    "envelope.field-types",
    shows="one of several jobs",
    dialects=("data",),
)
class DateOfEveryThirdIsANumber(_ChangesJob):
    """`created_at` of every third job is a number: seconds since 1970."""

    def change(self, told: dict[str, Any], job: Job) -> None:
        if nth(job, 3):
            told["created_at"] = 1685491200


@broken("word-of-the-queue", "status.envelope", "create.visible", dialects=("data",))
class WordOfTheQueue(_ChangesJob):
    """The status message of a waiting job is `queued`, which is not a documented word."""

    def change(self, told: dict[str, Any], job: Job) -> None:
        if self.state(job) == 0:
            told["status_message"] = "queued"


@broken("tasks-are-texts", "status.envelope", shows="one part of a job's life", dialects=("data",))
class TasksAreTexts(_ChangesJob):
    """The tasks of a finished job are texts, not objects."""

    def change(self, told: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        if told.get("task"):
            told["task"] = [task["statusMessage"] for task in told["task"]]


@broken(
    "pending-until-the-end",
    "status.message-agrees",
    shows="one part of a job's life",
    dialects=("data",),
)
class PendingUntilTheEnd(_ChangesJob):
    """Every second status of a finished job still has the status message `running`."""

    def change(self, told: dict[str, Any], job: Job) -> None:
        if self.state(job) == FINISHED and job.polls % 2:
            told["status_message"] = "running"


@broken("cancelled-in-words-at-once", "status.message-agrees", shows="rarely", dialects=("data",))
class CancelledInWordsAtOnce(_ChangesJob):
    """The status message is `cancelled` two seconds before the state is -1."""

    def cancel(self, job: Job) -> bool:
        if self.dialect == "data":
            job.script = replace(job.script, cancel_seconds=2.0)
        return super().cancel(job)

    def change(self, told: dict[str, Any], job: Job) -> None:
        if job.cancelled_after is not None and self.state(job) != CANCELLED:
            told["status_message"] = "cancelled"


@broken(
    "failed-is-tried-again",
    "status.terminal",
    "status.completes",
    shows="one of several jobs",
    dialects=("data",),
)
class FailedIsTriedAgain(FailsOnTheWay):
    """A failed job is tried again four seconds later: its status message is `running` again."""

    def has_failed(self, job: Job) -> bool:
        return super().has_failed(job) and self.age(job) < job.script.seconds_to_finish + 4


@broken(
    "failed-runs-for-ever",
    "status.completes",
    "refuse.continues",
    shows="one of several jobs",
    dialects=("data",),
)
class FailedRunsForEver(FailsOnTheWay):
    """A job that has failed keeps the status message `running` for ever."""

    def has_failed(self, job: Job) -> bool:  # noqa: ARG002
        return False


@broken(
    "failed-goes-on-by-a-hair",
    "status.terminal",
    "cancel.isolation",
    shows="by a hair",
    dialects=("data",),
)
class FailedGoesOnByAHair(FailsOnTheWay):
    """The state of a failed job still rises a little with each poll."""

    def state(self, job: Job) -> float:
        state = super().state(job)
        over = job.script.fails and self.age(job) >= job.script.seconds_to_finish
        return state + job.polls / 10_000 if over and state != CANCELLED else state


@broken("page-for-plain-clients", "envelope.for-plain-clients")
class PageForPlainClients(Instance):
    """A status request without the header Accept is answered with an HTML page."""

    def answer_status(self, job: Job) -> Response:
        answer = super().answer_status(job)
        if self.requests[-1].header("Accept"):
            return answer
        return Response(headers={"Content-Type": "text/html"}, body=b"<html>Expedition</html>")


@broken("login-page-for-plain-clients", "envelope.for-plain-clients", shows="rarely")
class LoginPageForPlainClients(Instance):
    """Without the header Accept, the status of a running job redirects to the login page."""

    def answer_status(self, job: Job) -> Response:
        answer = super().answer_status(job)
        if self.requests[-1].header("Accept") or self.has_ended(job):
            return answer
        return Response(status=302, headers={"Location": "/login"}, body=b"<html>Login</html>")


@broken("refusal-is-a-server-error", "cancel.envelope", "refuse.message", dialects=("data",))
class RefusalIsAServerError(Instance):
    """A refused cancel is answered with 500, in the documented envelope."""

    def answer_cancel(self, job: Job) -> Response:
        answer = super().answer_cancel(job)
        if self.dialect != "data" or job.script.cancellable or self.has_ended(job):
            return answer
        return replace(answer, status=int(HTTPStatus.INTERNAL_SERVER_ERROR))


@broken(
    "second-cancel-says-ok",
    "cancel.envelope",
    "refuse.message",
    dialects=("data",),
    shows="the second time",
)
class SecondCancelSaysOk(Instance):
    """The second cancel of a job is answered with the text "ok" as `success`."""

    def answer_cancel(self, job: Job) -> Response:
        answer = super().answer_cancel(job)
        if self.dialect != "data" or job.cancel_requests < 2:
            return answer
        return self.reply({"success": "ok", "messages": []})
