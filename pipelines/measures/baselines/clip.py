"""The methods to beat, on the same hidden pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from energies.classical import inpainting
from energies.classical.stacking import held_out_masks

Baseline = Literal["temporal_linear", "nearest_frame", "biharmonic", "total_variation"]

TV_WEIGHTS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Weights of the temporal differences that total variation is tuned over."""


def estimate(name: Baseline, damaged: Tensor, hidden: Tensor, rng: torch.Generator) -> Tensor:
    """What a baseline makes of a clip [C, T, H, W] whose pixels `hidden` [T, H, W] are unknown.

    rng: for the held-out masks that total variation is tuned on.
    """
    methods: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "temporal_linear": inpainting.temporal_linear,
        "nearest_frame": inpainting.nearest_frame,
        "biharmonic": biharmonic,
        "total_variation": lambda clip, mask: total_variation(clip, mask, held_out_masks(hidden, 1, rng)),
    }
    return methods[name](damaged, hidden)


def biharmonic(clip: Tensor, hidden: Tensor) -> Tensor:
    """Each frame by itself with scikit-image's biharmonic inpainting; frames that are hidden whole by their nearest."""
    from skimage.restoration import inpaint_biharmonic

    out = inpainting.nearest_frame(clip, hidden)
    for t in range(clip.shape[1]):
        if hidden[t].any() and not hidden[t].all():
            picture = clip[:, t].movedim(0, -1).double().numpy()
            filled = inpaint_biharmonic(picture, hidden[t].numpy(), channel_axis=-1)
            out[:, t] = torch.from_numpy(np.asarray(filled)).movedim(-1, 0)
    return torch.where(hidden, out.clamp(-1, 1), clip)


def total_variation(clip: Tensor, hidden: Tensor, held_out: Sequence[Tensor]) -> Tensor:
    """Least total variation in space and time, its temporal weight the best one for held-out pixels."""

    def solve(mask: Tensor, weight: float) -> Tensor:
        line = inpainting.temporal_linear(clip, mask)
        start = inpainting.smooth(clip, mask, line, order=1, time=weight)
        return inpainting.total_variation(clip, mask, start, time=weight)

    def error(weight: float) -> float:
        return sum(float((solve(hidden | mask, weight) - clip)[:, mask].square().sum()) for mask in held_out)

    return solve(hidden, min(TV_WEIGHTS, key=error))
