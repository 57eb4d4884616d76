"""log Z of any energy of continuous x by annealed importance sampling from a Gaussian base, both ways: a bracket.

Forward runs go from exact samples of the base over (1 - b) E_base + b E to the energy, by HMC at every b (Neal 2001);
reverse runs go back from their ends, drawn by weight and moved on (Grosse et al. 2015). As far as these have the law of
the energy the two bracket log Z; where chains do not mix, they lie far apart, which is to be said and not averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from energies.annealed_importance import Bracket
from energies.bounded import Bounded
from energies.energy import Energy
from energies.function import FunctionEnergy
from energies.importance import log_ratio
from energies.samplers.hmc import HMC

BEST = 0.65  # acceptance of HMC in many dimensions
RATE = 0.3  # of the logarithm of the step size, as the first runs find it
LEAST = 0.02  # standard deviation of an element of the base, at least, in units of x
MOST = 0.999999  # chance, of a normal variable, that is still told from 1


@dataclass(frozen=True)
class Base:
    """Normal, independent elements of x, within plus and minus a bound where there is one.

    Attributes:
        mean, spread: of each element, [*event].
        bound: of x; None: it has none.
    """

    mean: Tensor
    spread: Tensor
    bound: float | None = None

    @classmethod
    def of(cls, x: Tensor, bound: float | None = None) -> Base:
        """With mean and spread of data x [n, *event]."""
        return cls(x.mean(0), x.std(0).clamp(min=LEAST), bound)

    @property
    def energy(self) -> FunctionEnergy:
        """E(x) = |(x - mean) / spread|^2 / 2."""
        return FunctionEnergy(lambda x: ((x - self.mean) / self.spread).square().flatten(1).sum(1) / 2)

    @property
    def log_z(self) -> float:
        """Of that energy over all allowed x."""
        low, high = self._chances()
        inside = (high - low).clamp(min=1e-300).log()
        return float((self.spread.double().log() + math.log(2 * math.pi) / 2 + inside).sum())

    def draw(self, num: int, rng: torch.Generator) -> Tensor:
        """Exact samples [num, *event]."""
        chance = torch.rand(num, *self.mean.shape, generator=rng, dtype=torch.float64, device=self.mean.device)
        low, high = self._chances()
        z = torch.special.ndtri((low + (high - low) * chance).clamp(1 - MOST, MOST))
        x = self.mean + self.spread * z.to(self.mean)
        return x if self.bound is None else x.clamp(-self.bound, self.bound)

    def _chances(self) -> tuple[Tensor, Tensor]:
        """Of a normal variable below the lower and the upper bound."""
        if self.bound is None:
            return torch.zeros_like(self.mean, dtype=torch.float64), torch.ones_like(self.mean, dtype=torch.float64)
        ends = ((sign * self.bound - self.mean) / self.spread for sign in (-1, 1))
        low, high = (torch.special.ndtr(end.double()) for end in ends)
        return low, high


def gaussian_log_z(
    energy: Energy, base: Base, rng: torch.Generator, *, runs: int = 32, steps: int = 200, leapfrog: int = 5,
    settle: int = 50,
) -> Bracket:  # fmt: skip
    """The bracket of log Z of an energy of clean x, or at a bound level, neither bounded nor conditioned itself.

    Args:
        energy: of x as the base.
        base: where runs begin; its bound is that of the energy.
        rng: one stream for all.
        runs: independent chains each way.
        steps: values of b, between 0 and 1 as far apart as (k / steps)^2.
        leapfrog: steps of a trajectory of HMC, one at each b, whose size a quarter of the runs find first.
        settle: trajectories of the ends of forward runs before reverse ones start there.
    """
    betas = [(k / steps) ** 2 for k in range(steps + 1)]
    few = max(4, runs // 4)
    sizes = [0.2] * (steps + 1)
    _run(energy, base, base.draw(few, rng), betas, sizes, leapfrog, rng, adapt=True)
    weights, ends = _run(energy, base, base.draw(runs, rng), betas, sizes, leapfrog, rng)
    forward = log_ratio(weights, 1)
    chance = (weights - weights.max()).exp().nan_to_num(0.0)
    x = ends[chance.multinomial(runs, replacement=True, generator=rng)]
    target, sampler = _within(energy, base), HMC(sizes[-1], leapfrog, base.spread)
    state = sampler.init(target, x)
    for _ in range(settle):
        state, _ = sampler.step(target, state, rng)
    backwards, _ = _run(energy, base, state.x, betas[::-1], sizes[::-1], leapfrog, rng)
    return Bracket.of(forward, log_ratio(backwards, -1), base.log_z)


def _within(energy: Energy, base: Base) -> Energy:
    return energy if base.bound is None else Bounded(energy, -base.bound, base.bound)


def _run(
    energy: Energy, base: Base, x: Tensor, betas: Sequence[float], sizes: list[float], leapfrog: int,
    rng: torch.Generator, adapt: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Log weights [B], float64, and ends. Step sizes are those at each b; `adapt` finds them, in place."""
    weights, reference = torch.zeros(len(x), dtype=torch.float64, device=x.device), base.energy
    size = sizes[0]
    for number, (before, after) in enumerate(pairwise(betas)):
        if number:
            between = _within((1 - before) * reference + before * energy, base)
            sampler = HMC(size if adapt else sizes[number], leapfrog, base.spread)
            state, info = sampler.step(between, sampler.init(between, x), rng)
            x = state.x
            if adapt and info.acceptance is not None:
                size *= math.exp(RATE * (float(info.acceptance.mean()) - BEST))
                sizes[number] = size
        with torch.no_grad():
            weights += (after - before) * (reference(x) - energy(x)).double()
    if adapt:
        sizes[0], sizes[-1] = sizes[1], size
    return weights, x
