"""What all benchmarks are made of: runs by turns, environments with peers, and the table.

A benchmark is a file whose ``measure`` yields a ``Row`` for each of its figures:

    if __name__ == "__main__":
        frame.main(measure)

prints them; with ``--json`` as data, which is what ``run.py`` asks for.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import venv
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = PROJECT / ".benchmarks"  # not below tests/: its conftest.py would count there
Measured = TypeVar("Measured")
HEADINGS = ("What", "Goal", "Figure", "Spread", "Peers")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table; ``versions`` are of what stands in it."""

    what: str
    goal: str
    figure: str
    spread: str = ""
    peers: str = ""
    versions: Mapping[str, str]


def by_turns(rounds: int, runs: Mapping[str, Callable[[], Measured]]) -> dict[str, list[Measured]]:
    """Carry each out once a round, in an order that is drawn; return what they measured.

    So whatever else the machine does meanwhile befalls all alike.
    """
    measured: dict[str, list[Measured]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name in random.sample(sorted(runs), len(runs)):
            measured[name].append(runs[name]())
    return measured


def median(values: Sequence[float], unit: str, scale: float = 1.0) -> str:
    return _text(statistics.median(values) * scale, unit)


def spread(values: Sequence[float], unit: str, scale: float = 1.0) -> str:
    """The middle half: from the first quartile to the third."""
    low, _, high = (each * scale for each in statistics.quantiles(values, n=4))
    return f"{_text(low, '').strip()} to {_text(high, unit)}"


def _text(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """How many times the others each is, round by round."""
    return [value / other for value, other in zip(values, others, strict=True)]


class Environment:
    """A virtual environment that is kept, with the newest releases of some packages.

    ``ours`` also installs the project as users get it: from a wheel.
    """

    def __init__(self, name: str, packages: Iterable[str], *, ours: bool = False) -> None:
        home = ENVIRONMENTS / f"{name}-{sys.version_info[0]}.{sys.version_info[1]}"
        self.bin = home / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.bin / "python"
        if not home.exists():
            print(f"benchmarks: installing {name} …", file=sys.stderr)
            venv.create(home, with_pip=True)
            self._pip("install", "--upgrade", *packages, *([str(PROJECT)] if ours else []))
        elif ours:
            self._pip("install", "--force-reinstall", "--no-deps", str(PROJECT))

    def _pip(self, *command: str) -> None:
        subprocess.run(
            [self.python, "-m", "pip", "--disable-pip-version-check", "-q", *command],
            check=True,
            capture_output=True,
        )

    def version(self, package: str) -> str:
        ask = "import sys; from importlib import metadata; print(metadata.version(sys.argv[1]))"
        return subprocess.check_output([self.python, "-c", ask, package], text=True).strip()

    def versions(self, *packages: str) -> dict[str, str]:
        return {package: self.version(package) for package in packages}


def versions(*packages: str) -> dict[str, str]:
    """The versions of packages that stand in the environment of this process."""
    return {package: metadata.version(package) for package in packages}


def table(rows: Iterable[Row]) -> str:
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    lines += [(row.what, row.goal, row.figure, row.spread, row.peers) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(measure: Callable[[], Iterable[Row]]) -> None:
    """Measure, and print: a table, or data for ``run.py``."""
    rows = list(measure())
    if sys.argv[1:] == ["--json"]:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        print(table(rows))
