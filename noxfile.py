"""The tests on every supported version of Python and of the dependencies: `nox -s tests`."""

from __future__ import annotations

import shutil
import tempfile

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
TOOLS = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["test"]
DEPENDENCIES = {
    "newest": ["-e", ".[test]"],
    "pytest8": ["-e", ".[test]", "pytest<9"],
    # Schemathesis, for test_openapi.py alone, asks for newer ones than the plugin does.
    "lowest": [
        *("--resolution=lowest-direct", "-e", ".[tls]"),
        *(tool for tool in TOOLS if not tool.startswith(("pytest-expedition", "schemathesis"))),
    ],
}
VERSIONED = (
    "by_job",
    "client_rules",
    "client_time",
    "clients",
    "fake",
    "frozen_time",
    "har",
    "monitor",
    "monitor_httpx",
    "own_answers",
    "plugin",
    "report",
    "schemas",
    "serving",
    "shares",
    "target",
    "trace",
    "transport",
    "typed",
    "verdict",
    "workflows",
)
"""The tests of what depends on Python, pytest and the other dependencies."""

MOST = [*(f"tests/test_{name}.py" for name in VERSIONED), "-n", "auto", "--dist", "worksteal"]


@nox.session(python=PYTHONS)
@nox.parametrize("dependencies", list(DEPENDENCIES), ids=list(DEPENDENCIES))
def tests(session: nox.Session, dependencies: str) -> None:
    """Run the tests of what depends on versions, or what follows `--`."""
    session.install(*DEPENDENCIES[dependencies])
    session.run("pytest", *(session.posargs or MOST))


@nox.session
def plugins(session: nox.Session) -> None:
    """Run the tests of a project with other plugins and strict flags, and then our own."""
    session.install("-e", ".[test]", "pytest-asyncio", "pytest-randomly")
    session.env["PYTHONDONTWRITEBYTECODE"] = "1"
    flags = ["-p", "no:cacheprovider", "-W", "error", "--strict-markers", "--strict-config"]
    flags += ["-o", "asyncio_default_fixture_loop_scope=function"]  # unset, it is a warning
    with tempfile.TemporaryDirectory() as project:
        shutil.copy("tests/examples/test_typed_project.py", project)
        with session.chdir(project):
            for workers in ("0", "2"):
                contract = ["--pyargs", "pytest_expedition.contract"]
                session.run("pytest", *flags, "-n", workers, "test_typed_project.py", *contract)
    # `addopts` switches some plugins off.
    flags += ["-o", "addopts=", "-m", "not long"]
    session.run("pytest", *flags, *(session.posargs or MOST))


@nox.session
def long(session: nox.Session) -> None:
    """Run the tests that take long and are rarely telling."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "long", "-n", "auto", "--dist", "worksteal", *session.posargs)


@nox.session
def matrix(session: nox.Session) -> None:
    """Carry out every plan against every broken and every odd server, in every dialect."""
    session.install("-e", ".[test]")
    session.run("python", "tests/steady.py", *(session.posargs or ["1", "--full"]))
