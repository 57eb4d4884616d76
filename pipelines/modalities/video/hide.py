"""Hide part of one clip, or of clips that were not learned from."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from data import masks
from data.errors import InputError
from data.probing import probe
from energies.observation import Observation
from pipelines.modalities import own_masks, views
from pipelines.modalities.video import detect
from pipelines.settings import check_there
from pipelines.stage import Run
from pipelines.windows.damage import Damage
from pipelines.windows.footage import Footage

MOTION = 1 / 8  # of its longer side, how far a moving region goes in a frame
MASKS = ("pixels", "frames", "region", "every", "box")
OTHERS = ("average", "blur")
FOUND = ("dust", "scratches", "dead", "frames")


@dataclass(frozen=True)
class Hide:
    """Hide part of the clip, or of each clip to judge by: by a mask of your own, or by made ones, which add up; all but
    the means of blocks (super-resolution), the colours, or what a blur takes away; add noise to what is seen. With none
    of them, pixels=0.5."""

    needs: ClassVar[tuple[str, ...]] = ("data", "source")
    takes: ClassVar[tuple[str, ...]] = ("footage",)
    gives: ClassVar[tuple[str, ...]] = ("targets", "measured", "observation", "truth_known", "damage")

    mask: str | None = None
    """A video, a picture, or a folder of numbered pictures, white where the clip is damaged: what is not black is
    hidden; of a layer with alpha, what is painted; of labels, all but 0. Of the clip's size or shape; it meets the clip
    by time. The truth there is unknown, so nothing is scored."""

    invert: bool = False
    """Hide what is black in the mask, in place of what is white."""

    dilate: int | None = None
    """Pixels, as loaded, to hide around what the mask hides; null: 1 around a mask of your own, 0 around made ones."""

    pixels: float | None = None
    """Share of the pixels to hide at random in every frame, between 0 and 1."""

    frames: int | str | None = None
    """Number of frames to hide, scattered between the first and the last; or a gap as FIRST:END, 8:13 hides frames 8 to
    12; auto: those that repeat the one before, or show nothing."""

    dust: Literal["auto"] | None = None
    """auto: find spots of single frames, and hide them. What is found is written as mask.mkv: look at it, and give it
    back, mended, as the mask."""

    scratches: Literal["auto"] | None = None
    """auto: find upright scratches, likewise."""

    dead: Literal["auto"] | None = None
    """auto: find pixels that stand out in all frames, likewise."""

    region: str | None = None
    """A rectangle HEIGHTxWIDTH to hide at a random place, as in 20x20; with " moving" after it, one that wanders."""

    every: int | None = None
    """See every n-th frame from the first on, such as 2 (super-resolution in time)."""

    box: int | None = None
    """Hide a square of so many pixels a side through all frames, at a random place."""

    average: int | None = None
    """See only the means of blocks of so many pixels a side, such as 2 or 4."""

    grey: bool = False
    """See the clip in grey, to colour it."""

    blur: float | None = None
    """See every frame through a Gaussian blur of that standard deviation, in pixels, with a little noise."""

    noise: float | None = None
    """Standard deviation of noise on what is seen, in units of x (half the range of values), such as 0.2; alone, of a
    clip that is seen whole."""

    num: int = 16
    """Clips to recover, at most."""

    def __post_init__(self) -> None:
        given = [name for name in self._given(MASKS) if getattr(self, name) != "auto"]
        found = self._finders()
        if found and (given or self.mask is not None):
            raise ValueError(f"{found[0]}=auto cannot be combined with {(given or ['mask'])[0]}")
        if self.mask is not None and given:
            raise ValueError(f"mask cannot be combined with {given[0]}: under your own mask the truth is unknown")
        others = [*self._given(OTHERS), *["grey"] * self.grey]
        views.check_one([*[*given, *found, *["mask"] * bool(self.mask)][:1], *others] if others else [])
        views.check(self.pixels, self.box, self.average, self.blur, self.noise, self.num)
        if isinstance(self.frames, int) and self.frames < 1:
            raise ValueError(f"frames must be 1 or more, got {self.frames}")
        if isinstance(self.frames, str) and self.frames != "auto":
            if not re.fullmatch(r"\d{1,9}:\d{1,9}", self.frames):
                raise ValueError(f"frames must be a number, FIRST:END as in 8:13, or auto, got {self.frames!r}")
            first, end = self._gap()
            if not first < end:
                raise ValueError(f"frames={self.frames} is empty: it counts from FIRST up to END, as in 8:13")
        if self.region is not None and not re.fullmatch(r"0*[1-9]\d{0,8}x0*[1-9]\d{0,8}( moving)?", self.region):
            raise ValueError(f'region must be HEIGHTxWIDTH as in 20x20 or "20x20 moving", got {self.region!r}')
        if self.every is not None and self.every < 2:
            raise ValueError(f"every must be 2 or more, got {self.every}")
        own_masks.check(self.mask, self.invert, self.dilate)
        check_there(mask=self.mask)

    def _given(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]

    def files(self) -> tuple[str, ...]:
        return (self.mask,) if self.mask else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data = values["data"]
        found = views.problem(data.shape, "clips", self.box, self.average, self.grey)
        if found:
            raise InputError(found)
        if self.mask is not None and not data.single:
            raise InputError("hide.mask is for one clip, load.video; of clips hide pixels, frames or a box")
        if values.get("footage") is not None:
            return self._of_footage(values["footage"], values["source"], run)
        targets = data.x("train") if data.single else data.x("validation", slice(self.num))
        rng = run.generator("hide")
        observation = self._observation(targets, data.single, values["source"], rng, run)
        return {
            "targets": targets,
            "measured": observation.sample(targets, rng),
            "observation": observation,
            "truth_known": self.mask is None and not self._finders(),
            "damage": None,
        }

    def _of_footage(self, footage: Footage, source: dict[str, Any], run: Run) -> dict[str, Any]:
        """Of a clip that is read frame by frame: pixels are hidden, and what is seen of it stays in its file."""
        others = [*self._given((*OTHERS, "noise")), *["grey"] * self.grey, *self._finders()]
        if others:
            raise InputError(
                f"hide.{others[0]}: {footage.shape[1]} frames of {footage.shape[3]}x{footage.shape[2]} pixels are too "
                "many for it; set load.size or load.frames"
            )
        size = footage.shape[1:]
        if self.mask is None:
            hidden = masks.dilated(self._made(torch.Size(size), run.generator("hide")), self.dilate or 0)
            damage = Damage.whole(hidden)
        else:
            wide = own_masks.DILATE if self.dilate is None else self.dilate
            film = self._film(self.mask, size, source)
            damage = Damage.of(size, ((t, masks.dilated(mask, wide)) for t, mask in enumerate(film)))
            masks.tell_share(self.mask, damage.share, "clip")
        if not damage.num:
            raise InputError(f"{self.mask or 'hide'} hides nothing of these {size[0]} frames{self._elsewhere()}")
        run.log(event="hidden", mask=self.mask, dilated=round(damage.share, 5))
        return {
            "targets": None, "measured": None, "observation": None, "truth_known": self.mask is None, "damage": damage,
        }  # fmt: skip

    def _observation(
        self, targets: Tensor, single: bool, source: dict[str, Any], rng: torch.Generator, run: Run
    ) -> Observation:
        """The operator on the clips [n, C, T, H, W]. InputError: it hides all or nothing."""
        mask = None
        if self.mask is not None:
            hidden = self._read(self.mask, targets.shape[2:], source)
            if hidden.any():
                hidden = own_masks.finished(hidden, self.mask, "clip", self.dilate, run)
            mask = hidden[None, None]
        elif self._finders():
            if not single:
                raise InputError(f"hide.{self._finders()[0]}=auto is for one clip, load.video")
            mask = self._found(targets[0], run)[None, None]
        elif self._given(MASKS) or not (self._given((*OTHERS, "noise")) or self.grey):
            mask = torch.stack([self._made(targets.shape[2:], rng) for _ in targets])[:, None]
            mask = masks.dilated(mask, self.dilate or 0)
        if mask is not None:
            self._check_left(mask, single)
        return views.operator(mask, 3, self.average, self.grey, self.blur, self.noise)

    def _finders(self) -> list[str]:
        """Kinds of damage to find."""
        return [name for name in FOUND if getattr(self, name) == "auto"]

    def _found(self, clip: Tensor, run: Run) -> Tensor:
        """Damage that shows in the clip [C, T, H, W] itself, bool [T, H, W], and a pixel around it."""
        size = clip.shape[1:]
        kinds = {
            "dust": lambda: detect.dust(clip),
            "scratches": lambda: detect.scratches(clip),
            "dead": lambda: detect.dead_pixels(clip),
            "frames": lambda: detect.bad_frames(clip)[:, None, None].expand(size),
        }
        found = {name: kinds[name]() for name in self._finders()}
        run.log(event="found", **{name: round(float(mask.float().mean()), 5) for name, mask in found.items()})
        hidden = torch.stack(list(found.values())).any(0)
        wide = own_masks.DILATE if self.dilate is None else self.dilate
        if not hidden.any():
            raise InputError(f"hide: no {' and no '.join(found)} was found; give a mask of your own by hide.mask")
        return masks.dilated(hidden, wide)

    def _read(self, path: str, size: Sequence[int], source: dict[str, Any]) -> Tensor:
        """The person's own mask of a clip of a size [T, H, W]: bool [T, H, W]."""
        return torch.stack(list(self._film(path, size, source)))

    def _film(self, path: str, size: Sequence[int], source: dict[str, Any]) -> Iterator[Tensor]:
        """The same frame by frame, bool [H, W]."""
        start, stride, num = source["start"], source["stride"], size[0]
        indices = [start + k * stride for k in range(num)]
        of, times = [(size[1], size[2])], [index / (source["fps"] * stride) for index in indices]
        if "times" in source:  # it comes from a file
            found = probe(Path(source["name"]))
            of, times = [found.size, found.stored], source["times"][:num]
        return masks.film(
            path, times, of=of, size=(size[1], size[2]), indices=indices, crop=source["crop"], invert=self.invert
        )

    def _check_left(self, mask: Tensor, single: bool) -> None:
        """InputError unless something is hidden and something is left, bool [n, 1, T, H, W]."""
        for hidden in mask[:, 0]:
            if not hidden.any():
                raise InputError(
                    f"{self.mask or 'hide'} hides nothing of these {len(hidden)} frames{self._elsewhere()}"
                )
            if hidden.all():
                raise InputError("100% is hidden: nothing is left to recover from; hide less")
            if single and (hidden.flatten(1).all(1).sum() > len(hidden) - 2 or hidden.float().mean() > 0.95):
                share = f"{hidden.float().mean():.0%}"
                raise InputError(f"{share} is hidden: too little is left to learn from; hide less")

    def _elsewhere(self) -> str:
        """Where the user's mask does hide something, for an error to tell."""
        if self.mask is None:
            return ""
        path = Path(self.mask)
        white = [] if path.is_dir() or masks.is_still(path) else masks.white_frames(path, self.invert)
        if not white:
            return f": there is no {'black' if self.invert else 'white'} in it, where the clip is"
        return f"; its white frames are {white[0]} to {white[-1]}: set load.start={white[0]}"

    def _made(self, size: torch.Size, rng: torch.Generator) -> Tensor:
        """The mask of one clip, bool [T, H, W]."""
        hidden = torch.zeros(size, dtype=torch.bool)
        pixels = self.pixels if self._given(MASKS) else 0.5
        if pixels is not None:
            hidden |= views.scattered(size, pixels, rng)[0]
        if self.frames is not None:
            hidden[self._frames(size[0], rng)] = True
        if self.region is not None:
            hidden |= self._region(size, rng)
        if self.every is not None:
            hidden |= views.between(size, self.every)[0]
        if self.box is not None:
            hidden |= views.box(size, self.box, rng)[0]
        return hidden

    def _gap(self) -> tuple[int, int]:
        """The first frame of frames=FIRST:END, and the one behind the last."""
        first, end = map(int, str(self.frames).split(":"))
        return first, end

    def _frames(self, num: int, rng: torch.Generator) -> Tensor:
        if isinstance(self.frames, str):
            first, end = self._gap()
            if end > num:
                raise InputError(f"hide.frames={self.frames} does not lie within the {num} frames of the clip")
            return torch.arange(first, end)
        assert self.frames is not None
        if self.frames > num - 2:
            raise InputError(f"hide.frames={self.frames} leaves fewer than 2 of the {num} frames; hide less")
        return views.inner_frames(num, self.frames, rng)

    def _region(self, size: torch.Size, rng: torch.Generator) -> Tensor:
        assert self.region is not None
        sides, _, moving = self.region.partition(" ")
        extent = torch.tensor([int(side) for side in sides.split("x")])
        room = torch.tensor(size[1:]) - extent
        if room.min() < 0:
            raise InputError(f"hide.region={self.region} does not fit into {size[1]}x{size[2]} pixels")
        place = torch.rand(2, generator=rng) * room
        angle = 2 * math.pi * torch.rand((), generator=rng)
        velocity = torch.stack([angle.sin(), angle.cos()]) * float(extent.max()) * MOTION * bool(moving)
        hidden = torch.zeros(size, dtype=torch.bool)
        for t in range(size[0]):
            travelled = (place + t * velocity) % (2 * room).clamp(min=1)
            y, x = torch.where(travelled > room, 2 * room - travelled, travelled).clamp(min=0).round().long().tolist()
            hidden[t, y : y + int(extent[0]), x : x + int(extent[1])] = True
        return hidden
