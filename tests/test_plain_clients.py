"""Documented clients send no header Accept: the status is asked for once as they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from histories import PAGE

from pytest_expedition.fake.dialects import DIALECTS
from pytest_expedition.fake.http import Request, Response
from pytest_expedition.fake.instance import Instance
from pytest_expedition.report.document import document_of
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract

if TYPE_CHECKING:
    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.oracle.record import RunRecord

NAME = "envelope.for-plain-clients"


class Plain(Instance):
    """Keeps in mind what came without Accept, and answers the first of that with `status`."""

    status = 200

    @property
    def plain(self) -> list[Request]:
        return [each for each in self.requests if not each.header("Accept")]

    def route(self, request: Request) -> Response:
        answer = super().route(request)
        if self.status == 200 or self.plain != [request]:
            return answer
        return Response(status=self.status, headers={"Location": "/portal"}, body=PAGE)


class Redirected(Plain):
    status = 302


def run(made: list[Plain], make: type[Plain], dialect: DialectName = "system") -> RunRecord:
    def kept() -> Plain:
        made.append(make())
        made[-1].dialect = dialect
        return made[-1]

    with embedded_target(kept) as target:
        return run_contract(target, profile="smoke", seed=1)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_is_asked_once(dialect: DialectName) -> None:
    made: list[Plain] = []
    record = run(made, Plain, dialect)
    assert [each.method for each in made[-1].plain] == ["GET"]
    assert {x.outcome for x in record.results if x.requirement.id == NAME} == {"pass"}


def test_it_is_asked_once_more_where_something_else_answered() -> None:
    made: list[Plain] = []
    record = run(made, Redirected)
    assert len(made[-1].plain) == 2
    assert {x.outcome for x in record.results if x.requirement.id == NAME} == {"pass"}


class Pages(Plain):
    def route(self, request: Request) -> Response:
        return super().route(request) if request.header("Accept") else Response(body=PAGE)


def test_the_curl_line_sends_no_accept_either() -> None:
    record = run([], Pages)
    document = document_of(record)
    (told,) = [each for each in document["requirements"] if each["id"] == NAME]
    assert told["outcome"] == "fail"
    lines = [line for line in told["curl"] if line.startswith("curl")]
    assert any("-H 'Accept:' " in line for line in lines)
    assert any("-H 'Accept: application/json' " in line for line in lines)
