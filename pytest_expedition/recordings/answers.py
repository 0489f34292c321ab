"""Records the answers of a fake instance in this process, each as soon as it is sent.

The functions returned here are for the ``listeners`` of an ``ExpeditionServer``.
"""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_expedition import real_time
from pytest_expedition.protocol import envelope
from pytest_expedition.recordings.classification import classify
from pytest_expedition.recordings.trace import Recorder
from pytest_expedition.recordings.watch import as_exchange

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_expedition.fake.http import Handled


class TraceError(Exception):
    """A trace that cannot be written; the message says which one, and why."""


def to_trace(
    path: Path, *, url: str, part: Callable[[], str] = lambda: ""
) -> Callable[[Handled], None]:
    """Return a function that adds each answer about jobs to a trace, without secrets.

    ``part`` says which part of the trace an answer belongs to. The function raises ``TraceError``
    where the trace cannot be written.
    """
    begun = real_time.now()
    secrets: dict[str, None] = {}

    def write(handled: Handled) -> None:
        exchange = as_exchange(handled, url=url, begun=begun)
        found = classify([exchange], all_headers=True)
        secrets.update(dict.fromkeys(found.secrets))
        try:
            for exchanges in found.servers.values():
                with Recorder(path, server=url, part=part()) as recorder:
                    for each in exchanges:
                        recorder.write(each, secrets=secrets)
        except OSError as error:
            message = f"the trace {path} cannot be written: {error.strerror}"
            raise TraceError(message) from None

    return write


def to_terminal(handled: Handled) -> None:
    """Write a line about an answer to standard error, if that can be written."""
    request, response = handled.request, handled.response
    said = "no answer: the connection broke" if response.cut is not None else str(response.status)
    answer = envelope.read_answer(response.body if response.cut is None else b"")
    if answer.progress is not None:
        said += f", state {answer.progress:g}"
    line = f"{datetime.now():%H:%M:%S} {request.method} {request.path} → {said}\n"  # noqa: DTZ005
    encoding = sys.stderr.encoding or "utf-8"
    with contextlib.suppress(OSError):  # whatever reads it may be gone
        sys.stderr.write(line.encode(encoding, "replace").decode(encoding))
        sys.stderr.flush()
