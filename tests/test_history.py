"""What an exchange says by itself, and what a history counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from histories import JOB, PAGE, Story, envelope, error, in_data

if TYPE_CHECKING:
    from pytest_expedition.oracle.history import Exchange

GRANTED = envelope(None)
"""The envelope of a success, without a job."""


def exchange(document: Any, status: int | None, *, kind: str = "status") -> Exchange:
    (only,) = Story().add(kind, "GET", "/api/v1/job/status/9", document, status=status).exchanges
    return only


@pytest.mark.parametrize(
    ("document", "status", "expected"),
    [
        *((error(), status, True) for status in (400, 404, 409, 422, 499)),
        *((error(), status, False) for status in (200, 302, 399, 500, 503)),
        *((error(), status, False) for status in (401, 429)),  # about the key, or the pace
        (PAGE, 404, False),
        ([], 404, False),
        (b"", None, False),
    ],
)
def test_a_client_error_in_json_refuses_a_request(
    document: Any, status: int | None, *, expected: bool
) -> None:
    assert exchange(document, status).refused_in_json == expected


@pytest.mark.parametrize(
    ("document", "status", "expected"),
    [
        (GRANTED, 404, True),
        (GRANTED, 410, True),
        *((GRANTED, status, False) for status in (200, 403, 405, 409, 411)),
        *((error(), status, True) for status in (200, 400, 404, 409)),
        *((error(), status, False) for status in (500, 503)),
        (in_data(id=JOB, state=0.5), 404, False),
        (PAGE, 404, False),
        (b"", None, False),
    ],
)
def test_an_answer_that_tells_of_no_job_may_say_that_it_is_gone(
    document: Any, status: int | None, *, expected: bool
) -> None:
    assert exchange(document, status).gone == expected


@pytest.mark.parametrize(
    ("document", "status", "expected"),
    [
        *((error(), status, True) for status in (409, 429, 503)),
        *((error(), status, False) for status in (200, 408, 410, 428, 430, 502, 504)),
        (GRANTED, 409, False),
        ({**error(), "success": 0}, 409, False),
        (PAGE, 503, False),
        (b"", None, False),
    ],
)
def test_a_creation_may_be_refused_because_others_run(
    document: Any, status: int | None, *, expected: bool
) -> None:
    assert exchange(document, status, kind="create").refused_as_busy == expected
    for kind in ("agent", "cancel", "list", "other", "status"):
        assert not exchange(document, status, kind=kind).refused_as_busy


@pytest.mark.parametrize(
    ("document", "status", "expected"),
    [
        *((error(), status, True) for status in (400, 403, 404, 405, 410, 415, 422)),
        *((error(), status, False) for status in (399, 401, 402, 406, 409, 411, 414, 416, 421)),
        *((error(), status, False) for status in (200, 423, 500)),
        (PAGE, 404, False),
        (b"", None, False),
    ],
)
def test_the_application_may_say_that_the_request_itself_is_wrong(
    document: Any, status: int | None, *, expected: bool
) -> None:
    assert exchange(document, status).refused_as_wrong == expected


@pytest.mark.parametrize(
    ("document", "status", "expected"),
    [
        (in_data(id=JOB, state=1), 200, True),
        (in_data(id=JOB, state=-1), 200, True),
        (in_data(id=JOB, state=0.5), 200, False),
        (in_data(id=JOB, state=0.5, status_message="failed"), 200, True),
        (in_data(id=JOB, state=1), 500, False),
        (in_data(id=JOB, state=0.5, status_message="failed"), 500, False),
        (in_data(id=JOB, state=0.5, status_message="failed"), 429, False),
    ],
)
def test_an_answer_of_the_application_may_show_the_end_of_a_job(
    document: Any, status: int, *, expected: bool
) -> None:
    assert exchange(document, status).shows_the_end == expected


def test_refused_creations_and_requests_without_an_answer_are_counted_by_their_http_status() -> (
    None
):
    story = Story().create()
    for status in (409, 409, 429, 503, 200):
        story.add("create", "POST", "/", error(), status=status)
    story.add("create", "POST", "/", {**error(), "success": 0}, status=409)
    story.lose("create").add("create", "POST", "/", PAGE, status=503)
    story.lose("status").answer_poll(PAGE, status=502)
    history = story.history()
    assert history.refused_creations == Counter({409: 2, 429: 1, 503: 1})
    assert history.unanswered == Counter({None: 2, 502: 1, 503: 1})


def test_creations_commands_and_lists_are_told_apart() -> None:
    story = Story().create().poll(0).cancel(0).tell_agent("start")
    story.add("list", "GET", "/api/v1/job", in_data(job=[]))
    story.add("list", "GET", "/api/v1/job", in_data(job=[]), status=500)
    story.add("list", "GET", "/api/v1/job", in_data(job=[]), probe="no-key")
    story.add("create", "POST", "/", error(), status=401, probe="no-key")
    story.add("other", "GET", "/api/v1/project", in_data())
    history = story.history()
    assert history.creations == [story.exchanges[0]]
    assert history.cancels == [story.exchanges[2]]
    assert history.commands == history.agent == [story.exchanges[3]]
    assert [each.exchange for each in history.own_lists] == [story.exchanges[4]]
    assert history.probes == story.exchanges[6:8]


def test_the_repr_of_an_exchange_does_not_show_bodies_which_may_be_large_or_secret() -> None:
    sent = replace(exchange(b"sesame", 200), request_body="open")
    assert "sesame" not in repr(sent)
    assert "open" not in repr(sent)


def test_what_was_read_from_no_recording_has_no_position_in_one() -> None:
    assert exchange(GRANTED, 200).position == 0
