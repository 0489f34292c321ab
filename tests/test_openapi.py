"""The OpenAPI description is true: requests drawn from it show no fault of the fake.

Schemathesis is imported only where it is used: it takes a second, and each worker collects all
tests.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator

from pytest_expedition import ExpeditionServer
from pytest_expedition.cli import main
from pytest_expedition.fake.bodies import MULTIPART, URL_ENCODED
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.instance import AGENT_COMMANDS, DATA_ROUTES
from pytest_expedition.fake.job_requests import JOB_REQUESTS
from pytest_expedition.fake.openapi import DESCRIBED, describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case
    from schemathesis.schemas import BaseSchema

    from pytest_expedition.fake.instance import Instance
    from pytest_expedition.fake.openapi import DescribedDialect

DESCRIPTIONS = {dialect: describe(dialect) for dialect in DESCRIBED}
OPERATIONS = [
    (dialect, method, path)
    for dialect, description in DESCRIPTIONS.items()
    for path, methods in description["paths"].items()
    for method in methods
]
NOTHING_TO_GET_WRONG = {
    *AGENT_COMMANDS,
    "/api/v1/agent",
    "/api/v1/agent/generic",
    "/api/v1/agent/generic/start",
}
"""Paths whose requests carry nothing."""

fuzz = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=10,
    stateful_step_count=8,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""The same requests each time, so that a failure can be repeated."""


@functools.cache
def schema_of(dialect: DescribedDialect) -> BaseSchema:
    """Return the description of a dialect as Schemathesis reads it."""
    import schemathesis

    schema: BaseSchema = schemathesis.openapi.from_dict(describe(dialect))
    return schema


EXAMPLES = {"system": 5, "data": 2}
"""Requests that are drawn for each operation: the many of `data` are much alike."""

every_dialect = pytest.mark.parametrize("dialect", DESCRIBED)


@contextlib.contextmanager
def calls_to(server: ExpeditionServer) -> Iterator[dict[str, Any]]:
    """What lets Schemathesis call a server with its key, over connections that stay open."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {server.api_key}"}
        yield {"session": session, "base_url": server.url, "headers": headers}


@pytest.mark.long
@pytest.mark.parametrize(
    ("dialect", "method", "path", "mode"),
    [
        (dialect, method, path, mode)
        for dialect, method, path in OPERATIONS
        for mode in ("positive", "negative")
        if mode == "positive"
        or (path not in NOTHING_TO_GET_WRONG and (method, path) != ("delete", "/api/v1/job"))
    ],
)
def test_requests_drawn_from_it_find_no_fault(
    expedition_server: ExpeditionServer,
    dialect: DescribedDialect,
    method: str,
    path: str,
    mode: Literal["positive", "negative"],
) -> None:
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import negative_data_rejection

    expedition_server.dialect = dialect
    operation = schema_of(dialect).find_operation_by_label(f"{method.upper()} {path}")
    assert operation is not None
    with calls_to(expedition_server) as options:

        @settings(fuzz, max_examples=EXAMPLES[dialect])
        @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
        def each(case: Case[Any]) -> None:
            # A form carries texts alone: null is an empty one there, a list is a field sent twice.
            in_form = mode == "negative" and case.media_type in {URL_ENCODED, MULTIPART}
            if in_form:
                case.call_and_validate(excluded_checks=[negative_data_rejection], **options)
            else:
                case.call_and_validate(**options)

        each()
    assert expedition_server.requests


def follow_links(described: BaseSchema, server: ExpeditionServer) -> None:
    """Send series of requests, in which ids that were answered are asked for."""
    from schemathesis.specs.openapi.checks import negative_data_rejection

    with calls_to(server) as options:

        class Series(described.as_state_machine()):  # type: ignore[misc]
            def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:  # noqa: ARG002
                return options

            def validate_response(self, response: Any, case: Case[Any], **_: Any) -> None:
                # Of what a form may carry Schemathesis takes more to be wrong than is: see above.
                case.validate_response(response, excluded_checks=[negative_data_rejection])

        Series.run(settings=settings(fuzz, max_examples=5))


@pytest.mark.long
@every_dialect
def test_series_of_requests_find_no_fault(
    expedition_server: ExpeditionServer, dialect: DescribedDialect
) -> None:
    expedition_server.dialect = dialect
    follow_links(schema_of(dialect), expedition_server)
    assert any(job.polls for job in expedition_server.jobs)
    assert any(job.cancel_requests for job in expedition_server.jobs)


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        ("system", "text-job-id"),
        ("system", "creation-twice-is-conflict"),
        ("system", "cancel-message-as-text"),
        ("data", "text-job-id"),
        pytest.param("data", "word-of-the-queue", marks=pytest.mark.long),
        pytest.param("data", "no-content", marks=pytest.mark.long),
    ],
)
def test_a_server_that_breaks_it_is_found_out(dialect: DescribedDialect, name: str) -> None:
    from schemathesis.core.failures import FailureGroup

    def make() -> Instance:
        instance = BROKEN[name].make()
        instance.dialect = dialect
        return instance

    server = ExpeditionServer(make)
    server.start()
    try:
        with pytest.raises(FailureGroup):
            follow_links(schema_of(dialect), server)
    finally:
        server.stop()


@every_dialect
def test_it_is_an_openapi_document(dialect: DescribedDialect) -> None:
    schema_of(dialect).validate()


@every_dialect
def test_it_describes_every_request_that_creates_a_job(dialect: DescribedDialect) -> None:
    described = {(method, path) for in_dialect, method, path in OPERATIONS if in_dialect == dialect}
    requests = [each for each in JOB_REQUESTS if dialect in each.dialects]
    assert {(each.method.lower(), each.path) for each in requests} <= described


def test_in_data_it_describes_every_route_of_jobs_and_the_agent() -> None:
    described = {(method, path) for dialect, method, path in OPERATIONS if dialect == "data"}
    for pattern, answers in DATA_ROUTES:
        for method in answers:
            found = [
                path
                for known, path in described
                if known == method.lower() and pattern.fullmatch(re.sub("{.*?}", "7", path))
            ]
            assert found, (method, pattern.pattern)


def test_its_schemas_are_those_of_the_project() -> None:
    example = json.loads((Path(__file__).parent / "examples" / "creation.json").read_text())
    validator = Draft202012Validator(
        {"$ref": "#/components/schemas/creation", **DESCRIPTIONS["system"]}
    )
    assert validator.is_valid(example)
    example["Contents"]["response"]["data"]["content"]["system"]["jobs"]["jobId"] = "1619"
    assert not validator.is_valid(example)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["openapi"]) == 0
    assert json.loads(capsys.readouterr().out) == DESCRIPTIONS["system"]
    assert main(["openapi", "--dialect", "data"]) == 0
    assert json.loads(capsys.readouterr().out) == DESCRIPTIONS["data"]
    with pytest.raises(SystemExit):
        main(["openapi", "--dialect", "msg"])
