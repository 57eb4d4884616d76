"""Learning of transformers that predict: what is built, candidates that are kept, and clips cut into windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from data.errors import InputError
from energies import DenoisingEnergy, Energy, FrameEnergy, PredictiveEnergy, TokenEnergy, TransformerEnergy
from energies.buffer import ReplayBuffer
from energies.objectives import OptimisedPrediction
from pipelines.examples import Examples
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Transformer
from pipelines.stage import Run

WINDOW = 12  # frames of a window of one clip
JUDGED = 0.25  # share of one clip, at its end, to judge by
MOST = 2**24  # numbers of the x that mean and spread are taken of


def transformer(recipe: Recipe, shape: Sequence[int], num_classes: int, x: Tensor) -> Energy:
    """A transformer before it has learned, of x of a shape [C, *size]; x [n, *shape] are some of them.

    InputError: its sides do not suit x.
    """
    settings, objective, axes = recipe.energy, recipe.objective, len(shape) - 1
    assert isinstance(settings, Transformer)
    assert settings.width is not None and settings.depth is not None and settings.heads is not None
    patch, sizes = settings.patch or 1, (settings.width, settings.depth, settings.heads)
    x = x[: max(1, MOST // x[0].numel())]
    try:
        if not isinstance(objective, OptimisedPrediction):
            family = TransformerEnergy(shape, [patch] * axes, *sizes, num_classes=num_classes)
            family.centre(x)
            return family
        descent = (settings.feed_forward, objective.steps, objective.start)
        if axes == 1:
            return TokenEnergy(shape, *sizes, *descent)
        if axes == 2:
            return DenoisingEnergy(shape, [patch] * axes, *sizes, objective.corruption, *descent)
        frames = FrameEnergy(shape, patch, *sizes, 1.0, *descent)
        frames.centre(x)
        return frames
    except ValueError as error:
        raise InputError(f"learn.energy.transformer: {error}") from None


def candidates(energy: Energy, recipe: Recipe, x: Tensor, run: Run) -> ReplayBuffer | None:
    """The replay buffer of candidates that go on in later steps, for some of x [n, *shape]; None: none do."""
    if not isinstance(recipe.objective, OptimisedPrediction) or not recipe.objective.replay:
        return None
    assert isinstance(energy, PredictiveEnergy)
    rng = run.generator("candidates", device=run.accelerator.device)
    rows = torch.randint(len(x), (recipe.chains,), generator=rng, device=rng.device).cpu()
    return recipe.objective.buffer(energy, x[rows].to(rng.device), rng)


def windows(data: Examples, length: int = WINDOW) -> Examples:
    """One clip as windows of `length` frames: one at every frame to learn from, and those of its end to judge by, one
    after the other. InputError: it is too short."""
    clip = data.x()[0]  # [C, T, H, W]
    num = clip.shape[1]
    kept = num - max(length, round(JUDGED * num))
    if kept < length:
        raise InputError(f"learn: a clip of {num} frames is too short to predict; {2 * length} or more are needed")
    train = torch.stack([clip[:, low : low + length] for low in range(kept - length + 1)])
    ends = [clip[:, low : low + length] for low in range(kept, num - length + 1, length)]
    return replace(data, shape=tuple(train.shape[1:]), train=train, validation=torch.stack(ends))
