"""One energy of many clips for every task: the stages of pictures, which take a clip for one with an axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images as files
from data import video
from data.errors import InputError
from pipelines.measures import metrics
from pipelines.pipeline import Run
from pipelines.report import Report, pictures
from pipelines.report.reporting import BEST, details
from pipelines.stages import images
from pipelines.stages.images.export import seen_of
from pipelines.stages.images.load import to_float
from pipelines.stages.posterior import WAYS
from pipelines.results import emptied, save_energy, save_metrics
from pipelines.training import Optimizer

DIFFERENCES = ("horizontal", "vertical", "temporal")


@dataclass(frozen=True)
class LearnClips(images.Learn):
    """Learn one energy of clips, for every task: it makes new ones, and recovers those of which some is seen by
    conditioning. Or take one that was learned before."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(1000, 0.02, 30, 1.0, 0.995, 100, "muon"))
    """How its weights are found."""


@dataclass(frozen=True)
class HideClips(images.Hide):
    """Hide part of each clip to judge by: pixels at random, a box through all frames, whole frames, all but the means
    of blocks, the colours, or what a blur takes away; add noise to what is seen. With none of them, pixels=0.5."""

    frames: int | None = None
    """Number of frames to hide, scattered between the first and the last."""

    num: int = 16
    """Clips to recover, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        others = (self.pixels, self.box, self.shrink, self.blur, self.grey or None)
        if self.frames is not None and any(other is not None for other in others):
            raise ValueError("frames cannot be combined with pixels, box, shrink, blur or grey; give one")
        if self.frames is not None and self.frames < 1:
            raise ValueError(f"frames must be 1 or more, got {self.frames}")

    def _masks(self) -> bool:
        return self.frames is not None or super()._masks()

    def _mask(self, num: int, size: Sequence[int], rng: torch.Generator) -> Tensor:
        if self.frames is None:
            return super()._mask(num, size, rng)
        if self.frames > size[0] - 2:
            raise InputError(f"hide_clips.frames={self.frames} leaves fewer than 2 of the {size[0]} frames; hide less")
        hidden = torch.zeros(num, 1, *size, dtype=torch.bool)
        for mask in hidden:
            mask[:, torch.randperm(size[0] - 2, generator=rng)[: self.frames] + 1] = True
        return hidden


@dataclass(frozen=True)
class RecoverClips(images.Recover):
    """Expect the clips given what is seen of them, which is kept exactly, and sample other ways they may be.

    The energy is conditioned: what is seen is held at every noise level.
    """


@dataclass(frozen=True)
class EvaluateClips(images.EvaluateRecovery):
    """Score recovered clips beside baselines, into metrics.json: on the hidden pixels, or all where none is seen."""


@dataclass(frozen=True)
class ExportClips:
    """Write new clips as MP4 files, a sheet of them beside the data, metrics.json, the report and the energy into the
    run's folder."""

    needs: ClassVar[tuple[str, ...]] = ("images", "source", "energy", "samples", "sampling")
    gives: ClassVar[tuple[str, ...]] = ()

    num: int = 16
    """Clips to write as files, at most."""

    shown: int = 6
    """Clips in the sheet."""

    def __post_init__(self) -> None:
        _check(self.num, self.shown)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data, samples = to_float(values["images"]["validation"]), values["samples"]
        _write_all(samples[: self.num], values, run, "samples", "sample")
        found: dict[str, Any] = {"data": differences(data), "samples": differences(samples)}
        save_metrics(found | {"sampling": values["sampling"]["summary"]}, run.root)
        rows = {f"data {k}": clip for k, clip in enumerate(data[: self.shown])}
        rows |= {f"sample {k}": clip for k, clip in enumerate(samples[: self.shown])}
        sheet = pictures.contact_sheet(rows)
        files.write(run.root / "contact_sheet.png", sheet)
        report = Report("Synthesis of clips")
        report.text("Mean absolute differences of neighbouring pixels and of neighbouring frames, 0-255.")
        table = [[name, *(values[key] for key in DIFFERENCES)] for name, values in found.items()]
        report.table(["clips", *DIFFERENCES], table)
        report.image(sheet, "the data above the samples")
        details(report, run, values["sampling"])
        report.write(run.root / "report.html")
        save_energy(values["energy"], run.root)
        return {}


@dataclass(frozen=True)
class ExportRecoveredClips:
    """Write recovered clips as MP4 files, a sheet, the report and the energy into the run's folder."""

    needs: ClassVar[tuple[str, ...]] = (
        "source", "energy", "targets", "measured", "observation", "truth_known", "recovered", "samples", "metrics",
        "rivals", "sampling",
    )  # fmt: skip
    gives: ClassVar[tuple[str, ...]] = ()

    num: int = 16
    """Clips to write as files, at most."""

    shown: int = 3
    """Clips in the sheet."""

    def __post_init__(self) -> None:
        _check(self.num, self.shown)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        _write_all(values["recovered"][: self.num], values, run, "recovered", "clip")
        found, rival = values["metrics"], values["rivals"]
        parts = {"truth": values["targets"], "seen": seen_of(values), rival["name"]: rival["pictures"]}
        parts |= {"recovered": values["recovered"], "one sample": values["samples"]}
        num = min(self.shown, *(len(part) for part in parts.values()))
        rows = {f"{name.replace('_', ' ')} {k}": part[k] for k in range(num) for name, part in parts.items()}
        sheet = pictures.contact_sheet(rows)
        files.write(run.root / "contact_sheet.png", sheet)
        report = Report("Recovery of clips")
        best = found["best_baseline"].replace("_", " ")
        report.text(f"The recovery is {found['gain_db']:+.2f} dB against the best baseline ({best}).")
        told = "; ".join(f"{name}: {WAYS[name]} ({seconds:.1f} s)" for name, seconds in found["seconds"].items())
        report.text(f"{told}.")
        scored = {"recovery (mean)": found["recovery"]} | found.get("ways", {})
        scored |= {"one posterior sample": found["one_sample"]} | found["baselines"]
        table = [[name.replace("_", " "), s["psnr"], s["mae"], s["ssim"]] for name, s in scored.items()]
        report.table(["on hidden pixels", *BEST], table, best=BEST)
        report.image(sheet, ", ".join(name.replace("_", " ") for name in parts))
        details(report, run, values["sampling"])
        report.write(run.root / "report.html")
        save_energy(values["energy"], run.root)
        return {}


def differences(x: Tensor) -> dict[str, float]:
    """Mean absolute difference of neighbours in clips [n, C, T, H, W], 0-255: of pixels, and of frames in time."""
    found = [metrics.statistics(clip) for clip in x]
    return {name: fmean(value for each in found if isinstance(value := each[name], float)) for name in DIFFERENCES}


def _write_all(x: Tensor, values: dict[str, Any], run: Run, folder: str, name: str) -> None:
    place: Path = emptied(run.root / folder, name)
    for number, clip in enumerate(x):
        video.write(place / f"{name}_{number:03d}.mp4", clip.clamp(-1, 1), values["source"]["frames_a_second"])


def _check(num: int, shown: int) -> None:
    if num < 0 or shown < 1:
        raise ValueError(f"num must not be negative and shown 1 or more, got {num} and {shown}")
