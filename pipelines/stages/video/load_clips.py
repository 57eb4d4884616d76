"""Read many short clips with labels, or make them, and set some aside to judge by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import moving, video
from data.errors import InputError
from pipelines.pipeline import Run
from pipelines.stages.images.load import to_bytes

RATE = 8.0  # frames a second of clips that are made
FEWEST = 20  # clips that anything can be learned from
SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".gif")


@dataclass(frozen=True)
class LoadClips:
    """Read short clips of one length and size, and part them into those to learn from and those to judge by. To the
    stages of compositions a clip is a picture with an axis of time."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("images", "source")

    clips: str = "moving"
    """A folder of videos (mp4, mkv, webm, avi, mov, gif), one folder a class, the label called kind; or moving, made
    from the seed: a shape of a colour in motion (a folder of that name is ./moving)."""

    size: int = 16
    """Pixels a side."""

    frames: int = 8
    """Length of a clip; of longer videos as many clips are taken as they hold. Fewer than 8 make a shallow network."""

    count: int = 6000
    """Clips to make, or to take at most, at random."""

    validation: float = 0.1
    """Share of the clips to judge by."""

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must lie between 0 and 1, got {self.validation}")
        if self.count < FEWEST or self.frames < 4 or not moving.SMALLEST <= self.size <= 64:
            raise ValueError(
                f"count must be {FEWEST} or more, frames 4 or more and size {moving.SMALLEST} to 64, "
                f"got {self.count}, {self.frames} and {self.size}"
            )

    def files(self) -> tuple[str, ...]:
        return () if self.clips == "moving" else tuple(map(str, videos(Path(self.clips))))

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        if self.clips == "moving":
            x, labels = moving.clips(self.count, self.size, self.frames, run.seed)
            origin = torch.arange(len(x))
            classes = {name: list(names) for name, names in moving.ATTRIBUTES.items()}
            rate = RATE
        else:
            x, origin, labels, classes, rate = self._read(Path(self.clips))
        # Always the same split, clips of one video on one side: an energy learned in another run knows no more.
        numbers = origin.unique()  # of videos that are long enough
        order = numbers[torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))]
        aside = torch.isin(origin, order[: max(1, math.floor(len(order) * self.validation))])
        found: dict[str, Any] = {"classes": []}
        parts = {"validation": aside.nonzero()[:, 0], "train": (~aside).nonzero()[:, 0]}
        found |= {part: to_bytes(x[rows]) for part, rows in parts.items()}
        found["attributes"] = {
            name: {"classes": classes[name], **{part: own[rows] for part, rows in parts.items()}}
            for name, own in labels.items()
        }
        for name, own in found["attributes"].items():
            missing = [of for k, of in enumerate(own["classes"]) if not (own["train"] == k).any()]
            if missing:
                raise InputError(
                    f"load_clips.clips={self.clips}: no clip of {self.frames} frames to learn {name} "
                    f"{missing[0]} from; give more or longer videos of it"
                )
        run.log(event="loaded", **{part: len(rows) for part, rows in parts.items()}, shape=list(x.shape[1:]))
        return {"images": found, "source": {"name": self.clips, "frames_a_second": rate}}

    def _read(self, folder: Path) -> tuple[Tensor, Tensor, dict[str, Tensor], dict[str, list[str]], float]:
        """Clips [n, 3, T, H, W] of every video in a folder of folders, of which video each is, the label kind, and how
        many frames a second they have, the median."""
        if not folder.is_dir():
            raise InputError(f"load_clips.clips={folder}: no such folder")
        files = videos(folder)
        kinds = sorted({file.parent.name for file in files})
        if len(kinds) < 2:
            raise InputError(f"load_clips.clips={folder}: needs two folders or more with videos, a folder a class")
        x, origin, labels, rates = [], [], [], []
        for number, file in enumerate(files):
            clip, rate = video.read(file, size=self.size, frames=None)
            rates += [rate] if clip.shape[1] >= self.frames else []
            for low in range(0, clip.shape[1] - self.frames + 1, self.frames):
                x.append(clip[:, low : low + self.frames])
                origin.append(number)
                labels.append(kinds.index(file.parent.name))
            moving.check_clips(len(x), self.frames, self.size)
        if len(x) < FEWEST:
            raise InputError(
                f"{folder} holds {len(x)} clips of {self.frames} frames; at least {FEWEST} are needed to learn from"
            )
        taken = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: self.count]
        kind = torch.tensor(labels)[taken]
        return torch.stack(x)[taken], torch.tensor(origin)[taken], {"kind": kind}, {"kind": kinds}, median(rates)


def videos(folder: Path) -> list[Path]:
    """Of the folders in a folder."""
    return sorted(f for f in folder.glob("*/*") if f.suffix.lower() in SUFFIXES)
