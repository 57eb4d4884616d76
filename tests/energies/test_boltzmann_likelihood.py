"""log Z of machines: exact by enumeration, unbiased and bracketed by annealing."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded

from energies import RBM
from energies.analytic import states
from energies.annealed_importance import Bracket, annealed_log_z, enumerated
from energies.boltzmann.exact import exact_log_z
from tests.energies.test_boltzmann import every_x, stirred

pytestmark = pytest.mark.usefixtures("double")

SIDES = {"few hidden": (6, 3), "few visible": (3, 6)}


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("classes", [0, 3])
def test_it_is_enumerated_on_either_side(sides, classes: int) -> None:
    visible, hidden = SIDES[sides]
    machine = stirred(RBM(visible, hidden, num_classes=classes)).requires_grad_(False)
    found = enumerated(machine)
    assert found is not None and found.exact and found.bounds == (found.low, found.low)
    assert math.isclose(found.low, float((-machine(every_x(machine))).logsumexp(0)), rel_tol=1e-10)


def test_of_gaussian_units_it_is_the_integral_over_x() -> None:
    machine = stirred(RBM(1, 4, "gaussian")).requires_grad_(False)
    machine.centre(3 * torch.randn(50, 1, generator=seeded(2)) + 1)
    grid = torch.linspace(-60, 60, 24_001)[:, None]
    found = enumerated(machine)
    assert found is not None
    assert math.isclose(found.low, float((-machine(grid)).logsumexp(0)) + math.log(120 / 24_000), rel_tol=1e-8)


def test_of_large_machines_it_is_not_enumerated() -> None:
    machine = RBM(30, 25)
    assert enumerated(machine) is None
    with pytest.raises(ValueError, match="too many to enumerate"):
        exact_log_z(machine.layers())
    assert enumerated(RBM(30, 12, "gaussian")) is not None


KINDS = {
    "binary": lambda seed: stirred(RBM(6, 4), 0.8, seed),
    "labels": lambda seed: stirred(RBM(5, 4, num_classes=3), 0.8, seed),
    "gaussian": lambda seed: stirred(RBM(3, 4, "gaussian"), 0.5, seed),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_annealing_is_unbiased_and_brackets_it(kind) -> None:
    machine = KINDS[kind](1)
    truth = enumerated(machine)
    assert truth is not None
    found = annealed_log_z(machine, seeded(2), runs=4000, steps=4, settle=20)
    assert abs(found.low - truth.low) < 5 * found.low_error < 0.3
    assert abs(found.high - truth.low) < 5 * found.high_error < 0.3
    assert found.fresh is not None and found.fresh > 0
    single = [annealed_log_z(machine, seeded(k), runs=2, steps=2, settle=20) for k in range(60)]
    low, high = (torch.tensor([getattr(one, side) for one in single]).mean() for side in ("low", "high"))
    assert low < truth.low < high  # few runs are too low on average forward, too high back


@pytest.mark.slow
def test_brackets_hold_whatever_the_seed() -> None:
    """As far out as two standard errors of many steps."""
    held = 0
    for seed in range(10):
        machine = stirred(RBM(7, 5), 0.7, seed)
        truth, found = enumerated(machine), annealed_log_z(machine, seeded(seed), runs=60, steps=100, settle=20)
        assert truth is not None
        low, high = found.bounds
        held += low <= truth.low <= high
        assert found.closed(0.5) and not found.closed(1e-4)
    assert held >= 9


def test_a_bracket_whose_ends_crossed_is_as_wide() -> None:
    found = Bracket(1.0, 0.9, 0.1, 0.1)
    assert found.bounds == pytest.approx((0.8, 1.1)) and found.width == pytest.approx(-0.1)
    assert found.closed(0.4) and not found.closed(0.2)


def test_states_of_one_side_sum_to_the_law() -> None:
    machine = stirred(RBM(4, 3)).requires_grad_(False)
    chance = (-machine(states((-1.0, 1.0), (4,))) - exact_log_z(machine.layers())).exp()
    assert math.isclose(float(chance.sum()), 1.0, rel_tol=1e-10)
