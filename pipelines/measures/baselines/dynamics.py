"""Linear dynamics of frames: principal components, and an autoregression of them (Doretto et al. 2003)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RANK = 50  # components, at most
RIDGE = 1e-5  # of the least squares, in units of the variance of the coordinates
FRAMES = 1000  # that components are found from, at most


@dataclass(frozen=True, eq=False)
class LinearDynamics:
    """The next frame is the last one and C (A [s_t, s_{t-1}] - s_t), s the coordinates of frames in components C: what
    components do not reach stays as it is.

    Attributes:
        mean: [D] of frames.
        components: C [D, r], orthonormal.
        step: A [r, 2 r].
    """

    mean: Tensor
    components: Tensor
    step: Tensor

    @classmethod
    def fit(cls, x: Tensor, rank: int = RANK) -> LinearDynamics:
        """Of clips x [n, C, T, H, W], T of 3 or more."""
        frames = x.transpose(1, 2).flatten(2)  # [n, T, D]
        rows = frames.flatten(0, 1)
        some = rows[:: -(-len(rows) // FRAMES)]
        mean = some.mean(0)
        components = components_of(some - mean, rank)
        s = (frames - mean) @ components  # [n, T, r]
        before = torch.cat([s[:, 1:-1], s[:, :-2]], 2).flatten(0, 1)
        after = s[:, 2:].flatten(0, 1)
        gram = before.T @ before
        gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
        return cls(mean, components, torch.linalg.solve(gram, before.T @ after).T)

    def __call__(self, past: Tensor, num: int) -> Tensor:
        """The next `num` frames [n, C, num, H, W] after past [n, C, k, H, W]; of one frame alone nothing moves."""
        frames = past.transpose(1, 2).flatten(2)[:, -2:]
        s = (frames - self.mean) @ self.components
        here, before, last = s[:, -1], s[:, 0], frames[:, -1]
        made = []
        for _ in range(num):
            after = torch.cat([here, before], 1) @ self.step.T
            last = last + (after - here) @ self.components.T
            here, before = after, here
            made.append(last)
        shape = (len(past), num, past.shape[1], *past.shape[3:])
        return torch.stack(made, 1).view(shape).transpose(1, 2).clamp(-1, 1)


def components_of(rows: Tensor, rank: int) -> Tensor:
    """The principal directions [D, r] of rows [N, D] about 0, at most as many as there are."""
    across = len(rows) < rows.shape[1]
    values, vectors = torch.linalg.eigh(rows @ rows.T if across else rows.T @ rows)
    vectors = vectors[:, values > 1e-6 * values[-1]][:, -rank:]
    found = rows.T @ vectors if across else vectors
    return found / found.norm(dim=0)
