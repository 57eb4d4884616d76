"""Helmholtz machines: their energy, samples and both updates of wake-sleep, against sums over all causes."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import RBM, Helmholtz, Hidden
from energies.analytic import states
from energies.boltzmann import GibbsChain, Units
from energies.objectives import Batch, WakeSleep
from tests.energies.test_boltzmann import CHAINS, far_from

pytestmark = pytest.mark.usefixtures("double")


def machine(particles: int = 16, size: float = 1.0) -> Helmholtz:
    made = Helmholtz(3, (2, 2), particles=particles)
    rng = seeded(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=rng))
    return made


X = states((-1.0, 1.0), (3,)).double()


def every(made: Helmholtz) -> Units:
    """All causes of every x: [16, 8, n_l], v [1, 8, 3]."""
    h = states((0.0, 1.0), (4,))[:, None].expand(-1, len(X), -1)
    return Units((made.units_of(X)[None], h[..., :2], h[..., 2:]))


def exact(made: Helmholtz) -> Tensor:
    """log p(x) of every x."""
    return made.log_joint(every(made)).logsumexp(0)


def test_both_networks_are_normalised() -> None:
    made = machine()
    assert float(exact(made).exp().sum().detach()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(made.log_recognition(every(made)).logsumexp(0).detach(), torch.zeros(8))


def test_of_gaussian_units_the_density_of_x_is() -> None:
    made = Helmholtz(1, (2,), "gaussian")
    made.centre(3 * torch.randn(50, 1, generator=seeded(0)) + 1)
    x = torch.linspace(-40, 40, 8001)[:, None]
    h = states((0.0, 1.0), (2,))[:, None].expand(-1, len(x), -1)
    with torch.no_grad():
        made.down[0].fill_(0.7)
        chance = made.log_joint(Units((made.units_of(x)[None], h))).logsumexp(0).exp()
    assert float(chance.sum() * 0.01) == pytest.approx(1, abs=1e-6)


def test_the_energy_nears_minus_log_p_from_above() -> None:
    made = machine()
    errors = [float((made.with_particles(num)(X) + exact(made)).abs().max().detach()) for num in (4, 40_000)]
    assert errors[1] < 0.05 < errors[0]
    torch.manual_seed(1)
    assert torch.equal(made(X), made(X))


@pytest.mark.slow
@torch.no_grad()
def test_samples_are_exact_and_given_a_part_chains_arrive() -> None:
    made = machine(size=0.7)
    *_, x = GibbsChain(1).generate(made, torch.randn(CHAINS, 3, generator=seeded(1)), seeded(2))
    chance = exact(made).exp()
    assert abs(far_from(x, chance)) < 5
    hidden = torch.tensor([True, False, True])
    posterior = made.with_particles(8).posterior(Hidden(hidden), torch.tensor([0.0, 0.7, 0.0]))
    *_, x = GibbsChain(20).generate(posterior, torch.randn(CHAINS, 3, generator=seeded(3)), seeded(4))
    given = torch.where(X[:, 1] > 0, chance, 0.0)
    assert (x[:, 1] == 1).all() and abs(far_from(x, given / given.sum())) < 5


def slopes(loss: Tensor, made: Helmholtz) -> dict[str, Tensor]:
    names, parameters = zip(*made.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found, strict=True)}


def mean_slopes(made: Helmholtz, how: WakeSleep, times: int, rows: int = 1000) -> dict[str, Tensor]:
    rng, found = seeded(5), dict[str, Tensor]()
    for _ in range(times):
        loss, _ = how(made, Batch(X.repeat(rows, 1)), rng)
        for name, slope in slopes(loss, made).items():
            found[name] = found.get(name, 0) + slope / times
    return found


def test_the_two_updates_of_wake_sleep() -> None:
    """Wake: the mean of -log p(x, h) over causes that are recognised; sleep: of -log q(h | x) over dreams."""
    made = machine()
    joint, recognition = made.log_joint(every(made)), made.log_recognition(every(made))
    wake = -(recognition.detach().exp() * joint).sum(0).mean()
    sleep = -(joint.detach().exp() * recognition).sum()
    truth = slopes(wake + sleep, made)
    found = mean_slopes(made, WakeSleep(samples=1), 8)
    assert max(float((found[name] - truth[name]).abs().max()) for name in truth) < 0.02
    assert max(float(slope.abs().max()) for slope in truth.values()) > 0.1


@pytest.mark.slow
def test_reweighted_with_many_samples_makes_learn_the_likelihood() -> None:
    made = machine()
    joint, recognition = made.log_joint(every(made)), made.log_recognition(every(made))
    likelihood = -joint.logsumexp(0).mean()
    wake = -(joint.softmax(0).detach() * recognition).sum(0).mean()
    sleep = -(joint.detach().exp() * recognition).sum()
    truth = slopes(likelihood + (wake + sleep) / 2, made)
    found = mean_slopes(made, WakeSleep(samples=800), 6, rows=50)
    assert max(float((found[name] - truth[name]).abs().max()) for name in truth) < 0.05


def test_the_gradient_is_that_of_finite_differences() -> None:
    made, how = machine(), WakeSleep(samples=3)

    def loss() -> Tensor:
        return how(made, Batch(X), seeded(7))[0]

    found = slopes(loss(), made)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.startswith(("up", "recognised")):
                continue  # what is recognised moves with them
            flat = parameter.view(-1)
            before = float(flat[0])
            weights, causes = _weighed(made, how)
            flat[0] = before + 1e-6
            upper = _wake(made, weights, causes)
            flat[0] = before - 1e-6
            lower = _wake(made, weights, causes)
            flat[0] = before
            assert float((upper - lower) / 2e-6) == pytest.approx(float(found[name].view(-1)[0]), abs=1e-5), name


def _weighed(made: Helmholtz, how: WakeSleep) -> tuple[Tensor, Units]:
    causes = made.guesses(made.units_of(X), how.samples, seeded(7))
    return (made.log_joint(causes) - made.log_recognition(causes)).softmax(0), causes


def _wake(made: Helmholtz, weights: Tensor, causes: Units) -> Tensor:
    return -(weights * made.log_joint(causes)).sum(0).mean()


def test_it_says_what_it_does_not_learn() -> None:
    with pytest.raises(TypeError, match="no Helmholtz machine"):
        WakeSleep()(RBM(3, 2), Batch(X), seeded())
    with pytest.raises(ValueError, match="1 or more"):
        WakeSleep(samples=0)
    with pytest.raises(ValueError, match="1 or more"):
        Helmholtz(3, ())
