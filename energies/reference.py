"""Our default for recovery in data sets: one energy that synthesises, recovers and refines whole x of a kind.

Its reference is a Gaussian of low rank, learned from the data itself and conditioned in closed form on whatever is seen
(`energies.memory`); a ConvNet tilts it, as in the DescriptorNet (Xie et al. 2018), at every noise level
(`energies.refiner`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from energies.energy import Energy
from energies.memory import NUM_OTHERS, Details, Memory
from energies.observation import Observation
from energies.refiner import Refiner

CUBIC, FLAT = (2, 2, 2), (1, 2, 2)


class ReferenceEnergy(Energy):
    """E(x) over shapes x [B, 1, N, N, N] of two values -1 and 1, or over pictures [B, C, 1, H, W] in [-1, 1].

    Args:
        shape: of one x; a depth of 1 makes it a picture. Shapes are remembered with their mirror images.
        num_remembered: how many its reference remembers; 0: it refines details of x of any size.
        widths, depths: of the network (`convnet.UNet`).
        rank: of the Gaussian reference.
        noise: of an element beyond that, in units of x.
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_remembered: int,
        widths: Sequence[int] = (32, 64, 128, 192),
        depths: Sequence[int] = (2, 1, 1, 1),
        rank: int = 600,
        noise: float = 0.6,
    ) -> None:
        super().__init__()
        self.event_shape = tuple(shape)
        self.flat = shape[1] == 1
        self.rank, self.noise = rank, noise
        self.widths, self.depths = tuple(widths), tuple(depths)
        stride = FLAT if self.flat else CUBIC
        self.refiner = Refiner(shape[0], NUM_OTHERS, widths, depths, stride, flat=self.flat)
        self.remembered: Tensor
        size = shape[0] * shape[1] * shape[2] * shape[3]
        self.register_buffer("remembered", torch.zeros(num_remembered, size, dtype=torch.uint8))

    @property
    def remembers(self) -> bool:
        """Whether it has a reference of whole x; else it refines details of any size."""
        return len(self.remembered) > 0

    def remember(self, x: Tensor) -> None:
        """Learn from x [num_remembered, *shape], which may be means of blocks."""
        self.remembered.copy_(levels(x))
        self.__dict__.pop("memory", None)

    def _apply(self, *arguments: Any, **settings: Any) -> ReferenceEnergy:
        """Moved to another device, it makes its memory anew there."""
        self.__dict__.pop("memory", None)
        return super()._apply(*arguments, **settings)

    @cached_property
    def memory(self) -> Memory:
        """Of what it remembers; made when first asked for, and not again."""
        if not self.remembers:
            raise RuntimeError("this energy refines details and remembers nothing whole: condition it on block means")
        with torch.autocast(self.remembered.device.type, enabled=False):
            return Memory((self.remembered / 127.5 - 1).view(-1, *self.event_shape), self.rank, self.noise)

    def free(self, num: int = 1) -> Refiner:
        """The energies of `num` x of which nothing is seen."""
        return self.refiner.given(self.memory.free(num))

    def given(self, observation: Observation, y: Tensor) -> Refiner:
        """The energies of x given y: seen elements (any value where hidden), block means, or grey pictures.

        Without a memory these may be of any size.
        """
        reference = self.memory if self.remembers else Details()
        with torch.autocast(y.device.type, enabled=False):
            return self.refiner.given(reference.context(observation, y))

    def forward(self, x: Tensor) -> Tensor:
        return self.free().at(0.1)(x)


def levels(x: Tensor) -> Tensor:
    """uint8 [n, elements] of x [n, *event] in [-1, 1]: how x is remembered."""
    return ((x.flatten(1) + 1) * 127.5).round().to(torch.uint8)
