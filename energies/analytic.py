"""Energies with known answers: what samplers and conditioning are measured against."""

from __future__ import annotations

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
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("precision", torch.tensor(precision))

    def forward(self, x: Tensor) -> Tensor:
        d = x - self.mean
        return ((d @ self.precision) * d).sum(-1) / 2
