"""The race checker against brute force: does any single order of events explain every answer?

The reference tries every order of the requests that their times allow, and walks each as one job's
life. It shares no code and no idea with the checker, and is far too slow for use.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histories import JOB, Story
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_expedition.oracle.rules import RULES, Violation
from pytest_expedition.oracle.rules.cancel import find_contradiction

if TYPE_CHECKING:
    from pytest_expedition.oracle.history import Exchange

STATES = (0, 0.3, 0.6, 1, -1)


@dataclass(frozen=True)
class Seen:
    """One answer: asked for and there at these times, showing this state."""

    sent: int
    received: int
    state: float


def explained(answers: list[Seen]) -> bool:
    """Whether some order that the times allow is a life that a job can have."""
    for order in itertools.permutations(answers):
        timely = all(
            not later.received < earlier.sent for earlier, later in itertools.combinations(order, 2)
        )
        if timely and is_a_life([answer.state for answer in order]):
            return True
    return not answers


def is_a_life(states: list[float]) -> bool:
    """Walk through a job's life as an automaton: running at some progress, finished, cancelled."""
    running, progress = True, 0.0
    end: float | None = None
    for state in states:
        if not running:
            if state != end:
                return False
        elif state == -1:
            running, end = False, -1
        elif state == 1:
            running, end = False, 1
        elif state < progress:
            return False
        else:
            progress = state
    return True


def exchanges(answers: list[Seen]) -> list[Exchange]:
    story = Story()
    for answer in sorted(answers, key=lambda each: each.sent):
        story.poll(answer.state, at=answer.sent, until=answer.received)
    return story.exchanges


@st.composite
def histories(draw: st.DrawFn) -> list[Seen]:
    """Any answers at any times: most of them no order explains."""
    answers = []
    for _ in range(draw(st.integers(0, 6))):
        sent = draw(st.integers(0, 8))
        received = sent + draw(st.integers(0, 5))
        answers.append(Seen(sent, received, draw(st.sampled_from(STATES))))
    return answers


@st.composite
def lives(draw: st.DrawFn) -> list[Seen]:
    """Answers that a real job gave: each shows what the job was at some instant of its time."""
    end = draw(st.integers(1, 8))
    final = draw(st.sampled_from((1.0, -1.0)))
    steps = sorted(draw(st.lists(st.sampled_from((0.0, 0.3, 0.6)), min_size=end, max_size=end)))
    answers = []
    for _ in range(draw(st.integers(1, 6))):
        looked = draw(st.integers(0, 9))
        sent = looked - draw(st.integers(0, 3))
        received = looked + draw(st.integers(0, 3))
        answers.append(Seen(sent, received, steps[looked] if looked < end else final))
    return answers


@settings(max_examples=400, deadline=None)
@given(histories())
def test_the_checker_agrees_with_brute_force(answers: list[Seen]) -> None:
    contradiction = find_contradiction(exchanges(answers))
    assert (contradiction is None) == explained(answers)
    if contradiction is not None:
        pair = [Seen(int(x.sent), int(x.received), x.state or 0.0) for x in contradiction]
        assert not explained(pair), "the proof stands by itself"


@settings(max_examples=200, deadline=None)
@given(lives())
def test_what_a_real_job_shows_is_always_explained(answers: list[Seen]) -> None:
    assert explained(answers)
    assert find_contradiction(exchanges(answers)) is None


@settings(max_examples=200, deadline=None)
@given(lives())
def test_no_rule_accuses_a_real_job(answers: list[Seen]) -> None:
    """A whole history around the answers: created before, a cancel sent before any -1."""
    story = Story().create(at=-20, until=-19)
    if any(answer.state == -1 for answer in answers):
        story.lose("cancel", at=-18, until=-17)
    story.exchanges += exchanges(answers)
    for name in (
        "status.monotonic",
        "status.terminal",
        "status.no-spontaneous-cancel",
        "cancel.persists",
        "cancel.race",
    ):
        broken = [x for x in RULES[name](story.history()) if isinstance(x, Violation)]
        assert broken == [], name
    assert JOB in story.history().jobs
