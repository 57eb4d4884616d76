"""Mirror images of voxel grids: what is hidden of a symmetric shape is seen on its other side."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

AGREED = 32  # shapes that tell how symmetric the others are
CERTAIN = 0.1  # of a shape's voxels that are seen: how much that tells beside it


class Mirrors:
    """Planes across which shapes are mirrored, and how well shapes agree with their images across each.

    Args:
        shapes: [n, 1, N, N, N], positive where they are solid; some of them are looked at.
    """

    def __init__(self, shapes: Tensor) -> None:
        known = shapes[:AGREED, 0] > 0
        self.planes = list(planes(known.shape[-1]))
        everywhere = torch.ones_like(known)
        agreements = (_agreement(known, everywhere, *plane) for plane in self.planes)
        self.usual = torch.stack([(both / either.clamp(min=1)).mean() for both, either in agreements])

    def images(self, x: Tensor, hidden: Tensor, otherwise: Tensor) -> Tensor:
        """Where each shape is hidden its own mirror image, 1 and -1; where the image is hidden too or out of the grid,
        and where something is seen, another field.

        The plane is the one across which shape and image agree best, by intersection over union where both are seen, as
        if CERTAIN of its voxels more had been seen that agree as known shapes do. Planes that show less than half as
        much of what is hidden as another are left out.

        Args:
            x: [B, 1, N, N, N], positive where it is solid; any value where it is hidden.
            hidden: bool, the same shape.
            otherwise: the other field, the same shape.
        """
        solid, mask = (x > 0)[:, 0] & ~hidden[:, 0], hidden[:, 0]
        extra = CERTAIN * solid.flatten(1).sum(1)
        shown, likely = [], []
        for plane, usual in zip(self.planes, self.usual.to(x.device), strict=True):
            both, either = _agreement(solid, ~mask, *plane)
            likely.append((both + extra * usual) / (either + extra).clamp(min=1))
            shown.append((image(~mask, *plane) & mask).flatten(1).sum(1))
        counts = torch.stack(shown)
        able = 2 * counts >= counts.amax(0)
        best = torch.where(able, torch.stack(likely), -1.0).argmax(0)
        made = otherwise.clone()
        for k in best.unique().tolist():
            rows = best == k
            there = mask[rows] & image(~mask[rows], *self.planes[k])
            values = image(solid[rows], *self.planes[k]).to(made.dtype) * 2 - 1
            made[rows, 0] = torch.where(there, values, made[rows, 0])
        return made


def planes(side: int) -> Iterator[tuple[int, int]]:
    """Planes across which a grid is mirrored: an axis, and twice their distance from the middle in voxels."""
    for shift in sorted(range(-(side // 4), side // 4 + 1), key=abs):
        yield from ((axis, shift) for axis in range(3))


def image(x: Tensor, axis: int, shift: int) -> Tensor:
    """The mirror image of grids [n, N, N, N]; 0 where it comes from out of the grid."""
    side = x.shape[1 + axis]
    places = side - 1 - torch.arange(side, device=x.device) + shift
    found = x.index_select(1 + axis, places.clamp(0, side - 1))
    inside = ((places >= 0) & (places < side)).view([-1 if other == axis else 1 for other in range(3)])
    return found * inside


def _agreement(solid: Tensor, seen: Tensor, axis: int, shift: int) -> tuple[Tensor, Tensor]:
    """Voxels [n] that are set in grids and in their images, and in either, where both are seen."""
    other, where = image(solid, axis, shift), seen & image(seen, axis, shift)
    return (solid & other & where).flatten(1).sum(1), ((solid | other) & where).flatten(1).sum(1)
