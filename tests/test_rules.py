"""Every rule of the oracle, held against histories built by hand."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from typing import Any, get_args

import pytest
from histories import JOB, PAGE, RAISED, Story, envelope, error, in_data, job_fields, verdict_on

from pytest_expedition.oracle.history import History
from pytest_expedition.oracle.rules import (
    KEPT,
    RULES,
    Finding,
    Violation,
    find,
    judge,
    refuse,
    together,
)
from pytest_expedition.oracle.rules import base as rules_base
from pytest_expedition.oracle.verdict import decide_outcomes
from pytest_expedition.protocol.envelope import LARGE
from pytest_expedition.protocol.requirements import CATALOGUE, Capability
from pytest_expedition.report.messages import reason

OTHER = JOB + 1
LAST = JOB + 2
LARAVEL_PAGE = b'<html><title>Oops</title><body class="antialiased">Oops</body></html>'
REFUSAL = ("The current job cannot be cancelled",)


def running(*, cancellable: bool | None = None) -> Story:
    """A job that was seen half-way."""
    return Story().create(cancellable=cancellable).poll(0.5)


def beside_another() -> Story:
    """A job that was seen half-way after another was created."""
    return Story().create().create(OTHER).poll(0.5)


def cancellable() -> Story:
    return running(cancellable=True)


def refusing() -> Story:
    return running(cancellable=False)


def silent(story: Story, times: int) -> Story:
    """Some status requests get no answer."""
    for _ in range(times):
        story.lose("status")
    return story


def polled(times: int) -> Story:
    """A job that was asked for some times."""
    story = Story().create()
    for _ in range(times):
        story.poll(0.5)
    return story


def unknown(kind: str, document: Any, status: int) -> Story:
    story = Story()
    path = "/api/v1/job/status/9" if kind == "status" else "/api/v1/job/9"
    return story.add(kind, "GET", path, document, status=status, job=9, probe="unknown-id")


def bad_id(document: Any, status: int) -> Story:
    return Story().add(
        "status", "GET", "/api/v1/job/status/1619abc", document, status=status, probe="bad-id"
    )


def keyless(document: Any, status: int | None, *, kind: str = "status") -> Story:
    return cancellable().add(
        kind, "GET", "/api/v1/job/1619", document, status=status, job=JOB, probe="no-key"
    )


PLAIN = "envelope.for-plain-clients"


def in_progress(state: Any) -> dict[str, Any]:
    return envelope({"system": {"jobs": job_fields(state=state)}})


def plainly(document: Any, status: int | None = 200, *, after: Story | None = None) -> Story:
    """A job that was seen half-way, and a status request without the header Accept."""
    return (after or running()).answer_poll(document, status=status, probe="no-accept")


def agent(*commands: str) -> Story:
    story = Story()
    for command in commands:
        story.tell_agent(command)
    return story


class Gated(Story):
    def restart(self) -> Gated:
        self.tell_agent("restart")
        return self


def gated(state: Any = 0, **timing: Any) -> Any:
    return Gated().tell_agent("stop", **timing).create(state=state)


IMPORT = "/api/v1/project/1/import"
NESTED = json.dumps(envelope({"system": {"jobs": job_fields(state="DEEP")}}))
DEEP = NESTED.replace('"DEEP"', "[" * 960 + "]" * 960).encode()
A_JOB = envelope({"system": {"jobs": job_fields()}})
CANCELLED_JOB = envelope({"system": {"jobs": job_fields(state=-1)}})
MISSING_STATE = envelope({"system": {"jobs": job_fields(state=RAISED)}})
BARE_ID = envelope({"jobId": JOB})
SUCCESS_0 = {**envelope(None), "success": 0}

IN_BOUNDS: tuple[Any, ...] = (0, 1, -1, 0.5, 1.0, 0.30000000000000004)
OUT_OF_BOUNDS: tuple[Any, ...] = (
    "0.5",
    True,
    False,
    None,
    1.0000001,
    -0.0001,
    -2,
    50,
    math.nan,
    math.inf,
    [],
    {},
)

CASES: list[tuple[str, str, Story, str | list[str]]] = [
    # The promise create.envelope:
    ("create.envelope", "the documented answer", Story().create(), "kept"),
    ("create.envelope", "a bare id (msg)", Story().add("create", "POST", "/", BARE_ID), "kept"),
    ("create.envelope", "HTTP 201", Story().create(status=201), "kept"),
    ("create.envelope", "HTTP 500", Story().create(status=500), ["not-a-success"]),
    ("create.envelope", "no JSON", Story().add("create", "POST", "/", b"<"), ["not-the-envelope"]),
    (
        "create.envelope",
        "reports failure",
        Story().add("create", "POST", "/", error()),
        ["not-the-envelope"],
    ),
    (
        "create.envelope",
        "a field is missing",
        Story().create(fields={"nextStep": RAISED}),
        ["not-the-envelope"],
    ),
    ("create.envelope", "lost", Story().lose("create"), "not exercised"),
    (
        "create.envelope",
        "a gateway answers",
        Story().add("create", "POST", "/", PAGE, status=503),
        "not exercised",
    ),
    (
        "create.envelope",
        "the same request in two dialects",
        Story().create(1).add("create", "POST", "/api/v1/project/1/import", in_data(job_id=2)),
        ["another-dialect"],
    ),
    (
        "create.envelope",
        "each request in its own dialect",
        Story()
        .create(1)
        .add("create", "POST", "/api/v1/project/1/import/device", in_data(job_id=2)),
        "kept",
    ),
    (
        "create.envelope",
        "the same request under system.jobs and bare",
        Story().create(1).add("create", "POST", "/api/v1/project/1/import", BARE_ID),
        "kept",
    ),
    (
        "create.envelope",
        "a request that is refused as wrong each time, beside one that works",
        Story().create(1).add("create", "POST", "/api/v1/projects/9/export", error(), status=404),
        "kept",
    ),
    (
        "create.envelope",
        "a request that works is refused as wrong",
        Story().create(1).add("create", "POST", "/api/v1/project/1/import", error(), status=404),
        ["not-a-success"],
    ),
    (
        "create.envelope",
        "refused while others run, then a server error",
        Story().create(1).add("create", "POST", IMPORT, error(), status=409).create(2, status=500),
        ["not-a-success"],
    ),
    (
        "create.envelope",
        "refused while others run, beside one that works",
        Story().create(1).add("create", "POST", IMPORT, error(), status=409),
        "kept",
    ),
    (
        "create.envelope",
        "refused as if others ran, and none works",
        Story().add("create", "POST", IMPORT, error(), status=409),
        ["not-a-success"],
    ),
    (
        "create.envelope",
        "another request is refused as wrong, then a server error",
        Story()
        .create(1)
        .add("create", "POST", "/api/v1/projects/9/export", error(), status=404)
        .create(2, status=500),
        ["not-a-success"],
    ),
    (
        "create.envelope",
        "most are lost",
        Story().create().lose("create").lose("create").lose("create").lose("create"),
        "inconclusive",
    ),
    # The promise create.job-id:
    ("create.job-id", "whole", Story().create(), "kept"),
    ("create.job-id", "text", Story().create("1619"), ["no-job-id"]),
    ("create.job-id", "zero", Story().create(0), ["no-job-id"]),
    ("create.job-id", "negative", Story().create(-4), ["no-job-id"]),
    ("create.job-id", "a fraction", Story().create(1619.0), ["no-job-id"]),
    ("create.job-id", "true", Story().create(job=True), ["no-job-id"]),
    ("create.job-id", "missing", Story().create(RAISED), ["no-job-id"]),
    ("create.job-id", "no success", Story().create(0, status=500), "not exercised"),
    # The promise create.unique-id:
    ("create.unique-id", "two ids", Story().create().create(OTHER), "kept"),
    ("create.unique-id", "one job only", Story().create(), "not exercised"),
    ("create.unique-id", "the same twice", Story().create().create(), ["same-id-twice"]),
    (
        "create.unique-id",
        "the same at the same time",
        Story().create(at=0, until=1).create(at=0, until=1),
        ["same-id-twice"],
    ),
    # The promise create.visible:
    ("create.visible", "there at once", running(), "kept"),
    ("create.visible", "never asked", Story().create(), "not exercised"),
    (
        "create.visible",
        "404 at first",
        Story().create().answer_poll(error(), status=404).poll(0.1),
        ["not-visible"],
    ),
    (
        "create.visible",
        "an error in the envelope",
        Story().create().answer_poll(error()),
        ["not-visible"],
    ),
    (
        "create.visible",
        "404 while creation was not yet answered",
        Story().create(at=0, until=2).answer_poll(error(), status=404, at=1, until=1.5).poll(0),
        "kept",
    ),
    (
        "create.visible",
        "another job",
        Story().create().poll(0, fields={"jobId": 7}),
        ["not-visible"],
    ),
    (
        "create.visible",
        "a gateway answers",
        Story().create().answer_poll(PAGE, status=502),
        "not exercised",
    ),
    # The promise create.initial-state:
    ("create.initial-state", "0", Story().create(state=0), "kept"),
    ("create.initial-state", "finished at once", Story().create(state=1), "kept"),
    ("create.initial-state", "-1", Story().create(state=-1), ["initial-state"]),
    ("create.initial-state", "above 1", Story().create(state=1.01), ["initial-state"]),
    ("create.initial-state", "text", Story().create(state="0"), ["initial-state"]),
    ("create.initial-state", "null", Story().create(state=None), ["initial-state"]),
    (
        "create.initial-state",
        "carries no such field",
        Story().add("create", "POST", "/", BARE_ID),
        "not exercised",
    ),
    # The promise status.envelope:
    ("status.envelope", "the documented answer", running(), "kept"),
    (
        "status.envelope",
        "under msg",
        Story().create().answer_poll(envelope({"msg": {"state": 0.5}})),
        "kept",
    ),
    (
        "status.envelope",
        "the documented mixture",
        Story()
        .create()
        .answer_poll(envelope({"msg": {"state": 0.5}}))
        .poll(0.5)
        .answer_poll(envelope({"msg": {"state": 0.5}})),
        "kept",
    ),
    (
        "status.envelope",
        "created under msg, polled under system.jobs",
        Story().add("create", "POST", "/", BARE_ID).poll(0.5),
        "kept",
    ),
    (
        "status.envelope",
        "dialect data",
        Story().add("create", "POST", "/", in_data(job_id=JOB)).answer_poll(in_data(state=0.5)),
        "kept",
    ),
    (
        "status.envelope",
        "created in system, polled in data",
        Story().create().answer_poll(in_data(state=0.5)),
        ["another-dialect"],
    ),
    (
        "status.envelope",
        "created in msg, polled in data",
        Story().add("create", "POST", "/", BARE_ID).answer_poll(in_data(state=0.5)),
        ["another-dialect"],
    ),
    (
        "status.envelope",
        "created in data, polled in msg",
        Story()
        .add("create", "POST", "/", in_data(job_id=JOB))
        .answer_poll(envelope({"msg": {"state": 0.5}})),
        ["another-dialect"],
    ),
    (
        "status.envelope",
        "a text among the tasks of data",
        Story()
        .add("create", "POST", "/", in_data(job_id=JOB))
        .answer_poll(in_data(state=1, task=["x"])),
        ["not-the-envelope"],
    ),
    ("status.envelope", "HTTP 500", Story().create().poll(0, status=500), ["not-a-success"]),
    (
        "status.envelope",
        "404",
        Story().create().answer_poll(error(), status=404),
        ["not-a-success"],
    ),
    (
        "status.envelope",
        "no state",
        Story().create().answer_poll(MISSING_STATE),
        ["not-the-envelope"],
    ),
    ("status.envelope", "not UTF-8", Story().create().answer_poll(b"\xff{}"), ["not-the-envelope"]),
    ("status.envelope", "empty", Story().create().answer_poll(b""), ["not-the-envelope"]),
    ("status.envelope", "NaN", Story().create().poll(math.nan), ["not-the-envelope"]),
    (
        "status.envelope",
        "gone after the end",
        running().poll(1).answer_poll(error(), status=404),
        "kept",
    ),
    ("status.envelope", "lost", Story().create().lose("status"), "not exercised"),
    # The promise status.identity:
    ("status.identity", "the job asked for", running(), "kept"),
    ("status.identity", "another", Story().create().poll(0, fields={"jobId": 7}), ["another-job"]),
    (
        "status.identity",
        "carries no such field",
        Story().create().poll(0, fields={"jobId": RAISED}),
        "not exercised",
    ),
    # The promise status.bounds:
    *[("status.bounds", f"{value!r}", Story().create().poll(value), "kept") for value in IN_BOUNDS],
    *[
        ("status.bounds", f"{value!r}", Story().create().poll(value), ["out-of-bounds"])
        for value in OUT_OF_BOUNDS
    ],
    ("status.bounds", "in a cancel answer", cancellable().cancel(-0.5), ["out-of-bounds"]),
    # The promise status.monotonic:
    ("status.monotonic", "forward", running().poll(0.5).poll(0.7).poll(1), "kept"),
    ("status.monotonic", "seen once", Story().create(state=RAISED).poll(0.5), "not exercised"),
    ("status.monotonic", "back", running().poll(0.4), ["went-back"]),
    (
        "status.monotonic",
        "back by a hair",
        Story().create().poll(0.3).poll(math.nextafter(0.3, 0)),
        ["went-back"],
    ),
    (
        "status.monotonic",
        "back behind the creation",
        Story().create(state=0.2).poll(0.1),
        ["went-back"],
    ),
    ("status.monotonic", "back, unnoticed at once", running().poll(0.4).poll(0.6), ["went-back"]),
    ("status.monotonic", "back in a cancel answer", running().cancel(0.2), ["went-back"]),
    (
        "status.monotonic",
        "overtaken while under way",
        Story().create().poll(0.5, at=1, until=3).poll(0.4, at=2, until=4).poll(0.6),
        "kept",
    ),
    (
        "status.monotonic",
        "arrived just as the next was sent",
        Story().create().poll(0.5, at=1, until=2).poll(0.4, at=2, until=3),
        "kept",
    ),
    ("status.monotonic", "cancelled", running().cancel(-1).poll(-1), "kept"),
    ("status.monotonic", "back from cancelled", running().cancel(-1).poll(0.1), "kept"),
    ("status.monotonic", "back from finished", running().poll(1).poll(0.9), "kept"),
    ("status.monotonic", "two jobs", running().create(OTHER).poll(0.1, job=OTHER), "kept"),
    ("status.monotonic", "one id for two jobs", running().create().poll(0.1), "not exercised"),
    (
        "status.monotonic",
        "back, after one id for two jobs",
        Story().create().create().create(OTHER).poll(0.5, job=OTHER).poll(0.4, job=OTHER),
        ["went-back"],
    ),
    # The promise status.terminal:
    ("status.terminal", "stays", running().poll(1).poll(1), "kept"),
    ("status.terminal", "seen once", running().poll(1), "not exercised"),
    ("status.terminal", "back", running().poll(1).poll(0.99), ["unfinished-again"]),
    ("status.terminal", "cancelled by itself", running().poll(1).poll(-1), ["unfinished-again"]),
    (
        "status.terminal",
        "finished at creation, then not",
        Story().create(state=1).poll(0),
        ["unfinished-again"],
    ),
    (
        "status.terminal",
        "at the same time",
        Story().create().poll(1, at=1, until=3).poll(0.9, at=2, until=4),
        "not exercised",
    ),
    # The promise status.completes:
    ("status.completes", "in time", running().poll(1), "kept"),
    ("status.completes", "still running in time", running(), "not exercised"),
    ("status.completes", "too late", running().poll(0.9, at=61), ["never-completed"]),
    ("status.completes", "never moved", Story().create().poll(0, at=61), ["never-moved"]),
    ("status.completes", "stands still", running().poll(0.9).poll(0.9, at=61), ["stands-still"]),
    (
        "status.completes",
        "a cancel of another job came before it showed that first",
        running().create(1620).cancel(-1, job=1620).poll(0.9).poll(0.9, at=61),
        ["still-since-cancel"],
    ),
    (
        "status.completes",
        "a cancel of another job came before the next move was due",
        running().poll(0.9, at=3).poll(0.9).create(1620).cancel(-1, job=1620).poll(0.9, at=61),
        ["still-since-cancel"],
    ),
    (
        "status.completes",
        "a cancel of another job came once it stood still",
        running().poll(0.9).poll(0.9).create(1620).cancel(-1, job=1620, at=9).poll(0.9, at=61),
        ["stands-still"],
    ),
    (
        "status.completes",
        "a cancel of another job, but it moves on",
        running().poll(0.9).create(1620).cancel(-1, job=1620).poll(0.95, at=61),
        ["never-completed"],
    ),
    (
        "status.completes",
        "a cancel of another job right after its creation",
        Story().create(1620).create().cancel(-1, job=1620).poll(0).poll(0, at=61),
        ["never-moved"],
    ),
    ("status.completes", "first seen late, but done", running().poll(1, at=61), "kept"),
    (
        "status.completes",
        "asked in time, answered late",
        running().poll(0.9, at=59, until=62),
        "not exercised",
    ),
    ("status.completes", "cancelled when it was done", running().poll(1).cancel(1), "kept"),
    (
        "status.completes",
        "somebody cancels",
        running().cancel(0.5).poll(0.5, at=70),
        "not exercised",
    ),
    # The promise status.no-spontaneous-cancel:
    ("status.no-spontaneous-cancel", "runs", running(), "kept"),
    (
        "status.no-spontaneous-cancel",
        "-1 without a cancel",
        running().poll(-1),
        ["cancelled-itself"],
    ),
    (
        "status.no-spontaneous-cancel",
        "-1 before the cancel",
        running().poll(-1).cancel(-1),
        ["cancelled-itself"],
    ),
    (
        "status.no-spontaneous-cancel",
        "cancel under way",
        running().poll(-1, at=1, until=3).cancel(-1, at=2, until=4),
        "kept",
    ),
    ("status.no-spontaneous-cancel", "cancel lost", running().lose("cancel").poll(-1), "kept"),
    # The promise status.message-agrees:
    ("status.message-agrees", "completed", running().poll(1), "kept"),
    (
        "status.message-agrees",
        "failed",
        running().poll(1, fields={"JobMsg": {"statusCode": -1}}),
        "kept",
    ),
    (
        "status.message-agrees",
        "completed too early",
        Story().create(state=RAISED).poll(0.9, fields={"JobMsg": {"statusCode": 1}}),
        ["code-disagrees"],
    ),
    (
        "status.message-agrees",
        "still running at 1",
        Story().create(state=RAISED).poll(1, fields={"JobMsg": {"statusCode": 0}}),
        ["code-disagrees"],
    ),
    (
        "status.message-agrees",
        "completed though cancelled",
        running().cancel(-1, fields={"JobMsg": {"statusCode": 1}}),
        ["code-disagrees"],
    ),
    (
        "status.message-agrees",
        "carries no such field",
        Story().create(state=RAISED).poll(1, fields={"JobMsg": RAISED}),
        "not exercised",
    ),
    # The promise status.wire-number:
    ("status.wire-number", "1", running().poll(1), "kept"),
    ("status.wire-number", "-1", running().cancel(-1), "kept"),
    ("status.wire-number", "1.0", running().poll(1.0), ["misspelled"]),
    ("status.wire-number", "-1.0", running().cancel(-1.0), ["misspelled"]),
    ("status.wire-number", "on the way", running().poll(0.0), "not exercised"),
    # Ids that were never given out
    *[
        (requirement, name, unknown(kind, document, status), outcome)
        for requirement, kind in (("status.unknown", "status"), ("cancel.unknown", "cancel"))
        for name, document, status, outcome in (
            ("404", error(), 404, "kept"),
            ("404 as HTML: not the application", b"<html>", 404, "not exercised"),
            ("404 as JSON of another program", {"message": "Not Found"}, 404, "kept"),
            ("a throttle", {"message": "Too Many Attempts."}, 429, "not exercised"),
            ("an error in the envelope", error(), 200, "kept"),
            ("a job", A_JOB, 200, ["unknown-accepted"]),
            ("a job as an error", A_JOB, 404, ["unknown-accepted"]),
            ("an empty success", envelope(None), 200, ["unknown-accepted"]),
            ("success 0, which is not false", SUCCESS_0, 200, ["unknown-accepted"]),
            ("an empty list", [], 200, ["unknown-accepted"]),
        )
    ],
    # The promise cancel.envelope:
    (
        "cancel.envelope",
        "in the dialect mixed",
        Story().add("create", "POST", "/", BARE_ID).cancel(-1),
        "kept",
    ),
    (
        "cancel.envelope",
        "in another dialect than the creation",
        Story().create().answer_cancel(in_data(state=-1)),
        ["another-dialect"],
    ),
    (
        "cancel.envelope",
        "an error in another dialect",
        Story().create().poll(1).answer_cancel({**in_data(), "success": False}, status=409),
        "kept",
    ),
    ("cancel.envelope", "granted", cancellable().cancel(-1), "kept"),
    ("cancel.envelope", "refused", refusing().cancel(0.5, says=REFUSAL), "kept"),
    (
        "cancel.envelope",
        "refused as an error",
        running().answer_cancel(error(), status=409),
        "kept",
    ),
    ("cancel.envelope", "no JSON", running().answer_cancel(b"OK"), ["not-the-envelope"]),
    ("cancel.envelope", "empty", running().answer_cancel(b"", status=204), ["not-the-envelope"]),
    ("cancel.envelope", "no state", running().answer_cancel(MISSING_STATE), ["not-the-envelope"]),
    (
        "cancel.envelope",
        "a server error",
        running().answer_cancel(error(), status=500),
        ["no-envelope-but-an-error"],
    ),
    # The promise cancel.minus-one:
    ("cancel.minus-one", "at once", cancellable().cancel(-1), "kept"),
    ("cancel.minus-one", "a moment later", cancellable().cancel(0.5).poll(0.5).poll(-1), "kept"),
    (
        "cancel.minus-one",
        "finished before the cancel",
        cancellable().cancel(0.9).poll(1, at=9),
        "not exercised",
    ),
    ("cancel.minus-one", "answered with completion", cancellable().cancel(1), "not exercised"),
    (
        "cancel.minus-one",
        "the cancel does not find the job, which runs",
        cancellable().answer_cancel(error(), status=404).poll(0.6, at=9),
        ["cancel-not-found"],
    ),
    ("cancel.minus-one", "ignored", cancellable().cancel(0.5).poll(0.6, at=9), ["cancel-ignored"]),
    (
        "cancel.minus-one",
        "too late",
        cancellable().cancel(0.5).poll(0.6, at=9).poll(-1),
        ["cancel-ignored"],
    ),
    (
        "cancel.minus-one",
        "asked within the grace, answered late",
        cancellable().cancel(0.5).poll(0.6, at=4, until=9),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        "answered with an error",
        cancellable().answer_cancel(error(), status=500).poll(0.6, at=9),
        ["cancel-ignored"],
    ),
    (
        "cancel.minus-one",
        "the job is gone",
        cancellable().cancel(0.5).answer_poll(error(), status=404),
        ["cancelled-away"],
    ),
    (
        "cancel.minus-one",
        "cancel lost",
        cancellable().lose("cancel").poll(0.6, at=9),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        "a gateway answers",
        cancellable().answer_cancel(PAGE, status=503).poll(0.6, at=9),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        "not known whether it can",
        running().cancel(0.5).poll(0.6, at=9),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        "cannot be cancelled",
        refusing().cancel(0.5).poll(0.6, at=9),
        "not exercised",
    ),
    # The promise cancel.immediate:
    ("cancel.immediate", "at once", cancellable().cancel(-1), "kept"),
    ("cancel.immediate", "a moment later", cancellable().cancel(0.5).poll(-1), ["cancelled-later"]),
    ("cancel.immediate", "never", cancellable().cancel(0.5).poll(1), "not exercised"),
    ("cancel.immediate", "finished before the cancel", cancellable().cancel(1), "not exercised"),
    (
        "cancel.immediate",
        "not known whether it can",
        running().cancel(0.5).poll(-1),
        "not exercised",
    ),
    # The promise cancel.persists:
    ("cancel.persists", "for good", running().cancel(-1).poll(-1).poll(-1, at=500), "kept"),
    ("cancel.persists", "goes on", running().cancel(-1).poll(0.7), ["uncancelled"]),
    ("cancel.persists", "finishes", running().cancel(-1).poll(-1).poll(1), ["uncancelled"]),
    (
        "cancel.persists",
        "gone",
        running().cancel(-1).answer_poll(error(), status=404),
        ["cancelled-gone"],
    ),
    (
        "cancel.persists",
        "shown in another poll only",
        running().cancel(0.5).poll(-1).poll(0.5),
        ["uncancelled"],
    ),
    (
        "cancel.persists",
        "asked before -1 was there",
        running().poll(0.6, at=1, until=4).cancel(-1, at=2, until=3),
        "not exercised",
    ),
    (
        "cancel.persists",
        "the second cancel is refused",
        running().cancel(-1).answer_cancel(error(), status=409),
        "not exercised",
    ),
    # The promise cancel.completed:
    ("cancel.completed", "stays", running().poll(1).cancel(1).poll(1), "kept"),
    (
        "cancel.completed",
        "told as an error",
        running().poll(1).answer_cancel(error(), status=409).poll(1),
        "kept",
    ),
    ("cancel.completed", "not asked again", running().poll(1).cancel(1), "not exercised"),
    (
        "cancel.completed",
        "cancelled all the same",
        running().poll(1).cancel(-1).poll(-1),
        ["finished-changed", "finished-changed"],
    ),
    (
        "cancel.completed",
        "-1 in a later status",
        running().poll(1).cancel(1).poll(-1),
        ["finished-changed"],
    ),
    ("cancel.completed", "starts anew", running().poll(1).cancel(1).poll(0), ["finished-changed"]),
    ("cancel.completed", "running still", running().cancel(1).poll(1), "not exercised"),
    # The promise cancel.repeat:
    ("cancel.repeat", "stays", running().cancel(-1).cancel(-1).poll(-1), "kept"),
    (
        "cancel.repeat",
        "refused",
        running().cancel(-1).answer_cancel(error(), status=409).poll(-1),
        "kept",
    ),
    (
        "cancel.repeat",
        "a server error",
        running().cancel(-1).answer_cancel(error(), status=500),
        ["repeat-failed"],
    ),
    ("cancel.repeat", "shows progress", running().cancel(-1).cancel(0.5), ["repeat-changed"]),
    ("cancel.repeat", "revives", running().cancel(-1).cancel(-1).poll(0.6), ["repeat-changed"]),
    ("cancel.repeat", "once only", running().cancel(-1).poll(-1), "not exercised"),
    # The promise cancel.isolation:
    (
        "cancel.isolation",
        "unmoved",
        beside_another().cancel(-1, job=OTHER).poll(0.6),
        "kept",
    ),
    (
        "cancel.isolation",
        "cancelled too",
        beside_another().cancel(-1, job=OTHER).poll(-1),
        ["other-changed"],
    ),
    (
        "cancel.isolation",
        "reset",
        beside_another().cancel(-1, job=OTHER).poll(0),
        ["other-changed"],
    ),
    (
        "cancel.isolation",
        "gone",
        beside_another().cancel(-1, job=OTHER).answer_poll(error(), status=404),
        ["other-changed"],
    ),
    (
        "cancel.isolation",
        "back after a command to the agent, which is no cancel",
        running().tell_agent("start").poll(0.2),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "a refused cancel resets another",
        beside_another().cancel(0, job=OTHER).poll(0.2),
        ["other-changed"],
    ),
    (
        "cancel.isolation",
        "back without any cancel",
        running().create(OTHER).poll(0.2),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "cancelled itself",
        beside_another().cancel(-1).cancel(-1, job=OTHER).poll(-1),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "back before the cancel",
        running().poll(0.2).create(OTHER).cancel(-1, job=OTHER).poll(0.3),
        "kept",
    ),
    (
        "cancel.isolation",
        "reset after its own cancel was refused",
        refusing().create(OTHER).cancel(0.6).poll(0.6).cancel(-1, job=OTHER).poll(0),
        ["other-changed"],
    ),
    (
        "cancel.isolation",
        "unmoved after its own cancel was refused",
        refusing().create(OTHER).cancel(0.6).poll(0.6).cancel(-1, job=OTHER).poll(0.7),
        "kept",
    ),
    (
        "cancel.isolation",
        "reset by its own refused cancel or by that of another",
        refusing().create(OTHER).cancel(0.6).cancel(-1, job=OTHER).poll(0),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "its own cancel, under way at the poll before, may have reset it",
        refusing()
        .create(OTHER)
        .cancel(0.6, at=5, until=7)
        .poll(0.6, at=6, until=8)
        .cancel(-1, job=OTHER)
        .poll(0),
        "suspected",
    ),
    (
        "cancel.isolation",
        "the answer to its own refused cancel shows too much",
        refusing().create(OTHER).cancel(0.9).cancel(-1, job=OTHER).poll(0.6),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "at -1 after its own cancel was refused",
        refusing().create(OTHER).cancel(0.6).poll(0.6).cancel(-1, job=OTHER).poll(-1),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "reset after its own cancel, which may have been granted",
        running().create(OTHER).cancel(0.6).poll(0.6).cancel(-1, job=OTHER).poll(0),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "back after a cancel and a creation",
        running().create(OTHER).cancel(-1, job=OTHER).poll(0.2),
        "suspected",
    ),
    *(
        (
            "cancel.isolation",
            f"back after a cancel and a {command} of the agent",
            beside_another().cancel(-1, job=OTHER).tell_agent(command).poll(0.2),
            "suspected",
        )
        for command in ("start", "stop", "restart")
    ),
    (
        "cancel.isolation",
        "cancelled after a cancel and a creation that was not answered",
        beside_another().cancel(-1, job=OTHER).lose("create").poll(-1),
        "suspected",
    ),
    (
        "cancel.isolation",
        "back after a cancel; a creation was under way when the state before was asked for",
        running()
        .poll(0.7, at=1, until=1.2)
        .create(OTHER, at=0.9, until=1.1)
        .cancel(-1, job=OTHER)
        .poll(0.2),
        "suspected",
    ),
    (
        "cancel.isolation",
        "back after a cancel; a creation was under way when the state after was answered",
        beside_another()
        .cancel(-1, job=OTHER, at=1, until=1.1)
        .poll(0.2, at=2, until=2.2)
        .create(LAST, at=2.1, until=2.3),
        "suspected",
    ),
    (
        "cancel.isolation",
        "back after a cancel, long after a creation that others outlast",
        Story()
        .create(LAST, at=0, until=9)
        .create(at=0.1)
        .create(OTHER, at=10)
        .poll(0.6)
        .cancel(-1, job=OTHER)
        .poll(0.2),
        ["other-changed"],
    ),
    (
        "cancel.isolation",
        "back after a cancel and a creation, and once more after a cancel",
        running().create(OTHER).cancel(-1, job=OTHER).poll(0.2).cancel(-1, job=OTHER).poll(0.1),
        ["other-changed"],
    ),
    # The promise cancel.race:
    (
        "cancel.race",
        "cancel wins",
        running().cancel(-1, at=1, until=3).poll(0.6, at=1, until=3).poll(-1),
        "kept",
    ),
    (
        "cancel.race",
        "completion wins",
        running().cancel(1, at=1, until=3).poll(0.9, at=1, until=3).poll(1),
        "kept",
    ),
    (
        "cancel.race",
        "both",
        running().cancel(-1, at=1, until=3).poll(1, at=1, until=3),
        ["no-order"],
    ),
    (
        "cancel.race",
        "both, later",
        running().cancel(-1, at=1, until=3).poll(0.6, at=1, until=3).poll(1),
        ["no-order"],
    ),
    (
        "cancel.race",
        "undone",
        running().cancel(-1, at=1, until=3).poll(0.6, at=1, until=3).poll(0.7),
        ["no-order"],
    ),
    (
        "cancel.race",
        "two cancels disagree for good",
        running().cancel(-1, at=1, until=3).cancel(1, at=1, until=3),
        ["no-order"],
    ),
    ("cancel.race", "no overlap", running().cancel(-1).poll(1), "not exercised"),
    (
        "cancel.race",
        "known to be done",
        running().poll(1).cancel(1, at=5, until=7).poll(1, at=5, until=7),
        "not exercised",
    ),
    # The promise refuse.state:
    ("refuse.state", "shows progress", refusing().cancel(0.6, says=REFUSAL).poll(0.7), "kept"),
    ("refuse.state", "-1", refusing().cancel(-1, says=REFUSAL), ["refused-but-cancelled"]),
    (
        "refuse.state",
        "-1 later",
        refusing().cancel(0.6, says=REFUSAL).poll(-1),
        ["refused-but-cancelled"],
    ),
    (
        "refuse.state",
        "no state",
        refusing().answer_cancel(error(), status=409).poll(0.6),
        ["refused-without-state"],
    ),
    ("refuse.state", "stale", refusing().cancel(0, says=REFUSAL), ["refused-stale"]),
    ("refuse.state", "ahead", refusing().cancel(0.9, says=REFUSAL).poll(0.6), ["refused-ahead"]),
    ("refuse.state", "done meanwhile", refusing().cancel(1, says=REFUSAL), "not exercised"),
    ("refuse.state", "not known whether it can", running().cancel(-1), "not exercised"),
    (
        "refuse.state",
        "told as an error, maybe because it was done",
        refusing().answer_cancel(error(), status=409).poll(1),
        "not exercised",
    ),
    (
        "refuse.state",
        "ahead of what shows once it was done",
        refusing().cancel(0.6, says=REFUSAL).poll(1).poll(0.2),
        "kept",
    ),
    (
        "refuse.state",
        "behind what was seen first, but the job had gone back since",
        refusing().poll(0.1).cancel(0.2, says=REFUSAL),
        "kept",
    ),
    (
        "refuse.state",
        "ahead of what the job goes back to later",
        refusing().cancel(0.6, says=REFUSAL).poll(0.7).poll(0.3),
        "kept",
    ),
    (
        "refuse.state",
        "ahead of what shows after it, or set back by a creation",
        refusing().cancel(0.9, says=REFUSAL).create(OTHER).poll(0.6),
        "suspected",
    ),
    (
        "refuse.state",
        "stale, or set back by a creation",
        refusing().create(OTHER).cancel(0.1, says=REFUSAL),
        "suspected",
    ),
    # The promise refuse.message:
    ("refuse.message", "says so", refusing().cancel(0.6, says=REFUSAL), "kept"),
    (
        "refuse.message",
        "says so in the job",
        refusing().cancel(0.6, fields={"TasksMsg": list(REFUSAL)}),
        "kept",
    ),
    (
        "refuse.message",
        "says so in an error",
        refusing().answer_cancel(error("no"), status=409).poll(0.6),
        "kept",
    ),
    ("refuse.message", "silent", refusing().cancel(0.6), ["refused-silently"]),
    ("refuse.message", "empty", refusing().cancel(0.6, says=("",)), ["refused-silently"]),
    ("refuse.message", "blank", refusing().cancel(0.6, says=(" \n",)), ["refused-silently"]),
    (
        "refuse.message",
        "the same as when granted",
        refusing()
        .cancel(0.6, says=("Done",))
        .create(OTHER, cancellable=True)
        .cancel(-1, job=OTHER, says=("Done",)),
        ["refused-silently"],
    ),
    (
        "refuse.message",
        "what every answer says",
        Story()
        .create(cancellable=False)
        .poll(0.5, fields={"TasksMsg": ["50 % done"]})
        .cancel(0.6, fields={"TasksMsg": ["60 % done"]}),
        ["refused-silently"],
    ),
    *(
        (
            "refuse.state",
            f"the cancel does not find the job, which runs: HTTP {status}",
            refusing().answer_cancel(error(), status=status).poll(0.6),
            ["refused-not-found"],
        )
        for status in (404, 410)
    ),
    # The promise refuse.continues:
    ("refuse.continues", "reaches 1", refusing().cancel(0.6).poll(0.7).poll(1), "kept"),
    ("refuse.continues", "not watched", refusing().cancel(0.6), "not exercised"),
    ("refuse.continues", "reset", refusing().cancel(0.6).poll(0), ["refused-reset"]),
    (
        "refuse.continues",
        "reset by the second cancel that is refused",
        refusing().cancel(0.6).poll(0.7).cancel(0.7).poll(0.6).poll(1),
        ["refused-reset"],
    ),
    (
        "refuse.continues",
        "reset by the cancel that was answered first",
        refusing().cancel(0.6, at=5, until=9).cancel(0.6, at=6, until=7).poll(0.2, at=8),
        ["refused-reset"],
    ),
    (
        "refuse.continues",
        "reset while the next cancel has no answer yet",
        refusing().cancel(0.6, at=5, until=6).cancel(0.6, at=7, until=12).poll(0.2, at=8, until=9),
        ["refused-reset"],
    ),
    (
        "refuse.continues",
        "reset by the second cancel, while the third has no answer yet",
        refusing()
        .cancel(0.6, at=5, until=6)
        .poll(0.7, at=6.5, until=6.6)
        .cancel(0.7, at=7, until=8)
        .cancel(0.7, at=9, until=14)
        .poll(0.65, at=10, until=11),
        ["refused-reset"],
    ),
    (
        "refuse.continues",
        "back only after the refusal was seen to change nothing",
        refusing().cancel(0.6).poll(0.6).poll(0.2).poll(1),
        "kept",
    ),
    (
        "refuse.continues",
        "stands still at last, but moved on after the refusal",
        refusing().cancel(0.6).poll(0.9).poll(0.9, at=70),
        "not exercised",
    ),
    (
        "refuse.continues",
        "stopped by the second cancel that is refused",
        refusing().cancel(0.6).poll(0.7).cancel(0.8).poll(0.8, at=70),
        ["refused-stopped"],
    ),
    (
        "refuse.continues",
        "slow, but it moves",
        refusing().cancel(0.6).poll(0.9, at=70).poll(1),
        "kept",
    ),
    ("refuse.continues", "stopped", refusing().cancel(0.6).poll(0.6, at=70), ["refused-stopped"]),
    (
        "refuse.continues",
        "gone",
        refusing().cancel(0.6).answer_poll(error(), status=404),
        ["refused-gone"],
    ),
    (
        "refuse.continues",
        "gone when it was done",
        refusing().cancel(0.6).poll(1).answer_poll(error(), status=404),
        "kept",
    ),
    *(
        (
            "refuse.continues",
            f"reset by the refused cancel, or by {what}",
            story.poll(0.2).poll(1),
            "suspected",
        )
        for what, story in {
            "a creation": refusing().cancel(0.6).create(OTHER),
            "the cancel of another": refusing().create(OTHER).cancel(0.6).cancel(-1, job=OTHER),
            "a start of the agent": refusing().cancel(0.6).tell_agent("start"),
            "a creation before it": refusing().create(OTHER).answer_cancel(error(), status=409),
        }.items()
    ),
    (
        "refuse.continues",
        "reset after a creation, though its refusal shows that it was not",
        refusing().create(OTHER).cancel(0.6).poll(0.2).poll(1),
        ["refused-reset"],
    ),
    (
        "refuse.continues",
        "reset by the second cancel, after one that may have reset it",
        refusing().cancel(0.6).create(OTHER).poll(0.2).cancel(0.2).poll(0).poll(1),
        ["refused-reset"],
    ),
    (
        "refuse.continues",
        "reset by the second cancel, long after the cancel of another, which the first outlasts",
        refusing()
        .create(OTHER)
        .cancel(0.6, at=5, until=20)
        .cancel(-1, job=OTHER, at=6, until=7)
        .cancel(0.6, at=9, until=10)
        .poll(0.2, at=21)
        .poll(1),
        ["refused-reset"],
    ),
    (
        "refuse.continues",
        "the refusal shows -1, but the job goes on",
        refusing().cancel(-1).poll(0.6).poll(1),
        "kept",
    ),
    (
        "refuse.continues",
        "the refusal shows too much",
        refusing().cancel(0.9).poll(0.6).poll(1),
        "kept",
    ),
    (
        "refuse.continues",
        "the refusal shows -1, and the job is reset",
        refusing().cancel(-1).poll(0.1).poll(1),
        ["refused-reset"],
    ),
    (
        "refuse.continues",
        "behind what was seen first, but the job had gone back since",
        refusing().poll(0.2).cancel(0.2).poll(0.3).poll(1),
        "kept",
    ),
    # The promise result.next-step:
    ("result.next-step", "a list", Story().create(), "kept"),
    ("result.next-step", "null", Story().create(fields={"nextStep": None}), ["no-list"]),
    ("result.next-step", "an object", Story().create(fields={"nextStep": {}}), ["no-list"]),
    (
        "result.next-step",
        "missing where shown",
        Story().create(fields={"nextStep": RAISED}),
        ["no-list"],
    ),
    (
        "result.next-step",
        "missing where not shown",
        Story().create().poll(0, fields={"nextStep": RAISED}),
        "kept",
    ),
    (
        "result.next-step",
        "text in a status",
        Story().create().poll(1, fields={"nextStep": "x"}),
        ["no-list"],
    ),
    (
        "result.next-step",
        "another dialect",
        Story().add("create", "POST", "/", BARE_ID),
        "not exercised",
    ),
    # The promise result.stable:
    ("result.stable", "the same", running().poll(1).poll(1), "kept"),
    ("result.stable", "asked once", running().poll(1), "not exercised"),
    (
        "result.stable",
        "other tasks",
        running().poll(1).poll(1, fields={"TasksMsg": ["x"]}),
        ["result-changed"],
    ),
    (
        "result.stable",
        "other next steps",
        running().poll(1, fields={"nextStep": ["x"]}).poll(1),
        ["result-changed"],
    ),
    (
        "result.stable",
        "gone",
        running().poll(1).answer_poll(error(), status=404),
        ["finished-gone"],
    ),
    (
        "result.stable",
        "an unknown field changes",
        running().poll(1, fields={"now": 1}).poll(1, fields={"now": 2}),
        "kept",
    ),
    (
        "result.stable",
        "the same, in an answer that was kept and in one that is too large",
        running()
        .poll(1, fields={"TasksMsg": ["x" * (LARGE // 2)], "now": ""})
        .poll(1, fields={"TasksMsg": ["x" * (LARGE // 2)], "now": "y" * LARGE}),
        "kept",
    ),
    (
        "result.stable",
        "another, in an answer that was kept and in one that is too large",
        running()
        .poll(1, fields={"TasksMsg": ["x" * (LARGE // 2)], "now": ""})
        .poll(1, fields={"TasksMsg": ["y" * (LARGE // 2)], "now": "y" * LARGE}),
        ["result-changed"],
    ),
    # The promise auth.required:
    ("auth.required", "401", keyless(error(), 401), "kept"),
    ("auth.required", "a redirect", keyless(b"", 302), "not exercised"),
    ("auth.required", "401 of another program", keyless(b"<html>", 401), "kept"),
    ("auth.required", "403 as JSON of another program", keyless({"message": "No"}, 403), "kept"),
    ("auth.required", "a firewall's page", keyless(b"<html>", 403), "not exercised"),
    ("auth.required", "an error in the envelope", keyless(error(), 200), "kept"),
    ("auth.required", "let in", keyless(A_JOB, 200), ["let-in"]),
    ("auth.required", "refused, but the job is told", keyless(A_JOB, 401), ["let-in"]),
    (
        "auth.required",
        "refused, but the job is cancelled",
        keyless(error(), 401, kind="cancel").poll(-1),
        ["done-all-the-same"],
    ),
    (
        "auth.required",
        "another cancel without a key was let in, and cancelled the job",
        keyless(error(), 401, kind="cancel")
        .add("cancel", "DELETE", "/", CANCELLED_JOB, job=JOB, probe="wrong-key")
        .poll(-1),
        ["let-in"],
    ),
    (
        "auth.required",
        "cancelled with the key",
        keyless(error(), 401, kind="cancel").cancel(-1).poll(-1),
        "kept",
    ),
    # The promise input.bad-id:
    ("input.bad-id", "404", bad_id(error(), 404), "kept"),
    ("input.bad-id", "422", bad_id({"message": "no"}, 422), "kept"),
    ("input.bad-id", "500", bad_id(error(), 500), ["bad-id-status"]),
    ("input.bad-id", "200", bad_id(error(), 200), ["bad-id-status"]),
    ("input.bad-id", "a gateway answers", bad_id(b"", 503), "not exercised"),
    ("input.bad-id", "HTML of another program", bad_id(b"<html>", 404), "not exercised"),
    ("input.bad-id", "Laravel's page", bad_id(LARAVEL_PAGE, 404), ["bad-id-no-json"]),
    ("input.bad-id", "Laravel's crash", bad_id(LARAVEL_PAGE, 500), ["bad-id-status"]),
    ("input.bad-id", "another job", bad_id(A_JOB, 200), ["bad-id-accepted"]),
    # Which answers count at all:
    *[
        (
            "status.envelope",
            f"HTTP {status} without the envelope tells nothing of a job",
            Story().create().answer_poll(document, status=status),
            "not exercised",
        )
        for status in (302, 400, 401, 403, 404, 407, 408, 410, 429, 500, 502, 503, 504, 520)
        for document in (PAGE, b"", {"message": "No"}, {"success": False})
    ],
    *[
        (
            "status.envelope",
            f"HTTP {status} in the envelope: about the key or the number of requests",
            Story().create().answer_poll(error(), status=status),
            "not exercised",
        )
        for status in (401, 429)
    ],
    *[
        (
            "status.envelope",
            f"HTTP {status} of the application itself",
            Story().create().answer_poll(document, status=status),
            ["not-a-success"],
        )
        for status, document in (
            (403, error()),
            (500, error()),
            (503, error()),
            (500, {"success": False, "messages": []}),
            (500, {"message": "Server Error"}),
            (404, {"message": "No query results for model [Job] 7"}),
            (422, {"message": "Wrong", "errors": {"id": ["wrong"]}}),
            (500, {"message": "?", "exception": "ErrorException", "trace": []}),
            (500, LARAVEL_PAGE),
            (500, b"<br />\n<b>Fatal error</b>:  Uncaught Error"),
        )
    ],
    *[
        (
            "status.envelope",
            f"HTTP {status}",
            Story().create().poll(0.2, status=status),
            ["not-a-success"],
        )
        for status in (199, 300, 400, 402, 430, 500, 501, 505)
    ],
    ("status.envelope", "HTTP 299", Story().create().poll(0.2, status=299), "kept"),
    (
        "status.monotonic",
        "a server error shows no state",
        running().poll(0.2, status=500).poll(0.6),
        "kept",
    ),
    (
        "status.monotonic",
        "a gateway shows no state",
        running().answer_poll(PAGE, status=503).poll(0.6),
        "kept",
    ),
    *[
        (
            "cancel.persists",
            f"gone: {name}",
            running().cancel(-1).answer_poll(document, status=status),
            ["cancelled-gone"],
        )
        for name, document, status in (
            ("404", error(), 404),
            ("410", error(), 410),
            ("an error in the envelope", error(), 200),
            ("an error in the envelope, 409", error(), 409),
        )
    ],
    *[
        (
            "cancel.persists",
            f"not gone: {name}",
            running().cancel(-1).answer_poll(document, status=status),
            "not exercised",
        )
        for name, document, status in (
            ("405", b"<html>", 405),
            ("411", b"<html>", 411),
            ("a server error", error(), 500),
            ("success 0, which is not false", SUCCESS_0, 200),
        )
    ],
    # A rule goes on after its first judgement:
    ("create.job-id", "after one that failed", Story().create(status=500).create(), "kept"),
    ("create.job-id", "the smallest", Story().create(1), "kept"),
    ("status.bounds", "of the smallest id", Story().create(1).poll(0.5, job=1), "kept"),
    (
        "create.initial-state",
        "after one that failed",
        Story().create(status=500).create(OTHER, state=-1),
        ["initial-state"],
    ),
    (
        "create.initial-state",
        "of a creation that failed",
        Story().create(state=-1, status=500),
        "not exercised",
    ),
    (
        "create.initial-state",
        "of a gateway's answer",
        Story().add("create", "POST", "/", PAGE, status=503),
        "not exercised",
    ),
    (
        "cancel.repeat",
        "fails, then shows progress",
        running().cancel(-1).answer_cancel(error(), status=500).cancel(0.5),
        ["repeat-failed", "repeat-changed"],
    ),
    (
        "status.message-agrees",
        "after an answer without a code",
        Story().create(fields={"JobMsg": RAISED}).poll(1, fields={"JobMsg": {"statusCode": 0}}),
        ["code-disagrees"],
    ),
    (
        "refuse.message",
        "silent, after a job that does not refuse",
        Story().create(OTHER, cancellable=True).create(cancellable=False).poll(0.5).cancel(0.6),
        ["refused-silently"],
    ),
    (
        "refuse.message",
        "silent, at the same time as one that is not refused",
        refusing().cancel(-1, at=1, until=3).cancel(0.6, at=1, until=3),
        ["refused-silently"],
    ),
    (
        "status.unknown",
        "a job, after other requests",
        running().add("status", "GET", "/", A_JOB, job=9, probe="unknown-id"),
        ["unknown-accepted"],
    ),
    (
        "status.terminal",
        "cancelled, then running",
        running().poll(1).cancel(-1).poll(0.5),
        ["unfinished-again"],
    ),
    # Probes are not judged as ordinary requests, nor as one another:
    ("input.bad-id", "ordinary requests", running(), "not exercised"),
    ("input.bad-id", "an unknown id", unknown("status", b"<", 200), "not exercised"),
    ("input.bad-id", "399", bad_id(error(), 399), ["bad-id-status"]),
    ("input.bad-id", "499", bad_id(error(), 499), "kept"),
    (
        "status.unknown",
        "a wrong key",
        Story().add("status", "GET", "/", A_JOB, probe="wrong-key"),
        "not exercised",
    ),
    ("auth.required", "cancelled after a keyless status", keyless(error(), 401).poll(-1), "kept"),
    (
        "auth.required",
        "cancelled before",
        cancellable()
        .poll(-1)
        .add("cancel", "DELETE", "/", error(), status=401, job=JOB, probe="no-key"),
        "kept",
    ),
    (
        "auth.required",
        "cancelled just before",
        cancellable()
        .poll(-1, at=1, until=2)
        .add("cancel", "DELETE", "/", error(), at=2, status=401, job=JOB, probe="no-key"),
        "kept",
    ),
    # Cancels, and requests at the same time:
    (
        "create.visible",
        "gone by a cancel",
        Story().create().cancel(-1).answer_poll(error(), status=404),
        "not exercised",
    ),
    ("create.visible", "there after a cancel", Story().create().cancel(-1).poll(-1), "kept"),
    (
        "create.visible",
        "gone before a cancel",
        Story().create().answer_poll(error(), status=404).cancel(0),
        ["not-visible"],
    ),
    (
        "create.visible",
        "gone as a cancel is sent",
        Story().create().answer_poll(error(), status=404, at=1, until=2).cancel(0, at=2),
        "not exercised",
    ),
    ("status.completes", "done after a cancel", running().cancel(0.5).poll(1), "not exercised"),
    (
        "status.completes",
        "too late, just before a cancel",
        running().poll(0.9, at=61, until=62).cancel(0.9, at=62),
        "not exercised",
    ),
    ("status.completes", "unfinished again, late", running().poll(1).poll(0.9, at=70), "kept"),
    (
        "status.no-spontaneous-cancel",
        "seen after a cancel only",
        Story().create(state=RAISED).cancel(-1),
        "not exercised",
    ),
    (
        "status.no-spontaneous-cancel",
        "seen just before a cancel",
        Story().create(state=RAISED).poll(0.1, at=1, until=2).cancel(-1, at=2),
        "not exercised",
    ),
    (
        "status.terminal",
        "cancelled when it was done",
        running().poll(1).cancel(-1),
        "not exercised",
    ),
    (
        "status.message-agrees",
        "an unknown code while running",
        Story().create(fields={"JobMsg": RAISED}).poll(0.5, fields={"JobMsg": {"statusCode": 2}}),
        "kept",
    ),
    ("cancel.minus-one", "undone later", cancellable().cancel(-1).poll(0.6, at=9), "kept"),
    (
        "cancel.minus-one",
        "done, then running",
        cancellable().cancel(0.9).poll(1).poll(0.95, at=9),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        "another cancel under way was lost",
        cancellable().cancel(0.5, at=1, until=3).lose("cancel", at=2, until=4).poll(0.6, at=10),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        "a cancel without a key came before",
        cancellable()
        .add("cancel", "DELETE", "/", error(), status=401, job=JOB, probe="no-key")
        .cancel(0.5)
        .poll(0.6, at=9),
        ["cancel-ignored"],
    ),
    (
        "cancel.immediate",
        "a cancel that was lost came before",
        cancellable().lose("cancel").answer_cancel(error(), status=409).poll(-1),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        "another cancel under way had no key",
        cancellable()
        .cancel(0.5, at=1, until=3)
        .add("cancel", "DELETE", "/", error(), status=401, job=JOB, probe="no-key", at=2, until=4)
        .poll(0.6, at=10),
        "not exercised",
    ),
    (
        "cancel.immediate",
        "by the second cancel",
        cancellable().cancel(0.5).cancel(-1),
        ["cancelled-later"],
    ),
    (
        "cancel.immediate",
        "by one of two at the same time",
        cancellable().cancel(0.5, at=1, until=3).cancel(-1, at=1, until=3),
        "kept",
    ),
    (
        "cancel.isolation",
        "cancelled before the other's cancel",
        running().create(OTHER).poll(-1).cancel(-1, job=OTHER).poll(-1),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "not yet visible",
        Story().create().create(OTHER).cancel(-1, job=OTHER).answer_poll(error(), status=404),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "cancelled just before the other's cancel",
        running().create(OTHER).poll(-1, at=4, until=5).cancel(-1, job=OTHER, at=5),
        "not exercised",
    ),
    (
        "cancel.race",
        "goes on",
        running().cancel(0.5, at=1, until=3).poll(0.5, at=1, until=3).poll(0.7).poll(1),
        "kept",
    ),
    # What lost answers hide:
    (
        "status.completes",
        "no answer any more",
        running()
        .answer_poll(PAGE, status=503)
        .answer_poll(PAGE, status=503)
        .answer_poll(PAGE, status=503)
        .answer_poll(PAGE, status=503)
        .lose("status"),
        "inconclusive",
    ),
    (
        "status.envelope",
        "no answer after a cancel",
        silent(running().poll(0.6).poll(0.7).poll(0.8).cancel(-1), 3).cancel(-1),
        "inconclusive",
    ),
    (
        "status.envelope",
        "two without an answer after a cancel",
        silent(running().poll(0.6).poll(0.7).cancel(-1), 2).cancel(-1),
        "kept",
    ),
    (
        "status.envelope",
        "every second a crash in plain text",
        running()
        .answer_poll(b"Error", status=500)
        .poll(0.6)
        .answer_poll(b"Error", status=500)
        .poll(0.7)
        .answer_poll(b"Error", status=500)
        .poll(1),
        "inconclusive",
    ),
    (
        "status.envelope",
        "a quarter",
        silent(silent(running().poll(0.6).poll(0.7).poll(0.8).poll(0.9), 2).poll(1), 1)
        .poll(1)
        .poll(1)
        .poll(1),
        "inconclusive",
    ),
    (
        "status.envelope",
        "less than a quarter",
        silent(silent(running().poll(0.6).poll(0.7).poll(0.8).poll(0.9), 2).poll(1), 1)
        .poll(1)
        .poll(1)
        .poll(1)
        .poll(1),
        "kept",
    ),
    (
        "status.envelope",
        "every second throttled",
        running()
        .answer_poll(PAGE, status=429)
        .poll(0.6)
        .answer_poll(PAGE, status=429)
        .poll(0.7)
        .answer_poll(PAGE, status=429)
        .poll(1),
        "kept",
    ),
    (
        "status.envelope",
        "broken before the answers were lost",
        silent(running().answer_poll(b"[]"), 3),
        ["not-the-envelope"],
    ),
    (
        "cancel.persists",
        "only cancels answered after -1",
        silent(running().poll(0.6).poll(0.7).poll(0.8).cancel(-1), 3).cancel(-1),
        "inconclusive",
    ),
    (
        "cancel.persists",
        "one status answered after -1",
        silent(running().cancel(-1).poll(-1), 3).cancel(-1),
        "kept",
    ),
    (
        "cancel.envelope",
        "three of four cancels lost",
        running().cancel(-1).lose("cancel").lose("cancel").lose("cancel"),
        "inconclusive",
    ),
    ("cancel.envelope", "one lost", running().cancel(-1).lose("cancel"), "kept"),
    (
        "create.envelope",
        "three lost",
        Story().create().lose("create").lose("create").lose("create"),
        "inconclusive",
    ),
    # On the boundary, and several faults in a row:
    (
        "cancel.repeat",
        "HTTP 499",
        running().cancel(-1).answer_cancel(error(), status=499).poll(-1),
        "kept",
    ),
    (
        "cancel.repeat",
        "HTTP 501",
        running().cancel(-1).answer_cancel(error(), status=501),
        ["repeat-failed"],
    ),
    (
        "create.visible",
        "of a creation that failed",
        Story().create(status=500).poll(0.5),
        "not exercised",
    ),
    (
        "input.bad-id",
        "a server error, after other requests",
        running().add("status", "GET", "/", error(), status=500, probe="bad-id"),
        ["bad-id-status"],
    ),
    ("input.bad-id", "400", bad_id(error(), 400), "kept"),
    (
        "status.monotonic",
        "back, and forward a little",
        Story().create().poll(0.7).poll(0.3).poll(0.5),
        ["went-back", "went-back"],
    ),
    (
        "cancel.minus-one",
        "within the grace",
        cancellable().cancel(0.5, at=1, until=2).poll(0.6, at=6.5),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        "at the end of the grace",
        cancellable().cancel(0.5, at=1, until=2).poll(0.6, at=7),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        "just beyond the grace",
        cancellable().cancel(0.5, at=1, until=2).poll(0.6, at=7.5),
        ["cancel-ignored"],
    ),
    (
        "cancel.immediate",
        "done before",
        cancellable().poll(1).answer_cancel(error(), status=409).poll(-1),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "an answer about another job",
        running().create(OTHER).cancel(-1, job=OTHER).poll(0.1, fields={"jobId": 7}).poll(0.6),
        "kept",
    ),
    (
        "cancel.isolation",
        "back, after a state that is not allowed",
        beside_another().cancel(-1, job=OTHER).poll("x").poll(0.2),
        ["other-changed"],
    ),
    (
        "cancel.isolation",
        "stands still",
        running().create(OTHER).cancel(-1, job=OTHER).poll(0.5),
        "kept",
    ),
    (
        "cancel.isolation",
        "the younger is cancelled too",
        Story().create(OTHER).create().poll(0.5, job=OTHER).cancel(-1).poll(-1, job=OTHER),
        ["other-changed"],
    ),
    (
        "cancel.race",
        "back before the race",
        running().poll(0.4).cancel(0.5, at=5, until=7).poll(0.5, at=5, until=7),
        "kept",
    ),
    ("create.envelope", "after one that was lost", Story().lose("create").create(), "kept"),
    ("create.visible", "a server error", Story().create().poll(0, status=500), "not exercised"),
    ("create.visible", "no JSON", Story().create().answer_poll(b"<"), "not exercised"),
    (
        "refuse.state",
        "no state, then -1",
        refusing().answer_cancel(error(), status=409).poll(0.6).cancel(-1),
        ["refused-without-state", "refused-but-cancelled"],
    ),
    (
        "refuse.state",
        "stale twice",
        refusing().cancel(0).poll(0.6).cancel(0.1),
        ["refused-stale", "refused-stale"],
    ),
    (
        "refuse.state",
        "-1 twice at the same time",
        refusing().cancel(-1, at=1, until=3).cancel(-1, at=1, until=3),
        ["refused-but-cancelled", "refused-but-cancelled"],
    ),
    (
        "refuse.state",
        "-1 when it was done",
        refusing().cancel(0.6).poll(1).poll(-1),
        ["refused-but-cancelled"],
    ),
    ("refuse.state", "known to be done", refusing().poll(1).cancel(-1), "not exercised"),
    (
        "refuse.continues",
        "reset, after a state that is not allowed",
        refusing().cancel(0.6).poll("x").poll(0.2),
        ["refused-reset"],
    ),
    (
        "refuse.continues",
        "stands still for a while",
        refusing().cancel(0.5).poll(0.5).poll(1),
        "kept",
    ),
    (
        "result.next-step",
        "a text, after a server error",
        running().poll(0, status=500).poll(1, fields={"nextStep": "x"}),
        ["no-list"],
    ),
    (
        "result.next-step",
        "a text, after a creation without any",
        Story().add("create", "POST", "/", BARE_ID).poll(1, fields={"nextStep": "x"}),
        ["no-list"],
    ),
    (
        "status.envelope",
        "gone when it was done, then a server error",
        running().poll(1).answer_poll(error(), status=404).poll(1, status=500),
        ["not-a-success"],
    ),
    (
        "status.identity",
        "another, after an answer without an id",
        Story().create().poll(0, fields={"jobId": RAISED}).poll(0, fields={"jobId": 7}),
        ["another-job"],
    ),
    (
        "status.bounds",
        "2, after an answer without a state",
        Story().create().answer_poll(MISSING_STATE).poll(2),
        ["out-of-bounds"],
    ),
    (
        "status.completes",
        "at the end of its time",
        Story().create().poll(0.9, at=60.1),
        "not exercised",
    ),
    (
        "status.no-spontaneous-cancel",
        "-1 as the cancel is sent",
        running().poll(-1, at=1, until=2).cancel(-1, at=2),
        "kept",
    ),
    ("status.unknown", "a cancel", unknown("cancel", A_JOB, 200), "not exercised"),
    ("cancel.unknown", "a status", unknown("status", A_JOB, 200), "not exercised"),
    ("status.unknown", "a gateway answers", unknown("status", PAGE, 503), "not exercised"),
    ("status.completes", "four without an answer", silent(running(), 4), "not exercised"),
    ("status.completes", "five without an answer", silent(running(), 5), "inconclusive"),
    (
        "status.completes",
        "an answer in between",
        silent(silent(running(), 4).poll(0.6), 4),
        "not exercised",
    ),
    (
        "status.completes",
        "no answer, then cancelled",
        silent(running(), 5).cancel(-1),
        "not exercised",
    ),
    (
        "cancel.persists",
        "a throttled answer in between",
        running().cancel(-1).answer_poll(error(), status=429),
        "not exercised",
    ),
    ("create.visible", "the largest id", Story().create(2**63 - 1).poll(0, job=2**63 - 1), "kept"),
    (
        "create.visible",
        "an id beyond 64 bits",
        Story().create(2**63).poll(0, job=2**63),
        "not exercised",
    ),
    (
        "refuse.continues",
        "an answer about another job",
        refusing().cancel(0.6).poll(0.1, fields={"jobId": 7}).poll(1),
        "kept",
    ),
    # Which job an answer is about:
    (
        "status.identity",
        "another, with a fraction",
        Story().create().poll(0, fields={"jobId": 1620.0}),
        ["another-job"],
    ),
    (
        "status.identity",
        "the same, as text",
        Story().create().poll(0, fields={"jobId": "1619"}),
        "kept",
    ),
    (
        "status.identity",
        "another, in a cancel",
        running().cancel(0.5, fields={"jobId": 7}),
        ["another-job"],
    ),
    (
        "status.envelope",
        "places that disagree",
        Story()
        .create()
        .answer_poll(envelope({"system": {"jobs": job_fields(state=0.5)}, "msg": {"state": 0.4}})),
        ["not-the-envelope"],
    ),
    ("status.envelope", "nested deep", Story().create().answer_poll(DEEP), ["not-the-envelope"]),
    # Which texts say that a job cannot be cancelled:
    (
        "refuse.message",
        "the same as for one that is cancelled already",
        refusing()
        .cancel(0.6, says=REFUSAL)
        .create(OTHER, cancellable=True)
        .cancel(-1, job=OTHER, says=("Done",))
        .cancel(-1, job=OTHER, says=REFUSAL),
        "kept",
    ),
    (
        "refuse.message",
        "says so from then on",
        refusing()
        .cancel(0.6, fields={"log": list(REFUSAL)})
        .poll(0.7, fields={"log": list(REFUSAL)}),
        "kept",
    ),
    (
        "refuse.message",
        "every cancel says something else",
        refusing()
        .cancel(0.6, says=("ref abc",))
        .create(OTHER, cancellable=True)
        .cancel(-1, job=OTHER, says=("ref def",))
        .create(OTHER + 1, cancellable=True)
        .cancel(-1, job=OTHER + 1, says=("ref ghi",)),
        "not exercised",
    ),
    # Refused cancels, on the boundary:
    ("refuse.state", "the progress just seen", refusing().cancel(0.5, says=REFUSAL), "kept"),
    (
        "refuse.state",
        "the progress seen after it",
        refusing().cancel(0.6, says=REFUSAL).poll(0.6),
        "kept",
    ),
    (
        "refuse.state",
        "told as an error, and at 0 still",
        Story().create(cancellable=False).answer_cancel(error(), status=409).poll(0),
        ["refused-without-state"],
    ),
    (
        "refuse.continues",
        "cancelled all the same",
        refusing().cancel(0.6).poll(-1),
        "not exercised",
    ),
    (
        "refuse.continues",
        "a state that is not allowed",
        refusing().cancel(0.6).poll("x").poll(1),
        "kept",
    ),
    ("refuse.continues", "still running", refusing().cancel(0.6).poll(0.7), "not exercised"),
    (
        "refuse.continues",
        "reset, after an answer about another job",
        refusing().cancel(0.6).poll(0.7, fields={"jobId": 7}).poll(0),
        ["refused-reset"],
    ),
    (
        "refuse.continues",
        "unfinished again after its end",
        refusing().cancel(0.6).poll(1).poll(0.2),
        "kept",
    ),
    (
        "refuse.continues",
        "went back before the cancel",
        refusing().poll(0.3).cancel(0.5).poll(1),
        "kept",
    ),
    (
        "refuse.message",
        "the answer to a cancel without a state does not show that it was granted",
        refusing()
        .cancel(0.6, says=REFUSAL)
        .create(OTHER, cancellable=True)
        .answer_cancel(error(REFUSAL[0]), job=OTHER)
        .poll(-1, job=OTHER),
        "kept",
    ),
    (
        "cancel.immediate",
        "the answer shows no state",
        cancellable().answer_cancel(MISSING_STATE).poll(-1),
        ["cancelled-later"],
    ),
    # What a request without the header Accept shows:
    (PLAIN, "the same as with the header", plainly(in_progress(0.6)), "kept"),
    (PLAIN, "a page", plainly(PAGE), ["another-form"]),
    (PLAIN, "JSON that is not the envelope", plainly({"status": "ok"}), ["another-form"]),
    (PLAIN, "an error of the application", plainly(error(), 406), ["another-form"]),
    (PLAIN, "something else answered", plainly(PAGE, 302), "not exercised"),
    (
        PLAIN,
        "something else answered twice",
        plainly(PAGE, 302, after=plainly(PAGE, 302)),
        ["another-form"],
    ),
    (
        PLAIN,
        "a redirect, then the status",
        plainly(in_progress(0.6), after=plainly(PAGE, 302)),
        "kept",
    ),
    *(
        (PLAIN, f"HTTP {status}, twice", plainly(PAGE, status, after=plainly(PAGE, status)), told)
        for statuses, told in (
            ((401, 403, 407, 408, 429, 502, 503, 504), "not exercised"),
            ((400, 402, 404, 406, 409, 428, 430, 500, 501, 505), ["another-form"]),
        )
        for status in statuses
    ),
    (PLAIN, "no answer", plainly(b"", None), "not exercised"),
    (PLAIN, "the key has expired", plainly({"message": "Unauthenticated."}, 401), "not exercised"),
    (PLAIN, "never asked with it", plainly(PAGE, after=Story().create()), "not exercised"),
    (
        PLAIN,
        "never answered with it",
        plainly(PAGE, after=Story().create().answer_poll(PAGE)),
        "not exercised",
    ),
    (
        PLAIN,
        "as broken as with it right before",
        plainly(MISSING_STATE, after=running().answer_poll(MISSING_STATE)).poll(0.7),
        "not exercised",
    ),
    (
        PLAIN,
        "as broken as with it right after",
        plainly(MISSING_STATE).answer_poll(MISSING_STATE).poll(0.7),
        "not exercised",
    ),
    (
        PLAIN,
        "of two requests, the last one counts",
        plainly(PAGE, after=plainly(PAGE).poll(0.6).answer_poll(MISSING_STATE)),
        "not exercised",
    ),
    (
        PLAIN,
        "broken, as no answer with it is right before and after",
        plainly(MISSING_STATE, after=Story().create().answer_poll(MISSING_STATE).poll(0.5))
        .poll(0.6)
        .answer_poll(MISSING_STATE),
        ["another-form"],
    ),
    (PLAIN, "never sent", running(), "not exercised"),
    (PLAIN, "a request without a key", keyless(in_progress(0.5), 200), "not exercised"),
    (PLAIN, "a request with a malformed id", bad_id(in_progress(0.5), 200), "not exercised"),
    (PLAIN, "gone after the end", plainly(error(), 404, after=running().poll(1)), "not exercised"),
    (PLAIN, "a page after the end", plainly(PAGE, after=running().poll(1)), ["another-form"]),
    (PLAIN, "gone before the end", plainly(error(), 404), ["another-form"]),
    (
        PLAIN,
        "gone before the end, and after it",
        plainly(error(), 404, after=plainly(error(), 404).poll(1)),
        "not exercised",
    ),
    (
        PLAIN,
        "a page, then gone after the end",
        plainly(error(), 404, after=plainly(PAGE, after=running().poll(1))),
        "not exercised",
    ),
    (
        PLAIN,
        "gone after the end, then a page",
        plainly(PAGE, after=plainly(error(), 404, after=running().poll(1))),
        ["another-form"],
    ),
    (
        PLAIN,
        "a page about one job, after another job that is gone",
        plainly(error(), 404, after=running().poll(1))
        .create(OTHER)
        .poll(0, job=OTHER)
        .answer_poll(PAGE, job=OTHER, probe="no-accept"),
        ["another-form"],
    ),
    ("status.envelope", "a page without Accept", plainly(PAGE), "kept"),
    ("status.completes", "a page without Accept", plainly(PAGE, 302), "not exercised"),
    # What a request about an unknown id does not show:
    ("status.unknown", "a request without a key", keyless(A_JOB, 200), "not exercised"),
    ("status.unknown", "a request with a malformed id", bad_id(A_JOB, 200), "not exercised"),
    (
        "status.unknown",
        "accepted, after a request without a key and one without an answer",
        keyless(error(), 401)
        .lose("status", job=9, probe="unknown-id")
        .add("status", "GET", "/", A_JOB, job=9, probe="unknown-id"),
        ["unknown-accepted"],
    ),
    # What a request without a key does not show:
    ("auth.required", "let in, and told nothing", keyless(envelope(None), 200), ["let-in"]),
    ("auth.required", "let in, and told an empty list", keyless([], 200), ["let-in"]),
    ("auth.required", "let in, with success 0", keyless(SUCCESS_0, 200), ["let-in"]),
    ("auth.required", "no cancel", keyless(error(), 401, kind="agent").poll(-1), "kept"),
    ("auth.required", "a page to log in", keyless(b"<html>", 200), "kept"),
    ("auth.required", "lost", keyless(b"", None), "not exercised"),
    (
        "auth.required",
        "let in, after a request about an unknown id",
        unknown("status", error(), 404).add(
            "status", "GET", "/api/v1/job/1619", A_JOB, job=JOB, probe="no-key"
        ),
        ["let-in"],
    ),
    (
        "auth.required",
        "let in, after a request whose answer was lost",
        keyless(b"", None).add(
            "status", "GET", "/api/v1/job/1619", A_JOB, job=JOB, probe="wrong-key"
        ),
        ["let-in"],
    ),
    (
        "auth.required",
        "refused, and not done",
        keyless(error(), 401, kind="cancel").poll(0.6),
        "kept",
    ),
    (
        "auth.required",
        "refused, about a job of somebody else",
        Story().add("cancel", "DELETE", "/", error(), status=401, job=9, probe="no-key"),
        "kept",
    ),
    (
        "auth.required",
        "done, then cancelled with the key",
        keyless(error(), 401, kind="cancel").poll(-1).cancel(-1),
        ["done-all-the-same"],
    ),
    (
        "auth.required",
        "refused twice, but the job is cancelled",
        keyless(error(), 401, kind="cancel")
        .add("cancel", "DELETE", "/", error(), status=401, job=JOB, probe="no-key")
        .poll(-1),
        ["done-all-the-same", "done-all-the-same"],
    ),
    (
        "auth.required",
        "done, while a cancel with the key is under way",
        keyless(error(), 401, kind="cancel").poll(-1, at=5, until=6).cancel(-1, at=6),
        "kept",
    ),
    (
        "input.bad-id",
        "501, after other requests that are to be refused",
        keyless(error(), 401)
        .answer_poll(PAGE, status=502, probe="bad-id")
        .answer_poll(error(), status=501, probe="bad-id"),
        ["bad-id-status"],
    ),
    ("input.bad-id", "501", bad_id(error(), 501), ["bad-id-status"]),
    # Which requests count as unanswered:
    ("status.completes", "four, and none before", silent(Story().create(), 4), "not exercised"),
    ("status.completes", "five, and none before", silent(Story().create(), 5), "inconclusive"),
    ("status.completes", "six without an answer", silent(running(), 6), "inconclusive"),
    (
        "status.completes",
        "a refused request without a key in between",
        silent(
            silent(running(), 4).add(
                "status", "GET", "/", error(), status=401, job=JOB, probe="no-key"
            ),
            1,
        ),
        "inconclusive",
    ),
    (
        "status.completes",
        "four without an answer, and one without a key",
        silent(running(), 4).lose("status", probe="no-key"),
        "not exercised",
    ),
    (
        "status.completes",
        "four without an answer, and another request",
        silent(running(), 4).lose("other"),
        "not exercised",
    ),
    ("status.envelope", "the last three of many", silent(polled(20), 3), "inconclusive"),
    ("status.envelope", "the last two of many", silent(polled(20), 2), "kept"),
    (
        "status.envelope",
        "three of many, before the last",
        silent(polled(20), 3).poll(0.5),
        "kept",
    ),
    # Requests that are no status request, and ids of no job:
    (
        "status.envelope",
        "another request about the job",
        Story().create().add("other", "GET", "/", b"<", job=JOB),
        "not exercised",
    ),
    ("create.visible", "the id 0", Story().create(0).poll(0, job=0), "not exercised"),
    ("cancel.persists", "404, with the job", running().cancel(-1).poll(-1, status=404), "kept"),
    # An answer that arrives as a cancel is sent is not before it:
    (
        "status.terminal",
        "cancelled as a cancel is sent",
        running().poll(1).poll(-1, at=5, until=6).cancel(-1, at=6),
        "not exercised",
    ),
    (
        "status.completes",
        "done as a cancel is sent",
        running().poll(1, at=5, until=6).cancel(1, at=6),
        "not exercised",
    ),
    (
        "cancel.isolation",
        "cancelled too, as its own cancel is sent",
        running().create(OTHER).cancel(-1, job=OTHER).poll(-1, at=8, until=9).cancel(-1, at=9),
        "not exercised",
    ),
    (
        "agent.idempotent",
        "cancelled as a cancel is sent",
        agent("start")
        .create()
        .poll(0.5)
        .tell_agent("start")
        .poll(-1, at=8, until=9)
        .cancel(-1, at=9),
        "kept",
    ),
    (
        "cancel.race",
        "back behind what arrived as the cancel was sent",
        running().poll(0.7, at=4, until=5).cancel(0.5, at=5, until=7).poll(0.6, at=8),
        ["no-order"],
    ),
    (
        "refuse.message",
        "the second cancel granted says more than the first",
        refusing()
        .cancel(0.6, says=REFUSAL)
        .create(OTHER, cancellable=True)
        .cancel(-1, job=OTHER, says=("Done",))
        .create(OTHER + 1, cancellable=True)
        .cancel(-1, job=OTHER + 1, says=("Done", "ref abc")),
        "kept",
    ),
    # The promise agent.idempotent:
    ("agent.idempotent", "started twice", agent("start", "start"), "kept"),
    ("agent.idempotent", "started after a restart", agent("restart", "start"), "kept"),
    ("agent.idempotent", "started once", agent("start"), "not exercised"),
    ("agent.idempotent", "started after a stop", agent("start", "stop", "start"), "not exercised"),
    ("agent.idempotent", "restarted is not started", agent("start", "restart"), "not exercised"),
    (
        "agent.idempotent",
        "the first start failed",
        Story().tell_agent("start", status=500).tell_agent("start"),
        "not exercised",
    ),
    (
        "agent.idempotent",
        "started twice at the same time",
        agent("start").tell_agent("start", at=0.0, status=409),
        "not exercised",
    ),
    (
        "agent.idempotent",
        "the second start is an error",
        agent("start").tell_agent("start", status=409),
        ["start-refused"],
    ),
    (
        "agent.idempotent",
        "the second start says that it failed",
        agent("start").tell_agent("start", success=False),
        ["start-refused"],
    ),
    (
        "agent.idempotent",
        "no answer to the second start",
        agent("start").tell_agent("start", status=None),
        "inconclusive",
    ),
    (
        "agent.idempotent",
        "jobs go on",
        agent("start").create().poll(0.5).tell_agent("start").poll(0.5).poll(0.6),
        "kept",
    ),
    (
        "agent.idempotent",
        "a job begins anew",
        agent("start").create().poll(0.5).tell_agent("start").poll(0.1),
        ["started-set-back"],
    ),
    (
        "agent.idempotent",
        "a job is cancelled",
        agent("start").create().poll(0.5).tell_agent("start").poll(-1),
        ["started-set-back"],
    ),
    (
        "agent.idempotent",
        "a job is cancelled by a cancel",
        agent("start").create().poll(0.5).cancel(0.5).tell_agent("start").poll(-1),
        "kept",
    ),
    (
        "agent.idempotent",
        "the second start answers success 0, which is not false",
        agent("start").add("agent", "GET", "/api/v1/agent/start", SUCCESS_0),
        "kept",
    ),
    (
        "agent.idempotent",
        "a job was finished before",
        agent("start").create().poll(1).tell_agent("start").poll(0.5),
        "kept",
    ),
    (
        "agent.idempotent",
        "jobs go on at once",
        agent("start").create().poll(0.5).tell_agent("start").poll(0.6),
        "kept",
    ),
    (
        "agent.idempotent",
        "a job begins anew after a cancel",
        agent("start").create().poll(0.5).cancel(0.5).poll(0.5).tell_agent("start").poll(0.1),
        ["started-set-back"],
    ),
    (
        "agent.idempotent",
        "a job begins anew, after one that was not asked for",
        agent("start")
        .create()
        .create(OTHER)
        .poll(0.5, job=OTHER)
        .tell_agent("start")
        .poll(0.1, job=OTHER),
        ["started-set-back"],
    ),
    (
        "agent.idempotent",
        "a job begins anew, after one that was cancelled",
        running()
        .cancel(0.5)
        .create(OTHER)
        .poll(0.5, job=OTHER)
        .tell_agent("start")
        .tell_agent("start")
        .poll(-1)
        .poll(0.1, job=OTHER),
        ["started-set-back"],
    ),
    (
        "agent.idempotent",
        "a job goes on after a start, beside the creation of another",
        agent("start").create().poll(0.5).tell_agent("start").create(OTHER).poll(0.6),
        "kept",
    ),
    (
        "agent.idempotent",
        "a job begins anew after a start, or after its own cancel",
        agent("start").create().poll(0.5).cancel(0.5).tell_agent("start").poll(0.1),
        "suspected",
    ),
    (
        "agent.idempotent",
        "a job begins anew after a start, or after the creation of another",
        agent("start").create().poll(0.5).tell_agent("start").create(OTHER).poll(0.1),
        "suspected",
    ),
    (
        "agent.idempotent",
        "a job begins anew after a start; a creation was answered as it was last polled before",
        agent("start")
        .create()
        .create(OTHER, at=5, until=6)
        .poll(0.5, at=6, until=7)
        .tell_agent("start")
        .poll(0.1),
        "suspected",
    ),
    *(
        (
            "agent.idempotent",
            f"a job begins anew after a start; {what} was sent as that was answered",
            story,
            "suspected",
        )
        for again in [agent("start").create().poll(0.5).tell_agent("start")]
        for what, story in {
            "a creation": deepcopy(again).poll(0.1, at=8, until=9).create(OTHER, at=9),
            "its own cancel": deepcopy(again).poll(0.1, at=8, until=9).cancel(0.1, at=9),
        }.items()
    ),
    (
        "agent.idempotent",
        "a job begins anew after a start, or after the cancel of another",
        agent("start")
        .create(OTHER)
        .create()
        .poll(0.5)
        .cancel(-1, job=OTHER)
        .tell_agent("start")
        .poll(0.1),
        "suspected",
    ),
    (
        "agent.idempotent",
        "a job begins anew after a start, or after the restart before it",
        Story().create().poll(0.5).tell_agent("restart").tell_agent("start").poll(0.1),
        "suspected",
    ),
    (
        "agent.idempotent",
        "a job begins anew after a start, behind what its own creation shows",
        agent("start").create(state=0.5).tell_agent("start").poll(0.1),
        ["started-set-back"],
    ),
    (
        "agent.idempotent",
        "a job begins anew after two starts",
        Story().create().poll(0.5).tell_agent("start").tell_agent("start").poll(0.1),
        ["started-set-back"],
    ),
    (
        "agent.idempotent",
        "a job went back before the start",
        agent("start").create().poll(0.5).poll(0.1).tell_agent("start").poll(0.2),
        "kept",
    ),
    (
        "agent.idempotent",
        "a stop was under way when it was started",
        Story()
        .tell_agent("stop", at=0, until=5)
        .tell_agent("start", at=1, until=2)
        .create()
        .poll(0.5)
        .tell_agent("start")
        .poll(0.1),
        "not exercised",
    ),
    (
        "agent.idempotent",
        "a stop was answered as it was started",
        Story()
        .tell_agent("stop", at=0, until=1)
        .tell_agent("start", at=1, until=2)
        .create()
        .poll(0.5)
        .tell_agent("start")
        .poll(0.1),
        "not exercised",
    ),
    # The promise agent.gates:
    (
        "agent.gates",
        "the job stands still, then goes on",
        gated().poll(0).restart().poll(1),
        "kept",
    ),
    ("agent.gates", "it is never started", gated().poll(0).poll(0), "not exercised"),
    ("agent.gates", "the stop failed", gated(status=500).poll(0).poll(0.1), "not exercised"),
    (
        "agent.gates",
        "finished at creation",
        gated(state=1).poll(1).restart().poll(1),
        "not exercised",
    ),
    ("agent.gates", "cancelled", gated().cancel(-1).poll(-1).restart().poll(-1), "not exercised"),
    ("agent.gates", "it moves", gated().poll(0).poll(0.1), ["moved-while-stopped"]),
    ("agent.gates", "it finishes", gated().poll(1).restart().poll(1), ["moved-while-stopped"]),
    (
        "agent.gates",
        "it stands for ever",
        gated().poll(0).restart().poll(0, at=99),
        ["stands-after-start"],
    ),
    (
        "agent.gates",
        "it stands until another start",
        gated().poll(0).restart().poll(0, at=99).tell_agent("start").poll(0.5),
        ["stands-after-start"],
    ),
    (
        "agent.gates",
        "it stands a little longer",
        gated().poll(0).restart().poll(0),
        "not exercised",
    ),
    (
        "agent.gates",
        "the job was there before the stop",
        Story().create().tell_agent("stop").poll(0.1).poll(0.2),
        "not exercised",
    ),
    (
        "agent.gates",
        "the start is not answered",
        gated().poll(0).tell_agent("start", status=None).poll(0, at=99),
        "inconclusive",
    ),
    ("agent.gates", "never asked while stopped", gated().restart().poll(0.5), "kept"),
    (
        "agent.gates",
        "no state while stopped",
        gated(state=RAISED).restart().poll(1),
        "not exercised",
    ),
    ("agent.gates", "finished before it", gated(state=1).restart().poll(1, at=99), "not exercised"),
    (
        "agent.gates",
        "cancelled as a cancel is sent",
        gated().poll(-1, at=8, until=9).cancel(-1, at=9),
        "not exercised",
    ),
    (
        "agent.gates",
        "stopped again",
        gated().poll(0).tell_agent("stop").poll(0, at=99),
        "inconclusive",
    ),
    (
        "agent.gates",
        "it stands as long as it may",
        gated().tell_agent("restart", at=1, until=2).poll(0, at=32),
        "not exercised",
    ),
    (
        "agent.gates",
        "it stands a little too long",
        gated().tell_agent("restart", at=1, until=2).poll(0, at=32.5),
        ["stands-after-start"],
    ),
    (
        "agent.gates",
        "it moves, after one that was there before the stop",
        Story().create().tell_agent("stop").create(OTHER).poll(0, job=OTHER).poll(0.1, job=OTHER),
        ["moved-while-stopped"],
    ),
    (
        "agent.gates",
        "a start was under way when it was stopped",
        Gated()
        .tell_agent("start", at=0, until=5)
        .tell_agent("stop", at=1, until=2)
        .create()
        .poll(0)
        .poll(0.1),
        "not exercised",
    ),
    (
        "agent.gates",
        "a start before it got no answer",
        Gated().tell_agent("start", status=None).tell_agent("stop").create().poll(0).poll(0.1),
        "not exercised",
    ),
    ("agent.gates", "started only", agent("start").create().poll(0.1).poll(0.2), "not exercised"),
    ("agent.gates", "it goes back", gated(state=0.5).poll(0.2), ["moved-while-stopped"]),
    ("agent.gates", "it goes on, set back", gated(state=0.2).restart().poll(0.1), "kept"),
    (
        "agent.gates",
        "it moves, and the stop was not the first command",
        agent("start", "stop").create().poll(0).poll(0.1),
        ["moved-while-stopped"],
    ),
    (
        "agent.gates",
        "created as the agent has stopped",
        Story().tell_agent("stop", at=1, until=2).create(at=2).poll(0).poll(0.1),
        "not exercised",
    ),
    (
        "agent.gates",
        "the start is refused",
        gated().poll(0).tell_agent("start", status=409).poll(0, at=99),
        "inconclusive",
    ),
    # Where the agent was told to stop, jobs may stay incomplete:
    *[
        (
            "status.completes",
            f"a start that may not have been carried out: {status}",
            agent("stop").tell_agent("start", status=status).create().poll(0.5, at=99),
            "not exercised",
        )
        for status in (None, 500, 503)
    ],
    (
        "status.completes",
        "a stop that may have been carried out",
        Story().tell_agent("stop", status=None).create().poll(0.5, at=99),
        "not exercised",
    ),
    (
        "status.completes",
        "too late before the agent is stopped",
        Story().create().poll(0.5, at=99).tell_agent("stop"),
        ["never-completed"],
    ),
    (
        "status.completes",
        "a command to the agent is no cancel",
        Story().create().tell_agent("start", job=JOB).poll(0.5, at=99),
        ["never-completed"],
    ),
    (
        "cancel.envelope",
        "a command to the agent is no cancel",
        Story().create().tell_agent("start", job=JOB),
        "not exercised",
    ),
    (
        "status.completes",
        "created as the agent has stopped",
        Story().tell_agent("stop", at=1, until=2).create(at=2).poll(0.5, at=99),
        "not exercised",
    ),
    (
        "status.completes",
        "created as the agent has started",
        agent("stop").tell_agent("start", at=1, until=2).create(at=2).poll(0.5, at=99),
        "not exercised",
    ),
    (
        "status.completes",
        "asked as the agent is stopped",
        Story().create().tell_agent("stop", at=99).poll(0.5, at=99),
        "not exercised",
    ),
    (
        "cancel.minus-one",
        "asked as the agent is stopped",
        cancellable().cancel(0.5).tell_agent("stop", at=99).poll(0.5, at=99),
        "not exercised",
    ),
    (
        "status.completes",
        "the agent was restarted before",
        agent("restart").create().poll(0.5, at=99),
        ["never-completed"],
    ),
    (
        "status.completes",
        "the agent was stopped before, and started",
        agent("stop", "start").create().poll(0.5, at=99),
        ["never-completed"],
    ),
    ("status.completes", "created while stopped", gated().poll(0, at=99), "not exercised"),
    (
        "status.completes",
        "the agent was restarted on the way",
        Story().create().tell_agent("restart").poll(0.5, at=99),
        "not exercised",
    ),
    (
        "status.completes",
        "the agent was started on the way",
        Story().create().tell_agent("start").poll(0.5, at=99),
        ["never-completed"],
    ),
    (
        "cancel.minus-one",
        "the agent was stopped before -1 could show",
        cancellable().cancel(0.5).tell_agent("stop").poll(0.5, at=99),
        "not exercised",
    ),
]


@pytest.mark.parametrize(
    ("requirement", "story", "outcome"),
    [
        pytest.param(requirement, story, outcome, id=f"{requirement}: {name}")
        for requirement, name, story, outcome in CASES
    ],
)
def test_rule(requirement: str, story: Story, outcome: str | list[str]) -> None:
    assert verdict_on(story, requirement) == outcome


@pytest.mark.parametrize(
    "requirement", [each.id for each in CATALOGUE.values() if "system" in each.dialects]
)
def test_every_rule_has_a_case_that_keeps_it_one_that_breaks_it_and_one_that_does_not_exercise_it(
    requirement: str,
) -> None:
    outcomes = [outcome for name, _, _, outcome in CASES if name == requirement]
    assert "kept" in outcomes
    assert any(isinstance(outcome, list) for outcome in outcomes)
    assert verdict_on(Story(), requirement) == "not exercised"


def test_a_proof_names_the_exchanges_in_the_order_in_which_they_were_sent() -> None:
    story = running().poll(0.7).poll(0.6)
    (violation,) = [x for x in RULES["status.monotonic"](story.history()) if x is not KEPT]
    assert isinstance(violation, Violation)
    assert [x.state for x in violation.proof] == [0.7, 0.6]
    assert violation.facts == {"job": JOB, "high": 0.7, "low": 0.6}


def test_the_proof_of_a_cancel_by_itself_has_the_answer_before() -> None:
    story = Story().create().poll(0.2).poll(0.7).poll(-1)
    (violation,) = RULES["status.no-spontaneous-cancel"](story.history())
    assert isinstance(violation, Violation)
    assert [x.state for x in violation.proof] == [0, 0.7, -1]


def test_a_proof_names_the_first_of_several_that_show_the_same() -> None:
    story = Story().create().poll(0.7).poll(0.7).poll(0.6)
    (violation,) = [x for x in RULES["status.monotonic"](story.history()) if x is not KEPT]
    assert isinstance(violation, Violation)
    assert list(violation.proof) == [story.exchanges[1], story.exchanges[3]]
    story = beside_another().cancel(0.1, job=OTHER).cancel(0.2, job=OTHER).poll(-1)
    (disturbed,) = RULES["cancel.isolation"](story.history())
    assert isinstance(disturbed, Violation)
    assert disturbed.proof[1] is story.exchanges[3]


def test_the_last_state_seen_before_a_request_is_not_that_of_a_cancelled_job() -> None:
    story = Story().create(state=-1).poll(0).poll(0)
    _, first, second = story.exchanges
    job = story.history().jobs[JOB]
    assert job.last_before(first) is None
    assert job.last_before(second) is first


def test_the_proof_of_standing_still_is_the_last_answer() -> None:
    story = gated().restart().poll(0).poll(0.0, at=99)
    (stands,) = RULES["agent.gates"](story.history())
    assert isinstance(stands, Violation)
    assert stands.proof[-1] is story.exchanges[-1]
    assert repr(stands.facts["value"]) == "0.0"


def test_minus_one_counts_as_further_than_one() -> None:
    finished, cancelled, later = Story().poll(1).poll(-1).poll(0.5).exchanges
    pairs = list(rules_base.after_furthest([finished, cancelled, later]))
    assert pairs == [(finished, cancelled), (cancelled, later)]


@pytest.mark.parametrize(("size", "is_kept"), [(4096, True), (LARGE, True), (LARGE + 1, False)])
def test_a_large_answer_is_kept_as_bytes_alone(size: int, *, is_kept: bool) -> None:
    document = {**A_JOB, "log": "not in the cache"}
    document["log"] += "x" * (size - len(json.dumps(document)))
    poll = Story().create().answer_poll(document).exchanges[1]
    assert len(poll.body) == size
    before = rules_base._problem.cache_info().misses
    assert rules_base.envelope_problem(poll, "status") is None
    assert rules_base._problem.cache_info().misses - before == is_kept
    before = refuse._texts_of.cache_info().misses
    assert document["log"] in refuse._texts(poll)
    assert refuse._texts_of.cache_info().misses - before == is_kept
    assert poll.answer.document is None
    assert poll.document == document


@pytest.mark.parametrize("size", [1, LARGE])
def test_what_is_nested_too_deep_to_be_checked_is_not_the_envelope(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def too_deep(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(rules_base, "find_violation", too_deep)
    story = Story().create().poll(0.5, fields={"log": "not in the cache" * size})
    assert verdict_on(story, "status.envelope") == ["not-the-envelope"]


def test_exchanges_that_look_alike_are_not_equal() -> None:
    one, other = Story().poll(1, at=0).poll(1, at=0).exchanges
    assert one != other


def test_a_proof_shows_the_cancel_and_its_effect() -> None:
    story = cancellable().cancel(0.5, at=1, until=3).cancel(0.4, at=2, until=4).poll(-1)
    (late,) = [x for x in RULES["cancel.immediate"](story.history()) if isinstance(x, Violation)]
    assert [x.state for x in late.proof] == [0.5, -1]
    story = running().cancel(-1).cancel(-1).poll(0.6)
    (undone,) = [x for x in RULES["cancel.repeat"](story.history()) if isinstance(x, Violation)]
    assert [x.state for x in undone.proof] == [-1, -1, 0.6]
    story = running().poll(1).cancel(-1)
    (ended,) = [x for x in RULES["cancel.completed"](story.history()) if isinstance(x, Violation)]
    assert [x.state for x in ended.proof] == [1, -1]
    story = running().poll(1).cancel(1).poll(-1)
    (ended,) = [x for x in RULES["cancel.completed"](story.history()) if isinstance(x, Violation)]
    assert [x.state for x in ended.proof] == [1, 1, -1]
    story = Story().create().create().create()
    (twice,) = [x for x in RULES["create.unique-id"](story.history()) if isinstance(x, Violation)]
    assert len(twice.proof) == 2
    story = running().cancel(-1).cancel(0.6)
    (shown,) = [x for x in RULES["cancel.repeat"](story.history()) if isinstance(x, Violation)]
    assert [x.state for x in shown.proof] == [-1, 0.6]


@pytest.mark.parametrize(
    ("document", "status", "says"), [({"status": "ok"}, 200, ": "), (PAGE, 406, "")]
)
def test_another_form_is_told_by_the_last_answer(document: Any, status: int, says: str) -> None:
    story = plainly(document, status, after=plainly(PAGE, 302, after=running().poll(0.6)))
    (violation,) = judge(story.history())[PLAIN].violations
    assert violation.proof[0] is story.exchanges[2]
    assert violation.facts["status"] == status
    assert violation.facts["problem"].startswith(says)
    assert bool(violation.facts["problem"]) == bool(says)


@pytest.mark.parametrize(
    ("story", "dialect"),
    [
        (running(), "system"),
        (Story(), None),
        (Story().add("create", "POST", "/", BARE_ID), "msg"),
        (
            Story()
            .add("create", "POST", "/", BARE_ID)
            .answer_poll(envelope({"msg": {"state": 0}})),
            "msg",
        ),
        (Story().add("create", "POST", "/", in_data(job_id=JOB)), "data"),
        (running().answer_poll(envelope({"msg": {"state": 0.5}})), "mixed"),
        (Story().add("create", "POST", "/", BARE_ID).poll(0.5), "mixed"),
        (Story().poll(0.5).answer_poll(envelope({"msg": {"state": 0.5}})), "mixed"),
        (
            running()
            .answer_poll(envelope({"msg": {"state": 0.5}}))
            .answer_poll(in_data(state=0.5)),
            "mixed",
        ),
        (running().answer_poll(in_data(state=0.5)), "system"),
        (Story().add("create", "POST", "/", in_data(job_id=JOB)).poll(0.5), "data"),
        (
            Story()
            .add("create", "POST", "/", in_data(job_id=JOB))
            .poll(0.5)
            .answer_poll(envelope({"msg": {"state": 0.5}})),
            "data",
        ),
        (Story().add("create", "POST", "/", error(), status=500).create(), "system"),
        (Story().add("create", "POST", "/", envelope(None)).create(), "system"),
        (Story().add("create", "POST", "/", in_data(job_id=JOB), status=500).create(), "system"),
    ],
)
def test_the_dialect_of_a_history_is_that_of_its_creations(story: Story, dialect: object) -> None:
    assert story.history().dialect == dialect


def test_a_cancel_long_before_a_job_stands_still_is_not_told() -> None:
    story = Story().create().create(OTHER).cancel(-1, job=OTHER).poll(0.2).poll(0.4).poll(0.4)
    assert verdict_on(story.poll(0.4, at=70), "status.completes") == ["stands-still"]


def test_a_creation_that_is_answered_at_once_is_no_reason_though_its_job_has_ended() -> None:
    story = Story().create(cancellable=True, at=5).poll(1)
    assert list(RULES["cancel.minus-one"](story.history())) == []


def test_a_job_that_no_other_disturbs_is_judged_once() -> None:
    story = running().create(OTHER).cancel(0, job=OTHER).poll(0.6).cancel(0, job=OTHER).poll(0.7)
    assert list(RULES["cancel.isolation"](story.history())) == [KEPT]


def test_a_job_that_goes_back_after_hundreds_of_cancels_of_another_is_not_their_doing() -> None:
    story = Story().create().create(OTHER)
    for _ in range(300):  # more than the numbers of which Python keeps but one each
        story.cancel(0, job=OTHER)
    assert verdict_on(story.poll(0.5, at=100).poll(0.4), "cancel.isolation") == "kept"


def missing(story: Story, requirement: str, *, others_may_act: bool = False) -> str:
    """What a history lacks to put a requirement to the test, in the words of a report."""
    history = History(story.exchanges, job_seconds=story.job_seconds, others_may_act=others_may_act)
    findings = {requirement: judge(history)[requirement]}
    (result,) = decide_outcomes(findings, offers=get_args(Capability))
    told = reason(result)
    assert told.startswith("not exercised: "), told
    return told.removeprefix("not exercised: ")


class TestWhatIsMissing:
    """Where nothing was judged, the reason claims nothing that the history disproves."""

    @pytest.mark.parametrize(
        ("requirement", "story"),
        [
            ("status.no-spontaneous-cancel", cancellable().cancel(-1)),
            ("cancel.immediate", cancellable().cancel(-1)),
            ("cancel.isolation", beside_another().cancel(-1, job=OTHER).poll(0.6)),
        ],
    )
    def test_others_may_have_cancelled_what_a_recording_shows(
        self, requirement: str, story: Story
    ) -> None:
        assert missing(story, requirement, others_may_act=True) == (
            "others may have cancelled the jobs, with requests that were not seen"
        )

    def test_without_a_cancel_of_another_job_that_is_what_is_missing(self) -> None:
        told = CATALOGUE["cancel.isolation"].unexercised
        assert missing(running(), "cancel.isolation", others_may_act=True) == told
        assert missing(cancellable().cancel(-1), "cancel.isolation", others_may_act=True) == told

    @pytest.mark.parametrize(
        ("requirement", "story", "told"),
        [
            (
                "status.completes",
                Story(job_seconds=60).create().poll(0.5, at=100),
                "others may have cancelled the jobs, or stopped the agent",
            ),
            (
                "cancel.minus-one",
                cancellable().cancel(0.5).poll(0.5, at=100),
                "others may have stopped the agent",
            ),
            (
                "refuse.continues",
                Story(job_seconds=60).create(cancellable=False).cancel(0.5).poll(0.5, at=100),
                "others may have stopped the agent",
            ),
            (
                "agent.gates",
                Story().tell_agent("stop").create().poll(0),
                "others may have stopped or started the agent",
            ),
        ],
    )
    def test_others_may_have_stopped_the_agent(
        self, requirement: str, story: Story, told: str
    ) -> None:
        unrecorded = "with requests that were not seen"
        assert missing(story, requirement, others_may_act=True) == f"{told}, {unrecorded}"

    def test_a_finished_job_was_cancelled_but_not_polled_then(self) -> None:
        told = missing(running().poll(1).cancel(1), "cancel.completed")
        assert told == "no job that had been seen finished was cancelled and then polled"

    def test_a_job_was_watched_after_its_refusal_but_not_to_its_end(self) -> None:
        told = missing(refusing().cancel(0.5).poll(0.5), "refuse.continues")
        assert told == (
            "no job whose cancel was refused was then watched to its end, or for `job_seconds`"
        )

    @pytest.mark.parametrize("requirement", ["refuse.state", "refuse.message"])
    def test_a_cancel_was_sent_to_a_running_job_and_every_answer_shows_it_finished(
        self, requirement: str
    ) -> None:
        assert missing(refusing().cancel(1, says=REFUSAL).poll(1), requirement) == (
            "no answer to a cancel of a job that cannot be cancelled, nor one after it, showed the "
            "job still running"
        )

    def test_texts_that_differ_with_each_granted_cancel_prove_nothing(self) -> None:
        story = Story()
        for job, word in ((JOB, "one"), (OTHER, "two")):
            story.create(job, cancellable=True).cancel(-1, job=job, says=(word,))
        story.create(LAST, cancellable=False).cancel(0.5, job=LAST)
        assert missing(story, "refuse.message") == (
            "the answer to each granted cancel has a text of its own, so a text does not tell that "
            "a cancel was refused"
        )

    @pytest.mark.parametrize(
        ("requirement", "may_be_cancelled"),
        [("cancel.minus-one", True), ("refuse.state", False), ("refuse.continues", False)],
    )
    @pytest.mark.parametrize(("state", "when"), [(1, ""), (RAISED, ", and the first poll")])
    def test_a_creation_that_is_answered_at_the_end_of_its_job_lets_no_request_reach_it(
        self, requirement: str, *, may_be_cancelled: bool, state: Any, when: str
    ) -> None:
        story = Story().create(state=state, cancellable=may_be_cancelled, until=10.2)
        assert missing(story.poll(1).cancel(1, says=REFUSAL).poll(1), requirement) == (
            f"a creation was answered only after 10 s{when}, when its job had ended: no request "
            "reached a job that still ran"
        )

    def test_a_short_job_is_told_as_one(self) -> None:
        story = Story().create(state=1, cancellable=True).cancel(1)
        told = CATALOGUE["cancel.minus-one"].unexercised
        assert missing(story, "cancel.minus-one") == told
        assert "(use a recipe whose jobs take " in told


def broken_in(story: Story, *, others_may_act: bool = False) -> set[str]:
    """The requirements that a history breaks."""
    history = History(story.exchanges, job_seconds=story.job_seconds, others_may_act=others_may_act)
    return {name for name, found in judge(history).items() if found.violations}


class TestAJobWhoseCreationWasNotRecorded:
    def test_is_judged_by_the_states_that_it_shows(self) -> None:
        assert broken_in(Story().poll(0.5).poll(0.4)) == {"status.monotonic"}
        assert broken_in(Story().poll(1).poll(0.5)) == {"status.terminal"}
        assert broken_in(Story().poll(1).poll(-1)) == {"status.terminal"}
        assert broken_in(Story().poll(-1).poll(0.5)) == {"cancel.persists"}
        assert broken_in(Story().poll(1.0)) == {"status.wire-number"}
        assert broken_in(Story().poll(0.5, fields={"jobId": 7})) == set()
        assert broken_in(Story().poll(0.5).poll(0.6, fields={"jobId": 7})) == {"status.identity"}
        assert "status.envelope" in broken_in(Story().poll(0.5).answer_poll({}))

    def test_may_not_have_been_there_before(self) -> None:
        story = Story().answer_poll(error(), status=404).answer_poll(b"", status=500)
        assert broken_in(story) == set()
        assert broken_in(story.answer_cancel({}).poll(0.5)) == set()
        assert broken_in(story.poll(0.4)) == {"status.monotonic"}

    def test_may_have_been_created_while_it_was_first_asked_for(self) -> None:
        story = Story().poll(0.1, at=1, until=3).answer_poll(error(), status=404, at=2, until=4)
        assert broken_in(story) == set()

    def test_may_have_been_cancelled_before(self) -> None:
        assert broken_in(Story().poll(-1)) == set()
        assert broken_in(Story().poll(0.5).poll(-1)) == set()
        assert broken_in(Story().poll(0.5).cancel(-1)) == set()

    def test_may_have_ended_and_been_forgotten(self) -> None:
        assert broken_in(Story().poll(0.5).answer_poll(error(), status=404)) == set()
        assert broken_in(Story().cancel(0.5).answer_poll(error(), status=404)) == set()

    def test_is_not_gone_if_it_is_there_again(self) -> None:
        story = Story().poll(0.5).answer_poll(error(), status=404).poll(0.6)
        assert broken_in(story) == {"status.envelope"}

    def test_may_be_older_than_the_recording(self) -> None:
        assert broken_in(Story(job_seconds=60).poll(0.1).poll(0.2, at=100)) == set()

    def test_may_have_been_cancelled_by_the_same_request_that_another_cancel_was(self) -> None:
        story = Story().poll(0.5, job=1).cancel(-1, job=2).poll(-1, job=1)
        assert broken_in(story) == set()

    def test_says_nothing_of_what_a_granted_cancel_says(self) -> None:
        refused = Story().create(1, cancellable=False).cancel(0, job=1, says=("Too late",))
        again = refused.poll(0.1, job=2).cancel(-1, job=2, says=("Too late",))
        assert "refuse.message" not in broken_in(again)


class TestASharedHistory:
    """Others may ask the server, too: as where only one browser was recorded."""

    def test_somebody_else_may_have_cancelled(self) -> None:
        story = Story().create().poll(0.5).poll(-1)
        assert broken_in(story) == {"status.no-spontaneous-cancel"}
        assert broken_in(story, others_may_act=True) == set()
        story = Story().create(cancellable=True).poll(0.5).cancel(0.5).poll(-1)
        assert broken_in(story) == {"cancel.immediate"}
        assert broken_in(story, others_may_act=True) == set()
        story = Story().create().answer_poll(error(), status=404)
        assert {"create.visible", "status.envelope"} <= broken_in(story)
        assert broken_in(story, others_may_act=True) == set()

    def test_somebody_else_may_have_stopped_the_agent(self) -> None:
        story = Story(job_seconds=60).create(cancellable=True).poll(0.5, at=100).cancel(0.5)
        story.poll(0.5, at=200)
        assert broken_in(story) == {"status.completes", "cancel.minus-one"}
        assert broken_in(story, others_may_act=True) == set()

    def test_a_contradiction_is_a_fault_even_if_others_may_act(self) -> None:
        assert broken_in(Story().create().poll(1).poll(-1), others_may_act=True) == {
            "status.terminal"
        }
        twice = Story().create().create()
        assert "create.unique-id" in broken_in(twice, others_may_act=True)
        refused = Story().create(cancellable=False).cancel(0.1, says=("No",)).poll(-1)
        assert broken_in(refused, others_may_act=True) == {"refuse.state"}


@pytest.mark.parametrize("requirement", rules_base.ACROSS_JOBS)
def test_jobs_that_say_nothing_leave_no_notes(requirement: str) -> None:
    notes = rules_base.ACROSS_JOBS[requirement].notes
    assert not list(notes(Story().poll(0.5).poll(0.6).history()))
    lost = list(notes(Story().lose("create").history()))
    assert len(lost) == (requirement == "create.envelope")  # it counts what was not answered


def test_judgements_are_counted() -> None:
    story = running().poll(0.6)
    for _ in range(5):
        story.lose("status")
    findings = judge(story.history())
    assert (findings["status.bounds"].kept, findings["status.bounds"].inconclusive) == (2, 0)
    assert (findings["status.completes"].kept, findings["status.completes"].inconclusive) == (0, 1)


def test_a_violation_knows_the_history_in_which_it_was_found() -> None:
    history = running().poll(0.4).poll(0.3).history()
    violations = judge(history)["status.monotonic"].violations
    assert len(violations) == 2
    assert all(violation.history is history for violation in violations)


def test_a_finding_tells_when_each_job_first_broke_the_promise() -> None:
    story = Story().create(1).create(2).poll(0.5, job=1).poll(0.5, job=2)
    story.poll(0.4, job=1).poll(0.4, job=2).poll(0.3, job=1)
    finding = judge(story.history())["status.monotonic"]
    assert finding.first_broken == {1: story.exchanges[4].sent, 2: story.exchanges[5].sent}
    story = Story().create(1, state=-1)
    assert judge(story.history())["create.initial-state"].first_broken == {1: 0.0}
    finding = judge(keyless(envelope(None), 200).history())["auth.required"]
    assert list(finding.first_broken) == [None]


def test_a_violation_without_proof_does_not_tell_when_the_promise_was_broken() -> None:
    (exchange,) = Story().create(at=5).exchanges
    fault = rules_base.Fault("nothing-sent", "Nothing was sent.")
    found = [Violation(fault), Violation(fault, exchange, job=JOB)]
    assert find(iter, found).first_broken == {JOB: 5}


def test_of_several_histories_the_shortest_proof_is_kept() -> None:
    long = Violation(rules_base.NOT_A_SUCCESS, *running().exchanges)
    short = Violation(rules_base.NOT_A_SUCCESS, *Story().create().exchanges)
    nothing = dict.fromkeys(CATALOGUE, Finding())
    parts = [{**nothing, "status.bounds": Finding(violations=each)} for each in ((long,), (short,))]
    found = together(parts)
    assert found["status.bounds"].violations == (short,)
    assert found["status.identity"].violations == ()


def test_a_rule_that_breaks_down_is_no_pass_and_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(history: object) -> Any:
        raise ZeroDivisionError(str(history)[:0] + "oops")

    monkeypatch.setitem(rules_base.RULES, "status.bounds", broken)
    findings = judge(running().history())
    assert "oops" in findings["status.bounds"].crash
    assert findings["status.monotonic"].kept
    assert not findings["status.monotonic"].crash


@pytest.mark.parametrize("digits", [400, 1500, 5000])
def test_numbers_of_any_size_break_no_rule(digits: int) -> None:
    number = "1" + "0" * digits
    fields = dict.fromkeys(("nextStep", "TasksMsg", "description"), 777)
    document = envelope({"system": {"jobs": job_fields(777, 777, **fields)}})
    body = json.dumps(document).replace("777", number).encode()
    story = running().answer_poll(body).answer_cancel(body).add("create", "POST", "/", body)
    story.add("status", "GET", "/", body, probe="bad-id").answer_poll(in_data(id=777))
    findings = judge(story.history())
    assert [name for name, finding in findings.items() if finding.crash] == []
    assert findings["status.bounds"].violations
