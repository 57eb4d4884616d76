"""Learning of a damaged clip from what is seen of it: parts of that are hidden too, to learn from and to judge by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.errors import InputError
from energies import Energy, GenerativeConvNet
from energies.buffer import ReplayBuffer
from energies.classical.held_out import alike
from energies.classical.motion import is_thin
from energies.objectives import Batch
from energies.observation import Hidden, Observation
from pipelines.learning import crops
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import ConvNet, Encoder
from pipelines.learning.single import of_size
from pipelines.learning.training import Learning
from pipelines.sampling.gate import Gate
from pipelines.side_by_side import side_by_side
from pipelines.stage import Run
from pipelines.windows.damage import Box
from pipelines.windows.restoration import lesson, stacked, told, told_by_others


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
        held_out: masks to weigh estimates by, besides the one that judges.
        run: gives randomness and processes.
    """
    gate = run.on_main(lambda: _gate(damaged, held_out, run))
    if recipe is None:
        assert ready is not None
        return ready, gate
    if isinstance(recipe.energy, Encoder):  # where the judge's truth is, and what is hidden, its estimate is learned
        return of_size(crops.learn(gate.judged.estimate[0], recipe, run), damaged.hidden.shape), gate
    return published(damaged, gate.context.estimate, recipe, run).train(run), gate


def _gate(damaged: Damaged, held_out: int, run: Run) -> Gate:
    """Classical estimates of the clip as a whole. InputError: so much is hidden that nothing can be held out."""
    clip, hidden = damaged.clip, damaged.hidden
    masks = alike(hidden, held_out + 1, run.generator("held out"))
    if len(masks) < 2:
        raise InputError("hide: too much is hidden to weigh estimates by one part of the rest and judge by another")
    box, thin = Box.around(hidden), is_thin(hidden)
    todo = [torch.zeros_like(hidden), *masks]
    made = side_by_side(lambda mask: lesson(box, clip, hidden, mask, thin), todo)
    own, *lessons = run.progress(made, len(todo), "estimates of held-out parts")
    context = told(clip, hidden, own.found, stacked(lessons))
    return Gate(context, told_by_others(lessons, 0), lessons[0].held_out[None, None])  # the likest mask judges


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
