"""Scenes from a seed: what the labels say is what is seen, and what was excluded is never made."""

from itertools import product
from time import process_time

import pytest
import torch

from data.errors import InputError
from data.scenes import ATTRIBUTES, COLOURS, combinations, held_out, scenes


def ink(x: torch.Tensor) -> torch.Tensor:
    """[n, H, W] in 0 to 1: how much of a pixel the object covers, by the channels' spread: grounds are nearly grey."""
    spread = x.amax(1) - x.amin(1)
    return ((spread - 0.15) / (spread.amax((1, 2), keepdim=True) - 0.15)).clamp(0, 1)


def centre(x: torch.Tensor) -> torch.Tensor:
    """(x, y) [n, 2] of the middle of the object's box, as shares of the side from the picture's centre."""
    seen = ink(x) > 0.3
    middles = []
    for axis in (1, 2):  # columns are left when rows are put together
        line = seen.any(axis).float()
        places = torch.arange(line.shape[1]) + 0.5
        low = torch.where(line > 0, places, 1e9).amin(1)
        high = torch.where(line > 0, places, -1e9).amax(1)
        middles.append((low + high) / 2 / line.shape[1] - 0.5)
    return torch.stack(middles, 1)


@pytest.fixture(scope="module")
def made():
    return scenes(3000, seed=1)


def test_shape_type_and_range(made):
    x, labels = made
    assert x.shape == (3000, 3, 24, 24) and x.dtype == torch.float32 and x.is_contiguous()
    assert x.min() >= -1 and x.max() <= 1
    assert list(labels) == list(ATTRIBUTES)
    for name, values in ATTRIBUTES.items():
        assert labels[name].dtype == torch.int64 and labels[name].shape == (3000,)
        counts = labels[name].bincount(minlength=len(values))
        expected = 3000 / len(values)
        assert (counts - expected).abs().max() < 4 * expected**0.5  # four standard deviations


@pytest.mark.parametrize("side", [12, 24, 33, 64])
def test_a_scene_depends_on_seed_and_index_only(side):
    torch.manual_seed(1)
    x, labels = scenes(50, side, seed=7)
    assert x.shape == (50, 3, side, side)
    torch.manual_seed(2)
    for num, start in ((1, 0), (7, 0), (20, 30), (1, 49), (3, 11)):
        part, some = scenes(num, side, 7, start=start)
        assert torch.equal(part, x[start : start + num])
        assert all(torch.equal(some[name], labels[name][start : start + num]) for name in labels)
    other = scenes(50, side, seed=8)[0]
    assert ((x - other).abs().amax((1, 2, 3)) > 0.1).all()


def test_chunks_do_not_show():
    x = scenes(2100, 12, 3)[0]
    assert torch.equal(scenes(10, 12, 3, start=2045)[0], x[2045:2055])


def test_colours_are_those_of_the_labels(made):
    x, labels = made
    inside = ink(x)[:, None] > 0.95
    seen = ((x + 1) / 2 * inside).sum((2, 3)) / inside.sum((2, 3))
    nearest = torch.cdist(seen, COLOURS).argmin(1)
    assert torch.equal(nearest, labels["colour"])
    assert (seen - COLOURS[labels["colour"]]).abs().max() < 0.06
    assert torch.cdist(COLOURS, COLOURS).fill_diagonal_(9).min() > 0.6  # and they lie far apart


def test_places_are_those_of_the_labels(made):
    x, labels = made
    where = centre(x)
    left, right, top, bottom = -where[:, 0], where[:, 0], -where[:, 1], where[:, 1]
    assert torch.equal(torch.stack([left, right, top, bottom]).argmax(0), labels["place"])
    assert torch.stack([left, right, top, bottom]).amax(0).min() > 0.12


def test_sizes_are_those_of_the_labels_whatever_the_shape(made):
    x, labels = made
    area = ink(x).sum((1, 2))
    big = labels["size"] == 1
    for shape in range(len(ATTRIBUTES["shape"])):
        mine = labels["shape"] == shape
        assert area[mine & big].min() > 1.5 * area[mine & ~big].max()


def test_shapes_are_those_of_the_labels(made):
    x, labels = made
    cover = ink(x)
    area = cover.sum((1, 2))
    width, height = ((cover > 0.3).any(axis).sum(1).float() for axis in (1, 2))
    fill = area / (width * height)
    heavy = (cover.sum(2) @ (torch.arange(24) + 0.5)) / area / 24 - 0.5 - centre(x)[:, 1]  # below the box's middle
    # Share of its box that each fills: the circle pi / 4, the square all, the triangle half, the cross less than 0.6.
    means = [float(fill[labels["shape"] == index].mean()) for index in range(4)]
    assert means[1] > 0.9 > means[0] > 0.7 > max(means[2:])
    lows = [float(heavy[labels["shape"] == index].mean()) for index in range(4)]
    assert lows[2] > 0.02 > 0.005 > max(abs(lows[index]) for index in (0, 1, 3))


@pytest.mark.parametrize("side", [24, 33, 48])
def test_there_is_one_whole_object_on_a_plain_ground(side):
    x, _ = scenes(500, side, seed=2)
    frame = torch.ones(side, side, dtype=torch.bool)
    frame[1:-1, 1:-1] = False
    edge = x[:, :, frame]
    assert (edge - edge.median(2, keepdim=True).values).abs().max() < 1e-5
    if side == 48:
        from skimage.measure import label

        assert all(label(one.numpy() > 0.3, connectivity=1).max() == 1 for one in ink(x))
    ground = edge.median(2).values
    assert ground.std(0).min() > 0.02 and ground.max() < -0.4


def test_edges_are_smooth():
    large, small = scenes(100, 96, 4)[0], scenes(100, 24, 4)[0]
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    error = (shrunk - small).abs()  # the same scene, its pixels covered in part
    assert error.mean() < 0.002  # hard edges: 0.009
    assert error[error > 1e-3].mean() < 0.08  # hard edges: 0.23


def test_what_is_excluded_is_not_made():
    out = [{"shape": "circle", "colour": "red"}, {"size": "big", "place": "left"}]
    _, labels = scenes(4000, 12, 5, exclude=out)
    for entry in out:
        matches = [labels[name] == ATTRIBUTES[name].index(value) for name, value in entry.items()]
        assert not torch.stack(matches).all(0).any()
        assert all(match.any() for match in matches)  # each value alone is still there
    _, labels = scenes(200, 12, 5, allowed=lambda scene: scene["shape"] == "circle" and scene["colour"] == "red")
    assert not labels["shape"].any() and not labels["colour"].any()
    assert len(labels["size"].unique()) == 2 and len(labels["place"].unique()) == 4


def test_combinations():
    every = combinations()
    assert len(every) == len({tuple(scene.values()) for scene in every}) == 4 * 5 * 2 * 4
    rest = combinations(exclude=[{"shape": "circle", "colour": "red"}, {"size": "big"}])
    assert len(rest) == 80 - 4
    assert len(combinations(exclude=[{"shape": "circle"}], allowed=lambda scene: scene["size"] == "big")) == 60


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_held_out_is_sparse_and_spread(share, seed):
    out = held_out(share, seed)
    assert len(out) == len({tuple(scene.values()) for scene in out}) == round(160 * share)
    assert held_out(share, seed) == out != held_out(share, seed + 1)
    left = combinations(exclude=out)
    assert len(left) == 160 - len(out)
    names = list(ATTRIBUTES)
    for first, second in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
        pairs = set(product(ATTRIBUTES[first], ATTRIBUTES[second]))
        assert {(scene[first], scene[second]) for scene in left} == pairs  # no pairing is missing altogether
    for name, values in ATTRIBUTES.items():
        counts = [sum(scene[name] == value for scene in out) for value in values]
        assert max(counts) - min(counts) <= max(2, 0.4 * len(out) / len(values))


def test_thousands_a_second():
    start = process_time()
    scenes(4000)
    assert process_time() - start < 2


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: scenes(0), "num=0"),
        (lambda: scenes(1, 8), "side=8"),
        (lambda: scenes(1, 10_000), "8192"),
        (lambda: scenes(1, seed=-1), "seed=-1"),
        (lambda: scenes(1, start=-2), "start=-2"),
        (lambda: scenes(1, exclude=[{"hue": "red"}]), "shape, colour, size, place"),
        (lambda: scenes(1, exclude=[{"colour": "mauve"}]), "red, green, blue, yellow, magenta"),
        (lambda: scenes(1, exclude=[{}]), "empty"),
        (lambda: scenes(1, allowed=lambda _: False), "no combination"),
        (lambda: held_out(0), "share=0"),
        (lambda: held_out(0.9), "share=0.9"),
    ],
)
def test_values_out_of_range(call, word):
    with pytest.raises(InputError, match=word) as caught:
        call()
    assert "\n" not in str(caught.value)
