"""Reads the bodies of requests: which types are accepted, and the fields of a form."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

if TYPE_CHECKING:
    from typing import NoReturn

URL_ENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
JSON: Final = "application/json"

BODY_LIMIT: Final = 8 * 1024 * 1024
"""The most bytes that a body may have: PHP's default limit for a form."""

FIELD_LIMIT: Final = 1000
"""The most fields that a form may have: PHP's default limit."""

_BROKEN_ESCAPE: Final = re.compile(b"%(?![0-9A-Fa-f]{2})")


class Refusal(Exception):  # noqa: N818 - it ends a request, and is no error of ours
    """A request that cannot be accepted: the HTTP status of the refusal, and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def read_form(body: bytes, *, content_type: str, content_encoding: str = "") -> dict[str, str]:
    """Return the form fields of a body: the last value of a repeated field, no fields for JSON.

    Raises ``Refusal`` if the body is malformed (400) or of another type (415).
    """
    if not body:
        return {}
    media_type, options = parse_options_header(content_type)
    readers = {
        URL_ENCODED: _read_url_encoded,
        MULTIPART: lambda multipart: _read_multipart(multipart, options),
        JSON: _check_json,
    }
    reader = readers.get(media_type.lower())
    if reader is None or content_encoding not in {"", "identity"}:
        raise Refusal(415, f"The body must be {', '.join(readers)}, and not be compressed")
    try:
        return reader(body)
    except (ValueError, RecursionError, RequestEntityTooLarge):
        raise Refusal(400, f"The body is not {media_type.lower()}") from None


def read_json(body: bytes, *, content_encoding: str = "") -> Any:
    """Return the JSON document of a body.

    Raises ``Refusal`` if it is malformed (400) or compressed (415).
    """
    if content_encoding not in {"", "identity"}:
        raise Refusal(415, "The body must not be compressed")
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, f"The body is not {JSON}") from None


def _read_url_encoded(body: bytes) -> dict[str, str]:
    if _BROKEN_ESCAPE.search(body):
        raise ValueError("a broken escape")
    fields = parse_qsl(
        body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELD_LIMIT
    )
    return dict(fields)


def _read_multipart(body: bytes, options: dict[str, str]) -> dict[str, str]:
    _, form, _ = _multipart_parser().parse(io.BytesIO(body), MULTIPART, len(body), options)
    return {name: values[-1] for name, values in form.lists()}


def names_in_multipart(body: bytes, *, content_type: str) -> set[str]:
    """Return the names of the fields and files of a multipart form; none for another body."""
    media_type, options = parse_options_header(content_type)
    if media_type.lower() != MULTIPART:
        return set()
    _, form, files = _multipart_parser().parse(io.BytesIO(body), MULTIPART, len(body), options)
    return {*form, *files}


def _multipart_parser() -> FormDataParser:
    return FormDataParser(
        stream_factory=lambda *_, **__: io.BytesIO(), max_form_parts=FIELD_LIMIT, silent=False
    )


def _check_json(body: bytes) -> dict[str, str]:
    json.loads(body.decode(), parse_constant=_refuse_constant)
    return {}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
