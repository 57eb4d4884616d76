"""Boltzmann machines before they learn: built for data, deep ones layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from energies import DBM, RBM, Helmholtz
from energies.boltzmann import Machine, copies_of
from energies.objectives import Batch, ContrastiveDivergence
from pipelines.examples import Examples
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Boltzmann, HelmholtzMachine
from pipelines.learning.training import train
from pipelines.stage import Run

SHARE = 0.2  # of the steps of the whole that each layer is learned alone, where nothing is said
SOME = 2000  # examples that tell the mean of a layer

Vary = Callable[[Tensor, torch.Generator], Tensor]


def machine(recipe: Recipe, shape: Sequence[int], num_classes: int, x: Tensor) -> Machine:
    """A machine before it has learned, of x of a shape; x [n, *shape] are some of them. Deep ones know no classes."""
    settings, objective = recipe.energy, recipe.objective
    assert isinstance(settings, Boltzmann) and isinstance(objective, ContrastiveDivergence)
    assert settings.hidden is not None and settings.visible is not None
    if len(settings.hidden) == 1:
        made: Machine = RBM(shape, settings.hidden[0], settings.visible, num_classes, objective.places())
    else:
        made = DBM(shape, settings.hidden, settings.visible, objective.places())
    made.centre(x)
    return made


def helmholtz(settings: HelmholtzMachine, shape: Sequence[int], x: Tensor) -> Helmholtz:
    """A Helmholtz machine before it has learned; likewise."""
    assert settings.hidden is not None and settings.visible is not None
    made = Helmholtz(shape, settings.hidden, settings.visible)
    made.centre(x)
    return made


def learn_layers(deep: DBM, data: Examples, recipe: Recipe, varied: Vary, run: Run) -> None:
    """Learn the weights of each layer by those below it, as a machine of its own, by contrastive divergence from data;
    all layers learn together afterwards.

    Args:
        deep: the machine, on the device of the run; written into.
        data: at its size.
        recipe: of the whole.
        varied: (x, rng) -> x, as good as those.
        run: gives randomness and folders for checkpoints.
    """
    settings = recipe.energy
    assert isinstance(settings, Boltzmann)
    steps = round(SHARE * recipe.steps) if settings.pretraining is None else settings.pretraining
    if not steps:
        return
    training, sizes, below = replace(recipe.training, steps=steps), deep.sizes, list[RBM]()
    objective = ContrastiveDivergence(chains="data", kept=0)
    for layer in range(len(sizes) - 1):
        part = _part(deep, layer)

        def drawn(x: Tensor, rng: torch.Generator, below: list[RBM] = below[:]) -> Tensor:
            """What a layer sees of x: units of the layers below, drawn one after the other."""
            for machine in below:
                chance = machine.features(x)
                x = (torch.rand(chance.shape, generator=rng, device=x.device) < chance).to(x) * 2 - 1
            return x

        def draw(energy: RBM, step: int, rng: torch.Generator, drawn: Vary = drawn) -> tuple[RBM, Batch]:
            rows = torch.randint(len(data.train), (recipe.batch,), generator=rng, device=rng.device).cpu()
            x = varied(data.x(rows=rows).to(rng.device), rng)
            with torch.no_grad():
                return energy, Batch(drawn(x, rng), progress=step / steps)

        device = run.accelerator.device
        rng = run.generator("layers", layer, device=device)
        with torch.no_grad():
            part.to(device).centre(drawn(data.x(rows=slice(SOME)).to(device), rng))
        learned = train(part, objective, draw, training, run.part(f"layer_{layer + 1}"), {}).to(device)
        deep.take(layer, learned)
        below.append(learned)


def _part(deep: DBM, layer: int) -> RBM:
    """The machine that is learned for the weights above a layer."""
    shape = deep.event_shape if layer == 0 else deep.sizes[layer]
    part = RBM(shape, deep.sizes[layer + 1], deep.visible if layer == 0 else "binary")
    part.copies = copies_of(layer, len(deep.sizes) - 1)
    return part
