"""Energies of data sets: the encoder with its noise levels and labels, and the residual network with spectral norms."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded
from torch import Tensor, nn

import energies
from energies import EncoderEnergy, ResidualEnergy, gradient
from energies.compute import prepared
from energies.networks.convnet import Conv3d, shuffle, unshuffle
from energies.networks.residual import Normed
from energies.objectives import Batch, ScoreMatching
from pipelines.learning.muon import Muon

SHAPES = {"image": (2, 5, 6), "video": (1, 3, 4, 5)}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def encoder(shape: tuple[int, ...], **settings) -> EncoderEnergy:
    """A small one in float64, whose mean and spread are not the defaults and whose bias is not zero."""
    torch.manual_seed(0)
    energy = EncoderEnergy(shape, (6, 8), (1, 1), **settings).double()
    energy.centre(points(shape, 20, seed=9) * 0.3 + 0.2)
    with torch.no_grad():
        for level in energy.levels:
            level.weigh.bias.normal_(std=0.5)
    return energy


def points(shape: tuple[int, ...], num: int, seed: int = 1) -> Tensor:
    return torch.randn(num, *shape, generator=seeded(seed), dtype=torch.float64)


def along(energy, x: Tensor, v: Tensor) -> Tensor:
    """The derivative of the energies along v, by central differences."""
    h = 1e-5
    with torch.no_grad():
        return (energy(x + h * v) - energy(x - h * v)) / (2 * h)


# --------------------------------------------------------------------------------------- the encoder


@shapes
@pytest.mark.parametrize("noisy", [True, False])
def test_the_gradient_agrees_with_finite_differences(shape, noisy):
    energy = encoder(shape, noisy=noisy, num_classes=3).given(1)
    energy = energy.at(torch.tensor([0.1, 0.7, 5.0], dtype=torch.float64)) if noisy else energy
    x, v = points(shape, 3), points(shape, 3, seed=2)
    values, slope = gradient(energy, x)
    assert values.shape == (3,) and slope.shape == x.shape
    torch.testing.assert_close((slope * v).flatten(1).sum(1), along(energy, x, v), rtol=1e-6, atol=1e-6)


@shapes
def test_denoising_is_tweedies_formula(shape):
    sigma = torch.tensor([0.2, 1.5], dtype=torch.float64)
    energy, x, v = encoder(shape).at(sigma), points(shape, 2), points(shape, 2, seed=2)
    moved = ((x - energy.denoise(x)) * v).flatten(1).sum(1)
    torch.testing.assert_close(moved, sigma**2 * along(energy, x, v), rtol=1e-6, atol=1e-6)


@shapes
def test_without_responses_it_is_the_gaussian_of_the_data(shape):
    energy = encoder(shape)
    for level in energy.levels:
        nn.init.zeros_(level.head.weight)
        nn.init.zeros_(level.head.bias)
    x, sigma, s = points(shape, 4), 0.7, energy.spread
    z = x - energy.mean
    torch.testing.assert_close(energy.at(sigma)(x), z.square().flatten(1).sum(1) / (2 * (sigma**2 + s**2)))
    torch.testing.assert_close(energy.at(sigma).denoise(x), energy.mean + z * s**2 / (s**2 + sigma**2))


def test_mean_and_spread_come_from_the_data():
    data = points((1, 4, 4), 500) * 0.3 + torch.linspace(-1, 1, 16).view(1, 4, 4)
    energy = EncoderEnergy((1, 4, 4), (4,), (1,))
    energy.centre(data)
    torch.testing.assert_close(energy.mean, data.mean(0).float())
    assert energy.spread == pytest.approx(0.3, abs=5 * 0.3 / (2 * 500 * 16) ** 0.5)
    energy.centre(torch.ones(3, 1, 4, 4))
    assert energy.spread > 0, "data that never vary leave something to divide by"


@shapes
def test_a_label_is_bound_for_all_or_for_each(shape):
    energy, x = encoder(shape, num_classes=3).at(0.5), points(shape, 4)
    by_class = torch.stack([energy.given(label)(x) for label in (0, 1, 2, -1)])
    assert len({round(v, 9) for v in by_class[:, 0].tolist()}) == 4, "every label counts, and none is another"
    each = energy.given(torch.tensor([2, 0, -1, 1]))(x)
    torch.testing.assert_close(each, by_class[torch.tensor([2, 0, 3, 1]), torch.arange(4)])
    for unbound in (energy, energy.given(None), energy.given(2).given(None), energy.given(torch.full((4,), -1))):
        torch.testing.assert_close(unbound(x), by_class[3])
    torch.testing.assert_close(energy.given(1).at(0.5)(x), energy.at(0.5).given(1)(x))


@pytest.mark.parametrize("kind", [encoder, lambda shape, **s: ResidualEnergy(shape, 4, **s)])
@pytest.mark.parametrize("label", [3, torch.tensor([0, 3])])
def test_labels_that_there_are_not_are_refused(kind, label):
    with pytest.raises(ValueError, match="below 3, got 3"):
        kind((1, 4, 4), num_classes=3).given(label)


@shapes
def test_a_noise_level_is_bound_for_all_or_for_each(shape):
    energy, x = encoder(shape), points(shape, 3)
    levels = torch.tensor([0.05, 0.6, 8.0], dtype=torch.float64)
    alone = torch.cat([energy.at(float(level))(x[k : k + 1]) for k, level in enumerate(levels)])
    torch.testing.assert_close(energy.at(levels)(x), alone)
    torch.testing.assert_close(energy.at(levels.view(3, *[1] * len(shape)))(x), alone)
    assert energy.level is None, "binding leaves the energy itself alone"


def test_without_a_noise_level_it_says_so():
    energy, x = encoder((1, 4, 4)), points((1, 4, 4), 1)
    for use in (energy, energy.denoise, energy.features, energy.given(None)):
        with pytest.raises(RuntimeError, match="noise level"):
            use(x)


@shapes
def test_a_sample_does_not_depend_on_its_batch(shape):
    energy, x = encoder(shape, num_classes=2).given(1).at(0.3), points(shape, 5)
    residual = ResidualEnergy(shape, 4).double().eval()
    for compute in (energy, energy.denoise, energy.features, residual, residual.features):
        together = compute(x)
        torch.testing.assert_close(torch.cat([compute(x[k : k + 1]) for k in range(5)]), together)


@shapes
@pytest.mark.parametrize("noisy", [True, False])
def test_saved_and_loaded_it_is_the_same_to_the_last_bit(shape, noisy, tmp_path):
    energy = encoder(shape, noisy=noisy, num_classes=3).float()
    bound = energy.given(2).at(0.37) if noisy else energy.given(2)
    bound.save_pretrained(tmp_path)
    loaded, x = energies.load(tmp_path), points(shape, 3).float()
    assert type(loaded) is EncoderEnergy and loaded.spread == energy.spread
    assert torch.equal(loaded(x), bound(x))
    again = loaded.given(0).at(2.0) if noisy else loaded.given(0)
    assert torch.equal(again(x), (energy.given(0).at(2.0) if noisy else energy.given(0))(x))


def test_a_whole_number_is_a_noise_level_that_is_saved_too(tmp_path):
    bound, x = encoder((1, 4, 4)).float().at(1), points((1, 4, 4), 2).float()
    bound.save_pretrained(tmp_path)
    assert torch.equal(energies.load(tmp_path)(x), bound(x))


def test_what_is_bound_for_each_sample_is_not_saved(tmp_path):
    energy = encoder((1, 4, 4), num_classes=2).float().given(torch.tensor([0, 1])).at(torch.tensor([0.1, 0.2]))
    energy.save_pretrained(tmp_path)
    loaded = energies.load(tmp_path)
    assert loaded.label is None and loaded.level is None


@shapes
def test_it_composes(shape):
    energy, x = encoder(shape, num_classes=2).at(0.5), points(shape, 2)
    a, b = energy.given(0), energy.given(1)
    torch.testing.assert_close((a + 0.5 * b)(x), a(x) + 0.5 * b(x))


@pytest.mark.parametrize("settings", [((4,),), ((1, 4, 4), (4, 4), (1,)), ((1, 4, 4), (), ()), ((1, 2, 2, 2, 2),)])
def test_impossible_networks_are_refused(settings):
    with pytest.raises(ValueError, match="widths as depths"):
        EncoderEnergy(*settings)


@pytest.mark.parametrize("stride", [(3,), (2, 3), (1, 2, 2), (2, 1, 3, 2)])
def test_shuffling_is_the_inverse_of_unshuffling_along_any_axes(stride):
    size = [2 * k for k in stride]
    x = torch.arange(2 * 3 * math.prod(size)).view(2, 3, *size)
    u = unshuffle(x, stride)
    assert u.shape == (2, 3 * math.prod(stride), *[2] * len(stride))
    corner = x[(slice(None), slice(None), *(slice(None, k) for k in stride))]
    assert torch.equal(u[(..., *[0] * len(stride))], corner.flatten(1)), "a cell's values become its channels"
    assert torch.equal(shuffle(u, stride), x)


@pytest.mark.slow
def test_a_score_that_learns_to_denoise_is_the_gaussians():
    """dE/dx = (Sigma + sigma^2 I)^-1 (x - mean), of pictures whose pixels depend on each other."""
    place = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    covariance = 0.25 * torch.exp(-torch.cdist(place, place) / 3)
    mean = torch.linspace(-0.5, 0.5, 16)
    root, rng = torch.linalg.cholesky(covariance), seeded(0)

    def draw(num: int) -> Tensor:
        return (mean + torch.randn(num, 16, generator=rng) @ root.T).view(num, 1, 4, 4)

    torch.manual_seed(0)
    energy = EncoderEnergy((1, 4, 4), (16, 24), (1, 1))
    energy.centre(draw(2000))
    steps, objective, optimizer = 200, ScoreMatching(), Muon(energy.parameters(), 0.02)
    for step in range(steps):
        loss, _ = objective(energy, Batch(draw(64)), rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        optimizer.step()
    values = torch.linalg.eigvalsh(covariance)
    assert values[-1] / values[0] > 20, "the axes differ so much that the reference alone is no answer"
    for sigma, most in ((0.15, 0.06), (0.4, 0.015), (1.2, 0.003)):
        x = draw(4000) + sigma * torch.randn(4000, 1, 4, 4, generator=rng)
        exact = (x.flatten(1) - mean) @ torch.linalg.inv(covariance + sigma**2 * torch.eye(16))
        reference = (x - energy.mean).flatten(1) / (sigma**2 + energy.spread**2)
        slope = gradient(energy.at(sigma), x)[1].flatten(1)
        error, without = ((found - exact).square().sum() / exact.square().sum() for found in (slope, reference))
        assert error < most and without > 8 * most, "the network must count"
        assert float((slope * exact).sum() / exact.square().sum()) == pytest.approx(1, abs=0.1)


# -------------------------------------------------------------------------------------- the residual


@pytest.mark.slow
@shapes
def test_every_layers_spectral_norm_becomes_one(shape):
    torch.manual_seed(0)
    energy = ResidualEnergy(shape, 4, num_classes=2)
    layers = [module for module in energy.modules() if isinstance(module, Normed)]
    assert len(layers) == 1 + 3 * 3 + 1

    def norms() -> Tensor:
        return torch.stack([torch.linalg.matrix_norm(layer.weight().flatten(1), 2) for layer in layers]).detach()

    x = points(shape, 2).float()
    assert norms().max() > 1.05, "at first the estimate is a rough one"
    for _ in range(60):
        energy(x)
    assert ((norms() - 1).abs() < 0.01).all()
    energy.eval()
    before = [layer.left.clone() for layer in layers]
    energy(x)
    assert all(torch.equal(a, layer.left) for a, layer in zip(before, layers, strict=True)), (
        "it learns in training only"
    )


@shapes
def test_prepared_for_sampling_a_residual_energy_has_the_same_gradient(shape):
    torch.manual_seed(0)
    energy = ResidualEnergy(shape, 4, num_classes=2).eval().given(1)
    x = points(shape, 3).float()
    for found, wanted in zip(gradient(prepared(energy), x), gradient(energy, x), strict=True):
        torch.testing.assert_close(found, wanted)
    assert gradient(energy, x)[1].abs().max() > 1e-4
    assert all(p.requires_grad for p in energy.parameters())


def test_preparing_leaves_the_energy_alone_also_in_training():
    energy = ResidualEnergy((1, 4, 4), 4).train()
    before = {name: tensor.clone() for name, tensor in energy.state_dict().items()}
    prepared(energy)
    assert all(torch.equal(tensor, before[name]) for name, tensor in energy.state_dict().items())


@shapes
def test_a_residual_energy_is_saved_with_its_label(shape, tmp_path):
    torch.manual_seed(0)
    energy = ResidualEnergy(shape, 4, num_classes=2, gain=12.0)
    for block in energy.blocks:
        nn.init.normal_(block.modulate.weight)
    x = points(shape, 2).float()
    for _ in range(3):
        energy(x)
    bound = energy.eval().given(1)
    bound.save_pretrained(tmp_path)
    loaded = energies.load(tmp_path).eval()
    assert type(loaded) is ResidualEnergy and torch.equal(loaded(x), bound(x))
    assert not torch.equal(bound(x), energy.given(0)(x)) and not torch.equal(bound(x), energy(x))


@shapes
def test_the_residual_gradient_agrees_with_finite_differences(shape):
    torch.manual_seed(0)
    energy, x, v = ResidualEnergy(shape, 4).double().eval(), points(shape, 2), points(shape, 2, seed=2)
    _, slope = gradient(energy, x)
    torch.testing.assert_close((slope * v).flatten(1).sum(1), along(energy, x, v), rtol=1e-6, atol=1e-7)


def test_kernels_of_one_learn_in_bfloat16_where_the_library_would_end_the_process():
    """16 channels on 16^3 cells: on processors with AMX their weights' gradient divides by zero in torch 2.13."""
    layer, x = Conv3d(16, 16, 1), torch.randn(24, 16, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x.requires_grad_())
    assert (out - exact).abs().max() < 0.05
    (slope,) = torch.autograd.grad(out.float().square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.isfinite().all()
