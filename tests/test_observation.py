"""Conditioning on what is known: projections, and the law of a conditioned Gaussian."""

from __future__ import annotations

import pytest
import torch

from energies import Average, Conditioned, Gaussian, Grey, Hidden, gradient
from energies.samplers import Langevin
from energies.sampling import sample
from energies.subspace import Subspace

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


# ------------------------------------------------------------------- means of blocks, and grey pictures

COLOURS = (3, 4, 6)
WEIGHTS = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
OPERATORS = {
    "hidden": Hidden(torch.rand(2, 1, 4, 6, generator=torch.Generator().manual_seed(2)) < 0.5),
    "average": Average((2, 3)),
    "grey": Grey(),
    "three weights": Grey((0.7, -0.2, 0.5)),
}
operators = pytest.mark.parametrize("name", OPERATORS)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def norm_to(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x - y).flatten(1).norm(dim=1)


@operators
def test_the_adjoint_has_the_same_products(name):
    """<A x, y> = <x, A^T y> for all x and y."""
    operator, x = OPERATORS[name], draws(2, *COLOURS)
    seen = operator.observe(x)
    y = draws(*seen.shape, seed=1)
    there, back = (seen * y).flatten(1).sum(1), (x * operator.adjoint(y)).flatten(1).sum(1)
    torch.testing.assert_close(there, back)
    assert there.abs().min() > 0.01


@operators
def test_projection_is_exact_idempotent_and_to_the_nearest(name):
    operator, x = OPERATORS[name], draws(2, *COLOURS)
    y = operator.observe(draws(2, *COLOURS, seed=1))
    once = operator.project(x, y)
    torch.testing.assert_close(operator.observe(once), y, rtol=0, atol=1e-12)
    torch.testing.assert_close(operator.project(once, y), once, rtol=0, atol=1e-12)
    torch.testing.assert_close(operator.project(x, operator.observe(x)), x)
    for seed in range(5):
        other = operator.project(x + draws(2, *COLOURS, seed=10 + seed), y)
        assert (norm_to(once, x) < norm_to(other, x)).all()


@operators
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
def test_tangents_are_in_the_null_space_and_projected_orthogonally(name, scaled):
    """With a scale s, in the null space of A diag(s)."""
    operator, v = OPERATORS[name], draws(2, *COLOURS)
    for shape in ((2, 1, *COLOURS[1:]), (2, *COLOURS)):
        scale = draws(*shape, seed=3).exp() if scaled else None
        s = torch.ones_like(v) if scale is None else scale
        along = operator.tangent(v, scale)
        seen = operator.observe(s * along)
        torch.testing.assert_close(seen, torch.zeros_like(seen), rtol=0, atol=1e-12)
        torch.testing.assert_close(operator.tangent(along, scale), along)
        torch.testing.assert_close((along * (v - along)).flatten(1).sum(1), torch.zeros(2).double(), rtol=0, atol=1e-12)
        other = operator.tangent(draws(2, *COLOURS, seed=4), scale)
        apart = ((v - along) * other).flatten(1).sum(1)
        torch.testing.assert_close(apart, torch.zeros(2).double(), rtol=0, atol=1e-12)
        assert along.flatten(1).norm(dim=1).min() > 1 and not torch.allclose(along, v)


@pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4), (2, 5, 4, 3)], ids=["picture", "one frame", "frames"])
def test_grey_is_the_weighted_sum_of_the_channels(shape):
    x = draws(2, 3, *shape)
    grey = Grey().observe(x)
    assert grey.shape == (2, 1, *shape)
    torch.testing.assert_close(grey[:, 0], torch.einsum("c,bc...->b...", WEIGHTS, x))
    flat = draws(2, 1, *shape).expand(-1, 3, *[-1] * len(shape))
    torch.testing.assert_close(Grey().observe(flat), flat[:, :1], msg="a grey picture looks as it is")


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grey_refuses_another_number_of_channels(channels):
    x = draws(2, channels, 4, 6)
    for use in (lambda: Grey().observe(x), lambda: Grey().project(x, x[:, :1])):
        with pytest.raises(ValueError, match=f"x has {channels} channels, the weights are 3"):
            use()


def test_a_conditioned_gaussian_of_colours_keeps_its_grey():
    prior = Gaussian([0.0] * 3, torch.eye(3).tolist()).double()
    y = draws(200, 1, seed=1)
    posterior = Conditioned(prior, Grey(), y)
    x = posterior.project(draws(200, 3))
    for state, _ in sample(Langevin(0.5), posterior, x, 30, torch.Generator().manual_seed(0)):
        x = state.x
    torch.testing.assert_close(Grey().observe(x), y, rtol=0, atol=1e-12)
    off = x - WEIGHTS * y / WEIGHTS.square().sum()
    assert 0.7 < off.square().sum(1).mean() / 2 < 1.4, "two directions are free, of variance 1 / (1 - 0.5^2 / 4)"


# --------------------------------------------------------------------------------------- the subspace


def dense(x: torch.Tensor, rank: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of the Gaussian of low rank, by a singular value decomposition."""
    rows = x.flatten(1).double()
    _, sizes, basis = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    basis = basis[:rank]
    signal = basis.T @ (sizes[:rank, None] ** 2 / len(rows) * basis)
    return rows.mean(0), signal + noise**2 * torch.eye(rows.shape[1], dtype=torch.float64)


@pytest.mark.parametrize("num", [16, 24, 28, 300], ids=lambda n: f"{n} of 24 elements")
@pytest.mark.parametrize("rank", [5, 100])
def test_a_subspace_is_fitted_alike_to_few_x_and_to_many(num, rank):
    """By products of rows or by their covariance, it is what the singular values say."""
    size = torch.linspace(0.1, 2, 24).view(2, 3, 4)
    x, points = ((draws(n, 2, 3, 4, seed=n) * size + 0.7).float() for n in (num, 7))
    found = Subspace.fit(x, rank, 0.3)
    mean, covariance = dense(x, rank, 0.3)
    assert len(found.variances) == min(rank, num - 1, 24)
    d = points.flatten(1).double() - mean
    exact = (d @ covariance.inverse() * d).sum(1) / 2
    torch.testing.assert_close(found(points).double(), exact, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.basis @ found.basis.T, torch.eye(len(found.basis)), rtol=0, atol=1e-3)


@pytest.mark.parametrize("num", [20, 400], ids=["few", "many"])
@pytest.mark.parametrize("name", ["grey", "average", "hidden"])
def test_the_expectation_is_the_posterior_mean_of_the_gaussian(name, num):
    shape = COLOURS
    scale = torch.linspace(0.3, 2, 72).view(shape)
    x = (draws(num, *shape, seed=7) * scale + 0.5 * draws(num, 1, 4, 6, seed=8) + 0.3).float()
    noise, operator = 0.3, OPERATORS[name]
    found = Subspace.fit(x, 8, noise)
    mean, covariance = dense(x, 8, noise)
    signal = covariance - noise**2 * torch.eye(72, dtype=torch.float64)
    truth = draws(2, *shape, seed=9).float()
    y = operator.observe(truth)
    expected = found.expected(operator.observe, operator.adjoint, y, steps=40)
    identity = torch.eye(72, dtype=torch.float64).view(72, 1, *shape).expand(-1, 2, *shape)
    rows = torch.stack([operator.observe(one).flatten(1) for one in identity], 2)  # [2, seen, 72]
    for k in range(2):
        a = rows[k][rows[k].abs().sum(1) > 0]
        misfit = a @ (truth[k].flatten().double() - mean)
        exact = mean + signal @ a.T @ torch.linalg.solve(a @ covariance @ a.T, misfit)
        torch.testing.assert_close(expected[k].flatten().double(), exact, rtol=0, atol=2e-3)
        assert (exact - mean).norm() > 0.3, "the measurement tells something"
