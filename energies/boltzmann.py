"""Boltzmann machines: pairwise energies of binary units (Hinton 2002)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from energies.energy import Energy


class RBM(Energy):
    """A restricted Boltzmann machine, E(v, h) = -v.b - h.c - v W h over x = (v, h) of zeros and ones, [B, V + H].

    Args:
        visible: V.
        hidden: H.
    """

    def __init__(self, visible: int, hidden: int) -> None:
        super().__init__()
        self.event_shape = (visible + hidden,)
        self.weight = nn.Parameter(torch.randn(visible, hidden) * 0.01)
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        v, h = self._parts(x)
        return -v @ self.visible_bias - h @ self.hidden_bias - ((v @ self.weight) * h).sum(1)

    @property
    def binary_values(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def gibbs_blocks(self) -> list[Tensor]:
        """Hidden units, then visible ones."""
        hidden = torch.arange(sum(self.weight.shape), device=self.weight.device) >= len(self.weight)
        return [hidden, ~hidden]

    def log_odds(self, x: Tensor, block: Tensor) -> Tensor:
        v, h = self._parts(x)
        return torch.cat([h @ self.weight.mT + self.visible_bias, v @ self.weight + self.hidden_bias], 1)

    def marginal(self) -> FreeEnergy:
        """The energy of v alone, the hidden units summed out; it shares the weights."""
        return FreeEnergy(self)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : len(self.weight)], x[:, len(self.weight) :]


class FreeEnergy(Energy):
    """F(v) = -v.b - sum_j softplus(c_j + (v W)_j) over v [B, V]: exp(-F) is the RBM's marginal (Hinton 2002)."""

    def __init__(self, rbm: RBM) -> None:
        super().__init__()
        self.rbm = rbm
        self.event_shape = (len(rbm.weight),)

    @property
    def binary_values(self) -> tuple[float, float]:
        return self.rbm.binary_values

    def forward(self, v: Tensor) -> Tensor:
        rbm = self.rbm
        return -v @ rbm.visible_bias - F.softplus(v @ rbm.weight + rbm.hidden_bias).sum(1)
