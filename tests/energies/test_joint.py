"""Joint energies of x and a label: any classifier, the encoder with its heads, guidance, and how they learn."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded
from torch import Tensor, nn
from torch.nn import functional as F

import energies
from energies import EncoderEnergy, EncoderLogits, JointEnergy, WeightedSum, gradient
from energies.buffer import ReplayBuffer
from energies.compute import prepared
from energies.objectives import Batch, Joint, MaximumLikelihood, ScoreMatching
from tests.cases import OwnClassifier

CLASSES = 4
SHAPES = {"image": (1, 5, 6), "video": (2, 3, 4, 5), "vector": (7,)}
CENTRES, SPREAD, SHARES = torch.tensor([-0.5, 0.5]), 0.2, torch.tensor([0.3, 0.7])


def points(shape: tuple[int, ...], num: int, seed: int = 1) -> Tensor:
    return torch.randn(num, *shape, generator=seeded(seed), dtype=torch.float64)


def own(shape: tuple[int, ...]) -> nn.Sequential:
    """A classifier as a user would write one."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 12), nn.Tanh(), nn.Linear(12, CLASSES)).double()


def encoder(shape: tuple[int, ...] = (1, 5, 6), heads: int = CLASSES, **settings) -> EncoderEnergy:
    """A small one in float64, whose heads differ."""
    torch.manual_seed(0)
    energy = EncoderEnergy(shape, (6, 8), (1, 1), heads=heads, **settings).double()
    energy.centre(points(shape, 20, seed=9) * 0.3 + 0.2)
    with torch.no_grad():
        for level in energy.levels:
            level.weigh.bias.normal_(std=0.5)
    return energy


def joint(kind: str, shape: tuple[int, ...] = (1, 5, 6)) -> JointEnergy:
    if kind == "own":
        return JointEnergy(own(shape), CLASSES, shape)
    energy = JointEnergy(EncoderLogits(encoder(shape, noisy=kind == "noisy")), CLASSES, shape)
    return energy.at(0.3) if kind == "noisy" else energy


KINDS = [(kind, shape) for kind in ("own", "noisy", "clean") for shape in ("image", "video")] + [("own", "vector")]
kinds = pytest.mark.parametrize(("kind", "name"), KINDS)


# -------------------------------------------------------------------------------------- any classifier


@kinds
def test_the_energies_are_those_of_the_logits(kind, name):
    energy, x = joint(kind, SHAPES[name]), points(SHAPES[name], 3)
    logits = energy.classifier(x)
    assert logits.std(0).min() > 0 and logits.std(1).min() > 0, "they depend on x and the class"
    torch.testing.assert_close(energy.logits(x), logits)
    torch.testing.assert_close(energy(x), -logits.exp().sum(1).log())
    for label in range(CLASSES):
        torch.testing.assert_close(energy.given(label)(x), -logits[:, label])
    torch.testing.assert_close(energy.probabilities(x), logits.exp() / logits.exp().sum(1, keepdim=True))
    by_label = torch.stack([energy.given(label)(x) for label in range(CLASSES)], 1)
    torch.testing.assert_close((energy(x)[:, None] - by_label).exp(), energy.probabilities(x))


@kinds
def test_the_slope_of_x_alone_is_that_of_its_classes_on_average(kind, name):
    energy, x = joint(kind, SHAPES[name]), points(SHAPES[name], 3)
    _, slope = gradient(energy, x)
    by_label = torch.stack([gradient(energy.given(label), x)[1] for label in range(CLASSES)], 1)
    shares = energy.probabilities(x).detach().view(3, CLASSES, *[1] * (x.ndim - 1))
    torch.testing.assert_close(slope, (shares * by_label).sum(1))
    assert not torch.allclose(slope, by_label.mean(1)), "not a plain average"


@kinds
def test_what_is_prepared_for_sampling_has_the_same_slopes(kind, name):
    x = points(SHAPES[name], 3)
    for energy in (joint(kind, SHAPES[name]), joint(kind, SHAPES[name]).given(2)):
        for found, exact in zip(gradient(prepared(energy), x), gradient(energy, x), strict=True):
            torch.testing.assert_close(found, exact)


def test_labels_are_bound_for_all_or_for_each_and_negative_is_any():
    energy, x = joint("own"), points((1, 5, 6), 4)
    by_label = torch.stack([energy.given(label)(x) for label in (0, 1, 2, 3, -1)])
    each = energy.given(torch.tensor([3, -1, 0, -1]))(x)
    torch.testing.assert_close(each, by_label[torch.tensor([3, 4, 0, 4]), torch.arange(4)])
    for unbound in (energy, energy.given(None), energy.given(1).given(None), energy.given(torch.full((4,), -1))):
        torch.testing.assert_close(unbound(x), by_label[4])
    assert energy.label is None, "binding leaves the energy itself alone"
    with pytest.raises(ValueError, match="below 4, got 4"):
        energy.given(4)


@pytest.mark.parametrize(
    "layers", [[nn.Linear(30, 3)], [nn.Linear(30, 1)], [nn.Linear(30, 4), nn.Unflatten(0, (1, 2))]]
)
def test_logits_of_another_shape_are_refused(layers):
    energy = JointEnergy(nn.Sequential(nn.Flatten(), *layers), CLASSES)
    for use in (energy, energy.given(0), energy.probabilities):
        with pytest.raises(ValueError, match=r"the classifier gives .*, expected \[2, 4\]"):
            use(torch.zeros(2, 1, 5, 6))


def test_a_family_over_levels_is_one_where_the_classifier_is():
    shape = (1, 5, 6)
    network, x = encoder(shape), points(shape, 3)
    energy = JointEnergy(EncoderLogits(network), CLASSES, shape)
    assert energy.noisy and not joint("own").noisy and not joint("clean").noisy
    levels = torch.tensor([0.1, 0.6, 3.0], dtype=torch.float64)
    torch.testing.assert_close(energy.at(levels).logits(x), -network.at(levels).energies(x))
    alone = torch.cat([energy.at(float(s)).given(1)(x[k : k + 1]) for k, s in enumerate(levels)])
    torch.testing.assert_close(energy.given(1).at(levels)(x), alone)
    assert energy.level is None and network.level is None, "binding leaves the energy itself alone"
    assert torch.equal(energy.mean, network.mean) and energy.spread == network.spread
    with pytest.raises(RuntimeError, match="no noise levels"):
        joint("clean").at(0.5)
    bound = energy.at(levels)
    moved = levels.view(3, 1, 1, 1) ** 2 * gradient(bound, x)[1]
    torch.testing.assert_close(bound.denoise(x), x - moved)


# ---------------------------------------------------------------------------------------------- on disk


def test_our_classifier_comes_back_from_disk_with_what_is_bound(tmp_path):
    energy, x = joint("noisy").float(), points((1, 5, 6), 3).float()
    for number, bound in enumerate([energy, energy.given(2), energy.at(0.7).given(3)]):
        bound.save_pretrained(tmp_path / str(number))
        again = energies.load(tmp_path / str(number))
        assert isinstance(again, JointEnergy) and again.event_shape == (1, 5, 6)
        torch.testing.assert_close(again(x), bound(x), rtol=0, atol=0)
        torch.testing.assert_close(again.denoise(x), bound.denoise(x), rtol=0, atol=0)


def test_ones_own_classifier_is_stored_where_it_can_be(tmp_path):
    x = points((1, 5, 6), 3)
    with pytest.raises(TypeError, match=r"derive it from energies\.Stored") as refused:
        joint("own").given(1).save_pretrained(tmp_path)
    assert "\n" not in str(refused.value)
    energy = JointEnergy(OwnClassifier(30, CLASSES), CLASSES, (1, 5, 6)).double().given(1)
    energy.save_pretrained(tmp_path)
    again = energies.load(tmp_path)
    torch.testing.assert_close(again(x), energy(x), rtol=0, atol=0)
    assert again.event_shape == (1, 5, 6)


def test_a_label_bound_to_any_comes_back_from_disk(tmp_path):
    energy, x = joint("noisy").float(), points((1, 5, 6), 3).float()
    energy.given(-1).save_pretrained(tmp_path)
    torch.testing.assert_close(energies.load(tmp_path)(x), energy(x))


# -------------------------------------------------------------------------------------------- the heads


def test_what_tells_heads_apart_counts_so_many_places_and_the_rest_all():
    """The difference of two heads shrinks by places over those there are; what all have in common stays."""
    x = points((1, 8, 8), 3)  # of 4x4 and 2x2 places
    found = {}
    for places in (None, 64.0, 2.0, 1.0):
        torch.manual_seed(0)
        found[places] = encoder((1, 8, 8), places=places, noisy=False).energies(x)
        assert EncoderEnergy((1, 8, 8), (6, 8), (1, 1), places=places).arguments["places"] == places
    torch.testing.assert_close(found[64.0], found[None])
    apart = {places: e - e.mean(1, keepdim=True) for places, e in found.items()}
    torch.testing.assert_close(apart[1.0], apart[2.0] / 2)
    assert (apart[2.0].abs().mean() < 0.6 * apart[None].abs().mean()).all()


@pytest.mark.parametrize("shape", [(1, 5, 6), (2, 3, 4, 5)], ids=["image", "video"])
@pytest.mark.parametrize("noisy", [True, False])
def test_heads_together_are_the_sum_of_their_densities(shape, noisy):
    network, x = encoder(shape, noisy=noisy), points(shape, 3)
    network = network.at(0.4) if noisy else network
    assert network.energies(x).shape == (3, CLASSES)
    torch.testing.assert_close(network(x), -(-network.energies(x)).exp().sum(1).log())


@pytest.mark.parametrize("noisy", [True, False])
def test_one_head_is_the_energy_as_it_was_without_heads(noisy):
    network, x = encoder(heads=1, noisy=noisy), points((1, 5, 6), 3)
    network = network.at(0.4) if noisy else network
    assert network.energies(x).shape == (3, 1)
    torch.testing.assert_close(network(x), network.energies(x)[:, 0])
    for level, width in zip(network.levels, (6, 8), strict=True):
        assert level.weigh.weight.shape == (2 * width, 64), "weights that were saved before still fit"
    # The first of more heads, given the same weights, is the one.
    many = encoder(heads=3, noisy=noisy)
    many = many.at(0.4) if noisy else many
    with torch.no_grad():
        for one, other in zip(network.levels, many.levels, strict=True):
            rows = one.weigh.out_features
            other.weigh.weight[:rows], other.weigh.bias[:rows] = one.weigh.weight, one.weigh.bias
            fitting = {k: v for k, v in one.state_dict().items() if not k.startswith("weigh")}
            other.load_state_dict(fitting, strict=False)
        many.embed.load_state_dict(network.embed.state_dict())
        many.labels.load_state_dict(network.labels.state_dict())
    torch.testing.assert_close(many.energies(x)[:, 0], network(x))
    assert not torch.allclose(many.energies(x)[:, 1], network(x)), "heads do not share their weights"


def test_the_heads_of_a_sample_do_not_depend_on_the_batch():
    network, x = encoder(num_classes=2), points((1, 5, 6), 4)
    levels, labels = torch.tensor([0.1, 0.5, 2.0, 9.0], dtype=torch.float64), torch.tensor([0, 1, -1, 0])
    together = network.at(levels).given(labels).energies(x)
    for k in range(4):
        alone = network.at(float(levels[k])).given(int(labels[k])).energies(x[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone)


# ------------------------------------------------------------------------------------------- guidance


@pytest.mark.parametrize("kind", ["heads", "labels"])
def test_guidance_leads_from_any_label_to_the_one_and_beyond(kind):
    shape, x, label = (1, 5, 6), points((1, 5, 6), 3), torch.tensor([1, 0, 2])
    energy = joint("noisy", shape) if kind == "heads" else encoder(shape, 1, num_classes=3).at(0.3)
    free, bound = energy(x), energy.given(label)(x)
    assert not torch.allclose(free, bound)
    torch.testing.assert_close(energy.guided(label, 0.0)(x), free)
    torch.testing.assert_close(energy.guided(label, 1.0)(x), bound)
    for weight in (0.25, 2.0, -1.0):
        torch.testing.assert_close(energy.guided(label, weight)(x), free + weight * (bound - free))


def test_a_sum_of_families_at_a_level_is_the_sum_of_them_at_that_level():
    x, first, second = points((1, 5, 6), 3), encoder(heads=1, num_classes=2), joint("noisy")
    total = first.given(1) - 0.5 * second
    assert isinstance(total, WeightedSum)
    for level in (0.2, torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64)):
        torch.testing.assert_close(total.at(level)(x), first.given(1).at(level)(x) - 0.5 * second.at(level)(x))
        guided = second.guided(torch.tensor([1, 2, 3]), 3.0).at(level)
        torch.testing.assert_close(guided(x), second.at(level).guided(torch.tensor([1, 2, 3]), 3.0)(x))
    assert torch.equal(total.mean, first.mean) and total.spread == first.spread and total.scale is None


# ----------------------------------------------------------------------------------------- known answers


def log_densities(x: Tensor, noise: float = 0.0) -> Tensor:
    """ln p(x, y) [B, 2] of two Gaussians in the plane, or on the line, with noise."""
    variance = SPREAD**2 + noise**2
    distance = (x.flatten(1)[:, None] - CENTRES.to(x)[:, None]).square().sum(2)
    dims = x.flatten(1).shape[1]
    return SHARES.to(x).log() - distance / (2 * variance) - dims / 2 * math.log(2 * math.pi * variance)


def test_the_log_densities_of_two_gaussians_are_a_joint_energy():
    class Exact(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return log_densities(x) + 3  # the energy is known up to a constant

    energy = JointEnergy(Exact(), 2, (1, 1, 2))
    axis = torch.linspace(-2.5, 2.5, 201, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis).view(-1, 1, 1, 2)
    density = (-energy(x)).exp()
    assert density.sum() * (axis[1] - axis[0]) ** 2 / math.exp(3) == pytest.approx(1, abs=1e-6)
    side = x.flatten(1).sum(1) * (CENTRES[1] - CENTRES[0]) / SPREAD**2 + (SHARES[1] / SHARES[0]).log()
    torch.testing.assert_close(energy.probabilities(x)[:, 1], side.sigmoid(), rtol=1e-6, atol=1e-9)
    mean = (density[:, None] * x.flatten(1)).sum(0) / density.sum()
    torch.testing.assert_close(mean, (SHARES.double() @ CENTRES.double()).expand(2), rtol=1e-5, atol=1e-6)
    first = (-energy.given(0)(x)).exp()
    assert first.sum() / density.sum() == pytest.approx(0.3, abs=1e-6)


def furthest(found: Tensor, exact: Tensor) -> float:
    """Largest difference of log densities at the same x, up to a constant."""
    error = found - exact
    return float((error - (exact.softmax(0) * error).sum()).abs().max())


@pytest.mark.slow
def test_learned_from_two_gaussians_it_knows_their_classes_and_their_density():
    torch.manual_seed(0)
    rng = seeded(0)
    labels = (torch.rand(4000, generator=rng) < SHARES[1]).long()
    data = (CENTRES[labels] + SPREAD * torch.randn(4000, generator=rng)).view(-1, 1, 1, 1)
    network = EncoderEnergy((1, 1, 1), (24,), (1,), heads=2)
    network.centre(data)
    energy = JointEnergy(EncoderLogits(network), 2, (1, 1, 1))
    optimizer = torch.optim.Adam(energy.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, 300)
    for _ in range(300):
        rows = torch.randint(4000, (128,), generator=rng)
        loss, _ = Joint(level=0.2, weight=1.0)(energy, Batch(data[rows], label=labels[rows]), rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    x = torch.linspace(-1, 1, 17).view(-1, 1, 1, 1)
    for level in (0.1, 0.3):
        exact = log_densities(x, level)
        with torch.no_grad():
            shares, found = energy.at(level).probabilities(x), -energy.at(level)(x)
        assert (shares - exact.softmax(1)).abs().max() < 0.1, "it runs from 0 to 1"
        assert furthest(found, exact.logsumexp(1)) < 0.4
        variance = (data - data.mean()).square().mean() + level**2
        one = -(x.flatten() - data.mean()).square() / (2 * variance)
        assert furthest(one, exact.logsumexp(1)) > 0.8 or level > 0.2, "a single Gaussian does not do"
    blind = energy.at(0.1).given(0).denoise(torch.full((1, 1, 1, 1), 0.0))
    sighted = CENTRES[0] + SPREAD**2 / (SPREAD**2 + 0.01) * (0 - CENTRES[0])
    assert float(blind) == pytest.approx(float(sighted), abs=0.1), "given the class it is denoised towards it"


# ---------------------------------------------------------------------------------------- the objective


def batch(labels: list[int], chains: bool = False) -> Batch:
    buffer = ReplayBuffer.of_noise(6, torch.zeros(1, 5, 6), seeded(5)) if chains else None
    x = points((1, 5, 6), len(labels), seed=4).float()
    return Batch(x, label=torch.tensor(labels), chains=buffer)


@pytest.mark.parametrize("kind", ["own", "clean"])
def test_without_weight_it_is_cross_entropy_alone(kind):
    energy, data = joint(kind).float(), batch([0, 3, 1, 1, 2])
    loss, metrics = Joint(MaximumLikelihood(), weight=0.0)(energy, data, seeded(0))
    exact = -energy.logits(data.x).log_softmax(1)[torch.arange(5), data.label].mean()
    torch.testing.assert_close(loss, exact)
    assert metrics == {"class_loss": pytest.approx(exact.item())}
    smooth, _ = Joint(MaximumLikelihood(), weight=0.0, smoothing=0.2)(energy, data, seeded(0))
    torch.testing.assert_close(smooth, 0.8 * exact - 0.2 * energy.logits(data.x).log_softmax(1).mean())


def test_classes_of_a_family_are_learned_at_levels_of_a_log_normal_law():
    shape = (1, 5, 6)
    energy = JointEnergy(EncoderLogits(encoder(shape).float()), CLASSES, shape)
    data = batch([0, 3, 1, 1, 2])
    loss, _ = Joint(weight=0.0, level=0.3, spread=0.7)(energy, data, seeded(3))
    rng = seeded(3)
    sigma = 0.3 * (0.7 * torch.randn((5, 1, 1, 1), generator=rng)).exp()
    noisy = data.x + sigma * torch.randn(data.x.shape, generator=rng)
    torch.testing.assert_close(loss, F.cross_entropy(energy.at(sigma).logits(noisy), data.label))


@pytest.mark.parametrize("generative", [ScoreMatching(), MaximumLikelihood()], ids=["noisy", "clean"])
def test_what_has_no_label_does_not_count_for_the_classes(generative):
    noisy = isinstance(generative, ScoreMatching)
    energy = JointEnergy(EncoderLogits(encoder(noisy=noisy).float()), CLASSES, (1, 5, 6))
    mixed = batch([0, -1, 3, 1, -1])
    known = Batch(mixed.x[[0, 2, 3]], label=mixed.label[[0, 2, 3]])
    alone = Joint(generative, weight=0.0)
    torch.testing.assert_close(alone(energy, mixed, seeded(0))[0], alone(energy, known, seeded(0))[0])


def test_what_has_no_label_counts_for_what_is_generated():
    energy = JointEnergy(EncoderLogits(encoder().float()), CLASSES, (1, 5, 6))
    objective = Joint(weight=1.0)
    data = batch([0, -1, 3, 1, -1])
    loss, metrics = objective(energy, data, seeded(0))
    assert loss.item() == pytest.approx(metrics["class_loss"] + metrics["noise_loss"], rel=1e-5)
    heavier, _ = Joint(weight=2.5)(energy, data, seeded(0))
    assert heavier.item() == pytest.approx(metrics["class_loss"] + 2.5 * metrics["noise_loss"], rel=1e-5)
    data.x[1] += 1
    _, other = objective(energy, data, seeded(0))
    assert other["class_loss"] == metrics["class_loss"] and other["noise_loss"] != metrics["noise_loss"]


@pytest.mark.parametrize("labels", [[0, -1, 3, 1, -1], [0, 1, 2, 3]], ids=["some", "all"])
@pytest.mark.parametrize("kind", ["noisy", "clean", "own"])
def test_gradients_are_finite_and_reach_every_weight(kind, labels):
    energy = joint(kind).float()
    generative = ScoreMatching() if kind == "noisy" else MaximumLikelihood(steps=2)
    loss, metrics = Joint(generative)(energy, batch(labels, chains=kind != "noisy"), seeded(0))
    loss.backward()
    assert loss.isfinite() and all(math.isfinite(v) for v in metrics.values())
    assert {"noise_loss"} <= metrics.keys() if kind == "noisy" else {"energy_gap"} <= metrics.keys()
    for name, p in energy.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name
        assert p.grad.any() or (kind == "clean" and name.endswith("embed.0.weight")), f"{name}: only levels go in there"


def test_chains_of_maximum_likelihood_are_of_x_alone():
    """As published: the gap is between the energies E(x) of data and samples, whatever the labels are."""
    energy, objective = joint("own").float(), Joint(MaximumLikelihood(steps=2))
    first, second = (
        objective(energy, batch(labels, chains=True), seeded(0))[1] for labels in ([0, 1, 2, 3, -1], [3, 3, 1, -1, 0])
    )
    assert first["energy_gap"] == second["energy_gap"] and first["class_loss"] != second["class_loss"]


@pytest.mark.parametrize("generative", [ScoreMatching(), MaximumLikelihood(steps=2)], ids=["noisy", "clean"])
def test_a_step_without_any_label_still_learns_what_is_generated(generative):
    noisy = isinstance(generative, ScoreMatching)
    energy = JointEnergy(EncoderLogits(encoder(noisy=noisy).float()), CLASSES, (1, 5, 6))
    loss, metrics = Joint(generative)(energy, batch([-1, -1], chains=not noisy), seeded(0))
    assert loss.isfinite() and all(math.isfinite(v) for v in metrics.values())


@pytest.mark.parametrize("wrong", [{"weight": -1}, {"level": 0}, {"spread": -1}, {"smoothing": 1}], ids=str)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="must not be negative"):
        Joint(**wrong)
