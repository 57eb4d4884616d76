"""A mask of a person's own: what is said of it, and what is hidden around it."""

from __future__ import annotations

from torch import Tensor

from data import masks
from data.errors import InputError
from pipelines.stage import Run

DILATE = 1  # pixels around a mask of one's own: the edge of damage is soft, and compression carries it on
MOST = 64  # pixels


def check(mask: str | None, invert: bool, dilate: int | None) -> None:
    """ValueError unless the settings of a mask suit each other."""
    if invert and mask is None:
        raise ValueError("invert needs mask, the file whose black is hidden then")
    if dilate is not None and not 0 <= dilate <= MOST:
        raise ValueError(f"dilate must be 0 to {MOST} pixels, got {dilate}")


def finished(hidden: Tensor, mask: str, what: str, dilate: int | None, run: Run) -> Tensor:
    """bool [..., H, W] as it was read, with what lies around it; its share is logged, and told where it is large.

    InputError: nothing is left to be seen.
    """
    share = float(hidden.float().mean())
    masks.tell_share(mask, share, what)
    pixels = DILATE if dilate is None else dilate
    wide = masks.dilated(hidden, pixels)
    if wide.all() and not hidden.all():
        raise InputError(f"hide.dilate={pixels}: leaves nothing of the {what} to be seen")
    run.log(event="hidden", mask=mask, share=round(share, 5), dilated=round(float(wide.float().mean()), 5))
    return wide
