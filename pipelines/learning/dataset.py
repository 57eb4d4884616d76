"""Learning of a data set: an energy of whole x, by class where there are labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from data.errors import InputError
from energies import DBM, EncoderEnergy, Energy, Family, GenerativeConvNet, ResidualEnergy
from energies.boltzmann import Machine
from energies.buffer import ReplayBuffer
from energies.objectives import (
    Batch,
    ContrastiveDivergence,
    EnergyMatching,
    MaximumLikelihood,
    RecoveryLikelihood,
    References,
    ScoreMatching,
)
from pipelines.examples import Examples, Part, block_means
from pipelines.learning import boltzmann, prediction
from pipelines.learning.further import begun
from pipelines.learning.lessons import SAMPLED, UNLABELLED, forgotten
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Boltzmann, ConvNet, Encoder, HelmholtzMachine, Residual, Transformer
from pipelines.learning.training import Learning
from pipelines.stage import Run

MOST_REFERENCES = 16_000_000  # numbers that all references of a step have, at most
COARSEST = 1.75  # elements a side of the last level, at least: further ones would see padding

Vary = Callable[[Tensor, torch.Generator], Tensor]


def learn(
    data: Examples, recipe: Recipe, by_class: bool, references: int, varied: Vary, run: Run, ready: Energy | None = None
) -> Energy:
    """An energy of data, from first weights or from those of a `ready` one; other arguments as of `plan`."""
    planned = plan(data, recipe, by_class, references, varied, run)
    planned = planned._replace(energy=begun(planned.energy, ready))
    if isinstance(planned.energy, DBM):
        boltzmann.learn_layers(planned.energy, data, recipe, varied, run)
    energy = planned.train(run)
    if by_class:
        assert isinstance(energy, Family)
        energy.classes = data.classes
    return energy


def plan(data: Examples, recipe: Recipe, by_class: bool, references: int, varied: Vary, run: Run) -> Learning[Energy]:
    """How an energy of data is learned.

    Args:
        data: at the size of the energy.
        recipe: for an energy but the amortised one.
        by_class: whether its labels are learned.
        references: further x a step, at most, for score matching.
        varied: (x, rng) -> x, as good as those; the published networks learn from x as they are.
        run: gives randomness and processes.
    """
    device = run.accelerator.device
    labels = data.train_labels if by_class else None
    sampled = data.x(rows=slice(SAMPLED))
    energy = built(recipe, data.shape, len(data.classes) if by_class else 0, sampled).to(device)
    buffer = prediction.candidates(energy, recipe, sampled, run)
    if buffer is None:
        buffer = chains_of(energy, recipe, sampled[0], labels, run)
    del sampled
    num = min(references, max(1, MOST_REFERENCES // math.prod(data.shape)))
    weights = weights_of_references(labels)
    vary = varied if isinstance(recipe.energy, Encoder | Boltzmann | HelmholtzMachine) else lambda x, rng: x
    batch = recipe.batch

    def drawn(num: int, weights: Tensor | None, rng: torch.Generator) -> Tensor:
        """Rows, as often each or by weights."""
        if weights is None:
            return torch.randint(len(data.train), (num,), generator=rng, device=rng.device).cpu()
        return weights.to(rng.device).multinomial(num, replacement=True, generator=rng).cpu()

    def others(rng: torch.Generator) -> References | None:
        if not num:
            return None
        rows = drawn(num, weights, rng)
        return References(data.x(rows=rows).to(device), None if labels is None else labels[rows].to(device))

    def draw(energy: Energy, step: int, rng: torch.Generator) -> tuple[Energy, Batch]:
        rows = drawn(batch, None, rng)
        x = data.x(rows=rows).to(device)
        label = None if labels is None else forgotten(labels[rows].to(device), rng)
        x = vary(x, rng)
        return energy, Batch(x, chains=buffer, label=label, progress=step / recipe.steps, references=others(rng))

    return Learning(energy, recipe.objective, draw, recipe.training, {} if buffer is None else buffer.tensors())


def built(recipe: Recipe, shape: Sequence[int], num_classes: int, x: Tensor) -> Energy:
    """The energy before it has learned, of x of a shape [C, *size]; x [n, *shape] are some of them."""
    settings = recipe.energy
    if isinstance(settings, ConvNet):
        assert settings.preset is not None and settings.sigma is not None
        return GenerativeConvNet(settings.preset, list(shape), settings.sigma, float(x.mean()))
    if isinstance(settings, Residual):
        assert settings.width is not None
        return ResidualEnergy(shape, settings.width, num_classes)
    if isinstance(settings, HelmholtzMachine):
        return boltzmann.helmholtz(settings, shape, x)
    if isinstance(settings, Boltzmann):
        return boltzmann.machine(recipe, shape, num_classes, x)
    if isinstance(settings, Transformer):
        return prediction.transformer(recipe, shape, num_classes, x)
    assert isinstance(settings, Encoder) and settings.widths is not None and settings.depths is not None
    levels = num_levels(shape, settings.widths)
    noisy = isinstance(recipe.objective, ScoreMatching | RecoveryLikelihood)
    energy = EncoderEnergy(shape, settings.widths[:levels], settings.depths[:levels], None, noisy, num_classes)
    energy.centre(x)
    return energy


def chains_of(energy: Energy, recipe: Recipe, like: Tensor, labels: Tensor | None, run: Run) -> ReplayBuffer | None:
    """The replay buffer, of x of the shape of one, `like`, for objectives that keep chains."""
    device, num = run.accelerator.device, recipe.chains
    rng = run.generator("chains", 0, device=device)
    if isinstance(recipe.objective, ContrastiveDivergence):
        assert isinstance(energy, Machine)
        return recipe.objective.buffer(energy, num, rng)
    if not isinstance(recipe.objective, MaximumLikelihood | EnergyMatching):
        return None
    label = None
    if labels is not None:
        rows = torch.randint(len(labels), (num,), generator=rng, device=device)
        label = forgotten(labels.to(device)[rows], rng)
    start = recipe.objective.generator().start(energy)
    if recipe.reach is not None:
        start = replace(start, bound=recipe.reach)
    return ReplayBuffer.of_noise(num, like.to(device), rng, label, start)


def weights_of_references(labels: Tensor | None) -> Tensor | None:
    """How often each x is drawn as a reference: what has a label as often, beside what has none, as it is learned from
    without it, so that references have the law of x without labels. None: all x as often, where all or none have one.
    """
    if labels is None or bool((labels >= 0).all()):
        return None
    return torch.where(labels < 0, 1.0, UNLABELLED)


def num_levels(shape: Sequence[int], widths: Sequence[int]) -> int:
    """Of a network with these widths, the levels that x of a shape [C, *size] have places for."""
    return min(len(widths), max(1, int(math.log2(min(shape[1:]) / COARSEST))))


def shape_at(data: Examples, size: int | None, noun: str) -> tuple[int, ...]:
    """The shape [C, *size] of data averaged down so that the longest side has `size` elements; None: as it is.

    InputError: that does not divide it.
    """
    longest = max(data.shape[1:])
    factor, rest = divmod(longest, size or longest)
    if rest or any(side % factor for side in data.shape[1:]):
        sides = "x".join(map(str, reversed(data.shape[1:])))
        raise InputError(f"learn.size={size} does not divide the sides {sides} of the {noun}")
    return (data.shape[0], *(side // factor for side in data.shape[1:]))


def resized(data: Examples, shape: tuple[int, ...]) -> Examples:
    """The examples, averaged down to that shape."""
    if shape == data.shape:
        return data

    def means(part: Part) -> Tensor:
        num = len(data.train if part == "train" else data.validation)
        found = [block_means(data.x(part, rows), max(shape[1:])) for rows in torch.arange(num).split(64)]
        return torch.cat(found) if num else torch.zeros(0, *shape)

    return replace(data, shape=shape, train=means("train"), validation=means("validation"))
