"""Find the noise that the generator makes x of, and make it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Chain, ConditionalEnergy, Energy, Schedule
from energies.family import is_noisy
from energies.inversion import decode, deterministic, invert
from energies.references.probabilistic_pca import ProbabilisticPCA
from pipelines.examples import Examples
from pipelines.measures import metrics as measure
from pipelines.modalities import modality_of
from pipelines.modalities.base import Modality
from pipelines.results import save_metrics
from pipelines.sampling.masked import of_details
from pipelines.stage import Run
from pipelines.trees import snake

TOGETHER = 2**16  # numbers of x that are inverted at once
FITTED = 2000  # x that principal components are taken of


@dataclass(frozen=True)
class Reconstruct:
    """Invert the generator: from x to their starting noise, and back to x.

    The generator runs without noise on the way (energies/inversion.py). The error of the way there and back is compared
    with that of the mean of the data and of principal components; into metrics.json.
    """

    needs: ClassVar[tuple[str, ...]] = ("data", "source", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("originals", "reconstructions", "noise", "metrics", "summary")

    own: str | None = None
    """Files of your own, or a data set, as in load, brought to the size that was learned; null: x to judge by, or the
    one that was learned from."""

    num: int = 16
    """How many, at most."""

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
        return () if self.own is None else (self.own,)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        modality = modality_of(data.modality)
        energy, generator = mapping(values, run, "reconstruct")
        x = to_take(self.own, values, self.num, modality, "reconstruct")
        check_size(energy, x, "reconstruct")
        parts, noises = [], []
        batches = x.split(max(1, TOGETHER // x[0].numel()))
        for number, part in enumerate(run.progress(batches, len(batches), "inverting")):
            rng = run.generator("reconstruct", number, device=run.accelerator.device)
            z = invert(generator, energy, part.to(run.accelerator.device), rng, self.rounds)
            noises.append(z.cpu())
            parts.append(decode(generator, energy, z).cpu())
        soft, noise = torch.cat(parts), torch.cat(noises)
        if not soft.isfinite().all():
            raise InputError("reconstruct: the chains end at values that are not finite; learn.steps is too low")
        rows = {"reconstruction": soft} | ({} if data.single else self._baselines(data.x("train", slice(FITTED)), x))
        found: dict[str, Any] = {"num": len(x)} | {name: _scores(made, x, modality) for name, made in rows.items()}
        found["noise"] = normality(noise)
        found["generator"] = {snake(type(generator).__name__): asdict(generator)}
        found["draws_noise"] = values["generator"] != deterministic(values["generator"])
        save_metrics(found, run.root)
        return {
            "originals": x,
            "reconstructions": modality.made(soft, energy),
            "noise": noise,
            "metrics": found,
            "summary": _summary(found),
        }

    def _baselines(self, train: Tensor, x: Tensor) -> dict[str, Tensor]:
        """What the mean of the data, and their principal components, make of x [n, *shape]."""
        found = {"mean_of_the_data": train.mean(0).expand_as(x)}
        for rank in self.components:
            space = ProbabilisticPCA.fit(train, rank, 1.0)
            along = (x.flatten(1) - space.mean) @ space.basis.T
            found[f"{rank}_components"] = (space.mean + along @ space.basis).view_as(x).clamp(-1, 1)
        return found


def mapping(values: Mapping[str, Any], run: Run, stage: str) -> tuple[Energy, Schedule | Chain]:
    """The energy of whole x, and the generator as a function of its noise. InputError: they do not suit each other."""
    energy = values["energy"].to(run.accelerator.device).eval()
    if of_details(energy):
        raise InputError(f"{stage}: an energy of details knows nothing whole; set learn.energy.amortised.rank")
    generator = deterministic(values["generator"])
    if isinstance(generator, Schedule) != is_noisy(energy):
        raise InputError(
            f"{stage}: learn.pretrained was not learned by this learn.objective; set that it was learned by"
        )
    if isinstance(generator, Schedule):
        generator = replace(generator, predictor="heun")  # the rule that `invert` undoes
    return energy.free() if isinstance(energy, ConditionalEnergy) else energy, generator


def to_take(own: str | None, values: Mapping[str, Any], num: int, modality: Modality, stage: str) -> Tensor:
    """The first [n, *shape] of a person's own x; where there are none, of those to judge by, or the single one."""
    data: Examples = values["data"]
    if own is None:
        return data.x("train" if data.single else "validation", slice(num))
    try:
        return modality.read(own, data.shape, num, values["source"])
    except InputError as problem:
        raise InputError(f"{stage}.own: {problem}") from None


def check_size(energy: Energy, x: Tensor, stage: str) -> None:
    """InputError if an energy is not of x [n, *shape]."""
    if not energy.fits(x.shape[1:]):
        found, wanted = ("x".join(map(str, size)) for size in (energy.event_shape, x.shape[1:]))
        raise InputError(f"{stage}: x is {wanted}, the energy is of {found}; set load.size or learn.size")


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
        "least_std_of_one": float(z.flatten(1).std(1).min()),
        "fourth_moment": float(rows.pow(4).mean()),
        "correlation_of_neighbours": float(neighbours),
    }


def _scores(made: Tensor, x: Tensor, modality: Modality) -> dict[str, float]:
    """How near x [n, *shape] that were made again are."""
    everywhere = torch.ones_like(x[:, :1], dtype=torch.bool)
    return error(made, x) | modality.score(made, x, everywhere)


def _summary(found: Mapping[str, Any]) -> str:
    rows = {name: entry for name, entry in found.items() if isinstance(entry, dict) and "mse" in entry}
    names = list(found["reconstruction"])
    lines = [f"{'':20}" + "".join(f"{name.replace('_', ' '):>14}" for name in names)]
    lines += [f"{row.replace('_', ' '):20}" + "".join(f"{s[name]:14.5f}" for name in names) for row, s in rows.items()]
    noise = found["noise"]
    lines.append(f"the noise found has mean {noise['mean']:.3f} and standard deviation {noise['std']:.3f}")
    return "\n".join(lines)
