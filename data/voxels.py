"""Voxels: float32 tensors [1, D, H, W] in [-1, 1], -1 empty; one grid by itself is bool [N, N, N].

Axes are (x, y, z) with z up; furniture faces -y, so its back is at the high end of y.

grid = read("chair.obj", size=32)
dataset = open_dataset("procedural:chairs", size=32)
batch = unpack(dataset[:8]["bits"])  # [8, 1, 32, 32, 32]
write(batch[0], "chair.stl", millimetres=80)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal
from warnings import warn

import numpy as np
import torch
from torch import Tensor

from data import grids, mesh_files, meshes
from data.errors import InputError
from data.files import publish
from data.grids import cube
from data.meshes import Frame, Mesh
from data.shapes import default_up, frame_of, load, open_dataset, read_mesh, upright

__all__ = [
    "MESHES", "Frame", "Kept", "Written", "default_up", "field", "frame_of", "kept", "open_dataset", "pack", "read",
    "surface", "unpack", "unseen", "upright", "write",
]  # fmt: skip

Grid = Tensor | np.ndarray
Up = Literal["y", "z"]
"""Which axis of a file points up. None is the custom of its format: y for .obj and .glb, else z."""

MESHES = mesh_files.READABLE
WRITABLE = (*mesh_files.WRITABLE, ".binvox", ".npz")


def read(
    path: str | Path,
    size: int | None = None,
    up: Up | None = None,
    *,
    pad: bool = False,
    index: int | None = None,
    frame: Frame | None = None,
) -> Tensor:
    """Read one shape: bool [N, N, N] with N = `size`, True inside, z up.

    Meshes (.obj, .off, .stl, .ply, .glb, .gltf, .3mf) need a size: they are scaled to it along their longest side and
    centred, or placed by a frame of that size; then filled, their holes closed, with a warning that says so. Grids
    (.npz, .npy, .binvox) keep their size: another `size` is an error, but with pad=True they are put in the middle of a
    larger cube, as must grids that are not cubes. `index` picks the grid in a file of several. InputError, one line,
    for anything that cannot be read so.
    """
    path = Path(path)
    if frame is not None and path.suffix.lower() not in MESHES and path.suffix.lower() in grids.READABLE:
        raise InputError(f"{path}: a grid has no units and no frame; give a mesh, or no frame")
    stack, note = load(path, size, up, pad, frame)
    if note is not None:
        warn(f"{path}: {note}", stacklevel=2)
    num = len(stack.bits)
    if index is None and num > 1:
        raise InputError(f"{path}: holds {num} grids; give index=0 to {num - 1}, or open it as a dataset")
    if not 0 <= (index or 0) < num:
        raise InputError(f"{path}: index={index} is out of range; it holds grids 0 to {num - 1}")
    return torch.from_numpy(grids.unpack(stack.bits[index or 0][None], stack.shape)[0].copy())


def unseen(path: str | Path, frame: Frame, up: Up | None = None) -> Tensor:
    """Where the holes of a mesh leave it open what is inside (`meshes.unseen`): bool [N, N, N].

    InputError: it has no holes, or cannot be read.
    """
    hidden = meshes.unseen(read_mesh(Path(path), up), frame)
    if not hidden.any():
        raise InputError(f"{path}: has no holes that a voxel fits into; say in another way what is missing")
    return torch.from_numpy(hidden)


@dataclass(frozen=True)
class Written:
    """What went into a file: parts and voxels kept and dropped; faces and volume (mm^3, or voxels
    without a scale) of a mesh; and remarks a person should read."""

    voxels: int
    parts: int
    dropped_voxels: int
    dropped_parts: int
    faces: int | None = None
    volume: float | None = None
    notes: tuple[str, ...] = ()


def write(
    grid: Grid,
    path: str | Path,
    *,
    level: float = 0.0,
    keep: Literal["largest"] | int = "largest",
    seen: Tensor | None = None,
    solid: bool = False,
    smoothing: int = 10,
    faces: int | None = None,
    millimetres: float | None = None,
    frame: Frame | None = None,
    up: Up | None = None,
) -> Written:
    """Write a shape as .stl, .obj, .ply, .glb, .off, .3mf, .binvox or .npz, as the name ends.

    `grid`, `level`, `keep`, `seen` and `solid` are as in `kept`. Meshes are watertight with positive volume:
    `smoothing` rounds even out the steps, and about `faces` triangles are left where that can be done soundly.
    `millimetres` is the length of the longest side of what is written, as it is after smoothing; .glb counts in metres.
    Without it a mesh lies in the units of its `frame`, or is one unit a voxel. The file appears whole or not at all.
    InputError if there is nothing to write or it cannot be written so, OSError if the disk does not take it.
    """
    path = Path(path)
    _check_options(path, keep, smoothing, faces, millimetres, up)
    kind = path.suffix.lower()
    found = kept(grid, level=level, keep=keep, seen=seen, solid=solid, name=str(path))
    z_up = (up or default_up(path)) == "z"
    if kind in mesh_files.WRITABLE:
        mesh, remarks = surface(found.values, smoothing, faces)
        mesh, volume = _scaled(mesh, millimetres, frame)
        unit = 1000 if kind == ".glb" and millimetres is not None else 1
        mesh = _placed(mesh, 1 / unit, z_up)
        data = mesh_files.encode(mesh, kind)
        rounded = mesh_files.rounding(mesh, kind)
        remarks += (rounded,) if rounded else ()
        written = Written(*found.counts, len(mesh.faces), volume, found.notes + remarks)
    else:
        inside = found.values > 0
        inside = inside if z_up else inside.transpose(0, 2, 1)[:, :, ::-1]
        if kind == ".binvox" and len(set(inside.shape)) > 1:
            raise InputError(f"{path}: a binvox grid is a cube, this is {list(inside.shape)}; end it in .npz")
        side = len(inside) * (1.0 if millimetres is None else millimetres / _extent(inside))
        data = grids.encode_npz(inside) if kind == ".npz" else grids.encode_binvox(inside, side)
        written = Written(*found.counts, notes=found.notes)
    publish(path, data)
    return written


@dataclass(frozen=True, eq=False)
class Kept:
    """What is written of a grid: a field [D, H, W], above 0 inside; voxels, parts, and the same dropped; remarks."""

    values: np.ndarray
    counts: tuple[int, int, int, int]
    notes: tuple[str, ...] = ()


def kept(
    grid: Grid,
    *,
    level: float = 0.0,
    keep: Literal["largest"] | int = "largest",
    seen: Tensor | None = None,
    solid: bool = False,
    name: str = "the grid",
) -> Kept:
    """What `write` writes of a grid: without specks, and without cavities if it is to be solid.

    `grid` is [D, H, W] or [1, D, H, W]: bool, 0 and 1, or a float field whose inside is > `level` (0 for [-1, 1];
    probabilities want 0.5). `keep` is "largest" part or the least number of voxels of the parts kept, and those stay
    that hold a voxel of `seen`, bool as the grid; solid=True fills cavities inside them. InputError if nothing is left.
    """
    values, counts = _kept(name, field(grid, level), keep, seen)
    values, notes = _cavities(values, solid)
    return Kept(values, counts, notes)


def surface(values: np.ndarray, smoothing: int = 10, faces: int | None = None) -> tuple[Mesh, tuple[str, ...]]:
    """The watertight mesh around {values > 0} of a float field [D, H, W], in voxels; and remarks.

    ValueError where no value is above 0.
    """
    if not (values > 0).any():
        raise ValueError("no voxel is above 0")
    sharp = meshes.surface(values)
    mesh = meshes.smooth(sharp, smoothing)
    notes: list[str] = []
    if mesh.volume <= 0:
        mesh = sharp
        notes.append("left unsmoothed: it is so thin that smoothing turns it inside out")
    if faces is not None:
        tries = (meshes.decimate(mesh, int(faces * more)) for more in (1, 1.25, 1.6, 2))
        smaller = next((found for found in tries if found is not None), None)
        if smaller is None:
            notes.append(f"kept all {len(mesh.faces)} faces: with about {faces} it would not stay watertight")
        elif len(smaller.faces) > 1.1 * faces:
            notes.append(f"kept {len(smaller.faces)} faces: with about {faces} it would not stay watertight")
        mesh = smaller or mesh
    assert not mesh.open_edges() and mesh.volume > 0
    return mesh, tuple(notes)


def field(grid: Grid, level: float = 0.0) -> np.ndarray:
    """A finite float32 field [D, H, W], positive inside, of a grid as `write` takes it."""
    if isinstance(grid, Tensor):
        grid = grid.detach().cpu()
        grid = grid.float() if grid.is_floating_point() else grid  # NumPy knows no bfloat16
        values = grid.numpy()
    else:
        values = np.asarray(grid)
    if values.ndim == 4 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 3 or min(values.shape) < 1:
        raise InputError(f"a grid is [D, H, W] or [1, D, H, W], got {list(values.shape)}")
    if values.dtype.kind != "f":
        return np.where(grids.binary("the grid", values), 1, -1).astype(np.float32)
    values = values.astype(np.float32) - np.float32(level)
    if not np.isfinite(values).all():
        raise InputError("the grid holds NaN or infinite values; it cannot be drawn or written")
    if level == 0 and values.min() >= 0 and values.min() < values.max():
        raise InputError("no value of the grid is below level=0; give level=0.5 if these are probabilities")
    return values


def pack(batch: Tensor) -> list[bytes]:
    """The `bits` of grids [B, 1, N, N, N] or [B, N, N, N]: bool, or floats that are set above 0."""
    solid = (batch if batch.dtype == torch.bool else batch > 0).cpu().numpy()
    return [row.tobytes() for row in grids.pack(solid)]


def unpack(bits: Sequence[bytes], size: int | None = None) -> Tensor:
    """Batch float32 [B, 1, N, N, N] in {-1, 1} of the `bits` of B cubes; N = `size` if it is given.

    ValueError if they are not cubes of one size.
    """
    if not len(bits):
        raise ValueError("an empty batch has no size")
    side = cube(len(bits[0]))
    if side is None or side != (size or side) or any(len(row) != len(bits[0]) for row in bits):
        raise ValueError(f"bits of {len(bits[0])} bytes are not all cubes of {size or 'one size'}")
    rows = np.frombuffer(b"".join(bits), np.uint8).reshape(len(bits), -1)
    solid = torch.from_numpy(grids.unpack(rows, (1, side, side, side)))
    return solid.float().mul_(2).sub_(1)


def _kept(
    path: str, values: np.ndarray, keep: Literal["largest"] | int, seen: Tensor | None
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The field with the parts that are not kept put outside; voxels, parts, and the same dropped."""
    if not (values > 0).any():
        raise InputError(f"{path}: the grid is empty, no voxel is set; nothing is written")
    numbers, sizes = meshes.parts(values > 0)
    sizes[0] = 0
    least = int(sizes.max()) if keep == "largest" else keep
    good = sizes >= max(least, 1)
    if keep == "largest":  # of equals the first
        good &= np.arange(len(sizes)) == np.argmax(sizes)
    if seen is not None:
        good[np.unique(numbers[seen.reshape(numbers.shape).numpy()])] = True
        good[0] = False
    if not good.any():
        raise InputError(f"{path}: no part has keep={keep} voxels, the largest has {sizes.max()}; lower it")
    dropped = ~good
    dropped[0] = False
    kept = np.where(dropped[numbers], -np.abs(values).max(), values)
    return kept, (int(sizes[good].sum()), int(good.sum()), int(sizes[dropped].sum()), int(dropped.sum()))


def _cavities(values: np.ndarray, solid: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """The field, its cavities filled if it is to be solid; and a remark if it has any."""
    cavities = meshes.fill(values > 0) & ~(values > 0)
    count = np.count_nonzero(cavities)
    if not count:
        return values, ()
    if solid:
        return np.where(cavities, values.max(), values), (f"filled {count} voxels of cavities",)
    return values, (f"has cavities of {count} voxels that nothing reaches from outside; solid=true fills them",)


def _check_options(
    path: Path, keep: str | int, smoothing: int, faces: int | None, millimetres: float | None, up: str | None
) -> None:
    kind = path.suffix.lower()
    if kind not in WRITABLE:
        raise InputError(f"{path}: not a kind that is written; end it in {', '.join(WRITABLE)}")
    if millimetres is not None and not (isfinite(millimetres) and millimetres > 0):
        raise InputError(f"{path}: millimetres={millimetres} is out of range; it must be above 0")
    if faces is not None and (faces < 20 or kind not in mesh_files.WRITABLE):
        raise InputError(f"{path}: faces={faces} must be 20 or more, and for a mesh; leave it out")
    if not 0 <= smoothing <= 1000:
        raise InputError(f"{path}: smoothing={smoothing} is out of range; it is 0 (off) to 1000 rounds")
    if up not in (None, "y", "z"):
        raise InputError(f"{path}: up={up!r} is no axis; it must be y or z")
    if keep != "largest" and (isinstance(keep, str) or keep < 1):
        raise InputError(f"{path}: keep={keep!r} is neither largest nor a number of voxels, 1 or more")


def _scaled(mesh: Mesh, millimetres: float | None, frame: Frame | None) -> tuple[Mesh, float]:
    """A mesh in voxels so long, or in the units of a frame, or as it is; and its volume."""
    if millimetres is not None:
        scale = millimetres / float(np.ptp(mesh.vertices, axis=0).max())
        mesh = Mesh(mesh.vertices * scale, mesh.faces)
    elif frame is not None:
        mesh = Mesh(frame.to_places(mesh.vertices), mesh.faces)
    return mesh, mesh.volume


def _extent(inside: np.ndarray) -> int:
    """Voxels along the longest side of what is set."""
    return max(int(np.ptp(axis)) + 1 for axis in np.nonzero(inside))


def _placed(mesh: Mesh, scale: float, upright: bool) -> Mesh:
    x, y, z = mesh.vertices.T * scale
    return Mesh(np.stack([x, y, z] if upright else [x, z, -y], axis=1), mesh.faces)
