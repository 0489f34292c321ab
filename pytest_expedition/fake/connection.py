"""A connection to the fake: requests are read from it, answers written to it, all else refused."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import time
from email.errors import (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from werkzeug.datastructures import Headers
from werkzeug.serving import WSGIRequestHandler

from pytest_expedition.fake.bodies import BODY_LIMIT, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_expedition.fake.instance import Instance

_REQUEST_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/[0-9]\.[0-9]\r?\n")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
"""The size of a chunk, and its extensions, which say nothing to us."""

_LINE_LIMIT: Final = 8192
_TRAILER_LIMIT: Final = 100
_HEADER_DEFECTS: Final = (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)
CUT: Final = "pytest_expedition.cut"
"""Where the environment of a request says after how many bytes of a body to break off."""

_FAREWELL_SECONDS: Final = 2.0
"""How long a client that was refused may go on sending, so that it gets to read why."""


class KeepAliveHandler(WSGIRequestHandler):
    """Serves many requests over one connection, as the Apache before a real instance does.

    The answer leaves in one piece: in two, the second would wait for the client's delayed
    acknowledgement of the first.
    """

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # 0.9, the usual one, would leave out the head of answers
    disable_nagle_algorithm = True
    wbufsize = -1
    connections: set[socket.socket]
    instance: Instance

    def setup(self) -> None:
        """Begin, and be among the connections."""
        super().setup()
        self.connections.add(self.connection)

    def finish(self) -> None:
        """End, and be no longer among the connections."""
        self.connections.discard(self.connection)
        try:
            super().finish()
        except OSError:  # the client has gone before its answer
            self.rfile.close()

    def parse_request(self) -> bool:
        """Read the head of a request; return whether it is one."""
        if not _REQUEST_LINE.fullmatch(self.raw_requestline):
            self.command = self.requestline = ""
            self.request_version = self.default_request_version
            self.send_error(400, "This is no request of HTTP/1")
            return False
        if not super().parse_request():
            return False
        if any(isinstance(defect, _HEADER_DEFECTS) for defect in self.headers.defects):
            self.send_error(400, "A header line is malformed")
            return False
        return True

    def handle_expect_100(self) -> bool:
        """Tell a client that waits for it to send the body, or why not; return which."""
        try:
            self.length()
        except Refusal as refusal:
            self.send_error(refusal.status, str(refusal))
            return False
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def length(self) -> int | None:
        """Return how long the body will be; ``None`` if it comes in chunks."""
        lengths = self.headers.get_all("Content-Length", [])
        codings = self.headers.get_all("Transfer-Encoding", [])
        if codings and lengths:
            raise Refusal(400, "Both Content-Length and Transfer-Encoding say where the body ends")
        if codings:
            if [coding.strip().lower() for coding in codings] != ["chunked"]:
                raise Refusal(501, "The only transfer coding known is chunked")
            return None
        if not lengths:
            return 0
        if len(lengths) > 1 or not re.fullmatch("[0-9]{1,18}", lengths[0]):
            raise Refusal(400, "Content-Length is not a length")
        return _within_limit(int(lengths[0]))

    def read_body(self) -> bytes:
        """Read the body of the request to its end."""
        length = self.length()
        return self.read_chunks() if length is None else self.read_exactly(length)

    def read_exactly(self, length: int) -> bytes:
        """Read that many bytes."""
        content = self.rfile.read(length)
        if len(content) < length:
            raise Refusal(400, "The body ended too early")
        return content

    def read_line(self) -> bytes:
        """Read a line between chunks; return it without its end."""
        line = self.rfile.readline(_LINE_LIMIT)
        if not line.endswith(b"\r\n"):
            raise Refusal(400, "A chunk of the body is malformed")
        return line[:-2]

    def read_chunks(self) -> bytes:
        """Read a body that comes in chunks; their extensions and the trailers are passed over."""
        content = bytearray()
        while True:
            size = _CHUNK_LINE.fullmatch(self.read_line())
            if size is None:
                raise Refusal(400, "The size of a chunk is malformed")
            length = int(size[1], 16)
            if not length:
                break
            _within_limit(len(content) + length)
            content += self.read_exactly(length)
            if self.read_line():
                raise Refusal(400, "A chunk is longer than it says")
        for _ in range(_TRAILER_LIMIT):
            if not self.read_line():
                return bytes(content)
        raise Refusal(431, "There are too many trailers")

    def run_wsgi(self) -> None:
        """Read the body of a request, and answer."""
        try:
            body_sent = self.read_body()
            environ = self.make_environ()
        except Refusal as refusal:
            self.send_error(refusal.status, str(refusal))
            return
        except ValueError:  # nothing that urlsplit could split
            self.send_error(400, "The request names no proper URL")
            return
        environ["wsgi.input"] = io.BytesIO(body_sent)
        answer: list[Any] = []
        body: list[bytes] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: object = None
        ) -> Callable[[bytes], object]:
            answer[:] = [status, headers, exc_info]
            return body.append

        try:
            body.extend(self.server.app(environ, start_response))
        except Exception:  # noqa: BLE001 - kept for the test by dispatch
            body[:], answer[:] = [], ["500 Internal Server Error", [("Content-Length", "0")]]
        self.answer(int(answer[0].split()[0]), answer[1], b"".join(body), cut=environ.get(CUT))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no proper request, in an error envelope, and close the connection.

        Nobody knows where the next request would begin.
        """
        status = HTTPStatus(code)
        with self.instance.lock:
            refusal = self.instance.error(status, explain or message or status.phrase)
        self.close_connection = True
        headers = {**refusal.headers, "Content-Length": str(len(refusal.body))}
        self.answer(refusal.status, headers.items(), refusal.body)
        self.wfile.flush()
        self.let_the_client_read()

    def let_the_client_read(self) -> None:
        """Take in what is still being sent: a close now would take the answer from the client."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_FAREWELL_SECONDS)
            until = time.monotonic() + _FAREWELL_SECONDS
            while time.monotonic() < until and self.connection.recv(65536):
                pass

    def answer(
        self,
        status: int,
        fields: Iterable[tuple[str, str]],
        content: bytes,
        *,
        cut: int | None = None,
    ) -> None:
        """Send an answer in one piece, or break the connection after ``cut`` bytes of its body."""
        if cut is not None:
            self.close_connection = True
            if not cut:
                return
        headers = Headers(list(fields))
        chunked = headers.get("Transfer-Encoding") == "chunked"
        if chunked:
            headers.remove("Content-Length")
        self.protocol_version = self.instance.http_version
        self.close_connection = self.close_connection or self.protocol_version == "HTTP/1.0"
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(_in_chunks(content) if chunked else content[:cut])

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: the requests are kept for assertions."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: who sent what is no request has been told."""


def _within_limit(length: int) -> int:
    if length > BODY_LIMIT:
        raise Refusal(413, f"The body must not be larger than {BODY_LIMIT} bytes")
    return length


def _in_chunks(content: bytes, size: int = 100) -> bytes:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))
