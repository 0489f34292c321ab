"""How a broken server is declared, and what several of them use."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from pytest_expedition.fake.dialects import DIALECTS
from pytest_expedition.fake.http import Response
from pytest_expedition.fake.instance import Instance, docstring_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.simulation import Job

Shows = Literal[
    "always",
    "rarely",
    "one of several jobs",
    "the second time",
    "one part of a job's life",
    "while others are under way",
    "by a hair",
]
"""When a defect shows."""


@dataclass(frozen=True, kw_only=True)
class BrokenServer:
    """A broken server: how to make it, its defect, and the requirements that it breaks.

    ``breaks`` are ids of requirements. The defect is aimed at the first; the others may break with
    it. ``dialects`` are those in which the defect can show. ``nameless`` replaces ``breaks`` in
    dialects whose status carries no job id, and ``in_data`` in the dialect ``data``, whose answers
    to cancels do not show the job.
    """

    name: str
    make: Callable[[], Instance]
    defect: str
    breaks: tuple[str, ...]
    shows: Shows
    dialects: tuple[DialectName, ...] = DIALECTS
    nameless: tuple[str, ...] = ()
    in_data: tuple[str, ...] = ()

    def breaks_in(self, dialect: DialectName) -> tuple[str, ...]:
        """Return the requirements that it breaks when it speaks a dialect."""
        if self.in_data and dialect == "data":
            return self.in_data
        return self.nameless if self.nameless and dialect not in NAMED else self.breaks


FULL: Final[tuple[DialectName, ...]] = ("system", "mixed")
"""The dialects that carry every documented field of a job, in the creation answer too."""

NAMED: Final[tuple[DialectName, ...]] = ("system", "data", "mixed")
"""The dialects whose status carries the job's id, its status code and its next steps."""

SHOWN_BY_DELETE: Final[tuple[DialectName, ...]] = ("system", "msg", "mixed")
"""The dialects in which the answer to a cancel must show the job's state."""

GOES_BACK: Final = (
    "status.monotonic",
    "cancel.isolation",
    "cancel.race",
    "refuse.state",
    "refuse.continues",
)
"""The requirements that a state that goes back breaks: it may go back around a cancel."""

BROKEN: Final[dict[str, BrokenServer]] = {}
"""Every broken server, by its name."""


_Server = TypeVar("_Server", bound=type[Instance])


def broken(
    name: str,
    *breaks: str,
    shows: Shows = "always",
    dialects: tuple[DialectName, ...] = DIALECTS,
    nameless: tuple[str, ...] = (),
    in_data: tuple[str, ...] = (),
) -> Callable[[_Server], _Server]:
    """Declare a broken server: its name, what it breaks, and when and where that shows."""

    def declare(server: _Server) -> _Server:
        assert name not in BROKEN
        BROKEN[name] = BrokenServer(
            name=name,
            make=server,
            defect=docstring_of(server),
            breaks=tuple(dict.fromkeys(breaks)),
            shows=shows,
            dialects=dialects,
            nameless=nameless,
            in_data=in_data,
        )
        return server

    return declare


def laravel_page(status: int, title: str) -> Response:
    """Return the HTML page that Laravel shows after an error."""
    page = (
        f'<!DOCTYPE html><html lang="en"><head><title>{title}</title></head>'
        f'<body class="antialiased"><div>{status}</div><div>{title}</div></body></html>'
    )
    return Response(status=status, headers={"Content-Type": "text/html"}, body=page.encode())


def nth(job: Job, every: int) -> bool:
    """Whether the id of the job is a multiple of ``every``."""
    return job.id % every == 0


def born_together(instance: Instance, job: Job) -> list[Job]:
    """Return the jobs that were created at the same time as a job, itself among them."""
    return [each for each in instance.jobs.values() if abs(each.created - job.created) < 0.01]


@contextlib.contextmanager
def another_dialect(instance: Instance) -> Iterator[None]:
    """Let an instance speak a dialect that no documentation shows beside its own."""
    own = instance.dialect
    instance.dialect = "system" if own == "data" else "data"
    try:
        yield
    finally:
        instance.dialect = own
