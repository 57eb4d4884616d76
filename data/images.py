"""Images as uint8 arrays [H, W, 3] in RGB: written as PNG, and text drawn for labels."""

import io
import math
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def encode_png(rgb: np.ndarray) -> bytes:
    """The bytes of a PNG file of rgb: uint8 [H, W, 3]. ValueError for anything else."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"expected uint8 [H, W, 3], got {rgb.dtype} {list(rgb.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: str | Path, rgb: np.ndarray) -> None:
    """Write rgb: uint8 [H, W, 3] as a PNG file, whole or not at all. OSError: full disk."""
    path = Path(path)
    png = encode_png(rgb)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(png)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
