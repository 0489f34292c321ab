"""Contract tests, JSON Schemas and a fake server for the job API of Expedition 2.0.

The names below are imported when they are first used, so that the plugin costs nothing until then.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_expedition.fake.server import ExpeditionServer
    from pytest_expedition.fake.simulation import Clock, Job, JobScript
    from pytest_expedition.fake.situation import Fault, Situation
    from pytest_expedition.monitor import Monitor
    from pytest_expedition.scenarios.scenario import ExpeditionScenario
    from pytest_expedition.target import JobRecipe, Limits, Target, Waiver
    from pytest_expedition.validation import (
        SCHEMA_NAMES,
        SchemaViolation,
        schema,
        validate,
        validator,
    )

_HOMES = {
    "Clock": "fake.simulation",
    "ExpeditionScenario": "scenarios.scenario",
    "ExpeditionServer": "fake.server",
    "Fault": "fake.situation",
    "Job": "fake.simulation",
    "JobRecipe": "target",
    "JobScript": "fake.simulation",
    "Limits": "target",
    "Monitor": "monitor",
    "SCHEMA_NAMES": "validation",
    "SchemaViolation": "validation",
    "Situation": "fake.situation",
    "Target": "target",
    "Waiver": "target",
    "schema": "validation",
    "validate": "validation",
    "validator": "validation",
}

__all__ = [
    "SCHEMA_NAMES",
    "Clock",
    "ExpeditionScenario",
    "ExpeditionServer",
    "Fault",
    "Job",
    "JobRecipe",
    "JobScript",
    "Limits",
    "Monitor",
    "SchemaViolation",
    "Situation",
    "Target",
    "Waiver",
    "schema",
    "validate",
    "validator",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
