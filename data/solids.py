"""Simple solids, drawn at any scale and painted on voxel grids so that parts which touch stay joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Box:
    low: Point
    high: Point


@dataclass(frozen=True)
class Tube:
    """Round, around the line from `start` to `end`."""

    start: Point
    end: Point
    radius: float


@dataclass(frozen=True)
class Disc:
    """Upright cylinder, or cone to `taper` times its width above; its section is an ellipse or a rectangle."""

    low: Point  # of its bounding box
    high: Point
    taper: float = 1.0
    square: bool = False


@dataclass(frozen=True)
class Bars:
    """A box of `num` bars along `axis`, the outer ones at its ends, with gaps at any resolution."""

    low: Point
    high: Point
    axis: int
    num: int
    thickness: float


Part = Box | Tube | Disc | Bars


def paint(parts: Sequence[Part], size: int) -> np.ndarray:
    """bool [N, N, N] with N = `size`: the parts scaled so that their longest side spans the grid, and centred.

    No part is thinner than a voxel. Parts that share a plane or overlap share faces of voxels.
    """
    ends = np.array([_bounds(part) for part in parts])  # [parts, 2, 3]
    low, high = ends[:, 0].min(0), ends[:, 1].max(0)
    scale = size / float((high - low).max())
    frame = _Frame(size, scale, (size - scale * (low + high)) / 2)
    grid = np.zeros((size, size, size), bool)
    for part in parts:
        if isinstance(part, Box):
            grid[_cut(frame.spans(part.low, part.high))] = True
        elif isinstance(part, Bars):
            _paint_bars(grid, frame, part)
        elif isinstance(part, Tube):
            _paint_tube(grid, frame, part)
        else:
            _paint_disc(grid, frame, part)
    return grid


@dataclass(frozen=True)
class _Frame:
    """From the drawing to the grid, in voxels: position = scale * place + offset."""

    size: int
    scale: float
    offset: np.ndarray

    def place(self, point: Point) -> np.ndarray:
        return self.scale * np.asarray(point) + self.offset

    def spans(self, low: Point, high: Point) -> list[tuple[int, int]]:
        """First voxel and the one behind the last, in x, y and z: at least one, and shared planes stay shared."""
        starts, ends = self.place(low), self.place(high)
        spans = []
        for axis, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            first, last = floor(start + 0.5), floor(end + 0.5)
            if axis == 0 and abs(start + end - self.size) < 1e-6:  # keeps its symmetry
                first = min(first, (self.size - 1) // 2)
                last = self.size - first
            elif last <= first:  # thinner than a voxel: flush parts stay below the slab that they carry
                first = floor((start + end) / 2) if axis == 2 else first - (2 * first > self.size)
            first = min(max(first, 0), self.size - 1)
            spans.append((first, min(max(last, first + 1), self.size)))
        return spans


def _bounds(part: Part) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(part, Tube):
        return np.array(part.low), np.array(part.high)
    start, end = np.array(part.start), np.array(part.end)
    wide = np.where(np.arange(3) == np.argmax(np.abs(end - start)), 0, part.radius)  # its ends are flat
    return np.minimum(start, end) - wide, np.maximum(start, end) + wide


def _paint_bars(grid: np.ndarray, frame: _Frame, bars: Bars) -> None:
    """Fewer and thinner bars than asked for where the grid is too coarse for gaps between them."""
    spans = frame.spans(bars.low, bars.high)
    first, last = spans[bars.axis]
    length = last - first
    num = max(2, min(bars.num, (length + 1) // 2))
    thick = max(1, min(round(bars.thickness * frame.scale), (length - num + 1) // num))
    for k in range((num + 1) // 2):
        start = first + floor(k * (length - thick) / (num - 1) + 0.5)
        mirrored = first + last - start - thick
        pair = [(start, start + thick), (mirrored, mirrored + thick)]
        if 2 * k + 1 == num:  # the one in the middle
            start = first + (length - thick) // 2
            pair = [(start, first + last - start)]
        for span in pair:
            spans[bars.axis] = span
            grid[_cut(spans)] = True


def _paint_tube(grid: np.ndarray, frame: _Frame, tube: Tube) -> None:
    """All centres within the radius of the line, and at least those of all voxels that it passes through."""
    start, end = frame.place(tube.start), frame.place(tube.end)
    radius = max(tube.radius * frame.scale, 3**0.5 / 2 + 0.01)
    low: Point = tuple(np.minimum(start, end) - radius)  # type: ignore[assignment]
    high: Point = tuple(np.maximum(start, end) + radius)  # type: ignore[assignment]
    spans = [(max(0, floor(a)), min(frame.size, ceil(b))) for a, b in zip(low, high, strict=True)]
    along = int(np.argmax(np.abs(end - start)))
    spans[along] = frame.spans(tuple(np.minimum(tube.start, tube.end)), tuple(np.maximum(tube.start, tube.end)))[along]
    centres = np.stack(np.meshgrid(*(np.arange(a, b) + 0.5 for a, b in spans), indexing="ij"), axis=-1)
    line = end - start
    share = np.clip((centres - start) @ line / (line @ line), 0, 1)
    grid[_cut(spans)] |= np.square(centres - start - share[..., None] * line).sum(-1) <= radius**2


def _paint_disc(grid: np.ndarray, frame: _Frame, disc: Disc) -> None:
    spans = frame.spans(disc.low, disc.high)
    low, high = frame.place(disc.low), frame.place(disc.high)
    x, y, z = np.meshgrid(*(np.arange(a, b) + 0.5 for a, b in spans), indexing="ij", sparse=True)
    share = np.clip((z - low[2]) / max(high[2] - low[2], 1e-9), 0, 1)
    shrink = 1 + (disc.taper - 1) * share
    middle, radii = (low + high) / 2, (high - low) / 2
    across = np.abs(x - middle[0]) / np.maximum(radii[0] * shrink, 0.8)
    along = np.abs(y - middle[1]) / np.maximum(radii[1] * shrink, 0.8)
    grid[_cut(spans)] |= np.maximum(across, along) <= 1 if disc.square else across**2 + along**2 <= 1


def _cut(spans: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    return tuple(slice(first, last) for first, last in spans)
