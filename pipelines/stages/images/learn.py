"""Learn an energy of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import ConditionalEnergy, EncoderEnergy, Energy, Family, GenerativeConvNet, ResidualEnergy
from energies.buffer import ReplayBuffer
from energies.objectives import Batch, EnergyMatching, MaximumLikelihood, RecoveryLikelihood, References, ScoreMatching
from pipelines.generation import suited
from pipelines.pipeline import Run
from pipelines.stages.images.load import to_float
from pipelines.stages.lessons import SAMPLED, UNLABELLED, check_unseen, forgotten
from pipelines.results import pretrained, weights_of
from pipelines.settings import check_network
from pipelines.training import Optimizer, train

MOST_REFERENCES = 16_000_000  # numbers that all references of a step have, at most
COARSEST = 1.75  # pixels a side of the last level, at least: further ones would see padding
Objective = ScoreMatching | MaximumLikelihood | RecoveryLikelihood | EnergyMatching


@dataclass(frozen=True)
class Encoder:
    """Our default: a scalar ConvNet that reads every level, at all noise levels or of clean x."""

    widths: tuple[int, ...] = (32, 64, 128, 192)
    """Channels of the levels, from half the resolution on; of small pictures only the first ones."""

    depths: tuple[int, ...] = (1, 2, 2, 2)
    """Residual blocks there."""

    def __post_init__(self) -> None:
        check_network(self.widths, self.depths)


@dataclass(frozen=True)
class Residual:
    """The residual network of Du & Mordatch 2019, with spectral norms (energies/networks/residual.py)."""

    width: int = 32
    """Channels of the first level; each further one has twice as many."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be 1 or more, got {self.width}")


@dataclass(frozen=True)
class ConvNet:
    """The published generative ConvNet of whole objects (Xie et al. 2016; energies/networks/convnet.py)."""

    sigma: float = 0.5
    """Standard deviation of the Gaussian reference, in units of x (half the range of values)."""

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma must be positive, got {self.sigma}")


@dataclass(frozen=True)
class Learn:
    """Learn an energy of the pictures, or take one that was learned before."""

    needs: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "generator")
    distributed: ClassVar[bool] = True

    pretrained: str | None = None
    """Folder of an earlier run, or of its energy, RUN/energy: then nothing is learned. Any energy of such pictures will
    do, whatever it was learned for; one of clean x needs the objective that it was learned by."""

    energy: Encoder | Residual | ConvNet = Encoder()
    """The energy: encoder (our default), residual or conv_net."""

    objective: Objective = ScoreMatching()
    """How it learns: score_matching or recovery_likelihood (encoder only), energy_matching (encoder only), or
    maximum_likelihood."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(2000, 0.02, 30, 1.0, 0.995, 100, "muon"))
    """How its weights are found."""

    batch: int = 64
    """Pictures a step."""

    references: int = 0
    """Further pictures a step, of which those of its class tell score_matching what to expect of a noisy one, in place
    of the one picture that was made noisy: gradients of less noise, where noise is of the size of the pictures'
    contrast. 2048 small ones are a sixth more time; of large ones 16 million numbers are taken. 0: none."""

    conditional: bool | None = None
    """Learn the pictures of each class, to sample them by class; null: where there are labels (not for conv_net)."""

    chains: int = 4096
    """Chains in the replay buffer, for objectives that keep some."""

    def __post_init__(self) -> None:
        if not isinstance(self.energy, Encoder) and not isinstance(self.objective, MaximumLikelihood):
            raise ValueError("objective must be maximum_likelihood for the energies residual and conv_net")
        if self.conditional and isinstance(self.energy, ConvNet):
            raise ValueError("conditional is not possible with the energy conv_net; take encoder or residual")
        if self.references < 0 or (self.references and not isinstance(self.objective, ScoreMatching)):
            raise ValueError(
                f"references must not be negative, and are for the objective score_matching; got {self.references}"
            )
        if self.batch < 1 or self.chains < 1:
            raise ValueError(f"batch and chains must be 1 or more, got {self.batch} and {self.chains}")

    def files(self) -> tuple[str, ...]:
        return weights_of(self.pretrained)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        images = values["images"]
        levels, labels = images["train"], images.get("train_labels")
        if self.conditional and len(images["classes"]) < 2:
            raise InputError("learn.conditional needs pictures with labels: put them into folders by class")
        shape = list(levels.shape[1:])
        if self.pretrained is not None:
            energy = pretrained(Path(self.pretrained), shape)
            self._check_classes(energy, images["classes"])
            if isinstance(energy, ConditionalEnergy):
                check_unseen(energy, to_float(images["validation"]), "learn", self.pretrained)
            return {"energy": energy, "generator": suited(energy, self.objective.generator())}
        by_class = self.conditional
        if by_class is None:
            by_class = len(images["classes"]) > 1 and not isinstance(self.energy, ConvNet)
        labels = labels if by_class else None
        energy = self._build(shape, len(images["classes"]) if by_class else 0, to_float(levels[:SAMPLED]))
        device = run.accelerator.device
        buffer = self._buffer(energy.to(device), levels, labels, run)
        num = min(self.references, max(1, MOST_REFERENCES // levels[0].numel()))
        weights = weights_of_references(labels)

        def drawn(num: int, weights: Tensor | None, rng: torch.Generator) -> Tensor:
            """Rows, as often each or by weights."""
            if weights is None:
                return torch.randint(len(levels), (num,), generator=rng, device=rng.device).cpu()
            return weights.to(rng.device).multinomial(num, replacement=True, generator=rng).cpu()

        def references(rng: torch.Generator) -> References | None:
            if not num:
                return None
            rows = drawn(num, weights, rng)
            return References(to_float(levels[rows].to(device)), None if labels is None else labels[rows].to(device))

        def draw(energy: Energy, step: int, rng: torch.Generator) -> tuple[Energy, Batch]:
            rows = drawn(self.batch, None, rng)
            x = to_float(levels[rows]).to(device)
            label = None if labels is None else forgotten(labels[rows].to(device), rng)
            progress, others = step / self.optimizer.steps, references(rng)
            return energy, Batch(x, chains=buffer, label=label, progress=progress, references=others)

        kept = {} if buffer is None else buffer.tensors()
        energy = train(energy, self.objective, draw, self.optimizer, run, kept)
        if labels is not None:
            energy.classes = tuple(images["classes"])
        return {"energy": energy, "generator": self.objective.generator()}

    def _check_classes(self, energy: Energy, classes: Sequence[str]) -> None:
        """InputError: the classes that an energy was learned by are not those of the pictures."""
        known = list(energy.classes) if isinstance(energy, Family) else []
        if known and known != list(classes):
            raise InputError(
                f"learn.pretrained={self.pretrained}: was learned by the classes {', '.join(known)}; the pictures have "
                f"{', '.join(classes) or 'none'}"
            )
        if self.conditional is not None and self.conditional != bool(known):
            raise InputError(
                f"learn.pretrained={self.pretrained}: was {'' if known else 'not '}learned by class, and "
                f"learn.conditional is {str(self.conditional).lower()}"
            )

    def _build(self, shape: list[int], num_classes: int, x: Tensor) -> Any:
        if isinstance(self.energy, ConvNet):
            return GenerativeConvNet("object", shape, self.energy.sigma, float(x.mean()))
        if isinstance(self.energy, Residual):
            return ResidualEnergy(shape, self.energy.width, num_classes)
        levels = num_levels(shape, self.energy.widths)
        widths, depths = self.energy.widths[:levels], self.energy.depths[:levels]
        energy = EncoderEnergy(shape, widths, depths, None, self._noisy(), num_classes)
        energy.centre(x)
        return energy

    def _buffer(self, energy: Any, levels: Tensor, labels: Tensor | None, run: Run) -> ReplayBuffer | None:
        if not isinstance(self.objective, MaximumLikelihood | EnergyMatching):
            return None
        device = run.accelerator.device
        rng = run.generator("chains", run.accelerator.process_index, device=device)
        label = None
        if labels is not None:
            rows = torch.randint(len(labels), (self.chains,), generator=rng, device=device)
            label = forgotten(labels.to(device)[rows], rng)
        like, start = to_float(levels[0]).to(device), self.objective.generator().start(energy)
        return ReplayBuffer.of_noise(self.chains, like, rng, label, start)

    def _noisy(self) -> bool:
        return isinstance(self.objective, ScoreMatching | RecoveryLikelihood)


def weights_of_references(labels: Tensor | None) -> Tensor | None:
    """How often each x is drawn as a reference: what has a label as often, beside what has none, as it is learned from
    without it, so that references have the law of x without labels. None: all x as often, where all or none have one.
    """
    if labels is None or bool((labels >= 0).all()):
        return None
    return torch.where(labels < 0, 1.0, UNLABELLED)


def num_levels(shape: list[int], widths: Sequence[int]) -> int:
    """Of a network with these widths, the levels that pictures [C, H, W], or clips [C, T, H, W], have places for."""
    return min(len(widths), max(1, int(math.log2(min(shape[1:]) / COARSEST))))
