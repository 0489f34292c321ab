"""How fast traces and HAR files are judged, and in how much memory.

Writes traces of 10⁴, 10⁵ and 10⁶ exchanges, a hundred for each job, and judges each in a process of
its own; the seconds are those of the processor. Half of the jobs are cancelled, or refuse to be;
eight run at the same time. In memory, the rules judge exchanges that have been read before, all as
one history. The HAR file has nothing but such exchanges, with the headers that a browser sends.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frame import Row, main, median, spread

from pytest_expedition.fake.http import Request
from pytest_expedition.fake.instance import Instance
from pytest_expedition.oracle.history import Exchange, History
from pytest_expedition.oracle.rules import judge
from pytest_expedition.recordings.files import open_recordings
from pytest_expedition.recordings.judging import judge_files
from pytest_expedition.recordings.trace import Recorder, Trace, exchange_of

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTS = (10_000, 100_000, 1_000_000)
SERVER = "http://192.0.2.10"
POLLS = 98
AT_ONCE = 8
RUNS = 5
HAR_BYTES = 200_000_000
HEADERS = [{"name": f"x-header-{number}", "value": "v" * 30} for number in range(8)]
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


def write_har(path: Path, size: int) -> None:
    with path.open("w") as file:
        file.write('{"log": {"version": "1.2", "entries": [')
        for number, exchange in enumerate(Traffic().exchanges(size)):
            file.write((", " if number else "") + json.dumps(entry(exchange)))
            if file.tell() > size:
                break
        file.write("]}}")


def entry(exchange: Exchange) -> dict[str, Any]:
    begun = datetime.fromtimestamp(exchange.sent, timezone.utc)
    return {
        "startedDateTime": begun.isoformat(timespec="microseconds"),
        "time": 0.8,
        "request": {
            "method": exchange.method,
            "url": SERVER + exchange.path,
            "headers": [{"name": "Authorization", "value": "Bearer a-long-key"}, *HEADERS],
        },
        "response": {
            "status": exchange.status,
            "headers": HEADERS,
            "content": {"size": len(exchange.body), "text": exchange.body.decode()},
        },
        "timings": {"send": 0, "wait": 0.8, "receive": 0},
    }


def judge_recording(path: Path) -> dict[str, float]:
    """Judge a recording as the command does; seconds of one core, and megabytes at the peak."""
    begun = time.process_time()
    record = judge_files([path]).record
    seconds = time.process_time() - begun
    failed = [x.requirement.id for x in record.results if x.outcome in {"fail", "error"}]
    if failed:
        raise SystemExit(f"an honest recording fails {', '.join(failed)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"exchanges": record.requests, "seconds": seconds, "peak": peak}


def judge_in_memory(path: Path) -> list[float]:
    """Exchanges a second that the rules alone judge."""
    rates = []
    for _ in range(RUNS):
        lines = [line for each in open_recordings(path) for line in Trace(each)]
        exchanges = [exchange_of(line.values) for line in lines]
        begun = time.process_time()
        judge(History(exchanges, job_seconds=600))
        rates.append(len(exchanges) / (time.process_time() - begun))
    return rates


def measure() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            path = Path(folder) / f"{count}.jsonl"
            in_a_process("write", path, count)
            told = f"{count:,} exchanges"
            if count <= MOST_IN_MEMORY:
                rates = in_a_process("in-memory", path)
                yield Row(
                    what=f"exchanges a second that the rules judge in memory, of {told}",
                    goal="",
                    figure=median(rates, ""),
                    spread=spread(rates, ""),
                    versions={},
                )
            runs = [in_a_process("judge", path) for _ in range(RUNS)]
            rates = [count / run["seconds"] for run in runs]
            peak = max(run["peak"] for run in runs)
            yield Row(
                what=f"the same, read from a trace of {told}",
                goal="≥ 30,000, < 300 MB",
                figure=f"{median(rates, '')}, {peak:.0f} MB at the peak",
                spread=spread(rates, ""),
                versions={},
            )
            path.unlink()
        path = Path(folder) / "a.har"
        in_a_process("write-har", path, HAR_BYTES)
        runs = [in_a_process("judge", path) for _ in range(RUNS)]
        yield Row(
            what="a HAR file of 200 MB",
            goal="< 10 s, < 1,000 MB",
            figure=f"{median([run['seconds'] for run in runs], 's')}, "
            f"{max(run['peak'] for run in runs):.0f} MB at the peak",
            spread=spread([run["seconds"] for run in runs], "s"),
            versions={},
        )


def in_a_process(*task: object) -> Any:
    """Run a task in a process of its own: what others took of memory is not counted."""
    command = [sys.executable, __file__, "--task", *map(str, task)]
    return json.loads(subprocess.check_output(command))


TASKS: dict[str, Any] = {
    "write": lambda path, count: write(Path(path), int(count)),
    "write-har": lambda path, size: write_har(Path(path), int(size)),
    "judge": lambda path: judge_recording(Path(path)),
    "in-memory": lambda path: judge_in_memory(Path(path)),
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--task"]:
        print(json.dumps(TASKS[sys.argv[2]](*sys.argv[3:])))
    else:
        main(measure)
