"""Hide part of the clip."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import video
from data.errors import InputError
from energies import Hidden
from pipelines.pipeline import Run

MOTION = 1 / 8  # of its longer side, how far a moving region goes in a frame


@dataclass(frozen=True)
class Hide:
    """Hide part of the clip: by a mask of your own, or by made ones, which add up. With none of them, pixels=0.5."""

    needs: ClassVar[tuple[str, ...]] = ("clip", "source")
    gives: ClassVar[tuple[str, ...]] = ("damaged", "hidden", "observation", "truth_known")

    mask: str | None = None
    """A video or picture, white where the clip is damaged. The truth there is unknown, so nothing is scored."""

    pixels: float | None = None
    """Share of the pixels to hide at random in every frame, between 0 and 1."""

    frames: int | str | None = None
    """Number of frames to hide, scattered; or a gap as FIRST:END, 8:13 hides frames 8 to 12."""

    region: str | None = None
    """A rectangle HEIGHTxWIDTH to hide at a random place, as in 20x20; with " moving" after it, one that wanders."""

    def __post_init__(self) -> None:
        made = [name for name in ("pixels", "frames", "region") if getattr(self, name) is not None]
        if self.mask is not None and made:
            raise ValueError(f"mask cannot be combined with {made[0]}: under your own mask the truth is unknown")
        if self.pixels is not None and not 0 < self.pixels < 1:
            raise ValueError(f"pixels must lie between 0 and 1, got {self.pixels}")
        if isinstance(self.frames, int) and self.frames < 1:
            raise ValueError(f"frames must be 1 or more, got {self.frames}")
        if isinstance(self.frames, str) and not re.fullmatch(r"\d+:\d+", self.frames):
            raise ValueError(f"frames must be a number or FIRST:END as in 8:13, got {self.frames!r}")
        if self.region is not None and not re.fullmatch(r"\d+x\d+( moving)?", self.region):
            raise ValueError(f'region must be HEIGHTxWIDTH as in 20x20 or "20x20 moving", got {self.region!r}')

    def files(self) -> tuple[str, ...]:
        return (self.mask,) if self.mask else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        clip: Tensor = values["clip"]
        if self.mask:
            source = values["source"]
            geometry = {key: source[key] for key in ("start", "stride", "crop")}
            hidden = video.read_mask(self.mask, like=clip, **geometry)
        else:
            hidden = self._made(clip.shape[1:], run.generator("hide"))
        if not hidden.any():
            raise InputError(f"{self.mask or 'hide'} hides nothing of these {len(hidden)} frames{self._elsewhere()}")
        if hidden.flatten(1).all(1).sum() > len(hidden) - 2 or hidden.float().mean() > 0.95:
            raise InputError(f"{hidden.float().mean():.0%} is hidden: too little is left to learn from; hide less")
        observation = Hidden(hidden)
        return {
            "damaged": observation.observe(clip),
            "hidden": hidden,
            "observation": observation,
            "truth_known": self.mask is None,
        }

    def _elsewhere(self) -> str:
        """Where the user's mask does hide something, for an error to tell."""
        if self.mask is None:
            return ""
        white: list[int] = []
        if Path(self.mask).suffix.lower() not in video.STILLS:
            white = (video.read(self.mask, size=64)[0].amax((0, 2, 3)) > 0).nonzero().flatten().tolist()
        if not white:
            return ": there is no white in it"
        return f"; its white frames are {white[0]} to {white[-1]}: set load.start={white[0]}"

    def _made(self, shape: torch.Size, rng: torch.Generator) -> Tensor:
        hidden = torch.zeros(shape, dtype=torch.bool)
        pixels = self.pixels
        if pixels is None and self.frames is None and self.region is None:
            pixels = 0.5
        if pixels is not None:
            hidden |= torch.rand(shape, generator=rng) < pixels
        if self.frames is not None:
            hidden[self._frames(shape[0], rng)] = True
        if self.region is not None:
            hidden |= self._region(shape, rng)
        return hidden

    def _frames(self, num: int, rng: torch.Generator) -> Tensor:
        if isinstance(self.frames, str):
            first, end = map(int, self.frames.split(":"))
            if not first < end:
                raise InputError(f"hide.frames={self.frames} is empty: it counts from FIRST up to END, as in 8:13")
            if end > num:
                raise InputError(f"hide.frames={self.frames} does not lie within the {num} frames of the clip")
            return torch.arange(first, end)
        assert self.frames is not None
        if self.frames > num - 2:
            raise InputError(f"hide.frames={self.frames} leaves fewer than 2 of the {num} frames; hide less")
        # The first and the last frame stay, as long as there are others: they could only be extrapolated.
        inner = torch.randperm(num - 2, generator=rng)[: self.frames] + 1
        return inner.sort().values

    def _region(self, shape: torch.Size, rng: torch.Generator) -> Tensor:
        assert self.region is not None
        sides, _, moving = self.region.partition(" ")
        size = torch.tensor([int(side) for side in sides.split("x")])
        room = torch.tensor(shape[1:]) - size
        if room.min() < 0 or size.min() < 1:
            raise InputError(f"hide.region={self.region} does not fit into {shape[1]}x{shape[2]} pixels")
        place = torch.rand(2, generator=rng) * room
        angle = 2 * math.pi * torch.rand((), generator=rng)
        velocity = torch.stack([angle.sin(), angle.cos()]) * float(size.max()) * MOTION * bool(moving)
        hidden = torch.zeros(shape, dtype=torch.bool)
        for t in range(shape[0]):
            travelled = (place + t * velocity) % (2 * room).clamp(min=1)
            y, x = torch.where(travelled > room, 2 * room - travelled, travelled).clamp(min=0).round().long().tolist()
            hidden[t, y : y + int(size[0]), x : x + int(size[1])] = True
        return hidden
