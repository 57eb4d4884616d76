"""How a file becomes x: which part of it, in which colours, and which pixels of a mask hide."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from data import images, masks


def test_grey_is_the_luma_and_the_middle_is_cut_out(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    middle = levels[:, 3:15].reshape(4, 3, 4, 3, 3).mean((1, 3)) / 127.5 - 1
    expected = torch.from_numpy(middle).float().permute(2, 0, 1)
    torch.testing.assert_close(images.read(tmp_path / "a.png", 4), expected, atol=1e-5, rtol=0)
    grey = torch.einsum("c,chw->hw", torch.tensor([0.299, 0.587, 0.114]), expected)
    torch.testing.assert_close(images.read(tmp_path / "a.png", 4, channels=1)[0], grey, atol=1e-5, rtol=0)


def test_what_is_transparent_shows_white(tmp_path):
    levels = np.zeros((4, 4, 4), np.uint8)
    levels[:, 2:, 3] = 255
    Image.fromarray(levels, "RGBA").save(tmp_path / "a.png")
    x = images.read(tmp_path / "a.png")
    assert (x[:, :, :2] == 1).all() and (x[:, :, 2:] == -1).all()


def test_a_pixel_of_a_mask_is_hidden_if_any_of_it_is(tmp_path):
    """Better too much than damage that is taken for truth."""
    levels = np.zeros((8, 8), np.uint8)
    levels[0, 0] = levels[2, 0:2] = levels[4:6, 4:6] = 255
    levels[0:2, 2] = 1  # any level above black is damage
    Image.fromarray(levels).save(tmp_path / "mask.png")
    hidden = masks.still(tmp_path / "mask.png", of=(8, 8), size=(4, 4))
    wanted = torch.zeros(4, 4, dtype=torch.bool)
    wanted[0, 0] = wanted[0, 1] = wanted[1, 0] = wanted[2, 2] = True
    assert torch.equal(hidden, wanted)
