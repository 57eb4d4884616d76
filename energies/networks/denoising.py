"""The energy of a clean x given a noisy one, for denoising by descent (Gladstone et al. 2025, section 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from energies.networks.transformer import Patches, Transformer, readout
from energies.prediction import PredictiveEnergy, decibels


class DenoisingEnergy(PredictiveEnergy):
    """E(x | y) = |z|^2 / 2 - <z, G(z, y)>, z = (x - y) / s, of clean x given y, x with noise.

    It is amortised for this one way to see x: `told` binds y, and what is left is an energy of x. The energies of noise
    levels (`TransformerEnergy`, `EncoderEnergy`) take any observation.

    Args:
        shape: of one x, channels first, of one to three axes of size.
        patch: sides of the patches, which divide those of x.
        width, depth, heads: of the transformer.
        spread: s, standard deviation of the noise that it learns with.
        feed_forward: whether candidates are not read: the baseline.
        steps, start: of the descent.
    """

    def __init__(
        self, shape: Sequence[int], patch: Sequence[int], width: int = 128, depth: int = 4, heads: int = 4,
        spread: float = 0.3, feed_forward: bool = False, steps: int = 2, start: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(steps, start)
        self.event_shape = tuple(shape)
        self.patches, self.spread, self.feed_forward = Patches(shape[1:], patch), spread, feed_forward
        elements = shape[0] * self.patches.elements
        self.enter, self.head = nn.Linear(elements, width), readout(width, elements)
        self.enter_candidate = None if feed_forward else nn.Linear(elements, width)
        self.places = nn.Parameter(0.02 * torch.randn(self.patches.num, width))
        self.body = Transformer(width, depth, heads)
        self._known: Tensor | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        if self._known is not None:
            raise TypeError("an energy that was told what is seen is not saved: save it as it was before `told`")
        return {**super().arguments, "spread": self.spread}

    @property
    def per_sample(self) -> bool:
        return self._known is not None and len(self._known) > 1

    @property
    def origin(self) -> Tensor | float:
        return 0.0 if self._known is None or len(self._known) > 1 else self._known[0]

    @property
    def level(self) -> float:
        return self.spread

    def told(self, y: Tensor) -> DenoisingEnergy:
        """The energy of x given noisy ones y [B or 1, *event]; the weights are shared."""
        return self.bind(_known=y)

    def forward(self, x: Tensor) -> Tensor:
        """RuntimeError: it was not told what is seen."""
        if self._known is None:
            raise RuntimeError("this energy needs to be told what is seen: energy.told(y)")
        y = self._known.to(x).expand(len(x), *x.shape[1:])
        return self.energies(y, (x - y) / self.spread)[:, 0]

    def seen(self, x: Tensor, level: float, noise: Callable[[Tensor], Tensor]) -> Tensor:
        return x + level * noise(x)

    def wanted(self, x: Tensor, first: int) -> Tensor:
        return x

    def read(self, known: Tensor, first: int, num: int) -> Tensor:
        """Tokens of what is known; of a feed-forward energy G itself."""
        tokens = self.enter(self.patches(known)) + self.places
        return self.head(self.body(tokens)) if self.enter_candidate is None else tokens

    def energies(self, known: Tensor, point: Tensor, first: int = 0, past: Tensor | None = None) -> Tensor:
        u = self.patches(point)
        field = self.read(known, first, 1) if past is None else past
        if self.enter_candidate is not None:
            field = self.head(self.body(field + self.enter_candidate(u)))
        return (u.square() / 2 - u * field).flatten(1).sum(1, keepdim=True)

    def estimate(self, known: Tensor, z: Tensor, first: int = 0) -> Tensor:
        return known + self.spread * z

    def errors(self, known: Tensor, z: Tensor, x: Tensor, first: int = 0) -> Tensor:
        return (z - (x - known) / self.spread).square().flatten(1).mean(1, keepdim=True)

    def quality(self, errors: Tensor) -> float:
        return decibels(errors.mean() * self.spread**2)
