"""The energy of all units of a machine, for samplers of elements with two values."""

from __future__ import annotations

import torch
from torch import Tensor

from energies.boltzmann.layers import Units
from energies.boltzmann.machine import Machine
from energies.energy import Energy


class Joint(Energy):
    """E(s) over s = (v, h_1, h_2, ...) of zeros and ones, [B, V + H_1 + ...]: what `machine.joint()` gives.

    Args:
        machine: of binary units, without labels; it shares the weights.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        if machine.visible != "binary" or machine.num_classes:
            raise TypeError("the energy of all units is for machines of binary units without labels")
        self.machine = machine
        self.event_shape = (sum(machine.sizes),)

    def forward(self, x: Tensor) -> Tensor:
        return self.machine.layers().energy(self._parts(x))

    @property
    def binary_values(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def gibbs_blocks(self) -> list[Tensor]:
        """Odd layers, then even ones."""
        sizes = torch.tensor(self.machine.sizes)
        odd = (torch.arange(len(sizes)) % 2).repeat_interleave(sizes).bool().to(self.machine.unit.device)
        return [odd, ~odd]

    def log_odds(self, x: Tensor, block: Tensor) -> Tensor:
        layers, units = self.machine.layers(), self._parts(x)
        return torch.cat([layers.inputs(layer, units) for layer in range(len(layers.biases))], 1)

    def marginal(self) -> Energy:
        """The energy of x alone, the hidden units summed out: the machine."""
        return self.machine

    def _parts(self, x: Tensor) -> Units:
        return Units(tuple(x.split(self.machine.sizes, 1)))
