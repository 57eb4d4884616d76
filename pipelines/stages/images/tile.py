"""Pictures larger than what was ever learned, by one energy over overlapping windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from data import images
from data.errors import InputError
from energies import tiled
from pipelines import pictures
from pipelines.pipeline import Run
from pipelines.report import Report
from pipelines.reporting import details
from pipelines.stages.images.export import write_all
from pipelines.stages.results import save_energy


@dataclass(frozen=True)
class Tile:
    """Make of an energy of pictures one of larger ones: the product over overlapping windows. What it makes goes on at
    the opposite edge."""

    needs: ClassVar[tuple[str, ...]] = ("energy",)
    gives: ClassVar[tuple[str, ...]] = ("energy",)

    height: int = 3
    """Of the larger picture, in strides."""

    width: int = 8
    """Of it, in strides."""

    stride: int | None = None
    """Pixels between windows, which must divide the size learned; null: half of it."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or (self.stride is not None and self.stride < 1):
            raise ValueError("height, width and stride must be 1 or more")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy = values["energy"]
        window = tuple(energy.event_shape[1:])
        stride = (self.stride,) * 2 if self.stride else tuple(max(1, side // 2) for side in window)
        size = (self.height * stride[0], self.width * stride[1])
        try:
            return {"energy": tiled(energy, size, stride)}
        except ValueError as error:
            raise InputError(f"tile: {error}; set tile.stride, tile.height or tile.width") from error


@dataclass(frozen=True)
class ExportTiled:
    """Write the larger pictures as PNG files, a sheet of them, the report and the energy into the run's folder."""

    needs: ClassVar[tuple[str, ...]] = ("energy", "samples", "sampling")
    gives: ClassVar[tuple[str, ...]] = ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        samples, energy = values["samples"], values["energy"]
        write_all(samples, run, "samples", "sample")
        report = Report("Larger pictures")
        height, width = samples.shape[2:]
        report.text(
            f"{width}x{height} pixels, by an energy of {energy.window[1]}x{energy.window[0]}, a window every "
            f"{energy.stride[1]}x{energy.stride[0]} pixels."
        )
        sheet = pictures.grid(samples[:16], columns=2, scale=max(1, 240 // width))
        images.write(run.root / "samples.png", sheet)
        report.image(sheet, "samples; they go on at the opposite edge")
        details(report, run, values["sampling"])
        report.write(run.root / "report.html")
        save_energy(energy, run.root)
        return {}
