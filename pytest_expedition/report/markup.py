"""HTML and SVG from templates that escape every value which is not markup already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Iterable

NOTHING: Final = Markup()
NEWLINE: Final = Markup("\n")


def html(template: str, *values: object, **named: object) -> Markup:
    """Fill the fields of a template, which is literal text of the code, never data."""
    return Markup(template).format(*values, **named)  # noqa: S704 - see above


def join(parts: Iterable[Markup], *, lines: bool = False) -> Markup:
    """Put markup together; with ``lines`` each part is on a line of its own."""
    return NEWLINE.join(parts) if lines else NOTHING.join(parts)
