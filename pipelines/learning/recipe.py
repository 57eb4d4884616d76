"""Recipes: how an energy is learned of what a modality loads, with all settings said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from data.errors import InputError
from energies.generators import Chain, Generator
from energies.objectives import Joint
from energies.schedule import Schedule
from pipelines.learning.settings import RATES, Amortised, Network, Objective, Weights, check_objective, given, typed
from pipelines.learning.training import Optimizer, Training

Way = Literal["data", "single", "damaged"]
"""A data set, one photograph or clip, or one of which part is seen."""
MUON = Optimizer("muon", 30, 1.0, 0.995, 100)


@dataclass(frozen=True)
class Recipe:
    """How an energy is learned, all settings said.

    Attributes:
        energy: its network; no field is None that the way of learning reads.
        objective: how it learns.
        steps, learning_rate, batch, optimizer: as for `Training`.
        generator: how it is sampled; None: as the objective says.
        chains: in the replay buffer, for objectives that keep some.
        reach: these chains begin within plus and minus that; None: as those that are sampled.
        tasks: ways to see x in part that an amortised energy learns.
        crop: sides of the crops that a step learns from, along the axes of size; the last one stands for the rest.
        stride: how much coarser each level of an amortised energy is, along the axes of size.
        binary: whether x has two values alone, -1 and 1.
    """

    energy: Network
    objective: Objective
    steps: int
    learning_rate: float
    batch: int = 1
    optimizer: Optimizer = MUON
    generator: Generator | None = None
    chains: int = 4096
    reach: float | None = None
    tasks: tuple[str, ...] = ()
    crop: tuple[int, ...] = ()
    stride: tuple[int, ...] = (1, 2, 2)
    binary: bool = False

    @property
    def training(self) -> Training:
        return Training(self.steps, self.learning_rate, self.batch, self.optimizer)

    def sides(self, size: Sequence[int]) -> tuple[int, ...]:
        """Of the crops of x with these sides."""
        return (*self.crop, *self.crop[-1:] * (len(size) - len(self.crop)))[: len(size)]


@dataclass(frozen=True)
class JointRecipe:
    """How a joint energy of x and labels is learned, likewise.

    Attributes:
        widths, depths: of the encoder.
        objective: how it learns.
        steps, learning_rate, batch, optimizer: as for `Training`.
        places: of `EncoderEnergy`; were all to count, the classes' gradients would drown p(x).
    """

    widths: tuple[int, ...] = (32, 64, 128)
    depths: tuple[int, ...] = (1, 2, 2)
    objective: Joint = field(default_factory=Joint)
    steps: int = 1800
    learning_rate: float = 0.02
    batch: int = 64
    optimizer: Optimizer = Optimizer("muon", 30, 1.0, 0.99, 100)
    places: float = 0.5


@dataclass(frozen=True)
class Recipes:
    """Those of a modality.

    Attributes:
        ways: recipes by what is learned from; the first of each is taken where nothing is said.
        joint: of a joint energy.
        noisy: how an energy of many noise levels that was learned elsewhere is sampled, by what it is taken for.
        clean: how one of clean x is.
        scene: how one of a clip's mean picture is, learned at levels at which nothing of it is seen; None: there is
            none.
    """

    ways: Mapping[Way, Sequence[Recipe]]
    joint: JointRecipe = field(default_factory=JointRecipe)
    noisy: Mapping[Way, Generator] = field(default_factory=dict)
    clean: Generator = Chain()
    scene: Generator | None = None

    def elsewhere(self, way: Way, noisy: bool) -> Generator:
        """How an energy that was learned elsewhere is sampled."""
        return self.noisy.get(way, Schedule()) if noisy else self.clean


def planned(
    recipes: Sequence[Recipe], source: str, energy: Network | None, objective: Objective | None,
    weights: Weights | None, said: Mapping[str, Any],
) -> Recipe:  # fmt: skip
    """The recipe, of those of a way to learn, that settings ask for, what they do not say filled in.

    Args:
        recipes: the first is taken where nothing is said.
        source: what is learned from, in words.
        energy, objective, weights: as asked for; None: as suits.
        said: further fields of the recipe, those that are None left as they are.

    Raises:
        InputError: there is none.
    """
    fitting = [recipe for recipe in recipes if energy is None or type(recipe.energy) is type(energy)]
    if not fitting:
        if energy is None or not recipes:
            raise InputError(f"learn: no energy is learned of {source}; set learn.pretrained")
        names = " or ".join(dict.fromkeys(typed(type(recipe.energy)) for recipe in recipes))
        raise InputError(f"learn.energy={typed(type(energy))}: {source} is learned by {names}")
    same = [recipe for recipe in fitting if objective is None or type(recipe.objective) is type(objective)]
    recipe = (same or fitting)[0]
    try:
        network = recipe.energy if energy is None else replace(recipe.energy, **given(energy))
        check_objective(network, objective or recipe.objective)
    except ValueError as error:
        raise InputError(f"learn: {error}") from None
    optimizer = recipe.optimizer if weights is None else weights.over(recipe.optimizer)
    rate = recipe.learning_rate * RATES[optimizer.method] / RATES[recipe.optimizer.method]
    changed: dict[str, Any] = {"learning_rate": rate, "energy": network, "optimizer": optimizer}
    if objective is not None:
        changed |= {"objective": objective, "generator": recipe.generator if same else None}
    return replace(recipe, **changed | {name: own for name, own in said.items() if own is not None})


def check_no_reference(energy: Network | None, source: str) -> None:
    """InputError if settings of the reference of a data set are given for something else."""
    for name in ("rank", "remembered", "noise") if isinstance(energy, Amortised) else ():
        if getattr(energy, name) is not None:
            raise InputError(f"learn.energy.amortised.{name}: is for data sets; the reference of {source} has none")
