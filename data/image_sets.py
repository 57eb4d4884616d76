"""Data sets of pictures, from wherever they are: one function, one layout.

dataset = open_dataset("photos", size=64)
x, labels = tensors(dataset)                                # all of it in memory, or
x, labels = batch(dataset, [3, 1, 4])                       # some of it
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from data import arrays, hub, packing, pictures, scenes
from data.errors import InputError
from data.frames import parse_size

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

NUM_SCENES = 10_000
CHUNK = 2**20  # levels that are resized at once
ENDINGS = pictures.SUFFIXES | {".npz", ".npy", ".gz", ".zip", ".parquet"}  # of files, never of names on the hub
log = logging.getLogger(__name__)

Fit = Callable[["Path | bytes", str], bytes]
"""From a picture file, or the bytes of one, and its name in messages, to an encoded picture."""


def open_dataset(
    source: str | Path = "digits",
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    split: str | None = None,
    streaming: bool = False,
    *,
    num: int | None = None,
    seed: int = 0,
) -> Dataset | IterableDataset:
    """Pictures of `source` as a data set with the columns `image`, `label` where known, and further attributes.

    `source`                                          label                             split (None)
    "digits": 1,797 of 8x8, comes with scikit-learn   the digit                         none
    "scenes": `num` (10,000) of `data.scenes` from    shape; and shape, colour, size,   none
        `seed`; 24x24 without a size                      place each for itself
    a picture file                                    none                              none
    a folder of pictures, deeper ones too             the first folder on the way       folder (train, if there)
    an IDX file as MNIST's, or the folder of it       of the file beside it             train, test (train)
    an NPZ file, see `data.arrays.read_npz`           of an array                       prefix of names (train)
    a folder of `save_to_disk` or of parquet files    `label`, or the first ClassLabel  as there (train)
    a data set's name on the hub                      the same                          as there (train)

    `size` in pixels, of a square's side or (height, width): the largest centred window, shrunk by area. `channels` is
    1 (grey) or 3 (RGB); None keeps an array's, and gives 3 for files. Animations give their first frame.
    Order: that of the source; of a folder, sorted by path; files that are no pictures are left out, and counted in
    the log. `tensors`, `batch` and `collate` turn rows into tensors: `image` is a PGM or PPM file, uint8, see
    `data.packing`. streaming=True gives an IterableDataset of the same rows, and reads files as they are asked for;
    otherwise all is in memory and 2 GiB are the limit.
    InputError, one line, for whatever cannot be read; in a stream of files only when it comes up.
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
        return _folder(path, fit, target, channels, split, streaming)
    if path.is_file():
        return _file(path, fit, target, channels, split, streaming)
    return hub.named(str(source), split, streaming, fit)


def _check_made(source: str, split: str | None, num: int | None) -> None:
    if source in ("digits", "scenes") and split is not None:
        raise InputError(f"split={split!r}: {source} has no splits; leave split out and divide the rows")
    if source != "scenes" and num is not None:
        raise InputError(f"num={num} is for scenes only; leave it out for {source}")


def _folder(
    root: Path, fit: Fit, size: tuple[int, int] | None, channels: int | None, split: str | None, streaming: bool
) -> Dataset | IterableDataset:
    if hub.is_stored(root):
        return hub.stored(root, split, streaming, fit)
    idx = arrays.find_idx(root, split)
    inner = root / (split or "train")
    if inner.is_dir():
        root = inner
    elif split is not None and idx is None and not hub.is_tables(root):
        raise InputError(f"{root}: has no folder {split!r}; give a split that is there, or none")
    files, skipped = _pictures_below(root)
    if not files and idx is not None:
        return _file(idx, fit, size, channels, None, streaming)
    if not files and hub.is_tables(root):
        return hub.tables(root, split, streaming, fit)
    if not files:
        raise InputError(f"{root}: holds no pictures ({skipped} other files); give a folder with png or jpg files")
    if skipped:
        log.warning("%s: %d files that are not pictures are left out", root, skipped)
    labels, names = _classes(root, files)
    return _from_files(files, labels, names, fit, str(root), streaming)


def _pictures_below(root: Path) -> tuple[list[Path], int]:
    """The picture files below a folder, sorted by path, and the number of others. Hidden ones do not count."""
    inside = sorted(path.relative_to(root) for path in root.rglob("*"))
    files = [root / path for path in inside if not any(part.startswith(".") for part in path.parts)]
    files = [path for path in files if path.is_file()]
    chosen = [path for path in files if path.suffix.lower() in pictures.SUFFIXES]
    return chosen, len(files) - len(chosen)


def _classes(root: Path, files: Sequence[Path]) -> tuple[list[int], list[str]]:
    """The class of each file, by the folder below `root` that it is in, and the names. Both empty without folders."""
    firsts = [path.relative_to(root).parts[0] if path.parent != root else None for path in files]
    names = sorted({first for first in firsts if first is not None})
    if not names:
        return [], []
    if None in firsts:
        alone = files[firsts.index(None)].name
        raise InputError(f"{root}: has pictures in class folders and beside them ({alone}); move them into one")
    index = {name: number for number, name in enumerate(names)}
    return [index[first] for first in firsts if first is not None], names


def _file(
    path: Path, fit: Fit, size: tuple[int, int] | None, channels: int | None, split: str | None, streaming: bool
) -> Dataset | IterableDataset:
    with path.open("rb") as file:
        head = file.read(4)
    if path.suffix.lower() == ".npz" or head == b"PK\3\4":
        found, labels = arrays.read_npz(path, split)
        if isinstance(found, list):
            names = (f"{path}: picture {index}" for index in range(len(found)))
            encoded = (fit(picture, name) for picture, name in zip(found, names, strict=True))
            return _stream(packing.from_encoded(encoded, labels, str(path)), streaming)
        return _from_levels(found, labels, size, channels, streaming)
    if split is not None:
        raise InputError(f"split={split!r}: {path} is one file; give the folder, or leave split out")
    if path.suffix.lower() == ".gz" or "ubyte" in path.name or head[:3] == b"\0\0\x08":
        return _from_levels(*arrays.read_idx(path), size, channels, streaming)
    return _from_files([path], [], [], fit, str(path), streaming)


def _from_files(
    files: list[Path], labels: list[int], names: list[str], fit: Fit, what: str, streaming: bool
) -> Dataset | IterableDataset:
    if not streaming:
        encoded = (fit(path, str(path)) for path in files)
        return packing.from_encoded(encoded, {"label": (labels, names)} if names else {}, what)
    from datasets import IterableDataset

    # Lists among the arguments are what `datasets` divides between processes.
    parts: dict[str, Any] = {"files": files, "fit": fit} | ({"labels": labels} if names else {})
    columns = packing.features({"label": names} if names else {})
    return IterableDataset.from_generator(_rows, features=columns, gen_kwargs=parts)


def _rows(files: Iterable[Path], fit: Fit, labels: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
    for index, path in enumerate(files):
        yield {"image": fit(path, str(path))} | ({} if labels is None else {"label": labels[index]})


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
