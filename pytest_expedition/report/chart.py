"""The picture of a failure: the states of its jobs over time, as SVG."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from pytest_expedition.report.markup import NOTHING, html, join
from pytest_expedition.report.messages import duration, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from pytest_expedition.report.entries import EvidenceEntry, TimelineEntry, TimelineExchange

SERIES: Final = 6
"""How many jobs get a style of their own; html.css has as many."""

_LEFT: Final = 40
_RIGHT: Final = 14
_FLAGS: Final = 34
_PLOT: Final = 170
_LANE: Final = 30
_TICKS: Final = 26
_FLAG_WIDTH: Final = 22
_TICK_WIDTH: Final = 58
_INTERVENTIONS: Final = {"cancel", "agent"}
"""The kinds of requests that are marked by a vertical line."""

_TOLD: Final = 12
"""How many states of a job the description for screen readers has."""

MINUS_ONE: Final = "\N{MINUS SIGN}1"

KINDS: Final = {
    "create": "creation",
    "status": "status request",
    "cancel": "cancel",
    "agent": "command to the agent",
    "list": "request for a list of jobs",
    "other": "other request",
}
"""What a kind of request is called."""


def chart(
    timeline: TimelineEntry, evidence: Sequence[EvidenceEntry], *, width: int, name: str
) -> Markup:
    """Draw a timeline.

    ``width`` is in CSS pixels; the ids in the SVG begin with ``name``. The axis of time is
    logarithmic, so that requests of milliseconds and jobs of minutes can both be seen.
    """
    return _Chart(timeline["exchanges"], evidence, width).svg(name)


def jobs_of(exchanges: Sequence[TimelineExchange]) -> list[int]:
    """Return the ids of the jobs in a timeline, in the order in which they get their styles."""
    return list(dict.fromkeys(x["job"] for x in exchanges if x["job"] is not None))


def marker(kind: str, x: float, y: float, *, css: str = "") -> Markup:
    """Draw the sign of a kind of request. Each has its own shape, so colours are not needed."""
    classes = f"mark {css}".strip()
    match kind:
        case "create":
            square = '<rect class="{}" x="{:.1f}" y="{:.1f}" width="10" height="10"/>'
            return html(square, classes, x - 5, y - 5)
        case "cancel":
            corners = [(x, y - 7), (x + 7, y), (x, y + 7), (x - 7, y)]
            return html('<polygon class="{}" points="{}"/>', classes, _points(corners))
        case "status":
            return html('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4.5"/>', classes, x, y)
        case _:
            corners = [(x, y - 6), (x + 6, y + 5), (x - 6, y + 5)]
            return html('<polygon class="{}" points="{}"/>', classes, _points(corners))


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


class _Chart:
    """A chart, and the place of everything on it."""

    def __init__(
        self, exchanges: list[TimelineExchange], evidence: Sequence[EvidenceEntry], width: int
    ) -> None:
        self.exchanges = exchanges
        self.evidence = evidence
        self.width = width
        self.jobs = jobs_of(exchanges)
        self.start = min(x["sent"] for x in exchanges)
        self._places = self._spread()
        self.top = float(_FLAGS)
        self.bottom = self.top + _PLOT
        self.cancelled = self.bottom + _LANE
        self.stateless = any(x["state"] is None for x in exchanges)
        self.none = self.cancelled + (_LANE if self.stateless else 0)
        self.height = self.none + _LANE / 2 + _TICKS

    def _spread(self) -> dict[float, float]:
        """Place each moment on the axis, at a distance that is the logarithm of the pause."""
        moments = sorted({time for x in self.exchanges for time in _span(x)})
        pauses = (later - earlier for earlier, later in itertools.pairwise(moments))
        places = [0.0]
        for pause in pauses:
            places.append(places[-1] + math.log1p(pause / 0.001))
        left, right = _LEFT + 12, self.width - _RIGHT - 8
        scale = (right - left) / places[-1] if places[-1] else 0.0
        return {time: left + place * scale for time, place in zip(moments, places, strict=True)}

    def x(self, exchange: TimelineExchange) -> float:
        """Return where an exchange is marked: half-way between its request and its answer."""
        sent, received = _span(exchange)
        return (self._places[sent] + self._places[received]) / 2

    def y(self, exchange: TimelineExchange) -> float:
        state = exchange["state"]
        if state is None:
            return self.none
        return self.cancelled if state == -1 else self.bottom - _PLOT * float(state)

    def svg(self, name: str) -> Markup:
        """Return the whole picture."""
        return html(
            """<svg class="chart" role="img" aria-labelledby="{name}-title {name}-desc" \
width="{width}" height="{height:.0f}" viewBox="0 0 {width} {height:.0f}">
<title id="{name}-title">The states of {jobs} over time</title>
<desc id="{name}-desc">{description}</desc>
{parts}
</svg>""",
            name=name,
            width=self.width,
            height=self.height,
            jobs=self._jobs_in_words(),
            description=self._description(),
            parts=join(
                [
                    *self._axes(),
                    *self._ticks(),
                    *self._interventions(),
                    *self._lines(),
                    *self._flags(),
                    *map(self._mark, sorted(self.exchanges, key=self._weight)),
                ],
                lines=True,
            ),
        )

    def _jobs_in_words(self) -> str:
        if not self.jobs:
            return "no job"
        return ("job " if len(self.jobs) == 1 else "jobs ") + ", ".join(map(str, self.jobs))

    def _description(self) -> str:
        told = []
        for job in self.jobs:
            seen = [x for x in self.exchanges if x["job"] == job]
            states = [f"{_of_a_job(x)} at {self._when(x)}" for x in seen[:_TOLD]]
            more = f", and {len(seen) - _TOLD} more" if len(seen) > _TOLD else ""
            told.append(f"Job {job}: {', '.join(states)}{more}.")
        proof = [place + 1 for place, each in enumerate(self.evidence) if each["proves"]]
        told.append(f"The proof is in the numbered exchanges {', '.join(map(str, proof))}.")
        return " ".join(told)

    def _weight(self, exchange: TimelineExchange) -> tuple[bool, bool, bool]:
        """Return the order in which exchanges are drawn: later ones cover earlier ones."""
        told = exchange["evidence"] is not None
        return told, exchange["kind"] in _INTERVENTIONS, self._proves(exchange)

    def _when(self, exchange: TimelineExchange) -> str:
        return duration(exchange["sent"] - self.start)

    def _axes(self) -> list[Markup]:
        right = self.width - _RIGHT
        lanes = [(self.bottom - _PLOT * state, text) for state, text in ((1, "1"), (0.5, "0.5"))]
        lanes += [(self.bottom, "0"), (self.cancelled, MINUS_ONE)]
        lanes += [(self.none, "other")] if self.stateless else []
        parts = [
            html(
                '<rect class="lane" x="{}" y="{:.1f}" width="{}" height="{}" rx="3"/>',
                _LEFT,
                lane - _LANE / 2 + 2,
                right - _LEFT,
                _LANE - 4,
            )
            for lane, _ in lanes[3:]
        ]
        for y, text in lanes:
            grid = '<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>'
            parts.append(html(grid, _LEFT, y, right, y))
            parts.append(_label(_LEFT - 6, y + 4, text, anchor="end"))
        return parts

    def _ticks(self) -> list[Markup]:
        """Label the times of the story first, then others where there is room."""
        ordered = sorted(self.exchanges, key=lambda x: (x["evidence"] is None, x["sent"]))
        placed: list[float] = []
        parts = []
        baseline = self.none + _LANE / 2
        for exchange in [self.exchanges[0], self.exchanges[-1], *ordered]:
            x = self._places[exchange["sent"]]
            if any(abs(x - other) < _TICK_WIDTH for other in placed):
                continue
            placed.append(x)
            anchor = "end" if x > self.width - _TICK_WIDTH / 2 else "middle"
            parts.append(
                html('<path class="tick" d="M{:.1f},{}v5"/>', x, baseline)
                + _label(x, baseline + 19, self._when(exchange), anchor=anchor)
            )
        return parts

    def _interventions(self) -> list[Markup]:
        end = self.none + _LANE / 2
        return [
            html('<path class="intervention" d="M{:.1f},{}V{}"/>', self.x(each), self.top, end)
            for each in self.exchanges
            if each["kind"] in _INTERVENTIONS
        ]

    def _lines(self) -> list[Markup]:
        points: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for exchange in self.exchanges:
            if exchange["state"] is not None and exchange["job"] is not None:
                points[exchange["job"]].append((self.x(exchange), self.y(exchange)))
        return [
            html(
                '<polyline class="line {}" points="{}"/>',
                self._look(job),
                _points(sorted(seen, key=lambda point: point[0])),
            )
            for job, seen in points.items()
        ]

    def _look(self, job: int | None) -> str:
        return "s-" if job is None else f"s{self.jobs.index(job) % SERIES}"

    def _flags(self) -> list[Markup]:
        """Number the exchanges of the story above the plot, with lines to their places."""
        flagged = [x for x in self.exchanges if x["evidence"] is not None]
        apart = min(_FLAG_WIDTH + 3, (self.width - _LEFT - _RIGHT) / max(len(flagged), 1))
        places: list[float] = []
        for exchange in flagged:
            places.append(max(self.x(exchange), places[-1] + apart if places else 0.0))
        limit = self.width - _FLAG_WIDTH / 2
        for number in reversed(range(len(places))):
            places[number] = min(places[number], limit)
            limit = places[number] - apart
        return list(map(self._flag, flagged, places))

    def _flag(self, exchange: TimelineExchange, place: float) -> Markup:
        x = self.x(exchange)
        number = "" if exchange["evidence"] is None else exchange["evidence"] + 1
        end = self.top if exchange["kind"] in _INTERVENTIONS else self.y(exchange)
        return html(
            '<path class="leader" d="M{place:.1f},20L{x:.1f},{top}V{end:.1f}"/>'
            '<g class="{css}"><rect x="{left:.1f}" y="2" width="{width}" height="18" rx="4"/>'
            '<text x="{place:.1f}" y="15" text-anchor="middle">{number}</text></g>',
            place=place,
            x=x,
            top=self.top,
            end=end,
            css="flag proof" if self._proves(exchange) else "flag",
            left=place - _FLAG_WIDTH / 2,
            width=_FLAG_WIDTH,
            number=number,
        )

    def _proves(self, exchange: TimelineExchange) -> bool:
        place = exchange["evidence"]
        return place is not None and bool(self.evidence[place]["proves"])

    def _mark(self, exchange: TimelineExchange) -> Markup:
        x, y = self.x(exchange), self.y(exchange)
        sent, received = (self._places[time] for time in _span(exchange))
        look = self._look(exchange["job"])
        lost = exchange["received"] is None
        ring = html('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="10"/>', x, y)
        about = f" of job {exchange['job']}" if exchange["job"] is not None else ""
        told = f"{KINDS[exchange['kind']]}{about} at {self._when(exchange)}: {exchange['answer']}"
        return html(
            '<g><title>{told}</title><line class="span {look}" x1="{sent:.1f}" y1="{y:.1f}" '
            'x2="{received:.1f}" y2="{y:.1f}"/>{marker}{ring}</g>',
            told=printable(told),
            look=look,
            sent=sent,
            received=received,
            y=y,
            marker=marker(exchange["kind"], x, y, css=f"{look} lost" if lost else look),
            ring=ring if self._proves(exchange) else NOTHING,
        )


def _label(x: float, y: float, text: str, *, anchor: str) -> Markup:
    label = '<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    return html(label, x, y, anchor, text)


def _of_a_job(exchange: TimelineExchange) -> str:
    """Tell what an answer says of its job, whose id need not be told again."""
    told = printable(exchange["answer"]).removeprefix(f"job {exchange['job']}").removeprefix(", ")
    return told or "created"


def _span(exchange: TimelineExchange) -> tuple[float, float]:
    """Return when an exchange began and ended; a lost one ends when it begins."""
    sent, received = float(exchange["sent"]), exchange["received"]
    return sent, sent if received is None else max(sent, float(received))
