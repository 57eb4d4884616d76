"""A folder of numbered pictures as a clip: which pictures, in which order, and one picture at a time."""

import re
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from data import pictures
from data.containers import SUFFIXES, check_picture
from data.errors import InputError
from data.files import listing, natural

RATE = 25.0  # frames a second, where none is given


def pictures_of(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their numbers: frame2.png before frame10.png.

    InputError: no pictures, pictures of two names (frame_1.png and mask_1.png) or in folders of their own.
    """
    found = listing(folder, pictures.SUFFIXES, "pictures")
    found.tell()
    if not found.files and found.others.keys() & SUFFIXES:
        raise InputError(f"{folder}: is a folder of clips; load.clips learns of many, load.video takes one of them")
    if not found.files:
        raise InputError(f"{folder}: is a folder without pictures; give a video, or a folder of numbered frames")
    inner = [path for path in found.files if path.parent != folder]
    if inner:
        raise InputError(
            f"{folder}: holds pictures in {inner[0].parent.name}/; give that folder, or one of frames alone"
        )
    files = sorted(found.files, key=natural)
    _check_names(folder, files)
    return files


def one(path: Path, alpha: bool = False) -> np.ndarray:
    """Bytes [H, W, 3] of a picture file, over white as in `data.pictures`; with `alpha` [H, W, 4], all of it 255."""
    levels = np.rint(pictures.levels(path)).clip(0, 255).astype(np.uint8)
    check_picture(path, levels.shape[1], levels.shape[0])
    rgb = np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels
    return np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], 2) if alpha else rgb


def _check_names(folder: Path, files: list[Path]) -> None:
    """InputError for frames of two names; a warning for numbers that are left out."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", path.stem) for path in files]
    names = [None if part is None else (part[1].lower(), part[3].lower()) for part in parts]  # None: without a number
    counts = Counter(name for name in names if name is not None)
    if not counts:
        return
    main, num = counts.most_common(1)[0]
    if num < len(files):
        odd = names.index(None) if None in names else next(k for k, name in enumerate(names) if name != main)
        raise InputError(
            f"{folder}: holds {num} frames as {files[names.index(main)].name}, and {files[odd].name}; move what is no "
            "frame elsewhere"
        )
    numbers = [int(part[2]) for part in parts if part]
    steps = Counter(b - a for a, b in pairwise(numbers))
    usual = steps.most_common(1)[0][0] if steps else 1
    missing = [a + usual for a, b in pairwise(numbers) if b - a > usual]
    if missing:
        warnings.warn(
            f"{folder}: frames are missing at {len(missing)} places, the first is number {missing[0]}; those that are "
            "there follow each other",
            stacklevel=2,
        )
