"""The simple methods to beat, on the same shapes; fields in [-1, 1], turned into solids as ours are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from energies import Noisy, Observation
from energies.references.dataset import most_alike
from energies.references.mirror import Mirrors
from pipelines.measures.solids import likeliest, overlap

WIDTHS = (0.7, 1.0, 1.5, 2.5)  # of the blur, in voxels; the best one on shapes that were learned from


def recoveries(
    train: Tensor,
    damaged: Tensor,
    hidden: Tensor,
    observation: Observation,
    train_labels: Tensor | None = None,
    labels: Tensor | None = None,
) -> dict[str, Callable[[], Tensor]]:
    """Fields of hidden voxels, or of all where what is seen is noisy, computed when called: the mean shape, the nearest
    one by what is visible, a blur of what is visible, and its mirror image.

    Args:
        train: shapes that were learned from, [m, 1, N, N, N] of -1 and 1.
        damaged: what is seen, 0 where nothing is, [n, 1, N, N, N].
        hidden: bool, the same shape.
        observation: what was measured.
        train_labels: classes [m] of the shapes that were learned from.
        labels: classes [n] of the damaged ones; where both are given, the mean is that of the class.
    """

    def mean() -> Tensor:
        if labels is None or train_labels is None:
            return train.mean(0).expand(damaged.shape)
        of_class = {int(k): train[train_labels == k].mean(0) for k in train_labels.unique()}
        return torch.stack([of_class.get(int(k), train.mean(0)) for k in labels])

    return {
        "class_mean": mean,
        "nearest_shape": lambda: train[most_alike(train, damaged, (~hidden).float(), 1)[:, 0]],
        "blurred_visible": lambda: _blurred(train, damaged, hidden, observation),
        "mirrored": lambda: Mirrors(train).images(damaged, hidden, _blurred(train, damaged, hidden, observation)),
    }


def refinements(train: Tensor, coarse: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Fields [n, 1, N, N, N] of block means [n, 1, M, M, M], computed when called: repeated, trilinear, cubic, the
    nearest of the shapes that were learned from, [m, 1, N, N, N], and five of them and trilinear."""
    side, size = train.shape[-1], coarse.shape[-1]

    def nearest(num: int) -> Tensor:
        """Mean of the nearest shapes."""
        means = F.avg_pool3d(train, side // size).flatten(1)
        order = torch.cdist(coarse.flatten(1), means).topk(min(num, len(train)), largest=False).indices
        return train[order].mean(1)

    def linear() -> Tensor:
        return F.interpolate(coarse, (side,) * 3, mode="trilinear")

    def cubic() -> Tensor:
        made = [ndimage.zoom(x[0].numpy(), side // size, order=3, grid_mode=True, mode="nearest") for x in coarse]
        return torch.stack([torch.from_numpy(np.asarray(x)) for x in made])[:, None]

    return {
        "nearest": lambda: F.interpolate(coarse, (side,) * 3),
        "trilinear": linear,
        "cubic": cubic,
        "nearest_shape": lambda: nearest(1),
        "five_shapes_and_trilinear": lambda: nearest(5) + linear(),
    }


def _blurred(train: Tensor, damaged: Tensor, hidden: Tensor, observation: Observation) -> Tensor:
    """A mean of what is visible nearby, its width chosen on shapes that were learned from, under the same masks and as
    much noise."""

    def blur(x: Tensor, mask: Tensor, width: float) -> Tensor:
        def smooth(values: Tensor) -> Tensor:
            found = [ndimage.gaussian_filter(v[0].numpy(), width) for v in values]
            return torch.from_numpy(np.stack(found))[:, None]

        seen = (~mask).float()
        return smooth((x + 1) / 2 * seen) / smooth(seen).clamp(min=1e-3) * 2 - 1

    num = min(len(train), len(damaged), 32)
    known, masks = train[:num], hidden[:num]
    seen, where = known, masks
    if isinstance(observation, Noisy):
        seen = known + observation.noise * torch.randn(known.shape, generator=torch.Generator().manual_seed(0))
        where = torch.ones_like(masks)
    found = {
        width: float(overlap(likeliest(blur(seen, masks, width), where), known > 0, where).mean()) for width in WIDTHS
    }
    return blur(damaged, hidden, max(WIDTHS, key=lambda width: found[width]))
