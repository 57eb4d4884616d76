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
        self.mask = None if hide.mask is None else Path(hide.mask)
        self.up = self.asked_up or voxels.default_up(self.path)
        if not _is_mesh(self.path) and (hide.frame or hide.region or hide.holes):
            name = "frame" if hide.frame else "region" if hide.region else "holes"
            raise InputError(f"hide.{name} is of meshes; {self.path} is a grid, which has no units: give hide.mask")
        self.frame = self._frame(source.get("frame")) if _is_mesh(self.path) else None

    def _frame(self, usual: voxels.Frame | None) -> voxels.Frame:
        hide = self.hide
        if hide.frame is not None:
            return voxels.frame_of([Path(hide.frame)], self.side, self.asked_up)
        if usual is not None:
            return usual
        meshes = [self.path] if self.mask is None or not _is_mesh(self.mask) else [self.path, self.mask]
        return voxels.frame_of(meshes, self.side, self.asked_up, self._corners())

    def _corners(self) -> np.ndarray | None:
        """The two corners [2, 3] of the region, with z up."""
        if self.hide.region is None:
            return None
        corners = np.array(self.hide.region).reshape(2, 3)
        return voxels.upright(corners) if self.up == "y" else corners

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
        if self.mask is not None:
            return self._mask(self.mask)[None, None]
        if self.hide.holes and self.frame is not None:
            return voxels.unseen(self.path, self.frame, self.asked_up)[None, None]
        corners = self._corners()
        return None if corners is None or self.frame is None else self._region(corners, self.frame)[None, None]

    def _mask(self, mask: Path) -> Tensor:
        if _is_mesh(mask):
            if self.frame is None:
                raise InputError(f"{mask}: is a mesh, and {self.path} a grid without units; give the mask as a grid")
            return voxels.read(mask, self.side, self.asked_up, frame=self.frame)
        hidden = voxels.read(mask, self.side if self.pad else None, self.asked_up, pad=self.pad)
        if len(hidden) != self.side:
            found, wanted = ("x".join(3 * [str(side)]) for side in (len(hidden), self.side))
            raise InputError(f"{mask}: the mask is of {found} voxels, the shapes are of {wanted}; give one of {wanted}")
        return hidden

    def _region(self, corners: np.ndarray, frame: voxels.Frame) -> Tensor:
        """The voxels whose centres lie in the box."""
        points = np.clip(np.ceil(frame.to_grid(corners) - 0.5), 0, self.side).astype(int)
        hidden = torch.zeros((self.side,) * 3, dtype=torch.bool)
        hidden[tuple(slice(low, high) for low, high in zip(points.min(0), points.max(0), strict=True))] = True
        if not hidden.any():
            raise InputError(
                f"hide.region={list(self.hide.region or ())}: holds no voxel of {self.path}; mind its units"
            )
        return hidden


def _is_mesh(path: Path) -> bool:
    return path.suffix.lower() in voxels.MESHES
