"""Learn one energy of shapes for all tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor

import energies
from data.errors import InputError
from energies import Average, GenerativeConvNet, Hidden
from energies.buffer import ReplayBuffer
from energies.objectives import Batch, Denoising, MaximumLikelihood
from energies.refiner import Context, Refiner
from energies.shapes import Details, Memory
from energies.voxel import VoxelEnergy, levels
from pipelines.pipeline import Run
from pipelines.stages.voxels.grids import averaged
from pipelines.stages.voxels.hide import box, half, scattered
from pipelines.training import Optimizer, train

Task = Literal["scattered", "half", "box", "coarse2", "coarse4"]
TASKS: dict[Task, int] = {"scattered": 3, "half": 1, "box": 1, "coarse2": 2, "coarse4": 2}  # and their shares
DETAILS: dict[Task, int] = {"scattered": 1, "coarse2": 2, "coarse4": 1}  # without a reference of whole shapes
ROUND = 4  # batches whose contexts are made at once, and tasks that take turns
MOST_FOLDS = 10
MOST_MEMORY = 12  # GiB that the references of the folds may take
CROP = 32  # voxels a side, of what details are learned from


@dataclass(frozen=True)
class Shapes:
    """Our default: a ConvNet around a Gaussian reference that is learned from the shapes (energies/voxel.py)."""

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
        if not self.widths or len(self.widths) != len(self.depths) or min(*self.widths, *self.depths) < 1:
            raise ValueError(f"widths and depths must be positive and as many, got {self.widths} and {self.depths}")
        if self.rank < 0 or not self.noise > 0:
            raise ValueError(f"rank must not be negative and noise positive, got {self.rank} and {self.noise}")
        if self.remembered < 2:
            raise ValueError(f"remembered must be 2 or more, got {self.remembered}")


@dataclass(frozen=True)
class DescriptorNet:
    """The published generative ConvNet for voxels (Xie et al. 2018; energies/convnet.py)."""

    sigma: float = 0.5
    """Standard deviation of the Gaussian reference, in units of x (half the range of values)."""


@dataclass(frozen=True)
class Learn:
    """Learn an energy of the shapes, for all tasks at once, or take one that was learned before."""

    needs: ClassVar[tuple[str, ...]] = ("shapes",)
    gives: ClassVar[tuple[str, ...]] = ("energy",)
    distributed: ClassVar[bool] = True

    pretrained: str | None = None
    """Folder of an energy that an earlier run learned of these shapes, RUN/energy: then nothing is learned."""

    size: int | None = None
    """Voxels a side of the energy, which must divide the shapes'; null: theirs. Shapes are averaged down to it."""

    energy: Shapes | DescriptorNet = Shapes()
    """The energy: shapes (our default), or descriptor_net, the published one."""

    objective: Denoising | MaximumLikelihood = field(default_factory=lambda: Denoising(0.92, 0.8, 1.2))
    """How it learns: denoising, for shapes; maximum_likelihood, for descriptor_net."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(600, 0.0015, 30, 1.0, 0.99, 50))
    """How its weights are found."""

    batch: int = 8
    """Shapes a step."""

    folds: int = 4
    """Parts of the shapes: what one of them teaches is judged by a reference of the others."""

    def __post_init__(self) -> None:
        if isinstance(self.energy, Shapes) != isinstance(self.objective, Denoising):
            raise ValueError("objective must be denoising for the energy shapes, maximum_likelihood for descriptor_net")
        if self.batch < 1 or not 2 <= self.folds <= MOST_FOLDS:
            raise ValueError(f"batch must be 1 or more and folds 2 to {MOST_FOLDS}, got {self.batch} and {self.folds}")
        if self.size is not None and self.size < 8:
            raise ValueError(f"size must be 8 or more, got {self.size}")

    def files(self) -> tuple[str, ...]:
        return (str(Path(self.pretrained, "model.safetensors")),) if self.pretrained else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        side = values["shapes"]["side"]
        size = self.size or side
        if side % size:
            raise InputError(f"learn.size={size} does not divide the {side} voxels a side of the shapes")
        if self.pretrained is not None:
            energy = _pretrained(Path(self.pretrained), size)
            _check_unseen(energy, averaged(values["shapes"]["validation"], side, size), self.pretrained)
            return {"energy": energy}
        x = averaged(values["shapes"]["train"], side, size)
        if isinstance(self.energy, DescriptorNet):
            return {"energy": self._maximum_likelihood(x, run)}
        return {"energy": self._denoising(x, run)}

    def _denoising(self, x: Tensor, run: Run) -> VoxelEnergy:
        assert isinstance(self.energy, Shapes)
        settings, size = self.energy, x.shape[-1]
        needed = self.folds * (2 * min(len(x), settings.remembered) + settings.rank) * size**3 * 4 / 2**30
        if settings.rank and needed > MOST_MEMORY:
            raise InputError(
                f"learn: a reference of whole shapes of {size} voxels a side would take {needed:.0f} GiB; "
                "set learn.size=32, a smaller learn.energy.shapes.remembered, or learn.energy.shapes.rank=0"
            )
        kept = x[: settings.remembered] if settings.rank else x[:0]
        energy = VoxelEnergy(size, len(kept), settings.widths, settings.depths, settings.rank, settings.noise)
        energy.remember(kept)
        lessons = Lessons(x, self.batch, self.folds, settings, run)

        def draw(energy: VoxelEnergy, step: int, rng: torch.Generator) -> tuple[Refiner, Batch]:
            context, batch = lessons[step]
            return energy.refiner.given(context), batch

        return train(energy, self.objective, draw, self.optimizer, run, {})

    def _maximum_likelihood(self, x: Tensor, run: Run) -> GenerativeConvNet:
        assert isinstance(self.energy, DescriptorNet)
        energy = GenerativeConvNet("voxel", list(x.shape[1:]), self.energy.sigma, float(x.mean()))
        device = run.accelerator.device
        rng = run.generator("chains", run.accelerator.process_index, device=device)
        chains = ReplayBuffer.of_noise(2 * self.batch, x[0].to(device), rng, mean=float(x.mean()))

        def draw(energy: GenerativeConvNet, step: int, rng: torch.Generator) -> tuple[GenerativeConvNet, Batch]:
            rows = torch.randint(len(x), (self.batch,), generator=rng, device=rng.device).cpu()
            return energy, Batch(x[rows].to(device), chains=chains)

        return train(energy, self.objective, draw, self.optimizer, run, chains.tensors())


class Lessons:
    """What a step learns from: shapes seen in part, in the ways of all tasks, beside the truth.

    ROUND tasks take turns, and the contexts of ROUND batches of a task are made at once: the reference is read once for
    all. What a step gets depends on its number and the process alone.
    """

    def __init__(self, x: Tensor, batch: int, folds: int, settings: Shapes, run: Run) -> None:
        self.batch, self.run = batch, run
        fold = torch.arange(len(x)) % folds
        self.folds = [x[fold == k] for k in range(folds)]
        self.references: list[Memory | Details] = [Details()] * folds
        if settings.rank:
            self.references = [
                Memory(x[fold != k][: settings.remembered], settings.rank, settings.noise) for k in range(folds)
            ]
        shares = TASKS if settings.rank else DETAILS
        side = x.shape[-1] if settings.rank else min(x.shape[-1], CROP)
        self.tasks: list[Task] = [
            task
            for task, share in shares.items()
            for _ in range(share)
            if not task.startswith("coarse") or side % int(task[-1]) == 0
        ]
        self.made: dict[int, tuple[int, list[tuple[Context, Batch]]]] = {}

    def __getitem__(self, step: int) -> tuple[Context, Batch]:
        turn, number = step % ROUND, step // ROUND**2
        if turn not in self.made or self.made[turn][0] != number:
            self.made[turn] = number, self._make(number * ROUND + turn)
        return self.made[turn][1][step // ROUND % ROUND]

    @torch.autocast("cpu", enabled=False)
    def _make(self, number: int) -> list[tuple[Context, Batch]]:
        rng = self.run.generator("lessons", number, self.run.accelerator.process_index)

        def draw(num: int) -> int:
            return int(torch.randint(num, (), generator=rng))

        fold, task = draw(len(self.folds)), self.tasks[draw(len(self.tasks))]
        rows = torch.randint(len(self.folds[fold]), (ROUND * self.batch,), generator=rng)
        x = self.folds[fold][rows]
        mirrored = torch.rand(len(x), generator=rng) < 0.5
        x = torch.where(mirrored.view(-1, 1, 1, 1, 1), x.flip(2), x)
        reference = self.references[fold]
        if isinstance(reference, Details):
            x = torch.stack([_crop(shape, rng) for shape in x])
        context = _context(reference, x, task, rng)
        device = self.run.accelerator.device
        parts = [part.to(device).split(self.batch) for part in (x, *context.tensors().values())]
        lessons: list[tuple[Context, Batch]] = []
        for truth, fill, scale, hidden, others in zip(*parts, strict=True):
            lessons.append((Context(fill, scale, hidden, others), Batch(truth, hidden)))
        return lessons


def _context(reference: Memory | Details, x: Tensor, task: Task, rng: torch.Generator) -> Context:
    if task in ("coarse2", "coarse4"):
        average = Average((int(task[-1]),) * 3)
        return reference.context(average, average.observe(x))
    side = x.shape[-1]
    masks = {
        "scattered": lambda: scattered(side, 1 - 0.5 * 0.01 ** float(torch.rand((), generator=rng)), rng),
        "half": lambda: half(side, rng),
        "box": lambda: box(side, int(side * (0.3 + 0.4 * torch.rand((), generator=rng))), rng),
    }
    hidden = torch.stack([masks[task]() for _ in x])
    return reference.context(Hidden(hidden), torch.where(hidden, 0.0, x))


def _crop(shape: Tensor, rng: torch.Generator) -> Tensor:
    """A cube of CROP voxels a side around a random set voxel of [1, N, N, N]."""
    places = (shape[0] > 0).nonzero()
    centre = places[int(torch.randint(max(len(places), 1), (), generator=rng))] if len(places) else torch.zeros(3)
    room = [max(side - CROP, 0) for side in shape.shape[1:]]
    lows = [min(max(int(c) - CROP // 2, 0), most) for c, most in zip(centre, room, strict=True)]
    return shape[(slice(None), *(slice(low, low + CROP) for low in lows))]


def _check_unseen(energy: Any, validation: Tensor, folder: str) -> None:
    """InputError if shapes to judge by are among those that an energy remembers."""
    if not isinstance(energy, VoxelEnergy) or not energy.remembers:
        return
    known = {row.numpy().tobytes() for row in energy.shapes}
    seen = sum(row.numpy().tobytes() in known for row in levels(validation))
    if seen:
        raise InputError(
            f"learn.pretrained={folder}: was learned from {seen} of the {len(validation)} shapes that are to be judged "
            "by; load the shapes with the same settings as that run did"
        )


def _pretrained(folder: Path, size: int) -> Any:
    try:
        energy = energies.load(folder)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"learn.pretrained={folder}: no energy can be read there ({type(error).__name__})") from None
    shape = (1, size, size, size)
    if getattr(energy, "event_shape", None) != shape or not isinstance(energy, VoxelEnergy | GenerativeConvNet):
        raise InputError(f"learn.pretrained={folder}: is no energy of voxels of {size} a side")
    return energy
