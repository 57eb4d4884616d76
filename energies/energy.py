"""An energy is a function x -> E(x), with p(x) proportional to exp(-E(x)): lower is likelier.

Energies add (a product of experts) and scale (a temperature): energies/algebra.py. `posterior` conditions one on a
measurement. `gradient` is the one place that differentiates them for sampling. `tangent` and `project` are the identity
unless an observation constrains x (energies/observation.py), `reflect` unless x is bounded (energies/bounded.py).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from energies.hub import located
from energies.saving import Stored, load_module, save_module

if TYPE_CHECKING:
    from energies.algebra import WeightedSum
    from energies.conditioned import Conditioned
    from energies.observation import Measurement, Observation

E = TypeVar("E", bound="Energy")

CARD = """---
{{ card_data }}
---

An energy E(x), saved by energy-pipelines: `energies.load(folder)` reads it, and `energies.load("user/name")` from here.
"""


class Energy(Stored, nn.Module, PyTorchModelHubMixin, model_card_template=CARD, library_name="energy-pipelines"):
    """Base of all energies; a subclass defines `forward(x: [B, *event]) -> [B]`.

    `save_pretrained(folder)` writes weights (safetensors), class and constructor arguments (energy.json), and
    `push_to_hub("user/name")` the same to the Hugging Face hub; `energies.load` reads any energy from either without
    being told its class. It works for a subclass of one's own whose arguments are numbers, text, lists, tensors,
    energies or frozen dataclasses.
    """

    exact: Energy | None = None
    """Where the energy is computed in a short number format, the same in float32 (`energies.compute`)."""

    _event_shape: tuple[int, ...] | None = None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one x. RuntimeError: it may be any."""
        if self._event_shape is None:
            raise RuntimeError(f"{type(self).__name__} is an energy of x of any shape")
        return self._event_shape

    @event_shape.setter
    def event_shape(self, shape: Sequence[int]) -> None:
        self._event_shape = tuple(shape)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether x may be of that shape [*event], as far as the energy tells."""
        return self._event_shape is None or self._event_shape == tuple(shape)

    @property
    def origin(self) -> Tensor | float:
        """Where chains that start from noise are centred: the mean of the data, where it is known, else 0."""
        return 0.0

    @property
    def per_sample(self) -> bool:
        """Whether something, a label or a measurement, is bound for each sample of a batch by itself."""
        return False

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

    def posterior(self, observation: Observation, y: Measurement) -> Conditioned:
        """The energy of x given y = A x (+ noise): of clean x, or a family over noise levels where this is one."""
        from energies.conditioned import Conditioned  # which is an energy

        return Conditioned(self, observation, y)

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

    def bind(self: E, **changes: Any) -> E:
        """A copy that shares the weights, with other attributes: how a label, a noise level or a context is bound."""
        bound = copy.copy(self)
        bound.__dict__.update(changes)
        return bound

    def _save_pretrained(self, save_directory: Path) -> None:
        save_module(self, save_directory)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, revision: str | None, **_: Any) -> Energy:
        """TypeError: the folder holds an energy of another class."""
        energy = load_module(located(model_id if revision is None else f"{model_id}@{revision}"))
        if not isinstance(energy, cls):
            raise TypeError(f"{model_id}: holds a {type(energy).__name__}, wanted is a {cls.__name__}")
        return energy

    def __add__(self, other: Energy) -> WeightedSum:
        return _weighted([(1.0, self), (1.0, other)])

    def __sub__(self, other: Energy) -> WeightedSum:
        return _weighted([(1.0, self), (-1.0, other)])

    def __mul__(self, weight: float) -> WeightedSum:
        return _weighted([(weight, self)])

    __rmul__ = __mul__


def _weighted(terms: list[tuple[float, Energy]]) -> WeightedSum:
    from energies.algebra import weighted  # which is made of this

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
