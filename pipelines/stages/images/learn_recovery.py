"""Learn one energy of pictures for every way to recover them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from data.errors import InputError
from energies import Average, Blur, ConditionalEnergy, DataReference, Grey, Noisy, Schedule
from energies.objectives import Batch, Denoising
from energies.observation import Observation
from energies.references import DataEstimator
from pipelines.generation import CONDITIONAL, suited
from pipelines.pipeline import Run
from pipelines.results import pretrained, weights_of
from pipelines.settings import check_network
from pipelines.stages.images.hide import BLUR_NOISE, box, everything, scattered
from pipelines.stages.images.load import to_float
from pipelines.stages.lessons import Lessons, Observe, Task, check_unseen, hides, sees
from pipelines.training import Optimizer, train

KINDS = {
    "pixels": "hidden", "box": "hidden", "shrink": "average", "grey": "grey", "blur": "blur", "noise": "noise"
}  # fmt: skip
MOST_MEMORY = 12  # GiB that the references of the folds may take
BLURS = (0.6, 1.0, 1.5)  # widths in pixels that are learned from, where it learns blurred pictures
NOISES = (0.1, 0.2, 0.35, 0.5)  # standard deviations, in units of x


@dataclass(frozen=True)
class LearnRecovery:
    """Learn a conditional energy of pictures around a reference of them, for all ways to see them in part at once
    (energies/conditional.py): a network that is told what is seen, whose mean is amortised. Or take an energy that was
    learned before: such a one, or one that was learned to synthesise and recovers by conditioning."""

    needs: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "generator")
    distributed: ClassVar[bool] = True

    pretrained: str | None = None
    """Folder of an earlier run of these pictures, or of its energy, RUN/energy: then nothing is learned."""

    tasks: tuple[Literal["pixels", "box", "shrink", "grey", "blur", "noise"], ...] = ("pixels", "box", "shrink", "grey")
    """The ways to see a picture in part that it learns: those of `hide`. The energy is conditioned on others level by
    level."""

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
        shape = (channels, height, width)
        if self.pretrained is not None:
            energy = pretrained(Path(self.pretrained), shape, "learn_recovery.pretrained")
            if isinstance(energy, ConditionalEnergy):
                check_unseen(energy, to_float(values["images"]["validation"]), "learn_recovery", self.pretrained)
            return {"energy": energy, "generator": suited(energy, Schedule())}
        x = to_float(values["images"]["train"])
        kept = x[: self.remembered]
        needed = (self.folds + 1) * (len(kept) + self.rank) * kept[0].numel() * 4 / 2**30
        if needed > MOST_MEMORY or len(x) < 2 * self.folds:
            raise InputError(
                f"learn_recovery: {len(x)} pictures in {self.folds} folds, of which {len(kept)} remembered, would take "
                f"{needed:.0f} GiB; set fewer learn_recovery.folds or learn_recovery.remembered, or a smaller load.size"
            )
        kinds = list(dict.fromkeys(KINDS[name] for name in self.tasks))
        memory = DataReference(shape, len(kept), self.rank, self.noise, binary=False, kinds=kinds)
        memory.fit(kept)
        energy = ConditionalEnergy(memory, channels, self.widths, self.depths, (2, 2))

        def reference(x: Tensor) -> DataEstimator:
            return DataEstimator(x[: self.remembered], self.rank, self.noise, binary=False)

        def draw(energy: ConditionalEnergy, step: int, rng: torch.Generator) -> tuple[ConditionalEnergy, Batch]:
            context, batch = lessons[step]
            return energy.told(context), batch

        tasks = self._tasks(channels, height, width)
        lessons = Lessons(x, self.batch, tasks, reference, self.folds, run, lambda x, rng: x)
        energy = train(energy, self.objective, draw, self.optimizer, run, {})
        return {"energy": energy, "generator": CONDITIONAL}

    def _tasks(self, channels: int, height: int, width: int) -> dict[str, Task]:
        """Pixels at random, a box, block means, grey pictures, blurred and noisy ones. InputError: none is left."""
        least, most = (max(1, int(min(height, width) * share)) for share in (0.2, 0.6))

        def pixels(rng: torch.Generator) -> Tensor:
            return scattered((height, width), 0.1 + 0.85 * float(torch.rand((), generator=rng)), rng)

        def square(rng: torch.Generator) -> Tensor:
            return box((height, width), int(torch.randint(least, most + 1, (), generator=rng)), rng)

        tasks = {"pixels": Task(2, hides(pixels)), "box": Task(2, hides(square))}
        shrunk = [k for k in (2, 4) if height % k == 0 and width % k == 0]
        tasks |= {f"shrink{k}": Task(2, sees(Average((k, k)))) for k in shrunk}
        tasks |= {"grey": Task(1, sees(Grey()))} if channels == 3 else {}
        tasks |= {"blur": Task(2, _varied(BLURS, lambda width: Noisy(Blur(width), BLUR_NOISE)))}
        tasks |= {"noise": Task(2, _varied(NOISES, lambda noise: Noisy(everything(2), noise)))}
        tasks = {name: task for name, task in tasks.items() if name.rstrip("24") in self.tasks}
        if not tasks:
            raise InputError(f"learn_recovery.tasks={list(self.tasks)}: none of them suits {width}x{height} pixels")
        return tasks


def _varied(sizes: tuple[float, ...], make: Callable[[float], Observation]) -> Observe:
    """Pictures seen by an operator of one of some sizes, the same for a batch."""

    def observe(x: Tensor, rng: torch.Generator) -> tuple[Observation, Tensor]:
        observation = make(sizes[int(torch.randint(len(sizes), (), generator=rng))])
        return observation, observation.sample(x, rng)

    return observe
