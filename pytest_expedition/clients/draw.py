"""Random situations, and the smallest that a client gets wrong."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, get_args

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from pytest_expedition.fake.situation import Outage, Situation, Spelling

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition.fake.dialects import DialectName

RANDOM: Final = "random"
"""The id under which a client is tried in random situations."""

SITUATIONS: Final = 40

_OUTAGES: Final = ("unavailable", "bad-gateway", "lost", "cut-short")


def situations(dialect: DialectName | None, *, cancels: bool) -> st.SearchStrategy[Situation]:
    """Return the strategy for situations in a dialect; ``cancels``: also with a client's cancel."""

    @st.composite
    def draw_one(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Situation:
        between = draw(st.lists(st.floats(0, 1, exclude_max=True), max_size=4))
        first = draw(st.sampled_from([[0], []]))
        spoken = dialect or draw(st.sampled_from(["system", "mixed"]))
        client_cancels = cancels and draw(st.booleans())
        fails = draw(st.booleans())
        # By the API reference a job may fail at any state.
        end = [] if fails and spoken == "data" and between and draw(st.booleans()) else [1]
        return Situation(
            progress=(*first, *sorted(between), *end),
            step_seconds=draw(st.sampled_from([10.0, 1.0, 60.0])),
            spelled=draw(st.sampled_from(get_args(Spelling))),
            dialect=spoken,
            fails=fails,
            cancelled_after=draw(st.none() | st.integers(1, 60)),
            agent_idle=draw(st.sampled_from([0.0, 30.0, 120.0])),
            client_cancels=client_cancels,
            cancellable=not client_cancels or draw(st.sampled_from([True, False])),
            cancel_seconds=draw(st.sampled_from([0.0, 2.0, 8.0])) if client_cancels else 0.0,
            cancel_too_late=client_cancels and draw(st.booleans()),
            outages=draw(_outages(client_cancels=client_cancels)),
            first_id=draw(st.sampled_from([1619, 2**31])),
            unknown_fields=draw(st.booleans()),
        )

    return draw_one()


def _outages(*, client_cancels: bool) -> st.SearchStrategy[list[Outage]]:
    """Draw outages, never two in a row: how many a client must survive is not defined."""
    kinds = st.sampled_from(_OUTAGES)
    status = st.builds(Outage, kind=kinds, nth=st.sampled_from([1, 3, 5]))
    creation = st.builds(
        Outage, kind=st.sampled_from(_OUTAGES), of=st.just("creation"), nth=st.just(1)
    )
    cancel = st.builds(Outage, kind=st.sampled_from(["lost"]), of=st.just("cancel"), nth=st.just(1))
    any_of = st.one_of(status, creation, cancel) if client_cancels else st.one_of(status, creation)
    return st.lists(any_of, max_size=2, unique_by=lambda outage: (outage.of, outage.nth))


def find_smallest(
    strategy: st.SearchStrategy[Situation], fails: Callable[[Situation], bool]
) -> None:
    """Try random situations until ``fails``, and then ever smaller ones; the last was the smallest.

    ``fails`` is called with each; Hypothesis ends with the smallest that it found.
    """

    class Wrong(Exception):  # noqa: N818 - it ends an example, and is no error of ours
        pass

    def try_one(situation: Situation) -> None:
        if fails(situation):
            raise Wrong

    drawn = settings(
        max_examples=SITUATIONS,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
    )(given(strategy)(try_one))
    with contextlib.suppress(Wrong):
        drawn()
