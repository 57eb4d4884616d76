"""Conditioning on what is known: projections, and the law of a conditioned Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.distributions import MultivariateNormal

from energies import (
    Average,
    Blur,
    Conditioned,
    Gaussian,
    Grey,
    Hidden,
    Noisy,
    Observation,
    Stacked,
    gradient,
)
from energies.linear import inverse
from energies.references.probabilistic_pca import ProbabilisticPCA
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_noisy_measurement_adds_its_misfit():
    noise = 0.4
    posterior = Conditioned(PRIOR, Noisy(Hidden(HIDDEN), noise), Y)
    x = torch.randn(6, 4, dtype=torch.float64)
    misfit = (x - Y)[:, ~HIDDEN].square().sum(1) / (2 * noise**2)
    torch.testing.assert_close(posterior(x), PRIOR(x) + misfit)
    seen = torch.diag((~HIDDEN).double()) / noise**2
    mean = torch.linalg.solve(PRECISION + seen, PRECISION @ MEAN + seen @ Y)
    torch.testing.assert_close(gradient(posterior, mean[None])[1], torch.zeros(1, 4, dtype=torch.float64))
    assert torch.equal(posterior.project(x), x) and torch.equal(posterior.tangent(x), x), "nothing is held fast"
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="noise must be positive"):
            Noisy(Hidden(HIDDEN), wrong)


# -------------------------------------------------------------------------- the laws of every operator

COLOURS = (3, 4, 6)
WEIGHTS = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)


@dataclass(frozen=True)
class Slopes(Observation):
    """One of a person's own, with nothing but what it must have: differences along the last axis."""

    def observe(self, x: Tensor) -> Tensor:
        return x[..., 1:] - x[..., :-1]

    def adjoint(self, y: Tensor) -> Tensor:
        return F.pad(y, (1, 0)) - F.pad(y, (0, 1))


@dataclass(frozen=True)
class Twice(Observation):
    """The sum over the last axis, and three times the same: A A^T is singular."""

    def observe(self, x: Tensor) -> Tensor:
        total = x.sum(-1, keepdim=True)
        return torch.cat([total, 3 * total], -1)

    def adjoint(self, y: Tensor) -> Tensor:
        return (y[..., :1] + 3 * y[..., 1:]).expand(*y.shape[:-1], 6)


EACH = Hidden(torch.rand(2, 1, 4, 6, generator=torch.Generator().manual_seed(2)) < 0.5)
EXACT = {
    "hidden": EACH,
    "hidden alike": Hidden(EACH.mask[0]),
    "average": Average((2, 3)),
    "average of rows": Average((3,)),
    "grey": Grey(),
    "three weights": Grey((0.7, -0.2, 0.5)),
    "blur": Blur(1.2),
    "blur that loses much": Blur(2.0),
    "blur of all axes": Blur(1.0, axes=3),
    "slopes": Slopes(),
    "twice": Twice(),
    "hidden and average": Stacked((EACH, Average((2, 3)))),
    "hidden, grey and blur": Stacked((EACH, Grey(), Blur(3.0))),
    "average and grey": Stacked((Average((2, 3)), Grey())),
    "grey and slopes": Stacked((Grey(), Slopes())),
}
OPERATORS = EXACT | {
    "noisy hidden": Noisy(EACH, 0.4),
    "noisy average": Noisy(Average((2, 3)), 0.4),
    "noisy grey": Noisy(Grey(), 0.4),
    "noisy blur": Noisy(Blur(1.2), 0.4),
    "noisy slopes": Noisy(Slopes(), 0.4),
    "noisy twice": Noisy(Twice(), 0.4),
}
MIXED = Stacked((Noisy(Blur(0.8), 0.3), EACH, Noisy(Average((2, 3)), 0.2)))
operators = pytest.mark.parametrize("name", OPERATORS)
exact_ones = pytest.mark.parametrize("name", EXACT)
noisy_ones = pytest.mark.parametrize("name", [name for name in OPERATORS if name not in EXACT])
SCALES = {"plain": None, "each": (2, 1, 1, 1), "channels": (3, 1, 1), "all": (2, *COLOURS)}
scales = pytest.mark.parametrize("kind", SCALES)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scale_of(kind: str) -> Tensor | None:
    """Between about 0.5 and 2: for the limit of steps, what A sees must not be too different in size."""
    return None if SCALES[kind] is None else (0.2 * draws(*SCALES[kind], seed=3)).exp()


def times(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale


def flat(y: Tensor | tuple[Tensor, ...]) -> Tensor:
    """A measurement [B, M]."""
    return torch.cat([one.flatten(1) for one in (y if isinstance(y, tuple) else (y,))], 1)


def like(rows: Tensor, y: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """[B, M] in the shape of a measurement."""
    if isinstance(y, Tensor):
        return rows.view(-1, *y.shape[1:])
    parts = rows.split([one[0].numel() for one in y], 1)
    return tuple(part.reshape(-1, *one.shape[1:]) for part, one in zip(parts, y, strict=True))


def matrix(operator: Observation, k: int) -> Tensor:
    """A of sample k, dense [M, 72]."""
    identity = torch.eye(72, dtype=torch.float64).view(72, *COLOURS)
    return flat(operator.rows(slice(k, k + 1), 4).observe(identity)).T


def dense_covariance(operator: Observation, k: int, scale: Tensor | None) -> Tensor:
    a = matrix(operator, k) * times(torch.ones(2, *COLOURS).double(), scale)[k].flatten()
    return a @ a.T


def close(found, expected, atol: float = 1e-8) -> None:
    torch.testing.assert_close(flat(found), flat(expected), rtol=0, atol=atol)


@operators
def test_the_adjoint_has_the_same_products(name):
    """<A x, y> = <x, A^T y> for all x and y."""
    operator, x = OPERATORS[name], draws(2, *COLOURS)
    seen = operator.observe(x)
    y = like(draws(*flat(seen).shape, seed=1), seen)
    there, back = (flat(seen) * flat(y)).sum(1), (x * operator.adjoint(y)).flatten(1).sum(1)
    torch.testing.assert_close(there, back)
    assert there.abs().min() > 0.01


@pytest.mark.slow
@exact_ones
@scales
def test_projection_is_exact_idempotent_and_to_the_nearest(name, kind):
    """In units of the scale."""
    operator, x, scale = EXACT[name], draws(2, *COLOURS), scale_of(kind)
    y = operator.observe(draws(2, *COLOURS, seed=1))
    once = operator.project(x, y, scale)
    close(operator.observe(once), y)
    close(operator.project(once, y, scale), once)
    close(operator.project(x, operator.observe(x), scale), x)

    def distance(end: Tensor) -> Tensor:
        return ((end - x) / times(torch.ones_like(x), scale)).flatten(1).square().sum(1)

    for seed in range(5):
        step = times(operator.tangent(draws(2, *COLOURS, seed=10 + seed), scale), scale)
        for size in (-1.0, -1e-3, 1e-3, 1.0):
            close(operator.observe(once + size * step), y)
            assert (distance(once) <= distance(once + size * step) + 1e-9).all()
        assert (distance(once) < distance(once + step) - 0.1).all()


@exact_ones
@scales
def test_tangents_are_in_the_null_space_and_projected_orthogonally(name, kind):
    """With a scale s, in the null space of A diag(s); the rest of v is out of it, so no tangent is lost."""
    operator, v, scale = EXACT[name], draws(2, *COLOURS), scale_of(kind)
    along = operator.tangent(v, scale)
    seen = operator.observe(times(along, scale))
    close(seen, like(torch.zeros_like(flat(seen)), seen))
    close(operator.tangent(along, scale), along)
    other = operator.tangent(draws(2, *COLOURS, seed=4), scale)
    close(((v - along) * other).flatten(1).sum(1, keepdim=True), torch.zeros(2, 1).double())
    s = times(torch.ones_like(v), scale)
    for k in range(2):
        a = matrix(operator, k) * s[k].flatten()
        free = torch.eye(72, dtype=torch.float64) - torch.linalg.pinv(a, rtol=1e-6) @ a
        close(along[k : k + 1], (free @ v[k].flatten())[None])
    assert not torch.allclose(along, v) and along.flatten(1).norm(dim=1).min() > 0.1


@operators
@scales
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_solutions_are_those_of_the_dense_system(name, kind, ridge):
    """A^T z for all, and z itself where it is unique: without a ridge, redundant parts may share it otherwise."""
    operator, scale = OPERATORS[name], scale_of(kind)
    r = operator.observe(draws(2, *COLOURS, seed=5))
    if ridge and "hidden" not in name:  # what a hidden element holds is no measurement
        r = like(draws(*flat(r).shape, seed=5), r)
    z = operator.solve(r, ridge, scale)
    for k in range(2):
        m = dense_covariance(operator, k, scale) + ridge * torch.eye(flat(r).shape[1]).double()
        expected = (torch.linalg.pinv(m, rtol=1e-9, hermitian=True) @ flat(r)[k])[None]
        if ridge or not isinstance(operator, Stacked):
            close(flat(z)[k : k + 1], expected, 1e-8)
        a = matrix(operator, k)
        close(flat(z)[k : k + 1] @ a, expected @ a, 1e-8)


@scales
@pytest.mark.parametrize("steps", [1, 3, 50])
def test_a_measurement_that_no_x_has_is_solved_in_least_squares(kind, steps):
    """However many steps: singular systems blow nothing up, and what is in no range leaves no trace."""
    scale = scale_of(kind)
    r = 1e3 * draws(2, 3, 4, 2, seed=6)

    def covariance(z: Tensor) -> Tensor:
        return Twice().observe(times(times(Twice().adjoint(z), scale), scale))

    z = inverse(covariance, r, lambda z: z, steps)
    for k in range(2):
        m = torch.linalg.pinv(dense_covariance(Twice(), k, scale), rtol=1e-9, hermitian=True)
        if steps == 50:
            close(z[k : k + 1], (m @ r[k].flatten())[None], 1e-6)
        expected = (m @ r[k].flatten()) @ matrix(Twice(), k)
        assert (z[k].flatten() @ matrix(Twice(), k)).norm() < 1.1 * expected.norm()


@noisy_ones
@scales
def test_the_misfit_is_minus_the_log_density_of_the_measurement(name, kind):
    """N(y; A x, noise^2 + A S^2 A^T), of a measurement that no x has too."""
    operator, scale = OPERATORS[name], scale_of(kind)
    x, other = draws(2, *COLOURS), draws(2, *COLOURS, seed=1)
    seen = operator.observe(x)
    y = like(draws(*seen.flatten(1).shape, seed=2), seen)
    found = operator.misfit(x, y, scale) - operator.misfit(other, y, scale)
    for k in range(2):
        carried = torch.zeros(()) if scale is None else dense_covariance(operator, k, scale)  # None: x is clean
        m = carried + 0.4**2 * torch.eye(seen[0].numel()).double()
        near, far = (MultivariateNormal(operator.observe(u)[k].flatten(), m) for u in (x, other))
        target = y[k].flatten()
        torch.testing.assert_close(found[k], far.log_prob(target) - near.log_prob(target))
    torch.testing.assert_close(operator.misfit(x, seen, scale), torch.zeros(2).double())
    assert operator.misfit(x, y, scale).min() > 1


@pytest.mark.parametrize("name", ["noisy blur", "noisy slopes", "noisy twice", "noisy average"])
def test_the_misfit_has_first_and_second_derivatives(name):
    """Against finite differences: those of the solution are solutions too."""
    operator, scale = OPERATORS[name], scale_of("all")[:1]
    x = draws(1, *COLOURS).requires_grad_()
    y = operator.observe(draws(1, *COLOURS, seed=1))
    u, v = (draws(*x.shape, seed=seed) for seed in (7, 8))

    def slope(at: Tensor) -> Tensor:
        return torch.autograd.grad(operator.misfit(at, y, scale).sum(), at, create_graph=True)[0]

    def misfit(size: float) -> Tensor:
        return operator.misfit(x + size * u, y, scale)

    torch.testing.assert_close((slope(x) * u).sum()[None], (misfit(1e-3) - misfit(-1e-3)) / 2e-3, rtol=1e-7, atol=0)
    (bent,) = torch.autograd.grad((slope(x) * u).sum(), x)
    differences = (slope(x + 1e-3 * v) - slope(x - 1e-3 * v)) / 2e-3
    torch.testing.assert_close((bent * v).sum(), (differences * u).sum(), rtol=1e-7, atol=1e-9)
    assert (bent * v).sum().abs() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OPERATORS, "mixed"])
@pytest.mark.parametrize("kind", ["plain", "all"])
def test_a_batch_of_one_is_that_sample_of_a_batch_of_many(name, kind):
    """Whatever the others are: one of them has converged before the first step, one is a million times larger."""
    operator, scale = (OPERATORS | {"mixed": MIXED})[name], scale_of(kind)
    x = torch.stack([1e6 * draws(*COLOURS), draws(*COLOURS, seed=1)])
    y = operator.observe(torch.stack([x[0], draws(*COLOURS, seed=2)]))
    for order in ([0, 1], [1, 0]):
        index = torch.tensor(order)
        both = operator.rows(index, 4)
        s = None if scale is None else scale[index]
        together, seen = x[index], like(flat(y)[index], y)
        for k, one in enumerate(order):
            alone, row = operator.rows(slice(one, one + 1), 4), slice(k, k + 1)
            mine, own = like(flat(seen)[row], y), None if s is None else s[row]
            size = float(x[one].abs().max())
            found = both.project(together, seen, s), both.tangent(together, s), both.misfit(together, seen, s)[:, None]
            expected = (
                alone.project(together[row], mine, own), alone.tangent(together[row], own),
                alone.misfit(together[row], mine, own)[:, None],
            )  # fmt: skip
            for u, v in zip(found[:2], expected[:2], strict=True):
                close(u[row] / size, v / size, 1e-12)
            torch.testing.assert_close(found[2][row], expected[2])
            close(flat(both.solve(seen, 0.3, s))[row] / size, flat(alone.solve(mine, 0.3, own)) / size, 1e-12)


@pytest.mark.slow
@operators
@pytest.mark.parametrize("shape", [(), (1,), (6,), (4, 1), (1, 1, 4, 6), COLOURS])
def test_a_scale_broadcasts(name, shape):
    operator, x, scale = OPERATORS[name], draws(2, *COLOURS), (0.2 * draws(*shape, seed=3)).exp()
    y = operator.observe(draws(2, *COLOURS, seed=1))
    full = scale.expand_as(x).contiguous()
    close(operator.project(x, y, scale), operator.project(x, y, full))
    close(operator.tangent(x, scale), operator.tangent(x, full))
    close(operator.misfit(x, y, scale)[:, None], operator.misfit(x, y, full)[:, None])


def test_rows_are_taken_of_the_masks_of_each_sample_alone():
    index = torch.tensor([1, 1, 0])
    assert torch.equal(EACH.rows(index, 4).mask, EACH.mask[index])
    for mask in (EACH.mask[:1], EACH.mask[0], EACH.mask[1, 0]):
        assert Hidden(mask).rows(index, 4).mask is mask
    frames = torch.rand(2, 4, 6) < 0.5  # of x [B, 2, 4, 6], without a batch axis
    assert Hidden(frames).rows(index, 4).mask is frames
    noisy, average = Noisy(EACH, 0.3).rows(index, 4), Average((2, 3))
    assert noisy.noise == 0.3 and torch.equal(noisy.operator.mask, EACH.mask[index])
    stacked = Stacked((average, EACH)).rows(index, 4)
    assert stacked.parts[0] is average and torch.equal(stacked.parts[1].mask, EACH.mask[index])


def test_tensors_move_to_a_device():
    for moved in (EACH.to("meta"), Noisy(EACH, 0.1).to("meta").operator, Stacked((EACH,)).to("meta").parts[0]):
        assert moved.mask.device.type == "meta"
    assert EACH.mask.device.type == "cpu" and Average((2,)).to("meta") == Average((2,))


@operators
@pytest.mark.parametrize("kind", ["plain", "all"])
def test_single_precision_keeps_to_it(name, kind):
    operator, scale = OPERATORS[name], scale_of(kind)
    s, x = None if scale is None else scale.float(), draws(2, *COLOURS).float()
    y = operator.observe(draws(2, *COLOURS, seed=1).float())
    there, along = operator.project(x, y, s), operator.tangent(x, s)
    assert {one.dtype for one in (flat(y), there, along, operator.misfit(x, y, s))} == {torch.float32}
    if operator.holds:
        # A projection may move x by 100 times what is wrong with y, where a blur leaves one part in 100.
        close(operator.observe(there), y, 1e-4)
        close(operator.project(there, y, s), there, 1e-3)
    exact = operator.project(x.double(), like(flat(y).double(), y), scale)
    close(there.double(), exact, 1e-3)


@pytest.mark.parametrize(
    ("operator", "event"),
    [
        (Hidden(HIDDEN), (4,)),
        (Average((2,)), (4,)),
        (Grey(), (3,)),
        (Blur(0.6, axes=1), (4,)),
        (Slopes(), (4,)),
        (Average((2, 2, 3)), (3, 2, 4, 6)),
        (Grey(), (3, 2, 4, 6)),
        (Blur(0.6), (3, 2, 4, 6)),
        (Blur(0.6, axes=3), (3, 2, 4, 6)),
        (Stacked((Grey(), Average((2, 2, 3)))), (3, 2, 4, 6)),
    ],
)
def test_events_may_have_any_number_of_axes(operator, event):
    x, scale = draws(2, *event), (0.2 * draws(*event, seed=1)).exp()
    y = operator.observe(draws(2, *event, seed=2))
    there = operator.project(x, y, scale)
    assert there.shape == x.shape
    close(operator.observe(there), y)
    close(operator.observe(operator.tangent(x, scale) * scale), like(torch.zeros_like(flat(y)), y))


# ------------------------------------------------------------------------------- blur, noise and stacks


def test_a_blur_is_the_gaussian_filter_with_reflected_borders():
    x, found = draws(2, 3, 12, 15), Blur(1.5).observe(draws(2, 3, 12, 15))
    expected = gaussian_filter(x.numpy(), (0, 0, 1.5, 1.5), mode="reflect", truncate=8)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=0.01 * float(x.abs().max()))
    flat_ones = torch.full((1, 1, 5, 7), 0.3, dtype=torch.float64)
    torch.testing.assert_close(Blur(1.5).observe(flat_ones), flat_ones, msg="a constant stays")
    edge = torch.zeros(1, 1, 1, 30, dtype=torch.float64)
    edge[..., 0] = 1
    spread = Blur(2.0, axes=1, least=1e-9).observe(edge)[0, 0, 0]
    assert spread[0] > 0.3 and spread[-1].abs() < 1e-6, "borders do not meet"
    torch.testing.assert_close(spread.sum(), torch.ones(()).double(), msg="nothing leaves")


def test_a_blur_loses_what_it_leaves_too_little_of():
    """The cosine of frequency f radians keeps exp(-width^2 f^2 / 2), or nothing below `least`."""
    n = torch.arange(20, dtype=torch.float64)
    for k in range(20):
        wave = torch.cos(torch.pi / 20 * k * (n + 0.5))[None]
        share = float(torch.exp(-(torch.tensor(1.2 * torch.pi / 20 * k) ** 2) / 2))
        expected = wave * share if share >= 0.05 else 0 * wave
        torch.testing.assert_close(Blur(1.2, 1, 0.05).observe(wave), expected, rtol=0, atol=1e-6)
        assert share < 0.05 or torch.allclose(Blur(1.2, 1, 0.05).tangent(wave), 0 * wave, atol=1e-9)
    assert share < 0.05, "some are lost"


def test_noise_is_drawn_for_each_element_of_the_measurement():
    x, noisy = draws(1, 3, 80, 60), Noisy(Average((2, 2)), 0.5)
    error = (noisy.sample(x, torch.Generator().manual_seed(0)) - noisy.observe(x)).flatten()
    count = len(error)
    assert count == 3 * 40 * 30 and abs(error.mean()) < 5 * 0.5 / count**0.5
    assert abs(error.std() - 0.5) < 5 * 0.5 / (2 * count) ** 0.5
    again = noisy.sample(x, torch.Generator().manual_seed(0)) - noisy.observe(x)
    assert torch.equal(again.flatten(), error)
    average = Average((2, 2))
    assert torch.equal(average.sample(x, torch.Generator()), average.observe(x))
    exact, other = Stacked((average, noisy)).sample(x, torch.Generator().manual_seed(0))
    assert torch.equal(exact, average.observe(x)) and torch.equal(other - noisy.observe(x), again)


@scales
def test_a_stack_holds_its_exact_parts_and_adds_up_its_noisy_ones(kind):
    scale, (blur, hidden, average) = scale_of(kind), MIXED.parts
    x, y = draws(2, *COLOURS), MIXED.observe(draws(2, *COLOURS, seed=1))
    assert MIXED.holds and not MIXED.exact
    assert torch.equal(MIXED.project(x, y, scale), hidden.project(x, y[1], scale))
    assert torch.equal(MIXED.tangent(x, scale), hidden.tangent(x, scale))
    total = blur.misfit(x, y[0], scale) + average.misfit(x, y[2], scale)
    torch.testing.assert_close(MIXED.misfit(x, y, scale), total)
    noisy = Stacked((blur, average))
    assert not noisy.holds and not noisy.exact
    assert torch.equal(noisy.project(x, (y[0], y[2])), x) and torch.equal(noisy.tangent(x), x)
    both = Stacked((hidden, Average((2, 3))))
    assert both.holds and both.exact and not both.misfit(x, (y[1], y[2])).any()


def test_seen_elements_of_a_stack_are_held_to_the_last_bit_and_what_they_hide_counts_for_nothing():
    x, truth = draws(2, *COLOURS), draws(2, *COLOURS, seed=1)
    for others in ((Grey(),), (Average((2, 3)), Blur(1.0))):
        stack = Stacked((*others, EACH))
        y = stack.observe(truth)
        there = stack.project(x, y)
        mask = EACH.mask.expand_as(x)
        assert torch.equal(there[~mask], truth[~mask])
        garbage = (*y[:-1], torch.where(mask, 1e9, truth))
        assert torch.equal(stack.project(x, garbage), there)
    noisy = Noisy(EACH, 0.2)
    assert torch.equal(noisy.misfit(x, torch.where(mask, 1e9, truth)), noisy.misfit(x, noisy.observe(truth)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blur(0.0), "width of a blur must be positive"),
        (lambda: Blur(float("nan")), "width of a blur must be positive"),
        (lambda: Blur(1.0, axes=0), "axes of a blur must be 1 or more"),
        (lambda: Blur(1.0, least=1.0), "least of a blur must be between 0 and 1"),
        (lambda: Blur(1.0).observe(draws(2, 3)), r"needs x \[B, ...\] with as many; got \[2, 3\]"),
        (lambda: Average((4, 4)).observe(draws(2, *COLOURS)), "do not divide"),
        (lambda: Grey().project(draws(2, *COLOURS), draws(2, *COLOURS), draws(2, *COLOURS)), "y has 3 channels"),
        (lambda: Noisy(Grey(), 0.0), "noise must be positive; got 0.0"),
        (lambda: Noisy(Grey(), float("nan")), "noise must be positive"),
        (lambda: Noisy(Noisy(Grey(), 0.1), 0.1), "one exact operator"),
        (lambda: Noisy(Stacked((Grey(),)), 0.1), "one exact operator"),
        (lambda: Stacked(()), "one part or more"),
        (lambda: Stacked((Stacked((Grey(),)),)), "no part is a stack"),
        (lambda: Stacked((Grey(),)).adjoint((draws(2, 1, 4), draws(2, 1, 4))), "1 parts .*; got 2 in a tuple"),
        (lambda: Stacked((Grey(), Grey())).adjoint(draws(2, 1, 4)), "2 parts .*; got Tensor"),
    ],
)
def test_wrong_settings_and_shapes_are_told_in_a_line(make, message):
    with pytest.raises(ValueError, match=message) as told:
        make()
    assert "\n" not in str(told.value)


# ------------------------------------------------------------------------------------------------- grey


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
    found = ProbabilisticPCA.fit(x, rank, 0.3)
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
    found = ProbabilisticPCA.fit(x, 8, noise)
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
