"""Reads the target file (`expedition.toml`), which `schemas/target.json` describes.

It holds no secrets: it names environment variables that do.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import ssl
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.checked import shown
from pytest_expedition.oracle.verdict import Waiver
from pytest_expedition.protocol.recipe import JobRecipe
from pytest_expedition.protocol.validation import place_of, validator
from pytest_expedition.suite.target import (
    API_KEY_VARIABLE,
    Limits,
    Target,
    TargetError,
    check_key,
    check_url,
)
from pytest_expedition.user_files import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from jsonschema.exceptions import ValidationError

CA_VARIABLE: Final = "REQUESTS_CA_BUNDLE"
USERNAME_VARIABLE: Final = "EXPEDITION_USERNAME"
PASSWORD_VARIABLE: Final = "EXPEDITION_PASSWORD"  # noqa: S105 - the name of a variable


def at_url(
    url: str, *, environ: Mapping[str, str] = os.environ, credentials: bool = True
) -> Target:
    """Make the target of an address alone: the documented import request, credentials as usual.

    Without ``credentials`` none are looked up, since nothing is sent. Raises ``TargetError`` for
    what is no URL and where the environment holds no credentials.
    """
    check_url(url, "--expedition-url: url")
    known = _credentials({}, "--expedition-url", environ, looked_up=credentials)
    return Target(url=url, verify=_trusted(environ), **known)


def load(
    path: Path,
    *,
    url: str = "",
    environ: Mapping[str, str] = os.environ,
    credentials: bool = True,
) -> Target:
    """Read a target file. ``url`` replaces the file's.

    Without ``credentials`` none are looked up, since nothing is sent to the target.

    Raises ``TargetError`` for a file that cannot be read, is not TOML, or has a key, a type or a
    value that is not allowed, and for an environment variable that is named but not set.
    """
    where = str(path)
    try:
        document = read_toml(path)
    except ValueError as error:
        raise TargetError(str(error)) from None
    if url:
        check_url(url, "--expedition-url: url")
        document["url"] = url
    _require_valid(document, where)
    if not url:
        check_url(document["url"], f"{where}: url")
    agent = document.get("agent", {})
    certificate = _certificate(document, path)
    verify = _verify(document.get("verify", True), path, environ)
    known = _credentials(document.get("auth", {}), where, environ, looked_up=credentials)
    jobs = []
    for number, job in enumerate(document["job"], 1):
        with _mistakes_at(f"{where}: job {number}"):
            jobs.append(_recipe(job))
    waivers = []
    for number, waiver in enumerate(document.get("waive", []), 1):
        with _mistakes_at(f"{where}: waive {number}"):
            waivers.append(_waiver(waiver))
    with _mistakes_at(where):
        return Target(
            url=document["url"],
            verify=verify,
            **certificate,
            dialect=document.get("dialect", "auto"),
            jobs=jobs,
            limits=_limits(document.get("limits", {})),
            waivers=waivers,
            start_agent=agent.get("start", False),
            control_agent=agent.get("control", False),
            **known,
        )


@contextlib.contextmanager
def _mistakes_at(where: str) -> Iterator[None]:
    """Let the mistake that a class finds in its values begin with where in the file they stand."""
    try:
        yield
    except ValueError as error:
        _, _, mistake = str(error).partition(": ")  # before it stands the name of the class
        raise TargetError(f"{where}: {mistake}") from None


def _require_valid(document: dict[str, Any], where: str) -> None:
    """Raise ``TargetError`` for the first value that the schema does not allow."""
    for waiver in document["waive"] if isinstance(document.get("waive"), list) else ():
        if isinstance(waiver, dict) and type(waiver.get("until")) is date:
            waiver["until"] = waiver["until"].isoformat()  # JSON has no dates
    errors = validator("target").iter_errors(document)
    # A key that is misspelt is told before the one that is missing for that reason.
    first = min(
        errors,
        key=lambda error: (place_of(error), error.validator == "required"),
        default=None,
    )
    if first is not None:
        raise TargetError(f"{where}: {_mistake(first)}")


_OF_A_SECRET: Final = re.compile("key|token|user|password|secret|credential", re.IGNORECASE)
"""What the name of a key has that may hold a secret."""


def _mistake(error: ValidationError) -> str:
    """Say which key is wrong, and what is allowed: the schema's `errorMessage`."""
    place = _place(error.absolute_path)
    rule: Any = error.schema
    found: Any = error.instance
    secret = place == "auth" or place.startswith("auth.")
    if error.validator == "minItems":
        return f"[[{place}]] is missing: must be {rule['errorMessage']}"
    if error.validator == "required":
        name = next(each for each in rule["required"] if each not in found)
        missing = "[[job]]" if name == "job" else _place([*error.absolute_path, name])
        return f"{missing} is missing: must be {rule['properties'][name]['errorMessage']}"
    if error.validator == "additionalProperties":
        known = list(rule["properties"])
        key = next(each for each in found if each not in known)
        alike = difflib.get_close_matches(key, known, 1)
        hint = f"; did you mean {alike[0]}?" if alike else ""
        secret = secret or _OF_A_SECRET.search(key) is not None
        # What else a user writes here may be a secret, too.
        value = f" = {shown(found[key])}" if isinstance(found[key], int | float) else ""
        never = (
            "; secrets belong in environment variables, not in this file: set EXPEDITION_API_KEY, "
            "or EXPEDITION_USERNAME and EXPEDITION_PASSWORD"
            if secret
            else ""
        )
        return (
            f"{_place([*error.absolute_path, key])}{value}: unknown key, known are "
            f"{', '.join(known)}{never}{hint}"
        )
    if rule.get("type") == "array" and isinstance(found, dict):
        return f"[{place}] must be written with two brackets: [[{place}]]"
    value = "" if secret else f" = {shown(found)}"
    return f"{place}{value}: must be {rule['errorMessage']}"


def _place(path: Iterable[str | int]) -> str:
    """Return the way to a key as people write it: `limits.jobs`, `job 1: path`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f" {step + 1}"
        else:
            end = text[-1:]
            text += (": " if end.isdigit() else "." if end else "") + step
    return text


def _recipe(job: dict[str, Any]) -> JobRecipe:
    texts = {
        name: {key: str(value) for key, value in job.get(name, {}).items()}
        for name in ("form", "query")
    }
    return JobRecipe(**{**job, **texts})


def _limits(values: dict[str, float]) -> Limits:
    """Make the limits; JSON Schema takes `5.0` for a whole number, too."""
    numbers: dict[str, Any] = {
        name: type(getattr(Limits, name))(value) for name, value in values.items()
    }
    return Limits(**numbers)


def _waiver(values: dict[str, Any]) -> Waiver:
    try:
        until = date.fromisoformat(values["until"])
    except ValueError:
        day = values["until"]
        raise TargetError(f"Waiver: until = {day!r}: must be a date like 2027-03-01") from None
    return Waiver(**{**values, "until": until})


def _trusted(environ: Mapping[str, str]) -> bool | str:
    """Return what verifies certificates where nothing is said: the usual CAs, or the named ones."""
    bundle = environ.get(CA_VARIABLE, "")
    if bundle and not os.path.exists(bundle):  # noqa: PTH110 - a file or a folder, as requests has it
        raise TargetError(
            f"{CA_VARIABLE} = {bundle!r}: must be the path of a CA bundle that exists"
        )
    return bundle or True


def _verify(value: bool | str, path: Path, environ: Mapping[str, str]) -> bool | str:  # noqa: FBT001
    if isinstance(value, bool):
        return value and _trusted(environ)
    bundle = path.parent / value
    if not bundle.exists():
        allowed = "must be true, false or the path of a CA bundle that exists"
        raise TargetError(f"{path}: verify = {value!r}: {allowed}")
    return str(bundle)


def _certificate(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Find the client certificate beside the target file, and try whether it can be used."""
    files = {key: str(path.parent / document[key]) for key in _CERTIFICATE if key in document}
    if "cert" not in files:
        return files

    def refuse() -> str:  # else OpenSSL would ask for it at the terminal
        raise ValueError("its key is protected by a password")

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(files["cert"], files.get("cert_key"), password=refuse)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise TargetError(
            f"{path}: cert = {document['cert']!r}: must be a PEM file with a certificate and, "
            f"unless cert_key names it, its key: {why}"
        ) from None
    return files


_CERTIFICATE: Final = ("cert", "cert_key")


def _credentials(
    auth: Mapping[str, str], where: str, environ: Mapping[str, str], *, looked_up: bool
) -> dict[str, Any]:
    if "api_key_env" in auth and len(auth) > 1:
        raise TargetError(
            f"{where}: auth: must name either api_key_env or username_env and password_env"
        )
    if len(auth) == 1 and "api_key_env" not in auth:
        raise TargetError(f"{where}: auth: must name username_env and password_env together")
    named = bool(auth)
    if not named:
        by_name = environ.get(USERNAME_VARIABLE) and not environ.get(API_KEY_VARIABLE)
        auth = (
            {"username_env": USERNAME_VARIABLE, "password_env": PASSWORD_VARIABLE}
            if by_name
            else {"api_key_env": API_KEY_VARIABLE}
        )
    if not looked_up:
        return {key.removesuffix("_env"): "none" for key in auth}
    values = {}
    for key, variable in auth.items():
        value = environ.get(variable, "")
        if not value and not named:
            state = "is empty" if variable in environ else "is not set"
            raise TargetError(
                f"{variable} {state}: set it to the key of the instance, or set "
                f"{USERNAME_VARIABLE} and {PASSWORD_VARIABLE}"
            )
        if not value:
            raise TargetError(
                f"{where}: auth.{key}: must name an environment variable that is set and not "
                f"empty{_name_of(variable)}"
            )
        if key == "api_key_env":
            check_key(value, variable if not named else f"{where}: the value of auth.{key}")
        values[key.removesuffix("_env")] = value
    return values


def _name_of(variable: str) -> str:
    """Name a variable, unless the name may be a secret that stands in its place."""
    return f": {variable}" if re.fullmatch("[A-Z_][A-Z0-9_]*", variable) else ""
