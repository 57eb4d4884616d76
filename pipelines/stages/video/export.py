"""Write what a person looks at: videos, contact sheets and a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images, video
from pipelines.pipeline import Run
from pipelines.report import pictures
from pipelines.report.reporting import recovery_report, synthesis_report
from pipelines.results import save_energy


@dataclass(frozen=True)
class ExportRecovery:
    """Write the recovered clip, comparisons, the report and the energy into the run's folder."""

    needs: ClassVar[tuple[str, ...]] = (
        "clip",
        "source",
        "hidden",
        "truth_known",
        "fill",
        "recovered",
        "samples",
        "std",
        "ways",
        "recovery_info",
        "metrics",
        "rival",
        "energy",
    )
    gives: ClassVar[tuple[str, ...]] = ()

    frames: int = 8
    """Frames that the contact sheet shows."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames must be 1 or more, got {self.frames}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        root, fps = run.root, values["source"]["fps"]
        clip, hidden, recovered = values["clip"], values["hidden"], values["recovered"]
        rival = values["rival"]
        video.write(root / "recovered.mp4", recovered, fps)
        video.write(root / "recovered.mkv", recovered, fps, lossless=True)
        panels = {
            "truth" if values["truth_known"] else "input": clip,
            "hidden": pictures.hidden_view(clip, hidden),
            rival["name"].replace("_", " "): rival["clip"],
            "recovered": recovered,
        }
        others = {name: way["mean"] for name, way in values["ways"].items() if name != values["metrics"]["way"]}
        panels |= others
        video.write(root / "comparison.mp4", pictures.side_by_side(panels), fps)
        spread = values["std"].mean(0)
        rows = panels | {"one sample": values["samples"][0], "std": _heat(spread)}
        shown = _telling_frames(hidden, self.frames)
        sheet = pictures.contact_sheet(rows, frames=shown)
        images.write(root / "contact_sheet.png", sheet)
        save_energy(values["energy"], root)
        recovery_report(run, values, sheet).write(root / "report.html")
        return {}


@dataclass(frozen=True)
class ExportSynthesis:
    """Write the new clips, a contact sheet beside the data, the report and the energy into the run's folder."""

    needs: ClassVar[tuple[str, ...]] = ("clip", "source", "samples", "metrics", "energy")
    gives: ClassVar[tuple[str, ...]] = ()

    frames: int = 8
    """Frames that the contact sheet shows."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames must be 1 or more, got {self.frames}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        root, fps = run.root, values["source"]["fps"]
        rows = {"data": values["clip"]}
        for number, sample in enumerate(values["samples"]):
            video.write(root / f"sample_{number}.mp4", sample, fps)
            rows[f"sample {number}"] = sample
        sheet = pictures.contact_sheet(rows, frames=self.frames)
        images.write(root / "contact_sheet.png", sheet)
        save_energy(values["energy"], root)
        synthesis_report(run, values, sheet).write(root / "report.html")
        return {}


def _heat(spread: Tensor) -> Tensor:
    from data.frames import from_uint8

    return from_uint8(pictures.heatmap(spread))


def _telling_frames(hidden: Tensor, num: int) -> list[int]:
    """Frames of which something is hidden, spread evenly."""
    found = hidden.flatten(1).any(1).nonzero().flatten()
    return sorted({int(found[i]) for i in torch.linspace(0, len(found) - 1, num).round().long()})
