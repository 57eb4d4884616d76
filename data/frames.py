"""The geometry and the range of pictures: centre crop, area resampling, bytes to [-1, 1] and back.

Pixels are square here: `data.decoding` makes them so.
"""

from functools import lru_cache
from math import ceil, floor

import numpy as np
import torch
from torch import Tensor

from data.errors import InputError

MAX_SIDE = 8192
MAX_BYTES = 2 * 1024**3
"""Bytes of float32 that one clip may hold."""


def parse_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a square's side or of a pair. InputError beyond 2 to 8192 pixels."""
    height, width = (size, size) if isinstance(size, int) else size
    if not (2 <= height <= MAX_SIDE and 2 <= width <= MAX_SIDE):
        raise InputError(f"size={size} is out of range; each side must be 2 to {MAX_SIDE} pixels")
    return height, width


def check_memory(frames: int, height: int, width: int, what: str = "the clip") -> None:
    """InputError if a float32 clip [3, frames, height, width] would take more than 2 GiB."""
    fitting = MAX_BYTES // (12 * height * width)
    if frames > fitting:
        raise InputError(
            f"{what}: {frames} frames of {width}x{height} take more than {MAX_BYTES >> 30} GiB; "
            f"ask for frames={fitting} or fewer, or a smaller size"
        )


def to_uint8(clip: Tensor) -> np.ndarray:
    """Bytes [T, H, W, 3] of a clip [3, T, H, W] in [-1, 1]; values outside are clipped."""
    clip = clip.detach().float().cpu()
    if not clip.isfinite().all():
        raise ValueError("the clip holds NaN or infinite values")
    levels = ((clip.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 3, 0).contiguous().numpy()


def from_uint8(frames: np.ndarray) -> Tensor:
    """Clip [3, T, H, W] in [-1, 1] of bytes [T, H, W, 3]; `to_uint8` gives the same bytes back."""
    levels = torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)
    return levels.contiguous().float() / 127.5 - 1


def resample(picture: np.ndarray, size: tuple[int, int], crop: bool) -> Tensor:
    """Picture [h, w, C] brought to `size` (height, width): float32 [C, height, width], same units.

    crop=True takes the largest centred window with the aspect ratio of `size`, and so keeps shapes;
    crop=False squeezes the whole. A new pixel is the mean of the area it covers; enlarging is
    bilinear.
    """
    source = picture.shape[:2]
    scales = [source[0] / size[0], source[1] / size[1]]
    if crop:
        scales = [min(scales)] * 2
    # Only the window is turned into floats: on large sources this is most of the time.
    (y, rows), (x, columns) = (
        _axis(length, side * scale, side) for length, side, scale in zip(source, size, scales, strict=True)
    )
    window = torch.from_numpy(picture[y, x].astype(np.float32)).permute(2, 0, 1).contiguous()
    return rows @ window @ columns.T  # [C, height, width]


@lru_cache(maxsize=16)
def _axis(length: int, span: float, num: int) -> tuple[slice, Tensor]:
    """How the centred span of `length` pixels becomes `num` pixels.

    Gives the slice of pixels that takes part (the ends of the span may cut pixels) and the weights
    [num, pixels in the slice]; every row sums to 1.
    """
    low = (length - span) / 2
    part = slice(max(0, floor(low)), min(length, ceil(low + span)))
    pixels = torch.arange(part.start, part.stop, dtype=torch.float64)
    step = span / num
    if step >= 1:
        edges = low + step * torch.arange(num + 1, dtype=torch.float64)
        upper = torch.minimum(edges[1:, None], pixels + 1)
        lower = torch.maximum(edges[:-1, None], pixels)
        weights = (upper - lower).clamp(min=0)
    else:
        centres = low + step * (torch.arange(num, dtype=torch.float64) + 0.5) - 0.5
        centres = centres.clamp(part.start, part.stop - 1)
        weights = (1 - (centres[:, None] - pixels).abs()).clamp(min=0)
    return part, (weights / weights.sum(1, keepdim=True)).float()
