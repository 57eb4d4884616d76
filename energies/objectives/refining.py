"""Denoising of a `ConditionalEnergy`, which is told what is seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energies.conditional import ConditionalEnergy
from energies.objectives.batch import Batch, Metrics


@dataclass(frozen=True)
class Denoising:
    """Denoising score matching of a `ConditionalEnergy` at random noise levels (Vincent 2011; Song & Ermon 2019).

    At level tau the energy's estimate of the clean x, D(x) = x - (tau s)^2 dE/dx, is compared with it where it is
    known, in units of s and weighted by 1 + 1 / tau^2. At the infinite level D is the posterior mean.
    """

    mean_share: float = 0.5
    """Share of the steps that are spent on the infinite noise level, the posterior mean."""

    level: float = 0.6
    """Median of the finite noise levels, in units of the initial estimate's expected error."""

    spread: float = 1.0
    """Standard deviation of the logarithm of the finite noise levels."""

    def __post_init__(self) -> None:
        if not 0 <= self.mean_share <= 1:
            raise ValueError(f"mean_share must lie in [0, 1], got {self.mean_share}")
        if not self.level > 0 or not self.spread >= 0:
            raise ValueError(f"level must be positive and spread not negative, got {self.level}, {self.spread}")

    def __call__(self, energy: ConditionalEnergy, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        known = batch.known
        assert known is not None
        infinite = bool(torch.rand((), generator=rng, device=rng.device) < self.mean_share)
        if infinite:
            error = (energy.posterior_mean() - batch.x) * known
            # Relative to the estimate's expected error, so that hard places count as they do in the final error.
            loss = batch.share.ratio(error.square().sum(), (energy.scale.square() * known).expand_as(error).sum())
            return loss, {"mean_loss": loss.item()}
        one = batch.x.new_empty(len(batch.x), *[1] * (batch.x.ndim - 1))
        tau = self.level * (self.spread * batch.share.normal(one, rng)).exp()
        noise = batch.share.normal(batch.x, rng)
        with torch.no_grad():  # hidden values whose truth is unknown are imputed by their mean
            clean = batch.x if bool(known.all()) else torch.where(known, batch.x, energy.posterior_mean())
        noisy = (clean + tau * energy.scale * noise).requires_grad_()
        error = (energy.at(tau).denoise(noisy, create_graph=True) - clean) / energy.scale * known
        loss = batch.share.ratio((error.square() * (1 + tau**-2)).sum(), known.expand_as(error).sum())
        return loss, {"noise_loss": loss.item()}
