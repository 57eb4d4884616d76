"""The contract of energies that know labels or noise levels: bind both, and what is left is an energy of x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from energies.energy import Energy, gradient

if TYPE_CHECKING:
    from energies.algebra import WeightedSum

F = TypeVar("F", bound="Family")


class Family(Energy):
    """Base of energies E(x; label, level), of which either may be missing.

    At level tau the energy is that of x + tau s z, z standard normal and s the `scale`. A family that is `noisy` must
    be bound with `at` before it is an energy of x. A subclass reads `codes` and `sigma` in its forward; where it is
    noisy it gives `mean` and `spread` here, or overrides them.

    Args:
        num_classes: of labels; 0: it knows none.
        noisy: whether it is a family over noise levels.
        mean: of the data [*event], a buffer; None: it is not known.
        spread: root mean square of the data about the mean; None: it is not known.
        scale: s, a buffer that broadcasts with x; None: the unit of x.

    Attributes:
        classes: names of the labels, where they are known.
        label: that is bound, one or one a sample [B]; None: any.
        level: that is bound, one or one a sample [B]; None: none is.
    """

    def __init__(
        self,
        num_classes: int = 0,
        *,
        noisy: bool = False,
        mean: Tensor | None = None,
        spread: float | None = None,
        scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        self._noisy, self._spread = noisy, spread
        self._mean: Tensor | None
        self._scale: Tensor | None
        self.register_buffer("_mean", mean)
        self.register_buffer("_scale", scale)
        self.num_classes = num_classes
        self.classes: tuple[str, ...] = ()
        self.label: Tensor | None = None
        self.level: float | Tensor | None = None

    @property
    def noisy(self) -> bool:
        """Whether it is a family over noise levels."""
        return self._noisy

    @property
    def per_sample(self) -> bool:
        return any(isinstance(bound, Tensor) and bound.numel() > 1 for bound in (self.label, self.level))

    @property
    def mean(self) -> Tensor:
        """Mean of the data [*event], where noise is centred. RuntimeError: it is not known."""
        if self._mean is None:
            raise RuntimeError(f"{type(self).__name__} does not know the mean of its data")
        return self._mean

    @property
    def spread(self) -> float:
        """Root mean square of the data about the mean. RuntimeError: it is not known."""
        if self._spread is None:
            raise RuntimeError(f"{type(self).__name__} does not know the spread of its data")
        return self._spread

    @property
    def scale(self) -> Tensor | None:
        """s, the unit of the noise levels, broadcasting with x; None: the unit of x."""
        return self._scale

    @property
    def width(self) -> float:
        """Spread of the data in units of the levels, 1 where these are of the data's own size."""
        return self.spread if self.scale is None else 1.0

    @property
    def origin(self) -> Tensor | float:
        return self.mean if self.noisy else 0.0

    def centre(self, x: Tensor) -> None:
        """Take mean and spread from data x [n, *event]. RuntimeError: it holds none of its own."""
        if self._mean is None:
            raise RuntimeError(f"{type(self).__name__} holds no mean of data to take")
        self._mean.copy_(x.mean(0))
        self._spread = max(float((x - self._mean).square().mean().sqrt()), 0.01)

    def at(self: F, level: float | Tensor) -> F:
        """The same energy at noise level tau > 0 (one, or one a sample [B]). RuntimeError: it is one of clean x."""
        if not self.noisy:
            raise RuntimeError("this energy is of clean x and knows no noise levels")
        check_level(level)
        return self.bind(level=level)

    def given(self: F, label: int | str | Tensor | None) -> F:
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
            if label.dtype == torch.bool or label.is_floating_point():
                raise ValueError(f"label must be a name or whole numbers, got {label.dtype}")
            if (label >= self.num_classes).any():
                raise ValueError(f"label must be below {self.num_classes}, got {int(label.max())}")
            label = torch.where(label < 0, self.num_classes, label)
        return self.bind(label=label)

    def guided(self: F, label: Tensor, weight: float) -> WeightedSum | F:
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
        if self.level is None:
            raise RuntimeError("this energy needs a noise level: energy.at(sigma)")
        return torch.as_tensor(self.level, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))

    def denoise(self, x: Tensor, *, slope: Tensor | None = None, create_graph: bool = False) -> Tensor:
        """Expected clean x given x [B, *event] with noise of the bound level: x - (tau s)^2 dE/dx (Tweedie's formula).

        slope: dE/dx, where it is known already.
        """
        if slope is None:
            _, slope = gradient(self, x, create_graph=create_graph)
        deviation = self.sigma(x) if self.scale is None else self.sigma(x) * self.scale
        return x - deviation**2 * slope

    def start(self, noise: Tensor, level: float) -> Tensor:
        """x [B, *event] at a noise level so high that nothing else matters, of standard normal noise [B, *event]."""
        return self.noised(self.mean, noise, level)

    def noised(self, x: Tensor, noise: Tensor, level: float) -> Tensor:
        """Clean x [B, *event] with standard normal noise [B, *event] of a level."""
        return x + level * (noise if self.scale is None else self.scale * noise)

    def state(self) -> dict[str, Any]:
        """Label and level where one is bound for all samples, and the names of the classes."""
        return {
            "label": None if self.label is None or self.label.ndim else int(self.label),
            "level": None if self.level is None or torch.as_tensor(self.level).ndim else float(self.level),
            "classes": list(self.classes),
        }

    def restore(self: F, state: dict[str, Any]) -> F:
        label, level, classes = state["label"], state["level"], tuple(state["classes"])
        if label is not None and not (isinstance(label, int) and 0 <= label <= self.num_classes):
            raise ValueError(f"label must be 0 to {self.num_classes}, got {label}")
        if len(classes) not in (0, self.num_classes):
            raise ValueError(f"{len(classes)} names of {self.num_classes} classes")
        if level is not None:
            check_level(level)
        self.label = None if label is None else torch.tensor(label)
        self.level, self.classes = level, classes
        return self


def check_level(level: float | Tensor) -> None:
    """ValueError unless noise levels are positive and finite."""
    if not isinstance(level, int | float | Tensor) or not bool(((levels := torch.as_tensor(level)) > 0).all()):
        raise ValueError(f"a noise level must be positive, got {level}")
    if not bool(levels.isfinite().all()):
        raise ValueError(f"a noise level must be finite, got {level}")


def is_noisy(energy: Energy) -> bool:
    """Whether an energy wants a noise level before it is of x."""
    return isinstance(energy, Family) and energy.noisy
