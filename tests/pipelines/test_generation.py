"""Samples of energies: how many steps they take."""

from __future__ import annotations

import pytest
import torch
from conftest import Family, seeded

from energies import Chain, Gaussian, Schedule, Stepwise
from pipelines.sampling.generation import num_steps

GENERATORS = [
    Chain(5),
    Chain(4, calm=3),
    Stepwise(levels=4, steps=3),
    Stepwise(levels=2, steps=3),
    Schedule(6, steps=2),
]


@pytest.mark.parametrize("continued", [False, True])
@pytest.mark.parametrize("generator", GENERATORS)
def test_the_number_of_steps_is_known_beforehand(generator, continued):
    energy = Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]) if isinstance(generator, Chain) else Family([0.0, 0.0], 1.0)
    make = generator.continued if continued else generator.generate
    steps = list(make(energy, torch.randn(3, 2, generator=seeded()), seeded(1)))
    assert len(steps) == num_steps(generator, continued)
