"""Optical flow between the neighbouring frames of a clip, completed where the clip is hidden.

The flow is by dense inverse search (Kroeger et al. 2016, of OpenCV). Where a frame is hidden its flow is replaced by
the motion of the camera, a homography, and by what the flow around the hole differs from that.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

LUMA = (0.299, 0.587, 0.114)
ENLARGED = 160  # pixels: frames whose shorter side is below this are doubled, for dense inverse search halves them
GLOBAL = 0.6  # share of the matches that a homography must explain, to be taken for the motion of the camera
MATCHES = 500  # at most, for a homography
SETTLED = 4  # iterations of the flow at a frame between two
LOST = 3.0  # pixels of inconsistency where no flow is known
CONSISTENT = 0.5  # pixels forward and backward flow may differ in a match


@dataclass(frozen=True)
class Flow:
    """Displacements (x, y) in pixels between neighbouring frames, and how little they agree.

    Attributes:
        forward: [T - 1, H, W, 2], of the pixels of frame t towards frame t + 1.
        backward: [T - 1, H, W, 2], of the pixels of frame t + 1 towards frame t.
        forward_error: [T - 1, H, W], pixels between where a pixel of frame t began and where forward and backward flow
            take it.
        backward_error: the same of the pixels of frame t + 1.
    """

    forward: Floats
    backward: Floats
    forward_error: Floats
    backward_error: Floats


def of_clip(frames: Floats, hidden: Bools) -> Flow:
    """Flow of a clip; a gap of frames that are hidden whole is crossed in straight lines.

    Args:
        frames: [T, H, W, C] in [-1, 1], an estimate where hidden, which tells nothing in frames that are hidden whole.
        hidden: [T, H, W].
    """
    kept = np.flatnonzero(~hidden.all((1, 2)))
    num = len(frames) - 1
    size = frames.shape[1:3]
    flow = Flow(*(np.zeros((num, *size, 2), np.float32) for _ in range(2)),
                *(np.full((num, *size), LOST, np.float32) for _ in range(2)))  # fmt: skip
    if len(kept) < 2:
        return flow
    found = _of_neighbours(frames[kept], hidden[kept])
    for k, (a, b) in enumerate(itertools.pairwise(kept)):
        flow.forward[a], flow.forward_error[a] = found.forward[k] / (b - a), found.forward_error[k] / (b - a)
        flow.backward[b - 1] = found.backward[k] / (b - a)
        flow.backward_error[b - 1] = found.backward_error[k] / (b - a)
        for t in range(a + 1, b):
            line, error = _crossing(frames[a], frames[b], found, k, np.float32((t - a) / (b - a)))
            flow.forward[t], flow.backward[t - 1] = line / (b - a), -line / (b - a)
            flow.forward_error[t] = flow.backward_error[t - 1] = error / (b - a)
    return flow


def _of_neighbours(frames: Floats, hidden: Bools) -> Flow:
    """Flow between the frames, two or more, none of them hidden whole."""
    pictures = grey(frames)
    there = np.stack([between(first, second) for first, second in itertools.pairwise(pictures)])
    back = np.stack([between(second, first) for first, second in itertools.pairwise(pictures)])
    seen = ~(hidden[:-1] | hidden[1:])
    there = completed(there, hidden[:-1], seen & (_disagreement(there, back) < CONSISTENT))
    back = completed(back, hidden[1:], seen & (_disagreement(back, there) < CONSISTENT))
    return Flow(there, back, _disagreement(there, back), _disagreement(back, there))


def _crossing(first: Floats, last: Floats, found: Flow, pair: int, time: np.float32) -> tuple[Floats, Floats]:
    """Displacement [H, W, 2] from the first to the last frame of the pixels of a frame between them, and its error.

    The lines of the flow from the first frame that pass a pixel at `time` in (0, 1), those of the flow from the last
    frame, and their mean: the ones whose ends look alike.
    """
    there, back = found.forward[pair], found.backward[pair]
    ahead, behind = there, back
    for _ in range(SETTLED):
        ahead = sampled(there, -time * ahead)
        behind = sampled(back, -(1 - time) * behind)
    lines = np.stack([ahead, -behind, (ahead - behind) / 2])
    unlike = [np.square(sampled(first, -time * line) - sampled(last, (1 - time) * line)).sum(-1) for line in lines]
    best = np.argmin([cv2.GaussianBlur(values, (0, 0), 1.5) for values in unlike], 0)
    line = np.take_along_axis(lines, best[None, ..., None], 0)[0]
    error = np.sqrt(np.square(ahead + behind).sum(-1))
    return line, error


def frames_of(clip: Tensor) -> Floats:
    """[C, T, H, W] on the CPU -> [T, H, W, C]."""
    return np.ascontiguousarray(clip.movedim(0, -1).numpy())


def grey(frames: Floats) -> NDArray[np.uint8]:
    """Grey levels [T, H, W] of frames [T, H, W, C] in [-1, 1]; the mean of the channels unless they are three."""
    channels = frames.shape[-1]
    weights = np.asarray(LUMA if channels == 3 else [1 / channels] * channels, np.float32)
    return np.clip((frames @ weights + 1) * 127.5, 0, 255).astype(np.uint8)


def between(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Floats:
    """Flow [H, W, 2] from a grey picture [H, W] to another one of the same size."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = first.shape
    if min(height, width) >= ENLARGED:
        return np.asarray(search.calc(first, second, None))  # pyright: ignore[reportArgumentType, reportCallIssue]
    size = (max(2 * width, 16), max(2 * height, 16))  # the least that the search takes
    large = [cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC) for picture in (first, second)]
    found = search.calc(large[0], large[1], None)  # pyright: ignore[reportArgumentType, reportCallIssue]
    small = cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA)
    return (small * np.array([width / size[0], height / size[1]])).astype(np.float32)


def sampled(picture: Floats, flow: Floats, kind: int = cv2.INTER_LINEAR) -> Floats:
    """A picture [H, W] or [H, W, C] where a flow [H, W, 2] leads; beyond the edge the nearest pixel."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    moved = cv2.remap(picture, x + flow[..., 0], y + flow[..., 1], kind, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32).reshape(*flow.shape[:2], *picture.shape[2:])


def _disagreement(there: Floats, back: Floats) -> Floats:
    """Pixels [N, H, W] between where each began and where flows [N, H, W, 2] there and back take it."""
    returned = np.stack([a + sampled(b, a) for a, b in zip(there, back, strict=True)])
    return np.sqrt(np.square(returned).sum(-1))


def completed(flow: Floats, hidden: Bools, matched: Bools) -> Floats:
    """Flows [N, H, W, 2] whose values at hidden pixels are replaced.

    matched: bool [N, H, W], pixels whose flow is trusted to tell the motion of the camera.
    """
    wanted = hidden.any((1, 2))
    if not wanted.any():
        return flow
    camera = np.stack([_homography(a, where) for a, where in zip(flow[wanted], matched[wanted], strict=True)])
    flow = flow.copy()
    flow[wanted] = camera + filled_in(flow[wanted] - camera, hidden[wanted])
    return flow


def _homography(flow: Floats, matched: Bools) -> Floats:
    """Flow [H, W, 2] of the homography that explains most matches by RANSAC; 0 where none explains enough of them."""
    places = np.argwhere(matched)[:, ::-1]  # (x, y)
    places = places[:: max(1, len(places) // MATCHES)].astype(np.float32)
    if len(places) < 20:
        return np.zeros_like(flow)
    x, y = places.astype(int).T
    matrix, inliers = cv2.findHomography(places, places + flow[y, x], cv2.RANSAC, 0.5, maxIters=200)
    if matrix is None or inliers.mean() < GLOBAL:
        return np.zeros_like(flow)
    grid = np.stack(np.meshgrid(np.arange(flow.shape[1]), np.arange(flow.shape[0])), -1).astype(np.float32)
    moved = cv2.perspectiveTransform(grid.reshape(-1, 1, 2), matrix).reshape(grid.shape)
    return (moved - grid).astype(np.float32)


def filled_in(values: Floats, hidden: Bools) -> Floats:
    """Pictures [N, H, W, K] whose hidden pixels [N, H, W] are interpolated smoothly, coarse to fine (push and pull)."""
    fine = torch.from_numpy(values).movedim(-1, 1)
    weight = torch.from_numpy(np.where(hidden, 1e-3, 1.0).astype(np.float32))[:, None]
    return _pulled(fine, weight).movedim(1, -1).numpy()


def _pulled(values: Tensor, weight: Tensor) -> Tensor:
    if max(values.shape[-2:]) == 1 or bool((weight >= 1).all()):
        return values
    size = values.shape[-2:]
    coarse = F.avg_pool2d(weight, 2, ceil_mode=True, count_include_pad=False)
    means = F.avg_pool2d(values * weight, 2, ceil_mode=True, count_include_pad=False) / coarse
    below = _pulled(means, (4 * coarse).clamp(max=1))
    return torch.lerp(F.interpolate(below, size, mode="bilinear"), values, weight)
