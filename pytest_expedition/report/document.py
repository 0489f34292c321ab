"""The conformance report as a document: what `schemas/report.json` describes."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import created_id
from pytest_expedition.oracle.rules import Violation
from pytest_expedition.oracle.rules.base import MOST_OTHERS
from pytest_expedition.oracle.verdict import conclude
from pytest_expedition.protocol.redaction import Redaction
from pytest_expedition.protocol.requirements import CATALOGUE, CLIENT_CATALOGUE
from pytest_expedition.report import messages

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.oracle.record import RunRecord
    from pytest_expedition.oracle.verdict import Outcome, Result
    from pytest_expedition.protocol.requirements import Requirement
    from pytest_expedition.report.entries import (
        Document,
        EvidenceEntry,
        RequirementEntry,
        RunEntry,
        TargetEntry,
        TimelineEntry,
        WaiverEntry,
    )

SHORTEST_SLEEP: Final = 0.1
"""The shortest pause between two requests, in seconds, that their `curl` lines tell."""
BODY_SHOWN = 2000
"""How many characters of a body the report keeps."""
TIMELINE_LENGTH: Final = 100
"""How many exchanges a timeline has at most, besides those of the story."""

_NO_TARGET: Final[TargetEntry] = {
    "url": "",
    "dialect": None,
    "embedded": False,
    "verified": True,
    "proxy": "",
}
_NEVER: Final = "1970-01-01T00:00:00.000+00:00"
"""The start of a run that did not begin."""


def document_of(record: RunRecord) -> Document:
    """Return the report on a run."""
    entries = [requirement_entry(record, result) for result in record.results]
    return assemble([run_entry(record)], entries)


def run_entry(record: RunRecord) -> RunEntry:
    """Return what the report says of the run as a whole."""
    return {
        "target": {
            "url": record.url,
            "dialect": record.dialect,
            "embedded": record.embedded,
            "verified": record.verify is not False,
            "proxy": record.proxy,
        },
        "started": record.started.isoformat(timespec="milliseconds"),
        "seconds": round(record.seconds, 3),
        "requests": record.requests,
        "jobs": record.jobs,
        "longest_job": round(record.longest_job, 3),
        "unanswered": record.unanswered.total(),
        "gateway_answers": {
            str(status): count
            for status, count in sorted(record.unanswered.items(), key=str)
            if status is not None
        },
        "refused_creations": {
            str(status): count for status, count in sorted(record.refused_creations.items())
        },
        "left_behind": list(record.left_behind),
        "unconfirmed_creations": record.unconfirmed_creations,
        "unconfirmed_ids": [
            Redaction(record.secrets).prose(messages.cut(each)) for each in record.unconfirmed_ids
        ],
        "situations": [
            {
                "id": each.situation.id,
                "text": each.situation.text,
                "phase": each.situation.phase,
                "request": each.situation.request,
                "company": each.situation.company,
                "exercised": each.exercised,
                "reason": each.reason,
            }
            for each in record.situations
        ],
        "reason": Redaction(record.secrets).prose(record.reason),
    }


def requirement_entry(record: RunRecord, result: Result) -> RequirementEntry:
    """Return what the report says of one requirement."""
    redaction = Redaction(record.secrets)
    story = _story(result)
    proof = () if result.violation is None else result.violation.proof
    shown = replace(result, violation=_without_secrets(result.violation, redaction))
    reason = redaction.prose(messages.reason(shown, record.reason))
    entry = outcome_entry(result.requirement, result.outcome, reason)
    entry["follows_from"] = result.follows_from
    entry["waiver"] = _waiver(result, redaction)
    entry["evidence"] = evidence(story, proof, redaction)
    entry["timeline"] = timeline(_jobs_of(story, result), story, redaction)
    entry["curl"] = [
        messages.printable(redaction.prose(line), keep="\n")
        for line in _curl(story, record, result)
    ]
    name = result.requirement.id
    if result.violation is not None and name in record.plans:
        entry["plan"] = record.plans[name]
    return entry


def broken_down(name: str, reason: str) -> RequirementEntry:
    """Return the entry of a requirement that the suite could not judge."""
    return outcome_entry(CATALOGUE[name], "error", messages.printable(reason))


def _without_secrets(violation: Violation | None, redaction: Redaction) -> Violation | None:
    """Return a violation whose facts may be shown."""
    if violation is None:
        return None
    facts = {
        name: redaction.prose(value) if name in messages.PLAIN else redaction.fact(value)
        for name, value in violation.facts.items()
    }
    return Violation(violation.fault, *violation.proof, **facts)


def _waiver(result: Result, redaction: Redaction) -> WaiverEntry | None:
    if result.waiver is None:
        return None
    return {
        "reason": redaction.prose(result.waiver.reason),
        "until": result.waiver.until.isoformat(),
        "state": result.waiver_state,
    }


def outcome_entry(requirement: Requirement, outcome: Outcome, reason: str) -> RequirementEntry:
    """Return the entry of a requirement, without evidence."""
    return {
        "id": requirement.id,
        "level": requirement.level,
        "basis": requirement.basis,
        "text": requirement.text,
        "source": requirement.source.text,
        "source_url": requirement.source.url,
        "outcome": outcome,
        "reason": reason,
        "follows_from": "",
        "waiver": None,
        "evidence": [],
        "timeline": {"exchanges": [], "omitted": 0},
        "curl": [],
    }


def assemble(
    runs: Sequence[RunEntry],
    requirements: Iterable[RequirementEntry],
    *,
    not_selected: Collection[str] = (),
) -> Document:
    """Put a report together from runs and what was judged in them.

    ``not_selected`` are the requirements that no test of the session is about.
    """
    by_id = {entry["id"]: entry for entry in requirements}
    entries = [by_id[name] for name in (*CATALOGUE, *CLIENT_CATALOGUE) if name in by_id]
    for place, entry in enumerate(entries):
        if entry["follows_from"] not in by_id:  # the report does not have the cause
            entries[place] = entry.copy()
            entries[place]["follows_from"] = ""
    reason = next((run["reason"] for run in runs if run["reason"]), "")
    first = min(runs, key=lambda run: run["started"]) if runs else None
    return {
        "tool": {"name": "pytest-expedition", "version": version("pytest-expedition")},
        "target": _NO_TARGET if first is None else first["target"],
        "started": _NEVER if first is None else first["started"],
        "seconds": _span(runs),
        "requests": sum(run["requests"] for run in runs),
        "jobs": sum(run["jobs"] for run in runs),
        "longest_job": max((run["longest_job"] for run in runs), default=0.0),
        "unanswered": sum(run["unanswered"] for run in runs),
        "gateway_answers": dict(sum((Counter(run["gateway_answers"]) for run in runs), Counter())),
        "refused_creations": dict(
            sum((Counter(run["refused_creations"]) for run in runs), Counter())
        ),
        "left_behind": [job_id for run in runs for job_id in run["left_behind"]],
        "unconfirmed_creations": sum(run["unconfirmed_creations"] for run in runs),
        "unconfirmed_ids": [each for run in runs for each in run["unconfirmed_ids"]],
        "situations": next((run["situations"] for run in runs if run["situations"]), []),
        "verdict": conclude(
            ((entry["level"], entry["outcome"]) for entry in entries),
            broke=bool(reason),
            complete=not not_selected,
        ),
        "reason": reason,
        "not_selected": list(not_selected),
        "requirements": entries,
    }


def _span(runs: Sequence[RunEntry]) -> float:
    """Return the seconds from the start of the first run to the end of the last."""
    begun = [datetime.fromisoformat(run["started"]).timestamp() for run in runs]
    ended = [start + run["seconds"] for start, run in zip(begun, runs, strict=True)]
    return round(max(ended) - min(begun), 3) if runs else 0.0


def _story(result: Result) -> list[Exchange]:
    """Return the exchanges that prove a violation, and the creations and cancels of their jobs."""
    if result.violation is None:
        return []
    proof, history = result.violation.proof, result.violation.history
    end = max(exchange.sent for exchange in proof)
    context = _meanwhile(result.violation)
    others = {exchange.job_id for exchange in context if exchange.job_id is not None}
    for job_id in result.violation.jobs | others:
        context += [x for x in history.creations_by_id.get(job_id, ()) if x.sent < end]
        job = history.jobs.get(job_id)
        context += [cancel for cancel in job.attempts if cancel.sent < end] if job else ()
    return sorted({*context, *proof}, key=lambda exchange: exchange.sent)


def _meanwhile(violation: Violation) -> list[Exchange]:
    """Return creations and cancels of other jobs that may have done what a proof shows at last."""
    if violation.last_change is None:
        return []
    earlier, later = violation.last_change
    few = (x for x in violation.history.exchanges if x.kind in {"create", "cancel"})
    others = (x for x in few if x.received > earlier.sent and x.sent < later.received)
    return [x for x in others if _about(x) != _about(later) and not x.probe][-MOST_OTHERS:]


def _jobs_of(story: list[Exchange], result: Result) -> Iterable[Exchange]:
    """Return the answers about the jobs of a story, and all their cancels."""
    if result.violation is None:
        return ()
    history = result.violation.history
    ids = {_about(exchange) for exchange in story} & history.jobs.keys()
    about = (x for x in history.exchanges if _about(x) in ids)
    return (x for x in about if x.kind == "cancel" or (x.answered and not x.probe))


def timeline(
    exchanges: Iterable[Exchange], story: list[Exchange], redaction: Redaction
) -> TimelineEntry:
    """Return the answers about the jobs of a story, for a chart of their states."""
    others = set(exchanges).difference(story)
    ordered = sorted(others, key=lambda exchange: exchange.sent)
    step = -(-len(ordered) // TIMELINE_LENGTH) or 1
    kept = sorted([*story, *ordered[::step]], key=lambda exchange: exchange.sent)
    places = {exchange: place for place, exchange in enumerate(story)}
    return {
        "exchanges": [
            {
                "evidence": places.get(exchange),
                "kind": exchange.kind,
                "job": _about(exchange),
                "sent": round(exchange.sent, 6),
                "received": None if exchange.status is None else round(exchange.received, 6),
                "state": exchange.state,
                "answer": messages.answer(without_secrets(exchange, redaction)),
            }
            for exchange in kept
        ],
        "omitted": len(others) + len(story) - len(kept),
    }


def _about(exchange: Exchange) -> int | None:
    """Return the id of the job that an exchange is about: asked for, or created."""
    return exchange.job_id if exchange.job_id is not None else created_id(exchange)


def evidence(
    story: Iterable[Exchange], proof: Collection[Exchange], redaction: Redaction
) -> list[EvidenceEntry]:
    """Return the exchanges of a story, and which of them prove the violation."""
    return [_told(exchange, redaction, proves=exchange in proof) for exchange in story]


def _told(exchange: Exchange, redaction: Redaction, *, proves: bool) -> EvidenceEntry:
    exchange = without_secrets(exchange, redaction)
    return {
        "proves": proves,
        "sent": round(exchange.sent, 6),
        "received": None if exchange.status is None else round(exchange.received, 6),
        "method": exchange.method,
        "path": exchange.path,
        "request": exchange.request_body,
        "status": exchange.status,
        "body": exchange.body[: 4 * BODY_SHOWN].decode("utf-8", "replace")[:BODY_SHOWN],
        "asked": messages.asked(exchange),
        "answer": messages.answer(exchange),
        "summary": messages.summary(exchange),
    }


def without_secrets(exchange: Exchange, redaction: Redaction) -> Exchange:
    """Return an exchange as it may be shown."""
    return replace(
        exchange,
        path=redaction.path(exchange.path),
        body=redaction.body(exchange.body),
        request_body=redaction.text_body(exchange.request_body),
        lost=redaction.prose(exchange.lost),
        unreadable=redaction.prose(exchange.unreadable),
        location=redaction.prose(exchange.location),
    )


def _curl(story: list[Exchange], record: RunRecord, result: Result) -> list[str]:
    """Return the commands that send the proving requests again; jobs get names, not numbers."""
    server = "" if result.violation is None else result.violation.history.server
    url = server or record.url
    names: dict[int, str] = {}
    lines = []
    for exchange, following in zip_longest(story, story[1:]):
        command = _command(exchange, url, _tls_options(record, url), names)
        at_once = following is not None and not exchange.before(following)
        lines.append(command + (" &" if at_once else ""))
        pause = following.sent - exchange.received if following is not None else 0.0
        told = exchange.answer.job_id
        if exchange.kind == "create" and type(told) is int and told not in names:
            names[told] = f"JOB{len(names) + 1}" if names else "JOB"
            lines.append(f"{names[told]}=…  # the job id in the answer")
        if pause >= SHORTEST_SLEEP:
            lines.append(f"sleep {pause:.1f}".removesuffix(".0"))
    at_once = any(line.endswith(" &") for line in lines)
    if at_once or any(line.startswith("sleep ") for line in lines):
        tries = " It may take several tries." if at_once else ""
        lines.insert(0, f"# Only the requests above, with the pauses between them.{tries}")
    return lines


def _tls_options(record: RunRecord, url: str) -> list[str]:
    """Return the options of curl that verify the server, and show the client's certificate."""
    if not url.startswith("https:"):
        return []
    files = {"--cert": record.cert, "--key": record.cert_key}
    if isinstance(record.verify, str):
        files["--cacert"] = record.verify
    options = ["-k"] if record.verify is False else []
    for option, file in files.items():
        options += [option, shlex.quote(file)] if file else []
    return options


def _with_variable(url: str, path: str, job_id: str, name: str) -> str:
    """Quote a URL for a shell, with a variable in place of the job's id in its path."""
    first, *others = re.split(rf"(?<=/){job_id}(?=[/?]|$)", path, maxsplit=1)
    parts = [url + first, *others]
    if _SPECIAL.isdisjoint(url + path):
        return f"${name}".join(parts).join('""')
    return f'"${name}"'.join(shlex.quote(part) for part in parts)


_SPECIAL: Final = frozenset('"$`\\!\n')
"""What a shell does not take literally between double quotes."""


def _command(exchange: Exchange, url: str, tls: list[str], names: dict[int, str]) -> str:
    parts = ["curl", "-sS", *tls]
    if exchange.method != "GET":
        parts += ["-X", shlex.quote(exchange.method)]
    if exchange.probe == "wrong-key":
        parts += ["-H", '"Authorization: Bearer not-a-key"']
    elif exchange.probe != "no-key":
        parts += ["-H", '"Authorization: Bearer $EXPEDITION_API_KEY"']
    accept = "" if exchange.probe == "no-accept" else " application/json"
    parts += ["-H", f"'Accept:{accept}'"]
    if exchange.request_body:
        if exchange.request_type and "form-urlencoded" not in exchange.request_type:
            parts += ["-H", shlex.quote(f"Content-Type: {exchange.request_type}")]
        parts += ["--data", shlex.quote(exchange.request_body)]
    name = names.get(exchange.job_id) if exchange.job_id is not None else None
    if name is None:
        parts.append(shlex.quote(url + exchange.path))
    else:
        parts.append(_with_variable(url, exchange.path, str(exchange.job_id), name))
    return " ".join(parts)
