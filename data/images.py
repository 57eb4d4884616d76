"""Images: a float32 tensor [C, H, W] in [-1, 1], C = 3 (RGB) or 1 (grey); data sets of them; labels drawn as pictures.

x = read("photo.jpg", size=64)
write("copy.png", x)
x, labels = tensors(open_dataset("photos", size=64))
"""

import io
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from data import pictures
from data.errors import InputError
from data.files import publish
from data.frames import parse_size
from data.image_sets import Damaged, open_dataset
from data.packing import batch, collate, tensors

__all__ = [
    "Damaged",
    "batch",
    "collate",
    "draw_text",
    "encode_png",
    "open_dataset",
    "read",
    "tensors",
    "to_uint8",
    "write",
]


def read(path: str | Path, size: int | tuple[int, int] | None = None, channels: int = 3) -> Tensor:
    """Read a picture file: float32 [channels, H, W] in [-1, 1].

    PNG, JPEG, TIFF, WebP, GIF, BMP, PPM, TGA, JPEG 2000, AVIF, of any depth and kind of colour. `size` in pixels is the
    side of a square or (height, width): a centre crop of that shape, shrunk by area; None keeps the size. EXIF
    rotation is applied, transparency shows white, floats run from 0 to 1, an animation gives its first frame.
    InputError, one line, for anything that cannot be read so, such as more than 67 million pixels.
    """
    target = None if size is None else parse_size(size)
    if channels not in (1, 3):
        raise InputError(f"channels={channels} is not possible; it must be 1 (grey) or 3 (RGB)")
    return pictures.fit(pictures.levels(Path(path)), target, channels).contiguous()


def to_uint8(x: Tensor) -> np.ndarray:
    """Bytes [H, W, C] of an image [C, H, W] in [-1, 1]; values outside are clipped. ValueError: NaN, another shape."""
    if x.ndim != 3 or x.shape[0] not in (1, 3) or 0 in x.shape:
        raise ValueError(f"an image is [C, H, W] with C 1 or 3, got {list(x.shape)}")
    x = x.detach().float().cpu()
    if not x.isfinite().all():
        raise ValueError("the image holds NaN or infinite values")
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def encode_png(rgb: np.ndarray) -> bytes:
    """The bytes of a PNG file of rgb: uint8 [H, W, 3]. ValueError for anything else."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"expected uint8 [H, W, 3], got {rgb.dtype} {list(rgb.shape)}")
    return _png(rgb)


def write(path: str | Path, picture: Tensor | np.ndarray) -> None:
    """Write a PNG file, whole or not at all, of an image [C, H, W] in [-1, 1] or of uint8 [H, W, 3].

    What `read` gives comes back to a 255th, bytes exactly. InputError for another ending than .png, ValueError for
    another shape or NaN, OSError: full disk.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: images are written as png; end the name in .png")
    png = _png(to_uint8(picture)) if isinstance(picture, Tensor) else encode_png(picture)
    publish(path, png)


def draw_text(text: str, size: int) -> np.ndarray:
    """One line of text in Pillow's own font -> ink uint8 [H, W], 255 where fully covered.

    H is 1.4 `size`, whatever the text, so that lines of one size share their baseline. The font
    knows ASCII; any other character becomes a box.
    """
    line = "  ".join(text.split())  # the font's own space is so narrow that words run together
    font = ImageFont.load_default(size)
    height = math.ceil(1.4 * size)
    canvas = Image.new("L", (max(1, math.ceil(font.getlength(line))), height))
    ImageDraw.Draw(canvas).text((0, 1.05 * size), line, fill=255, font=font, anchor="ls")
    return np.asarray(canvas)


def _png(levels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)).save(buffer, "PNG")
    return buffer.getvalue()
