"""Servers that accept requests that they should refuse."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from pytest_expedition.fake.broken.base import broken, laravel_page
from pytest_expedition.fake.instance import Instance

if TYPE_CHECKING:
    from pytest_expedition.fake.http import Request, Response


@broken("status-for-everybody", "auth.required")
class StatusForEverybody(Instance):
    """Status requests are answered without a key."""

    def is_authorized(self, request: Request) -> bool:
        asks = request.method == "GET" and request.path.startswith("/api/v1/job/")
        return asks or super().is_authorized(request)


@broken("any-key-will-do", "auth.required", shows="by a hair")
class AnyKeyWillDo(Instance):
    """A request must carry a key, but any key is accepted."""

    def is_authorized(self, request: Request) -> bool:
        return request.header("Authorization").startswith("Bearer ")


@broken("cancels-before-it-asks", "auth.required", shows="rarely")
class CancelsBeforeItAsks(Instance):
    """A cancel without a key is refused with 401, but only after the job was cancelled."""

    def route(self, request: Request) -> Response:
        job_id = request.path.removeprefix("/api/v1/job/")
        if request.method == "DELETE" and job_id.isdecimal() and not self.is_authorized(request):
            job = self.find(int(job_id))
            if job is not None:
                self.cancel(job)
        return super().route(request)


@broken("cast-to-number", "input.bad-id", shows="by a hair")
class CastToNumber(Instance):
    """The id is cast to a number: `1619abc` is 1619."""

    def answer_about_job(self, method: str, job_id: str) -> Response:
        digits = re.match("[0-9]*", job_id)
        assert digits is not None
        return super().answer_about_job(method, digits[0] or job_id)


@broken("quote-breaks-the-query", "input.bad-id")
class QuoteBreaksTheQuery(Instance):
    """A quote in the id causes a database error, answered with 500."""

    def answer_about_job(self, method: str, job_id: str) -> Response:
        if "%27" in job_id:
            return self.error(HTTPStatus.INTERNAL_SERVER_ERROR, "SQLSTATE[42000]: syntax error")
        return super().answer_about_job(method, job_id)


@broken("unknown-routes-in-html", "input.bad-id")
class UnknownRoutesInHtml(Instance):
    """A malformed id is refused with Laravel's HTML error page."""

    def answer_about_job(self, method: str, job_id: str) -> Response:
        if job_id.isdecimal():
            return super().answer_about_job(method, job_id)
        return laravel_page(404, "Not Found")


@broken("huge-id-overflows", "input.bad-id", shows="rarely")
class HugeIdOverflows(Instance):
    """An id of many digits overflows and is answered with 200 and an empty list."""

    def answer_about_job(self, method: str, job_id: str) -> Response:
        if job_id.isdecimal() and len(job_id) > 18:
            return self.reply([])
        return super().answer_about_job(method, job_id)
