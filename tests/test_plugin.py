"""The plugin as its users meet it: options, outcomes, exit status, summary, report."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from pytest_expedition import ExpeditionServer, validate
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.report.html import as_html
from pytest_expedition.report.markdown import as_markdown
from pytest_expedition.session.settings import path_setting, replay_command
from pytest_expedition.suite.profile import RANDOM_PLANS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from xml.etree.ElementTree import Element

pytestmark = pytest.mark.usefixtures("no_http")

CONTRACT = ("--pyargs", "pytest_expedition.contract")
SMOKE = (*CONTRACT, "--expedition-profile=smoke")

BROKEN_TARGET = """
import pytest
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.fake.instance import Instance

class Broken(Instance):
    {body}

@pytest.fixture(scope="session")
def expedition_target():
    with embedded_target(Broken) as target:
        yield target
"""

FEW_REQUESTS = """
import dataclasses, pytest
from pytest_expedition.suite.embedded import embedded_target

@pytest.fixture(scope="session")
def expedition_target():
    with embedded_target() as target:
        limits = dataclasses.replace(target.limits, requests={requests})
        yield dataclasses.replace(target, limits=limits)
"""

SLIPS_BACK = BROKEN_TARGET.format(
    body="def state(self, job): return super().state(job) * (0.5 if job.polls == 9 else 1)"
)
LETS_ANYBODY_IN = BROKEN_TARGET.format(body="def is_authorized(self, request): return True")

IN_SYSTEM = {name for name, each in CATALOGUE.items() if each.is_about("system")}
SKIPPED = len(CATALOGUE) - len(IN_SYSTEM)
"""How many tests a run skips: those about the dialect `data`."""


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "CONFIG", "REPORT", "STRICT", "PROFILE", "API_KEY", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"EXPEDITION_{name}", raising=False)


def report_of(pytester: pytest.Pytester, *args: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    """Run the contract; return its result for pytest, and the report."""
    path = pytester.path / "report.json"
    result = pytester.runpytest_inprocess(*SMOKE, f"--expedition-report={path}", *args)
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    validate(document, "report")
    return result, document


def outcomes(document: Mapping[str, Any]) -> dict[str, str]:
    return {entry["id"]: entry["outcome"] for entry in document["requirements"]}


def test_the_embedded_fake_conforms(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RANDOM_PLANS, "default", 5)
    result = pytester.runpytest_inprocess(*CONTRACT, "-rs")
    result.assert_outcomes(passed=len(IN_SYSTEM), skipped=SKIPPED)
    assert result.ret == 0
    lines = result.outlines
    reason = "not-tested: the dialect system does not have what the requirement is about"
    assert any(each.startswith("SKIPPED") and each.endswith(f": {reason}") for each in lines)
    for requirement in CATALOGUE.values():
        (line,) = [each for each in lines if each.startswith(requirement.id + " ")]
        outcome = "pass" if requirement.id in IN_SYSTEM else "not-tested"
        assert line.split()[1:3] == [requirement.level, outcome]
    assert "verdict: conformant" in lines
    assert any("(in this process)" in line for line in lines)


def test_the_report_says_what_was_judged(pytester: pytest.Pytester) -> None:
    result, document = report_of(pytester)
    assert result.ret == 0
    assert document["verdict"] == "conformant"
    assert document["target"]["dialect"] == "system"
    assert document["jobs"] == 4
    assert document["requests"] > 50
    assert list(outcomes(document)) == list(CATALOGUE)
    other = {name for name, outcome in outcomes(document).items() if outcome != "pass"}
    assert other == CATALOGUE.keys() - IN_SYSTEM


def test_a_must_that_fails_fails_its_test_and_tells_the_whole_story(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(SLIPS_BACK)
    result, document = report_of(pytester)
    assert result.ret == 1
    assert document["verdict"] == "non-conformant"
    (entry,) = [x for x in document["requirements"] if x["id"] == "status.monotonic"]
    assert entry["outcome"] == "fail"
    assert len(entry["evidence"]) >= 3  # the creation, and two answers that contradict each other
    result.stdout.fnmatch_lines(
        [
            "The state of job * was 0.*, then 0.*.",
            "This breaks status.monotonic (MUST, stated): While a job is not cancelled, its state*",
            "Promised by: Managing Jobs, “Checking Job status”",
            "  https://pan.dev/expedition/docs/managing_jobs/#checking-job-status",
            "The exchanges that prove it, and those that led to them:",
            "  * s POST project/1/import → job *, state 0*",
            "  * s GET job/status/* → state 0.*",
            "To do it again:",
            "  # Only the requests above, with the pauses between them.",
            "  curl -sS -X POST -H *Bearer $EXPEDITION_API_KEY* --data resource=* http://*/import",
            "  JOB=…  # the job id in the answer",
            '  curl -sS -H * "http://127.0.0.1:*/api/v1/job/status/$JOB"',
            "These lines send only the requests above. What was seen may take others, too,*",
            "To replay the plan that showed it*:",
            "  pytest --pyargs pytest_expedition.contract --expedition-replay *.json",
            "verdict: non-conformant",
        ]
    )
    assert "Traceback" not in result.stdout.str()


def test_a_should_that_fails_is_expected_to_fail(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(LETS_ANYBODY_IN)
    result, document = report_of(pytester, "-rx")
    assert result.ret == 0
    assert document["verdict"] == "conformant"
    assert outcomes(document)["auth.required"] == "fail"
    result.assert_outcomes(passed=len(IN_SYSTEM) - 1, xfailed=1, skipped=SKIPPED)
    result.stdout.fnmatch_lines(["XFAIL *auth.required* - *A request with no key was answered*"])
    result.stdout.fnmatch_lines(["  * GET job/status/* with no key → state 0*"])


WAIVED = """
import dataclasses, datetime, pytest
from pytest_expedition import Waiver
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.instance import Instance

@pytest.fixture(scope="session")
def expedition_target():
    today = datetime.datetime.now(datetime.timezone.utc).date()
    until = today + datetime.timedelta({days})
    waiver = Waiver(id="{name}", reason="ticket 7", until=until)
    with embedded_target({make}) as target:
        yield dataclasses.replace(target, waivers=(waiver,){more})
"""
REFUSES_SILENTLY = 'BROKEN["refuses-silently"].make'
TAKES_ANY_KEY = 'BROKEN["any-key-will-do"].make'


def waived(name: str, make: str, *, days: int = 7, more: str = "") -> str:
    """A conftest: a server, and a waiver that is good for so many days from today on."""
    return WAIVED.format(name=name, make=make, days=days, more=more)


def test_a_waived_failure_is_expected_and_the_verdict_says_so(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(waived("refuse.message", REFUSES_SILENTLY))
    result, document = report_of(pytester, "--expedition-strict")
    assert result.ret == 0
    assert document["verdict"] == "conformant-with-waivers"
    (entry,) = [x for x in document["requirements"] if x["id"] == "refuse.message"]
    assert (entry["outcome"], entry["waiver"]["state"]) == ("waived", "used")
    assert entry["waiver"]["reason"] == "ticket 7"
    assert entry["evidence"]
    assert re.search(r"; waived until \d{4}-\d\d-\d\d: ticket 7$", entry["reason"])
    result.assert_outcomes(passed=len(IN_SYSTEM) - 1, xfailed=1, skipped=SKIPPED)
    result.stdout.fnmatch_lines(["waived: refuse.message", "verdict: conformant-with-waivers"])


def test_a_waiver_that_has_expired_excuses_nothing(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(waived("auth.required", TAKES_ANY_KEY, days=-1))
    result, document = report_of(pytester)
    assert result.ret == 1
    assert outcomes(document)["auth.required"] == "fail"
    result.assert_outcomes(passed=len(IN_SYSTEM) - 1, failed=1, skipped=SKIPPED)
    result.stdout.fnmatch_lines(
        [
            "*; its waiver expired after ????-??-??: renew it or remove it (ticket 7)",
            "waiver expired, which fails the run; renew it or remove it: auth.required",
            "verdict: conformant",
        ]
    )


def test_an_unused_waiver_of_a_failure_that_comes_and_goes_is_no_failure(
    pytester: pytest.Pytester,
) -> None:
    conftest = waived("status.bounds", "Instance").replace('"ticket 7"', '"7", sometimes=True')
    pytester.makeconftest(conftest)
    result = pytester.runpytest_inprocess(*SMOKE)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "status.bounds * checks; its waiver until ????-??-?? was not used (7)",
            "waiver not used, which does not fail the run: status.bounds",
        ]
    )


def test_a_waiver_that_is_not_needed_fails_its_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(waived("status.bounds", "Instance"))
    result, document = report_of(pytester)
    assert result.ret == 1
    assert document["verdict"] == "conformant"
    assert outcomes(document)["status.bounds"] == "pass"
    result.assert_outcomes(passed=len(IN_SYSTEM) - 1, failed=1, skipped=SKIPPED)
    result.stdout.fnmatch_lines(
        [
            "status.bounds: * checks; its waiver is not needed: remove it * (ticket 7)",
            "waiver not needed, which fails the run; remove it *, or add `sometimes = true`: *",
        ]
    )


@pytest.mark.parametrize(("days", "failed"), [(7, 0), (-1, 1)])
def test_a_waiver_of_what_could_not_be_judged_is_neither_needed_nor_wrong_until_it_expires(
    pytester: pytest.Pytester, days: int, failed: int
) -> None:
    more = ", jobs=target.jobs[:1]"
    pytester.makeconftest(waived("refuse.state", "Instance", days=days, more=more))
    result, document = report_of(pytester)
    assert result.ret == failed
    (entry,) = [x for x in document["requirements"] if x["id"] == "refuse.state"]
    assert entry["outcome"] == "not-tested"
    assert entry["waiver"]["state"] == ("expired" if failed else "undecided")


def test_an_unknown_waiver_in_the_target_file_is_a_usage_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPEDITION_API_KEY", "key")
    (pytester.path / "expedition.toml").write_text(
        'url = "http://127.0.0.1:1"\n[[job]]\nname = "import"\npath = "/api/v1/x"\n'
        '[[waive]]\nid = "status.monotone"\nreason = "x"\nuntil = 2027-03-01\n'
    )
    result = pytester.runpytest_inprocess(*SMOKE, "--expedition-config=expedition.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "waive 1: id = 'status.monotone': must be the id of a requirement; did you mean" in (
        result.stderr.str()
    )


@pytest.mark.parametrize("how", ["option", "environment", "ini"])
def test_a_should_that_fails_fails_the_run_if_one_is_strict(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    pytester.makeconftest(LETS_ANYBODY_IN)
    if how == "environment":
        monkeypatch.setenv("EXPEDITION_STRICT", "1")
    if how == "ini":
        pytester.makeini("[pytest]\nexpedition_strict = true\n")
    args = ["--expedition-strict"] if how == "option" else []
    result = pytester.runpytest_inprocess(*SMOKE, *args)
    result.assert_outcomes(passed=len(IN_SYSTEM) - 1, failed=1, skipped=SKIPPED)
    assert result.ret == 1


def test_what_a_target_lacks_is_skipped_with_its_reason(
    pytester: pytest.Pytester, expedition_server: ExpeditionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a URL alone it is not known which jobs can be cancelled."""
    expedition_server.clock.seconds_per_poll = 4
    expedition_server.instance.set_pace(20)
    monkeypatch.setenv("EXPEDITION_API_KEY", expedition_server.api_key)
    result, document = report_of(pytester, f"--expedition-url={expedition_server.url}")
    assert result.ret == 0
    assert document["target"]["url"] == expedition_server.url
    found = outcomes(document)
    lacking = {"cancel.minus-one", "cancel.immediate"}
    assert {name for name in found if found[name] == "not-tested"} == {
        *lacking,
        *[name for name in found if name.startswith(("refuse.", "agent."))],
        *(CATALOGUE.keys() - IN_SYSTEM),
    }
    (entry,) = [x for x in document["requirements"] if x["id"] == "cancel.minus-one"]
    assert entry["reason"] == "no recipe has `cancellable = true`"
    used = expedition_server.requests
    assert {x.header("Authorization") for x in used} <= {
        f"Bearer {expedition_server.api_key}",
        "Bearer not-a-key",
        "",
    }


def test_what_the_summary_says_of_waivers_can_be_pasted_into_a_target_file(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pytester.path / "expedition.toml"
    with ExpeditionServer(BROKEN["empty-tasks-as-object"].make) as server:
        server.clock.seconds_per_poll = 4
        server.instance.set_pace(20)
        monkeypatch.setenv("EXPEDITION_API_KEY", server.api_key)
        path.write_text(
            f'url = "{server.url}"\n'
            '[[job]]\nname = "import"\nmethod = "POST"\npath = "/api/v1/project/1/import"\n'
        )
        options = [f"--expedition-config={path}", "-k", "status.envelope"]
        result = pytester.runpytest_inprocess(*SMOKE, *options)
        assert result.ret == 1
        lines = result.outlines
        pasted = lines.index(
            "To accept it until a given day, add to the target file (status.envelope):"
        )
        with path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines[pasted + 1 : pasted + 5]))
        result = pytester.runpytest_inprocess(*SMOKE, *options)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["waived: status.envelope", "verdict: *"])


def test_a_must_that_is_not_exercised_makes_the_verdict_inconclusive(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(FEW_REQUESTS.format(requests=30))
    result, document = report_of(pytester)
    assert result.ret == 0
    assert document["verdict"] == "inconclusive"
    assert document["requests"] <= 30
    (entry,) = [x for x in document["requirements"] if x["id"] == "status.terminal"]
    assert entry["outcome"] == "inconclusive"
    assert entry["reason"].endswith("; the limit `requests` ended the run")


def test_an_instance_that_does_not_answer_is_an_error_said_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPEDITION_API_KEY", "key")
    result, document = report_of(pytester, "--expedition-url=http://127.0.0.1:1")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert document["verdict"] == "error"
    assert set(outcomes(document).values()) == {"error"}
    result.assert_outcomes(failed=1, skipped=len(CATALOGUE) - 1)
    # The failure, its line in the table, the reason of the verdict, and pytest's short summary,
    # which is not cut to the width of the terminal where the environment has CI.
    assert 1 <= result.stdout.str().count("does not answer") <= 4
    assert "Traceback" not in result.stdout.str()


def test_a_rule_that_breaks_down_is_an_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_expedition.oracle.rules import RULES

    monkeypatch.setitem(RULES, "status.bounds", lambda history: iter([1 / 0, history]))
    result, document = report_of(pytester)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert document["verdict"] == "error"
    assert outcomes(document)["status.bounds"] == "error"
    assert outcomes(document)["status.monotonic"] == "pass"


def test_a_suite_that_breaks_down_is_an_error_not_a_pass(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def expedition_target():
            raise ZeroDivisionError("oops")
        """
    )
    result, document = report_of(pytester)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert document["verdict"] == "error"
    assert "oops" in document["requirements"][0]["reason"]


def test_never_success_when_nothing_was_judged(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(*SMOKE, "-k", "nothing-of-that-name")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    pytester.makeconftest(FEW_REQUESTS.format(requests=1))
    result, document = report_of(pytester)
    assert document["verdict"] == "inconclusive"
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_the_target_file_and_its_mistakes(
    pytester: pytest.Pytester,
    expedition_server: ExpeditionServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXPEDITION_API_KEY", expedition_server.api_key)
    expedition_server.clock.seconds_per_poll = 10
    path = pytester.path / "expedition.toml"
    job = '[[job]]\nname = "export"\npath = "/api/v1/projects/1/export"\ncancellable = false\n'
    path.write_text(f'url = "{expedition_server.url}"\n{job}')
    result, document = report_of(pytester, "--expedition-config=expedition.toml")
    assert result.ret == 0
    assert outcomes(document)["refuse.message"] == "pass"
    assert outcomes(document)["cancel.minus-one"] == "not-tested"  # no recipe can be cancelled
    path.write_text("nonsense")
    for how in ("option", "ini"):
        args = ["--expedition-config=expedition.toml"] if how == "option" else []
        if how == "ini":
            pytester.makeini("[pytest]\nexpedition_config = expedition.toml\n")
        result = pytester.runpytest_inprocess(*SMOKE, *args)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        errors = result.stderr.str() + result.stdout.str()
        assert "expedition.toml: is not TOML" in errors
        assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--expedition-url=", "--expedition-url is empty"),
        ("--expedition-config=", "--expedition-config is empty"),
        ("--expedition-report=", "--expedition-report is empty"),
        ("--expedition-url=nonsense", "must begin with http:// or https://, like https://192"),
        ("--expedition-url=http://127.0.0.1", "EXPEDITION_API_KEY"),
        ("--expedition-config=none.toml", "cannot be read: No such file"),
        ("--expedition-report=report.doc", "the suffix must be one of .json, .html, .md"),
        ("--expedition-report=nowhere/report.json", "the folder does not exist"),
        ("--expedition-report=folder.html", "folder.html': must be a file"),
        ("--expedition-profile=huge", "invalid choice: 'huge'"),
    ],
)
def test_an_option_that_cannot_be_followed_is_a_usage_error(
    pytester: pytest.Pytester, option: str, message: str
) -> None:
    pytester.mkdir("folder.html")
    result = pytester.runpytest_inprocess(*SMOKE, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


def test_settings_that_cannot_be_followed_do_not_disturb_other_tests(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPEDITION_PROFILE", "huge")
    monkeypatch.setenv("EXPEDITION_URL", "nonsense")
    pytester.makepyfile("def test_nothing(): pass")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    result = pytester.runpytest_inprocess(*CONTRACT)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "expedition_profile = 'huge': must be one of smoke, default, thorough" in (
        result.stderr.str() + result.stdout.str()
    )


def test_a_live_instance_is_judged_by_one_process(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPEDITION_API_KEY", "key")
    result = pytester.runpytest_inprocess(
        *SMOKE, "-p", "xdist", "-n2", "--expedition-url=http://127.0.0.1:1"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "a live instance is judged by one process" in result.stderr.str()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 'http://127.0.0.1'", "expedition_target must be a Target"),
        (
            "return Target(url='http://127.0.0.1:2', api_key='key')",
            "the target is given twice",
        ),
    ],
)
def test_a_target_fixture_that_cannot_be_followed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    monkeypatch.setenv("EXPEDITION_API_KEY", "key")
    pytester.makeconftest(
        f"""
        import pytest
        from pytest_expedition import Target

        @pytest.fixture(scope="session")
        def expedition_target():
            {body}
        """
    )
    result, document = report_of(pytester, "--expedition-url=http://127.0.0.1:1")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert message in document["requirements"][0]["reason"]


def test_a_path_in_the_ini_file_counts_from_there(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nexpedition_report = report.json\n")
    folder = pytester.mkdir("deeper")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert pytester.runpytest_inprocess(*SMOKE).ret == 0
    assert (pytester.path / "report.json").exists()


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_path_that_the_ini_file_names_too_counts_from_the_current_folder(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    pytester.makeini(
        "[pytest]\nexpedition_config = expedition.toml\nexpedition_url = http://127.0.0.1:1\n"
    )
    folder = pytester.mkdir("deeper")
    monkeypatch.chdir(folder)
    args = ["--expedition-report=report.json"]
    assert path_setting(pytester.parseconfig(), "config") == pytester.path / "expedition.toml"
    if how == "option":
        args.append("--expedition-config=expedition.toml")
    else:
        monkeypatch.setenv("EXPEDITION_CONFIG", "expedition.toml")
    config = pytester.parseconfig(*args)
    assert path_setting(config, "config") == folder / "expedition.toml"
    command = replay_command(config, "create.id")
    assert command.endswith("report.plan.create.id.json --expedition-config expedition.toml")


@pytest.mark.parametrize("how", ["option", "environment", "ini"])
def test_one_run_may_write_several_reports(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    names = ["a.json", "b b.html", "c.md"]
    if how == "environment":
        monkeypatch.setenv("EXPEDITION_REPORT", os.pathsep.join(names))
    if how == "ini":
        lines = "\n    ".join(names)
        pytester.makeini(f"[pytest]\nexpedition_report =\n    {lines}\n")
    args = [f"--expedition-report={name}" for name in names] if how == "option" else []
    assert pytester.runpytest_inprocess(*SMOKE, *args).ret == 0
    document = json.loads((pytester.path / "a.json").read_text(encoding="utf-8"))
    assert (pytester.path / "b b.html").read_text(encoding="utf-8") == as_html(document)
    assert (pytester.path / "c.md").read_text(encoding="utf-8") == as_markdown(document)


def test_the_environment_names_no_empty_path(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPEDITION_REPORT", "")
    result = pytester.runpytest_inprocess(*SMOKE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "EXPEDITION_REPORT is empty" in result.stderr.str() + result.stdout.str()


def properties(element: Element | None) -> dict[str, str]:
    """What a test case, or a suite, in a JUnit XML file says of itself."""
    assert element is not None
    return {each.attrib["name"]: each.attrib["value"] for each in element.iter("property")}


def junit_suite(pytester: pytest.Pytester) -> Element:
    suite = ET.parse(pytester.path / "junit.xml").find("testsuite")  # noqa: S314 - pytest wrote it
    assert suite is not None
    return suite


@pytest.mark.parametrize(
    "workers",
    [
        pytest.param([], id="alone"),
        pytest.param(["-p", "xdist", "-n2"], id="xdist", marks=pytest.mark.long),
    ],
)
def test_junit_xml_says_what_was_found_out(pytester: pytest.Pytester, workers: list[str]) -> None:
    pytester.makeconftest(waived("auth.required", REFUSES_SILENTLY))
    run = pytester.runpytest_subprocess if workers else pytester.runpytest_inprocess
    result = run(*SMOKE, *workers, "--junit-xml=junit.xml")
    assert result.ret == 1
    suite = junit_suite(pytester)
    own = properties(suite.find("properties"))
    assert own["expedition_verdict"] == "non-conformant"
    assert own["expedition_target"].startswith("http://127.0.0.1:")
    cases = {case.attrib["name"]: properties(case) for case in suite.iter("testcase")}
    case = cases["test_requirement[refuse.message]"]
    assert case.pop("expedition_reason").endswith("was refused, but no text in the answer says so.")
    assert case == {
        "expedition_id": "refuse.message",
        "expedition_level": "MUST",
        "expedition_basis": "stated",
        "expedition_outcome": "fail",
    }
    reason = cases["test_requirement[auth.required]"]["expedition_reason"]
    assert "its waiver is not needed" in reason
    assert len(cases) == len(CATALOGUE)


def test_junit_xml_of_a_suite_that_breaks_down(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def expedition_target():
            raise ZeroDivisionError("oops")
        """
    )
    pytester.runpytest_inprocess(*SMOKE, "--junit-xml=junit.xml")
    suite = junit_suite(pytester)
    assert properties(suite.find("properties"))["expedition_verdict"] == "error"
    for case in suite.iter("testcase"):
        assert properties(case)["expedition_outcome"] == "error"


def test_junit_xml_of_other_tests_stays_as_it_is(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    pytester.runpytest_inprocess("--junit-xml=junit.xml").assert_outcomes(passed=1)
    assert "propert" not in (pytester.path / "junit.xml").read_text()


@pytest.mark.parametrize(
    "options",
    [pytest.param((), marks=pytest.mark.long), ("-p", "pytest_expedition.plugin")],
)
def test_a_plugin_that_is_named_twice_is_there_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:schemathesis -p no:anyio")
    pytester.makeconftest('pytest_plugins = ["pytest_expedition.plugin"]')
    pytester.makepyfile("def test(expedition_server): assert expedition_server.url")
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=1)
    assert "Traceback" not in result.stderr.str()


def test_a_target_that_the_suite_does_not_see_is_not_replaced_by_the_fake(
    pytester: pytest.Pytester,
) -> None:
    folder = pytester.mkdir("tests")
    (folder / "conftest.py").write_text(SLIPS_BACK, encoding="utf-8")
    (folder / "test_own.py").write_text("def test(): pass", encoding="utf-8")
    result = pytester.runpytest_inprocess(*SMOKE, "tests")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert f"move it to the conftest.py of {pytester.path}, pytest's rootdir" in result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            f"{folder / 'conftest.py'} has a fixture expedition_target, but the contract *",
            "verdict: error",
        ]
    )


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("--config expedition.toml", "--expedition-config"),
        ("--report=r.html --dry-run", "--expedition-report, --expedition-dry-run"),
        ("--profile smoke --strict", "--expedition-profile, --expedition-strict"),
    ],
)
def test_an_option_without_its_prefix_is_told_with_it(
    pytester: pytest.Pytester, arguments: str, meant: str
) -> None:
    result = pytester.runpytest_inprocess(*SMOKE, *arguments.split())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            f"*: error: unrecognized arguments: {arguments.split(maxsplit=1)[0]}*",
            f"  did you mean: {meant}",
        ]
    )


def test_no_option_is_guessed_where_the_suite_is_not_run(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--config", "expedition.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.no_fnmatch_line("*did you mean*")


def test_an_option_of_others_is_theirs(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("def pytest_addoption(parser): parser.addoption('--profile')")
    arguments = ["--profile=x", "--nonsense", "--collect-only"]
    result = pytester.runpytest_inprocess(*SMOKE, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.no_fnmatch_line("*did you mean*")


def test_a_report_that_cannot_be_written_is_not_silent(pytester: pytest.Pytester) -> None:
    path = pytester.path / "report.json"
    pytester.makeconftest(
        f"""
        import pathlib

        def pytest_runtestloop():
            pathlib.Path({str(path)!r}).mkdir()  # it was not there when the run began
        """
    )
    result = pytester.runpytest_inprocess(*SMOKE, f"--expedition-report={path}")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["the report was not written to *: Is a directory"])


@pytest.mark.parametrize("how", ["option", "environment", "ini"])
def test_a_report_that_nothing_makes_is_told_to_who_asked_for_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    pytester.makepyfile("def test_my_client(expedition_monitor):\n    pass\n")
    pytester.makeini(f"[pytest]\n{'expedition_report = r.json' if how == 'ini' else ''}\n")
    if how == "environment":
        monkeypatch.setenv("EXPEDITION_REPORT", "r.json")
    result = pytester.runpytest_inprocess(*["--expedition-report=r.json"][: how == "option"])
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    said = [line for line in result.outlines if "report was" in line]
    told = (
        "no report was written: it is about what the contract suite or expedition_scenario judges, "
        "and neither judged anything"
    )
    assert said == ([] if how == "ini" else [told])
    assert not (pytester.path / "r.json").exists()


def test_a_report_is_not_missed_where_no_test_runs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_my_client(expedition_monitor):\n    pass\n")
    result = pytester.runpytest_inprocess("--expedition-report=r.json", "--collect-only")
    result.stdout.no_fnmatch_line("no report *")


def test_a_report_folder_that_cannot_be_written_is_found_before_anything_is_sent(
    pytester: pytest.Pytester,
) -> None:
    result = pytester.runpytest_inprocess(*SMOKE, "--expedition-report=/proc/r.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: expedition_report = '/proc/r.json': cannot be written: *"])


def test_each_report_that_was_written_is_named(pytester: pytest.Pytester) -> None:
    reports = ["--expedition-report=a.json", "--expedition-report=b.html"]
    result = pytester.runpytest_inprocess(*SMOKE, *reports, "-k", "create")
    result.stdout.fnmatch_lines(["report written to a.json", "report written to b.html"])


def test_every_option_is_in_one_group_of_the_help(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--help")
    text = result.stdout.str()
    group = text.partition("contract suite for the job API of Expedition 2.0:")[2].partition(
        "\n\n"
    )[0]
    for name in ("url", "config", "report", "profile", "strict"):
        assert f"--expedition-{name}" in group
        assert f"EXPEDITION_{name.upper()}" in group
        assert f"expedition_{name}" in group


WITHOUT_OTHERS = ("-p", "no:hypothesispytest", "-p", "no:schemathesis")
"""Without plugins that import modules which ours must not import."""


NOTED_IMPORTS = """
import atexit
import json
import pathlib
import sys

import pytest

HEAVY = {"hypothesis", "jsonschema", "pytest_httpserver", "requests", "werkzeug"}
NOTED = HEAVY | {"pytest_expedition"}
noted = {}

def note(moment):
    noted[moment] = sorted(name for name in sys.modules if name.partition(".")[0] in NOTED)

def pytest_configure():
    note("start")

@pytest.fixture(autouse=True)
def note_test():
    yield
    note("test")

@atexit.register
def write():
    note("end")
    pathlib.Path("noted.json").write_text(json.dumps(noted))
"""


def noted_imports(pytester: pytest.Pytester, test: str, *options: str) -> dict[str, list[str]]:
    """Our modules, and heavy ones, that were there at the start, in the test, at the end."""
    pytester.makeconftest(NOTED_IMPORTS)
    pytester.makepyfile(test)
    result = pytester.runpytest_subprocess(*WITHOUT_OTHERS, *options)
    result.assert_outcomes(passed=1)
    noted: dict[str, list[str]] = json.loads((pytester.path / "noted.json").read_text())
    assert list(noted) == ["start", "test", "end"]
    return noted


def test_a_session_that_does_not_use_the_plugin_imports_one_module_of_it(
    pytester: pytest.Pytester,
) -> None:
    noted = noted_imports(pytester, "def test_nothing(): pass", "-p", "no:pytest_httpserver")
    for modules in noted.values():
        assert modules == ["pytest_expedition", "pytest_expedition.plugin"]


def test_the_fixture_imports_what_serves_and_no_more(pytester: pytest.Pytester) -> None:
    noted = noted_imports(pytester, "def test_serves(expedition_server): pass")
    serving = ["bodies", "connection", "dialects", "http", "instance", "job_requests", "server"]
    serving += ["simulation", "workflows"]
    ours = [name for name in noted["test"] if name.startswith("pytest_expedition")]
    assert ours == [
        "pytest_expedition",
        "pytest_expedition.checked",
        "pytest_expedition.fake",
        *(f"pytest_expedition.fake.{name}" for name in serving),
        "pytest_expedition.plugin",
        "pytest_expedition.real_time",
        "pytest_expedition.session",
        "pytest_expedition.session.settings",
        "pytest_expedition.user_files",
    ]
    assert {name.partition(".")[0] for name in noted["test"]} == {
        "pytest_expedition",
        "pytest_httpserver",
        "werkzeug",
    }
    assert noted["end"] == noted["test"]


def test_nothing_but_a_name_is_public() -> None:
    import pytest_expedition

    assert sorted(pytest_expedition.__all__) == sorted(pytest_expedition._HOMES)
    for name in pytest_expedition.__all__:
        assert getattr(pytest_expedition, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pytest_expedition.nothing
    assert "pytest_expedition.plugin" in sys.modules
