"""What is known about x: a linear operator A and a measurement y = A x, and an energy conditioned on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from energies.energy import Energy


class Observation(Protocol):
    """A linear operator A with A A^T invertible."""

    def observe(self, x: Tensor) -> Tensor:
        """A x."""
        ...

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """The point of {x: A x = y} nearest to x."""
        ...

    def tangent(self, v: Tensor) -> Tensor:
        """The part of v in the null space of A: what A cannot see."""
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
        return torch.where(self.mask, 0.0, x)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """y where seen, x where hidden: exact to the last bit."""
        return torch.where(self.mask, x, y)

    def tangent(self, v: Tensor) -> Tensor:
        """v with zeros where x is seen."""
        return torch.where(self.mask, v, 0.0)


class Conditioned(Energy):
    """An energy given a measurement: p(x | A x = y), or p(x | y) where the measurement is noisy.

    Exact measurements restrict x to {A x = y}: `gradient` and the noise of a sampler are projected onto the null space
    of A, so the restricted law is sampled as exactly as the free one. Noisy ones add |A x - y|^2 / (2 noise^2).

    Args:
        energy: the prior.
        observation: A.
        y: measurement, of the shape of A x; it broadcasts over the batch.
        noise: standard deviation of the measurement's noise; None: exact.
    """

    def __init__(self, energy: Energy, observation: Observation, y: Tensor, noise: float | None = None) -> None:
        super().__init__()
        if noise is not None and not noise > 0:
            raise ValueError(f"noise must be positive, or None for an exact measurement; got {noise}")
        self.energy, self.observation, self.y, self.noise = energy, observation, y, noise

    def forward(self, x: Tensor) -> Tensor:
        prior = self.energy(x)
        if self.noise is None:
            return prior
        misfit = self.observation.observe(x) - self.y
        return prior + misfit.square().flatten(1).sum(1) / (2 * self.noise**2)

    def tangent(self, v: Tensor) -> Tensor:
        return v if self.noise is not None else self.observation.tangent(v)

    def project(self, x: Tensor) -> Tensor:
        return x if self.noise is not None else self.observation.project(x, self.y)
