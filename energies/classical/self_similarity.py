"""Estimates of hidden values that learn from the clip itself: from its covariances, and from what recurs in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 4096  # hidden pixels that are kriged at once
PATCHES = ((1, 1.0), (2, 0.3))
"""Radius of the patches of non-local means, and their tolerance, of the two estimates that are stacked."""


def kriging(clip: Tensor, hidden: Tensor, centre: Tensor, *, nugget: float = 0.01) -> Tensor:
    """Best linear prediction of hidden values from the seen ones among the 26 neighbours (Matheron 1963).

    The clip about `centre` is taken for a stationary field, its covariance estimated from all pairs of seen pixels.

    Args:
        clip: [C, T, H, W]; hidden values are ignored.
        hidden: bool [T, H, W].
        centre: mean of the field, broadcasting with the clip; what no neighbour tells of falls back to it.
        nugget: variance that is not shared with neighbours, as a share of all.
    """
    offsets = torch.tensor([o for o in product((-1, 0, 1), repeat=3) if any(o)], device=clip.device)  # [N, 3]
    field = torch.where(hidden, 0.0, clip - centre)
    covariance = _covariance(field, hidden)
    variance = covariance[0, 0, 0].clamp(min=1e-8)
    between = covariance[(offsets[:, None] - offsets[None]).unbind(-1)]  # [N, N]
    lowest = torch.linalg.eigvalsh(between)[0]
    between = between + ((-lowest).clamp(min=0) + nugget * variance) * torch.eye(len(offsets), device=clip.device)
    towards = covariance[offsets.unbind(-1)]  # [N]

    padded = F.pad(field, (1, 1, 1, 1, 1, 1))
    seen = F.pad((~hidden).to(clip.dtype), (1, 1, 1, 1, 1, 1))
    guesses = []
    for where in hidden.nonzero().split(CHUNK):
        t, y, x = (where[:, None] + offsets + 1).unbind(-1)  # [P, N] each
        known, values = seen[t, y, x], padded[:, t, y, x]  # [P, N], [C, P, N]
        system = between * known[:, :, None] * known[:, None, :] + torch.diag_embed((1 - known) * variance)
        weights = torch.cholesky_solve((towards * known)[..., None], torch.linalg.cholesky(system))[..., 0]
        guesses.append((values * weights).sum(-1))
    out = clip.clone()
    out[:, hidden] = torch.cat(guesses, 1)
    return torch.where(hidden, (out * hidden + centre).clamp(-1, 1), clip)


def _covariance(field: Tensor, hidden: Tensor) -> Tensor:
    """Mean product of seen pairs at offsets of up to 2 pixels, negative ones counting from the end: [t, h, w]."""
    size = [n + 2 for n in hidden.shape]
    spectrum = torch.fft.rfftn(field, size, dim=(1, 2, 3)).abs().square().sum(0)
    pairs = torch.fft.rfftn((~hidden).to(field.dtype), size).abs().square()
    products = torch.fft.irfftn(spectrum, size)
    return products / (len(field) * torch.fft.irfftn(pairs, size).clamp(min=0.5))


def nonlocal_means(
    estimate: Tensor,
    hidden: Tensor,
    scale: Tensor,
    patches: Sequence[tuple[int, float]],
    reach: int = 3,
    frames: int = 2,
) -> list[Tensor]:  # fmt: skip
    """Means over similar places in nearby frames, weighted by how alike their surroundings are (Buades 2005).

    A place is searched up to `reach` pixels away in the `frames` frames before and after; patches are compared. Seen
    pixels count ten times as much as estimated ones.

    Args:
        estimate: [C, T, H, W], an initial estimate.
        hidden: bool [T, H, W].
        scale: [T, H, W], expected error of the estimate.
        patches: radius r of the patches of (2 r + 1)^2 pixels, and how unlike they may be, in units of the variance
            that the estimate's error explains: one pair for each result.
    """
    doubt = (scale.square() * hidden).clamp(min=1e-5)
    tolerances = [width * (_box(doubt, radius) + 2e-4) for radius, width in patches]
    count = torch.where(hidden, 0.1, 1.0)
    totals, weights = ([torch.zeros_like(estimate) for _ in patches], [torch.full_like(scale, 1e-12) for _ in patches])
    num = len(hidden)
    for dt in [d for d in range(-frames, frames + 1) if d and abs(d) < num]:
        here, there = (slice(0, num - dt), slice(dt, num)) if dt > 0 else (slice(-dt, num), slice(0, num + dt))
        target = estimate[:, here]
        source = F.pad(torch.cat([estimate[:, there], count[None, there]]), (reach,) * 4, mode="replicate")
        for dy, dx in product(range(2 * reach + 1), repeat=2):
            moved = source[:, :, dy : dy + estimate.shape[2], dx : dx + estimate.shape[3]]
            unlike = (moved[:-1] - target).square().mean(0)
            for (radius, _), tolerance, total, weight in zip(patches, tolerances, totals, weights, strict=True):
                alike = torch.exp(-_box(unlike, radius) / tolerance[here]) * moved[-1]
                total[:, here].addcmul_(alike, moved[:-1])
                weight[here] += alike
    return [torch.where(hidden, total / weight, estimate) for total, weight in zip(totals, weights, strict=True)]


def _box(x: Tensor, radius: int) -> Tensor:
    """Mean over (2 radius + 1)^2 pixels of each frame of x [T, H, W]; beyond the edge those of the nearest pixel."""
    size = (2 * radius + 1, 2 * radius + 1)
    means = [cv2.blur(frame, size, borderType=cv2.BORDER_REPLICATE) for frame in x.cpu().numpy()]
    return torch.from_numpy(np.stack(means)).to(x)
