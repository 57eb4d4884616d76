"""Where shapes come from: a file, a folder of files, or the seed; each as packed cubes with z up."""

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from warnings import warn

import numpy as np

from data import furniture, grids, mesh_files, meshes
from data.errors import InputError
from data.files import listing, publish
from data.grids import Stack
from data.meshes import Frame, Mesh

if TYPE_CHECKING:
    from datasets import Dataset

Up = Literal["y", "z"]
READABLE = (*mesh_files.READABLE, *grids.READABLE)
SIZES = range(4, 129)  # sides of the cubes that meshes and furniture are made into
VERSION = 2  # of the conversion: a new one leaves the cache of the old behind


def open_dataset(
    source: str | Path,
    size: int | None = None,
    up: Up | None = None,
    *,
    pad: bool = False,
    frame: Frame | None = None,
    count: int = 1000,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> "Dataset":
    """Shapes as a `datasets.Dataset`: `bits` (bytes, for `voxels.unpack`) and what is known of each.

    source: a file as `voxels.read` takes it, of one grid or thousands, with its `labels` as the
    column `label` and its other arrays [n] as they are named; a folder of such files, with the
    column `name` and the sub-folder's name as `label`; or "procedural", "procedural:chairs",
    "...:tables", "...:shelves", "...:lamps" for `count` pieces of furniture of `seed`, with `label`
    and their parts as columns (`furniture.ATTRIBUTES`). size, up, pad, frame: as in `voxels.read`.

    Meshes in a folder are voxelised once and kept in the folder `cache` (default: energy-pipelines
    in the user's cache). progress(done, all) is called after each file. InputError, one line, for
    what cannot be read; one warning tells how many meshes are not watertight, one what of a folder is left out.
    """
    if str(source).split(":")[0] == "procedural":
        return _procedural(str(source), size, count, seed)
    path = Path(source)
    if path.is_dir():
        return _folder(path, size, up, pad, frame, _cache_folder(cache), progress)
    stack, note = load(path, size, up, pad, frame)
    if note is not None:
        warn(f"{path}: {note}", stacklevel=2)
    return _dataset(stack.bits, stack.columns, {} if stack.classes is None else {"label": stack.classes})


def load(
    path: Path, size: int | None, up: Up | None, pad: bool, frame: Frame | None = None
) -> tuple[Stack, str | None]:
    """The cubes of one file, z up, each side `size`; and a note if a mesh is not watertight."""
    if up not in (None, "y", "z"):
        raise InputError(f"{path}: up={up!r} is no axis; it must be y or z")
    kind = path.suffix.lower()
    if kind in mesh_files.READABLE:
        if size is None:
            raise InputError(f"{path}: a mesh has no size of its own in voxels; give one, such as size=32")
        _check_size(size)
        mesh = read_mesh(path, up)
        try:
            solid, note = meshes.voxelize(mesh, frame or size)
        except ValueError as error:
            raise InputError(f"{path}: {error}; give the frame of the whole, in the same units") from None
        if not solid.any():
            raise InputError(f"{path}: has nothing in the frame; give the frame of the whole, in the same units")
        return Stack(grids.pack(solid[None]), (size, size, size)), note
    if kind in mesh_files.UNREAD:
        raise InputError(f"{path}: {mesh_files.UNREAD[kind]} is not read; export it as stl")
    if kind not in grids.READABLE:
        raise InputError(f"{path}: not a kind that is read; give {', '.join(READABLE)}")
    return _cubes(path, grids.read(path), size, (up or default_up(path)) == "z", pad), None


def read_mesh(path: Path, up: Up | None = None) -> Mesh:
    """A mesh in its file's units, z up. Errors as in `mesh_files.read`."""
    mesh = mesh_files.read(path)
    return mesh if (up or default_up(path)) == "z" else Mesh(upright(mesh.vertices), mesh.faces)


def upright(places: np.ndarray) -> np.ndarray:
    """Places [..., 3] of a file with y up, with z up."""
    x, y, z = np.moveaxis(places, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def frame_of(paths: Sequence[Path], size: int, up: Up | None = None, places: np.ndarray | None = None) -> Frame:
    """The frame of `size` voxels a side around all of some meshes, and places [n, 3] with z up."""
    _check_size(size)
    around = [read_mesh(path, up).vertices for path in paths]
    return Frame.around(np.concatenate(around if places is None else [*around, places]), size)


def default_up(path: Path) -> Up:
    """The axis that points up in files of this format, by custom."""
    return "y" if path.suffix.lower() in mesh_files.Y_UP else "z"


def _cubes(path: Path, stack: Stack, size: int | None, upright: bool, pad: bool) -> Stack:
    """The stack turned upright and, if asked, padded: cubes of `size`."""
    shape = stack.shape
    side = max(shape) if size is None else size
    if min(shape) == max(shape) == side and upright:
        return stack
    if max(shape) > side:
        raise InputError(
            f"{path}: its grids are {'x'.join(map(str, shape))}, larger than size={side}; give size={max(shape)}"
        )
    if min(shape) < side and not pad:
        what = f"not cubes of size={side}" if size else "not cubes"
        raise InputError(f"{path}: its grids are {'x'.join(map(str, shape))}, {what}; give another size or pad=true")
    bits = []
    for row in stack.bits:  # one by one: unpacked, all at once may not fit
        grid = grids.unpack(row[None], shape)[0]
        grid = grid if upright else grid.transpose(0, 2, 1)[:, ::-1]
        margins = [(side - length) // 2 for length in grid.shape]
        around = [(margin, side - length - margin) for margin, length in zip(margins, grid.shape, strict=True)]
        bits.append(grids.pack(np.pad(grid, around)[None])[0])
    return Stack(np.stack(bits), (side, side, side), stack.columns, stack.classes)


def _folder(
    folder: Path,
    size: int | None,
    up: Up | None,
    pad: bool,
    frame: Frame | None,
    cache: Path,
    progress: Callable[[int, int], None] | None,
) -> "Dataset":
    listed = listing(folder, READABLE, "shapes")
    found, classes = listed.files, tuple(listed.classes)
    if not found:
        left = f" ({listed.left_out()})" if listed.left_out() else ""
        raise InputError(f"{folder}: holds no shapes{left}; put {', '.join(READABLE)} in it or in its sub-folders")
    listed.tell()
    rows: list[np.ndarray] = []
    names, labels, notes = [], [], []
    for done, (file, label) in enumerate(zip(found, listed.labels, strict=True), 1):
        stack, note = _load_cached(file, size, up, pad, frame, cache)
        if rows and rows[0].shape[1] != stack.bits.shape[1]:
            raise InputError(f"{file}: is {stack.shape[0]}^3, {found[0]} is another size; give size and pad=true")
        rows.append(stack.bits)
        names += [file.relative_to(listed.root).as_posix()] * len(stack.bits)
        labels += [label] * len(stack.bits)
        notes += [] if note is None else [f"{file.name}: {note}"]
        if progress is not None:
            progress(done, len(found))
    if notes:
        warn(f"{folder}: {len(notes)} of {len(found)} files are open meshes, such as {notes[0]}", stacklevel=3)
    columns: dict[str, Any] = {"name": names} | ({"label": labels} if classes else {})
    return _dataset(np.concatenate(rows), columns, {"label": classes} if classes else {})


def _load_cached(
    path: Path, size: int | None, up: Up | None, pad: bool, frame: Frame | None, cache: Path
) -> tuple[Stack, str | None]:
    """As `load`; a mesh that has not changed since is not voxelised again."""
    if path.suffix.lower() not in mesh_files.READABLE or size is None:
        return load(path, size, up, pad, frame)
    stat = path.stat()
    identity = f"{VERSION} {path.resolve()} {stat.st_size} {stat.st_mtime_ns} {size} {up or default_up(path)}"
    identity += f" {frame}" if frame else ""
    entry = cache / f"{sha256(identity.encode()).hexdigest()[:32]}.voxels"
    num_bytes = ceil(size**3 / 8)
    if entry.is_file() and len(data := entry.read_bytes()) >= num_bytes:
        bits = np.frombuffer(data[:num_bytes], np.uint8)
        return Stack(bits[None], (size, size, size)), data[num_bytes:].decode() or None
    stack, note = load(path, size, up, pad, frame)
    cache.mkdir(parents=True, exist_ok=True)
    publish(entry, stack.bits.tobytes() + (note or "").encode())
    return stack, note


def _cache_folder(cache: str | Path | None) -> Path:
    if cache is not None:
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "energy-pipelines" / "voxels"


def _procedural(source: str, size: int | None, count: int, seed: int) -> "Dataset":
    plurals = {"chairs": "chair", "tables": "table", "shelves": "shelf", "lamps": "lamp"}
    name = source.partition(":")[2]
    if name and name not in plurals:
        raise InputError(f"{source!r} does not exist; take procedural:{', procedural:'.join(plurals)} or procedural")
    if count < 1:
        raise InputError(f"count={count} is too small; make at least 1 shape")
    size = 32 if size is None else size
    _check_size(size)
    kinds = (plurals[name],) if name else furniture.KINDS
    pieces = [furniture.make(kinds[i % len(kinds)], seed=seed, index=i, size=size) for i in range(count)]
    bits = grids.pack(np.stack([solid for solid, _ in pieces]))
    names = {"label": kinds} | furniture.ATTRIBUTES
    columns = {"label": np.arange(count) % len(kinds)}
    columns |= {
        key: np.array([furniture.ATTRIBUTES[key].index(made[key]) for _, made in pieces])
        for key in furniture.ATTRIBUTES
    }
    return _dataset(bits, columns, names)


def _dataset(bits: np.ndarray, columns: dict[str, Any], names: dict[str, tuple[str, ...]]) -> "Dataset":
    """Rows of `bits` and columns; `names` are the classes of a column of integers."""
    from datasets import ClassLabel, Dataset, Features, Value

    # NumPy's names for types are Arrow's, but for text.
    kinds = {key: str(np.asarray(column).dtype) for key, column in columns.items() if key not in names}
    features = {"bits": Value("binary")}
    features |= {key: Value("string" if kind.startswith(("<U", "|S", ">U")) else kind) for key, kind in kinds.items()}
    features |= {key: ClassLabel(names=list(classes)) for key, classes in names.items() if key in columns}
    values = {key: column.tolist() if isinstance(column, np.ndarray) else column for key, column in columns.items()}
    return Dataset.from_dict({"bits": [row.tobytes() for row in bits]} | values, features=Features(features))


def _check_size(size: int) -> None:
    if size not in SIZES:
        raise InputError(f"size={size} is out of range; it must be {SIZES.start} to {SIZES.stop - 1} voxels")
