"""What a `ConditionalEnergy` of a data set learns from: x seen in part, in the ways of all tasks, beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from data.errors import InputError
from energies import ConditionalEnergy, DataReference
from energies.objectives import Batch
from energies.observation import Hidden, Observation
from energies.references import Context, DataEstimator, LocalReference
from energies.references.dataset import levels
from pipelines.learning.training import share_of
from pipelines.stage import Run

Observe = Callable[[Tensor, torch.Generator], tuple[Observation, Tensor]]
UNLABELLED = 0.15  # share of what is learned from without its label
SAMPLED = 10_000  # x whose mean and spread are taken, at most
ROUND = 4  # batches whose contexts are made at once, and tasks that take turns


def check_unseen(energy: ConditionalEnergy, validation: Tensor, source: str) -> None:
    """InputError if x to judge by [n, *event] are among those that an energy that a source names remembers."""
    if not isinstance(energy.reference, DataReference):
        return
    known = {row.numpy().tobytes() for row in energy.reference.data}
    seen = sum(row.numpy().tobytes() in known for row in levels(validation))
    if seen > len(validation) / 20:  # some data hold the same x more than once
        raise InputError(
            f"learn.pretrained={source}: was learned from {seen} of the {len(validation)} that are to be judged by; "
            "load the data with the same settings as that run did"
        )


def forgotten(labels: Tensor, rng: torch.Generator) -> Tensor:
    """Labels, of which some are forgotten: an energy by class learns what is true of any class as well."""
    return torch.where(torch.rand(labels.shape, generator=rng, device=rng.device) < UNLABELLED, -1, labels)


class Task(NamedTuple):
    """A way to see x in part: how often it comes, and (x, rng) -> (observation, what is seen)."""

    share: int
    observe: Observe


def hides(make: Callable[[torch.Generator], Tensor]) -> Observe:
    """See every x but for a mask of its own, bool [1, *size], as `make` draws them."""

    def observe(x: Tensor, rng: torch.Generator) -> tuple[Observation, Tensor]:
        hidden = torch.stack([make(rng) for _ in x])
        return Hidden(hidden), torch.where(hidden, 0.0, x)

    return observe


def sees(observation: Observation) -> Observe:
    """See what an operator gives."""
    return lambda x, rng: (observation, observation.observe(x))


class Lessons:
    """The lesson of every step; it depends on the number of the step alone. Each process has its rows of it.

    ROUND tasks take turns, and the contexts of ROUND batches of a task are made at once: the reference is read once for
    all. A reference that holds x knows it, so every x is seen by the reference of the other folds.

    Args:
        x: [n, *event].
        batch: of them a step, of all processes together.
        tasks: by name.
        reference: from what it shall remember; None: there is none, only details are learned.
        folds: how many.
        run: gives randomness and processes.
        varied: (x, rng) -> x, as good as those: mirror images, crops.
    """

    def __init__(
        self,
        x: Tensor,
        batch: int,
        tasks: Mapping[str, Task],
        reference: Callable[[Tensor], DataEstimator] | None,
        folds: int,
        run: Run,
        varied: Callable[[Tensor, torch.Generator], Tensor],
    ) -> None:
        self.batch, self.run, self.varied = batch, run, varied
        fold = torch.arange(len(x)) % folds
        self.folds = [x[fold == k] for k in range(folds)]
        self.references: Sequence[DataEstimator | LocalReference] = [LocalReference()] * folds
        if reference is not None:
            self.references = [reference(x[fold != k]) for k in range(folds)]
        self.tasks = [task for task in tasks.values() for _ in range(task.share)]
        self.made: dict[int, tuple[int, list[tuple[Context, Batch]]]] = {}

    def __getitem__(self, step: int) -> tuple[Context, Batch]:
        turn, number = step % ROUND, step // ROUND**2
        if turn not in self.made or self.made[turn][0] != number:
            self.made[turn] = number, self._make(number * ROUND + turn)
        return self.made[turn][1][step // ROUND % ROUND]

    @torch.autocast("cpu", enabled=False)
    def _make(self, number: int) -> list[tuple[Context, Batch]]:
        rng, share = self.run.generator("lessons", number, 0), share_of(self.batch, self.run)

        def draw(num: int) -> int:
            return int(torch.randint(num, (), generator=rng))

        fold, task = draw(len(self.folds)), self.tasks[draw(len(self.tasks))]
        rows = torch.randint(len(self.folds[fold]), (ROUND * self.batch,), generator=rng)
        x = self.varied(self.folds[fold][rows], rng)
        observation, y = task.observe(x, rng)
        own = torch.arange(len(x)).view(ROUND, -1)[:, share.rows].flatten()  # contexts are dear: those of others never
        context = self.references[fold].context(observation.rows(own, x.ndim), y[own])
        device = self.run.accelerator.device
        parts = [part.to(device).chunk(ROUND) for part in (x[own], *context.tensors())]
        lessons: list[tuple[Context, Batch]] = []
        for truth, estimate, scale, hidden, others in zip(*parts, strict=True):
            lessons.append((Context(estimate, scale, hidden, others), Batch(truth, hidden, part=share)))
        return lessons
