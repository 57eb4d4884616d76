"""Underdamped Langevin dynamics in the BAOAB splitting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from energies.energy import Energy, gradient
from energies.samplers.state import Info, Rng, State, check_step_size, force, fresh, move, rms, start


@dataclass(frozen=True)
class Underdamped:
    """Langevin dynamics with a momentum that friction and noise renew: BAOAB (Leimkuhler & Matthews 2013).

    Half a kick, half a drift, an exact Ornstein-Uhlenbeck step of the momentum, half a drift, half a kick. Never
    rejects; the law of x has a bias of order step_size^2 in general, and none for a Gaussian energy.
    """

    step_size: float = 0.1
    """Step size epsilon, in units of x (of s where a scale is given)."""

    friction: float = 1.0
    """Rate at which the momentum is forgotten, per unit of time; a step is step_size long."""

    scale: Tensor | None = None
    """Scale s of each element (a mass matrix of s^-2), broadcasting with x; None: 1."""

    def __post_init__(self) -> None:
        check_step_size(self.step_size)
        if not self.friction > 0:
            raise ValueError(f"friction must be positive, got {self.friction}")

    def init(self, energy: Energy, x: Tensor) -> State:
        """At x, without a momentum: the first step draws it."""
        return start(energy, x)

    def step(self, energy: Energy, state: State, rng: Rng) -> tuple[State, Info]:
        p = fresh(energy, state.x, self.scale, rng) if state.momentum is None else state.momentum
        kick = force(energy, state.grad, self.scale) * (-self.step_size / 2)
        p = p + kick
        x, p = self._drift(energy, state.x, p)
        keep = math.exp(-self.friction * self.step_size)
        noise = fresh(energy, x, self.scale, rng) * math.sqrt(1 - keep**2)
        p = p * keep + noise
        x, p = self._drift(energy, x, p)
        energies, grad = gradient(energy, x)
        p = p + force(energy, grad, self.scale) * (-self.step_size / 2)
        info = Info(rms(kick) * self.step_size, rms(noise) * (self.step_size / 2))
        return State(x, energies, grad, p), info

    def _drift(self, energy: Energy, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        x, sign = move(energy, x, p * (self.step_size / 2), self.scale)
        return x, p if sign is None else p * sign
