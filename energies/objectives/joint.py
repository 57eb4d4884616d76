"""Learning to classify and to generate at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from energies.generators import Generator
from energies.joint import JointEnergy
from energies.objectives.batch import Batch, Metrics
from energies.objectives.likelihood import MaximumLikelihood
from energies.objectives.score_matching import ScoreMatching


@dataclass(frozen=True)
class Joint:
    """log p(x, y) = log p(x) + log p(y | x): a generative objective and cross-entropy (Grathwohl et al. 2020, eq. 10).

    Where the energy is a family over noise levels, classes are learned at many of them as well.
    """

    generative: ScoreMatching | MaximumLikelihood = field(default_factory=ScoreMatching)
    """What is learned besides the classes: score_matching, or maximum_likelihood as published."""

    weight: float = 10.0
    """Of the generative objective, whose gradients are the smaller ones; 0 leaves an ordinary classifier."""

    level: float = 0.15
    """Median noise level that classes are learned at, in units of x (half the range of values)."""

    spread: float = 0.8
    """Standard deviation of its logarithm."""

    smoothing: float = 0.0
    """Share of the probability that is spread over all classes."""

    def __post_init__(self) -> None:
        if not self.weight >= 0 or not self.level > 0 or not self.spread >= 0 or not 0 <= self.smoothing < 1:
            raise ValueError("weight and spread must not be negative, level positive, smoothing in [0, 1)")

    def generator(self) -> Generator:
        """How an energy that was learned so makes samples."""
        return self.generative.generator()

    def __call__(self, energy: JointEnergy, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        assert batch.label is not None
        known = batch.label >= 0
        x, noisy = batch.x[known], isinstance(self.generative, ScoreMatching)
        share, mine = batch.share, batch.share.chosen(known)
        sigma = mine.normal(x.new_empty(len(x), *[1] * (x.ndim - 1)), rng)
        sigma = self.level * (self.spread * sigma).exp()
        if noisy:
            x = x + sigma * mine.normal(x, rng)
        logits = (energy.at(sigma) if noisy else energy).logits(x)
        labels = batch.label[known]
        loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing, reduction="sum")
        loss = share.ratio(loss, known.sum()) if mine.total else loss
        metrics = {"class_loss": loss.item()}
        if not self.weight:
            return loss, metrics
        # Half of what is generated is of x alone; chains always are, as published.
        forget = share.uniform(batch.x.new_empty(len(batch.x)), rng) < 0.5
        batch = replace(batch, label=torch.where(forget, -1, batch.label) if noisy else None)
        generative, found = self.generative(energy, batch, rng)  # type: ignore[operator]
        return loss + self.weight * generative, metrics | found
