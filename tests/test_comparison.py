"""Two reports side by side: what differs, what got worse, and the exit status that says so."""

from __future__ import annotations

import copy
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from documents import document_of, slipping_back
from histories import Story

from pytest_expedition.cli import main
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.protocol.validation import schema
from pytest_expedition.report.comparison import RANKS, Difference, compare
from pytest_expedition.report.file import as_json

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_expedition.report.entries import Document

GOOD = document_of(Story().create().poll(0.5).poll(1).poll(1))
BAD = document_of(slipping_back())


def with_outcome(document: Document, **outcomes: str | None) -> Document:
    """A report in which some outcomes are others; ``None`` leaves the requirement out."""
    changed: Any = copy.deepcopy(document)
    named = {name.replace("__", ".").replace("_", "-"): x for name, x in outcomes.items()}
    for entry in changed["requirements"]:
        entry["outcome"] = named.get(entry["id"], entry["outcome"])
    changed["requirements"] = [x for x in changed["requirements"] if x["outcome"] is not None]
    made: Document = changed
    return made


def saved(path: Path, document: Any) -> str:
    path.write_text(document if isinstance(document, str) else as_json(document), encoding="utf-8")
    return str(path)


def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: Any, after: Any
) -> tuple[int, list[str]]:
    status = main(
        ["compare", saved(tmp_path / "a.json", before), saved(tmp_path / "b.json", after)]
    )
    return status, capsys.readouterr().out.splitlines()


def test_the_same_report_differs_in_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = run(tmp_path, capsys, BAD, BAD)
    assert status == 0
    assert lines[0].startswith(
        "A: non-conformant, http://192.0.2.10, dialect system, 2 jobs, 2026-03-01T12:00:00"
    )
    assert lines[-1] == f"0 worse, 0 better, 0 other, {len(CATALOGUE)} the same"


def test_an_outcome_that_got_worse_is_shown_and_sets_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    after = with_outcome(GOOD, status__monotonic="fail", status__bounds="inconclusive")
    status, lines = run(tmp_path, capsys, GOOD, after)
    assert status == 1
    assert lines[3:6] == [
        "requirement       level  A     B             change",
        "status.bounds     MUST   pass  inconclusive  worse",
        "status.monotonic  MUST   pass  fail          worse",
    ]
    assert lines[-2] == f"2 worse, 0 better, 0 other, {len(CATALOGUE) - 2} the same"


def test_what_a_dialect_does_not_have_is_neither_worse_nor_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("create.initial-state", "status.identity", "status.bounds")
    passed = {name.replace(".", "__").replace("-", "_"): "pass" for name in names}
    in_system = with_outcome(GOOD, **passed)
    in_msg = with_outcome(in_system, **dict.fromkeys(passed, "not-tested"))
    in_msg["target"]["dialect"] = "msg"
    expected = {"create.initial-state": "other", "status.identity": "other"}
    changes = {x.id: x.change for x in compare(in_system, in_msg)}
    assert changes == {**expected, "status.bounds": "worse"}
    changes = {x.id: x.change for x in compare(in_msg, in_system)}
    assert changes == {**expected, "status.bounds": "better"}
    in_msg = with_outcome(in_msg, status__bounds="pass", create__initial_state="error")
    assert {x.id: x.change for x in compare(in_system, in_msg)} == {
        "create.initial-state": "worse",
        "status.identity": "other",
    }
    status, lines = run(
        tmp_path, capsys, in_system, with_outcome(in_msg, create__initial_state="pass")
    )
    assert status == 0
    assert "dialect msg, 1 job" in lines[1]


def test_what_may_differ_by_chance_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    should = next(each.id for each in CATALOGUE.values() if each.level == "SHOULD")
    places = {each["id"]: each for each in GOOD["requirements"]}
    passed, untested, failed = (
        {
            **GOOD,
            "requirements": [
                {**x, "outcome": outcome} if x["id"] == should else x for x in places.values()
            ],
        }
        for outcome in ("pass", "inconclusive", "fail")
    )
    for before, after in ((passed, untested), (untested, passed)):
        status, lines = run(tmp_path, capsys, before, after)
        assert status == 0
        assert lines[-1] == f"0 worse, 0 better, 1 other, {len(CATALOGUE) - 1} the same"
    status, lines = run(tmp_path, capsys, untested, failed)
    assert status == 1
    assert lines[-1] == (
        "worse, which sets the exit status to 1: a MUST got worse, or a SHOULD is now broken"
    )


def test_an_outcome_that_got_better_is_shown_and_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = with_outcome(GOOD, status__monotonic="fail")
    status, lines = run(tmp_path, capsys, before, GOOD)
    assert status == 0
    assert lines[4] == "status.monotonic  MUST   fail  pass  better"


def test_a_requirement_that_only_one_report_knows_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Worse if the requirement passed in the old report; not if it was inconclusive."""
    fewer = with_outcome(GOOD, status__monotonic=None, refuse__state=None)
    status, lines = run(tmp_path, capsys, GOOD, fewer)
    assert status == 1
    assert [line.split()[2:] for line in lines[4:6]] == [
        ["pass", "absent", "worse"],
        ["inconclusive", "absent", "other"],
    ]
    status, lines = run(tmp_path, capsys, fewer, GOOD)
    assert status == 0
    assert lines[4].split()[2:] == ["absent", "pass", "better"]


def test_a_requirement_of_another_version_is_compared_too() -> None:
    other = copy.deepcopy(GOOD)
    other["requirements"][0]["id"] = "create.something-new"
    other["requirements"][0]["outcome"] = "fail"
    assert [(x.id, x.before, x.after, x.change) for x in compare(GOOD, other)] == [
        ("create.envelope", "pass", "absent", "worse"),
        ("create.something-new", "absent", "fail", "worse"),
    ]


def test_outcomes_have_an_order() -> None:
    outcome = schema("report")["properties"]["requirements"]["items"]["properties"]["outcome"]
    assert set(RANKS) == set(outcome["enum"])
    best_to_worst = ("pass", "inconclusive", "waived", "fail", "error")
    for better, worse in itertools.combinations(best_to_worst, 2):
        assert Difference(id="x", level="MUST", before=better, after=worse).change == "worse"
        assert Difference(id="x", level="MUST", before=worse, after=better).change == "better"
    same = Difference(id="x", level="MUST", before="not-tested", after="inconclusive")
    assert same.change == "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "is not JSON: Expecting value"),
        ("", "is not JSON: Expecting value"),
        ("[" * 100_000, "is not JSON: "),
        ('{"seconds": ' + "9" * 5000 + "}", "is not a JSON report: $.tool is missing"),
        ("[]", "is not a JSON report: $ is [], expected object"),
        ("{}", "is not a JSON report: $.tool is missing, expected this field"),
        (
            json.dumps({**GOOD, "verdict": "good"}),
            'is not a JSON report: $.verdict is "good", expected',
        ),
    ],
)
def test_a_file_that_is_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(GOOD))
    (tmp_path / "b.json").write_text(text)
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 4
    told = capsys.readouterr().err
    assert f"b.json: {message}" in told
    assert told.count("\n") == 1


def test_a_report_of_a_client_is_not_compared_with_one_of_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_a_client = json.loads(json.dumps(GOOD))
    for entry in of_a_client["requirements"]:
        entry["id"] = "client." + entry["id"].replace(".", "-")
    (tmp_path / "a.json").write_text(json.dumps(of_a_client))
    (tmp_path / "b.json").write_text(json.dumps(GOOD))
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 4
    assert capsys.readouterr().err == (
        "pytest-expedition: one report is about a client, the other about a server: "
        "compare two of the same kind\n"
    )


def test_bytes_that_are_no_text_are_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\xff")
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 4
    assert "a.json: is not JSON: " in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path / "none.json"), str(tmp_path)]) == 4
    assert "none.json: cannot be read: No such file or directory" in capsys.readouterr().err


def test_what_a_report_says_of_itself_is_harmless_at_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = copy.deepcopy(GOOD)
    document["target"]["url"] = "http://\x1b[31m\u202e"
    _, lines = run(tmp_path, capsys, document, document)
    assert all(line.isprintable() for line in lines)
