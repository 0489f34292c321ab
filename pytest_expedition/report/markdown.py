"""The report as Markdown, to be pasted into an issue or a CI summary.

Texts that may come from a server are written as code, so that GitHub and others do not turn
them into links, mentions or HTML. Only plain words and numbers are written as they are.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

from pytest_expedition.report import situations as grid
from pytest_expedition.report.messages import (
    SIGNS,
    VERDICTS_IN_WORDS,
    address,
    duration,
    left_behind,
    plural,
    printable,
    proxy_line,
    run_lines,
    subject,
    tally,
)
from pytest_expedition.report.text import (
    HOW_TO_WAIVE,
    ONLY_THESE,
    following,
    how_to_replay,
    how_to_waive,
    selection,
    told_in_full,
    waiver_lines,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_expedition.report.entries import (
        Document,
        EvidenceEntry,
        RequirementEntry,
        SituationEntry,
    )

_WORD: Final = r"[A-Za-z'-]+|-?\d{1,6}(\.\d+)?|\d{4}-\d\d-\d\d"
_HARMLESS: Final = re.compile(rf"(\(?({_WORD})[.,;:)?]*( |$))*", re.ASCII)
_IN_TICKS: Final = re.compile("`([^`]+)`")
_BESIDE_TICKS: Final = " .,;:()?"

_IN_A_TABLE: Final = str.maketrans({"|": "\N{BOX DRAWINGS LIGHT VERTICAL}"})
"""How a pipe is spelled in a table: renderers disagree on how to escape it."""


def as_markdown(document: Document) -> str:
    """Make the Markdown text of a report."""
    told = told_in_full(document["requirements"])
    verdict = document["verdict"]
    part, proxy = selection(document), document["target"]["proxy"]
    behind = left_behind(document)
    lines = [
        f"## {SIGNS[verdict]} {subject(document)}: {verdict}" + (f" ({part})" if part else ""),
        "",
        VERDICTS_IN_WORDS[verdict],
        tally([each["outcome"] for each in document["requirements"]]) + ".",
        "",
        *([_reason(document["reason"]), ""] if document["reason"] else []),
        *([_said(proxy_line(proxy)), ""] if proxy else []),
        *(f"{line}\n" for line in run_lines(document)),
        *([f"{_said(behind)}\n"] if behind and not document["target"]["embedded"] else []),
        *(f"{line}\n" for line in waiver_lines(document["requirements"])),
        _target(document),
        "",
    ]
    if told:
        lines += ["### What is broken", ""]
        for entry in told:
            lines += [*_failure(entry, how_to_waive(entry, document)), ""]
            for each in following(entry, document["requirements"]):
                lines += [f"- {SIGNS[each['outcome']]} {_summary(each)}", ""]
    lines += ["### All requirements", ""]
    lines += _table(
        ("requirement", "level", "basis", "outcome", "why"),
        (
            (
                f"`{each['id']}`",
                each["level"],
                each["basis"],
                f"{SIGNS[each['outcome']]} {each['outcome']}",
                _reason(each["reason"], in_table=True)
                + (f" (follows from `{each['follows_from']}`)" if each["follows_from"] else ""),
            )
            for each in document["requirements"]
        ),
    )
    lines += _situations(document["situations"])
    return "\n".join(lines) + f"\n\n{document['tool']['name']} {document['tool']['version']}\n"


def _situations(situations: list[SituationEntry]) -> list[str]:
    """Tell which requests were sent in which phase of a job's life."""
    if not situations:
        return []
    return [
        "",
        "### Situations",
        "",
        f"{grid.count_line(situations)}.",
        "",
        "<details><summary>Which request was sent in which phase of a job's life</summary>",
        "",
        *_table(
            ("", *(column.head for column in grid.COLUMNS)),
            ((phase, *map(grid.mark, cells)) for phase, cells in grid.rows(situations)),
        ),
        "",
        grid.CROWD,
        "",
        *(
            f"- Not exercised, {_reason(reason)}: {', '.join(f'`{each}`' for each in ids)}"
            for reason, ids in grid.missing(situations).items()
        ),
        "",
        "</details>",
    ]


def _target(document: Document) -> str:
    target = document["target"]
    dialect = f"dialect {target['dialect']}, " if target["dialect"] else ""
    unverified = "" if target["verified"] else "certificate not verified, "
    return (
        f"{_code(address(target))}, {unverified}{dialect}{plural(document['jobs'], 'job')}, "
        f"{plural(document['requests'], 'request')}, {duration(document['seconds'])}"
    )


def _source(entry: RequirementEntry) -> str:
    text, url = _prose(entry["source"]), entry["source_url"]
    return f"[{text}]({url})" if url else text


def _failure(entry: RequirementEntry, waiver: list[str]) -> list[str]:
    start = entry["evidence"][0]["sent"]
    head, again = how_to_replay(entry)
    return [
        f"<details><summary>{SIGNS[entry['outcome']]} {_summary(entry)}</summary>",
        "",
        f"{_prose(entry['text'])} ({entry['basis']}: {_source(entry)})",
        "",
        *_table(
            ("", "sent", "request", "answer", "proof"),
            (_exchange(place, each, start) for place, each in enumerate(entry["evidence"], 1)),
        ),
        "",
        *(
            _fenced(entry["python"], "python")
            if "python" in entry
            else _fenced(entry["curl"], "sh")
        ),
        "",
        *([ONLY_THESE, ""] if entry["curl"] else []),
        *([f"{head}:", "", *_fenced(again, "sh"), ""] if again else []),
        *([f"{HOW_TO_WAIVE}:", "", *_fenced(waiver, "toml"), ""] if waiver else []),
        "</details>",
    ]


def _summary(entry: RequirementEntry) -> str:
    """Tell a failure in one line of HTML."""
    parts = _parts(printable(entry["reason"]))
    said = "".join(f"<code>{escape(x)}</code>" if code else escape(x) for x, code in parts)
    cause = entry["follows_from"]
    follows = f" (follows from <code>{cause}</code>)" if cause else ""
    return f"<b>{entry['id']}</b> ({entry['level']}): {said}{follows}"


def _exchange(place: int, each: EvidenceEntry, start: float) -> tuple[str, ...]:
    return (
        str(place),
        duration(each["sent"] - start),
        _code(each["asked"], in_table=True),
        _said(each["answer"], in_table=True),
        "✗" if each["proves"] else "",
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]


def _fenced(lines: list[str], language: str) -> list[str]:
    text = printable("\n".join(lines), keep="\n\t")
    fence = "`" * max(3, _longest_ticks(text) + 1)
    return [f"{fence}{language}", text, fence]


def _said(text: str, *, in_table: bool = False) -> str:
    """Return harmless words as they are, and anything else as code."""
    return text if _HARMLESS.fullmatch(text) else _code(text, in_table=in_table)


def _reason(text: str, *, in_table: bool = False) -> str:
    """Return a sentence of ours, which may quote a server, and in which `code` is in backticks."""
    parts = _parts(printable(text))
    return "".join(_code(part, in_table=in_table) if code else part for part, code in parts)


def _parts(sentence: str) -> list[tuple[str, bool]]:
    """Part a sentence in harmless words and code; all of it is code if it has any other words."""
    parts = [(part, bool(place % 2)) for place, part in enumerate(_IN_TICKS.split(sentence))]
    if all(code or _HARMLESS.fullmatch(part.strip(_BESIDE_TICKS)) for part, code in parts):
        return parts
    return [(_IN_TICKS.sub(r"\1", sentence), True)]


def _code(text: str, *, in_table: bool = False) -> str:
    text = printable(text)
    if in_table:
        text = text.translate(_IN_A_TABLE)
    ticks = "`" * (_longest_ticks(text) + 1)
    room = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{ticks}{room}{text}{room}{ticks}"


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _prose(text: str) -> str:
    """Escape a sentence, in which `code` stands between backticks."""
    parts = enumerate(_IN_TICKS.split(text))
    return "".join(_code(part) if place % 2 else _escaped(part) for place, part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|!&~])", r"\\\1", printable(text))
