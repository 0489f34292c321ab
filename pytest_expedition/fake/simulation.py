"""Jobs and time: what happens in a fake Expedition instance, without HTTP and without waiting."""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pytest_expedition import real_time
from pytest_expedition.checked import checked, require_json

CANCELLED: Final = -1.0
FINISHED: Final = 1.0
FIRST_JOB_ID: Final = 1619
"""The job id of the documentation's example."""


class Clock:
    """The time of a fake instance, in seconds from its start.

    It stands still until told: ``advance`` moves it, ``run`` lets it move by itself as the wall
    clock does, ``hold`` stops it again. Every status request also moves the time of its job on by
    ``seconds_per_poll``, so that a client that polls need not wait. Safe to use from several
    threads.
    """

    def __init__(self, *, seconds_per_poll: float = 0.0) -> None:
        self.seconds_per_poll = seconds_per_poll
        self._elapsed = 0.0
        self._running_since: float | None = None
        self._speed = 1.0
        self._lock = threading.Lock()

    @property
    def seconds_per_poll(self) -> float:
        """Seconds by which a status request moves the time of its job; not below 0."""
        return self._seconds_per_poll

    @seconds_per_poll.setter
    @checked
    def seconds_per_poll(self, seconds_per_poll: float) -> None:
        if not 0 <= seconds_per_poll < math.inf:
            raise ValueError(
                f"seconds_per_poll must not be below 0, or infinite, got {seconds_per_poll!r}"
            )
        self._seconds_per_poll = seconds_per_poll

    def now(self) -> float:
        """Return the seconds since the start."""
        with self._lock:
            return self._now()

    def _now(self) -> float:
        if self._running_since is None:
            return self._elapsed
        return self._elapsed + (real_time.now() - self._running_since) * self._speed

    @checked
    def advance(self, seconds: float) -> None:
        """Move the time on. Raises ``ValueError`` if it would go back, or to infinity."""
        if not 0 <= seconds < math.inf:
            raise ValueError(
                f"the clock cannot go back, or to infinity: cannot advance by {seconds!r} seconds"
            )
        with self._lock:
            self._elapsed += seconds

    @checked
    def run(self, *, speed: float = 1.0) -> None:
        """Let the time move by itself, ``speed`` times as fast as real time."""
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed must be a number above 0, got {speed!r}")
        with self._lock:
            self._elapsed = self._now()
            self._speed = speed
            self._running_since = real_time.now()

    def hold(self) -> None:
        """Let the time stand still."""
        with self._lock:
            self._elapsed = self._now()
            self._running_since = None


@checked
@dataclass(frozen=True, kw_only=True)
class JobScript:
    """How a job will go.

    ``progress`` are the states that the job runs through, each for ``step_seconds``; the last one
    stays, so a job whose last state is below 1 never ends, unless it fails. A job that is not
    ``cancellable`` refuses a cancel with the text ``refusal``; of one that is, the state becomes -1
    ``cancel_seconds`` after the cancel, unless the job finishes first. A job that ``fails`` ends
    with a job status code of -1 when it reaches its last state, which may be below 1. ``tasks`` are
    the messages of its tasks and ``next_step`` the suggestions it carries once finished.

    Raises ``ValueError`` if no Expedition job could go that way.
    """

    progress: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)
    step_seconds: float = 1.0
    cancellable: bool = True
    cancel_seconds: float = 0.0
    fails: bool = False
    description: str = ""
    tasks: Sequence[str | Mapping[str, Any]] = ()
    next_step: Sequence[Any] = ()
    refusal: str = "The current job cannot be cancelled"

    def __post_init__(self) -> None:
        require_json("JobScript", tasks=self.tasks, next_step=self.next_step)
        if not self.progress:
            raise ValueError("progress needs at least one state")
        if not all(0 <= state <= FINISHED for state in self.progress):
            raise ValueError(f"progress must be from 0 to 1, got {list(self.progress)!r}")
        if any(later < earlier for earlier, later in itertools.pairwise(self.progress)):
            raise ValueError(f"progress must not go back, got {list(self.progress)!r}")
        if not (0 < self.step_seconds < math.inf and self.cancel_seconds >= 0):
            raise ValueError(
                "step_seconds must be above 0 and finite, and cancel_seconds not below 0"
            )

    @classmethod
    @checked
    def steady(cls, seconds: float, *, steps: int = 100) -> JobScript:
        """Make a job that takes ``seconds``, its progress moving in equal steps."""
        if steps < 1:
            raise ValueError(f"JobScript.steady: steps = {steps}: must be at least 1")
        progress = tuple(step / steps for step in range(steps + 1))
        return cls(progress=progress, step_seconds=seconds / steps)

    def progress_at(self, seconds: float) -> float:
        """Return the state of a job after ``seconds`` if it is not cancelled."""
        step = min(seconds / self.step_seconds + 1e-9, len(self.progress) - 1)
        return self.progress[int(step)]

    @property
    def seconds_to_finish(self) -> float:
        """How long the job takes to reach 1, or to fail; infinity if it never does."""
        if self.fails:
            return self.progress.index(self.progress[-1]) * self.step_seconds
        for step, state in enumerate(self.progress):
            if state == FINISHED:
                return step * self.step_seconds
        return float("inf")


@dataclass(kw_only=True, eq=False)
class Job:
    """One job of a fake instance.

    ``request`` names the request that created it (``import``, ``export``, …), ``path`` is that
    request's path. ``created`` is the clock's time at its creation, ``begun`` the agent's.
    ``polls`` and ``cancel_requests`` count the status requests and cancels. ``cancelled_after`` is
    the job's own time, in seconds, at which a cancel was granted, or ``None``.
    """

    id: int
    request: str
    script: JobScript
    created: float
    begun: float
    path: str = ""
    polls: int = 0
    cancel_requests: int = 0
    cancelled_after: float | None = None
    polled_seconds: float = field(default=0.0, repr=False)
    memory: dict[str, Any] = field(default_factory=dict, repr=False)


class Simulation:
    """All jobs of a fake instance, on one clock, and the agent that runs them.

    While the agent is stopped, jobs are created and stand still: their time does not pass, and
    polls do not move it. A cancel is granted or refused as usual, but its
    ``cancel_seconds`` pass only once the agent runs again.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock if clock is not None else Clock()
        self.jobs: dict[int, Job] = {}
        self.scripts: deque[JobScript] = deque()
        """The scripts of the next jobs, in order."""
        self._ids = itertools.count(FIRST_JOB_ID)
        self._agent_stopped: float | None = None
        self._agent_idle = 0.0

    @property
    def agent_running(self) -> bool:
        """Whether the agent runs; it does at first. Set it to stop or to start the agent."""
        return self._agent_stopped is None

    @agent_running.setter
    @checked
    def agent_running(self, agent_running: bool) -> None:
        if agent_running == self.agent_running:
            return
        if self._agent_stopped is None:
            self._agent_stopped = self.clock.now()
        else:
            self._agent_idle += self.clock.now() - self._agent_stopped
            self._agent_stopped = None

    def agent_time(self) -> float:
        """Return the seconds for which the agent has run."""
        now = self.clock.now() if self._agent_stopped is None else self._agent_stopped
        return now - self._agent_idle

    def new_id(self) -> int:
        """Return an id for a new job."""
        return next(self._ids)

    def create(self, request: str, script: JobScript) -> Job:
        """Create a job. It follows ``script``, unless another script waits for the next job."""
        if self.scripts:
            script = self.scripts.popleft()
        job = Job(
            id=self.new_id(),
            request=request,
            script=script,
            created=self.clock.now(),
            begun=self.agent_time(),
        )
        self.jobs[job.id] = job
        return job

    def find(self, job_id: int) -> Job | None:
        """Return the job with that id, if there is one."""
        return self.jobs.get(job_id)

    def age(self, job: Job) -> float:
        """Return the seconds of the job's own time since its creation."""
        return self.agent_time() - job.begun + job.polled_seconds

    def state(self, job: Job) -> float:
        """Return the job's state: 0 to 1, or -1."""
        age = self.age(job)
        if job.cancelled_after is not None:
            takes_effect = job.cancelled_after + job.script.cancel_seconds
            if takes_effect < job.script.seconds_to_finish and age >= takes_effect:
                return CANCELLED
        return job.script.progress_at(age)

    def has_failed(self, job: Job) -> bool:
        """Whether the job has ended in failure."""
        if not job.script.fails or self.state(job) == CANCELLED:
            return False
        return self.age(job) + 1e-9 >= job.script.seconds_to_finish

    def has_ended(self, job: Job) -> bool:
        """Whether the job is cancelled, finished or failed."""
        return self.state(job) in {CANCELLED, FINISHED} or self.has_failed(job)

    def poll(self, job: Job) -> None:
        """Count a status request, and let it move the job's time after it was answered."""
        job.polls += 1
        if self.agent_running:
            job.polled_seconds += self.clock.seconds_per_poll

    def cancel(self, job: Job) -> bool:
        """Cancel a job; return whether it was granted."""
        job.cancel_requests += 1
        goes_on = 0 <= self.state(job) < FINISHED and not self.has_failed(job)
        granted = job.script.cancellable and goes_on
        if granted and job.cancelled_after is None:
            job.cancelled_after = self.age(job)
        return granted
