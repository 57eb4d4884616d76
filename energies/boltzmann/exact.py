"""log Z of small machines, by enumeration."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from energies.boltzmann.layers import Layers, Units

MOST = 20  # units that are enumerated
TOGETHER = 2**22  # numbers that are computed at once


def smallest_side(layers: Layers) -> int:
    """Units that have to be enumerated: those of the odd layers or of the even ones, whichever are fewer."""
    odd, even = _sides(layers)
    return min(odd, even)


def exact_log_z(layers: Layers) -> float:
    """log of the sum of exp(-E) over all units, in float64. ValueError: neither side has 20 units or fewer."""
    odd, even = _sides(layers)
    if min(odd, even) > MOST:
        raise ValueError(f"2^{min(odd, even)} states are too many to enumerate; {MOST} units at most")
    first = 1 if odd <= even else 0  # the layers that are enumerated
    num, total = min(odd, even), torch.tensor(-math.inf, dtype=torch.float64)
    step = max(1, TOGETHER // max(layers.sizes))
    for low in range(0, 2**num, step):
        codes = torch.arange(low, min(low + step, 2**num))
        bits = (codes[:, None] >> torch.arange(num) & 1).to(layers.biases[0])
        total = torch.logaddexp(total, _log_sum(layers, bits, first).double().logsumexp(0).cpu())
    return float(total)


def _sides(layers: Layers) -> tuple[int, int]:
    sizes = layers.sizes
    even = sum(sizes[0::2])
    return sum(sizes[1::2]), even if not layers.gaussian and layers.labels is None else even + MOST + 1


def _log_sum(layers: Layers, bits: Tensor, first: int) -> Tensor:
    """-log of the sum of exp(-E) over the other layers, negated: [B] of enumerated states bits [B, n]."""
    sizes = layers.sizes
    own = list(bits.split(sizes[first::2], 1))
    s = [own.pop(0) if layer % 2 == first else bits.new_zeros(len(bits), n) for layer, n in enumerate(sizes)]
    label = None if layers.labels is None else bits.new_zeros(len(bits), len(layers.labels.bias))
    units = Units(tuple(s), label)
    total = sum((s[layer] @ layers.biases[layer] for layer in range(first, len(s), 2)), bits.new_zeros(len(bits)))
    for layer in range(1 - first, len(s), 2):
        inputs = layers.inputs(layer, units)
        if layer == 0 and layers.gaussian:
            total = total + (inputs.square() / 2 + math.log(2 * math.pi) / 2).sum(1)
        else:
            total = total + F.softplus(inputs).sum(1)
    return total if layers.labels is None else total + layers.label_inputs(units).logsumexp(1)
