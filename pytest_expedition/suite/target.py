"""The instance to judge: its address and key, the requests that create jobs, the limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from pytest_expedition.checked import checked, shown
from pytest_expedition.oracle.verdict import Waiver
from pytest_expedition.protocol.envelope import escaped
from pytest_expedition.protocol.recipe import DOCUMENTED_IMPORT, JobRecipe
from pytest_expedition.protocol.redaction import Secret
from pytest_expedition.suite.clock import SuiteClock, WallClock

if TYPE_CHECKING:
    from pytest_expedition.protocol.requirements import Capability

DialectChoice = Literal["auto", "system", "msg", "data"]

API_KEY_VARIABLE: Final = "EXPEDITION_API_KEY"

API_ROOT: Final = "/api/v1"

LARGEST_LIMIT: Final = 10**9


class TargetError(ValueError):
    """A target that cannot be used; the message names the file, the key and what is allowed."""

    def __init__(self, message: str) -> None:
        # Files hold any characters; the message is for a terminal.
        super().__init__(escaped(message))


@checked
@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the instance can take, and how long the suite waits.

    ``job_seconds``: how long a job may take to finish. ``poll_seconds``: the pause between two
    polls of a job; for quick jobs it shrinks to an eighth. ``answer_seconds``: how long an answer
    may take. ``requests``, ``jobs`` and ``seconds``: how many and how long for the whole run;
    nothing is sent beyond them. ``concurrent_jobs``: how many jobs run at the same time.
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
            if not 0 < value <= LARGEST_LIMIT:
                allowed = f"must be above 0, and at most {LARGEST_LIMIT}"
                raise TargetError(f"Limits: {each.name} = {shown(value)}: {allowed}")


@checked
@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """The instance under test.

    ``url`` is its address without ``/api/v1``; ``verify`` whether its certificate is verified, or
    the path of a CA bundle. ``cert`` is the path of a client certificate, ``cert_key`` that of its
    key where it is in a file of its own. Either ``api_key`` is given, or ``username`` and
    ``password``, for which the instance gives a key. ``waivers`` name the requirements that
    it is known to break.
    ``clock`` is the clock that the suite uses: the real one, unless the instance has its own.
    ``start_agent`` lets the suite start the instance's agent, ``control_agent`` lets it stop the
    agent for a while, too, which disturbs all its users.
    """

    url: str
    jobs: Sequence[JobRecipe] = (DOCUMENTED_IMPORT,)
    verify: bool | str = True
    cert: str = ""
    cert_key: str = ""
    dialect: DialectChoice = "auto"
    api_key: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    limits: Limits = field(default_factory=Limits)
    start_agent: bool = False
    control_agent: bool = False
    waivers: Sequence[Waiver] = ()
    clock: SuiteClock = field(default_factory=WallClock, repr=False)

    def __post_init__(self) -> None:
        check_url(self.url, "Target: url")
        if self.verify == "":  # requests would verify nothing
            raise TargetError("Target: verify = '': must be True, False or the path of a CA bundle")
        if self.cert_key and not self.cert:
            raise TargetError("Target: cert_key: must be left out where there is no cert")
        if not self.jobs:
            raise TargetError("Target: jobs must hold at least one JobRecipe")
        for name in _repeated([recipe.name for recipe in self.jobs]):
            raise TargetError(f"Target: job: name = {name!r}: must be a name that no other job has")
        for name in _repeated([waiver.id for waiver in self.waivers]):
            raise TargetError(f"Target: waive: id = {name!r}: must be waived only once")
        self._check_credentials()
        object.__setattr__(self, "url", self.url.rstrip("/"))
        object.__setattr__(self, "jobs", tuple(self.jobs))
        object.__setattr__(self, "waivers", tuple(self.waivers))
        if self.control_agent:  # what is stopped is started again
            object.__setattr__(self, "start_agent", True)
        for secret in ("api_key", "password"):
            object.__setattr__(self, secret, Secret(getattr(self, secret)))

    def _check_credentials(self) -> None:
        if not self.api_key and not (self.username and self.password):
            raise TargetError("Target: needs api_key, or username and password")
        check_key(self.api_key, "Target: api_key")

    @property
    def certificate(self) -> str | tuple[str, str] | None:
        """The client certificate, as requests takes it."""
        return (self.cert, self.cert_key) if self.cert_key else self.cert or None

    @property
    def offers(self) -> set[Capability]:
        """What the instance is known to have of all that requirements need."""
        cancellable = {recipe.cancellable for recipe in self.jobs}
        known: dict[Capability, bool] = {
            "cancellable": True in cancellable,
            "granted": True in cancellable,
            "refusable": False in cancellable,
            "agent-start": self.start_agent,
            "agent-control": self.control_agent,
        }
        return {capability for capability, there in known.items() if there}


def _repeated(names: list[str]) -> list[str]:
    return [name for name in names if names.count(name) > 1]


def check_key(key: str, where: str) -> None:
    """Raise ``TargetError`` for what cannot be a key; ``where`` is the name of what holds it."""
    if not (key.isascii() and key.isprintable()):
        raise TargetError(f"{where} holds characters that no HTTP header can carry")
    if key.lower().startswith("bearer "):
        raise TargetError(f"{where} begins with `Bearer `: give the key alone, without that word")


def check_url(url: str, where: str) -> None:
    """Raise ``TargetError`` for what cannot be the address of an instance.

    ``where`` is the name of the setting that holds it.
    """
    import requests  # only where a target is asked for

    rest = url.partition("://")[2]
    if "@" in rest.partition("/")[0] or "?" in rest:
        raise TargetError(
            f"{where}: must not hold credentials or a query; set {API_KEY_VARIABLE} instead"
        )
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        if good:  # can its host be looked up, and is it an address for requests?
            str(parts.hostname).encode("idna")
            requests.Request("GET", url).prepare()
    except ValueError:
        good = False
    if not good or parts.fragment or any(x.isspace() for x in url):
        begins = url.startswith(("http://", "https://"))
        allowed = "must be" if begins else "must begin with http:// or https://,"
        hint = "; give a target file with --expedition-config" if url.endswith(".toml") else ""
        raise TargetError(f"{where} = {url!r}: {allowed} like https://192.0.2.10{hint}")
    if parts.path.rstrip("/").endswith(API_ROOT):
        raise TargetError(f"{where} = {url!r}: must be given without {API_ROOT} at its end")
