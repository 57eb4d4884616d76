"""Furniture made from a seed: chairs, tables, shelves and lamps with named parts, as voxel grids.

A piece is drawn in centimetres first, from (kind, seed, index) alone, and then painted on the grid:
so it is the same piece at every size. x runs to its right (all but shelves and one-sided desks are
mirror-symmetric in x), y from front to back, z up. It is one part, joined face to face.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin
from typing import TypeVar

import numpy as np

from data.errors import InputError
from data.solids import Bars, Box, Disc, Part, Tube, paint

KINDS = ("chair", "table", "shelf", "lamp")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "legs": ("none", "straight", "splayed", "pedestal", "panel"),
    "back": ("none", "solid", "slats", "rungs"),
    "arms": ("none", "open", "closed"),
    "top": ("square", "round"),
    "drawers": ("none", "some"),
}
"""The parts that every piece is labelled with, and what they can be: "none" where it has no such
part. `top` is the outline of seat, table top, shelf board or lampshade."""

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Draft:
    parts: list[Part]
    labels: dict[str, str]


def make(kind: str, *, seed: int, index: int, size: int) -> tuple[np.ndarray, dict[str, str]]:
    """Piece `index` of `seed`: bool [N, N, N] with N = `size`, and its labels, a value for each of ATTRIBUTES.

    Its longest side spans the grid, and it is centred. Made to look right from 16 up. InputError
    for a kind that is not in KINDS, fewer than 4 voxels a side, or a negative seed.
    """
    kinds: dict[str, Callable[[np.random.Generator], Draft]] = dict(
        zip(KINDS, (_chair, _table, _shelf, _lamp), strict=True)
    )
    if kind not in kinds:
        raise InputError(f"furniture {kind!r} does not exist; take {', '.join(KINDS)}")
    if size < 4:
        raise InputError(f"size={size} is too small for furniture; take 16 or more")
    if seed < 0 or index < 0:
        raise InputError(f"seed={seed}, index={index}: neither may be negative; count from 0")
    draft = kinds[kind](np.random.default_rng([KINDS.index(kind), seed, index]))
    return paint(draft.parts, size), {
        "legs": "none",
        "back": "none",
        "arms": "none",
        "top": "square",
        "drawers": "none",
    } | draft.labels


# Designs, in centimetres; x = 0 is the middle, y = 0 the middle of the seat or top, z = 0 the floor


def _chair(rng: np.random.Generator) -> Draft:
    w, d = rng.uniform(42, 58), rng.uniform(42, 54)
    seat, thick = rng.uniform(38, 50), rng.uniform(4, 9)
    tall = seat + rng.uniform(34, 62)
    legs = _pick(rng, "straight", "splayed", "pedestal", "panel")
    back = _pick(rng, "solid", "slats", "rungs", "solid", "slats", "rungs", "none")
    arms = _pick(rng, "none", "open", "closed") if back != "none" else "none"
    top = _pick(rng, "square", "square", "round")
    inner = 0.36 if top == "round" else 0.5  # of w and d: what the seat surely covers
    x, y = inner * w, inner * d
    slab = (-w / 2, -d / 2, seat - thick), (w / 2, d / 2, seat)
    parts: list[Part] = [Disc(*slab) if top == "round" else Box(*slab)]
    parts += _legs(rng, legs, x, y, seat - thick, w, d)
    post = rng.uniform(3.5, 6)
    if back != "none":
        parts += _back(rng, back, x, y, post, seat - thick, tall)
    if arms != "none":
        rest = seat + rng.uniform(17, 25)
        parts += _both(lambda s: _span(s * (x - post), s * x, (-0.9 * y, y), (rest - 4, rest)))
        if arms == "closed":
            parts += _both(lambda s: _span(s * (x - post), s * x, (-0.9 * y, y), (seat - thick, rest)))
        else:
            parts += _both(lambda s: _span(s * (x - post), s * x, (-0.9 * y, -0.9 * y + post), (seat - thick, rest)))
    return Draft(parts, {"legs": legs, "back": back, "arms": arms, "top": top})


def _table(rng: np.random.Generator) -> Draft:
    low = rng.random() < 0.3  # a coffee table
    w, d = rng.uniform(80, 160), rng.uniform(60, 95)
    h, thick = rng.uniform(36, 50) if low else rng.uniform(64, 80), rng.uniform(3, 8)
    legs = _pick(rng, "straight", "splayed", "pedestal", "panel")
    top = _pick(rng, "square", "square", "round")
    drawers = "some" if top == "square" and legs in ("straight", "panel") and rng.random() < 0.55 else "none"
    if top == "round" and rng.random() < 0.6:
        w = d = 0.5 * (w + d)
    inner = 0.35 if top == "round" else 0.5
    slab = (-w / 2, -d / 2, h - thick), (w / 2, d / 2, h)
    parts: list[Part] = [Disc(*slab) if top == "round" else Box(*slab)]
    parts += _legs(rng, legs, inner * w, inner * d, h - thick, w, d)
    sides = rng.integers(1, 3) if drawers == "some" else 0
    if sides:
        wide, deep = rng.uniform(0.24, 0.32) * w, rng.uniform(0.55, 0.95) * (h - thick)
        drawn = max(2, round(deep / 18))
        for s in (-1, 1)[:sides]:
            outer, under = s * (0.5 * w - 1), h - thick
            chest = _span(outer, outer - s * wide, (-0.5 * d + 8, 0.45 * d), (under - deep, under + 1))
            front = Bars(
                (chest.low[0], -0.5 * d + 1, under - deep),
                (chest.high[0], -0.5 * d + 9, under),
                2,
                drawn,
                deep / drawn - 4,
            )
            parts += [chest, front]
    elif legs == "straight" and rng.random() < 0.5:  # an apron under the top
        x, y = 0.46 * w * inner / 0.5, 0.46 * d * inner / 0.5
        parts += [Box((-x, s * y - 1.5, h - thick - 8), (x, s * y + 1.5, h - thick + 1)) for s in (-1, 1)]
        parts += _both(lambda s: _span(s * x - 1.5, s * x + 1.5, (-y, y), (h - thick - 8, h - thick + 1)))
    return Draft(parts, {"legs": legs, "top": top, "drawers": drawers})


def _shelf(rng: np.random.Generator) -> Draft:
    w, d, h = rng.uniform(60, 120), rng.uniform(26, 42), rng.uniform(80, 200)
    legs = _pick(rng, "panel", "panel", "straight", "splayed")
    back = _pick(rng, "none", "solid")
    drawers = _pick(rng, "none", "none", "some")
    board, foot = rng.uniform(2.5, 5), rng.uniform(8, 16) if legs == "splayed" else 0.0
    num = int(np.clip(round((h - foot) / rng.uniform(28, 45)), 2, 5)) + 1
    parts: list[Part] = [Bars((-w / 2, -d / 2, foot), (w / 2, d / 2, h), 2, num, board)]
    if legs == "straight":
        post = rng.uniform(3, 5)
        parts += _posts(w / 2, d / 2, post, h)
    else:
        parts += _both(lambda s: _span(s * (w / 2 - board), s * w / 2, (-d / 2, d / 2), (foot, h)))
    if legs == "splayed":
        feet = [(s, t) for s in (-1, 1) for t in (-1, 1)]
        parts += [
            Tube((s * 0.38 * w, t * 0.3 * d, foot + board), (s * 0.46 * w, t * 0.44 * d, 0), 2.5) for s, t in feet
        ]
    if back == "solid":
        parts.append(Box((-w / 2, d / 2 - 3, foot), (w / 2, d / 2, h)))
    gap = (h - foot - board) / (num - 1)
    if drawers == "some":  # the lowest compartment is a chest, its fronts stand out in two columns
        parts.append(Box((-w / 2, -d / 2 + 8, foot), (w / 2, d / 2, foot + gap)))
        parts.append(
            Bars((-w / 2 + board, -d / 2 + 1, foot + 1), (w / 2 - board, -d / 2 + 9, foot + gap - 2), 0, 2, 0.42 * w)
        )
    for level in range(1 if drawers == "some" else 0, num - 1):
        if rng.random() < 0.45:
            at = rng.uniform(-0.3, 0.3) * w
            floor = foot + gap * level
            parts.append(Box((at, -d / 2, floor), (at + board, d / 2, floor + gap + board / 2)))
    return Draft(parts, {"legs": legs, "back": back, "drawers": drawers})


def _lamp(rng: np.random.Generator) -> Draft:
    h = rng.uniform(44, 70)
    legs = _pick(rng, "pedestal", "pedestal", "splayed")
    top = _pick(rng, "round", "round", "square")
    shade, high = rng.uniform(12, 19), rng.uniform(0.26, 0.42) * h
    taper = _pick(rng, 1.0, 0.75, 0.45)
    pole, base = rng.uniform(1.4, 2.6), rng.uniform(9, 15)
    parts: list[Part] = [Tube((0, 0, 0 if legs == "pedestal" else 0.4 * h), (0, 0, h - high / 2), pole)]
    if legs == "pedestal":
        plate = (-base, -base, 0), (base, base, rng.uniform(2, 5))
        parts.append(Box(*plate) if rng.random() < 0.3 else Disc(*plate, taper=rng.uniform(0.5, 1)))
        if rng.random() < 0.4:  # a bellied body
            parts.append(Disc((-base * 0.8, -base * 0.8, 1), (base * 0.8, base * 0.8, 0.36 * h), taper=0.3))
    else:
        angles = [pi / 2 + 2 * pi * k / 3 for k in range(3)]
        parts += [Tube((0, 0, 0.45 * h), (base * 1.2 * cos(a), base * 1.2 * sin(a), 0), pole) for a in angles]
    parts.append(Disc((-shade, -shade, h - high), (shade, shade, h), taper, square=top == "square"))
    return Draft(parts, {"legs": legs, "top": top})


def _legs(rng: np.random.Generator, style: str, x: float, y: float, top: float, w: float, d: float) -> list[Part]:
    """Legs from the floor up to `top`, where they stand within +-x and +-y of a slab that is w by d."""
    thick = rng.uniform(3.5, 6.5)
    if style == "straight":
        bars: list[Part] = []
        if rng.random() < 0.35:  # a stretcher all around
            z = rng.uniform(0.2, 0.4) * top
            bars += _both(lambda s: _span(s * (x - thick), s * x, (-y, y), (z, z + 3)))
            bars += [
                Box((-x, s * y - (thick if s > 0 else 0), z), (x, s * y + (thick if s < 0 else 0), z + 3))
                for s in (-1, 1)
            ]
        return _posts(x, y, thick, top + 1) + bars
    if style == "splayed":
        feet = [(s, t) for s in (-1, 1) for t in (-1, 1)]
        a, b = min(0.8 * x, x - 2), min(0.8 * y, y - 2)
        return [Tube((s * a, t * b, top + 1), (s * 0.5 * w, t * 0.5 * d, 0), thick / 2) for s, t in feet]
    if style == "panel":
        return _both(lambda s: _span(s * (x - thick), s * x, (-y, y), (0, top + 1)))
    parts: list[Part] = [Tube((0, 0, 0), (0, 0, top + 1), rng.uniform(2.5, 5) * (1 + (w > 70)))]
    if rng.random() < 0.5:
        r = rng.uniform(0.3, 0.42) * min(w, d)
        return [*parts, Disc((-r, -r, 0), (r, r, rng.uniform(2.5, 5)), taper=rng.uniform(0.6, 1))]
    r, num = rng.uniform(0.4, 0.5) * min(w, d), int(rng.integers(4, 6))
    spokes = [(r * cos(a), r * sin(a)) for a in (-pi / 2 + 2 * pi * k / num for k in range(num))]
    return parts + [Tube((0, 0, 4), (a, b, 1.5), 2.2) for a, b in spokes]


def _back(rng: np.random.Generator, style: str, x: float, y: float, post: float, low: float, high: float) -> list[Part]:
    """A back between +-x whose rear is at y, from within the seat (low) up to `high`."""
    front = y - post
    if style == "solid":
        return [Box((-x, front, low), (x, y, high))]
    rail = rng.uniform(5, 10)
    if style == "slats":
        bars = Bars((-x, front, low), (x, y, high), 0, int(rng.integers(4, 7)), rng.uniform(3, 5))
        return [bars, Box((-x, front, high - rail), (x, y, high))]
    start = low + rng.uniform(0.3, 0.45) * (high - low)
    rungs = Bars((-x, front, start), (x, y, high), 2, int(rng.integers(2, 5)), rng.uniform(4, 7))
    return [*_both(lambda s: _span(s * (x - post), s * x, (front, y), (low, high))), rungs]


def _posts(x: float, y: float, thick: float, top: float) -> list[Part]:
    near = (-y, -y + thick), (y - thick, y)
    return [part for span in near for part in _both(lambda s, span=span: _span(s * (x - thick), s * x, span, (0, top)))]


def _both(side: Callable[[int], Part]) -> list[Part]:
    return [side(-1), side(1)]


def _span(x: float, to: float, y: tuple[float, float], z: tuple[float, float]) -> Box:
    return Box((min(x, to), y[0], z[0]), (max(x, to), y[1], z[1]))


def _pick(rng: np.random.Generator, *choices: Choice) -> Choice:
    return choices[int(rng.integers(len(choices)))]
