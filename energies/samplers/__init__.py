"""Markov chains that leave exp(-E) invariant, exactly or nearly: one algorithm a file, all of the same shape.

A sampler is a frozen dataclass with `init(energy, x) -> State` and `step(energy, state, rng) -> (State, Info)`.
"""

from energies.samplers.gibbs import Gibbs
from energies.samplers.gradient_gibbs import GibbsWithGradients
from energies.samplers.hmc import HMC
from energies.samplers.langevin import Langevin
from energies.samplers.mala import MALA
from energies.samplers.masked import MaskedSampling
from energies.samplers.random_walk import RandomWalk
from energies.samplers.state import Info, Sampler, State
from energies.samplers.tempering import ParallelTempering
from energies.samplers.underdamped import Underdamped

__all__ = [
    "HMC",
    "MALA",
    "Gibbs",
    "GibbsWithGradients",
    "Info",
    "Langevin",
    "MaskedSampling",
    "ParallelTempering",
    "RandomWalk",
    "Sampler",
    "State",
    "Underdamped",
]
