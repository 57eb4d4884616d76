"""From a video, or a folder of numbered pictures, to its frames: one at a time, each with its own time.

for picture, time, duration in frames(Path("clip.mp4")):   # uint8 [H, W, 3], seconds, seconds
    ...
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from av.codec.context import CodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from data import containers, frame_folders, upright, words
from data.containers import check_picture
from data.deinterlacing import deinterlaced
from data.errors import InputError
from data.frames import check_memory
from data.probing import Probe, counted, probe
from data.times import Clock, Damaged, Shown, lasting, rate_of

__all__ = ["Cut", "Damaged", "Frame", "Taken", "frames", "take"]


class Frame(NamedTuple):
    """A frame as a player shows it.

    Attributes:
        picture: uint8 [H, W, 3], RGB, upright, square pixels; [H, W, 4] where alpha was asked for.
        time: seconds from the first frame of the file.
        duration: seconds until the next one.
    """

    picture: np.ndarray
    time: float
    duration: float


@dataclass(frozen=True)
class Cut:
    """Which frames of a file: start, start + stride, ...; `frames` of them, None for all."""

    frames: int | None = None
    start: int = 0
    stride: int = 1

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


@dataclass(frozen=True)
class Taken:
    """The frames of a cut.

    Attributes:
        frames: each as it was converted.
        times: seconds of each from the first frame of the file.
        end: seconds when the last one ends.
        rate: frames taken a second: as the file declares it where the times are even, else their mean.
        even: whether the times are those of the rate.
        whole: whether the cut begins with the first frame and reaches the end of the file.
    """

    frames: list[Tensor]
    times: list[float]
    end: float
    rate: float
    even: bool
    whole: bool


def frames(path: Path, cut: Cut | None = None, *, alpha: bool = False, fps: float | None = None) -> Iterator[Frame]:
    """The frames of a video or of a folder of numbered pictures, one after the other; memory does not grow.

    Turned and mirrored as the file asks, pixels made square, interlaced frames deinterlaced, high dynamic range mapped
    to standard range, transparent over white; deinterlacing and mapping are told in one warning line.
    `cut`: the frames of it alone; the duration is `stride` times that of the frame. `alpha`: [H, W, 4], over nothing.
    `fps`: frames a second of a folder of pictures, 25 if None; a file has its own times.
    InputError as soon as it is known that the file does not do. Damaged at the end of what can be read.
    """
    cut, taken = cut or Cut(), 0
    for index, (shown, duration) in enumerate(lasting(_shown(path, alpha, fps))):
        if cut.takes(index):
            yield Frame(shown.picture(), shown.time, duration * cut.stride)
            taken += 1
            if taken == cut.frames:
                return


def take(
    path: Path,
    cut: Cut,
    size: tuple[int, int] | None,
    convert: Callable[[np.ndarray], Tensor],
    fps: float | None = None,
) -> Taken:
    """The frames of the cut, each from RGB bytes [h, w, 3] to [..., H, W] by `convert`, with their times.

    `size` is the (H, W) that `convert` makes, None if it keeps the picture's. InputError as soon
    as it is known that the file does not do.
    """
    kept: list[Tensor] = []
    marks: list[tuple[float, float]] = []
    readable, whole = 0, cut.start == 0
    damage: Damaged | None = None
    found = probe(path, fps)
    _check_room(path, cut, found, size or found.size)
    try:
        for index, (shown, duration) in enumerate(lasting(_shown(path, False, fps))):
            readable = index + 1
            if not cut.takes(index):
                continue
            if len(kept) == cut.frames:
                whole = False
                break
            kept.append(convert(shown.picture()))
            marks.append((shown.time, duration))
            check_memory(len(kept), *kept[-1].shape[-2:], what=str(path))
            if kept[-1].shape != kept[0].shape:
                raise InputError(f"{path}: pictures change size at frame {index}; give a size")
    except Damaged as error:
        damage, whole = error, False
    _check_enough(path, cut, len(kept), readable, damage)
    times = [time for time, _ in marks]
    end = times[-1] + marks[-1][1] * cut.stride
    rate, even = rate_of(times, end, None if found.declared is None else found.declared / cut.stride)
    return Taken(kept, times, end, rate, even, whole)


def _shown(path: Path, alpha: bool, fps: float | None) -> Iterator[Shown]:
    if path.is_dir():
        return _of_folder(path, alpha, fps or frame_folders.RATE)
    if fps is not None:
        raise InputError(f"{path}: has times of its own; fps={fps:g} is for a folder of frames")
    return _of_file(path, alpha)


def _of_folder(folder: Path, alpha: bool, fps: float) -> Iterator[Shown]:
    for index, path in enumerate(frame_folders.pictures_of(folder)):
        yield Shown(index / fps, 1 / fps, partial(frame_folders.one, path, alpha))


def _of_file(path: Path, alpha: bool) -> Iterator[Shown]:
    with containers.opened(path) as (container, stream):
        clock, aspect = Clock(container, stream), containers.aspect_of(stream)
        told: set[str] = set()
        for frame, combed in deinterlaced(_decoded(path, container, stream, clock)):
            curve = upright.range_of(frame)
            _tell(path, told, curve and f"is HDR ({curve}); it is shown in standard range, white at 203 cd/m2")
            _tell(path, told, "is interlaced; it is deinterlaced" if combed else None)
            yield Shown(*clock.time(frame), partial(upright.picture, frame, aspect, alpha))
        clock.check(path)


def _tell(path: Path, told: set[str], line: str | None) -> None:
    if line and line not in told:
        told.add(line)
        warnings.warn(f"{path}: {line}", stacklevel=3)


def _decoded(path: Path, container: InputContainer, stream: VideoStream, clock: Clock) -> Iterator[VideoFrame]:
    """Frames up to the first damage: what comes after it would be made up by the decoder. What cannot be read before
    the first frame that can is left out: a recording may begin between two whole pictures."""
    decoder, skipped, started, torn = _decoder(stream), 0, False, 0
    try:
        for packet in container.demux():
            clock.packet(packet)
            if packet.stream is not stream or clock.broken:
                continue
            found = _decode(decoder, packet)
            torn += packet.is_corrupt
            if found is None or (packet.is_corrupt and not clock.joined):
                clock.broken, skipped = started, skipped + 1
                continue
            for frame in found:
                started = True
                check_picture(path, frame.width, frame.height)
                yield frame
    except FFmpegError:  # the container's own structure
        clock.broken = True
    if torn and clock.joined and started and not clock.broken:
        warnings.warn(f"{path}: is torn at {torn} places; pictures may be missing there", stacklevel=2)
    elif skipped and started and not clock.broken:
        warnings.warn(f"{path}: the first {skipped} pictures cannot be read and are left out", stacklevel=2)


def _decode(decoder: VideoCodecContext, packet: Any) -> list[VideoFrame] | None:
    """The frames that a packet completes; None if it is damaged."""
    try:
        found = decoder.decode(packet)
    except FFmpegError:
        return None
    return None if any(frame.is_corrupt for frame in found) else found


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """The stream's own; of VP8 and VP9 with alpha one that reads it."""
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) != "1":
        return stream.codec_context
    decoder = CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata = stream.codec_context.extradata
    return decoder


def _check_room(path: Path, cut: Cut, found: Probe, size: tuple[int, int]) -> None:
    """InputError if the frames that are expected do not fit; they are counted before a file is refused that only tells
    its duration, which pauses fill too."""
    try:
        check_memory(cut.count(found.frames or 0) if cut.frames is None else cut.frames, *size, what=str(path))
    except InputError:
        if cut.frames is not None or path.is_dir():
            raise
        check_memory(cut.count(counted(path)[0] or 0), *size, what=str(path))


def _check_enough(path: Path, cut: Cut, kept: int, readable: int, damage: Damaged | None) -> None:
    """InputError unless the cut is filled; an open cut (frames=None) wants all that there is."""
    if kept == cut.frames:
        return
    found = damage.found if damage else words.counted(readable, "frames")
    if readable == 1 and damage is None and path.is_file() and containers.is_still(path):
        raise InputError(containers.still(path))
    if readable < 2:
        raise InputError(f"{path}: holds {found} that can be read; a video needs at least 2")
    if kept < 2:
        raise InputError(f"{path}: holds {found}, too few for {cut}; lower start or stride")
    if damage or cut.frames is not None:
        raise InputError(f"{path}: holds {found}, too few for {cut}; ask for frames={kept} or less")
