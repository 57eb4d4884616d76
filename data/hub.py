"""Data sets that the `datasets` library keeps: on the hub, saved with `save_to_disk`, or as parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import packing
from data.errors import InputError
from data.files import files_below

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features, IterableDataset

Fit = Callable[["Path | bytes", str], bytes]
Rows = Any  # a Dataset or an IterableDataset of the library's own, whose columns are anybody's guess
ATTRIBUTES = ("int", "uint", "bool", "float", "string")
"""Beside class labels, the types of column that are kept as attributes."""


def is_name(name: str) -> bool:
    """Whether this may be the name of a data set on the hub: name, or owner/name."""
    parts = name.split("/")
    return len(parts) <= 2 and all(part and part[0] not in ".~" for part in parts)


def named(name: str, split: str | None, streaming: bool, fit: Fit) -> Dataset | IterableDataset:
    """A data set of the hub by its name, or of the library's cache where the hub is out of reach. InputError."""
    import datasets

    with _as_reachable(name), _explained(name):
        return _convert(datasets.load_dataset(name, split=split or "train", streaming=streaming), streaming, fit, name)


def is_stored(root: Path) -> bool:
    """Whether a folder was made by `save_to_disk`."""
    return (root / "state.json").is_file() or (root / "dataset_dict.json").is_file()


def stored(root: Path, split: str | None, streaming: bool, fit: Fit) -> Dataset | IterableDataset:
    """A data set saved with `save_to_disk`. InputError."""
    import datasets

    with _explained(str(root)):
        found: Dataset | DatasetDict = datasets.load_from_disk(str(root))
        if isinstance(found, datasets.DatasetDict):
            names = list(found)
            choice = split or ("train" if "train" in found or len(names) != 1 else names[0])
            if choice not in found:
                raise InputError(f"{root}: has no split {choice!r}; there are {', '.join(map(str, names))}")
            found = found[choice]
        elif split is not None:
            raise InputError(f"split={split!r}: {root} has no splits; leave split out")
        rows = found.to_iterable_dataset(min(packing.SHARDS, len(found))) if streaming else found
        return _convert(rows, streaming, fit, str(root))


def is_tables(root: Path) -> bool:
    """Whether a folder holds parquet files, as a copy of a data set of the hub does."""
    return any(path.suffix.lower() == ".parquet" for path in files_below(root))


def tables(root: Path, split: str | None, streaming: bool, fit: Fit) -> Dataset | IterableDataset:
    """A data set in a folder of parquet files. InputError."""
    import datasets

    with _explained(str(root)):
        found = datasets.load_dataset(str(root), split=split or "train", streaming=streaming)
        return _convert(found, streaming, fit, str(root))


def _convert(found: Rows, streaming: bool, fit: Fit, name: str) -> Dataset | IterableDataset:
    """The rows with pictures encoded as ours are, labels, and attributes."""
    import datasets

    columns: Features | None = found.features or found._resolve_features().features
    if not columns:
        raise InputError(f"{name}: is empty; give a data set with pictures")
    source = _image_column(columns, name)
    if isinstance(columns[source], datasets.Image):
        found = found.cast_column(source, datasets.Image(decode=False))
    kept = {key: kind for key, kind in columns.items() if key != source and _is_attribute(kind)}
    classes = [key for key, kind in kept.items() if isinstance(kind, datasets.ClassLabel)]
    label = "label" if "label" in kept else next(iter(classes), None)
    features = datasets.Features({"image": datasets.Value("binary")} | ({"label": kept[label]} if label else {}) | kept)
    convert = partial(_row, source=source, label=label, names=list(kept), fit=fit, what=name)
    if streaming:
        return found.map(convert, with_indices=True, remove_columns=list(columns), features=features)
    rows = (convert(row, index) for index, row in enumerate(found))
    return _gather(rows, features, name)


def _row(row: dict, index: int, *, source: str, label: str | None, names: list[str], fit: Fit, what: str) -> dict:
    picture, here = row[source], f"{what}: row {index}"
    if isinstance(picture, dict):
        picture = picture["bytes"] or (Path(picture["path"]) if picture["path"] else None)
    if not picture:
        raise InputError(f"{here}: has no picture; leave such rows out")
    first = {"label": row[label]} if label else {}
    return {"image": fit(picture, here)} | first | {key: row[key] for key in names}


def _gather(rows: Iterator[dict], features: Features, name: str) -> Dataset:
    import datasets

    kept: dict[str, list] = {key: [] for key in features if key != "image"}

    def images() -> Iterator[bytes]:
        for row in rows:
            for key, values in kept.items():
                values.append(row[key])
            yield row["image"]

    dataset = packing.from_encoded(images(), {}, name)
    if not len(dataset):
        raise InputError(f"{name}: is empty; give a data set with pictures")
    if not kept:
        return dataset
    others = datasets.Dataset.from_dict(kept, features=datasets.Features({key: features[key] for key in kept}))
    return datasets.concatenate_datasets([dataset, others], axis=1)


def _image_column(columns: Features, name: str) -> str:
    import datasets

    for key, kind in columns.items():
        if isinstance(kind, datasets.Image):
            return key
    if getattr(columns.get("image"), "dtype", None) == "binary":
        return "image"
    raise InputError(f"{name}: has no column of pictures among {', '.join(columns)}; give a data set of images")


def _is_attribute(kind: Any) -> bool:
    import datasets

    if isinstance(kind, datasets.ClassLabel):
        return True
    return isinstance(kind, datasets.Value) and kind.dtype.startswith(ATTRIBUTES)


@contextmanager
def _as_reachable(name: str) -> Iterator[None]:
    """Ask the hub once, briefly. Out of reach, only the cache is looked at: the library would try for 23 seconds."""
    from datasets import config
    from huggingface_hub import HfApi

    before = config.HF_HUB_OFFLINE
    try:
        HfApi().dataset_info(name, timeout=5)
    except Exception:  # of whichever HTTP library it uses; what matters comes up below
        config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What the library raises, in one line."""
    import pyarrow as pa
    from datasets.exceptions import DatasetNotFoundError

    try:
        yield
    except InputError:
        raise
    except (ConnectionError, DatasetNotFoundError) as error:
        missing = "no such file or folder, and no data set of that name on the hub or in its cache"
        raise InputError(f"{name}: {missing}; check the path or the connection ({type(error).__name__})") from error
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, pa.ArrowException) as error:
        why = (str(error) or type(error).__name__)[:200]
        raise InputError(f"{name}: cannot be opened as a data set; {why}") from error
