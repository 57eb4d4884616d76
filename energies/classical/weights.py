"""The weights of a stacking, and the error that is left, by the errors of estimates on what was held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

Stacking = Literal["vote", "share", "local"]
"""How candidates are stacked: by a power of their errors nearby; by one linear regression; by one at every place."""

POWER = -4  # of the mean squared error nearby, in the vote

CELL = 2  # statistics are kept for cells of 2^3 pixels
POOLED = (1, 2, 2)  # and pooled over neighbouring cells by a Gaussian of this width
MIN_SCALE = 0.006  # three quarters of a grey level


@dataclass(frozen=True)
class Record:
    """How candidates did on one held-out mask, in cells: normal equations of the regression of the truth on them."""

    square: Tensor  # [K, K, t, h, w]: mean over the cell of d d^T, d the candidates about their mean
    cross: Tensor  # [K, t, h, w]: of d times the truth about that mean
    error: Tensor  # [K, t, h, w]: of the candidates' squared errors
    count: Tensor  # [t, h, w]: share of the cell that is held out
    total_square: Tensor  # [K, K]
    total_cross: Tensor  # [K]
    total_error: Tensor  # [K]

    @staticmethod
    def of(tries: Tensor, clip: Tensor, held_out: Tensor) -> Record:
        centre = tries.mean(0)
        d = _cells((tries - centre) * held_out)  # [cells, K, values]
        truth = _cells(((clip - centre) * held_out)[None])
        wrong = _cells((tries - clip) * held_out)
        # Every mask weighs the same, wherever it fell: else the one on the busiest place would decide.
        total = wrong.square().sum((0, 2)).median() / held_out.sum() / len(clip) + 1e-6
        d, truth, wrong = d * total**-0.5, truth * total**-0.5, wrong * total**-0.5
        size = CELL**3
        grid = tuple(-(-n // CELL) for n in held_out.shape)
        square, cross = d @ d.mT / size, (d @ truth.mT)[..., 0] / size
        error = wrong.square().sum(-1) / size / len(clip)
        t, h, w = grid
        return Record(
            rearrange(square, "(t h w) i j -> i j t h w", t=t, h=h, w=w),
            rearrange(cross, "(t h w) i -> i t h w", t=t, h=h, w=w),
            rearrange(error, "(t h w) i -> i t h w", t=t, h=h, w=w),
            _cells(held_out.float()[None, None]).mean(-1).view(grid),
            square.sum(0) * size,
            cross.sum(0) * size,
            error.sum(0) * size,
        )


def _cells(x: Tensor) -> Tensor:
    """[K, C, T, H, W] -> [cells, K, values of the cell], zeros beyond the edge."""
    pads = [n for axis in (-1, -2, -3) for n in (0, -x.shape[axis] % CELL)]
    x = F.pad(x, pads)
    return rearrange(x, "k c (t a) (h b) (w d) -> (t h w) k (c a b d)", a=CELL, b=CELL, d=CELL)


def coefficients(records: list[Record], kind: Stacking) -> Tensor:
    """Weights [K, t, h, w] of the candidates ([K, 1, 1, 1] if they are the same everywhere); they sum to 1."""

    def total(part: str) -> Tensor:
        return torch.stack([getattr(record, part) for record in records]).sum(0)

    count = total("count").sum() * CELL**3
    if kind == "vote":
        everywhere = (total("total_error") / count).view(-1, 1, 1, 1)
        error, weight = _pool(total("error")), _pool(total("count"))
        votes = ((error + 0.05 * everywhere) / (weight + 0.05) + 1e-6) ** POWER
        return votes / votes.sum(0)
    square, cross = total("total_square"), total("total_cross")
    identity = torch.eye(len(square))
    if kind == "share":
        ridge = 0.01 * square.diagonal().mean() + 1e-7
        change = _solve(square + ridge * identity, cross).view(-1, 1, 1, 1)
    else:  # the same, pooled around every cell and shrunk towards the whole
        a = _pool(total("square")) + 0.1 * (square / count)[..., None, None, None]
        b = _pool(total("cross")) + 0.1 * (cross / count)[..., None, None, None]
        a, b = rearrange(a, "i j t h w -> t h w i j"), rearrange(b, "i t h w -> t h w i")
        ridge = 0.01 * a.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + 1e-7
        change = rearrange(_solve(a + ridge * identity, b), "t h w i -> i t h w")
    return change - change.mean(0) + 1 / len(change)


def _solve(a: Tensor, b: Tensor) -> Tensor:
    """a^-1 b for positive definite a [..., K, K] and b [..., K]."""
    return torch.cholesky_solve(b[..., None], torch.linalg.cholesky(a))[..., 0]


def combined(tries: Tensor, weights: Tensor, clip: Tensor, hidden: Tensor) -> Tensor:
    """The clip [C, T, H, W], where hidden a weighted sum of estimates [K, C, T, H, W]; weights as of `coefficients`."""
    weights = weights if weights.shape[1:] == (1, 1, 1) else _enlarge(weights, hidden)
    stacked = torch.einsum("kcthw,kthw->cthw", tries, weights.expand(-1, *hidden.shape))
    return torch.where(hidden, stacked.clamp(-1, 1), clip)


def expected_error(errors: list[Tensor], masks: list[Tensor]) -> Tensor:
    """Expected error at every pixel [T, H, W], from squared errors on the held-out masks."""
    everywhere = torch.stack(errors).sum() / torch.stack(masks).sum()
    error = _cells(torch.stack(errors).sum(0)[None, None]).mean(-1)
    count = _cells(torch.stack(masks).float().sum(0)[None, None]).mean(-1)
    grid = tuple(-(-n // CELL) for n in masks[0].shape)
    variance = (_pool(error.view(grid)) + 0.05 * everywhere) / (_pool(count.view(grid)) + 0.05)
    return _enlarge(variance[None], masks[0])[0].sqrt().clamp(min=MIN_SCALE)


def _enlarge(cells: Tensor, like: Tensor) -> Tensor:
    """From cells [K, t, h, w] to pixels [K, T, H, W]."""
    full = [n * CELL for n in cells.shape[1:]]
    t, h, w = like.shape
    return F.interpolate(cells[None], full, mode="trilinear")[0, :, :t, :h, :w]


def _pool(x: Tensor) -> Tensor:
    """Gaussian mean over neighbouring cells, of the last three axes."""
    for axis, width in zip((-3, -2, -1), POOLED, strict=True):
        reach = 3 * width
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=x.device) / width) ** 2)
        line = x.movedim(axis, -1)
        pooled = F.conv1d(line.reshape(-1, 1, line.shape[-1]), (kernel / kernel.sum())[None, None], padding=reach)
        x = pooled.view(line.shape).movedim(-1, axis)
    return x
