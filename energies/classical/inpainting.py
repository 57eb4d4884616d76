"""Classical interpolation of hidden values: candidates for an initial estimate, and baselines to beat.

Every function takes a clip [C, T, H, W] and what is hidden of it (bool [T, H, W]); hidden values of the clip are
ignored, seen ones returned as they are, and all results lie within the range of the clip that is seen.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

REACH = 3  # pixels around a hidden one that inpainting of a frame looks at
SPACE_TIME = (-3, -2, -1)


def _neighbours(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices along time of each pixel itself and of the last and next seen ones (-1 and T: there is none)."""
    num = len(hidden)
    here = torch.arange(num, device=hidden.device)[:, None, None].expand_as(hidden)
    last = torch.where(hidden, -1, here).cummax(0).values
    following = torch.where(hidden, num, here).flip(0).cummin(0).values.flip(0)
    return here, last, following


def _take(clip: Tensor, index: Tensor) -> Tensor:
    return clip.gather(1, index.clamp(0, clip.shape[1] - 1)[None].expand_as(clip))


def temporal_linear(clip: Tensor, hidden: Tensor) -> Tensor:
    """Between the last and the next frame in which the pixel is seen; where there is none, the nearest seen pixel of a
    spatial average (see `_never_seen`)."""
    here, last, following = _neighbours(hidden)
    weight = (here - last).float() / (following - last).clamp(min=1)
    weight = torch.where(last < 0, 1.0, torch.where(following >= len(hidden), 0.0, weight))
    between = _take(clip, last) * (1 - weight) + _take(clip, following) * weight
    return torch.where(hidden, _never_seen(clip, hidden, between), clip)


def nearest_frame(clip: Tensor, hidden: Tensor) -> Tensor:
    """The pixel in the nearest frame in which it is seen, the earlier one of two."""
    here, last, following = _neighbours(hidden)
    later = (last < 0) | ((following < len(hidden)) & (following - here < here - last))
    nearest = torch.where(later, _take(clip, following), _take(clip, last))
    return torch.where(hidden, _never_seen(clip, hidden, nearest), clip)


def temporal_mean(clip: Tensor, hidden: Tensor) -> Tensor:
    """The mean over the frames in which the pixel is seen."""
    seen = (~hidden).float()
    mean = (clip * seen).sum(1, keepdim=True) / seen.sum(0).clamp(min=1)
    return torch.where(hidden, _never_seen(clip, hidden, mean.expand_as(clip)), clip)


def by_frame(clip: Tensor, hidden: Tensor, method: Literal["telea", "navier_stokes"]) -> Tensor:
    """Each frame by itself, with OpenCV: by fast marching (Telea 2004), or along isophotes, as fluids flow (Bertalmio
    et al. 2001). Frames that are hidden whole are their nearest."""
    flag = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
    out = nearest_frame(clip, hidden)
    for t in (hidden.flatten(1).any(1) & ~hidden.flatten(1).all(1)).nonzero().flatten().tolist():
        mask = hidden[t].numpy().astype(np.uint8)
        for picture in out[:, t].numpy():
            # Telea's method of OpenCV is wrong on a scale of units, also of float.
            picture[:] = np.asarray(cv2.inpaint(127.5 * picture, mask, REACH, flag)) / 127.5
    return torch.where(hidden, out.clamp(-1, 1), clip)


def _never_seen(clip: Tensor, hidden: Tensor, estimate: Tensor) -> Tensor:
    """Replace an estimate where a pixel is hidden in all frames by the mean colour of what is seen."""
    never = hidden.all(0)
    if not never.any():
        return estimate
    mean = clip[:, ~hidden].mean(1).view(-1, 1, 1, 1) if not hidden.all() else torch.zeros_like(clip[:, :1, :1, :1])
    return torch.where(never, mean, estimate)


def _laplacian(x: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """sum_d w_d D_d^T D_d x over the last three axes, D_d the forward difference along axis d."""
    out = torch.zeros_like(x)
    for axis, weight in zip(SPACE_TIME, weights, strict=True):
        num = x.shape[axis]
        if num < 2:
            continue
        slope = x.narrow(axis, 1, num - 1) - x.narrow(axis, 0, num - 1)
        out.narrow(axis, 1, num - 1).add_(slope, alpha=weight)
        out.narrow(axis, 0, num - 1).sub_(slope, alpha=weight)
    return out


def smooth(clip: Tensor, hidden: Tensor, start: Tensor, *, order: int, time: float, tolerance: float = 1e-4) -> Tensor:
    """The smoothest clip that agrees with what is seen, by conjugate gradients on the hidden values.

    Minimises sum |grad v|^2 (order 1, a membrane) or sum (Laplace v)^2 (order 2, a thin plate), differences in time
    weighted by `time` against those in space. `start`: where to begin; `tolerance` on the residual against its start.
    """
    weights = (time, 1.0, 1.0)

    def operator(x: Tensor) -> Tensor:
        once = _laplacian(x, weights)
        return once if order == 1 else _laplacian(once, weights)

    unknown = hidden.to(clip.dtype)
    x = torch.where(hidden, start, clip)
    residual = -operator(x) * unknown
    direction = residual.clone()
    power = residual.square().flatten(1).sum(1)  # [C]: the channels are separate problems
    goal = power * tolerance**2
    for _ in range(120 * order):  # a large hole under a thin plate takes about 240
        image = operator(direction) * unknown
        curvature = (direction * image).flatten(1).sum(1)
        step = (power / (curvature + 1e-20)).view(-1, 1, 1, 1)
        x += step * direction
        residual -= step * image
        before, power = power, residual.square().flatten(1).sum(1)
        if (power <= goal).all():
            break
        direction = residual + (power / (before + 1e-20)).view(-1, 1, 1, 1) * direction
    return torch.where(hidden, x.clamp(-1, 1), clip)


def total_variation(clip: Tensor, hidden: Tensor, start: Tensor, *, time: float, steps: int = 100) -> Tensor:
    """The clip of least total variation sum |grad v| (colour jointly) that agrees with what is seen.

    Chambolle & Pock 2011, algorithm 1, from `start`; differences in time are weighted by `time`.
    """
    weights = torch.tensor([time, 1.0, 1.0], device=clip.device).view(3, 1, 1, 1, 1)
    x = torch.where(hidden, start, clip)
    ahead = x.clone()
    dual = torch.zeros(3, *clip.shape, device=clip.device)
    size = 2 * (time**2 + 2) ** 0.5  # bounds the norm of the gradient
    primal_step, dual_step = 0.1 / size, 10 / size  # their product times size^2 is 1; unequal since |v| is small
    for _ in range(steps):
        for part, axis, weight in zip(dual, SPACE_TIME, weights.flatten().tolist(), strict=True):
            num = clip.shape[axis]
            slope = ahead.narrow(axis, 1, num - 1) - ahead.narrow(axis, 0, num - 1)
            part.narrow(axis, 0, num - 1).add_(slope, alpha=dual_step * weight)
        dual /= dual.square().sum((0, 1)).sqrt_().clamp_(min=1)
        change = torch.zeros_like(x)
        for part, axis, weight in zip(dual, SPACE_TIME, weights.flatten().tolist(), strict=True):
            num = clip.shape[axis]
            flow = part.narrow(axis, 0, num - 1)
            change.narrow(axis, 0, num - 1).add_(flow, alpha=weight)
            change.narrow(axis, 1, num - 1).sub_(flow, alpha=weight)
        before, x = x, torch.where(hidden, x + primal_step * change, clip)
        ahead = 2 * x - before
    return x.clamp(-1, 1)
