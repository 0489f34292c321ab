"""How many requests a second a server answers to a `requests.Session`, all within one process.

The fake is asked for the state of a job; pytest-httpserver, silenced, answers the same bytes, and
so does a bare keep-alive server of the standard library, as one would write it by hand. The
longest of the answers shows a stall, if there is one.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import logging
import threading
import time
from typing import TYPE_CHECKING

import requests
from frame import Row, by_turns, main, median, ratios, spread, versions
from pytest_httpserver import HTTPServer

from pytest_expedition import ExpeditionServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 31
REQUESTS = 200
PATH = "/api/v1/job/status/1619"


class ByHand(http.server.BaseHTTPRequestHandler):
    """Answers the same to every request, in one piece, over a connection that stays open."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Client:
    """Asks one server for the state of a job, again and again."""

    def __init__(self, url: str, *, key: str) -> None:
        self.url = url + PATH
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {key}"
        self.longest: list[float] = []

    def body(self) -> bytes:
        return self.session.get(self.url, timeout=10).content

    def rate(self) -> float:
        """Answers a second."""
        longest = 0.0
        begun = at = time.perf_counter()
        for _ in range(REQUESTS):
            self.body()
            before, at = at, time.perf_counter()
            longest = max(longest, at - before)
        self.longest.append(longest)
        return REQUESTS / (at - begun)


def measure() -> Iterator[Row]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        fake = ExpeditionServer()
        fake.start()
        stack.callback(fake.stop)
        peer = stack.enter_context(HTTPServer(host="127.0.0.1"))
        by_hand = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ByHand)
        threading.Thread(target=by_hand.serve_forever, daemon=True).start()
        stack.callback(by_hand.shutdown)
        urls = {
            "fake": fake.url,
            "peer": peer.url_for("").rstrip("/"),
            "by hand": f"http://127.0.0.1:{by_hand.server_port}",
        }
        clients = {name: Client(url, key=fake.api_key) for name, url in urls.items()}
        clients["fake"].session.post(f"{fake.url}/api/v1/project/1/import", timeout=10)
        while b'"state": 1,' not in (body := clients["fake"].body()):
            pass
        ByHand.body = body
        peer.expect_request(PATH).respond_with_data(body, content_type="application/json")
        runs: dict[str, Callable[[], float]] = {
            name: functools.partial(_rate, client, fake, peer) for name, client in clients.items()
        }
        if {client.body() for client in clients.values()} != {body}:
            raise SystemExit("not all servers answer the same")
        by_turns(1, runs)
        rates = by_turns(ROUNDS, runs)
    for_versions = versions("pytest-httpserver", "requests", "werkzeug")
    yield Row(
        what=f"requests a second to the fake, {len(body)} bytes each",
        goal="",
        figure=median(rates["fake"], ""),
        spread=spread(rates["fake"], ""),
        peers=f"pytest-httpserver {median(rates['peer'], '')}, "
        f"http.server with keep-alive {median(rates['by hand'], '')}",
        versions=for_versions,
    )
    ratio = ratios(rates["fake"], rates["peer"])
    yield Row(
        what="the same, against pytest-httpserver",
        goal="≥ 1.15 times",
        figure=median(ratio, "times"),
        spread=spread(ratio, "times"),
        versions=for_versions,
    )
    longest = clients["fake"].longest
    yield Row(
        what=f"the longest of {REQUESTS} answers of the fake",
        goal="< 40 ms",
        figure=median(longest, "ms", 1e3),
        spread=spread(longest, "ms", 1e3),
        peers=f"pytest-httpserver {median(clients['peer'].longest, 'ms', 1e3)}",
        versions=for_versions,
    )


def _rate(client: Client, fake: ExpeditionServer, peer: HTTPServer) -> float:
    """Answers a second, with nothing kept of what was asked before."""
    fake.instance.requests.clear()
    fake.instance.journal.clear()
    peer.clear_log()
    return client.rate()


if __name__ == "__main__":
    main(measure)
