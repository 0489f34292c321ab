"""One HTTP answer: what it says of a job, in any of the three dialects.

Reading never fails: a field that an answer does not have is ``MISSING``, and ``Answer.problem``
says why a body is not JSON.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Literal

LONGEST_NUMBER: Final = 600
"""Digits of the longest whole number that is read as one; Python may refuse longer ones."""

LONGEST_VALUE: Final = 1000
"""Characters of the longest value that is kept of a large answer."""

MOST_MESSAGES: Final = 10

LARGE: Final = 65536
"""Bytes from which on a body is large: of its long values only a digest is kept."""

Dialect = Literal["system", "msg", "data"]

FAILED: Final = "failed"
"""The ``status_message`` of a job that has failed."""

_NO_OBJECT: Final[dict[str, Any]] = {}


class Missing(Enum):
    """The type of ``MISSING``: a field that is not there, unlike one that is null."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one answer says.

    ``problem`` says why the body is not JSON or contradicts itself, or is ``None``. ``job_id``,
    ``state``, ``status_code`` (``JobMsg.statusCode``), ``status_message`` (of the dialect ``data``)
    and ``next_step`` are the JSON values as they stand, of whatever type, or ``MISSING``. ``place``
    is where in the answer the job stands: ``system.jobs``, ``msg``, ``content`` (a bare ``jobId``)
    or ``data``. ``messages`` are the texts of the response's messages, ``result`` is what stays of
    a finished job: its documented fields besides id and state.
    """

    document: Any = None
    problem: str | None = None
    success: Any = MISSING
    dialect: Dialect | None = None
    place: str = ""
    job_id: Any = MISSING
    state: Any = MISSING
    status_code: Any = MISSING
    status_message: Any = MISSING
    next_step: Any = MISSING
    messages: tuple[str, ...] = ()
    result: dict[str, Any] = field(default_factory=dict)
    pattern: bytes = field(default=b"", compare=False)
    """The body, or what ``reading_cache`` makes of it so that equal answers are read once."""

    @property
    def progress(self) -> float | None:
        """The state as the answer spells it (1 or 1.0), if the documentation allows it: 0 to 1, -1.

        Any other is ``None``.
        """
        state = self.state
        is_number = type(state) is int or type(state) is float
        return state if is_number and (0 <= state <= 1 or state == -1) else None

    @property
    def says_failed(self) -> bool:
        """Whether the answer says in the dialect ``data`` that the job has failed.

        Such a job has ended, wherever its state is.
        """
        return bool(self.status_message == FAILED)

    @property
    def tells_of_a_job(self) -> bool:
        """Whether the answer carries a job's id or state."""
        return not (self.job_id in (MISSING, None) and self.state in (MISSING, None))


def read_answer(body: bytes) -> Answer:
    """Read the body of an answer."""
    problems: list[str] = []

    def accept(constant: str) -> float:
        problems.append(f"it is not JSON: it contains {constant}")
        return float(constant)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            problems.append(f"its key {spelled(twice)} occurs more than once")
        return found

    try:
        document = json.loads(
            body.decode("utf-8"),
            parse_int=whole_number,
            parse_constant=accept,
            object_pairs_hook=unique,
        )
    except UnicodeDecodeError as error:
        return Answer(problem=f"it is not UTF-8: {error.reason} at byte {error.start}")
    except RecursionError:
        return Answer(problem="it is nested too deep")
    except ValueError as error:
        return Answer(problem=f"it is not JSON: {error}" if body else "it is empty")
    problem = problems[0] if problems else None
    if not isinstance(document, dict):
        return Answer(document=document, problem=problem)
    if _is_data(document):
        return _read_data(document, problem)
    return _read_contents(document, problem)


def abridged(answer: Answer) -> Answer:
    """Return an answer that takes little memory: a digest in place of each long value."""

    def short(value: Any) -> Any:
        text = spelled(value)
        if len(text) <= LONGEST_VALUE:
            return value
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return [digest] if isinstance(value, list) else digest

    return replace(
        answer,
        document=None,
        job_id=short(answer.job_id),
        state=short(answer.state),
        status_code=short(answer.status_code),
        status_message=short(answer.status_message),
        next_step=short(answer.next_step),
        messages=tuple(text[:LONGEST_VALUE] for text in answer.messages[:MOST_MESSAGES]),
        result={name: short(value) for name, value in answer.result.items()},
    )


def whole_number(digits: str) -> float:
    """Read a whole number; one that is too long to be read quickly becomes infinite."""
    return int(digits) if len(digits) <= LONGEST_NUMBER else float(digits)


def spelled(value: object) -> str:
    """Return ``value`` as JSON writes it."""
    if value is MISSING:
        return "missing"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def escaped(text: str, *, keep: str = "") -> str:
    """Return a text for a terminal or a file: characters that cannot be shown as JSON has them."""
    return "".join(
        each if each.isprintable() or each in keep else json.dumps(each)[1:-1] for each in text
    )


def _read_contents(document: dict[str, Any], problem: str | None) -> Answer:
    response = _object(_object(document, "Contents"), "response")
    content = _object(_object(response, "data"), "content")
    jobs = _object(_object(content, "system"), "jobs")
    dialect: Dialect | None
    if jobs:
        dialect, place, job = "system", "system.jobs", jobs
    elif isinstance(content.get("msg"), dict):
        dialect, place, job = "msg", "msg", content["msg"]
    elif "jobId" in content:
        dialect, place, job = "msg", "content", content
    else:
        dialect, place, job = None, "", _NO_OBJECT
    other = content.get("msg") if job is jobs else None
    if problem is None and isinstance(other, dict):
        problem = _disagreement(jobs, other)
    job_message = _object(job, "JobMsg")
    return Answer(
        document=document,
        problem=problem,
        success=document.get("success", MISSING),
        dialect=dialect,
        place=place,
        job_id=job.get("jobId", MISSING),
        state=job.get("state", MISSING),
        status_code=job_message.get("statusCode", MISSING),
        next_step=job.get("nextStep", MISSING),
        messages=_texts(_list(_object(response, "response-messages"), "messages"), "message"),
        result={
            name: job[name]
            for name in ("description", "JobMsg", "TasksMsg", "nextStep")
            if name in job
        },
    )


def _disagreement(jobs: dict[str, Any], msg: dict[str, Any]) -> str | None:
    """Return how an answer that shows a job at both places contradicts itself."""
    for name in ("jobId", "state"):
        one, other = jobs.get(name, MISSING), msg.get(name, MISSING)
        if other is not MISSING and one != other:
            return f"its {name} is {spelled(one)} at system.jobs and {spelled(other)} at msg"
    return None


def _is_data(document: dict[str, Any]) -> bool:
    """Whether a document is in the dialect ``data``, whose answers may carry no ``data`` at all."""
    if "Contents" in document or "Type" in document:
        return False
    return any(name in document for name in ("data", "success", "messages"))


def read_job(job: dict[str, Any]) -> Answer:
    """Read one job of a list of the dialect ``data``; its ``document`` is the job alone."""
    return replace(_read_data({"data": job}, None), document=job)


def _read_data(document: dict[str, Any], problem: str | None) -> Answer:
    job = _object(document, "data")
    id_, job_id = job.get("id", MISSING), job.get("job_id", MISSING)
    if problem is None and MISSING not in (id_, job_id) and id_ != job_id:
        problem = f"its id is {spelled(id_)} at data.id and {spelled(job_id)} at data.job_id"
    return Answer(
        document=document,
        problem=problem,
        success=document.get("success", MISSING),
        dialect="data",
        place="data",
        job_id=id_ if job_id is MISSING else job_id,
        state=job.get("state", MISSING),
        status_message=job.get("status_message", MISSING),
        next_step=job.get("next_step", MISSING),
        messages=_texts(_list(document, "messages"), "message"),
        result={
            name: job[name]
            for name in ("description", "status_message", "next_step", "task")
            if name in job
        },
    )


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else _NO_OBJECT


def _list(parent: dict[str, Any], name: str) -> list[Any]:
    value = parent.get(name)
    return value if isinstance(value, list) else []


def _texts(items: list[Any], name: str) -> tuple[str, ...]:
    values = (item.get(name) if isinstance(item, dict) else item for item in items)
    return tuple(value for value in values if isinstance(value, str) and value.strip())
