"""How an energy turns noise into samples: one frozen dataclass for each way an energy may have been learned.

All have the same call, `generate(energy, noise, rng)`: noise [B, *event] is standard normal, and whoever keeps it can
come back to the sample. They yield x step by step, the last time a sample. `longer(k)` is the same with k times
the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from energies.bounded import Bounded
from energies.buffer import Start
from energies.composition import Composite
from energies.compute import Compute
from energies.diagnostics import Monitor
from energies.encoder import EncoderEnergy
from energies.energy import Energy, gradient
from energies.observation import Conditioned, Hidden
from energies.refiner import geometric
from energies.samplers.langevin import Langevin
from energies.samplers.state import Rng, normal
from energies.sampling import NoisyEnergy, anneal, karras, sample

RETURN = 0.6  # noise level, in units of x, that long chains from data go back to: enough for a digit to change


@dataclass(frozen=True)
class Annealed:
    """From noise of the highest level down the levels, along the probability flow, of an energy of many noise levels.

    Heun's rule with the levels of Karras et al. (2022, algorithm 1, eq. 5); Langevin steps at each on request.
    """

    levels: int = 18
    """Noise levels."""

    high: float = 20.0
    """The highest, in units of x."""

    low: float = 0.03
    """The lowest."""

    steps: int = 0
    """Langevin steps at every level, down to `down_to`."""

    step_size: float = 0.4
    """Of those, in units of the level."""

    down_to: float = 0.0
    """The lowest level that has Langevin steps, in units of x; below it x follows the probability flow alone. At low
    levels chains may drift to x that no noisy data resemble, such as pictures without their object, which learning
    never made unlikely. 0: all have them; above `high`: none."""

    def __post_init__(self) -> None:
        if self.levels < 2 or not 0 < self.low < self.high or self.steps < 0 or not self.step_size > 0:
            raise ValueError("levels must be 2 or more, high above low above 0, steps not negative, step_size positive")
        if not self.down_to >= 0:
            raise ValueError(f"down_to must not be negative, got {self.down_to}")

    def longer(self, factor: float) -> Annealed:
        return replace(self, levels=max(2, round(self.levels * factor)))

    def schedule(self) -> list[float]:
        return karras(self.high, self.low, self.levels)

    def generate(
        self, energy: EncoderEnergy | Composite, noise: Tensor, rng: Rng, *, monitor: Monitor | None = None,
        compute: Compute = "float32",
    ) -> Iterator[Tensor]:  # fmt: skip
        start = energy.mean + self.schedule()[0] * noise
        for level, x in self.down(energy, start, rng, monitor=monitor, compute=compute):
            yield x if level else x.clamp(-1, 1)

    def down(self, energy: NoisyEnergy, start: Tensor, rng: Rng, **settings: Any) -> Iterator[tuple[float, Tensor]]:
        """`anneal` by these levels and steps, from starts [B, *event] at the first level; `settings` are its others."""
        return anneal(
            energy, self.schedule(), start, rng, steps=self.steps, step_size=self.step_size, down_to=self.down_to,
            heun=True, **settings,
        )  # fmt: skip

    def continued(
        self, energy: EncoderEnergy, x: Tensor, rng: Rng, *, monitor: Monitor | None = None,
        compute: Compute = "float32",
    ) -> Iterator[Tensor]:  # fmt: skip
        """From any x [B, *event]: noise of level RETURN is added, sampled by Langevin steps, and taken away again."""
        levels = [level for level in self.schedule() if level < RETURN]
        target = energy.at(RETURN)
        x = x + RETURN * normal(x, rng)
        width = RETURN * energy.spread / (RETURN**2 + energy.spread**2) ** 0.5
        for state, info in sample(Langevin(self.step_size * width), target, x, self.levels, rng, compute=compute):
            if monitor is not None:
                monitor.update(state, info)
            x = state.x
            yield x
        for level, moved in anneal(energy, [RETURN, *levels], x, rng, steps=0, heun=True, compute=compute):
            yield moved if level else moved.clamp(-1, 1)


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

    def start(self, energy: Any) -> Start:
        """Where its chains begin, in learning as in sampling."""
        return Start(getattr(energy, "mean", 0.0), self.spread, self.bound)

    def longer(self, factor: float) -> Chain:
        return replace(self, steps=max(1, round(self.steps * factor)))

    def generate(
        self, energy: Energy, noise: Tensor, rng: Rng, *, monitor: Monitor | None = None, compute: Compute = "float32"
    ) -> Iterator[Tensor]:
        yield from self.continued(energy, self.start(energy).of(noise), rng, monitor=monitor, compute=compute)

    def continued(
        self, energy: Energy, x: Tensor, rng: Rng, *, monitor: Monitor | None = None, compute: Compute = "float32"
    ) -> Iterator[Tensor]:
        """From any x [B, *event]."""
        target = energy if self.bound is None else Bounded(energy, -self.bound, self.bound)
        for noise, steps in ((self.noise, self.steps), (0.0, self.calm)):
            if not steps:
                continue
            sampler = Langevin(self.step_size, noise, limit=self.limit)
            for state, info in sample(sampler, target, x, steps, rng, compute=compute):
                if monitor is not None:
                    monitor.update(state, info)
                x = state.x
                yield x
        yield x.clamp(-1, 1)


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

    def schedule(self) -> list[float]:
        """Falling levels; each energy but the first is conditioned on the level before."""
        return geometric(self.high, self.low, self.levels)

    def step(
        self,
        energy: EncoderEnergy,
        x: Tensor,
        level: float,
        before: float,
        rng: Rng,
        *,
        monitor: Monitor | None = None,
        compute: Compute = "float32",
    ) -> Iterator[Tensor]:
        """From x [B, *event] with noise of level `before` to noise of `level`."""
        between = (before**2 - level**2) ** 0.5
        everything = Hidden(torch.zeros((), dtype=torch.bool, device=x.device))  # hides nothing
        posterior = Conditioned(energy.at(level), everything, x, between)
        # The step that suits the conditional law: as narrow as its measurement, or as the law itself.
        width = between / (1 + (between / level) ** 2) ** 0.5
        for state, info in sample(Langevin(self.step_size * width), posterior, x, self.steps, rng, compute=compute):
            if monitor is not None:
                monitor.update(state, info)
            yield state.x

    def generate(
        self,
        energy: EncoderEnergy,
        noise: Tensor,
        rng: Rng,
        *,
        monitor: Monitor | None = None,
        compute: Compute = "float32",
    ) -> Iterator[Tensor]:
        levels = self.schedule()
        x = energy.mean + (levels[0] ** 2 + energy.spread**2) ** 0.5 * noise
        yield from self._down(energy, x, levels, rng, monitor, compute)

    def continued(
        self,
        energy: EncoderEnergy,
        x: Tensor,
        rng: Rng,
        *,
        monitor: Monitor | None = None,
        compute: Compute = "float32",
    ) -> Iterator[Tensor]:
        """From any x [B, *event]: noise of the third lowest level is added, and what is likely given it sampled."""
        levels = self.schedule()[-3:]
        yield from self._down(energy, x + levels[0] * normal(x, rng), levels, rng, monitor, compute)

    def _down(
        self,
        energy: EncoderEnergy,
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
        _, slope = gradient(energy.at(levels[-1]), x)
        yield (x - levels[-1] ** 2 * slope).clamp(-1, 1)


Generator = Annealed | Chain | Stepwise


def described(generator: Generator) -> dict[str, Any]:
    """Kind and settings, for JSON; `from_description` reads it."""
    return {"kind": type(generator).__name__} | asdict(generator)


def from_description(description: dict[str, Any]) -> Generator:
    """What `described` wrote."""
    kinds = {kind.__name__: kind for kind in (Annealed, Chain, Stepwise)}
    return kinds[description["kind"]](**{name: v for name, v in description.items() if name != "kind"})
