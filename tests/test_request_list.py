"""What the suite sends: nothing beside the list, and nothing that can harm another's job."""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from in_process import in_process
from test_situations import covering

from pytest_expedition import JobRecipe
from pytest_expedition.fake import readings
from pytest_expedition.fake.dialects import DIALECTS
from pytest_expedition.fake.instance import PASSWORD, USERNAME, Instance
from pytest_expedition.fake.odd import Minefield
from pytest_expedition.suite.dry_run import preview
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.plan import Act, JobPlan, Plan
from pytest_expedition.suite.request_list import (
    FAR,
    MALFORMED_IDS,
    REQUESTS,
    allowed_by,
    far_id,
    malformed_ids,
)
from pytest_expedition.suite.run import run_contract, run_share
from pytest_expedition.suite.share import merge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.http import Request, Response
    from pytest_expedition.suite.target import Target

OWN = 1619
"""An ended job of the run; 1618 and 1620 are others'."""

STATUS_PATHS = ("/api/v1/job/status/{}", "/api/v1/job/{}")


def routes(path: str) -> set[str]:
    """Return what routers may take a path for: its readings, without a slash at the end."""
    return {read.rstrip("/") for read in readings.paths(path)}


@functools.cache
def malformed_ids_of(ended: int) -> list[tuple[str, tuple[str, ...]]]:
    return list(malformed_ids(ended))


def listed(request: Request, own: set[int], recipes: Iterable[str]) -> list[str]:
    """Return the names of the entries of the list that a request matches."""
    sent = f"{request.method} {request.path}" + (f"?{request.query}" if request.query else "")
    if sent in recipes:
        return ["creation"]
    malformed = [each for ended in own for each in malformed_ids_of(ended)]
    ids = {
        "job": set(map(str, own)),
        "far": {str(each + FAR) for each in own},
        "malformed": {text for text, methods in malformed if request.method in methods},
        "agent": {"7"},
        "status": {"all", "completed", "pending", "cancelled"},
        "page": {"1"},
        "project": {"1"},
        "device": {"8"},
    }
    found = []
    for name, each in REQUESTS.items():
        shape = re.escape(f"{each.method} {each.path}").replace(r"\{", "{").replace(r"\}", "}")
        match = re.fullmatch(re.sub("{(.*?)}", r"(?P<\1>[^/?]*)", shape), sent)
        if match and all(value in ids[key] for key, value in match.groupdict().items()):
            found.append(name)
    return found


def unlisted(instance: Instance, target: Target) -> list[str]:
    """Return the requests that an instance got and the list does not have."""
    recipes = {f"{each.method} {each.path}" for each in target.jobs}
    return [
        f"{each.method} {each.path}?{each.query}"
        for each in instance.requests
        if not listed(each, set(instance.jobs), recipes)
    ]


def make_instances(made: list[Instance], dialect: DialectName, make: Any = Instance) -> Any:
    def instance() -> Instance:
        made.append(make())
        made[-1].dialect = dialect
        return made[-1]

    return instance


class ByReference(Instance):
    """Takes orders to its agent by POST alone, and logs in at the older path."""

    def route(self, request: Request) -> Response:
        path = request.path.removeprefix("/api/v1/")
        if path in {"agent/start", "agent/stop", "agent/restart", "generate_api_key"}:
            return self.error(HTTPStatus.NOT_FOUND, "There is no such resource")
        order = re.fullmatch("agent/(generic/start|7/stop|7/restart|generic)", path)
        if order is None:
            return super().route(request)
        assert request.method == ("GET" if path == "agent/generic" else "POST")
        if path != "agent/generic":
            self.answer_agent("/api/v1/agent/" + path.rpartition("/")[2])
        agent = {"id": 7, "status": "idle" if self.agent_running else "stopped"}
        data = {"agent": [agent]} if path == "agent/generic" else agent
        return self.reply({"success": True, "data": data, "metadata": [], "messages": []})


class TestReadings:
    @pytest.mark.parametrize(
        ("path", "route"),
        [
            ("/api/v1/job/", "/api/v1/job"),
            ("/api/v1//job//", "/api/v1/job"),
            ("/api/v1/job/1%2F..", "/api/v1/job"),
            ("/api/v1/job/1/..%252F..%252Fjob", "/api/v1/job"),
            ("/api/v1/job/..%2F..%2Fv1%2Fagent/stop", "/api/v1/agent/stop"),
            ("/API/V1/Job", "/api/v1/job"),
            ("/api/v1/job;x=1", "/api/v1/job"),
            ("/api/v1/job/%3Fx", "/api/v1/job"),
            ("/api/v1/job%20", "/api/v1/job"),
            ("/api/v1/job%5C", "/api/v1/job"),
        ],
    )
    def test_a_path_is_read_as_software_is_known_to(self, path: str, route: str) -> None:
        assert route in routes(path)

    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("1619", 1619),
            ("1619xyz", 1619),
            ("1619%27", 1619),
            ("1619%2527", 1619),
            ("1619.5", 1620),
            ("%201619", 1619),
            ("1619;x", 1619),
            (str(2**32 + 7), 7),
            ("0", None),
            ("", None),
            ("abc", None),
            ("%27", None),
            ("%22%3B--", None),
            ("-0", None),
            ("0.2", None),
        ],
    )
    def test_an_id_is_read_as_languages_are_known_to(self, text: str, meant: int | None) -> None:
        assert meant in readings.ids(text)


PIECES = (
    *("/", "//", "%2F", "%252f", "\\", "%5C", ".", "%2e", "..", ";x", "?", "%3F", "#", "%23"),
    *(
        "agent",
        "%61gent",
        "Agent",
        "job",
        "stop",
        "v1",
        "api",
        "project",
        "1",
        "%20",
        "%00",
        ".json",
    ),
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=10).map("".join))
@example("x%3F/../../v1/agent/stop")
def test_no_reading_of_the_path_of_a_recipe_is_about_jobs_or_the_agent(path: str) -> None:
    try:
        recipe = JobRecipe(name="import", path=f"/api/v1/{path}")
    except ValueError:
        return
    for route in routes(recipe.path.partition("?")[0]):
        assert re.match("/api(/v1(?!/(job|agent)(/|$))|$)", route), route


class TestList:
    @pytest.mark.parametrize("text", [text for text, _ in malformed_ids(OWN)])
    def test_a_malformed_id_is_no_id(self, text: str) -> None:
        assert not re.fullmatch("[1-9][0-9]{0,18}", text)

    @pytest.mark.parametrize(
        "text", [text for text, methods in malformed_ids(OWN) if "DELETE" in methods]
    )
    def test_every_reading_of_a_cancel_names_an_ended_job_of_the_run(self, text: str) -> None:
        for route in routes(f"/api/v1/job/{text}"):
            match = re.fullmatch("/api/v1/job/([^/]+)", route)
            assert match, route
            assert readings.ids(match[1]) == {OWN}, route

    @pytest.mark.parametrize("text", [text for text, _ in malformed_ids(OWN)])
    @pytest.mark.parametrize("status", STATUS_PATHS)
    def test_every_reading_of_a_malformed_status_names_one_job(
        self, text: str, status: str
    ) -> None:
        prefix = status.format("")
        for route in routes(status.format(text)):
            assert route.startswith(prefix), route
            assert None not in readings.ids(route.removeprefix(prefix)), route

    @pytest.mark.parametrize("text", ["", "0", "abc", "%27", "..%2F..%2Fagent", "%22%3B--"])
    def test_ids_that_may_mean_all_jobs_or_another_route_are_not_sent(self, text: str) -> None:
        assert text not in {each.text for each in MALFORMED_IDS}

    def test_one_malformed_id_is_cancelled_and_without_an_ended_job_none(self) -> None:
        assert sum("DELETE" in methods for _, methods in malformed_ids(OWN)) >= 1
        assert sum("DELETE" in methods for _, methods in malformed_ids(None)) == 0
        assert list(malformed_ids(None))

    def test_the_far_id_stays_far_where_ids_have_32_bits(self) -> None:
        assert far_id([7, 1619, 20]) == 1619 + FAR
        assert far_id([2**31 - 1 - FAR]) == 2**31 - 1
        assert far_id([2**31 - FAR]) is None
        assert far_id([9_000_000_000]) == 9_000_000_000 + FAR

    def test_what_the_target_does_not_allow_is_not_on_its_list(self) -> None:
        with embedded_target() as target:
            bare = replace(target, start_agent=False, control_agent=False)
            assert not [name for name in allowed_by(bare) if "agent" in name or "login" in name]
            assert "agent-stop" in allowed_by(target)
            assert "agent-stop" not in allowed_by(replace(bare, start_agent=True))

    def test_the_dry_run_shows_the_whole_list(self) -> None:
        with embedded_target() as target:
            lines = list(preview(target, profile="default"))
        text = "\n".join(lines)
        for each in allowed_by(target).values():
            assert each.safe in text
            assert f"when: {each.when}" in text
            if "{path}" not in each.path:
                assert f"  {each.method} {each.path}" in lines
        assert all(each.text in text and each.safe in text for each in MALFORMED_IDS)
        assert "  POST /api/v1/project/1/import" in lines


EACH_DIALECT = [
    pytest.param(name, marks=[] if name in {"system", "data"} else pytest.mark.long)
    for name in DIALECTS
]
"""`msg` and `mixed` are asked as `system` is."""


@pytest.mark.parametrize("dialect", EACH_DIALECT)
class TestTraffic:
    @pytest.mark.parametrize(
        "profile", ["smoke", "default", pytest.param("thorough", marks=pytest.mark.long)]
    )
    def test_a_run_sends_nothing_that_is_not_on_the_list(
        self, dialect: DialectName, profile: Any
    ) -> None:
        made: list[Instance] = []
        with (
            contextlib.nullcontext() if profile == "smoke" else in_process(),
            embedded_target(make_instances(made, dialect)) as target,
        ):
            by_name = replace(
                target,
                limits=replace(target.limits, jobs=20),
                api_key="",
                username=USERNAME,
                password=PASSWORD,
            )
            done = run_contract(by_name, profile=profile, seed=1)
        (instance,) = [each for each in made if each.requests]
        assert done.verdict in {"conformant", "inconclusive"}
        assert unlisted(instance, target) == []
        recipes = {f"{each.method} {each.path}" for each in target.jobs}
        used = {
            name for each in instance.requests for name in listed(each, set(instance.jobs), recipes)
        }
        status = {name for name in REQUESTS if "status" in name}
        in_data = {name for name in status if name.endswith("-data")}
        spoken = in_data if dialect == "data" else status - in_data
        unused = {name for name in REQUESTS if "agent" in name and name.endswith("-data")}
        unused |= {"older-login", "device-job"}  # no recipe names a device
        if dialect != "data":
            unused |= {"job-list", "project-job"}
        assert used == (set(REQUESTS) - status | spoken) - unused

    def test_a_replay_and_the_clean_up_send_nothing_else_either(self, dialect: DialectName) -> None:
        made: list[Instance] = []
        with embedded_target(make_instances(made, dialect)) as target:
            acts = (Act(progress=0.5, requests=("cancel", "poll", "start-agent")),)
            plan = Plan(jobs=(JobPlan(recipe="export", acts=acts),), probes=True, together=True)
            run_contract(target, profile="smoke", plan=plan)
            limits = replace(target.limits, requests=12)
            run_contract(replace(target, limits=limits), profile="smoke")
        (instance,) = [each for each in made if each.requests]
        assert unlisted(instance, target) == []


FIRST_FIFTH = (0, 5)
"""The share of a run with all fixed plans and a fifth of the random ones."""


def test_a_target_by_the_api_reference_is_asked_in_its_way() -> None:
    made: list[Instance] = []
    with in_process(), embedded_target(make_instances(made, "data", ByReference)) as target:
        by_name = replace(target, api_key="", username=USERNAME, password=PASSWORD)
        share = run_share(by_name, profile="default", seed=1, share=(0, 25))  # two random plans
    done = merge(by_name, [share])
    (instance,) = [each for each in made if each.requests]
    assert done.verdict in {"conformant", "inconclusive"}
    outcomes = {each.requirement.id: each.outcome for each in done.results}
    assert outcomes["agent.gates"] == outcomes["agent.idempotent"] == "pass"
    assert unlisted(instance, target) == []
    sent = {f"{each.method} {each.path}" for each in instance.requests}
    assert "POST /api/v1/login" in sent
    assert {f"POST /api/v1/agent/7/{order}" for order in ("stop", "restart")} <= sent
    assert instance.agent_running


@pytest.mark.parametrize("dialect", EACH_DIALECT)
class TestMinefield:
    @pytest.mark.parametrize(
        "profile", ["smoke", pytest.param("default", marks=pytest.mark.long), "replay", "limits"]
    )
    def test_the_jobs_of_others_are_as_they_were(self, dialect: DialectName, profile: Any) -> None:
        """What is sent over HTTP: each request of the list with `smoke`, those of a replay."""
        made: list[Any] = []
        with (
            contextlib.nullcontext() if profile in {"smoke", "replay"} else in_process(),
            embedded_target(make_instances(made, dialect, Minefield)) as target,
        ):
            if profile == "replay":
                plan = replace(covering(target.jobs)[0], together=True)
                run_contract(target, profile="smoke", plan=plan)
            elif profile == "limits":
                for requests in (8, 20, 60, 90):
                    limits = replace(target.limits, requests=requests)
                    run_contract(replace(target, limits=limits), profile="smoke")
            else:
                run_share(target, profile=profile, seed=2, share=FIRST_FIFTH)
        (instance,) = [each for each in made if each.requests]
        assert instance.others
        assert instance.harm == []
        assert instance.agent_running

    def test_the_agent_is_not_stopped_unless_that_is_allowed(self, dialect: DialectName) -> None:
        made: list[Any] = []
        with embedded_target(make_instances(made, dialect, Minefield)) as target:
            run_contract(replace(target, start_agent=False, control_agent=False), profile="smoke")
        (instance,) = [each for each in made if each.requests]
        assert instance.harm == []
        assert not [each for each in instance.requests if "agent" in each.path]


@pytest.mark.parametrize(
    ("method", "path", "harm"),
    [
        ("DELETE", "/api/v1/job", "all pending"),
        ("DELETE", "/api/v1/job/", "all pending"),
        ("DELETE", "/api/v1/job/0", "all pending"),
        ("DELETE", "/api/v1/job/abc", "all pending"),
        ("DELETE", "/api/v1/job/%27", "all pending"),
        ("DELETE", "/api/v1/job/..%2Fjob", "all pending"),
        ("DELETE", "/api/v1/job/{own}%2F..", "all pending"),
        ("DELETE", "/api/v1/job/{own}.5", "is deleted"),
        ("DELETE", "/api/v1/job/{other}xyz", "is deleted"),
        ("GET", "/api/v1/job/status/..%2F..%2Fagent%2Fstop", "agent is stopped"),
        ("GET", "/api/v1/agent/stop/", "agent is stopped"),
    ],
)
def test_the_mines_go_off(method: str, path: str, harm: str) -> None:
    instance = Minefield()
    own = instance.create("import", instance.usual_scripts["import"]).id
    (other,) = instance.others
    assert any(harm in each for each in instance.harm_of(method, path.format(own=own, other=other)))
