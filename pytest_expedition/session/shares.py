"""Work that the processes of pytest-xdist share: each takes shares that no other has taken."""

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
    """Do all shares of some work together with other processes; return the result of each.

    Every process calls this with the same folder, which nothing else uses, and gets all results.
    Results are pickled. ``work`` is called with the number of a share, from 0. If a process ends
    before its share is done, another process does it. Raises what ``work`` raises.
    """
    folder.mkdir(exist_ok=True)
    results = [folder / f"{number}.pickle" for number in range(count)]
    for seconds in (0, -1):  # first the free shares, then wait for those that others do
        for number, result in enumerate(results):
            with contextlib.suppress(Timeout), FileLock(result.with_suffix(".lock"), seconds):
                if not result.exists():
                    unfinished = result.with_suffix(".unfinished")
                    unfinished.write_bytes(pickle.dumps(work(number)))
                    unfinished.replace(result)
    return [pickle.loads(result.read_bytes()) for result in results]  # noqa: S301 - written above
