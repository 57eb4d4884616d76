"""Smooth estimates of hidden values, smooth in the frame and along time or along the optical flow.

Each is the minimum of |A x|^2 over the hidden values, A sparse: differences of neighbours (a membrane), Laplacians
(a thin plate), and differences between a pixel and where it moves. The robust ones minimise the sum of the absolute
values of these (total variation), which leaves edges sharp and lets the flow be wrong where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import cv2
import numpy as np
from scipy import sparse

from energies.classical.flow import Bools, Floats, Flow
from energies.classical.propagation import taps

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
SQUARE = np.ones((3, 3), np.uint8)
STEPS = 150  # of conjugate gradients, at most
TOLERANCE = 5e-3  # of their residual, against the right hand side
REWEIGHTED = 4  # solutions of least squares, for absolute values
ROUNDED = 0.02  # units of x below which an absolute value is a square
TRUSTED = 0.5  # pixels of inconsistency that lessen the weight of a difference along the flow by a factor e


class Smoothing:
    """Quadratic terms of one clip, to be weighted and minimised.

    Args:
        frames: [T, H, W, C]; hidden values are ignored.
        hidden: bool [T, H, W].
    """

    def __init__(self, frames: Floats, hidden: Bools) -> None:
        self.hidden = hidden
        self._unknown = np.flatnonzero(hidden)
        self._seen = np.where(hidden[..., None], 0, frames).reshape(-1, frames.shape[-1]).astype(np.float32)
        self._operators: dict[str, tuple[sparse.csr_array, Floats]] = {}
        self._terms: dict[str, tuple[sparse.csr_array, Floats]] = {}

    def add(self, name: str, *operators: sparse.csr_array, guide: Floats | None = None) -> None:
        """The term sum |operator (x - guide)|^2, operators [rows, T H W], guide [T, H, W, C] or 0."""
        rows = sparse.csr_array(sparse.vstack(operators))
        known = self._seen if guide is None else self._seen - guide.reshape(self._seen.shape)
        unknown, right = sparse.csr_array(rows[:, self._unknown]), np.asarray(-(rows @ known))
        self._operators[name] = (unknown, right)
        self._terms[name] = (sparse.csr_array(unknown.T @ unknown), np.asarray(unknown.T @ right))

    def minimum(self, weights: Mapping[str, float], start: Floats) -> Floats:
        """Hidden values [N, C] that minimise the weighted sum of terms, from `start` on. Values that no term reaches
        keep their start."""
        matrix = sum(self._terms[name][0] * np.float32(weight) for name, weight in weights.items())
        right = sum(self._terms[name][1] * np.float32(weight) for name, weight in weights.items())
        assert isinstance(matrix, sparse.csr_array) and isinstance(right, np.ndarray)
        return _solved(matrix.dot, np.asarray(matrix.diagonal(), np.float32), right, start).clip(-1, 1)

    def robust(self, weights: Mapping[str, float], start: Floats) -> Floats:
        """Hidden values [N, C] that minimise the weighted sum of |row of the operator x|, the colours of a row jointly.

        By iteratively reweighted least squares from `start`.
        """
        parts = [(*self._operators[name], np.float32(weight)) for name, weight in weights.items()]
        operator = sparse.csr_array(sparse.vstack([part for part, _, _ in parts]))
        right = np.concatenate([part for _, part, _ in parts])
        strength = np.concatenate([np.full(len(part), weight) for _, part, weight in parts])
        squared, transposed = sparse.csr_array(operator.power(2).T), sparse.csr_array(operator.T)
        x = start.astype(np.float32)
        for _ in range(REWEIGHTED):
            size = np.sqrt(np.square(operator @ x - right).sum(-1) + ROUNDED**2)
            weight = (strength / size).astype(np.float32)
            product = partial(_normal, operator, transposed, weight)
            x = _solved(product, np.asarray(squared @ weight), transposed @ (weight[:, None] * right), x)
        return x.clip(-1, 1)


def _normal(operator: sparse.csr_array, transposed: sparse.csr_array, weight: Floats, x: Floats) -> Floats:
    return transposed @ (weight[:, None] * (operator @ x))


def _solved(product: Callable[[Floats], Floats], diagonal: Floats, right: Floats, start: Floats) -> Floats:
    """x [N, C] of product(x) = right, by conjugate gradients that Jacobi preconditions."""
    scale: Floats = np.asarray(1 / np.maximum(diagonal, 1e-6), np.float32)[:, None]
    x = start.astype(np.float32)
    residual = right - product(x)
    direction = scale * residual
    power = np.asarray((residual * direction).sum(0))  # [C]: the channels are separate problems
    goal = (right * scale * right).sum(0) * TOLERANCE**2
    for _ in range(STEPS):
        if (power <= goal).all():
            break
        image = product(np.asarray(direction, np.float32))
        step = power / ((direction * image).sum(0) + 1e-20)
        x = x + step * direction
        residual = residual - step * image
        preconditioned = np.asarray(scale * residual)
        before, power = power, (residual * preconditioned).sum(0)
        direction = np.asarray(preconditioned + power / (before + 1e-20) * direction)
    return x


def differences(hidden: Bools, axis: int) -> sparse.csr_array:
    """Differences of neighbours along an axis of [T, H, W], of pairs of which one is hidden."""
    index = np.arange(hidden.size).reshape(hidden.shape)
    ahead = np.delete(index, 0, axis).ravel()
    behind = np.delete(index, -1, axis).ravel()
    flat = hidden.ravel()
    needed = flat[ahead] | flat[behind]
    return _rows([ahead[needed], behind[needed]], [1.0, -1.0], hidden.size)


def guided(hidden: Bools, known: Bools) -> list[sparse.csr_array]:
    """Differences of neighbours in the frame, as `differences` gives them, of pairs both of which are known, bool
    [T, H, W]."""
    rows = [differences(hidden, axis) for axis in (1, 2)]
    return [some[known.ravel()[some.indices.reshape(-1, 2)].all(1)] for some in rows]


def laplacians(hidden: Bools) -> sparse.csr_array:
    """The Laplacian in the frame, at hidden pixels and their neighbours; beyond the edge the picture is mirrored."""
    height, width = hidden.shape[1:]
    t, y, x = np.nonzero(dilated(hidden, CROSS))
    index = np.arange(hidden.size).reshape(hidden.shape)
    here = index[t, y, x]
    places, weights = [], []
    for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        places += [index[t, np.clip(y + down, 0, height - 1), np.clip(x + right, 0, width - 1)], here]
        weights += [1.0, -1.0]
    return _rows(places, weights, hidden.size)


def along_flow(hidden: Bools, flow: Flow) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Differences between pixels and where the flow takes them, forwards and backwards, weighted by its consistency."""
    wide = dilated(hidden, SQUARE)
    return (
        _moved(hidden, wide, 1, flow.forward, flow.forward_error),
        _moved(hidden, wide, -1, flow.backward, flow.backward_error),
    )


def _moved(hidden: Bools, wide: Bools, direction: int, flow: Floats, error: Floats) -> sparse.csr_array:
    _, height, width = error.shape
    frame, rows, columns = np.indices(error.shape)
    frame = np.asarray(frame + (0 if direction > 0 else 1))
    y, x = rows + flow[..., 1], columns + flow[..., 0]
    weight = np.exp(-error / (2 * TRUSTED))  # of the difference; squared, of the term
    below, right = np.clip(np.rint(y), 0, height - 1).astype(int), np.clip(np.rint(x), 0, width - 1).astype(int)
    needed = hidden[frame, rows, columns] | wide[frame + direction, below, right]
    needed &= (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1) & (weight > 0.03)
    places = [np.asarray((frame * height + rows) * width + columns)[needed]]
    weights = [weight[needed]]
    for index, share in taps(hidden, frame[needed] + direction, y[needed], x[needed], cubic=True):
        places.append(index)
        weights.append(-weights[0] * share)
    return _rows(places, weights, hidden.size)


def _rows(places: list, weights: list, size: int) -> sparse.csr_array:
    """Rows of a matrix by the columns and the values of their entries, each [rows] or one value for all."""
    count = len(places[0])
    values = np.concatenate([np.broadcast_to(np.float32(weight), count) for weight in weights])
    rows = np.tile(np.arange(count), len(places))
    return sparse.csr_array((values, (rows, np.concatenate(places))), (count, size))


def dilated(hidden: Bools, element: np.ndarray) -> Bools:
    return np.stack([cv2.dilate(frame.astype(np.uint8), element) for frame in hidden]).astype(bool)
