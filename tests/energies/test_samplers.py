"""Samplers against chains whose law is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import Energy, Family, Hidden, Ising, Schedule
from energies.samplers import (
    HMC,
    MALA,
    Gibbs,
    GibbsWithGradients,
    Langevin,
    ParallelTempering,
    RandomWalk,
    Underdamped,
)
from energies.samplers.state import Rows
from energies.sampling import anneal, sample

CHAINS = 20_000


class Normal(Energy):
    """Independent N(mean, std^2) over x [B, *event], elementwise: no sum mixes samples."""

    def __init__(self, mean: Tensor | float, std: Tensor | float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        return (((x - self.mean) / self.std) ** 2).flatten(1).sum(1) / 2


class NoisyNormal(Family):
    """N(mean, std^2) seen through Gaussian noise of tau * scale."""

    def __init__(self, mean: Tensor, std: Tensor, scale: Tensor) -> None:
        super().__init__(noisy=True, mean=mean, scale=scale)
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return Normal(self.mean, (self.std**2 + (self.sigma(x) * self.scale) ** 2).sqrt())(x)


def last(
    sampler: Langevin, energy: Energy, x: Tensor, steps: int, rng: torch.Generator | list[torch.Generator]
) -> Tensor:
    for state, _ in sample(sampler, energy, x, steps, rng):
        x = state.x
    return x


@pytest.mark.parametrize(
    ("step_size", "noise", "std"), [(0.5, 1.0, 0.7), (1.2, 1.0, 1.0), (0.3, 0.5, 0.4), (1.0, 2.0, 3.0)]
)
def test_langevin_has_its_biased_stationary_variance(step_size, noise, std):
    a, n = step_size**2 / 2, step_size * noise
    wanted = n**2 * std**4 / (a * (2 * std**2 - a))
    error = wanted * math.sqrt(2 / CHAINS)
    assert 5 * error < 0.1 * wanted, "a variance that is 10 % wrong would be seen"
    steps = math.ceil(math.log(1e-4) / math.log(abs(1 - a / std**2)))  # the start is forgotten to 1e-8 of the variance
    x = last(Langevin(step_size, noise), Normal(0.0, std), torch.zeros(CHAINS, 1), steps, seeded(0))
    assert abs(x.var() - wanted) < 5 * error
    assert abs(x.mean()) < 5 * math.sqrt(wanted / CHAINS)


def test_without_noise_langevin_descends():
    x = last(Langevin(0.5, 0.0), Normal(1.5, 1.0), torch.randn(3, 2), 200, seeded(0))
    torch.testing.assert_close(x, torch.full_like(x, 1.5))


def test_with_a_stream_each_a_sample_does_not_depend_on_its_batch():
    energy, starts = Normal(0.3, 0.8), torch.randn(5, 2, 3, generator=seeded(9))
    together = last(Langevin(0.4), energy, starts, 10, [seeded(k) for k in range(5)])
    for k in range(5):
        alone = last(Langevin(0.4), energy, starts[k : k + 1], 10, [seeded(k)])
        assert torch.equal(alone[0], together[k])
    with pytest.raises(ValueError, match="2 random streams for 5 samples"):
        last(Langevin(0.4), energy, starts, 1, [seeded(0), seeded(1)])


def test_a_scale_is_a_change_of_units():
    """Chains of x with scale s are s times chains of z = x / s without one."""
    s = torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64)
    std = torch.tensor([0.02, 0.5, 20.0], dtype=torch.float64)
    z = torch.randn(4, 3, dtype=torch.float64, generator=seeded(1))
    plain = last(Langevin(0.4), Normal(0.0, std / s), z, 20, seeded(2))
    scaled = last(Langevin(0.4, scale=s), Normal(0.0, std), s * z, 20, seeded(2))
    torch.testing.assert_close(scaled, s * plain)


def test_info_tells_how_far_drift_and_noise_moved():
    x = torch.full((3, 50), 2.0)
    (state, info), *_ = sample(Langevin(0.2, 0.5), Normal(0.0, 1.0), x, 1, seeded(0))
    torch.testing.assert_close(info.drift, torch.full((3,), 0.02 * 2.0))
    torch.testing.assert_close(info.noise, (state.x - 0.98 * x).square().mean(1).sqrt())


def annealed(steps: int, observation: Hidden | None = None) -> tuple[Tensor, Tensor, NoisyNormal]:
    mean, std = torch.tensor([-1.0, 0.0, 0.7]), torch.tensor([0.5, 1.0, 0.02])
    energy = NoisyNormal(mean, std, torch.tensor([0.5, 0.8, 0.04]))
    high, rng = 5.0, seeded(3)
    start = mean + (std**2 + (high * energy.scale) ** 2).sqrt() * torch.randn(CHAINS, 3, generator=rng)
    schedule = Schedule(100, high, 0.05, steps, spacing="geometric", predictor="euler")
    family = energy
    if observation is not None:  # what is seen holds no noise from the start on
        family, start = energy.posterior(observation, start), start
    path = list(anneal(family, schedule, start, rng))
    assert [level for level, _ in path] == [*schedule.noise_levels()[1:], 0.0]
    return start, path[-1][1], energy


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_annealing_arrives_at_the_law_without_noise(steps):
    """From the noised law to the clean one, by the flow alone as well as with Langevin steps.

    With 100 levels the Euler steps and the Langevin bias are off by less than 6 % of the variance; 1 % of that
    is the last step, which removes noise of 0.05 s.
    """
    start, x, energy = annealed(steps)
    ratio = x.var(0) / energy.std**2
    assert ((ratio - 1).abs() < 0.06 + 5 * math.sqrt(2 / CHAINS)).all(), ratio
    assert ((x.mean(0) - energy.mean) / energy.std * math.sqrt(CHAINS)).abs().max() < 5
    assert (start.var(0) / energy.std**2 > 10).all(), "there was noise to remove"


@pytest.mark.slow
def test_annealing_leaves_alone_what_is_seen():
    mask = torch.tensor([True, False, True])
    start, x, energy = annealed(1, Hidden(mask))
    assert torch.equal(x[:, 1], start[:, 1])
    ratio = (x.var(0) / energy.std**2)[mask]
    assert ((ratio - 1).abs() < 0.06 + 5 * math.sqrt(2 / CHAINS)).all(), ratio


@pytest.mark.parametrize(
    "setting", [{"step_size": 0.0}, {"step_size": float("nan")}, {"noise": -1.0}, {"noise": float("nan")}]
)
def test_langevin_refuses_impossible_settings(setting):
    with pytest.raises(ValueError, match="step_size must be positive and noise not negative"):
        Langevin(**setting)


@pytest.mark.parametrize(
    "sampler",
    [
        Langevin(0.4),
        MALA(0.4),
        HMC(0.3, 3),
        RandomWalk(0.5),
        Underdamped(0.3),
        ParallelTempering(MALA(0.4), (1.0, 0.5, 0.2)),
        Gibbs(),
        GibbsWithGradients(),
        ParallelTempering(Gibbs(), (1.0, 0.5)),  # type: ignore[arg-type]
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_some_rows_of_a_batch_go_as_they_do_in_the_whole(sampler):
    """Processes that share a batch draw from one stream, each the numbers of its rows."""
    binary = "Gibbs" in repr(sampler)
    energy = Ising(2, 3) if binary else Normal(0.3, torch.tensor([0.5, 1.0]))
    x = torch.randn(6, *((2, 3) if binary else (2,)), generator=seeded(0))
    x = x.sign() if binary else x
    whole = last(sampler, energy, x, 5, seeded(1))
    some = last(sampler, energy, x[2:5], 5, Rows(seeded(1), 2, 5, 6))  # type: ignore[arg-type]
    torch.testing.assert_close(some, whole[2:5])
