"""Clients written as the documentation shows work with the fake."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_expedition import ExpeditionServer, JobScript
from pytest_expedition.fake.instance import PASSWORD, USERNAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.fake.dialects import DialectName

EXAMPLES = Path(__file__).parent / "examples"
EXPECTED = """\
project/1/import 1619
state 0
state 0.25
state 0.5
state 0.75
state 1
next ["Download"]
project/1/import 1620
cancelled
projects/1/export 1621
refused 0 The current job cannot be cancelled
"""


@functools.cache
def php_modules() -> str:
    if shutil.which("php") is None:
        return ""
    return subprocess.run(["php", "-m"], capture_output=True, text=True, check=True).stdout


def client(language: str) -> list[str]:
    """Return the command of a client; skip the test where its language is not to be had."""
    if language == "python":
        return [sys.executable, str(EXAMPLES / "client.py")]
    if not php_modules():
        pytest.skip("PHP is not installed")
    if "curl" not in php_modules().split():
        pytest.skip("PHP has no curl extension")
    return ["php", str(EXAMPLES / "client.php")]


@pytest.fixture(params=["system", "mixed"])
def dialect(request: pytest.FixtureRequest) -> DialectName:
    name: DialectName = request.param
    return name


@pytest.fixture(params=[False, True], ids=["http", "https"])
def server(request: pytest.FixtureRequest, dialect: DialectName) -> Iterator[ExpeditionServer]:
    server = ExpeditionServer(tls=request.param)
    server.dialect = dialect
    server.start()
    yield server
    server.stop()
    server.check()


@pytest.mark.parametrize("language", ["python", "php"])
def test_a_client_of_the_documentation(server: ExpeditionServer, language: str) -> None:
    server.next_job(JobScript(next_step=["Download"]))
    result = subprocess.run(
        [*client(language), server.url, USERNAME, PASSWORD, "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (result.stdout, result.returncode) == (EXPECTED, 0), result.stderr
    assert server.requests[0].form == {"username": USERNAME, "password": PASSWORD}
    assert server.requests[1].form == {"resource": "/tmp/a & b.xml"}
    (sent_as,) = {each.header("Content-Type").split(";")[0] for each in server.requests[:2]}
    assert (
        sent_as
        == {
            "python": "application/x-www-form-urlencoded",
            "php": "multipart/form-data",
        }[language]
    )
