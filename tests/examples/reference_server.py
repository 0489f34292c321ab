"""A small job server, written from the vendor's API reference alone, with the standard library.

It knows nothing of this project. `fault` plants one of the mistakes that `FAULTS` names.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS = (
    "the job id is a text",
    "a task is done twice",
    "a cancel is forgotten",
    "a refusal says nothing",
    "a cancel hits the next job, too",
)
TASKS = 12
CREATIONS = {
    "POST": {
        r"project/\d+/migration/\d+/convert": "convert",
        r"project/\d+/import/device": "import",
        r"project/\d+/tools/reduce": "replace",
        r"device/\d+/upload/migration": "upload_device_config",
    },
    "GET": {r"device/\d+/retrieve_content": "retrieve_device_config"},
}
FINAL = {"upload_device_config"}
"""Jobs that cannot be cancelled: a device is written to."""


class Job:
    def __init__(self, job_id: int, kind: str, now: float) -> None:
        self.id = job_id
        self.kind = kind
        self.begun = now
        self.cancelled = False


class Application:
    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        job_seconds: float = 30.0,
        fault: str = "",
    ) -> None:
        self.now = now
        self.job_seconds = job_seconds
        self.fault = fault
        self.key = secrets.token_hex(16)
        self.jobs: dict[int, Job] = {}
        self.lock = threading.Lock()

    def tasks_done(self, job: Job) -> int:
        done = min(int((self.now() - job.begun) / self.job_seconds * TASKS), TASKS)
        if self.fault == "a task is done twice" and job.id % 2 and done == 7:
            return 5
        return done

    def describe(self, job: Job, *, complete: bool) -> dict[str, Any]:
        done = self.tasks_done(job)
        if job.cancelled:
            state, word = -1.0, "cancelled"
        else:
            state, word = done / TASKS, "completed" if done == TASKS else "running"
        told: dict[str, Any] = {
            "id": job.id,
            "description": f"A job: {job.kind}",
            "state": int(state) if state in {-1, 0, 1} else state,
            "status_message": word,
            "type": job.kind,
            "total_tasks": TASKS,
            "task_message": None,
            "next_step": [{"resource": 255}] if word == "completed" else [],
        }
        if complete:
            told["task"] = [{"statusMessage": f"Task {number + 1}"} for number in range(done)]
        return told

    def answer(self, method: str, path: str, query: str, key: str, body: bytes) -> Any:
        """Return the HTTP status, the data or None, and the messages."""
        if (method, path) in {("POST", "login"), ("POST", "generate_api_key")}:
            return self.log_in(body)
        if key != f"Bearer {self.key}":
            return 401, None, ["Unauthenticated"]
        if match := re.fullmatch("agent/(generic/start|1/stop|1/restart)", path):
            if method != "POST":
                return 405, None, ["Method not allowed"]
            return 200, {"id": 1, "type": "generic", "status": "running"}, []
        for pattern, kind in CREATIONS.get(method, {}).items():
            if re.fullmatch(pattern, path):
                return self.create(kind)
        match = re.fullmatch("job/([1-9][0-9]{0,17})", path)
        if match is None or method not in {"GET", "DELETE"}:
            return 404, None, ["Not found"]
        job = self.jobs.get(int(match[1]))
        if job is None:
            return 404, None, ["There is no job of that id"]
        if method == "GET":
            return 200, self.describe(job, complete="complete=true" in query), []
        return self.cancel(job)

    def log_in(self, body: bytes) -> Any:
        try:
            given = json.loads(body)
        except ValueError:
            return 400, None, ["The body must be JSON"]
        if given != {"username": "admin", "password": "paloalto"}:
            return 401, None, ["Authentication failed"]
        return 200, {"api_key": self.key, "csrf_token": "x", "user_id": 1}, []

    def create(self, kind: str) -> Any:
        job = Job(len(self.jobs) + 6421, kind, self.now())
        self.jobs[job.id] = job
        as_text = self.fault == "the job id is a text"
        return 200, {"job_id": str(job.id) if as_text else job.id}, []

    def cancel(self, job: Job) -> Any:
        if job.cancelled or self.tasks_done(job) == TASKS:
            return 400, None, ["The job has ended"]
        if job.kind in FINAL:
            said = self.fault != "a refusal says nothing"
            return 409, None, ["A job that writes to a device cannot be cancelled"] * said
        job.cancelled = self.fault != "a cancel is forgotten"
        if self.fault == "a cancel hits the next job, too" and job.id + 1 in self.jobs:
            self.jobs[job.id + 1].cancelled = True
        return 200, None, []


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, application: Application) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.application = application


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: TCP holds back a second small one for 40 ms
    server: Server

    def handle_any(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = self.headers.get("Authorization", "")
        application = self.server.application
        with application.lock:
            status, data, messages = application.answer(
                self.command, path.removeprefix("/api/v1/"), query, key, body
            )
        document: dict[str, Any] = {
            "success": status < 400,
            "metadata": {},
            "pagination": {},
            "messages": [{"message": each, "code": status} for each in messages],
        }
        if data is not None:
            document["data"] = data
        sent = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = handle_any  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
