"""Who wrote an answer that is no success: the application, or something in front of it.

A proxy, a firewall, a throttle or a maintenance page answers in the place of the application, with
any HTTP status. Such an answer says nothing about jobs. The application's own answers are
recognised by their form: Expedition's envelope in any dialect, or what Laravel and PHP write when
the application crashes.
"""

from __future__ import annotations

import re
from typing import Any, Final

ABOUT_ACCESS: Final = frozenset({401, 429})
"""HTTP statuses about the key or the number of requests, from the application or not."""

_ENVELOPES: Final = (
    ({"Contents"}, {"Contents"}),
    ({"Type", "success"}, {"Type"}),
    ({"success"}, {"data", "metadata", "pagination", "messages"}),
)
"""Keys that must be there, and keys of which one must be there, for an object to be an envelope."""

_CRASH_PAGE: Final = re.compile(
    rb"<b>(?:Fatal|Parse) error</b>:|PHP (?:Fatal|Parse) error:"
    rb"|(?:Fatal|Parse) error: .{1,500} on line \d"
    rb"|Whoops, looks like something went wrong"
    rb'|<div class="flex-center position-ref full-height">|<body class="antialiased">',
    re.DOTALL,
)
"""What PHP's own messages and the error pages of Laravel 5 to 11 contain."""

_PAGE: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)\b", re.IGNORECASE)
"""How a page for a browser begins."""

_LOOKED_AT: Final = 65536
"""The bytes of a page that are searched."""

_SHOWN: Final = 120
"""Bytes of a body that are quoted."""

_LARAVEL_MESSAGES: Final = (
    "Server Error",
    "No query results for model [",
    "This action is unauthorized.",
    "The given data was invalid.",
)
"""The beginnings of messages that only Laravel writes as an object with `message` alone."""


def is_from_application(status: int, body: bytes, document: Any) -> bool:
    """Whether the application itself wrote an answer; ``document`` is its body as JSON reads it."""
    if 200 <= status < 300:
        return True
    if status in ABOUT_ACCESS:
        return False
    if isinstance(document, dict):
        return is_envelope(document) or _is_laravels(document)
    return status >= 400 and _CRASH_PAGE.search(body, 0, _LOOKED_AT) is not None


def is_page(body: bytes) -> bool:
    """Whether a body is a page for a browser, as web servers send it for any path.

    A message of PHP before an answer in JSON is not one.
    """
    return _PAGE.match(body) is not None


def described(status: int, body: bytes, location: str) -> str:
    """Describe an answer that the application did not write."""
    if status == 401:
        return "HTTP 401: the key was refused"
    if location:
        return f"HTTP {status}, a redirect to {location}"
    begins = " ".join(body[:_SHOWN].decode("utf-8", "replace").split())
    text = f": it begins with “{begins}”" if begins else ", without a body"
    return f"HTTP {status} from something before the application{text}"


def is_envelope(document: dict[str, Any]) -> bool:
    """Whether an object is meant as Expedition's envelope, valid or not, in any dialect."""
    keys = document.keys()
    return any(needed <= keys and not keys.isdisjoint(some) for needed, some in _ENVELOPES)


def _is_laravels(document: dict[str, Any]) -> bool:
    """Whether an object is an exception as Laravel writes it in JSON.

    An object with a `message` alone is what many gateways write, too.
    """
    message = document.get("message")
    if not isinstance(message, str):
        return False
    if isinstance(document.get("errors"), dict) or "exception" in document:
        return True
    return document.keys() == {"message"} and message.startswith(_LARAVEL_MESSAGES)
