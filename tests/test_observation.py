"""Conditioning on what is known: projections, and the law of a conditioned Gaussian."""

from __future__ import annotations

import pytest
import torch

from energies import Conditioned, Gaussian, Hidden, gradient
from energies.samplers import Langevin
from energies.sampling import sample

MASKS = {
    "pixels": torch.rand(4, 6, 5, generator=torch.Generator().manual_seed(0)) < 0.5,
    "frames": torch.tensor([False, True, True, False])[:, None, None],
    "one each": torch.rand(2, 1, 4, 6, 5, generator=torch.Generator().manual_seed(1)) < 0.5,
}
MEAN = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
PRECISION = torch.tensor(
    [[2.0, 0.8, -0.5, 0.3], [0.8, 1.5, 0.4, -0.6], [-0.5, 0.4, 1.2, 0.5], [0.3, -0.6, 0.5, 1.8]], dtype=torch.float64
)
PRIOR = Gaussian(MEAN.tolist(), PRECISION.tolist()).double()
HIDDEN = torch.tensor([True, False, True, False])
Y = torch.tensor([0.0, 1.3, 0.0, -0.7], dtype=torch.float64)


@pytest.mark.parametrize("name", MASKS)
def test_projection_is_idempotent_and_exact_to_the_bit(name):
    hidden = Hidden(MASKS[name])
    x = torch.randn(2, 3, 4, 6, 5) * 10.0 ** torch.randint(-20, 20, (2, 3, 4, 6, 5))
    y = torch.randn_like(x)
    once = hidden.project(x, y)
    assert torch.equal(hidden.project(once, y), once)
    assert torch.equal(hidden.observe(once), hidden.observe(y))
    mask = MASKS[name].expand_as(x)
    assert torch.equal(once[mask], x[mask]), "the nearest point keeps what is hidden"


@pytest.mark.parametrize("name", MASKS)
def test_tangent_is_the_orthogonal_projection_onto_what_cannot_be_seen(name):
    hidden = Hidden(MASKS[name])
    v = torch.randn(2, 3, 4, 6, 5)
    along = hidden.tangent(v)
    assert torch.equal(hidden.tangent(along), along)
    assert not hidden.observe(along).any()
    assert (along * (v - along)).sum() == 0
    y = torch.randn_like(v)
    x = hidden.project(v, y)
    assert torch.equal(hidden.observe(x + along), hidden.observe(y)), "moves along it leave the measurement"


def test_a_conditioned_gaussian_is_sampled_from_its_analytic_posterior():
    """Langevin of step epsilon has the exact mean and the covariance P^-1 (1 - epsilon^2 P / 4)^-1."""
    chains, step_size = 20_000, 0.6
    posterior = Conditioned(PRIOR, Hidden(HIDDEN), Y)
    x = torch.zeros(chains, 4, dtype=torch.float64)
    for state, _ in sample(Langevin(step_size), posterior, x, 250, torch.Generator().manual_seed(0)):
        x = state.x
    assert torch.equal(x[:, ~HIDDEN], Y[~HIDDEN].expand(chains, 2))

    inner = PRECISION[HIDDEN][:, HIDDEN]
    mean = MEAN[HIDDEN] - torch.linalg.solve(inner, PRECISION[HIDDEN][:, ~HIDDEN] @ (Y - MEAN)[~HIDDEN])
    exact = inner.inverse()
    slowest = torch.linalg.eigvalsh(inner)[0] * step_size**2 / 2
    assert (1 - slowest) ** 250 < 1e-6, "the start is forgotten"
    biased = exact @ (torch.eye(2, dtype=torch.float64) - step_size**2 / 4 * inner).inverse()
    found = x[:, HIDDEN]
    variance = biased.diagonal()
    mean_error = (variance / chains).sqrt()
    assert ((found.mean(0) - mean) / mean_error).abs().max() < 5
    covariance_error = ((variance[:, None] * variance + biased**2) / chains).sqrt()
    assert ((found.T.cov() - biased) / covariance_error).abs().max() < 5

    prior = PRECISION.inverse()[HIDDEN][:, HIDDEN]  # what forgetting the correlations would give
    assert ((prior - biased) / covariance_error).abs().max() > 10
    assert ((MEAN[HIDDEN] - mean) / mean_error).abs().max() > 10


def test_a_noisy_measurement_adds_its_misfit():
    noise = 0.4
    posterior = Conditioned(PRIOR, Hidden(HIDDEN), Y, noise)
    x = torch.randn(6, 4, dtype=torch.float64)
    misfit = (x - Y)[:, ~HIDDEN].square().sum(1) / (2 * noise**2)
    torch.testing.assert_close(posterior(x), PRIOR(x) + misfit)
    seen = torch.diag((~HIDDEN).double()) / noise**2
    mean = torch.linalg.solve(PRECISION + seen, PRECISION @ MEAN + seen @ Y)
    torch.testing.assert_close(gradient(posterior, mean[None])[1], torch.zeros(1, 4, dtype=torch.float64))
    assert torch.equal(posterior.project(x), x) and torch.equal(posterior.tangent(x), x), "nothing is held fast"
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="noise must be positive"):
            Conditioned(PRIOR, Hidden(HIDDEN), Y, wrong)
