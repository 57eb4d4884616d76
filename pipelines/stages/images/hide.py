"""Hide part of pictures, or clips, that were not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images
from data.errors import InputError
from energies import Average, Blur, Grey, Hidden, Noisy
from energies.observation import Observation
from pipelines.pipeline import Run
from pipelines.stages.images.load import to_float
from pipelines.settings import check_there

WHITE = 0.0  # levels above are hidden by a mask: half of the way to white
BLUR_NOISE = 0.02  # standard deviation of the noise on blurred pictures, 2.5 of 255 levels: none is seen without


@dataclass(frozen=True)
class Hide:
    """Hide part of each picture to judge by: pixels at random, a box, all but the means of blocks (super-resolution),
    the colours, or what a blur takes away; add noise to what is seen. With none of them, pixels=0.5."""

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

    blur: float | None = None
    """See pictures through a Gaussian blur of that standard deviation, in pixels, with a little noise."""

    noise: float | None = None
    """Standard deviation of noise on what is seen, in units of x (half the range of values), such as 0.2; alone, of
    pictures that are seen whole."""

    num: int = 64
    """Pictures to recover, at most."""

    image: str | None = None
    """A picture file of your own, to recover in place of those; its centre is cut out and shrunk to their size. With
    shrink, grey, blur or noise, it is what is seen: a small picture of the right size, a grey, blurred or noisy one."""

    mask: str | None = None
    """With image: a picture of the same size that is white where it is damaged. The truth there is unknown and not
    scored."""

    def __post_init__(self) -> None:
        made = [name for name in ("pixels", "box", "shrink", "blur") if getattr(self, name) is not None]
        made += ["grey"] * self.grey
        if len(made) > 1 or (made and self.mask):
            names = " and ".join([*made, *["mask"] * bool(self.mask)])
            raise ValueError(f"{names} cannot be combined; give one, and null to a pipeline's own, as hide.box=null")
        if self.pixels is not None and not 0 < self.pixels < 1:
            raise ValueError(f"pixels must lie between 0 and 1, got {self.pixels}")
        if self.box is not None and self.box < 1:
            raise ValueError(f"box must be 1 or more, got {self.box}")
        if self.shrink is not None and self.shrink not in (2, 4):
            raise ValueError(f"shrink must be 2 or 4, got {self.shrink}")
        if self.blur is not None and not 0 < self.blur <= 8:
            raise ValueError(f"blur must lie above 0 and be at most 8 pixels, got {self.blur}")
        if self.noise is not None and not 0 < self.noise <= 2:
            raise ValueError(f"noise must lie above 0 and be at most 2, got {self.noise}")
        if self.num < 1:
            raise ValueError(f"num must be 1 or more, got {self.num}")
        if self.mask is not None and self.image is None:
            raise ValueError("mask needs image, the damaged picture that it belongs to")
        check_there(image=self.image, mask=self.mask)

    def files(self) -> tuple[str, ...]:
        return tuple(file for file in (self.image, self.mask) if file)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        shape = tuple(values["images"]["validation"].shape[1:])
        channels, *size = shape
        self._check(channels, size)
        rng = run.generator("hide")
        own_measured = self.image is not None and bool(self.shrink or self.grey or self.blur or self.noise)
        known = self.image is None or not (own_measured or self.mask)
        if own_measured:  # what is seen is given, the picture behind it is not
            measured = self._own(shape)
            observation = self._observation(1, size, rng)
            targets = torch.zeros(1, *shape)
        else:
            seen = values["images"]["validation"][: self.num]
            targets = to_float(seen) if self.image is None else self._own(shape)
            observation = self._observation(len(targets), size, rng)
            measured = observation.sample(targets, rng)
        return {"targets": targets, "measured": measured, "observation": observation, "truth_known": known}

    def _check(self, channels: int, size: Sequence[int]) -> None:
        """InputError: the pictures do not have what is to be hidden."""
        names = "x".join(map(str, reversed(size)))
        if self.grey and channels != 3:
            raise InputError("hide.grey needs pictures in colour; set load.channels=3")
        if self.shrink and any(side % self.shrink for side in size[-2:]):
            raise InputError(f"hide.shrink={self.shrink} does not divide the {names} pixels of the pictures")
        if self.box and self.box >= min(size[-2:]):
            raise InputError(f"hide.box={self.box} leaves nothing of {names} pixels; set a smaller one")
        if self.image is not None and len(size) != 2:
            raise InputError("hide.image is for pictures")

    def _observation(self, num: int, size: Sequence[int], rng: torch.Generator) -> Observation:
        """The operator on x [num, C, *size]."""
        if self.blur is not None:
            return Noisy(Blur(self.blur), self.noise or BLUR_NOISE)
        if self.shrink:
            operator: Observation = Average((*[1] * (len(size) - 2), self.shrink, self.shrink))
        elif self.grey:
            operator = Grey()
        elif self.noise and not self._masks():
            operator = everything(len(size))
        else:
            operator = Hidden(self._mask(num, size, rng))
        return operator if self.noise is None else Noisy(operator, self.noise)

    def _masks(self) -> bool:
        """Whether some elements are hidden, as was asked."""
        return any(asked is not None for asked in (self.pixels, self.box, self.mask))

    def _own(self, shape: Sequence[int]) -> Tensor:
        """The picture of a person's own [1, C, H, W], or what is seen of it."""
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
        factor = self.shrink or 1
        return images.read(self.image, (height // factor, width // factor), 1 if self.grey else channels)[None]

    def _mask(self, num: int, size: Sequence[int], rng: torch.Generator) -> Tensor:
        """bool [num, 1, *size]. InputError: it hides all or nothing."""
        if self.mask is not None:
            height, width = size
            mask = images.read(self.mask, (height, width), 1)[None] > WHITE
            if not mask.any() or mask.all():
                colour = "black" if not mask.any() else "white"
                raise InputError(
                    f"hide.mask={self.mask}: is {colour} everywhere that counts, the centre that is cut to "
                    f"{width}x{height}; it must be white where the picture is damaged, and black elsewhere"
                )
            return mask.expand(num, -1, -1, -1).contiguous()
        if self.box is not None:
            return torch.stack([box(size, self.box, rng) for _ in range(num)])
        mask = torch.stack([scattered(size, self.pixels or 0.5, rng) for _ in range(num)])
        if (mask.flatten(1).all(1) | ~mask.flatten(1).any(1)).any():
            names = "x".join(map(str, reversed(size)))
            raise InputError(f"hide.pixels={self.pixels} hides all or nothing of {names} pixels; set another")
        return mask


def everything(dims: int) -> Hidden:
    """The operator of x [B, C, *size] that sees all of it, for noise on it."""
    return Hidden(torch.zeros(1, 1, *[1] * dims, dtype=torch.bool))


def scattered(size: Sequence[int], share: float, rng: torch.Generator) -> Tensor:
    """Elements at random: bool [1, *size], True = hidden."""
    return torch.rand(1, *size, generator=rng) < share


def box(size: Sequence[int], side: int, rng: torch.Generator) -> Tensor:
    """A square somewhere in a picture [H, W], or the same one in all frames of a clip [T, H, W]."""
    y, x = (int(torch.randint(n - side + 1, (), generator=rng)) for n in size[-2:])
    hidden = torch.zeros(1, *size, dtype=torch.bool)
    hidden[..., y : y + side, x : x + side] = True
    return hidden
