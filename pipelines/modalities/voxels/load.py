"""Read shapes, and set some aside to judge by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from data import near_duplicates, voxels
from data.errors import InputError
from data.grids import cube
from data.packing import label_columns
from pipelines.examples import FEWEST, Examples, check_learnable
from pipelines.settings import check_there
from pipelines.stage import Run
from pipelines.warned import told

SIDES = range(8, 129)  # of the cubes


@dataclass(frozen=True)
class Load:
    """Read shapes, or make them, and part them into those to learn from and those to judge by."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("data", "source")

    voxels: str = "procedural"
    """A folder of meshes (obj, off, stl, ply, glb, gltf, 3mf) or grids (npz, npy, binvox), one such file of many grids,
    or furniture made from the seed: procedural, procedural:chairs, procedural:tables, procedural:shelves,
    procedural:lamps."""

    size: int | None = None
    """Voxels a side; null keeps the size of grids, and is 32 for furniture. Meshes need it."""

    count: int = 800
    """Pieces of furniture to make."""

    up: Literal["y", "z"] | None = None
    """The axis of the files that points up; null: y for obj and glb, else z."""

    pad: bool = False
    """Put smaller grids, and those that are no cubes, into the middle of the cube."""

    frame: str | None = None
    """A mesh whose box places all meshes in the cube, as they lie beside it; null: each is scaled to fill the cube."""

    validation: float = 0.15
    """Share of the shapes to judge by. Near-duplicates (intersection over union above 0.9) stay on one side, and of
    those to judge by one is kept."""

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must lie between 0 and 1, got {self.validation}")
        if self.count < FEWEST:
            raise ValueError(f"count must be {FEWEST} or more, got {self.count}")
        if self.size is not None and self.size not in SIDES:
            raise ValueError(f"size must be {SIDES.start} to {SIDES[-1]} voxels, got {self.size}")
        if self.frame is not None and self.size is None:
            raise ValueError("frame needs size, how many voxels a side its box has")
        check_there(frame=self.frame)

    def files(self) -> tuple[str, ...]:
        voxels = None if self._made() else self.voxels
        return tuple(file for file in (voxels, self.frame) if file is not None)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        if not self._made() and not Path(self.voxels).exists():
            raise InputError(f"load.voxels={self.voxels}: no such file or folder")
        frame = None
        if self.frame is not None and self.size is not None:
            frame = voxels.frame_of([Path(self.frame)], self.size, self.up)
        with told() as notes:
            dataset = voxels.open_dataset(
                self.voxels if self._made() else Path(self.voxels), self.size, self.up, pad=self.pad, frame=frame,
                count=self.count, seed=run.seed,
            )  # fmt: skip
        if len(dataset) < FEWEST:
            raise InputError(f"{self.voxels} holds {len(dataset)} shapes; at least {FEWEST} are needed to learn from")
        bits = np.stack([np.frombuffer(row, np.uint8) for row in dataset["bits"]])
        side = self._side(bits)
        rows = self._parted(bits, side)
        classes, labels = _labels(dataset)
        found = label_columns(dataset, rows)
        data = Examples(
            "voxels", (1, side, side, side),
            train=torch.from_numpy(bits[rows["train"]]), validation=torch.from_numpy(bits[rows["validation"]]),
            classes=classes,
            train_labels=None if labels is None else labels[rows["train"]],
            validation_labels=None if labels is None else labels[rows["validation"]],
            attributes={"kind" if name == "label" else name: own for name, own in found.items()},
        )  # fmt: skip
        check_learnable(data, self.voxels, "shapes", FEWEST // 2)
        run.log(event="loaded", train=len(data.train), validation=len(data.validation), side=side)
        source = {"name": self.voxels, "up": self.up, "pad": self.pad, "frame": frame, "notes": notes}
        return {"data": data, "source": source}

    def _made(self) -> bool:
        return self.voxels.split(":")[0] == "procedural"

    def _side(self, bits: np.ndarray) -> int:
        side = cube(bits.shape[1])
        assert side is not None  # the data set holds cubes
        if side not in SIDES:
            raise InputError(
                f"{self.voxels}: is of {side} voxels a side; {SIDES.start} to {SIDES[-1]} can be learned from"
            )
        return side

    def _parted(self, bits: np.ndarray, side: int) -> dict[str, np.ndarray]:
        """The rows to learn from, and those to judge by."""
        rng = np.random.default_rng(0)  # always the same split: an energy learned in another run knows no more
        train, validation = near_duplicates.split(bits, side, self.validation, rng)
        if not len(validation) or len(train) < FEWEST // 2:
            raise InputError(
                f"{self.voxels}: near-duplicates kept on one side, {len(train)} shapes are left to learn from and "
                f"{len(validation)} to judge by; give more shapes, or another load.validation"
            )
        return {"train": train, "validation": validation}


def _labels(dataset: Any) -> tuple[tuple[str, ...], torch.Tensor | None]:
    """Names of the classes, and the label of every row, -1 where it is not known."""
    if "label" not in dataset.column_names:
        return (), None
    names = getattr(dataset.features["label"], "names", None)
    labels = np.array([-1 if label is None else label for label in dataset["label"]])
    if names is None:
        names, labels = np.unique(labels, return_inverse=True)
    return tuple(map(str, names)), torch.from_numpy(labels).long()
