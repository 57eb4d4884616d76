"""Numbers as lines of text: a row for each thing that was measured, or a column where the numbers are many."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import NamedTuple

WIDE = 4  # numbers that stand beside each other, at most
LINE = 110  # characters of a line that says what numbers mean, at most


class Column(NamedTuple):
    """How a number is called and written, and what it means."""

    title: str
    form: str
    meaning: str = ""


COLUMNS = {
    "psnr": Column("PSNR", ".2f"),
    "mae": Column("MAE", ".2f"),
    "ssim": Column("SSIM", ".3f"),
    "iou": Column("IoU", ".3f", "voxels set in both over those set in either, 1 is best"),
    "voxel_error": Column("voxel error", ".4f", "share that is wrong"),
    "frechet": Column("Frechet", ".2f"),
    "in_one_part": Column("in one part", ".3f", "share with 95 % of their voxels in one piece"),
    "standing": Column("standing", ".3f", "share with their centre of mass above what they stand on"),
    "two_sample": Column(
        "two sample", ".3f",
        "how often the nearest other one is of the same kind, 0.5 where samples and real ones cannot be told apart",
    ),
    "coverage": Column("coverage", ".3f", "share of the real ones that are nearest to some sample"),
    "motion": Column("motion", ".3f", "how much pixels change over time, over the clip's; 0 stands still"),
    "bands_db": Column("bands, dB", ".2f", "difference of the power of what moves, by spatial and temporal frequency"),
    "largest_db": Column("largest band, dB", ".2f", "the largest difference of one of the bands above"),
    "places": Column("places", ".3f", "difference of how much each pixel moves, 1 stands still"),
    "copies": Column("copies", ".3f", "share of the frames that are frames of the clip"),
    **{
        f"{unit}_{wave}": Column(f"power, {title} {unit}", ".3f")
        for unit in ("pixels", "frames")
        for wave, title in ((16, "16 and more"), (8, "8 to 16"), (4, "4 to 8"), (2, "2 to 4"))
    },
    "distance_to_training": Column(
        "distance to training", ".3f", "1 - IoU, to the nearest one that was learned from, median"
    ),
}  # fmt: skip


def words(name: str) -> str:
    """A name as it is written for people."""
    return name.replace("_", " ")


def column(name: str) -> Column:
    """Of a number by its name."""
    return COLUMNS.get(name, Column(words(name), ".3f"))


def table(rows: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Lines of text, the rows called by their names; what each number means stands below."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    columns = {name: column(name) for name in names}
    cells = {
        name: {kind: "-" if (v := row.get(kind)) is None else format(v, columns[kind].form) for kind in names}
        for name, row in rows.items()
    }
    titles = {kind: columns[kind].title for kind in names}
    if len(names) > WIDE:
        across = {name: words(name) for name in rows}
        lines = _lines(across, {titles[kind]: {name: cells[name][kind] for name in rows} for kind in names})
    else:
        lines = _lines(titles, {words(name): row for name, row in cells.items()})
    told = [f"{columns[name].title}: {columns[name].meaning}" for name in names if columns[name].meaning]
    return lines + (textwrap.wrap(f"({'; '.join(told)})", LINE) if told else [])


def _lines(heads: Mapping[str, str], rows: Mapping[str, Mapping[str, str]]) -> list[str]:
    left = max(24, *(len(name) + 2 for name in rows))
    widths = {key: max(9, len(head) + 2) for key, head in heads.items()}
    lines = [" " * left + "".join(f"{head:>{widths[key]}}" for key, head in heads.items())]
    return lines + [
        f"{name:{left}}" + "".join(f"{row[key]:>{widths[key]}}" for key in heads) for name, row in rows.items()
    ]
