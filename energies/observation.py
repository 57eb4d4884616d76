"""What is known about x: a linear operator A and a measurement y = A x, and an energy conditioned on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from energies.energy import Energy, check_part


class Observation(Protocol):
    """A linear operator A with A A^T invertible."""

    def observe(self, x: Tensor) -> Tensor:
        """A x."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y."""
        ...

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """The point of {x: A x = y} nearest to x."""
        ...

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        """The part of v in the null space of A, what A cannot see; with a scale s, in that of A diag(s)."""
        ...


@dataclass(frozen=True)
class Hidden:
    """Some elements are hidden and the others seen exactly: pixels, frames, regions, in any modality.

    Attributes:
        mask: bool, True = hidden, of a shape that broadcasts with x [B, *event].
    """

    mask: Tensor

    def observe(self, x: Tensor) -> Tensor:
        """x with zeros where it is hidden."""
        return torch.where(self.mask.to(x.device), 0.0, x)

    def adjoint(self, y: Tensor) -> Tensor:
        """y with zeros where x is hidden."""
        return self.observe(y)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """y where seen, x where hidden: exact to the last bit."""
        return torch.where(self.mask.to(x.device), x, y)

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        """v with zeros where x is seen, whatever the scale."""
        return torch.where(self.mask.to(v.device), v, 0.0)


@dataclass(frozen=True)
class Average:
    """Only the means of blocks are seen: a measurement at a lower resolution, to be refined (super-resolution).

    Attributes:
        factor: side of the blocks along each of the last axes of x [B, C, ...]; it must divide them.
    """

    factor: tuple[int, ...]

    def observe(self, x: Tensor) -> Tensor:
        """The means [B, C, ... / factor]."""
        for axis, size in zip(range(-len(self.factor), 0), self.factor, strict=True):
            if x.shape[axis] % size:
                raise ValueError(f"blocks of {self.factor} do not divide x of shape {list(x.shape)}")
            x = x.unflatten(axis, (-1, size)).mean(axis)
        return x

    def spread(self, y: Tensor) -> Tensor:
        """Every mean repeated over its block."""
        for axis, size in zip(range(-len(self.factor), 0), self.factor, strict=True):
            y = y.repeat_interleave(size, axis)
        return y

    def adjoint(self, y: Tensor) -> Tensor:
        """Every mean shared out over its block."""
        return self.spread(y) / math.prod(self.factor)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """x moved so that its block means are y, to rounding."""
        return x + self.spread(y - self.observe(x))

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        """v without its block means; with a scale, such that scale * v has none."""
        if scale is None:
            return v - self.spread(self.observe(v))
        s = scale.expand_as(v)
        return v - s * self.spread(self.observe(s * v) / self.observe(s * s))


@dataclass(frozen=True)
class Grey:
    """Only a weighted sum of the channels is seen: a colour picture in grey, to be coloured.

    Attributes:
        weights: of the channels of x [B, C, ...], adding up to 1; those of ITU-R BT.601 by default.
    """

    weights: tuple[float, ...] = (0.299, 0.587, 0.114)

    def observe(self, x: Tensor) -> Tensor:
        """The sums [B, 1, ...]. ValueError: x has another number of channels."""
        if x.shape[1] != len(self.weights):
            raise ValueError(f"x has {x.shape[1]} channels, the weights are {len(self.weights)}")
        return (x * self._weights(x)).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        """y times the weights [B, C, ...]."""
        return y * self._weights(y)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """x moved along the weights so that its sums are y, to rounding."""
        return x + self.adjoint(y - self.observe(x)) / sum(w * w for w in self.weights)

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        """v without its part along the weights; with a scale, such that the sums of scale * v are 0."""
        if v.shape[1] != len(self.weights):
            raise ValueError(f"v has {v.shape[1]} channels, the weights are {len(self.weights)}")
        along = self._weights(v) if scale is None else self._weights(v) * scale.expand_as(v)
        return v - along * (along * v).sum(1, keepdim=True) / along.square().sum(1, keepdim=True)

    def _weights(self, x: Tensor) -> Tensor:
        return torch.tensor(self.weights, dtype=x.dtype, device=x.device).view(1, -1, *[1] * (x.ndim - 2))


class Conditioned(Energy):
    """An energy given a measurement: p(x | A x = y), or p(x | y) where the measurement is noisy.

    Exact measurements restrict x to {A x = y}: `gradient` and the noise of a sampler are projected onto the null space
    of A, so the restricted law is sampled as exactly as the free one. Noisy ones add |A x - y|^2 / (2 noise^2).

    Args:
        energy: the prior.
        observation: A.
        y: measurement, of the shape of A x; it broadcasts over the batch.
        noise: standard deviation of the measurement's noise; None: exact.

    Raises:
        TypeError: two exact measurements at once, or an exact one of a bounded energy that is not of single elements.
        ValueError: seen values out of the bounds, or noise that is not positive.
    """

    def __init__(self, energy: Energy, observation: Observation, y: Tensor, noise: float | None = None) -> None:
        super().__init__()
        check_part(energy)
        if noise is None:
            _check_exact(energy, observation, y)
        if noise is not None and not noise > 0:
            raise ValueError(f"noise must be positive, or None for an exact measurement; got {noise}")
        self.energy, self.observation, self.y, self.noise = energy, observation, y, noise

    def forward(self, x: Tensor) -> Tensor:
        prior = self.energy(x)
        if self.noise is None:
            return prior
        misfit = self.observation.observe(x) - self.y.to(x)
        return prior + misfit.square().flatten(1).sum(1) / (2 * self.noise**2)

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        v = self.energy.tangent(v, scale)
        return v if self.noise is not None else self.observation.tangent(v, scale)

    def project(self, x: Tensor) -> Tensor:
        x = self.energy.project(x)
        return x if self.noise is not None else self.observation.project(x, self.y.to(x))

    @property
    def constrained(self) -> bool:
        return self.noise is None or self.energy.constrained

    @property
    def bounded(self) -> bool:
        return self.energy.bounded

    def reflect(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.energy.reflect(x)

    @property
    def binary_values(self) -> tuple[float, float]:
        if self.noise is None and not isinstance(self.observation, Hidden):
            raise TypeError("elements with two values can only be conditioned exactly on seen elements")
        return self.energy.binary_values

    @property
    def gibbs_blocks(self) -> list[Tensor]:
        if self.noise is not None:
            raise TypeError(
                "under a noisy measurement the elements of a block are not independent; use GibbsWithGradients"
            )
        return self.energy.gibbs_blocks

    def log_odds(self, x: Tensor, block: Tensor) -> Tensor:
        return self.energy.log_odds(x, block)

    def _save_pretrained(self, save_directory: Path) -> None:
        raise TypeError("a conditioned energy is not saved: save the energy and condition it again")


def _check_exact(energy: Energy, observation: Observation, y: Tensor) -> None:
    if energy.constrained:
        raise TypeError("the energy has an exact measurement already: join both into one observation")
    if energy.bounded:
        if not isinstance(observation, Hidden):
            raise TypeError(
                "a bounded energy can only be conditioned on seen elements: reflection would leave the others"
            )
        if ((energy.reflect(y)[0] != y) & ~observation.mask.to(y.device)).any():
            raise ValueError("the measurement has seen values out of the energy's bounds")
