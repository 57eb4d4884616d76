"""Energies with known answers: what samplers, conditioning and composition are measured against.

All draw exactly with `draw(num, rng)` and know `log_z()`, the logarithm of the integral, or sum, of exp(-E).
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from energies.energy import Energy


class Gaussian(Energy):
    """E(x) = (x - mean)^T precision (x - mean) / 2 over x [B, D].

    Args:
        mean: D numbers.
        precision: D x D numbers, symmetric and positive definite: the inverse of the covariance.
    """

    mean: Tensor
    precision: Tensor

    def __init__(self, mean: list[float], precision: list[list[float]]) -> None:
        super().__init__()
        self.event_shape = (len(mean),)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("precision", torch.tensor(precision))

    @property
    def origin(self) -> Tensor:
        return self.mean

    def forward(self, x: Tensor) -> Tensor:
        d = x - self.mean
        return ((d @ self.precision) * d).sum(-1) / 2

    def draw(self, num: int, rng: torch.Generator) -> Tensor:
        root = torch.linalg.cholesky(self.precision)
        z = torch.randn(len(self.mean), num, generator=rng, device=rng.device, dtype=self.mean.dtype)
        return self.mean + torch.linalg.solve_triangular(root.mT, z, upper=True).mT

    def log_z(self) -> float:
        return (len(self.mean) * math.log(2 * math.pi) - float(torch.logdet(self.precision))) / 2


class Mixture(Energy):
    """Gaussians of unit mass and one isotropic spread each: E(x) = -log sum_k weight_k N(x; mean_k, std_k^2).

    Args:
        means: K times D numbers.
        stds: K numbers.
        weights: K numbers that sum to 1; None: all the same.
    """

    means: Tensor
    stds: Tensor
    weights: Tensor

    def __init__(self, means: list[list[float]], stds: list[float], weights: list[float] | None = None) -> None:
        super().__init__()
        self.event_shape = (len(means[0]),)
        self.register_buffer("means", torch.tensor(means))
        self.register_buffer("stds", torch.tensor(stds))
        self.register_buffer("weights", torch.tensor(weights or [1 / len(means)] * len(means)))

    def forward(self, x: Tensor) -> Tensor:
        distance = (x[:, None] - self.means).square().sum(-1) / (2 * self.stds**2)  # [B, K]
        mass = self.weights.log() - self.means.shape[1] * (self.stds.log() + math.log(2 * math.pi) / 2)
        return -(mass - distance).logsumexp(1)

    def draw(self, num: int, rng: torch.Generator) -> Tensor:
        kind = torch.multinomial(self.weights, num, replacement=True, generator=rng)
        z = torch.randn(num, self.means.shape[1], generator=rng, device=rng.device, dtype=self.means.dtype)
        return self.means[kind] + self.stds[kind, None] * z

    def log_z(self) -> float:
        return 0.0


class Funnel(Energy):
    """Neal's funnel: v ~ N(0, width^2), the other D - 1 elements of x = (v, ...) ~ N(0, exp(v)) (Neal 2003, section 8).

    Args:
        dims: D.
        width: standard deviation of v.
    """

    def __init__(self, dims: int = 3, width: float = 1.0) -> None:
        super().__init__()
        self.event_shape = (dims,)
        self.dims, self.width = dims, width

    def forward(self, x: Tensor) -> Tensor:
        v, others = x[:, 0], x[:, 1:]
        return v.square() / (2 * self.width**2) + (others.square().sum(1) * (-v).exp() + (self.dims - 1) * v) / 2

    def draw(self, num: int, rng: torch.Generator) -> Tensor:
        z = torch.randn(num, self.dims, generator=rng, device=rng.device, dtype=torch.get_default_dtype())
        v = z[:, :1] * self.width
        return torch.cat([v, z[:, 1:] * (v / 2).exp()], 1)

    def log_z(self) -> float:
        return self.dims * math.log(2 * math.pi) / 2 + math.log(self.width)


class StudentT(Energy):
    """Independent Student's t: E(x) = sum of (dof + 1) / 2 log(1 + x_i^2 / dof) over x [B, D].

    Args:
        dims: D.
        dof: degrees of freedom; below 5 the fourth moment is infinite.
    """

    def __init__(self, dims: int = 2, dof: int = 10) -> None:
        super().__init__()
        self.event_shape = (dims,)
        self.dims, self.dof = dims, dof

    def forward(self, x: Tensor) -> Tensor:
        return (self.dof + 1) / 2 * (x.square() / self.dof).log1p().sum(1)

    def draw(self, num: int, rng: torch.Generator) -> Tensor:
        z = torch.randn(num, self.dims, generator=rng, device=rng.device, dtype=torch.get_default_dtype())
        squares = torch.randn(num, self.dims, self.dof, generator=rng, device=rng.device, dtype=z.dtype).square()
        return z / squares.mean(-1).sqrt()

    def log_z(self) -> float:
        one = math.log(self.dof * math.pi) / 2 + math.lgamma(self.dof / 2) - math.lgamma((self.dof + 1) / 2)
        return self.dims * one


class Ising(Energy):
    """Spins of -1 and 1 on a grid: E(x) = -coupling sum over neighbours of x_i x_j - field sum of x_i; x [B, H, W].

    Args:
        height, width: of the grid; its edges are free.
        coupling: positive: neighbours like to agree.
        field: pulls every spin.
    """

    def __init__(self, height: int = 3, width: int = 3, coupling: float = 0.4, field: float = 0.1) -> None:
        super().__init__()
        self.event_shape = (height, width)
        self.coupling, self.field = coupling, field

    def forward(self, x: Tensor) -> Tensor:
        pairs = (x[:, 1:] * x[:, :-1]).flatten(1).sum(1) + (x[:, :, 1:] * x[:, :, :-1]).flatten(1).sum(1)
        return -self.coupling * pairs - self.field * x.flatten(1).sum(1)

    @property
    def binary_values(self) -> tuple[float, float]:
        return -1.0, 1.0

    @property
    def gibbs_blocks(self) -> list[Tensor]:
        """The two colours of a chessboard."""
        height, width = self.event_shape
        odd = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 1
        return [odd, ~odd]

    def log_odds(self, x: Tensor, block: Tensor) -> Tensor:
        near = torch.zeros_like(x)
        near[:, 1:] += x[:, :-1]
        near[:, :-1] += x[:, 1:]
        near[:, :, 1:] += x[:, :, :-1]
        near[:, :, :-1] += x[:, :, 1:]
        return 2 * (self.coupling * near + self.field)

    def draw(self, num: int, rng: torch.Generator) -> Tensor:
        every = states(self.binary_values, self.event_shape).to(rng.device)
        chance = (-self(every)).softmax(0)
        return every[torch.multinomial(chance, num, replacement=True, generator=rng)]

    def log_z(self) -> float:
        return float((-self(states(self.binary_values, self.event_shape))).logsumexp(0))


def states(levels: tuple[float, float], shape: tuple[int, ...]) -> Tensor:
    """Every x of elements with two values, [2^n, *shape] in the default dtype; ValueError above 20 elements."""
    num = math.prod(shape)
    if num > 20:
        raise ValueError(f"2^{num} states are too many to enumerate")
    return torch.tensor(list(product(levels, repeat=num)), dtype=torch.get_default_dtype()).view(-1, *shape)
