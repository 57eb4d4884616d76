"""Energies: gradients against finite differences, the algebra, round trips through the disk."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import energies
from energies import (
    ClipReference,
    ConditionalEnergy,
    Conditioned,
    Context,
    Energy,
    Gaussian,
    GenerativeConvNet,
    Hidden,
    LocalReference,
    WeightedSum,
    gradient,
)

SHAPES = {"st": [3, 4, 5, 6], "fc_s": [3, 6, 4, 4], "voxel": [1, 5, 4, 6], "image": [3, 8, 7]}
SMALL = {"widths": (8, 12), "depths": (1, 1)}


def context(*shape: int, batch: int = 1, others: int = 2, seed: int = 0) -> Context:
    """A random context of a clip of shape [C, T, H, W], in float64."""
    rng = torch.Generator().manual_seed(seed)

    def uniform(*size: int) -> Tensor:
        return torch.rand(batch, *size, generator=rng, dtype=torch.float64)

    estimate = 2 * uniform(*shape) - 1
    hidden = uniform(1, *shape[1:]) < 0.6
    tries = estimate[:, None] + 0.1 * (uniform(others, *shape) - 0.5)
    return Context(estimate, 0.05 + 0.2 * uniform(1, *shape[1:]), hidden, tries)


def conditional(given: Context, noise: float | Tensor = 0.1) -> ConditionalEnergy:
    torch.manual_seed(0)
    reference = ClipReference(given.estimate.shape[1:], given.others.shape[1])
    energy = ConditionalEnergy(reference, given.estimate.shape[1], **SMALL).double()
    with torch.no_grad():  # at its start the network says little; the tilt shall count here
        energy.net.head.weight *= 20
    return energy.told(given).at(noise)


def noisy(given: Context, noise: float | Tensor, seed: int = 1) -> Tensor:
    z = torch.randn(given.estimate.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return given.estimate + torch.as_tensor(noise).view(-1, 1, 1, 1, 1) * given.scale * given.hidden * z


def check_gradient(energy: Energy, x: Tensor, step: float) -> Tensor:
    """dE/dx along random directions against central differences, whose error is of order step^2."""
    values, slope = gradient(energy, x)
    assert values.shape == (len(x),) and slope.shape == x.shape and values.dtype == slope.dtype == torch.float64
    rng = torch.Generator().manual_seed(2)
    for _ in range(5):
        v = torch.randn(x.shape, generator=rng, dtype=torch.float64)
        difference = (energy(x + step * v) - energy(x - step * v)).detach() / (2 * step)
        torch.testing.assert_close((slope * v).flatten(1).sum(1), difference, rtol=1e-4, atol=1e-6)
    return slope


@pytest.mark.parametrize("preset", SHAPES)
def test_gradient_of_a_convnet_is_that_of_finite_differences(preset):
    torch.manual_seed(0)
    energy = GenerativeConvNet(preset, SHAPES[preset], sigma=0.7, mean=0.2).double()
    x = torch.randn(2, *SHAPES[preset], dtype=torch.float64)
    slope = check_gradient(energy, x, 1e-7)
    tilt = slope - (x - 0.2) / 0.7**2
    assert tilt.abs().max() > 1e-4, "the network must count"


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.6, 3.0, 100.0])
@pytest.mark.parametrize("shape", [(3, 4, 8, 8), (1, 3, 7, 9)])
def test_gradient_of_a_conditional_energy_is_that_of_finite_differences(noise, shape):
    given = context(*shape)  # the second shape is no multiple of 4
    energy, x = conditional(given, noise), noisy(given, noise)
    slope = check_gradient(energy, x, 1e-6 * min(noise, 1))
    assert not slope[~given.hidden.expand_as(slope)].any(), "what is seen has no say"
    reference = (x - given.estimate) / given.scale**2 * given.hidden / (1 + noise**2)
    tilt = (slope - reference).abs().max() * (1 + noise**2)  # both fall with the level
    assert tilt > 1e-2 * reference.abs().max(), "the network must count"


def test_gradient_of_a_gaussian_is_that_of_finite_differences():
    energy = Gaussian([1.0, -2.0, 0.5], [[2.0, 0.3, 0.0], [0.3, 1.0, -0.4], [0.0, -0.4, 3.0]]).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    slope = check_gradient(energy, x, 1e-4)
    torch.testing.assert_close(slope, (x - energy.mean) @ energy.precision)
    assert not gradient(energy, energy.mean[None])[1].any()


@pytest.mark.parametrize("enabled", [True, False])
def test_gradient_makes_no_gradients_of_parameters(enabled):
    given = context(3, 3, 8, 8)
    energy, x = conditional(given), noisy(given, 0.1)
    with torch.set_grad_enabled(enabled):
        values, slope = gradient(energy, x)
    assert not values.requires_grad and not slope.requires_grad and not x.requires_grad
    assert all(p.grad is None and p.requires_grad for p in energy.parameters())
    _, slope = gradient(energy, x, create_graph=True)
    slope.square().sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in energy.parameters())


def test_gradient_follows_the_allowed_directions():
    prior = Gaussian([0.0] * 4, torch.eye(4).tolist())
    mask = torch.tensor([True, False, True, False])
    _, slope = gradient(Conditioned(prior, Hidden(mask), torch.ones(4)), torch.full((2, 4), 3.0))
    assert torch.equal(slope, torch.tensor([[3.0, 0.0, 3.0, 0.0]] * 2))


def test_energies_add_and_scale():
    a = Gaussian([0.0, 1.0], [[1.0, 0.2], [0.2, 2.0]])
    b = Gaussian([-1.0, 0.5], [[3.0, 0.0], [0.0, 0.5]])
    x = torch.randn(5, 2)
    for made, wanted in [
        (a + b, a(x) + b(x)),
        (2.5 * a, 2.5 * a(x)),
        (a * 2.5, 2.5 * a(x)),
        (a - b, a(x) - b(x)),
        (0.5 * (a - 3 * b) + a, 1.5 * a(x) - 1.5 * b(x)),
    ]:
        torch.testing.assert_close(made(x), wanted)
        parts = sum(w * gradient(e, x)[1] for w, e in zip(made.weights, made.energies, strict=True))
        torch.testing.assert_close(gradient(made, x)[1], parts)
    assert not any(isinstance(part, WeightedSum) for part in (0.5 * (a - 3 * b) + a).energies), "sums are flat"
    with pytest.raises(TypeError, match="condition their sum"):
        a + Conditioned(b, Hidden(torch.tensor([True, False])), torch.zeros(2))


def test_saved_energies_load_as_they_were(tmp_path):
    torch.manual_seed(0)
    given = context(3, 3, 8, 8)
    single = Context(*(t.float() if t.is_floating_point() else t for t in given.tensors()))
    bound = ConditionalEnergy(ClipReference.of(single), 3, **SMALL).at(0.37)
    convnet = GenerativeConvNet("image", SHAPES["image"], sigma=0.3, mean=-0.1)
    image, clip, point = torch.randn(2, *SHAPES["image"]), torch.randn(1, 3, 3, 8, 8), torch.randn(4, 2)
    gaussian = Gaussian([0.0, 1.0], [[1.0, 0.2], [0.2, 2.0]])
    for name, energy, x in [
        ("gaussian", gaussian, point),
        ("convnet", convnet, image),
        ("conditional", bound, clip),
        ("level 1", bound.at(1), clip),
        ("sum", 0.5 * convnet - 2 * GenerativeConvNet("image", SHAPES["image"]), image),
        ("tempered", 2 * bound + bound.at(2.0), clip),
    ]:
        energy.save_pretrained(tmp_path / name)
        loaded = energies.load(tmp_path / name)
        assert type(loaded) is type(energy), name
        assert torch.equal(loaded(x), energy(x)), name
    again = energies.load(tmp_path / "conditional")
    assert isinstance(again, ConditionalEnergy) and again.level == 0.37
    assert torch.equal(again.posterior_mean(), bound.posterior_mean())
    with pytest.raises(FileNotFoundError, match="holds no energy; that of a run is in"):
        energies.load(tmp_path / "none")


def test_mean_is_the_limit_of_denoising_at_a_large_noise_level():
    given = context(3, 4, 8, 8)
    energy = conditional(given)
    mean = energy.posterior_mean().detach()
    moved = ((mean - given.estimate) / given.scale).abs().max()
    assert moved > 0.1, "the network must count"

    def error(noise: float) -> float:
        x = noisy(given, noise)
        return float(((energy.at(noise).denoise(x) - mean) / given.scale).abs().max())

    # x is about noise * s away from the estimate, so u, and with it the error, falls as 1 / noise.
    assert error(1e4) < 1e-3 * moved
    assert error(1e5) == pytest.approx(error(1e4) / 10, rel=0.05)


def test_a_conditional_energy_moves_only_what_is_hidden():
    given = context(3, 5, 6, 10)
    energy, x = conditional(given, 0.5), noisy(given, 0.5)
    seen = ~given.hidden.expand_as(x)
    assert energy.posterior_mean().shape == x.shape
    assert torch.equal(energy.posterior_mean()[seen], given.estimate[seen])
    assert torch.equal(energy.denoise(x)[seen], x[seen])


def test_energies_of_a_batch_do_not_depend_on_the_batch():
    """Neither with one context for all samples nor with one each, at levels of their own."""
    levels = torch.tensor([0.05, 0.4, 2.0], dtype=torch.float64)
    each = context(3, 4, 8, 8, batch=3)
    x = noisy(each, levels)
    together = conditional(each, levels)(x)
    one = Context(*(tensor[:1] for tensor in each.tensors()))
    shared = conditional(one, levels)(x)
    for k in range(3):
        own = Context(*(tensor[k : k + 1] for tensor in each.tensors()))
        torch.testing.assert_close(conditional(own, float(levels[k]))(x[k : k + 1]), together[k : k + 1])
        torch.testing.assert_close(conditional(one, float(levels[k]))(x[k : k + 1]), shared[k : k + 1])


def test_wrong_uses_are_told():
    with pytest.raises(ValueError, match="preset must be one of st"):
        GenerativeConvNet("sts", [3, 8, 8])
    with pytest.raises(ValueError, match="3 axes after the channels"):
        GenerativeConvNet("st", [3, 8, 8])
    with pytest.raises(RuntimeError, match="knows no whole x"):
        ConditionalEnergy(LocalReference(), 1, **SMALL).at(0.1)(torch.zeros(1, 1, 4, 8, 8))
