"""The pieces for CI do what they say: their shell lines run, against a server of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from test_cli import SERVE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.long

PIECES = Path(__file__).parent / "examples" / "ci"
OF_THE_FORGE = {"actions/checkout@v4", "actions/setup-python@v5", "actions/upload-artifact@v4"}
"""The steps that no shell can carry out."""

INSTALLING = {
    "python -m pip install pytest-expedition",
    "python -m pip install . pytest-expedition",
}
"""The lines that are left out: what they install is what is under test."""

TARGET = """
url = "{url}"
[auth]
api_key_env = "EXPEDITION_API_KEY"
[limits]
poll_seconds = 0.05
[[job]]
name = "import"
path = "/api/v1/project/1/import"
form = {{ resource = "/tmp/a.xml" }}
cancellable = true
"""
FAILING = "def test(): assert False"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """Start a server, and write the target file that names it."""
    processes = []

    def start(*options: str) -> str:
        process = subprocess.Popen(
            [*SERVE, "--job-seconds=1", *options], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout is not None
        url, key = (process.stdout.readline().strip().split("=", 1)[1] for _ in range(2))
        (tmp_path / "expedition.toml").write_text(TARGET.format(url=url), encoding="utf-8")
        return key

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=10)


def run(line: str, folder: Path, api_key: str = "") -> int:
    """Carry out a line as a runner does, with the commands of this environment."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EXPEDITION_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTEST_ADDOPTS": f"{os.environ['PYTEST_ADDOPTS']} -p no:cacheprovider",
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "EXPEDITION_PROFILE": "smoke",
        **({"EXPEDITION_API_KEY": api_key} if api_key else {}),
    }
    shell = ["bash", "-eo", "pipefail", "-c", line]
    completed = subprocess.run(
        shell, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False
    )
    return completed.returncode


def load(piece: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PIECES / piece).read_text(encoding="utf-8"))
    return document


def carry_out_github(piece: str, folder: Path, api_key: str = "") -> list[str]:
    """Carry out the steps of a workflow's one job; return the lines that failed."""
    (job,) = load(piece)["jobs"].values()
    failed: list[str] = []
    for step in job["steps"]:
        if "uses" in step:
            assert step["uses"] in OF_THE_FORGE
        elif step["run"] in INSTALLING or (failed and "always()" not in step.get("if", "")):
            continue
        elif run(step["run"], folder, api_key) != 0:
            failed.append(step["run"])
    return failed


def carry_out_gitlab(job: str, folder: Path, api_key: str = "") -> list[str]:
    """Carry out the script of a job, up to the line that fails, if one does."""
    for line in load("gitlab.yml")[job]["script"]:
        if line not in INSTALLING and run(line, folder, api_key) != 0:
            return [line]
    return []


def artifact(piece: str, folder: Path) -> set[str]:
    """Return the names of the files that are kept."""
    if piece == "gitlab.yml":
        (pattern,) = load(piece)["contract"]["artifacts"]["paths"]
    else:
        (job,) = load(piece)["jobs"].values()
        pattern = job["steps"][-1]["with"]["path"]
    return {path.name for path in folder.glob(pattern)}


REPORTS = {"report.html", "report.json", "report.md", "report.xml"}


def test_github_judges_an_instance(serve: Any, tmp_path: Path) -> None:
    assert carry_out_github("github-contract.yml", tmp_path, serve()) == []
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("## ")
    assert summary == (tmp_path / "report.md").read_text(encoding="utf-8")
    assert artifact("github-contract.yml", tmp_path) == REPORTS


def test_github_tells_of_an_instance_that_does_not_conform(serve: Any, tmp_path: Path) -> None:
    (line,) = carry_out_github("github-contract.yml", tmp_path, serve("--broken=percent"))
    assert line.startswith("pytest ")
    assert "non-conformant" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    plans = {f"report.plan.{name}.json" for name in ("status.bounds", "status.envelope")}
    assert artifact("github-contract.yml", tmp_path) >= REPORTS | plans


def test_gitlab_judges_an_instance(serve: Any, tmp_path: Path) -> None:
    assert carry_out_gitlab("contract", tmp_path, serve()) == []
    assert artifact("gitlab.yml", tmp_path) == REPORTS


@pytest.mark.parametrize("carry_out", [carry_out_github, carry_out_gitlab])
def test_a_client_is_tested_against_the_fake(carry_out: Any, tmp_path: Path) -> None:
    piece = "github-client.yml" if carry_out is carry_out_github else "client"
    shutil.copy(Path(__file__).parent / "examples" / "test_typed_project.py", tmp_path)
    assert carry_out(piece, tmp_path) == []
    (tmp_path / "test_typed_project.py").write_text(FAILING, encoding="utf-8")
    (line,) = carry_out(piece, tmp_path)
    assert line.startswith("pytest ")
