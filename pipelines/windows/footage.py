"""A clip too large to be held whole: it is read frame by frame, as often as it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.decoding import Cut, Frame, frames
from data.errors import InputError
from data.frames import resample
from data.times import rate_of


@dataclass(frozen=True)
class Footage:
    """Frames of a file.

    Attributes:
        path: of the video.
        cut: which frames.
        size: (height, width) that each is brought to; None: their own.
        crop: whether that keeps the aspect ratio.
        shape: (3, T, H, W).
        times: [T + 1], seconds of every frame from the first of the file, and of the end.
        fps: frames a second, their mean where the times are not even.
        even: whether they are.
        whole: whether it is the whole of the file.
    """

    path: str
    cut: Cut
    size: tuple[int, int] | None
    crop: bool
    shape: tuple[int, int, int, int] = (3, 0, 0, 0)
    times: tuple[float, ...] = ()
    fps: float = 25.0
    even: bool = True
    whole: bool = True

    def timed(self) -> Iterator[Frame]:
        """Its frames as they are in the file, with their times."""
        return frames(Path(self.path), self.cut)

    def frames(self) -> Iterator[Tensor]:
        """uint8 [3, H, W]; float in [-1, 1] where their size is changed."""
        for frame in self.timed():
            yield self.fitted(frame.picture)

    def fitted(self, picture: np.ndarray) -> Tensor:
        """A frame, bytes [h, w, 3], at the size of the clip."""
        if self.size is None:
            return torch.from_numpy(picture).permute(2, 0, 1)
        return (resample(picture, self.size, self.crop) / 127.5 - 1).clamp(-1, 1)


def opened(footage: Footage) -> Footage:
    """With shape and times, for which the file is read once. InputError: it cannot be read to its end, or its frames
    are of several sizes."""
    times: list[float] = []
    end = 0.0
    shape: tuple[int, int] | None = None
    for frame in footage.timed():
        times.append(frame.time)
        end = frame.time + frame.duration
        found = footage.size or (frame.picture.shape[0], frame.picture.shape[1])
        if shape is not None and found != shape:
            raise InputError(f"{footage.path}: pictures change size at frame {len(times) - 1}; give a load.size")
        shape = found
    if shape is None or len(times) < 2:
        raise InputError(f"{footage.path}: holds {len(times)} frames from frame {footage.cut.start} on; give a video")
    fps, even = rate_of(times, end, None)
    return replace(
        footage, shape=(3, len(times), *shape), times=(*times, end), fps=fps, even=even, whole=footage.cut == Cut()
    )
