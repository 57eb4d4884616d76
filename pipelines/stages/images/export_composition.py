"""Show what a composition made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from data import images
from pipelines.pipeline import Run
from pipelines.report import Report, pictures
from pipelines.report.reporting import details
from pipelines.stages.images.export import rows_sheet, seen_of, write_all
from pipelines.results import save_energy

FILLED = 16  # pictures on the sheet of a recovery


@dataclass(frozen=True)
class ExportComposition:
    """Write the samples as PNG files, a sheet of them, the grid, the report and the composed energy into the run's
    folder; the experts lie in experts/."""

    needs: ClassVar[tuple[str, ...]] = ("energy", "composition", "samples", "metrics", "verdicts", "sampling", "grid")
    gives: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[int] = 10  # of a sheet of samples

    pictures: int = 64
    """Samples to write as PNG files, at most."""

    def __post_init__(self) -> None:
        if self.pictures < 0:
            raise ValueError(f"pictures must not be negative, got {self.pictures}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        samples, found = values["samples"], values["metrics"]
        self.write(samples[: self.pictures], values, run)
        composition = values["composition"]
        report = Report("Composition")
        report.text(f"{composition['expr']}: strength {composition['strength']:g}.")
        names = [name for name in found["samples"] if name != "num"]
        table = {"composed": found["samples"], **found["baselines"]}
        rows = [[name.replace("_", " "), *(scores[column] for column in names)] for name, scores in table.items()]
        report.table(["share of the samples", *(name.replace("_", " ") for name in names)], rows)
        told = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in found["classifiers"].items())
        report.text(f"Judged by classifiers that were learned apart; their own accuracy: {told}.")
        if "observation" in values:  # what was filled, above it what it was and what was seen of it
            rows = {"truth": values["targets"]} if values["truth_known"] else {}
            rows |= {"seen": seen_of(values), "filled": samples}
            sheet, words = rows_sheet(rows, FILLED), ", ".join(rows) + ": a row each"
        else:
            sheet, words = self.sheet(samples[:100], self.columns), "samples"
        images.write(run.root / "samples.png", sheet)
        report.image(sheet, words)
        wrong = samples[~values["verdicts"]]
        if len(wrong):
            report.image(self.sheet(wrong[:20], self.columns), "those that are not all that was asked for")
        if values["grid"] is not None:
            self._grid(values["grid"], report, run)
        details(report, run, values["sampling"])
        report.write(run.root / "report.html")
        save_energy(values["energy"], run.root)
        return {}

    def write(self, samples: Tensor, values: dict[str, Any], run: Run) -> None:
        """The samples as files."""
        write_all(samples, run, "samples", "sample")

    def sheet(self, x: Tensor, columns: int) -> np.ndarray:
        """Some of them in one picture."""
        return pictures.grid(x, columns)

    def _grid(self, grid: dict[str, Any], report: Report, run: Run) -> None:
        learned = torch.tensor(grid["learned"])
        rows = [
            [row, *(f"{share:.2f}{'' if seen else ' (unseen)'}" for share, seen in zip(shares, counts, strict=True))]
            for row, shares, counts in zip(grid["rows"], grid["accuracy"], learned.tolist(), strict=True)
        ]
        report.heading("Every pair")
        report.text(
            f"Share of samples in which both hold: {grid['mean']:.3f} on average. Pairs that no picture learned from "
            "shows are marked."
        )
        report.table([" x ".join(grid["names"]), *grid["columns"]], rows)
        sheet = self.sheet(grid["samples"], len(grid["columns"]))
        images.write(run.root / "grid.png", sheet)
        report.image(sheet, f"rows {', '.join(grid['rows'])}; columns {', '.join(grid['columns'])}")
