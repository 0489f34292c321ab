"""Watches the clients of a test, and judges the answers that servers gave them.

It changes nothing: requests are sent through the session as before, and only remembered. What takes
time is done at the end.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import requests

from pytest_expedition import real_time
from pytest_expedition.checked import checked
from pytest_expedition.protocol.recipe import JobRecipe
from pytest_expedition.recordings.classification import ForeignExchange, classify
from pytest_expedition.recordings.httpx_client import STREAMED, Listener, is_httpx_client
from pytest_expedition.recordings.judging import judge_classified, record_of
from pytest_expedition.recordings.trace import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_expedition.fake.http import Handled
    from pytest_expedition.fake.server import ExpeditionServer
    from pytest_expedition.oracle.record import RunRecord
    from pytest_expedition.recordings.httpx_client import HttpxClient

STILL_UNDER_WAY: Final = "no answer had arrived yet when it was judged"


@dataclass(slots=True)
class _Sent:
    """A request that went through a session, and what came back, as it is."""

    request: requests.PreparedRequest
    sent: float
    received: float | None = None
    response: requests.Response | weakref.ref[requests.Response] | None = None
    error: str = STILL_UNDER_WAY


class Watch:
    """Watches sessions, or servers of this process, and judges the answers that their clients got.

    ``jobs`` are recipes that say which jobs can be cancelled, ``job_seconds`` is how long a
    job may take, if that is known. It assumes that only what it watches cancels the
    jobs that it sees created. With ``record`` it adds to a trace what it sees, as a ``part`` of it.
    """

    def __init__(
        self,
        *watched: requests.Session | HttpxClient | ExpeditionServer,
        jobs: Sequence[JobRecipe] = (),
        job_seconds: float = math.inf,
        record: Path | str | None = None,
        part: str = "",
    ) -> None:
        self.jobs = jobs
        self.job_seconds = job_seconds
        self._record = None if record is None else Path(record)
        self._part = part
        self._sent: list[_Sent] = []
        self._sent_by_httpx: list[ForeignExchange] = []
        self._servers: list[ExpeditionServer] = []
        self._watched: list[object] = []
        self._let_go: list[Callable[[], None]] = []
        self._secrets: dict[str, None] = {}
        self._stopped = False
        self._begun = real_time.now()
        for each in watched:
            self.watch(each)

    @property
    def jobs(self) -> Sequence[JobRecipe]:
        """The recipes that say which jobs can be cancelled."""
        return self._jobs

    @jobs.setter
    @checked
    def jobs(self, jobs: Sequence[JobRecipe]) -> None:
        self._jobs = jobs

    @property
    def job_seconds(self) -> float:
        """How long a job may take; infinity if that is not known."""
        return self._job_seconds

    @job_seconds.setter
    @checked
    def job_seconds(self, job_seconds: float) -> None:
        if not job_seconds > 0:
            raise ValueError(f"{type(self).__name__}: job_seconds = {job_seconds}: must be above 0")
        self._job_seconds = job_seconds

    def watch(self, watched: requests.Session | HttpxClient | ExpeditionServer) -> None:
        """Watch a session, or a client of httpx, from now on; or all that a fake instance answers.

        To watch the same again changes nothing. Raises ``TypeError`` for anything else.
        """
        if any(watched is each for each in self._watched):
            return  # else each request would be heard twice
        if isinstance(watched, requests.Session):
            heard = self._sent.append if self._record is None else self._hear_and_write
            self._let_go.append(_listen(watched, heard))
        elif is_httpx_client(watched):
            client = cast("HttpxClient", watched)
            listener = Listener(client, self._hear_httpx, begun=self._begun)
            self._let_go.append(listener.let_go)
        elif hasattr(watched, "journal"):
            self._servers.append(cast("ExpeditionServer", watched))
        else:
            raise TypeError(
                "watch a requests.Session, an httpx.Client, an httpx.AsyncClient or an "
                f"ExpeditionServer, not {watched!r}"
            )
        self._watched.append(watched)

    def stop(self) -> None:
        """Stop watching all sessions: what they send from now on is not judged."""
        while self._let_go:
            self._let_go.pop()()
        self._watched[:] = self._servers
        if self._record is not None and not self._stopped:
            self._write(each for server in self._servers for each in self._journal(server))
        self._stopped = True

    def judge(self) -> RunRecord:
        """Judge what was seen so far."""
        started = datetime.now(timezone.utc)
        found = classify(self._all(), recipes=self.jobs, all_headers=True)
        judged = judge_classified(found, job_seconds=self.job_seconds, others_may_act=False)
        return record_of(judged, started=started, secrets=found.secrets)

    def _all(self) -> Iterator[ForeignExchange]:
        for server in self._servers:
            yield from self._journal(server)
        for each in list(self._sent):
            if self._is_only_heard(str(each.request.url)):
                yield self._as_exchange(each)
        yield from (each for each in list(self._sent_by_httpx) if self._is_only_heard(each.url))

    def _is_only_heard(self, url: str) -> bool:
        """Whether a request went to a server that is not watched itself."""
        return not any(url.startswith(server.url) for server in self._servers)

    def _hear_and_write(self, each: _Sent) -> None:
        self._sent.append(each)
        if self._is_only_heard(str(each.request.url)):
            self._write([self._as_exchange(each)])

    def _hear_httpx(self, each: ForeignExchange) -> None:
        self._sent_by_httpx.append(each)
        if self._record is not None and self._is_only_heard(each.url):
            self._write([each])

    def _write(self, seen: Iterable[ForeignExchange]) -> None:
        """Add to the trace, without the keys and passwords that were seen so far."""
        assert self._record is not None
        found = classify(seen, recipes=self.jobs, all_headers=True)
        self._secrets.update(dict.fromkeys(found.secrets))
        for server, exchanges in found.servers.items():
            with Recorder(self._record, server=server, part=self._part) as recorder:
                for exchange in exchanges:
                    recorder.write(exchange, secrets=self._secrets)

    def _as_exchange(self, each: _Sent) -> ForeignExchange:
        request, response = each.request, each.response
        if isinstance(response, weakref.ref):
            response = response()
            content = getattr(response, "_content", None)  # to ask for it would read the stream
            error, body = STREAMED, content if isinstance(content, bytes) else None
        else:
            error, body = each.error, None if response is None else response.content
        asked = request.body if isinstance(request.body, str | bytes) else b""
        return ForeignExchange(
            method=request.method or "",
            url=request.url or "",
            headers=request.headers,
            request_body=asked.encode() if isinstance(asked, str) else asked,
            sent=each.sent - self._begun,
            received=(each.received or real_time.now()) - self._begun,
            status=None if body is None or response is None else response.status_code,
            body=body or b"",
            lost=error if body is None else "",
        )

    def _journal(self, server: ExpeditionServer) -> Iterator[ForeignExchange]:
        for handled in server.journal:
            yield as_exchange(handled, url=server.url, begun=self._begun)


def as_exchange(handled: Handled, *, url: str, begun: float) -> ForeignExchange:
    """Return what a server with that address was asked and answered; times count from ``begun``."""
    request, response = handled.request, handled.response
    return ForeignExchange(
        method=request.method,
        url=f"{url}{request.path}" + (f"?{request.query}" if request.query else ""),
        headers=request.headers,
        request_body=request.body,
        sent=handled.begun - begun,
        received=handled.done - begun,
        status=response.status if response.cut is None else None,
        body=response.body if response.cut is None else b"",
        lost="" if response.cut is None else "the connection broke before all was sent",
    )


def _listen(session: requests.Session, heard: Callable[[_Sent], None]) -> Callable[[], None]:
    """Listen to a session; return a function that stops listening.

    Redirects go through the same ``send``, each by itself; retries of urllib3 stay within it.
    """
    own: Callable[..., requests.Response] | None = session.__dict__.get("send")
    listening = True

    def send(request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if own is not None:
            return own(request, **options)
        return type(session).send(session, request, **options)

    def listen(request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if not listening:
            return send(request, **options)
        each = _Sent(request, real_time.now())
        try:
            response = send(request, **options)
            each.response = _answer(response, streamed=options.get("stream", session.stream))
        except BaseException as error:
            each.error = f"{type(error).__name__}: {error}"
            raise
        else:
            return response
        finally:
            each.received = real_time.now()
            heard(each)

    def let_go() -> None:
        nonlocal listening
        listening = False
        if session.__dict__.get("send") is listen:  # else another listener replaced it
            del session.__dict__["send"]
            if own is not None:
                session.__dict__["send"] = own

    session.__dict__["send"] = listen
    return let_go


def _answer(
    response: requests.Response,
    *,
    streamed: bool,
) -> requests.Response | weakref.ref[requests.Response]:
    """Return the answer to the request itself: if it was redirected, the redirect."""
    first = response.history[0] if response.history else response
    answer = first if first.is_redirect else response
    # The client closes a streamed answer: a reference here must not keep it open.
    return weakref.ref(answer) if streamed else answer
