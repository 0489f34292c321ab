"""The README is true: its tables, its target file, its examples."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import catalogues
import pytest

from pytest_expedition import ExpeditionServer, JobScript, Limits, plugin
from pytest_expedition.clients.choice import usual
from pytest_expedition.clients.harness import Harness
from pytest_expedition.clients.scenario import ExpeditionScenario
from pytest_expedition.suite.target_file import load

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")

LONGEST = {"README.md": 25_000, "CONTRIBUTING.md": 15_000}
"""Bytes. What is longer stands beside the code that it is about."""


def blocks(language: str) -> list[str]:
    """The code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def commands(section: str) -> list[str]:
    """The lines for a shell that stand in a section."""
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    text = re.split(
        r"^#+ ", prose.partition(f"\n## {section}\n")[2], maxsplit=1, flags=re.MULTILINE
    )
    return re.findall(r"^ {4}(\S.*)", text[0], re.MULTILINE)


def shell(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the README as its reader does."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {name: value for name, value in os.environ.items() if name[:10] != "EXPEDITION"}
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={**own, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def rows(head: str) -> list[list[str]]:
    """The rows of the table whose first row begins with a text."""
    table = TEXT.partition(f"| {head} |")[2].partition("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[2:]
    ]


@pytest.mark.parametrize("name", LONGEST)
def test_it_is_short(name: str) -> None:
    assert README.with_name(name).stat().st_size <= LONGEST[name]


@pytest.mark.parametrize("folder", catalogues.FILES)
def test_the_catalogues_beside_the_code_are_up_to_date(folder: str) -> None:
    text = (catalogues.PACKAGE / folder / "README.md").read_text(encoding="utf-8")
    assert text == catalogues.text_of(folder), "run `python tests/catalogues.py`"


def test_every_option_is_in_its_table(pytestconfig: pytest.Config) -> None:
    named = {row[0].strip("`").split()[0]: row for row in rows("option")}
    options = {
        name
        for group in pytestconfig._parser._groups
        for option in group.options
        if option.attrs().get("help") != argparse.SUPPRESS  # for the command alone
        for name in option.names()
        if name.startswith("--expedition")
    }
    assert set(named) == options
    *settings, without = [option.removeprefix("--expedition-") for option in named]
    for name in settings:
        pytestconfig.getini(f"expedition_{name}")
    with pytest.raises(ValueError, match="unknown configuration value"):
        pytestconfig.getini(f"expedition_{without}")


def test_every_fixture_is_in_its_table() -> None:
    source = inspect.getsource(plugin)
    defined = {
        name: scope
        for scope, name in re.findall(
            r"@pytest.fixture(\(scope=\"session\"\))?\ndef (\w+)\(", source
        )
    }
    named = {row[0].strip("`"): row[1] for row in rows("fixture")}
    assert named == {name: "session" if scope else "function" for name, scope in defined.items()}


def test_every_part_of_a_scenario_is_in_the_table_beside_the_scenarios() -> None:
    table = catalogues.FILES["clients"][0].partition("| --- | --- |")[2]
    named = set(re.findall(r"^\| `(\w+)", table, re.MULTILINE))
    harness = Harness(ExpeditionServer())
    scenario = ExpeditionScenario("ordinary", harness)
    harness.close()
    assert named == {name for name in dir(scenario) if not name.startswith("_")} - {"entry"}


def test_every_field_of_a_script_is_in_its_table() -> None:
    named = {name.strip("` ") for row in rows("field of `JobScript`") for name in row[0].split(",")}
    assert named == {field.name for field in dataclasses.fields(JobScript)}


def test_the_target_file_is_one_and_shows_the_defaults(tmp_path: Path) -> None:
    _, text, waiver = blocks("toml")
    path = tmp_path / "expedition.toml"
    path.write_text(text + waiver, encoding="utf-8")
    target = load(path, environ={"EXPEDITION_API_KEY": "key"})
    assert [waived.id for waived in target.waivers] == ["status.wire-number"]
    assert [job.cancellable for job in target.jobs] == [True, False]
    assert target.limits == Limits()


def test_the_examples_of_client_tests_pass(pytester: pytest.Pytester) -> None:
    examples = [
        block
        for block in blocks("python")
        if "def start_import(url" in block or "expedition_monitor" in block
    ]
    pytester.makepyfile(**{f"test_{number}": text for number, text in enumerate(examples)})
    pytester.runpytest_inprocess().assert_outcomes(passed=3)


@pytest.mark.long
def test_the_example_of_a_client_in_scenarios_passes(pytester: pytest.Pytester) -> None:
    (example,) = [block for block in blocks("python") if "expedition_scenario.check" in block]
    (set_up,) = [block for block in blocks("python") if "expedition_server.play" in block]
    pytester.makepyfile(test_client=example, test_set_up=set_up)
    passed = len(usual(None)) + len(["random", "the other example"])
    pytester.runpytest_inprocess().assert_outcomes(passed=passed)


def test_the_example_of_a_server_that_speaks_tls_is_taken(pytester: pytest.Pytester) -> None:
    (example,) = [block for block in blocks("python") if "expedition_server_tls" in block]
    pytester.makeconftest(example)
    pytester.makepyfile("def test(expedition_server): assert expedition_server.ca_file.exists()")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_the_example_of_a_target_in_python_is_taken(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = [block for block in blocks("python") if "def expedition_target" in block]
    monkeypatch.setenv("EXPEDITION_API_KEY", "key")
    pytester.makeconftest(example.replace("https://192.0.2.10", "http://127.0.0.1:1"))
    result = pytester.runpytest_inprocess("--pyargs", "pytest_expedition.contract")
    result.stdout.fnmatch_lines(["*http://127.0.0.1:1 does not answer*"])


def test_the_example_of_schemas_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [block for block in blocks("python") if "SchemaViolation" in block]
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out.strip()
    assert f"# {printed}" in example


@pytest.mark.long
def test_the_walk_through_of_a_server_judges_a_broken_one(tmp_path: Path) -> None:
    serve, export, judge = commands("Check a server")
    begun = serve.replace("--port 8080", "--port 0 --job-seconds 2")
    assert begun != serve
    command = [sys.executable, "-m", "pytest_expedition.cli", *begun.split()[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url, key = (server.stdout.readline().strip().partition("=")[2] for _ in range(2))
        assert export == f"export EXPEDITION_API_KEY={key}"
        judge = judge.replace("http://127.0.0.1:8080", url)
        done = shell(tmp_path, f"{export}\n{judge} --expedition-profile smoke")
        server.send_signal(signal.SIGINT)
    assert "verdict: non-conformant" in done.stdout
    assert done.returncode == 1


def test_the_walk_through_of_a_live_instance_creates_four_jobs(tmp_path: Path) -> None:
    target = blocks("toml")[0]
    export, dry_run, smoke = commands("Check a live instance")
    server = ExpeditionServer()
    server.clock.run(speed=20)
    server.start()
    try:
        url = target.replace("https://192.0.2.10", server.url)
        (tmp_path / "expedition.toml").write_text(url, encoding="utf-8")
        export = export.replace("…", server.api_key)
        told = shell(tmp_path, f"{export}\n{dry_run}")
        assert "POST /api/v1/project/22/import resource=/tmp/cisco.xml" in told.stdout
        assert server.requests == []
        done = shell(tmp_path, f"{export}\n{smoke}")
    finally:
        server.stop()
    assert f"{server.url}, dialect system: 4 jobs" in done.stdout
    assert " fail" not in done.stdout


@pytest.mark.long
def test_the_walk_through_of_a_recording_judges_what_it_recorded(tmp_path: Path) -> None:
    record, check = commands("Judge a recording")
    recorded = shell(tmp_path, f"{record} --expedition-profile smoke")
    assert recorded.returncode == 0, recorded.stdout
    judged = shell(tmp_path, check)
    assert judged.returncode == 0, judged.stdout
    assert "fail" not in judged.stdout


@pytest.mark.long
def test_the_walk_through_of_the_verdict_writes_reports(tmp_path: Path) -> None:
    (judge,) = commands("Read the verdict")
    assert shell(tmp_path, f"{judge} --expedition-profile smoke").returncode == 0
    assert {path.name for path in tmp_path.glob("report.*")} == {"report.html", "report.json"}


def test_every_link_within_it_leads_somewhere() -> None:
    heads = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub("[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}
    for label, link in re.findall(r"\[([^]]+)\]\(([^)]+)\)", TEXT):
        if link.startswith("#"):
            assert link[1:] in anchors, label
        elif not link.startswith("https:"):
            assert (README.parent / link).exists(), label
