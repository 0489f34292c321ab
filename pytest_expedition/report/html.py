"""The report as one HTML file, which loads nothing else.

The page is complete without its script, which adds buttons that copy. ``html`` makes the page; it
escapes every value that is not HTML already.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup, escape

from pytest_expedition.report import messages, situations
from pytest_expedition.report.chart import KINDS, SERIES, chart, jobs_of, marker
from pytest_expedition.report.markup import NOTHING, html, join
from pytest_expedition.report.messages import GROUPS, SIGNS, VERDICTS_IN_WORDS, plural, printable
from pytest_expedition.report.text import (
    HOW_TO_WAIVE,
    ONLY_THESE,
    following,
    how_to_replay,
    how_to_waive,
    selection,
    told_in_full,
    why,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_expedition.report.entries import Document, EvidenceEntry, RequirementEntry

_WIDTHS: Final = {"wide": 900, "narrow": 318}
"""Each chart is drawn twice, in CSS pixels, and the style sheet shows the one that fits."""


def _without_control_characters(value: Any) -> Any:
    """Return plain data without control characters in its texts."""
    if isinstance(value, str):
        return printable(value, keep="\n\t")
    if isinstance(value, list):
        return [_without_control_characters(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_control_characters(each) for name, each in value.items()}
    return value


def as_html(document: Document) -> str:
    """Make the page of a report."""
    document = _without_control_characters(document)
    style, script = _asset("html.css"), _asset("html.js")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    told = told_in_full(document["requirements"])
    page = html(
        """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{}: {}</title>
<style>{}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
{}
<main id="main">
{}
{}{}{}
</main>
{}
<script>{}</script>
</body>
</html>
""",
        policy,
        document["verdict"],
        messages.address(document["target"]),
        style,
        _header(document),
        _contents(document, told),
        _failures(document, told),
        _requirements(document["requirements"]),
        situations.as_html(document["situations"]),
        _footer(document),
        script,
    )
    return str(page)


def _asset(name: str) -> Markup:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return Markup("\n" + text)  # noqa: S704 - a file of this package


def _digest(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _prose(text: str) -> Markup:
    """Escape a sentence, in which `code` stands between backticks."""
    escaped = re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(escaped)  # noqa: S704 - escaped a line above


def _name(requirement: str) -> str:
    """Return the id of a requirement's element on the page."""
    return "r-" + re.sub("[^a-z-]", "-", requirement)


def _sign(outcome: str) -> Markup:
    return html('<span aria-hidden="true">{}</span>', SIGNS[outcome])


def _badge(outcome: str) -> Markup:
    return html('<span class="badge {}">{} {}</span>', outcome, _sign(outcome), outcome)


def _header(document: Document) -> Markup:
    target, verdict = document["target"], document["verdict"]
    outcomes = [entry["outcome"] for entry in document["requirements"]]
    part = selection(document)
    where = " (in the process of the suite)" if target["embedded"] else ""
    facts = {
        "Target": html("<code>{}</code>{}", messages.address(target), where),
        "Dialect": target["dialect"] or "none seen",
        "Started": html("<time>{} UTC</time>", document["started"][:19].replace("T", " ")),
        "Took": messages.duration(document["seconds"]),
        "Traffic": f"{plural(document['jobs'], 'job')}, {plural(document['requests'], 'request')}"
        + (f", {document['unanswered']} without a usable answer" if document["unanswered"] else "")
        + "".join(f"; {line}" for line in messages.run_lines(document)),
    }
    counts = [(each, outcomes.count(each)) for each in messages.OUTCOMES if each in outcomes]
    tally = join(
        html('<li class="{}">{} <strong>{}</strong> {}</li>', each, _sign(each), count, each)
        for each, count in counts
    )
    behind = messages.left_behind(document)
    notes = [
        document["reason"],
        messages.proxy_line(target["proxy"]) if target["proxy"] else "",
        "" if target["verified"] else "The certificate was not verified.",
        "" if target["embedded"] else behind,
    ]
    return html(
        """<header class="verdict {}">
<p class="kind">{}</p>
<h1>{} <span class="said">{}</span>{}</h1>
<p class="meaning">{}</p>{}
<ul class="tally" aria-label="Requirements by outcome">{}</ul>
<dl>{}</dl>
</header>""",
        verdict,
        messages.subject(document),
        _sign(verdict),
        verdict,
        html(" <small>({})</small>", part) if part else NOTHING,
        VERDICTS_IN_WORDS[verdict],
        join(html('\n<p class="note">{}</p>', _prose(note)) for note in notes if note),
        tally,
        join(html("<div><dt>{}</dt><dd>{}</dd></div>", *each) for each in facts.items()),
    )


def _contents(document: Document, told: list[RequirementEntry]) -> Markup:
    broken = join(
        html(
            '<li>{} <a href="#{}">{}</a> <small>{}</small> <span class="said">{}</span>{}</li>',
            _badge(entry["outcome"]),
            _name(entry["id"]),
            entry["id"],
            entry["level"],
            _prose(entry["reason"]),
            _count(following(entry, document["requirements"])),
        )
        for entry in told
    )
    groups = join(
        html('<li><a href="#g-{}">{}</a></li>', group, GROUPS.get(group, group))
        for group in _grouped(document["requirements"])
    )
    return html(
        '<nav aria-label="Contents">{}<ul class="groups">{}</ul></nav>',
        html('<ul class="broken">{}</ul>', broken) if broken else NOTHING,
        groups,
    )


def _count(consequences: list[RequirementEntry]) -> Markup:
    if not consequences:
        return NOTHING
    return html(" <small>(+ {} as a result)</small>", plural(len(consequences), "failure"))


def _failures(document: Document, told: list[RequirementEntry]) -> Markup:
    if not told:
        return NOTHING
    return html(
        """<section aria-labelledby="broken">
<h2 id="broken">What is broken</h2>
{}
</section>
""",
        join((_failure(each, document) for each in told), lines=True),
    )


def _failure(entry: RequirementEntry, document: Document) -> Markup:
    name = _name(entry["id"])
    return html(
        """<article id="{0}" class="{1}" aria-labelledby="{0}-head">
<h3 id="{0}-head">{2} <small>{3}</small>
{4}</h3>
<p class="promise">{5}</p>
<p class="source">{6}: {7}</p>
<h4>What was seen</h4>
<p class="seen">{8}</p>
{9}
{10}
<h4>The exchanges that prove it, and those that led to them</h4>
{11}
{12}
{13}
{14}
{15}
</article>""",
        name,
        entry["outcome"],
        entry["id"],
        entry["level"],
        _badge(entry["outcome"]),
        _prose(entry["text"]),
        entry["basis"].capitalize(),
        _source(entry),
        _prose(entry["reason"]),
        _consequences(following(entry, document["requirements"])),
        _figure(entry, name),
        _story(entry["evidence"]),
        _again("To do it again", entry["curl"], f"{name}-curl", after=ONLY_THESE),
        _again("To set the fake up that way", entry.get("python", []), f"{name}-python"),
        _again(*how_to_replay(entry), f"{name}-replay"),
        _again(HOW_TO_WAIVE, how_to_waive(entry, document), f"{name}-waive"),
    )


def _consequences(entries: list[RequirementEntry]) -> Markup:
    """List the failures that follow from another, in a line each."""
    if not entries:
        return NOTHING
    items = (
        html(
            '<li id="{}">{} {} <small>{}</small> <span class="said">{}</span></li>',
            _name(entry["id"]),
            _badge(entry["outcome"]),
            entry["id"],
            entry["level"],
            _prose(entry["reason"]),
        )
        for entry in entries
    )
    return html("<h4>Also broken as a result</h4>\n<ul>{}</ul>", join(items))


def _figure(entry: RequirementEntry, name: str) -> Markup:
    timeline = entry["timeline"]
    exchanges = timeline["exchanges"]
    if not exchanges:
        return NOTHING
    charts = join(
        html(
            '<div class="{}">{}</div>\n',
            size,
            chart(timeline, entry["evidence"], width=width, name=f"{name}-{size}"),
        )
        for size, width in _WIDTHS.items()
    )
    line = '<line class="line s{}" x1="0" y1="8" x2="20" y2="8"/>'
    kinds = {x["kind"] for x in exchanges}
    signs = [
        *(
            (html(line, place % SERIES), f"job {job}")
            for place, job in enumerate(jobs_of(exchanges))
        ),
        *((marker(kind, 10, 8), called) for kind, called in KINDS.items() if kind in kinds),
        (html('<circle class="ring" cx="10" cy="8" r="6.5"/>'), "proof"),
    ]
    keys = join(
        html(
            '<li><svg width="20" height="16" viewBox="0 0 20 16" aria-hidden="true">{}</svg> '
            "{}</li>",
            sign,
            text,
        )
        for sign, text in signs
    )
    omitted = timeline["omitted"]
    stateless = any(x["state"] is None for x in exchanges)
    return html(
        """<figure>
{}<ul class="key" aria-label="Key">{}</ul>
<figcaption>State of the jobs over time, from the first request on. {}\
The numbers are those of the exchanges below. Long pauses are drawn shorter than they were.{}\
</figcaption>
</figure>""",
        charts,
        keys,
        "“other” is an answer without a valid state. " if stateless else "",
        f" {plural(omitted, 'further exchange')} left out." if omitted else "",
    )


def _columns(*titles: str) -> Markup:
    cells = (html('<th role="columnheader" scope="col">{}</th>', title) for title in titles)
    return html('<thead role="rowgroup"><tr role="row">{}</tr></thead>', join(cells))


def _story(evidence: list[EvidenceEntry]) -> Markup:
    start = min(each["sent"] for each in evidence)
    rows = (_exchange(place, each, start) for place, each in enumerate(evidence, 1))
    return html(
        """<table role="table" class="story"><caption>Times count from the first request.</caption>\
{}<tbody role="rowgroup">
{}
</tbody></table>""",
        _columns("No.", "Sent", "Request", "Answer"),
        join(rows, lines=True),
    )


def _exchange(place: int, each: EvidenceEntry, start: float) -> Markup:
    return html(
        """<tr role="row" class="{}"><th role="rowheader" scope="row">{}{}</th>\
<td role="cell">{}</td>\
<td role="cell"><code>{}</code>{}</td>\
<td role="cell"><span class="answer">{}</span>{}</td></tr>""",
        "proves" if each["proves"] else "led",
        place,
        html(' <span class="proof">proof</span>') if each["proves"] else NOTHING,
        messages.duration(each["sent"] - start),
        each["asked"],
        _body(each["request"]),
        each["answer"],
        _body(each["body"]),
    )


def _body(body: str) -> Markup:
    if not body:
        return NOTHING
    return html("<details><summary>body</summary><pre>{}</pre></details>", body)


def _again(head: str, lines: list[str], name: str, *, after: str = "") -> Markup:
    if not lines:
        return NOTHING
    return html(
        """<h4 id="{0}">{1}</h4>
<div class="curl"><button type="button" hidden>Copy</button>\
<pre tabindex="0" role="region" aria-labelledby="{0}">{2}</pre></div>{3}""",
        name,
        head,
        "\n".join(lines),
        html("\n<p>{}</p>", after) if after else NOTHING,
    )


def _grouped(entries: Iterable[RequirementEntry]) -> dict[str, list[RequirementEntry]]:
    groups: dict[str, list[RequirementEntry]] = {}
    for entry in entries:
        groups.setdefault(entry["id"].partition(".")[0], []).append(entry)
    return groups


def _requirements(entries: list[RequirementEntry]) -> Markup:
    columns = _columns("Requirement", "Level", "Basis", "Outcome", "Why", "Source")
    tables = (
        html(
            """<table role="table" class="requirements" id="g-{}"><caption>{}</caption>\
{}<tbody role="rowgroup">
{}
</tbody></table>""",
            group,
            GROUPS.get(group, group),
            columns,
            join((_requirement(entry) for entry in members), lines=True),
        )
        for group, members in _grouped(entries).items()
    )
    return html(
        """<section aria-labelledby="requirements">
<h2 id="requirements">All requirements</h2>
{}
</section>""",
        join(tables, lines=True),
    )


def _source(entry: RequirementEntry) -> Markup:
    text, url = entry["source"], entry["source_url"]
    return html('<a href="{}">{}</a>', url, _prose(text)) if url else _prose(text)


def _requirement(entry: RequirementEntry) -> Markup:
    name = escape(entry["id"])
    if entry["evidence"]:
        name = html('<a href="#{}">{}</a>', _name(entry["id"]), name)
    return html(
        """<tr role="row"><th role="rowheader" scope="row"><span class="id">{}</span> \
<span class="promise">{}</span></th>\
<td role="cell">{}</td>\
<td role="cell">{}</td>\
<td role="cell">{}</td>\
<td role="cell" class="why">{}</td>\
<td role="cell" class="source">{}</td></tr>""",
        name,
        _prose(entry["text"]),
        entry["level"],
        entry["basis"],
        _badge(entry["outcome"]),
        _prose(why(entry)),
        _source(entry),
    )


def _footer(document: Document) -> Markup:
    tool = document["tool"]
    return html(
        "<footer><p>{} {}. A requirement is <em>stated</em> or <em>shown</em> by the "
        "documentation, declared by the vendor's API <em>reference</em>, or <em>assumed</em> of "
        "any sensible server.</p></footer>",
        tool["name"],
        tool["version"],
    )
