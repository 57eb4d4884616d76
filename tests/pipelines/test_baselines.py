"""The methods to beat: exact where their model is the truth, and true to what is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

import pytest
import torch
from conftest import seeded
from torch import Tensor
from torch.nn import functional as F

from energies import Average, Blur, Grey, Hidden, Noisy, Observation
from pipelines.measures import baselines
from pipelines.measures.solids import likeliest, overlap
from pipelines.modalities import modality_of


def smooth(num: int, *shape: int, seed: int = 0) -> Tensor:
    """Smooth x [num, *shape] within [-0.9, 0.9]."""
    small = torch.randn(num, shape[0], *(max(2, side // 3) for side in shape[1:]), generator=seeded(seed))
    mode = "bilinear" if len(shape) == 3 else "trilinear"
    return 0.9 * torch.tanh(F.interpolate(small, shape[1:], mode=mode))


PICTURES = 0.4 * smooth(30, 3, 12, 12)  # so far within the range that none is clipped
MASK = torch.rand(4, 1, 12, 12, generator=seeded(1)) < 0.4
VIEWS = {
    "hidden": Hidden(MASK),
    "average": Average((2, 2)),
    "grey": Grey(),
    "noise": Noisy(Hidden(torch.zeros(1, 1, 12, 12, dtype=torch.bool)), 0.3),
    "blur": Noisy(Blur(1.0), 0.02),
    "noisy hidden": Noisy(Hidden(MASK), 0.2),
}


def measured(observation: Observation, x: Tensor) -> Tensor:
    y = observation.observe(x)
    return y + observation.noise * torch.randn(y.shape, generator=seeded(5)) if isinstance(observation, Noisy) else y


def made(methods: Mapping[str, Callable[[], Tensor]]) -> dict[str, Tensor]:
    return {name: make() for name, make in methods.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", VIEWS)
def test_baselines_of_pictures_hold_what_is_seen_and_find_a_picture_that_was_learned_from(name):
    observation, x = VIEWS[name], PICTURES[:4]
    y = measured(observation, x)
    found = made(baselines.baselines(PICTURES, observation, y))
    for method, estimate in found.items():
        assert estimate.shape == x.shape and estimate.abs().max() <= 1, method
        if observation.holds:
            torch.testing.assert_close(observation.observe(estimate), y, atol=1e-4, rtol=0, msg=method)
    torch.testing.assert_close(found["nearest_training"], x, atol=1e-5, rtol=0)
    where = modality_of("images").scored(observation, x)
    assert baselines.score(found["nearest_training"], x, where)["psnr"] > 60
    if name == "noise":
        plain = baselines.score(found["as_it_is"], x, where)["psnr"]
        assert all(baselines.score(found[m], x, where)["psnr"] > plain + 1 for m in ("wiener", "total_variation"))
    assert baselines.name_of(observation) == {"blur": "noisy blur"}.get(name, name)


def test_wieners_filter_of_noise_shrinks_towards_the_mean_picture():
    """By v / (v + s^2), of the variances of a pixel and of the noise, but for the little that keeps blurs sane."""
    y = measured(VIEWS["noise"], PICTURES[:4])
    mean, variance = PICTURES.mean(0), (PICTURES - PICTURES.mean(0)).square().mean()
    found = baselines.baselines(PICTURES, VIEWS["noise"], y)["wiener"]()
    expected = mean + (y - mean) * variance / (variance + 0.3**2)
    torch.testing.assert_close(found, expected.clamp(-1, 1), atol=1e-3, rtol=0)


@pytest.mark.slow
def test_alone_is_what_needs_no_other_pictures():
    y = measured(VIEWS["hidden"], PICTURES[:4])
    methods = baselines.alone(VIEWS["hidden"], y)
    assert methods and not methods.keys() & {"nearest_training", "mean"}
    others = baselines.baselines(PICTURES[5:], VIEWS["hidden"], y)
    assert all(torch.equal(make(), others[name]()) for name, make in methods.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", get_args(baselines.Baseline))
def test_baselines_of_a_clip_keep_what_is_seen_and_a_clip_that_stands_still(name):
    clip = PICTURES[:1, :, None].expand(1, 3, 8, 12, 12)[0].clone()
    hidden = torch.zeros(8, 12, 12, dtype=torch.bool)
    hidden[3] = hidden[5:7, 4:8, 5:9] = True
    moving = clip + torch.linspace(-0.1, 0.1, 8)[:, None, None]
    for x in (clip, moving):
        found = baselines.estimate(name, torch.where(hidden, 0.0, x), hidden, seeded(0))
        assert torch.equal(found[:, ~hidden], x[:, ~hidden])
    still = baselines.estimate(name, torch.where(hidden, 0.0, clip), hidden, seeded(0))
    near = {"temporal_linear": 1e-6, "nearest_frame": 1e-6, "low_rank": 0.03, "telea": 0.03, "navier_stokes": 0.03}.get(
        name, 0.02
    )
    assert (still - clip).abs().mean() < near
    if name == "temporal_linear":
        torch.testing.assert_close(found, moving, atol=1e-6, rtol=0)


SHAPES = smooth(24, 1, 12, 12, 12, seed=3).sign()


@pytest.mark.parametrize("noise", [None, 0.5])
def test_baselines_of_damaged_shapes(noise):
    x, hidden = SHAPES[:4], torch.rand(4, 1, 12, 12, 12, generator=seeded(1)) < 0.3
    observation = Hidden(hidden) if noise is None else Noisy(Hidden(hidden), noise)
    classes = torch.arange(24) % 2
    y = x if noise is None else x + noise * torch.randn(x.shape, generator=seeded(2))
    damaged = torch.where(hidden, 0.0, y)
    found = made(baselines.recoveries(SHAPES, damaged, hidden, observation, classes, classes[:4]))
    assert torch.equal(found["nearest_shape"], x), "it was learned from"
    torch.testing.assert_close(found["class_mean"][0], SHAPES[::2].mean(0))
    torch.testing.assert_close(found["class_mean"][1], SHAPES[1::2].mean(0))
    plain = baselines.recoveries(SHAPES, damaged, hidden, observation)["class_mean"]()
    torch.testing.assert_close(plain, SHAPES.mean(0).expand(4, -1, -1, -1, -1))
    where = hidden if noise is None else torch.ones_like(hidden)
    solid = likeliest(found["blurred_visible"], where)
    assert overlap(solid, x > 0, where).mean() > overlap(likeliest(plain, where), x > 0, where).mean() + 0.1


def symmetric(num: int) -> Tensor:
    """Shapes of two mirrored halves in x, none symmetric otherwise, the middle of one off the grid's."""
    half = smooth(num, 1, 6, 12, 12, seed=7).sign()
    return torch.cat([half, half.flip(2)], 2)


def test_a_mirror_finds_the_half_of_a_symmetric_shape_that_is_hidden():
    train, x = symmetric(30)[4:], symmetric(4)
    hidden = torch.zeros_like(x, dtype=torch.bool)
    hidden[:, :, 7:, 2:] = True  # nearly all of one half
    damaged = torch.where(hidden, 0.0, x)
    found = baselines.recoveries(train, damaged, hidden, Hidden(hidden))["mirrored"]()
    assert torch.equal(found[hidden], x[hidden])


def test_a_mirror_that_is_off_the_middle_is_found_and_the_rest_is_another_field():
    x = symmetric(4).roll(1, 2)
    x[:, :, 0] = -1
    hidden = torch.zeros_like(x, dtype=torch.bool)
    hidden[:, :, 9:, 3:9, 3:9] = True
    damaged = torch.where(hidden, 0.0, x)
    methods = baselines.recoveries(symmetric(30)[4:], damaged, hidden, Hidden(hidden))
    found, blurred = methods["mirrored"](), methods["blurred_visible"]()
    assert torch.equal(found[hidden], x[hidden])
    assert torch.equal(found[~hidden], blurred[~hidden])


def test_baselines_of_block_means():
    coarse = F.avg_pool3d(SHAPES[:4], 3)
    found = made(baselines.refinements(SHAPES, coarse))
    assert torch.equal(found["nearest_shape"], SHAPES[:4]), "it was learned from"
    torch.testing.assert_close(F.avg_pool3d(found["nearest"], 3), coarse)
    flat = made(baselines.refinements(SHAPES, torch.full_like(coarse, 0.25)))
    assert all((flat[name] - 0.25).abs().max() < 1e-5 for name in ("nearest", "trilinear", "cubic"))
