"""What the fake answers in the dialect `data` only, as the vendor's API reference declares it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator

from pytest_expedition import ExpeditionServer, JobScript, validate
from pytest_expedition.fake.instance import DATA_ROUTES, LOGIN_PATHS
from pytest_expedition.fake.job_requests import JOB_REQUESTS

Call = Callable[..., requests.Response]

BY_REFERENCE = 29
"""How many requests of the API reference answer with a job id."""


@pytest.fixture(autouse=True)
def server(expedition_server: ExpeditionServer) -> ExpeditionServer:
    expedition_server.dialect = "data"
    expedition_server.clock.seconds_per_poll = 0
    return expedition_server


def create(call: Call, server: ExpeditionServer, path: str, **script: Any) -> int:
    server.next_job(JobScript(**{"progress": (0, 0.5, 1), **script}))
    job_id: int = call("POST", path).json()["data"]["job_id"]
    return job_id


def listed(call: Call, query: str) -> list[int]:
    answer = call("GET", f"job?{query}")
    assert answer.status_code == 200
    validate(answer.json(), "jobs-data")
    validate(answer.json(), "fields-data")
    return [job["id"] for job in answer.json()["data"]["job"]]


def test_all_requests_of_the_reference_are_there() -> None:
    old = {"import", "export", "push", "retrieve"}
    names = {each.name for each in JOB_REQUESTS if "data" in each.dialects} - old
    assert len(names) == BY_REFERENCE


def test_the_list_of_jobs_is_filtered_by_status(call: Call, server: ExpeditionServer) -> None:
    done = create(call, server, "project/1/export_config")
    failed = create(call, server, "project/1/tools/reduce", progress=(0, 0.5), fails=True)
    server.advance(5)
    cancelled = create(call, server, "project/1/tools/combine")
    call("DELETE", f"job/{cancelled}")
    pending = create(call, server, "device/7/retrieve_connected_devices")
    assert listed(call, "status=all") == [done, failed, cancelled, pending]
    assert listed(call, "status=completed") == [done, failed]
    assert listed(call, "status=cancelled") == [cancelled]
    assert listed(call, "status=pending") == listed(call, "") == [pending]
    assert listed(call, "status=all&type=retrieve_device_config") == [pending]


def test_the_list_of_jobs_has_pages(call: Call, server: ExpeditionServer) -> None:
    ids = [create(call, server, "project/1/tools/reduce") for _ in range(5)]
    assert listed(call, "page=2&limit=2") == ids[2:4]
    assert listed(call, "page=3&limit=2") == ids[4:]
    pages = call("GET", "job?page=2&limit=2").json()["pagination"]
    assert pages == {"total": 5, "current_page": 2, "per_page": 2, "total_pages": 3}


@pytest.mark.parametrize("query", ["status=done", "page=0", "limit=x", "type=cooking"])
def test_a_list_request_that_is_not_valid_is_refused(call: Call, query: str) -> None:
    answer = call("GET", f"job?{query}")
    assert answer.status_code == 400
    validate(answer.json(), "error-data")


def test_project_and_device_tell_their_last_job(call: Call, server: ExpeditionServer) -> None:
    create(call, server, "project/22/tools/reduce")
    second = create(call, server, "project/22/tools/combine")
    device = create(call, server, "device/7/retrieve_connected_devices")
    assert call("GET", "project/22/job").json()["data"]["id"] == second
    assert call("GET", "device/7/job?complete=true").json()["data"]["id"] == device
    assert call("GET", "device/22/job").status_code == 404


def test_delete_without_an_id_cancels_every_job_that_can_be(
    call: Call, server: ExpeditionServer
) -> None:
    one = create(call, server, "project/1/tools/reduce")
    other = create(call, server, "project/1/tools/reduce", cancellable=False)
    answer = call("DELETE", "job")
    assert answer.status_code == 200
    validate(answer.json(), "cancel-data")
    states = [call("GET", f"job/{job}").json()["data"]["state"] for job in (one, other)]
    assert states == [-1, 0]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("project/1/export_config", {"source": 3}, 200),
        ("project/1/export_config", {}, 200),
        ("project/1/export_config", {"source": "3"}, 400),
        ("project/1/export_config", [3], 400),
        ("project/1/export_api_calls", {"operation": "set", "type": "mega"}, 200),
        ("project/1/export_api_calls", {"operation": "remove"}, 400),
        ("project/1/policy/nat/3/replicate", {"where": "top", "id": [1, 2]}, 200),
        ("project/1/import/device", {"device_id": 1, "managed_by_panorama": True}, 200),
        ("project/1/tools/filter/4/execute", {"source_id": 3}, 200),
        ("project/1/convert", {}, 404),
    ],
)
def test_json_bodies_have_the_declared_types(call: Call, path: str, body: Any, status: int) -> None:
    assert call("POST", path, json=body).status_code == status


def test_where_a_page_shows_a_form_it_is_taken(call: Call) -> None:
    answer = call("POST", "project/1/tools/filter/4/execute", data={"source_id": "3"})
    assert answer.status_code == 200


@pytest.mark.parametrize("vendor", ["checkpoint", "stonesoft"])
def test_an_upload_needs_its_files(call: Call, vendor: str) -> None:
    path = f"project/1/migration/2/upload_and_discover/{vendor}"
    files = carried(next(each for each in UPLOADS if each.endswith(vendor)))["files"]
    answer = call("POST", path, files=files)
    assert answer.status_code == 200
    validate(answer.json(), "creation-data")
    for missing in files:
        answer = call("POST", path, files={x: files[x] for x in files if x != missing})
        assert answer.status_code == 400
        validate(answer.json(), "error-data")


def test_the_config_to_retrieve_is_named_in_the_query(call: Call) -> None:
    assert call("GET", "device/1/retrieve_content/config?config=running").status_code == 200
    assert call("GET", "device/1/retrieve_content/config?config=old").status_code == 400
    assert call("GET", "device/1/retrieve_content/config").status_code == 400


def test_the_agent_is_told_by_type_and_by_id(call: Call, server: ExpeditionServer) -> None:
    (agent,) = call("GET", "agent").json()["data"]["agent"]
    assert (agent["status"], agent["type"]) == ("idle", "generic")
    stopped = call("POST", f"agent/{agent['id']}/stop").json()["data"]
    assert (stopped["id"], stopped["status"]) == (agent["id"], "stopped")
    assert not server.instance.agent_running
    create(call, server, "project/1/tools/reduce")
    assert call("POST", "agent/generic/start").json()["data"]["status"] == "running"
    assert call("POST", f"agent/{agent['id']}/restart").json()["data"]["status"] == "running"
    assert call("GET", "agent/generic").json() == call("GET", "agent").json()
    assert call("POST", f"agent/{agent['id'] + 1}/stop").status_code == 404
    assert call("GET", "agent/generic/start").status_code == 405
    assert "Contents" in call("GET", "agent/stop").json()  # as the page has it
    assert not server.instance.agent_running


def test_a_login_by_json_is_answered_as_the_reference_declares(
    call: Call, server: ExpeditionServer
) -> None:
    right = {"username": "admin", "password": "paloalto"}
    for path in ("login", "generate_api_key"):
        by_json = call("POST", path, json=right).json()
        assert by_json["data"]["api_key"] == server.api_key
        assert {name: type(each) for name, each in by_json["data"].items()} == {
            "api_key": str,
            "csrf_token": str,
            "user_id": int,
        }
        assert "Contents" in call("POST", path, data=right).json()
        assert call("POST", path, json={**right, "password": "no"}).status_code == 401
        assert call("POST", path, json=["admin"]).status_code == 401
        assert (
            call("POST", path, data=b"{", headers={"Content-Type": "application/json"}).status_code
            == 400
        )


NUMBER, TEXT, FLAG = {"type": "integer"}, {"type": "string"}, {"type": "boolean"}


def typed(**fields: dict[str, Any]) -> dict[str, Any]:
    """An object with fields of these types, all of which are there."""
    return {"type": "object", "properties": fields, "required": list(fields)}


def or_null(field: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [field, {"type": "null"}]}


MESSAGE = typed(
    message=TEXT,
    code=NUMBER,
    details=typed(module=or_null(TEXT), description=or_null(TEXT)),
)
ENVELOPE = typed(
    success=FLAG,
    metadata={"type": "object"},
    pagination=typed(total=NUMBER, current_page=NUMBER, per_page=NUMBER, total_pages=NUMBER),
    messages={"type": "array", "items": MESSAGE},
)
WORDS = ["pending", "started", "running", "completed", "failed", "cancelled"]
JOB = typed(
    id=NUMBER,
    description=TEXT,
    state={"type": "number"},
    status_message={"enum": WORDS},
    type=TEXT,
    resource=NUMBER,
    resource_type=TEXT,
    task_message=or_null({"type": "object"}),
    next_step={"type": "array", "items": {"type": "object"}},
    total_tasks=NUMBER,
    created_at=TEXT,
    updated_at=TEXT,
    pid=or_null(NUMBER),  # a job that has not begun has none
    consumed_memory=TEXT,
    consumed_cpu=TEXT,
)
JOB["properties"]["task"] = {"type": "array", "items": {"type": "object"}}
AGENT = typed(
    id=NUMBER,
    type={"const": "generic"},
    status={"enum": ["running", "stopped", "idle"]},
    agent_started=TEXT,
    killable=FLAG,
    cpu=NUMBER,
)
AGENTS = typed(agent={"type": "array", "items": AGENT})
CREATED = typed(job_id=NUMBER)
KEY = typed(api_key=TEXT, csrf_token=TEXT, user_id=NUMBER)
NO_DATA: None = None

REQUESTS: list[tuple[str, str, int, dict[str, Any] | None]] = [
    *(
        (each.method, each.path + ("?config=running" if each.query else ""), 200, CREATED)
        for each in JOB_REQUESTS
        if "data" in each.dialects
    ),
    ("GET", "/api/v1/job/1619", 200, JOB),
    ("GET", "/api/v1/job/1619?complete=true", 200, JOB),
    ("GET", "/api/v1/job?status=all", 200, typed(job={"type": "array", "items": JOB})),
    ("GET", "/api/v1/project/7/job", 200, JOB),
    ("GET", "/api/v1/device/8/job", 404, NO_DATA),
    ("DELETE", "/api/v1/job/1619", 200, NO_DATA),
    ("DELETE", "/api/v1/job", 200, NO_DATA),
    ("GET", "/api/v1/job/9", 404, NO_DATA),
    ("GET", "/api/v1/job/x", 400, NO_DATA),
    ("DELETE", "/api/v1/job/9", 404, NO_DATA),
    ("GET", "/api/v1/agent", 200, AGENTS),
    ("GET", "/api/v1/agent/generic", 200, AGENTS),
    ("POST", "/api/v1/agent/generic/start", 200, AGENT),
    ("POST", "/api/v1/agent/1/stop", 200, AGENT),
    ("POST", "/api/v1/agent/1/restart", 200, AGENT),
    ("POST", "/api/v1/agent/9/stop", 404, NO_DATA),
    ("POST", "/api/v1/login", 200, KEY),
    ("POST", "/api/v1/generate_api_key", 200, KEY),
    ("PUT", "/api/v1/job/1619", 405, NO_DATA),
    ("GET", "/api/v1/nowhere", 404, NO_DATA),
    ("GET", "/api/v1/job?status=done", 400, NO_DATA),
]
UPLOADS = {each.path: each.files for each in JOB_REQUESTS if each.files}
LOGIN = {"username": "admin", "password": "paloalto"}


def carried(path: str) -> dict[str, Any]:
    """What a request to a path carries."""
    if path in UPLOADS:
        return {"files": {name: (f"{name}.txt", b"x") for name in UPLOADS[path]}}
    return {"json": LOGIN} if path in LOGIN_PATHS else {}


def test_every_operation_is_among_them() -> None:
    asked = {(method, path.partition("?")[0]) for method, path, _, _ in REQUESTS}
    for each in JOB_REQUESTS:
        assert "data" not in each.dialects or (each.method, each.path) in asked
    for pattern, answers in DATA_ROUTES:
        for method in answers:
            assert any(x[0] == method and pattern.fullmatch(x[1]) for x in asked), pattern.pattern


@pytest.mark.parametrize(
    ("method", "path", "status", "data"),
    REQUESTS,
    ids=[f"{each[0]} {each[1]}" for each in REQUESTS],
)
def test_every_answer_is_as_the_reference_declares_it(
    call: Call,
    server: ExpeditionServer,
    method: str,
    path: str,
    status: int,
    data: dict[str, Any] | None,
) -> None:
    create(call, server, "project/7/tools/reduce", tasks=["Read"], next_step=[{"resource": 255}])
    server.advance(1)
    filled = re.sub("{.*?}", "7", path.replace("{config}", "running"))
    answer = call(method, filled.removeprefix("/api/v1/"), **carried(path))
    assert answer.status_code == status
    document = answer.json()
    assert not list(Draft202012Validator(ENVELOPE).iter_errors(document))
    assert document["success"] == (status == 200)
    if data is NO_DATA:
        assert "data" not in document
    else:
        assert not list(Draft202012Validator(data).iter_errors(document["data"]))
