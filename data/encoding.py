"""Frames into a video file, one at a time, each with its own time."""

import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data.errors import InputError
from data.files import appearing
from data.remuxing import Origin, Remux, starts_late

TICKS = 90_000  # a second: 24, 25, 30 and 1000 Hz divide it
BT709, MPEG, JPEG, RGB = 1, 1, 2, 0  # ITU-T H.273


class Disk:
    """A file to write that remembers why it could not: FFmpeg tells only that it could not."""

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise


class Writer:
    """What `writing` gives: it takes the frames."""

    def __init__(
        self, output: OutputContainer, disk: Disk, name: str, rate: float | None, origin: Origin | None
    ) -> None:
        self._output, self._disk, self._name, self._origin = output, disk, name, origin
        self._rate = None if rate is None else Fraction(rate).limit_denominator(10_000)
        self._first: float | None = None
        self._shape: tuple[int, ...] = ()
        self._remux: Remux | None = None
        self._stream: VideoStream | None = None
        self._num, self._last = 0, -1
        self._durations: dict[int, int] = {}

    def add(self, picture: np.ndarray, time: float, duration: float) -> None:
        """Write a frame, bytes [H, W, 3], that is shown from `time` on, for `duration` seconds. All of one size."""
        if self._stream is None:
            self._begin(picture, time, duration)
        assert self._stream is not None and self._first is not None
        base = 1 / self._rate if self._rate else Fraction(1, TICKS)
        lead = self._remux.lead if self._remux else 0.0
        shown = time - self._first + lead
        pts = self._num if self._rate else max(self._last + 1, round(shown / base))
        frame = self._frame(picture)
        frame.pts, frame.time_base = pts, base
        self._durations[pts] = 1 if self._rate else max(1, round(duration / base))
        self._num, self._last = self._num + 1, pts
        self._mux(self._stream.encode(frame))
        self._copy(shown)

    def finish(self) -> None:
        """Write what is still on its way."""
        if self._stream is not None:
            self._mux(self._stream.encode(None))
        self._copy(float("inf"))

    def _copy(self, time: float) -> None:
        """Copy what belongs to the frames until a time. Sound that a container rejects does not cost the pictures."""
        if self._remux is None:
            return
        try:
            self._remux.until(time)
        except FFmpegError as error:
            if self._disk.error is not None:
                raise
            self.close()
            self._remux, kind = None, type(error).__name__
            warnings.warn(f"{self._name}: its sound ends early, as it is damaged ({kind})", stacklevel=4)

    def close(self) -> None:
        if self._remux is not None:
            self._remux.close()

    def _begin(self, picture: np.ndarray, time: float, duration: float) -> None:
        """The streams, of the first frame's size."""
        self._first, self._shape = time, picture.shape
        if self._starts_late():
            self._rate = None
        mp4 = self._output.format.name == "mp4"
        rate = self._rate or Fraction(1 / max(duration, 1e-3)).limit_denominator(1000)
        options = {"crf": "12"} if mp4 else {}
        if mp4 and self._rate is None:  # mp4 counts durations in the order of decoding: that must be the order of time
            options["bf"] = "0"
        stream = self._output.add_stream("libx264" if mp4 else "ffv1", rate, options)
        assert isinstance(stream, VideoStream)
        side = 2 if mp4 else 1
        stream.height, stream.width = (-(-length // side) * side for length in picture.shape[:2])
        context = stream.codec_context
        context.pix_fmt = "yuv420p" if mp4 else "bgr0"
        context.colorspace, context.color_range = (BT709, MPEG) if mp4 else (RGB, JPEG)
        context.color_primaries = context.color_trc = BT709
        self._stream = stream
        if self._origin is not None:
            self._remux = Remux(self._origin, self._output, self._name)
        if self._rate is None:
            context.time_base = Fraction(1, TICKS)

    def _starts_late(self) -> bool:
        """Whether the origin's sound begins before its pictures; if it cannot be read any more, that is told, and the
        origin is left out."""
        try:
            return self._origin is not None and starts_late(self._origin)
        except InputError as error:
            warnings.warn(f"{self._name}: without sound, subtitles and title, as {error}", stacklevel=3)
            self._origin = None
            return False

    def _frame(self, picture: np.ndarray) -> VideoFrame:
        assert self._stream is not None
        if picture.shape != self._shape:
            raise ValueError(f"pictures of the same size are expected, got {self._shape} and {picture.shape}")
        rows, columns = self._stream.height - picture.shape[0], self._stream.width - picture.shape[1]
        if rows or columns:
            picture = np.pad(picture, ((0, rows), (0, columns), (0, 0)), "edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        if self._stream.codec_context.name == "libx264":
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.colorspace, frame.color_range = BT709, MPEG
        else:
            frame = frame.reformat(format="bgr0")
            frame.colorspace, frame.color_range = RGB, JPEG
        frame.color_primaries = frame.color_trc = BT709
        return frame

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._output.mux(packet)


@contextmanager
def writing(path: Path, *, rate: float | None = None, origin: Origin | None = None) -> Iterator[Writer]:
    """A video file that appears whole, or not at all.

    with writing(Path("clip.mp4")) as writer:
        for picture, time, duration in frames(path):
            writer.add(picture, time, duration)

    .mp4 is h264 yuv420p, which browsers play, tagged BT.709 and limited range (odd sizes repeat their last row or
    column); .mkv is ffv1 and keeps every byte. `rate`: frames a second where they are even; None: each has its own
    time. `origin`: where sound, subtitles and titles are copied from; the frames' times are those of the origin.
    OSError if the disk does not take it.
    """
    with appearing(path) as file:
        disk = Disk(file)
        try:
            output = av.open(disk, "w", format="mp4" if path.suffix.lower() == ".mp4" else "matroska")
            assert isinstance(output, OutputContainer)
            with output, closing(Writer(output, disk, path.name, rate, origin)) as writer:
                yield writer
                writer.finish()
        except FFmpegError as error:
            if disk.error is not None:
                raise disk.error from error
            raise
