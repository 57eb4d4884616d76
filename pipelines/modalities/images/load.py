"""Read pictures, and set some aside to judge by; or one photograph of a texture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from data import arrays, images, pictures, textures
from data.errors import InputError
from data.packing import label_columns
from data.scenes import ATTRIBUTES, held_out
from pipelines.examples import FEWEST, Examples, check_learnable, to_levels
from pipelines.stage import Run

LARGEST = 256  # pixels a side that can be learned from
LARGEST_PHOTOGRAPH = 4096  # pixels a side
MADE = 128  # pixels a side of a texture that is made


@dataclass(frozen=True)
class Load:
    """Read pictures, or make them, and part them into those to learn from and those to judge by. Or read one photograph
    of a texture, of which all is learned from."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("data", "source")

    images: str = "digits"
    """A folder of pictures (one folder a class, or none; metadata.csv may label them), an IDX file as MNIST's or the
    folder of it, an NPZ or NPY file, a data set saved to disk or its name on the hub; digits, which come with
    scikit-learn, or scenes, made from the seed."""

    size: int | None = None
    """Pixels a side: a centred square, shrunk by area; null keeps the size of arrays and of a photograph, and makes a
    texture of 128. Folders need it. What repeats in a photograph, as a brick, is best seen whole in learn.crop."""

    channels: Literal[1, 3] | None = None
    """1 (grey) or 3 (RGB); null keeps an array's, and is 3 for files."""

    split: str | None = None
    """Which split of the data set; null: train, where there is one."""

    count: int | None = None
    """Pictures to take, at most, at random; of scenes, how many to make. null: all, or 10,000 scenes."""

    label: str | None = "label"
    """Column that holds the labels; scenes have shape, colour, size and place. null: no labels."""

    held_out: float = 0.0
    """Share of the combinations of the scenes' attributes, spread among all, that are not to be seen."""

    skip_damaged: bool = False
    """Leave damaged pictures of a folder out, and count them; false stops at the first."""

    validation: float = 0.1
    """Share of the pictures to judge by."""

    photograph: str | None = None
    """In place of images: one picture file of a texture; or bricks or cloth, which are made from the seed."""

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must lie between 0 and 1, got {self.validation}")
        if not 0 <= self.held_out <= 0.5 or (self.held_out and self.images != "scenes"):
            raise ValueError(f"held_out must lie in [0, 0.5], and be 0 but for scenes, got {self.held_out}")
        if self.count is not None and self.count < FEWEST:
            raise ValueError(f"count must be {FEWEST} or more, got {self.count}")
        if self.photograph is not None and self.images != "digits":
            raise ValueError(f"photograph={self.photograph} cannot be combined with images={self.images}; give one")
        least, most = (8, LARGEST) if self.photograph is None else (textures.SMALLEST, LARGEST_PHOTOGRAPH)
        if self.size is not None and not least <= self.size <= most:
            raise ValueError(f"size must be {least} to {most} pixels, got {self.size}")

    def files(self) -> tuple[str, ...]:
        name = self.photograph or self.images
        if name in ("digits", "scenes", *textures.KINDS):
            return ()
        labels = arrays.labels_beside(Path(name))
        return (name, str(labels)) if labels else (name,)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        if self.photograph is not None:
            return self._photograph(self.photograph, run)
        dataset = self._opened(run)
        if self.held_out:
            dataset = _without(dataset, held_out(self.held_out))
        total = len(dataset)
        if total < FEWEST:
            raise InputError(f"{self.images} holds {total} pictures; at least {FEWEST} are needed to learn from")
        # Always the same split: an energy learned in another run knows no more.
        order = torch.randperm(total, generator=torch.Generator().manual_seed(0))[: self.count]
        num = max(1, math.floor(len(order) * self.validation))
        data = self._examples(dataset, order[num:], order[:num])
        if max(data.shape[1:]) > LARGEST:
            height, width = data.shape[1:]
            raise InputError(f"{self.images}: is of {width}x{height} pixels; set load.size, at most {LARGEST}")
        run.log(event="loaded", train=len(data.train), validation=num, shape=list(data.shape))
        check_learnable(data, self.images, "pictures")
        return {"data": data, "source": {"name": self.images}}

    def _opened(self, run: Run) -> Any:
        made = {"num": self.count, "seed": run.seed} if self.images == "scenes" else {}
        try:
            return images.open_dataset(
                self.images, self.size, self.channels, self.split, skip_damaged=self.skip_damaged, **made
            )
        except images.Damaged as error:
            raise InputError(f"{error}; or leave damaged pictures out by load.skip_damaged=true") from error

    def _examples(self, dataset: Any, train: Tensor, validation: Tensor) -> Examples:
        """The rows of a data set."""
        (seen, labels), (aside, others) = (self._batch(dataset, rows) for rows in (train, validation))
        classes: tuple[str, ...] = ()
        if labels is not None and others is not None:
            names = getattr(dataset.features[self.label], "names", None)
            classes = tuple(map(str, names or range(int(max(labels.max(), others.max())) + 1)))
        shape = tuple(seen.shape[1:])
        attributes = {} if self.label is None else _attributes(dataset, {"train": train, "validation": validation})
        return Examples("images", shape, to_levels(seen), to_levels(aside), classes, labels, others, attributes)

    def _batch(self, dataset: Any, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        try:
            return images.batch(dataset, rows.tolist(), label=self.label)
        except InputError as error:
            hint = "" if self.size else "; set load.size, as load.size=32"
            raise InputError(f"{self.images}: {error}{hint}") from error

    def _photograph(self, name: str, run: Run) -> dict[str, Any]:
        channels = self.channels or 3
        if name in textures.KINDS:
            x = pictures.to_channels(textures.texture(name, self.size or MADE, run.seed), channels).contiguous()
            pixels = list(x.shape[1:])
        else:
            x, pixels = self._read(name, channels)
        run.log(event="loaded", shape=list(x.shape), file=pixels)
        data = Examples("images", tuple(x.shape), x[None], x.new_empty(0, *x.shape))
        check_learnable(data, f"load.photograph={name}", "photographs")
        return {"data": data, "source": {"name": name, "pixels": pixels}}

    def _read(self, name: str, channels: int) -> tuple[Tensor, list[int]]:
        """The photograph [C, H, W], and how many pixels its file has."""
        try:
            levels = pictures.levels(Path(name))
        except InputError as error:
            raise InputError(f"load.photograph: {error}") from None
        height, width = levels.shape[:2]
        if min(height, width) < textures.SMALLEST:
            raise InputError(
                f"load.photograph={name}: has {width}x{height} pixels; a texture is learned from "
                f"{textures.SMALLEST}x{textures.SMALLEST} or more"
            )
        if self.size is not None and self.size > min(height, width):
            raise InputError(
                f"load.size={self.size}: is larger than {name}, of {width}x{height} pixels; set "
                f"{min(height, width)} at most"
            )
        size = None if self.size is None else (self.size, self.size)
        return pictures.fit(levels, size, channels).contiguous(), [height, width]


def _without(dataset: Any, combinations: list[dict[str, str]]) -> Any:
    """The rows whose attributes are none of these combinations."""
    columns = {name: dataset.features[name].int2str(dataset[name][:]) for name in ATTRIBUTES}
    out = {tuple(scene.values()) for scene in combinations}
    rows = zip(*(columns[name] for name in ATTRIBUTES), strict=True)
    return dataset.select([row for row, values in enumerate(rows) if values not in out])


def _attributes(dataset: Any, parts: dict[str, Tensor]) -> dict[str, Any]:
    """All label columns; `label` where it is the only one."""
    found = label_columns(dataset, parts)
    return found if len(found) < 2 else {name: own for name, own in found.items() if name != "label"}
