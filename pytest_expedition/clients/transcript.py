"""What a client did in a scenario: what it sent, what it was answered, what it said."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pytest_expedition.oracle.history import CANCELLED, Exchange, created_id
from pytest_expedition.protocol.envelope import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_expedition.protocol.envelope import Answer

End = Literal["finished", "failed", "cancelled"]
Saying = Literal["finished", "failed", "cancelled", "gave-up", "endless"]
ENDS: Final[tuple[End, ...]] = ("finished", "failed", "cancelled")

FAILED: Final = -1
"""The status code of a job, or of a task, that failed."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request of the client, and its answer.

    ``at`` is the fake's time when it came. ``keyed`` says whether it carried the key, or needed
    none; ``created`` is the id of the job that it created, even if the client did not learn it.
    ``host`` is the address that the client asked. ``of_job_api`` is false for a request to another
    part of Expedition's API, which no rule looks at.
    """

    exchange: Exchange
    at: float
    keyed: bool = True
    created: int | None = None
    of_job_api: bool = True
    host: str = ""

    @property
    def outage(self) -> bool:
        """Whether the network, a gateway or a refused key kept the instance from answering."""
        return not self.exchange.answered


@dataclass(frozen=True, kw_only=True)
class Said:
    """How the client said that a job ended, in its own way.

    ``words`` are the ends that it may mean, or that it gave up, or would never have ended.
    ``how`` is what it said in its own words. It ``stumbled`` if it ran into an error of its own
    code, over something that it had not expected.
    """

    words: frozenset[Saying]
    how: str
    stumbled: bool = False


@dataclass(frozen=True, kw_only=True)
class Call:
    """One job that the client was told to run.

    ``spans`` are when it was at it, in the times of the exchanges; ``done`` is the fake's time when
    it had said how the job ended. ``cancelled_by`` is when it had done what it does when told to
    cancel, in the times of the exchanges; ``None`` if it was not told to. Where several clients run
    side by side, each asks a ``host`` of its own.
    """

    said: Said
    spans: Sequence[tuple[float, float]]
    done: float
    cancelled_by: float | None = None
    host: str = ""


class Run:
    """One call, and the steps of the client about its job."""

    def __init__(self, call: Call, steps: Sequence[Step]) -> None:
        self.said = call.said
        self.done = call.done
        self.cancelled_by = call.cancelled_by
        self.creations = [
            step
            for step in steps
            if step.exchange.kind == "create"
            and call.host in {"", step.host}
            and any(begun <= step.exchange.sent <= done for begun, done in call.spans)
        ]
        self.created = [step for step in self.creations if step.created is not None]
        """The creations that were carried out."""
        known = (created_id(step.exchange) for step in self.creations)
        self.job_id = next((job_id for job_id in known if job_id is not None), None)
        """The id of the job, as far as the client could learn it."""
        created = {step.exchange for step in self.creations}
        self.steps = [
            step
            for step in steps
            if step.exchange in created
            or (self.job_id is not None and step.exchange.job_id == self.job_id)
        ]

    @functools.cached_property
    def polls(self) -> list[Step]:
        """The status requests."""
        return [step for step in self.steps if step.exchange.kind == "status"]

    @functools.cached_property
    def cancels(self) -> list[Step]:
        """The cancels."""
        return [step for step in self.steps if step.exchange.kind == "cancel"]

    @functools.cached_property
    def last(self) -> Step | None:
        """The last step."""
        return self.steps[-1] if self.steps else None

    @functools.cached_property
    def end_shown(self) -> Step | None:
        """The first step whose answer showed that the job had ended."""
        return next((x for x in self.steps if x.exchange.shows_the_end), None)

    @property
    def end(self) -> End | None:
        """How the job ended, as far as the client could know."""
        if self.end_shown is None:
            return None
        if self.end_shown.exchange.state == CANCELLED:
            return "cancelled"
        shown = (x.exchange for x in self.steps if x.exchange.shows_the_end)
        return "failed" if any(shows_failure(x.answer) for x in shown) else "finished"


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """All that a client did in a scenario.

    ``told_to_cancel`` says whether it was to cancel, ``can_cancel`` whether it is known to have a
    way to. ``pace`` is how many seconds of the fake's time pass in one of the time by which the
    client goes.
    """

    steps: Sequence[Step]
    calls: Sequence[Call]
    told_to_cancel: bool = False
    can_cancel: bool = False
    pace: float = 1.0

    @functools.cached_property
    def runs(self) -> list[Run]:
        """Each call with its steps."""
        return [Run(call, self.steps) for call in self.calls]

    @functools.cached_property
    def created(self) -> set[int]:
        """The ids of the jobs that the client created."""
        return {step.created for step in self.steps if step.created is not None}

    def seconds(self, step: Step) -> float:
        """Return how long after the first step one came, in the time by which the client goes."""
        return (step.at - self.steps[0].at) / self.pace

    @property
    def pauses(self) -> list[float]:
        """The seconds between two polls of a job, in the time by which the client goes."""
        latest: dict[int | None, float] = {}
        found = []
        for step in self.steps:
            if step.exchange.kind == "status":
                if step.exchange.job_id in latest:
                    found.append(self.seconds(step) - latest[step.exchange.job_id])
                latest[step.exchange.job_id] = self.seconds(step)
        return found


def shows_failure(answer: Answer) -> bool:
    """Whether an answer about a job that has ended says that it failed."""
    if answer.says_failed:
        return True
    if answer.status_code is not MISSING:
        return bool(answer.status_code == FAILED)
    tasks = answer.result.get("TasksMsg")
    return isinstance(tasks, list) and any(
        isinstance(task, dict) and task.get("statusCode") == FAILED for task in tasks
    )
