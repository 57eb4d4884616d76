"""Restricted Boltzmann machines: one hidden layer, whose units can be summed out exactly (Hinton 2002)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from energies.boltzmann.joint import Joint
from energies.boltzmann.latent import Visible
from energies.boltzmann.layers import Layers, Units, one_of
from energies.boltzmann.machine import Machine
from energies.samplers.state import Rng


class RBM(Machine):
    """F(x) = -v.b - sum_j softplus(c_j + (v W)_j), the free energy of x: exp(-F) is the machine's law of x, exactly.

    v are 0 or 1 where x is -1 or 1; Gaussian units add |v|^2 / 2 (Welling et al. 2005). With labels it is F(x, y) given
    one, and that of any label summed out without (Larochelle & Bengio 2008): `logits` tells them exactly.

    Args:
        shape: of one x.
        hidden: units of the hidden layer.
        visible: binary or gaussian.
        num_classes: of labels.
        places: for the machine as it was at times of its learning, a ladder for its chains.
    """

    def __init__(
        self, shape: int | Sequence[int], hidden: int, visible: Visible = "binary", num_classes: int = 0,
        places: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(shape, [hidden], visible, num_classes, places)

    def forward(self, x: Tensor) -> Tensor:
        layers, v = self.layers(), self.units_of(x)
        if not self.num_classes:
            return layers.reduced_energy(Units((v, v)))
        label = self.known_label()
        if label is not None:
            return layers.reduced_energy(Units((v, v), label.to(x.dtype).expand(len(x), -1)))
        each = layers.class_energies(v)
        every = torch.cat([each, -(-each).logsumexp(1, keepdim=True)], 1)
        return every.gather(1, self.codes(x).expand(len(x))[:, None])[:, 0]

    def logits(self, x: Tensor) -> Tensor:
        """Logits [B, K] of p(y | x), exactly: -F(x, y)."""
        return -self.layers().class_energies(self.units_of(x))

    def features(self, x: Tensor) -> Tensor:
        """Chances [B, H] of the hidden units given x, whatever its label."""
        layers, v = self.layers(), self.observed(x)
        if not self.num_classes:
            return layers.inputs(1, Units((v, v))).sigmoid()
        chance = (-layers.class_energies(v)).softmax(1)
        every = torch.eye(self.num_classes, dtype=v.dtype, device=v.device)
        given = (layers.inputs(1, Units((v, v), label.expand(len(v), -1))).sigmoid() for label in every)
        return sum((chance[:, k, None] * h for k, h in enumerate(given)), v.new_zeros(()))

    @torch.no_grad()
    def expected(self, x: Tensor, rng: Rng, layers: Layers) -> Units:
        """Means of all units given x [B, *event] and the bound labels; a label that is not known is drawn first."""
        v, label = self.observed(x), None
        if self.num_classes:
            label = one_of(-layers.class_energies(v), rng)
            if self.label is not None:
                known = torch.eye(self.num_classes + 1, dtype=v.dtype, device=v.device)[self.codes(x)]
                label = torch.where(known[:, -1:] > 0, label, known[:, :-1])
        return Units((v, layers.inputs(1, Units((v, v), label)).sigmoid()), label)

    def joint(self) -> Joint:
        """The energy of all units together, whose blocks a Gibbs sampler draws in turns."""
        return Joint(self)
