"""Work shared by the processes of pytest-xdist: all of it is done, once, and all learn of it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from in_process import in_process
from test_plugin import CONTRACT, outcomes

from pytest_expedition import validate
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.session.shares import do_together
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.profile import RANDOM_PLANS
from pytest_expedition.suite.run import run_share
from pytest_expedition.suite.share import merge

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_expedition.suite.profile import ProfileName

DIES = """
import os, pathlib, sys
from pytest_expedition.session.shares import do_together

do_together(pathlib.Path(sys.argv[1]), 2, lambda number: "done" if number == 0 else os._exit(3))
"""


def test_alone_one_does_all_of_it(tmp_path: Path) -> None:
    assert do_together(tmp_path / "new", 3, str) == ["0", "1", "2"]


def test_each_share_is_done_once_and_at_the_same_time(tmp_path: Path) -> None:
    both_at_work = threading.Barrier(2, timeout=60)

    def work(number: int) -> tuple[int, int]:
        both_at_work.wait()
        return number, threading.get_ident()

    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda _: do_together(tmp_path, 2, work), range(2))
    one, other = done
    assert one == other
    assert [number for number, _ in one] == [0, 1]
    assert len({thread for _, thread in one}) == 2


def test_what_a_process_had_begun_when_it_died_is_done_by_another(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DIES, tmp_path], check=False)
    assert died.returncode == 3
    assert do_together(tmp_path, 2, str) == ["done", "1"]


def test_what_a_share_raises_is_raised_and_leaves_the_share_undone(tmp_path: Path) -> None:
    def fail(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        do_together(tmp_path, 2, fail)
    assert do_together(tmp_path, 2, str) == ["0", "1"]


def test_shares_of_a_run_add_up_to_a_verdict_on_all_plans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(RANDOM_PLANS, "default", 36)
    with in_process(), embedded_target() as target:
        shares = [
            run_share(target, profile="default", seed=7, share=(number, 3)) for number in range(3)
        ]
    whole = merge(target, shares)
    assert whole.verdict == "conformant"
    assert whole.requests == sum(share.requests for share in shares)
    held = {each.requirement.id: each.kept for each in whole.results}
    assert held["status.bounds"] == sum(share.findings["status.bounds"].kept for share in shares)
    plans_of = [share.findings["create.envelope"].kept for share in shares]
    assert min(plans_of) > 10, "each has plans of its own"


FEW_PLANS: dict[ProfileName, int] = {"smoke": 0, "default": 4, "thorough": 20}
FEWER = f"""
from pytest_expedition.suite import profile
profile.RANDOM_PLANS.update({FEW_PLANS})
"""


def shared(
    pytester: pytest.Pytester, *options: str, conftest: str = ""
) -> tuple[pytest.RunResult, dict[str, Any]]:
    """Run the contract, with few plans, on two workers; return the report, too."""
    pytester.makeconftest(FEWER + conftest)
    settings = ("--expedition-report=report.json", "-p", "xdist", "-n2", *options)
    result = pytester.runpytest_subprocess(*CONTRACT, *settings)
    report = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))
    validate(report, "report")
    return result, report


@pytest.mark.long
def test_two_workers_share_the_plans_of_a_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for profile, plans in FEW_PLANS.items():
        monkeypatch.setitem(RANDOM_PLANS, profile, plans)
    seeded = ("-p", "hypothesispytest", "--hypothesis-seed=1")
    _, report = shared(pytester, "--expedition-record=trace.jsonl", *seeded)
    assert report["verdict"] == "conformant"
    trace = (pytester.path / "trace.jsonl").read_text(encoding="utf-8")
    sent = [json.loads(line) for line in trace.splitlines()]
    assert len({exchange["server"] for exchange in sent}) == 2
    assert report["requests"] == len(sent)
    with in_process(), embedded_target() as target:
        alone = run_share(target, profile="default", seed=1)
    assert report["jobs"] < 1.5 * alone.jobs


BROKEN_ON_ONE_WORKER = """
import os, pytest, time
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.instance import Instance

@pytest.fixture(scope="session")
def expedition_target(tmp_path_factory):
    here = tmp_path_factory.getbasetemp()
    (here.parent / f"{os.environ['PYTEST_XDIST_WORKER']}.here").touch()
    while len(list(here.parent.glob("*.here"))) < 2:  # the other is to have a share, too
        time.sleep(0.01)
    broken = os.environ["PYTEST_XDIST_WORKER"] == "gw1"
    with embedded_target(BROKEN["creation-success-as-text"].make if broken else Instance) as target:
        yield target
"""


@pytest.mark.long
def test_what_one_worker_found_broken_fails_wherever_its_test_runs(
    pytester: pytest.Pytester,
) -> None:
    result, report = shared(pytester, conftest=BROKEN_ON_ONE_WORKER)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report["verdict"] == "non-conformant"
    assert result.outlines.count("verdict: non-conformant") == 1
    assert list(outcomes(report)) == list(CATALOGUE)
    broken = [name for name, outcome in outcomes(report).items() if outcome == "fail"]
    assert broken == ["create.envelope"]
    skipped = list(outcomes(report).values()).count("not-tested")
    passed = len(report["requirements"]) - 1 - skipped
    result.assert_outcomes(failed=1, passed=passed, skipped=skipped)


NAMES_A_LIVE_INSTANCE = """
import pytest
from pytest_expedition import Target

@pytest.fixture(scope="session")
def expedition_target():
    return Target(url="http://127.0.0.1:1", api_key="key")
"""


@pytest.mark.long
def test_a_live_instance_that_a_fixture_names_is_not_shared(pytester: pytest.Pytester) -> None:
    result, report = shared(pytester, conftest=NAMES_A_LIVE_INSTANCE)
    assert "a live instance is judged by one process" in result.stdout.str()
    assert report["verdict"] == "error"
    assert report["requests"] == 0
