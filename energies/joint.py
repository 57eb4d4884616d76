"""Joint energies of x and a label: any classifier is one (JEM, Grathwohl et al. 2020).

With logits f(x): E(x, y) = -f(x)[y], so that p(y | x) = softmax f(x)[y], and E(x) = -logsumexp f(x).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from energies.family import Family, check_level
from energies.networks.encoder import EncoderEnergy
from energies.saving import Stored


class JointEnergy(Family):
    """E(x) of x in any modality, E(x, y) once a label is bound.

    Args:
        classifier: any module that maps x [B, *event] to logits [B, num_classes]. With a `NoisyClassifier`, as
            `EncoderLogits` is, this energy is a family over noise levels, too. One of one's own is stored if it derives
            from `energies.Stored`, which remembers the arguments of its constructor.
        num_classes: of the logits.
        event_shape: of one x, where it is fixed.
    """

    def __init__(self, classifier: nn.Module, num_classes: int, event_shape: Sequence[int] | None = None) -> None:
        super().__init__(num_classes)
        self.classifier = classifier
        self._event_shape = None if event_shape is None else tuple(event_shape)

    @property
    def arguments(self) -> dict[str, Any]:
        return {**super().arguments, "classifier": self.classifier}

    def logits(self, x: Tensor) -> Tensor:
        """f(x) [B, num_classes]. ValueError: the classifier gives another shape."""
        logits = self.classifier(x)
        if logits.shape != (len(x), self.num_classes):
            raise ValueError(f"the classifier gives {list(logits.shape)}, expected {[len(x), self.num_classes]}")
        return logits

    def probabilities(self, x: Tensor) -> Tensor:
        """p(y | x) [B, num_classes]."""
        return self.logits(x).softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        if self.label is None:
            return -logits.logsumexp(1)
        codes = self.codes(x).expand(len(x))
        chosen = logits.gather(1, codes.clamp(max=self.num_classes - 1)[:, None]).squeeze(1)
        return -torch.where(codes < self.num_classes, chosen, logits.logsumexp(1))

    @property
    def noisy(self) -> bool:
        """Whether the classifier is one over noise levels."""
        return isinstance(self.classifier, NoisyClassifier) and self.classifier.noisy

    def at(self, level: float | Tensor) -> JointEnergy:
        if not self.noisy:
            return super().at(level)  # which tells
        check_level(level)
        return self.bind(level=level, _modules={**self._modules, "classifier": self._levelled().at(level)})

    @property
    def mean(self) -> Tensor:
        return self._levelled().mean

    @property
    def spread(self) -> float:
        return self._levelled().spread

    @property
    def origin(self) -> Tensor | float:
        return self.classifier.mean if isinstance(self.classifier, NoisyClassifier) else 0.0

    def _levelled(self) -> NoisyClassifier:
        if not isinstance(self.classifier, NoisyClassifier):
            raise RuntimeError("the classifier does not know mean and spread of its data: derive it of NoisyClassifier")
        return self.classifier


class NoisyClassifier(Stored, nn.Module, ABC):
    """Base of classifiers that know noise levels, with which a `JointEnergy` is a family over them.

    Attributes:
        mean: of the data [*event].
        spread: of the data about it.
        noisy: whether it knows levels after all.
    """

    mean: Tensor
    spread: float
    noisy: bool = True

    @abstractmethod
    def at(self, level: float | Tensor) -> NoisyClassifier:
        """The same at a noise level, its weights shared."""


class EncoderLogits(NoisyClassifier):
    """Our default classifier: minus the energies of the heads of an `EncoderEnergy`, one a class."""

    def __init__(self, encoder: EncoderEnergy) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def noisy(self) -> bool:  # type: ignore[override]
        return self.encoder.noisy

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        return self.encoder.mean

    @property
    def spread(self) -> float:  # type: ignore[override]
        return self.encoder.spread

    def at(self, level: float | Tensor) -> EncoderLogits:
        return EncoderLogits(self.encoder.at(level))

    @property
    def arguments(self) -> dict[str, Any]:
        return {"encoder": self.encoder}

    def forward(self, x: Tensor) -> Tensor:
        return -self.encoder.energies(x)
