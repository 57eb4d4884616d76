"""Combine experts, learned apart, into one energy: what the stages of that name have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.errors import InputError
from energies import Energy, Family, FunctionEnergy, Schedule
from energies.algebra import AnyOf, WeightedSum
from energies.family import is_noisy
from energies.function import SCORES
from energies.mbar import balanced, tuned
from energies.samplers.state import normal
from energies.sampling import anneal
from pipelines import expression
from pipelines.composing import Balance, Composer, priors
from pipelines.pipeline import Run
from pipelines.results import inner, load_energy, save_energy
from pipelines.training import Optimizer
from pipelines.trees import unknown

SCORE = "score:"


@dataclass(frozen=True)
class ComposeExperts(ABC):
    """Base of the stages that combine experts by an expression into one energy. Those that are not given are learned
    first, each from its own labels alone."""

    expr: str = "shape.circle + colour.red"
    """a + b: both; w * a, a - w * b: more or less of it, and away from it; a | b: either; not a: any other label. An
    expert is written NAME.LABEL, or NAME where it has no labels."""

    experts: dict[str, str] = field(default_factory=dict)
    """Folders of the runs that learned them, or of their energies; score:brightness, score:mirror and score:contrast
    need none, and make x darker, more symmetric and flatter where they are added. Those that are missing are learned
    from the data's labels of that name."""

    strength: float = 1.5
    """How much concepts count beside p(x): 1 is Bayes' rule; more insists on them, at a lower temperature."""

    prior: str | None = None
    """The expert whose p(x) is the prior; null: the mean of all that were learned by class."""

    balance: int = 48
    """Samples of each part of an `|` or a `not`, and, where it is a term of a sum, three times as many of the whole,
    that tell how to let the parts count alike; few tell it badly. 0: they count as they come. (An expression that is
    a mixture itself is sampled part by part, as often each.)"""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(1200, 0.02, 30, 1.0, 0.995, 100, "muon"))
    """How the experts that are missing are learned."""

    generator: Schedule = field(default_factory=lambda: Schedule(16, 3.0, 0.04, 16, 0.8))
    """How it is sampled: the Langevin steps at each level are what makes a sum of noisy energies right."""

    def __post_init__(self) -> None:
        known = expression.names(expression.parse(self.expr))
        for name in self.experts:
            if name not in known:
                raise ValueError(f"experts: {name} is not in expr, whose experts are {', '.join(sorted(known))}")
        if not self.strength > 0 or self.balance < 0:
            raise ValueError(f"strength must be positive and balance not negative, got {self.strength}, {self.balance}")

    def files(self) -> tuple[str, ...]:
        return tuple(file for folder in self.experts.values() for file in _weights(folder))

    @abstractmethod
    def learned(self, own: dict[str, Any], values: dict[str, Any], run: Run) -> Energy:
        """An expert of the classes and labels `own`."""

    def composed(
        self, values: dict[str, Any], attributes: dict[str, Any], shape: Sequence[int], run: Run
    ) -> dict[str, Any]:
        """What the stage gives: the energy, how it is sampled, and what it was made of.

        Args:
            attributes: classes of the labels that data have, and the labels, by name.
            shape: of one x.
        """
        node, attributes = expression.parse(self.expr), {name: seen(own) for name, own in attributes.items()}
        names = expression.names(node)
        experts = {name: read_expert(name, self.experts[name], shape) for name in names if name in self.experts}
        _check_labels(node, {n: a["classes"] for n, a in attributes.items()}, experts)
        missing = [name for name in names if name not in experts]
        planned = experts | {name: _ToLearn(attributes[name]["classes"]) for name in missing}
        known = priors(planned)
        if self.prior is not None and self.prior not in known:
            unknown("compose.prior: no expert with classes and noise levels", self.prior, list(known))
        chosen = known if self.prior is None else (self.prior,)
        if not any(is_noisy(energy) for energy in planned.values()):
            raise InputError("compose.experts: none of them was learned at many noise levels")
        Composer(planned, self.strength, chosen).compose(node)  # tells what has no meaning before anything is learned
        for name in planned:
            if name in missing:
                experts[name] = self.learned(attributes[name], values, run.part(name))
            # At once: who stops during the next one, or while mixtures are balanced, can give it to another run.
            run.on_main(partial(save_energy, experts[name].cpu(), run.root / "experts", name))
            experts[name].to(run.accelerator.device).eval()
        energy = Composer(experts, self.strength, chosen, self.balancing(run) if self.balance else None).compose(node)
        run.on_main(lambda: save_energy(energy.cpu(), run.root, "composed"))
        composition = {
            "expr": expression.show(node),
            "prior": list(chosen),
            "strength": self.strength,
            "experts": list(experts),
        }
        return {"energy": energy.cpu(), "generator": self.generator, "composition": composition}

    def balancing(self, run: Run) -> Balance:
        """By samples of each part, as noisy as they come by at each level (without Langevin steps where samples have
        none), and then, where it is sampled as a whole, by
        some of the mixture itself, which are to come from every part alike; every process draws the same ones."""
        device, generator = run.accelerator.device, self.generator
        levels = generator.noise_levels()

        def visited(number: int, whole: WeightedSum) -> dict[float, Tensor]:
            streams = [run.generator("balance", number, chain, device=device) for chain in range(self.balance)]
            noise = normal(torch.empty(self.balance, *whole.event_shape, device=device), streams)
            chains = anneal(whole, generator, whole.start(noise, levels[0]), streams, compute=run.compute)
            return {level: x for level, x in run.progress(chains, len(levels), "balancing") if level}

        def balance(
            mixture: AnyOf, wholes: list[WeightedSum], whole_of: Callable[[AnyOf], WeightedSum] | None
        ) -> AnyOf:
            found = [visited(number, whole) for number, whole in enumerate(wholes)]
            # By what was sampled: where few samples overlap, what parts add to the prior does not tell their depth.
            counted = balanced(AnyOf(wholes), {level: [samples[level] for samples in found] for level in found[0]})
            mixture = AnyOf(mixture.parts, counted.offsets.tolist(), counted.levels)
            if whole_of is None:
                return mixture

            def draw(mixture: AnyOf, number: int) -> tuple[float | None, Tensor]:
                samples = visited(len(wholes) + number, whole_of(mixture))
                return min(samples), samples[min(samples)]

            return tuned(mixture, draw)

        return balance


class _ToLearn(Family):
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
    found = own["train"]
    present = [k for k in range(len(own["classes"])) if (found == k).any()]
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
    folder = inner(Path(source))
    if not folder.is_dir():
        raise InputError(f"compose.experts.{name}={source}: no such folder; give that of the run that learned it")
    energy = load_energy(folder, f"compose.experts.{name}")
    if not energy.fits(shape):
        raise InputError(
            f"compose.experts.{name}={source}: is of {'x'.join(map(str, energy.event_shape))}, what is loaded of "
            f"{'x'.join(map(str, shape))}; load what it was learned from"
        )
    return energy


def _check_labels(node: expression.Node, labels: dict[str, list[str]], experts: dict[str, Energy]) -> None:
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


def _weights(source: str) -> tuple[str, ...]:
    """The files that an expert is read from."""
    if source.startswith(SCORE):
        return ()
    return tuple(sorted(str(file) for file in inner(Path(source)).rglob("*") if file.is_file()))
