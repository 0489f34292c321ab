"""Reads the lists of jobs that the dialect `data` has, and the job of a project or a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import listing_of
from pytest_expedition.oracle.job_lists import Resource, created_in
from pytest_expedition.suite.plan import AT_THE_END

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.suite.client import Client
    from pytest_expedition.suite.executor import RunningJob

ON_THE_WAY: Final = 0.33
"""How far a job is at least when the lists are read for the first time; no round number, so that a
list that rounds states shows."""

MOST_PAGES: Final = 3
"""Pages that are read of one list, at the most."""

NOT_KNOWN: Final = frozenset({404, 405, 501})
"""HTTP statuses with which a server says that it has no list of jobs."""


class JobLists:
    """Reads lists of jobs twice in a run: while jobs of the first plan run, and after it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._have_read = False
        self._are_known = True

    def read_on_the_way(self, running: Sequence[RunningJob]) -> None:
        """Read the lists once, when a job is on its way."""
        on_the_way = any(ON_THE_WAY <= job.progress < AT_THE_END for job in running)
        if self._have_read or not on_the_way or self._client.dialect != "data":
            return
        self._have_read = True
        self._read_all("all", "completed")

    def read_afterwards(self) -> None:
        """Read the lists once the jobs have ended."""
        if self._client.dialect == "data" and self._client.ledger.ids:
            self._read_all("all", "pending", "cancelled")

    def _read_all(self, *statuses: str) -> None:
        for status in statuses:
            self._read(status)
        for resource in self._resources():
            name = f"{resource.kind}-job"
            self._client.send([self._client.about_jobs(name, **{resource.kind: resource.number})])

    def _read(self, status: str) -> None:
        """Read a list: its first page; where that has no job of the run, the last ones."""
        page, last = 1, 1
        for number in range(MOST_PAGES):
            if not self._are_known or page < 1 or (number and page == 1):
                return
            call = self._client.about_jobs("job-list", status=status, page=page)
            (answer,) = self._client.send([call])
            self._are_known = answer.status not in NOT_KNOWN
            found = listing_of(answer)
            if found is None or not found.told.jobs.keys().isdisjoint(self._client.ledger.ids):
                return
            last = last if number else _pages(answer)
            page = last - number

    def _resources(self) -> list[Resource]:
        """Return the projects and devices that recipes name, each once."""
        named = (created_in(recipe.path) for recipe in self._client.target.jobs)
        return list(dict.fromkeys(each for each in named if each is not None))


def _pages(answer: Exchange) -> int:
    """Return how many pages a list has, by its first page."""
    document = answer.document
    pagination = document.get("pagination") if isinstance(document, dict) else None
    pages = pagination.get("total_pages") if isinstance(pagination, dict) else None
    return pages if type(pages) is int and 0 < pages < 10**9 else 1
