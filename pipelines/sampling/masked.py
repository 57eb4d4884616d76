"""Masked sampling of an amortised energy of x with two values: elements are drawn a few at a time, given those before.

What the energy expects of an element tells the probability that it is set, so this is for x of two values alone: how
grey levels and colours vary, an expectation does not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor

from energies import AmortisedPosterior, ConditionalEnergy, DataReference, Energy, Hidden, LocalReference
from energies.diagnostics import Monitor
from energies.samplers.masked import MaskedSampling
from pipelines.measures.solids import likeliest
from pipelines.sampling.chains import sample_chains
from pipelines.stage import Run

KEPT = 0.15  # of a sample, while the rest is expected again
TOGETHER = 2**19  # numbers of x whose expectation is taken at once


def of_two_values(energy: Energy) -> TypeGuard[ConditionalEnergy]:
    """Whether an energy is amortised, over x of two values."""
    if not isinstance(energy, ConditionalEnergy):
        return False
    reference = energy.reference
    return isinstance(reference, LocalReference) or (isinstance(reference, DataReference) and reference.binary)


def of_details(energy: Energy) -> bool:
    """Whether an energy was learned of details alone, and knows no whole x."""
    return isinstance(energy, ConditionalEnergy) and isinstance(energy.reference, LocalReference)


def masked_samples(
    energy: ConditionalEnergy, x: Tensor, hidden: Tensor, each: int, how: MaskedSampling, remask: int, run: Run,
    purpose: str,
) -> Tensor:  # fmt: skip
    """Samples [n each, *event] in [-1, 1] given x [n, *event] but for what is hidden, on the CPU: the last amortised
    posterior mean, given all elements that were drawn before.

    Args:
        energy: of two values, on the device of the run.
        x: what is seen.
        hidden: bool [n, 1, *size].
        each: samples of every x.
        how: the elements are drawn.
        remask: how often in the end only the share KEPT of a sample is kept, at random, and the rest expected again:
            specks that little around them speaks for go, and gaps close.
        run: gives processes and randomness.
        purpose: of the random streams.
    """
    device = run.accelerator.device

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        rows = [chain // each for chain in chains]
        own = x[rows].to(device)
        unknown = hidden[rows].to(device).expand_as(own)
        with run.accelerator.autocast():
            states = how.run(partial(_expect, energy), own, unknown, streams)
            *_, mean = run.progress(states, how.steps, purpose)
            return _remasked(energy, mean, unknown, remask, streams)

    return sample_chains(run, len(x) * each, x[0].numel(), purpose, Monitor(), draw)


def remasked(energy: ConditionalEnergy, soft: Tensor, rounds: int, run: Run, hidden: Tensor | None = None) -> Tensor:
    """x [n, *event] in [-1, 1], on the CPU, most of which is forgotten and expected again, `rounds` times.

    hidden: bool [n, 1, *size], what may change; None: all.
    """
    mask = torch.ones_like(soft, dtype=torch.bool) if hidden is None else hidden.expand_as(soft)
    device = run.accelerator.device

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        own, unknown = soft[chains].to(device), mask[chains].to(device)
        with run.accelerator.autocast():
            return torch.where(unknown, _remasked(energy, own, unknown, rounds, streams), own)

    return sample_chains(run, len(soft), soft[0].numel(), "polish", Monitor(), draw)


def _remasked(
    energy: ConditionalEnergy, mean: Tensor, unknown: Tensor, rounds: int, streams: Sequence[torch.Generator]
) -> Tensor:
    for _ in range(rounds):
        kept = likeliest(mean, unknown).float() * 2 - 1
        chance = [torch.rand(kept.shape[1:], generator=stream, device=stream.device) for stream in streams]
        mean = _expect(energy, kept, unknown & (torch.stack(chance) > KEPT))
    return mean


def _expect(energy: ConditionalEnergy, y: Tensor, mask: Tensor) -> Tensor:
    """Amortised posterior mean of x [n, *event] in [-1, 1] given y but for what is hidden."""
    num = max(1, TOGETHER // y[0].numel())
    parts = zip(y.split(num), mask.split(num), strict=True)
    return torch.cat([_mean(energy, Hidden(hides[:, :1]), seen) for seen, hides in parts]).clamp(-1, 1)


def _mean(energy: ConditionalEnergy, observation: Hidden, y: Tensor) -> Tensor:
    posterior = energy.posterior(observation, y)
    assert isinstance(posterior, AmortisedPosterior)
    return posterior.posterior_mean().float()
