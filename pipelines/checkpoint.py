"""What a run keeps on disk, whole or not at all: checkpoints of loops, and values of stages.

Everything is written beside its place, flushed to the disk, and then renamed, so an interruption or
a full disk leaves what was there before. A manifest holds the size and SHA-256 of every file, so
damage is noticed before it is read. Of a loop two checkpoints are kept: the last, and the one before it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from warnings import warn

import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

import energies
from data.errors import InputError
from energies import Energy
from energies.saving import describe, restore

FORMAT = 2  # of values.json
MANIFEST = "manifest.json"
_LEFTOVER = re.compile(r"\.(.+)\.(new|old|link|\d+\.part)")  # how what is being written is called


def save(folder: str | Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Save a checkpoint; the last one becomes the one before it, in FOLDER_before.

    Args:
        folder: where it goes.
        tensors: any shapes, types and devices; they come back on the CPU.
        meta: JSON-able data; tuples come back as lists.

    Raises:
        OSError: it cannot be written; the older checkpoints are left as they were.
    """
    folder = Path(folder)
    new = _beside(folder, "new")

    def write(target: Path) -> None:
        write_file(target / "tensors.safetensors", _pack(tensors))
        write_file(target / "meta.json", json.dumps(meta).encode())

    fill(new, write)
    _take_place(new, folder)


def _take_place(new: Path, folder: Path) -> None:
    """A whole new checkpoint becomes the last one. Wherever this is cut short, two whole ones stay."""
    before = _before(folder)
    if _has_sizes(folder):  # a damaged one is no reason to lose the one before it
        shutil.rmtree(before, ignore_errors=True)
        folder.rename(before)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    sync(folder.parent)


def load(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors (on the CPU) and meta of the last whole checkpoint, or None without one.

    A warning tells of damaged ones, and what is used in their place.
    """
    folder = Path(folder)
    places = (_beside(folder, "new"), folder, _before(folder))  # a whole new one was about to take its place
    whole = next(filter(verify, places), None)
    damaged = [place for place in places[1 : places.index(whole) if whole else None] if place.exists()]
    if damaged:
        used = f"{whole.name} is used" if whole else "there is no other, so this begins anew"
        warn(f"the checkpoint {' and '.join(map(str, damaged))} is damaged; {used}", stacklevel=2)
    if whole is None:
        return None
    tensors = tensors_from_bytes((whole / "tensors.safetensors").read_bytes())
    return tensors, json.loads((whole / "meta.json").read_bytes())


def tidy(paths: Iterable[Path]) -> None:
    """Clear, of these paths, what killed commands left: files and folders that were being written, and are not whole.

    A checkpoint that was whole, but not in its place yet, takes it.
    """
    for path in paths:
        match = _LEFTOVER.fullmatch(path.name)
        if not match or not path.exists():
            continue
        if path.is_dir() and match[1] == "checkpoint" and verify(path):
            _take_place(path, path.with_name(match[1]))
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def save_values(folder: Path, values: dict[str, Any]) -> None:
    """Save what a stage gives into its folder, beside the files that the stage wrote there itself.

    Args:
        folder: the stage's folder; it exists.
        values: energies, and whatever `energies.saving.describe` takes: JSON-able data, tuples, tensors and frozen
            dataclasses, inside of each other. Tensors go to values.safetensors, an energy to the folder of its name,
            the rest to values.json.

    Raises:
        InputError: a value cannot be stored; nothing of them is there then.
        OSError: they cannot be written; likewise.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    new = _beside(folder / "values", "new")
    parts = {name: value for name, value in values.items() if isinstance(value, Energy)}
    tensors: dict[str, Tensor] = {}
    with _told_as_input("cannot be stored"):
        rest = describe({name: value for name, value in values.items() if name not in parts}, tensors)

    def write(target: Path) -> None:
        write_file(target / "values.safetensors", _pack(tensors))
        content = {"format": FORMAT, "values": rest, "energies": list(parts)}
        write_file(target / "values.json", json.dumps(content, allow_nan=False).encode())
        for name, energy in parts.items():
            with _told_as_input(f"{name} cannot be stored"):
                energy.save_pretrained(target / name)

    fill(new, write)
    _put(new, folder)


def _put(new: Path, folder: Path) -> None:
    """Move all that is in a folder into another one."""
    for path in sorted(new.iterdir(), key=lambda path: path.name == MANIFEST):  # the manifest last
        if (folder / path.name).is_dir():
            shutil.rmtree(folder / path.name)
        path.replace(folder / path.name)
    shutil.rmtree(new)  # a link to a file that is there already, of a taking that was cut short, is left where it was
    sync(folder)


def take_values(source: Path, folder: Path) -> bool:
    """Give a stage's folder the values that are in another one's, as links to the same files, or copies where there are
    no links. False: they are not whole, or not there; the folder is as it was."""
    new = _beside(folder / "values", "new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        for name in (*json.loads((source / MANIFEST).read_bytes()), MANIFEST):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            _link(source / name, new / name)
        if whole := verify(new):
            (folder / MANIFEST).unlink(missing_ok=True)
            _put(new, folder)
        return whole
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):  # damaged, or removed meanwhile
        return False
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _link(path: Path, new: Path) -> None:
    """The same file by another name. No file of a run is changed in place, but replaced: both stay as they are."""
    try:
        os.link(path, new)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(path, new)
    sync(new)


def load_values(folder: Path) -> dict[str, Any] | None:
    """What a stage gave, tensors on the CPU, or None where it is not there or damaged.

    InputError: an earlier version wrote it, or it is of a class that this program has not imported.
    """
    if not verify(folder):
        return None
    stored = json.loads((folder / "values.json").read_bytes())
    if stored.get("format") != FORMAT:
        raise InputError(f"{folder} was written by another version; choose another folder (out=...) or delete this one")
    tensors = tensors_from_bytes((folder / "values.safetensors").read_bytes())
    with _told_as_input(f"{folder} cannot be read"):
        parts = {name: energies.load(folder / name) for name in stored["energies"]}
        return restore(stored["values"], tensors, "values") | parts


@contextmanager
def _told_as_input(what: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: {error}") from error


# -------------------------------------------------------------------------------------------- files


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; it replaces an older one."""
    new = _beside(path, "new")
    try:
        with open(new, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)


def signature(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}


def _seal(folder: Path) -> None:
    """Flush all that is in a folder and write the manifest over it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in (*files, *{path.parent for path in files}):
        sync(path)
    manifest = {path.relative_to(folder).as_posix(): signature(path) for path in files}
    write_file(folder / MANIFEST, json.dumps(manifest, indent=1).encode())


def verify(folder: Path) -> bool:
    """Whether a folder holds a manifest and every file in it as it was written."""
    return _holds(folder, lambda path, expected: signature(path) == expected)


def _has_sizes(folder: Path) -> bool:
    """Likewise, but only by the sizes of the files."""
    return _holds(folder, lambda path, expected: path.stat().st_size == expected["size"])


def _holds(folder: Path, is_as: Callable[[Path, Any], bool]) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        return len(manifest) > 0 and all(is_as(folder / name, expected) for name, expected in manifest.items())
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, AttributeError, KeyError):
        return False


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")


def _before(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}_before")


def fill(folder: Path, write: Callable[[Path], None]) -> None:
    """Make a new folder, write into it and seal it; where that fails, none is left."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        write(folder)
        _seal(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _pack(tensors: dict[str, Tensor]) -> bytes:
    # A copy each: views of one storage are fine in memory, but not in a file.
    contiguous = torch.contiguous_format
    return tensors_to_bytes({k: v.detach().cpu().clone(memory_format=contiguous) for k, v in tensors.items()})
