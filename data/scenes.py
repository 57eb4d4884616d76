"""Scenes made from a seed: one object on a plain background, each attribute labelled.

x, labels = scenes(1000, exclude=[{"shape": "circle", "colour": "red"}])
test, _ = scenes(100, allowed=lambda scene: scene["shape"] == "circle" and scene["colour"] == "red")

Scene k of a seed is the same whatever else is made with it. All lengths are shares of the picture's side.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from data.errors import InputError
from data.frames import parse_size

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": ("circle", "square", "triangle", "cross"),
    "colour": ("red", "green", "blue", "yellow", "magenta"),
    "size": ("small", "big"),
    "place": ("left", "right", "top", "bottom"),
}
"""Each attribute and its values; a label is the index of its value here."""

SMALLEST = 12  # pixels a side: below, the small shapes look alike
RADII = torch.tensor([0.14, 0.235])
PLACES = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]]) * 0.17  # (x, y) from the centre
COLOURS = torch.tensor(
    [[0.90, 0.14, 0.12], [0.12, 0.74, 0.20], [0.16, 0.32, 0.98], [0.97, 0.86, 0.12], [0.88, 0.22, 0.90]]
)
MISFIT = 0.1  # of a scene that is one, at most, in units of x (half the range of values)
DRAWS = 12  # random numbers a scene; a multiple of 4, Philox makes so many a turn
CHUNK = 2048  # scenes painted at once

Combination = Mapping[str, str]
"""Values of some attributes or of all, as {"shape": "circle", "colour": "red"}."""


def scenes(
    num: int,
    side: int = 24,
    seed: int = 0,
    *,
    start: int = 0,
    exclude: Sequence[Combination] = (),
    allowed: Callable[[dict[str, str]], bool] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scenes start, start + 1, ..., `num` of them: (float32 [num, 3, side, side] in [-1, 1], labels int64 [num] each).

    Every combination of attributes that is possible is as likely as any other; place, size, colour and background
    also vary a little. `exclude` and `allowed` say what is possible as in `combinations`.
    InputError: num below 1, a side outside 12 to 8192 pixels, a negative seed or start, nothing left to draw.
    """
    _check(num, side, seed, start)
    possible = combinations(exclude=exclude, allowed=allowed)
    codes = torch.tensor([[ATTRIBUTES[name].index(value) for name, value in scene.items()] for scene in possible])
    draws = uniform(num, seed, start)  # [num, DRAWS]
    chosen = codes[(draws[:, 0] * len(codes)).long()]  # [num, attributes]
    parts = zip(chosen.split(CHUNK), draws[:, 1:].float().split(CHUNK), strict=True)
    x = torch.cat([_paint(*part, side) for part in parts])
    return x, {name: chosen[:, index].clone() for index, name in enumerate(ATTRIBUTES)}


def combinations(
    *, exclude: Sequence[Combination] = (), allowed: Callable[[dict[str, str]], bool] | None = None
) -> list[dict[str, str]]:
    """All combinations of values that are possible, in a fixed order.

    `exclude` takes out those that agree with one of its entries in all that the entry names; `allowed` takes out those
    it says False to. InputError for an unknown attribute or value, or when nothing is left.
    """
    for entry in exclude:
        _check_combination(entry)
    every = [dict(zip(ATTRIBUTES, values, strict=True)) for values in product(*ATTRIBUTES.values())]
    possible = [
        scene
        for scene in every
        if not any(entry.items() <= scene.items() for entry in exclude) and (allowed is None or allowed(scene))
    ]
    if not possible:
        raise InputError("no combination of attributes is left; exclude fewer")
    return possible


def held_out(share: float, seed: int = 0) -> list[dict[str, str]]:
    """A sparse `share` in (0, 0.5] of all combinations, for `exclude` in training and `allowed` in tests.

    It is spread: any value, and any pair of values, is held out about as often as any other and never altogether.
    InputError for a share outside.
    """
    if not 0 < share <= 0.5:
        raise InputError(f"share={share} is out of range; it must be above 0, at most 0.5")
    every = combinations()
    order = uniform(len(every), seed, 0)[:, 0].argsort().tolist()
    kept: list[dict[str, str]] = []
    seen: dict[tuple[str, str], int] = {}
    pairs = {index: _pairs(every[index]) for index in order}
    while len(kept) < max(1, round(share * len(every))):
        # The one whose pairs are held out least so far; a pairing is never held out more than half.
        best = min(order, key=lambda index: sorted((seen.get(pair, 0) for pair in pairs[index]), reverse=True))
        order.remove(best)
        kept.append(every[best])
        for pair in pairs[best]:
            seen[pair] = seen.get(pair, 0) + 1
    return kept


def misfit(x: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
    """How far pictures x [n, 3, side, side] in [-1, 1] are from the nearest scene of these labels, in any two colours.

    The root mean square difference [n]; of scenes itself below MISFIT, to the grid of places and radii that are tried.
    """
    side = x.shape[-1]
    tries = torch.cartesian_prod(*(torch.linspace(-1, 1, num) for num in (3, 7, 7)))  # radius, x, y
    found = []
    for picture, shape, size, place in zip(x, labels["shape"], labels["size"], labels["place"], strict=True):
        room = torch.where(PLACES[place] != 0, 0.02, 0.05)
        radius = RADII[size] * (1 + 0.06 * tries[:, 0])
        covered = cover(shape.expand(len(tries)), radius, 0.5 + PLACES[place] + tries[:, 1:] * room, side).flatten(1)
        # Least squares: every channel is ground + contrast * covered.
        c = covered - covered.mean(1, keepdim=True)  # [tries, pixels]
        v = picture.flatten(1) - picture.flatten(1).mean(1, keepdim=True)  # [3, pixels]
        explained = (c @ v.T).square() / c.square().sum(1, keepdim=True)
        left = (v.square().sum(1) - explained).clamp(min=0).sum(1).amin()
        found.append((left / v.numel()).sqrt())
    return torch.stack(found)


def _paint(chosen: Tensor, draws: Tensor, side: int) -> Tensor:
    """Pictures [n, 3, side, side] of the values [n, 4] and of random numbers [n, 11] in [0, 1)."""
    jitter = 2 * draws - 1
    shape, colour, size, place = chosen.unbind(1)
    radius = RADII[size] * (1 + 0.06 * jitter[:, 0])
    along = PLACES[place] != 0
    centre = 0.5 + PLACES[place] + jitter[:, 1:3] * torch.where(along, 0.02, 0.05)
    hue = (COLOURS[colour] + 0.05 * jitter[:, 3:6]).clamp(0, 1)
    ground = 0.14 + 0.06 * jitter[:, 6:7] + 0.015 * jitter[:, 7:10]
    covered = cover(shape, radius, centre, side)[:, None]
    return torch.lerp(ground[:, :, None, None], hue[:, :, None, None], covered) * 2 - 1


def cover(shape: Tensor, radius: Tensor, centre: Tensor, side: int) -> Tensor:
    """Share of every pixel that the object covers [n, side, side]; shape, radius [n] and centre (x, y) [n, 2]."""
    axis = (torch.arange(side) + 0.5) / side
    x = (axis - centre[:, :1])[:, None, :].expand(-1, side, -1)  # [n, side, side]
    y = (axis - centre[:, 1:])[:, :, None].expand(-1, -1, side)
    outside = torch.empty_like(x)
    for index, distance in enumerate((_circle, _square, _triangle, _cross)):
        mine = shape == index
        outside[mine] = distance(x[mine], y[mine], radius[mine, None, None])
    # An edge that crosses a pixel covers it by so much: distances are in pixels from here.
    return (0.5 - outside * side).clamp(0, 1)


# How far (x, y) lies outside of a shape of radius r; negative inside. The sizes are chosen to look alike.


def _circle(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    return (x.square() + y.square()).sqrt() - r


def _square(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.9 * r


def _triangle(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """Equilateral, upright; its bounding box is centred."""
    inner = 0.62 * r  # of the inscribed circle, whose centre lies below that of the box
    y = y - 0.5 * inner
    return torch.maximum(3**0.5 / 2 * x.abs() - y / 2, y) - inner


def _cross(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    long, short = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
    return torch.maximum(long - 1.05 * r, short - 0.33 * r)


def uniform(num: int, seed: int, start: int) -> Tensor:
    """float64 [num, DRAWS] in [0, 1): row k depends on the seed and on start + k only."""
    bits = np.random.Philox(key=seed).advance(start * DRAWS // 4).random_raw(num * DRAWS)
    return torch.from_numpy((bits >> np.uint64(11)) * 2.0**-53).reshape(num, DRAWS)


def _pairs(scene: dict[str, str]) -> list[tuple[str, str]]:
    values = list(scene.values())
    return [(first, second) for index, first in enumerate(values) for second in values[index + 1 :]]


def _check(num: int, side: int, seed: int, start: int) -> None:
    parse_size(side)
    if side < SMALLEST:
        raise InputError(f"side={side} is too small; a scene needs {SMALLEST} pixels or more")
    if num < 1:
        raise InputError(f"num={num} is too few; ask for 1 scene or more")
    if seed < 0 or start < 0:
        raise InputError(f"seed={seed} and start={start} must be 0 or more")


def _check_combination(entry: Combination) -> None:
    for name, value in entry.items():
        if name not in ATTRIBUTES:
            raise InputError(f"exclude names {name!r}; the attributes are {', '.join(ATTRIBUTES)}")
        if value not in ATTRIBUTES[name]:
            raise InputError(f"exclude names {name} {value!r}; the values are {', '.join(ATTRIBUTES[name])}")
    if not entry:
        raise InputError("exclude holds an empty entry, which would exclude everything; name attributes in it")
