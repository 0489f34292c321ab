"""The JSON report and its parts, typed: what `schemas/report.json` describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_expedition.oracle.history import Kind
    from pytest_expedition.oracle.situations import Company, Phase, SituationRequest
    from pytest_expedition.oracle.verdict import Outcome, Verdict, WaiverState
    from pytest_expedition.protocol.requirements import Basis, Level


class TargetEntry(TypedDict):
    """What was judged."""

    url: str
    dialect: str | None
    embedded: bool
    verified: bool
    proxy: str


class SituationEntry(TypedDict):
    """A request in some phase of a job's life: how often it was sent, or why it was not."""

    id: str
    text: str
    phase: Phase
    request: SituationRequest
    company: Company
    exercised: int
    reason: str


class RunEntry(TypedDict):
    """A run as a whole."""

    target: TargetEntry
    started: str
    seconds: float
    requests: int
    jobs: int
    longest_job: float
    unanswered: int
    gateway_answers: dict[str, int]
    refused_creations: dict[str, int]
    left_behind: list[int]
    unconfirmed_creations: int
    unconfirmed_ids: list[str]
    situations: list[SituationEntry]
    reason: str


class WaiverEntry(TypedDict):
    """The waiver of a requirement."""

    reason: str
    until: str
    state: WaiverState | None


class EvidenceEntry(TypedDict):
    """One request and its answer."""

    proves: bool
    sent: float
    received: float | None
    method: str
    path: str
    request: str
    status: int | None
    body: str
    asked: str
    answer: str
    summary: str


class TimelineExchange(TypedDict):
    """One request in the life of a job."""

    evidence: int | None
    kind: Kind
    job: int | None
    sent: float
    received: float | None
    state: float | None
    answer: str


class TimelineEntry(TypedDict):
    """The life of the jobs that the evidence is about."""

    exchanges: list[TimelineExchange]
    omitted: int


class AgainEntry(TypedDict, total=False):
    """How to show again that a requirement is broken."""

    plan: Mapping[str, Any]
    replay: str
    python: list[str]


class RequirementEntry(AgainEntry):
    """A requirement, its outcome, and how it was broken."""

    id: str
    level: Level
    basis: Basis
    text: str
    source: str
    source_url: str
    outcome: Outcome
    reason: str
    follows_from: str
    waiver: WaiverEntry | None
    evidence: list[EvidenceEntry]
    timeline: TimelineEntry
    curl: list[str]


class ToolEntry(TypedDict):
    """What judged."""

    name: Literal["pytest-expedition"]
    version: str


class Document(RunEntry):
    """The report."""

    tool: ToolEntry
    verdict: Verdict
    not_selected: list[str]
    requirements: list[RequirementEntry]
