"""What pictures are, to the stages that exist once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from data import images
from energies.observation import Observation
from energies.prediction import decibels
from pipelines.examples import Examples
from pipelines.learning.lessons import Observe, Task, hides, sees
from pipelines.measures import baselines, composition, judge
from pipelines.measures.attributes import Attributes
from pipelines.measures.synthesis import Comparison, OfPictures
from pipelines.measures.textures import OfTexture
from pipelines.modalities import views
from pipelines.modalities.base import Modality
from pipelines.modalities.images import strangers
from pipelines.report import pictures
from pipelines.results import emptied
from pipelines.stage import Run

MOST = 20_000  # pictures among which the nearest is looked for


class Images(Modality):
    """Pictures [n, C, H, W], C = 1 (grey) or 3 (RGB)."""

    name: ClassVar[str] = "images"
    noun: ClassVar[str] = "pictures"
    axes: ClassVar[int] = 2

    def tasks(self, shape: Sequence[int], names: Sequence[str]) -> dict[str, Task]:
        """pixels, box, average, grey, blur and noise, as `hide` has them."""
        return seen_in_part(shape, names, views.masks(shape[1:]))

    def score(self, x: Tensor, truth: Tensor, where: Tensor) -> dict[str, float]:
        """psnr in dB, mae of 0 to 255, and ssim."""
        return baselines.score(x, truth, where)

    def baselines(
        self, data: Examples, observation: Observation, y: Tensor, rng: Callable[[str], torch.Generator]
    ) -> Mapping[str, Callable[[], Tensor]]:
        return baselines.baselines(data.x("train", slice(MOST)), observation, y)

    def predictors(self, data: Examples, x: Tensor, known: Tensor, level: float) -> Mapping[str, Callable[[], float]]:
        """Of clean pictures given noisy ones: these as they are, and non-local means that are told the noise."""
        methods = {"as_seen": lambda: known, "non_local_means": lambda: baselines.non_local_means(known, level)}
        return {name: lambda of=of: decibels((of() - x).square().mean()) for name, of in methods.items()}

    def comparison(self, data: Examples, run: Run, learn: bool = True) -> Comparison | None:
        """In the features of a classifier, which is learned; of textures by statistics."""
        if data.single:
            return OfTexture(data, run)
        return OfPictures.fit(data, run) if learn else None

    def attributes(self, data: Examples, source: Mapping[str, Any], asked: Collection[str], run: Run) -> Attributes:
        """Learned from scenes of all combinations where the pictures are scenes, else from those to learn from."""
        if source["name"] == "scenes" and data.shape[0] == 3:
            return composition.attributes_of_scenes(data, run)
        return composition.attributes(data, asked, run)

    def classes_of(self, collections: Sequence[Tensor], data: Examples, run: Run) -> list[Tensor]:
        """By a classifier that is learned for it."""
        x, labels = data.known("train")
        by = judge.Classifier.fit(x, [labels], [len(data.classes)], run.generator("judge"), run)
        return [by.probabilities(x).argmax(1) for x in collections]

    def strangers(self, x: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Rotated and mirrored ones, blank ones, noise, and windows of a wall of bricks."""
        return strangers.made(x, rng)

    def read(self, name: str, shape: Sequence[int], num: int, source: Mapping[str, Any]) -> Tensor:
        """A file, windows of one larger photograph where more than one is asked for, a folder, or a data set."""
        return strangers.read(name, shape, num)

    def sheet(self, rows: Mapping[str, Tensor], num: int) -> np.ndarray:
        clips = {label: x[:num].expand(-1, 3, -1, -1).movedim(0, 1) for label, x in rows.items()}
        return pictures.contact_sheet(clips, frames=min(num, max(len(x) for x in rows.values())))

    def grid(self, x: Tensor, columns: int) -> np.ndarray:
        return pictures.grid(x, columns)

    def write(self, x: Tensor, folder: Path, name: str, source: Mapping[str, Any]) -> None:
        """folder/NAME_000.png ..."""
        emptied(folder, name)
        for number, picture in enumerate(x):
            images.write(folder / f"{name}_{number:03d}.png", picture)

    def seen(self, observation: Observation, y: Tensor) -> Tensor:
        return views.seen(observation, y)


def seen_in_part(
    shape: Sequence[int], names: Sequence[str], masks: Mapping[str, Callable[[torch.Generator], Tensor]]
) -> dict[str, Task]:
    """Tasks of pictures or clips [C, *size]: each of the masks, then averages, grey, blur and noise; of those the ones
    that are named, or all."""
    tasks = {name: Task(2, hides(make)) for name, make in masks.items()}
    tasks |= {name: Task(share, sees(operator)) for name, (share, operator) in views.operators(shape).items()}
    tasks |= {name: Task(2, _varied(make)) for name, make in views.noisy(len(shape) - 1).items()}
    return {name: tasks[name] for name in views.named(tasks, names)}


def _varied(make: Callable[[torch.Generator], Observation]) -> Observe:
    """Seen by an operator that is drawn at random, the same for a batch."""

    def observe(x: Tensor, rng: torch.Generator) -> tuple[Observation, Tensor]:
        observation = make(rng)
        return observation, observation.sample(x, rng)

    return observe


MODALITY = Images()
