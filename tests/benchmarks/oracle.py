"""How fast traces are judged, and in how much memory.

    python tests/benchmarks/oracle.py [EXCHANGES …]

Writes traces of as many exchanges (10⁴, 10⁵ and 10⁶ if none is said), a hundred for each job, and
judges each in a process of its own; the seconds are those of the processor. Half of the jobs are
cancelled, or refuse to be; eight run at the same time. “The rules alone” judge exchanges that have
been read before, all as one history.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pytest_expedition.fake.instance import Instance, Request
from pytest_expedition.history import Exchange, History
from pytest_expedition.recording import check
from pytest_expedition.rules import judge
from pytest_expedition.trace import Recorder, Trace

SERVER = "http://192.0.2.10"
POLLS = 98
AT_ONCE = 8
RUNS = 3
MOST_IN_MEMORY = 100_000


class Traffic:
    """What an honest instance answers to a client that keeps some jobs going."""

    def __init__(self) -> None:
        self.instance = Instance()
        self.instance.set_pace(POLLS - 10)
        self.now = 0.0

    def ask(self, kind: Any, method: str, path: str, **known: Any) -> Exchange:
        self.now += 0.001
        headers = {"Authorization": f"Bearer {self.instance.api_key}"}
        answer = self.instance.handle(Request(method=method, path=path, headers=headers))
        self.instance.requests.clear()
        return Exchange(
            kind=kind,
            method=method,
            path=path,
            sent=round(self.now, 6),
            received=round(self.now + 0.0008, 6),
            status=answer.status,
            body=answer.body,
            **known,
        )

    def exchanges(self, count: int) -> Any:
        """Yield exchanges: rounds of jobs that are created, polled, and cancelled halfway."""
        done = 0
        while done < count:
            jobs = []
            for number in range(AT_ONCE):
                name, cancellable = ("import", True) if number % 2 else ("export", False)
                path = f"/api/v1/project{'s' * (number % 2 == 0)}/1/{name}"
                yield self.ask("create", "POST", path, cancellable=cancellable)
                jobs.append(max(self.instance.jobs))
            for poll in range(POLLS):
                self.instance.clock.advance(1)
                for number, job in enumerate(jobs):
                    path = f"/api/v1/job/status/{job}"
                    yield self.ask("status", "GET", path, job_id=job)
                    if poll == POLLS // 2 and number % 4 < 2:
                        yield self.ask("cancel", "DELETE", f"/api/v1/job/{job}", job_id=job)
            self.instance.jobs.clear()
            done += AT_ONCE * (POLLS + 1) + AT_ONCE // 2


def write(path: Path, count: int) -> None:
    with Recorder(path, server=SERVER) as recorder:
        for number, exchange in enumerate(Traffic().exchanges(count)):
            if number == count:
                break
            recorder.write(exchange)


def measure(path: Path) -> dict[str, float]:
    """Judge a trace as the command does; seconds of one core, and megabytes at the peak."""
    begun = time.process_time()
    document = check([path]).document
    seconds = time.process_time() - begun
    failed = [x["id"] for x in document["requirements"] if x["outcome"] in {"fail", "error"}]
    if failed:
        raise SystemExit(f"an honest trace fails {', '.join(failed)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"exchanges": document["requests"], "seconds": seconds, "peak": peak}


def measure_in_memory(path: Path) -> float:
    """Exchanges a second that the rules alone judge."""
    rates = []
    for _ in range(RUNS):
        exchanges = [line.exchange for line in Trace(path)]
        begun = time.process_time()
        judge(History(exchanges, job_seconds=600))
        rates.append(len(exchanges) / (time.process_time() - begun))
    return statistics.median(rates)


def main(counts: list[int]) -> None:
    print(" exchanges  a second  seconds  peak MB  the rules alone, a second")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        for count in counts:
            path.unlink(missing_ok=True)
            in_a_process("write", path, count)
            runs = [in_a_process("measure", path) for _ in range(RUNS)]
            seconds = statistics.median(run["seconds"] for run in runs)
            peak = max(run["peak"] for run in runs)
            alone = f"{in_a_process('alone', path):27,.0f}" if count <= MOST_IN_MEMORY else ""
            print(
                f"{count:10,}{count / seconds:10,.0f}{seconds:9.2f}{peak:9.0f}{alone}", flush=True
            )


def in_a_process(*task: object) -> Any:
    """Run a task in a process of its own: what others took of memory is not counted."""
    command = [sys.executable, __file__, "--task", *map(str, task)]
    return json.loads(subprocess.check_output(command))


TASKS: dict[str, Any] = {
    "write": lambda path, count: write(Path(path), int(count)),
    "measure": lambda path: measure(Path(path)),
    "alone": lambda path: measure_in_memory(Path(path)),
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--task"]:
        print(json.dumps(TASKS[sys.argv[2]](*sys.argv[3:])))
    else:
        main([int(float(each)) for each in sys.argv[1:]] or [10**4, 10**5, 10**6])
