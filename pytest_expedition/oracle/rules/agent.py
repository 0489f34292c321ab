"""Rules about starting and stopping the agent."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import CANCELLED, FINISHED, agent_command
from pytest_expedition.oracle.rules.base import (
    INCONCLUSIVE,
    KEPT,
    UNSEEN,
    Fault,
    Judgement,
    NotExercised,
    Violation,
    rule,
    unless_others,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.oracle.history import Exchange, History, JobHistory

FIRST_MOVE: Final = 0.5
"""Part of the seconds allowed to a job within which it moves, once its agent runs."""


@rule("agent.idempotent")
def idempotent(history: History) -> Iterator[Judgement]:
    """Starting an agent that runs is a success and changes nothing: all jobs go on."""
    if history.others_may_act:
        if history.commands:
            yield NotExercised(f"others may have stopped or started the agent, {UNSEEN}")
        return
    running: Exchange | None = None
    for command, in_order in _commands(history):
        if agent_command(command) == "start" and running is not None and running.before(command):
            yield from _started_again(history, running, command)
        starts = agent_command(command) != "stop"
        took_effect = in_order and command.answered and command.ok
        running = command if starts and took_effect else None


def _commands(history: History) -> Iterator[tuple[Exchange, bool]]:
    """Yield each command to the agent, and whether all commands before it had been answered.

    If not, it is not known which of them reached the agent last.
    """
    latest = -math.inf
    for command in history.agent:
        yield command, latest < command.sent
        latest = max(latest, command.received if command.answered else math.inf)


STARTED_SET_BACK: Final = Fault(
    "started-set-back",
    "The state of job {job} was {high}; after a start of the running agent it is {low}.",
)


def _started_again(history: History, running: Exchange, start: Exchange) -> Iterator[Judgement]:
    answer = _answer_to_start(running, start)
    if start in history.commands:  # in the history of one job they are those of all
        yield answer
    if answer is not KEPT:
        return
    for job in history.jobs.values():
        known = job.last_before(start)
        after = next((x for x in job.seen if start.before(x)), None)
        if known is None or known.shows_the_end or after is None:
            continue
        assert after.state is not None
        assert known.state is not None
        cancelled = after.state == CANCELLED
        if cancelled and job.may_be_cancelled_by(after):
            continue
        if after.state < known.state:
            high, low = known.answer.state, after.answer.state
            set_back = Violation(
                STARTED_SET_BACK, known, start, after, job=job.id, high=high, low=low
            )
            yield unless_others(set_back, job, "start")
        else:
            yield KEPT


START_REFUSED: Final = Fault(
    "start-refused",
    "The agent was running; the request to start it was answered with HTTP {status}.",
)


def _answer_to_start(running: Exchange, start: Exchange) -> Judgement:
    if not start.answered:
        return INCONCLUSIVE
    if not start.ok or start.answer.success is False:
        return Violation(START_REFUSED, running, start, status=start.status)
    return KEPT


@rule("agent.gates")
def gates(history: History) -> Iterator[Judgement]:
    """A job created while the agent is stopped makes no progress until the agent is started."""
    if history.others_may_act:
        if history.commands:
            yield NotExercised(f"others may have stopped or started the agent, {UNSEEN}")
        return
    for number, (stop, in_order) in enumerate(_commands(history)):
        if agent_command(stop) != "stop" or not (in_order and stop.answered and stop.ok):
            continue
        start, further = [*history.agent[number + 1 :], None, None][:2]
        for job in history.jobs.values():
            created = job.creation
            if created is None or not stop.before(created):
                continue
            if start is None or created.before(start):
                yield from _gated(job, stop, start, further)


MOVED_WHILE_STOPPED: Final = Fault(
    "moved-while-stopped",
    "The agent was stopped, yet the state of job {job} went from {value} to {later}.",
)
STANDS_AFTER_START: Final = Fault(
    "stands-after-start", "The agent runs again, yet the state of job {job} is still {value}."
)


def _gated(
    job: JobHistory, stop: Exchange, start: Exchange | None, further: Exchange | None
) -> Iterator[Judgement]:
    """Judge a job that was created after the agent had stopped and before it was started.

    ``further`` is what the agent was told after its start.
    """
    seen = [x for x in job.seen if x.received < job.first_cancel_sent]
    gated = [x for x in seen if start is None or x.before(start)]
    for first, later in pairwise(gated):
        if later.state != first.state:
            yield Violation(
                MOVED_WHILE_STOPPED,
                stop,
                first,
                later,
                job=job.id,
                value=first.answer.state,
                later=later.answer.state,
            )
            return
    stood_at = gated[0].state if gated else None
    if start is None or stood_at in {None, CANCELLED, FINISHED}:
        return
    if not (start.answered and start.ok) or agent_command(start) == "stop":
        yield INCONCLUSIVE
        return
    after = [x for x in seen if start.before(x) and (further is None or x.before(further))]
    if any(x.state != stood_at or x.shows_the_end for x in after):
        yield KEPT
    elif after and after[-1].sent > start.received + FIRST_MOVE * job.seconds_allowed:
        yield Violation(
            STANDS_AFTER_START, start, after[-1], job=job.id, value=after[-1].answer.state
        )
