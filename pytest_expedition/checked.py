"""Checks the arguments of public classes and methods by the annotations of their parameters."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

LONGEST_SHOWN: Final = 120
"""Characters of a value that an error message quotes."""

_ONE: Final[dict[Any, list[str]]] = {
    bool: ["True", "False"],
    float: ["a number"],
    int: ["a whole number"],
    Callable: ["a function"],
    type: ["an exception class"],
    NoneType: ["None"],
}
_MANY: Final[dict[Any, list[str]]] = {
    float: ["numbers"],
    int: ["whole numbers"],
    Mapping: ["dict"],
    type: ["exception classes"],
    Any: ["anything"],
}

_COLLECTIONS: Final[dict[Any, str]] = {Sequence: "list", Mapping: "dict", tuple: "tuple"}

_Checked = TypeVar("_Checked", bound=Callable[..., Any])


def checked(target: _Checked) -> _Checked:
    """Let a dataclass, or a method, refuse arguments that do not fit their annotations.

    The message names the argument, its value and what is allowed. The error is ``ValueError`` where
    the annotation is a ``Literal``, else ``TypeError``. The items of lists and dicts are checked
    too. The value of a field that a dataclass does not show is not quoted: it may be a secret.
    """
    if not isinstance(target, type):
        return cast("_Checked", _checking(target, target))
    target.__init__ = _checking(target.__init__, target)  # type: ignore[misc]
    return target


def shown(value: object) -> str:
    """Return a value as an error message quotes it, also where it is too large to be written."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of too many digits, or lists too deep
        return "a value that is too large"
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def require_json(where: str, **values: object) -> None:
    """Raise ``ValueError`` for the first value that cannot be written as JSON."""
    for name, value in values.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:  # noqa: PERF203
            raise ValueError(f"{where}: {name}: cannot be written as JSON: {error}") from None


def _checking(function: Callable[..., Any], annotated: Any) -> Callable[..., Any]:
    """Return the function, with a check before it; ``annotated`` has the annotations."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def check(*arguments: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        try:
            given = signature.bind(*arguments, **options).arguments
        except TypeError:
            return function(*arguments, **options)  # which says what is missing
        hints, secrets = _annotations(annotated)
        for name in [each for each in given if each in hints]:
            several = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            for value in given[name] if several else [given[name]]:
                if not _fits(value, hints[name]):
                    where = _where(function, arguments[0], name)
                    quoted = "" if name in secrets else f" = {shown(value)}"
                    complaint = f"{where}: {name}{quoted}: must be {_allowed(hints[name])}"
                    is_choice = get_origin(hints[name]) is Literal
                    raise ValueError(complaint) if is_choice else TypeError(complaint)
        return function(*arguments, **options)

    return check


@functools.cache
def _annotations(annotated: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the annotations, and the names of the fields that a dataclass leaves out of its repr.

    Such a field may hold a secret.
    """
    is_class = dataclasses.is_dataclass(annotated)
    fields = dataclasses.fields(annotated) if is_class else ()
    return get_type_hints(annotated), frozenset(each.name for each in fields if not each.repr)


def _where(function: Callable[..., Any], owner: object, parameter: str) -> str:
    """Name the class, and the method unless it makes an instance or sets the property."""
    name = owner.__name__ if isinstance(owner, type) else type(owner).__name__
    return name if function.__name__ in {"__init__", parameter} else f"{name}.{function.__name__}"


def _fits(value: Any, annotation: Any) -> bool:
    kind, parts = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Literal:
        return value in parts
    if kind in {Union, UnionType}:
        return any(_fits(value, part) for part in parts)
    if kind in {int, float}:
        numbers = int if kind is int else int | float
        return isinstance(value, numbers) and not isinstance(value, bool)
    if kind is Callable:
        return callable(value)
    if kind is Any:
        return True
    if not isinstance(value, kind):
        return False
    if kind is type:
        return issubclass(value, *parts)
    return kind not in _COLLECTIONS or _items_fit(value, kind, parts)


def _items_fit(value: Any, kind: Any, parts: tuple[Any, ...]) -> bool:
    if kind is Mapping:
        return all(all(map(_fits, pair, parts)) for pair in value.items())
    if isinstance(value, str | bytes):
        return False
    # Whether a number fits depends on its type alone, and a script may have hundreds.
    items = {type(each): each for each in value}.values() if parts == (float,) else value
    return all(_fits(each, parts[0]) for each in items)


def _allowed(annotation: Any, *, names: Mapping[Any, list[str]] = _ONE) -> str:
    """Say what is allowed, in words; ``names`` has those for some types."""
    *some, last = _words(annotation, names)
    return f"{', '.join(some)} or {last}" if some else last


def _words(annotation: Any, names: Mapping[Any, list[str]]) -> list[str]:
    kind, parts = get_origin(annotation) or annotation, get_args(annotation)
    if kind in {Union, UnionType}:
        return [word for part in parts for word in _words(part, names)]
    if kind in names:
        return names[kind]
    if kind is Literal:
        return [f"one of {', '.join(parts)}"]
    if kind in _COLLECTIONS:
        of = " to ".join(_allowed(part, names=_MANY) for part in parts if part is not ...)
        return [f"a {_COLLECTIONS[kind]} of {of}"]
    name: str = kind.__name__
    return [name if names is _MANY else f"a{'n' if name[0] in 'AEIOU' else ''} {name}"]
