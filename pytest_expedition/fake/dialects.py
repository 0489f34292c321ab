"""The dialects of the job API: where each writes a job, and the envelope around it.

Each dialect starts from the fields that ``system`` has. It leaves out those that it does not have
itself; fields that are not documented stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DialectName = Literal["system", "msg", "data", "mixed"]
DIALECTS: Final[tuple[DialectName, ...]] = get_args(DialectName)

Fields = dict[str, Any]


class Envelope(Protocol):
    """A function that puts the documented envelope around a content."""

    def __call__(
        self, content: Any, *, messages: Sequence[str], success: bool, code: int
    ) -> Fields:
        """Return the whole document."""


@dataclass(frozen=True, kw_only=True)
class WrittenDialect:
    """How a dialect writes.

    ``creation``, ``first_status`` and ``job`` turn the fields of a job into the content of the
    creation answer, of the first status answer, and of later ones and those to cancels.
    ``status_path`` is the path of a status request; its group is the job id.
    """

    creation: Callable[[Fields], Fields]
    first_status: Callable[[Fields], Fields]
    job: Callable[[Fields], Fields]
    envelope: Envelope
    status_path: re.Pattern[str]


def _system(fields: Fields) -> Fields:
    return {"system": {"jobs": fields}}


def _both_places(fields: Fields) -> Fields:
    return {"system": {"jobs": fields}, "msg": fields}


def _at_msg(fields: Fields) -> Fields:
    return {"msg": fields}


def _msg_creation(fields: Fields) -> Fields:
    return _without(fields, "description", "state", "JobMsg", "TasksMsg", "nextStep")


def _msg(fields: Fields) -> Fields:
    job = _without(fields, "jobId", "description", "JobMsg", "nextStep")
    if isinstance(fields.get("TasksMsg"), list):
        job["TasksMsg"] = tasks = _tasks(fields)
        job["errors"] = [task["statusMessage"] for task in tasks if task.get("statusCode") == -1]
    return {"msg": job}


def _tasks(fields: Fields) -> list[Fields]:
    """Write tasks as objects; if the job failed, the last task is the one that failed."""
    job_message = fields.get("JobMsg")
    failed = isinstance(job_message, dict) and job_message.get("statusCode") == -1
    last = len(fields["TasksMsg"]) - 1
    return [
        {
            "statusCode": -1 if failed and number == last else 1,
            "statusMessage": task,
            "resultCode": 0,
        }
        if isinstance(task, str)
        else dict(task)
        for number, task in enumerate(fields["TasksMsg"])
    ]


def _data_creation(fields: Fields) -> Fields:
    job = _without(fields, "description", "state", "JobMsg", "TasksMsg", "nextStep")
    return {"job_id" if name == "jobId" else name: value for name, value in job.items()}


def _data(fields: Fields) -> Fields:
    job = _without(fields, "jobId", "JobMsg", "TasksMsg", "nextStep")
    if "jobId" in fields:
        job["id"] = fields["jobId"]
    if isinstance(fields.get("JobMsg"), dict):
        job["status_message"] = _status_word(fields)
    if isinstance(fields.get("nextStep"), list):
        job["next_step"] = [_step(each) for each in fields["nextStep"]]
    elif "nextStep" in fields:
        job["next_step"] = fields["nextStep"]
    if "TasksMsg" in fields:
        tasks = fields["TasksMsg"]
        job["task"] = [_statement(task) for task in tasks] if isinstance(tasks, list) else tasks
        last = job["task"][-1:] if isinstance(tasks, list) else ()
        job["task_message"] = dict(last[0]) if last else None
    return job


def _status_word(fields: Fields) -> str:
    """Return the status word of a job: by its status code if it has one, else by its state."""
    code, state = fields["JobMsg"].get("statusCode"), fields.get("state")
    if code in {1, -1}:
        return "completed" if code == 1 else "failed"
    if state == -1:
        return "cancelled"
    return "pending" if state == 0 else "running"


def _step(step: Any) -> Any:
    return {"description": step} if isinstance(step, str) else step


def _statement(task: str | Fields) -> Fields:
    return {"statusMessage": task if isinstance(task, str) else task.get("statusMessage")}


def _without(fields: Fields, *names: str) -> Fields:
    return {name: value for name, value in fields.items() if name not in names}


def contents_envelope(
    content: Any, *, messages: Sequence[str] = (), success: bool = True, code: int = 0
) -> Fields:
    """Put the envelope of the dialects ``system`` and ``msg`` around a content."""
    kind = "success" if success else "error"
    causes = {"module": "expedition-api", "code": code, "description": ""}
    return {
        "Type": kind,
        "success": success,
        "Contents-Format": "json",
        "Contents": {
            "code": code,
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
                    "code": code,
                    "messages": [
                        {"message": message, "details": {"type": kind, "causes": causes}}
                        for message in messages
                    ],
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


def data_envelope(content: Any, *, messages: Sequence[str], success: bool, code: int) -> Fields:
    """Put the envelope of the dialect ``data`` around a content."""
    details = {"module": "expedition-api", "description": ""}
    return {
        **({} if content is None else {"data": content}),
        "metadata": {},
        "pagination": {"total": 1, "current_page": 1, "per_page": 25, "total_pages": 1},
        "success": success,
        "messages": [
            {"message": message, "code": code, "details": details} for message in messages
        ],
    }


def date_at(seconds: float) -> str:
    """Return a time of an instance's clock as Laravel writes dates."""
    return f"{_FIRST_DAY + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"


_FIRST_DAY: Final = datetime(2023, 5, 31, tzinfo=timezone.utc)
"""The date when the clock is at 0."""

_STATUS: Final = "/api/v1/job/status/([^/]*)"

_SYSTEM: Final = WrittenDialect(
    creation=_system,
    first_status=_both_places,
    job=_both_places,
    envelope=contents_envelope,
    status_path=re.compile(_STATUS),
)

WRITTEN: Final[dict[DialectName, WrittenDialect]] = {
    "system": _SYSTEM,
    "msg": WrittenDialect(
        creation=_msg_creation,
        first_status=_msg,
        job=_msg,
        envelope=contents_envelope,
        status_path=re.compile(_STATUS + "(?:/complete)?"),
    ),
    "data": WrittenDialect(
        creation=_data_creation,
        first_status=_data,
        job=_data,
        envelope=data_envelope,
        status_path=re.compile("/api/v1/job/([^/]*)"),
    ),
    "mixed": replace(_SYSTEM, first_status=_at_msg, job=_system),
}
"""How each dialect writes; ``mixed`` is what the page “Managing Jobs” shows."""
