"""Read the clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from data import procedural, video
from data.errors import InputError
from data.frames import parse_size
from pipelines.pipeline import Run

SMALLEST = 8  # pixels a side
SHORTEST = 4  # frames


@dataclass(frozen=True)
class Load:
    """Read a video, or make one."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("clip", "source")

    video: str = "procedural"
    """A file (mp4, mkv, webm, avi, mov, gif), or a clip made from the seed: procedural:cloth (or just procedural),
    procedural:waves, procedural:flames."""

    size: int | str | None = 64
    """Pixels a side, or HEIGHTxWIDTH as in 48x64; null keeps the size of the file."""

    frames: int | None = 32
    """Number of frames; null takes all."""

    start: int = 0
    """First frame to take, counted from 0."""

    stride: int = 1
    """Take every stride-th frame."""

    crop: bool = True
    """Keep the aspect ratio by cropping around the centre; false squeezes."""

    def __post_init__(self) -> None:
        self._pixels()
        if self.frames is not None and self.frames < SHORTEST:
            raise ValueError(f"frames must be {SHORTEST} or more, got {self.frames}")
        if self.start < 0 or self.stride < 1:
            raise ValueError(f"start must be 0 or more and stride 1 or more, got {self.start} and {self.stride}")

    def files(self) -> tuple[str, ...]:
        return () if self._kind() else (self.video,)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        size, kind = self._pixels(), self._kind()
        if kind:
            length = (self.frames or 32) - 1
            clip = procedural.video(kind, frames=self.start + length * self.stride + 1, size=size or 64, seed=run.seed)[
                :, self.start :: self.stride
            ]
            fps = 25.0
        else:
            clip, fps = video.read(
                self.video, size=size, frames=self.frames, start=self.start, stride=self.stride, crop=self.crop
            )
        if min(clip.shape[2:]) < SMALLEST or clip.shape[1] < SHORTEST:
            raise InputError(
                f"{self.video} gives {clip.shape[1]} frames of {clip.shape[2]}x{clip.shape[3]} pixels; "
                f"at least {SHORTEST} of {SMALLEST}x{SMALLEST} are needed (set load.size and load.frames)"
            )
        source = {"name": self.video, "fps": fps, "start": self.start, "stride": self.stride, "crop": self.crop}
        return {"clip": clip.contiguous(), "source": source}

    def _kind(self) -> str | None:
        """The kind of procedural clip, None for a file."""
        if self.video == "procedural":
            return "cloth"
        return self.video.removeprefix("procedural:") if self.video.startswith("procedural:") else None

    def _pixels(self) -> int | tuple[int, int] | None:
        size: int | tuple[int, int] | None
        if isinstance(self.size, str):
            sides = self.size.lower().split("x")
            if not (len(sides) in (1, 2) and all(side.isdecimal() for side in sides)):
                raise ValueError(f"size must be a number of pixels or HEIGHTxWIDTH as in 48x64, got {self.size!r}")
            size = int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))
        else:
            size = self.size
        if size is not None and min(parse_size(size)) < SMALLEST:
            raise ValueError(f"size must be {SMALLEST} pixels or more, got {self.size}")
        return size
