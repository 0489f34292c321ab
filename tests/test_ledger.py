"""The ledger: which jobs count as running, and which are named, whatever is answered."""

from __future__ import annotations

from typing import Any

import pytest
from histories import JOB, Story, envelope, error, job_fields, verdict_on

from pytest_expedition import Limits
from pytest_expedition.protocol.envelope import MISSING
from pytest_expedition.suite.ledger import Ledger

SECONDS = 60.0
PATH = "/api/v1/project/1/import"
EMPTY: dict[str, Any] = {"Contents": {}}


def ledger_of(story: Story, **limits: Any) -> Ledger:
    ledger = Ledger(Limits(**{"job_seconds": SECONDS, **limits}))
    for exchange in story.exchanges:
        ledger.enter(exchange, unsent=False)
    return ledger


def created() -> Story:
    return Story().create(JOB, cancellable=True)


@pytest.mark.parametrize(
    "story",
    [
        created(),
        created().poll(0.5),
        created().answer_poll(error(), status=404),
        created().answer_poll(error(), status=410),
        created().answer_poll(error(), status=200),
        created().answer_poll(b"<h1>Not found</h1>", status=404),
        created().answer_poll(error(), status=500),
        created().answer_cancel(error(), status=404),
        created().answer_cancel(error(), status=409),
        created().answer_cancel(b"", status=204),
        created().cancel(0.4),
        created().cancel(2),
        created().lose("status").lose("cancel"),
        created().poll(1, status=503),
        created().poll(1, fields={"jobId": JOB + 1}),
        created().cancel(-1, fields={"jobId": JOB + 1}),
        created().create(JOB + 1, 1),
    ],
)
def test_a_job_counts_until_it_was_seen_to_end(story: Story) -> None:
    ledger = ledger_of(story)
    assert ledger.left_behind == [JOB]
    assert ledger.running(story.now) == [JOB]
    assert ledger.room(story.now) == Limits().concurrent_jobs - 1
    assert ledger.to_be_cancelled == [JOB]


@pytest.mark.parametrize(
    "story",
    [
        Story().create(JOB, 1),
        created().poll(1),
        created().poll(-1),
        created().cancel(-1),
        created().cancel(1),
        created().poll(-1, status=409),
        created().poll(1).answer_poll(error(), status=404),
    ],
)
def test_a_job_that_was_seen_to_end_does_not(story: Story) -> None:
    ledger = ledger_of(story)
    assert ledger.left_behind == ledger.running(story.now) == ledger.to_be_cancelled == []
    assert ledger.room(story.now) == Limits().concurrent_jobs


def test_a_job_whose_time_is_over_leaves_room_and_is_named() -> None:
    ledger = ledger_of(created().answer_poll(error(), status=404))
    assert ledger.next_room(1.0) == pytest.approx(SECONDS + 0.1)
    assert ledger.running(SECONDS) == [JOB]
    assert ledger.running(SECONDS + 0.2) == []
    assert ledger.left_behind == [JOB]
    assert ledger.next_room(SECONDS + 0.2) is None


def test_a_job_that_was_seen_beyond_its_time_counts_until_it_ends() -> None:
    ledger = ledger_of(created().poll(0.5, at=SECONDS + 1))
    assert ledger.running(10 * SECONDS) == [JOB]
    assert ledger.next_room(SECONDS + 2) is None
    ledger = ledger_of(created().poll(0.5, at=SECONDS + 1).poll(1))
    assert ledger.running(SECONDS + 5) == []


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (b"", None),
        (b"", 302),
        (b"", 303),
        (b"", 308),
        (b"", 409),
        (b"<h1>Timeout</h1>", 408),
        (b"", 500),
        (error(), 500),
        (b"", 502),
        (b"", 503),
        (b"", 504),
        (EMPTY, 200),
        (error(), 200),
        (b"", 202),
        (envelope({"system": {"jobs": job_fields(JOB, 0)}}), 409),
        (b'{"data": {"job_id": %s}, "success": true}' % (b"9" * 5000), 200),
        (b'{"data": {"job_id": "%s"}, "success": true}' % (b"9" * 5000), 200),
        *(
            (envelope({"system": {"jobs": job_fields(each, 0)}}), 200)
            for each in (
                "",
                "0",
                "-1619",
                "1619.5",
                "01619",
                " 1619",
                "16e2",
                "\u0661",
                1619.0,
                True,
            )
        ),
    ],
)
def test_a_creation_that_may_have_created_a_job_counts_as_one(document: Any, status: Any) -> None:
    story = Story().add("create", "POST", PATH, document, status=status)
    ledger = ledger_of(story)
    assert len(ledger.unconfirmed_creations) == 1
    assert ledger.jobs_left == Limits().jobs - 1
    assert ledger.room(story.now) == Limits().concurrent_jobs - 1
    assert ledger.next_room(story.now) == pytest.approx(SECONDS + 0.1)
    assert ledger.room(SECONDS + 1) == Limits().concurrent_jobs
    assert len(ledger.unconfirmed_creations) == 1, "still named when its time is over"
    gives_an_id = story.exchanges[0].answer.job_id is not MISSING
    assert len(ledger.unconfirmed_ids) == gives_an_id
    assert ledger.to_be_cancelled == []


def test_a_job_whose_id_is_a_text_of_digits_is_cancelled_all_the_same() -> None:
    told = envelope({"system": {"jobs": job_fields("1619", 0)}})
    story = Story().add("create", "POST", PATH, told, status=200)
    ledger = ledger_of(story)
    assert ledger.ids == ledger.unconfirmed_creations == []
    assert ledger.jobs == 1
    assert ledger.left_behind == ledger.to_be_cancelled == ledger.running(story.now) == [1619]
    for exchange in story.poll(-1, job=1619).exchanges[1:]:
        ledger.enter(exchange, unsent=False)
    assert ledger.left_behind == []


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (error(), 400),
        (b"Unauthenticated", 401),
        (b"<h1>Forbidden</h1>", 403),
        (b"", 404),
        (b"", 405),
        ({"message": "The given data was invalid."}, 422),
        (b"", 429),
        (error(), 409),
        (error(), 423),
        (error(), 503),
    ],
)
def test_a_creation_that_was_refused_does_not(document: Any, status: Any) -> None:
    ledger = ledger_of(Story().add("create", "POST", PATH, document, status=status))
    assert ledger.unconfirmed_creations == []
    assert ledger.room(1.0) == Limits().concurrent_jobs
    assert ledger.jobs_left == Limits().jobs - 1, "the limit `jobs` believes no answer"


def test_what_was_never_sent_created_nothing() -> None:
    ledger = Ledger(Limits())
    (lost,) = Story().add("create", "POST", PATH, b"", status=None).exchanges
    ledger.enter(lost, unsent=True)
    assert ledger.unconfirmed_creations == []
    assert ledger.jobs_left == Limits().jobs


def test_an_id_that_is_given_out_twice_hides_a_job() -> None:
    story = created().create(JOB, 0)
    ledger = ledger_of(story)
    assert (ledger.ids, ledger.left_behind) == ([JOB], [JOB])
    assert len(ledger.unconfirmed_creations) == 1
    assert ledger.room(story.now) == Limits().concurrent_jobs - 2
    assert ledger.jobs_left == Limits().jobs - 2


def test_an_id_that_is_given_out_again_after_its_end_may_be_another_job() -> None:
    story = created().poll(1).create(JOB, 0)
    assert ledger_of(story).left_behind == [JOB], "the clean-up cancels it"
    ledger = ledger_of(story.poll(1))
    assert ledger.left_behind == []
    assert len(ledger.unconfirmed_creations) == 1
    assert ledger.jobs_left == Limits().jobs - 2


def test_fewer_jobs_at_once_where_the_server_refuses_more() -> None:
    story = created().create(JOB + 1)
    ledger = ledger_of(story)
    ledger.lower_jobs_at_once(story.now)
    assert ledger.room(story.now) == 0
    for exchange in story.poll(1).poll(1, job=JOB + 1).exchanges[2:]:
        ledger.enter(exchange, unsent=False)
    assert ledger.room(story.now) == 2
    ledger.lower_jobs_at_once(story.now)
    assert ledger.room(story.now) == 1, "never less than one"


@pytest.mark.parametrize("status", [409, 429, 503])
def test_a_creation_that_is_one_too_many_breaks_no_promise(status: int) -> None:
    busy = created().add("create", "POST", PATH, error("Another job runs"), status=status)
    assert verdict_on(busy, "create.envelope") == "kept"


def test_a_server_that_refuses_every_creation_is_told() -> None:
    story = Story().add("create", "POST", PATH, error("busy"), status=409)
    assert verdict_on(story, "create.envelope") == ["not-a-success"]
    told = created().add(
        "create", "POST", PATH, envelope({"system": {"jobs": job_fields(7)}}), status=409
    )
    assert verdict_on(told, "create.envelope") == ["not-a-success"]
