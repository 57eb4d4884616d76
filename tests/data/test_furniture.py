"""Furniture: the same for a seed, in one part, symmetric, and with the parts its labels name."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from data import furniture
from data.errors import InputError
from data.solids import Bars, Box, Tube, paint


def pieces(kind: str, count: int, size: int, seed: int = 0):
    return [furniture.make(kind, seed=seed, index=index, size=size) for index in range(count)]


@pytest.mark.parametrize("kind", furniture.KINDS)
@pytest.mark.parametrize("size", [16, 33, 64])
def test_every_piece_is_one_part_that_spans_the_grid(kind, size):
    for solid, _ in pieces(kind, 100 if size < 64 else 20, size):
        assert solid.shape == (size,) * 3 and solid.dtype == bool
        assert ndimage.label(solid)[1] == 1  # face to face
        sides = [np.flatnonzero(solid.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        assert max(side[-1] - side[0] + 1 for side in sides) == size
        assert all(abs(side[0] - (size - 1 - side[-1])) <= 1 for side in sides)  # centred
        assert 0.01 < solid.mean() < 0.5


@pytest.mark.parametrize("kind", furniture.KINDS)
def test_a_piece_depends_on_seed_and_index_alone(kind):
    many = pieces(kind, 6, 24)
    alone, labels = furniture.make(kind, seed=0, index=4, size=24)
    np.testing.assert_array_equal(alone, many[4][0])
    assert labels == many[4][1]
    assert labels == furniture.make(kind, seed=0, index=4, size=48)[1]
    assert len({solid.tobytes() for solid, _ in many}) == 6
    assert all((a[0] != b[0]).any() for a, b in zip(many, pieces(kind, 6, 24, seed=1), strict=True))


@pytest.mark.slow
def test_a_piece_is_the_same_shape_at_every_size():
    for kind in furniture.KINDS:
        for index in range(10):
            small, large = (furniture.make(kind, seed=2, index=index, size=size)[0] for size in (32, 64))
            blocks = large.reshape(32, 2, 32, 2, 32, 2).any((1, 3, 5))
            near = ndimage.binary_dilation(blocks, np.ones((3, 3, 3)))
            assert (small & ~near).sum() == 0  # never more than a voxel away
            assert (blocks & ~ndimage.binary_dilation(small, np.ones((3, 3, 3)))).sum() == 0


def test_chairs_are_mirror_symmetric_and_lamps_too():
    for kind in ("chair", "lamp"):
        for size in (16, 17, 30):
            assert all((solid == solid[::-1]).all() for solid, _ in pieces(kind, 40, size))


@pytest.mark.slow
def test_labels_are_known_and_every_value_occurs():
    seen = {kind: Counter() for kind in furniture.KINDS}
    for kind in furniture.KINDS:
        for _, labels in pieces(kind, 150, 16):
            assert list(labels) == list(furniture.ATTRIBUTES)
            assert all(value in furniture.ATTRIBUTES[key] for key, value in labels.items())
            seen[kind].update(labels.items())
    for key, values in furniture.ATTRIBUTES.items():
        for value in values:
            shown = sum(count[key, value] for count in seen.values())
            assert shown > 10 or (key, value) == ("legs", "none")
    chairs = {(labels["arms"], labels["legs"]) for _, labels in pieces("chair", 150, 16)}
    assert len(chairs) == 12  # arms and legs are free of each other: there is something to compose


def test_labels_say_what_is_in_the_grid():
    size = 32
    for solid, labels in pieces("chair", 120, size):
        heights = np.flatnonzero(solid.any((0, 1)))
        feet = solid[:, :, heights[0]]
        if labels["legs"] in ("straight", "splayed"):
            assert ndimage.label(feet, np.ones((3, 3)))[1] == 4
        elif labels["legs"] == "panel":
            assert ndimage.label(feet)[1] == 2
        else:
            assert ndimage.label(solid[:, :, size // 5])[1] == 1
        head = solid[:, :, size - 4 : size] if labels["back"] != "none" else None
        if head is not None:  # the back rises behind the seat's middle, so a chair faces -y
            assert np.argwhere(head)[:, 1].mean() > size / 2
        front = solid.any(1)  # seen from the front
        holes = ndimage.label(~front[:, size // 2 :])[1]
        if labels["back"] in ("slats", "rungs"):
            assert holes > 1
        if labels["back"] == "solid" and labels["arms"] == "none":
            assert holes <= 2  # beside the back only


def test_bars_keep_gaps_at_any_resolution():
    for size in range(5, 40):
        grid = paint([Bars((-9, -9, 0), (9, 9, 18), 0, 6, 2.0)], size)
        row = grid[:, size // 2, size // 2]
        assert row[0] and row[-1] and (row == row[::-1]).all()
        runs = ndimage.label(row)[1]
        assert 2 <= runs <= 6 and (runs == 6 or size < 14)


def test_thin_tubes_are_joined_face_to_face():
    rng = np.random.default_rng(0)
    corners = [Box((0, 0, 0), (0.1, 0.1, 0.1)), Box((9.9, 9.9, 9.9), (10, 10, 10))]
    for _ in range(50):
        start, end = (tuple(rng.uniform(1, 9, 3).tolist()) for _ in range(2))
        grid = paint([*corners, Tube(start, end, 0.001)], 24)
        grid[0, 0, 0] = grid[-1, -1, -1] = False
        assert ndimage.label(grid)[1] == 1


@pytest.mark.parametrize(
    ("kind", "size", "seed", "word"),
    [("sofa", 32, 0, "sofa"), ("chair", 2, 0, "size=2"), ("chair", 32, -1, "seed=-1")],
)
def test_refuses(kind, size, seed, word):
    with pytest.raises(InputError, match=word):
        furniture.make(kind, seed=seed, index=0, size=size)


def test_a_thin_part_in_the_middle_stays_in_the_middle():
    for size in range(5, 40):
        grid = paint([Box((-9, -9, 0), (9, 9, 2)), Box((-0.01, -9, 0), (0.01, 9, 18))], size)
        assert (grid == grid[::-1]).all() and grid[:, size // 2, -1].sum() == 2 - size % 2
