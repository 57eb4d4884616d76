"""Hide part of signals that were not learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Average, Hidden, Noisy
from pipelines.stage import Run


@dataclass(frozen=True)
class Hide:
    """Hide part of each signal to judge by: samples at random, a gap, or all but the means of blocks; add noise to what
    is seen. With none of them, samples=0.5."""

    needs: ClassVar[tuple[str, ...]] = ("data",)
    gives: ClassVar[tuple[str, ...]] = ("targets", "measured", "observation", "truth_known")

    samples: float | None = None
    """Share of the samples to hide at random, between 0 and 1."""

    gap: int | None = None
    """Hide so many samples in a row, at a random place."""

    average: int | None = None
    """See only the means of blocks of so many samples."""

    noise: float | None = None
    """Standard deviation of noise on what is seen, in units of x (half the range of values)."""

    num: int = 64
    """Signals to recover, at most."""

    def __post_init__(self) -> None:
        if sum(asked is not None for asked in (self.samples, self.gap, self.average)) > 1:
            raise ValueError("samples, gap and average cannot be combined; give one")
        if self.samples is not None and not 0 < self.samples < 1:
            raise ValueError(f"samples must lie between 0 and 1, got {self.samples}")
        if self.noise is not None and not self.noise > 0:
            raise ValueError(f"noise must be positive, got {self.noise}")
        for name, least in (("gap", 1), ("average", 2), ("num", 1)):
            if (asked := getattr(self, name)) is not None and asked < least:
                raise ValueError(f"{name} must be {least} or more, got {asked}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        rng = run.generator("hide")
        targets = values["data"].x("validation", slice(self.num))
        length = targets.shape[2]
        if self.gap is not None and self.gap >= length:
            raise InputError(f"hide.gap={self.gap} leaves nothing of {length} samples")
        if self.average is not None and length % self.average:
            raise InputError(f"hide.average={self.average} does not divide {length} samples")
        seen = Hidden(self._mask(targets, rng)) if self.average is None else Average((self.average,))
        observation = seen if self.noise is None else Noisy(seen, self.noise)
        measured = observation.sample(targets, rng)
        return {"targets": targets, "measured": measured, "observation": observation, "truth_known": True}

    def _mask(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """bool [n, 1, T] of x [n, 1, T]."""
        if self.gap is None:
            return torch.rand(x.shape, generator=rng) < (self.samples or 0.5)
        start = torch.randint(x.shape[2] - self.gap + 1, (len(x), 1, 1), generator=rng)
        place = torch.arange(x.shape[2]) - start
        return (place >= 0) & (place < self.gap)
