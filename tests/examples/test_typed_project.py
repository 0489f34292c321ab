"""A project that uses all of the public API: it runs, and type checkers have nothing to say."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import requests

from pytest_expedition import (
    SCHEMA_NAMES,
    Clock,
    ExpeditionScenario,
    ExpeditionServer,
    Job,
    JobRecipe,
    JobScript,
    Limits,
    Monitor,
    Outage,
    SchemaViolation,
    Situation,
    Target,
    Waiver,
    schema,
    validate,
    validator,
)

if TYPE_CHECKING:
    from collections.abc import Callable

IMPORT = JobRecipe(
    name="import", path="/api/v1/project/1/import", form={"resource": "a.xml"}, cancellable=True
)


@pytest.fixture(scope="session")
def expedition_server_tls() -> bool:
    return False


@pytest.fixture(scope="session")
def expedition_target(expedition_session_server: ExpeditionServer) -> Target:
    return Target(
        url=expedition_session_server.url,
        api_key=expedition_session_server.api_key,
        jobs=[IMPORT],
        limits=Limits(poll_seconds=0.1, concurrent_jobs=2),
        waivers=[Waiver(id="status.wire-number", reason="ticket 7", until=date(2100, 1, 1))],
    )


class Client:
    """Starts jobs, asks how they stand, cancels them."""

    def __init__(self, url: str, api_key: str, sleep: Callable[[float], None]) -> None:
        self.api = f"{url}/api/v1"
        self.sleep = sleep
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {api_key}"

    def start(self) -> int:
        with self.session.post(f"{self.api}/project/1/import", data=IMPORT.form) as answer:
            return int(self.job(answer)["jobId"])

    def state(self, job_id: int) -> float:
        with self.session.get(f"{self.api}/job/status/{job_id}") as answer:
            return float(self.job(answer)["state"])

    def wait(self, job_id: int) -> str:
        while (state := self.state(job_id)) not in {-1, 1}:
            self.sleep(5)
        return "cancelled" if state == -1 else "finished"

    def job(self, answer: requests.Response) -> dict[str, Any]:
        document: dict[str, Any] = answer.json()
        validate(document, "creation" if answer.request.method == "POST" else "status")
        job: dict[str, Any] = document["Contents"]["response"]["data"]["content"]["system"]["jobs"]
        return job


def test_a_job_goes_as_its_script_says(expedition_server: ExpeditionServer) -> None:
    expedition_server.next_job(JobScript(progress=[0, 0.5, 1], step_seconds=10))
    clock: Clock = expedition_server.clock
    clock.seconds_per_poll = 0
    client = Client(expedition_server.url, expedition_server.api_key, expedition_server.advance)
    with client.session:
        job_id = client.start()
        expedition_server.advance(10)
        assert client.state(job_id) == 0.5
        assert client.wait(job_id) == "finished"
    (job,) = expedition_server.jobs
    assert isinstance(job, Job)
    assert (job.id, expedition_server.state(job)) == (job_id, 1)


def test_a_situation_is_played(expedition_server: ExpeditionServer) -> None:
    expedition_server.play(
        Situation(cancelled_after=15, outages=[Outage(kind="unavailable", nth=9)])
    )
    client = Client(expedition_server.url, expedition_server.api_key, expedition_server.advance)
    with client.session:
        assert client.wait(client.start()) == "cancelled"


def test_a_monitor_watches(
    expedition_server: ExpeditionServer, expedition_monitor: Monitor, *, expedition_strict: bool
) -> None:
    assert not expedition_strict
    expedition_monitor.jobs = [IMPORT]
    expedition_monitor.job_seconds = 600
    client = Client(expedition_server.url, expedition_server.api_key, expedition_server.advance)
    with client.session, Monitor(client.session, jobs=[IMPORT]):
        expedition_monitor.watch(client.session)
        client.wait(client.start())
    broken: list[str] = expedition_monitor.broken()
    assert broken == []


@pytest.mark.expedition_scenarios("ordinary", "cancelled-by-another")
def test_a_client_is_put_in_scenarios(expedition_scenario: ExpeditionScenario) -> None:
    client = Client(expedition_scenario.url, expedition_scenario.api_key, expedition_scenario.sleep)
    with client.session:
        expedition_scenario.check(start=client.start, wait=client.wait)


def test_the_target_is_the_one_of_this_project(expedition_target: Target) -> None:
    assert [recipe.name for recipe in expedition_target.jobs] == ["import"]
    assert [waiver.id for waiver in expedition_target.waivers] == ["status.wire-number"]
    assert expedition_target.limits.concurrent_jobs == 2


def test_schemas_refuse_invalid_documents() -> None:
    assert len({str(schema(name)["$id"]) for name in SCHEMA_NAMES}) == len(SCHEMA_NAMES)
    assert not validator("status").is_valid({})  # pyright: ignore[reportUnknownMemberType] - of jsonschema
    with pytest.raises(SchemaViolation) as violation:
        validate({}, "status")
    assert violation.value.path.startswith("$")
