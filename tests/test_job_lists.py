"""Lists of jobs: what the rules make of them, and what the suite reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from histories import JOB, PAGE, Story, error, in_data, verdict_on
from in_process import in_process

from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.instance import Instance
from pytest_expedition.oracle.job_lists import (
    JobList,
    Resource,
    created_in,
    is_of_all_jobs,
    is_of_resource,
    read_job_list,
    told_resource,
)
from pytest_expedition.oracle.rules import judge
from pytest_expedition.protocol.recipe import JobRecipe
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.recordings.by_job import judge_trace
from pytest_expedition.recordings.files import open_recordings
from pytest_expedition.recordings.trace import Trace, Whose, as_line
from pytest_expedition.suite.clock import SkippingClock
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract
from pytest_expedition.suite.target import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_expedition.fake.http import Request, Response
    from pytest_expedition.suite.target import Target

OTHER = 1620
"""A job that was created after `JOB`."""


class Listed(Story):
    """A story in the dialect `data`, with lists of jobs."""

    def creates(self, job: int = JOB, path: str = "/api/v1/project/1/import/device") -> Listed:
        self.add("create", "POST", path, in_data(job_id=job))
        return self

    def shows(self, state: Any, job: int = JOB, **fields: Any) -> Listed:
        """A status request, answered with a job."""
        timing = {name: fields.pop(name) for name in ("at", "until") if name in fields}
        self.answer_poll(in_data(id=job, state=state, **fields), job=job, **timing)
        return self

    def cancels(self, job: int = JOB, **timing: Any) -> Listed:
        self.answer_cancel({"success": True, "messages": []}, job=job, **timing)
        return self

    def lists(
        self,
        *jobs: dict[str, Any],
        status: str = "all",
        query: str = "",
        pages: dict[str, int] | None = None,
        **timing: Any,
    ) -> Listed:
        """A list of jobs, whole unless `pages` say otherwise."""
        document = in_data(job=list(jobs))
        usual = {"total": len(jobs), "current_page": 1, "per_page": 25, "total_pages": 1}
        document["pagination"] = usual if pages is None else pages
        self.add("list", "GET", f"/api/v1/job?status={status}{query}", document, **timing)
        return self

    def tells(self, of: str = "project/1", document: Any = None, **job: Any) -> Listed:
        """The job of a project or a device."""
        self.add("list", "GET", f"/api/v1/{of}/job", document or in_data(**job))
        return self


def job(state: Any = RuntimeError, job_id: int = JOB, **fields: Any) -> dict[str, Any]:
    """A job of a list; without a state it has none."""
    return {"id": job_id, **({} if state is RuntimeError else {"state": state}), **fields}


def begun() -> Listed:
    return Listed().creates().shows(0.5)


def two() -> Listed:
    """Two jobs that run, one created after the other."""
    return begun().creates(OTHER).shows(0.1, OTHER)


def cancelled() -> Listed:
    return begun().cancels().shows(-1)


def finished_then_cancelled() -> Listed:
    """A job whose statuses contradict each other, beside one that runs."""
    return begun().shows(1).cancels().shows(-1).creates(OTHER).shows(0.5, OTHER)


def failed_at_two_thirds() -> Listed:
    return begun().shows(0.66, status_message="failed")


CASES: list[tuple[str, str, Story, str | list[str]]] = [
    ("list.agrees", "the same state", begun().lists(job(0.5)).shows(0.5), "kept"),
    ("list.agrees", "between two states", begun().lists(job(0.6)).shows(0.7), "kept"),
    ("list.agrees", "an older state", begun().lists(job(0.4)), ["listed-stale"]),
    ("list.agrees", "0 for ever", begun().lists(job(0)), ["listed-stale"]),
    ("list.agrees", "an older one by a hair", begun().lists(job(0.4999)), ["listed-stale"]),
    ("list.agrees", "a later state", begun().lists(job(0.8)).shows(0.7), ["listed-ahead"]),
    ("list.agrees", "at the same time", begun().lists(job(0.3), at=0.3, until=0.4), "kept"),
    ("list.agrees", "no state", begun().lists(job()), "not exercised"),
    ("list.agrees", "a state that is not allowed", begun().lists(job("0.1")), "not exercised"),
    ("list.agrees", "a job of others", begun().lists(job(0.1, 7), job(0.5)), "kept"),
    ("list.agrees", "no list", begun(), "not exercised"),
    ("list.agrees", "cancelled", cancelled().lists(job(-1)), "kept"),
    ("list.agrees", "cancelled, still running", cancelled().lists(job(0.5)), ["listed-stale"]),
    ("list.agrees", "cancelled, finished", cancelled().lists(job(1)), ["listed-stale"]),
    (
        "list.agrees",
        "finished, then cancelled without any further cancel",
        begun().cancels().lists(job(1)).shows(-1),
        ["listed-otherwise"],
    ),
    (
        "list.agrees",
        "finished, then cancelled by a cancel that came later",
        begun().lists(job(1)).cancels().shows(-1),
        "kept",
    ),
    ("list.agrees", "cancelled, finished", begun().shows(1).lists(job(-1)), ["listed-otherwise"]),
    (
        "list.agrees",
        "statuses that contradict each other say nothing of lists",
        begun().shows(0.2).lists(job(0.3)),
        "not exercised",
    ),
    (
        "list.agrees",
        "completed in words alone",
        begun().lists(job(0.5, status_message="completed")),
        ["listed-in-other-words"],
    ),
    (
        "list.agrees",
        "failed, running in words",
        failed_at_two_thirds().lists(job(0.66, status_message="running")),
        ["listed-in-other-words"],
    ),
    (
        "list.agrees",
        "failed",
        failed_at_two_thirds().lists(job(0.66, status_message="failed")),
        "kept",
    ),
    ("list.agrees", "left out of an empty list", begun().lists().shows(0.6), ["not-listed"]),
    ("list.agrees", "gone since", begun().lists(), "not exercised"),
    (
        "list.agrees",
        "left out though an older one is listed",
        two().lists(job(0.5)).shows(0.6, OTHER),
        ["not-listed"],
    ),
    (
        "list.agrees",
        "left out where later ones alone are listed",
        two().lists(job(0.1, OTHER)).shows(0.6),
        "kept",
    ),
    (
        "list.agrees",
        "left out of the list of pending jobs, which may be those that wait",
        begun().lists(status="pending").shows(0.6),
        "not exercised",
    ),
    (
        "list.agrees",
        "left out of the list of another type",
        begun().lists(query="&type=replace").shows(0.6),
        "not exercised",
    ),
    (
        "list.agrees",
        "left out of the second page",
        begun().lists(query="&page=2").shows(0.6),
        "not exercised",
    ),
    (
        "list.agrees",
        "on another page",
        two().lists(job(0.5), pages={"total": 2, "total_pages": 2}).shows(0.6, OTHER),
        "kept",
    ),
    (
        "list.agrees",
        "more in all than are shown",
        two().lists(job(0.5), pages={"total": 2, "total_pages": 1}).shows(0.6, OTHER),
        "kept",
    ),
    (
        "list.agrees",
        "a full page may not be all",
        two().lists(job(0.5), query="&limit=1", pages={}).shows(0.6, OTHER),
        "kept",
    ),
    (
        "list.agrees",
        "left out of the completed",
        begun().shows(1).lists(status="completed").shows(1),
        ["not-listed"],
    ),
    (
        "list.agrees",
        "left out of the cancelled",
        cancelled().lists(status="cancelled").shows(-1),
        ["not-listed"],
    ),
    (
        "list.agrees",
        "left out of the completed before it was seen to end",
        begun().lists(status="completed").shows(1),
        "not exercised",
    ),
    ("list.agrees", "the job of a project", begun().tells(id=JOB, state=0.5), "kept"),
    ("list.agrees", "as created", begun().tells(id=JOB, state=0), ["listed-stale"]),
    ("list.agrees", "a project tells another's", begun().tells(id=7, state=0), "not exercised"),
    (
        "list.agrees",
        "the cancel is under way",
        begun().cancels().lists(job(0.5)).shows(-1),
        "kept",
    ),
    (
        "list.agrees",
        "seen finished and cancelled",
        begun().shows(1).lists(job(1)).cancels().shows(-1),
        "not exercised",
    ),
    (
        "list.agrees",
        "an older state, after a job whose statuses contradict each other",
        finished_then_cancelled().lists(job(0.4, OTHER)),
        ["listed-stale"],
    ),
    (
        "list.agrees",
        "left out where only jobs of others are listed, which may be later ones",
        begun().lists(job(0.1, 7)).shows(0.6),
        "not exercised",
    ),
    ("list.filters", "running", begun().lists(job(0.5), status="pending"), "kept"),
    ("list.filters", "still at 0", begun().lists(job(0), status="pending"), "kept"),
    ("list.filters", "cancelled", begun().lists(job(-1), status="pending"), ["wrong-filter"]),
    ("list.filters", "finished", begun().lists(job(1), status="completed"), "kept"),
    ("list.filters", "cancelled", begun().lists(job(-1), status="completed"), ["wrong-filter"]),
    ("list.filters", "cancelled", begun().lists(job(-1), status="cancelled"), "kept"),
    ("list.filters", "by default the pending", begun().lists(job(0.5), status=""), "kept"),
    ("list.filters", "ended", begun().lists(job(1), status="pending"), ["wrong-filter"]),
    ("list.filters", "running", begun().lists(job(0.5), status="completed"), ["wrong-filter"]),
    ("list.filters", "failed", begun().lists(job(0.6, status_message="failed")), "not exercised"),
    (
        "list.filters",
        "failed may count as completed, or as pending",
        failed_at_two_thirds().lists(job(0.66, status_message="failed"), status="completed"),
        "not exercised",
    ),
    ("list.filters", "finished", begun().lists(job(1), status="cancelled"), ["wrong-filter"]),
    (
        "list.filters",
        "listed as cancelled while the cancel is under way",
        begun().cancels().lists(job(0.5), status="cancelled").shows(0.5),
        "kept",
    ),
    (
        "list.filters",
        "listed as cancelled without a cancel, and without a state",
        begun().lists(job(), status="cancelled").shows(0.5),
        ["wrong-filter-by-status"],
    ),
    (
        "list.filters",
        "listed as completed without a state",
        begun().lists(job(), status="completed").shows(0.5),
        ["wrong-filter-by-status"],
    ),
    (
        "list.filters",
        "cancelled, listed as completed without a state",
        cancelled().lists(job(), status="completed"),
        ["wrong-filter-by-status"],
    ),
    (
        "list.filters",
        "finished, listed as pending without a state",
        begun().shows(1).lists(job(), status="pending"),
        ["wrong-filter-by-status"],
    ),
    (
        "list.filters",
        "finished, listed as cancelled without a state",
        begun().shows(1).lists(job(), status="cancelled"),
        ["wrong-filter-by-status"],
    ),
    (
        "list.filters",
        "listed as completed without a state, and seen finished after that",
        begun().lists(job(), status="completed").shows(1),
        "not exercised",
    ),
    (
        "list.filters",
        "had failed, listed as completed without a state, and no longer shown as failed",
        failed_at_two_thirds().lists(job(), status="completed").shows(0.66),
        "not exercised",
    ),
    (
        "list.filters",
        "listed as cancelled as a cancel is sent",
        begun().lists(job(), status="cancelled", at=5, until=6).cancels(at=6).shows(0.5),
        "not exercised",
    ),
    (
        "list.filters",
        "listed as cancelled, and seen cancelled after that",
        begun().lists(job(), status="cancelled").shows(-1),
        "not exercised",
    ),
    (
        "list.filters",
        "listed as completed without a state, after a job whose statuses contradict each other",
        finished_then_cancelled().lists(job(job_id=OTHER), status="completed").shows(0.5, OTHER),
        ["wrong-filter-by-status"],
    ),
    ("list.filters", "any", begun().lists(job(1)), "not exercised"),
    ("list.filters", "any, running", begun().lists(job()).shows(0.5), "not exercised"),
    *(
        (
            "list.filters",
            "a status that is not declared",
            begun().shows(state).lists(job(), status=status).shows(state),
            "not exercised",
        )
        for status in ("aborted", "new", "started")
        for state in (0.5, 1)
    ),
    ("list.envelope", "as documented", begun().lists(job(0.5)), "kept"),
    ("list.envelope", "nothing but ids", begun().lists(job()), "kept"),
    ("list.envelope", "empty", begun().lists(), "kept"),
    ("list.envelope", "no ids", begun().lists({"state": 1}), ["not-the-envelope"]),
    ("list.envelope", "a text for a state", begun().lists(job("1")), ["not-the-envelope"]),
    (
        "list.envelope",
        "not there",
        begun().lists(status="all", at=9.0).add("list", "GET", "/api/v1/job", {}, status=404),
        "kept",
    ),
    (
        "list.envelope",
        "a server error",
        begun().add("list", "GET", "/api/v1/job", {"success": False, "messages": []}, status=500),
        ["not-a-success"],
    ),
    (
        "list.envelope",
        "each answer is judged",
        begun()
        .add("list", "GET", "/api/v1/job", {"success": False, "messages": []}, status=500)
        .add("list", "GET", "/api/v1/job", in_data(job=[job("1")])),
        ["not-a-success", "not-the-envelope"],
    ),
    *(
        (
            "list.envelope",
            f"HTTP {status}",
            begun().add("list", "GET", "/api/v1/job", error(), status=status),
            told,
        )
        for statuses, told in (
            ((401, 403, 404, 405, 410, 429, 501), "not exercised"),
            ((400, 402, 406, 409, 411, 500, 502), ["not-a-success"]),
        )
        for status in statuses
    ),
    (
        "list.envelope",
        "a gateway answers",
        begun().add("list", "GET", "/api/v1/job", PAGE, status=502),
        "not exercised",
    ),
    ("list.envelope", "a project's", begun().tells(id=JOB, state=0.5), "kept"),
    ("list.envelope", "a text", begun().tells(id=JOB, state="0.5"), ["not-the-envelope"]),
    ("list.envelope", "no state", begun().tells(id=JOB), "not exercised"),
    (
        "list.envelope",
        "a project without a job",
        begun().tells(document={"success": True, "data": []}),
        "not exercised",
    ),
    (
        "list.of-resource",
        "its own",
        begun().tells(id=7, resource=1, resource_type="project"),
        "kept",
    ),
    (
        "list.of-resource",
        "another's",
        begun().tells(id=7, resource=2, resource_type="project"),
        ["of-another"],
    ),
    (
        "list.of-resource",
        "what it works on may be something else",
        begun().tells(id=7, resource=255, resource_type="migration"),
        "not exercised",
    ),
    (
        "list.of-resource",
        "a project's job works on a device",
        begun().tells(id=7, resource=1, resource_type="device"),
        "not exercised",
    ),
    (
        "list.of-resource",
        "a device's job works on a project",
        begun().tells("device/1", id=7, resource=1, resource_type="project"),
        "not exercised",
    ),
    ("list.of-resource", "created in it", begun().tells(id=JOB), "kept"),
    (
        "list.of-resource",
        "created in another",
        begun().tells("project/2", id=JOB),
        ["created-in-another"],
    ),
    (
        "list.of-resource",
        "another's, which came before",
        begun().tells("project/2", id=7, resource=1, resource_type="project"),
        ["of-another"],
    ),
    (
        "list.of-resource",
        "created in another, which came later",
        Listed().creates(path="/api/v1/project/2/import/device").tells("project/1", id=JOB),
        ["created-in-another"],
    ),
    (
        "list.of-resource",
        "created on a device",
        Listed().creates(path="/api/v1/device/1/retrieve_content").tells("project/2", id=JOB),
        "not exercised",
    ),
    (
        "list.of-resource",
        "a list of all jobs is of no resource",
        begun().lists(job(0.5)),
        "not exercised",
    ),
    (
        "list.of-resource",
        "created in another, after a list of all jobs",
        begun().lists(job(0.5)).tells("project/2", id=JOB),
        ["created-in-another"],
    ),
    (
        "list.of-resource",
        "its creation is not known",
        Listed().shows(0.5).tells("project/2", id=JOB),
        "not exercised",
    ),
    ("list.of-resource", "a device's", begun().tells("device/2", id=JOB), "not exercised"),
]


@pytest.mark.parametrize(
    ("requirement", "_", "story", "expected"),
    CASES,
    ids=[f"{name}: {what}" for name, what, _, _ in CASES],
)
def test_a_rule_judges_lists(
    requirement: str, _: str, story: Story, expected: str | list[str]
) -> None:
    assert verdict_on(story, requirement) == expected


@pytest.mark.parametrize("requirement", [name for name in CATALOGUE if name.startswith("list.")])
def test_every_rule_is_held_broken_and_without_a_chance(requirement: str) -> None:
    outcomes = [outcome for name, _, _, outcome in CASES if name == requirement]
    assert "kept" in outcomes
    assert "not exercised" in outcomes
    assert any(isinstance(outcome, list) for outcome in outcomes)


def listing(path: str, *jobs: dict[str, Any], **pages: int) -> JobList:
    return read_job_list(path, {**in_data(job=list(jobs)), "pagination": pages})


@pytest.mark.parametrize(
    ("query", "pages", "count", "whole"),
    [
        ("", {}, 24, True),
        ("", {}, 25, False),  # there may be more
        ("", {"per_page": 100}, 25, False),
        ("?limit=100", {"per_page": 100}, 25, False),  # a server may never show more
        ("?limit=2", {}, 1, True),
        ("?limit=2", {}, 2, False),
        ("?limit=2", {}, 3, False),
        ("?limit=all", {}, 1, True),
        ("?page=1", {}, 1, True),
        ("?page=0", {}, 1, False),
        ("?page=2", {}, 1, False),
        ("", {"total_pages": 0}, 0, True),
        ("", {"total_pages": 1}, 1, True),
        ("", {"total_pages": 2}, 1, False),
        ("", {"total": 1}, 1, True),
        ("", {"total": 0}, 1, False),
        ("", {"total": 2}, 1, False),
        ("?type=import", {}, 1, False),
        ("?status=all", {}, 1, True),
    ],
)
def test_a_list_is_whole_if_no_job_can_stand_on_another_page(
    *, query: str, pages: dict[str, int], count: int, whole: bool
) -> None:
    jobs = [job(0.5, number) for number in range(1, count + 1)]
    assert listing(f"/api/v1/job{query}", *jobs, **pages).is_whole == whole


def test_of_a_filter_that_is_given_twice_the_last_counts() -> None:
    assert listing("/api/v1/job?status=all&status=completed").status == "completed"


def test_a_job_of_a_list_has_a_whole_number_as_its_id() -> None:
    jobs = [job(0.5, 1), {"id": "2"}, {"state": 1}, {"id": 3, "job_id": 4}, {"job_id": 5}]
    assert list(listing("/api/v1/job", *jobs).jobs) == [1, 5]


@pytest.mark.parametrize(
    ("path", "of_all", "of_one"),
    [
        ("/api/v1/job", True, False),
        ("/api/v1/job/?status=all", True, False),
        ("/api/v1/project/7/job?complete=true", False, True),
        ("/api/v1/device/7/job", False, True),
        ("/api/v1/job/7", False, False),
        ("/api/v1/migration/7/job", False, False),
    ],
)
def test_a_path_asks_for_a_list_or_for_the_job_of_a_resource(
    *, path: str, of_all: bool, of_one: bool
) -> None:
    assert is_of_all_jobs(path) == of_all
    assert is_of_resource(path) == of_one


def test_an_id_that_no_database_gives_out_names_no_resource() -> None:
    assert created_in(f"/api/v1/project/{'9' * 18}/import") == Resource("project", 10**18 - 1)
    assert created_in(f"/api/v1/project/{'9' * 19}/import") is None
    assert created_in(f"/api/v1/project/{'9' * 5000}/import") is None


@pytest.mark.parametrize(
    ("fields", "resource"),
    [
        ({"resource_type": "project", "resource": 7}, Resource("project", 7)),
        ({"resource_type": "device", "resource": 7}, Resource("device", 7)),
        ({"resource_type": "migration", "resource": 7}, None),
        ({"resource_type": "project", "resource": "7"}, None),
        ({"resource_type": "project", "resource": True}, None),
        ({"resource_type": "project"}, None),
        ({}, None),
    ],
)
def test_a_job_of_a_list_may_name_its_resource(
    fields: dict[str, Any], resource: Resource | None
) -> None:
    (told,) = listing("/api/v1/job", job(0.5, 1, **fields)).jobs.values()
    assert told_resource(told) == resource


def test_a_broken_list_is_not_called_a_status() -> None:
    story = begun().lists(job("1")).tells(id=JOB, state="0.5")
    violations = judge(story.history())["list.envelope"].violations
    assert [each.facts["envelope"] for each in violations] == ["job list", "status"]


@pytest.mark.parametrize("story", [each[2] for each in CASES], ids=lambda _: "")
def test_a_trace_is_judged_as_the_history_is(story: Story, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    lines = [as_line(each, Whose("https://10.0.0.1")) for each in story.exchanges]
    path.write_bytes(b"".join(lines))
    (findings,) = [
        judge_trace(Trace(each), job_seconds=story.job_seconds).findings
        for each in open_recordings(path)
    ]
    for name, finding in judge(story.history()).items():
        found = findings[name]
        assert bool(found.violations) == bool(finding.violations), name
        assert not found.crash
        for violation in found.violations:  # told in full, though lists are kept without bodies
            assert all(x.body for x in violation.proof)


class Asked(Instance):
    """Keeps the lists that it was asked for."""

    def __init__(self) -> None:
        super().__init__(dialect="data")

    @property
    def asked(self) -> list[str]:
        return [
            f"{x.path.removeprefix('/api/v1/')}?{x.query}".rstrip("?")
            for x in self.requests
            if x.path.endswith("/job")
        ]


class Crowded(Asked):
    """Has many jobs of others, older than ours, and shows two a page."""

    def answer_list(self, request: Request) -> Response:
        page = request.number("page", 1)
        jobs = [{"id": page * 2, "state": 1}, {"id": page * 2 + 1, "state": 1}]
        document = self.envelope({"job": jobs})
        document["pagination"] = {"total": 18, "per_page": 2, "total_pages": 9}
        return self.reply(document)


class WithoutLists(Asked):
    """Knows no list of jobs."""

    def answer_list(self, request: Request) -> Response:
        return self.not_found(request)


def run(make: Callable[[], Asked], **changes: Any) -> tuple[list[str], dict[str, str]]:
    """Run the suite; return which lists it asked for, and the outcomes."""
    made: list[Asked] = []

    def kept() -> Asked:
        made.append(make())
        return made[-1]

    with in_process(), embedded_target(kept) as target:
        changed: Target = replace(target, **changes)
        record = run_contract(changed, profile="smoke", seed=1)
    assert record.reason == ""
    return made[-1].asked, {each.requirement.id: each.outcome for each in record.results}


def test_lists_are_read_on_the_way_and_afterwards() -> None:
    asked, outcomes = run(Asked)
    project = "project/1/job"
    first = ["job?status=all&limit=100&page=1", "job?status=completed&limit=100&page=1", project]
    last = [f"job?status={status}&limit=100&page=1" for status in ("all", "pending", "cancelled")]
    assert asked == [*first, *last, project]
    lists = {name: each for name, each in outcomes.items() if name.startswith("list.")}
    assert set(lists.values()) == {"pass"}


def test_the_job_of_each_project_and_device_of_a_recipe_is_read() -> None:
    recipes = (
        JobRecipe(name="reduce", path="/api/v1/project/4/tools/reduce", json={}, cancellable=True),
        JobRecipe(name="upload", path="/api/v1/device/7/upload/migration", cancellable=False),
    )
    asked, outcomes = run(Asked, jobs=recipes)
    of_resources = [each for each in asked if "?" not in each]
    assert of_resources == ["project/4/job", "device/7/job"] * 2
    assert outcomes["list.of-resource"] == "pass"


def test_of_a_long_list_three_pages_are_read_the_first_and_the_last() -> None:
    asked, _ = run(Crowded)
    assert [each.rpartition("=")[2] for each in asked if "status=all" in each] == [
        *("1", "9", "8"),
        *("1", "9", "8"),
    ]


def test_a_server_without_lists_is_asked_once() -> None:
    asked, outcomes = run(WithoutLists)
    assert sum("?" in each for each in asked) == 1
    assert outcomes["list.envelope"] != "fail"


@pytest.mark.parametrize("dialect", ["system", "msg", "mixed"])
def test_in_other_dialects_no_list_is_read(dialect: Any) -> None:
    def make() -> Asked:
        instance = Asked()
        instance.dialect = dialect
        return instance

    asked, outcomes = run(make)
    assert asked == []
    assert outcomes["list.agrees"] == "not-tested"


class Waiting(SkippingClock):
    """A virtual clock that says that it takes real time."""

    waits = True


@pytest.mark.parametrize("seconds", [10.0, 20.0])
def test_lists_are_read_when_states_are_not_round(seconds: float) -> None:
    """Only then a list shows that it rounds them."""

    def make() -> Instance:
        server = BROKEN["list-rounds-down"].make()
        server.dialect = "data"
        return server

    with in_process(), embedded_target(make, job_seconds=seconds, clock=Waiting) as target:
        limits = Limits(job_seconds=4 * seconds)
        changed = replace(target, start_agent=False, control_agent=False, limits=limits)
        record = run_contract(changed, profile="smoke")
    outcomes = {each.requirement.id: each.outcome for each in record.results}
    assert outcomes["list.agrees"] == "fail"
