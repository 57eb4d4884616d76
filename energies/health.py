"""Is learning still healthy? Divergence is told from what every step reports."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

PATIENCE = 5  # bad steps in a row that make a divergence
FLOOR, FACTOR = 1.0, 20.0  # a value is exploding above FLOOR + FACTOR times its running mean
DECAY = 0.98
SATURATED = 0.8  # share of the values at their bounds, beyond that of the data


@dataclass
class Health:
    """Watches a loss, the energy gap between data and samples, and how many values of the chains sit at their bounds.

    Attributes:
        means: running means of the size of what is watched, by name, over healthy steps.
        streak: bad steps in a row.
    """

    means: dict[str, float] = field(default_factory=dict)
    streak: int = 0

    def problem(self, gradient_norm: float, metrics: dict[str, float]) -> str | None:
        """What is wrong with this step, in words; None: nothing is."""
        watched = {name: v for name, v in metrics.items() if name.endswith(("loss", "gap"))}
        for name, value in {"gradient norm": gradient_norm, **watched}.items():
            if not math.isfinite(value):
                return f"the {name.replace('_', ' ')} is not finite"
        for name, value in watched.items():
            if abs(value) > FLOOR + FACTOR * self.means.get(name, abs(value)):
                return f"the {name.replace('_', ' ')} exploded to {value:.3g}"
        if metrics.get("saturation", 0.0) > SATURATED:
            return f"{metrics['saturation']:.0%} more values of the samples than of the data are at their bounds"
        for name, value in watched.items():
            self.means[name] = DECAY * self.means.get(name, abs(value)) + (1 - DECAY) * abs(value)
        return None

    def diverged(self, bad: bool) -> bool:
        """Whether, with this step, so many in a row were bad that it is no accident."""
        self.streak = self.streak + 1 if bad else 0
        return self.streak >= PATIENCE
