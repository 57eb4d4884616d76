"""What learning takes, told before it: a few steps on trial, without what takes long before the first of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from energies import ConditionalEnergy, Context, DataReference, Energy, Family, LocalReference
from energies.classical import stacking
from energies.classical.motion import SHOWN, Candidates, candidates
from energies.objectives import Batch, MaximumLikelihood
from energies.references import DataEstimator
from energies.references.probabilistic_pca import ProbabilisticPCA
from pipelines.cost import Cost, few, learning, of_gradient, size_of, timed
from pipelines.examples import Examples
from pipelines.learning import amortised, clip, crops, dataset
from pipelines.learning.clip import Damaged
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Amortised, Encoder
from pipelines.learning.training import Learning
from pipelines.modalities.base import Modality
from pipelines.sampling.masked import of_details
from pipelines.stage import Run
from pipelines.windows import restoration
from pipelines.windows.damage import Box, Damage
from pipelines.windows.plan import Plan
from pipelines.windows.restoration import Lesson

SIDE = 384  # rows of the matrix whose eigenvectors are timed
SOME = 64  # examples that are looked at
TOLD = 16  # rows whose context is timed
CONTEXTS = 17  # clips that a gate holds
STACKED = 400  # clips that classical estimates take the memory of
WINDOWED = 40  # windows that their estimates take the memory of
LARGER_PART = (8, 48, 48)  # the same where they look at motion
PART = (5, 20, 20)  # frames and pixels of a clip whose classical estimates are timed


def of_ready(energy: Energy, shape: Sequence[int], run: Run) -> Cost:
    """Of nothing but an energy that was learned before, of x of a shape [C, *size] or of parts of it."""
    seconds, sides = None, shape if energy._event_shape is None else energy.event_shape
    energy = untaught(energy.to(run.accelerator.device))
    if not of_details(energy):
        x, bound = torch.zeros(few(sides, TOLD), *sides, device=run.accelerator.device), energy
        if isinstance(energy, ConditionalEnergy):
            x = x if isinstance(energy.reference, DataReference) else x[:1]
            bound = energy.free(len(x))
        seconds = of_gradient(bound, x, run)
        seconds *= math.prod(shape) / math.prod(sides)
    return Cost(seconds_of_reference(energy), gradient=seconds, disk=size_of(energy), known={"energy": energy})


def of_data(data: Examples, recipe: Recipe, by_class: bool, references: int, modality: Modality, run: Run) -> Cost:
    """Of some of a data set at the size of the energy; arguments as of `dataset.plan`."""
    small = _small(recipe, data.shape)
    plan = dataset.plan(data, small, by_class, references * small.batch // recipe.batch, modality.varied, run)
    if by_class:
        assert isinstance(plan.energy, Family)
        plan.energy.classes = data.classes
    return _learning(plan, recipe, data.shape, run)


def of_single(x: Tensor, recipe: Recipe, run: Run) -> Cost:
    """Of one photograph or clip x [C, *size], by crops."""
    sides = tuple(map(min, recipe.sides(x.shape[1:]), x.shape[1:]))
    return _learning(crops.plan(x, _small(recipe, (len(x), *sides)), run), recipe, x.shape, run)


def of_damaged(damaged: Damaged, recipe: Recipe, held_out: int, run: Run) -> Cost:
    """Of one damaged clip: the classical estimates, and what is learned beside them."""
    x, hidden = damaged.clip, damaged.hidden
    if isinstance(recipe.energy, Amortised):
        return _of_windows(x, hidden, recipe, held_out, run)
    plan: Learning[Any] = (
        crops.plan(x, recipe, run)
        if isinstance(recipe.energy, Encoder)
        else clip.published(damaged, x[None], recipe, run)
    )
    found = _learning(plan, recipe, x.shape, run)
    return replace(
        found,
        seconds=found.seconds + (held_out + 2) * _of_estimates(x, hidden, _interpolated, PART),
        memory=found.memory + STACKED * 4 * x.numel(),
        disk=found.disk + CONTEXTS * 4 * x.numel(),
    )


def _of_windows(x: Tensor, hidden: Tensor, recipe: Recipe, held_out: int, run: Run) -> Cost:
    """Of what is learned from pieces of a clip, and of the estimates of all its windows."""
    others = x[None, None].expand(1, len(SHOWN), *x.shape)
    context = Context(x[None], torch.ones_like(x[None, :1]), hidden[None, None], others)
    box = Box(0, x.shape[1], 0, x.shape[2], 0, x.shape[3])
    lesson = Lesson(box, x, hidden, ~hidden, Candidates(torch.zeros(0), torch.zeros(0), torch.zeros(0)))
    judge = replace(lesson, held_out=torch.zeros_like(hidden))
    found = _learning(restoration.learning([lesson], [judge], [context], recipe, run), recipe, x.shape, run)
    damage = Damage.whole(hidden)
    pieces = sum(box.volume for box in restoration.chosen(damage, restoration.PIECES))
    pixels = (held_out + 1) * pieces + sum(box.volume for box in Plan().windows(damage))
    window = min(x.numel(), 3 * Plan().most)
    estimates = _of_estimates(x, hidden, _moved, LARGER_PART) / torch.get_num_threads()  # made side by side
    return replace(
        found,
        seconds=found.seconds + pixels / hidden.numel() * estimates,
        memory=found.memory + WINDOWED * 4 * window,
        disk=found.disk + 8 * int(hidden.sum()),
    )


def untaught(energy: Energy) -> Energy:
    """The same, but that its reference of a data set has components at random: to find them takes long."""
    if isinstance(energy, ConditionalEnergy) and isinstance(energy.reference, DataReference):
        reference = energy.reference
        rank, shape = min(reference.rank, len(reference.data) - 1), reference.event_shape
        assert shape is not None
        x = (reference.data / 127.5 - 1).view(-1, *shape)
        found = DataEstimator(x[:2], 1, reference.noise, reference.binary, reference.mirrored)
        found.x = torch.cat([x, x.flip(2)]) if reference.binary else x
        basis = torch.randn(rank, *shape, device=x.device) / math.prod(shape) ** 0.5
        found.pca = ProbabilisticPCA(x.mean(0), basis, x.new_ones(rank), reference.noise)
        reference.__dict__["estimator"] = found  # as `cached_property` keeps it
    return energy


def seconds_of_reference(energy: Energy, num: int | None = None) -> float:
    """That the principal components of a reference take, or of one of `num` x; 0 where there are none."""
    if not isinstance(energy, ConditionalEnergy) or not isinstance(energy.reference, DataReference):
        return 0.0
    reference = energy.reference
    rows = (num or len(reference.data)) * (2 if reference.binary else 1)
    least, most = sorted((rows, reference.data.shape[1]))
    product, eigen = _seconds_of_matrices(reference.data.device)
    numbers = least**2 * most + (0 if rows == most else min(reference.rank, rows) * least * most)
    return product * numbers + eigen * least**3


@cache
def _seconds_of_matrices(device: torch.device) -> tuple[float, float]:
    """Of a product, and of the eigenvectors of a square matrix, in units of its sides multiplied."""
    wide = torch.randn(SIDE, 8 * SIDE, device=device)
    square = (wide @ wide.T).double()
    product, _ = timed(lambda: len(wide @ wide.T), device)
    eigen, _ = timed(lambda: len(torch.linalg.eigh(square)[0]), device)
    return product / (8 * SIDE**3), eigen / SIDE**3


def of_amortised(data: Examples, num: int, recipe: Recipe, folds: int, modality: Modality, run: Run) -> Cost:
    """Likewise of an amortised energy of `num` x; arguments as of `amortised.learn`."""
    settings = recipe.energy
    assert isinstance(settings, Amortised) and settings.widths is not None and settings.depths is not None
    assert settings.rank is not None and settings.remembered is not None and settings.noise is not None
    kept = min(settings.remembered, num)
    reference: DataReference | LocalReference = LocalReference()
    light: DataReference | LocalReference = LocalReference()  # one that holds next to nothing
    if settings.rank:
        kinds = list(dict.fromkeys(amortised.KINDS[name] for name in recipe.tasks))
        reference, light = (
            DataReference(data.shape, num, rank, settings.noise, recipe.binary, kinds, mirrored=recipe.binary)
            for num, rank in ((kept, settings.rank), (1, 1))
        )
    energy = ConditionalEnergy(reference, data.shape[0], settings.widths, settings.depths, recipe.stride)
    energy, device = untaught(energy), run.accelerator.device  # lessons are made on the CPU
    rng, rows = run.generator("cost"), max(TOLD, few(data.shape, recipe.batch))
    x = data.x(rows=torch.arange(rows) % len(data.train))
    if not settings.rank:
        x = torch.stack([amortised.crop(one, recipe.sides(data.shape[1:]), rng) for one in x])
    task = next(iter(amortised.tasks_of(data.shape, recipe, modality).values()))
    observation, y = task.observe(x, rng)
    made: list[Context] = []
    told, _ = timed(lambda: made.append(reference.context(observation, y)) or 1, x.device)
    used = slice(few(x.shape[1:], recipe.batch))
    context = made[0].rows(used).to(device)
    batch = Batch(x[used].to(device), context.hidden)
    alone = ConditionalEnergy(light, data.shape[0], settings.widths, settings.depths, recipe.stride)
    plan = Learning(
        alone, recipe.objective, lambda energy, step, rng: (energy.told(context), batch), recipe.training, {}
    )
    found = learning(plan, data.shape, run)
    fits = folds * seconds_of_reference(energy, min(settings.remembered, num * (folds - 1) // folds))
    held = (folds + 1) * (kept * (2 if recipe.binary else 1) + settings.rank) * math.prod(data.shape) * 4
    return replace(
        found,
        seconds=found.seconds + recipe.steps * recipe.batch * told / rows + fits + seconds_of_reference(energy),
        memory=found.memory + (held if settings.rank else 0),
        disk=found.disk + size_of(reference),
        known={"energy": energy if device.type == "cpu" else untaught(energy.to(device))},
    )


def _learning(plan: Learning[Any], recipe: Recipe, shape: Sequence[int], run: Run) -> Cost:
    """Of a plan whose batches may be smaller than those of the recipe."""
    found = learning(plan._replace(training=recipe.training), shape, run)
    return replace(found, known={"energy": plan.energy})


def _small(recipe: Recipe, shape: Sequence[int]) -> Recipe:
    """The recipe with batches of a few rows, and as few chains."""
    batch, objective = few(shape, recipe.batch), recipe.objective
    if isinstance(objective, MaximumLikelihood) and objective.negatives is not None:
        objective = replace(objective, negatives=max(1, objective.negatives * batch // recipe.batch))
    return replace(recipe, batch=batch, objective=objective, chains=min(recipe.chains, 2 * batch))


def _of_estimates(
    x: Tensor, hidden: Tensor, estimated: Callable[[Tensor, Tensor], None], sides: tuple[int, int, int]
) -> float:
    """Seconds of the classical estimates of a clip, by those of a part of it with as much hidden."""
    low = [max(0, (size - side) // 2) for size, side in zip(hidden.shape, sides, strict=True)]
    where = tuple(slice(first, first + side) for first, side in zip(low, sides, strict=True))
    part, mask = x[(slice(None), *where)].contiguous(), hidden[where].contiguous()
    if not mask.any() or mask.all():
        mask = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)) < hidden.float().mean()
    seconds, _ = timed(lambda: estimated(part, mask) or 1, x.device)
    return seconds * hidden.numel() / mask.numel()


def _interpolated(part: Tensor, mask: Tensor) -> None:
    stacking.candidates(part, mask)
    context = Context(part[None], torch.ones_like(part[None, :1]), mask[None, None], part[None, None][:, :0])
    stacking.self_similar(part, mask, context)


def _moved(part: Tensor, mask: Tensor) -> None:
    candidates(part[None], mask[None, None])
