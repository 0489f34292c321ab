"""Contract tests, JSON Schemas and a fake server for the job API of Expedition 2.0.

The names below are imported when they are first used, so that the plugin costs nothing until then.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_expedition.clients.scenario import ExpeditionScenario
    from pytest_expedition.fake.server import ExpeditionServer
    from pytest_expedition.fake.simulation import Clock, Job, JobScript
    from pytest_expedition.fake.situation import Outage, Situation
    from pytest_expedition.monitor import Monitor
    from pytest_expedition.oracle.verdict import Waiver
    from pytest_expedition.protocol.recipe import JobRecipe
    from pytest_expedition.protocol.validation import (
        SCHEMA_NAMES,
        SchemaViolation,
        schema,
        validate,
        validator,
    )
    from pytest_expedition.suite.target import Limits, Target

_HOMES = {
    "Clock": "fake.simulation",
    "ExpeditionScenario": "clients.scenario",
    "ExpeditionServer": "fake.server",
    "Job": "fake.simulation",
    "JobRecipe": "protocol.recipe",
    "JobScript": "fake.simulation",
    "Limits": "suite.target",
    "Monitor": "monitor",
    "Outage": "fake.situation",
    "SCHEMA_NAMES": "protocol.validation",
    "SchemaViolation": "protocol.validation",
    "Situation": "fake.situation",
    "Target": "suite.target",
    "Waiver": "oracle.verdict",
    "schema": "protocol.validation",
    "validate": "protocol.validation",
    "validator": "protocol.validation",
}

__all__ = [
    "SCHEMA_NAMES",
    "Clock",
    "ExpeditionScenario",
    "ExpeditionServer",
    "Job",
    "JobRecipe",
    "JobScript",
    "Limits",
    "Monitor",
    "Outage",
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
