"""Learn one network that classifies shapes and generates them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from energies.objectives import Joint, ScoreMatching
from pipelines.stages.joint import Examples, JointLearning
from pipelines.stages.voxels.grids import mirrored, unpack
from pipelines.training import Optimizer


@dataclass(frozen=True)
class LearnJoint(JointLearning):
    """Learn a joint energy of shapes and labels, E(x, y) = -f(x)[y] (energies/joint.py), and the same network by
    cross-entropy alone to compare with; or take ones that were learned before."""

    needs: ClassVar[tuple[str, ...]] = ("shapes",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "plain", "generator")
    distributed: ClassVar[bool] = True
    places: ClassVar[float] = 2.0  # more than 15^3 places, counted whole, would drown all else in learning

    widths: tuple[int, ...] = (16, 64, 128, 192)
    """Channels of the levels, from half the resolution on."""

    depths: tuple[int, ...] = (0, 1, 2, 1)
    """Residual blocks there."""

    objective: Joint = Joint(ScoreMatching(1.0), level=0.5, spread=0.5)
    """How it learns."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(600, 0.02, 30, 1.0, 0.99, 100, "muon"))
    """How its weights are found."""

    batch: int = 24
    """Shapes a step."""

    def examples(self, values: dict[str, Any]) -> Examples:
        return labelled(values["shapes"], "train")


def labelled(shapes: dict[str, Any], part: str) -> Examples:
    """The shapes of a part, train or validation."""
    bits, side = shapes[part], shapes["side"]
    labels, classes = shapes.get(f"{part}_labels"), tuple(shapes["classes"])
    return Examples("shapes", [1, side, side, side], classes, labels, lambda rows: unpack(bits[rows], side), mirrored)
