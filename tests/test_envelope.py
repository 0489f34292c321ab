"""Reading one answer: any dialect, any damage."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from histories import envelope, job_fields
from hypothesis import given
from hypothesis import strategies as st

from pytest_expedition.protocol.envelope import MISSING, Answer, read_answer, spelled
from pytest_expedition.protocol.reading_cache import read_cached


def reading(document: Any) -> Answer:
    return read_answer(json.dumps(document).encode())


def test_system() -> None:
    fields = job_fields(7, 0.25, TasksMsg=["one", {"statusMessage": "two"}, 3])
    answer = reading(envelope({"system": {"jobs": fields}}, messages=("hello", "")))
    assert (answer.dialect, answer.place) == ("system", "system.jobs")
    assert (answer.job_id, answer.state, answer.status_code) == (7, 0.25, 0)
    assert answer.messages == ("hello",)
    assert answer.result["TasksMsg"] == ["one", {"statusMessage": "two"}, 3]
    assert answer.next_step == []
    assert answer.progress == 0.25


def test_msg_in_a_status_and_in_a_creation() -> None:
    status = reading(envelope({"msg": {"state": 1, "TasksMsg": [{"statusMessage": "x"}]}}))
    assert (status.dialect, status.place, status.state) == ("msg", "msg", 1)
    assert status.job_id is MISSING
    creation = reading(envelope({"jobId": 9}))
    assert (creation.dialect, creation.place, creation.job_id) == ("msg", "content", 9)
    assert creation.state is MISSING


def test_data() -> None:
    answer = reading({"data": {"job_id": 6421, "state": 0, "task": [{"statusMessage": "x"}]}})
    assert (answer.dialect, answer.job_id, answer.state) == ("data", 6421, 0)
    assert answer.result == {"task": [{"statusMessage": "x"}]}


def test_data_as_the_reference_declares_it() -> None:
    job = {"id": 7, "state": 1, "status_message": "failed", "next_step": [{"resource": 255}]}
    messages = [{"message": "hello", "code": 0}, {"message": None}]
    answer = reading({"success": True, "data": job, "messages": messages})
    assert (answer.dialect, answer.job_id, answer.state) == ("data", 7, 1)
    assert (answer.status_message, answer.says_failed) == ("failed", True)
    assert answer.next_step == [{"resource": 255}]
    assert answer.messages == ("hello",)


def test_id_and_job_id_must_agree() -> None:
    assert reading({"data": {"id": 7, "job_id": 7}}).problem is None
    other = reading({"data": {"id": 8, "job_id": 7}})
    assert other.problem == "its id is 8 at data.id and 7 at data.job_id"


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": []}, {"data": {}}])
def test_an_answer_of_data_need_not_tell_of_a_job(data: dict[str, Any]) -> None:
    answer = reading({"success": False, "messages": [{"message": "no"}], **data})
    assert (answer.dialect, answer.success, answer.messages) == ("data", False, ("no",))
    assert not answer.tells_of_a_job


def test_an_envelope_of_the_first_dialects_without_its_contents_is_not_data() -> None:
    assert reading({"Type": "success", "success": True}).dialect is None


def test_where_both_places_are_there_they_must_agree() -> None:
    alike = reading(envelope({"system": {"jobs": {"state": 0.5}}, "msg": {"state": 0.5}}))
    assert (alike.state, alike.problem) == (0.5, None)
    other = reading(envelope({"system": {"jobs": {"state": 0.5}}, "msg": {"state": 0.4}}))
    assert (other.state, other.problem) == (0.5, "its state is 0.5 at system.jobs and 0.4 at msg")


def test_the_state_of_the_response_is_not_the_state_of_the_job() -> None:
    assert reading(envelope({})).state is MISSING


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "it is empty"),
        (b"<html>", "it is not JSON"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b'{"a": NaN}', "it contains NaN"),
        (b'{"a": -Infinity}', "it contains -Infinity"),
        (b"[" * 200_000, "it is nested too deep"),
        (b'{"a": 1} {', "it is not JSON"),
    ],
    ids=["empty", "html", "bytes", "nan", "infinity", "deep", "two"],
)
def test_what_is_no_json_is_told(body: bytes, problem: str) -> None:
    answer = read_answer(body)
    assert answer.problem is not None
    assert problem in answer.problem
    assert not answer.tells_of_a_job


@pytest.mark.parametrize("document", [None, 1, "text", [], [{"data": {}}], {}, {"Contents": 3}])
def test_json_without_a_job_is_no_problem(document: Any) -> None:
    answer = reading(document)
    assert answer.problem is None
    assert not answer.tells_of_a_job


@pytest.mark.parametrize(
    "content", [3, [], {"system": 3}, {"system": {"jobs": [1]}}, {"msg": []}, {"msg": None}]
)
def test_a_value_of_the_wrong_shape_is_no_job(content: Any) -> None:
    assert not reading(envelope(content)).tells_of_a_job


@pytest.mark.parametrize(
    ("text", "key"),
    [('{"a": 1, "a": 1}', "a"), ('{"data": {"state": 0, "x": [{}], "state": 1}}', "state")],
)
def test_a_repeated_key_is_a_problem(text: str, key: str) -> None:
    assert read_answer(text.encode()).problem == f'its key "{key}" occurs more than once'


def test_a_number_of_a_million_digits_is_read_fast_and_is_no_state() -> None:
    document = json.dumps(envelope({"msg": {"state": "S", "other": "S"}}))
    answer = read_answer(document.replace('"S"', "9" * 1_000_000).encode())
    assert answer.problem is None
    assert answer.state == math.inf
    assert answer.progress is None


def test_nan_is_read_though_it_is_no_json() -> None:
    answer = reading(envelope({"msg": {"state": math.nan}}))
    assert math.isnan(answer.state)
    assert answer.progress is None


@pytest.mark.parametrize("value", [1, 1.0, "1", None, True, math.nan, MISSING, [1, {"a": "ü"}]])
def test_spelled_as_json_writes_it(value: object) -> None:
    assert spelled(value) in {
        "1",
        "1.0",
        '"1"',
        "null",
        "true",
        "nan",
        "missing",
        '[1, {"a": "ü"}]',
    }


numbers = st.sampled_from(
    ("0", "0.0", "0.5", "0.25", "0.250", "0.5e0", "1", "2", "10", "1.0", "-1", "9" * 18, "9" * 19)
)
WITHIN = '{"Contents": {"response": {"data": {"content": %s}}}}'
PLACES = (
    '{"data": {"job_id": %s, "state": %s}, "jobId": %s, "state": %s}',
    '{"data": {"job_id": %s, "state": %s, "task": [{"job_id": %s, "state": %s}]}}',
    WITHIN % '{"system": {"jobs": {"jobId":%s, "state":%s}}, "msg": {"jobId" :%s, "state" : %s}}',
    WITHIN % '{"jobId": %s, "state": %s, "JobMsg": {"jobId": %s, "statusCode": %s}}',
)


@given(st.sampled_from(PLACES), st.tuples(numbers, numbers, numbers, numbers))
def test_answers_of_one_form_are_read_as_each_by_itself(
    place: str, values: tuple[str, str, str, str]
) -> None:
    body = (place % values).encode()
    assert read_cached(body) == replace(read_answer(body), document=None)


def test_a_form_leaves_open_the_id_and_the_progress_alone() -> None:
    one, other, done, failed = (
        json.dumps(envelope({"system": {"jobs": fields}})).encode()
        for fields in (
            job_fields(7, 0.25),
            job_fields(1620, 0.75),
            job_fields(7, 1),
            job_fields(7, 0.25, JobMsg={"statusCode": -1, "statusMessage": ""}),
        )
    )
    assert read_cached(one).pattern == read_cached(other).pattern
    assert len({read_cached(body).pattern for body in (one, done, failed)}) == 3


def test_answers_whose_texts_differ_in_a_number_are_each_read_by_themselves() -> None:
    for part in (12, 13, 13):
        jobs = job_fields(7, part / 100, description=f"{part} of 100 rules")
        body = json.dumps(envelope({"system": {"jobs": jobs}})).encode()
        assert read_cached(body) == replace(read_answer(body), document=None)
