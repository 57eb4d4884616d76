"""Energies over a box: what leaves it is reflected."""

from __future__ import annotations

import torch
from torch import Tensor

from energies.energy import Energy, check_part


class Bounded(Energy):
    """exp(-E) restricted to low <= x <= high, elementwise.

    Samplers reflect x at the bounds and turn their momentum, which keeps them as exact as they are without bounds.
    Bound an energy first and condition it afterwards, on seen elements.

    Args:
        energy: E, not conditioned.
        low: lower bound, in units of x.
        high: upper bound.
    """

    def __init__(self, energy: Energy, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__()
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        check_part(energy)
        if energy.constrained:
            raise TypeError("bound the energy first and condition it afterwards")
        self.energy, self.low, self.high = energy, low, high
        self._event_shape = energy._event_shape

    def forward(self, x: Tensor) -> Tensor:
        return self.energy(x)

    @property
    def origin(self) -> Tensor | float:
        return self.energy.origin

    @property
    def per_sample(self) -> bool:
        return self.energy.per_sample

    @property
    def bounded(self) -> bool:
        return True

    def reflect(self, x: Tensor) -> tuple[Tensor, Tensor]:
        width = self.high - self.low
        along = (x - self.low).remainder(2 * width)  # the box unfolded: there, then back
        back = along > width
        inside = (x >= self.low) & (x <= self.high)
        folded = (self.low + torch.where(back, 2 * width - along, along)).clamp(self.low, self.high)
        return torch.where(inside, x, folded), torch.where(back & ~inside, -1.0, 1.0).to(x.dtype)
