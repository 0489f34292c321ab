"""Requests that create jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import unquote

from pytest_expedition.checked import checked, require_json

Method = Literal["GET", "POST", "PUT", "PATCH"]


@checked
@dataclass(frozen=True, kw_only=True)
class JobRecipe:
    """A request that creates a job.

    ``path`` begins with ``/api/``. ``form``, ``json`` and ``query`` are what the request carries.
    ``cancellable`` says whether the jobs it creates can be cancelled. ``None`` means unknown, and
    what depends on it is not tested. Raises ``ValueError`` for a request that cannot be sent.
    """

    name: str
    path: str
    method: Method = "POST"
    form: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    cancellable: bool | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("JobRecipe: name = '': must be a text, not empty")
        if not self.path.startswith("/api/"):
            raise ValueError(
                f"JobRecipe: path = {self.path!r}: must be a path that begins with /api/"
            )
        path = _decoded(self.path.partition("?")[0])
        steps = [step.strip().lower() for step in path.split("/")]
        as_sent = _AS_SENT.fullmatch(self.path) and _PLAIN.fullmatch(path)
        if not as_sent or not {".", ".."}.isdisjoint(steps):
            raise ValueError(
                f"JobRecipe: path = {self.path!r}: must be as it is sent, without white space, "
                "`#`, `;`, `\\`, an encoded `?`, and the steps `.` and `..`"
            )
        # A server may strip slashes and suffixes, decode `%61` once or twice, and ignore case.
        bare = [step.partition(".")[0].strip() for step in steps if step]
        if bare[1:3] in (["v1", "job"], ["v1", "agent"]):
            raise ValueError(
                f"JobRecipe: path = {self.path!r}: must create a job; requests about jobs and the "
                "agent are sent by the suite itself"
            )
        if self.json is not None and self.form:
            raise ValueError("JobRecipe: json: must be left out if form is given")
        require_json("JobRecipe", json=self.json)


def _decoded(path: str) -> str:
    """Return a path as it is read where each of several servers decodes it."""
    while (read := unquote(path)) != path:
        path = read
    return path


_AS_SENT: Final = re.compile(r"[^\s#\x00-\x20\x7f]+")

_PLAIN: Final = re.compile(r"[^?#;\\\x00-\x1f\x7f]+")
"""A path, decoded, of which no server cuts off a part."""

DOCUMENTED_IMPORT: Final = JobRecipe(
    name="import",
    path="/api/v1/project/1/import",
    form={"resource": "/tmp/config.xml"},  # noqa: S108
)
"""The documentation's example of a request that creates a job, with project 1."""
