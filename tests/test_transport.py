"""Answers that no tool should have to read: each is bounded in time and memory, and told apart."""

from __future__ import annotations

import functools
import gzip
import queue
import socket
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from pytest_expedition.suite.transport import MOST_BYTES, Reply, Transport, _BoundedSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = Callable[[socket.socket], object]

OK = b"HTTP/1.1 200 OK\r\n"
CLOSE = OK + b"Connection: close\r\n\r\n"


class RawServer:
    """Answers each request with bytes of the test's choice; keeps what it was sent."""

    def __init__(self) -> None:
        self.answer: Answer = lambda connection: connection.sendall(CLOSE)
        self.received: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._handle, args=(connection,)))
            self._threads[-1].start()

    def _handle(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.received.append(connection.recv(65536))
                self.answer(connection)
            except OSError:
                pass  # the client has closed the connection

    def drip(self, connection: socket.socket, beginning: bytes, byte: bytes) -> None:
        """Send a byte now and then, for ever."""
        connection.sendall(beginning)
        while not self._stopped.wait(0.02):
            connection.sendall(byte)

    def pour(self, connection: socket.socket, beginning: bytes, piece: bytes) -> None:
        """Send as much as the client takes, for ever."""
        connection.sendall(beginning)
        while not self._stopped.is_set():
            connection.sendall(piece)

    def stop(self) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def raw() -> Iterator[RawServer]:
    server = RawServer()
    yield server
    server.stop()


@pytest.fixture
def ask(raw: RawServer) -> Iterator[Callable[..., Reply]]:
    transport = Transport(f"http://127.0.0.1:{raw.port}", verify=True, connections=2)

    def send(answer: Answer | bytes, *, seconds: float = 10.0) -> Reply:
        raw.answer = answer if callable(answer) else lambda c: c.sendall(answer)
        headers = {"Authorization": "Bearer key"}
        request = transport.prepare("GET", "/api", headers=headers, form=None, json=None)
        return transport.send(request, seconds=seconds)

    yield send
    transport.close()


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://127.0.0.1:8080", ""),
        ("http://127.1.2.3", ""),
        ("http://[::1]:8080/x", ""),
        ("http://localhost", ""),
        ("http://localhost.:8080", ""),
        ("http://[::ffff:127.0.0.1]", ""),
        ("http://127.1", ""),
        ("http://0.0.0.0:8080", ""),
        ("http://[::]:8080", ""),
        ("http://127.0.0.1.example", "http://192.0.2.9:3128"),
        ("http://[2001:db8::1]", "http://192.0.2.9:3128"),
        ("http://192.0.2.1", "http://192.0.2.9:3128"),
    ],
)
def test_this_machine_is_never_asked_by_way_of_a_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@192.0.2.9:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert Transport(url, verify=True, connections=1).proxy == proxy


@pytest.mark.parametrize(
    ("url", "answer", "unsent"),
    [
        ("https://192.0.2.1", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", True),
        ("https://192.0.2.1", b"HTTP/1.1 407 Who?\r\nConnection: close\r\n\r\n<p>", True),
        ("https://192.0.2.1", b"", True),
        ("https://192.0.2.1", b"nonsense\r\n\r\n", True),
        ("http://192.0.2.1", b"", False),
    ],
)
def test_a_request_that_a_proxy_opens_no_tunnel_for_was_not_sent(
    monkeypatch: pytest.MonkeyPatch, raw: RawServer, url: str, answer: bytes, *, unsent: bool
) -> None:
    monkeypatch.setenv(f"{url.partition(':')[0]}_proxy", f"http://127.0.0.1:{raw.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    raw.answer = lambda connection: connection.sendall(answer)
    transport = Transport(url, verify=True, connections=1)
    request = transport.prepare("POST", "/import", headers={}, form=None, json=None)
    reply = transport.send(request, seconds=10)
    transport.close()
    assert reply.status is None
    assert reply.lost
    assert reply.unsent == unsent
    assert raw.received[0].startswith(b"CONNECT" if unsent else b"POST http://192.0.2.1/import")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://", "foo:", "127.0.0.1:1"])
def test_a_request_for_a_proxy_that_cannot_be_used_was_not_sent(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    transport = Transport("http://192.0.2.1", verify=True, connections=1)
    request = transport.prepare("POST", "/import", headers={}, form=None, json=None)
    reply = transport.send(request, seconds=10)
    transport.close()
    assert (reply.status, reply.unsent) == (None, True)


def zipped(body: bytes) -> bytes:
    return OK + b"Connection: close\r\nContent-Encoding: gzip\r\n\r\n" + body


def test_a_plain_answer(ask: Any) -> None:
    closing = OK + b"Connection: close\r\n"
    assert ask(closing + b"Content-Length: 2\r\n\r\n{}") == Reply(status=200, body=b"{}")
    assert ask(closing + b"\r\nuntil it closes").body == b"until it closes"
    chunks = b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n"
    assert ask(closing + b"Transfer-Encoding: chunked\r\n\r\n" + chunks).body == b"abcd"


def test_a_zipped_answer(ask: Any) -> None:
    assert ask(zipped(gzip.compress(b"text"))).body == b"text"
    assert ask(zipped(gzip.compress(b"a" * 200_000))).body == b"a" * 200_000
    assert ask(zipped(gzip.compress(b"one") + gzip.compress(b"two"))).body == b"onetwo"
    assert ask(zipped(b"")) == Reply(status=200)


def test_what_is_not_zipped_or_zipped_otherwise_cannot_be_read(ask: Any) -> None:
    assert "cannot be unzipped" in ask(zipped(b"text")).unreadable
    assert "it breaks off" in ask(zipped(gzip.compress(b"text")[:-9])).unreadable


@pytest.mark.parametrize("junk", [bytes(16), b"\0\0\0\0\r\n", b"x", b"\x1f\x8b", b"\0" * 200_000])
def test_what_follows_the_end_of_a_zipped_body_is_ignored(ask: Any, junk: bytes) -> None:
    assert ask(zipped(gzip.compress(b"text") + junk)) == Reply(status=200, body=b"text")
    twice = gzip.compress(b"one") + gzip.compress(b"two")
    assert ask(zipped(twice + junk)).body == b"onetwo"


@pytest.mark.parametrize("body", [zlib.compress(b"text"), zlib.compress(b"text")[2:-4]])
def test_deflate_is_read_with_and_without_its_wrapper(ask: Any, body: bytes) -> None:
    answer = OK + b"Connection: close\r\nContent-Encoding: deflate\r\n\r\n" + body
    assert ask(answer) == Reply(status=200, body=b"text")


@pytest.mark.parametrize("window", range(9, 16))
def test_deflate_is_read_whatever_its_window(ask: Any, window: int) -> None:
    zip_ = zlib.compressobj(wbits=window)
    body = zip_.compress(b"text") + zip_.flush()
    answer = OK + b"Connection: close\r\nContent-Encoding: deflate\r\n\r\n" + body
    assert ask(answer) == Reply(status=200, body=b"text")


ENCODINGS: dict[bytes, list[Callable[[bytes], bytes]]] = {
    b"gzip, identity": [gzip.compress],
    b"GZIP,x-gzip": [gzip.compress, gzip.compress],
    b"deflate, gzip": [zlib.compress, gzip.compress],
    b"utf-8, gzip": [gzip.compress],
}


@pytest.mark.parametrize(("encoding", "steps"), ENCODINGS.items())
def test_encodings_are_undone_from_the_last_to_the_first(
    ask: Any, encoding: bytes, steps: list[Callable[[bytes], bytes]]
) -> None:
    body = functools.reduce(lambda packed, step: step(packed), steps, b"text")
    answer = OK + b"Connection: close\r\nContent-Encoding: " + encoding + b"\r\n\r\n" + body
    assert ask(answer) == Reply(status=200, body=b"text")


def test_a_thousand_encodings_break_nothing(ask: Any) -> None:
    many = b", ".join([b"gzip"] * 1000)
    answer = OK + b"Connection: close\r\nContent-Encoding: " + many + b"\r\n\r\ntext"
    reply = ask(answer)
    assert reply.lost or reply.unreadable


@pytest.mark.parametrize("encoding", [b"utf-8", b"UTF-8", b"none", b"br", b""])
def test_an_encoding_that_clients_do_not_know_changes_nothing(ask: Any, encoding: bytes) -> None:
    answer = OK + b"Connection: close\r\nContent-Encoding: " + encoding + b"\r\n\r\n{}"
    assert ask(answer) == Reply(status=200, body=b"{}")


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
    ],
)
@pytest.mark.parametrize("times", [1, 3])
def test_interim_answers_are_passed_over(ask: Any, interim: bytes, times: int) -> None:
    for body in (b"one", b"two"):
        final = OK + b"Content-Length: 3\r\nConnection: close\r\n\r\n" + body
        assert ask(interim * times + final) == Reply(status=200, body=body)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (b"Retry-After: 7", 7.0),
        (b"Retry-After: 0", 0.0),
        (
            b"Date: Wed, 21 Oct 2026 07:28:00 GMT\r\nRetry-After: Wed, 21 Oct 2026 07:28:30 GMT",
            30.0,
        ),
        (b"Retry-After: soon", None),
        (b"Retry-After: -3", None),
        (b"Retry-After: Wed, 21 Oct 2026 07:28:30 GMT", None),
        (b"X: y", None),
    ],
)
def test_how_long_a_server_asks_to_wait(ask: Any, headers: bytes, seconds: float | None) -> None:
    answer = b"HTTP/1.1 429 Later\r\nConnection: close\r\n" + headers + b"\r\n\r\n"
    assert ask(answer).retry_after == seconds


@pytest.mark.parametrize(
    "beginning",
    [b"", OK, OK + b"X: ", CLOSE, OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n"],
    ids=["no line", "status line", "header", "body", "chunk"],
)
def test_an_answer_that_drips_is_given_up_when_its_time_is_over(
    raw: RawServer, ask: Any, beginning: bytes
) -> None:
    begun = time.monotonic()
    reply = ask(lambda c: raw.drip(c, beginning, b"1"), seconds=0.3)
    assert (reply.status, reply.lost) == (None, "no answer in time")
    assert time.monotonic() - begun < 5  # a machine may be slow; the drip has no end


def test_an_answer_that_drips_is_given_up_though_a_test_has_frozen_the_time(
    raw: RawServer, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    assert ask(lambda c: raw.drip(c, b"", b"1"), seconds=0.3).lost == "no answer in time"


def test_a_connection_on_which_nothing_comes(raw: RawServer, ask: Any) -> None:
    assert ask(lambda _: raw._stopped.wait(5), seconds=0.2).lost == "no answer in time"


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (CLOSE, b"x" * 65536),
        (OK + b"Content-Length: 9999999999\r\n\r\n", b"x" * 65536),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1" * 65536),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 65000 + b"\r\nx\r\n"),
    ],
    ids=["till closed", "a length", "chunks", "a chunk's length", "extensions"],
)
def test_an_answer_without_end_is_not_kept(
    raw: RawServer, ask: Any, beginning: bytes, piece: bytes
) -> None:
    reply = ask(lambda c: raw.pour(c, beginning, piece))
    assert reply.body == b""
    assert reply.unreadable == f"its body is longer than {MOST_BYTES} bytes" or reply.lost


def test_headers_without_end_are_lost(raw: RawServer, ask: Any) -> None:
    assert ask(lambda c: raw.pour(c, OK, b"X: " + b"x" * 60000 + b"\r\n")).lost
    assert ask(lambda c: raw.pour(c, OK, b"x" * 65536)).lost
    interim = b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 60000 + b"\r\n\r\n"
    assert ask(lambda c: raw.pour(c, b"", interim)).lost


def test_what_unzips_to_a_gigabyte_is_not_kept(ask: Any) -> None:
    bomb = gzip.compress(bytes(MOST_BYTES)) * 1024
    assert len(bomb) < 2 * MOST_BYTES
    assert "longer than" in ask(zipped(bomb)).unreadable


def test_a_member_after_the_other_is_unzipped_up_to_a_number(ask: Any) -> None:
    """The time for them grows with their number squared."""
    assert ask(zipped(gzip.compress(b"x") * 1000)).body == b"x" * 1000
    assert "more than 1000 parts" in ask(zipped(gzip.compress(b"") * 50_000)).unreadable


def test_an_answer_that_breaks_off_is_lost(ask: Any) -> None:
    assert "broke off" in ask(OK + b"Content-Length: 10\r\nConnection: close\r\n\r\n{}").lost
    assert "broke off" in ask(OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nab").lost
    assert ask(b"HT").lost
    assert ask(b"").lost


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99999999999999999999 OK\r\n\r\n",
        OK + b"Content-Length: -5\r\nConnection: close\r\n\r\nabc",
        OK + b"Content-Length: 1, 2\r\nConnection: close\r\n\r\nabc",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"\x00\xff: \x00\r\nConnection: close\r\n\r\n",
        OK + b"Content-Type: multipart/form-data; boundary=\xff\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_no_http_is_told_and_breaks_nothing(ask: Any, answer: bytes) -> None:
    reply = ask(answer)
    assert reply.lost or reply.status is not None


def test_a_redirect_is_an_answer_and_the_key_goes_nowhere(raw: RawServer, ask: Any) -> None:
    where = f"Location: http://127.0.0.1:{raw.port}/elsewhere\r\nContent-Length: 0\r\n\r\n"
    reply = ask(b"HTTP/1.1 302 Found\r\n" + where.encode())
    assert (reply.status, reply.location) == (302, f"http://127.0.0.1:{raw.port}/elsewhere")
    assert len(raw.received) == 1


def test_no_cookie_is_kept(raw: RawServer, ask: Any) -> None:
    for _ in range(2):
        ask(OK + b"Set-Cookie: session=admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert b"Cookie" not in b"".join(raw.received)


def test_a_second_answer_without_a_request_is_not_taken_for_the_next(
    ask: Any,
) -> None:
    more: queue.Queue[bytes] = queue.Queue()

    def answer_twice_and_stay(connection: socket.socket) -> None:
        connection.sendall((OK + b"Content-Length: 3\r\n\r\none") * 2)
        connection.sendall(OK)
        try:
            more.put(connection.recv(65536))
        except ConnectionResetError:  # so it is when closed with something unread
            more.put(b"")

    assert ask(answer_twice_and_stay).body == b"one"
    assert ask(OK + b"Content-Length: 3\r\n\r\ntwo").body == b"two"
    assert more.get(timeout=60) == b""  # it was closed, and the next request had its own


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="an option of Linux")
@pytest.mark.parametrize("error", [None, OSError("no TCP"), AttributeError("no options")])
def test_what_came_is_acknowledged_at_once(error: Exception | None) -> None:
    """Else each answer of a server that sends headers and body apart takes 40 ms."""

    class Connection(socket.socket):
        options: list[tuple[Any, ...]] = []  # noqa: RUF012

        def setsockopt(self, *option: Any) -> None:
            self.options.append(option)
            if error is not None:
                raise error

    ours, theirs = socket.socketpair()
    with Connection(fileno=ours.detach()) as connection, theirs:
        reader = _BoundedSocket(connection)
        for piece in (b"head", b"body"):
            theirs.sendall(piece)
            assert reader.read(10) == piece
        reader.close()
    assert Connection.options == [(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)] * 2
