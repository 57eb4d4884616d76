"""Examples come back as they were stored, and are one kind of thing in every modality."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded
from torch.nn import functional as F

from pipelines.examples import Examples, block_means, decoded, to_bits, to_levels


@pytest.mark.parametrize("side", [3, 8])
def test_bits_come_back(side):
    solid = torch.rand(5, 1, side, side, side, generator=seeded(0)) < 0.5
    bits = to_bits(solid)
    assert bits.dtype == torch.uint8 and bits.shape == (5, -(-(side**3) // 8))
    assert torch.equal(decoded(bits, (1, side, side, side)), solid.float() * 2 - 1)


def test_levels_come_back_to_half_a_level():
    x = torch.rand(4, 3, 6, 5, generator=seeded(1)) * 2 - 1
    levels = to_levels(x)
    assert (decoded(levels, (3, 6, 5)) - x).abs().max() <= 1 / 255 + 1e-6
    assert torch.equal(to_levels(decoded(levels, (3, 6, 5))), levels)
    assert to_levels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


@pytest.mark.parametrize("shape", [(2, 12), (3, 8, 12), (1, 8, 8, 4)])
def test_block_means_are_of_the_longest_side(shape):
    x = torch.rand(70, *shape, generator=seeded(2))
    factor = max(shape[1:]) // 4
    pool = {2: F.avg_pool1d, 3: F.avg_pool2d, 4: F.avg_pool3d}[len(shape)]
    torch.testing.assert_close(block_means(x, 4), pool(x, factor))
    assert block_means(x, max(shape[1:])) is x


def test_only_what_is_labelled_is_known():
    x = torch.arange(6.0).view(6, 1)
    data = Examples("signals", (1,), x[:4], x[4:], ("a", "b"), torch.tensor([0, -1, 1, -1]), torch.tensor([-1, 0]))
    own, labels = data.known("train")
    assert own.flatten().tolist() == [0.0, 2.0] and labels.tolist() == [0, 1]
    assert data.known("validation")[0].item() == 5.0 and not data.single
    assert data.x("train", slice(1, 3)).flatten().tolist() == [1.0, 2.0]
    assert Examples("signals", (1,), x[:1], x[:0]).single
