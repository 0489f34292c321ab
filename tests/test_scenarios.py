"""The other side of the contract: good clients cope with every scenario, broken ones are caught."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from clients import BROKEN, CURL_IS_MISSING, GOOD, Client, WithCurl
from model_client import Expedition, JobCancelled, JobFailed

from pytest_expedition.fake.instance import PASSWORD, USERNAME
from pytest_expedition.requirements import CATALOGUE, CLIENT_CATALOGUE
from pytest_expedition.rules.client import CLIENT_RULES
from pytest_expedition.scenarios.catalogue import SCENARIOS
from pytest_expedition.scenarios.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_expedition import ExpeditionScenario, ExpeditionServer, Situation
    from pytest_expedition.verdict import Result


def broken_promises(results: Iterable[Result]) -> dict[str, str]:
    return {
        each.requirement.id: each.crash
        for each in results
        if each.outcome not in {"pass", "inconclusive"}
    }


def try_out(
    client_of: Callable[[Trial], Client], server: ExpeditionServer, situation: Situation
) -> list[Result]:
    trial = Trial(server)
    client = client_of(trial)
    try:
        return trial.run(situation, start=client.start, wait=client.wait, cancel=client.cancel)
    finally:
        client.close()


def test_the_model_client_copes_with_every_scenario(
    expedition_scenario: ExpeditionScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", expedition_scenario.sleep)
    client = Expedition(expedition_scenario.url, USERNAME, PASSWORD)
    expedition_scenario.check(
        start=lambda: client.start_import(1, "/tmp/a.xml"),
        wait=client.wait,
        cancel=client.cancel,
        failed=JobFailed,
        cancelled=JobCancelled,
    )
    client.session.close()
    assert not broken_promises(expedition_scenario.results)


@pytest.mark.expedition_scenarios(dialect="msg")
def test_the_model_client_copes_with_another_dialect(
    expedition_scenario: ExpeditionScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_the_model_client_copes_with_every_scenario(expedition_scenario, monkeypatch)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("client", GOOD)
def test_good_clients_of_every_style_cope(
    client: type[Client], scenario: str, expedition_server: ExpeditionServer
) -> None:
    if client is WithCurl and CURL_IS_MISSING:
        pytest.skip("curl is not installed")
    results = try_out(client, expedition_server, SCENARIOS[scenario].situation)
    assert not broken_promises(results)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_client_is_caught_by_the_promise_that_it_breaks(
    name: str, expedition_server: ExpeditionServer
) -> None:
    client = BROKEN[name]
    results = try_out(client.make, expedition_server, SCENARIOS[client.scenario].situation)
    assert broken_promises(results) == dict.fromkeys(client.breaks, "")


def test_every_promise_is_broken_by_some_client() -> None:
    assert {promise for each in BROKEN.values() for promise in each.breaks} == set(CLIENT_CATALOGUE)
    assert set(CLIENT_RULES) == set(CLIENT_CATALOGUE)
    assert not set(CLIENT_CATALOGUE) & set(CATALOGUE)
