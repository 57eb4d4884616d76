"""How far each hidden pixel of a clip is from what is seen."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from energies.classical.flow import Bools, Floats


def distance(hidden: Bools) -> Floats:
    """Distance [T, H, W] in pixels to the nearest seen pixel of the frame; half the longer side where there is none;
    1 where the pixel itself is seen."""
    away = np.ones(hidden.shape, np.float32)
    for t in np.flatnonzero(hidden.any((1, 2))):
        away[t] = ndimage.distance_transform_edt(hidden[t]) if not hidden[t].all() else max(hidden.shape[1:]) / 2
    return away.clip(min=1)


def gap(hidden: Bools) -> Floats:
    """Frames [T, H, W] to the nearest one in which the pixel is seen, at most T; 1 where the pixel itself is seen."""
    num = len(hidden)
    time = np.arange(num)[:, None, None]
    last = np.maximum.accumulate(np.where(hidden, -num, time), 0)
    following = np.minimum.accumulate(np.where(hidden, 2 * num, time)[::-1], 0)[::-1]
    return np.minimum(time - last, following - time).clip(1, num).astype(np.float32)
