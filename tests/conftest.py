"""What several files of tests share."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from energies import Energy


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Family(Energy):
    """Of N(mean, spread^2) with noise of the level."""

    noisy = True

    def __init__(self, mean: list[float], spread: float, noise: float | Tensor | None = None) -> None:
        super().__init__()
        self.mean, self.spread, self.scale, self.noise = torch.tensor(mean), spread, torch.ones(()), noise
        self.event_shape = (len(mean),)

    def at(self, noise: float | Tensor) -> Family:
        return type(self)(self.mean.tolist(), self.spread, noise)

    def forward(self, x: Tensor) -> Tensor:
        assert self.noise is not None, "bind a level first"
        variance = self.spread**2 + torch.as_tensor(self.noise).reshape(-1, 1) ** 2
        return ((x - self.mean) ** 2 / (2 * variance)).sum(1)

    def draw(self, noise: float, num: int, seed: int) -> Tensor:
        return self.mean + math.hypot(self.spread, noise) * torch.randn(num, 2, generator=seeded(seed))


@pytest.fixture
def double() -> Iterator[None]:
    """New tensors are float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
