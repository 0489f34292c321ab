"""Clients written with today's libraries: good ones pass every scenario, careless ones fail.

Each is tried in every scenario of the catalogue, and in four broken forms.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import requests
from clients import Client, GaveUp, Unanswered, broken_promises
from urllib3.util import Retry

from pytest_expedition.clients.catalogue import SCENARIOS
from pytest_expedition.clients.choice import usual
from pytest_expedition.clients.harness import ClientFunctions, Harness

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition import ExpeditionServer


class RequestsWithRetry(Client):
    """A session of requests that repeats GET, and only that, by urllib3's Retry."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(harness)
        again = Retry(total=4, status_forcelist=[502, 503], allowed_methods=["GET"])
        self.session.mount("http://", requests.adapters.HTTPAdapter(max_retries=again))


class Httpx(Client):
    def __init__(self, harness: Harness) -> None:
        super().__init__(harness)
        self.httpx = httpx.Client(trust_env=False, timeout=10)

    def close(self) -> None:
        super().close()
        self.httpx.close()

    def send(self, method: str, path: str) -> tuple[int, bytes]:
        try:
            answer = self.httpx.request(method, f"{self.api}/{path}", headers=self.headers())
        except httpx.HTTPError as error:
            raise Unanswered from error
        return answer.status_code, answer.content


class Tenacity(Client):
    """It leaves the waiting to tenacity, which looks at time.monotonic."""

    def wait(self, job_id: Any) -> str:
        tenacity = pytest.importorskip("tenacity")
        retrying = tenacity.Retrying(
            wait=tenacity.wait_fixed(self.pause),
            stop=tenacity.stop_after_delay(self.polls * self.pause),
            retry=tenacity.retry_if_result(lambda end: end is None)
            | tenacity.retry_if_exception_type(Unanswered),
        )
        return str(retrying(lambda: self.end(self.status(job_id))))


class Polling2(Client):
    """It leaves the waiting to polling2, which looks at time.time."""

    def wait(self, job_id: Any) -> str:
        end = pytest.importorskip("polling2").poll(
            lambda: self.end(self.status(job_id)),
            step=self.pause,
            timeout=self.polls * self.pause,
            ignore_exceptions=(Unanswered,),
        )
        return str(end)


class Backoff(Client):
    """It leaves the waiting to backoff."""

    def wait(self, job_id: Any) -> str:
        backoff = pytest.importorskip("backoff")
        every = {"wait_gen": backoff.constant, "interval": self.pause, "jitter": None}

        @backoff.on_predicate(max_tries=self.polls, **every)  # type: ignore[untyped-decorator]
        @backoff.on_exception(exception=Unanswered, max_tries=5, **every)  # type: ignore[untyped-decorator]
        def poll() -> str | None:
            return self.end(self.status(job_id))

        end: str | None = poll()
        if end is None:
            raise GaveUp
        return end


class HttpxAsync(Client):
    """httpx with asyncio: all of its functions are coroutine functions."""

    async def send_async(self, method: str, path: str) -> tuple[int, bytes]:
        async with httpx.AsyncClient(trust_env=False, timeout=10, verify=False) as session:  # noqa: S501 - no TLS here
            try:
                answer = await session.request(method, f"{self.api}/{path}", headers=self.headers())
            except httpx.HTTPError as error:
                raise Unanswered from error
        return answer.status_code, answer.content

    async def ask_async(self, method: str, path: str) -> Any:
        status, body = await self.send_async(method, path)
        if status != 200:
            raise Unanswered(f"HTTP {status}")
        return self.job(json.loads(body))

    async def start_async(self) -> Any:
        try:
            return (await self.ask_async("POST", "project/1/import"))["jobId"]
        except Unanswered:
            if self.creates_once:
                raise
            return (await self.ask_async("POST", "project/1/import"))["jobId"]

    async def cancel_async(self, job_id: Any) -> None:
        await self.ask_async("DELETE", f"job/{job_id}")

    async def wait_async(self, job_id: Any) -> str:
        for _ in range(self.polls):
            with contextlib.suppress(Unanswered):
                end = self.end(await self.ask_async("GET", f"job/status/{job_id}"))
                if end is not None:
                    return end
            await asyncio.sleep(self.pause)
        raise GaveUp

    creates_once = True

    @property
    def functions(self) -> ClientFunctions:
        return ClientFunctions(
            start=self.start_async, wait=self.wait_async, cancel=self.cancel_async
        )


class Aiohttp(HttpxAsync):
    """aiohttp, a session for each request."""

    async def send_async(self, method: str, path: str) -> tuple[int, bytes]:
        aiohttp = pytest.importorskip("aiohttp")
        async with aiohttp.ClientSession(headers=self.headers()) as session:
            try:
                async with session.request(method, f"{self.api}/{path}") as answer:
                    return answer.status, await answer.read()
            except aiohttp.ClientError as error:
                raise Unanswered from error


LIBRARIES: Final = (RequestsWithRetry, Httpx, Tenacity, Polling2, Backoff, HttpxAsync, Aiohttp)


def goes_on_for_ever(library: type[Client]) -> type[Client]:
    class GoesOnForEver(library):  # type: ignore[misc, valid-type]
        polls = 10**6

        def end(self, job: Any) -> str | None:
            return super().end(job) if job["state"] != -1 else None

    return GoesOnForEver


def takes_failure_for_success(library: type[Client]) -> type[Client]:
    class TakesFailureForSuccess(library):  # type: ignore[misc, valid-type]
        def end(self, job: Any) -> str | None:
            return {1: "finished", -1: "cancelled"}.get(job["state"])

    return TakesFailureForSuccess


def creates_twice(library: type[Client]) -> type[Client]:
    class CreatesTwice(library):  # type: ignore[misc, valid-type]
        creates_once = False

        def start(self) -> Any:
            try:
                return super().start()
            except Unanswered:
                return super().start()

    return CreatesTwice


def hammers(library: type[Client]) -> type[Client]:
    class Hammers(library):  # type: ignore[misc, valid-type]
        pause = 0.05
        polls = 10**6

    return Hammers


def broken_in(
    make: Callable[[Harness], Client], scenario: str, server: ExpeditionServer
) -> set[str]:
    """Put a client in a scenario, with the clocks of its libraries replaced."""
    harness = Harness(server)
    client = make(harness)
    functions = getattr(client, "functions", None) or ClientFunctions(
        start=client.start, wait=client.wait, cancel=client.cancel
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", harness.sleep)
        patch.setattr("time.monotonic", harness.monotonic)
        patch.setattr("asyncio.sleep", harness.sleep_async)
        if isinstance(client, Polling2):
            patch.setattr("time.time", harness.monotonic)
        try:
            results = harness.run(SCENARIOS[scenario].situation, functions)
        finally:
            client.close()
            harness.close()
    return set(broken_promises(results))


@pytest.mark.parametrize(
    "library",
    [
        pytest.param(each, marks=pytest.mark.long if each in {Httpx, HttpxAsync} else ())
        for each in LIBRARIES
    ],
)
def test_written_with_care_it_copes_with_every_scenario(
    library: type[Client], expedition_server: ExpeditionServer
) -> None:
    broken = {name: broken_in(library, name, expedition_server) for name in usual(None)}
    assert {name: promises for name, promises in broken.items() if promises} == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("spoil", "scenario", "promise"),
    [
        (goes_on_for_ever, "cancelled-by-another", "client.stops-on-cancel"),
        (takes_failure_for_success, "fails", "client.sees-failure"),
        (creates_twice, "creation-lost", "client.creates-once"),
        (hammers, "long-at-zero", "client.does-not-hammer"),
    ],
)
@pytest.mark.parametrize("library", LIBRARIES)
def test_written_without_care_it_is_caught(
    library: type[Client],
    spoil: Callable[[type[Client]], type[Client]],
    scenario: str,
    promise: str,
    expedition_server: ExpeditionServer,
) -> None:
    assert promise in broken_in(spoil(library), scenario, expedition_server)
