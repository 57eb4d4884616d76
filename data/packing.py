"""Pictures in a column of a data set: stored as they are, and back to tensors at the speed of a copy.

A picture is the bytes of a binary PGM or PPM file: a header of a dozen characters, then its uint8 levels. So a row
tells its own shape, any program opens it, and nothing is decoded that a copy would not do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from data.errors import InputError
from data.frames import MAX_BYTES

if TYPE_CHECKING:
    from datasets import Dataset, Features

HEADER = re.compile(rb"P([56])\n(\d+) (\d+)\n255\n")
CHUNK = 2**28  # bytes of pictures in one Arrow array, whose offsets are of 32 bits
SHARDS = 16  # of a stream of what is at hand: as many processes may share it
STEP = 2048  # rows turned into tensors at once

Labels = Mapping[str, tuple[Sequence[int] | np.ndarray, Sequence[str]]]
"""Columns of labels: for each name the index of every row's value, and the names of the values."""


def encode(picture: np.ndarray) -> bytes:
    """The bytes of uint8 levels [H, W, C], C = 1 or 3."""
    return _header(*picture.shape) + picture.tobytes()


def features(names: Mapping[str, Sequence[str]]) -> Features:
    """The columns of a data set: `image`, and a ClassLabel of each of `names`."""
    from datasets import ClassLabel, Features, Value

    return Features({"image": Value("binary")} | {name: ClassLabel(names=list(of)) for name, of in names.items()})


def from_levels(pictures: np.ndarray, labels: Labels) -> Dataset:
    """A data set in memory of uint8 levels [n, H, W, C] and their labels."""
    num, shape = len(pictures), pictures.shape[1:]
    header = np.frombuffer(_header(*shape), np.uint8)
    step = max(1, CHUNK // (len(header) + int(np.prod(shape))))
    chunks = []
    for low in range(0, num, step):
        part = pictures[low : low + step]
        rows = np.concatenate([np.broadcast_to(header, (len(part), len(header))), part.reshape(len(part), -1)], axis=1)
        chunks.append(_binary(rows))
    return _dataset(chunks, labels)


def from_encoded(pictures: Iterable[bytes], labels: Labels, what: str) -> Dataset:
    """A data set in memory of encoded pictures. InputError, naming `what`, if they take more than 2 GiB."""
    import pyarrow as pa

    chunks, held, size, total = [], [], 0, 0
    for picture in pictures:
        held.append(picture)
        size += len(picture)
        total += len(picture)
        check_total(total, what)
        if size > CHUNK:
            chunks.append(pa.array(held, pa.binary()))
            held, size = [], 0
    chunks.append(pa.array(held, pa.binary()))
    return _dataset(chunks, labels)


def check_total(size: int, what: str) -> None:
    """InputError if pictures of `size` bytes are too many to hold in memory."""
    if size > MAX_BYTES:
        raise InputError(
            f"{what}: the pictures take more than {MAX_BYTES >> 30} GiB; give a smaller size, or stream them"
        )


def tensors(dataset: Dataset, *, label: str | None = "label") -> tuple[Tensor, Tensor | None]:
    """All of a data set of `open_dataset`: (float32 [n, C, H, W] in [-1, 1], int64 labels [n]).

    `label` names the column of labels; None, or "label" where there is no such column, gives None for them. A row
    without a label has -1.
    InputError: pictures of different shapes, no such column, labels that are not whole numbers, no rows.
    """
    if not len(dataset):
        raise InputError("the data set is empty; give one with pictures")
    table = dataset.with_format("arrow")
    x, labels = torch.empty(0), []
    for low in range(0, len(dataset), STEP):
        part, some = _unpack(table[low : low + STEP], label)
        if not low:
            x = part.new_empty(len(dataset), *part.shape[1:])
        _check_same([x.shape[1:], part.shape[1:]])
        x[low : low + len(part)] = part
        labels.append(some)
    return x, None if labels[0] is None else torch.cat(labels)


def batch(
    dataset: Dataset, indices: Sequence[int] | np.ndarray | Tensor, *, label: str | None = "label"
) -> tuple[Tensor, Tensor | None]:
    """The rows `indices` of a data set as `tensors` gives all of it. InputError as there; IndexError beyond the end."""
    rows = [int(index) for index in indices]
    if not rows:
        raise InputError("the batch is empty; ask for one row or more")
    return _unpack(dataset.with_format("arrow")[rows], label)


def label_columns(dataset: Dataset, parts: Mapping[str, Sequence[int] | np.ndarray | Tensor]) -> dict[str, Any]:
    """Of every column of labels with names: {"classes": the names, part: int64 labels of its rows, -1 unknown}."""
    found: dict[str, Any] = {}
    for name, feature in dataset.features.items():
        if hasattr(feature, "names"):
            labels = _labels(dataset.select_columns([name]).with_format("arrow")[:], name)
            assert labels is not None  # there is such a column
            own = {part: labels[torch.as_tensor(rows)] for part, rows in parts.items()}
            found[name] = {"classes": list(feature.names), **own}
    return found


def collate(rows: Sequence[Mapping[str, Any]], *, label: str | None = "label") -> tuple[Tensor, Tensor | None]:
    """Rows of a data set, streamed or not, as `tensors` gives all of it; for a DataLoader's collate_fn."""
    import pyarrow as pa

    names = [name for name in ("image", label) if name and all(name in row for row in rows)]
    table = pa.table({name: pa.array([row[name] for row in rows]) for name in names})
    return _unpack(table, label)


def _unpack(table: Any, label: str | None) -> tuple[Tensor, Tensor | None]:
    return _pictures(table["image"]), _labels(table, label)


def _pictures(column: Any) -> Tensor:
    """float32 [n, C, H, W] of a column of encoded pictures."""
    import pyarrow as pa

    if column.null_count or not pa.types.is_binary(column.type):
        raise InputError("column image does not hold pictures as open_dataset stores them; open the data with it")
    joined = column.combine_chunks()  # chosen rows come one a chunk
    chunks = joined.chunks if isinstance(joined, pa.ChunkedArray) else [joined]
    parts = [_levels(chunk) for chunk in chunks if len(chunk)]
    _check_same(part.shape[1:] for part in parts)
    num, height, width, channels = sum(map(len, parts)), *parts[0].shape[1:]
    x = np.empty((num, channels, height, width), np.float32)
    np.concatenate([part.transpose(0, 3, 1, 2) for part in parts], out=x)
    return torch.from_numpy(x).div_(127.5).sub_(1)


def _levels(chunk: Any) -> np.ndarray:
    """uint8 [n, H, W, C]: a view of the bytes of an Arrow array."""
    _, offsets, data = chunk.buffers()
    offsets = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    rows = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    shape, header = _shape(rows[: offsets[1] - offsets[0]].tobytes())
    lengths = np.diff(offsets)
    if (lengths != lengths[0]).any():
        _check_same(_shape(picture)[0] for picture in chunk.to_pylist())
    rows = rows.reshape(len(chunk), -1)
    if (rows[:, :header] != rows[0, :header]).any():
        _check_same(_shape(row.tobytes())[0] for row in rows)
    return rows[:, header:].reshape(-1, *shape)


def _labels(table: Any, label: str | None) -> Tensor | None:
    import pyarrow as pa

    if label is None or (label == "label" and label not in table.column_names):
        return None
    if label not in table.column_names:
        raise InputError(f"there is no column {label!r}; there are {', '.join(table.column_names)}")
    if not pa.types.is_integer(table[label].type):
        raise InputError(
            f"column {label!r} holds {table[label].type}; labels must be whole numbers; name another, or None"
        )
    return torch.from_numpy(table[label].fill_null(-1).to_numpy().astype(np.int64))


def _header(height: int, width: int, channels: int) -> bytes:
    return f"P{5 if channels == 1 else 6}\n{width} {height}\n255\n".encode()


def _shape(picture: bytes) -> tuple[tuple[int, int, int], int]:
    """(H, W, C) of an encoded picture, and how long its header is."""
    found = HEADER.match(picture)
    if found:
        height, width, channels = int(found[3]), int(found[2]), 1 if found[1] == b"5" else 3
        if len(picture) == found.end() + height * width * channels:
            return (height, width, channels), found.end()
    raise InputError("column image does not hold pictures as open_dataset stores them; open the data with it")


def _check_same(shapes: Iterable[Sequence[int]]) -> None:
    """InputError unless all shapes (H, W, C) or (C, H, W) are one."""
    first = None
    for shape in shapes:
        first = first or shape
        if tuple(shape) != tuple(first):
            raise InputError(f"pictures of shapes {list(first)} and {list(shape)}; open the data set with one size")


def _binary(rows: np.ndarray) -> Any:
    """An Arrow array of the rows uint8 [n, length]; it shares their memory."""
    import pyarrow as pa

    offsets = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.shape[1])
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(rows)])


def _dataset(chunks: list[Any], labels: Labels) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo
    from datasets.table import InMemoryTable

    columns = {"image": pa.chunked_array(chunks, pa.binary())}
    for name, (values, _) in labels.items():
        columns[name] = pa.chunked_array([pa.array(np.asarray(values, np.int64))])
    info = DatasetInfo(features=features({name: names for name, (_, names) in labels.items()}))
    return Dataset(InMemoryTable(pa.table(columns)), info=info)
