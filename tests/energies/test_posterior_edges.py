"""Posteriors where parts meet: noise and hidden elements, stacks, units of levels, labels and measurements by chain."""

from __future__ import annotations

import pytest
import torch

from energies import (
    Average,
    Chain,
    ConditionalEnergy,
    Conditioned,
    DataReference,
    EncoderEnergy,
    FunctionEnergy,
    Gaussian,
    Hidden,
    Noisy,
    Schedule,
    Stacked,
    Stepwise,
    any_of,
)
from energies.inversion import decode, invert
from energies.matching import MomentMatching
from energies.samplers import HMC, MALA, ParallelTempering
from energies.sampling import sample

PICTURE = (1, 8, 8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def told(kinds: tuple[str, ...] = ("hidden", "average", "noise"), weight: float = 0.1) -> ConditionalEnergy:
    """An energy around twenty pictures, whose network says something."""
    memory = DataReference(PICTURE, 20, rank=5, noise=0.3, binary=False, kinds=kinds)
    memory.fit(torch.rand(20, *PICTURE, generator=seeded(1)) * 2 - 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        energy = ConditionalEnergy(memory, 1, (8,), (1,), (2, 2))
    with torch.no_grad():
        energy.net.skip.weight.fill_(weight)
    return energy


def everything(noise: float) -> Noisy:
    return Noisy(Hidden(torch.zeros(1, 1, 1, 1, dtype=torch.bool)), noise)


def test_an_energy_that_was_told_of_a_noisy_measurement_does_not_count_it_again() -> None:
    x, y = (torch.rand(3, *PICTURE, generator=seeded(k)) for k in (2, 3))
    posterior = told().posterior(everything(0.3), y)
    assert torch.equal(posterior.at(0.4)(x), posterior.prior.at(0.4)(x))


def test_what_y_holds_where_x_is_hidden_counts_for_nothing_in_the_mean() -> None:
    prior = EncoderEnergy(PICTURE, (8,), (1,))
    mask = torch.rand(2, *PICTURE, generator=seeded(4)) < 0.5
    y = torch.rand(2, *PICTURE, generator=seeded(5))
    noise = torch.randn(2, *PICTURE, generator=seeded(6))
    for observation in (Hidden(mask), Noisy(Hidden(mask), 0.2), Stacked((Hidden(mask), Average((4, 4))))):
        means = []
        for rubbish in (0.0, 9.0):
            given: object = torch.where(mask, rubbish, y)
            if isinstance(observation, Stacked):
                given = (given, Average((4, 4)).observe(y))
            posterior = prior.posterior(observation, given)
            means.append(MomentMatching(3).expected(posterior, noise, seeded(7)))
        torch.testing.assert_close(*means, rtol=0, atol=1e-5)


def test_noise_counts_in_a_stack_as_it_does_alone() -> None:
    prior, y = EncoderEnergy(PICTURE, (8,), (1,)), torch.rand(2, *PICTURE, generator=seeded(5))
    noise, observation = torch.randn(2, *PICTURE, generator=seeded(6)), everything(0.5)
    alone = MomentMatching(3).expected(prior.posterior(observation, y), noise, seeded(7))
    stacked = MomentMatching(3).expected(prior.posterior(Stacked((observation,)), (y,)), noise, seeded(7))
    torch.testing.assert_close(stacked, alone, rtol=0, atol=1e-5)
    assert (alone - y).abs().max() > 0.05, "a noisy measurement is not believed to the letter"


@pytest.mark.slow
def test_energies_whose_levels_have_units_of_their_own_are_inverted() -> None:
    energy, flow = told(weight=0.02), Schedule(24, 20.0, 0.05)
    x = decode(flow, energy, torch.randn(3, *PICTURE, generator=seeded(8)))
    again = decode(flow, energy, invert(flow, energy, x, seeded(9)))
    assert (again - x).square().mean().sqrt() < 0.02
    with pytest.raises(TypeError, match="units of x"):
        list(Stepwise().generate(energy, torch.randn(1, *PICTURE), seeded()))


def test_levels_of_different_units_are_not_added() -> None:
    for other in (EncoderEnergy(PICTURE, (8,), (1,)), FunctionEnergy("brightness")):
        with pytest.raises(TypeError, match="different units"):
            (told() + other).at(0.3)
        with pytest.raises(TypeError, match="different units"):
            any_of(told(), other).at(0.3)
    x = torch.rand(2, *PICTURE, generator=seeded(3))
    torch.testing.assert_close((2.0 * told()).at(0.3)(x), 2 * told().at(0.3)(x))


def test_a_posterior_of_a_posterior_is_that_of_both_measurements() -> None:
    prior, x = EncoderEnergy(PICTURE, (8,), (1,)), torch.rand(3, *PICTURE, generator=seeded(3))
    first, second = Noisy(Average((2, 2)), 0.3), everything(0.4)
    y, z = first.observe(x + 0.2), second.observe(x - 0.1)
    nested, both = prior.posterior(first, y).posterior(second, z), prior.posterior(Stacked((first, second)), (y, z))
    assert nested.noisy and nested.at(0.5).noisy
    torch.testing.assert_close(nested.at(0.5)(x), both.at(0.5)(x))
    torch.testing.assert_close(nested.at(0.5).denoise(x), both.at(0.5).denoise(x))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_short_runs_and_exact_samplers_have_the_same_law_given_a_noisy_measurement(factor: float) -> None:
    """exp(-E / T) times the likelihood, T = factor^2, of N(0, 1) seen as 1 with noise of .5."""
    posterior = Gaussian([0.0], [[1.0]]).posterior(Noisy(Hidden(torch.tensor([False])), 0.5), torch.ones(4000, 1))
    precision = 1 / factor**2 + 4
    chain = Chain(300, 0.15, factor, bound=None)
    for sampler in (None, MALA(0.5)):
        moves = list(chain.continued(posterior, torch.zeros(4000, 1), seeded(1), sampler=sampler))
        found = moves[-2]  # the last one is moved to within -1 and 1
        assert abs(float(found.mean()) - 4 / precision) < 0.01 + 5 / (precision * 4000) ** 0.5
        assert abs(float(found.var()) * precision - 1) < 0.05 + 5 * (2 / 4000) ** 0.5


@pytest.mark.slow
def test_replicas_keep_the_measurement_and_the_mask_of_their_chain() -> None:
    prior = Gaussian([0.0, 0.0], [[2.0, 1.0], [1.0, 2.0]])
    mask = torch.tensor([[True, False], [False, True]]).repeat(2000, 1)
    y = torch.tensor([[0.0, 1.5], [-1.0, 0.0]]).repeat(2000, 1)
    tempering = ParallelTempering(HMC(0.5, 4), (1.0, 0.4))
    *_, (state, _) = sample(tempering, Conditioned(prior, Hidden(mask), y), torch.zeros(4000, 2), 60, seeded())
    assert torch.equal(state.x[~mask], y[~mask])
    for k, mean in enumerate((-0.75, 0.5)):
        found = state.x[k::2, k]
        assert abs(float(found.mean()) - mean) < 5 * (0.5 / 2000) ** 0.5
        assert abs(float(found.var()) / 0.5 - 1) < 5 * (2 / 2000) ** 0.5
