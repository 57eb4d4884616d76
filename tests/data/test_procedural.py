"""Clips made from a seed: the same again, another for another seed, coloured, and moving sanely."""

import pytest
import torch

from data import procedural
from data.errors import InputError

KINDS = ["journey", "waves", "flames", "cloth"]


def make(kind: str, seed: int = 0, frames: int = 12, size: int | tuple[int, int] = 64):
    return procedural.video(kind, frames=frames, size=size, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
def test_shape_type_and_range(kind):
    clip = make(kind, size=(33, 48), frames=3)
    assert clip.shape == (3, 3, 33, 48)
    assert clip.dtype == torch.float32
    assert clip.min() >= -1
    assert clip.max() <= 1
    assert clip.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_global_randomness_does_not(kind):
    torch.manual_seed(1)
    first = make(kind, frames=4)
    torch.manual_seed(2)
    assert torch.equal(first, make(kind, frames=4))
    other = make(kind, seed=1, frames=4)
    assert (first - other).abs().mean() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_shorter_clip_is_the_beginning_of_a_longer(kind):
    assert torch.equal(make(kind, frames=3), make(kind, frames=6)[:, :3])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_motion_is_visible_and_coherent(kind, seed):
    clip = make(kind, seed)
    spread = clip.std()
    step = (clip[:, 1:] - clip[:, :-1]).abs().mean()
    leap = (clip[:, 8:] - clip[:, :-8]).abs().mean()
    assert spread > 0.2
    assert 0.05 * spread < step < 0.4 * spread  # noise that flickers has 1.1, a still picture 0
    assert leap > 1.8 * step  # it goes somewhere; flicker gives 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_coloured_and_textured(kind):
    clip = make(kind)
    assert (clip.amax(0) - clip.amin(0)).mean() > 0.15
    grey = clip.mean(0)
    assert (grey[:, 1:] - grey[:, :-1]).abs().mean() > 0.02
    assert (grey[:, :, 1:] - grey[:, :, :-1]).abs().mean() > 0.02


def test_flames_rise_from_a_hot_base():
    clip = make("flames", frames=16).mean(0)  # [T, H, W]
    brightness = clip.mean((0, 2))
    assert brightness[-16:].mean() > brightness[:16].mean() + 0.5

    def mismatch(shift: int) -> float:
        """Between a frame moved up by `shift` rows and the next frame."""
        return float((clip[1:, 8:-8] - clip[:-1, 8 + shift : 56 + shift]).abs().mean())

    assert min(mismatch(1), mismatch(2)) < 0.9 * mismatch(0) < 0.9 * mismatch(-1)


def test_larger_pictures_show_the_same_scene():
    small, large = (make("waves", frames=2, size=size) for size in (32, 64))
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    assert (small - shrunk).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("kind", "frames", "size", "word"),
    [
        ("fog", 4, 16, "journey, waves, flames, cloth"),
        ("waves", 1, 16, "frames=1"),
        ("cloth", 4, 1, "size=1"),
        ("cloth", 4, (16, 9000), "9000"),
        ("cloth", 10**6, 64, "GiB"),
    ],
)
def test_values_out_of_range(kind, frames, size, word):
    with pytest.raises(InputError, match=word):
        procedural.video(kind, frames=frames, size=size, seed=0)
