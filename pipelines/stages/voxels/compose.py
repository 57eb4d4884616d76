"""Combine experts, learned apart, into one energy of shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from data.errors import InputError
from energies import Energy, Schedule
from energies.objectives import ScoreMatching
from pipelines.pipeline import Run
from pipelines.stages.experts import ComposeExperts
from pipelines.stages.voxels.learn import Encoder, Learn
from pipelines.training import Optimizer


@dataclass(frozen=True)
class Compose(ComposeExperts):
    """Combine experts by an expression into one energy of coarse shapes, to be sampled and refined. Experts that are
    not given are learned first, each from its own labels alone."""

    needs: ClassVar[tuple[str, ...]] = ("shapes",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "generator", "composition")
    distributed: ClassVar[bool] = True

    expr: str = "kind.table + drawers.some - 0.5 * legs.splayed"
    """a + b: both; w * a, a - w * b: more or less of it, and away from it; a | b: either; not a: any other label. An
    expert is written NAME.LABEL, or NAME where it has no labels. Furniture has kind, legs, back, arms, top, drawers."""

    size: int = 16
    """Voxels a side of the coarse shapes, which must divide the shapes'."""

    energy: Encoder = Encoder((48, 96, 192), (1, 2, 1))
    """The energy of experts that are learned."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(2000, 0.02, 30, 1.0, 0.995, 100, "muon"))
    """How the experts that are missing are learned."""

    generator: Schedule = field(default_factory=lambda: Schedule(20, 20.0, 0.05, 4, 0.5))
    """How it is sampled: the Langevin steps at each level are what makes a sum of noisy energies right."""

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        shapes = values["shapes"]
        if shapes["side"] % self.size:
            raise InputError(
                f"compose.size={self.size} does not divide the {shapes['side']} voxels a side of the shapes"
            )
        return self.composed(values, shapes["attributes"], (1, self.size, self.size, self.size), run)

    def learned(self, own: dict[str, Any], values: dict[str, Any], run: Run) -> Energy:
        labelled = values["shapes"] | {"classes": own["classes"], "train_labels": own["train"]}
        learn = Learn(
            size=self.size, energy=self.energy, objective=ScoreMatching(3.0), optimizer=self.optimizer, batch=24,
            conditional=True,
        )  # fmt: skip
        return learn(values | {"shapes": labelled}, run)["energy"]
