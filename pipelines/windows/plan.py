"""Which parts of a clip to look at: windows around what is hidden, with margins that tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipelines.windows.damage import Box, Damage

CELL = 8  # pixels a side of what the plan tells apart
Cells = tuple[int, int, int, int, int, int]
"""A box, its rows and columns in cells."""
FULL = 0.5  # share of its cells that is damaged of a box that is not worth parting
WORTH = 0.75  # a window is parted where the parts take less than this share of its volume
LEAST = (8, 4, 4)  # frames, and cells, of the damage in a window that is not parted further


@dataclass(frozen=True)
class Plan:
    """How windows are laid around what is hidden.

    Attributes:
        most: pixels of a window at most, margins and all, where damage allows it.
        frames: margin in time.
        pixels: margin in space.
    """

    most: int = 4_000_000
    frames: int = 12
    pixels: int = 32

    def windows(self, damage: Damage) -> list[Box]:
        """Boxes with their margins, in the order of time; all hidden pixels lie in one without its margins."""
        num, rows, columns = damage.size
        if len(damage.frames) == 0:
            return []
        cells = _cells(damage)
        breaks = (damage.frames.diff() > 2 * self.frames).nonzero().flatten() + 1
        found: list[Box] = []
        for part in np.split(np.arange(len(damage.frames)), breaks.numpy()):
            frames = damage.frames[part[0] : part[-1] + 1].numpy()
            run = np.zeros((frames[-1] - frames[0] + 1, *cells.shape[1:]), bool)
            run[frames - frames[0]] = cells[part[0] : part[-1] + 1]
            for t0, t1, y0, y1, x0, x1 in self._parted(run, (num, rows, columns)):
                core = Box(
                    t0 + int(frames[0]), t1 + int(frames[0]), CELL * y0, min(CELL * y1, rows),
                    CELL * x0, min(CELL * x1, columns),
                )  # fmt: skip
                found.append(self.around(core, damage.size))
        return sorted(found)

    def around(self, core: Box, size: tuple[int, int, int]) -> Box:
        """A box with its margins, within the clip."""
        lows = [max(0, low - more) for low, more in zip(core[::2], self.margins, strict=True)]
        highs = [min(n, high + more) for n, high, more in zip(size, core[1::2], self.margins, strict=True)]
        return Box(lows[0], highs[0], lows[1], highs[1], lows[2], highs[2])

    @property
    def margins(self) -> tuple[int, int, int]:
        """In time, rows and columns."""
        return self.frames, self.pixels, self.pixels

    def _volume(self, box: Cells, size: tuple[int, int, int]) -> int:
        """Pixels of a box of cells with its margins."""
        sides = (box[1] - box[0], CELL * (box[3] - box[2]), CELL * (box[5] - box[4]))
        return int(np.prod([min(n, s + 2 * more) for n, s, more in zip(size, sides, self.margins, strict=True)]))

    def _parted(self, occupied: np.ndarray, size: tuple[int, int, int]) -> list[Cells]:
        """Boxes of cells that hold all that is occupied, bool [t, h, w]."""

        def best(box: Cells) -> tuple[int, list[Cells]]:
            """Of ways to part a box: the volume of all parts with their margins, and the parts."""
            volume = self._volume(box, size)
            t0, t1, y0, y1, x0, x1 = box
            if volume <= self.most and occupied[t0:t1, y0:y1, x0:x1].mean() > FULL:
                return volume, [box]
            splits = list(_splits(occupied, box))
            if not splits:
                return volume, [box]
            pair = min(splits, key=lambda parts: sum(self._volume(part, size) for part in parts))
            (first, some), (second, others) = best(pair[0]), best(pair[1])
            if volume > self.most or first + second < WORTH * volume:
                return first + second, some + others
            return volume, [box]

        return best(_tight(occupied, (0, occupied.shape[0], 0, occupied.shape[1], 0, occupied.shape[2])))[1]


def _cells(damage: Damage) -> np.ndarray:
    """bool [k, cells of rows, cells of columns]: where something is hidden of each damaged frame."""
    rows, columns = damage.size[1:]
    found = []
    for bits in damage.bits:
        mask = np.unpackbits(bits.numpy(), count=rows * columns).reshape(rows, columns)
        padded = np.pad(mask, ((0, -rows % CELL), (0, -columns % CELL)))
        found.append(padded.reshape(padded.shape[0] // CELL, CELL, -1, CELL).any((1, 3)))
    return np.stack(found)


def _tight(occupied: np.ndarray, box: Cells) -> Cells:
    """The smallest box within one that holds all that is occupied there."""
    part = occupied[box[0] : box[1], box[2] : box[3], box[4] : box[5]]
    found: list[int] = []
    for axis in range(3):
        there = np.flatnonzero(part.any(tuple(a for a in range(3) if a != axis)))
        found += [box[2 * axis] + int(there[0]), box[2 * axis] + int(there[-1]) + 1]
    return _six(found)


def _six(numbers: list[int]) -> Cells:
    t0, t1, y0, y1, x0, x1 = numbers
    return t0, t1, y0, y1, x0, x1


def _splits(occupied: np.ndarray, box: Cells) -> Iterator[tuple[Cells, Cells]]:
    """Ways to part a box: in the middle of each axis, and in its widest gap."""
    part = occupied[box[0] : box[1], box[2] : box[3], box[4] : box[5]]
    for axis in range(3):
        length = part.shape[axis]
        if length < 2 * LEAST[axis]:
            continue
        there = np.flatnonzero(part.any(tuple(a for a in range(3) if a != axis)))
        gaps = np.diff(there)
        places = {length // 2}
        if len(gaps) and gaps.max() > 1:
            widest = int(gaps.argmax())
            places.add(int(there[widest] + there[widest + 1] + 1) // 2)
        for place in sorted(places):
            if 0 < place < length:
                low, high = list(box), list(box)
                low[2 * axis + 1] = high[2 * axis] = box[2 * axis] + place
                yield _tight(occupied, _six(low)), _tight(occupied, _six(high))


def joint(window: Box, size: tuple[int, int, int], margins: tuple[int, int, int]) -> Tensor:
    """Weights [t, h, w] above 0 by which values of a window are joined to those of others that overlap it: they fall
    linearly over its margins, but not towards an end of the clip."""
    ramps = []
    for low, high, n, more in zip(window[::2], window[1::2], size, margins, strict=True):
        at = torch.arange(low, high, dtype=torch.float32)
        far = torch.full_like(at, float(more + 1))
        if low > 0:
            far = torch.minimum(far, at - low + 1)
        if high < n:
            far = torch.minimum(far, high - at)
        ramps.append(far / (more + 1))
    return ramps[0][:, None, None] * ramps[1][:, None] * ramps[2]


class Joined:
    """Values of hidden pixels [C, N] as windows give them, joined where these overlap.

    Args:
        damage: what is hidden.
        channels: C.
        plan: of the windows.
    """

    def __init__(self, damage: Damage, channels: int, plan: Plan) -> None:
        self.damage, self.plan = damage, plan
        self.total = torch.zeros(channels, damage.num)
        self.weight = torch.zeros(damage.num)

    def add(self, window: Box, x: Tensor) -> None:
        """A window's values [C, t, h, w]."""
        self.add_hidden(window, x[:, self.damage.masks(window)])

    def add_hidden(self, window: Box, values: Tensor) -> None:
        """A window's values [C, n] of what is hidden there."""
        mask, numbers = self.damage.masks(window), self.damage.numbers(window)
        weight = joint(window, self.damage.size, self.plan.margins)[mask]
        self.total[:, numbers] += values * weight
        self.weight[numbers] += weight

    @property
    def values(self) -> Tensor:
        """[C, N]; 0 where no window was."""
        return self.total / self.weight.clamp(min=1e-12)
