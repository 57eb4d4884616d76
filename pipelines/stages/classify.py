"""Classify, say how sure, and make some x of each class with the same network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images
from data.errors import InputError
from data.words import counted
from energies.generators import Chain, Stepwise
from energies.schedule import Schedule
from pipelines.examples import Examples
from pipelines.measures import floors
from pipelines.measures.certainty import calibration
from pipelines.measures.classes import probabilities
from pipelines.modalities import modality_of
from pipelines.modalities.base import Modality
from pipelines.report import Report
from pipelines.report.reporting import publish
from pipelines.sampling.generation import generate
from pipelines.stage import Run

LANGEVIN = 4  # steps at each level, of the samples
COLUMNS = 10  # of the samples shown


@dataclass(frozen=True)
class Classify:
    """Say how right and how sure a joint energy is, beside the same network by cross-entropy alone, and make samples of
    each class, judged by what is learned apart; into metrics.json and the report."""

    needs: ClassVar[tuple[str, ...]] = ("data", "energy", "plain", "generator")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary", "samples")
    distributed: ClassVar[bool] = True

    levels: tuple[float, ...] = (0.15, 0.25, 0.4, 0.7)
    """Noise levels that classes are read at, in units of x, where the energy is a family over levels: p(y | x) is the
    mean over them, which is less sure of itself than any one."""

    samples: int = 100
    """Samples to make, the classes in turns; 0: none. Of shapes of 30 voxels a side they are noise after minutes of
    learning; those are made by `voxel_synthesis`."""

    guidance: float = 4.0
    """How much the class counts for them: 1 is the energy given the class; more, surer and less varied samples, at a
    lower temperature."""

    generator: Schedule | Chain | Stepwise | None = None
    """How they are sampled; null: as it suits the objective that was learned by, with some Langevin steps a level."""

    def __post_init__(self) -> None:
        if not self.guidance >= 0:
            raise ValueError(f"guidance must not be negative, got {self.guidance}")
        if not self.levels or min(self.levels) <= 0 or self.samples < 0:
            raise ValueError(f"levels must be positive and samples not negative, got {self.levels}, {self.samples}")

    def check(self, values: dict[str, Any]) -> None:
        if "data" in values:
            labelled(values["data"], "classify")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        modality = modality_of(data.modality)
        x, labels = labelled(data, "classify")
        found: dict[str, Any] = {"num": len(x)}
        for name, key in (("joint", "energy"), ("plain", "plain")):
            found[name] = calibration(probabilities(values[key], x, self.levels, run), labels)
        samples = torch.empty(0, *x.shape[1:])
        if self.samples:
            samples, asked = self._made(values, run)
            samples = modality.made(samples, values["energy"])
            noise = floors.noise(x, len(samples), run.generator("noise"))
            told, own, chance = run.on_main(lambda: modality.classes_of([samples, x, noise], data, run))
            found["of_their_class"] = float((told == asked).float().mean())
            found["judge_accuracy"] = float((own == labels).float().mean())
            found["noise_of_their_class"] = float((chance == asked).float().mean())
        if run.is_main:
            report = _report(found, samples, modality, run)
            publish(report, found, {name: values[name] for name in ("energy", "plain")}, run)
        return {"metrics": found, "summary": _summary(found), "samples": samples}

    def _made(self, values: dict[str, Any], run: Run) -> tuple[Tensor, Tensor]:
        """Samples [n, *shape], and the labels that were asked for."""
        energy = values["energy"].to(run.accelerator.device).eval()
        asked = torch.arange(self.samples) % energy.num_classes
        generator = self.generator or values["generator"]
        if self.generator is None and isinstance(generator, Schedule):
            generator = replace(generator, steps=LANGEVIN, step_size=0.5)
        guidance = self.guidance if energy.noisy else 1.0
        return generate(energy, generator, self.samples, asked, run, "classify", guidance=guidance), asked


def labelled(data: Examples, stage: str) -> tuple[Tensor, Tensor]:
    """x [n, *shape] to judge by and their labels [n], where these are known. InputError: there are none."""
    noun = modality_of(data.modality).noun
    if data.validation_labels is None or not bool((data.validation_labels >= 0).any()):
        raise InputError(f"{stage}: none of the {noun} to judge by is labelled; see load.validation")
    return data.known("validation")


def _summary(found: dict[str, Any]) -> str:
    lines = [f"{'':12}{'accuracy':>10}{'ECE':>10}"]
    lines += [f"{name:12}{found[name]['accuracy']:10.4f}{found[name]['ece']:10.4f}" for name in ("joint", "plain")]
    if "of_their_class" in found:
        lines.append(_of_class(found))
    return "\n".join(lines)


def _report(found: dict[str, Any], samples: Tensor, modality: Modality, run: Run) -> Report:
    report = Report("Classification")
    report.text(
        f"On {counted(found['num'], modality.noun)}. ECE: how far confidence and accuracy lie apart. Joint: the "
        "network that also generates; plain: the same network by cross-entropy alone."
    )
    rows = [[name, found[name]["accuracy"], found[name]["ece"]] for name in ("joint", "plain")]
    report.table(["network", "accuracy", "ECE"], rows, best={"accuracy": "max", "ECE": "min"})
    curves = {n: (found[n]["bins"]["confidence"], found[n]["bins"]["accuracy"]) for n in ("joint", "plain")}
    report.curves(curves | {"calibrated": ([0.0, 1.0], [0.0, 1.0])}, "reliability", "confidence", "share right")
    if len(samples):
        report.text(f"{_of_class(found)}.")
        sheet = modality.grid(samples, COLUMNS)
        images.write(run.root / "samples.png", sheet)
        report.image(sheet, "samples of the joint energy, the classes in turns")
    return report


def _of_class(found: dict[str, Any]) -> str:
    """How many samples are of their class, beside what the best could reach, and noise does."""
    return (
        f"{found['of_their_class']:.1%} of the samples are judged to be of the class asked for, by a judge that is "
        f"right of {found['judge_accuracy']:.1%} of the data and finds {found['noise_of_their_class']:.1%} of noise so"
    )
