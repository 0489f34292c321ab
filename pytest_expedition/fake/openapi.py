"""The OpenAPI 3.1 description of what the fake instance answers, in the default dialect.

Its schemas are those of ``schemas/``, its requests those that the instance knows.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.fake.bodies import BODY_LIMIT, JSON, MULTIPART, URL_ENCODED
from pytest_expedition.fake.instance import (
    AGENT_COMMANDS,
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

_SCHEMAS: Final[tuple[EnvelopeName, ...]] = ("creation", "status", "cancel", "error")
_JOB: Final = "$response.body#/Contents/response/data/content/system/jobs/jobId"
_ERRORS: Final = {
    400: "The request, its job id or its body is malformed.",
    401: "The key, or user name and password, are missing or wrong.",
    404: "There is no such resource, or no such job.",
    413: f"The body is larger than {BODY_LIMIT} bytes.",
    415: "The body is of a type that is not taken.",
}


def describe() -> Document:
    """Return the description as a fresh document."""
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Job API of Expedition 2.0",
            "version": version("pytest-expedition"),
            "description": "What the fake instance of pytest-expedition answers, by the "
            "documentation of Expedition 2.0, to the requests of the job API. What the documented "
            "workflows send besides is left out. Any other path is answered with 404, any other "
            "method with 405, in the error envelope.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": {
            **{f"/api/v1/{name}": {"post": _login(name)} for name in ("generate_api_key", "login")},
            **{each.path: {each.method.lower(): _creation(each)} for each in _known()},
            "/api/v1/job/status/{jobId}": {"get": _about_job("status", "Tell how a job stands")},
            "/api/v1/job/{jobId}": {"delete": _about_job("cancel", "Cancel a job, if it can be")},
            **{path: {"get": _agent(path)} for path in AGENT_COMMANDS},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {str(status): _answer(text, "error") for status, text in _ERRORS.items()},
            "schemas": _schemas(),
        },
    }


def _known() -> list[JobRequest]:
    return [each for each in JOB_REQUESTS if "system" in each.dialects]


def _login(name: str) -> Document:
    fields = {
        "type": "object",
        "required": ["username", "password"],
        "properties": {"username": {"type": "string"}, "password": {"type": "string"}},
    }
    return {
        "operationId": name,
        "summary": "Give out the key for user name and password",
        "security": [],
        "requestBody": {
            "required": True,
            "content": {
                media_type: {
                    "schema": fields,
                    "example": {"username": USERNAME, "password": PASSWORD},
                }
                for media_type in (URL_ENCODED, MULTIPART)
            },
        },
        "responses": {"200": _answer("The key.", "login"), **_errors(400, 401, 413, 415)},
    }


def _creation(request: JobRequest) -> Document:
    creation = _answer("The job has been created; it may be finished already.", "creation")
    creation["links"] = {
        name: {"operationId": name, "parameters": {"jobId": _JOB}} for name in ("status", "cancel")
    }
    operation: Document = {
        "operationId": request.name,
        "summary": request.script.description,
        "parameters": [_parameter(name) for name in re.findall("{(.*?)}", request.path)],
        "responses": {"200": creation, **_errors(401, 404)},
    }
    if request.method == "POST":
        form = {
            "type": "object",
            "properties": {field: {"type": "string"} for field in request.form},
        }
        operation["requestBody"] = {
            "content": {
                URL_ENCODED: {"schema": form},
                MULTIPART: {"schema": form},
                JSON: {"schema": {}},
            }
        }
        operation["responses"].update(_errors(400, 413, 415))
    return operation


def _about_job(name: EnvelopeName, summary: str) -> Document:
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [
            _parameter("jobId", {"type": "integer", "minimum": 1, "maximum": MAX_JOB_ID})
        ],
        "responses": {"200": _answer("The job.", name), **_errors(400, 401, 404)},
    }


def _agent(path: str) -> Document:
    command = path.rpartition("/")[2]
    return {
        "operationId": f"agent-{command}",
        "summary": f"{command.capitalize()} the agent, which runs the jobs",
        "responses": {"200": _answer("What has been done.", "agent"), **_errors(401)},
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


def _schemas() -> Document:
    """Return the schemas as components, with their references told anew."""
    found: Document = {name: schema(schema_of(name, "system")) for name in _SCHEMAS}
    found.update(schema("envelope")["$defs"])
    for document in found.values():
        document.pop("$schema", None)
        document.pop("$id", None)
    references = re.compile(r'"\$ref": "(?:envelope\.json)?#/\$defs/')
    text = references.sub('"$ref": "#/components/schemas/', json.dumps(found))
    success = [{"$ref": f"#/components/schemas/{name}"} for name in ("contents", "success")]
    return {
        **json.loads(text),
        "agent": {"allOf": success},
        "login": {
            "allOf": success,
            "properties": _nested(
                ["Contents", "response", "data", "content"],
                {
                    "type": "object",
                    "required": ["api_key", "csrfToken", "id"],
                    "properties": {
                        "api_key": {"type": "string"},
                        "csrfToken": {"type": "string"},
                        "id": {"type": "integer"},
                    },
                },
            ),
        },
    }


def _nested(names: list[str], values: Document) -> Document:
    """Return the properties by which a path of names leads to these values."""
    name, *rest = names
    return {name: {"properties": _nested(rest, values)} if rest else values}
