"""Write what a person reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from data import text
from pipelines.modalities.text.modality import MODALITY, symbols
from pipelines.report import Report, products
from pipelines.results import save_energy
from pipelines.stage import Run

JUDGED = "Bits a byte that counts of five bytes, of the text that was learned from, give each."


@dataclass(frozen=True)
class Export:
    """Write the texts that were gone on with, or made, as files, the report and the energy into the run's folder."""

    needs: ClassVar[tuple[str, ...]] = ("data", "source", "energy")
    takes: ClassVar[tuple[str, ...]] = products.TAKES
    gives: ClassVar[tuple[str, ...]] = ("summary",)

    limit: int = 64
    """Texts to write, at most."""

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError(f"limit must not be negative, got {self.limit}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        report = Report(products.title(values, MODALITY))
        products.write(report, values, MODALITY, run, self.limit, 1, 1)
        told = [values["summary"]] if "summary" in values else []
        made = values["prediction"]["predicted"] if "prediction" in values else values.get("samples")
        if "samples" in values and "prediction" not in values:
            MODALITY.write(values["samples"][: self.limit], run.root / "samples", "sample", values["source"])
            products.synthesis(report, values, MODALITY, JUDGED)
        if made is not None:
            report.preformatted("\n---\n".join(text.printed(row) for row in symbols(made)))
        products.finish(report, values, run)
        save_energy(values["energy"], run.root)
        return {"summary": "\n".join(told)}
