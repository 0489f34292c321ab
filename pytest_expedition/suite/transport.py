"""One request over HTTP, and an answer that is bounded in time and in size.

A server may send slowly, without end, gigabytes, or a few bytes that unzip to gigabytes. Reading
ends at the deadline, and at ``MOST_BYTES``. Redirects are not followed: the key is for one host.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import zlib
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL
from requests.utils import urldefragauth
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from pytest_expedition import real_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECT_SECONDS: Final = 10.0
LONGEST_NUMBER: Final = 9
"""How many digits of a number of seconds are read."""

MOST_BYTES: Final = 1024 * 1024
"""How many bytes the body of an answer may have, decompressed."""

MOST_ENCODINGS: Final = 5
"""How many encodings, one within the other, are undone."""

MOST_MEMBERS: Final = 1000
"""How many gzip members, one after the other, are unzipped: the rest is copied for each."""

TIMED_OUT: Final = "no answer in time"

_TOO_LONG: Final = f"its body is longer than {MOST_BYTES} bytes"
_PIECE: Final = 65536
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB_MASK: Final = 0x8F
_ZLIB_METHOD: Final = 0x08
"""A stream is zlib if its first byte, masked by the former, equals the latter."""

_HEADERS: Final = {
    "User-Agent": f"pytest-expedition/{version('pytest-expedition')}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back.

    ``status`` is ``None`` where no answer came, or not all of it, and ``lost`` says why.
    ``unsent`` says that there was no connection by which the server could have learnt of the
    request. ``unreadable`` says why nothing is kept of a body that did come. ``location`` is where
    a redirect leads, ``retry_after`` how many seconds the server asks to wait.
    """

    status: int | None = None
    body: bytes = field(default=b"", repr=False)
    lost: str = ""
    unsent: bool = False
    unreadable: str = ""
    location: str = ""
    retry_after: float | None = None


Certificate = str | tuple[str, str] | None
"""A client certificate: a file that holds its key, too, or two files."""


class Transport:
    """The way to one server; safe to use from several threads."""

    def __init__(
        self, url: str, *, verify: bool | str, connections: int, cert: Certificate = None
    ) -> None:
        self._url = url
        self._verify = verify
        self._cert = cert
        self._proxies = {} if _is_loopback(url) else requests.utils.get_environ_proxies(url)
        proxy = requests.utils.select_proxy(url, self._proxies)
        self.proxy = "" if proxy is None else urldefragauth(proxy)
        """The proxy that requests go through, without its credentials; empty if there is none."""
        self._adapter = _BoundedAdapter(pool_maxsize=connections)

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()

    def prepare(
        self, method: str, path: str, *, headers: Mapping[str, str | None], form: Any, json: Any
    ) -> requests.PreparedRequest:
        """Make a request ready to be sent.

        It carries what is said here and no more: no cookies, for a session of the login's would
        let requests without a key in, and no credentials from `.netrc`. A header that is ``None``
        is left out.
        """
        carried = {**_HEADERS, **headers}.items()
        request = requests.PreparedRequest()
        request.prepare_method(method)
        request.prepare_url(self._url + path, None)
        request.prepare_headers({k: v for k, v in carried if v is not None})
        request.prepare_body(form or [], None, json)
        return request

    def send(self, request: requests.PreparedRequest, *, seconds: float) -> Reply:
        """Send a request, and wait for its whole answer at most that long."""
        try:
            response = self._adapter.send(
                request,
                stream=True,
                timeout=(min(CONNECT_SECONDS, seconds), seconds),
                verify=self._verify,
                cert=self._cert,
                proxies=self._proxies,
            )
            with contextlib.closing(response):
                return replace(
                    _read(response),
                    location=response.headers.get("Location", "") if response.is_redirect else "",
                    retry_after=_retry_after(response.headers),
                )
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            return Reply(lost=_why_lost(error), unsent=_is_unsent(error))
        except http.client.HTTPException as error:
            # Some headers break the library itself: it raises what the parser raised.
            return Reply(lost=_why_lost(error))


def _is_loopback(url: str) -> bool:
    """Whether an address is one of this machine, to which no proxy is used."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        # It also reads addresses as 127.1, as those who connect to them do.
        address = ip_address(host if ":" in host else socket.inet_aton(host))
    except (ValueError, OSError):
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _read(response: requests.Response) -> Reply:
    status, headers = response.status_code, response.headers
    encodings = headers.get("Content-Encoding", "").lower().split(",")
    try:
        body = response.raw.read(decode_content=False)
        for encoding in reversed(encodings[-MOST_ENCODINGS:]):
            body = _decoded(body, encoding.strip())
    except zlib.error as error:
        return Reply(status=status, unreadable=f"its body cannot be unzipped: {error}")
    except _TooLongError:
        return Reply(status=status, unreadable=_TOO_LONG)
    if len(body) > MOST_BYTES:
        return Reply(status=status, unreadable=_TOO_LONG)
    return Reply(status=status, body=body)


def _decoded(body: bytes, encoding: str) -> bytes:
    """Decode a body as requests and curl do: an encoding that they do not know changes nothing."""
    if encoding in {"gzip", "x-gzip"}:
        return _unzipped(body, _GZIP)
    if encoding != "deflate":
        return body
    # Its name means zlib; many servers send the bare stream.
    is_zlib = body[:1] and body[0] & _ZLIB_MASK == _ZLIB_METHOD
    return _unzipped(body, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def _unzipped(packed: bytes, window: int) -> bytes:
    """Unzip all members, up to ``MOST_BYTES``: a few bytes can unzip to gigabytes.

    Bytes that follow the end, and are not another member, are ignored: so do the common clients.
    """
    body, members = bytearray(), 0
    while packed:
        unzip = zlib.decompressobj(window)
        try:
            body += unzip.decompress(packed, MOST_BYTES + 1 - len(body))
        except zlib.error:
            if not members:
                raise
            break
        if len(body) > MOST_BYTES:
            raise _TooLongError
        if not unzip.eof and not members:
            raise zlib.error("it breaks off")
        members, packed = members + 1, unzip.unused_data
        if members > MOST_MEMBERS:
            raise zlib.error(f"it has more than {MOST_MEMBERS} parts")
    return bytes(body)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the server asks to wait before the next request."""
    told = headers.get("Retry-After", "").strip()
    if told.isascii() and told.isdecimal():
        return float(told[:LONGEST_NUMBER])
    try:
        until = parsedate_to_datetime(told)
        since = parsedate_to_datetime(headers.get("Date", ""))
        return max((until - since).total_seconds(), 0.0)
    except (ValueError, TypeError, IndexError):  # no date, or one with a time zone and one without
        return None


_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""An option of Linux: it acknowledges at once what has arrived. Many small servers send the headers
first, and the body only when the headers are acknowledged. Without the option that takes 40 ms. The
kernel resets it, so it is set before each read."""


class _TooLongError(HTTPError):
    """The answer is larger than ``MOST_BYTES``."""


class _BoundedSocket(io.RawIOBase):
    """Reads an answer up to a deadline and a size."""

    def __init__(self, connection: socket.socket) -> None:
        self._raw = connection.makefile("rb", buffering=0)
        self._connection = connection
        seconds = connection.gettimeout()
        self._deadline = float("inf") if seconds is None else real_time.now() + seconds
        self._left = 2 * MOST_BYTES  # for headers and the marks between chunks, too

    def end(self) -> None:
        """Read no more: the answer has come to its end."""
        self._left, self._deadline = -1, float("inf")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - real_time.now()
        if left <= 0:
            raise TimeoutError(TIMED_OUT)
        if self._left < 0:
            return 0
        if self._left == 0:
            raise _TooLongError
        if left < float("inf"):
            self._connection.settimeout(left)
        if _QUICKACK is not None:
            # There are connections without options: TLS within TLS, by way of a proxy.
            with contextlib.suppress(OSError, AttributeError):
                self._connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        count = self._raw.readinto(buffer)
        self._left = max(self._left - (count or 0), 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedReader(io.BufferedReader):
    """Reads one answer; what follows it, unasked, must not be taken for the next."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = _BoundedSocket(connection)
        self._connection = connection
        super().__init__(self._socket, _PIECE)

    def close(self) -> None:
        if not self.closed:
            self._socket.end()
            if self.peek(1):
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
        super().close()


class _Source:
    """A connection of which an answer is read by way of a bounded reader."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def makefile(self, _mode: str) -> io.BufferedReader:
        return _BoundedReader(self._connection)


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(_Source(sock), *args, **options)  # type: ignore[arg-type]

    def _read_status(self) -> tuple[str, int, str]:
        """Read the status line of the final answer; pass over interim ones (1xx)."""
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)


class _BoundedHTTPConnection(HTTPConnection):
    response_class = _BoundedResponse

    def connect(self) -> None:
        with _nothing_is_sent():
            super().connect()


class _BoundedHTTPSConnection(HTTPSConnection):
    response_class = _BoundedResponse

    def connect(self) -> None:
        """Connect, by way of a proxy if there is one, and agree on TLS."""
        with _nothing_is_sent():
            super().connect()

    def send(self, data: Any) -> None:
        """Send bytes; where the server has closed the connection, raise why, if it said so."""
        try:
            super().send(data)
        except ssl.SSLEOFError:
            if self.sock is not None:
                self.sock.recv(1)  # raises the alert with which it was closed
            raise


@contextlib.contextmanager
def _nothing_is_sent() -> Iterator[None]:
    """Mark an error that is raised before a request could be sent."""
    try:
        yield
    except Exception as error:
        error.before_request = True  # type: ignore[attr-defined]
        raise


class _BoundedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _BoundedHTTPConnection


class _BoundedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedHTTPSConnection


_POOLS: Final = {"http": _BoundedHTTPPool, "https": _BoundedHTTPSPool}


class _BoundedAdapter(HTTPAdapter):
    """Sends like any session of requests, and reads up to a deadline and a size."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager


def _why_lost(error: Exception) -> str:
    tls = [cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)]
    if tls:
        return _why_not_trusted(next(filter(_refuses_us, tls), tls[-1]))
    if isinstance(error, requests.Timeout | TimeoutError) or "timed out" in str(error):
        return TIMED_OUT
    if any(isinstance(cause, socket.gaierror) for cause in _causes(error)):
        return f"no address is known for the host ({_root_cause(error)}); is its name right?"
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"the connection failed: {_root_cause(error)}"
    return f"the answer broke off: {_root_cause(error)}"


def _why_not_trusted(error: ssl.SSLError) -> str:
    """Say what went wrong with TLS, and what to do."""
    said = f"{error.reason or ''} {error}".lower().replace("_", " ")
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the TLS connection cannot be trusted: {error.verify_message or error.strerror}; the "
            'target file can name the CA (verify = "ca.pem") or do without (verify = false)'
        )
    if "wrong version number" in said or "http request" in said or "record layer" in said:
        return f"the port does not speak TLS: {error.strerror or error}; is the url http://…?"
    if "certificate required" in said:
        return f"the server asks for a client certificate: {_NAME_A_CERTIFICATE}"
    if _refuses_us(error) or isinstance(error, ssl.SSLEOFError):
        return (
            f"the server refused the TLS connection ({error.strerror or error}); it may ask for a "
            f"client certificate: {_NAME_A_CERTIFICATE}"
        )
    return f"the TLS connection failed: {error.strerror or error}"


_NAME_A_CERTIFICATE: Final = (
    'name it in the target file (cert = "client.pem", and cert_key = "client.key" where the key is '
    "in a file of its own)"
)


def _refuses_us(error: ssl.SSLError) -> bool:
    """Whether a server says that it refuses the client's certificate, or that there is none.

    It then reads no request, though in TLS 1.3 it says so only after one was sent.
    """
    said = f"{error.reason or ''} {error}".lower().replace("_", " ")
    return any(alert in said for alert in _REFUSALS)


_REFUSALS: Final = (
    "certificate required",
    "handshake failure",
    "bad certificate",
    "certificate unknown",
    "unknown ca",
)


_PROXY_FAILS: Final = (InvalidURL, InvalidSchema, NewConnectionError, ConnectTimeoutError)
"""The errors for a proxy setting that is no address, and for a proxy that cannot be reached."""


def _is_unsent(error: Exception) -> bool:
    """Whether no connection was made. One that broke later may have carried the request."""
    return any(
        getattr(cause, "before_request", False)
        or isinstance(cause, _PROXY_FAILS)
        or (isinstance(cause, ssl.SSLError) and _refuses_us(cause))
        for cause in _causes(error)
    )


def _root_cause(error: BaseException) -> str:
    """What the operating system said of it, without the layers between."""
    causes = list(_causes(error))
    said = (cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror)
    return next(said, str(causes[-1]) or type(causes[-1]).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and the errors that caused it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        held = (each for each in cause.args if isinstance(each, BaseException))
        cause = cause.__cause__ or cause.__context__ or next(held, None)
