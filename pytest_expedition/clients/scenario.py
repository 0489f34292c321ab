"""What a test gets from the fixture ``expedition_scenario``."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from pytest_expedition import real_time, signals
from pytest_expedition.checked import checked
from pytest_expedition.clients.catalogue import SCENARIOS, Scenario
from pytest_expedition.clients.choice import spoken
from pytest_expedition.clients.draw import RANDOM, find_smallest, situations
from pytest_expedition.clients.harness import ClientFunctions, ClockStandsStill, Exceptions
from pytest_expedition.clients.program import (
    JOB_SECONDS,
    LIMIT_SECONDS,
    Program,
    try_program,
)
from pytest_expedition.clients.report import client_failure, scenario_entry, situation_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.clients.harness import Harness
    from pytest_expedition.clients.report import TrialFound
    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.situation import Situation
    from pytest_expedition.oracle.verdict import Result


class ExpeditionScenario:
    """A scenario in which ``check`` puts a client.

    ``id`` is the scenario's, ``url`` the server's address without ``/api/v1``, ``api_key`` the key
    that it asks for. The time is the fake's own, and moves when the client sleeps: give it
    ``sleep``, or ``sleep_async``, to sleep with, and ``monotonic`` if it looks at the time.
    """

    def __init__(
        self,
        scenario_id: str,
        harness: Harness,
        *,
        dialect: DialectName | None = None,
        strict: bool = False,
    ) -> None:
        server = harness.server
        self.id = scenario_id
        self.url = server.url
        self.api_key = server.api_key
        self.results: list[Result] = []
        """The outcome of each promise; empty before ``check``."""
        self.entry: TrialFound | None = None
        """What the report needs to know."""
        self._started = datetime.now(timezone.utc)
        self._begun = real_time.now()
        self._dialect = dialect
        known = SCENARIOS.get(scenario_id)
        # A client may log in before ``check``.
        server.dialect = dialect or (known.situation.dialect if known else "system")
        self._strict = strict
        self._harness = harness
        self.sleep = harness.sleep
        self.sleep_async = harness.sleep_async
        self.monotonic = harness.monotonic
        self.real_time = harness.real_time

    @checked
    def check(
        self,
        start: Callable[[], Any],
        wait: Callable[[Any], object],
        *,
        cancel: Callable[[Any], object] | None = None,
        failed: Exceptions = (),
        cancelled: Exceptions = (),
    ) -> None:
        """Let the client run a job in the scenario, and fail the test if it breaks a promise.

        ``start`` creates a job and returns what ``wait``, and ``cancel``, are then called with.
        ``wait`` returns when the job has ended: `"finished"`, `"failed"` or `"cancelled"`. A client
        that raises exceptions instead names them in ``failed`` and ``cancelled``. Then every
        returned value means that the job has finished. Any other exception means that it gave up.

        A scenario in which the client cancels is skipped if there is no ``cancel``. If only SHOULDs
        are broken, the test is an expected failure, or a failure with `--expedition-strict`. Raises
        ``TypeError`` if ``wait`` returns anything else.
        """
        client = ClientFunctions(
            start=start, wait=wait, cancel=cancel, failed=failed, cancelled=cancelled
        )
        try:
            if self.id == RANDOM:
                self._check_random(client)
            else:
                scenario = self._scenario(client)
                self.results = self._harness.run(scenario.situation, client)
                self._tell(scenario)
        except ClockStandsStill as error:
            # Without `from None` pytest would print the message twice.
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    @checked
    async def check_async(
        self,
        start: Callable[[], Any],
        wait: Callable[[Any], object],
        *,
        cancel: Callable[[Any], object] | None = None,
        failed: Exceptions = (),
        cancelled: Exceptions = (),
    ) -> None:
        """Do what ``check`` does, in an async test; the client runs in its event loop."""
        client = ClientFunctions(
            start=start, wait=wait, cancel=cancel, failed=failed, cancelled=cancelled
        )
        if self.id == RANDOM:
            pytest.skip(
                "not-tested: random situations are tried by `check`, in a test that is not async"
            )
        scenario = self._scenario(client)
        try:
            self.results = await self._harness.run_async(scenario.situation, client)
        except ClockStandsStill as error:
            # Without `from None` pytest would print the message twice.
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        self._tell(scenario)

    @checked
    def run(
        self,
        command: Sequence[str],
        *,
        exits: Mapping[int, str] | None = None,
        cancel_signal: int | None = None,
        job_seconds: float = JOB_SECONDS,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        """Run a command that runs one job, and fail the test if it breaks a promise.

        In the command, ``{url}`` and ``{key}`` become the server's address and key, which are in
        the environment, too: ``EXPEDITION_URL``, ``EXPEDITION_API_KEY``. Exit status 0 means that
        the job has finished; ``exits`` says what others mean: `{2: "cancelled"}`, or "failed", or
        "gave-up". One that is not named may mean any of the three that are not named either.
        ``cancel_signal`` makes the program cancel its job; without it, scenarios in which the
        client cancels are skipped. A job takes ``job_seconds`` of real time, and a program that
        takes longer than ``limit_seconds`` is killed.
        """
        program = Program(
            command=command,
            exits=exits or {},
            cancel_signal=cancel_signal,
            job_seconds=job_seconds,
            limit_seconds=limit_seconds,
        )
        if self.id == RANDOM:
            pytest.skip("not-tested: a program takes too long for random situations")
        scenario = spoken(SCENARIOS[self.id], self._dialect)
        lacking = program.lacks(scenario.situation)
        if lacking:
            pytest.skip(f"not-tested: {lacking}: run(…, cancel_signal=…)")
        with _until_a_signal() as stop:
            tried = try_program(
                program,
                scenario.situation,
                listen=lambda _: self._harness.server.listeners,
                stop=stop,
            )
        self.results, self._harness.transcript = tried.results, tried.transcript
        if tried.output:
            sys.stdout.write(tried.output)
        self._tell(scenario)

    def _scenario(self, client: ClientFunctions) -> Scenario:
        scenario = spoken(SCENARIOS[self.id], self._dialect)
        if scenario.situation.client_cancels and client.cancel is None:
            pytest.skip(
                "not-tested: the test does not say how the client cancels: use check(…, cancel=…)"
            )
        return scenario

    def _check_random(self, client: ClientFunctions) -> None:
        kept: list[tuple[Situation, list[Result]]] = []

        def fails(situation: Situation) -> bool:
            results = self._harness.run(situation, client)
            wrong = bool(self._wrong(results))
            if wrong or not kept:
                kept[:] = [(situation, results)]
            return wrong

        find_smallest(situations(self._dialect, cancels=client.cancel is not None), fails)
        situation, self.results = kept[0]
        if self._wrong(self.results):
            # Hypothesis may have tried others since: the transcript must be of this one.
            self.results = self._harness.run(situation, client)
        text = f"{situation_text(situation)} (the smallest of the random situations that fail)"
        good = "Says how the job ended, in spite of outages; gives up only when it cannot find out."
        self._tell(Scenario(id=RANDOM, text=text, good=good, situation=situation))

    def _wrong(self, results: Sequence[Result]) -> list[Result]:
        return [
            result
            for result in results
            if result.outcome == "error"
            or (result.outcome == "fail" and (self._strict or result.requirement.level == "MUST"))
        ]

    def _tell(self, scenario: Scenario) -> None:
        self.entry = scenario_entry(
            scenario,
            self._harness.transcript,
            self.results,
            url=self.url,
            started=self._started,
            seconds=real_time.now() - self._begun,
        )
        broken = [result for result in self.results if result.outcome in {"fail", "error"}]
        if self._wrong(self.results):
            pytest.fail(client_failure(scenario, self._harness.transcript, broken), pytrace=False)
        if broken:
            pytest.xfail(client_failure(scenario, self._harness.transcript, broken))


@contextlib.contextmanager
def _until_a_signal() -> Iterator[threading.Event]:
    """Let SIGTERM and SIGHUP set an event, and end the session afterwards.

    By default they end this process at once, and a program that it has started goes on. Signals
    that are ignored, or have a handler of others, are left as they are.
    """
    stop = threading.Event()
    received: list[int] = []

    def end(number: int, _: object) -> None:
        received.append(number)
        stop.set()

    try:
        with signals.handled(end, "SIGTERM", "SIGHUP"):
            yield stop
    finally:
        if received:
            reason = f"ended by {signal.Signals(received[0]).name}"
            pytest.exit(reason, returncode=pytest.ExitCode.INTERRUPTED)
