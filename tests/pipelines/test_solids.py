"""How good solids are: overlaps by hand, and what tells collections apart."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded

from pipelines.measures import solids


def test_overlap_counts_only_where_it_should():
    a = torch.tensor([True, True, False, False]).view(1, 1, 1, 2, 2)
    b = torch.tensor([True, False, True, False]).view(1, 1, 1, 2, 2)
    everywhere = torch.ones_like(a)
    assert solids.overlap(a, b, everywhere).item() == pytest.approx(1 / 3)
    assert solids.overlap(a, b, a).item() == pytest.approx(1 / 2)
    assert solids.overlap(a, b, ~(a | b)).item() == 1.0  # both are empty there
    assert solids.score(a, b, everywhere) == {"iou": pytest.approx(1 / 3), "voxel_error": pytest.approx(1 / 2)}
    assert solids.distances(a, b).item() == pytest.approx(2 / 3)


def test_two_collections_of_one_law_cannot_be_told_apart():
    rng = seeded(4)
    one, two = (torch.rand(200, 1, 4, 4, 4, generator=rng) < 0.5 for _ in range(2))
    other = (torch.rand(1, 1, 4, 4, 4, generator=rng) < 0.5) ^ (torch.rand(200, 1, 4, 4, 4, generator=rng) < 0.1)
    assert abs(solids.two_sample(one, two) - 0.5) < 5 * 0.5 / 400**0.5
    assert solids.two_sample(one, other) > 0.9
    assert solids.coverage(one, one) == 1.0 and solids.coverage(one[:1], two) == 1 / 200


def test_a_collection_is_compared_with_as_many_real_ones():
    rng = seeded(5)
    train, validation = (torch.rand(num, 1, 4, 4, 4, generator=rng) < 0.5 for num in (30, 10))
    found = solids.collection(train[:20], train, validation)
    assert found["distance_to_training"] == 0 and found["coverage"] <= 1
    assert found["validation_to_training"] == pytest.approx(float(solids.distances(validation, train).amin(1).median()))
    assert found["filled"] == pytest.approx(float(train[:10].float().mean()))


def test_what_leans_too_far_falls():
    table, lamp, speck = (torch.zeros(8, 8, 8, dtype=torch.bool) for _ in range(3))
    table[1:7, 1:7, 5] = True
    for row in (1, 6):
        table[row, 1, :6] = table[row, 6, :6] = True  # the middle is above no leg, but between them
    lamp[1, 1, :7] = lamp[1:7, 1, 6] = lamp[6, 1, 3:7] = True  # an arm with a weight at its end
    speck[:] = lamp
    speck[4:7, 4:7, 0] = True  # on the ground, but another part
    speck[2:5, 0:3, 0] = False
    empty = torch.zeros_like(table)
    found = solids.standing(torch.stack([table, table.flip(2), lamp, speck, empty])[:, None])
    assert found.tolist() == [True, True, False, False, False]


def test_specks_are_no_part_of_a_whole():
    solid = torch.zeros(2, 1, 8, 8, 8, dtype=torch.bool)
    solid[:, :, :4, :4, :4] = True
    solid[1, :, 6:, 6:, 6:] = True
    assert solids.whole_share(solid) == 0.5
    assert solids.largest_shares(solid).tolist() == [1.0, pytest.approx(64 / 72)]
    assert solids.largest_shares(torch.zeros(1, 1, 4, 4, 4, dtype=torch.bool)).tolist() == [0.0]
