"""How an energy learns: frozen dataclasses, each a loss of (energy, batch, rng) -> (loss, metrics)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energies.energy import Energy
from energies.observation import Conditioned, Hidden
from energies.refiner import Refiner
from energies.samplers.langevin import Langevin
from energies.sampling import sample

Metrics = dict[str, float]


@dataclass
class Batch:
    """What one step learns from.

    Attributes:
        x: [B, *event]; what is true of it, `known` tells.
        known: bool, broadcasting with x: where the truth is known and counts.
        hidden: bool, broadcasting with x: what is hidden from the model (None: nothing), for maximum likelihood.
        imputed: [B, *event], persistent chains of x given what is seen; written in place.
        chains: [N, *event], persistent chains of the model; written in place.
    """

    x: Tensor
    known: Tensor
    hidden: Tensor | None = None
    imputed: Tensor | None = None
    chains: Tensor | None = None


@dataclass(frozen=True)
class Denoising:
    """Denoising score matching of a `Refiner` at random noise levels (Vincent 2011; Song & Ermon 2019).

    At level tau the energy's estimate of the clean x, D(x) = x - (tau s)^2 dE/dx, is compared with it where it is
    known, in units of s and weighted by 1 + 1 / tau^2. At the infinite level D is the posterior mean.
    """

    mean_share: float = 0.5
    """Share of the steps that are spent on the infinite noise level, the posterior mean."""

    level: float = 0.6
    """Median of the finite noise levels, in units of the fill's expected error."""

    spread: float = 1.0
    """Standard deviation of the logarithm of the finite noise levels."""

    def __post_init__(self) -> None:
        if not 0 <= self.mean_share <= 1:
            raise ValueError(f"mean_share must lie in [0, 1], got {self.mean_share}")
        if not self.level > 0 or not self.spread >= 0:
            raise ValueError(f"level must be positive and spread not negative, got {self.level}, {self.spread}")

    def __call__(self, energy: Refiner, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        infinite = bool(torch.rand((), generator=rng, device=rng.device) < self.mean_share)
        if infinite:
            error = (energy.mean() - batch.x) * batch.known
            # Relative to the fill's expected error, so that hard places count as they do in the final error.
            loss = error.square().sum() / (energy.scale.square() * batch.known).expand_as(error).sum()
            return loss, {"mean_loss": loss.item()}
        shape = (len(batch.x), 1, 1, 1, 1)
        tau = self.level * (self.spread * torch.randn(shape, generator=rng, device=rng.device)).exp()
        noise = torch.randn(batch.x.shape, generator=rng, device=rng.device)
        with torch.no_grad():  # hidden values whose truth is unknown are imputed by their mean
            clean = torch.where(batch.known, batch.x, energy.mean())
        noisy = (clean + tau * energy.scale * noise).requires_grad_()
        error = (energy.at(tau).denoise(noisy, create_graph=True) - clean) / energy.scale * batch.known
        loss = (error.square() * (1 + tau**-2)).sum() / batch.known.expand_as(error).sum()
        return loss, {"noise_loss": loss.item()}


@dataclass(frozen=True)
class MaximumLikelihood:
    """Maximum likelihood by persistent MCMC (Xie et al. 2016, 2017): lower the energy of data, raise that of samples.

    Where part of the data is hidden, every step first samples it given what is seen and learns from the result:
    imputation and learning alternate.
    """

    steps: int = 10
    """Langevin steps of every chain between two updates."""

    step_size: float = 0.01
    """Langevin step size, in units of x (half the range of values)."""

    noise: float = 0.1
    """Factor of the Langevin noise; the published settings are as cold as this or colder."""

    def sampler(self) -> Langevin:
        return Langevin(self.step_size, self.noise)

    def __call__(self, energy: Energy, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        assert batch.chains is not None
        data = batch.x
        if batch.hidden is not None and batch.imputed is not None:
            seen = Conditioned(energy, Hidden(batch.hidden), batch.x)
            batch.imputed.copy_(self._advance(seen, batch.imputed, rng))
            data = batch.imputed
        batch.chains.copy_(self._advance(energy, batch.chains, rng))
        low, high = energy(data).mean(), energy(batch.chains).mean()
        gap = (low - high) / data[0].numel()
        return gap, {"energy_gap": gap.item()}

    def _advance(self, energy: Energy, x: Tensor, rng: torch.Generator) -> Tensor:
        for state, _ in sample(self.sampler(), energy, x, self.steps, rng):
            x = state.x
        return x.clamp(-1.5, 1.5)


Objective = Denoising | MaximumLikelihood
