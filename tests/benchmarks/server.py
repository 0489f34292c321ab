"""What the fixture `expedition_server` costs: its first use, each further test, its end.

Each round is a session of pytest, one with `expedition_server`, one with pytest-httpserver's
`httpserver`. Within it, tests that use the fixture and empty ones come by turns. The last test is
empty, so that what it takes longer than the others is the end of the session.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from frame import Row, by_turns, main, median, spread, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 7
TESTS = 100
REQUESTS = 50

IMPORTS = {
    "expedition_server": "pytest_expedition.fake.server",
    "httpserver": "pytest_httpserver.httpserver",
}
"""What each fixture imports, which is measured by itself."""

CONFTEST = """
import importlib, json, sys, time
import pytest

took = {}

def pytest_sessionstart():
    begun = time.perf_counter()
    importlib.import_module("MODULE")
    took["imports"] = time.perf_counter() - begun
    import requests

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    begun = time.perf_counter()
    result = yield
    took[item.name] = time.perf_counter() - begun
    return result

def pytest_sessionfinish():
    with open("took.json", "w") as file:
        json.dump(took, file)
"""

TEST_FILE = """
import pytest

def test_before():
    pass

def test_first(FIXTURE):
    pass

def test_second(FIXTURE):
    pass

@pytest.mark.parametrize("number", range(TESTS))
class TestByTurns:
    def test_further(self, FIXTURE, number):
        pass

    def test_empty(self, number):
        pass

def test_traffic(FIXTURE):
    import requests
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(REQUESTS):
            session.get(FIXTURE.url_for("/") if "FIXTURE" == "httpserver" else FIXTURE.url)
    if "FIXTURE" == "httpserver":
        FIXTURE.clear()

def test_last():
    pass
"""


class Session:
    """A session of pytest with a fixture: what it took, by what for."""

    def __init__(self, fixture: str, *, requests: int) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "conftest.py").write_text(CONFTEST.replace("MODULE", IMPORTS[fixture]))
            text = TEST_FILE.replace("FIXTURE", fixture).replace("TESTS", str(TESTS))
            (folder / "test_it.py").write_text(text.replace("REQUESTS", str(requests)))
            variables = {name: value for name, value in os.environ.items() if name[:6] != "PYTEST"}
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
            subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True)
            took: dict[str, float] = json.loads((folder / "took.json").read_text())
        empty, further = (
            statistics.median(took[f"{name}[{number}]"] for number in range(TESTS))
            for name in ("test_empty", "test_further")
        )
        self.imports = took["imports"]
        self.first = took["test_first"] - empty
        self.further = further - empty
        self.end = took["test_last"] - empty


def measure() -> Iterator[Row]:
    def session(fixture: str, requests: int) -> Callable[[], Session]:
        return functools.partial(Session, fixture, requests=requests)

    ours, theirs = IMPORTS
    sessions = by_turns(
        ROUNDS,
        {
            "quiet": session(ours, 0),
            "busy": session(ours, REQUESTS),
            "peer quiet": session(theirs, 0),
            "peer busy": session(theirs, REQUESTS),
        },
    )

    def row(what: str, goal: str, of: Callable[[Session], float], *, busy: bool = True) -> Row:
        name = "busy" if busy else "quiet"
        took, peer = ([of(each) for each in sessions[key]] for key in (name, f"peer {name}"))
        return Row(
            what=f"`expedition_server`: {what}",
            goal=goal,
            figure=median(took, "ms", 1e3),
            spread=spread(took, "ms", 1e3),
            peers=f"pytest-httpserver {median(peer, 'ms', 1e3)}",
            versions=versions("pytest", "pytest-httpserver"),
        )

    yield Row(
        what="`expedition_server`: imports, at first use",
        goal="",
        figure=median([each.imports for each in sessions["busy"]], "ms", 1e3),
        spread=spread([each.imports for each in sessions["busy"]], "ms", 1e3),
        peers="pytest-httpserver imports at each start",
        versions={},
    )
    yield row("first use, beyond the imports", "≤ 60 ms", lambda session: session.first)
    yield row("each further test, over an empty one", "≤ 0.3 ms", lambda session: session.further)
    yield row("its end, with the session", "≤ 20 ms", lambda session: session.end, busy=False)
    yield row(f"its end, right after {REQUESTS} requests", "≤ 20 ms", lambda session: session.end)


if __name__ == "__main__":
    main(measure)
