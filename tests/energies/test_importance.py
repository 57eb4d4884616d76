"""Annealed importance sampling brackets log Z where it is known, and the analytic energies know theirs."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded

from energies import RBM, Gaussian
from energies.analytic import Funnel, Ising, Mixture, StudentT, states
from energies.boltzmann import Joint
from energies.importance import annealed_importance, reverse_importance
from energies.samplers import HMC, MALA, Gibbs

pytestmark = pytest.mark.usefixtures("double")


def wide(dims: int, std: float) -> Gaussian:
    return Gaussian([0.0] * dims, (torch.eye(dims) * std**-2).tolist())


def strong() -> Joint:
    rbm = RBM(7, 4).requires_grad_(False)
    for parameter in rbm.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=seeded(parameter.numel())) * 1.5)
    return rbm.joint()


def rbm_case():
    target, base = strong(), RBM(7, 4).requires_grad_(False).joint()
    for name, parameter in base.named_parameters():
        parameter.copy_(torch.zeros_like(parameter) if "weights" in name else dict(target.named_parameters())[name])
    every = states((0.0, 1.0), (11,))

    def draw(energy, num, rng):
        return every[torch.multinomial((-energy(every)).softmax(0), num, replacement=True, generator=rng)]

    truth = float((-target(every)).logsumexp(0) - (-base(every)).logsumexp(0))
    return base, target, Gibbs(), draw, truth


def continuous(target, dims: int, std: float, sampler):
    base = wide(dims, std)
    return base, target, sampler, lambda energy, num, rng: energy.draw(num, rng), target.log_z() - base.log_z()


CASES = {
    "gaussian": lambda: continuous(Gaussian([1.0, -2.0], [[5.0, 2.0], [2.0, 3.0]]), 2, 2.0, HMC(0.35, 4)),
    "mixture": lambda: continuous(Mixture([[-3.0], [3.0]], [0.6, 0.9], [0.35, 0.65]), 1, 3.0, MALA(0.8)),
    "rbm": rbm_case,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_forward_and_reverse_estimates_bracket_the_truth(name):
    base, target, sampler, draw, truth = CASES[name]()
    betas = torch.linspace(0, 1, 41).tolist()
    num = 4000
    forward = annealed_importance(base, target, sampler, draw(base, num, seeded(0)), seeded(1), betas=betas)
    reverse = reverse_importance(base, target, sampler, draw(target, num, seeded(2)), seeded(3), betas=betas)
    # E[w] = Z_target / Z_base exactly; so the log of its mean is right to Monte Carlo error, from either side.
    assert abs(forward.value - truth) < 5 * forward.error and abs(reverse.value - truth) < 5 * reverse.error
    assert 5 * max(forward.error, reverse.error) < 0.25
    assert forward.ess > 100 and reverse.ess > 100
    # A single chain's log weight is too low on average forward and, with its sign turned, too high reverse.
    lower, upper = forward.log_weights.mean(), -reverse.log_weights.mean()
    assert lower < truth < upper
    far = annealed_importance(base, target, sampler, draw(base, num, seeded(0)), seeded(1), betas=[0.0, 1.0])
    assert far.log_weights.mean() < lower, "without annealing the bound is looser"


def test_betas_must_rise_from_0_to_1():
    energy = wide(1, 1.0)
    for betas in ([0.0], [0.0, 0.5], [0.1, 1.0], [0.0, 0.7, 0.3, 1.0]):
        with pytest.raises(ValueError, match="rise from 0 to 1"):
            annealed_importance(energy, energy, MALA(), torch.zeros(2, 1), seeded(0), betas=betas)


@pytest.mark.parametrize(
    ("energy", "reach"),
    [
        (Gaussian([0.3], [[2.0]]), 12.0),
        (Mixture([[-1.5], [1.5]], [0.5, 0.8], [0.3, 0.7]), 12.0),
        (StudentT(1, 6), 4000.0),
        (Funnel(2, 0.7), 30.0),
    ],
    ids=["gaussian", "mixture", "student", "funnel"],
)
def test_analytic_energies_know_their_integral_and_draw_from_it(energy, reach):
    energy = energy.double()
    if isinstance(energy, Funnel):
        v, y = torch.linspace(-5, 5, 401), torch.linspace(-reach, reach, 3001)
        grid = torch.stack(torch.meshgrid(v, y, indexing="ij"), -1).flatten(0, 1)
        cell = float((v[1] - v[0]) * (y[1] - y[0]))
    else:
        grid = torch.linspace(-reach, reach, 800_001)[:, None]
        cell = float(grid[1, 0] - grid[0, 0])
    density = (-energy(grid)).exp()
    assert abs(float(density.sum().log()) + math.log(cell) - energy.log_z()) < 1e-4
    x = energy.draw(100_000, seeded(0))
    for power in (1, 2):
        wanted = (grid**power * density[:, None]).sum(0) / density.sum()
        error = (x**power).std(0) / math.sqrt(len(x))
        assert ((x**power).mean(0) - wanted).abs().div(error).max() < 5
    energies = energy(x)
    wanted = (energy(grid) * density).sum() / density.sum()
    assert abs(energies.mean() - wanted) < 5 * energies.std() / math.sqrt(len(x)) + 1e-4


def test_ising_draws_from_its_enumeration():
    energy = Ising(2, 3, 0.6, -0.2)
    x = energy.draw(50_000, seeded(0))
    every = states((-1.0, 1.0), (2, 3))
    chance = (-energy(every) - energy.log_z()).exp()
    assert abs(chance.sum() - 1) < 1e-12
    assert abs(x.mean() - (chance[:, None, None] * every).sum(0).mean()) < 0.02
