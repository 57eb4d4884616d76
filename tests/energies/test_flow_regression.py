"""Stacking by regression: the weights that least squares gives, and errors foretold."""

from __future__ import annotations

from dataclasses import replace

import torch
from conftest import seeded

from energies.classical import regression
from energies.classical.motion import Candidates


def trial(num: int, seed: int, told: bool = True) -> tuple[Candidates, torch.Tensor]:
    """Truth, and two estimates of it: errors of .1 and .2, the other way round where the feature is 1."""
    rng = seeded(seed)
    truth = 0.3 * torch.randn(num, 1, generator=rng)
    feature = (torch.rand(num, 1, generator=rng) < 0.5).float()
    small, large = 0.1 * torch.randn(num, 1, generator=rng), 0.2 * torch.randn(num, 1, generator=rng)
    swap = feature if told else torch.zeros_like(feature)
    values = torch.stack([truth + small + swap * (large - small), truth + large + swap * (small - large)])
    return Candidates(values, feature, torch.zeros(num, 2)), truth


def test_independent_errors_are_weighted_by_inverse_variance() -> None:
    found, truth = trial(20_000, 0, told=False)
    stack = regression.fit([found], [truth])
    error = float((stack.estimate(found) - truth).square().mean())
    assert abs(error / (0.04 * 0.01 / 0.05) - 1) < 0.05


def test_what_is_known_of_a_pixel_changes_the_weights() -> None:
    found, truth = trial(20_000, 0)
    stack = regression.fit([found], [truth])
    fresh, wanted = trial(20_000, 1)
    error = float((stack.estimate(fresh) - wanted).square().mean())
    assert abs(error / (0.04 * 0.01 / 0.05) - 1) < 0.1  # without the feature it would be .0125


def test_expected_errors_are_those_of_fresh_pixels() -> None:
    found, truth = trial(20_000, 0)
    stack = regression.fit([found], [truth])
    fresh, wanted = trial(20_000, 1)
    expected = stack.expected_error(fresh)
    assert abs(float(expected.square().mean() / (stack.estimate(fresh) - wanted).square().mean()) - 1) < 0.1


def halves(num: int, seed: int) -> tuple[Candidates, torch.Tensor]:
    """Two estimates of a picture of 32 x 32: errors of .1 and .2 in its left half, the other way round in its right."""
    found, truth = trial(num, seed, told=False)
    places = torch.randint(32, (num, 2), generator=seeded(seed + 10))
    right = places[:, 1, None] >= 16
    values = torch.stack([torch.where(right, *found.values.flip(0)), torch.where(right, *found.values)])
    return Candidates(values, found.features, places), truth


def test_weights_differ_by_the_place_where_every_mask_speaks_for_it() -> None:
    masks, truths = zip(*(halves(8_000, seed) for seed in range(3)), strict=True)
    fresh, wanted = halves(20_000, 3)
    stack = regression.fit(masks, truths)
    error = float((stack.estimate(fresh) - wanted).square().mean())
    assert error / (0.04 * 0.01 / 0.05) < 1.15  # with the same weights everywhere it would be .0125, 1.56 times
    edges = (fresh.places[:, 1] < 8) | (fresh.places[:, 1] >= 24)  # two cells from where they change
    error = float((stack.estimate(fresh) - wanted)[edges].square().mean())
    assert abs(error / (0.04 * 0.01 / 0.05) - 1) < 0.06


def test_weights_are_the_same_everywhere_where_places_tell_nothing() -> None:
    masks, truths = zip(*(trial(2_000, seed, told=False) for seed in range(3)), strict=True)
    spread = [replace(mask, places=torch.randint(32, (2_000, 2), generator=seeded(k))) for k, mask in enumerate(masks)]
    assert not regression.fit(spread, truths).local.weights.any()


def test_large_frames_have_larger_cells() -> None:
    masks, truths = zip(*(trial(500, seed, told=False) for seed in range(2)), strict=True)
    large = [replace(mask, places=torch.randint(1080, (500, 2), generator=seeded(k))) for k, mask in enumerate(masks)]
    local = regression.fit(large, truths).local
    assert local.side == 64 and local.weights.shape[:2] == (17, 17)


def extrapolated(shares: list[float]) -> tuple[list[Candidates], list[torch.Tensor]]:
    """Two estimates of each mask, the second wrong by so much more than the first: extrapolation takes the error away,
    in the direction that the sign of the share tells."""
    trials, truths = [], []
    for seed, share in enumerate(shares):
        rng = seeded(seed)
        truth, wrong = 0.3 * torch.randn(500, 1, generator=rng), 0.1 * torch.randn(500, 1, generator=rng)
        values = torch.stack([truth + wrong, truth + (1 + share) * wrong])
        trials.append(Candidates(values, torch.rand(500, 1, generator=rng), torch.zeros(500, 2)))
        truths.append(truth)
    return trials, truths


def test_what_masks_do_not_agree_on_is_left_to_the_vote() -> None:
    """However many pixels it has, each mask is one observation."""
    for shares, low, high in (([0.5] * 4, 0.0, 0.2), ([0.5, 0.5, 0.5, -0.5], 0.98, 1.02)):
        trials, truths = extrapolated(shares)
        stack = regression.fit(trials, truths)
        for found, truth in zip(trials, truths, strict=True):
            vote = torch.einsum("k,knc->nc", stack.votes, found.values)
            assert low <= float((stack.estimate(found) - truth).norm() / (vote - truth).norm()) <= high
