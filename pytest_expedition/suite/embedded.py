"""The default target: a fake instance in this process, whose waiting times are skipped."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from pytest_expedition.fake.instance import Instance
from pytest_expedition.fake.server import ExpeditionServer
from pytest_expedition.protocol.recipe import JobRecipe
from pytest_expedition.suite.clock import SkippingClock
from pytest_expedition.suite.target import Limits, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EMBEDDED_JOB_SECONDS: Final = 30.0
EMBEDDED_POLL_SECONDS: Final = 2.7
"""The length of a job is no multiple of this, so polls see jobs at other states than tenths."""


EMBEDDED_JOBS: Final = (
    JobRecipe(
        name="import",
        path="/api/v1/project/1/import",
        form={"resource": "/tmp/config.xml"},  # noqa: S108
        cancellable=True,
    ),
    JobRecipe(name="export", path="/api/v1/projects/1/export", cancellable=False),
)


@contextlib.contextmanager
def embedded_target(
    make_instance: Callable[[], Instance] = Instance,
    *,
    job_seconds: float = EMBEDDED_JOB_SECONDS,
    clock: Callable[[Callable[[float], None]], SkippingClock] = SkippingClock,
) -> Iterator[Target]:
    """Start a fake instance in this process, and make the target of it: nothing waits."""

    def make() -> Instance:
        instance = make_instance()
        instance.set_pace(job_seconds)
        return instance

    server = ExpeditionServer(make)
    server.start()
    try:
        yield Target(
            url=server.url,
            api_key=server.api_key,
            start_agent=True,
            control_agent=True,
            clock=clock(server.advance),
            jobs=EMBEDDED_JOBS,
            limits=Limits(
                job_seconds=4 * job_seconds,
                poll_seconds=EMBEDDED_POLL_SECONDS,
                requests=1_000_000,
                jobs=100_000,
            ),
        )
    finally:
        server.stop()
