"""A request to be sent: one of the list of requests, with its ids filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_expedition.suite.request_list import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_expedition.oracle.history import Kind, Probe
    from pytest_expedition.protocol.recipe import JobRecipe


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request to be sent."""

    kind: Kind
    method: str
    path: str
    job_id: int | None = None
    recipe: JobRecipe | None = None
    form: Mapping[str, str] | None = None
    document: Any = None
    probe: Probe = ""

    @property
    def json(self) -> Any:
        """The JSON document that the request carries; ``None`` where it carries a form."""
        return self.recipe.json if self.recipe is not None else self.document

    @property
    def may_be_cancelled(self) -> bool:
        """Whether the job that the request creates may be cancelled, as far as is known."""
        return self.recipe is not None and self.recipe.cancellable is not False


def listed(name: str, **parts: object) -> tuple[str, str]:
    """Return method and path of a request of the list; the suite sends no other."""
    request = REQUESTS[name]
    return request.method.format(**parts), request.path.format(**parts)
