"""From pictures back to the noise that a generator makes them of.

Only a deterministic generator is a function of its noise, and only what it can make comes back exactly:

- `Schedule` without Langevin steps follows an ordinary differential equation, which runs backwards as well (Song et al.
  2021, section 4.3). Its steps are undone one by one, each to a fixed point, so that what is inverted is the rule of
  the generator and not only the equation.
- `Chain` without noise is gradient descent of the energy (the short-run chain of Nijkamp et al. 2019): many starts end
  at one picture and at most pictures no start does, so that the nearest is sought by descending through all of its
  steps.
- A generator that draws noise on the way has no inverse. `deterministic` gives the nearest one without: Langevin noise
  is left out, and for `Stepwise` the probability flow of the same energies takes the place of its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from energies.bounded import Bounded
from energies.energy import Energy, gradient
from energies.family import Family
from energies.generators import Chain, Generator, Schedule, Stepwise
from energies.samplers.state import Rng, each, normal, rms

DESCENT = 0.1  # of the search through chains: its first step, in units of the noise
Step = Callable[[Tensor], Tensor]


def deterministic(generator: Generator) -> Schedule | Chain:
    """The generator as a function of its noise: without Langevin steps, or without their noise."""
    if isinstance(generator, Schedule):
        return replace(generator, steps=0)
    if isinstance(generator, Stepwise):
        return Schedule(high=generator.high, low=generator.low)
    return replace(generator, noise=0.0)


def decode(generator: Schedule | Chain, energy: Any, noise: Tensor) -> Tensor:
    """Pictures [B, *event] in [-1, 1] of standard normal noise [B, *event]."""
    *_, x = generator.generate(energy, noise, torch.Generator(noise.device))
    return x


def invert(generator: Schedule | Chain, energy: Any, x: Tensor, rng: Rng, rounds: int | None = None) -> Tensor:
    """Noise z [B, *event] with decode(z) near x [B, *event] in [-1, 1].

    Args:
        generator: a deterministic one.
        energy: that it samples.
        x: pictures.
        rng: of the noise of the lowest level, of which the generator leaves nothing in a picture: without it z would
            be smaller than any noise that the generator is given (on MNIST, a standard deviation of 0.46 in place of
            0.97). The search through a chain begins with it.
        rounds: of correction at every step of `Schedule`, or through the whole `Chain`; None: 3, or 60.

    ValueError: the generator draws noise on the way.
    """
    if generator != deterministic(generator):
        raise ValueError(f"{type(generator).__name__} draws noise on the way; take deterministic(generator)")
    if isinstance(generator, Chain):
        return _through(energy, generator, x, rng, 60 if rounds is None else rounds)
    levels = generator.noise_levels()
    noise = (rise(energy, x, levels, rng, 3 if rounds is None else rounds) - energy.mean) / levels[0]
    return noise if energy.scale is None else noise / energy.scale


def rise(energy: Family, x: Tensor, levels: Sequence[float], rng: Rng, rounds: int = 3) -> Tensor:
    """Clean x [B, *event] to the first of falling levels, from where `descend` leads back to it."""
    rising = list(reversed(levels))
    lowest = energy.at(rising[0])
    y = undo(lowest.denoise, x, energy.noised(x, normal(x, rng), rising[0]), rounds)
    for lower, upper in pairwise(rising):
        y = undo(partial(heun, energy, start=upper, end=lower), y, heun(energy, y, lower, upper), rounds)
    return y


def descend(energy: Family, x: Tensor, levels: Sequence[float]) -> Tensor:
    """x [B, *event] at the first of falling levels down the probability flow to a clean one, as `Schedule` does."""
    for upper, lower in pairwise(levels):
        x = heun(energy, x, upper, lower)
    return energy.at(levels[-1]).denoise(x)


def heun(energy: Family, x: Tensor, start: float, end: float) -> Tensor:
    """One step of Heun's rule along dx/dsigma = sigma dE/dx, between two levels in either direction."""
    slope = (x - energy.at(start).denoise(x)) / start
    ahead = x + (end - start) * slope
    ahead = (ahead - energy.at(end).denoise(ahead)) / end
    return x + (end - start) * (slope + ahead) / 2


def undo(step: Step, y: Tensor, guess: Tensor, rounds: int) -> Tensor:
    """x with step(x) near y [B, *event]: x <- x + y - step(x), which converges for steps of a moderate size.

    Of the guess and all rounds, each sample keeps the one that came nearest.
    """
    x = best = guess
    nearest = torch.full((len(y),), torch.inf, dtype=y.dtype, device=y.device)
    for _ in range(rounds + 1):
        miss = y - step(x)
        distance = rms(miss)
        better = distance < nearest
        best, nearest = torch.where(each(better, x), x, best), torch.where(better, distance, nearest)
        x = x + miss
    return best


def _through(energy: Energy, chain: Chain, x: Tensor, rng: Rng, rounds: int) -> Tensor:
    """The noise, of what Adam meets on its way from a random one, whose chain ends nearest to x [B, *event].

    The chain is not held in memory: its states are, and every step is taken again on the way back.
    """
    target = energy if chain.bound is None else Bounded(energy, -chain.bound, chain.bound)
    step, start = partial(_downhill, target, chain), chain.start(energy)
    noise = normal(x, rng).requires_grad_()
    best, nearest = noise.detach().clone(), torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
    optimizer = torch.optim.Adam([noise], DESCENT)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rounds + 1)
    for _ in range(rounds + 1):
        states = [start.of(noise.detach())]
        for _ in range(chain.steps + chain.calm):
            states.append(step(states[-1]).detach())
        miss = states[-1] - x
        distance = rms(states[-1].clamp(-1, 1) - x)
        better = distance < nearest
        best, nearest = torch.where(each(better, x), noise.detach(), best), torch.where(better, distance, nearest)
        noise.grad = _pull_back(start.of, [noise.detach()], _pull_back(step, states[:-1], miss))
        optimizer.step()
        schedule.step()
    return best


def _downhill(energy: Energy, chain: Chain, x: Tensor) -> Tensor:
    """A Langevin step without noise (energies/samplers/langevin.py), differentiable in x where x asks for it."""
    _, slope = gradient(energy, x, create_graph=x.requires_grad)
    move = -(chain.step_size**2) / 2 * slope
    if chain.limit is not None:
        move = move.clamp(-chain.limit, chain.limit)
    return energy.reflect(energy.project(x + move))[0]


def _pull_back(step: Step, states: Sequence[Tensor], v: Tensor) -> Tensor:
    """v [B, *event] at the end of a chain times the Jacobian of its steps, which began at `states`."""
    for state in reversed(states):
        with torch.enable_grad():
            leaf = state.requires_grad_()
            (v,) = torch.autograd.grad(step(leaf), leaf, v)
    return v
