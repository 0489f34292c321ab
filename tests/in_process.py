"""Asks fake servers in the process, not over HTTP: that takes less than half the time.

It is for tests of plans, rules and limits. How requests and answers travel is what
`test_transport.py`, `test_serving.py` and many others test, over HTTP.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from unittest.mock import patch

from requests.structures import CaseInsensitiveDict

from pytest_expedition import ExpeditionServer
from pytest_expedition.fake.http import Request
from pytest_expedition.suite.transport import MOST_BYTES, Reply, Transport, _retry_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

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
    start, over_http = ExpeditionServer.start, Transport.send

    def note(server: ExpeditionServer) -> None:
        start(server)
        servers[server.url] = server

    def send(transport: Transport, request: requests.PreparedRequest, *, seconds: float) -> Reply:
        server = servers.get(transport._url)
        if server is None or not server.is_running():
            return over_http(transport, request, seconds=seconds)
        return _handed_to(server, request)

    with (
        patch.object(ExpeditionServer, "start", note),
        patch.object(Transport, "send", send),
    ):
        yield


def _handed_to(server: ExpeditionServer, request: requests.PreparedRequest) -> Reply:
    path, _mark, query = request.path_url.partition("?")
    body = request.body or b""
    answer = server.respond(
        Request(
            method=str(request.method),
            path=path,
            query=query,
            headers=request.headers,
            body=body.encode() if isinstance(body, str) else body,
            at=server.instance.clock.now(),
        )
    )
    assert not needs_http(server.instance, answer), "this has to be tried over HTTP"
    assert len(answer.body) <= MOST_BYTES, "this has to be tried over HTTP"
    headers = CaseInsensitiveDict(answer.headers)
    return Reply(
        status=answer.status,
        body=answer.body,
        location=headers.get("Location", "") if 300 <= answer.status < 400 else "",
        retry_after=_retry_after(headers),
    )
