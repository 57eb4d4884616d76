"""Shots of a clip: frames between two cuts, across which no estimate looks."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from energies.classical import flow as optical
from energies.classical.flow import Bools, Floats

SIDE = 64  # pixels of the shorter side at which frames are compared
UNLIKE = 0.12  # mean absolute difference, in units of x, that a cut leaves at least after the motion
SUDDEN = 3.0  # how many times that of the pairs of frames around it
COLOURS = 0.3  # share of the pixels whose grey level a cut changes at least, by the histograms
BINS = 16
AROUND = 8  # pairs before and after


def shots(frames: Floats, hidden: Bools) -> list[slice]:
    """Frames of each shot, in order.

    Two neighbouring frames are cut where the motion explains their difference far less than that of the frames around,
    and the histograms of grey levels differ. Frames that are hidden whole belong to the shot before them; at the
    beginning, to the first.

    Args:
        frames: [T, H, W, C] in [-1, 1]; hidden values are ignored.
        hidden: bool [T, H, W].
    """
    kept: list[int] = np.flatnonzero(~hidden.all((1, 2))).tolist()
    if len(kept) < 3:
        return [slice(0, len(frames))]
    unlike, changed = np.array([_change(frames, hidden, a, b) for a, b in itertools.pairwise(kept)]).T
    cuts = []
    for k, b in enumerate(kept[1:]):
        around = np.r_[unlike[max(0, k - AROUND) : k], unlike[k + 1 : k + 1 + AROUND]]
        if unlike[k] > UNLIKE and unlike[k] > SUDDEN * np.median(around) and changed[k] > COLOURS:
            cuts.append(b)
    bounds = [0, *cuts, len(frames)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def _change(frames: Floats, hidden: Bools, a: int, b: int) -> tuple[float, float]:
    """Mean absolute difference of two frames after the motion, and the share of the grey levels that differ."""
    veil = hidden[a] | hidden[b]
    if veil.all():
        return 0.0, 0.0
    means = [frames[t][~veil].mean(0) for t in (a, b)]
    pair = np.stack([np.where(veil[..., None], mean, frames[t]) for t, mean in zip((a, b), means, strict=True)])
    shrunk = max(1.0, min(veil.shape) / SIDE)
    size = (round(veil.shape[1] / shrunk), round(veil.shape[0] / shrunk))
    first, second = (cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in optical.grey(pair))
    seen = cv2.resize((~veil).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    if not seen.any():
        return 0.0, 0.0
    moved = optical.sampled(second.astype(np.float32), optical.between(first, second))
    unlike = np.abs(moved - first)[seen].mean() / 127.5
    shares = [np.histogram(picture[seen], BINS, (0, 256))[0] / seen.sum() for picture in (first, second)]
    return float(unlike), float(np.abs(shares[0] - shares[1]).sum() / 2)
