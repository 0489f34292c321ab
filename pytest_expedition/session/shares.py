"""Work that is shared by the processes of pytest-xdist: each takes what no other has taken."""

from __future__ import annotations

import contextlib
import pickle
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_Result = TypeVar("_Result")


def do_together(folder: Path, count: int, work: Callable[[int], _Result]) -> list[_Result]:
    """Do all shares of some work together with other processes; return what came of each.

    Every process calls this with the same folder, which is theirs alone, and gets all results,
    which are pickled on the way. ``work`` is called with the number of a share, from 0; a share
    whose process ended amid it is done by another. Raises what ``work`` raises.
    """
    folder.mkdir(exist_ok=True)
    results = [folder / f"{number}.pickle" for number in range(count)]
    for seconds in (0, -1):  # first what nobody is at, then wait for what others are at
        for number, result in enumerate(results):
            with contextlib.suppress(Timeout), FileLock(result.with_suffix(".lock"), seconds):
                if not result.exists():
                    unfinished = result.with_suffix(".unfinished")
                    unfinished.write_bytes(pickle.dumps(work(number)))
                    unfinished.replace(result)
    return [pickle.loads(result.read_bytes()) for result in results]  # noqa: S301 - written above
