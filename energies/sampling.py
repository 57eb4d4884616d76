"""The two loops: chains from a start, step by step; and chains down the noise levels of a family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from energies.adaptation import warm_up as adapted
from energies.compute import Compute, prepared
from energies.diagnostics import Monitor
from energies.energy import Energy
from energies.family import Family
from energies.samplers import (
    HMC,
    MALA,
    Langevin,
    ParallelTempering,
    RandomWalk,
    Underdamped,
)
from energies.samplers.state import Info, Rng, Sampler, State

if TYPE_CHECKING:
    from energies.schedule import Schedule

LevelSampler: TypeAlias = Langevin | Underdamped | MALA | HMC | RandomWalk | ParallelTempering
"""Samplers of continuous x with a step size."""


def sample(
    sampler: Sampler, energy: Energy, x: Tensor, steps: int, rng: Rng, *, compute: Compute = "float32"
) -> Iterator[tuple[State, Info]]:
    """Run chains from x [B, *event]; yields after every step, so that the caller can log, stop, save or draw.

    Args:
        sampler: the algorithm.
        energy: what is sampled, perhaps `Conditioned`.
        x: starts of the chains; no graph is kept from them on.
        steps: how many.
        rng: one stream, or one a chain.
        compute: number format of convolutions: "float32", "bfloat16", or "auto" for bfloat16 where it is fast. x keeps
            its own, and so do energies that a sampler accepts by.
    """
    energy = prepared(energy, compute)
    state = sampler.init(energy, x.detach())
    for _ in range(steps):
        state, info = sampler.step(energy, state, rng)
        yield state, info


def anneal(
    family: Family,
    schedule: Schedule,
    x: Tensor,
    rng: Rng,
    *,
    sampler: LevelSampler | None = None,
    warm_up: int = 0,
    levels: Sequence[float] | None = None,
    monitor: Monitor | None = None,
    compute: Compute = "float32",
) -> Iterator[tuple[float, Tensor]]:
    """Sample by lowering the noise: steps of a sampler at the levels, between them a predictor (Song 2021, alg. 4).

    Each level tau down to `schedule.down_to` is sampled by `schedule.steps` steps. With D(x) the clean x that the
    family expects (`denoise`), the probability flow is followed from each level to the next tau' by one Euler step,
    x' = D + (tau' / tau) (x - D), or one of Heun's rule (Karras et al. 2022, algorithm 1). The last one, to tau' = 0,
    ends at D(x), so that the result carries no noise that the model does not mean. A measurement is known to the
    family alone: `energy.posterior(observation, y)` is one.

    Args:
        family: energies by noise level.
        schedule: the levels, steps and predictor.
        x: starts [B, *event] at the first level, noise included: `family.start(noise, level)`.
        rng: one stream, or one a chain.
        sampler: of the steps, its step size in units of the level; None: Langevin of `schedule.step_size`.
        warm_up: steps at every level that first adapt the sampler's step size to its best acceptance; 50 or more, or 0.
        levels: falling noise levels in place of the schedule's.
        monitor: is shown every step.
        compute: as for `sample`.

    Yields:
        (the level arrived at, x there), the last at level 0.
    """
    falling = schedule.noise_levels() if levels is None else list(levels)
    kernel: Any = Langevin(schedule.step_size) if sampler is None else sampler
    x = x.detach()
    for level, following in zip(falling, [*falling[1:], 0.0], strict=True):
        target = prepared(family.at(level), compute)  # once bound: a prepared energy cannot be bound again
        here: Any = at_level(kernel, level, family.scale)
        if warm_up and schedule.steps and level >= schedule.down_to:
            here, found = adapted(here, family.at(level), x, warm_up, rng, scale=False, compute=compute)
            kernel, x = replace(here, step_size=here.step_size / level, scale=kernel.scale), found.x
        state = here.init(target, x)
        for _ in range(schedule.steps if level >= schedule.down_to else 0):
            state, info = here.step(target, state, rng)
            if monitor is not None:
                monitor.update(state, info, level=level)
        clean = target.denoise(state.x, slope=state.grad if state.grad.numel() else None)  # a walk has no gradient
        if not following:
            x = clean
        elif schedule.predictor == "euler":
            x = clean + (following / level) * (state.x - clean)
        else:
            slope = (state.x - clean) / level
            ahead = state.x + (following - level) * slope
            there = (ahead - prepared(family.at(following), compute).denoise(ahead)) / following
            x = state.x + (following - level) / 2 * (slope + there)
        yield following, x


def at_level(sampler: LevelSampler, level: float, scale: Tensor | None) -> LevelSampler:
    """A sampler whose step size, and scale, are in units of a noise level, in units of x."""
    if isinstance(sampler, ParallelTempering):
        return replace(sampler, sampler=at_level(sampler.sampler, level, scale))
    both = scale if sampler.scale is None or scale is None else sampler.scale * scale
    found = replace(sampler, step_size=sampler.step_size * level, scale=sampler.scale if both is None else both)
    return replace(found, friction=found.friction / level) if isinstance(found, Underdamped) else found
