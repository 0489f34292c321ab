"""Tells what a client did in a scenario, and what it did wrong."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypedDict

from pytest_expedition.clients.catalogue import CANCELS_AFTER
from pytest_expedition.fake.simulation import FIRST_JOB_ID
from pytest_expedition.oracle.record import RunRecord
from pytest_expedition.protocol.envelope import spelled
from pytest_expedition.protocol.redaction import Redaction
from pytest_expedition.protocol.requirements import CLIENT_CATALOGUE
from pytest_expedition.report.document import evidence, outcome_entry, run_entry, timeline
from pytest_expedition.report.messages import answer, asked, cut, plural, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from pytest_expedition.clients.catalogue import Scenario
    from pytest_expedition.clients.transcript import Said, Step, Transcript
    from pytest_expedition.fake.situation import Situation
    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.oracle.rules import Violation
    from pytest_expedition.oracle.verdict import Outcome, Result
    from pytest_expedition.protocol.requirements import Requirement
    from pytest_expedition.report.entries import (
        EvidenceEntry,
        RequirementEntry,
        RunEntry,
        TimelineEntry,
    )

LAST_STEPS: Final = 12
"""How many of the last requests are told."""

OF_CANCELS: Final = frozenset(
    {"client.trusts-the-state", "client.does-not-insist", "client.cancels-when-told"}
)
"""The promises that can be tested only if the client can be told to cancel."""

NOT_TOLD_TO_CANCEL: Final = (
    "the client was not told to cancel: needs check(…, cancel=…); for a program "
    "run(…, cancel_signal=…) or --cancel-signal"
)

_ENDED: Final = {"finished": "finished", "failed": "failed", "cancelled": "was cancelled"}
_UNNAMED: Final = (
    " (If that is how it tells that a job {ended}, say so: check(…, {end}=TheException).)"
)


def client_fault(violation: Violation) -> str:
    """Say what the client did."""
    last = violation.proof[-1] if violation.proof else None
    facts: dict[str, Any] = {
        "asked": "" if last is None else f"`{asked(last)}`",
        "answer": "" if last is None else answer(last),
        "was_answered": "" if last is None else _was_answered(last),
        **violation.facts,
    }
    facts |= {"how": cut(str(facts.get("how", ""))), "end": _ENDED.get(facts.get("end", ""), "")}
    text = violation.fault.sentence.format_map(facts)
    end = violation.facts.get("end")
    if end in {"failed", "cancelled"} and str(violation.facts.get("how")).startswith("raised"):
        text += _UNNAMED.format(ended=_ENDED[end], end=end)
    return printable(text)


def _was_answered(exchange: Exchange) -> str:
    """Tell an answer after its request: `was answered with HTTP 503`, `got no answer: …`."""
    return f"{'got' if exchange.status is None else 'was answered with'} {answer(exchange)}"


def said(how: Said) -> str:
    """Tell what the client said of a job."""
    if "endless" in how.words and not how.how:
        return "did not end by itself, and was stopped"
    return printable(cut(how.how)) if how.how else "did not say how the job ended"


def story(transcript: Transcript) -> list[str]:
    """Tell the end of what a client did: its last requests, and what it said."""
    said_of_each = [f"the client {said(call.said)}" for call in transcript.calls]
    return steps_told(transcript) + said_of_each


def steps_told(transcript: Transcript) -> list[str]:
    """Tell the last requests of a client."""
    alike = [list(group) for _, group in itertools.groupby(transcript.steps, _told)]
    lines = [line for group in alike[-LAST_STEPS:] for line in _group_lines(group, transcript)]
    more = sum(map(len, alike[:-LAST_STEPS]))
    if more:
        lines.insert(0, f"… {plural(more, 'request')} before")
    return lines


def _told(step: Step) -> str:
    return f"{asked(step.exchange)} → {answer(step.exchange)}"


def _group_lines(group: list[Step], transcript: Transcript) -> list[str]:
    """Tell requests that were answered alike: the first and the last of them."""

    def line(step: Step) -> str:
        """Tell a request in one line: `15 s  GET job/status/1619 → state 0.25`."""
        return f"{round(transcript.seconds(step), 2):7g} s  {_told(step)}"

    if len(group) < 4:
        return [line(step) for step in group]
    between = f"… {len(group) - 2} more of these"
    return [line(group[0]), between.rjust(len(between) + 11), line(group[-1])]


def set_up(situation: Situation) -> list[str]:
    """Return the lines of Python that set the fake up for a situation.

    A remark says what the client does besides.
    """
    names = "Outage, Situation" if situation.outages else "Situation"
    return [
        f"from pytest_expedition import {names}",
        f"situation = {situation!r}",
        "expedition_server.play(situation)"
        + (f"  # the client cancels after {CANCELS_AFTER:g} s" if situation.client_cancels else ""),
    ]


def client_failure(scenario: Scenario, transcript: Transcript, broken: Iterable[Result]) -> str:
    """Tell what a client did wrong in a scenario, and how to set the fake up that way.

    The first line tells what matters most: pytest shows its beginning in its summary.
    """
    by_level = sorted(broken, key=lambda result: result.requirement.level)  # MUST before SHOULD
    lines = [f"{result.requirement.id}: {_seen(result)}" for result in by_level]
    lines += ["", f"scenario {scenario.id}: {scenario.text}", f"A good client: {scenario.good}"]
    lines += [_promise(result.requirement) for result in by_level]
    lines += ["", "What led to it:"]
    lines += [f"  {line}" for line in (*story(transcript), *pauses(transcript))]
    if transcript.pace != 1:
        lines.append(f"  {pace_line(transcript.pace)}")
    lines += ["", "To set the fake up that way:"]
    lines += [f"  {line}" for line in set_up(scenario.situation)]
    return "\n".join(lines)


def introduction(scenario: Scenario, *, speed: float) -> list[str]:
    """Tell a person in what scenario a client is put by hand."""
    situation = scenario.situation
    task = plural(situation.jobs, "job") + (" and cancel it" if situation.client_cancels else "")
    return [
        f"scenario {scenario.id}: {scenario.text}",
        f"A good client: {scenario.good}",
        f"Let it run {task}; then press Ctrl-C.",
        pace_line(speed),
    ]


def pace_line(pace: float) -> str:
    """Say how fast the time of a scenario runs."""
    return f"A second is {pace:.3g} of the scenario's."


def by_hand(transcript: Transcript, results: Iterable[Result]) -> list[str]:
    """Tell what a client did in a scenario in which it was put by hand."""
    told = [
        line
        for result in results
        if result.outcome in {"fail", "error"}
        for line in promise_lines(result)
    ]
    if not transcript.steps:
        return ["No client sent a request."]
    ends = [
        f"Job {run.job_id or '(unknown)'} "
        + (
            f"{_ENDED[run.end]}: check that the client said so."
            if run.end
            else "had not ended when the client last asked: check what it said."
        )
        for run in transcript.runs
    ]
    return [
        "What the client did:",
        *(f"  {line}" for line in steps_told(transcript)),
        *ends,
        *pauses(transcript),
        "",
        *(told or ["It broke no promise, as far as its requests show."]),
    ]


class BrokenPromise(TypedDict):
    """How a client broke a promise in one scenario."""

    reason: str
    evidence: list[EvidenceEntry]
    timeline: TimelineEntry
    python: list[str]


class TrialFound(TypedDict):
    """What a client did in one scenario; it passes between processes (pytest-xdist).

    ``inconclusive`` are the promises that were exercised without a result. ``stopped`` says how the
    client was stopped, if it did not end by itself.
    """

    scenario: str
    run: RunEntry
    told_to_cancel: bool
    stopped: str
    outcomes: dict[str, Outcome]
    inconclusive: list[str]
    broken: dict[str, BrokenPromise]


def scenario_entry(
    scenario: Scenario,
    transcript: Transcript,
    results: Sequence[Result],
    *,
    url: str,
    started: datetime,
    seconds: float,
) -> TrialFound:
    """Return what the report needs to know of a client in one scenario."""
    return {
        "scenario": scenario.id,
        "run": run_entry(
            RunRecord(
                url=url,
                embedded=True,
                dialect=None,
                results=(),
                started=started,
                seconds=seconds,
                requests=len(transcript.steps),
                jobs=sum(step.created is not None for step in transcript.steps),
                unanswered=Counter({None: sum(step.outage for step in transcript.steps)}),
            )
        ),
        "told_to_cancel": transcript.told_to_cancel,
        "stopped": next(
            (said(call.said) for call in transcript.calls if "endless" in call.said.words), ""
        ),
        "outcomes": {result.requirement.id: result.outcome for result in results},
        "inconclusive": [result.requirement.id for result in results if result.inconclusive],
        "broken": {
            result.requirement.id: _broken(scenario, transcript, result.violation)
            for result in results
            if result.violation is not None
        },
    }


def _broken(scenario: Scenario, transcript: Transcript, violation: Violation) -> BrokenPromise:
    """Tell how a promise was broken, in the client's time from its first request on."""
    by_the_clock = {}
    for step in transcript.steps:
        at = transcript.seconds(step)
        by_the_clock[step.exchange] = replace(step.exchange, sent=at, received=at)
    led = [step.exchange for step in transcript.steps if step.exchange.kind in {"create", "cancel"}]
    shown = [run.end_shown.exchange for run in transcript.runs if run.end_shown]
    last = [run.last.exchange for run in transcript.runs if run.last]
    wanted = {*violation.proof, *led[:LAST_STEPS], *shown, *last}
    told = [again for exchange, again in by_the_clock.items() if exchange in wanted]
    proof = {by_the_clock[exchange] for exchange in violation.proof}
    return {
        "reason": client_fault(violation),
        "python": set_up(scenario.situation),
        "evidence": evidence(told, proof, Redaction()),
        "timeline": timeline(by_the_clock.values(), told, Redaction()),
    }


def promise_entries(runs: Sequence[TrialFound]) -> Iterator[RequirementEntry]:
    """Return what the report says of each promise, over all scenarios that were tried."""
    for promise in CLIENT_CATALOGUE.values():
        by_outcome: dict[Outcome, list[TrialFound]] = {}
        for run in runs:
            outcome = run["outcomes"].get(promise.id, "inconclusive")
            by_outcome.setdefault(outcome, []).append(run)
        if (
            promise.id in OF_CANCELS
            and set(by_outcome) == {"inconclusive"}
            and not any(run["told_to_cancel"] for run in runs)
        ):
            yield outcome_entry(promise, "not-tested", NOT_TOLD_TO_CANCEL)
            continue
        decisive: tuple[Outcome, ...] = ("error", "fail", "pass", "inconclusive")
        outcome = next(each for each in decisive if each in by_outcome)
        scenarios = list(dict.fromkeys(run["scenario"] for run in by_outcome[outcome]))
        broken: BrokenPromise | None = None
        if outcome == "pass":
            reason = f"kept in {plural(len(scenarios), 'scenario')}"
        elif outcome == "inconclusive":
            inconclusive = [run for run in by_outcome[outcome] if promise.id in run["inconclusive"]]
            reason = f"not exercised: {promise.unexercised}"
            if inconclusive:
                names = cut(", ".join(dict.fromkeys(run["scenario"] for run in inconclusive)))
                stopped = next((run["stopped"] for run in inconclusive if run["stopped"]), "")
                end = "the client ended before the result showed"
                if stopped:
                    end = f"before the result showed, the client {stopped}"
                reason = f"exercised in {names}, but {end}"
        elif outcome == "error":
            reason = f"the rule crashed in {cut(', '.join(scenarios))}"
        else:
            found = [run["broken"][promise.id] for run in by_outcome[outcome]]
            broken = min(found, key=lambda each: len(each["evidence"]))
            reason = f"in {cut(', '.join(scenarios))}: {broken['reason']}"
        entry = outcome_entry(promise, outcome, reason)
        if broken is not None:
            entry["evidence"] = broken["evidence"]
            entry["timeline"] = broken["timeline"]
            entry["python"] = broken["python"]
        yield entry


def promise_lines(result: Result) -> list[str]:
    """Tell a broken promise, and how it was broken."""
    return [_promise(result.requirement), f"  {_seen(result)}"]


def _promise(promise: Requirement) -> str:
    return f"{promise.id} ({promise.level}, {promise.basis}): {promise.text}"


def _seen(result: Result) -> str:
    if result.violation is None:
        return f"The rule crashed: {result.crash.strip().splitlines()[-1]}"
    return client_fault(result.violation)


def pauses(transcript: Transcript) -> list[str]:
    """Tell at what intervals a client polled, if it polled a job twice."""
    found = sorted(transcript.pauses)
    if not found:
        return []
    middle = found[len(found) // 2]
    return [f"it polled every {middle:.3g} s (from {found[0]:.3g} to {found[-1]:.3g} s)"]


def situation_text(situation: Situation) -> str:
    """Tell a random situation as a sentence."""
    job = (
        f"A job runs through {spelled(list(situation.progress))}, {situation.step_seconds:g} s each"
    )
    parts = [job, *_spelling_texts(situation)]
    if situation.agent_idle:
        parts.append(f"once the agent has stood still for {situation.agent_idle:g} s")
    if situation.fails:
        parts.append("and fails")
    if situation.cancelled_after is not None:
        parts.append(f"unless somebody else cancels it after {situation.cancelled_after:g} s")
    if situation.client_cancels:
        parts.append(_cancel_text(situation))
    for outage in situation.outages:
        times = f" and the {outage.times - 1} after it" if outage.times > 1 else ""
        parts.append(
            f"request {outage.nth} of kind {outage.of}{times} meets the outage {outage.kind}"
        )
    if situation.jobs > 1:
        parts.append(f"{situation.jobs} jobs at once")
    return ", ".join(parts) + "."


def _spelling_texts(situation: Situation) -> Iterator[str]:
    """Tell what is unusual about how answers are written."""
    if situation.spelled == "fraction":
        yield "spelled with a fraction"
    if situation.dialect != "system":
        yield f"in the dialect {situation.dialect}"
    if situation.first_id != FIRST_JOB_ID:
        yield f"with ids from {situation.first_id} on"
    if situation.unknown_fields:
        yield "with unknown fields"


def _cancel_text(situation: Situation) -> str:
    if situation.cancel_too_late:
        how = "but the job finishes a moment before"
    elif not situation.cancellable:
        how = "which is refused"
    elif situation.cancel_seconds:
        how = f"which shows {situation.cancel_seconds:g} s later"
    else:
        how = "which shows at once"
    return f"the client cancels it after {CANCELS_AFTER:g} s ({how})"
