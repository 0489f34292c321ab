"""A monitor changes nothing of what it watches, and misses nothing that it was told."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import requests
from histories import trace_lines
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pytest_expedition import ExpeditionServer, JobRecipe, Monitor
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.simulation import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class SlipsBack(Instance):
    """The third poll shows less than the second."""

    def __init__(self) -> None:
        super().__init__(Clock(seconds_per_poll=1))

    def state(self, job: Any) -> float:
        return super().state(job) * (0.1 if job.polls == 2 else 1)


@pytest.fixture
def serve() -> Iterator[Callable[..., ExpeditionServer]]:
    started = []

    def start(make: Callable[[], Instance] = SlipsBack) -> ExpeditionServer:
        server = ExpeditionServer(make)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def create(session: requests.Session, server: ExpeditionServer) -> str:
    """Create a job, and return the URL of its status."""
    session.headers["Authorization"] = f"Bearer {server.api_key}"
    answer = session.post(f"{server.url}/api/v1/project/1/import", timeout=10)
    job_id = answer.json()["Contents"]["response"]["data"]["content"]["system"]["jobs"]["jobId"]
    return f"{server.url}/api/v1/job/status/{job_id}"


def use(session: requests.Session, server: ExpeditionServer, polls: int = 4) -> None:
    """Create a job and poll it: from the third poll on, it has slipped back."""
    status = create(session, server)
    for _ in range(polls):
        session.get(status, timeout=10)


def test_a_broken_must_is_told_with_its_proof(serve: Any, session: requests.Session) -> None:
    server = serve()
    with pytest.raises(AssertionError) as caught, Monitor(session):
        use(session, server)
    text = str(caught.value)
    assert "This breaks status.monotonic (MUST, stated): While a job is not cancelled" in text
    assert "The exchanges that prove it, and those that led to them:" in text
    assert f"{server.url}/api/v1/project/1/import" in text
    assert server.api_key not in text


def test_an_honest_server_breaks_nothing(
    expedition_server: ExpeditionServer, session: requests.Session
) -> None:
    with Monitor(session, expedition_server) as monitor:
        status = create(session, expedition_server)
        session.delete(status.replace("/status", ""), timeout=10)
        for _ in range(6):
            session.get(status, timeout=10)
        assert monitor.broken() == []


def test_a_test_that_fails_by_itself_is_left_alone(serve: Any, session: requests.Session) -> None:
    def fail() -> None:
        use(session, serve())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Monitor(session):
        fail()


def test_any_client_of_a_fake_instance_is_seen(serve: Any) -> None:
    server = serve()
    unwatched = requests.Session()
    with unwatched, pytest.raises(AssertionError, match=r"status\.monotonic"), Monitor(server):
        use(unwatched, server)


def test_what_is_seen_from_both_sides_is_judged_once(serve: Any, session: requests.Session) -> None:
    server = serve(lambda: Instance(Clock(seconds_per_poll=1)))
    with Monitor(session, server):
        session.get(create(session, server), timeout=10)


@pytest.mark.parametrize("watched", ["session", "httpx", "server"])
def test_what_is_watched_twice_is_heard_once(watched: str, session: requests.Session) -> None:
    with ExpeditionServer() as server, httpx.Client(trust_env=False) as client:
        chosen: Any = {"session": session, "httpx": client, "server": server}[watched]
        monitor = Monitor(chosen, chosen)
        monitor.watch(chosen)
        sending: Any = client if watched == "httpx" else session
        use(sending, server)
        monitor.stop()
        record = monitor.judge()
    assert (record.requests, record.jobs) == (5, 1)
    assert not monitor.broken()


def test_a_session_may_be_watched_again_after_the_monitor_has_stopped(
    serve: Any, session: requests.Session
) -> None:
    server, monitor = serve(Instance), Monitor(session)
    monitor.stop()
    monitor.watch(session)
    use(session, server)
    assert monitor.judge().requests == 5


def test_recipes_and_the_length_of_a_job_can_be_told(serve: Any, session: requests.Session) -> None:
    server = serve(BROKEN["cancel-ignored"].make)
    recipe = JobRecipe(name="import", path="/api/v1/project/1/import", cancellable=False)
    with Monitor(session, jobs=[recipe], job_seconds=1e-6) as monitor:
        status = create(session, server)
        session.get(status, timeout=10)
        broken = monitor.broken()
        assert any("This breaks status.completes (MUST" in text for text in broken)
        monitor.job_seconds = 60
        assert monitor.broken() == []


def test_only_what_is_sent_while_it_watches_is_judged(
    serve: Any, session: requests.Session
) -> None:
    server = serve()
    monitor = Monitor(session)
    status = create(session, server)
    monitor.stop()
    for _ in range(4):
        session.get(status, timeout=10)
    assert monitor.broken() == []
    assert "send" not in vars(session)


def test_an_object_that_it_cannot_watch_is_refused() -> None:
    with pytest.raises(TypeError, match=r"watch a requests\.Session, an .*, not 'x'"):
        Monitor("x")  # type: ignore[arg-type]


def test_monitors_of_one_session_may_stop_in_any_order(
    serve: Any, session: requests.Session
) -> None:
    server = serve()
    first, second = Monitor(session), Monitor(session)
    status = create(session, server)
    first.stop()
    for _ in range(4):
        session.get(status, timeout=10)
    second.stop()
    session.get(status, timeout=10)
    assert first.broken() == []
    assert len(second.broken()) == 1


def test_a_session_that_sends_in_its_own_way_still_does(serve: Any) -> None:
    sent = []

    class Own(requests.Session):
        def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            sent.append(request.url)
            return super().send(request, **options)

    server = serve()
    with pytest.raises(AssertionError, match=r"status\.monotonic"), Own() as own, Monitor(own):
        use(own, server)
    assert len(sent) == 5


def test_adapters_that_are_mounted_later_are_used(serve: Any, session: requests.Session) -> None:
    class Counting(HTTPAdapter):
        sent = 0

        def send(self, *args: Any, **options: Any) -> requests.Response:
            self.sent += 1
            return super().send(*args, **options)

    server, adapter = serve(), Counting()
    monitor = Monitor(session)
    session.mount("http://", adapter)
    use(session, server)
    assert len(monitor.broken()) == 1
    assert adapter.sent == 5


def test_many_threads_may_send(serve: Any, session: requests.Session) -> None:
    server = serve(lambda: Instance(Clock(seconds_per_poll=0.01)))
    with Monitor(session) as monitor, ThreadPoolExecutor(8) as pool:
        statuses = [create(session, server) for _ in range(4)]
        for answer in pool.map(lambda url: session.get(url, timeout=10), statuses * 10):
            assert answer.ok
    assert len(monitor._sent) == 44


class Odd(BaseHTTPRequestHandler):
    """A server that redirects, fails now and then, and streams."""

    failures = 0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/api/v1/job/status/7" and Odd.failures:
            Odd.failures -= 1
            self.answer(503)
        elif self.path == "/api/v1/job/status/8":
            self.answer(302, Location="/api/v1/job/status/9")
        elif self.path == "/api/v1/job/status/10":
            self.close_connection = True
        else:
            self.answer(200, b'{"data": {"state": 0.5}}')

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def odd() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/v1/job/status"
    server.shutdown()
    server.server_close()
    thread.join()


def heard(monitor: Monitor) -> list[tuple[str, int | None, str]]:
    return [(each.url[-2:], each.status, each.lost) for each in monitor._all()]


def test_each_step_of_a_redirection_is_seen_once(odd: str, session: requests.Session) -> None:
    with Monitor(session) as monitor:
        answer = session.get(f"{odd}/8", timeout=10)
    assert (answer.status_code, len(answer.history)) == (200, 1)
    assert heard(monitor) == [("/9", 200, ""), ("/8", 302, "")]


def test_retries_within_an_adapter_are_one_request(odd: str, session: requests.Session) -> None:
    Odd.failures = 2
    retry = Retry(total=3, status_forcelist=[503], backoff_factor=0)
    session.mount("http://", HTTPAdapter(max_retries=retry))
    with Monitor(session) as monitor:
        assert session.get(f"{odd}/7", timeout=10).status_code == 200
    assert heard(monitor) == [("/7", 200, "")]


def test_an_exception_reaches_the_client_and_counts_as_no_answer(
    odd: str, session: requests.Session
) -> None:
    with Monitor(session) as monitor, pytest.raises(requests.ConnectionError):
        session.get(f"{odd}/10", timeout=10)
    ((_, status, lost),) = heard(monitor)
    assert status is None
    assert lost.startswith("ConnectionError: ")


def test_a_streamed_answer_is_the_clients_alone(odd: str, session: requests.Session) -> None:
    with Monitor(session) as monitor:
        answer = session.get(f"{odd}/9", stream=True, timeout=10)
        assert b"".join(answer.iter_content(3)) == b'{"data": {"state": 0.5}}'
        kept = session.get(f"{odd}/9", stream=True, timeout=10)
        assert kept.json()
        assert [status for _, status, _ in heard(monitor)] == [None, 200]
        gone = weakref.ref(answer)
        del answer
        gc.collect()
        assert gone() is None
        assert [status for _, status, _ in heard(monitor)] == [None, 200]


def test_what_is_under_way_counts_as_no_answer(serve: Any, session: requests.Session) -> None:
    asked, go_on = threading.Event(), threading.Event()

    class Waits(Instance):
        def handle(self, request: Any) -> Any:
            asked.set()
            go_on.wait(10)
            return super().handle(request)

    server = serve(Waits)
    with Monitor(session) as monitor, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(session.get, f"{server.url}/api/v1/job/7", timeout=10)
        asked.wait(10)
        assert monitor.broken() == []
        go_on.set()
        under_way.result()


def test_what_is_seen_is_recorded_at_once_without_keys(
    serve: Any, session: requests.Session, tmp_path: Path
) -> None:
    server, path = serve(), tmp_path / "trace.jsonl"
    with Monitor(session, record=path, part="here"):
        status = create(session, server)
        for number in range(2, 4):
            session.get(status, timeout=10)
            assert len(trace_lines(path)) == number
    assert {line.whose for line in trace_lines(path)} == {(server.url, "here")}
    assert server.api_key.encode() not in path.read_bytes()


class TestFixture:
    TEST = """
    import pytest, requests
    from pytest_expedition import ExpeditionServer
    from test_monitor import SlipsBack, use

    @pytest.fixture(scope="session")
    def expedition_session_server():
        server = ExpeditionServer(SlipsBack)
        server.start()
        yield server
        server.stop()

    def test_of_a_session(expedition_session_server, expedition_monitor):
        expedition_session_server.reset()
        with requests.Session() as session:
            expedition_monitor.watch(session)
            use(session, expedition_session_server, {polls})

    def test_of_any_client(expedition_server, expedition_monitor):
        with requests.Session() as session:
            use(session, expedition_server, {polls})

    def test_that_does_not_ask_for_it(expedition_server):
        with requests.Session() as session:
            use(session, expedition_server)
    """

    @pytest.fixture(autouse=True)
    def here(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(pytester.path)
        monkeypatch.delenv("EXPEDITION_RECORD", raising=False)

    def test_a_broken_must_fails_the_test_with_the_proof(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(self.TEST.format(polls=4))
        result = pytester.runpytest_inprocess("-ra")
        result.assert_outcomes(failed=2, passed=1)
        result.stdout.fnmatch_lines(
            ["This breaks status.monotonic (MUST, stated): *", "To do it again:"]
        )
        assert "Traceback" not in result.stdout.str()

    def test_nothing_broken_nothing_said(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(self.TEST.format(polls=2))
        pytester.runpytest_inprocess().assert_outcomes(passed=3)

    def test_a_test_that_fails_by_itself_tells_both(self, pytester: pytest.Pytester) -> None:
        failing = self.TEST.format(polls="4)\n            raise ZeroDivisionError(1")
        pytester.makepyfile(failing)
        result = pytester.runpytest_inprocess()
        result.assert_outcomes(failed=2, passed=1)
        result.stdout.fnmatch_lines(
            [
                "E *ZeroDivisionError: 1",
                "*- Captured expedition monitor call -*",
                "This breaks status.monotonic (MUST, *",
            ]
        )

    def test_what_the_tests_saw_is_recorded_each_apart(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(self.TEST.format(polls=2))
        path = pytester.path / "trace.jsonl"
        for _ in range(2):  # and anew each time
            pytester.runpytest_inprocess(f"--expedition-record={path}").assert_outcomes(passed=3)
            lines = trace_lines(path)
            assert [line.whose.part.partition("::")[2].split()[0] for line in lines] == [
                *["test_of_a_session"] * 3,
                *["test_of_any_client"] * 3,
                *["test_that_does_not_ask_for_it"] * 5,
            ]
