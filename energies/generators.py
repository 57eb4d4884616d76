"""How an energy turns noise into samples: one frozen dataclass for each way an energy may have been learned.

All have the same call, `generate(energy, noise, rng)`: noise [B, *event] is standard normal, and whoever keeps it can
come back to the sample. They yield x step by step, the last time a sample. `longer(k)` is the same with k times
the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from energies.adaptation import warm_up as adapted
from energies.bounded import Bounded
from energies.buffer import Start
from energies.compute import Compute
from energies.conditioned import Conditioned
from energies.diagnostics import Monitor
from energies.energy import Energy
from energies.family import Family
from energies.noisy import Noisy
from energies.observation import Hidden, Observation
from energies.samplers.langevin import Langevin
from energies.samplers.state import Rng, normal
from energies.sampling import LevelSampler, sample
from energies.schedule import Schedule, geometric
from energies.stacked import Stacked


@dataclass(frozen=True)
class Chain:
    """Langevin steps from noise, of an energy of clean x: as short as in learning, or as long as one likes."""

    steps: int = 300
    """Langevin steps."""

    step_size: float = 0.1
    """Their size, in units of x."""

    noise: float = 1.0
    """Factor of their noise."""

    limit: float | None = None
    """Largest move of an element by its gradient, in units of x; null: none."""

    spread: float = 0.5
    """Standard deviation of the noise it begins with, about the mean of the data."""

    bound: float | None = 1.0
    """x stays within plus and minus that; null: it has no bound on the way."""

    calm: int = 0
    """Further steps without noise in the end."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.calm < 0 or not self.step_size > 0 or not self.noise >= 0 or not self.spread > 0:
            raise ValueError("steps, step_size and spread must be positive, noise and calm not negative")
        if any(value is not None and not value > 0 for value in (self.limit, self.bound)):
            raise ValueError(f"limit and bound must be positive, or null, got {self.limit} and {self.bound}")

    def start(self, energy: Energy) -> Start:
        """Where its chains begin, in learning as in sampling."""
        return Start(energy.origin, self.spread, self.bound)

    def longer(self, factor: float) -> Chain:
        return replace(self, steps=max(1, round(self.steps * factor)))

    def generate(
        self, energy: Energy, noise: Tensor, rng: Rng, *, sampler: LevelSampler | None = None, warm_up: int = 0,
        monitor: Monitor | None = None, compute: Compute = "float32",
    ) -> Iterator[Tensor]:  # fmt: skip
        x = self.start(energy).of(noise)
        yield from self.continued(
            energy, x, rng, sampler=sampler, warm_up=warm_up, monitor=monitor, compute=compute
        )  # fmt: skip

    def continued(
        self, energy: Energy, x: Tensor, rng: Rng, *, sampler: LevelSampler | None = None, warm_up: int = 0,
        monitor: Monitor | None = None, compute: Compute = "float32",
    ) -> Iterator[Tensor]:  # fmt: skip
        """From any x [B, *event].

        sampler: in place of the Langevin steps, its step size in units of x; it samples the same law, that at the
            temperature noise^2. warm_up: steps that adapt it first.
        """
        runs: list[tuple[LevelSampler, Energy, int]] = [
            (Langevin(self.step_size, noise, limit=self.limit), energy, steps)
            for noise, steps in ((self.noise, self.steps), (0.0, self.calm))
            if steps
        ]
        if sampler is not None:
            runs[0] = sampler, energy if self.noise in (0.0, 1.0) else tempered(energy, self.noise**2), self.steps
        for kernel, law, steps in runs:
            # Cold Langevin steps are not to read a measurement's noise as so much smaller.
            told = law if kernel is sampler or not self.noise else heard(law, self.noise)
            target = within(told, self.bound)
            if warm_up and kernel is sampler:
                kernel, state = adapted(kernel, target, x, warm_up, rng, compute=compute)
                x = state.x
            for state, info in sample(kernel, target, x, steps, rng, compute=compute):
                if monitor is not None:
                    monitor.update(state, info)
                x = state.x
                yield x
        yield x.clamp(-1, 1)


def heard(energy: Energy, factor: float) -> Energy:
    """A conditioned energy for steps whose noise has a factor: its measurement's noise is divided by that, so that at
    the temperature factor^2 it counts as it should. Any other energy as it is."""
    if factor == 1 or not isinstance(energy, Conditioned):
        return energy
    return Conditioned(energy.energy, _louder(energy.observation, 1 / factor), energy.y)


def _louder(observation: Observation, factor: float) -> Observation:
    if isinstance(observation, Stacked):
        return Stacked(tuple(_louder(part, factor) for part in observation.parts))
    if isinstance(observation, Noisy):
        return Noisy(observation.operator, observation.noise * factor)
    return observation


def tempered(energy: Energy, temperature: float) -> Energy:
    """The energy divided by a temperature; a measurement stays as it is."""
    if isinstance(energy, Conditioned):
        return Conditioned(energy.energy * (1 / temperature), energy.observation, energy.y)
    return energy * (1 / temperature)


def within(energy: Energy, bound: float | None) -> Energy:
    """The energy over a box of plus and minus the bound; where only sums of elements are seen there is none."""
    if bound is None:
        return energy
    if not isinstance(energy, Conditioned):
        return Bounded(energy, -bound, bound)
    if energy.observation.holds and not isinstance(energy.observation, Hidden):
        return energy
    return Conditioned(Bounded(energy.energy, -bound, bound), energy.observation, energy.y)


@dataclass(frozen=True)
class Stepwise:
    """Down the noise levels, at each by Langevin steps of what is likely given the noisier x (Gao et al. 2021)."""

    levels: int = 8
    """Noise levels."""

    high: float = 6.0
    """The highest, in units of x."""

    low: float = 0.06
    """The lowest."""

    steps: int = 15
    """Langevin steps at every level."""

    step_size: float = 0.7
    """Their size, in units of how narrow x is given the noisier x."""

    def __post_init__(self) -> None:
        if self.levels < 2 or not 0 < self.low < self.high or self.steps < 1 or not self.step_size > 0:
            raise ValueError("levels must be 2 or more, high above low above 0, steps and step_size positive")

    def longer(self, factor: float) -> Stepwise:
        return replace(self, steps=max(1, round(self.steps * factor)))

    def noise_levels(self) -> list[float]:
        """Falling levels; each energy but the first is conditioned on the level before."""
        return geometric(self.high, self.low, self.levels)

    def step(
        self,
        energy: Family,
        x: Tensor,
        level: float,
        before: float,
        rng: Rng,
        *,
        monitor: Monitor | None = None,
        compute: Compute = "float32",
    ) -> Iterator[Tensor]:
        """From x [B, *event] with noise of level `before` to noise of `level`.

        TypeError: the levels of the energy are in units of its own.
        """
        if energy.scale is not None:
            raise TypeError("stepwise sampling is for energies whose levels are in units of x; take a schedule")
        between = (before**2 - level**2) ** 0.5
        everything = Hidden(torch.zeros((), dtype=torch.bool, device=x.device))  # hides nothing
        posterior = Conditioned(energy.at(level), Noisy(everything, between), x)
        # The step that suits the conditional law: as narrow as its measurement, or as the law itself.
        width = between / (1 + (between / level) ** 2) ** 0.5
        for state, info in sample(Langevin(self.step_size * width), posterior, x, self.steps, rng, compute=compute):
            if monitor is not None:
                monitor.update(state, info, level=level)
            yield state.x

    def generate(
        self,
        energy: Family,
        noise: Tensor,
        rng: Rng,
        *,
        monitor: Monitor | None = None,
        compute: Compute = "float32",
    ) -> Iterator[Tensor]:
        levels = self.noise_levels()
        x = energy.start(noise, (levels[0] ** 2 + energy.width**2) ** 0.5)
        yield from self._down(energy, x, levels, rng, monitor, compute)

    def continued(
        self,
        energy: Family,
        x: Tensor,
        rng: Rng,
        *,
        monitor: Monitor | None = None,
        compute: Compute = "float32",
    ) -> Iterator[Tensor]:
        """From any x [B, *event]: noise of the third lowest level is added, and what is likely given it sampled."""
        levels = self.noise_levels()[-3:]
        yield from self._down(energy, energy.noised(x, normal(x, rng), levels[0]), levels, rng, monitor, compute)

    def _down(
        self,
        energy: Family,
        x: Tensor,
        levels: list[float],
        rng: Rng,
        monitor: Monitor | None,
        compute: Compute,
    ) -> Iterator[Tensor]:
        for before, level in pairwise(levels):
            moves = list(self.step(energy, x, level, before, rng, monitor=monitor, compute=compute))
            yield from moves
            x = moves[-1]
        yield energy.at(levels[-1]).denoise(x).clamp(-1, 1)


Generator = Schedule | Chain | Stepwise
