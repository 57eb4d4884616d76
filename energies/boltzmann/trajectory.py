"""log Z along a ladder of machines, by Bennett's acceptance ratio between neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from energies.boltzmann.ladder import sweep
from energies.boltzmann.layers import Layers

GROUPS = 20  # of chains, whose estimates tell the standard error
ROUNDS = 100  # of the equation of Bennett's ratio, which is found by halving an interval


def ladder_log_z(
    rungs: Sequence[Layers], rng: torch.Generator, *, chains: int, sweeps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """log Z of every rung, float64 [R], their standard errors [R], and the shares of exchanges between neighbours
    [R - 1].

    Args:
        rungs: neighbours with laws that overlap, the last one at beta = 0, whose log Z is known.
        rng: one stream for all.
        chains: on every rung, 2 or more; the k-th ones of all rungs are a ladder that is independent of the others.
        sweeps: of each chain; the first half is not counted.
    """
    states = [rungs[-1].base_units(chains, rng) for _ in rungs]
    work: list[list[Tensor]] = [[] for _ in rungs[1:]]
    exchanges = []
    for number in range(sweeps):
        states, exchanged = sweep(rungs, states, rng, number % 2)
        exchanges.append(exchanged)
        for low in range(len(rungs) - 1) if number >= sweeps // 2 else ():
            a, b, x, y = rungs[low], rungs[low + 1], states[low], states[low + 1]
            up, down = b.reduced_energy(y) - a.reduced_energy(y), a.reduced_energy(x) - b.reduced_energy(x)
            work[low].append(torch.stack([up.double(), down.double()]))
    pairs = [torch.stack(values, 1) for values in work]  # [2, sweeps, chains] of every two neighbours
    parts = [pair.tensor_split(min(GROUPS, chains), 2) for pair in pairs]
    groups = torch.stack([_sums(part) for part in zip(*parts, strict=True)])
    errors = groups.std(0) / len(groups) ** 0.5
    return _sums(pairs) + rungs[-1].base_log_z(), errors, torch.stack(exchanges).nanmean((0, 2))


def _sums(pairs: Sequence[Tensor]) -> Tensor:
    """log Z of every rung but for that of the last, [R], by what neighbours differ, [2, sweeps, chains] each."""
    steps = [bennett(*pair.flatten(1)) for pair in pairs]
    return torch.tensor([*steps, 0.0], dtype=torch.float64).flip(0).cumsum(0).flip(0)


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
