"""One connection to the fake: h11 reads the requests and writes the answers.

werkzeug's own handler would not do. It closes the connection after each answer, and its parser (the
standard library's) takes a head that was cut off for a whole request.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import h11
from werkzeug.http import http_date

from pytest_expedition import real_time
from pytest_expedition.fake.bodies import BODY_LIMIT, Refusal
from pytest_expedition.fake.http import Request, Response

if TYPE_CHECKING:
    from pytest_expedition.fake.instance import Instance

HEAD_LIMIT: Final = 65536
"""The most bytes that the head of a request may have."""

_HOST: Final = re.compile(rb"([\w.~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_PIECE: Final = 16384
_FAREWELL_SECONDS: Final = 2.0
"""Seconds for which a refused client may go on sending, so that it can read the refusal."""


class Owner(Protocol):
    """The server that a connection belongs to."""

    connections: set[socket.socket]
    handler_errors: list[Exception]

    @property
    def instance(self) -> Instance:
        """The instance that answers; it may be replaced between two requests."""

    def respond(self, request: Request) -> Response:
        """Answer a request."""


class Connection(socketserver.BaseRequestHandler):
    """Serves many requests over one connection, as the Apache before a real instance does."""

    request: socket.socket
    owner: Owner

    def setup(self) -> None:
        """Begin, and add itself to the connections of the server."""
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self.method = ""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # noqa: FBT003
        self.owner.connections.add(self.request)

    def finish(self) -> None:
        """End, and remove itself from the connections of the server."""
        self.owner.connections.discard(self.request)

    def handle(self) -> None:
        """Answer requests until the connection is to be closed."""
        with contextlib.suppress(OSError):  # the client has gone
            while self.answer_next():
                self.http.start_next_cycle()

    def answer_next(self) -> bool:
        """Read a request and answer it; return whether another may follow."""
        self.method = ""
        try:
            request = self.read_request()
        except h11.RemoteProtocolError as error:
            what = str(error).partition(":")[0]  # then comes the line, perhaps with a key in it
            self.refuse(error.error_status_hint, f"The request is malformed: {what}")
            return False
        except Refusal as refusal:
            self.refuse(refusal.status, str(refusal))
            return False
        if request is None:
            return False
        try:
            self.send(self.owner.respond(request))
        except h11.LocalProtocolError as error:  # an answer that contradicts itself
            self.owner.handler_errors.append(error)
        return self.http.our_state is h11.DONE and self.http.their_state is h11.DONE

    def read_request(self) -> Request | None:
        """Read a whole request; ``None`` says that the client has closed the connection.

        Raises ``Refusal`` or ``h11.RemoteProtocolError`` for a request that cannot be accepted.
        """
        head = self.read_part()
        if not isinstance(head, h11.Request):
            return None
        self.method = head.method.decode()
        headers: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode().title(), raw_value.decode("latin-1").strip()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
            if name == "Host" and not _HOST.fullmatch(raw_value):
                raise Refusal(400, "The Host header is not a host")
        if head.http_version >= b"2":
            raise Refusal(505, "This server speaks version 1.1 of HTTP")
        path, query = _split(head.target.decode())
        _require_small(int(headers.get("Content-Length", 0)))
        body = bytearray()
        while isinstance(piece := self.read_part(), h11.Data):
            body += piece.data
            _require_small(len(body))
        return Request(
            method=self.method,
            path=path,
            query=query,
            headers=headers,
            body=bytes(body),
            at=self.owner.instance.clock.now(),
        )

    def read_part(self) -> Any:
        """Read the next part of a request: its head, a piece of its body, or its end."""
        while (part := self.http.next_event()) is h11.NEED_DATA:
            if self.http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                self.request.sendall(self.http.send(go_on) or b"")
            self.http.receive_data(self.request.recv(_PIECE))
        return part

    def refuse(self, status: int, reason: str) -> None:
        """Answer in an error envelope, and let the client read it before the connection closes."""
        instance = self.owner.instance
        with instance.lock:
            self.send(instance.error(HTTPStatus(status), reason, Connection="close"))
        # If the server closed while the client still sends, the client could not read the answer.
        self.request.shutdown(socket.SHUT_WR)
        self.request.settimeout(_FAREWELL_SECONDS)
        until = real_time.now() + _FAREWELL_SECONDS
        while real_time.now() < until and self.request.recv(_PIECE):
            pass

    def send(self, response: Response) -> None:
        """Send an answer in one piece, or as much of it as is sent before the connection breaks."""
        if response.cut == 0:
            return
        version = self.owner.instance.http_version
        headers = [("Server", "Expedition"), ("Date", http_date()), *response.headers.items()]
        if "Transfer-Encoding" not in response.headers and response.status not in {204, 304}:
            headers.append(("Content-Length", str(len(response.body))))
        if version == "HTTP/1.0":
            headers.append(("Connection", "close"))
        head = h11.Response(
            status_code=response.status,
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            reason=_reason(response.status),
        )
        sent = version.encode() + (self.http.send(head) or b"")[len(version) :]
        if self.method != "HEAD" and response.status not in {204, 304}:
            sent += self.http.send(h11.Data(data=response.body[: response.cut])) or b""
        if response.cut is None:
            sent += self.http.send(h11.EndOfMessage()) or b""
        self.request.sendall(sent)


def _split(target: str) -> tuple[str, str]:
    """Split the target of a request into the path, still encoded, and the query."""
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return "/" + path.lstrip("/"), query
    try:
        parts = urlsplit(target)  # a client that uses a proxy sends the whole URL
    except ValueError:
        raise Refusal(400, "The target of the request is not a valid URL") from None
    return parts.path, parts.query


def _reason(status: int) -> bytes:
    with contextlib.suppress(ValueError):
        return HTTPStatus(status).phrase.encode()
    return b""


def _require_small(length: int) -> None:
    if length > BODY_LIMIT:
        raise Refusal(413, f"The body must not be larger than {BODY_LIMIT} bytes")
