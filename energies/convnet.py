"""The generative ConvNet: E(x) = |x - mean|^2 / (2 sigma^2) - f(x), f a ConvNet (Xie et al. 2016, eq. 5-6).

A Gaussian reference measure is tilted by the summed filter responses of a bottom-up network, in one, two or three
dimensions. The presets are the published networks; `energies.refiner` holds our own default for recovery.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from energies.energy import Energy


class Layer(NamedTuple):
    """A layer of filters; kernel and stride one number an axis, None the whole axis."""

    filters: int
    kernel: tuple[int | None, ...]
    stride: tuple[int, ...]


PRESETS = {
    # Spatial-temporal generative ConvNet (Xie, Zhu & Wu 2017) for textures stationary in space and time, and, fully
    # connected in space, for those stationary in time only.
    "st": (
        Layer(120, (15, 15, 15), (7, 7, 7)),
        Layer(40, (7, 7, 7), (3, 3, 3)),
        Layer(20, (2, 3, 3), (1, 2, 2)),
    ),
    "fc_s": (
        Layer(120, (7, 7, 7), (2, 2, 2)),
        Layer(30, (5, None, None), (2, 1, 1)),
        Layer(5, (2, 1, 1), (1, 1, 1)),
    ),
    # 3D DescriptorNet (Xie et al. 2018) for voxels.
    "voxel": (
        Layer(200, (16, 16, 16), (3, 3, 3)),
        Layer(100, (6, 6, 6), (2, 2, 2)),
        Layer(1, (None, None, None), (1, 1, 1)),
    ),
    # Generative ConvNet (Xie et al. 2016) for image textures.
    "image": (
        Layer(100, (15, 15), (3, 3)),
        Layer(64, (5, 5), (1, 1)),
        Layer(30, (3, 3), (1, 1)),
    ),
}


class GenerativeConvNet(Energy):
    """A published bottom-up network over x [B, *shape].

    Args:
        preset: "st", "fc_s" (video), "voxel" or "image".
        shape: of one x, channels first: [C, T, H, W], [C, D, H, W] or [C, H, W].
        sigma: standard deviation of the reference measure, in units of x.
        mean: of the reference measure.

    Raises:
        ValueError: an unknown preset, or a shape of another number of dimensions than the preset's.
    """

    def __init__(self, preset: str, shape: list[int], sigma: float = 0.5, mean: float = 0.0) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}; got {preset!r}")
        layers = PRESETS[preset]
        dims = len(layers[0].kernel)
        if len(shape) != dims + 1:
            raise ValueError(f"preset {preset} takes x of {dims} axes after the channels, got the shape {list(shape)}")
        self.event_shape = tuple(shape)
        self.sigma, self.mean = sigma, mean
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.layers = nn.ModuleList()
        size = list(shape[1:])
        filters = [shape[0], *(layer.filters for layer in layers)]
        for (c_in, c_out), layer in zip(pairwise(filters), layers, strict=True):
            kernel = [k or n for k, n in zip(layer.kernel, size, strict=True)]
            self.layers.append(kind(c_in, c_out, kernel, layer.stride))
            whole = [k is None for k in layer.kernel]
            size = [1 if w else -(-n // s) for n, s, w in zip(size, layer.stride, whole, strict=True)]
        self._whole = [[k is None for k in layer.kernel] for layer in layers]

    def features(self, x: Tensor) -> list[Tensor]:
        """The filter responses of every layer."""
        responses = []
        for layer, whole in zip(self.layers, self._whole, strict=True):
            assert isinstance(layer, nn.Conv2d | nn.Conv3d)
            x = F.relu(layer(_pad_same(x, layer.kernel_size, layer.stride, whole)))
            responses.append(x)
        return responses

    def forward(self, x: Tensor) -> Tensor:
        reference = (x - self.mean).square().flatten(1).sum(1) / (2 * self.sigma**2)
        return reference - self.features(x)[-1].to(x.dtype).flatten(1).sum(1)


def _pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], whole: list[bool]) -> Tensor:
    """Zeros around x so that a layer gives ceil(n / stride) responses along an axis of n, one where it sees all."""
    pads: list[int] = []
    for n, k, s, w in zip(x.shape[2:], kernel, stride, whole, strict=True):
        total = 0 if w else max((-(-n // s) - 1) * s + k - n, 0)
        pads = [total // 2, total - total // 2, *pads]  # F.pad counts from the last axis
    return F.pad(x, pads) if any(pads) else x


def unshuffle(x: Tensor, factor: int = 2) -> Tensor:
    """Space to channels: [B, C, T, H, W] -> [B, C factor^2, T, H / factor, W / factor]."""
    b, c, t, h, w = x.shape
    x = x.view(b, c, t, h // factor, factor, w // factor, factor).permute(0, 1, 4, 6, 2, 3, 5)
    return x.reshape(b, c * factor**2, t, h // factor, w // factor)


def shuffle(x: Tensor, factor: int = 2) -> Tensor:
    """Channels to space, the inverse of `unshuffle`."""
    b, c, t, h, w = x.shape
    x = x.view(b, c // factor**2, factor, factor, t, h, w).permute(0, 1, 4, 5, 2, 6, 3)
    return x.reshape(b, c // factor**2, t, h * factor, w * factor)


class Block(nn.Module):
    """A residual block of two 3^3 convolutions, without normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv3d(width, width, 3, padding=1)
        self.b = nn.Conv3d(width, width, 3, padding=1)
        with torch.no_grad():
            self.b.weight *= 0.2
            self.a.bias.zero_()  # type: ignore[union-attr]
            self.b.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(F.silu(self.a(F.silu(x))))


class UNet(nn.Module):
    """Two-level network [B, c_in, T, H, W] -> [B, c_out, T, H, W], at a half and a quarter of the resolution in space.

    H and W must be multiples of 4. All convolutions are 3^3 on 40 channels or more, where a CPU is at its fastest.
    """

    def __init__(self, c_in: int, c_out: int, widths: tuple[int, int], depths: tuple[int, int]) -> None:
        super().__init__()
        top, low = widths
        self.stem = nn.Conv3d(c_in * 4, top, 1)
        self.enc = nn.ModuleList(Block(top) for _ in range(depths[0]))
        self.down = nn.Conv3d(top * 4, low, 1)
        self.mid = nn.ModuleList(Block(low) for _ in range(depths[1]))
        self.up = nn.Conv3d(low, top * 4, 1)
        self.dec = nn.ModuleList(Block(top) for _ in range(depths[0]))
        self.head = nn.Conv3d(top, c_out * 4, 1)
        with torch.no_grad():
            self.head.weight *= 0.1
            self.head.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(unshuffle(x).contiguous(memory_format=torch.channels_last_3d))
        for block in self.enc:
            x = block(x)
        y = self.down(unshuffle(x))
        for block in self.mid:
            y = block(y)
        x = x + shuffle(self.up(y))
        for block in self.dec:
            x = block(x)
        return shuffle(self.head(F.silu(x)))
