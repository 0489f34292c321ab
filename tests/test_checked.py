"""Wrong types and values in the public API: which argument, which value, what is allowed."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import requests

from pytest_expedition import (
    Clock,
    ExpeditionScenario,
    ExpeditionServer,
    JobRecipe,
    JobScript,
    Limits,
    Monitor,
    Outage,
    Situation,
    Target,
    Waiver,
    schema,
    validate,
    validator,
)
from pytest_expedition.checked import checked
from pytest_expedition.clients.harness import Harness

if TYPE_CHECKING:
    from collections.abc import Callable

ENDLESS = float("inf")
UNTIL = date(2027, 3, 1)


def target(**fields: Any) -> Target:
    return Target(**{"url": "https://192.0.2.10", "api_key": "key", **fields})


def recipe(**fields: Any) -> JobRecipe:
    return JobRecipe(**{"name": "import", "path": "/api/v1/x", **fields})


def waiver(**fields: Any) -> Waiver:
    return Waiver(**{"id": "status.bounds", "reason": "known", "until": UNTIL, **fields})


WRONG_TYPES: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
    "JobScript: progress = 0.5: must be a list of numbers": (JobScript, {"progress": 0.5}),
    "JobScript: progress = '01': must be a list of numbers": (JobScript, {"progress": "01"}),
    "JobScript: progress = ['0', 1]: must be a list of numbers": (
        JobScript,
        {"progress": ["0", 1]},
    ),
    "JobScript: progress = [True]: must be a list of numbers": (JobScript, {"progress": [True]}),
    "JobScript: step_seconds = '1': must be a number": (JobScript, {"step_seconds": "1"}),
    "JobScript: cancellable = 'no': must be True or False": (JobScript, {"cancellable": "no"}),
    "JobScript: cancel_seconds = None: must be a number": (JobScript, {"cancel_seconds": None}),
    "JobScript: description = 7: must be a str": (JobScript, {"description": 7}),
    "JobScript: tasks = [7]: must be a list of str or dict": (JobScript, {"tasks": [7]}),
    "JobScript: next_step = 'Ask': must be a list of anything": (JobScript, {"next_step": "Ask"}),
    "JobScript.steady: seconds = '3': must be a number": (JobScript.steady, {"seconds": "3"}),
    "JobScript.steady: steps = 1.5: must be a whole number": (
        JobScript.steady,
        {"seconds": 3, "steps": 1.5},
    ),
    "Clock: seconds_per_poll = '1': must be a number": (Clock, {"seconds_per_poll": "1"}),
    "Clock.advance: seconds = '3': must be a number": (Clock().advance, {"seconds": "3"}),
    "Clock.run: speed = True: must be a number": (Clock().run, {"speed": True}),
    "Outage: nth = '2': must be a whole number": (Outage, {"kind": "lost", "nth": "2"}),
    "Situation: fails = 'no': must be True or False": (Situation, {"fails": "no"}),
    "Situation: jobs = 1.0: must be a whole number": (Situation, {"jobs": 1.0}),
    "Situation: cancelled_after = '5': must be a number or None": (
        Situation,
        {"cancelled_after": "5"},
    ),
    "Situation: outages = ['lost']: must be a list of Outage": (Situation, {"outages": ["lost"]}),
    "ExpeditionServer: host = None: must be a str": (ExpeditionServer, {"host": None}),
    "ExpeditionServer: port = '80': must be a whole number": (ExpeditionServer, {"port": "80"}),
    "ExpeditionServer: tls = 'no': must be True or False": (ExpeditionServer, {"tls": "no"}),
    "ExpeditionServer: make_instance = 1: must be a function": (
        ExpeditionServer,
        {"make_instance": 1},
    ),
    "Monitor: job_seconds = '3': must be a number": (Monitor, {"job_seconds": "3"}),
    "Monitor: jobs = ['import']: must be a list of JobRecipe": (Monitor, {"jobs": ["import"]}),
    "JobRecipe: name = None: must be a str": (recipe, {"name": None}),
    "JobRecipe: path = 7: must be a str": (recipe, {"path": 7}),
    "JobRecipe: form = 'a=1': must be a dict of str to str": (recipe, {"form": "a=1"}),
    "JobRecipe: form = {'a': 1}: must be a dict of str to str": (recipe, {"form": {"a": 1}}),
    "JobRecipe: query = {1: 'a'}: must be a dict of str to str": (recipe, {"query": {1: "a"}}),
    "JobRecipe: cancellable = 0: must be True, False or None": (recipe, {"cancellable": 0}),
    "Limits: jobs = '1': must be a whole number": (Limits, {"jobs": "1"}),
    "Limits: seconds = None: must be a number": (Limits, {"seconds": None}),
    "Waiver: id = 7: must be a str": (waiver, {"id": 7}),
    "Waiver: reason = None: must be a str": (waiver, {"reason": None}),
    "Waiver: until = '2027-03-01': must be a date": (waiver, {"until": "2027-03-01"}),
    "Waiver: sometimes = 1: must be True or False": (waiver, {"sometimes": 1}),
    "Target: verify = None: must be True, False or a str": (target, {"verify": None}),
    "Target: cert = b'client.pem': must be a str": (target, {"cert": b"client.pem"}),
    "Target: clock: must be a SuiteClock": (target, {"clock": 7}),
}


@pytest.mark.parametrize("complaint", WRONG_TYPES)
def test_a_wrong_type_is_told(complaint: str) -> None:
    make, arguments = WRONG_TYPES[complaint]
    with pytest.raises(TypeError, match=f"^{re.escape(complaint)}$"):
        make(**arguments)


WRONG_VALUES: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
    "JobScript.steady: steps = 0: must be at least 1": (
        JobScript.steady,
        {"seconds": 3, "steps": 0},
    ),
    "step_seconds must be above 0": (JobScript.steady, {"seconds": 0}),
    "step_seconds must be above 0 and finite": (JobScript, {"step_seconds": ENDLESS}),
    "JobScript: next_step: cannot be written as JSON: Object of type set is not ": (
        JobScript,
        {"next_step": [{1}]},
    ),
    "JobScript: tasks: cannot be written as JSON: Out of range float values": (
        JobScript,
        {"tasks": [{"code": float("nan")}]},
    ),
    "JobScript: next_step: cannot be written as JSON: Object of type object": (
        Situation,
        {"next_step": [object()]},
    ),
    "seconds_per_poll must not be below 0, or infinite, got inf": (
        Clock,
        {"seconds_per_poll": ENDLESS},
    ),
    "cannot advance by inf seconds": (Clock().advance, {"seconds": ENDLESS}),
    "cannot advance by nan seconds": (Clock().advance, {"seconds": float("nan")}),
    "Outage: kind = '500': must be one of unavailable, bad-gateway, ": (Outage, {"kind": "500"}),
    "Outage: of = ['status']: must be one of creation, status, cancel": (
        Outage,
        {"kind": "lost", "of": ["status"]},
    ),
    "Situation: dialect = 'php': must be one of system, ": (Situation, {"dialect": "php"}),
    "ExpeditionServer: host = '': must be a host name or an IP address": (
        ExpeditionServer,
        {"host": ""},
    ),
    "ExpeditionServer: keep = 0: must be at least 1": (ExpeditionServer, {"keep": 0}),
    "Monitor: job_seconds = nan: must be above 0": (Monitor, {"job_seconds": float("nan")}),
    "JobRecipe: method = 'DELETE': must be one of GET, POST, PUT, PATCH": (
        recipe,
        {"method": "DELETE"},
    ),
    "Target: dialect = 'mixed': must be one of auto, system, msg, data": (
        target,
        {"dialect": "mixed"},
    ),
    "unknown schema ['status']; there are creation, ": (
        validate,
        {"document": {}, "name": ["status"]},
    ),
    "unknown schema {'status': 1}; there are creation, ": (
        validator,
        {"name": {"status": 1}},
    ),
    "unknown schema None; there are creation, ": (
        schema,
        {"name": None},
    ),
    "Target: verify = '': must be True, False or the path of a CA bundle": (target, {"verify": ""}),
}


@pytest.mark.parametrize("complaint", WRONG_VALUES)
def test_a_wrong_value_is_told(complaint: str) -> None:
    make, arguments = WRONG_VALUES[complaint]
    with pytest.raises(ValueError, match=re.escape(complaint)):
        make(**arguments)


def test_a_secret_of_the_wrong_type_is_not_repeated() -> None:
    for name in ("api_key", "username", "password"):
        with pytest.raises(TypeError, match=f"^Target: {name}: must be a str$"):
            target(**{name: b"s3cret"})


class TestServer:
    """What is set on a server, or asked of it."""

    @pytest.mark.parametrize(
        ("name", "arguments", "complaint"),
        [
            ("state", ["1619"], "state: job = '1619': must be a Job or a whole number"),
            ("state", [True], "state: job = True: must be a Job or a whole number"),
            ("next_job", [JobScript(), None], "next_job: scripts = None: must be a JobScript"),
            ("every_job", [{}], "every_job: script = {}: must be a JobScript"),
            ("every_job", [None], "every_job: script = None: must be a JobScript"),
        ],
    )
    def test_a_call(
        self, expedition_server: ExpeditionServer, name: str, arguments: list[Any], complaint: str
    ) -> None:
        with pytest.raises(TypeError, match=re.escape(f"ExpeditionServer.{complaint}")):
            getattr(expedition_server, name)(*arguments)

    @pytest.mark.parametrize("name", ["agent_running", "own_job_answers"])
    def test_a_switch(self, expedition_server: ExpeditionServer, name: str) -> None:
        with pytest.raises(TypeError, match=f"{name} = 'no': must be True or False"):
            setattr(expedition_server, name, "no")

    def test_the_dialect(self, expedition_server: ExpeditionServer) -> None:
        wrong: Any = ["data"]
        with pytest.raises(ValueError, match=r"dialect = \['data'\]: must be one of system"):
            expedition_server.dialect = wrong


def test_what_is_set_on_a_monitor_is_checked_too() -> None:
    monitor = Monitor()
    wrong: Any = "3"
    with pytest.raises(TypeError, match="Monitor: job_seconds = '3': must be a number"):
        monitor.job_seconds = wrong
    with pytest.raises(TypeError, match="Monitor: jobs = '3': must be a list of JobRecipe"):
        monitor.jobs = wrong


def test_the_trace_of_a_monitor_may_be_named_by_a_text(
    expedition_server: ExpeditionServer, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.jsonl"
    monitor = Monitor(expedition_server, record=str(trace))
    requests.get(f"{expedition_server.url}/api/v1/job/status/1619", timeout=10)
    monitor.stop()
    assert "/api/v1/job/status/1619" in trace.read_text(encoding="utf-8")


def test_what_a_scenario_is_given(expedition_server: ExpeditionServer) -> None:
    harness = Harness(expedition_server)
    scenario = ExpeditionScenario("ordinary", harness)
    harness.close()
    wrong: Any = 7
    with pytest.raises(TypeError, match=r"ExpeditionScenario\.check: start = 7: must be a funct"):
        scenario.check(wrong, str)
    with pytest.raises(TypeError, match=r"cancel = 7: must be a function or None"):
        scenario.check(str, str, cancel=wrong)
    classes: list[Any] = [wrong, "failed", int, (ValueError, "failed")]
    for given in classes:
        with pytest.raises(TypeError, match=r"must be an exception class or a tuple of exception"):
            scenario.check(str, str, failed=given)
    with pytest.raises(TypeError, match=r"ExpeditionScenario\.check_async: wait = 7: must be a f"):
        asyncio.run(scenario.check_async(str, wrong))
    with pytest.raises(TypeError, match=r"\.run: command = './x': must be a list of str"):
        scenario.run("./x")
    with pytest.raises(TypeError, match=r"\.run: limit_seconds = '7': must be a number"):
        scenario.run(["./x"], limit_seconds="7")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"speed = '7': must be a number"):
        scenario.real_time(speed="7")  # type: ignore[arg-type]


class Example:
    @checked
    def method(self, word: Literal["a", "b"], *, path: Path = Path()) -> tuple[str, Path]:
        """Do it."""
        return word, path


def test_a_checked_method_is_otherwise_as_before() -> None:
    assert Example().method("a", path=Path("x")) == ("a", Path("x"))
    assert list(inspect.signature(Example.method).parameters) == ["self", "word", "path"]
    assert Example.method.__doc__ == "Do it."
    with pytest.raises(TypeError, match=r"method\(\) missing 1 required positional argument: 'wo"):
        Example().method()  # type: ignore[call-arg]
    script = replace(JobScript.steady(3, steps=2), cancellable=False)
    assert script == JobScript(progress=(0, 0.5, 1), step_seconds=1.5, cancellable=False)
    assert pickle.loads(pickle.dumps(script)) == script  # noqa: S301 - dumped here
