"""The schemas say what the documentation says, and a failed validation helps."""

from __future__ import annotations

import copy
import json
import re
import socket
from pathlib import Path
from typing import Any, get_args

import pytest
from histories import RAISED, envelope, error, in_data, job_fields
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

import pytest_expedition
from pytest_expedition import SCHEMA_NAMES, SchemaViolation, schema, validate, validator
from pytest_expedition.protocol.envelope import Dialect
from pytest_expedition.protocol.validation import schema_of

EXAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "examples" / "creation.json").read_text(encoding="utf-8")
)
"""The documentation's example of a creation answer."""

DATA_CREATION: dict[str, Any] = {
    "data": {"job_id": 6421},
    "metadata": {},
    "pagination": {"total": 1, "current_page": 1, "per_page": 25, "total_pages": 1},
    "success": True,
}

TASK = {"statusCode": 1, "statusMessage": "Read", "resultCode": 0}


def paths(document: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every field of a document, by its path."""
    if not isinstance(document, dict):
        return []
    return [
        path
        for name, value in document.items()
        for path in [(*prefix, name), *paths(value, (*prefix, name))]
    ]


def changed(document: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at a path, or without the field."""
    result = copy.deepcopy(document)
    parent = result
    for name in path[:-1]:
        parent = parent[name]
    if value is RAISED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return result


def status(content: Any) -> dict[str, Any]:
    return envelope(content)


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_each_schema_is_a_titled_described_schema_of_2020_12(name: Any) -> None:
    document = schema(name)
    Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"].endswith(f"/{name}.json")
    assert document["title"]
    assert document["description"]


def test_every_schema_file_is_offered() -> None:
    folder = Path(pytest_expedition.__file__).parents[1] / "schemas"
    if not folder.is_dir():
        folder = Path(pytest_expedition.__file__).parent / "schemas"
    assert {path.stem for path in folder.glob("*.json")} == set(SCHEMA_NAMES)


def test_references_are_resolved_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a validator reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in SCHEMA_NAMES:
        # An answer with everything wrong leads the validator down every branch.
        list(validator(name).iter_errors({"Contents": {"response": {"data": {"content": {}}}}}))
        list(validator(name).iter_errors({"data": {"state": 7}}))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown schema 'jobs'; there are creation, creation-system"
    ):
        schema("jobs")  # type: ignore[arg-type]


def test_the_documented_example_validates_as_it_stands() -> None:
    validate(EXAMPLE, "creation")
    validate(EXAMPLE, "status")
    validate(EXAMPLE, "cancel")
    validate(DATA_CREATION, "creation")


EXAMPLES: dict[str, dict[str, Any]] = {
    "creation-system": EXAMPLE,
    "creation-msg": envelope({"jobId": 1619}),
    "creation-data": DATA_CREATION,
    "status-system": envelope({"system": {"jobs": {"state": 0.5}}}),
    "status-msg": envelope({"msg": {"state": 0.5, "TasksMsg": [TASK], "errors": []}}),
    "status-data": {**DATA_CREATION, "data": {"state": 0.5, "task": [{"statusMessage": "Read"}]}},
}
"""Each answer that the documentation shows, with the fields that it shows."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_dialects_validate_what_they_show(name: Any) -> None:
    document = EXAMPLES[name]
    kind, dialect = name.split("-")
    validate(document, name)
    validate(document, kind)
    if kind == "status":
        validate(document, schema_of("cancel", dialect))
    for other in get_args(Dialect):
        assert other == dialect or not validator(schema_of(kind, other)).is_valid(document)


FIELDS = [(name, path) for name in EXAMPLES for path in paths(EXAMPLES[name])]
ONLY_SOMETIMES = {"TasksMsg", "task", "errors"}
"""What a status need not carry."""


NEEDED_IN_DATA = {"data", "job_id", "state"}
"""What makes an answer of the dialect `data` tell of a job; the reference requires nothing."""

READ_BY_NO_RULE = {"metadata", "pagination"}
"""The fields of the dialect `data` in these examples whose types `fields-data` has."""


@pytest.mark.parametrize(("name", "path"), FIELDS)
def test_what_a_dialect_shows_in_every_answer_may_not_be_missing(
    name: Any, path: tuple[str, ...]
) -> None:
    without = changed(EXAMPLES[name], path, RAISED)
    if name.endswith("-data"):
        may_be = path[-1] not in NEEDED_IN_DATA
    else:
        may_be = name.startswith("status") and path[-1] in ONLY_SOMETIMES
    assert validator(name).is_valid(without) == may_be


REGISTRY: Registry[Any] = map(DRAFT202012.create_resource, map(schema, SCHEMA_NAMES)) @ Registry()


@pytest.mark.parametrize("kind", ["creation", "status", "cancel"])
def test_validators_judge_as_the_schemas_do_with_their_references(kind: Any) -> None:
    with_references = Draft202012Validator(schema(kind), registry=REGISTRY)
    judged = set()
    for name, path in FIELDS:
        document = changed(EXAMPLES[name], path, None)
        valid = with_references.is_valid(document)
        assert validator(kind).is_valid(document) == valid, (name, path)
        judged.add(valid)
    assert judged == {True, False}


@pytest.mark.parametrize(("name", "path"), [each for each in FIELDS if each[1][-1] != "errors"])
def test_what_a_dialect_shows_may_not_be_of_another_type(name: Any, path: tuple[str, ...]) -> None:
    other = "0" if path[-1] == "state" else 1.5
    document = changed(EXAMPLES[name], path, other)
    if name.endswith("-data") and READ_BY_NO_RULE & set(path):
        name = "fields-data"
    assert not validator(name).is_valid(document)


JOB_OF_THE_REFERENCE: dict[str, Any] = {
    "id": 1619,
    "description": "Importing",
    "state": 0.5,
    "status_message": "running",
    "type": "import",
    "resource": 22,
    "resource_type": "project",
    "task_message": {"statusMessage": "Read"},
    "next_step": [{"resource": 255}],
    "total_tasks": 2,
    "task": [{"statusMessage": "Read"}],
    "created_at": "2023-05-31 10:00:00",
    "updated_at": "2023-05-31 10:00:01",
    "pid": 4711,
    "consumed_memory": "1.2",
    "consumed_cpu": "0.3",
}
"""A job as the API reference declares it."""

READ_BY_RULES = {"id", "state", "status_message", "next_step", "task"}


@pytest.mark.parametrize("field", JOB_OF_THE_REFERENCE)
def test_each_field_of_a_job_of_the_reference_has_its_type(field: str) -> None:
    validate(in_data(**JOB_OF_THE_REFERENCE), "status-data")
    validate(in_data(**JOB_OF_THE_REFERENCE), "fields-data")
    checked_by: Any = "status-data" if field in READ_BY_RULES else "fields-data"
    wrong = True if isinstance(JOB_OF_THE_REFERENCE[field], str | int | float) else "text"
    with pytest.raises(SchemaViolation) as caught:
        validate(in_data(**{**JOB_OF_THE_REFERENCE, field: wrong}), checked_by)
    assert caught.value.path == f"$.data.{field}"
    null = in_data(**{**JOB_OF_THE_REFERENCE, field: None})
    assert validator(checked_by).is_valid(null) == (field not in READ_BY_RULES)


def test_a_list_of_jobs_is_checked_job_by_job() -> None:
    validate(in_data(job=[JOB_OF_THE_REFERENCE, {"id": 3}]), "jobs-data")
    validate(in_data(job=[]), "jobs-data")
    for job in ({"state": 1}, {"id": 3, "state": "1"}, 7):
        with pytest.raises(SchemaViolation):
            validate(in_data(job=[job]), "jobs-data")
    with pytest.raises(SchemaViolation):
        validate(in_data(job=[{"id": 3, "pid": "7"}]), "fields-data")


@pytest.mark.parametrize(
    "document",
    [
        {"success": True},
        {"success": False, "messages": [{"message": "It cannot be cancelled", "code": 3}]},
        {"success": True, "data": None, "metadata": [], "pagination": []},
        {"success": True, "data": []},
        {"success": True, "data": {}},
        {"success": True, "data": {"job_id": 3, "state": -1}},
        {"messages": [{"message": None, "details": {"module": None, "description": None}}]},
    ],
)
def test_the_answer_to_a_cancel_of_data_need_not_carry_the_job(document: dict[str, Any]) -> None:
    validate(document, "cancel-data")
    validate(document, "cancel")


@pytest.mark.parametrize(
    "document",
    [
        {"success": "true"},
        {"success": True, "data": "cancelled"},
        {"success": True, "data": [1]},
        {"success": True, "data": {"state": "-1"}},
        {"success": True, "messages": {"message": "no"}},
        {"success": True, "messages": ["no"]},
        {"success": True, "messages": [{"message": 7}]},
    ],
)
def test_what_the_answer_to_a_cancel_of_data_carries_has_its_type(document: dict[str, Any]) -> None:
    assert not validator("cancel-data").is_valid(document)


def test_an_error_of_data_says_no_success() -> None:
    validate({"success": False, "messages": [{"message": "No such job", "code": 404}]}, "error")
    assert not validator("error-data").is_valid({"success": True, "messages": []})


@pytest.mark.parametrize(
    ("name", "task", "valid"),
    [
        ("status-msg", TASK, True),
        ("status-msg", "Read", True),  # where msg and system are mixed
        ("status-msg", {**TASK, "statusCode": "1"}, False),
        ("status-msg", {"statusCode": 1}, False),
        ("status-msg", 7, False),
        ("status-data", {"statusMessage": "Read"}, True),
        ("status-data", {**TASK, "more": 1}, True),
        ("status-data", {}, True),  # the reference declares an object, and nothing in it
        ("status-data", "Read", False),
    ],
)
def test_tasks_are_written_as_the_dialect_shows_them(name: Any, task: Any, valid: bool) -> None:  # noqa: FBT001
    job = {"state": 1, "TasksMsg": [task], "task": [task]}
    document = in_data(**job) if name == "status-data" else envelope({"msg": job})
    assert validator(name).is_valid(document) == valid


def test_all_missing_fields_of_an_object_are_named() -> None:
    with pytest.raises(SchemaViolation) as caught:
        validate({"Type": "success", "success": True}, "creation-system")
    assert str(caught.value) == (
        "$.Contents-Format is missing, expected this field; also missing: Contents"
    )
    assert caught.value.path == "$.Contents-Format"


@pytest.mark.parametrize("path", paths(EXAMPLE), ids="/".join)
def test_no_documented_field_may_be_missing(path: tuple[str, ...]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        validate(changed(EXAMPLE, path, RAISED), "creation")
    assert "missing" in str(caught.value)
    assert path[-1] in caught.value.path


@pytest.mark.parametrize("path", paths(EXAMPLE), ids="/".join)
def test_no_documented_field_may_be_of_another_type(path: tuple[str, ...]) -> None:
    before: Any = EXAMPLE
    for name in path:
        before = before[name]
    if before is None:
        other: Any = 1.5  # shown as null only
    else:
        other = 7 if isinstance(before, str) else "text"
    with pytest.raises(SchemaViolation):
        validate(changed(EXAMPLE, path, other), "creation")


@pytest.mark.parametrize("path", [(), *paths(EXAMPLE)], ids="/".join)
def test_unknown_fields_are_allowed(path: tuple[str, ...]) -> None:
    parent: Any = EXAMPLE
    for name in path:
        parent = parent[name]
    if isinstance(parent, dict):
        validate(changed(EXAMPLE, (*path, "unheard-of"), [1]), "creation")


def test_php_writes_an_empty_object_as_an_empty_list() -> None:
    validate(changed(EXAMPLE, ("Contents", "metadata"), []), "creation")
    with pytest.raises(SchemaViolation):
        validate(changed(EXAMPLE, ("Contents", "metadata"), [1]), "creation")


@pytest.mark.parametrize("state", [0, 1, 0.5, -1, 1.0])
@pytest.mark.parametrize("place", ["msg", "system", "both"])
def test_a_status_carries_a_state_at_either_place(state: float, place: str) -> None:
    job = {"state": state}
    content: dict[str, Any] = {}
    if place != "system":
        content["msg"] = job
    if place != "msg":
        content["system"] = {"jobs": job}
    validate(status(content), "status")
    validate(envelope(content, messages=("no",), success=False), "cancel")


@pytest.mark.parametrize("state", [1.5, -0.5, -2, "1", None, True, [], float("nan")])
@pytest.mark.parametrize("place", ["msg", "system"])
def test_a_status_with_another_state_is_invalid(state: Any, place: str) -> None:
    job = {"state": state}
    content = {"msg": job} if place == "msg" else {"system": {"jobs": job}}
    with pytest.raises(SchemaViolation) as caught:
        validate(status(content), "status")
    assert caught.value.path.endswith(".state")


def test_a_status_without_a_job_is_invalid() -> None:
    with pytest.raises(SchemaViolation, match=re.escape("content.system is missing")):
        validate(status({}), "status")


def test_a_status_that_reports_failure_is_invalid() -> None:
    failed = envelope({"msg": {"state": 0}}, success=False)
    with pytest.raises(SchemaViolation, match="success"):
        validate(failed, "status")


def test_an_error_reports_failure_with_a_message() -> None:
    validate(error("There is no such job"), "error")
    with pytest.raises(SchemaViolation):
        validate(EXAMPLE, "error")
    with pytest.raises(SchemaViolation, match="messages"):
        validate(envelope(None, success=False), "error")


def test_a_failed_validation_tells_path_value_and_expectation() -> None:
    wrong = envelope({"system": {"jobs": job_fields(state="0.5")}})
    with pytest.raises(SchemaViolation) as caught:
        validate(wrong, "status")
    assert str(caught.value) == (
        '$.Contents.response.data.content.system.jobs.state is "0.5", expected number'
    )
    assert caught.value.value == "0.5"


def test_the_first_of_the_offending_values_is_told() -> None:
    jobs = [{"id": 3 if number not in {2, 10} else "3"} for number in range(12)]
    with pytest.raises(SchemaViolation) as caught:
        validate(in_data(job=jobs), "jobs-data")
    assert caught.value.path == "$.data.job[2].id"


@pytest.mark.parametrize("number", [10**400, 10**4000], ids=["400 digits", "4000 digits"])
@pytest.mark.parametrize("path", [("Type",), ("success",), ("Contents", "code")])
def test_numbers_of_any_size_break_no_validator(number: int, path: tuple[str, ...]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        validate(changed(EXAMPLE, ("Contents",), number), "creation")
    assert "Contents is " in str(caught.value)
    validator("creation").is_valid(changed(EXAMPLE, path, number))
