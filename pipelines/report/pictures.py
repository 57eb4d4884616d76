"""Pictures of clips for people to judge: contact sheets, players side by side, maps of uncertainty.

Clips are float tensors [3, T, H, W] in [-1, 1], on any device; pictures are uint8 arrays [H, W, 3].
Small clips are enlarged by whole factors without smoothing: every pixel stays visible as it is.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data import images

BACKGROUND = (22, 24, 29)
INK = (222, 224, 228)
HIDDEN = (112, 24, 104)
"""Dark magenta, a colour that hardly any footage has: no one takes it for a part of the picture."""

GAP = 4
WIDEST = 3840
"""Pixels: encoders and players take no more than a few thousand."""
MARGIN = 8


def contact_sheet(
    rows: Mapping[str, Tensor],
    frames: int | Sequence[int] = 8,
    scale: int | None = None,
    masks: Mapping[str, Tensor] | None = None,
) -> np.ndarray:
    """Clips as labelled rows, their frames as numbered columns -> uint8 [H, W, 3].

    rows: label (ASCII) -> clip; sizes and lengths may differ, a missing frame's place stays empty.
    frames: the frame numbers to show, or how many, evenly spaced over the longest clip.
    scale: whole enlargement; None: the least that makes every cell at least 96 pixels high.
    masks: label -> hidden bool [T, H, W], tinted magenta in that row (`hidden_view` covers).
    ValueError: no rows, an unknown label in masks, a frame that no row has.
    """
    masks = masks or {}
    if not rows or not masks.keys() <= rows.keys():
        raise ValueError(f"masks {sorted(masks)} belong to none of the rows {sorted(rows)}")
    clips = {label: to_rgb(_tint(clip, masks[label]) if label in masks else clip) for label, clip in rows.items()}
    numbers = _frame_numbers(frames, max(len(clip) for clip in clips.values()))
    height = max(clip.shape[1] for clip in clips.values())
    scale = scale or math.ceil(96 / height)
    labels = {label: images.draw_text(label, 15) for label in clips}
    heads = [images.draw_text(str(number), 13) for number in numbers]
    cell_height = max(height * scale, *(ink.shape[0] for ink in labels.values()))
    cell_width = max(max(clip.shape[2] for clip in clips.values()) * scale, *(ink.shape[1] for ink in heads))
    left = max(ink.shape[1] for ink in labels.values()) + 2 * MARGIN
    top = heads[0].shape[0] + MARGIN
    sheet = _canvas(
        top + len(clips) * (cell_height + GAP) - GAP + MARGIN,
        left + len(numbers) * (cell_width + GAP) - GAP + MARGIN,
    )
    columns = [left + k * (cell_width + GAP) for k in range(len(numbers))]
    for x, ink in zip(columns, heads, strict=True):
        _stamp(sheet, ink, MARGIN // 2, x + (cell_width - ink.shape[1]) // 2)
    for k, (label, clip) in enumerate(clips.items()):
        y = top + k * (cell_height + GAP)
        _stamp(sheet, labels[label], y + (cell_height - labels[label].shape[0]) // 2, MARGIN)
        for x, number in zip(columns, numbers, strict=True):
            if number < len(clip):
                _paste(sheet, _enlarge(clip[number], scale), y, x)
    return sheet


def side_by_side(clips: Mapping[str, Tensor]) -> Tensor:
    """Clips of one shape in a row, each below its label -> one clip [3, T, H', W'] on the CPU.

    Panels are enlarged by a whole factor to at least 192 pixels in height, or shrunk by one to at most `WIDEST` / 3
    a side; a row is no wider than `WIDEST`, then a new one begins. ValueError: no clips, or shapes differ.
    """
    shapes = {tuple(clip.shape) for clip in clips.values()}
    if len(shapes) != 1:
        raise ValueError(f"expected clips of one shape, got {sorted(shapes)}")
    _, frames, height, width = shapes.pop()
    shrink = math.ceil(max(height, width) / (WIDEST // 3))
    height, width = -(-height // shrink), -(-width // shrink)
    scale = max(1, min(math.ceil(192 / height), WIDEST // 3 // width))
    labels = [images.draw_text(label, 15) for label in clips]
    panel = max(width * scale, *(ink.shape[1] + MARGIN for ink in labels))
    columns = max(1, min(len(labels), (WIDEST + GAP) // (panel + GAP)))
    top = labels[0].shape[0] + MARGIN
    row = top + height * scale
    header = _canvas(-(-len(labels) // columns) * (row + GAP) - GAP, columns * (panel + GAP) - GAP)
    places = [(k // columns * (row + GAP), k % columns * (panel + GAP)) for k in range(len(labels))]
    for (y, x), ink in zip(places, labels, strict=True):
        _stamp(header, ink, y + MARGIN // 2, x + (panel - ink.shape[1]) // 2)
    film = np.empty((frames, *header.shape), np.uint8)
    film[:] = header
    for (y, x), clip in zip(places, clips.values(), strict=True):
        shown = F.avg_pool2d(clip.transpose(0, 1), shrink, ceil_mode=True).transpose(0, 1) if shrink > 1 else clip
        _paste(film, _enlarge(to_rgb(shown), scale), y + top, x + (panel - width * scale) // 2)
    return torch.from_numpy(film).permute(3, 0, 1, 2).float() / 127.5 - 1


def hidden_view(clip: Tensor, hidden: Tensor) -> Tensor:
    """A damaged clip as it is shown: pixels of hidden [T, H, W] in one flat colour, `HIDDEN`."""
    return torch.where(hidden.to(clip.device), _colour(HIDDEN, clip), clip)


def heatmap(values: Tensor, top: float | None = None) -> np.ndarray:
    """A map [H, W] or [T, H, W] of values >= 0 as colours -> uint8 [H, W, 3] or [T, H, W, 3].

    Dark is 0, pale yellow is `top` and above; None: the largest value. Lightness grows evenly with
    the value (the anchors are interpolated in OKLab), so it also reads in grey and by colour-blind
    eyes.
    """
    ceiling = values.max().item() if top is None else top
    share = (values.detach().cpu().double() / (ceiling or 1.0)).clamp(0, 1).numpy()
    return _colour_table()[np.rint(share * 255).astype(np.int64)]


def grid(x: Tensor, columns: int = 10, scale: int | None = None) -> np.ndarray:
    """Pictures [n, C, H, W] in [-1, 1], C = 1 or 3, row by row -> uint8 [H, W, 3]; scale as in `contact_sheet`.

    ValueError: there are none.
    """
    if not len(x):
        raise ValueError("no pictures to show")
    scale = scale or math.ceil(64 / x.shape[-2])
    height, width = (side * scale + GAP for side in x.shape[2:])
    sheet = _canvas(-(-len(x) // columns) * height + GAP, min(columns, len(x)) * width + GAP)
    for number, rgb in enumerate(to_rgb(x.expand(-1, 3, -1, -1).movedim(0, 1))):
        y, across = divmod(number, columns)
        _paste(sheet, _enlarge(rgb, scale), y * height + GAP, across * width + GAP)
    return sheet


def to_rgb(clip: Tensor) -> np.ndarray:
    """A clip [3, T, H, W] in [-1, 1] (values beyond are clipped) -> uint8 [T, H, W, 3]."""
    levels = ((clip.detach().float().clamp(-1, 1) + 1) * 127.5).round()
    return levels.to(torch.uint8).permute(1, 2, 3, 0).cpu().numpy()


def _frame_numbers(frames: int | Sequence[int], length: int) -> list[int]:
    if isinstance(frames, int):
        if frames < 1:
            raise ValueError(f"expected at least one frame, got {frames}")
        return np.linspace(0, length - 1, min(frames, length)).round().astype(int).tolist()
    if not frames or min(frames) < 0 or max(frames) >= length:
        raise ValueError(f"expected frame numbers from 0 to {length - 1}, got {list(frames)}")
    return list(frames)


def _tint(clip: Tensor, hidden: Tensor) -> Tensor:
    return torch.lerp(clip, hidden_view(clip, hidden), 0.6)


def _colour(rgb: tuple[int, int, int], like: Tensor) -> Tensor:
    return (torch.tensor(rgb, dtype=like.dtype, device=like.device) / 127.5 - 1).view(3, 1, 1, 1)


def _canvas(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def _enlarge(rgb: np.ndarray, scale: int) -> np.ndarray:
    return rgb.repeat(scale, axis=-3).repeat(scale, axis=-2)


def _paste(canvas: np.ndarray, rgb: np.ndarray, y: int, x: int) -> None:
    height, width = rgb.shape[-3:-1]
    canvas[..., y : y + height, x : x + width, :] = rgb


def _stamp(canvas: np.ndarray, ink: np.ndarray, y: int, x: int) -> None:
    """Print ink [h, w] on canvas [H, W, 3], in place."""
    under = canvas[y : y + ink.shape[0], x : x + ink.shape[1]]
    share = ink[..., None] / 255
    under[:] = np.rint(under + share * (np.array(INK) - under))


def _colour_table() -> np.ndarray:
    """Colours uint8 [256, 3] from five anchors evenly spaced in OKLab lightness (Ottosson 2020)."""
    lightness = np.array([0.14, 0.34, 0.54, 0.74, 0.94])
    chroma = np.array([0.02, 0.13, 0.18, 0.16, 0.10])
    hue = np.radians([285, 295, 360, 410, 465])
    anchors = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], 1)
    at = np.linspace(0, 4, 256)
    lab = np.stack([np.interp(at, np.arange(5), column) for column in anchors.T], 1)
    to_cones = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_cones.T) ** 3 @ to_linear.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb).astype(np.uint8)
