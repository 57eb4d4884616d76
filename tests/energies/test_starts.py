"""Chains may start anywhere, also at a tensor that requires grad: no graph grows along them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from energies import EncoderEnergy, Ising, Schedule
from energies.samplers import (
    HMC,
    MALA,
    Gibbs,
    GibbsWithGradients,
    Langevin,
    ParallelTempering,
    RandomWalk,
    Underdamped,
)
from energies.samplers.state import Sampler
from energies.sampling import anneal, sample
from tests.conftest import seeded

CONTINUOUS: list[Sampler] = [
    Langevin(0.1),
    Underdamped(0.1),
    MALA(0.1),
    HMC(0.1, 2),
    RandomWalk(0.1),
    ParallelTempering(MALA(0.1), (1.0, 0.5)),
]


def graphs(*states: object) -> list[Tensor]:
    """The tensors in states that remember how they were made."""
    return [value for value in tree_leaves(states) if isinstance(value, Tensor) and value.requires_grad]


@pytest.mark.parametrize("sampler", CONTINUOUS, ids=lambda sampler: type(sampler).__name__)
def test_chains_of_continuous_x_grow_no_graph(sampler):
    energy = EncoderEnergy((1, 8, 8), (4,), (1,))  # its weights may learn
    x = torch.randn(2, 1, 8, 8, generator=seeded()).requires_grad_()
    for state, info in sample(sampler, energy.at(0.5), x, 3, seeded(1)):
        assert isinstance(state.x, Tensor) and not graphs(state, info)
    for _, end in anneal(energy, Schedule(levels=3, steps=1), x, seeded(2), sampler=sampler):  # type: ignore[arg-type]
        assert not end.requires_grad
    assert x.requires_grad and x.grad is None and all(weight.grad is None for weight in energy.parameters())


@pytest.mark.parametrize("sampler", [Gibbs(), GibbsWithGradients()], ids=lambda sampler: type(sampler).__name__)
def test_chains_of_binary_x_grow_no_graph(sampler):
    energy = Ising(4, 0.3)
    x = torch.ones(2, 4, 4).requires_grad_()
    for state, info in sample(sampler, energy, x, 3, seeded(1)):
        assert isinstance(state.x, Tensor) and not graphs(state, info)
