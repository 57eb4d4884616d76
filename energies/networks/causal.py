"""Energies of sequences, all positions in parallel: a frame's patches, or a token, given what comes before.

A transformer reads the true sequence, then the candidates (Gladstone et al. 2025, section 3.3). True tokens see those
of their own position and before: they are read once for all steps of a descent. The candidate of a position sees true
tokens before it, and itself; it enters together with the token of the position before, from which an ordinary
transformer would tell it. So one pass gives e_t(candidate_t | x_1 ... x_{t-1}) for all t, and changing the future
changes no earlier energy. For x itself as its candidates, E(x) = sum_t e_t is an energy like any other.

`feed_forward` leaves out what reads the candidate: e_t = |z_t|^2 / 2 - <z_t, G(x_1 ... x_{t-1})>, whose one step of
descent is the prediction of an ordinary transformer, learned by mean squares or by cross-entropy: the baseline.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from energies.networks.transformer import Memory, Patches, Transformer, readout
from energies.prediction import PredictiveEnergy, decibels, settled
from energies.samplers.state import normal

TINY = 1e-30  # the least probability whose logarithm is taken


@dataclass
class Past:
    """What energies of candidates read of the true past.

    Attributes:
        before: the token of the position before each candidate, [B, P, N, width]; of feed-forward energies G itself.
        memory: keys and values of all true tokens; None: there are none.
        times: their positions.
    """

    before: Tensor
    memory: Memory | None = None
    times: int = 0


class Causal(PredictiveEnergy):
    """The layout that both energies below share, of T positions with N tokens each.

    Args:
        length: T.
        tokens: N.
        elements: of a token, in and out.
        width, depth, heads: of the transformer.
        feed_forward: whether candidates are not read.
        steps, start: of the descent.
    """

    first: ClassVar[int] = 1

    def __init__(
        self, length: int, tokens: int, elements: int, width: int, depth: int, heads: int, feed_forward: bool,
        steps: int, start: float,
    ) -> None:  # fmt: skip
        super().__init__(steps, start)
        self.length, self.tokens, self.feed_forward = length, tokens, feed_forward
        self.enter, self.head = nn.Linear(elements, width), readout(width, elements)
        self.enter_candidate = None if feed_forward else nn.Linear(elements, width)
        self.times = nn.Parameter(0.02 * torch.randn(length, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.body = Transformer(width, depth, heads)

    def seen(self, x: Tensor, level: float, noise: Callable[[Tensor], Tensor]) -> Tensor:
        return x

    def wanted(self, x: Tensor, first: int) -> Tensor:
        return x[:, :, first:]

    @abstractmethod
    def known_tokens(self, known: Tensor) -> Tensor:
        """[B, T, N, elements] of a true sequence [B, *event]."""

    def read(self, known: Tensor, first: int, num: int) -> Past:
        """ValueError: the sequence is longer than the energy's."""
        if first + num > self.length:
            raise ValueError(f"positions must be below {self.length}, got {first + num - 1}")
        entered = self.enter(self.known_tokens(known[:, :, : first + num - 1]))
        times = entered.shape[1]
        tokens = rearrange(entered + self.times[:times] + self.places, "b t n d -> b (t n) d")
        mask = causal(times, 0, 0, self.tokens).to(tokens.device)
        if self.feed_forward:
            h = self.body(tokens, mask) if times else tokens
            return Past(self.head(_place_before(rearrange(h, "b (t n) d -> b t n d", n=self.tokens), first, num)))
        return Past(_place_before(entered, first, num), self.body.memory(tokens, mask) if times else None, times)

    def field(self, candidate: Tensor, first: int, past: Past) -> Tensor:
        """G [B, P, N, elements] for P candidates from position `first` on.

        Args:
            candidate: tokens [B, P, N, elements].
            first: position of the first.
            past: what `read` gave for these positions.
        """
        if self.enter_candidate is None:
            return past.before
        num = candidate.shape[1]
        own = self.enter_candidate(candidate) + past.before + self.times[first : first + num] + self.places
        mask = causal(past.times, num, first, self.tokens)[past.times * self.tokens :].to(own.device)
        h = self.body(rearrange(own, "b t n d -> b (t n) d"), mask, memory=past.memory)
        return self.head(rearrange(h, "b (t n) d -> b t n d", n=self.tokens))

    @abstractmethod
    def decided(self, known: Tensor, z: Tensor, first: int, rng: torch.Generator) -> Tensor:
        """x [B, C, P, ...] to go on with for candidates z, where something is to be drawn by rng."""


def _place_before(tokens: Tensor, first: int, num: int) -> Tensor:
    """[B, num, N, d]: of tokens [B, T, N, d] those before the positions first, first + 1, ...; before 0 there is 0."""
    return F.pad(tokens, (0, 0, 0, 0, 1, 0))[:, first : first + num]


def causal(length: int, candidates: int, first: int, tokens: int) -> Tensor:
    """Who sees whom, bool [N, N], N = (length + candidates) * tokens: true positions 0, 1, ..., then candidates for the
    positions first, first + 1, ...; see the top of this file."""
    place = torch.cat([torch.arange(length), first + torch.arange(candidates)])
    is_candidate = torch.arange(length + candidates) >= length
    earlier = (place[None] < place[:, None]) & ~is_candidate[None]
    same = (place[None] == place[:, None]) & (is_candidate[None] == is_candidate[:, None])
    return (earlier | same).repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)


class FrameEnergy(Causal):
    """E(x) of clips x [B, C, T, H, W], and of each next frame given those before.

    z = (frame - the frame before) / s, s the spread of these differences; e = |z|^2 / 2 - <z, G(z | past)>.

    Args:
        shape: [C, T, H, W].
        patch: pixels a side of a patch, which divides H and W.
        width, depth, heads: of the transformer.
        spread: s, in units of x.
        feed_forward: whether candidates are not read: the baseline.
        steps, start: of the descent.
    """

    def __init__(
        self, shape: Sequence[int], patch: int = 8, width: int = 128, depth: int = 4, heads: int = 4,
        spread: float = 0.2, feed_forward: bool = False, steps: int = 2, start: float = 1.0,
    ) -> None:  # fmt: skip
        if len(shape) != 4:
            raise ValueError(f"x must be [C, T, H, W], got the shape {list(shape)}")
        patches = Patches(shape[2:], (patch, patch))
        elements = shape[0] * patches.elements
        super().__init__(shape[1], patches.num, elements, width, depth, heads, feed_forward, steps, start)
        self.event_shape = tuple(shape)
        self.patches, self.spread = patches, spread

    @property
    def arguments(self) -> dict[str, Any]:
        return {**super().arguments, "spread": self.spread}

    def centre(self, x: Tensor) -> None:
        """Take the spread from data x [n, *shape]."""
        self.spread = max(float(x.diff(dim=2).square().mean().sqrt()), 0.01)

    def before(self, known: Tensor, first: int, num: int) -> Tensor:
        """The frame before each candidate, 0 before the first: [B, C, num, H, W]."""
        start = torch.zeros_like(known[:, :, :1]) if known.shape[2] else known.new_zeros(*known.shape[:2], 1, 1, 1)
        return torch.cat([start, known], 2)[:, :, first : first + num]

    def energies(self, known: Tensor, point: Tensor, first: int = 0, past: Past | None = None) -> Tensor:
        u = self.known_tokens(point)
        past = past or self.read(known, first, point.shape[2])
        return (u.square() / 2 - u * self.field(u, first, past)).sum((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.energies(x, self.coordinates(x, x)).sum(1)

    def coordinates(self, known: Tensor, frames: Tensor, first: int = 0) -> Tensor:
        """z of frames [B, C, P, H, W] at the positions from `first` on."""
        return (frames - self.before(known, first, frames.shape[2])) / self.spread

    def estimate(self, known: Tensor, z: Tensor, first: int = 0) -> Tensor:
        return self.before(known, first, z.shape[2]) + self.spread * z

    def decided(self, known: Tensor, z: Tensor, first: int, rng: torch.Generator) -> Tensor:
        """The frames, within [-1, 1]."""
        return self.estimate(known, z, first).clamp(-1, 1)

    def errors(self, known: Tensor, z: Tensor, x: Tensor, first: int = 0) -> Tensor:
        return (z - self.coordinates(known, x, first)).square().mean((1, 3, 4))

    def quality(self, errors: Tensor) -> float:
        return decibels(errors.mean() * self.spread**2)

    def known_tokens(self, known: Tensor) -> Tensor:
        cut = self.patches(rearrange(known, "b c t h w -> (b t) c h w"))
        return rearrange(cut, "(b t) n d -> b t n d", b=len(known))


class TokenEnergy(Causal):
    """E(x) of sequences of V symbols, x [B, V, T], 1 where the symbol stands and -1 elsewhere; and of each next symbol.

    A candidate is a law p = softmax(z) over symbols; e = sum_v p_v log p_v - <p, G(p | past)>, least where p is
    softmax(G) if the network does not read p, then minus its logarithm of the normalising constant. The descent is
    mirror descent: z - dE/dp.

    Args:
        shape: [V, T].
        width, depth, heads: of the transformer.
        feed_forward: whether candidates are not read: the baseline.
        steps, start: of the descent.
    """

    unit: ClassVar[str] = "bits"

    def __init__(
        self, shape: Sequence[int], width: int = 128, depth: int = 4, heads: int = 4, feed_forward: bool = False,
        steps: int = 2, start: float = 1.0,
    ) -> None:  # fmt: skip
        if len(shape) != 2:
            raise ValueError(f"x must be [V, T], got the shape {list(shape)}")
        super().__init__(shape[1], 1, shape[0], width, depth, heads, feed_forward, steps, start)
        self.event_shape = tuple(shape)

    def point(self, z: Tensor) -> Tensor:
        return z.softmax(1)

    def known_tokens(self, known: Tensor) -> Tensor:
        return _rows(_law(known))

    def energies(self, known: Tensor, point: Tensor, first: int = 0, past: Past | None = None) -> Tensor:
        p = _rows(point)
        past = past or self.read(known, first, point.shape[2])
        return (p * p.clamp(min=TINY).log() - p * self.field(p, first, past)).sum((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.energies(x, _law(x)).sum(1)

    def estimate(self, known: Tensor, z: Tensor, first: int = 0) -> Tensor:
        return 2 * z.softmax(1) - 1

    def decided(self, known: Tensor, z: Tensor, first: int, rng: torch.Generator) -> Tensor:
        """Symbols drawn by their probabilities."""
        rows = rearrange(z.softmax(1), "b v t -> (b t) v")
        drawn = F.one_hot(rows.multinomial(1, generator=rng)[:, 0], z.shape[1]).to(z)
        return 2 * rearrange(drawn, "(b t) v -> b v t", b=len(z)) - 1

    def errors(self, known: Tensor, z: Tensor, x: Tensor, first: int = 0) -> Tensor:
        return F.cross_entropy(z, x.argmax(1), reduction="none")

    def quality(self, errors: Tensor) -> float:
        return float(errors.mean()) / math.log(2)


def _law(x: Tensor) -> Tensor:
    """Probabilities [B, V, T] of x in [-1, 1], for any x; that of symbols is 1 or (nearly) 0."""
    p = ((x + 1) / 2).clamp(min=1e-9)
    return p / p.sum(1, keepdim=True)


def _rows(p: Tensor) -> Tensor:
    """[B, V, T] -> [B, T, 1, V]."""
    return rearrange(p, "b v t -> b t 1 v")


def continued(
    energy: Causal, past: Tensor, num: int, rng: torch.Generator, steps: int | None = None
) -> tuple[Tensor, Tensor]:
    """A sequence that goes on by `num` positions, each found by descent from noise given those before.

    Args:
        energy: of sequences.
        past: [B, C, k, ...], k of 1 or more; of a longer one than the energy's the end is read.
        num: positions.
        rng: of the starts, and of what is drawn.
        steps: of each descent; None: as many as it was learned with.

    Returns:
        (x [B, C, k + num, ...], energies [B, num]).
    """
    x, energies = past, []
    for _ in range(num):
        known = x[:, :, -(energy.length - 1) :]
        first = known.shape[2]
        z = energy.start * normal(known[:, :, -1:], rng)
        z, e = settled(energy, known, z, steps or energy.steps, first=first)
        energies.append(e)
        x = torch.cat([x, energy.decided(known, z, first, rng)], 2)
    return x, torch.cat(energies, 1)
