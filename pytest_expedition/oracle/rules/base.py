"""What all rules share: judgements and the register of rules."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pytest_expedition.oracle.history import id_of
from pytest_expedition.protocol import envelope
from pytest_expedition.protocol.envelope import LARGE
from pytest_expedition.protocol.origin import ABOUT_ACCESS
from pytest_expedition.protocol.validation import find_violation, schema_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_expedition.oracle.history import Exchange, History, Influence, JobHistory
    from pytest_expedition.protocol.envelope import Dialect
    from pytest_expedition.protocol.validation import EnvelopeName, SchemaName


class Tested(enum.Enum):
    """The result of a check that did not find the promise broken."""

    KEPT = "kept"
    INCONCLUSIVE = "inconclusive"


KEPT: Final = Tested.KEPT
"""The promise was checked, and kept."""

INCONCLUSIVE: Final = Tested.INCONCLUSIVE
"""The promise was checked, but lost answers hide the result."""


@dataclass(frozen=True)
class Fault:
    """A way to break a promise.

    ``sentence`` says what was seen; the facts of a violation fill it in. Where it ``asks`` for the
    cause, the proof of another fault of the same promise says more.
    """

    id: str
    sentence: str
    asks: bool = False


MOST_OTHERS: Final = 5
"""How many creations and cancels of other jobs the story of a violation tells."""


class Violation:
    """A broken promise.

    ``fault`` is the way in which it was broken, ``proof`` are the exchanges that prove it, in the
    order in which they were sent, ``facts`` are the values that fill in the fault's sentence.
    ``history`` is the one in which it was found, or as much of it as tells the story.
    """

    history: History

    def __init__(self, fault: Fault, *proof: Exchange, **facts: Any) -> None:
        self.fault = fault
        self.proof = tuple(sorted(proof, key=lambda exchange: exchange.sent))
        self.facts = facts

    @property
    def jobs(self) -> set[int]:
        """The ids of the jobs that a proof is about: given out, asked for, or told by an answer."""
        told = {x.answer.job_id for x in self.proof if type(x.answer.job_id) is int}
        return told.union(job_id for x in self.proof if (job_id := id_of(x)) is not None)

    @property
    def last_change(self) -> tuple[Exchange, Exchange] | None:
        """The first answer with what a proof that compares answers shows at last, and that before.

        What was sent to other jobs between them may have done what it shows.
        """
        *proof, later = self.proof
        about = id_of(later)
        if about is None or about not in self.history.jobs or about not in map(id_of, proof):
            return None
        before = [x for x in self.history.jobs[about].seen if x.before(later)]
        while before and later.state is not None and before[-1].state == later.state:
            later = before.pop()
        return (before[-1], later) if before else None

    def __repr__(self) -> str:
        return f"Violation({self.fault.id!r}, {len(self.proof)} exchanges)"


def best_told(violations: Iterable[Violation]) -> Violation:
    """Return the violation that reports tell: the one with the shortest proof that says enough."""
    return min(violations, key=lambda each: (each.fault.asks, len(each.proof)))


@dataclass(frozen=True)
class Suspicion:
    """A promise that may have been broken about a job, or something else did what was seen.

    Nothing fails by it. ``sent`` is when the exchange was sent that shows it.
    """

    job: int
    sent: float


def unless_others(
    violation: Violation, job: JobHistory, blamed: Influence
) -> Violation | Suspicion:
    """Return a violation, unless something else than what it blames may have changed the job.

    Its proof begins and ends with the answers that differ.
    """
    earlier, later = violation.proof[0], violation.proof[-1]
    others = job.influences(earlier, later) - {blamed}
    return Suspicion(job.id, later.sent) if others else violation


@dataclass(frozen=True)
class NotExercised:
    """The promise came near to being put to the test; ``reason`` says what was missing.

    It is told if nothing else put the promise to the test, in the place of what the catalogue says.
    """

    reason: str


UNSEEN: Final = "with requests that were not seen"
"""How others may act where a history does not show all requests about a job."""

LONG_CREATION: Final = 1.0
"""Seconds after which a creation was answered so late that its job may have ended by then."""


def ended_with_its_creation(job: JobHistory) -> Iterator[NotExercised]:
    """Tell of a job that no request could reach while it ran, as its creation took so long."""
    if job.creation is None or not job.seen or not job.seen[0].shows_the_end:
        return
    seconds = job.creation.received - job.creation.sent
    if seconds >= LONG_CREATION:
        told = "" if job.seen[0] is job.creation else ", and the first poll"
        yield NotExercised(
            f"a creation was answered only after {seconds:.0f} s{told}, when its job had ended: no "
            "request reached a job that still ran"
        )


Judgement = Tested | Violation | Suspicion | NotExercised
Rule = Callable[["History"], Iterator[Judgement]]
JobRule = Callable[["JobHistory"], Iterator[Judgement]]

Notes = Callable[["History"], Iterable[Any]]
NotesRule = Callable[[list[Any]], Iterator[Judgement]]


class AcrossJobs(NamedTuple):
    """A rule that compares jobs, in two steps: it takes notes of each job, and judges all notes."""

    notes: Notes
    rule: NotesRule

    def noting_into(self, taken: list[Any]) -> Rule:
        """Return a rule that takes notes of a history and adds them to those that were taken."""

        def take(history: History) -> Iterator[Judgement]:
            taken.extend(self.notes(history))
            return iter(())

        return take


RULES: Final[dict[str, Rule]] = {}
"""The rule of every requirement, by its id."""

ACROSS_JOBS: Final[dict[str, AcrossJobs]] = {}
"""The rules that compare jobs with each other."""


def rule(requirement: str) -> Callable[[Rule], Rule]:
    """Register a rule that looks at a whole history.

    Histories that are too large for memory are judged one job at a time. So the rule may ask for
    the exchanges about one job, for the cancels of all jobs, and for all that the agent was told. A
    rule that needs to know more of several jobs is registered by ``rule_across_jobs``.
    """

    def register(function: Rule) -> Rule:
        RULES[requirement] = function
        return function

    return register


def rule_across_jobs(requirement: str, *, notes: Notes) -> Callable[[NotesRule], NotesRule]:
    """Register a rule that compares jobs with each other.

    ``notes`` returns what the rule needs to know of the jobs of a history; the rule judges the
    notes of all jobs. Notes stay in memory, so they must be fewer than polls.
    """

    def register(function: NotesRule) -> NotesRule:
        def of_a_history(history: History) -> Iterator[Judgement]:
            yield from function(list(notes(history)))

        RULES[requirement] = functools.wraps(function)(of_a_history)
        ACROSS_JOBS[requirement] = AcrossJobs(notes, function)
        return function

    return register


def job_rule(requirement: str) -> Callable[[JobRule], JobRule]:
    """Register a rule that looks at one job at a time."""

    def register(function: JobRule) -> JobRule:
        def of_all_jobs(history: History) -> Iterator[Judgement]:
            return chain.from_iterable(map(function, history.jobs.values()))

        RULES[requirement] = functools.wraps(function)(of_all_jobs)
        return function

    return register


FEWEST_HIDDEN: Final = 3
HIDDEN_PART: Final = 1 / 4
"""How many requests, and what part of them, must go unanswered to leave the result open."""


def hide_the_result(asked: Iterable[Exchange]) -> bool:
    """Whether so many requests got no answer of the application that the others prove little.

    Something before the application may have answered them, or the application itself, by a crash
    that does not look like its own. What is about the key or the number of requests does not count.
    """
    asked = list(asked)
    unanswered = [x for x in asked if not x.answered]
    hidden = sum(x.status not in ABOUT_ACCESS for x in unanswered)
    about_jobs = len(asked) - len(unanswered) + hidden
    return hidden >= max(FEWEST_HIDDEN, HIDDEN_PART * about_jobs)


def after_furthest(seen: Sequence[Exchange]) -> Iterator[tuple[Exchange, Exchange]]:
    """Pair each answer with the one before it that is furthest in the job's life.

    Two sweeps side by side: over the answers as they were asked for, and as they arrived.
    """
    arrived = sorted(seen, key=attrgetter("received"))
    furthest: Exchange | None = None
    done = 0
    for later in seen:
        while (earlier := arrived[done]).before(later):  # ends at ``later`` itself at the latest
            if furthest is None or earlier.rank > furthest.rank:
                furthest = earlier
            done += 1
        if furthest is not None:
            yield furthest, later


def envelope_problem(
    exchange: Exchange, role: EnvelopeName, dialect: Dialect | None = None
) -> str | None:
    """Why the answer is not that envelope in a dialect, or ``None`` if it is.

    Where no dialect is named it is the one that the answer shows.
    """
    return schema_problem(exchange, schema_of(role, dialect or exchange.answer.dialect))


def schema_problem(exchange: Exchange, name: SchemaName) -> str | None:
    """Why the answer does not validate against the schema of that name, or ``None``."""
    if exchange.answer.problem is not None:
        return exchange.answer.problem
    try:
        if len(exchange.body) > LARGE:
            return _problem.__wrapped__(exchange.body, name)
        # Answers of the same pattern are all valid or all invalid; the message is about this one.
        return _problem(exchange.answer.pattern, name) and _problem(exchange.body, name)
    except RecursionError:
        return "it is nested too deep"


NOT_A_SUCCESS: Final = Fault(
    "not-a-success", "The answer is HTTP {status}, which is not a success (2xx)."
)
NOT_THE_ENVELOPE: Final = Fault(
    "not-the-envelope", "The answer is not a valid {envelope} envelope: {problem}."
)
ANOTHER_DIALECT: Final = Fault(
    "another-dialect",
    "The answer is in the dialect {dialect}, the creation before it was in the dialect "
    "{created_in}: no documentation shows these two together.",
)


def another_dialect(creation: Exchange | None, exchange: Exchange) -> Violation | None:
    """Tell of an answer whose dialect no documentation shows together with the creation's.

    It does so with ``system`` and ``msg``: “Managing Jobs” reads both of one job.
    """
    if creation is None or creation.answer.dialect == exchange.answer.dialect:
        return None
    both = [x.answer.dialect for x in (creation, exchange) if x.answer.tells_of_a_job]
    if "data" not in both or len(both) < 2:
        return None
    created_in, dialect = both
    return Violation(ANOTHER_DIALECT, creation, exchange, created_in=created_in, dialect=dialect)


@functools.lru_cache(maxsize=4096)
def _problem(body: bytes, name: SchemaName) -> str | None:
    violation = find_violation(envelope.read_answer(body).document, name)
    return None if violation is None else str(violation)
