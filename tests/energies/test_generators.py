"""How noise becomes samples: every way against a family of Gaussians, whose answers are known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import Energy, Gaussian, family
from energies.diagnostics import Monitor
from energies.energy import gradient
from energies.generators import Chain, Stepwise
from energies.samplers import Langevin
from energies.samplers.state import normal
from energies.sampling import anneal, sample
from energies.saving import describe, restore
from energies.schedule import Schedule, karras

NUM = 20_000
MEAN = torch.tensor([0.1, -0.2, 0.0])
STD = torch.tensor([0.05, 0.12, 0.2])  # so that no sample comes near the ends of the range


class Family(family.Family):
    """Independent Gaussians N(mean, std^2) and what noise of a level makes of them."""

    def __init__(self) -> None:
        super().__init__(noisy=True, mean=MEAN, spread=float(STD.square().mean().sqrt()))
        self.std = STD
        self.event_shape = (3,)

    def forward(self, x: Tensor) -> Tensor:
        level = 0.0 if self.level is None else self.sigma(x)  # of clean x where none is bound: for chains
        return ((x - self.mean).square() / (2 * (self.std**2 + level**2))).sum(1)


def draw(num: int = NUM, noise: float = 0.0, seed: int = 9) -> Tensor:
    return MEAN + (STD**2 + noise**2).sqrt() * torch.randn(num, 3, generator=seeded(seed))


def made(generator, seed: int = 0, energy: Energy | None = None) -> Tensor:
    *_, x = generator.generate(energy or Family(), torch.randn(NUM, 3, generator=seeded(seed)), seeded(seed + 1))
    return x


def moments(x: Tensor, variance: Tensor, off: float = 0.0) -> None:
    """Mean and variance within 5 standard errors, and a share `off` of the variance that the rule's bias may cost."""
    assert ((x.mean(0) - MEAN).abs() < 5 * variance.sqrt() / len(x) ** 0.5).all()
    ratio = x.var(0) / variance
    assert ((ratio - 1).abs() < 5 * (2 / len(x)) ** 0.5 + off).all(), ratio
    assert (x.T.corrcoef() - torch.eye(3)).abs().max() < 5 / len(x) ** 0.5


def factor(*, heun: bool, levels: int) -> Tensor:
    """What the flow makes of a unit of noise: it is linear in x, so two starts tell all of it."""
    start = MEAN + torch.tensor([[-20.0], [20.0]])
    *_, (_, x) = anneal(Family(), Schedule(levels, 20.0, 0.01, predictor="heun" if heun else "euler"), start, seeded(0))
    return (x[1] - x[0]) / 2


# ------------------------------------------------------------------------------------------- annealed


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 2])
def test_annealed_samples_have_the_right_mean_and_variance(steps):
    x = made(Schedule(levels=60, low=0.005, steps=steps, step_size=0.2))
    moments(x, STD**2, off=0.015)


@pytest.mark.parametrize(
    ("down_to", "wanted"),
    [(0.0, [3, 3, 3, 3]), (0.5, [3, 3, 0, 0]), (karras(4.0, 0.1, 4)[1], [3, 3, 0, 0]), (9.0, [0, 0, 0, 0])],
)
def test_langevin_steps_are_made_down_to_a_level(down_to, wanted):
    class Counted(Monitor):
        count = 0

        def update(self, state, info, *, level=None) -> None:
            self.count += 1

    way, monitor, counts = Schedule(4, 4.0, 0.1, 3, 0.4, down_to), Counted(), [0]
    assert [level >= 0.5 for level in way.noise_levels()] == [True, True, False, False]
    for _ in way.generate(Family(), torch.randn(2, 3, generator=seeded(0)), seeded(1), monitor=monitor):
        counts.append(monitor.count)
    assert [after - before for before, after in pairwise(counts)] == wanted


def test_heuns_rule_is_more_exact_than_eulers_at_equal_levels():
    """The flow takes noise z at level T to std z sqrt(T^2 / (T^2 + std^2)), and its mean leaves what denoising does."""
    exact = STD * 20 / (400 + STD**2).sqrt() * (STD**2 / (STD**2 + 0.01**2)).sqrt()
    error = {
        (heun, levels): (factor(heun=heun, levels=levels) / exact - 1).abs().max()
        for heun in (True, False)
        for levels in (20, 40, 80)
    }
    for levels in (20, 40, 80):
        assert error[True, levels] < error[False, levels] / 2.5
    assert error[True, 80] < 0.01
    # Twice the levels: a quarter of Heun's error, half of Euler's.
    assert error[True, 40] / error[True, 80] > 3
    assert 1.6 < error[False, 40] / error[False, 80] < 2.5


@pytest.mark.slow
def test_annealed_chains_go_on_where_they_should():
    """What comes from the data goes back to the data's law."""
    *_, x = Schedule(levels=40, low=0.005).continued(Family(), draw(), seeded(1))
    moments(x, STD**2, off=0.02)
    *_, x = Schedule(levels=400, low=0.005).continued(Family(), torch.full((NUM, 3), 0.9), seeded(1))
    assert ((x.mean(0) - MEAN).abs() < 0.3 * (0.9 - MEAN)).all(), "from elsewhere they come nearer"


def test_the_levels_run_from_end_to_end():
    for levels in (karras(20.0, 0.03, 9), Schedule(levels=9).noise_levels(), karras(20.0, 0.03, 9, rho=7.0)):
        assert len(levels) == 9 and levels[0] == pytest.approx(20) and levels[-1] == pytest.approx(0.03)
        assert all(a > b for a, b in pairwise(levels))
    roots = torch.tensor(karras(20.0, 0.03, 9, rho=7.0)) ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(8), rtol=1e-3, atol=0)
    assert Stepwise(levels=5).noise_levels()[0] == pytest.approx(6.0)
    assert Stepwise(levels=5).noise_levels()[-1] == pytest.approx(0.06)


# ---------------------------------------------------------------------------------------------- chain


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_a_chain_arrives_at_langevins_own_law(temperature):
    """Its variance is that of the energy, times the temperature, but for the known bias of its steps."""
    eps = 0.04
    chain = Chain(steps=400, step_size=eps, noise=temperature**0.5, bound=None)
    moments(made(chain), temperature * STD**2 / (1 - eps**2 / (4 * STD**2)))


@pytest.mark.slow
def test_a_chain_calms_down_at_the_end():
    eps = 0.04
    chain = Chain(steps=400, step_size=eps, bound=None, calm=3)
    shrunk = (1 - eps**2 / (2 * STD**2)) ** 3
    moments(made(chain), STD**2 / (1 - eps**2 / (4 * STD**2)) * shrunk**2)


def test_a_chain_starts_from_noise_about_the_mean_and_stays_in_bounds():
    x, *_ = Chain(steps=1, step_size=1e-6, spread=0.07, bound=None).generate(
        Family(), torch.randn(NUM, 3, generator=seeded(0)), seeded(1)
    )
    moments(x, torch.full((3,), 0.07**2))
    wide = Gaussian([0.0] * 3, (torch.eye(3) / 25).tolist())
    walk = list(Chain(steps=20, step_size=0.5, bound=0.4).generate(wide, torch.randn(100, 3), seeded(1)))
    assert all(x.abs().max() <= 0.4 for x in walk) and walk[5].abs().max() > 0.35
    free = list(Chain(steps=20, step_size=0.5, bound=None).generate(wide, torch.randn(100, 3), seeded(1)))
    assert max(x.abs().max() for x in free[:-1]) > 1, "without a bound there is none on the way"
    assert free[-1].abs().max() <= 1


def test_a_chain_goes_on_from_where_it_is_told_to():
    chain = Chain(steps=40, step_size=0.04, bound=None)
    *_, x = chain.continued(Family(), draw(), seeded(3))
    moments(x, STD**2, off=0.2)
    noise = torch.randn(50, 3, generator=seeded(4))
    for a, b in zip(
        chain.generate(Family(), noise, seeded(5)),
        chain.continued(Family(), MEAN + chain.spread * noise, seeded(5)),
        strict=True,
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("way", "steps"),
    [
        (Chain(steps=12, calm=3, bound=None, step_size=0.02), 15),
        (Schedule(levels=5, steps=3), 15),
        pytest.param(Stepwise(levels=4, steps=5), 15),
    ],
)
def test_a_monitor_sees_every_langevin_step(way, steps):
    monitor = Monitor()
    list(way.generate(Family(), torch.zeros(4, 3), seeded(0), monitor=monitor))
    assert monitor.num_steps == steps


# ------------------------------------------------------------------------------------------- stepwise


@pytest.mark.slow
@pytest.mark.parametrize("continued", [False, True])
def test_stepwise_samples_have_the_right_moments(continued):
    """What is taken away at the end leaves var^2 / (var + low^2)."""
    way = Stepwise(levels=5, high=2.0, low=0.04, steps=200, step_size=0.5)
    if continued:
        *_, x = way.continued(Family(), draw(8000), seeded(1))
    else:
        *_, x = way.generate(Family(), torch.randn(8000, 3, generator=seeded(0)), seeded(1))
    moments(x, STD**4 / (STD**2 + 0.04**2), off=0.04)


def test_stepwise_begins_with_the_law_of_the_highest_level():
    way = Stepwise(levels=3, high=2.0, steps=1, step_size=1e-6)
    x, *_ = way.generate(Family(), torch.randn(NUM, 3, generator=seeded(0)), seeded(1))
    moments(x, torch.full((3,), 2.0**2 + Family().spread ** 2))


@pytest.mark.slow
def test_one_step_down_samples_what_is_likely_given_the_noisier():
    """x given y has the mean (y / between^2 + mean / var) / (1 / between^2 + 1 / var), but for Langevin's bias."""
    way, before, level = Stepwise(steps=300, step_size=0.3), 0.3, 0.15
    between, variance = before**2 - level**2, STD**2 + level**2
    precision = 1 / between + 1 / variance
    eps = 0.3 * level * (between / before**2) ** 0.5
    law = 1 / (precision * (1 - eps**2 * precision / 4))
    *_, x = way.step(Family(), torch.full((NUM, 3), 0.5), level, before, seeded(1))
    expected = (0.5 / between + MEAN / variance) / precision
    assert ((x.mean(0) - expected).abs() < 5 * (law / NUM).sqrt() + 1e-3).all()
    assert ((x.var(0) / law - 1).abs() < 5 * (2 / NUM) ** 0.5).all()


@pytest.mark.slow
def test_what_is_noisier_by_one_level_goes_to_the_law_of_the_next():
    way, before, level = Stepwise(steps=200, step_size=0.4), 0.3, 0.15
    *_, x = way.step(Family(), draw(noise=before), level, before, seeded(1))
    moments(x, STD**2 + level**2, off=0.03)


# --------------------------------------------------------------------------------------------- all ways

WAYS = [Schedule(levels=7, high=9.0), Chain(30, 0.2, 0.5, limit=0.1, bound=None, calm=4), Stepwise(levels=4, steps=5)]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: type(way).__name__)
def test_a_way_is_stored_as_itself(way):
    for one in (way, type(way)()):
        assert restore(describe(one, {}), {}) == one


@pytest.mark.parametrize("way", WAYS, ids=lambda way: type(way).__name__)
def test_sample_k_does_not_depend_on_its_batch(way):
    def streams(num: int) -> list[torch.Generator]:
        return [seeded(k) for k in range(num)]

    many, few = streams(5), streams(2)
    noises = [normal(torch.empty(len(s), 3), s) for s in (many, few)]
    *_, a = way.generate(Family(), noises[0], many)
    *_, b = way.generate(Family(), noises[1], few)
    torch.testing.assert_close(a[:2], b)
    *_, again = way.generate(Family(), noises[1], [seeded(k + 50) for k in range(2)])
    assert isinstance(way, Schedule) == torch.equal(b, again), "only the flow has no noise of its own"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: type(way).__name__)
@pytest.mark.parametrize("times", [0.01, 0.5, 3])
def test_longer_takes_so_many_times_the_steps(way, times):
    def count(way) -> int:
        return len(list(way.generate(Family(), torch.zeros(1, 3), seeded(0))))

    fixed = way.calm + 1 if isinstance(way, Chain) else 1 if isinstance(way, Stepwise) else 0
    per = way.levels - 1 if isinstance(way, Stepwise) else 1
    least = 2 if isinstance(way, Schedule) else 1
    one = (count(way) - fixed) // per
    assert (count(way.longer(times)) - fixed) // per == max(least, round(one * times))
    assert way.longer(1.0) == way


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Schedule, {"levels": 0}), (Schedule, {"low": 0.0}), (Schedule, {"low": 30.0}), (Schedule, {"steps": -1}),
        (Schedule, {"step_size": math.nan}), (Chain, {"steps": 0}), (Chain, {"step_size": 0.0}),
        (Chain, {"noise": -1.0}), (Chain, {"spread": 0.0}), (Chain, {"calm": -1}), (Stepwise, {"levels": 1}),
        (Stepwise, {"steps": 0}), (Stepwise, {"high": 0.01}), (Stepwise, {"step_size": math.nan}),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(kind, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        kind(**settings)


@pytest.mark.parametrize("settings", [{"limit": 0.0}, {"limit": -1.0}, {"bound": 0.0}, {"bound": -1.0}], ids=str)
def test_a_chain_refuses_impossible_limits_at_once(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Chain(**settings)


# --------------------------------------------------------------------------------- Langevin's limit


def test_a_limit_bounds_the_move_by_the_gradient_and_nothing_else():
    energy = Gaussian([0.0] * 3, torch.diag(torch.tensor([1.0, 100.0, 1e4])).tolist())
    x = torch.randn(1000, 3, generator=seeded(0))
    eps, limit = 0.1, 0.05
    drift = -(eps**2) / 2 * gradient(energy, x)[1]
    assert (drift.abs() > limit).any() and (drift.abs() < limit).any()
    for (state, info), (free, _) in zip(
        sample(Langevin(eps, 0.0, limit=limit), energy, x, 1, seeded(1)),
        sample(Langevin(eps, 0.0), energy, x, 1, seeded(1)),
        strict=True,
    ):
        moved = state.x - x
        assert moved.abs().max() <= limit * 1.0001
        torch.testing.assert_close(moved, drift.clamp(-limit, limit), atol=1e-6, rtol=1e-4)
        small = drift.abs() < limit
        torch.testing.assert_close(state.x[small], free.x[small])
        assert info.drift.max() <= limit * 1.0001
    scale = torch.tensor([1.0, 0.1, 0.01])
    [(state, _)] = sample(Langevin(eps, 0.0, scale, limit), energy, x, 1, seeded(1))
    assert ((state.x - x).abs() <= limit * scale * 1.001).all(), "in units of the scale"
    noisy, *_ = sample(Langevin(eps, 1.0, limit=limit), energy, x, 1, seeded(1))
    noise = noisy[0].x - x - drift.clamp(-limit, limit)
    assert float(noise.std()) == pytest.approx(eps, rel=5 / (2 * noise.numel()) ** 0.5), "the noise has no limit"


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_an_impossible_limit_is_refused(limit):
    with pytest.raises(ValueError, match="limit must be positive"):
        Langevin(limit=limit)
