"""Warm-up: find a step size and a diagonal scale, then stop adapting."""

from __future__ import annotations

import dataclasses
import math
from typing import TypeVar

import torch
from torch import Tensor

from energies.compute import Compute, prepared
from energies.energy import Energy
from energies.samplers.hmc import HMC
from energies.samplers.mala import MALA
from energies.samplers.random_walk import RandomWalk
from energies.samplers.state import Rng, Sampler, State

S = TypeVar("S", bound=Sampler)

TARGET: dict[type, float] = {HMC: 0.8, MALA: 0.574, RandomWalk: 0.234}
"""Acceptances that serve best in many dimensions; HMC's is higher for the sake of hard corners (Betancourt 2014)."""


def warm_up(
    sampler: S,
    energy: Energy,
    x: Tensor,
    steps: int,
    rng: Rng,
    *,
    target: float | None = None,
    scale: bool = True,
    compute: Compute = "float32",
) -> tuple[S, State]:
    """Adapt step size and scale to an energy, and return the sampler as it shall stay, with the state reached.

    The step size follows the mean acceptance of all chains by dual averaging (Hoffman & Gelman 2014, section 3.2).
    The scale is the standard deviation of every element over chains and steps, in windows that double in length, as in
    Stan; with it the step size starts afresh. Chains share both, so here sample k does depend on its batch.

    Args:
        sampler: with a Metropolis test.
        energy: what will be sampled.
        x: starts [B, *event].
        steps: of the warm-up.
        rng: one stream, or one a chain.
        target: acceptance to reach; None: what suits the algorithm.
        scale: whether to adapt the scale as well. Needs several chains, or many steps.
        compute: number format, as for `sample`.
    """
    if not isinstance(sampler, HMC | MALA | RandomWalk):
        raise TypeError(
            f"a warm-up needs MALA, HMC or RandomWalk, which accept or refuse; got {type(sampler).__name__}"
        )
    if steps < 50:
        raise ValueError(f"a warm-up needs 50 steps or more, got {steps}")
    target = TARGET[type(sampler)] if target is None else target
    if not 0 < target < 1:
        raise ValueError(f"target must lie between 0 and 1, got {target}")
    energy = prepared(energy, compute)
    state = sampler.init(energy, x)
    averaging = DualAveraging(sampler.step_size, target)
    ends = _windows(steps) if scale else []
    spread = _Spread(x)
    for number in range(steps):
        sampler = dataclasses.replace(sampler, step_size=averaging.step_size)
        state, info = sampler.step(energy, state, rng)
        assert info.acceptance is not None
        averaging.update(float(info.acceptance.mean()))
        spread.add(state.x)
        if number + 1 in ends:
            sampler = dataclasses.replace(sampler, scale=spread.scale())
            averaging = DualAveraging(1.0 / x[0].numel() ** 0.25, target)
            spread = _Spread(x)
    return dataclasses.replace(sampler, step_size=averaging.final()), state


class DualAveraging:
    """Step sizes whose acceptance tends to a target (Hoffman & Gelman 2014, eq. 6).

    Calmer than theirs (gamma 0.2, not 0.05, and no first leap): the mean over many chains needs less averaging.
    """

    def __init__(self, step_size: float, target: float) -> None:
        self.step_size, self.target = step_size, target
        self._centre = math.log(step_size)
        self._error = self._mean = 0.0
        self._count = 0

    def update(self, acceptance: float) -> None:
        """Learn of the mean acceptance at the present step size."""
        self._count += 1
        self._error += (self.target - acceptance - self._error) / (self._count + 10)
        log_step = self._centre - math.sqrt(self._count) / 0.2 * self._error
        weight = self._count**-0.75
        self._mean = weight * log_step + (1 - weight) * self._mean
        self.step_size = math.exp(log_step)

    def final(self) -> float:
        """The step size to stay with."""
        return math.exp(self._mean) if self._count else self.step_size


def _windows(steps: int) -> set[int]:
    """Ends of the windows of the scale: the first at 15 %, each twice as long, the last at 80 % of the steps."""
    ends, end, length = set(), round(0.15 * steps), round(0.1 * steps)
    while end + 2 * length < 0.8 * steps:
        ends.add(end)
        end, length = end + length, 2 * length
    return ends | {round(0.8 * steps)}


class _Spread:
    """Standard deviation of every element over chains and steps, shrunk a little towards their mean square."""

    def __init__(self, x: Tensor) -> None:
        self._sum = torch.zeros_like(x[0], dtype=torch.float64)
        self._square = torch.zeros_like(self._sum)
        self._shift = x.double().mean(0)
        self._count = 0

    def add(self, x: Tensor) -> None:
        d = x.double() - self._shift
        self._sum += d.sum(0)
        self._square += d.square().sum(0)
        self._count += len(x)
        self._dtype = x.dtype

    def scale(self) -> Tensor:
        mean = self._sum / self._count
        variance = (self._square / self._count - mean**2).clamp(min=0)
        overall = variance.mean().clamp(min=1e-12)
        share = self._count / (self._count + 5)
        return (share * variance + (1 - share) * 1e-3 * overall).clamp(min=1e-12 * overall).sqrt().to(self._dtype)
