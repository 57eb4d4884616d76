"""Unadjusted Langevin dynamics."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from energies.energy import Energy, gradient
from energies.samplers.state import Info, Rng, State, force, fresh, move, rms, start


@dataclass(frozen=True)
class Langevin:
    """x <- x - (step_size^2 / 2) s^2 dE/dx + step_size s noise z, z standard normal (Welling & Teh 2011, eq. 3).

    Never rejects, so its stationary law is exp(-E) only up to a bias of order step_size^2. `noise` other than 1 samples
    at temperature noise^2; 0 is gradient descent.
    """

    step_size: float = 0.1
    """Step size epsilon, in units of x (of s where a scale is given)."""

    noise: float = 1.0
    """Factor of the noise; 1 is the temperature of the energy, 0 none."""

    scale: Tensor | None = None
    """Scale s of each element (a diagonal preconditioner), broadcasting with x; None: 1."""

    limit: float | None = None
    """Largest move of an element by its gradient, in units of x (of s); None: any. A limit that bites biases more."""

    def __post_init__(self) -> None:
        if self.limit is not None and not self.limit > 0:
            raise ValueError(f"limit must be positive, or None, got {self.limit}")
        if not self.step_size > 0 or not self.noise >= 0:
            raise ValueError(f"step_size must be positive and noise not negative, got {self.step_size}, {self.noise}")

    def init(self, energy: Energy, x: Tensor) -> State:
        return start(energy, x)

    def step(self, energy: Energy, state: State, rng: Rng) -> tuple[State, Info]:
        drift = force(energy, state.grad, self.scale) * (-(self.step_size**2) / 2)
        if self.limit is not None:
            drift = drift.clamp(-self.limit, self.limit)
        noise = fresh(energy, state.x, self.scale, rng) * (self.step_size * self.noise)
        x, _ = move(energy, state.x, drift + noise, self.scale)
        return State(x, *gradient(energy, x)), Info(rms(drift), rms(noise))
