"""The tables of the README, made from the code: `python tests/tables.py` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_expedition.clients.catalogue import SCENARIOS
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.dialects import DIALECTS
from pytest_expedition.fake.odd import ODD
from pytest_expedition.protocol.requirements import CATALOGUE, CLIENT_CATALOGUE

README = Path(__file__).parents[1] / "README.md"
MARKED = re.compile(r"<!-- table: (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def requirements() -> str:
    return table(
        ("requirement", "level", "basis", "promise", "source"),
        [
            (f"`{each.id}`", each.level, each.basis, each.text, each.source)
            for each in CATALOGUE.values()
        ],
    )


def broken() -> str:
    return table(
        ("broken server", "its lie", "it shows", "in the dialects", "what it breaks"),
        [
            (
                f"`{each.name}`",
                each.lie,
                each.shows,
                "all" if each.dialects == DIALECTS else quoted(each.dialects),
                quoted(each.breaks)
                + (f"; in `msg` and `data` {quoted(each.nameless)}" if each.nameless else ""),
            )
            for each in BROKEN.values()
        ],
    )


def odd() -> str:
    return table(
        ("odd but honest server", "its habit", "SHOULDs it may not keep"),
        [(f"`{each.name}`", each.habit, quoted(each.bends)) for each in ODD.values()],
    )


def scenarios() -> str:
    return table(
        ("scenario", "the situation", "a good client"),
        [(f"`{each.id}`", each.text, each.good) for each in SCENARIOS.values()],
    )


def promises() -> str:
    return table(
        ("promise", "level", "basis", "what a client keeps"),
        [(f"`{each.id}`", each.level, each.basis, each.text) for each in CLIENT_CATALOGUE.values()],
    )


TABLES = {
    "requirements": requirements,
    "broken": broken,
    "odd": odd,
    "scenarios": scenarios,
    "promises": promises,
}


def with_tables(text: str) -> str:
    """The text with the tables that its marks ask for."""
    return MARKED.sub(
        lambda mark: f"<!-- table: {mark[1]} -->\n{TABLES[mark[1]]()}\n<!-- end -->", text
    )


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
