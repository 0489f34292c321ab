"""Servers that break the promises about starting and stopping the agent."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from pytest_expedition.fake.broken.base import broken
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.simulation import FINISHED

if TYPE_CHECKING:
    from pytest_expedition.fake.http import Response
    from pytest_expedition.fake.simulation import Job, JobScript


class _StartedAgain(Instance):
    """An instance that does something wrong when a running agent is started again."""

    def answer_agent(self, path: str) -> Response:
        if path.endswith("/start") and self.agent_running:
            return self.start_again(path)
        return super().answer_agent(path)

    def start_again(self, path: str) -> Response:
        """Answer the request, and do what is wrong."""
        raise NotImplementedError


@broken("start-of-running-is-conflict", "agent.idempotent")
class StartOfRunningIsConflict(_StartedAgain):
    """Starting a running agent is answered with 409."""

    def start_again(self, path: str) -> Response:  # noqa: ARG002
        return self.error(HTTPStatus.CONFLICT, "The agent is already running")


@broken(
    "start-begins-anew",
    "agent.idempotent",
    "status.completes",
    "status.monotonic",
    "cancel.race",
    shows="one part of a job's life",
)
class StartBeginsAnew(_StartedAgain):
    """Starting a running agent starts a second one, which restarts all running jobs from 0."""

    def start_again(self, path: str) -> Response:
        for job in self.jobs.values():
            if 0 < self.state(job) < FINISHED:
                job.begun, job.polled_seconds = self.agent_time(), 0.0
        return super(_StartedAgain, self).answer_agent(path)


@broken("stop-is-only-noted", "agent.gates")
class StopIsOnlyNoted(Instance):
    """Stopping the agent is answered as a success, but the agent keeps running."""

    def answer_agent(self, path: str) -> Response:
        answer = super().answer_agent(path)
        self.agent_running = True
        return answer


@broken("idle-worker-takes-one-more", "agent.gates", shows="one of several jobs")
class IdleWorkerTakesOneMore(Instance):
    """A stopped agent still runs one more job: its worker only stops after that."""

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
    """Jobs created while the agent was stopped never run: they are lost when it starts."""

    def create(self, request: str, script: JobScript) -> Job:
        job = super().create(request, script)
        job.memory["forgotten"] = not self.agent_running
        return job

    def age(self, job: Job) -> float:
        return 0.0 if job.memory.get("forgotten") else super().age(job)


@broken("restart-only-stops", "agent.gates", "status.completes", "refuse.continues")
class RestartOnlyStops(Instance):
    """Restarting a stopped agent does not start it."""

    def answer_agent(self, path: str) -> Response:
        ran = self.agent_running
        answer = super().answer_agent(path)
        if path.endswith("/restart") and not ran:
            self.agent_running = False
        return answer
