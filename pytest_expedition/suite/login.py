"""Gets a key for a user name and a password, in whichever way the target wants to be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.oracle.history import NO_KEY
from pytest_expedition.protocol.origin import described
from pytest_expedition.protocol.redaction import Secret
from pytest_expedition.suite.calls import Call, listed
from pytest_expedition.suite.errors import TargetUnusableError, does_not_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.suite.target import Target

NO_SUCH_RESOURCE: Final = 404
_BODY_REFUSED: Final = frozenset({400, 401, 415, 422})
"""How a server may refuse a login by form if it expects JSON, or by JSON if it expects a form."""


def fetch_key(target: Target, send: Callable[[Call], Exchange], *, json_first: bool) -> Secret:
    """Log in by form as the pages show it, and by JSON as the API reference declares it.

    Raises ``TargetUnusableError`` if the target gives no key.
    """
    for login in ("login", "older-login"):
        exchange = send(_login(target, login, by_json=json_first))
        if exchange.status != NO_SUCH_RESOURCE:
            break
    if exchange.status is None:
        raise does_not_answer(target.url, exchange.lost)
    key = _key_in(exchange)
    if key is None and exchange.status in _BODY_REFUSED:
        key = _key_in(send(_login(target, login, by_json=not json_first)))
    if key is None and exchange.status == NO_KEY and login == "login":
        # The API reference has only the older path; a server may ask for a key at all others.
        key = _key_in(send(_login(target, "older-login", by_json=True)))
    if key is not None:
        return key
    if not exchange.answered and exchange.status != NO_KEY:
        what = described(exchange.status, exchange.body, exchange.location)
        raise TargetUnusableError(f"{target.url}: POST {exchange.path} got {what}")
    what = ", without an `api_key` at a documented place" if exchange.ok else "; are both right?"
    raise TargetUnusableError(
        f"{target.url} gives no key for the user name and the password: "
        f"{exchange.method} {exchange.path} was answered with {exchange.status}{what}"
    )


def _login(target: Target, name: str, *, by_json: bool) -> Call:
    credentials = {"username": target.username, "password": target.password}
    method, path = listed(name)
    return Call(
        kind="other",
        method=method,
        path=path,
        probe="no-key",
        form=None if by_json else credentials,
        document=credentials if by_json else None,
    )


def _key_in(answer: Exchange) -> Secret | None:
    """Find the key in the answer to a login, as the pages or the API reference show it."""
    for path in (("Contents", "response", "data", "content", "api_key"), ("data", "api_key")):
        found: Any = answer.document if answer.ok else None
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        if isinstance(found, str) and found and found.isascii() and found.isprintable():
            return Secret(found)
    return None
