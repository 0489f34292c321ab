"""Which scenarios a test is run in, as its markers say."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_expedition.clients.catalogue import SCENARIOS
from pytest_expedition.clients.draw import RANDOM
from pytest_expedition.fake.dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pytest

    from pytest_expedition.clients.catalogue import Scenario
    from pytest_expedition.fake.dialects import DialectName


class ChoiceError(Exception):
    """A marker that cannot be used; the message says why."""


def choose(markers: Iterable[pytest.Mark]) -> list[tuple[str, DialectName | None]]:
    """Return the scenarios to run, each with the dialect that it is played in, if one is named.

    The nearest marker counts. If it names no ids, all scenarios are chosen that can happen in the
    dialect, except those in ``without``. A scenario that happens only in the dialect `data` is
    chosen if that dialect or the scenario is named. Raises ``ChoiceError`` for an unknown id or
    dialect.
    """
    marker = next(iter(markers), None)
    if marker is None:
        return [(name, None) for name in (*usual(None), RANDOM)]
    dialect, without = _options(**marker.kwargs)
    for name in (*marker.args, *without):
        if not isinstance(name, str):
            raise ChoiceError(f"expedition_scenarios takes ids one by one, as texts, not {name!r}")
    chosen = _chosen(marker.args, without, dialect, RANDOM)
    if not chosen:
        raise ChoiceError("no scenario is left: `without` names all of them")
    return [(name, dialect) for name in chosen]


def choose_by_name(
    names: Sequence[str], *, without: Sequence[str] = (), dialect: DialectName | None
) -> list[Scenario]:
    """Return scenarios of the catalogue in a dialect: those named, or all, without some.

    Raises ``ChoiceError`` for an unknown id, for one that cannot happen in the dialect, and where
    none is left.
    """
    chosen = _chosen(names, without, dialect)
    if not chosen:
        raise ChoiceError("no scenario is left")
    return [spoken(SCENARIOS[name], dialect) for name in chosen]


def _chosen(
    names: Sequence[str], without: Sequence[str], dialect: DialectName | None, *drawn: str
) -> list[str]:
    for name in (*names, *without):
        if name not in SCENARIOS and name not in drawn:
            raise ChoiceError(unknown(name))
    for name in names:
        if name in SCENARIOS and not _can_happen(name, dialect):
            raise ChoiceError(f"{name!r} cannot happen in the dialect {dialect!r}")
    asked = names or (*usual(dialect), *drawn)
    return [name for name in dict.fromkeys(asked) if name not in without]


def spoken(scenario: Scenario, dialect: DialectName | None) -> Scenario:
    """Return a scenario as it is in a dialect, if one is named."""
    if dialect is None:
        return scenario
    return replace(scenario, situation=replace(scenario.situation, dialect=dialect))


def unknown(name: object) -> str:
    """Say that there is no such scenario, and which may have been meant."""
    alike = difflib.get_close_matches(str(name), SCENARIOS, 1)
    all_of = "`pytest-expedition list scenarios` has all"
    hint = f"did you mean {alike[0]}?" if alike else all_of
    return f"there is no scenario {name!r}; {hint}"


def _options(
    *, dialect: Any = None, without: Any = (), **others: Any
) -> tuple[DialectName | None, Sequence[Any]]:
    if others:
        raise ChoiceError(
            f"expedition_scenarios takes ids, dialect and without, not {next(iter(others))!r}"
        )
    if isinstance(without, str) or not isinstance(without, (list, tuple, set, frozenset)):
        raise ChoiceError(f"without = {without!r}: must be a list of ids")
    if dialect not in (*DIALECTS, None):
        raise ChoiceError(f"dialect = {dialect!r}: must be one of {', '.join(DIALECTS)}")
    return dialect, tuple(without)


def usual(dialect: DialectName | None) -> list[str]:
    """Return the scenarios that are tried where none is named."""
    return [name for name in SCENARIOS if _can_happen(name, dialect or "mixed")]


def _can_happen(name: str, dialect: DialectName | None) -> bool:
    return dialect is None or SCENARIOS[name].situation.dialect in {"system", dialect}
