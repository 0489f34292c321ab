"""Who wrote an answer: the application, or something that stands before it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from histories import envelope, error, in_data

from pytest_expedition.protocol.envelope import read_answer
from pytest_expedition.protocol.origin import described, is_from_application

CRASHES = [
    b"<br />\n<b>Fatal error</b>:  Allowed memory size exhausted in <b>/var/www/x.php</b>",
    b"PHP Parse error:  syntax error in x.php",
    b"Fatal error: Uncaught TypeError in /var/www/x.php on line 7",
    b"<h1>Whoops, looks like something went wrong.</h1>",
    b'<html><body class="antialiased">500 | Server Error</body></html>',
    b'<div class="flex-center position-ref full-height">404</div>',
]

PAGES = [
    b"",
    b"404 page not found\n",
    b"<html><head><title>500 Internal Server Error</title></head><body>nginx</body></html>",
    b"<html><body>The server encountered an internal error or misconfiguration</body></html>",
    b"upstream connect error or disconnect/reset before headers",
    b'"a text"',
    b"[]",
    b"\xff\xfe",
]

OBJECTS: list[Any] = [
    {"message": "Too Many Attempts."},
    {"message": "no Route matched with those values"},
    {"message": "Internal server error"},
    {"message": None},
    {"error": {"code": 503, "message": "Unavailable"}},
    {"success": False, "error": "blocked"},
    {"fault": {"faultstring": "Rate limit"}},
    {},
]


def wrote(status: int, body: bytes) -> bool:
    return is_from_application(status, body, read_answer(body).document)


@pytest.mark.parametrize("status", [301, 400, 403, 404, 409, 422, 500, 502, 503, 520])
def test_the_envelope_is_the_applications_with_any_status(status: int) -> None:
    whole = (error(), envelope(None), in_data(id=7), {"success": False, "messages": []})
    broken: list[Any] = [
        {"Contents": []},
        {"Type": "error", "success": 0},
        {"success": None, "data": 3},
    ]
    for document in (*whole, *broken):
        assert wrote(status, json.dumps(document).encode())


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
@pytest.mark.parametrize("body", CRASHES)
def test_a_crash_page_is_the_applications(status: int, body: bytes) -> None:
    assert wrote(status, body)
    assert not wrote(302, body)


@pytest.mark.parametrize("status", [301, 400, 403, 404, 408, 429, 500, 502, 503, 504, 520])
@pytest.mark.parametrize("body", [*PAGES, *(json.dumps(each).encode() for each in OBJECTS)])
def test_all_else_that_is_no_success_is_not(status: int, body: bytes) -> None:
    assert not wrote(status, body)


@pytest.mark.parametrize("body", [*PAGES, *CRASHES])
def test_a_success_is_the_applications_whatever_it_says(body: bytes) -> None:
    assert wrote(200, body)
    assert wrote(204, body)


@pytest.mark.parametrize("status", [401, 429])
def test_what_is_about_the_key_or_a_limit_says_nothing_of_jobs(status: int) -> None:
    assert not wrote(status, json.dumps(error()).encode())


def test_what_came_is_described() -> None:
    assert (
        described(301, b"x", "https://192.0.2.1/") == "HTTP 301, a redirect to https://192.0.2.1/"
    )
    assert described(502, b"", "").endswith("from something before the application, without a body")
    assert "it begins with “<h1>a b”" in described(520, b"<h1>a\n b", "")
    assert described(401, b"", "") == "HTTP 401: the key was refused"
