"""How much a run tries, by the name of its profile."""

from __future__ import annotations

from typing import Final, Literal

ProfileName = Literal["smoke", "default", "thorough"]

RANDOM_PLANS: Final[dict[ProfileName, int]] = {"smoke": 0, "default": 50, "thorough": 500}
"""How many random plans follow the covering one, at the most."""

SMOKE_JOBS: Final = 4
"""How many jobs `smoke` creates, at the most."""

DEFAULT_JOBS: Final = 12
"""How many jobs `default` creates at a target whose jobs are slow, at the most."""
