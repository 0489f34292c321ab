"""Broken servers: each is the honest instance with one small defect, told by its docstring.

They prove the oracle: every requirement has servers that break it, and the contract suite must
find each defect.
"""

from __future__ import annotations

from pytest_expedition.fake.broken import (
    access,
    agent,
    cancel,
    create,
    data,
    lists,
    moments,
    refuse,
    result,
    status,
)
from pytest_expedition.fake.broken.base import BROKEN, BrokenServer, Shows

__all__ = ["BROKEN", "BrokenServer", "Shows"]

_MODULES = (access, agent, cancel, create, data, lists, moments, refuse, result, status)
"""Importing a module of broken servers registers them."""
