"""The report's document, and what is made of it: the page, the Markdown, the chart."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import subprocess
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from documents import KEY, TODAY, document_of, hostile, slipping_back
from histories import JOB, Story, envelope, error, job_fields
from markdown_it import MarkdownIt

from pytest_expedition import Waiver, validate
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.report import html
from pytest_expedition.report.chart import chart
from pytest_expedition.report.document import TIMELINE_LENGTH, assemble
from pytest_expedition.report.file import as_json
from pytest_expedition.report.html import as_html
from pytest_expedition.report.markdown import as_markdown
from pytest_expedition.report.messages import duration
from pytest_expedition.report.text import (
    ONLY_THESE,
    failure,
    how_to_waive,
    requirement_line,
    stories,
    verdict_lines,
)
from pytest_expedition.suite.target_file import load

VOID = {"meta", "img", "br", "hr", "input", "link", "wbr"}
IN_SVG = {"circle", "rect", "polygon", "polyline", "path", "line"}

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition.oracle.verdict import Outcome
    from pytest_expedition.protocol.requirements import Capability
    from pytest_expedition.report.entries import Document, RequirementEntry, TimelineEntry


class Page(HTMLParser):
    """A page taken apart: its elements in order, each with its text and those around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        element = {"tag": tag, "text": "", "in": [x["tag"] for x in self.open], **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in IN_SVG
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def all(self, *tags: str) -> list[dict[str, Any]]:
        return [each for each in self.elements if each["tag"] in tags]


def entry_of(document: Document, name: str) -> RequirementEntry:
    return next(x for x in document["requirements"] if x["id"] == name)


SOURCES = {
    each.in_dialect(dialect).source.url for each in CATALOGUE.values() for dialect in (None, "data")
}
"""The URLs that a report may link to."""

DOCUMENTS = {
    "failing": document_of(slipping_back()),
    "passing": document_of(Story().create().poll(0.5).poll(1).poll(1)),
    "empty": document_of(Story()),
    "error": document_of(slipping_back(), reason="The target went down: <b>\x1b[31m"),
    "waived": document_of(
        slipping_back(),
        waivers=(Waiver(id="status.monotonic", reason="<i>known</i>", until=date(2027, 3, 1)),),
    ),
    "hostile": document_of(hostile()),
}


@pytest.fixture(params=DOCUMENTS)
def document(request: pytest.FixtureRequest) -> Document:
    """A report, of each kind."""
    return DOCUMENTS[request.param]


# The document


def test_a_report_is_what_its_schema_describes(document: Document) -> None:
    validate(document, "report")
    validate(json.loads(as_json(document)), "report")


def test_the_json_text_holds_nothing_that_a_terminal_obeys(document: Document) -> None:
    text = as_json(document)
    assert all(each.isprintable() or each == "\n" for each in text)
    assert json.loads(text) == document


def test_a_failure_keeps_what_a_chart_of_it_needs() -> None:
    entry = entry_of(DOCUMENTS["failing"], "status.monotonic")
    proves = [each["proves"] for each in entry["evidence"]]
    assert proves == [False, False, True, False, True]
    timeline = entry["timeline"]
    assert timeline["omitted"] == 0
    drawn = [(x["kind"], x["job"], x["state"], x["evidence"]) for x in timeline["exchanges"]]
    assert drawn == [
        ("create", 1619, 0, 0),
        ("create", 1620, 0, 1),
        ("status", 1619, 0.2, None),
        ("status", 1620, 0.6, None),
        ("status", 1619, 0.8, 2),
        ("cancel", 1620, -1, 3),
        ("status", 1619, 0.7, 4),
        ("status", 1620, -1, None),
        ("status", 1619, 1, None),
    ]
    for exchange in timeline["exchanges"]:
        assert exchange["received"] is not None
        assert exchange["sent"] < exchange["received"]


def test_a_requirement_that_holds_has_neither_evidence_nor_timeline() -> None:
    entry = entry_of(DOCUMENTS["passing"], "status.monotonic")
    assert entry["outcome"] == "pass"
    assert entry["evidence"] == []
    assert entry["timeline"] == {"exchanges": [], "omitted": 0}


def test_a_long_life_is_thinned_out_but_not_the_story() -> None:
    story = Story().create()
    for _ in range(1000):
        story.poll(0.5)
    story.poll(0.4).poll(0.6)
    timeline = entry_of(document_of(story), "status.monotonic")["timeline"]
    drawn = timeline["exchanges"]
    assert len(drawn) <= TIMELINE_LENGTH + 3
    assert timeline["omitted"] + len(drawn) == len(story.exchanges)
    assert [x["evidence"] for x in drawn if x["evidence"] is not None] == [0, 1, 2]
    assert drawn == sorted(drawn, key=lambda x: x["sent"])
    times = [x["sent"] for x in drawn]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(pauses) < 3 * (times[-1] - times[0]) / len(drawn)


def test_megabytes_from_a_server_do_not_get_into_a_report() -> None:
    much = "x" * 300_000
    story = Story().create().poll(0.5, fields={"description": much, "JobMsg": much})
    story.poll(much).cancel(0.5, says=(much,)).poll(0.1).poll(1, fields={"nextStep": much})
    wrong = envelope({"system": {"jobs": {"state": much}}, "msg": {"state": 1}})
    found = document_of(story.answer_poll(wrong))
    assert found["verdict"] == "non-conformant"
    for made in (as_json(found), as_html(found), as_markdown(found)):
        assert len(made) < 300_000


def test_secrets_are_struck_out_of_every_format() -> None:
    story = Story().create(fields={"description": KEY}).poll(0.8, fields={"description": KEY})
    story.cancel(0.3, says=(f"the key is {KEY}",)).poll(KEY)
    story.add("create", "POST", f"/api/v1/project/{KEY}", {"key": KEY})
    found = document_of(story)
    for made in (as_json(found), as_html(found), as_markdown(found)):
        assert KEY not in made
        assert "***" in made


# The page


def test_the_page_is_made_from_the_json_document_alone(document: Document) -> None:
    assert as_html(json.loads(as_json(document))) == as_html(document)


def test_the_verdict_comes_first_then_what_is_broken_then_all(document: Document) -> None:
    made = Page(as_html(document))
    (head,) = made.all("h1")
    assert head["text"].split()[-1] == document["verdict"]
    told = made.all("article")
    failed = [x["id"] for x in document["requirements"] if x["outcome"] in {"fail", "waived"}]
    causes = [x["id"] for x in document["requirements"] if x["evidence"] and not x["follows_from"]]
    assert {x["aria-labelledby"] for x in told} == {
        f"r-{name.replace('.', '-')}-head" for name in causes
    }
    targets = [x["id"] for x in made.elements if x.get("id") in {page_id(name) for name in failed}]
    assert sorted(targets) == sorted(map(page_id, failed))
    listed = [x["text"] for x in made.all("span") if x.get("class") == "id"]
    assert listed == list(CATALOGUE)
    sections = [x["text"] for x in made.all("h2")]
    assert sections == (["What is broken"] if failed else []) + ["All requirements"]


def page_id(requirement: str) -> str:
    return "r-" + requirement.replace(".", "-")


def test_a_consequence_is_told_in_one_line_beneath_its_cause() -> None:
    document = DOCUMENTS["failing"]
    cause, consequence = (
        entry_of(document, name) for name in ("cancel.isolation", "status.monotonic")
    )
    assert (cause["follows_from"], consequence["follows_from"]) == ("", "cancel.isolation")
    assert consequence["evidence"]  # which the JSON report keeps
    (story,) = Page(as_html(document)).all("article")
    assert "Also broken as a result" in story["text"]
    assert consequence["reason"] in story["text"]
    assert as_markdown(document).count("<summary>") == 1
    assert "- ✗ <b>status.monotonic</b> (MUST): The state" in as_markdown(document)
    assert requirement_line(consequence).endswith(" (follows from cancel.isolation)")
    assert stories([consequence, cause]) == [
        failure(cause, [cause, consequence]),
        f"status.monotonic: {consequence['reason']} (follows from cancel.isolation)",
    ]


def test_a_failure_tells_what_was_seen_first_and_its_consequences() -> None:
    entries = DOCUMENTS["failing"]["requirements"]
    lines = failure(entry_of(DOCUMENTS["failing"], "cancel.isolation"), entries).splitlines()
    assert lines[0] == "The state of job 1619 was 0.8; after the cancel of job 1620 it is 0.7."
    assert lines[2].startswith("This breaks cancel.isolation (MUST, assumed): Cancelling one job")
    assert "Also broken as a result: status.monotonic" in lines


def test_a_failure_whose_cause_is_not_told_gets_its_whole_story() -> None:
    consequence = entry_of(DOCUMENTS["failing"], "status.monotonic")
    (story,) = stories([consequence])
    assert "The exchanges that prove it" in story
    alone = assemble([], [consequence])
    assert entry_of(alone, "status.monotonic")["follows_from"] == ""
    assert consequence["follows_from"] == "cancel.isolation"  # the other report is as it was


def test_a_failure_whose_cause_is_waived_gets_its_whole_story_and_names_the_cause() -> None:
    waiver = Waiver(id="cancel.isolation", reason="ticket 7", until=date(2027, 3, 1))
    document = document_of(slipping_back(), waivers=(waiver,))
    assert entry_of(document, "cancel.isolation")["outcome"] == "waived"
    assert entry_of(document, "status.monotonic")["outcome"] == "fail"
    consequence = entry_of(document, "status.monotonic")
    assert consequence["follows_from"] == ""
    assert consequence["reason"].endswith(
        "It follows from cancel.isolation, which is waived; it needs a waiver, too"
    )
    assert 'id = "status.monotonic"' in how_to_waive(consequence, document)


def in_markdown(document: Document) -> str:
    (told,) = re.findall("```toml\n(.*?)```", as_markdown(document), flags=re.DOTALL)
    return str(told)


def in_html(document: Document) -> str:
    (told,) = [x for x in Page(as_html(document)).all("pre") if "[[waive]]" in x["text"]]
    return str(told["text"])


@pytest.mark.parametrize("told", [in_markdown, in_html])
def test_what_a_page_says_of_waivers_can_be_pasted_into_a_target_file(
    tmp_path: Path, told: Callable[[Document], str]
) -> None:
    path = tmp_path / "expedition.toml"
    path.write_text(
        'url = "http://192.0.2.10"\n[[job]]\nname = "import"\npath = "/api/v1/project/1/import"\n'
        f"{told(DOCUMENTS['failing'])}\n",
        encoding="utf-8",
    )
    waivers = load(path, credentials=False).waivers
    assert [(x.id, x.until) for x in waivers] == [("cancel.isolation", TODAY + timedelta(days=30))]
    again = document_of(slipping_back(), waivers=tuple(waivers))
    assert entry_of(again, "cancel.isolation")["outcome"] == "waived"
    assert told(again).splitlines()[1] == 'id = "status.monotonic"'


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ((0.6, 0), "The state of job 1619 was 0.6, then 0."),
        ((0.6, 0.0), "The state of job 1619 was 0.6, then 0.0."),
        ((0.5, 0.25), "The state of job 1619 was 0.5, then 0.25."),
    ],
)
def test_a_state_is_told_as_the_answer_spells_it(states: tuple[float, float], told: str) -> None:
    high, low = states
    document = document_of(Story().create().poll(high).poll(low))
    assert entry_of(document, "status.monotonic")["reason"] == told


def test_a_cancel_that_is_answered_with_an_error_is_told_with_its_status() -> None:
    story = Story().create().poll(0.5).answer_cancel(error(), status=500)
    assert entry_of(document_of(story), "cancel.envelope")["reason"] == (
        "The cancel of job 1619 was answered with HTTP 500, and not by a valid cancel envelope: "
        "$.Contents.response.data.content is null, expected object."
    )


def test_whole_seconds_are_told_as_whole_numbers() -> None:
    document = document_of(Story().create().poll(0, at=61.0))
    told = entry_of(document, "status.completes")["reason"]
    assert told.startswith("60 s after its creation, the state of job 1619 was still 0")


def test_a_job_that_stands_still_since_a_cancel_of_another_is_told_with_it() -> None:
    story = Story().create().create(1620).create(1621)
    story.poll(0, job=1621).poll(0.1, at=1.0).poll(0.2, at=2.0).cancel(-1, job=1620, at=2.2).poll(
        0.2, at=2.5
    ).poll(0.2, at=3.0)
    story.create(1622, at=5.0).poll(0.2, at=61.0).poll(0, job=1621, at=61.2)
    entry = entry_of(document_of(story), "status.completes")
    assert entry["reason"] == (
        "60 s after its creation, the state of job 1619 was still 0.2. It has shown this since "
        "2.1 s after its creation; a cancel of job 1620 was sent about then."
    )
    assert [(each["summary"], each["proves"]) for each in entry["evidence"]] == [
        ("0.000 s POST project/1/import → job 1619, state 0", True),
        ("0.200 s POST project/1/import → job 1620, state 0", False),
        ("2.000 s GET job/status/1619 → state 0.2", True),
        ("2.200 s DELETE job/1620 → state -1", True),
        ("2.500 s GET job/status/1619 → state 0.2", True),
        ("61.000 s GET job/status/1619 → state 0.2", True),
    ]


def test_a_job_that_stands_still_since_several_cancels_is_told_with_each() -> None:
    story = Story().create().create(1620).create(1621).poll(0.2, at=2.0)
    story.cancel(0.1, job=1620, at=2.2).cancel(-1, job=1621, at=2.4).cancel(-1, job=1621, at=2.6)
    entry = entry_of(document_of(story.poll(0.2).poll(0.2, at=61.0)), "status.completes")
    assert entry["reason"].endswith("; a cancel of job 1620 and of job 1621 was sent about then.")


def test_of_a_job_that_stands_still_the_last_move_is_told() -> None:
    story = Story().create().poll(0.1, at=1.0).poll(0.2, at=2.0).create(1620, at=2.5)
    entry = entry_of(document_of(story.poll(0.2, at=3.0).poll(0.2, at=61.0)), "status.completes")
    assert entry["reason"] == (
        "60 s after its creation, the state of job 1619 was still 0.2. It has shown this since "
        "2.1 s after its creation. (Does the agent run?)"
    )
    assert [each["answer"] for each in entry["evidence"]] == [
        "job 1619, state 0",
        "state 0.2",
        "state 0.2",
    ]


def test_all_formats_tell_that_the_commands_may_not_do_and_how_to_replay_the_plan() -> None:
    document = document_of(slipping_back())
    command = "pytest --expedition-replay 'r.plan.cancel.isolation.json'"
    entry = entry_of(document, "cancel.isolation")
    for text in (as_html(document), as_markdown(document), failure(entry, [])):
        assert ONLY_THESE in text
        assert "To replay the plan" not in text
    entry["replay"] = command
    entry["plan"] = {"jobs": [{}, {}]}
    for text in (as_html(document), as_markdown(document), failure(entry, [])):
        assert ONLY_THESE in text
        assert "To replay the plan that showed it, with its 2 jobs" in text
        assert command in text.replace("&#39;", "'")


def test_where_no_report_keeps_the_plan_it_is_told_how_to_keep_it() -> None:
    document = document_of(slipping_back())
    entry = entry_of(document, "cancel.isolation")
    entry["plan"] = {"jobs": [{}]}
    assert failure(entry, []).splitlines()[-3:] == [
        ONLY_THESE,
        "To keep the plan that showed it, for --expedition-replay, add:",
        "  --expedition-report report.html",
    ]


def test_commands_that_are_sent_at_once_may_take_several_tries() -> None:
    story = Story().create().poll(0.9, at=1.0, until=2.0).poll(0.5, at=2.0, until=3.0)
    story.cancel(-1, at=2.5, until=2.7).poll(0.4, at=4.0)
    comment, *lines = entry_of(document_of(story), "cancel.persists")["curl"]
    assert [line.endswith(" &") for line in lines if "DELETE" in line] == [False]
    assert comment == "# Only the requests above, with the pauses between them."
    story = Story().create().cancel(-1, at=1.0, until=2.0).cancel(0.5, at=1.5, until=3.0)
    comment, *_ = entry_of(document_of(story.poll(0.5, at=4.0)), "cancel.persists")["curl"]
    assert comment == (
        "# Only the requests above, with the pauses between them. It may take several tries."
    )


def test_a_reader_finds_level_basis_outcome_reason_and_source() -> None:
    made = Page(as_html(DOCUMENTS["failing"]))
    (row,) = [
        x for x in made.all("tr") if "requirements" not in x and "status.monotonic" in x["text"]
    ]
    for text in (
        "MUST",
        "stated",
        "fail",
        "The state of job 1619 was 0.8, then 0.7. (follows",
        "Managing",
    ):
        assert text in row["text"]


def test_jobs_left_behind_and_an_unverified_certificate_are_told_at_the_top() -> None:
    document = document_of(slipping_back(), left_behind=(1619, 1620))
    document["target"]["verified"] = False
    for made in (as_html(document), as_markdown(document)):
        top = re.split("<main|### ", made)[0]
        assert "left behind, not seen to have ended: jobs 1619, 1620" in top
        assert re.search("certificate (was )?not verified", top)


def test_a_command_to_the_agent_is_marked() -> None:
    story = Story().add("agent", "GET", "/api/v1/agent/start", {}).create().poll(0.5)
    story.add("agent", "GET", "/api/v1/agent/start", {}, at=5.0).poll(0.2, at=9.0)
    entry, drawn = shapes(story, "agent.idempotent")
    assert entry["outcome"] == "fail"
    assert [x["kind"] for x in entry["timeline"]["exchanges"] if x["evidence"] is not None]
    assert len([x for x in drawn.all("path") if x["class"] == "intervention"]) == 1


def test_a_failure_shows_its_story_and_its_commands() -> None:
    document = DOCUMENTS["failing"]
    entry = entry_of(document, "cancel.isolation")
    (told,) = [x for x in Page(as_html(document)).all("article") if "isolation" in x["id"]]
    for line in entry["curl"]:
        assert line in told["text"]
    for each in entry["evidence"]:
        assert each["asked"] in told["text"]
        assert each["body"] in told["text"]


def commands(document: Document, requirement: str) -> list[str]:
    """The method and the path of each request that the `curl` lines send."""
    lines = [line for line in entry_of(document, requirement)["curl"] if line.startswith("curl")]
    methods = ["POST" if "POST" in x else "DELETE" if "DELETE" in x else "GET" for x in lines]
    paths = [line.rpartition("/api/v1/")[2].strip("\"'") for line in lines]
    return list(map(" ".join, zip(methods, paths, strict=True)))


def test_the_commands_create_and_cancel_the_jobs_that_came_in_between() -> None:
    story = Story().create().create(1620).create(1621).poll(0.8).create(1622)
    document = document_of(story.cancel(-1, job=1620).poll(0.7).create(1623))
    assert entry_of(document, "cancel.isolation")["outcome"] == "inconclusive"
    assert commands(document, "status.monotonic") == [
        "POST project/1/import",
        "POST project/1/import",
        "GET job/status/$JOB",
        "POST project/1/import",
        "DELETE job/$JOB2",
        "GET job/status/$JOB",
    ]


def test_the_commands_create_the_job_that_a_wrong_answer_is_about() -> None:
    answer = envelope({"system": {"jobs": job_fields(1620, 0.2)}})
    story = Story().create().create(1620).answer_poll(answer).create(1621)
    assert commands(document_of(story), "status.identity") == [
        "POST project/1/import",
        "POST project/1/import",
        "GET job/status/$JOB",
    ]


def test_of_many_jobs_that_came_in_between_a_story_tells_the_last() -> None:
    story = Story().create().poll(0.8)
    for number in range(1, 10):
        story.create(1619 + number)
    entry = entry_of(document_of(story.poll(0.7)), "status.monotonic")
    assert [each["answer"].partition(",")[0] for each in entry["evidence"]] == [
        "job 1619",
        "state 0.8",
        *(f"job {job}" for job in range(1624, 1629)),
        "state 0.7",
    ]


def test_what_one_answer_shows_is_told_without_other_jobs() -> None:
    story = Story().create().poll(0.8).create(1620).answer_poll(b"No")
    entry = entry_of(document_of(story), "status.envelope")
    assert len(entry["evidence"]) == 2


@pytest.mark.parametrize(
    ("url", "verify", "option"),
    [
        ("https://192.0.2.10", True, ""),
        ("https://192.0.2.10", False, " -k"),
        ("https://192.0.2.10", "/ca.pem", " --cacert /ca.pem"),
        ("http://192.0.2.10", "/ca.pem", ""),
    ],
)
def test_commands_verify_as_the_run_did(url: str, verify: str | bool, option: str) -> None:  # noqa: FBT001
    document = document_of(slipping_back(), url=url, verify=verify)
    comment, first, *_ = entry_of(document, "status.monotonic")["curl"]
    assert comment == "# Only the requests above, with the pauses between them."
    assert first.startswith(f"curl -sS{option} -X POST ")


def test_commands_show_the_client_certificate_as_the_run_did() -> None:
    document = document_of(
        slipping_back(), url="https://192.0.2.10", cert="my client.pem", cert_key="client.key"
    )
    for line in entry_of(document, "status.monotonic")["curl"]:
        if line.startswith("curl"):
            assert line.startswith("curl -sS --cert 'my client.pem' --key client.key -")


@pytest.mark.parametrize(
    ("before", "shown"),
    [(b"\xef\xbb\xbf", r"“\ufeff{"), (b"<br />\n<b>Notice</b>: x\n", "“<br /> <b>Notice</b>: x {")],
    ids=["byte-order-mark", "notice"],
)
def test_an_answer_that_is_not_json_is_quoted(before: bytes, shown: str) -> None:
    body = json.dumps(envelope({"key": KEY})).encode()
    entry = entry_of(document_of(Story().create().answer_poll(before + body)), "status.envelope")
    assert f"it begins with {shown}" in failure(entry, [])
    assert KEY not in failure(entry, [])


def test_a_proxy_is_named() -> None:
    document = document_of(slipping_back(), proxy="http://192.0.2.9:3128")
    validate(document, "report")
    told = "requests went through the proxy http://192.0.2.9:3128"
    assert told in verdict_lines(document)
    for made in (as_html(document), as_markdown(document)):
        assert told in re.split("<main|### ", made)[0]
    assert "proxy" not in "\n".join(verdict_lines(document_of(slipping_back())))


def test_only_the_id_of_a_job_becomes_a_variable() -> None:
    """A fresh server gives out the id 1, which the path has elsewhere, too."""
    told = envelope({"system": {"jobs": job_fields(1, 0.5)}})
    path = "/api/v1/job/1?page=/1"
    story = Story().create(job=1).add("status", "GET", path, told, job=1).poll(0.2, job=1)
    lines = "\n".join(entry_of(document_of(story), "status.monotonic")["curl"])
    assert '"http://192.0.2.10/api/v1/job/$JOB?page=/1"' in lines
    assert '"http://192.0.2.10/api/v1/job/status/$JOB"' in lines


def test_no_part_of_a_request_is_a_command_for_the_shell_that_sends_it_again(
    tmp_path: Path,
) -> None:
    """A recording may be from anywhere; its commands are copied into a terminal."""
    evil = "?x=$(touch made)`touch made`';touch made;'\"|touch made&!\\"
    told = envelope({"system": {"jobs": job_fields(JOB, 0.5)}})
    story = Story().create()
    story.add("status", "GET;touch made", f"/api/v1/job/status/{JOB}{evil}", told, job=JOB)
    story.poll(0.2)
    (tmp_path / "curl").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> sent\n')
    (tmp_path / "curl").chmod(0o755)
    lines = entry_of(document_of(story), "status.monotonic")["curl"]
    script = "\n".join(line.replace("JOB=…", f"JOB={JOB}") for line in lines)
    subprocess.run(["bash", "-c", f"PATH=.:$PATH; {script}"], cwd=tmp_path, check=True)
    sent = (tmp_path / "sent").read_text().splitlines()
    assert "GET;touch made" in sent
    assert f"http://192.0.2.10/api/v1/job/status/{JOB}{evil}" in sent
    assert f"http://192.0.2.10/api/v1/job/status/{JOB}" in sent
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("seconds", "cancels", "embedded", "told"),
    [
        (0.5, "inconclusive", False, "an ignored cancel"),
        (5.0, "pass", False, "an ignored cancel"),
        (5.1, "pass", False, "a cancel that is ignored in the last 5 s of a job"),
        (29.9, "pass", False, "a cancel that is ignored in the last 5 s of a job"),
        (30.0, "pass", False, ""),
        (0.5, "not-tested", False, ""),
        (0.5, "pass", True, ""),
        (0.0, "inconclusive", False, ""),
    ],
)
def test_jobs_too_short_for_the_proof_of_an_ignored_cancel_are_told(
    seconds: float, cancels: Outcome, *, embedded: bool, told: str
) -> None:
    document = document_of(slipping_back())
    document["longest_job"], document["target"]["embedded"] = seconds, embedded
    entry = next(each for each in document["requirements"] if each["id"] == "cancel.minus-one")
    entry["outcome"] = cancels
    line = (
        f"no job takes longer than {duration(seconds)}, and a cancel may take 5 s to show: {told} "
        "cannot be proven; choose recipes whose jobs take thirty seconds or more"
    )
    lines = [each for each in verdict_lines(document) if each.startswith("no job takes longer")]
    assert lines == [line] * bool(told)
    validate(document, "report")
    assert (line in as_markdown(document)) == bool(told)
    assert (line in as_html(document)) == bool(told)


@pytest.mark.parametrize(
    ("cancels", "offers", "is_told"),
    [
        (lambda story: story.answer_cancel(error(), status=404), (), True),
        (lambda story: story.cancel(0.5), (), True),
        (lambda story: story.cancel(-1), (), False),
        (lambda story: story.cancel(0.5), ("refusable",), False),
        (lambda story: story.cancel(0.5), ("cancellable", "granted"), False),
        (lambda story: story.lose("cancel"), (), False),
        (lambda story: story, (), False),
    ],
)
def test_that_no_cancel_worked_is_told_where_it_is_not_known_whether_one_should(
    cancels: Callable[[Story], Story], offers: tuple[Capability, ...], *, is_told: bool
) -> None:
    document = document_of(cancels(Story().create().poll(0.5)).poll(1), offers=offers)
    line = (
        "no cancel led to -1, and whether one should have is not known: say `cancellable = true` "
        "or `cancellable = false` for each recipe in the target file"
    )
    assert (line in verdict_lines(document)) == is_told
    assert (line in as_markdown(document)) == is_told
    assert (line in as_html(document)) == is_told


def test_refused_creations_are_counted_and_named_by_status() -> None:
    story = Story().create()
    for status in (409, 429, 409):
        refused = envelope(None, messages=("Another job runs",), success=False)
        story.add("create", "POST", "/api/v1/project/1/import", refused, status=status)
    story.add("create", "POST", "/api/v1/project/1/import", b"Busy", status=503)
    document = document_of(story)
    validate(document, "report")
    assert document["refused_creations"] == {"409": 2, "429": 1}
    assert document["gateway_answers"] == {"503": 1}, "none is counted twice"
    assert document["unanswered"] == 1
    told = (
        "3 creations were refused (2 with HTTP 409, 1 with HTTP 429); refused creations count "
        "towards the limit `jobs`"
    )
    assert told in verdict_lines(document)
    assert told in as_markdown(document)
    assert told in as_html(document)


def test_a_verdict_on_a_selection_says_so() -> None:
    whole = document_of(slipping_back())
    entries = [x for x in whole["requirements"] if x["id"].startswith("create.")]
    names = [entry["id"] for entry in entries]
    part = assemble([], entries, not_selected=[x for x in CATALOGUE if x not in names])
    told = f"(on {len(names)} of {len(CATALOGUE)} requirements)"
    for made, heading in ((as_html(part), "<h1>.*"), (as_markdown(part), "^## .*")):
        assert re.search(heading + re.escape(told), made)
    for made in (as_html(whole), as_markdown(whole)):
        assert "requirements)" not in re.split("<main|### ", made)[0]


def test_a_waiver_is_told() -> None:
    text = as_html(DOCUMENTS["waived"])
    assert "waived until 2027-03-01: &lt;i&gt;known&lt;/i&gt;" in text
    assert "waived until" in as_markdown(DOCUMENTS["waived"])


def test_the_page_needs_no_network_and_runs_only_its_own_script(document: Document) -> None:
    made = Page(as_html(document))
    for element in made.elements:
        for name in ("src", "href", "action", "data", "srcset", "background", "xlink:href"):
            address = element.get(name, "#")
            is_link = element["tag"] == "a" and name == "href"
            assert address.startswith("#") or (is_link and address in SOURCES)
        assert not [name for name in element if name.startswith("on") or name == "style"]
    assert not made.all("link", "img", "iframe", "object", "embed", "base", "form", "use")
    (policy,) = [x["content"] for x in made.all("meta") if "http-equiv" in x]
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (element,) = made.all(tag)
        digest = base64.b64encode(hashlib.sha256(element["text"].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        assert not re.search("url\\(|@import|https?:", element["text"])


def test_a_button_shows_only_once_the_script_has_taken_care_of_it() -> None:
    buttons = Page(as_html(DOCUMENTS["failing"])).all("button")
    assert buttons
    assert all("hidden" in button for button in buttons)


def test_links_lead_to_places_that_are_there(document: Document) -> None:
    made = Page(as_html(document))
    ids = [x["id"] for x in made.elements if "id" in x]
    assert len(ids) == len(set(ids))
    targets = {x["href"] for x in made.all("a")}
    named = [each.removeprefix("#") for each in targets if each not in SOURCES]
    named += [name for x in made.elements for name in x.get("aria-labelledby", "").split()]
    assert set(named) <= set(ids)


def test_keyboard_and_screen_reader_find_their_way(document: Document) -> None:
    made = Page(as_html(document))
    assert made.all("html")[0]["lang"] == "en"
    assert made.all("title")[0]["text"]
    for landmark in ("header", "nav", "main", "footer"):
        assert len(made.all(landmark)) == 1
    levels = [int(x["tag"][1]) for x in made.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    tables = made.all("table")
    assert len(made.all("caption")) == len(tables)
    assert all(x["role"] == "table" for x in tables)  # told, since a narrow page undoes display
    for cell in made.all("th"):
        assert cell["scope"] in {"col", "row"}
    for picture in made.all("svg"):
        assert picture.get("aria-hidden") == "true" or picture["role"] == "img"
    charts = [x for x in made.all("svg") if x.get("role") == "img"]
    assert len([x for x in made.all("desc") if x["text"]]) == len(charts)


def test_colour_is_never_the_only_carrier_of_an_outcome(document: Document) -> None:
    made = Page(as_html(document))
    for badge in [x for x in made.all("span") if "badge" in x.get("class", "")]:
        assert badge["text"].split()[-1] in badge["class"]


def colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", css))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_at_least_aa(scheme: str) -> None:
    css = Path(html.__file__).with_name("html.css").read_text(encoding="utf-8")
    light, dark = css.split("@media screen and (prefers-color-scheme: dark)", 1)
    all_light = colours(light)
    found = all_light if scheme == "light" else {**all_light, **colours(dark.partition("\n}")[0])}
    assert colours(dark.partition("\n}")[0]).keys() == all_light.keys()
    outcomes = ("good", "bad", "waived", "open", "none")
    words = [(name, f"{name}-back") for name in outcomes]
    words += [(name, back) for name in ("text", "muted", "link") for back in ("page", "panel")]
    words += [(name, "panel") for name in outcomes]
    words += [("on-proof", "proof"), ("text", "bad-back"), ("link", "bad-back")]
    for one, other in words:
        assert contrast(found[one], found[other]) >= 4.5, (one, other)
    for name in ("proof", "muted", *(f"job-{number}" for number in range(6))):
        assert contrast(found[name], found["page"]) >= 3, name
        assert contrast(found[name], found["lane"]) >= 3, name


def test_what_a_server_says_is_text_and_nothing_else() -> None:
    made = as_html(DOCUMENTS["hostile"])
    taken_apart = Page(made)
    assert len(taken_apart.all("script")) == 1
    assert not taken_apart.all("img", "b", "i")
    assert all(each.isprintable() or each in "\n\t" for each in made)
    assert "<script>alert(1)</script>" in taken_apart.all("main")[0]["text"]
    tags = {x["tag"] for x in taken_apart.elements}
    benign = {
        x["tag"] for name in ("failing", "empty") for x in Page(as_html(DOCUMENTS[name])).elements
    }
    assert tags <= benign | {"polygon"}


# The chart


def shapes(story: Story, requirement: str, *, width: int = 680) -> tuple[RequirementEntry, Page]:
    entry = entry_of(document_of(story), requirement)
    svg = chart(entry["timeline"], entry["evidence"], width=width, name="c")
    return entry, Page(svg)


def marks(drawn: Page) -> list[dict[str, Any]]:
    return [x for x in drawn.elements if "mark" in x.get("class", "").split()]


def height_of(drawn: Page, told: str) -> float:
    """How far down the mark of an exchange is."""
    for place, element in enumerate(drawn.elements):
        if element["tag"] == "title" and element["text"].endswith(told):
            return float(drawn.elements[place + 1]["y1"])
    raise AssertionError(told)


@pytest.mark.parametrize("width", [320, 680, 900])
def test_every_exchange_is_marked_inside_the_picture(width: int) -> None:
    entry, drawn = shapes(slipping_back(), "cancel.isolation", width=width)
    assert len(marks(drawn)) == len(entry["timeline"]["exchanges"])
    (svg,) = drawn.all("svg")
    assert int(svg["width"]) == width
    across = [float(x["cx"]) for x in drawn.all("circle")]
    across += [float(x["x"]) for x in drawn.all("rect", "text")]
    assert min(across) > 0
    assert max(across) < width
    down = [float(x["cy"]) for x in drawn.all("circle")] + [
        float(x["y"]) for x in drawn.all("text")
    ]
    assert min(down) > 0
    assert max(down) < float(svg["height"])


def test_minus_one_has_a_place_of_its_own_below_nothing_done() -> None:
    _, drawn = shapes(slipping_back(), "cancel.isolation")
    finished, begun = height_of(drawn, "state 1"), height_of(drawn, "state 0")
    half = height_of(drawn, "state 0.6")
    assert finished < half < begun < height_of(drawn, "state -1")
    assert {"1", "0.5", "0", "\N{MINUS SIGN}1"} <= {x["text"] for x in drawn.all("text")}


def test_an_answer_without_a_state_has_another() -> None:
    story = slipping_back().answer_poll({"success": False, "data": []}, status=500)
    _, drawn = shapes(story, "status.monotonic")
    assert height_of(drawn, "HTTP 500") > height_of(drawn, "state 0") + 30
    assert "other" in {x["text"] for x in drawn.all("text")}


def test_the_proof_is_highlighted_and_numbered_as_in_the_story() -> None:
    entry, drawn = shapes(slipping_back(), "cancel.isolation")
    proofs = [str(place) for place, x in enumerate(entry["evidence"], 1) if x["proves"]]
    assert len([x for x in drawn.all("circle") if x["class"] == "ring"]) == len(proofs)
    flags = [x for x in drawn.all("g") if "flag" in x.get("class", "")]
    assert [x["text"].strip() for x in flags] == [
        str(place) for place, _ in enumerate(entry["evidence"], 1)
    ]
    assert [x["text"].strip() for x in flags if "proof" in x["class"]] == proofs


def test_cancels_and_creations_have_shapes_of_their_own() -> None:
    _, drawn = shapes(slipping_back(), "cancel.isolation")
    by_tag = [x["tag"] for x in marks(drawn)]
    assert by_tag.count("rect") == 2
    assert by_tag.count("polygon") == 1
    assert len([x for x in drawn.all("path") if x["class"] == "intervention"]) == 1


def test_each_job_has_a_line_through_its_states() -> None:
    _, drawn = shapes(slipping_back(), "cancel.isolation")
    lines = [x for x in drawn.all("polyline") if "line" in x["class"].split()]
    assert [x["class"] for x in lines] == ["line s0", "line s1"]
    for line in lines:
        across = [float(point.split(",")[0]) for point in line["points"].split()]
        assert across == sorted(across)


def test_later_is_further_right_however_long_the_pause() -> None:
    story = Story().create().poll(0.2, at=1.0).poll(0.8, at=1.001, until=1.002)
    story.poll(0.7, at=100_000.0).poll(1)
    _, drawn = shapes(story, "status.monotonic")
    (line,) = [x for x in drawn.all("polyline") if "line" in x["class"].split()]
    across = [float(point.split(",")[0]) for point in line["points"].split()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(across)]
    assert min(pauses) > 1
    assert max(pauses) < 400


def test_a_chart_of_one_moment_can_be_drawn() -> None:
    story = Story().add("create", "POST", "/api/v1/x", {}, at=1.0, until=1.0)
    entry, drawn = shapes(story, "create.envelope")
    assert len(marks(drawn)) == len(entry["evidence"]) == 1


def test_a_lost_answer_is_hollow() -> None:
    story = slipping_back().lose("cancel", at=1.15)
    _, drawn = shapes(story, "status.monotonic")
    assert [x["class"] for x in marks(drawn) if "lost" in x["class"]] == ["mark s0 lost"]


def test_the_description_tells_what_the_picture_shows() -> None:
    _, drawn = shapes(slipping_back(), "status.monotonic")
    (told,) = drawn.all("desc")
    assert "Job 1619: state 0 at 0 s, state 0.2 at" in told["text"]
    assert told["text"].endswith("The proof is in the numbered exchanges 3, 5.")


def test_a_creation_that_shows_no_state_is_described_as_such() -> None:
    entry = entry_of(document_of(slipping_back()), "status.monotonic")
    made, *rest = entry["timeline"]["exchanges"]
    timeline: TimelineEntry = {
        **entry["timeline"],
        "exchanges": [{**made, "answer": "job 1619"}, *rest],
    }
    (told,) = Page(chart(timeline, entry["evidence"], width=680, name="c")).all("desc")
    assert told["text"].startswith("Job 1619: created at ")


# The Markdown

MARKDOWN = MarkdownIt("gfm-like")


def rendered(text: str) -> Page:
    return Page(MARKDOWN.render(text))


def test_the_markdown_says_the_verdict_first(document: Document) -> None:
    first, _, rest = as_markdown(document).partition("\n")
    assert first.endswith(f" Expedition job API: {document['verdict']}")
    assert first.startswith("## ")
    assert "### All requirements" in rest


def test_a_report_on_a_client_says_so(document: Document) -> None:
    of_client = [{**each, "id": f"client.{each['id']}"} for each in document["requirements"]]
    both = [*document["requirements"], *of_client]
    for entries, subject in (
        (of_client, "Client of the Expedition job API"),
        (both, "Expedition job API and a client of it"),
    ):
        changed: Any = {**document, "requirements": entries}
        assert f" {subject}: " in as_markdown(changed).partition("\n")[0]
        assert f'<p class="kind">{subject}</p>' in as_html(changed)


def test_broken_musts_are_told_before_shoulds() -> None:
    story = Story().create().poll(1.0).create(JOB + 1, cancellable=True).poll(0.5, job=JOB + 1)
    document = document_of(story.answer_cancel(b"No", job=JOB + 1))
    failed = [each["id"] for each in document["requirements"] if each["evidence"]]
    assert failed == ["status.wire-number", "cancel.envelope"]
    made = rendered(as_markdown(document))
    told = [x["text"] for x in made.all("b") if "summary" in x["in"]]
    assert told == ["cancel.envelope", "status.wire-number"]


def test_the_markdown_has_a_row_a_requirement_and_details_for_each_failure(
    document: Document,
) -> None:
    made = rendered(as_markdown(document))
    failed = [x["id"] for x in document["requirements"] if x["evidence"] and not x["follows_from"]]
    assert [x["text"] for x in made.all("b") if "summary" in x["in"]] == failed
    tables = made.all("table")
    assert len(tables) == len(failed) + 1
    rows = [x for x in made.all("tr") if "details" not in x["in"]]
    assert len(rows) == len(CATALOGUE) + 1
    cells = [x for x in made.all("td") if "details" not in x["in"]]
    assert len(cells) == 5 * len(CATALOGUE)
    assert [x["text"] for x in cells[::5]] == list(CATALOGUE)


def test_the_markdown_of_a_failure_holds_its_commands() -> None:
    document = DOCUMENTS["failing"]
    made = rendered(as_markdown(document))
    commands = [x["text"].splitlines() for x in made.all("code") if x.get("class")]
    assert commands[:1] == [entry_of(document, "cancel.isolation")["curl"]]


def test_server_text_in_markdown_is_no_markup_no_link_and_no_mention() -> None:
    text = as_markdown(DOCUMENTS["hostile"])
    assert all(each.isprintable() or each in "\n\t" for each in text)
    assert "evil.example" in text
    made = rendered(text)
    assert not made.all("img", "script", "strong", "em", "svg")
    assert {x["href"] for x in made.all("a")} <= SOURCES
    for element in made.elements:
        for harm in ("evil.example", "@everyone", "#1", "GH-1"):
            inner = [x for x in made.elements if element["tag"] in x["in"]]
            if harm in element["text"] and not inner:
                assert element["tag"] in {"code", "pre"}
    for entry in DOCUMENTS["hostile"]["requirements"]:
        assert entry["id"] in text


def test_harmless_words_stay_as_they_are() -> None:
    text = as_markdown(DOCUMENTS["failing"])
    seen = "The state of job 1619 was 0.8, then 0.7. (follows from `cancel.isolation`)"
    assert f"| ✗ fail | {seen} |" in text
    assert "`GET job/status/1619`" in text


@pytest.mark.parametrize("character", ["`", "``` x", "|", "\\|", "<b>", "@a", "*a*", "a\\", " "])
def test_no_text_breaks_the_table(character: str) -> None:
    story = Story().create().poll(0.5).poll(character * 3)
    made = rendered(as_markdown(document_of(story)))
    assert len([x for x in made.all("td") if "details" not in x["in"]]) == 5 * len(CATALOGUE)


def test_what_stands_in_backticks_is_code_on_the_pages() -> None:
    document = document_of(Story().create().poll(0.5))
    entry_of(document, "cancel.minus-one")["reason"] = (
        "no recipe has `cancellable = true`; it (`x`)?"
    )
    entry_of(document, "cancel.envelope")["reason"] = "@octocat says `x`"
    entry_of(document, "create.envelope")["source"] = "API reference, `job_id_response_schema`"
    made = as_markdown(document)
    assert "| no recipe has `cancellable = true`; it (`x`)? |" in made
    assert "| `@octocat says x` |" in made
    page = Page(as_html(document))
    assert not [x for x in page.all("td") if "`" in x["text"]]
    assert "job_id_response_schema" in [x["text"] for x in page.all("code")]


def test_the_line_of_a_failure_in_markdown_has_code_where_backticks_stand() -> None:
    entry = entry_of(document := document_of(slipping_back()), "cancel.isolation")
    entry["reason"] = "The state is <0. (Is `cancellable = true` right?)"
    assert "(MUST): <code>The state is &lt;0. (Is cancellable = true right?)</code>" in (
        as_markdown(document)
    )
    entry["reason"] = "The state is 0. (Is `cancellable = true` right?)"
    assert "(MUST): The state is 0. (Is <code>cancellable = true</code> right?)" in (
        as_markdown(document)
    )
