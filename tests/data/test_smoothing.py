"""Smoothing takes the steps of voxels away and nothing of the shape."""

from __future__ import annotations

import numpy as np

from data import meshes


def test_smoothing_keeps_the_volume() -> None:
    """Of a ball of voxels to a hundredth, where evening out alone would make it smaller by as much as it may."""
    middle = np.arange(20) - 9.5
    ball = np.square(np.stack(np.meshgrid(middle, middle, middle))).sum(0) < 8**2
    rough = meshes.surface(np.where(ball, 1.0, -1.0))
    fine = meshes.smooth(rough, 20)
    assert abs(fine.volume / rough.volume - 1) < 0.01
