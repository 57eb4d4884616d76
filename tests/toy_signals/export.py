"""Write what a person looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.report import Report, products
from pipelines.results import save_energy
from pipelines.stage import Run
from toy_signals.modality import MODALITY

COLUMNS = 8
JUDGED = "Spectral distance: how far the mean amplitudes of the frequencies are from those of the signals to judge by."


@dataclass(frozen=True)
class Export:
    """Write the signals that were recovered, made, or lie on paths as CSV files, a sheet, the report and the energy."""

    needs: ClassVar[tuple[str, ...]] = ("data", "source", "energy")
    takes: ClassVar[tuple[str, ...]] = products.TAKES
    gives: ClassVar[tuple[str, ...]] = ("summary",)

    limit: int = 64
    """Signals to write, at most."""

    shown: int = 8
    """Signals in the sheet."""

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        report = Report(products.title(values, MODALITY))
        products.write(report, values, MODALITY, run, self.limit, self.shown, COLUMNS)
        if products.title(values, MODALITY).startswith("Synthesis"):
            MODALITY.write(values["samples"][: self.limit], run.root / "samples", "sample", values["source"])
            products.synthesis(report, values, MODALITY, JUDGED)
            products.show(report, run.root, {"samples": MODALITY.grid(values["samples"][: self.limit], COLUMNS)}, {})
        products.finish(report, values, run)
        save_energy(values["energy"], run.root)
        return {"summary": values.get("summary", "")}
