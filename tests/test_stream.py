"""A stream is judged as the whole would be, however little of it is held in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from histories import Story, envelope, error, job_fields
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_expedition.oracle.history import Exchange, History, _Asked
from pytest_expedition.oracle.rules import judge
from pytest_expedition.recordings.stream import InMemory, Source, Stream
from pytest_expedition.recordings.trace import Line, Trace, Whose, as_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


JOB_SECONDS = 10.0
HERE = Whose("http://192.0.2.10")
STATES = (0, 0.3, 0.3, 0.6, 1, 1.0, -1, "x")
IMPORT = "/api/v1/project/1/import"
TEXTS = ((), ("No",), ("Cannot be cancelled",), ("Cancelled",))

times = st.tuples(st.integers(0, 30), st.sampled_from((0.5, 0.5, 0.5, 1, 4)))


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """One request at any time, and any answer: what a server of any kind may show."""
    sent, took = draw(times)
    timing: dict[str, Any] = {"at": sent, "until": sent + took}
    job = draw(st.sampled_from((1, 2, 3, 4)))
    state = draw(st.sampled_from(STATES))
    kind = draw(st.sampled_from(("create", "poll", "poll", "poll", "cancel", "odd")))
    if kind == "create":
        may = draw(st.sampled_from((None, True, False)))
        return lambda story: story.create(job, draw_state(state), cancellable=may, **timing)
    if kind == "poll":
        return lambda story: story.poll(state, job=job, **timing)
    if kind == "cancel":
        says = draw(st.sampled_from(TEXTS))
        return lambda story: story.cancel(state, job=job, says=says, **timing)
    odd = draw(st.integers(0, 7))
    content = envelope({"system": {"jobs": job_fields(job, state)}})
    path = f"/api/v1/job/status/{job}"
    return (
        lambda story: story.answer_poll(error(), job=job, status=404, **timing),
        lambda story: story.lose("status", job=job, **timing),
        lambda story: story.lose("cancel", job=job, **timing),
        lambda story: story.answer_cancel(error("Gone"), job=job, status=404, **timing),
        lambda story: story.add(
            "cancel", "DELETE", path, error(), status=401, job=job, probe="no-key", **timing
        ),
        lambda story: story.add("create", "POST", "/api/v1/x", error(), status=500, **timing),
        lambda story: story.add(
            "status", "GET", path, content, job=9, probe="unknown-id", **timing
        ),
        lambda story: story.add("create", "POST", IMPORT, in_data(job), **timing),
    )[odd]


def in_data(job: int) -> dict[str, Any]:
    pages = {"total": 1, "current_page": 1, "per_page": 25, "total_pages": 1}
    return {"data": {"job_id": job}, "metadata": {}, "pagination": pages, "success": True}


def draw_state(state: Any) -> Any:
    return state if state in {0, 0.3, 1} else 0


@st.composite
def lives(draw: st.DrawFn) -> Any:
    """What an honest server shows of a job: created, watched, perhaps cancelled, asked later."""
    job = draw(st.integers(1, 4))
    begun = draw(st.integers(0, 10))
    may = draw(st.sampled_from((None, True, False)))
    looks = sorted(draw(st.lists(st.integers(1, 20), max_size=5)))
    cancelled = draw(st.one_of(st.none(), st.integers(1, 8)))

    def tell(story: Story) -> None:
        story.create(job, 0, cancellable=may, at=begun, until=begun + 0.2)
        granted = cancelled is not None and may is not False
        if cancelled is not None:
            says = ("Cancelled",) if granted else ("Cannot be cancelled",)
            state = -1 if granted else min(cancelled / 8, 1)
            at = begun + cancelled + 0.5
            story.cancel(state, job=job, says=says, at=at, until=at + 0.1)
        for look in looks:
            state = min(look / 8, 1)
            if granted and cancelled is not None and look > cancelled:
                state = -1
            story.poll(state, job=job, at=begun + look, until=begun + look + 0.2)

    return tell


@st.composite
def traffic(draw: st.DrawFn) -> list[Exchange]:
    """Some requests, in about the order in which their answers arrived."""
    story = Story()
    for tell in draw(st.lists(st.one_of(requests(), lives()), max_size=12)):
        tell(story)
    for command in draw(st.lists(st.sampled_from(("start", "stop", "restart")), max_size=3)):
        sent = draw(st.integers(0, 30))
        story.tell_agent(command, at=sent, until=sent + 0.2)
    late = draw(st.lists(st.integers(0, 40), min_size=1, max_size=4))
    return [
        exchange
        for _, _, exchange in sorted(
            (exchange.received + late[number % len(late)] % 3, number, exchange)
            for number, exchange in enumerate(story.exchanges)
        )
    ]


def outcomes(findings: Any) -> dict[str, tuple[bool, bool, bool]]:
    return {
        name: (bool(found.held), bool(found.violations), bool(found.unseen))
        for name, found in findings.items()
    }


def streamed(
    exchanges: Sequence[Exchange], *, held: int, shared: bool = False, path: Path | None = None
) -> Any:
    source: Source = InMemory(Line(HERE, exchange) for exchange in exchanges)
    if path is not None:
        path.write_bytes(b"".join(as_line(exchange, HERE) for exchange in exchanges))
        source = Trace(path)
    return Stream(source, job_seconds=JOB_SECONDS, shared=shared, held_in_memory=held).judge()


def one_by_one(exchanges: Sequence[Exchange], *, shared: bool = False) -> Any:
    """What the rules find if no poll is passed over."""
    with mock.patch.object(_Asked, "says_the_same", return_value=False):
        return judge(History(exchanges, job_seconds=JOB_SECONDS, shared=shared))


def require_the_same(whole: Any, judged: Any) -> None:
    """The same outcomes, and proofs that stand by themselves."""
    assert not any(found.crash for found in judged.findings.values())
    assert outcomes(judged.findings) == outcomes(whole)
    for name, found in judged.findings.items():
        for violation in found.violations:
            again = judge(violation.history, [name])[name].violations
            stands = violation.fault in {each.fault for each in again}
            assert stands or name == "refuse.message", "the proof stands by itself"


@settings(max_examples=1000, deadline=None)
@given(traffic(), st.integers(0, 12), st.booleans())
def test_a_stream_is_judged_as_the_whole(
    exchanges: list[Exchange],
    held: int,
    shared: bool,  # noqa: FBT001
) -> None:
    whole = one_by_one(exchanges, shared=shared)
    require_the_same(whole, streamed(exchanges, held=held, shared=shared))


@st.composite
def many_polls(draw: st.DrawFn) -> list[Exchange]:
    """Jobs that are polled often, and seldom anything else: most polls tell nothing new."""
    story = Story()
    for job in range(1, draw(st.integers(2, 4))):
        begun = draw(st.integers(0, 3))
        if draw(st.integers(0, 5)):
            story.create(job, 0, at=begun, until=begun + 0.1)
        states = draw(st.lists(st.sampled_from((0.1, 0.2, 0.4, 0.4, 0.7, 1)), max_size=12))
        if draw(st.integers(0, 2)):
            states.sort()
        for number, state in enumerate(states):
            took = draw(st.sampled_from((0.3, 0.3, 0.3, 0.3, 1.0, 2.5)))
            at = begun + 1 + number
            story.poll(state, job=job, at=at, until=at + took)
    for tell in draw(st.lists(st.one_of(requests(), lives()), max_size=4)):
        tell(story)
    for command in draw(st.lists(st.sampled_from(("start", "stop")), max_size=1)):
        sent = draw(st.integers(0, 12)) + 0.5
        story.tell_agent(command, at=sent, until=sent + 0.2)
    late = draw(st.lists(st.sampled_from((0, 0, 0, 0, 2, 6)), min_size=1, max_size=7))
    ordered = sorted(
        (exchange.received + late[number % len(late)], number, exchange)
        for number, exchange in enumerate(story.exchanges)
    )
    return [exchange for _, _, exchange in ordered]


@settings(max_examples=1500, deadline=None)
@given(many_polls(), st.sampled_from((4, 10, 100, 100, 100)), st.booleans())
def test_polls_that_tell_nothing_new_make_no_difference(
    tmp_path_factory: pytest.TempPathFactory,
    exchanges: list[Exchange],
    held: int,
    shared: bool,  # noqa: FBT001
) -> None:
    path = tmp_path_factory.getbasetemp() / "stream.jsonl"
    whole = one_by_one(exchanges, shared=shared)
    found = judge(History(exchanges, job_seconds=JOB_SECONDS, shared=shared))
    assert outcomes(found) == outcomes(whole)
    for name, each in whole.items():
        assert each.violations or each.held == found[name].held
    require_the_same(whole, streamed(exchanges, held=held, shared=shared, path=path))


def polls(*states: float, begun: float = 1, job: int = 1) -> Story:
    """Polls, one a second from `begun` on, each of which takes three tenths of it."""
    story = Story()
    for number, state in enumerate(states):
        story.poll(state, job=job, at=begun + number, until=begun + number + 0.3)
    return story


def overlapping() -> Story:
    """A poll that overlaps the first of three, and shows more than the second."""
    story = Story().poll(0.3, job=1, at=0.5, until=1.2)
    story.exchanges += polls(0.1, 0.2, 0.4).exchanges
    return story


def overlapped() -> Story:
    """A poll that overlaps the last of three, and shows less than the second."""
    return polls(0.1, 0.4).poll(0.4, job=1, at=3, until=3.5).poll(0.3, job=1, at=3.2, until=3.6)


def told_late(story: Story) -> Story:
    """What the story tells last was sent between the second and the third poll."""
    return story.poll(0.15, job=1, at=2.6, until=20)


def overdue() -> Story:
    """Of polls after the time of the job was over, the second was sent before the agent stopped."""
    story = Story().create(1, at=0, until=0.1)
    story.exchanges += polls(0.1, 0.2, 0.4, begun=9.5).exchanges
    return story.tell_agent("stop", at=11, until=11.1)


def cancelled_elsewhere(*, late: bool) -> Story:
    """The cancel of another job overlaps the second of three polls, and no other."""
    story = Story().create(1, at=0, until=0.1)
    cancel = Story().cancel(-1, job=2, at=1.9, until=2.5).exchanges
    three = polls(0.1, 0.2, 0.4).exchanges
    story.exchanges += [*three, *cancel] if late else [*three[:2], *cancel, *three[2:]]
    return story


@pytest.mark.parametrize(
    ("story", "requirement", "outcome"),
    [
        (overlapping(), "status.monotonic", (True, True, False)),
        (overlapped(), "status.monotonic", (True, True, False)),
        (told_late(polls(0.1, 0.2, 0.4, 0.5)), "status.monotonic", (True, True, False)),
        (overdue(), "status.completes", (False, True, False)),
        (cancelled_elsewhere(late=False), "cancel.isolation", (False, False, False)),
        (cancelled_elsewhere(late=True), "cancel.isolation", (False, False, False)),
    ],
)
def test_what_makes_a_difference_is_not_passed_over(
    tmp_path: Path, story: Story, requirement: str, outcome: tuple[bool, bool, bool]
) -> None:
    whole = one_by_one(story.exchanges)
    assert outcomes(whole)[requirement] == outcome
    assert outcomes(judge(History(story.exchanges, job_seconds=JOB_SECONDS))) == outcomes(whole)
    judged = streamed(story.exchanges, held=100, path=tmp_path / "stream.jsonl")
    require_the_same(whole, judged)


@pytest.mark.parametrize("state", [0.5, 1, -1])
@pytest.mark.parametrize("held", [1, 100])
def test_polls_that_tell_nothing_new_are_counted_but_not_read(
    tmp_path: Path, state: float, held: int
) -> None:
    states = [state if state != 0.5 else 0.001 * (number + 1) for number in range(500)]
    exchanges = polls(*states).exchanges
    whole = one_by_one(exchanges)
    with mock.patch.object(Trace, "_read", autospec=True, side_effect=Trace._read) as read:
        judged = streamed(exchanges, held=held, path=tmp_path / "stream.jsonl")
    assert read.call_count < 5
    assert {name: found.held for name, found in judged.findings.items()} == {
        name: found.held for name, found in whole.items()
    }
