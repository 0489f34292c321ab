"""The rules for clients: each judges the transcript of a client in a scenario."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from pytest_expedition.clients.transcript import ENDS
from pytest_expedition.fake.situation import LONGEST, MOST_POLLS
from pytest_expedition.oracle.history import CANCELLED, NO_KEY
from pytest_expedition.oracle.rules import Finding, find
from pytest_expedition.oracle.rules.base import INCONCLUSIVE, KEPT, Fault, Judgement, Violation
from pytest_expedition.protocol.envelope import spelled
from pytest_expedition.protocol.requirements import CLIENT_CATALOGUE

if TYPE_CHECKING:
    from pytest_expedition.clients.transcript import End, Run, Step, Transcript
    from pytest_expedition.oracle.history import Exchange

PATIENCE: Final = 600.0
"""Seconds for which a client waits at the least for a job that runs."""

LONG: Final = 60.0
"""Seconds from which on a job takes long."""

MOST_AFTER_THE_END: Final = 2
MOST_CANCELS: Final = 3
MOST_UNANSWERED: Final = 2
"""After more unanswered polls in a row a client may give up."""

MANY_POLLS: Final = 10
MANY_UNANSWERED: Final = 30
"""A client may repeat a poll ten times without a pause, as urllib3's `Retry()` does."""

PAUSE: Final = 0.2
HAMMERING_SECONDS: Final = 2.0

EXACT: Final = 2**53
"""Up to here a floating-point number holds every whole number."""

ASKS_FOR_ITS_JOB: Final = "client.asks-for-its-job"
KEEPS_DIGITS: Final = "client.keeps-digits"

ClientRule = Callable[["Transcript"], Iterator[Judgement]]

CLIENT_RULES: Final[dict[str, ClientRule]] = {}
"""The rule of every promise of clients, by its id."""


def judge_client(transcript: Transcript) -> dict[str, Finding]:
    """Ask every rule about a client; findings by the promise's id, in the catalogue's order.

    A client that does not know its job's id, or has rounded it, asks for another job. All else that
    it does then follows from that, and is not judged.
    """
    cause = ""
    if any(_rounded(transcript, step) is not None for step in transcript.steps):
        cause = KEEPS_DIGITS
    elif any(
        _names_a_job(step) and not _names_its_job(transcript, step) for step in transcript.steps
    ):
        cause = ASKS_FOR_ITS_JOB
    return {
        name: find(CLIENT_RULES[name], transcript) if cause in {"", name} else Finding()
        for name in CLIENT_CATALOGUE
    }


def client_rule(promise: str) -> Callable[[ClientRule], ClientRule]:
    """Register a rule that looks at the whole transcript of a client."""

    def register(function: ClientRule) -> ClientRule:
        CLIENT_RULES[promise] = function
        return function

    return register


WITHOUT_KEY: Final = Fault("without-key", "The client sent {asked} without the key.")


@client_rule("client.sends-key")
def sends_key(transcript: Transcript) -> Iterator[Judgement]:
    """Every request of the job API but the login carries `Authorization: Bearer <key>`."""
    for step in transcript.steps:
        if step.of_job_api:
            yield KEPT if step.keyed else Violation(WITHOUT_KEY, step.exchange)


REFUSED: Final = Fault("refused", "{asked} was refused with HTTP {status}.")


@client_rule("client.asks-properly")
def asks_properly(transcript: Transcript) -> Iterator[Judgement]:
    """Each request of the job API that it sends has a path, method and body of that API."""
    for step in transcript.steps:
        exchange = step.exchange
        if not step.of_job_api:
            continue
        refused = exchange.status is not None and 400 <= exchange.status < 500
        if not refused:
            yield KEPT
        elif exchange.answered and exchange.kind not in {"status", "cancel"}:
            yield Violation(REFUSED, exchange, status=exchange.status)


NOT_ITS_JOB: Final = Fault("not-its-job", "{asked} names no job that the client created.")


@client_rule(ASKS_FOR_ITS_JOB)
def asks_for_its_job(transcript: Transcript) -> Iterator[Judgement]:
    """Status requests and cancels name a job that it created, by the id that it was given."""
    for step in transcript.steps:
        if _names_a_job(step):
            known = _names_its_job(transcript, step)
            yield KEPT if known else Violation(NOT_ITS_JOB, step.exchange)


def _names_a_job(step: Step) -> bool:
    return step.exchange.kind in {"status", "cancel"}


def _names_its_job(transcript: Transcript, step: Step) -> bool:
    return step.exchange.job_id in transcript.created


LOST_DIGITS: Final = Fault(
    "lost-digits",
    "{asked} names the job {created}, rounded as a floating-point number holds it.",
)


@client_rule(KEEPS_DIGITS)
def keeps_digits(transcript: Transcript) -> Iterator[Judgement]:
    """It asks for its job by all digits of the id, also where the id lies beyond 2^53."""
    for step in transcript.steps:
        if (created := _rounded(transcript, step)) is not None:
            yield Violation(LOST_DIGITS, step.exchange, created=created)
        elif step.exchange.job_id in transcript.created and step.exchange.job_id > EXACT:
            yield KEPT


def _rounded(transcript: Transcript, step: Step) -> int | None:
    """Return the id of a job that a request names rounded, as a floating-point number holds it."""
    asked, created = step.exchange.job_id, transcript.created
    if not _names_a_job(step) or asked is None or asked in created:
        return None
    return next((each for each in created if each > EXACT and float(each) == float(asked)), None)


DID_NOT_START: Final = Fault(
    "did-not-start", "Told to start a job, the client did not send the request: it {how}."
)
DID_NOT_CANCEL: Final = Fault(
    "did-not-cancel", "The client was told to cancel the job, but sent no cancel."
)


@client_rule("client.does-as-told")
def does_as_told(transcript: Transcript) -> Iterator[Judgement]:
    """When told to start a job, or to cancel one that runs, it sends that request."""
    for run in transcript.runs:
        how = run.said.how or "never ended"
        if run.creations:
            yield KEPT
        else:
            yield Violation(DID_NOT_START, how=how)
        if run.cancelled_by is None or run.job_id is None:
            continue
        if run.cancels:
            yield KEPT
        elif run.end_shown is None or run.end_shown.exchange.sent > run.cancelled_by:
            yield Violation(DID_NOT_CANCEL, *_exchanges(run.creations), how=how)


CREATED_TWICE: Final = Fault(
    "created-twice", "The client was told to start one job, but created {count}."
)


@client_rule("client.creates-once")
def creates_once(transcript: Transcript) -> Iterator[Judgement]:
    """Told to start a job once, it creates no second one, also when the answer was lost."""
    for run in transcript.runs:
        if len(run.created) > 1:
            yield Violation(CREATED_TWICE, *_exchanges(run.created), count=len(run.created))
        elif run.created:
            yield KEPT


STUMBLED: Final = Fault("stumbled", "After the answer {answer}, the client {how}.")


@client_rule("client.understands-answers")
def understands_answers(transcript: Transcript) -> Iterator[Judgement]:
    """No answer that the documentation allows makes it fail."""
    for run in transcript.runs:
        if run.said.stumbled and run.end is None and run.last and not run.last.outage:
            yield Violation(STUMBLED, run.last.exchange, how=run.said.how)
        elif run.end in run.said.words and not run.said.stumbled:
            yield KEPT


SAID_TOO_EARLY: Final = Fault("said-too-early", "It {how}, though no answer had shown 1 or -1.")


@client_rule("client.waits-to-the-end")
def waits_to_the_end(transcript: Transcript) -> Iterator[Judgement]:
    """It does not say that a job has ended before an answer shows 1 or -1.

    In the dialect `data`: It does not say that a job has ended before an answer shows 1, -1, or
    `failed` as the status message.
    """
    for run in transcript.runs:
        if not run.said.words or not run.said.words <= {*ENDS}:
            continue  # it did not say that the job had ended, or may not have meant that
        if run.end is not None:
            yield KEPT
        elif not _said_of_another(transcript, run):
            yield Violation(SAID_TOO_EARLY, *_exchanges(run.steps[-1:]), how=run.said.how)


@client_rule("client.sees-success")
def sees_success(transcript: Transcript) -> Iterator[Judgement]:
    """It says of a finished job that it has finished."""
    yield from _sees(transcript, "finished")


@client_rule("client.sees-failure")
def sees_failure(transcript: Transcript) -> Iterator[Judgement]:
    """It says of a job that ended in failure that it has failed: state 1 is not success.

    In the dialect `data`: It says of a job with the status message `failed` that it has failed, at
    any state.
    """
    yield from _sees(transcript, "failed")


@client_rule("client.sees-cancel")
def sees_cancel(transcript: Transcript) -> Iterator[Judgement]:
    """It says of a job that somebody else cancelled that it was cancelled."""
    yield from _sees(transcript, "cancelled")


def _sees(transcript: Transcript, end: End) -> Iterator[Judgement]:
    if len(transcript.calls) == 1 and not transcript.told_to_cancel:
        for run in _ended(transcript):
            if run.end == end and not _cancelled_what_it_gave_up(run):
                yield _judge_saying(run)


@client_rule("client.trusts-the-state")
def trusts_the_state(transcript: Transcript) -> Iterator[Judgement]:
    """It learns from the state, -1 or 1, whether its own cancel took effect."""
    if transcript.told_to_cancel:
        for run in _ended(transcript):
            judged = _judge_saying(run)
            if run.cancels or isinstance(judged, Violation):
                yield judged


TOOK_FOR_ANOTHER: Final = Fault(
    "took-for-another",
    "Of job {job} it {how}, though no answer had shown its end, only that of another job.",
)


@client_rule("client.keeps-jobs-apart")
def keeps_jobs_apart(transcript: Transcript) -> Iterator[Judgement]:
    """Of two jobs that run at once, it says of each how that one ended."""
    if len(transcript.calls) > 1 and not transcript.told_to_cancel:
        yield from map(_judge_saying, _ended(transcript))
    for run in transcript.runs:
        if run.end is None and (other := _said_of_another(transcript, run)) is not None:
            assert other.end_shown is not None
            proof = other.end_shown.exchange
            yield Violation(TOOK_FOR_ANOTHER, proof, job=run.job_id, how=run.said.how)


def _said_of_another(transcript: Transcript, run: Run) -> Run | None:
    """Return another run whose job was seen to end as the client said it of this one."""
    others = (each for each in _ended(transcript) if each.job_id != run.job_id)
    return next((each for each in others if {each.end} == run.said.words), None)


def _ended(transcript: Transcript) -> Iterator[Run]:
    """Yield the runs of whose job the client knew the end."""
    return (run for run in transcript.runs if run.end)


def _cancelled_what_it_gave_up(run: Run) -> bool:
    return "gave-up" in run.said.words and any(not _over(run, step) for step in run.cancels)


SAID_OTHERWISE: Final = Fault("said-otherwise", "The job {end}, but the client {how}.")


def _judge_saying(run: Run) -> Judgement:
    if not run.said.words or "endless" in run.said.words:
        return INCONCLUSIVE  # it was not heard, or was stopped before it said anything
    if run.end in run.said.words:
        return KEPT
    assert run.end_shown is not None
    return Violation(SAID_OTHERWISE, run.end_shown.exchange, end=run.end, how=run.said.how)


@client_rule("client.stops-when-finished")
def stops_when_finished(transcript: Transcript) -> Iterator[Judgement]:
    """It polls a job that was seen finished, or failed, at most twice more."""
    yield from _stops(transcript, lambda shown: shown.shows_the_end and shown.state != CANCELLED)


@client_rule("client.stops-on-cancel")
def stops_on_cancel(transcript: Transcript) -> Iterator[Judgement]:
    """It polls a job that was seen at -1 at most twice more."""
    yield from _stops(transcript, lambda shown: shown.state == CANCELLED)


POLLED_ON: Final = Fault(
    "polled-on", "After an answer had shown {said}, it polled the job {count} times more."
)
DID_NOT_END: Final = Fault("did-not-end", "After an answer had shown {said}, it went on: it {how}.")


def _stops(transcript: Transcript, is_the_end: Callable[[Exchange], bool]) -> Iterator[Judgement]:
    for run in transcript.runs:
        # A creation, or a cancel, may show it too, to a client that reads no state there.
        shown = next((step for step in run.polls if is_the_end(step.exchange)), None)
        if shown is None:
            continue
        state = shown.exchange.answer.state
        said = "failed" if shown.exchange.answer.says_failed else spelled(state)
        later = [step for step in run.polls if shown.exchange.before(step.exchange)]
        if len(later) > MOST_AFTER_THE_END:
            proof = (shown.exchange, later[MOST_AFTER_THE_END].exchange)
            yield Violation(POLLED_ON, *proof, count=len(later), said=said)
        elif "endless" in run.said.words:
            how = run.said.how or "did not end by itself, and was stopped"
            yield Violation(DID_NOT_END, shown.exchange, how=how, said=said)
        else:
            yield KEPT


NEVER_GAVE_UP: Final = Fault(
    "never-gave-up",
    "After {seconds} s and {polls} status requests it still polled. (If it goes by a clock, as "
    "asyncio.timeout does: "
    'monkeypatch.setattr("time.monotonic", expedition_scenario.monotonic).)',
)


@client_rule("client.polls-not-for-ever")
def polls_not_for_ever(transcript: Transcript) -> Iterator[Judgement]:
    """It gives up a job that never ends after two hours, or 7,200 status requests, at the
    latest.
    """
    for run in transcript.runs:
        if run.end is not None or not run.polls or _waited(run) < PATIENCE:
            continue
        polls = len(run.polls)
        too_long = polls >= MOST_POLLS or (_waited(run) >= LONGEST and transcript.pace == 1)
        if "endless" in run.said.words and not too_long:
            yield INCONCLUSIVE  # it was ended too early to tell
        elif not run.said.words:
            yield INCONCLUSIVE  # what it said is not known
        elif "endless" in run.said.words:
            seconds = round(_waited(run) / transcript.pace)
            yield Violation(NEVER_GAVE_UP, run.polls[-1].exchange, seconds=seconds, polls=polls)
        else:
            yield KEPT


IMPATIENT: Final = Fault(
    "impatient", "After {seconds:g} s, while the job was still under way, it {how}."
)


@client_rule("client.is-patient")
def is_patient(transcript: Transcript) -> Iterator[Judgement]:
    """It waits at least ten minutes for a job that runs."""
    for run in transcript.runs:
        gave_up = "gave-up" in run.said.words and not run.said.stumbled
        cancel = None if transcript.told_to_cancel else _first_cancel_of_a_running_job(run)
        last = run.last if cancel is None else run.steps[run.steps.index(cancel) - 1]
        runs_on = run.end is None or cancel is not None  # only its own cancel ended it
        if runs_on and gave_up and last and run.job_id and not last.outage:
            waited = (run.done if cancel is None else cancel.at) - run.steps[0].at
            if waited < PATIENCE:
                seconds = round(waited / transcript.pace, 3)
                yield Violation(IMPATIENT, last.exchange, seconds=seconds, how=run.said.how)
                continue
        patient_enough = LONG if run.end is not None else PATIENCE
        if run.steps and run.said.words and _waited(run) >= patient_enough:
            yield KEPT


def _waited(run: Run) -> float:
    return run.done - run.steps[0].at


@client_rule("client.survives-outages")
def survives_outages(transcript: Transcript) -> Iterator[Judgement]:
    """A status request that a gateway refused (502, 503) or that was lost is sent again."""
    yield from _survives(transcript, of_the_key=False)


@client_rule("client.renews-key")
def renews_key(transcript: Transcript) -> Iterator[Judgement]:
    """If the key is refused between polls, it goes on, and logs in again if it can."""
    yield from _survives(transcript, of_the_key=True)


GAVE_UP_WITHOUT_KEY: Final = Fault("gave-up-without-key", "{asked} {was_answered}; then it {how}.")
GAVE_UP_AFTER_OUTAGE: Final = Fault(
    "gave-up-after-outage", "{asked} {was_answered}; then it {how}."
)


def _survives(transcript: Transcript, *, of_the_key: bool) -> Iterator[Judgement]:

    def is_one(step: Step) -> bool:
        return step.keyed and step.outage and (step.exchange.status == NO_KEY) == of_the_key

    for run in transcript.runs:
        outages = [step for step in run.polls if is_one(step)]
        if not outages:
            continue
        in_a_row = sum(1 for _ in itertools.takewhile(is_one, reversed(run.polls)))
        if run.last is outages[-1] and in_a_row > MOST_UNANSWERED:
            yield KEPT  # it was sent again, and more than once
        elif "gave-up" in run.said.words and run.last is outages[-1]:
            yield Violation(
                GAVE_UP_WITHOUT_KEY if of_the_key else GAVE_UP_AFTER_OUTAGE,
                outages[-1].exchange,
                how=run.said.how,
            )
        elif run.last is outages[-1]:
            yield INCONCLUSIVE  # it was not heard, or ended, or said that the job had ended
        else:
            yield KEPT


HAMMERED: Final = Fault("hammered", "It sent ten polls within {seconds:g} s.")
HAMMERED_WHILE_DOWN: Final = Fault(
    "hammered-while-down",
    "It sent thirty polls within {seconds:g} s without a pause, though none was answered.",
)


@client_rule("client.does-not-hammer")
def does_not_hammer(transcript: Transcript) -> Iterator[Judgement]:
    """It sends fewer than ten polls of a job within two seconds; while none is answered, fewer than
    thirty in a row without a pause.
    """
    polls: dict[int | None, list[Step]] = defaultdict(list)
    for step in transcript.steps:
        if step.exchange.kind == "status":
            polls[step.exchange.job_id].append(step)
    for of_one in polls.values():
        answered = [step for step in of_one if not step.outage]
        at_once = _sent_at_once(transcript, answered)
        retries = _retried_without_a_pause(transcript, of_one)
        if at_once:
            yield Violation(HAMMERED, *_exchanges(at_once), seconds=_apart(transcript, *at_once))
        elif retries:
            seconds = _apart(transcript, *retries)
            yield Violation(HAMMERED_WHILE_DOWN, *_exchanges(retries), seconds=seconds)
        elif len(of_one) > 1:
            yield KEPT


def _sent_at_once(transcript: Transcript, polls: list[Step]) -> list[Step]:
    """Return the first and the last of many polls within a short time, or nothing."""
    for first, last in zip(polls, polls[MANY_POLLS - 1 :], strict=False):
        if _apart(transcript, first, last) < HAMMERING_SECONDS:
            return [first, last]
    return []


def _retried_without_a_pause(transcript: Transcript, polls: list[Step]) -> list[Step]:
    """Return the first and the last of many unanswered polls without a pause, or nothing."""
    in_a_row: list[Step] = []
    for step in polls:
        if step.outage and in_a_row and _apart(transcript, in_a_row[-1], step) < PAUSE:
            in_a_row.append(step)
        else:
            in_a_row = [step] if step.outage else []
        if len(in_a_row) == MANY_UNANSWERED:
            return [in_a_row[0], in_a_row[-1]]
    return []


def _apart(transcript: Transcript, first: Step, last: Step) -> float:
    """Return the seconds between two polls, in the time by which the client goes."""
    return round((last.at - first.at) / transcript.pace, 3)


CANCELLED_UNASKED: Final = Fault("cancelled-unasked", "It sent {asked} without being told to.")


@client_rule("client.cancels-when-told")
def cancels_only_when_told(transcript: Transcript) -> Iterator[Judgement]:
    """It cancels no job that still runs unless it was told to, or has given it up."""
    if transcript.told_to_cancel:
        return
    for run in transcript.runs:
        unasked = _first_cancel_of_a_running_job(run)
        if unasked is not None and "gave-up" not in run.said.words:
            yield Violation(CANCELLED_UNASKED, unasked.exchange)
        elif transcript.can_cancel and unasked is None:
            yield KEPT


def _first_cancel_of_a_running_job(run: Run) -> Step | None:
    return next((step for step in run.cancels if not _over(run, step)), None)


def _over(run: Run, step: Step) -> bool:
    shown = run.end_shown
    return shown is not None and shown.exchange.before(step.exchange)


INSISTED: Final = Fault("insisted", "It sent {count} cancels of one job.")


@client_rule("client.does-not-insist")
def does_not_insist(transcript: Transcript) -> Iterator[Judgement]:
    """It sends a cancel that is refused at most three times."""
    for run in transcript.runs:
        if len(run.cancels) > MOST_CANCELS:
            yield Violation(INSISTED, *_exchanges(run.cancels), count=len(run.cancels))
        elif any(x.exchange.answered and x.exchange.state != CANCELLED for x in run.cancels):
            yield KEPT


def _exchanges(steps: list[Step]) -> list[Exchange]:
    return [step.exchange for step in steps]
