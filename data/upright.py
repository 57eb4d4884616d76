"""From a decoded frame to the picture that a player shows: turned, with square pixels, in standard colours.

What is transparent shows white, as in `data.pictures`. High dynamic range (PQ, HLG) is mapped to standard range: its
reference white, 203 cd/m2 (ITU-R BT.2408), becomes white, brighter light is rolled off above 90 % of it.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

PQ, HLG = 16, 18  # transfer characteristics, as ITU-T H.273 numbers them
CURVES = {PQ: "PQ", HLG: "HLG"}
WHITE = 203.0  # cd/m2
PEAK = 1000.0  # cd/m2 of the display that HLG is made for
KNEE = 0.9  # of white, where highlights begin to be rolled off
TO_BT709 = {
    9: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    11: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
    12: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}
"""Matrices from linear light with BT.2020 (9) or P3 (11, 12) primaries to that with BT.709 primaries."""
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020


def range_of(frame: VideoFrame) -> str | None:
    """The curve of a frame of high dynamic range: "PQ" or "HLG"; None for standard range."""
    return CURVES.get(frame.color_trc)


def picture(frame: VideoFrame, aspect: float, alpha: bool = False) -> np.ndarray:
    """Bytes [H, W, 3], RGB with BT.709 primaries; with `alpha` [H, W, 4], where nothing is laid over white.

    `aspect` is the width of a stored pixel over its height: the shorter side of it is stretched.
    """
    width, height = square(frame.width, frame.height, aspect)
    if (width, height) != (frame.width, frame.height):
        frame = frame.reformat(width, height, interpolation="BILINEAR")
    return np.ascontiguousarray(_turned(_colours(frame, alpha), _matrix(frame)))


def square(width: int, height: int, aspect: float) -> tuple[int, int]:
    """Width and height in square pixels of a picture whose pixels are `aspect` times as wide as high."""
    if not 0.1 <= aspect <= 10:
        return width, height
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def turned_size(frame: VideoFrame, width: int, height: int) -> tuple[int, int]:
    """(height, width) as the frame is shown."""
    (a, b), (c, d) = _matrix(frame)
    return (height, width) if abs(a) + abs(d) >= abs(b) + abs(c) else (width, height)


def _matrix(frame: VideoFrame) -> tuple[tuple[int, int], tuple[int, int]]:
    """((a, b), (c, d)) of the display matrix: x' = a x + c y, y' = b x + d y."""
    found: Any = frame.side_data  # a mapping by its stubs, a sequence in truth
    for side in found:
        if side.type == Type.DISPLAYMATRIX:
            entries = np.frombuffer(bytes(side), np.int32)
            return (int(entries[0]), int(entries[1])), (int(entries[3]), int(entries[4]))
    return (1, 0), (0, 1)


def _turned(x: np.ndarray, matrix: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    """[h, w, C] under the one of the eight turns and mirrors that is nearest to the matrix."""
    (a, b), (c, d) = matrix
    if abs(a) + abs(d) < abs(b) + abs(c):
        x, a, d = x.transpose(1, 0, 2), c, b
    return x[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _colours(frame: VideoFrame, alpha: bool) -> np.ndarray:
    if range_of(frame) or frame.color_primaries in TO_BT709:
        x = _standard(frame)
        return np.concatenate([x, np.full_like(x[..., :1], 255)], 2) if alpha else x
    if not any(component.is_alpha for component in frame.format.components):
        if frame.format.name == "pal8":  # its palette may have transparent entries
            frame = frame.reformat(format="rgba")
        else:
            return frame.to_ndarray(format="rgba" if alpha else "rgb24")
    x = frame.to_ndarray(format="rgba")
    return x if alpha else over_white(x)


def over_white(x: np.ndarray) -> np.ndarray:
    """Bytes [H, W, 3] of [H, W, 4] with straight alpha, laid over white."""
    cover = x[..., 3:]
    if (cover == 255).all():
        return np.ascontiguousarray(x[..., :3])
    mixed = x[..., :3].astype(np.uint16) * cover + (255 * (255 - cover.astype(np.uint16)) + 127).astype(np.uint16)
    return (mixed // 255).astype(np.uint8)


def _standard(frame: VideoFrame) -> np.ndarray:
    """Bytes [H, W, 3] with the primaries of BT.709 and the curve of sRGB."""
    levels: np.ndarray = frame.to_ndarray(format="rgb48le")  # uint16
    light = _linear(frame.color_trc)[levels]
    if frame.color_trc == HLG:  # from the scene's light to the display's (BT.2100, its OOTF)
        luminance = light @ LUMINANCE
        light *= (PEAK / WHITE) * np.maximum(luminance, 1e-6)[..., None] ** 0.2
    if frame.color_primaries in TO_BT709:
        light = light @ np.array(TO_BT709[frame.color_primaries], np.float32).T
    if range_of(frame):
        light = _rolled_off(light)
    index = (light.clip(0, 1) * 65535 + 0.5).astype(np.uint16)
    return _srgb()[index]


def _rolled_off(light: np.ndarray) -> np.ndarray:
    """Highlights brought below 1, the hue kept."""
    most = np.maximum(light.max(-1, keepdims=True), KNEE)
    over = (most - KNEE) / (1 - KNEE)
    return light * ((KNEE + (1 - KNEE) * over / (1 + over)) / most)


@lru_cache(maxsize=4)
def _linear(curve: int) -> np.ndarray:
    """Linear light of 65536 levels: 1 is white, of HLG the scene's peak."""
    e = np.linspace(0, 1, 65536)
    if curve == PQ:  # SMPTE ST 2084
        power = e ** (32 / 2523)
        light = (
            10_000 / WHITE * (np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)) ** (8192 / 1305)
        )
    elif curve == HLG:  # ARIB STD-B67
        light = np.where(e <= 0.5, e * e / 3, (np.exp((e - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    else:
        light = np.where(e <= 0.04045, e / 12.92, ((e + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


@lru_cache(maxsize=1)
def _srgb() -> np.ndarray:
    """Bytes of 65536 levels of linear light."""
    light = np.linspace(0, 1, 65536)
    return (np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255 + 0.5).astype(
        np.uint8
    )
