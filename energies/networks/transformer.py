"""A transformer over patches, and an energy that reads all of x with it: bidirectional, of one to three axes.

With z = x - mean, s the spread of the data about it, sigma the noise level, u = z / sqrt(sigma^2 + s^2), and G(u) what
the transformer makes of the patches of u,

    E(x; sigma) = |z|^2 / (2 (sigma^2 + s^2)) - (s / sigma) <u, G(u; sigma)>,

a Gaussian reference and its tilt, scaled as those of the encoder (`energies.networks.encoder`). Without noise levels
E(x) = |z|^2 / 2 - <z, G(z)>. Each token is normalised by itself, so no sample changes the energy of another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from energies.family import Family
from energies.networks.condition import EMBEDDED, code, condition_layers, first_frequencies

Memory = list[tuple[Tensor, Tensor]]
"""Keys and values [B, heads, M, width / heads] of tokens in every block."""


class Patches:
    """Cuts x [B, C, *size] into patches [B, N, C * elements], and joins them again.

    ValueError: a side of the patches does not divide that of x.
    """

    def __init__(self, size: Sequence[int], patch: Sequence[int]) -> None:
        if len(patch) != len(size) or any(p < 1 or side % p for side, p in zip(size, patch, strict=True)):
            raise ValueError(f"the sides of a patch must divide those of x, got {list(patch)} for {list(size)}")
        names = "thw"[: len(size)]
        self.sides = {f"{name}{k}": p for k, (name, p) in enumerate(zip(names, patch, strict=True))}
        self.counts = {name: side // p for name, side, p in zip(names, size, patch, strict=True)}
        parts = [f"({name} {inner})" for name, inner in zip(names, self.sides, strict=True)]
        self.whole = f"b c {' '.join(parts)}"
        self.cut = f"b ({' '.join(names)}) (c {' '.join(self.sides)})"
        self.num, self.elements = math.prod(self.counts.values()), math.prod(patch)

    def __call__(self, x: Tensor) -> Tensor:
        return rearrange(x, f"{self.whole} -> {self.cut}", **self.sides)

    def joined(self, tokens: Tensor) -> Tensor:
        """x [B, C, *size] of patches [B, N, C * elements]."""
        return rearrange(tokens, f"{self.cut} -> {self.whole}", **self.counts, **self.sides)


class Transformer(nn.Module):
    """Tokens [B, N, width] to tokens: blocks of attention and of a layer a token, before each of which a token is
    normalised by itself. It has second derivatives.

    Args:
        width: of a token; a multiple of the heads.
        depth: blocks.
        heads: of attention.
        embedded: elements of a condition [B or 1, embedded] that shifts and scales the tokens of every block; 0: none.
    """

    def __init__(self, width: int, depth: int, heads: int, embedded: int = 0) -> None:
        super().__init__()
        if depth < 1 or heads < 1 or width % heads:
            raise ValueError(f"width must be a multiple of heads, depth 1 or more, got {width}, {heads} and {depth}")
        self.blocks = nn.ModuleList(_Block(width, heads, embedded) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, condition: Tensor | None = None, memory: Memory | None = None
    ) -> Tensor:
        """Tokens [B, N, width], of which each sees those of the memory, M, and those of its own.

        Args:
            tokens: [B, N, width].
            mask: bool [N, M + N], whether a token (row) sees another (column); None: every token sees all.
            condition: [B or 1, embedded].
            memory: what `memory` gave of M other tokens; None: there are none.
        """
        for number, block in enumerate(self.blocks):
            tokens, _ = block(tokens, mask, condition, None if memory is None else memory[number])
        return self.norm(tokens)

    def memory(self, tokens: Tensor, mask: Tensor | None = None) -> Memory:
        """What others may see of tokens [B, M, width] that see none of these: their keys and values in every block."""
        found = []
        for block in self.blocks:
            tokens, told = block(tokens, mask, None, None)
            found.append(told)
        return found


def readout(width: int, elements: int) -> nn.Linear:
    """From tokens to what an energy multiplies a candidate with, which is small at first."""
    head = nn.Linear(width, elements)
    with torch.no_grad():
        head.weight *= 0.1
        head.bias.zero_()
    return head


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, embedded: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask = nn.Linear(width, 3 * width, bias=False)
        self.tell = nn.Linear(width, width, bias=False)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulate = nn.Linear(embedded, 4 * width) if embedded else None
        if self.modulate is not None:
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)

    def forward(
        self, h: Tensor, mask: Tensor | None, condition: Tensor | None, memory: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Tokens after the block, and their keys and values."""
        shifts: Sequence[Tensor | float] = (0.0,) * 4
        if self.modulate is not None and condition is not None:
            shifts = self.modulate(condition)[:, None].chunk(4, 2)
        a = self.before(h) * (1 + shifts[0]) + shifts[1]
        q, k, v = rearrange(self.ask(a), "b n (three heads d) -> three b heads n d", three=3, heads=self.heads)
        keys, values = (k, v) if memory is None else (torch.cat(pair, 2) for pair in zip(memory, (k, v), strict=True))
        with sdpa_kernel(SDPBackend.MATH):  # the only one with a second derivative
            seen = F.scaled_dot_product_attention(q, keys, values, mask)
        h = h + self.tell(rearrange(seen, "b heads n d -> b n (heads d)"))
        m = self.between(h) * (1 + shifts[2]) + shifts[3]
        return h + self.narrow(F.silu(self.widen(m))), (k, v)


class TransformerEnergy(Family):
    """E(x; sigma) or E(x) of the formulas above, by label where there are classes.

    Args:
        shape: of one x, channels first: [C, T], [C, H, W] or [C, T, H, W].
        patch: sides of the patches, which divide those of x.
        width, depth, heads: of the transformer.
        noisy: whether it is a family over noise levels, to be bound with `at`; else of clean x.
        num_classes: of labels, to be bound with `given`; 0: none.
        spread: s, root mean square of x - mean.
    """

    def __init__(
        self,
        shape: Sequence[int],
        patch: Sequence[int],
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        noisy: bool = True,
        num_classes: int = 0,
        spread: float = 0.5,
    ) -> None:
        super().__init__(num_classes, noisy=noisy, mean=torch.zeros(*shape), spread=spread)
        self.event_shape = tuple(shape)
        self.patches = Patches(shape[1:], patch)
        elements = shape[0] * self.patches.elements
        self.enter, self.head = nn.Linear(elements, width), readout(width, elements)
        self.places = nn.Parameter(0.02 * torch.randn(self.patches.num, width))
        self.body = Transformer(width, depth, heads, EMBEDDED)
        self.embed, self.labels = condition_layers(num_classes)
        self.frequencies: Tensor
        self.register_buffer("frequencies", first_frequencies())

    @property
    def arguments(self) -> dict[str, Any]:
        return {**super().arguments, "spread": self.spread}

    @property
    def origin(self) -> Tensor | float:
        return self.mean

    def forward(self, x: Tensor) -> Tensor:
        z = x - self.mean
        if not self.noisy:
            return z.square().flatten(1).sum(1) / 2 - self._tilt(z, None)
        sigma = self.sigma(x)
        variance = sigma**2 + self.spread**2
        tilt = self._tilt(z / variance.sqrt(), sigma)
        return (z.square() / (2 * variance)).flatten(1).sum(1) - self.spread / sigma.flatten() * tilt

    def _tilt(self, u: Tensor, sigma: Tensor | None) -> Tensor:
        """<u, G(u; sigma)>, [B]."""
        patches = self.patches(u)
        condition = self.embed(code(u, sigma, self.frequencies)) + self.labels(self.codes(u))
        field = self.head(self.body(self.enter(patches) + self.places, condition=condition))
        return (patches * field).flatten(1).sum(1)
