"""Learn one energy of pictures for every way to recover them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Average, Grey, ReferenceEnergy
from energies.memory import Memory
from energies.objectives import Batch, Denoising
from energies.refiner import Refiner
from pipelines.pipeline import Run
from pipelines.stages.images.hide import box, scattered
from pipelines.stages.images.load import to_float
from pipelines.stages.lessons import Lessons, Task, check_unseen, hides, sees
from pipelines.stages.results import pretrained, weights_of
from pipelines.stages.settings import check_network
from pipelines.training import Optimizer, train

MOST_MEMORY = 12  # GiB that the references of the folds may take


@dataclass(frozen=True)
class LearnRecovery:
    """Learn an energy of pictures around a Gaussian reference of them, for all ways to see them in part at once
    (energies/reference.py); or take one that was learned before."""

    needs: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[tuple[str, ...]] = ("energy",)
    distributed: ClassVar[bool] = True

    pretrained: str | None = None
    """Folder of an earlier run of these pictures, or of its energy, RUN/energy: then nothing is learned."""

    widths: tuple[int, ...] = (48, 96, 128)
    """Channels of the network at a half, a quarter ... of the resolution."""

    depths: tuple[int, ...] = (2, 1, 1)
    """Residual blocks there."""

    rank: int = 300
    """Principal components of the reference, at most."""

    remembered: int = 10_000
    """Pictures that the reference remembers, at most."""

    noise: float = 0.2
    """Standard deviation of a pixel beyond them, in units of x (half the range of values)."""

    objective: Denoising = field(default_factory=lambda: Denoising(0.5, 0.8, 1.2))
    """How it learns."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(700, 0.02, 30, 1.0, 0.99, 100, "muon"))
    """How its weights are found."""

    batch: int = 32
    """Pictures a step."""

    folds: int = 4
    """Parts of the pictures: what one of them teaches is judged by a reference of the others."""

    def __post_init__(self) -> None:
        check_network(self.widths, self.depths)
        if min(self.rank, self.batch) < 1 or self.remembered < 20 or not self.noise > 0 or not 2 <= self.folds <= 10:
            raise ValueError("rank, batch and noise must be positive, remembered 20 or more, folds 2 to 10")

    def files(self) -> tuple[str, ...]:
        return weights_of(self.pretrained)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        channels, height, width = values["images"]["train"].shape[1:]
        shape = [channels, 1, height, width]
        if self.pretrained is not None:
            energy = pretrained(Path(self.pretrained), shape, "learn_recovery")
            if not isinstance(energy, ReferenceEnergy):
                raise InputError(f"learn_recovery.pretrained={self.pretrained}: is no energy that recovery learned")
            check_unseen(
                energy, to_float(values["images"]["validation"])[:, :, None], "learn_recovery", self.pretrained
            )
            return {"energy": energy}
        x = to_float(values["images"]["train"])[:, :, None]
        kept = x[: self.remembered]
        needed = (self.folds + 1) * (len(kept) + self.rank) * kept[0].numel() * 4 / 2**30
        if needed > MOST_MEMORY or len(x) < 2 * self.folds:
            raise InputError(
                f"learn_recovery: {len(x)} pictures in {self.folds} folds, of which {len(kept)} remembered, would take "
                f"{needed:.0f} GiB; set fewer learn_recovery.folds or learn_recovery.remembered, or a smaller load.size"
            )
        energy = ReferenceEnergy(shape, len(kept), self.widths, self.depths, self.rank, self.noise)
        energy.remember(kept)

        def reference(x: Tensor) -> Memory:
            return Memory(x[: self.remembered], self.rank, self.noise)

        def draw(energy: ReferenceEnergy, step: int, rng: torch.Generator) -> tuple[Refiner, Batch]:
            context, batch = lessons[step]
            return energy.refiner.given(context), batch

        tasks = _tasks(channels, height, width)
        lessons = Lessons(x, self.batch, tasks, reference, self.folds, run, lambda x, rng: x)
        return {"energy": train(energy, self.objective, draw, self.optimizer, run, {})}


def _tasks(channels: int, height: int, width: int) -> dict[str, Task]:
    """Pixels at random, a box, block means, grey pictures."""
    least, most = (max(1, int(min(height, width) * share)) for share in (0.2, 0.6))

    def pixels(rng: torch.Generator) -> Tensor:
        return scattered(height, width, 0.1 + 0.85 * float(torch.rand((), generator=rng)), rng)[:, None]

    def square(rng: torch.Generator) -> Tensor:
        return box(height, width, int(torch.randint(least, most + 1, (), generator=rng)), rng)[:, None]

    tasks = {"pixels": Task(2, hides(pixels)), "box": Task(2, hides(square))}
    tasks |= {f"shrunk{k}": Task(2, sees(Average((1, k, k)))) for k in (2, 4) if height % k == 0 and width % k == 0}
    return tasks | ({"grey": Task(1, sees(Grey()))} if channels == 3 else {})
