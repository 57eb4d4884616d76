"""Textures made from a seed, as a camera might see them: a wall of bricks, and a coarse cloth.

x = texture("bricks", 128, seed=3)

They are painted several times as fine as they are wanted and then shrunk, so that no edge is sharper than a lens makes
it. All lengths are shares of the picture's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from data.errors import InputError
from data.frames import parse_size

FINER = 4  # times as fine as wanted
SMALLEST = 32  # pixels a side: below, joints are thinner than half a pixel
ROWS = 11  # of bricks
LENGTH = 2.3  # of a brick, in heights of a row
JOINT = 0.17  # breadth of the mortar, in heights of a row
THREADS = 15  # of the cloth, each way


def texture(kind: str, size: int, seed: int = 0) -> Tensor:
    """A texture float32 [3, size, size] in [-1, 1]; kind is "bricks" or "cloth".

    InputError: an unknown kind, or a size below 32 or above 8192.
    """
    if kind not in KINDS:
        raise InputError(f"there is no made texture {kind!r}; there are {', '.join(KINDS)}")
    parse_size(size)
    if size < SMALLEST:
        raise InputError(f"size={size} is too small; a made texture has {SMALLEST} pixels a side or more")
    fine = KINDS[kind](size * FINER, torch.Generator().manual_seed(seed))
    levels = F.avg_pool2d(fine[None], FINER)[0]
    grain = 0.006 * torch.randn(levels.shape, generator=torch.Generator().manual_seed(seed + 1))  # of the sensor
    return (levels + grain).clamp(0, 1) * 2 - 1


def _bricks(side: int, rng: torch.Generator) -> Tensor:
    """Levels [3, side, side] in [0, 1]: rows that are shifted by about half a brick, no two bricks alike."""
    y, x = _places(side)
    y = y + 0.0022 * _cloud(side, 9, rng) + 0.0012 * _cloud(side, 40, rng)  # hands laid them
    x = x + 0.0030 * _cloud(side, 9, rng) + 0.0012 * _cloud(side, 40, rng)
    row = (y * ROWS).floor()
    shift = torch.rand(ROWS + 4, generator=rng) * 0.2 + torch.arange(ROWS + 4) % 2 * 0.5
    along = x * ROWS / LENGTH + shift[row.long() + 2]
    number = along.floor()
    down, across = y * ROWS - row, (along - number) * LENGTH  # in heights of a row, from the upper left corner
    to_edge = torch.minimum(torch.minimum(down, 1 - down), torch.minimum(across, LENGTH - across)) - JOINT / 2
    rough = 0.03 * _cloud(side, 50, rng) + 0.015 * _cloud(side, 140, rng)
    solid = ((to_edge + rough) / 0.05).clamp(0, 1)
    own = torch.randn(4, ROWS + 4, ROWS + 4, generator=rng)[:, row.long() + 2, number.long() + 2]  # of every brick

    red = _colour(0.56, 0.27, 0.20) + 0.055 * own[0] * _colour(1.0, 0.8, 0.6) + 0.03 * own[1] * _colour(0.4, -0.4, -0.9)
    red = red * (1 - 0.22 * (own[2] > 1.2))  # some were burnt too long
    red = red * (1 + 0.10 * _cloud(side, 30, rng) + 0.10 * _cloud(side, 110, rng))
    edge = (1 - to_edge / 0.14).clamp(0, 1)  # the rim is rounded: lit from above on the left
    red = red * (1 + edge * (0.16 * (down < 0.3) - 0.20 * (down > 0.7)))
    mortar = _colour(0.72, 0.69, 0.63) * (1 + 0.07 * _cloud(side, 25, rng) + 0.09 * _cloud(side, 130, rng))
    mortar = mortar * (1 - 0.35 * ((0.14 - down) / 0.14).clamp(0, 1))  # in the shadow of the brick above
    return torch.lerp(mortar, red, solid).clamp(0, 1)


def _cloth(side: int, rng: torch.Generator) -> Tensor:
    """Levels [3, side, side] in [0, 1]: threads that go over and under each other, of uneven thickness and dye."""
    y, x = _places(side)
    y = y + 0.004 * _cloud(side, 6, rng) + 0.0015 * _cloud(side, 30, rng)
    x = x + 0.004 * _cloud(side, 6, rng) + 0.0015 * _cloud(side, 30, rng)
    warp, weft = _thread(x, y, rng), _thread(y, x, rng)  # each: height above the cloth, shade, which thread
    high = warp[0] + 0.6 * torch.sin(math.pi * (y * THREADS + warp[2]))
    low = weft[0] - 0.6 * torch.sin(math.pi * (x * THREADS + weft[2]))
    above, height = high > low, torch.maximum(high, low)
    dye = torch.where(above, _colour(0.30, 0.38, 0.52) * warp[1], _colour(0.74, 0.68, 0.56) * weft[1])
    fibres = 1 + 0.10 * _cloud(side, 150, rng) + 0.05 * _cloud(side, 40, rng)
    return (dye * fibres * (0.45 + 0.42 * height.clamp(0, 1.5))).clamp(0, 1)


def _thread(across: Tensor, along: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Height of round threads, their shade and their numbers, each [side, side]."""
    place = across * THREADS
    number = place.floor()
    own = torch.randn(2, THREADS + 4, generator=rng)[:, number.long() + 2]
    breadth = 0.46 + 0.025 * own[0]
    height = (1 - ((place - number - 0.5) / breadth).square()).clamp(min=0).sqrt()
    twist = 0.07 * torch.sin(2 * math.pi * (along * THREADS * 1.7 + (place - number)))
    return height, 1 + 0.10 * own[1] + twist, number


KINDS: dict[str, Callable[[int, torch.Generator], Tensor]] = {"bricks": _bricks, "cloth": _cloth}


def _colour(red: float, green: float, blue: float) -> Tensor:
    """[3, 1, 1]."""
    return torch.tensor([red, green, blue])[:, None, None]


def _places(side: int) -> tuple[Tensor, Tensor]:
    """y and x of every pixel [side, side], in [0, 1]."""
    axis = (torch.arange(side) + 0.5) / side
    return axis[:, None].expand(side, side), axis[None].expand(side, side)


def _cloud(side: int, cells: int, rng: torch.Generator) -> Tensor:
    """Smooth noise [side, side] of about unit variance, with so many bumps along a side."""
    table = torch.randn(1, 1, cells + 3, cells + 3, generator=rng)
    wide = F.interpolate(table, scale_factor=math.ceil(side / cells), mode="bicubic", align_corners=False)
    return 1.3 * wide[0, 0, :side, :side]
