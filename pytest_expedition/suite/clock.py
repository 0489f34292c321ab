"""The clocks of the contract suite."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from pytest_expedition import real_time

if TYPE_CHECKING:
    from collections.abc import Callable


TICK_SECONDS: Final = 0.001


@runtime_checkable
class SuiteClock(Protocol):
    """A time in seconds, and a way to wait for a later one."""

    waits: bool
    """Whether sleeping takes real time."""

    def now(self) -> float:
        """Return the time; it never goes back."""

    def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""


class WallClock:
    """The real clock."""

    waits = True

    def now(self) -> float:
        """Return the seconds of the machine's monotonic clock."""
        return real_time.now()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        real_time.pause(seconds)


class SkippingClock:
    """A clock that does not wait: it skips the seconds, and passes them to ``advance``.

    Each look at it takes a tick of its time, a millisecond. So it tells which request came before
    which, as the real one would, and yet says the same however fast the machine is.
    """

    waits = False

    def __init__(self, advance: Callable[[float], None]) -> None:
        self._advance = advance
        self._woke = 0.0
        self._looks = itertools.count(1)

    def now(self) -> float:
        """Return the seconds that were skipped, and a tick for each look."""
        return self._woke + next(self._looks) * TICK_SECONDS

    def sleep(self, seconds: float) -> None:
        """Skip the seconds."""
        fell_asleep, self._woke = self._woke, self.now() + seconds
        self._looks = itertools.count(1)
        self._advance(self._woke - fell_asleep)
