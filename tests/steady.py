"""Does the verdict hang on chance? Runs the suite against each server with many seeds.

`python tests/steady.py 50` takes every broken and odd server, `python tests/steady.py 50 NAME …`
the named ones. Prints, for each broken server, how often it was caught, and every MUST that failed
though it is not declared; for each odd one every MUST that failed. A run against a broken server
ends once it is caught: what decides its verdict cannot change any more.
"""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from typing import TYPE_CHECKING

from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.odd import ODD
from pytest_expedition.protocol.requirements import CATALOGUE
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract

if TYPE_CHECKING:
    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.instance import Instance
    from pytest_expedition.suite.profile import ProfileName
    from pytest_expedition.suite.share import Conformance


def run_against(
    name: str,
    seed: int,
    *,
    dialect: DialectName = "system",
    until_caught: bool = False,
    profile: ProfileName = "default",
) -> Conformance:
    """Run the suite against a broken or an odd server that speaks a dialect.

    ``until_caught`` ends the run once a requirement is broken that the server is declared to break.
    """
    server = BROKEN.get(name) or ODD[name]

    def make() -> Instance:
        instance = server.make()
        instance.dialect = dialect
        return instance

    until = BROKEN[name].breaks_in(dialect) if until_caught and name in BROKEN else ()
    with embedded_target(make) as target:
        recipes = target.jobs
        if name == "nothing-can-be-cancelled":  # and the recipes say so
            recipes = tuple(replace(recipe, cancellable=False) for recipe in recipes)
        return run_contract(
            replace(target, jobs=recipes), profile=profile, seed=seed, until_broken=until
        )


def failed(name: str, seed: int) -> set[str]:
    """The requirements that a server failed with the plans of a seed."""
    results = run_against(name, seed, until_caught=True).results
    return {result.requirement.id for result in results if result.outcome == "fail"}


def main(seeds: int, names: list[str]) -> int:
    """Print what many seeds find; return 1 if a verdict hung on chance."""
    unsteady = False
    with ProcessPoolExecutor() as pool:
        for name in names:
            declared = set(BROKEN[name].breaks if name in BROKEN else ODD[name].bends)
            found = list(pool.map(failed, repeat(name, seeds), range(seeds)))
            caught = sum(bool(each & declared) for each in found)
            undeclared = Counter(
                each
                for outcomes in found
                for each in outcomes - declared
                if CATALOGUE[each].level == "MUST"
            )
            rare = name in BROKEN and caught < seeds
            unsteady = unsteady or rare or bool(undeclared)
            tally = f"caught {caught} of {seeds}" if name in BROKEN else f"{seeds} seeds"
            print(f"{name:34}{tally}  {dict(undeclared) or ''}", flush=True)
    return int(unsteady)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:] or [*BROKEN, *ODD]))
