"""Combine experts, learned apart, into one energy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from data.errors import InputError
from energies import Energy, Schedule
from energies.family import is_noisy
from energies.objectives import ScoreMatching
from pipelines import making
from pipelines.composition import expression
from pipelines.composition.balancing import balancing
from pipelines.composition.composing import Composer, priors
from pipelines.composition.experts import ToLearn, check_labels, read_expert, seen, weight_files
from pipelines.examples import Examples
from pipelines.learning.settings import Encoder, Weights
from pipelines.pipeline import Run
from pipelines.results import ANEW, save_energy
from pipelines.settings import check_zoo
from pipelines.stages.learn import Learn
from pipelines.store import Given
from pipelines.trees import unknown


@dataclass(frozen=True)
class Compose:
    """Combine experts by an expression into one energy. Experts that are not given are learned first, each from its own
    labels alone."""

    needs: ClassVar[tuple[str, ...]] = ("data",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "generator", "composition")
    distributed: ClassVar[bool] = True

    expr: str = "shape.circle + colour.red"
    """a + b: both; w * a, a - w * b: more or less of it, and away from it; a | b: either; not a: any other label. An
    expert is written NAME.LABEL, or NAME where it has no labels. Scenes have shape, colour, size and place; moving
    shapes have shape, colour and motion; furniture has kind, legs, back, arms, top and drawers."""

    experts: dict[str, str] = field(default_factory=dict)
    """Folders of the runs that learned them, or of their energies, zoo:NAME, or user/name of the Hugging Face hub;
    score:brightness, score:mirror and score:contrast need none, and make x darker, more symmetric and flatter where
    they are added. Those that are missing, or none, are learned from the data's labels of that name."""

    strength: float = 2.0
    """How much concepts count beside p(x): 1 is Bayes' rule; more insists on them, at a lower temperature."""

    prior: str | None = None
    """The expert whose p(x) is the prior; null: the mean of all that were learned by class."""

    balance: int = 48
    """Samples of each part of an `|` or a `not`, and, where it is a term of a sum, three times as many of the whole,
    that tell how to let the parts count alike; few tell it badly. 0: they count as they come. (An expression that is
    a mixture itself is sampled part by part, as often each.)"""

    size: int | None = None
    """Elements a side of what is composed, which must divide those of the data; they are averaged down to it. null:
    theirs."""

    energy: Encoder | None = None
    """The network of experts that are learned; null: as suits the data."""

    objective: ScoreMatching | None = None
    """How experts that are learned learn; null: as suits the data."""

    steps: int = 1200
    """Steps in which a missing expert is learned."""

    learning_rate: float | None = None
    """Highest learning rate of these steps. null: as suits the data."""

    batch: int | None = None
    """Examples a step. null: as suits the data."""

    optimizer: Weights | None = None
    """How the weights of experts are found. null: as suits the data."""

    references: int = 2048
    """Further examples a step that tell an expert what to expect of a noisy one, as `learn.references`. 0: none."""

    generator: Schedule = field(default_factory=lambda: Schedule(16, 3.0, 0.04, 16, 0.8, 0.5))
    """How the composition is sampled: the Langevin steps at the higher levels are what makes a sum of noisy energies
    right."""

    def __post_init__(self) -> None:
        node = expression.parse(self.expr)
        if problem := expression.contradiction(node):
            raise ValueError(f"expr: {problem}")
        check_zoo(**{f"experts.{name}": source for name, source in self.experts.items()})
        if not self.strength > 0:
            raise ValueError(f"strength must be positive, got {self.strength}")
        for name in ("balance", "references"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    def files(self) -> tuple[str, ...]:
        return tuple(file for name, source in self._asked().items() for file in weight_files(name, source))

    def parts(self, values: dict[str, Any], run: Run) -> dict[str, making.Part]:
        """The experts that are learned, each from its own labels."""
        data: Examples = values["data"]
        found: dict[str, making.Part] = {}
        for name in expression.names(expression.parse(self.expr)):
            if name in data.attributes and name not in self._asked():
                own = _labelled(data, seen(data.attributes[name]))
                given = {"data": run.given.get("data", Given()).derived(name)}
                found[name] = making.Part(self.learner(), {"data": own}, given)
        return found

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        shape = self._shape(data)
        node = expression.parse(self.expr)
        if unused := self.experts.keys() - expression.names(node):
            run.log(event="unused experts", names=sorted(unused))
        experts = {name: read_expert(name, source, shape) for name, source in self._asked().items()}
        attributes = {name: seen(own) for name, own in data.attributes.items()}
        chosen = self._planned(node, experts, {name: own["classes"] for name, own in attributes.items()})
        parts = self.parts(values, run)
        for name in expression.names(node):
            if name not in experts:
                learner, own, given = parts[name]
                experts[name] = making.part(learner, own, run.part(name, given))["energy"]
            # At once: who stops during the next one, or while mixtures are balanced, can give it to another run.
            run.on_main(partial(save_energy, experts[name].cpu(), run.root / "experts", name))
            experts[name].to(run.accelerator.device).eval()
        balance = balancing(self.balance, self.generator, run) if self.balance else None
        energy = Composer(experts, self.strength, chosen, balance).compose(node).cpu()
        run.on_main(lambda: save_energy(energy, run.root, "composed"))
        composition = {
            "expr": expression.show(node),
            "prior": list(chosen),
            "strength": self.strength,
            "experts": list(experts),
        }
        return {"energy": energy, "generator": self.generator, "composition": composition}

    def _asked(self) -> dict[str, str]:
        """The experts given that the expression names, but for those that are to be learned anew."""
        names = expression.names(expression.parse(self.expr))
        return {name: self.experts[name] for name in names if self.experts.get(name, ANEW) != ANEW}

    def _shape(self, data: Examples) -> tuple[int, ...]:
        """Of what is composed. InputError: `size` does not divide the data."""
        if self.size is None:
            return data.shape
        side = max(data.shape[1:])
        if side % self.size:
            raise InputError(f"compose.size={self.size} does not divide the {side} elements a side of the data")
        return (data.shape[0], *(length * self.size // side for length in data.shape[1:]))

    def _planned(
        self, node: expression.Node, experts: dict[str, Energy], labels: dict[str, list[str]]
    ) -> tuple[str, ...]:
        """The experts that make the prior. Tells what has no meaning before anything is learned."""
        check_labels(node, labels, experts)
        planned = {name: experts.get(name) or ToLearn(labels[name]) for name in expression.names(node)}
        known = priors(planned)
        if self.prior is not None and self.prior not in known:
            unknown("compose.prior: no expert with classes and noise levels", self.prior, list(known))
        if not any(is_noisy(energy) for energy in planned.values()):
            raise InputError("compose.experts: none of them was learned at many noise levels")
        chosen = known if self.prior is None else (self.prior,)
        Composer(planned, self.strength, chosen).compose(node)
        return chosen

    def learner(self) -> Learn:
        """How experts are learned."""
        return Learn(
            energy=self.energy or Encoder(), objective=self.objective, steps=self.steps,
            learning_rate=self.learning_rate, batch=self.batch, optimizer=self.optimizer, references=self.references,
            size=self.size, conditional=True,
        )  # fmt: skip


def _labelled(data: Examples, own: dict[str, Any]) -> Examples:
    """The examples with the classes and labels `own`."""
    return replace(data, classes=tuple(own["classes"]), train_labels=own["train"], validation_labels=None)
