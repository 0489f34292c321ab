"""The report as one HTML file that needs nothing else: no network, no second file, no script.

The script that is in it only adds buttons which copy. All that may come from a server goes through
``_text`` or ``_prose``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_expedition.report import words
from pytest_expedition.report.chart import KINDS, SERIES, chart, jobs_of, marker
from pytest_expedition.report.words import GROUPS, MEANINGS, SIGNS, plural, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_expedition.report.entries import Document, EvidenceEntry, RequirementEntry

_WIDTHS: Final = {"wide": 900, "narrow": 318}
"""Each chart is drawn twice, in CSS pixels, and the style sheet shows the one that fits."""


def as_html(document: Document) -> str:
    """Make the page of a report."""
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    told = sorted(
        (entry for entry in document["requirements"] if entry["evidence"]),
        key=lambda entry: (entry["outcome"] != "fail", entry["level"] != "MUST"),
    )
    verdict = document["verdict"]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{verdict}: {_text(document['target']['url'])}</title>",
            f"<style>{style}</style>\n</head>\n<body>",
            '<a class="skip" href="#main">Skip to the report</a>',
            _header(document),
            '<main id="main">',
            _contents(document, told),
            *_failures(told),
            _requirements(document["requirements"]),
            "</main>",
            _footer(document),
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def _asset(name: str) -> str:
    return "\n" + Path(__file__).with_name(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _text(value: object) -> str:
    return escape(printable(str(value), keep="\n\t"))


def _prose(text: str) -> str:
    """Escape a sentence, in which `code` stands between backticks."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", _text(text))


def _name(requirement: str) -> str:
    """Return the name under which the page finds a requirement."""
    return "r-" + re.sub("[^a-z-]", "-", requirement)


def _sign(outcome: str) -> str:
    return f'<span aria-hidden="true">{SIGNS[outcome]}</span>'


def _badge(outcome: str) -> str:
    return f'<span class="badge {outcome}">{_sign(outcome)} {outcome}</span>'


def _header(document: Document) -> str:
    target, verdict = document["target"], document["verdict"]
    outcomes = [entry["outcome"] for entry in document["requirements"]]
    facts = {
        "Target": f"<code>{_text(target['url'])}</code>"
        + (" (in the process of the suite)" if target["embedded"] else ""),
        "Dialect": _text(target["dialect"] or "none seen"),
        "Started": f"<time>{_text(document['started'][:19].replace('T', ' '))} UTC</time>",
        "Took": words.duration(document["seconds"]),
        "Traffic": f"{plural(document['jobs'], 'job')}, {plural(document['requests'], 'request')}"
        + (f", {document['unanswered']} unanswered" if document["unanswered"] else ""),
    }
    tally = "".join(
        f'<li class="{outcome}">{_sign(outcome)} <strong>{outcomes.count(outcome)}</strong> '
        f"{outcome}</li>"
        for outcome in words.OUTCOMES
        if outcome in outcomes
    )
    behind = words.left_behind(document["left_behind"], document["unconfirmed_creations"])
    notes = [
        document["reason"],
        "" if target["verified"] else "The certificate was not verified.",
        "" if target["embedded"] else behind,
    ]
    return (
        f'<header class="verdict {verdict}">\n<p class="kind">The job API of Expedition 2.0</p>'
        f'\n<h1>{_sign(verdict)} <span class="said">{verdict}</span></h1>'
        f'\n<p class="meaning">{_text(MEANINGS[verdict])}</p>'
        + "".join(f'\n<p class="note">{_prose(note)}</p>' for note in notes if note)
        + f'\n<ul class="tally" aria-label="Requirements by outcome">{tally}</ul>\n<dl>'
        + "".join(f"<div><dt>{term}</dt><dd>{fact}</dd></div>" for term, fact in facts.items())
        + "</dl>\n</header>"
    )


def _contents(document: Document, told: list[RequirementEntry]) -> str:
    broken = "".join(
        f'<li>{_badge(entry["outcome"])} <a href="#{_name(entry["id"])}">{_text(entry["id"])}</a> '
        f'<small>{entry["level"]}</small> <span class="said">{_prose(entry["reason"])}</span></li>'
        for entry in told
    )
    groups = "".join(
        f'<li><a href="#g-{group}">{_text(GROUPS.get(group, group))}</a></li>'
        for group in _grouped(document["requirements"])
    )
    return (
        '<nav aria-label="Contents">'
        + (f'<ul class="broken">{broken}</ul>' if broken else "")
        + f'<ul class="groups">{groups}</ul></nav>'
    )


def _failures(told: list[RequirementEntry]) -> list[str]:
    if not told:
        return []
    stories = "\n".join(_failure(entry) for entry in told)
    head = '<h2 id="broken">What is broken</h2>'
    return [f'<section aria-labelledby="broken">\n{head}\n{stories}\n</section>']


def _failure(entry: RequirementEntry) -> str:
    name, evidence = _name(entry["id"]), entry["evidence"]
    return "\n".join(
        [
            f'<article id="{name}" class="{entry["outcome"]}" aria-labelledby="{name}-head">',
            f'<h3 id="{name}-head">{_text(entry["id"])} <small>{entry["level"]}</small>',
            f"{_badge(entry['outcome'])}</h3>",
            f'<p class="promise">{_prose(entry["text"])}</p>',
            f'<p class="source">{entry["basis"].capitalize()}: {_source(entry)}</p>',
            "<h4>What was seen</h4>",
            f'<p class="seen">{_prose(entry["reason"])}</p>',
            _figure(entry, name),
            "<h4>The exchanges that prove it, and how it came to them</h4>",
            _story(evidence),
            _again("To do it again", entry["curl"], name),
            _again("To set the fake up that way", entry.get("python", []), name),
            "</article>",
        ]
    )


def _figure(entry: RequirementEntry, name: str) -> str:
    timeline = entry["timeline"]
    exchanges = timeline["exchanges"]
    if not exchanges:
        return ""
    charts = ""
    for size, width in _WIDTHS.items():
        svg = chart(timeline, entry["evidence"], width=width, name=f"{name}-{size}")
        charts += f'<div class="{size}">{svg}</div>\n'
    kinds = {x["kind"] for x in exchanges}
    signs = [(marker(kind, 10, 8), called) for kind, called in KINDS.items() if kind in kinds]
    looks = [
        (f'<line class="line s{place % SERIES}" x1="0" y1="8" x2="20" y2="8"/>', f"job {job}")
        for place, job in enumerate(jobs_of(exchanges))
    ]
    signs += [('<circle class="ring" cx="10" cy="8" r="6.5"/>', "proof")]
    keys = "".join(
        f'<li><svg width="20" height="16" viewBox="0 0 20 16" aria-hidden="true">{sign}</svg> '
        f"{text}</li>"
        for sign, text in looks + signs
    )
    omitted = timeline["omitted"]
    other = "“other” is an answer that shows no state, or none that is allowed. "
    stateless = any(x["state"] is None for x in exchanges)
    left_out = f" {plural(omitted, 'further exchange')} left out." if omitted else ""
    return (
        f'<figure>\n{charts}<ul class="key" aria-label="Key">{keys}</ul>\n<figcaption>'
        f"State of the jobs over time, from the first request on. {other if stateless else ''}"
        "The numbers are those of the exchanges below. Pauses are drawn the shorter the longer "
        f"they are.{left_out}"
        "</figcaption>\n</figure>"
    )


def _story(evidence: list[EvidenceEntry]) -> str:
    start = min(each["sent"] for each in evidence)
    rows = "\n".join(_exchange(place, each, start) for place, each in enumerate(evidence, 1))
    head = "".join(
        f'<th role="columnheader" scope="col">{title}</th>'
        for title in ("No.", "Sent", "Request", "Answer")
    )
    return (
        '<table role="table" class="story"><caption>Times count from the first request.</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">\n{rows}\n</tbody></table>'
    )


def _exchange(place: int, each: EvidenceEntry, start: float) -> str:
    proof = ' <span class="proof">proof</span>' if each["proves"] else ""
    return (
        f'<tr role="row" class="{"proves" if each["proves"] else "led"}">'
        f'<th role="rowheader" scope="row">{place}{proof}</th>'
        f'<td role="cell">{words.duration(each["sent"] - start)}</td>'
        f'<td role="cell"><code>{_text(each["asked"])}</code>{_body(each["request"])}</td>'
        f'<td role="cell"><span class="answer">{_text(each["answer"])}</span>'
        f"{_body(each['body'])}</td></tr>"
    )


def _body(body: str) -> str:
    if not body:
        return ""
    return f"<details><summary>body</summary><pre>{_text(body)}</pre></details>"


def _again(head: str, lines: list[str], name: str) -> str:
    if not lines:
        return ""
    commands = _text("\n".join(lines))
    return (
        f'<h4 id="{name}-again">{head}</h4>\n<div class="curl">'
        '<button type="button" hidden>Copy</button>'
        f'<pre tabindex="0" role="region" aria-labelledby="{name}-again">{commands}</pre></div>'
    )


def _grouped(entries: Iterable[RequirementEntry]) -> dict[str, list[RequirementEntry]]:
    groups: dict[str, list[RequirementEntry]] = {}
    for entry in entries:
        groups.setdefault(entry["id"].partition(".")[0], []).append(entry)
    return groups


def _requirements(entries: list[RequirementEntry]) -> str:
    head = "".join(
        f'<th role="columnheader" scope="col">{title}</th>'
        for title in ("Requirement", "Level", "Basis", "Outcome", "Why", "Source")
    )
    tables = "\n".join(
        f'<table role="table" class="requirements" id="g-{group}">'
        f"<caption>{_text(GROUPS.get(group, group))}</caption>"
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">\n'
        + "\n".join(_requirement(entry) for entry in members)
        + "\n</tbody></table>"
        for group, members in _grouped(entries).items()
    )
    return (
        '<section aria-labelledby="requirements">\n<h2 id="requirements">All requirements</h2>\n'
        f"{tables}\n</section>"
    )


def _source(entry: RequirementEntry) -> str:
    text, url = _text(entry["source"]), entry["source_url"]
    return f'<a href="{_text(url)}">{text}</a>' if url else text


def _requirement(entry: RequirementEntry) -> str:
    name = _text(entry["id"])
    if entry["evidence"]:
        name = f'<a href="#{_name(entry["id"])}">{name}</a>'
    return (
        f'<tr role="row"><th role="rowheader" scope="row"><span class="id">{name}</span> '
        f'<span class="promise">{_prose(entry["text"])}</span></th>'
        f'<td role="cell">{entry["level"]}</td>'
        f'<td role="cell">{entry["basis"]}</td>'
        f'<td role="cell">{_badge(entry["outcome"])}</td>'
        f'<td role="cell" class="why">{_prose(entry["reason"])}</td>'
        f'<td role="cell" class="source">{_source(entry)}</td></tr>'
    )


def _footer(document: Document) -> str:
    tool = document["tool"]
    return (
        f"<footer><p>{_text(tool['name'])} {_text(tool['version'])}. A requirement is "
        "<em>stated</em> or <em>shown</em> by the documentation, or <em>assumed</em> of any "
        "sensible server.</p></footer>"
    )
