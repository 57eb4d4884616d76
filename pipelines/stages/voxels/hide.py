"""Hide part of shapes that were not learned from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import voxels
from data.errors import InputError
from energies import Hidden, Noisy, Observation
from pipelines.pipeline import Run
from pipelines.stages.voxels.grids import unpack


@dataclass(frozen=True)
class Hide:
    """Hide part of each shape to judge by: voxels at random, a half, or a box. With none of them, voxels=0.7. What is
    seen may be noisy."""

    needs: ClassVar[tuple[str, ...]] = ("shapes", "source")
    gives: ClassVar[tuple[str, ...]] = ("targets", "hidden", "observation", "measured", "truth_known")

    voxels: float | None = None
    """Share of the voxels to hide at random, between 0 and 1."""

    half: bool = False
    """Hide the half on a random side."""

    box: int | None = None
    """Hide a cube of so many voxels a side, at a random place."""

    noise: float | None = None
    """Standard deviation of noise on the voxels that are seen, in units of x (half the range of values); null: none."""

    num: int = 64
    """Shapes to recover, at most."""

    shape: str | None = None
    """A file with a shape of your own, to recover in place of those."""

    index: int | None = None
    """Which one, in a file of several grids."""

    mask: str | None = None
    """With shape: a file with a grid that is set where the shape is damaged. The truth there is unknown and not
    scored."""

    def __post_init__(self) -> None:
        made = [name for name in ("voxels", "box") if getattr(self, name) is not None] + ["half"] * self.half
        if len(made) > 1 or (made and self.mask):
            names = " and ".join([*made, *["mask"] * bool(self.mask)])
            raise ValueError(f"{names} cannot be combined; give one, and null to a pipeline's own, as hide.box=null")
        if self.voxels is not None and not 0 < self.voxels < 1:
            raise ValueError(f"voxels must lie between 0 and 1, got {self.voxels}")
        if self.box is not None and self.box < 1:
            raise ValueError(f"box must be 1 or more, got {self.box}")
        if self.noise is not None and not self.noise > 0:
            raise ValueError(f"noise must be positive, or null; got {self.noise}")
        if self.num < 1:
            raise ValueError(f"num must be 1 or more, got {self.num}")
        if self.mask is not None and self.shape is None:
            raise ValueError("mask needs shape, the damaged shape that it belongs to")
        if self.index is not None and self.shape is None:
            raise ValueError("index needs shape, the file of several grids")

    def files(self) -> tuple[str, ...]:
        return tuple(file for file in (self.shape, self.mask) if file)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        shapes = values["shapes"]
        side = shapes["side"]
        if self.shape is None:
            targets = unpack(shapes["validation"][: self.num], side)
        else:
            up, pad = values["source"]["up"], values["source"]["pad"]
            targets = voxels.read(self.shape, side, up, pad=pad, index=self.index)[None, None].float() * 2 - 1
        rng = run.generator("hide")
        if self.mask is not None:
            up, pad = values["source"]["up"], values["source"]["pad"]
            if Path(self.mask).suffix.lower() in voxels.MESHES:
                raise InputError(f"{self.mask}: a mesh would be scaled to fill the cube; give the mask as a grid")
            hidden = voxels.read(self.mask, side, up, pad=pad)[None, None]
        else:
            hidden = torch.stack([self._made(side, rng) for _ in targets])
        if not hidden.flatten(1).any(1).all() or hidden.flatten(1).all(1).any():
            raise InputError(f"{self.mask or 'hide'} must hide something of every shape and leave something to be seen")
        observation: Observation = Hidden(hidden)
        if self.noise is None:
            measured = observation.observe(targets).to(torch.int8)  # of -1, 0 and 1
        else:
            observation = Noisy(observation, self.noise)
            measured = observation.sample(targets, run.generator("noise"))
        return {
            "targets": targets.to(torch.int8),
            "hidden": hidden,
            "observation": observation,
            "measured": measured,
            "truth_known": self.mask is None,
        }

    def _made(self, side: int, rng: torch.Generator) -> Tensor:
        if self.half:
            return half(side, rng)
        if self.box is not None:
            if self.box > side:
                raise InputError(f"hide.box={self.box} does not fit into {side} voxels a side")
            return box(side, self.box, rng)
        return scattered(side, self.voxels or 0.7, rng)


def scattered(side: int, share: float, rng: torch.Generator) -> Tensor:
    """Voxels at random: bool [1, N, N, N], True = hidden."""
    return torch.rand(1, side, side, side, generator=rng) < share


def half(side: int, rng: torch.Generator) -> Tensor:
    """One of the six halves."""
    axis, end = (int(torch.randint(n, (), generator=rng)) for n in (3, 2))
    hidden = torch.zeros(1, side, side, side, dtype=torch.bool)
    middle = side // 2
    hidden.movedim(axis + 1, 0)[slice(middle, side) if end else slice(0, middle)] = True
    return hidden


def box(side: int, edge: int, rng: torch.Generator) -> Tensor:
    """A cube somewhere."""
    low = torch.randint(side - edge + 1, (3,), generator=rng).tolist()
    hidden = torch.zeros(1, side, side, side, dtype=torch.bool)
    hidden[(0, *(slice(at, at + edge) for at in low))] = True
    return hidden
