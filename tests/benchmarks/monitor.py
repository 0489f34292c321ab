"""What a monitor adds to a request over loopback.

    python tests/benchmarks/monitor.py [PAIRS]

Asks the fake for the status of a job, with one session that is watched and one that is not, by
turns; the order within a pair is drawn. Prints the median of each, and of the differences.
"""

from __future__ import annotations

import random
import statistics
import sys
import time

import requests

from pytest_expedition import ExpeditionServer, Monitor

WARM_UP = 200


def main(pairs: int) -> None:
    server = ExpeditionServer()
    server.start()
    headers = {"Authorization": f"Bearer {server.api_key}"}
    plain, watched = requests.Session(), requests.Session()
    for session in (plain, watched):
        session.trust_env = False
        session.headers.update(headers)
    plain.post(f"{server.url}/api/v1/project/1/import", timeout=10)
    url = f"{server.url}/api/v1/job/status/{server.jobs[0].id}"

    def once(session: requests.Session) -> float:
        begun = time.perf_counter()
        session.get(url, timeout=10)
        return time.perf_counter() - begun

    seconds: dict[requests.Session, list[float]] = {plain: [], watched: []}
    monitor = Monitor(watched)
    for number in range(pairs + WARM_UP):
        turns = [plain, watched]
        random.shuffle(turns)
        for session in turns:
            took = once(session)
            if number >= WARM_UP:
                seconds[session].append(took)
    monitor.stop()
    begun = time.perf_counter()
    monitor.broken()
    judged = time.perf_counter() - begun
    server.stop()
    usual, with_monitor = (statistics.median(seconds[each]) for each in (plain, watched))
    differences = [b - a for a, b in zip(seconds[plain], seconds[watched], strict=True)]
    added = statistics.median(differences)
    print(f"a request: {usual * 1e6:.0f} µs, watched: {with_monitor * 1e6:.0f} µs")
    print(f"added: {added * 1e6:.1f} µs, {100 * added / usual:.1f} %")
    print(f"judging {pairs + WARM_UP} requests at the end: {judged * 1e3:.0f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 3000)
