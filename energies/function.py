"""Any score of x as an energy: a mean brightness, a symmetry, a volume, one's own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from energies.energy import Energy

Score = Callable[[Tensor], Tensor]


def brightness(x: Tensor) -> Tensor:
    """[B] of x [B, *event]: the sum of its values. For voxels in [-1, 1] it is the volume, in half voxels."""
    return x.flatten(1).sum(1)


def mirror(x: Tensor) -> Tensor:
    """[B]: half the squared difference between x and its mirror image along the last axis; 0 is symmetric."""
    return (x - x.flip(-1)).square().flatten(1).sum(1) / 2


def contrast(x: Tensor) -> Tensor:
    """[B]: half the squared difference between neighbours along all axes but the channels'; 0 is flat."""
    axes = range(2, x.ndim)
    return sum((x.diff(dim=axis).square().flatten(1).sum(1) / 2 for axis in axes), x.new_zeros(len(x)))


SCORES: dict[str, Score] = {"brightness": brightness, "mirror": mirror, "contrast": contrast}
"""Scores with a name, which are saved by it."""


class FunctionEnergy(Energy):
    """E(x) = score(x), of clean x; in a sum with families over noise levels it steers at every level.

    Args:
        score: from x [B, *event] to [B], differentiable; or the name of one in SCORES. It is stored where it is a
            function of a module, found again by its name; a lambda is not.
    """

    def __init__(self, score: Score | str) -> None:
        super().__init__()
        if isinstance(score, str) and score not in SCORES:
            raise ValueError(f"score must be one of {', '.join(SCORES)}, or a function, got {score}")
        self.score = SCORES[score] if isinstance(score, str) else score

    def forward(self, x: Tensor) -> Tensor:
        energies = self.score(x)
        if energies.shape != x.shape[:1]:
            raise ValueError(f"the score gives {list(energies.shape)}, expected one number a sample, [{len(x)}]")
        return energies
