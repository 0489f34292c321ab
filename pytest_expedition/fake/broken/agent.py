"""Servers that break what starting and stopping the agent promises."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from pytest_expedition.fake.broken.base import GOES_BACK, broken
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.simulation import FINISHED

if TYPE_CHECKING:
    from pytest_expedition.fake.http import Response
    from pytest_expedition.fake.simulation import Job, JobScript


class _StartedAgain(Instance):
    """An instance that does something else when an agent that runs is started."""

    def answer_agent(self, path: str) -> Response:
        if path.endswith("/start") and self.agent_running:
            return self.start_again(path)
        return super().answer_agent(path)

    def start_again(self, path: str) -> Response:
        """Do what is done instead of nothing."""
        raise NotImplementedError


@broken("start-of-running-is-conflict", "agent.idempotent")
class StartOfRunningIsConflict(_StartedAgain):
    """Starting an agent that runs is a conflict: 409."""

    def start_again(self, path: str) -> Response:  # noqa: ARG002
        return self.error(HTTPStatus.CONFLICT, "The agent is already running")


@broken(
    "start-begins-anew",
    "agent.idempotent",
    "status.completes",
    *GOES_BACK,
    shows="one part of a job's life",
)
class StartBeginsAnew(_StartedAgain):
    """Starting an agent that runs starts a second one, which begins anew what is under way."""

    def start_again(self, path: str) -> Response:
        for job in self.jobs.values():
            if 0 < self.state(job) < FINISHED:
                job.begun, job.polled_seconds = self.agent_time(), 0.0
        return super(_StartedAgain, self).answer_agent(path)


@broken("stop-is-only-noted", "agent.gates")
class StopIsOnlyNoted(Instance):
    """The agent is said to be stopped, and goes on."""

    def answer_agent(self, path: str) -> Response:
        answer = super().answer_agent(path)
        self.agent_running = True
        return answer


@broken("idle-worker-takes-one-more", "agent.gates", shows="one of several jobs")
class IdleWorkerTakesOneMore(Instance):
    """A worker only looks whether it shall stop after its next job, which it waits for."""

    def create(self, request: str, script: JobScript) -> Job:
        job = super().create(request, script)
        if not self.agent_running and self.memory.get("idle", True):
            self.memory["idle"] = False
            job.memory["runs"] = True
        return job

    def age(self, job: Job) -> float:
        return self.clock.now() - job.created if job.memory.get("runs") else super().age(job)


@broken("queue-is-lost-on-start", "agent.gates", shows="one part of a job's life")
class QueueIsLostOnStart(Instance):
    """What was queued while the agent was stopped is forgotten when it starts."""

    def create(self, request: str, script: JobScript) -> Job:
        job = super().create(request, script)
        job.memory["forgotten"] = not self.agent_running
        return job

    def age(self, job: Job) -> float:
        return 0.0 if job.memory.get("forgotten") else super().age(job)


@broken("restart-only-stops", "agent.gates", "status.completes", "refuse.continues")
class RestartOnlyStops(Instance):
    """Restarting the agent is stop and start, and the start is skipped where nothing ran."""

    def answer_agent(self, path: str) -> Response:
        ran = self.agent_running
        answer = super().answer_agent(path)
        if path.endswith("/restart") and not ran:
            self.agent_running = False
        return answer
