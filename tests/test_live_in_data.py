"""What a target that keeps to the vendor's API reference asks of the suite."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from in_process import in_process

from pytest_expedition import JobRecipe
from pytest_expedition.fake.instance import (
    AGENT_COMMANDS,
    LOGIN_PATHS,
    PASSWORD,
    USERNAME,
    Instance,
)
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition.fake.http import Request, Response
    from pytest_expedition.oracle.record import RunRecord


class InData(Instance):
    """An instance that speaks the dialect `data`."""

    def __init__(self) -> None:
        super().__init__(dialect="data")


class LogsInByForm(InData):
    """Refuses a login by JSON."""

    def log_in(self, request: Request) -> Response:
        if request.carries_json:
            return self.error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A form is asked for")
        return super().log_in(request)


class LogsInByJson(InData):
    """Refuses a login by form."""

    def log_in(self, request: Request) -> Response:
        if not request.carries_json:
            return self.error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON is asked for")
        return super().log_in(request)


class ToldByPost(InData):
    """Knows the commands to the agent that the API reference declares, and no others."""

    def route(self, request: Request) -> Response:
        if request.method == "GET" and request.path in AGENT_COMMANDS:
            return self.error(HTTPStatus.NOT_FOUND, "There is no such agent")
        return super().route(request)


def run_by_name(
    make: Callable[[], Instance], password: str = PASSWORD
) -> tuple[RunRecord, list[bool]]:
    """Run the suite with user name and password; return whether each login carried JSON."""
    made: list[Instance] = []

    def kept() -> Instance:
        made.append(make())
        return made[-1]

    with embedded_target(kept) as target:
        by_name = replace(target, api_key="", username=USERNAME, password=password)
        record = run_contract(by_name, profile="smoke")
    return record, [x.carries_json for x in made[-1].requests if x.path in LOGIN_PATHS]


@pytest.mark.parametrize(
    ("make", "by_json"), [(LogsInByForm, [False]), (LogsInByJson, [False, True])]
)
def test_it_logs_in_by_form_or_by_json(make: Callable[[], Instance], by_json: list[bool]) -> None:
    record, sent = run_by_name(make)
    assert (record.reason, record.dialect, sent) == ("", "data", by_json)


def test_a_wrong_password_is_told_as_such() -> None:
    record, sent = run_by_name(InData, password="wrong")
    assert record.verdict == "error"
    assert "POST /api/v1/generate_api_key was answered with 401" in record.reason
    assert sent == [False, True, True]


class LogsInByReferenceAlone(InData):
    """Has the login of the API reference, and asks for a key at every other path."""

    def log_in(self, request: Request) -> Response:
        if request.path == "/api/v1/generate_api_key" or not request.carries_json:
            return self.error(HTTPStatus.UNAUTHORIZED, "Unauthenticated")
        return super().log_in(request)


def test_it_finds_the_login_of_the_reference_where_others_ask_for_a_key() -> None:
    record, sent = run_by_name(LogsInByReferenceAlone)
    assert (record.reason, record.dialect, sent) == ("", "data", [False, True, True])


def test_it_tells_the_agent_by_post_where_get_is_not_known() -> None:
    made: list[Instance] = []

    def make() -> Instance:
        made.append(ToldByPost())
        return made[-1]

    with in_process(), embedded_target(make) as target:
        few = replace(target, limits=replace(target.limits, jobs=12))
        record = run_contract(few, profile="default", seed=1)
    outcomes = {each.requirement.id: each.outcome for each in record.results}
    assert record.reason == ""
    assert outcomes["agent.idempotent"] == outcomes["agent.gates"] == "pass"
    assert made[-1].agent_running
    told = [x.path for x in made[-1].requests if x.path.startswith("/api/v1/agent")]
    assert told[:2] == ["/api/v1/agent/start", "/api/v1/agent/generic/start"]
    assert {"/api/v1/agent/1/stop", "/api/v1/agent/1/restart"} <= set(told)


def test_recipes_carry_json() -> None:
    made: list[Instance] = []

    def make() -> Instance:
        made.append(InData())
        return made[-1]

    recipes = (
        JobRecipe(
            name="export",
            path="/api/v1/project/1/export_config",
            json={"source": 3},
            cancellable=True,
        ),
        JobRecipe(name="push", path="/api/v1/project/1/export_api_call/push", cancellable=False),
    )
    with embedded_target(make) as target:
        record = run_contract(replace(target, jobs=recipes), profile="smoke")
    assert (record.verdict, record.reason, record.dialect) == ("conformant", "", "data")
    bodies = {x.body for x in made[-1].requests if x.path.endswith("/export_config")}
    assert bodies == {b'{"source": 3}'}
