"""The scene of a clip: what an energy that is to make such clips, or to recover one of them, is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from data.errors import InputError
from energies import ClipReference, ConditionalEnergy, Context, Energy
from pipelines.results import inner, load_energy

LEAST_SCALE = 0.02  # 2.5 grey levels: what hardly moves need not be learned more finely


def scene(clip: Tensor, frames: int) -> Context:
    """What stays the same in a clip [C, T, H, W]: its mean picture, and how much each pixel varies about it."""
    mean = clip.mean(1, keepdim=True)
    variance = (clip - mean).square().mean((0, 1), keepdim=True)
    scale = variance.sqrt().clamp(min=LEAST_SCALE)
    return _of_length(mean[None], scale[None], frames)


def is_scene(energy: Energy) -> bool:
    """Whether an energy is told a clip's mean picture and nothing else, so that it is of clips of any length."""
    return isinstance(energy, ConditionalEnergy) and _mean_picture(energy) is not None


def stretched(energy: ConditionalEnergy, frames: int) -> ConditionalEnergy:
    """The energy of a scene for clips of another length. ValueError: it is of no scene."""
    picture = _mean_picture(energy)
    if picture is None:
        raise ValueError("only the energy of a scene is one of clips of any length")
    reference = ClipReference.of(_of_length(*picture, frames))
    made = ConditionalEnergy(**{**energy.arguments, "reference": reference})
    made.net = energy.net
    return made


def prior(folder: Path, shape: Sequence[int], address: str) -> Energy:
    """The energy in a run's folder that can recover a clip of a shape [C, T, H, W] by conditioning.

    InputError, naming the field: there is none, it is of other clips, or it is of one clip that was damaged.
    """
    folder = inner(folder)
    energy = load_energy(folder, address)
    if is_scene(energy):
        assert isinstance(energy, ConditionalEnergy)
        energy = stretched(energy, shape[1])
    elif isinstance(energy, ConditionalEnergy):
        raise InputError(
            f"{address}={folder}: was learned to recover one damaged clip alone; take a run of video_synthesis"
        )
    if not energy.fits(shape):
        found, wanted = ("x".join(map(str, size)) for size in (energy.event_shape, shape))
        raise InputError(f"{address}={folder}: is an energy of {found}, the clip is {wanted} (set load.size)")
    return energy


def _mean_picture(energy: ConditionalEnergy) -> tuple[Tensor, Tensor] | None:
    """Mean [1, C, 1, H, W] and scale [1, 1, 1, H, W]; None: the energy is told more, or of what is not a clip."""
    reference = energy.reference
    if not isinstance(reference, ClipReference) or reference.num_others or not bool(reference.hidden.all()):
        return None
    return reference.estimate[:, :, :1], reference.scale[:, :, :1]


def _of_length(mean: Tensor, scale: Tensor, frames: int) -> Context:
    fill, scale = (part.expand(-1, -1, frames, -1, -1).contiguous() for part in (mean, scale))
    return Context(fill, scale, torch.ones_like(scale, dtype=torch.bool), fill[:, None][:, :0].contiguous())
