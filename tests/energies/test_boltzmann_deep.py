"""Deep Boltzmann machines: the mean-field bound, chains, gradients and the layers that they are made of."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import DBM, RBM
from energies.analytic import states
from energies.annealed_importance import annealed_log_z, enumerated
from energies.boltzmann import GibbsChain, Units, copies_of
from energies.boltzmann.ladder import by_temperature
from energies.boltzmann.trajectory import bennett, ladder_log_z
from energies.objectives import Batch, ContrastiveDivergence
from tests.energies.test_boltzmann import CHAINS, every_x, far_from, learned_slopes, stirred

pytestmark = pytest.mark.usefixtures("double")


def deep(size: float = 0.7, seed: int = 0) -> DBM:
    made = stirred(DBM(4, (3, 2, 2)), size, seed)
    assert isinstance(made, DBM)
    return made


@torch.no_grad()
def free_energies(machine: DBM) -> Tensor:
    """-log of the sum over all hidden units, of every x, exactly."""
    x, sizes = every_x(machine), machine.sizes[1:]
    h = states((0.0, 1.0), (sum(sizes),))
    v = (x + 1) / 2
    each = [machine.joint()(torch.cat([v, row.expand(len(v), -1)], 1)) for row in h]
    return -(-torch.stack(each)).logsumexp(0)


def test_the_energy_is_a_bound_which_is_tight_with_one_layer() -> None:
    machine = deep()
    gap = machine(every_x(machine)) - free_energies(machine)
    assert (gap > 0).all() and gap.max() < 1.0
    one, same = DBM(4, (3,)), RBM(4, 3)
    stirred(one), stirred(same)
    torch.testing.assert_close(one(every_x(one)), same(every_x(same)))


def test_mean_field_is_where_the_bound_is_least() -> None:
    machine = deep()
    layers, v = machine.layers(), (every_x(machine) + 1) / 2
    means = layers.mean_field(v, 200)
    odds = [mean.logit().detach().requires_grad_() for mean in means.layers[1:]]
    bound = layers.bound(Units((v, *(o.sigmoid() for o in odds)))).sum()
    assert all(slope.abs().max() < 1e-8 for slope in torch.autograd.grad(bound, odds))


def test_chains_arrive_in_the_law_of_x() -> None:
    machine = deep(1.0, 2)
    *_, x = GibbsChain(25).generate(machine, torch.randn(CHAINS, 4, generator=seeded(1)), seeded(2))
    assert abs(far_from(x, (-free_energies(machine)).softmax(0))) < 5
    assert far_from(x, torch.full((16,), 1 / 16)) > 8


def test_log_z_is_exact_and_bracketed() -> None:
    machine = deep(0.8, 3)
    truth = float((-free_energies(machine)).logsumexp(0))
    found = enumerated(machine)
    assert found is not None and math.isclose(found.low, truth, rel_tol=1e-10)
    low, high = annealed_log_z(machine, seeded(1), runs=200, steps=100, settle=20).bounds
    assert low <= truth <= high and high - low < 0.5


def test_the_gradient_is_that_of_the_bound() -> None:
    """Of mean E(x) + log Z with the mean field held, by enumeration of log Z."""
    machine = deep(0.8)
    x = torch.randn(4, 4, generator=seeded(3)).sign().repeat(400, 1)
    how = ContrastiveDivergence(steps=3, recentre=0.0)
    batch = Batch(x, chains=how.buffer(machine, 1600, seeded(4)))
    learned_slopes(machine, batch, how, 6)
    found = learned_slopes(machine, batch, how, 8)
    every = states((0.0, 1.0), (sum(machine.sizes),))
    loss = machine(x).mean() + (-machine.joint()(every)).logsumexp(0)
    names, parameters = zip(*machine.named_parameters(), strict=True)
    for name, slope in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert (found[name] - slope).abs().max() < 0.06, name


def test_what_copies_feel_is_what_tied_units_would() -> None:
    """A machine with two tied copies of x is one of twice as many units with the weights repeated."""
    part = stirred(RBM(3, 2))
    part.copies = copies_of(0, 2)
    twice = RBM(6, 2)
    with torch.no_grad():
        layers, v = part.layers(), states((0.0, 1.0), (3,))
        twice.weights[0].copy_(part.weights[0].repeat(2, 1))
        twice.biases[0].copy_(part.biases[0].repeat(2))
        twice.biases[1].copy_(part.biases[1])
        twice.offsets[0].copy_(part.offsets[0].repeat(2))
        twice.offsets[1].copy_(part.offsets[1])
        other = twice.layers()
        both = Units((v.repeat(1, 2), torch.ones(8, 2)))
        torch.testing.assert_close(layers.inputs(1, Units((v, v))), other.inputs(1, both))
        torch.testing.assert_close(layers.inputs(0, Units((v, both.layers[1]))), other.inputs(0, both)[:, :3])
    assert [copies_of(k, 3) for k in range(3)] == [(2, 1), (2, 2), (1, 2)] and copies_of(0, 1) == (1, 1)


def test_layers_that_are_taken_say_what_they_said_alone() -> None:
    """Given twice the units below, as nothing is known from above."""
    machine, part = DBM(3, (2, 2)), stirred(RBM(3, 2))
    assert isinstance(part, RBM)
    part.copies = copies_of(0, 2)
    machine.take(0, part)
    v = (every_x(machine) + 1) / 2
    means = machine.layers().mean_field(v, 0)
    with torch.no_grad():
        felt = 2 * (v - part.offsets[0]) @ part.weights[0] + part.biases[1]
    above = machine.offsets[2]  # at its offset a unit says nothing
    units = Units((v, means.layers[1], above.expand(len(v), -1)))
    with torch.no_grad():
        torch.testing.assert_close(2 * machine.layers().inputs(1, units) - machine.biases[1], felt)


@pytest.mark.slow
def test_a_ladder_tells_log_z_from_its_last_rung() -> None:
    machine = deep(1.0, 4)
    with torch.no_grad():
        rungs = by_temperature(machine.layers(), 4)
        found, errors, exchanged = ladder_log_z(rungs, seeded(1), chains=300, sweeps=60)
    truth = float((-free_energies(machine)).logsumexp(0))
    assert abs(float(found[0]) - truth) < 0.05 and float(exchanged.min()) > 0.2
    assert abs(float(found[0]) - truth) < 4 * float(errors[0]) < 0.2 and float(errors[-1]) == 0
    assert float(found[-1]) == pytest.approx(rungs[-1].base_log_z())


def test_bennetts_ratio_of_gaussians() -> None:
    """E_a = (x - 1)^2 / 2 and E_b = x^2: log Z_a - log Z_b = log 2 / 2."""
    rng = seeded(0)
    a = 1 + torch.randn(20_000, generator=rng)
    b = torch.randn(5_000, generator=rng) / math.sqrt(2)

    def difference(x: Tensor) -> Tensor:
        return (x - 1) ** 2 / 2 - x**2

    assert bennett(-difference(b), difference(a)) == pytest.approx(math.log(2) / 2, abs=0.03)
