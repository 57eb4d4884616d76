"""The experts of a composition: read from runs, checked against the labels of the data, or still to be learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from data.errors import InputError
from energies import Energy, Family, FunctionEnergy
from energies.function import SCORES
from pipelines.composition import expression
from pipelines.composition.composing import Composer
from pipelines.results import found, load_energy, weights_of
from pipelines.trees import unknown

SCORE = "score:"


class ToLearn(Family):
    """Stands for an expert that is still to be learned, while it is checked what it would be part of."""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(len(classes))
        self.classes = tuple(classes)

    @property
    def noisy(self) -> bool:
        return True


def seen(own: dict[str, Any]) -> dict[str, Any]:
    """Classes and labels without those classes that nothing to learn from shows: an energy would be of chance there,
    and the complement of another label would be drawn from it."""
    train = own["train"]
    present = [k for k in range(len(own["classes"])) if (train == k).any()]
    number = torch.full((len(own["classes"]) + 1,), -1)  # the last one: of labels -1, that are not known
    number[present] = torch.arange(len(present))
    labels = {part: number[column] for part, column in own.items() if part != "classes"}
    return {"classes": [own["classes"][k] for k in present], **labels}


def read_expert(name: str, source: str, shape: Sequence[int]) -> Energy:
    """An expert by what `experts.NAME` says. InputError: there is none, or it is of other x."""
    if source.startswith(SCORE):
        score = source.removeprefix(SCORE)
        if score not in SCORES:
            unknown(f"compose.experts.{name}: unknown score", score, list(SCORES))
        return FunctionEnergy(score)
    address = f"compose.experts.{name}"
    if not found(source, address).is_dir():
        raise InputError(f"{address}={source}: no such folder; give that of the run that learned it")
    energy = load_energy(source, address)
    if not energy.fits(shape):
        raise InputError(
            f"{address}={source}: is of {'x'.join(map(str, energy.event_shape))}, what is loaded of "
            f"{'x'.join(map(str, shape))}; load what it was learned from"
        )
    return energy


def check_labels(node: expression.Node, labels: dict[str, list[str]], experts: dict[str, Energy]) -> None:
    """What is still to be learned must have labels; told before learning."""
    for leaf in expression.experts(node):
        if leaf.name in experts:
            Composer(experts, 1.0, ()).expert(leaf)
        elif leaf.name not in labels:
            unknown("compose.expr: no expert is given, and no label of the data is called", leaf.name, list(labels))
        elif leaf.label is not None and leaf.label not in labels[leaf.name]:
            unknown(f"compose.expr: {expression.show(leaf)}: unknown label", leaf.label, labels[leaf.name])
        elif len(labels[leaf.name]) < 2:
            raise InputError(
                f"compose.expr: {leaf.name}: all to learn from is {labels[leaf.name][0]}, which sets nothing apart; "
                "leave it out, or load what has more of its labels"
            )


def weight_files(name: str, source: str) -> tuple[str, ...]:
    """The folder that an expert is read from."""
    return () if source.startswith(SCORE) else weights_of(source, f"compose.experts.{name}")
