"""Jobs that run on the wall clock, over HTTP: no verdict depends on the speed of the machine."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_expedition import ExpeditionServer, Limits
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.instance import Instance
from pytest_expedition.report.messages import reason
from pytest_expedition.suite.clock import WallClock
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_expedition import Target

JOB_SECONDS = 1.5


@contextlib.contextmanager
def waiting_target(make: Callable[[], Instance] = Instance) -> Iterator[Target]:
    """The target of a fake instance whose time is the world's."""

    def make_running() -> Instance:
        instance = make()
        instance.clock.run()
        instance.set_pace(JOB_SECONDS)
        return instance

    server = ExpeditionServer(make_running)
    server.start()
    try:
        with embedded_target() as target:
            limits = Limits(poll_seconds=0.05, job_seconds=20)
            yield replace(target, url=server.url, clock=WallClock(), limits=limits)
    finally:
        server.stop()


@contextlib.contextmanager
def busy_machine() -> Iterator[None]:
    """Threads that keep the interpreter busy."""
    done = threading.Event()

    def spin() -> None:
        while not done.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=spin) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    "machine", [contextlib.nullcontext, pytest.param(busy_machine, marks=pytest.mark.long)]
)
def test_an_honest_server_is_never_accused(
    machine: Callable[[], contextlib.AbstractContextManager[None]],
) -> None:
    with waiting_target() as target, machine():
        conformance = run_contract(target, profile="smoke", seed=1)
    accused = [reason(each) for each in conformance.results if each.outcome == "fail"]
    assert accused == []
    assert conformance.verdict in {"conformant", "inconclusive"}


@pytest.mark.parametrize(
    "name",
    [
        "back-by-a-hair",
        "text-job-id",
        pytest.param("cancels-the-whole-project", marks=pytest.mark.long),
        pytest.param("refuses-silently", marks=pytest.mark.long),
    ],
)
def test_a_broken_server_is_found_out(name: str) -> None:
    with waiting_target(BROKEN[name].make) as target:
        conformance = run_contract(target, profile="smoke", seed=1)
    failed = {each.requirement.id for each in conformance.results if each.outcome == "fail"}
    assert failed & set(BROKEN[name].breaks)
