"""Classify, say how sure, and make pictures of each class with the same network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images
from energies import JointEnergy
from energies.generators import Annealed, Chain, Stepwise, from_description
from pipelines import pictures
from pipelines.generation import generate
from pipelines.pipeline import Run
from pipelines.report import Report
from pipelines.reporting import details
from pipelines.stages.images import judge
from pipelines.stages.images.certainty import calibration
from pipelines.stages.images.evaluate import judge_of
from pipelines.stages.images.load import to_float
from pipelines.stages.results import save_energy, save_metrics

LANGEVIN = 4  # steps at each level, of the samples
TOGETHER = 500  # pictures classified at once


@dataclass(frozen=True)
class Classify:
    """Accuracy and calibration of the joint energy beside the same network by cross-entropy alone, and samples of each
    class, judged by a classifier of its own; into metrics.json and the report."""

    needs: ClassVar[tuple[str, ...]] = ("images", "energy", "plain", "generator")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary", "samples")
    distributed: ClassVar[bool] = True

    level: float = 0.25
    """Noise level that classes are read at, in units of x, where the energy is a family over levels."""

    samples: int = 100
    """Pictures to make, the classes in turns; 0: none."""

    guidance: float = 4.0
    """How much the class counts for them: 1 is the energy given the class; more, surer and less varied samples, at a
    lower temperature."""

    generator: Annealed | Chain | Stepwise | None = None
    """How they are sampled; null: as it suits the objective that was learned by, with some Langevin steps a level."""

    def __post_init__(self) -> None:
        if not self.guidance >= 0:
            raise ValueError(f"guidance must not be negative, got {self.guidance}")
        if not self.level > 0 or self.samples < 0:
            raise ValueError(f"level must be positive and samples not negative, got {self.level} and {self.samples}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        known = values["images"]["validation_labels"] >= 0
        x, labels = to_float(values["images"]["validation"][known]), values["images"]["validation_labels"][known]
        found: dict[str, Any] = {"num": len(x)}
        for name, key in (("joint", "energy"), ("plain", "plain")):
            found[name] = calibration(probabilities(values[key], x, self.level, run), labels)
        samples = torch.empty(0, *x.shape[1:])
        if self.samples:
            energy = values["energy"].to(run.accelerator.device).eval()
            asked = torch.arange(self.samples) % energy.num_classes
            generator = self.generator or from_description(values["generator"])
            if self.generator is None and isinstance(generator, Annealed):
                generator = replace(generator, steps=LANGEVIN, step_size=0.5)
            guidance = self.guidance if energy.noisy else 1.0
            samples = generate(energy, generator, self.samples, asked, run, "classify", guidance=guidance)
            by = run.on_main(lambda: judge_of(values["images"], run))
            assert isinstance(by, judge.Classifier)
            found["of_their_class"] = float((by.probabilities(samples).argmax(1) == asked).float().mean())
            found["judge_accuracy"] = float((by.probabilities(x).argmax(1) == labels).float().mean())
        if run.is_main:
            save_metrics(found, run.root)
            save_energy(values["energy"], run.root)
            save_energy(values["plain"], run.root, "plain")
            self._report(found, samples, run)
        return {"metrics": found, "summary": _summary(found), "samples": samples}

    def _report(self, found: dict[str, Any], samples: Tensor, run: Run) -> None:
        report = Report("Classification")
        report.text(
            f"On {found['num']} pictures. ECE: how far confidence and accuracy lie apart. Joint: the network that also "
            "generates; plain: the same network by cross-entropy alone."
        )
        rows = [[name, found[name]["accuracy"], found[name]["ece"]] for name in ("joint", "plain")]
        report.table(["network", "accuracy", "ECE"], rows, best={"accuracy": "max", "ECE": "min"})
        curves = {n: (found[n]["bins"]["confidence"], found[n]["bins"]["accuracy"]) for n in ("joint", "plain")}
        report.curves(curves | {"calibrated": ([0.0, 1.0], [0.0, 1.0])}, "reliability", "confidence", "share right")
        if len(samples):
            report.text(f"{found['of_their_class']:.1%} of the samples are judged to be of the class asked for.")
            sheet = pictures.grid(samples)
            images.write(run.root / "samples.png", sheet)
            report.image(sheet, "samples of the joint energy, a class a column")
        details(report, run, None)
        report.write(run.root / "report.html")


def probabilities(energy: JointEnergy, x: Tensor, level: float, run: Run) -> Tensor:
    """p(y | x) [n, classes] on the CPU; of a family over noise levels, that at `level`."""
    energy = leveled(energy, level).to(run.accelerator.device).eval()
    with torch.no_grad():
        return torch.cat([energy.probabilities(part.to(run.accelerator.device)).cpu() for part in x.split(TOGETHER)])


def leveled(energy: JointEnergy, level: float) -> JointEnergy:
    """The energy, of a family over noise levels that of one."""
    return energy.at(level) if energy.noisy else energy


def _summary(found: dict[str, Any]) -> str:
    lines = [f"{'':12}{'accuracy':>10}{'ECE':>10}"]
    lines += [f"{name:12}{found[name]['accuracy']:10.4f}{found[name]['ece']:10.4f}" for name in ("joint", "plain")]
    if "of_their_class" in found:
        lines.append(f"{found['of_their_class']:.1%} of the samples are judged to be of the class asked for")
    return "\n".join(lines)
