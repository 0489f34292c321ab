"""The report for people at a terminal: one line a requirement, and the whole story of a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_expedition.protocol.requirements import CATALOGUE, CLIENT_CATALOGUE
from pytest_expedition.report.messages import (
    gateway_lines,
    left_behind,
    plural,
    printable,
    proxy_line,
    tally,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_expedition.report.entries import Document, RequirementEntry

_WIDTHS: Final = (29, 7, 13)

_WAIVED: Final = {
    "used": "waived",
    "not-needed": "waived, yet not needed",
    "expired": "waived, but no longer",
}


def failure(entry: RequirementEntry) -> str:
    """Tell why a requirement failed: the promise, what was seen, the proof, how to do it again."""
    lines = [
        f"{entry['id']} ({entry['level']}, {entry['basis']}): {entry['text']}",
        f"Promised by: {entry['source']}",
        *([f"  {entry['source_url']}"] if entry["source_url"] else []),
        "",
        "What was seen:",
        f"  {entry['reason']}",
    ]
    if entry["evidence"]:
        lines += ["", "The exchanges that prove it, and those that led to them:"]
        lines += [f"  {each['summary']}" for each in entry["evidence"]]
    if entry["curl"]:
        lines += ["", "To do it again:"]
        lines += [f"  {line}" for line in entry["curl"]]
    if "python" in entry:
        lines += ["", "To set the fake up that way:"]
        lines += [f"  {line}" for line in entry["python"]]
    if "replay" in entry:
        lines += ["", "To replay the plan that showed it:", f"  {entry['replay']}"]
    return "\n".join(lines)


def requirement_line(entry: RequirementEntry) -> str:
    """Tell one requirement in one line."""
    columns = (entry["id"], entry["level"], entry["outcome"])
    padded = "".join(text.ljust(width) for text, width in zip(columns, _WIDTHS, strict=True))
    return padded + str(entry["reason"])


def verdict_lines(document: Document) -> list[str]:
    """Tell the verdict and what it rests on."""
    target = document["target"]
    entries = document["requirements"]
    dialect = f", dialect {target['dialect']}" if target["dialect"] else ""
    embedded = " (in this process)" if target["embedded"] else ""
    behind = left_behind(document["left_behind"], document["unconfirmed_creations"])
    unverified = not target["verified"]
    selected = [entry for entry in entries if entry["id"] not in document["not_selected"]]
    untold = [entry["id"] for entry in entries if entry["id"] in document["not_selected"]]
    part = selection(document)
    counted = plural(_known(document), "requirement")
    if len(selected) != _known(document):
        counted = f"{len(selected)} of {counted}"
    used = f"{plural(document['jobs'], 'job')}, {plural(document['requests'], 'request')}"
    if document["unanswered"]:
        used += f" ({document['unanswered']} without a usable answer)"
    return [
        f"{target['url']}{dialect}{embedded}: {used}, {document['seconds']:.1f} s",
        f"{counted}: " + tally([entry["outcome"] for entry in selected]),
        *(["the certificate was not verified: verify = false"] if unverified else []),
        *([proxy_line(target["proxy"])] if target["proxy"] else []),
        *gateway_lines(document["gateway_answers"]),
        *([behind] if behind and not embedded else []),
        *waiver_lines(entries),
        *([f"reason: {printable(document['reason'])}"] if document["reason"] else []),
        *([f"also broken, though not selected: {', '.join(untold)}"] if untold else []),
        f"verdict: {document['verdict']}" + (f" ({part})" if part else ""),
    ]


def selection(document: Document) -> str:
    """Say of how many requirements a verdict is; empty if it is of all."""
    left_out = document["not_selected"]
    count = sum(entry["id"] not in left_out for entry in document["requirements"])
    return f"of {count} of {_known(document)} requirements" if left_out else ""


def _known(document: Document) -> int:
    """Return how many requirements there are, of servers or clients, whichever were judged."""
    judged = {entry["id"] for entry in document["requirements"]} | {*document["not_selected"]}
    return sum(len(all_of) for all_of in (CATALOGUE, CLIENT_CATALOGUE) if judged & all_of.keys())


def waiver_lines(entries: list[RequirementEntry]) -> list[str]:
    """Tell the waivers that were used, and those that are no longer right."""
    waived = {entry["id"]: entry["waiver"]["state"] for entry in entries if entry["waiver"]}
    return [
        f"{said}: {', '.join(name for name in waived if waived[name] == state)}"
        for state, said in _WAIVED.items()
        if state in waived.values()
    ]


def recording_lines(document: Document, *, passed_over: int, remarks: Iterable[str]) -> list[str]:
    """Tell what recordings showed: each requirement, the story of each that failed, the verdict.

    ``passed_over`` requests were not of the job API; ``remarks`` say what could not be judged.
    """
    lines = [requirement_line(entry) for entry in document["requirements"]]
    for entry in document["requirements"]:
        if entry["outcome"] == "fail":
            lines += ["", *failure(entry).splitlines()]
    lines.append("")
    if passed_over:
        lines.append(f"{plural(passed_over, 'request')} passed over: not of the job API")
    return [*lines, *map(printable, remarks), *verdict_lines(document)]


def replay_line(document: Document, requirement: str) -> str:
    """Tell whether a plan that showed a requirement broken still does."""
    outcome = next(
        (entry["outcome"] for entry in document["requirements"] if entry["id"] == requirement),
        "not judged",
    )
    said = {"fail": "still fails", "pass": "holds this time"}.get(outcome, f"is {outcome}")
    return f"replay: {requirement} {said}"
