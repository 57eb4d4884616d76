"""An energy is a function x -> E(x), with p(x) proportional to exp(-E(x)): lower is likelier.

Energies add (a product of experts) and scale (a temperature): energies/composition.py. `gradient` is the one place that
differentiates them. `tangent` and `project` are the identity unless an observation constrains x
(energies/observation.py), `reflect` unless x is bounded (energies/bounded.py).
"""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

if TYPE_CHECKING:
    from energies.composition import WeightedSum

CARD = """---
{{ card_data }}
---

An energy E(x), saved by energy-pipelines: `energies.load(folder)` reads it.
"""


class Energy(nn.Module, PyTorchModelHubMixin, model_card_template=CARD, library_name="energy-pipelines"):
    """Base of all energies; a subclass defines `forward(x: [B, *event]) -> [B]`.

    `save_pretrained(folder)` and `from_pretrained(folder)` write and read weights (safetensors) and settings (JSON);
    `energies.load(folder)` reads any of them without being told its class.
    """

    exact: Energy | None = None
    """Where the energy is computed in a short number format, the same in float32 (`energies.compute`)."""

    @property
    def constrained(self) -> bool:
        """Whether `project` and `tangent` hold x to an exact measurement."""
        return False

    @property
    def bounded(self) -> bool:
        """Whether `reflect` keeps x within bounds."""
        return False

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        """The part of a direction v [B, *event] along which x may move; with a scale s: by s v, x may move."""
        return v

    def project(self, x: Tensor) -> Tensor:
        """The nearest x [B, *event] that the measurement allows."""
        return x

    def reflect(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x [B, *event] reflected at its bounds, and the sign, 1 or -1, that this gives each element of a velocity.

        None in place of the sign: there are no bounds.
        """
        return x, None

    # Energies of elements with two values define these as well.

    @property
    def binary_values(self) -> tuple[float, float]:
        """The two values an element may have, the lower one first."""
        raise TypeError(f"{type(self).__name__} is not an energy of elements with two values")

    @property
    def gibbs_blocks(self) -> list[Tensor]:
        """Masks, bool [*event], that part the elements into blocks, independent within a block given the others."""
        raise TypeError(f"{type(self).__name__} has no blocks to draw at once; only discrete energies have")

    def log_odds(self, x: Tensor, block: Tensor) -> Tensor:
        """Logarithm of the odds [B, *event] of the upper value for the elements of a block, given all others in x."""
        raise TypeError(f"{type(self).__name__} has no conditional odds; only discrete energies have")

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        (save_directory / "energy.json").write_text(json.dumps({"energy": type(self).__name__}))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **settings: Any) -> Energy:
        with redirect_stdout(StringIO()):  # the library would announce it on the standard output
            return super()._from_pretrained(model_id=model_id, **settings)

    def __add__(self, other: Energy) -> WeightedSum:
        return _weighted([(1.0, self), (1.0, other)])

    def __sub__(self, other: Energy) -> WeightedSum:
        return _weighted([(1.0, self), (-1.0, other)])

    def __mul__(self, weight: float) -> WeightedSum:
        return _weighted([(weight, self)])

    __rmul__ = __mul__


def _weighted(terms: list[tuple[float, Energy]]) -> WeightedSum:
    from energies.composition import weighted  # which is made of this

    return weighted(terms)


def check_part(energy: Energy) -> None:
    """TypeError for an energy that was prepared in a short number format: what holds it would lose `exact`."""
    if energy.exact is not None:
        raise TypeError("compose and condition energies first and prepare the whole: `prepared` comes last")


def gradient(energy: Energy, x: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """Energies and their gradient in x along the allowed directions.

    Args:
        energy: anything over x.
        x: [B, *event].
        create_graph: keep the graph, for a loss on the gradient itself (score matching); else both are detached and
            no gradient of the parameters is ever computed.

    Returns:
        (E [B], dE/dx [B, *event]).
    """
    with torch.enable_grad():
        leaf = x if create_graph and x.requires_grad else x.detach().requires_grad_()
        energies = energy(leaf)
        (slope,) = torch.autograd.grad(energies.sum(), leaf, create_graph=create_graph)
    if not create_graph:
        energies = energies.detach()
    return energies, energy.tangent(slope)
