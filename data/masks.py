"""Masks: what of a picture or of a clip is hidden. One meaning in every file: what is not black is hidden.

hidden = still("mask.png", of=(480, 640), size=(48, 64))                  # bool [H, W], of a picture
frames = film("mask.mp4", times, of=[(480, 640)], size=(48, 64))          # one bool [H, W] for every time

- Of a layer with alpha, what is painted: white paint on a transparent layer, or paint of any colour.
- Of a picture of labels (0/1, or a palette as of DAVIS), every label but 0.
- Of a soft edge, all of it: any level above 0, or above LOSSY where compression adds levels of its own.
- A mask that is shrunk loses nothing: a pixel is hidden as soon as a part of it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from data import containers, formats, pictures
from data.decoding import frames
from data.errors import InputError
from data.files import listing, natural
from data.frames import resample

LOSSY = 8
"""Levels, of 255, that lossy compression adds to black. Of a scratch of 1 pixel 1 % lies below, and less than 1.5 % of
a picture is added, at any quality of H.264, MPEG-4, VP9 and JPEG in common use (docs/lab-notes.md)."""
LOSSY_PICTURES = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
LOSSLESS_FILMS = ("ffv1", "png", "apng", "gif", "qtrle", "rawvideo", "huffyuv", "ffvhuff", "utvideo", "bmp", "tiff")
MUCH = 0.6
"""Share that is rarely damaged: a mask that hides more may have its colours the wrong way round."""
SLACK = 0.002
"""Seconds by which containers round times."""
LEAST = 1e-6  # of a new pixel, what counts as covered: less is rounding


@dataclass(frozen=True)
class Painted:
    """A picture of a mask: levels [h, w] from 0 (seen) to 255, what compression may have added, and what to tell."""

    levels: np.ndarray
    noise: int
    note: str | None = None

    def hidden(self, invert: bool) -> np.ndarray:
        """bool [h, w]."""
        return (255 - self.levels if invert else self.levels) > self.noise


def still(
    path: str | Path, *, of: tuple[int, int], size: tuple[int, int], crop: bool = True, invert: bool = False
) -> Tensor:
    """The mask of a picture: bool [H, W], True is hidden.

    of: (height, width) of the picture's file, of which the mask has the shape; size: (H, W) that the picture was cut
    and shrunk to by `data.frames.resample`. invert: what is black is hidden.
    InputError: no picture, a moving one, another shape than the picture's.
    """
    path = Path(path)
    if not is_still(path):
        raise InputError(f"{path}: moves; the mask of a picture is a still picture, such as a png")
    painted = _still(path)
    _tell(path, painted)
    return _fitted(painted.hidden(invert), path, [of], size, crop, "picture")


def film(
    path: str | Path,
    times: Iterable[float],
    *,
    of: Sequence[tuple[int, int]],
    size: tuple[int, int],
    indices: Sequence[int] | None = None,
    crop: bool = True,
    invert: bool = False,
) -> Iterator[Tensor]:
    """The mask of a clip: for every one of its frames bool [H, W], True is hidden.

    path: a video, each of whose frames holds until the next; a still picture, for all frames; a folder of numbered
    pictures, one for every frame of the clip or of its file.
    times: seconds of each frame from the first one of the clip's file; indices: its number there, None: 0, 1, ...
    of: (height, width) of the clip's file: any of these; size, crop, invert: as of `still`.
    InputError, one line: cannot be read, ends before the clip, another shape, another number of pictures.
    """
    path, times = Path(path), list(times)

    def fitted(painted: Painted) -> Tensor:
        return _fitted(painted.hidden(invert), path, of, size, crop, "clip")

    if path.is_dir():
        for file in _numbered(path, len(times), indices or range(len(times))):
            yield fitted(_still(file))
    elif is_still(path):
        painted = _still(path)
        _tell(path, painted)
        for _ in times:
            yield fitted(painted)
    else:
        before: tuple[Painted, Tensor] | None = None
        for painted in _by_time(path, times):
            if before is None or before[0] is not painted:
                before = painted, fitted(painted)
            yield before[1]


def dilated(hidden: Tensor, pixels: int) -> Tensor:
    """bool [..., H, W] with what lies within so many pixels, along rows, columns and diagonals, hidden too."""
    if not pixels:
        return hidden
    flat = hidden.reshape(-1, 1, *hidden.shape[-2:]).float()
    return F.max_pool2d(flat, 2 * pixels + 1, 1, pixels).bool().view(hidden.shape)


def tell_share(path: str | Path, share: float, what: str) -> None:
    """Warn of a mask that hides more than is rarely damaged."""
    if share > MUCH:
        warnings.warn(
            f"{path}: {share:.0%} of the {what} is hidden; if it is white where the {what} is to be kept, set "
            "hide.invert=true",
            stacklevel=2,
        )


def is_still(path: Path) -> bool:
    """Whether a file is one picture; a GIF or PNG of one frame too. InputError: no file, a format that is not read."""
    containers.check_file(path)
    why = formats.reason(path)
    if why == formats.VIDEO:
        return False
    try:
        with pictures.opened(path, str(path)) as image:
            moves = image is not None and image.format in ("GIF", "PNG") and getattr(image, "n_frames", 1) > 1
            return not moves
    except InputError:
        if why is not None or pictures.is_picture(path):
            raise
        return False


def white_frames(path: str | Path, invert: bool = False) -> list[int]:
    """The numbers of the frames of a video that hide anything."""
    path, noise = Path(path), _noise(Path(path))
    shown = (Painted(_of_colours(frame.picture), noise) for frame in frames(path, alpha=True))
    return [number for number, painted in enumerate(shown) if painted.hidden(invert).any()]


# ------------------------------------------------------------------------------------ what is painted


def _still(path: Path) -> Painted:
    with pictures.opened(path, str(path)) as image:
        if image is None or image.mode == "F":
            return Painted(pictures.levels(path).max(2), 0)
        lossy = image.format in LOSSY_PICTURES and not _is_lossless_webp(path)
        upright = ImageOps.exif_transpose(image)
        levels, labels = _painted(upright)
    note = f"holds labels ({labels}); all but 0 are hidden" if labels else None
    brightest = int(levels.max())
    if not labels and not lossy and 0 < brightest < 128:
        note = f"its brightest level is {brightest} of 255; all that is not 0 is hidden"
    return Painted(levels, LOSSY if lossy else 0, note)


def _painted(image: Image.Image) -> tuple[np.ndarray, str]:
    """Levels [h, w], and the labels that they come from, where they do."""
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip
        deep = np.asarray(image).astype(np.float32)
        return (deep / 257).clip(0, 255), ""
    if image.mode == "P" and not image.has_transparency_data:
        index = np.asarray(image)
        used = np.unique(index)
        colours = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        colours = np.pad(colours, ((0, max(0, 256 - len(colours))), (0, 0)))
        of_used = colours[used]
        if (of_used != of_used[:, :1]).any():  # colours: those of labels, black or number 0 is the ground
            ground = (of_used == 0).all(1) if (of_used == 0).all(1).any() else used == 0
            labels = ", ".join(map(str, used[~ground][:8]))
            return np.isin(index, used[~ground]) * np.float32(255), labels
    return _of_colours(np.asarray(image.convert("RGBA"))), ""


def _of_colours(rgba: np.ndarray) -> np.ndarray:
    """Levels float32 [h, w] of bytes [h, w, 4]: the brightest channel over black; of paint that is all black, alpha."""
    alpha = rgba[..., 3].astype(np.float32)
    brightest = rgba[..., :3].max(2) * (alpha / 255)
    return alpha if alpha.min() < 255 and not brightest.any() else brightest


def _is_lossless_webp(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(64)
    return head[8:12] == b"WEBP" and b"VP8L" in head


def _tell(path: Path, painted: Painted) -> None:
    if painted.note:
        warnings.warn(f"{path}: {painted.note}", stacklevel=3)


# ------------------------------------------------------------------------------------------- in time


def _numbered(folder: Path, num: int, indices: Sequence[int]) -> list[Path]:
    """The pictures of a folder that belong to the frames of a clip."""
    found = listing(folder, pictures.SUFFIXES, "pictures")
    found.tell()
    files = sorted(found.files, key=natural)
    if len(files) > max(indices):
        return [files[index] for index in indices]
    if len(files) == num:
        return files
    raise InputError(f"{folder}: holds {len(files)} pictures, the clip has {num} frames; give a mask for every frame")


def _by_time(path: Path, times: Sequence[float]) -> Iterator[Painted]:
    """For every time the frame of a video that is shown then."""
    noise, shown = _noise(path), frames(path, alpha=True)
    painted, end, duration = None, float("-inf"), 0.0
    for time in times:
        while painted is None or end <= time + min(SLACK, duration / 4):
            if (frame := next(shown, None)) is None:
                break
            painted = Painted(_of_colours(frame.picture), noise)
            end, duration = frame.time + frame.duration, frame.duration
        if painted is None or time >= end + duration:
            raise InputError(
                f"{path}: lasts {max(end, 0):.2f} s, the clip's frames run to {max(times):.2f} s of its file; give a "
                "mask as long as the clip"
            )
        yield painted


def _noise(path: Path) -> int:
    """What the compression of a video may have added to black."""
    with containers.opened(path) as (_, stream):
        return 0 if stream.codec_context.name in LOSSLESS_FILMS else LOSSY


# -------------------------------------------------------------------------------------- to its pixels


def _fitted(
    hidden: np.ndarray, path: Path, of: Sequence[tuple[int, int]], size: tuple[int, int], crop: bool, what: str
) -> Tensor:
    """bool [H, W] of the mask bool [h, w] of a file of `of`: hidden where any of what was cut and shrunk to it is."""
    height, width = hidden.shape
    if not any(abs(width * own[0] - height * own[1]) <= max(own) for own in of):
        own = of[0]
        raise InputError(
            f"{path}: is of {width}x{height} pixels, the {what} of {own[1]}x{own[0]}; give a mask of that size, or of "
            "its shape"
        )
    whole = _overlapped(hidden, of[0])
    return resample(whole[..., None], size, crop)[0] > LEAST


def _overlapped(hidden: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W]: whether a pixel overlaps any hidden one of bool [h, w], laid over the same area."""
    if hidden.shape == tuple(size):
        return hidden
    sums = np.pad(hidden.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    (top, bottom), (left, right) = (_spans(length, num) for length, num in zip(hidden.shape, size, strict=True))
    inside = sums[bottom][:, right] - sums[bottom][:, left] - sums[top][:, right] + sums[top][:, left]
    return inside > 0


def _spans(length: int, num: int) -> tuple[np.ndarray, np.ndarray]:
    """The first pixel of `length` that each of `num` overlaps, and the first that it does not any more."""
    edges = np.arange(num + 1) * (length / num)
    return np.floor(edges[:-1] + LEAST).astype(int), np.ceil(edges[1:] - LEAST).astype(int)
