"""Read one clip; or many short ones with labels, some of them set aside to judge by."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from warnings import warn

import torch
from torch import Tensor

from data import moving, procedural, video
from data.errors import InputError
from data.frames import parse_size
from data.probing import probe
from pipelines.examples import Examples, check_learnable, to_levels
from pipelines.modalities.video import folder
from pipelines.modalities.video.folder import FEWEST
from pipelines.stage import Run
from pipelines.windows.footage import Footage, opened

SMALLEST = 8  # pixels a side
HELD = 16_000_000  # pixels of all frames of a clip that is held in memory
MADE_SIZE = (64, 96)  # pixels of a clip that is made
MADE_FRAMES = 32
LARGEST = 64  # pixels a side of clips of a set
SHORTEST = 4  # frames
MADE = 6000  # clips of a set that are made
MADE_RATE = 25.0  # frames a second of a clip that is made
RATE = 8.0  # frames a second of clips of a set that are made


@dataclass(frozen=True)
class Load:
    """Read a video, or make one, of which all is learned from. Or read many short clips of one length and size, and
    part them into those to learn from and those to judge by."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("data", "source", "footage")

    video: str = "procedural"
    """A file (mp4, mkv, webm, avi, mov, ts, gif ...), a folder of numbered frames (png, jpg, tif, webp), or a clip made
    from the seed: procedural:journey (or just procedural), procedural:cloth, procedural:waves, procedural:flames."""

    clips: str | None = None
    """In place of video: a folder of videos, one folder a class, the label called kind; or moving, made from the seed:
    a shape of a colour in motion (a folder of that name is ./moving)."""

    size: int | str | None = None
    """Pixels a side, or HEIGHTxWIDTH as in 48x64; null keeps the size of the file (64x96 of made ones). Clips of a set
    are square."""

    frames: int | None = None
    """Number of frames; null takes all (32 of made ones). Of longer videos in a folder as many clips are taken as they
    hold; fewer than 8 frames make a shallow network."""

    start: int = 0
    """First frame to take, counted from 0."""

    stride: int = 1
    """Take every stride-th frame."""

    crop: bool = True
    """Keep the aspect ratio by cropping around the centre; false squeezes."""

    fps: float | None = None
    """Frames a second: of a folder of numbered frames, 25 if null; of all clips of a folder, to which others are
    resampled, their median if null. A single file has its own times."""

    count: int | None = None
    """Clips to make, or to take of a folder at most, at random. null: 6000, or all."""

    label: str | None = None
    """Which of the labels of the clips are their classes: kind, or colour, shape or motion of moving ones. null: none,
    they are learned without classes."""

    validation: float = 0.1
    """Share of the clips to judge by."""

    def __post_init__(self) -> None:
        self._pixels()
        if self.frames is not None and self.frames < SHORTEST:
            raise ValueError(f"frames must be {SHORTEST} or more, got {self.frames}")
        if self.start < 0 or self.stride < 1:
            raise ValueError(f"start must be 0 or more and stride 1 or more, got {self.start} and {self.stride}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps must be above 0, at most 1000, got {self.fps:g}")
        if self.clips is not None:
            self._check_clips()
        elif self.label is not None:
            raise ValueError(f"label={self.label} is for clips, a folder or moving")
        elif self.fps is not None and self._kind():
            raise ValueError(f"fps={self.fps:g} is for a folder of frames or of clips; video={self.video} is made")

    def _check_clips(self) -> None:
        if self.video != "procedural":
            raise ValueError(f"video={self.video} cannot be combined with clips={self.clips}; give one")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must lie between 0 and 1, got {self.validation}")
        if self.count is not None and self.count < FEWEST:
            raise ValueError(f"count must be {FEWEST} or more, got {self.count}")
        if not isinstance(self.size, int) or not moving.SMALLEST <= self.size <= LARGEST:
            raise ValueError(f"size of clips must be {moving.SMALLEST} to {LARGEST} pixels, got {self.size}")
        if self.clips == "moving" and (self.start, self.stride, self.fps) != (0, 1, None):
            raise ValueError("start and stride are for files, as is fps; clips=moving are made as long as frames says")
        if self.frames is None:
            raise ValueError("frames=null is for one video; clips are of one length, such as 8")

    def files(self) -> tuple[str, ...]:
        if self.clips is not None:
            return () if self.clips == "moving" else (self.clips,)
        return () if self._kind() else (self.video,)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        if self.clips is not None:
            return self._clips(self.clips, run) | {"footage": None}
        path = Path(self.video)
        if self._kind() or path.is_dir() or not self._is_large(path):
            return self._clip(run) | {"footage": None}
        return self._footage(path)

    def _is_large(self, path: Path) -> bool:
        """Whether a clip takes more memory than one is held in."""
        found, size = probe(path), self._pixels()
        rows, columns = found.size if size is None else parse_size(size)
        num = video.Cut(self.frames, self.start, self.stride).count(found.frames or 0)
        return num * rows * columns > HELD

    def _footage(self, path: Path) -> dict[str, Any]:
        """A clip that is read frame by frame."""
        size, cut = self._pixels(), video.Cut(self.frames, self.start, self.stride)
        found = opened(Footage(str(path), cut, None if size is None else parse_size(size), self.crop))
        nothing = torch.zeros(1, 0)
        source = self._source(self.video, found.fps) | {"times": list(found.times), "whole": found.whole}
        return {
            "data": Examples("video", found.shape, nothing, nothing[:0]), "source": source, "footage": found,
        }  # fmt: skip

    # ------------------------------------------------------------------------------------- one clip

    def _clip(self, run: Run) -> dict[str, Any]:
        size, kind = self._pixels(), self._kind()
        if kind:
            length = (self.frames or MADE_FRAMES) - 1
            num, size = self.start + length * self.stride + 1, size or MADE_SIZE
            clip = procedural.video(kind, frames=num, size=size, seed=run.seed)[:, self.start :: self.stride]
            source = self._source(self.video, MADE_RATE / self.stride)
        else:
            clip, source = self._file(Path(self.video), size)
        if min(clip.shape[2:]) < SMALLEST or clip.shape[1] < SHORTEST:
            raise InputError(
                f"{self.video} gives {clip.shape[1]} frames of {clip.shape[2]}x{clip.shape[3]} pixels; "
                f"at least {SHORTEST} of {SMALLEST}x{SMALLEST} are needed (set load.size and load.frames)"
            )
        x = clip.contiguous()[None]
        return {"data": Examples("video", tuple(x.shape[1:]), x, x[:0].clone()), "source": source}

    def _file(self, path: Path, size: int | tuple[int, int] | None) -> tuple[Tensor, dict[str, Any]]:
        """The clip of a video or of a folder of frames, and what belongs to it."""
        cut = video.Cut(self.frames, self.start, self.stride)
        read = video.read_timed(path, size=size, cut=cut, crop=self.crop, fps=self.fps)
        if path.is_dir() and self.fps is None:
            rate = f"{read.fps * self.stride:g}"
            warn(f"{path}: its frames are taken to be {rate} a second; load.fps tells another rate", stacklevel=1)
        times = {"times": [*read.times, read.end], "whole": read.whole}
        return read.clip, self._source(self.video, read.fps) | times

    def _source(self, name: str, fps: float) -> dict[str, Any]:
        return {"name": name, "fps": fps, "start": self.start, "stride": self.stride, "crop": self.crop}

    def _kind(self) -> str | None:
        """The kind of procedural clip, None for a file."""
        if self.video == "procedural":
            return "journey"
        return self.video.removeprefix("procedural:") if self.video.startswith("procedural:") else None

    def _pixels(self) -> int | tuple[int, int] | None:
        size: int | tuple[int, int] | None
        if isinstance(self.size, str):
            sides = self.size.lower().split("x")
            if not (len(sides) in (1, 2) and all(re.fullmatch(r"\d{1,9}", side) for side in sides)):
                raise ValueError(f"size must be a number of pixels or HEIGHTxWIDTH as in 48x64, got {self.size!r}")
            size = int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))
        else:
            size = self.size
        if size is not None and min(parse_size(size)) < SMALLEST:
            raise ValueError(f"size must be {SMALLEST} pixels or more, got {self.size}")
        return size

    # ----------------------------------------------------------------------------------- many clips

    def _clips(self, name: str, run: Run) -> dict[str, Any]:
        assert isinstance(self.size, int) and self.frames is not None
        if name == "moving":
            x, labels = moving.clips(self.count or MADE, self.size, self.frames, run.seed)
            origin = torch.arange(len(x))
            classes: Mapping[str, Sequence[str]] = moving.ATTRIBUTES
            rate = RATE
        else:
            cut = video.Cut(None, self.start, self.stride)
            found = folder.read(Path(name), self.size, self.frames, cut, self.crop, self.fps)
            taken = torch.randperm(len(found.x), generator=torch.Generator().manual_seed(0))[: self.count]
            x, origin, rate = found.x[taken], found.origin[taken], found.rate
            labels, classes = {"kind": found.kind[taken]}, {"kind": found.kinds}
        # Always the same split, clips of one video on one side: an energy learned in another run knows no more.
        numbers = origin.unique()  # of videos that are long enough
        order = numbers[torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))]
        aside = torch.isin(origin, order[: max(1, math.floor(len(order) * self.validation))])
        parts = {"validation": aside.nonzero()[:, 0], "train": (~aside).nonzero()[:, 0]}
        attributes = {
            attribute: {"classes": list(classes[attribute]), **{part: own[rows] for part, rows in parts.items()}}
            for attribute, own in labels.items()
        }
        self._check_examples(attributes)
        shape = tuple(x.shape[1:])
        run.log(event="loaded", **{part: len(rows) for part, rows in parts.items()}, shape=list(shape))
        train, validation = (to_levels(x[parts[part]]) for part in ("train", "validation"))
        data = self._labelled(Examples("video", shape, train, validation, attributes=attributes))
        check_learnable(data, f"load.clips={name}", "clips")
        return {"data": data, "source": self._source(name, rate)}

    def _labelled(self, data: Examples) -> Examples:
        """With the classes that are asked for. InputError: there are no such labels."""
        if self.label is None:
            return data
        if self.label not in data.attributes:
            raise InputError(f"load.label={self.label}: the labels are {', '.join(data.attributes)}")
        own = data.attributes[self.label]
        classes = tuple(map(str, own["classes"]))
        return replace(data, classes=classes, train_labels=own["train"], validation_labels=own["validation"])

    def _check_examples(self, attributes: dict[str, Any]) -> None:
        """InputError if a class has no clip to learn from."""
        for name, own in attributes.items():
            missing = [of for k, of in enumerate(own["classes"]) if not (own["train"] == k).any()]
            if missing:
                raise InputError(
                    f"load.clips={self.clips}: no clip of {self.frames} frames to learn {name} {missing[0]} from; give "
                    "more or longer videos of it"
                )
