"""Read pictures, and set some aside to judge by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from data import images
from data.errors import InputError
from data.packing import label_columns
from data.scenes import ATTRIBUTES, held_out
from pipelines.pipeline import Run

FEWEST = 20  # pictures that anything can be learned from
LARGEST = 256  # pixels a side that can be learned from
MADE = ("digits", "scenes")


@dataclass(frozen=True)
class Load:
    """Read pictures, or make them, and part them into those to learn from and those to judge by."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("images", "source")

    images: str = "digits"
    """A folder of pictures (one folder a class, or none), an IDX file as MNIST's or the folder of it, an NPZ file, a
    data set saved to disk or its name on the hub; digits, which come with scikit-learn, or scenes, made from the
    seed."""

    size: int | None = None
    """Pixels a side: a centred square, shrunk by area; null keeps the size of arrays. Files need it."""

    channels: Literal[1, 3] | None = None
    """1 (grey) or 3 (RGB); null keeps an array's, and is 3 for files."""

    split: str | None = None
    """Which split of the data set; null: train, where there is one."""

    count: int | None = None
    """Pictures to take, at most, at random; of scenes, how many to make. null: all, or 10,000 scenes."""

    label: str = "label"
    """Column that holds the labels; scenes have shape, colour, size and place."""

    held_out: float = 0.0
    """Share of the combinations of the scenes' attributes, spread among all, that are not to be seen."""

    validation: float = 0.1
    """Share of the pictures to judge by."""

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must lie between 0 and 1, got {self.validation}")
        if not 0 <= self.held_out <= 0.5 or (self.held_out and self.images != "scenes"):
            raise ValueError(f"held_out must lie in [0, 0.5], and be 0 but for scenes, got {self.held_out}")
        if self.count is not None and self.count < FEWEST:
            raise ValueError(f"count must be {FEWEST} or more, got {self.count}")
        if self.size is not None and not 8 <= self.size <= LARGEST:
            raise ValueError(f"size must be 8 to {LARGEST} pixels, got {self.size}")

    def files(self) -> tuple[str, ...]:
        return (self.images,) if Path(self.images).is_file() else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        made = {"num": self.count, "seed": run.seed} if self.images == "scenes" else {}
        dataset: Any = images.open_dataset(self.images, self.size, self.channels, self.split, **made)
        if self.held_out:
            dataset = _without(dataset, held_out(self.held_out))
        total = len(dataset)
        if total < FEWEST:
            raise InputError(f"{self.images} holds {total} pictures; at least {FEWEST} are needed to learn from")
        # Always the same split: an energy learned in another run knows no more.
        order = torch.randperm(total, generator=torch.Generator().manual_seed(0))[: self.count]
        num = max(1, math.floor(len(order) * self.validation))
        parts = {"validation": order[:num], "train": order[num:]}
        found: dict[str, Any] = {"classes": []}
        for name, rows in parts.items():
            try:
                x, labels = images.batch(dataset, rows.tolist(), label=self.label)
            except InputError as error:
                hint = "" if self.size else "; set load.size, as load.size=32"
                raise InputError(f"{self.images}: {error}{hint}") from error
            found[name] = to_bytes(x)
            if labels is not None:
                found[f"{name}_labels"] = labels
        if "train_labels" in found:
            names = getattr(dataset.features[self.label], "names", None)
            most = int(max(found[f"{name}_labels"].max() for name in parts))
            found["classes"] = list(map(str, names or range(most + 1)))
        found["attributes"] = _attributes(dataset, parts)
        shape = list(found["train"].shape[1:])
        if max(shape[1:]) > LARGEST:
            raise InputError(f"{self.images}: is of {shape[2]}x{shape[1]} pixels; set load.size, at most {LARGEST}")
        run.log(event="loaded", train=len(found["train"]), validation=num, shape=shape)
        return {"images": found, "source": {"name": self.images}}


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


def to_bytes(x: Tensor) -> Tensor:
    """uint8 levels of x in [-1, 1]."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_float(levels: Tensor) -> Tensor:
    """x in [-1, 1] of uint8 levels."""
    return levels.float() / 127.5 - 1
