"""Layered Boltzmann machines that learn: weights, centred parameters, and chains of all their units."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from energies.boltzmann.latent import Latent, Visible
from energies.boltzmann.layers import Clamp, Labels, Layers, Units, held
from energies.samplers.state import Rng, uniform

START = 0.01  # standard deviation of the first weights


class Machine(Latent):
    """Base of layered machines, E(s) as in `Layers`.

    Weights and biases are kept in centred form, E(s) = -sum_l (s_l - o_l).b_l - sum_l (s_l - o_l) W_l (s_{l+1} -
    o_{l+1}), whose plain gradient is the centred, or enhanced, one (Cho et al. 2011; Montavon & Mueller 2012; Melchior
    et al. 2016); `layers` gives the same machine with plain biases. The offsets o are the means of the units.

    Args:
        shape: of one x.
        hidden: units of each hidden layer.
        visible: binary or gaussian.
        num_classes: of labels, a block of units beside x.
        places: for the machine as it was at times of its learning, a ladder for its chains.
    """

    copies: tuple[int, ...] | None = None
    """Of `Layers`, while it is learned to become part of a deeper machine."""

    def __init__(
        self, shape: int | Sequence[int], hidden: Sequence[int], visible: Visible = "binary", num_classes: int = 0,
        places: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(shape, visible, num_classes)
        if not hidden or min(hidden) < 1:
            raise ValueError(f"hidden must be 1 or more units a layer, got {list(hidden)}")
        sizes = [self.num_visible, *hidden]
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList([torch.randn(below, above) * START for below, above in pairs])
        self.biases = nn.ParameterList([torch.zeros(size) for size in sizes])
        binary = [visible == "binary", *(True for _ in hidden)]
        for layer, (size, is_binary) in enumerate(zip(sizes, binary, strict=True)):
            self.register_buffer(f"offset_{layer}", torch.full((size,), 0.5 if is_binary else 0.0))
        self.base: Tensor
        self.register_buffer("base", torch.zeros(sizes[0]))
        self.memory: Tensor
        self.remembered: Tensor
        self.exchanged: Tensor
        numbers = sum(sizes) + sum(low * high for low, high in pairs) + num_classes * (sizes[1] + 1)
        self.register_buffer("memory", torch.zeros(places, numbers))
        self.progress: Tensor
        self.register_buffer("progress", torch.zeros(places))
        self.register_buffer("remembered", torch.zeros(()))
        self.register_buffer("exchanged", torch.ones(()))
        if num_classes:
            self.label_weight = nn.Parameter(torch.randn(num_classes, sizes[1]) * START)
            self.label_bias = nn.Parameter(torch.zeros(num_classes))
            self.label_offset: Tensor
            self.register_buffer("label_offset", torch.full((num_classes,), 1 / num_classes))

    @property
    def sizes(self) -> list[int]:
        """Units of every layer."""
        return [len(bias) for bias in self.biases]

    @property
    def offsets(self) -> list[Tensor]:
        """o_l of every layer, buffers."""
        return [self.get_buffer(f"offset_{layer}") for layer in range(len(self.biases))]

    def layers(self) -> Layers:
        """The machine with plain weights and biases, of which gradients reach the parameters."""
        weights, o = list(self.weights), self.offsets
        biases = list(self.biases)
        for layer, weight in enumerate(weights):
            low, high = (1, 1) if self.copies is None else self.copies[layer : layer + 2]
            biases[layer] = biases[layer] - high * (weight @ o[layer + 1])
            biases[layer + 1] = biases[layer + 1] - low * (o[layer] @ weight)
        labels = None
        if self.num_classes:
            biases[1] = biases[1] - self.label_offset @ self.label_weight
            labels = Labels(self.label_weight, self.label_bias - self.label_weight @ o[1])
        gaussian = self.visible == "gaussian"
        return Layers(tuple(weights), tuple(biases), self.base, labels, gaussian, copies=self.copies)

    def take_chances(self, chance: Tensor) -> None:
        """For first biases and offsets, and for the base of annealing."""
        self.get_buffer("offset_0").copy_(chance)
        self.biases[0].copy_(chance.logit())
        self.base.copy_(chance.logit())

    @torch.no_grad()
    def recentre(self, means: Sequence[Tensor], rate: float) -> None:
        """Move the offsets of hidden layers towards means [n_l]; the law of the units stays as it is."""
        o = self.offsets
        for layer, mean in enumerate(means, 1):
            change = rate * (mean - o[layer])
            here = 1 if self.copies is None else self.copies[layer]
            self.biases[layer - 1] += here * (self.weights[layer - 1] @ change)
            if layer < len(self.weights):
                self.biases[layer + 1] += here * (change @ self.weights[layer])
            if layer == 1 and self.num_classes:
                self.label_bias += self.label_weight @ change
            o[layer] += change

    @torch.no_grad()
    def remember(self, progress: float) -> None:
        """Put the machine as it is first among those of its past, at a share of its learning. ValueError: no place is
        left."""
        num = self.num_past
        if num == len(self.memory):
            raise ValueError(f"all {num} places for earlier machines are taken")
        layers = self.layers()
        parts = [*layers.weights, *layers.biases, *(layers.labels or ())]
        self.memory[1 : num + 1] = self.memory[:num].clone()
        self.memory[0] = torch.cat([part.flatten() for part in parts])
        self.progress[1 : num + 1] = self.progress[:num].clone()
        self.progress[0] = progress
        self.remembered.add_(1)

    @property
    def num_past(self) -> int:
        """Machines of its past that it keeps."""
        return int(self.remembered)

    @torch.no_grad()
    def past(self) -> list[Layers]:
        """The machines of its past, the last first."""
        layers, found = self.layers(), []
        shapes = [part.shape for part in (*layers.weights, *layers.biases, *(layers.labels or ()))]
        for row in self.memory[: self.num_past]:
            parts = [p.view(shape) for p, shape in zip(row.split([s.numel() for s in shapes]), shapes, strict=True)]
            num = len(layers.weights)
            labels = Labels(*parts[-2:]) if layers.labels is not None else None
            found.append(
                replace(layers, weights=tuple(parts[:num]), biases=tuple(parts[num : 2 * num + 1]), labels=labels)
            )
        return found

    @torch.no_grad()
    def contrast(self, data: Units, chains: Units, short: torch.dtype | None = None) -> dict[str, Tensor]:
        """The gradient of mean E(data) - mean E(chains) in the parameters, by name.

        Args:
            data: units or their means given data; the labels likewise.
            chains: likewise of the model.
            short: number format of the products; None: that of the units.
        """
        low, high, o = [s.mean(0) for s in data.layers], [s.mean(0) for s in chains.layers], self.offsets
        change = [a - b for a, b in zip(low, high, strict=True)]
        found = {f"biases.{layer}": -part for layer, part in enumerate(change)}
        for layer in range(len(self.weights)):
            two = slice(layer, layer + 2)
            found[f"weights.{layer}"] = _slope(data.layers[two], chains.layers[two], change[two], o[two], short)
        if self.num_classes:
            assert data.label is not None and chains.label is not None
            labels = data.label.mean(0) - chains.label.mean(0)
            ends, others = (data.label, data.layers[1]), (chains.label, chains.layers[1])
            found["label_bias"] = -labels
            found["label_weight"] = _slope(ends, others, [labels, change[1]], [self.label_offset, o[1]], short)
        return found

    @abstractmethod
    def expected(self, x: Tensor, rng: Rng, layers: Layers) -> Units:
        """Means of all units given x [B, *event] and the bound labels, without a gradient; other labels are drawn.

        layers: what `layers` gives.
        """

    # ----------------------------------------------------------------------------------------- chains

    @torch.no_grad()
    def begin(self, x: Tensor, rng: Rng, clamp: Clamp | None) -> Units:
        """Hidden units at random where they hang on others that are not known yet, then drawn once."""
        v, layers = self.observed(x), self.layers()
        hidden = [(uniform(v.new_empty(len(v), n), rng) < 0.5).to(v.dtype) for n in self.sizes[1:]]
        label = None
        if self.num_classes:
            known = None if clamp is None else clamp.label
            chance = v.new_full((len(v), self.num_classes), 1 / self.num_classes)
            label = chance if known is None else known.to(v).expand(len(v), -1)
        units = layers.draw_odd(Units((v, *hidden), label), rng)
        return Units((held(v, clamp), *units.layers[1:]), units.label)

    @torch.no_grad()
    def move(self, state: Units, rng: Rng, clamp: Clamp | None, beta: float = 1.0) -> Units:
        return replace(self.layers(), beta=beta).sweep(state, rng, clamp)


def _slope(
    data: Sequence[Tensor], chains: Sequence[Tensor], change: Sequence[Tensor], offsets: Sequence[Tensor],
    short: torch.dtype | None,
) -> Tensor:  # fmt: skip
    """Minus the mean of (low - o) (high - o)^T over data, less that over chains, [n_low, n_high], by one product.

    Args:
        data, chains: units of two layers, [B, n] each.
        change: of their means, from chains to data.
        offsets: o of both.
        short: number format of the product, or None.
    """
    low = torch.cat([data[0].to(short), chains[0].to(short)])
    high = torch.cat([(data[1] / -len(data[1])).to(short), (chains[1] / len(chains[1])).to(short)])
    found = (low.mT @ high).to(offsets[0].dtype)
    return found.addmm_(torch.stack([offsets[0], change[0]], 1), torch.stack([change[1], offsets[1]]))
