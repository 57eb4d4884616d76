"""Pictures in files of arrays: IDX, as MNIST comes, and NPZ. Nothing in a file is ever unpickled or run."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy as np

from data.containers import check_file
from data.errors import InputError
from data.packing import Labels, check_total

DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    zlib.error,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    MemoryError,
)
NAMES = ("images", "x", "X", "data", "arr_0")
"""What the array of pictures in an NPZ file may be called; the array of a split: train_images or x_train."""
MAX_CLASSES = 10_000
CHANNELS = (1, 3, 4)
LABEL_NAMES = ("labels", "label", "y", "targets")


def read_idx(path: Path) -> tuple[np.ndarray, Labels]:
    """Pictures uint8 [n, H, W, 1] of an IDX file, gzipped or not, and the labels of the file beside it, if any.

    Beside train-images-idx3-ubyte.gz that is train-labels-idx1-ubyte(.gz); names with dots do as well.
    InputError: damaged, another type than bytes, other than three dimensions, a count that does not agree.
    """
    pictures = _idx(path)
    if pictures.ndim != 3:
        what = "labels; give the file of images" if pictures.ndim == 1 else "no pictures; it must be [n, H, W]"
        raise InputError(f"{path}: holds an array {list(pictures.shape)}, {what}")
    beside = labels_beside(path)
    if beside is None:
        return _four(pictures, path), {}
    labels = _idx(beside)
    if labels.shape != (len(pictures),):
        raise InputError(
            f"{beside}: holds labels {list(labels.shape)} for {len(pictures)} pictures; get both files again"
        )
    return _four(pictures, path), {"label": (labels, _numbered(labels))}


def find_idx(folder: Path, split: str | None) -> Path | None:
    """The IDX file of the pictures of a split ("train" if None, or "test") in a folder, None if there is none."""
    start = "t10k" if split == "test" else split or "train"
    for name in ("images-idx3-ubyte", "images.idx3-ubyte"):
        for ending in ("", ".gz"):
            if (path := folder / f"{start}-{name}{ending}").is_file():
                return path
    return None


def read_npz(path: Path, split: str | None) -> tuple[np.ndarray | list[bytes], Labels]:
    """Pictures and labels of an NPZ file: uint8 [n, H, W, C], or the bytes of n picture files.

    Arrays [n, H, W], [n, H, W, C] or [n, C, H, W] under a name of NAMES, or the only one with so many dimensions:
    uint8, uint16, bool, floats in [0, 1], or in [-1, 1] (taken so where any is below 0). C is 1, 3, or 4 with alpha,
    over white; the last axis is taken for C where both could be. Labels are whole numbers [n], which `classes` names,
    or text [n]. Or `jpeg` and `offsets`: file i is jpeg[offsets[i]:offsets[i + 1]]. An NPY file is one such array.
    InputError: damaged, encrypted, Python objects, other types or shapes, NaN, counts that do not agree, an absent
    split.
    """
    arrays = _npz(path)
    if {"jpeg", "offsets"} <= arrays.keys() and split is None:
        return _files(arrays, path), _npz_labels(arrays, None, len(arrays["offsets"]) - 1, path)
    name = _pictures_name(arrays, split, path)
    pictures = _over_white(_to_uint8(_four(arrays[name], path), f"{path}: {name}"))
    return pictures, _npz_labels(arrays, split, len(pictures), path)


def _idx(path: Path) -> np.ndarray:
    """The array of an IDX file. Layout: 0, 0, type, number of dimensions; each as big-endian int32; the data."""
    check_file(path)
    with _reading(path, "IDX"), _plain(path) as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or not 1 <= magic[3] <= 4:
            raise InputError(f"{path}: not an IDX file; give one such as train-images-idx3-ubyte.gz")
        if magic[2] != 8:
            raise InputError(f"{path}: holds numbers of type 0x{magic[2]:02x}; only bytes (0x08) are read")
        shape = tuple(np.frombuffer(file.read(4 * magic[3]), ">u4").tolist())
        if len(shape) < magic[3]:
            raise InputError(f"{path}: damaged or cut short; give a whole file")
        check_total(prod(shape), str(path))
        data = file.read(prod(shape) + 1)
    if len(data) != prod(shape):
        found = "more" if len(data) > prod(shape) else f"{len(data)}"
        raise InputError(f"{path}: declares {'x'.join(map(str, shape))} bytes but holds {found}; get the file again")
    if not data:
        raise InputError(f"{path}: holds nothing ({'x'.join(map(str, shape))}); give a file with data")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _plain(path: Path) -> IO[bytes]:
    """The file opened, unzipped if it is zipped."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path)) if zipped else path.open("rb")


def labels_beside(path: Path) -> Path | None:
    """The IDX file of the labels beside one of pictures, by their names; None: there is none."""
    name = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    if name == path.name.removesuffix(".gz"):
        return None
    return next((path.with_name(name + end) for end in ("", ".gz") if path.with_name(name + end).is_file()), None)


def _npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file, each read once (a lazily opened npz reads its array again at each look)."""
    check_file(path)
    if path.suffix.lower() == ".npy":
        with _reading(path, "NPY"), path.open("rb") as file:
            _check_header(file, path.stat().st_size, path)
            file.seek(0)
            return {NAMES[0]: _array(file, NAMES[0], path)}
    with _reading(path, "NPZ"), zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        if not entries:
            what = "pictures; unpack it, and give the folder" if archive.namelist() else "nothing; give a whole one"
            raise InputError(f"{path}: is an archive (zip) without arrays (npy); it seems to hold {what}")
        if any(entry.flag_bits & 1 for entry in entries):
            raise InputError(f"{path}: is encrypted; save it without a password")
        check_total(sum(entry.file_size for entry in entries), str(path))
        for entry in entries:
            with archive.open(entry) as file:
                _check_header(file, entry.file_size, path)
        arrays = {}
        for entry in entries:
            with archive.open(entry) as file:
                name = entry.filename.removesuffix(".npy")
                arrays[name] = _array(file, name, path)
        return arrays


def _check_header(file: IO[bytes], size: int, path: Path) -> None:
    """InputError unless an array's header declares as many bytes as there are."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    declared, there = prod(shape) * kind.itemsize, size - file.tell()
    if min(shape, default=1) < 0 or (declared != there and not kind.hasobject):
        raise InputError(f"{path}: declares an array {list(shape)} of {kind}, but holds {there} bytes; get it again")


def _array(file: IO[bytes], name: str, path: Path) -> np.ndarray:
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        if "pickle" not in str(error) and "Object" not in str(error):
            raise
        raise InputError(f"{path}: {name} holds Python objects; save it as an array of numbers") from error


def _pictures_name(arrays: dict[str, np.ndarray], split: str | None, path: Path) -> str:
    """Which array holds the pictures of the split; without a split "train", where the file has several."""
    wanted = [f"{split or 'train'}_images", f"x_{split or 'train'}"] + ([] if split else list(NAMES))
    found = next((name for name in wanted if name in arrays), None)
    others = [name for name, array in arrays.items() if array.ndim in (3, 4)]
    if found is None and len(others) == 1 and split is None:
        found = others[0]
    if found is None:
        raise InputError(
            f"{path}: no pictures{f' of split {split!r}' if split else ''} among its arrays ({', '.join(arrays)}); "
            f"name them {wanted[0] if split else 'images'} and labels"
        )
    return found


def _npz_labels(arrays: dict[str, np.ndarray], split: str | None, num: int, path: Path) -> Labels:
    wanted = (f"{split or 'train'}_labels", f"y_{split or 'train'}", *(() if split else LABEL_NAMES))
    name = next((name for name in wanted if name in arrays), None)
    if name is None:
        return {}
    labels = arrays[name]
    if labels.dtype.kind in "US" and labels.shape in ((num,), (num, 1)):
        return {"label": _of_text(labels.reshape(-1), arrays.get("classes"), path)}
    if labels.dtype.kind not in "iu" or labels.shape not in ((num,), (num, 1)):
        raise InputError(
            f"{path}: {name} is {labels.dtype} {list(labels.shape)}; give {num} whole numbers or texts, one a picture"
        )
    labels = labels.reshape(-1).astype(np.int64)
    names = [str(one) for one in arrays["classes"].ravel()] if "classes" in arrays else None
    if names and len(set(names)) < len(names):
        raise InputError(f"{path}: classes holds a name twice; give each class its own")
    known = len(names) if names else MAX_CLASSES
    if labels.min() < 0 or labels.max() >= known:
        found = f"{labels.min()} to {labels.max()}"
        raise InputError(f"{path}: {name} run from {found}; number the classes from 0, {known} at most")
    return {"label": (labels, names or _numbered(labels))}


def _of_text(labels: np.ndarray, classes: np.ndarray | None, path: Path) -> tuple[np.ndarray, list[str]]:
    """Labels [n] of texts, and their names: those of `classes`, or sorted."""
    texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in labels.tolist()]
    names = sorted(set(texts)) if classes is None else [str(one) for one in classes.ravel()]
    if len(names) > MAX_CLASSES:
        raise InputError(f"{path}: has {len(names)} different labels; {MAX_CLASSES} at most are read")
    if unknown := sorted(set(texts) - set(names)):
        raise InputError(
            f"{path}: the label {unknown[0]!r} is none of its classes; name it there, or leave classes out"
        )
    index = {name: number for number, name in enumerate(names)}
    return np.array([index[text] for text in texts], np.int64), names


def _files(arrays: dict[str, np.ndarray], path: Path) -> list[bytes]:
    jpeg, offsets = arrays["jpeg"], arrays["offsets"]
    if jpeg.dtype != np.uint8 or jpeg.ndim != 1 or offsets.dtype.kind not in "iu" or offsets.ndim != 1:
        raise InputError(f"{path}: jpeg must be uint8 [bytes] and offsets whole numbers [n + 1]")
    ends = offsets.astype(np.int64)
    if len(ends) < 2 or ends[0] < 0 or ends[-1] > len(jpeg) or (np.diff(ends) <= 0).any():
        raise InputError(f"{path}: offsets must rise from 0 to at most {len(jpeg)}, the number of bytes in jpeg")
    return [jpeg[low:high].tobytes() for low, high in pairwise(ends)]


def _four(pictures: np.ndarray, path: Path) -> np.ndarray:
    """[n, H, W, C] of [n, H, W], of [n, C, H, W], or of itself."""
    four = pictures[..., None] if pictures.ndim == 3 else pictures
    if four.ndim == 4 and four.shape[3] not in CHANNELS and four.shape[1] in CHANNELS:
        four = four.transpose(0, 2, 3, 1)
    if four.ndim != 4 or four.shape[3] not in CHANNELS or 0 in four.shape:
        raise InputError(
            f"{path}: pictures {list(pictures.shape)} are not read; give [n, H, W], [n, H, W, C] or [n, C, H, W], "
            "with C 1 (grey), 3 (RGB) or 4 (RGB and alpha)"
        )
    return four


def _over_white(pictures: np.ndarray) -> np.ndarray:
    """uint8 [n, H, W, 1 or 3] of pictures with an alpha channel or without."""
    if pictures.shape[3] != 4:
        return np.ascontiguousarray(pictures)
    alpha = pictures[..., 3:] / np.float32(255)
    return (pictures[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)


def _to_uint8(pictures: np.ndarray, what: str) -> np.ndarray:
    """Levels of 0 to 255, rounded where the array holds finer ones."""
    kind = pictures.dtype
    if kind == np.uint8:
        return pictures
    if kind == np.bool_:
        return pictures.astype(np.uint8) * np.uint8(255)
    if kind == np.uint16:
        return (pictures / np.float32(257)).round().astype(np.uint8)
    if kind.kind != "f":
        raise InputError(f"{what} is {kind}; save it as uint8 (0 to 255) or as floats (0 to 1)")
    low, high = float(pictures.min()), float(pictures.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{what} holds NaN or infinite values; replace them")
    if low < -1 or high > 1:
        raise InputError(f"{what} runs from {low:.4g} to {high:.4g}; scale floats to 0 ... 1, or save bytes as uint8")
    unit = pictures.astype(np.float32)
    if low < 0:
        unit = (unit + 1) / 2
    return (unit * 255).round().astype(np.uint8)


def _numbered(labels: np.ndarray) -> list[str]:
    return [str(number) for number in range(int(labels.max()) + 1)]


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{path}: damaged, cut short or not an {kind} file; give a whole one") from error
