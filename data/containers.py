"""Video files before they are decoded: which are opened, which stream is read, and what a file says of itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image

from data.errors import InputError

# Without the list a text file named .mp4 may be a playlist that opens other files (ffconcat, HLS). None of these does.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpeg,mpegts,flv,asf,ogg,mxf,dv,ivf,nut,rm,gxf,wtv,"
    "yuv4mpegpipe,mpegvideo,m4v,h264,hevc"
)
SUFFIXES = frozenset(
    (
        ".mp4",
        ".m4v",
        ".mov",
        ".qt",
        ".3gp",
        ".3g2",
        ".f4v",
        ".mkv",
        ".webm",
        ".avi",
        ".divx",
        ".gif",
        ".apng",
        ".mpg",
        ".mpeg",
        ".m2v",
        ".m1v",
        ".vob",
        ".ts",
        ".m2ts",
        ".mts",
        ".m2t",
        ".flv",
        ".wmv",
        ".asf",
        ".ogv",
        ".ogg",
        ".ogm",
        ".mxf",
        ".dv",
        ".ivf",
        ".nut",
        ".rm",
        ".rmvb",
        ".gxf",
        ".wtv",
        ".y4m",
        ".h264",
        ".264",
        ".hevc",
        ".265",
    )
)
"""Endings, in lower case, of files that a folder of clips is expected to hold."""
UNREAD = frozenset(
    (
        ".webp",
        ".braw",
        ".r3d",
        ".ari",
        ".swf",
        ".bik",
        ".smk",
        ".amv",
        ".mk3d",
        ".mod",
        ".tod",
        ".jxl",
        ".fli",
        ".flc",
        ".mng",
        ".avif",
        ".heic",
    )
)
"""Endings of moving pictures that are not read."""
MAX_PIXELS = 2**25  # a little more than 8K (7680 x 4320)
WHOLE_FILE = "give a whole mp4, mkv, webm, avi, mov or gif file"
BEGINNINGS = (
    b"\x1aE\xdf\xa3",
    b"RIFF",
    b"FLV\x01",
    b"OggS",
    b"\x30\x26\xb2\x75",
    b".RMF",
    b"GIF8",
    b"\x06\x0e\x2b\x34",
)
"""Of files that hold pictures: Matroska, flv, ogg, asf, rm, gif, mxf."""
DATED = 240
"""Hz: what declares more tells the unit of its clock, not its rate."""


def check_file(path: Path) -> None:
    """InputError unless the path is a file with something in it."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file")
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); give a whole file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: may not be read; check its permissions")


def check_picture(path: Path, width: int, height: int) -> None:
    """InputError for pictures of more than 8K, or thinner than 2 pixels."""
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: {width}x{height} pixels are too many; shrink it to 7680x4320")
    if min(width, height) < 2:
        raise InputError(f"{path}: {width}x{height} pixels are too few; give at least 2x2")


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and the stream of its moving pictures, checked before anything is decoded."""
    check_file(path)
    try:
        # A resolved path begins with "/" and so is never taken for a protocol such as "concat:".
        container = av.open(str(path.resolve()), options={"format_whitelist": FORMATS}, metadata_errors="replace")
    except (FFmpegError, UnicodeError, ValueError) as error:
        raise InputError(_unreadable(path)) from error
    with container:
        stream = _moving(path, container)
        if not stream.width:
            raise InputError(f"{path}: no picture of it can be read (damaged, or cut before a whole one); {WHOLE_FILE}")
        check_picture(path, stream.width, stream.height)
        # A stream may hold larger pictures than its container says: the decoder refuses those.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield container, stream


def _moving(path: Path, container: InputContainer) -> VideoStream:
    """The best stream of moving pictures: cover art and thumbnails are none."""
    stills = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    found = [stream for stream in container.streams.video if not stream.disposition & stills]
    if not found:
        art = " beside its cover" if container.streams.video else ""
        raise InputError(f"{path}: holds no pictures{art}, only sound or data; {WHOLE_FILE}")
    readable = [stream for stream in found if stream.codec_context is not None]
    if not readable:
        raise InputError(f"{path}: its pictures are of a kind that is not read; convert it to mp4 (h264)")
    main = [stream for stream in readable if stream.disposition & Disposition.default] or readable
    return max(main, key=lambda stream: stream.width * stream.height)


def declared_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds that the file says its pictures last; None where it says nothing."""
    rate = declared_rate(stream)
    if container.format.name == "avi" and stream.frames and rate:  # its duration is what the bytes that are left hold
        return float(stream.frames / rate)
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    named = next((text for name, text in stream.metadata.items() if name.upper().startswith("DURATION")), None)
    if named is not None:  # Matroska: 00:00:10.023000000
        with suppress(ValueError):
            hours, minutes, seconds = named.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    return None if container.duration is None else container.duration / av.time_base


def declared_rate(stream: VideoStream) -> Fraction | None:
    """Frames a second that the file says; None where it says nothing, or names its clock."""
    rates = (stream.average_rate, stream.guessed_rate)
    return next((rate for rate in rates if rate and 0 < rate <= DATED), None)


def aspect_of(stream: VideoStream) -> float:
    """The width of a stored pixel over its height; 1 where the file says nothing."""
    aspect = stream.sample_aspect_ratio
    return float(aspect) if aspect else 1.0


def start_of(container: InputContainer, stream: VideoStream) -> float:
    """Seconds from the first of all streams to the first picture."""
    if container.start_time is None or stream.start_time is None or stream.time_base is None:
        return 0.0
    return max(0.0, float(stream.start_time * stream.time_base) - container.start_time / av.time_base)


def is_still(path: Path) -> bool:
    """Whether a file holds one picture that does not move."""
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) == 1
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def still(path: Path) -> str:
    return f"{path}: is a still picture, not a clip; give a video, or a folder of numbered frames"


def _unreadable(path: Path) -> str:
    """Why a file was not opened: the reason of a person, not that of the library."""
    kind = path.suffix.lower()
    if kind in UNREAD and not is_still(path):
        return f"{path}: {kind[1:]} is not read; convert it to mp4"
    if is_still(path):
        return still(path)
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free") or head.startswith(BEGINNINGS) or head[8:] == b"AVI ":
        return f"{path}: a video that is damaged or cut short: its index cannot be read; {WHOLE_FILE}"
    return f"{path}: not a video that can be read; {WHOLE_FILE}"
