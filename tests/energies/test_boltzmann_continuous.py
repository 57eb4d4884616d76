"""log Z of energies of continuous x, annealed from a Gaussian: where it is known, with and without a bound."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded

from energies import FunctionEnergy, Gaussian, Mixture
from energies.gaussian_importance import Base, gaussian_log_z

pytestmark = pytest.mark.usefixtures("double")


def test_the_base_knows_its_log_z_and_its_samples() -> None:
    for bound in (None, 0.7):
        base = Base(torch.tensor([0.2]), torch.tensor([0.5]), bound)
        grid = torch.linspace(-(bound or 8), bound or 8, 40_001)[:, None]
        chance = (-base.energy(grid)).exp()
        assert base.log_z == pytest.approx(math.log(float(torch.trapezoid(chance, grid[:, 0]))), abs=1e-6)
        x = base.draw(20_000, seeded(0))
        mean = (chance * grid[:, 0]).sum() / chance.sum()
        assert float((x.mean() - mean).abs()) < 5 * 0.5 / math.sqrt(20_000)
        assert bound is None or x.abs().max() <= bound


@pytest.mark.slow
def test_the_bracket_holds_what_is_known() -> None:
    target = Gaussian([0.3, -0.2], [[12.0, 2.0], [2.0, 3.0]])
    found = gaussian_log_z(target, Base(torch.zeros(2), torch.full((2,), 0.6)), seeded(1), runs=64, steps=30, settle=10)
    low, high = found.bounds
    assert low <= target.log_z() <= high and high - low < 1.0


@pytest.mark.slow
def test_within_a_bound_it_is_that_of_what_lies_inside() -> None:
    energy = FunctionEnergy(lambda x: 2 * x.square().sum(1))
    truth = 2 * math.log(math.sqrt(math.pi / 2) * math.erf(math.sqrt(2) * 0.5))
    found = gaussian_log_z(energy, Base(torch.zeros(2), torch.ones(2), 0.5), seeded(1), runs=64, steps=30, settle=10)
    low, high = found.bounds
    assert low <= truth <= high and high - low < 0.5


def test_where_chains_do_not_mix_the_ends_lie_apart() -> None:
    """Far narrow modes that few steps do not reach: the bracket does not close."""
    target = Mixture([[-6.0, 6.0], [6.0, -6.0]], [0.05, 0.05], [0.5, 0.5])
    found = gaussian_log_z(target, Base(torch.zeros(2), torch.full((2,), 0.3)), seeded(1), runs=16, steps=8, settle=5)
    assert not found.closed(1.0)
