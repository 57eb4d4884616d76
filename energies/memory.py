"""What x that were seen before tell of one that is seen in part: the context of `ReferenceEnergy`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from energies.observation import Average, Hidden, Observation
from energies.refiner import Context
from energies.subspace import Subspace

LEAST_SCALE = 0.1  # in units of x: nowhere is a fill taken to be surer than that
NUM_OTHERS = 4
TOGETHER = 256  # measurements compared with all that is remembered at once


class Memory:
    """Shapes [n, 1, N, N, N] of -1 and 1 and their mirror images in the first axis, or pictures [n, C, 1, H, W]."""

    def __init__(self, x: Tensor, rank: int = 600, noise: float = 0.6) -> None:
        self.flat = x.shape[2] == 1
        self.x = x if self.flat else torch.cat([x, x.flip(2)])
        self.subspace = Subspace.fit(self.x, rank, noise)

    def free(self, num: int) -> Context:
        """Nothing is seen: the mean."""
        mean = self.subspace.mean.view(1, *self.subspace.event_shape).expand(num, -1, -1, -1, -1)
        return _context(mean, torch.ones_like(mean[:, :1], dtype=torch.bool), [mean] * NUM_OTHERS, self.flat)

    def context(self, observation: Observation, y: Tensor) -> Context:
        """What is known of x of which y [B, ...] is seen: seen elements (any value elsewhere), block means, grey.

        The mask of `Hidden` is bool [B, 1, D, H, W].
        """
        if isinstance(observation, Hidden):
            return self._hidden(observation, y)
        return self._measured(observation, y)

    def _hidden(self, observation: Hidden, y: Tensor) -> Context:
        hidden = observation.mask
        seen = (~hidden).to(y.dtype)
        linear = self.subspace.expected(lambda x: x * seen, lambda x: x * seen, y, 12)
        alike = _nearest if self.flat else most_alike
        nearest = self._first_and_mean(alike(self.x, y, seen.expand_as(y), 5))
        # What the subspace misses of the elements that are seen goes on into their neighbours.
        missed = (y - linear) * seen
        near = linear + _blur(missed, 0.7) / (_blur(seen, 0.7) + 0.1)
        wide = linear + _blur(missed, 1.5) / (_blur(seen, 1.5) + 0.1)
        fill = torch.where(hidden, near.clamp(-1, 1), y)
        return _context(fill, hidden, [linear, wide, *nearest], self.flat)

    def _measured(self, observation: Observation, y: Tensor) -> Context:
        linear = self.subspace.expected(observation.observe, observation.adjoint, y)
        plain = _plain(observation, y, self.subspace.event_shape)
        measured = observation.observe(self.x).flatten(1)
        num = min(5, len(measured))
        order = torch.cat(
            [torch.cdist(part, measured).topk(num, largest=False).indices for part in y.flatten(1).split(TOGETHER)]
        )
        nearest = self._first_and_mean(order)
        guess = linear if self.flat else (linear + plain) / 2
        fill = observation.project(guess, y).clamp(-1, 1)
        hidden = torch.ones_like(fill[:, :1], dtype=torch.bool)
        return _context(fill, hidden, [linear, plain, *nearest], self.flat)

    def _first_and_mean(self, order: Tensor) -> list[Tensor]:
        return [self.x[order[:, 0]], self.x[order].mean(1)]


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


def _nearest(pictures: Tensor, y: Tensor, seen: Tensor, num: int) -> Tensor:
    """Likewise the pictures nearest to y by squared differences where it is seen."""
    rows = pictures.flatten(1)
    here, seen = (y * seen).flatten(1), seen.flatten(1)
    distance = seen @ rows.square().T - 2 * here @ rows.T
    return distance.topk(min(num, len(rows)), 1, largest=False).indices


class Details:
    """No memory of whole x: what is seen nearby is all there is. For shapes of any size."""

    def context(self, observation: Observation, y: Tensor) -> Context:
        """As `Memory.context`."""
        if isinstance(observation, Hidden):
            seen = (~observation.mask).to(y.dtype)
            near, wide = (_blur(y * seen, width) / (_blur(seen, width) + 0.01) for width in (0.7, 1.5))
            fill = torch.where(observation.mask, near.clamp(-1, 1), y)
            return _context(fill, observation.mask, [near, wide, near, wide], False)
        assert isinstance(observation, Average)
        size = [side * factor for side, factor in zip(y.shape[2:], observation.factor, strict=True)]
        line = _plain(observation, y, (1, *size))
        fill = observation.project(line, y).clamp(-1, 1)
        return _context(fill, torch.ones_like(fill, dtype=torch.bool), [line] * NUM_OTHERS, False)


def _plain(observation: Observation, y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x as the measurement alone has it: block means interpolated, a grey picture grey."""
    if isinstance(observation, Average):
        return F.interpolate(y, shape[1:], mode="trilinear")
    return y.expand(-1, *shape)


def _context(fill: Tensor, hidden: Tensor, others: list[Tensor], flat: bool) -> Context:
    candidates = torch.stack(others, 1)
    if flat:  # how far the candidates differ tells how wrong the fill may be
        variance = (candidates - fill[:, None]).square().mean((1, 2))[:, None]
        scale = (variance + LEAST_SCALE**2).sqrt()
    else:  # of two values with that mean
        scale = (1 - fill.square()).clamp(min=LEAST_SCALE**2).sqrt()
    return Context(fill, scale, hidden, candidates)


def _blur(x: Tensor, width: float) -> Tensor:
    """Gaussian mean of [B, C, D, H, W] along the axes that it has, zeros beyond the edge."""
    reach = int(4 * width + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / width) ** 2)
    kernel = kernel / kernel.sum()
    channels = x.shape[1]
    x = x.flatten(0, 1)[:, None]
    for axis in range(3):
        if x.shape[2 + axis] == 1:
            continue
        shape = [1] * 5
        shape[2 + axis] = len(kernel)
        pads = [0] * 3
        pads[axis] = reach
        x = F.conv3d(x, kernel.view(shape), padding=pads)
    return x[:, 0].unflatten(0, (-1, channels))
