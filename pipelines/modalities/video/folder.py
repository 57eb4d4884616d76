"""Many clips of one length, size and rate from a folder of videos, one folder a class."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from data import moving, video
from data.containers import SUFFIXES
from data.errors import InputError
from data.files import Listing, listing
from pipelines.examples import FEWEST

APART = 0.01  # share of the rate that a clip may differ from it


@dataclass(frozen=True)
class Clips:
    """Clips of a folder.

    Attributes:
        x: [n, 3, T, H, W] in [-1, 1].
        origin: which video each is of, int64 [n].
        kind: the label of each, int64 [n].
        kinds: the names of the labels.
        rate: frames a second of all of them.
    """

    x: Tensor
    origin: Tensor
    kind: Tensor
    kinds: list[str]
    rate: float


def read(folder: Path, size: int, frames: int, cut: video.Cut, crop: bool, fps: float | None) -> Clips:
    """As many clips of `frames` frames of every video as it holds, one after the other; all at the rate `fps`, None for
    the median of the videos that are long enough. Videos of other rates are resampled, which one warning line tells.

    InputError: no such folder, fewer than two classes, fewer than 20 clips, a video that cannot be read.
    """
    if folder.is_file():
        raise InputError(f"load.clips={folder}: is a file; load.video takes one clip")
    if not folder.is_dir():
        raise InputError(f"load.clips={folder}: no such folder")
    found = listing(folder, SUFFIXES, "clips")
    found.tell()
    files, kinds = _labelled(found), found.classes
    if len(kinds) < 2:
        raise InputError(f"load.clips={folder}: needs two folders or more with videos, a folder a class")
    read = _read(folder, [file for file, _ in files], size, cut, crop)
    rates = [clip.fps for clip in read if clip.clip.shape[1] >= frames]
    rate = fps or (median(rates) if rates else read[0].fps)
    x, origin, labels = [], [], []
    for number, (clip, (_, label)) in enumerate(zip(_at(folder, files, read, rate, frames), files, strict=True)):
        for low in range(0, clip.shape[1] - frames + 1, frames):
            x.append(clip[:, low : low + frames])
            origin.append(number)
            labels.append(label)
        moving.check_clips(len(x), frames, size)
    if len(x) < FEWEST:
        raise InputError(
            f"{folder} holds {len(x)} clips of {frames} frames; at least {FEWEST} are needed to learn from"
        )
    return Clips(torch.stack(x), torch.tensor(origin), torch.tensor(labels), kinds, rate)


def resampled(clip: video.Clip, rate: float) -> Tensor:
    """The clip [3, T, H, W] at an even rate: each moment shows the last frame that began until then."""
    times = torch.tensor(clip.times, dtype=torch.float64) - clip.times[0]
    num = max(1, round((clip.end - clip.times[0]) * rate))
    moments = (torch.arange(num, dtype=torch.float64) + 0.5) / rate
    return clip.clip[:, (torch.searchsorted(times, moments, right=True) - 1).clamp(min=0)]


def _labelled(found: Listing) -> list[tuple[Path, int]]:
    """The videos in folders of classes; a warning counts those beside them."""
    files = [(file, label) for file, label in zip(found.files, found.labels, strict=True) if label is not None]
    beside = len(found.files) - len(files)
    if beside:
        warnings.warn(f"{found.root}: {beside} clips beside the folders of classes are left out", stacklevel=3)
    return files


def _read(folder: Path, files: list[Path], size: int, cut: video.Cut, crop: bool) -> list[video.Clip]:
    """Every video. What is told of each is told once of all."""
    read: list[video.Clip] = []
    told: Counter[str] = Counter()
    first: dict[str, str] = {}
    for file in files:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read.append(video.read_timed(file, size=size, cut=cut, crop=crop))
        for warning in caught:
            text = str(warning.message).removeprefix(f"{file}: ")
            told[text] += 1
            first.setdefault(text, file.name)
    for text, num in told.items():
        warnings.warn(f"{folder}: {num} of {len(files)} clips, such as {first[text]}: {text}", stacklevel=3)
    return read


def _at(folder: Path, files: list[tuple[Path, int]], read: list[video.Clip], rate: float, frames: int) -> list[Tensor]:
    """The clips at one rate; a warning tells how many had another. Those of fewer frames stay as they are: they count
    for nothing."""
    enough = [clip.clip.shape[1] >= frames for clip in read]
    apart = [not clip.even or abs(clip.fps / rate - 1) > APART for clip in read]
    other = [a and b for a, b in zip(enough, apart, strict=True)]
    if any(other):
        first = other.index(True)
        warnings.warn(
            f"{folder}: {sum(other)} of {sum(enough)} clips are not of {rate:.4g} frames a second, such as "
            f"{files[first][0].name} ({read[first].fps:.4g}); they are resampled to it",
            stacklevel=3,
        )
    return [resampled(clip, rate) if odd else clip.clip for clip, odd in zip(read, other, strict=True)]
