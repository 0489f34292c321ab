"""Redaction: removes secrets from what the suite writes (reports, traces, logs).

Rules judge answers as they were received. A secret is removed in every spelling that servers and
tools give it.

A key or a password may be a common text, such as `1` or `state`. Removing it everywhere would
destroy reports and traces. So such a secret is removed only where it is a whole value of JSON or of
a form, or follows `Bearer`. Keys and numbers of JSON, and the words of the API's own fields, are
never changed.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import re
import traceback
from html.entities import codepoint2name
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STRUCK_OUT: Final = "***"

_SHORTEST_DISTINCT: Final = 4
_ALWAYS_DISTINCT: Final = 8
"""The length from which on a secret of letters or digits alone is removed everywhere."""

_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?')
_FORM_FIELD: Final = re.compile(r"(?<==)[^&]*")

_NAME: Final = re.compile("[A-Za-z_-]{1,24}")
"""What may be the name of a documented field."""

_WORD: Final = re.compile(r"[A-Za-z_]+|[\d.-]+")
"""What may be a word of the API, an id or a state."""

_OWN_WORDS: Final = frozenset(
    {"Type", "type", "Contents-Format", "status_message", "resource_type"}
    | {"state", "success", "id", "jobId", "job_id"}
)
"""Fields whose values are words of the API, or tell jobs apart."""


class Secret(str):
    """A text that does not show in its ``repr``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{STRUCK_OUT}'"


def is_distinct(secret: str) -> bool:
    """Whether a secret can be told from other texts wherever it stands."""
    if len(secret) >= _ALWAYS_DISTINCT:
        return True
    return len(secret) >= _SHORTEST_DISTINCT and not (secret.isalpha() or secret.isdecimal())


class Redaction:
    """Strikes secrets out of texts."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._whole = frozenset(known)
        self._anywhere = [_pattern(str(secret)) for secret in known]
        self._indistinct = any(not is_distinct(secret) for secret in known)

    def prose(self, text: str) -> str:
        """Return a text without the secrets that can be told from its words."""
        for secret in self._anywhere:
            text = secret.sub(STRUCK_OUT, text)
        return text

    def value(self, text: str) -> str:
        """Return a value from outside the suite, without secrets."""
        return STRUCK_OUT if text in self._whole else self.prose(text)

    def fact(self, value: Any) -> Any:
        """Return a JSON value from outside the suite, without secrets in its texts."""
        if isinstance(value, str):
            return self.value(value)
        if isinstance(value, list | tuple):
            return [self.fact(item) for item in value]
        if isinstance(value, dict):
            return {name: self.fact(item) for name, item in value.items()}
        return value

    def form(self, text: str) -> str:
        """Return the body of a form, or a query, without secrets in its values."""
        return _FORM_FIELD.sub(lambda found: self.value(found[0]), text)

    def path(self, path: str) -> str:
        """Return a path with its query, without secrets; ids stay as they are."""
        before, mark, query = path.partition("?")
        steps = [step if step.isdecimal() else self.prose(step) for step in before.split("/")]
        return "/".join(steps) + mark + self.form(query)

    def body(self, body: bytes) -> bytes:
        """Return the body of a request or an answer without secrets; JSON stays valid."""
        if not self._whole:
            return body
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            return self.prose(body.decode("latin-1")).encode("latin-1", "replace")
        return self.text_body(text).encode("utf-8", "surrogatepass")

    def text_body(self, text: str) -> str:
        """Return the text of a body without secrets; JSON stays valid."""
        found = any(secret.search(text) for secret in self._anywhere)
        if not (found or self._indistinct):
            return text
        try:
            json.loads(text, parse_int=float)
        except (ValueError, RecursionError):
            return self.form(text) if _is_form(text) else self.prose(text)
        return self._json(text)

    def _json(self, text: str) -> str:
        field = ""

        def strike(token: re.Match[str]) -> str:
            nonlocal field
            value = json.loads(f'"{token[1]}"', strict=False)
            if token[2] is not None:
                field = value
                struck = value if _NAME.fullmatch(value) else self.prose(value)
            elif field in _OWN_WORDS and _WORD.fullmatch(value):
                struck = value
            else:
                struck = self.value(value)
            return token[0] if struck == value else json.dumps(struck) + (token[2] or "")

        return _TOKEN.sub(strike, text)


NO_REDACTION: Final = Redaction()
"""A redaction without secrets."""


def _is_form(text: str) -> bool:
    return re.fullmatch(r"[^\s=&<>{]+=[^\s<>{]*", text) is not None


@functools.lru_cache(maxsize=256)
def _pattern(secret: str) -> re.Pattern[str]:
    """Return the pattern of a secret wherever it stands; for a long one this takes a while."""
    ways = [*_in_base64(secret), f"(?<=[Bb]earer ){_spelled(secret)}(?![\\w-])"]
    if is_distinct(secret):
        ways = [_spelled(secret), *ways, _cut_short(secret)]
    return re.compile("|".join(ways))


def _spelled(secret: str) -> str:
    """Return the pattern of a secret in any spelling: plain, in a URL, in JSON, in HTML."""
    return "".join(map(_spelled_character, secret))


def _in_base64(secret: str) -> Iterator[str]:
    """Yield the patterns of a secret in base64, alone and as a header carries it.

    Those that cannot be told from other texts are left out.
    """
    for text in (secret, f"Bearer {secret}"):
        encoded = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")
        for each in {encoded, encoded.translate(_URL_SAFE)}:
            if is_distinct(each):
                yield re.sub("[^A-Za-z0-9]", lambda x: _spelled_character(x[0]), each) + "={0,2}"


_URL_SAFE: Final = str.maketrans("+/", "-_")


def _spelled_character(character: str) -> str:
    ways = [re.escape(character)]
    encoded = character.encode("utf-8", "surrogatepass")
    ways.append("".join(f"(?i:%{byte:02x})" for byte in encoded))
    ways += [rf"(?i:\\u{ord(character):04x})"] if ord(character) < 0x10000 else []
    ways += [re.escape(f"\\{character}")] if character in '/"\\' else []
    ways += [r"\+"] if character == " " else []
    if not (character.isascii() and character.isalnum()):
        number = ord(character)
        ways += [f"&#0*{number};", f"(?i:&#x0*{number:x};)"]
        name = codepoint2name.get(number)
        ways += [f"&{name};"] if name else []
    return f"(?:{'|'.join(ways)})"


def _cut_short(secret: str) -> str:
    """Return the pattern of the beginning of a secret, for a text that was cut within it.

    It is made of pieces, since a pattern may not be nested as deep as a secret may be long.
    """
    spelled = [_spelled_character(character) for character in secret]
    rest = ""
    for start in reversed(range(_SHORTEST_DISTINCT, len(spelled), _PIECE)):
        piece = spelled[start : start + _PIECE]
        beginning = ""
        for character in reversed(piece):
            beginning = f"(?:{character}{beginning})?"
        rest = f"(?:{''.join(piece)}{rest}|{beginning})"
    return f"{''.join(spelled[:_SHORTEST_DISTINCT])}{rest}(?=…)"


_PIECE: Final = 50


class LogFilter(logging.Filter):
    """Strikes secrets out of the records of a logger, tracebacks included."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self.redaction = redaction

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record; let all pass."""
        record.msg, record.args = self.redaction.prose(record.getMessage()), ()
        if record.exc_info and record.exc_info[0] is not None:
            told = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            record.exc_text, record.exc_info = self.redaction.prose(told), None
        return True
