"""A server that somebody wrote from the vendor's API reference alone is judged fairly.

The server is `examples/reference_server.py`. The target has its URL, user name and password, and
the recipes; all else the suite finds out.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from reference_server import FAULTS, Application, Server

from pytest_expedition.protocol.recipe import JobRecipe
from pytest_expedition.suite.clock import SkippingClock
from pytest_expedition.suite.run import run_contract, run_share
from pytest_expedition.suite.share import merge
from pytest_expedition.suite.target import Limits, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.oracle.record import RunRecord

JOB_SECONDS = 30.0

RECIPES = (
    JobRecipe(name="reduce", path="/api/v1/project/1/tools/reduce", json={}, cancellable=True),
    JobRecipe(
        name="upload",
        path="/api/v1/device/7/upload/migration",
        json={"migration_id": 3},
        cancellable=False,
    ),
)

BROKEN_BY = {
    "the job id is a text": "create.job-id",
    "a task is done twice": "status.monotonic",
    "a cancel is forgotten": "cancel.minus-one",
    "a refusal says nothing": "refuse.message",
    "a cancel hits the next job, too": "status.no-spontaneous-cancel",
}


@contextlib.contextmanager
def serving(fault: str = "") -> Iterator[Target]:
    """Start the server, on a time that the suite moves."""
    time = [0.0]

    def advance(seconds: float) -> None:
        time[0] += seconds

    application = Application(now=lambda: time[0], job_seconds=JOB_SECONDS, fault=fault)
    with Server(application) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield Target(
                url=f"http://127.0.0.1:{server.server_port}",
                username="admin",
                password="paloalto",
                jobs=RECIPES,
                clock=SkippingClock(advance),
                limits=Limits(
                    job_seconds=4 * JOB_SECONDS, poll_seconds=2.7, requests=100_000, jobs=10_000
                ),
            )
        finally:
            server.shutdown()
            thread.join()


def failed(record: RunRecord) -> set[str]:
    return {each.requirement.id for each in record.results if each.outcome == "fail"}


FIRST_SHARE = (0, 25)
"""The share of a run with all fixed plans and two random ones."""


def test_the_honest_server_is_conformant() -> None:
    with serving() as target:
        asked = replace(target, start_agent=True)
        record = merge(asked, [run_share(asked, profile="default", seed=1, share=FIRST_SHARE)])
    assert (record.verdict, record.reason, failed(record)) == ("conformant", "", set())
    assert record.dialect == "data"


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found(fault: str) -> None:
    about = BROKEN_BY[fault]
    with serving(fault) as target:
        record = run_contract(target, profile="default", seed=1, until_broken={about})
    assert about in failed(record)
    assert record.verdict == "non-conformant"
