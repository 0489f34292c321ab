"""The fake instance: how jobs go, how the clock moves, what is answered, and the fixture."""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from pytest_httpserver import HTTPServerError

from pytest_expedition import Clock, ExpeditionServer, JobScript, real_time, validate
from pytest_expedition.fake.dialects import DIALECTS, DialectName
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.job_requests import JOB_REQUESTS
from pytest_expedition.fake.odd import ODD
from pytest_expedition.fake.simulation import Simulation

Call = Callable[..., requests.Response]

IMPORT = "project/1/import"
EXPORT = "projects/1/export"


def job_of(response: requests.Response) -> dict[str, Any]:
    job: dict[str, Any] = response.json()["Contents"]["response"]["data"]["content"]["system"][
        "jobs"
    ]
    return job


def messages_of(response: requests.Response) -> list[str]:
    messages = response.json()["Contents"]["response"]["response-messages"]["messages"]
    return [each["message"] for each in messages]


def start(call: Call, path: str = IMPORT) -> int:
    job_id: int = job_of(call("POST", path, data={"resource": "/tmp/a.xml"}))["jobId"]
    return job_id


def state(call: Call, job_id: int) -> float:
    value: float = job_of(call("GET", f"job/status/{job_id}"))["state"]
    return value


class TestScript:
    def test_each_state_lasts_a_step_and_the_last_one_stays(self) -> None:
        script = JobScript(progress=(0, 0.4, 0.4, 1), step_seconds=2)
        seen = [script.progress_at(seconds) for seconds in (0, 1.9, 2, 4, 5.9, 6, 100)]
        assert seen == [0, 0, 0.4, 0.4, 0.4, 1, 1]
        assert script.seconds_to_finish == 6

    def test_a_job_may_never_end(self) -> None:
        script = JobScript(progress=(0, 0.99))
        assert script.seconds_to_finish == float("inf")
        assert script.progress_at(1e9) == 0.99

    def test_a_steady_job(self) -> None:
        script = JobScript.steady(30)
        assert script.seconds_to_finish == pytest.approx(30)
        assert [script.progress_at(seconds) for seconds in (0, 15, 29.99, 30)] == [0, 0.5, 0.99, 1]

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"progress": ()}, "at least one state"),
            ({"progress": (0, 1.5)}, "from 0 to 1"),
            ({"progress": (0, -1)}, "from 0 to 1"),
            ({"progress": (0, float("nan"))}, "from 0 to 1"),
            ({"progress": (0.5, 0.4)}, "must not go back"),
            ({"step_seconds": 0}, "step_seconds"),
            ({"cancel_seconds": -1}, "cancel_seconds"),
        ],
    )
    def test_what_no_job_could_do_is_refused(self, fields: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            JobScript(**fields)


class TestClock:
    def test_a_poll_moves_no_time_back(self) -> None:
        with pytest.raises(ValueError, match="must not be below 0"):
            Clock(seconds_per_poll=-1)

    def test_a_job_ends_however_late_one_looks(self) -> None:
        assert JobScript().progress_at(float("inf")) == 1

    def test_stands_still_until_told(self) -> None:
        clock = Clock()
        assert clock.now() == 0
        clock.advance(2.5)
        assert clock.now() == 2.5

    @pytest.mark.parametrize("seconds", [-1, float("nan")])
    def test_never_goes_back(self, seconds: float) -> None:
        with pytest.raises(ValueError, match="the clock cannot go back"):
            Clock().advance(seconds)

    def test_moves_by_itself_and_is_held(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wall = [100.0]
        monkeypatch.setattr(real_time, "now", lambda: wall[0])
        clock = Clock()
        clock.run()
        wall[0] += 7
        assert clock.now() == 7
        clock.run()
        assert clock.now() == 7
        clock.hold()
        wall[0] += 7
        clock.advance(1)
        assert clock.now() == 8

    def test_another_thread_may_hold_it_while_it_is_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        clock.run()
        holding = threading.Thread(target=clock.hold)
        really_now = real_time.now

        def now() -> float:
            if holding.ident is None:
                holding.start()
                holding.join(0.1)  # it has to wait until the clock was read
            return really_now()

        monkeypatch.setattr(real_time, "now", now)
        read = clock.now()
        holding.join()
        assert read <= clock.now()


class TestSimulation:
    def test_a_cancel_takes_effect_after_its_delay(self) -> None:
        simulation = Simulation()
        job = simulation.create("import", JobScript(progress=(0, 0.5, 0.6, 1), cancel_seconds=1))
        simulation.clock.advance(1)
        assert simulation.cancel(job)
        assert simulation.state(job) == 0.5
        simulation.clock.advance(1)
        assert simulation.state(job) == -1
        simulation.clock.advance(100)
        assert simulation.state(job) == -1

    def test_a_cancel_may_lose_against_completion(self) -> None:
        simulation = Simulation()
        job = simulation.create("import", JobScript(progress=(0, 1), cancel_seconds=1))
        simulation.clock.advance(0.5)
        assert simulation.cancel(job)
        simulation.clock.advance(0.5)
        assert simulation.state(job) == 1
        simulation.clock.advance(10)
        assert simulation.state(job) == 1

    def test_a_refused_cancel_changes_nothing(self) -> None:
        simulation = Simulation()
        job = simulation.create("export", JobScript(cancellable=False))
        simulation.clock.advance(1)
        assert not simulation.cancel(job)
        assert [job.cancel_requests, job.cancelled_after] == [1, None]
        simulation.clock.advance(3)
        assert simulation.state(job) == 1

    def test_a_second_cancel_does_not_put_the_first_off(self) -> None:
        simulation = Simulation()
        job = simulation.create("import", JobScript(cancel_seconds=2))
        simulation.cancel(job)
        simulation.clock.advance(1)
        simulation.cancel(job)
        simulation.clock.advance(1)
        assert simulation.state(job) == -1

    def test_jobs_stand_still_while_the_agent_is_stopped(self) -> None:
        simulation = Simulation(Clock(seconds_per_poll=1))
        running = simulation.create("import", JobScript())
        simulation.clock.advance(1)
        simulation.agent_running = False
        created = simulation.create("import", JobScript())
        simulation.clock.advance(100)
        for job in (running, created):
            simulation.poll(job)
        assert [simulation.state(job) for job in (running, created)] == [0.25, 0]
        assert [job.created for job in (running, created)] == [0, 1]
        simulation.agent_running = True
        assert [simulation.state(job) for job in (running, created)] == [0.25, 0]
        simulation.clock.advance(1)
        simulation.poll(created)
        assert [simulation.state(job) for job in (running, created)] == [0.5, 0.5]

    def test_starting_and_stopping_the_agent_twice_is_as_good_as_once(self) -> None:
        simulation = Simulation()
        simulation.agent_running = True
        simulation.clock.advance(1)
        for running in (False, True):
            for _ in range(2):
                simulation.agent_running = running
                simulation.clock.advance(1)
        assert simulation.agent_running
        assert simulation.agent_time() == 3

    def test_a_job_is_cancelled_while_the_agent_is_stopped(self) -> None:
        simulation = Simulation()
        simulation.agent_running = False
        at_once = simulation.create("import", JobScript())
        late = simulation.create("import", JobScript(cancel_seconds=1))
        assert simulation.cancel(at_once)
        assert simulation.cancel(late)
        simulation.clock.advance(100)
        assert [simulation.state(job) for job in (at_once, late)] == [-1, 0]
        simulation.agent_running = True
        simulation.clock.advance(1)
        assert simulation.state(late) == -1

    @pytest.mark.parametrize("name", ["moves-when-polled", "one-job-at-a-time"])
    def test_odd_servers_have_an_agent_too(self, name: str) -> None:
        instance = ODD[name].make()
        instance.agent_running = False
        job = instance.create("import", JobScript())
        instance.clock.advance(10)
        instance.poll(job)
        assert instance.state(job) == 0
        instance.agent_running = True
        for _ in range(12):
            instance.clock.advance(1)
            instance.poll(job)
        assert instance.state(job) == 1


class TestAgent:
    @pytest.mark.parametrize(
        ("running", "command", "then", "message"),
        [
            (True, "start", True, "The agent is already running"),
            (True, "stop", False, "The agent has been stopped"),
            (True, "restart", True, "The agent has been restarted"),
            (False, "start", True, "The agent has been started"),
            (False, "stop", False, "The agent is already stopped"),
            (False, "restart", True, "The agent has been started"),
        ],
    )
    def test_is_told_over_http(
        self,
        call: Call,
        expedition_server: ExpeditionServer,
        *,
        running: bool,
        command: str,
        then: bool,
        message: str,
    ) -> None:
        expedition_server.agent_running = running
        response = call("GET", f"agent/{command}")
        assert expedition_server.agent_running == then
        assert response.status_code == 200
        assert messages_of(response) == [message]
        validate(response.json(), "envelope")
        assert response.json()["success"] is True

    def test_jobs_stand_still_and_go_on(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        assert expedition_server.agent_running
        job_id = start(call)
        assert state(call, job_id) == 0
        call("GET", "agent/stop")
        waiting = start(call)
        assert [state(call, each) for each in (job_id, waiting) * 3] == [0.25, 0] * 3
        call("GET", "agent/start")
        assert [state(call, waiting) for _ in range(5)] == [0, 0.25, 0.5, 0.75, 1]
        assert [state(call, job_id) for _ in range(4)] == [0.25, 0.5, 0.75, 1]

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_answers_the_same_in_every_dialect(
        self, call: Call, expedition_server: ExpeditionServer, dialect: DialectName
    ) -> None:
        expedition_server.dialect = dialect
        assert messages_of(call("GET", "agent/stop")) == ["The agent has been stopped"]

    def test_takes_only_get_and_only_its_commands(self, call: Call) -> None:
        refused = call("POST", "agent/stop")
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET")
        assert call("GET", "agent/pause").status_code == 404
        assert call("GET", "agent/").status_code == 404

    def test_asks_for_the_key(self, call: Call, expedition_server: ExpeditionServer) -> None:
        assert call("GET", "agent/stop", headers={"Authorization": None}).status_code == 401
        assert expedition_server.agent_running


class TestAnswers:
    def test_creation_status_and_cancel_validate(self, call: Call) -> None:
        creation = call("POST", IMPORT, data={"resource": "/tmp/a.xml"})
        validate(creation.json(), "creation")
        job_id = job_of(creation)["jobId"]
        validate(call("GET", f"job/status/{job_id}").json(), "status")
        validate(call("DELETE", f"job/{job_id}").json(), "cancel")

    def test_a_job_runs_to_its_end_by_being_polled(self, call: Call) -> None:
        job_id = start(call)
        assert [state(call, job_id) for _ in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]

    def test_a_finished_state_is_spelled_1(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.next_job(JobScript(progress=(1.0,)))
        job_id = start(call)
        assert '"state": 1,' in call("GET", f"job/status/{job_id}").text
        assert '"state": 1.0' not in call("GET", f"job/status/{job_id}").text

    def test_cancelled(self, call: Call) -> None:
        job_id = start(call)
        cancelled = call("DELETE", f"job/{job_id}")
        assert job_of(cancelled)["state"] == -1
        assert '"state": -1,' in cancelled.text
        assert state(call, job_id) == -1
        again = call("DELETE", f"job/{job_id}")
        assert (again.status_code, job_of(again)["state"]) == (200, -1)
        assert messages_of(again) == ["The job is already cancelled"]

    def test_refused(self, call: Call) -> None:
        job_id = start(call, EXPORT)
        state(call, job_id)
        refused = call("DELETE", f"job/{job_id}")
        assert job_of(refused)["state"] == 0.25
        assert messages_of(refused) == ["The current job cannot be cancelled"]
        assert [state(call, job_id) for _ in range(4)] == [0.25, 0.5, 0.75, 1]

    def test_a_finished_job_stays_finished(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.next_job(JobScript(progress=(1,)))
        job_id = start(call)
        late = call("DELETE", f"job/{job_id}")
        assert job_of(late)["state"] == 1
        assert messages_of(late) == ["The job is already finished"]

    def test_a_job_that_fails_says_so(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.next_job(
            JobScript(progress=(1,), fails=True, tasks=["No rights"], next_step=["Ask"])
        )
        job = job_of(call("GET", f"job/status/{start(call)}"))
        assert job["JobMsg"] == {"statusCode": -1, "statusMessage": "Failed"}
        assert job["TasksMsg"] == ["No rights"]
        assert job["nextStep"] == ["Ask"]

    def test_next_steps_only_show_once_the_job_is_done(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.next_job(JobScript(progress=(0, 1), next_step=["Download"]))
        job_id = start(call)
        steps = [job_of(call("GET", f"job/status/{job_id}"))["nextStep"] for _ in range(2)]
        assert steps == [[], ["Download"]]

    @pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
    def test_the_scheme_of_the_key_may_be_in_any_case(
        self, call: Call, expedition_server: ExpeditionServer, scheme: str
    ) -> None:
        key = f"{scheme} {expedition_server.api_key}"
        assert call("POST", IMPORT, headers={"Authorization": key}).status_code == 200

    @pytest.mark.parametrize("key", [None, "Bearer wrong", "Basic x", "Bearer"])
    @pytest.mark.parametrize(
        "request_line", ["GET job/status/1619", "DELETE job/1619", "POST " + IMPORT]
    )
    def test_nothing_without_the_key(
        self, call: Call, expedition_server: ExpeditionServer, key: str | None, request_line: str
    ) -> None:
        job_id = start(call)
        assert job_id == 1619
        method, path = request_line.split()
        response = call(method, path, headers={"Authorization": key})
        assert response.status_code == 401
        validate(response.json(), "error")
        assert len(expedition_server.jobs) == 1
        assert expedition_server.jobs[0].cancel_requests == 0

    @pytest.mark.parametrize("path", ["generate_api_key", "login"])
    def test_user_name_and_password_give_the_key(
        self, call: Call, expedition_server: ExpeditionServer, path: str
    ) -> None:
        form = {"username": "admin", "password": "paloalto"}
        response = call("POST", path, data=form, headers={"Authorization": None})
        content = response.json()["Contents"]["response"]["data"]["content"]
        assert content["api_key"] == expedition_server.api_key
        assert messages_of(response) == ["Authentication successful"]
        refused = call("POST", path, data={**form, "password": "x"})
        assert refused.status_code == 401
        validate(refused.json(), "error")
        assert call("GET", path).status_code == 405

    @pytest.mark.parametrize(
        "job_request",
        [each for each in JOB_REQUESTS if "system" in each.dialects],
        ids=lambda each: each.name,
    )
    def test_every_documented_request_creates_a_job(self, call: Call, job_request: Any) -> None:
        path = job_request.path.removeprefix("/api/v1/").replace("{config}", "running")
        path = re.sub("{.*?}", "3", path)
        response = call(job_request.method, path)
        validate(response.json(), "creation")
        assert job_of(response)["description"] == job_request.script.description
        other = "PUT"
        refused = call(other, path)
        assert (refused.status_code, refused.headers["Allow"]) == (405, job_request.method)

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "job/status/9999", 404),
            ("DELETE", "job/9999", 404),
            ("GET", "job/status/abc", 400),
            ("GET", "job/status/1619abc", 400),
            ("GET", "job/status/0", 400),
            ("GET", "job/status/-1", 400),
            ("GET", "job/status/" + "9" * 40, 400),
            ("GET", "job/status/", 400),
            ("DELETE", "job/1619%2F1", 400),
            ("DELETE", "job/%27", 400),
            ("POST", "job/status/1619", 405),
            ("GET", "job/1619", 405),
            ("GET", "nowhere", 404),
            ("GET", "../../etc/passwd", 404),
        ],
    )
    def test_everything_else_is_an_error_envelope(
        self, call: Call, method: str, path: str, status: int
    ) -> None:
        start(call)
        response = call(method, path)
        assert response.status_code == status
        validate(response.json(), "error")


class TestFixture:
    def test_nothing_needs_to_be_configured(self, expedition_server: ExpeditionServer) -> None:
        assert expedition_server.url.startswith("http://127.0.0.1:")
        assert expedition_server.api_key
        assert expedition_server.jobs == []
        assert expedition_server.requests == []

    def test_scripts_serve_in_their_order_then_the_usual_one(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.next_job(JobScript(progress=(0.1,)), JobScript(progress=(0.2,)))
        expedition_server.every_job(JobScript(progress=(0.3,)))
        assert [state(call, start(call)) for _ in range(4)] == [0.1, 0.2, 0.3, 0.3]

    def test_the_clock_only_moves_when_told(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.clock.seconds_per_poll = 0
        job_id = start(call)
        assert [state(call, job_id) for _ in range(3)] == [0, 0, 0]
        expedition_server.advance(2)
        assert state(call, job_id) == 0.5
        assert expedition_server.state(expedition_server.jobs[0]) == 0.5
        assert expedition_server.state(job_id) == 0.5
        with pytest.raises(KeyError, match=r"there is no job .*; since the last reset there are: "):
            expedition_server.state(7)

    def test_a_poll_moves_only_the_job_it_asks_for(self, call: Call) -> None:
        one, other = start(call), start(call)
        assert [state(call, one) for _ in range(3)] == [0, 0.25, 0.5]
        assert state(call, other) == 0

    def test_jobs_and_requests_are_there_for_assertions(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        job_id = start(call)
        state(call, job_id)
        call("DELETE", f"job/{job_id}?why=not")
        (job,) = expedition_server.jobs
        assert (job.id, job.request, job.polls, job.cancel_requests) == (job_id, "import", 1, 1)
        creation, _, cancel = expedition_server.requests
        assert (creation.method, creation.path) == ("POST", "/api/v1/project/1/import")
        assert creation.form == {"resource": "/tmp/a.xml"}
        assert creation.header("authorization") == f"Bearer {expedition_server.api_key}"
        assert creation.header("X-None") == ""
        assert (cancel.path, cancel.query) == (f"/api/v1/job/{job_id}", "why=not")

    def test_a_reset_forgets_everything(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.every_job(JobScript(progress=(0.5,)))
        expedition_server.next_job(JobScript(progress=(0.6,)))
        expedition_server.clock.seconds_per_poll = 9
        expedition_server.advance(9)
        expedition_server.agent_running = False
        start(call)
        url = expedition_server.url
        expedition_server.reset()
        assert (expedition_server.jobs, expedition_server.requests) == ([], [])
        assert (expedition_server.url, expedition_server.clock.now()) == (url, 0)
        assert state(call, start(call)) == 0

    @pytest.mark.parametrize("turn", [1, 2])
    def test_each_test_finds_it_clean(
        self, call: Call, expedition_server: ExpeditionServer, turn: int
    ) -> None:
        assert expedition_server.jobs == [], turn
        start(call)

    def test_many_threads_may_poll(self, expedition_server: ExpeditionServer) -> None:
        expedition_server.every_job(JobScript.steady(20, steps=20))
        headers = {"Authorization": f"Bearer {expedition_server.api_key}"}

        def work(_: int) -> tuple[int, list[float]]:
            with requests.Session() as session:
                session.headers.update(headers)
                url = expedition_server.url + "/api/v1/"
                job_id = job_of(session.post(url + IMPORT, timeout=10))["jobId"]
                status = f"{url}job/status/{job_id}"
                return job_id, [job_of(session.get(status, timeout=10))["state"] for _ in range(21)]

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(work, range(16)))
        assert len({job_id for job_id, _ in outcomes}) == 16
        for _, states in outcomes:
            assert states == [step / 20 for step in range(21)]
        assert len(expedition_server.requests) == 16 * 22

    def test_an_error_of_the_fake_itself_fails_the_test(self) -> None:
        class Faulty(Instance):
            def route(self, request: Any) -> Any:  # noqa: ARG002
                raise ZeroDivisionError("oops")

        server = ExpeditionServer(Faulty)
        server.start()
        try:
            assert requests.get(server.url, timeout=10).status_code == 500
            with pytest.raises(ZeroDivisionError, match="oops"):
                server.check()
            server.check()
        finally:
            server.stop()


class TestServer:
    def test_connections_stay_open(self, call: Call) -> None:
        for _ in range(3):
            assert "close" not in call("GET", "job/status/9").headers.get("Connection", "")

    def test_a_client_may_ask_to_close(self, call: Call) -> None:
        response = call("GET", "job/status/9", headers={"Connection": "close"})
        assert response.headers["Connection"] == "close"

    def test_http_1_0_is_answered_and_closed(self, expedition_server: ExpeditionServer) -> None:
        host, port = expedition_server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"GET /api/v1/job/status/1 HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b" 401 " in answer.splitlines()[0]
        assert b"Connection: close" in answer

    @pytest.mark.parametrize("length", ["abc", "-1"])
    def test_an_invalid_length_is_refused(
        self, expedition_server: ExpeditionServer, length: str
    ) -> None:
        host, port = expedition_server.url.removeprefix("http://").split(":")
        request = (
            f"POST /api/v1/{IMPORT} HTTP/1.1\r\nContent-Length: {length}\r\n\r\nGET / HTTP/1.1"
        )
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(request.encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b" 400 " in answer.splitlines()[0]
        assert answer.count(b"HTTP/1.1") == 1
        assert expedition_server.requests == []

    def test_a_request_may_name_the_whole_url(self, expedition_server: ExpeditionServer) -> None:
        host, port = expedition_server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"GET http://x/api/v1/job/status/1?a HTTP/1.0\r\n\r\n")
            while connection.recv(65536):
                pass
        assert expedition_server.requests[0].path == "/api/v1/job/status/1"

    def test_head_has_no_body(self, call: Call) -> None:
        response = call("HEAD", "job/status/1")
        assert response.status_code == 405
        assert response.content == b""
        assert call("GET", "job/status/1").status_code == 404

    def test_a_port_that_is_taken_is_an_os_error(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = ExpeditionServer(port=taken.getsockname()[1])
            with pytest.raises(OSError, match="in use"):
                server.start()
            server.stop()

    @pytest.mark.parametrize(
        ("host", "port", "reason"),
        [("127.0.0.1", 65536, "port must be 0-65535"), ("é" * 70, 0, "encoding")],
        ids=["port", "host"],
    )
    def test_an_address_that_cannot_be_is_an_os_error(
        self, host: str, port: int, reason: str
    ) -> None:
        with pytest.raises(OSError, match=f"^cannot listen on {host}, port {port}: .*{reason}"):
            ExpeditionServer(host=host, port=port).start()

    def test_a_server_starts_once(self, expedition_server: ExpeditionServer) -> None:
        with pytest.raises(HTTPServerError, match="has been started"):
            expedition_server.start()

    def test_servers_that_start_at_the_same_time_leave_standard_error_alone(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def start_and_stop(_: int) -> None:
            with ExpeditionServer():
                pass

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(start_and_stop, range(32)))
        print("heard", file=sys.stderr)
        assert capsys.readouterr().err == "heard\n"

    def test_stopping_closes_connections_and_ends_their_threads(self) -> None:
        before = set(threading.enumerate())
        server = ExpeditionServer()
        server.start()
        with requests.Session() as session:
            session.get(server.url, timeout=10)
            started = set(threading.enumerate()) - before
            server.stop()
            for thread in started:
                thread.join(10)
            assert not any(thread.is_alive() for thread in started)
            with pytest.raises(requests.ConnectionError):
                session.get(server.url, timeout=10)
