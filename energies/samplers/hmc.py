"""Hamiltonian Monte Carlo."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from energies.energy import Energy
from energies.samplers.state import (
    Info,
    Rng,
    State,
    check_step_size,
    fresh,
    kinetic_change,
    leapfrog,
    metropolis,
    start,
)


@dataclass(frozen=True)
class HMC:
    """A trajectory of leapfrog steps from a fresh momentum, accepted by its energy error (Duane 1987; Neal 2011).

    Its best acceptance in many dimensions is 0.651.
    """

    step_size: float = 0.1
    """Step size epsilon of the leapfrog, in units of x (of s where a scale is given)."""

    num_leapfrog: int = 10
    """Leapfrog steps, and gradients, a trajectory."""

    scale: Tensor | None = None
    """Scale s of each element (a mass matrix of s^-2), broadcasting with x; None: 1."""

    def __post_init__(self) -> None:
        check_step_size(self.step_size)
        if self.num_leapfrog < 1:
            raise ValueError(f"num_leapfrog must be 1 or more, got {self.num_leapfrog}")

    def init(self, energy: Energy, x: Tensor) -> State:
        return start(energy, x)

    def step(self, energy: Energy, state: State, rng: Rng) -> tuple[State, Info]:
        before = fresh(energy, state.x, self.scale, rng)
        proposal, after = leapfrog(energy, state, before, self.step_size, self.scale, self.num_leapfrog)
        change = proposal.energy - state.energy + kinetic_change(before, after)
        return metropolis(state, proposal, change, rng)
