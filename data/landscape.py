"""A journey: the camera drives past hills, a windmill and trees while a balloon drifts across the sky.

What a film has and a texture has not: layers that move past each other, things that cover others, and a thing that
moves by itself.
"""

from collections.abc import Callable
from math import cos, pi, sin

import torch
from torch import Tensor

Scene = Callable[[float], Tensor]
"""From a moment in frames to an RGB picture [3, H, W], nominally in [0, 1]."""

HORIZON = 40.0  # scene pixels from the top, of 64


def journey(y: Tensor, x: Tensor, rng: torch.Generator) -> Scene:
    """The scene at rows y [H] and columns x [W] in scene pixels, 64 along the shorter side; drawn from rng."""
    noise = torch.rand(256, 256, generator=rng) * 2 - 1
    width = float(x[-1])
    speed = between(rng, 0.9, 1.2) * (1 if torch.rand((), generator=rng) < 0.5 else -1)
    hue = between(rng, -0.03, 0.03)
    zenith, haze = torch.tensor([0.28, 0.5, 0.86]) + hue, torch.tensor([0.86, 0.9, 0.95])
    far, near = torch.tensor([0.45, 0.55, 0.68]), torch.tensor([0.33, 0.5, 0.24]) + hue
    field = torch.tensor([0.62, 0.57, 0.28]) + hue
    balloon = _Balloon(rng, width)
    mill = _Mill(between(rng, 0.35, 0.6) * width, 0.45 * speed, rng)
    rows, columns = y[:, None], x[None]

    def ridge(at: Tensor, height: float, wave: float, place: float) -> Tensor:
        """Height of a range of hills [1, W] above the horizon."""
        return height * (0.55 + 0.45 * _fractal(noise, at / wave, torch.full_like(at, place), 4))

    def paint(time: float) -> Tensor:
        camera = speed * time
        sky = blend(zenith, haze, (rows / HORIZON).clamp(0, 1).expand(-1, len(x)))
        drift = columns + 0.12 * camera + 0.05 * time
        cloud = _fractal(noise, drift / 26, rows / 9, 5)
        picture = torch.lerp(sky, torch.ones(3, 1, 1), (1.6 * cloud - 0.1).clamp(0, 0.9))
        picture = balloon.over(picture, rows, columns, time, 0.15 * camera)

        at = columns + 0.22 * camera
        top = HORIZON - ridge(at, 17.0, 21.0, 3.7)
        shade = 1 + 0.22 * _fractal(noise, (at + rows) / 5, rows / 7, 3)
        picture = _cover(picture, far[:, None, None] * shade, rows - top)

        picture = mill.over(picture, rows, columns, time)
        at = columns + 0.45 * camera
        top = HORIZON + 3 - ridge(at, 8.0, 15.0, 9.2)
        woods = 0.75 + 0.45 * _fractal(noise, at / 2.2, rows / 1.6, 4)
        picture = _cover(picture, near[:, None, None] * woods, rows - top)

        # The plain: its rows move the faster the nearer they are, as a driver sees it.
        depth = 14 / (rows - HORIZON + 1.5).clamp(min=1.5)
        along = (columns - width / 2) * depth / 2 + 3.0 * camera / 2
        furrow = _fractal(noise, along / 2.6, depth * 9, 4)
        stripes = 0.5 + 0.5 * (2 * pi * along / 11).sin()
        plain = field[:, None, None] * (0.85 + 0.28 * furrow + 0.16 * stripes)
        return _cover(picture, plain, rows - HORIZON - 2.5 - 0 * columns)

    return paint


class _Balloon:
    """A striped hot-air balloon, which drifts and sways."""

    def __init__(self, rng: torch.Generator, width: float) -> None:
        self.start = between(rng, 0.2, 0.35) * width
        self.radius = between(rng, 9.5, 11.5)
        self.gores = 5
        first = torch.rand((), generator=rng)
        self.colours = torch.stack([_hue(float(first)), torch.tensor([0.97, 0.93, 0.82]), _hue(float(first) + 0.42)])

    def over(self, picture: Tensor, rows: Tensor, columns: Tensor, time: float, camera: float) -> Tensor:
        r = self.radius
        x0 = self.start + 0.55 * time - camera
        y0 = 17 - 0.06 * time + 0.8 * sin(2 * pi * time / 40)
        dx, dy = (columns - x0) / r, (rows - y0) / r
        narrow = 1 - 0.32 * dy.clamp(min=0)  # towards the mouth
        u = (dx / narrow).clamp(-1, 1)
        inside = r * (1 - ((dx / narrow).square() + (dy / 1.12).square()).sqrt())
        turn = torch.asin(u) / pi * 2 + 0.012 * time  # gores, on a ball that turns slowly
        band = (turn * self.gores).floor().long() % len(self.colours)
        seam = ((turn * self.gores) % 1 - 0.5).abs()
        light = (0.95 - 0.35 * (0.8 * u + 0.5 * dy + 0.2).clamp(-0.6, 1)) * (1 - 0.25 * (seam > 0.45))
        skin = self.colours[band].movedim(-1, 0) * light
        basket = torch.minimum(1.5 - (columns - x0).abs(), 1.3 - (rows - y0 - 1.62 * r).abs())
        ropes = torch.minimum(0.28 - ((columns - x0).abs() - 1.4 - 0.25 * (y0 + 1.62 * r - rows)).abs(),
                              torch.minimum(rows - y0 - 0.9 * r, y0 + 1.6 * r - rows))  # fmt: skip
        for shape in (ropes, basket):
            picture = _cover(picture, torch.tensor([0.32, 0.2, 0.1])[:, None, None].expand_as(picture), shape)
        return _cover(picture, skin, inside)


class _Mill:
    """A windmill on the hills, whose sails turn."""

    def __init__(self, place: float, speed: float, rng: torch.Generator) -> None:
        self.place, self.speed = place, speed
        self.turn = between(rng, 0.06, 0.09)

    def over(self, picture: Tensor, rows: Tensor, columns: Tensor, time: float) -> Tensor:
        x0, y0 = self.place + self.speed * (24 - time) + 14, HORIZON - 17
        dx, dy = columns - x0, rows - y0
        tower = torch.minimum(3.4 + 0.09 * dy - dx.abs(), dy)
        wall = torch.tensor([0.93, 0.9, 0.84])[:, None, None] * (0.9 - 0.09 * dx).clamp(0.55, 1) * (1 + 0 * dy)
        picture = _cover(picture, wall, tower)
        cap = torch.minimum(3.8 - dx.abs() + 1.1 * dy.clamp(max=0), dy + 3.2)
        picture = _cover(
            picture, torch.tensor([0.5, 0.17, 0.13])[:, None, None].expand_as(picture), torch.minimum(cap, 0.6 - dy)
        )
        for sail in range(4):
            angle = self.turn * time + sail * pi / 2
            along, across = dx * cos(angle) + dy * sin(angle), dy * cos(angle) - dx * sin(angle)
            frame = torch.minimum(0.4 - across.abs(), torch.minimum(along, 12.5 - along))
            cloth = torch.minimum(torch.minimum(across, 2.5 - across), torch.minimum(along - 3, 12.2 - along))
            lattice = 0.93 - 0.2 * ((along % 2.2) < 0.5).float()
            picture = _cover(picture, torch.tensor([0.98, 0.95, 0.88])[:, None, None] * lattice, cloth)
            picture = _cover(picture, torch.tensor([0.3, 0.2, 0.14])[:, None, None].expand_as(picture), frame)
        return picture


def _cover(picture: Tensor, paint: Tensor, inside: Tensor) -> Tensor:
    """The picture [3, H, W] under paint, where a signed distance [H, W] in scene pixels is above 0; edges are soft."""
    return torch.lerp(picture, paint, (inside / 0.4 + 0.5).clamp(0, 1))


def _fractal(table: Tensor, x: Tensor, y: Tensor, octaves: int) -> Tensor:
    """Value noise of several octaves of a periodic table [n, n], roughly in [-1, 1]; x and y broadcast together."""
    total, gain = torch.zeros(()), 1.0
    for octave in range(octaves):
        total = total + gain * _value(table, x + 37.3 * octave, y + 11.7 * octave)
        x, y, gain = 2.03 * x, 2.03 * y, 0.5 * gain
    return total / 1.2


def _value(table: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values of the table, smoothly interpolated."""
    x, y = torch.broadcast_tensors(x, y)
    corners, shares = [], []
    for place in (x, y):
        low = place.floor()
        part = place - low
        shares.append(part * part * (3 - 2 * part))
        corners.append((low.long() % len(table), (low.long() + 1) % len(table)))
    (x0, x1), (y0, y1) = corners
    upper = torch.lerp(table[y0, x0], table[y0, x1], shares[0])
    return torch.lerp(upper, torch.lerp(table[y1, x0], table[y1, x1], shares[0]), shares[1])


def blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Between two colours [3], by the share [H, W] of the second: [3, H, W]."""
    return torch.lerp(first[:, None, None], second[:, None, None], share)


def _hue(turn: float) -> Tensor:
    """A strong colour [3]; turns wrap."""
    wheel = (turn * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6
    return 0.15 + 0.75 * ((wheel - 3).abs() - 1).clamp(0, 1)


def between(rng: torch.Generator, low: float, high: float) -> float:
    """A number, evenly drawn."""
    return low + (high - low) * float(torch.rand((), generator=rng))
