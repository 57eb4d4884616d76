"""log Z along a ladder of machines, by Bennett's acceptance ratio between neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from energies.boltzmann.ladder import sweep
from energies.boltzmann.layers import Layers

ROUNDS = 100  # of the equation of Bennett's ratio, which is found by halving an interval


def ladder_log_z(rungs: Sequence[Layers], rng: torch.Generator, *, chains: int, sweeps: int) -> tuple[Tensor, Tensor]:
    """log Z of every rung, float64 [R], and the shares of exchanges between neighbours [R - 1].

    Args:
        rungs: neighbours with laws that overlap, the last one at beta = 0, whose log Z is known.
        rng: one stream for all.
        chains: on every rung.
        sweeps: of each chain; the first half is not counted.
    """
    states = [rungs[-1].base_units(chains, rng) for _ in rungs]
    work: list[list[tuple[Tensor, Tensor]]] = [[] for _ in rungs[1:]]
    shares = []
    for number in range(sweeps):
        states, exchanged = sweep(rungs, states, rng, number % 2)
        shares.append(exchanged)
        for low in range(len(rungs) - 1) if number >= sweeps // 2 else ():
            a, b, x, y = rungs[low], rungs[low + 1], states[low], states[low + 1]
            up, down = b.reduced_energy(y) - a.reduced_energy(y), a.reduced_energy(x) - b.reduced_energy(x)
            work[low].append((up.double(), down.double()))
    log_z = [rungs[-1].base_log_z()]
    for low in reversed(range(len(rungs) - 1)):
        up, down = (torch.cat(values) for values in zip(*work[low], strict=True))
        log_z.append(log_z[-1] + bennett(up, down))
    return torch.tensor(log_z[::-1], dtype=torch.float64), torch.stack(shares).nanmean(0)


def bennett(up: Tensor, down: Tensor) -> float:
    """log Z_a - log Z_b of E_b - E_a over samples of b, `up` [n], and E_a - E_b over samples of a, `down` [m].

    The value c at which sum sigmoid(up - c + log m / n) = sum sigmoid(down + c - log m / n) (Bennett 1976).
    """
    shift = torch.tensor(len(down) / len(up), dtype=torch.float64).log()
    values = torch.cat([up, -down])
    low, high = values.min() - 50, values.max() + 50
    for _ in range(ROUNDS):
        c = (low + high) / 2
        excess = (up - c + shift).sigmoid().sum() - (down + c - shift).sigmoid().sum()
        low, high = (c, high) if excess > 0 else (low, c)
    return float((low + high) / 2)
