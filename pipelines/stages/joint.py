"""Learn one network that classifies and generates, and judge it: what the stages of every modality have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import EncoderEnergy, EncoderLogits, JointEnergy
from energies.buffer import ReplayBuffer
from energies.generators import Chain, Stepwise
from energies.objectives import Batch, Joint, MaximumLikelihood, ScoreMatching
from energies.schedule import Schedule
from pipelines.generation import generate
from pipelines.measures.certainty import calibration
from pipelines.pipeline import Run
from pipelines.report import Report
from pipelines.report.reporting import details
from pipelines.stages.lessons import SAMPLED
from pipelines.results import pretrained, save_energy, save_metrics
from pipelines.settings import check_network
from pipelines.training import Optimizer, train

LANGEVIN = 4  # steps at each level, of the samples
TOGETHER = 2**19  # numbers of x that are classified at once


@dataclass(frozen=True)
class Examples:
    """Labelled x of any modality.

    Attributes:
        what: the word for them.
        shape: of one x.
        classes: the names of the labels.
        labels: [n]; -1 where it is not known; None: there are none.
        x: those of rows [k], float [k, *shape] in [-1, 1].
        varied: x with what leaves a label as it is, mirror images say, drawn at random.
    """

    what: str
    shape: list[int]
    classes: tuple[str, ...]
    labels: Tensor | None
    x: Callable[[Tensor], Tensor]
    varied: Callable[[Tensor, torch.Generator], Tensor] = lambda x, _: x

    def known(self) -> tuple[Tensor, Tensor]:
        """All that are labelled, and their labels."""
        assert self.labels is not None
        rows = (self.labels >= 0).nonzero()[:, 0]
        return self.x(rows), self.labels[rows]


@dataclass(frozen=True)
class JointLearning(ABC):
    """Base of the stages that learn a joint energy E(x, y) = -f(x)[y] (energies/joint.py), and the same network by
    cross-entropy alone to compare with; or take ones that were learned before."""

    pretrained: str | None = None
    """Folder of an earlier run of the same data, with energy/ and plain/: then nothing is learned."""

    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the levels, from half the resolution on; of what is small only the first ones."""

    depths: tuple[int, ...] = (1, 2, 2)
    """Residual blocks there."""

    objective: Joint = Joint()
    """How it learns."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(1800, 0.02, 30, 1.0, 0.99, 100, "muon"))
    """How its weights are found."""

    plain_share: float = 0.5
    """The plain network, whose steps are cheaper, gets so much of the steps."""

    batch: int = 64
    """Examples a step."""

    places: ClassVar[float] = 0.5  # of `EncoderEnergy`; were all to count, the classes' gradients would drown p(x)

    chains: int = 2048
    """Chains in the replay buffer, for maximum likelihood."""

    def __post_init__(self) -> None:
        check_network(self.widths, self.depths, least=0)
        if self.batch < 2 or self.chains < 1 or not 0 < self.plain_share <= 1:
            raise ValueError("batch must be 2 or more, chains 1 or more, plain_share above 0, at most 1")

    @abstractmethod
    def examples(self, values: dict[str, Any]) -> Examples:
        """What is learned from."""

    def num_levels(self, shape: list[int]) -> int:
        """Of the network: those that x has places for."""
        return len(self.widths)

    def files(self) -> tuple[str, ...]:
        if self.pretrained is None:
            return ()
        return tuple(str(Path(self.pretrained, name, "model.safetensors")) for name in ("energy", "plain"))

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        examples = self.examples(values)
        if examples.labels is None or len(examples.labels[examples.labels >= 0].unique()) < 2:
            raise InputError("learn_joint needs data with labels of two classes or more: put it into folders by class")
        generator = self.objective.generator()
        if self.pretrained is not None:
            return self._pretrained(Path(self.pretrained), examples) | {"generator": generator}
        noisy = isinstance(self.objective.generative, ScoreMatching)
        alone = replace(self.objective, generative=MaximumLikelihood(), weight=0.0)
        shorter = replace(self.optimizer, steps=max(1, round(self.optimizer.steps * self.plain_share)))
        return {
            "energy": self._learn(examples, noisy, self.objective, self.optimizer, run, "joint"),
            "plain": self._learn(examples, False, alone, shorter, run, "plain"),
            "generator": generator,
        }

    def _pretrained(self, root: Path, examples: Examples) -> dict[str, Any]:
        num = len(examples.classes)
        root = root.parent if root.name == "energy" else root
        names = ("energy", "plain")
        found = {
            name: pretrained(root / name, examples.shape, "learn_joint.pretrained", examples.what) for name in names
        }
        if not all(isinstance(e, JointEnergy) and e.num_classes == num for e in found.values()):
            raise InputError(f"learn_joint.pretrained={self.pretrained}: holds no joint energies of {num} classes")
        if found["energy"].noisy != isinstance(self.objective.generative, ScoreMatching):
            raise InputError(
                f"learn_joint.pretrained={self.pretrained}: was learned by another objective than "
                "learn_joint.objective.generative; set the one that it was learned by"
            )
        return found

    def _learn(
        self, examples: Examples, noisy: bool, objective: Joint, optimizer: Optimizer, run: Run, name: str
    ) -> JointEnergy:
        shape, num, device = examples.shape, len(examples.classes), run.accelerator.device
        labels = examples.labels
        assert labels is not None
        depth = self.num_levels(shape)
        encoder = EncoderEnergy(
            shape, self.widths[:depth], self.depths[:depth], noisy=noisy, heads=num, places=self.places
        )
        sampled = examples.x(torch.arange(min(len(labels), SAMPLED)))
        encoder.centre(sampled)
        energy = JointEnergy(EncoderLogits(encoder), num, shape).to(device)
        energy.classes = examples.classes
        chains = None
        if isinstance(objective.generative, MaximumLikelihood) and objective.weight:
            rng = run.generator("chains", run.accelerator.process_index, device=device)
            start = objective.generative.generator().start(energy)
            chains = ReplayBuffer.of_noise(self.chains, sampled[0].to(device), rng, start=start)
        del sampled

        def draw(energy: JointEnergy, step: int, rng: torch.Generator) -> tuple[JointEnergy, Batch]:
            size = (self.batch,)
            rows = torch.randint(len(labels), size, generator=rng, device=rng.device).cpu()
            x = examples.varied(examples.x(rows).to(device), rng)
            return energy, Batch(x, label=labels[rows].to(device), chains=chains)

        return train(energy, objective, draw, optimizer, run.part(name), {} if chains is None else chains.tensors())


@dataclass(frozen=True)
class Classification(ABC):
    """Base of the stages that say how right and how sure a joint energy is, beside the same network by cross-entropy
    alone, and that make samples of each class, judged by a classifier of their own; into metrics.json and the report.
    """

    levels: tuple[float, ...] = (0.15, 0.25, 0.4, 0.7)
    """Noise levels that classes are read at, in units of x, where the energy is a family over levels: p(y | x) is the
    mean over them, which is less sure of itself than any one."""

    samples: int = 100
    """Samples to make, the classes in turns; 0: none."""

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

    @abstractmethod
    def examples(self, values: dict[str, Any]) -> Examples:
        """What is judged by."""

    @abstractmethod
    def judged(self, collections: list[Tensor], values: dict[str, Any], run: Run) -> list[Tensor]:
        """The classes [n] of collections of x [n, *shape], by what was learned apart from the energy."""

    @abstractmethod
    def show(self, samples: Tensor, report: Report, run: Run) -> None:
        """Write pictures of the samples, into the run's folder and the report."""

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        examples = self.examples(values)
        x, labels = examples.known()
        if not len(x):
            raise InputError(f"classify: none of the {examples.what} to judge by is labelled; see load.validation")
        found: dict[str, Any] = {"num": len(x)}
        for name, key in (("joint", "energy"), ("plain", "plain")):
            found[name] = calibration(probabilities(values[key], x, self.levels, run), labels)
        samples = torch.empty(0, *x.shape[1:])
        if self.samples:
            energy = values["energy"].to(run.accelerator.device).eval()
            asked = torch.arange(self.samples) % energy.num_classes
            generator = self.generator or values["generator"]
            if self.generator is None and isinstance(generator, Schedule):
                generator = replace(generator, steps=LANGEVIN, step_size=0.5)
            guidance = self.guidance if energy.noisy else 1.0
            samples = generate(energy, generator, self.samples, asked, run, "classify", guidance=guidance)
            told, own = run.on_main(lambda: self.judged([samples, x], values, run))
            found["of_their_class"] = float((told == asked).float().mean())
            found["judge_accuracy"] = float((own == labels).float().mean())
        if run.is_main:
            save_metrics(found, run.root)
            save_energy(values["energy"], run.root)
            save_energy(values["plain"], run.root, "plain")
            self._report(found, samples, examples.what, run)
        return {"metrics": found, "summary": _summary(found), "samples": samples}

    def _report(self, found: dict[str, Any], samples: Tensor, what: str, run: Run) -> None:
        report = Report("Classification")
        report.text(
            f"On {found['num']} {what}. ECE: how far confidence and accuracy lie apart. Joint: the network that also "
            "generates; plain: the same network by cross-entropy alone."
        )
        rows = [[name, found[name]["accuracy"], found[name]["ece"]] for name in ("joint", "plain")]
        report.table(["network", "accuracy", "ECE"], rows, best={"accuracy": "max", "ECE": "min"})
        curves = {n: (found[n]["bins"]["confidence"], found[n]["bins"]["accuracy"]) for n in ("joint", "plain")}
        report.curves(curves | {"calibrated": ([0.0, 1.0], [0.0, 1.0])}, "reliability", "confidence", "share right")
        if len(samples):
            report.text(f"{found['of_their_class']:.1%} of the samples are judged to be of the class asked for.")
            self.show(samples, report, run)
        details(report, run, None)
        report.write(run.root / "report.html")


def probabilities(energy: JointEnergy, x: Tensor, levels: Sequence[float], run: Run) -> Tensor:
    """p(y | x) [n, classes] on the CPU; of a family over noise levels, the mean of those at `levels`."""
    members = [energy.at(level) for level in levels] if energy.noisy else [energy]
    return torch.stack([logits_of(member, x, run).softmax(1) for member in members]).mean(0)


def logits_of(energy: JointEnergy, x: Tensor, run: Run) -> Tensor:
    """f(x) [n, classes] on the CPU, of clean x or at a bound noise level."""
    energy = energy.to(run.accelerator.device).eval()
    num = max(1, TOGETHER // x[0].numel())
    with torch.no_grad():
        return torch.cat([energy.logits(part.to(run.accelerator.device)).cpu() for part in x.split(num)])


def leveled(energy: JointEnergy, level: float) -> JointEnergy:
    """The energy, of a family over noise levels that of one."""
    return energy.at(level) if energy.noisy else energy


def _summary(found: dict[str, Any]) -> str:
    lines = [f"{'':12}{'accuracy':>10}{'ECE':>10}"]
    lines += [f"{name:12}{found[name]['accuracy']:10.4f}{found[name]['ece']:10.4f}" for name in ("joint", "plain")]
    if "of_their_class" in found:
        lines.append(f"{found['of_their_class']:.1%} of the samples are judged to be of the class asked for")
    return "\n".join(lines)
