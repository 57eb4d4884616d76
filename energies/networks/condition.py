"""What tells a network its noise level and its label."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FREQUENCIES = 8  # of the sines and cosines that tell the network its noise level
EMBEDDED = 64


def condition_layers(num_classes: int) -> tuple[nn.Sequential, nn.Embedding]:
    """From codes of noise levels, and from labels, to [B or 1, EMBEDDED] each, which add up to the condition."""
    embed = nn.Sequential(nn.Linear(2 * FREQUENCIES, EMBEDDED), nn.SiLU(), nn.Linear(EMBEDDED, EMBEDDED))
    return embed, nn.Embedding(num_classes + 1, EMBEDDED)  # the last label: none


def first_frequencies() -> Tensor:
    """[FREQUENCIES], evenly in the logarithm."""
    return torch.exp(torch.linspace(math.log(0.3), math.log(5), FREQUENCIES))


def code(x: Tensor, sigma: Tensor | None, frequencies: Tensor) -> Tensor:
    """Of noise levels sigma, [B or 1, ...]: [B or 1, 2 FREQUENCIES] of the number format of x; None: of clean x."""
    if sigma is None:
        return x.new_zeros(1, 2 * FREQUENCIES)
    phase = sigma.reshape(-1, 1).log() / 2 * frequencies
    return torch.cat([phase.sin(), phase.cos()], 1)
