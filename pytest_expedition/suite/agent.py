"""Starts and stops the target's agent, and sees to it that a stopped one runs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_expedition.real_time import now as machine_now
from pytest_expedition.suite.calls import Call, listed
from pytest_expedition.suite.errors import TargetUnusableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition.oracle.history import Exchange
    from pytest_expedition.suite.target import Target

AGENT_TRIES: Final = 3
"""How often to tell a stopped agent to run before giving up."""


class Agent:
    """The agent of a target.

    ``send`` sends a request, and ``require_limits`` raises ``LimitReachedError`` if a limit forbids
    that. ``stopped`` is the last answer about the agent, as text, as long as this run has stopped
    it; empty otherwise.
    """

    def __init__(
        self,
        target: Target,
        *,
        send: Callable[[Call], Exchange],
        require_limits: Callable[[Call], None],
    ) -> None:
        self.stopped = ""
        self._target = target
        self._send = send
        self._require_limits = require_limits
        self._started = False
        self._by_post = False
        """Whether the target wants POST for the agent, as the API reference declares, not GET."""
        self._id: int | None = None

    @property
    def leftover(self) -> str:
        """The sentence about an agent that is still stopped; empty if it is not."""
        if not self.stopped:
            return ""
        return (
            f"the agent of {self._target.url} was stopped and was not seen to run again: "
            f"{self.stopped}; start it by hand"
        )

    def start_once(self) -> None:
        """Start the agent, unless this run has already done so."""
        if not self._started:
            self._started = True
            self.start()

    def start(self) -> None:
        """Start the agent; by POST if the target has no GET for it."""
        answer = self._send(self.call("start"))
        unknown = answer.answered and answer.status in {404, 405}
        if unknown and not self._by_post:
            self._by_post = True
            self._send(self.call("start"))

    def stop(self) -> bool:
        """Stop the agent, and return whether it may have stopped.

        The clean-up starts it if nothing else does.
        """
        if self._by_post:
            self._find()
            if self._id is None:
                return False
        stop = self.call("stop")
        self._require_limits(stop)
        self.stopped = "no request to start it was sent"  # noted first: the answer may be lost
        answer = self._send(stop)
        if answer.answered and answer.status is not None and 400 <= answer.status < 500:
            self.stopped = ""  # the application refused
        return bool(self.stopped)

    def restart(self, until: float) -> None:
        """Restart the agent. Raises ``TargetUnusableError`` if it is not seen to run after that."""
        self.make_run("restart", self._send, until)
        if self.stopped:
            raise TargetUnusableError(self.leftover)

    def make_run(self, first: str, send: Callable[[Call], Exchange | None], until: float) -> None:
        """Tell the agent to run until it says that it does, or the tries are used up."""
        for number in range(AGENT_TRIES):
            if number:
                left = max(until - machine_now(), 0.0)
                self._target.clock.sleep(min(self._target.limits.poll_seconds, left))
            answer = send(self.call("start" if number else first))
            if answer is None:
                return
            if _says_that_it_runs(answer):
                self.stopped = ""
                return
            came = answer.lost if answer.status is None else f"HTTP {answer.status}"
            self.stopped = f"{answer.method} {answer.path} was answered with {came}"

    def call(self, command: str) -> Call:
        """Make the request that starts, stops or restarts the agent."""
        name = f"agent-{command}-data" if self._by_post else f"agent-{command}"
        method, path = listed(name, agent=self._id)
        return Call(kind="agent", method=method, path=path)

    def _find(self) -> None:
        """Ask for the id of the agent, if there is exactly one."""
        method, path = listed("agent-list-data")
        answer = self._send(Call(kind="other", method=method, path=path))
        data = answer.document.get("data") if isinstance(answer.document, dict) else None
        agents = data.get("agent") if isinstance(data, dict) else None
        if answer.ok and isinstance(agents, list) and len(agents) == 1:
            number = agents[0].get("id") if isinstance(agents[0], dict) else None
            self._id = number if type(number) is int and number >= 0 else None


def _says_that_it_runs(answer: Exchange) -> bool:
    """Whether the answer to a start or restart of the agent is a success.

    In the dialect `data` it also tells how the agent stands.
    """
    data = answer.document.get("data") if isinstance(answer.document, dict) else None
    stopped = isinstance(data, dict) and data.get("status") == "stopped"
    return answer.answered and answer.ok and answer.answer.success is not False and not stopped
