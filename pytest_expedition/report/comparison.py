"""Compares two reports: which outcomes differ, and whether any got worse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.report.messages import address, plural, printable

if TYPE_CHECKING:
    from pytest_expedition.report.entries import Document

Change = Literal["better", "worse", "other"]

RANKS: Final = {"pass": 0, "not-tested": 1, "inconclusive": 1, "waived": 2, "fail": 3, "error": 4}
"""Outcomes from the best to the worst. An untested requirement is worse than a pass and better than
a failure, waived or not. An error is the worst, since it may hide a failure."""

ABSENT: Final = "absent"
"""The outcome of a requirement that a report does not have; it ranks as untested."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A requirement whose outcome is not the same in two reports."""

    id: str
    level: str
    before: str
    after: str
    by_dialect: bool = False
    """Whether it was not tested because the dialect of that instance does not have it."""

    @property
    def change(self) -> Change:
        """Whether the second outcome is better or worse than the first.

        A SHOULD that was not tested counts as a pass: whether a run exercises it is chance. Where a
        dialect does not have what the requirement is about, the two cannot be compared.
        """
        if self.by_dialect:
            return "other"
        untested = RANKS["not-tested" if self.level == "MUST" else "pass"]
        ranks = {**RANKS, "not-tested": untested, "inconclusive": untested}
        before, after = (ranks.get(outcome, untested) for outcome in (self.before, self.after))
        if before == after:
            return "other"
        return "worse" if after > before else "better"


def compare(before: Document, after: Document) -> list[Difference]:
    """Find what differs between two reports, in the catalogue's order."""
    one, other = ({x["id"]: x for x in report["requirements"]} for report in (before, after))
    names = [name for name in CATALOGUE if name in one or name in other]
    names += [name for name in {**one, **other} if name not in CATALOGUE]
    differences = [
        Difference(
            id=name,
            level=(other.get(name) or one[name])["level"],
            before=one[name]["outcome"] if name in one else ABSENT,
            after=other[name]["outcome"] if name in other else ABSENT,
            by_dialect=_is_not_in_dialect(name, before) or _is_not_in_dialect(name, after),
        )
        for name in names
    ]
    return [each for each in differences if each.before != each.after]


def _is_not_in_dialect(name: str, report: Document) -> bool:
    """Whether a requirement was not tested because of the dialect that the instance speaks."""
    outcome = next((x["outcome"] for x in report["requirements"] if x["id"] == name), ABSENT)
    known = CATALOGUE.get(name)
    return (
        outcome == "not-tested"
        and known is not None
        and not known.is_about(report["target"]["dialect"])
    )


def comparison_lines(before: Document, after: Document, differences: list[Difference]) -> list[str]:
    """Tell what differs: the two reports, a table, and how many outcomes got worse."""
    rows = [("requirement", "level", "A", "B", "change")] if differences else []
    rows += [(x.id, x.level, x.before, x.after, x.change) for x in differences]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    changes = [each.change for each in differences]
    known = {x["id"] for report in (before, after) for x in report["requirements"]}
    counts = [f"{changes.count(change)} {change}" for change in ("worse", "better", "other")]
    worse = "worse, which sets the exit status to 1: a MUST got worse, or a SHOULD is now broken"
    return [
        _title("A", before),
        _title("B", after),
        "",
        *table,
        *([""] if table else []),
        ", ".join([*counts, f"{len(known) - len(changes)} the same"]),
        *([worse] if "worse" in changes else []),
    ]


def _title(name: str, report: Document) -> str:
    tool, target = report["tool"], report["target"]
    dialect = f"dialect {target['dialect']}, " if target["dialect"] else ""
    return printable(
        f"{name}: {report['verdict']}, {address(target)}, {dialect}"
        f"{plural(report['jobs'], 'job')}, {report['started']}, {tool['name']} {tool['version']}"
    )
