"""The list of every request that the suite can send, and why each harms no job of others.

The client makes its requests from this list alone; the dry run prints it. By the vendor's API
reference `DELETE /api/v1/job` deletes all pending jobs of all users, and a GET stops the agent. So
no request of the suite may become one of these if a proxy, a router or a handler changes its path.
A test applies all changes that these are known to make to each path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_expedition.suite.target import Target

Condition = Literal["", "user name", "start", "control"]
"""What a target must allow: a user name and a password, `start` or `control` of its agent."""

FAR: Final = 1_000_000
"""How far the far id lies above all ids of the run, so that no job gets it meanwhile."""

_LARGEST_OF_32_BITS: Final = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class ListedRequest:
    """A request that the suite can send.

    In its ``path``, `{job}` is the id of a job that the run created, `{far}` an id far above
    these, `{malformed}` one of ``MALFORMED_IDS``, and `{agent}` the id of the agent. `{project}`
    and `{device}` are numbers in the path of a recipe. ``method`` and ``path`` of the creation are
    those of a recipe. ``condition`` is what the target must allow.
    """

    method: str
    path: str
    when: str
    safe: str
    condition: Condition = ""


@dataclass(frozen=True, kw_only=True)
class MalformedId:
    """A malformed id, and the methods with which it is sent.

    In ``text``, `{ended}` is the id of a job of the run that was seen to have ended.
    """

    text: str
    methods: tuple[str, ...]
    safe: str


_STATUS_PATHS: Final = ("/api/v1/job/status/{}", "/api/v1/job/{}?complete=true")


def _status(name: str, *, when: str, safe: str) -> dict[str, ListedRequest]:
    """Return the status requests of the dialects, for an id."""
    system, data = (path.replace("{}", "{" + name + "}") for path in _STATUS_PATHS)
    return {
        f"{name}-status": ListedRequest(method="GET", path=system, when=when, safe=safe),
        f"{name}-status-data": ListedRequest(
            method="GET", path=data, when=f"the same in the dialect data: {when}", safe=safe
        ),
    }


REQUESTS: Final[dict[str, ListedRequest]] = {
    "login": ListedRequest(
        method="POST",
        path="/api/v1/generate_api_key",
        when="at the start, and when the key has expired",
        safe="it gives out a key, and changes no job",
        condition="user name",
    ),
    "older-login": ListedRequest(
        method="POST",
        path="/api/v1/login",
        when="where generate_api_key is answered with 404, or with 401 for a form and for JSON",
        safe="it gives out a key, and changes no job",
        condition="user name",
    ),
    "creation": ListedRequest(
        method="{method}",
        path="{path}",
        when="as often as the limits `jobs` and `concurrent_jobs` allow; also once without a key "
        "and once with a wrong one",
        safe="the target names the request; what it creates is the run's own",
    ),
    **_status(
        "job",
        when="until the job has ended, and at the end of the run; also without a key, with a "
        "wrong one, and without the header Accept",
        safe="it only reads",
    ),
    "job-list": ListedRequest(
        method="GET",
        path="/api/v1/job?status={status}&limit=100&page={page}",
        when="in the dialect data: twice while jobs run and three times after, with `all`, "
        "`completed`, `pending` or `cancelled`; further pages where the first has no job of the "
        "run, up to three",
        safe="it only reads",
    ),
    "project-job": ListedRequest(
        method="GET",
        path="/api/v1/project/{project}/job",
        when="in the dialect data: with the lists of jobs, for each project that a recipe names",
        safe="it only reads",
    ),
    "device-job": ListedRequest(
        method="GET",
        path="/api/v1/device/{device}/job",
        when="in the dialect data: with the lists of jobs, for each device that a recipe names",
        safe="it only reads",
    ),
    "job-cancel": ListedRequest(
        method="DELETE",
        path="/api/v1/job/{job}",
        when="as the plans say, and at the end of the run; also without a key and with a wrong one",
        safe="the run created the job",
    ),
    **_status("far", when="once", safe="it only reads"),
    "far-cancel": ListedRequest(
        method="DELETE",
        path="/api/v1/job/{far}",
        when="once, if its status was just answered as unknown",
        safe=f"the id lies {FAR:,} above all ids of the run: no job has it yet",
    ),
    **_status(
        "malformed",
        when="once for each malformed id",
        safe="it only reads, and no proxy or router can make another request of it",
    ),
    "malformed-cancel": ListedRequest(
        method="DELETE",
        path="/api/v1/job/{malformed}",
        when="once for each malformed id that is marked DELETE",
        safe="a server that reads an id in it reads that of an ended job of the run",
    ),
    "agent-start": ListedRequest(
        method="GET",
        path="/api/v1/agent/start",
        when="at the start, once while jobs run, and wherever this run has stopped the agent",
        safe="it changes nothing where the agent runs; `start = true` allows it",
        condition="start",
    ),
    "agent-stop": ListedRequest(
        method="GET",
        path="/api/v1/agent/stop",
        when="once, for half the time of a job",
        safe="only `control = true` allows it; the agent is started again",
        condition="control",
    ),
    "agent-restart": ListedRequest(
        method="GET",
        path="/api/v1/agent/restart",
        when="once after each stop, until the agent is seen to run",
        safe="only `control = true` allows it",
        condition="control",
    ),
    "agent-start-data": ListedRequest(
        method="POST",
        path="/api/v1/agent/generic/start",
        when="instead of the GET, where that is answered with 404 or 405",
        safe="it changes nothing where the agent runs; `start = true` allows it",
        condition="start",
    ),
    "agent-list-data": ListedRequest(
        method="GET",
        path="/api/v1/agent/generic",
        when="before the agent is stopped by a POST, to learn its id",
        safe="it only reads",
        condition="control",
    ),
    "agent-stop-data": ListedRequest(
        method="POST",
        path="/api/v1/agent/{agent}/stop",
        when="instead of the GET, if there is one agent alone",
        safe="only `control = true` allows it; the agent is started again",
        condition="control",
    ),
    "agent-restart-data": ListedRequest(
        method="POST",
        path="/api/v1/agent/{agent}/restart",
        when="instead of the GET, after the stop",
        safe="only `control = true` allows it",
        condition="control",
    ),
}
"""Every request that the suite can send, by a name."""

MALFORMED_IDS: Final = (
    MalformedId(
        text="{ended}xyz",
        methods=("GET", "DELETE"),
        safe="a server that reads the leading digits reads the id of an ended job of the run",
    ),
    MalformedId(
        text="{ended}%27",
        methods=("GET",),
        safe="the quote is no part of a path's syntax, decoded or not",
    ),
    MalformedId(
        text="{ended}%2F1",
        methods=("GET",),
        safe="decoded it is a path below the status, which the API does not know",
    ),
    MalformedId(
        text="{ended}.5",
        methods=("GET",),
        safe="rounded it may be the id of another job, which is only read",
    ),
    MalformedId(text="-1", methods=("GET",), safe="it is no id, and no empty value either"),
    MalformedId(
        text="9" * 20,
        methods=("GET",),
        safe="cut to the width of a number it may be the id of another job, which is only read",
    ),
)
"""Every malformed id that the suite sends.

Not among them: the empty id, `0`, words and lone quotes, which handlers take for no id at all, so
that the request is about all jobs; and ids with dots and slashes, which lead to other routes.
"""


def malformed_ids(ended: int | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the malformed ids as they stand in a path, with the methods to send.

    Without an ``ended`` job, those that need one are left out.
    """
    for each in MALFORMED_IDS:
        if ended is not None or "{ended}" not in each.text:
            yield each.text.format(ended=ended), each.methods


def far_id(ids: Sequence[int]) -> int | None:
    """Return an id that lies far above those of the run; ``None`` where that is not safe.

    A server that keeps ids in 32 bits would cut it to the id of another job.
    """
    highest = max(ids)
    far = highest + FAR
    return None if highest <= _LARGEST_OF_32_BITS < far else far


def allowed_by(target: Target) -> dict[str, ListedRequest]:
    """Return the requests that the suite can send to a target."""
    allowed = {
        "": True,
        "user name": not target.api_key,
        "start": target.start_agent,
        "control": target.control_agent,
    }
    return {name: each for name, each in REQUESTS.items() if allowed[each.condition]}
