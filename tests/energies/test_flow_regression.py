"""Stacking by regression: the weights that least squares gives, and errors foretold."""

from __future__ import annotations

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
    return Candidates(values, feature), truth


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


def extrapolated(shares: list[float]) -> tuple[list[Candidates], list[torch.Tensor]]:
    """Two estimates of each mask, the second wrong by so much more than the first: extrapolation takes the error away,
    in the direction that the sign of the share tells."""
    trials, truths = [], []
    for seed, share in enumerate(shares):
        rng = seeded(seed)
        truth, wrong = 0.3 * torch.randn(500, 1, generator=rng), 0.1 * torch.randn(500, 1, generator=rng)
        values = torch.stack([truth + wrong, truth + (1 + share) * wrong])
        trials.append(Candidates(values, torch.rand(500, 1, generator=rng)))
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
