"""The replay buffer: chains that go on from one update to the next (Tieleman 2008; Du & Mordatch 2019)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Drawn(NamedTuple):
    """Chains taken from a buffer: their rows in it, x [n, *event], and labels [n], or None."""

    rows: Tensor
    x: Tensor
    label: Tensor | None


class ReplayBuffer:
    """Chains x [N, *event], of which each update draws some, moves them on, and puts them back.

    Args:
        x: where they start; None of its memory is shared.
        label: of every chain, [N], or None.
        mean, spread: fresh chains are mean + spread * normal noise, within [-1, 1].
    """

    def __init__(self, x: Tensor, label: Tensor | None = None, mean: Tensor | float = 0.0, spread: float = 0.5) -> None:
        self.x, self.mean, self.spread = x.clone(), mean, spread
        self.label = None if label is None else label.clone()
        self.age = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        self.restarts = torch.zeros((), dtype=torch.int64, device=x.device)

    @classmethod
    def of_noise(
        cls,
        num: int,
        like: Tensor,
        rng: torch.Generator,
        label: Tensor | None = None,
        mean: Tensor | float = 0.0,
        spread: float = 0.5,
    ) -> ReplayBuffer:
        """`num` fresh chains of the shape of one x, `like` [*event]."""
        x = fresh(num, like, mean, spread, rng)
        return cls(x, label, mean, spread)

    def __len__(self) -> int:
        return len(self.x)

    def draw(self, num: int, restart: float, rng: torch.Generator) -> Drawn:
        """`num` different chains; each begins anew from noise with probability `restart`.

        ValueError: there are not so many.
        """
        if not 1 <= num <= len(self):
            raise ValueError(f"{num} chains asked of a buffer of {len(self)}")
        rows = torch.randperm(len(self), generator=rng, device=rng.device)[:num]
        anew = torch.rand(num, generator=rng, device=rng.device) < restart
        started = fresh(num, self.x[0], self.mean, self.spread, rng)
        x = torch.where(anew.view(-1, *[1] * (self.x.ndim - 1)), started, self.x[rows])
        self.age[rows[anew]] = 0
        self.restarts += anew.sum()
        return Drawn(rows, x, None if self.label is None else self.label[rows])

    def put(self, drawn: Drawn, x: Tensor) -> None:
        """Where the drawn chains have come to; they are one update older."""
        self.x[drawn.rows] = x
        self.age[drawn.rows] += 1

    def tensors(self) -> dict[str, Tensor]:
        """All that changes, for a checkpoint: to be written into to restore it."""
        return {"x": self.x, "age": self.age, "restarts": self.restarts}


def fresh(num: int, like: Tensor, mean: Tensor | float, spread: float, rng: torch.Generator) -> Tensor:
    noise = torch.randn(num, *like.shape, generator=rng, dtype=like.dtype, device=like.device)
    return (mean + spread * noise).clamp(-1, 1)
