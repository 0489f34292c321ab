"""A plan that failed is kept, and carried out again alone, against any target."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from test_plugin import BROKEN_TARGET, CONTRACT, SLIPS_BACK, outcomes, waived

from pytest_expedition import JobRecipe, Target, validate
from pytest_expedition.report.text import replay_line
from pytest_expedition.session.settings import replay
from pytest_expedition.suite.plan import (
    Act,
    JobPlan,
    Plan,
    PlanError,
    Replay,
    as_document,
    plans,
    read_replay,
    require_allowed,
)

if TYPE_CHECKING:
    from pathlib import Path

RECIPES = (JobRecipe(name="import", path="/api/v1/x"), JobRecipe(name="export", path="/api/v1/y"))
HONEST = BROKEN_TARGET.format(body="pass")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "CONFIG", "REPORT", "REPLAY", "RECORD", "STRICT", "PROFILE", "API_KEY"):
        monkeypatch.delenv(f"EXPEDITION_{name}", raising=False)


@settings(deadline=None)
@given(plans(RECIPES, most_jobs=3))
def test_a_plan_that_is_kept_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, plan: Plan
) -> None:
    path = tmp_path_factory.mktemp("plans") / "plan.json"
    replay = Replay(requirement="status.monotonic", plan=plan)
    document = as_document(replay)
    path.write_text(json.dumps(document))
    validate(json.loads(path.read_text()), "plan")
    assert read_replay(path) == replay


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a plan: it is not JSON: Expecting value"),
        ("\udcff", "is not a plan: it is not JSON: "),
        ("[" * 100_000, "is not a plan: it is not JSON: "),
        ("{}", "is not a plan: $.requirement is missing, expected this field"),
        (
            '{"requirement": "x", "jobs": []}',
            "is not a plan: $.jobs is [], expected at least 1 item",
        ),
        (
            '{"requirement": "x", "jobs": [{"recipe": "a", "after": 2}]}',
            "is not a plan: $.jobs[0].after is 2, expected at most 1",
        ),
        (
            '{"requirement": "x", "jobs": [{"recipe": "a", "after": NaN}]}',
            "is not a plan: it is not JSON",
        ),
        (
            json.dumps({"requirement": "x", "jobs": [{"recipe": "a"}] * 1001}),
            "is not a plan: $.jobs is ",
        ),
        (
            json.dumps({"requirement": "x", "jobs": [{"recipe": "a", "poll_every": 10**400}]}),
            "is not a plan: $.jobs[0].poll_every is ",
        ),
        (
            json.dumps(
                {
                    "requirement": "x",
                    "jobs": [{"recipe": "a", "acts": [{"progress": 0, "requests": ["poll"] * 17}]}],
                }
            ),
            "is not a plan: $.jobs[0].acts[0].requests is ",
        ),
    ],
)
def test_a_file_that_is_no_plan_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(PlanError) as caught:
        read_replay(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def run(pytester: pytest.Pytester, *options: str) -> tuple[Any, dict[str, Any]]:
    report = pytester.path / "report.json"
    result = pytester.runpytest_inprocess(*CONTRACT, f"--expedition-report={report}", *options)
    document: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    validate(document, "report")
    return result, document


@pytest.mark.usefixtures("no_http")
def test_a_plan_that_fails_is_kept_beside_the_report_and_replayed(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(SLIPS_BACK)
    result, document = run(pytester, "--expedition-profile=smoke")
    (entry,) = [x for x in document["requirements"] if x["id"] == "status.monotonic"]
    kept = pytester.path / "report.plan.status.monotonic.json"
    assert json.loads(kept.read_text(encoding="utf-8")) == entry["plan"]
    command = f"pytest --pyargs pytest_expedition.contract --expedition-replay {kept.name}"
    assert entry["replay"] == command
    result.stdout.fnmatch_lines(
        ["To replay the plan that showed it*:", f"  {command}", "[[][[]waive]]", "verdict: *"]
    )

    result, again = run(pytester, f"--expedition-replay={kept}")
    assert result.ret == 1
    assert outcomes(again)["status.monotonic"] == "fail"
    assert again["jobs"] <= len(entry["plan"]["jobs"]) + 1  # one more to probe with
    result.stdout.fnmatch_lines(["verdict: *", "replay: status.monotonic still fails", "*===*"])

    pytester.makeconftest(HONEST)
    result, mended = run(pytester, f"--expedition-replay={kept}")
    assert result.ret == 0
    assert outcomes(mended)["status.monotonic"] == "pass"
    result.stdout.fnmatch_lines(["replay: status.monotonic passes this time"])
    result, _ = run(pytester, f"--expedition-replay={kept}", "-k", "bounds")
    result.stdout.fnmatch_lines(["replay: status.monotonic is not judged"])


def test_a_replay_does_not_judge_whether_a_waiver_is_needed(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(waived("status.bounds", "Instance", days=-1))
    result, document = run(pytester, f"--expedition-replay={keep(pytester, 'export')}")
    assert result.ret == 0
    (entry,) = [x for x in document["requirements"] if x["id"] == "status.bounds"]
    assert (entry["outcome"], entry["waiver"]["state"]) == ("pass", "unused")


def keep(pytester: pytest.Pytester, recipe: str) -> str:
    document = {"requirement": "status.bounds", "jobs": [{"recipe": recipe}]}
    return str(pytester.makefile(".json", plan=json.dumps(document)))


@pytest.mark.usefixtures("no_http")
def test_nothing_but_the_plan_is_carried_out(pytester: pytest.Pytester) -> None:
    _, document = run(pytester, f"--expedition-replay={keep(pytester, 'export')}")
    assert document["jobs"] == 1
    assert outcomes(document)["status.bounds"] == "pass"
    assert outcomes(document)["cancel.envelope"] == "inconclusive"


def test_a_recipe_that_the_target_does_not_have(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = f"--expedition-replay={keep(pytester, 'convert')}"
    message = "expedition_replay: job 1 of the plan is made by the recipe 'convert', which the "
    result = pytester.runpytest_inprocess(*CONTRACT, replay)
    result.stdout.fnmatch_lines([f"{message}target does not have: it has import, export"])
    assert "Traceback" not in result.stdout.str()
    monkeypatch.setenv("EXPEDITION_API_KEY", "key")
    result = pytester.runpytest_inprocess(*CONTRACT, replay, "--expedition-url=http://127.0.0.1:1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}target does not have: it has import"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--expedition-replay=none.json",),
            "none.json: cannot be read: No such file",
        ),
        (
            ("--expedition-replay=",),
            "--expedition-replay is empty: give it a value",
        ),
        (("--expedition-replay=plan.json", "--expedition-dry-run"), "remove one"),
        (("--expedition-record=none/x.jsonl",), "the folder does not exist"),
        (("--expedition-record=.",), "must be a file"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    pytester: pytest.Pytester, options: tuple[str, ...], message: str
) -> None:
    keep(pytester, "import")
    result = pytester.runpytest_inprocess(*CONTRACT, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{message}*"])


def test_a_plan_is_read_once(pytester: pytest.Pytester) -> None:
    """Its file may be a pipe, as with `--expedition-replay <(command)`."""
    keep(pytester, "import")
    config = pytester.parseconfigure("--expedition-replay=plan.json")
    (pytester.path / "plan.json").write_text("")
    plan = replay(config)
    assert plan is not None
    assert plan.requirement == "status.bounds"


@pytest.mark.usefixtures("no_http")
def test_what_a_run_sends_is_recorded(pytester: pytest.Pytester) -> None:
    path = pytester.path / "trace.jsonl"
    _, document = run(pytester, "--expedition-profile=smoke", f"--expedition-record={path}")
    first = path.read_bytes()
    assert abs(len(first.splitlines()) - document["requests"]) <= 1
    run(pytester, "--expedition-profile=smoke", f"--expedition-record={path}")
    assert len(path.read_bytes().splitlines()) == len(first.splitlines()), "a new trace each time"
    assert b"fake-expedition-key" not in first


def test_the_outcome_of_a_replay_is_told_in_a_line() -> None:
    document: Any = {"requirements": [{"id": "status.bounds", "outcome": "inconclusive"}]}
    assert replay_line(document, "status.bounds") == "replay: status.bounds is inconclusive"
    document["requirements"][0]["outcome"] = "waived"
    assert replay_line(document, "status.bounds") == (
        "replay: status.bounds still fails, and is waived"
    )
    assert replay_line(document, "status.gone") == "replay: status.gone is not judged"


def test_a_plan_starts_the_agent_only_where_the_target_allows_it() -> None:
    act = Act(progress=0.5, requests=("poll", "start-agent"))
    replay = Replay(
        requirement="agent.idempotent", plan=Plan(jobs=(JobPlan(recipe="import", acts=(act,)),))
    )
    target = Target(url="http://127.0.0.1:1", api_key="key", jobs=RECIPES)
    with pytest.raises(PlanError, match=r"job 1 of the plan starts the agent.*set start = true"):
        require_allowed(replay, target)
    require_allowed(replay, replace(target, start_agent=True))


def test_a_plan_stops_the_agent_only_where_the_target_allows_it() -> None:
    plan = Plan(jobs=(JobPlan(recipe="import"),), agent_stopped=True)
    replay = Replay(requirement="agent.gates", plan=plan)
    target = Target(url="http://127.0.0.1:1", api_key="key", jobs=RECIPES, start_agent=True)
    with pytest.raises(PlanError, match=r"the plan stops the agent.*set control = true"):
        require_allowed(replay, target)
    require_allowed(replay, replace(target, control_agent=True))
