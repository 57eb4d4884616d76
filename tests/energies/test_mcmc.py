"""Every sampler against laws that are known: what starts there stays, and what starts elsewhere arrives.

10,000 chains start from exact draws, make a few steps, and are compared with 100,000 further exact draws: all chains
are independent, so the standard errors are exact. |z| < 5 fails by chance once in a million.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import Average, Bounded, Conditioned, Energy, Gaussian, Hidden, Noisy, gradient
from energies.analytic import Funnel, Mixture, StudentT
from energies.samplers import HMC, MALA, Langevin, ParallelTempering, RandomWalk, Underdamped
from energies.samplers.state import kinetic_change, leapfrog, normal
from energies.samplers.tempering import Tempered
from energies.sampling import sample

CHAINS, DRAWS = 10_000, 100_000
LIMIT = 5.0


pytestmark = pytest.mark.usefixtures("double")


def gaussian(mean: Tensor, precision: Tensor) -> Gaussian:
    return Gaussian(mean.tolist(), precision.tolist())


def correlated() -> Gaussian:
    return gaussian(torch.tensor([0.5, -1.0, 2.0]), torch.tensor([[2.0, 1.2, 0], [1.2, 1.5, -0.4], [0, -0.4, 0.8]]))


def ill_conditioned() -> Gaussian:
    """100 dimensions of standard deviations 0.01 to 1, condition 1e4, and a rotation of neighbouring pairs."""
    std = torch.logspace(-2, 0, 100)
    turn = torch.eye(100)
    for i in range(0, 100, 2):
        turn[i : i + 2, i : i + 2] = torch.tensor([[math.cos(0.5), -math.sin(0.5)], [math.sin(0.5), math.cos(0.5)]])
    return gaussian(torch.zeros(100), turn @ torch.diag(std**-2) @ turn.T)


class Ramp(Energy):
    """E(x) = slope . x: in a box, truncated exponentials."""

    slope = (1.0, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        return (x * torch.tensor(self.slope)).sum(1)

    def draw(self, num: int, rng: torch.Generator) -> Tensor:
        slope, u = torch.tensor(self.slope), torch.rand(num, 2, generator=rng)
        return -((slope.exp() * (1 - u) + u * (-slope).exp()).log()) / slope


def box() -> tuple[Bounded, Ramp]:
    ramp = Ramp()
    return Bounded(ramp), ramp


def statistics(energy: Energy, x: Tensor) -> dict[str, Tensor]:
    """Everything whose mean is compared, [N, features] each."""
    energies, slope = gradient(energy, x)
    i, j = torch.triu_indices(min(x.shape[1], 4), min(x.shape[1], 4), 1)
    return {
        "mean": x,
        "square": x.square(),
        "cross": x[:, i] * x[:, j],
        "energy": energies[:, None],
        "virial": (x * slope).sum(1, keepdim=True),
        "gradient": slope,
    }


def z_scores(a: Tensor, b: Tensor) -> Tensor:
    error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
    return (a.mean(0) - b.mean(0)) / error.clamp(min=1e-300)


def kolmogorov(a: Tensor, b: Tensor) -> float:
    """The two-sample statistic of the worst marginal, D sqrt(nm / (n + m)): above 3 with a chance of 3e-8."""
    worst = 0.0
    for left, right in zip(a.T, b.T, strict=True):
        both = torch.cat([left, right]).sort().values
        cdf_left = torch.searchsorted(left.sort().values, both, right=True) / len(left)
        cdf_right = torch.searchsorted(right.sort().values, both, right=True) / len(right)
        size = len(left) * len(right) / (len(left) + len(right))
        worst = max(worst, float((cdf_left - cdf_right).abs().max()) * math.sqrt(size))
    return worst


def same_law(energy: Energy, x: Tensor, exact: Tensor) -> None:
    expected = statistics(energy, exact)
    for name, found in statistics(energy, x).items():
        error = (found.var(0) / len(found) + expected[name].var(0) / len(exact)).sqrt()
        assert (LIMIT * error <= 0.06 * expected[name].std(0)).all(), "a shift by 6 % of the spread would be seen"
        worst = z_scores(found, expected[name]).abs().max()
        assert worst < LIMIT, f"{name}: z = {worst:.1f}"
    assert kolmogorov(x, exact) < 3


TARGETS = {
    "correlated": correlated,
    "mixture": lambda: Mixture([[-1.5, 0.0], [1.5, 0.5]], [0.5, 0.8], [0.3, 0.7]),
    "funnel": lambda: Funnel(3),
    "student": lambda: StudentT(2, 10),
    "box": box,
}
SAMPLERS = {
    "mala": MALA(0.9),
    "hmc": HMC(0.75, 3),
    "random_walk": RandomWalk(1.2),
    "scaled_mala": MALA(0.9, scale=torch.tensor([1.3, 0.6], dtype=torch.float64)),
    "scaled_hmc": HMC(0.7, 3, scale=torch.tensor([1.3, 0.6], dtype=torch.float64)),
}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_what_starts_in_the_law_stays_in_it(name, target):
    """Exactly so, at steps so large that the proposal alone would be far off."""
    made = TARGETS[target]()
    energy, source = made if isinstance(made, tuple) else (made, made)
    x = source.draw(CHAINS, seeded(0))
    sampler = SAMPLERS[name]
    if getattr(sampler, "scale", None) is not None and x.shape[1] == 3:
        sampler = replace(sampler, scale=torch.tensor([1.3, 0.6, 0.9]))
    before, accepted = x, []
    for state, info in sample(sampler, energy, x, 6, seeded(1)):
        x = state.x
        accepted.append(info.acceptance.mean())
    assert 0.2 < torch.stack(accepted).mean() < 0.98, "not trivial"
    moved = (x != before).any(1).double().mean()
    assert moved > 0.7, "a frozen kernel is invariant too"
    same_law(energy, x, source.draw(DRAWS, seeded(3)))


TEMPERINGS = {
    "tempering": ParallelTempering(MALA(0.9), (1.0, 0.4)),
    "tempering_walk": ParallelTempering(RandomWalk(1.2), (1.0, 0.5, 0.2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPERINGS)
def test_replicas_that_start_in_their_joint_law_stay_in_it(name):
    """For a Gaussian the law at inverse temperature beta is known: it is wider by beta^-1/2."""
    energy, sampler = correlated(), TEMPERINGS[name]
    num = len(sampler.betas)
    wider = torch.tensor(sampler.betas).repeat(CHAINS)[:, None] ** -0.5
    x = energy.draw(CHAINS * num, seeded(0))
    state = sampler.init(energy, x[:CHAINS])
    x = energy.mean + (x - energy.mean) * wider
    replicas = sampler.sampler.init(Tempered(energy, torch.tensor(sampler.betas).repeat(CHAINS)), x)
    state = state._replace(x=x[::num], replicas=replicas)
    swapped = []
    for number in range(6):
        before = state.replicas.x
        state, info = sampler.step(energy, state, seeded(number))
        swapped.append((state.x != before[::num]).any(1).double().mean())
    assert min(swapped) > 0.3 and 0.2 < info.acceptance.mean() < 0.98
    exact = energy.draw(DRAWS, seeded(9))
    for replica in range(num):
        same_law(energy, energy.mean + (state.replicas.x[replica::num] - energy.mean) * wider[replica] ** -1, exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mala", "hmc"])
def test_a_hundred_dimensions_of_condition_1e4(name):
    energy, num = ill_conditioned(), 2 * CHAINS  # as many exact draws: for more there is no time
    sampler = {"mala": MALA(0.008), "hmc": HMC(0.012, 6)}[name]
    x = energy.draw(num, seeded(0))
    rates = []
    for state, info in sample(sampler, energy, x, 5, seeded(1)):
        x = state.x
        rates.append(info.acceptance.mean())
    assert 0.3 < torch.stack(rates).mean() < 0.95
    exact = energy.draw(num, seeded(2))
    same_law(energy, x, exact)
    covariance = x.T.cov()
    wanted = torch.linalg.inv(energy.precision)
    variance = wanted.diagonal()
    error = ((variance[:, None] * variance + wanted**2) / num).sqrt()
    assert ((covariance - wanted) / error).abs().max() < LIMIT + 0.5, "10,000 entries"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mala", "hmc", "random_walk", "tempering"])
def test_what_starts_elsewhere_arrives(name):
    energy = correlated()
    sampler = (SAMPLERS | TEMPERINGS)[name]
    steps = 400 if name == "random_walk" else 100
    *_, (state, info) = sample(sampler, energy, torch.full((CHAINS, 3), 4.0), steps, seeded(1))
    assert 0.2 < info.acceptance.mean() < 0.98
    same_law(energy, state.x, energy.draw(DRAWS, seeded(3)))


@pytest.mark.slow
def test_tempering_crosses_where_a_single_chain_does_not():
    energy = Mixture([[-6.0], [6.0]], [0.7, 0.7], [0.25, 0.75])
    start = torch.full((2000, 1), -6.0)
    shares = {}
    for name, sampler in {
        "alone": MALA(0.7),
        "tempered": ParallelTempering(MALA(0.7), (1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015)),
    }.items():
        for state, _ in sample(sampler, energy, start, 400, seeded(1)):
            x = state.x
        shares[name] = float((x > 0).double().mean())
    assert shares["alone"] < 0.05
    assert abs(shares["tempered"] - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 2000) + 0.01, shares


# --- what each algorithm promises -------------------------------------------------------------------------------------


def test_the_leapfrog_is_reversible():
    energy = Mixture([[-1.5, 0.0], [1.5, 0.5]], [0.5, 0.8])
    bounded = Bounded(energy, -1.6, 1.6)
    for target in (energy, bounded):
        x = energy.draw(500, seeded(0)).clamp(-1.5, 1.5)
        p = normal(x, seeded(1))
        start = HMC().init(target, x)
        there, momentum = leapfrog(target, start, p, 0.2, None, 15)
        assert ((there.x - x).abs().amax(1) > 0.1).double().mean() > 0.8
        back, reverse = leapfrog(target, there, -momentum, 0.2, None, 15)
        assert (back.x - x).abs().max() < 1e-10 and (reverse + p).abs().max() < 1e-10
        assert (back.energy - start.energy).abs().max() < 1e-10


def test_the_energy_error_falls_by_four_when_the_step_is_halved():
    energy = Mixture([[-1.5, 0.0], [1.5, 0.5]], [0.5, 0.8])
    x, p = energy.draw(5000, seeded(0)), torch.randn(5000, 2, generator=seeded(1))
    errors = []
    for step_size, steps in ((0.1, 10), (0.05, 20), (0.025, 40)):
        start = HMC().init(energy, x)
        end, momentum = leapfrog(energy, start, p, step_size, None, steps)
        errors.append(float((end.energy - start.energy + kinetic_change(p, momentum)).abs().mean()))
    assert 3.8 < errors[0] / errors[1] < 4.2 and 3.9 < errors[1] / errors[2] < 4.1


@pytest.mark.parametrize("sampler", [MALA(0.9), HMC(0.6, 5)], ids=["mala", "hmc"])
@pytest.mark.parametrize("target", ["correlated", "mixture", "box"])
def test_the_mean_of_exp_minus_the_energy_error_is_one(sampler, target):
    made = TARGETS[target]()
    energy, source = made if isinstance(made, tuple) else (made, made)
    x = source.draw(CHAINS, seeded(4))
    _, info = sampler.step(energy, sampler.init(energy, x), seeded(5))
    weights = (-info.energy_error).exp()
    assert info.energy_error.std() > 0.1, "not trivial"
    assert abs(weights.mean() - 1) < LIMIT * weights.std() / math.sqrt(CHAINS)
    assert torch.equal(info.acceptance, weights.clamp(max=1))


@pytest.mark.slow
def test_a_state_is_what_its_x_says_after_refusals():
    energy = correlated()
    for sampler in (MALA(1.2), HMC(1.1, 3), ParallelTempering(MALA(1.15), (1.0, 0.5))):
        for state, info in sample(sampler, energy, energy.draw(300, seeded(0)), 5, seeded(1)):
            energies, slope = gradient(energy, state.x)
            torch.testing.assert_close(state.energy, energies)
            torch.testing.assert_close(state.grad, slope)
            assert 0.05 < info.accepted.double().mean() < 0.99, "chains decide for themselves"


def test_no_gradient_is_computed_twice():
    calls = []

    class Counted(Gaussian):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return super().forward(x)

    energy = Counted([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    x = torch.zeros(3, 2)
    for sampler, wanted in (
        (MALA(0.3), 11),
        (HMC(0.3, 7), 71),
        (Underdamped(0.3), 11),
        (RandomWalk(0.3), 11),
        (ParallelTempering(MALA(0.3), (1.0, 0.5)), 11),
    ):
        calls.clear()
        list(sample(sampler, energy, x, 10, seeded(0)))
        assert len(calls) == wanted, sampler


def test_a_proposal_that_is_not_finite_is_refused():
    class Cliff(Energy):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x[:, 0] > 0, torch.nan, x.square().sum(1) / 2)

    class Pit(Energy):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x[:, 0] > 0, -torch.inf, x.square().sum(1) / 2)

    for sampler in (MALA(0.8), HMC(0.5, 3), RandomWalk(1.0)):
        for energy in (Cliff(), Pit()):
            for state, _ in sample(sampler, energy, torch.full((200, 1), -0.5), 50, seeded(0)):
                assert (state.x <= 0).all() and state.energy.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize(("step_size", "std", "friction"), [(0.5, 1.0, 1.0), (1.2, 0.9, 0.3), (0.2, 0.15, 5.0)])
def test_baoab_has_no_bias_in_x_for_a_gaussian(step_size, std, friction):
    """The law of x is exact at every stable step; that of p, at the end of a step, has variance 1 - h^2 / (4 s^2)."""
    energy = gaussian(torch.tensor([0.3]), torch.tensor([[std**-2]]))
    sampler = Underdamped(step_size, friction)
    steps = 400
    *_, (state, _) = sample(sampler, energy, torch.full((CHAINS, 1), 2.0), steps, seeded(0))
    error = math.sqrt(2 / CHAINS)
    assert abs(state.x.var() / std**2 - 1) < LIMIT * error
    assert abs(state.x.mean() - 0.3) < LIMIT * std / math.sqrt(CHAINS)
    wanted = 1 - step_size**2 / (4 * std**2)
    assert abs(state.momentum.var() / wanted - 1) < LIMIT * error
    assert LIMIT * error < 0.08


def test_underdamped_remembers_its_momentum_for_as_long_as_friction_says():
    """On a flat energy the autocorrelation of p after k steps is exp(-friction k step_size)."""

    class Flat(Energy):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) * 0

    step_size, friction, steps = 0.2, 0.7, 5
    path = list(sample(Underdamped(step_size, friction), Flat(), torch.zeros(CHAINS, 1), steps + 1, seeded(0)))
    first, last = path[0][0].momentum, path[-1][0].momentum
    wanted = math.exp(-friction * step_size * steps)
    assert abs((first * last).mean() - wanted) < LIMIT * math.sqrt((1 + wanted**2) / CHAINS)
    assert abs(last.var() - 1) < LIMIT * math.sqrt(2 / CHAINS)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["box", "mixture"])
def test_underdamped_comes_near_the_law_at_small_steps(target):
    made = TARGETS[target]()
    energy, source = made if isinstance(made, tuple) else (made, made)
    x = source.draw(CHAINS, seeded(0))
    *_, (state, _) = sample(Underdamped(0.05, 2.0), energy, x, 60, seeded(1))
    same_law(energy, state.x, source.draw(DRAWS, seeded(3)))


# --- given a measurement ----------------------------------------------------------------------------------------------

GRID = torch.tensor([0.5, -0.2, 0.8, 1.0, -0.6, 0.1, 0.4, -0.9], dtype=torch.float64)
OBSERVATIONS = {
    "pixels": (Hidden(torch.tensor([True, False, True, True, False, True, False, True])), GRID),
    "averages": (Average((2,)), torch.tensor([0.4, -0.3, 0.2, 0.6], dtype=torch.float64)),
}


def field() -> Gaussian:
    """Eight values in a row, neighbours correlated."""
    place = torch.arange(8.0)
    covariance = 0.8 * (-0.5 * (place[:, None] - place).square() / 4).exp() + 0.2 * torch.eye(8)
    return gaussian(torch.linspace(-0.5, 0.5, 8), torch.linalg.inv(covariance))


def analytic_posterior(prior: Gaussian, operator: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    covariance = torch.linalg.inv(prior.precision)
    gain = covariance @ operator.T @ torch.linalg.inv(operator @ covariance @ operator.T)
    return prior.mean + gain @ (y - operator @ prior.mean), covariance - gain @ operator @ covariance


@pytest.mark.slow
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize("name", ["mala", "hmc", "random_walk", "tempering"])
@pytest.mark.parametrize("seen", OBSERVATIONS)
def test_given_a_measurement_the_posterior_is_exact(name, seen, scaled):
    observation, measured = OBSERVATIONS[seen]
    if seen == "pixels":
        keep = ~observation.mask
        operator, y = torch.eye(8)[keep], GRID[keep]
    else:
        operator, y = torch.kron(torch.eye(4), torch.full((1, 2), 0.5)), measured
    prior, scale = field(), torch.tensor([0.5, 1.5, 1.2, 0.4, 1.0, 0.3, 0.7, 1.4]) if scaled else None
    inner = {"mala": MALA(0.8, scale), "hmc": HMC(0.3, 3, scale), "random_walk": RandomWalk(0.6, scale)}
    sampler = inner.get(name) or ParallelTempering(MALA(0.8, scale), (1.0, 0.6))
    posterior = Conditioned(prior, observation, measured)
    steps = {"hmc": 60, "random_walk": 200}.get(name, 70)
    *_, (state, info) = sample(sampler, posterior, torch.zeros(CHAINS, 8), steps, seeded(0))
    torch.testing.assert_close(state.x @ operator.T, y.expand(CHAINS, -1), atol=1e-12, rtol=0)
    assert 0.2 < info.acceptance.mean() < 0.98
    mean, covariance = analytic_posterior(prior, operator, y)
    free = covariance.diagonal() > 1e-9
    error = (covariance.diagonal()[free] / CHAINS).sqrt()
    assert ((state.x.mean(0) - mean)[free] / error).abs().max() < LIMIT
    variance = covariance.diagonal()
    error = ((variance[:, None] * variance + covariance**2) / CHAINS).sqrt()[free][:, free]
    assert ((state.x.T.cov() - covariance)[free][:, free] / error).abs().max() < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("seen", OBSERVATIONS)
def test_scaled_langevin_given_a_measurement_has_its_known_bias(seen):
    """In the coordinates w of the null space, x = x0 + S B w, its covariance is H^-1 (1 - epsilon^2 H / 4)^-1."""
    observation, measured = OBSERVATIONS[seen]
    operator = (
        torch.eye(8)[~observation.mask] if seen == "pixels" else torch.kron(torch.eye(4), torch.full((1, 2), 0.5))
    )
    prior, step_size = field(), 0.5
    scale = torch.tensor([0.5, 1.5, 1.2, 0.4, 1.0, 0.3, 0.7, 1.4])
    posterior = Conditioned(prior, observation, measured)
    *_, (state, _) = sample(Langevin(step_size, scale=scale), posterior, torch.zeros(CHAINS, 8), 220, seeded(0))
    basis = scale[:, None] * torch.linalg.svd(operator * scale).Vh[len(operator) :].T  # S B
    h = basis.T @ prior.precision @ basis
    slowest = 1 - torch.linalg.eigvalsh(h)[0] * step_size**2 / 2
    assert slowest**220 < 1e-3, "the start is forgotten"
    wanted = basis @ torch.linalg.inv(h @ (torch.eye(len(h)) - step_size**2 / 4 * h)) @ basis.T
    variance = wanted.diagonal()
    error = ((variance[:, None] * variance + wanted**2) / CHAINS).sqrt()
    free = variance > 1e-9
    assert ((state.x.T.cov() - wanted)[free][:, free] / error[free][:, free]).abs().max() < LIMIT


@pytest.mark.parametrize("scale", [None, torch.linspace(0.5, 2.0, 24, dtype=torch.float64).view(4, 6)])
def test_block_averages_project_and_leave_tangents_out_of_sight(scale):
    observation = Average((2, 3))
    x, v = torch.randn(5, 1, 4, 6), torch.randn(5, 1, 4, 6)
    y = observation.observe(torch.randn(5, 1, 4, 6))
    torch.testing.assert_close(y[0, 0, 0, 0], observation.observe(observation.repeat(y))[0, 0, 0, 0])
    there = observation.project(x, y)
    torch.testing.assert_close(observation.observe(there), y)
    torch.testing.assert_close(observation.project(there, y), there)
    along = observation.tangent(v, scale)
    moved = along if scale is None else along * scale
    torch.testing.assert_close(observation.observe(moved), torch.zeros(5, 1, 2, 2))
    torch.testing.assert_close(observation.tangent(along, scale), along)
    assert abs(float((along * (v - along)).sum())) < 1e-10, "an orthogonal projection"
    with pytest.raises(ValueError, match="do not divide"):
        Average((4, 4)).observe(x)


# --- bounds and batches -----------------------------------------------------------------------------------------------


def test_reflection_folds_the_line_into_the_box():
    bounded = Bounded(Ramp(), -1.0, 2.0)
    x = torch.tensor([-1.0, 0.3, 2.0, -1.5, 2.25, 5.5, -4.25, 8.2])
    inside, sign = bounded.reflect(x)
    torch.testing.assert_close(inside, torch.tensor([-1.0, 0.3, 2.0, -0.5, 1.75, -0.5, 1.75, 1.8]))
    assert sign.tolist() == [1, 1, 1, -1, -1, 1, 1, -1]
    again, kept = bounded.reflect(inside)
    assert torch.equal(again, inside) and (kept == 1).all()
    with pytest.raises(TypeError, match="bound"):
        Conditioned(Bounded(field()), Average((2,)), torch.zeros(4))
    with pytest.raises(TypeError, match="bound"):
        Bounded(Conditioned(field(), OBSERVATIONS["pixels"][0], GRID))


@pytest.mark.slow
def test_bounds_and_seen_pixels_together():
    energy, source = box()
    seen = Hidden(torch.tensor([True, False]))
    posterior = Conditioned(energy, seen, torch.tensor([0.0, 0.7]))
    for state, _ in sample(HMC(0.6, 3), posterior, torch.zeros(CHAINS, 2), 40, seeded(0)):
        assert (state.x[:, 1] == 0.7).all() and (state.x.abs() <= 1).all()
    exact = source.draw(DRAWS, seeded(1))
    assert z_scores(state.x[:, :1], exact[:, :1]).abs().max() < LIMIT
    assert kolmogorov(state.x[:, :1], exact[:, :1]) < 3


def test_measurements_join_only_where_their_projections_do(tmp_path):
    seen, y = Hidden(torch.tensor([True, False] * 4)), GRID
    exact = Conditioned(field(), seen, y)
    noisy = Conditioned(exact, Noisy(Average((2,)), 0.5), torch.zeros(4))
    *_, (state, _) = sample(MALA(0.4), noisy, torch.zeros(50, 8), 5, seeded(0))
    assert (state.x[:, 1::2] == y[1::2]).all(), "the inner measurement holds, and x was moved onto it"
    assert noisy.constrained and not Conditioned(field(), Noisy(seen, 0.5), y).constrained
    with pytest.raises(TypeError, match="exact measurement already"):
        Conditioned(exact, seen, y)
    Conditioned(Conditioned(field(), Noisy(seen, 0.3), y), Average((2,)), torch.zeros(4))
    weighted = 0.5 * Conditioned(field(), Noisy(seen, 0.3), seen.observe(y))
    torch.testing.assert_close(weighted(y[None]), 0.5 * field()(y[None]))
    with pytest.raises(ValueError, match="out of the energy's bounds"):
        Conditioned(Bounded(field()), seen, torch.full((8,), 1.5))
    with pytest.raises(TypeError, match="not saved"):
        exact.save_pretrained(tmp_path / "none")


def test_a_measurement_for_other_chains_is_refused():
    posterior = Conditioned(field(), OBSERVATIONS["pixels"][0], GRID.expand(4, 8))
    for sampler in (MALA(0.3), RandomWalk(0.3)):
        with pytest.raises(ValueError, match="the measurement is for 4 chains, x has 1"):
            sampler.init(posterior, torch.zeros(1, 8))


def test_number_formats_follow_x():
    scale = torch.linspace(0.5, 1.5, 8)
    energy = field().float()
    posterior = Conditioned(energy, OBSERVATIONS["pixels"][0], GRID)
    for sampler in (
        MALA(0.3, scale),
        Langevin(0.3, scale=scale),
        Underdamped(0.3, scale=scale),
        RandomWalk(0.3, scale),
    ):
        *_, (state, _) = sample(sampler, posterior, torch.zeros(3, 8, dtype=torch.float32), 3, seeded(0))
        assert state.x.dtype == state.energy.dtype == torch.float32


class Separate(Energy):
    """Nothing of it sums over the batch, not even in the order of a matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.square() / 2 + (2 * x).cos()).flatten(1).sum(1)


@pytest.mark.parametrize("name", [*SAMPLERS, *TEMPERINGS, "underdamped"])
def test_with_a_stream_each_a_sample_does_not_depend_on_its_batch(name):
    sampler = {**SAMPLERS, **TEMPERINGS, "underdamped": Underdamped(0.3)}[name]
    starts = torch.randn(5, 2, generator=seeded(9))

    def last(rows: slice, keys: range) -> Tensor:
        *_, (state, _) = sample(sampler, Separate(), starts[rows], 10, [seeded(k) for k in keys])
        return state.x

    together = last(slice(None), range(5))
    for k in range(5):
        assert torch.equal(last(slice(k, k + 1), range(k, k + 1))[0], together[k])
    with pytest.raises(ValueError, match="random streams for"):
        last(slice(None), range(2))


def test_impossible_settings_are_refused():
    for make in (lambda: MALA(0.0), lambda: HMC(-1.0), lambda: HMC(0.1, 0), lambda: RandomWalk(math.nan),
                 lambda: Underdamped(0.1, 0.0), lambda: ParallelTempering(MALA(), (0.5, 1.0)),
                 lambda: ParallelTempering(MALA(), (1.0,))):  # fmt: skip
        with pytest.raises(ValueError, match="must"):
            make()
    with pytest.raises(TypeError, match="momentum"):
        list(sample(ParallelTempering(Underdamped(0.1)), Separate(), torch.zeros(2, 2), 1, seeded(0)))
