"""How many broken servers a run finds out if the instance takes real time for its jobs.

The instance and the suite go by a virtual clock, so nothing waits; limits and decisions are
those of a run against a live instance. A broken server counts as found out if it fails the
requirement that it is about.

`python tests/benchmarks/slow.py NAME …` looks at the named servers only. The missed are told.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from frame import Row, main, versions

from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.instance import Instance
from pytest_expedition.suite.clock import SkippingClock
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract
from pytest_expedition.suite.target import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_expedition.suite.profile import ProfileName
    from pytest_expedition.suite.target import Target

JOB_SECONDS: Final = (10.0, 60.0)
GOALS: Final[dict[ProfileName, str]] = {"smoke": "≥ 91 %", "default": "≥ 98 %"}
SEED: Final = 1619


class EmulatedWaiting(SkippingClock):
    """A clock that the suite takes for the world's."""

    waits = True


@contextlib.contextmanager
def slow_target(
    make_instance: Callable[[], Instance] = Instance, *, job_seconds: float, control_agent: bool
) -> Iterator[Target]:
    """Start a fake instance whose jobs take so long, and make the target of it."""
    with embedded_target(make_instance, job_seconds=job_seconds, clock=EmulatedWaiting) as target:
        yield replace(
            target,
            start_agent=False,
            control_agent=control_agent,
            limits=Limits(job_seconds=4 * job_seconds),
        )


def is_found_out(name: str, *, job_seconds: float, profile: ProfileName) -> bool:
    """Run the suite against a broken server, until it has failed what it is about.

    The agent may be stopped only where the server is about the agent, as few targets allow it.
    """
    broken = BROKEN[name]
    about = broken.breaks_in(broken.dialects[0])[0]

    def make() -> Instance:
        instance = broken.make()
        instance.dialect = broken.dialects[0]
        return instance

    control = about.startswith("agent.")
    with slow_target(make, job_seconds=job_seconds, control_agent=control) as target:
        record = run_contract(target, profile=profile, seed=SEED, until_broken=(about,))
    return about in {each.requirement.id for each in record.results if each.outcome == "fail"}


def measure(names: Sequence[str] = tuple(BROKEN)) -> Iterator[Row]:
    """Count, for each profile and each length of a job, the servers that are found out."""
    with ProcessPoolExecutor() as pool:
        for profile, goal in GOALS.items():
            for seconds in JOB_SECONDS:
                run = functools.partial(is_found_out, job_seconds=seconds, profile=profile)
                found = dict(zip(names, pool.map(run, names), strict=True))
                missed = " ".join(name for name in names if not found[name])
                print(f"slow: {profile}, {seconds:g} s: missed: {missed}", file=sys.stderr)
                yield Row(
                    what=f"broken servers found out with jobs of {seconds:g} s, `{profile}`",
                    goal=goal,
                    figure=f"{sum(found.values())} of {len(found)}",
                    versions=versions("hypothesis"),
                )


if __name__ == "__main__":
    named = [argument for argument in sys.argv[1:] if argument in BROKEN]
    main(functools.partial(measure, named or tuple(BROKEN)))
