"""Masked sampling: elements with two values, a few at a time, each lot given those before, by what an energy expects.

An energy that gives the expected x for any set of seen elements can be sampled in any order (Uria, Murray & Larochelle
2014), several elements at once while they hardly depend on each other. Afterwards random blocks are masked again and
sampled anew (remasking), as a Gibbs sampler does, which mends what the first lots got wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Expect = Callable[[Tensor, Tensor], Tensor]
"""From x [B, *event] in {-1, 1}, any value where hidden, and hidden, bool [B, *event], to the expected x in [-1, 1]."""


@dataclass(frozen=True)
class MaskedSampling:
    """How elements are drawn."""

    first: int = 4
    """Elements of the first lot."""

    growth: float = 1.3
    """How many more are known after a lot than before it."""

    known: float = 0.06
    """Share of the elements that are drawn before the rest is expected."""

    sweeps: int = 3
    """How often all but that share is masked again and expected anew."""

    cut: float = 0.03
    """Probabilities below this, or as near to 1, count as 0 or 1: a low temperature. 0: none do."""

    def __post_init__(self) -> None:
        if self.first < 1 or not self.growth > 1 or not 0 < self.known < 1:
            raise ValueError(f"first must be 1 or more, growth above 1 and known in (0, 1), got {self}")
        if self.sweeps < 0 or not 0 <= self.cut < 0.5:
            raise ValueError(f"sweeps must not be negative and cut must lie in [0, 0.5), got {self}")

    @property
    def steps(self) -> int:
        """How often the expectation is taken of 32^3 elements; others differ a little."""
        known, lots = 0, 0
        while known < self.known * 32**3:
            known, lots = known + max(self.first, int(known * (self.growth - 1))), lots + 1
        return lots + self.sweeps + 1

    def run(self, expect: Expect, x: Tensor, hidden: Tensor, streams: Sequence[torch.Generator]) -> Iterator[Tensor]:
        """Draw the hidden elements of x [B, *event]; yields the expected x after every lot and sweep.

        streams: randomness, one a chain; a chain goes the same way in any company.
        """
        shape = x.shape
        unknown = hidden.flatten(1)
        total = unknown.sum(1)
        known = torch.zeros_like(total)
        drawn, open_ = x.flatten(1).clone(), unknown.clone()
        mean = expect(drawn.view(shape), open_.view(shape))
        sweeps = 0
        while bool((growing := known < self.known * total).any()) or sweeps < self.sweeps:
            yield mean
            if bool(growing.any()):
                lot = (known * (self.growth - 1)).long().clamp(min=self.first)
                lot = torch.minimum(lot, total - known) * growing
                known = known + lot
                places, taken = _places(open_, lot, streams)
            else:  # mask what was drawn again, but for as many others
                sweeps += 1
                places, taken = _places(unknown, known, streams)
                drawn, open_ = x.flatten(1).clone(), unknown.clone()
            p = ((mean.flatten(1) + 1) / 2).gather(1, places)
            p = torch.where(p < self.cut, 0.0, torch.where(p > 1 - self.cut, 1.0, p))
            values = (_uniform(p, taken.sum(1), streams) < p).to(x.dtype) * 2 - 1
            drawn.scatter_(1, places, torch.where(taken, values, drawn.gather(1, places)))
            open_.scatter_(1, places, open_.gather(1, places) & ~taken)
            expected = expect(drawn.view(shape), open_.view(shape))
            mean = torch.where(open_.view(shape), expected, drawn.view(shape))
        yield mean


def _places(candidates: Tensor, num: Tensor, streams: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """num [B] different candidates of each chain, at random, among places [B, max num]; and which of these they are."""
    keys = _uniform(candidates, num.sign() * candidates.shape[1], streams)
    most = int(num.max())
    places = torch.where(candidates, keys, -1.0).topk(most, 1).indices
    return places, torch.arange(most, device=num.device) < num[:, None]


def _uniform(like: Tensor, num: Tensor, streams: Sequence[torch.Generator]) -> Tensor:
    """Numbers in [0, 1), as many as `like` [B, N] has; from the stream of a chain only the first num [B] of them."""
    out = torch.zeros(like.shape, device=like.device)
    for row, count, stream in zip(out, num.tolist(), streams, strict=True):
        row[:count] = torch.rand(count, generator=stream, device=like.device)
    return out
