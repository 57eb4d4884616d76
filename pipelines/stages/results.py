"""What every run leaves behind: its energy and its numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

import energies
from data.errors import InputError
from pipelines import checkpoint


def emptied(folder: Path, *names: str) -> Path:
    """The folder, made if need be, without the files NAME_... of an export with other settings."""
    folder.mkdir(exist_ok=True)
    for old in [path for name in names for path in folder.glob(f"{name}_*")]:
        old.unlink()
    return folder


def load_energy(folder: Path, address: str) -> Any:
    """The energy in a folder. InputError, naming the field that asks for it: none can be read."""
    try:
        return energies.load(folder)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{address}={folder}: no energy can be read there ({type(error).__name__})") from None


def pretrained(folder: Path, shape: list[int], stage: str = "learn", what: str = "pictures") -> Any:
    """The energy in a folder, or of a run's. InputError, naming the stage: there is none, or of other x."""
    folder = inner(folder)
    energy = load_energy(folder, f"{stage}.pretrained")
    if list(getattr(energy, "event_shape", ())) != shape:
        raise InputError(f"{stage}.pretrained={folder}: is no energy of such {what} ({'x'.join(map(str, shape))})")
    return energy


def weights_of(folder: str | None) -> tuple[str, ...]:
    """The file that an energy's weights are in, of a run's folder or the energy's."""
    return (str(inner(Path(folder)) / "model.safetensors"),) if folder else ()


def inner(folder: Path) -> Path:
    """The folder of the energy in that of a run, or the folder itself."""
    return folder / "energy" if (folder / "energy").is_dir() else folder


def save_energy(energy: Any, root: Path, name: str = "energy") -> None:
    """root/name, replaced as a whole."""
    fresh = root / f".{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    energy.save_pretrained(fresh)
    shutil.rmtree(root / name, ignore_errors=True)
    fresh.rename(root / name)


def save_metrics(found: dict[str, Any], root: Path) -> None:
    """root/metrics.json."""
    checkpoint.write_file(root / "metrics.json", json.dumps(found, indent=2, allow_nan=False).encode())
