"""From a video file to pictures, safely: what is checked before, while and after PyAV decodes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from data.errors import InputError
from data.frames import check_memory

# Without the list a text file named .mp4 may be a playlist that opens other files (ffconcat, HLS).
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpeg"
MAX_PIXELS = 2**25  # a little more than 8K (7680 x 4320)
WHOLE_FILE = "give a whole mp4, mkv, webm, avi, mov or gif file"


@dataclass(frozen=True)
class Cut:
    """Which frames of a file: start, start + stride, ...; `frames` of them, None for all."""

    frames: int | None
    start: int
    stride: int

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 2:
            raise InputError(f"frames={self.frames} is too few; a video needs at least 2")
        if self.start < 0:
            raise InputError(f"start={self.start} is negative; frames are counted from 0")
        if self.stride < 1:
            raise InputError(f"stride={self.stride} is too small; it must be 1 (all) or more")

    def __str__(self) -> str:
        asked = f"start={self.start} stride={self.stride}"
        return asked if self.frames is None else f"{asked} frames={self.frames}"

    def takes(self, index: int) -> bool:
        return index >= self.start and (index - self.start) % self.stride == 0

    def count(self, available: int) -> int:
        """How many frames to take of a file that has so many."""
        taken = len(range(self.start, available, self.stride))
        return taken if self.frames is None else min(taken, self.frames)


def take(
    path: Path, cut: Cut, size: tuple[int, int] | None, convert: Callable[[np.ndarray], Tensor]
) -> tuple[list[Tensor], float]:
    """The frames of the cut, each from RGB bytes [h, w, 3] to [..., H, W] by `convert`; and the
    file's frames per second.

    `size` is the (H, W) that `convert` makes, None if it keeps the picture's. InputError as soon
    as it is known that the file does not do.
    """
    kept: list[Tensor] = []
    readable = 0
    with _open(path) as (container, stream):
        rate, declared = _header(path, container, stream)
        expected = cut.count(declared or 0) if cut.frames is None else cut.frames
        check_memory(expected, *(size or (stream.height, stream.width)), what=str(path))
        for index, frame in enumerate(_decode(path, container, stream)):
            readable = index + 1
            if not cut.takes(index):
                continue
            kept.append(convert(upright(frame)))
            check_memory(len(kept), *kept[-1].shape[-2:], what=str(path))
            if kept[-1].shape != kept[0].shape:
                raise InputError(f"{path}: pictures change size at frame {index}; give a size")
            if len(kept) == cut.frames:
                break
    _check_enough(path, cut, len(kept), readable, declared)
    return kept, rate


def check_file(path: Path) -> None:
    """InputError unless the path is a file with something in it."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file")
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); give a whole file")


def check_picture(path: Path, width: int, height: int) -> None:
    """InputError for pictures of more than 8K, or thinner than 2 pixels."""
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: {width}x{height} pixels are too many; shrink it to 7680x4320")
    if min(width, height) < 2:
        raise InputError(f"{path}: {width}x{height} pixels are too few; give at least 2x2")


def upright(frame: VideoFrame) -> np.ndarray:
    """RGB bytes [h, w, 3], turned as the file asks (phones store portrait clips lying down)."""
    turns = round(frame.rotation / 90)  # anticlockwise, as rot90 counts
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream, checked before anything is decoded."""
    check_file(path)
    try:
        # A resolved path begins with "/" and so is never taken for a protocol such as "concat:".
        container = av.open(str(path.resolve()), options={"format_whitelist": FORMATS})
    except (FFmpegError, UnicodeError) as error:
        raise InputError(f"{path}: not a video that can be read; {WHOLE_FILE}") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path}: holds no pictures, only sound or data; {WHOLE_FILE}")
        stream = container.streams.video[0]
        check_picture(path, stream.width, stream.height)
        # A stream may hold larger pictures than its container says: the decoder refuses those.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield container, stream


def _header(path: Path, container: InputContainer, stream: VideoStream) -> tuple[float, int | None]:
    """Frames per second, and how many frames the file declares (None where it declares nothing)."""
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise InputError(f"{path}: tells no frame rate; convert it to mp4 with a constant rate")
    declared = stream.frames or None
    if stream.duration is not None and stream.time_base is not None:
        # The mov family counts also the frames that its edit list trims away, but not their time;
        # elsewhere the duration may be a guess from the bytes that are left.
        if declared is None or "mov" in container.format.name:
            declared = round(stream.duration * stream.time_base * rate)
    elif declared is None and container.duration is not None and len(container.streams) == 1:
        declared = round(container.duration * rate / 1_000_000)
    return float(rate), declared


def _decode(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames up to the first damage: what comes after it would be made up by the decoder."""
    with suppress(FFmpegError):
        for frame in container.decode(stream):
            if frame.is_corrupt:
                return
            check_picture(path, frame.width, frame.height)
            yield frame


def _check_enough(path: Path, cut: Cut, kept: int, readable: int, declared: int | None) -> None:
    """InputError unless the cut is filled; an open cut (frames=None) wants all that is declared."""
    if kept == cut.frames:
        return
    # Healthy files miscount by a frame at their ends: one missing is no damage.
    damaged = declared is not None and readable < declared - 1
    found = f"{readable} frame{'' if readable == 1 else 's'}"
    if damaged:
        found += f" of {declared} (the file is damaged or cut short)"
    if readable < 2:
        raise InputError(f"{path}: holds {found} that can be read; a video needs at least 2")
    if kept < 2:
        raise InputError(f"{path}: holds {found}, too few for {cut}; lower start or stride")
    if damaged or cut.frames is not None:
        raise InputError(f"{path}: holds {found}, too few for {cut}; ask for frames={kept} or less")
