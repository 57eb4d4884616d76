"""Energies of one photograph or clip, which are of x of other sizes too: crops of it, or a clip's mean picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from data.errors import InputError
from energies import ClipReference, ConditionalEnergy, Context, EncoderEnergy, Energy, GenerativeConvNet
from pipelines.results import load_energy

LEAST_SCALE = 0.02  # 2.5 grey levels: what hardly moves need not be learned more finely
LONGEST = 64
"""Frames of the energy of a clip's mean picture, at most, and of samples where nothing is said: it is of any number."""
ANYWHERE = ("image", "st")  # presets whose layers all slide over x


def scene(clip: Tensor, frames: int) -> Context:
    """What stays the same in a clip [C, T, H, W]: its mean picture, and how much each pixel varies about it."""
    mean = clip.mean(1, keepdim=True)
    variance = (clip - mean).square().mean((0, 1), keepdim=True)
    scale = variance.sqrt().clamp(min=LEAST_SCALE)
    return _of_length(mean[None], scale[None], frames)


def is_scene(energy: Energy) -> bool:
    """Whether an energy is told a clip's mean picture and nothing else, so that it is of clips of any length."""
    return isinstance(energy, ConditionalEnergy) and _mean_picture(energy) is not None


def is_stationary(energy: Energy) -> bool:
    """Whether an energy is alike everywhere, as one that was learned from crops, so that it is of x of any size."""
    if isinstance(energy, EncoderEnergy):
        mean = energy.mean.flatten(1)
        return bool((mean == mean[:, :1]).all())
    return isinstance(energy, GenerativeConvNet) and energy.arguments["preset"] in ANYWHERE


def of_size(energy: Energy, size: Sequence[int]) -> Energy:
    """The same energy over x [C, *size] of another size. ValueError: it is of one size alone."""
    if energy.event_shape is not None and energy.event_shape[1:] == tuple(size):
        return energy
    if isinstance(energy, ConditionalEnergy):
        picture = _mean_picture(energy)
        if picture is not None and tuple(picture[0].shape[3:]) == tuple(size[1:]):
            reference = ClipReference.of(_of_length(*picture, size[0]))
            made = ConditionalEnergy(**{**energy.arguments, "reference": reference})
            made.net = energy.net
            return made
    elif isinstance(energy, EncoderEnergy) and is_stationary(energy):
        return energy.resized(size)
    elif isinstance(energy, GenerativeConvNet) and is_stationary(energy):
        wide = GenerativeConvNet(**{**energy.arguments, "shape": [energy.event_shape[0], *size]})
        wide.load_state_dict(energy.state_dict())
        return wide
    raise ValueError(f"an energy of {_sides(energy.event_shape)} is not one of {_sides((0, *size))}")


def pretrained_single(source: str, shape: Sequence[int], noun: str, address: str = "learn.pretrained") -> Energy:
    """The energy that a source names, one of x of a shape [C, *size], or of crops of such x, as it was learned.

    InputError: there is none, it is of other x, or it is of one clip that was damaged.
    """
    energy = load_energy(source, address)
    if isinstance(energy, ConditionalEnergy) and isinstance(energy.reference, ClipReference) and not is_scene(energy):
        raise InputError(
            f"{address}={source}: was learned to recover one damaged clip alone; take a run of video_synthesis"
        )
    if not energy.fits(shape):
        try:
            found = energy.event_shape
            if found is None or len(found) != len(shape) or found[0] != shape[0]:
                raise ValueError
            of_size(energy, shape[1:])
        except ValueError:
            found, wanted = ("x".join(map(str, size or ())) for size in (energy.event_shape, shape))
            raise InputError(
                f"{address}={source}: is an energy of {found}, the {noun} is {wanted} (set load.size)"
            ) from None
    return energy


def _mean_picture(energy: ConditionalEnergy) -> tuple[Tensor, Tensor] | None:
    """Mean [1, C, 1, H, W] and scale [1, 1, 1, H, W]; None: the energy is told more, or of what is not a clip."""
    reference = energy.reference
    if not isinstance(reference, ClipReference) or reference.num_others or not bool(reference.hidden.all()):
        return None
    return reference.estimate[:, :, :1], reference.scale[:, :, :1]


def _of_length(mean: Tensor, scale: Tensor, frames: int) -> Context:
    hidden = torch.ones_like(scale, dtype=torch.bool)
    estimate, scale, hidden = (part.expand(-1, -1, frames, -1, -1) for part in (mean, scale, hidden))
    return Context(estimate, scale, hidden, estimate[:, None][:, :0])


def _sides(shape: Sequence[int] | None) -> str:
    return "x".join(map(str, (shape or ())[1:]))
