"""Recovery likelihood: maximum likelihood of x given a noisier x."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from energies.family import Family
from energies.generators import Stepwise
from energies.objectives.batch import Batch, Metrics, labelled


@dataclass(frozen=True)
class RecoveryLikelihood:
    """Maximum likelihood of every noise level given the one above it (Gao et al. 2021, eq. 8-10).

    What is likely given a noisier x has hardly more than one mode: a few Langevin steps from there sample it.
    """

    stepwise: Stepwise = field(default_factory=Stepwise)
    """The noise levels and the Langevin steps between them, the same as in sampling."""

    def generator(self) -> Stepwise:
        """How an energy that was learned so makes samples."""
        return self.stepwise

    def __call__(self, energy: Family, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        pairs = list(pairwise(self.stepwise.noise_levels()))
        before, level = pairs[int(torch.randint(len(pairs), (), generator=rng, device=rng.device))]
        energy = labelled(energy, batch.label)

        data = batch.x + level * batch.share.normal(batch.x, rng)
        noisier = data + (before**2 - level**2) ** 0.5 * batch.share.normal(data, rng)
        *_, samples = self.stepwise.step(energy, noisier, level, before, batch.share.stream(rng))
        here = energy.at(level)
        gap = (here(data) - here(samples)).mean() / data[0].numel()
        # A wide law moves its energies less for the same error: all levels count alike.
        return gap * level / energy.spread, {"energy_gap": gap.item()}
