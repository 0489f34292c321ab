"""Answers that a test, or a file, gives in place of the instance.

pytest-httpserver selects the answer. This module converts requests and answers to its types and
back, and reads the file.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final, cast

from pytest_httpserver.httpserver import METHOD_ALL
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request as WerkzeugRequest

from pytest_expedition.fake.http import Request, Response
from pytest_expedition.fake.instance import is_of_job_api
from pytest_expedition.user_files import read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_httpserver import HTTPServer
    from werkzeug.wrappers import Response as WerkzeugResponse

_TYPES: Final = {"method": str, "path": str, "status": int}
_KEYS: Final = ("method", "path", "status", "json")


class AnswersError(ValueError):
    """A file of answers that cannot be used: what is wrong with it, and where."""


def as_werkzeug(request: Request, *, url: str) -> WerkzeugRequest:
    """Return a request as pytest-httpserver matches and handles it."""
    environ = EnvironBuilder(
        method=request.method,
        path=request.path,
        query_string=request.query,
        base_url=url,
        headers=list(request.headers.items()),
        input_stream=io.BytesIO(request.body),
    ).get_environ()
    environ["CONTENT_LENGTH"] = str(len(request.body))
    return WerkzeugRequest(environ)


def as_response(response: WerkzeugResponse, request: WerkzeugRequest) -> Response:
    """Return an answer as the fake sends it."""
    headers = response.get_wsgi_headers(request.environ)
    for name in ("Content-Length", "Date", "Server"):  # the server writes these with every answer
        headers.remove(name)
    # A header may be there twice, so it stays werkzeug's mapping.
    told = cast("Mapping[str, str]", headers)
    return Response(status=response.status_code, headers=told, body=response.get_data())


def add_answers(server: HTTPServer, path: Path) -> None:
    """Add the answers of a TOML file to a server.

    The file has one table `[[answer]]` for each answer: `path`, and optionally `method` (any by
    default), `status` (200) and `json` (no body). Raises ``AnswersError`` for any other file.
    """
    try:
        document = read_toml(path)
    except ValueError as error:
        raise AnswersError(str(error)) from None
    answers = document.pop("answer", [])
    if document or not isinstance(answers, list) or not answers:
        found = f"found {', '.join(document)}" if document else "there is none"
        raise AnswersError(f"{path}: must hold tables [[answer]] and nothing else: {found}")
    for number, answer in enumerate(answers, 1):
        _add(server, answer, where=f"{path}: answer {number}")


def _add(server: HTTPServer, answer: Any, *, where: str) -> None:
    try:
        _check(answer)
        body = ""
        if "json" in answer:
            body = json.dumps(answer["json"], default=_refuse, allow_nan=False)
        handler = server.expect_request(answer["path"], method=answer.get("method", METHOD_ALL))
    except ValueError as error:
        raise AnswersError(f"{where}: {error}") from None
    handler.respond_with_data(body, answer.get("status", 200), content_type="application/json")


def _check(answer: Any) -> None:
    if not isinstance(answer, dict):
        raise ValueError(f"must be a table, got {answer!r}")  # noqa: TRY004 - as the others
    for key, value in answer.items():
        if key not in _KEYS:
            raise ValueError(f"{key}: is not known: must be one of {', '.join(_KEYS)}")
        expected = _TYPES.get(key, object)
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise ValueError(f"{key} = {value!r}: must be of the type {expected.__name__}")
    path, status = answer.get("path", ""), answer.get("status", 200)
    if not path.startswith("/") or "?" in path:
        raise ValueError(f"path = {path!r}: must begin with / and have no query")
    if is_of_job_api(path):
        raise ValueError(f"{path}: the fake answers this path of the job API itself: remove it")
    if not 200 <= status <= 599:
        raise ValueError(f"status = {status!r}: must be from 200 to 599")
    method = answer.get("method", "GET")
    if not (method.isascii() and method.isalpha()):
        raise ValueError(f"method = {method!r}: must be a method of HTTP, such as GET")


def _refuse(value: object) -> Any:
    raise ValueError(f"json: has {value!r}, which JSON does not know")
