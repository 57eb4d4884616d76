"""Write what a person looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from data import images
from pipelines.measures import tables, textures
from pipelines.modalities.images.modality import MODALITY
from pipelines.report import Report, pictures, products
from pipelines.results import save_energy
from pipelines.stage import Run

COLUMNS = 10  # of a sheet of pictures
JUDGED = (
    "Distances to the pictures kept to judge by, in the features of a classifier that also learned to tell pictures "
    "from noise and averages: precision is the share of samples among the real ones, recall the reverse. Real are "
    "pictures that were learned from, the best that samples can reach; noise and averages of pictures are the worst."
)
COMPARED = (
    "Differences to the photograph. Mean and standard deviation: the largest difference of a channel, 0 to 255. "
    "Correlation: of neighbours 1, 2, 4 and 8 pixels apart, across and down. Spectrum: of radially averaged power, in "
    "dB. Noise with the spectrum of the photograph has these right by itself, and not the next two. Responses: what "
    "edges and spots respond with, in order, in units of its spread. Patches: how far a patch of 8x8 pixels is from "
    "the nearest one of the photograph, 0 to 255; 0 is a copy. Real are the photograph's own halves: no texture need "
    "be closer than they are to each other."
)


@dataclass(frozen=True)
class Export:
    """Write the pictures that were recovered, made, composed, or made again as PNG files, the sheets, the report and
    the energy into the run's folder."""

    needs: ClassVar[tuple[str, ...]] = ("data", "source", "energy")
    takes: ClassVar[tuple[str, ...]] = products.TAKES
    gives: ClassVar[tuple[str, ...]] = ("summary",)

    limit: int = 64
    """Pictures to write as files, at most."""

    shown: int = 10
    """Pictures in the sheet of a recovery."""

    def __post_init__(self) -> None:
        if self.limit < 0 or self.shown < 1:
            raise ValueError(f"limit must not be negative and shown 1 or more, got {self.limit} and {self.shown}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        report = Report(products.title(values, MODALITY))
        products.write(report, values, MODALITY, run, self.limit, self.shown, COLUMNS)
        told = [values["summary"]] if "summary" in values else []
        if products.title(values, MODALITY).startswith("Synthesis"):
            if values["data"].single:
                told.append(self._textures(report, values, run))
            else:
                self._samples(report, values, run)
        products.finish(report, values, run)
        save_energy(values["energy"], run.root)
        return {"summary": "\n".join(told)}

    def _samples(self, report: Report, values: dict[str, Any], run: Run) -> None:
        """Of new pictures."""
        MODALITY.write(values["samples"][: self.limit], run.root / "samples", "sample", values["source"])
        products.synthesis(report, values, MODALITY, JUDGED)
        kinds = {"data": values["data"].x("validation", slice(100))}
        kinds |= values.get("shown") or {"samples": values["samples"][:100]}
        products.show(report, run.root, {name: pictures.grid(x) for name, x in kinds.items()}, {})

    def _textures(self, report: Report, values: dict[str, Any], run: Run) -> str:
        """Of new textures, beside simple ways to make some; gives a line on their size."""
        samples, photograph = values["samples"], values["data"].x()[0]
        height, width = samples.shape[2:]
        made = {"texture": samples[0]} if len(samples) == 1 else {f"texture_{k}": x for k, x in enumerate(samples)}
        shown = {"photograph": photograph} | made | textures.rivals(photograph, height, width, run)
        for name, x in shown.items():
            images.write(run.root / f"{name}.png", x)
            report.image((run.root / f"{name}.png").read_bytes(), tables.words(name))
        products.synthesis(report, values, MODALITY, COMPARED)
        report.heading("Second-order statistics")
        _statistics(report, {name: textures.describe(x) for name, x in shown.items()})
        side = textures.side_of(photograph, samples[0])
        lines = {tables.words(name): textures.ring_power(x, side) for name, x in shown.items()}
        report.curves(lines, "radially averaged power", "cycles per pixel", "power", log=True, log_x=True)
        loaded, file = (f"{w}x{h}" for h, w in (photograph.shape[1:], values["source"]["pixels"]))
        shrunk = "" if loaded == file else f" (its file has {file}; load.size says how many are taken)"
        return f"the texture has {width}x{height} pixels; the photograph was loaded with {loaded}{shrunk}"


def _statistics(report: Report, found: dict[str, Any]) -> None:
    names = [tables.words(name) for name in found]
    channels = "RGB" if len(found["photograph"]["mean"]) == 3 else "L"
    rows: list[list[Any]] = []
    for key, label in (("mean", "mean"), ("std", "standard deviation")):
        rows += [[f"{label}, {c}", *(f"{s[key][k]:.1f}" for s in found.values())] for k, c in enumerate(channels)]
    for way in ("horizontal", "vertical"):
        for lag in found["photograph"][way]:
            values = (s[way].get(lag) for s in found.values())
            rows.append([f"{way} correlation, {lag} px", *(None if v is None else f"{v:.3f}" for v in values)])
    report.table(["", *names], rows)
