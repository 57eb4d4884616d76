"""Our default for data sets: a scalar ConvNet energy, of clean x or at every noise level, in one to three dimensions.

With z = x - mean, s the spread of the data about it and sigma the noise level,

    E(x; sigma) = |z|^2 / (2 (sigma^2 + s^2)) - (s / sigma) f(z / sqrt(sigma^2 + s^2), ln(sigma) / 2):

the generative ConvNet (Xie et al. 2016, eq. 5-6) around a Gaussian reference of variance sigma^2 + s^2, its tilt scaled
as the coefficients of Karras et al. (2022, table 1) scale a denoiser: by Tweedie's formula the expected clean x is
x - sigma^2 dE/dx. f adds up linear and quadratic responses of every level of a bottom-up network, so that all of them
have a say in the gradient. Without noise levels E(x) = |z|^2 / 2 - f(z).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from energies.family import Family
from energies.networks.condition import EMBEDDED, code, condition_layers, first_frequencies
from energies.networks.convnet import CONVOLUTIONS, LAYOUTS, unshuffle


class EncoderEnergy(Family):
    """E(x; sigma) or E(x), by label where there are classes.

    Args:
        shape: of one x, channels first: [C, T], [C, H, W] or [C, T, H, W].
        widths: channels of the levels, from the finest, which is coarser than x by the stride already.
        depths: residual blocks of the levels.
        stride: how much coarser each level is than the one above, along every axis; None: 2.
        noisy: whether it is a family over noise levels, to be bound with `at`; else of clean x.
        num_classes: of labels, to be bound with `given`; 0: none.
        spread: s, root mean square of x - mean.
        heads: energies that are read out, those of as many classes (`energies.joint`).
        places: as many as a level's responses count for in what tells heads apart, however many there are, which may be
            less than one. None: all count whole.
    """

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int] = (32, 64, 96),
        depths: Sequence[int] = (2, 2, 2),
        stride: Sequence[int] | None = None,
        noisy: bool = True,
        num_classes: int = 0,
        spread: float = 0.5,
        heads: int = 1,
        places: float | None = None,
    ) -> None:
        super().__init__(num_classes, noisy=noisy, mean=torch.zeros(*shape), spread=spread)
        dims = len(shape) - 1
        if dims not in CONVOLUTIONS or len(widths) != len(depths) or not widths:
            raise ValueError(
                f"x is [C, T], [C, H, W] or [C, T, H, W], as many widths as depths; got {shape}, {widths}, {depths}"
            )
        self.event_shape = tuple(shape)
        self.heads = heads
        self._stride = tuple(stride or (2,) * dims)
        self._padding = _padding(shape, self._stride, len(widths))
        cells, conv = math.prod(self._stride), CONVOLUTIONS[dims]
        self.levels = nn.ModuleList()
        c_in = shape[0]
        for width, depth in zip(widths, depths, strict=True):
            self.levels.append(_Level(c_in * cells, width, depth, conv, heads, places))
            c_in = width
        self.embed, self.labels = condition_layers(num_classes)
        nn.init.normal_(self.labels.weight, std=0.5)
        self.frequencies: Tensor
        self.register_buffer("frequencies", first_frequencies())

    @property
    def arguments(self) -> dict[str, Any]:
        return {**super().arguments, "shape": self.event_shape, "spread": self.spread}

    @property
    def origin(self) -> Tensor | float:
        return self.mean

    def resized(self, size: Sequence[int]) -> EncoderEnergy:
        """The same weights over x of another size, the mean a constant of each channel: for what is alike everywhere.

        What the network reads, it adds up over all places, so that it has no size of its own.
        """
        channels = len(self.mean)
        shape = (channels, *size)
        colour = self.mean.flatten(1).mean(1).reshape(channels, *[1] * len(size))
        return self.bind(
            _event_shape=shape,
            _padding=_padding(shape, self._stride, len(self.levels)),
            _buffers={**self._buffers, "_mean": colour.expand(shape).clone()},
        )

    def forward(self, x: Tensor) -> Tensor:
        return -(-self.energies(x)).logsumexp(1) if self.heads > 1 else self.energies(x).squeeze(1)

    def energies(self, x: Tensor) -> Tensor:
        """[B, heads] of x [B, *shape]; together, E(x) = -log sum exp of minus these."""
        z = x - self.mean
        if not self.noisy:
            return z.square().flatten(1).sum(1, keepdim=True) / 2 - self._tilt(z, self._embedding(x, None))
        sigma = self.sigma(x)
        variance = sigma**2 + self.spread**2
        tilt = self._tilt(z / variance.sqrt(), self._embedding(x, sigma))
        return (z.square() / (2 * variance)).flatten(1).sum(1, keepdim=True) - self.spread / sigma.view(-1, 1) * tilt

    def fresh(self) -> EncoderEnergy:
        """The same network with first weights, and the mean and spread of this one."""
        other = EncoderEnergy(**self.arguments)
        other.mean.copy_(self.mean)
        return other.to(self.mean.device)

    def features(self, x: Tensor) -> Tensor:
        """Mean and largest response of every filter to x [B, *shape], of all levels: [B, F]."""
        sigma = self.sigma(x) if self.noisy else None
        z = (x - self.mean) / (1.0 if sigma is None else (sigma**2 + self.spread**2).sqrt())
        responses = self._responses(z, self._embedding(x, sigma))
        return torch.cat([pool for r in responses for pool in (r.flatten(2).mean(2), r.flatten(2).amax(2))], 1).float()

    def _tilt(self, u: Tensor, condition: Tensor) -> Tensor:
        """f(u; condition): [B, heads]."""
        responses = self._responses(u, condition)
        heads = [level.read(h, condition) for level, h in zip(self._levels(), responses, strict=True)]
        return torch.stack(heads).sum(0)

    def _responses(self, u: Tensor, condition: Tensor) -> list[Tensor]:
        h = F.pad(u, self._padding) if any(self._padding) else u
        layout = LAYOUTS[u.ndim - 2]
        responses = []
        for level in self._levels():
            h = level(unshuffle(h, self._stride).contiguous(memory_format=layout), condition)
            responses.append(h)
        return responses

    def _levels(self) -> list[_Level]:
        return [level for level in self.levels if isinstance(level, _Level)]

    def _embedding(self, x: Tensor, sigma: Tensor | None) -> Tensor:
        told = code(x, sigma, self.frequencies)
        with torch.autocast(x.device.type, enabled=False):
            return self.embed(told) + self.labels(self.codes(x))


class _Level(nn.Module):
    """Residual blocks at one resolution, each shifted and scaled by the condition, and what the energy reads there."""

    def __init__(
        self, c_in: int, width: int, depth: int, conv: type[nn.Conv1d | nn.Conv2d | nn.Conv3d], heads: int,
        places: float | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.enter = conv(c_in, width, 1)
        self.first = nn.ModuleList(conv(width, width, 3, padding=1) for _ in range(depth))
        self.second = nn.ModuleList(conv(width, width, 3, padding=1) for _ in range(depth))
        self.modulate = nn.ModuleList(nn.Linear(EMBEDDED, 2 * width) for _ in range(depth))
        self.head = conv(width, width, 1)
        self.heads, self.places = heads, places
        self.weigh = nn.Linear(EMBEDDED, heads * 2 * width)
        with torch.no_grad():
            for layer in self.second:
                layer.weight *= 0.2  # type: ignore[operator]
            self.head.weight *= 0.5
            self.weigh.weight *= 0.1 if heads == 1 else 0.0  # classes are alike at first
            self.weigh.bias.zero_()

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        h = self.enter(h)
        for first, second, modulate in zip(self.first, self.second, self.modulate, strict=True):
            gain, shift = _spread(modulate(condition), h).chunk(2, 1)
            h = h + second(F.silu(first(F.silu(h * (1 + gain) + shift))))
        return h

    def read(self, h: Tensor, condition: Tensor) -> Tensor:
        """[B, heads]: of responses h, weighed squares and soft steps."""
        g = self.head(h).flatten(2).to(condition.dtype)
        with torch.autocast(g.device.type, enabled=False):  # sums over all places are no matter for a short format
            weights = self.weigh(condition).view(len(condition), self.heads, 2, g.shape[1])
            if self.places is not None:
                weights = weights * min(1.0, self.places / g.shape[2])
            read = torch.stack([0.5 * g.square().sum(2), F.silu(g).sum(2)], 1)  # [B, 2, width]
            return (weights * read[:, None]).sum((2, 3)) + read[:, 1].sum(1, keepdim=True)


def _spread(v: Tensor, like: Tensor) -> Tensor:
    """[B or 1, C] to the axes of `like`."""
    return v.reshape(*v.shape, *[1] * (like.ndim - 2))


def _padding(shape: Sequence[int], stride: Sequence[int], levels: int) -> list[int]:
    """Zeros around x of a shape so that every level divides by its stride, as `F.pad` counts them."""
    sides = zip(reversed(shape[1:]), reversed(stride), strict=True)
    return [n for size, k in sides for n in _both_sides(-size % k**levels)]


def _both_sides(total: int) -> tuple[int, int]:
    return total // 2, total - total // 2
