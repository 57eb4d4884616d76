"""Short clips made from a seed: one object that crosses a plain background, each attribute labelled.

x, labels = clips(1000)

Clip k of a seed is the same whatever else is made with it. All lengths are shares of a frame's side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data.errors import InputError
from data.frames import MAX_BYTES
from data.scenes import ATTRIBUTES as OF_SCENES
from data.scenes import COLOURS, cover, uniform

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": ("circle", "cross"),
    "colour": OF_SCENES["colour"],
    "motion": ("left", "right", "up", "down"),
}
"""Each attribute and its values; a label is the index of its value here."""

SMALLEST = 12  # pixels a side: below, the shapes look alike
HEADINGS = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])  # (x, y)
REACH = 0.24  # how far from the centre the object starts, and ends
RADIUS = 0.2
CHUNK = 1024  # clips painted at once


def clips(
    num: int, side: int = 16, frames: int = 8, seed: int = 0, *, start: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clips start, start + 1, ..., `num` of them: (float32 [num, 3, frames, side, side] in [-1, 1], labels [num] each).

    Every combination of attributes is as likely as any other; size, way, colour and background also vary a little.
    InputError: num below 1, fewer than 2 frames, a side below 12 pixels, a negative seed or start.
    """
    if num < 1 or frames < 2 or seed < 0 or start < 0:
        raise InputError(f"num={num}, frames={frames}, seed={seed} and start={start} must be 1, 2, 0 and 0 or more")
    if side < SMALLEST:
        raise InputError(f"side={side} is too small; moving shapes need {SMALLEST} pixels or more")
    check_clips(num, frames, side)
    draws = uniform(num, seed, start)  # [num, DRAWS]
    counts = torch.tensor([len(values) for values in ATTRIBUTES.values()])
    chosen = (draws[:, : len(counts)] * counts).long()
    parts = zip(chosen.split(CHUNK), draws[:, len(counts) :].float().split(CHUNK), strict=True)
    x = torch.cat([_paint(*part, side, frames) for part in parts])
    return x, {name: chosen[:, index].clone() for index, name in enumerate(ATTRIBUTES)}


def check_clips(num: int, frames: int, side: int) -> None:
    """InputError if float32 clips [num, 3, frames, side, side] would take more than 2 GiB."""
    if num * frames * side**2 * 12 > MAX_BYTES:
        raise InputError(
            f"{num} clips of {frames} frames of {side}x{side} take more than {MAX_BYTES >> 30} GiB; "
            "ask for fewer, shorter or smaller ones"
        )


def _paint(chosen: Tensor, draws: Tensor, side: int, frames: int) -> Tensor:
    """Clips [n, 3, T, side, side] of the values [n, 3] and of random numbers [n, 9] in [0, 1)."""
    jitter = 2 * draws - 1
    kind, colour, motion = chosen.unbind(1)
    shape = kind * 3  # of the scenes' shapes the first and the last
    radius = RADIUS * (1 + 0.06 * jitter[:, 0])
    heading = HEADINGS[motion]
    across = heading.flip(1) * 0.1 * jitter[:, 1:2]
    hue = (COLOURS[colour] + 0.05 * jitter[:, 2:5]).clamp(0, 1)[:, :, None, None]
    ground = (0.14 + 0.06 * jitter[:, 5:6] + 0.015 * jitter[:, 6:9])[:, :, None, None]
    pictures = []
    for time in torch.linspace(-1, 1, frames):
        covered = cover(shape, radius, 0.5 + REACH * time * heading + across, side)[:, None]
        pictures.append(torch.lerp(ground, hue, covered) * 2 - 1)
    return torch.stack(pictures, 2)
