"""Histories built by hand: a small language in which the tests of the oracle tell what happened.

Every answer is a real body, read by the real envelope reader. Each exchange takes a tenth of a
second and follows the one before it, unless ``at`` and ``until`` say otherwise.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_expedition.oracle.history import Exchange, History, Probe
from pytest_expedition.oracle.rules import INCONCLUSIVE, RULES, NotExercised, Suspicion, Violation
from pytest_expedition.recordings.files import open_recordings
from pytest_expedition.recordings.trace import Line, Trace

if TYPE_CHECKING:
    from pathlib import Path

JOB = 1619


def trace_lines(path: Path) -> list[Line]:
    """The lines of a trace."""
    return [line for recording in open_recordings(path) for line in Trace(recording)]


RAISED: Any = object()


def envelope(
    content: Any, *, messages: tuple[str, ...] = (), success: bool = True
) -> dict[str, Any]:
    """The documented envelope."""
    return {
        "Type": "success" if success else "error",
        "success": success,
        "Contents-Format": "json",
        "Contents": {
            "code": 0,
            "success": success,
            "cacheable": False,
            "metadata": {},
            "response": {
                "total": 1,
                "current-page": 1,
                "per-page": 10,
                "total-pages": 1,
                "state": 0,
                "response-messages": {
                    "total": len(messages),
                    "code": 0,
                    "messages": [{"message": text, "details": {}} for text in messages],
                },
                "data": {
                    "total-objects": None,
                    "fields": None,
                    "columns": None,
                    "content": content,
                },
            },
        },
    }


def job_fields(job_id: Any = JOB, state: Any = 0, **changes: Any) -> dict[str, Any]:
    """The documented fields of a job; a change to ``RAISED`` leaves the field out."""
    code = int(isinstance(state, int | float) and state == 1)
    fields = {
        "jobId": job_id,
        "description": "Importing",
        "state": state,
        "JobMsg": {"statusCode": code, "statusMessage": "ok"},
        "TasksMsg": [],
        "nextStep": [],
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not RAISED}


def in_data(**job: Any) -> dict[str, Any]:
    """The documented envelope of the dialect `data`, with the fields of a job."""
    return {
        "data": job,
        "metadata": [],
        "pagination": {"total": 1, "current_page": 1, "per_page": 25, "total_pages": 1},
        "success": True,
    }


PAGE = b"<html><body><h1>Try again later</h1></body></html>"
"""What a gateway answers in the place of the application."""


class Story:
    """A history in the making."""

    def __init__(self, *, job_seconds: float = 60.0) -> None:
        self.exchanges: list[Exchange] = []
        self.job_seconds = job_seconds
        self.now = 0.0

    def add(
        self,
        kind: Any,
        method: str,
        path: str,
        document: Any,
        *,
        at: float | None = None,
        until: float | None = None,
        status: int | None = 200,
        job: int | None = None,
        cancellable: bool | None = None,
        probe: Probe = "",
    ) -> Story:
        sent = self.now if at is None else at
        received = sent + 0.1 if until is None else until
        self.now = max(self.now, received + 0.1)
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.exchanges.append(
            Exchange(
                kind=kind,
                method=method,
                path=path,
                sent=sent,
                received=received,
                status=status,
                body=b"" if status is None else body,
                lost="no answer in time" if status is None else "",
                job_id=job,
                cancellable=cancellable,
                probe=probe,
            )
        )
        return self

    def create(
        self,
        job: Any = JOB,
        state: Any = 0,
        *,
        cancellable: bool | None = None,
        fields: dict[str, Any] | None = None,
        **timing: Any,
    ) -> Story:
        """A creation, answered with a job."""
        document = envelope({"system": {"jobs": job_fields(job, state, **(fields or {}))}})
        path = "/api/v1/project/1/import"
        return self.add("create", "POST", path, document, cancellable=cancellable, **timing)

    def poll(
        self, state: Any, *, job: int = JOB, fields: dict[str, Any] | None = None, **timing: Any
    ) -> Story:
        """A status request, answered with a state."""
        content = {"system": {"jobs": job_fields(job, state, **(fields or {}))}}
        return self.answer_poll(envelope(content), job=job, **timing)

    def answer_poll(self, document: Any, *, job: int = JOB, **timing: Any) -> Story:
        """A status request, answered with whatever document."""
        return self.add("status", "GET", f"/api/v1/job/status/{job}", document, job=job, **timing)

    def cancel(
        self,
        state: Any,
        *,
        job: int = JOB,
        says: tuple[str, ...] = (),
        fields: dict[str, Any] | None = None,
        **timing: Any,
    ) -> Story:
        """A cancel, answered with a state and messages."""
        content = {"system": {"jobs": job_fields(job, state, **(fields or {}))}}
        return self.answer_cancel(envelope(content, messages=says), job=job, **timing)

    def answer_cancel(self, document: Any, *, job: int = JOB, **timing: Any) -> Story:
        """A cancel, answered with whatever document."""
        return self.add("cancel", "DELETE", f"/api/v1/job/{job}", document, job=job, **timing)

    def tell_agent(self, command: str, *, success: bool = True, **timing: Any) -> Story:
        """A command to the agent: start, stop or restart."""
        document = envelope(None, messages=("done",), success=success)
        return self.add("agent", "GET", f"/api/v1/agent/{command}", document, **timing)

    def lose(self, kind: Any, *, job: int = JOB, **timing: Any) -> Story:
        """A request whose answer was lost."""
        return self.add(kind, "GET", f"/api/v1/job/{job}", b"", job=job, status=None, **timing)

    def history(self) -> History:
        return History(self.exchanges, job_seconds=self.job_seconds)


def error(message: str = "No") -> dict[str, Any]:
    """An error envelope."""
    return envelope(None, messages=(message,), success=False)


def faults(story: Story, requirement: str) -> list[str]:
    """The faults that the requirement's rule finds."""
    return [x.fault.id for x in RULES[requirement](story.history()) if isinstance(x, Violation)]


def verdict_on(story: Story, requirement: str) -> str | list[str]:
    """The faults found, or "inconclusive", "suspected", "kept" or "not exercised"."""
    found = faults(story, requirement)
    if found:
        return found
    judged = set(RULES[requirement](story.history()))
    judged = {each for each in judged if not isinstance(each, NotExercised)}
    if INCONCLUSIVE in judged:
        return "inconclusive"
    if any(isinstance(x, Suspicion) for x in judged):
        return "suspected"
    return "kept" if judged else "not exercised"
