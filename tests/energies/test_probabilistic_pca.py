"""The low-rank Gaussian against dense linear algebra."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import Average, Hidden, gradient
from energies.references.probabilistic_pca import ProbabilisticPCA

NOISE = 0.3


@pytest.fixture
def subspace() -> ProbabilisticPCA:
    x = torch.randn(40, 1, 4, 4, 4, generator=seeded(0)) @ torch.diag(torch.tensor([2.0, 1.0, 0.5, 0.2]))
    return ProbabilisticPCA.fit(x, 6, NOISE)


def covariance(subspace: ProbabilisticPCA) -> Tensor:
    b = subspace.basis
    return b.T @ (subspace.variances[:, None] * b) + NOISE**2 * torch.eye(b.shape[1])


def test_components_are_the_principal_ones():
    x = torch.randn(500, 3, generator=seeded(1)) * torch.tensor([3.0, 1.0, 0.1]) + 1
    found = ProbabilisticPCA.fit(x, 2, NOISE)
    centred = x - x.mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred / len(x)).flip(0)
    assert torch.allclose(found.variances, values[:2], rtol=1e-4)
    assert torch.allclose(found.basis @ found.basis.T, torch.eye(2), atol=1e-4)
    assert found.mean.allclose(x.mean(0), atol=1e-5)


def test_energy_is_that_of_the_dense_gaussian(subspace):
    x = torch.randn(5, 1, 4, 4, 4, generator=seeded(2))
    d = x.flatten(1) - subspace.mean
    precision = torch.linalg.inv(covariance(subspace))
    energies, slope = gradient(subspace, x)
    assert torch.allclose(energies, 0.5 * (d @ precision * d).sum(1), rtol=1e-4)
    assert torch.allclose(slope.flatten(1), d @ precision, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["hidden", "average"])
def test_expectation_is_the_posterior_mean(subspace, kind):
    x = torch.randn(3, 1, 4, 4, 4, generator=seeded(3))
    if kind == "hidden":
        mask = torch.rand(3, 1, 4, 4, 4, generator=seeded(4)) < 0.6
        observation = Hidden(mask)
        observe, adjoint = observation.observe, observation.observe
    else:
        average = Average((2, 2, 2))
        observe = average.observe

        def adjoint(v: Tensor) -> Tensor:
            return average.repeat(v) / 8

    y = observe(x)
    found = subspace.expected(observe, adjoint, y, steps=60).flatten(1)
    identity = torch.eye(64).view(64, 1, 4, 4, 4)
    for k in range(3):
        a = torch.eye(64)[~mask[k].flatten()] if kind == "hidden" else observe(identity).flatten(1).T
        signal = covariance(subspace) - NOISE**2 * torch.eye(64)
        gain = signal @ a.T @ torch.linalg.inv(a @ covariance(subspace) @ a.T)
        mean = subspace.mean + gain @ (a @ (x[k].flatten() - subspace.mean))
        assert torch.allclose(found[k], mean, atol=2e-3)


def test_what_spans_less_than_the_rank_is_no_problem():
    x = torch.cat([torch.zeros(3, 8), torch.ones(3, 8)])
    found = ProbabilisticPCA.fit(x, 5, NOISE)
    assert len(found.variances) == 1 and found.basis.isfinite().all()


@pytest.mark.parametrize("shape", [(400, 30), (30, 400)], ids=["many", "few"])
def test_a_few_of_many_components_are_those_of_all(shape):
    x = torch.randn(shape, generator=seeded(3)) * torch.linspace(3, 0.1, shape[1])
    found, every = (ProbabilisticPCA.fit(x, rank, NOISE) for rank in (4, 29))
    torch.testing.assert_close(found.variances, every.variances[:4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((found.basis @ every.basis.T).abs(), torch.eye(4, 29), atol=1e-3, rtol=0)


def test_data_that_are_all_alike_have_no_components():
    assert len(ProbabilisticPCA.fit(torch.ones(40, 16), 3, NOISE).variances) == 0
