"""Find the noise that the generator makes a picture of, and make it again."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images
from data.errors import InputError
from energies import Chain, Energy, Schedule
from energies.family import is_noisy
from energies.inversion import decode, deterministic, invert
from energies.references.probabilistic_pca import ProbabilisticPCA
from pipelines.measures import metrics as measure
from pipelines.pipeline import Run
from pipelines.report import Report
from pipelines.report.reporting import details
from pipelines.stages.images.export import rows_sheet, write_all
from pipelines.stages.images.load import to_float
from pipelines.results import save_energy, save_metrics
from pipelines.trees import snake

TOGETHER = 2**16  # numbers of x that are inverted at once
FITTED = 2000  # pictures that principal components are taken of
SHOWN = 16


@dataclass(frozen=True)
class Reconstruct:
    """Invert the generator: from pictures to their starting noise, and back to pictures.

    The generator runs without noise on the way (energies/inversion.py). The error of the way there and back is compared
    with that of the mean picture and of principal components; into metrics.json.
    """

    needs: ClassVar[tuple[str, ...]] = ("images", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("originals", "reconstructions", "noise", "metrics", "summary")

    images: str | None = None
    """A picture or a folder of them, or a data set as in load; null: of those to judge by. They are cropped and
    shrunk to the size that was learned."""

    num: int = 16
    """Pictures, at most."""

    rounds: int | None = None
    """Rounds of correction; null: 3 at every step of an annealed generator, 60 through a whole chain."""

    components: tuple[int, ...] = (16, 64)
    """Numbers of principal components to compare with."""

    def __post_init__(self) -> None:
        if self.num < 1 or not (self.rounds is None or self.rounds >= 0):
            raise ValueError(f"num must be 1 or more and rounds not negative, got {self.num} and {self.rounds}")
        if any(rank < 1 for rank in self.components):
            raise ValueError(f"components must be 1 or more, got {self.components}")

    def files(self) -> tuple[str, ...]:
        return (self.images,) if self.images is not None and Path(self.images).is_file() else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy, generator = mapping(values, run, "reconstruct")
        x = pictures_of(self.images, values["images"], self.num, "reconstruct")
        parts, noises = [], []
        batches = x.split(max(1, TOGETHER // x[0].numel()))
        for number, part in enumerate(run.progress(batches, len(batches), "inverting")):
            rng = run.generator("reconstruct", number, device=run.accelerator.device)
            z = invert(generator, energy, part.to(run.accelerator.device), rng, self.rounds)
            noises.append(z.cpu())
            parts.append(decode(generator, energy, z).cpu())
        made, noise = torch.cat(parts), torch.cat(noises)
        if not made.isfinite().all():
            raise InputError(
                "reconstruct: the chains end at values that are not finite; learn.optimizer.steps is too low"
            )
        found: dict[str, Any] = {"num": len(x), "reconstruction": error(made, x)}
        found |= self._baselines(values["images"], x)
        found["noise"] = normality(noise)
        found["generator"] = {snake(type(generator).__name__): asdict(generator)}
        found["draws_noise"] = values["generator"] != generator
        save_metrics(found, run.root)
        return {
            "originals": x,
            "reconstructions": made,
            "noise": noise,
            "metrics": found,
            "summary": _summary(found),
        }

    def _baselines(self, loaded: dict[str, Any], x: Tensor) -> dict[str, dict[str, float]]:
        train = to_float(loaded["train"][:FITTED])
        found = {"mean_picture": error(train.mean(0).expand_as(x), x)}
        for rank in self.components:
            space = ProbabilisticPCA.fit(train, rank, 1.0)
            along = (x.flatten(1) - space.mean) @ space.basis.T
            found[f"{rank}_components"] = error((space.mean + along @ space.basis).view_as(x).clamp(-1, 1), x)
        return found


@dataclass(frozen=True)
class ExportReconstruction:
    """Write the pictures made again as PNG files, a sheet beside the originals, the report and the energy."""

    needs: ClassVar[tuple[str, ...]] = ("energy", "originals", "reconstructions", "metrics")
    gives: ClassVar[tuple[str, ...]] = ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        x, made, found = values["originals"], values["reconstructions"], values["metrics"]
        write_all(made, run, "reconstructions", "picture")
        sheet = rows_sheet({"original": x, "reconstruction": made, "difference": (made - x) / 2}, SHOWN)
        images.write(run.root / "contact_sheet.png", sheet)
        report = Report("Image reconstruction")
        report.text("Pictures, the starting noise that the generator makes them of, and what it makes of it.")
        if found["draws_noise"]:
            report.text("The generator draws noise on its way: it was inverted without, and such a picture is another.")
        rows = [[name.replace("_", " "), s["mse"], s["psnr"]] for name, s in found.items() if _is_error(s)]
        report.table(["made of", "mean squared error", "PSNR, dB"], rows, best={"PSNR, dB": "max"})
        noise = found["noise"]
        report.table(["noise found", "standard normal"], [[noise["mean"], 0.0], [noise["std"], 1.0]])
        report.image(sheet, "the difference is grey where there is none")
        details(report, run, None)
        report.write(run.root / "report.html")
        save_energy(values["energy"], run.root)
        return {}


def mapping(values: dict[str, Any], run: Run, stage: str) -> tuple[Energy, Schedule | Chain]:
    """The energy, and the generator as a function of its noise. InputError: the two do not suit each other."""
    energy = values["energy"].to(run.accelerator.device).eval()
    generator = deterministic(values["generator"])
    if isinstance(generator, Schedule) != is_noisy(energy):
        raise InputError(
            f"{stage}: learn.pretrained was not learned by this learn.objective; set that it was learned by"
        )
    return energy, generator


def pictures_of(source: str | None, loaded: dict[str, Any], num: int, stage: str) -> Tensor:
    """The first [n, C, H, W] of a source, in the size that was learned; of those to judge by where there is none."""
    if source is None:
        return to_float(loaded["validation"][:num])
    channels, height, width = loaded["train"].shape[1:]
    try:
        dataset: Any = images.open_dataset(source, (height, width), channels)
        if not len(dataset):
            raise InputError(f"{source} holds no pictures")
        return images.batch(dataset, list(range(min(num, len(dataset)))))[0]
    except InputError as problem:
        raise InputError(f"{stage}.images: {problem}") from None


def error(made: Tensor, x: Tensor) -> dict[str, float]:
    """Mean squared error in units of x, and PSNR in dB (peak 2)."""
    mse = float((made - x).double().square().mean())
    return {"mse": mse, "psnr": min(measure.PSNR_CAP, 10 * math.log10(4 / mse)) if mse else measure.PSNR_CAP}


def normality(noise: Tensor) -> dict[str, float]:
    """What of noise [n, *event] would be 0, 1, 1, 3 and 0 were it standard normal."""
    z = noise.double()
    shift = z - z.mean()
    variance = float(shift.square().mean())
    rows = shift.flatten(1) / math.sqrt(max(variance, 1e-12))
    neighbours = (shift[..., 1:] * shift[..., :-1]).mean() / max(variance, 1e-12)
    return {
        "mean": float(z.mean()),
        "std": math.sqrt(variance),
        "least_std_of_a_picture": float(z.flatten(1).std(1).min()),
        "fourth_moment": float(rows.pow(4).mean()),
        "correlation_of_neighbours": float(neighbours),
    }


def _is_error(entry: Any) -> bool:
    return isinstance(entry, dict) and "psnr" in entry


def _summary(found: dict[str, Any]) -> str:
    lines = [f"{'':20}{'squared error':>16}{'PSNR, dB':>10}"]
    lines += [f"{n.replace('_', ' '):20}{s['mse']:16.5f}{s['psnr']:10.2f}" for n, s in found.items() if _is_error(s)]
    noise = found["noise"]
    lines.append(f"the noise found has mean {noise['mean']:.3f} and standard deviation {noise['std']:.3f}")
    return "\n".join(lines)
