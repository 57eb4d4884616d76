"""Learning of one photograph or clip by crops of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.errors import InputError
from energies import ClipReference, ConditionalEnergy, Context, EncoderEnergy, Energy
from energies.objectives import Batch, RecoveryLikelihood, ScoreMatching
from pipelines.learning.dataset import built, chains_of
from pipelines.learning.further import begun
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Amortised, Encoder
from pipelines.learning.single import LONGEST, scene
from pipelines.learning.training import Learning
from pipelines.stage import Run


def check(shape: Sequence[int], recipe: Recipe, noun: str) -> None:
    """InputError if crops of a photograph are larger than it. Of a clip they are cut to it."""
    if len(shape) == 3 and max(recipe.crop) > min(shape[1:]):
        sides = "x".join(map(str, reversed(shape[1:])))
        raise InputError(
            f"learn.crop={max(recipe.crop)}: is larger than the {noun}, of {sides} pixels; set {min(shape[1:])} at most"
        )


def learn(x: Tensor, recipe: Recipe, run: Run, ready: Energy | None = None) -> Energy:
    """An energy of crops of x [C, *size], or of its scene, the mean picture given, from first weights or those of a
    `ready` one."""
    planned = plan(x, recipe, run)
    return planned._replace(energy=begun(planned.energy, ready)).train(run)


def plan(x: Tensor, recipe: Recipe, run: Run) -> Learning[Any]:
    """How it is learned."""
    if isinstance(recipe.energy, Amortised):
        return _of_scene(x, recipe, run)
    device, sides = run.accelerator.device, sides_of(x.shape, recipe)
    energy, batch = _built(x, sides, recipe), recipe.batch
    x = x.to(device)
    buffer = chains_of(energy, recipe, x[(slice(None), *(slice(side) for side in sides))], None, run)

    def draw(energy: Energy, step: int, rng: torch.Generator) -> tuple[Energy, Batch]:
        return energy, Batch(crops(x, sides, batch, rng), chains=buffer, progress=step / recipe.steps)

    return Learning(energy, recipe.objective, draw, recipe.training, {} if buffer is None else buffer.tensors())


def sides_of(shape: Sequence[int], recipe: Recipe) -> list[int]:
    """Of the crops of x of a shape [C, *size]."""
    return list(map(min, recipe.sides(shape[1:]), shape[1:]))


def _built(x: Tensor, sides: Sequence[int], recipe: Recipe) -> Energy:
    """Of crops; the mean of an encoder is one colour, that of x [C, *size]."""
    settings, channels = recipe.energy, len(x)
    if not isinstance(settings, Encoder):
        return built(recipe, (channels, *sides), 0, x)
    assert settings.widths is not None and settings.depths is not None
    noisy = isinstance(recipe.objective, ScoreMatching | RecoveryLikelihood)
    element = EncoderEnergy([channels, *[1] * len(sides)], settings.widths, settings.depths, None, noisy)
    element.centre(x.flatten(1).T[(..., *[None] * len(sides))])
    return element.resized(sides)


def _of_scene(x: Tensor, recipe: Recipe, run: Run) -> Learning[ConditionalEnergy]:
    """By denoising at all noise levels, the mean picture of the clip [C, T, H, W] given."""
    settings = recipe.energy
    assert isinstance(settings, Amortised) and settings.widths is not None and settings.depths is not None
    whole = scene(x, x.shape[1])
    reference = ClipReference.of(scene(x, min(x.shape[1], LONGEST)))
    energy = ConditionalEnergy(reference, len(x), settings.widths, settings.depths, recipe.stride, at_any_level=True)
    everywhere = torch.ones((), dtype=torch.bool).expand(1, 1, *x.shape[1:])
    device, batch = run.accelerator.device, recipe.batch

    def draw(energy: ConditionalEnergy, step: int, rng: torch.Generator) -> tuple[ConditionalEnergy, Batch]:
        windows = [anywhere(x.shape[1:], recipe.sides(x.shape[1:]), rng) for _ in range(batch)]
        parts = [*whole.tensors(), x[None], everywhere]
        estimate, scale, hidden, others, truth, known = (
            torch.cat([part[(..., *where)] for where in windows]).to(device) for part in parts
        )
        return energy.told(Context(estimate, scale, hidden, others)), Batch(truth, known)

    return Learning(energy, recipe.objective, draw, recipe.training, {})


def crops(x: Tensor, sides: Sequence[int], num: int, rng: torch.Generator) -> Tensor:
    """Windows of x [C, *size] from random places: [num, C, *sides]."""
    ends = [size - side + 1 for size, side in zip(x.shape[1:], sides, strict=True)]
    places = [torch.randint(end, (num,), generator=rng, device=rng.device).tolist() for end in ends]
    windows = [
        (slice(None), *(slice(low, low + side) for low, side in zip(at, sides, strict=True)))
        for at in zip(*places, strict=True)
    ]
    return torch.stack([x[where] for where in windows])


def anywhere(size: Sequence[int], sides: Sequence[int], rng: torch.Generator) -> tuple[slice, ...]:
    """A random window of x of a size: that of `window` of all its elements, which takes memory for each of them."""
    number = int(torch.randint(math.prod(size), (), generator=rng, device=rng.device))
    return _around([int(place) for place in np.unravel_index(number, size)], size, sides, rng)


def window(target: Tensor, sides: Sequence[int], rng: torch.Generator) -> tuple[slice, ...]:
    """A random window in which some of a target, bool [1, 1, *size], lies, around one of its elements."""
    places = target[0, 0].nonzero()
    centre = places[int(torch.randint(len(places), (), generator=rng, device=rng.device))].tolist()
    return _around(centre, target.shape[2:], sides, rng)


def _around(
    centre: Sequence[int], size: Sequence[int], sides: Sequence[int], rng: torch.Generator
) -> tuple[slice, ...]:
    """A random window of x of a size in which an element lies."""
    found = []
    for middle, num, side in zip(centre, size, sides, strict=True):
        length = min(num, side)
        shift = int(torch.randint(length, (), generator=rng, device=rng.device))
        first = min(max(middle - shift, 0), num - length)
        found.append(slice(first, first + length))
    return tuple(found)
