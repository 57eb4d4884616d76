"""Layers of units, each connected to its neighbours: energies, conditional odds and block Gibbs steps.

Units of a layer are independent given the neighbours, so even layers 0, 2, ... are drawn at once given odd ones, and
odd ones given even ones (Salakhutdinov & Hinton 2009). Nothing here needs a gradient; the machines that learn are in
`energies.boltzmann.machine`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from energies.samplers.state import Rng, normal, uniform


class Units(NamedTuple):
    """States of a machine: every layer [B, n_l], the visible one first, and one-hot labels [B, K], or None."""

    layers: tuple[Tensor, ...]
    label: Tensor | None = None


class Labels(NamedTuple):
    """A block of label units of which one is 1, beside the visible layer (Larochelle & Bengio 2008)."""

    weight: Tensor  # [K, n_1], to the first hidden layer
    bias: Tensor  # [K]


class Clamp(NamedTuple):
    """What is known of the visible units, [B or 1, V] each, and of the label.

    Attributes:
        hidden: bool, the units that are drawn; the others stay at `seen`.
        seen: their values; where a unit is hidden, of no matter.
        precision: 1 / variance of a noisy measurement of the drawn ones, or 0; None: there is none.
        measured: that measurement; None likewise.
        label: one-hot [B or 1, K] where the label is known; None: it is drawn.
    """

    hidden: Tensor | None = None
    seen: Tensor | None = None
    precision: Tensor | None = None
    measured: Tensor | None = None
    label: Tensor | None = None


@dataclass(frozen=True)
class Layers:
    """E(s) = -sum_l s_l.b_l - sum_l s_l W_l s_{l+1} - y.d - y U s_1, plus |s_0|^2 / 2 where s_0 is Gaussian.

    Units are 0 or 1, but for a Gaussian visible layer. With an inverse temperature beta below 1 it is the energy
    between a base machine without weights and this one, beta E + (1 - beta) E_base, E_base(s) = -s_0.a.

    Attributes:
        weights: W_l [n_l, n_{l+1}].
        biases: b_l [n_l], one more than there are weights.
        base: a [n_0].
        labels: U and d, or None.
        gaussian: whether s_0 is Gaussian, of variance 1 given s_1.
        beta: one, or one a row [B, 1].
        copies: of each layer, tied, that its neighbours feel, where a machine is learned to become part of a deeper one
            (Salakhutdinov & Hinton 2009, section 3.1); of no matter to energies. None: 1.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    base: Tensor
    labels: Labels | None = None
    gaussian: bool = False
    beta: float | Tensor = 1.0
    copies: tuple[int, ...] | None = None

    @property
    def sizes(self) -> list[int]:
        """Units of every layer."""
        return [len(bias) for bias in self.biases]

    def bias(self, layer: int) -> Tensor:
        """What the bias of a layer counts at beta: [n_l], or [B, n_l]."""
        bias = self.beta * self.biases[layer]
        return bias if layer else bias + (1 - self.beta) * self.base

    def inputs(self, layer: int, units: Units) -> Tensor:
        """Total input [B, n_l] of the units of a layer: their log-odds, or means, given all others."""
        s = units.layers
        total = None
        if layer:
            total = self._felt(layer - 1, _product(s[layer - 1], self.weights[layer - 1]))
        if layer < len(self.weights):
            above = self._felt(layer + 1, _product(s[layer + 1], self.weights[layer].mT))
            total = above if total is None else total + above
        assert total is not None
        if layer == 1 and self.labels is not None:
            assert units.label is not None
            total = total + _product(units.label, self.labels.weight)
        return total + self.biases[layer] if self.plain else self.beta * total + self.bias(layer)

    def cast(self, short: torch.dtype | None) -> Layers:
        """The machine with weights in a short number format, which products are then computed in; None: as it is."""
        return self if short is None else replace(self, weights=tuple(weight.to(short) for weight in self.weights))

    @property
    def plain(self) -> bool:
        """Whether it is the machine itself, at an inverse temperature of 1."""
        return isinstance(self.beta, float) and self.beta == 1

    def _felt(self, layer: int, inputs: Tensor) -> Tensor:
        return inputs if self.copies is None or self.copies[layer] == 1 else self.copies[layer] * inputs

    def label_inputs(self, units: Units) -> Tensor:
        """Logits [B, K] of the labels given the first hidden layer."""
        assert self.labels is not None
        return self.beta * (_product(units.layers[1], self.labels.weight.mT) + self.labels.bias)

    def energy(self, units: Units) -> Tensor:
        """E(s), [B]."""
        s = units.layers
        total = -torch.stack([_dot(s[layer], self.bias(layer)) for layer in range(len(s))]).sum(0)
        pairs = zip(s, self.weights, s[1:], strict=False)
        total = total - _row(self.beta) * sum((_product(low, weight) * high).sum(1) for low, weight, high in pairs)
        if self.labels is not None:
            assert units.label is not None
            felt = self.labels.bias + _product(s[1], self.labels.weight.mT)
            total = total - _row(self.beta) * (units.label * felt).sum(1)
        return total + s[0].square().sum(1) / 2 if self.gaussian else total

    def reduced_energy(self, units: Units) -> Tensor:
        """-log of the sum of exp(-E) over the odd layers, given the even ones and the label: [B].

        Of a machine with one hidden layer it is the free energy of v. Odd layers of `units` are not read.
        """
        s = units.layers
        total = -torch.stack([_dot(s[layer], self.bias(layer)) for layer in range(0, len(s), 2)]).sum(0)
        for layer in range(1, len(s), 2):
            total = total - F.softplus(self.inputs(layer, units)).sum(1)
        if self.labels is not None:
            assert units.label is not None
            total = total - _row(self.beta) * _dot(units.label, self.labels.bias)
        return total + s[0].square().sum(1) / 2 if self.gaussian else total

    def class_energies(self, v: Tensor) -> Tensor:
        """Free energy F(v, y) of v [B, V] with every label: [B, K]. For machines with one hidden layer."""
        assert self.labels is not None and len(self.weights) == 1
        plain = self.beta * (_product(v, self.weights[0]) + self.biases[1])
        each = [
            F.softplus(plain + self.beta * row).sum(1) + self.beta * bias
            for row, bias in zip(self.labels.weight, self.labels.bias, strict=True)
        ]
        total = -_dot(v, self.bias(0))[:, None] - torch.stack(each, 1)
        return total + v.square().sum(1, keepdim=True) / 2 if self.gaussian else total

    @torch.no_grad()
    def mean_field(self, v: Tensor, rounds: int) -> Units:
        """Means of independent hidden units that are nearest to their law given v [B, V], found in turns.

        With one hidden layer they are exact.
        """
        s = [v, *(v.new_full((len(v), n), 0.5) for n in self.sizes[1:])]
        for layer in range(1, len(s)):  # upwards, as long as nothing is known of what is above
            last = layer == len(s) - 1
            s[layer] = self.inputs(layer, Units(tuple(s))).sigmoid() if last else self._upwards(layer, s)
        if len(s) > 2:
            s = [v, *self._above(v)._settled(s[1:], rounds)]
        return Units(tuple(s))

    def _above(self, v: Tensor) -> Layers:
        """The machine of the hidden layers alone, given v: what the first feels of v is part of its bias."""
        felt = self._felt(0, _product(v, self.weights[0]))
        biases, base = (self.biases[1] + felt, *self.biases[2:]), torch.zeros_like(self.biases[1])
        copies = None if self.copies is None else self.copies[1:]
        return Layers(self.weights[1:], biases, base, beta=self.beta, copies=copies)

    def _settled(self, means: list[Tensor], rounds: int) -> list[Tensor]:
        """Means of all layers, each found by those of its neighbours, even and odd layers in turns."""
        for _ in range(rounds):
            for first in (0, 1):
                for layer in range(first, len(means), 2):
                    means[layer] = self.inputs(layer, Units(tuple(means))).sigmoid()
        return means

    def _upwards(self, layer: int, s: list[Tensor]) -> Tensor:
        """Means by twice what is felt from below, which stands for what is above."""
        felt = self._felt(layer - 1, _product(s[layer - 1], self.weights[layer - 1]))
        return (self.beta * 2 * felt + self.bias(layer)).sigmoid()

    def bound(self, units: Units) -> Tensor:
        """E(v, mu) - H(mu) of means mu of independent hidden units, [B]: no less than the free energy of v."""
        entropy = torch.stack([_entropy(mean).sum(1) for mean in units.layers[1:]]).sum(0)
        return self.energy(units) - entropy

    def draw_odd(self, units: Units, rng: Rng) -> Units:
        """Odd layers drawn given even ones and the label."""
        s = list(units.layers)
        for layer in range(1, len(s), 2):
            s[layer] = bernoulli(self.inputs(layer, units).sigmoid(), rng)
        return Units(tuple(s), units.label)

    def odd_means(self, units: Units) -> Units:
        """Odd layers in place of which their means stand, given even ones and the label."""
        s = units.layers
        means = [self.inputs(layer, units).sigmoid() if layer % 2 else s[layer] for layer in range(len(s))]
        return Units(tuple(means), units.label)

    def draw_even(self, units: Units, rng: Rng, clamp: Clamp | None = None) -> Units:
        """Even layers and the label drawn given odd ones; what is known of them stays."""
        s = list(units.layers)
        for layer in range(0, len(s), 2):
            inputs = self.inputs(layer, units)
            s[layer] = bernoulli(inputs.sigmoid(), rng) if layer else draw_visible(inputs, self.gaussian, rng, clamp)
        label = units.label
        if self.labels is not None:
            label = one_of(self.label_inputs(units), rng) if clamp is None or clamp.label is None else clamp.label
            label = label.expand(len(s[0]), -1)
        return Units(tuple(s), label)

    def sweep(self, units: Units, rng: Rng, clamp: Clamp | None = None) -> Units:
        """All units drawn once: odd layers given even ones, then even ones; it leaves exp(-E) invariant."""
        return self.draw_even(self.draw_odd(units, rng), rng, clamp)

    def base_log_z(self) -> float:
        """log Z at beta = 0, exactly."""
        visible = self.base.square() / 2 + math.log(2 * math.pi) / 2 if self.gaussian else F.softplus(self.base)
        classes = 0.0 if self.labels is None else math.log(len(self.labels.bias))
        return float(visible.double().sum()) + sum(self.sizes[1:]) * math.log(2) + classes

    def base_units(self, num: int, rng: torch.Generator) -> Units:
        """Exact samples at beta = 0."""
        inputs = self.base.expand(num, -1)
        v = inputs + normal(inputs, rng) if self.gaussian else bernoulli(inputs.sigmoid(), rng)
        hidden = [bernoulli((bias * 0).sigmoid().expand(num, -1), rng) for bias in self.biases[1:]]
        label = None if self.labels is None else one_of((self.labels.bias * 0).expand(num, -1), rng)
        return Units((v, *hidden), label)


def _product(s: Tensor, weight: Tensor) -> Tensor:
    """s W in the number format of s, also where matrix products are computed in a shorter one."""
    return (s.to(weight.dtype) @ weight).to(s.dtype)


def _entropy(mean: Tensor) -> Tensor:
    """Of units with these means, in nats."""
    return -torch.xlogy(mean, mean) - torch.xlogy(1 - mean, 1 - mean)


def _dot(s: Tensor, bias: Tensor) -> Tensor:
    return s @ bias if bias.ndim == 1 else (s * bias).sum(1)


def _row(beta: float | Tensor) -> float | Tensor:
    """[B] of one beta a row [B, 1]."""
    return beta[:, 0] if isinstance(beta, Tensor) else beta


def bernoulli(chance: Tensor, rng: Rng) -> Tensor:
    """Units of 0 and 1 with these chances."""
    return uniform(chance, rng).lt_(chance)


def draw_visible(inputs: Tensor, gaussian: bool, rng: Rng, clamp: Clamp | None) -> Tensor:
    """Visible units [B, V] given their log-odds, or means, and what is known of them."""
    if clamp is not None and clamp.precision is not None and clamp.measured is not None:
        if gaussian:
            spread = (1 + clamp.precision).rsqrt()
            v = (inputs + clamp.precision * clamp.measured) * spread**2 + normal(inputs, rng) * spread
        else:  # log N(y; 1, .) - log N(y; 0, .)
            v = bernoulli((inputs + clamp.precision * (clamp.measured - 0.5)).sigmoid(), rng)
    else:
        v = inputs + normal(inputs, rng) if gaussian else bernoulli(inputs.sigmoid(), rng)
    return held(v, clamp)


def held(v: Tensor, clamp: Clamp | None) -> Tensor:
    """Visible units [B, V], at what is seen of them."""
    if clamp is None or clamp.hidden is None or clamp.seen is None:
        return v
    return torch.where(clamp.hidden, v, clamp.seen)


def one_of(logits: Tensor, rng: Rng) -> Tensor:
    """One-hot draws [B, K] of logits [B, K]."""
    below = logits.softmax(1).cumsum(1) < uniform(logits[:, :1], rng)
    return F.one_hot(below.sum(1).clamp(max=logits.shape[1] - 1), logits.shape[1]).to(logits.dtype)
