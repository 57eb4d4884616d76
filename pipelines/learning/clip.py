"""Learning of a damaged clip from what is seen of it: parts of that are hidden too, to learn from and to judge by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.errors import InputError
from energies import Energy, GenerativeConvNet
from energies.buffer import ReplayBuffer
from energies.classical.stacking import Estimates, estimates, held_out_masks
from energies.objectives import Batch
from energies.observation import Hidden, Observation
from pipelines.learning import crops
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import ConvNet, Encoder
from pipelines.learning.single import of_size
from pipelines.learning.training import Learning
from pipelines.sampling.gate import Gate
from pipelines.stage import Run


@dataclass(frozen=True)
class Damaged:
    """A clip of which part is seen.

    Attributes:
        clip: what is seen, [C, T, H, W]; 0 where it is hidden.
        hidden: bool [T, H, W].
    """

    clip: Tensor
    hidden: Tensor

    @classmethod
    def of(cls, measured: Tensor, observation: Observation) -> Damaged:
        """Of a measurement [1, C, T, H, W]. InputError: something else is seen of it than elements."""
        if not isinstance(observation, Hidden):
            raise InputError(
                "learn: a clip of which only means, grey levels or noise are seen does not tell of itself; give an "
                "energy of such clips by learn.pretrained"
            )
        hidden = observation.mask.expand(1, 1, *measured.shape[2:])[0, 0]
        return cls(torch.where(hidden, 0.0, measured[0]), hidden)


def learn(
    damaged: Damaged, recipe: Recipe | None, ready: Energy | None, held_out: int, run: Run
) -> tuple[Energy, Gate]:
    """An energy of the clip, and the gate of its recovery. Only seen pixels are learned from.

    Args:
        damaged: the clip.
        recipe: of any energy for a damaged clip; None where none is learned.
        ready: an energy that was learned before, where there is no recipe.
        held_out: masks to learn from, besides the one that judges.
        run: gives randomness and processes.
    """
    found = run.on_main(lambda: _estimates(damaged, held_out, run))
    judge = found.examples[-1]
    context, shrinkage = found.learned, found.shrinkage
    if recipe is None:
        assert ready is not None
        energy = ready
    elif isinstance(recipe.energy, Encoder):  # where the judge's truth is, and what is hidden, its estimate is learned
        energy = of_size(crops.learn(judge.context.estimate[0], recipe, run), damaged.hidden.shape)
    else:  # its reference changes nothing in the initial estimate
        context, shrinkage, judge = found.first, 0.0, found.first_examples[-1]
        energy = published(damaged, context.estimate, recipe, run).train(run)
    first = found.first_examples[-1].context.estimate
    gate = Gate(
        estimate=found.first.estimate, context=context, judged=judge.context, held_out=judge.held_out, first=first,
        shrinkage=shrinkage, stacking=found.stacking,
    )  # fmt: skip
    return energy, gate


def _estimates(damaged: Damaged, held_out: int, run: Run) -> Estimates:
    try:
        masks = held_out_masks(damaged.hidden, held_out + 1, run.generator("held out"))
    except ValueError as error:
        raise InputError(str(error)) from error
    return estimates(damaged.clip, damaged.hidden, masks)


def published(damaged: Damaged, estimate: Tensor, recipe: Recipe, run: Run) -> Learning[GenerativeConvNet]:
    """By maximum likelihood; every step first samples what is hidden given what is seen."""
    settings, clip, hidden = recipe.energy, damaged.clip, damaged.hidden
    assert isinstance(settings, ConvNet) and settings.preset is not None and settings.sigma is not None
    mean = float(clip[:, ~hidden].mean())
    energy = GenerativeConvNet(settings.preset, list(clip.shape), settings.sigma, mean)
    device = run.accelerator.device
    imputed, chains = estimate.clone().to(device), ReplayBuffer(estimate.to(device))
    seen, mask = ~hidden[None, None].to(device), hidden.to(device)
    batch = Batch(clip[None].to(device), seen, mask, imputed, chains)
    kept = {"imputed": imputed, **chains.tensors()}
    return Learning(energy, recipe.objective, lambda energy, step, rng: (energy, batch), recipe.training, kept)
