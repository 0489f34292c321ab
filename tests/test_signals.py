"""Which signals are handled for a while, and what becomes of their handlers."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from pytest_expedition.signals import handled

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that arrived; afterwards SIGTERM has its own handler again."""
    before = signal.getsignal(signal.SIGTERM)
    yield []
    signal.signal(signal.SIGTERM, before)


def test_a_signal_is_handled_in_the_block_alone(received: list[int]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with handled(lambda number, _: received.append(number), "SIGTERM", "SIGNONE"):
        signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_others_stays(received: list[int]) -> None:
    signal.signal(signal.SIGTERM, lambda number, _: received.append(-number))
    with handled(lambda number, _: received.append(number), "SIGTERM", though_ignored=True):
        signal.raise_signal(signal.SIGTERM)
    assert received == [-signal.SIGTERM]


@pytest.mark.parametrize("though_ignored", [False, True])
def test_a_signal_that_is_ignored(received: list[int], *, though_ignored: bool) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with handled(
        lambda number, _: received.append(number), "SIGTERM", though_ignored=though_ignored
    ):
        signal.raise_signal(signal.SIGTERM)
    assert received == ([signal.SIGTERM] if though_ignored else [])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_another_thread_changes_nothing(received: list[int]) -> None:
    inside: list[object] = []

    def look() -> None:
        with handled(lambda number, _: received.append(number), "SIGTERM"):
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert inside == [signal.getsignal(signal.SIGTERM)]
