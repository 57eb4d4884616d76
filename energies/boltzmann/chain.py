"""Samples of a machine by block Gibbs sampling of all its units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from energies.boltzmann.latent import unwrapped
from energies.compute import Compute
from energies.diagnostics import Monitor
from energies.energy import Energy
from energies.generators import Chain
from energies.samplers.state import Info, Rng, State
from energies.sampling import LevelSampler

HEATED = 0.5  # share of the sweeps in which chains from noise cool down


@dataclass(frozen=True)
class GibbsChain(Chain):
    """Block Gibbs sweeps over x and the hidden units of a machine, from noise: every unit is drawn once a sweep.

    Chains from noise begin at an inverse temperature of 0, which rises to 1 in the first half of the sweeps: those that
    begin at 1 stay in the first hollow that they find. Of `Chain` only `steps` counts, the number of sweeps: there is
    no step size. Given a measurement, what is seen stays (clamping).
    """

    bound: float | None = None

    def generate(
        self, energy: Energy, noise: Tensor, rng: Rng, *, sampler: LevelSampler | None = None, warm_up: int = 0,
        monitor: Monitor | None = None, compute: Compute = "float32",
    ) -> Iterator[Tensor]:  # fmt: skip
        """TypeError: the energy is no machine, or a sampler of continuous x is asked for."""
        machine, _ = unwrapped(energy)
        x = machine.rounded(machine.x_of(noise.flatten(1) + 0.5 if machine.visible == "binary" else noise.flatten(1)))
        yield from self._swept(energy, x, rng, int(HEATED * self.steps), sampler, monitor)

    def continued(
        self, energy: Energy, x: Tensor, rng: Rng, *, sampler: LevelSampler | None = None, warm_up: int = 0,
        monitor: Monitor | None = None, compute: Compute = "float32",
    ) -> Iterator[Tensor]:  # fmt: skip
        yield from self._swept(energy, x, rng, 0, sampler, monitor)

    @torch.no_grad()
    def _swept(
        self, energy: Energy, x: Tensor, rng: Rng, cooling: int, sampler: LevelSampler | None, monitor: Monitor | None
    ) -> Iterator[Tensor]:
        """All sweeps from x on, the first `cooling` of them below an inverse temperature of 1."""
        if sampler is not None:
            raise TypeError(f"{type(sampler).__name__} moves continuous x: a machine is sampled by Gibbs sweeps alone")
        machine, clamp = unwrapped(energy)
        state = machine.begin(x, rng, clamp)
        for sweep in range(self.steps):
            state = machine.move(state, rng, clamp, min(1.0, sweep / cooling) if cooling else 1.0)
            x = machine.seen_in(state)
            if monitor is not None:
                monitor.update(State(x, energy(x), x.new_empty(0)), Info())
            yield x
        yield x.clamp(-1, 1)
