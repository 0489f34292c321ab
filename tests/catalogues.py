"""The catalogues beside the code: `python tests/catalogues.py` writes them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pytest_expedition.catalogues import CATALOGUES

PACKAGE: Final = Path(__file__).parents[1] / "pytest_expedition"

FILES: Final = {
    "oracle/rules": (
        """# Requirements

The contract suite judges a server by these requirements. Each has one rule in this folder.
A server that fails a MUST is `non-conformant`. *stated* and *shown* rest on the documentation,
*reference* on the vendor's API reference, which has the dialect `data`, and *assumed* on what a
sensible server does where both are silent.
""",
        "requirements",
    ),
    "fake/broken": (
        """# Broken and odd servers

The contract suite is tested against these servers. A broken server is the fake instance with one
small defect: the suite must fail it. An odd server has an unusual habit, and is honest: the suite
must fail no MUST of it. `pytest-expedition serve --broken NAME` starts a broken server.
""",
        "broken",
        "odd",
    ),
    "clients": (
        """# Scenarios and promises

`expedition_scenario` runs a client in each of these scenarios, and judges it by these promises.
A client that breaks a MUST fails its test. A SHOULD that is broken is an expected failure, or a
failure with `--expedition-strict`.

| part of `expedition_scenario` | what it is |
| --- | --- |
| `id` | the id of the scenario |
| `url` | the address of the fake instance, without `/api/v1` |
| `api_key` | its key; a client may log in as `admin` / `paloalto` instead |
| `check(start, wait, cancel=…, failed=…, cancelled=…)` | runs the client, and fails the test if \
it breaks a MUST |
| `check_async(…)` | the same in an async test: `await` it |
| `run(command, exits=…, cancel_signal=…)` | the same for a program |
| `sleep(seconds)` | replaces `time.sleep` in the client: it moves the fake's clock |
| `sleep_async(seconds)` | replaces `asyncio.sleep` |
| `monotonic()` | the fake's time, for a client that looks at `time.monotonic` |
| `real_time(speed=1)` | lets the fake's time move by itself, for a client in another process |
| `results` | the outcome of each promise, after `check`, `check_async` or `run` |
""",
        "scenarios",
        "promises",
    ),
    "suite": (
        """# What the suite sends

The contract suite sends these requests and no others. `{job}` is the id of a job that the run
created, `{far}` an id far above these, `{agent}` the id of the instance's agent, `{project}` and
`{device}` are numbers in the path of a `[[job]]`, and `{malformed}` is one of the malformed ids of
the second table. In these, `{ended}` is the id of a job of the run that was seen to have ended.
Method and path of a creation are those of the target's `[[job]]`. A test holds every run against
this list.
""",
        "requests",
        "malformed-ids",
    ),
}
"""The folders that have a README.md: what it says, and the catalogues that follow."""


def text_of(folder: str) -> str:
    """Return what the README.md of a folder must hold."""
    introduction, *names = FILES[folder]
    made = "This file is made by `python tests/catalogues.py`."
    return "\n".join(
        [introduction, made, *(f"\n{CATALOGUES[x]().as_markdown()}" for x in names), ""]
    )


if __name__ == "__main__":
    for folder in FILES:
        (PACKAGE / folder / "README.md").write_text(text_of(folder), encoding="utf-8")
