"""The situations of a run as a grid: phases of a job's life in rows, requests in columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pytest_expedition.oracle.situations import COMPANIES, REQUESTS, SITUATIONS
from pytest_expedition.report.markup import NOTHING, html, join

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from pytest_expedition.oracle.situations import Company, Phase, SituationRequest
    from pytest_expedition.report.entries import SituationEntry

PHASE_NAMES: Final[Mapping[Phase, str]] = {
    "created": "just created",
    "queued": "still at 0",
    "early": "early",
    "middle": "middle",
    "late": "last tenth",
    "finished": "finished",
    "cancelled": "cancelled",
    "refused": "cancel refused",
}
REQUEST_NAMES: Final[Mapping[SituationRequest, str]] = {
    "poll": "poll",
    "cancel": "cancel",
    "cancel-twice": "cancel twice",
    "cancel-and-polls": "cancel and polls at once",
    "two-cancels": "two cancels at once",
    "creation": "creation beside it",
}
COMPANY_NAMES: Final[Mapping[Company, str]] = {
    "crowd": "in a crowd",
    "beside": "beside others",
    "alone": "alone",
    "any": "",
}
EXERCISED: Final = "✓"
NOT_EXERCISED: Final = "·"
NO_SITUATION: Final = "-"
CROWD: Final = (
    "✓ and how often it was exercised; · was not exercised; - cannot happen. A job is in a crowd "
    "while as many jobs as allowed are alive and the others are well under way."
)


class Column(NamedTuple):
    """A column of the grid."""

    request: SituationRequest
    company: Company

    @property
    def head(self) -> str:
        """The head of the column."""
        return f"{REQUEST_NAMES[self.request]} {COMPANY_NAMES[self.company]}".rstrip()


COLUMNS: Final = [
    Column(request, company)
    for request in REQUESTS
    for company in COMPANIES
    if any(each.request == request and each.company == company for each in SITUATIONS)
]


def count_line(situations: Sequence[SituationEntry]) -> str:
    """Say how many of the situations were exercised."""
    done = sum(each["exercised"] > 0 for each in situations)
    return f"{done} of {len(situations)} situations were exercised"


def missing(situations: Sequence[SituationEntry]) -> dict[str, list[str]]:
    """Return the ids of the situations that were not exercised, by the reason."""
    by_reason: dict[str, list[str]] = {}
    for each in situations:
        if not each["exercised"]:
            by_reason.setdefault(each["reason"], []).append(each["id"])
    return by_reason


def rows(
    situations: Sequence[SituationEntry],
) -> list[tuple[str, list[SituationEntry | None]]]:
    """Return the rows of the grid: a phase, and its situation in each column."""
    by_place = {(each["phase"], each["request"], each["company"]): each for each in situations}
    return [
        (name, [by_place.get((phase, column.request, column.company)) for column in COLUMNS])
        for phase, name in PHASE_NAMES.items()
    ]


def as_html(situations: Sequence[SituationEntry]) -> Markup:
    """Make the section of the page; nothing where there are no situations."""
    if not situations:
        return NOTHING
    body = (
        html(
            '<tr role="row"><th role="rowheader" scope="row">{}</th>{}</tr>',
            phase,
            join(map(_cell, COLUMNS, cells)),
        )
        for phase, cells in rows(situations)
    )
    heads = join(
        html('<th role="columnheader" scope="col">{}</th>', column.head) for column in COLUMNS
    )
    reasons = join(
        html("<li>{}: {}</li>", reason, ", ".join(ids))
        for reason, ids in missing(situations).items()
    )
    return html(
        """<section aria-labelledby="situations">
<h2 id="situations">Situations</h2>
<p>{}.</p>
<details><summary>Which request was sent in which phase of a job's life</summary>
<table role="table" class="situations"><caption>{}</caption>\
<thead role="rowgroup"><tr role="row"><td role="cell"></td>{}</tr></thead>
<tbody role="rowgroup">
{}
</tbody></table>
{}</details>
</section>
""",
        count_line(situations),
        CROWD,
        heads,
        join(body, lines=True),
        html("<p>Not exercised:</p>\n<ul>{}</ul>", reasons) if reasons else NOTHING,
    )


def _cell(column: Column, each: SituationEntry | None) -> Markup:
    if each is None:
        return html('<td role="cell" class="none">{}</td>', NO_SITUATION)
    done = each["exercised"] > 0
    return html(
        '<td role="cell" class="{}" data-head="{}" title="{}">{}</td>',
        "exercised" if done else "missed",
        column.head,
        each["text"] if done else f"{each['text']} Not exercised: {each['reason']}.",
        mark(each),
    )


def mark(each: SituationEntry | None) -> str:
    """Return the text of a cell, without markup."""
    if each is None:
        return NO_SITUATION
    return f"{EXERCISED} {each['exercised']}" if each["exercised"] else NOT_EXERCISED
