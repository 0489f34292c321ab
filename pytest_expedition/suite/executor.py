"""Carries plans out: creates their jobs, polls them to their end, and does what the plan says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import created_id
from pytest_expedition.protocol.origin import described
from pytest_expedition.suite.client import LimitReachedError, TargetUnusableError
from pytest_expedition.suite.plan import AT_THE_END

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.suite.client import Call, Client
    from pytest_expedition.suite.plan import Act, JobPlan, Plan, RequestKind

POLLS_AFTER_THE_END: Final = 2
POLLS_WITHOUT_ANSWER: Final = 5
"""Polls in a row that may say nothing of a job until it is given up."""

BUSY_TRIES: Final = 5
"""How often in a row a job may be refused as one too many though none of ours runs."""

SLOWER: Final = 0.02
"""The pause between two polls, as a part of the job's age: long jobs are polled less often."""

MESSAGE_SHOWN: Final = 100
"""Characters of a server's message that a reason quotes."""

CORRECT_THE_RECIPE: Final = (
    "Correct the [[job]] of the target file: its method, path and body must be those of a request "
    "that works, with ids that exist"
)


@dataclass(kw_only=True)
class RunningJob:
    """A job of the plan that is being carried out."""

    plan: JobPlan
    id: int
    created: float
    due: float
    acts: list[Act]
    progress: float = 0.0
    ended: bool = False
    polls_after_the_end: int = 0
    silent_polls: int = 0
    cancel_sent: float = float("-inf")
    overdue: bool = False

    @property
    def done(self) -> bool:
        """Whether nothing more is to be done with the job."""
        if self.silent_polls >= POLLS_WITHOUT_ANSWER or self.overdue:
            return True
        return self.ended and not self.acts and self.polls_after_the_end >= POLLS_AFTER_THE_END


class Executor:
    """Turns plans into requests of a client.

    ``longest_job`` is how many seconds the slowest job took until it was seen to have ended.
    ``watch`` is told, before each pause, how far each running job is, by its id.
    """

    def __init__(
        self, client: Client, *, watch: Callable[[Mapping[int, float]], None] | None = None
    ) -> None:
        self.client = client
        self.target = client.target
        self.longest_job = 0.0
        self._watch = watch
        self._busy_in_a_row = 0
        self._working_recipes: set[str] = set()

    def run(
        self,
        plan: Plan,
        *,
        once_started: Callable[[Sequence[RunningJob]], object] | None = None,
        each_round: Callable[[Sequence[RunningJob]], object] | None = None,
    ) -> None:
        """Carry out a plan without its probes.

        ``once_started`` is called with the first jobs that run, ``each_round`` with the running
        jobs whenever what was due has been sent. Raises what ``Client.send`` does.
        """
        self.client.log_in()
        if self.target.start_agent:
            self.client.start_agent_once()
        waiting = list(plan.jobs)
        running = self._start(waiting, [], reached=plan.jobs[0].after)
        if once_started is not None and running:
            once_started(running)
        self._watch_to_the_end(plan, waiting, running, each_round=each_round)

    def run_with_stopped_agent(self, plan: Plan, *, seconds: float) -> None:
        """Create the job of a plan while the agent is stopped, restart it, watch to the end.

        ``seconds`` is for how long the job is watched before the restart.
        """
        if self.client.ledger.jobs_left < 1:
            raise LimitReachedError("jobs")
        self._make_room()
        if not self.client.stop_agent():
            return
        waiting = list(plan.jobs)
        running = self._start(waiting, [], reached=plan.jobs[0].after)
        restart = self.client.now + seconds
        while not all(job.ended for job in running) and self.client.now < restart:
            self._round(plan, running)
            self._sleep(min(job.due for job in running), running)
        self.client.restart_agent()
        for job in running:
            job.created = job.due = self.client.now
        self._watch_to_the_end(plan, waiting, running)
        self.client.start_agent()

    @property
    def seconds_until_room(self) -> float:
        """How long the next plan waits for its first job, because earlier ones may still run."""
        now, ledger = self.client.now, self.client.ledger
        if ledger.room(now) + len(ledger.to_be_cancelled) > 0:
            return 0.0
        room_at = ledger.next_room(now)
        return 0.0 if room_at is None else room_at - now

    def ask_again(self, job_ids: Iterable[int]) -> None:
        """Ask once for the status of jobs of earlier plans."""
        for job_id in job_ids:
            self.client.send([self.client.about("poll", job_id)])

    def _watch_to_the_end(
        self,
        plan: Plan,
        waiting: list[JobPlan],
        running: list[RunningJob],
        *,
        each_round: Callable[[Sequence[RunningJob]], object] | None = None,
    ) -> None:
        """Do to the running jobs what the plan says, create those that wait, and poll them all."""
        while running or waiting:
            self._round(plan, running)
            if each_round is not None:
                each_round(running)
            running = [job for job in running if not job.done]
            first = running[0] if running else None
            on_its_way = first is not None and first.plan is plan.jobs[0] and not first.ended
            reached = first.progress if first is not None and on_its_way else AT_THE_END
            running += self._start(waiting, running, reached=reached)
            if running:
                self._sleep(min(job.due for job in running), running)

    def _sleep(self, until: float, running: Sequence[RunningJob] = ()) -> None:
        """Sleep until it is that late.

        Raises ``LimitReachedError`` where the run is over before that.
        """
        clock = self.target.clock
        pause = max(until - self.client.now, 0.0)
        if clock.waits:
            if self._watch is not None:
                self._watch({job.id: job.progress for job in running})
            if pause > self.client.seconds_left:
                raise LimitReachedError("seconds")
        clock.sleep(pause)

    def _start(
        self, waiting: list[JobPlan], running: list[RunningJob], *, reached: float
    ) -> list[RunningJob]:
        """Create, at the same instant, the waiting jobs whose turn has come, as many as may run.

        ``reached`` is how far the plan's first job is.
        """
        ledger = self.client.ledger
        ready = [job for job in waiting if job.after <= reached]
        if ready and not running:
            self._make_room()
        starting = ready[: max(min(ledger.room(self.client.now), ledger.jobs_left), 0)]
        if not starting:
            if waiting and not running:
                raise LimitReachedError("concurrent_jobs" if ledger.jobs_left > 0 else "jobs")
            return []
        for job in starting:
            waiting.remove(job)
        creations = self.client.send([self.client.creation(job.recipe) for job in starting])
        self._require_creations([job.recipe for job in starting], creations)
        started = []
        for job, creation in zip(starting, creations, strict=True):
            job_id = created_id(creation)
            if job_id is None:
                continue
            started.append(
                RunningJob(
                    plan=job,
                    id=job_id,
                    created=creation.received,
                    due=self.client.now,
                    acts=list(job.acts),
                )
            )
            self._learn(started[-1], [creation])
        if ledger.ids:
            answered = zip(starting, creations, strict=True)
            waiting[:0] = [job for job, creation in answered if creation.refused_as_busy]
            busy = any(creation.refused_as_busy for creation in creations)
            self._run_fewer(busy=busy, ours_run=bool(running or started))
        return started

    def _run_fewer(self, *, busy: bool, ours_run: bool) -> None:
        """Run fewer jobs at once if the server was too ``busy`` for another.

        Where none of ours runs, those of others do: this waits for them a little. Raises
        ``LimitReachedError`` if that does not help.
        """
        if busy:
            self.client.ledger.lower_jobs_at_once(self.client.now)
        self._busy_in_a_row = self._busy_in_a_row + 1 if busy and not ours_run else 0
        if self._busy_in_a_row >= BUSY_TRIES:
            raise LimitReachedError("concurrent_jobs")
        if self._busy_in_a_row:
            self._sleep(self.client.now + self.target.limits.poll_seconds)

    def _require_creations(self, recipes: Sequence[str], creations: Sequence[Exchange]) -> None:
        """Raise ``TargetUnusableError`` if the recipes of the target do not work."""
        url, dialect = self.target.url, self.target.dialect
        refused = [x for x in creations if x.status is not None and 300 <= x.status < 500]
        if not self.client.ledger.ids and len(refused) == len(creations):
            first = refused[0]
            assert first.status is not None
            what = described(first.status, first.body, first.location)
            if first.answered:
                what = f"HTTP {first.status}{_quoted(first)}. {CORRECT_THE_RECIPE}"
            raise TargetUnusableError(
                f"{url} creates no job: {first.method} {first.path} got {what}"
            )
        for recipe, creation in zip(recipes, creations, strict=True):
            if created_id(creation) is not None:
                self._working_recipes.add(recipe)
            elif recipe not in self._working_recipes and creation.refused_as_wrong:
                raise TargetUnusableError(
                    f"the recipe {recipe!r} creates no job, though others do: {creation.method} "
                    f"{creation.path} got HTTP {creation.status}{_quoted(creation)}. "
                    f"{CORRECT_THE_RECIPE}, or remove the recipe"
                )
        for creation in creations:
            spoken = creation.answer.dialect if creation.answer.tells_of_a_job else None
            if spoken not in {None, dialect} and dialect != "auto":
                raise TargetUnusableError(
                    f"{url} does not speak the dialect {dialect}, as the "
                    f"target says: {creation.method} {creation.path} was answered in the dialect "
                    f'{spoken}; say `dialect = "{spoken}"`, or "auto"'
                )

    def _make_room(self) -> None:
        """Make room for a job where jobs of earlier plans may still run.

        They may have ended meanwhile; else they are cancelled, if that is allowed; else their time
        has to pass. Raises ``LimitReachedError`` where that does not help.
        """
        client, ledger = self.client, self.client.ledger
        requests: tuple[RequestKind, ...] = ("poll", "cancel", "poll")
        for request in requests:
            for job_id in ledger.running(client.now):
                allowed = request == "poll" or job_id in ledger.to_be_cancelled
                if allowed and ledger.room(client.now) <= 0:
                    client.send([client.about(request, job_id)])
        while ledger.room(client.now) <= 0:
            room_at = ledger.next_room(client.now)
            if room_at is None:
                raise LimitReachedError("concurrent_jobs")
            counted = ledger.running(client.now)
            self._sleep(room_at)
            self.ask_again(counted)  # one that runs beyond its time keeps its place

    def _round(self, plan: Plan, running: list[RunningJob]) -> None:
        """Send what is due, and learn from the answers."""
        now = self.client.now
        due = [job for job in running if job.due <= now]
        for job in due:
            job.polls_after_the_end += job.ended and not job.acts
        groups = [(job, self._due_calls(job)) for job in due]
        if plan.together:
            self._send_groups(groups, running if plan.framed else [])
        else:
            for group in groups:
                self._send_groups([group], running if plan.framed else [])
        for job, _ in groups:
            job.due = now + self._pause(job)

    def _send_groups(
        self, groups: Sequence[tuple[RunningJob, list[Call]]], watched: Sequence[RunningJob]
    ) -> None:
        """Send the requests of several jobs at the same instant, and learn from the answers.

        Where a cancel is among them, the watched jobs are polled before and after.
        """
        calls = [call for _, group in groups for call in group]
        frame = watched if any(call.kind == "cancel" for call in calls) else []
        for job in frame:
            self._poll(job)
        answers = iter(self.client.send(calls))
        for job, group in groups:
            self._learn(job, [next(answers) for _ in group])
        for job in frame:
            self._poll(job)

    def _poll(self, job: RunningJob) -> None:
        self._learn(job, self.client.send([self.client.about("poll", job.id)]))

    def _due_calls(self, job: RunningJob) -> list[Call]:
        reached = AT_THE_END if job.ended else min(job.progress, 1 - 1e-12)
        if job.acts and job.acts[0].progress <= reached:
            return [self.client.about(request, job.id) for request in job.acts.pop(0).requests]
        return [self.client.about("poll", job.id)]

    def _pause(self, job: RunningJob) -> float:
        usual = self.target.limits.poll_seconds * job.plan.poll_every
        now = self.client.now
        if now - job.cancel_sent < 10 * self.target.limits.poll_seconds:
            return usual
        return max(usual, SLOWER * (now - job.created))

    def _learn(self, job: RunningJob, exchanges: Sequence[Exchange]) -> None:
        """Take from the answers how the job stands."""
        ended_before = job.ended
        for exchange in sorted(exchanges, key=lambda each: each.received):
            if exchange.kind == "cancel":
                job.cancel_sent = exchange.sent
            state = exchange.state
            if state is None:
                job.silent_polls += exchange.kind == "status"
                continue
            job.silent_polls = 0
            if exchange.shows_the_end:
                job.ended = True
            job.progress = max(job.progress, state)
            allowed = self.target.limits.job_seconds
            job.overdue = not job.ended and exchange.sent > job.created + allowed
        if job.ended and not ended_before:
            self.longest_job = max(self.longest_job, self.client.now - job.created)


def _quoted(creation: Exchange) -> str:
    """Quote the message of an answer, if it has one."""
    said = creation.answer.messages[:1]
    return f" (“{said[0][:MESSAGE_SHOWN]}”)" if said else ""
