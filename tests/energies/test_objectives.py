"""How energies learn: the same in every modality, and right where the answer is known in closed form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import seeded
from torch import Tensor, nn

from energies import EncoderEnergy, ResidualEnergy, Schedule, family
from energies.buffer import ReplayBuffer, Start
from energies.generators import Chain, Stepwise
from energies.objectives import Batch, EnergyMatching, MaximumLikelihood, RecoveryLikelihood, References, ScoreMatching
from energies.objectives.score_matching import expected

SHAPES = {"image": (1, 8, 8), "video": (3, 2, 4, 6), "voxels": (1, 4, 4, 4)}
OBJECTIVES = {
    "score": ScoreMatching(),
    "persistent": MaximumLikelihood(steps=2, negatives=3, restart=0.05, energy_weight=0.1, data_noise=0.03, limit=0.1),
    "short": MaximumLikelihood(steps=2, restart=1),
    "recovery": RecoveryLikelihood(Stepwise(levels=4, steps=2)),
    "flow": EnergyMatching(steps=2, negatives=3),
}


class Family(family.Family):
    """Gaussians about the mean, precision theta, or at noise levels N(mean, 1 / theta + level^2); only theta learns."""

    def __init__(self, theta: float, mean: float = 0.0) -> None:
        super().__init__(noisy=True, mean=torch.tensor(mean), spread=max(theta, 0.01) ** -0.5)
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, x: Tensor) -> Tensor:
        level = 0.0 if self.level is None else self.sigma(x)
        return ((x - self.mean).square() / (2 * (1 / self.theta + level**2))).flatten(1).sum(1)


def slope(objective: Callable, energy: Family, batch: Batch, seed: int = 0) -> float:
    """The loss' derivative in theta."""
    loss, _ = objective(energy, batch, seeded(seed))
    return float(torch.autograd.grad(loss, energy.theta)[0])


# --------------------------------------------------------------------------------------- every modality


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [False, True], ids=["unlabelled", "labelled"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns_every_modality(name, shape, labelled):
    torch.manual_seed(0)
    objective = OBJECTIVES[name]
    noisy = isinstance(objective, ScoreMatching | RecoveryLikelihood)
    energy = EncoderEnergy(shape, (4, 4), (1, 1), noisy=noisy, num_classes=3 if labelled else 0)
    x = torch.rand(5, *shape, generator=seeded(1)) * 2 - 1
    energy.centre(x)
    label = torch.tensor([0, 2, 1, -1, 2]) if labelled else None
    chains = ReplayBuffer.of_noise(6, x[0], seeded(2), torch.tensor([0, 1, 2, 0, 1, -1]) if labelled else None)
    before, clean = chains.x.clone(), x.clone()
    loss, metrics = objective(energy, Batch(x, chains=chains, label=label, progress=1.0), seeded(3))
    loss.backward()
    assert loss.ndim == 0 and loss.isfinite() and torch.equal(x, clean)
    assert metrics and all(isinstance(value, float) for value in metrics.values())
    for parameter_name, p in energy.named_parameters():
        if parameter_name.startswith("embed") and not noisy:
            continue  # tells the noise level
        assert p.grad is not None and p.grad.isfinite().all(), parameter_name
        if not parameter_name.endswith("head.bias"):
            assert p.grad.any(), parameter_name
    moved = (chains.x != before).flatten(1).any(1).sum()
    assert moved == {"persistent": 3, "short": 5, "flow": 3}.get(name, 0), "null: as many as there are data"
    again, _ = objective(
        energy, Batch(x, chains=ReplayBuffer(before, chains.label), label=label, progress=1.0), seeded(3)
    )
    assert torch.equal(loss, again)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_maximum_likelihood_learns_a_residual_energy(shape, labelled):
    torch.manual_seed(0)
    energy = ResidualEnergy(shape, 4, num_classes=2 if labelled else 0)
    label = torch.tensor([0, 1, 1]) if labelled else None
    x = torch.rand(3, *shape, generator=seeded(1)) * 2 - 1
    chains = ReplayBuffer.of_noise(4, x[0], seeded(2), torch.tensor([0, 1, 0, 1]) if labelled else None)
    loss, _ = MaximumLikelihood(steps=2)(energy, Batch(x, chains=chains, label=label), seeded(3))
    loss.backward()
    assert loss.isfinite()
    for name, p in energy.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and (p.grad.any() or name == "head.layer.bias"), name


def test_the_generator_of_an_objective_samples_as_it_learned():
    assert isinstance(ScoreMatching().generator(), Schedule)
    assert RecoveryLikelihood(Stepwise(levels=5)).generator() == Stepwise(levels=5)
    settings = {"step_size": 0.03, "noise": 0.2, "limit": 0.1, "bound": 1.2}
    assert MaximumLikelihood(7, restart=1, **settings).generator() == Chain(7, **settings)
    assert MaximumLikelihood(7, restart=0.1, sampling_steps=90, **settings).generator() == Chain(90, **settings)
    chain = EnergyMatching(time=0.02, temperature=0.04).generator()
    assert chain.steps * chain.step_size**2 / 2 == pytest.approx(4), "a time of 4"
    assert chain.noise == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (ScoreMatching, {"level": 0.0}), (ScoreMatching, {"spread": -1.0}),
        (ScoreMatching, {"level": float("nan")}), (MaximumLikelihood, {"steps": 0}),
        (MaximumLikelihood, {"negatives": 0}), (MaximumLikelihood, {"restart": 1.5}),
        (MaximumLikelihood, {"energy_weight": -1.0}), (MaximumLikelihood, {"data_noise": float("nan")}),
        (MaximumLikelihood, {"sampling_steps": 0}), (EnergyMatching, {"warm_up": -0.1}),
        (EnergyMatching, {"weight": float("nan")}), (EnergyMatching, {"steps": 0}), (EnergyMatching, {"negatives": 0}),
        (EnergyMatching, {"time": 0.0}), (EnergyMatching, {"temperature": -1.0}), (EnergyMatching, {"restart": 2.0}),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(kind, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        kind(**settings)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (MaximumLikelihood, {"step_size": 0.0}), (MaximumLikelihood, {"noise": -1.0}),
        (MaximumLikelihood, {"limit": 0.0}), (MaximumLikelihood, {"bound": -1.0}), (EnergyMatching, {"time": 9.0}),
    ],
)  # fmt: skip
def test_settings_that_no_sampler_takes_are_refused_at_once(kind, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        kind(**settings)


# -------------------------------------------------------------------------------------- score matching


def test_score_matching_is_least_for_the_true_gaussian():
    """There its expected loss is 1 at every noise level: the weight makes them count alike."""
    x = 0.5 * torch.randn(20_000, 1, 2, 2, generator=seeded(0))
    truth = Family(4.0)
    for level in (0.05, 0.5, 5.0):
        loss, metrics = ScoreMatching(level, spread=0.0)(truth, Batch(x.clone()), seeded(1))
        assert metrics["noise_loss"] == pytest.approx(1.0, abs=5 * (2 / x.numel()) ** 0.5)
        assert loss.item() == metrics["noise_loss"]
    for theta, sign in ((2.0, -1), (8.0, 1)):
        energy = Family(theta)
        energy._spread = truth.spread
        assert sign * slope(ScoreMatching(), energy, Batch(x.clone())) > 0.01
    per_seed = torch.tensor([slope(ScoreMatching(), truth, Batch(x.clone()), seed) for seed in range(8)])
    assert per_seed.mean().abs() < 5 * per_seed.std() / 8**0.5 + 1e-3


@pytest.mark.parametrize("num", [1, 2])
def test_with_references_targets_have_the_mean_of_clean_x(num, double):
    """Enumerated: x and references of a law of three points, at four y."""
    points, law = torch.tensor([-1.0, 0.3, 2.0]), torch.tensor([0.5, 0.2, 0.3])
    for y, sigma in ((-0.5, 0.4), (0.3, 1.0), (1.0, 3.0), (4.0, 1.5)):
        likely = law * torch.exp(-(y - points).square() / (2 * sigma**2))
        wanted = (likely * points).sum() / likely.sum()
        drawn = torch.cartesian_prod(*[torch.arange(3)] * (num + 1))
        weight = likely[drawn[:, 0]] * law[drawn[:, 1:]].prod(1) / likely.sum()
        noisy, level = torch.full((1, 1), y), torch.full((1, 1), sigma)
        told = [expected(points[d[:1, None]], None, References(points[d[1:, None]]), noisy, level) for d in drawn]
        spread = (weight * (torch.cat(told)[:, 0] - wanted).square()).sum()
        torch.testing.assert_close((weight * torch.cat(told)[:, 0]).sum(), wanted, rtol=1e-12, atol=0)
        assert spread < 0.9 * (likely * (points - wanted).square()).sum() / likely.sum()


def test_references_of_another_label_tell_nothing_and_x_without_label_hear_all(double):
    x, others = torch.randn(2, 4, 1, 2, 2, generator=seeded(0), dtype=torch.float64)
    label, zeros = torch.tensor([0, 1, -1, 0]), torch.tensor([0, 2, 2, 0])
    noisy, sigma = x + 0.5, torch.full((4, 1, 1, 1), 0.8)
    found = expected(x, label, References(others, zeros), noisy, sigma)
    torch.testing.assert_close(found[1], x[1])
    torch.testing.assert_close(found[2:3], expected(x[2:3], None, References(others), noisy[2:3], sigma[2:3]))
    mine = expected(x[::3], None, References(others[::3]), noisy[::3], sigma[::3])
    torch.testing.assert_close(found[::3], mine)
    with pytest.raises(ValueError, match="both have labels"):
        expected(x, label, References(others), noisy, sigma)


def test_score_matching_tells_its_references_the_labels():
    energy = EncoderEnergy((1, 8, 8), (4,), (1,), num_classes=2)
    x, others = torch.rand(2, 6, 1, 8, 8, generator=seeded(0))
    label = torch.zeros(6, dtype=torch.long)
    losses = [
        ScoreMatching(1.0)(energy, Batch(x, label=label, references=r), seeded(1))[0].item()
        for r in (None, References(others, label + 1), References(others, label))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[2] < 0.97 * losses[0]


def test_targets_are_exact_beside_a_short_number_format():
    x, others = (torch.rand(n, 3, 24, 24, generator=seeded(n)) * 2 - 1 for n in (16, 64))
    others[:16] = x + 0.01 * torch.randn(x.shape, generator=seeded(1))
    sigma = torch.tensor([0.02, 0.1]).repeat(8).view(-1, 1, 1, 1)
    noisy = x + sigma * torch.randn(x.shape, generator=seeded(2))
    wanted = expected(x.double(), None, References(others.double()), noisy.double(), sigma.double())
    with torch.autocast("cpu", torch.bfloat16):
        found = expected(x, None, References(others), noisy, sigma)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_with_references_gradients_are_the_same_in_the_mean_and_vary_less():
    truth, x = Family(2.0), 0.5 * torch.randn(4000, 1, 1, 2, generator=seeded(0))
    objective = ScoreMatching(1.5, spread=0.3)
    with_, without = (
        torch.tensor(
            [slope(objective, truth, Batch(x[k : k + 16].clone(), references=r), k) for k in range(0, 3200, 16)]
        )
        for r in (References(x), None)
    )
    error = ((with_.var() + without.var()) / len(with_)).sqrt()
    assert (with_.mean() - without.mean()).abs() < 4 * error
    assert with_.std() < 0.5 * without.std()


# -------------------------------------------------------------------------------- maximum likelihood

FREE = {"step_size": 0.1, "noise": 1.0, "bound": 50.0}


@pytest.mark.parametrize("shape", [(1,), (1, 2, 3)], ids=str)
@pytest.mark.parametrize(("theta", "truth"), [(1.0, 4.0), (4.0, 1.0), (2.0, 2.0)])
def test_the_likelihoods_gradient_is_that_of_exact_chains(theta, truth, shape):
    """Of E = theta x^2 / 2 an element: d/dtheta = (mean x^2 of data - mean x^2 of the model) / 2."""
    num = 20_000
    data = truth**-0.5 * torch.randn(num, *shape, generator=seeded(0))
    chains = ReplayBuffer(theta**-0.5 * torch.randn(num, *shape, generator=seeded(1)))
    found = slope(MaximumLikelihood(steps=3, **FREE), Family(theta), Batch(data, chains=chains))
    error = 0.5 * (2 / data.numel()) ** 0.5 * (1 / truth**2 + 1 / theta**2) ** 0.5
    bias = 0.5 * 0.1**2 / 4  # of Langevin's variance, 1 / (theta (1 - theta eps^2 / 4))
    assert found == pytest.approx((1 / truth - 1 / theta) / 2, abs=5 * error + 2 * bias)


def test_its_chains_go_on_or_begin_anew():
    """After k steps from variance v it is v a^2k + eps^2 (1 - a^2k) / (1 - a^2), a = 1 - theta eps^2 / 2."""
    theta, eps, num = 3.0, 0.2, 20_000
    a = 1 - theta * eps**2 / 2

    def variance(v: float, steps: int) -> float:
        return v * a ** (2 * steps) + eps**2 * (1 - a ** (2 * steps)) / (1 - a**2)

    for restart, after in ((0.0, 10), (1.0, 5)):
        chains = ReplayBuffer.of_noise(num, torch.zeros(1, 1, 1), seeded(0), start=Start(spread=0.2))
        settings = {"step_size": eps, "noise": 1.0, "bound": 50.0, "negatives": num}
        objective = MaximumLikelihood(steps=5, restart=restart, **settings)
        for update in range(2):
            objective(Family(theta), Batch(torch.zeros(2, 1, 1, 1), chains=chains), seeded(update))
        expected = variance(0.2**2, after)
        assert float(chains.x.var()) == pytest.approx(expected, rel=5 * (2 / num) ** 0.5)


def test_wider_data_and_small_energies():
    num = 20_000
    data = torch.randn(num, 1, generator=seeded(0))

    def run(**settings) -> tuple[Tensor, float]:
        chains = ReplayBuffer(torch.randn(num, 1, generator=seeded(1)))
        loss, metrics = MaximumLikelihood(steps=1, **FREE, **settings)(
            Family(1.0), Batch(data, chains=chains), seeded(2)
        )
        return loss.detach(), metrics["energy_gap"]

    (plain, gap), (wide, wide_gap), (weighed, weighed_gap) = run(), run(data_noise=0.5), run(energy_weight=0.1)
    assert plain == gap and wide == wide_gap
    assert wide_gap - gap == pytest.approx(0.5**2 / 2, abs=0.03)
    assert weighed_gap == gap
    # E = x^2 / 2 of standard normal x: the mean of E^2 is 3 / 4.
    assert float(weighed - plain) == pytest.approx(0.1 * 2 * 3 / 4, rel=0.1)


def test_the_chains_stay_in_bounds():
    chains = ReplayBuffer(torch.zeros(50, 1, 3, 3))
    objective = MaximumLikelihood(steps=20, step_size=0.5, noise=1.0, bound=0.7)
    objective(Family(0.1), Batch(torch.zeros(2, 1, 3, 3), chains=chains), seeded(0))
    assert 0.5 < chains.x.abs().max() <= 0.7


@pytest.mark.slow
def test_learning_by_likelihood_finds_the_precision():
    energy = Family(1.0)
    optimizer = torch.optim.SGD(energy.parameters(), 1.0)
    data = 0.5 * torch.randn(1500, 1, 2, generator=seeded(0))
    chains = ReplayBuffer(torch.randn(600, 1, 2, generator=seeded(1)))
    objective, thetas = MaximumLikelihood(steps=10, step_size=0.2, noise=1.0, bound=50.0), []
    for update in range(100):
        loss, _ = objective(energy, Batch(data, chains=chains), seeded(update))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        thetas.append(energy.theta.item())
    # Where Langevin's variance, 1 / (theta (1 - theta eps^2 / 4)), is that of the data.
    theta = sum(thetas[50:]) / 50
    assert 1 / (theta * (1 - theta * 0.01)) == pytest.approx(float(data.square().mean()), rel=0.06)


# -------------------------------------------------------------------------------- recovery likelihood


@pytest.mark.slow
def test_recovery_likelihood_is_still_at_the_true_gaussian_and_moves_towards_it():
    """Of theta too small, the law too wide, it goes up: the loss falls with theta."""
    way = Stepwise(levels=3, high=1.0, low=0.3, steps=120, step_size=0.4)
    data = 0.5 * torch.randn(2000, 1, 3, generator=seeded(0))

    def mean(theta: float) -> tuple[float, float]:
        found = torch.tensor([slope(RecoveryLikelihood(way), Family(theta), Batch(data), k) for k in range(10)])
        return float(found.mean()), float(found.std() / 10**0.5)

    still, error = mean(4.0)
    low, low_error = mean(2.0)
    high, high_error = mean(12.0)
    assert abs(still) < 5 * error + 0.1 * min(high, -low)
    assert low < -5 * low_error and high > 5 * high_error


# ------------------------------------------------------------------------------------ energy matching


class Potential(Family):
    """E = theta |x - mean|^2 / 2."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.theta * (x - self.mean).square() / 2).flatten(1).sum(1)


def bottom(data: Tensor, mean: float, seed: int) -> float:
    """The theta of the least flow loss, which is a parabola in it."""
    low, mid, high = (
        EnergyMatching(warm_up=1.0)(Potential(theta, mean), Batch(data), seeded(seed))[0].item()
        for theta in (0.0, 1.0, 2.0)
    )
    curve = (low + high) / 2 - mid
    return 1.0 - (high - low) / (4 * curve)


@pytest.mark.slow
def test_the_flow_to_a_point_is_known():
    """From x at time t the point c is (c - x) / (1 - t) away: E[r r / (1 - t)] / E[r^2] = E[1 - t] / E[(1 - t)^2]."""
    found = torch.tensor([bottom(torch.full((300, 3), 0.6), 0.6, seed) for seed in range(6)])
    assert abs(found.mean() - 1.5) < 5 * found.std() / 6**0.5
    assert found.std() / 6**0.5 < 0.05


@pytest.mark.slow
def test_the_flow_to_a_gaussian_goes_by_the_shortest_way():
    """Transport takes noise n to s n: theta = 1.5 (1 - s^2) / (1 + s + s^2).

    Pairs at random would give 1.5 (1 - s^2) / (1 + s^2).
    """
    s, mean = 0.5, 0.3
    found = torch.tensor([bottom(mean + s * torch.randn(400, 1, generator=seeded(99 + k)), mean, k) for k in range(6)])
    assert abs(found.mean() - 1.5 * (1 - s**2) / (1 + s + s**2)) < 5 * found.std() / 6**0.5 + 0.02
    assert found.std() / 6**0.5 < 0.025, "and is told from 0.9"


def test_the_contrast_begins_after_the_warm_up_and_lowers_the_data():
    chains = ReplayBuffer(0.8 + torch.zeros(40, 2))
    objective = EnergyMatching(warm_up=0.5, weight=0.2, steps=3, temperature=0.01)
    data, energy = torch.zeros(40, 2), Potential(0.01)

    def at(progress: float) -> tuple[float, dict[str, float]]:
        return slope(objective, energy, Batch(data, chains=chains, progress=progress)), objective(
            energy, Batch(data, chains=chains, progress=progress), seeded(0)
        )[1]

    early, metrics = at(0.49)
    assert set(metrics) == {"flow_loss"} and int(chains.age.sum()) == 0
    late, metrics = at(0.5)
    assert metrics["energy_gap"] < 0 and late < early, "theta grows: the data lie lower than the chains"
    assert chains.x.abs().max() <= 1.5 and int(chains.age.sum()) > 0


def test_the_contrasts_chains_sample_at_their_temperature():
    theta, temperature, num = 2.0, 0.04, 20_000
    objective = EnergyMatching(warm_up=0.0, steps=30, time=0.05, temperature=temperature, restart=0.0, negatives=num)
    chains = ReplayBuffer((temperature / theta) ** 0.5 * torch.randn(num, 1, generator=seeded(1)))
    objective(Potential(theta), Batch(torch.zeros(4, 1), chains=chains, progress=1.0), seeded(0))
    exact = temperature / theta / (1 - theta * 2 * 0.05 / 4)
    assert float(chains.x.var()) == pytest.approx(exact, rel=5 * (2 / num) ** 0.5)
