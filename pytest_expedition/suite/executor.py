"""Carries plans out: creates their jobs, polls them to their end, and does what the plan says."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import created_id
from pytest_expedition.oracle.situations import LATE
from pytest_expedition.protocol.origin import described, is_page
from pytest_expedition.protocol.recipe import DOCUMENTED_IMPORT
from pytest_expedition.suite.errors import LimitReachedError, TargetUnusableError, what_to_do
from pytest_expedition.suite.pace import Pace
from pytest_expedition.suite.plan import AT_ONCE, AT_THE_END

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.suite.calls import Call
    from pytest_expedition.suite.client import Client
    from pytest_expedition.suite.plan import Act, JobPlan, Plan, RequestKind

POLLS_AFTER_THE_END: Final = 2
POLLS_WITHOUT_ANSWER: Final = 5
SECONDS_WITHOUT_ANSWER: Final = 5.0
"""After so many polls in a row that show no state, and so many seconds, a job is given up."""

BUSY_TRIES: Final = 5
"""How often in a row the server may refuse a job as too many though no job of the run runs."""

SLOWER: Final = 0.02
"""The pause between two polls, as a part of the job's age: long jobs are polled less often."""

MESSAGE_SHOWN: Final = 100
"""Characters of a server's message that a reason quotes."""

CORRECT_THE_RECIPE: Final = (
    "Correct the [[job]] of the target file: its method, path and body must be those of a request "
    "that works, with ids that exist"
)

WITHOUT_A_RECIPE: Final = (
    "Is the URL right? Without a target file the suite sends this request of the documentation; if "
    "it cannot work here, write a target file with a [[job]] that can, and pass it with "
    "--expedition-config"
)

TOO_LATE: Final = 0.1
"""An act is late if the job is beyond its progress by more than this part of the rest to 1."""

FIRST_PAUSE: Final = 1 / 16
"""The pause between the first polls, while the pace is unknown, as a part of the usual pause."""

POLLS_OF_A_JOB: Final = 10
"""A quick job is polled so often, though not more than eight times as often as usual."""

SHORTEST_PAUSE: Final = 1 / 8
"""The pause between the polls of a quick job, as a part of the usual pause."""

PART_OF_A_JOB_STOPPED: Final = 0.25
"""For how long the agent is stopped, as a part of the longest job's time."""

PAUSES_STOPPED: Final = 4
"""For how many pauses between polls the agent is stopped at the least."""

FAR: Final = 0.08
"""If a request takes longer than this part of the usual pause, jobs are polled at the same instant:
one after the other, the polls would keep cancels from being sent in time."""

LINGERS: Final = 0.1
"""The pause between the polls of an ended job, as a part of its age: changes may come late."""

MOST_SECONDS_LINGERING: Final = 2.0

SURE: Final = 0.1
"""For which part of the usual pause a job's pace is trusted without another poll."""


@dataclass(kw_only=True)
class RunningJob:
    """A job of the plan that is being carried out."""

    plan: JobPlan
    id: int
    requested: float
    """When its creation was sent: a server may answer it only once the job has ended."""
    created: float
    last_shown: float
    """When an answer last showed its state, or gave its id."""
    due: float
    acts: list[Act]
    pace: Pace
    progress: float = 0.0
    act_at: float | None = None
    """When the next act is to be sent by the clock, if it is not to wait for a poll."""
    asked: bool = False
    """Whether anything was asked about it since its creation."""
    ended: bool = False
    polls_after_the_end: int = 0
    silent_polls: int = 0
    given_up: bool = False
    cancel_sent: float = float("-inf")
    overdue: bool = False

    @property
    def next_act(self) -> Act | None:
        """The act that comes next, if it is one before the end."""
        return self.acts[0] if self.acts and self.acts[0].progress < AT_THE_END else None

    @property
    def is_asked_first(self) -> bool:
        """Whether the first request about it is still to come, and is one of an act."""
        # By the plan: its act may be among the requests of this round that are still to be sent.
        acts = self.plan.acts
        return not self.asked and bool(acts) and acts[0].progress == AT_ONCE

    @property
    def wakes(self) -> float:
        """When the next request about the job is due."""
        return self.due if self.act_at is None else min(self.due, self.act_at)

    @property
    def done(self) -> bool:
        """Whether nothing more is to be done with the job."""
        if self.given_up or self.overdue:
            return True
        return self.ended and not self.acts and self.polls_after_the_end >= POLLS_AFTER_THE_END


class Executor:
    """Turns plans into requests of a client.

    ``longest_job`` is how many seconds the slowest job took, from the request that created it until
    its end was seen, ``any_overdue`` whether a job was seen to run for longer than the target
    allows. ``asked_for`` are the jobs whose creation was requested, ``begun`` those that were
    created, by their ids. Once a plan has begun, ``may_begin`` returns how many more of its jobs
    may be created; at 0 the plan ends with those that run. ``may_wait`` returns whether a job may
    wait so many seconds for the end of jobs of earlier plans. Before each pause, ``watch`` gets the
    state of each running job, by its id.
    """

    def __init__(
        self, client: Client, *, watch: Callable[[Mapping[int, float]], None] | None = None
    ) -> None:
        self.client = client
        self.target = client.target
        self.longest_job = 0.0
        self.any_overdue = False
        self.asked_for: list[JobPlan] = []
        self.begun: dict[int, JobPlan] = {}
        self.may_begin: Callable[[], float] = lambda: math.inf
        self.may_wait: Callable[[float], bool] = lambda _: True
        self._watch = watch
        self._before_cancel: Callable[[RunningJob], object] | None = None
        self._paces: dict[str, float] = {}
        """How much the state of a recipe's jobs grows in a second."""
        self._latency = 0.0
        """How many seconds the latest request about one job took."""
        self._busy_in_a_row = 0
        self._working_recipes: set[str] = set()

    def run(
        self,
        plan: Plan,
        *,
        once_started: Callable[[Sequence[RunningJob]], object] | None = None,
        before_cancel: Callable[[RunningJob], object] | None = None,
        each_round: Callable[[Sequence[RunningJob]], object] | None = None,
    ) -> None:
        """Carry out a plan without its probes.

        ``once_started`` is called with the first jobs that run, ``before_cancel`` with a job of
        which something was asked before a cancel of it is sent, ``each_round`` with the running
        jobs whenever what was due has been sent. Raises what ``Client.send`` does.
        """
        self._before_cancel = before_cancel
        self.client.log_in()
        if self.target.start_agent:
            self.client.agent.start_once()
        waiting = list(plan.jobs)
        agent_stopped = plan.agent_stopped and self._stop_agent()
        if agent_stopped:
            running = self._start_while_agent_is_stopped(plan, waiting)
        else:
            running = self._start(waiting, [], reached=plan.jobs[0].after, at_once=plan.at_once)
        if once_started is not None and running:
            once_started(running)
        self._watch_to_the_end(plan, waiting, running, each_round=each_round)
        if agent_stopped:
            self.client.agent.start()

    def _stop_agent(self) -> bool:
        """Stop the agent, if a job may be created then; return whether that may have been done."""
        if self.client.ledger.jobs_left < 1:
            raise LimitReachedError("jobs")
        self._make_room()
        return self.client.agent.stop()

    def _start_while_agent_is_stopped(self, plan: Plan, waiting: list[JobPlan]) -> list[RunningJob]:
        """Create the first job of a plan, watch it stand still, and restart the agent."""
        first = [waiting.pop(0)]
        running = self._start(first, [], reached=AT_THE_END)
        waiting[:0] = first  # it was not created
        pauses = PAUSES_STOPPED * self.target.limits.poll_seconds
        restart = self.client.now + max(self.longest_job * PART_OF_A_JOB_STOPPED, pauses)
        while not all(job.ended for job in running) and self.client.now < restart:
            self._round(plan, running)
            self._sleep(min(job.wakes for job in running), running)
        self.client.agent.restart(self.client.until)
        for job in running:
            job.requested = job.created = job.due = self.client.now
        return running

    @property
    def job_seconds(self) -> float:
        """How many seconds a job takes, as far as is known; 0 if that is not known."""
        expected = (1 / pace for pace in self._paces.values() if pace > 0)
        allowed = self.target.limits.job_seconds
        return max((self.longest_job, *(min(each, allowed) for each in expected)))

    @property
    def seconds_until_room(self) -> float:
        """How long the next plan waits for its first job, because earlier ones may still run."""
        now, ledger = self.client.now, self.client.ledger
        if ledger.room(now) + len(ledger.to_be_cancelled) > 0:
            return 0.0
        room_at = ledger.next_room(now)
        return 0.0 if room_at is None else room_at - now

    def wait(self, seconds: float) -> None:
        """Wait so long, if the limits of the target allow that."""
        if 0 < seconds < self.client.seconds_left:
            self._sleep(self.client.now + seconds)

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
            allowed = self.may_begin() if waiting else math.inf
            if allowed < len(waiting):
                del waiting[max(int(allowed), 0) :]
            running += self._start(waiting, running, reached=reached, at_once=plan.at_once)
            if running:
                self._sleep(min(job.wakes for job in running), running)

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
        self,
        waiting: list[JobPlan],
        running: list[RunningJob],
        *,
        reached: float,
        at_once: int = 0,
    ) -> list[RunningJob]:
        """Create, at the same instant, the waiting jobs whose turn has come, as many as may run.

        ``reached`` is how far the plan's first job is, ``at_once`` how many of the plan's jobs may
        be alive; 0 for as many as the target allows.
        """
        ledger = self.client.ledger
        ready = [job for job in waiting if job.after <= reached]
        if ready and not running:
            self._make_room()
        room = min(ledger.room(self.client.now), ledger.jobs_left)
        if at_once:
            room = min(room, at_once - sum(not job.ended for job in running))
        starting = ready[: max(room, 0)]
        if not starting:
            if waiting and not running:
                raise LimitReachedError("concurrent_jobs" if ledger.jobs_left > 0 else "jobs")
            return []
        for job in starting:
            waiting.remove(job)
        self.asked_for += starting
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
                    requested=creation.sent,
                    created=creation.received,
                    last_shown=creation.received,
                    due=self.client.now,
                    acts=list(job.acts),
                    pace=Pace(
                        created=creation.received,
                        usual=functools.partial(self._paces.get, job.recipe),
                    ),
                )
            )
            self._learn(started[-1], [creation])
        self.begun.update((job.id, job.plan) for job in started)
        if ledger.ids:
            answered = zip(starting, creations, strict=True)
            waiting[:0] = [job for job, creation in answered if creation.refused_as_busy]
            busy = any(creation.refused_as_busy for creation in creations)
            self._run_fewer(busy=busy, ours_run=bool(running or started))
        return started

    def _run_fewer(self, *, busy: bool, ours_run: bool) -> None:
        """Run fewer jobs at once if the server was too ``busy`` for another.

        If none of ours runs, jobs of others keep the server busy: this waits for them a little.
        Raises ``LimitReachedError`` if that does not help.
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
        pages = [x for x in creations if x.ok and is_page(x.body)]
        refused = [x for x in creations if x.status is not None and 300 <= x.status < 500] + pages
        if not self.client.ledger.ids and len(refused) == len(creations):
            first = refused[0]
            assert first.status is not None
            what = described(first.status, first.body, first.location)
            what += what_to_do(first.status, first.location)
            if first.answered and first not in pages:
                own = tuple(self.target.jobs) != (DOCUMENTED_IMPORT,)
                advice = CORRECT_THE_RECIPE if own else WITHOUT_A_RECIPE
                what = f"HTTP {first.status}{_quoted(first)}. {advice}"
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
                    f"{url} does not speak the dialect {dialect} that the "
                    f"target names: {creation.method} {creation.path} was answered in the dialect "
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
            # Where creations succeed but give no id, the next would give none either.
            gives_ids = ledger.ids or not any(x.kind == "create" and x.ok for x in client.exchanges)
            if room_at is None or not gives_ids or not self.may_wait(room_at - client.now):
                raise LimitReachedError("concurrent_jobs")
            counted = ledger.running(client.now)
            self._sleep(room_at)
            self.ask_again(counted)  # one that runs beyond its time keeps its place

    def _round(self, plan: Plan, running: list[RunningJob]) -> None:
        """Send what is due, and learn from the answers."""
        now = self.client.now
        due = sorted((job for job in running if job.wakes <= now), key=_is_polled_only)
        for job in due:
            job.polls_after_the_end += job.ended and not job.acts
        watched = running if plan.framed else []
        groups = [(job, self._due_calls(job)) for job in due]
        if plan.together:
            batches = [groups]
        elif self._is_far:
            cancels = [[each] for each in groups if _cancels(each[1])]
            batches = [*cancels, [each for each in groups if not _cancels(each[1])]]
        else:
            batches = [[each] for each in groups]
        for batch in batches:
            self._send_groups(batch, watched)
        for job, _ in groups:
            job.due = now + self._pause(job)
        for job in running:
            self._time_next_act(job, polls_before=bool(watched))

    def _send_groups(
        self,
        groups: Sequence[tuple[RunningJob, list[list[Call]]]],
        watched: Sequence[RunningJob],
    ) -> None:
        """Send requests about several jobs, and learn from the answers.

        Of each job the first calls are sent at the same instant, then the second, and so on. Where
        a cancel is among them, the watched jobs are polled before, all at the same instant, and
        after, one after the other unless that takes too long; but not those about which something
        else is to be asked first.
        """
        cancelled = [job for job, group in groups if _cancels(group)]
        if self._before_cancel is not None:
            for job in cancelled:
                if job.asked:
                    self._before_cancel(job)
        frame = watched if cancelled else []
        cancelled_at_once = {job.id for job, _ in groups if not job.asked}
        self._poll_at_once(
            [job for job in frame if not (job.is_asked_first or job.id in cancelled_at_once)]
        )
        for calls_of_jobs in itertools.zip_longest(*(group for _, group in groups), fillvalue=[]):
            sent = [call for calls in calls_of_jobs for call in calls]
            answers = iter(self.client.send(sent))
            for (job, _), calls in zip(groups, calls_of_jobs, strict=True):
                self._learn(job, [next(answers) for _ in calls])
        after = [job for job in frame if not job.is_asked_first]
        for jobs in [after] if self._is_far else [[job] for job in after]:
            self._poll_at_once(jobs)

    @property
    def _is_far(self) -> bool:
        """Whether requests take so long that jobs are polled at the same instant."""
        return self._latency > FAR * self.target.limits.poll_seconds

    def _poll_at_once(self, jobs: Sequence[RunningJob]) -> None:
        answers = self.client.send([self.client.about("poll", job.id) for job in jobs])
        for job, answer in zip(jobs, answers, strict=True):
            self._learn(job, [answer])

    def _due_calls(self, job: RunningJob) -> list[list[Call]]:
        """Return what is to be sent about a job: one list after the other."""
        reached = AT_THE_END if job.ended else min(job.progress, 1 - 1e-12)
        if job.act_at is not None and job.act_at <= self.client.now and job.next_act is not None:
            reached = max(reached, job.next_act.progress)
        job.act_at = None
        if not job.acts or job.acts[0].progress > reached:
            return [[self.client.about("poll", job.id)]]
        acts = [job.acts.pop(0)]
        while not job.ended and job.acts and job.acts[0].progress == acts[0].progress:
            acts.append(job.acts.pop(0))
        return [[self.client.about(request, job.id) for request in act.requests] for act in acts]

    def _pause(self, job: RunningJob) -> float:
        usual = self.target.limits.poll_seconds * job.plan.poll_every
        pace = job.pace.per_second
        if pace:
            usual = min(usual, max(1 / pace / POLLS_OF_A_JOB, SHORTEST_PAUSE * usual))
        now = self.client.now
        if job.ended and not job.acts:
            return max(usual, min(LINGERS * (now - job.created), MOST_SECONDS_LINGERING))
        if now - job.cancel_sent < 10 * self.target.limits.poll_seconds:
            return usual
        pause = max(usual, SLOWER * (now - job.created))
        comes_late = any(LATE <= act.progress < AT_THE_END for act in job.acts)
        if comes_late and not job.ended and pace is None:
            # Many jobs are short: how fast this one is has to be known soon.
            pause = min(pause, max(FIRST_PAUSE * usual, now - job.created))
        return pause

    def _time_next_act(self, job: RunningJob, *, polls_before: bool) -> None:
        """Let the next act of a job go by the clock if the next poll would come too late for it.

        ``polls_before`` says whether polls are sent right before a cancel.
        """
        job.act_at = None
        act = job.next_act
        if act is None or job.ended or act.progress == AT_ONCE:
            return
        at_next_poll = job.pace.state_at(job.due)
        moment = job.pace.time_of(act.progress)
        slack = TOO_LATE * (AT_THE_END - act.progress)
        if moment is None or at_next_poll is None or at_next_poll <= act.progress + slack:
            return
        moment -= (polls_before + 0.5) * self._latency
        left = moment - self.client.now
        if not job.pace.moved and left / 2 < SLOWER * (self.client.now - job.created):
            return  # it waits for its turn: once it has begun, its pace will be known soon
        job.act_at = moment
        if left > SURE * self.target.limits.poll_seconds:
            job.due = min(job.due, self.client.now + left / 2)

    def _learn(self, job: RunningJob, exchanges: Sequence[Exchange]) -> None:
        """Take from the answers how the job stands."""
        ended_before = job.ended
        for exchange in sorted(exchanges, key=lambda each: each.received):
            if exchange.kind != "create":
                job.asked = True
                self._latency = exchange.received - exchange.sent
            if exchange.kind == "cancel":
                job.cancel_sent = exchange.sent
            state = exchange.state
            if state is None:
                job.silent_polls += exchange.kind == "status"
                silent = exchange.sent - job.last_shown >= SECONDS_WITHOUT_ANSWER
                job.given_up = job.silent_polls >= POLLS_WITHOUT_ANSWER and (
                    silent or not self.target.clock.waits
                )
                continue
            job.silent_polls, job.last_shown = 0, exchange.received
            if exchange.shows_the_end:
                job.ended = True
            job.progress = max(job.progress, state)
            if not job.ended:
                job.pace.learn((exchange.sent + exchange.received) / 2, state)
            allowed = self.target.limits.job_seconds
            job.overdue = not job.ended and exchange.sent > job.created + allowed
        self.any_overdue = self.any_overdue or job.overdue
        if job.ended and not ended_before:
            self.longest_job = max(self.longest_job, self.client.now - job.requested)
        if job.pace.moved and job.pace.per_second is not None:
            self._paces[job.plan.recipe] = job.pace.per_second


def _is_polled_only(job: RunningJob) -> bool:
    """Whether a job has no act that is to be sent at a certain moment: such jobs come last."""
    return job.act_at is None and not job.is_asked_first


def _cancels(group: Iterable[Iterable[Call]]) -> bool:
    """Whether a cancel is among the requests about a job."""
    return any(call.kind == "cancel" for calls in group for call in calls)


def _quoted(creation: Exchange) -> str:
    """Quote the message of an answer, if it has one."""
    said = creation.answer.messages[:1]
    return f" (“{said[0][:MESSAGE_SHOWN]}”)" if said else ""
