"""Our default for recovery: a generative ConvNet around a first fill, at every noise level at once.

Let m be a first fill of the hidden values, s its expected error at every pixel, and z = (x - m) / s. For z known up to
Gaussian noise of level tau,

    E(x; tau) = |z|^2 / (2 (1 + tau^2)) - sqrt(1 + tau^2) / tau <u, g(u; c, tau)>,    u = z / (1 + tau^2),

summed over the hidden pixels: the generative ConvNet's Gaussian reference around m, of variance s^2 (1 + tau^2), tilted
by a network g that sees the context c (fill, scale, what is hidden, other fills). u is what a linear estimate would
make of z. With Tweedie's formula the expected x is x - (tau s)^2 dE/dx; as tau grows u falls to 0 and the expectation
becomes m + s g(0; c): one step of descent from the fill, with no gradient to take. That limit is the posterior mean
given what is seen; the levels below it are for sampling (`energies.sampling.anneal`).
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from energies.convnet import Stride, UNet
from energies.energy import Energy, gradient


@dataclass(frozen=True)
class Context:
    """What is known before the energy speaks, of a batch of clips.

    Attributes:
        fill: [B, C, T, H, W], a first fill; equal to the clip where it is seen.
        scale: [B, 1, T, H, W], expected error of the fill, positive.
        hidden: bool [B, 1, T, H, W].
        others: [B, K, C, T, H, W], further fills that the network may compare with.
    """

    fill: Tensor
    scale: Tensor
    hidden: Tensor
    others: Tensor

    def tensors(self) -> dict[str, Tensor]:
        return {"fill": self.fill, "scale": self.scale, "hidden": self.hidden, "others": self.others}

    def features(self) -> Tensor:
        """What the network sees of it: [B, C + 2 + K C, T, H, W]."""
        hidden = self.hidden.float()
        others = ((self.others - self.fill[:, None]) / self.scale[:, None]).clamp(-5, 5) * hidden[:, None]
        log_scale = (self.scale.log() + 2.5) / 1.5  # about standard
        return torch.cat([self.fill, hidden, log_scale, rearrange(others, "b k c t h w -> b (k c) t h w")], 1)


class Refiner(Energy):
    """The energy of the formula above; bind it with `given` and `at` before use.

    Args:
        channels: C.
        num_others: K.
        widths: channels of the network's levels (`convnet.UNet`).
        depths: residual blocks there.
        stride: how much coarser each level is along the three axes; (1, 2, 2) keeps time, (2, 2, 2) is for voxels.
        flat: whether x is of one frame, a picture.
    """

    def __init__(
        self,
        channels: int = 3,
        num_others: int = 6,
        widths: Sequence[int] = (40, 64),
        depths: Sequence[int] = (2, 3),
        stride: Stride = (1, 2, 2),
        flat: bool = False,
    ) -> None:
        super().__init__()
        c_in = 2 * channels + 3 + num_others * channels
        self.net = UNet(c_in, channels, widths, depths, (stride[0], stride[1], stride[2]), flat)
        self._multiple = tuple(side ** len(widths) for side in stride)
        self.context: Context | None = None
        self.noise: float | Tensor = 0.1

    def given(self, context: Context) -> Refiner:
        """The same energy with its context bound; the weights are shared."""
        return self._with(context=context)

    def at(self, noise: float | Tensor) -> Refiner:
        """The same energy at noise level tau > 0 (one, or one a sample [B])."""
        return self._with(noise=noise)

    @property
    def scale(self) -> Tensor:
        """s, the unit of the noise levels."""
        return self._bound.scale

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self._bound.fill.shape[1:])

    def mean(self) -> Tensor:
        """Expected x given what is seen, m + s g(0; c): [B, C, T, H, W]."""
        c = self._bound
        g = self._field(torch.zeros_like(c.fill), torch.zeros(len(c.fill), device=c.fill.device))
        return c.fill + c.scale * g

    def denoise(self, x: Tensor, *, create_graph: bool = False) -> Tensor:
        """Expected clean x given x [B, C, T, H, W] with noise of level tau on its hidden values (Tweedie's formula)."""
        _, slope = gradient(self, x, create_graph=create_graph)
        return x - (self._noise(x) * self.scale) ** 2 * slope

    def forward(self, x: Tensor) -> Tensor:
        c = self._bound
        variance = 1 + self._noise(x) ** 2
        z = (x - c.fill) / c.scale * c.hidden
        u = z / variance
        tilt = u * self._field(u, 1 / variance.flatten()) * (variance / (variance - 1)).sqrt()
        return (z.square() / (2 * variance) - tilt).flatten(1).sum(1)

    def features(self, x: Tensor) -> Tensor:
        """What the network's levels respond to x [B, C, T, H, W]: means and largest values of every filter, [B, F]."""
        c, variance = self._bound, 1 + self._noise(x) ** 2
        u = (x - c.fill) / c.scale * c.hidden / variance
        levels = self.net.encode(self._input(u, 1 / variance.flatten()))
        pooled = [pool for level in levels for pool in (level.mean((2, 3, 4)), level.amax((2, 3, 4)))]
        return torch.cat(pooled, 1).float()

    def _field(self, u: Tensor, gain: Tensor) -> Tensor:
        """g(u; c, tau) at the hidden pixels; gain = 1 / (1 + tau^2) tells the network the level."""
        out = self.net(self._input(u, gain))
        t, h, w = u.shape[2:]
        return out[..., :t, :h, :w].to(u.dtype) * self._bound.hidden

    def _input(self, u: Tensor, gain: Tensor) -> Tensor:
        level = gain.expand(len(u)).view(-1, 1, 1, 1, 1).expand(-1, 1, *u.shape[2:])
        seen = self._bound.features().expand(len(u), -1, -1, -1, -1)
        return _pad(torch.cat([u, seen, level], 1), self._multiple)

    def _noise(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.noise, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1, 1)

    @property
    def _bound(self) -> Context:
        if self.context is None:
            raise RuntimeError("this energy needs a context: energy.given(context)")
        return self.context

    def _with(self, **changes: object) -> Refiner:
        bound = copy.copy(self)
        bound.__dict__.update(changes)
        return bound

    def _save_pretrained(self, save_directory: Path) -> None:
        """Weights and settings, and the context and noise level where they are bound."""
        super()._save_pretrained(save_directory)
        if self.context is not None:
            tensors = {name: tensor.contiguous() for name, tensor in self.context.tensors().items()}
            save_file(tensors, save_directory / "context.safetensors")
        if not isinstance(self.noise, Tensor):
            (save_directory / "noise.json").write_text(json.dumps(self.noise))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **settings: Any) -> Refiner:
        energy = super()._from_pretrained(model_id=model_id, **settings)
        assert isinstance(energy, Refiner)
        folder = Path(model_id)
        if (folder / "context.safetensors").is_file():
            energy.context = Context(**load_file(folder / "context.safetensors"))
        if (folder / "noise.json").is_file():
            energy.noise = json.loads((folder / "noise.json").read_text())
        return energy


def geometric(high: float, low: float, num: int) -> list[float]:
    """`num` noise levels from high to low, each the same share of the one before."""
    return [high * math.exp(math.log(low / high) * i / max(num - 1, 1)) for i in range(num)]


def _pad(x: Tensor, multiple: Sequence[int]) -> Tensor:
    """Repeat the edge until the last three axes are multiples, as the network needs."""
    pads = [n for axis, side in zip((-1, -2, -3), reversed(multiple), strict=True) for n in (0, -x.shape[axis] % side)]
    return F.pad(x, pads, mode="replicate") if any(pads) else x
