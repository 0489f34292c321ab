"""The project's catalogues as text: requirements, servers, scenarios, promises, requests.

`pytest-expedition list NAME` prints them; `python tests/catalogues.py` writes them to the
README.md files of the folders that hold them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from pytest_expedition.protocol.requirements import Requirement, Source


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """A table: the name of each column, and one row of cells for each entry.

    ``about`` says what is in it, ``told`` names the columns that a line has for an entry. The
    first cell of a row is the entry's id.
    """

    about: str
    told: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def only(self, names: Collection[str]) -> Catalogue:
        """Return the catalogue with the entries of these ids alone."""
        return replace(self, rows=tuple(row for row in self.rows if row[0] in names))

    def as_markdown(self) -> str:
        """Return the catalogue as a Markdown table."""
        quoted = ((f"`{name}`", *cells) for name, *cells in self.rows)
        lines = [self.columns, ("---",) * len(self.columns), *quoted]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def as_lines(self) -> str:
        """Return the catalogue for a terminal: a line for each entry."""
        places = [0, *map(self.columns.index, self.told)]
        widths = [max(len(row[place]) for row in self.rows) for place in places]
        cells = ([row[place] for place in places] for row in self.rows)
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)

    def as_text(self) -> str:
        """Return the catalogue for a terminal: each id on a line, its cells below."""
        entries = []
        for name, *cells in self.rows:
            labelled = zip(self.columns[1:], cells, strict=True)
            entries.append("\n".join([name, *(f"    {k}: {v}" for k, v in labelled if v)]))
        return "\n".join(entries)


def requirements() -> Catalogue:
    """Return the requirements of the contract."""
    from pytest_expedition.protocol.requirements import CATALOGUE

    return Catalogue(
        about="what is asked of servers",
        told=("level", "promise"),
        columns=("requirement", "level", "basis", "promise", "dialects", "source"),
        rows=tuple(
            (*_promise(each), _dialects(each.dialects), _source(each))
            for each in CATALOGUE.values()
        ),
    )


def promises() -> Catalogue:
    """Return what is asked of clients."""
    from pytest_expedition.protocol.requirements import CLIENT_CATALOGUE

    return Catalogue(
        about="what is asked of clients",
        told=("level", "what a client does"),
        columns=("promise", "level", "basis", "what a client does"),
        rows=tuple(_promise(each) for each in CLIENT_CATALOGUE.values()),
    )


def _promise(requirement: Requirement) -> tuple[str, str, str, str]:
    """Return id, level, basis and promise, and what of these differs in the dialect `data`."""
    basis: str = requirement.basis
    text = requirement.text
    in_data = requirement.in_data
    if in_data is not None:
        basis += "; in `data`: reference"
        text += f" In `data`: {in_data.text}" if in_data.text else ""
    return requirement.id, requirement.level, basis, text


def _dialects(names: Sequence[str]) -> str:
    from pytest_expedition.protocol.envelope import Dialect

    return "all" if names == get_args(Dialect) else _list(names)


def _source(requirement: Requirement) -> str:
    """Return where a promise is made, with the URL."""
    in_data = requirement.in_data
    told = _with_url(requirement.source)
    return f"{told} (in `data`: {_with_url(in_data.source)})" if in_data is not None else told


def _with_url(source: Source) -> str:
    return f"{source.text}: {source.url}" if source.url else source.text


def broken() -> Catalogue:
    """Return the broken servers."""
    from pytest_expedition.fake.broken import BROKEN
    from pytest_expedition.fake.dialects import DIALECTS

    def fails(breaks: Sequence[str], nameless: Sequence[str]) -> str:
        instead = f"; in `msg` {_list(nameless)}" if nameless else ""
        return _list(breaks) + instead

    return Catalogue(
        about="the broken servers",
        told=("its defect",),
        columns=("broken server", "its defect", "it shows", "dialects", "requirements it fails"),
        rows=tuple(
            (
                each.name,
                each.defect,
                each.shows,
                "all" if each.dialects == DIALECTS else _list(each.dialects),
                fails(each.breaks, each.nameless),
            )
            for each in BROKEN.values()
        ),
    )


def odd() -> Catalogue:
    """Return the servers that are odd but honest."""
    from pytest_expedition.fake.odd import ODD

    return Catalogue(
        about="the servers that are odd but honest",
        told=("its quirk",),
        columns=("odd but honest server", "its quirk", "SHOULDs it may fail"),
        rows=tuple((each.name, each.quirk, _list(each.may_fail)) for each in ODD.values()),
    )


def scenarios() -> Catalogue:
    """Return the scenarios that clients are tested in."""
    from pytest_expedition.clients.catalogue import SCENARIOS

    return Catalogue(
        about="the scenarios that clients are tested in",
        told=("the situation",),
        columns=("scenario", "the situation", "a good client"),
        rows=tuple((each.id, each.text, each.good) for each in SCENARIOS.values()),
    )


def requests() -> Catalogue:
    """Return the requests that the suite can send."""
    from pytest_expedition.suite.request_list import REQUESTS

    return Catalogue(
        about="the requests that the suite can send",
        told=("method", "path"),
        columns=("request", "method", "path", "when", "why it is safe"),
        rows=tuple(
            (name, f"`{each.method}`", f"`{each.path}`", each.when, each.safe)
            for name, each in REQUESTS.items()
        ),
    )


def malformed_ids() -> Catalogue:
    """Return the malformed ids that the suite sends."""
    from pytest_expedition.suite.request_list import MALFORMED_IDS

    return Catalogue(
        about="the malformed ids that the suite sends",
        told=("sent with",),
        columns=("malformed id", "sent with", "why it is safe"),
        rows=tuple((each.text, _list(each.methods), each.safe) for each in MALFORMED_IDS),
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


CATALOGUES: Final[dict[str, Callable[[], Catalogue]]] = {
    "requirements": requirements,
    "broken": broken,
    "odd": odd,
    "scenarios": scenarios,
    "promises": promises,
    "requests": requests,
    "malformed-ids": malformed_ids,
}
"""Each catalogue, by the name that `pytest-expedition list` takes."""
