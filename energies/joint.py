"""Joint energies of x and a label: any classifier is one (JEM, Grathwohl et al. 2020).

With logits f(x): E(x, y) = -f(x)[y], so that p(y | x) = softmax f(x)[y], and E(x) = -logsumexp f(x).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import Tensor, nn

from energies.encoder import EncoderEnergy
from energies.labelled import Labelled


class JointEnergy(Labelled):
    """E(x) of x in any modality, E(x, y) once a label is bound.

    Args:
        classifier: any module that maps x [B, *event] to logits [B, num_classes]. Where it is `noisy` and has a method
            `at`, this energy is a family over noise levels, too.
        num_classes: of the logits.
        event_shape: of one x, where it is fixed.
    """

    def __init__(self, classifier: nn.Module, num_classes: int, event_shape: Sequence[int] | None = None) -> None:
        super().__init__(num_classes)
        self.classifier = classifier
        if event_shape is not None:
            self.event_shape = tuple(event_shape)

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
        """Whether it is a family over noise levels, to be bound with `at`."""
        return bool(getattr(self.classifier, "noisy", False))

    def at(self, noise: float | Tensor) -> JointEnergy:
        """The same at noise level sigma, where the classifier knows levels."""
        return self._with(noise=noise, _modules={**self._modules, "classifier": self.classifier.at(noise)})  # type: ignore[operator]

    @property
    def scale(self) -> Tensor:
        """The unit of the noise levels."""
        return self.classifier.scale  # type: ignore[return-value]

    @property
    def mean(self) -> Tensor:
        """Of the data, where the classifier knows it."""
        return self.classifier.mean  # type: ignore[return-value]

    @property
    def spread(self) -> float:
        """Of the data about it."""
        return self.classifier.spread  # type: ignore[return-value]

    def _save_pretrained(self, save_directory: Path) -> None:
        """Weights; settings too where the classifier is `EncoderLogits`, else the classifier must be given to load."""
        super()._save_pretrained(save_directory)
        settings = self.classifier.settings if isinstance(self.classifier, EncoderLogits) else None
        event = list(self.event_shape) if hasattr(self, "event_shape") else None
        content = {"num_classes": self.num_classes, "event_shape": event, "classifier": settings}
        (save_directory / "joint.json").write_text(json.dumps(content))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, classifier: nn.Module | None = None, **settings: Any) -> JointEnergy:
        """ValueError: the classifier is one's own, and not given: `from_pretrained(folder, classifier=f)`."""
        folder = Path(model_id)
        content = json.loads((folder / "joint.json").read_text())
        if classifier is None and content["classifier"] is None:
            raise ValueError(f"{folder}: was made of your own classifier; give one: from_pretrained(..., classifier=f)")
        made = EncoderLogits(EncoderEnergy(**content["classifier"])) if classifier is None else classifier
        energy = cls(made, content["num_classes"], content["event_shape"])
        load_model(energy, str(folder / "model.safetensors"))
        bound = json.loads((folder / "bound.json").read_text())
        energy.classes = tuple(bound.get("classes", ()))
        energy = energy if bound["label"] is None else energy._with(label=torch.tensor(bound["label"]))
        return energy if bound["noise"] is None else energy.at(bound["noise"])


class EncoderLogits(nn.Module):
    """Our default classifier: minus the energies of the heads of an `EncoderEnergy`, one a class."""

    def __init__(self, encoder: EncoderEnergy) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        return -self.encoder.energies(x)

    def at(self, noise: float | Tensor) -> EncoderLogits:
        return EncoderLogits(self.encoder.at(noise))

    @property
    def noisy(self) -> bool:
        return self.encoder.noisy

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.encoder._hub_mixin_config)  # type: ignore[arg-type]

    @property
    def scale(self) -> Tensor:
        return self.encoder.scale

    @property
    def mean(self) -> Tensor:
        return self.encoder.mean

    @property
    def spread(self) -> float:
        return self.encoder.spread
