"""Examples of any modality: what `load` gives, to learn from and to judge by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from warnings import warn

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data.errors import InputError

FEWEST = 20
"""Different examples that anything can be learned from."""
FLAT = 0.01
"""Standard deviation, in units of x, below which one clip or photograph is of one colour."""

Part = Literal["train", "validation"]


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples x [n, *shape] in [-1, 1], stored compactly; parts of one kind, with labels where there are some.

    A single clip or photograph, of which all is learned from that is seen, is one example to learn from and none to
    judge by.

    Attributes:
        modality: images, video or voxels.
        shape: of one x, [C, *size].
        train: to learn from (nothing, [1, 0], of a clip too large to be held): levels uint8 [n, *shape],
            packed bits uint8 [n, bytes] of grids, or float [n, *shape].
        validation: to judge by, likewise.
        classes: names of the labels.
        train_labels: [n]; -1 where it is not known; None: there are none.
        validation_labels: likewise.
        attributes: further labels by name: {"classes": names, "train": [n], "validation": [n]}.
    """

    modality: str
    shape: tuple[int, ...]
    train: Tensor
    validation: Tensor
    classes: tuple[str, ...] = ()
    train_labels: Tensor | None = None
    validation_labels: Tensor | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def single(self) -> bool:
        """Whether this is one clip or photograph, with nothing besides to judge by."""
        return len(self.train) == 1 and not len(self.validation)

    def x(self, part: Part = "train", rows: Tensor | slice | None = None) -> Tensor:
        """x of some rows of a part, float [k, *shape] on the CPU; None: all."""
        stored = self.train if part == "train" else self.validation
        if stored.shape == (1, 0):
            sides = "x".join(map(str, reversed(self.shape[1:])))
            raise InputError(
                f"a clip of {sides} (width, height, frames) is only recovered, window by window: for anything else it "
                "is too large; make it smaller by load.size, or take part of it by load.start and load.frames"
            )
        return decoded(stored if rows is None else stored[rows], self.shape)

    def labels(self, part: Part = "train") -> Tensor | None:
        """Labels [n] of a part."""
        return self.train_labels if part == "train" else self.validation_labels

    def known(self, part: Part) -> tuple[Tensor, Tensor]:
        """x and labels of all of a part that are labelled."""
        labels = self.labels(part)
        assert labels is not None
        rows = (labels >= 0).nonzero()[:, 0]
        return self.x(part, rows), labels[rows]


def check_learnable(data: Examples, name: str, noun: str, fewest: int = FEWEST) -> None:
    """Whether anything can be learned: InputError where not, a warning where little can. `noun`: of several x.

    Refused: values that are not finite, one clip or photograph of one colour, fewer than `fewest` examples, all of
    them alike. Told: few that differ, empty grids, classes without an example.
    """
    if data.train.is_floating_point() and not data.train.isfinite().all():
        raise InputError(f"{name}: holds NaN or infinite values; replace them")
    if data.single:
        if float(data.train.float().std()) < FLAT:
            raise InputError(f"{name}: is of one colour; there is nothing to learn")
        return
    num = len(data.train) + len(data.validation)
    if num < fewest:
        raise InputError(f"{name}: holds {num} {noun}; at least {fewest} are needed to learn from")
    different = _different(data.train, FEWEST)
    if different == 1:
        raise InputError(f"{name}: its {len(data.train)} {noun} to learn from are all the same; give different ones")
    if different < min(FEWEST, len(data.train)):
        warn(f"{name}: of its {len(data.train)} {noun} to learn from only {different} differ", stacklevel=2)
    if data.train.ndim == 2 and (empty := int((data.train == 0).all(1).sum())):
        warn(f"{name}: {empty} of its {len(data.train)} {noun} to learn from are empty", stacklevel=2)
    if missing := without_examples(data.classes, data.train_labels):
        warn(f"{name}: no {noun} to learn {', '.join(missing)} from; load.count takes more", stacklevel=2)


def without_examples(classes: Sequence[str], labels: Tensor | None) -> list[str]:
    """The classes that none of the labels is of."""
    return [] if labels is None else [name for number, name in enumerate(classes) if not (labels == number).any()]


def _different(stored: Tensor, most: int) -> int:
    """How many rows differ, counted up to `most`."""
    found: set[bytes] = set()
    for row in stored:
        found.add(row.numpy().tobytes())
        if len(found) == most:
            break
    return len(found)


def decoded(stored: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x [k, *shape] in [-1, 1] of levels, packed bits or floats."""
    if stored.is_floating_point():
        return stored.float()
    if stored.ndim == 2 and len(shape) > 1:
        bits = np.unpackbits(stored.numpy(), axis=1, count=int(np.prod(shape)))
        return torch.from_numpy(bits).view(len(stored), *shape).float() * 2 - 1
    return stored.float() / 127.5 - 1


def to_levels(x: Tensor) -> Tensor:
    """uint8 levels of x in [-1, 1]."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_bits(solid: Tensor) -> Tensor:
    """Packed bits uint8 [n, bytes] of bool [n, 1, *size]."""
    return torch.from_numpy(np.packbits(solid.flatten(1).numpy(), axis=1))


def block_means(x: Tensor, size: int) -> Tensor:
    """Means [n, C, size, ...] of the blocks of x [n, C, *sides] whose longest side gives `size` blocks; `size` divides
    it."""
    factor = max(x.shape[2:]) // size
    if factor == 1:
        return x
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[x.ndim - 2]
    return torch.cat([pool(part, factor) for part in x.split(64)])
