"""The mean of a posterior by moment matching, against the closed form of a Gaussian."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from energies import Average, Grey, Hidden, Noisy, Observation, Stacked
from energies.family import Family
from energies.matching import MomentMatching, matched

SHAPE = (3, 2, 2)
MASK = torch.tensor([[True, False], [False, True]])[None, None]
OBSERVATIONS = {
    "hidden": Hidden(MASK),
    "average": Average((2, 2)),
    "grey": Grey(),
    "noisy": Noisy(Grey(), 0.3),
    "noise": Noisy(Hidden(MASK & False), 0.4),
    "stacked": Stacked((Average((2, 2)), Grey())),
}


class Normal(Family):
    """N(mean, covariance) over [3, 2, 2], its noise in units of the scale."""

    def __init__(self, scale: Tensor | None = None) -> None:
        rng = torch.Generator().manual_seed(0)
        root = torch.randn(12, 12, generator=rng) / 12**0.5
        covariance, mean = root @ root.T + 0.1 * torch.eye(12), 0.3 * torch.randn(SHAPE, generator=rng)
        super().__init__(noisy=True, mean=mean, spread=float(covariance.diagonal().mean().sqrt()), scale=scale)
        self.covariance = covariance
        self.event_shape = SHAPE

    def noise(self) -> Tensor:
        """Covariance of the noise at the bound level."""
        s = torch.ones(SHAPE) if self.scale is None else self.scale.expand(SHAPE)
        return torch.diag((float(self.level) * s.flatten()) ** 2)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        d = (x - self.mean).flatten(1)
        return ((d @ torch.linalg.inv(self.covariance + self.noise())) * d).sum(1) / 2


def dense(observation: Observation) -> tuple[Tensor, float]:
    """A [M, 12] and the variance of the noise."""
    seen = observation.observe(torch.eye(12).view(12, *SHAPE))
    rows = torch.cat([part.flatten(1) for part in (seen if isinstance(seen, tuple) else (seen,))], 1).T
    return rows[rows.abs().sum(1) > 1e-9], observation.noise**2 if isinstance(observation, Noisy) else 0.0


def given(mean: Tensor, covariance: Tensor, observation: Observation, truth: Tensor) -> Tensor:
    """Mean of N(mean [B, 12], covariance) given A truth."""
    a, variance = dense(observation)
    spread = a @ covariance @ a.T + variance * torch.eye(len(a))
    return (
        mean + (truth.flatten(1) - mean) @ a.T @ torch.linalg.pinv(spread, hermitian=True, rtol=1e-10) @ a @ covariance
    )


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
def test_at_a_level_the_matched_mean_of_a_gaussian_is_exact(name: str, scaled: bool, double: None) -> None:
    rng = torch.Generator().manual_seed(1)
    scale = torch.linspace(0.5, 2, 4).view(1, 2, 2) if scaled else None
    prior, observation, level = Normal(scale), OBSERVATIONS[name], 0.7
    truth, x = (prior.mean + 0.2 * torch.randn(5, *SHAPE, generator=rng) for _ in range(2))
    posterior, bound = prior.posterior(observation, observation.observe(truth)), prior.at(level)
    found = matched(bound.denoise, posterior, x, level, prior.spread, 12)
    kept = prior.covariance @ torch.linalg.inv(prior.covariance + bound.noise())
    clean = prior.mean.flatten() + (x - prior.mean).flatten(1) @ kept.T
    exact = given(clean, kept @ bound.noise(), observation, truth)
    assert (exact.abs() < 1.5).all(), "the test is of what is not clamped"
    torch.testing.assert_close(found.flatten(1), exact, rtol=0, atol=1e-6)
    untold = observation.project(bound.denoise(x), posterior.y, scale) if observation.holds else clean.view_as(x)
    if name not in ("hidden", "stacked"):
        assert (untold.flatten(1) - exact).abs().max() > 1e-3, "projection alone is off"


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_the_estimate_is_near_the_posterior_mean_and_holds_what_is_exact(name: str, double: None) -> None:
    prior, observation, rng = Normal(), OBSERVATIONS[name], torch.Generator().manual_seed(2)
    truth = prior.mean + 0.5 * torch.randn(1, *SHAPE, generator=rng)
    y = observation.observe(truth)
    posterior, num = prior.posterior(observation, y), 200
    how = MomentMatching(12, low=0.05, corrections=4)
    found = how.expected(posterior, torch.randn(num, *SHAPE, generator=rng), rng)
    exact = given(prior.mean.view(1, 12), prior.covariance, observation, truth)
    width = found.flatten(1).std(0).max() / math.sqrt(num)
    assert (found.mean(0).flatten() - exact).abs().max() < 0.05 * prior.spread + 5 * width
    if observation.holds:
        for part, whole in zip(
            *(p if isinstance(p, tuple) else (p,) for p in (observation.observe(found), y)), strict=True
        ):
            torch.testing.assert_close(part, whole.expand_as(part), rtol=0, atol=1e-9)


def test_a_chain_goes_the_same_way_in_any_company() -> None:
    prior, observation = Normal(), OBSERVATIONS["average"]
    y = torch.linspace(-1, 1, 4).view(4, 1, 1, 1).expand(4, 3, 1, 1)

    def run(rows: slice) -> Tensor:
        streams = [torch.Generator().manual_seed(k) for k in range(4)[rows]]
        noise = torch.stack([torch.randn(SHAPE, generator=stream) for stream in streams])
        return MomentMatching().expected(prior.posterior(observation, y[rows]), noise, streams)

    torch.testing.assert_close(run(slice(0, 4))[1:3], run(slice(1, 3)), rtol=0, atol=1e-5)


def test_impossible_settings_are_refused() -> None:
    for settings in ({"levels": 1}, {"low": 0.0}, {"corrections": -1}, {"noise": 0.0}, {"below": 0.01}, {"chains": 0}):
        with pytest.raises(ValueError):
            MomentMatching(**settings)  # type: ignore[arg-type]
    assert MomentMatching().gradients == 24
