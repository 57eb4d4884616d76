"""Learn one network that classifies pictures and generates them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.stages.images.learn import num_levels
from pipelines.stages.images.load import to_float
from pipelines.stages.joint import Examples, JointLearning


@dataclass(frozen=True)
class LearnJoint(JointLearning):
    """Learn a joint energy of pictures and labels, E(x, y) = -f(x)[y] (energies/joint.py), and the same network by
    cross-entropy alone to compare with; or take ones that were learned before."""

    needs: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "plain", "generator")
    distributed: ClassVar[bool] = True

    def examples(self, values: dict[str, Any]) -> Examples:
        return labelled(values["images"], "train")

    def num_levels(self, shape: list[int]) -> int:
        return num_levels(shape, self.widths)


def labelled(images: dict[str, Any], part: str) -> Examples:
    """The pictures of a part, train or validation."""
    levels = images[part]
    labels, classes = images.get(f"{part}_labels"), tuple(images["classes"])
    return Examples("pictures", list(levels.shape[1:]), classes, labels, lambda rows: to_float(levels[rows]))
