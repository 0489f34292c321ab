"""How the time of a scenario passes, and how a client is ended that would not end by itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import queue
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from clients import Asynchronous, Client, content

from pytest_expedition import ExpeditionServer, Situation, real_time
from pytest_expedition.clients import guard
from pytest_expedition.clients.catalogue import SCENARIOS
from pytest_expedition.clients.guard import ClientNeverEnds, Guard, place_of
from pytest_expedition.clients.harness import ClientFunctions, ClockStandsStill, Harness
from pytest_expedition.clients.report import client_fault
from pytest_expedition.clients.virtual_time import code_of_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_expedition.oracle.verdict import Result

really_sleep = time.sleep


@pytest.fixture
def harness(expedition_server: ExpeditionServer) -> Iterator[Harness]:
    harness = Harness(expedition_server)
    expedition_server.play(Situation())
    yield harness
    harness.close()


@pytest.fixture
def client(harness: Harness) -> Iterator[Client]:
    client = Client(harness)
    yield client
    client.close()


def broken(results: list[Result]) -> set[str]:
    return {
        each.requirement.id.removeprefix("client.")
        for each in results
        if each.outcome in {"fail", "error"}
    }


class TestSleep:
    def test_threads_that_sleep_at_the_same_time_take_as_long_as_the_longest(
        self, harness: Harness
    ) -> None:
        woke: list[tuple[float, float]] = []

        def sleep(*pauses: float) -> None:
            for pause in pauses:
                harness.sleep(pause)
                woke.append((harness.monotonic(), pause))

        def wait(_: object) -> str:
            with ThreadPoolExecutor(3) as pool:
                list(pool.map(lambda pauses: sleep(*pauses), [(5,), (2, 2), (3, 3)]))
            return "finished"

        harness.run(Situation(), ClientFunctions(start=lambda: None, wait=wait))
        assert harness.monotonic() == 6
        assert sorted(woke) == [(2, 2), (3, 3), (4, 2), (5, 5), (6, 3)]

    def test_tasks_that_sleep_at_the_same_time_take_as_long_as_the_longest(
        self, harness: Harness
    ) -> None:
        async def sleep(*pauses: float) -> float:
            for pause in pauses:
                await harness.sleep_async(pause)
            return harness.monotonic()

        async def sleep_all() -> list[float]:
            return list(await asyncio.gather(sleep(5), sleep(2, 2), sleep(3, 3)))

        assert asyncio.run(sleep_all()) == [5, 4, 6]

    def test_a_sleep_that_is_cancelled_does_not_move_the_clock(self, harness: Harness) -> None:
        async def cancel() -> None:
            sleeps = asyncio.ensure_future(harness.sleep_async(100))
            await asyncio.sleep(0)
            sleeps.cancel()
            await harness.sleep_async(5)

        asyncio.run(cancel())
        assert harness.monotonic() == 5

    def test_a_sleep_that_blocks_the_event_loop_does_not_wait_for_the_tasks_in_it(
        self, harness: Harness
    ) -> None:
        async def block() -> None:
            sleeps = asyncio.ensure_future(harness.sleep_async(2))
            await asyncio.sleep(0)
            harness.sleep(5)
            await sleeps

        asyncio.run(block())
        assert harness.monotonic() == 5


class TestAfterTheScenario:
    """A library that is first imported in a scenario keeps the functions that were there then."""

    SECONDS = 0.01

    @pytest.fixture
    def kept(self, harness: Harness) -> Harness:
        """Its client was ended, and its time is far beyond the end."""
        harness.run(Situation(), ClientFunctions(start=lambda: None, wait=never_ends(harness)))
        assert harness.transcript.calls[0].said.words == {"endless"}
        harness.close()
        return harness

    def test_time_is_real(self, kept: Harness) -> None:
        before = kept.server.clock.now()
        begun = real_time.now()
        kept.sleep(self.SECONDS)
        assert asyncio.run(kept.sleep_async(self.SECONDS, "done")) == "done"
        assert begun < kept.monotonic() < real_time.now()
        assert kept.server.clock.now() == before

    def test_a_sleep_can_be_cancelled_in_trio(self, kept: Harness) -> None:
        trio = pytest.importorskip("trio")

        async def give_up() -> bool:
            with trio.move_on_after(self.SECONDS) as scope:
                await kept.sleep_async(3600)
            return bool(scope.cancelled_caught)

        assert trio.run(give_up)

    def test_time_is_that_of_the_next_scenario(
        self, kept: Harness, expedition_server: ExpeditionServer
    ) -> None:
        later = Harness(expedition_server)
        expedition_server.play(Situation())
        kept.sleep(3600)
        assert asyncio.run(kept.sleep_async(5, "done")) == "done"
        assert kept.monotonic() == later.monotonic() == 3605
        kept.close()  # for the second time
        kept.sleep(1)
        assert later.monotonic() == 3606
        later.close()


def test_a_client_that_sleeps_for_ever_is_ended(harness: Harness) -> None:
    def wait(_: object) -> None:
        harness.sleep(float("inf"))

    async def wait_async(_: object) -> None:
        await harness.sleep_async(float("inf"))

    for each in (wait, wait_async):
        harness.run(Situation(), ClientFunctions(start=lambda: None, wait=each))
        assert harness.transcript.calls[0].said.words == {"endless"}


def never_ends(harness: Harness) -> Callable[[object], str]:
    def wait(_: object) -> str:
        while True:
            harness.sleep(60)

    return wait


LIBRARY = """
    from asyncio import sleep as sleep_async
    from time import sleep

    async def pauses(seconds):
        sleep(seconds)
        return await sleep_async(seconds, "done")
"""


def test_a_library_that_was_imported_in_a_scenario_works_in_later_tests(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(library=LIBRARY)
    pytester.makepyfile(
        test_client="""
        import asyncio
        import pytest

        def wait_for_ever(_):
            import library
            while True:
                library.sleep(60)

        def wait(_):
            import library
            assert asyncio.run(library.pauses(60)) == "done"
            return "finished"

        @pytest.mark.expedition_scenarios("ordinary")
        def test_first(expedition_scenario, monkeypatch):
            monkeypatch.setattr("time.sleep", expedition_scenario.sleep)
            monkeypatch.setattr("asyncio.sleep", expedition_scenario.sleep_async)
            with pytest.raises(pytest.fail.Exception, match="it never ended"):
                expedition_scenario.check(lambda: None, wait_for_ever)

        def test_outside_of_scenarios():
            import library
            assert asyncio.run(library.pauses(0.01)) == "done"

        @pytest.mark.expedition_scenarios("ordinary")
        def test_next(expedition_scenario):
            with pytest.raises(pytest.fail.Exception, match="client.does-as-told"):
                expedition_scenario.check(lambda: None, wait)
            assert expedition_scenario.monotonic() == 120
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3)


def polls_in_real_time(client: Client, pause: Callable[[], object]) -> Callable[[Any], str]:
    def wait(job_id: Any) -> str:
        while (end := client.end(client.status(job_id))) is None:
            pause()
        return end

    return wait


def waits_for_an_event() -> None:
    threading.Event().wait(1.5)  # the client is ended after 4 seconds, so within a pause


def waits_for_a_queue() -> None:
    with pytest.raises(queue.Empty):
        queue.SimpleQueue[None]().get(timeout=30)


def sleeps() -> None:
    really_sleep(1)


def sleeps_in_a_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(really_sleep, 1).result()


@pytest.mark.parametrize(
    "pause", [waits_for_an_event, waits_for_a_queue, sleeps, sleeps_in_a_thread]
)
def test_a_client_that_sleeps_by_another_clock_is_ended_and_told_so(
    pause: Callable[[], object],
    harness: Harness,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if pause is not waits_for_an_event:  # that one is ended after the usual time
        monkeypatch.setattr(guard, "STILL_SECONDS", 0.5)
    functions = ClientFunctions(start=client.start, wait=polls_in_real_time(client, pause))
    with pytest.raises(ClockStandsStill) as caught:
        harness.run(SCENARIOS["ordinary"].situation, functions)
    message = str(caught.value)
    assert "The clock stands still: the client's `wait` sent" in message
    assert "at test_client_time.py:" in message
    for way in ("1. Replace the function", "2. If the function cannot", "real_time(speed=50)"):
        assert way in message


def test_clients_that_run_at_the_same_time_are_told_apart(
    expedition_server: ExpeditionServer,
) -> None:
    begun, over = threading.Event(), threading.Event()

    def run_another() -> None:
        with Guard(expedition_server) as another, another.watching("start"):
            begun.set()
            over.wait(10)

    thread = threading.Thread(target=run_another)
    with Guard(expedition_server) as own, own.watching("start"), ExpeditionServer():
        thread.start()
        assert begun.wait(10)
        try:
            assert own.threads() == [threading.current_thread()]
        finally:
            over.set()
            thread.join()


@pytest.fixture(params=["concurrent.futures", "multiprocessing", "trio", "anyio"])
def run_in_worker(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[Callable[[], object]], object]]:
    if request.param == "concurrent.futures":
        with ThreadPoolExecutor(1) as executor:
            yield lambda work: executor.submit(work).result()
    elif request.param == "multiprocessing":
        with ThreadPool(1) as pool:
            yield pool.apply
    elif request.param == "trio":
        trio = pytest.importorskip("trio")
        yield lambda work: trio.run(trio.to_thread.run_sync, work)
    else:
        with anyio.from_thread.start_blocking_portal() as portal:
            yield lambda work: portal.call(anyio.to_thread.run_sync, work)


def test_a_worker_is_ended_that_did_other_work_before_the_scenario(
    run_in_worker: Callable[[Callable[[], object]], object],
    expedition_server: ExpeditionServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "STILL_SECONDS", 0.2)
    monkeypatch.setattr(guard, "AGAIN_SECONDS", 0.1)
    workers: list[threading.Thread] = []
    ended: list[threading.Thread] = []

    def go_on() -> None:
        workers.append(threading.current_thread())
        try:
            while real_time.now() < until:
                really_sleep(0.01)
        except ClientNeverEnds:
            ended.append(threading.current_thread())
            raise

    until = 0.0
    run_in_worker(go_on)
    harness = Harness(expedition_server)
    until = real_time.now() + 30
    functions = ClientFunctions(start=Client(harness).start, wait=lambda _: run_in_worker(go_on))
    with pytest.raises(ClockStandsStill, match="`wait` sent no requests"):
        harness.run(Situation(), functions)
    assert ended == workers[1:]
    assert workers == ended * 2


def test_a_thread_of_a_client_is_ended_as_soon_as_it_returns_to_python(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "STILL_SECONDS", 0.2)
    ended = []
    is_over = threading.Event()

    def sleep_once() -> None:
        try:
            really_sleep(0.65)  # the first interrupt comes at 0.2, and the next half a second later
        except ClientNeverEnds:
            ended.append("at once")
        is_over.set()

    def wait(_: Any) -> str:
        threading.Thread(target=sleep_once).start()
        try:
            is_over.wait()
        finally:
            is_over.wait()
        return "finished"

    with pytest.raises(ClockStandsStill):
        harness.run(Situation(), ClientFunctions(start=Client(harness).start, wait=wait))
    assert ended == ["at once"]


def test_the_place_is_told_though_a_second_interrupt_came_outside_the_client() -> None:
    with pytest.raises(ClientNeverEnds) as first:
        raise ClientNeverEnds
    second = ClientNeverEnds()
    second.__context__ = first.value
    assert place_of(second).startswith(" at test_client_time.py:")


def test_it_is_ended_where_the_first_error_is_lost_in_a_destructor(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python catches what is raised in a destructor, and warns of it."""
    monkeypatch.setattr(guard, "STILL_SECONDS", 0.2)
    monkeypatch.setattr(guard, "AGAIN_SECONDS", 0.1)
    left = []

    class Resource:
        def __del__(self) -> None:
            try:
                while True:
                    really_sleep(0.01)
            finally:
                left.append(self)

    def wait(_: Any) -> None:
        Resource()
        while True:
            really_sleep(0.01)

    functions = ClientFunctions(start=Client(harness).start, wait=wait)
    hook = sys.unraisablehook
    with pytest.raises(ClockStandsStill, match="`wait` sent no requests"):
        harness.run(Situation(), functions)
    assert left
    assert sys.unraisablehook is hook


def test_other_errors_that_python_catches_are_still_told(
    harness: Harness, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: told.append(error.exc_type))

    class Resource:
        def __del__(self) -> None:
            raise ZeroDivisionError

    def wait(job_id: Any) -> str:
        Resource()
        return client.wait(job_id)

    functions = ClientFunctions(start=client.start, wait=wait)
    assert not broken(harness.run(SCENARIOS["ordinary"].situation, functions))
    assert told == [ZeroDivisionError]


def test_an_async_client_that_sleeps_by_another_clock_is_told_so(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "STILL_SECONDS", 0.5)
    client = Asynchronous(harness)

    async def wait(job_id: Any) -> str:
        while True:
            await client.send_async("GET", f"job/status/{job_id}")
            await asyncio.sleep(60)

    functions = ClientFunctions(start=client.start, wait=wait)
    with pytest.raises(ClockStandsStill, match="the client's `wait` sent 1 request"):
        harness.run(SCENARIOS["ordinary"].situation, functions)


def test_a_start_may_take_long_before_its_first_request(
    harness: Harness, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "STILL_SECONDS", 1.0)

    def start() -> Any:
        really_sleep(1.5)
        return client.start()

    results = harness.run(Situation(), ClientFunctions(start=start, wait=client.wait))
    assert not broken(results)


NEVER_ENDS = """
import sys, time, urllib.request
while True:
    try:
        urllib.request.urlopen(
            urllib.request.Request(sys.argv[1], headers={"Authorization": sys.argv[2]})
        ).read()
    except Exception:
        pass
    time.sleep(0.05)
"""


def test_a_client_that_waits_for_a_process_which_never_ends_is_ended(
    harness: Harness, client: Client
) -> None:
    harness.real_time(speed=50)

    def wait(job_id: Any) -> str:
        url, key = f"{client.api}/job/status/{job_id}", f"Bearer {client.key}"
        subprocess.run([sys.executable, "-c", NEVER_ENDS, url, key], check=True)
        return "finished"

    functions = ClientFunctions(start=client.start, wait=wait)
    results = harness.run(SCENARIOS["cancelled-by-another"].situation, functions)
    assert "stops-on-cancel" in broken(results)


TRACED = """
    import sys
    import threading
    import time

    import pytest
    from clients import Client

    from pytest_expedition import ExpeditionServer, Situation
    from pytest_expedition.clients import guard
    from pytest_expedition.clients.harness import ClientFunctions, ClockStandsStill, Harness

    really_sleep = time.sleep
    each_trace = pytest.mark.parametrize(
        "trace", [sys.setprofile, threading.setprofile, sys.settrace, threading.settrace]
    )

    def trace_lines(*_):
        return trace_lines

    @pytest.fixture
    def client(expedition_server, trace, monkeypatch):
        monkeypatch.setattr(guard, "STILL_SECONDS", 0.2)
        monkeypatch.setattr(guard, "LONGEST_STILL_SECONDS", 0.2)
        trace(trace_lines)
        yield Client(Harness(expedition_server))
        trace(None)

    def run(client, wait):
        \"\"\"Run a client in this thread, and in one of its own.\"\"\"
        told = []

        def run_here():
            try:
                functions = ClientFunctions(start=client.start, wait=wait)
                client.harness.run(Situation(), functions)
                told.append("judged")
            except ClockStandsStill:
                told.append("ended")

        run_here()
        thread = threading.Thread(target=run_here)
        thread.start()
        thread.join()
        return told

    def sleep_for_ever(job_id):
        while True:
            try:
                really_sleep(0.01)
            except Exception:
                pass

    @each_trace
    def test_a_good_one_is_judged(client):
        assert run(client, client.wait) == ["judged", "judged"]

    @each_trace
    def test_one_that_waits_for_ever_is_ended(client):
        assert run(client, sleep_for_ever) == ["ended", "ended"]

    @each_trace
    def test_one_is_ended_that_has_a_thread_which_never_runs(client):
        begun, idle = threading.Event(), threading.Lock()
        idle.acquire()

        def stay():
            begun.set()
            with idle:
                pass

        def wait(job_id):
            thread = threading.Thread(target=stay)
            thread.start()
            begun.wait()
            sleep_for_ever(job_id)

        assert run(client, wait) == ["ended", "ended"]
        idle.release()
"""


@pytest.mark.long
def test_a_client_is_judged_and_ended_while_it_is_traced(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(TRACED)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=60)
    result.assert_outcomes(passed=12)


class TestAsync:
    """A client whose functions are coroutine functions."""

    class Client(Asynchronous):
        async def start_async(self) -> Any:
            _, body = await self.send_async("POST", "project/1/import")
            return content(json.loads(body))["system"]["jobs"]["jobId"]

        async def cancel_async(self, job_id: Any) -> None:
            await self.send_async("DELETE", f"job/{job_id}")

        @property
        def functions(self) -> ClientFunctions:
            return ClientFunctions(
                start=self.start_async, wait=self.wait_async, cancel=self.cancel_async
            )

    @pytest.mark.parametrize("scenario", ["ordinary", "two-jobs-cancelled", "status-lost"])
    def test_it_is_run_in_an_event_loop_of_its_own(self, scenario: str, harness: Harness) -> None:
        results = harness.run(SCENARIOS[scenario].situation, self.Client(harness).functions)
        assert not broken(results)
        assert harness.transcript.steps

    @pytest.mark.parametrize("scenario", ["ordinary", "two-jobs-cancelled", "status-lost"])
    def test_it_is_run_in_the_event_loop_of_the_test(self, scenario: str, harness: Harness) -> None:
        functions = self.Client(harness).functions
        results = asyncio.run(harness.run_async(SCENARIOS[scenario].situation, functions))
        assert not broken(results)
        assert harness.transcript.steps

    def test_no_task_polls_on_in_the_next_situation(self, harness: Harness) -> None:
        client = self.Client(harness)
        tasks: list[asyncio.Task[None]] = []

        async def poll(job_id: Any) -> None:
            while True:
                await client.send_async("GET", f"job/status/{job_id}")
                await asyncio.sleep(0)

        async def wait(job_id: Any) -> str:
            tasks.append(asyncio.create_task(poll(job_id)))
            return await client.wait_async(job_id)

        functions = ClientFunctions(start=client.start_async, wait=wait)
        for _ in range(2):
            harness.run(SCENARIOS["ordinary"].situation, functions)
        assert all(task.done() for task in tasks)
        (created,) = {step.created for step in harness.transcript.steps} - {None}
        assert {step.exchange.job_id for step in harness.transcript.steps} == {None, created}

    @pytest.mark.parametrize("replaced", [False, True])
    def test_a_task_that_swallows_a_cancel_is_cancelled_again(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
    ) -> None:
        """Event loops go by the clock that a test may have replaced; then it stands still."""
        if replaced:
            monkeypatch.setattr("time.monotonic", harness.monotonic)
        client = self.Client(harness)
        swallowed = 0
        tasks: list[asyncio.Task[None]] = []

        async def go_on() -> None:
            nonlocal swallowed
            while True:
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:  # noqa: PERF203
                    swallowed += 1
                    if swallowed > 1:
                        raise

        async def wait(job_id: Any) -> str:
            tasks.append(asyncio.create_task(go_on()))
            return await client.wait_async(job_id)

        harness.run(
            SCENARIOS["ordinary"].situation, ClientFunctions(start=client.start_async, wait=wait)
        )
        assert [task.cancelled() for task in tasks] == [True]

    @pytest.mark.parametrize("own_loop", [True, False])
    def test_it_is_ended_where_it_would_go_on_for_ever(
        self, harness: Harness, *, own_loop: bool
    ) -> None:
        client = self.Client(harness)

        async def wait(job_id: Any) -> str:
            while True:
                await client.send_async("GET", f"job/status/{job_id}")
                await harness.sleep_async(30)

        functions = ClientFunctions(start=client.start_async, wait=wait)
        situation = SCENARIOS["cancelled-by-another"].situation
        if own_loop:
            results = harness.run(situation, functions)
        else:
            results = asyncio.run(harness.run_async(situation, functions))
        assert broken(results) == {"stops-on-cancel"}

    def test_the_event_loop_of_a_test_ends_with_what_to_do_where_a_task_swallows_each_cancel(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guard, "STILL_SECONDS", 0.1)
        monkeypatch.setattr(guard, "AGAIN_SECONDS", 0.1)
        released = False

        async def wait(_: Any) -> None:
            while not released:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)

        functions = ClientFunctions(start=Client(harness).start, wait=wait)
        loop = asyncio.new_event_loop()
        with pytest.raises(ClientNeverEnds, match=r"`wait` sent no requests(?s:.*)There are three"):
            loop.run_until_complete(harness.run_async(Situation(), functions))
        released = True
        loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
        loop.close()

    def test_it_is_ended_in_trio_where_it_waits_by_another_clock(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trio = pytest.importorskip("trio")
        monkeypatch.setattr(guard, "STILL_SECONDS", 0.2)

        async def wait(_: Any) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)

        functions = ClientFunctions(start=Client(harness).start, wait=wait)
        with pytest.raises(
            ClockStandsStill, match=r"`wait` sent no requests.* at test_client_time"
        ):
            trio.run(harness.run_async, Situation(), functions)

    def test_it_is_ended_in_trio_where_it_waits_for_a_thread_that_never_ends(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trio = pytest.importorskip("trio")
        monkeypatch.setattr(guard, "STILL_SECONDS", 0.2)
        monkeypatch.setattr(guard, "AGAIN_SECONDS", 0.1)

        def go_on() -> None:
            while True:
                really_sleep(0.01)

        async def wait(_: Any) -> None:
            await trio.to_thread.run_sync(go_on)

        functions = ClientFunctions(start=Client(harness).start, wait=wait)
        with pytest.raises(ClockStandsStill, match="`wait` sent no requests"):
            trio.run(harness.run_async, Situation(), functions)

    def test_in_an_async_test_check_says_what_to_write_instead(self, harness: Harness) -> None:
        async def test() -> None:
            harness.run(Situation(), self.Client(harness).functions)

        with pytest.raises(TypeError, match=r"await expedition_scenario\.check_async"):
            asyncio.run(test())


ASYNC_TEST = """
    import httpx, pytest

    class Client:
        def __init__(self, scenario):
            self.scenario = scenario

        async def ask(self, method, path):
            key = {"Authorization": f"Bearer {self.scenario.api_key}"}
            async with httpx.AsyncClient(headers=key, trust_env=False, verify=False) as session:
                answer = await session.request(method, f"{self.scenario.url}/api/v1/{path}")
            answer.raise_for_status()
            return answer.json()["Contents"]["response"]["data"]["content"]["system"]["jobs"]

        async def start(self):
            return (await self.ask("POST", "project/1/import"))["jobId"]

        async def wait(self, job_id):
            while True:
                job = await self.ask("GET", f"job/status/{job_id}")
                if job["state"] in (1, -1):
                    return {1: "finished", -1: "cancelled"}[job["state"]]
                await self.scenario.sleep_async(5)

    scenarios = pytest.mark.expedition_scenarios("ordinary", "cancelled-by-another", "fails")
"""


@pytest.mark.parametrize(
    ("plugin", "marker"),
    [
        *([("pytest_asyncio", "asyncio")] if find_spec("pytest_asyncio") else []),
        ("anyio", "anyio"),
        ("", ""),
    ],
)
def test_an_async_client_in_a_test(pytester: pytest.Pytester, plugin: str, marker: str) -> None:
    test = """
        @scenarios
        def test_import(expedition_scenario):
            client = Client(expedition_scenario)
            expedition_scenario.check(client.start, client.wait)
    """
    if plugin:
        test = f"""
        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @scenarios
        @pytest.mark.{marker}
        async def test_import(expedition_scenario):
            client = Client(expedition_scenario)
            await expedition_scenario.check_async(client.start, client.wait)
        """
    pytester.makepyfile(textwrap.dedent(ASYNC_TEST) + textwrap.dedent(test))
    loads = ["-p", marker] if marker else []
    loop_scope = ["-o", "asyncio_default_fixture_loop_scope=function"] if "asyncio" in loads else []
    run = pytester.runpytest_subprocess if plugin else pytester.runpytest_inprocess
    result = run("-p", "no:cacheprovider", *loads, *loop_scope)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*The job failed, but the client returned 'finished'."])


def test_no_garbage_is_collected_while_the_code_of_threads_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collects = []
    take = sys._current_frames

    def taken() -> object:
        collects.append(gc.isenabled())
        return take()

    monkeypatch.setattr(sys, "_current_frames", taken)
    assert threading.get_ident() in code_of_threads()
    assert collects == [False]
    assert gc.isenabled()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_time_limit_of_asyncio_goes_by_the_clock_that_the_hint_names(
    harness: Harness, client: Client, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
) -> None:
    monkeypatch.setattr("asyncio.sleep", harness.sleep_async)
    if replaced:
        monkeypatch.setattr("time.monotonic", harness.monotonic)

    async def poll(job_id: Any) -> str:
        while (end := client.end(client.status(job_id))) is None:
            await asyncio.sleep(60)
        return end

    async def start() -> Any:
        return client.start()

    async def wait(job_id: Any) -> str:
        return await asyncio.wait_for(poll(job_id), 1800)

    situation = SCENARIOS["agent-stopped"].situation
    results = harness.run(situation, ClientFunctions(start=start, wait=wait))
    told = [client_fault(each.violation) for each in results if each.violation]
    if replaced:
        assert not told
    else:
        assert told[0].endswith(
            "(If it goes by a clock, as asyncio.timeout does: "
            'monkeypatch.setattr("time.monotonic", expedition_scenario.monotonic).)'
        )
