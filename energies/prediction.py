"""Prediction by descent: what is likely given what is known is found by going down an energy of it (Gladstone et al.
2025, arXiv 2507.02092). More steps are more thought, and the energy tells how good what was found is.

A candidate is held in coordinates z in which a step of size 1 forgets where it started: of an energy whose reference is
|z|^2 / 2 around what is known, or the entropy of probabilities softmax(z), the descent z - dE/dz (or, by mirror
descent, z - dE/dp) leaves only what the network says. Further steps are for what the network learned of candidates.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from energies.energy import Energy


class PredictiveEnergy(Energy):
    """Base of energies of candidates given what is known: e [B, P] of P positions, each of its own candidate.

    Args:
        steps: of descent that it is learned with.
        start: standard deviation of the noise that candidates start from, in units of their coordinates.

    Attributes:
        first: the first position that is predicted in learning: that with enough before it.
        unit: of `quality`.
    """

    first: ClassVar[int] = 0
    unit: ClassVar[str] = "dB"

    def __init__(self, steps: int, start: float) -> None:
        super().__init__()
        self.steps, self.start = steps, start
        self.log_step = nn.Parameter(torch.zeros(()))

    @property
    def step_size(self) -> Tensor:
        """Of the descent, learned with the rest; a scalar, 1 at first."""
        return self.log_step.exp()

    @property
    def level(self) -> float:
        """Standard deviation of the noise on what is known, as learned; 0 where none is."""
        return 0.0

    @abstractmethod
    def seen(self, x: Tensor, level: float, noise: Callable[[Tensor], Tensor]) -> Tensor:
        """What is known of x [B, *event] in learning: x itself, of which no position sees its own and later ones; or x
        with noise of a level. `noise` gives standard normal noise of the shape of its argument."""

    @abstractmethod
    def wanted(self, x: Tensor, first: int) -> Tensor:
        """The part of x [B, *event] from position `first` on: what candidates are compared with."""

    def point(self, z: Tensor) -> Tensor:
        """What the energy reads of coordinates z: z itself, or the probabilities softmax(z)."""
        return z

    @abstractmethod
    def read(self, known: Tensor, first: int, num: int) -> Any:
        """What energies of `num` candidates from position `first` on need of what is known alone: read once, it serves
        all steps of a descent."""

    @abstractmethod
    def energies(self, known: Tensor, point: Tensor, first: int = 0, past: Any = None) -> Tensor:
        """[B, P] of P candidates at the positions first, first + 1, ..., each given what is known before it.

        past: what `read` gave of it; None: it is read now.
        """

    @abstractmethod
    def estimate(self, known: Tensor, z: Tensor, first: int = 0) -> Tensor:
        """The x that coordinates z of candidates stand for, in units of x."""

    @abstractmethod
    def errors(self, known: Tensor, z: Tensor, x: Tensor, first: int = 0) -> Tensor:
        """How wrong candidates are, [B, P], for x as `wanted` gives it: mean squares in units of z, or nats."""

    @abstractmethod
    def quality(self, errors: Tensor) -> float:
        """Of errors [B, P]: PSNR in dB of a range of 2, the larger the better; or bits, the less the better."""


def slope(
    energy: PredictiveEnergy, known: Tensor, z: Tensor, first: int = 0, create_graph: bool = False, past: Any = None
) -> tuple[Tensor, Tensor]:
    """Energies [B, P] of candidates and the direction of steepest ascent [*z], of each by itself; of probabilities by
    mirror descent: dE/dp in place of dE/dz. past: what `read` gave of what is known; None: it is read now."""
    with torch.enable_grad():
        z = z if create_graph and z.requires_grad else z.detach().requires_grad_()
        point = energy.point(z)
        e = energy.energies(known, point, first, past)
        (up,) = torch.autograd.grad(e.sum(), point, create_graph=create_graph)
    return (e, up) if create_graph else (e.detach(), up)


def descend(
    energy: PredictiveEnergy,
    known: Tensor,
    z: Tensor,
    steps: int,
    *,
    first: int = 0,
    step_size: Tensor | float | None = None,
    noise: float = 0.0,
    draw: Callable[[Tensor], Tensor] | None = None,
    create_graph: bool = False,
    through: bool = True,
    past: Any = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Steps down the energy; after each (z, energies [B, P] of where it started).

    Args:
        energy: of candidates.
        known: [B, *event], what `seen` gives.
        z: coordinates of the candidates at the positions from `first` on.
        steps: how many.
        step_size: one, or one a sample, broadcasting with z; None: that which the energy learned.
        noise: standard deviation of Langevin noise that every step but the last adds, in units of z.
        draw: gives standard normal noise of the shape of its argument; needed where there is noise.
        create_graph: keep the graph, for learning: the result has derivatives by the weights.
        through: then also through the steps before; else each step by itself.
        past: what `read` gave of what is known; None: it is read now.
    """
    if create_graph:
        z = z.detach().requires_grad_()
    if past is None:
        with torch.set_grad_enabled(create_graph):
            past = energy.read(known, first, z.shape[2])
    for number in range(steps):
        e, up = slope(energy, known, z, first, create_graph, past)
        size = energy.step_size if step_size is None else step_size
        z = z - size * up
        if not create_graph:
            z = z.detach()
        yield z, e
        if noise and number < steps - 1:
            assert draw is not None
            z = z + noise * draw(z)
        if create_graph and not through:
            z = z.detach().requires_grad_()


def settled(energy: PredictiveEnergy, known: Tensor, z: Tensor, steps: int, *, first: int = 0) -> tuple[Tensor, Tensor]:
    """Where so many steps without noise end: (z, their energies [B, P])."""
    with torch.no_grad():
        past = energy.read(known, first, z.shape[2])
    for state, _ in descend(energy, known, z, steps, first=first, past=past):
        z = state
    with torch.no_grad():
        return z, energy.energies(known, energy.point(z), first, past)


def decibels(mean_square: Tensor) -> float:
    """PSNR of a mean squared error of x in [-1, 1]."""
    return -10 * math.log10(max(float(mean_square), 1e-12) / 4)
