"""A monitor watches clients of httpx, sync and async, as it watches sessions of requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pytest_expedition import ExpeditionServer, Monitor
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.http import Response
from pytest_expedition.fake.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Redirects(Instance):
    """It sends a status request on to another path."""

    def answer_about_job(self, *arguments: Any) -> Response:
        answer = super().answer_about_job(*arguments)
        return Response(status=302, headers={"Location": "/api/v1/elsewhere"}, body=answer.body)


@pytest.fixture(params=["honest", "broken"])
def server(request: pytest.FixtureRequest) -> Iterator[ExpeditionServer]:
    make = BROKEN["lagging-replica"].make
    server = ExpeditionServer(make) if request.param == "broken" else ExpeditionServer()
    server.start()
    yield server
    server.stop()


def polls_sync(server: ExpeditionServer, monitor: Monitor) -> None:
    with httpx.Client(trust_env=False) as client:
        monitor.watch(client)
        key = {"Authorization": f"Bearer {server.api_key}"}
        client.post(f"{server.url}/api/v1/project/1/import", headers=key)
        for _ in range(12):
            server.advance(0.1)
            client.get(f"{server.url}/api/v1/job/status/1619", headers=key)


def polls_async(server: ExpeditionServer, monitor: Monitor) -> None:
    async def poll() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            monitor.watch(client)
            key = {"Authorization": f"Bearer {server.api_key}"}
            await client.post(f"{server.url}/api/v1/project/1/import", headers=key)
            for _ in range(12):
                server.advance(0.1)
                await client.get(f"{server.url}/api/v1/job/status/1619", headers=key)

    asyncio.run(poll())


@pytest.mark.parametrize("polls", [polls_sync, polls_async])
def test_a_broken_must_is_told_and_nothing_else(
    polls: Callable[[ExpeditionServer, Monitor], None],
    server: ExpeditionServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    trace = tmp_path / "trace.jsonl"
    monitor = Monitor(record=trace)
    polls(server, monitor)
    monitor.stop()
    is_broken = any("status.monotonic" in each for each in monitor.broken())
    assert is_broken == ("broken" in request.node.callspec.params.values())
    assert is_broken or not monitor.broken()
    text = trace.read_text(encoding="utf-8")
    assert text.count("\n") == 13
    assert server.api_key not in text


def test_a_watched_client_gets_the_same_answers_as_before(
    expedition_server: ExpeditionServer,
) -> None:
    with httpx.Client(trust_env=False) as client:
        monitor = Monitor(client)
        answer = client.get(f"{expedition_server.url}/api/v1/job/status/1")
        assert answer.status_code == 401
        with client.stream("GET", f"{expedition_server.url}/api/v1/job/status/1") as streamed:
            assert b"Unauthenticated" in streamed.read()
        with pytest.raises(httpx.UnsupportedProtocol):
            client.get("nothing://there/api/v1/job/status/1")
        monitor.stop()
        assert "send" not in vars(client)
        client.get(f"{expedition_server.url}/api/v1/job/status/1")
    told = [(each.status, each.lost) for each in monitor._sent_by_httpx]
    assert told == [
        (401, ""),
        (None, "the answer was streamed: its body was not kept"),
        (None, "UnsupportedProtocol: Request URL has an unsupported protocol 'nothing://'."),
    ]


def test_each_step_of_a_redirection_is_seen_once() -> None:
    server = ExpeditionServer(Redirects)
    server.start()
    try:
        with httpx.Client(trust_env=False, follow_redirects=True) as client:
            monitor = Monitor(client)
            client.headers["Authorization"] = f"Bearer {server.api_key}"
            client.post(f"{server.url}/api/v1/project/1/import")
            client.get(f"{server.url}/api/v1/job/status/1619")
            monitor.stop()
    finally:
        server.stop()
    assert [each.status for each in monitor._sent_by_httpx] == [200, 302, 404]
    assert monitor.broken() == []
