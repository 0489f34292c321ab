"""Estimates how fast jobs progress, and when a job will reach a state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

STANDS_STILL: Final = 0.05
"""If a job's state is behind its estimate by more than this, the job has become slower."""


class Pace:
    """The pace of one job, by its own answers, or by other jobs of its recipe until these suffice.

    ``usual`` returns how much the state of other jobs of the recipe grew in a second, ``None`` if
    that is not known. Times are those of the middle of a request.
    """

    def __init__(self, *, created: float, usual: Callable[[], float | None]) -> None:
        self._usual = usual
        self._first = self._last = (created, 0.0)
        """Time and state: when it was last seen at 0, and the highest state seen since."""

    def learn(self, time: float, state: float) -> None:
        """Note that the job was seen at a state below 1."""
        if state > self._last[1]:
            self._last = (time, state)
        elif state == 0 and not self.moved:
            self._first = self._last = (time, 0.0)  # it has not begun yet
        elif state == self._last[1] and (self.state_at(time) or 0) > state + STANDS_STILL:
            self._last = (time, state)

    @property
    def moved(self) -> bool:
        """Whether the job was seen to make progress."""
        return self._last[1] > 0

    @property
    def per_second(self) -> float | None:
        """How much the state grows in a second; ``None`` if that is not known."""
        if not self.moved:
            return self._usual()
        seconds = self._last[0] - self._first[0]
        return self._last[1] / seconds if seconds > 0 else self._usual()

    def time_of(self, state: float) -> float | None:
        """Tell when the job will be that far; ``None`` if that is not known."""
        pace = self.per_second
        return None if not pace else self._last[0] + (state - self._last[1]) / pace

    def state_at(self, time: float) -> float | None:
        """Tell how far the job will be at a time; ``None`` if that is not known."""
        pace = self.per_second
        return None if pace is None else self._last[1] + pace * (time - self._last[0])
