"""Joint energies of x and a label: any classifier is one (JEM, Grathwohl et al. 2020).

With logits f(x): E(x, y) = -f(x)[y], so that p(y | x) = softmax f(x)[y], and E(x) = -logsumexp f(x).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from energies.encoder import EncoderEnergy
from energies.family import Family
from energies.saving import Stored


class JointEnergy(Family):
    """E(x) of x in any modality, E(x, y) once a label is bound.

    Args:
        classifier: any module that maps x [B, *event] to logits [B, num_classes]. With `EncoderLogits` of an encoder
            over noise levels this energy is a family over them, too. A classifier of one's own is stored where it
            derives from `energies.Stored`, which remembers the arguments of its constructor.
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
        return isinstance(self.classifier, EncoderLogits) and self.classifier.encoder.noisy

    def at(self, level: float | Tensor) -> JointEnergy:
        if not self.noisy:
            return super().at(level)  # which tells
        classifier = EncoderLogits(self._encoder().at(level))
        return self.bind(level=level, _modules={**self._modules, "classifier": classifier})

    @property
    def mean(self) -> Tensor:
        return self._encoder().mean

    @property
    def spread(self) -> float:
        return self._encoder().spread

    @property
    def origin(self) -> Tensor | float:
        return self.classifier.encoder.mean if isinstance(self.classifier, EncoderLogits) else 0.0

    def _encoder(self) -> EncoderEnergy:
        if not isinstance(self.classifier, EncoderLogits):
            raise RuntimeError("a classifier of one's own does not know mean and spread of its data")
        return self.classifier.encoder


class EncoderLogits(Stored, nn.Module):
    """Our default classifier: minus the energies of the heads of an `EncoderEnergy`, one a class."""

    def __init__(self, encoder: EncoderEnergy) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def arguments(self) -> dict[str, Any]:
        return {"encoder": self.encoder}

    def forward(self, x: Tensor) -> Tensor:
        return -self.encoder.energies(x)
