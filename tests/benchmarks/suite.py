"""How long the contract suite takes: with the embedded fake, on two workers, to find faults.

All is timed as the user sees it, from the command to the prompt, in environments that have been
used before: bytecode is kept. The sixteen faults, five of which single answers show and eleven only
several together, are also looked for by Schemathesis, with the OpenAPI description of
`pytest-expedition openapi`; it may stop at the first.
"""

from __future__ import annotations

import cProfile
import functools
import json
import os
import pstats
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from frame import Environment, Row, by_turns, main, median, ratios, spread, versions

from pytest_expedition import ExpeditionServer
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.openapi import describe
from pytest_expedition.protocol import validation
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUNDS = 7
ROUNDS_OF_THOROUGH = 3
ONE_ANSWER = (
    "text-job-id",
    "creation-success-as-text",
    "percent",
    "finished-as-text",
    "status-for-everybody",
)
SEVERAL_ANSWERS = (
    "cancelled-ids-again",
    "total-grows",
    "lagging-replica",
    "finished-is-rounded",
    "killed-for-memory",
    "cancel-ignored",
    "finishes-all-the-same",
    "cancels-the-finished",
    "cancels-the-whole-project",
    "refusal-begins-anew",
    "tasks-are-told-once",
)

TARGET = """
import pytest
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.fake.broken import BROKEN

@pytest.fixture(scope="session")
def expedition_target():
    with embedded_target(BROKEN["{name}"].make) as target:
        yield target
"""


@functools.cache
def ours() -> Environment:
    return Environment("suite", ["pytest", "pytest-xdist"], ours=True)


@functools.cache
def theirs() -> Environment:
    return Environment("schemathesis", ["pytest", "schemathesis"])


def timed(command: Sequence[str | Path], folder: Path) -> tuple[float, int]:
    """How long a command takes, and its exit status."""
    variables = {name: each for name, each in os.environ.items() if name[:6] != "PYTHON"}
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=variables, check=False, capture_output=True)
    return time.perf_counter() - begun, done.returncode


def seconds(folder: Path, *options: str) -> tuple[float, int]:
    """How long a run of the contract suite takes, and its exit status."""
    contract = ["-q", "--pyargs", "pytest_expedition.contract", "-p", "no:cacheprovider"]
    return timed([ours().python, "-m", "pytest", *contract, *options], folder)


def seconds_to_verdict(name: str) -> float:
    """How long it takes to find out that a server is broken, or infinity if it is not found out."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "conftest.py").write_text(TARGET.format(name=name))
        took, status = seconds(Path(folder), "--expedition-strict")
    return took if status == 1 else float("inf")


def seconds_of_schemathesis(name: str, description: Path) -> float:
    """The same for Schemathesis."""
    server = ExpeditionServer(BROKEN[name].make)
    server.start()
    header = f"Authorization: Bearer {server.api_key}"
    options = ["--url", server.url, "-H", header, "--max-failures", "1", "--no-color"]
    command = ["-m", "schemathesis.cli", "run", str(description), *options]
    took, status = timed([theirs().python, *command], description.parent)
    server.stop()
    return took if status == 1 else float("inf")


def measure() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds(folder, "--expedition-profile=smoke")  # writes what is kept of the modules
        yield from measure_profiles(folder)
        yield from measure_workers(folder)
        yield from measure_faults(folder)
    yield measure_validation()
    yield measure_catalogue()


def measure_profiles(folder: Path) -> Iterator[Row]:
    took = by_turns(
        ROUNDS,
        {
            profile: functools.partial(seconds, folder, f"--expedition-profile={profile}")
            for profile in ("smoke", "default")
        },
    )
    for profile, goal in (("default", "≤ 6 s"), ("smoke", "≤ 2 s")):
        values = [each for each, _ in took[profile]]
        yield Row(
            what=f"the suite against the embedded fake, `{profile}`",
            goal=goal,
            figure=median(values, "s"),
            spread=spread(values, "s"),
            versions=ours().versions("hypothesis"),
        )


def measure_workers(folder: Path) -> Iterator[Row]:
    thorough = "--expedition-profile=thorough"
    took = by_turns(
        ROUNDS_OF_THOROUGH,
        {
            "alone": functools.partial(seconds, folder, thorough),
            "two": functools.partial(seconds, folder, thorough, "-p", "xdist", "-n", "2"),
        },
    )
    alone, two = ([each for each, _ in took[name]] for name in ("alone", "two"))
    shares = ratios(two, alone)
    yield Row(
        what="`thorough` on two workers, against one process",
        goal="≤ 0.65 times",
        figure=median(shares, "times"),
        spread=spread(shares, "times"),
        peers=f"one process {median(alone, 's')}",
        versions=ours().versions("pytest-xdist"),
    )


def measure_faults(folder: Path) -> Iterator[Row]:
    description = folder / "openapi.json"
    description.write_text(json.dumps(describe()))
    seconds_of_schemathesis(ONE_ANSWER[0], description)
    took = {
        name: by_turns(
            1,
            {
                "ours": functools.partial(seconds_to_verdict, name),
                "theirs": functools.partial(seconds_of_schemathesis, name, description),
            },
        )
        for name in (*ONE_ANSWER, *SEVERAL_ANSWERS)
    }
    for what, names in (
        (f"{len(ONE_ANSWER)} faults that one answer shows", ONE_ANSWER),
        (f"{len(SEVERAL_ANSWERS)} faults that only several answers show", SEVERAL_ANSWERS),
    ):
        yield Row(
            what=f"from the start to the verdict, {what}",
            goal="all",
            figure=found([took[name]["ours"][0] for name in names]),
            peers="schemathesis " + found([took[name]["theirs"][0] for name in names]),
            versions=theirs().versions("schemathesis"),
        )


def found(took: Sequence[float]) -> str:
    """How many were found out, and in which time."""
    known = sorted(each for each in took if each < float("inf"))
    if not known:
        return "none"
    return f"{len(known)}, in {statistics.median(known):.1f} s (at most {known[-1]:.1f} s)"


def measure_validation() -> Row:
    """How much of the processor's time goes to JSON Schema."""
    profile = cProfile.Profile(time.process_time)
    with embedded_target() as target:
        profile.enable()
        run_contract(target, seed=1)
        profile.disable()
    stats = pstats.Stats(profile)
    spent: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = stats.stats  # type: ignore[attr-defined]
    within = max(
        cumulative
        for (file, _, name), (_, _, _, cumulative, *_) in spent.items()
        if file == validation.__file__ and name == "find_violation"
    )
    return Row(
        what="of which JSON Schema, as cProfile has it",
        goal="≤ 15 %",
        figure=f"{100 * within / stats.total_tt:.0f} %",  # type: ignore[attr-defined]
        versions=versions("jsonschema"),
    )


def measure_catalogue() -> Row:
    took = sorted(map(seconds_to_verdict, BROKEN))
    known = [each for each in took if each < float("inf")]
    return Row(
        what=f"from the start to the verdict, {len(known)} of {len(took)} broken servers",
        goal="≤ 4 s",
        figure=median(took, "s"),
        spread=spread(known, "s"),
        versions=ours().versions("hypothesis"),
    )


if __name__ == "__main__":
    main(measure)
