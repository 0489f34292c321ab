"""The OpenAPI 3.1 descriptions of what the fake instance answers, in `system` and in `data`.

They use the schemas in ``schemas/``, and describe the requests that the instance knows.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from pytest_expedition.fake.bodies import BODY_LIMIT, JSON, MULTIPART, URL_ENCODED
from pytest_expedition.fake.instance import (
    AGENT_COMMANDS,
    JOB_FILTERS,
    JOB_TYPES,
    MAX_JOB_ID,
    PASSWORD,
    USERNAME,
)
from pytest_expedition.fake.job_requests import CHOICES, JOB_REQUESTS
from pytest_expedition.protocol.validation import schema, schema_of

if TYPE_CHECKING:
    from pytest_expedition.fake.job_requests import JobRequest
    from pytest_expedition.protocol.validation import EnvelopeName

Document = dict[str, Any]

DescribedDialect = Literal["system", "data"]
DESCRIBED: Final[tuple[DescribedDialect, ...]] = get_args(DescribedDialect)

_SCHEMAS: Final[tuple[EnvelopeName, ...]] = ("creation", "status", "cancel", "error")
_JOB_ID: Final[dict[DescribedDialect, str]] = {
    "system": "$response.body#/Contents/response/data/content/system/jobs/jobId",
    "data": "$response.body#/data/job_id",
}
"""Where a creation answer has the id, for the links."""

_ID: Final = {"type": "integer", "minimum": 1, "maximum": MAX_JOB_ID}
_RESOURCE_ID: Final = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_ERRORS: Final = {
    400: "The request, its job id or its body is malformed.",
    401: "The key, or user name and password, are missing or wrong.",
    404: "There is no such resource, or no such job.",
    413: f"The body is larger than {BODY_LIMIT} bytes.",
    415: "The body is of a type that is not accepted.",
}


def describe(dialect: DescribedDialect = "system") -> Document:
    """Return the description of a dialect as a fresh document."""
    paths: Document = {
        **{
            f"/api/v1/{name}": {"post": _login(name, dialect)}
            for name in ("generate_api_key", "login")
        },
        **{
            each.path: {each.method.lower(): _creation(each, dialect)}
            for each in JOB_REQUESTS
            if dialect in each.dialects
        },
        **{path: {"get": _agent(path)} for path in AGENT_COMMANDS},
    }
    cancel = {"delete": _about_job("cancel", "Cancel a job, if it can be cancelled")}
    status = {"get": _about_job("status", "Get the status of a job")}
    if dialect == "system":
        paths["/api/v1/job/status/{jobId}"] = status
        paths["/api/v1/job/{jobId}"] = cancel
    else:
        status["get"]["parameters"].append(_COMPLETE)
        paths["/api/v1/job/{jobId}"] = {**status, **cancel}
        paths |= _paths_of_data()
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Job API of Expedition 2.0",
            "version": version("pytest-expedition"),
            "description": "What the fake instance of pytest-expedition answers, by the "
            f"documentation of Expedition 2.0, in the dialect `{dialect}`, to the requests of the "
            "job API. Other requests of the documented workflows are left out. Any other path is "
            "answered with 404, any other method with 405, in the error envelope.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {str(status): _answer(text, "error") for status, text in _ERRORS.items()},
            "schemas": _schemas(dialect),
        },
    }


def _query(name: str, values: Document) -> Document:
    return {"name": name, "in": "query", "required": False, "schema": values}


_COMPLETE: Final = _query("complete", {"enum": ["true", "false", "1", "0"], "default": "false"})
"""Whether the answer carries the tasks of the job."""


def _paths_of_data() -> Document:
    """Return the paths that only the dialect `data` has, besides those of a single job."""
    filters = [
        _query("status", {"enum": list(JOB_FILTERS), "default": "pending"}),
        _query("type", {"enum": list(JOB_TYPES)}),
        _query("page", {**_ID, "default": 1}),
        _query("limit", {**_ID, "default": 25}),
        _COMPLETE,
    ]
    agent_id = _parameter("agentId", _RESOURCE_ID)
    paths: Document = {
        "/api/v1/job": {
            "get": {
                "operationId": "list-jobs",
                "summary": "List the jobs of a status and a type",
                "parameters": filters,
                "responses": {"200": _answer("The jobs.", "jobs"), **_errors(400, 401)},
            },
            "delete": {
                "operationId": "cancel-all",
                "summary": "Cancel the pending jobs of all users",
                "responses": {"200": _answer("They are being cancelled.", "done"), **_errors(401)},
            },
        },
        "/api/v1/agent": {"get": _about_agents("list-agents", "List all agents", "agents")},
        "/api/v1/agent/generic": {
            "get": _about_agents("list-generic-agents", "List the agents of a type", "agents")
        },
        "/api/v1/agent/generic/start": {
            "post": _about_agents("start-agent", "Start the agent", "one-agent")
        },
    }
    for kind in ("project", "device"):
        paths[f"/api/v1/{kind}/{{{kind}Id}}/job"] = {
            "get": {
                "operationId": f"job-of-{kind}",
                "summary": f"Get the job of a {kind}",
                "parameters": [_parameter(f"{kind}Id", _RESOURCE_ID), _COMPLETE],
                "responses": {"200": _answer("The job.", "status"), **_errors(400, 401, 404)},
            }
        }
    for command in ("stop", "restart"):
        operation = _about_agents(
            f"{command}-agent", f"{command.capitalize()} the agent with an id", "one-agent"
        )
        operation["parameters"] = [agent_id]
        operation["responses"].update(_errors(404))
        paths[f"/api/v1/agent/{{agentId}}/{command}"] = {"post": operation}
    return paths


def _about_agents(name: str, summary: str, component: str) -> Document:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": _answer("The state of the agent.", component), **_errors(401)},
    }


def _login(name: str, dialect: DescribedDialect) -> Document:
    fields = {
        "type": "object",
        "required": ["username", "password"],
        "properties": {"username": {"type": "string"}, "password": {"type": "string"}},
    }
    return {
        "operationId": name,
        "summary": "Get the key for user name and password",
        "security": [],
        "requestBody": {
            "required": True,
            "content": {
                media_type: {
                    "schema": fields,
                    "example": {"username": USERNAME, "password": PASSWORD},
                }
                for media_type in (URL_ENCODED, MULTIPART, *([JSON] if dialect == "data" else []))
            },
        },
        "responses": {"200": _answer("The key.", "login"), **_errors(400, 401, 413, 415)},
    }


def _creation(request: JobRequest, dialect: DescribedDialect) -> Document:
    creation = _answer("The job has been created; it may be finished already.", "creation")
    creation["links"] = {
        name: {"operationId": name, "parameters": {"jobId": _JOB_ID[dialect]}}
        for name in ("status", "cancel")
    }
    operation: Document = {
        "operationId": request.name,
        "summary": request.script.description,
        "parameters": [
            *(_parameter(name) for name in re.findall("{(.*?)}", request.path)),
            *({**_parameter(name), "in": "query"} for name in request.query),
        ],
        "responses": {"200": creation, **_errors(401, 404)},
    }
    if request.query:
        operation["responses"].update(_errors(400))
    if request.method == "POST":
        operation["requestBody"] = _body(request, dialect)
        operation["responses"].update(_errors(400, 413, 415))
    return operation


def _body(request: JobRequest, dialect: DescribedDialect) -> Document:
    form: Document = {
        "type": "object",
        "properties": {field: {"type": "string"} for field in request.form},
    }
    if request.files:
        form["properties"] = {name: {"type": "string"} for name in request.files}
        form["required"] = list(request.files)
        return {"required": True, "content": {MULTIPART: {"schema": form}}}
    content = {URL_ENCODED: {"schema": form}, MULTIPART: {"schema": form}}
    document = request.body if dialect == "data" else {}
    return {"content": {**content, JSON: {"schema": document}}}


def _about_job(name: EnvelopeName, summary: str) -> Document:
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [_parameter("jobId", _ID)],
        "responses": {"200": _answer("The job.", name), **_errors(400, 401, 404)},
    }


def _agent(path: str) -> Document:
    command = path.rpartition("/")[2]
    return {
        "operationId": f"agent-{command}",
        "summary": f"{command.capitalize()} the agent, which runs the jobs",
        "responses": {"200": _answer("The command was carried out.", "agent"), **_errors(401)},
    }


def _parameter(name: str, values: Document | None = None) -> Document:
    if name in CHOICES:
        values = {"enum": list(CHOICES[name])}
    number = {"type": "integer", "minimum": 0}
    return {"name": name, "in": "path", "required": True, "schema": values or number}


def _answer(text: str, component: str) -> Document:
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{component}"}}}
    return {"description": text, "content": content}


def _errors(*statuses: int) -> Document:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _schemas(dialect: DescribedDialect) -> Document:
    """Return the schemas as components, with their references adapted."""
    found: Document = {name: schema(schema_of(name, dialect)) for name in _SCHEMAS}
    if dialect == "data":
        found["jobs"] = schema("jobs-data")
    found.update(schema("envelope")["$defs"])
    for document in found.values():
        document.pop("$schema", None)
        document.pop("$id", None)
    references = re.compile(r'"\$ref": "(?:envelope\.json)?#/\$defs/')
    text = references.sub('"$ref": "#/components/schemas/', json.dumps(found))
    success = [{"$ref": f"#/components/schemas/{name}"} for name in ("contents", "success")]
    by_page = {
        "allOf": success,
        "properties": _nested(
            ["Contents", "response", "data", "content"],
            _typed(api_key="string", csrfToken="string", id="integer"),
        ),
    }
    if dialect == "system":
        return {**json.loads(text), "agent": {"allOf": success}, "login": by_page}
    agent = _typed(id="integer", type="string", status="string")
    agent["properties"]["status"] = {"enum": ["running", "stopped", "idle"]}
    key: dict[str, str] = {"api_key": "string", "csrf_token": "string", "user_id": "integer"}
    by_reference = _in_data(_typed(**key))
    return {
        **json.loads(text),
        "agent": {"allOf": success},
        "login": {"anyOf": [by_page, by_reference]},
        "done": {"allOf": _DONE},
        "one-agent": _in_data(agent),
        "agents": _in_data(
            {
                "type": "object",
                "required": ["agent"],
                "properties": {"agent": {"type": "array", "items": agent}},
            }
        ),
    }


_DONE: Final = [{"$ref": f"#/components/schemas/{name}"} for name in ("paged", "success")]
"""A success in the envelope of the dialect `data`."""


def _in_data(values: Document) -> Document:
    return {"allOf": _DONE, "required": ["data"], "properties": {"data": values}}


def _typed(**types: str) -> Document:
    """Return the schema of an object with fields of these types, all of them required."""
    properties = {name: {"type": each} for name, each in types.items()}
    return {"type": "object", "required": list(types), "properties": properties}


def _nested(names: list[str], values: Document) -> Document:
    """Return the properties by which a path of names leads to these values."""
    name, *rest = names
    return {name: {"properties": _nested(rest, values)} if rest else values}
