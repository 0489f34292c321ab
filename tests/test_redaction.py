"""Secrets are removed from what is written, and not from what is judged."""

from __future__ import annotations

import json
import logging
from base64 import b64encode, urlsafe_b64encode
from html import escape
from typing import Any
from urllib.parse import quote

import pytest
from histories import envelope, in_data, job_fields

from pytest_expedition.protocol.redaction import LogFilter, Redaction, _pattern

KEY = 'sk-0/1 "&é'
EVERYWHERE = [
    "1",
    "x",
    "12",
    "0.5",
    "data",
    "state",
    "success",
    "system",
    "jobs",
    "Contents",
]


def lower(encoded: str) -> str:
    return "".join(part.lower() if part.startswith("%") else part for part in encoded)


SPELLINGS = [
    KEY,
    quote(KEY, safe=""),
    quote(KEY),
    quote(KEY, safe="").replace("%2F", "%2f").replace("%C3%A9", "%c3%a9"),
    quote(KEY, safe="").replace("%20", "+"),
    json.dumps(KEY)[1:-1],
    json.dumps(KEY)[1:-1].replace("/", r"\/"),
    json.dumps(KEY, ensure_ascii=False)[1:-1],
    json.dumps(KEY)[1:-1].replace("\\u00e9", "\\u00E9").replace("&", "\\u0026"),
    KEY.replace("&", "&amp;").replace('"', "&quot;"),
    escape(KEY),
    KEY.replace("&", "&#38;").replace('"', "&#034;").replace("é", "&#233;"),
    KEY.replace("&", "&#x26;").replace('"', "&#X22;").replace("é", "&#xE9;").replace("/", "&#x2F;"),
    KEY.replace("é", "&eacute;"),
    b64encode(KEY.encode()).decode(),
    b64encode(f"Bearer {KEY}".encode()).decode(),
    quote(b64encode(f"Bearer {KEY}".encode()).decode(), safe=""),
    urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
]


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_every_spelling_is_struck(spelled: str) -> None:
    redaction = Redaction([KEY])
    assert redaction.prose(f"the key {spelled} was seen") == "the key *** was seen"
    assert redaction.body(f"<p>{spelled}</p>".encode()) == b"<p>***</p>"
    assert redaction.text_body(f"key={quote(KEY, safe='')}&a=1") == "key=***&a=1"


def test_a_secret_may_be_long() -> None:
    secret = "".join(f"{number}/" for number in range(200))
    redaction = Redaction([secret])
    assert redaction.prose(f"it is {secret}!") == "it is ***!"
    for length in (4, 53, 54, 55, 104, len(secret) - 1):
        assert redaction.prose(f"it is {secret[:length]}… and more") == "it is ***… and more"


@pytest.mark.parametrize("secret", ["1", "x"])
def test_a_short_secret_in_base64_is_struck_where_it_is_told_from_other_texts(secret: str) -> None:
    told = b64encode(f"Bearer {secret}".encode()).decode()
    encoded = b64encode(secret.encode()).decode()
    assert Redaction([secret]).prose(f"{told} {encoded}") == f"*** {encoded}"


@pytest.mark.parametrize("length", range(4, len(KEY)))
def test_what_is_left_of_a_secret_where_a_text_was_cut_is_struck(length: int) -> None:
    assert Redaction([KEY]).prose(f"it is {KEY[:length]}… and more") == "it is ***… and more"


def test_of_two_secrets_the_longer_is_struck_first() -> None:
    redaction = Redaction(["secret-key-1", "secret-key-10"])
    assert redaction.prose("secret-key-10, secret-key-1") == "***, ***"


@pytest.mark.parametrize("secret", EVERYWHERE)
def test_a_secret_that_stands_everywhere_leaves_the_sentences(secret: str) -> None:
    told = "The state of job 12 was 0.5, then success: data at system.jobs x 1"
    redaction = Redaction([secret])
    assert redaction.prose(told) == told
    assert redaction.prose(f"Authorization: Bearer {secret}") == "Authorization: Bearer ***"
    assert redaction.path("/api/v1/job/status/12?complete=true") == (
        "/api/v1/job/status/12?complete=true"
    )
    assert redaction.value(secret) == "***"
    assert json.loads(redaction.body(json.dumps({"echo": [secret]}).encode())) == {"echo": ["***"]}
    assert redaction.text_body(f"password={secret}&a=b") == "password=***&a=b"


@pytest.mark.parametrize(
    "secret", [*EVERYWHERE, "1619", "16191619", "Completed", "description", "statusCode", "job_id"]
)
@pytest.mark.parametrize(
    "document",
    [
        envelope({"system": {"jobs": job_fields(16191619, 0.5, echo="yours is XXX")}}),
        in_data(id=1619, state=1, status_message="success", echo=["XXX"]),
    ],
    ids=["system", "data"],
)
def test_what_is_redacted_can_be_judged_again(secret: str, document: dict[str, Any]) -> None:
    body = json.dumps(document).replace("XXX", secret).encode()
    told = json.loads(Redaction([secret]).body(body))
    assert shape(told) == shape(json.loads(body))


def shape(value: Any) -> Any:
    """What of a document is judged: names, numbers, and types."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return str if isinstance(value, str) else value


def test_json_stays_as_it_is_spelled_but_for_the_secret() -> None:
    body = b'{"state": 1.0, "state": 1, "n": NaN, "a":"se\\u0063ret-key", "id": 10e400 }'
    struck = Redaction(["secret-key"]).body(body)
    assert struck == b'{"state": 1.0, "state": 1, "n": NaN, "a":"***", "id": 10e400 }'


def test_bodies_that_are_no_json_lose_the_secret_too() -> None:
    redaction = Redaction(["secret-key"])
    assert redaction.body(b"\xff secret-key") == b"\xff ***"
    assert redaction.body(b'{"cut off": "secret-key') == b'{"cut off": "***'
    assert redaction.body(b"[" * 100_000 + b'"secret-key"').endswith(b'"***"')


def test_logs_lose_the_secret_in_texts_arguments_and_tracebacks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("urllib3.of-this-test")
    log_filter = LogFilter(Redaction(["secret-key"]))
    logger.addFilter(log_filter)
    with caplog.at_level(logging.DEBUG):
        logger.debug('"%s %s" %d', "GET", "/x?key=secret-key", 200)
        try:
            json.loads("secret-key")
        except ValueError as error:
            error.args = ("secret-key",)
            logger.warning("failed", exc_info=True)
    logger.removeFilter(log_filter)
    assert '"GET /x?key=***" 200' in caplog.text
    assert "JSONDecodeError: ***" in caplog.text
    assert "secret-key" not in caplog.text


def test_nothing_is_redacted_without_secrets() -> None:
    assert Redaction(["", ""]).body(b'{"a": ""}') == b'{"a": ""}'


def test_a_key_that_expires_again_and_again_costs_one_pattern_a_key() -> None:
    keys = [f"header.{number:030}.signature" for number in range(5)]
    made = _pattern.cache_info().misses
    for count in range(1, len(keys) + 1):
        assert Redaction(keys[:count]).prose(" ".join(keys[:count])) == " ".join(["***"] * count)
    assert _pattern.cache_info().misses == made + len(keys)
