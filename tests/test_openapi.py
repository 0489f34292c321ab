"""The OpenAPI description is true: requests drawn from it find the fake without fault."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup

from pytest_expedition import ExpeditionServer
from pytest_expedition.cli import main
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.instance import AGENT_COMMANDS
from pytest_expedition.fake.job_requests import JOB_REQUESTS
from pytest_expedition.fake.openapi import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case
    from schemathesis.schemas import BaseSchema

DESCRIPTION = describe()
OPERATIONS = [
    (method, path) for path, methods in DESCRIPTION["paths"].items() for method in methods
]

fuzz = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=10,
    stateful_step_count=8,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""The same requests each time, so that what is found is found by everybody."""


@pytest.fixture(scope="module")
def described() -> BaseSchema:
    return schemathesis.openapi.from_dict(describe())


@contextlib.contextmanager
def calls_to(server: ExpeditionServer) -> Iterator[dict[str, Any]]:
    """What lets Schemathesis call a server with its key, over connections that stay open."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {server.api_key}"}
        yield {"session": session, "base_url": server.url, "headers": headers}


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        (method, path, mode)
        for method, path in OPERATIONS
        for mode in GenerationMode
        if mode.is_positive or path not in AGENT_COMMANDS  # which have nothing that could be wrong
    ],
)
def test_requests_drawn_from_it_find_no_fault(
    described: BaseSchema,
    expedition_server: ExpeditionServer,
    method: str,
    path: str,
    mode: GenerationMode,
) -> None:
    operation = described.find_operation_by_label(f"{method.upper()} {path}")
    assert operation is not None
    with calls_to(expedition_server) as options:

        @fuzz
        @given(case=operation.as_strategy(generation_mode=mode))
        def each(case: Case[Any]) -> None:
            case.call_and_validate(**options)

        each()
    assert expedition_server.requests


def follow_links(described: BaseSchema, server: ExpeditionServer) -> None:
    """Send series of requests, in which ids that were answered are asked for."""
    with calls_to(server) as options:

        class Series(described.as_state_machine()):  # type: ignore[misc]
            def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:  # noqa: ARG002
                return options

        Series.run(settings=fuzz)


def test_series_of_requests_find_no_fault(
    described: BaseSchema, expedition_server: ExpeditionServer
) -> None:
    follow_links(described, expedition_server)
    assert any(job.polls for job in expedition_server.jobs)
    assert any(job.cancel_requests for job in expedition_server.jobs)


@pytest.mark.parametrize(
    "name", ["text-job-id", "creation-twice-is-conflict", "cancel-message-as-text"]
)
def test_a_server_that_breaks_it_is_found_out(described: BaseSchema, name: str) -> None:
    server = ExpeditionServer(BROKEN[name].make)
    server.start()
    try:
        with pytest.raises(FailureGroup):
            follow_links(described, server)
    finally:
        server.stop()


def test_it_is_an_openapi_document(described: BaseSchema) -> None:
    described.validate()


def test_it_describes_every_request_that_creates_a_job() -> None:
    described = {path: method for method, path in OPERATIONS}
    requests = [each for each in JOB_REQUESTS if "system" in each.dialects]
    assert {each.path: each.method.lower() for each in requests}.items() <= described.items()


def test_its_schemas_are_those_of_the_project() -> None:
    example = json.loads((Path(__file__).parent / "examples" / "creation.json").read_text())
    validator = Draft202012Validator({"$ref": "#/components/schemas/creation", **DESCRIPTION})
    assert validator.is_valid(example)
    example["Contents"]["response"]["data"]["content"]["system"]["jobs"]["jobId"] = "1619"
    assert not validator.is_valid(example)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["openapi"]) == 0
    assert json.loads(capsys.readouterr().out) == DESCRIPTION
