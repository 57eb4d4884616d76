"""An energy given a measurement: of clean x, or at every level of a family over noise levels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from energies.energy import Energy, check_part
from energies.family import Family
from energies.observation import Hidden, Measurement, Observation
from energies.stacked import Stacked


class Conditioned(Family):
    """p(x | y) of an energy and a measurement y = A x, or y = A x + noise: what `energy.posterior(A, y)` gives.

    Of clean x, an exact measurement restricts x to {A x = y}: `gradient` and the noise of a sampler are projected onto
    the null space of A, so the restricted law is sampled as exactly as the free one. A noisy one adds its misfit.

    Of a family, x at level tau is clean x + tau s z. An exact measurement then holds A x = y + tau A s z with z as it
    was at the start of the chain: Langevin steps move x in the null space of A alone, `denoise` gives an x with
    A x = y, and the flow between these two lets the noise of what is seen fade in proportion to the level, as Song et
    al. (2021, appendix I.2) and Wang et al. (2022, DDNM) replace what is seen. A noisy measurement adds its misfit
    with the noise of x taken for part of the measurement's (Jalal et al. 2021, eq. 5). At level 0 both are the law
    above.

    Args:
        energy: the prior, unbound where it is a family.
        observation: A.
        y: measurement, of the shape of A x; it broadcasts over the batch.

    Raises:
        TypeError: two exact measurements at once, or an exact one of a bounded energy that is not of single elements.
        ValueError: seen values out of the bounds, or y is not of the shape of A x.
    """

    def __init__(self, energy: Energy, observation: Observation, y: Measurement) -> None:
        super().__init__()
        check_part(energy)
        if observation.holds:
            _check_exact(energy, observation, y)
        self.energy, self.observation, self.y = energy, observation, _measured(energy, observation, y)
        self._event_shape = energy._event_shape
        if isinstance(energy, Family):
            self.num_classes, self.classes = energy.num_classes, energy.classes

    @property
    def prior(self) -> Family:
        """The family that is conditioned. RuntimeError: it is an energy of clean x."""
        if not isinstance(self.energy, Family) or not self.energy.noisy:
            raise RuntimeError("the energy that is conditioned is of clean x and knows no noise levels")
        return self.energy

    @property
    def noisy(self) -> bool:
        return isinstance(self.energy, Family) and self.energy.noisy

    @property
    def per_sample(self) -> bool:
        own = self.y if isinstance(self.y, tuple) else (self.y,)
        shape = self.energy._event_shape  # where it is not known, a measurement may be of each sample
        shared = shape is not None and all(y.ndim <= len(shape) or len(y) == 1 for y in own)
        return self.energy.per_sample or not shared

    @property
    def mean(self) -> Tensor:
        return self.prior.mean

    @property
    def spread(self) -> float:
        return self.prior.spread

    @property
    def scale(self) -> Tensor | None:
        return self.prior.scale

    @property
    def origin(self) -> Tensor | float:
        return self.energy.origin

    def at(self, level: float | Tensor) -> Conditioned:
        return self.bind(level=level, _modules={**self._modules, "energy": self.prior.at(level)})

    def given(self, label: int | str | Tensor | None) -> Conditioned:
        if not isinstance(self.energy, Family):
            raise ValueError("the energy that is conditioned knows no labels")
        return self.bind(_modules={**self._modules, "energy": self.energy.given(label)})

    def forward(self, x: Tensor) -> Tensor:
        return self.energy(x) + self.observation.misfit(x, _like(self.y, x), self._deviation(x))

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.observation.tangent(self.energy.tangent(v, scale), scale)

    def project(self, x: Tensor) -> Tensor:
        """The nearest x that the measurement allows; at a noise level x itself, since A x holds noise of the start."""
        x = self.energy.project(x)
        return x if self.level is not None else self.observation.project(x, _like(self.y, x))

    def denoise(self, x: Tensor, *, slope: Tensor | None = None, create_graph: bool = False) -> Tensor:
        """Expected clean x of which y is seen, exactly where it was."""
        x = super().denoise(x, slope=slope, create_graph=create_graph)
        return self.observation.project(x, _like(self.y, x), self.scale)

    def start(self, noise: Tensor, level: float) -> Tensor:
        """From the mean that the measurement allows."""
        x = self.prior.start(torch.zeros_like(noise), level)
        return self.observation.project(x, _like(self.y, x), self.scale) + (self.prior.start(noise, level) - x)

    @property
    def constrained(self) -> bool:
        return self.observation.holds or self.energy.constrained

    @property
    def bounded(self) -> bool:
        return self.energy.bounded

    def reflect(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.energy.reflect(x)

    @property
    def binary_values(self) -> tuple[float, float]:
        if self.observation.holds and not isinstance(self.observation, Hidden):
            raise TypeError("elements with two values can only be conditioned exactly on seen elements")
        return self.energy.binary_values

    @property
    def gibbs_blocks(self) -> list[Tensor]:
        if not isinstance(self.observation, Hidden):
            raise TypeError(
                "under a noisy measurement the elements of a block are not independent; use GibbsWithGradients"
            )
        return self.energy.gibbs_blocks

    def log_odds(self, x: Tensor, block: Tensor) -> Tensor:
        return self.energy.log_odds(x, block)

    @property
    def arguments(self) -> dict[str, Any]:
        raise TypeError("a conditioned energy is not saved: save the energy and condition it again")

    def _deviation(self, x: Tensor) -> Tensor | None:
        """Standard deviation of the noise that x holds at the level; None: it is clean."""
        if self.level is None:
            return None
        sigma = self.sigma(x)
        return sigma if self.scale is None else sigma * self.scale


def _like(y: Measurement, x: Tensor) -> Measurement:
    """y in the number format and on the device of x."""
    return tuple(part.to(x) for part in y) if isinstance(y, tuple) else y.to(x)


def _measured(energy: Energy, observation: Observation, y: Measurement) -> Measurement:
    """y as floating-point numbers. ValueError: it is not of the shape of A x, as far as that is known."""
    if isinstance(y, tuple):
        return tuple(_measured(energy, part, own) for part, own in zip(_parts(observation, y), y, strict=True))
    y = y if y.is_floating_point() else y.to(torch.get_default_dtype())
    if energy._event_shape is not None:
        like = torch.zeros(1, *energy._event_shape, device=y.device, dtype=y.dtype)
        wanted = observation.observe(like).shape[1:]
        if y.shape[-len(wanted) :] != wanted or y.ndim > len(wanted) + 1:
            raise ValueError(f"y is {list(y.shape)}; of one x this measurement is {list(wanted)}")
    return y


def _parts(observation: Observation, y: tuple[Any, ...]) -> tuple[Observation, ...]:
    if not isinstance(observation, Stacked) or len(observation.parts) != len(y):
        raise ValueError(f"y holds {len(y)} measurements; give as many as are stacked")
    return observation.parts


def _check_exact(energy: Energy, observation: Observation, y: Measurement) -> None:
    if energy.constrained:
        raise TypeError("the energy has an exact measurement already: join both into one observation, Stacked")
    if energy.bounded:
        if not isinstance(observation, Hidden):
            raise TypeError(
                "a bounded energy can only be conditioned on seen elements: reflection would leave the others"
            )
        assert isinstance(y, Tensor)
        if ((energy.reflect(y)[0] != y) & ~observation.mask.to(y.device)).any():
            raise ValueError("the measurement has seen values out of the energy's bounds")
