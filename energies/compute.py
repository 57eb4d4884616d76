"""The fast path under sampling: the same energy, its convolutions laid out for gradients in x alone.

While chains run the weights stand still, so `prepared` may lay them out once, in channels-last order and in the number
format of the computation, and no graph is kept for their gradients. What costs most is the gradient of a first layer
with 1 to 4 input channels, where a library's kernels run at a fifth of the machine's peak: it is taken through a kernel
whose last axis is unfolded into channels. Kernels of hundreds of taps have their responses in the plain layout.

Layouts round differently, so a choice by the clock would give other samples from run to run. `layouts` is a rule that
was measured once and asks for nothing but the layer and the number format. `python tools/bench.py` measures what it is
worth.
"""

from __future__ import annotations

import copy
import math
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from energies.networks.convnet import Conv3d

Compute = Literal["auto", "float32", "bfloat16"]
"""Number format of convolutions and products; auto: bfloat16 where the processor computes in it, else float32."""

M = TypeVar("M", bound=nn.Module)

Layout = Literal["plain", "last", "unfolded"]
"""Of a layer: channels first; channels last; channels last, with the kernel's last axis unfolded into channels."""

FEW = 4  # input channels up to this make a layer thin
LARGE = 200  # taps of a kernel, 6 x 6 x 6 or 15 x 15: from here on the plain layout responds faster in float32
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def in_bfloat16(compute: Compute, device: torch.device) -> bool:
    """Whether to compute in bfloat16 on a device; with "auto", where it pays."""
    if compute not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"compute must be auto, float32 or bfloat16, got {compute!r}")
    if compute != "auto":
        return compute == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(
        torch.backends.mkldnn.is_available() and torch.cpu.get_capabilities().get("avx512_bf16")
    )


def prepared(module: M, compute: Compute = "float32") -> M:
    """The same module for gradients in its input only, with the weights as they are now.

    Args:
        module: an energy, conditioned, composed and bound as it shall be: the result cannot be bound again. It is left
            alone, other parameters are shared.
        compute: number format of the convolutions of float32 weights. In bfloat16 the result has `exact`, the same in
            float32: a sampler that accepts by energies takes them from there, so that only its force is rounded.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    if not in_bfloat16(compute, device):
        return _frozen(module, torch.float32, {})
    twin = _frozen(module, torch.bfloat16, {})

    def forward(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return type(module).forward(twin, x).to(x.dtype)

    twin.__dict__["forward"] = forward
    twin.__dict__["exact"] = _frozen(module, torch.float32, {})
    return twin


def _frozen(module: Any, dtype: torch.dtype, done: dict[int, nn.Module]) -> Any:
    if id(module) in done:
        return done[id(module)]
    if hasattr(module, "plain"):  # a layer whose weights are made of others
        done[id(module)] = _frozen(module.plain(), dtype, {})
        return done[id(module)]
    twin = done[id(module)] = copy.copy(module)
    twin.__dict__["_modules"] = {
        name: None if child is None else _frozen(child, dtype, done) for name, child in module._modules.items()
    }
    twin.__dict__["_parameters"] = {
        name: None if p is None else nn.Parameter(p.detach(), requires_grad=False)
        for name, p in module._parameters.items()
    }
    if type(module) in (nn.Conv2d, nn.Conv3d, Conv3d) and _is_plain(module):
        weight = module.weight.detach()
        twin.__dict__["_conv_forward"] = Convolution(module, dtype if weight.dtype == torch.float32 else weight.dtype)
    return twin


def _is_plain(conv: nn.Conv2d | nn.Conv3d) -> bool:
    return (
        "weight" in conv._parameters  # not one that a hook makes anew
        and conv.groups == 1
        and set(conv.dilation) == {1}
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def layouts(channels: int, kernel: tuple[int, ...], dtype: torch.dtype, device: str) -> tuple[Layout, Layout]:
    """The faster layouts of a layer's responses and of its input's gradient.

    Fixed, so that results repeat in every process. In float32 the same rule holds for AVX2 and AVX512. In bfloat16
    (AMX) a library's kernels are slow for one input channel, and for large kernels on few.

    Args:
        channels: input channels.
        kernel: its size along each axis.
        dtype: number format of the computation.
        device: "cpu", "cuda", ...
    """
    if device != "cpu":
        return "last", "last"
    thin, large = channels <= FEW, math.prod(kernel) >= LARGE
    if dtype == torch.bfloat16:
        both: Layout = "unfolded" if channels == 1 or (thin and large) else "last"
        return both, both
    return "plain" if large and dtype == torch.float32 else "last", "unfolded" if thin else "last"


class Convolution:
    """A layer whose weights stand still; takes the place of `_conv_forward` of torch's module.

    Args:
        conv: a layer with plain weights.
        dtype: number format of the computation.
        chosen: layouts of responses and of the input's gradient; None: those of the rule.
    """

    def __init__(
        self, conv: nn.Conv2d | nn.Conv3d, dtype: torch.dtype, chosen: tuple[Layout, Layout] | None = None
    ) -> None:
        weight = conv.weight.detach().to(dtype)
        self.dtype = dtype
        self.stride, self.padding = tuple(conv.stride), tuple(int(p) for p in conv.padding)
        self.kernel = tuple(weight.shape[2:])
        self.format = FORMATS[weight.ndim]
        self.bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self.forth: Layout
        self.back: Layout
        self.forth, self.back = chosen or layouts(weight.shape[1], self.kernel, dtype, weight.device.type)
        self.weights: dict[Layout, Tensor] = {}
        for layout in (self.forth, self.back):
            self.weights[layout] = self._lay_out(weight, layout)

    def _lay_out(self, weight: Tensor, layout: Layout) -> Tensor:
        if layout == "plain":
            return weight.contiguous()
        unfolded = _unfold(weight, self.kernel[-1], 1) if layout == "unfolded" else weight
        return unfolded.contiguous(memory_format=self.format)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self._convolve(x.to(self.dtype))

    def _convolve(self, x: Tensor) -> Tensor:
        if self.forth == self.back != "unfolded":  # as the library has it
            convolve = F.conv2d if x.ndim == 4 else F.conv3d
            x = x.contiguous(memory_format=torch.contiguous_format if self.forth == "plain" else self.format)
            return convolve(x, self.weights[self.forth], self.bias, self.stride, self.padding)
        if any(self.padding):
            x = F.pad(x, [p for p in reversed(self.padding) for _ in range(2)])
        out = _Mixed.apply(x, self)
        assert isinstance(out, Tensor)
        return out

    def responses(self, x: Tensor) -> Tensor:
        """Of x [B, C, ..., W], padded already."""
        convolve = F.conv2d if x.ndim == 4 else F.conv3d
        stride, layout = self.stride, torch.contiguous_format if self.forth == "plain" else self.format
        if self.forth == "unfolded":
            x, stride = _unfold(x, self.kernel[-1], stride[-1]), (*stride[:-1], 1)
        return convolve(x.contiguous(memory_format=layout), self.weights[self.forth], self.bias, stride)

    def slope(self, grad: Tensor, shape: torch.Size) -> Tensor:
        """The gradient in an input of `shape`, padded already, from that in the responses."""
        grad = grad.contiguous(memory_format=torch.contiguous_format if self.back == "plain" else self.format)
        stride, inner = self.stride, tuple(shape)
        if self.back == "unfolded":
            stride = (*stride[:-1], 1)
            inner = (shape[0], shape[1] * self.kernel[-1], *shape[2:-1], grad.shape[-1])
        like = grad.new_empty(1).expand(inner)  # only for its shape
        none, one = [0] * len(stride), [1] * len(stride)
        found, _, _ = torch.ops.aten.convolution_backward(
            grad, like, self.weights[self.back], None, stride, none, one, False, none, 1, [True, False, False]
        )
        return _fold(found, shape, self.kernel[-1], self.stride[-1]) if self.back == "unfolded" else found


class _Mixed(torch.autograd.Function):
    """A convolution with one layout for its responses and another for its input's gradient.

    The gradient is linear in that of the responses and made of operations that have derivatives of their own, so a
    second derivative in x is right, too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Convolution) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        return layer.responses(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.layer.slope(grads[0], ctx.shape), None


def _unfold(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Windows along the last axis of x [B, C, ..., W] as channels [B, kernel C, ..., windows]."""
    return x.unfold(-1, kernel, stride).movedim(-1, 1).flatten(1, 2)


def _fold(windows: Tensor, shape: torch.Size, kernel: int, stride: int) -> Tensor:
    """The adjoint of `_unfold`: windows added up where they came from, to `shape`.

    Window w covers w stride ... w stride + kernel - 1. Cut into pieces of one stride, its piece q falls on the whole
    stride w + q, so that with channels last every piece of all windows is added in one go, along contiguous memory.
    """
    channels, num = shape[1], windows.shape[-1]
    rows = windows.movedim(1, -1).contiguous()  # [B, ..., windows, kernel C]
    piece, pieces = stride * channels, -(-kernel // stride)
    out = rows.new_zeros(*rows.shape[:-2], max(num + pieces, -(-shape[-1] // stride)), piece)
    for q in range(pieces):
        part = rows[..., q * piece : (q + 1) * piece]
        out[..., q : q + num, : part.shape[-1]] += part
    return out.unflatten(-1, (stride, channels)).flatten(-3, -2)[..., : shape[-1], :].movedim(-1, 1)
