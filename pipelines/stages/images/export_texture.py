"""Say how like the photograph a texture is, and write what a person looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from data import images
from pipelines.measures import textures as likeness
from pipelines.pipeline import Run
from pipelines.report import Report
from pipelines.report.reporting import details
from pipelines.results import save_energy, save_metrics


@dataclass(frozen=True)
class ExportTexture:
    """Compare the texture with the photograph, and write both, the numbers, the report and the energy into the run's
    folder."""

    needs: ClassVar[tuple[str, ...]] = ("photograph", "texture", "energy", "sampling")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        photograph, x = values["photograph"], values["texture"]
        height, width = x.shape[1:]
        noise = likeness.random_phase(photograph, height, width, run.generator("random phase"))
        made = {
            "texture": x,
            "tiled_photograph": likeness.tiled(photograph, height, width),
            "random_phase_noise": noise,
        }
        side = min(min(photograph.shape[1:]) // 2, height, width)
        scores = {name: likeness.compare(y, photograph, side, run.generator(name)) for name, y in made.items()}
        scores["photographs_own_halves"] = likeness.between_halves(photograph, side, run.generator("halves"))
        shown = {"photograph": photograph} | made
        found = {
            "size": [height, width],
            "differences": scores,
            "statistics": {name: likeness.describe(y) for name, y in shown.items()},
            "sampling": values["sampling"]["summary"],
        }
        save_metrics(found, run.root)
        self._report(shown, found, side, values["sampling"], run)
        save_energy(values["energy"], run.root)
        return {"metrics": found, "summary": likeness.table(scores)}

    def _report(
        self, shown: dict[str, Tensor], found: dict[str, Any], side: int, sampling: dict[str, Any], run: Run
    ) -> None:
        report = Report("Texture synthesis")
        for name, x in shown.items():
            images.write(run.root / f"{name}.png", x)
            report.image((run.root / f"{name}.png").read_bytes(), name.replace("_", " "))
        report.heading("Differences to the photograph")
        report.text(
            "Mean and standard deviation: the largest difference of a channel, 0 to 255. Correlation: of neighbours 1, "
            "2, 4 and 8 pixels apart, across and down. Spectrum: of radially averaged power, in dB. Patches: how far a "
            "patch of 8x8 pixels is from the nearest one of the photograph, 0 to 255; 0 is a copy. The photograph's "
            "own halves differ from each other by as much as the last row says: no texture need be closer than that."
        )
        columns = list(found["differences"]["texture"])
        header = ["", *(name.replace("_db", ", dB") for name in columns)]
        rows = [[name.replace("_", " "), *(s[c] for c in columns)] for name, s in found["differences"].items()]
        report.table(header, rows)
        report.heading("Second-order statistics")
        _statistics(report, found["statistics"])
        lines = {name.replace("_", " "): likeness.ring_power(x, side) for name, x in shown.items()}
        report.curves(lines, "radially averaged power", "cycles per pixel", "power", log=True, log_x=True)
        details(report, run, sampling)
        report.write(run.root / "report.html")


def _statistics(report: Report, found: dict[str, Any]) -> None:
    names = [name.replace("_", " ") for name in found]
    channels = "RGB" if len(found["photograph"]["mean"]) == 3 else "L"
    rows: list[list[Any]] = []
    for key, label in (("mean", "mean"), ("std", "standard deviation")):
        rows += [[f"{label}, {c}", *(f"{s[key][k]:.1f}" for s in found.values())] for k, c in enumerate(channels)]
    for way in ("horizontal", "vertical"):
        for lag in found["photograph"][way]:
            values = (s[way].get(lag) for s in found.values())
            rows.append([f"{way} correlation, {lag} px", *(None if v is None else f"{v:.3f}" for v in values)])
    report.table(["", *names], rows)
