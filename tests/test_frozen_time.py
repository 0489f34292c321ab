"""If a test replaces or freezes the clocks of Python, no verdict changes."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import requests
from model_client import Expedition, JobCancelled, JobFailed

from pytest_expedition import (
    ExpeditionServer,
    JobRecipe,
    Limits,
    Monitor,
    Target,
    real_time,
)
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.instance import PASSWORD, USERNAME
from pytest_expedition.suite.run import run_contract

with contextlib.suppress(ImportError):  # where it is missing, its tests are skipped
    # It keeps the clocks that it finds when it is imported: no test may have replaced them.
    importlib.import_module("freezegun")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from pytest_expedition import ExpeditionScenario


Replace = Callable[[], "AbstractContextManager[object]"]


@contextlib.contextmanager
def patched() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", lambda: 0.0)
        yield


def frozen_by_freezegun() -> AbstractContextManager[object]:
    frozen: AbstractContextManager[object] = pytest.importorskip("freezegun").freeze_time("2026")
    return frozen


def frozen_by_time_machine() -> AbstractContextManager[object]:
    frozen: AbstractContextManager[object] = pytest.importorskip("time_machine").travel(0)
    return frozen


@pytest.fixture(params=[patched, frozen_by_freezegun, frozen_by_time_machine])
def replaced(request: pytest.FixtureRequest) -> Replace:
    how: Replace = request.param
    return how


@pytest.mark.expedition_scenarios("ordinary", "two-jobs", "two-jobs-cancelled")
def test_a_good_client_is_not_accused(
    expedition_scenario: ExpeditionScenario,
    replaced: Replace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", expedition_scenario.sleep)
    monkeypatch.setattr("time.monotonic", expedition_scenario.monotonic)
    with replaced():
        client = Expedition(expedition_scenario.url, USERNAME, PASSWORD)
        expedition_scenario.check(
            start=lambda: client.start_import(1, "/tmp/a.xml"),
            wait=client.wait,
            cancel=client.cancel,
            failed=JobFailed,
            cancelled=JobCancelled,
        )
        client.session.close()
    broken = [each for each in expedition_scenario.results if each.outcome in {"fail", "error"}]
    assert not broken


def test_a_monitor_sees_a_state_that_goes_back(
    replaced: Replace,
) -> None:
    server = ExpeditionServer(BROKEN["lagging-replica"].make)
    server.start()
    key = {"Authorization": f"Bearer {server.api_key}"}
    try:
        with replaced(), requests.Session() as session:
            session.trust_env = False
            monitor = Monitor(session)
            url = f"{server.url}/api/v1"
            session.post(f"{url}/project/1/import", headers=key, timeout=10)
            (job,) = server.jobs
            for _ in range(12):
                server.advance(0.1)
                session.get(f"{url}/job/status/{job.id}", headers=key, timeout=10)
            monitor.stop()
            assert any("status.monotonic" in each for each in monitor.broken())
    finally:
        server.stop()


def test_the_real_time_passes(replaced: Replace) -> None:
    with replaced(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", lambda _: None)
        begun = real_time.now()
        real_time.pause(0.01)
        assert real_time.now() > begun
        time.sleep(0)


def test_a_run_on_the_real_clock_is_judged_as_ever(replaced: Replace) -> None:
    server = ExpeditionServer()
    server.instance.clock.run()
    server.instance.set_pace(1.0)
    server.start()
    recipe = JobRecipe(name="import", path="/api/v1/project/1/import", cancellable=True)
    target = Target(
        url=server.url,
        api_key=server.api_key,
        jobs=(recipe,),
        limits=Limits(poll_seconds=0.1, job_seconds=20.0, seconds=60.0),
    )
    try:
        with replaced():
            found = run_contract(target, profile="smoke")
    finally:
        server.stop()
    outcomes = {each.requirement.id: each.outcome for each in found.results}
    assert (outcomes["status.monotonic"], outcomes["status.completes"]) == ("pass", "pass")
    assert found.left_behind == ()
