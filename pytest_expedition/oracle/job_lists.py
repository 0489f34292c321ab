"""What a list of jobs says of each of them.

The dialect `data` has such lists (`GET job?status=…`). It also tells the job of a project or of a
device (`GET project/{id}/job`), which is read as a list of one job.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs

from pytest_expedition.protocol.envelope import Answer, read_job

if TYPE_CHECKING:
    from collections.abc import Iterator

USUAL_PAGE: Final = 25
"""Jobs on a page where the request does not say how many; a server may never show more."""

_ALL_JOBS: Final = re.compile("/api/v1/job/?")
_OF_RESOURCE: Final = re.compile("/api/v1/(project|device)/([0-9]+)/job/?")
_CREATED_IN: Final = re.compile("/api/v1/(project|device)s?/([0-9]+)/")


class Resource(NamedTuple):
    """A project or a device."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


@dataclass(frozen=True, kw_only=True)
class JobList:
    """A list of jobs, as an answer shows it.

    ``status`` is the filter that was asked for; it is empty where the job of a ``resource`` was
    asked for. ``jobs`` are the jobs by their ids. ``is_whole`` says whether no job can stand on
    another page.
    """

    status: str
    resource: Resource | None
    jobs: dict[int, Answer]
    is_whole: bool


def read_job_list(path: str, document: object) -> JobList:
    """Read the answer to a request for a list of jobs, which is at ``path``."""
    path, _, query = path.partition("?")
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    resource = _resource(_OF_RESOURCE.fullmatch(path))
    answer = document if isinstance(document, dict) else {}
    told = list(_jobs(answer, one=resource is not None))
    return JobList(
        status="" if resource else asked.get("status", "pending"),
        resource=resource,
        jobs={job.job_id: job for job in told if type(job.job_id) is int and not job.problem},
        is_whole=not resource and "type" not in asked and _is_whole(asked, answer, len(told)),
    )


def is_of_all_jobs(path: str) -> bool:
    """Whether a path asks for a list of jobs, not for the job of a project or device."""
    return _ALL_JOBS.fullmatch(path.partition("?")[0]) is not None


def is_of_resource(path: str) -> bool:
    """Whether a path asks for the job of a project or a device."""
    return _OF_RESOURCE.fullmatch(path.partition("?")[0]) is not None


def created_in(path: str) -> Resource | None:
    """Return the project or device in which a request creates a job, by its path."""
    return _resource(_CREATED_IN.match(path))


def told_resource(job: Answer) -> Resource | None:
    """Return the project or device that an answer says a job is about, if it names one."""
    kind, number = job.document.get("resource_type"), job.document.get("resource")
    if kind in {"project", "device"} and type(number) is int:
        return Resource(kind, number)
    return None


def _resource(match: re.Match[str] | None) -> Resource | None:
    return Resource(match[1], int(match[2])) if match is not None and len(match[2]) < 19 else None


def _jobs(document: dict[str, Any], *, one: bool) -> Iterator[Answer]:
    data = document.get("data")
    if not isinstance(data, dict):
        return
    told = [data] if one else data.get("job")
    for job in told if isinstance(told, list) else ():
        if isinstance(job, dict):
            yield read_job(job)


def _is_whole(asked: dict[str, str], document: dict[str, Any], count: int) -> bool:
    """Whether a list has no other page, by what was asked and by all that the answer says."""
    pagination = document.get("pagination")
    pages = pagination if isinstance(pagination, dict) else {}
    if asked.get("page", "1") != "1" or pages.get("total_pages", 1) not in (0, 1):
        return False
    limits = (USUAL_PAGE, asked.get("limit"), pages.get("per_page"))
    numbers = [int(each) for each in map(str, limits) if each.isascii() and each.isdigit()]
    return count < min(numbers) and pages.get("total", count) == count
