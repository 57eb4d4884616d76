"""Video: a float32 tensor [3, T, H, W] in [-1, 1]. Its masks: see `data.masks`.

clip, fps = read("clip.mp4", size=64, frames=32)
write("copy.mkv", clip, fps, lossless=True)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.decoding import Cut, take
from data.encoding import writing
from data.errors import InputError
from data.files import publish
from data.frames import from_uint8, parse_size, resample, to_uint8
from data.remuxing import Origin
from data.times import is_even

__all__ = ["Clip", "Cut", "Origin", "from_uint8", "read", "read_timed", "to_uint8", "write"]

WRITABLE = (".mp4", ".mkv", ".gif")


@dataclass(frozen=True)
class Clip:
    """A clip with the times of its frames.

    Attributes:
        clip: float32 [3, T, H, W] in [-1, 1].
        times: seconds of each frame from the first frame of the file.
        end: seconds when the last one ends.
        fps: frames a second; their mean where the times are not even.
        even: whether the times are those of `fps`.
        whole: whether it is the whole of the file, from the first frame to the end.
    """

    clip: Tensor
    times: tuple[float, ...]
    end: float
    fps: float
    even: bool
    whole: bool


def read(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    frames: int | None = None,
    start: int = 0,
    stride: int = 1,
    crop: bool = True,
) -> tuple[Tensor, float]:
    """Read a video of any kind in `data.containers.SUFFIXES`: (clip [3, T, H, W] in [-1, 1], its frames a second).

    `size` in pixels is the side of a square or (height, width), None the original; crop=True keeps
    the aspect ratio by a centre crop of the source, False squeezes. Frames start, start + stride,
    ... are taken: `frames` of them, None for all. It is as a player shows it: `data.decoding`.
    InputError, one line, for anything that cannot be read so.
    """
    taken = read_timed(path, size=size, cut=Cut(frames, start, stride), crop=crop)
    return taken.clip, taken.fps


def read_timed(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    cut: Cut | None = None,
    crop: bool = True,
    fps: float | None = None,
) -> Clip:
    """As `read`, with the time of every frame. `path` may be a folder of numbered pictures, at `fps`, 25 if None.

    InputError, one line, for anything that cannot be read so.
    """
    target = None if size is None else parse_size(size)

    def convert(picture: np.ndarray) -> Tensor:
        if target is None:
            return torch.from_numpy(picture).permute(2, 0, 1)
        return resample(picture, target, crop)

    taken = take(Path(path), cut or Cut(), target, convert, fps)
    clip = torch.stack(taken.frames, dim=1).float()
    clip = clip.div_(127.5).sub_(1).clamp_(-1, 1)
    return Clip(clip, tuple(taken.times), taken.end, taken.rate, taken.even, taken.whole)


def write(
    path: str | Path,
    clip: Tensor,
    fps: float,
    *,
    lossless: bool = False,
    times: Sequence[float] | None = None,
    origin: Origin | None = None,
) -> None:
    """Write a clip [3, T, H, W] in [-1, 1] at `fps` Hz; the ending of the name tells how.

    .mp4 is h264 yuv420p, which browsers play (odd sizes repeat their last row or column); .mkv is
    ffv1 and keeps every byte of `to_uint8`; .gif has 256 colours a frame and at most 50 Hz.
    lossless=True insists on .mkv. The file appears whole or not at all.
    `times` [T + 1]: seconds of every frame and of the end, where they are not even. `origin`: the file whose sound,
    subtitles and titles are copied; one warning line tells what cannot be.
    InputError for another ending or rate, OSError if the disk does not take it.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in WRITABLE:
        raise InputError(f"{path}: not a kind that is written; end it in {', '.join(WRITABLE)}")
    if lossless and kind != ".mkv":
        raise InputError(f"{path}: {kind} loses detail; end it in .mkv for lossless")
    if not (isfinite(fps) and 0 < fps <= 1000):
        raise InputError(f"{path}: fps={fps} is out of range; it must be above 0, at most 1000")
    if clip.ndim != 4 or clip.shape[0] != 3 or 0 in clip.shape:
        raise ValueError(f"a clip is [3, T, H, W] with none of them 0, got {list(clip.shape)}")
    even = times is None or is_even(times, fps)
    moments = np.arange(clip.shape[1] + 1) / fps if times is None else np.asarray(times, dtype=float)
    if len(moments) != clip.shape[1] + 1 or (np.diff(moments) <= 0).any():
        raise ValueError(f"times are {clip.shape[1]} and the end, each later than the one before, got {len(moments)}")
    pictures = to_uint8(clip)
    if kind == ".gif":
        publish(path, _encode_gif(pictures, moments))
        return
    with writing(path, rate=fps if even else None, origin=origin) as writer:
        for picture, moment, next_moment in zip(pictures, moments, moments[1:], strict=False):
            writer.add(picture, float(moment), float(next_moment - moment))


def _encode_gif(pictures: np.ndarray, moments: np.ndarray) -> bytes:
    # A gif counts in 1/100 s, and players slow down what is shorter than 2 of them. Moments are
    # rounded, not durations: so the whole clip keeps its time.
    shortest = float(np.diff(moments).min())
    ticks = np.round((moments - moments[0]) * 100 * max(1.0, 0.02 / shortest)).astype(int)
    first, *others = [Image.fromarray(picture) for picture in pictures]
    timing = {"duration": [int(length) * 10 for length in np.diff(ticks)], "loop": 0}
    buffer = BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, **timing)
    return buffer.getvalue()
