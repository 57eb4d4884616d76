"""Masks of seen pixels to hold out, as hard as the real one: near what is hidden neither more nor less is seen."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from energies.classical.flow import Bools, Floats
from energies.classical.geometry import distance, gap

Places = tuple[NDArray[np.intp], ...]
"""Indices of frames, rows and columns."""

PROPOSALS = 36
COPIES = 4  # of the real mask in one, at most, where it has FEWEST pixels
MOST_HIDDEN = 0.3  # share of all pixels, with several copies
TOLERANCE = 0.03  # by which a further copy may make a mask less like the real one
FEWEST = 64  # pixels of a mask
THINNED = 0.1  # share of the pixels that a thinned mask keeps
SCARCE = 0.02  # of likeness that a mask of half as many pixels must win


def alike(hidden: Tensor, num: int, rng: torch.Generator) -> list[Tensor]:
    """Masks like the real one, moved to another place in the frame.

    A mask that moves keeps its motion, so that it moves against the scene as the real one does. Frames that are hidden
    whole are moved in time. A proposal may be thinned, or hold out only some frames: of a mask of scattered pixels
    twice as much would be hidden as in truth. The proposals win whose pixels have the distances to what is seen, in the
    frame and in time, that the hidden ones have. Several are united where little is hidden: what a single place says
    of others is little.

    Args:
        hidden: bool [T, H, W].
        num: of masks.
        rng: on the CPU.

    Returns:
        up to `num` masks bool [T, H, W], the likest first; fewer where fewer proposals leave something both to hold out
        and to see.
    """
    veil = hidden.numpy()
    wanted = _difficulty(veil, veil)
    scored: list[tuple[float, int, Bools]] = []
    for number in range(PROPOSALS):
        mask = _proposal(veil, number, rng)
        if mask.sum() >= FEWEST and not (mask | veil).all():
            scored.append((_unlike(mask, veil, wanted), number, mask))
    scored.sort(key=lambda entry: entry[:2])
    masks = [(unlike, mask) for unlike, _, mask in scored[:num]]
    for _, _, more in scored[num:]:
        for place, (unlike, mask) in enumerate(masks):
            both = mask | more
            if (both | veil).mean() > max(MOST_HIDDEN, 1.1 * veil.mean()) or both.sum() > COPIES * veil.sum():
                continue
            if _unlike(both, veil, wanted) <= unlike + TOLERANCE:
                masks[place] = (unlike, both)
                break
    return [torch.from_numpy(mask) for _, mask in masks]


def _unlike(mask: Bools, hidden: Bools, wanted: Floats) -> float:
    """Share of the held-out pixels that are at other distances than wanted; few pixels count against a mask."""
    scarce = max(0.0, float(np.log2(hidden.sum() / mask.sum())))
    return float(np.abs(_difficulty(mask, mask | hidden) - wanted).sum()) / 2 + SCARCE * scarce


def _proposal(hidden: Bools, number: int, rng: torch.Generator) -> Bools:
    """The mask, moved; of fewer pixels than FEWEST so many copies that they make about twice as many."""
    places = np.nonzero(hidden)
    num = len(places[0])
    copies = 1 if num >= FEWEST else -(-2 * FEWEST // max(num, 1))
    mask = np.zeros_like(hidden)
    for _ in range(copies):
        mask[_moved(places, hidden, number, rng)] = True
    return mask & ~hidden


def _moved(places: Places, hidden: Bools, number: int, rng: torch.Generator) -> Places:
    """Where the pixels of the mask come to lie, without those that a proposal of this number leaves out."""
    time, down, right = (int(torch.randint(size, (), generator=rng)) for size in hidden.shape)
    t, y, x = places
    whole = np.asarray(hidden.all((1, 2)))[t]
    t = np.where(whole, (t + time) % hidden.shape[0], t)
    y = np.where(whole, y, (y + down) % hidden.shape[1])
    x = np.where(whole, x, (x + right) % hidden.shape[2])
    kept = np.ones(len(t), np.bool_)
    if number % 4 == 1 and len(t) >= FEWEST:
        kept = (torch.rand(hidden.shape, generator=rng) < THINNED).numpy()[t, y, x]
    elif number % 4 == 2:
        kept = (torch.rand(len(hidden), generator=rng) < 0.5).numpy()[t]
    return t[kept], y[kept], x[kept]


def _difficulty(mask: Bools, hidden: Bools) -> Floats:
    """Share of the pixels of a mask at each distance to what is seen, in the frame and in time (octaves)."""
    places = [np.log2(values[mask]) for values in (distance(hidden), gap(hidden))]
    octaves = np.arange(-0.5, 12)
    counts = np.histogram2d(*places, bins=[octaves, octaves])[0]
    return (counts / max(1, int(mask.sum()))).astype(np.float32)
