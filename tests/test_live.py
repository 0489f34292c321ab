"""Runs against live instances: limits, own jobs and those of others, keys that expire."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import date
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from documents import document_of, slipping_back
from histories import error
from pytest_httpserver import HTTPServer
from test_executor import run
from test_readme import rows
from test_situations import covering

from pytest_expedition import (
    ExpeditionServer,
    JobRecipe,
    JobScript,
    Limits,
    Target,
    Waiver,
    validate,
)
from pytest_expedition.fake import instance
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.http import Response
from pytest_expedition.fake.instance import Instance
from pytest_expedition.oracle.rules import judge
from pytest_expedition.report.document import assemble, run_entry
from pytest_expedition.report.messages import left_behind, reason
from pytest_expedition.report.text import verdict_lines
from pytest_expedition.suite.client import Client, Leftovers
from pytest_expedition.suite.dry_run import preview
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.errors import LimitReachedError, TargetUnusableError
from pytest_expedition.suite.plan import Act, JobPlan, Plan
from pytest_expedition.suite.profile import RANDOM_PLANS
from pytest_expedition.suite.run import Progress, RunEndedEarly, run_contract, run_share
from pytest_expedition.suite.search import SPARE_SECONDS
from pytest_expedition.suite.share import merge
from pytest_expedition.suite.target_file import load
from pytest_expedition.suite.transport import TIMED_OUT, Reply, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_expedition.fake.http import Request
    from pytest_expedition.fake.simulation import Job
    from pytest_expedition.oracle.history import Exchange, History
    from pytest_expedition.suite.profile import ProfileName

IMPORT = JobRecipe(name="import", path="/api/v1/project/1/import", cancellable=True)
EXPORT = JobRecipe(name="export", path="/api/v1/projects/1/export", cancellable=False)
BY_NAME = {"api_key": "", "username": "admin", "password": "paloalto"}


class WaitingClock:
    """A virtual clock that says that it takes real time."""

    waits = True

    def __init__(self, advance: Callable[[float], None]) -> None:
        self._advance = advance
        self._now = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            self._now += 0.0001
            return self._now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds
        self._advance(seconds)


class Watched(Instance):
    """Knows how many jobs ran at the same time at the most."""

    def handle(self, request: Request) -> Response:
        answer = super().handle(request)
        running = sum(0 <= self.state(job) < 1 for job in self.jobs.values())
        self.memory["most"] = max(self.memory.get("most", 0), running)
        return answer


class Loses(Watched):
    """Loses the answers to some creations: a gateway gives up."""

    def answer_creation(self, job_request: Any) -> Response:
        answer = super().answer_creation(job_request)
        return Response(status=504, body=b"<h1>Late</h1>") if len(self.jobs) % 2 else answer


class Silent(Watched):
    """Does not answer about every second job."""

    def answer_status(self, job: Job) -> Response:
        if job.id % 2:
            return Response(status=502, body=b"<h1>Late</h1>")
        return super().answer_status(job)


class Expiring(Instance):
    """Gives out a new key at each login; each key is good for some requests."""

    def log_in(self, request: Request) -> Response:
        self.memory["left"] = self.memory.get("good for", 9)
        self.memory["logins"] = self.memory.get("logins", 0) + 1
        self.api_key = f"secret-key-{self.memory['logins']}"
        return super().log_in(request)

    def is_authorized(self, request: Request) -> bool:
        if not super().is_authorized(request):
            return False
        self.memory["left"] -= 1
        return bool(self.memory["left"] > 0)


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[ExpeditionServer, Target]]]:
    servers = []

    def start(
        make: Callable[[], Instance] = Instance, *, seconds: float = 10.0, **changes: Any
    ) -> tuple[ExpeditionServer, Target]:
        server = ExpeditionServer(make)
        server.instance.set_pace(seconds)
        server.start()
        servers.append(server)
        limits = {"poll_seconds": 0.5, "job_seconds": 4 * seconds, **changes.pop("limits", {})}
        target = {
            "url": server.url,
            "api_key": server.api_key,
            "jobs": (IMPORT, EXPORT),
            "clock": WaitingClock(server.advance),
            "limits": Limits(**limits),
        }
        return server, Target(**{**target, **changes})

    yield start
    for server in servers:
        server.stop()


def outcomes(conformance: Any) -> dict[str, str]:
    return {result.requirement.id: result.outcome for result in conformance.results}


@pytest.mark.usefixtures("no_http")
class TestLimits:
    @pytest.mark.parametrize("make", [Watched, Loses, Silent])
    @pytest.mark.parametrize("at_once", [1, 2, 4])
    def test_no_more_jobs_run_at_the_same_time_than_allowed(
        self, serve: Any, make: type[Watched], at_once: int
    ) -> None:
        server, target = serve(make, limits={"concurrent_jobs": at_once, "jobs": 12})
        run_contract(target, seed=1)
        assert 1 <= server.instance.memory["most"] <= at_once

    def test_jobs_of_which_nothing_is_learned_are_cancelled_to_make_room(self, serve: Any) -> None:
        server, target = serve(Silent, limits={"concurrent_jobs": 1})
        with Client(target) as client:
            run(client, Plan(jobs=(JobPlan(recipe="import"),)))
            run(client, Plan(jobs=(JobPlan(recipe="import"),)))
        assert [job.cancelled_after is not None for job in server.jobs] == [True, False]

    def test_a_job_that_cannot_be_cancelled_and_never_ends_leaves_no_room(self, serve: Any) -> None:
        server, target = serve(limits={"concurrent_jobs": 1})
        server.next_job(JobScript(progress=(0, 0.5), cancellable=False))
        with Client(target) as client:
            run(client, Plan(jobs=(JobPlan(recipe="export"),)))
            with pytest.raises(LimitReachedError) as caught:
                run(client, Plan(jobs=(JobPlan(recipe="export"),)))
        assert caught.value.limit == "concurrent_jobs"
        assert client.ledger.left_behind == [server.jobs[0].id]

    def test_creations_without_an_answer_are_taken_to_run_as_long_as_a_job_may(
        self, serve: Any
    ) -> None:
        server, target = serve(Loses, limits={"concurrent_jobs": 1})
        with Client(target) as client:
            run(client, Plan(jobs=(JobPlan(recipe="import"), JobPlan(recipe="import"))))
        first, second = server.jobs
        assert second.created - first.created >= target.limits.job_seconds - 0.01

    @pytest.mark.parametrize("limit", ["requests", "jobs"])
    @pytest.mark.parametrize("value", [1, 3, 4, 7, 20, 40])
    def test_nothing_is_sent_beyond_a_limit_though_plans_are_shrunk(
        self, serve: Any, limit: str, value: int
    ) -> None:
        class SlipsBack(Instance):
            def state(self, job: Job) -> float:
                return super().state(job) * (0.5 if job.polls == 5 else 1)

        server, target = serve(SlipsBack, limits={limit: value})
        conformance = run_contract(target, seed=3)
        assert len(server.requests if limit == "requests" else server.jobs) <= value
        assert (conformance.requests, conformance.jobs) == (
            len(server.requests),
            len(server.jobs),
        )
        limits = {result.limit for result in conformance.results}
        assert limits <= {"", limit}
        assert value > 20 or limit == "jobs" or limit in limits

    def test_the_profile_smoke_creates_four_jobs_at_the_most(self, serve: Any) -> None:
        class LetsAnybodyIn(Instance):
            def is_authorized(self, _: Request) -> bool:
                return True

        server, target = serve(LetsAnybodyIn, control_agent=True)
        run_contract(target, profile="smoke")
        assert len(server.jobs) == 4

    def test_the_seconds_of_a_run_are_kept_with_time_to_clean_up(self, serve: Any) -> None:
        server, target = serve(seconds=1e6, limits={"seconds": 1.0, "job_seconds": 1e7})
        conformance = run_contract(target)
        assert {result.limit for result in conformance.results} == {"", "seconds"}
        cancelled = {job.id for job in server.jobs if job.cancelled_after is not None}
        assert cancelled | set(conformance.left_behind) == {job.id for job in server.jobs}

    def test_an_answer_is_not_waited_for_beyond_the_seconds_of_the_run(self, serve: Any) -> None:
        _, target = serve(limits={"seconds": 3.0, "answer_seconds": 60.0})
        given = []

        def send(_: Transport, __: object, *, seconds: float) -> Reply:
            given.append(seconds)
            return Reply(lost="no answer in time")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Transport, "send", send)
            run_contract(target)
        assert given
        assert max(given) <= 3.0


class StatusIsNotFound(Watched):
    """Answers every status with 404: its status has another path than documented."""

    def answer_status(self, job: Job) -> Response:  # noqa: ARG002
        return self.error(HTTPStatus.NOT_FOUND, "There is no such resource")


class SameIdAgain(Watched):
    """Gives every job the id of the first."""

    def creation_content(self, described: dict[str, Any]) -> dict[str, Any]:
        return super().creation_content({**described, "jobId": min(self.jobs)})


class StaysInTheQueue(Instance):
    """From its fifth job on, each waits for a minute before it begins."""

    def create(self, request: str, script: JobScript) -> Job:
        if len(self.jobs) >= 4:
            queued = (0.0,) * round(60 / script.step_seconds)
            script = replace(script, progress=(*queued, *script.progress))
        return super().create(request, script)


class GivesNoId(Instance):
    """Answers each creation without the id of the job."""

    def answer_creation(self, job_request: Any) -> Response:
        super().answer_creation(job_request)
        return Response(body=b"{}")


class CreatesAndAnswers(Watched):
    """Creates jobs, and answers with a status of the test's choice and an empty body."""

    def answer_creation(self, job_request: Any) -> Response:
        super().answer_creation(job_request)
        return Response(status=self.memory["status"], headers={"Location": "/api/v1/jobs"})


class CreatesAndRefuses(Instance):
    """Creates every job, and answers all but the first creation as if it had created none."""

    def answer_creation(self, job_request: Any) -> Response:
        answer = super().answer_creation(job_request)
        status: int = self.memory["status"]
        if len(self.jobs) == 1:
            return answer
        if self.memory["envelope"]:
            return self.error(HTTPStatus(status), "Another job is in progress")
        return Response(status=status, headers={"Retry-After": "0"}, body=b"Slow down")


class OneJobAtATime(Watched):
    """Refuses a job while another runs, with a status of the test's choice in an envelope."""

    def answer_creation(self, job_request: Any) -> Response:
        if any(0 <= self.state(job) < 1 for job in self.jobs.values()):
            self.memory["refused"] = self.memory.get("refused", 0) + 1
            return self.error(HTTPStatus(self.memory["status"]), "Another job is in progress")
        return super().answer_creation(job_request)


@pytest.mark.usefixtures("no_http")
class TestWhateverIsAnswered:
    """The limits and the ledger hold even if the answers show little about jobs."""

    @pytest.mark.parametrize("make", [StatusIsNotFound, SameIdAgain])
    @pytest.mark.parametrize("profile", ["smoke", "default"])
    def test_jobs_of_which_nothing_is_seen_are_counted_cancelled_and_named(
        self, serve: Any, make: type[Watched], profile: Any
    ) -> None:
        server, target = serve(make, seconds=600.0, limits={"concurrent_jobs": 2})
        found = run_contract(target, profile=profile, seed=1)
        running = [job for job in server.jobs if 0 <= server.state(job) < 1]
        assert 1 <= server.instance.memory["most"] <= 2
        assert len(running) <= len(found.left_behind) + found.unconfirmed_creations
        if make is StatusIsNotFound:
            assert {job.id for job in running} <= set(found.left_behind)
            assert not [job for job in running if job.script.cancellable]

    @pytest.mark.parametrize("status", [302, 303, 409, 500, 502])
    def test_creations_that_may_have_created_are_counted_and_named(
        self, serve: Any, status: int
    ) -> None:
        server, target = serve(CreatesAndAnswers, limits={"concurrent_jobs": 3})
        server.instance.memory["status"] = status
        found = run_contract(target, profile="smoke")
        assert server.jobs
        assert found.unconfirmed_creations == len(server.jobs)
        assert len(server.jobs) <= 4
        assert server.instance.memory["most"] <= 3

    @pytest.mark.parametrize("envelope", [True, False])
    @pytest.mark.parametrize("status", [400, 409, 429, 503])
    def test_no_more_creations_are_sent_than_jobs_are_allowed(
        self, serve: Any, status: int, *, envelope: bool
    ) -> None:
        server, target = serve(CreatesAndRefuses, limits={"jobs": 3})
        server.instance.memory.update(status=status, envelope=envelope)
        run_contract(target, seed=1)
        assert len([x for x in server.requests if x.method == "POST"]) == len(server.jobs) == 3

    @pytest.mark.parametrize("status", [409, 429, 503])
    @pytest.mark.parametrize("profile", ["smoke", "default"])
    def test_a_server_that_runs_one_job_at_a_time_is_given_one(
        self, serve: Any, status: int, profile: Any
    ) -> None:
        server, target = serve(OneJobAtATime)
        server.instance.memory["status"] = status
        found = run_contract(target, profile=profile, seed=1)
        assert found.verdict in {"conformant", "inconclusive"}
        assert server.instance.memory["most"] == 1
        assert len(server.jobs) >= (2 if profile == "smoke" else 4)
        assert found.left_behind == ()
        assert found.unconfirmed_creations == 0
        refused = server.instance.memory["refused"]
        assert found.refused_creations == {status: refused}
        lines = verdict_lines(assemble([run_entry(found)], []))
        count = "1 creation was" if refused == 1 else f"{refused} creations were"
        assert (
            f"{count} refused ({refused} with HTTP {status}); refused creations count towards the "
            "limit `jobs`"
        ) in lines
        assert target.clock.now() < 12 * 10.0

    def test_a_server_that_only_ever_runs_others_jobs_ends_the_run(self, serve: Any) -> None:
        class Full(Instance):
            def answer_creation(self, job_request: Any) -> Response:
                if self.jobs:
                    return self.error(HTTPStatus.CONFLICT, "Another job is in progress")
                return super().answer_creation(job_request)

        server, target = serve(Full)
        found = run_contract(target, profile="default", seed=1)
        assert {result.limit for result in found.results} == {"", "concurrent_jobs"}
        assert len(server.jobs) == 1
        assert len(server.requests) < 80


@pytest.mark.usefixtures("no_http")
class TestSeconds:
    def test_a_run_whose_next_poll_is_due_too_late_ends_at_once(self, serve: Any) -> None:
        server, target = serve(
            seconds=600.0, limits={"seconds": 10.0, "poll_seconds": 60.0, "job_seconds": 700.0}
        )
        begun = time.monotonic()
        found = run_contract(target, profile="smoke")
        assert time.monotonic() - begun < 10
        assert {result.limit for result in found.results} == {"", "seconds"}
        assert len(server.requests) < 30
        running = [job.id for job in server.jobs if 0 <= server.state(job) < 1]
        assert set(running) <= set(found.left_behind)
        assert target.clock.now() < 10

    @pytest.mark.parametrize("plan", ["shrunk", "hostile"])
    def test_nothing_is_sent_beyond_the_seconds_though_plans_are_shrunk_or_large(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch, plan: str
    ) -> None:
        class SlipsBack(Instance):
            def state(self, job: Job) -> float:
                return super().state(job) * (0.5 if job.polls == 5 else 1)

        server, target = serve(SlipsBack, limits={"seconds": 100.0, "requests": 100_000})
        now, sent = [0.0], []

        def send(transport: Transport, request: Any, **options: Any) -> Reply:
            sent.append(now[0])
            now[0] += 0.3
            return honest(transport, request, **options)

        honest = Transport.send
        monkeypatch.setattr(Transport, "send", send)
        monkeypatch.setattr("pytest_expedition.suite.client.machine_now", lambda: now[0])
        act = Act(progress=0.0, requests=("poll",) * 16)
        hostile = Plan(jobs=(JobPlan(recipe="import", acts=(act,) * 100),) * 1000, framed=True)
        chosen = hostile if plan == "hostile" else None
        found = run_contract(target, profile="thorough", seed=3, plan=chosen)
        assert {result.limit for result in found.results} <= {"", "seconds"}
        assert found.requests == len(server.requests) == len(sent)
        assert 50 < len(sent) <= 100 / 0.3 + 20
        assert all(server.state(job) in {1, -1} for job in server.jobs if job.script.cancellable)

    def test_a_run_that_waits_for_room_ends_with_its_seconds(self, serve: Any) -> None:
        server, target = serve(
            CreatesAndAnswers, limits={"seconds": 5.0, "concurrent_jobs": 1, "job_seconds": 600.0}
        )
        server.instance.memory["status"] = 502
        found = run_contract(target, profile="smoke")
        assert found.verdict == "error"
        assert "HTTP 502 from something before the application" in found.reason
        assert len(server.jobs) == 1


class TestLedger:
    def test_the_clean_up_sends_its_cancels_at_the_same_instant(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server, target = serve(seconds=600.0)
        sent: list[str] = []
        together = threading.Barrier(3)

        def send(transport: Transport, request: Any, **options: Any) -> Reply:
            sent.append(request.method)
            if request.method == "DELETE":
                together.wait(20)
            return honest(transport, request, **options)

        honest = Transport.send
        monkeypatch.setattr(Transport, "send", send)
        with Client(target) as client:
            client.send([client.creation("import")] * 3)
        assert not together.broken
        assert sent == ["POST"] * 3 + ["DELETE"] * 3
        assert [server.state(job) for job in server.jobs] == [-1] * 3

    @pytest.mark.parametrize("hangs", ["/job/", "/agent/start"])
    def test_a_request_that_hangs_in_the_clean_up_leaves_time_for_the_others(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch, hangs: str
    ) -> None:
        """Jobs are cancelled, then asked for, which shows whether a lost cancel took effect."""
        server, target = serve(
            seconds=600.0, jobs=(IMPORT,), control_agent=True, limits={"answer_seconds": 10.0}
        )
        now = [0.0]
        monkeypatch.setattr("pytest_expedition.suite.client.machine_now", lambda: now[0])

        def send(transport: Transport, request: Any, *, seconds: float) -> Reply:
            reply = honest(transport, request, seconds=seconds)
            if hangs not in request.url or request.method != cleaning_up.get(hangs):
                return reply
            now[0] += seconds
            return Reply(lost=TIMED_OUT)

        honest = Transport.send
        cleaning_up: dict[str, str] = {}
        monkeypatch.setattr(Transport, "send", send)
        with Client(target) as client:
            client.send([client.creation("import")])
            client.agent.stop()
            cleaning_up.update({"/job/": "DELETE", "/agent/start": "GET"})
            client.end_within(target.limits.answer_seconds)
        assert [server.state(job) for job in server.jobs] == [-1]
        assert client.leftovers.jobs == ()
        assert bool(client.leftovers.agent) == (hangs == "/agent/start")
        assert now[0] <= 10.0

    @pytest.mark.parametrize("submitted", [1, 2])
    @pytest.mark.parametrize("late", [True, False])
    def test_a_ctrl_c_between_two_creations_forgets_no_job(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch, submitted: int, *, late: bool
    ) -> None:
        """It comes when a thread has got the first or the second, maybe after their answers."""
        server, target = serve(seconds=600.0)
        honest = ThreadPoolExecutor.submit
        given: list[Future[Any]] = []

        def submit(pool: ThreadPoolExecutor, *arguments: Any) -> Future[Any]:
            given.append(honest(pool, *arguments))
            if len(given) == submitted:
                if late and submitted == 2:
                    wait(given)
                raise KeyboardInterrupt
            return given[-1]

        with Client(target) as client:
            monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
            with pytest.raises(KeyboardInterrupt):
                client.send([client.creation("import")] * 2)
            monkeypatch.undo()
        if submitted == 1:
            assert not server.jobs, "creations are sent together or not at all"
        elif late:
            assert len(server.jobs) == 2
        assert {*client.ledger.ids} == {job.id for job in server.jobs}
        assert [server.state(job) for job in server.jobs] == [-1] * len(server.jobs)
        assert client.leftovers == Leftovers(
            jobs=(), unconfirmed_creations=0, unconfirmed_ids=(), agent=""
        )

    def test_a_second_ctrl_c_forgets_no_job(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first comes when the answers are there, the second while they are looked at."""
        server, target = serve(seconds=600.0)

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with Client(target) as client:
            monkeypatch.setattr(Client, "_keep", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.send([client.creation("import")] * 2)
            monkeypatch.undo()
        assert [server.state(job) for job in server.jobs] == [-1] * 2
        assert client.leftovers.jobs == ()

    @pytest.mark.parametrize("ended_by", [KeyboardInterrupt, pytest.fail.Exception])
    def test_a_run_that_is_ended_while_it_is_judged_names_its_jobs(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch, ended_by: type[BaseException]
    ) -> None:
        server, target = serve(seconds=600.0, jobs=(EXPORT,), limits={"job_seconds": 5.0})
        judged = []

        def interrupted(history: History) -> object:
            judged.append(history)
            if len(judged) == 1:
                raise ended_by("why")
            return judge(history)

        monkeypatch.setattr("pytest_expedition.suite.run.judge", interrupted)
        with pytest.raises(RunEndedEarly) as ended:
            run_contract(target, profile="smoke")
        assert server.jobs
        assert sorted(ended.value.share.left_behind) == [job.id for job in server.jobs]
        assert "why" in ended.value.share.reason
        assert isinstance(ended.value.cause, ended_by)

    def test_a_cancel_of_the_clean_up_that_a_gateway_answers_is_sent_again(
        self, serve: Any
    ) -> None:
        class Replaced(Instance):
            """Behind a gateway that has no route to it for a moment."""

            def handle(self, request: Request) -> Response:
                if request.method == "DELETE":
                    self.memory["cancels"] = self.memory.get("cancels", 0) + 1
                    if self.memory["cancels"] <= 2:
                        return Response(status=404, body=b"404 page not found")
                return super().handle(request)

        server, target = serve(Replaced, seconds=600.0)
        with Client(target) as client:
            client.send([client.creation("import")])
        assert [server.state(job) for job in server.jobs] == [-1]
        assert client.leftovers.jobs == ()

    def test_a_cancel_of_the_clean_up_is_sent_again_as_long_as_a_restart_may_take(
        self, serve: Any
    ) -> None:
        class Restarts(Instance):
            """Behind a load balancer that closes each connection for ten seconds."""

            def handle(self, request: Request) -> Response:
                if request.method == "DELETE" and self.clock.now() < 10:
                    return Response(status=200, body=b"{}", cut=0)
                return super().handle(request)

        server, target = serve(Restarts, seconds=600.0)
        server.every_job(JobScript.steady(60))
        with Client(replace(target, clock=WaitingClock(server.advance))) as client:
            client.send([client.creation("import")])
        assert [server.state(job) for job in server.jobs] == [-1]
        assert client.leftovers.jobs == ()

    def test_a_cancel_of_the_clean_up_that_gets_no_answer_in_time_is_not_sent_again(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cancels: list[str] = []
        send = Transport.send

        def too_late(self: Transport, request: Any, *, seconds: float) -> Reply:
            if request.method != "DELETE":
                return send(self, request, seconds=seconds)
            cancels.append(request.url)
            return Reply(lost=TIMED_OUT)

        monkeypatch.setattr(Transport, "send", too_late)
        _, target = serve(seconds=600.0)
        with Client(target) as client:
            client.send([client.creation("import")] * 2)
        assert len(set(cancels)) == len(cancels) == 2

    def test_no_job_of_others_is_cancelled(self, serve: Any) -> None:
        class Sloppy(Instance):
            """Reads an id as PHP does: as far as it is a number."""

            def answer_about_job(self, method: str, job_id: str) -> Response:
                number = re.match(r"\d+", job_id)
                return super().answer_about_job(method, number[0] if number else "1")

            def find(self, job_id: int) -> Job | None:
                return super().find(job_id) or self.jobs[self.memory["other"]]

        server, target = serve(Sloppy)
        other = server.instance.create("import", JobScript(progress=(0, 0.5)))
        server.instance.memory["other"] = other.id
        run_contract(target, seed=1)
        assert other.polls > 0
        assert other.cancel_requests == 0


GATEWAYS: dict[str, tuple[Response, str]] = {
    "maintenance": (
        Response(status=503, body=b"<h1>Down for maintenance</h1>"),
        "HTTP 503 from something before the application: it begins with “<h1>Down for",
    ),
    "https": (
        Response(status=301, headers={"Location": "https://192.0.2.9/x"}),
        "HTTP 301, a redirect to https://192.0.2.9/x",
    ),
    "a firewall": (
        Response(status=403, headers={}),
        "HTTP 403 from something before the application, without a body",
    ),
}


class NoSuchProject(Instance):
    """Answers each export with an error: there is nothing to export."""

    def answer_creation(self, job_request: Any) -> Response:
        if "export" in job_request.name:
            body = error("No such project")
            return Response(status=404, body=json.dumps(body).encode())
        return super().answer_creation(job_request)


class TestRecipes:
    def test_a_recipe_that_never_works_is_named_and_not_held_against_the_server(
        self, serve: Any
    ) -> None:
        _, target = serve(NoSuchProject)
        found = run_contract(target, seed=1, profile="smoke")
        assert found.verdict == "error"
        told = (
            "the recipe 'export' creates no job, though others do: POST /api/v1/projects/1/export "
            "got HTTP 404 (“No such project”). Correct the [[job]] of the target file: "
        )
        assert told in found.reason
        assert outcomes(found)["create.envelope"] == "pass"
        assert found.left_behind == ()

    def test_a_target_whose_only_recipe_does_not_work_says_what_to_do(self, serve: Any) -> None:
        _, target = serve(NoSuchProject, jobs=(EXPORT,))
        found = run_contract(target, seed=1, profile="smoke")
        assert found.verdict == "error"
        assert "got HTTP 404 (“No such project”). Correct the [[job]] of the " in found.reason


@pytest.mark.usefixtures("no_http")
class TestGateways:
    @pytest.mark.parametrize("name", GATEWAYS)
    def test_where_nothing_else_comes_the_verdict_is_error_and_says_what_came(
        self, serve: Any, name: str
    ) -> None:
        answer, told = GATEWAYS[name]

        class Gateway(Instance):
            def handle(self, request: Request) -> Response:
                self.requests.append(request)
                return answer

        for credentials in ({}, BY_NAME):
            _, target = serve(Gateway, **credentials)
            found = run_contract(target, seed=1)
            assert found.verdict == "error"
            assert told in found.reason

    @pytest.mark.parametrize("profile", ["smoke", "default"])
    def test_a_gateway_that_blocks_the_suite_is_named_with_its_first_answer(
        self, serve: Any, profile: Any
    ) -> None:
        class ShutsOut(Instance):
            """A firewall that lets nothing of a client through once it has asked for a quote."""

            def handle(self, request: Request) -> Response:
                if "%27" in request.path or self.memory.get("shut"):
                    self.memory["shut"] = True
                    self.requests.append(request)
                    return Response(status=403, body=b"<h1>Blocked</h1>")
                return super().handle(request)

        _, target = serve(ShutsOut)
        found = run_contract(target, profile=profile, seed=1)
        failed = [name for name, outcome in outcomes(found).items() if outcome == "fail"]
        assert failed == []
        lines = verdict_lines(assemble([run_entry(found)], []))
        answers = found.unanswered[403]
        assert f"{answers} answers were HTTP 403 from something before the application" in lines
        if profile == "default":
            assert found.verdict == "error"
            assert "has not answered since " in found.reason

    def test_a_throttle_is_heeded_and_leaves_no_job_behind(self, serve: Any) -> None:
        class Throttles(Instance):
            """Lets twenty requests through every ten seconds, and says when the next may come."""

            def handle(self, request: Request) -> Response:
                window = self.clock.now() // 10
                counts = self.memory.setdefault("counts", {})
                counts[window] = counts.get(window, 0) + 1
                if counts[window] <= 20:
                    return super().handle(request)
                self.requests.append(request)
                headers = {"Retry-After": str(math.ceil(10 * (window + 1) - self.clock.now()))}
                return self.reply({"message": "Too Many"}, status=429, headers=headers)

        server, target = serve(Throttles)
        found = run_contract(target, profile="smoke", seed=1)
        assert "fail" not in outcomes(found).values()
        assert found.verdict != "error"
        assert found.left_behind == ()
        assert 0 < found.unanswered[429] < len(server.requests) / 5

    def test_no_pause_is_longer_than_the_run_may_take(self, serve: Any) -> None:
        class FarAway(Instance):
            def answer_status(self, _: Job) -> Response:
                return Response(status=503, headers={"Retry-After": "86400"}, body=b"Later")

        _, target = serve(FarAway)
        found = run_contract(target, profile="smoke", seed=1)
        assert "seconds" in {result.limit for result in found.results}
        assert found.verdict == "inconclusive"
        assert target.clock.now() < target.limits.seconds
        told = (
            "; the target asked to wait 86400 s (Retry-After), longer than the run may take: run "
            "again later"
        )
        ended = [reason(result) for result in found.results if result.limit]
        assert all(each.endswith(told) for each in ended)

    def test_jobs_are_cancelled_though_the_target_asked_for_a_long_pause(self, serve: Any) -> None:
        class AsksOnce(Instance):
            def answer_status(self, job: Job) -> Response:
                if self.memory.setdefault("asked", False):
                    return super().answer_status(job)
                self.memory["asked"] = True
                return Response(status=429, headers={"Retry-After": "99999"}, body=b"Later")

        server, target = serve(AsksOnce, seconds=600.0, jobs=(IMPORT,))
        found = run_contract(target, profile="smoke", seed=1)
        assert [server.state(job) for job in server.jobs] == [-1] * len(server.jobs)
        assert found.left_behind == ()
        assert target.clock.now() < 10

    def test_an_answer_of_the_application_is_not_waited_for(self, serve: Any) -> None:
        class Asks(Instance):
            def answer_cancel(self, job: Job) -> Response:
                answer = super().answer_cancel(job)
                return replace(answer, headers={**answer.headers, "Retry-After": "86400"})

        _, target = serve(Asks)
        assert run_contract(target, profile="smoke", seed=1).verdict == "conformant"


class CrashesInPlainText(Instance):
    """Crashes where ``crashes`` says so; the web server reports the crash in plain text."""

    def crashes(self, request: Request) -> bool:
        raise NotImplementedError

    def handle(self, request: Request) -> Response:
        answer = super().handle(request)
        if request.path.startswith("/api/v1/") and self.crashes(request):
            return Response(status=500, headers={}, body=b"Internal Server Error")
        return answer

    def counted(self, name: str) -> int:
        """Count how often this was asked, by a name."""
        self.memory[name] = count = self.memory.get(name, 0) + 1
        return int(count)


class AtStatusesOfCancelledJobs(CrashesInPlainText):
    def crashes(self, request: Request) -> bool:
        ids = re.findall(r"\d{4}", request.path)
        job = self.jobs.get(int(ids[-1])) if ids else None
        return request.method == "GET" and job is not None and self.state(job) == -1


class AtEverySecondStatus(CrashesInPlainText):
    def crashes(self, request: Request) -> bool:
        asks = "/job/" in request.path and request.method == "GET"
        return asks and self.counted(request.path) % 2 == 0


class AtEverySecondCreation(CrashesInPlainText):
    def crashes(self, request: Request) -> bool:
        return request.path.endswith(("import", "export")) and self.counted("created") % 2 == 0


class AtEverySecondCancel(CrashesInPlainText):
    def crashes(self, request: Request) -> bool:
        return request.method == "DELETE" and self.counted("cancelled") % 2 == 0


@pytest.mark.usefixtures("no_http")
class TestCrashesInPlainText:
    """A crash in plain text may be a gateway's: it is no failure, but the rest proves little."""

    @pytest.mark.parametrize("dialect", ["system", "data"])
    @pytest.mark.parametrize(
        ("make", "profile", "open_requirement"),
        [
            (AtStatusesOfCancelledJobs, "smoke", "status.envelope"),
            (AtEverySecondStatus, "smoke", "status.envelope"),
            (AtEverySecondCreation, "default", "create.envelope"),
            (AtEverySecondCancel, "smoke", "cancel.envelope"),
        ],
    )
    def test_no_verdict_conformant_rests_on_what_is_left(
        self, make: type[CrashesInPlainText], profile: Any, open_requirement: str, dialect: Any
    ) -> None:
        def in_its_dialect() -> Instance:
            instance = make()
            instance.dialect = dialect
            return instance

        with embedded_target(in_its_dialect) as target:
            found = merge(target, [run_share(target, profile=profile, seed=1, share=(0, 10))])
        assert "fail" not in outcomes(found).values()
        assert found.verdict == "inconclusive"
        assert outcomes(found)[open_requirement] == "inconclusive"
        (told,) = [reason(x) for x in found.results if x.requirement.id == open_requirement]
        assert "lost or unusable answers hide the re" in told
        lines = verdict_lines(assemble([run_entry(found)], []))
        assert f"{found.unanswered[500]} answers were HTTP 500 from something before the " in (
            "\n".join(lines)
        )


class TestRestarts:
    """A target that refuses connections for a while, as it does where it restarts."""

    @pytest.mark.parametrize(
        ("seconds", "verdict"), [(1.0, "conformant"), (5.0, "conformant"), (1e6, "error")]
    )
    def test_a_short_restart_is_waited_for(self, serve: Any, seconds: float, verdict: str) -> None:
        down_from = 4.0
        again: list[ExpeditionServer] = []

        class Clock(WaitingClock):
            def sleep(self, pause: float) -> None:
                super().sleep(pause)
                if server.is_running() and self.now() >= down_from and not again:
                    server.stop()
                if not server.is_running() and self.now() >= down_from + seconds and not again:
                    again.append(ExpeditionServer(lambda: server.instance, port=server.port))
                    again[0].start()

        server, target = serve()
        target = replace(target, clock=Clock(server.advance))
        found = run_contract(target, profile="smoke", seed=1)
        for each in again:
            each.stop()
        assert found.unanswered[None] > 0
        assert found.verdict == verdict
        assert bool(again) == (verdict == "conformant")
        last = re.search(r"stopped answering: the last answer came (\S+) s after", found.reason)
        assert (last is not None) == (verdict == "error")
        assert last is None or down_from - 1 < float(last[1]) < down_from + 1
        assert bool(found.left_behind) == (verdict == "error")
        assert found.unconfirmed_creations == 0

    @pytest.mark.parametrize("profile", ["smoke", "default"])
    def test_a_gateway_that_answers_for_a_moment_in_its_place_ends_no_run(
        self, serve: Any, profile: Any
    ) -> None:
        class Replaced(Instance):
            """Behind a gateway that has no route to it for a while."""

            def handle(self, request: Request) -> Response:
                if 2 <= self.clock.now() < 5:
                    return Response(status=404, body=b"404 page not found")
                return super().handle(request)

        _, target = serve(Replaced, seconds=6.0)
        found = run_contract(target, profile=profile, seed=1)
        assert found.unanswered[404] > 5
        assert found.verdict in {"conformant", "inconclusive"}
        assert not found.left_behind


class TestKeys:
    def test_a_key_that_expires_is_fetched_again_and_what_was_refused_is_sent_again(
        self, serve: Any
    ) -> None:
        server, target = serve(Expiring, **BY_NAME)
        server.instance.memory["good for"] = 100
        crowd = covering((IMPORT, EXPORT))[0]
        with Client(target) as client:
            exchanges = run(client, replace(crowd, jobs=crowd.jobs[:4]))
        assert server.instance.memory["logins"] == 2
        refused = [x for x in exchanges if x.status == 401 and not x.probe]
        assert refused
        assert not any(x.answered for x in refused)
        assert {"secret-key-1", "secret-key-2", "paloalto"} <= set(client.secrets)

    def test_a_key_may_expire_again_and_again(self, serve: Any) -> None:
        server, target = serve(Expiring, **BY_NAME)
        found = run_contract(target, profile="smoke", seed=1)
        assert (found.verdict, found.reason) == ("conformant", "")
        assert found.left_behind == ()
        assert server.instance.memory["logins"] > 5

    def test_jobs_are_cancelled_at_the_end_though_the_key_has_expired(self, serve: Any) -> None:
        server, target = serve(Expiring, **BY_NAME)
        with Client(target) as client:
            client.log_in()
            client.send([client.creation("import")])
            server.instance.memory["left"] = 0
        assert server.jobs[0].cancelled_after is not None

    def test_a_key_that_is_refused_at_once_ends_the_run(self, serve: Any) -> None:
        class Never(Expiring):
            def is_authorized(self, _: Request) -> bool:
                return False

        server, target = serve(Never, **BY_NAME)
        with Client(target) as client, pytest.raises(TargetUnusableError, match="refuses the key"):
            run(client, covering((IMPORT, EXPORT))[0])
        assert server.instance.memory["logins"] == 2

    def test_an_older_instance_logs_in_elsewhere(self, serve: Any) -> None:
        class Older(Instance):
            def route(self, request: Request) -> Response:
                if request.path.endswith("generate_api_key"):
                    return self.error(HTTPStatus.NOT_FOUND, "unknown")
                return super().route(request)

        server, target = serve(Older, **BY_NAME)
        with Client(target) as client:
            client.log_in()
        assert [x.path.rsplit("/", 1)[1] for x in server.requests] == ["generate_api_key", "login"]

    @pytest.mark.usefixtures("no_http")
    @pytest.mark.parametrize(
        "secret", ["1", "x", "0.5", "data", "state", "success", "1619", "16", "jobId", "Contents"]
    )
    @pytest.mark.parametrize("credentials", ["key", "password"])
    def test_a_key_or_password_may_be_any_text(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch, secret: str, credentials: str
    ) -> None:
        known = {"api_key": secret}
        if credentials == "password":
            known = {**BY_NAME, "password": secret}
            monkeypatch.setattr(instance, "PASSWORD", secret)
        server, target = serve(**known)
        server.instance.api_key = secret if credentials == "key" else "a-key-of-sixteen"
        found = run_contract(target, profile="smoke", seed=1)
        assert found.verdict == "conformant"
        assert found.left_behind == ()


@pytest.mark.usefixtures("no_http")
class TestTime:
    @pytest.mark.parametrize(
        ("seconds", "agent", "seed"),
        [(10.0, False, 0), (10.0, True, 1), (30.0, True, 2), (600.0, False, 3)],
    )
    def test_the_default_profile_takes_three_jobs_and_a_little(
        self, serve: Any, seconds: float, *, agent: bool, seed: int
    ) -> None:
        _, target = serve(seconds=seconds, control_agent=agent)
        run_contract(target, seed=seed)
        assert target.clock.now() <= 3 * seconds + 2 * SPARE_SECONDS

    @pytest.mark.parametrize("seconds", [10.0, 60.0])
    def test_the_default_profile_looks_once_more_at_what_has_ended(
        self, serve: Any, seconds: float
    ) -> None:
        """A result may expire, and a cancelled job may be deleted, half a minute later."""
        _, target = serve(seconds=seconds)
        polls: dict[int, list[float]] = {}

        def watch(exchange: Exchange, _: object) -> None:
            if exchange.kind == "status" and not exchange.probe:
                polls.setdefault(exchange.job_id or 0, []).append(exchange.sent)

        run_contract(target, seed=1, record=watch)
        begun = min(times[0] for times in polls.values())
        assert len(polls) == 12
        assert min(times[-1] for times in polls.values()) > begun + 3 * seconds + 10

    def test_at_a_fast_instance_all_fixed_plans_take_a_few_seconds(self, serve: Any) -> None:
        _, target = serve(seconds=0.5)
        record = run_contract(target, seed=1)
        assert target.clock.now() <= 6.0
        assert record.jobs >= 31
        assert 0.5 <= record.longest_job < 1
        assert sum(not each.exercised for each in record.situations) <= 2

    @pytest.mark.parametrize("dialect", ["system", "data"])
    def test_a_creation_that_is_answered_at_the_end_of_its_job_is_told_as_that(
        self, serve: Any, dialect: Any
    ) -> None:
        clocks: list[Any] = []

        class AnswersAtTheEnd(Instance):
            def create(self, request: str, script: JobScript) -> Job:
                job = super().create(request, script)
                clocks[0].sleep(12)
                return job

        server, target = serve(AnswersAtTheEnd, limits={"concurrent_jobs": 1})
        server.instance.dialect = dialect
        clocks.append(target.clock)
        record = run_contract(target, profile="smoke", seed=1)
        reasons = {x.requirement.id: reason(x) for x in record.results}
        assert "a creation was answered only after 12 s" in reasons["cancel.minus-one"]
        assert reasons["refuse.state"] == reasons["cancel.minus-one"]
        assert record.longest_job == 0  # so no report advises longer jobs

    @pytest.mark.parametrize("profile", ["smoke", "default"])
    def test_a_plan_that_fails_is_kept_without_jobs_that_were_not_created(
        self, serve: Any, profile: ProfileName
    ) -> None:
        """There was no time for them, and a replay needs none."""
        server, target = serve(BROKEN["lagging-replica"].make, seconds=20.0)
        record = run_contract(target, profile=profile, seed=1)
        assert {len(plan["jobs"]) for plan in record.plans.values()} == {len(server.jobs)}

    @pytest.mark.long
    def test_jobs_of_random_plans_run_side_by_side(self, serve: Any) -> None:
        """If each took its whole time, and no place was ever empty, 1 would come out."""
        server, target = serve(seconds=0.5)
        record = run_contract(target, profile="thorough", seed=1)
        assert record.jobs > 190
        ended = (min(job.cancelled_after or 0.5, 0.5) for job in server.jobs)
        assert sum(ended) / target.limits.concurrent_jobs > 0.5 * target.clock.now()

    @pytest.mark.parametrize("profile", ["smoke", "default", "thorough"])
    def test_where_no_answer_gives_an_id_nothing_is_waited_for(
        self, serve: Any, profile: ProfileName
    ) -> None:
        _, target = serve(GivesNoId, limits={"job_seconds": 600.0})
        record = run_contract(target, profile=profile, seed=1)
        assert record.verdict == "non-conformant"
        assert target.clock.now() < SPARE_SECONDS

    @pytest.mark.parametrize(
        "name", ["cancel-deletes", "cancelled-ids-again", "creation-after-notice"]
    )
    def test_a_place_is_waited_for_as_long_as_the_profile_takes(
        self, serve: Any, name: str
    ) -> None:
        """A job that no answer shows any more may still run, and takes a place."""
        _, target = serve(BROKEN[name].make, seconds=1.0, limits={"job_seconds": 600.0})
        record = run_contract(target, seed=1)
        assert record.verdict == "non-conformant"
        assert target.clock.now() <= 3 * 1.0 + 2 * SPARE_SECONDS

    @pytest.mark.parametrize("name", ["stuck-at-ninety-nine", "refusal-stops"])
    def test_jobs_that_never_end_are_watched_for_their_time_once(
        self, serve: Any, name: str
    ) -> None:
        _, target = serve(BROKEN[name].make, seconds=1.0, limits={"job_seconds": 600.0})
        record = run_contract(target, seed=1)
        assert outcomes(record)[BROKEN[name].breaks[0]] == "fail"
        assert target.clock.now() <= 600.0 + 3 * 1.0 + 2 * SPARE_SECONDS

    def test_a_job_that_waits_in_the_queue_is_polled_ever_less_often(self, serve: Any) -> None:
        server, target = serve(StaysInTheQueue, seconds=1.0, limits={"job_seconds": 600.0})
        record = run_contract(target, seed=1)
        assert record.verdict == "conformant"
        assert target.clock.now() > 60
        assert max(job.polls for job in server.jobs) < 250

    def test_progress_is_shown_while_the_run_waits(self, serve: Any) -> None:
        _, target = serve()
        standings: list[Progress] = []
        run_contract(target, seed=1, watch=standings.append)
        assert set(standings[0].jobs.values()) == {0.0}
        assert standings[0].seconds_left <= target.limits.seconds
        assert 0 < standings[-1].seconds_left <= 3 * 12 + 2 * SPARE_SECONDS

    def test_no_progress_is_shown_if_nothing_waits(self) -> None:
        from pytest_expedition.suite.embedded import embedded_target

        standings: list[Progress] = []
        with embedded_target() as target:
            run_contract(target, profile="smoke", watch=standings.append)
        assert standings == []


@pytest.mark.usefixtures("no_http")
class TestAgent:
    def test_it_is_left_alone_unless_the_target_says_otherwise(self, serve: Any) -> None:
        server, target = serve()
        found = outcomes(run_contract(target, seed=1))
        assert {found["agent.idempotent"], found["agent.gates"]} == {"not-tested"}
        assert not [x for x in server.requests if "/agent/" in x.path and "%" not in x.path]

    def test_it_is_started_where_that_is_allowed(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(RANDOM_PLANS, "default", 5)
        server, target = serve(start_agent=True)
        server.agent_running = False
        conformance = run_contract(target, seed=1)
        assert conformance.verdict == "conformant"
        assert outcomes(conformance)["agent.idempotent"] == "pass"
        assert outcomes(conformance)["agent.gates"] == "not-tested"
        told = {x.path for x in server.requests if x.path.startswith("/api/v1/agent")}
        assert told == {"/api/v1/agent/start"}

    def test_it_runs_again_whatever_ends_the_run(self, serve: Any) -> None:
        for requests in range(60, 120, 4):
            server, target = serve(control_agent=True, limits={"requests": requests})
            run_contract(target, seed=1)
            assert server.agent_running, requests
            assert len(server.requests) <= requests
            orders = [x.path.rsplit("/", 1)[1] for x in server.requests if "/agent/" in x.path]
            assert "stop" in orders or "restart" not in orders


class AgentStaysDown(Instance):
    """A gateway answers the requests that would start the agent, as often as the test says."""

    def handle(self, request: Request) -> Response:
        starts = request.path.endswith(("/agent/start", "/agent/restart"))
        if starts and not self.agent_running and self.memory.get("refusals", 0) > 0:
            self.memory["refusals"] -= 1
            return Response(status=503, headers={}, body=b"<h1>Later</h1>")
        return super().handle(request)


@pytest.mark.usefixtures("no_http")
class TestStoppedAgent:
    @pytest.mark.parametrize("refusals", [1, 2, 4])
    def test_it_is_told_to_run_again_until_it_does(self, serve: Any, refusals: int) -> None:
        server, target = serve(AgentStaysDown, control_agent=True)
        server.instance.memory["refusals"] = refusals
        found = run_contract(target, seed=1)
        assert server.agent_running
        if refusals < 3:
            assert found.verdict == "conformant"

    def test_an_agent_that_stays_down_is_an_error_that_says_so(self, serve: Any) -> None:
        server, target = serve(AgentStaysDown, control_agent=True)
        server.instance.memory["refusals"] = 1000
        found = run_contract(target, seed=1)
        assert not server.agent_running
        assert found.verdict == "error"
        assert (
            f"the agent of {server.url} was stopped and was not seen to run again" in found.reason
        )
        assert found.reason.count("was stopped") == 1
        assert "was answered with HTTP 503; start it by hand" in found.reason

    def test_an_agent_that_refuses_to_stop_causes_no_error(self, serve: Any) -> None:
        class NeverStops(Instance):
            def answer_agent(self, path: str) -> Response:
                if path.endswith("/stop"):
                    return self.error(HTTPStatus.FORBIDDEN, "not to you")
                return super().answer_agent(path)

        server, target = serve(NeverStops, control_agent=True)
        found = run_contract(target, seed=1)
        assert found.verdict in {"conformant", "inconclusive"}
        assert not [x for x in server.requests if x.path.endswith("/restart")]

    def test_the_tries_stay_within_the_limits(self, serve: Any) -> None:
        for requests in (80, 100, 120):
            server, target = serve(
                AgentStaysDown, control_agent=True, limits={"requests": requests}
            )
            server.instance.memory["refusals"] = 2
            run_contract(target, seed=1)
            assert server.agent_running, requests
            assert len(server.requests) <= requests


@pytest.mark.usefixtures("heeds_interrupts")
class TestInterrupt:
    def test_jobs_are_cancelled_and_what_is_left_behind_is_told(self, tmp_path: Path) -> None:
        """The suite in a process of its own, interrupted while jobs run on the wall clock."""

        def make() -> Instance:
            instance = Instance(api_key="the-key-of-this-test")
            instance.clock.run()
            instance.set_pace(600.0)
            return instance

        server = ExpeditionServer(make)
        server.start()
        config = tmp_path / "expedition.toml"
        recipes = [
            f'[[job]]\nname = "{each.name}"\npath = "{each.path}"\n'
            f"cancellable = {str(each.cancellable).lower()}\n"
            for each in (IMPORT, EXPORT)
        ]
        config.write_text("".join([f'url = "{server.url}"\n', *recipes]))
        command = [sys.executable, "-m", "pytest", "--pyargs", "pytest_expedition.contract"]
        options = ["-p", "no:cacheprovider", "-vv", "-l", "--full-trace", "--junit-xml=junit.xml"]
        settings = [f"--expedition-config={config}", "--expedition-report=report.json"]
        environ = {**os.environ, "EXPEDITION_API_KEY": "the-key-of-this-test"}
        process = subprocess.Popen(
            [*command, *options, *settings],
            cwd=tmp_path,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            while len(server.jobs) < 3 or server.jobs[2].polls < 3:
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            server.stop()
        assert process.returncode == pytest.ExitCode.INTERRUPTED
        stands = [job for job in server.jobs if not job.script.cancellable]
        assert all(server.state(job) == -1 for job in server.jobs if job.script.cancellable)
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["left_behind"] == [job.id for job in stands]
        assert left_behind(report) in output
        left = [output, *(each.read_text() for each in tmp_path.iterdir())]
        assert not [text for text in left if "the-key-of-this-test" in text]


@pytest.mark.parametrize(
    ("jobs", "unconfirmed", "ids", "told"),
    [
        ([], 0, [], ""),
        ([7], 0, [], "job 7"),
        ([], 1, ['"a-7"'], 'perhaps job "a-7"'),
        (
            [7, 9],
            3,
            ['"a"', '"b"'],
            (
                'jobs 7, 9 and perhaps jobs "a", "b" and perhaps the jobs of 1 request whose '
                "answer gives no id"
            ),
        ),
    ],
)
def test_what_was_left_behind_is_told_in_one_sentence(
    jobs: list[int], unconfirmed: int, ids: list[str], told: str
) -> None:
    document = document_of(slipping_back())
    document["left_behind"], document["unconfirmed_ids"] = jobs, ids
    document["unconfirmed_creations"] = unconfirmed
    said = f"left behind, not seen to have ended: {told}" if told else ""
    assert left_behind(document) == said
    assert not told or said in verdict_lines(document)


def test_a_job_whose_id_is_no_id_is_named(serve: Any) -> None:
    class Named(Instance):
        def creation_content(self, described: dict[str, Any]) -> dict[str, Any]:
            return super().creation_content({**described, "jobId": f"job-{described['jobId']}"})

    server, target = serve(Named)
    found = run_contract(target, profile="smoke")
    document = assemble([run_entry(found)], [])
    validate(document, "report")
    assert sorted(document["unconfirmed_ids"]) == [f'"job-{job.id}"' for job in server.jobs]
    assert 'perhaps jobs "job-16' in left_behind(document)
    assert "answer gives no id" not in left_behind(document)
    assert {x.method for x in server.requests} == {"POST"}, "no such id is ever put in a path"


class TestDryRun:
    def test_it_tells_what_would_be_sent(self) -> None:
        target = Target(
            url="https://192.0.2.1",
            jobs=(
                JobRecipe(name="a", path="/api/v1/project/3/import", form={"resource": "/a b"}),
                JobRecipe(
                    name="b", path="/api/v1/x", method="GET", query={"y": "1"}, cancellable=False
                ),
            ),
            start_agent=True,
            limits=Limits(jobs=9, requests=100, seconds=60),
            **BY_NAME,  # type: ignore[arg-type]
        )
        text = "\n".join(preview(target, profile="default"))
        for told in (
            "jobs = 9, concurrent_jobs = 4, requests = 100, seconds = 60",
            "POST /api/v1/generate_api_key",
            "GET /api/v1/agent/start",
            "POST /api/v1/project/3/import resource=/a b",
            "GET /api/v1/x?y=1",
            "DELETE the job from 0.4 on",
        ):
            assert told in text
        assert "agent/stop" not in text
        assert "paloalto" not in text
        few = "\n".join(preview(target, profile="smoke"))
        assert "random" not in few
        cancels = [few.index(f"DELETE the job from {at} on") for at in ("0.78", "0", "0.75")]
        assert cancels == sorted(cancels), "in the order in which smoke creates the jobs"
        assert "waiver expired" not in text

    def test_it_counts_the_cancels_of_a_job_at_the_same_point(self) -> None:
        jobs = (JobRecipe(name="a", path="/api/v1/a"),)
        target = Target(url="http://127.0.0.1:1", api_key="key", jobs=jobs)
        lines = list(preview(target, profile="default"))
        first = lines.index("  POST /api/v1/a")
        told = list(itertools.takewhile(lambda x: x.startswith("    "), lines[first + 1 :]))
        assert told == [
            "    GET the status, until the job has ended",
            "    DELETE the job once it has ended, 4 times",
        ]

    def test_it_names_waivers_that_have_expired(self) -> None:
        waiver = Waiver(id="status.bounds", reason="known", until=date(2020, 1, 1))
        target = Target(url="http://127.0.0.1:1", api_key="key", waivers=(waiver,))
        lines = preview(target, profile="smoke")
        assert "waiver expired, which fails a run; renew it or remove it: status.bounds" in lines

    @pytest.mark.parametrize("auth", ["", '[auth]\nusername_env = "U"\npassword_env = "P"\n'])
    def test_it_sends_nothing_and_needs_no_credentials(
        self,
        pytester: pytest.Pytester,
        expedition_server: ExpeditionServer,
        monkeypatch: pytest.MonkeyPatch,
        auth: str,
    ) -> None:
        for name in ("API_KEY", "USERNAME", "PASSWORD"):
            monkeypatch.delenv(f"EXPEDITION_{name}", raising=False)
        named = f"--expedition-url={expedition_server.url}"
        if auth:
            job = '[[job]]\nname = "import"\npath = "/api/v1/project/1/import"\n'
            job += 'form = { resource = "/tmp/a.xml" }\n'
            text = f'url = "{expedition_server.url}"\n{auth}{job}'
            named = f"--expedition-config={pytester.makefile('.toml', text)}"
        result = pytester.runpytest_inprocess(
            *("--pyargs", "pytest_expedition.contract", "--expedition-dry-run"), named
        )
        assert ("POST /api/v1/generate_api_key" in result.stdout.str()) is bool(auth)
        assert result.ret == 0
        result.stdout.fnmatch_lines(
            ["*expedition contract: dry run*", "  POST /api/v1/project/1/import resource=*"]
        )
        assert expedition_server.requests == []

    def test_nor_does_a_list_of_the_tests_need_any(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An editor collects the tests of a project before it runs one."""
        monkeypatch.delenv("EXPEDITION_API_KEY", raising=False)
        result = pytester.runpytest_inprocess(
            *("--pyargs", "pytest_expedition.contract", "--collect-only", "-q"),
            "--expedition-url=http://127.0.0.1:9",
        )
        assert result.ret == 0
        result.stdout.fnmatch_lines(["*test_requirement?create.envelope?"])


def test_acts_of_a_plan_may_start_the_agent(serve: Any) -> None:
    server, target = serve(start_agent=True)
    act = Act(progress=0.5, requests=("start-agent",))
    with Client(replace(target)) as client:
        exchanges = run(client, Plan(jobs=(JobPlan(recipe="export", acts=(act,)),)))
    assert [x.kind for x in exchanges].count("agent") == 2
    assert json.loads(exchanges[0].body)["success"] is True
    assert server.agent_running


class TestTLS:
    @pytest.fixture
    def secure(self) -> Iterator[ExpeditionServer]:
        server = ExpeditionServer(tls=True)
        server.start()
        yield server
        server.stop()

    def judge(self, secure: ExpeditionServer, verify: bool | str) -> Any:  # noqa: FBT001
        secure.reset()
        secure.clock.seconds_per_poll = 0
        secure.instance.set_pace(10)
        limits = Limits(poll_seconds=1.0, job_seconds=40.0)
        target = Target(
            url=secure.url,
            api_key=secure.api_key,
            verify=verify,
            jobs=(IMPORT, EXPORT),
            clock=WaitingClock(secure.advance),
            limits=limits,
        )
        return run_contract(target, profile="smoke")

    def test_a_certificate_that_the_named_ca_signed_is_trusted(
        self, secure: ExpeditionServer
    ) -> None:
        conformance = self.judge(secure, str(secure.ca_file))
        assert conformance.verdict == "conformant"
        assert "certificate" not in "\n".join(verdict_lines(assemble([run_entry(conformance)], [])))

    def test_any_other_is_not_and_the_reason_says_what_to_do(
        self, secure: ExpeditionServer
    ) -> None:
        conformance = self.judge(secure, True)  # noqa: FBT003
        assert conformance.verdict == "error"
        assert "cannot be trusted: " in conformance.reason
        assert 'verify = "ca.pem"' in conformance.reason
        assert conformance.unconfirmed_creations == 0
        assert secure.requests == []

    def test_a_server_that_asks_for_a_client_certificate(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trustme = pytest.importorskip("trustme")
        ca = trustme.CA()
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        ca.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(
            tmp_path / "client.pem"
        )
        monkeypatch.setenv("EXPEDITION_API_KEY", "key")
        config = tmp_path / "expedition.toml"
        asks = (
            'the server asks for a client certificate: name it in the target file (cert = "client'
        )
        for named, told in (("", asks), ('cert = "client.pem"\n', "HTTP 503")):
            with HTTPServer(ssl_context=context) as server:
                server.expect_request(re.compile(".*")).respond_with_data("Down", status=503)
                config.write_text(
                    f'url = "https://127.0.0.1:{server.port}"\nverify = "ca.pem"\n{named}'
                    '[[job]]\nname = "import"\npath = "/api/v1/project/1/import"\n'
                )
                found = run_contract(load(config), profile="smoke")
            assert found.verdict == "error"
            assert told in found.reason
            assert "verify = false" not in found.reason
            if not named:
                assert found.unconfirmed_creations == 0
        assert found.cert == str(tmp_path / "client.pem")

    def test_a_port_without_tls_says_so(self) -> None:
        server = ExpeditionServer()
        server.start()
        url = server.url.replace("http:", "https:")
        found = run_contract(Target(url=url, api_key="key", verify=False), profile="smoke")
        server.stop()
        assert "does not speak TLS" in found.reason
        assert found.unconfirmed_creations == 0
        assert "verify = false" not in found.reason

    def test_a_port_with_tls_that_is_asked_in_plain_http_says_so(
        self, secure: ExpeditionServer
    ) -> None:
        url = secure.url.replace("https:", "http:")
        found = run_contract(Target(url=url, api_key="key"), profile="smoke")
        assert f"{url} does not answer: " in found.reason
        assert found.reason.endswith("; is the url https://…?")

    def test_what_is_not_verified_is_said_once_and_warns_of_nothing(
        self, secure: ExpeditionServer
    ) -> None:
        conformance = self.judge(secure, False)  # noqa: FBT003
        assert conformance.verdict == "conformant"
        lines = verdict_lines(assemble([run_entry(conformance)], []))
        assert [line for line in lines if "certificate" in line] == [
            "the certificate was not verified: verify = false"
        ]


PARROT_CONFTEST = """
import pytest
from pytest_expedition.fake import instance
from pytest_expedition.fake.instance import Instance
from pytest_expedition.oracle import rules

@pytest.fixture(autouse=True, scope="session")
def a_rule_breaks_down():
    def crash(history):
        exchanges = history.exchanges
        raise ZeroDivisionError("a fault of the suite's own")
    rules.RULES["status.bounds"] = crash
"""


class Parrot(Expiring):
    """Repeats the key in its answers, in every spelling, and breaks promises besides."""

    def answer_status(self, job: Job) -> Response:
        honest = super().answer_status(job)
        document = json.loads(honest.body)
        key = self.api_key
        document["echo"] = [key, f"Bearer {key}", {"key": key, "url": f"?k={quote(key, safe='')}"}]
        document["Contents"]["response"]["data"]["content"]["system"]["jobs"]["nextStep"] = key
        body = json.dumps(document).replace("/", r"\/")
        return Response(headers={**honest.headers, "X-Key": key}, body=body.encode())

    def log_in(self, request: Request) -> Response:
        super().log_in(request)
        self.api_key = f"s3cret/key+{self.memory['logins']}"
        return Instance.log_in(self, request)


def test_secrets_are_nowhere_in_what_a_failing_run_leaves_behind(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> Instance:
        instance = Parrot()
        instance.memory["good for"] = 60
        instance.clock.run()
        instance.set_pace(1.0)
        return instance

    server = ExpeditionServer(make)
    server.start()
    monkeypatch.setenv("EXPEDITION_USERNAME", "admin")
    monkeypatch.setenv("EXPEDITION_PASSWORD", "paloalto")
    monkeypatch.delenv("EXPEDITION_API_KEY", raising=False)
    pytester.makeconftest(PARROT_CONFTEST)
    result = pytester.runpytest_subprocess(
        *("--pyargs", "pytest_expedition.contract", "--expedition-profile=smoke"),
        *("-vv", "-l", "--showlocals", "--full-trace", "-o", "log_level=DEBUG"),
        *("--junit-xml=junit.xml", "--log-file=log.txt", "--debug=debug.txt"),
        *(f"--expedition-report=report.{each}" for each in ("json", "html", "md")),
        f"--expedition-url={server.url}",
    )
    logins = server.instance.memory["logins"]
    server.stop()
    assert result.ret in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERNAL_ERROR}
    assert logins >= 2
    files = [each for each in pytester.path.rglob("*") if each.is_file()]
    names = {each.name for each in files}
    assert {"junit.xml", "log.txt", "debug.txt", "report.json", "report.html"} <= names
    left = [result.stdout.str(), result.stderr.str()]
    left += [each.read_text(encoding="utf-8", errors="replace") for each in files]
    spellings = [
        spelled
        for secret in ("s3cret/key+1", "s3cret/key+2", "paloalto")
        for spelled in (secret, secret.replace("/", r"\/"), quote(secret, safe=""), quote(secret))
    ]
    assert any("***" in text for text in left)
    shown = [
        text[max(text.find(x) - 200, 0) :][:400] for x in spellings for text in left if x in text
    ]
    assert shown == []


class Drops(Instance):
    """Reads a creation, and closes the connection."""

    def answer_creation(self, job_request: Any) -> Response:
        return replace(super().answer_creation(job_request), cut=0)


@pytest.mark.parametrize(("listens", "perhaps"), [(False, 0), (True, 2)])
def test_only_a_request_that_was_sent_may_have_created_a_job(
    serve: Any, *, listens: bool, perhaps: int
) -> None:
    server, target = serve(Drops)
    if not listens:
        server.stop()
    found = run_contract(target, profile="smoke")
    assert found.verdict == "error"
    assert "does not answer" in found.reason
    assert found.unconfirmed_creations == perhaps


@pytest.mark.usefixtures("no_http")
@pytest.mark.parametrize(
    "job_seconds", [10, *(pytest.param(each, marks=pytest.mark.long) for each in (None, 60))]
)
@pytest.mark.parametrize(
    "profile", ["smoke", "default", pytest.param("thorough", marks=pytest.mark.long)]
)
def test_a_run_needs_no_more_than_the_readme_says(
    serve: Any, profile: Any, job_seconds: int | None
) -> None:
    head = (
        "profile | of the embedded fake | of a live instance with jobs of 10 s | with jobs of 60 s"
    )
    (told,) = [row for row in rows(head) if row[0] == f"`{profile}`"]
    column = 1 + [None, 10, 60].index(job_seconds)
    jobs, requests = map(int, re.findall(r"\d+", told[column]))
    if job_seconds is None:
        with embedded_target() as target:
            done = run_contract(target, profile=profile, seed=1)
    else:
        _, target = serve(seconds=job_seconds, limits={"job_seconds": Limits().job_seconds})
        done = run_contract(target, profile=profile, seed=1)
    assert jobs / 2 < done.jobs <= jobs
    assert requests / 2 < done.requests <= requests
