"""The reference of details: what is seen nearby, of x of any size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from energies.observation import Average, Hidden, Measurement, Observation
from energies.references.context import Context, Reference

LEAST_SCALE = 0.1  # in units of x: nowhere is an initial estimate taken to be surer than that
NUM_OTHERS = 4


class LocalReference(Reference):
    """Means of what is seen nearby, of shapes of two values; it knows nothing of whole x."""

    num_others = NUM_OTHERS

    def takes(self, observation: Observation) -> bool:
        return isinstance(observation, Hidden | Average)

    def context(self, observation: Observation, y: Measurement) -> Context:
        assert isinstance(y, Tensor)
        if isinstance(observation, Hidden):
            y = observation.observe(y)  # what it holds elsewhere counts for nothing
            hidden = whole_mask(observation, y)
            seen = (~hidden).to(y.dtype)
            near, wide = (blurred(y * seen, width) / (blurred(seen, width) + 0.01) for width in (0.7, 1.5))
            estimate = torch.where(hidden, near.clamp(-1, 1), y)
            return binary_context(estimate, hidden, [near, wide, near, wide])
        assert isinstance(observation, Average)
        size = [side * factor for side, factor in zip(y.shape[2:], observation.factor, strict=True)]
        line = F.interpolate(y, size, mode=LINEAR[y.ndim - 2])
        estimate = observation.project(line, y).clamp(-1, 1)
        return binary_context(estimate, torch.ones_like(estimate, dtype=torch.bool), [line] * NUM_OTHERS)

    def free(self, num: int) -> Context:
        raise RuntimeError("this energy refines details and knows no whole x: condition it on block means")


LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""Modes of linear interpolation by the number of dimensions."""


def whole_mask(observation: Hidden, y: Tensor) -> Tensor:
    """Where x is hidden, bool [B, 1, *size], of y [B, C, *size], by a mask that broadcasts with it."""
    return observation.mask.to(y.device).broadcast_to(len(y), 1, *y.shape[2:])


def binary_context(estimate: Tensor, hidden: Tensor, others: list[Tensor]) -> Context:
    """Of x of two values, -1 and 1, with that mean."""
    return Context(estimate, (1 - estimate.square()).clamp(min=LEAST_SCALE**2).sqrt(), hidden, torch.stack(others, 1))


def blurred(x: Tensor, width: float) -> Tensor:
    """Gaussian mean of [B, C, *size] along the axes of size, zeros beyond the edge."""
    reach = int(4 * width + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / width) ** 2)
    kernel = kernel / kernel.sum()
    channels, dims = x.shape[1], x.ndim - 2
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    x = x.flatten(0, 1)[:, None]
    for axis in range(dims):
        shape, pads = [1] * (dims + 2), [0] * dims
        shape[2 + axis], pads[axis] = len(kernel), reach
        x = convolve(x, kernel.view(shape), padding=pads)
    return x[:, 0].unflatten(0, (-1, channels))
