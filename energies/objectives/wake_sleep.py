"""Learning of Helmholtz machines by wake-sleep, plain and reweighted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from energies.boltzmann.chain import GibbsChain
from energies.boltzmann.helmholtz import Helmholtz
from energies.energy import Energy
from energies.objectives.batch import Batch, Metrics


@dataclass(frozen=True)
class WakeSleep:
    """Wake: what makes x learns from causes that are recognised in data. Sleep: what recognises learns from dreams, of
    which the causes are known (Hinton, Dayan, Frey & Neal 1995). With more than one sample causes are weighed by how
    well they explain x, and both learn from them: reweighted wake-sleep (Bornschein & Bengio 2015)."""

    samples: int = 5
    """Causes that are recognised of each x; 1: plain wake-sleep."""

    sampling_steps: int = 100
    """Steps of a chain given part of x; of whole x every one is an exact sample."""

    def __post_init__(self) -> None:
        if self.samples < 1 or self.sampling_steps < 1:
            raise ValueError("samples and sampling_steps must be 1 or more")

    def generator(self) -> GibbsChain:
        """How a machine that was learned so makes samples."""
        return GibbsChain(self.sampling_steps)

    def __call__(self, energy: Energy, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        """TypeError: the energy is no Helmholtz machine."""
        if not isinstance(energy, Helmholtz):
            raise TypeError(f"{type(energy).__name__} is no Helmholtz machine: learn it by another objective")
        stream = batch.share.stream(rng)
        v = energy.observed(batch.x)
        causes = energy.guesses(v, self.samples, stream)
        made, recognised = energy.log_joint(causes), energy.log_recognition(causes)  # [K, B]
        with torch.no_grad():
            log_weights = made - recognised
            weights = log_weights.softmax(0)
            bound = log_weights.logsumexp(0).mean() - math.log(self.samples)
        wake = -(weights * made).sum(0).mean()
        sleep = -energy.log_recognition(energy.fantasies(len(v), stream)).mean()
        if self.samples > 1:
            sleep = (sleep - (weights * recognised).sum(0).mean()) / 2
        return wake + sleep, {"mean_loss": -float(bound) / v.shape[1]}
