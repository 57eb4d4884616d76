"""Damage that shows in a clip itself is found, and little else."""

import pytest
import torch

from data import procedural
from data.errors import InputError
from pipelines.examples import Examples
from pipelines.modalities.video import Hide, detect
from pipelines.stage import Run


@pytest.fixture(scope="module", params=["journey", "cloth"])
def clip(request):
    made = procedural.video(request.param, frames=16, size=(72, 96), seed=1)
    return made + 0.02 * torch.randn(made.shape, generator=torch.Generator().manual_seed(0))


def shares(found: torch.Tensor, real: torch.Tensor) -> tuple[float, float]:
    """Of the damage that is found, and of what is sound that is taken for damage."""
    return float((found & real).sum() / real.sum()), float((found & ~real).float().sum() / (~real).sum())


@pytest.mark.slow
def test_dust(clip):
    rng, real = torch.Generator().manual_seed(3), torch.zeros(16, 72, 96, dtype=torch.bool)
    for t in range(16):
        for _ in range(3):
            y, x = (int(torch.randint(n - 4, (), generator=rng)) for n in (72, 96))
            real[t, y : y + 3, x : x + 3] = True
    dirty = torch.where(real, 1.0 - 2.0 * (clip.mean(0) > 0), clip)
    found, wrong = shares(detect.dust(dirty), real)
    assert found > 0.6
    assert wrong < 0.02
    assert detect.dust(clip).float().mean() < 0.015


@pytest.mark.slow
def test_scratches(clip):
    real = torch.zeros(16, 72, 96, dtype=torch.bool)
    real[:, :, 40:42] = real[3:14, :, 77:80] = True
    scratched = torch.where(real, 0.95, clip)
    found, wrong = shares(detect.scratches(scratched), real)
    assert found > 0.8
    assert wrong < 0.06
    assert detect.scratches(clip).float().mean() < 0.03


@pytest.mark.slow
def test_dead_pixels(clip):
    real = torch.zeros(16, 72, 96, dtype=torch.bool)
    for y, x in ((5, 9), (30, 50), (60, 80)):
        real[:, y, x] = True
    found, wrong = shares(detect.dead_pixels(torch.where(real, 1.0 - 2.0 * (clip.mean((0, 1)) > 0), clip)), real)
    assert found == 1
    assert wrong < 1e-3


@pytest.mark.slow
def test_lost_and_repeated_frames(clip):
    broken = clip.clone()
    broken[:, 5] = broken[:, 4]
    broken[:, 10] = -1.0
    assert detect.bad_frames(broken).nonzero().flatten().tolist() == [5, 10]
    assert not detect.bad_frames(clip).any()


@pytest.mark.slow
def test_what_is_found_is_hidden_and_its_truth_is_unknown(clip, tmp_path):
    broken = clip.clone().clamp(-1, 1)
    broken[:, 5] = broken[:, 4]
    broken[:, :, 30, 50] = 1.0 if clip[:, :, 29:32, 49:52].mean() < 0 else -1.0
    x = broken[None]
    values = {"data": Examples("video", tuple(x.shape[1:]), x, x[:0]), "source": {}, "footage": None}
    found = Hide(frames="auto", dead="auto", dilate=0)(values, Run(tmp_path, tmp_path))
    mask = found["observation"].mask[0, 0]
    assert mask[5].all() and mask[:, 30, 50].all() and mask.float().mean() < 0.07
    assert not found["truth_known"]
    flat = torch.zeros_like(x)
    blank = values | {"data": Examples("video", tuple(x.shape[1:]), flat, x[:0])}
    with pytest.raises(InputError, match=r"no dust was found"):
        Hide(dust="auto")(blank, Run(tmp_path, tmp_path))
    with pytest.raises(ValueError, match=r"dust=auto cannot be combined with pixels"):
        Hide(dust="auto", pixels=0.3)
