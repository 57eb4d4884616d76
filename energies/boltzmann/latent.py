"""Energies of x whose law is that of x alone among x and hidden units, and how these are drawn together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from energies.boltzmann.layers import Clamp, Units
from energies.conditioned import Conditioned
from energies.energy import Energy
from energies.family import Family
from energies.noisy import Noisy
from energies.observation import Hidden, Measurement, Observation
from energies.samplers.state import Rng

L = TypeVar("L", bound="Latent")
Visible = Literal["binary", "gaussian"]

EDGE = 0.02  # chances of a unit in the data are taken for no nearer to 0 and 1 than that


class Latent(Family):
    """Base of machines with hidden units: E(x) = -log of the sum of exp(-E(x, h)) over h, or a bound of it.

    Elements of x are -1 or 1 where units are binary: values between are levels of grey, which are rounded where a chain
    starts or a measurement is given. A subclass says how a chain of x and h begins and moves.

    Args:
        shape: of one x.
        visible: binary; or gaussian, of variance 1 given the hidden units once x is standardised (`centre`).
        num_classes: of labels; 0: it knows none.
    """

    def __init__(self, shape: int | Sequence[int], visible: Visible, num_classes: int) -> None:
        super().__init__(num_classes)
        if visible not in ("binary", "gaussian"):
            raise ValueError(f"visible must be binary or gaussian, got {visible}")
        self.event_shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.visible: Visible = visible
        binary = visible == "binary"
        # x = middle + unit (2 v - 1) of binary units v, x = middle + unit v of Gaussian ones.
        self.middle: Tensor
        self.unit: Tensor
        self.register_buffer("middle", torch.zeros(self.event_shape if not binary else ()))
        self.register_buffer("unit", torch.ones(self.event_shape if not binary else ()))

    @property
    def num_visible(self) -> int:
        """V, the elements of x."""
        return int(torch.Size(self.event_shape).numel())

    @property
    def binary_values(self) -> tuple[float, float]:
        return (-1.0, 1.0) if self.visible == "binary" else super().binary_values

    @property
    def log_volume(self) -> float:
        """Logarithm of the volume of x that a unit volume of v stands for; 0 where x has two values."""
        return 0.0 if self.visible == "binary" else float(self.unit.double().log().sum())

    def units_of(self, x: Tensor) -> Tensor:
        """Visible units v [B, V] of x [B, *event]; the map is linear."""
        if self.visible == "binary":
            return (x.flatten(1) + 1) / 2
        return ((x - self.middle) / self.unit).flatten(1)

    def x_of(self, v: Tensor) -> Tensor:
        """x [B, *event] of visible units."""
        if self.visible == "binary":
            return (2 * v - 1).view(-1, *self.event_shape)
        return self.middle + self.unit * v.view(-1, *self.event_shape)

    def observed(self, x: Tensor) -> Tensor:
        """Visible units of x [B, *event], rounded where it has two values: [B, V]."""
        return (x.flatten(1) > 0).to(x.dtype) if self.visible == "binary" else self.units_of(x)

    def rounded(self, x: Tensor) -> Tensor:
        """x [B, *event] with elements of its two values, where it has two; levels of grey are cut in the middle."""
        return 2 * (x > 0).to(x.dtype) - 1 if self.visible == "binary" else x

    @torch.no_grad()
    def centre(self, x: Tensor) -> None:
        """Take mean and spread of x [n, *event], by which Gaussian units are standardised; of binary ones, chances."""
        if self.visible == "gaussian":
            self.middle.copy_(x.mean(0))
            self.unit.copy_(x.std(0).clamp(min=EDGE))
        else:
            self.take_chances(self.observed(x).mean(0).clamp(EDGE, 1 - EDGE))

    @abstractmethod
    def take_chances(self, chance: Tensor) -> None:
        """Begin with visible units of these chances [V]."""

    def fresh(self: L) -> L:
        """The same machine before it has learned."""
        other = type(self)(**self.arguments).to(self.unit)
        other.middle.copy_(self.middle)
        other.unit.copy_(self.unit)
        return other

    def known_label(self) -> Tensor | None:
        """The bound labels, one-hot [B or 1, K], where all are known; None: some are not, or it knows no labels."""
        if not self.num_classes or self.label is None:
            return None
        codes = self.codes(self.unit)
        return None if bool((codes >= self.num_classes).any()) else F.one_hot(codes, self.num_classes).to(self.unit)

    def posterior(self, observation: Observation, y: Measurement) -> Conditioned:
        """The energy of x given y. What is seen exactly of binary elements is rounded to their two values."""
        if isinstance(observation, Hidden) and isinstance(y, Tensor):
            y = self.rounded(y.to(self.unit.dtype))
        return super().posterior(observation, y)

    def clamp_of(self, observation: Observation, y: Measurement) -> Clamp:
        """What a measurement says of the visible units. TypeError: it is not of single elements."""
        mask = observation.noiseless
        if not isinstance(mask, Hidden) or not isinstance(y, Tensor):
            raise TypeError(
                f"{type(self).__name__} is sampled given single elements, hidden, seen or noisy, and not given "
                f"{type(mask).__name__}: take another energy"
            )
        like = y.to(self.unit)
        like = like if like.ndim > len(self.event_shape) else like[None]
        like = like.expand(len(like), *self.event_shape)
        hidden = mask.mask.to(like.device)
        hidden = hidden if hidden.ndim > len(self.event_shape) else hidden[None]
        hidden = hidden.expand(len(hidden), *self.event_shape).flatten(1)
        seen = self.units_of(like)
        if not isinstance(observation, Noisy):
            return Clamp(hidden=hidden, seen=seen)
        step = 2.0 if self.visible == "binary" else self.unit.expand(self.event_shape).flatten()
        precision = torch.where(hidden, 0.0, (step / observation.noise) ** 2)
        return Clamp(precision=precision.to(seen), measured=seen)

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """What the hidden units expect of x [B, *event], for a classifier: [B, F]."""

    @abstractmethod
    def begin(self, x: Tensor, rng: Rng, clamp: Clamp | None) -> Units:
        """The state of chains that start at x [B, *event]."""

    @abstractmethod
    def move(self, state: Units, rng: Rng, clamp: Clamp | None, beta: float = 1.0) -> Units:
        """The state after all units were drawn once; it leaves the law of x and h, given the clamp, invariant.

        beta: inverse temperature of that law, 0 to 1; machines whose samples are exact need none and take no notice.
        """

    def seen_in(self, state: Units) -> Tensor:
        """x [B, *event] of a state."""
        return self.x_of(state.layers[0])


def unwrapped(energy: Energy) -> tuple[Latent, Clamp | None]:
    """The machine that an energy is, and what is known of its visible units and label.

    TypeError: it is no such machine, alone or given a measurement.
    """
    clamp: Clamp | None = None
    machine = energy.energy if isinstance(energy, Conditioned) else energy
    if not isinstance(machine, Latent):
        raise TypeError(f"{type(machine).__name__} has no hidden units: block Gibbs sampling is for Boltzmann machines")
    if isinstance(energy, Conditioned):
        clamp = machine.clamp_of(energy.observation, energy.y)
    label = machine.known_label()
    return machine, clamp if label is None else (clamp or Clamp())._replace(label=label)
