"""Renderings: white around the shape, the right side in view, and the same picture for the same shape."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data import furniture, rendering
from data.errors import InputError

REAL = Path(__file__).resolve().parent.parent.parent.parent / "shared/data/voxels/chair_32.npz"


def shown(picture: np.ndarray) -> np.ndarray:
    """Where the shape is: it is coloured, its shadow is grey."""
    return picture[..., 0].astype(int) - picture[..., 2] > 20


def block(*spans: tuple[int, int], size: int = 16) -> np.ndarray:
    grid = np.zeros((size,) * 3, bool)
    grid[tuple(slice(*span) for span in spans)] = True
    return grid


def middle(picture: np.ndarray) -> np.ndarray:
    """(row, column) of the shape's centre, from -1 to 1."""
    return np.argwhere(shown(picture)).mean(0) / len(picture) * 2 - 1


def test_a_picture_is_bytes_on_white():
    solid, _ = furniture.make("chair", seed=0, index=0, size=32)
    picture = rendering.render(solid, size=96)
    assert picture.dtype == np.uint8 and picture.shape == (96, 96, 3)
    assert (picture[0] > 250).all() and (picture[:, 0] > 250).all()
    assert 0.05 < shown(picture).mean() < 0.6
    assert len(np.unique(picture[shown(picture)], axis=0)) > 100  # smoothly shaded
    np.testing.assert_array_equal(picture, rendering.render(torch.from_numpy(solid), size=96))
    assert (rendering.render(np.zeros((8, 8, 8), bool), size=20) == 255).all()
    grey = rendering.render(solid, size=96, color=(0.5, 0.5, 0.5))
    assert np.abs(grey[..., 0].astype(int) - grey[..., 2]).max() < 40


@pytest.mark.parametrize(
    ("azimuth", "elevation", "spans", "where"),
    [
        (0, 0, ((12, 16), (6, 10), (6, 10)), (0, 1)),  # +x is right as seen from the front
        (0, 0, ((6, 10), (6, 10), (12, 16)), (-1, 0)),  # z is up
        (90, 0, ((6, 10), (12, 16), (6, 10)), (0, 1)),  # from the right side, the back is right
        (180, 0, ((12, 16), (6, 10), (6, 10)), (0, -1)),
        (0, 90, ((6, 10), (12, 16), (6, 10)), (-1, 0)),  # from above, the back is up
        (0, 90, ((12, 16), (6, 10), (6, 10)), (0, 1)),
    ],
)
def test_each_side_is_where_it_belongs(azimuth, elevation, spans, where):
    row, column = middle(rendering.render(block(*spans), azimuth, elevation, 64))
    assert (round(row * 1.6), round(column * 1.6)) == where


def test_the_near_hides_the_far():
    front, back = block((4, 12), (0, 3), (4, 12)), block((6, 10), (12, 16), (6, 10))
    both = rendering.render(front | back, 0, 0, 64)
    np.testing.assert_array_equal(shown(both), shown(rendering.render(front, 0, 0, 64)))
    assert (np.abs(both.astype(int) - rendering.render(front, 0, 0, 64)) < 40).all()
    apart = rendering.render(front | back, 60, 0, 64)
    assert shown(apart).sum() > 1.1 * shown(rendering.render(front, 60, 0, 64)).sum()


def test_silhouettes_have_the_area_of_the_projection():
    x, y, z = np.mgrid[:32, :32, :32] + 0.5 - 16
    ball = np.tanh(11 - np.sqrt(x**2 + y**2 + z**2))
    for azimuth, elevation in [(0, 0), (33, 25), (200, 80), (10, -40)]:
        picture = rendering.render(ball, azimuth, elevation, 128)
        # A ball of radius r at distance d is seen as a disc of tangent r / sqrt(d^2 - r^2).
        r, d = 11 / 32, rendering.DISTANCE
        radius = d * r / np.sqrt(d**2 - r**2) * 128 / rendering.SPAN
        assert shown(picture).sum() == pytest.approx(np.pi * radius**2, rel=0.04)
        np.testing.assert_allclose(middle(picture), 0, atol=0.03)


@pytest.mark.slow
def test_no_shape_is_cut_off():
    for spans in [((0, 16),) * 3, ((0, 16), (0, 2), (0, 16)), ((14, 16), (14, 16), (0, 16))]:
        for azimuth in (0, 45, 100):
            for elevation in (-90, -20, 0, 25, 60, 90):
                picture = shown(rendering.render(block(*spans), azimuth, elevation, 48))
                edges = (picture[0], picture[-1], picture[:, 0], picture[:, -1])
                assert picture.any() and not any(edge.any() for edge in edges)


def test_light_comes_from_above_and_hollows_are_darker():
    picture = rendering.render(block((2, 14), (2, 14), (2, 14)), 0, 35, 96)
    rows = [row[40:56].mean() for row in picture if shown(row[None])[0, 40:56].all()]
    assert rows[5] > rows[-5] + 10  # the top is lighter than the front
    corner = block((0, 16), (13, 16), (0, 16)) | block((0, 16), (0, 16), (0, 3))
    # From above, the floor two voxels before the wall: its normal is what it was without one.
    with_wall, without = (
        rendering.render(grid, 0, 90, 96)[36, 48].mean() for grid in (corner, block((0, 16), (0, 16), (0, 3)))
    )
    assert with_wall < without - 8


def test_the_shadow_lies_under_the_shape():
    table = block((2, 14), (2, 14), (12, 14)) | block((7, 9), (7, 9), (2, 13))
    picture = rendering.render(table, 0, 40, 96)
    grey = ~shown(picture) & (picture.mean(2) < 250)
    assert grey.sum() > 50 and np.argwhere(grey)[:, 0].mean() > np.argwhere(shown(picture))[:, 0].mean()
    below = rendering.render(table, 0, -20, 96)
    assert (below[~shown(below)].mean(1) < 200).sum() < 100  # only softened edges


def test_a_turntable_turns_and_becomes_a_gif(tmp_path):
    solid, _ = furniture.make("chair", seed=1, index=2, size=16)
    frames = rendering.turntable(solid, 8, size=48)
    assert frames.shape == (8, 48, 48, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[0], rendering.render(solid, 30, 25, 48))
    np.testing.assert_array_equal(frames[2], rendering.render(solid, 120, 25, 48))
    assert all((a != b).any() for a, b in zip(frames, np.roll(frames, 1, axis=0), strict=True))
    rendering.write_turntable(tmp_path / "a.gif", frames, fps=10)
    with Image.open(tmp_path / "a.gif") as gif:
        assert getattr(gif, "n_frames", 0) == 8 and gif.info["duration"] == 100 and gif.info["loop"] == 0
        assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - frames[0]).mean() < 4


@pytest.mark.parametrize(
    ("options", "words"),
    [({"elevation": 91}, "elevation=91"), ({"size": 4}, "size=4"), ({"level": 0.5}, None)],
)
def test_values_out_of_range(options, words):
    grid = block((2, 5), (2, 5), (2, 5)) * 0.9
    if words is None:
        assert shown(rendering.render(grid, size=32, **options)).any()
        words = "level"
        options = {}
    with pytest.raises(InputError, match=words):
        rendering.render(grid if words == "level" else grid > 0, **options)
    with pytest.raises(InputError, match="num=0"):
        rendering.turntable(grid > 0, 0)


@pytest.mark.skipif(not REAL.is_file(), reason=f"the shared chairs are not at {REAL}")
def test_real_chairs():
    from data import voxels

    dataset = voxels.open_dataset(REAL)
    for grid in voxels.unpack(dataset[:900:300]["bits"]):
        picture = rendering.render(grid, size=64)
        assert 0.05 < shown(picture).mean() < 0.6
