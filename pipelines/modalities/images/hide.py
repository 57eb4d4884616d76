"""Hide part of pictures that were not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images, masks
from data.errors import InputError
from energies.observation import Observation
from pipelines.modalities import own_masks, views
from pipelines.settings import check_there
from pipelines.stage import Run


@dataclass(frozen=True)
class Hide:
    """Hide part of each picture to judge by: pixels at random, a box, all but the means of blocks (super-resolution),
    the colours, or what a blur takes away; add noise to what is seen. With none of them, pixels=0.5."""

    needs: ClassVar[tuple[str, ...]] = ("data",)
    gives: ClassVar[tuple[str, ...]] = ("targets", "measured", "observation", "truth_known")

    pixels: float | None = None
    """Share of the pixels to hide at random, between 0 and 1."""

    box: int | None = None
    """Hide a square of so many pixels a side, at a random place."""

    average: int | None = None
    """See only the means of blocks of so many pixels a side, such as 2 or 4."""

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
    average, grey, blur or noise, it is what is seen: a small picture of the right size, or a grey, blurred or noisy
    one."""

    mask: str | None = None
    """With image: a picture of its size or shape that is white where it is damaged: what is not black is hidden; of a
    layer with alpha, what is painted; of labels, all but 0. The truth there is unknown and not scored."""

    invert: bool = False
    """Hide what is black in the mask, in place of what is white."""

    dilate: int | None = None
    """Pixels, as loaded, to hide around what the mask hides; null: 1 around a mask of your own, 0 around made ones."""

    def __post_init__(self) -> None:
        given = [name for name in ("pixels", "box", "average", "blur") if getattr(self, name) is not None]
        views.check_one([*given, *["grey"] * self.grey, *["mask"] * bool(self.mask)])
        views.check(self.pixels, self.box, self.average, self.blur, self.noise, self.num)
        if self.mask is not None and self.image is None:
            raise ValueError("mask needs image, the damaged picture that it belongs to")
        own_masks.check(self.mask, self.invert, self.dilate)
        check_there(image=self.image, mask=self.mask)

    def files(self) -> tuple[str, ...]:
        return tuple(file for file in (self.image, self.mask) if file)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data = values["data"]
        if data.single:
            raise InputError("hide: a photograph of a texture is not recovered; give pictures, as load.images=photos")
        found = views.problem(data.shape, "pictures", self.box, self.average, self.grey)
        if found:
            raise InputError(found)
        rng = run.generator("hide")
        own_measured = self.image is not None and bool(self.average or self.grey or self.blur or self.noise)
        known = self.image is None or not (own_measured or self.mask)
        if own_measured:  # what is seen is given, the picture behind it is not
            measured = self._own(data.shape)
            observation = self._observation(1, data.shape[1:], rng, run)
            targets = torch.zeros(1, *data.shape)
        else:
            targets = data.x("validation", slice(self.num)) if self.image is None else self._own(data.shape)
            observation = self._observation(len(targets), data.shape[1:], rng, run)
            measured = observation.sample(targets, rng)
        return {"targets": targets, "measured": measured, "observation": observation, "truth_known": known}

    def _observation(self, num: int, size: Sequence[int], rng: torch.Generator, run: Run) -> Observation:
        """The operator on x [num, C, *size]."""
        masked = any(asked is not None for asked in (self.pixels, self.box, self.mask))
        others = any(asked is not None for asked in (self.average, self.blur, self.noise)) or self.grey
        mask = None
        if self.mask is not None:
            mask = self._own_mask(self.mask, size, run).expand(num, -1, -1, -1).contiguous()
        elif masked or not others:
            mask = masks.dilated(self._mask(num, size, rng), self.dilate or 0)
        return views.operator(mask, len(size), self.average, self.grey, self.blur, self.noise)

    def _own(self, shape: Sequence[int]) -> Tensor:
        """The picture of a person's own [1, C, H, W], or what is seen of it."""
        assert self.image is not None
        channels, height, width = shape
        size = list(images.read(self.image).shape[1:])
        factor = self.average or 1
        if self.average and size != [height // factor, width // factor]:
            raise InputError(
                f"hide.image={self.image}: is of {size[1]}x{size[0]} pixels; with hide.average={factor} it must be "
                f"{width // factor}x{height // factor}"
            )
        return images.read(self.image, (height // factor, width // factor), 1 if self.grey else channels)[None]

    def _own_mask(self, path: str, size: Sequence[int], run: Run) -> Tensor:
        """bool [1, *size]. InputError: it hides all or nothing, or is of another shape than the picture."""
        assert self.image is not None
        height, width = size
        whole = images.read(self.image)
        hidden = masks.still(path, of=(whole.shape[1], whole.shape[2]), size=(height, width), invert=self.invert)
        if not hidden.any() or hidden.all():
            colour = "black" if hidden.any() == self.invert else "white"
            raise InputError(
                f"hide.mask={path}: is {colour} everywhere that counts, the centre that is cut to {width}x{height}; "
                f"it must be {'black' if self.invert else 'white'} where the picture is damaged, and "
                f"{'white' if self.invert else 'black'} elsewhere"
            )
        return own_masks.finished(hidden, path, "picture", self.dilate, run)[None]

    def _mask(self, num: int, size: Sequence[int], rng: torch.Generator) -> Tensor:
        """bool [num, 1, *size]. InputError: it hides all or nothing."""
        if self.box is not None:
            return torch.stack([views.box(size, self.box, rng) for _ in range(num)])
        mask = torch.stack([views.scattered(size, self.pixels or 0.5, rng) for _ in range(num)])
        if (mask.flatten(1).all(1) | ~mask.flatten(1).any(1)).any():
            names = "x".join(map(str, reversed(size)))
            raise InputError(f"hide.pixels={self.pixels or 0.5} hides all or nothing of {names} pixels; set another")
        return mask
