"""Block Gibbs sampling of discrete energies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energies.energy import Energy
from energies.samplers.state import Info, Rng, State, allowed, still, uniform


@dataclass(frozen=True)
class Gibbs:
    """Draw every block of elements anew, given all others (Geman & Geman 1984).

    For energies of elements with two values whose `gibbs_blocks` hold elements that are independent given the others:
    Ising models, Boltzmann machines and their weighted sums. What an observation shows stays as it is.
    """

    def init(self, energy: Energy, x: Tensor) -> State:
        _ = energy.binary_values  # TypeError: it has none
        return still(energy, allowed(energy, x))

    def step(self, energy: Energy, state: State, rng: Rng) -> tuple[State, Info]:
        x = state.x
        low, high = energy.binary_values
        for block in energy.gibbs_blocks:
            odds = energy.log_odds(x, block)
            drawn = torch.where(uniform(odds, rng) < odds.sigmoid(), high, low)
            x = energy.project(torch.where(block.to(x.device), drawn.to(x.dtype), x))
        return still(energy, x), Info()
