"""Denoising score matching over many noise levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energies.family import Family
from energies.objectives.batch import Batch, Metrics, References, labelled
from energies.schedule import Schedule


@dataclass(frozen=True)
class ScoreMatching:
    """An energy of many noise levels learns from how well it takes noise away (Vincent 2011; Song & Ermon 2019).

    At level sigma the expected clean x, D(x) = x - sigma^2 dE/dx, is compared with the clean one; the weight
    (sigma^2 + s^2) / (sigma s)^2 makes all levels count alike, and ln sigma is normal (Karras et al. 2022, table 1).
    With `Batch.references` D(x) is compared with what they let expect (Xu et al. 2023), which varies less; then
    `noise_loss` is less than that of clean x.
    """

    level: float = 0.55
    """Median noise level, in units of x (half the range of values)."""

    spread: float = 1.2
    """Standard deviation of the logarithm of the noise levels."""

    def __post_init__(self) -> None:
        if not self.level > 0 or not self.spread >= 0:
            raise ValueError(f"level must be positive and spread not negative, got {self.level} and {self.spread}")

    def generator(self) -> Schedule:
        """How an energy that was learned so makes samples."""
        return Schedule()

    def __call__(self, energy: Family, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        x = batch.x
        one = x.new_empty(len(x), *[1] * (x.ndim - 1))
        sigma = self.level * (self.spread * batch.share.normal(one, rng)).exp()
        noisy = x + sigma * batch.share.normal(x, rng)
        energy = labelled(energy, batch.label)
        target = x if batch.references is None else expected(x, batch.label, batch.references, noisy, sigma)
        error = energy.at(sigma).denoise(noisy.requires_grad_(), create_graph=True) - target
        weight = (sigma**2 + energy.spread**2) / (sigma * energy.spread) ** 2
        loss = (weight * error.square()).mean()
        return loss, {"noise_loss": loss.item()}


@torch.no_grad()
def expected(x: Tensor, label: Tensor | None, references: References, noisy: Tensor, sigma: Tensor) -> Tensor:
    """Mean of clean x and of the references that have its label, by how likely the noisy x comes from each.

    Given all of them and the noisy x, that is the expected clean x, as which of them was made noisy is forgotten: a
    target of the same mean as clean x and of less variance (Xu, Tong & Jaakkola 2023, section 4).

    Args:
        x: clean [B, *event].
        label: of x [B]; negative: it is compared with all references. None: so is every x.
        references: N draws of the law of x, with labels if x has them, else ValueError.
        noisy: [B, *event]: x with noise of level sigma [B, 1, ...].
    """
    if (label is None) != (references.label is None):
        raise ValueError("x and references must both have labels, or neither")
    with torch.autocast(x.device.type, enabled=False):  # differences of large numbers
        own, y, others = x.flatten(1), noisy.flatten(1), references.x.flatten(1)
        # |y - r|^2 = |y|^2 - 2 (y r - |r|^2 / 2), and |y|^2 is common to all.
        fit = torch.cat([(y * own).sum(1, keepdim=True) - _half(own)[:, None], y @ others.T - _half(others)], 1)
        fit = fit / sigma.flatten(1) ** 2  # [B, 1 + N]
        if label is not None:
            differs = (label >= 0)[:, None] & (label[:, None] != references.label)
            fit[:, 1:].masked_fill_(differs, -torch.inf)
        share = fit.softmax(1)
        return (share[:, :1] * own + share[:, 1:] @ others).view_as(x)


def _half(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1) ** 2 / 2
