"""What a fake Expedition instance answers to a request: routes, keys and envelopes, without HTTP.

Unless told otherwise it speaks the documentation's first dialect, with the state of a job at both
places that the documented client reads: ``content.system.jobs`` and ``content.msg``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import threading
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.fake.bodies import Refusal, read_form
from pytest_expedition.fake.dialects import DIALECTS, WRITTEN, contents_envelope
from pytest_expedition.fake.simulation import CANCELLED, FINISHED, Clock, Job, JobScript, Simulation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_expedition.fake.dialects import DialectName

USERNAME: Final = "admin"
PASSWORD: Final = "paloalto"  # noqa: S105 - the documented one of a new installation
API_KEY: Final = "fake-expedition-key"

LOGIN_PATHS: Final = frozenset({"/api/v1/generate_api_key", "/api/v1/login"})
MAX_JOB_ID: Final = 10**19 - 1
_ID: Final = re.compile(r"[1-9][0-9]{0,18}")
CANCEL_PATH: Final = re.compile("/api/v1/job/([^/]*)")
_JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A documented request that creates a job.

    In its ``path`` a name in braces stands for a number, or, of the names in ``CHOICES``, for one
    of these words. ``form`` are the form fields that the documentation shows; none is required.
    """

    name: str
    method: str
    path: str
    script: JobScript
    form: Sequence[str] = ()

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """What the paths of such requests match."""
        return re.compile(re.sub("{(.*?)}", lambda name: _pattern_of(name[1]), self.path))


CHOICES: Final = {"config": ("candidate", "running")}


def _pattern_of(name: str) -> str:
    return "(?:" + "|".join(CHOICES.get(name, ("[0-9]+",))) + ")"


def _creates(
    name: str,
    method: str,
    path: str,
    description: str,
    *,
    form: Sequence[str] = (),
    cancellable: bool = True,
) -> JobRequest:
    return JobRequest(
        name=name,
        method=method,
        path="/api/v1/" + path,
        script=JobScript(description=description, cancellable=cancellable),
        form=form,
    )


JOB_REQUESTS: Final = (
    _creates(
        "import",
        "POST",
        "project/{projectId}/import",
        "Importing Config into Project",
        form=["resource"],
    ),
    _creates(
        "import-device",
        "POST",
        "project/{projectId}/import/device",
        "Importing Device",
        form=["device_id"],
    ),
    _creates(
        "export",
        "POST",
        "projects/{projectId}/export",
        "Exporting Config",
        form=["out", "sourceId"],
        cancellable=False,
    ),
    _creates(
        "push",
        "POST",
        "projects/{projectId}/device/push",
        "Pushing Config to Device",
        form=["serial", "source"],
        cancellable=False,
    ),
    _creates(
        "retrieve",
        "GET",
        "device/{deviceId}/retrieveContent/{config}",
        "Retrieving Content from Device",
    ),
    _creates(
        "convert",
        "POST",
        "project/{projectId}/migration/{migrationId}/convert",
        "Converting Config",
    ),
    _creates(
        "discover",
        "POST",
        "project/{projectId}/migration/{migrationId}/resource/{resourceId}/discover",
        "Discovering Resource",
    ),
    _creates(
        "filter",
        "POST",
        "project/{projectId}/tools/filter/{filterId}/execute",
        "Executing Filter",
    ),
)
"""The documented requests that create jobs; which of them can be cancelled is our assumption."""


@dataclass(frozen=True, kw_only=True)
class AgentCommand:
    """A command to the agent: whether it runs then, and the message, by whether it ran before."""

    then_running: bool
    when_running: str
    when_stopped: str


AGENT_COMMANDS: Final = {
    "/api/v1/agent/start": AgentCommand(
        then_running=True,
        when_running="The agent is already running",
        when_stopped="The agent has been started",
    ),
    "/api/v1/agent/stop": AgentCommand(
        then_running=False,
        when_running="The agent has been stopped",
        when_stopped="The agent is already stopped",
    ),
    "/api/v1/agent/restart": AgentCommand(
        then_running=True,
        when_running="The agent has been restarted",
        when_stopped="The agent has been started",
    ),
}
"""The commands to the agent, by their paths."""


def is_of_job_api(path: str) -> bool:
    """Whether a path is one of jobs, of the agent or of the login."""
    return (
        path in LOGIN_PATHS
        or path in AGENT_COMMANDS
        or f"{path}/".startswith("/api/v1/job/")
        or any(each.pattern.fullmatch(path) for each in JOB_REQUESTS)
    )


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as the instance got it.

    ``path`` is as it was sent, still encoded and without the query. ``at`` is the clock's time.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    at: float = 0.0
    own_answer: Response | None = field(default=None, compare=False, repr=False)
    """What a test has said to answer; the instance then answers nothing of its own."""

    @property
    def form(self) -> dict[str, str]:
        """The form fields of the body, if it is a form; of a repeated field the last value."""
        with contextlib.suppress(Refusal):
            return self.read_form()
        return {}

    def read_form(self) -> dict[str, str]:
        """Return the form fields of the body. Raises ``Refusal`` where it cannot be taken."""
        return read_form(
            self.body,
            content_type=self.header("Content-Type"),
            content_encoding=self.header("Content-Encoding"),
        )

    def header(self, name: str) -> str:
        """Return the value of a header, whatever the case of its name; empty if it is not there."""
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), "")


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer: HTTP status, headers and body.

    ``cut`` is how many bytes of the body are sent before the connection breaks, if it does; with 0
    nothing of the answer is sent, not even its head.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)
    body: bytes = b""
    cut: int | None = None


@dataclass(frozen=True, kw_only=True)
class Handled:
    """A request and its answer; ``begun`` and ``done`` are the machine's monotonic seconds."""

    request: Request
    response: Response
    begun: float
    done: float


class Instance(Simulation):
    """A whole fake instance: requests in, answers out; safe to use from several threads."""

    http_version = "HTTP/1.1"

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        api_key: str = API_KEY,
        dialect: DialectName = "system",
    ) -> None:
        super().__init__(clock)
        self.api_key = api_key
        self.dialect = dialect
        self.requests: list[Request] = []
        self.unknown_requests: list[Request] = []
        """The requests to paths that the instance does not know."""
        self.journal: list[Handled] = []
        """What whoever carries the instance has handed it, and sent back."""
        self.usual_scripts = {each.name: each.script for each in JOB_REQUESTS}
        """How jobs go that nobody has scripted, by the request that creates them."""
        self.lock = threading.RLock()
        self.memory: dict[str, Any] = {}
        """What a dishonest instance keeps in mind."""

    @property
    def dialect(self) -> DialectName:
        """The dialect that it speaks: `system`, `msg`, `data`, or `mixed`.

        `mixed` is what the documentation's loop reads: the first status at `content.msg`, all else
        at `content.system.jobs`. Raises ``ValueError`` where it is set to another.
        """
        return self._dialect

    @dialect.setter
    def dialect(self, name: DialectName) -> None:
        if name not in WRITTEN:
            raise ValueError(f"dialect = {name!r}: must be one of {', '.join(DIALECTS)}")
        self._dialect = name

    def set_pace(self, seconds: float) -> None:
        """Let every job that nobody has scripted take that long, in a hundred equal steps."""
        pace = JobScript.steady(seconds)
        for name, script in self.usual_scripts.items():
            self.usual_scripts[name] = replace(
                script, progress=pace.progress, step_seconds=pace.step_seconds
            )

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        with self.lock:
            self.requests.append(request)
            if request.own_answer is not None:
                return request.own_answer
            try:
                return self.route(request)
            except Refusal as refusal:
                return self.error(HTTPStatus(refusal.status), str(refusal))

    def route(self, request: Request) -> Response:
        """Find out what is asked for, and answer."""
        path = request.path
        if path in LOGIN_PATHS:
            return self.log_in(request) if request.method == "POST" else self.not_allowed("POST")
        if not self.is_authorized(request):
            return self.error(HTTPStatus.UNAUTHORIZED, "Unauthenticated: a valid key is required")
        for job_request in JOB_REQUESTS:
            if job_request.pattern.fullmatch(path):
                return self.route_creation(request, job_request)
        if path in AGENT_COMMANDS:
            return self.answer_agent(path) if request.method == "GET" else self.not_allowed("GET")
        paths = {"GET": WRITTEN[self.dialect].status_path, "DELETE": CANCEL_PATH}
        job_ids = {method: each[1] for method in paths if (each := paths[method].fullmatch(path))}
        if request.method in job_ids:
            return self.answer_about_job(request.method, job_ids[request.method])
        if job_ids:
            return self.not_allowed(", ".join(job_ids))
        self.unknown_requests.append(request)
        return self.error(HTTPStatus.NOT_FOUND, "There is no such resource")

    def route_creation(self, request: Request, job_request: JobRequest) -> Response:
        """Answer a request to the path of one that creates jobs."""
        if request.method != job_request.method:
            return self.not_allowed(job_request.method)
        if request.method == "POST":
            request.read_form()
        return self.answer_creation(job_request)

    def is_authorized(self, request: Request) -> bool:
        """Whether the request carries the key; the case of the scheme does not matter."""
        scheme, _, key = request.header("Authorization").partition(" ")
        return (scheme.lower(), key) == ("bearer", self.api_key)

    def log_in(self, request: Request) -> Response:
        """Give out the key for user name and password."""
        form = request.read_form()
        if (form.get("username"), form.get("password")) != (USERNAME, PASSWORD):
            return self.error(HTTPStatus.UNAUTHORIZED, "Authentication failed")
        content = {"api_key": self.api_key, "csrfToken": "fake-csrf-token", "id": 1}
        # Whatever the dialect: the login is shown in this envelope only.
        return self.reply(contents_envelope(content, messages=["Authentication successful"]))

    def answer_creation(self, job_request: JobRequest) -> Response:
        """Create a job and answer with it."""
        job = self.create(job_request.name, self.usual_scripts[job_request.name])
        return self.reply(self.envelope(self.creation_content(self.describe(job))))

    def answer_agent(self, path: str) -> Response:
        """Start, stop or restart the agent, and say so."""
        command = AGENT_COMMANDS[path]
        message = command.when_running if self.agent_running else command.when_stopped
        self.agent_running = command.then_running
        # Whatever the dialect, as for the login: the envelope of `data` has no place for a message.
        return self.reply(contents_envelope(None, messages=[message]))

    def answer_about_job(self, method: str, job_id: str) -> Response:
        """Answer a status request or a cancel for the id as it stands in the path."""
        if not _ID.fullmatch(job_id):
            return self.error(HTTPStatus.BAD_REQUEST, "The job id is not a valid id")
        job = self.find(int(job_id))
        if job is None:
            return self.error(HTTPStatus.NOT_FOUND, "There is no such job")
        return self.answer_status(job) if method == "GET" else self.answer_cancel(job)

    def answer_status(self, job: Job) -> Response:
        """Answer with the state of a job."""
        content = self.content(self.describe(job), first=not job.polls)
        answer = self.reply(self.envelope(content))
        self.poll(job)
        return answer

    def answer_cancel(self, job: Job) -> Response:
        """Cancel a job, or refuse to, and answer with its state."""
        granted = self.cancel(job)
        messages = self.cancel_messages(job, granted=granted)
        return self.reply(self.envelope(self.content(self.describe(job)), messages=messages))

    def cancel_messages(self, job: Job, *, granted: bool) -> list[str]:
        """Return what the answer to a cancel says."""
        if granted:
            return ["The job is being cancelled"]
        if self.state(job) == CANCELLED:
            return ["The job is already cancelled"]
        if self.state(job) == FINISHED:
            return ["The job is already finished"]
        return [job.script.refusal]

    def creation_content(self, described: dict[str, Any]) -> dict[str, Any]:
        """Return what the creation answer carries of a job."""
        return WRITTEN[self.dialect].creation(described)

    def content(self, described: dict[str, Any], *, first: bool = False) -> dict[str, Any]:
        """Return what an answer carries of a job: the first status answer, or another."""
        written = WRITTEN[self.dialect]
        return written.first_status(described) if first else written.job(described)

    def describe(self, job: Job) -> dict[str, Any]:
        """Return all that is told of a job, in the fields of the first dialect."""
        state = self.state(job)
        finished = state == FINISHED
        code, text = 0, "Running"
        tasks: list[Any] = []
        if finished:
            code, text = (-1, "Failed") if job.script.fails else (1, "Completed")
            tasks = list(job.script.tasks) or [f"{text}. {job.script.description} executed"]
        elif state == CANCELLED:
            text = "Cancelled"
        return {
            "jobId": job.id,
            "description": job.script.description,
            "state": int(state) if state in {-1, 0, 1} else state,
            "JobMsg": {"statusCode": code, "statusMessage": text},
            "TasksMsg": tasks,
            "nextStep": list(job.script.next_step) if finished else [],
        }

    def not_allowed(self, allowed: str) -> Response:
        """Answer that the resource does not know the method."""
        return self.error(HTTPStatus.METHOD_NOT_ALLOWED, "The method is not allowed", Allow=allowed)

    def error(self, status: HTTPStatus, message: str, **headers: str) -> Response:
        """Answer with an error envelope."""
        document = self.envelope(None, messages=[message], success=False, code=int(status))
        return self.reply(document, status=int(status), headers={**_JSON, **headers})

    def envelope(
        self, content: Any, *, messages: Sequence[str] = (), success: bool = True, code: int = 0
    ) -> dict[str, Any]:
        """Return the documented envelope around a content."""
        written = WRITTEN[self.dialect]
        return written.envelope(content, messages=messages, success=success, code=code)

    def reply(
        self, document: Any, *, status: int = 200, headers: Mapping[str, str] = _JSON
    ) -> Response:
        """Return a document as an answer."""
        return Response(status=status, headers=headers, body=json.dumps(document).encode())
