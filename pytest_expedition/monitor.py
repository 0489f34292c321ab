"""The monitor: watches clients, and reports what the server did wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_expedition.recordings.watch import Watch
from pytest_expedition.report.document import document_of
from pytest_expedition.report.text import stories

if TYPE_CHECKING:
    from typing_extensions import Self


class Monitor(Watch):
    """Watches clients (requests, httpx) or a fake instance, and judges what the server told them.

    As a context manager it raises ``AssertionError`` at the end if a MUST was broken, with the
    proof. ``jobs`` are recipes that say which jobs can be cancelled; ``job_seconds`` says how long
    a job may take. Nothing but the watched clients may cancel the jobs that they create. With
    ``record``, the monitor appends what it sees to a trace, as a ``part`` of it.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        broken = self.broken() if kind is None else []
        if broken:
            raise AssertionError("\n\n".join(broken))

    def broken(self) -> list[str]:
        """Judge what was seen so far: tell each MUST that was broken, the causes first."""
        return stories(
            entry
            for entry in document_of(self.judge())["requirements"]
            if (entry["level"], entry["outcome"]) == ("MUST", "fail")
        )
