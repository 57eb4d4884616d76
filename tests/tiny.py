"""Tiny data, energies and runs that tests of stages share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import seeded
from torch import Tensor
from torch.nn import functional as F

from energies import ConditionalEnergy, DataReference, EncoderEnergy, LocalReference
from pipelines.examples import Examples, to_bits, to_levels
from pipelines.stage import Run

SOURCES: dict[str, dict[str, Any]] = {
    "images": {"name": "noise"},
    "video": {"name": "noise", "fps": 8.0, "start": 0, "stride": 1, "crop": True},
    "voxels": {"name": "noise", "up": None, "pad": False},
}
SIZES = {"images": (1, 8, 8), "video": (3, 4, 8, 8), "voxels": (1, 8, 8, 8)}


def run_in(folder: Path, seed: int = 0) -> Run:
    """A run in a folder."""
    return Run(folder, folder, seed, "float32")


def known(stage: Any, values: dict[str, Any]) -> dict[str, Any]:
    """What a pipeline hands a stage of these values."""
    return {name: values[name] for name in (*stage.needs, *getattr(stage, "takes", ())) if name in values}


def smooth(num: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """x [num, *shape] in [-1, 1] whose neighbours are alike."""
    pool = {3: F.avg_pool2d, 4: F.avg_pool3d}[len(shape)]
    return (pool(torch.randn(num, *shape, generator=seeded(seed)), 3, 1, 1) * 2).clamp(-1, 1)


def data_of(modality: str, num: int = 24, shape: tuple[int, ...] | None = None, **settings: Any) -> Examples:
    """Examples of which a quarter is to judge by."""
    shape = SIZES[modality] if shape is None else shape
    x, kept = smooth(num, shape), num - num // 4
    stored = to_bits(x > 0.1) if modality == "voxels" else to_levels(x)
    return Examples(modality, shape, stored[:kept], stored[kept:], **settings)


def single(modality: str, shape: tuple[int, ...]) -> Examples:
    """One photograph or clip."""
    x = smooth(1, shape)
    return Examples(modality, shape, x, x[:0].clone())


def filled(energy: Any, seed: int = 1, size: float = 0.05) -> Any:
    """The energy with weights that say something."""
    rng = seeded(seed)
    with torch.no_grad():
        for weight in energy.parameters():
            weight.copy_(size * torch.randn(weight.shape, generator=rng))
    return energy.eval()


def encoder(data: Examples, classes: tuple[str, ...] = ()) -> EncoderEnergy:
    """At many noise levels."""
    energy = EncoderEnergy(data.shape, (4, 6), (1, 1), num_classes=len(classes))
    energy.classes = classes
    energy.centre(data.x())
    return filled(energy)


def amortised(data: Examples, kinds: tuple[str, ...] = ("hidden", "average", "grey")) -> ConditionalEnergy:
    """Around a reference of the data, which is told what is seen."""
    binary, dims = data.modality == "voxels", len(data.shape) - 1
    reference = DataReference(data.shape, len(data.train), 5, 0.5, binary, kinds)
    reference.fit(data.x())
    stride = (2, 2) if dims == 2 else (2, 2, 2) if binary else (1, 2, 2)
    return filled(ConditionalEnergy(reference, data.shape[0], (4,), (1,), stride))


def of_details() -> ConditionalEnergy:
    return filled(ConditionalEnergy(LocalReference(), 1, (4,), (1,), (2, 2, 2)))
