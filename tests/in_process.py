"""Asks fake servers in the process, not over HTTP: that takes less than half the time.

It is for tests of plans, rules and limits. How requests and answers travel is what
`test_transport.py`, `test_serving.py` and many others test, over HTTP.
"""

from __future__ import annotations

import contextlib
import functools
import io
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from pytest_expedition import ExpeditionServer
from pytest_expedition.fake.http import Request
from pytest_expedition.suite import client
from pytest_expedition.suite.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.fake.http import Response
    from pytest_expedition.fake.instance import Instance

HOW_IT_TRAVELS = {"connection", "content-encoding", "content-length", "transfer-encoding"}
"""The headers that say how an answer travels, or when its connection ends."""


def needs_http(instance: Instance, answer: Response | None = None) -> bool:
    """Whether an answer of an instance shows only over HTTP what is odd or broken about it."""
    if answer is None:
        answer = instance.handle(Request(method="GET", path="/api/v1/agent/start"))
    travels = HOW_IT_TRAVELS & {name.lower() for name in answer.headers}
    return bool(travels) or answer.cut is not None or instance.http_version != "HTTP/1.1"


@contextlib.contextmanager
def in_process(*running: ExpeditionServer) -> Iterator[None]:
    """Let the suite hand requests to servers, from the same threads as ever.

    These are the ``running`` ones, and those that start from now on.
    """
    servers = {server.url: server for server in running}
    start = ExpeditionServer.start

    def note(server: ExpeditionServer) -> None:
        start(server)
        servers[server.url] = server

    with (
        patch.object(ExpeditionServer, "start", note),
        patch.object(client, "Transport", functools.partial(_Transport, servers)),
    ):
        yield


class _Transport(Transport):
    def __init__(self, servers: dict[str, ExpeditionServer], url: str, **options: Any) -> None:
        super().__init__(url, **options)
        if url in servers:
            self._adapter: HTTPAdapter = _Adapter(servers[url])  # type: ignore[assignment]


class _Adapter(HTTPAdapter):
    def __init__(self, server: ExpeditionServer) -> None:
        super().__init__()
        self._server = server

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        if not self._server.is_running():
            return super().send(request, **options)
        path, _mark, query = request.path_url.partition("?")
        body = request.body or b""
        answer = self._server.respond(
            Request(
                method=str(request.method),
                path=path,
                query=query,
                headers=request.headers,
                body=body.encode() if isinstance(body, str) else body,
                at=self._server.instance.clock.now(),
            )
        )
        assert not needs_http(self._server.instance, answer), "this has to be tried over HTTP"
        response = requests.Response()
        response.status_code = answer.status
        response.headers.update(answer.headers)
        response.raw = HTTPResponse(io.BytesIO(answer.body), preload_content=False)
        return response
