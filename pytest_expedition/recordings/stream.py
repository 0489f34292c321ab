"""Judging traffic that does not fit into memory, by the same rules as any other.

A rule judges what a history tells about one id by that alone, and by the cancels of all. So each id
has a history of its own, which is judged once nothing was heard of the id for long, and let go. If
more is heard later, it is read once more at the end, and judged as a whole. The rules that hold
jobs against each other say which are alike to them: they are asked at the end, about some of each.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar, cast

from pytest_expedition.oracle.history import Exchange, History, id_of
from pytest_expedition.oracle.rules import ACROSS, Finding, Violation, judge
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.recordings.trace import Like, Line

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from pytest_expedition.oracle.rules.base import Across
    from pytest_expedition.protocol.envelope import Dialect
    from pytest_expedition.recordings.trace import LinePattern, Whose

HELD_IN_MEMORY: Final = 10_000
"""Exchanges that are held in memory at the most, besides those of the id that is judged."""

BEFORE_AND_AFTER: Final = 3
"""How many orders to the agent, before and after a time, tell how it stood meanwhile."""

ENOUGH: Final = 2
"""How many ids that are alike bring out what all would."""

MOST_ACROSS: Final = 2000
"""Up to how many exchanges more of them are asked about, so that what held is counted in full."""

_ALONE: Final = tuple(name for name in CATALOGUE if name not in ACROSS)


_T = TypeVar("_T")
_Witnesses = tuple[int, ...] | None
"""Positions of exchanges; ``None``: of all."""


class Source(Protocol):
    """Exchanges that can be read once more."""

    def skim(self) -> Iterator[Line | Like]:
        """Read all, in the order in which the answers arrived, or nearly so."""

    def again(self, positions: Iterable[int]) -> Iterator[Exchange]:
        """Read those at some positions once more."""


class InMemory:
    """Exchanges that are in memory anyway."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = [
            Line(line.whose, replace(line.exchange, position=position))
            for position, line in enumerate(lines)
        ]

    def skim(self) -> Iterator[Line]:
        """Give all."""
        return iter(self._lines)

    def again(self, positions: Iterable[int]) -> Iterator[Exchange]:
        """Give those at some positions once more."""
        return (self._lines[position].exchange for position in positions)


class _Outcome(NamedTuple):
    """What one rule found about one id, without the exchanges."""

    requirement: str
    held: int
    unseen: int
    proof: int
    """How many exchanges the shortest proof of a violation has; 0: there is none."""
    crash: str


class _Held:
    """What is held in memory of an id that is not judged yet: all that tells anything.

    Polls are passed over where a history would do so, too, but unread, and before all that matters
    is known: where more turns up of the time of those passed over, this does not tell all.
    """

    __slots__ = (
        "alike",
        "begun",
        "exchanges",
        "last",
        "latest",
        "passed_over",
        "pattern",
        "progress",
        "received",
        "settled",
        "stands_for",
        "tell_all",
    )

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.stands_for: dict[Exchange, int] = {}
        """For how many polls one stands, with those passed over before it."""
        self.tell_all = True
        """Whether nothing has turned up since that makes a difference to what was passed over."""
        self.begun = float("inf")
        self.latest = float("-inf")
        """When the last answer arrived."""
        self.pattern: LinePattern | None = None
        """What the first of the polls is like; ``received`` and ``progress`` are its."""
        self.received = self.progress = 0.0
        self.last: Like | None = None
        """The last of them."""
        self.alike = 0
        """How many there are after the first."""
        self.passed_over = float("-inf")
        """When the answer arrived that was passed over last."""
        self.settled = float("-inf")
        """When the answer after it arrived: up to then nothing else may turn up."""

    def add(self, exchange: Exchange, pattern: LinePattern | None) -> int:
        """Hold an exchange; return how many more are held."""
        before = len(self.exchanges)
        self._hold_last()
        if exchange.sent <= self.settled:
            self.tell_all = False
        alone = exchange.sent > self.latest
        self.pattern = pattern if alone and _may_be_passed_over(exchange, pattern) else None
        self.received = exchange.received
        self.progress = exchange.progress or 0.0
        self.begun = min(self.begun, exchange.sent)
        self.latest = max(self.latest, exchange.received)
        self.exchanges.append(exchange)
        return len(self.exchanges) - before

    def pass_over(self, like: Like, *, noted_until: float) -> bool:
        """Take a poll for the last of those that are alike, if it is one, and drop the one before.

        ``noted_until`` is when the last cancel, or order to the agent, was answered.
        """
        last = self.last
        known = self.progress if last is None else last.progress
        if like.pattern is not self.pattern or like.sent <= self.latest or like.progress < known:
            return False
        if last is not None:
            if noted_until >= self.received:
                return False
            self.passed_over, self.settled = last.received, like.received
        self.last, self.latest = like, like.received
        self.alike += 1
        return True

    def all(self) -> list[Exchange]:
        """Return what is held."""
        self._hold_last()
        return self.exchanges

    def _hold_last(self) -> None:
        if self.last is not None:
            exchange = self.last.line().exchange
            self.exchanges.append(exchange)
            if self.alike > 1:
                self.stands_for[exchange] = self.alike
            self.last, self.alike = None, 0


def _may_be_passed_over(exchange: Exchange, pattern: LinePattern | None) -> bool:
    """Whether polls that are like this one tell of a state, and differ in nothing but progress."""
    if pattern is None or exchange.probe or exchange.state is None:
        return False
    return exchange.progress is not None or not pattern.shows_progress


_NOTHING: Final = _Held()


class _Subject:
    """What a source tells about one id, or loose requests about none."""

    __slots__ = (
        "across",
        "agent",
        "asked",
        "held",
        "is_open",
        "jobs",
        "outcomes",
        "positions",
        "received",
        "sent",
        "server",
    )

    def __init__(self, server: _Server) -> None:
        self.server = server
        self.positions = array("q")
        self.is_open = True
        self.asked = False
        """Whether it was asked for again since it was last looked at."""
        self.held = _Held()
        self.outcomes: tuple[_Outcome, ...] | None = None
        """``None`` while it is still to be judged."""
        self.across: tuple[tuple[Hashable, _Witnesses], ...] = ()
        """What this is like to each rule that looks across ids, and where its witnesses are."""
        self.agent: Sequence[Exchange] = ()
        """What the agent was told at the time, when it was judged."""
        self.jobs = 0
        self.sent = float("inf")
        self.received = float("-inf")

    def ask_again(self, position: int) -> None:
        """Note that it was asked for once more though it was judged: it will be judged again."""
        self.positions.append(position)
        self.outcomes = None


class _Server:
    """What the ids of one server have in common, in one part of a trace."""

    def __init__(self, whose: Whose) -> None:
        self.whose = whose
        self.subjects: dict[int, _Subject] = {}
        self.all: list[_Subject] = []
        """Also those that are about no id."""
        self.cancels: list[Exchange] = []
        """All answered cancels, in the order in which they were sent."""
        self.agent: list[Exchange] = []
        """What the agent was told, in the order in which it was sent."""
        self.noted_until = float("-inf")
        """When the last of both was answered."""
        self.settled = float("-inf")
        """Up to when polls were passed over."""
        self.judged_until = float("-inf")
        """When the last answer arrived that has been judged."""
        self.belated: list[float] = []
        """When cancels were sent that were read after others of that time were judged."""


@dataclass(kw_only=True)
class Judged:
    """What a stream showed.

    ``findings`` are by requirement, with the shortest proof alone. ``seconds`` is how long the
    parts of the recording are together.
    """

    findings: dict[str, Finding]
    servers: list[str] = field(default_factory=list)
    requests: int = 0
    jobs: int = 0
    unanswered: int = 0
    seconds: float = 0.0
    created_in: Dialect | None = None
    dialects: set[Dialect | None] = field(default_factory=set)
    cancellable: set[bool | None] = field(default_factory=set)


class Stream:
    """Reads a source once, and judges it."""

    def __init__(
        self,
        source: Source,
        *,
        job_seconds: float,
        shared: bool = False,
        held_in_memory: int = HELD_IN_MEMORY,
    ) -> None:
        self._source = source
        self._job_seconds = job_seconds
        self._shared = shared
        self._most_held = held_in_memory
        self._held = 0
        self._servers: dict[Whose, _Server] = {}
        self._open: dict[tuple[_Server, int | None], _Subject] = {}
        """What is held in memory; what was asked for last stands last."""
        self._same: dict[Hashable, Hashable] = {}
        """One of each of what many have in common."""
        self._judged = Judged(findings={})

    def judge(self) -> Judged:
        """Judge all of the source."""
        for line in self._source.skim():
            if isinstance(line, Like):
                self._enter_like(line)
            else:
                self._enter(line)
        while self._open:
            self._close_oldest()
        for server in self._servers.values():
            for subject in server.all:
                if subject.outcomes is None or _has_news(subject, server):
                    self._judge(subject, self._again(subject), {})
        return self._conclude()

    def _enter(self, line: Line) -> None:
        whose, exchange, pattern = line
        server = self._servers.get(whose)
        if server is None:
            server = self._servers[whose] = _Server(whose)
        self._note(exchange, server)
        job_id = id_of(exchange)
        subject = self._open.pop((server, job_id), None)
        if subject is None and job_id in server.subjects:
            subject = server.subjects[job_id]
            subject.ask_again(exchange.position)
            return
        if subject is None:
            subject = _Subject(server)
            server.all.append(subject)
            if job_id is not None:
                server.subjects[job_id] = subject
        self._open[server, job_id] = subject
        subject.positions.append(exchange.position)
        if pattern is not None:
            pattern.owner = subject
        self._held += subject.held.add(exchange, pattern)
        if self._held > self._most_held:
            while self._held > self._most_held // 2:
                self._close_oldest()

    def _enter_like(self, like: Like) -> None:
        """Enter a poll that may tell no more than those before and after it."""
        subject: _Subject | None = like.pattern.owner
        if subject is None:
            self._enter(like.line())
            return
        server = subject.server
        if not subject.is_open:
            subject.ask_again(like.position)
        elif subject.held.pass_over(like, noted_until=server.noted_until):
            subject.positions.append(like.position)
            subject.asked = True
            server.settled = max(server.settled, subject.held.settled)
        else:
            self._enter(like.line())
            return
        self._judged.requests += 1

    def _note(self, exchange: Exchange, server: _Server) -> None:
        """Remember what an exchange tells besides what it tells about its id."""
        judged = self._judged
        judged.requests += 1
        judged.unanswered += not exchange.answered
        if exchange.kind == "create":
            judged.cancellable.add(exchange.cancellable)
        elif exchange.kind == "cancel" and exchange.answered and not exchange.probe:
            _note_cancel(exchange, server)
            self._turn_up(exchange, server)
        elif exchange.kind == "agent":
            insort(server.agent, exchange, key=_sent)
            self._turn_up(exchange, server)

    def _turn_up(self, exchange: Exchange, server: _Server) -> None:
        """See whether a cancel or an order to the agent was sent among polls passed over."""
        server.noted_until = max(server.noted_until, exchange.received)
        if exchange.sent > server.settled:
            return
        for subject in self._open.values():
            held = subject.held
            until = held.passed_over if exchange.kind == "cancel" else held.settled
            if held.begun <= exchange.sent <= until and subject.server is server:
                held.tell_all = False

    def _close_oldest(self) -> None:
        """Judge what was asked for least recently, and let it go."""
        key = next(iter(self._open))
        subject = self._open.pop(key)
        if subject.asked:  # since it took its place
            subject.asked = False
            self._open[key] = subject
            return
        self._held -= len(subject.held.exchanges)
        exchanges = subject.held.all()
        if subject.held.tell_all:
            self._judge(subject, exchanges, subject.held.stands_for)
        subject.is_open = False
        subject.held = _NOTHING

    def _judge(
        self, subject: _Subject, exchanges: list[Exchange], stands_for: Mapping[Exchange, int]
    ) -> None:
        server = subject.server
        subject.sent = min(exchange.sent for exchange in exchanges)
        subject.received = max(exchange.received for exchange in exchanges)
        subject.agent = _told_meanwhile(subject, server.agent)
        server.judged_until = max(server.judged_until, subject.received)
        cancels = _sent_meanwhile(subject, server.cancels)
        history = self._history(exchanges, cancels, subject.agent, stands_for)
        subject.outcomes = self._one_of(
            tuple(
                self._one_of(outcome)
                for name, finding in judge(history, _ALONE).items()
                if (outcome := _outcome(name, finding))
            )
        )
        subject.across = self._one_of(
            tuple(self._seen_across(across, history) for across in ACROSS.values())
        )
        self._judged.created_in = self._judged.created_in or history.created_in
        self._judged.dialects |= history.dialects
        created = sum(map(len, history.creations_by_id.values()))
        subject.jobs = created or len(history.jobs)

    def _seen_across(self, across: Across, history: History) -> tuple[Hashable, _Witnesses]:
        alike = self._one_of(across.alike(history))
        witnesses = [] if alike is None else across.witnesses(history)
        if len(witnesses) == len(history.exchanges):
            return alike, None
        return alike, tuple(exchange.position for exchange in witnesses)

    def _history(
        self,
        exchanges: Iterable[Exchange],
        cancels: Sequence[Exchange],
        agent: Sequence[Exchange] | None = None,
        stands_for: Mapping[Exchange, int] = MappingProxyType({}),
    ) -> History:
        return History(
            exchanges,
            job_seconds=self._job_seconds,
            shared=self._shared,
            cancels=cancels,
            agent=agent,
            stands_for=stands_for,
        )

    def _again(self, subject: _Subject) -> list[Exchange]:
        return list(self._source.again(subject.positions))

    def _one_of(self, value: _T) -> _T:
        """Return what is equal and was there first, so that it is held once."""
        return cast("_T", self._same.setdefault(value, value))

    # The end

    def _conclude(self) -> Judged:
        judged = self._judged
        judged.seconds = self._seconds()
        judged.servers = list({whose.server: None for whose in self._servers})
        totals = {name: Finding() for name in CATALOGUE}
        shortest: dict[str, tuple[int, _Subject]] = {}
        for subject in self._subjects():
            judged.jobs += subject.jobs
            for outcome in subject.outcomes or ():
                name = outcome.requirement
                found = totals[name]
                totals[name] = replace(
                    found,
                    held=found.held + outcome.held,
                    unseen=found.unseen + outcome.unseen,
                    crash=found.crash or outcome.crash,
                )
                known = shortest.get(name)
                if outcome.proof and (known is None or outcome.proof < known[0]):
                    shortest[name] = outcome.proof, subject
        for name, (_, subject) in shortest.items():
            exchanges = self._again(subject)
            server = subject.server
            (finding,) = judge(
                self._history(exchanges, server.cancels, subject.agent), [name]
            ).values()
            self._prove(totals, name, finding, server)
        for server in self._servers.values():
            for number, name in enumerate(ACROSS):
                self._across(totals, name, number, server)
        judged.findings = totals
        return judged

    def _across(self, totals: dict[str, Finding], name: str, number: int, server: _Server) -> None:
        """Ask a rule that holds ids against each other, about enough of those that are alike."""
        groups: dict[Hashable, list[Sequence[int]]] = defaultdict(list)
        for subject in server.all:
            alike, witnesses = subject.across[number]
            groups[alike].append(subject.positions if witnesses is None else witnesses)
        groups.pop(None, None)
        chosen = [each for group in groups.values() for each in group[:ENOUGH]]
        room = MOST_ACROSS - sum(map(len, chosen))
        for each in (each for group in groups.values() for each in group[ENOUGH:]):
            room -= len(each)
            if room < 0:
                break
            chosen.append(each)
        exchanges = self._source.again(position for each in chosen for position in each)
        (finding,) = judge(self._history(exchanges, server.cancels, ()), [name]).values()
        known = totals[name]
        totals[name] = replace(
            known,
            held=known.held + finding.held,
            unseen=known.unseen + finding.unseen,
            crash=known.crash or finding.crash,
        )
        if finding.violations and not known.violations:
            self._prove(totals, name, finding, server)

    def _prove(
        self, totals: dict[str, Finding], name: str, finding: Finding, server: _Server
    ) -> None:
        """Keep the shortest proof, with as much of the history as tells the story."""
        violation = min(finding.violations, key=lambda each: len(each.proof))
        ids = {id_of(exchange) for exchange in violation.proof}
        told = (*violation.proof, *violation.history.agent)
        positions = {exchange.position for exchange in told}
        positions.update(*(server.subjects[each].positions for each in ids if each is not None))
        story = self._history(self._source.again(sorted(positions)), server.cancels)
        proof = {exchange.position: exchange for exchange in story.exchanges}
        whole = Violation(
            violation.fault, *(proof[each.position] for each in violation.proof), **violation.facts
        )
        story.server = server.whose.server
        whole.history = story
        totals[name] = replace(totals[name], violations=(whole,))

    def _subjects(self) -> Iterator[_Subject]:
        for server in self._servers.values():
            yield from server.all

    def _seconds(self) -> float:
        """How long the parts are together."""
        seconds = 0.0
        for server in self._servers.values():
            sent = min(subject.sent for subject in server.all)
            seconds += max(subject.received for subject in server.all) - sent
        return seconds


def _note_cancel(cancel: Exchange, server: _Server) -> None:
    """Remember a cancel, without what was said."""
    noted = Exchange(
        kind="cancel",
        method=cancel.method,
        path=cancel.path,
        sent=cancel.sent,
        received=cancel.received,
        status=cancel.status,
        job_id=cancel.job_id,
        position=cancel.position,
    )
    insort(server.cancels, noted, key=_sent)
    if cancel.sent < server.judged_until:
        insort(server.belated, cancel.sent)


def _outcome(name: str, finding: Finding) -> _Outcome | None:
    if not (finding.held or finding.violations or finding.unseen or finding.crash):
        return None
    proof = min((len(violation.proof) for violation in finding.violations), default=0)
    return _Outcome(name, finding.held, finding.unseen, proof, finding.crash)


def _sent_meanwhile(subject: _Subject, cancels: list[Exchange]) -> Sequence[Exchange]:
    """The cancels that were sent in a subject's time: others came before it, or after it."""
    start = bisect_left(cancels, subject.sent, key=_sent)
    return cancels[start : bisect_left(cancels, subject.received, key=_sent)]


def _told_meanwhile(subject: _Subject, agent: list[Exchange]) -> tuple[Exchange, ...]:
    """What the agent was told in a subject's time, and a little before and after."""
    start = bisect_left(agent, subject.sent, key=_sent)
    end = bisect_left(agent, subject.received, key=_sent)
    return tuple(agent[max(start - BEFORE_AND_AFTER, 0) : end + BEFORE_AND_AFTER])


def _has_news(subject: _Subject, server: _Server) -> bool:
    """Whether what concerns a subject, besides what it was asked, was read after it was judged."""
    belated = server.belated
    cancelled = bisect_left(belated, subject.sent) < bisect_left(belated, subject.received)
    return cancelled or subject.agent != _told_meanwhile(subject, server.agent)


def _sent(exchange: Exchange) -> float:
    return exchange.sent
