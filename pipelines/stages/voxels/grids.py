"""Grids between the stages: packed bits where there are many, float fields in [-1, 1] where they are worked on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data import rendering, voxels
from data.errors import InputError
from data.frames import from_uint8
from energies import Energy
from pipelines.measures.solids import likeliest as likeliest


def check_side(energy: Energy, side: int, stage: str) -> None:
    """InputError if an energy is not of the shapes' size."""
    if not energy.fits((1, side, side, side)):
        raise InputError(
            f"{stage}: the shapes are {side} voxels a side, the energy is of {energy.event_shape[-1]}; "
            "set load.size or learn.size"
        )


def pack(solid: Tensor) -> Tensor:
    """uint8 [n, bytes] of bool [n, 1, N, N, N]."""
    return torch.from_numpy(np.packbits(solid.flatten(1).numpy(), axis=1))


def unpack(bits: Tensor, side: int) -> Tensor:
    """{-1, 1} [n, 1, N, N, N] of bits."""
    return voxels.unpack([row.tobytes() for row in bits.numpy()], side)


def averaged(bits: Tensor, side: int, size: int) -> Tensor:
    """[n, 1, size, size, size] in [-1, 1]: block means of cubes of `side` voxels a side, which size divides."""
    parts = (unpack(part, side) for part in bits.split(64))
    return torch.cat([F.avg_pool3d(part, side // size) if size < side else part for part in parts])


def mirrored(x: Tensor, rng: torch.Generator) -> Tensor:
    """Shapes [n, 1, N, N, N], or their mirror images, at random."""
    chosen = torch.rand(len(x), generator=rng, device=rng.device) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1, 1), x.flip(2), x)


def rendered(solids: Tensor) -> Tensor:
    """Pictures of bool [n, 1, N, N, N], as the frames of a clip [3, n, H, W] in [-1, 1]."""
    return from_uint8(np.stack([rendering.render(solid, size=144) for solid in solids]))


def top_of_blocks(field: Tensor, coarse: Tensor) -> Tensor:
    """The likeliest solid, bool [n, 1, N, N, N], with as many voxels in every block as its mean says.

    Args:
        field: expected x, [n, 1, N, N, N].
        coarse: block means in [-1, 1], [n, 1, M, M, M].
    """
    factor = field.shape[-1] // coarse.shape[-1]
    num = ((coarse + 1) / 2 * factor**3).round().long().flatten()
    blocks = field
    for axis in (2, 4, 6):
        blocks = blocks.unflatten(axis, (-1, factor))
    blocks = blocks.permute(0, 1, 2, 4, 6, 3, 5, 7)
    values = blocks.reshape(-1, factor**3)
    rank = values.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    solid = (rank < num[:, None]).view(blocks.shape).permute(0, 1, 2, 5, 3, 6, 4, 7)
    return solid.reshape(field.shape)
