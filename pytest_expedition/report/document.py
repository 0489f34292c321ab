"""The conformance report as a document: what `schemas/report.json` describes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.oracle.history import created_id
from pytest_expedition.oracle.verdict import conclude
from pytest_expedition.protocol.requirements import CATALOGUE, CLIENT_CATALOGUE
from pytest_expedition.report import words
from pytest_expedition.suite.plan import Replay, as_document

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.oracle.verdict import Outcome, Result
    from pytest_expedition.protocol.requirements import Requirement
    from pytest_expedition.suite.share import Conformance
    from pytest_expedition.suite.target import Target

Document = dict[str, Any]

STRUCK_OUT = "***"
BODY_SHOWN = 2000
"""Characters of a body that the report keeps."""
TIMELINE_LENGTH: Final = 100
"""Exchanges of a timeline, besides those of the story, at the most."""

_NO_STORY: Document = {
    "waiver": None,
    "evidence": [],
    "timeline": {"exchanges": [], "omitted": 0},
    "curl": [],
}

_NO_RUN: Document = {
    "target": {"url": "", "dialect": None, "embedded": False, "verified": True},
    "started": "1970-01-01T00:00:00.000+00:00",
}


def run_entry(conformance: Conformance) -> Document:
    """Return what the report says of the run as a whole."""
    return {
        "target": {
            "url": conformance.target.url,
            "dialect": conformance.dialect,
            "embedded": not conformance.target.clock.waits,
            "verified": conformance.target.verify is not False,
        },
        "started": conformance.started.isoformat(timespec="milliseconds"),
        "seconds": round(conformance.seconds, 3),
        "requests": conformance.requests,
        "jobs": conformance.jobs,
        "unanswered": conformance.unanswered,
        "left_behind": list(conformance.left_behind),
        "perhaps_created": conformance.perhaps_created,
        "reason": Strike(conformance.secrets).out(conformance.reason),
    }


def requirement_entry(conformance: Conformance, result: Result) -> Document:
    """Return what the report says of one requirement."""
    strike = Strike(conformance.secrets)
    story = _story(result)
    proof = () if result.violation is None else result.violation.proof
    reason = strike.out(words.reason(result, conformance.reason))
    return {
        **_entry(result.requirement, result.outcome, reason),
        "waiver": _waiver(result, strike),
        "evidence": evidence(story, proof, strike),
        "timeline": timeline(_jobs_of(story, result), story, strike),
        "curl": [strike.out(line) for line in _curl(story, conformance.target)],
        **_plan(conformance, result),
    }


def _plan(conformance: Conformance, result: Result) -> Document:
    """Return the plan that showed a requirement broken, if one did."""
    name = result.requirement.id
    if result.violation is None or name not in conformance.plans:
        return {}
    return {"plan": as_document(Replay(requirement=name, plan=conformance.plans[name]))}


def broken_down(name: str, reason: str) -> Document:
    """Return the entry of a requirement that the suite itself failed to judge."""
    return {
        **_entry(CATALOGUE[name], "error", words.printable(reason)),
        **_NO_STORY,
    }


def promise_entry(promise: Requirement, outcome: Outcome, reason: str, **story: Any) -> Document:
    """Return what the report says of a client's promise; ``story`` is there if it is broken."""
    return {**_entry(promise, outcome, reason), **_NO_STORY, **story}


def is_failure(entry: Document, *, strict: bool) -> bool:
    """Whether an entry fails its run; ``strict``: also if it is a SHOULD that is broken.

    A waiver must be needed, and must not have expired.
    """
    if entry["outcome"] == "fail" and (entry["level"] == "MUST" or strict):
        return True
    return entry["outcome"] == "error" or has_stale_waiver(entry)


def has_stale_waiver(entry: Document) -> bool:
    """Whether an entry has a waiver that is not needed or has expired."""
    return entry["waiver"] is not None and entry["waiver"]["state"] in {"not-needed", "expired"}


def _waiver(result: Result, strike: Strike) -> Document | None:
    if result.waiver is None:
        return None
    return {
        "reason": strike.out(result.waiver.reason),
        "until": result.waiver.until.isoformat(),
        "state": result.waiver_state,
    }


def _entry(requirement: Requirement, outcome: Outcome, reason: str) -> Document:
    return {
        "id": requirement.id,
        "level": requirement.level,
        "basis": requirement.basis,
        "text": requirement.text,
        "source": requirement.source,
        "outcome": outcome,
        "reason": reason,
    }


def assemble(runs: list[Document], requirements: Iterable[Document]) -> Document:
    """Put a report together from the runs of all workers and what was judged in them."""
    by_id = {entry["id"]: entry for entry in requirements}
    entries = [by_id[name] for name in (*CATALOGUE, *CLIENT_CATALOGUE) if name in by_id]
    reason = next((run["reason"] for run in runs if run["reason"]), "")
    first = min(runs, key=lambda run: run["started"]) if runs else _NO_RUN
    return {
        "tool": {"name": "pytest-expedition", "version": version("pytest-expedition")},
        "target": first["target"],
        "started": first["started"],
        "seconds": _span(runs),
        "requests": sum(run["requests"] for run in runs),
        "jobs": sum(run["jobs"] for run in runs),
        "unanswered": sum(run["unanswered"] for run in runs),
        "left_behind": [job_id for run in runs for job_id in run["left_behind"]],
        "perhaps_created": sum(run["perhaps_created"] for run in runs),
        "verdict": conclude(
            ((entry["level"], entry["outcome"]) for entry in entries), broke=bool(reason)
        ),
        "reason": reason,
        "requirements": entries,
    }


def _span(runs: list[Document]) -> float:
    """Return the seconds from the start of the first run to the end of the last."""
    begun = [datetime.fromisoformat(run["started"]).timestamp() for run in runs]
    ended = [start + run["seconds"] for start, run in zip(begun, runs, strict=True)]
    return round(max(ended) - min(begun), 3) if runs else 0.0


@dataclass(frozen=True)
class Strike:
    """Strikes secrets out of texts."""

    secrets: tuple[str, ...] = ()

    def out(self, text: str) -> str:
        """Return a text without them."""
        for secret in self.secrets:
            text = text.replace(secret, STRUCK_OUT)
        return text


def _story(result: Result) -> list[Exchange]:
    """Return the proving exchanges, and how it came to them: their jobs' creations and cancels."""
    if result.violation is None:
        return []
    proof, history = result.violation.proof, result.violation.history
    end = max(exchange.sent for exchange in proof)
    context: list[Exchange] = []
    for job_id in {exchange.job_id for exchange in proof if exchange.job_id is not None}:
        context += history.creations_by_id.get(job_id, ())
        job = history.jobs.get(job_id)
        context += [cancel for cancel in job.attempts if cancel.sent < end] if job else ()
    return sorted({*context, *proof}, key=lambda exchange: exchange.sent)


def _jobs_of(story: list[Exchange], result: Result) -> Iterable[Exchange]:
    """Return the answers about the jobs of a story, and all their cancels."""
    if result.violation is None:
        return ()
    history = result.violation.history
    ids = {_about(exchange) for exchange in story} & history.jobs.keys()
    about = (x for x in history.exchanges if _about(x) in ids)
    return (x for x in about if x.kind == "cancel" or (x.answered and not x.probe))


def timeline(exchanges: Iterable[Exchange], story: list[Exchange], strike: Strike) -> Document:
    """Return the life of the story's jobs in short: what a chart of their states needs."""
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
                "answer": strike.out(words.answer(exchange)),
            }
            for exchange in kept
        ],
        "omitted": len(others) + len(story) - len(kept),
    }


def _about(exchange: Exchange) -> int | None:
    """Return the id of the job that an exchange is about: asked for, or created."""
    return exchange.job_id if exchange.job_id is not None else created_id(exchange)


def evidence(
    story: Iterable[Exchange], proof: Collection[Exchange], strike: Strike
) -> list[Document]:
    """Return the exchanges that tell how something was broken, and which of them prove it."""
    return [_told(exchange, strike, proves=exchange in proof) for exchange in story]


def _told(exchange: Exchange, strike: Strike, *, proves: bool) -> Document:
    body = exchange.body[: 4 * BODY_SHOWN].decode("utf-8", "replace")
    return {
        "proves": proves,
        "sent": round(exchange.sent, 6),
        "received": None if exchange.status is None else round(exchange.received, 6),
        "method": exchange.method,
        "path": strike.out(exchange.path),
        "request": strike.out(exchange.request_body),
        "status": exchange.status,
        "body": strike.out(body)[:BODY_SHOWN],
        "asked": strike.out(words.asked(exchange)),
        "answer": strike.out(words.answer(exchange)),
        "summary": strike.out(words.summary(exchange)),
    }


def _curl(story: list[Exchange], target: Target) -> list[str]:
    """Return the commands that send the proving requests again; jobs get names, not numbers."""
    names: dict[int, str] = {}
    lines = []
    for exchange, following in zip_longest(story, story[1:]):
        command = _command(exchange, target, names)
        at_once = following is not None and not exchange.before(following)
        lines.append(command + (" &" if at_once else ""))
        pause = following.sent - exchange.received if following is not None else 0.0
        told = exchange.answer.job_id
        if exchange.kind == "create" and type(told) is int and told not in names:
            names[told] = f"JOB{len(names) + 1}" if names else "JOB"
            lines.append(f"{names[told]}=…  # the job id in the answer")
        if pause >= 1:
            lines.append(f"sleep {pause:.0f}")
    return lines


def _command(exchange: Exchange, target: Target, names: dict[int, str]) -> str:
    parts = ["curl", "-sS"]
    if target.verify is not True and target.url.startswith("https:"):
        parts += ["-k"] if target.verify is False else ["--cacert", shlex.quote(target.verify)]
    if exchange.method != "GET":
        parts += ["-X", exchange.method]
    if exchange.probe == "wrong-key":
        parts += ["-H", '"Authorization: Bearer not-a-key"']
    elif exchange.probe != "no-key":
        parts += ["-H", '"Authorization: Bearer $EXPEDITION_API_KEY"']
    if exchange.request_body:
        if exchange.request_type and "form-urlencoded" not in exchange.request_type:
            parts += ["-H", shlex.quote(f"Content-Type: {exchange.request_type}")]
        parts += ["--data", shlex.quote(exchange.request_body)]
    name = names.get(exchange.job_id) if exchange.job_id is not None else None
    if name is None:
        parts.append(shlex.quote(target.url + exchange.path))
    else:
        path = exchange.path.replace(str(exchange.job_id), "\0")
        parts.append(shlex.quote(target.url + path).strip("'").replace("\0", f"${name}").join('""'))
    return " ".join(parts)
