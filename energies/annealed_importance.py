"""log Z of Boltzmann machines by annealed importance sampling, both ways: a bracket of the truth.

Forward runs go from exact samples of a machine without weights, whose log Z is known, to the machine (Neal 2001;
Salakhutdinov & Murray 2008): what they estimate is too low on average. Reverse runs go from samples of the machine back
(Burda et al. 2015; Grosse et al. 2015): too high on average, as far as their starts have the machine's law. These are
ends of forward runs, drawn by their weights and moved on by chains of a ladder of temperatures down to the base, whose
samples are exact. How many of the chains have come up from there is told: where few have, the upper end holds only as
far as the forward runs found all modes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from energies.boltzmann.exact import MOST, exact_log_z, smallest_side
from energies.boltzmann.ladder import by_temperature, risen
from energies.boltzmann.layers import Layers, Units
from energies.boltzmann.machine import Machine
from energies.importance import LogRatio, log_ratio

RUNGS = 16  # of the ladder that reverse runs start from


@dataclass(frozen=True)
class Bracket:
    """Estimates of log Z, or of what is that but for a constant, in nats.

    Attributes:
        low, high: by forward and by reverse runs, or twice the exact value.
        low_error, high_error: standard errors by the delta method; 0 where the value is exact.
        low_ess, high_ess: effective numbers of runs.
        exact: whether it was found by enumeration.
        fresh: share of the reverse runs whose starts came up a ladder from exact samples of the base, and so have
            forgotten the forward runs; None: there was no ladder.
    """

    low: float
    high: float
    low_error: float = 0.0
    high_error: float = 0.0
    low_ess: float | None = None
    high_ess: float | None = None
    exact: bool = False
    fresh: float | None = None

    @classmethod
    def of(cls, forward: LogRatio, reverse: LogRatio, known: float, fresh: float | None = None) -> Bracket:
        """That of runs from and to a base whose value is known."""
        low, high = known + forward.value, known + reverse.value
        return cls(low, high, forward.error, reverse.error, forward.ess, reverse.ess, fresh=fresh)

    @property
    def width(self) -> float:
        """high - low, negative where the two estimates crossed within their errors."""
        return self.high - self.low

    @property
    def bounds(self) -> tuple[float, float]:
        """The lower and the upper end, each further out by two of its standard errors."""
        low, high = self.low - 2 * self.low_error, self.high + 2 * self.high_error
        return min(low, high), max(low, high)

    def moved(self, by: float) -> Bracket:
        """The bracket of a value that is larger by so much."""
        return replace(self, low=self.low + by, high=self.high + by)

    def closed(self, within: float = 1.0) -> bool:
        """Whether the ends are near enough to each other to speak of one value, in nats."""
        low, high = self.bounds
        return high - low <= within


def annealed_log_z(
    machine: Machine, rng: torch.Generator, *, runs: int = 100, steps: int = 1000, settle: int = 200
) -> Bracket:
    """The bracket of log Z of a machine over x, all its labels together; else as `annealed`."""
    with torch.no_grad():
        found = annealed(machine.layers(), rng, runs=runs, steps=steps, settle=settle)
    return found.moved(machine.log_volume)


def annealed(
    layers: Layers, rng: torch.Generator, *, runs: int, steps: int, settle: int, rungs: int = RUNGS
) -> Bracket:
    """The bracket of log Z over all units, by `runs` forward and as many reverse runs.

    Args:
        layers: of a machine.
        rng: one stream for all.
        runs: independent chains each way.
        steps: inverse temperatures between 0 and 1.
        settle: sweeps of the ends of forward runs before reverse ones start there.
        rungs: of the ladder of temperatures on which they are swept; 1: the machine alone.
    """
    betas = torch.linspace(0, 1, steps + 1, dtype=torch.float64).tolist()
    start = replace(layers, beta=0.0).base_units(runs, rng)
    weights, ends = _annealed(layers, start, betas, rng)
    forward = log_ratio(weights, 1)
    rows = (weights - weights.max()).exp().multinomial(runs, replacement=True, generator=rng)
    state = Units(tuple(s[rows] for s in ends.layers), None if ends.label is None else ends.label[rows])
    states, fresh = risen(by_temperature(layers, rungs), [state] * rungs, rng, settle)
    backwards, _ = _annealed(layers, states[0], betas[::-1], rng)
    return Bracket.of(forward, log_ratio(backwards, -1), layers.base_log_z(), float(fresh) if rungs > 1 else None)


def enumerated(machine: Machine) -> Bracket | None:
    """log Z exactly where one side of the machine has few units; None: both have too many."""
    with torch.no_grad():
        layers = machine.layers()
        if smallest_side(layers) > MOST:
            return None
        value = exact_log_z(layers) + machine.log_volume
    return Bracket(value, value, exact=True)


def _annealed(layers: Layers, units: Units, betas: list[float], rng: torch.Generator) -> tuple[Tensor, Units]:
    """Log weights [B], float64, of chains through the inverse temperatures, and their ends.

    Odd layers are summed out of the weights, which makes them vary less.
    """
    weights = torch.zeros(len(units.layers[0]), dtype=torch.float64, device=units.layers[0].device)
    for number, (before, after) in enumerate(pairwise(betas)):
        old, new = replace(layers, beta=before), replace(layers, beta=after)
        if number:
            units = old.sweep(units, rng)
        weights += (old.reduced_energy(units) - new.reduced_energy(units)).double()
    return weights, units
