"""The generative ConvNet: E(x) = |x - mean|^2 / (2 sigma^2) - f(x), f a ConvNet (Xie et al. 2016, eq. 5-6).

A Gaussian reference measure is tilted by the summed filter responses of a bottom-up network, in one, two or three
dimensions. The presets are the published networks; `energies.conditional` holds our own default for recovery.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from energies.energy import Energy

Stride = tuple[int, int, int]
DENSE = 2  # cells a side, of grids on which a kernel of 3 reaches everywhere


class Conv3d(nn.Conv3d):
    """torch's, but for two kinds that oneDNN gets wrong on the CPU (torch 2.13), which are products of matrices here.

    Kernels of 3 on grids of 1 or 2 cells a side: with channels last it reads memory that it has not written, and on
    some calls the gradients of the weights are garbage, large or NaN. Kernels of 1 in bfloat16: of 16 channels on 16^3
    cells the gradient of the weights divides by zero on processors with AMX, which ends the process.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        size = input.shape[2:]
        plain = input.ndim == 5 and self.groups == 1 and self.dilation == (1, 1, 1) and self.padding_mode == "zeros"
        if not plain or self.stride != (1, 1, 1):
            return super()._conv_forward(input, weight, bias)
        if self.kernel_size == (1, 1, 1) and self.padding == (0, 0, 0) and torch.is_autocast_enabled("cpu"):
            return F.linear(input.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
        if max(size) > DENSE or self.kernel_size != (3, 3, 3) or self.padding != (1, 1, 1):
            return super()._conv_forward(input, weight, bias)
        cells = torch.cartesian_prod(*(torch.arange(n, device=weight.device) for n in size)).view(-1, 3)
        taps = ((cells - cells[:, None] + 1) * cells.new_tensor([9, 3, 1])).sum(-1)  # of a cell out from a cell in
        matrices = weight.flatten(2).movedim(2, 0).contiguous().index_select(0, taps.flatten()).unflatten(0, taps.shape)
        matrix = matrices.transpose(1, 2).flatten(2).flatten(0, 1)  # [cells c_out, cells c_in]
        out = (input.movedim(1, -1).flatten(1) @ matrix.T).unflatten(1, (*size, -1))
        return (out if bias is None else out + bias).movedim(-1, 1)


CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: Conv3d}
LAYOUTS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}
"""Of x with so many axes of size, where convolutions are fast."""


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
    # Generative ConvNet (Xie et al. 2016) for images of whole objects, its last layer fully connected.
    "object": (
        Layer(100, (7, 7), (2, 2)),
        Layer(64, (5, 5), (2, 2)),
        Layer(20, (None, None), (1, 1)),
    ),
    # ... and for image textures.
    "image": (
        Layer(100, (15, 15), (3, 3)),
        Layer(64, (5, 5), (1, 1)),
        Layer(30, (3, 3), (1, 1)),
    ),
}


class GenerativeConvNet(Energy):
    """A published bottom-up network over x [B, *shape].

    Args:
        preset: "st", "fc_s" (video), "voxel", "object" or "image" (textures).
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
        kind = CONVOLUTIONS[dims]
        self.layers = nn.ModuleList()
        size = list(shape[1:])
        filters = [shape[0], *(layer.filters for layer in layers)]
        for (c_in, c_out), layer in zip(pairwise(filters), layers, strict=True):
            kernel = [k or n for k, n in zip(layer.kernel, size, strict=True)]
            self.layers.append(kind(c_in, c_out, kernel, layer.stride))
            whole = [k is None for k in layer.kernel]
            size = [1 if w else -(-n // s) for n, s, w in zip(size, layer.stride, whole, strict=True)]
        self._whole = [[k is None for k in layer.kernel] for layer in layers]

    @property
    def origin(self) -> float:
        return self.mean

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


def unshuffle(x: Tensor, stride: Sequence[int] = (1, 2, 2)) -> Tensor:
    """Space to channels: [B, C, T, H, W] -> [B, C t h w, T / t, H / h, W / w] for the stride (t, h, w).

    Likewise along any other number of axes.
    """
    b, c, *size = x.shape
    cells = [part for n, k in zip(size, stride, strict=True) for part in (n // k, k)]
    within, between = range(3, 2 + len(cells), 2), range(2, 2 + len(cells), 2)
    x = x.view(b, c, *cells).permute(0, 1, *within, *between)
    return x.reshape(b, c * math.prod(stride), *cells[::2])


def shuffle(x: Tensor, stride: Sequence[int] = (1, 2, 2)) -> Tensor:
    """Channels to space, the inverse of `unshuffle`."""
    b, c, *size = x.shape
    dims = len(size)
    x = x.view(b, c // math.prod(stride), *stride, *size)
    x = x.permute(0, 1, *(axis for d in range(dims) for axis in (2 + dims + d, 2 + d)))
    return x.reshape(*x.shape[:2], *(n * k for n, k in zip(size, stride, strict=True)))


class Block(nn.Module):
    """A residual block of two convolutions, 3^3 or 1 x 3 x 3 where x is flat, without normalisation."""

    def __init__(self, width: int, flat: bool = False) -> None:
        super().__init__()
        kernel, padding = ((1, 3, 3), (0, 1, 1)) if flat else ((3, 3, 3), (1, 1, 1))
        self.a = Conv3d(width, width, kernel, padding=padding)
        self.b = Conv3d(width, width, kernel, padding=padding)
        with torch.no_grad():
            self.b.weight *= 0.2
            self.a.bias.zero_()  # type: ignore[union-attr]
            self.b.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(F.silu(self.a(F.silu(x))))


class UNet(nn.Module):
    """Network [B, c_in, T, H, W] -> [B, c_out, T, H, W] of levels, each coarser by the stride than the one above.

    Already the first one is coarser than x. T, H and W must be multiples of stride^levels. All convolutions but
    those of one pixel are 3^3 on many channels, where a CPU is at its fastest.

    Args:
        widths: channels of the levels, from the finest.
        depths: residual blocks there, on the way down and again on the way up; at the last level once.
        stride: along the three axes; (1, 2, 2) keeps time, (2, 2, 2) is for voxels.
        flat: whether x is of one frame, a picture.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        widths: Sequence[int],
        depths: Sequence[int],
        stride: Stride = (1, 2, 2),
        flat: bool = False,
    ) -> None:
        super().__init__()
        self.stride = stride
        cells = math.prod(stride)

        def blocks(level: int) -> nn.Sequential:
            return nn.Sequential(*(Block(widths[level], flat) for _ in range(depths[level])))

        upper = range(len(widths) - 1)
        self.stem = Conv3d(c_in * cells, widths[0], 1)
        self.enc = nn.ModuleList(blocks(level) for level in upper)
        self.down = nn.ModuleList(Conv3d(widths[i] * cells, widths[i + 1], 1) for i in upper)
        self.mid = blocks(-1)
        self.up = nn.ModuleList(Conv3d(widths[i + 1], widths[i] * cells, 1) for i in upper)
        self.dec = nn.ModuleList(blocks(level) for level in upper)
        self.head = Conv3d(widths[0], c_out * cells, 1)
        self.skip = Conv3d(c_in, c_out, 1, bias=False)
        with torch.no_grad():
            self.skip.weight.zero_()
            self.head.weight *= 0.1
            self.head.bias.zero_()  # type: ignore[union-attr]

    def encode(self, x: Tensor) -> list[Tensor]:
        """The responses of every level on the way down, [B, width, ...]."""
        x = self.stem(unshuffle(x, self.stride).contiguous(memory_format=torch.channels_last_3d))
        levels: list[Tensor] = []
        for enc, down in zip(self.enc, self.down, strict=True):
            levels.append(enc(x))
            x = down(unshuffle(levels[-1], self.stride))
        return [*levels, self.mid(x)]

    def forward(self, x: Tensor) -> Tensor:
        *passed, y = self.encode(x)
        for level, up, dec in reversed(list(zip(passed, self.up, self.dec, strict=True))):
            y = dec(level + shuffle(up(y), self.stride))
        return self.skip(x) + shuffle(self.head(F.silu(y)), self.stride)
