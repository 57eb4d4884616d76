"""Learn one energy of shapes for all tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import (
    Average,
    Chain,
    ConditionalEnergy,
    DataReference,
    EncoderEnergy,
    Energy,
    GenerativeConvNet,
    LocalReference,
    Schedule,
)
from energies.buffer import ReplayBuffer, Start
from energies.family import is_noisy
from energies.objectives import Batch, Denoising, MaximumLikelihood, ScoreMatching
from energies.references import DataEstimator
from pipelines.generation import CONDITIONAL
from pipelines.pipeline import Run
from pipelines.results import pretrained, weights_of
from pipelines.settings import check_network
from pipelines.stages.lessons import Lessons, Task, check_unseen, forgotten, hides, sees
from pipelines.stages.voxels.grids import averaged, mirrored
from pipelines.stages.voxels.hide import box, half, scattered
from pipelines.training import Optimizer, train

MOST_FOLDS = 10
MOST_MEMORY = 12  # GiB that the references of the folds may take
CROP = 32  # voxels a side, of what details are learned from
ANNEALED = Schedule(24, 20.0, 0.05)
"""How an energy of shapes at all noise levels is sampled, where nothing else is said."""


@dataclass(frozen=True)
class Shapes:
    """Our default: a conditional energy, a ConvNet around a reference of the shapes that is told what is seen
    (energies/conditional.py)."""

    widths: tuple[int, ...] = (32, 64, 128, 192)
    """Channels of the network at a half, a quarter ... of the resolution."""

    depths: tuple[int, ...] = (2, 1, 1, 1)
    """Residual blocks there."""

    rank: int = 600
    """Principal components of the reference, at most; 0: none, for grids of which only details are to be refined."""

    remembered: int = 1200
    """Shapes that the reference remembers, at most."""

    noise: float = 0.6
    """Standard deviation of a voxel beyond them, in units of x (half the range of values)."""

    def __post_init__(self) -> None:
        check_network(self.widths, self.depths)
        if self.rank < 0 or not self.noise > 0:
            raise ValueError(f"rank must not be negative and noise positive, got {self.rank} and {self.noise}")
        if self.remembered < 2:
            raise ValueError(f"remembered must be 2 or more, got {self.remembered}")


@dataclass(frozen=True)
class DescriptorNet:
    """The published generative ConvNet for voxels (Xie et al. 2018; energies/networks/convnet.py)."""

    sigma: float = 0.5
    """Standard deviation of the Gaussian reference, in units of x (half the range of values)."""


@dataclass(frozen=True)
class Encoder:
    """A scalar ConvNet at all noise levels that reads every level of a bottom-up network (networks/encoder.py): for
    features, for coarse shapes that are refined afterwards, and, by conditioning, for every way to recover shapes."""

    widths: tuple[int, ...] = (16, 96, 128, 192)
    """Channels of the levels, from half the resolution on."""

    depths: tuple[int, ...] = (0, 1, 2, 1)
    """Residual blocks there."""

    def __post_init__(self) -> None:
        check_network(self.widths, self.depths, least=0)


ALLOWED: dict[type, type] = {Shapes: Denoising, DescriptorNet: MaximumLikelihood, Encoder: ScoreMatching}


@dataclass(frozen=True)
class Learn:
    """Learn an energy of the shapes, for all tasks at once, or take any that was learned before: one that was told what
    is seen recovers by an amortised mean, one that was learned to synthesise by conditioning."""

    needs: ClassVar[tuple[str, ...]] = ("shapes",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "generator")
    distributed: ClassVar[bool] = True

    pretrained: str | None = None
    """Folder of an earlier run of these shapes, or of its energy, RUN/energy: then nothing is learned."""

    size: int | None = None
    """Voxels a side of the energy, which must divide the shapes'; null: theirs. Shapes are averaged down to it."""

    energy: Shapes | DescriptorNet | Encoder = Shapes()
    """The energy: shapes (our default), descriptor_net, the published one, or encoder, for features."""

    objective: Denoising | MaximumLikelihood | ScoreMatching = field(default_factory=lambda: Denoising(0.92, 0.8, 1.2))
    """How it learns: denoising, for shapes; maximum_likelihood, for descriptor_net; score_matching, for encoder."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(600, 0.0015, 30, 1.0, 0.99, 50))
    """How its weights are found."""

    batch: int = 8
    """Shapes a step."""

    conditional: bool | None = None
    """Learn the shapes of each class, to sample them by class, with encoder; null: where there are classes."""

    folds: int = 4
    """Parts of the shapes: what one of them teaches is judged by a reference of the others."""

    def __post_init__(self) -> None:
        if not isinstance(self.objective, ALLOWED[type(self.energy)]):
            raise ValueError(
                "objective must be denoising for the energy shapes, maximum_likelihood for descriptor_net, "
                "score_matching for encoder"
            )
        if self.batch < 1 or not 2 <= self.folds <= MOST_FOLDS:
            raise ValueError(f"batch must be 1 or more and folds 2 to {MOST_FOLDS}, got {self.batch} and {self.folds}")
        if self.conditional and not isinstance(self.energy, Encoder):
            raise ValueError("conditional is for the energy encoder")
        if self.size is not None and self.size < 8:
            raise ValueError(f"size must be 8 or more, got {self.size}")

    def files(self) -> tuple[str, ...]:
        return weights_of(self.pretrained)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        side = values["shapes"]["side"]
        size = self.size or side
        if side % size:
            raise InputError(f"learn.size={size} does not divide the {side} voxels a side of the shapes")
        if self.pretrained is not None:
            energy = pretrained(Path(self.pretrained), (1, size, size, size), "learn.pretrained", "shapes")
            if isinstance(energy, ConditionalEnergy):
                seen = averaged(values["shapes"]["validation"], side, size)
                check_unseen(energy, seen, "learn", self.pretrained)
        else:
            energy = self._learned(averaged(values["shapes"]["train"], side, size), values["shapes"], run)
        generator: Schedule | Chain = suited(energy)
        if isinstance(self.objective, MaximumLikelihood) and not is_noisy(energy):
            generator = self.objective.generator()
        return {"energy": energy, "generator": generator}

    def _learned(self, x: Tensor, shapes: dict[str, Any], run: Run) -> Energy:
        if isinstance(self.energy, DescriptorNet):
            return self._maximum_likelihood(x, run)
        if isinstance(self.energy, Encoder):
            return self._score_matching(x, *self._labels(shapes), run)
        return self._denoising(x, run)

    def _denoising(self, x: Tensor, run: Run) -> ConditionalEnergy:
        assert isinstance(self.energy, Shapes)
        settings, size = self.energy, x.shape[-1]
        needed = self.folds * (2 * min(len(x), settings.remembered) + settings.rank) * size**3 * 4 / 2**30
        if settings.rank and needed > MOST_MEMORY:
            raise InputError(
                f"learn: a reference of whole shapes of {size} voxels a side would take {needed:.0f} GiB; "
                "set learn.size=32, a smaller learn.energy.shapes.remembered, or learn.energy.shapes.rank=0"
            )
        known: DataReference | LocalReference = LocalReference()
        if settings.rank:
            kept = x[: settings.remembered]
            known = DataReference(x.shape[1:], len(kept), settings.rank, settings.noise, binary=True)
            known.fit(kept)
        energy = ConditionalEnergy(known, 1, settings.widths, settings.depths, (2, 2, 2))
        tasks = _tasks(size if settings.rank else min(size, CROP), settings.rank > 0)

        def reference(x: Tensor) -> DataEstimator:
            return DataEstimator(x[: settings.remembered], settings.rank, settings.noise)

        def varied(x: Tensor, rng: torch.Generator) -> Tensor:
            x = mirrored(x, rng)
            return x if settings.rank else torch.stack([_crop(shape, rng) for shape in x])

        lessons = Lessons(x, self.batch, tasks, reference if settings.rank else None, self.folds, run, varied)

        def draw(energy: ConditionalEnergy, step: int, rng: torch.Generator) -> tuple[ConditionalEnergy, Batch]:
            context, batch = lessons[step]
            return energy.told(context), batch

        return train(energy, self.objective, draw, self.optimizer, run, {})

    def _labels(self, shapes: dict[str, Any]) -> tuple[Tensor | None, list[str]]:
        """Of what is learned from, and the names of the classes; None: it is not learned by class."""
        classes, labels = shapes["classes"], shapes.get("train_labels")
        if self.conditional and (labels is None or len(classes) < 2):
            raise InputError("learn.conditional needs shapes with labels: put them into folders by class")
        by_class = self.conditional or (self.conditional is None and labels is not None and len(classes) > 1)
        return (labels, list(classes)) if by_class else (None, [])

    def _score_matching(self, x: Tensor, labels: Tensor | None, classes: list[str], run: Run) -> EncoderEnergy:
        assert isinstance(self.energy, Encoder)
        energy = EncoderEnergy(x.shape[1:], self.energy.widths, self.energy.depths, num_classes=len(classes))
        energy.centre(x)
        energy.classes = tuple(classes)
        device = run.accelerator.device

        def draw(energy: EncoderEnergy, step: int, rng: torch.Generator) -> tuple[EncoderEnergy, Batch]:
            rows = torch.randint(len(x), (self.batch,), generator=rng, device=rng.device).cpu()
            label = None if labels is None else forgotten(labels[rows].to(device), rng)
            return energy, Batch(mirrored(x[rows].to(device), rng), label=label)

        return train(energy, self.objective, draw, self.optimizer, run, {})

    def _maximum_likelihood(self, x: Tensor, run: Run) -> GenerativeConvNet:
        assert isinstance(self.energy, DescriptorNet)
        energy = GenerativeConvNet("voxel", list(x.shape[1:]), self.energy.sigma, float(x.mean()))
        device = run.accelerator.device
        rng = run.generator("chains", run.accelerator.process_index, device=device)
        chains = ReplayBuffer.of_noise(2 * self.batch, x[0].to(device), rng, start=Start(energy.mean))

        def draw(energy: GenerativeConvNet, step: int, rng: torch.Generator) -> tuple[GenerativeConvNet, Batch]:
            rows = torch.randint(len(x), (self.batch,), generator=rng, device=rng.device).cpu()
            return energy, Batch(x[rows].to(device), chains=chains)

        return train(energy, self.objective, draw, self.optimizer, run, chains.tensors())


def _tasks(side: int, whole: bool) -> dict[str, Task]:
    """Voxels at random, a half, a box, block means; without a reference of whole shapes, what details serve for."""

    def uniform(rng: torch.Generator) -> float:
        return float(torch.rand((), generator=rng))

    random = hides(lambda rng: scattered(side, 1 - 0.5 * 0.01 ** uniform(rng), rng))
    tasks = {"scattered": Task(3 if whole else 1, random)}
    if whole:
        tasks["half"] = Task(1, hides(lambda rng: half(side, rng)))
        tasks["box"] = Task(1, hides(lambda rng: box(side, int(side * (0.3 + 0.4 * uniform(rng))), rng)))
    shares = {2: 2, 4: 2 if whole else 1}
    return tasks | {f"coarse{k}": Task(share, sees(Average((k,) * 3))) for k, share in shares.items() if side % k == 0}


def _crop(shape: Tensor, rng: torch.Generator) -> Tensor:
    """A cube of CROP voxels a side around a random set voxel of [1, N, N, N]."""
    places = (shape[0] > 0).nonzero()
    centre = places[int(torch.randint(max(len(places), 1), (), generator=rng))] if len(places) else torch.zeros(3)
    room = [max(side - CROP, 0) for side in shape.shape[1:]]
    lows = [min(max(int(c) - CROP // 2, 0), most) for c, most in zip(centre, room, strict=True)]
    return shape[(slice(None), *(slice(low, low + CROP) for low in lows))]


def suited(energy: Energy) -> Schedule | Chain:
    """How an energy of shapes is sampled, where nothing else is said; one of clean x as the published one."""
    if isinstance(energy, ConditionalEnergy):
        return CONDITIONAL
    return ANNEALED if is_noisy(energy) else MaximumLikelihood().generator()
