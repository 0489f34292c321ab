"""Whether the target still answers, and the application behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_expedition.oracle.history import NO_KEY
from pytest_expedition.protocol.origin import described
from pytest_expedition.suite.errors import TargetUnusableError, does_not_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_expedition.oracle.history import Exchange

LOST_IN_A_ROW: Final = 8
"""After so many lost answers in a row the target is taken to be down, and the run ends."""

SECONDS_OF_GATEWAYS: Final = 30.0
"""If something else answers in the application's place for so many seconds, the run ends."""


class Availability:
    """Ends the run once its target no longer answers, or something else does in its place.

    ``reached`` says whether the target has ever answered.
    """

    def __init__(self, url: str) -> None:
        self.reached = False
        self._url = url
        self._application_answered = False
        self._lost_in_a_row = 0
        self._last_answer = 0.0
        """When the last answer arrived, from the application or not."""
        self._silent: list[Exchange] = []
        """The last requests in a row that the application did not answer, without probes."""

    def note(self, exchanges: Sequence[Exchange]) -> None:
        """Learn from exchanges. Raises ``TargetUnusableError`` if the run is to end."""
        for exchange in exchanges:
            if exchange.status is None:
                self._lost_in_a_row += 1
            else:
                self._lost_in_a_row = 0
                self._last_answer = max(self._last_answer, exchange.received)
            if exchange.answered:
                self._application_answered = True
                self._silent = []
            elif not exchange.probe:
                self._silent.append(exchange)
            if exchange.status == NO_KEY and not exchange.probe:
                raise TargetUnusableError(
                    f"{self._url} refuses the key: {exchange.method} {exchange.path} was answered "
                    f"with {NO_KEY}; is it a key of this instance, and less than a month old?"
                )
            self.reached = self.reached or exchange.status is not None
        if not self.reached:
            raise does_not_answer(self._url, exchanges[0].lost)
        if self._lost_in_a_row >= LOST_IN_A_ROW:
            raise TargetUnusableError(
                f"{self._url} stopped answering: the last answer came {self._last_answer:.1f} s "
                f"after the start, the next {self._lost_in_a_row} requests got none; the last one: "
                f"{exchanges[-1].lost}"
            )
        lasted = self._silent[-1].sent - self._silent[0].sent if self._silent else 0.0
        if lasted >= SECONDS_OF_GATEWAYS:
            self.require_answers()

    def require_answers(self, *, at_least: int = LOST_IN_A_ROW) -> None:
        """Raise ``TargetUnusableError`` if so many last requests in a row were not answered."""
        if len(self._silent) >= at_least:
            raise TargetUnusableError(self._why_unanswered())

    def _why_unanswered(self) -> str:
        """Say since when, and with what, something else answers in the application's place."""
        first, last = self._silent[0], self._silent[-1]
        what = last.lost
        if last.status is not None:
            what = described(last.status, last.body, last.location)
        if not self._application_answered:
            return (
                f"{self._url} does not answer as an Expedition instance: {what}; is that the "
                "address of the instance, and is it running?"
            )
        return (
            f"the application at {self._url} has not answered since {first.method} {first.path}, "
            f"{first.sent:.1f} s after the start: the last {len(self._silent)} requests got no "
            f"answer of it; the last one got {what}"
        )
