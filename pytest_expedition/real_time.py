"""The machine's own time, which passes even if a test has replaced or frozen ``time``.

Tests replace ``time.monotonic`` and ``time.sleep``, or freeze all clocks (freezegun, time-machine).
The times that order exchanges must not stand still with them. Use these two functions wherever a
verdict depends on the time.
"""

from __future__ import annotations

import _thread
import functools
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Neither freezegun nor time-machine replaces this clock. Without it (on Windows) the function is
# bound here, and hidden from freezegun, which looks for it in all modules.
now: Final[Callable[[], float]] = (
    functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if hasattr(time, "clock_gettime")
    else functools.partial(time.monotonic)
)
"""Return the seconds of a clock that never goes back."""


def pause(seconds: float) -> None:
    """Wait that many seconds, also where a test has replaced ``time.sleep``."""
    lock = _thread.allocate_lock()
    lock.acquire()
    lock.acquire(timeout=max(seconds, 0.0))
