"""Several measurements of the same x as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from energies.linear import inverse
from energies.observation import Hidden, Observation, times
from energies.samplers.state import Rng


@dataclass(frozen=True, eq=False)
class Stacked(Observation):
    """Several measurements of the same x, such as a part seen exactly and all of it blurred, with noise.

    A measurement y is a tuple of one for each part. The exact parts are held together, and the noisy ones add up.
    What is seen of a `Hidden` is held to the last bit: the other parts only move the rest, as if its scale were 0.
    Exact parts that contradict each other are held as nearly as they can be, in least squares.

    Attributes:
        parts: the observations.

    Raises:
        ValueError: there are no parts, or one is a stack; y has another number of parts.
    """

    parts: tuple[Observation, ...]

    def __post_init__(self) -> None:
        if not self.parts or any(isinstance(part, Stacked) for part in self.parts):
            raise ValueError("a stack needs one part or more, and no part is a stack: list all parts in one")

    @property
    def exact(self) -> bool:
        return all(part.exact for part in self.parts)

    @property
    def holds(self) -> bool:
        return any(part.exact for part in self.parts)

    def observe(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.observe(x) for part in self.parts)

    def adjoint(self, y: tuple[Tensor, ...]) -> Tensor:
        """The sum of the parts' own."""
        return torch.stack([part.adjoint(one) for part, one in self._pairs(y)]).sum(0)

    def solve(self, r: tuple[Tensor, ...], ridge: float = 0.0, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        """(ridge + A S^2 A^T)^-1 r of all parts together, noisy ones included, by conjugate residuals.

        The parts' own preconditioners precondition it (block Jacobi).
        """
        shapes = [one.shape[1:] for _, one in self._pairs(r)]

        def apply(z: Tensor) -> Tensor:
            return ridge * z + _joined(self.observe(times(self.adjoint(_apart(z, shapes)), scale, 2)))

        def near(z: Tensor) -> Tensor:
            return _joined(part.precondition(one, ridge, scale) for part, one in self._pairs(_apart(z, shapes)))

        return _apart(inverse(apply, _joined(r), near), shapes)

    def project(self, x: Tensor, y: tuple[Tensor, ...], scale: Tensor | None = None) -> Tensor:
        if self._at_once:
            return super().project(x, y, scale)
        self._pairs(y)
        for held, which, free in self._held(x, scale):
            x = held.project(x, y[which[0]] if len(which) == 1 else tuple(y[k] for k in which), free)
        return x

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        if self._at_once:
            return super().tangent(v, scale)
        for held, _, free in self._held(v, scale):
            v = held.tangent(v, free)
        return v

    @property
    def _at_once(self) -> bool:
        """Whether all parts are held at once: they are exact, and none is a `Hidden`."""
        return len(self.parts) > 1 and all(part.exact and not isinstance(part, Hidden) for part in self.parts)

    def _held(self, like: Tensor, scale: Tensor | None) -> Iterator[tuple[Observation, tuple[int, ...], Tensor | None]]:
        """What is held, one after another: an observation, of which parts, and the scale of what may still move."""
        for k, part in enumerate(self.parts):
            if isinstance(part, Hidden):
                yield part, (k,), scale
                scale = part.tangent(torch.ones_like(like) if scale is None else scale)
        others = tuple(k for k, part in enumerate(self.parts) if part.exact and not isinstance(part, Hidden))
        if others:
            parts = tuple(self.parts[k] for k in others)
            yield parts[0] if len(parts) == 1 else Stacked(parts), others, scale

    def residual(self, x: Tensor, y: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(part.residual(x, own) for part, own in self._pairs(y))

    def noisily(self, q: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(part.noisily(own) for part, own in self._pairs(q))

    def misfit(self, x: Tensor, y: tuple[Tensor, ...], scale: Tensor | None = None) -> Tensor:
        """The sum of the parts' own [B]; with a scale, as if the noise of x were drawn for each part anew."""
        return torch.stack([part.misfit(x, one, scale) for part, one in self._pairs(y)]).sum(0)

    def sample(self, x: Tensor, rng: Rng) -> tuple[Tensor, ...]:
        return tuple(part.sample(x, rng) for part in self.parts)

    def rows(self, index: Tensor | slice, ndim: int) -> Stacked:
        return Stacked(tuple(part.rows(index, ndim) for part in self.parts))

    def to(self, device: torch.device | str) -> Stacked:
        return Stacked(tuple(part.to(device) for part in self.parts))

    def _pairs(self, y: tuple[Tensor, ...]) -> list[tuple[Observation, Tensor]]:
        if not isinstance(y, tuple) or len(y) != len(self.parts):
            got = f"{len(y)} in a tuple" if isinstance(y, tuple) else type(y).__name__
            raise ValueError(f"a stack of {len(self.parts)} parts needs a tuple of as many measurements; got {got}")
        return list(zip(self.parts, y, strict=True))


def _joined(parts: Iterable[Tensor]) -> Tensor:
    """Tensors [B, ...] in one [B, n]."""
    return torch.cat([part.flatten(1) for part in parts], 1)


def _apart(joined: Tensor, shapes: list[torch.Size]) -> tuple[Tensor, ...]:
    """What `_joined` joined."""
    pieces = joined.split([shape.numel() for shape in shapes], 1)
    return tuple(piece.reshape(-1, *shape) for piece, shape in zip(pieces, shapes, strict=True))
