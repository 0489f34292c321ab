"""The fake on the wire: what it takes, what it refuses, and that no client does it harm."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import sys
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_expedition import ExpeditionServer, JobScript, validate
from pytest_expedition.fake.bodies import BODY_LIMIT, FIELD_LIMIT, Refusal, read_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Call = Callable[..., requests.Response]

IMPORT = "project/1/import"
FORM = "application/x-www-form-urlencoded"
PATIENCE = 10
"""Seconds after which a test gives up; nothing that passes takes them."""


def connect(server: ExpeditionServer) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE)


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def talk(server: ExpeditionServer, sent: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes over a connection of its own, and return all that comes until it is closed."""
    with connect(server) as connection:
        connection.sendall(sent)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def post(server: ExpeditionServer, *fields: str, body: bytes = b"", form: bool = True) -> bytes:
    """Return a whole request that creates a job and asks for the connection to be closed."""
    head = [
        f"POST /api/v1/{IMPORT} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {server.api_key}",
        "Connection: close",
        *([f"Content-Type: {FORM}"] if form else []),
        *fields,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def refusal(answer: bytes) -> tuple[int, str]:
    """Return the status and the message of a single answer that is an error envelope."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.") == 1
    assert b"Content-Type: application/json" in head
    assert b"Connection: close" in head
    document = json.loads(body)
    validate(document, "error")
    (message,) = document["Contents"]["response"]["response-messages"]["messages"]
    return int(head.split()[1]), message["message"]


@contextlib.contextmanager
def serving(*, tls: bool = False) -> Iterator[ExpeditionServer]:
    """A server of its own, in which no error of the fake's own code may happen."""
    server = ExpeditionServer(tls=tls)
    server.start()
    yield server
    server.stop()
    server.check()


@pytest.fixture
def quiet(
    expedition_server: ExpeditionServer, call: Call, capfd: pytest.CaptureFixture[str]
) -> Iterator[ExpeditionServer]:
    """The fake, which afterwards serves as before, has printed nothing and kept no error."""
    yield expedition_server
    assert call("POST", IMPORT).status_code == 200
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def multipart(*, name: str, content: str) -> bytes:
    """A part of a multipart body."""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{content}\r\n'.encode()


class TestBodies:
    @pytest.mark.parametrize(
        ("content_type", "body", "form"),
        [
            (FORM, b"", {}),
            ("", b"", {}),
            (FORM, b"resource=%2Ftmp%2Fa.xml", {"resource": "/tmp/a.xml"}),
            (FORM + "; charset=UTF-8", b"resource=a+b&x", {"resource": "a b", "x": ""}),
            (FORM.upper(), "resource=ä&resource=ö".encode(), {"resource": "ö"}),
            ("application/json", b'{"resource": "/tmp/a.xml"}', {}),
            ("application/json", b"", {}),
            (
                "multipart/form-data; boundary=x",
                multipart(name="resource", content="/tmp/a.xml")
                + multipart(name='f"; filename="f', content="f")
                + b"--x--",
                {"resource": "/tmp/a.xml"},
            ),
            (FORM, b"&".join([b"a=1"] * FIELD_LIMIT), {"a": "1"}),
        ],
    )
    def test_forms_and_json_are_taken(
        self,
        call: Call,
        expedition_server: ExpeditionServer,
        content_type: str,
        body: bytes,
        form: dict[str, str],
    ) -> None:
        response = call("POST", IMPORT, data=body, headers={"Content-Type": content_type})
        validate(response.json(), "creation")
        assert len(expedition_server.jobs) == 1
        assert expedition_server.requests[0].form == form

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            (FORM, b"resource=%2"),
            (FORM, b"resource=%zz"),
            (FORM, b"resource=%ff"),
            (FORM, b"resource=\xff"),
            (FORM, b"&".join([b"a=1"] * (FIELD_LIMIT + 1))),
            ("application/json", b'{"resource": '),
            ("application/json", b'{"resource": NaN}'),
            ("application/json", b'{"resource": "\xff"}'),
            ("application/json", b"[" * 100_000),
            ("multipart/form-data", b"--x--"),
            ("multipart/form-data; boundary=\xff", b"--x--"),
            ("multipart/form-data; boundary=x", b"resource=/tmp/a.xml"),
            (
                "multipart/form-data; boundary=x",
                multipart(name="resource", content="/tmp/a.xml"),
            ),
            ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--"),
            (
                "multipart/form-data; boundary=x",
                multipart(name="a", content="1") * (FIELD_LIMIT + 1) + b"--x--",
            ),
        ],
    )
    @pytest.mark.parametrize("path", [IMPORT, "login"])
    def test_what_is_malformed_is_refused_and_changes_nothing(
        self, call: Call, quiet: ExpeditionServer, path: str, content_type: str, body: bytes
    ) -> None:
        response = call("POST", path, data=body, headers={"Content-Type": content_type})
        assert response.status_code == 400
        validate(response.json(), "error")
        assert quiet.jobs == []
        assert quiet.requests[0].form == {}

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/xml"},
            {"Content-Type": "nonsense"},
            {"Content-Type": FORM, "Content-Encoding": "gzip"},
        ],
    )
    def test_another_type_is_refused_and_changes_nothing(
        self, call: Call, expedition_server: ExpeditionServer, headers: dict[str, str]
    ) -> None:
        body = gzip.compress(b"resource=a") if "Content-Encoding" in headers else b"resource=a"
        response = call("POST", IMPORT, data=body, headers=headers)
        assert response.status_code == 415
        validate(response.json(), "error")
        assert expedition_server.jobs == []

    def test_a_request_without_a_key_is_not_told_what_is_wrong_with_its_body(
        self, call: Call
    ) -> None:
        headers = {"Authorization": None, "Content-Type": "text/plain"}
        assert call("POST", IMPORT, data=b"x", headers=headers).status_code == 401

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_what_a_get_or_a_delete_carries_is_passed_over(self, call: Call, method: str) -> None:
        job_id = call("POST", IMPORT).json()["Contents"]["response"]["data"]["content"]["system"][
            "jobs"
        ]["jobId"]
        path = f"job/{job_id}" if method == "DELETE" else f"job/status/{job_id}"
        assert call(method, path, data=b"\xff", headers={"Content-Type": FORM}).status_code == 200

    def test_the_largest_body_is_taken(
        self, call: Call, expedition_server: ExpeditionServer
    ) -> None:
        body = b"resource=".ljust(BODY_LIMIT, b"a")
        response = call("POST", IMPORT, data=body, headers={"Content-Type": FORM})
        assert response.status_code == 200
        assert len(expedition_server.requests[0].body) == BODY_LIMIT

    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.parametrize("times", [1, 4])
    def test_a_larger_one_is_refused_and_the_client_gets_to_know(
        self, call: Call, quiet: ExpeditionServer, *, chunked: bool, times: int
    ) -> None:
        body = b"resource=".ljust(times * BODY_LIMIT + 1, b"a")
        data = iter([body]) if chunked else body
        response = call("POST", IMPORT, data=data, headers={"Content-Type": FORM})
        assert response.status_code == 413
        validate(response.json(), "error")
        assert quiet.jobs == []
        assert quiet.requests == []

    @settings(derandomize=True, database=None, deadline=None)
    @given(
        body=st.binary()
        | st.text().map(str.encode)
        | st.sampled_from([b"--x\r\n", b"--x--", b"%"]),
        content_type=st.sampled_from(
            [FORM, "application/json", "multipart/form-data; boundary=x", "multipart/form-data"]
        )
        | st.text(),
    )
    def test_all_bytes_are_read_as_a_request_or_refused(
        self, body: bytes, content_type: str
    ) -> None:
        form: dict[str, str] = {}
        with contextlib.suppress(Refusal):
            form = read_form(body, content_type=content_type)
        assert all(isinstance(value, str) for value in form.values())


class TestChunks:
    @pytest.mark.parametrize(
        "body",
        [
            b"9\r\nresource=\r\n2\r\n/a\r\n0\r\n\r\n",
            b"b;name=value;flag\r\nresource=/a\r\n0;last\r\n\r\n",
            b'00000b;quoted="a;b"\r\nresource=/a\r\n000\r\n\r\n',
            b"B\r\nresource=/a\r\n0\r\nChecksum: 1\r\nOther: 2\r\n\r\n",
        ],
    )
    def test_extensions_and_trailers_are_passed_over(
        self, expedition_server: ExpeditionServer, body: bytes
    ) -> None:
        sent = post(expedition_server, "Transfer-Encoding: chunked", body=body)
        assert talk(expedition_server, sent).startswith(b"HTTP/1.1 200 ")
        (request,) = expedition_server.requests
        assert request.form == {"resource": "/a"}

    def test_the_next_request_begins_where_the_trailers_end(
        self, expedition_server: ExpeditionServer
    ) -> None:
        one = post(
            expedition_server, "Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\nT: 1\r\n\r\n"
        ).replace(b"Connection: close\r\n", b"")
        answer = talk(expedition_server, one + post(expedition_server))
        assert answer.count(b"HTTP/1.1 200 ") == 2
        assert len(expedition_server.jobs) == 2

    @pytest.mark.parametrize(
        "body",
        [
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\na\r\n0\r\n\r\n",
            b"0x1\r\na\r\n0\r\n\r\n",
            b"1_0\r\n",
            b"\r\n",
            b"f" * 16 + b"\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b"1\na\n0\n\n",
            b"1\r\na0\r\n\r\n",
            b"0\r\n" + b"T" * 10_000 + b"\r\n\r\n",
        ],
    )
    def test_what_is_malformed_is_refused(self, quiet: ExpeditionServer, body: bytes) -> None:
        sent = post(quiet, "Transfer-Encoding: chunked", body=body)
        assert refusal(talk(quiet, sent, half_close=True))[0] == 400
        assert quiet.requests == []

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            (["Transfer-Encoding: gzip, chunked"], 501),
            (["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], 501),
            (["Transfer-Encoding:"], 501),
        ],
    )
    def test_a_body_without_a_clear_end_is_refused(
        self, quiet: ExpeditionServer, fields: list[str], status: int
    ) -> None:
        answer = talk(quiet, post(quiet, *fields, body=b"0\r\n\r\n"))
        assert refusal(answer)[0] == status
        assert quiet.requests == []

    def test_trailers_without_end_are_refused(self, quiet: ExpeditionServer) -> None:
        body = b"0\r\n" + b"T: 1\r\n" * 20_000
        answer = talk(quiet, post(quiet, "Transfer-Encoding: chunked", body=body))
        assert refusal(answer)[0] == 431


class TestRequestsThatAreNone:
    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"\r\n", 400),
            (b"GET /\r\n", 400),  # HTTP/0.9
            (b"hello\r\n\r\n", 400),
            (b"GET / HTTP/1.1 x\r\n\r\n", 400),
            (b"GET  / HTTP/1.1\r\n\r\n", 400),
            (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/one\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\n\r\n", 505),
            (b"G\x00T / HTTP/1.1\r\n\r\n", 400),
            (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\n", 400),  # TLS
            (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\nLong: " + b"a" * 100_000 + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\n" + b"Many: 1\r\n" * 20_000 + b"\r\n", 431),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nSpace : 1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n: 1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n folded\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nNul: \x00\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nReturn: a\rb\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nReturn: a\r\n\rfolded: b\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nEnds", 400),
        ],
    )
    def test_are_refused_in_an_error_envelope(
        self, quiet: ExpeditionServer, sent: bytes, status: int
    ) -> None:
        assert refusal(talk(quiet, sent, half_close=True))[0] == status
        assert quiet.requests == []

    @pytest.mark.parametrize(
        "lengths",
        [["abc"], ["-1"], ["+1"], ["1, 2"], ["1", "2"], ["9" * 5000], ["²"], [""]],
    )
    def test_an_invalid_length_is_refused(
        self, quiet: ExpeditionServer, lengths: list[str]
    ) -> None:
        fields = [f"Content-Length: {length}" for length in lengths]
        assert refusal(talk(quiet, post(quiet, *fields, body=b"aGET / HTTP/1.1\r\n\r\n")))[0] == 400
        assert quiet.requests == []

    @pytest.mark.parametrize("left_out", [b"\r\n", b"\r\n\r\n", b"n: close\r\n\r\n"])
    def test_a_head_that_is_cut_off_creates_no_job(
        self, quiet: ExpeditionServer, left_out: bytes
    ) -> None:
        whole = post(quiet, form=False)
        assert whole.endswith(left_out)
        answer = talk(quiet, whole.removesuffix(left_out), half_close=True)
        assert refusal(answer)[0] == 400
        assert (quiet.requests, quiet.jobs) == ([], [])

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ("", 400),
            ("Host: a\r\nHost: b\r\n", 400),
            ("Host: a\r\nHost: a\r\n", 400),
            ("Host: a b\r\n", 400),
            ("Host: http://a\r\n", 400),
            ("Host: a/b\r\n", 400),
            ("Host: a:b\r\n", 400),
            ("Host: [::1\r\n", 400),
            ("Host:\r\n", 200),
            ("Host: localhost:80\r\n", 200),
            ("Host: fw_1.example\r\n", 200),
            ("Host: [::1]:443\r\n", 200),
        ],
    )
    def test_the_host_is_asked_for(
        self, expedition_server: ExpeditionServer, fields: str, status: int
    ) -> None:
        sent = post(expedition_server).replace(b"Host: localhost\r\n", fields.encode())
        answer = talk(expedition_server, sent)
        assert int(answer.split()[1]) == status
        assert len(expedition_server.jobs) == (status == 200)

    def test_http_1_0_needs_no_host(self, expedition_server: ExpeditionServer) -> None:
        sent = post(expedition_server).replace(b"Host: localhost\r\n", b"")
        answer = talk(expedition_server, sent.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer.startswith(b"HTTP/1.1 200 ")

    @pytest.mark.parametrize(
        "path", ["/api/v1{url}/project/1/import", "{url}/api/v1{url}/project/1/import", "/{url}"]
    )
    def test_a_url_inside_the_path_stays_there(
        self, expedition_server: ExpeditionServer, path: str
    ) -> None:
        target = path.format(url=expedition_server.url)
        sent = post(expedition_server).replace(f"/api/v1/{IMPORT}".encode(), target.encode())
        assert talk(expedition_server, sent).startswith(b"HTTP/1.1 404 ")
        (request,) = expedition_server.requests
        assert request.path == target.removeprefix(expedition_server.url)
        assert expedition_server.jobs == []

    def test_a_refusal_does_not_repeat_what_was_sent(self, quiet: ExpeditionServer) -> None:
        answer = talk(quiet, b"GET / HTTP/1.1\r\nAuthorization : Bearer secret\r\n\r\n")
        assert refusal(answer)[0] == 400
        assert b"secret" not in answer

    @pytest.mark.parametrize("field", ["Content-Length: 9", "Transfer-Encoding: chunked"])
    def test_a_body_that_ends_too_early_is_refused(
        self, quiet: ExpeditionServer, field: str
    ) -> None:
        answer = talk(quiet, post(quiet, field, body=b"9\r\nresou"), half_close=True)
        assert refusal(answer)[0] == 400
        assert quiet.requests == []

    @pytest.mark.parametrize("method", ["FOO", "get", "PATCH", "OPTIONS", "TRACE", "__init__"])
    @pytest.mark.parametrize(
        ("path", "allowed"),
        [
            ("job/status/1619", "GET"),
            ("job/1619", "DELETE"),
            ("agent/stop", "GET"),
            ("login", "POST"),
            (IMPORT, "POST"),
        ],
    )
    def test_another_method_is_refused_with_those_that_are_allowed(
        self, quiet: ExpeditionServer, method: str, path: str, allowed: str
    ) -> None:
        sent = post(quiet).replace(b"POST", method.encode()).replace(IMPORT.encode(), path.encode())
        answer = talk(quiet, sent)
        assert refusal(answer)[0] == 405
        assert f"\r\nAllow: {allowed}\r\n".encode() in answer

    @pytest.mark.parametrize(
        "path",
        [
            "project/1/export",
            "projects/1/import",
            "project/x/import",
            "project/1/import/",
            "project//import",
            "project/1/import/device/2",
            "device/1/retrieveContent/both",
            "agent",
            "agent/status",
            "",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_another_path_is_not_found(
        self, call: Call, expedition_server: ExpeditionServer, method: str, path: str
    ) -> None:
        response = call(method, path)
        assert response.status_code == 404
        validate(response.json(), "error")
        assert expedition_server.jobs == []

    @settings(derandomize=True, database=None, deadline=None, max_examples=50)
    @given(data=st.data())
    def test_a_request_with_a_wrong_byte_is_answered_or_refused(self, data: st.DataObject) -> None:
        with serving() as server:
            body = b"5;x=y\r\na=b&c\r\n0\r\nT: 1\r\n\r\n"
            sent = bytearray(post(server, "Transfer-Encoding: chunked", body=body))
            at = data.draw(st.integers(0, len(sent) - 1), label="place")
            sent[at : at + 1] = data.draw(st.binary(max_size=3), label="bytes in its place")
            answer = talk(server, bytes(sent), half_close=True)
            assert not answer or 200 <= int(answer.split()[1]) < 500 or answer.split()[1] == b"501"
            server.check()


class TestClientsOfAllKinds:
    def test_one_that_asks_before_it_sends_is_told_to(
        self, expedition_server: ExpeditionServer
    ) -> None:
        body = b"resource=/a"
        with connect(expedition_server) as connection:
            fields = ("Expect: 100-continue", f"Content-Length: {len(body)}")
            connection.sendall(post(expedition_server, *fields))
            assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert read_all(connection).startswith(b"HTTP/1.1 200 ")

    def test_one_that_asks_before_it_sends_too_much_is_told_not_to(
        self, quiet: ExpeditionServer
    ) -> None:
        fields = ("Expect: 100-continue", f"Content-Length: {BODY_LIMIT + 1}")
        assert refusal(talk(quiet, post(quiet, *fields)))[0] == 413

    def test_one_that_has_closed_its_half_gets_its_answer(
        self, expedition_server: ExpeditionServer
    ) -> None:
        answer = talk(expedition_server, post(expedition_server), half_close=True)
        assert answer.startswith(b"HTTP/1.1 200 ")

    def test_idle_and_slow_clients_delay_no_other_client(
        self, call: Call, quiet: ExpeditionServer
    ) -> None:
        with contextlib.ExitStack() as stack:
            for begun in (b"", b"GET /", b"GET / HTTP/1.1\r\nHost:", post(quiet)[:-4]) * 8:
                stack.enter_context(connect(quiet)).sendall(begun)
            assert call("GET", "job/status/1").status_code == 404

    def test_header_lines_of_all_kinds_are_read(self, expedition_server: ExpeditionServer) -> None:
        fields = (
            "plain:1",
            "Spaced: \t 2 \t",
            "folded: a\r\n\t b",
            "Twice: a",
            "TWICE: b",
            "No_: 3",
        )
        talk(expedition_server, post(expedition_server, *fields, "Empty:"))
        (request,) = expedition_server.requests
        told = {
            "Plain": "1",
            "Spaced": "2",
            "Folded": "a b",
            "Twice": "a,b",
            "No_": "3",
            "Empty": "",
        }
        usual = {"Authorization", "Connection", "Content-Type", "Host"}
        assert {name: request.headers[name] for name in request.headers.keys() - usual} == told

    @pytest.mark.parametrize(
        ("version", "connection", "kept"),
        [
            ("1.1", "", True),
            ("1.1", "Connection: keep-alive", True),
            ("1.1", "Connection: Close", False),
            ("1.1", "Connection: upgrade, close", False),
            ("1.0", "", False),
            ("1.0", "Connection: Keep-Alive", False),  # h11 keeps none of these open
        ],
    )
    def test_a_connection_stays_open_as_long_as_the_client_wants(
        self, expedition_server: ExpeditionServer, version: str, connection: str, *, kept: bool
    ) -> None:
        one = post(expedition_server, *filter(None, [connection]))
        one = one.replace(b"Connection: close\r\n", b"", 1).replace(
            b"HTTP/1.1", b"HTTP/%b" % version.encode()
        )
        first, _, rest = talk(expedition_server, one + post(expedition_server)).partition(
            b"\r\n\r\n"
        )
        assert len(expedition_server.jobs) == 1 + kept
        assert (b"Connection: close" in first, b"HTTP/1.1 200" in rest) == (not kept, kept)

    def test_an_answer_leaves_in_one_piece(
        self, expedition_server: ExpeditionServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pieces: dict[socket.socket, list[bytes]] = {}
        send = socket.socket.sendall

        def count(self: socket.socket, piece: bytes) -> None:
            pieces.setdefault(self, []).append(bytes(piece))
            send(self, piece)

        monkeypatch.setattr(socket.socket, "sendall", count)
        request = post(expedition_server)
        answer = talk(expedition_server, request)
        # The server may still answer a request of an earlier test, over another socket.
        assert [request] in pieces.values()
        assert [answer] in pieces.values()

    @pytest.mark.parametrize("sent", ["nothing", "half", "all", "rubbish"])
    def test_those_that_go_without_a_word_do_no_harm(
        self, quiet: ExpeditionServer, sent: str
    ) -> None:
        request = post(quiet)
        pieces = {"nothing": b"", "half": request[:50], "all": request * 50, "rubbish": b"\xff\n"}
        for _ in range(5):
            with connect(quiet) as connection:
                # A linger of no seconds: the server meets a reset connection, not a closed one.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                connection.sendall(pieces[sent])

    def test_many_requests_in_one_go_are_answered_in_order(
        self, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.every_job(JobScript(progress=(1,)))
        one = post(expedition_server).replace(b"Connection: close\r\n", b"")
        answer = talk(expedition_server, one * 5 + post(expedition_server))
        ids = [int(piece.split(b",")[0]) for piece in answer.split(b'"jobId": ')[1:]]
        assert ids == list(range(1619, 1625))

    @pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address on Linux only")
    def test_it_listens_on_no_other_address(self, expedition_server: ExpeditionServer) -> None:
        port = urlsplit(expedition_server.url).port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port or 0), timeout=PATIENCE)


@pytest.fixture(scope="module")
def tls_server() -> Iterator[ExpeditionServer]:
    with serving(tls=True) as server:
        yield server


@pytest.fixture
def verified(tls_server: ExpeditionServer) -> Iterator[requests.Session]:
    """A client that trusts the fake's authority, and no other."""
    tls_server.reset()
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(tls_server.ca_file)
        session.headers["Authorization"] = f"Bearer {tls_server.api_key}"
        yield session


class TestTls:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_the_certificate_can_be_verified(
        self, tls_server: ExpeditionServer, verified: requests.Session, host: str
    ) -> None:
        url = tls_server.url.replace("127.0.0.1", host)
        assert url.startswith(f"https://{host}:")
        response = verified.post(f"{url}/api/v1/{IMPORT}", timeout=PATIENCE)
        validate(response.json(), "creation")

    def test_a_client_without_its_ca_does_not_trust_it(self, tls_server: ExpeditionServer) -> None:
        tls_server.reset()
        with requests.Session() as session:
            session.trust_env = False
            with pytest.raises(requests.exceptions.SSLError):
                session.get(tls_server.url, timeout=PATIENCE)
        assert tls_server.requests == []

    def test_a_connection_is_shaken_hands_with_once(
        self, tls_server: ExpeditionServer, verified: requests.Session
    ) -> None:
        for _ in range(3):
            response = verified.get(f"{tls_server.url}/api/v1/job/status/1", timeout=PATIENCE)
            assert "Connection" not in response.headers

    def test_a_body_that_is_too_large_is_refused(
        self, tls_server: ExpeditionServer, verified: requests.Session
    ) -> None:
        response = verified.post(
            f"{tls_server.url}/api/v1/{IMPORT}",
            data=bytes(2 * BODY_LIMIT),
            headers={"Content-Type": FORM},
            timeout=PATIENCE,
        )
        assert response.status_code == 413

    def test_clients_without_a_tls_handshake_delay_no_other_client(
        self,
        tls_server: ExpeditionServer,
        verified: requests.Session,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        with contextlib.ExitStack() as stack:
            for begun in (b"", b"\x16\x03\x01\x02\x00\x01") * 4:
                stack.enter_context(connect(tls_server)).sendall(begun)
            for _ in range(2):
                response = verified.get(f"{tls_server.url}/api/v1/job/status/1", timeout=PATIENCE)
                assert response.status_code == 404
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"", b"\xff" * 1000])
    def test_a_client_without_tls_does_no_harm(
        self,
        tls_server: ExpeditionServer,
        verified: requests.Session,
        capfd: pytest.CaptureFixture[str],
        sent: bytes,
    ) -> None:
        with contextlib.suppress(OSError):  # it closes as soon as it sees what this is
            assert b"HTTP" not in talk(tls_server, sent, half_close=True)
        response = verified.get(f"{tls_server.url}/api/v1/job/status/1", timeout=PATIENCE)
        assert response.status_code == 404
        assert capfd.readouterr().err == ""

    def test_stopping_closes_connections_and_ends_their_threads(self) -> None:
        before = set(threading.enumerate())
        server = ExpeditionServer(tls=True)
        server.start()
        ca_file = server.ca_file
        assert ca_file is not None
        context = ssl.create_default_context(cafile=str(ca_file))
        with connect(server) as silent, connect(server) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as idle:
                idle.sendall(b"GET / HTTP/1.1\r\n\r\n")
                idle.recv(1)
                started = set(threading.enumerate()) - before
                server.stop()
                for thread in started:
                    thread.join(PATIENCE)
                assert not any(thread.is_alive() for thread in started)
            assert silent.recv(1) == b""
        assert not ca_file.exists()
        assert server.ca_file is None

    def test_a_server_may_be_started_again(self) -> None:
        server = ExpeditionServer(tls=True)
        for _ in range(2):
            server.start()
            assert (
                requests.get(server.url, verify=str(server.ca_file), timeout=PATIENCE).status_code
                == 401
            )
            server.stop()

    def test_without_tls_there_is_no_authority(self, expedition_server: ExpeditionServer) -> None:
        assert expedition_server.ca_file is None
        assert expedition_server.url.startswith("http:")


TLS_CONFTEST = """
import pytest

@pytest.fixture(scope="session")
def expedition_server_tls():
    return True
"""


def test_the_fixture_speaks_tls_where_it_is_told_to(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(TLS_CONFTEST)
    pytester.makepyfile(
        """
        import requests

        def test_it(expedition_server):
            url = expedition_server.url + "/api/v1/agent/start"
            headers = {"Authorization": f"Bearer {expedition_server.api_key}"}
            assert requests.get(url, headers=headers, verify=expedition_server.ca_file).ok
        """
    )
    pytester.runpytest_inprocess("-Werror").assert_outcomes(passed=1)


def test_one_session_cannot_have_a_server_with_and_without_tls(pytester: pytest.Pytester) -> None:
    folder = pytester.mkpydir("encrypted")
    (folder / "conftest.py").write_text(TLS_CONFTEST)
    (folder / "test_b.py").write_text("def test_b(expedition_server): pass")
    pytester.makepyfile(test_a="def test_a(expedition_server): pass")
    result = pytester.runpytest_inprocess("test_a.py", "encrypted")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [f"expedition_server_tls is True for this test,*with False,*conftest.py of {pytester.path}"]
    )


def test_where_trustme_is_missing_it_is_said_how_to_get_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    pytester.makeconftest(TLS_CONFTEST)
    pytester.makepyfile("def test_it(expedition_server): pass")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["TLS needs trustme: pip install 'pytest-expedition?tls?'"], consecutive=True
    )
    result.stdout.no_fnmatch_line("*Traceback*")
