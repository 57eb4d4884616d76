"""Noise levels, and how they are gone down: the one set of settings of annealed sampling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from energies.adaptation import warm_up as adapted
from energies.compute import Compute
from energies.diagnostics import Monitor
from energies.family import Family
from energies.samplers.langevin import Langevin
from energies.samplers.state import Rng, normal
from energies.sampling import LevelSampler, anneal, at_level, sample

RETURN = 0.6  # noise level that long chains from data go back to: enough for a digit to change


@dataclass(frozen=True)
class Schedule:
    """From noise of the highest level down the levels, of an energy of many noise levels: a predictor between levels,
    and steps of a sampler at each on request (Song et al. 2021, algorithm 4)."""

    levels: int = 18
    """Noise levels."""

    high: float = 20.0
    """The highest, in units of the energy's scale: of x, or of the expected error of an initial estimate."""

    low: float = 0.03
    """The lowest."""

    steps: int = 0
    """Steps of the sampler at every level, down to `down_to`."""

    step_size: float = 0.4
    """Of Langevin steps, in units of the level."""

    down_to: float = 0.0
    """The lowest level that has such steps; below it x follows the probability flow alone. At low levels chains may
    drift to x that no noisy data resemble, such as pictures without their object, which learning never made unlikely.
    0: all have them; above `high`: none."""

    spacing: Literal["karras", "geometric"] = "karras"
    """karras: levels evenly spaced in their fifth root (Karras et al. 2022, eq. 5); geometric: each the same share of
    the one before."""

    predictor: Literal["heun", "euler"] = "heun"
    """Of the probability flow between levels: euler takes one gradient; heun two, with an error of second order (Karras
    et al. 2022, algorithm 1)."""

    def __post_init__(self) -> None:
        if self.levels < 1 or not 0 < self.low <= self.high or self.steps < 0 or not self.step_size > 0:
            raise ValueError("levels must be 1 or more, high >= low > 0, steps not negative, step_size positive")
        if self.levels > 1 and self.low == self.high:
            raise ValueError(f"high must be above low for {self.levels} levels, got {self.high} and {self.low}")
        if not self.down_to >= 0:
            raise ValueError(f"down_to must not be negative, got {self.down_to}")

    def noise_levels(self) -> list[float]:
        """The levels, falling."""
        space = karras if self.spacing == "karras" else geometric
        return space(self.high, self.low, self.levels)

    def longer(self, factor: float) -> Schedule:
        """With so many times the levels."""
        return replace(self, levels=max(2, round(self.levels * factor)))

    def generate(
        self, energy: Family, noise: Tensor, rng: Rng, *, sampler: LevelSampler | None = None, warm_up: int = 0,
        monitor: Monitor | None = None, compute: Compute = "float32",
    ) -> Iterator[Tensor]:  # fmt: skip
        """x step by step of standard normal noise [B, *event]; the last is a sample, within -1 and 1."""
        start = energy.start(noise, self.noise_levels()[0])
        for level, x in anneal(
            energy, self, start, rng, sampler=sampler, warm_up=warm_up, monitor=monitor, compute=compute
        ):
            yield x if level else x.clamp(-1, 1)

    def continued(
        self, energy: Family, x: Tensor, rng: Rng, *, sampler: LevelSampler | None = None, warm_up: int = 0,
        monitor: Monitor | None = None, compute: Compute = "float32",
    ) -> Iterator[Tensor]:  # fmt: skip
        """From any x [B, *event]: noise of level RETURN is added, sampled by Langevin steps, and taken away again."""
        x = energy.noised(x, normal(x, rng), RETURN)
        width = RETURN * energy.width / (RETURN**2 + energy.width**2) ** 0.5
        kernel = Langevin(self.step_size) if sampler is None else sampler
        target = energy.at(RETURN)
        kernel = at_level(kernel, width, energy.scale)
        if warm_up:
            kernel, found = adapted(kernel, target, x, warm_up, rng, scale=False, compute=compute)
            x = found.x
        for state, info in sample(kernel, target, x, self.levels, rng, compute=compute):
            if monitor is not None:
                monitor.update(state, info)
            x = state.x
            yield x
        levels = [RETURN, *(level for level in self.noise_levels() if level < RETURN)]
        below = replace(self, steps=0)
        for level, moved in anneal(energy, below, x, rng, levels=levels, compute=compute):
            yield moved if level else moved.clamp(-1, 1)


def karras(high: float, low: float, num: int, rho: float = 5.0) -> list[float]:
    """`num` noise levels from high to low, evenly spaced in their rho-th root (Karras et al. 2022, eq. 5, rho = 7)."""
    ends = high ** (1 / rho), low ** (1 / rho)
    return [(ends[0] + i / max(num - 1, 1) * (ends[1] - ends[0])) ** rho for i in range(num)]


def geometric(high: float, low: float, num: int) -> list[float]:
    """`num` noise levels from high to low, each the same share of the one before."""
    return [high * math.exp(math.log(low / high) * i / max(num - 1, 1)) for i in range(num)]
