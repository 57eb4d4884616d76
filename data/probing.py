"""What a video says of itself, without decoding more than its first frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data import containers, frame_folders, upright


@dataclass(frozen=True)
class Probe:
    """A video, or a folder of frames, before it is read.

    Attributes:
        size: (height, width) as it is shown: turned, in square pixels.
        stored: (height, width) of the stored pixels, turned.
        frames: how many there may be; None where the file tells nothing.
        seconds: how long they may last; None where the file tells nothing.
        declared: frames a second that the file tells; None where it does not.
        start: seconds from the start of the file, its sound say, to the first frame.
        sound: the codec of each stream of sound.
        subtitles: the codec of each stream of subtitles.
        title: the title, None where there is none.
        curve: "PQ" or "HLG" of high dynamic range, None of standard range.
        interlaced: whether the first frame is.
    """

    size: tuple[int, int]
    stored: tuple[int, int]
    frames: int | None
    seconds: float | None
    declared: Fraction | None
    start: float = 0.0
    sound: tuple[str, ...] = ()
    subtitles: tuple[str, ...] = ()
    title: str | None = None
    curve: str | None = None
    interlaced: bool = False

    @property
    def rate(self) -> float | None:
        """Frames a second, as declared or as the mean."""
        if self.declared is not None:
            return float(self.declared)
        return self.frames / self.seconds if self.frames and self.seconds else None


def probe(path: Path, fps: float | None = None) -> Probe:
    """Look at a video, or at a folder of numbered pictures at `fps`. InputError: no such file, none that is read."""
    if path.is_dir():
        files = frame_folders.pictures_of(path)
        height, width = frame_folders.one(files[0]).shape[:2]
        rate = Fraction(fps or frame_folders.RATE).limit_denominator(10_000)
        return Probe((height, width), (height, width), len(files), float(len(files) / rate), rate)
    with containers.opened(path) as (container, stream):
        own = stream.width, stream.height  # before a picture that cannot be decoded makes them 0
        square = upright.square(*own, containers.aspect_of(stream))
        frame = _first(container, stream)
        size, stored = (
            (high, wide) if frame is None else upright.turned_size(frame, wide, high) for wide, high in (square, own)
        )
        seconds, rate = containers.declared_duration(container, stream), containers.declared_rate(stream)
        num = round(seconds * rate) if seconds and rate else stream.frames or None
        if num is None:
            num, seconds = counted(path)
        return Probe(
            size,
            stored,
            num,
            seconds,
            rate,
            containers.start_of(container, stream),
            _codecs(container.streams.audio),
            _codecs(container.streams.subtitles),
            container.metadata.get("title"),
            frame and upright.range_of(frame),
            bool(frame and frame.interlaced_frame),
        )


def _codecs(streams: Sequence[Stream]) -> tuple[str, ...]:
    return tuple(stream.codec_context.name for stream in streams if stream.codec_context)


def _first(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    try:
        return next(iter(container.decode(stream)), None)
    except FFmpegError:
        return None


def counted(path: Path) -> tuple[int | None, float | None]:
    """Pictures and seconds of a file that does not tell them: it is read through, nothing is decoded."""
    num, ends = 0, [0.0]
    try:
        with containers.opened(path) as (container, stream):
            for packet in container.demux(stream):
                num += bool(packet.size)
                if packet.pts is not None and packet.time_base is not None:
                    ends.append(float((packet.pts + (packet.duration or 0)) * packet.time_base))
    except FFmpegError:
        pass
    return num or None, max(ends) or None
