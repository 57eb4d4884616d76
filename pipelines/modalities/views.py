"""Ways to see pictures and clips in part: what `hide` makes, and what an amortised energy learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from energies import Average, Blur, Grey, Hidden, Noisy
from energies.observation import Observation
from pipelines.report.pictures import HIDDEN

BLUR_NOISE = 0.02  # standard deviation of the noise on what is blurred, 2.5 of 255 levels: none is seen without
BLURS = (0.6, 1.0, 1.5)  # widths in pixels that are learned from
NOISES = (0.1, 0.2, 0.35, 0.5)  # standard deviations that are learned from, in units of x
FACTORS = (2, 4)  # sides of blocks that are learned from


def check(
    pixels: float | None, box: int | None, average: int | None, blur: float | None, noise: float | None, num: int
) -> None:
    """ValueError, naming the field, unless each setting of `hide` is one that can be."""
    if pixels is not None and not 0 < pixels < 1:
        raise ValueError(f"pixels must lie between 0 and 1, got {pixels}")
    if box is not None and box < 1:
        raise ValueError(f"box must be 1 or more, got {box}")
    if average is not None and average < 2:
        raise ValueError(f"average must be 2 or more, such as 2 or 4, got {average}")
    if blur is not None and not 0 < blur <= 8:
        raise ValueError(f"blur must lie above 0 and be at most 8 pixels, got {blur}")
    if noise is not None and not 0 < noise <= 2:
        raise ValueError(f"noise must lie above 0 and be at most 2, got {noise}")
    if num < 1:
        raise ValueError(f"num must be 1 or more, got {num}")


def check_one(names: Sequence[str]) -> None:
    """ValueError if more settings of `hide` are given than can be combined."""
    if len(names) > 1:
        words = " and ".join(names)
        raise ValueError(f"{words} cannot be combined; give one, and null to a pipeline's own, as hide.{names[0]}=null")


def problem(
    shape: Sequence[int], noun: str, box: int | None, average: int | None, grey: bool
) -> str | None:  # shape [C, *size]
    """Why this cannot be hidden of x of that shape, for an InputError; None: it can be."""
    channels, *size = shape
    names = "x".join(map(str, reversed(size[-2:])))
    if grey and channels != 3:
        return f"hide.grey needs {noun} in colour; set load.channels=3"
    if average and any(side % average for side in size[-2:]):
        return f"hide.average={average} does not divide the {names} pixels of the {noun}"
    if box and box >= min(size[-2:]):
        return f"hide.box={box} leaves nothing of {names} pixels; set a smaller one"
    return None


def operator(
    mask: Tensor | None, axes: int, average: int | None, grey: bool, blur: float | None, noise: float | None
) -> Observation:
    """The observation of x [n, C, *size] with so many axes of size: one of a blur, block means of pixels, grey, a mask
    bool [n, 1, *size], and nothing hidden; with noise where it is given."""
    if blur is not None:
        return Noisy(Blur(blur), noise or BLUR_NOISE)
    if average:
        seen: Observation = Average((*[1] * (axes - 2), average, average))
    elif grey:
        seen = Grey()
    else:
        seen = everything(axes) if mask is None else Hidden(mask)
    return seen if noise is None else Noisy(seen, noise)


def everything(axes: int) -> Hidden:
    """The operator of x [B, C, *size] that sees all of it, for noise on it."""
    return Hidden(torch.zeros(1, 1, *[1] * axes, dtype=torch.bool))


def scattered(size: Sequence[int], share: float, rng: torch.Generator) -> Tensor:
    """Elements at random: bool [1, *size], True = hidden."""
    return torch.rand(1, *size, generator=rng) < share


def box(size: Sequence[int], side: int, rng: torch.Generator) -> Tensor:
    """A square somewhere in a picture [H, W], or the same one in all frames of a clip [T, H, W]: bool [1, *size]."""
    y, x = (int(torch.randint(n - side + 1, (), generator=rng)) for n in size[-2:])
    hidden = torch.zeros(1, *size, dtype=torch.bool)
    hidden[..., y : y + side, x : x + side] = True
    return hidden


def inner_frames(num: int, hidden: int, rng: torch.Generator) -> Tensor:
    """Numbers of frames at random, in order. The first and the last frame stay: they could only be extrapolated."""
    return (torch.randperm(num - 2, generator=rng)[:hidden] + 1).sort().values


def between(size: Sequence[int], every: int) -> Tensor:
    """All frames of a clip but every n-th: bool [1, T, H, W]."""
    hidden = torch.ones(1, *size, dtype=torch.bool)
    hidden[:, ::every] = False
    return hidden


def masks(size: Sequence[int]) -> dict[str, Callable[[torch.Generator], Tensor]]:
    """Masks bool [1, *size] that are learned from, drawn at random: pixels, and a box."""
    least, most = (max(1, int(min(size[-2:]) * share)) for share in (0.2, 0.6))

    def pixels(rng: torch.Generator) -> Tensor:
        return scattered(size, 0.1 + 0.85 * float(torch.rand((), generator=rng)), rng)

    def square(rng: torch.Generator) -> Tensor:
        return box(size, int(torch.randint(least, most + 1, (), generator=rng)), rng)

    return {"pixels": pixels, "box": square}


def operators(shape: Sequence[int]) -> dict[str, tuple[int, Observation]]:
    """Observations that are learned from x [C, *size], exact ones, and how often each comes: averages, and grey."""
    channels, *size = shape
    found: dict[str, tuple[int, Observation]] = {}
    for side in FACTORS:
        if all(pixels % side == 0 for pixels in size[-2:]):
            found[f"average{side}"] = 2, operator(None, len(size), side, False, None, None)
    return found | ({"grey": (1, Grey())} if channels == 3 else {})


def noisy(axes: int) -> dict[str, Callable[[torch.Generator], Observation]]:
    """Observations that are learned from, drawn at random: blurred, and with noise."""

    def one_of(sizes: Sequence[float], rng: torch.Generator) -> float:
        return sizes[int(torch.randint(len(sizes), (), generator=rng))]

    return {
        "blur": lambda rng: Noisy(Blur(one_of(BLURS, rng)), BLUR_NOISE),
        "noise": lambda rng: Noisy(everything(axes), one_of(NOISES, rng)),
    }


def seen(observation: Observation, y: Tensor) -> Tensor:
    """What is seen, at the size of x, to be shown: [n, 3, *size]; hidden elements are in a colour of their own."""
    y = y.clamp(-1, 1).expand(-1, 3, *y.shape[2:])
    inner = observation.noiseless
    if isinstance(inner, Hidden):
        colour = torch.tensor(HIDDEN, dtype=y.dtype).view(3, *[1] * (y.ndim - 2)) / 127.5 - 1
        return torch.where(inner.mask, colour, y)
    return inner.repeat(y) if isinstance(inner, Average) else y


def named(tasks: Iterable[str], names: Sequence[str]) -> list[str]:
    """The tasks whose kind is among the names; all, where there are no names."""
    return [task for task in tasks if not names or task.rstrip("0123456789") in names]
