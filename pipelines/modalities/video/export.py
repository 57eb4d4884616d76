"""Write what a person looks at: videos, contact sheets and a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from data import images, video
from data.encoding import writing
from data.frames import from_uint8
from energies import Hidden
from pipelines.examples import to_levels
from pipelines.measures import dynamic_textures, metrics
from pipelines.measures.tables import words
from pipelines.modalities.video.modality import MODALITY
from pipelines.report import Report, pictures, products
from pipelines.results import save_energy
from pipelines.stage import Run
from pipelines.windows.film import levels

WIDE = 480  # pixels of a frame on the sheet of a large clip
COLUMNS = 2  # strips of frames beside each other
COMPARED = "Mean absolute differences of neighbouring pixels and of neighbouring frames, 0-255."
MOVES = "What moves, beside that of the clip, of its halves, and of linear dynamics and reshuffled frames of it."


@dataclass(frozen=True)
class Export:
    """Write the clips that were recovered, made, composed, or made again as MP4 files, the sheets, the report and the
    energy into the run's folder. A single recovered clip keeps its frame times, sound, subtitles and title; it is
    also written without loss, and beside what was seen."""

    needs: ClassVar[tuple[str, ...]] = ("data", "source", "energy")
    takes: ClassVar[tuple[str, ...]] = products.TAKES
    gives: ClassVar[tuple[str, ...]] = ("summary",)

    limit: int = 16
    """Clips to write as files, at most."""

    shown: int = 3
    """Clips in a sheet, and in the report of new ones."""

    frames: int = 8
    """Frames that the sheet of a single clip shows."""

    def __post_init__(self) -> None:
        if self.limit < 0 or self.shown < 1 or self.frames < 1:
            got = f"{self.limit}, {self.shown} and {self.frames}"
            raise ValueError(f"limit must not be negative, shown and frames 1 or more, got {got}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        report = Report(products.title(values, MODALITY))
        rest = values
        if "recovered" in values and values["data"].single:
            restored = self._recovered if values.get("damage") is None else self._of_footage
            restored(report, values, run)
            rest = {name: value for name, value in values.items() if name != "recovered"}
        products.write(report, rest, MODALITY, run, self.limit, self.shown, COLUMNS)
        if products.title(values, MODALITY).startswith("Synthesis"):
            self._samples(report, values, run)
        products.finish(report, values, run)
        save_energy(values["energy"], run.root)
        return {"summary": values.get("summary", "")}

    def _recovered(self, report: Report, values: dict[str, Any], run: Run) -> None:
        """Of a single clip, [3, T, H, W]: as videos, and frames of which something is hidden."""
        products.recovery(report, values, MODALITY)
        root, fps, times, origin = run.root, values["source"]["fps"], *_belonging(values["source"])
        recovered = values["recovered"][0]
        video.write(root / "recovered.mp4", recovered, fps, times=times, origin=origin)
        video.write(root / "recovered.mkv", recovered, fps, times=times, origin=origin, lossless=True)
        inner = values["observation"].noiseless
        if not values["truth_known"] and isinstance(inner, Hidden):
            white = 2.0 * inner.mask.expand(1, 1, *recovered.shape[1:])[0].float() - 1
            video.write(root / "mask.mkv", white.expand(3, -1, -1, -1), fps, times=times, lossless=True)
        rows = {name: x[0] for name, x in products.recovery_rows(values, MODALITY).items()}
        if not values["truth_known"]:
            rows = {"input": values["targets"][0]} | rows
        rows |= {name: way["mean"][0] for name, way in list(values["ways"].items())[1:]}
        panels = {name: x for name, x in rows.items() if name != "one sample"}
        video.write(root / "comparison.mp4", pictures.side_by_side(panels), fps, times=times)
        if values.get("spread") is not None:
            rows["spread"] = from_uint8(pictures.heatmap(values["spread"][0].mean(0)))
        sheet = pictures.contact_sheet(rows, frames=self._telling(values))
        images.write(root / "contact_sheet.png", sheet)
        report.video(root / "comparison.mp4", ", ".join(panels))
        report.image(sheet, f"{', '.join(rows)}: frames of which something is hidden")

    def _of_footage(self, report: Report, values: dict[str, Any], run: Run) -> None:
        """Of a clip that is read frame by frame: it is written so, too. What was not hidden is as it was decoded."""
        products.recovery(report, values, MODALITY)
        footage, damage, root = values["footage"], values["damage"], run.root
        rate, origin = footage.fps if footage.even else None, _belonging(values["source"])[1]
        shown, recovered = self._spread(damage.frames), to_levels(values["recovered"].float())
        rows: dict[str, list[Tensor]] = {
            "input" if not values["truth_known"] else "truth": [],
            "seen": [],
            "recovered": [],
        }
        with (
            writing(root / "recovered.mp4", rate=rate, origin=origin) as small,
            writing(root / "recovered.mkv", rate=rate, origin=origin) as whole,
        ):
            for t, frame in enumerate(run.progress(footage.timed(), footage.shape[1], "writing")):
                picture = footage.fitted(frame.picture)
                picture = picture if picture.dtype == torch.uint8 else to_levels(picture)
                done = damage.pasted(picture, t, recovered)
                for writer in (small, whole):
                    writer.add(done.permute(1, 2, 0).contiguous().numpy(), frame.time, frame.duration)
                if t in shown:
                    seen = torch.where(damage.mask(t), picture.float().mean().byte(), picture)
                    for row, own in zip(rows.values(), (picture, seen, done), strict=True):
                        row.append(_thumbnail(own))
        sheet = pictures.contact_sheet({name: torch.stack(row, 1) for name, row in rows.items()}, frames=len(shown))
        images.write(root / "contact_sheet.png", sheet)
        report.image(sheet, f"{', '.join(rows)}: frames of which something is hidden")

    def _telling(self, values: dict[str, Any]) -> list[int]:
        """Frames of which something is hidden, spread evenly."""
        observation, num = values["observation"], values["targets"].shape[2]
        inner = observation.noiseless
        hidden = torch.ones(num, dtype=torch.bool)
        if isinstance(inner, Hidden) and bool(inner.mask.any()):
            hidden = inner.mask[0, 0].flatten(1).any(1)
        return self._spread(hidden.nonzero().flatten())

    def _spread(self, found: Tensor) -> list[int]:
        """Of these frames those that a sheet shows, spread evenly."""
        return sorted({int(found[i]) for i in torch.linspace(0, len(found) - 1, self.frames).round().long()})

    def _samples(self, report: Report, values: dict[str, Any], run: Run) -> None:
        """Of new clips."""
        data, samples = values["data"], values["samples"]
        MODALITY.write(samples[: self.limit], run.root / "samples", "sample", values["source"])
        products.synthesis(report, values, MODALITY, MOVES if data.single else COMPARED)
        real = data.x("train" if data.single else "validation", slice(self.shown))
        rows: dict[str, Tensor] = {f"data {k}": clip for k, clip in enumerate(real)}
        rows |= {f"sample {k}": clip for k, clip in enumerate(samples[: self.shown])}
        if data.single:
            made = dynamic_textures.rivals(real[0], samples.shape[2], 1, run)
            rows |= {words(name): x[0] for name, x in made.items()}
        shown = {name: clip[:, : samples.shape[2]] for name, clip in rows.items()}  # the data may be longer
        sheet = pictures.contact_sheet(shown, frames=self.frames)
        products.show(report, run.root, {"contact_sheet": sheet}, {"contact_sheet": "the data above the samples"})
        for number in range(min(self.limit, self.shown, len(samples))):
            report.video(run.root / "samples" / f"sample_{number:03d}.mp4", f"sample {number}")
        if data.single:
            for axis in ("spatial", "temporal"):
                curves = {name: metrics.spectrum(clip)[axis] for name, clip in rows.items()}
                report.curves(curves, f"{axis} spectrum", "frequency, cycles a step", "power", log=True)


def _thumbnail(picture: Tensor) -> Tensor:
    """A frame of levels [3, H, W] in [-1, 1], WIDE pixels wide at most."""
    x = levels(picture)
    scale = WIDE / x.shape[2]
    return F.interpolate(x[None], scale_factor=scale, mode="area")[0] if scale < 1 else x


def _belonging(source: dict[str, Any]) -> tuple[list[float] | None, video.Origin | None]:
    """The times of a clip's frames and of its end, and the file that its sound comes from; None of one that is made."""
    times, path = source.get("times"), Path(source["name"])
    if times is None or path.is_dir():
        return times, None
    return times, video.Origin(path, times[0], times[-1], source["whole"])
