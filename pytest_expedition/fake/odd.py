"""Odd but honest servers: each does something unusual that the documentation allows.

They prove that the oracle does not accuse a server that breaks no promise.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl

from pytest_expedition.fake import readings
from pytest_expedition.fake.dialects import DIALECTS
from pytest_expedition.fake.http import Response
from pytest_expedition.fake.instance import Instance, docstring_of
from pytest_expedition.fake.simulation import CANCELLED, FINISHED, JobScript

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.http import Request
    from pytest_expedition.fake.job_requests import JobRequest
    from pytest_expedition.fake.simulation import Job


@dataclass(frozen=True, kw_only=True)
class OddServer:
    """An odd but honest server: how to make it, its quirk, and the SHOULDs that it may fail.

    ``dialects`` are those in which the quirk can show.
    """

    name: str
    make: Callable[[], Instance]
    quirk: str
    may_fail: tuple[str, ...]
    dialects: tuple[DialectName, ...]


ODD: Final[dict[str, OddServer]] = {}
"""Every odd server, by its name."""

_Server = TypeVar("_Server", bound=type[Instance])


def odd(
    name: str, *may_fail: str, dialects: tuple[DialectName, ...] = DIALECTS
) -> Callable[[_Server], _Server]:
    """Declare an odd server: its name, the SHOULDs that it may fail, and where its quirk shows."""

    def declare(server: _Server) -> _Server:
        assert name not in ODD
        ODD[name] = OddServer(
            name=name, make=server, quirk=docstring_of(server), may_fail=may_fail, dialects=dialects
        )
        return server

    return declare


@odd("plain")
class Plain(Instance):
    """Nothing is odd: the honest instance itself."""


@odd("finished-at-creation")
class FinishedAtCreation(Instance):
    """Every job is already finished when the answer to its creation arrives."""

    def script(self, seconds: float) -> JobScript:  # noqa: ARG002
        return JobScript(progress=(1,))


@odd("some-finished-at-creation")
class SomeFinishedAtCreation(Instance):
    """Every third job is already finished when the answer to its creation arrives."""

    def state(self, job: Job) -> float:
        return FINISHED if job.id % 3 == 0 else super().state(job)


@odd("plateaus-and-jumps")
class PlateausAndJumps(Instance):
    """Progress stands still for long, and jumps."""

    def script(self, seconds: float) -> JobScript:
        return JobScript(progress=(0, 0, 0.3, 0.3, 0.3, 0.95, 0.95, 1), step_seconds=seconds / 7)


@odd("all-or-nothing")
class AllOrNothing(Instance):
    """Progress is 0 until it is 1."""

    def script(self, seconds: float) -> JobScript:
        return JobScript(progress=(0, 1), step_seconds=seconds)


@odd("last-hundredth-takes-longest")
class LastHundredthTakesLongest(Instance):
    """A job is at 0.99 soon, and stays there for most of its life."""

    def script(self, seconds: float) -> JobScript:
        return JobScript(progress=(0, 0.5, *[0.99] * 8, 1), step_seconds=seconds / 10)


@odd("many-digits")
class ManyDigits(Instance):
    """Progress has all the digits that a floating-point number can have."""

    def script(self, seconds: float) -> JobScript:
        progress = [sum([0.1] * tenths) for tenths in range(10)]
        return JobScript(progress=(*progress, 1), step_seconds=seconds / 10)


@odd("cancel-takes-a-moment", "cancel.immediate")
class CancelTakesAMoment(Instance):
    """A cancel is answered with the progress; -1 shows two seconds later."""

    def cancel(self, job: Job) -> bool:
        job.script = replace(job.script, cancel_seconds=2.0)
        return super().cancel(job)


@odd("cancel-loses-the-race")
class CancelLosesTheRace(Instance):
    """A job that is cancelled beyond two thirds finishes at once instead."""

    def cancel(self, job: Job) -> bool:
        job.cancel_requests += 1
        if job.script.cancellable and 2 / 3 < self.state(job) < FINISHED:
            job.polled_seconds += job.script.seconds_to_finish
            return False
        return super().cancel(job)


@odd("refuses-the-ended-with-conflict")
class RefusesTheEndedWithConflict(Instance):
    """Cancelling a job that has ended is answered with 409 and an error envelope."""

    def answer_cancel(self, job: Job) -> Response:
        if self.state(job) in {CANCELLED, FINISHED}:
            return self.error(HTTPStatus.CONFLICT, "The job has ended")
        return super().answer_cancel(job)


@odd("refuses-with-conflict")
class RefusesWithConflict(Instance):
    """A refused cancel is answered with 409 and no success, with the state and a message."""

    def answer_cancel(self, job: Job) -> Response:
        if self.cancel(job) or self.state(job) in {CANCELLED, FINISHED}:
            return self.reply(self.envelope(self.content(self.describe(job))))
        messages = self.cancel_messages(job, granted=False)
        content = self.content(self.describe(job))
        document = self.envelope(content, messages=messages, success=False)
        return self.reply(document, status=409)


@odd("refuses-in-the-tasks")
class RefusesInTheTasks(Instance):
    """The message of a refused cancel stands among the messages of the tasks, in Greek."""

    refusal = "Η εργασία δεν ακυρώνεται"  # noqa: RUF001

    def answer_cancel(self, job: Job) -> Response:
        granted = self.cancel(job)
        described = self.describe(job)
        if not granted and 0 <= described["state"] < FINISHED:
            described["TasksMsg"] = [self.refusal]
        return self.reply(self.envelope(self.content(described)))


@odd("extra-fields")
class ExtraFields(Instance):
    """Every object carries fields that are not documented."""

    def describe(self, job: Job) -> dict[str, Any]:
        extra = {"percent": 7, "state_text": None, "job": {"state": 3}}
        return {**super().describe(job), **extra, "polls": job.polls}

    def reply(self, document: Any, **options: Any) -> Response:
        return super().reply({**document, "version": "2.0.5", "data-version": []}, **options)


@odd("empty-lists-for-objects")
class EmptyListsForObjects(Instance):
    """Empty objects are written as empty lists, as PHP does."""

    def reply(self, document: Any, **options: Any) -> Response:
        return super().reply(self._as_php(document), **options)

    def _as_php(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._as_php(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            name: [] if name == "details" else self._as_php(item) for name, item in value.items()
        } or []


@odd("tasks-as-objects")
class TasksAsObjects(Instance):
    """Tasks are objects with codes, not texts."""

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        described["TasksMsg"] = [
            {"statusCode": 1, "statusMessage": text, "resultCode": 0}
            for text in described["TasksMsg"]
        ]
        return described


@odd("under-msg-now-and-then")
class UnderMsgNowAndThen(Instance):
    """In the dialect `system`, every second answer has the job at `msg` instead."""

    def content(self, described: dict[str, Any], *, first: bool = False) -> dict[str, Any]:
        content = super().content(described, first=first)
        self.memory["at_msg"] = not self.memory.get("at_msg")
        return {"msg": described} if self.memory["at_msg"] and "system" in content else content


@odd("only-what-is-needed")
class OnlyWhatIsNeeded(Instance):
    """A status carries the state of a job and nothing else; a list carries its id, too."""

    def content(self, described: dict[str, Any], *, first: bool = False) -> dict[str, Any]:
        return super().content({"state": described["state"]}, first=first)

    def tell_in_list(self, job: Job) -> dict[str, Any]:
        return {"id": job.id, **super().tell_in_list(job)}


@odd("every-number-with-fraction", "status.wire-number")
class EveryNumberWithFraction(Instance):
    """Every state is spelled with a fraction: 0.0, 1.0, -1.0."""

    def describe(self, job: Job) -> dict[str, Any]:
        described = super().describe(job)
        return {**described, "state": float(described["state"])}


@odd("moves-when-polled")
class MovesWhenPolled(Instance):
    """Progress only moves when the job is polled."""

    def age(self, job: Job) -> float:
        return job.polled_seconds

    def poll(self, job: Job) -> None:
        job.polls += 1
        if self.agent_running:
            job.polled_seconds += job.script.seconds_to_finish / 12


@odd("one-job-at-a-time")
class OneJobAtATime(Instance):
    """The agent runs one job at a time; the others wait at 0."""

    def age(self, job: Job) -> float:
        """Return the time since the jobs before this one had ended."""
        free = 0.0
        for other in self.jobs.values():
            begun = max(free, other.begun)
            if other is job:
                return max(0.0, self.agent_time() - begun)
            free = begun + min(other.script.seconds_to_finish, self._given_up(other))
        raise KeyError(job.id)

    @staticmethod
    def _given_up(job: Job) -> float:
        return float("inf") if job.cancelled_after is None else job.cancelled_after

    def set_pace(self, seconds: float) -> None:
        super().set_pace(seconds / 4)  # four may have to wait for one another


@odd("refuses-a-second-job")
class RefusesASecondJob(Instance):
    """A creation while another job runs is refused: 409 and an error envelope."""

    def answer_creation(self, job_request: JobRequest) -> Response:
        if any(0 <= self.state(job) < FINISHED for job in self.jobs.values()):
            return self.error(HTTPStatus.CONFLICT, "Another job is in progress")
        return super().answer_creation(job_request)

    def set_pace(self, seconds: float) -> None:
        super().set_pace(seconds / 4)  # four may have to wait for one another


@odd("nothing-can-be-cancelled")
class NothingCanBeCancelled(Instance):
    """No job can be cancelled, whatever request created it."""

    def create(self, request: str, script: JobScript) -> Job:
        return super().create(request, replace(script, cancellable=False))


@odd("every-job-fails")
class EveryJobFails(Instance):
    """Every job ends in failure: state 1 and job status code -1."""

    def create(self, request: str, script: JobScript) -> Job:
        return super().create(request, replace(script, fails=True))


@odd("ids-jump")
class IdsJump(Instance):
    """Ids jump, backwards too, and lie beyond 32 bits."""

    def new_id(self) -> int:
        number = super().new_id()
        return 9_000_000_000 - number * 37 % 1009 * 1_000_003


@odd("finished-are-forgotten", "result.stable")
class FinishedAreForgotten(Instance):
    """A finished job is gone twenty seconds after its end."""

    def find(self, job_id: int) -> Job | None:
        job = super().find(job_id)
        if job is None or self.state(job) != FINISHED:
            return job
        return None if self.age(job) > job.script.seconds_to_finish + 20 else job


@odd("unavailable-now-and-then")
class UnavailableNowAndThen(Instance):
    """Every ninth status request meets a gateway that answers 503."""

    def handle(self, request: Request) -> Response:
        answer = super().handle(request)
        asks = request.method == "GET" and request.path.startswith("/api/v1/job/")
        if len(self.requests) % 9 or not asks:
            return answer
        return replace(answer, status=503, headers={"Retry-After": "1"}, body=b"<h1>Later</h1>")


_GATEWAY_ANSWERS: Final = (
    (520, {"Content-Type": "text/html"}, b"<h1>Error 520</h1>"),
    (404, {"Content-Type": "text/plain"}, b"404 page not found"),
    (403, {"Content-Type": "text/html"}, b"<h1>Request blocked</h1>"),
    (500, {"Content-Type": "text/html"}, b"<h1>500 Internal Server Error</h1><hr>nginx"),
    (302, {"Location": "/portal/login"}, b""),
    (404, {"Content-Type": "application/json"}, b'{"message": "no Route matched"}'),
    (503, {"Content-Type": "application/json"}, b'{"error": {"code": 503}}'),
    (429, {"Content-Type": "application/json"}, b'{"message": "Too Many Attempts."}'),
)


@odd("behind-gateways")
class BehindGateways(Instance):
    """Every seventh request is answered by a gateway, each time by a different one."""

    def handle(self, request: Request) -> Response:
        self.memory["came"] = came = self.memory.get("came", 0) + 1
        if came % 7:
            return super().handle(request)
        status, headers, body = _GATEWAY_ANSWERS[came // 7 % len(_GATEWAY_ANSWERS)]
        self.requests.append(request)
        return Response(status=status, headers=headers, body=body)


@odd("throttled")
class Throttled(Instance):
    """Requests beyond thirty a minute are refused with 429 and the seconds to wait."""

    def handle(self, request: Request) -> Response:
        now = self.clock.now()
        if now >= self.memory.get("until", 0.0):
            self.memory.update(until=now + 60, came=0)
        self.memory["came"] += 1
        if self.memory["came"] <= 30:
            return super().handle(request)
        self.requests.append(request)
        seconds = {"Retry-After": str(math.ceil(self.memory["until"] - now))}
        return self.reply({"message": "Too Many Attempts."}, status=429, headers=seconds)


@odd("refuses-as-laravel-does")
class RefusesAsLaravelDoes(Instance):
    """Refused requests are answered with a JSON message alone, without the envelope."""

    def error(self, status: HTTPStatus, message: str, **headers: str) -> Response:
        return self.reply({"message": message}, status=int(status), headers=headers)


@odd("slow-answers")
class SlowAnswers(Instance):
    """Answers take some milliseconds, some longer than others."""

    def handle(self, request: Request) -> Response:
        time.sleep(len(self.requests) % 3 / 2000)
        answer = super().handle(request)
        time.sleep(len(self.requests) % 4 / 2000)
        return answer


@odd("closes-each-time")
class ClosesEachTime(Instance):
    """The connection is closed after each answer."""

    def handle(self, request: Request) -> Response:
        answer = super().handle(request)
        return replace(answer, headers={**answer.headers, "Connection": "close"})


@odd("speaks-http10")
class SpeaksHttp10(Instance):
    """The server speaks HTTP/1.0."""

    http_version = "HTTP/1.0"


@odd("answers-in-chunks")
class AnswersInChunks(Instance):
    """Answers come in chunks, without the header Content-Length."""

    def handle(self, request: Request) -> Response:
        answer = super().handle(request)
        return replace(answer, headers={**answer.headers, "Transfer-Encoding": "chunked"})


@odd("answers-in-gzip")
class AnswersInGzip(Instance):
    """Answers are compressed."""

    def handle(self, request: Request) -> Response:
        answer = super().handle(request)
        headers = {**answer.headers, "Content-Encoding": "gzip"}
        return replace(answer, headers=headers, body=gzip.compress(answer.body))


@odd("pretty-printed")
class PrettyPrinted(Instance):
    """JSON is indented, its keys are sorted, its text is UTF-8, its type is text/html."""

    def reply(self, document: Any, *, status: int = 200, headers: Any = None) -> Response:
        answer = super().reply(document, status=status)
        text = json.dumps(json.loads(answer.body), indent=4, sort_keys=True, ensure_ascii=False)
        return replace(
            answer, headers={**(headers or {}), "Content-Type": "text/html"}, body=text.encode()
        )


@odd("minefield")
class Minefield(Instance):
    """Other users have jobs: once a request could have harmed one, every answer is a 500."""

    def __init__(self) -> None:
        super().__init__()
        self.others: set[int] = set()
        """The ids of pending jobs of others: one follows each of ours."""
        self.harm: list[str] = []
        """The harm that any reading of a request has done to others."""

    def new_id(self) -> int:
        own = super().new_id()
        self.others.add(super().new_id())
        return own

    def handle(self, request: Request) -> Response:
        with self.lock:
            self.harm += self.harm_of(request.method, request.path)
        answer = super().handle(request)
        if self.harm:
            return self.error(HTTPStatus.INTERNAL_SERVER_ERROR, f"Done: {self.harm[0]}")
        return answer

    def harm_of(self, method: str, path: str) -> list[str]:
        """Return the harm that any reading of a request does to jobs of others or to the agent."""
        done = []
        for read in readings.paths(path):
            if re.fullmatch("/api/v1/agent/(.*/)?(stop|restart)", read) and read != path:
                done.append(f"{method} {path}: the agent is stopped")
            about = re.fullmatch("/api/v1/job(?:/([^/]*))?/?", read)
            if method != "DELETE" or about is None:
                continue
            meant = readings.ids(about[1] or "")
            if None in meant:
                done.append(f"{method} {path}: all pending jobs are deleted")
            done += [f"{method} {path}: job {each} is deleted" for each in meant & self.others]
        return done


class _AnswersCancelsInData(Instance):
    """An instance that answers cancels in its own way in the dialect `data`."""

    def told_by_cancel(self, job: Job) -> dict[str, Any]:
        """Return what the answer to a cancel has besides the envelope."""
        raise NotImplementedError

    def answer_cancel(self, job: Job) -> Response:
        if self.dialect != "data":
            return super().answer_cancel(job)
        answer = super().answer_cancel(job)
        return self.reply({**json.loads(answer.body), **self.told_by_cancel(job)})


@odd("cancel-tells-null", dialects=("data",))
class CancelTellsNull(_AnswersCancelsInData):
    """In the dialect `data` the answer to a cancel has null at `data`."""

    def told_by_cancel(self, job: Job) -> dict[str, Any]:  # noqa: ARG002
        return {"data": None}


@odd("cancel-tells-an-empty-list", dialects=("data",))
class CancelTellsAnEmptyList(_AnswersCancelsInData):
    """In the dialect `data` the answer to a cancel has an empty list at `data`."""

    def told_by_cancel(self, job: Job) -> dict[str, Any]:  # noqa: ARG002
        return {"data": []}


@odd("cancel-tells-the-job", dialects=("data",))
class CancelTellsTheJob(_AnswersCancelsInData):
    """In the dialect `data` the answer to a cancel has the job at `data`, as a status does."""

    def told_by_cancel(self, job: Job) -> dict[str, Any]:
        return {"data": self.with_what_data_tells(job, self.content(self.describe(job)))}


@odd("cancel-says-success-alone", dialects=("data",))
class CancelSaysSuccessAlone(Instance):
    """In the dialect `data` a granted cancel is answered with `success` and nothing else."""

    def answer_cancel(self, job: Job) -> Response:
        if self.dialect != "data" or not job.script.cancellable:
            return super().answer_cancel(job)
        self.cancel(job)
        return self.reply({"success": True})


class _RefusesWith(Instance):
    """An instance that refuses a cancel with an HTTP status in the dialect `data`."""

    status: HTTPStatus

    def answer_cancel(self, job: Job) -> Response:
        if self.dialect != "data" or job.script.cancellable or self.has_ended(job):
            return super().answer_cancel(job)
        self.cancel(job)
        return self.error(self.status, job.script.refusal)


@odd("refuses-with-conflict-alone", dialects=("data",))
class RefusesWithConflictAlone(_RefusesWith):
    """In the dialect `data` a refused cancel is answered with 409 and a message."""

    status = HTTPStatus.CONFLICT


@odd("refuses-with-bad-request", dialects=("data",))
class RefusesWithBadRequest(_RefusesWith):
    """In the dialect `data` a refused cancel is answered with 400 and a message."""

    status = HTTPStatus.BAD_REQUEST


@odd("job-id-in-the-status-too", dialects=("data",))
class JobIdInTheStatusToo(Instance):
    """In the dialect `data` a status names the job by `job_id`, as the creation does."""

    def with_what_data_tells(self, job: Job, content: dict[str, Any]) -> dict[str, Any]:
        told = super().with_what_data_tells(job, content)
        return {"job_id": told.pop("id", job.id), **told}


@odd("names-no-job", dialects=("data",))
class NamesNoJob(Instance):
    """In the dialect `data` a status carries the state alone, without any id."""

    def with_what_data_tells(self, job: Job, content: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        return {"state": content["state"]}


@odd("nulls-for-what-is-unknown", dialects=("data",))
class NullsForWhatIsUnknown(Instance):
    """In the dialect `data` unknown fields of a job are null, and its times are missing."""

    def with_what_data_tells(self, job: Job, content: dict[str, Any]) -> dict[str, Any]:
        told = super().with_what_data_tells(job, content)
        names = ("type", "resource", "resource_type", "total_tasks", "pid", "consumed_memory")
        told.update(dict.fromkeys(names))
        return {name: each for name, each in told.items() if not name.endswith("_at")}


@odd("thirds-as-progress")
class ThirdsAsProgress(Instance):
    """A job has three tasks; its state is the share of completed tasks."""

    def script(self, seconds: float) -> JobScript:
        return JobScript(progress=(0, 1 / 3, 2 / 3, 1), step_seconds=seconds / 3)


@odd("fails-on-the-way", dialects=("data",))
class FailsOnTheWay(Instance):
    """In the dialect `data` every second job fails at two thirds, and its state stays there."""

    def create(self, request: str, script: JobScript) -> Job:
        job = super().create(request, script)
        if job.id % 2 == 0 and self.dialect == "data":
            progress = [state for state in job.script.progress if state <= 2 / 3]
            job.script = replace(job.script, progress=progress, fails=True)
        return job


@odd("lists-two-at-a-time", dialects=("data",))
class ListsTwoAtATime(Instance):
    """In the dialect `data` a page of a list has two jobs, whatever limit was asked for."""

    def answer_list(self, request: Request) -> Response:
        query = re.sub("limit=[0-9]*", "limit=2", request.query)
        return super().answer_list(replace(request, query=query))


@odd("lists-what-is-needed", dialects=("data",))
class ListsWhatIsNeeded(Instance):
    """In the dialect `data` a list carries the ids and types of jobs, but no states."""

    def tell_in_list(self, job: Job) -> dict[str, Any]:
        told = super().tell_in_list(job)
        return {"id": job.id, "type": told["type"]}


class _ChangesList(Instance):
    """An instance that changes the list of jobs."""

    def change(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the jobs to be shown."""
        raise NotImplementedError

    def answer_list(self, request: Request) -> Response:
        document = json.loads(super().answer_list(request).body)
        document["data"]["job"] = jobs = self.change(document["data"]["job"])
        document["pagination"]["total"] = len(jobs)
        return self.reply(document)


@odd("lists-in-no-order", dialects=("data",))
class ListsInNoOrder(_ChangesList):
    """In the dialect `data` the jobs of a list are in no apparent order."""

    def change(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(jobs, key=lambda job: hash((job["state"], job["id"] * 7919 % 101)))


@odd("lists-the-latest-two", dialects=("data",))
class ListsTheLatestTwo(_ChangesList):
    """In the dialect `data` a list has only the latest two jobs."""

    def change(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return jobs[-2:]


@odd("lists-jobs-of-others", dialects=("data",))
class ListsJobsOfOthers(_ChangesList):
    """In the dialect `data` a list has jobs of others too, running, ended and failed."""

    def change(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        status = dict(parse_qsl(self.requests[-1].query)).get("status")
        others = [
            {"id": 11, "state": 0, "status_message": "pending"},
            {"id": 12, "state": 1, "status_message": "completed"},
            {"id": 13, "state": -1, "status_message": "cancelled"},
            {"id": 14, "state": 2 / 3, "status_message": "failed"},
        ]
        fitting = [each for each in others if status in {"all", each["status_message"]}]
        return [*fitting, *jobs]


@odd("has-no-lists", dialects=("data",))
class HasNoLists(Instance):
    """In the dialect `data` there is no list of jobs, and no job of a project or device."""

    def answer_list(self, request: Request) -> Response:
        return self.not_found(request)

    def answer_job_of(self, request: Request, kind: str, number: str) -> Response:  # noqa: ARG002
        return self.reply({**self.envelope(None), "data": []})


@odd("pending-are-those-not-begun", dialects=("data",))
class PendingAreThoseNotBegun(Instance):
    """In the dialect `data` the list of pending jobs has only jobs that have not begun."""

    def is_listed(self, job: Job, status: str) -> bool:
        begun = status == "pending" and self.state(job) > 0
        return super().is_listed(job, status) and not begun
