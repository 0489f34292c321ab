"""Answers of a test's own: by pytest-httpserver's API, in scenarios, and from a file."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
from model_client import Expedition, JobCancelled, JobFailed
from pytest_httpserver import URIPattern
from werkzeug.wrappers import Request, Response

from pytest_expedition import ExpeditionServer
from pytest_expedition.fake.own_answers import AnswersError, add_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Call = Callable[..., requests.Response]

MINE = "/api/v1/report/weekly"
IMPORT = "project/1/import"


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[ExpeditionServer]:
    server = ExpeditionServer(**options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class TestExpectations:
    def test_an_answer_of_ones_own_is_given(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expected = expedition_server.expect_request(MINE, method="POST", json={"week": 7})
        expected.respond_with_json({"rows": 3}, status=202, headers={"X-Mine": "yes"})
        response = call("POST", "report/weekly", json={"week": 7})
        assert (response.status_code, response.json()) == (202, {"rows": 3})
        assert response.headers["X-Mine"] == "yes"
        assert call("POST", "job/status/1").status_code == 405
        assert expedition_server.requests[0].path == MINE
        assert expedition_server.journal[0].response.status == 202
        expedition_server.check()

    def test_the_handler_sees_what_was_sent(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        seen: list[Request] = []
        files: list[bytes] = []

        def handle(request: Request) -> Response:
            seen.append(request)
            files.append(request.files["config"].read())
            response = Response("done", 200)
            response.set_cookie("a", "1")
            response.set_cookie("b", "2")
            return response

        expedition_server.expect_request(re.compile("/api/v1/files/.*")).respond_with_handler(
            handle
        )
        response = call(
            "PUT", "files/a%20b?deep=1", data={"name": "x"}, files={"config": ("f.xml", b"<a/>")}
        )
        assert response.text == "done"
        assert response.cookies.get_dict() == {"a": "1", "b": "2"}
        (request,) = seen
        assert (request.path, request.args["deep"]) == ("/api/v1/files/a b", "1")
        assert request.form["name"] == "x"
        assert files == [b"<a/>"]
        assert request.headers["Authorization"] == f"Bearer {expedition_server.api_key}"

    def test_head_and_an_empty_answer_have_no_body(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.expect_request(MINE, method="HEAD").respond_with_data("hidden")
        expedition_server.expect_request(MINE, method="DELETE").respond_with_data("", status=204)
        head = call("HEAD", "report/weekly")
        assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", "6")
        assert call("DELETE", "report/weekly").status_code == 204
        assert call("GET", "job/status/1").status_code == 404

    def test_it_wins_over_what_is_built_in(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.expect_request("/api/v1/project").respond_with_json({"id": "mine"})
        assert call("POST", "project", data={"name": "x"}).json() == {"id": "mine"}

    def test_oneshot_answers_are_given_once(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.expect_oneshot_request(MINE).respond_with_json(1)
        expedition_server.expect_request(MINE).respond_with_json(2)
        assert [call("GET", "report/weekly").json() for _ in range(3)] == [1, 2, 2]

    def test_one_of_two_requests_at_once_gets_a_oneshot_answer(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        both_look = threading.Barrier(2)

        class Path(URIPattern):
            def match(self, uri: str) -> bool:
                with contextlib.suppress(threading.BrokenBarrierError):
                    both_look.wait(timeout=0.5)
                return uri == "/api/v1/project"

        expedition_server.expect_oneshot_request(Path()).respond_with_json("mine")
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: call("GET", "project"), range(2)))
        assert [answer.status_code for answer in answers] == [200, 200]
        assert [answer.json() == "mine" for answer in answers].count(True) == 1
        expedition_server.check()

    def test_handlers_answer_at_the_same_time(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        both = threading.Barrier(2)

        def handle(_: Request) -> Response:
            both.wait(timeout=10)
            return Response("done")

        expedition_server.expect_request(MINE).respond_with_handler(handle)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: call("GET", "report/weekly"), range(2)))
        assert [answer.text for answer in answers] == ["done", "done"]

    def test_ordered_answers_are_given_in_their_order(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        for name in ("one", "two"):
            expedition_server.expect_ordered_request(f"/api/v1/{name}").respond_with_json(name)
        assert call("GET", "one").json() == "one"
        assert call("POST", IMPORT).status_code == 200  # the job API is not in the order
        assert call("GET", "two").json() == "two"
        expedition_server.check()

    def test_a_wrong_order_is_told(self, call: Call, expedition_server: ExpeditionServer) -> None:
        for name in ("one", "two"):
            expedition_server.expect_ordered_request(f"/api/v1/{name}").respond_with_json(name)
        assert call("GET", "two").status_code == 500
        assert call("GET", "one").status_code == 500
        assert call("POST", IMPORT).status_code == 200
        with pytest.raises(AssertionError, match="No handler found for request"):
            expedition_server.check()
        expedition_server.clear()

    def test_a_request_that_has_no_answer_is_told(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        assert call("GET", "report/monthly").status_code == 404
        expedition_server.check()  # without answers of its own, a test may ask for anything
        expedition_server.expect_request(MINE).respond_with_json({})
        with pytest.raises(
            AssertionError, match=r"GET /api/v1/report/monthly has no answer"
        ) as told:
            expedition_server.check()
        assert MINE in str(told.value)
        expedition_server.check()

    def test_an_assertion_of_the_handler_fails_the_test(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        def handle(request: Request) -> Response:
            raise AssertionError(f"unexpected {request.method}")

        def stumble(request: Request) -> Response:
            raise KeyError(request.path)

        expedition_server.expect_request(MINE).respond_with_handler(handle)
        expedition_server.expect_request("/api/v1/other").respond_with_handler(stumble)
        expedition_server.expect_request("/api/v1/without")
        assert call("GET", "report/weekly").status_code == 500
        with pytest.raises(AssertionError, match="unexpected GET"):
            expedition_server.check()
        assert call("GET", "other").status_code == 500
        with pytest.raises(KeyError, match="/api/v1/other"):
            expedition_server.check()
        assert call("GET", "without").status_code == 500
        with pytest.raises(Exception, match="no response defined"):
            expedition_server.check()
        expedition_server.check()

    def test_the_handler_may_ask_the_fake_itself(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        def handle(_: Request) -> Response:
            expedition_server.advance(1)
            return Response(str(call("POST", IMPORT).status_code))

        expedition_server.expect_request(MINE).respond_with_handler(handle)
        assert call("GET", "report/weekly").text == "200"

    @pytest.mark.parametrize(
        "path", ["project/7/import", "job/status/7", "job/7", "job", "agent/start", "login"]
    )
    def test_the_job_api_is_answered_by_the_fake_unless_asked_for(
        self, call: Call, expedition_server: ExpeditionServer, path: str
    ) -> None:
        whole = f"/api/v1/{path}"
        with pytest.raises(ValueError, match="own_job_answers = True"):
            expedition_server.expect_request(whole)
        expedition_server.expect_request(re.compile(".*")).respond_with_json("mine")
        assert call("POST", path).json() != "mine"
        expedition_server.own_job_answers = True
        assert call("POST", path).json() == "mine"
        expedition_server.expect_oneshot_request(whole).respond_with_json("once")
        assert call("POST", path).json() == "once"
        expedition_server.reset()
        assert call("POST", path).json() not in ("mine", "once")
        assert not expedition_server.own_job_answers

    @pytest.mark.parametrize("turn", [1, 2])
    def test_each_test_begins_without(
        self, call: Call, expedition_server: ExpeditionServer, turn: int
    ) -> None:
        assert call("GET", "report/weekly").status_code == 404, turn
        expedition_server.expect_request(MINE).respond_with_json({})
        expedition_server.instance.unknown_requests.clear()


class Migration(Expedition):
    """Creates what it needs first, by requests that are not of the job API."""

    def migrate(self) -> int:
        for name in ("first", "second", "always"):
            self.session.post(f"{self.api}/mine/{name}", timeout=60).raise_for_status()
        return self.start_import(22, "/tmp/a.xml")


@pytest.mark.expedition_scenarios("ordinary", "random")
def test_they_stay_in_scenarios(
    expedition_scenario: Any, expedition_server: ExpeditionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    expedition_server.expect_oneshot_request("/api/v1/mine/always").respond_with_json({})
    expedition_server.expect_ordered_request("/api/v1/mine/first").respond_with_json({})
    expedition_server.expect_ordered_request("/api/v1/mine/second").respond_with_json({})
    monkeypatch.setattr("time.sleep", expedition_scenario.sleep)
    monkeypatch.setattr("time.monotonic", expedition_scenario.monotonic)
    client = Migration(expedition_scenario.url, "admin", "paloalto")
    expedition_scenario.check(
        client.migrate,
        client.wait,
        cancel=client.cancel,
        failed=JobFailed,
        cancelled=JobCancelled,
    )
    mine = [each for each in expedition_server.journal if "/mine/" in each.request.path]
    assert [each.response.status for each in mine][:3] == [200, 200, 200]


class TestFile:
    def test_its_answers_are_given(self, tmp_path: Path) -> None:
        file = tmp_path / "answers.toml"
        file.write_text(
            """
            [[answer]]
            path = "/api/v1/folder"
            method = "POST"
            status = 201
            json = {id = 7, names = ["a", "ä"]}

            [[answer]]
            path = "/api/v1/folder"
            """,
            encoding="utf-8",
        )
        with serving() as server:
            add_answers(server, file)
            url = f"{server.url}/api/v1/folder"
            response = requests.post(url, timeout=10)
            assert (response.status_code, response.json()) == (201, {"id": 7, "names": ["a", "ä"]})
            assert response.headers["Content-Type"] == "application/json"
            response = requests.get(url, timeout=10)
            assert (response.status_code, response.content) == (200, b"")

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("[[answer", "is not TOML"),
            ("", "tables [[answer]] and nothing else: there is none"),
            ("answer = 3", "tables [[answer]]"),
            ("answers = 3", "found answers"),
            ("answer = [3]", "answer 1: must be a table, got 3"),
            ("[[answer]]", "path = '': must begin with /"),
            ("[[answer]]\npath = 'x'", "path = 'x': must begin with /"),
            ("[[answer]]\npath = '/x?a'", "have no query"),
            ("[[answer]]\npath = 3", "path = 3: must be of the type str"),
            ("[[answer]]\npath = '/x'\nstatus = '200'", "status = '200': must be of the type int"),
            ("[[answer]]\npath = '/x'\nstatus = true", "status = True: must be of the type int"),
            ("[[answer]]\npath = '/x'\nstatus = 99", "status = 99: must be from 200 to 599"),
            ("[[answer]]\npath = '/x'\nmethod = 'A B'", "method = 'A B': must be a method"),
            ("[[answer]]\npath = '/x'\nbody = 1", "body: is not known: must be one of method"),
            ("[[answer]]\npath = '/x'\njson = 2026-01-01", "json: has datetime.date(2026, 1, 1)"),
            (
                "[[answer]]\npath = '/x'\njson = [nan]",
                "answer 1: Out of range float values are not",
            ),
            (
                "[[answer]]\npath = '/x'\n[[answer]]\npath = '/api/v1/job/1'",
                "answer 2: /api/v1/job/1: the fake answers this path of the job API itself: remove",
            ),
        ],
    )
    def test_another_file_is_refused(self, tmp_path: Path, text: str, complaint: str) -> None:
        file = tmp_path / "answers.toml"
        file.write_text(text)
        with pytest.raises(AnswersError, match=re.escape(complaint)) as refused:
            add_answers(ExpeditionServer(), file)
        assert str(refused.value).startswith(f"{file}: ")

    def test_the_file_may_begin_with_a_byte_order_mark(self, tmp_path: Path) -> None:
        file = tmp_path / "answers.toml"
        file.write_text("\ufeff[[answer]]\npath = '/mine'\njson = 1\n", encoding="utf-8")
        with ExpeditionServer() as server:
            add_answers(server, file)
            assert requests.get(f"{server.url}/mine", timeout=10).json() == 1

    def test_the_command_serves_them(self, tmp_path: Path) -> None:
        file = tmp_path / "answers.toml"
        file.write_text("[[answer]]\npath = '/mine'\njson = {a = 1}\n")
        command = [sys.executable, "-m", "pytest_expedition.cli", "serve", "--answers", str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip().partition("=")[2]
            try:
                assert requests.get(f"{url}/mine", timeout=10).json() == {"a": 1}
            finally:
                process.terminate()

    def test_the_command_tells_what_is_wrong(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "pytest_expedition.cli", "serve", "--answers"]
        done = subprocess.run(
            [*command, str(tmp_path / "none.toml")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "--answers: " in done.stderr
        assert "none.toml: cannot be read: No such file" in done.stderr


class TestMemory:
    def test_the_latest_requests_are_kept(self) -> None:
        with serving(keep=5) as server, requests.Session() as session:
            server.expect_request("/mine").respond_with_json({})
            for number in range(20):
                session.get(f"{server.url}/mine?{number}", timeout=10)
                session.get(f"{server.url}/other?{number}", timeout=10)
            kept = [(request.path, request.query) for request in server.requests]
            assert kept == [
                ("/other", "17"),
                ("/mine", "18"),
                ("/other", "18"),
                ("/mine", "19"),
                ("/other", "19"),
            ]
            assert [each.request.query for each in server.journal] == ["17", "18", "18", "19", "19"]
            assert len(server.log) == 5
            assert len(server.instance.unknown_requests) <= 5

    def test_tests_keep_all(self, call: Call, expedition_server: ExpeditionServer) -> None:
        for _ in range(30):
            call("GET", "job/status/1")
        assert len(expedition_server.requests) == len(expedition_server.journal) == 30

    def test_the_command_keeps_ten_thousand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from pytest_expedition import cli

        made: list[ExpeditionServer] = []

        def start(server: ExpeditionServer) -> None:
            made.append(server)
            raise OSError("not today")

        monkeypatch.setattr(ExpeditionServer, "start", start)
        cli.main(["serve"])
        (server,) = made
        assert server._keep == 10_000


def test_the_example_of_the_documentation(call: Call, expedition_server: ExpeditionServer) -> None:
    expedition_server.expect_request("/api/v1/project", method="POST").respond_with_json(
        {"data": {"id": 22}, "success": True}
    )
    assert json.loads(call("POST", "project").content)["data"]["id"] == 22
