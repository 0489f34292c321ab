"""The report for the terminal: a line for each requirement, and the story of each failure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from pytest_expedition.protocol.requirements import CATALOGUE, CLIENT_CATALOGUE
from pytest_expedition.report.messages import (
    address,
    left_behind,
    plural,
    printable,
    proxy_line,
    run_lines,
    tally,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_expedition.report.entries import Document, RequirementEntry

_WIDTHS: Final = (29, 7, 13)

WAIVED_FOR: Final = timedelta(days=30)
ONLY_THESE: Final = (
    "These lines send only the requests above. What was seen may take others, too, or their timing."
)
HOW_TO_WAIVE: Final = "To accept it until a given day, add to the target file"

_WAIVED: Final = {
    "used": "waived",
    "unused": "waiver not used, which does not fail the run",
    "not-needed": (
        "waiver not needed, which fails the run; remove it from the target file, or add "
        "`sometimes = true`"
    ),
    "expired": "waiver expired, which fails the run; renew it or remove it",
}


def why(entry: RequirementEntry) -> str:
    """Tell in one line why the outcome of a requirement is what it is."""
    cause = entry["follows_from"]
    return f"{entry['reason']} (follows from {cause})" if cause else entry["reason"]


def told_in_full(entries: Iterable[RequirementEntry]) -> list[RequirementEntry]:
    """Return the failures that follow from no other: broken MUSTs first, what is waived last."""
    return sorted(
        (entry for entry in entries if entry["evidence"] and not entry["follows_from"]),
        key=lambda entry: (entry["outcome"] != "fail", entry["level"] != "MUST"),
    )


def following(
    cause: RequirementEntry, entries: Iterable[RequirementEntry]
) -> list[RequirementEntry]:
    """Return the entries of the failures that follow from another."""
    return [entry for entry in entries if entry["follows_from"] == cause["id"]]


def stories(entries: Iterable[RequirementEntry]) -> list[str]:
    """Tell why requirements failed: causes with their whole story, the others in a line each."""
    failed = list(entries)
    causes = [failure(entry, failed) for entry in failed if not is_told_elsewhere(entry, failed)]
    others = [f"{each['id']}: {why(each)}" for each in failed if is_told_elsewhere(each, failed)]
    return [*causes, *(["\n".join(others)] if others else [])]


def is_told_elsewhere(entry: RequirementEntry, entries: Iterable[RequirementEntry]) -> bool:
    """Whether the story of a failure is that of its cause, which is among the entries."""
    return any(each["id"] == entry["follows_from"] for each in entries)


def failure(entry: RequirementEntry, entries: Collection[RequirementEntry]) -> str:
    """Tell why a requirement failed: what was seen, the promise, the proof, how to do it again.

    One line is enough where ``entries``, which are told with it, have the cause.
    """
    if is_told_elsewhere(entry, entries):
        return why(entry)
    consequences = [each["id"] for each in following(entry, entries)]
    lines = [
        entry["reason"],
        "",
        f"This breaks {entry['id']} ({entry['level']}, {entry['basis']}): {entry['text']}",
        f"Promised by: {entry['source']}",
        *([f"  {entry['source_url']}"] if entry["source_url"] else []),
    ]
    if consequences:
        lines.append(f"Also broken as a result: {', '.join(consequences)}")
    if entry["evidence"]:
        lines += ["", "The exchanges that prove it, and those that led to them:"]
        lines += [f"  {each['summary']}" for each in entry["evidence"]]
    if entry["curl"]:
        lines += ["", "To do it again:"]
        lines += [*(f"  {line}" for line in entry["curl"]), "", ONLY_THESE]
    if "python" in entry:
        lines += ["", "To set the fake up that way:"]
        lines += [f"  {line}" for line in entry["python"]]
    head, again = how_to_replay(entry)
    if again:
        lines += [f"{head}:", *(f"  {line}" for line in again)]
    return "\n".join(lines)


def how_to_replay(entry: RequirementEntry) -> tuple[str, list[str]]:
    """Return how to carry out again the plan that showed a requirement broken: a head, and lines.

    There are none where there was no plan. The plan is kept only beside a report.
    """
    jobs = len(entry["plan"]["jobs"]) if "plan" in entry else 0
    plan = "the plan that showed it" + (f", with its {jobs} jobs" if jobs > 1 else "")
    if "replay" in entry:
        return f"To replay {plan}", [entry["replay"]]
    if jobs:
        return f"To keep {plan}, for --expedition-replay, add", ["--expedition-report report.html"]
    return "", []


def requirement_line(entry: RequirementEntry) -> str:
    """Tell one requirement in one line."""
    columns = (entry["id"], entry["level"], entry["outcome"])
    padded = "".join(text.ljust(width) for text, width in zip(columns, _WIDTHS, strict=True))
    return padded + why(entry)


def verdict_lines(document: Document) -> list[str]:
    """Tell the verdict and what it rests on."""
    target = document["target"]
    entries = document["requirements"]
    dialect = f", dialect {target['dialect']}" if target["dialect"] else ""
    embedded = " (in this process)" if target["embedded"] else ""
    behind = left_behind(document)
    unverified = not target["verified"]
    selected = [entry for entry in entries if entry["id"] not in document["not_selected"]]
    untold = [entry["id"] for entry in entries if entry["id"] in document["not_selected"]]
    judged = not {entry["outcome"] for entry in selected} <= {"inconclusive", "not-tested"}
    part = selection(document)
    counted = plural(_known(document), "requirement")
    if len(selected) != _known(document):
        counted = f"{len(selected)} of {counted}"
    used = f"{plural(document['jobs'], 'job')}, {plural(document['requests'], 'request')}"
    if document["unanswered"]:
        used += f" ({document['unanswered']} without a usable answer)"
    return [
        f"{address(target)}{dialect}{embedded}: {used}, {document['seconds']:.1f} s",
        f"{counted}: " + tally([entry["outcome"] for entry in selected]),
        *(["the certificate was not verified: verify = false"] if unverified else []),
        *([proxy_line(target["proxy"])] if target["proxy"] else []),
        *run_lines(document),
        *([behind] if behind and not embedded else []),
        *waiver_lines(entries),
        *([f"reason: {printable(document['reason'])}"] if document["reason"] else []),
        *([] if judged else ["nothing was judged: no requirement passed or failed"]),
        *([f"also broken, though not selected: {', '.join(untold)}"] if untold else []),
        f"verdict: {document['verdict']}" + (f" ({part})" if part else ""),
    ]


def selection(document: Document) -> str:
    """Say how many requirements a verdict is about; empty if it is about all."""
    left_out = document["not_selected"]
    count = sum(entry["id"] not in left_out for entry in document["requirements"])
    return f"on {count} of {_known(document)} requirements" if left_out else ""


def _known(document: Document) -> int:
    """Return how many requirements there are for servers, clients or both, as were judged."""
    judged = {entry["id"] for entry in document["requirements"]} | {*document["not_selected"]}
    return sum(len(all_of) for all_of in (CATALOGUE, CLIENT_CATALOGUE) if judged & all_of.keys())


def how_to_waive(entry: RequirementEntry, document: Document) -> list[str]:
    """Return what waives a failure for some weeks, for a target file; empty if nothing can."""
    if entry["outcome"] != "fail" or entry["waiver"] or entry["id"] not in CATALOGUE:
        return []
    until = datetime.fromisoformat(document["started"]).date() + WAIVED_FOR
    return ["[[waive]]", f'id = "{entry["id"]}"', 'reason = "…"', f"until = {until}"]


def first_to_waive(document: Document) -> list[str]:
    """Tell how to waive the first MUST that is broken and follows from no other."""
    broken = [entry for entry in document["requirements"] if is_broken_must(entry)]
    first = next((entry for entry in broken if not entry["follows_from"]), None)
    waiver = how_to_waive(first, document) if first else []
    return [f"{HOW_TO_WAIVE} ({first['id']}):", *waiver] if first and waiver else []


def is_broken_must(entry: RequirementEntry) -> bool:
    """Whether a requirement is a MUST that is broken, and not waived."""
    return (entry["level"], entry["outcome"]) == ("MUST", "fail")


def waiver_lines(entries: list[RequirementEntry]) -> list[str]:
    """Tell the waivers that were used, and those that have expired or are not needed."""
    waived = {entry["id"]: entry["waiver"]["state"] for entry in entries if entry["waiver"]}
    return [
        f"{said}: {', '.join(name for name in waived if waived[name] == state)}"
        for state, said in _WAIVED.items()
        if state in waived.values()
    ]


def recording_lines(document: Document, *, passed_over: int, remarks: Iterable[str]) -> list[str]:
    """Tell what recordings showed: each requirement, the story of each that failed, the verdict.

    ``passed_over`` requests are not part of the job API; ``remarks`` say what was not judged.
    """
    lines = [requirement_line(entry) for entry in document["requirements"]]
    for entry in document["requirements"]:
        if entry["outcome"] == "fail" and not entry["follows_from"]:
            lines += ["", *failure(entry, document["requirements"]).splitlines()]
    lines.append("")
    if passed_over:
        lines.append(f"{plural(passed_over, 'request')} ignored: not part of the job API")
    *told, verdict = verdict_lines(document)
    return [*lines, *map(printable, remarks), *told, *first_to_waive(document), verdict]


def replay_line(document: Document, requirement: str) -> str:
    """Tell whether a plan that showed a requirement broken still does."""
    outcome = next(
        (entry["outcome"] for entry in document["requirements"] if entry["id"] == requirement),
        "not judged",
    )
    words = {
        "fail": "still fails",
        "waived": "still fails, and is waived",
        "pass": "passes this time",
    }
    said = words.get(outcome, f"is {outcome}")
    return f"replay: {requirement} {said}"
