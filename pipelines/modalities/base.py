"""What a modality says of itself, so that every stage besides load, hide and export exists once."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from data.errors import InputError
from energies import Energy, Hidden
from energies.observation import Observation
from pipelines.examples import Examples

if TYPE_CHECKING:
    from pipelines.learning.lessons import Task
    from pipelines.learning.recipe import Recipes
    from pipelines.measures.attributes import Attributes
    from pipelines.measures.synthesis import Comparison
    from pipelines.pipeline import Run


class Modality(ABC):
    """What differs: the words, the ways to see x in part, what is as good as x, what is decided, how good x is, and how
    it is shown and written. x is [n, C, *size] in [-1, 1] everywhere.

    Attributes:
        name: images, video or voxels.
        noun: of several x, for messages: pictures, clips, shapes.
        axes: number of axes of size.
        score_name: the number in `score` that tells which method is best, the larger the better.
        score_unit: behind a difference of it, " dB" say.
        stranger: which of `strangers` prediction is tried on, besides x of the kind that was learned.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    axes: ClassVar[int]
    score_name: ClassVar[str] = "psnr"
    score_unit: ClassVar[str] = " dB"
    stranger: ClassVar[str] = "mirrored"

    # ------------------------------------------------------------------------------------- learning

    def recipes(self) -> Recipes:
        """How energies of it are learned, where nothing else is said: what `learning.py` beside it has."""
        package = type(self).__module__.rpartition(".")[0]
        return importlib.import_module(f"{package}.learning").RECIPES

    def varied(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """x [n, *shape], or what is as good to learn from, drawn at random: mirror images of shapes."""
        return x

    @abstractmethod
    def tasks(self, shape: Sequence[int], names: Sequence[str]) -> dict[str, Task]:
        """The ways to see x of a shape in part that an amortised energy learns, of those in `names` that suit it; none:
        all that suit it."""

    # ------------------------------------------------------------------------------------- deciding

    def decided(self, mean: Tensor, observation: Observation, y: Tensor) -> Tensor:
        """The estimate of x that a posterior mean [n, *shape] speaks for; a voxel is set or not. The mean itself,
        where there is nothing to decide."""
        return mean

    def drawn(self, soft: Tensor, observation: Observation, y: Tensor) -> Tensor:
        """The x that samples [n, *shape] of a posterior stand for, likewise."""
        return soft

    def made(self, soft: Tensor, energy: Energy) -> Tensor:
        """The x that samples [n, *shape] of an energy itself stand for, likewise."""
        return soft

    def mean_of_symmetric(self, observation: Observation) -> tuple[int, ...]:
        """Axes of x along which an amortised mean is averaged over x and its mirror image; (): none."""
        return ()

    # -------------------------------------------------------------------------------------- judging

    @abstractmethod
    def score(self, x: Tensor, truth: Tensor, where: Tensor) -> dict[str, float]:
        """How good x [n, *shape] is where bool [n, 1, *size]; holds `score_name`."""

    def visible(self, ways: Mapping[str, Tensor], truth: Tensor, where: Tensor) -> dict[str, dict[str, float]]:
        """How visible recoveries [n, *shape] are, by name, the smaller the better, likewise; {}: nothing is known of
        that."""
        return {}

    def scored(self, observation: Observation, x: Tensor) -> Tensor:
        """Elements, bool [n, 1, *size], that a recovery of x is scored on: those that are hidden, or all where none is
        seen as it is."""
        if isinstance(observation, Hidden):
            return observation.mask.expand_as(x[:, :1])
        return torch.ones_like(x[:, :1], dtype=torch.bool)

    @abstractmethod
    def baselines(
        self, data: Examples, observation: Observation, y: Tensor, rng: Callable[[str], torch.Generator]
    ) -> Mapping[str, Callable[[], Tensor]]:
        """What needs no learning: by name, what computes it when it is called, [n, *shape], decided. `rng` gives each
        name a stream of its own. Of a single clip or photograph, `data` holds also what is hidden: do not look."""

    @abstractmethod
    def comparison(self, data: Examples, run: Run, learn: bool = True) -> Comparison | None:
        """What compares new x with the data; None where it would have to be learned but must not."""

    def attributes(self, data: Examples, source: Mapping[str, Any], asked: Collection[str], run: Run) -> Attributes:
        """What tells the labels that are asked for by name, learned apart from the energies: from the data."""
        from pipelines.measures.composition import attributes

        return attributes(data, asked, run)

    def nearest(self, x: Tensor, known: Tensor) -> Tensor:
        """The row [n] of `known` [m, *shape] that each x [n, *shape] is nearest to."""
        return torch.cat([torch.cdist(part.flatten(1), known.flatten(1)).argmin(1) for part in x.split(256)])

    def classes_of(self, collections: Sequence[Tensor], data: Examples, run: Run) -> list[Tensor]:
        """The classes [n] of collections of x [n, *shape], by what is learned apart from any energy: here, those of the
        nearest examples to learn from."""
        known, labels = data.known("train")
        return [labels[self.nearest(x, known)] for x in collections]

    def strangers(self, x: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """What is not of the kind of x [n, *shape], by name, made of them or at random."""
        return {
            "mirrored": x.flip(-1),
            "blank": (torch.rand(len(x), *[1] * (x.ndim - 1), generator=rng) * 2 - 1).expand_as(x).contiguous(),
            "noise": torch.rand(x.shape, generator=rng) * 2 - 1,
        }

    def read(self, name: str, shape: Sequence[int], num: int, source: Mapping[str, Any]) -> Tensor:
        """Up to `num` x [n, *shape] of a person's own: a file, a folder, or a data set. InputError: there are none."""
        raise InputError(f"{name}: {self.noun} of your own cannot be read here")

    def distances(self, first: Tensor, second: Tensor) -> Tensor:
        """How far x [n, *shape] are from x [m, *shape], [n, m]: the root of the mean squared difference."""
        exact = "donot_use_mm_for_euclid_dist"  # of near ones nothing would be left
        found = torch.cdist(first.flatten(1), second.flatten(1), compute_mode=exact)
        return found / first[0].numel() ** 0.5

    def wholeness(self, x: Tensor) -> Tensor | None:
        """How whole each of x [n, *shape] is, from 0 to 1, for `select` to keep the whole ones; None: it is no
        question."""
        return None

    def standing(self, x: Tensor) -> Tensor | None:
        """Which of x [n, *shape] stand by themselves, bool [n], for `select` likewise."""
        return None

    def predictors(self, data: Examples, x: Tensor, known: Tensor, level: float) -> Mapping[str, Callable[[], float]]:
        """Simple predictors beside an energy's: by name, what computes the quality, in the energy's unit, of what each
        says of x [n, *shape], given what is known before, or with noise of a level; {}: none."""
        return {}

    def forecasts(self, data: Examples, past: Tensor, num: int) -> Mapping[str, Callable[[], Tensor]]:
        """Simple ways to go on from past [n, C, k, ...]: by name, what computes the next `num`; {}: none."""
        return {}

    # -------------------------------------------------------------------------------------- showing

    @abstractmethod
    def sheet(self, rows: Mapping[str, Tensor], num: int) -> np.ndarray:
        """One picture uint8 [H, W, 3] whose labelled rows show up to `num` x [n, *shape] of a kind each."""

    @abstractmethod
    def grid(self, x: Tensor, columns: int) -> np.ndarray:
        """One picture uint8 [H, W, 3] of x [n, *shape], so many beside each other."""

    @abstractmethod
    def write(self, x: Tensor, folder: Path, name: str, source: Mapping[str, Any]) -> None:
        """Write x [n, *shape] as files folder/NAME_000.suffix ...; older ones of that name are removed."""

    @abstractmethod
    def seen(self, observation: Observation, y: Tensor) -> Tensor:
        """What is seen, at the size of x, to be shown: [n, C, *size]."""
