"""Energies made of energies: sums, mixtures and what they are at a noise level, against laws that are known.

Where laws are sampled, the chains are exact and independent, so that standard errors are: |z| < 5 fails by chance once
in a million. Densities are compared up to their constant.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import Family, seeded
from torch import Tensor

import energies
from energies import (
    AnyOf,
    Average,
    Bounded,
    Conditioned,
    EncoderEnergy,
    EncoderLogits,
    Energy,
    FunctionEnergy,
    Gaussian,
    Hidden,
    JointEnergy,
    Noisy,
    WeightedSum,
    any_of,
    gradient,
    invariant,
    tiled,
)
from energies.analytic import Mixture
from energies.function import SCORES
from energies.mbar import balanced, log_normalizers, tuned
from energies.samplers import HMC, Sampler
from energies.sampling import anneal, sample
from energies.schedule import Schedule

CHAINS = 10_000
LIMIT = 5.0
STEPPING = HMC(0.4, 2)
SMALL = {"widths": (4, 6), "depths": (1, 1)}


pytestmark = pytest.mark.usefixtures("double")


def points(*shape: int, seed: int = 9) -> Tensor:
    return 2 * torch.randn(*shape, generator=seeded(seed))


def ends(energy: Energy, x: Tensor, steps: int, sampler: Sampler = STEPPING) -> Tensor:
    """Where chains from x are after so many steps of an exact sampler."""
    *_, (state, info) = sample(sampler, energy, x, steps, seeded(1))
    assert 0.6 < info.acceptance.mean() < 0.999, "not trivial"
    return state.x


def has_mean(found: Tensor, wanted: Tensor | float) -> None:
    """Of independent rows [N, ...]; what does not vary must be right to rounding."""
    error = found.std(0) / math.sqrt(len(found)) + 1e-12
    worst = ((found.mean(0) - wanted) / error).abs().max()
    assert worst < LIMIT, f"z = {worst:.1f}"


def has_moments(x: Tensor, mean: Tensor, covariance: Tensor) -> None:
    has_mean(x, mean)
    d = x - mean
    has_mean(d[:, :, None] * d[:, None], covariance)


def same_up_to_a_constant(energy: Energy, law: Energy, x: Tensor) -> None:
    found, wanted = energy(x), law(x)
    torch.testing.assert_close(found - found[0], wanted - wanted[0])
    torch.testing.assert_close(gradient(energy, x)[1], gradient(law, x)[1])


# --- sums -------------------------------------------------------------------------------------------------------------

A = ([0.5, -1.0, 1.0], [[2.0, 0.8, 0.0], [0.8, 1.5, -0.4], [0.0, -0.4, 1.0]])
B = ([-1.0, 0.5, 2.0], [[1.0, -0.3, 0.2], [-0.3, 0.8, 0.0], [0.2, 0.0, 1.6]])
SUMS = {
    "product": (lambda a, b: a + b, 1.0, 1.0),
    "weighted": (lambda a, b: a + 0.4 * b, 1.0, 0.4),
    "difference": (lambda a, b: a - 0.2 * b, 1.0, -0.2),
    "temperature": (lambda a, b: 0.5 * a, 0.5, 0.0),
    "nested": (lambda a, b: 0.5 * (a - 0.4 * b) + b * 0.6, 0.5, 0.4),
}


def sum_of(weights: tuple[float, float], one: tuple = A, other: tuple = B) -> Gaussian:
    """exp(-w A - v B): precisions add, and means by their precisions."""
    (m, p), (n, q) = (map(torch.tensor, each) for each in (one, other))
    precision = weights[0] * p + weights[1] * q
    mean = torch.linalg.solve(precision, weights[0] * p @ m + weights[1] * q @ n)
    return Gaussian(mean.tolist(), precision.tolist())


@pytest.mark.slow
@pytest.mark.parametrize("name", SUMS)
def test_sums_of_gaussians_are_gaussians_whose_precisions_add(name):
    make, *weights = SUMS[name]
    a, law = Gaussian(*A), sum_of(tuple(weights))
    made = make(a, Gaussian(*B))
    same_up_to_a_constant(made, law, points(50, 3))
    slowest = torch.linalg.eigvalsh(law.precision)[0].sqrt()
    assert (0.8 * slowest).cos() ** 100 < 1e-3, "the start is forgotten"
    x = ends(made, a.draw(CHAINS, seeded(0)), 100)
    has_moments(x, law.mean, torch.linalg.inv(law.precision))


def test_gradients_of_sums_are_sums_of_gradients():
    parts, weights, x = [Gaussian(*A), Gaussian(*B), Mixture([[0.0, 1.0, 2.0]], [0.7])], [0.5, -0.2, 1.5], points(20, 3)
    wanted = sum(w * gradient(part, x)[1] for w, part in zip(weights, parts, strict=True))
    torch.testing.assert_close(gradient(WeightedSum(parts, weights), x)[1], wanted)
    with pytest.raises(ValueError):
        WeightedSum(parts, weights[:2])


@pytest.mark.slow
def test_a_product_of_mixtures_is_the_mixture_of_the_products_of_their_parts():
    one = Mixture([[-1.0, 0.0], [1.0, 0.5]], [0.8, 1.1], [0.3, 0.7])
    other = Mixture([[-0.5, 1.0], [0.8, -0.6], [1.5, 0.0]], [0.9, 1.2, 0.7], [0.5, 0.2, 0.3])
    means, stds, mass = [], [], []
    for m, s, w in zip(one.means, one.stds, one.weights, strict=True):
        for n, t, v in zip(other.means, other.stds, other.weights, strict=True):
            variance = 1 / (s**-2 + t**-2)
            means.append(variance * (m / s**2 + n / t**2))
            stds.append(variance.sqrt())
            mass.append(w * v * (-(m - n).square().sum() / (2 * (s**2 + t**2))).exp() / (s**2 + t**2))  # 2-D
    m, s, w = torch.stack(means), torch.stack(stds), torch.stack(mass) / sum(mass)
    law = Mixture(m.tolist(), s.tolist(), w.tolist())
    same_up_to_a_constant(one + other, law, points(50, 2))
    mean = w @ m
    covariance = (m - mean).T @ (w[:, None] * (m - mean)) + (w @ s**2) * torch.eye(2)
    has_moments(ends(one + other, one.draw(CHAINS, seeded(0)), 40), mean, covariance)


def test_a_composed_prior_is_conditioned_in_closed_form():
    """What is hidden of a product of Gaussians given what is seen."""
    law, hidden, y = sum_of((1.0, 0.4)), torch.tensor([True, False, True]), torch.tensor([0.0, 1.7, 0.0])
    posterior = Conditioned(Gaussian(*A) + 0.4 * Gaussian(*B), Hidden(hidden), y)
    x = ends(posterior, Gaussian(*A).draw(CHAINS, seeded(0)), 40)
    assert (x[:, 1] == 1.7).all()
    free = law.precision[hidden][:, hidden]
    shift = torch.linalg.solve(free, law.precision[hidden][:, ~hidden] @ (y - law.mean)[~hidden])
    has_moments(x[:, hidden], law.mean[hidden] - shift, torch.linalg.inv(free))


def test_what_is_constrained_or_bounded_is_no_part():
    a, seen = Gaussian(*A), Hidden(torch.tensor([True, False, True]))
    composers = (lambda e: a + e, lambda e: 2 * e, lambda e: any_of(a, e), invariant, lambda e: tiled(e, [4], [2]))
    for part in (Conditioned(a, seen, torch.zeros(3)), Bounded(a)):
        for compose in composers:
            with pytest.raises(TypeError, match="bound or condition their sum"):
                compose(part)
    (a + Conditioned(a, Noisy(seen, 0.5), torch.zeros(3)))(torch.zeros(1, 3))


# --- mixtures ---------------------------------------------------------------------------------------------------------

WIDE, NARROW = ([-1.2, 0.0], [[0.8, 0.0], [0.0, 1.2]]), ([1.0, 0.4], [[2.5, 0.6], [0.6, 2.0]])
MIDDLE = ([0.3, -0.8], [[1.4, -0.5], [-0.5, 1.4]])


def shifted(by: float) -> FunctionEnergy:
    return FunctionEnergy(lambda x: x.new_full((len(x),), by))


def unbalanced() -> tuple[list[Gaussian], list[Energy], Tensor]:
    """Gaussians, the same with other constants, and the log Z of these."""
    laws = [Gaussian(*WIDE), Gaussian(*NARROW), Gaussian(*MIDDLE)]
    shifts = (0.0, 7.0, -3.0)
    log_z = torch.tensor([law.log_z() - by for law, by in zip(laws, shifts, strict=True)])
    return laws, [law + shifted(by) for law, by in zip(laws, shifts, strict=True)], log_z - log_z.mean()


def test_any_of_normalised_energies_is_their_mixture():
    means, stds = [[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0]], [0.5, 0.8, 1.0]
    parts, x = [Mixture([m], [s]) for m, s in zip(means, stds, strict=True)], points(50, 2)
    torch.testing.assert_close(any_of(*parts)(x), Mixture(means, stds)(x))
    weights = [0.2, 0.5, 0.3]
    weighted = AnyOf(parts, [math.log(w) for w in weights])
    same_up_to_a_constant(weighted, Mixture(means, stds, weights), x)
    same_up_to_a_constant(any_of(any_of(*parts[:2]), parts[2]), Mixture(means, stds, [0.25, 0.25, 0.5]), x)
    torch.testing.assert_close(any_of(parts[0], parts[0])(x), parts[0](x))
    torch.testing.assert_close(any_of(parts[0], parts[0], parts[0])(x), parts[0](x))
    with pytest.raises(ValueError, match="offsets must be 3, got"):
        AnyOf(parts, [0.0, 1.0])
    with pytest.raises(ValueError, match="offsets must be 2 x 3, got"):
        AnyOf(parts, [0.0, 1.0, 2.0], [0.1, 1.0])


def test_the_gradient_of_a_mixture_is_that_of_its_parts_by_their_responsibilities():
    laws, offsets, x = unbalanced()[0], torch.tensor([0.3, -1.0, 2.0]), points(50, 2)
    share = (offsets - torch.stack([law(x) for law in laws], 1)).softmax(1)
    wanted = sum(share[:, k, None] * gradient(law, x)[1] for k, law in enumerate(laws))
    torch.testing.assert_close(gradient(AnyOf(laws, offsets.tolist()), x)[1], wanted)
    assert 0.05 < share.max(1).values.min() < 0.9, "more than one counts somewhere"


def test_a_mixture_tells_where_x_comes_from_and_can_be_shifted():
    laws, offsets, x = unbalanced()[0], [0.3, -1.0, 2.0], points(50, 2)
    mixture, change = AnyOf(laws, offsets), torch.tensor([1.0, 0.0, -2.0])
    wanted = torch.tensor(offsets) - torch.stack([law(x) for law in laws], 1)
    torch.testing.assert_close(mixture.shares(x), wanted.softmax(1))
    torch.testing.assert_close(mixture.shifted(change).shares(x), (wanted + change).softmax(1))
    assert torch.equal(mixture.offsets, torch.tensor(offsets)), "the first stays as it is"


def test_normalising_constants_are_those_known():
    """The estimates of 24 small sets scatter about the truth; samples need not be as many of each."""
    laws, parts, log_z = unbalanced()
    counts = [500, 300, 400]
    found = []
    for seed in range(24):
        x = torch.cat([law.draw(n, seeded(10 * seed + k)) for k, (law, n) in enumerate(zip(laws, counts, strict=True))])
        found.append(log_normalizers(torch.stack([part(x) for part in parts], 1), counts))
    assert found[0].std() > 1, "there is something to balance"
    has_mean(torch.stack(found), log_z)
    assert torch.stack(found).std(0).max() < 0.1


@pytest.mark.slow
def test_constants_of_laws_that_hardly_overlap_are_found_in_the_end():
    """So many rounds that each law explains as many of the samples as are its own (eq. 11 holds)."""
    x = torch.cat([scale * torch.randn(48, 12, generator=seeded(k)) for k, scale in enumerate((1.0, 0.3))])
    energies = torch.stack([x.square().sum(1) / 2, x.square().sum(1) / 2 / 0.3**2], 1).double()
    log_z = log_normalizers(energies, [48, 48])
    counts = (-log_z - energies).softmax(1).sum(0)
    assert abs(counts[0] - 48) < 1e-3 and abs(log_z[0] - log_z[1] + 12 * math.log(0.3)) < 3


def test_constants_of_laws_that_do_not_overlap_are_their_depths():
    near, far = Gaussian(*WIDE), Gaussian([900.0, 0.0], NARROW[1]) + shifted(50.0)
    x = [near.draw(100, seeded(0)), Gaussian([900.0, 0.0], NARROW[1]).draw(200, seeded(1))]
    rows = torch.cat(x)
    found = log_normalizers(torch.stack([near(rows), far(rows)], 1), [100, 200])
    torch.testing.assert_close(found[0] - found[1], far(x[1]).mean() - near(x[0]).mean(), atol=1e-6, rtol=0)
    for counts in ([100, 100], [300], [300, 0]):
        with pytest.raises(ValueError, match="are not those of samples"):
            log_normalizers(torch.stack([near(rows), far(rows)], 1), counts)


@pytest.mark.slow
@pytest.mark.parametrize("weights", [None, [0.3, 0.7]])
def test_a_balanced_mixture_gives_its_parts_their_shares(weights):
    laws, parts, log_z = (each[:2] for each in unbalanced())
    wanted = torch.tensor(weights or [0.5, 0.5])
    mixture = balanced(
        any_of(*parts), [law.draw(n, seeded(n)) for law, n in zip(laws, (9000, 6000), strict=True)], weights
    )
    assert isinstance(mixture, AnyOf)
    share = (mixture.offsets + log_z).softmax(0)
    assert (share - wanted).abs().max() < 0.02, "to the error of 15,000 samples, about .005"
    x = ends(mixture, laws[0].draw(CHAINS, seeded(0)), 60)

    def chance(by: Tensor) -> Tensor:  # of each part given x, in the mixture by these shares
        return (by.log() - log_z - torch.stack([part(x) for part in parts], 1)).softmax(1)

    has_mean(chance(share), share)
    x = ends(any_of(*parts), laws[0].draw(CHAINS, seeded(0)), 60)
    assert chance(wanted).mean(0)[1] < 0.2, "unbalanced, the first drowns the second"


def test_a_sampler_that_favours_a_part_is_tuned_by_its_own_samples():
    """One that draws the second part three times as often as its weight says."""
    laws = unbalanced()[0][:2]
    mixture = AnyOf(laws, (-torch.tensor([law.log_z() for law in laws])).tolist())

    def draw(mixture: AnyOf, number: int) -> tuple[None, Tensor]:
        odds = mixture.offsets + torch.tensor([law.log_z() for law in laws]) + torch.tensor([0.0, math.log(3)])
        num = int((odds.softmax(0)[0] * 2000).round())
        parts = zip(laws, (num, 2000 - num), strict=True)
        return None, torch.cat([law.draw(n, seeded(10 * number + k)) for k, (law, n) in enumerate(parts) if n])

    found = tuned(mixture, draw)
    share = found.shares(draw(found, 9)[1]).mean(0)
    assert (share - 0.5).abs().max() < 0.05 and mixture.shares(draw(mixture, 9)[1]).mean(0)[1] > 0.65


def test_rounds_that_starve_a_part_do_not_weigh_on_those_after_them():
    """A sampler that prefers one of two far parts by 9 nats: 48 samples tell 4 of them at a time."""
    laws = [Gaussian([side, 0.0], [[1.0, 0.0], [0.0, 1.0]]) for side in (-30.0, 30.0)]

    def draw(mixture: AnyOf, number: int) -> tuple[None, Tensor]:
        num = int(((mixture.offsets + torch.tensor([0.0, 9.0])).softmax(0)[0] * 48).round())
        return None, torch.cat([law.draw(n, seeded(number)) for law, n in zip(laws, (num, 48 - num), strict=True) if n])

    found = tuned(AnyOf(laws), draw)
    assert abs((found.offsets + torch.tensor([0.0, 9.0])).softmax(0)[0] - 0.5) < 0.1


# --- noise levels -----------------------------------------------------------------------------------------------------


def families() -> tuple[Family, Family]:
    return Family([-1.0, 0.5], 0.8), Family([1.0, 0.0], 0.5)


def mixed(*values: Tensor) -> Tensor:
    return -torch.stack(values).neg().exp().mean(0).log()


def seen(family: Family, x: Tensor, t: float) -> Tensor:
    """Clean x as the family expects it from x with noise."""
    return family.mean + (x - family.mean) * family.spread**2 / (family.spread**2 + t**2)


def test_a_composition_expects_clean_x_as_the_gaussian_that_it_is():
    f, g = families()
    both, x, t = f + g, points(20, 2), 0.6
    slope = (x - f.mean) / (f.spread**2 + t**2) + (x - g.mean) / (g.spread**2 + t**2)
    torch.testing.assert_close(both.at(t).denoise(x), x - t**2 * slope)
    levels = torch.tensor([0.3, 0.9]).repeat(10)
    found = both.at(levels).denoise(x)
    torch.testing.assert_close(found[1::2], both.at(0.9).denoise(x[1::2]))
    with pytest.raises(RuntimeError, match="needs a noise level"):
        both.denoise(x)


# Compositions of families f, g and energies of clean x, c, d; and what they are at a level.
LEVELLED = {
    "sum": lambda f, g, c, d: (0.7 * f - 0.2 * g, lambda x, t: 0.7 * f.at(t)(x) - 0.2 * g.at(t)(x)),
    "clean": lambda f, g, c, d: (f + 3 * c, lambda x, t: f.at(t)(x) + 3 * c(seen(f, x, t))),
    "clean first": lambda f, g, c, d: (c + f + g, lambda x, t: c(seen(f, x, t)) + f.at(t)(x) + g.at(t)(x)),
    "mixture": lambda f, g, c, d: (any_of(f, g, c), lambda x, t: mixed(f.at(t)(x), g.at(t)(x), c(seen(f, x, t)))),
    "mixture of clean": lambda f, g, c, d: (
        f + any_of(c, d),
        lambda x, t: f.at(t)(x) + mixed(c(seen(f, x, t)), d(seen(f, x, t))),
    ),
    "nested": lambda f, g, c, d: (
        f + 2 * any_of(g + c, d),
        lambda x, t: f.at(t)(x) + 2 * mixed(g.at(t)(x) + c(seen(g, x, t)), d(seen(g, x, t))),
    ),
}


@pytest.mark.parametrize("name", LEVELLED)
def test_families_compose_level_by_level(name):
    f, g = families()
    made, wanted = LEVELLED[name](f, g, Gaussian(*NARROW), Gaussian(*MIDDLE))
    x, levels = points(4, 2), torch.tensor([0.03, 0.4, 1.0, 5.0])
    assert made.noisy and made.scale is None
    for t in levels:
        torch.testing.assert_close(made.at(float(t))(x), wanted(x, float(t)))
        leaf = x.clone().requires_grad_()
        torch.testing.assert_close(
            gradient(made.at(t), x)[1], torch.autograd.grad(wanted(leaf, float(t)).sum(), leaf)[0]
        )
    each = torch.cat([wanted(x[k : k + 1], float(t)) for k, t in enumerate(levels)])
    torch.testing.assert_close(made.at(levels)(x), each)


def test_only_families_are_bound_to_a_level():
    f, _ = families()
    for clean in (Gaussian(*A) + Gaussian(*B), any_of(Gaussian(*A), Gaussian(*B)), invariant(Gaussian(*A))):
        assert not clean.noisy
        with pytest.raises(RuntimeError, match="knows noise levels"):
            clean.at(0.1)
    made, x = f + Gaussian(*NARROW), points(3, 2)
    made.at(2.0)
    assert torch.equal(made.at(0.1)(x), (f + Gaussian(*NARROW)).at(0.1)(x)), "the original is not bound with its copy"


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_offsets_follow_the_logarithm_of_the_level(order):
    levels, table = [0.1, 0.4, 6.4], torch.tensor([[0.0, 1.0], [-3.0, 2.0], [5.0, 0.5]])
    f, g = families()
    mixture = AnyOf([f, g], table[order].tolist(), [levels[k] for k in order])
    x = points(6, 2)

    def at(t: float, offsets: Tensor) -> Tensor:
        return mixed(f.at(t)(x) - offsets[0], g.at(t)(x) - offsets[1])

    wanted = {  # 0.2 is half way from 0.1 to 0.4, and 0.8 a quarter of that from 0.4 to 6.4
        0.1: table[0], 0.4: table[1], 6.4: table[2], 0.01: table[0], 20.0: table[2],
        0.2: (table[0] + table[1]) / 2, 0.8: 0.75 * table[1] + 0.25 * table[2],
    }  # fmt: skip
    near = {"rtol": 0, "atol": 5e-6}  # levels are compared in float32
    for t, offsets in wanted.items():
        torch.testing.assert_close(mixture.at(t)(x), at(t, offsets), **near)
        torch.testing.assert_close(mixture.at(torch.tensor(t))(x), at(t, offsets), **near)
    each = torch.stack([at(t, offsets)[k] for k, (t, offsets) in enumerate(list(wanted.items())[:6])])
    torch.testing.assert_close(mixture.at(torch.tensor(list(wanted)[:6]))(x), each, **near)
    one = AnyOf([f, g], [[0.5, -1.0]], [0.3])
    torch.testing.assert_close(one.at(4.0)(x), at(4.0, torch.tensor([0.5, -1.0])))


def test_families_are_balanced_at_every_level():
    f, g = families()
    parts = [f + shifted(4.0), g + shifted(-1.0)]
    levels = (5.0, 1.0, 0.2)
    mixture = balanced(any_of(*parts), {t: [f.draw(t, 4000, 0), g.draw(t, 4000, 1)] for t in levels}, [0.3, 0.7])
    assert mixture.levels == list(levels)
    for t in levels:
        log_z = [math.log(2 * math.pi * (e.spread**2 + t**2)) - by for e, by in ((f, 4.0), (g, -1.0))]
        share = (mixture.at(t).offsets + torch.tensor(log_z)).softmax(0)
        assert (share - torch.tensor([0.3, 0.7])).abs().max() < 0.04, "to the error of 8,000 samples, about .01"


def test_offsets_of_a_level_are_not_those_of_another():
    mixture = AnyOf([Family([0.0, 0.0], 1.0), Family([1.0, 0.0], 0.5)], [[0.0, 5.0], [0.0, 1.0]], [5.0, 0.1])
    with pytest.raises(RuntimeError, match="bind what it was bound from"):
        mixture.at(5.0).at(0.1)
    assert any_of(Family([0.0, 0.0], 1.0), Family([1.0, 0.0], 0.5)).at(5.0).at(0.1)(points(3, 2)).isfinite().all()


@pytest.mark.slow
def test_steps_at_each_level_find_a_product_and_the_flow_alone_does_not():
    """With f = g in spread s, the flow makes the standard deviation s / sqrt(s^2 + T^2) of what it should be."""
    f, g = Family([-1.0, 0.5], 0.8), Family([1.0, 0.0], 0.8)
    law = sum_of((1.0, 1.0), *((e.mean.tolist(), (torch.eye(2) / 0.64).tolist()) for e in (f, g)))
    schedule, chains = Schedule(24, 4.0, 0.03, 50, 0.7), 5000
    start = f.mean / 2 + g.mean / 2 + math.sqrt((0.64 + 16) / 2) * torch.randn(chains, 2, generator=seeded(0))
    *_, (_, x) = anneal(f + g, schedule, start, seeded(1))
    std = 0.8 / math.sqrt(2)
    assert ((x.mean(0) - law.mean).abs() < LIMIT * std / math.sqrt(chains)).all()
    # On top of the sample's error 1 % for what Langevin steps of this size and the last predictors leave.
    assert ((x.std(0) / std - 1).abs() < 0.01 + LIMIT / math.sqrt(2 * chains)).all()
    *_, (_, x) = anneal(f + g, replace(schedule, steps=0), start, seeded(1))
    assert (x.std(0) / std < 0.3).all(), "0.2 for a flow in small steps"


# --- scores -----------------------------------------------------------------------------------------------------------


def test_scores_are_what_their_names_say():
    x = torch.tensor([[[[1.0, 2.0, 4.0], [0.0, -1.0, 3.0]]], [[[1.0, 5.0, 1.0], [2.0, 0.0, 2.0]]]])  # [2, 1, 2, 3]
    wanted = {
        "brightness": [9.0, 11.0],
        "mirror": [9.0 + 9.0, 0.0],  # 1 and 4 twice, 0 and 3 twice, halved
        "contrast": [(1 + 9 + 1) / 2 + (1 + 4 + 1 + 16) / 2, (1 + 25 + 1) / 2 + (16 + 16 + 4 + 4) / 2],
    }
    assert set(wanted) == set(SCORES)
    for name, values in wanted.items():
        torch.testing.assert_close(FunctionEnergy(name)(x), torch.tensor(values))
    two = torch.cat([x, -x], 1)  # channels are no neighbours
    torch.testing.assert_close(FunctionEnergy("contrast")(two), 2 * torch.tensor(wanted["contrast"]))
    torch.testing.assert_close(gradient(FunctionEnergy("brightness"), x)[1], torch.ones_like(x))


def test_a_score_must_give_a_number_a_sample_and_have_a_known_name():
    x = torch.zeros(3, 1, 2, 2)
    for score in (lambda x: x.sum(), lambda x: x.flatten(1), lambda x: x.flatten(1).sum(1, keepdim=True)):
        with pytest.raises(ValueError, match=r"expected one number a sample, \[3\]"):
            FunctionEnergy(score)(x)
    with pytest.raises(ValueError, match="one of brightness, mirror, contrast, or a function, got darkness"):
        FunctionEnergy("darkness")


# --- labels and the disk ----------------------------------------------------------------------------------------------


def encoder(seed: int = 0, **settings) -> EncoderEnergy:
    torch.manual_seed(seed)
    energy = EncoderEnergy([1, 4, 4], **SMALL, **settings)
    with torch.no_grad():  # at its start the network says little, and of labels nothing; here they count
        for level in energy.levels:
            level.weigh.weight += 0.3 * torch.randn_like(level.weigh.weight)
    return energy


def shapes(noisy: bool = True) -> EncoderEnergy:
    energy = encoder(4, num_classes=3, noisy=noisy)
    energy.classes = ("square", "circle", "star")
    return energy


def joint() -> JointEnergy:
    energy = JointEnergy(EncoderLogits(encoder(5, heads=3)), 3, [1, 4, 4])
    energy.classes = ("square", "circle", "star")
    return energy


def same_from_disk(energy: Energy, x: Tensor, folder) -> Energy:
    energy.save_pretrained(folder)
    for loaded in (energies.load(folder), type(energy).from_pretrained(folder)):
        assert type(loaded) is type(energy)
        assert torch.equal(loaded(x), energy(x))
    return loaded


@pytest.mark.parametrize("make", [shapes, joint])
def test_labels_go_by_name_on_the_disk_too(make, tmp_path):
    energy, x = make().at(0.5), points(4, 1, 4, 4)
    assert torch.equal(energy.given("circle")(x), energy.given(1)(x))
    values = torch.stack([energy.given(name)(x) for name in (*energy.classes, None)])
    assert (values.diff(dim=0).abs() > 1e-6).all(), "labels count"
    with pytest.raises(ValueError, match="one of square, circle, star, got triangle"):
        energy.given("triangle")
    with pytest.raises(ValueError, match="below 3, got 3"):
        energy.given(3)
    again = same_from_disk(energy.given("star"), x, tmp_path)
    assert isinstance(again, energies.Family) and again.classes == energy.classes
    assert torch.equal(again.given("square")(x), energy.given("square")(x))
    assert torch.equal(again.at(2.0)(x), energy.given("star").at(2.0)(x))
    nameless = encoder(num_classes=2)
    with pytest.raises(ValueError, match=r"none \(unnamed\), got circle"):
        nameless.given("circle")


def compositions() -> dict[str, tuple[Energy, Tensor]]:
    a, b, c, d = (encoder(k, noisy=False) for k in range(4))
    x, wide, point = points(3, 1, 4, 4), points(2, 1, 8, 6), points(5, 2)
    circle = shapes().given("circle").at(0.3)
    return {
        "nested": (0.5 * (a + b) - any_of(c, invariant(d)), x),
        "weights": (1 / 3 * a - 0.1 * b, x),
        "offsets": (AnyOf([a, b, 0.7 * c], [0.1, -1 / 3, 1e-3]), x),
        "score": (FunctionEnergy("brightness"), x),
        "score in a sum": (a + 0.3 * FunctionEnergy(SCORES["mirror"]), x),
        "tiled": (tiled(a, [8, 6], [4, 2]), wide),
        "tiled in a sum": (
            tiled(0.5 * a + FunctionEnergy("contrast"), [8, 6], [2, 2]) - FunctionEnergy("mirror"),
            wide,
        ),
        "label": (0.5 * circle + any_of(shapes(noisy=False).given("star"), a), x),
        "joint": (joint().given("square").at(0.7) + 2 * circle, x),
        "analytic": (any_of(Gaussian(*WIDE), Gaussian(*NARROW) + Mixture([[0.1, 0.2]], [0.3])), point),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nested", "weights", "offsets", "score", "score in a sum", "tiled", "tiled in a sum",
                                  "label", "joint", "analytic"])  # fmt: skip
def test_compositions_load_as_they_were(name, tmp_path):
    same_from_disk(*compositions()[name], tmp_path / name)


def test_families_load_unbound_and_with_their_levels(tmp_path):
    f, g, x = encoder(0), encoder(1), points(3, 1, 4, 4)
    made = AnyOf([f, g], [[1.0, 2.0], [-1.0, 1 / 3]], [2.0, 0.1]) + 0.5 * FunctionEnergy("contrast")
    made.save_pretrained(tmp_path)
    again = energies.load(tmp_path)
    for t in (3.0, 0.7, 0.05):
        assert torch.equal(again.at(t)(x), made.at(t)(x))


class Counted(Family):
    """Counts how often it is asked."""

    asked = 0

    def forward(self, x: Tensor) -> Tensor:
        Counted.asked += 1
        return super().forward(x)


def test_what_terms_share_is_asked_once_also_when_loaded(tmp_path):
    shared, f, x = Counted([-1.0, 0.5], 0.8), families()[1], points(4, 2)
    made = AnyOf([shared + f, 2 * shared - f]) + AnyOf([f - 0.5 * shared, shared])
    wanted = mixed((shared + f).at(0.6)(x), (2 * shared - f).at(0.6)(x)) + mixed(
        (f - 0.5 * shared).at(0.6)(x), shared.at(0.6)(x)
    )
    made.save_pretrained(tmp_path)
    for energy in (made, energies.load(tmp_path)):
        Counted.asked = 0
        torch.testing.assert_close(energy.at(0.6)(x), wanted)
        assert Counted.asked == 1


def own(x: Tensor) -> Tensor:
    return x.square().flatten(1).sum(1).cos()


def test_a_score_of_ones_own_is_found_again_by_its_name(tmp_path):
    x = points(3, 1, 4, 4)
    FunctionEnergy(own).save_pretrained(tmp_path / "own")
    (2 * FunctionEnergy(own)).save_pretrained(tmp_path / "sum")
    for load in (energies.load, FunctionEnergy.from_pretrained):
        assert torch.equal(load(tmp_path / "own")(x), own(x))
    assert torch.equal(energies.load(tmp_path / "sum")(x), 2 * own(x))
    with pytest.raises(TypeError, match="a lambda is not found again by its name"):
        FunctionEnergy(lambda x: own(x)).save_pretrained(tmp_path / "lambda")


def test_block_averages_of_a_composition_are_held():
    made, x = encoder(0, noisy=False) + FunctionEnergy("contrast"), points(50, 1, 4, 4)
    y = Average((2, 2)).observe(x[:1])
    held = ends(Conditioned(made, Average((2, 2)), y), x, 3, HMC(0.2, 2))
    torch.testing.assert_close(Average((2, 2)).observe(held), y.expand(50, -1, -1, -1))
