"""Saves modules in folders, and loads them strictly: nothing that is missing, damaged or does not fit is let pass."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from energies.compact import Compact, packed, unpacked
from energies.description import Stored, describe, restore

__all__ = ["Stored", "describe", "load_module", "restore", "save_module"]

FORMAT = 2
DESCRIPTION, WEIGHTS = "energy.json", "model.safetensors"


def save_module(module: nn.Module, folder: Path, compact: Compact | None = None) -> None:
    """Write a `Stored` module: its description to energy.json, its weights to model.safetensors.

    Tensors among the arguments go to the second as well. What several names share is written once.

    Args:
        module: anything that `describe` takes.
        folder: where; made if need be.
        compact: how weights are rounded to take few bytes; None: all is written as it is.

    Raises:
        TypeError: an argument cannot be stored.
        ValueError: a number is not finite.
        OSError: it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    description = describe(module, tensors)
    _check_finite(tensors)
    distinct, shared = _distinct(tensors)
    # Cloned: other views of the same memory are fine here, but not in a file.
    contiguous = torch.contiguous_format
    written = {k: t.cpu().clone(memory_format=contiguous) for k, t in distinct.items()}
    found = {"format": FORMAT, "energy": description, "shared": shared}
    if compact is not None:
        places = {parameter.data_ptr() for parameter in module.parameters() if parameter.numel()}
        weights = {name for name, t in distinct.items() if t.data_ptr() in places}
        written, found["compact"] = packed(written, weights, compact)
    content = tensors_to_bytes(written)
    found["sha256"] = hashlib.sha256(content).hexdigest()
    text = json.dumps(found | {"own_sha256": _digest(found)}, indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(content)
    (folder / DESCRIPTION).write_text(text)


def load_module(folder: Path) -> nn.Module:
    """Read what `save_module` wrote, on the CPU, in evaluation mode, with numbers of the kind that was saved.

    Weights that were saved compact are in float32 again, rounded.

    Raises:
        FileNotFoundError: the folder holds no energy.
        ValueError: what it holds is damaged, of another format, does not fit, or is of a class not imported.
    """
    if not (folder / DESCRIPTION).is_file():
        raise FileNotFoundError(f"{folder} holds no energy; that of a run is in RUN/energy, or in RUN/composed")
    try:
        content = _content((folder / DESCRIPTION).read_bytes())
        tensors = _tensors(folder / WEIGHTS, content)
        _check_finite(tensors)
        return restore(content["energy"], tensors, "energy")
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _digest(found: dict[str, Any]) -> str:
    """SHA-256 of a description without its spaces, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _content(text: bytes) -> dict[str, Any]:
    """Of energy.json. ValueError: it is damaged or of another format."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{DESCRIPTION} is damaged ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{DESCRIPTION} holds no map")
    if "format" not in content and isinstance(content.get("energy"), str):
        raise ValueError("was saved by an earlier version (format 1); learn it again, or load it with that version")
    own = content.pop("own_sha256", None)  # files of before there was one have none
    if own is not None and own != _digest(content):
        raise ValueError(f"{DESCRIPTION} is damaged or was edited: own_sha256 is not its SHA-256; it may be left out")
    if content.get("format", FORMAT) != FORMAT:
        raise ValueError(f"is of format {content['format']!r:.40}, expected {FORMAT}")
    wanted = {"format", "energy", "shared", "sha256"}
    wrong = [f"lacks {key}" for key in sorted(wanted - content.keys())]
    wrong += [f"has the unknown key {key:.40}" for key in sorted(content.keys() - wanted - {"compact"})]
    energy, shared = content.get("energy"), content.get("shared")
    if not wrong and not (isinstance(energy, dict) and "module" in energy):
        wrong.append("describes no module as its energy")
    if not wrong and not (isinstance(shared, dict) and all(isinstance(key, str) for key in shared.values())):
        wrong.append("has under shared no map from names to names")
    if wrong:
        raise ValueError(f"{DESCRIPTION} {', '.join(wrong)}")
    return content


def _tensors(path: Path, content: dict[str, Any]) -> dict[str, Tensor]:
    """All tensors of the weights, those that are shared under each of their names."""
    if not path.is_file():
        raise ValueError(f"{path.name} is missing")
    weights = path.read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    if digest != content["sha256"]:
        raise ValueError(
            f"{path.name} is damaged or of another energy: its SHA-256 is {digest[:12]}..., "
            f"expected {content['sha256']!r:.13}..."
        )
    try:
        tensors = tensors_from_bytes(weights)
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged ({' '.join(str(error).split())})") from error
    tensors = unpacked(tensors, content.get("compact", {}))
    if lost := {name: key for name, key in content["shared"].items() if key not in tensors or name in tensors}:
        name, key = next(iter(lost.items()))
        raise ValueError(f"{path.name}: {name} shares {key}, which is missing, or is there itself")
    return tensors | {name: tensors[key] for name, key in content["shared"].items()}


def _distinct(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors without those that lie in the same memory as an earlier one, and which one that is by name."""
    first: dict[Any, str] = {}
    shared = {}
    for name, t in tensors.items():
        place = (t.device, t.data_ptr(), t.dtype, t.shape, t.stride()) if t.numel() else name
        if first.setdefault(place, name) != name:
            shared[name] = first[place]
    return {name: t for name, t in tensors.items() if name not in shared}, shared


def _check_finite(tensors: dict[str, Tensor]) -> None:
    """ValueError: a number is not finite."""
    wrong = [key for key, t in tensors.items() if not t.isfinite().all()]
    if wrong:
        more = f" and {len(wrong) - 1} tensors more" if len(wrong) > 1 else ""
        raise ValueError(f"numbers that are not finite are in {wrong[0]}{more}")
