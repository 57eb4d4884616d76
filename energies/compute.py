"""The fast path under sampling: the same energy, its convolutions laid out for gradients in x alone.

While chains run the weights stand still, so `prepared` may lay them out once, in channels-last order and in the number
format of the computation, and no graph is kept for their gradients. What costs most is the gradient of a first layer
with 1 to 4 input channels, where a library's kernels run at a fifth of the machine's peak: it is taken through a kernel
whose last axis is unfolded into channels. The choices are fixed, not timed, so that results repeat.
`python tools/bench.py` measures what they are worth.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from energies.convnet import Conv3d

Compute = Literal["auto", "float32", "bfloat16"]
"""Number format of convolutions and products; auto: bfloat16 where the processor computes in it, else float32."""

M = TypeVar("M", bound=nn.Module)

FEW = 4  # input channels up to this make a layer thin
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


class Convolution:
    """A layer whose weights stand still; takes the place of `_conv_forward` of torch's module."""

    def __init__(self, conv: nn.Conv2d | nn.Conv3d, dtype: torch.dtype) -> None:
        weight = conv.weight.detach().to(dtype)
        self.dtype = dtype
        self.stride, self.padding = tuple(conv.stride), tuple(int(p) for p in conv.padding)
        self.kernel = tuple(weight.shape[2:])
        self.format = FORMATS[weight.ndim]
        self.bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self.weight = weight.contiguous(memory_format=self.format)
        self.thin = weight.shape[1] <= FEW and weight.device.type == "cpu"
        if self.thin:
            self.unfolded = _unfold(weight, self.kernel[-1], 1).contiguous(memory_format=self.format)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self._convolve(x.to(self.dtype))

    def _convolve(self, x: Tensor) -> Tensor:
        if self.thin and torch.is_grad_enabled() and x.requires_grad:
            if any(self.padding):
                x = F.pad(x, [p for p in reversed(self.padding) for _ in range(2)])
            out = _Thin.apply(x, self)
            assert isinstance(out, Tensor)
            return out
        convolve = F.conv2d if x.ndim == 4 else F.conv3d
        return convolve(x.contiguous(memory_format=self.format), self.weight, self.bias, self.stride, self.padding)


class _Thin(torch.autograd.Function):
    """A convolution of few channels, padded already, with its input's gradient by way of the unfolded kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Convolution) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        convolve = F.conv2d if x.ndim == 4 else F.conv3d
        return convolve(x.contiguous(memory_format=layer.format), layer.weight, layer.bias, layer.stride)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        layer: Convolution = ctx.layer
        grad = grads[0].contiguous(memory_format=layer.format)
        batch, channels, *size, _ = ctx.shape
        like = grad.new_empty(1).expand(batch, channels * layer.kernel[-1], *size, grad.shape[-1])  # only for its shape
        none, one = [0] * len(layer.kernel), [1] * len(layer.kernel)
        windows, _, _ = torch.ops.aten.convolution_backward(
            grad, like, layer.unfolded, None, [*layer.stride[:-1], 1], none, one, False, none, 1, [True, False, False]
        )
        return _fold(windows, ctx.shape, layer.kernel[-1], layer.stride[-1]), None


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
