"""Reports of histories built by hand: what the suite would say of them, without a server."""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import TYPE_CHECKING

from histories import Story, envelope

from pytest_expedition.oracle.record import RunRecord
from pytest_expedition.oracle.rules import judge
from pytest_expedition.oracle.verdict import decide_outcomes, waive
from pytest_expedition.report.document import document_of as report_of

if TYPE_CHECKING:
    from pytest_expedition import Waiver
    from pytest_expedition.protocol.requirements import Capability
    from pytest_expedition.report.entries import Document

TODAY = date(2026, 3, 1)
KEY = "s3cret-key"


def document_of(
    story: Story,
    *,
    waivers: tuple[Waiver, ...] = (),
    offers: tuple[Capability, ...] = ("cancellable", "refusable"),
    reason: str = "",
    left_behind: tuple[int, ...] = (),
    url: str = "http://192.0.2.10",
    verify: str | bool = True,
    cert: str = "",
    cert_key: str = "",
    proxy: str = "",
) -> Document:
    """The report of a run with this traffic."""
    history = story.history()
    results = decide_outcomes(judge(history), offers=offers, broke=bool(reason))
    results = waive(results, waivers, today=TODAY)
    return report_of(
        RunRecord(
            url=url,
            verify=verify,
            cert=cert,
            cert_key=cert_key,
            proxy=proxy,
            dialect="system",
            results=results,
            started=datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc),
            seconds=12.5,
            requests=len(story.exchanges),
            jobs=len(history.jobs),
            unanswered=history.unanswered,
            refused_creations=history.refused_creations,
            reason=reason,
            left_behind=left_behind,
            secrets=(KEY,),
        )
    )


def slipping_back() -> Story:
    """A job that goes back, beside one that is cancelled."""
    story = Story().create(1619, cancellable=False).create(1620, cancellable=True)
    story.poll(0.2).poll(0.6, job=1620).poll(0.8).cancel(-1, job=1620, at=9.0)
    return story.poll(0.7).poll(-1, job=1620).poll(1)


HOSTILE = (
    "</pre></code></td></title></desc></svg><script>alert(1)</script><img src=x onerror=alert(1)> "
    "\"' onload=alert(1) | a | b \\| ``` ~~~ `<b>` **bold** [link](https://evil.example) "
    "![image](https://evil.example/x.png) https://evil.example www.evil.example "
    "mail@evil.example @everyone #1 GH-1 &amp; <!-->\x1b[31mred\x9b2J\u202etfel\u2066\ufeff\x00"
    " javascript:alert(1) \ud800"
)


def hostile() -> Story:
    """A server that puts what may do harm wherever a report may quote it."""
    fields = {"description": HOSTILE, "TasksMsg": [HOSTILE], "nextStep": HOSTILE}
    wrong = envelope({"system": {"jobs": {"jobId": HOSTILE, "state": HOSTILE}}})
    return (
        Story()
        .create(1619, fields=fields, cancellable=False)
        .poll(0.5, fields=fields)
        .poll(HOSTILE, fields={**fields, "jobId": HOSTILE})
        .answer_poll(wrong)
        .cancel(0.2, says=(HOSTILE,), fields=fields)
        .answer_cancel(HOSTILE.encode("utf-8", "replace"))
        .add("create", "POST", f"/api/v1/{HOSTILE}", wrong)
        .poll(1, fields=fields)
        .poll(1, fields={**fields, "nextStep": [HOSTILE]})
    )
