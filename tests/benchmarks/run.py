"""Runs the benchmarks and prints the table of README.md: `python tests/benchmarks/run.py [NAME …]`.

Needs the project installed with its `dev` extra, and PyPI: peers are installed to
`.benchmarks`, once; delete that to get newer ones. Takes some minutes; all that
else goes on at the machine widens the spread.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from frame import Row, table

BENCHMARKS = ("start", "server", "throughput", "suite", "slow", "oracle", "monitor")


def main(names: list[str]) -> None:
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        known = ", ".join(BENCHMARKS)
        raise SystemExit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {known}")
    rows = []
    for name in names or BENCHMARKS:
        print(f"benchmarks: {name} …", file=sys.stderr)
        file = Path(__file__).with_name(f"{name}.py")
        rows += [
            Row(**row)
            for row in json.loads(subprocess.check_output([sys.executable, file, "--json"]))
        ]
    versions = {name: version for row in rows for name, version in row.versions.items()}
    with_versions = ", ".join(f"{name} {versions[name]}" for name in sorted(versions))
    today = f"{datetime.now(timezone.utc):%d %B %Y}".lstrip("0")
    print(table(rows))
    print()
    print(f"{today}, {platform.system()}, Python {platform.python_version()}, {with_versions}.")
    print("Median, and the middle half of the runs; by turns with the peers, on one machine.")


if __name__ == "__main__":
    main(sys.argv[1:])
