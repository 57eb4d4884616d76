"""The law of posteriors over noise levels: annealed samples of p(x | y) are those of the closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from energies import Average, Blur, Family, Grey, Hidden, Noisy, Observation, Schedule, Stacked
from energies.diagnostics import Monitor
from energies.samplers import HMC, MALA, Langevin, ParallelTempering, RandomWalk, Underdamped
from energies.samplers.state import Info, State
from energies.sampling import LevelSampler, anneal
from tests.conftest import seeded

SHAPE = (3, 2, 2)
NUM = math.prod(SHAPE)
CHAINS = 1500
SLOW = Schedule(20, 5.0, 0.02, 1)
STEPS = HMC(0.7, 7)
MASK = torch.tensor([[[True, True], [False, True]]])


class GaussianFamily(Family):
    """N(m, C) over x [3, 2, 2], with noise of the level in units of the scale."""

    def __init__(self, scaled: bool = False) -> None:
        root = torch.randn(NUM, NUM, generator=seeded(0)) / NUM**0.5
        covariance = root @ root.T + torch.diag(torch.linspace(0.05, 0.6, NUM))
        super().__init__(
            noisy=True,
            mean=torch.randn(NUM, generator=seeded(1)).view(SHAPE),
            spread=float(covariance.diagonal().mean().sqrt()),
            scale=torch.linspace(0.5, 1.5, NUM).view(1, *SHAPE) if scaled else None,
        )
        self.covariance, self.event_shape = covariance, SHAPE
        self.precisions: dict[float, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        d = x.flatten(1) - self.mean.flatten()
        level = float(self.level)  # type: ignore[arg-type]
        if level not in self.precisions:
            unit = torch.ones(NUM) if self.scale is None else self.scale.flatten()
            self.precisions[level] = (self.covariance + torch.diag((level * unit) ** 2)).inverse()
        return ((d @ self.precisions[level]) * d).sum(1) / 2


@dataclass(frozen=True)
class Slopes(Observation):
    """One of a person's own, with nothing but what it must have: differences along the last axis."""

    def observe(self, x: Tensor) -> Tensor:
        return x[..., 1:] - x[..., :-1]

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.cat([-y[..., :1], y[..., :-1] - y[..., 1:], y[..., -1:]], -1)


EXACT: dict[str, Observation] = {
    "hidden": Hidden(MASK),
    "average": Average((2, 2)),
    "grey": Grey(),
    "blur": Blur(1.6),
    "own": Slopes(),
    "stacked": Stacked((Grey(), Average((2, 2)))),
}
NOISY: dict[str, Observation] = {
    "noisy hidden": Noisy(Hidden(MASK), 0.3),
    "noisy average": Noisy(Average((2, 2)), 0.2),
    "noisy grey": Noisy(Grey(), 0.2),
    "noisy blur": Noisy(Blur(0.6), 0.2),
    "noisy own": Noisy(Slopes(), 0.3),
    "mixed": Stacked((Average((2, 2)), Noisy(Hidden(MASK), 0.3))),
    "noisy twice": Stacked((Noisy(Grey(), 0.3), Noisy(Average((2, 2)), 0.2))),
}
OBSERVATIONS = {**EXACT, **NOISY}
pytestmark = pytest.mark.usefixtures("double")


def flat(y: Tensor | tuple[Tensor, ...]) -> Tensor:
    return torch.cat([one.flatten(1) for one in (y if isinstance(y, tuple) else (y,))], 1)


def noises(observation: Observation) -> Tensor:
    """Variance of the noise of every element of y."""
    if isinstance(observation, Stacked):
        return torch.cat([noises(part) for part in observation.parts])
    num = flat(observation.observe(torch.zeros(1, *SHAPE))).numel()
    return torch.full((num,), observation.noise**2 if isinstance(observation, Noisy) else 0.0)


def measured(family: GaussianFamily, observation: Observation, seed: int = 2) -> Tensor | tuple[Tensor, ...]:
    truth = family.mean.flatten() + torch.linalg.cholesky(family.covariance) @ torch.randn(NUM, generator=seeded(seed))
    return observation.sample(truth.view(1, *SHAPE), seeded(seed + 1))


def closed_form(
    family: GaussianFamily, observation: Observation, y: Tensor | tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Mean [D] and covariance [D, D] of x given y, by dense matrices."""
    a = flat(observation.observe(torch.eye(NUM).view(NUM, *SHAPE))).T
    told = a.abs().sum(1) > 1e-9
    a, noise, values = a[told], noises(observation)[told], flat(y)[0, told]
    of_y = a @ family.covariance @ a.T + torch.diag(noise)
    gain = family.covariance @ a.T @ torch.linalg.pinv(of_y, rtol=1e-8, hermitian=True)
    mean = family.mean.flatten() + gain @ (values - a @ family.mean.flatten())
    return mean, family.covariance - gain @ a @ family.covariance


def errors(x: Tensor, mean: Tensor, covariance: Tensor) -> tuple[float, float]:
    """Largest errors of mean and covariance of x [B, *event], in standard errors."""
    x, floor = x.flatten(1), 1e-4  # of what is known exactly
    variance = covariance.diagonal().clamp(min=0)
    of_mean = (x.mean(0) - mean) / ((variance / len(x)).sqrt() + floor)
    of_covariance = ((variance[:, None] * variance + covariance**2) / len(x)).sqrt() + floor
    return float(of_mean.abs().max()), float(((x.T.cov() - covariance) / of_covariance).abs().max())


def annealed(posterior: Family, schedule: Schedule, sampler: LevelSampler | None, chains: int, **settings) -> Tensor:
    rng = seeded(7)
    x = posterior.start(torch.randn(chains, *SHAPE, generator=rng), schedule.noise_levels()[0])
    *_, (_, last) = anneal(posterior, schedule, x, rng, sampler=sampler, **settings)
    return last


@pytest.mark.slow
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_annealed_samples_are_of_the_closed_form_posterior(name: str) -> None:
    family, observation = GaussianFamily(), OBSERVATIONS[name]
    y = measured(family, observation)
    mean, covariance = closed_form(family, observation, y)
    x = annealed(family.posterior(observation, y), SLOW, STEPS, CHAINS)
    assert max(errors(x, mean, covariance)) < 5
    assert max(errors(x, family.mean.flatten(), family.covariance)) > 10, "y tells something, not all"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hidden", "average", "grey", "noisy grey"])
def test_so_they_are_where_every_element_has_a_noise_of_its_own(name: str) -> None:
    family, observation = GaussianFamily(scaled=True), OBSERVATIONS[name]
    y = measured(family, observation)
    x = annealed(family.posterior(observation, y), SLOW, STEPS, CHAINS)
    assert max(errors(x, *closed_form(family, observation, y))) < 5


@pytest.mark.parametrize("name", EXACT)
def test_projected_once_at_the_end_they_are_not(name: str) -> None:
    """What was done before: the chain knows nothing of y, and its end is moved to where A x = y."""
    family, observation = GaussianFamily(), EXACT[name]
    y = measured(family, observation)
    x = observation.project(annealed(family, SLOW, STEPS, CHAINS), y)
    assert max(errors(x, *closed_form(family, observation, y))) > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, one in OBSERVATIONS.items() if one.holds])
@pytest.mark.parametrize("scaled", [False, True])
def test_what_is_seen_exactly_is_off_by_its_noise_of_the_start_which_fades_with_the_level(
    name: str, scaled: bool
) -> None:
    family, observation = GaussianFamily(scaled), OBSERVATIONS[name]
    y = measured(family, observation)
    posterior = family.posterior(observation, y)
    held = (
        observation if not isinstance(observation, Stacked) else Stacked(tuple(p for p in observation.parts if p.exact))
    )
    kept = y if not isinstance(y, tuple) else tuple(one for one, p in zip(y, observation.parts, strict=True) if p.exact)  # type: ignore[union-attr]

    def off(x: Tensor) -> Tensor:
        return flat(held.observe(x)) - flat(kept)

    schedule = Schedule(5, 5.0, 0.1, 1)
    start = posterior.start(torch.randn(6, *SHAPE, generator=seeded(3)), 5.0)
    first = off(start) / 5.0
    torch.testing.assert_close(off(posterior.start(torch.zeros(1, *SHAPE), 5.0)), torch.zeros_like(first[:1]))
    assert first.abs().max() > 0.5
    x = start
    for level, x in anneal(posterior, schedule, start, seeded(4), sampler=HMC(0.5, 2)):
        torch.testing.assert_close(off(x), level * first, rtol=0, atol=1e-9)
    if name == "hidden":
        assert torch.equal(observation.observe(x), flat(kept).view(1, *SHAPE).expand_as(x)), "to the last bit"


def test_the_predictor_makes_no_difference_to_what_is_held() -> None:
    family, observation = GaussianFamily(), OBSERVATIONS["hidden"]
    y = measured(family, observation)
    assert isinstance(y, Tensor)
    for predictor in ("euler", "heun"):
        schedule = Schedule(8, 5.0, 0.05, 1, predictor=predictor)
        x = annealed(family.posterior(observation, y), schedule, None, 5)
        assert torch.equal(observation.observe(x), y.expand_as(x))


SAMPLERS: dict[str, LevelSampler] = {
    "mala": MALA(0.6),
    "hmc": HMC(0.6, 4),
    "underdamped": Underdamped(0.4, 2.0),
    "random walk": RandomWalk(0.5),
    "tempering": ParallelTempering(MALA(0.5), (1.0, 0.6)),
    "langevin": Langevin(0.4),
}


class Watch(Monitor):
    """Keeps the acceptances of every level."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: dict[float | None, list[float]] = {}

    def update(self, state: State, info: Info, *, level: float | None = None) -> None:
        super().update(state, info, level=level)
        if info.acceptance is not None:
            self.rates.setdefault(level, []).append(float(info.acceptance.mean()))


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_any_sampler_runs_at_the_levels_and_comes_near_the_law(name: str) -> None:
    family, observation = GaussianFamily(scaled=True), OBSERVATIONS["mixed"]
    y = measured(family, observation)
    x = annealed(family.posterior(observation, y), Schedule(16, 5.0, 0.02, 6), SAMPLERS[name], 300)
    near, far = errors(x, *closed_form(family, observation, y)), errors(x, family.mean.flatten(), family.covariance)
    assert max(near) < 8, "a few steps at each level, some of them biased"
    assert max(far) > 10


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), [("mala", 0.574), ("hmc", 0.8), ("random walk", 0.234)])
def test_a_warm_up_reaches_its_acceptance_at_every_level(name: str, rate: float) -> None:
    family, observation = GaussianFamily(scaled=True), OBSERVATIONS["average"]
    y, watch = measured(family, observation), Watch()
    posterior = family.posterior(observation, y)
    small = {"mala": MALA(0.02), "hmc": HMC(0.02, 2), "random walk": RandomWalk(0.02)}[name]
    annealed(posterior, Schedule(4, 5.0, 0.1, 20), small, 200, warm_up=50, monitor=watch)
    found = [sum(rates) / len(rates) for rates in watch.rates.values()]
    assert len(found) == 4
    assert all(abs(one - rate) < 0.12 for one in found), found


def test_a_warm_up_is_of_samplers_that_accept_or_refuse() -> None:
    family, observation = GaussianFamily(), OBSERVATIONS["grey"]
    posterior = family.posterior(observation, measured(family, observation))
    with pytest.raises(TypeError, match="a warm-up needs"):
        annealed(posterior, Schedule(5, 5.0, 0.1, 2), Underdamped(0.3), 3, warm_up=50)


@pytest.mark.parametrize("name", ["langevin", "mala", "underdamped"])
def test_with_a_stream_each_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    family, observation = GaussianFamily(), OBSERVATIONS["mixed"]
    posterior = family.posterior(observation, measured(family, observation))
    x = posterior.start(torch.randn(3, *SHAPE, generator=seeded(5)), 5.0)

    def end(rows: slice) -> Tensor:
        streams = [seeded(20 + k) for k in range(3)][rows]
        *_, (_, last) = anneal(posterior, Schedule(6, 5.0, 0.1, 3), x[rows], streams, sampler=SAMPLERS[name])
        return last

    torch.testing.assert_close(end(slice(1, 2)), end(slice(None))[1:2], rtol=1e-9, atol=1e-9)
