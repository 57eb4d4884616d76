"""What several files of tests share."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a core for each process of tests, and those it starts
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from torch import Tensor

from energies import family


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Family(family.Family):
    """Of N(mean, spread^2) with noise of the level."""

    def __init__(self, mean: list[float], spread: float) -> None:
        super().__init__(noisy=True, mean=torch.tensor(mean), spread=spread)
        self.event_shape = (len(mean),)

    def forward(self, x: Tensor) -> Tensor:
        variance = self.spread**2 + self.sigma(x) ** 2
        return ((x - self.mean) ** 2 / (2 * variance)).sum(1)

    def draw(self, noise: float, num: int, seed: int) -> Tensor:
        return self.mean + math.hypot(self.spread, noise) * torch.randn(num, 2, generator=seeded(seed))


@pytest.fixture
def double() -> Iterator[None]:
    """New tensors are float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
