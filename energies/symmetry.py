"""Products of one energy over transforms of x: what it does not distinguish, and x larger than what it has seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from energies.algebra import Composite
from energies.energy import Energy
from energies.family import Family

One = TypeVar("One", bound="OfOne")


@dataclass(frozen=True)
class Turn:
    """A turn of x [B, *event] by `times` right angles in the plane of two axes, counted from the last one (-1)."""

    axes: tuple[int, int] = (-2, -1)
    times: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        return torch.rot90(x, self.times, self.axes)


@dataclass(frozen=True)
class Flip:
    """x mirrored along an axis, counted from the last one (-1)."""

    axis: int = -1

    def __call__(self, x: Tensor) -> Tensor:
        return x.flip(self.axis)


Transform = Turn | Flip
TURNS = tuple(Turn(times=k) for k in range(4))
"""All turns of a picture: a group, the identity among them."""


class OfOne(Composite):
    """Base of compositions of one energy with itself: a label of it is theirs."""

    def __init__(self, parts: Sequence[Energy]) -> None:
        super().__init__(parts)
        if len(self.energies) != 1:
            raise ValueError(f"one energy is needed, got {len(self.energies)}")
        part = self.parts[0]
        if isinstance(part, Family):
            self.num_classes, self.classes = part.num_classes, part.classes

    def given(self: One, label: int | str | Tensor | None) -> One:
        part = self.parts[0]
        if not isinstance(part, Family):
            raise ValueError("this energy knows no labels")
        return self._with(nn.ModuleList([part.given(label)]))


class Invariant(OfOne):
    """E(x) = mean_T E(T x), the product of experts over transforms, at the temperature of one.

    Where the transforms are a group, E(T x) = E(x) for each of them.

    Args:
        parts: the one energy.
        transforms: of x; by default the four turns of a picture.
    """

    def __init__(self, parts: Sequence[Energy], transforms: Sequence[Transform] = TURNS) -> None:
        super().__init__(parts)
        if not transforms:
            raise ValueError("one transform or more are needed")
        self.transforms = tuple(transforms)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.parts[0](transform(x)) for transform in self.transforms]).mean(0)

    def _settings(self) -> dict[str, Any]:
        return {"transforms": self.transforms}


class Tiled(OfOne):
    """E(X) of X larger than what an energy was learned of: the product over overlapping windows.

    It is at the temperature of one window. X goes on at its opposite edge, so that every element lies in as many
    windows; cut a border of one window off where that is not wanted. It needs no network that can be resized, and the
    mean of the data must not depend on the place.

    Args:
        parts: the one energy, whose `event_shape` [C, ...] is the window.
        size: of X without channels, each a multiple of the stride and no smaller than the window.
        stride: between windows, along each axis; it must divide the window.
    """

    def __init__(self, parts: Sequence[Energy], size: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__(parts)
        self.size, self.stride = tuple(size), tuple(stride)
        channels, *window = self.event_shape
        self.window = tuple(window)
        axes = list(zip(self.size, self.window, self.stride, strict=True))
        if any(s < 1 or n < w or n % s or w % s for n, w, s in axes):
            raise ValueError(f"size {self.size} and window {self.window} must be multiples of the stride {self.stride}")
        self.share = 1 / math.prod(w // s for _, w, s in axes)  # every element lies in so many windows
        self.event_shape = (channels, *self.size)

    @property
    def mean(self) -> Tensor:
        """Of the data, by channel."""
        return self._everywhere(super().mean)

    @property
    def origin(self) -> Tensor | float:
        found = super().origin
        return self._everywhere(found) if isinstance(found, Tensor) and not self.noisy else found

    def _everywhere(self, mean: Tensor) -> Tensor:
        """The mean of every channel of a window."""
        return mean.flatten(1).mean(1).reshape(-1, *[1] * len(self.size))

    def forward(self, x: Tensor) -> Tensor:
        starts = list(product(*(range(0, n, s) for n, s in zip(self.size, self.stride, strict=True))))
        axes = tuple(range(-len(self.size), 0))
        windows = (self._cut(x.roll([-k for k in start], axes)) for start in starts)
        return self.share * torch.stack([self.parts[0](window) for window in windows]).sum(0)

    def _cut(self, x: Tensor) -> Tensor:
        for axis, w in zip(range(-len(self.size), 0), self.window, strict=True):
            x = x.narrow(axis, 0, w)
        return x

    def _settings(self) -> dict[str, Any]:
        return {"size": list(self.size), "stride": list(self.stride)}


def invariant(energy: Energy, transforms: Sequence[Transform] = TURNS) -> Invariant:
    """The product of an energy over transforms of x; rotations of a picture by default."""
    return Invariant([energy], transforms)


def tiled(energy: Energy, size: Sequence[int], stride: Sequence[int]) -> Tiled:
    """The product of an energy over overlapping windows of a larger X of that size."""
    return Tiled([energy], size, stride)
