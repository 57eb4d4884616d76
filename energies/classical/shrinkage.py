"""How much of a change to take, by what it would do where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

PLACE = 16  # pixels a side of what counts as one place


def shrinkage(wanted: Sequence[Tensor], changes: Sequence[Tensor], masks: Sequence[Tensor]) -> float:
    """Share in [0, 1] of changes to take, by what they would do to pixels whose truth is known.

    The least-squares share, less its standard error: where a change helps in one place and hurts in another, little of
    it is taken, and nothing of what changes one place alone. The error is that of the jackknife over places, columns of
    PLACE^2 pixels through all frames.

    Args:
        wanted: truth minus estimate [C, T, H, W], one a mask.
        changes: of the estimates, the same shapes.
        masks: bool [T, H, W], where the truth is known. Every one weighs the same.
    """
    both, power = [], []
    for target, change, mask in zip(wanted, changes, masks, strict=True):
        level = (target.double().square() * mask).sum().clamp(min=1e-12)
        for sums, product in ((both, target * change), (power, change.square())):
            total = (product.double() * mask).sum((0, 1))
            pads = [n for axis in (-1, -2) for n in (0, -total.shape[axis] % PLACE)]
            places = F.pad(total, pads).unfold(0, PLACE, PLACE).unfold(1, PLACE, PLACE).sum((-1, -2))
            sums.append(places.flatten() / level)
    a, b = torch.cat(both), torch.cat(power)
    a, b = a[b > 0], b[b > 0]
    if len(b) < 2:
        return 0.0
    share = a.sum() / b.sum()
    without = (a.sum() - a) / (b.sum() - b)
    error = ((len(b) - 1) / len(b) * (without - without.mean()).square().sum()).sqrt()
    return float((share.clamp(max=1) - error).clamp(0, 1))
