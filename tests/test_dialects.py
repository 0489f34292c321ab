"""The dialects: what the fake writes in each, and that the suite finds out which is spoken."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import pytest
import requests

from pytest_expedition import ExpeditionServer, JobScript, validate, validator
from pytest_expedition.fake.dialects import DIALECTS, DialectName
from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.job_requests import JOB_REQUESTS, JobRequest
from pytest_expedition.protocol.envelope import Dialect
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.protocol.validation import EnvelopeName, schema_of
from pytest_expedition.report.document import requirement_entry, run_entry
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract
from pytest_expedition.suite.target import DialectChoice

if TYPE_CHECKING:
    from pytest_expedition.oracle.record import RunRecord

Call = Callable[..., requests.Response]

STATUS_PATHS = {
    "system": "job/status/{}",
    "msg": "job/status/{}",
    "data": "job/{}?complete=true",
    "mixed": "job/status/{}",
}
SCRIPT = JobScript(
    progress=(0, 0.5, 1),
    description="Importing",
    tasks=["Read", "Converted"],
    next_step=["Download"],
)

LIKE_SYSTEM = {
    "jobId": 1619,
    "description": "Importing",
    "state": 0.5,
    "JobMsg": {"statusCode": 0, "statusMessage": "Running"},
    "TasksMsg": [],
    "nextStep": [],
}


LIKE_THE_REFERENCE = {
    "id": 1619,
    "description": "Importing",
    "state": 0.5,
    "status_message": "running",
    "type": "import",
    "resource": 1,
    "resource_type": "project",
    "task_message": None,
    "next_step": [],
    "total_tasks": 2,
    "task": [],
    "created_at": "2023-05-31 00:00:00",
    "updated_at": "2023-05-31 00:00:01",
    "pid": 2619,
    "consumed_memory": "1.5",
    "consumed_cpu": "12",
}


def content_of(answer: requests.Response) -> Any:
    document = answer.json()
    if "Contents" not in document:
        return document["data"]
    return document["Contents"]["response"]["data"]["content"]


@pytest.fixture
def create(expedition_server: ExpeditionServer, call: Call) -> Callable[..., requests.Response]:
    """Let the server speak a dialect, and create a job whose time moves when told."""

    def make(dialect: DialectName, script: JobScript = SCRIPT) -> requests.Response:
        expedition_server.dialect = dialect
        expedition_server.clock.seconds_per_poll = 0
        expedition_server.next_job(script)
        return call("POST", "project/1/import", data={"resource": "/tmp/a.xml"})

    return make


def poll(call: Call, dialect: str, job_id: int = 1619) -> requests.Response:
    return call("GET", STATUS_PATHS[dialect].format(job_id))


def assert_only(answer: requests.Response, envelope: EnvelopeName, dialect: Dialect) -> None:
    """The answer validates in its dialect, and in none whose envelope is another."""
    document = answer.json()
    validate(document, envelope)
    validate(document, schema_of(envelope, dialect))
    for other in get_args(Dialect):
        if "data" in {dialect, other} and dialect != other:
            assert not validator(schema_of(envelope, other)).is_valid(document)


@pytest.mark.parametrize(
    ("dialect", "content"),
    [
        ("system", {"system": {"jobs": {**LIKE_SYSTEM, "state": 0}}}),
        ("msg", {"jobId": 1619}),
        ("data", {"job_id": 1619}),
        ("mixed", {"system": {"jobs": {**LIKE_SYSTEM, "state": 0}}}),
    ],
)
def test_the_creation_answer_of_each_dialect(create: Any, dialect: Any, content: Any) -> None:
    answer = create(dialect)
    assert content_of(answer) == content
    assert_only(answer, "creation", "system" if dialect == "mixed" else dialect)


@pytest.mark.parametrize(
    ("dialect", "content"),
    [
        ("system", {"system": {"jobs": LIKE_SYSTEM}, "msg": LIKE_SYSTEM}),
        ("msg", {"msg": {"state": 0.5, "TasksMsg": [], "errors": []}}),
        ("data", LIKE_THE_REFERENCE),
        ("mixed", {"msg": LIKE_SYSTEM}),
    ],
)
def test_the_status_answer_of_each_dialect(
    create: Any, expedition_server: ExpeditionServer, call: Call, dialect: Any, content: Any
) -> None:
    create(dialect)
    expedition_server.advance(1)
    answer = poll(call, dialect)
    assert content_of(answer) == content
    assert_only(answer, "status", "msg" if dialect == "mixed" else dialect)


@pytest.mark.parametrize(
    ("dialect", "tasks"),
    [
        ("system", lambda content: content["system"]["jobs"]["TasksMsg"]),
        ("msg", lambda content: [each["statusMessage"] for each in content["msg"]["TasksMsg"]]),
        ("data", lambda content: [each["statusMessage"] for each in content["task"]]),
    ],
)
def test_a_finished_job_tells_its_tasks_in_each_dialect(
    create: Any, expedition_server: ExpeditionServer, call: Call, dialect: Any, tasks: Any
) -> None:
    create(dialect)
    expedition_server.advance(2)
    answer = poll(call, dialect)
    assert tasks(content_of(answer)) == ["Read", "Converted"]
    assert_only(answer, "status", dialect)


def test_of_a_job_that_failed_msg_says_which_task_did(
    create: Any, expedition_server: ExpeditionServer, call: Call
) -> None:
    create("msg", replace(SCRIPT, fails=True))
    expedition_server.advance(2)
    answer = poll(call, "msg")
    job = content_of(answer)["msg"]
    assert job["state"] == 1
    assert [each["statusCode"] for each in job["TasksMsg"]] == [1, -1]
    assert job["errors"] == ["Converted"]
    assert_only(answer, "status", "msg")


def test_a_task_that_is_scripted_as_an_object_stays_one(
    create: Any, expedition_server: ExpeditionServer, call: Call
) -> None:
    task = {"statusCode": -1, "statusMessage": "No rights", "resultCode": 7}
    create("msg", replace(SCRIPT, tasks=[task]))
    expedition_server.advance(2)
    assert content_of(poll(call, "msg"))["msg"]["TasksMsg"] == [task]
    expedition_server.dialect = "data"
    assert content_of(poll(call, "data"))["task"] == [{"statusMessage": "No rights"}]


@pytest.mark.parametrize(
    ("query", "told"), [("", False), ("?complete=false", False), ("?complete=true", True)]
)
def test_data_tells_the_tasks_where_they_are_asked_for(
    create: Any, expedition_server: ExpeditionServer, call: Call, query: str, *, told: bool
) -> None:
    create("data")
    expedition_server.advance(2)
    job = content_of(call("GET", "job/1619" + query))
    assert ("task" in job) == told
    assert job["task_message"] == {"statusMessage": "Converted"}
    assert job["next_step"] == [{"description": "Download"}]


@pytest.mark.parametrize(
    ("seconds", "fails", "cancelled", "word"),
    [
        (0, False, False, "pending"),
        (1, False, False, "running"),
        (2, False, False, "completed"),
        (2, True, False, "failed"),
        (1, False, True, "cancelled"),
    ],
)
def test_data_has_a_word_for_the_state_of_a_job(
    create: Any,
    expedition_server: ExpeditionServer,
    call: Call,
    seconds: float,
    fails: Any,
    cancelled: Any,
    word: str,
) -> None:
    create("data", replace(SCRIPT, fails=fails))
    expedition_server.advance(seconds)
    if cancelled:
        call("DELETE", "job/1619")
    assert content_of(poll(call, "data"))["status_message"] == word


def test_a_job_may_fail_below_1_and_stays_there(
    create: Any, expedition_server: ExpeditionServer, call: Call
) -> None:
    create("data", replace(SCRIPT, fails=True, progress=(0, 1 / 3, 2 / 3)))
    expedition_server.advance(1.9)
    assert content_of(poll(call, "data"))["status_message"] == "running"
    for _ in range(2):
        expedition_server.advance(5)
        job = content_of(poll(call, "data"))
        assert (job["status_message"], job["state"]) == ("failed", 2 / 3)
        call("DELETE", "job/1619")


def test_msg_tells_the_full_result_at_a_path_of_its_own(
    create: Any, expedition_server: ExpeditionServer, call: Call
) -> None:
    create("msg")
    expedition_server.advance(2)
    assert call("GET", "job/status/1619/complete").json() == poll(call, "msg").json()


@pytest.mark.parametrize("dialect", ["system", "msg", "mixed"])
@pytest.mark.parametrize("cancellable", [True, False])
def test_the_answer_to_a_cancel_carries_state_and_message(
    create: Any,
    expedition_server: ExpeditionServer,
    call: Call,
    dialect: Any,
    cancellable: Any,
) -> None:
    create(dialect, replace(SCRIPT, cancellable=cancellable, refusal="Not this one"))
    expedition_server.advance(1)
    answer = call("DELETE", "job/1619")
    content = content_of(answer)
    job = content.get("system", {}).get("jobs") or content["msg"]
    assert job["state"] == (-1 if cancellable else 0.5)
    said = "The job is being cancelled" if cancellable else "Not this one"
    assert said in answer.text
    assert_only(answer, "cancel", "system" if dialect == "mixed" else dialect)


@pytest.mark.parametrize(
    ("cancellable", "said", "state"),
    [(True, "The job is being cancelled", -1), (False, "Not this one", 0.5)],
)
def test_data_answers_a_cancel_with_a_message_and_no_job(
    create: Any,
    expedition_server: ExpeditionServer,
    call: Call,
    cancellable: Any,
    said: str,
    state: float,
) -> None:
    create("data", replace(SCRIPT, cancellable=cancellable, refusal="Not this one"))
    expedition_server.advance(1)
    answer = call("DELETE", "job/1619")
    assert "data" not in answer.json()
    assert [each["message"] for each in answer.json()["messages"]] == [said]
    assert_only(answer, "cancel", "data")
    assert content_of(poll(call, "data"))["state"] == state


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_is_written_in_the_dialect(create: Any, call: Call, dialect: Any) -> None:
    create(dialect)
    answer = poll(call, dialect, 99)
    assert answer.status_code == 404
    assert "There is no such job" in answer.text
    assert_only(answer, "error", "system" if dialect == "mixed" else dialect)


def ask_for(call: Call, job_request: JobRequest, **options: Any) -> requests.Response:
    """Send a documented request, with all that it requires."""
    path = re.sub("{.*?}", "7", job_request.path.replace("{config}", "running"))
    path += "?config=running" if job_request.query else ""
    if job_request.files:
        options.setdefault("files", dict.fromkeys(job_request.files, ("config.txt", b"x")))
    return call(job_request.method, path.removeprefix("/api/v1/"), **options)


@pytest.mark.parametrize(
    ("job_request", "dialect"),
    [
        pytest.param(each, dialect, id=f"{each.name}-{dialect}")
        for each in JOB_REQUESTS
        for dialect in each.dialects
    ],
)
def test_every_documented_request_is_answered_in_the_dialect(
    expedition_server: ExpeditionServer, call: Call, dialect: Any, job_request: JobRequest
) -> None:
    expedition_server.dialect = dialect
    answer = ask_for(call, job_request)
    assert_only(answer, "creation", "system" if dialect == "mixed" else dialect)
    assert expedition_server.jobs[0].request == job_request.name


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("command", ["start", "stop", "restart"])
def test_the_agent_answers_in_the_first_envelope_whatever_the_dialect(
    expedition_server: ExpeditionServer, call: Call, dialect: Any, command: str
) -> None:
    expedition_server.dialect = dialect
    answer = call("GET", f"agent/{command}")
    document = answer.json()
    assert document["success"] is True
    messages = document["Contents"]["response"]["response-messages"]["messages"]
    assert "The agent" in messages[0]["message"]


@pytest.mark.parametrize(
    ("dialect", "path", "status"),
    [
        ("system", "job/1619?complete=true", 405),
        ("system", "job/status/1619/complete", 404),
        ("mixed", "job/1619?complete=true", 405),
        ("mixed", "job/status/1619/complete", 404),
        ("msg", "job/1619?complete=true", 405),
        ("msg", "job/status/1619/complete/again", 404),
        ("data", "job/status/1619", 404),
        ("data", "job/status/1619/complete", 404),
    ],
)
def test_the_path_of_another_dialect_is_an_error(
    create: Any, call: Call, dialect: Any, path: str, status: int
) -> None:
    create(dialect)
    answer = call("GET", path)
    assert answer.status_code == status
    validate(answer.json(), "error")


def test_a_method_that_data_does_not_know_is_told_those_that_it_does(
    create: Any, call: Call
) -> None:
    create("data")
    answer = call("PUT", "job/1619")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, DELETE")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_login_is_the_same_in_every_dialect(
    create: Any, expedition_server: ExpeditionServer, call: Call, dialect: Any
) -> None:
    create(dialect)
    form = {"username": "admin", "password": "paloalto"}
    answer = call("POST", "generate_api_key", data=form)
    assert content_of(answer)["api_key"] == expedition_server.api_key
    assert "Contents" in answer.json()


def test_the_loop_of_the_documentation_reads_the_mixture(
    create: Any, expedition_server: ExpeditionServer, call: Call
) -> None:
    create("mixed")
    states = [content_of(poll(call, "mixed"))["msg"]["state"]]
    while json.dumps(states[-1]) != "1":
        expedition_server.advance(0.5)
        states.append(content_of(poll(call, "mixed"))["system"]["jobs"]["state"])
    assert states == [0, 0, 0.5, 0.5, 1]


def test_a_cancel_in_mixed_is_answered_where_the_documentation_reads_it(
    create: Any, call: Call
) -> None:
    create("mixed")
    assert content_of(call("DELETE", "job/1619"))["system"]["jobs"]["state"] == -1


def test_an_unknown_dialect_is_refused(expedition_server: ExpeditionServer) -> None:
    message = "dialect = 'php': must be one of system, msg, data, mixed"
    with pytest.raises(ValueError, match=message):
        Instance(dialect="php")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        expedition_server.dialect = "php"  # type: ignore[assignment]


def test_a_reset_brings_the_first_dialect_back(expedition_server: ExpeditionServer) -> None:
    expedition_server.dialect = "data"
    expedition_server.reset()
    assert expedition_server.instance.dialect == "system"


def test_the_target_file_knows_what_the_schemas_know() -> None:
    assert get_args(DialectChoice) == ("auto", *get_args(Dialect))


def judged(spoken: DialectName, named: DialectChoice = "auto") -> RunRecord:
    with embedded_target(lambda: Instance(dialect=spoken)) as target:
        return run_contract(replace(target, dialect=named), profile="smoke")


@pytest.mark.usefixtures("no_http")
@pytest.mark.parametrize(
    ("spoken", "named"),
    [
        *((dialect, "auto") for dialect in DIALECTS),
        *((dialect, dialect) for dialect in get_args(Dialect)),
        ("mixed", "system"),
    ],
)
def test_the_honest_fake_conforms_in_every_dialect(spoken: Any, named: Any) -> None:
    conformance = judged(spoken, named)
    assert (conformance.verdict, conformance.reason) == ("conformant", "")
    assert conformance.dialect == spoken
    assert run_entry(conformance)["target"]["dialect"] == spoken
    reasons = {
        result.requirement.id: requirement_entry(conformance, result)["reason"]
        for result in conformance.results
        if result.outcome == "not-tested"
    }
    foreign = {each.id for each in CATALOGUE.values() if not each.is_about(spoken)}
    reason = f"the dialect {spoken} does not have what the requirement is about"
    expected = dict.fromkeys(foreign, reason)
    if spoken == "data":  # the fake's answer to a cancel has no state there
        expected["cancel.immediate"] = "no answer has the field that the requirement is about"
    assert reasons == expected
    assert "fail" not in {result.outcome for result in conformance.results}


@pytest.mark.parametrize(
    ("spoken", "named"),
    [("system", "data"), ("data", "system"), ("msg", "system"), ("mixed", "msg")],
)
def test_a_target_that_speaks_another_dialect_than_it_is_said_to(spoken: Any, named: Any) -> None:
    conformance = judged(spoken, named)
    assert conformance.verdict == "error"
    answered_in = "system" if spoken == "mixed" else spoken
    assert conformance.reason.endswith(
        f"does not speak the dialect {named} that the target names: POST /api/v1/projects/1/export "
        f'was answered in the dialect {answered_in}; say `dialect = "{answered_in}"`, or "auto"'
    )
    assert conformance.dialect == answered_in
    assert [r.requirement.id for r in conformance.results if r.outcome == "fail"] == []
    assert conformance.requests <= 3 * conformance.jobs  # creations, cancels, and what came of them


def test_each_job_is_asked_for_in_the_dialect_in_which_it_was_created() -> None:
    class TwoGenerations(Instance):
        """Imports are jobs of the first dialect, exports of the last."""

        def route(self, request: Any) -> Any:
            newer = request.path.endswith("/export")
            job_id = request.path.rpartition("/")[2]
            job = self.find(int(job_id)) if job_id.isdecimal() else None
            self.dialect = "data" if newer or (job and job.request == "export") else "system"
            return super().route(request)

    with embedded_target(TwoGenerations) as target:
        conformance = run_contract(target, profile="smoke")
    assert conformance.verdict == "conformant", conformance.reason
