"""Propagation of seen values along the optical flow: every hidden pixel is followed to the first place that is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energies.classical import flow as optical
from energies.classical.flow import Bools, Floats, Flow

SEEN = 0.74  # share of a sub-pixel place that must be seen to end a trajectory there
ROUNDS = 3  # of flow and propagation: each estimates the flow on the propagated values of the one before
WIDTH = 2.0  # pixels of inconsistency that lessen the confidence by a factor e


@dataclass(frozen=True)
class Trajectories:
    """Where the trajectories of hidden pixels end, in one direction of time; N pixels, in the order of `numpy.nonzero`.

    Attributes:
        frame: [N], where it ended.
        y, x: [N], sub-pixel place there.
        error: [N], inconsistency of the flow in pixels, summed over the steps.
        steps: [N], frames passed.
        landed: bool [N], whether it ended at a seen place; else it left the frame or the clip.
    """

    frame: NDArray[np.intp]
    y: Floats
    x: Floats
    error: Floats
    steps: NDArray[np.intp]
    landed: Bools

    @property
    def confidence(self) -> Floats:
        """exp(-error / 2) in [0, 1], 0 where nothing seen was found."""
        return np.where(self.landed, np.exp(-self.error / WIDTH), 0).astype(np.float32)


@dataclass(frozen=True)
class Propagated:
    """What is known of N hidden pixels along their trajectories.

    Attributes:
        frames: [T, H, W, C], the clip with its hidden values estimated.
        flow: on which they were followed.
        later, earlier: trajectories into the future and the past.
        values: two times [N, C], the seen values where these end.
    """

    frames: Floats
    flow: Flow
    later: Trajectories
    earlier: Trajectories
    values: tuple[Floats, Floats]


def propagated(start: Floats, hidden: Bools) -> Propagated:
    """Hidden values of a clip from seen ones along the flow, in a few rounds.

    Args:
        start: [T, H, W, C] in [-1, 1]; where hidden a first estimate, which stays where no trajectory finds a seen
            value.
        hidden: [T, H, W].
    """
    found = along(start, hidden, optical.of_clip(start, hidden))
    for _ in range(ROUNDS - 1):
        found = along(found.frames, hidden, optical.of_clip(found.frames, hidden))
    return found


def along(frames: Floats, hidden: Bools, flow: Flow) -> Propagated:
    """The mean of the values at both ends of each trajectory, weighted by confidence over steps."""
    where = np.nonzero(hidden)
    later, earlier = (trajectories(flow, hidden, direction) for direction in (1, -1))
    mean, found, values = _met(frames, later, earlier)
    estimate = frames.copy()
    estimate[where] = np.where(found[:, None], mean, frames[where])
    return Propagated(estimate, flow, later, earlier, values)


def shown(frames: Floats, hidden: Bools, flow: Flow, where: Bools) -> tuple[Floats, Bools]:
    """What pixels bool `where` [T, H, W] would be estimated to show if they were hidden as well, [N, C], and whether a
    trajectory of theirs ends at all, [N]."""
    later, earlier = (trajectories(flow, hidden, direction, where) for direction in (1, -1))
    return _met(frames, later, earlier)[:2]


def _met(frames: Floats, later: Trajectories, earlier: Trajectories) -> tuple[Floats, Bools, tuple[Floats, Floats]]:
    """The mean of the values at both ends [N, C], whether there is an end [N], and these values."""
    first, second = (cubic(frames, ends.frame, ends.y, ends.x) for ends in (later, earlier))
    weights = [(ends.confidence / np.maximum(ends.steps, 1))[:, None] for ends in (later, earlier)]
    total = weights[0] + weights[1]
    mean = (weights[0] * first + weights[1] * second) / np.maximum(total, 1e-12)
    return mean.clip(-1, 1), total[:, 0] > 0, (first, second)


def trajectories(flow: Flow, hidden: Bools, direction: int, where: Bools | None = None) -> Trajectories:
    """Follow every hidden pixel, or those of `where`, through frames t, t + direction, ... until it is seen."""
    frames, height, width = hidden.shape
    forward = direction > 0
    step = np.concatenate(
        [flow.forward, flow.forward_error[..., None]] if forward else [flow.backward, flow.backward_error[..., None]],
        -1,
    )  # [T - 1, H, W, 3]
    veil = hidden.astype(np.float32)[..., None]
    frame, rows, columns = np.nonzero(hidden if where is None else where)
    y, x = rows.astype(np.float32), columns.astype(np.float32)
    error, steps = np.zeros_like(y), np.zeros_like(frame)
    landed = np.zeros(len(y), bool)
    moving = np.arange(len(y))
    while len(moving):
        following = frame[moving] + direction
        moving = moving[(following >= 0) & (following < frames)]
        pair = frame[moving] - (not forward)
        change = bilinear(step, pair, y[moving], x[moving])
        x[moving] += change[:, 0]
        y[moving] += change[:, 1]
        error[moving] += change[:, 2]
        frame[moving] += direction
        steps[moving] += 1
        inside = (y[moving] > -0.5) & (y[moving] < height - 0.5) & (x[moving] > -0.5) & (x[moving] < width - 0.5)
        moving = moving[inside]
        seen = 1 - bilinear(veil, frame[moving], y[moving], x[moving])[:, 0] > SEEN
        landed[moving[seen]] = True
        moving = moving[~seen]
    return Trajectories(frame, y, x, error, steps, landed)


def bilinear(field: Floats, frame: NDArray[np.intp], y: Floats, x: Floats) -> Floats:
    """Values [N, K] of a field [T, H, W, K] at sub-pixel places; beyond the edge those of the nearest pixel."""
    return _sampled(field, taps(field, frame, y, x, cubic=False))


def cubic(field: Floats, frame: NDArray[np.intp], y: Floats, x: Floats) -> Floats:
    """The same by cubic convolution (Keys 1981, a = -1/2)."""
    return _sampled(field, taps(field, frame, y, x, cubic=True))


def _sampled(field: Floats, parts: Iterator[tuple[NDArray[np.intp], Floats]]) -> Floats:
    values = field.reshape(-1, field.shape[-1])
    return sum((weight[:, None] * values[index] for index, weight in parts), np.float32(0))  # type: ignore[return-value]


def taps(
    field: NDArray, frame: NDArray[np.intp], y: Floats, x: Floats, *, cubic: bool
) -> Iterator[tuple[NDArray[np.intp], Floats]]:
    """Flat index and weight [N] of each pixel of a field [T, H, W, ...] that interpolation at sub-pixel places takes:
    4 pixels, or 16."""
    height, width = field.shape[1:3]
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    kernel, reach = (_keys, range(-1, 3)) if cubic else (_tent, range(2))
    columns = [(np.clip(left + k, 0, width - 1), kernel(x - left - k)) for k in reach]
    for k in reach:
        row, weight = (frame * height + np.clip(top + k, 0, height - 1)) * width, kernel(y - top - k)
        yield from ((row + column, weight * share) for column, share in columns)


def _tent(distance: Floats) -> Floats:
    return np.maximum(1 - np.abs(distance), 0).astype(np.float32)


def _keys(distance: Floats) -> Floats:
    d = np.abs(distance)
    near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0)).astype(np.float32)
