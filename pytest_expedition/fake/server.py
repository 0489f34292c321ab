"""The fake instance on a real socket: a server of pytest-httpserver."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_httpserver import HTTPServer, HTTPServerError
from pytest_httpserver.httpserver import HandlerType
from werkzeug.serving import LISTEN_QUEUE, make_server
from werkzeug.wrappers import Request as WerkzeugRequest

from pytest_expedition import real_time
from pytest_expedition.checked import checked
from pytest_expedition.fake.connection import Connection
from pytest_expedition.fake.http import Handled, Request, Response
from pytest_expedition.fake.instance import Instance, is_of_job_api
from pytest_expedition.fake.simulation import Clock, Job, JobScript

if TYPE_CHECKING:
    import re

    import trustme
    from pytest_httpserver import RequestHandler, URIPattern
    from werkzeug.wrappers import Response as WerkzeugResponse

    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.situation import Situation

LOOPBACK: Final = "127.0.0.1"
SECONDS_PER_POLL: Final = 1.0
_STOP_POLL: Final = 0.01
"""Seconds between two checks whether the server is to stop."""


class ExpeditionServer(HTTPServer):
    """A fake Expedition instance that answers on loopback.

    ``url`` is its address without ``/api/v1``, ``api_key`` the key that it asks for. Without any
    script, jobs take four steps and each status request moves the job it asks for by one. With
    ``tls`` it speaks HTTPS, with a certificate made for it: ``ca_file`` verifies it.

    A test adds its own answers as with pytest-httpserver, by ``expect_request``,
    ``expect_oneshot_request`` and ``expect_ordered_request``. They come before the answers of the
    instance. Requests of the job API are an exception: the instance answers them unless
    ``own_job_answers`` is set. ``reset`` forgets own answers, ``play`` keeps them.

    With ``keep`` only that many of the latest requests are kept, else all since the last reset.
    """

    @checked
    def __init__(
        self,
        make_instance: Callable[[], Instance] = lambda: Instance(
            Clock(seconds_per_poll=SECONDS_PER_POLL)
        ),
        *,
        host: str = LOOPBACK,
        port: int = 0,
        tls: bool = False,
        keep: int | None = None,
    ) -> None:
        if not host:  # it would listen on all addresses
            raise ValueError("ExpeditionServer: host = '': must be a host name or an IP address")
        if keep is not None and keep < 1:
            raise ValueError(f"ExpeditionServer: keep = {keep}: must be at least 1")
        super().__init__(host, port, threaded=True)
        self._make_instance = make_instance
        self.instance = make_instance()
        self.connections: set[socket.socket] = set()
        """The connections that are open."""
        self.own_job_answers = False
        self.listeners: list[Callable[[Handled], None]] = []
        """Called with each request and its answer, also while a situation is played.

        One that raises an error is removed; ``check`` raises its error. The answer is sent.
        """
        self.beginnings = 0
        """How often all jobs were forgotten, by ``reset`` or ``play``: their ids come again."""
        self._expected: list[tuple[HandlerType, RequestHandler]] = []
        self._selecting = threading.Lock()
        """Held while one request selects its own answer: two may not take the same one."""
        self._keep = keep
        self._tls = tls
        self._certificates: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Start to answer.

        Raises ``OSError`` if the port is not available, ``ImportError`` if TLS needs a package that
        is not installed, ``HTTPServerError`` if the server has been started.
        """
        if self.is_running():
            raise HTTPServerError("the server has been started")
        if self._tls:
            self.ssl_context, authority = _certified(self.host)
        # Werkzeug would print what is wrong with the port, and exit.
        with _listening(self.host, self.port) as listening:
            if self._tls:
                self._certificates = tempfile.TemporaryDirectory()
                authority.write_to_path(str(self.ca_file))
            self.server = make_server(
                self.host,
                self.port,
                WerkzeugRequest.application(self.application),
                threaded=True,
                ssl_context=self.ssl_context,
                fd=listening.fileno(),
            )
        self.port = self.server.port
        self.server_thread = threading.Thread(target=self.thread_target, daemon=True)
        self.server_thread.start()

    def thread_target(self) -> None:
        """Answer requests until stopped, over connections that stay open."""
        assert self.server is not None
        self.server.RequestHandlerClass = type("Connection", (Connection,), {"owner": self})
        self.server.serve_forever(poll_interval=_STOP_POLL)

    def stop(self) -> None:
        """Stop to answer, and close all connections."""
        if self.is_running():
            super().stop()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):  # the client may have closed it just now
                # Not the method of TLS: it would end the session that another thread still uses.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        if self._certificates is not None:
            self._certificates.cleanup()
            self._certificates = None

    @property
    def url(self) -> str:
        """The address of the instance, without ``/api/v1``."""
        return self.url_for("").rstrip("/")

    @property
    def ca_file(self) -> Path | None:
        """The file with which clients verify the server while it runs; ``None`` without TLS."""
        return None if self._certificates is None else Path(self._certificates.name, "ca.pem")

    @property
    def api_key(self) -> str:
        """The key that requests must carry: ``Authorization: Bearer <key>``."""
        return self.instance.api_key

    @property
    def dialect(self) -> DialectName:
        """The dialect that it speaks, until the next reset: see ``Instance.dialect``."""
        return self.instance.dialect

    @dialect.setter
    def dialect(self, name: DialectName) -> None:
        with self.instance.lock:
            self.instance.dialect = name

    @property
    def clock(self) -> Clock:
        """The time of the instance: see ``Clock`` for how it moves."""
        return self.instance.clock

    @property
    def jobs(self) -> list[Job]:
        """The jobs created since the last reset, oldest first."""
        with self.instance.lock:
            return list(self.instance.jobs.values())

    @property
    def requests(self) -> list[Request]:
        """The requests received since the last reset, oldest first."""
        with self.instance.lock:
            return list(self.instance.requests)

    @property
    def journal(self) -> list[Handled]:
        """The requests that were answered since the last reset, with their answers and times."""
        return list(self.instance.journal)

    @property
    def own_job_answers(self) -> bool:
        """Whether a test's own answers come first for requests of the job API, too."""
        return self._own_job_answers

    @own_job_answers.setter
    @checked
    def own_job_answers(self, own_job_answers: bool) -> None:
        self._own_job_answers = own_job_answers

    @checked
    def next_job(self, *scripts: JobScript) -> None:
        """Script the next jobs to be created, in this order."""
        with self.instance.lock:
            self.instance.scripts.extend(scripts)

    @checked
    def every_job(self, script: JobScript) -> None:
        """Script all jobs that ``next_job`` leaves unscripted."""
        with self.instance.lock:
            self.instance.usual_scripts = dict.fromkeys(self.instance.usual_scripts, script)

    @property
    def agent_running(self) -> bool:
        """Whether the agent runs; it does at first. Set it to ``False``, and jobs stand still."""
        with self.instance.lock:
            return self.instance.agent_running

    @agent_running.setter
    def agent_running(self, running: bool) -> None:
        with self.instance.lock:
            self.instance.agent_running = running

    def advance(self, seconds: float) -> None:
        """Move the clock on. Raises ``ValueError`` if it would go back."""
        with self.instance.lock:
            self.instance.clock.advance(seconds)

    @checked
    def state(self, job: Job | int) -> float:
        """Return the state that a status request for the job, or its id, would show now.

        Raises ``KeyError`` for an id that was not given out since the last reset.
        """
        with self.instance.lock:
            jobs = self.instance.jobs
            if isinstance(job, int):
                if job not in jobs:
                    known = ", ".join(map(str, jobs)) or "none"
                    raise KeyError(
                        f"there is no job {job}; since the last reset there are: {known}"
                    )
                job = jobs[job]
            return self.instance.state(job)

    def play(self, played: Situation | Instance) -> None:
        """Play a situation until the next reset. All jobs are forgotten, the clock stands still.

        A test's own answers stay; one-shot and ordered answers are given once more. Raises
        ``TypeError`` if ``played`` is neither a situation nor an instance.
        """
        from pytest_expedition.fake.situation import Situation, SituationInstance

        if isinstance(played, Situation):
            played = SituationInstance(played)
        if not isinstance(played, Instance):
            raise TypeError(f"what is played must be a Situation, got {played!r}")
        self.instance = played
        self.beginnings += 1
        super().clear()
        for kind, handlers in (
            (HandlerType.PERMANENT, self.handlers),
            (HandlerType.ONESHOT, self.oneshot_handlers),
            (HandlerType.ORDERED, self.ordered_handlers),
        ):
            handlers.extend(handler for each, handler in self._expected if each is kind)

    def reset(self) -> None:
        """Forget all jobs, requests, scripts and own answers; set the clock to its beginning."""
        self.instance = self._make_instance()
        self.beginnings += 1
        self.own_job_answers = False
        self.clear()

    def clear(self) -> None:
        """Forget a test's own answers, and what went wrong with them."""
        self._expected.clear()
        super().clear()

    def expect_request(
        self, uri: str | URIPattern | re.Pattern[str], *arguments: Any, **options: Any
    ) -> RequestHandler:
        """Add an answer of the test's own: see ``pytest_httpserver.HTTPServer.expect_request``.

        Raises ``ValueError`` for a path of the job API unless ``own_job_answers`` is set.
        """
        if isinstance(uri, str) and is_of_job_api(uri) and not self.own_job_answers:
            raise ValueError(
                f"{uri}: the job API answers this path itself; to answer it in its place, set "
                "own_job_answers = True on the server"
            )
        handler = super().expect_request(uri, *arguments, **options)
        handler.respond = self._unlocked(handler.respond)  # type: ignore[assignment, method-assign]
        kind = options.get("handler_type", HandlerType.PERMANENT)
        self._expected.append((kind, handler))
        return handler

    def _unlocked(
        self, respond: Callable[[WerkzeugRequest], WerkzeugResponse]
    ) -> Callable[[WerkzeugRequest], WerkzeugResponse]:
        """Let other requests select their answers while one answers, which may take long."""

        def respond_unlocked(request: WerkzeugRequest) -> WerkzeugResponse:
            self._selecting.release()
            try:
                return respond(request)
            finally:
                self._selecting.acquire()

        return respond_unlocked

    def check_assertions(self) -> None:
        """Raise ``AssertionError`` if the requests do not fit the test's own answers.

        That is so if a request came out of order or broke an assertion of its answer, or if a test
        has own answers and a request fitted neither these nor any path of the instance.
        """
        super().check_assertions()
        unknown = self.instance.unknown_requests
        if self._expected and unknown:
            request = unknown.pop(0)
            raise AssertionError(
                f"{request.method} {request.path} has no answer: the fake does not know this path, "
                f"and none of the test's own answers fits:\n{self.format_matchers()}"
            )

    def respond(self, request: Request) -> Response:
        """Let the instance answer; an exception in its code is kept for the test."""
        instance = self.instance
        begun = real_time.now()
        try:
            if self._expected:
                request = replace(request, own_answer=self._own_answer(request))
            response = instance.handle(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test has to know
            if error not in self.assertions and error not in self.handler_errors:
                self.handler_errors.append(error)
            return Response(status=500, headers={})
        handled = Handled(request=request, response=response, begun=begun, done=real_time.now())
        with instance.lock:
            new = [*instance.by_another_user, handled]
            instance.by_another_user.clear()
            instance.journal += new
        for each, listen in itertools.product(new, list(self.listeners)):
            self._tell(listen, each)
        if self._keep is not None:
            with instance.lock:
                del instance.journal[: -self._keep]
                del instance.requests[: -self._keep]
                del instance.unknown_requests[: -self._keep]
                del self.log[: -self._keep]
        return response

    def _tell(self, listen: Callable[[Handled], None], handled: Handled) -> None:
        """Call a listener; remove it if it raises an error, which is kept for the test."""
        try:
            listen(handled)
        except Exception as error:  # noqa: BLE001 - the client gets its answer all the same
            self.handler_errors.append(error)
            with contextlib.suppress(ValueError):  # another request may have removed it
                self.listeners.remove(listen)

    def _own_answer(self, request: Request) -> Response | None:
        """Return the test's own answer to a request, if there is one."""
        if is_of_job_api(request.path) and not self.own_job_answers:
            return None
        from pytest_expedition.fake.own_answers import as_response, as_werkzeug

        # Leaving it closes what was uploaded.
        with as_werkzeug(request, url=self.url) as asked, self._selecting:
            handlers = (*self.ordered_handlers, *self.oneshot_handlers, *self.handlers)
            if not any(handler.matcher.match(asked) for handler in handlers):
                return None
            return as_response(self.application(asked), asked)


class _Context(ssl.SSLContext):
    """TLS whose handshake waits for the first read.

    So it happens in the thread of its connection, and a slow client delays no other.
    """

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(sock, *args, **{**options, "do_handshake_on_connect": False})


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise ``OSError`` where that is not possible."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name == "posix":  # Windows would share a port that is taken
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(LISTEN_QUEUE)
    except (OSError, UnicodeError, OverflowError, TypeError) as error:
        listening.close()
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise OSError(f"cannot listen on {host}, port {port}: {reason}") from error
    return listening


def _certified(host: str) -> tuple[_Context, trustme.Blob]:
    """Make a certificate for a host; return its TLS context, and its authority's certificate."""
    try:
        import trustme
    except ImportError:
        raise ImportError("TLS needs trustme: pip install 'pytest-expedition[tls]'") from None
    authority = trustme.CA()
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    names = dict.fromkeys((host, LOOPBACK, "::1", "localhost"))
    try:
        authority.issue_cert(*names).configure_cert(context)
    except ValueError:
        raise OSError(f"cannot make a certificate for the host {host!r}") from None
    return context, authority.cert_pem
