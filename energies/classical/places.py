"""How the weights of estimates that are stacked differ from place to place.

Where one method is right depends on the object that is there. So the frame is cut into cells, and for each one a ridge
regression on the held-out pixels in it and in its neighbours (local regression, Cleveland & Devlin 1988) finds by how
much its weights differ from those of the whole. Held-out pixels tell how strong the ridge is, and whether there is a
difference at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 8  # pixels a side of a cell, at least
MOST = 1024  # cells of a frame
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Strengths of the ridge to choose from, against the mean power of the estimates in a cell."""


@dataclass(frozen=True)
class Local:
    """Differences of weights by the place.

    Attributes:
        side: pixels a side of a cell.
        weights: [rows, columns, K] at the middles of the cells.
    """

    side: int
    weights: Tensor

    def at(self, places: Tensor) -> Tensor:
        """Between the middles of the cells: [N, K] at places [N, 2] (row and column of pixels)."""
        rows, columns, num = self.weights.shape
        size = torch.tensor([rows - 1, columns - 1])
        place = ((places + 0.5) / self.side - 0.5).clamp(min=0).minimum(size)
        low = place.floor().long().minimum((size - 1).clamp(min=0))
        share = place - low
        found = torch.zeros(len(places), num)
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            y, x = (low[:, 0] + down).clamp(max=rows - 1), (low[:, 1] + right).clamp(max=columns - 1)
            part = (share[:, 0] if down else 1 - share[:, 0]) * (share[:, 1] if right else 1 - share[:, 1])
            found.addcmul_(part[:, None], self.weights[y, x])
        return found


@dataclass(frozen=True)
class Held:
    """Held-out pixels of one mask.

    Attributes:
        places: [N, 2], row and column.
        apart: [K, N, C], estimates about their vote.
        wrong: [N, C], what the estimate by the weights of the whole lacks.
        trust: [N], by which a pixel counts.
    """

    places: Tensor
    apart: Tensor
    wrong: Tensor
    trust: Tensor

    def left(self, local: Local) -> Tensor:
        """What is still lacking, weighted: [N, C]."""
        change = torch.einsum("knc,nk->nc", self.apart, local.at(self.places))
        return (self.wrong - change) * self.trust[:, None]


def fit(masks: Sequence[Held]) -> Local:
    """The differences that the other masks speak for on each one; none where one speaks against them, or is alone."""
    last = torch.cat([mask.places for mask in masks]).amax(0)
    num, side = len(masks[0].apart), SIDE
    while (rows := int(last[0]) // side + 1) * (columns := int(last[1]) // side + 1) > MOST:
        side *= 2
    none = Local(side, torch.zeros(rows, columns, num))
    if len(masks) < 2:
        return none
    sums = torch.stack([_normal(mask, side, (rows, columns)) for mask in masks])

    def local(parts: Tensor, strength: float) -> Local:
        return Local(side, _solved(parts.sum(0), num, strength))

    gains = {}
    for strength in STRENGTHS:
        others = [local(sums[[j for j in range(len(masks)) if j != k]], strength) for k in range(len(masks))]
        gains[strength] = [_gain(mask, other, none) for mask, other in zip(masks, others, strict=True)]
    best = max(gains, key=lambda strength: sum(gains[strength]))
    return local(sums, best) if min(gains[best]) > 0 else none


def _gain(mask: Held, local: Local, none: Local) -> float:
    """Log of the mean squared error without differences, over that with them."""
    errors = [mask.left(some).double().square().mean().clamp(min=1e-12) for some in (none, local)]
    return float((errors[0] / errors[1]).log())


def _normal(mask: Held, side: int, size: tuple[int, int]) -> Tensor:
    """Normal equations of every cell and its neighbours, the right hand side last: [rows, columns, K, K + 1]."""
    rows, columns = size
    cell = (mask.places.long() // side) @ torch.tensor([columns, 1])
    order = cell.argsort()
    weighted = torch.cat([mask.apart, mask.wrong[None]])[:, order] * mask.trust[order, None]
    num, sums = len(mask.apart), torch.zeros(rows * columns, len(mask.apart), len(weighted))
    counts = torch.bincount(cell, minlength=rows * columns)
    for k, part in enumerate(weighted.split(counts.tolist(), 1)):
        design = part.flatten(1)
        sums[k] = design[:num] @ design.T
    level = (mask.wrong * mask.trust[:, None]).square().sum() + 1e-12
    kernel = torch.tensor([0.25, 0.5, 0.25])
    kernel = (kernel[:, None] * kernel).expand(num * (num + 1), 1, 3, 3)
    maps = (sums / level).view(rows, columns, -1).movedim(-1, 0)
    return F.conv2d(maps[None], kernel, padding=1, groups=len(kernel))[0].movedim(0, -1).view(rows, columns, num, -1)


def _solved(sums: Tensor, num: int, strength: float) -> Tensor:
    square, cross = sums[..., :num].double(), sums[..., num].double()
    power = square.diagonal(dim1=-2, dim2=-1).mean()
    ridge = (strength * power + 1e-9) * torch.eye(num, dtype=torch.double)
    return torch.linalg.solve(square + ridge, cross).float()
