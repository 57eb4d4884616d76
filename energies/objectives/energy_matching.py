"""Energy matching: a potential that first carries noise to data, then holds it there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from energies.bounded import Bounded
from energies.energy import gradient
from energies.generators import Chain
from energies.networks.encoder import EncoderEnergy
from energies.objectives.batch import Batch, Metrics, labelled
from energies.objectives.likelihood import advance
from energies.samplers.langevin import Langevin

BOUND = 4.0  # of the noise that it begins with, and of the chains


@dataclass(frozen=True)
class EnergyMatching:
    """One potential E of clean x: -dE/dx is a flow from noise to data, then E is sharpened by contrast (Balcerak 2025).

    Noise and data are paired by optimal transport within the batch, so that the flow is nearly a gradient.
    """

    warm_up: float = 0.65
    """Share of the learning before the contrast sets in."""

    weight: float = 0.03
    """Of the contrast between data and samples."""

    steps: int = 10
    """Langevin steps of the samples between two updates."""

    time: float = 0.05
    """Time that one of them takes; from noise to data it is 1."""

    temperature: float = 0.01
    """Of the samples."""

    restart: float = 0.05
    """Share of the chains that begin anew from noise."""

    negatives: int = 32
    """Chains moved on in a step."""

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up <= 1 or not self.weight >= 0 or self.steps < 1 or self.negatives < 1:
            raise ValueError("warm_up must be a share, weight not negative, steps and negatives positive")
        if not 0 < self.time <= 1 or not self.temperature > 0 or not 0 <= self.restart <= 1:
            raise ValueError("time must lie in (0, 1], temperature be positive and restart a share")

    def generator(self) -> Chain:
        """How an energy that was learned so makes samples: for a time of 4."""
        step = (2 * self.time) ** 0.5
        return Chain(round(4 / self.time), step, self.temperature**0.5, spread=1.0, bound=BOUND, calm=4)

    def __call__(self, energy: EncoderEnergy, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        data, share = batch.x, batch.share
        ours = labelled(energy, batch.label)
        every = share.whole(data)
        noise = energy.mean + torch.randn(every.shape, generator=rng, device=rng.device)
        noise = noise[_pairs(noise, every)][share.rows]
        t = share.uniform(data.new_empty(len(data), *[1] * (data.ndim - 1)), rng)
        _, slope = gradient(ours, torch.lerp(noise, data, t).requires_grad_(), create_graph=True)
        loss = (slope + data - noise).square().mean()
        metrics = {"flow_loss": loss.item()}
        if batch.progress < self.warm_up or not self.weight:
            return loss, metrics
        assert batch.chains is not None
        chains = share.of(min(self.negatives, len(batch.chains)))
        drawn = batch.chains.draw(chains.total, self.restart, rng)
        own = drawn.own(chains.rows)
        theirs = labelled(energy, own.label)
        langevin = Langevin((2 * self.time) ** 0.5, self.temperature**0.5)
        samples = advance(langevin, Bounded(theirs, -BOUND, BOUND), own.x, self.steps, chains.stream(rng))
        batch.chains.put(drawn, chains.whole(samples))
        gap = (ours(data).mean() - share.mean(theirs(samples), chains)) / data[0].numel()
        return loss + self.weight * gap / self.temperature, metrics | {"energy_gap": gap.item()}


def _pairs(noise: Tensor, data: Tensor) -> Tensor:
    """The row of noise for every row of data that makes all ways together shortest."""
    cost = torch.cdist(data.flatten(1), noise.flatten(1)).square()
    return torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(data.device)
