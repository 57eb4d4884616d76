"""The warm-up reaches its target, learns the scale, and ends."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded

from energies import Average, Conditioned, Energy, Hidden
from energies.adaptation import TARGET, warm_up
from energies.samplers import HMC, MALA, Langevin, RandomWalk
from energies.sampling import sample


class Normal(Energy):
    """Independent N(mean, std^2) elements."""

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x):
        return ((x - self.mean) / self.std).square().flatten(1).sum(1) / 2


MEAN, STD = torch.linspace(-1, 1, 20), torch.logspace(-1.5, 0.5, 20)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [MALA(5.0), MALA(1e-5), HMC(3.0, 5), RandomWalk(2.0)], ids=str)
def test_warm_up_reaches_its_acceptance_whatever_the_start(sampler):
    energy = Normal(MEAN, STD)
    adapted, state = warm_up(sampler, energy, torch.zeros(200, 20), 600, seeded(0))
    rates = [info.acceptance.mean() for _, info in sample(adapted, energy, state.x, 60, seeded(1))]
    assert abs(float(torch.stack(rates).mean()) - TARGET[type(sampler)]) < 0.08
    ratio = adapted.scale / STD
    if not isinstance(sampler, RandomWalk):  # it has not crossed the long axes yet
        assert ratio.min() > 0.6 and ratio.max() < 1.5, "condition 1e4 becomes about 1"


def test_without_a_scale_only_the_step_size_changes():
    adapted, _ = warm_up(MALA(1.0), Normal(MEAN, STD), torch.zeros(100, 20), 150, seeded(0), target=0.7, scale=False)
    assert adapted.scale is None and adapted.step_size < 0.05


@pytest.mark.slow
def test_after_the_warm_up_the_law_is_exact():
    """What is returned is an ordinary sampler with numbers that no longer change."""
    energy = Normal(MEAN, STD)
    adapted, state = warm_up(HMC(1.0, 4), energy, torch.zeros(2000, 20), 200, seeded(0))
    *_, (state, _) = sample(adapted, energy, state.x, 25, seeded(2))
    assert ((state.x.mean(0) - MEAN) / STD * math.sqrt(2000)).abs().max() < 5
    assert ((state.x.var(0) / STD**2 - 1) / math.sqrt(2 / 2000)).abs().max() < 5


@pytest.mark.slow
@pytest.mark.parametrize("observation", [Hidden(torch.arange(20) % 2 == 0), Average((4,))], ids=["pixels", "averages"])
def test_the_warm_up_keeps_to_what_is_known(observation):
    y = observation.observe(MEAN.clone())
    posterior = Conditioned(Normal(MEAN, STD), observation, y)
    adapted, state = warm_up(MALA(0.1), posterior, torch.zeros(300, 20), 300, seeded(0))
    torch.testing.assert_close(observation.observe(state.x), y.expand(300, -1), atol=2e-5, rtol=1e-5)
    rates = [info.acceptance.mean() for _, info in sample(adapted, posterior, state.x, 40, seeded(1))]
    assert abs(float(torch.stack(rates).mean()) - 0.574) < 0.12


def test_too_short_a_warm_up_is_refused():
    with pytest.raises(TypeError, match="accept or refuse; got Langevin"):
        warm_up(Langevin(), Normal(MEAN, STD), torch.zeros(2, 20), 50, seeded(0))  # type: ignore[type-var]
    with pytest.raises(ValueError, match="50 steps or more"):
        warm_up(MALA(), Normal(MEAN, STD), torch.zeros(2, 20), 5, seeded(0))
    with pytest.raises(ValueError, match="between 0 and 1"):
        warm_up(MALA(), Normal(MEAN, STD), torch.zeros(2, 20), 50, seeded(0), target=1.0)
