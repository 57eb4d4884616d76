"""Markov chains that leave exp(-E) invariant, exactly or nearly: one algorithm a file, all of the same shape.

A sampler is a frozen dataclass with `init(energy, x) -> State` and `step(energy, state, rng) -> (State, Info)`.
"""

from energies.samplers.langevin import Langevin
from energies.samplers.state import Info, Sampler, State

__all__ = ["Info", "Langevin", "Sampler", "State"]
