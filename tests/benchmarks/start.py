"""What it costs a pytest run that the plugin is installed, and not used.

Runs one empty test in environments of their own: the plugin from its wheel, pytest alone, and
pytest with one peer. Where `PYTHONDONTWRITEBYTECODE` is set, as in many containers, pytest rewrites
the modules of plugins again at each start: those environments have never been started without it.
"""

from __future__ import annotations

import functools
import os
import resource
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from frame import Environment, Row, by_turns, main, median, ratios, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROUNDS = 31
ROUNDS_OF_PEERS = 7
PEERS = ("pytest-httpserver", "pytest-httpx", "respx", "hypothesis", "schemathesis")
WITHOUT = "-p", "no:expedition"
ALONE = "-p", "no:hypothesispytest", "-p", "no:pytest_httpserver"
"""Without the plugins of our dependencies: what they had imported, ours need not."""

TIMED = """
import sys, time
from importlib.metadata import EntryPoint
import pytest
load = EntryPoint.load
def timed(point):
    begun = time.process_time()
    try:
        return load(point)
    finally:
        if point.name == "expedition":
            timed.seconds = time.process_time() - begun
EntryPoint.load = timed
pytest.main(sys.argv[1:])
print(timed.seconds)
"""
"""Runs pytest, and prints how long it took to import the plugin with all that this imports.

`-X importtime` does not show it: pytest imports plugins by `importlib.import_module`.
"""


def run(
    environment: Environment, folder: str, *options: str, writes: bool, program: Sequence[str]
) -> str:
    variables = {name: value for name, value in os.environ.items() if name[:6] != "PYTEST"}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    if not writes:
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
    command: list[str | Path] = [
        environment.python,
        *program,
        "-q",
        "-p",
        "no:cacheprovider",
        *options,
    ]
    told: str = subprocess.check_output(command, cwd=folder, env=variables, text=True)
    return told


def seconds(environment: Environment, folder: str, *options: str, writes: bool) -> float:
    """Seconds of the processor that a run takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(environment, folder, *options, writes=writes, program=["-m", "pytest"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds_of_imports(environment: Environment, folder: str, *, writes: bool) -> float:
    told = run(environment, folder, *ALONE, writes=writes, program=["-c", TIMED])
    return float(told.split()[-1])


def measure() -> Iterator[Row]:
    for writes in (True, False):
        yield from measure_where(writes=writes)


def measure_where(*, writes: bool) -> Iterator[Row]:
    suffix, said = ("", "") if writes else ("-unwritten", ", `PYTHONDONTWRITEBYTECODE=1`")
    ours = Environment(f"expedition{suffix}", ["pytest"], ours=True)
    alone = Environment(f"pytest{suffix}", ["pytest"])
    others = {peer: Environment(f"{peer}{suffix}", ["pytest", peer]) for peer in PEERS}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_empty.py").write_text("def test_empty():\n    pass\n")

        def once(environment: Environment, *options: str) -> Callable[[], float]:
            return functools.partial(seconds, environment, folder, *options, writes=writes)

        runs: dict[str, Callable[[], float]] = {
            "with": once(ours),
            "without": once(ours, *WITHOUT),
        }
        by_turns(1, runs)  # writes what is kept of the modules

        def imports() -> float:
            return seconds_of_imports(ours, folder, writes=writes)

        took = by_turns(ROUNDS, {**runs, "imports": imports})
        peers: dict[str, Callable[[], float]] = {
            "with": runs["with"],
            "alone": once(alone),
            **{peer: once(environment) for peer, environment in others.items()},
        }
        by_turns(1, peers)
        of_peers = by_turns(ROUNDS_OF_PEERS, peers)
    versions = ours.versions("pytest") | {
        peer: environment.version(peer) for peer, environment in others.items()
    }
    typical = {name: statistics.median(values) for name, values in of_peers.items()}
    added = {name: f"+{1e3 * (value - typical['alone']):.0f} ms" for name, value in typical.items()}
    yield Row(
        what=f"start, plugin not used: imports{said}",
        goal="≤ 5 ms",
        figure=median(took["imports"], "ms", 1e3),
        spread=spread(took["imports"], "ms", 1e3),
        versions=versions,
    )
    ratio = ratios(took["with"], took["without"])
    yield Row(
        what=f"start, plugin not used, against `-p no:expedition`{said}",
        goal="≤ 1.03 times",
        figure=median(ratio, "times"),
        spread=spread(ratio, "times"),
        versions=versions,
    )
    yield Row(
        what=f"the same, added to pytest alone, with all dependencies{said}",
        goal="",
        figure=added["with"],
        peers=", ".join(f"{peer} {added[peer]}" for peer in PEERS),
        versions=versions,
    )


if __name__ == "__main__":
    main(measure)
