"""Maximum likelihood by MCMC."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energies.bounded import Bounded
from energies.conditioned import Conditioned
from energies.diagnostics import saturation
from energies.energy import Energy
from energies.generators import Chain, tempered
from energies.objectives.batch import Batch, Metrics, labelled
from energies.observation import Hidden
from energies.samplers.langevin import Langevin
from energies.samplers.state import Rng, Sampler
from energies.sampling import LevelSampler, sample


@dataclass(frozen=True)
class MaximumLikelihood:
    """Maximum likelihood by MCMC: lower the energy of data, raise that of samples (Xie et al. 2016, 2017).

    The chains persist in a replay buffer (Du & Mordatch 2019); with restart = 1 every update runs them anew from noise,
    and what is learned is a short-run sampler (Nijkamp et al. 2019). Where part of the data is hidden, every step first
    samples it given what is seen and learns from the result: imputation and learning alternate.
    """

    steps: int = 10
    """Langevin steps of every chain between two updates."""

    step_size: float = 0.01
    """Langevin step size, in units of x (half the range of values)."""

    noise: float = 0.1
    """Factor of the Langevin noise; the published settings are as cold as this or colder."""

    negatives: int | None = None
    """Chains moved on in a step, of those there are; null: as many as there are data in it."""

    restart: float = 0.0
    """Share of them that begin anew from noise."""

    limit: float | None = None
    """Largest move of an element by its gradient, in units of x; null: none."""

    bound: float = 1.5
    """Chains stay within plus and minus that."""

    energy_weight: float = 0.0
    """Of the squared energies in the loss, which keeps them near 0."""

    data_noise: float = 0.0
    """Standard deviation of noise added to the data, so that it is no thinner than the samples."""

    sampling_steps: int = 300
    """Langevin steps from noise to a sample when the energy is learned."""

    sampler: LevelSampler | None = None
    """What moves the chains in place of those Langevin steps, its step size in units of x: mala, hmc, underdamped ...;
    it samples the energy at the temperature noise^2, exactly where it accepts or refuses."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.sampling_steps < 1 or (self.negatives is not None and self.negatives < 1):
            raise ValueError("steps, sampling_steps and negatives must be 1 or more")
        if not 0 <= self.restart <= 1 or not self.energy_weight >= 0 or not self.data_noise >= 0:
            raise ValueError("restart must be a share, energy_weight and data_noise not negative")
        self.generator()  # checks the rest

    def kernel(self) -> LevelSampler:
        """What moves the chains."""
        return self.sampler or Langevin(self.step_size, self.noise, limit=self.limit)

    def generator(self) -> Chain:
        """How an energy that was learned so makes samples; a short-run one with the very steps that it learned with."""
        steps = self.steps if self.restart == 1 else self.sampling_steps
        return Chain(steps, self.step_size, self.noise, self.limit, bound=self.bound)

    def _law(self, energy: Energy) -> Bounded:
        """What the chains sample: the energy within the bounds, at its temperature for samplers that have none."""
        warm = self.sampler is None or self.noise in (0.0, 1.0)
        return Bounded(energy if warm else tempered(energy, self.noise**2), -self.bound, self.bound)

    def __call__(self, energy: Energy, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        assert batch.chains is not None
        data, share = batch.x, batch.share
        if batch.hidden is not None and batch.imputed is not None:
            seen = Conditioned(self._law(energy), Hidden(batch.hidden), batch.x)
            data = advance(self.kernel(), seen, batch.imputed[share.rows], self.steps, share.stream(rng))
            batch.imputed.copy_(share.whole(data))
        chains = share.of(min(self.negatives or share.total, len(batch.chains)))
        drawn = batch.chains.draw(chains.total, self.restart, rng)
        own = drawn.own(chains.rows)
        theirs = labelled(energy, own.label)
        samples = advance(self.kernel(), self._law(theirs), own.x, self.steps, chains.stream(rng))
        batch.chains.put(drawn, chains.whole(samples))
        widened = data + self.data_noise * share.normal(data, rng) if self.data_noise else data
        low, high = labelled(energy, batch.label)(widened), theirs(samples)
        gap = (low.mean() - share.mean(high, chains)) / data[0].numel()
        squares = low.square().mean() + share.mean(high.square(), chains)
        loss = gap + self.energy_weight * squares / data[0].numel()
        metrics = {
            "energy_gap": gap.item(),
            "saturation": float(share.mean(saturation(samples), chains) - saturation(data).mean()),
            "buffer_age": float(batch.chains.age.float().mean()),
            "restarts": float(batch.chains.restarts),
        }
        return loss, metrics


def advance(sampler: Sampler, energy: Energy, x: Tensor, steps: int, rng: Rng) -> Tensor:
    """Chains from x [B, *event], moved on."""
    for state, _ in sample(sampler, energy, x, steps, rng):
        x = state.x
    return x
