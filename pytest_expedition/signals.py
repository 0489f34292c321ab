"""Handles signals for a while: those that ask a program to end."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PYTHONS_OWN: Final = (signal.SIG_DFL, signal.default_int_handler)


@contextlib.contextmanager
def handled(
    by: Callable[[int, object], None], *names: str, though_ignored: bool = False
) -> Iterator[None]:
    """Let a function handle signals inside the ``with`` block.

    A signal that has a handler of others keeps it, and one that is ignored stays ignored, unless
    ``though_ignored``. Names that the system does not know are passed over: Windows has no SIGHUP.
    Outside the main thread, which alone may set handlers, nothing is changed.
    """
    replaced = (*_PYTHONS_OWN, signal.SIG_IGN) if though_ignored else _PYTHONS_OWN
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in [getattr(signal, name) for name in names if hasattr(signal, name)]:
            if signal.getsignal(number) in replaced:
                before[number] = signal.signal(number, by)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
