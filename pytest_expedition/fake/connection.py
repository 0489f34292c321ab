"""A connection to the fake: requests are read from it, answers written to it, all else refused."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from werkzeug.serving import WSGIRequestHandler

from pytest_expedition.fake.bodies import BODY_LIMIT, Refusal
from pytest_expedition.fake.instance import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition.fake.instance import Instance

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(rb"(%s) ([!-~]+) HTTP/([0-9]\.[0-9])\r?\n" % _TOKEN)
_FIELD_LINE: Final = re.compile(rb"(%s):([^\0\r\n]*)\r?\n" % _TOKEN)
_FOLDED_LINE: Final = re.compile(rb"[ \t]([^\0\r\n]*)\r?\n")
"""What goes on with the value of the line before."""

_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
"""The size of a chunk, and its extensions, which say nothing to us."""

_LINE_LIMIT: Final = 8192
_FIELD_LIMIT: Final = 100
_FIELD_LINE_LIMIT: Final = 65536
_TRAILER_LIMIT: Final = 100
_WITHOUT_BODY: Final = frozenset({204, 304})
_ORIGIN: Final = re.compile("https?://[^/?]*")
"""What stands before the path where a request names the whole URL, as one to a proxy does."""

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
    respond: Callable[[Request], Response]
    """What answers the requests that were read."""

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
        """Read the head of a request; return whether it is one.

        The parser of the standard library would take almost half of the time of an answer.
        """
        self.command, self.request_version = "", self.default_request_version
        self.close_connection = True
        try:
            self.read_head()
        except Refusal as refusal:
            self.send_error(refusal.status, str(refusal))
            return False
        waits = self.request_version >= "HTTP/1.1" and "100-continue" in self.values("Expect")
        return not waits or self.handle_expect_100()

    def read_head(self) -> None:
        """Read what stands before the body: method, path, and the fields by their names."""
        line = _REQUEST_LINE.fullmatch(self.raw_requestline)
        if line is None:
            raise Refusal(400, "This is no request of HTTP/1")
        self.command, target, version = line[1].decode(), line[2].decode(), line[3].decode()
        if version >= "2.0":
            self.command = ""
            raise Refusal(505, "This server speaks HTTP/1")
        self.request_version = f"HTTP/{version}"
        self.path = target if not target.startswith("//") else "/" + target.lstrip("/")
        self.fields = self.read_fields()
        options = self.values("Connection")
        self.close_connection = "close" in options or (
            version < "1.1" and "keep-alive" not in options
        )

    def read_fields(self) -> dict[str, list[str]]:
        """Read the fields of the head: their values by their names, which are in title case."""
        fields: dict[str, list[str]] = {}
        values: list[str] = []
        for _ in range(_FIELD_LIMIT + 1):
            line = self.rfile.readline(_FIELD_LINE_LIMIT)
            if line in {b"\r\n", b"\n", b""}:
                return fields
            if len(line) == _FIELD_LINE_LIMIT:
                raise Refusal(431, "A header line is too long")
            if field := _FIELD_LINE.fullmatch(line):
                values = fields.setdefault(field[1].decode().title(), [])
                values.append(field[2].strip().decode("latin-1"))
            elif values and (folded := _FOLDED_LINE.fullmatch(line)):
                values[-1] += f" {folded[1].strip().decode('latin-1')}"
            else:
                raise Refusal(400, "A header line is malformed")
        raise Refusal(431, "There are too many header lines")

    def values(self, name: str) -> set[str]:
        """Return what the fields of a name list, in lower case."""
        return {
            value.strip().lower() for line in self.fields.get(name, ()) for value in line.split(",")
        }

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
        lengths = self.fields.get("Content-Length", [])
        codings = self.fields.get("Transfer-Encoding", [])
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
        """Read the body of a request, and answer; a detour by WSGI would take as long again."""
        try:
            request = self.read_request()
        except Refusal as refusal:
            self.send_error(refusal.status, str(refusal))
        except ValueError:  # nothing that urlsplit could split
            self.send_error(400, "The request names no proper URL")
        else:
            self.answer(self.respond(request))

    def read_request(self) -> Request:
        """Read the body, and put the request together."""
        body = self.read_body()
        return Request(
            method=self.command,
            path=_ORIGIN.sub("", self.path).partition("?")[0],
            query=urlsplit(self.path).query,
            headers={
                name: ",".join(values) for name, values in self.fields.items() if "_" not in name
            },
            body=body,
            at=self.instance.clock.now(),
        )

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no proper request, in an error envelope, and close the connection.

        Nobody knows where the next request would begin.
        """
        status = HTTPStatus(code)
        with self.instance.lock:
            refusal = self.instance.error(status, explain or message or status.phrase)
        self.close_connection = True
        self.answer(refusal)
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

    def answer(self, response: Response) -> None:
        """Send an answer in one piece, or break the connection where it is cut."""
        if response.cut is not None:
            self.close_connection = True
            if not response.cut:
                return
        fields = {"Server": self.version_string(), "Date": self.date_time_string()}
        fields.update(response.headers)
        body = response.body[: response.cut]
        if fields.get("Transfer-Encoding") == "chunked":
            body = _in_chunks(response.body)
        elif response.status not in _WITHOUT_BODY:
            fields["Content-Length"] = str(len(response.body))
        version = self.instance.http_version
        if self.close_connection or version == "HTTP/1.0" or fields.get("Connection") == "close":
            self.close_connection = True
            fields["Connection"] = "close"
        elif (
            self.request_version == "HTTP/1.0"
        ):  # whose clients expect a close unless they are told
            fields["Connection"] = "keep-alive"
        phrase, _ = self.responses.get(response.status, ("", ""))
        lines = [f"{version} {response.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        silent = self.command == "HEAD" or response.status in _WITHOUT_BODY
        self.wfile.write(head if silent else head + body)

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002
        """Say nothing: who sent what is no request has been told."""


def _within_limit(length: int) -> int:
    if length > BODY_LIMIT:
        raise Refusal(413, f"The body must not be larger than {BODY_LIMIT} bytes")
    return length


def _in_chunks(content: bytes, size: int = 100) -> bytes:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))
