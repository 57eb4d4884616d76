"""Energies of one photograph or clip, over x of the size that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from energies import Energy, Tiled, tiled


def over_windows(energy: Energy, size: Sequence[int], stride: int) -> Tiled:
    """The product of an energy over windows so far apart, of x [C, *size] or a little larger: a multiple of the stride.

    ValueError: the windows do not divide by the stride, or x is smaller than one.
    """
    window = energy.event_shape[1:]
    names = "x".join(map(str, window))
    if any(side % stride or side == stride for side in window):
        raise ValueError(f"does not divide windows of {names} into some that overlap")
    if any(side < own for side, own in zip(size, window, strict=True)):
        raise ValueError(f"windows are of {names}, larger than the {'x'.join(map(str, size))} that are asked for")
    return tiled(energy, [-(-side // stride) * stride for side in size], [stride] * len(window))
