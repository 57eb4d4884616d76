"""Examples come back as they were stored, and are one kind of thing in every modality."""

from __future__ import annotations

import warnings

import pytest
import torch
from conftest import seeded
from torch.nn import functional as F

from data.errors import InputError
from pipelines.examples import Examples, block_means, check_learnable, decoded, to_bits, to_levels


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


def learnable(train: torch.Tensor, num: int = 2, shape: tuple[int, ...] | None = None, **labels) -> None:
    validation = train[:1].expand(num, *train.shape[1:])
    check_learnable(
        Examples("images", shape or tuple(train.shape[1:]), train, validation, **labels), "NAME", "pictures"
    )


def test_what_nothing_can_be_learned_from_is_refused():
    levels = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 1, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learnable(levels)
    for train, num, words in (
        (levels[:10], 2, "NAME: holds 12 pictures; at least 20 are needed"),
        (levels[:1].expand(40, 1, 4, 4), 2, "NAME: its 40 pictures to learn from are all the same"),
        (torch.full((1, 3, 4, 4), 0.3), 0, "NAME: is of one colour"),
        (torch.full((40, 3), torch.nan), 2, "NAME: holds NaN or infinite"),
    ):
        with pytest.raises(InputError, match=words):
            learnable(train, num)


def test_what_little_can_be_learned_from_is_told():
    levels = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 1, 4, 4)
    with pytest.warns(UserWarning, match="of its 40 pictures to learn from only 3 differ"):
        learnable(levels % 3)
    with pytest.warns(UserWarning, match="no pictures to learn b from"):
        learnable(levels, classes=("a", "b"), train_labels=torch.zeros(40, dtype=torch.long))
    grids = to_bits(torch.rand(40, 1, 4, 4, 4, generator=seeded(0)) < 0.5)
    grids[:5] = 0
    with pytest.warns(UserWarning, match="5 of its 40 pictures to learn from are empty"):
        learnable(grids, shape=(1, 4, 4, 4))
