"""The Helmholtz machine: a belief network that makes x, and one that recognises its causes (Dayan et al. 1995)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from energies.boltzmann.latent import Latent, Visible
from energies.boltzmann.layers import Clamp, Units, bernoulli, draw_visible, held
from energies.boltzmann.machine import START
from energies.samplers.state import Rng, uniform

SEED = 0  # of the numbers that the energy is estimated with: always the same, so that it is a function of x


class Helmholtz(Latent):
    """E(x) = -log of the mean of p(x, h) / q(h | x) over samples h of q: an estimate of -log p(x), too high on average.

    p(x, h) goes down from the top layer, layer by layer, q(h | x) up from x; the units of a layer are independent given
    the layer before. p is normalised: log Z is 0. Samples of x are exact, by going down once; given part of x, causes
    are resampled among guesses of q (particle Gibbs, Andrieu et al. 2010).

    Args:
        shape: of one x.
        hidden: units of each hidden layer, from x on.
        visible: binary, or gaussian of variance 1 once x is standardised.
        particles: samples of q that the energy, and a step given part of x, take.
    """

    def __init__(
        self, shape: int | Sequence[int], hidden: Sequence[int], visible: Visible = "binary", particles: int = 16
    ) -> None:
        super().__init__(shape, visible, 0)
        if not hidden or min(hidden) < 1 or particles < 1:
            raise ValueError(f"hidden and particles must be 1 or more, got {list(hidden)} and {particles}")
        self.sizes, self.particles = [self.num_visible, *hidden], particles
        pairs = list(pairwise(self.sizes))
        self.down = nn.ParameterList([torch.randn(above, below) * START for below, above in pairs])
        self.up = nn.ParameterList([torch.randn(below, above) * START for below, above in pairs])
        self.made = nn.ParameterList([torch.zeros(size) for size in self.sizes])
        self.recognised = nn.ParameterList([torch.zeros(size) for size in hidden])

    def take_chances(self, chance: Tensor) -> None:
        """For first biases."""
        self.made[0].copy_(chance.logit())

    def log_joint(self, units: Units) -> Tensor:
        """log p(v, h) of units [..., n_l], density of x where it is Gaussian: [...]."""
        s = units.layers
        total = -_cost(self.made[-1].expand_as(s[-1]), s[-1])
        for layer in range(len(s) - 2, 0, -1):
            total = total - _cost(s[layer + 1] @ self.down[layer] + self.made[layer], s[layer])
        inputs = s[1] @ self.down[0] + self.made[0]
        if self.visible == "binary":
            return total - _cost(inputs, s[0].expand_as(inputs))
        constant = self.num_visible * math.log(2 * math.pi) / 2 + self.log_volume
        return total - (s[0] - inputs).square().sum(-1) / 2 - constant

    def log_recognition(self, units: Units) -> Tensor:
        """log q(h | v), likewise."""
        s, total = units.layers, None
        for layer, (weight, bias) in enumerate(zip(self.up, self.recognised, strict=True)):
            cost = _cost((s[layer] @ weight + bias).expand_as(s[layer + 1]), s[layer + 1])
            total = -cost if total is None else total - cost
        assert total is not None
        return total

    def forward(self, x: Tensor) -> Tensor:
        v = self.units_of(x)
        rng = torch.Generator(v.device).manual_seed(SEED)
        draws = [
            torch.rand(self.particles, 1, n, generator=rng, device=v.device, dtype=torch.float64).to(v.dtype)
            for n in self.sizes[1:]
        ]
        units = self._recognised(v[None], draws)
        weights = self.log_joint(units) - self.log_recognition(units)  # [K, B]
        return math.log(self.particles) - weights.logsumexp(0)

    def with_particles(self, num: int) -> Helmholtz:
        """The same machine with an estimate of so many samples of q."""
        other = copy.copy(self)
        other.__dict__ |= {"particles": num, "_arguments": {**self.arguments, "particles": num}}
        return other

    @torch.no_grad()
    def guesses(self, v: Tensor, num: int, rng: Rng) -> Units:
        """`num` samples of q(h | v) for each v [B, V]: units [K, B, n_l], v [1, B, V] first."""
        draws = [uniform(v.new_empty(len(v), num, n), rng).movedim(1, 0) for n in self.sizes[1:]]
        return self._recognised(v[None], draws)

    @torch.no_grad()
    def fantasies(self, num: int, rng: Rng) -> Units:
        """`num` exact samples of p, all units [num, n_l]."""
        return self._down(self.made[-1].new_empty(num, 1), rng, None)

    def _recognised(self, v: Tensor, draws: Sequence[Tensor]) -> Units:
        """Going up from v by uniform numbers [K, B or 1, n_l]; no gradient goes through the units."""
        s = [v]
        with torch.no_grad():
            for weight, bias, draw in zip(self.up, self.recognised, draws, strict=True):
                s.append((draw < (s[-1] @ weight + bias).sigmoid()).to(v.dtype))
        return Units(tuple(s))

    def _down(self, like: Tensor, rng: Rng, clamp: Clamp | None) -> Units:
        """Going down from the top for as many x as there are rows."""
        s = bernoulli(self.made[-1].sigmoid().expand(len(like), -1), rng)
        states = [s]
        for layer in range(len(self.down) - 1, 0, -1):
            s = bernoulli((s @ self.down[layer] + self.made[layer]).sigmoid(), rng)
            states.append(s)
        states.append(self._visible(s, rng, clamp))
        return Units(tuple(reversed(states)))

    def _visible(self, s: Tensor, rng: Rng, clamp: Clamp | None) -> Tensor:
        return draw_visible(s @ self.down[0] + self.made[0], self.visible == "gaussian", rng, clamp)

    # ----------------------------------------------------------------------------------------- chains

    @torch.no_grad()
    def begin(self, x: Tensor, rng: Rng, clamp: Clamp | None) -> Units:
        v = held(self.observed(x), clamp)
        return Units(tuple(s[0] for s in self.guesses(v, 1, rng).layers))

    @torch.no_grad()
    def move(self, state: Units, rng: Rng, clamp: Clamp | None, beta: float = 1.0) -> Units:
        """An exact sample where nothing is known; else causes among guesses and those that were, and x given them."""
        if clamp is None or (clamp.hidden is None and clamp.precision is None):
            return self._down(state.layers[0], rng, None)
        v = state.layers[0]
        guesses = self.guesses(v, self.particles, rng).layers[1:]
        every = [torch.cat([own[None], guess]) for own, guess in zip(state.layers[1:], guesses, strict=True)]
        units = Units((v[None], *every))
        weights = (self.log_joint(units) - self.log_recognition(units)).mT  # [B, K + 1]
        chosen = (weights.softmax(1).cumsum(1) < uniform(weights[:, :1], rng)).sum(1).clamp(max=self.particles)
        hidden = [s[chosen, torch.arange(len(v), device=v.device)] for s in every]
        return Units((self._visible(hidden[0], rng, clamp), *hidden))

    def features(self, x: Tensor) -> Tensor:
        """Chances [B, H_1 + ...] of the hidden units by q, each layer given the means of the one below."""
        s = [self.observed(x)]
        for weight, bias in zip(self.up, self.recognised, strict=True):
            s.append((s[-1] @ weight + bias).sigmoid())
        return torch.cat(s[1:], 1)


def _cost(inputs: Tensor, s: Tensor) -> Tensor:
    """-log of the chance of units s [..., n] with these log-odds, summed over them: [...]."""
    return (F.softplus(inputs) - s * inputs).sum(-1)
