"""The record of a run: what was judged, how each requirement came out, and what it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pytest_expedition.oracle.verdict import conclude

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pytest_expedition.oracle.situations import SituationResult
    from pytest_expedition.oracle.verdict import Result, Verdict
    from pytest_expedition.protocol.envelope import Dialect


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run, or a recording, showed.

    ``url`` is the address of the target, if there is one, ``verify`` how its certificate was
    verified, ``cert`` and ``cert_key`` the files of the client certificate, ``proxy`` the proxy
    that requests went through. ``embedded`` says whether the target was a fake instance in the
    process of the suite. ``dialect`` is the one that the answers show. ``results`` are in the
    catalogue's order. ``reason`` says why the run could not be carried out to its end, if so.
    ``seconds`` are those of the wall clock. ``longest_job`` is how many seconds the slowest job
    takes, as far as the run has seen, or 0. ``unanswered`` counts, by HTTP status (``None``: no
    answer at all), the requests that the application did not answer, and ``refused_creations`` the
    creations that it refused in its envelope. ``left_behind`` are the ids of jobs that the run
    created and did not see end; ``unconfirmed_creations`` counts creations that may have created a
    job, though no answer gives its id, and ``unconfirmed_ids`` are what some of them gave as an id
    that is none. ``secrets`` must not be shown by any report. ``situations`` tells which situations
    were exercised, and why the others were not; it is empty for a recording. ``plans`` has, by
    requirement, the smallest plan that showed it broken: see `schemas/plan.json`.
    """

    url: str
    verify: bool | str = True
    cert: str = ""
    cert_key: str = ""
    proxy: str = ""
    embedded: bool = False
    dialect: Dialect | Literal["mixed"] | None
    results: Sequence[Result]
    started: datetime
    seconds: float
    requests: int
    jobs: int
    unanswered: Counter[int | None]
    refused_creations: Mapping[int, int] = field(default_factory=dict)
    longest_job: float = 0.0
    reason: str = ""
    left_behind: tuple[int, ...] = ()
    unconfirmed_creations: int = 0
    unconfirmed_ids: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    situations: Sequence[SituationResult] = ()
    plans: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the whole catalogue."""
        levels = ((each.requirement.level, each.outcome) for each in self.results)
        return conclude(levels, broke=bool(self.reason))

    @property
    def first_error(self) -> Result | None:
        """The first requirement that could not be judged because the suite broke."""
        return next((each for each in self.results if each.outcome == "error"), None)
