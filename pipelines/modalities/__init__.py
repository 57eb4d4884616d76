"""What differs from modality to modality: one package each, and the base that says what it holds."""

from __future__ import annotations

import importlib

from pipelines.modalities.base import Modality

NAMES = ("images", "video", "voxels")


def modality_of(name: str) -> Modality:
    """The modality of that name, as `Examples.modality` has it."""
    return importlib.import_module(f"pipelines.modalities.{name}.modality").MODALITY
