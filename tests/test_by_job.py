"""A trace is judged job by job as the whole would be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from histories import Story, envelope, error, job_fields
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_expedition.oracle.history import Exchange, History
from pytest_expedition.oracle.rules import ACROSS_JOBS, judge
from pytest_expedition.oracle.rules.base import AcrossJobs
from pytest_expedition.recordings import by_job
from pytest_expedition.recordings.by_job import judge_trace
from pytest_expedition.recordings.files import open_recordings
from pytest_expedition.recordings.judged import Judged, judge_history
from pytest_expedition.recordings.trace import Trace, Whose, as_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_expedition.oracle.rules import Finding

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


def recorded(
    path: Path,
    exchanges: Sequence[Exchange],
) -> Judged:
    """What judging job by job finds in a trace of these exchanges."""
    path.write_bytes(b"".join(as_line(exchange, HERE) for exchange in exchanges))
    return judged(path)


def judged(path: Path) -> Judged:
    for recording in open_recordings(path):
        return judge_trace(Trace(recording), job_seconds=JOB_SECONDS)
    raise AssertionError


def require_the_same(whole: dict[str, Finding], judged: Judged) -> None:
    """The same outcomes, the same number of chances, and proofs that stand by themselves."""
    for name, found in judged.findings.items():
        assert not found.crash
        assert bool(found.violations) == bool(whole[name].violations), name
        assert (found.kept, found.inconclusive) == (whole[name].kept, whole[name].inconclusive), (
            name
        )
        for violation in found.violations:
            again = judge(violation.history, [name])[name].violations
            stands = violation.fault in {each.fault for each in again}
            assert stands or name == "refuse.message", "the proof stands by itself"
            in_its_history = set(violation.proof) <= set(violation.history.exchanges)
            assert in_its_history or name == "cancel.isolation"


@settings(max_examples=100, deadline=None)
@given(traffic().filter(bool))
def test_a_trace_is_judged_job_by_job_as_the_whole_would_be(
    tmp_path_factory: pytest.TempPathFactory, exchanges: list[Exchange]
) -> None:
    exchanges = list({as_line(exchange, HERE): exchange for exchange in exchanges}.values())
    history = History(exchanges, job_seconds=JOB_SECONDS)
    told = recorded(tmp_path_factory.getbasetemp() / "by_job.jsonl", exchanges)
    require_the_same(judge(history), told)
    assert (told.requests, told.jobs) == (len(exchanges), history.count_jobs())
    assert told.dialects - {None} == history.dialects - {None}
    in_memory = judge_history(history, server=HERE.server)
    assert told.seconds == in_memory.seconds
    assert told.unanswered == in_memory.unanswered
    assert told.cancellable == in_memory.cancellable


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


def told_late(story: Story) -> Story:
    """What the story tells last was sent between the second and the third poll."""
    return story.poll(0.15, job=1, at=2.6, until=20)


def overdue() -> Story:
    """Of polls after the time of the job was over, the second was sent before the agent stopped."""
    story = Story().create(1, at=0, until=0.1)
    story.exchanges += polls(0.1, 0.2, 0.4, begun=9.5).exchanges
    return story.tell_agent("stop", at=11, until=11.1)


def cancelled_elsewhere(*, late: bool) -> Story:
    """The cancel of another job comes between two polls, and is recorded there or at the end."""
    story = Story().create(1, at=0, until=0.1)
    cancel = Story().create(2, at=0.1, until=0.2).cancel(-1, job=2, at=1.5, until=1.6).exchanges
    three = polls(0.4, 0.1, 0.4).exchanges
    story.exchanges += [*three, *cancel] if late else [*three[:1], *cancel, *three[1:]]
    return story


def stopped_by_another() -> Story:
    """A job that stands still after the cancel of another one, which is recorded at the end."""
    story = Story().create(1, at=0, until=0.1).create(2, at=0.1, until=0.2)
    story.exchanges += polls(0.1, 0.4, 0.4, *[0.4] * 9).exchanges
    return story.cancel(-1, job=2, at=2.5, until=2.6)


@pytest.mark.parametrize(
    ("story", "requirement"),
    [
        (stopped_by_another(), "status.completes"),
        (overlapping(), "status.monotonic"),
        (told_late(polls(0.1, 0.2, 0.4, 0.5)), "status.monotonic"),
        (overdue(), "status.completes"),
        (cancelled_elsewhere(late=False), "cancel.isolation"),
        (cancelled_elsewhere(late=True), "cancel.isolation"),
    ],
)
def test_what_lies_between_exchanges_of_a_job_is_seen(
    tmp_path: Path, story: Story, requirement: str
) -> None:
    whole = judge(History(story.exchanges, job_seconds=JOB_SECONDS))
    told = recorded(tmp_path / "trace.jsonl", story.exchanges)
    assert told.findings[requirement].violations
    require_the_same(whole, told)


@pytest.mark.parametrize("waiting", [0, 5000])
def test_a_job_whose_exchanges_are_written_in_several_parts_is_judged_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    monkeypatch.setattr(by_job, "_WAITING", waiting)
    story = cancelled_elsewhere(late=False)
    told = recorded(tmp_path / "trace.jsonl", story.exchanges)
    require_the_same(judge(History(story.exchanges, job_seconds=JOB_SECONDS)), told)


def test_repeated_lines_are_judged_once_and_counted(tmp_path: Path) -> None:
    story = cancelled_elsewhere(late=False).tell_agent("start", at=30, until=30.1)
    told = recorded(tmp_path / "trace.jsonl", [*story.exchanges, *story.exchanges])
    assert told.told_twice == told.requests == len(story.exchanges)
    require_the_same(judge(History(story.exchanges, job_seconds=JOB_SECONDS)), told)


def test_the_story_of_a_proof_tells_of_all_its_jobs_with_their_answers(tmp_path: Path) -> None:
    told = recorded(tmp_path / "trace.jsonl", cancelled_elsewhere(late=False).exchanges)
    (violation,) = told.findings["cancel.isolation"].violations
    assert [len(x.body) > 0 for x in violation.proof] == [True, True, True]
    assert sorted(violation.history.creations_by_id) == [1, 2]
    assert set(violation.proof) <= set(violation.history.exchanges)


def test_a_job_created_meanwhile_may_be_the_cause_and_is_told_with_its_answers(
    tmp_path: Path,
) -> None:
    story = Story().create(1, at=0, until=0.1).create(2, at=0.1, until=0.2)
    story.exchanges += polls(0.4, 0.1).exchanges
    story.create(3, at=1.5, until=1.6).cancel(-1, job=2, at=1.6, until=1.7)
    told = recorded(tmp_path / "trace.jsonl", story.exchanges)
    require_the_same(judge(History(story.exchanges, job_seconds=JOB_SECONDS)), told)
    suspected = told.findings["cancel.isolation"]
    assert (suspected.violations, suspected.first_broken) == ((), {(0, 1): 2})
    (violation,) = told.findings["status.monotonic"].violations
    assert sorted(violation.history.creations_by_id) == [1, 2, 3]


def test_the_shortest_proof_of_all_servers_is_told(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    other = Whose("http://192.0.2.11")
    both = [
        as_line(exchange, whose)
        for whose, story in ((HERE, Story().create().create()), (other, Story().poll("x")))
        for exchange in story.exchanges
    ]
    path.write_bytes(b"".join(both))
    on_both = judged(path)
    found = {
        name: each.violations[0].history.server
        for name, each in on_both.findings.items()
        if each.violations
    }
    assert found["create.unique-id"] == HERE.server
    assert on_both.servers == [HERE.server, other.server]


def test_a_rule_that_breaks_down_while_it_takes_notes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> Any:
        raise ZeroDivisionError("too odd")

    monkeypatch.setitem(ACROSS_JOBS, "refuse.message", AcrossJobs(crash, crash))
    told = recorded(tmp_path / "trace.jsonl", Story().create().exchanges)
    assert "too odd" in told.findings["refuse.message"].crash
