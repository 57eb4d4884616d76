"""What every run leaves behind: its energy and its numbers."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import energies
from data.errors import InputError
from energies import ConditionalEnergy, Energy, Family
from energies.hub import located
from pipelines import checkpoint

WEIGHTS = "model.safetensors"
ANEW = "none"  # in place of an energy that was learned before: it is learned, whatever there is to take


def emptied(folder: Path, *names: str) -> Path:
    """The folder, made if need be, without the files NAME_... of an export with other settings."""
    folder.mkdir(exist_ok=True)
    for old in [path for name in names for path in folder.glob(f"{name}_*")]:
        old.unlink()
    return folder


def found(source: str | Path, address: str) -> Path:
    """The folder of the energy that a source names: that of a run or of the energy, zoo:NAME, or user/name of the hub.

    InputError, naming the field that asks for it: there is none in the zoo or on the hub.
    """
    try:
        return inner(located(source))
    except (OSError, ValueError) as error:
        raise InputError(_told(source, address, error)) from None


def load_energy(source: str | Path, address: str) -> Energy:
    """The energy that a source names. InputError, naming the field that asks for it: none can be read."""
    folder = found(source, address)
    try:
        return energies.load(folder)
    except (OSError, ValueError) as error:
        raise InputError(_told(source, address, error, folder)) from None


def _told(source: str | Path, address: str, error: Exception, folder: str | Path = "") -> str:
    """One line of an error in reading what a source names."""
    told = str(error).removeprefix(str(folder or source)).lstrip(": ")
    return f"{address}={source}: {told}"


def pretrained(
    source: str | Path, shape: Sequence[int], address: str = "learn.pretrained", what: str = "pictures"
) -> Energy:
    """The energy that a source names. InputError, naming the field: there is none, or of other x."""
    energy = load_energy(source, address)
    if isinstance(energy, Family) and (energy.label is not None or energy.level is not None):
        raise InputError(f"{address}={source}: is bound to a label or a noise level; save the energy unbound")
    if energy._event_shape is None and not isinstance(energy, ConditionalEnergy):
        energy.event_shape = shape  # it is of x of any shape
    if not energy.fits(shape):
        own, wanted = ("x".join(map(str, size)) for size in (energy.event_shape, shape))
        raise InputError(f"{address}={source}: is an energy of {own}, the {what} are {wanted}")
    return energy


def weights_of(source: str | None, address: str) -> tuple[str, ...]:
    """What the energy that a source names is read from: all that is in its folder. InputError: as of `found`."""
    return () if source is None else (str(found(source, address)),)


def inner(folder: Path) -> Path:
    """The folder of the energy in that of a run, or the folder itself."""
    return folder / "energy" if (folder / "energy").is_dir() else folder


def save_energy(energy: Energy, root: Path, name: str = "energy") -> None:
    """root/name, replaced as a whole or not at all. Weights that a stage's folder in root holds already take no further
    room. OSError: it cannot be written; an older one is left as it was."""
    fresh = root / f".{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        energy.save_pretrained(fresh)
        _link(fresh / WEIGHTS, root.rglob(WEIGHTS))
        shutil.rmtree(root / name, ignore_errors=True)
        fresh.rename(root / name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _link(path: Path, others: Iterable[Path]) -> None:
    """Make a file the same one as another of the same content, if there is one. No file of a run is changed in place,
    but replaced, so that the other stays as it is."""
    size = path.stat().st_size
    for other in others:
        if other != path and other.stat().st_size == size and filecmp.cmp(other, path, shallow=False):
            new = path.with_name(f".{path.name}.link")
            new.unlink(missing_ok=True)
            with suppress(OSError):  # a file system without links keeps two files
                os.link(other, new)
                new.replace(path)
            return


def log_of(root: Path) -> list[dict[str, Any]]:
    """The records of root/log.jsonl, of all commands that worked on the run; lines that were cut off are left out."""
    path = root / "log.jsonl"
    records: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(ValueError):
            record = json.loads(line)
            records += [record] if isinstance(record, dict) and "stage" in record else []
    return records


def save_metrics(found: dict[str, Any], root: Path) -> None:
    """root/metrics.json."""
    checkpoint.write_file(root / "metrics.json", json.dumps(found, indent=2, allow_nan=False).encode())
