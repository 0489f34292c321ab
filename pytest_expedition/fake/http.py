"""What a client and the fake instance exchange: requests, answers, and both with their times."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from pytest_expedition.fake.bodies import JSON, Refusal, read_form, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ID: Final = re.compile(r"[1-9][0-9]{0,18}")
"""The pattern of an id, and of a page number."""

JSON_HEADERS: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as the instance got it.

    ``path`` is as it was sent, still encoded and without the query. ``at`` is the clock's time.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    at: float = 0.0
    own_answer: Response | None = field(default=None, compare=False, repr=False)
    """The answer that a test has set; then the instance does not answer itself."""

    @property
    def form(self) -> dict[str, str]:
        """The form fields of the body, if it is a form; the last value of a repeated field."""
        with contextlib.suppress(Refusal):
            return self.read_form()
        return {}

    def read_form(self) -> dict[str, str]:
        """Return the form fields of the body. Raises ``Refusal`` if it cannot be accepted."""
        return read_form(
            self.body,
            content_type=self.header("Content-Type"),
            content_encoding=self.header("Content-Encoding"),
        )

    @property
    def carries_json(self) -> bool:
        """Whether the request says that its body is JSON."""
        return self.header("Content-Type").partition(";")[0].strip().lower() == JSON

    def read_json(self) -> Any:
        """Return the JSON document of the body. Raises ``Refusal`` if there is none."""
        return read_json(self.body, content_encoding=self.header("Content-Encoding"))

    def choice(self, name: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Return a field of the query, or its default if there is one.

        Raises ``Refusal`` if it is missing without a default, or its value is not allowed.
        """
        given = dict(parse_qsl(self.query, keep_blank_values=True))
        if name not in given and default is not None:
            return default
        value = given.get(name, "")
        if value not in allowed:
            raise Refusal(400, f"{name} must be one of {', '.join(allowed)}")
        return value

    def number(self, name: str, default: int) -> int:
        """Return a number of the query, at least 1. Raises ``Refusal`` for anything else."""
        value = dict(parse_qsl(self.query, keep_blank_values=True)).get(name, str(default))
        if not ID.fullmatch(value):
            raise Refusal(400, f"{name} must be a number of at least 1")
        return int(value)

    def header(self, name: str) -> str:
        """Return the value of a header, whatever the case of its name; empty if it is not there."""
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), "")


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer: HTTP status, headers and body.

    ``cut`` is how many bytes of the body are sent before the connection breaks, if it does; with 0
    nothing of the answer is sent, not even its head.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: JSON_HEADERS)
    body: bytes = b""
    cut: int | None = None


@dataclass(frozen=True, kw_only=True)
class Handled:
    """A request and its answer; ``begun`` and ``done`` are the machine's monotonic seconds.

    ``by_another_user`` says that no client sent it, but another user in a situation.
    """

    request: Request
    response: Response
    begun: float
    done: float
    by_another_user: bool = False
