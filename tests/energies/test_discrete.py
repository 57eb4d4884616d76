"""Samplers of binary energies, against laws that are enumerated."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import RBM, Average, Conditioned, Energy, Hidden, Noisy
from energies.analytic import Ising, states
from energies.boltzmann import Joint
from energies.samplers import Gibbs, GibbsWithGradients, ParallelTempering
from energies.sampling import sample

CHAINS = 10_000
LIMIT = 5.0


pytestmark = pytest.mark.usefixtures("double")


def machine(visible: int = 5, hidden: int = 3) -> Joint:
    rbm = RBM(visible, hidden).requires_grad_(False)
    for parameter in rbm.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=seeded(parameter.numel())) * 1.2)
    return rbm.joint()


ENERGIES = {
    "ising": lambda: Ising(3, 3, 0.5, 0.15),
    "rbm": machine,
    "marginal": lambda: machine(6, 3).marginal(),
    "sum": lambda: 0.4 * machine() + 0.6 * machine(),
}


def law(energy: Energy) -> tuple[Tensor, Tensor]:
    """Every state and its probability."""
    shape = energy.event_shape if hasattr(energy, "event_shape") else (8,)
    every = states(energy.binary_values, shape)
    return every, (-energy(every)).softmax(0)


def number(x: Tensor, energy: Energy) -> Tensor:
    """The place of x in the enumeration."""
    upper = (x.flatten(1) > sum(energy.binary_values) / 2).long()
    return (upper * 2 ** torch.arange(upper.shape[1] - 1, -1, -1)).sum(1)


def chi_square(x: Tensor, energy: Energy, chance: Tensor) -> float:
    """Deviation of the counts of all states from their chances, in standard deviations."""
    expected = chance * len(x)
    counts = torch.bincount(number(x, energy), minlength=len(chance)).double()
    rare = expected < 5  # joined, so that the statistic is nearly chi-square
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]]) + 1e-12
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    degrees = len(expected) - 1
    return float(((counts - expected) ** 2 / expected).sum() - degrees) / math.sqrt(2 * degrees)


CASES = (
    [("gibbs", name) for name in ("ising", "rbm", "sum")]
    + [("gradients", name) for name in ENERGIES]
    + [("tempered", "ising")]
)


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "name"), CASES)
def test_binary_chains_stay_in_their_law_and_arrive_in_it(sampler, name):
    energy = ENERGIES[name]()
    every, chance = law(energy)
    kernel = {
        "gibbs": Gibbs(),
        "gradients": GibbsWithGradients(),
        "tempered": ParallelTempering(GibbsWithGradients(), (1.0, 0.6)),
    }[sampler]
    x = every[torch.multinomial(chance, CHAINS, replacement=True, generator=seeded(0))]
    before = x
    for state, _ in sample(kernel, energy, x, 5 if sampler != "tempered" else 15, seeded(1)):
        x = state.x
        torch.testing.assert_close(state.energy, energy(x))
    assert (x != before).flatten(1).any(1).double().mean() > 0.5
    assert abs(chi_square(x, energy, chance)) < LIMIT
    wrong = (-1.2 * energy(every)).softmax(0)
    assert chi_square(x, energy, wrong) > LIMIT, "a temperature 20 % off would be seen"

    x = torch.full_like(x, energy.binary_values[1])
    assert chi_square(x, energy, chance) > 100
    *_, (state, _) = sample(kernel, energy, x, {"gibbs": 30}.get(sampler, 120), seeded(2))
    assert abs(chi_square(state.x, energy, chance)) < LIMIT
    energies, expected = energy(state.x), (chance * energy(every)).sum()
    assert abs(energies.mean() - expected) < LIMIT * energies.std() / math.sqrt(CHAINS)


@pytest.mark.parametrize("name", ["ising", "rbm", "sum"])
def test_the_gibbs_kernel_leaves_the_law_invariant_to_rounding(name):
    """pi P = pi for the transition matrix of every block, from the odds that the sampler uses."""
    energy = ENERGIES[name]()
    every, chance = law(energy)
    _, high = energy.binary_values
    for block in energy.gibbs_blocks:
        up = energy.log_odds(every, block).sigmoid().flatten(1)
        inside = block.flatten()
        flat = every.flatten(1)
        reachable = (flat[:, None, ~inside] == flat[None, :, ~inside]).all(-1)
        to_high = flat[None, :, inside] == high
        steps = torch.where(to_high, up[:, None, inside], 1 - up[:, None, inside]).prod(-1)
        kernel = steps * reachable
        torch.testing.assert_close(kernel.sum(1), torch.ones(len(every)), atol=1e-13, rtol=0)
        assert (chance @ kernel - chance).abs().max() < 1e-14
        assert (kernel - torch.eye(len(every))).abs().max() > 0.1
    assert torch.stack(energy.gibbs_blocks).sum(0).eq(1).all(), "the blocks part the elements"


def test_gibbs_makes_the_transitions_of_its_kernel():
    """The frequencies of where a sweep leads from one state, against the product of the blocks' probabilities."""
    energy = machine(3, 2)
    start = torch.tensor([1.0, 0, 1, 0, 1])
    state, _ = Gibbs().step(energy, Gibbs().init(energy, start.expand(CHAINS, 5)), seeded(0))
    hidden, visible = energy.gibbs_blocks
    up = energy.log_odds(start[None], hidden).sigmoid()[0, hidden]
    every = states((0.0, 1.0), (5,))
    chance = torch.where(every[:, hidden] == 1, up, 1 - up).prod(1)
    up = energy.log_odds(every, visible).sigmoid()[:, visible]
    chance = chance * torch.where(every[:, visible] == 1, up, 1 - up).prod(1)
    assert abs(chi_square(state.x, energy, chance)) < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [Gibbs(), GibbsWithGradients()], ids=["gibbs", "gradients"])
def test_what_is_seen_stays_and_the_rest_follows_its_conditional_law(sampler):
    energy = machine()
    seen = torch.tensor([True, False, False, True, False, False, True, False])
    y = torch.tensor([1.0, 0, 0, 1, 0, 0, 0, 0])
    every, chance = law(energy)
    chance = torch.where((every[:, seen] == y[seen]).all(1), chance, 0.0)
    posterior = Conditioned(energy, Hidden(~seen), y)
    *_, (state, _) = sample(sampler, posterior, torch.zeros(CHAINS, 8), 80, seeded(3))
    assert (state.x[:, seen] == y[seen]).all()
    assert abs(chi_square(state.x, energy, chance / chance.sum())) < LIMIT


def test_the_marginal_sums_the_hidden_units_out():
    rbm = machine()
    visible = states((0.0, 1.0), (5,))
    hidden = states((0.0, 1.0), (3,))
    joint = torch.stack([rbm(torch.cat([visible, h.expand(32, 3)], 1)) for h in hidden])
    torch.testing.assert_close(rbm.marginal()(2 * visible - 1), -(-joint).logsumexp(0))


@pytest.mark.slow
def test_whole_numbers_are_tempered_as_well():
    energy = Ising(3, 3, 0.5, 0.15)
    every, chance = law(energy)
    x = every[torch.multinomial(chance, CHAINS, replacement=True, generator=seeded(0))].long()
    *_, (state, _) = sample(ParallelTempering(Gibbs(), (1.0, 0.6)), energy, x, 20, seeded(1))
    assert state.x.dtype == torch.long and abs(chi_square(state.x, energy, chance)) < LIMIT
    hot = state.replicas.x[1::2]
    assert abs(chi_square(hot, energy, (-0.6 * energy(every)).softmax(0))) < LIMIT


@pytest.mark.parametrize("sampler", [Gibbs(), GibbsWithGradients()], ids=["gibbs", "gradients"])
def test_with_a_stream_each_a_sample_does_not_depend_on_its_batch(sampler):
    energy = Ising(3, 3, 0.5, 0.15)
    starts = energy.draw(4, seeded(5))

    def last(rows: slice, keys: range) -> Tensor:
        *_, (state, _) = sample(sampler, energy, starts[rows], 8, [seeded(k) for k in keys])
        return state.x

    together = last(slice(None), range(4))
    assert all(torch.equal(last(slice(k, k + 1), range(k, k + 1))[0], together[k]) for k in range(4))


def test_energies_without_two_values_say_so():
    from energies import Gaussian

    energy = Gaussian([0.0], [[1.0]])
    for sampler in (Gibbs(), GibbsWithGradients()):
        with pytest.raises(TypeError, match="Gaussian is not an energy of elements with two values"):
            list(sample(sampler, energy, torch.zeros(2, 1), 1, seeded(0)))
    noisy = Conditioned(machine(), Noisy(Hidden(torch.ones(8, dtype=torch.bool)), 0.5), torch.zeros(8))
    with pytest.raises(TypeError, match="use GibbsWithGradients"):
        list(sample(Gibbs(), noisy, torch.zeros(2, 8), 1, seeded(0)))
    average = Conditioned(Ising(2, 2), Average((2,)), torch.zeros(2, 1))
    for sampler in (Gibbs(), GibbsWithGradients()):
        with pytest.raises(TypeError, match="only be conditioned exactly on seen elements"):
            sampler.init(average, torch.ones(2, 2, 2))
    with pytest.raises(ValueError, match="too many"):
        states((0.0, 1.0), (30,))
