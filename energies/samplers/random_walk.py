"""Random-walk Metropolis-Hastings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from energies.energy import Energy
from energies.samplers.state import Info, Rng, State, allowed, check_step_size, fresh, metropolis, move, rms, still


@dataclass(frozen=True)
class RandomWalk:
    """A Gaussian proposal around x, accepted by the change of energy (Metropolis et al. 1953).

    Needs no gradient. Its best acceptance in many dimensions is 0.234.
    """

    step_size: float = 0.1
    """Standard deviation of the proposal, in units of x (of s where a scale is given)."""

    scale: Tensor | None = None
    """Scale s of each element, broadcasting with x; None: 1."""

    def __post_init__(self) -> None:
        check_step_size(self.step_size)

    def init(self, energy: Energy, x: Tensor) -> State:
        return still(energy, allowed(energy, x))

    def step(self, energy: Energy, state: State, rng: Rng) -> tuple[State, Info]:
        noise = fresh(energy, state.x, self.scale, rng) * self.step_size
        x, _ = move(energy, state.x, noise, self.scale)
        proposal = still(energy, x)
        chosen, info = metropolis(state, proposal, proposal.energy - state.energy, rng)
        return chosen, info._replace(noise=rms(noise))
