"""Write what a person looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images
from energies import Average, Hidden, Noisy
from pipelines.pipeline import Run
from pipelines.report import Report, pictures
from pipelines.report.reporting import BEST, details, long_chains
from pipelines.results import emptied, save_energy
from pipelines.stages.images.load import to_float
from pipelines.stages.posterior import WAYS

FEW = 200  # pictures to judge by


@dataclass(frozen=True)
class ExportSynthesis:
    """Write the samples as PNG files, sheets of them, the report and the energy into the run's folder."""

    needs: ClassVar[tuple[str, ...]] = ("images", "energy", "samples", "metrics", "shown", "sampling")
    gives: ClassVar[tuple[str, ...]] = ()

    num: int = 64
    """Samples to write as files, at most."""

    def __post_init__(self) -> None:
        if self.num < 0:
            raise ValueError(f"num must not be negative, got {self.num}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        write_all(values["samples"][: self.num], run, "samples", "sample")
        found = values["metrics"]
        report = Report("Image synthesis")
        names = ["samples", "training_pictures", "noise", "ten_times_the_steps", "long_from_data"]
        kinds = [name for name in names if name in found]
        columns = ["frechet", "precision", "recall"]
        report.text(
            f"Distances to the {found['validation']} pictures kept to judge by, in a classifier's features: "
            "precision is the share of samples among the real ones, recall the reverse."
        )
        if found["validation"] < FEW:
            report.text(f"So few pictures to judge by say little: give more, best {FEW} or more.")
        report.table(["pictures", *columns], [[n.replace("_", " "), *(found[n][c] for c in columns)] for n in kinds])
        if "of_their_class" in found:
            report.text(f"{found['of_their_class']:.1%} of the samples are judged to be of the class asked for.")
        long_chains(report, found)
        data = {"data": to_float(values["images"]["validation"][:100])}
        for name, x in (data | values["shown"]).items():
            picture = pictures.grid(x)
            images.write(run.root / f"{name}.png", picture)
            report.image(picture, name.replace("_", " "))
        if "curve" in found:
            at = [point["factor"] for point in found["curve"]]
            distance = {"Frechet distance": (at, [point["frechet"] for point in found["curve"]])}
            report.curves(distance, "more time, better samples", "times the sampling steps", "distance")
            shares = {c: (at, [point[c] for point in found["curve"]]) for c in ("precision", "recall")}
            report.curves(shares, "precision and recall", "times the sampling steps", "share")
        details(report, run, values["sampling"])
        report.write(run.root / "report.html")
        save_energy(values["energy"], run.root)
        return {}


@dataclass(frozen=True)
class ExportRecovery:
    """Write the recovered pictures as PNG files, a sheet, the report and the energy into the run's folder."""

    needs: ClassVar[tuple[str, ...]] = (
        "images", "energy", "targets", "measured", "observation", "truth_known", "recovered", "samples", "metrics",
        "rivals", "sampling",
    )  # fmt: skip
    gives: ClassVar[tuple[str, ...]] = ()

    num: int = 64
    """Pictures to write as files, at most."""

    shown: int = 10
    """Pictures in the sheet."""

    def __post_init__(self) -> None:
        if self.num < 0 or self.shown < 1:
            raise ValueError(f"num must not be negative and shown 1 or more, got {self.num} and {self.shown}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        write_all(values["recovered"][: self.num], run, "recovered", "picture")
        found, rival = values["metrics"], values["rivals"]
        rows = {"truth": values["targets"]} if values["truth_known"] else {}
        rows |= {"seen": seen_of(values), rival["name"].replace("_", " "): rival["pictures"]}
        rows |= {"recovered": values["recovered"], "one sample": values["samples"]}
        sheet = rows_sheet(rows, self.shown)
        images.write(run.root / "contact_sheet.png", sheet)
        report = Report("Image recovery")
        if values["truth_known"]:
            scored = {"recovery (mean)": found["recovery"], "one posterior sample": found["one_sample"]}
            scored |= {f"by this energy, {name}": s for name, s in found.get("ways", {}).items()}
            scored |= found["baselines"]
            lines = [[name.replace("_", " "), s["psnr"], s["mae"], s["ssim"]] for name, s in scored.items()]
            best = found["best_baseline"].replace("_", " ")
            report.text(f"The recovery is {found['gain_db']:+.2f} dB against the best baseline ({best}).")
            report.table(["on hidden pixels", *BEST], lines, best=BEST)
            seconds = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found["seconds"].items())
            report.text(f"The recovery is {found['way']}: {WAYS[found['way']]}. Time of the means: {seconds}.")
        else:
            report.text("The truth is unknown, so nothing is scored.")
        report.image(sheet, ", ".join(rows))
        details(report, run, values["sampling"])
        report.write(run.root / "report.html")
        save_energy(values["energy"], run.root)
        return {}


def seen_of(values: dict[str, Any]) -> Tensor:
    """What is seen, at the size of the pictures; hidden pixels in a colour of their own."""
    y, observation = values["measured"].clamp(-1, 1), values["observation"]
    y = y.expand(-1, 3, *y.shape[2:])
    inner = observation.operator if isinstance(observation, Noisy) else observation
    if isinstance(inner, Hidden):
        masks = inner.mask.expand(len(y), 1, *y.shape[2:])
        return torch.stack([pictures.hidden_view(x[:, None], m)[:, 0] for x, m in zip(y, masks, strict=True)])
    return inner.repeat(y) if isinstance(inner, Average) else y


def write_all(x: Tensor, run: Run, folder: str, name: str) -> None:
    """RUN/folder/name_000.png ..."""
    place = emptied(run.root / folder, name)
    for number, picture in enumerate(x):
        images.write(place / f"{name}_{number:03d}.png", picture)


def rows_sheet(rows: dict[str, Tensor], num: int, scale: int | None = None) -> Any:
    """A sheet whose rows are pictures [n, C, H, W] of one kind, labelled."""
    clips = {label: torch.movedim(x[:num].expand(-1, 3, -1, -1), 0, 1) for label, x in rows.items()}
    return pictures.contact_sheet(clips, frames=min(num, max(len(x) for x in rows.values())), scale=scale)
