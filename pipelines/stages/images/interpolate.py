"""Go from one picture to another by way of pictures that are likely."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from data import images
from data.errors import InputError
from energies import Chain, Schedule
from energies.inversion import decode, invert
from energies.paths import between, doubt, lerp, likeliest, slerp
from pipelines.measures import judge
from pipelines.pipeline import Run
from pipelines.report import Report
from pipelines.report.reporting import details
from pipelines.results import save_energy, save_metrics
from pipelines.stages.images.evaluate import judge_of
from pipelines.stages.images.export import rows_sheet, write_all
from pipelines.stages.images.load import to_float
from pipelines.stages.images.reconstruct import mapping, pictures_of

WAYS = (0.75, 1.0, 1.5)  # noise levels that chosen frames come from, in units of `level`
LEVEL = 1.5  # `level` where none is given, in units of the spread of the data
DOUBTED = 0.15  # noise level at which frames are doubted, in units of the spread of the data
DRAWS = 4  # of that noise
SURE = 0.9  # probability from which on a frame counts as one of the judge's classes
TOGETHER = 2**18  # numbers of x that are decoded at once
SHOWN = 6  # paths on the sheet
Walk = Literal["chosen", "spherical", "linear"]


@dataclass(frozen=True)
class Interpolate:
    """Invert pairs of pictures to noise, go from the one noise to the other, and make pictures of what lies between.

    The frames are compared with cross-fades of the pictures, into metrics.json: by the judge (evaluate_synthesis), who
    has no say in how they are made.
    """

    needs: ClassVar[tuple[str, ...]] = ("images", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("paths", "cross_fades", "metrics", "summary")

    images: str | None = None
    """A folder of pictures or a data set as in load, the first and second a pair and so on; null: the samples
    of an earlier stage, where there are some, else of those to judge by."""

    pairs: int = 16
    """Pairs of pictures, at most."""

    steps: int = 8
    """Frames on a path, its ends included."""

    walk: Walk | None = None
    """spherical or linear: through the starting noise, or at `level`; chosen: of several spherical walks at levels
    around `level` those frames that the energy doubts least (energies/paths.py), in short steps. null: chosen, or
    spherical where the energy has no noise levels."""

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
        if not (self.level is None or self.level > 0) or not self.smoothness >= 0:
            raise ValueError(
                f"level must be positive and smoothness not negative, got {self.level} and {self.smoothness}"
            )

    def files(self) -> tuple[str, ...]:
        return (self.images,) if self.images is not None and Path(self.images).is_file() else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy, generator = mapping(values, run, "interpolate")
        walk = self.walk or ("chosen" if isinstance(generator, Schedule) else "spherical")
        if isinstance(generator, Chain) and (walk == "chosen" or self.level is not None):
            raise InputError(
                "interpolate.walk=chosen and interpolate.level need noise levels: learn.objective=score_matching"
            )
        if self.images is None and "samples" in values:
            ends = values["samples"][: 2 * self.pairs].clamp(-1, 1)
        else:
            ends = pictures_of(self.images, values["images"], 2 * self.pairs, "interpolate")
        ends = ends[: len(ends) // 2 * 2].unflatten(0, (-1, 2))
        if not len(ends):
            raise InputError("interpolate: a path needs two pictures, and there is one; see interpolate.images")
        num = max(1, TOGETHER // (self.steps * ends[0, 0].numel()))
        paths = []
        batches = ends.to(run.accelerator.device).split(num)
        for number, part in enumerate(run.progress(batches, len(batches), "interpolating")):
            rng = run.generator("interpolate", number, device=run.accelerator.device)
            first, second = part.unbind(1)
            inner = self._frames(energy, generator, walk, first, second, rng)
            paths.append(torch.cat([part[:, :1], inner, part[:, 1:]], 1).cpu())
        x = torch.cat(paths)
        if not x.isfinite().all():
            raise InputError("interpolate: frames are not finite; learn.optimizer.steps is too low")
        fades = lerp(ends[:, 0], ends[:, 1], torch.linspace(0, 1, self.steps))
        found: dict[str, Any] = {"pairs": len(x), "steps": self.steps, "walk": walk}
        found |= _judged(x, fades, values["images"], judge_of(values["images"], run))
        save_metrics(found, run.root)
        return {"paths": x, "cross_fades": fades, "metrics": found, "summary": _summary(found)}

    def _frames(
        self, energy: Any, generator: Schedule | Chain, walk: Walk, first: Tensor, second: Tensor, rng: torch.Generator
    ) -> Tensor:
        """[n, steps - 2, *event] between pictures [n, *event]."""
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
        nodes = torch.cat([between(energy, first, second, shares, part, rng) for part in levels], 1)  # [n, M, *event]
        # Less doubt than of what was learned is no merit: only what is above none counts.
        costs = doubt(energy, nodes.flatten(0, 1), DOUBTED * energy.width, rng, DRAWS)
        costs = costs.clamp(min=0).unflatten(0, nodes.shape[:2])
        places = shares.repeat(len(WAYS))
        rows = [
            x[likeliest(x, places, cost, a, b, self.steps - 2, self.smoothness)]
            for x, cost, a, b in zip(nodes, costs, first, second, strict=True)
        ]
        return torch.stack(rows)


@dataclass(frozen=True)
class ExportInterpolation:
    """Write the frames as PNG files, a sheet of the paths beside cross-fades, the report and the energy."""

    needs: ClassVar[tuple[str, ...]] = ("energy", "paths", "cross_fades", "metrics")
    gives: ClassVar[tuple[str, ...]] = ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        paths, fades, found = values["paths"], values["cross_fades"], values["metrics"]
        for number, path in enumerate(paths):
            write_all(path, run, f"path_{number:02d}", "frame")
        rows = [(f"path {k}", f"cross-fade {k}") for k in range(min(SHOWN, len(paths)))]
        sheet = rows_sheet(
            {name: x for k, names in enumerate(rows) for name, x in zip(names, (paths[k], fades[k]), strict=True)},
            paths.shape[1],
        )
        images.write(run.root / "contact_sheet.png", sheet)
        report = Report("Image interpolation")
        report.text(f"From one picture to another in {found['steps']} frames; walk: {found['walk']}.")
        report.preformatted(_summary(found))
        report.image(sheet, "paths above cross-fades of the same pictures")
        details(report, run, None)
        report.write(run.root / "report.html")
        save_energy(values["energy"], run.root)
        return {}


def _levels(generator: Schedule, top: float) -> list[float]:
    """Falling noise levels from the top on, below it those of the generator."""
    return [top, *(level for level in generator.noise_levels() if level < 0.95 * top)]


def _judged(
    x: Tensor, fades: Tensor, loaded: dict[str, Any], by: judge.Classifier | judge.Components
) -> dict[str, Any]:
    """Paths [n, T, *event], cross-fades in even steps, and cross-fades at the places of the paths' own frames."""
    line = (x[:, -1] - x[:, 0]).flatten(1).unsqueeze(1)
    along = ((x - x[:, :1]).flatten(2) * line).sum(2) / line.square().sum(2).clamp(min=1e-12)
    share = along.clamp(0, 1)[..., None, None, None]
    kinds = {"path": x, "cross_fade": fades, "cross_fade_at_its_places": x[:, :1] + share * (x[:, -1:] - x[:, :1])}
    validation = to_float(loaded["validation"])
    real = by.features(validation)
    found: dict[str, Any] = {}
    for name, frames in kinds.items():
        inner = frames[:, 1:-1].flatten(0, 1)
        entry: dict[str, float | None] = {"accepted": None, "frechet": None}
        if isinstance(by, judge.Classifier):
            entry["accepted"] = _sure(by, inner)
        if len(inner) > 1 and len(real) > 1:
            entry["frechet"] = judge.frechet(by.features(inner), real)
        found[name] = entry | _steps(frames)
    if isinstance(by, judge.Classifier):
        found["validation_accepted"] = _sure(by, validation)
        found["ends_accepted"] = _sure(by, x[:, [0, -1]].flatten(0, 1))
    return found


def _sure(by: judge.Classifier, x: Tensor) -> float:
    return float((by.probabilities(x).amax(1) >= SURE).float().mean())


def _steps(frames: Tensor) -> dict[str, float]:
    """How long the way is in units of the distance of its ends, and its largest step in both; means over paths."""
    steps = (frames[:, 1:] - frames[:, :-1]).flatten(2).norm(dim=2)
    ends = (frames[:, -1] - frames[:, 0]).flatten(1).norm(dim=1).clamp(min=1e-9)
    length = steps.sum(1).clamp(min=1e-9)
    return {
        "length": float((length / ends).mean()),
        "largest_step": float((steps.amax(1) / length).mean()),
        "largest_step_of_the_distance": float((steps.amax(1) / ends).mean()),
    }


def _summary(found: dict[str, Any]) -> str:
    kinds = ("path", "cross_fade", "cross_fade_at_its_places")
    lines = [f"{'':30}{'path':>12}{'cross-fade':>12}{'there':>12}"]
    for key in found["path"]:
        cells = [found[kind][key] for kind in kinds]
        if cells[0] is not None:
            lines.append(f"{key.replace('_', ' '):30}" + "".join(f"{cell:12.3f}" for cell in cells))
    lines.append(
        "there: the cross-fade at the places of the path's frames; steps as shares of the path and the distance"
    )
    if "ends_accepted" in found:
        lines.append(
            f"of the pictures to judge by {found['validation_accepted']:.1%} are accepted, of the ends "
            f"{found['ends_accepted']:.1%}"
        )
    return "\n".join(lines)
