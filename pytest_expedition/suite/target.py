"""The instance under test: where it is, how to get in, which requests create jobs, what it bears.

``load`` reads the target file (``expedition.toml``). Secrets never stand in it: it names the
environment variables that hold them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
import sys
from dataclasses import dataclass, field
from datetime import date
from json import dumps
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args
from urllib.parse import quote, urlsplit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.suite.clock import WallClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pytest_expedition.protocol.requirements import Need
    from pytest_expedition.suite.clock import Clock

DialectChoice = Literal["auto", "system", "msg", "data"]
Method = Literal["GET", "POST", "PUT", "PATCH"]

CA_VARIABLE: Final = "REQUESTS_CA_BUNDLE"
API_KEY_VARIABLE: Final = "EXPEDITION_API_KEY"
USERNAME_VARIABLE: Final = "EXPEDITION_USERNAME"
PASSWORD_VARIABLE: Final = "EXPEDITION_PASSWORD"  # noqa: S105 - the name of a variable


_PATH_ALLOWED: Final = "must be a path that begins with /api/"
_DAY: Final = "a date like 2027-03-01"


class TargetError(ValueError):
    """A target that cannot be used: names the file, the key, its value and what is allowed."""


class Secret(str):
    """A text that shows itself to nobody who prints it by accident."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def spellings(secrets: Iterable[str]) -> list[bytes]:
    """The ways in which an answer may repeat a secret: plain, in JSON, in PHP's JSON, in a URL."""
    ways = {
        way
        for secret in secrets
        for way in (
            secret,
            dumps(secret)[1:-1],
            dumps(secret)[1:-1].replace("/", r"\/"),
            quote(secret, safe=""),
        )
    }
    return [way.encode() for way in sorted(ways, key=len, reverse=True)]


@dataclass(frozen=True, kw_only=True)
class JobRecipe:
    """A request that creates a job.

    ``path`` begins with ``/api/``. ``form``, ``json`` and ``query`` are what the request carries.
    ``cancellable`` says whether the jobs it creates can be cancelled; ``None``: not known, and what
    needs to know is not tested.
    """

    name: str
    path: str
    method: Method = "POST"
    form: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    cancellable: bool | None = None

    def __post_init__(self) -> None:
        if not self.path.startswith("/api/"):
            raise TargetError(f"JobRecipe: path = {self.path!r}: {_PATH_ALLOWED}")
        if self.method not in get_args(Method):
            allowed = ", ".join(get_args(Method))
            raise TargetError(f"JobRecipe: method = {self.method!r}: must be one of {allowed}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the instance bears, and how long the suite waits.

    ``job_seconds``: how long a job may take to finish. ``poll_seconds``: the pause between two
    polls of a job. ``answer_seconds``: how long an answer may take. ``requests``, ``jobs`` and
    ``seconds``: how many and how long for the whole run; nothing is sent beyond them.
    ``concurrent_jobs``: how many jobs run at the same time.
    """

    job_seconds: float = 600.0
    poll_seconds: float = 0.5
    answer_seconds: float = 60.0
    requests: int = 5000
    jobs: int = 200
    seconds: float = 1800.0
    concurrent_jobs: int = 4

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if not 0 < value < float("inf"):
                raise TargetError(f"Limits: {each.name} = {value!r}: must be above 0")


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A requirement that the instance is known to break.

    ``reason`` says why that is borne, ``until`` is the last day on which it is.
    """

    id: str
    reason: str
    until: date

    def __post_init__(self) -> None:
        if self.id not in CATALOGUE:
            raise TargetError(f"Waiver: id = {self.id!r}: must be {_requirement_like(self.id)}")
        if not self.reason.strip():
            raise TargetError("Waiver: reason must be a text, not empty")
        if type(self.until) is not date:
            raise TargetError(f"Waiver: until = {self.until!r}: must be a date")


def _requirement_like(name: str) -> str:
    alike = difflib.get_close_matches(name, CATALOGUE, 1)
    return "the id of a requirement" + (f"; did you mean {alike[0]}?" if alike else "")


DOCUMENTED_IMPORT: Final = JobRecipe(
    name="import",
    path="/api/v1/project/1/import",
    form={"resource": "/tmp/config.xml"},  # noqa: S108
)
"""The documentation's example of a request that creates a job, with project 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """The instance under test.

    ``url`` is its address without ``/api/v1``; ``verify`` whether its certificate is verified, or
    the path of a CA bundle. Either ``api_key`` is given, or ``username`` and ``password``, for
    which the instance gives a key. ``waivers`` are what it is known to break. ``clock`` is the time
    that the suite goes by: that of the world, unless the instance has one of its own.
    ``start_agent`` lets the suite start the instance's agent, ``control_agent`` lets it stop the
    agent for a while, too, which disturbs everybody.
    """

    url: str
    jobs: Sequence[JobRecipe] = (DOCUMENTED_IMPORT,)
    verify: bool | str = True
    dialect: DialectChoice = "auto"
    api_key: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    limits: Limits = field(default_factory=Limits)
    start_agent: bool = False
    control_agent: bool = False
    waivers: Sequence[Waiver] = ()
    clock: Clock = field(default_factory=WallClock, repr=False)

    def __post_init__(self) -> None:
        _check_url(self.url, "Target", "url")
        if not self.jobs:
            raise TargetError("Target: jobs must hold at least one JobRecipe")
        waived = [waiver.id for waiver in self.waivers]
        for name in waived:
            if waived.count(name) > 1:
                raise TargetError(f"Target: waivers: {name} is waived more than once")
        if not self.api_key and not (self.username and self.password):
            raise TargetError("Target: needs api_key, or username and password")
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise TargetError("Target: api_key holds characters that no HTTP header can carry")
        object.__setattr__(self, "url", self.url.rstrip("/"))
        object.__setattr__(self, "jobs", tuple(self.jobs))
        object.__setattr__(self, "waivers", tuple(self.waivers))
        if self.control_agent:  # what is stopped is started again
            object.__setattr__(self, "start_agent", True)
        for secret in ("api_key", "password"):
            object.__setattr__(self, secret, Secret(getattr(self, secret)))

    @property
    def offers(self) -> set[Need]:
        """What the instance is known to have of all that requirements need."""
        cancellable = {recipe.cancellable for recipe in self.jobs}
        known: dict[Need, bool] = {
            "cancellable": True in cancellable,
            "granted": True in cancellable,
            "refusable": False in cancellable,
            "agent-start": self.start_agent,
            "agent-control": self.control_agent,
        }
        return {need for need, there in known.items() if there}


def at_url(url: str, *, environ: Mapping[str, str] = os.environ) -> Target:
    """Make the target of an address alone: the documented import request, credentials as usual.

    Raises ``TargetError`` for what is no URL and where the environment holds no credentials.
    """
    _check_url(url, "--expedition-url", "url")
    credentials = _credentials({}, "--expedition-url", environ)
    return Target(url=url, verify=_trusted(environ), **cast("Any", credentials))


def load(
    path: Path,
    *,
    url: str = "",
    environ: Mapping[str, str] = os.environ,
    credentials: bool = True,
) -> Target:
    """Read a target file. ``url`` replaces the file's.

    Without ``credentials`` the target is not to be asked: none are looked up.

    Raises ``TargetError`` for a file that cannot be read, is not TOML, or has a key, a type or a
    value that is not allowed, and for an environment variable that is named but not set.
    """
    where = str(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(f"{where}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TargetError(f"{where}: is not TOML: it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise TargetError(f"{where}: is not TOML: {error}") from None
    table = _Table(document, where)
    address = url or table.text("url")
    _check_url(address, "--expedition-url" if url else where, "url")
    table.take("url")
    agent, auth = table.table("agent"), table.take("auth")
    target = Target(
        url=address,
        verify=_verify(table, path, environ),
        dialect=cast("DialectChoice", table.choice("dialect", get_args(DialectChoice), "auto")),
        jobs=_recipes(table),
        limits=_limits(table.table("limits")),
        waivers=_waivers(table),
        start_agent=bool(agent.boolean("start")),
        control_agent=bool(agent.boolean("control")),
        **cast("Any", _credentials(auth, where, environ) if credentials else _NO_CREDENTIALS),
    )
    agent.finish("start, control")
    table.finish("url, verify, dialect, [auth], [[job]], [limits], [agent], [[waive]]")
    return target


class _Table:
    """A TOML table from which keys are taken, each with its type; what is left is unknown."""

    def __init__(self, values: dict[str, Any], where: str, prefix: str = "") -> None:
        self.values = dict(values)
        self.where = where
        self.prefix = prefix

    def fail(self, key: str, value: object, allowed: str) -> TargetError:
        return TargetError(f"{self.where}: {self.prefix}{key} = {value!r}: must be {allowed}")

    def take(self, key: str, default: Any = None) -> Any:
        return self.values.pop(key, default)

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.pop(key, default)
        if value is None:
            raise TargetError(f"{self.where}: {self.prefix}{key} is missing: must be a text")
        if not isinstance(value, str) or not value:
            raise self.fail(key, value, "a text, not empty")
        return value

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.values.pop(key, default)
        if value not in allowed:
            raise self.fail(key, value, "one of " + ", ".join(allowed))
        return cast("str", value)

    def boolean(self, key: str) -> bool | None:
        value = self.values.pop(key, None)
        if value is not None and not isinstance(value, bool):
            raise self.fail(key, value, "true or false")
        return value

    def texts(self, key: str) -> dict[str, str]:
        value = self.values.pop(key, {})
        if not isinstance(value, dict) or not all(
            isinstance(item, str | int | float) for item in value.values()
        ):
            raise self.fail(key, value, "a table of texts and numbers")
        return {name: str(item) for name, item in value.items()}

    def number(self, key: str, default: float, *, whole: bool) -> float:
        value = self.values.pop(key, default)
        allowed = "a whole number of at least 1" if whole else "a number above 0"
        kinds: tuple[type, ...] = (int,) if whole else (int, float)
        if type(value) not in kinds or not 0 < value < float("inf"):
            raise self.fail(key, value, allowed)
        return cast("float", value)

    def day(self, key: str) -> date:
        value = self.values.pop(key, None)
        if value is None:
            raise TargetError(f"{self.where}: {self.prefix}{key} is missing: must be {_DAY}")
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
            with contextlib.suppress(ValueError):
                return date.fromisoformat(value)
        if type(value) is not date:
            raise self.fail(key, value, _DAY)
        return value

    def table(self, key: str) -> _Table:
        value = self.values.pop(key, {})
        if not isinstance(value, dict):
            raise self.fail(key, value, "a table")
        return _Table(value, self.where, f"{self.prefix}{key}.")

    def finish(self, known: str) -> None:
        for key, value in self.values.items():
            raise TargetError(
                f"{self.where}: {self.prefix}{key} = {value!r}: unknown key, known are {known}"
            )


def _check_url(url: str, where: str, key: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise TargetError(f"{where}: {key} = {url!r}: must be like https://192.0.2.10")
    if parts.username is not None or parts.password is not None:
        raise TargetError(
            f"{where}: {key}: must not hold credentials; set {API_KEY_VARIABLE} instead"
        )
    if "/api" in parts.path:
        raise TargetError(f"{where}: {key} = {url!r}: must be given without /api/v1")


def _trusted(environ: Mapping[str, str]) -> bool | str:
    """Return what verifies certificates where nothing is said: the usual CAs, or the named ones."""
    bundle = environ.get(CA_VARIABLE, "")
    if bundle and not os.path.exists(bundle):  # noqa: PTH110 - a file or a folder, as requests has it
        raise TargetError(
            f"{CA_VARIABLE} = {bundle!r}: must be the path of a CA bundle that exists"
        )
    return bundle or True


def _verify(table: _Table, path: Path, environ: Mapping[str, str]) -> bool | str:
    value = table.take("verify", default=True)
    if isinstance(value, bool):
        return value and _trusted(environ)
    if not isinstance(value, str):
        raise table.fail("verify", value, "true, false or the path of a CA bundle")
    bundle = path.parent / value
    if not bundle.exists():
        raise table.fail("verify", value, "true, false or the path of a CA bundle that exists")
    return str(bundle)


def _recipes(table: _Table) -> tuple[JobRecipe, ...]:
    entries = table.take("job", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise table.fail("job", entries, "tables: [[job]]")
    if not entries:
        raise TargetError(f"{table.where}: [[job]] is missing: at least one request creates a job")
    recipes = []
    for number, entry in enumerate(entries, 1):
        job = _Table(entry, table.where, f"job {number}: ")
        path = job.text("path")
        if not path.startswith("/api/"):
            raise TargetError(f"{table.where}: job {number}: path = {path!r}: {_PATH_ALLOWED}")
        json = job.take("json")
        form = job.texts("form")
        if json is not None and form:
            raise job.fail("json", json, "left out where form is given")
        recipes.append(
            JobRecipe(
                name=job.text("name"),
                path=path,
                method=cast("Method", job.choice("method", get_args(Method), "POST")),
                form=form,
                json=json,
                query=job.texts("query"),
                cancellable=job.boolean("cancellable"),
            )
        )
        job.finish("name, method, path, form, json, query, cancellable")
    names = [recipe.name for recipe in recipes]
    for name in names:
        if names.count(name) > 1:
            raise table.fail("job", name, "a name that no other [[job]] has")
    return tuple(recipes)


def _waivers(table: _Table) -> tuple[Waiver, ...]:
    entries = table.take("waive", [])
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise table.fail("waive", entries, "tables: [[waive]]")
    waivers: list[Waiver] = []
    for number, values in enumerate(entries, 1):
        waiver = _Table(values, table.where, f"waive {number}: ")
        name = waiver.text("id")
        if name not in CATALOGUE:
            raise waiver.fail("id", name, _requirement_like(name))
        if name in [other.id for other in waivers]:
            raise waiver.fail("id", name, "waived only once")
        reason = waiver.text("reason")
        if not reason.strip():
            raise waiver.fail("reason", reason, "a text, not empty")
        waivers.append(Waiver(id=name, reason=reason, until=waiver.day("until")))
        waiver.finish("id, reason, until")
    return tuple(waivers)


def _limits(table: _Table) -> Limits:
    values = {
        each.name: table.number(each.name, cast("float", each.default), whole=each.type == "int")
        for each in dataclasses.fields(Limits)
    }
    table.finish(", ".join(values))
    return Limits(**cast("Any", values))


_NO_CREDENTIALS: Final = {"api_key": "none"}

_AUTH_KEYS: Final = ("api_key_env", "username_env", "password_env")


def _named(variable: str) -> str:
    """Name a variable, unless the name may be a secret that stands in its place."""
    return f": {variable}" if re.fullmatch("[A-Z_][A-Z0-9_]*", variable) else ""


def _credentials(auth: Any, where: str, environ: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(auth, dict | None):
        raise TargetError(f"{where}: auth = {auth!r}: must be a table")
    table = _Table(auth or {}, where, "auth.")
    for key in table.values:
        if key not in _AUTH_KEYS:
            raise TargetError(
                f"{where}: auth.{key}: unknown key, known are {', '.join(_AUTH_KEYS)}; secrets "
                "never stand here, only the names of environment variables"
            )
    named = {key: table.text(key) for key in _AUTH_KEYS if key in table.values}
    if "api_key_env" in named and len(named) > 1:
        raise TargetError(
            f"{where}: auth: must name either api_key_env or username_env and password_env"
        )
    if len(named) == 1 and "api_key_env" not in named:
        raise TargetError(f"{where}: auth: must name username_env and password_env together")
    if not named:
        by_name = environ.get(USERNAME_VARIABLE) and not environ.get(API_KEY_VARIABLE)
        named = (
            {"username_env": USERNAME_VARIABLE, "password_env": PASSWORD_VARIABLE}
            if by_name
            else {"api_key_env": API_KEY_VARIABLE}
        )
    values = {}
    for key, variable in named.items():
        value = environ.get(variable, "")
        if not value:
            raise TargetError(
                f"{where}: auth.{key}: must name an environment variable that is set and not "
                f"empty{_named(variable)}"
            )
        values[key.removesuffix("_env")] = value
    return values
