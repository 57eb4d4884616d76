"""Learn an energy of what is loaded: of a data set, one photograph or clip, or one clip of which part is seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch

from data.errors import InputError
from energies import Chain, ConditionalEnergy, Energy, Hidden
from energies.boltzmann import GibbsChain, Latent
from energies.family import is_noisy
from energies.generators import Generator
from energies.networks.convnet import PRESETS
from energies.objectives import ContrastiveDivergence, Denoising, ScoreMatching, WakeSleep
from energies.observation import Observation
from pipelines.examples import Examples
from pipelines.learning import amortised, classes, clip, crops, dataset, further, prediction
from pipelines.learning.clip import Damaged
from pipelines.learning.lessons import check_unseen
from pipelines.learning.recipe import Recipe, Recipes, Way, check_no_reference, planned
from pipelines.learning.settings import (
    Amortised,
    Boltzmann,
    ConvNet,
    HelmholtzMachine,
    Network,
    Objective,
    Transformer,
    Weights,
    check_objective,
    typed,
)
from pipelines.learning.single import is_scene, of_size, pretrained_single
from pipelines.modalities import modality_of
from pipelines.results import ANEW, pretrained, weights_of
from pipelines.sampling.generation import CONDITIONAL
from pipelines.settings import check_zoo
from pipelines.stage import Run
from pipelines.windows import restoration
from pipelines.windows.damage import Damage

Task = Literal["pixels", "voxels", "box", "half", "frames", "average", "grey", "blur", "noise"]
SMALLEST = 4  # elements a side of an energy, at least
SWEEPS = 1000  # of a Boltzmann machine that was learned before, to a sample


@dataclass(frozen=True)
class Learn:
    """Learn an energy of what is loaded, or take one that was learned before: it serves every task. Of a clip of which
    part is seen, only that part is learned from."""

    needs: ClassVar[tuple[str, ...]] = ("data",)
    takes: ClassVar[tuple[str, ...]] = ("measured", "observation", "damage", "footage")
    gives: ClassVar[tuple[str, ...]] = ("energy", "generator", "gate")
    distributed: ClassVar[bool] = True
    stored: ClassVar[bool] = True

    pretrained: str | None = None
    """Folder of an earlier run, or of its energy, RUN/energy; zoo:NAME, of the energies that come with the package;
    or user/name of the Hugging Face hub: then nothing is learned but `further`. Any energy of such x will do, whatever
    it was learned for; one of clean x needs the objective that it was learned by. For a damaged clip it must have been
    learned from other frames, as with load.start: else it knows what is hidden. none: learn anew."""

    further: int | None = None
    """Steps to learn on from the weights of `pretrained`, on what is loaded, at a tenth of the learning rate where none
    is said; what an amortised energy is told is taken from these data. null: take it as it is."""

    energy: Network | None = None
    """The energy: encoder, which serves every task by conditioning; amortised, which is told what is seen; residual or
    conv_net, published ones; boltzmann and helmholtz_machine, of x of two values; transformer, which predicts. null:
    encoder, of shapes and single clips amortised."""

    objective: Objective | None = None
    """How it learns. encoder: score_matching, recovery_likelihood, energy_matching or maximum_likelihood; amortised:
    denoising; residual and conv_net: maximum_likelihood; boltzmann: contrastive_divergence; helmholtz_machine:
    wake_sleep; transformer: optimised_prediction or score_matching. null: as suits the energy."""

    steps: int | None = None
    """Optimizer steps. null: as suits the energy."""

    learning_rate: float | None = None
    """Highest learning rate of these steps. null: as suits the energy."""

    batch: int | None = None
    """Examples a step, or crops. null: as suits the energy."""

    optimizer: Weights | None = None
    """How its weights are found. null: as suits the energy."""

    tasks: tuple[Task, ...] | None = None
    """Ways to see x in part that amortised learns: those of `hide`. The energy is conditioned on others level by level.
    null: as suits the data."""

    size: int | None = None
    """Elements of the longest side of the energy's x, which must divide those of the data: they are averaged down to
    it. null: as they are."""

    crop: tuple[int, ...] | None = None
    """Sides of the crops that are learned from: pixels of a photograph, two or three times what repeats; frames and
    pixels of a clip, as [12, 64]; voxels where amortised learns only details. null: as suits the energy."""

    references: int = 0
    """Further examples a step, of which those of its class tell score_matching what to expect of a noisy one, in place
    of the one that was made noisy: gradients of less noise, where noise is of the size of the contrast. 2048 small
    pictures are a sixth more time; of large ones 16 million numbers are taken. 0: none."""

    conditional: bool | None = None
    """Learn the examples of each class, to sample them by class, with encoder, residual or boltzmann; null: where
    there are labels."""

    chains: int | None = None
    """Chains in the replay buffer, for objectives that keep some. null: as suits the energy."""

    folds: int = 4
    """Parts of the data, for amortised: what one of them teaches is judged by a reference of the others."""

    held_out: int = 4
    """Held-out masks that a damaged clip is learned from, at least 3; one more judges the result."""

    def __post_init__(self) -> None:
        check_zoo(pretrained=self.pretrained)
        if self.further is not None and self._source is None:
            raise ValueError("further is for an energy that was learned before; set pretrained")
        for name in ("further", "steps", "learning_rate", "batch", "chains"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.energy is not None and self.objective is not None:
            check_objective(self.energy, self.objective)
        if self.conditional and isinstance(self.energy, ConvNet | Amortised):
            raise ValueError("conditional is for the energies encoder and residual, and for boltzmann")
        if self.references < 0 or (self.references and not isinstance(self.objective, ScoreMatching | None)):
            raise ValueError(
                f"references must not be negative, and are for the objective score_matching; got {self.references}"
            )
        if not 2 <= self.folds <= amortised.MOST_FOLDS:
            raise ValueError(f"folds must be 2 to {amortised.MOST_FOLDS}, got {self.folds}")
        if self.held_out < 3:
            raise ValueError(f"held_out must be 3 or more, got {self.held_out}")
        if self.size is not None and self.size < SMALLEST:
            raise ValueError(f"size must be {SMALLEST} or more, got {self.size}")
        if self.crop is not None and (not self.crop or min(self.crop) < SMALLEST):
            raise ValueError(f"crop must be {SMALLEST} or more a side, got {list(self.crop)}")

    def files(self) -> tuple[str, ...]:
        return weights_of(self._source, "learn.pretrained")

    @property
    def _source(self) -> str | None:
        """What names the energy that was learned before; None: there is none."""
        return None if self.pretrained == ANEW else self.pretrained

    def reads(self, values: dict[str, Any]) -> tuple[str, ...]:
        """What is measured is learned from only of a single x: of a set, `hide` before this changes nothing."""
        return ("data", *self.takes) if values["data"].single else ("data",)

    def check(self, values: dict[str, Any]) -> None:
        values = self._cut(values)
        data: Examples = values["data"]
        if data.single and "observation" not in values:
            return  # whether it is damaged is not known yet
        ready = None if self._source is None else self._ready(data, _way(values))
        recipe = self._recipe(values, ready)
        of_units = isinstance(ready if recipe is None else recipe.energy, Latent | Boltzmann | HelmholtzMachine)
        if of_units and "observation" in values:
            _check_single_elements(values["observation"])

    def ahead(self, values: dict[str, Any]) -> dict[str, Any]:
        """Of a data set: the energy before it has learned, and how it will be sampled."""
        data: Examples = values["data"]
        if data.single:
            return {}
        modality = modality_of(data.modality)
        ready = None if self._source is None else self._ready(data, "data")
        recipe, energy = self._recipe(values, ready), ready
        if recipe is not None and energy is None and not isinstance(recipe.energy, Amortised):
            num = len(data.classes) if classes.learned(data, recipe, self.conditional) else 0
            some = replace(data, train=data.train[:8], validation=data.validation[:0])
            small = dataset.resized(some, dataset.shape_at(data, self.size, modality.noun))
            with torch.random.fork_rng(devices=[]):
                energy = dataset.built(recipe, small.shape, num, small.x())
        if energy is None:
            return {}
        return {"energy": energy, "generator": self._generator(energy, recipe, "data", modality.recipes())}

    def _cut(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values, one clip that a transformer learns to predict cut into windows."""
        data: Examples = values["data"]
        one = data.single and modality_of(data.modality).axes == 3 and "observation" not in values
        if not one or not isinstance(self.energy, Transformer):
            return values
        return values | {"data": prediction.windows(data)}

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        values = self._cut(values)
        data: Examples = values["data"]
        way, recipes, gate = _way(values), modality_of(data.modality).recipes(), None
        ready = None if self._source is None else self._ready(data, way)
        recipe = self._recipe(values, ready)
        if values.get("damage") is not None:
            assert recipe is not None
            energy, gate = restoration.learn(values["footage"].frames, values["damage"], recipe, self.held_out, run)
        elif way in recipes.ways and way == "damaged" and (recipe or isinstance(values["observation"], Hidden)):
            damaged = Damaged.of(values["measured"], values["observation"])
            if recipe is not None and isinstance(recipe.energy, Amortised):
                frames = partial(damaged.clip.unbind, 1)
                hidden = damaged.hidden
                whole = (damaged.clip, hidden) if hidden.numel() <= restoration.WHOLE else None
                energy, gate = restoration.learn(frames, Damage.whole(hidden), recipe, self.held_out, run, whole)
            else:
                energy, gate = clip.learn(damaged, recipe, ready, self.held_out, run)
        elif recipe is not None:
            energy = self._learned(values, way, recipe, ready, run)
        else:
            assert ready is not None
            energy = ready
        return {"energy": energy, "generator": self._generator(energy, recipe, way, recipes), "gate": gate}

    def _recipe(self, values: dict[str, Any], ready: Energy | None) -> Recipe | None:
        """How the energy is learned, or a `ready` one further; None: that is taken as it is. InputError: as below."""
        if ready is None:
            return self.planned(values)
        if self.further is None:
            return None
        data, way = values["data"], _way(values)
        if way == "damaged":
            raise InputError("learn.further: of a damaged clip an energy is learned anew, or taken as it is")
        recipe = self.planned(values, ready)
        if way == "single":
            further.check_crops(ready, crops.sides_of(data.shape, recipe))
        by_class = way == "data" and classes.learned(data, recipe, self.conditional, ready)
        return further.adapted(recipe, ready, by_class, slower=self.learning_rate is None)

    def planned(self, values: dict[str, Any], ready: Energy | None = None) -> Recipe:
        """The recipe of these settings, for a network like that of a `ready` energy where there is one.

        InputError: there is none, or it does not suit what is loaded.
        """
        values = self._cut(values)
        data: Examples = values["data"]
        way, modality = _way(values), modality_of(data.modality)
        one = modality.noun.removesuffix("s")
        source = {"data": f"a set of {modality.noun}", "single": f"one {one}", "damaged": f"one damaged {one}"}[way]
        said = {name: getattr(self, name) for name in ("learning_rate", "batch", "chains", "tasks", "crop")}
        said["steps"] = self.steps if ready is None else self.further
        network = self.energy if ready is None else further.network(ready, self.energy)
        known = modality.recipes().ways.get(way, ())
        recipe = planned(known, source, network, self.objective, self.optimizer, said)
        if isinstance(recipe.energy, ConvNet):
            check_preset(recipe.energy, modality.axes)
        if self.references and not isinstance(recipe.objective, ScoreMatching):
            raise InputError("learn.references is for the objective score_matching; leave it out")
        self._check_used(recipe, way, source)
        if way == "data":
            shape = dataset.shape_at(data, self.size, modality.noun)
            if isinstance(recipe.energy, Amortised):
                amortised.check(replace(data, shape=shape), recipe, self.folds, modality)
            classes.learned(data, recipe, self.conditional)
        elif way == "single":
            crops.check(data.shape, recipe, one)
        elif values.get("damage") is None:
            Damaged.of(values["measured"], values["observation"])
        elif not isinstance(recipe.energy, Amortised):
            raise InputError("learn.energy: of so large a clip it is amortised; or set load.size or load.frames")
        return recipe

    def _check_used(self, recipe: Recipe, way: Way, source: str) -> None:
        """InputError if a setting is given that this way to learn does not know."""
        is_amortised = isinstance(recipe.energy, Amortised)
        details = isinstance(recipe.energy, Amortised) and recipe.energy.rank == 0
        unknown = {
            "tasks": self.tasks is not None and not (way == "data" and is_amortised),
            "crop": self.crop is not None and way == "data" and not details,
            "size": self.size is not None and way != "data",
            "conditional": bool(self.conditional) and way != "data",
        }
        for name in (name for name, is_unknown in unknown.items() if is_unknown):
            raise InputError(f"learn.{name} does not serve the energy {typed(type(recipe.energy))} of {source}")
        if way != "data":
            check_no_reference(self.energy, source)

    def _ready(self, data: Examples, way: Way) -> Energy:
        """The energy that was learned before. InputError: it is not one of what is loaded."""
        source, modality = self._source, modality_of(data.modality)
        assert source is not None
        if way == "damaged" and data.train.shape == (1, 0):
            raise InputError(
                "learn.pretrained: of so large a clip the energy is learned; or set load.size, load.frames"
            )
        if way != "data":
            energy = pretrained_single(source, data.shape, modality.noun.removesuffix("s"))
            return of_size(energy, data.shape[1:]) if way == "damaged" or is_scene(energy) else energy
        shape = dataset.shape_at(data, self.size, modality.noun)
        energy = pretrained(source, shape, "learn.pretrained", modality.noun)
        classes.check(energy, data, self.conditional, source)
        if isinstance(energy, ConditionalEnergy) and self.further is None:  # else it remembers what is loaded
            check_unseen(energy, dataset.resized(data, shape).x("validation"), source)
        return energy

    def _learned(self, values: dict[str, Any], way: Way, recipe: Recipe, ready: Energy | None, run: Run) -> Energy:
        """Of what is whole."""
        data: Examples = values["data"]
        if way == "single":
            return crops.learn(data.x()[0], recipe, run, ready)
        modality = modality_of(data.modality)
        by_class = classes.learned(data, recipe, self.conditional, ready)
        data = dataset.resized(data, dataset.shape_at(data, self.size, modality.noun))
        if isinstance(recipe.energy, Amortised):
            return amortised.learn(data, recipe, self.folds, modality, run, ready)
        return dataset.learn(data, recipe, by_class, self.references, modality.varied, run, ready)

    def _generator(self, energy: Energy, recipe: Recipe | None, way: Way, recipes: Recipes) -> Generator:
        """How the energy is sampled, where nothing else is said."""
        if recipe is not None and recipe.generator is not None:
            return recipe.generator
        if isinstance(energy, ConditionalEnergy) and not is_scene(energy):
            return CONDITIONAL
        if isinstance(energy, ConditionalEnergy) and energy.at_any_level and way == "single":
            return recipes.scene or CONDITIONAL
        objective = self.objective if recipe is None else recipe.objective
        if isinstance(energy, Latent):
            own = objective.generator() if isinstance(objective, ContrastiveDivergence | WakeSleep) else None
            return own or GibbsChain(SWEEPS)
        noisy = is_noisy(energy)
        if objective is not None and not isinstance(objective, Denoising):
            own = objective.generator()
            if recipe is not None or (noisy != isinstance(own, Chain) and not isinstance(objective, ScoreMatching)):
                return own
        return recipes.elsewhere(way, noisy)


def _check_single_elements(observation: Observation) -> None:
    """InputError if a Boltzmann machine cannot be sampled given such a measurement."""
    if not isinstance(observation.noiseless, Hidden):
        raise InputError(
            "learn: a Boltzmann machine recovers elements that are hidden or noisy each by itself; hide pixels, a box "
            "or a mask, or take another energy"
        )


def check_preset(settings: ConvNet, axes: int) -> None:
    """InputError if a published network is of x of another number of axes of size."""
    assert settings.preset is not None
    if len(PRESETS[settings.preset][0].kernel) != axes:
        fitting = [name for name, layers in PRESETS.items() if len(layers[0].kernel) == axes]
        raise InputError(f"learn.energy.conv_net.preset={settings.preset}: here it is {' or '.join(fitting)}")


def _way(values: dict[str, Any]) -> Way:
    """What is learned from."""
    if not values["data"].single:
        return "data"
    return "damaged" if "observation" in values else "single"
