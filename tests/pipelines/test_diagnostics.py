"""R-hat and ESS against laws and ArviZ; every verdict reached by chains that deserve it."""

from __future__ import annotations

import json
import math
from typing import NamedTuple

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import Energy, Family
from energies.diagnostics import Monitor, Summary, effective_temperature, ess_bulk, ess_tail, r_hat, saturation
from energies.samplers import MALA, Langevin, RandomWalk, Sampler, State
from energies.samplers.state import Info
from energies.sampling import anneal, sample
from energies.schedule import Schedule
from pipelines.sampling.chains import findings


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def autoregressive(rho: float, draws: int, chains: int, copies: int) -> Tensor:
    """Stationary x_t = rho x_(t-1) + sqrt(1 - rho^2) z_t, [draws, chains, copies]."""
    z = normal(draws, chains, copies)
    x = [z[0]]
    for t in range(1, draws):
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * z[t])
    return torch.stack(x)


# R-hat


def test_r_hat_of_independent_chains_is_1():
    """R-hat^2 - 1 is (F - 1) / n, with F of 7 and many degrees of freedom: below 4.1 of 4 in 99.98 %."""
    values = r_hat(normal(1000, 4, 50))
    assert values.shape == (50,)
    assert values.max() < math.sqrt(1 + 4 / 500)
    assert (values > 1 - 1 / 500).all()


@pytest.mark.parametrize("shift", [1.5, -1.5])
def test_r_hat_sees_a_shifted_chain(shift):
    draws = normal(400, 4, 20)
    draws[:, 2] += shift
    assert (r_hat(draws) > 1.1).all()


def test_r_hat_sees_a_chain_of_another_scale():
    """Whose mean is the same: only the fold sees it."""
    draws = normal(400, 4, 20)
    draws[:, 1] *= 4
    assert (r_hat(draws) > 1.1).all()


@pytest.mark.parametrize("chains", [1, 4])
def test_r_hat_sees_a_trend(chains):
    """That all chains share: only the split sees it."""
    assert (r_hat(normal(400, chains, 20) + torch.linspace(0, 3, 400).view(-1, 1, 1)) > 1.1).all()


def test_chains_that_stand_still_apart_have_infinite_r_hat():
    assert r_hat(torch.tensor([0.0, 1.0, 5.0]).expand(50, 3)) > 1e6


def test_two_valued_draws_have_an_r_hat():
    """Though their fold has none."""
    values = r_hat(torch.cat([normal(200, 4, 20).sign(), -torch.ones(200, 4, 20)]))
    assert (values > 1.1).all()
    assert (r_hat(normal(400, 4, 20).sign()) < 1.02).all()


# ESS


def test_ess_of_independent_draws_is_their_number():
    for ess, error in ((ess_bulk, 0.03), (ess_tail, 0.05)):
        ratio = ess(normal(1000, 4, 50)) / 4000
        assert abs(ratio.mean() - 1) < error, ratio.mean()
        assert ratio.std() < 0.1 if ess is ess_bulk else ratio.std() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.8, 0.5, -0.5])
def test_ess_of_an_autoregressive_process(rho):
    """N (1 - rho) / (1 + rho), which for rho < 0 is more than N; its mean over 100 copies, and 3 % of bias."""
    ratio = ess_bulk(autoregressive(rho, 1000, 4, 100)) / 4000
    wanted = (1 - rho) / (1 + rho)
    tolerance = 5 * ratio.std() / math.sqrt(100) + 0.03 * wanted
    assert tolerance < 0.1 * wanted
    assert abs(ratio.mean() - wanted) < tolerance, ratio.mean()


def test_ess_of_antithetic_draws_is_bounded():
    """Where autocorrelations sum to nothing, N log10 N stands (Vehtari et al. 2021, section 3.2)."""
    draws = normal(500, 4)
    draws[1::2] = -draws[::2]
    assert ess_bulk(draws) == pytest.approx(2000 * math.log10(2000))


# What holds for all of them


@pytest.mark.parametrize("diagnostic", [ess_bulk, ess_tail, r_hat])
def test_only_ranks_matter(diagnostic):
    """R-hat folds before it ranks; here the bulk decides, since a chain is shifted."""
    draws = autoregressive(0.5, 301, 4, 5)
    draws[:, 0] += 1
    assert torch.equal(diagnostic(draws.exp()), diagnostic(draws))
    assert torch.equal(diagnostic(draws**3), diagnostic(draws))
    assert not torch.equal(diagnostic(draws.square()), diagnostic(draws))


@pytest.mark.parametrize("diagnostic", [ess_bulk, ess_tail, r_hat])
def test_trailing_dimensions_are_columns_of_their_own(diagnostic):
    draws = autoregressive(0.7, 101, 3, 6).reshape(101, 3, 2, 3)
    together = diagnostic(draws)
    assert together.shape == (2, 3) and together.dtype == torch.float64
    for i in range(2):
        for j in range(3):
            assert diagnostic(draws[..., i, j]).item() == pytest.approx(together[i, j].item(), rel=1e-12)
    assert torch.allclose(diagnostic(draws[:, torch.tensor([2, 0, 1])]), together, rtol=1e-9, atol=0)


@pytest.mark.parametrize("diagnostic", [ess_bulk, ess_tail, r_hat])
def test_constant_and_broken_draws_have_no_number(diagnostic):
    draws = normal(100, 4, 4)
    draws[..., 1] = 0.1
    draws[50, 2, 2] = math.nan
    draws[50, 2, 3] = math.inf
    assert diagnostic(draws).isnan().tolist() == [False, True, True, True]


@pytest.mark.parametrize("diagnostic", [ess_bulk, ess_tail, r_hat])
@pytest.mark.parametrize("shape", [(100,), (3, 4), (100, 0)])
def test_too_few_draws_are_refused(diagnostic, shape):
    with pytest.raises(ValueError, match=r"draws must be \[num_draws >= 4, num_chains >= 1, ...\], got"):
        diagnostic(torch.zeros(shape))


def congruential(rho: float, draws: int, chains: int) -> Tensor:
    """An autoregressive process driven by a linear congruential generator: the same everywhere."""
    seed, x, rows = 1, [0.0] * chains, []
    for _ in range(draws):
        for k in range(chains):
            seed = (1103515245 * seed + 12345) % 2**31
            x[k] = rho * x[k] + seed / 2**31 - 0.5
        rows.append(list(x))
    return torch.tensor(rows, dtype=torch.float64)


# rho, draws, chains, shift of the last chain, decimals to round to; R-hat, bulk and tail ESS by ArviZ 0.23.4.
ARVIZ = [
    (0.6, 50, 4, 0.0, None, 1.0569181377819186, 53.92761766179365, 39.52206629350592),
    (0.6, 51, 3, 0.0, None, 1.0498908790177213, 46.15117296449827, 45.84354979039785),
    (0.3, 80, 4, 0.5, None, 1.2128621944540587, 17.257670794110844, 84.4202992988558),
    (-0.6, 60, 2, 0.0, None, 1.0422285364398631, 249.50174952571496, 104.73888488623433),
    (0.9, 200, 2, 0.0, 1, 1.0829828101897854, 24.31110171137393, 77.06014365807889),
    (0.95, 40, 1, 0.0, None, None, 1.6946845888151612, 21.105248542071642),
    (0.0, 7, 3, 0.0, None, 1.1590259901757884, 22.594905091859506, 18.0),
]


@pytest.mark.parametrize(("rho", "num", "chains", "shift", "decimals", "rhat", "bulk", "tail"), ARVIZ)
def test_parity_with_arviz(rho, num, chains, shift, decimals, rhat, bulk, tail):
    draws = congruential(rho, num, chains)
    draws[:, -1] += shift
    if decimals is not None:
        draws = draws.round(decimals=decimals)
    if rhat is not None:
        assert r_hat(draws).item() == pytest.approx(rhat, rel=1e-9)
    assert ess_bulk(draws).item() == pytest.approx(bulk, rel=1e-9)
    assert ess_tail(draws).item() == pytest.approx(tail, rel=1e-9)


# Temperature and saturation


@pytest.mark.slow
def test_effective_temperature_is_that_of_the_stationary_law():
    """On E = c x^2 / 2 the variance is (T / c) / (1 - step c / 2): that of temperature T but for the known bias."""
    for step_size, factor in ((0.2, 1.0), (0.3, 0.5)):
        step, noise, curvature = step_size**2 / 2, step_size * factor, 4.0
        temperature = effective_temperature(step, noise)
        assert temperature == pytest.approx(factor**2)
        *_, (state, _) = sample(Langevin(step_size, factor), Quadratic(curvature), normal(20_000, 1), 100, seeded())
        variance = temperature / curvature / (1 - step * curvature / 2)
        assert abs(state.x.var() / variance - 1) < 5 * math.sqrt(2 / 20_000)
    assert effective_temperature(1.0, 0.0) == 0.0
    assert effective_temperature(1e4, 0.3) == pytest.approx(4.5e-6)


@pytest.mark.parametrize(("step", "noise"), [(0.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (1.0, math.nan)])
def test_effective_temperature_refuses_impossible_settings(step, noise):
    with pytest.raises(ValueError, match="step must be positive and noise not negative"):
        effective_temperature(step, noise)


def test_saturation_counts_elements_at_a_bound_or_beyond():
    x = torch.tensor([[[-1.0, 1.0], [0.0, 0.5]], [[-0.99, 0.999], [3.0, -2.0]], [[0.0, 0.1], [0.2, 0.3]]])
    assert saturation(x).tolist() == [0.5, 0.75, 0.0]
    assert saturation(x, tolerance=0.0).tolist() == [0.5, 0.5, 0.0]
    assert saturation(x, 0.0, 4.0, tolerance=0.0).tolist() == [0.5, 0.5, 0.25]
    with pytest.raises(ValueError, match="bounds must rise"):
        saturation(x, 1.0, -1.0)


# The monitor


class Quadratic(Energy):
    """curvature * |x|^2 / 2: a Gaussian, a saddle where the curvature is negative."""

    def __init__(self, curvature: float = 1.0) -> None:
        super().__init__()
        self.curvature = curvature

    def forward(self, x: Tensor) -> Tensor:
        return self.curvature * x.square().flatten(1).sum(1) / 2


class TwoWells(Energy):
    """Normal distributions of deviation 1 at -centre and centre, in every element."""

    def __init__(self, centre: float) -> None:
        super().__init__()
        self.centre = centre

    def forward(self, x: Tensor) -> Tensor:
        wells = torch.stack([(x - self.centre).square(), (x + self.centre).square()])
        return -torch.logsumexp(-wells / 2, 0).flatten(1).sum(1)


class Quartic(Energy):
    """|x|^4 / 4 by elements: steps that are fine near 0 explode far out."""

    def forward(self, x: Tensor) -> Tensor:
        return x.pow(4).flatten(1).sum(1) / 4


class PushedOut(Energy):
    """-slope * |x| within [-1, 1]: it wants to be at the bounds."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return -self.slope * x.abs().flatten(1).sum(1)

    def project(self, x: Tensor) -> Tensor:
        return x.clamp(-1, 1)


def run(monitor: Monitor, sampler: Sampler, energy: Energy, x: Tensor, steps: int, seed: int = 1):
    state = info = None
    for state, info in sample(sampler, energy, x, steps, seeded(seed)):
        monitor.update(state, info)
    assert state is not None
    return state, info


def judged(sampler: Sampler, energy: Energy, x: Tensor, steps: int, **settings) -> Summary:
    monitor = Monitor(**settings)
    run(monitor, sampler, energy, x, steps)
    return monitor.summary()


START = normal(16, 2, 3).float()
SIDES = torch.tensor([-6.0, 6.0]).repeat(4).view(8, 1).repeat(1, 4)


@pytest.mark.parametrize(("sampler", "steps"), [(Langevin(1.2), 200), (MALA(1.2), 200), (RandomWalk(1.7), 300)])
@pytest.mark.parametrize("start", [START[:, 0, :2], START[:, :, :1].double() + 30])
def test_chains_of_a_gaussian_are_healthy(sampler, steps, start):
    summary = judged(sampler, Quadratic(), start, steps)
    assert summary.verdict == "healthy"
    assert summary.r_hat < 1.1 and summary.ess_bulk > 100 and summary.ess_tail > 100
    assert (summary.num_steps, summary.num_chains) == (steps, 16)


def test_one_chain_is_judged_as_far_as_it_can_be():
    assert judged(Langevin(1.2), Quadratic(), START[:1], 400).verdict.startswith(
        "healthy: as far as one chain can show"
    )
    assert judged(Langevin(0.01), Quadratic(), START[:1], 100).verdict.startswith("not mixed: R-hat")


@pytest.mark.parametrize("steps", [6, 40, 120])
@pytest.mark.parametrize("step_size", [3.0, 10.0])
def test_huge_steps_explode(step_size, steps):
    """|x| grows by 3.5 and 49 a step: past what float32 holds, or on the way there."""
    verdict = judged(Langevin(step_size), Quadratic(), START, steps).verdict
    assert verdict.startswith("exploding: the energy or x" if steps > 6 else ("exploding", "too short"))


def test_steps_a_little_too_large_explode():
    """|x| grows by 1.1 a step, to 1e4: all is finite yet."""
    summary = judged(Langevin(math.sqrt(2 * 2.1)), Quadratic(), START, 100)
    assert summary.verdict.split(",")[0] == "exploding: the energy keeps growing without bound"
    assert math.isfinite(summary.energy_last) and summary.energy_last > 1e6 * summary.energy_first


def test_an_energy_without_a_floor_explodes():
    assert judged(Langevin(0.5), Quadratic(-1.0), START, 100).verdict.startswith("exploding")


class Normals(Family):
    """Normal deviates of deviation 0.1 with noise of the level; `fall` lowers the energy at every level."""

    def __init__(self, fall: float = 0.0) -> None:
        super().__init__(noisy=True, mean=torch.zeros(6), spread=0.1)
        self.fall = fall

    def forward(self, x: Tensor) -> Tensor:
        sigma = self.sigma(x)
        return (x.square() / (2 * (self.spread**2 + sigma**2))).sum(1) - self.fall * sigma[0] ** -3


def annealed(
    sampler: Sampler | None, *, monitor: Monitor | None = None, fall: float = 0.0, low: float = 0.04, steps: int = 4
) -> Monitor:
    """A monitor that saw steps at each of 8 levels from 3 down, of 16 chains."""
    schedule = Schedule(8, 3.0, low, steps=steps)
    monitor = monitor or Monitor()
    for _ in anneal(Normals(fall), schedule, 3 * START.flatten(1), seeded(), sampler=sampler, monitor=monitor):
        pass
    return monitor


def test_energies_that_change_down_the_noise_levels_do_not_explode():
    assert not annealed(None, fall=1.0).summary().verdict.startswith("exploding")


def test_one_chain_that_explodes_is_enough():
    x = torch.cat([START, torch.full((1, 2, 3), 1e3)])
    assert judged(Langevin(0.2), Quartic(), x, 60).verdict.startswith("exploding: the energy or x is not finite, ")
    assert not judged(Langevin(0.2), Quartic(), x[:-1], 60).verdict.startswith("exploding")


@pytest.mark.parametrize("steps", [20, 200])
def test_chains_that_do_not_move_are_frozen(steps):
    assert judged(Langevin(1e-9), Quadratic(), START, steps).verdict.startswith("frozen: a step moves x by")
    zeros = judged(Langevin(0.1, noise=0.0), Quadratic(), torch.zeros(4, 3), steps)
    assert zeros.verdict.startswith("frozen: a step moves x by 0, ") and "raise step_size" in zeros.verdict


@pytest.mark.slow
def test_chains_that_refuse_are_frozen():
    for sampler in (MALA(10.0), RandomWalk(100.0)):
        summary = judged(sampler, Quadratic(), START, 200)
        assert summary.acceptance is not None and summary.acceptance < 0.01
        assert "of the proposals accepted, the chains stand still: lower step_size, or set warm_up=50" in str(summary)
        assert summary.verdict.startswith("frozen: 0") and len(summary.lines()) == 1


def test_chains_at_their_bounds_are_saturated():
    share = judged(Langevin(0.5), PushedOut(5.0), START, 60, bounds=(-1.0, 1.0))
    assert share.saturation is not None and 0.5 < share.saturation < 1
    assert share.verdict.startswith(f"saturated: {100 * share.saturation:.0f} % of values at the bounds, where 50 %")
    assert "lower step_size" in share.verdict
    assert not judged(Langevin(0.5), PushedOut(5.0), START, 60).verdict.startswith("saturated")
    allowed = judged(Langevin(0.5), PushedOut(5.0), START, 60, bounds=(-1.0, 1.0), saturated=0.99)
    assert not allowed.verdict.startswith("saturated")
    inside = judged(Langevin(0.12), Quadratic(100.0), START, 200, bounds=(-1.0, 1.0))
    assert inside.saturation == 0 and inside.verdict == "healthy"


@pytest.mark.slow
def test_separated_modes_are_not_mixed():
    summary = judged(Langevin(0.5), TwoWells(6.0), SIDES, 200)
    assert summary.verdict.startswith(f"not mixed: R-hat {summary.r_hat:.2f} (up to 1.1") and summary.r_hat > 1.5
    assert judged(Langevin(1.0), TwoWells(1.0), SIDES, 400).verdict == "healthy"
    slowly = judged(Langevin(0.5), TwoWells(1.0), SIDES, 200)
    assert slowly.verdict.startswith("not mixed") and 1.1 < slowly.r_hat < 1.5


def test_tiny_steps_do_not_mix_nor_explode():
    """A random walk, a drift at constant speed, and one that ends in the centre."""
    drift = judged(Langevin(0.02), PushedOut(20.0), torch.full((8, 3), 0.1), 200)
    assert drift.verdict.startswith("not mixed") and drift.energy_last < drift.energy_first - 30
    assert judged(Langevin(0.02), Quadratic(), torch.zeros(16, 3), 100).verdict.startswith("not mixed")
    assert judged(Langevin(0.02), PushedOut(-20.0), START.clamp(-1, 1), 100).verdict.startswith("not mixed")


@pytest.mark.parametrize("seed", [10, 30, 32])
@pytest.mark.parametrize("energy", [TwoWells(2.0), Quadratic(1e-4)])
def test_one_slow_chain_is_not_called_exploding(energy, seed):
    """It leaves a saddle for a mode, and walks at random: at these seeds so far that its energy doubles twice."""
    monitor = Monitor()
    run(monitor, Langevin(0.1), energy, torch.full((1, 2), 0.01), 100, seed)
    assert not monitor.summary().verdict.startswith("exploding")


def test_few_steps_are_too_short():
    assert judged(Langevin(1.2), Quadratic(), START, 1).verdict.startswith("too short to judge: 1 step of 16")
    assert judged(Langevin(1.2), Quadratic(), START, 98).verdict.startswith("too short to judge: 98 steps of")
    assert judged(Langevin(1.2), Quadratic(), START, 99).verdict == "healthy"


def test_a_summary_says_what_the_sampler_said():
    monitor = Monitor(temperature=0.7)
    _, info = run(monitor, MALA(0.8), Quadratic(), START, 200)
    trace, summary = monitor.trace(), monitor.summary()
    assert trace["step"].tolist() == list(range(1, 201))
    for name in ("accepted", "drift", "noise"):
        assert trace[name][-1] == pytest.approx(getattr(info, name).float().mean().item())
    assert trace["energy_error"][-1] == pytest.approx(info.energy_error.abs().mean().item(), rel=1e-5)
    assert summary.acceptance == pytest.approx(trace["accepted"][100:].mean().item())
    assert summary.energy_error == pytest.approx(trace["energy_error"][100:].mean().item())
    assert summary.drift_noise_ratio == pytest.approx(
        (trace["drift"][100:].mean() / trace["noise"][100:].mean()).item()
    )
    assert summary.effective_temperature == 0.7
    assert summary.energy_first == trace["energy"][0] and summary.energy_last == trace["energy"][-1]


def test_what_a_sampler_does_not_say_is_none():
    summary = judged(Langevin(0.8), Quadratic(), START, 10)
    assert summary.acceptance is summary.energy_error is summary.effective_temperature is summary.saturation is None
    assert judged(RandomWalk(0.8), Quadratic(), START, 10).drift_noise_ratio is None


def test_displacement_is_how_far_a_step_moves():
    """Without noise x halves every step, and so does the displacement."""
    monitor = Monitor()
    run(monitor, Langevin(1.0, noise=0.0), Quadratic(), torch.full((2, 5), 8.0), 4)
    trace = monitor.trace()
    assert trace["size"].tolist() == [4.0, 2.0, 1.0, 0.5]
    assert trace["displacement"].isnan().tolist() == [True, False, False, False]
    assert trace["displacement"][1:].tolist() == [2.0, 1.0, 0.5]
    assert monitor.summary().displacement == 0.75


def test_a_displacement_that_is_told_is_not_measured():
    class Told(NamedTuple):
        displacement: Tensor

    monitor = Monitor()
    for k in range(3):
        monitor.update(
            State(torch.full((2, 5), 8.0 * k), torch.zeros(2), torch.empty(0)), Told(torch.tensor([1.0, 3.0]))
        )
    assert monitor.trace()["displacement"].tolist() == [2.0, 2.0, 2.0]


@pytest.mark.slow
def test_memory_may_be_reused_by_the_sampler():
    kept, copied, x, energy = Monitor(), Monitor(), START.clone(), torch.empty(16)
    for state, info in sample(MALA(0.8), Quadratic(), START, 200, seeded()):
        kept.update(state, info)
        x.copy_(state.x)
        energy.copy_(state.energy)
        copied.update(state._replace(x=x, energy=energy), info)
    energy.fill_(math.nan)
    assert kept.summary() == copied.summary()


@pytest.mark.slow
def test_r_hat_is_over_the_energy_and_projections_of_the_second_half():
    # Steps of another size a chain, so that Langevin's bias differs: in 100 dimensions the energy shows it best
    monitor, energies = Monitor(), []
    steps = torch.linspace(0.8, 1.4, 16)[:, None]
    for state, info in sample(Langevin(1.0, scale=steps), Quadratic(), normal(16, 100).float(), 200, seeded()):
        monitor.update(state, info)
        energies.append(state.energy)
    late = torch.stack(energies[100:])
    assert monitor.summary().r_hat == pytest.approx(r_hat(late).item()) and r_hat(late) > 1.3
    assert monitor.summary().ess_bulk == pytest.approx(ess_bulk(late).item())

    # x [B, 1] has nothing but multiples of itself as projections, and its energy is a function of |x|
    monitor, path = Monitor(), []
    for state, info in sample(Langevin(0.3), Quadratic(), START[:, 0, :1], 200, seeded()):
        monitor.update(state, info)
        path.append(state.x[:, 0])
    late = torch.stack(path[100:])
    columns = torch.stack([late, late.square()], -1)
    assert monitor.summary().r_hat == pytest.approx(r_hat(columns).max().item(), rel=1e-6)
    assert monitor.summary().ess_bulk == pytest.approx(ess_bulk(columns).min().item(), rel=1e-3)


@pytest.mark.slow
def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("energies.diagnostics.MAX_DRAWS", 256)
    monkeypatch.setattr("energies.diagnostics.MAX_CHAINS", 16)
    long, short = Monitor(), Monitor()
    run(long, Langevin(0.8), Quadratic(), normal(80, 2).float(), 1100)
    run(short, Langevin(0.8), Quadratic(), normal(80, 2).float(), 255)
    assert short.trace()["step"].tolist() == list(range(1, 256))
    assert long.trace()["step"].tolist() == list(range(1, 1101, 8))
    summary = long.summary()
    assert summary.verdict == "healthy" and (summary.num_steps, summary.num_chains) == (1100, 80)
    assert 0.3 < summary.ess_bulk / (16 * 69) < 2, (
        "of the 16 chains and the 69 draws of their second half that were kept"
    )
    assert summary.displacement == pytest.approx(short.summary().displacement, rel=0.03), "of one step, not of eight"


@pytest.mark.slow
def test_half_precision_and_discrete_states_are_watched():
    assert judged(Langevin(1.2), Quadratic(), START.bfloat16(), 200).verdict == "healthy"
    monitor = Monitor()
    for state, info in sample(MALA(1.2), Quadratic(), START, 200, seeded()):
        monitor.update(state._replace(x=state.x > 0), info)
    assert monitor.summary().verdict == "healthy"


def test_a_summary_is_json_and_reads_well():
    summary = judged(MALA(0.8), Quadratic(), START, 5, bounds=(-1.0, 1.0), temperature=1.0)
    content = json.loads(json.dumps(summary.as_dict(), allow_nan=False))
    assert content["r_hat"] is None and content["kind"] == "stationary"
    assert set(content) == set(Summary.__dataclass_fields__)
    assert str(summary).splitlines() == summary.lines()


# What is printed: of what kind of chain, and what to do


@pytest.mark.slow
def test_stationary_chains_print_acceptance_r_hat_and_a_verdict():
    found = judged(MALA(0.8), Quadratic(), START, 200)
    percent = f"{100 * found.acceptance:.0f} %"
    assert found.lines() == [f"healthy: 200 steps of 16 chains, acceptance {percent}, R-hat {found.r_hat:.2f}"]
    plain = judged(Langevin(1.2), Quadratic(), START, 200)
    assert plain.lines() == [f"healthy: 200 steps of 16 chains, R-hat {plain.r_hat:.2f}"]
    [line] = judged(Langevin(1.2), Quadratic(), START, 20).lines()
    words = "20 steps of 16 chains are too few to tell whether they mixed: take 99 steps or more to know"
    assert line == f"too short to judge: {words}"


@pytest.mark.parametrize(
    ("sampler", "energy", "advice"),
    [
        (Langevin(0.5), TwoWells(6.0), "take more steps, a larger step_size, or parallel tempering"),
        (MALA(1.0), TwoWells(6.0), "take more steps, or parallel tempering"),
        (MALA(0.05), TwoWells(6.0), "raise step_size, or set warm_up=50, which finds one"),
        (MALA(2.3), TwoWells(6.0), "lower step_size, or set warm_up=50, which finds one"),
    ],
)
def test_chains_that_do_not_mix_are_told_what_to_do(sampler, energy, advice):
    """The acceptance decides: more steps do not help where proposals are far too large."""
    found = judged(sampler, energy, SIDES, 200)
    tail = "" if found.acceptance is None else f", acceptance {100 * found.acceptance:.0f} %"
    assert found.lines() == [
        f"not mixed: R-hat {found.r_hat:.2f} (up to 1.1 is mixed): {advice}; 200 steps of 8 chains{tail}"
    ]


@pytest.mark.slow
def test_an_acceptance_that_costs_time_is_told_though_chains_mixed():
    low = judged(RandomWalk(6.0), Quadratic(), START[:, 0, :2], 3000)
    high = judged(MALA(0.5), Quadratic(), START[:, 0, :2], 1000)
    for found, advice in ((low, "lower step_size"), (high, "raise step_size")):
        assert found.verdict == "healthy"
        assert (
            found.lines()[1]
            == f"acceptance {100 * found.acceptance:.0f} %: {advice}, or set warm_up=50, which finds one"
        )


def seen(accepted: dict[float, list[list[bool]]]) -> Summary:
    """Of annealed chains of 100 numbers whose steps were accepted like that, by level."""
    monitor = Monitor()
    for level, steps in accepted.items():
        for k, flags in enumerate(steps):
            x = level * normal(len(flags), 2, seed=k)
            monitor.update(State(x, x[:, 0], x), Info(accepted=torch.tensor(flags)), level=level)
    return monitor.summary()


def share(num: int, chains: int = 100) -> list[list[bool]]:
    """Two steps, of which num of 100 chains accepted each."""
    return [[k < num for k in range(chains)]] * 2


@pytest.mark.slow
def test_annealed_chains_have_an_acceptance_by_level_and_no_r_hat():
    found = seen({3.0: share(60), 0.2: share(50), 0.05: share(4)})
    assert found.kind == "annealed" and found.acceptance == pytest.approx(0.38)
    assert found.level_acceptance == ((3.0, pytest.approx(0.6), 200), (0.2, 0.5, 200), (0.05, pytest.approx(0.04), 200))
    assert found.lines() == [
        "6 steps of 100 chains down 3 levels, acceptance 38 %",
        "steps at level 0.05 accepted 4 %: lower step_size, or set warm_up=50, which finds one",
    ]
    assert found.verdict == f"acceptance: {found.lines()[1]}"
    long = annealed(MALA(1.1), low=0.4, steps=40).summary()
    assert math.isnan(long.r_hat) and math.isnan(long.ess_bulk) and math.isnan(long.ess_tail)
    assert long.verdict.startswith("no fault seen") and len(long.lines()) == 1


@pytest.mark.parametrize(
    ("levels", "line"),
    [
        ({1.0: 99, 0.5: 60}, "steps at level 1 accepted 99 %: raise step_size, or set warm_up=50, which finds one"),
        ({1.0: 9, 0.5: 4}, "steps at all 2 levels accepted 4 % to 9 %: lower step_size, or set warm_up=50"),
        (
            {1.0: 99, 0.5: 60, 0.1: 4},
            "steps at level 0.1 accepted 4 %, at level 1 accepted 99 %: no step_size suits all levels, set warm_up=50",
        ),
        ({1.0: 60, 0.3: 9, 0.2: 4, 0.1: 4, 0.05: 2}, "steps at 4 of 5 levels (0.3 ... 0.05) accepted 2 % to 9 %:"),
        ({1.0: 60, 0.2: 9, 0.1: 9}, "steps at levels 0.2 and 0.1 accepted 9 %: lower step_size"),
    ],
)  # fmt: skip
def test_levels_whose_steps_do_not_suit_are_named(levels, line):
    assert seen({level: share(num) for level, num in levels.items()}).lines()[1].startswith(line)


def test_a_few_proposals_at_a_level_tell_nothing():
    assert len(seen({3.0: share(4, 4), 0.1: share(0, 4), 0.05: share(2, 4)}).lines()) == 1


def test_annealed_langevin_prints_nothing_but_what_is_wrong():
    found = findings(annealed(None, monitor=Monitor(bounds=(-1, 1), temperature=1.0)))
    assert found["lines"] == [] and found["summary"]["kind"] == "annealed" and found["summary"]["r_hat"] is None
    assert found["curves"]["level"][0] == 3.0 and found["curves"]["level"][-1] == 0.04
    [line] = findings(annealed(Langevin(1e30)))["lines"]
    assert line.startswith("exploding: ") and "lower step_size" in line
    [line] = findings(annealed(None, monitor=Monitor(bounds=(-0.1, 0.1), saturated=0.1)))["lines"]
    assert line.startswith("saturated: ")


def test_the_lowest_level_tells_the_saturation_of_annealed_chains():
    """At higher ones x is out of the bounds by its noise."""
    saturation = annealed(None, monitor=Monitor(bounds=(-1, 1))).summary().saturation
    assert saturation == 0.0 and annealed(None, monitor=Monitor(bounds=(-1, 1)), low=2.9).summary().saturation > 0.5


def test_the_flow_alone_prints_nothing():
    found = findings(annealed(None, steps=0))
    assert found == {
        "summary": {"kind": "annealed", "verdict": "no sampler steps: the flow alone"}, "lines": [], "curves": {}
    }  # fmt: skip


@pytest.mark.parametrize("steps", [20, 200])
def test_short_runs_are_told_once_and_have_no_r_hat(steps):
    found = judged(Langevin(0.3, 0.1), TwoWells(6.0), SIDES, steps, temperature=0.01)
    assert found.kind == "short-run" and math.isnan(found.r_hat)
    assert found.lines() == [
        "short-run Langevin at temperature 0.01: its samples depend on the start and the number of steps; "
        "R-hat does not apply"
    ]
    exact = judged(MALA(1.0), Quadratic(), START, 200, temperature=0.01)  # of a law that was divided by it
    assert exact.kind == "stationary" and exact.verdict == "healthy"


def test_what_is_told_of_some_steps_only_is_watched():
    """A chain of MALA steps that ends with some without noise."""
    monitor = Monitor()
    state, _ = run(monitor, MALA(1.2), Quadratic(), START, 200)
    run(monitor, Langevin(0.1, 0.0), Quadratic(), state.x, 3)
    assert monitor.trace()["accepted"].isnan().sum() == 3
    assert 0.3 < monitor.summary().acceptance < 0.99
    found = findings(monitor)
    json.dumps(found, allow_nan=False)
    assert found["curves"]["accepted"][-3:] == [None] * 3 and found["curves"]["displacement"][0] is None


def test_a_monitor_watches_one_run():
    monitor = Monitor()
    with pytest.raises(ValueError, match="nothing was seen yet"):
        monitor.summary()
    run(monitor, Langevin(0.8), Quadratic(), START, 3)
    with pytest.raises(ValueError, match=r"x is \(2, 6\) and was \(16, 6\): one monitor for one run"):
        run(monitor, Langevin(0.8), Quadratic(), START[:2], 3)
