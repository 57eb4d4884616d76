"""A measurement with Gaussian noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from energies.observation import Observation
from energies.samplers.state import Rng, normal
from energies.stacked import Stacked


@dataclass(frozen=True)
class Noisy(Observation):
    """Measurements with Gaussian noise, y = A x + noise n: they hold nothing fast, and have a likelihood.

    Attributes:
        operator: A, an exact one.
        noise: standard deviation of every element of y.

    Raises:
        ValueError: the noise is not positive, or the operator is noisy or stacked.
    """

    operator: Observation
    noise: float

    def __post_init__(self) -> None:
        if not 0 < self.noise < math.inf:
            raise ValueError(f"noise must be positive; got {self.noise}; an exact measurement is the operator alone")
        if isinstance(self.operator, Stacked) or not self.operator.exact:
            raise ValueError("noise is added to one exact operator; in a stack, each part has its own")

    @property
    def noiseless(self) -> Observation:
        return self.operator

    @property
    def exact(self) -> bool:
        return False

    def observe(self, x: Tensor) -> Tensor:
        """A x, without noise."""
        return self.operator.observe(x)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        return self.operator.residual(x, y)

    def noisily(self, q: Tensor) -> Tensor:
        return self.noise**2 * q

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y)

    def solve(self, r: Tensor, ridge: float = 0.0, scale: Tensor | None = None) -> Tensor:
        return self.operator.solve(r, ridge, scale)

    def misfit(self, x: Tensor, y: Tensor, scale: Tensor | None = None) -> Tensor:
        """(1/2) r^T (noise^2 + A S^2 A^T)^-1 r [B], r = y - A x; S = 0 where x is clean."""
        r = y - self.observe(x)
        carried = x.new_zeros(()) if scale is None else scale  # None would be S = 1 for `solve`
        return (r * self.solve(r, self.noise**2, carried)).flatten(1).sum(1) / 2

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        y = self.observe(x)
        return y + self.noise * normal(y, rng)

    def rows(self, index: Tensor | slice, ndim: int) -> Noisy:
        return Noisy(self.operator.rows(index, ndim), self.noise)

    def to(self, device: torch.device | str) -> Noisy:
        return Noisy(self.operator.to(device), self.noise)
