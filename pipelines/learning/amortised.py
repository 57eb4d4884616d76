"""Learning of an amortised energy of a data set: a network around a reference, for many ways to see x in part."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from data.errors import InputError
from energies import ConditionalEnergy, DataReference, Energy, LocalReference
from energies.objectives import Batch
from energies.references import DataEstimator
from pipelines.examples import Examples
from pipelines.learning.further import begun
from pipelines.learning.lessons import Lessons, Task
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Amortised
from pipelines.learning.training import train
from pipelines.modalities.base import Modality
from pipelines.stage import Run

MOST_FOLDS = 10
MOST_MEMORY = 12  # GiB that the references of the folds may take
DETAILS = ("pixels", "voxels", "average")
"""Tasks that what is seen nearby serves for."""
KINDS = {
    "pixels": "hidden", "voxels": "hidden", "box": "hidden", "half": "hidden", "frames": "hidden",
    "average": "average", "grey": "grey", "blur": "blur", "noise": "noise",
}  # fmt: skip
"""What references call the measurements of tasks."""


def check(data: Examples, recipe: Recipe, folds: int, modality: Modality) -> None:
    """InputError if there are too few examples, or too many to be remembered, or no task suits them."""
    settings, num = recipe.energy, len(data.train)
    assert isinstance(settings, Amortised) and settings.rank is not None and settings.remembered is not None
    if num < 2 * folds:
        raise InputError(f"learn.folds={folds}: {num} {modality.noun} are too few for so many parts; set fewer")
    if settings.rank == 0:
        if not recipe.binary:
            raise InputError("learn.energy.amortised.rank=0: details alone are learned of shapes; set 1 or more")
    else:
        kept = min(num, settings.remembered) * (2 if recipe.binary else 1)
        needed = (folds + 1) * (kept + settings.rank) * torch.Size(data.shape).numel() * 4 / 2**30
        if needed > MOST_MEMORY:
            raise InputError(
                f"learn: a reference of {min(num, settings.remembered)} {modality.noun} of {_sides(data.shape)} would "
                f"take {needed:.0f} GiB; set fewer learn.energy.amortised.remembered or learn.folds, a smaller "
                f"learn.size{', or learn.energy.amortised.rank=0' * recipe.binary}"
            )
    tasks_of(data.shape, recipe, modality)


def learn(
    data: Examples, recipe: Recipe, folds: int, modality: Modality, run: Run, ready: Energy | None = None
) -> Energy:
    """An amortised energy of data at the size of the energy, from first weights or those of a `ready` one."""
    settings = recipe.energy
    assert isinstance(settings, Amortised) and settings.widths is not None and settings.depths is not None
    assert settings.rank is not None and settings.remembered is not None and settings.noise is not None
    rank, remembered, noise, binary = settings.rank, settings.remembered, settings.noise, recipe.binary
    x, tasks = data.x(), tasks_of(data.shape, recipe, modality)
    known: DataReference | LocalReference = LocalReference()
    if rank:
        kept = x[:remembered]
        kinds = list(dict.fromkeys(KINDS[name] for name in recipe.tasks))
        known = DataReference(data.shape, len(kept), rank, noise, binary, kinds, mirrored=binary)
        known.fit(kept)
    energy = begun(ConditionalEnergy(known, data.shape[0], settings.widths, settings.depths, recipe.stride), ready)
    assert isinstance(energy, ConditionalEnergy)

    def reference(x: Tensor) -> DataEstimator:
        return DataEstimator(x[:remembered], rank, noise, binary, mirrored=binary)

    def varied(x: Tensor, rng: torch.Generator) -> Tensor:
        x = modality.varied(x, rng)
        return x if rank else torch.stack([crop(one, recipe.sides(data.shape[1:]), rng) for one in x])

    lessons = Lessons(x, recipe.batch, tasks, reference if rank else None, folds, run, varied)

    def draw(energy: ConditionalEnergy, step: int, rng: torch.Generator) -> tuple[ConditionalEnergy, Batch]:
        context, batch = lessons[step]
        return energy.told(context), batch

    return train(energy, recipe.objective, draw, recipe.training, run, {})


def tasks_of(shape: Sequence[int], recipe: Recipe, modality: Modality) -> dict[str, Task]:
    """The tasks of a recipe; where only details are learned, those of its crops. InputError: none is left."""
    assert isinstance(recipe.energy, Amortised)
    whole, names = bool(recipe.energy.rank), recipe.tasks
    seen = tuple(shape)
    if not whole:
        names = tuple(name for name in names if name in DETAILS)
        seen = (shape[0], *map(min, shape[1:], recipe.sides(shape[1:])))
    tasks = modality.tasks(seen, names) if names else {}
    if not tasks:
        raise InputError(f"learn.tasks={list(recipe.tasks)}: none of them suits {modality.noun} of {_sides(seen)}")
    return tasks


def crop(x: Tensor, sides: Sequence[int], rng: torch.Generator) -> Tensor:
    """A window with these sides around a random set element of x [C, *size] of two values."""
    places = (x[0] > 0).nonzero()
    centre = places[int(torch.randint(max(len(places), 1), (), generator=rng))] if len(places) else [0] * len(sides)
    windows = []
    for middle, size, side in zip(centre, x.shape[1:], sides, strict=True):
        low = min(max(int(middle) - side // 2, 0), max(size - side, 0))
        windows.append(slice(low, low + side))
    return x[(slice(None), *windows)]


def _sides(shape: Sequence[int]) -> str:
    return "x".join(map(str, reversed(shape[1:])))
