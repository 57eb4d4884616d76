"""From a picture file to its levels, safely and with nothing lost: rotation, alpha, depth, palettes, inks, profiles.

Levels run from 0 (black) to 255 (white): uint8 where the file holds bytes, float32 where it holds more.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from data import formats, profiles, unsaid
from data.containers import check_file
from data.errors import InputError
from data.frames import resample

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000", "AVIF")
"""What is opened. Pillow knows more, and runs Ghostscript for some of it."""
SUFFIXES = frozenset(
    [
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".pfm",
    ]
)
SUFFIXES |= {".tga", ".jp2", ".j2k", ".avif", ".mpo"}
"""Endings, in lower case, of files that a folder of pictures is expected to hold."""
MAX_PIXELS = 2**26  # 8192 x 8192
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode L

# What Pillow raises on damaged files, beside OSError: its parsers are not all careful.
DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    MemoryError,
    RuntimeError,
)


def levels(file: Path | bytes, name: str | None = None) -> np.ndarray:
    """The first picture of a file, or of a file's bytes: levels [h, w, C], C = 1 (grey) or 3 (RGB).

    Turned as its EXIF asks, in sRGB by its colour profile; what is transparent shows white, not the colour hidden
    there. Floats run from 0 (black) to 1 (white). `name` stands for the file in the messages.
    InputError: no file, no picture, a format that is not read, damaged, more than 2^26 pixels, floats outside [0, 1] or
    NaN.
    """
    name = name or str(file if isinstance(file, Path) else "picture")
    with opened(file, name) as image:
        return _levels(image, file, name)


@contextmanager
def opened(file: Path | bytes, name: str) -> Iterator[Image.Image | None]:
    """A picture file as Pillow opens it; None for a TIFF that only tifffile reads. InputError as of `levels`, for
    whatever goes wrong inside."""
    if isinstance(file, Path):
        check_file(file)
    try:
        with unsaid.kept(name if _is_tiff(file) else None), _quiet():
            _check_kind(file, name)
            if _needs_tifffile(file):
                yield None
                return
            with _open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(_too_large(name, *image.size))
                yield image
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{name}: may not be read; check its permissions") from error
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(name)) from error
    except DAMAGE as error:
        found = "damaged or cut short" if is_picture(file) else "not a picture that can be read"
        raise InputError(f"{name}: {found}; give a whole png, jpg, tiff, webp, gif or bmp") from error


def fit(picture: np.ndarray, size: tuple[int, int] | None, channels: int | None) -> Tensor:
    """Levels [h, w, C] as float32 [C', H, W] in [-1, 1].

    `size` (H, W): the largest centred window of that shape, each new pixel the mean of the area it covers; None keeps
    the size. `channels` 1 takes the luma, 3 repeats grey, None keeps what there is.
    """
    if size is None or size == picture.shape[:2]:
        x = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), dtype=np.float32))
    else:
        x = resample(picture, size, crop=True)
    return to_channels(x, channels).div(127.5).sub(1).clamp_(-1, 1)


def to_channels(x: Tensor, channels: int | None) -> Tensor:
    """x [..., C, H, W] with 1 (luma) or 3 channels; None, or as many as there are, gives x itself."""
    if channels is None or channels == x.shape[-3]:
        return x
    if channels == 3:
        return x.expand(*x.shape[:-3], 3, *x.shape[-2:])
    return torch.einsum("...chw,c->...hw", x, x.new_tensor(LUMA)).unsqueeze(-3)


def check_channels(channels: int | None) -> None:
    if channels not in (None, 1, 3):
        raise InputError(f"channels={channels} is not possible; it must be 1 (grey) or 3 (RGB)")


def _levels(image: Image.Image | None, file: Path | bytes, name: str) -> np.ndarray:
    if image is None:
        return _tiff(file, name)
    if image.format == "TIFF" and image.mode == "I":
        raise InputError(f"{name}: 32-bit or signed numbers have no agreed white; save it with 8 or 16 bits")
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        return _from_unit(np.asarray(upright), name)
    if upright.mode.startswith("I"):  # 16 bits: convert() would clip everything above 255
        return _from_deep(upright)
    return _flat(upright)


def _check_kind(file: Path | bytes, name: str) -> None:
    """InputError, with the reason, for a format that is not read."""
    Image.init()
    why = formats.reason(file)
    if why is not None and not (why.startswith(formats.AVIF) and "AVIF" in Image.OPEN):
        raise InputError(f"{name}: {why}")


@contextmanager
def _open(file: Path | bytes) -> Iterator[Image.Image]:
    known = [name for name in FORMATS if name in Image.OPEN]
    with Image.open(BytesIO(file) if isinstance(file, bytes) else file, formats=known) as image:
        yield image


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings: of bombs, for which our own limit is lower, and of damage that comes up anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _flat(image: Image.Image) -> np.ndarray:
    """Bytes of any picture of 8 bits or fewer a channel, over white."""
    grey = image.mode in ("1", "L", "LA", "La")
    image = profiles.to_srgb(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    # From RGB, not by convert("L"): that would round a second time.
    rgb = np.asarray(image.convert("RGB"))
    return rgb[:, :, :1] if grey else rgb


def _from_deep(image: Image.Image) -> np.ndarray:
    deep = np.asarray(image).astype(np.float32)
    clear = image.info.get("transparency")  # the one level that a png declares transparent
    if isinstance(clear, int):
        deep[deep == clear] = 65535
    unit = (deep / 257).clip(0, 255)
    if (curve := profiles.curve(image.info.get("icc_profile"))) is not None:
        unit = np.interp(unit, np.arange(256), curve).astype(np.float32)
    return unit[:, :, None]


def _from_unit(picture: np.ndarray, name: str) -> np.ndarray:
    """Levels of floats [h, w] or [h, w, C] in [0, 1]."""
    if not np.isfinite(picture).all():
        raise InputError(f"{name}: holds NaN or infinite values; replace them")
    low, high = float(picture.min()), float(picture.max())
    if low < 0 or high > 1:
        raise InputError(
            f"{name}: float values run from {low:.4g} to {high:.4g}; scale them to 0 (black) ... 1 (white)"
        )
    scaled = picture.astype(np.float32) * 255
    return scaled if scaled.ndim == 3 else scaled[:, :, None]


def _needs_tifffile(file: Path | bytes) -> bool:
    """Whether this is a TIFF of floats that Pillow does not know (RGB, or of 16 or 64 bits)."""
    if not _is_tiff(file):
        return False
    try:
        with _open(file):
            return False
    except Image.UnidentifiedImageError:
        return True


def _is_tiff(file: Path | bytes) -> bool:
    return formats.head(file)[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _tiff(file: Path | bytes, name: str) -> np.ndarray:
    import tifffile  # comes with scikit-image

    try:
        with tifffile.TiffFile(BytesIO(file) if isinstance(file, bytes) else file) as tiff:
            page = tiff.pages.first
            if page.size > 4 * MAX_PIXELS:
                raise InputError(_too_large(name, page.imagewidth, page.imagelength))
            kind, picture = page.dtype, np.asarray(page.asarray())
    except InputError:
        raise
    except Exception as error:  # tifffile raises whatever comes up
        raise ValueError(str(error)) from error
    if kind is None or picture.size == 0:
        raise ValueError("no picture")
    if kind.kind != "f" or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (1, 3))):
        raise InputError(
            f"{name}: {kind} {list(picture.shape)} is not read; save it as grey or RGB, 8 or 16 bits or float"
        )
    return _from_unit(picture, name)


def is_picture(file: Path | bytes) -> bool:
    """Whether the beginning is that of a picture: then what went wrong is in the rest."""
    try:
        with _quiet(), _open(file):
            return True
    except Exception:
        return _is_tiff(file)


def _too_large(name: str, *size: int) -> str:
    found = f"{size[0]}x{size[1]} pixels are" if size else "the pixels are"
    return f"{name}: {found} too many; shrink it to {MAX_PIXELS >> 20} million at most, as 8192x8192"
