"""Does the verdict depend on chance? Runs the suite against each server with many seeds.

`python tests/steady.py 50` takes every broken and odd server, `python tests/steady.py 50 NAME …`
the named ones. It prints, for each broken server, in how many runs it failed the requirement that
it is about, and every MUST that failed though it is not declared; for each odd server every MUST
that failed. A run ends once the broken server has failed the requirement that it is about.

With `--full` every plan of a run is carried out, in every dialect: `nox -s matrix` does that with
one seed, since `tests/test_matrix.py` ends each run early.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from in_process import in_process, needs_http

from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.dialects import DIALECTS
from pytest_expedition.fake.odd import ODD
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_share
from pytest_expedition.suite.share import merge

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.instance import Instance
    from pytest_expedition.oracle.record import RunRecord
    from pytest_expedition.suite.profile import ProfileName


def run_against(
    name: str,
    seed: int,
    *,
    dialect: DialectName | None = None,
    until_broken: Collection[str] = (),
    profile: ProfileName = "default",
    shares: int = 1,
    http: bool = True,
) -> RunRecord:
    """Run the suite against a broken or an odd server that speaks a dialect.

    Unless one is named it is the first of those in which its defect or quirk shows.
    Of ``shares`` equal shares of the plans, the first, with the covering plan, is carried out.
    Without ``http`` requests are handed to the server in this process,
    unless what is odd or broken about it shows only over HTTP.
    """
    server = BROKEN.get(name) or ODD[name]
    dialect = dialect or server.dialects[0]

    def make() -> Instance:
        instance = server.make()
        instance.dialect = dialect
        return instance

    over_http = http or needs_http(server.make())
    with contextlib.nullcontext() if over_http else in_process(), embedded_target(make) as target:
        recipes = target.jobs
        if name == "nothing-can-be-cancelled":  # and the recipes say so
            recipes = tuple(replace(recipe, cancellable=False) for recipe in recipes)
        asked = replace(target, jobs=recipes)
        share = run_share(
            asked, profile=profile, seed=seed, until_broken=until_broken, share=(0, shares)
        )
        return merge(asked, [share])


class Run(NamedTuple):
    """One run against a server."""

    name: str
    dialect: DialectName
    seed: int
    full: bool

    @property
    def about(self) -> str | None:
        """The requirement that the broken server is about, if the dialect carries the field."""
        if self.name in ODD or self.dialect not in BROKEN[self.name].dialects:
            return None
        return BROKEN[self.name].breaks_in(self.dialect)[0]

    @property
    def declared(self) -> set[str]:
        """The requirements that the server may fail."""
        if self.name in ODD:
            return set(ODD[self.name].may_fail)
        return set(BROKEN[self.name].breaks_in(self.dialect)) if self.about else set()


def failed(run: Run) -> set[str]:
    """The requirements that the server failed."""
    until_broken = {run.about} if run.about and not run.full else set()
    results = run_against(
        run.name, run.seed, dialect=run.dialect, until_broken=until_broken
    ).results
    assert not any(result.crash for result in results), results
    return {result.requirement.id for result in results if result.outcome == "fail"}


def main(arguments: list[str]) -> int:
    """Print what many seeds find; return 1 if a server was not caught, or accused of too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int)
    parser.add_argument("names", nargs="*", default=[*BROKEN, *ODD])
    parser.add_argument("--full", action="store_true", help="every plan, in every dialect")
    options = parser.parse_args(arguments)
    wrong = False
    with ProcessPoolExecutor() as pool:
        for name in options.names:
            shown_in = (BROKEN.get(name) or ODD[name]).dialects
            dialects = DIALECTS if options.full else shown_in[:1]
            runs = [
                Run(name, dialect, seed, options.full)
                for dialect in dialects
                for seed in range(options.seeds)
            ]
            found = list(zip(runs, pool.map(failed, runs), strict=True))
            about = [(run.about, failures) for run, failures in found if run.about]
            caught = sum(requirement in failures for requirement, failures in about)
            undeclared = Counter(
                requirement
                for run, failures in found
                for requirement in failures - run.declared
                if CATALOGUE[requirement].level == "MUST"
            )
            wrong = wrong or caught < len(about) or bool(undeclared)
            tally = f"caught {caught} of {len(about)}" if about else f"{len(runs)} runs"
            print(f"{name:34}{tally}  {dict(undeclared) or ''}", flush=True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
