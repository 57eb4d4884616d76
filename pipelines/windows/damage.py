"""What is hidden of a clip, and the values that belong there: kept for what is hidden alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MOST_BYTES = 2**30
"""Of a mask that is kept; an hour of damage in every frame of a large clip is too much at once."""


class Box(NamedTuple):
    """Part of a clip: frames t0 to t1 - 1, rows y0 to y1 - 1, columns x0 to x1 - 1."""

    t0: int
    t1: int
    y0: int
    y1: int
    x0: int
    x1: int

    @classmethod
    def around(cls, clip: Tensor) -> Box:
        """All of a clip [..., T, H, W]."""
        t, h, w = clip.shape[-3:]
        return cls(0, t, 0, h, 0, w)

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""
        return self.t1 - self.t0, self.y1 - self.y0, self.x1 - self.x0

    @property
    def volume(self) -> int:
        """Pixels of all frames."""
        frames, rows, columns = self.size
        return frames * rows * columns

    @property
    def where(self) -> tuple[slice, slice, slice]:
        """Frames, rows and columns of a clip."""
        return slice(self.t0, self.t1), slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of a frame."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True, eq=False)
class Damage:
    """The hidden pixels of a clip of `size` (T, H, W).

    Hidden pixels are counted frame by frame, row by row; values of them are kept in that order, [C, N].

    Attributes:
        size: frames, rows, columns of the clip.
        frames: [k] those of which something is hidden, ascending.
        bits: uint8 [k, bytes], eight pixels a byte, of these frames.
    """

    size: tuple[int, int, int]
    frames: Tensor
    bits: Tensor
    _latest: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, size: tuple[int, int, int], masks: Iterable[tuple[int, Tensor]]) -> Damage:
        """Of the number and the mask, bool [H, W], of each frame in order. ValueError: more than a gibibyte."""
        frames: list[int] = []
        bits: list[np.ndarray] = []
        each = -(-size[1] * size[2] // 8)
        for number, mask in masks:
            if bool(mask.any()):
                frames.append(number)
                bits.append(np.packbits(mask.numpy().reshape(-1)))
                if len(bits) * each > MOST_BYTES:
                    raise ValueError(f"more than {len(bits)} damaged frames of {size[2]}x{size[1]} pixels at once")
        kept = np.stack(bits) if bits else np.zeros((0, each), np.uint8)
        return cls(size, torch.tensor(frames, dtype=torch.long), torch.from_numpy(kept))

    @classmethod
    def whole(cls, mask: Tensor) -> Damage:
        """Of a mask bool [T, H, W]."""
        frames, rows, columns = mask.shape
        return cls.of((frames, rows, columns), enumerate(mask))

    @cached_property
    def counts(self) -> Tensor:
        """[k], hidden pixels of each damaged frame."""
        ones = torch.from_numpy(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.int64))
        return torch.stack([ones[row.long()].sum() for row in self.bits]) if len(self.bits) else self.frames

    @cached_property
    def firsts(self) -> Tensor:
        """[k + 1], which number the first hidden pixel of each damaged frame has; last, how many there are."""
        return torch.cat([torch.zeros(1, dtype=torch.long), self.counts.cumsum(0)])

    @property
    def num(self) -> int:
        """Hidden pixels of all frames, N."""
        return int(self.counts.sum())

    @property
    def share(self) -> float:
        """Of all pixels."""
        return self.num / float(np.prod(self.size))

    def mask(self, frame: int) -> Tensor:
        """bool [H, W] of a frame."""
        return self._frame(frame)[0]

    def masks(self, box: Box) -> Tensor:
        """bool [t, h, w] of a part."""
        return torch.stack([self.mask(t)[box.place] for t in range(box.t0, box.t1)])

    def numbers(self, box: Box) -> Tensor:
        """[n], which hidden pixels lie in a part: frame by frame, row by row."""
        found = [self._frame(t) for t in range(box.t0, box.t1)]
        return torch.cat([numbers[box.place][mask[box.place]] for mask, numbers in found])

    def numbers_of(self, frame: int) -> Tensor:
        """[n], which hidden pixels are those of a frame, row by row."""
        mask, numbers = self._frame(frame)
        return numbers.expand_as(mask)[mask]

    def pasted(self, picture: Tensor, frame: int, values: Tensor) -> Tensor:
        """A frame [C, H, W] with the values [C, N] of what is hidden of it, in the picture's number format."""
        mask = self.mask(frame)
        if not mask.any():
            return picture
        picture = picture.clone()
        picture[:, mask] = values[:, self.numbers_of(frame)].to(picture.dtype)
        return picture

    def _frame(self, frame: int) -> tuple[Tensor, Tensor]:
        """Mask bool [H, W] of a frame, and the numbers [H, W] of its hidden pixels."""
        if frame not in self._latest:
            rows, columns = self.size[1:]
            at = int(torch.searchsorted(self.frames, frame))
            if at == len(self.frames) or int(self.frames[at]) != frame:
                mask = torch.zeros(rows, columns, dtype=torch.bool)
                numbers = torch.zeros((), dtype=torch.long).expand(rows, columns)
            else:
                flat = np.unpackbits(self.bits[at].numpy(), count=rows * columns).astype(bool)
                mask = torch.from_numpy(flat).view(rows, columns)
                numbers = (mask.flatten().cumsum(0) - 1 + self.firsts[at]).view(rows, columns)
            while len(self._latest) >= 2:
                self._latest.pop(next(iter(self._latest)))
            self._latest[frame] = mask, numbers
        return self._latest[frame]
