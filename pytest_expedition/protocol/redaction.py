"""Secrets, and how they are struck out of what is written."""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable


class Secret(str):
    """A text that does not show in its ``repr``."""

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
