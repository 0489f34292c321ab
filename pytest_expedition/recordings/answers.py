"""Writes down what a fake instance of this process answers, each answer at once.

The functions returned here are for the ``listeners`` of an ``ExpeditionServer``.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_expedition import real_time
from pytest_expedition.protocol import envelope
from pytest_expedition.recordings.classification import ForeignExchange, classify
from pytest_expedition.recordings.trace import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def to_trace(path: Path, *, url: str, part: str = "") -> Callable[[Any], None]:
    """Return what adds each answer about jobs to a trace, as a part of it, without secrets."""
    begun = real_time.now()
    secrets: dict[str, None] = {}

    def write(handled: Any) -> None:
        request, response = handled.request, handled.response
        lost = response.cut is not None
        exchange = ForeignExchange(
            method=request.method,
            url=f"{url}{request.path}" + (f"?{request.query}" if request.query else ""),
            headers=request.headers,
            request_body=request.body,
            sent=handled.begun - begun,
            received=handled.done - begun,
            status=None if lost else response.status,
            body=b"" if lost else response.body,
            lost="the connection broke before all was sent" if lost else "",
        )
        found = classify([exchange], all_headers=True)
        secrets.update(dict.fromkeys(found.secrets))
        for exchanges in found.servers.values():
            with Recorder(path, server=url, part=part) as recorder:
                for each in exchanges:
                    recorder.write(each, secrets=secrets)

    return write


def to_terminal(handled: Any) -> None:
    """Write a line about an answer to the standard error output."""
    request, response = handled.request, handled.response
    said = "no answer: the connection broke" if response.cut is not None else str(response.status)
    answer = envelope.read(response.body if response.cut is None else b"")
    if answer.progress is not None:
        said += f", state {answer.progress:g}"
    line = f"{datetime.now():%H:%M:%S} {request.method} {request.path} → {said}\n"  # noqa: DTZ005
    encoding = sys.stderr.encoding or "utf-8"
    sys.stderr.write(line.encode(encoding, "replace").decode(encoding))
    sys.stderr.flush()
