"""The residual energy of Du & Mordatch (2019, appendix A.8): a ResNet with spectral norms, by class where there are."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from energies.family import Family
from energies.networks.convnet import CONVOLUTIONS, LAYOUTS


class ResidualEnergy(Family):
    """E(x) = w . pooled responses, of clean x in one to three dimensions; no Gaussian reference holds it.

    Args:
        shape: of one x, channels first.
        width: channels of the first level; each of the two further ones, half as fine, has twice as many.
        num_classes: of labels, to be bound with `given`, which scale and shift the responses; 0: none.
        gain: of the energy. Spectral norms hold the layers' slopes to about 1, so this sets how steep the whole is.
    """

    def __init__(self, shape: Sequence[int], width: int = 32, num_classes: int = 0, gain: float = 30.0) -> None:
        super().__init__(num_classes)
        dims = len(shape) - 1
        if dims not in CONVOLUTIONS:
            raise ValueError(f"x must be [C, T], [C, H, W] or [C, T, H, W], got the shape {list(shape)}")
        self.event_shape = tuple(shape)
        self.gain = gain
        widths = [width, 2 * width, 4 * width]
        self.enter = Normed(CONVOLUTIONS[dims](shape[0], width, 3, padding=1))
        self.blocks = nn.ModuleList(
            _Block(a, b, dims, num_classes) for a, b in zip([width, *widths[:-1]], widths, strict=True)
        )
        self.head = Normed(nn.Linear(widths[-1], 1))

    def features(self, x: Tensor) -> Tensor:
        """Pooled responses of the last level to x [B, *shape]: [B, F]."""
        label = self.codes(x)
        h = F.silu(self.enter(x.contiguous(memory_format=LAYOUTS[x.ndim - 2])))
        for block in self.blocks:
            h = block(h, label)
        return F.silu(h).flatten(2).mean(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.head(self.features(x)).squeeze(1)


class Normed(nn.Module):
    """A layer divided by its largest singular value, as power iteration estimates it (Miyato et al. 2018)."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.left: Tensor
        self.register_buffer("left", F.normalize(torch.randn(layer.weight.shape[0]), dim=0))

    def weight(self, moved: bool = False) -> Tensor:
        """The divided weights; moved: the estimate goes on by a step."""
        matrix = self.layer.weight.flatten(1)
        with torch.no_grad(), torch.autocast(matrix.device.type, enabled=False):
            right = F.normalize(matrix.T @ self.left, dim=0)
            left = F.normalize(matrix @ right, dim=0)
            if moved:
                self.left.copy_(left)
        return self.layer.weight / (left * (matrix * right).sum(1)).sum()

    def plain(self) -> nn.Module:
        """An ordinary layer of the same values, for when the weights stand still."""
        layer = copy.copy(self.layer)
        layer._parameters = dict(layer._parameters) | {"weight": nn.Parameter(self.weight().detach())}
        return layer

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight(self.training), self.layer.bias
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, weight, bias)
        return self.layer._conv_forward(x, weight, bias)


class _Block(nn.Module):
    """Two convolutions beside a straight path, then a mean over pairs along every axis."""

    def __init__(self, c_in: int, width: int, dims: int, num_classes: int) -> None:
        super().__init__()
        conv = CONVOLUTIONS[dims]
        self.a = Normed(conv(c_in, width, 3, padding=1))
        self.b = Normed(conv(width, width, 3, padding=1))
        self.pass_by = Normed(conv(c_in, width, 1))
        self.pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[dims]
        self.modulate = nn.Embedding(num_classes + 1, 2 * width)
        nn.init.zeros_(self.modulate.weight)

    def forward(self, h: Tensor, label: Tensor) -> Tensor:
        y = self.a(h)
        gain, shift = self.modulate(label).reshape(len(label), -1, *[1] * (h.ndim - 2)).chunk(2, 1)
        y = self.b(F.silu(y * (1 + gain) + shift))
        y = F.silu(self.pass_by(h) + y)
        sides = [min(2, side) for side in y.shape[2:]]
        return self.pool(y, sides)
