"""What a fake Expedition instance answers to a request: routes, keys and envelopes, without HTTP.

By default it speaks the documentation's first dialect, with the state of a job at both
places that the documented client reads: ``content.system.jobs`` and ``content.msg``.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.checked import checked
from pytest_expedition.fake.bodies import Refusal, names_in_multipart
from pytest_expedition.fake.dialects import WRITTEN, DialectName, contents_envelope, date_at
from pytest_expedition.fake.http import ID, JSON_HEADERS, Request, Response
from pytest_expedition.fake.job_requests import CHOICES, JOB_REQUESTS
from pytest_expedition.fake.simulation import CANCELLED, FINISHED, Clock, Job, JobScript, Simulation
from pytest_expedition.fake.workflows import Workflows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_expedition.fake.http import Handled
    from pytest_expedition.fake.job_requests import JobRequest

USERNAME: Final = "admin"
PASSWORD: Final = "paloalto"  # noqa: S105 - the documented one of a new installation
API_KEY: Final = "fake-expedition-key"

LOGIN_PATHS: Final = frozenset({"/api/v1/generate_api_key", "/api/v1/login"})
MAX_JOB_ID: Final = 10**19 - 1
CANCEL_PATH: Final = re.compile("/api/v1/job/([^/]*)")

JOB_FILTERS: Final = ("all", "completed", "cancelled", "pending")
"""The values of `status` that a request for a list of jobs may have."""

JOB_TYPES: Final = tuple(dict.fromkeys(each.job_type for each in JOB_REQUESTS))
AGENT_ID: Final = 1
FIRST_PID: Final = 1000


@dataclass(frozen=True, kw_only=True)
class AgentCommand:
    """A command to the agent: whether it runs afterwards, and the message in either case."""

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
    """Whether a path is about jobs, the agent or the login."""
    return (
        path in LOGIN_PATHS
        or path in AGENT_COMMANDS
        or f"{path}/".startswith("/api/v1/job/")
        or any(each.pattern.fullmatch(path) for each in JOB_REQUESTS)
        or any(pattern.fullmatch(path) for pattern, _ in DATA_ROUTES)
    )


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
        self.workflows = Workflows(self)
        self.unknown_requests: list[Request] = []
        """The requests to paths that the instance does not know."""
        self.journal: list[Handled] = []
        """Each request with its answer, as the server received and sent them."""
        self.by_another_user: list[Handled] = []
        """What another user sent since the last request in the journal."""
        self.usual_scripts = {each.name: each.script for each in JOB_REQUESTS}
        """The scripts of jobs without a script of their own, by the request that creates them."""
        self.lock = threading.RLock()
        self.memory: dict[str, Any] = {}
        """What a broken or odd instance remembers."""

    @property
    def dialect(self) -> DialectName:
        """The dialect that it speaks: `system`, `msg`, `data`, or `mixed`.

        `mixed` is what the documentation's loop reads: the first status at `content.msg`, all else
        at `content.system.jobs`. Raises ``ValueError`` if it is set to another.
        """
        return self._dialect

    @dialect.setter
    @checked
    def dialect(self, dialect: DialectName) -> None:
        self._dialect = dialect

    def script(self, seconds: float) -> JobScript:
        """Return how a job goes that takes that many seconds: in a hundred equal steps."""
        return JobScript.steady(seconds)

    def set_pace(self, seconds: float) -> None:
        """Let every job without a script of its own take ``seconds``."""
        pace = self.script(seconds)
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
        """Answer a request by its path and method."""
        path = request.path
        if path in LOGIN_PATHS:
            return self.log_in(request) if request.method == "POST" else self.not_allowed("POST")
        if not self.is_authorized(request):
            return self.error(HTTPStatus.UNAUTHORIZED, "Unauthenticated: a valid key is required")
        paths = {"GET": WRITTEN[self.dialect].status_path, "DELETE": CANCEL_PATH}
        job_ids = {method: each[1] for method in paths if (each := paths[method].fullmatch(path))}
        if request.method in job_ids:
            return self.answer_about_job(request.method, job_ids[request.method])
        if job_ids:
            return self.not_allowed(", ".join(job_ids))
        for job_request in JOB_REQUESTS:
            if self.dialect in job_request.dialects and job_request.pattern.fullmatch(path):
                return self.route_creation(request, job_request)
        if self.dialect == "data":
            answer = self.route_data(request)
            if answer is not None:
                return answer
        if path in AGENT_COMMANDS:
            return self.answer_agent(path) if request.method == "GET" else self.not_allowed("GET")
        return self.answer_workflow(request) or self.not_found(request)

    def not_found(self, request: Request) -> Response:
        """Answer that there is no such path."""
        self.unknown_requests.append(request)
        return self.error(HTTPStatus.NOT_FOUND, "There is no such resource")

    def answer_workflow(self, request: Request) -> Response | None:
        """Answer a request of a documented workflow that creates no job; ``None`` for others."""
        told = self.workflows.answer(request)
        if told is None:
            return None
        document, status, headers = told
        return self.reply(document, status=status, headers={**JSON_HEADERS, **headers})

    def route_data(self, request: Request) -> Response | None:
        """Answer a request that only the dialect `data` knows; ``None`` for others."""
        for pattern, answers in DATA_ROUTES:
            match = pattern.fullmatch(request.path)
            if match is None:
                continue
            if request.method not in answers:
                return self.not_allowed(", ".join(answers))
            answer: Response = getattr(self, answers[request.method])(request, *match.groups())
            return answer
        return None

    def route_creation(self, request: Request, job_request: JobRequest) -> Response:
        """Answer a request to a path that creates jobs."""
        if request.method != job_request.method:
            answer = self.answer_workflow(request)
            known = answer is not None and answer.status != HTTPStatus.METHOD_NOT_ALLOWED
            return answer if answer and known else self.not_allowed(job_request.method)
        for name in job_request.query:
            request.choice(name, CHOICES[name])
        if request.method == "POST":
            self.check_body(request, job_request)
        return self.answer_creation(job_request)

    def check_body(self, request: Request, job_request: JobRequest) -> None:
        """Raise ``Refusal`` if the body of a request cannot create this job."""
        if request.carries_json and request.body and self.dialect == "data":
            from jsonschema import Draft202012Validator

            document = request.read_json()
            if not Draft202012Validator(job_request.body).is_valid(document):
                raise Refusal(400, "The fields of the body do not have the declared types")
        else:
            request.read_form()
        if job_request.files:
            named = names_in_multipart(request.body, content_type=request.header("Content-Type"))
            for name in job_request.files:
                if name not in named:
                    raise Refusal(400, f"The field {name} is missing in the multipart form")

    def is_authorized(self, request: Request) -> bool:
        """Whether the request carries the key; the case of the scheme does not matter."""
        scheme, _, key = request.header("Authorization").partition(" ")
        return (scheme.lower(), key) == ("bearer", self.api_key)

    def log_in(self, request: Request) -> Response:
        """Answer with the key, if user name and password are right."""
        by_json = request.carries_json and self.dialect == "data"
        given = request.read_json() if by_json else request.read_form()
        named = given if isinstance(given, dict) else {}
        if (named.get("username"), named.get("password")) != (USERNAME, PASSWORD):
            return self.error(HTTPStatus.UNAUTHORIZED, "Authentication failed")
        if by_json:
            key = {"api_key": self.api_key, "csrf_token": "fake-csrf-token", "user_id": 1}
            return self.reply(self.envelope(key))
        content = {"api_key": self.api_key, "csrfToken": "fake-csrf-token", "id": 1}
        # Whatever the dialect: the pages show the login with a form in this envelope only.
        return self.reply(contents_envelope(content, messages=["Authentication successful"]))

    def answer_creation(self, job_request: JobRequest) -> Response:
        """Create a job and answer with it."""
        job = self.create(job_request.name, self.usual_scripts[job_request.name])
        job.path = self.requests[-1].path
        self.workflows.note(job, self.requests[-1])
        # The page on exports reads a message; the envelope of `data` shows none here.
        messages = [] if self.dialect == "data" else ["The job has been created"]
        content = self.creation_content(self.describe(job))
        return self.reply(self.envelope(content, messages=messages))

    def answer_agent(self, path: str) -> Response:
        """Start, stop or restart the agent, and answer that this was done."""
        command = AGENT_COMMANDS[path]
        message = command.when_running if self.agent_running else command.when_stopped
        self.agent_running = command.then_running
        # Whatever the dialect, as for the login: the page shows this envelope.
        return self.reply(contents_envelope(None, messages=[message]))

    def answer_about_job(self, method: str, job_id: str) -> Response:
        """Answer a status request or a cancel for the id as it stands in the path."""
        if not ID.fullmatch(job_id):
            return self.error(HTTPStatus.BAD_REQUEST, "The job id is not a valid id")
        job = self.find(int(job_id))
        if job is None:
            return self.error(HTTPStatus.NOT_FOUND, "There is no such job")
        return self.answer_status(job) if method == "GET" else self.answer_cancel(job)

    def answer_status(self, job: Job) -> Response:
        """Answer with the state of a job."""
        content = self.content(self.describe(job), first=not job.polls)
        if self.dialect == "data":
            content = self.with_what_data_tells(job, content)
        answer = self.reply(self.envelope(content))
        self.poll(job)
        return answer

    def answer_cancel(self, job: Job) -> Response:
        """Cancel a job, or refuse to; answer with its state, except in `data`."""
        return self.cancel_answer(job, granted=self.cancel(job))

    def cancel_answer(self, job: Job, *, granted: bool) -> Response:
        """Return the answer to a cancel that was granted or refused."""
        messages = self.cancel_messages(job, granted=granted)
        content = None if self.dialect == "data" else self.content(self.describe(job))
        return self.reply(self.envelope(content, messages=messages))

    # What only the dialect `data` has

    def with_what_data_tells(self, job: Job, content: dict[str, Any]) -> dict[str, Any]:
        """Add to a job the fields that only the dialect `data` has.

        Its tasks are added only if the request says `complete=true`.
        """
        complete = self.requests[-1].choice("complete", ("true", "false", "1", "0"), "false")
        if complete not in {"true", "1"}:
            content = {name: value for name, value in content.items() if name != "task"}
        kind, number = _resource(job)
        begun = self.age(job) > 0
        job_request = next((each for each in JOB_REQUESTS if each.name == job.request), None)
        return {
            "type": job_request.job_type if job_request else job.request,
            "resource": number,
            "resource_type": kind,
            "total_tasks": max(len(job.script.progress) - 1, 1),
            "created_at": date_at(job.created),
            "updated_at": date_at(self.clock.now()),
            "pid": FIRST_PID + job.id if begun else None,
            "consumed_memory": "1.5" if begun else "0",
            "consumed_cpu": "12" if begun else "0",
            **content,
        }

    def answer_list(self, request: Request) -> Response:
        """Answer with one page of the jobs, filtered by status and type."""
        status = request.choice("status", JOB_FILTERS, "pending")
        kind = request.choice("type", JOB_TYPES, "")
        page, limit = request.number("page", 1), request.number("limit", 25)
        listed = [job for job in self.jobs.values() if self.is_listed(job, status)]
        told = [self.tell_in_list(job) for job in listed]
        found = [each for each in told if kind in {"", each["type"]}]
        shown = found[(page - 1) * limit : page * limit]
        document = self.envelope({"job": shown})
        document["pagination"] = {
            "total": len(found),
            "current_page": page,
            "per_page": limit,
            "total_pages": max(-(-len(found) // limit), 1),
        }
        return self.reply(document)

    def tell_in_list(self, job: Job) -> dict[str, Any]:
        """Return the fields of a job in a list, or in the answer for a project or a device."""
        return self.with_what_data_tells(job, self.content(self.describe(job)))

    def is_listed(self, job: Job, status: str) -> bool:
        """Whether a job is in the list of a status; jobs that failed are in that of `completed`."""
        if status == "all":
            return True
        if self.state(job) == CANCELLED:
            return status == "cancelled"
        return status == ("completed" if self.has_ended(job) else "pending")

    def answer_job_of(self, _request: Request, kind: str, number: str) -> Response:
        """Answer with the last job of a project or a device."""
        for job in reversed(self.jobs.values()):
            if _resource(job) == (kind, int(number)):
                return self.reply(self.envelope(self.tell_in_list(job)))
        return self.error(HTTPStatus.NOT_FOUND, f"There is no job of this {kind}")

    def answer_cancel_all(self, _request: Request) -> Response:
        """Cancel every job that can be cancelled."""
        for job in self.jobs.values():
            self.cancel(job)
        return self.reply(self.envelope(None, messages=["All pending jobs are being cancelled"]))

    def answer_agents(self, _request: Request) -> Response:
        """Answer with the state of all agents; there is one."""
        return self.reply(self.envelope({"agent": [self.describe_agent()]}))

    def answer_agent_order(self, _request: Request, command: str) -> Response:
        """Start, stop or restart the agent, and answer with its state."""
        self.answer_agent(f"/api/v1/agent/{command}")
        return self.reply(self.envelope(self.describe_agent()))

    def answer_agent_order_by_id(self, request: Request, number: str, command: str) -> Response:
        """Stop or restart the agent with that id."""
        if int(number) != AGENT_ID:
            return self.error(HTTPStatus.NOT_FOUND, "There is no such agent")
        return self.answer_agent_order(request, command)

    def describe_agent(self) -> dict[str, Any]:
        """Return the fields of the agent in the dialect `data`."""
        running = [job for job in self.jobs.values() if not self.has_ended(job)]
        busy = running[0] if running and self.agent_running else None
        agent: dict[str, Any] = {
            "id": AGENT_ID,
            "type": "generic",
            "status": "stopped" if not self.agent_running else "running" if busy else "idle",
            "agent_started": date_at(0),
            "killable": True,
            "cpu": 12 if busy else 0,
        }
        if busy is not None:
            began = date_at(busy.created)
            agent.update(last_run=began, current_run=began, job=busy.request)
            agent["job_description"] = busy.script.description
        return agent

    def cancel_messages(self, job: Job, *, granted: bool) -> list[str]:
        """Return the messages of the answer to a cancel."""
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
        """Return what a status answer, the first one or a later one, carries of a job."""
        written = WRITTEN[self.dialect]
        return written.first_status(described) if first else written.job(described)

    def describe(self, job: Job) -> dict[str, Any]:
        """Return all fields of a job, as the dialect `system` names them."""
        state = self.state(job)
        failed = self.has_failed(job)
        code, text = 0, "Running"
        tasks: list[Any] = []
        if state == FINISHED or failed:
            code, text = (-1, "Failed") if failed else (1, "Completed")
            tasks = list(job.script.tasks) or [f"{text}. {job.script.description} executed"]
        elif state == CANCELLED:
            text = "Cancelled"
        return {
            "jobId": job.id,
            "description": job.script.description,
            "state": int(state) if state in {-1, 0, 1} else state,
            "JobMsg": {"statusCode": code, "statusMessage": text},
            "TasksMsg": tasks,
            "nextStep": list(job.script.next_step) if state == FINISHED else [],
        }

    def not_allowed(self, allowed: str) -> Response:
        """Answer that the path does not allow the method."""
        return self.error(HTTPStatus.METHOD_NOT_ALLOWED, "The method is not allowed", Allow=allowed)

    def error(self, status: HTTPStatus, message: str, **headers: str) -> Response:
        """Answer with an error envelope."""
        document = self.envelope(None, messages=[message], success=False, code=int(status))
        return self.reply(document, status=int(status), headers={**JSON_HEADERS, **headers})

    def envelope(
        self, content: Any, *, messages: Sequence[str] = (), success: bool = True, code: int = 0
    ) -> dict[str, Any]:
        """Return the documented envelope around a content."""
        written = WRITTEN[self.dialect]
        return written.envelope(content, messages=messages, success=success, code=code)

    def reply(
        self, document: Any, *, status: int = 200, headers: Mapping[str, str] = JSON_HEADERS
    ) -> Response:
        """Return a document as an answer."""
        return Response(status=status, headers=headers, body=json.dumps(document).encode())


def _resource(job: Job) -> tuple[str, int]:
    """What a job works on, by the path of the request that created it: `project/22` and so on."""
    match = re.search("/(project|device)s?/([0-9]+)/", job.path)
    return (match[1], int(match[2])) if match else ("project", 1)


DATA_ROUTES: Final[tuple[tuple[re.Pattern[str], dict[str, str]], ...]] = tuple(
    (re.compile("/api/v1/" + path), answers)
    for path, answers in (
        ("job", {"GET": "answer_list", "DELETE": "answer_cancel_all"}),
        ("(project|device)/([0-9]{1,18})/job", {"GET": "answer_job_of"}),
        ("agent", {"GET": "answer_agents"}),
        ("agent/generic", {"GET": "answer_agents"}),
        ("agent/generic/(start)", {"POST": "answer_agent_order"}),
        ("agent/([0-9]{1,18})/(stop|restart)", {"POST": "answer_agent_order_by_id"}),
    )
)
"""The paths that only the dialect `data` has, and the function that answers each method."""


def docstring_of(server: type[Instance]) -> str:
    """Return the docstring of a server, which tells its defect or quirk."""
    return server.__doc__ or "(not shown: Python runs with -OO, which removes docstrings)"
