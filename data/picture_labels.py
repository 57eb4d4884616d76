"""Labels of pictures from a list beside them: metadata.csv or metadata.jsonl, as the `datasets` library has them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.arrays import MAX_CLASSES
from data.errors import InputError
from data.packing import Labels

NAMES = ("metadata.csv", "metadata.jsonl")
"""What such a list is called; in the folder of the pictures that it is of, or in one above."""
KEYS = ("file_name", "filename", "file", "image")
"""What its column of paths, from its own folder on, may be called."""
DELIMITERS = ",;\t"


@dataclass
class Listed:
    """What lists say of pictures.

    Attributes:
        rows: of a picture's path, its values by the names of the columns.
        notes: what there is to tell, each a clause.
    """

    rows: dict[Path, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read(lists: Sequence[Path]) -> Listed:
    """The rows of lists. InputError: a list without a column of paths, damaged, or with two answers for a picture."""
    listed, missing = Listed(), []
    for path in lists:
        rows, notes = _csv(path) if path.suffix.lower() == ".csv" else (_jsonl(path), [])
        listed.notes += notes
        for number, row in enumerate(rows, 1):
            key = next((key for key in KEYS if key in row), None)
            if key is None:
                raise InputError(f"{path}: has no column file_name, only {', '.join(row)[:80]}; name the pictures so")
            name = row.pop(key).replace("\\", "/")
            file = path.parent / name
            if not name or ".." in Path(name).parts or not _is_file(file):
                missing.append(name)
            elif listed.rows.setdefault(file, row) != row:
                raise InputError(f"{path}: row {number} names {name} again, with other values; leave one")
    if missing:
        rows_name = "1 row names a picture" if len(missing) == 1 else f"{len(missing)} rows name pictures"
        listed.notes.append(f"{rows_name} that {'is' if len(missing) == 1 else 'are'} not there, such as {missing[0]}")
    return listed


def labels(listed: Listed, files: Sequence[Path]) -> tuple[Labels, list[str]]:
    """Columns of labels of the files, -1 where there is no value; and what there is to tell.

    A column is one of labels if its values repeat, or if it is called label. `label` is the column of that name, or the
    only one.
    """
    rows = [listed.rows.get(file, {}) for file in files]
    names = sorted({name for row in rows for name in row})
    columns = {name: [row.get(name, "") for row in rows] for name in names}
    kept = {name: column for name, column in columns.items() if name == "label" or _repeats(column)}
    if "label" not in kept and len(kept) == 1:
        kept["label"] = next(iter(kept.values()))
    notes = []
    without = sum(file not in listed.rows for file in files)
    if without:
        notes.append(f"{without} picture{'s have' if without > 1 else ' has'} no row, and so no label")
    if "label" not in kept:
        choice = f"choose one by label: {', '.join(kept)}" if kept else "no column has values that repeat"
        notes.append(f"there is no column label; {choice}")
    return {name: _numbers(column) for name, column in kept.items()}, notes


def _csv(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    text, notes = _text(path)
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows = [_row(row, path, number) for number, row in enumerate(reader, 1)]
    except csv.Error as error:
        raise InputError(f"{path}: is not a table of commas ({error}); save it as CSV") from error
    if not rows:
        raise InputError(f"{path}: holds no rows; give a line of names of columns, and a row a picture")
    return rows, notes


def _row(row: Mapping[Any, Any], path: Path, number: int) -> dict[str, str]:
    if None in row:
        raise InputError(
            f"{path}: row {number} has more values than there are columns; put text with commas into quotes"
        )
    return {name.strip(): (value or "").strip() for name, value in row.items()}


def _jsonl(path: Path) -> list[dict[str, str]]:
    rows = []
    for number, line in enumerate(_text(path)[0].splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: line {number} is not JSON; write one object a line") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}: line {number} is not an object as {{...}}; write one object a line")
        plain = {key: value for key, value in row.items() if isinstance(value, str | int | float)}
        rows.append({key: str(value).strip() for key, value in plain.items()})
    if not rows:
        raise InputError(f"{path}: holds no rows; write one object a line")
    return rows


def _text(path: Path) -> tuple[str, list[str]]:
    """The text of a file: UTF-8, or UTF-16 with its mark; else Windows-1252, as older spreadsheets write, and told."""
    data = path.read_bytes()
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}: is not text; save it as CSV in UTF-8")
    try:
        return data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"), []
    except UnicodeError:
        return data.decode("cp1252", errors="replace"), [f"{path.name} is not UTF-8, it is read as Windows-1252"]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _repeats(column: Sequence[str]) -> bool:
    values = {value for value in column if value}
    return 0 < len(values) <= min(MAX_CLASSES, sum(map(bool, column)) // 2)


def _numbers(column: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The number of each value among the values, which are sorted: by their numbers, where all are numbers."""
    values = sorted({value for value in column if value})
    if all(value.isdecimal() for value in values):
        values.sort(key=int)
    index = {value: number for number, value in enumerate(values)}
    return np.array([index.get(value, -1) for value in column], np.int64), values
