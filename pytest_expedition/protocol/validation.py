"""The JSON Schemas of the job API: by name, as validators, and with clear errors.

The schemas are JSON Schema 2020-12. ``status-msg`` is the status envelope of the dialect ``msg``,
``status`` that of whichever dialect a document is written in. In a checkout they stand in
``schemas/``, in an installed package beside its modules. All references between them are resolved
without network access.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from pytest_expedition.checked import shown
from pytest_expedition.protocol.envelope import escaped

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

    from pytest_expedition.protocol.envelope import Dialect

EnvelopeName = Literal["creation", "status", "cancel", "error"]
SchemaName = Literal[
    "creation",
    "creation-system",
    "creation-msg",
    "creation-data",
    "status",
    "status-system",
    "status-msg",
    "status-data",
    "cancel",
    "cancel-system",
    "cancel-msg",
    "cancel-data",
    "error",
    "error-system",
    "error-msg",
    "error-data",
    "fields-data",
    "jobs-data",
    "envelope",
    "report",
    "trace",
    "plan",
    "target",
]

SCHEMA_NAMES: Final = cast("tuple[SchemaName, ...]", get_args(SchemaName))
"""The names that ``schema``, ``validator`` and ``validate`` know."""

_ERRORS_LOOKED_AT: Final = 100
_SHOWN: Final = 120
"""Characters of a value that an error message quotes."""


class SchemaViolation(ValueError):  # noqa: N818 - "violation" is the field's word
    """A document that does not validate.

    ``path`` is the JSON path of the offending value (``$`` is the document itself), ``value`` the
    value (``None`` for a missing field), ``expected`` what the schema asks for in its place.
    """

    def __init__(self, *, path: str, value: object, expected: str, missing: bool = False) -> None:
        found = "missing" if missing else _quote(value)
        super().__init__(f"{path} is {found}, expected {expected}")
        self.path = path
        self.value = value
        self.expected = expected


def schema(name: SchemaName) -> dict[str, Any]:
    """Return the schema called ``name`` as a fresh document.

    Raises ``ValueError`` for a name that is not one of ``SCHEMA_NAMES``.
    """
    _require_known(name)
    return cast("dict[str, Any]", json.loads(_text(name)))


def _require_known(name: object) -> None:
    if name not in SCHEMA_NAMES:
        raise ValueError(f"unknown schema {shown(name)}; there are {', '.join(SCHEMA_NAMES)}")


def _is_number(_: object, value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def validator(name: SchemaName) -> Draft202012Validator:
    """Return the validator of the schema called ``name``, made once and kept.

    Raises ``ValueError`` for a name that is not one of ``SCHEMA_NAMES``.
    """
    _require_known(name)
    return _validator(name)


@functools.cache
def _validator(name: SchemaName) -> Draft202012Validator:
    # Imported only when needed: the import takes half of the time of judging a small file.
    import jsonschema

    kind = jsonschema.Draft202012Validator
    # Python reads NaN and Infinity, which are not JSON; they would pass every bound.
    numbers = kind.TYPE_CHECKER.redefine("number", _is_number)
    strict = jsonschema.validators.extend(kind, type_checker=numbers)  # type: ignore[no-untyped-call]
    return cast("Draft202012Validator", strict(_without_references(name)))


@functools.cache
def _without_references(name: SchemaName, pointer: str = "") -> Any:
    """Return a schema, or its part at a JSON pointer, with what each reference names in its place.

    jsonschema spends half of its time on references. `$schema` is left out: with it, jsonschema
    would use its own idea of a number.
    """
    part: Any = schema(name)
    for key in pointer.split("/")[1:]:
        part = part[key]
    return _replaced(part, name)


def _replaced(part: Any, name: SchemaName) -> Any:
    if isinstance(part, list):
        return [_replaced(each, name) for each in part]
    if not isinstance(part, dict):
        return part
    ignored = ("$schema", "$id", "$defs", "$ref")
    beside = {key: _replaced(each, name) for key, each in part.items() if key not in ignored}
    if "$ref" not in part:
        return beside
    file, _, pointer = part["$ref"].partition("#")
    named = _without_references(cast("SchemaName", file.removesuffix(".json") or name), pointer)
    return {"allOf": [named, beside]} if beside else named


def validate(document: object, name: SchemaName) -> None:
    """Check ``document`` against the schema called ``name``.

    Raises ``SchemaViolation`` for the first offending value, ``ValueError`` for an unknown name.
    """
    violation = find_violation(document, name)
    if violation is not None:
        raise violation


def schema_of(envelope: EnvelopeName, dialect: Dialect | None) -> SchemaName:
    """Return the name of an envelope's schema in a dialect, or in any if that is not known."""
    return cast("SchemaName", envelope if dialect is None else f"{envelope}-{dialect}")


def find_violation(document: object, name: SchemaName) -> SchemaViolation | None:
    """Return the first violation that ``validate`` would raise, or ``None``."""
    checker = validator(name)
    if checker.is_valid(document):
        return None
    some = itertools.islice(checker.iter_errors(document), _ERRORS_LOOKED_AT)
    errors = [leaf for error in some for leaf in _leaves(error)]
    first = min(errors, key=place_of)
    if first.validator == "required":  # name the missing field rather than its parent
        wanted = cast("list[str]", first.validator_value)
        absent, *more = (
            field for field in wanted if field not in cast("dict[str, Any]", first.instance)
        )
        return SchemaViolation(
            path=f"{first.json_path}.{absent}",
            value=None,
            expected="this field" + (f"; also missing: {', '.join(more)}" if more else ""),
            missing=True,
        )
    return SchemaViolation(path=first.json_path, value=first.instance, expected=_expectation(first))


def place_of(error: ValidationError) -> list[tuple[int, str]]:
    """Return the place of an offending value in the document, by which errors can be sorted."""
    return [(step if isinstance(step, int) else 0, str(step)) for step in error.absolute_path]


def _leaves(error: ValidationError) -> list[ValidationError]:
    return [leaf for each in error.context or () for leaf in _leaves(each)] or [error]


def _expectation(error: ValidationError) -> str:
    wanted: Any = error.validator_value
    match error.validator:
        case "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            return f"{' or '.join(kinds)}"
        case "const":
            return f"{json.dumps(wanted)}"
        case "enum":
            return f"one of {json.dumps(wanted)}"
        case "minimum":
            return f"at least {wanted}"
        case "maximum":
            return f"at most {wanted}"
        case "minItems":
            return f"at least {wanted} item"
        case "maxItems":
            return f"at most {wanted} items"
        case "not":
            return f"anything but {json.dumps(wanted.get('const', wanted))}"
        case _:
            return f"a value that fits {error.validator}: {json.dumps(wanted)}"


def _quote(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError):  # a number of too many digits, or lists too deep
        return "a value too large to be shown"
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return escaped(text)


@functools.cache
def _text(name: SchemaName) -> str:
    package = Path(__file__).parents[1]
    installed = package / "schemas"
    folder = installed if installed.is_dir() else package.parent / "schemas"
    return (folder / f"{name}.json").read_text(encoding="utf-8")
