"""The replay buffer: chains that go on from one update to the next (Tieleman 2008; Du & Mordatch 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Drawn(NamedTuple):
    """Chains taken from a buffer: their rows in it, x [n, *event], and labels [n], or None."""

    rows: Tensor
    x: Tensor
    label: Tensor | None

    def own(self, rows: slice) -> Drawn:
        """Some of them."""
        return Drawn(self.rows[rows], self.x[rows], None if self.label is None else self.label[rows])


@dataclass(frozen=True)
class Start:
    """Where fresh chains begin: mean + spread * normal noise, within plus and minus the bound (None: anywhere)."""

    mean: Tensor | float = 0.0
    spread: float = 0.5
    bound: float | None = 1.0

    def of(self, noise: Tensor) -> Tensor:
        """x of noise [n, *event]."""
        x = self.mean + self.spread * noise
        return x if self.bound is None else x.clamp(-self.bound, self.bound)

    def fresh(self, num: int, like: Tensor, rng: torch.Generator) -> Tensor:
        """`num` starts of the shape of one x, `like` [*event]."""
        return self.of(torch.randn(num, *like.shape, generator=rng, dtype=like.dtype, device=like.device))


class ReplayBuffer:
    """Chains x [N, *event], of which each update draws some, moves them on, and puts them back.

    Args:
        x: where they are at first; none of its memory is shared.
        label: of every chain, [N], or None.
        start: where those begin that begin anew.
    """

    def __init__(self, x: Tensor, label: Tensor | None = None, start: Start | None = None) -> None:
        self.x, self.start = x.clone(), start or Start()
        self.label = None if label is None else label.clone()
        self.age = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        self.restarts = torch.zeros((), dtype=torch.int64, device=x.device)

    @classmethod
    def of_noise(
        cls, num: int, like: Tensor, rng: torch.Generator, label: Tensor | None = None, start: Start | None = None
    ) -> ReplayBuffer:
        """`num` fresh chains of the shape of one x, `like` [*event]."""
        return cls((start or Start()).fresh(num, like, rng), label, start)

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
        started = self.start.fresh(num, self.x[0], rng)
        x = torch.where(anew.view(-1, *[1] * (self.x.ndim - 1)), started, self.x[rows])
        self.age[rows[anew]] = 0
        self.restarts += anew.sum()
        return Drawn(rows, x, None if self.label is None else self.label[rows])

    def put(self, drawn: Drawn, x: Tensor) -> None:
        """Where the drawn chains have come to; they are one update older. What is not finite stays where it was."""
        finite = x.flatten(1).isfinite().all(1).view(-1, *[1] * (x.ndim - 1))
        self.x[drawn.rows] = torch.where(finite, x, self.x[drawn.rows])
        self.age[drawn.rows] += 1

    def tensors(self) -> dict[str, Tensor]:
        """All that changes, for a checkpoint: to be written into to restore it."""
        return {"x": self.x, "age": self.age, "restarts": self.restarts}
