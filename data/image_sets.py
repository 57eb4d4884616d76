"""Data sets of pictures, from wherever they are: one function, one layout.

dataset = open_dataset("photos", size=64)
x, labels = tensors(dataset)                                # all of it in memory, or
x, labels = batch(dataset, [3, 1, 4])                       # some of it
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from data import arrays, formats, hub, packing, picture_labels, pictures, scenes
from data.errors import InputError
from data.files import Listing, files_below, listing
from data.frames import parse_size

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

NUM_SCENES = 10_000
CHUNK = 2**20  # levels that are resized at once
ENDINGS = pictures.SUFFIXES | {".npz", ".npy", ".gz", ".zip", ".parquet"}  # of files, never of names on the hub

Fit = Callable[["Path | bytes", str], bytes]
"""From a picture file, or the bytes of one, and its name in messages, to an encoded picture."""


class Damaged(InputError):
    """One picture of several cannot be read; with skip_damaged it would be left out."""


def open_dataset(
    source: str | Path = "digits",
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    split: str | None = None,
    streaming: bool = False,
    *,
    num: int | None = None,
    seed: int = 0,
    skip_damaged: bool = False,
) -> Dataset | IterableDataset:
    """Pictures of `source` as a data set with the columns `image`, `label` where known, and further attributes.

    `source`                                          label                             split (None)
    "digits": 1,797 of 8x8, comes with scikit-learn   the digit                         none
    "scenes": `num` (10,000) of `data.scenes` from    shape; and shape, colour, size,   none
        `seed`; 24x24 without a size                      place each for itself
    a picture file                                    none                              none
    a folder of pictures, deeper ones too             the first folder on the way, or   folder (train, if there)
                                                      as metadata.csv or .jsonl has it
    an IDX file as MNIST's, or the folder of it       of the file beside it             train, test (train)
    an NPZ file, see `data.arrays.read_npz`           of an array                       prefix of names (train)
    a folder of `save_to_disk` or of parquet files    `label`, or the first ClassLabel  as there (train)
    a data set's name on the hub                      the same                          as there (train)

    `size` in pixels, of a square's side or (height, width): the largest centred window, shrunk by area. `channels` is
    1 (grey) or 3 (RGB); None keeps an array's, and gives 3 for files. Animations give their first frame.
    Order: that of the source; of a folder, sorted by path. Which files of a folder are read: see
    `data.files.listing`; what is left out is counted in a warning, with skip_damaged=True damaged pictures too.
    `tensors`, `batch` and `collate` turn rows into tensors: `image` is a PGM or PPM file, uint8, see `data.packing`.
    streaming=True gives an IterableDataset of the same rows, and reads files as they are asked for; otherwise all is in
    memory and 2 GiB are the limit.
    InputError, one line, for whatever cannot be read; in a stream of files only when it comes up. Damaged, of a folder.
    """
    target = None if size is None else parse_size(size)
    pictures.check_channels(channels)
    _check_made(str(source), split, num)
    if str(source) == "digits":
        return _from_levels(*_digits(), target, channels, streaming)
    if str(source) == "scenes":
        return _from_levels(*_scenes(NUM_SCENES if num is None else num, target, seed), None, channels, streaming)
    fit = partial(_fit, size=target, channels=channels)
    path = Path(source)
    if not path.exists() and (path.suffix.lower() in ENDINGS or not hub.is_name(str(source))):
        raise InputError(f"{source}: no such file or folder; check the path")
    if path.is_dir():
        return _folder(path, fit, target, channels, split, streaming, skip_damaged)
    if path.is_file():
        return _file(path, fit, target, channels, split, streaming)
    return hub.named(str(source), split, streaming, fit)


def _check_made(source: str, split: str | None, num: int | None) -> None:
    if source in ("digits", "scenes") and split is not None:
        raise InputError(f"split={split!r}: {source} has no splits; leave split out and divide the rows")
    if source != "scenes" and num is not None:
        raise InputError(f"num={num} is for scenes only; leave it out for {source}")


def _listing(root: Path, split: str | None) -> Listing:
    return listing(root, pictures.SUFFIXES, "pictures", split, beside=picture_labels.NAMES)


def _folder(
    root: Path,
    fit: Fit,
    size: tuple[int, int] | None,
    channels: int | None,
    split: str | None,
    streaming: bool,
    skip_damaged: bool,
) -> Dataset | IterableDataset:
    if hub.is_stored(root):
        return hub.stored(root, split, streaming, fit)
    idx = arrays.find_idx(root, split)
    found = None if split is not None and (idx or hub.is_tables(root)) else _listing(root, split)
    if not (found and found.files) and idx is not None:
        return _file(idx, fit, size, channels, None, streaming)
    if not (found and found.files) and hub.is_tables(root):
        return hub.tables(root, split, streaming, fit)
    assert found is not None
    if not found.files:
        num = sum(found.others.values())
        raise InputError(
            f"{found.root}: holds no pictures ({num} other files); give a folder with png or jpg files{_why(root)}"
        )
    labels, notes = _labels(found)
    replace(found, notes=(*found.notes, *notes)).tell()
    return _from_files(found.files, labels, fit, str(found.root), streaming, skip_damaged)


def _why(root: Path) -> str:
    """Why a file of a folder is no picture, of the first few where its beginning says so."""
    for path in files_below(root)[:20]:
        if why := formats.reason(path):
            return f", and {path.name}: {why}"
    return ""


def _labels(found: Listing) -> tuple[packing.Labels, list[str]]:
    """The labels of a folder's pictures, and what there is to tell: of the lists beside them, else of their folders."""
    listed = picture_labels.read(found.beside)
    own, notes = picture_labels.labels(listed, found.files) if found.beside else ({}, [])
    if "label" in own or not found.classes:
        return own, [*listed.notes, *notes]
    alone = [file.name for file, label in zip(found.files, found.labels, strict=True) if label is None]
    if alone:
        raise InputError(
            f"{found.root}: has pictures in class folders and beside them ({alone[0]}); move them into one"
        )
    numbers = [label for label in found.labels if label is not None]
    return {"label": (numbers, found.classes), **own}, listed.notes


def _file(
    path: Path, fit: Fit, size: tuple[int, int] | None, channels: int | None, split: str | None, streaming: bool
) -> Dataset | IterableDataset:
    head = formats.head(path)
    if path.suffix.lower() in (".npz", ".npy") or head[:4] == b"PK\3\4":
        found, labels = arrays.read_npz(path, split)
        if isinstance(found, list):
            names = (f"{path}: picture {index}" for index in range(len(found)))
            encoded = (fit(picture, name) for picture, name in zip(found, names, strict=True))
            return _stream(packing.from_encoded(encoded, labels, str(path)), streaming)
        return _from_levels(found, labels, size, channels, streaming)
    if split is not None:
        raise InputError(f"split={split!r}: {path} is one file; give the folder, or leave split out")
    if formats.archive(head) not in (None, "gzip") or path.name.lower().endswith((".tar.gz", ".tgz")):
        raise InputError(f"{path}: an archive is not read; unpack it, and give the folder")
    if path.suffix.lower() == ".gz" or "ubyte" in path.name or head[:3] == b"\0\0\x08":
        return _from_levels(*arrays.read_idx(path), size, channels, streaming)
    return _from_files([path], {}, fit, str(path), streaming)


def _from_files(
    files: Sequence[Path], labels: packing.Labels, fit: Fit, what: str, streaming: bool, skip_damaged: bool = False
) -> Dataset | IterableDataset:
    if streaming:
        from datasets import IterableDataset

        # Lists among the arguments are what `datasets` divides between processes.
        columns = {name: [int(value) for value in values] for name, (values, _) in labels.items()}
        rows = [{name: column[row] for name, column in columns.items()} for row in range(len(files))]
        parts: dict[str, Any] = {"files": list(files), "rows": rows, "fit": fit, "skip_damaged": skip_damaged}
        features = packing.features({name: names for name, (_, names) in labels.items()})
        return IterableDataset.from_generator(_rows, features=features, gen_kwargs=parts)
    kept: dict[str, list[int]] = {name: [] for name in labels}

    def images() -> Iterator[bytes]:
        for row, image in _whole(files, fit, skip_damaged):
            for name, values in kept.items():
                values.append(int(labels[name][0][row]))
            yield image

    dataset = packing.from_encoded(images(), {name: (kept[name], of) for name, (_, of) in labels.items()}, what)
    if not len(dataset):
        raise InputError(f"{what}: all {len(files)} pictures are damaged; give whole ones")
    return dataset


def _rows(files: Sequence[Path], rows: Sequence[dict[str, int]], fit: Fit, skip_damaged: bool) -> Iterator[dict]:
    for row, image in _whole(files, fit, skip_damaged):
        yield {"image": image} | rows[row]


def _whole(files: Sequence[Path], fit: Fit, skip_damaged: bool) -> Iterator[tuple[int, bytes]]:
    """The encoded pictures of the files, each with its number: of those that are not damaged, where others may be left
    out."""
    damaged: list[InputError] = []
    for number, path in enumerate(files):
        try:
            encoded = fit(path, str(path))
        except InputError as error:
            if not skip_damaged:
                raise (Damaged(error) if len(files) > 1 else error) from error
            damaged.append(error)
        else:
            yield number, encoded
    if damaged:
        left_out = "1 damaged picture is" if len(damaged) == 1 else f"{len(damaged)} damaged pictures are"
        warnings.warn(f"{left_out} left out, such as {damaged[0]}", stacklevel=2)


def _from_levels(
    found: np.ndarray, labels: packing.Labels, size: tuple[int, int] | None, channels: int | None, streaming: bool
) -> Dataset | IterableDataset:
    """A data set of uint8 levels [n, h, w, C], brought to size and channels."""
    if size not in (None, found.shape[1:3]) or channels not in (None, found.shape[3]):
        height, width = size or found.shape[1:3]
        packing.check_total(len(found) * height * width * (channels or found.shape[3]), "resized")
        step = max(1, CHUNK // max(found[0].size, height * width * found.shape[3]))
        parts = [found[low : low + step] for low in range(0, len(found), step)]
        found = np.concatenate([_resize(part, size, channels) for part in parts])
    return _stream(packing.from_levels(found, labels), streaming)


def _resize(part: np.ndarray, size: tuple[int, int] | None, channels: int | None) -> np.ndarray:
    """uint8 [n, h, w, C] to [n, H, W, C']: the pictures of a part are resized as channels of one."""
    num = len(part)
    as_one = part.transpose(1, 2, 0, 3).reshape(*part.shape[1:3], -1)  # [h, w, n C]
    x = pictures.fit(as_one, size, None).unflatten(0, (num, part.shape[3]))
    return _bytes(pictures.to_channels(x, channels).permute(0, 2, 3, 1))


def _fit(file: Path | bytes, name: str, size: tuple[int, int] | None, channels: int | None) -> bytes:
    if not (isinstance(file, bytes) and packing.HEADER.match(file)):
        channels = channels or 3
    elif size is None and channels is None:
        return file  # encoded as ours are
    picture = pictures.levels(file, name)
    if picture.dtype == np.uint8 and size in (None, picture.shape[:2]) and channels in (None, picture.shape[2]):
        return packing.encode(picture)
    return packing.encode(_bytes(pictures.fit(picture, size, channels).permute(1, 2, 0)))


def _bytes(x: torch.Tensor) -> np.ndarray:
    return ((x + 1) * 127.5).round().to(torch.uint8).contiguous().numpy()


def _stream(dataset: Dataset, streaming: bool) -> Dataset | IterableDataset:
    return dataset.to_iterable_dataset(num_shards=min(packing.SHARDS, len(dataset))) if streaming else dataset


def _digits() -> tuple[np.ndarray, packing.Labels]:
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)  # 0 to 16
    levels = (images.reshape(-1, 8, 8, 1) * (255 / 16)).round().astype(np.uint8)
    return levels, {"label": (np.asarray(digits), [str(digit) for digit in range(10)])}


def _scenes(num: int, size: tuple[int, int] | None, seed: int) -> tuple[np.ndarray, packing.Labels]:
    height, width = size or (24, 24)
    if height != width:
        raise InputError(f"size={height}x{width}: scenes are square; give one side")
    packing.check_total(num * height * width * 3, "scenes")
    parts, labels = [], []
    for low in range(0, num, scenes.CHUNK) if num > 0 else [0]:
        x, some = scenes.scenes(min(scenes.CHUNK, num - low), height, seed, start=low)
        parts.append(_bytes(x.permute(0, 2, 3, 1)))
        labels.append(some)
    columns = {name: (torch.cat([one[name] for one in labels]).numpy(), of) for name, of in scenes.ATTRIBUTES.items()}
    return np.concatenate(parts), {"label": columns["shape"], **columns}
