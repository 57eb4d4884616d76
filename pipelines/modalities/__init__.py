"""What differs from modality to modality: one package each, and the base that says what it holds."""

from __future__ import annotations

import importlib
from typing import TypeVar

from pipelines.modalities.base import Modality

M = TypeVar("M", bound=Modality)
NAMES = ("images", "video", "voxels", "text")
_own: dict[str, Modality] = {}


def register(modality: M) -> M:
    """Make a modality of one's own known by its name; gives it. ValueError: the name is one of ours."""
    if modality.name in NAMES:
        raise ValueError(f"name must not be that of a modality of the program, got {modality.name}")
    _own[modality.name] = modality
    return modality


def modality_of(name: str) -> Modality:
    """The modality of that name, as `Examples.modality` has it. One's own must be imported: nothing else is, whatever
    name data read from files have."""
    if name not in NAMES:
        return _own[name]
    return importlib.import_module(f"pipelines.modalities.{name}.modality").MODALITY
