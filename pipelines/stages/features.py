"""What the energy has learned, as features for a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import EncoderEnergy, Hidden
from energies.boltzmann import Latent
from pipelines.examples import Examples
from pipelines.modalities import modality_of
from pipelines.results import save_metrics
from pipelines.stage import Run

TOGETHER = 16  # x whose features are taken at once
PENALTIES = (1e-3, 1e-2, 1e-1)  # inverse strengths that are tried


@dataclass(frozen=True)
class Features:
    """Logistic regression on responses of the energy's network, beside raw elements, principal components, the nearest
    example, and a network of random weights; into metrics.json."""

    needs: ClassVar[tuple[str, ...]] = ("data", "energy")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary")

    noise: float = 0.5
    """Noise level that the network takes x for."""

    components: int = 128
    """Principal components to compare with."""

    def __post_init__(self) -> None:
        if not self.noise > 0 or self.components < 1:
            raise ValueError(f"noise must be positive and components 1 or more, got {self.noise}, {self.components}")

    def check(self, values: dict[str, Any]) -> None:
        if "data" in values:
            _check_labels(values["data"])
        if "data" in values and "energy" in values:
            self._check_energy(values)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        self.check(values)
        data: Examples = values["data"]
        modality, energy = modality_of(data.modality), values["energy"].to(run.accelerator.device)
        (train, labels), (validation, truth) = data.known("train"), data.known("validation")
        mirrors = modality.mean_of_symmetric(Hidden(torch.zeros([1] * (1 + len(data.shape)), dtype=torch.bool)))
        accuracy: dict[str, float] = {}
        for name, network in {"energy": energy, "random_network": energy.fresh()}.items():
            bound = network.at(self.noise) if network.noisy else network
            known, new = (_responses(bound, x, mirrors, run) for x in (train, validation))
            mean, spread = known.mean(0), known.std(0) + 1e-6
            accuracy[name] = _accuracy((known - mean) / spread, (new - mean) / spread, labels, truth)
        known, new = train.flatten(1), validation.flatten(1)
        accuracy["raw"] = _accuracy(known, new, labels, truth)
        _, scales, axes = torch.svd_lowrank(known - known.mean(0), min(self.components, len(train) - 1))
        axes = axes * len(train) ** 0.5 / scales[0]  # the first component varies by 1
        accuracy["principal_components"] = _accuracy(known @ axes, new @ axes, labels, truth)
        accuracy["nearest"] = float((labels[modality.nearest(validation, train)] == truth).float().mean())
        num, classes = len(validation), list(data.classes)
        found = {"accuracy": accuracy, "classes": classes, "train": len(train), "validation": num}
        save_metrics(found, run.root)
        lines = [f"accuracy on {num} {modality.noun} of {len(classes)} classes"]
        lines += [f"{name.replace('_', ' '):24}{value:8.3f}" for name, value in accuracy.items()]
        return {"metrics": found, "summary": "\n".join(lines)}

    def _check_energy(self, values: dict[str, Any]) -> None:
        """InputError: the energy has no such features, or is of x of another size."""
        energy, shape = values["energy"], values["data"].shape
        if not isinstance(energy, EncoderEnergy | Latent):
            raise InputError("features needs learn.energy=encoder, or a Boltzmann machine")
        if not energy.fits(shape):
            found, wanted = ("x".join(map(str, sides)) for sides in (energy.event_shape, shape))
            raise InputError(f"features: the energy is of {found}, what is loaded of {wanted}; set learn.size=null")


def _check_labels(data: Examples) -> None:
    """InputError: there are no classes to tell apart."""
    noun = modality_of(data.modality).noun
    labels, judged = data.train_labels, data.validation_labels
    if labels is None or judged is None or len(data.classes) < 2:
        raise InputError(f"features: the {noun} have no classes to tell apart; put them into folders by class")
    if len(labels[labels >= 0].unique()) < 2 or not bool((judged >= 0).any()):
        raise InputError(f"features: the {noun} have fewer than two classes to learn from, or none to judge by")


def _responses(network: EncoderEnergy, x: Tensor, mirrors: tuple[int, ...], run: Run) -> Tensor:
    """Features [n, F], of x [n, *shape] and their mirror images along some axes together."""
    starts = range(0, len(x), TOGETHER)
    parts: list[Tensor] = []
    with torch.no_grad():
        for low in run.progress(starts, len(starts), "features"):
            part = x[low : low + TOGETHER].to(run.accelerator.device)
            both = [network.features(part), *(network.features(part.flip(axis)) for axis in mirrors)]
            parts.append(torch.stack(both).sum(0).cpu() / len(both))
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
