"""What an energy of shapes expects, and samples from it.

A conditional energy is told what is seen: its means here are *amortised posterior means*, one pass of a network. Any
other energy is conditioned on it (pipelines/stages/posterior.py).
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor

from data.errors import InputError
from energies import AmortisedPosterior, Average, ConditionalEnergy, Energy, Hidden, LocalReference, Observation
from energies.diagnostics import Monitor
from energies.samplers.masked import MaskedSampling
from pipelines.chains import sample_chains
from pipelines.pipeline import Run
from pipelines.stages.voxels.grids import likeliest

POLISHED = 0.15
TOGETHER = 2**19  # voxels of shapes whose expectation is taken at once


def is_told(energy: Energy, observation: Observation, stage: str) -> TypeGuard[ConditionalEnergy]:
    """Whether an energy takes what is seen as its context; else it is conditioned.

    InputError: it can be neither, being of details alone.
    """
    if not isinstance(energy, ConditionalEnergy):
        return False
    if energy.reference.takes(observation):
        return True
    if of_details(energy):
        raise InputError(
            f"{stage}: an energy of details knows nothing whole, which noise asks for; set learn.energy.shapes.rank"
        )
    return False


def of_details(energy: Energy) -> bool:
    """Whether an energy was learned of details alone, learn.energy.shapes.rank=0, and knows no whole shape."""
    return isinstance(energy, ConditionalEnergy) and isinstance(energy.reference, LocalReference)


def expected(energy: ConditionalEnergy, observation: Hidden | Average, y: Tensor, run: Run) -> Tensor:
    """Amortised posterior mean of x [n, 1, N, N, N] given y [n, 1, ...], on the CPU: of the shapes and their mirror
    images, turned back.

    Block means are held exactly.
    """
    device = run.accelerator.device
    mask = observation.mask if isinstance(observation, Hidden) else None
    size = y[0].numel() * (1 if isinstance(observation, Hidden) else observation.factor[0] ** 3)
    num = max(1, TOGETHER // size)
    starts = range(0, len(y), num)
    parts: list[Tensor] = []
    with torch.no_grad():
        for low in run.progress(starts, len(starts), "expecting"):
            part = y[low : low + num].to(device)
            means = []
            for mirror in (False, True):
                seen: Hidden | Average = observation
                if mask is not None:
                    seen = Hidden(_mirrored(mask[low : low + num].to(device), mirror))
                with run.accelerator.autocast():
                    mean = _mean(energy, seen, _mirrored(part, mirror))
                means.append(_mirrored(mean, mirror))
            x = (means[0] + means[1]) / 2
            parts.append((observation.project(x, part) if mask is None else x.clamp(-1, 1)).cpu())
    return torch.cat(parts)


def sampled(
    energy: ConditionalEnergy, x: Tensor, hidden: Tensor, unmasking: MaskedSampling, polish: int, run: Run, purpose: str
) -> Tensor:
    """Samples [n, 1, N, N, N] in [-1, 1] of shapes of which x is seen but for hidden, on the CPU: the last amortised
    posterior mean, given all voxels that were drawn before.

    polish: how often in the end only the share POLISHED of a sample is kept, at random, and the rest expected again:
        specks that little around them speaks for go, and gaps close.
    """
    device = run.accelerator.device

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        unknown = hidden[chains].to(device)
        with run.accelerator.autocast():
            states = unmasking.run(partial(_expect, energy), x[chains].to(device), unknown, streams)
            *_, mean = run.progress(states, unmasking.steps, purpose)
            return _polished(energy, mean, unknown, polish, streams)

    return sample_chains(run, len(x), x[0].numel(), purpose, Monitor(), draw)


def polished(energy: ConditionalEnergy, fields: Tensor, rounds: int, run: Run, hidden: Tensor | None = None) -> Tensor:
    """Fields [n, 1, N, N, N] in [-1, 1], on the CPU, most of which is forgotten and expected again, `rounds` times.

    hidden: bool, what may change; None: all.
    """
    hidden = torch.ones_like(fields, dtype=torch.bool) if hidden is None else hidden
    device = run.accelerator.device

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        own = fields[chains].to(device)
        with run.accelerator.autocast():
            found = _polished(energy, own, hidden[chains].to(device), rounds, streams)
            return torch.where(hidden[chains].to(device), found, own)

    return sample_chains(run, len(fields), fields[0].numel(), "polish", Monitor(), draw)


def way(solids: Tensor, seconds: float) -> dict[str, Any]:
    """What is kept of a way to recover: the solids, and the seconds of their mean."""
    return {"solids": solids, "seconds": round(seconds, 3)}


def _polished(
    energy: ConditionalEnergy, mean: Tensor, unknown: Tensor, rounds: int, streams: list[torch.Generator]
) -> Tensor:
    for _ in range(rounds):
        kept = likeliest(mean, unknown).float() * 2 - 1
        chance = [torch.rand(kept.shape[1:], generator=stream, device=stream.device) for stream in streams]
        mean = _expect(energy, kept, unknown & (torch.stack(chance) > POLISHED))
    return mean


def _expect(energy: ConditionalEnergy, y: Tensor, mask: Tensor) -> Tensor:
    """Amortised posterior mean of x [n, 1, N, N, N] in [-1, 1] given y but for what is hidden."""
    num = max(1, TOGETHER // y[0].numel())
    parts = zip(y.split(num), mask.split(num), strict=True)
    return torch.cat([_mean(energy, Hidden(hides), seen) for seen, hides in parts]).clamp(-1, 1)


def _mean(energy: ConditionalEnergy, observation: Observation, y: Tensor) -> Tensor:
    posterior = energy.posterior(observation, y)
    assert isinstance(posterior, AmortisedPosterior)
    return posterior.posterior_mean().float()


def _mirrored(x: Tensor, mirror: bool) -> Tensor:
    return x.flip(2) if mirror else x
