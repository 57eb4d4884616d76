"""Refine block means of shapes to whole shapes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from data import voxels
from data.errors import InputError
from energies import Average, ConditionalEnergy, Energy
from energies.diagnostics import Monitor
from energies.matching import MomentMatching
from pipelines.pipeline import Run
from pipelines.stages.posterior import Sampling, posterior_schedule, recover
from pipelines.stages.voxels.grids import averaged, likeliest, pack, top_of_blocks
from pipelines.stages.voxels.sampling import expected, is_told, of_details, polished, way


@dataclass(frozen=True)
class Coarsen:
    """See only the means of blocks of shapes that were not learned from."""

    needs: ClassVar[tuple[str, ...]] = ("shapes", "source")
    gives: ClassVar[tuple[str, ...]] = ("coarse", "measured", "targets", "truth_known")

    size: int = 16
    """Blocks a side; it divides the voxels a side of the shapes."""

    num: int = 64
    """Shapes, at most."""

    shape: str | None = None
    """A file with a shape of your own, in place of those; its block means are taken as well. A grid of `size` voxels a
    side is taken for what is measured; then the truth is unknown and not scored."""

    index: int | None = None
    """Which one, in a file of several grids."""

    def __post_init__(self) -> None:
        if self.size < 2 or self.num < 1:
            raise ValueError(f"size must be 2 or more and num 1 or more, got {self.size} and {self.num}")
        if self.index is not None and self.shape is None:
            raise ValueError("index needs shape, the file of several grids")

    def files(self) -> tuple[str, ...]:
        return (self.shape,) if self.shape else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        side = values["shapes"]["side"]
        if side % self.size or self.size == side:
            raise InputError(
                f"coarsen.size={self.size} must be less than the shapes' {side} voxels a side, and divide it"
            )
        known = True
        if self.shape is not None:
            source = values["source"]
            read = partial(voxels.read, self.shape, up=source["up"], index=self.index)
            try:
                solid = read(side, pad=source["pad"])
            except InputError as problem:
                try:
                    solid = F.interpolate(read(self.size)[None, None].float(), (side,) * 3)[0, 0] > 0
                except InputError:
                    raise problem from None
                known = False
            bits = pack(solid[None, None])
        else:
            bits = values["shapes"]["validation"][: self.num]
        coarse, targets = averaged(bits, side, self.size), averaged(bits, side, side)
        return {
            "coarse": coarse,
            "measured": coarse,
            "targets": targets.to(torch.int8),
            "truth_known": known,
        }


@dataclass(frozen=True)
class SuperResolve:
    """Expect the shapes whose block means are seen; these stay as they are, at every step.

    An energy that was learned for recovery was told of them: its expectation is an amortised posterior mean. Any other
    is conditioned on them at every noise level. The expectation becomes a solid that has as many voxels in every block
    as was measured, the likeliest ones. It may be refined again by an energy of a larger size.
    """

    needs: ClassVar[tuple[str, ...]] = ("shapes", "coarse", "measured", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("coarse", "fields", "solids", "ways")
    distributed: ClassVar[bool] = True

    factor: int | None = None
    """How much finer; null: up to the size of the energy or, of one of details, which has none, of the shapes."""

    exact: bool = True
    """Solids hold as many voxels in every block as was measured; false, for coarse shapes that were made and not
    measured: the likeliest voxels of the whole."""

    polish: int = 0
    """Without exact, of an energy that is told what is seen: how often most of a shape is forgotten and expected again;
    specks go, and gaps close. Others leave shapes as they are."""

    mean: MomentMatching = MomentMatching()
    """How the mean of an energy that is conditioned is found: more chains and corrections are better and slower."""

    def __post_init__(self) -> None:
        if self.factor is not None and self.factor < 2:
            raise ValueError(f"factor must be 2 or more, got {self.factor}")
        if self.polish < 0 or (self.polish and self.exact):
            raise ValueError(f"polish must not be negative, and be 0 where exact, got {self.polish}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy, coarse = values["energy"].to(run.accelerator.device).eval(), values["coarse"].float()
        begin = time.monotonic()
        factor = self._factor(energy, coarse.shape[-1], values["shapes"]["side"])
        fields, found = coarse, "unchanged"
        if factor > 1:
            fields, found = self._expected(energy, Average((factor,) * 3), coarse, values, run)
        seconds = time.monotonic() - begin
        if self.exact:
            solids = top_of_blocks(fields, values["measured"].float())
        else:
            if isinstance(energy, ConditionalEnergy):
                fields = polished(energy, fields, self.polish, run)
            solids = likeliest(fields)
        return {"coarse": fields, "fields": fields.half(), "solids": solids, "ways": {found: way(solids, seconds)}}

    def _expected(
        self, energy: Energy, observation: Average, y: Tensor, values: dict[str, Any], run: Run
    ) -> tuple[Tensor, str]:
        """The mean given block means, and the way to it."""
        if is_told(energy, observation, "super_resolve"):
            return expected(energy, observation, y, run), "amortised"
        how = Sampling(posterior_schedule(values["generator"]), mean=self.mean)
        recovered = recover(energy, observation, y, len(y), 0, how, run, Monitor())
        return recovered.mean, recovered.way

    def _factor(self, energy: Energy, side: int, shapes: int) -> int:
        """How much finer. InputError: the energy is not of shapes so fine."""
        local = of_details(energy)
        size = shapes if local else energy.event_shape[-1]
        factor = self.factor or size // side
        if side == size and not self.exact:
            return 1
        if factor < 2 or (side * factor != size and not (local and self.factor)):
            raise InputError(
                f"super_resolve: an energy of {size} voxels a side does not refine {side} by {factor}; "
                "set learn.size, coarsen.size or super_resolve.factor"
            )
        return factor
