"""Video: a float32 tensor [3, T, H, W] in [-1, 1]; masks are bool [T, H, W] with True = hidden.

clip, fps = read("clip.mp4", size=64, frames=32)
hidden = read_mask("mask.png", like=clip)
write("copy.mkv", clip, fps, lossless=True)
"""

from fractions import Fraction
from io import BytesIO
from math import isfinite
from pathlib import Path

import av
import numpy as np
import torch
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageOps
from torch import Tensor

from data.decoding import Cut, check_file, check_picture, take
from data.errors import InputError
from data.files import publish
from data.frames import from_uint8, parse_size, resample, to_uint8

__all__ = ["from_uint8", "read", "read_mask", "to_uint8", "write"]

STILLS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
WRITABLE = (".mp4", ".mkv", ".gif")


def read(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    frames: int | None = None,
    start: int = 0,
    stride: int = 1,
    crop: bool = True,
) -> tuple[Tensor, float]:
    """Read mp4, mkv, webm, avi, mov or gif: (clip [3, T, H, W] in [-1, 1], its frames per second).

    `size` in pixels is the side of a square or (height, width), None the original; crop=True keeps
    the aspect ratio by a centre crop of the source, False squeezes. Frames start, start + stride,
    ... are taken: `frames` of them, None for all. Rotation noted in the file is applied.
    InputError, one line, for anything that cannot be read so.
    """
    target = None if size is None else parse_size(size)

    def convert(picture: np.ndarray) -> Tensor:
        if target is None:
            return torch.from_numpy(picture).permute(2, 0, 1)
        return resample(picture, target, crop)

    kept, rate = take(Path(path), Cut(frames, start, stride), target, convert)
    clip = torch.stack(kept, dim=1).float()
    return clip.div_(127.5).sub_(1).clamp_(-1, 1), rate / stride


def read_mask(path: str | Path, *, like: Tensor, start: int = 0, stride: int = 1, crop: bool = True) -> Tensor:
    """Read a mask bool [T, H, W] for the clip `like` [3, T, H, W]; half white or more is hidden.

    The file is a video, cut and cropped as `read` did the clip, or one picture, the same for every
    frame. A pixel is hidden as soon as more than a quarter of its area is. InputError as in `read`.
    """
    path = Path(path)
    frames, height, width = like.shape[1:]

    def convert(picture: np.ndarray) -> Tensor:
        white = picture.mean(axis=2, keepdims=True, dtype=np.float32) >= 127.5
        return resample(white, (height, width), crop)[0] > 0.25

    if path.suffix.lower() in STILLS:
        return convert(_still(path)).expand(frames, height, width).clone()
    return torch.stack(take(path, Cut(frames, start, stride), (height, width), convert)[0])


def write(path: str | Path, clip: Tensor, fps: float, *, lossless: bool = False) -> None:
    """Write a clip [3, T, H, W] in [-1, 1] at `fps` Hz; the ending of the name tells how.

    .mp4 is h264 yuv420p, which browsers play (odd sizes repeat their last row or column); .mkv is
    ffv1 and keeps every byte of `to_uint8`; .gif has 256 colours a frame and at most 50 Hz.
    lossless=True insists on .mkv. The file appears whole or not at all.
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
    pictures = to_uint8(clip)
    if kind == ".mp4":
        padding = ((0, 0), (0, clip.shape[2] % 2), (0, clip.shape[3] % 2), (0, 0))
        data = _encode(np.pad(pictures, padding, "edge"), fps, "mp4", ("libx264", "yuv420p"))
    elif kind == ".mkv":
        data = _encode(pictures, fps, "matroska", ("ffv1", "bgr0"))
    else:
        data = _encode_gif(pictures, fps)
    publish(path, data)


def _still(path: Path) -> np.ndarray:
    """Bytes [h, w, 3] of a picture file; transparent is black, EXIF rotation is applied."""
    check_file(path)
    try:
        with Image.open(path) as image:
            check_picture(path, *image.size)
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits, which Pillow clips instead of scaling
                grey = (np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            rgba = image.convert("RGBA")
            black = Image.new("RGBA", rgba.size, "black")
            return np.asarray(Image.alpha_composite(black, rgba))[:, :, :3]
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a picture that can be read; give a png or jpg") from error


def _encode(pictures: np.ndarray, fps: float, container: str, codec: tuple[str, str]) -> bytes:
    """A video file of bytes [T, H, W, 3]; `codec` is its name and pixel format.

    It is made in memory, so that a full disk is an ordinary OSError of the file that is written.
    """
    buffer = BytesIO()
    output = av.open(buffer, "w", format=container)
    assert isinstance(output, OutputContainer)
    with output:
        options = {"crf": "12"} if codec[0] == "libx264" else {}
        stream = output.add_stream(codec[0], Fraction(fps).limit_denominator(10_000), options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = codec[1]
        for picture in pictures:
            output.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def _encode_gif(pictures: np.ndarray, fps: float) -> bytes:
    # A gif counts in 1/100 s, and players slow down what is shorter than 2 of them. Moments are
    # rounded, not durations: so the whole clip keeps its time.
    moments = np.round(np.arange(len(pictures) + 1) * 100 / min(fps, 50)).astype(int)
    first, *others = [Image.fromarray(picture) for picture in pictures]
    timing = {"duration": [int(ticks) * 10 for ticks in np.diff(moments)], "loop": 0}
    buffer = BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, **timing)
    return buffer.getvalue()
