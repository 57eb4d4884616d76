"""The one loop: chains from a start, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from energies.compute import Compute, prepared
from energies.diagnostics import Monitor
from energies.energy import Energy, gradient
from energies.observation import Conditioned, Hidden
from energies.samplers.langevin import Langevin
from energies.samplers.state import Info, Rng, Sampler, State


def sample(
    sampler: Sampler, energy: Energy, x: Tensor, steps: int, rng: Rng, *, compute: Compute = "float32"
) -> Iterator[tuple[State, Info]]:
    """Run chains from x [B, *event]; yields after every step, so that the caller can log, stop, save or draw.

    Args:
        sampler: the algorithm.
        energy: what is sampled, perhaps `Conditioned`.
        x: starts of the chains.
        steps: how many.
        rng: one stream, or one a chain.
        compute: number format of convolutions: "float32", "bfloat16", or "auto" for bfloat16 where it is fast. x keeps
            its own, and so do energies that a sampler accepts by.
    """
    energy = prepared(energy, compute)
    state = sampler.init(energy, x)
    for _ in range(steps):
        state, info = sampler.step(energy, state, rng)
        yield state, info


class NoisyEnergy(Protocol):
    """A family of energies over noise levels: E(. ; tau) is that of x + tau s z, with s the energy's `scale`."""

    @property
    def scale(self) -> Tensor: ...

    def at(self, noise: float) -> Energy: ...


def anneal(
    energy: NoisyEnergy,
    levels: Sequence[float],
    x: Tensor,
    rng: Rng,
    *,
    steps: int = 1,
    step_size: float = 0.5,
    down_to: float = 0.0,
    heun: bool = False,
    observation: Hidden | None = None,
    seen_noise: Tensor | None = None,
    monitor: Monitor | None = None,
    compute: Compute = "float32",
) -> Iterator[tuple[float, Tensor]]:
    """Sample by lowering the noise: Langevin steps at the levels, between them a predictor (Song 2021, algorithm 4).

    Each level tau down to `down_to` is sampled by `steps` Langevin steps of size step_size * tau * s. From each level
    the probability flow is followed to the next by one Euler step x - tau (tau - tau') s^2 dE/dx, or one of Heun's rule
    (Karras et al. 2022, algorithm 1); the last one, to tau' = 0, ends at the mean of what is left, so that the result
    carries no noise that the model does not mean.

    Args:
        energy: energies by noise level.
        levels: falling noise levels, in units of the energy's scale.
        x: starts [B, *event] at the first level, its noise included.
        rng: one stream, or one a chain.
        steps: Langevin steps a level.
        step_size: of those, in units of the level.
        down_to: the level below which none are taken.
        heun: whether the slope at the level arrived at counts too: twice the gradients, an error of second order.
        observation: elements that are seen, with the values they have in x, and do not move; None: all move.
        seen_noise: standard normal [B, *event]: what is seen carries that much noise times the level, for energies that
            were not told what is seen and expect all of x to be as noisy (Song et al. 2021, appendix I.2).
        monitor: is shown every Langevin step.
        compute: as for `sample`.

    Yields:
        (the level arrived at, x there), the last at level 0.
    """
    s, seen = energy.scale, x

    def hold(x: Tensor, target: Energy, level: float) -> tuple[Tensor, Energy]:
        """x with what is seen at that level, and the energy that keeps it there."""
        if observation is None:
            return target.project(x), target
        held = seen if seen_noise is None else seen + level * s * seen_noise
        return observation.project(x, held), Conditioned(target, observation, held)

    for level, following in zip(levels, [*levels[1:], 0.0], strict=True):
        x, target = hold(x, energy.at(level), level)
        target = prepared(target, compute)  # once bound: a prepared energy cannot be bound again
        sampler = Langevin(step_size=step_size * level, scale=s)
        state = sampler.init(target, x)
        for _ in range(steps if level >= down_to else 0):
            state, info = sampler.step(target, state, rng)
            if monitor is not None:
                monitor.update(state, info)
        slope = state.grad * s**2 * level
        ahead = energy.at(following or level)
        x, ahead = hold(state.x - slope * (level - following), ahead, following)
        if heun and following:
            _, grad = gradient(prepared(ahead, compute), x)
            x = ahead.project(state.x - (slope + grad * s**2 * following) / 2 * (level - following))
        yield following, x


def karras(high: float, low: float, num: int, rho: float = 5.0) -> list[float]:
    """`num` noise levels from high to low, evenly spaced in their rho-th root (Karras et al. 2022, eq. 5, rho = 7)."""
    ends = high ** (1 / rho), low ** (1 / rho)
    return [(ends[0] + i / max(num - 1, 1) * (ends[1] - ends[0])) ** rho for i in range(num)]
