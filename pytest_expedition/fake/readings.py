"""What servers, proxies and handlers are known to make of a path, and of an id in it.

Apache and nginx resolve dots and double slashes, Laravel's router ignores a trailing slash,
servlets cut matrix parameters, gateways decode twice, PHP casts a text to the number that it begins
with, or to 0.
"""

from __future__ import annotations

import contextlib
import math
import posixpath
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_MOST: Final = 2000
"""The most readings of one text: a safeguard, since some readings make a text longer."""


def paths(path: str) -> set[str]:
    """Return every reading of a path, itself among them."""
    return _closure(path, _PATH_STEPS)


def ids(text: str) -> set[int | None]:
    """Return every id that a handler may read in a text; ``None`` if it reads no id."""
    found: set[int | None] = set()
    for each in _closure(text, _ID_STEPS):
        numbers = list(_numbers(each))
        found.update(numbers)
        if not each or 0 in numbers:
            found.add(None)  # empty(), `if id`, `id || …`
    return found


def _closure(text: str, steps: Iterable[Callable[[str], str]]) -> set[str]:
    """Apply steps in any order, as often as they change anything."""
    seen, fresh = {text}, [text]
    while fresh and len(seen) < _MOST:
        one = fresh.pop()
        for step in steps:
            other = step(one)
            if other not in seen:
                seen.add(other)
                fresh.append(other)
    return seen


def _resolve(path: str) -> str:
    trailing = "/" if path.endswith(("/", "/.", "/..")) else ""
    return posixpath.normpath(path) + trailing if path.startswith("/") else path


_PATH_STEPS: Final[tuple[Callable[[str], str], ...]] = (
    lambda path: unquote(path, errors="replace"),
    lambda path: path.replace("\\", "/"),
    lambda path: re.sub("/+", "/", path),
    lambda path: path.rstrip("/") or "/",
    _resolve,
    lambda path: re.sub(";[^/]*", "", path),  # matrix parameters
    lambda path: re.split("[?#;\0]", path)[0],
    lambda path: path.strip(),
    str.lower,
    lambda path: re.sub(r"\.[a-z0-9]+$", "", path),  # the suffix of a format, as in Rails
)

_ID_STEPS: Final[tuple[Callable[[str], str], ...]] = (
    lambda text: unquote(text, errors="replace"),
    lambda text: text.strip(),
    lambda text: text.strip("'\"`;,.+- \t"),
    lambda text: re.split("[;?&#/\0]", text)[0],
)


def _numbers(text: str) -> Iterator[int]:
    """Yield the numbers that casts of many languages make of a text."""
    whole = re.match(r"\s*[+-]?\d+", text)
    yield from _widths(int(whole[0][:400]) if whole else 0)
    part = re.match(r"\s*[+-]?\d*\.?\d+([eE][+-]?\d{1,3}(?!\d))?", text)
    if part:
        with contextlib.suppress(ValueError, OverflowError):
            number = float(part[0])
            for round_ in (math.floor, math.ceil, round):
                yield from _widths(round_(number))
    digits = re.sub(r"\D", "", text)
    if digits:
        yield from _widths(int(digits[:400]))


def _widths(number: int) -> Iterator[int]:
    """Yield a number as it is, cut to 32 and 64 bits, and at the ends of their ranges."""
    yield number
    for bits in (32, 64):
        half = 2 ** (bits - 1)
        yield (number + half) % 2**bits - half
        yield number % 2**bits
        yield max(-half, min(number, half - 1))
