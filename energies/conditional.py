"""Our default for recovery: a generative ConvNet around a reference that is told what is seen, at every noise level.

Let m be an initial estimate of x given what is seen, s its expected error at every element, and z = (x - m) / s; the
reference (`energies.references`) makes both. For z known up to Gaussian noise of level tau,

    E(x; tau) = |z|^2 / (2 (1 + tau^2)) - sqrt(1 + tau^2) / tau <u, g(u; c, tau)>,    u = z / (1 + tau^2),

summed over the hidden elements: the generative ConvNet's Gaussian reference around m, of variance s^2 (1 + tau^2),
tilted by a network g that sees the context c (estimate, scale, what is hidden, further estimates). u is what a linear
estimate would make of z. With Tweedie's formula the expected x is x - (tau s)^2 dE/dx; as tau grows u falls to 0 and
the expectation becomes m + s g(0; c): one step of descent from the estimate, with no gradient to take.

For x that is alike over many elements, whose shape is settled while the noise still drowns every single one, the
network is given v = z / sqrt(1 + tau^2) in place of u, and ln tau, for

    E(x; tau) = |z|^2 / (2 (1 + tau^2)) - <v, g(v; c, tau)> / tau

(`at_any_level`): these are the scales of Karras et al. (2022, table 1), and as tau grows the expectation is m.

So there are two things here. `posterior_mean` is an *amortised posterior mean*: what a network, trained on many ways to
see x in part, expects of x in one pass. The levels below are a *conditional energy*, for samples
(`energies.sampling.anneal`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from energies.conditioned import Conditioned
from energies.family import Family
from energies.networks.convnet import UNet
from energies.noisy import Noisy
from energies.observation import Measurement, Observation
from energies.references import Context, Reference

SURE = 0.9999  # of what a network expects of x of two values, at most


class ConditionalEnergy(Family):
    """The energy of the formula above; a posterior, or `told`, binds its context.

    Args:
        reference: makes contexts of K further estimates.
        channels: C of x [B, C, *size].
        widths: channels of the network's levels (`convnet.UNet`).
        depths: residual blocks there.
        stride: how much coarser each level is along the axes of size, two of pictures or three; (1, 2, 2) keeps time,
            (2, 2, 2) is for voxels.
        at_any_level: whether the network is given v, which is of one size at all levels, in place of u.
    """

    def __init__(
        self,
        reference: Reference,
        channels: int = 3,
        widths: Sequence[int] = (40, 64),
        depths: Sequence[int] = (2, 3),
        stride: Sequence[int] = (1, 2, 2),
        at_any_level: bool = False,
    ) -> None:
        super().__init__(noisy=True)
        self.dims, self.at_any_level = len(stride), at_any_level
        if self.dims not in (2, 3):
            raise ValueError(f"stride must be of two axes or three, got {list(stride)}")
        c_in = 2 * channels + 3 + reference.num_others * channels
        whole = (stride[0], stride[1], stride[2]) if self.dims == 3 else (1, stride[0], stride[1])
        self.net = UNet(c_in, channels, widths, depths, whole, flat=self.dims == 2)
        self.reference = reference
        self._event_shape = reference.event_shape
        self._multiple = tuple(side ** len(widths) for side in stride)
        self._context: Context | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        if self._context is not None:
            raise TypeError("an energy that was told what is seen is not saved: save it as it was before `told`")
        return super().arguments

    def told(self, context: Context) -> ConditionalEnergy:
        """The same energy with a context bound, at no level; the weights are shared."""
        return self.bind(_context=context, level=None, _event_shape=tuple(context.estimate.shape[1:]))

    def free(self, num: int = 1) -> ConditionalEnergy:
        """The energies of `num` x of which nothing is seen, or of the one clip. RuntimeError: it knows no whole x."""
        return self.told(self.reference.free(num))

    def posterior(self, observation: Observation, y: Measurement) -> Conditioned:
        """Where the reference takes such a measurement the network is told of it; else x is held to it as any other.

        ValueError: it is the energy of a damaged clip, and something else is hidden.
        """
        device = self.net.head.weight.device
        with torch.autocast(device.type, enabled=False):
            if not self.reference.takes(observation):
                free = self.free()
                if not bool(free.context.hidden.all()):
                    raise ValueError("the energy of a damaged clip knows the clip for what was hidden of it alone")
                return Conditioned(free, observation, y)
            return AmortisedPosterior(self.told(self.reference.context(observation, y)), observation, y)

    @property
    def context(self) -> Context:
        """That is bound; else that of nothing seen."""
        return self.reference.free(1) if self._context is None else self._context

    @property
    def per_sample(self) -> bool:
        return super().per_sample or (self._context is not None and len(self._context.estimate) > 1)

    @property
    def mean(self) -> Tensor:
        """m [B, C, *size]."""
        return self.context.estimate

    @property
    def spread(self) -> float:
        return float(self.context.scale.square().mean().sqrt())

    @property
    def scale(self) -> Tensor:
        return self.context.scale

    def start(self, noise: Tensor, level: float) -> Tensor:
        """Only what is hidden holds noise."""
        c = self.context
        return c.estimate + level * c.scale * c.hidden * noise

    def posterior_mean(self) -> Tensor:
        """Expected x given what is seen, m + s g(0; c), or m (`at_any_level`): [B, C, *size]."""
        c = self.context
        if self.at_any_level:
            return c.estimate
        g = self._field(torch.zeros_like(c.estimate), torch.zeros(len(c.estimate), device=c.estimate.device), c)
        return c.estimate + c.scale * g

    def forward(self, x: Tensor) -> Tensor:
        c, variance = self.context, 1 + self.sigma(x) ** 2
        z = (x - c.estimate) / c.scale * c.hidden
        u, told, weight = self._scaled(z, self.sigma(x))
        tilt = u * self._field(u, told, c) * weight
        return (z.square() / (2 * variance) - tilt).flatten(1).sum(1)

    def _scaled(self, z: Tensor, tau: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the network is given of z, what tells it the level, and the weight of what it answers."""
        variance = 1 + tau**2
        if self.at_any_level:
            return z / variance.sqrt(), tau.log().flatten() / 4, 1 / tau
        return z / variance, 1 / variance.flatten(), variance.sqrt() / tau

    def features(self, x: Tensor) -> Tensor:
        """What the network's levels respond to x [B, C, *size]: means and largest values of every filter, [B, F]."""
        c = self.context
        u, told, _ = self._scaled((x - c.estimate) / c.scale * c.hidden, self.sigma(x))
        levels = self.net.encode(self._input(u, told, c))
        pooled = [pool for level in levels for pool in (level.mean((2, 3, 4)), level.amax((2, 3, 4)))]
        return torch.cat(pooled, 1).float()

    def _field(self, u: Tensor, told: Tensor, c: Context) -> Tensor:
        """g(u; c, tau) at the hidden elements; `told`, 1 / (1 + tau^2) or ln(tau) / 4, tells the network the level."""
        out = self.net(self._input(u, told, c))
        out = out[:, :, 0] if self.dims == 2 else out
        for axis, size in enumerate(u.shape[2:], 2):
            out = out.narrow(axis, 0, size)
        return out.to(u.dtype) * c.hidden

    def _input(self, u: Tensor, told: Tensor, c: Context) -> Tensor:
        """For the network, whose x has three axes of size: a picture is one frame."""
        level = told.expand(len(u)).view(-1, 1, *[1] * self.dims).expand(-1, 1, *u.shape[2:])
        seen = c.features().expand(len(u), *[-1] * (self.dims + 1))
        x = torch.cat([u, seen, level], 1)
        pads = [n for axis in range(1, self.dims + 1) for n in (0, -x.shape[-axis] % self._multiple[-axis])]
        x = F.pad(x, pads, mode="replicate") if any(pads) else x  # edges repeated to what the network needs
        return x[:, :, None] if self.dims == 2 else x


class AmortisedPosterior(Conditioned):
    """p(x | y) of a conditional energy that was told of y: a family over noise levels, and a mean in one pass."""

    energy: ConditionalEnergy

    def forward(self, x: Tensor) -> Tensor:
        """The energy alone, which was told of y: no misfit is added, also where y is noisy."""
        return self.energy(x)

    def posterior_mean(self) -> Tensor:
        """Amortised: what the network expects of x [B, *event] given y, moved to where A x = y.

        Where it was told signs, and others were in doubt, what y tells of these by itself is added to their odds.
        """
        context = self.energy.context
        mean = self.energy.posterior_mean().to(context.estimate.dtype)
        if isinstance(self.observation, Noisy) and self.energy.reference.reads_signs(self.observation):
            told = self.observation.observe(self.y) / self.observation.noise**2
            weighed = (mean.clamp(-SURE, SURE).atanh() + told).tanh()
            return torch.where(context.hidden, weighed, mean)
        return self.observation.project(mean, self.y)
