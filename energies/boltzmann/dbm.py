"""Deep Boltzmann machines: hidden units in several layers (Salakhutdinov & Hinton 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from energies.boltzmann.joint import Joint
from energies.boltzmann.latent import Visible
from energies.boltzmann.layers import Layers, Units
from energies.boltzmann.machine import Machine
from energies.boltzmann.rbm import RBM
from energies.samplers.state import Rng

ROUNDS = 25  # of mean field
FEW = 5  # of it in a step of learning


class DBM(Machine):
    """E(x) = min over mu of E(v, mu) - H(mu), the variational bound of the free energy of x, by mean field.

    -E(x) - log Z is a lower bound of log p(x), which is tight with one hidden layer. Even layers are drawn at once
    given odd ones, and these given even ones.

    Args:
        shape: of one x.
        hidden: units of each hidden layer, from x on.
        visible: binary or gaussian.
        places: for the machine as it was at times of its learning.
    """

    def __init__(
        self, shape: int | Sequence[int], hidden: Sequence[int], visible: Visible = "binary", places: int = 0
    ) -> None:
        super().__init__(shape, hidden, visible, 0, places)

    def forward(self, x: Tensor) -> Tensor:
        layers, v = self.layers(), self.units_of(x)
        means = layers.mean_field(v.detach(), ROUNDS)  # the bound is at its least there: no gradient goes through them
        return layers.bound(Units((v, *means.layers[1:])))

    def features(self, x: Tensor) -> Tensor:
        """Means [B, H_1 + H_2 + ...] of all hidden units given x, by mean field."""
        means = self.layers().mean_field(self.observed(x), ROUNDS)
        return torch.cat(means.layers[1:], 1)

    @torch.no_grad()
    def expected(self, x: Tensor, rng: Rng, layers: Layers) -> Units:
        """Means of all units given x [B, *event], by mean field."""
        return layers.mean_field(self.observed(x), FEW)

    def joint(self) -> Joint:
        """The energy of all units together, whose blocks a Gibbs sampler draws in turns."""
        return Joint(self)

    @torch.no_grad()
    def take(self, layer: int, part: RBM) -> None:
        """Weights between a layer and the next, and what is known of the latter, from a machine learned of the former.

        It was learned with `copies`, so that what both neighbours say of a layer adds up.
        """
        self.weights[layer].copy_(part.weights[0])
        self.biases[layer + 1].copy_(part.biases[1])
        self.offsets[layer + 1].copy_(part.offsets[1])
        if layer == 0:
            self.biases[0].copy_(part.biases[0])
            self.offsets[0].copy_(part.offsets[0])


def copies_of(layer: int, num: int) -> tuple[int, int]:
    """Copies of the visible and of the hidden units of the machine that is learned for the weights above a layer.

    Units between two others feel both, and learn from one of them twice (Salakhutdinov & Hinton 2009, section 3.1).

    Args:
        layer: 0 is x.
        num: hidden layers of the deep machine.
    """
    if num == 1:
        return 1, 1
    return 1 if layer == num - 1 else 2, 1 if layer == 0 else 2
