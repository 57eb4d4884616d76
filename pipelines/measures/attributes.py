"""Whether samples are all that an expression asks for, by classifiers that were learned apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from data.scenes import MISFIT, misfit
from pipelines.composition import expression
from pipelines.composition.expression import AnyOf, Expert, Node, Not, Weighted, show
from pipelines.measures.judge import Classifier, share_of
from pipelines.stage import Run

Labels = Mapping[str, Tensor]
Data: TypeAlias = "tuple[Tensor, Labels]"
"""x of pictures [n, C, H, W], clips or shapes [n, C, T, H, W], and its labels [n] by name."""


@dataclass(frozen=True)
class Attributes:
    """What tells the attributes of x.

    Attributes:
        classes: names of the labels, by attribute.
        model: of them all.
        accuracy: by attribute, on x that it has not learned.
        of_scenes: whether a sample can also be valid or not.
    """

    classes: dict[str, list[str]]
    model: Classifier
    accuracy: dict[str, float]
    of_scenes: bool

    @classmethod
    def fit(
        cls, classes: dict[str, list[str]], learned: Data, judged: Data, run: Run, steps: int | None = None,
        of_scenes: bool = False,
    ) -> Attributes:  # fmt: skip
        """Learned from x and its labels, its accuracy that on others; `classes`: the names of those that it tells."""
        (x, labels), (test, truth) = learned, judged
        model = Classifier.fit(
            _flat(x), [labels[name] for name in classes], [len(names) for names in classes.values()],
            run.generator("judge"), run, steps,
        )  # fmt: skip
        judge = cls(classes, model, {}, of_scenes)
        right = {name: share_of((found == truth[name])[truth[name] >= 0]) for name, found in judge.labels(test).items()}
        return replace(judge, accuracy=right)

    def labels(self, x: Tensor) -> dict[str, Tensor]:
        """What the classifiers find in x [n, C, H, W] or [n, C, T, H, W], [n] each."""
        x = _flat(x)
        return {name: self.model.probabilities(x, kind).argmax(1) for kind, name in enumerate(self.classes)}

    def judged(self, node: Node, x: Tensor) -> tuple[dict[str, Any], Tensor]:
        """Shares of x that are all that was asked for, each concept of it, and valid; and which are all of it, [n]."""
        labels = self.labels(x)
        holds = self.holds(node, labels, len(x))
        found: dict[str, Any] = {"num": len(x), "all_hold": share_of(holds)}
        for leaf, wanted in _concepts(node):
            if self._told(leaf):
                name = show(leaf) if wanted else f"not {show(leaf)}"
                found[name] = share_of(self.holds(leaf, labels, len(x)) == wanted)
        if self.of_scenes:
            valid = is_scene(x, labels)
            found |= {"valid": share_of(valid), "hold_and_valid": share_of(valid & holds)}
        return found, holds

    def holds(self, node: Node, labels: Labels, num: int, untold: bool = True) -> Tensor:
        """Which samples are what a node asks for, bool [num]; `untold`: whether a concept that no classifier tells
        holds, by default to the benefit of the whole."""
        if isinstance(node, Expert):
            if not self._told(node):
                return torch.full((num,), untold)
            return labels[node.name] == self.classes[node.name].index(str(node.label))
        if isinstance(node, Not):
            return ~self.holds(node.part, labels, num, not untold)
        if isinstance(node, Weighted):
            signs = [(weight > 0, part) for weight, part in node.terms if weight]
            parts = [self.holds(part, labels, num, untold == asked) == asked for asked, part in signs]
            return torch.stack(parts).all(0) if parts else torch.ones(num, dtype=torch.bool)
        assert isinstance(node, AnyOf)
        return torch.stack([self.holds(part, labels, num, untold) for part in node.parts]).any(0)

    def _told(self, node: Node) -> bool:
        return any(leaf.label in self.classes.get(leaf.name, ()) for leaf in expression.experts(node))


def _concepts(node: Node, wanted: bool = True) -> list[tuple[Expert, bool]]:
    """The labels of an expression, and whether each is asked for or ruled out."""
    if isinstance(node, Expert):
        return [(node, wanted)]
    if isinstance(node, Not):
        return _concepts(node.part, not wanted)
    if isinstance(node, Weighted):
        return [found for weight, part in node.terms for found in _concepts(part, wanted == (weight >= 0))]
    return [found for part in node.parts for found in _concepts(part, wanted)]


def _flat(x: Tensor) -> Tensor:
    """Pictures as they are, of clips [n, C, T, H, W] the frames as channels: [n, C T, H, W]."""
    return x.flatten(1, -3)


def is_scene(x: Tensor, labels: Labels) -> Tensor:
    """Whether pictures x [n, 3, H, W] are a scene of these labels, bool [n]; a blank one, near to all, is none."""
    varies = (x - x.mean((2, 3), keepdim=True)).square().mean((1, 2, 3)).sqrt()
    left = misfit(x, labels)
    return (left <= MISFIT) & (left < varies / 2) & (varies > MISFIT / 2)
