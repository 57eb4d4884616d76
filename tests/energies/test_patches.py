"""Patches in space and time: textures that recur are recovered, and nothing else is touched."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies.classical import inpainting
from energies.classical.patches import patches


def texture(frames: int, height: int, width: int) -> Tensor:
    """A clip [3, T, H, W] of random tiles of 8x8 pixels, all alike, that move right by a pixel a frame."""
    tile = 1.6 * torch.rand(3, 8, 8, generator=seeded(0)) - 0.8
    y, x = torch.arange(height)[:, None], torch.arange(width)
    return torch.stack([tile[:, y % 8, (x - t) % 8] for t in range(frames)], 1)


def hole(shape: tuple[int, int, int], *where: slice) -> Tensor:
    hidden = torch.zeros(shape, dtype=torch.bool)
    hidden[where] = True
    return hidden


def recovered(clip: Tensor, hidden: Tensor, seed: int = 0) -> Tensor:
    return patches(torch.where(hidden, torch.nan, clip).nan_to_num(0.9), hidden, seeded(seed))


@pytest.mark.slow
def test_the_border_of_two_textures_goes_on_in_a_fixed_hole() -> None:
    """The neighbours of a coarser level tell where each texture ends."""
    hidden = hole((6, 40, 40), slice(None), slice(12, 28), slice(12, 28))
    left, right = texture(6, 40, 20), -texture(6, 40, 20).flip(1)
    clip = torch.cat([left, right], -1)
    assert float((recovered(clip, hidden) - clip)[:, hidden].abs().mean()) < 0.01 * 1.6


@pytest.mark.slow
@pytest.mark.parametrize(
    "hidden",
    [
        hole((6, 36, 36), slice(None), slice(0, 10), slice(26, 36)),  # at a corner
        hole((14, 24, 24), slice(6, 8)),  # whole frames
        hole((3, 32, 32), slice(None), slice(10, 20), slice(10, 20)),  # of fewer frames than a patch
    ],
    ids=["corner", "frames", "short"],
)  # fmt: skip
def test_a_periodic_texture_is_recovered(hidden: Tensor) -> None:
    clip = texture(*hidden.shape)
    found = recovered(clip, hidden)
    assert float((found - clip)[:, hidden].abs().mean()) < 0.01 * 1.6
    assert torch.equal(found[:, ~hidden], clip[:, ~hidden])


def test_scattered_pixels_are_hidden_of_every_patch() -> None:
    clip = texture(6, 24, 24)
    hidden = torch.rand(6, 24, 24, generator=seeded(1)) < 0.2
    plain = (inpainting.temporal_linear(clip, hidden) - clip).square().mean()
    assert float((recovered(clip, hidden) - clip).square().mean()) < 0.6 * float(plain)


@pytest.mark.slow
def test_one_seed_gives_one_clip_and_hidden_values_do_not_matter() -> None:
    clip = texture(6, 32, 32) + 0.1 * torch.randn(3, 6, 32, 32, generator=seeded(2))
    hidden = hole((6, 32, 32), slice(None), slice(10, 20), slice(10, 20))
    found = recovered(clip, hidden)
    assert torch.equal(found, patches(clip, hidden, seeded(0)))
    assert not torch.equal(found, recovered(clip, hidden, seed=1))
    assert torch.equal(patches(clip, torch.zeros_like(hidden), seeded(0)), clip)


def test_a_clip_that_is_hidden_whole_is_told_in_a_line() -> None:
    clip = texture(4, 8, 8)
    with pytest.raises(ValueError, match="all of the clip is hidden") as told:
        patches(clip, torch.ones(4, 8, 8, dtype=torch.bool), seeded(0))
    assert "\n" not in str(told.value)
