"""Pictures that are not of the kind that is loaded, to be told from them; and pictures of a person's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data import images, pictures, textures
from data.errors import InputError


def made(x: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
    """What is not of the kind of pictures x [n, C, H, W], made of them or from the seed."""
    channels, height, width = x.shape[1:]
    texture = textures.texture("bricks", max(128, 2 * height, 2 * width), int(torch.randint(10**6, (), generator=rng)))
    if channels == 1:
        texture = texture.mean(0, keepdim=True)
    return {
        "rotated": x.rot90(1, (2, 3)) if height == width else x.rot90(2, (2, 3)),
        "mirrored": x.flip(3),
        "blank": (torch.rand(len(x), 1, 1, 1, generator=rng) * 2 - 1).expand_as(x).contiguous(),
        "noise": torch.rand(x.shape, generator=rng) * 2 - 1,
        "bricks": windows(texture, height, width, len(x)),
    }


def read(name: str, shape: Sequence[int], num: int) -> Tensor:
    """Pictures [n, C, H, W] of a source, at most num, as large and as colourful as a shape; of one photograph that is
    larger, windows."""
    channels, height, width = shape
    if Path(name).is_file() and Path(name).suffix.lower() in pictures.SUFFIXES:
        if num == 1:
            return images.read(name, (height, width), channels)[None]
        return windows(images.read(name, channels=channels), height, width, num)
    dataset: Any = images.open_dataset(name, (height, width), channels)
    return images.batch(dataset, range(min(num, len(dataset))))[0]


def windows(photograph: Tensor, height: int, width: int, num: int) -> Tensor:
    """`num` windows of a photograph [C, H, W], evenly spread over it; InputError: it is too small."""
    down, across = photograph.shape[1] - height, photograph.shape[2] - width
    if down < 0 or across < 0:
        raise InputError(f"a photograph must have {width}x{height} pixels or more, to cut windows from it")
    at = torch.arange(num) * 0.6180339887  # low discrepancy in one axis, even in the other
    return torch.stack(
        [
            photograph[:, y : y + height, left : left + width]
            for k in range(num)
            for y, left in [(int(k / num * (down + 1)), int(float(at[k] % 1) * (across + 1)))]
        ]
    )
