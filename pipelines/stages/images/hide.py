"""Hide part of pictures that were not learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images
from data.errors import InputError
from energies import Average, Grey, Hidden
from energies.observation import Observation
from pipelines.pipeline import Run
from pipelines.stages.images.load import to_float
from pipelines.stages.settings import check_there

WHITE = 0.0  # levels above are hidden by a mask: half of the way to white


@dataclass(frozen=True)
class Hide:
    """Hide part of each picture to judge by: pixels at random, a box, all but the means of blocks (super-resolution),
    or the colours. With none of them, pixels=0.5."""

    needs: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[tuple[str, ...]] = ("targets", "measured", "observation", "truth_known")

    pixels: float | None = None
    """Share of the pixels to hide at random, between 0 and 1."""

    box: int | None = None
    """Hide a square of so many pixels a side, at a random place."""

    shrink: int | None = None
    """See only the means of blocks of so many pixels a side: 2 or 4."""

    grey: bool = False
    """See pictures in grey, to colour them."""

    num: int = 64
    """Pictures to recover, at most."""

    image: str | None = None
    """A picture file of your own, to recover in place of those; its centre is cut out and shrunk to their size. With
    shrink, or grey, it is what is seen: a small picture of the right size, or a grey one."""

    mask: str | None = None
    """With image: a picture of the same size that is white where it is damaged. The truth there is unknown and not
    scored."""

    def __post_init__(self) -> None:
        made = [name for name in ("pixels", "box", "shrink") if getattr(self, name) is not None] + ["grey"] * self.grey
        if len(made) > 1 or (made and self.mask):
            names = " and ".join([*made, *["mask"] * bool(self.mask)])
            raise ValueError(f"{names} cannot be combined; give one, and null to a pipeline's own, as hide.box=null")
        if self.pixels is not None and not 0 < self.pixels < 1:
            raise ValueError(f"pixels must lie between 0 and 1, got {self.pixels}")
        if self.box is not None and self.box < 1:
            raise ValueError(f"box must be 1 or more, got {self.box}")
        if self.shrink is not None and self.shrink not in (2, 4):
            raise ValueError(f"shrink must be 2 or 4, got {self.shrink}")
        if self.num < 1:
            raise ValueError(f"num must be 1 or more, got {self.num}")
        if self.mask is not None and self.image is None:
            raise ValueError("mask needs image, the damaged picture that it belongs to")
        check_there(image=self.image, mask=self.mask)

    def files(self) -> tuple[str, ...]:
        return tuple(file for file in (self.image, self.mask) if file)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        shape = list(values["images"]["validation"].shape[1:])
        channels, height, width = shape
        if self.grey and channels != 3:
            raise InputError("hide.grey needs pictures in colour; set load.channels=3")
        if self.shrink and (height % self.shrink or width % self.shrink):
            raise InputError(f"hide.shrink={self.shrink} does not divide the {width}x{height} pixels of the pictures")
        if self.box and self.box >= min(height, width):
            raise InputError(f"hide.box={self.box} leaves nothing of {width}x{height} pixels; set a smaller one")
        rng = run.generator("hide")
        known = self.image is None or not (self.shrink or self.grey or self.mask)
        seen = values["images"]["validation"][: self.num]
        targets = to_float(seen) if self.image is None else self._own(shape)
        kind: dict[str, Any] = {"kind": "hidden"}
        if self.shrink:
            kind = {"kind": "average", "factor": self.shrink}
        elif self.grey:
            kind = {"kind": "grey"}
        else:
            kind["mask"] = self._mask(len(targets), height, width, rng)
        if "mask" in kind and (kind["mask"].flatten(1).all(1) | ~kind["mask"].flatten(1).any(1)).any():
            raise InputError(f"hide.pixels={self.pixels} hides all or nothing of {width}x{height} pixels; set another")
        observation = observation_of(kind)
        measured = observation.observe(targets) if known or not (self.shrink or self.grey) else targets
        if not known and (self.shrink or self.grey):
            targets = torch.zeros(1, *shape)  # unknown
        return {"targets": targets, "measured": measured, "observation": kind, "truth_known": known}

    def _own(self, shape: list[int]) -> Tensor:
        assert self.image is not None
        channels, height, width = shape
        size = list(images.read(self.image).shape[1:])
        if self.mask is not None:
            other = list(images.read(self.mask).shape[1:])
            if other != size:
                raise InputError(
                    f"hide.mask={self.mask}: is of {other[1]}x{other[0]} pixels, the picture of {size[1]}x{size[0]}; "
                    "they must be of one size"
                )
        if self.shrink and size != [height // self.shrink, width // self.shrink]:
            raise InputError(
                f"hide.image={self.image}: is of {size[1]}x{size[0]} pixels; with hide.shrink={self.shrink} it must be "
                f"{width // self.shrink}x{height // self.shrink}"
            )
        if self.grey:
            return images.read(self.image, (height, width), 1)[None]
        if self.shrink:
            return images.read(self.image, (height // self.shrink, width // self.shrink), channels)[None]
        return images.read(self.image, (height, width), channels)[None]

    def _mask(self, num: int, height: int, width: int, rng: torch.Generator) -> Tensor:
        if self.mask is not None:
            mask = images.read(self.mask, (height, width), 1)[None] > WHITE
            if not mask.any() or mask.all():
                colour = "black" if not mask.any() else "white"
                raise InputError(
                    f"hide.mask={self.mask}: is {colour} everywhere that counts, the centre that is cut to "
                    f"{width}x{height}; it must be white where the picture is damaged, and black elsewhere"
                )
            return mask.expand(num, -1, -1, -1).contiguous()
        if self.box is not None:
            return torch.stack([box(height, width, self.box, rng) for _ in range(num)])
        return torch.stack([scattered(height, width, self.pixels or 0.5, rng) for _ in range(num)])


def observation_of(kind: dict[str, Any]) -> Observation:
    """The operator on pictures [B, C, H, W] that `Hide` describes."""
    if kind["kind"] == "hidden":
        return Hidden(kind["mask"])
    return Average((kind["factor"],) * 2) if kind["kind"] == "average" else Grey()


def scattered(height: int, width: int, share: float, rng: torch.Generator) -> Tensor:
    """Pixels at random: bool [1, H, W], True = hidden."""
    return torch.rand(1, height, width, generator=rng) < share


def box(height: int, width: int, side: int, rng: torch.Generator) -> Tensor:
    """A square somewhere."""
    y, x = (int(torch.randint(n - side + 1, (), generator=rng)) for n in (height, width))
    hidden = torch.zeros(1, height, width, dtype=torch.bool)
    hidden[:, y : y + side, x : x + side] = True
    return hidden
