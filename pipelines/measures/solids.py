"""How good solids are: against the truth, and against collections of shapes."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import Delaunay
from torch import Tensor

from data import meshes

WHOLE = 0.95  # share of its voxels that the largest part of a whole shape holds, at least


def likeliest(field: Tensor, hidden: Tensor | None = None) -> Tensor:
    """The solid, bool [n, 1, N, N, N], with the highest expected intersection over union on the hidden voxels.

    For probabilities p that are right, a set S of voxels has about sum_S p / (|S| + sum_not-S p); the best S of a size
    holds the likeliest voxels. What is seen stays.

    Args:
        field: expected x in [-1, 1], [n, 1, N, N, N].
        hidden: bool, the same shape; None: everywhere.
    """
    solid = field > 0
    hidden = torch.ones_like(solid) if hidden is None else hidden
    for expected, mask, out in zip((field + 1) / 2, hidden, solid, strict=True):
        p, order = expected[mask].clamp(0, 1).double().sort(descending=True)
        if len(p) == 0:
            continue
        inside = p.cumsum(0)
        count = torch.arange(1, len(p) + 1, device=p.device)
        best = int((inside / (count + inside[-1] - inside)).argmax()) + 1
        chosen = torch.zeros(len(p), dtype=torch.bool, device=p.device)
        chosen[order[:best]] = True
        out[mask] = chosen
    return solid


def overlap(solid: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """Intersection over union [n] on the voxels `where`, all bool [n, 1, N, N, N]; 1 where both are empty there."""
    both = (solid & truth & where).flatten(1).sum(1).float()
    either = ((solid | truth) & where).flatten(1).sum(1).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(either))


def score(solid: Tensor, truth: Tensor, where: Tensor) -> dict[str, float]:
    """Mean intersection over union, and share of wrong voxels, on the voxels `where`."""
    wrong = ((solid != truth) & where).sum() / where.sum()
    return {"iou": float(overlap(solid, truth, where).mean()), "voxel_error": float(wrong)}


def distances(first: Tensor, second: Tensor) -> Tensor:
    """1 - intersection over union, [n, m], of bool [n, 1, N, N, N] and [m, 1, N, N, N]."""
    a, b = first.flatten(1).float(), second.flatten(1).float()
    both = a @ b.T
    return 1 - both / (a.sum(1)[:, None] + b.sum(1) - both).clamp(min=1)


def two_sample(first: Tensor, second: Tensor) -> float:
    """Accuracy of telling two collections apart by the nearest other shape (Lopez-Paz & Oquab 2017); .5: alike."""
    joint = torch.cat([first, second])
    labels = torch.arange(len(joint)) < len(first)
    found = distances(joint, joint)
    found.fill_diagonal_(2.0)
    return float((labels[found.argmin(1)] == labels).float().mean())


def coverage(samples: Tensor, reference: Tensor) -> float:
    """Share of the reference that is the nearest one to some sample (Achlioptas et al. 2018)."""
    return len(distances(samples, reference).argmin(1).unique()) / len(reference)


def largest_shares(solids: Tensor) -> Tensor:
    """Share [n] of each solid's voxels that its largest part holds; 0 where it is empty."""
    sizes = [np.asarray(meshes.parts(solid)[1][1:]) for solid in solids[:, 0].numpy()]
    return torch.tensor([float(inside.max() / inside.sum()) if len(inside) else 0.0 for inside in sizes])


def whole_share(solids: Tensor, least: float = WHOLE) -> float:
    """Share of the solids with at least so much of their voxels in their largest part."""
    return float((largest_shares(solids) >= least).float().mean())


def standing(solids: Tensor) -> Tensor:
    """Whether solids bool [n, 1, N, N, N], whose last axis points up, stand by themselves, bool [n]: the centre of mass
    of the largest part lies above the convex hull of what is lowest of it. What is empty does not."""
    return torch.tensor([_stands(solid) for solid in solids[:, 0].numpy()], dtype=torch.bool)


def _stands(solid: np.ndarray) -> bool:
    labels, sizes = meshes.parts(solid)
    if len(sizes) < 2:
        return False
    voxels = np.argwhere(labels == 1 + np.argmax(sizes[1:]))
    ground = voxels[voxels[:, 2] == voxels[:, 2].min(), :2]
    corners = (ground[:, None] + np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)])).reshape(-1, 2)
    return bool(Delaunay(corners).find_simplex(voxels[:, :2].mean(0)) >= 0)


def collection(samples: Tensor, train: Tensor, validation: Tensor) -> dict[str, float]:
    """How new solids compare with those that were learned from, and with those that were not."""
    num = min(len(samples), len(validation))
    samples, validation = samples[:num], validation[:num]
    return {
        "in_one_part": whole_share(samples),
        "standing": float(standing(samples).float().mean()),
        "two_sample": two_sample(samples, validation),
        "coverage": coverage(samples, validation),
        "distance_to_training": float(distances(samples, train).amin(1).median()),
        "validation_to_training": float(distances(validation, train).amin(1).median()),
        "filled": float(samples.float().mean()),
        "filled_training": float(train.float().mean()),
    }
