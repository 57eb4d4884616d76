"""The simple methods to beat, on the same shapes; fields in [-1, 1], turned into solids as ours are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from energies import Noisy, Observation
from energies.references.dataset import most_alike
from pipelines.measures.solids import likeliest, overlap

AGREED = 32  # shapes that tell how symmetric the others are
CERTAIN = 0.1  # of a shape's voxels that are seen: how much that tells beside it
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
        "mirrored": lambda: _mirrored(train, damaged, hidden, _blurred(train, damaged, hidden, observation)),
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


def _mirrored(train: Tensor, damaged: Tensor, hidden: Tensor, otherwise: Tensor) -> Tensor:
    """Each shape's own mirror image where it is hidden; where the image is hidden too, or out of the grid, and where
    something is seen, another field.

    The plane is the one across which shape and image agree best, by intersection over union where both are seen, as if
    CERTAIN of its voxels more had been seen that agree as shapes that were learned from do. Planes that show less than
    half as much of what is hidden as another are left out.
    """
    planes = list(_planes(train.shape[-1]))
    known = train[:AGREED, 0] > 0
    usual = [float(_agreement(known, torch.ones_like(known), *plane)[2].mean()) for plane in planes]
    fields = []
    for x, mask, other in zip(damaged, hidden, otherwise, strict=True):
        shown = [int((_image(~mask, *plane) & mask).sum()) for plane in planes]
        extra = CERTAIN * float((x > 0).sum())

        def likelihood(k: int, x: Tensor = x, mask: Tensor = mask, extra: float = extra) -> float:
            both, either, _ = _agreement(x > 0, ~mask, *planes[k])
            return (float(both) + extra * usual[k]) / max(float(either) + extra, 1.0)

        best = max((k for k, num in enumerate(shown) if 2 * num >= max(shown)), key=likelihood)
        image, seen = _image(x, *planes[best]), _image(~mask, *planes[best])
        fields.append(torch.where(mask & seen, image, other))
    return torch.stack(fields)


def _planes(side: int) -> Iterator[tuple[int, int]]:
    """Planes across which a grid is mirrored: an axis, and twice their distance from the middle in voxels."""
    for shift in sorted(range(-(side // 4), side // 4 + 1), key=abs):
        yield from ((axis, shift) for axis in range(3))


def _image(x: Tensor, axis: int, shift: int) -> Tensor:
    """The mirror image of grids [n, N, N, N]; 0 where it comes from out of the grid."""
    side = x.shape[1 + axis]
    places = side - 1 - torch.arange(side) + shift
    image = x.index_select(1 + axis, places.clamp(0, side - 1))
    inside = ((places >= 0) & (places < side)).view([-1 if other == axis else 1 for other in range(3)])
    return image * inside


def _agreement(solid: Tensor, seen: Tensor, axis: int, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """Voxels [n] that are set in grids and in their images, in either, where both are seen; and their ratio."""
    image, where = _image(solid, axis, shift), seen & _image(seen, axis, shift)
    both = (solid & image & where).flatten(1).sum(1)
    either = ((solid | image) & where).flatten(1).sum(1)
    return both, either, both / either.clamp(min=1)
