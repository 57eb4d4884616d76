"""Our default for voxels: one energy of shapes that synthesises, recovers and refines.

Its reference is a Gaussian of low rank, learned from the shapes themselves and conditioned in closed form on whatever
is seen (`energies.shapes`); a ConvNet tilts it, as in the DescriptorNet (Xie et al. 2018), at every noise level
(`energies.refiner`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from energies.energy import Energy
from energies.observation import Average, Hidden
from energies.refiner import Refiner
from energies.shapes import NUM_OTHERS, Details, Memory

CUBIC = (2, 2, 2)


class VoxelEnergy(Energy):
    """E(x) over shapes x [B, 1, N, N, N] in [-1, 1].

    Args:
        size: N.
        num_shapes: how many its reference remembers.
        widths, depths: of the network (`convnet.UNet`).
        rank: of the Gaussian reference.
        noise: of a voxel beyond that, in units of x.
    """

    def __init__(
        self,
        size: int,
        num_shapes: int,
        widths: Sequence[int] = (32, 64, 128, 192),
        depths: Sequence[int] = (2, 1, 1, 1),
        rank: int = 600,
        noise: float = 0.6,
    ) -> None:
        super().__init__()
        self.event_shape = (1, size, size, size)
        self.rank, self.noise = rank, noise
        self.widths, self.depths = tuple(widths), tuple(depths)
        self.refiner = Refiner(1, NUM_OTHERS, widths, depths, CUBIC)
        self.shapes: Tensor
        self.register_buffer("shapes", torch.zeros(num_shapes, size**3, dtype=torch.uint8))

    @property
    def remembers(self) -> bool:
        """Whether it has a reference of whole shapes; else it refines details of grids of any size."""
        return len(self.shapes) > 0

    def remember(self, x: Tensor) -> None:
        """Learn from the shapes x [num_shapes, 1, N, N, N], which may be means of blocks."""
        self.shapes.copy_(levels(x))
        self.__dict__.pop("memory", None)

    def _apply(self, *arguments: Any, **settings: Any) -> VoxelEnergy:
        """Moved to another device, it makes its memory anew there."""
        self.__dict__.pop("memory", None)
        return super()._apply(*arguments, **settings)

    @cached_property
    def memory(self) -> Memory:
        """Of the shapes; made when first asked for, and not again."""
        if not self.remembers:
            raise RuntimeError("this energy refines details and remembers no whole shapes: condition it on block means")
        with torch.autocast(self.shapes.device.type, enabled=False):
            return Memory((self.shapes / 127.5 - 1).view(-1, *self.event_shape), self.rank, self.noise)

    def free(self, num: int = 1) -> Refiner:
        """The energies of `num` shapes of which nothing is seen."""
        return self.refiner.given(self.memory.free(num))

    def given(self, observation: Hidden | Average, y: Tensor) -> Refiner:
        """The energies of shapes given y [B, 1, ...]: seen voxels (any value where hidden), or block means.

        Without remembered shapes these may be of any size.
        """
        reference = self.memory if self.remembers else Details()
        with torch.autocast(y.device.type, enabled=False):
            return self.refiner.given(reference.context(observation, y))

    def forward(self, x: Tensor) -> Tensor:
        return self.free().at(0.1)(x)


def levels(x: Tensor) -> Tensor:
    """uint8 [n, voxels] of x [n, *event] in [-1, 1]: how shapes are remembered."""
    return ((x.flatten(1) + 1) * 127.5).round().to(torch.uint8)
