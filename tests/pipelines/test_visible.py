"""How visible a repair is: more, the worse it is."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from data import procedural
from pipelines.measures.visible import feature_distance, flicker, has_eyes, motion_of, seam


@pytest.fixture(scope="module")
def clip():
    return procedural.video("cloth", frames=2, size=96, seed=0)


@pytest.fixture(scope="module")
def hidden():
    where = torch.zeros(2, 96, 96, dtype=torch.bool)
    where[:, 24:72, 24:72] = True
    return where


def blurred(x: torch.Tensor, width: float) -> torch.Tensor:
    at = torch.arange(-9, 10)
    kernel = torch.exp(-0.5 * (at / width) ** 2)
    kernel = (kernel / kernel.sum()).outer(kernel / kernel.sum())[None, None].expand(3, 1, -1, -1)
    return F.conv2d(F.pad(x.transpose(0, 1), [9] * 4, mode="reflect"), kernel, groups=3).transpose(0, 1)


def noisy(x: torch.Tensor, width: float) -> torch.Tensor:
    return (x + width * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


def warped(x: torch.Tensor, pixels: float) -> torch.Tensor:
    y, col = torch.meshgrid(*[torch.linspace(-1, 1, 96)] * 2, indexing="ij")
    grid = torch.stack([col + 2 * pixels / 96 * (7 * y).sin(), y + 2 * pixels / 96 * (5 * col).sin()], -1)
    return F.grid_sample(x.transpose(0, 1), grid.expand(2, -1, -1, -1), align_corners=False).transpose(0, 1)


def packed(x: torch.Tensor, quality: float) -> torch.Tensor:
    frames = []
    for frame in x.unbind(1):
        data = io.BytesIO()
        Image.fromarray(((frame + 1) * 127.5).byte().permute(1, 2, 0).numpy()).save(data, "JPEG", quality=int(quality))
        frames.append(torch.from_numpy(np.array(Image.open(data))).permute(2, 0, 1) / 127.5 - 1)
    return torch.stack(frames, 1)


@pytest.mark.skipif(not has_eyes(), reason='the extra "eyes" is not installed')
@pytest.mark.parametrize(
    ("damage", "amounts"),
    [(blurred, (0.6, 1.2, 2.5)), (noisy, (0.05, 0.15, 0.4)), (warped, (0.5, 1.5, 4.0)), (packed, (80, 40, 8))],
)
def test_the_distance_of_features_grows_with_damage(clip, hidden, damage, amounts):
    found = [feature_distance(damage(clip, amount), clip, hidden) for amount in amounts]
    assert feature_distance(clip, clip, hidden) == 0
    assert 0 < found[0] < found[1] < found[2]


@pytest.mark.skipif(not has_eyes(), reason='the extra "eyes" is not installed')
def test_what_is_not_hidden_counts_little(clip, hidden):
    elsewhere = torch.where(hidden, clip, noisy(clip, 0.4))
    assert feature_distance(elsewhere, clip, hidden) < 0.5 * feature_distance(noisy(clip, 0.4), clip, hidden)


def test_a_patch_of_another_brightness_has_a_seam_and_the_truth_has_none(clip, hidden):
    assert seam(clip, hidden) < 0.2
    assert seam(torch.where(hidden, clip + 0.5, clip), hidden) > 1
    frames = torch.zeros_like(hidden)
    frames[1] = True
    assert np.isnan(seam(clip, frames))


def moving(noise: float) -> torch.Tensor:
    """A smooth pattern that moves by two pixels a frame, and noise of its own in every frame: [3, 5, 64, 64]."""
    rng = torch.Generator().manual_seed(0)
    wide = F.interpolate(torch.rand(1, 3, 12, 14, generator=rng), (64, 80), mode="bicubic")[0] * 2 - 1
    frames = [wide[:, :, 2 * t : 2 * t + 64] for t in range(5)]
    return torch.stack(frames, 1) + noise * torch.randn(3, 5, 64, 64, generator=rng)


def test_grain_of_every_frame_flickers_and_what_moves_with_the_truth_does_not():
    where = torch.zeros(5, 64, 64, dtype=torch.bool)
    where[:, 20:44, 20:44] = True
    truth = moving(0.02)
    motion = motion_of(truth)
    assert flicker(truth, truth, where, motion) == 0
    assert flicker(truth.mean(1, keepdim=True).expand_as(truth), truth, where, motion) > 0.5  # it stands still
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    grain = [flicker(truth + g * noise, truth, where, motion) for g in (0.02, 0.05, 0.15)]
    # sqrt(1 + (g / .02)^2) - 1 of what the truth's own noise changes, in part smoothed by the sub-pixel motion
    assert 0.2 < grain[0] < grain[1] < grain[2] and 4 < grain[2] < 10
    assert flicker(truth - 0.3, truth, where, motion) == pytest.approx(0, abs=1e-3)  # a wrong colour is still
    whole = torch.ones_like(where)
    still = torch.zeros_like(truth)
    assert not np.isnan(flicker(still, truth, whole, motion)) and flicker(still, truth, whole, motion) == 0


def test_a_clip_that_stands_still_makes_no_grain_and_no_seam_endless():
    still = torch.zeros(3, 3, 32, 32)
    where = torch.zeros(3, 32, 32, dtype=torch.bool)
    where[:, 8:24, 8:24] = True
    grain = 0.5 / 255 * torch.randn(still.shape, generator=torch.Generator().manual_seed(0))  # a quarter of a level
    assert flicker(grain, still, where, motion_of(still)) < 1
    assert 1 < flicker(8 * grain, still, where, motion_of(still)) < 20
    assert seam(torch.where(where, still + 1 / 255, still), where) < 1
    assert 10 < seam(torch.where(where, still + 0.1, still), where) < 100
