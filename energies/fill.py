"""A first fill of hidden values without a network: interpolations blended by how well each predicts what is seen.

Parts of what is seen are hidden as well (the mask itself, moved and mirrored), every candidate fills them, and the
errors there tell how to blend the candidates where the truth is unknown. Each held-out part yields, as a by-product,
an example of a fill beside its truth: what `energies.refiner` learns from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from energies import interpolation
from energies.refiner import Context

SMOOTH = ((1, 0.01), (1, 10.0), (1, 100.0), (2, 0.01), (2, 0.3), (2, 1.0), (2, 3.0), (2, 10.0))
"""Order and temporal weight of the smooth candidates."""

SHOWN = (0, 1, 4, 6, 8, 9)
"""Candidates that the network is shown: temporal line, membrane, thin plates still to slow, temporal mean."""

Blend = Literal["vote", "share", "local"]
"""How candidates are blended: by their errors nearby; by one linear regression; by a regression at every place."""

CELL = 2  # statistics are kept for cells of 2^3 pixels
SPREAD = (1, 2, 2)  # and pooled over neighbouring cells by a Gaussian of this width
MIN_SCALE = 0.006  # three quarters of a grey level


@dataclass(frozen=True)
class Example:
    """A fill beside its truth.

    Attributes:
        context: batch of one; hidden is the damage and the held-out part together.
        held_out: bool [1, 1, T, H, W], hidden values whose truth is known.
    """

    context: Context
    held_out: Tensor


def candidates(clip: Tensor, hidden: Tensor) -> Tensor:
    """All interpolations of a clip [C, T, H, W] -> [K, C, T, H, W]."""
    line = interpolation.temporal_linear(clip, hidden)
    smooth = [interpolation.smooth(clip, hidden, line, order=order, time=time) for order, time in SMOOTH]
    return torch.stack([line, *smooth, interpolation.temporal_mean(clip, hidden)])


def held_out_masks(hidden: Tensor, num: int, rng: torch.Generator) -> list[Tensor]:
    """Seen pixels to hold out: the mask [T, H, W] rolled and mirrored at random, without what is hidden anyway.

    ValueError: nothing is hidden, or so much that none of 100 moves leaves something both to hold out and to see.
    """
    masks: list[Tensor] = []
    for _ in range(100):
        shifts = [int(torch.randint(n, (), generator=rng)) for n in hidden.shape]
        axes = [axis for axis in range(3) if torch.rand((), generator=rng) < 0.5]
        moved = hidden.roll(shifts, (0, 1, 2)).flip(axes) & ~hidden
        if moved.any() and not (moved | hidden).all():
            masks.append(moved)
            if len(masks) == num:
                return masks
    raise ValueError("hidden must leave enough to learn from: moved about, it should fall on pixels that are seen")


def cross_validated(clip: Tensor, hidden: Tensor, held_out: Sequence[Tensor]) -> tuple[Context, list[Example], Blend]:
    """Fill a clip by the blend of candidates that predicts held-out pixels best.

    Args:
        clip: [C, T, H, W] in [-1, 1]; hidden values are ignored.
        hidden: bool [T, H, W].
        held_out: at least two masks of seen pixels [T, H, W].

    Returns:
        the fill as a context (batch of one), one example a held-out mask, filled without looking at its truth, and
        which blend won.
    """
    clip = torch.where(hidden, 0.0, clip)
    filled = candidates(clip, hidden)
    filled_more = [candidates(torch.where(extra, 0.0, clip), hidden | extra) for extra in held_out]
    records = [_Record.of(tries, clip, extra) for tries, extra in zip(filled_more, held_out, strict=True)]

    def without(j: int) -> list[_Record]:
        return [record for i, record in enumerate(records) if i != j]

    trials: dict[Blend, list[Tensor]] = {}
    for blend in get_args(Blend):
        trials[blend] = [
            _apply(tries, _coefficients(without(j), blend), clip, hidden | held_out[j])
            for j, tries in enumerate(filled_more)
        ]
    error = {
        blend: sum(float((guess - clip)[:, extra].square().sum()) for guess, extra in zip(guesses, held_out, strict=True))
        for blend, guesses in trials.items()
    }
    best = min(error, key=lambda blend: error[blend])
    errors = [(guess - clip).square().mean(0) * extra for guess, extra in zip(trials[best], held_out, strict=True)]

    def context(fill: Tensor, mask: Tensor, tries: Tensor, used: list[int]) -> Context:
        scale = _scale([errors[i] for i in used], [held_out[i] for i in used])
        return Context(fill[None], scale[None, None], mask[None, None], tries[list(SHOWN)][None])

    everything = list(range(len(held_out)))
    fill = _apply(filled, _coefficients(records, best), clip, hidden)
    examples = [
        Example(
            context(trials[best][j], hidden | extra, filled_more[j], [i for i in everything if i != j]),
            extra[None, None],
        )
        for j, extra in enumerate(held_out)
    ]
    return context(fill, hidden, filled, everything), examples, best


@dataclass(frozen=True)
class _Record:
    """How candidates did on one held-out mask, in cells: normal equations of the regression of the truth on them."""

    square: Tensor  # [K, K, t, h, w]: mean over the cell of d d^T, d the candidates about their mean
    cross: Tensor  # [K, t, h, w]: of d times the truth about that mean
    error: Tensor  # [K, t, h, w]: of the candidates' squared errors
    count: Tensor  # [t, h, w]: share of the cell that is held out
    total_square: Tensor  # [K, K]
    total_cross: Tensor  # [K]
    total_error: Tensor  # [K]

    @staticmethod
    def of(tries: Tensor, clip: Tensor, held_out: Tensor) -> _Record:
        centre = tries.mean(0)
        d = _cells((tries - centre) * held_out)  # [cells, K, values]
        truth = _cells(((clip - centre) * held_out)[None])
        wrong = _cells((tries - clip) * held_out)
        size = CELL**3
        grid = tuple(-(-n // CELL) for n in held_out.shape)
        square, cross = d @ d.mT / size, (d @ truth.mT)[..., 0] / size
        error = wrong.square().sum(-1) / size / len(clip)
        t, h, w = grid
        return _Record(
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


def _coefficients(records: list[_Record], blend: Blend) -> Tensor:
    """Weights [K, t, h, w] of the candidates ([K, 1, 1, 1] if they are the same everywhere); they sum to 1."""
    count = sum(r.count.sum() for r in records) * CELL**3
    if blend == "vote":
        everywhere = (sum(r.total_error for r in records) / count).view(-1, 1, 1, 1)
        error, weight = _pool(sum(r.error for r in records)), _pool(sum(r.count for r in records))
        votes = ((error + 0.05 * everywhere) / (weight + 0.05) + 1e-6) ** -4
        return votes / votes.sum(0)
    square, cross = sum(r.total_square for r in records), sum(r.total_cross for r in records)
    identity = torch.eye(len(square))
    if blend == "share":
        ridge = 0.01 * square.diagonal().mean() + 1e-7
        change = torch.linalg.solve(square + ridge * identity, cross).view(-1, 1, 1, 1)
    else:  # the same, pooled around every cell and shrunk towards the whole
        a = _pool(sum(r.square for r in records)) + 0.1 * (square / count)[..., None, None, None]
        b = _pool(sum(r.cross for r in records)) + 0.1 * (cross / count)[..., None, None, None]
        a, b = rearrange(a, "i j t h w -> t h w i j"), rearrange(b, "i t h w -> t h w i")
        ridge = 0.01 * a.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + 1e-7
        change = rearrange(torch.linalg.solve(a + ridge * identity, b), "t h w i -> i t h w")
    return change - change.mean(0) + 1 / len(change)


def _apply(tries: Tensor, coefficients: Tensor, clip: Tensor, hidden: Tensor) -> Tensor:
    weights = coefficients if coefficients.shape[1:] == (1, 1, 1) else _enlarge(coefficients, hidden)
    blend = torch.einsum("kcthw,kthw->cthw", tries, weights.expand(-1, *hidden.shape))
    return torch.where(hidden, blend.clamp(-1, 1), clip)


def _scale(errors: list[Tensor], masks: list[Tensor]) -> Tensor:
    """Expected error at every pixel [T, H, W], from squared errors on the held-out masks."""
    everywhere = sum(e.sum() for e in errors) / sum(m.sum() for m in masks)
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
    for axis, width in zip((-3, -2, -1), SPREAD, strict=True):
        reach = 3 * width
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=x.device) / width) ** 2)
        line = x.movedim(axis, -1)
        pooled = F.conv1d(line.reshape(-1, 1, line.shape[-1]), (kernel / kernel.sum())[None, None], padding=reach)
        x = pooled.view(line.shape).movedim(-1, axis)
    return x
