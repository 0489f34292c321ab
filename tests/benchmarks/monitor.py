"""What a monitor adds to a request over loopback, and how long it takes to judge.

Asks the fake for the status of a job, with one session that is watched and one that is not, by
turns.
"""

from __future__ import annotations

import functools
import statistics
import time
from typing import TYPE_CHECKING

import requests
from frame import Row, by_turns, main, median, spread, versions

from pytest_expedition import ExpeditionServer, Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator

WARM_UP = 200
REQUESTS = 3000


def measure() -> Iterator[Row]:
    server = ExpeditionServer()
    server.start()
    sessions = {"plain": requests.Session(), "watched": requests.Session()}
    for session in sessions.values():
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {server.api_key}"
    sessions["plain"].post(f"{server.url}/api/v1/project/1/import", timeout=10)
    url = f"{server.url}/api/v1/job/status/{server.jobs[0].id}"

    def once(session: requests.Session) -> float:
        begun = time.perf_counter()
        session.get(url, timeout=10)
        return time.perf_counter() - begun

    runs = {name: functools.partial(once, session) for name, session in sessions.items()}
    monitor = Monitor(sessions["watched"])
    by_turns(WARM_UP, runs)
    took = by_turns(REQUESTS, runs)
    monitor.stop()
    begun = time.perf_counter()
    monitor.broken()
    judged = time.perf_counter() - begun
    server.stop()
    added = [b - a for a, b in zip(took["plain"], took["watched"], strict=True)]
    share = statistics.median(added) / statistics.median(took["plain"])
    for_versions = versions("requests")
    yield Row(
        what="what `expedition_monitor` adds to a request",
        goal="",
        figure=f"{median(added, 'ms', 1e3)}, {100 * share:.0f} %",
        spread=spread(added, "ms", 1e3),
        versions=for_versions,
    )
    yield Row(
        what=f"what it takes to judge {REQUESTS + WARM_UP} requests",
        goal="",
        figure=f"{judged * 1e3:.0f} ms",
        versions=for_versions,
    )


if __name__ == "__main__":
    main(measure)
