"""The methods to beat, on the same hidden pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from energies.classical import inpainting, propagation
from energies.classical.held_out import alike
from energies.classical.patches import patches

Baseline = Literal[
    "temporal_linear", "nearest_frame", "biharmonic", "total_variation", "telea", "navier_stokes", "low_rank", "flow",
    "patches",
]  # fmt: skip

TV_WEIGHTS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Weights of the temporal differences that total variation is tuned over."""

RANK_STEPS = 40
"""Of low-rank completion; its penalty grows by a tenth in each."""


def estimate(name: Baseline, damaged: Tensor, hidden: Tensor, rng: torch.Generator) -> Tensor:
    """What a baseline makes of a clip [C, T, H, W] whose pixels `hidden` [T, H, W] are unknown.

    rng: for the held-out masks that total variation is tuned on, and for the search of patches.
    """
    methods: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "temporal_linear": inpainting.temporal_linear,
        "nearest_frame": inpainting.nearest_frame,
        "biharmonic": biharmonic,
        "telea": lambda clip, mask: inpainting.by_frame(clip, mask, "telea"),
        "navier_stokes": lambda clip, mask: inpainting.by_frame(clip, mask, "navier_stokes"),
        "low_rank": low_rank,
        "flow": along_flow,
        "patches": lambda clip, mask: patches(clip, mask, rng),
        "total_variation": lambda clip, mask: total_variation(clip, mask, alike(hidden, 1, rng)),
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


def low_rank(clip: Tensor, hidden: Tensor) -> Tensor:
    """The clip of least nuclear norms of its unfoldings along time, height and width: HaLRTC (Liu et al. 2013)."""
    x = inpainting.temporal_linear(clip, hidden)
    multipliers = torch.zeros(3, *clip.shape)
    for step in range(RANK_STEPS):
        penalty = 0.01 * 1.1**step
        parts = []
        for axis, multiplier in enumerate(multipliers, 1):
            moved = (x + multiplier / penalty).movedim(axis, 0)
            matrix = moved.flatten(1)
            # Singular values by the small square, matrix @ matrix.T: an unfolding is wide.
            powers, vectors = torch.linalg.eigh(matrix @ matrix.T)
            sizes = powers.clamp(min=1e-12).sqrt()
            kept = (1 - 1 / (3 * penalty * sizes)).clamp(min=0)
            parts.append(((vectors * kept) @ (vectors.T @ matrix)).view(moved.shape).movedim(0, axis))
        found = torch.stack(parts)
        x = torch.where(hidden, (found - multipliers / penalty).mean(0), clip)
        multipliers = multipliers - penalty * (found - x)
    return torch.where(hidden, x.clamp(-1, 1), clip)


def along_flow(clip: Tensor, hidden: Tensor) -> Tensor:
    """Seen values carried along the optical flow from both sides; what no trajectory finds, by Telea's method."""
    spatial = inpainting.by_frame(clip, hidden, "telea")
    start = torch.where(hidden.all(0), spatial, inpainting.temporal_linear(clip, hidden))
    found = propagation.propagated(np.ascontiguousarray(start.movedim(0, -1).numpy()), hidden.numpy())
    return torch.where(hidden, torch.from_numpy(found.frames).movedim(-1, 0), clip)
