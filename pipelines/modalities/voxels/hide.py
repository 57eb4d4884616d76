"""Hide part of shapes that were not learned from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from data import voxels
from data.errors import InputError
from energies import Average, Hidden, Noisy, Observation
from pipelines.examples import Examples
from pipelines.settings import check_there
from pipelines.stage import Run

SHARE = 0.7  # of the voxels, hidden where nothing is asked


@dataclass(frozen=True)
class Hide:
    """Hide part of each shape to judge by: voxels at random, a half, a box, or all but the means of blocks
    (super-resolution); add noise to what is seen. With none of them, voxels=0.7."""

    needs: ClassVar[tuple[str, ...]] = ("data", "source")
    gives: ClassVar[tuple[str, ...]] = ("targets", "measured", "observation", "truth_known")

    voxels: float | None = None
    """Share of the voxels to hide at random, between 0 and 1."""

    half: bool = False
    """Hide the half on a random side."""

    box: int | None = None
    """Hide a cube of so many voxels a side, at a random place."""

    average: int | None = None
    """See only the means of blocks of so many voxels a side: 2 of 32 voxels a side gives 16, 4 gives 8."""

    noise: float | None = None
    """Standard deviation of noise on what is seen, in units of x (half the range of values); alone, of shapes that are
    seen whole. null: none."""

    num: int = 64
    """Shapes to recover, at most."""

    shape: str | None = None
    """A file with a shape of your own, to recover in place of those. With average, a grid that is already as coarse as
    the means is what is seen; then the truth is unknown and not scored."""

    index: int | None = None
    """Which one, in a file of several grids."""

    mask: str | None = None
    """With shape: a file with a grid that is set where the shape is damaged. The truth there is unknown and not
    scored."""

    def __post_init__(self) -> None:
        made = [name for name in ("voxels", "box", "average") if getattr(self, name) is not None]
        made += ["half"] * self.half
        if len(made) > 1 or (made and self.mask):
            names = " and ".join([*made, *["mask"] * bool(self.mask)])
            raise ValueError(f"{names} cannot be combined; give one, and null to a pipeline's own, as hide.box=null")
        if self.voxels is not None and not 0 < self.voxels < 1:
            raise ValueError(f"voxels must lie between 0 and 1, got {self.voxels}")
        if self.box is not None and self.box < 1:
            raise ValueError(f"box must be 1 or more, got {self.box}")
        if self.average is not None and self.average < 2:
            raise ValueError(f"average must be 2 or more, got {self.average}")
        if self.noise is not None and not 0 < self.noise <= 2:
            raise ValueError(f"noise must be positive and 2 at most, or null; got {self.noise}")
        if self.num < 1:
            raise ValueError(f"num must be 1 or more, got {self.num}")
        if self.mask is not None and self.shape is None:
            raise ValueError("mask needs shape, the damaged shape that it belongs to")
        if self.index is not None and self.shape is None:
            raise ValueError("index needs shape, the file of several grids")
        check_there(shape=self.shape, mask=self.mask)

    def files(self) -> tuple[str, ...]:
        return tuple(file for file in (self.shape, self.mask) if file)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        side = data.shape[-1]
        if self.average is not None and (side % self.average or self.average == side):
            raise InputError(f"hide.average={self.average} must be less than the {side} voxels a side, and divide it")
        if self.box is not None and self.box > side:
            raise InputError(f"hide.box={self.box} does not fit into {side} voxels a side")
        known = self.mask is None
        if self.shape is None:
            targets = data.x("validation", slice(self.num))
        else:
            targets, known_too = self._own(side, values["source"])
            known = known and known_too
        operator = self._operator(len(targets), side, values["source"], run)
        if self.noise is None:
            observation, measured = operator, operator.observe(targets)
        else:
            observation = Noisy(operator, self.noise)
            measured = observation.sample(targets, run.generator("noise"))
        if isinstance(observation, Hidden):
            measured = measured.to(torch.int8)  # of -1, 0 and 1
        return {
            "targets": targets.to(torch.int8),
            "measured": measured,
            "observation": observation,
            "truth_known": known,
        }

    def _own(self, side: int, source: dict[str, Any]) -> tuple[Tensor, bool]:
        """A person's own shape [1, 1, N, N, N], and whether it is the truth: a coarse grid is what is seen of it."""
        assert self.shape is not None
        try:
            solid = voxels.read(self.shape, side, source["up"], pad=source["pad"], index=self.index)
            return solid[None, None].float() * 2 - 1, True
        except InputError:
            if self.average is None:
                raise
            coarse = self._coarse(side // self.average, source)
            if coarse is None:
                raise
            return F.interpolate(coarse[None, None].float(), (side,) * 3) * 2 - 1, False

    def _coarse(self, size: int, source: dict[str, Any]) -> Tensor | None:
        """The grid of the file, where it is of `size` voxels a side."""
        assert self.shape is not None
        try:
            return voxels.read(self.shape, size, source["up"], index=self.index)
        except InputError:
            return None

    def _operator(self, num: int, side: int, source: dict[str, Any], run: Run) -> Observation:
        """What is seen of x [num, 1, N, N, N], without noise."""
        if self.average is not None:
            return Average((self.average,) * 3)
        if self.noise is not None and self.voxels is None and not self.half and self.box is None and self.mask is None:
            return Hidden(torch.zeros(1, 1, 1, 1, 1, dtype=torch.bool))
        if self.mask is not None:
            hidden = self._read_mask(self.mask, side, source)
        else:
            rng = run.generator("hide")
            hidden = torch.stack([self._made(side, rng) for _ in range(num)])
        if not hidden.flatten(1).any(1).all() or hidden.flatten(1).all(1).any():
            raise InputError(f"{self.mask or 'hide'} must hide something of every shape and leave something to be seen")
        return Hidden(hidden)

    def _read_mask(self, mask: str, side: int, source: dict[str, Any]) -> Tensor:
        if Path(mask).suffix.lower() in voxels.MESHES:
            raise InputError(f"{mask}: a mesh would be scaled to fill the cube; give the mask as a grid")
        return voxels.read(mask, side, source["up"], pad=source["pad"])[None, None]

    def _made(self, side: int, rng: torch.Generator) -> Tensor:
        if self.half:
            return half(side, rng)
        if self.box is not None:
            return box(side, self.box, rng)
        return scattered(side, self.voxels or SHARE, rng)


def scattered(side: int, share: float, rng: torch.Generator) -> Tensor:
    """Voxels at random: bool [1, N, N, N], True = hidden."""
    return torch.rand(1, side, side, side, generator=rng) < share


def half(side: int, rng: torch.Generator) -> Tensor:
    """One of the six halves: bool [1, N, N, N]."""
    axis, end = (int(torch.randint(n, (), generator=rng)) for n in (3, 2))
    hidden = torch.zeros(1, side, side, side, dtype=torch.bool)
    middle = side // 2
    hidden.movedim(axis + 1, 0)[slice(middle, side) if end else slice(0, middle)] = True
    return hidden


def box(side: int, edge: int, rng: torch.Generator) -> Tensor:
    """A cube of `edge` voxels a side somewhere: bool [1, N, N, N]."""
    low = torch.randint(side - edge + 1, (3,), generator=rng).tolist()
    hidden = torch.zeros(1, side, side, side, dtype=torch.bool)
    hidden[(0, *(slice(at, at + edge) for at in low))] = True
    return hidden
