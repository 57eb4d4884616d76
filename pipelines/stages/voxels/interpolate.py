"""Go from one shape to another by way of shapes that are likely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Family, Hidden, Schedule
from energies.family import is_noisy
from energies.paths import between
from pipelines.measures.solids import distances, whole_share
from pipelines.pipeline import Run
from pipelines.results import save_metrics
from pipelines.stages.voxels.grids import check_side, likeliest, unpack
from pipelines.stages.voxels.sampling import expected, is_told, of_details, polished

LEVEL = 1.5  # `level` where none is given, in units of the spread of the data
JUDGED = 0.3  # noise level at which energies along the paths are compared
TOGETHER = 16  # shapes whose energies are taken at once


@dataclass(frozen=True)
class Interpolate:
    """See a share of the voxels of the one shape and of the other, less of the first and more of the second step by
    step, and expect the rest: an amortised posterior mean. An energy that is not told what is seen takes both shapes to
    a noise level, fades one into the other there, and follows its probability flow down again (energies/paths.py).

    The path is compared with a cross-fade of the two, into metrics.json: by energy, by how near to a shape that was
    learned from its steps are, and by whether they hold together.
    """

    needs: ClassVar[tuple[str, ...]] = ("shapes", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("fields", "solids", "paths", "metrics", "summary")

    pairs: int = 4
    """Pairs of shapes to judge by; each is the start of one path and the end of another."""

    steps: int = 8
    """Shapes on a path, its ends included."""

    middle: float = 0.02
    """Share of the voxels of either shape that is seen half-way."""

    level: float | None = None
    """Noise level where shapes fade into each other, in units of x, of an energy that is not told what is seen; the
    lower, the nearer to a cross-fade. null: 1.5 times the spread of the data."""

    polish: int = 2
    """Of an energy that is told what is seen: how often most of the rest is forgotten and expected again; specks go,
    and gaps close."""

    def __post_init__(self) -> None:
        if self.polish < 0:
            raise ValueError(f"polish must not be negative, got {self.polish}")
        if self.pairs < 1 or self.steps < 3:
            raise ValueError(f"pairs must be 1 or more and steps 3 or more, got {self.pairs} and {self.steps}")
        if not 0 < self.middle <= 0.5:
            raise ValueError(f"middle must lie in (0, 0.5], got {self.middle}")
        if self.level is not None and not self.level > 0:
            raise ValueError(f"level must be positive, or null; got {self.level}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy, shapes = values["energy"].to(run.accelerator.device).eval(), values["shapes"]
        if not is_noisy(energy) or of_details(energy):
            raise InputError(
                "interpolate needs whole shapes at many noise levels: learn.energy=shapes, with "
                "learn.energy.shapes.rank above 0, or learn.energy=encoder"
            )
        check_side(energy, shapes["side"], "interpolate")
        ends = unpack(shapes["validation"][: self.pairs + 1], shapes["side"])
        if len(ends) < 2:
            raise InputError("interpolate needs two shapes to judge by; raise load.validation")
        shares = torch.linspace(0, 1, self.steps)
        x, hidden = self._seen(ends, shares, run)
        if is_told(energy, Hidden(hidden), "interpolate"):
            paths = torch.where(hidden, expected(energy, Hidden(hidden), x, run), x)
            if self.polish:
                paths = polished(energy, paths, self.polish, run, hidden)
            free: Family = energy.free()
        else:
            free, hidden = energy, _but_ends(hidden, self.steps)
            paths = torch.where(hidden, self._between(energy, ends, shares, values["generator"], run), x)
        solids = likeliest(paths, hidden)
        fades = torch.cat([torch.lerp(a, b, shares.view(-1, 1, 1, 1, 1)) for a, b in pairwise(ends)])
        train = unpack(shapes["train"], shapes["side"]) > 0
        found = {
            "path": self._judge(free, solids, train, run),
            "cross_fade": self._judge(free, fades > 0, train, run),
        }
        save_metrics(found, run.root)
        lines = [f"{'':34}{'path':>12}{'cross-fade':>12}"]
        lines += [f"{k.replace('_', ' '):34}{v:12.3f}{found['cross_fade'][k]:12.3f}" for k, v in found["path"].items()]
        return {
            "fields": paths.half(),
            "solids": solids,
            "paths": {"steps": self.steps, "cross_fades": fades.half()},
            "metrics": found,
            "summary": "\n".join(lines),
        }

    def _seen(self, ends: Tensor, shares: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """Of every path, what is seen at its steps and what is hidden; of a shape that only shrinks or grows."""
        power = math.log(self.middle) / math.log(0.5)
        chance = torch.rand(ends.shape[1:], generator=run.generator("interpolate"))
        t = shares.view(-1, 1, 1, 1, 1)
        first, second = chance < (1 - t) ** power, chance > 1 - t**power
        steps = [torch.where(first, a, torch.where(second, b, 0.0)) for a, b in pairwise(ends)]
        return torch.cat(steps), (~(first | second)).repeat(len(ends) - 1, 1, 1, 1, 1)

    def _between(self, energy: Family, ends: Tensor, shares: Tensor, generator: Schedule, run: Run) -> Tensor:
        """The steps of all paths, one after the other, down from a noise level."""
        device = run.accelerator.device
        top = self.level or LEVEL * energy.width
        levels = [top, *(level for level in generator.noise_levels() if level < 0.95 * top)]
        pairs, paths = list(pairwise(ends)), []
        with torch.no_grad():
            for number, (a, b) in enumerate(run.progress(pairs, len(pairs), "interpolating")):
                rng = run.generator("interpolate", number, device=device)
                path = between(energy, a[None].to(device), b[None].to(device), shares.to(device), levels, rng)
                paths.append(path[0].cpu())
        return torch.cat(paths)

    def _judge(self, free: Family, solids: Tensor, train: Tensor, run: Run) -> dict[str, float]:
        device = run.accelerator.device
        x = (solids.float() * 2 - 1).to(device)
        noise = torch.randn(x.shape[1:], generator=run.generator("judge"))
        with torch.no_grad():
            noise = JUDGED * noise.to(device) * (1.0 if free.scale is None else free.scale)
            parts = [free.at(JUDGED)(part + noise) for part in x.split(TOGETHER)]
        energies = torch.cat(parts).cpu().unflatten(0, (-1, self.steps))
        inner = solids.unflatten(0, (-1, self.steps))[:, 1:-1].flatten(0, 1)
        line = torch.stack(
            [torch.lerp(e[0], e[-1], torch.linspace(0, 1, self.steps, device=e.device)) for e in energies]
        )
        jumps = torch.stack([distances(a[None], b[None])[0, 0] for a, b in pairwise(solids)])
        jumps = torch.cat([jumps, jumps.new_zeros(1)]).unflatten(0, (-1, self.steps))[:, :-1]
        return {
            "energy_above_the_ends": float((energies - line)[:, 1:-1].mean()),
            "distance_to_training": float(distances(inner, train).amin(1).mean()),
            "in_one_part": whole_share(inner),
            "largest_step": float(jumps.amax(1).mean()),
        }


def _but_ends(hidden: Tensor, steps: int) -> Tensor:
    """All of the paths' steps [n steps, 1, N, N, N] but their ends."""
    inner = torch.ones(steps, dtype=torch.bool)
    inner[[0, -1]] = False
    return inner.repeat(len(hidden) // steps).view(-1, 1, 1, 1, 1).expand_as(hidden)
