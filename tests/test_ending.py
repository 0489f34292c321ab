"""However a run ends, it cancels its jobs, names what is left, and writes its report."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_expedition import ExpeditionServer, validate
from pytest_expedition.contract.run import _signals_end_the_run
from pytest_expedition.fake.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_expedition.fake.http import Request, Response
    from pytest_expedition.fake.simulation import Job

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="sends the signals of POSIX"),
    pytest.mark.usefixtures("heeds_interrupts"),
]

CONTRACT = ("--pyargs", "pytest_expedition.contract", "-p", "no:cacheprovider")

TARGET_FILE = """
url = "{url}"
{jobs}
[limits]
answer_seconds = 5
poll_seconds = 0.3
"""
CANCELLABLE = """
[[job]]
name = "import"
path = "/api/v1/project/1/import"
cancellable = true
"""
REFUSING = """
[[job]]
name = "export"
path = "/api/v1/projects/1/export"
cancellable = false
"""


class Hanging(Instance):
    """Lets cancels wait once it is told to: ``waits`` says that one does.

    ``cancels`` has the path and the key of each cancel, from when it arrives, answered or not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cancels: list[tuple[str, str]] = []
        self.hangs = threading.Event()
        self.waits = threading.Event()
        self.goes_on = threading.Event()

    def handle(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.cancels.append((request.path, request.header("Authorization")))
            if self.hangs.is_set():
                self.waits.set()
                self.goes_on.wait(60)
        return super().handle(request)


@pytest.fixture
def instance() -> Hanging:
    """A fake whose jobs take an hour of the world's time: none ends by itself."""
    made = Hanging()
    made.clock.run()
    made.set_pace(3600)
    return made


@pytest.fixture
def server(instance: Hanging) -> Iterator[ExpeditionServer]:
    started = ExpeditionServer(lambda: instance)
    started.start()
    yield started
    instance.goes_on.set()
    started.stop()


class Run:
    """A run of the contract in a process of its own."""

    def __init__(self, folder: Path, server: ExpeditionServer, *options: str, jobs: str) -> None:
        self.server = server
        self.report = folder / "report.json"
        (folder / "expedition.toml").write_text(TARGET_FILE.format(url=server.url, jobs=jobs))
        command = [sys.executable, "-m", "pytest", *CONTRACT, "--expedition-config=expedition.toml"]
        self.process = subprocess.Popen(
            [*command, f"--expedition-report={self.report}", *options],
            cwd=folder,
            env={**os.environ, "EXPEDITION_API_KEY": server.api_key},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)

    def until_jobs_run(self) -> None:
        """Wait until the first jobs are there and were polled."""
        self.wait_for(lambda: any("job/status" in x.path for x in self.server.requests))

    def end(self) -> tuple[int, str, dict[str, Any]]:
        """Wait for the end; return the exit status, what was printed, and the report."""
        output, _ = self.process.communicate(timeout=120)
        document = json.loads(self.report.read_text(encoding="utf-8"))
        validate(document, "report")
        return self.process.returncode, output, document


@pytest.fixture
def start(tmp_path: Path, server: ExpeditionServer) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(*options: str, jobs: str = CANCELLABLE) -> Run:
        runs.append(Run(tmp_path, server, *options, jobs=jobs))
        return runs[-1]

    yield begin
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            run.process.kill()
        run.process.communicate()


def running(server: ExpeditionServer) -> list[Job]:
    return [job for job in server.jobs if server.instance.state(job) not in {-1, 1}]


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGINT, "interrupted by Ctrl-C"),
        (signal.SIGTERM, "ended by SIGTERM"),
        pytest.param(signal.SIGHUP, "ended by SIGHUP", marks=pytest.mark.long),
    ],
)
def test_a_signal_ends_a_run_that_cleans_up(
    start: Callable[..., Run], server: ExpeditionServer, number: signal.Signals, why: str
) -> None:
    run = start()
    run.until_jobs_run()
    run.process.send_signal(number)
    status, output, document = run.end()
    assert status == pytest.ExitCode.INTERRUPTED
    assert server.jobs
    assert running(server) == []
    assert (document["verdict"], document["reason"]) == ("error", why)
    assert document["left_behind"] == []
    assert f"{why}: cancelling the jobs that still run, for at most 5 s; press Ctrl-C" in output
    assert f"{why}; no job is left behind" in output


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGINT, ""), (signal.SIGTERM, "ended by SIGTERM")]
)
def test_a_signal_that_arrives_in_a_destructor_ends_the_run_a_little_later(
    number: signal.Signals, why: str
) -> None:
    class Dies:
        def __del__(self) -> None:
            signal.raise_signal(number)

    with _signals_end_the_run() as signals:
        Dies()
        with pytest.raises(KeyboardInterrupt, match=f"^{why}$"):
            signals.raise_lost()


SLEEPER = """
import gc, os, signal, sys
import pytest_expedition.suite.executor as executor

def dropped(phase, info):
    gc.callbacks.remove(dropped)
    os.kill(os.getpid(), {number})

def sleep(self, until, running=()):
    if not slept:
        slept.append(gc.callbacks.append(dropped))
        gc.collect()
    honest(self, until, running)

slept = []
honest, executor.Executor._sleep = executor.Executor._sleep, sleep
"""
"""A conftest that lets a signal arrive while the garbage collector runs."""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_signal_that_arrives_in_a_garbage_collection_ends_the_run(
    start: Callable[..., Run], server: ExpeditionServer, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "conftest.py").write_text(SLEEPER.format(number=int(number)))
    status, output, document = start("--confcutdir=.", "-p", "conftest").end()
    assert status == pytest.ExitCode.INTERRUPTED, output
    assert server.jobs
    assert running(server) == []
    assert document["left_behind"] == []


def test_jobs_that_cannot_be_cancelled_are_named(
    start: Callable[..., Run], server: ExpeditionServer
) -> None:
    run = start(jobs=REFUSING)
    run.until_jobs_run()
    run.process.send_signal(signal.SIGINT)
    _, output, document = run.end()
    left = [job.id for job in running(server)]
    assert left
    assert sorted(document["left_behind"]) == left
    assert "left behind, not seen to have ended: jobs 16" in output


@pytest.mark.parametrize(
    "second",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, marks=pytest.mark.long),
    ],
)
def test_a_second_signal_leaves_the_jobs_and_names_them(
    start: Callable[..., Run], server: ExpeditionServer, instance: Hanging, second: signal.Signals
) -> None:
    run = start()
    run.until_jobs_run()
    instance.hangs.set()
    run.process.send_signal(signal.SIGINT)
    run.wait_for(instance.waits.is_set)
    run.process.send_signal(second)
    status, output, document = run.end()
    assert status == pytest.ExitCode.INTERRUPTED
    assert document["reason"] == "interrupted by Ctrl-C"
    assert sorted(document["left_behind"]) == [job.id for job in running(server)]
    assert "left behind, not seen to have ended: job" in output


INTERRUPTED_AGAIN = """
import os
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt():
    print("pytest ends", flush=True)
    os.kill(os.getpid(), {number})
"""
"""A conftest that lets a signal arrive once the run has cleaned up, while pytest ends."""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        (CANCELLABLE, r"no job is left behind"),
        (REFUSING, r"left behind, not seen to have ended: jobs? 16[0-9, ]+"),
    ],
)
def test_a_signal_after_the_clean_up_ends_at_once_in_one_line(
    start: Callable[..., Run], tmp_path: Path, number: signal.Signals, jobs: str, told: str
) -> None:
    (tmp_path / "conftest.py").write_text(INTERRUPTED_AGAIN.format(number=int(number)))
    run = start("--confcutdir=.", "-p", "conftest", jobs=jobs)
    run.until_jobs_run()
    run.process.send_signal(signal.SIGINT)
    status, output, document = run.end()
    assert status == pytest.ExitCode.INTERRUPTED
    assert document["reason"] == "interrupted by Ctrl-C"
    last = output.rpartition("pytest ends\n")[2].strip()
    assert re.fullmatch(f"interrupted again, so it ends at once; {told}", last)
    assert "Traceback" not in output


def test_an_instance_that_hangs_is_waited_for_as_long_as_for_one_answer(
    start: Callable[..., Run], server: ExpeditionServer, instance: Hanging
) -> None:
    """Each job is cancelled once, all at once; together the cancels get the time of one answer."""
    run = start()
    run.until_jobs_run()
    instance.hangs.set()
    run.process.send_signal(signal.SIGINT)
    _, _, document = run.end()
    # The probes cancel a job, too, but without a key and with a wrong one.
    cancelled = [path for path, key in instance.cancels if key == f"Bearer {server.api_key}"]
    assert sorted(cancelled) == [f"/api/v1/job/{job.id}" for job in running(server)]
    assert sorted(document["left_behind"]) == [job.id for job in running(server)]


@pytest.mark.parametrize("method", ["signal", pytest.param("thread", marks=pytest.mark.long)])
def test_a_timeout_of_pytest_timeout_ends_a_run_that_cleans_up(
    start: Callable[..., Run], server: ExpeditionServer, method: str
) -> None:
    pytest.importorskip("pytest_timeout")
    run = start("-p", "timeout", "--timeout=3", f"--timeout-method={method}")
    status, output, document = run.end()
    assert server.jobs
    assert running(server) == []
    assert document["verdict"] == "error"
    assert re.search("[Tt]imeout.*\\b3(.0)? ?s.*pytest-timeout", document["reason"])
    assert status == (3 if method == "signal" else pytest.ExitCode.INTERRUPTED), output


def test_a_trace_that_cannot_be_written_ends_the_run(
    start: Callable[..., Run], server: ExpeditionServer
) -> None:
    run = start("--expedition-record=/dev/full")
    status, _, document = run.end()
    assert status == pytest.ExitCode.INTERNAL_ERROR
    assert running(server) == []
    assert document["reason"] == ("the trace /dev/full cannot be written: No space left on device")


BREAKS_DOWN = """
import pytest_expedition.suite.executor as executor

def breaks(self, job, exchanges):
    raise UserWarning("as with -W error")

executor.Executor._learn = breaks
"""


def test_a_mistake_of_the_suite_leaves_no_job(
    start: Callable[..., Run], server: ExpeditionServer, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(BREAKS_DOWN)
    run = start("--confcutdir=.", "-p", "conftest", "-k", "create.envelope")
    status, output, document = run.end()
    assert status == pytest.ExitCode.INTERNAL_ERROR
    assert server.jobs
    assert running(server) == []
    assert document["reason"] == "the run was ended by UserWarning: as with -W error"
    assert "raise UserWarning" in output
