"""Near-twins among shapes: a fair split keeps them on one side."""

from __future__ import annotations

import numpy as np

from data import grids

CHUNK = 1024  # shapes compared at once


def groups(bits: np.ndarray, side: int, threshold: float = 0.9) -> np.ndarray:
    """A number for every packed cube uint8 [n, bytes]: the same for shapes that chains of near-twins join.

    Two are near-twins if their intersection over union, or that with one of them mirrored in its first axis, is above
    the threshold.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    solid = grids.unpack(bits, (side, side, side))
    rows, mirrored = (grid.reshape(len(bits), -1).astype(np.float32) for grid in (solid, solid[:, ::-1]))
    volume = rows.sum(1)
    pairs: list[np.ndarray] = []
    for low in range(0, len(rows), CHUNK):
        part = rows[low : low + CHUNK]
        both = np.maximum(part @ rows.T, part @ mirrored.T)
        either = volume[low : low + CHUNK, None] + volume - both
        pairs.append(np.argwhere(both > threshold * either) + np.array([low, 0]))
    ones = np.concatenate(pairs)
    graph = coo_matrix((np.ones(len(ones), bool), ones.T), shape=(len(rows), len(rows)))
    return connected_components(graph, directed=False)[1]


def split(bits: np.ndarray, side: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices to learn from and to judge by, in random order: of about `share` of the groups one shape each."""
    numbers = groups(bits, side)
    order = rng.permutation(numbers.max() + 1)
    num = min(max(1, round(share * len(order))), len(order) - 1)
    chosen = np.isin(numbers, order[:num])
    held_out = np.flatnonzero(chosen)
    _, first = np.unique(numbers[held_out], return_index=True)
    return rng.permutation(np.flatnonzero(~chosen)), rng.permutation(held_out[first])
