"""From pictures to starting noise and back, and paths between noises."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded

from energies import EncoderEnergy, Gaussian, Schedule
from energies.generators import Chain, Stepwise
from energies.inversion import _downhill, _pull_back, decode, descend, deterministic, heun, invert, rise, undo
from energies.paths import between, doubt, lerp, likeliest, slerp

LEVELS = Schedule(levels=12, high=10.0).noise_levels()


def rough(seed: int = 0, noisy: bool = True) -> EncoderEnergy:
    """An energy of random weights, moderately far from its Gaussian."""
    torch.manual_seed(seed)
    energy = EncoderEnergy((1, 8, 8), (8,), (1,), noisy=noisy)
    for parameter in energy.parameters():
        parameter.requires_grad_(False)
    return energy


def pictures(num: int = 5) -> torch.Tensor:
    return torch.rand(num, 1, 8, 8, generator=seeded(1)) * 1.6 - 0.8


# --------------------------------------------------------------------------------------------- inversion


@pytest.mark.slow
@pytest.mark.parametrize("levels", [12, 18])
def test_what_is_inverted_comes_back(levels):
    generator, energy, x = Schedule(levels=levels), rough(), pictures()
    z = invert(generator, energy, x, seeded(2), rounds=6)
    assert z.shape == x.shape
    assert (decode(generator, energy, z) - x).abs().max() < 2e-3


@pytest.mark.slow
def test_rounds_of_correction_bring_it_nearer():
    generator, energy, x = Schedule(levels=12), rough(), pictures()
    misses = [(decode(generator, energy, invert(generator, energy, x, seeded(2), r)) - x).norm() for r in (0, 2, 6)]
    assert misses[0] > 5 * misses[1] > 10 * misses[2]


@pytest.mark.slow
def test_of_a_gaussian_the_noise_is_the_picture_in_units_of_its_spread():
    energy = rough()
    for level in energy.levels:  # without its network, the energy is that of a Gaussian
        level.head.weight.zero_()
        level.head.bias.zero_()
    x = energy.mean + energy.spread * torch.randn(60, 1, 8, 8, generator=seeded(3))
    z = invert(Schedule(levels=40, low=0.005), energy, x, seeded(4), 1)
    assert torch.allclose(z, x / energy.spread, atol=0.05)
    assert z.mean().abs() < 4 / math.sqrt(z.numel()) and abs(z.std() - 1) < 4 / math.sqrt(2 * z.numel())


@pytest.mark.slow
def test_rising_and_descending_take_the_same_steps_as_the_generator():
    generator, energy = Schedule(levels=12, high=10.0), rough()
    noise = torch.randn(3, 1, 8, 8, generator=seeded(5))
    x = descend(energy, energy.mean + 10.0 * noise, LEVELS).clamp(-1, 1)
    assert torch.allclose(decode(generator, energy, noise), x, atol=1e-5)
    up = rise(energy, pictures(), LEVELS, seeded(6), rounds=6)
    assert torch.allclose(descend(energy, up, LEVELS), pictures(), atol=2e-3)


def test_a_step_is_undone_sample_by_sample():
    energy, x = rough(), torch.randn(4, 1, 8, 8, generator=seeded(7))

    def step(x: torch.Tensor) -> torch.Tensor:
        return heun(energy, x, 2.0, 1.0)

    found = undo(step, step(x), step(x), 12)
    assert torch.allclose(found, x, atol=1e-3)
    assert torch.allclose(undo(lambda x: 5 * x, x, x / 5, 4), x / 5)  # diverges: the guess stays


@pytest.mark.slow
@pytest.mark.parametrize("bound", [None, 1.0])
def test_a_chain_is_inverted_by_descent_through_its_steps(bound):
    chain = Chain(steps=4, step_size=0.4, noise=0.0, spread=1.0, bound=bound)
    energy = Gaussian([0.2, -0.1], [[2.0, 0.5], [0.5, 1.0]])
    noise = torch.tensor([[0.7, -0.9], [-0.4, 1.2]])
    x = decode(chain, energy, noise)
    found = invert(chain, energy, x, seeded(8), rounds=60)
    assert torch.allclose(decode(chain, energy, found), x, atol=2e-2)


@pytest.mark.parametrize("limit", [None, 0.02])
def test_the_steps_gone_back_are_those_of_the_chain(limit):
    chain, energy = Chain(steps=3, step_size=0.3, noise=0.0, limit=limit, bound=None), rough(noisy=False)
    x = pictures(2)
    *_, expected = chain.continued(energy, x, seeded(0))
    made = x
    states = []
    for _ in range(3):
        states.append(made)
        made = _downhill(energy, chain, made).detach()
    assert torch.allclose(made.clamp(-1, 1), expected, atol=1e-6)
    v, eps = torch.randn(x.shape, generator=seeded(9)), 1e-2
    direction = torch.randn(x.shape, generator=seeded(10))

    def end(x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = _downhill(energy, chain, x)
        return x

    change = (end(x + eps * direction) - end(x - eps * direction)) / (2 * eps)
    pulled = _pull_back(lambda x: _downhill(energy, chain, x), states, v)
    assert float((pulled * direction).sum()) == pytest.approx(float((v * change).sum()), rel=0.02, abs=0.02)


def test_only_what_draws_no_noise_is_inverted():
    for generator in (Schedule(steps=2), Chain(), Stepwise()):
        with pytest.raises(ValueError, match="draws noise"):
            invert(generator, rough(), pictures(), seeded(0))  # type: ignore[arg-type]
        assert deterministic(deterministic(generator)) == deterministic(generator)
    assert deterministic(Stepwise(high=5.0)) == Schedule(high=5.0, low=Stepwise().low)


# ------------------------------------------------------------------------------------------------- walks


def test_an_arc_has_its_ends_keeps_the_length_and_turns_evenly():
    a, b = torch.randn(2, 6, 1, 8, 8, generator=seeded(11))
    b = b * a.flatten(1).norm(dim=1).view(-1, 1, 1, 1) / b.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    arc = slerp(a, b, torch.linspace(0, 1, 7))
    assert arc.shape == (6, 7, 1, 8, 8)
    assert torch.allclose(arc[:, 0], a, atol=1e-5) and torch.allclose(arc[:, -1], b, atol=1e-5)
    lengths = arc.flatten(2).norm(dim=2)
    assert torch.allclose(lengths, lengths[:, :1].expand_as(lengths), rtol=1e-4)
    steps = arc.diff(dim=1).flatten(2).norm(dim=2)
    assert torch.allclose(steps, steps[:, :1].expand_as(steps), rtol=1e-3)
    assert torch.allclose(slerp(b, a, torch.linspace(0, 1, 7)).flip(1), arc, atol=1e-5)


def test_where_there_is_no_arc_the_way_is_straight():
    a, shares = torch.randn(2, 3, generator=seeded(12)), torch.linspace(0, 1, 5)
    for b in (a, -a, torch.zeros_like(a)):
        way = slerp(a, b, shares)
        assert way.isfinite().all()
        if not b.eq(0).all():
            assert torch.allclose(way, lerp(a, b, shares), atol=1e-5)


@pytest.mark.slow
def test_between_two_pictures_begins_and_ends_with_them():
    energy, x = rough(), pictures(2)
    levels = [0.8, 0.4, 0.2, 0.1, 0.05]
    frames = between(energy, x[:1], x[1:], torch.tensor([0.0, 0.5, 1.0]), levels, seeded(13), rounds=8)
    assert torch.allclose(frames[0, [0, 2]], x, atol=5e-3)


def test_the_best_way_is_the_best_of_all():
    rng = seeded(14)
    nodes, costs = torch.randn(7, 2, generator=rng), torch.rand(7, generator=rng)
    places = torch.tensor([0.1, 0.1, 0.3, 0.3, 0.5, 0.5, 0.9])
    a, b = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])

    def price(row: list[int]) -> float:
        way = torch.stack([a, *(nodes[i] for i in row), b])
        steps = way.diff(dim=0).square().sum() / (a - b).square().sum()
        return float(costs[row].sum() + 0.7 * steps)

    ways = [
        [i, j, k] for i in range(7) for j in range(7) for k in range(7) if places[i] < places[j] < places[k]
    ]  # fmt: skip
    assert likeliest(nodes, places, costs, a, b, 3, 0.7).tolist() == min(ways, key=price)


@pytest.mark.slow
def test_doubt_is_none_of_what_the_energy_means_and_much_beside_it():
    energy = rough()
    for level in energy.levels:
        level.head.weight.zero_()
        level.head.bias.zero_()
    x = energy.spread * torch.randn(100, 1, 8, 8, generator=seeded(15))
    # The spread of the statistic about 1 is that of a chi-square of 64 elements, and of one noise for all.
    assert abs(doubt(energy, x, 0.5, seeded(16), 40).mean()) < 0.1
    assert doubt(energy, 3 * x, 0.5, seeded(16), 8).mean() > 2


# ----------------------------------------------------------------------------------------------- stages
