"""The rules about clients, on transcripts built by hand: above all, what is no failure."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from pytest_expedition.clients.catalogue import SCENARIOS
from pytest_expedition.clients.harness import judge_transcript
from pytest_expedition.clients.report import (
    client_failure,
    client_fault,
    promise_entries,
    scenario_entry,
)
from pytest_expedition.clients.rules import judge_client
from pytest_expedition.clients.transcript import Call, Said, Step, Transcript
from pytest_expedition.oracle.history import Exchange
from pytest_expedition.protocol.requirements import CLIENT_CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.clients.transcript import Saying
    from pytest_expedition.oracle.history import Kind

Asked = tuple[float, "Kind", "float | None"]
CREATED: Asked = (0.0, "create", 0.0)
LOST = None


def exchange(at: float, kind: Kind, state: float | None, *, status: int | None = 200) -> Exchange:
    jobs: dict[str, object] = {
        "jobId": 7,
        "state": state,
        "JobMsg": {"statusCode": 1},
        "TasksMsg": [],
    }
    document = {"Contents": {"response": {"data": {"content": {"system": {"jobs": jobs}}}}}}
    lost = state is None and status == 200
    return Exchange(
        kind=kind,
        method={"create": "POST", "cancel": "DELETE"}.get(kind, "GET"),
        path="/api/v1/x",
        sent=at,
        received=at + 0.1,
        status=None if lost else status,
        body=json.dumps(document).encode() if status == 200 and not lost else b"",
        lost="lost" if lost else "",
        job_id=None if kind == "create" else 7,
    )


def transcript(
    *asked: Asked,
    said: Saying | None,
    done: float | None = None,
    stumbled: bool = False,
    told_to_cancel: bool = False,
) -> Transcript:
    steps = [
        Step(exchange=exchange(at, kind, state), at=at, created=7 if kind == "create" else None)
        for at, kind, state in asked
    ]
    how = Said(words=frozenset({said} if said else ()), how=f"said {said}", stumbled=stumbled)
    end = asked[-1][0] + 1 if done is None else done
    return Transcript(
        steps=steps,
        calls=[Call(said=how, spans=[(-1.0, end)], done=end)],
        told_to_cancel=told_to_cancel,
    )


def polls(*states: float | None, every: float = 5.0) -> list[Asked]:
    return [(every * (number + 1), "status", state) for number, state in enumerate(states)]


def outcomes(judged: Transcript) -> dict[str, str]:
    found = {each.requirement.id: each.outcome for each in judge_transcript(judged)}
    assert not [finding.crash for finding in judge_client(judged).values() if finding.crash]
    return {name.removeprefix("client."): outcome for name, outcome in found.items()}


def broken(judged: Transcript) -> set[str]:
    return {name for name, outcome in outcomes(judged).items() if outcome == "fail"}


def test_nothing_that_did_not_happen_is_judged() -> None:
    nothing = Transcript(steps=[], calls=[])
    assert set(outcomes(nothing).values()) == {"inconclusive"}
    assert len(outcomes(nothing)) == len(CLIENT_CATALOGUE)


@pytest.mark.parametrize("state", [2 / 3, 1])
@pytest.mark.parametrize("said", ["failed", "finished", "gave-up"])
def test_in_data_a_job_has_failed_where_the_answer_says_so(state: float, said: Saying) -> None:
    document = {"success": True, "data": {"id": 7, "state": state, "status_message": "failed"}}
    story = transcript(CREATED, *polls(0.5, 0.6), said=said)
    shows = replace(story.steps[-1].exchange, body=json.dumps(document).encode())
    steps = [*story.steps[:-1], replace(story.steps[-1], exchange=shows)]
    judged = replace(story, steps=steps)
    assert outcomes(judged)["sees-failure"] == ("pass" if said == "failed" else "fail")


class Counted(list[Step]):
    """Steps that count how often they are gone through."""

    times = 0

    def __iter__(self) -> Iterator[Step]:
        self.times += 1
        return super().__iter__()


def test_the_steps_are_not_gone_through_once_for_each_step() -> None:
    times = set()
    for many in (20, 60):
        story = transcript(CREATED, *polls(*[0.5] * many), said="gave-up")
        counted = Counted(story.steps)
        judge_client(replace(story, steps=counted))
        times.add(counted.times)
    assert len(times) == 1


def test_two_polls_after_the_end_are_none_too_many() -> None:
    assert not broken(transcript(CREATED, *polls(0.5, 1, 1, 1), said="finished"))
    assert broken(transcript(CREATED, *polls(0.5, 1, 1, 1, 1), said="finished")) == {
        "stops-when-finished"
    }


def test_the_end_that_was_polled_on_is_told_as_it_was_spelled() -> None:
    judged = transcript(CREATED, *polls(0.5, 1.0, 1.0, 1.0, 1.0), said="finished")
    (result,) = [x for x in judge_transcript(judged) if x.outcome == "fail"]
    assert result.violation is not None
    assert client_fault(result.violation) == (
        "After an answer had shown 1.0, it polled the job 3 times more."
    )


def test_polls_that_were_under_way_when_the_end_arrived_do_not_count() -> None:
    at_once: list[Asked] = [(5.0 + number / 100, "status", 1.0) for number in range(5)]
    assert not broken(transcript(CREATED, *at_once, said="finished"))


def test_a_client_that_gives_up_after_ten_minutes_is_patient() -> None:
    assert broken(transcript(CREATED, *polls(0, 0), said="gave-up", done=599)) == {"is-patient"}
    assert not broken(transcript(CREATED, *polls(0, 0), said="gave-up", done=600))


@pytest.mark.parametrize("stumbled", [False, True])
def test_a_client_that_gives_up_an_unknown_job_breaks_no_promise(stumbled: bool) -> None:  # noqa: FBT001
    judged = transcript((0.0, "create", LOST), said="gave-up", stumbled=stumbled)
    assert not broken(judged)
    assert outcomes(judged)["creates-once"] == "pass"


def test_a_client_that_fails_because_of_an_outage_does_not_survive_it() -> None:
    judged = transcript(CREATED, *polls(0.5, LOST), said="gave-up", stumbled=True)
    assert broken(judged) == {"survives-outages"}


def test_a_client_that_fails_because_of_a_good_answer_did_not_understand_it() -> None:
    judged = transcript(CREATED, *polls(0.5), said="gave-up", stumbled=True)
    assert broken(judged) == {"understands-answers"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, "but the client ended before the result showed"),
        ("endless", "but before the result showed, the client said endless"),
    ],
)
@pytest.mark.parametrize(("state", "promise"), [(1, "sees-success"), (-1, "sees-cancel")])
def test_a_client_that_was_stopped_before_it_said_anything_is_not_said_to_have_seen_no_end(
    said: Saying | None, told: str, state: float, promise: str
) -> None:
    judged = transcript(CREATED, *polls(0.5, state), said=said)
    results = judge_transcript(judged)
    trial = scenario_entry(
        SCENARIOS["ordinary"],
        judged,
        results,
        url="",
        started=datetime.now(timezone.utc),
        seconds=1,
    )
    (entry,) = [x for x in promise_entries([trial]) if x["id"] == f"client.{promise}"]
    assert entry["outcome"] == "inconclusive"
    assert entry["reason"] == f"exercised in ordinary, {told}"


def test_a_client_may_give_up_after_three_outages_in_a_row() -> None:
    assert broken(transcript(CREATED, *polls(0.5, LOST, LOST), said="gave-up")) == {
        "survives-outages"
    }
    judged = transcript(CREATED, *polls(0.5, LOST, LOST, LOST), said="gave-up")
    assert not broken(judged)
    assert outcomes(judged)["survives-outages"] == "pass"


def test_each_poll_may_be_repeated_ten_times_while_none_is_answered() -> None:
    repeated: list[Asked] = [
        (at, "status", LOST) for at in (5.0, 5.2, 5.4, 5.6, 5.8) for _ in range(11)
    ]
    assert not broken(transcript(CREATED, *repeated, *polls(1, every=10), said="finished"))


def test_thirty_polls_without_a_pause_are_too_many_while_none_is_answered() -> None:
    end = polls(1, every=10)
    few: list[Asked] = [(5.0 + number / 10, "status", LOST) for number in range(29)]
    assert not broken(transcript(CREATED, *few, *end, said="finished"))
    judged = transcript(CREATED, *few, (7.9, "status", LOST), *end, said="finished")
    assert broken(judged) == {"does-not-hammer"}
    (failed,) = [each for each in judge_transcript(judged) if each.outcome == "fail"]
    assert failed.violation is not None
    assert client_fault(failed.violation) == (
        "It sent thirty polls within 2.9 s without a pause, though none was answered."
    )
    assert not broken(transcript(CREATED, *few, (8.0, "status", LOST), *end, said="finished"))
    assert not broken(
        transcript(
            CREATED, *few, (7.85, "status", 0.5), (7.9, "status", LOST), *end, said="finished"
        )
    )


@pytest.mark.parametrize("stumbled", [False, True])
def test_a_client_that_gives_up_after_the_end_is_not_said_to_have_understood_it(
    *, stumbled: bool
) -> None:
    judged = transcript(CREATED, *polls(0.5, 1), said="gave-up", stumbled=stumbled)
    assert outcomes(judged)["understands-answers"] == "inconclusive"


def test_a_request_that_got_no_answer_is_told_so() -> None:
    judged = transcript(CREATED, *polls(0.5, LOST), said="gave-up")
    (result,) = [x for x in judge_transcript(judged) if x.outcome == "fail"]
    assert result.violation is not None
    assert client_fault(result.violation) == ("`GET x` got no answer: lost; then it said gave-up.")


def test_an_outage_that_was_borne_is_told() -> None:
    judged = transcript(CREATED, *polls(0.5, LOST, 1), said="finished")
    assert not broken(judged)
    assert outcomes(judged)["survives-outages"] == "pass"


def test_a_client_that_was_ended_before_two_hours_is_not_said_to_wait_for_ever() -> None:
    judged = transcript(CREATED, *polls(0, 0), said="endless", done=2500)
    assert outcomes(judged)["polls-not-for-ever"] == "inconclusive"
    judged = transcript(CREATED, *polls(0, 0), said="endless", done=7200)
    assert broken(judged) == {"polls-not-for-ever"}


def test_a_client_that_was_ended_after_thousands_of_polls_is_said_to_wait_for_ever() -> None:
    judged = transcript(CREATED, *polls(*[0] * 7_199), said="endless", done=3600)
    assert outcomes(judged)["polls-not-for-ever"] == "inconclusive"
    judged = transcript(CREATED, *polls(*[0] * 7_200), said="endless", done=3600)
    assert "polls-not-for-ever" in broken(judged)


def test_a_client_may_cancel_a_job_that_it_gives_up() -> None:
    asked: tuple[Asked, ...] = (CREATED, *polls(0, 0), (700.0, "cancel", -1.0))
    assert "cancels-when-told" not in broken(transcript(*asked, said="gave-up"))
    assert broken(transcript(*asked, said="cancelled")) == {"cancels-when-told"}


def test_a_client_that_cancels_a_job_which_it_gives_up_too_early_is_impatient() -> None:
    asked: tuple[Asked, ...] = (CREATED, *polls(0, 0), (599.0, "cancel", -1.0))
    judged = transcript(*asked, said="gave-up")
    assert broken(judged) == {"is-patient"}
    (failed,) = [each for each in judge_transcript(judged) if each.outcome == "fail"]
    assert failed.violation is not None
    assert client_fault(failed.violation) == (
        "After 599 s, while the job was still under way, it said gave-up."
    )
    asked = (CREATED, *polls(0, 0), (600.0, "cancel", -1.0))
    assert not broken(transcript(*asked, said="gave-up"))


def test_a_client_that_gives_up_a_job_after_an_outage_and_cancels_it_is_not_impatient() -> None:
    asked: tuple[Asked, ...] = (CREATED, *polls(0, LOST), (30.0, "cancel", -1.0))
    assert "is-patient" not in broken(transcript(*asked, said="gave-up"))


def test_a_client_that_was_told_to_cancel_is_not_impatient() -> None:
    asked: tuple[Asked, ...] = (CREATED, *polls(0, 0), (30.0, "cancel", -1.0))
    judged = transcript(*asked, said="gave-up", told_to_cancel=True)
    assert "is-patient" not in broken(judged)


def test_ten_polls_in_two_seconds_are_none_too_many() -> None:
    states = [0.5] * 9 + [1]
    assert not broken(transcript(CREATED, *polls(*states, every=0.25), said="finished"))
    assert broken(transcript(CREATED, *polls(*states, every=0.2), said="finished")) == {
        "does-not-hammer"
    }


@pytest.mark.parametrize(
    ("pace", "seconds"), [(1.0, ("1.8", "2", "0.2")), (2, ("0.9", "1", "0.1"))]
)
def test_all_seconds_that_are_told_are_those_of_the_clients_clock(
    pace: float, seconds: tuple[str, str, str]
) -> None:
    asked = transcript(CREATED, *polls(*[0.5] * 10, every=0.2), said="gave-up", done=2.0)
    judged = replace(asked, pace=pace)
    failed = [each for each in judge_transcript(judged) if each.outcome == "fail"]
    told = client_failure(SCENARIOS["ordinary"], judged, failed)
    within, after, pause = seconds
    assert f"It sent ten polls within {within} s." in told
    assert f"After {after} s, while the job was still under way, it said gave-up." in told
    assert f"it polled every {pause} s (from {pause} to {pause} s)" in told
    assert f"      {pause} s  GET x → state 0.5\n" in told
    assert ("A second is 2 of the scenario's." in told) == (pace != 1)


def test_a_client_whose_words_are_unknown_is_judged_by_its_requests() -> None:
    judged = transcript(CREATED, *polls(0.5, -1), said=None)
    assert not broken(judged)
    assert outcomes(judged)["sees-cancel"] == "inconclusive"
    assert outcomes(transcript(CREATED, *polls(0.5, LOST), said=None))["survives-outages"] == (
        "inconclusive"
    )


def test_a_job_that_had_ended_before_its_cancel_need_not_be_cancelled() -> None:
    judged = transcript(CREATED, *polls(0.5, 1), said="finished", told_to_cancel=True)
    (call,) = judged.calls
    for cancelled_by, expected in ((10.0, "pass"), (9.9, "fail")):
        told = replace(judged, calls=[replace(call, cancelled_by=cancelled_by)])
        assert outcomes(told)["does-as-told"] == expected


def test_a_client_that_misjudges_its_own_cancel_breaks_one_promise_alone() -> None:
    asked: tuple[Asked, ...] = (CREATED, (1.0, "cancel", 0.5), *polls(0.5, 1))
    judged = transcript(*asked, said="cancelled", told_to_cancel=True)
    assert broken(judged) == {"trusts-the-state"}


CANCEL: Asked = (1.0, "cancel", 0.5)
GRANTED: Asked = (1.0, "cancel", -1.0)


@pytest.mark.parametrize(
    ("judged", "promise"),
    [
        (transcript(CREATED, *polls(0.5, 1), said="finished"), "cancels-when-told"),
        (
            transcript(CREATED, *polls(0.5, 1), said="finished", told_to_cancel=True),
            "trusts-the-state",
        ),
        (
            transcript(CREATED, GRANTED, *polls(-1), said="cancelled", told_to_cancel=True),
            "does-not-insist",
        ),
        (transcript(CREATED, *polls(0.5, LOST), said="finished"), "survives-outages"),
        (transcript(CREATED, *polls(0.5, LOST), said="endless"), "survives-outages"),
        (transcript(CREATED, *polls(0, every=70), said="finished"), "is-patient"),
        (transcript(CREATED, *polls(0, LOST, every=70), said="gave-up"), "is-patient"),
        (transcript(CREATED, *polls(0, every=70), said="gave-up", stumbled=True), "is-patient"),
    ],
)
def test_a_promise_that_was_not_put_to_the_test_is_not_kept(
    judged: Transcript, promise: str
) -> None:
    assert outcomes(judged)[promise] == "inconclusive"


@pytest.mark.parametrize(
    ("judged", "promise"),
    [
        (
            replace(transcript(CREATED, *polls(0.5, 1), said="finished"), can_cancel=True),
            "cancels-when-told",
        ),
        (
            transcript(CREATED, CANCEL, *polls(0.5, 1), said="finished", told_to_cancel=True),
            "trusts-the-state",
        ),
        (
            transcript(CREATED, CANCEL, *polls(0.5, 1), said="finished", told_to_cancel=True),
            "does-not-insist",
        ),
        (transcript(CREATED, *polls(0, 1, every=70), said="finished"), "is-patient"),
        (transcript(CREATED, *polls(0, 0, every=301), said="gave-up"), "is-patient"),
    ],
)
def test_a_promise_that_was_put_to_the_test_is_kept(judged: Transcript, promise: str) -> None:
    assert outcomes(judged)[promise] == "pass"


def test_a_job_that_finished_uncancelled_was_not_cancelled() -> None:
    judged = transcript(CREATED, *polls(0.5, 1), said="cancelled", told_to_cancel=True)
    assert broken(judged) == {"trusts-the-state"}


def test_a_client_that_sends_nothing_has_not_done_as_told() -> None:
    said = Said(words=frozenset({"gave-up"}), how="raised ValueError()")
    nothing = Transcript(steps=[], calls=[Call(said=said, spans=[(0.0, 1.0)], done=1.0)])
    assert broken(nothing) == {"does-as-told"}
