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

from pytest_expedition import conformance
from pytest_expedition.conformance import check, embedded_target
from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.fake.odd import ODD
from pytest_expedition.requirements import CATALOGUE


class UntilCaught(conformance._Trial):
    """A run that ends once a requirement is broken that the server is declared to break."""

    declared: frozenset[str] = frozenset()

    def _spent(self) -> bool:
        return super()._spent() or not self.declared.isdisjoint(self.smallest)


def run_against(name: str, seed: int) -> conformance.Conformance:
    """Run the suite against a broken or an odd server."""
    server = BROKEN.get(name) or ODD[name]
    with embedded_target(server.make) as target:
        if name == "nothing-can-be-cancelled":  # and the recipes say so
            recipes = tuple(replace(recipe, cancellable=False) for recipe in target.jobs)
            return check(replace(target, jobs=recipes), seed=seed)
        return check(target, seed=seed)


def failed(name: str, seed: int) -> set[str]:
    """The requirements that a server failed with the plans of a seed."""
    UntilCaught.declared = frozenset(BROKEN[name].breaks if name in BROKEN else ())
    conformance._Trial = UntilCaught  # type: ignore[misc]
    results = run_against(name, seed).results
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
