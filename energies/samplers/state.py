"""What a chain carries from step to step, the same for every sampler."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from energies.energy import Energy

Rng = torch.Generator | list[torch.Generator]
"""One stream for the whole batch, or one a sample: then sample k does not depend on the batch it is in."""


class State(NamedTuple):
    """Where the chains are: x [B, *event] with its energy [B] and gradient [B, *event], never computed twice."""

    x: Tensor
    energy: Tensor
    grad: Tensor


class Info(NamedTuple):
    """How a step went, each [B].

    Attributes:
        drift: root mean square of the move that the gradient made.
        noise: root mean square of the move that the noise made.
    """

    drift: Tensor
    noise: Tensor


class Sampler(Protocol):
    """An algorithm with its settings."""

    def init(self, energy: Energy, x: Tensor) -> State:
        """The state of chains that start at x [B, *event], moved onto the energy's constraint."""
        ...

    def step(self, energy: Energy, state: State, rng: Rng) -> tuple[State, Info]:
        """One step of every chain."""
        ...


def normal(like: Tensor, rng: Rng) -> Tensor:
    """Standard normal noise of the shape of `like` [B, *event]."""
    if isinstance(rng, torch.Generator):
        return torch.randn(like.shape, generator=rng, dtype=like.dtype, device=like.device)
    if len(rng) != len(like):
        raise ValueError(f"{len(rng)} random streams for {len(like)} samples")
    return torch.stack([torch.randn(like.shape[1:], generator=g, dtype=like.dtype, device=like.device) for g in rng])


def rms(v: Tensor) -> Tensor:
    """Root mean square of each sample of v [B, *event] -> [B]."""
    return v.flatten(1).square().mean(1).sqrt()
