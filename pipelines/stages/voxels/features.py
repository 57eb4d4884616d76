"""What the energy has learned, as features for a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import EncoderEnergy
from pipelines.measures.solids import distances
from pipelines.pipeline import Run
from pipelines.results import save_metrics
from pipelines.stages.voxels.grids import check_side, unpack

TOGETHER = 16  # shapes whose features are taken at once
PENALTIES = (1e-3, 1e-2, 1e-1)  # inverse strengths that are tried


@dataclass(frozen=True)
class Features:
    """Logistic regression on responses of the energy's network, beside raw voxels, principal components, the nearest
    shape, and a network of random weights; into metrics.json."""

    needs: ClassVar[tuple[str, ...]] = ("shapes", "energy")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary")

    noise: float = 0.5
    """Noise level that the network takes the shapes for."""

    components: int = 128
    """Principal components to compare with."""

    def __post_init__(self) -> None:
        if not self.noise > 0 or self.components < 1:
            raise ValueError(f"noise must be positive and components 1 or more, got {self.noise}, {self.components}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy, shapes = values["energy"].to(run.accelerator.device), values["shapes"]
        if not isinstance(energy, EncoderEnergy):
            raise InputError("features need learn.energy=encoder with learn.objective=score_matching")
        if len(shapes["classes"]) < 2:
            raise InputError(
                f"{values['source']['name']} has no classes to tell apart; put shapes into folders by class"
            )
        check_side(energy, shapes["side"], "features")
        known, judged = shapes["train_labels"] >= 0, shapes["validation_labels"] >= 0
        if len(shapes["train_labels"][known].unique()) < 2 or not judged.any():
            raise InputError(
                f"{values['source']['name']} has fewer than two classes to learn from, or none to judge by"
            )
        train, validation = (unpack(shapes[part], shapes["side"]) for part in ("train", "validation"))
        train, validation = train[known], validation[judged]
        labels, truth = shapes["train_labels"][known], shapes["validation_labels"][judged]
        networks = {"energy": energy, "random_network": energy.fresh()}
        accuracy: dict[str, float] = {}
        for name, network in networks.items():
            known, new = (_responses(network.at(self.noise), x, run) for x in (train, validation))
            mean, spread = known.mean(0), known.std(0) + 1e-6
            accuracy[name] = _accuracy((known - mean) / spread, (new - mean) / spread, labels, truth)
        known, new = train.flatten(1), validation.flatten(1)
        accuracy["raw_voxels"] = _accuracy(known, new, labels, truth)
        _, scales, axes = torch.svd_lowrank(known - known.mean(0), min(self.components, len(train) - 1))
        axes = axes * len(train) ** 0.5 / scales[0]  # the first component varies by 1
        accuracy["principal_components"] = _accuracy(known @ axes, new @ axes, labels, truth)
        nearest = distances(validation > 0, train > 0).argmin(1)
        accuracy["nearest_shape"] = float((labels[nearest] == truth).float().mean())
        found = {"accuracy": accuracy, "classes": shapes["classes"], "train": len(train), "validation": len(validation)}
        save_metrics(found, run.root)
        lines = [f"accuracy on {len(validation)} shapes of {len(shapes['classes'])} classes"]
        lines += [f"{name.replace('_', ' '):24}{value:8.3f}" for name, value in accuracy.items()]
        return {"metrics": found, "summary": "\n".join(lines)}


def _responses(network: Any, x: Tensor, run: Run) -> Tensor:
    """Features [n, F], of the shapes and their mirror images together."""
    starts = range(0, len(x), TOGETHER)
    parts: list[Tensor] = []
    with torch.no_grad():
        for low in run.progress(starts, len(starts), "features"):
            part = x[low : low + TOGETHER].to(run.accelerator.device)
            parts.append((network.features(part) + network.features(part.flip(2))).cpu() / 2)
    return torch.cat(parts)


def _accuracy(train: Tensor, validation: Tensor, labels: Tensor, truth: Tensor) -> float:
    """Of logistic regression; its penalty is the best one for every fifth of the shapes to learn from."""
    from sklearn.linear_model import LogisticRegression

    def share(strength: float, x: Tensor, y: Tensor, new: Tensor, right: Tensor) -> float:
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(x.numpy(), y.numpy())
        return float((torch.from_numpy(model.predict(new.numpy())) == right).float().mean())

    fifth = torch.arange(len(train)) % 5 == 0
    if len(labels[~fifth].unique()) < 2:
        return share(PENALTIES[1], train, labels, validation, truth)
    found = {c: share(c, train[~fifth], labels[~fifth], train[fifth], labels[fifth]) for c in PENALTIES}
    return share(max(PENALTIES, key=lambda c: found[c]), train, labels, validation, truth)
