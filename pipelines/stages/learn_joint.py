"""Learn one network that classifies and generates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import EncoderEnergy, EncoderLogits, JointEnergy
from energies.buffer import ReplayBuffer
from energies.objectives import Batch, Joint, MaximumLikelihood, ScoreMatching
from pipelines.examples import Examples
from pipelines.learning.dataset import num_levels
from pipelines.learning.lessons import SAMPLED
from pipelines.learning.recipe import JointRecipe
from pipelines.learning.settings import RATES, Weights
from pipelines.learning.training import Learning, Training
from pipelines.modalities import modality_of
from pipelines.results import ANEW, found, pretrained
from pipelines.settings import check_network, check_zoo
from pipelines.stage import Run


@dataclass(frozen=True)
class LearnJoint:
    """Learn a joint energy of x and labels, E(x, y) = -f(x)[y] (energies/joint.py), and the same network by
    cross-entropy alone to compare with; or take ones that were learned before."""

    needs: ClassVar[tuple[str, ...]] = ("data",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "plain", "generator")
    distributed: ClassVar[bool] = True
    stored: ClassVar[bool] = True

    pretrained: str | None = None
    """Folder of an earlier run of the same data, with energy/ and plain/, or zoo:NAME, of the energies that come with
    the package: then nothing is learned. none: learn anew."""

    widths: tuple[int, ...] | None = None
    """Channels of the levels, from half the resolution on; of what is small only the first ones. null: as suits the
    data."""

    depths: tuple[int, ...] | None = None
    """Residual blocks there. null: as suits the data."""

    objective: Joint | None = None
    """How it learns. null: as suits the data."""

    steps: int | None = None
    """Optimizer steps. null: as suits the data."""

    learning_rate: float | None = None
    """Highest learning rate of these steps. null: as suits the data."""

    batch: int | None = None
    """Examples a step, 2 or more. null: as suits the data."""

    optimizer: Weights | None = None
    """How its weights are found. null: as suits the data."""

    plain_share: float = 0.5
    """The plain network, whose steps are cheaper, gets so much of the steps."""

    chains: int = 2048
    """Chains in the replay buffer, for maximum likelihood."""

    def __post_init__(self) -> None:
        check_zoo(pretrained=self.pretrained)
        if self.widths is not None and self.depths is not None:
            check_network(self.widths, self.depths, least=0)
        for name in ("steps", "learning_rate"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if (self.batch is not None and self.batch < 2) or self.chains < 1 or not 0 < self.plain_share <= 1:
            raise ValueError("batch must be 2 or more, chains 1 or more, plain_share above 0, at most 1")

    def files(self) -> tuple[str, ...]:
        root = self._root()
        return () if root is None else tuple(str(root / name) for name in ("energy", "plain"))

    def _root(self) -> Path | None:
        """The folder with both energies that were learned before; None: they are learned."""
        if self.pretrained in (None, ANEW):
            return None
        folder = found(self.pretrained, "learn_joint.pretrained")
        return folder.parent if folder.name == "energy" else folder

    def check(self, values: dict[str, Any]) -> None:
        data: Examples = values["data"]
        noun = modality_of(data.modality).noun
        if data.train_labels is None or len(data.train_labels[data.train_labels >= 0].unique()) < 2:
            raise InputError("learn_joint needs data with labels of two classes or more: put it into folders by class")
        missing = [name for k, name in enumerate(data.classes) if not (data.train_labels == k).any()]
        if missing:
            raise InputError(f"learn_joint: no {noun} of the class {missing[0]} are loaded to learn from; load more")
        self._recipe(data)
        if (root := self._root()) is not None:
            self._pretrained(root, data)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        self.check(values)
        data: Examples = values["data"]
        recipe = self._recipe(data)
        generator = recipe.objective.generator()
        if (root := self._root()) is not None:
            return self._pretrained(root, data) | {"generator": generator}
        return {
            "energy": self._plan(data, recipe, run.part("joint")).train(run.part("joint")),
            "plain": self._plan(data, self._plain(recipe), run.part("plain")).train(run.part("plain")),
            "generator": generator,
        }

    def planned(self, values: dict[str, Any]) -> JointRecipe:
        """How it learns of these values, all settings said."""
        return self._recipe(values["data"])

    def _recipe(self, data: Examples) -> JointRecipe:
        """All settings said. InputError: widths and depths do not suit each other."""
        recipe = modality_of(data.modality).recipes().joint
        names = ("widths", "depths", "objective", "steps", "learning_rate", "batch")
        said = {name: value for name in names if (value := getattr(self, name)) is not None}
        optimizer = recipe.optimizer if self.optimizer is None else self.optimizer.over(recipe.optimizer)
        rate = recipe.learning_rate * RATES[optimizer.method] / RATES[recipe.optimizer.method]
        recipe = replace(recipe, **{"learning_rate": rate, "optimizer": optimizer} | said)
        try:
            check_network(recipe.widths, recipe.depths, least=0)
        except ValueError as error:
            raise InputError(f"learn_joint: {error}") from None
        return recipe

    def _plain(self, recipe: JointRecipe) -> JointRecipe:
        """The same by cross-entropy alone."""
        alone = replace(recipe.objective, generative=MaximumLikelihood(), weight=0.0)
        return replace(recipe, objective=alone, steps=max(1, round(recipe.steps * self.plain_share)))

    def _pretrained(self, root: Path, data: Examples) -> dict[str, Any]:
        num, noun = len(data.classes), modality_of(data.modality).noun
        if lost := [name for name in ("energy", "plain") if not (root / name).is_dir()]:
            raise InputError(
                f"learn_joint.pretrained={self.pretrained}: holds no {lost[0]}; name a run of learn_joint, which "
                "leaves the folders energy and plain"
            )
        both = {
            name: pretrained(root / name, data.shape, "learn_joint.pretrained", noun) for name in ("energy", "plain")
        }
        if not all(isinstance(e, JointEnergy) and e.num_classes == num for e in both.values()):
            raise InputError(f"learn_joint.pretrained={self.pretrained}: holds no joint energies of {num} classes")
        if both["energy"].noisy != isinstance(self._recipe(data).objective.generative, ScoreMatching):
            raise InputError(
                f"learn_joint.pretrained={self.pretrained}: was learned by another objective than "
                "learn_joint.objective.generative; set the one that it was learned by"
            )
        return both

    def _plan(self, data: Examples, recipe: JointRecipe, run: Run) -> Learning[JointEnergy]:
        """How it is learned."""
        device, labels, objective = run.accelerator.device, data.train_labels, recipe.objective
        assert labels is not None
        sampled = data.x(rows=slice(SAMPLED))
        energy = _built(data, recipe, sampled).to(device)
        chains = None
        if isinstance(objective.generative, MaximumLikelihood) and objective.weight:
            rng = run.generator("chains", 0, device=device)
            start = objective.generative.generator().start(energy)
            chains = ReplayBuffer.of_noise(self.chains, sampled[0].to(device), rng, start=start)
        del sampled
        vary, batch = modality_of(data.modality).varied, recipe.batch

        def draw(energy: JointEnergy, step: int, rng: torch.Generator) -> tuple[JointEnergy, Batch]:
            rows = torch.randint(len(labels), (batch,), generator=rng, device=rng.device).cpu()
            x = vary(data.x(rows=rows).to(device), rng)
            return energy, Batch(x, label=labels[rows].to(device), chains=chains)

        training = Training(recipe.steps, recipe.learning_rate, recipe.batch, recipe.optimizer)
        return Learning(energy, objective, draw, training, {} if chains is None else chains.tensors())


def _built(data: Examples, recipe: JointRecipe, x: Tensor) -> JointEnergy:
    """The energy before it has learned; x [n, *shape] are some of the data."""
    num, noisy = len(data.classes), isinstance(recipe.objective.generative, ScoreMatching)
    depth = num_levels(data.shape, recipe.widths)
    encoder = EncoderEnergy(
        data.shape, recipe.widths[:depth], recipe.depths[:depth], noisy=noisy, heads=num, places=recipe.places
    )
    encoder.centre(x)
    energy = JointEnergy(EncoderLogits(encoder), num, data.shape)
    energy.classes = data.classes
    return energy
