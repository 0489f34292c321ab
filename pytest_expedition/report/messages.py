"""The sentences: what was seen, why nothing could be judged, and an exchange in one line."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.oracle.history import NO_KEY
from pytest_expedition.oracle.rules.cancel import CANCEL_GRACE
from pytest_expedition.protocol.envelope import MISSING, spelled

if TYPE_CHECKING:
    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.oracle.rules import Violation
    from pytest_expedition.oracle.verdict import Outcome, Result, Verdict, WaiverState
    from pytest_expedition.protocol.requirements import Capability
    from pytest_expedition.report.entries import Document, RunEntry, TargetEntry

LONGEST: Final = 200
"""Characters of a text from elsewhere that a sentence quotes."""

LACKING: Final[dict[Capability, str]] = {
    "cancellable": "no recipe has `cancellable = true`",
    "granted": "no cancel led to -1, and no recipe has `cancellable = true`",
    "refusable": "no recipe has `cancellable = false`",
    "field": "no answer has the field that the requirement is about",
    "agent-start": "the target file does not have `start = true` under `[agent]`",
    "agent-control": "the target file does not have `control = true` under `[agent]`",
}

NOT_CARRIED: Final = "the dialect {dialect} does not have what the requirement is about"

OUTCOMES: Final[tuple[Outcome, ...]] = (
    "pass",
    "fail",
    "waived",
    "inconclusive",
    "not-tested",
    "error",
)
"""The outcomes, in the order in which they are counted."""

SIGNS: Final = {
    "pass": "✓",
    "fail": "✗",
    "waived": "≈",
    "inconclusive": "?",
    "not-tested": "\N{EN DASH}",
    "error": "!",
    "conformant": "✓",
    "conformant-with-waivers": "≈",
    "non-conformant": "✗",
}
"""A sign for each outcome and verdict, since colour alone is not visible to all."""

VERDICTS_IN_WORDS: Final[dict[Verdict, str]] = {
    "conformant": "Every MUST that this target allows to test passed.",
    "conformant-with-waivers": "Every MUST that this target allows to test passed or is waived.",
    "non-conformant": "At least one MUST failed.",
    "inconclusive": "No MUST failed, but not every MUST was tested.",
    "error": "The run could not be carried out, so not everything was judged.",
}
"""What a verdict says."""

GROUPS: Final = {
    "create": "Creating a job",
    "status": "Status of a job",
    "cancel": "Cancelling a job",
    "refuse": "Refusing to cancel",
    "result": "Result of a job",
    "envelope": "All answers",
    "list": "Lists of jobs",
    "auth": "Authentication",
    "input": "Bad input",
    "agent": "The agent",
    "client": "Clients",
}
"""The groups of requirements, by how their ids begin."""

WAIVERS: Final[dict[WaiverState, str]] = {
    "used": "waived until {until}: {reason}",
    "undecided": "its waiver until {until} was not used, as nothing was judged ({reason})",
    "unused": "its waiver until {until} was not used ({reason})",
    "not-needed": (
        "its waiver is not needed: remove it from the target file, or, if the failure comes and "
        "goes, add `sometimes = true` to it ({reason})"
    ),
    "expired": "its waiver expired after {until}: renew it or remove it ({reason})",
}
"""What to say about a waiver, by its state."""

PLAIN: Final = {
    "field",
    "problem",
    "envelope",
    "key",
    "dialect",
    "created_in",
    "resource",
    "owner",
    "jobs",
}
"""Facts of violations whose texts are our own, not the server's."""

_KEYS: Final = {"no-key": "no key", "wrong-key": "a wrong key"}


def seen(violation: Violation) -> str:
    """Say what was seen."""
    facts = {
        name: cut(str(value)) if name in PLAIN else _spelled(value)
        for name, value in violation.facts.items()
    }
    if "key" in facts:
        facts["key"] = _KEYS[facts["key"]]
    facts |= {
        name: facts[name].removesuffix(".0") for name in ("seconds", "since") if name in facts
    }
    return violation.fault.sentence.format_map(facts)


def subject(document: Document) -> str:
    """Say what a report is about: the job API of a server, a client, or both."""
    of_clients = {each["id"].startswith("client.") for each in document["requirements"]}
    if of_clients == {True}:
        return "Client of the Expedition job API"
    return "Expedition job API and a client of it" if True in of_clients else "Expedition job API"


def reason(result: Result, broke: str = "") -> str:
    """Say in one sentence why the outcome is what it is.

    ``broke`` says why the suite could not go on, if it could not.
    """
    judged = _judged(result, broke)
    if result.waived_cause and result.outcome == "fail":
        judged += f" It follows from {result.waived_cause}, which is waived; it needs a waiver, too"
    if result.waiver is None or result.waiver_state is None:
        return printable(judged)
    waived = WAIVERS[result.waiver_state].format(
        until=result.waiver.until, reason=cut(result.waiver.reason)
    )
    return printable(f"{judged.removesuffix('.')}; {waived}")


def _judged(result: Result, broke: str) -> str:
    requirement = result.requirement
    match result.outcome:
        case "pass":
            return _checks(result)
        case "fail" | "waived":
            assert result.violation is not None
            return seen(result.violation)
        case "not-tested" if result.waived_cause:
            return f"cannot be tested: it needs {result.waived_cause}, which is broken and waived"
        case "not-tested":
            assert result.lacking is not None
            if result.dialect:
                return NOT_CARRIED.format(dialect=result.dialect)
            return LACKING[result.lacking]
        case "inconclusive" if result.inconclusive:
            checked = f"{_checks(result)} passed" if result.kept else "exercised"
            rest = "rest" if result.kept else "result"
            return f"{checked}, but lost or unusable answers hide the {rest}"
        case "inconclusive":
            ended = f"; the limit `{result.limit}` ended the run" if result.limit else ""
            if result.pause:
                ended = (
                    f"; the target asked to wait {result.pause:.0f} s (Retry-After), longer than "
                    "the run may take: run again later"
                )
            missing = result.not_exercised or requirement.unexercised
            return f"not exercised: {missing}{ended}"
        case "error":
            return broke or f"the rule crashed: {result.crash.strip().splitlines()[-1]}"


def _checks(result: Result) -> str:
    return f"{result.kept:,} checks" if result.kept > 1 else "1 check"


def summary(exchange: Exchange) -> str:
    """Tell an exchange in one line: `0.412 s GET job/status/1619 → state 0.6`."""
    return f"{exchange.sent:.3f} s {asked(exchange)} → {answer(exchange)}"


def asked(exchange: Exchange) -> str:
    """Tell a request in a few words: `GET job/status/1619`."""
    path = cut(exchange.path.removeprefix("/api/v1/"))
    key = f" with {_KEYS[exchange.probe]}" if exchange.probe in _KEYS else ""
    return printable(f"{exchange.method} {path}{key}")


def answer(exchange: Exchange) -> str:
    """Tell an answer in a few words: `state 0.6`."""
    return printable(_answered(exchange))


def _answered(exchange: Exchange) -> str:
    if exchange.status is None:
        return f"no answer: {cut(exchange.lost)}"
    told = exchange.answer
    parts = [] if exchange.ok else [f"HTTP {exchange.status}"]
    if told.problem is not None:
        parts.append(cut(told.problem) + _begins(exchange))
    if exchange.kind == "create" and told.job_id is not MISSING:
        parts.append(f"job {_spelled(told.job_id)}")
    if told.state is not MISSING:
        parts.append(f"state {_spelled(told.state)}")
    parts += [f"“{cut(message)}”" for message in told.messages[:1]]
    return ", ".join(parts) or f"HTTP {exchange.status}"


def _begins(exchange: Exchange) -> str:
    """Quote the first characters of a body that is not JSON: they say what wrote it."""
    if not (exchange.answer.problem or "").startswith("it is not JSON"):
        return ""
    text = exchange.body.decode("utf-8", "replace").replace("\ufeff", "\\ufeff")
    return f"; it begins with “{cut(' '.join(text.split()))}”"


def _spelled(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    text = spelled(value)
    return cut(text)


def cut(text: str) -> str:
    """Shorten a text so that a sentence can quote it."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def printable(text: str, *, keep: str = "") -> str:
    """Replace characters that control a terminal or a browser, except those to ``keep``."""
    return "".join(
        each if each.isprintable() or each in keep else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def duration(seconds: float) -> str:
    """Tell how long something took: `4 ms`, `2.7 s`, `134 s`."""
    if 0 < seconds < 1:
        return f"{1000 * seconds:.{0 if seconds >= 0.01 else 1}f} ms".replace(".0 ", " ")
    return f"{seconds:.{1 if seconds < 100 else 0}f} s".replace(".0 ", " ")


def left_behind(run: RunEntry) -> str:
    """Name the jobs that a run has left behind; empty if there are none."""
    jobs, ids = run["left_behind"], run["unconfirmed_ids"]
    without_id = run["unconfirmed_creations"] - len(ids)
    parts = []
    if jobs:
        parts.append(f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(map(str, jobs))}")
    if ids:
        parts.append(f"perhaps {'job' if len(ids) == 1 else 'jobs'} {', '.join(ids)}")
    if without_id > 0:
        requests = plural(without_id, "request")
        parts.append(f"perhaps the jobs of {requests} whose answer gives no id")
    told = printable(" and ".join(parts))
    return f"left behind, not seen to have ended: {told}" if told else ""


def proxy_line(proxy: str) -> str:
    """Tell which proxy requests went through."""
    return f"requests went through the proxy {printable(proxy)}"


_ABOUT_REQUESTS: Final = {
    NO_KEY: ": the key was refused",
    429: ": too many requests for the target; send them more slowly, or later",
}


def address(target: TargetEntry) -> str:
    """Return the address of what was judged, or say that there is none."""
    return target["url"] or "no server"


def run_lines(document: Document) -> list[str]:
    """Tell which answers were not the application's, and what keeps cancels from being judged."""
    return [*_answer_lines(document), *_no_cancel_worked(document), *_short_jobs(document)]


def _no_cancel_worked(document: Document) -> list[str]:
    """Tell that no cancel had an effect, where it is not known whether one should have had."""
    reasons = {entry["id"]: entry["reason"] for entry in document["requirements"]}
    outcomes = {entry["id"]: entry["outcome"] for entry in document["requirements"]}
    none_worked = reasons.get("cancel.persists") == LACKING["granted"]
    unknown = reasons.get("refuse.state") == LACKING["refusable"]
    answered = outcomes.get("cancel.envelope", "inconclusive") != "inconclusive"
    line = (
        "no cancel led to -1, and whether one should have is not known: say `cancellable = true` "
        "or `cancellable = false` for each recipe in the target file"
    )
    return [line] if none_worked and unknown and answered else []


LONG_ENOUGH: Final = 6 * CANCEL_GRACE
"""How many seconds a job should take, so that a cancel in most of its life can be judged."""


def _short_jobs(document: Document) -> list[str]:
    """Advise longer jobs, where a cancel may take longer to show than the jobs take."""
    seconds = document["longest_job"]
    outcomes = {entry["id"]: entry["outcome"] for entry in document["requirements"]}
    cancels = outcomes.get("cancel.minus-one", "not-tested") != "not-tested"
    if document["target"]["embedded"] or not cancels or not 0 < seconds < LONG_ENOUGH:
        return []
    grace = duration(CANCEL_GRACE)
    ignored = "an ignored cancel"
    if seconds > CANCEL_GRACE:
        ignored = f"a cancel that is ignored in the last {grace} of a job"
    line = (
        f"no job takes longer than {duration(seconds)}, and a cancel may take {grace} to show: "
        f"{ignored} cannot be proven; choose recipes whose jobs take thirty seconds or more"
    )
    return [line]


def _answer_lines(run: RunEntry) -> list[str]:
    lines = []
    for status, count in run["gateway_answers"].items():
        answers = "1 answer was" if count == 1 else f"{count} answers were"
        why = _ABOUT_REQUESTS.get(int(status), " from something before the application")
        lines.append(f"{answers} HTTP {status}{why}")
    refused = run["refused_creations"]
    if refused:
        count = sum(refused.values())
        creations = "1 creation was" if count == 1 else f"{count} creations were"
        statuses = ", ".join(f"{each} with HTTP {status}" for status, each in refused.items())
        lines.append(
            f"{creations} refused ({statuses}); refused creations count towards the limit `jobs`"
        )
    return lines


def plural(count: int, noun: str) -> str:
    """Count things: `1 job`, `2 jobs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def tally(outcomes: list[str]) -> str:
    """Count outcomes: `29 pass, 2 inconclusive`."""
    counts: dict[str, int] = defaultdict(int)
    for outcome in outcomes:
        counts[outcome] += 1
    return ", ".join(f"{counts[each]} {each}" for each in OUTCOMES if counts[each])
