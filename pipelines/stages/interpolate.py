"""Go from one x to another by way of x that are likely."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from data.errors import InputError
from energies import Chain, ConditionalEnergy, Hidden, Schedule
from energies.inversion import decode, invert
from energies.paths import between, doubt, lerp, likeliest, slerp
from pipelines.examples import Examples
from pipelines.measures.paths import judged, sharp, summary
from pipelines.modalities import modality_of
from pipelines.modalities.base import Modality
from pipelines.results import save_metrics
from pipelines.sampling.masked import of_two_values, remasked
from pipelines.sampling.posterior import Sampling, Seen, expected
from pipelines.stage import Run
from pipelines.stages.reconstruct import check_size, mapping, to_take

WAYS = (0.75, 1.0, 1.5)  # noise levels that chosen frames come from, in units of `level`
LEVEL = 1.5  # `level` where none is given, in units of the spread of the data
DOUBTED = 0.15  # noise level at which frames are doubted, in units of the spread of the data
DRAWS = 4  # of that noise
TOGETHER = 2**18  # numbers of x that are decoded at once
Walk = Literal["seen", "chosen", "spherical", "linear"]


@dataclass(frozen=True)
class Interpolate:
    """Go from x to x in frames that the energy finds likely: by way of noise, or by seeing less of the one and more of
    the other from frame to frame.

    The frames are compared with cross-fades of the same ends, into metrics.json: by energy, by how near they are to
    what was learned from, by whether they hold together, and by a judge (see evaluate), who has no say in how they are
    made.
    """

    needs: ClassVar[tuple[str, ...]] = ("data", "source", "energy", "generator")
    takes: ClassVar[tuple[str, ...]] = ("samples",)
    gives: ClassVar[tuple[str, ...]] = ("paths", "cross_fades", "metrics", "summary")

    own: str | None = None
    """Files of your own, or a data set, as in load, the first and second a pair and so on; null: the samples of an
    earlier stage, where there are some, else of x to judge by."""

    pairs: int = 16
    """Pairs, at most."""

    chained: bool = False
    """Each x is the end of one path and the start of the next; false: every path has two of its own."""

    steps: int = 8
    """Frames on a path, its ends included."""

    walk: Walk | None = None
    """seen, for an amortised energy: a share of the elements of the one end is seen and of the other, and the rest
    expected. spherical or linear: through the starting noise, or at `level`. chosen: of several spherical walks at
    levels around `level` those frames that the energy doubts least (energies/paths.py), in short steps. null: seen
    where an amortised energy is of x of two values, else chosen, or spherical where there are no noise levels."""

    middle: float = 0.02
    """Of seen walks: share of the elements of either end that is seen half-way."""

    remask: int = 2
    """Of seen walks of x of two values: how often most of the rest is forgotten and expected again; specks go, and gaps
    close."""

    level: float | None = None
    """Noise level of the walk, in units of x: the lower, the nearer to a cross-fade. null: that of the starting noise,
    and 1.5 times the spread of the data where frames are chosen."""

    smoothness: float = 1.0
    """How much short steps count when frames are chosen: 0 leaps over the unlikely middle, 8 goes through it. On 32
    pairs of MNIST, for 0, 1, 2.5 and 8, the judge was sure of 0.90, 0.86, 0.79 and 0.67 of the frames, and the largest
    step was 0.67, 0.51, 0.40 and 0.29 of the way."""

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.steps < 3:
            raise ValueError(f"pairs must be 1 or more and steps 3 or more, got {self.pairs} and {self.steps}")
        if not 0 < self.middle <= 0.5 or self.remask < 0:
            got = f"{self.middle} and {self.remask}"
            raise ValueError(f"middle must lie in (0, 0.5] and remask not be negative, got {got}")
        if not (self.level is None or self.level > 0) or not self.smoothness >= 0:
            raise ValueError(
                f"level must be positive and smoothness not negative, got {self.level} and {self.smoothness}"
            )

    def files(self) -> tuple[str, ...]:
        return () if self.own is None else (self.own,)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        modality = modality_of(data.modality)
        energy, generator = mapping(values, run, "interpolate")
        walk = self.walk or _suited(energy, generator)
        self._check(walk, energy, generator)
        ends = self._ends(values, modality)
        check_size(energy, ends[:, 0], "interpolate")
        if walk == "seen":
            assert isinstance(energy, ConditionalEnergy)
            soft, hidden, x = self._seen(values["energy"], ends, modality, run)
        else:
            assert isinstance(generator, Schedule | Chain)
            soft, hidden, x = self._noised(energy, generator, walk, ends, run)
        if not soft.isfinite().all():
            raise InputError("interpolate: frames are not finite; learn.steps is too low")
        paths = modality.decided(soft, Hidden(hidden), x).unflatten(0, (-1, self.steps))
        fades = sharp(lerp(ends[:, 0], ends[:, 1], torch.linspace(0, 1, self.steps)), modality)
        found: dict[str, Any] = {"pairs": len(paths), "steps": self.steps, "walk": walk}
        found |= judged(paths, fades, energy, data, modality, run)
        save_metrics(found, run.root)
        return {
            "paths": paths,
            "cross_fades": fades,
            "metrics": found,
            "summary": summary(found, modality.noun),
        }

    def _check(self, walk: Walk, energy: Any, generator: Schedule | Chain) -> None:
        """InputError: the energy does not know such a walk."""
        if isinstance(generator, Chain) and (walk == "chosen" or self.level is not None):
            raise InputError(
                "interpolate.walk=chosen and interpolate.level need noise levels: learn.objective=score_matching"
            )
        if walk == "seen" and not isinstance(energy, ConditionalEnergy):
            raise InputError("interpolate.walk=seen is for an energy that is told what is seen: learn.energy=amortised")

    def _ends(self, values: Mapping[str, Any], modality: Modality) -> Tensor:
        """Of every path, [p, 2, *shape]. InputError: there are none."""
        num = self.pairs + 1 if self.chained else 2 * self.pairs
        if self.own is None and "samples" in values:
            x = values["samples"][:num].clamp(-1, 1)
        else:
            x = to_take(self.own, values, num, modality, "interpolate")
        if len(x) < 2:
            raise InputError(
                f"interpolate: a path needs two {modality.noun}, and there is one; see interpolate.own, or raise "
                "load.validation"
            )
        return torch.stack([x[:-1], x[1:]], 1) if self.chained else x[: len(x) // 2 * 2].unflatten(0, (-1, 2))

    # ------------------------------------------------------------------------------- by what is seen

    def _seen(
        self, energy: ConditionalEnergy, ends: Tensor, modality: Modality, run: Run
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Frames [p steps, *shape], what of them is hidden, bool [p steps, 1, *size], and x where it is seen."""
        x, hidden = self._shown(ends, run)
        seen = Seen(Hidden(hidden), x, len(x), tuple(x.shape[1:]))
        if not energy.reference.takes(seen.observation):
            raise InputError("interpolate.walk=seen: the energy was not learned for hidden elements, learn.tasks")
        how = Sampling(Schedule())  # of which an amortised mean takes nothing
        paths = expected(energy, seen, how, run, modality.mean_of_symmetric(seen.observation)).mean
        if self.remask and of_two_values(energy):
            paths = remasked(energy, paths, self.remask, run, hidden)
        return paths, hidden, x

    def _shown(self, ends: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """Of every path, what is seen at its steps and what is hidden; of an end that only shrinks or grows."""
        power = math.log(self.middle) / math.log(0.5)
        dims = ends.ndim - 2
        chance = torch.rand(1, *ends.shape[3:], generator=run.generator("interpolate"))
        t = torch.linspace(0, 1, self.steps).view(-1, *[1] * dims)
        first, second = chance < (1 - t) ** power, chance > 1 - t**power
        steps = [torch.where(first, a, torch.where(second, b, 0.0)) for a, b in ends]
        return torch.cat(steps), (~(first | second)).repeat(len(ends), *[1] * dims)

    # ------------------------------------------------------------------------------------ by noise

    def _noised(
        self, energy: Any, generator: Schedule | Chain, walk: Walk, ends: Tensor, run: Run
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same; all is hidden but the ends."""
        num = max(1, TOGETHER // (self.steps * ends[0, 0].numel()))
        batches = ends.to(run.accelerator.device).split(num)
        paths = []
        for number, part in enumerate(run.progress(batches, len(batches), "interpolating")):
            rng = run.generator("interpolate", number, device=run.accelerator.device)
            first, second = part.unbind(1)
            inner = self._frames(energy, generator, walk, first, second, rng)
            paths.append(torch.cat([part[:, :1], inner, part[:, 1:]], 1).cpu())
        x = torch.cat(paths)
        hidden = torch.ones(*x.shape[:2], 1, *x.shape[3:], dtype=torch.bool)
        hidden[:, [0, -1]] = False
        x = x.flatten(0, 1)
        return x, hidden.flatten(0, 1), x

    def _frames(
        self, energy: Any, generator: Schedule | Chain, walk: Walk, first: Tensor, second: Tensor, rng: torch.Generator
    ) -> Tensor:
        """[n, steps - 2, *shape] between x [n, *shape]."""
        if walk == "chosen":
            assert isinstance(generator, Schedule)
            return self._chosen(energy, generator, first, second, rng)
        shares = torch.linspace(0, 1, self.steps, device=first.device)[1:-1]
        if self.level is not None and walk == "spherical":
            assert isinstance(generator, Schedule)
            return between(energy, first, second, shares, _levels(generator, self.level), rng)
        noise, other = (invert(generator, energy, x, rng) for x in (first, second))
        z = (slerp if walk == "spherical" else lerp)(noise, other, shares)
        return decode(generator, energy, z.flatten(0, 1)).unflatten(0, z.shape[:2])

    def _chosen(self, energy: Any, generator: Schedule, first: Tensor, second: Tensor, rng: torch.Generator) -> Tensor:
        level = self.level or LEVEL * energy.width
        shares = torch.linspace(0, 1, 2 * self.steps + 1, device=first.device)[1:-1]
        levels = [_levels(generator, way * level)[::2] for way in WAYS]
        nodes = torch.cat([between(energy, first, second, shares, part, rng) for part in levels], 1)  # [n, M, *shape]
        # Less doubt than of what was learned is no merit: only what is above none counts.
        costs = doubt(energy, nodes.flatten(0, 1), DOUBTED * energy.width, rng, DRAWS)
        costs = costs.clamp(min=0).unflatten(0, nodes.shape[:2])
        places = shares.repeat(len(WAYS))
        rows = [
            x[likeliest(x, places, cost, a, b, self.steps - 2, self.smoothness)]
            for x, cost, a, b in zip(nodes, costs, first, second, strict=True)
        ]
        return torch.stack(rows)


def _suited(energy: Any, generator: Schedule | Chain) -> Walk:
    if of_two_values(energy):
        return "seen"
    return "chosen" if isinstance(generator, Schedule) else "spherical"


def _levels(generator: Schedule, top: float) -> list[float]:
    """Falling noise levels from the top on, below it those of the generator."""
    return [top, *(level for level in generator.noise_levels() if level < 0.95 * top)]
