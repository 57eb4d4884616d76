"""Colour profiles (ICC) of pictures: to sRGB, what every reader here and every screen takes a picture for."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
"""Of a profile, the mode of the pictures that it is of."""
SAME = 2  # levels: a profile that changes no colour by more is sRGB but for rounding, and is not applied


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB by its profile, relative colorimetric: L stays L, others become RGB; alpha is kept.

    Without a profile, or with one that is damaged, of another kind of colour, or sRGB itself, it is given back as it
    is. A Lab picture needs no profile.
    """
    if image.mode == "LAB":
        return _applied(image, ImageCms.createProfile("LAB"), "LAB", "RGB")
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or image.mode in ("1", "F") or image.mode.startswith("I"):
        return image
    grey = image.mode in ("L", "LA", "La")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    mode = "CMYK" if image.mode == "CMYK" else "L" if grey else "RGB"
    if (found := _opened(profile, mode)) is None:
        return image
    colours = (image if alpha is None else image.convert("RGBA")).convert(mode)
    done = _applied(colours, found, mode, "RGB")
    done = done.getchannel(0) if grey else done
    if alpha is not None:
        done.putalpha(alpha)
    return done


def curve(profile: object) -> np.ndarray | None:
    """What a grey profile makes of the levels 0 to 255, [256]; None where it changes nothing or is none."""
    if not isinstance(profile, bytes) or (found := _opened(profile, "L")) is None:
        return None
    return np.asarray(_applied(_probe("L"), found, "L", "RGB").getchannel(0), dtype=np.float32)[0]


@lru_cache(maxsize=32)
def _opened(profile: bytes, mode: str) -> Any:
    """The profile, None where it is not to be applied to pictures of a mode."""
    try:
        opened: Any = ImageCms.ImageCmsProfile(BytesIO(profile))
        if SPACES.get(opened.profile.xcolor_space.strip()) != mode:
            return None
        probe = _probe(mode)
        changed = np.asarray(_applied(probe, opened, mode, "RGB"), dtype=int)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    plain = np.asarray(probe.convert("RGB"), dtype=int)
    return opened if mode == "CMYK" or np.abs(changed - plain).max() > SAME else None


def _applied(image: Image.Image, profile: Any, mode: str, out: str) -> Image.Image:
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(profile, _srgb(), mode, out, intent)
    done = ImageCms.applyTransform(image, transform)
    assert done is not None  # it is None where the image is changed in place
    return done


@lru_cache(maxsize=1)
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")


def _probe(mode: str) -> Image.Image:
    """All greys, or colours that tell two profiles apart."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.arange(0, 256, 51, dtype=np.uint8)  # 6 a channel
    colours = np.stack(np.meshgrid(*[steps] * len(mode), indexing="ij"), -1).reshape(1, -1, len(mode))
    return Image.fromarray(colours, mode)
