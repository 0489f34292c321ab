"""Listens to the clients of httpx, sync and async. httpx is imported only if it is used."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

from pytest_expedition import real_time
from pytest_expedition.recordings.classification import ForeignExchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STREAMED: Final = "the answer was streamed: its body was not kept"


class HttpxClient(Protocol):
    """An ``httpx.Client`` or an ``httpx.AsyncClient``."""

    @property
    def send(self) -> Callable[..., Any]:
        """Sends a request."""


def is_httpx_client(watched: object) -> bool:
    """Whether something is a client of httpx."""
    httpx: Any = sys.modules.get("httpx")
    return httpx is not None and isinstance(watched, (httpx.Client, httpx.AsyncClient))


class Listener:
    """Listens to what a client sends, until ``let_go``. Times count from ``begun``."""

    def __init__(
        self, client: HttpxClient, heard: Callable[[ForeignExchange], None], *, begun: float
    ) -> None:
        self._client = client
        self._heard = heard
        self._begun = begun
        self._own = client.__dict__.get("send")
        self._send = client.send
        self._listening = True
        self._listener = self._send_async if hasattr(client, "aclose") else self._send_sync
        client.__dict__["send"] = self._listener

    def let_go(self) -> None:
        """Stop listening."""
        self._listening = False
        if self._client.__dict__.get("send") is self._listener:  # else another listener replaced it
            del self._client.__dict__["send"]
            if self._own is not None:
                self._client.__dict__["send"] = self._own

    def _send_sync(self, request: Any, **options: Any) -> Any:
        with self._noting(request, **options) as answers:
            answers.append(self._send(request, **options))
        return answers[0]

    async def _send_async(self, request: Any, **options: Any) -> Any:
        with self._noting(request, **options) as answers:
            answers.append(await self._send(request, **options))
        return answers[0]

    @contextlib.contextmanager
    def _noting(self, request: Any, *, stream: bool = False, **_: Any) -> Iterator[list[Any]]:
        sent = real_time.now()
        answers: list[Any] = []
        seen: list[dict[str, Any]] = []
        try:
            yield answers
        except BaseException as error:
            seen = [{**_asked(request), "lost": f"{type(error).__name__}: {error}"}]
            raise
        else:
            seen = _exchanges(answers[0], streamed=stream)
        finally:
            if self._listening:
                began, ended = sent - self._begun, real_time.now() - self._begun
                for each in seen:
                    self._heard(ForeignExchange(sent=began, received=ended, **each))


def _exchanges(answer: Any, *, streamed: bool) -> list[dict[str, Any]]:
    """Return the fields of each exchange: several if the request was redirected."""
    answers = [*answer.history, answer]
    if streamed:
        return [{**_asked(each.request), "lost": STREAMED} for each in answers]
    return [
        {**_asked(each.request), "status": each.status_code, "body": each.content}
        for each in answers
    ]


def _asked(request: Any) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": str(request.url),
        "headers": dict(request.headers),
        "request_body": getattr(request, "_content", b""),  # one that is streamed is not kept
    }
