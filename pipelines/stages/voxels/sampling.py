"""What the energy of shapes expects, and samples from it."""

from __future__ import annotations

import torch
from torch import Tensor

from energies import Average, Hidden, VoxelEnergy
from energies.diagnostics import Monitor
from energies.unmasking import Unmasking
from pipelines.chains import sample_chains
from pipelines.pipeline import Run

TOGETHER = 2**19  # voxels of shapes whose expectation is taken at once


def expected(energy: VoxelEnergy, observation: Hidden | Average, y: Tensor, run: Run) -> Tensor:
    """Expected x [n, 1, N, N, N] given y [n, 1, ...], on the CPU: of the shapes and their mirror images, turned back.

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
                    mean = energy.given(seen, _mirrored(part, mirror)).mean().float()
                means.append(_mirrored(mean, mirror))
            x = (means[0] + means[1]) / 2
            parts.append((observation.project(x, part) if mask is None else x.clamp(-1, 1)).cpu())
    return torch.cat(parts)


def sampled(energy: VoxelEnergy, x: Tensor, hidden: Tensor, unmasking: Unmasking, run: Run, purpose: str) -> Tensor:
    """One sample [n, 1, N, N, N] in [-1, 1] of each shape of which x is seen but for hidden, on the CPU.

    Its last expectation, near -1 and 1 nearly everywhere, is what is returned.
    """
    device = run.accelerator.device

    num = max(1, TOGETHER // x[0].numel())

    def expect(y: Tensor, mask: Tensor) -> Tensor:
        parts = zip(y.split(num), mask.split(num), strict=True)
        return torch.cat([energy.given(Hidden(hides), seen).mean().float() for seen, hides in parts]).clamp(-1, 1)

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        with run.accelerator.autocast():
            states = unmasking.run(expect, x[chains].to(device), hidden[chains].to(device), streams)
            *_, last = run.progress(states, unmasking.steps, purpose)
        return last

    return sample_chains(run, len(x), x[0].numel(), purpose, Monitor(), draw)


def _mirrored(x: Tensor, mirror: bool) -> Tensor:
    return x.flip(2) if mirror else x
