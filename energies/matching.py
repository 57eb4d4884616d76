"""The mean of a posterior by an energy that was not told what is seen: moment matching down the noise levels.

At noise level sigma the clean x has, given the noisy one, the mean D(x) and the covariance C = sigma^2 dD/dx (Tweedie's
formulas). Were it Gaussian, a measurement y = A x + noise of variance nu^2 would move the mean to

    D_y(x) = D(x) + C A^T (A C A^T + nu^2)^-1 (y - A D(x))

(Rozet et al. 2024, "Learning diffusion priors from observations by expectation maximization", section 4). The inverse
is taken by a few steps of conjugate gradients, and C by differences of D: a step costs one gradient of the energy. Each
level is given D_y of the one before with part of its noise drawn anew; the mean is that of D_y over the low levels and
over some chains. Less than all noise makes chains colder than the posterior: it is an estimate of the mean, and its
chains are no samples (those of `energies.sampling.anneal` are).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from energies.compute import Compute, prepared
from energies.conditioned import Conditioned
from energies.observation import Measurement, times
from energies.samplers.state import Rng, each, normal, rms
from energies.schedule import karras

WIDTH = 0.3  # of the step that tells the covariance, in units of the noise
FLOOR = 0.1  # least variance along what is seen, as a share of that of a Gaussian with the data's spread


@dataclass(frozen=True)
class MomentMatching:
    """How the mean of a posterior is estimated."""

    levels: int = 6
    """Noise levels."""

    high: float = 3.0
    """The highest, in units of the energy's scale: of x, or of the expected error of its reference."""

    low: float = 0.12
    """The lowest."""

    corrections: int = 1
    """Steps of conjugate gradients towards what is seen at every level; each takes a gradient more."""

    noise: float = 0.5
    """Share of a level's noise that is drawn anew: less makes chains likelier and alike, 0 unstable."""

    below: float = 0.4
    """Levels from here down count in the mean."""

    chains: int = 2
    """Chains that are averaged."""

    bound: float | None = 1.5
    """Expected x lie within plus and minus that; null: anywhere."""

    def __post_init__(self) -> None:
        if self.levels < 2 or not 0 < self.low < self.high or self.corrections < 0 or self.chains < 1:
            raise ValueError(f"levels must be 2 or more, high above low above 0, chains 1 or more, got {self}")
        if not 0 < self.noise <= 1 or self.below < self.low:
            raise ValueError(f"noise must lie in (0, 1] and below must not be under low, got {self}")

    @property
    def gradients(self) -> int:
        """Of the energy, that a mean takes."""
        return self.chains * self.levels * (self.corrections + 1)

    def expected(self, posterior: Conditioned, noise: Tensor, rng: Rng, *, compute: Compute = "float32") -> Tensor:
        """An estimate of the posterior mean [B, *event] by one chain each, of standard normal noise [B, *event].

        posterior: of a family over noise levels.
        """
        falling = karras(self.high, self.low, self.levels)
        prior, scale = posterior.prior, posterior.scale
        spread = prior.width
        x = posterior.start(torch.zeros_like(noise), falling[0])
        total, weight = torch.zeros_like(x), 0
        for level, following in zip(falling, [*falling[1:], 0.0], strict=True):
            share = self.noise if level < falling[0] else 1.0
            x = x + share * level * times(posterior.at(level).tangent(noise, scale), scale)
            denoise = prepared(prior.at(level), compute).denoise
            clean = matched(denoise, posterior, x, level, spread, self.corrections, self.bound)
            if level <= self.below or not following:
                total, weight = total + clean, weight + 1
            x, noise = clean, normal(noise, rng)
        return total / weight


def matched(
    denoise: Callable[[Tensor], Tensor], posterior: Conditioned, x: Tensor, level: float, spread: float, steps: int,
    bound: float | None = None,
) -> Tensor:  # fmt: skip
    """D_y(x) [B, *event]: the expected clean x given x with noise of a level, moved to what is seen.

    Args:
        denoise: D at this level.
        posterior: has the measurement.
        level: sigma.
        spread: root mean square of the data about their mean, in units of the energy's scale.
        steps: of conjugate gradients.
        bound: of the expected values, before what is exact of y is put back.
    """
    observation, y, scale = posterior.observation, posterior.y, posterior.scale
    clean = denoise(x)
    residual = observation.residual(clean, y)
    change, direction, power = torch.zeros_like(x), residual, _dot(residual, residual)
    for _ in range(steps):
        back = observation.adjoint(direction)
        unit = level**2 * times(back, scale)  # in units of the scale
        along = times(unit, scale)
        size = WIDTH * level / rms(unit).clamp(min=1e-12)
        moved = (denoise(x + each(size, x) * along) - clean) / each(size, x)  # C A^T q
        curvature = _dot(direction, observation.observe(moved))
        least = FLOOR * spread**2 / (spread**2 + level**2) * (back * along).flatten(1).sum(1)
        own = observation.noisily(direction)
        length = power / (torch.maximum(curvature, least) + _dot(direction, own)).clamp(min=1e-12)
        change = change + each(length, x) * moved
        image = _minus(observation.observe(moved), own, -1.0)
        residual = _minus(residual, image, length)
        before, power = power, _dot(residual, residual)
        direction = _minus(residual, direction, -(power / before.clamp(min=1e-12)).clamp(max=1))
    clean = clean + change if bound is None else (clean + change).clamp(-bound, bound)
    return observation.project(clean, y, scale)


def _dot(a: Measurement, b: Measurement) -> Tensor:
    """Product of two measurements, [B]."""
    if isinstance(a, tuple):
        return torch.stack([_dot(p, q) for p, q in zip(a, b, strict=True)]).sum(0)
    return (a * b).flatten(1).sum(1)


def _minus(a: Measurement, b: Measurement, factor: Any) -> Measurement:
    """a - factor b of measurements, `factor` a number or one a sample [B]."""
    if isinstance(a, tuple):
        return tuple(_minus(p, q, factor) for p, q in zip(a, b, strict=True))
    return a - (each(factor, b) if isinstance(factor, Tensor) else factor) * b
