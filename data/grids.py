"""Files of voxel grids: .binvox, .npy and .npz, read only after what they declare has been checked.

In memory grids are packed: `bits` is uint8 [n, ceil(D H W / 8)], `numpy.packbits` of each grid
[D, H, W] in C order with axes (x, y, z).
"""

import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import IO

import numpy as np

from data.containers import check_file
from data.errors import InputError

READABLE = (".npz", ".npy", ".binvox")
MAX_BYTES = 2 * 1024**3
MAX_SIDE = 1024


@dataclass(frozen=True)
class Stack:
    """n grids of one shape, packed; `columns` are arrays [n] that say something about each."""

    bits: np.ndarray  # uint8 [n, ceil(D H W / 8)]
    shape: tuple[int, int, int]
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None  # the names of columns["label"]

    def grids(self) -> np.ndarray:
        """bool [n, D, H, W]."""
        return unpack(self.bits, self.shape)


def pack(grids: np.ndarray) -> np.ndarray:
    """bits uint8 [n, bytes] of bool [n, D, H, W]."""
    return np.packbits(grids.reshape(len(grids), -1), axis=1)


def unpack(bits: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """bool [n, D, H, W] of bits uint8 [n, bytes]."""
    flat = np.unpackbits(bits, axis=1, count=int(np.prod(shape)))
    return flat.view(bool).reshape(len(bits), *shape)


def cube(num_bytes: int) -> int | None:
    """N where one grid [N, N, N] packs into so many bytes, None where none does."""
    side = round((8 * num_bytes) ** (1 / 3))
    return next((n for n in (side, side - 1) if n > 0 and ceil(n**3 / 8) == num_bytes), None)


def read(path: Path) -> Stack:
    """All grids of a file, as they are stored.

    .npz holds `bits` (with `shape` [D, H, W] or [n, D, H, W], or cubes without), or one array
    [D, H, W] or [n, D, H, W] under any name; beside it `labels`, `classes` and other arrays [n].
    .npy holds that one array. Values: bool; integers 0 and 1; floats in [0, 1], set above 0.5, or
    if some are negative in [-1, 1], set above 0. InputError for anything else.
    """
    check_file(path)
    try:
        if path.suffix.lower() == ".binvox":
            return _read_binvox(path, path.read_bytes())
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return _stack(path, {"grids": _read_npy(f"{path}", file, path.stat().st_size)})
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if sum(info.file_size for info in members) > MAX_BYTES:
                raise InputError(f"{path}: unpacks to more than {MAX_BYTES >> 30} GiB; split it")
            arrays = {}
            for info in members:
                with archive.open(info) as file:
                    name = info.filename.removesuffix(".npy")
                    arrays[name] = _read_npy(f"{path}: {name}", file, info.file_size)
        return _stack(path, arrays)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path}: not a whole npz archive; write it again with numpy.savez_compressed") from error


def encode_npz(grids: np.ndarray) -> bytes:
    """The .npz file of one grid bool [D, H, W] or several [n, D, H, W], as `read` takes it."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, bits=pack(grids.reshape(-1, *grids.shape[-3:])), shape=np.array(grids.shape))
    return buffer.getvalue()


def encode_binvox(grid: np.ndarray, scale: float) -> bytes:
    """The .binvox file of a cubic grid bool [N, N, N] whose side is `scale` long.

    The runs are trimesh's. The head is ours: trimesh puts a comment into it, over which common readers fall.
    """
    from trimesh.voxel.runlength import dense_to_rle

    flat = grid.transpose(0, 2, 1).reshape(-1)  # y runs fastest, then z, then x
    runs = dense_to_rle(flat, np.uint8)  # type: ignore[arg-type]  # a run of over 255 is split
    side = grid.shape[0]
    return f"#binvox 1\ndim {side} {side} {side}\ntranslate 0 0 0\nscale {scale:.9g}\ndata\n".encode() + runs.tobytes()


def _read_binvox(path: Path, data: bytes) -> Stack:
    """https://www.patrickmin.com/binvox/binvox.html: dim is depth (x), height (z), width (y)."""
    head, found, body = data.partition(b"data\n")
    dim = re.search(rb"^dim +(\d{1,5}) +(\d{1,5}) +(\d{1,5})\s*$", head, re.MULTILINE)
    if not (head.startswith(b"#binvox 1") and found and dim):
        raise InputError(f"{path}: not a binvox file, its head is wrong; convert it again")
    x, z, y = (int(side) for side in dim.groups())
    _check_shape(path, (x, y, z))
    pairs = np.frombuffer(body[: len(body) // 2 * 2], np.uint8).reshape(-1, 2)
    if pairs[:, 1].sum(dtype=np.int64) != x * y * z:
        raise InputError(f"{path}: its runs do not fill {x}x{y}x{z} voxels; the file is cut short or damaged")
    if pairs[:, 0].max() > 1:
        raise InputError(f"{path}: holds values other than 0 and 1; convert it again")
    grid = np.repeat(pairs[:, 0].astype(bool), pairs[:, 1]).reshape(x, z, y).transpose(0, 2, 1)
    return Stack(pack(grid[None]), (x, y, z))


def _read_npy(what: str, file: IO[bytes], size: int) -> np.ndarray:
    """The array of a .npy file of `size` bytes, once its head has been seen to be harmless and true."""
    try:
        version = np.lib.format.read_magic(file)
        heads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in heads:
            raise ValueError(f"version {version}")
        shape, fortran, dtype = heads[version](file)
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {shape}")
    except Exception as error:  # numpy parses the head as Python
        raise InputError(f"{what}: not a whole npy array; write it again with numpy.save") from error
    if dtype.hasobject or dtype.names:
        raise InputError(f"{what}: holds Python objects ({dtype}), which are not loaded; save a plain bool array")
    count = 1
    for side in shape:
        count *= side  # Python's own numbers do not overflow
    needed = count * dtype.itemsize
    if needed > min(size, MAX_BYTES):
        raise InputError(
            f"{what}: says {list(shape)} of {dtype}, more than its {size} bytes; it is cut short or too large"
        )
    data = file.read(needed)
    if len(data) < needed:
        raise InputError(f"{what}: cut short, {len(data)} of {needed} bytes are there; write it again")
    array = np.frombuffer(data, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def _stack(path: Path, arrays: dict[str, np.ndarray]) -> Stack:
    """The grids and columns among the arrays of a file."""
    if "bits" in arrays:
        bits, shape = _packed(path, arrays.pop("bits"), arrays.pop("shape", None))
    else:
        names = [name for name, array in arrays.items() if array.ndim >= 3]
        if len(names) != 1:
            has = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "nothing"
            raise InputError(f"{path}: needs `bits`, or one array [n, N, N, N] or [N, N, N]; it has {has[:200]}")
        grids = arrays.pop(names[0])
        if grids.ndim > 4:
            raise InputError(f"{path}: {names[0]} is {list(grids.shape)}; it must be [n, N, N, N] or [N, N, N]")
        grids = grids[None] if grids.ndim == 3 else grids
        shape = _check_shape(path, grids.shape[1:])
        bits = pack(binary(f"{path}: {names[0]}", grids))
    if not len(bits):
        raise InputError(f"{path}: holds 0 grids; give at least one")
    classes = arrays.pop("classes", None)
    columns = {"label" if name == "labels" else name: a for name, a in arrays.items() if a.shape == (len(bits),)}
    if "labels" in arrays and "label" not in columns:
        raise InputError(
            f"{path}: labels are {list(arrays['labels'].shape)}; there must be one for each of {len(bits)} grids"
        )
    names = tuple(str(name) for name in classes.tolist()) if classes is not None and classes.ndim == 1 else None
    if names is not None and "label" in columns:
        label = columns["label"]
        if label.dtype.kind not in "iu" or label.min() < 0 or label.max() >= len(names):
            raise InputError(f"{path}: labels must be integers from 0 to {len(names) - 1}, one for each of `classes`")
    return Stack(bits, shape, columns, names)


def _packed(path: Path, bits: np.ndarray, shape: np.ndarray | None) -> tuple[np.ndarray, tuple[int, int, int]]:
    """bits [n, bytes] with the shape of a grid, which unless it is told must be a cube."""
    if bits.dtype != np.uint8 or bits.ndim not in (1, 2):
        raise InputError(
            f"{path}: bits are {bits.dtype} {list(bits.shape)}; they must be uint8 [n, bytes] of numpy.packbits"
        )
    bits = bits.reshape(-1, bits.shape[-1])
    if shape is None:
        side = cube(bits.shape[1])
        if side is None:
            raise InputError(f"{path}: {bits.shape[1]} bytes a grid are no cube; add `shape`, [D, H, W]")
        return bits, _check_shape(path, (side, side, side))
    if shape.ndim != 1 or shape.dtype.kind not in "iu" or len(shape) not in (3, 4):
        raise InputError(f"{path}: shape must be the integers [D, H, W] or [n, D, H, W]")
    if len(shape) == 4 and shape[0] != len(bits):
        raise InputError(f"{path}: shape says {shape[0]} grids, bits hold {len(bits)}")
    sides = _check_shape(path, shape[-3:].tolist())
    if ceil(np.prod(sides) / 8) != bits.shape[1]:
        raise InputError(f"{path}: {bits.shape[1]} bytes a grid do not hold {'x'.join(map(str, sides))} voxels")
    return bits, sides


def binary(what: str, grids: np.ndarray) -> np.ndarray:
    """bool array of voxel values as `read` takes them; InputError for others."""
    if grids.dtype == bool:
        return grids
    if grids.dtype.kind not in "iuf" or not grids.size:
        raise InputError(
            f"{what}: {grids.dtype} {list(grids.shape)} are no voxels; give bool, 0 and 1, or floats in [0, 1]"
        )
    low, high = grids.min(), grids.max()
    if grids.dtype.kind == "f":
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(f"{what}: holds NaN or infinite values; give numbers in [0, 1]")
        if low >= -1 and high <= 1:
            return grids > (0.5 if low >= 0 else 0)
    elif low >= 0 and high <= 1:
        return grids.astype(bool)
    raise InputError(f"{what}: values run from {low:g} to {high:g}; voxels are 0 or 1, or floats in [0, 1]")


def _check_shape(path: Path, shape: Sequence[int]) -> tuple[int, int, int]:
    depth, height, width = (int(side) for side in shape)
    if not all(2 <= side <= MAX_SIDE for side in (depth, height, width)):
        raise InputError(f"{path}: a grid of {depth}x{height}x{width} voxels; each side must be 2 to {MAX_SIDE}")
    return depth, height, width
