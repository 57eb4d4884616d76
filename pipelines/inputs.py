"""The input files of a stage: what they were when a run read them, and whether they still are that."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from data.files import files_below
from pipelines import checkpoint

Signature = dict[str, Any]


def record(names: Iterable[str], root: Path) -> dict[str, Any]:
    """What the inputs are now, JSON-able.

    Args:
        names: files and folders. What is neither, such as the name of a data set, is left out.
        root: the folder of the run; files below it are results, and no inputs.

    Returns:
        `inputs`: size, time and SHA-256 by file; `folders`: those of the names that are folders.
    """
    names = list(dict.fromkeys(names))
    folders = [name for name in names if Path(name).is_dir()]
    return {"inputs": {name: _signature(Path(name)) for name in _files(names, root)}, "folders": folders}


def changed(recorded: dict[str, Any], root: Path) -> str | None:
    """In words, what has changed of the inputs that were recorded; None: nothing.

    A file is as it was where size and time are; where the time differs its content decides. An input that is gone as a
    whole is no change: what was read of it is in the run.
    """
    before: dict[str, Signature] = recorded["inputs"]
    folders = [name for name in recorded.get("folders", ()) if Path(name).is_dir()]
    now = set(_files(folders, root))
    inside = {name for name in before if any(Path(folder) in Path(name).parents for folder in folders)}
    kinds = {
        "has changed": [name for name in before if Path(name).is_file() and not _same(Path(name), before[name])],
        "is gone": sorted(inside - now),
        "is new": sorted(now - before.keys()),
    }
    found = [(name, what) for what, names in kinds.items() for name in names]
    if not found:
        return None
    name, what = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{name} {what}{more}"


def _files(names: Iterable[str], root: Path) -> Iterator[str]:
    """The files among the names, and those in the folders among them."""
    results = root.resolve()
    for name in names:
        path = Path(name)
        if path.is_file():
            yield name
        elif path.is_dir():
            yield from (str(file) for file in files_below(path) if results not in file.resolve().parents)


def inside(names: Iterable[str], root: Path) -> bool:
    """Whether one of the names is in the folder of the run, so that `record` leaves it out."""
    return any(root.resolve() in (path := Path(name).resolve(), *path.parents) for name in names)


def _signature(path: Path) -> Signature:
    found = path.stat()
    return _of_content(path.absolute(), found.st_size, found.st_mtime_ns) | {"time": found.st_mtime_ns}


@functools.cache
def _of_content(path: Path, size: int, time: int) -> Signature:
    """Of a file that has this size and time: read once, however often it is asked for."""
    return checkpoint.signature(path)


def _same(path: Path, before: Signature) -> bool:
    found = path.stat()
    if found.st_size != before["size"]:
        return False
    return found.st_mtime_ns == before.get("time") or checkpoint.signature(path)["sha256"] == before["sha256"]
