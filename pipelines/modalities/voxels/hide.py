"""Hide part of shapes that were not learned from."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Average, Hidden, Noisy, Observation
from pipelines.examples import Examples
from pipelines.modalities.voxels.own import Own
from pipelines.settings import check_there
from pipelines.stage import Run
from pipelines.warned import told

SHARE = 0.7  # of the voxels, hidden where nothing is asked


@dataclass(frozen=True)
class Hide:
    """Hide part of each shape to judge by: voxels at random, a half, a box, or all but the means of blocks
    (super-resolution); add noise to what is seen. With none of them, voxels=0.7."""

    needs: ClassVar[tuple[str, ...]] = ("data", "source")
    gives: ClassVar[tuple[str, ...]] = ("targets", "measured", "observation", "truth_known", "scan")

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
    """A file with a shape of your own, to recover in place of those. What is recovered of a mesh is written in its own
    axes and units. With average, a grid that is already as coarse as the means is what is seen; then the truth is
    unknown and not scored."""

    index: int | None = None
    """Which one, in a file of several grids."""

    frame: str | None = None
    """With shape: a mesh whose box is the cube, such as the whole that a part is missing of; null: load.frame, or the
    box of the shape, its mask and its region together."""

    mask: str | None = None
    """With shape: a file that is set where the shape is damaged: a grid, or a mesh that lies beside that of the shape.
    The truth there is unknown and not scored."""

    region: tuple[float, float, float, float, float, float] | None = None
    """With shape: hide the box of these corners, x y z and x y z in the axes and units of its file. The truth there is
    unknown and not scored."""

    holes: bool = False
    """With shape: hide where its mesh has no surface that tells what is inside: its winding number lies between .1 and
    .9, about as far from a hole as that is wide. The truth there is unknown and not scored."""

    def __post_init__(self) -> None:
        own = [name for name in ("mask", "region") if getattr(self, name) is not None] + ["holes"] * self.holes
        made = [name for name in ("voxels", "box", "average") if getattr(self, name) is not None]
        made += ["half"] * self.half
        if len(made) + len(own) > 1:
            names = " and ".join([*made, *own])
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
        alone = [*own, *[name for name in ("frame", "index") if getattr(self, name) is not None]]
        if alone and self.shape is None:
            raise ValueError(f"{alone[0]} needs shape, a file with a shape of your own")
        if self.region is not None and not _is_box(self.region):
            raise ValueError(f"region must be a corner and the higher one, x0 y0 z0 x1 y1 z1; got {self.region}")
        check_there(shape=self.shape, mask=self.mask, frame=self.frame)

    def files(self) -> tuple[str, ...]:
        return tuple(file for file in (self.shape, self.mask, self.frame) if file)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        side = data.shape[-1]
        if self.average is not None and (side % self.average or self.average == side):
            raise InputError(f"hide.average={self.average} must be less than the {side} voxels a side, and divide it")
        if self.box is not None and self.box > side:
            raise InputError(f"hide.box={self.box} does not fit into {side} voxels a side")
        known, scan, damage = True, None, None
        if self.shape is None:
            targets = data.x("validation", slice(self.num))
        else:
            own = Own(self, side, values["source"])
            with told() as notes:
                targets, known = own.read()
                damage = own.damage()
            known = known and damage is None
            scan = {"frame": own.frame, "up": own.up, "notes": notes}
        operator = self._operator(len(targets), side, damage, run)
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
            "scan": scan,
        }

    def _operator(self, num: int, side: int, damage: Tensor | None, run: Run) -> Observation:
        """What is seen of x [num, 1, N, N, N], without noise."""
        if self.average is not None:
            return Average((self.average,) * 3)
        if damage is None and self.noise is not None and self.voxels is None and not self.half and self.box is None:
            return Hidden(torch.zeros(1, 1, 1, 1, 1, dtype=torch.bool))
        rng = run.generator("hide")
        hidden = damage if damage is not None else torch.stack([self._made(side, rng) for _ in range(num)])
        if not hidden.flatten(1).any(1).all() or hidden.flatten(1).all(1).any():
            raise InputError(f"{self.mask or 'hide'} must hide something of every shape and leave something to be seen")
        return Hidden(hidden)

    def _made(self, side: int, rng: torch.Generator) -> Tensor:
        if self.half:
            return half(side, rng)
        if self.box is not None:
            return box(side, self.box, rng)
        return scattered(side, self.voxels or SHARE, rng)


def _is_box(corners: tuple[float, ...]) -> bool:
    return all(map(isfinite, corners)) and all(a < b for a, b in zip(corners[:3], corners[3:], strict=True))


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
