"""Requests that other clients sent: which of them belong to the job API, and what they were for.

Of a browser, a proxy or a client under test, only the traffic is known: method, URL, headers,
answer. This module makes exchanges of it, in the same way for each kind of recording.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pytest_expedition.oracle.history import LARGEST_ID, Exchange
from pytest_expedition.oracle.job_lists import is_of_all_jobs, is_of_resource
from pytest_expedition.protocol import envelope
from pytest_expedition.protocol.envelope import MISSING
from pytest_expedition.protocol.reading_cache import read_cached

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_expedition.oracle.history import Kind
    from pytest_expedition.protocol.recipe import JobRecipe

ROOT: Final = "/api/v1/"
LOGINS: Final = frozenset({f"{ROOT}generate_api_key", f"{ROOT}login"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_ABOUT_A_JOB: Final = re.compile(r"job/(?P<status>status/)?(?P<id>[1-9][0-9]{0,18})(?P<more>/.*)?")
_RETRIEVES: Final = re.compile(
    "device/[^/]+/(?:retrieveContent/[^/]+|retrieve_content(?:/[^/]+)?)/?"
)
"""The documented requests that create jobs though their method is GET."""

_TELLS_THE_AGENT: Final = re.compile("agent/(?:start|stop|restart)/?")

_LEAST_SECRET: Final = 4
"""The fewest characters of a secret that is struck out; a shorter one occurs in many words."""

_CREDENTIALS: Final = ("key", "token", "password", "secret")
"""How the names of fields end whose values are credentials, as in ``api_key`` and ``csrfToken``."""

_KEY: Final = "authorization"
"""The header that carries the key: the documentation names no other."""


@dataclass(kw_only=True, slots=True)
class ForeignExchange:
    """A request that another client sent, and its answer, as they were recorded.

    ``sent`` and ``received`` are seconds on one clock. ``status`` is ``None`` if no answer is
    known, and ``lost`` says why. ``body`` is that of the answer.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    request_body: bytes = b""
    sent: float
    received: float
    status: int | None = None
    body: bytes = b""
    lost: str = ""


@dataclass(frozen=True, kw_only=True)
class Classified:
    """The exchanges of the job API with each server, by its address without ``/api/v1``.

    ``passed_over`` is how many requests were not of the job API, ``perhaps_creations`` how many
    would be if their answers, which are not known, gave job ids; ``secrets`` are the keys and
    passwords that were seen, which no report may show.
    """

    servers: dict[str, list[Exchange]]
    passed_over: int
    perhaps_creations: int = 0
    secrets: tuple[str, ...] = field(default=(), repr=False)


class Purpose(NamedTuple):
    """What a request was for. If it is not ``documented``, its answer cannot be interpreted."""

    kind: Kind
    job_id: int | None = None
    documented: bool = True


_OTHER: Final = Purpose("other")


def purpose_of(
    method: str, path: str, body: bytes, *, ok: bool, recipe: JobRecipe | None = None
) -> Purpose:
    """Return what a request was for: creating a job, asking for one, cancelling one, or neither.

    ``path`` begins with ``/api/v1/``. A creation is any other request whose answer carries a job
    id, or that a ``recipe`` creates jobs with and that succeeds (``ok``). A GET creates a job only
    if the documentation or a recipe says so, since the answers to others may carry job ids, too. A
    request that may have changed a job in an undocumented way counts as a cancel.
    """
    rest = path.partition("?")[0].removeprefix(ROOT)
    about = _ABOUT_A_JOB.fullmatch(rest)
    if about is not None and int(about["id"]) <= LARGEST_ID:
        job_id, more = int(about["id"]), about["more"]
        if method == "GET":
            return Purpose("status", job_id) if more in {None, "/", "/complete"} else _OTHER
        if method == "DELETE" and not about["status"] and more in {None, "/"}:
            return Purpose("cancel", job_id)
        return _OTHER if method in {"HEAD", "OPTIONS"} else Purpose("cancel", job_id, False)  # noqa: FBT003
    if _TELLS_THE_AGENT.fullmatch(rest):
        return Purpose("agent")
    if method == "GET" and (is_of_all_jobs(ROOT + rest) or is_of_resource(ROOT + rest)):
        return Purpose("list")
    if recipe is not None and ok:
        return Purpose("create")
    if rest.startswith("job/") or (method == "GET" and not _RETRIEVES.fullmatch(rest)):
        return _OTHER
    return _OTHER if read_cached(body).job_id in (MISSING, None) else Purpose("create")


def is_of_the_api(url: str) -> bool:
    """Whether a URL is one of an API like Expedition's, on whatever server."""
    return ROOT in url and _split(url) is not None


@functools.lru_cache(maxsize=1024)  # most requests of a recording are polls of a few jobs
def _split(url: str) -> tuple[str, str] | None:
    """Split a URL into the server's address and the path, if it is one of the API."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    prefix, root, rest = parts.path.partition(ROOT)
    if parts.scheme not in _DEFAULT_PORTS or not host or not root:
        return None
    host = f"[{host}]" if ":" in host else host
    if port not in {None, _DEFAULT_PORTS[parts.scheme]}:
        host = f"{host}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{host}{prefix}", f"{ROOT}{rest}{query}"


def classify(
    requests: Iterable[ForeignExchange], *, recipes: Sequence[JobRecipe] = (), all_headers: bool
) -> Classified:
    """Find the exchanges of the job API among the requests of other clients.

    ``recipes`` say which jobs can be cancelled. ``all_headers`` says whether the headers are those
    that were sent. Browsers leave credentials out of what they export, so otherwise a request
    counts as one without a key only if another to the same server shows one.
    """
    servers: dict[str, list[tuple[ForeignExchange, str]]] = defaultdict(list)
    passed_over = perhaps_creations = 0
    secrets: dict[str, None] = {}
    for foreign in requests:
        where = _split(foreign.url)
        if where is None:
            passed_over += 1
            continue
        servers[where[0]].append((foreign, where[1]))
        secrets.update(dict.fromkeys(_secrets(foreign, where[1])))
    exchanges: dict[str, list[Exchange]] = {}
    for server, asked in servers.items():
        keys_are_shown = all_headers or any(_header(each, _KEY) for each, _ in asked)
        of_jobs = []
        for foreign, path in asked:
            exchange = _exchange(foreign, path, recipes)
            if exchange is None:
                perhaps = bool(foreign.lost) and _may_create(foreign.method, path)
                perhaps_creations += perhaps
                passed_over += not perhaps
                continue
            # If a key may have been sent unseen, an answer about a job is judged like any other.
            if (
                keys_are_shown
                and not _has_key(foreign)
                and (all_headers or not exchange.answer.tells_of_a_job)
            ):
                exchange = replace(exchange, probe="no-key")
            of_jobs.append(exchange)
        if of_jobs:
            exchanges[server] = of_jobs
    return Classified(
        servers=exchanges,
        passed_over=passed_over,
        perhaps_creations=perhaps_creations,
        secrets=tuple(secrets),
    )


def _may_create(method: str, path: str) -> bool:
    """Whether a request creates a job if its answer gives the id of one."""
    if path.partition("?")[0] in LOGINS:
        return False
    return purpose_of(method, path, _ANSWER_WITH_AN_ID, ok=True).kind == "create"


_ANSWER_WITH_AN_ID: Final = b'{"success": true, "data": {"job_id": 1}}'


def _exchange(seen: ForeignExchange, path: str, recipes: Sequence[JobRecipe]) -> Exchange | None:
    if path.partition("?")[0] in LOGINS:
        return None
    status, lost = seen.status, seen.lost
    if (status is not None and not 200 <= status < 600) or status in _ELSEWHERE:
        status, lost = None, f"HTTP {status}: the answer is elsewhere"
    ok = status is not None and 200 <= status < 300
    body = seen.body if status is not None else b""
    matching = [recipe for recipe in recipes if _matches(recipe, seen.method, path)]
    purpose = purpose_of(seen.method, path, body, ok=ok, recipe=matching[0] if matching else None)
    if purpose.kind == "other":
        return None
    if not purpose.documented:
        status, lost = None, "a request that is not documented"
    creates = purpose.kind == "create"
    return Exchange(
        kind=purpose.kind,
        method=seen.method,
        path=path,
        sent=seen.sent,
        received=seen.received,
        status=status,
        body=seen.body if status is not None else b"",
        lost=lost,
        job_id=purpose.job_id,
        request_type=_header(seen, "content-type") if creates else "",
        request_body=seen.request_body.decode("utf-8", "replace") if creates else "",
        cancellable=cancellable(recipes, seen.method, path) if creates else None,
    )


_ELSEWHERE: Final = frozenset(range(300, 400))
"""HTTP statuses that send the client elsewhere, or to its own cache."""


def _matches(recipe: JobRecipe, method: str, path: str) -> bool:
    return recipe.method == method and recipe.path.partition("?")[0] == path.partition("?")[0]


def cancellable(recipes: Sequence[JobRecipe], method: str, path: str) -> bool | None:
    """Return whether the job that a request creates can be cancelled, if its recipes agree."""
    told = {recipe.cancellable for recipe in recipes if _matches(recipe, method, path)}
    return told.pop() if len(told) == 1 else None


def _header(seen: ForeignExchange, wanted: str) -> str:
    for name, value in seen.headers.items():
        if name.lower() == wanted:
            return value
    return ""


def _has_key(seen: ForeignExchange) -> bool:
    """Whether a request carries the documented key, or a cookie that a login may have left."""
    return bool(_header(seen, _KEY) or _header(seen, "cookie"))


def _secrets(seen: ForeignExchange, path: str) -> list[str]:
    """Return the keys, tokens and passwords that a request, and the answer to a login, show."""
    found: list[Any] = [_header(seen, _KEY).rpartition(" ")[2]]
    before, _, query = path.partition("?")
    for form in (query, seen.request_body.decode("utf-8", "replace")):
        found += _named_secrets(parse_qs(form))
    for text in (seen.request_body, seen.body if before in LOGINS else b""):
        found += _named_secrets(envelope.read_answer(text).document) if text else ()
    return [each for each in found if isinstance(each, str) and len(each) >= _LEAST_SECRET]


def _named_secrets(document: Any) -> Iterable[Any]:
    if isinstance(document, list):
        for item in document:
            yield from _named_secrets(item)
    elif isinstance(document, dict):
        for name, value in document.items():
            if name.lower().endswith(_CREDENTIALS):
                yield from value if isinstance(value, list) else [value]
            yield from _named_secrets(value)
