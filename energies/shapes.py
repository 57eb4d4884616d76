"""What shapes that were seen tell of one that is seen in part: the context of the voxel energy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from energies.observation import Average, Hidden
from energies.refiner import Context
from energies.subspace import Subspace

LEAST_SCALE = 0.1  # in units of x: nowhere is a fill taken to be surer than that
NUM_OTHERS = 4


class Memory:
    """Shapes [n, 1, N, N, N] in [-1, 1] that were learned from, and their mirror images in the first axis."""

    def __init__(self, shapes: Tensor, rank: int = 600, noise: float = 0.6) -> None:
        self.shapes = torch.cat([shapes, shapes.flip(2)])
        self.subspace = Subspace.fit(self.shapes, rank, noise)

    def free(self, num: int) -> Context:
        """Nothing is seen: the mean shape."""
        mean = self.subspace.mean.view(1, *self.subspace.event_shape).expand(num, -1, -1, -1, -1)
        return _context(mean, torch.ones_like(mean, dtype=torch.bool), [mean] * NUM_OTHERS)

    def context(self, observation: Hidden | Average, y: Tensor) -> Context:
        """What is known of shapes of which y [B, 1, ...] is seen: voxels (any value where hidden), or block means.

        The mask of `Hidden` is bool [B, 1, N, N, N].
        """
        if isinstance(observation, Hidden):
            return self._hidden(observation, y)
        return self._coarse(observation, y)

    def _hidden(self, observation: Hidden, y: Tensor) -> Context:
        hidden = observation.mask
        seen = (~hidden).to(y.dtype)
        linear = self.subspace.expected(lambda x: x * seen, lambda x: x * seen, y, 12)
        nearest = self._first_and_mean(most_alike(self.shapes, y, seen, 5))
        # What the subspace misses of the voxels that are seen goes on into their neighbours.
        missed = (y - linear) * seen
        near = linear + _blur(missed, 0.7) / (_blur(seen, 0.7) + 0.1)
        wide = linear + _blur(missed, 1.5) / (_blur(seen, 1.5) + 0.1)
        fill = torch.where(hidden, near.clamp(-1, 1), y)
        return _context(fill, hidden, [linear, wide, *nearest])

    def _coarse(self, observation: Average, y: Tensor) -> Context:
        factor = observation.factor

        def adjoint(v: Tensor) -> Tensor:
            return observation.spread(v) / (factor[0] * factor[1] * factor[2])

        linear = self.subspace.expected(observation.observe, adjoint, y)
        size = self.subspace.event_shape[1:]
        line = F.interpolate(y, size, mode="trilinear")
        coarse = observation.observe(self.shapes).flatten(1)
        order = torch.cdist(y.flatten(1), coarse).topk(min(5, len(coarse)), largest=False).indices
        nearest = self._first_and_mean(order)
        fill = observation.project((linear + line) / 2, y).clamp(-1, 1)
        hidden = torch.ones_like(fill, dtype=torch.bool)
        return _context(fill, hidden, [linear, line, *nearest])

    def _first_and_mean(self, order: Tensor) -> list[Tensor]:
        return [self.shapes[order[:, 0]], self.shapes[order].mean(1)]


def most_alike(shapes: Tensor, y: Tensor, seen: Tensor, num: int) -> Tensor:
    """Numbers [B, num] of the shapes [n, 1, N, N, N] most like y by intersection over union where it is seen.

    y: [B, 1, N, N, N], any value where seen (0 or 1, the same shape) is 0.
    """
    rows = shapes.flatten(1)
    here = ((y + 1) / 2 * seen).flatten(1)
    volume, seen = here.sum(1, keepdim=True), seen.flatten(1)
    both = (here @ rows.T + volume) / 2  # of x in {-1, 1}, (x + 1) / 2 is set
    either = volume + (seen @ rows.T + seen.sum(1, keepdim=True)) / 2 - both
    return (both / either.clamp(min=1)).topk(min(num, len(rows)), 1).indices


class Details:
    """No memory of whole shapes: what is seen nearby is all there is. For grids of any size."""

    def context(self, observation: Hidden | Average, y: Tensor) -> Context:
        """As `Memory.context`."""
        if isinstance(observation, Hidden):
            seen = (~observation.mask).to(y.dtype)
            near, wide = (_blur(y * seen, width) / (_blur(seen, width) + 0.01) for width in (0.7, 1.5))
            fill = torch.where(observation.mask, near.clamp(-1, 1), y)
            return _context(fill, observation.mask, [near, wide, near, wide])
        size = [side * factor for side, factor in zip(y.shape[2:], observation.factor, strict=True)]
        line = F.interpolate(y, size, mode="trilinear")
        fill = observation.project(line, y).clamp(-1, 1)
        return _context(fill, torch.ones_like(fill, dtype=torch.bool), [line] * NUM_OTHERS)


def _context(fill: Tensor, hidden: Tensor, others: list[Tensor]) -> Context:
    scale = (1 - fill.square()).clamp(min=LEAST_SCALE**2).sqrt()
    return Context(fill, scale, hidden, torch.stack(others, 1))


def _blur(x: Tensor, width: float) -> Tensor:
    """Gaussian mean of [B, 1, N, N, N], zeros beyond the edge."""
    reach = int(4 * width + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / width) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(3):
        shape = [1] * 5
        shape[2 + axis] = len(kernel)
        pads = [0] * 3
        pads[axis] = reach
        x = F.conv3d(x, kernel.view(shape), padding=pads)
    return x
