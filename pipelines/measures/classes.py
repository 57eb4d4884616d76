"""What a classifier says of many x: probabilities and logits, of clean x or at noise levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from energies import JointEnergy
from pipelines.stage import Run

TOGETHER = 2**19  # numbers of x that are classified at once


def probabilities(energy: JointEnergy, x: Tensor, levels: Sequence[float], run: Run) -> Tensor:
    """p(y | x) [n, classes] on the CPU; of a family over noise levels, the mean of those at `levels`."""
    members = [energy.at(level) for level in levels] if energy.noisy else [energy]
    return torch.stack([logits_of(member, x, run).softmax(1) for member in members]).mean(0)


def logits_of(energy: JointEnergy, x: Tensor, run: Run) -> Tensor:
    """f(x) [n, classes] on the CPU, of clean x or at a bound noise level."""
    energy = energy.to(run.accelerator.device).eval()
    num = max(1, TOGETHER // x[0].numel())
    with torch.no_grad():
        return torch.cat([energy.logits(part.to(run.accelerator.device)).cpu() for part in x.split(num)])


def leveled(energy: JointEnergy, level: float) -> JointEnergy:
    """The energy, of a family over noise levels that of one."""
    return energy.at(level) if energy.noisy else energy
