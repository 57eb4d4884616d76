"""Energies of x and a label: bind the label, and what is left is an energy of x."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from energies.composition import WeightedSum
from energies.energy import Energy, gradient

L = TypeVar("L", bound="Labelled")


class Labelled(Energy):
    """Base of energies that know classes; a subclass reads `codes` in its forward.

    Args:
        num_classes: of labels; 0: none.

    Attributes:
        classes: names of the labels, where they are known.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.classes: tuple[str, ...] = ()
        self.label: Tensor | None = None
        self.noise: float | Tensor | None = None

    def given(self: L, label: int | str | Tensor | None) -> L:
        """The same energy of x with that label (one, by name where they have names, or one a sample [B]).

        Negative or None: of any label.

        ValueError: there is no such label.
        """
        if isinstance(label, str):
            if label not in self.classes:
                raise ValueError(f"label must be one of {', '.join(self.classes) or 'none (unnamed)'}, got {label}")
            label = self.classes.index(label)
        if label is not None:
            label = torch.as_tensor(label)
            if (label >= self.num_classes).any():
                raise ValueError(f"label must be below {self.num_classes}, got {int(label.max())}")
            label = torch.where(label < 0, self.num_classes, label)
        return self._with(label=label)

    def guided(self: L, label: Tensor, weight: float) -> WeightedSum | L:
        """E(x) + weight * (E(x, label) - E(x)): 1 is the energy given the label.

        More insists on it: samples are sharper, and no longer of the law of the data (Ho & Salimans 2022).
        """
        if weight == 1:
            return self.given(label)
        return (1 - weight) * self.given(None) + weight * self.given(label)

    def codes(self, x: Tensor) -> Tensor:
        """The bound labels, [B] or [1], on the device of x; `num_classes` stands for any."""
        return torch.as_tensor(self.num_classes if self.label is None else self.label, device=x.device).reshape(-1)

    def sigma(self, x: Tensor) -> Tensor:
        """The bound noise level, to broadcast with x [B, *event]. RuntimeError: none is bound."""
        if self.noise is None:
            raise RuntimeError("this energy needs a noise level: energy.at(sigma)")
        return torch.as_tensor(self.noise, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))

    def denoise(self, x: Tensor, *, create_graph: bool = False) -> Tensor:
        """Expected clean x given x [B, *event] with noise of the level (Tweedie's formula)."""
        _, slope = gradient(self, x, create_graph=create_graph)
        return x - self.sigma(x) ** 2 * slope

    def _with(self: L, **changes: object) -> L:
        """A copy that shares the weights."""
        bound = copy.copy(self)
        bound.__dict__.update(changes)
        return bound

    def _save_pretrained(self, save_directory: Path) -> None:
        """Weights and settings, and label and noise level where one is bound for all samples."""
        super()._save_pretrained(save_directory)
        bound = {
            "label": None if self.label is None or self.label.ndim else int(self.label),
            "noise": None if self.noise is None or torch.as_tensor(self.noise).ndim else float(self.noise),
            "classes": list(self.classes),
        }
        (save_directory / "bound.json").write_text(json.dumps(bound))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **settings: Any) -> Energy:
        energy = super()._from_pretrained(model_id=model_id, **settings)
        assert isinstance(energy, Labelled)
        bound = json.loads(Path(model_id, "bound.json").read_text())
        energy.label = None if bound["label"] is None else torch.tensor(bound["label"])
        energy.noise = bound["noise"]
        energy.classes = tuple(bound.get("classes", ()))
        return energy
