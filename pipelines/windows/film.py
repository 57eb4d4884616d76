"""The frames of a clip in order, of which only those of the next window are held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from pipelines.windows.damage import Box


def parts(frames: Iterable[Tensor], boxes: Sequence[Box]) -> Iterator[tuple[Box, Tensor]]:
    """Each box, in the order of their first frames, with its part of the clip, float [C, t, h, w] in [-1, 1].

    frames: of the clip, uint8 levels or float [C, H, W]; they are read once, and no further than the last box.
    """
    held: dict[int, Tensor] = {}
    coming = iter(enumerate(frames))
    for box in sorted(boxes):
        for number in [number for number in held if number < box.t0]:
            del held[number]
        while len(held) < box.t1 - box.t0:
            number, frame = next(coming)
            if number >= box.t0:
                held[number] = frame
        yield box, torch.stack([levels(held[t][(slice(None), *box.place)]) for t in range(box.t0, box.t1)], 1)


def levels(frame: Tensor) -> Tensor:
    """uint8 levels as numbers in [-1, 1]; these as they are."""
    return frame if frame.is_floating_point() else frame.float() / 127.5 - 1
