"""Servers that break the promises about refused cancels."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pytest_expedition.fake.broken.base import GOES_BACK, SHOWN_BY_DELETE, broken, nth
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.simulation import CANCELLED, FINISHED

if TYPE_CHECKING:
    from pytest_expedition.fake.http import Response
    from pytest_expedition.fake.simulation import Job


class _Refuses(Instance):
    """An instance that does something wrong to a job when it refuses a cancel."""

    def cancel(self, job: Job) -> bool:
        granted = super().cancel(job)
        if not granted and 0 <= self.state(job) < FINISHED:
            self.refuse(job)
        return granted

    def refuse(self, job: Job) -> None:
        """Do to the job what is wrong."""


class _AnswersRefusal(Instance):
    """An instance that changes the job in its answer to a refused cancel."""

    def answer_cancel(self, job: Job) -> Response:
        granted = self.cancel(job)
        messages = self.cancel_messages(job, granted=granted)
        described = self.describe(job)
        if not granted and 0 <= described["state"] < FINISHED:
            self.change(described, job)
        return self.reply(self.envelope(self.content(described), messages=messages))

    def change(self, described: dict[str, Any], job: Job) -> None:
        raise NotImplementedError


@broken(
    "refusal-shows-minus-one", "refuse.state", "cancel.persists", "cancel.race", "cancel.repeat"
)
class RefusalShowsMinusOne(_AnswersRefusal):
    """The answer to a refused cancel shows -1, though the job goes on."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        described["state"] = -1


@broken(
    "refusal-shows-nothing-done",
    "refuse.state",
    "status.monotonic",
    "cancel.race",
    "cancel.isolation",
)
class RefusalShowsNothingDone(_AnswersRefusal):
    """The answer to a refused cancel shows 0 instead of the progress."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        described["state"] = 0


@broken(
    "refusal-is-rounded",
    "refuse.state",
    "status.monotonic",
    "cancel.race",
    "cancel.isolation",
    shows="by a hair",
)
class RefusalIsRounded(_AnswersRefusal):
    """The answer to a refused cancel rounds the progress down to tenths."""

    def change(self, described: dict[str, Any], job: Job) -> None:  # noqa: ARG002
        described["state"] = int(described["state"] * 10) / 10


@broken(
    "refusal-looks-ahead",
    "refuse.state",
    "refuse.continues",
    "status.monotonic",
    "cancel.race",
    "cancel.isolation",
    shows="by a hair",
)
class RefusalLooksAhead(_AnswersRefusal):
    """The answer to a refused cancel shows the progress that the job will have in ten seconds."""

    def change(self, described: dict[str, Any], job: Job) -> None:
        ahead = job.script.progress_at(self.age(job) + 10)
        described["state"] = min(ahead, 0.99)


@broken("refused-ends-at-minus-one", "refuse.state", shows="rarely")
class RefusedEndsAtMinusOne(_Refuses):
    """A job whose cancel was refused runs to its end, and then shows -1."""

    def refuse(self, job: Job) -> None:
        job.memory["refused"] = True

    def state(self, job: Job) -> float:
        state = super().state(job)
        return CANCELLED if state == FINISHED and job.memory.get("refused") else state


@broken("refusal-is-an-empty-error", "refuse.state", dialects=SHOWN_BY_DELETE)
class RefusalIsAnEmptyError(Instance):
    """A refused cancel is answered with 403 and an error without the job's state."""

    def answer_cancel(self, job: Job) -> Response:
        answer = super().answer_cancel(job)
        if job.script.cancellable or not 0 <= self.state(job) < FINISHED:
            return answer
        return self.error(HTTPStatus.FORBIDDEN, job.script.refusal)


@broken("refuses-silently", "refuse.message")
class RefusesSilently(Instance):
    """A refused cancel is answered without any message."""

    def cancel_messages(self, job: Job, *, granted: bool) -> list[str]:
        return super().cancel_messages(job, granted=granted) if granted else []


@broken("refuses-with-blanks", "refuse.message")
class RefusesWithBlanks(Instance):
    """The message of a refused cancel is blank."""

    def cancel_messages(self, job: Job, *, granted: bool) -> list[str]:
        return super().cancel_messages(job, granted=granted) if granted else ["  "]


@broken("refuses-as-if-granted", "refuse.message")
class RefusesAsIfGranted(Instance):
    """A refused cancel is answered with the words of a granted one."""

    def cancel_messages(self, job: Job, *, granted: bool) -> list[str]:  # noqa: ARG002
        return super().cancel_messages(job, granted=True)


@broken("refuses-once", "refuse.message", shows="the second time")
class RefusesOnce(Instance):
    """Only the first refused cancel of a job carries a message."""

    def cancel_messages(self, job: Job, *, granted: bool) -> list[str]:
        messages = super().cancel_messages(job, granted=granted)
        return messages if granted or job.cancel_requests < 2 else []


@broken("refuses-silently-near-the-end", "refuse.message", shows="one part of a job's life")
class RefusesSilentlyNearTheEnd(Instance):
    """From 0.5 on, a refused cancel is answered without any message."""

    def cancel_messages(self, job: Job, *, granted: bool) -> list[str]:
        late = not granted and 0.5 <= self.state(job) < FINISHED
        return [] if late else super().cancel_messages(job, granted=granted)


@broken("refusal-begins-anew", "refuse.continues", *GOES_BACK)
class RefusalBeginsAnew(_Refuses):
    """A refused cancel restarts the job from 0."""

    def refuse(self, job: Job) -> None:
        job.polled_seconds -= self.age(job)


@broken("refusal-stops", "refuse.continues", shows="one of several jobs")
class RefusalStops(_Refuses):
    """A refused cancel stops every second job where it is."""

    def refuse(self, job: Job) -> None:
        if nth(job, 2):
            job.script = replace(job.script, progress=(self.state(job),))


@broken("second-refusal-stops", "refuse.continues", shows="the second time")
class SecondRefusalStops(_Refuses):
    """The second refused cancel stops the job where it is."""

    def refuse(self, job: Job) -> None:
        if job.cancel_requests == 2:
            job.script = replace(job.script, progress=(self.state(job),))


@broken("refusal-costs-a-tenth", "refuse.continues", *GOES_BACK, shows="one part of a job's life")
class RefusalCostsATenth(_Refuses):
    """From 0.5 on, a refused cancel sets the progress of the job back by a tenth, once."""

    def refuse(self, job: Job) -> None:
        if self.state(job) >= 0.5 and "lost" not in job.memory:
            job.memory["lost"] = True
            job.polled_seconds -= 5
