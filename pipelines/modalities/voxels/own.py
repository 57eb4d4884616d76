"""A damaged shape of a person's own: where it lies in the cube, and what of it is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data import voxels
from data.errors import InputError

if TYPE_CHECKING:
    from pipelines.modalities.voxels.hide import Hide


class Own:
    """What settings of `hide` say of a shape.

    Attributes:
        frame: of a mesh; None: the shape is a grid, which has no units.
        up: the axis of its file that points up.
    """

    def __init__(self, hide: Hide, side: int, source: dict[str, Any]) -> None:
        assert hide.shape is not None
        self.hide, self.side, self.pad = hide, side, source["pad"]
        self.asked_up = source["up"]
        self.path = Path(hide.shape)
        self.is_mesh = self.path.suffix.lower() in voxels.MESHES
        self.up = self.asked_up or voxels.default_up(self.path)
        if not self.is_mesh and (hide.frame or hide.region or hide.holes):
            name = "frame" if hide.frame else "region" if hide.region else "holes"
            raise InputError(f"hide.{name} is of meshes; {self.path} is a grid, which has no units: give hide.mask")
        self.frame = self._frame(source.get("frame")) if self.is_mesh else None

    def _frame(self, usual: voxels.Frame | None) -> voxels.Frame:
        hide = self.hide
        if hide.frame is not None:
            return voxels.frame_of([Path(hide.frame)], self.side, self.asked_up)
        if usual is not None:
            return usual
        meshes = [self.path, *[Path(hide.mask)] * self._mask_is_mesh()]
        corners = np.array(hide.region).reshape(2, 3) if hide.region else None
        if corners is not None and self.up == "y":
            corners = voxels.upright(corners)
        return voxels.frame_of(meshes, self.side, self.asked_up, corners)

    def _mask_is_mesh(self) -> bool:
        return self.hide.mask is not None and Path(self.hide.mask).suffix.lower() in voxels.MESHES

    def read(self) -> tuple[Tensor, bool]:
        """The shape [1, 1, N, N, N], and whether it is the truth: a coarse grid is what is seen of it."""
        average = self.hide.average
        try:
            solid = voxels.read(
                self.path, self.side, self.asked_up, pad=self.pad, index=self.hide.index, frame=self.frame
            )
            return solid[None, None].float() * 2 - 1, True
        except InputError:
            coarse = None if average is None else self._coarse(self.side // average)
            if coarse is None:
                raise
            return F.interpolate(coarse[None, None].float(), (self.side,) * 3) * 2 - 1, False

    def _coarse(self, size: int) -> Tensor | None:
        """The grid of the file, where it is of `size` voxels a side."""
        try:
            return voxels.read(self.path, size, self.asked_up, index=self.hide.index)
        except InputError:
            return None

    def damage(self) -> Tensor | None:
        """Bool [1, 1, N, N, N], set where the shape is damaged; None: nothing is said of it."""
        hide = self.hide
        if hide.mask is not None:
            return self._mask(Path(hide.mask))[None, None]
        if hide.holes and self.frame is not None:
            return voxels.unseen(self.path, self.frame, self.asked_up)[None, None]
        return None if hide.region is None else self._region(hide.region)[None, None]

    def _mask(self, mask: Path) -> Tensor:
        if self._mask_is_mesh():
            if self.frame is None:
                raise InputError(f"{mask}: is a mesh, and {self.path} a grid without units; give the mask as a grid")
            return voxels.read(mask, self.side, self.asked_up, frame=self.frame)
        hidden = voxels.read(mask, self.side if self.pad else None, self.asked_up, pad=self.pad)
        if len(hidden) != self.side:
            found, wanted = ("x".join(3 * [str(side)]) for side in (len(hidden), self.side))
            raise InputError(f"{mask}: the mask is of {found} voxels, the shapes are of {wanted}; give one of {wanted}")
        return hidden

    def _region(self, corners: tuple[float, ...]) -> Tensor:
        """The voxels whose centres lie in the box."""
        assert self.frame is not None
        places = np.array(corners).reshape(2, 3)
        points = self.frame.to_grid(voxels.upright(places) if self.up == "y" else places)
        first = np.clip(np.ceil(points.min(0) - 0.5), 0, self.side).astype(int)
        last = np.clip(np.ceil(points.max(0) - 0.5), 0, self.side).astype(int)
        hidden = torch.zeros((self.side,) * 3, dtype=torch.bool)
        hidden[tuple(slice(low, high) for low, high in zip(first.tolist(), last.tolist(), strict=True))] = True
        if not hidden.any():
            raise InputError(f"hide.region={' '.join(map(str, corners))} holds no voxel of {self.path}")
        return hidden
