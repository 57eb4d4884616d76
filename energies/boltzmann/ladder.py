"""Ladders of machines whose chains exchange places: by inverse temperature, or along the machine's own learning.

The rungs of parallel tempering are the machine at inverse temperatures down to 0 (Desjardins et al. 2010). Those of
parallel trajectory tempering are the machine as it was at earlier times of its learning: where it learns new modes from
the ones that it had, its past is a ladder over which chains cross (Bereux et al. 2024). The last rung is the base
without weights, of which samples are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from energies.boltzmann.layers import Clamp, Layers, Units
from energies.samplers.state import Rng, uniform


def by_temperature(layers: Layers, num: int) -> list[Layers]:
    """`num` rungs, the machine first, at inverse temperatures evenly down to 0; 1: the machine alone."""
    return [replace(layers, beta=1 - k / max(num - 1, 1)) for k in range(num)]


def sweep(
    rungs: Sequence[Layers], states: list[Units], rng: Rng, first: int, clamp: Clamp | None = None
) -> tuple[list[Units], Tensor]:
    """All units of every rung drawn once, then states of neighbours exchanged, of the pairs first, first + 2, ...

    Args:
        rungs: R machines with the same units.
        states: of as many chains each; their odd layers are drawn first.
        rng: a stream; every rung takes its numbers from it in turn.
        first: 0 and 1 in turns.
        clamp: what is known, of every rung.

    Returns:
        the states, whose odd layers are to be drawn before they are read, and which pairs exchanged, [R - 1, B]: 1
        or 0, NaN where it was not a pair's turn.
    """
    states = [layers.sweep(units, rng, clamp) for layers, units in zip(rungs, states, strict=True)]
    exchanged = states[0].layers[0].new_full((len(rungs) - 1, len(states[0].layers[0])), torch.nan)
    for low in range(first, len(rungs) - 1, 2):
        states[low], states[low + 1], exchanged[low] = _exchanged(rungs[low : low + 2], states[low : low + 2], rng)
    return states, exchanged


def risen(rungs: Sequence[Layers], states: list[Units], rng: Rng, sweeps: int) -> tuple[list[Units], Tensor]:
    """States after so many sweeps, and the share of the chains that came up to the first rung from the last one.

    Samples of the last rung are exact: what came up from there has forgotten where it began.

    Args:
        rungs, states, rng: as of `sweep`; the last rung is the base.
        sweeps: 0: none.
    """
    fresh = torch.zeros(len(rungs), len(states[0].layers[0]), dtype=torch.bool, device=states[0].layers[0].device)
    for number in range(sweeps):
        fresh[-1] = True
        states, exchanged = sweep(rungs, states, rng, number % 2)
        for low, flags in enumerate(exchanged):
            if not flags.isnan().any():
                pair = fresh[low : low + 2]
                fresh[low : low + 2] = torch.where(flags.bool(), pair.flip(0), pair)
    return states, fresh[0].float().mean()


def _exchanged(rungs: Sequence[Layers], states: Sequence[Units], rng: Rng) -> tuple[Units, Units, Tensor]:
    """Even layers and labels of two rungs, exchanged with the chance that keeps both laws; and which were, [B]."""
    (a, b), (x, y) = rungs, states
    log_ratio = a.reduced_energy(x) + b.reduced_energy(y) - a.reduced_energy(y) - b.reduced_energy(x)
    accepted = uniform(log_ratio, rng).log() < log_ratio
    return _chosen(accepted, y, x), _chosen(accepted, x, y), accepted


def _chosen(flags: Tensor, new: Units, old: Units) -> Units:
    rows = flags[:, None]
    layers = tuple(torch.where(rows, n, o) for n, o in zip(new.layers, old.layers, strict=True))
    label = None if new.label is None or old.label is None else torch.where(rows, new.label, old.label)
    return Units(layers, label)


def packed(states: Sequence[Units]) -> Tensor:
    """States of all rungs as one tensor [R B, units], rung by rung."""
    return torch.cat([torch.cat([*s.layers, *([] if s.label is None else [s.label])], 1) for s in states])


def unpacked(x: Tensor, sizes: Sequence[int], num_classes: int, num: int) -> list[Units]:
    """States of `num` rungs, back from `packed`."""
    states = []
    for rung in x.chunk(num):
        *layers, label = rung.split([*sizes, num_classes], 1)
        states.append(Units(tuple(layers), label if num_classes else None))
    return states
