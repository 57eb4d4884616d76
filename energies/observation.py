"""What is known about x: a linear operator A and a measurement y = A x, and an energy conditioned on them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from energies.linear import blur_response, inverse, reciprocal, to_cosines
from energies.samplers.state import Rng

Measurement = Any
"""A tensor [B, ...], or, of measurements that are stacked, a tuple of them."""


class Observation(ABC):
    """A linear operator A on x [B, *event], and what its measurements y = A x, exact or noisy, say about x.

    A subclass defines `observe` and `adjoint`; what follows from them is here. Give closed forms where there are any.
    All follows the device and dtype of x, and sample k of a batch does not depend on the others. A `scale` s >= 0
    broadcasts with x; S = diag(s). Elements of scale 0 stay as they are.
    """

    @abstractmethod
    def observe(self, x: Tensor) -> Measurement:
        """A x, of x [B, *event]."""

    @abstractmethod
    def adjoint(self, y: Measurement) -> Tensor:
        """A^T y [B, *event]."""

    @property
    def exact(self) -> bool:
        """Whether all of the measurement is without noise."""
        return True

    @property
    def holds(self) -> bool:
        """Whether `project` and `tangent` hold x to some of the measurement: to what is exact of it."""
        return self.exact

    @property
    def noiseless(self) -> Observation:
        """The operator A alone, without the noise on its measurements."""
        return self

    def solve(self, r: Measurement, ridge: float = 0.0, scale: Tensor | None = None) -> Measurement:
        """(ridge + A S^2 A^T)^-1 r, of the shape of r; with ridge 0 the pseudo-inverse, least squares of least norm.

        By at most 50 steps of `energies.linear.conjugate_residuals`; differentiable in r.
        """

        def covariance(z: Tensor) -> Tensor:
            return ridge * z + self.observe(times(self.adjoint(z), scale, 2))

        return inverse(covariance, r, lambda z: self.precondition(z, ridge, scale))

    def precondition(self, r: Measurement, ridge: float, scale: Tensor | None) -> Measurement:
        """What is near to `solve`, symmetric and cheap: conjugate residuals are as fast as it is near."""
        return r

    def residual(self, x: Tensor, y: Measurement) -> Measurement:
        """y - A x, 0 where y is no measurement."""
        return _both(lambda own, seen: own - seen, y, self.observe(x))

    def noisily(self, q: Measurement) -> Measurement:
        """The covariance of the measurement's noise times q; 0 where it is exact."""
        return _both(lambda part, _: torch.zeros_like(part), q, q)

    def project(self, x: Tensor, y: Measurement, scale: Tensor | None = None) -> Tensor:
        """The point of {x: A x = y} nearest to x in units of the scale: x + S^2 A^T solve(y - A x).

        x itself where nothing is held.
        """
        if not self.holds:
            return x
        return x + times(self.adjoint(self.solve(self.residual(x, y), 0.0, scale)), scale, 2)

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        """The part of v in the null space of A S: v - S A^T solve(A S v). v itself where nothing is held."""
        if not self.holds:
            return v
        return v - times(self.adjoint(self.solve(self.observe(times(v, scale)), 0.0, scale)), scale)

    def misfit(self, x: Tensor, y: Measurement, scale: Tensor | None = None) -> Tensor:
        """Minus the log-likelihood of y [B], less its constant; 0 where y is exact, since `project` holds x to it.

        Args:
            x: [B, *event].
            y: of the shape of A x; it broadcasts over the batch.
            scale: standard deviation of noise that x itself carries; None: x is clean. Then it is the annealed
                likelihood of Jalal et al. 2021 (arXiv 2108.01368), with the noise of x passed through A.
        """
        return x.new_zeros(len(x))

    def sample(self, x: Tensor, rng: Rng) -> Measurement:
        """A measurement of x [B, *event], with noise if it is noisy."""
        return self.observe(x)

    def rows(self, index: Tensor | slice, ndim: int) -> Observation:
        """The same of the samples `index` of a batch x with `ndim` axes, where A differs between samples."""
        return self

    def to(self, device: torch.device | str) -> Observation:
        """The same with its tensors on a device."""
        return self


def _both(work: Callable[[Tensor, Tensor], Tensor], a: Measurement, b: Measurement) -> Measurement:
    """Part by part, where measurements are stacked."""
    if isinstance(a, tuple):
        return tuple(work(p, q) for p, q in zip(a, b, strict=True))
    return work(a, b)


def times(x: Tensor, scale: Tensor | None, power: int = 1) -> Tensor:
    """x times a power of the scale, where there is one."""
    return x if scale is None else x * scale**power


@dataclass(frozen=True, eq=False)
class Hidden(Observation):
    """Some elements are hidden and the others seen exactly: pixels, frames, regions, in any modality.

    What y holds where x is hidden is no measurement: it counts for nothing.

    Attributes:
        mask: bool, True = hidden, of a shape that broadcasts with x [B, *event].
    """

    mask: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.mask, Tensor) or self.mask.dtype != torch.bool:
            found = self.mask.dtype if isinstance(self.mask, Tensor) else type(self.mask).__name__
            raise TypeError(f"mask must be a tensor of bool, True where x is hidden; got {found}")

    def observe(self, x: Tensor) -> Tensor:
        """x with zeros where it is hidden."""
        return torch.where(self.mask.to(x.device), 0.0, x)

    def adjoint(self, y: Tensor) -> Tensor:
        """y with zeros where x is hidden."""
        return self.observe(y)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        return self.observe(y - x)

    def solve(self, r: Tensor, ridge: float = 0.0, scale: Tensor | None = None) -> Tensor:
        """r / (ridge + s^2) where x is seen, 0 where it is hidden."""
        power = torch.ones_like(r) if scale is None else scale.square()
        return self.observe(r * reciprocal(ridge + power))

    def precondition(self, r: Tensor, ridge: float, scale: Tensor | None) -> Tensor:
        return self.solve(r, ridge, scale)

    def project(self, x: Tensor, y: Tensor, scale: Tensor | None = None) -> Tensor:
        """y where seen, x where hidden: exact to the last bit, whatever the scale."""
        return torch.where(self.mask.to(x.device), x, y)

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        """v with zeros where x is seen, whatever the scale."""
        return torch.where(self.mask.to(v.device), v, 0.0)

    def rows(self, index: Tensor | slice, ndim: int) -> Hidden:
        """Those of the mask, if each sample has its own."""
        return Hidden(self.mask[index]) if self.mask.ndim == ndim and len(self.mask) > 1 else self

    def to(self, device: torch.device | str) -> Hidden:
        return Hidden(self.mask.to(device))


@dataclass(frozen=True)
class Average(Observation):
    """Only the means of blocks are seen: a measurement at a lower resolution, to be refined (super-resolution).

    Attributes:
        factor: side of the blocks along each of the last axes of x [B, C, ...]; it must divide them.
    """

    factor: tuple[int, ...]

    def observe(self, x: Tensor) -> Tensor:
        """The means [B, C, ... / factor]. ValueError: the blocks do not divide x."""
        for axis, size in zip(range(-len(self.factor), 0), self.factor, strict=True):
            if x.shape[axis] % size:
                raise ValueError(f"blocks of {self.factor} do not divide x of shape {list(x.shape)}")
            x = x.unflatten(axis, (-1, size)).mean(axis)
        return x

    def repeat(self, y: Tensor) -> Tensor:
        """Every mean repeated over its block."""
        for axis, size in zip(range(-len(self.factor), 0), self.factor, strict=True):
            y = y.repeat_interleave(size, axis)
        return y

    def adjoint(self, y: Tensor) -> Tensor:
        """Every mean shared out over its block."""
        return self.repeat(y) / math.prod(self.factor)

    def solve(self, r: Tensor, ridge: float = 0.0, scale: Tensor | None = None) -> Tensor:
        """r / (ridge + the mean of s^2 over the block / its size)."""
        power = self.observe(times(torch.ones_like(self.repeat(r)), scale, 2))
        return r * reciprocal(ridge + power / math.prod(self.factor))

    def precondition(self, r: Tensor, ridge: float, scale: Tensor | None) -> Tensor:
        return self.solve(r, ridge, scale)

    def project(self, x: Tensor, y: Tensor, scale: Tensor | None = None) -> Tensor:
        """x moved so that its block means are y, to rounding; with a scale, most where s is large."""
        change = y - self.observe(x)
        if scale is None:
            return x + self.repeat(change)
        power = scale.square().expand_as(x)
        return x + power * self.repeat(change * reciprocal(self.observe(power)))

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        """v without its block means; with a scale, such that scale * v has none."""
        if scale is None:
            return v - self.repeat(self.observe(v))
        s = scale.expand_as(v)
        return v - s * self.repeat(self.observe(s * v) * reciprocal(self.observe(s * s)))


@dataclass(frozen=True)
class Grey(Observation):
    """Only a weighted sum of the channels is seen: a colour picture in grey, to be coloured.

    Attributes:
        weights: of the channels of x [B, C, ...], adding up to 1; those of ITU-R BT.601 by default.
    """

    weights: tuple[float, ...] = (0.299, 0.587, 0.114)

    def observe(self, x: Tensor) -> Tensor:
        """The sums [B, 1, ...]. ValueError: x has another number of channels."""
        self._check(x, "x")
        return (x * self._weights(x)).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        """y times the weights [B, C, ...]. ValueError: y has more channels than one."""
        if y.shape[1] != 1:
            raise ValueError(f"y has {y.shape[1]} channels; the sum over the channels has 1")
        return y * self._weights(y)

    def solve(self, r: Tensor, ridge: float = 0.0, scale: Tensor | None = None) -> Tensor:
        """r / (ridge + the sum over the channels of weight^2 s^2)."""
        along = times(self.adjoint(torch.ones_like(r)), scale)
        return r * reciprocal(ridge + along.square().sum(1, keepdim=True))

    def precondition(self, r: Tensor, ridge: float, scale: Tensor | None) -> Tensor:
        return self.solve(r, ridge, scale)

    def project(self, x: Tensor, y: Tensor, scale: Tensor | None = None) -> Tensor:
        """x moved along the weights, times s^2 with a scale, so that its sums are y, to rounding."""
        change = y - self.observe(x)
        if scale is None:
            return x + self.adjoint(change) / sum(w * w for w in self.weights)
        return x + self.adjoint(self.solve(change, 0.0, scale)) * scale.square()

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        """v without its part along the weights; with a scale, such that the sums of scale * v are 0."""
        self._check(v, "v")
        along = self._weights(v) if scale is None else self._weights(v) * scale.expand_as(v)
        return v - along * (along * v).sum(1, keepdim=True) * reciprocal(along.square().sum(1, keepdim=True))

    def _check(self, x: Tensor, name: str) -> None:
        if x.shape[1] != len(self.weights):
            raise ValueError(f"{name} has {x.shape[1]} channels, the weights are {len(self.weights)}")

    def _weights(self, x: Tensor) -> Tensor:
        return torch.tensor(self.weights, dtype=x.dtype, device=x.device).view(1, -1, *[1] * (x.ndim - 2))


@dataclass(frozen=True)
class Blur(Observation):
    """A Gaussian blur, reflected at the borders: diffusion of heat that nothing leaves.

    It is symmetric, and diagonal in the cosines of DCT-II (Rissanen et al. 2022, arXiv 2206.13397): the cosine of
    frequency f, in radians a pixel, is weakened by exp(-width^2 |f|^2 / 2). Cosines that fewer than `least` of would
    be left of are lost: no measurement could tell them from rounding, and a projection would blow them up.

    Attributes:
        width: standard deviation of the Gaussian, pixels.
        axes: how many of the last axes of x [B, *event] are blurred.
        least: weakest response that is seen, a share of the strongest, which is 1.

    Raises:
        ValueError: the width is not positive, there are no axes, or `least` is not between 0 and 1.
    """

    width: float
    axes: int = 2
    least: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.width < math.inf:
            raise ValueError(f"width of a blur must be positive, in pixels; got {self.width}")
        if self.axes < 1:
            raise ValueError(f"axes of a blur must be 1 or more; got {self.axes}")
        if not 0 < self.least < 1:
            raise ValueError(f"least of a blur must be between 0 and 1; got {self.least}")

    def observe(self, x: Tensor) -> Tensor:
        """x blurred, of the same shape. ValueError: x has too few axes."""
        return self._filter(x, self._response(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """The same as `observe`: a blur is symmetric."""
        return self.observe(y)

    def solve(self, r: Tensor, ridge: float = 0.0, scale: Tensor | None = None) -> Tensor:
        """By the cosines where the scale is the same all over the blurred axes; else by conjugate residuals."""
        if scale is None or self._flat(scale):
            return self.precondition(r, ridge, scale)
        return super().solve(r, ridge, scale)

    def precondition(self, r: Tensor, ridge: float, scale: Tensor | None) -> Tensor:
        """By the cosines, with the mean of s^2 over the blurred axes in place of s^2."""
        power = self._response(r).square()
        if scale is not None:
            power = power * scale.square().mean(tuple(range(-min(self.axes, scale.ndim), 0)), keepdim=True)
        return self._filter(r, reciprocal(ridge + power))

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        """What is lost of v: its cosines that the blur leaves less than `least` of."""
        if scale is None or self._flat(scale):
            return self._filter(v, (self._response(v) == 0).to(v))
        return super().tangent(v, scale)

    def _flat(self, scale: Tensor) -> bool:
        return all(size == 1 for size in scale.shape[-self.axes :])

    def _response(self, x: Tensor) -> Tensor:
        if x.ndim <= self.axes:
            raise ValueError(f"a blur along {self.axes} axes needs x [B, ...] with as many; got {list(x.shape)}")
        return blur_response(tuple(x.shape[-self.axes :]), self.width, self.least, x)

    def _filter(self, x: Tensor, factor: Tensor) -> Tensor:
        return to_cosines(to_cosines(x, self.axes) * factor, self.axes, back=True)
