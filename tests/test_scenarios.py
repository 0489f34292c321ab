"""The other side of the contract: good clients cope with every scenario, broken ones are caught."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import textwrap
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from clients import (
    BROKEN,
    CURL_IS_MISSING,
    GOOD,
    Client,
    GivesUpAndCancels,
    WithCurl,
    broken_promises,
)
from hypothesis import given
from model_client import Expedition, JobCancelled, JobFailed
from model_client_of_2023 import ExpeditionOf2023

from pytest_expedition import Outage, Situation, validate
from pytest_expedition.clients.catalogue import SCENARIOS
from pytest_expedition.clients.choice import ChoiceError, choose, choose_by_name, usual
from pytest_expedition.clients.draw import situations
from pytest_expedition.clients.harness import ClientFunctions, Harness
from pytest_expedition.clients.report import client_fault, pauses, set_up, situation_text
from pytest_expedition.clients.rules import CLIENT_RULES
from pytest_expedition.fake.instance import PASSWORD, USERNAME
from pytest_expedition.protocol.requirements import CATALOGUE, CLIENT_CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition import ExpeditionScenario, ExpeditionServer
    from pytest_expedition.oracle.verdict import Result


def try_out(
    client_of: Callable[[Harness], Client], server: ExpeditionServer, situation: Situation
) -> list[Result]:
    harness = Harness(server)
    client = client_of(harness)
    try:
        return harness.run(
            situation, ClientFunctions(start=client.start, wait=client.wait, cancel=client.cancel)
        )
    finally:
        client.close()


def test_the_model_client_copes_with_every_scenario(
    expedition_scenario: ExpeditionScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", expedition_scenario.sleep)
    client = Expedition(expedition_scenario.url, USERNAME, PASSWORD)
    expedition_scenario.check(
        start=lambda: client.start_import(1, "/tmp/a.xml"),
        wait=client.wait,
        cancel=client.cancel,
        failed=JobFailed,
        cancelled=JobCancelled,
    )
    client.session.close()
    assert not broken_promises(expedition_scenario.results)


@pytest.mark.expedition_scenarios("ordinary", "fails", "cancelled-by-another", dialect="msg")
def test_the_model_client_copes_with_another_dialect(
    expedition_scenario: ExpeditionScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_the_model_client_copes_with_every_scenario(expedition_scenario, monkeypatch)


@pytest.mark.long
@pytest.mark.expedition_scenarios(dialect="msg")
def test_the_model_client_copes_with_every_scenario_in_another_dialect(
    expedition_scenario: ExpeditionScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_the_model_client_copes_with_every_scenario(expedition_scenario, monkeypatch)


IN_DATA = {name for name, each in SCENARIOS.items() if each.situation.dialect == "data"}


@pytest.mark.expedition_scenarios(
    "ordinary", "fails", "fails-at-two-thirds", "cancelled-by-another", dialect="data"
)
def test_the_model_client_of_the_api_reference_copes(
    expedition_scenario: ExpeditionScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", expedition_scenario.sleep)
    client = ExpeditionOf2023(expedition_scenario.url, USERNAME, PASSWORD)
    expedition_scenario.check(
        start=lambda: client.start(1, device_id=7),
        wait=client.wait,
        cancel=client.cancel,
        failed=JobFailed,
        cancelled=JobCancelled,
    )
    client.session.close()
    assert not broken_promises(expedition_scenario.results)


@pytest.mark.long
@pytest.mark.expedition_scenarios(dialect="data")
def test_the_model_client_of_the_api_reference_copes_with_every_scenario(
    expedition_scenario: ExpeditionScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_the_model_client_of_the_api_reference_copes(expedition_scenario, monkeypatch)


def test_a_client_that_goes_by_the_state_alone_misses_a_failure_below_one(
    expedition_server: ExpeditionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ByState(ExpeditionOf2023):
        def wait(self, job_id: int, *, polls: int = 300) -> dict[str, Any]:
            for _ in range(polls):
                job = self.job(job_id)
                if job["state"] in {1, -1}:
                    return job
                time.sleep(self.pause)
            raise TimeoutError

    expedition_server.dialect = "data"
    harness = Harness(expedition_server)
    monkeypatch.setattr("time.sleep", harness.sleep)
    client = ByState(expedition_server.url, USERNAME, PASSWORD)
    functions = ClientFunctions(
        start=lambda: client.start(1, device_id=7), wait=client.wait, failed=JobFailed
    )
    results = harness.run(SCENARIOS["fails-at-two-thirds"].situation, functions)
    client.session.close()
    assert "client.stops-when-finished" in broken_promises(results)


def test_what_happens_in_data_alone_is_tried_where_that_is_named() -> None:
    assert {"fails-at-two-thirds"} == IN_DATA
    assert IN_DATA.isdisjoint(each for each, _ in choose([]))
    assert IN_DATA.isdisjoint(each.id for each in choose_by_name([], without=[], dialect="msg"))
    assert {each.id for each in choose_by_name([], without=[], dialect="data")} >= IN_DATA
    (one,) = choose_by_name(["fails-at-two-thirds"], without=[], dialect=None)
    assert one.situation.dialect == "data"
    with pytest.raises(ChoiceError, match="cannot happen in the dialect 'system'"):
        choose_by_name(["fails-at-two-thirds"], without=[], dialect="system")


@pytest.mark.parametrize(
    ("client", "scenario"),
    [
        pytest.param(
            client,
            name,
            marks=[] if client is Client or number % 4 == style % 4 else pytest.mark.long,
        )
        for style, client in enumerate(GOOD)
        for number, name in enumerate(usual(None))
    ],
)
def test_good_clients_of_every_style_cope(
    client: type[Client], scenario: str, expedition_server: ExpeditionServer
) -> None:
    if client is WithCurl and CURL_IS_MISSING:
        pytest.skip("curl is not installed")
    results = try_out(client, expedition_server, SCENARIOS[scenario].situation)
    assert not broken_promises(results)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name.startswith("PollsEverySecond") else [])
        for name in BROKEN  # that one sends 7,200 requests
    ],
)
def test_a_broken_client_is_caught_by_the_promise_that_it_breaks(
    name: str, expedition_server: ExpeditionServer
) -> None:
    client = BROKEN[name]
    results = try_out(client.make, expedition_server, SCENARIOS[client.scenario].situation)
    assert broken_promises(results) == dict.fromkeys(client.breaks, "")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "IdsAreFloats-huge-ids",
            (
                "`GET job/status/9007199254740992` names the job 9007199254740993, rounded as a "
                "floating-point number holds it."
            ),
        ),
        (
            "RemembersOneJob-two-jobs",
            (
                "Of job 1619 it returned 'finished', though no answer had shown its end, only that "
                "of another job."
            ),
        ),
        (
            "NeverSleepsWhileDown-down-for-a-minute",
            "It sent thirty polls within 0 s without a pause, though none was answered.",
        ),
    ],
)
def test_what_a_broken_client_did_is_told(
    name: str, told: str, expedition_server: ExpeditionServer
) -> None:
    client = BROKEN[name]
    results = try_out(client.make, expedition_server, SCENARIOS[client.scenario].situation)
    (violation,) = [each.violation for each in results if each.violation]
    assert client_fault(violation) == told


class Remembers(Client):
    """It never asks again how a job has ended, which is for good."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(harness)
        self.ends: dict[Any, str] = {}

    def wait(self, job_id: Any) -> str:
        if job_id not in self.ends:
            self.ends[job_id] = super().wait(job_id)
        return self.ends[job_id]


class AsksTwiceMore(Client):
    """It makes sure."""

    def wait(self, job_id: Any) -> str:
        end = super().wait(job_id)
        for _ in range(2):
            self.status(job_id)
        return end


@pytest.mark.parametrize("name", usual(None))
@pytest.mark.parametrize("make", [GivesUpAndCancels, Remembers, AsksTwiceMore])
def test_a_client_of_an_uncommon_habit_is_not_accused(
    make: type[Client], name: str, expedition_server: ExpeditionServer
) -> None:
    results = try_out(make, expedition_server, SCENARIOS[name].situation)
    assert broken_promises(results) == {}


def test_no_id_comes_twice_from_one_harness(expedition_server: ExpeditionServer) -> None:
    harness = Harness(expedition_server)
    client = Remembers(harness)
    try:
        for _ in range(3):
            for name in ("ordinary", "cancelled-by-another", "fails"):
                situation = SCENARIOS[name].situation
                results = harness.run(
                    situation, ClientFunctions(start=client.start, wait=client.wait)
                )
                assert broken_promises(results) == {}
    finally:
        client.close()


def test_every_promise_is_broken_by_some_client() -> None:
    assert {promise for each in BROKEN.values() for promise in each.breaks} == set(CLIENT_CATALOGUE)
    assert set(CLIENT_RULES) == set(CLIENT_CATALOGUE)
    assert not set(CLIENT_CATALOGUE) & set(CATALOGUE)


CLIENT = """
    import pytest, requests
    from pytest_expedition import ExpeditionScenario

    class Client:
        def __init__(self, scenario):
            self.scenario, self.session = scenario, requests.Session()
            self.session.trust_env = False
            self.session.headers["Authorization"] = f"Bearer {scenario.api_key}"

        def ask(self, method, path):
            answer = self.session.request(method, f"{self.scenario.url}/api/v1/{path}", timeout=9)
            answer.raise_for_status()
            return answer.json()["Contents"]["response"]["data"]["content"]["system"]["jobs"]

        def start(self):
            return self.ask("POST", "project/1/import")["jobId"]

        def wait(self, job_id):
            while True:
                job = self.ask("GET", f"job/status/{job_id}")
                if job["state"] in (1, -1):
                    return {1: "finished", -1: "cancelled"}[job["state"]]
                self.scenario.sleep(5)
"""


def run(
    pytester: pytest.Pytester, test: str, *options: str, client: str = CLIENT
) -> pytest.RunResult:
    pytester.makepyfile(textwrap.dedent(client) + textwrap.dedent(test))
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)


def test_a_failure_tells_the_situation_the_good_client_and_this_one(
    pytester: pytest.Pytester,
) -> None:
    result = run(
        pytester,
        """
        @pytest.mark.expedition_scenarios("fails", "ordinary", "unavailable")
        def test_import(expedition_scenario):
            client = Client(expedition_scenario)
            expedition_scenario.check(client.start, client.wait)
        """,
    )
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_import?fails?*",
            "client.sees-failure: The job failed, but the client returned 'finished'.",
            "",
            "scenario fails: The job ends in failure: state 1, status code -1 (`data`: status*",
            "A good client: Says that the job has failed: a state of 1 alone is not success.",
            "client.sees-failure (MUST, shown): It says of a job that ended in failure that it*",
            "",
            "What led to it:",
            "        0 s  POST project/1/import → job 1619, state 0*",
            "       40 s  GET job/status/1619 → state 1",
            "  the client returned 'finished'",
            "  it polled every 5 s (from 5 to 5 s)",
            "",
            "To set the fake up that way:",
            "  from pytest_expedition import Situation",
            "  situation = Situation(fails=True)",
            "  expedition_server.play(situation)",
            "client.survives-outages: *HTTP 503*then it raised HTTPError(*) at *.py:*",
            "  from pytest_expedition import Outage, Situation",
            "  situation = Situation(outages=[[]Outage(kind='unavailable', times=2)[]])",
            "*= expedition client =*",
            "client.sends-key *MUST *pass *kept in 3 scenarios",
            "client.sees-success *MUST *pass *kept in 1 scenario",
            "client.sees-failure *MUST *fail *in fails: The job failed, but the client returned*",
            "client.trusts-the-state *MUST *not-tested *the client was not told to cancel: needs *",
            "client.keeps-jobs-apart *MUST *inconclusive *not exercised: no answer showed *",
            "client.cancels-when-told *MUST *not-tested *not told to cancel: needs check(*cancel=*",
            "22 requirements: *",
            "verdict: non-conformant",
        ]
    )


THREE_SCENARIOS = """
    @pytest.mark.expedition_scenarios("fails", "ordinary", "unavailable")
    def test_import(expedition_scenario):
        client = Client(expedition_scenario)
        expedition_scenario.check(client.start, client.wait)
"""


@pytest.mark.parametrize(
    "workers",
    [
        pytest.param((), id="one"),
        pytest.param(("-p", "xdist", "-n", "2"), id="two", marks=pytest.mark.long),
    ],
)
def test_a_report_tells_of_a_client_what_it_tells_of_a_server(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    reports = [f"--expedition-report=report.{suffix}" for suffix in ("json", "html", "md")]
    run(pytester, THREE_SCENARIOS, *reports, *workers)
    report = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))
    validate(report, "report")
    assert report["verdict"] == "non-conformant"
    assert (report["jobs"], report["unanswered"]) == (3, 1)
    entries = {entry["id"]: entry for entry in report["requirements"]}
    assert list(entries) == list(CLIENT_CATALOGUE)
    assert entries["client.sends-key"]["outcome"] == "pass"
    broken = entries["client.sees-failure"]
    assert broken["reason"] == "in fails: The job failed, but the client returned 'finished'."
    assert broken["python"][1] == "situation = Situation(fails=True)"
    told = [(each["sent"], each["summary"], each["proves"]) for each in broken["evidence"]]
    assert told == [
        (0, "0.000 s POST project/1/import → job 1619, state 0, “The job has been created”", False),
        (40, "40.000 s GET job/status/1619 → state 1", True),
    ]
    states = [each["state"] for each in broken["timeline"]["exchanges"]]
    assert states == sorted(states)
    assert len(states) == 10
    for suffix in ("html", "md"):
        text = (pytester.path / f"report.{suffix}").read_text(encoding="utf-8")
        assert "situation = Situation(fails=True)" in text


def test_a_server_and_a_client_that_are_judged_together_share_the_report(
    pytester: pytest.Pytester,
) -> None:
    contract = ("--pyargs", "pytest_expedition.contract", "--expedition-profile=smoke")
    report = "--expedition-report=report.json"
    result = run(pytester, THREE_SCENARIOS, *contract, report, str(pytester.path))
    result.stdout.fnmatch_lines(["*= expedition contract and client =*"])
    told = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))
    judged = [entry["id"] for entry in told["requirements"]]
    assert judged == [*CATALOGUE, *CLIENT_CATALOGUE]
    assert told["verdict"] == "non-conformant"


def test_a_report_that_cannot_be_made_is_refused_before_a_client_is_tried(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPEDITION_REPORT", "report.pdf")
    result = run(pytester, THREE_SCENARIOS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'*report.pdf': the suffix must be one of .json, .html, .md"])


def test_a_should_alone_is_an_expected_failure_unless_strict(pytester: pytest.Pytester) -> None:
    test = """
        @pytest.mark.expedition_scenarios("key-expires")
        def test_import(expedition_scenario):
            client = Client(expedition_scenario)
            expedition_scenario.check(client.start, client.wait)
    """
    run(pytester, test).assert_outcomes(xfailed=1)
    run(pytester, test, "--expedition-strict").assert_outcomes(failed=1)


def test_without_a_cancel_scenarios_that_need_one_are_skipped(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        @pytest.mark.expedition_scenarios("cancel-refused")
        def test_import(expedition_scenario):
            client = Client(expedition_scenario)
            expedition_scenario.check(client.start, client.wait)
        """,
        "-rs",
    )
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*not-tested: the test does not say how the client cancels*"])


def test_a_test_that_forgets_to_check_fails(pytester: pytest.Pytester) -> None:
    test = """
        @pytest.mark.expedition_scenarios("ordinary")
        def test_import(expedition_scenario):
            pass
    """
    result = run(pytester, test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*expedition_scenario was not used: call expedition_scenario.check(…)"]
    )


@pytest.mark.parametrize(
    ("marker", "complaint"),
    [
        ('("ordinary",)', "expedition_scenarios takes ids one by one, as texts, not ('ordinary',)"),
        ('"ordinry"', "there is no scenario 'ordinry'; did you mean ordinary?"),
        ('"zzz"', "there is no scenario 'zzz'; `pytest-expedition list scenarios` has all"),
        ("dialect='php'", "dialect = 'php': must be one of system, msg, data, mixed"),
        (
            "'first-under-msg', dialect='data'",
            "'first-under-msg' cannot happen in the dialect 'data'",
        ),
        ("id='fails'", "expedition_scenarios takes ids, dialect and without, not 'id'"),
        ("without='fails'", "without = 'fails': must be a list of ids"),
        ("without=['fials']", "there is no scenario 'fials'; did you mean fails?"),
        ("'fails', without=['fails']", "no scenario is left: `without` names all of them"),
    ],
)
def test_a_marker_that_cannot_be_followed_is_a_usage_error(
    pytester: pytest.Pytester, marker: str, complaint: str
) -> None:
    test = f"""
        @pytest.mark.expedition_scenarios({marker})
        def test_import(expedition_scenario):
            pass
    """
    result = run(pytester, test)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *test_import: {complaint}"])


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (
            "check(client.start, lambda job: None)",
            "wait returned None: let it return 'finished', *",
        ),
        (
            "check(client.start, client.wait, failed='failed')",
            "ExpeditionScenario.check: failed = 'failed': must be an exception class *",
        ),
        (
            "check(client.start, client.wait, cancelled=(ValueError, int))",
            "*.check: cancelled = (<class 'ValueError'>, <class 'int'>): must be an exc*",
        ),
        ("real_time(speed=0)", "speed must be a number above 0, got 0"),
        ("sleep(-1)", "the clock cannot go back: cannot advance by -1 seconds"),
    ],
)
def test_what_a_test_gets_wrong_is_said(
    pytester: pytest.Pytester, call: str, complaint: str
) -> None:
    test = f"""
        @pytest.mark.expedition_scenarios("ordinary")
        def test_import(expedition_scenario):
            client = Client(expedition_scenario)
            expedition_scenario.{call}
    """
    result = run(pytester, test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E*Error: {complaint}"])


def test_random_situations_are_shrunk_to_the_smallest_that_the_client_gets_wrong(
    pytester: pytest.Pytester,
) -> None:
    result = run(
        pytester,
        """
        @pytest.mark.expedition_scenarios("random")
        def test_import(expedition_scenario):
            client = Client(expedition_scenario)

            def wait(job_id):
                while True:
                    job = client.ask("GET", f"job/status/{job_id}")
                    if job["state"] in (1, -1):
                        return "cancelled" if job["state"] == -1 else "failed"
                    expedition_scenario.sleep(5)

            expedition_scenario.check(client.start, wait)
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "scenario random: A job runs through *(the smallest of the random *",
            "client.sees-success (MUST, stated)*",
            "  situation = Situation(progress=[[]0, 1[]])",
        ]
    )


CANCELLED: Final = Situation(client_cancels=True)
DRAWN: Final[dict[str, Any]] = {
    "progress": [0, 1],
    "step_seconds": 60.0,
    "spelled": "fraction",
    "dialect": "mixed",
    "fails": True,
    "jobs": 2,
    "cancelled_after": 15,
    "agent_idle": 30.0,
    "client_cancels": False,
    "cancellable": False,
    "cancel_seconds": 8.0,
    "cancel_too_late": True,
    "outages": [Outage(kind="lost")],
    "first_id": 2**31,
    "unknown_fields": True,
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_random_situation_is_told_with_all_that_it_has(name: str) -> None:
    other = replace(CANCELLED, **{name: DRAWN[name]})
    assert situation_text(other) != situation_text(CANCELLED)


def test_whatever_a_random_situation_has_is_known() -> None:
    texts = {"tasks", "next_step", "refusal", "status_message"}
    assert {each.name for each in fields(Situation)} == {*DRAWN, *texts}

    @given(situations(None, cancels=True))
    def draws_no_texts(situation: Situation) -> None:
        for name in texts:
            assert getattr(situation, name) == getattr(CANCELLED, name)

    draws_no_texts()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "the client cancels it after 15 s (which shows at once)"),
        ({"cancel_seconds": 8.0}, "the client cancels it after 15 s (which shows 8 s later)"),
        ({"cancellable": False}, "the client cancels it after 15 s (which is refused)"),
    ],
)
def test_a_situation_tells_when_the_client_cancels(changes: dict[str, Any], told: str) -> None:
    situation = replace(CANCELLED, **changes)
    assert told in situation_text(situation)
    assert set_up(situation)[-1].endswith("  # the client cancels after 15 s")
    assert "#" not in set_up(Situation())[-1]


class CreatesItsProject(Client):
    """It sends requests outside the job API: the fake may refuse them, and some have no key."""

    def start(self) -> Any:
        self.send("POST", "project")
        self.key, key = "", self.key
        self.send("GET", "there/is/no/such/path")
        self.key = key
        return super().start()


def test_requests_outside_the_job_api_do_not_count(expedition_server: ExpeditionServer) -> None:
    results = try_out(CreatesItsProject, expedition_server, SCENARIOS["ordinary"].situation)
    assert broken_promises(results) == {}


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_of_the_key_may_be_in_any_case(
    scheme: str, expedition_server: ExpeditionServer
) -> None:
    class InAnotherCase(Client):
        def headers(self) -> dict[str, str]:
            return {"authorization": f"{scheme} {self.key}"}

    results = try_out(InAnotherCase, expedition_server, SCENARIOS["ordinary"].situation)
    assert broken_promises(results) == {}


@pytest.mark.parametrize(
    "test",
    [
        """
        import unittest

        class TestClient(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _scenario(self, expedition_scenario):
                self.scenario = expedition_scenario

            def test_import(self):
                pass
        """,
        """
        def test_import(request):
            request.getfixturevalue("expedition_scenario")
        """,
    ],
    ids=["unittest", "getfixturevalue"],
)
def test_a_test_that_cannot_be_run_in_each_scenario_is_told_why(
    pytester: pytest.Pytester, test: str
) -> None:
    result = run(pytester, test)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*must be a parameter of a test function; it does not work with*"])
    result.stdout.no_fnmatch_line("*AttributeError*")


class TestTime:
    def test_it_moves_when_the_client_sleeps(self, expedition_server: ExpeditionServer) -> None:
        harness = Harness(expedition_server)
        expedition_server.play(Situation())
        harness.sleep(3600)
        assert harness.monotonic() == expedition_server.clock.now() == 3600
        assert asyncio.run(harness.sleep_async(5, "done")) == "done"
        assert harness.monotonic() == 3605

    def test_a_client_in_another_process_is_judged_in_real_time(
        self, expedition_server: ExpeditionServer
    ) -> None:
        harness = Harness(expedition_server)
        harness.real_time(speed=100)
        login = [expedition_server.url, USERNAME, PASSWORD]

        def wait(_: object) -> str:
            done = subprocess.run(
                [sys.executable, "-c", IN_ANOTHER_PROCESS, *login],
                cwd=EXAMPLES,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert not done.stderr
            return str(done.stdout)

        for situation, said in (
            (Situation(), "finished"),
            (Situation(fails=True), "failed"),
            (Situation(cancelled_after=15, outages=[Outage(kind="cut-short")]), "cancelled"),
        ):
            results = harness.run(situation, ClientFunctions(start=lambda: None, wait=wait))
            assert not broken_promises(results)
            assert harness.transcript.calls[0].said.how == f"returned {said!r}"
            assert {step.exchange.kind for step in harness.transcript.steps} >= {"create", "status"}

    def test_the_polling_interval_is_measured(self, expedition_server: ExpeditionServer) -> None:
        harness = Harness(expedition_server)
        client = Client(harness)
        client.pause = 4
        harness.run(Situation(), ClientFunctions(start=client.start, wait=client.wait))
        client.close()
        assert harness.transcript.pauses == [4.0] * 10
        assert pauses(harness.transcript) == ["it polled every 4 s (from 4 to 4 s)"]


EXAMPLES = Path(__file__).parent / "examples"
IN_ANOTHER_PROCESS = """
import sys
from model_client import Expedition, JobCancelled, JobFailed
client = Expedition(*sys.argv[1:], pause=0.05)
try:
    client.wait(client.start_import(1, "/tmp/a.xml"))
except JobFailed:
    sys.stdout.write("failed")
except JobCancelled:
    sys.stdout.write("cancelled")
else:
    sys.stdout.write("finished")
client.session.close()
"""


class TestSituation:
    @pytest.mark.parametrize(
        ("make", "complaint"),
        [
            (lambda: Situation(progress=[0.5, 0.2]), "must not go back"),
            (lambda: Situation(dialect="php"), "dialect = 'php': must be one of"),  # type: ignore[arg-type]
            (lambda: Situation(spelled="exponent"), "spelled = 'exponent'"),  # type: ignore[arg-type]
            (lambda: Situation(fails=True, progress=[0, 0.5]), "only in the dialect 'data'"),
            (lambda: Situation(cancelled_after=-1), "cancelled_after must not be below 0"),
            (lambda: Situation(jobs=0), "jobs and first_id must not be below 1"),
            (lambda: Situation(first_id=10**19 - 1, jobs=2), "no id may be above 9999999999999"),
            (lambda: Situation(cancel_too_late=True, progress=[0]), "never finishes"),
            (lambda: Situation(outages=["lost"]), "outages = ['lost']: must be a list of Outage"),  # type: ignore[list-item]
            (lambda: Outage(kind="500"), "kind = '500': must be one of unavailable"),  # type: ignore[arg-type]
            (lambda: Outage(kind="lost", seconds=-1), "seconds must not be below 0"),
            (lambda: Outage(kind="lost", nth=0), "nth and times must not be below 1"),
        ],
    )
    def test_what_no_server_could_do_is_refused(
        self, make: Callable[[], object], complaint: str
    ) -> None:
        with pytest.raises((ValueError, TypeError), match=re.escape(complaint)):
            make()

    @pytest.mark.parametrize("scenario", SCENARIOS)
    def test_its_text_is_the_python_that_makes_it(self, scenario: str) -> None:
        situation = SCENARIOS[scenario].situation
        made: Situation = eval(repr(situation), {"Outage": Outage, "Situation": Situation})  # noqa: S307
        assert made == situation

    def test_the_server_plays_nothing_else(self, expedition_server: ExpeditionServer) -> None:
        with pytest.raises(TypeError, match="must be a Situation, got 'fails'"):
            expedition_server.play("fails")  # type: ignore[arg-type]

    def test_a_test_can_set_the_fake_up_that_way(self, expedition_server: ExpeditionServer) -> None:
        expedition_server.play(Situation(cancelled_after=15))
        client = Client(Harness(expedition_server))
        job_id = client.start()
        expedition_server.advance(15)
        assert client.status(job_id)["state"] == -1
        client.close()


def test_there_are_scenarios_enough() -> None:
    assert len(SCENARIOS) >= 25
    assert len(BROKEN) >= 20
    assert len({each.make for each in BROKEN.values()}) >= 20
