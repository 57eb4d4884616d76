"""Ways from one x to another by way of x that are likely.

`slerp` and `lerp` go between two noises or two x. `between` goes between two x at a noise level, where the ways are
many, and `likeliest` picks from several such ways the frames that the energy doubts least, in short steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from energies.energy import gradient
from energies.family import Family
from energies.inversion import descend, rise
from energies.samplers.state import Rng, normal

PROBE = 0.1  # length, in units of the noise, of the step that tells how the slope changes


def lerp(first: Tensor, second: Tensor, shares: Tensor) -> Tensor:
    """Straight ways [B, T, *event] from one x [B, *event] to another, at shares [T] in [0, 1]."""
    return torch.lerp(first.unsqueeze(1), second.unsqueeze(1), shares.view(1, -1, *[1] * (first.ndim - 1)))


def slerp(first: Tensor, second: Tensor, shares: Tensor) -> Tensor:
    """Arcs [B, T, *event] from one noise [B, *event] to another (Shoemake 1985), at shares [T] in [0, 1].

    Half-way between independent noises the straight line is at 0.7 of their length, where no noise ever is; the arc
    keeps the length. Of noises along one line the arc is not defined, and the straight way is taken.
    """
    a, b = first.flatten(1), second.flatten(1)
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)
    angle = torch.acos(cosine.clamp(-1, 1)).unsqueeze(1)  # [B, 1]
    arc = torch.stack([torch.sin((1 - shares) * angle), torch.sin(shares * angle)]) / torch.sin(angle).clamp(min=1e-6)
    straight = torch.stack([1 - shares, shares]).unsqueeze(1)
    left, right = torch.where(torch.sin(angle) > 1e-3, arc, straight).unsqueeze(-1)  # [B, T, 1]
    return (left * a.unsqueeze(1) + right * b.unsqueeze(1)).unflatten(2, first.shape[1:])


def between(
    energy: Family, first: Tensor, second: Tensor, shares: Tensor, levels: Sequence[float], rng: Rng, rounds: int = 2
) -> Tensor:
    """Frames [B, T, *event] at shares [T] of a way between x [B, *event] in [-1, 1], one that ends at both.

    Both ends rise to the first of falling noise levels. There the x fade into each other and the noises that belong to
    them turn into each other; what comes down again has made up its mind.
    """
    top = levels[0]
    noise, other = ((rise(energy, x, levels, rng, rounds) - x) / top for x in (first, second))
    x = lerp(first, second, shares) + top * slerp(noise, other, shares)
    return descend(energy, x.flatten(0, 1), levels).clamp(-1, 1).unflatten(0, x.shape[:2])


def doubt(energy: Family, x: Tensor, level: float, rng: torch.Generator, draws: int = 2) -> Tensor:
    """[B]: by what factor the energy misses clean x [B, *event] in its own noise further than it expects to, less 1.

    With y = x + sigma noise, the energy's guess D(y) misses x by |D - x|^2, and by sigma^2 tr(dD/dy) in the mean over
    the x that it holds possible (Tweedie's formulas): about equal for x such as it learned, whatever their energy;
    blurred, doubled and broken ones are missed by more. The trace is Hutchinson's estimate. All x get the same noise.
    """
    missed = x.new_zeros(len(x))
    expected = x.new_zeros(len(x))
    at = energy.at(level)

    def slope_at(y: Tensor) -> Tensor:
        """In units of the levels."""
        slope = gradient(at, y)[1]
        return slope if energy.scale is None else energy.scale * slope

    for _ in range(draws):
        noise, probe = normal(x[:1], rng), normal(x[:1], rng).sign()
        y = energy.noised(x, noise, level)
        slope = slope_at(y)
        change = (slope_at(energy.noised(y, probe, PROBE * level)) - slope) / PROBE
        missed += (level * slope - noise).square().flatten(1).sum(1)
        expected += (probe * (probe - level * change)).flatten(1).sum(1)
    return missed / expected.clamp(min=draws) - 1


def likeliest(
    nodes: Tensor, places: Tensor, costs: Tensor, first: Tensor, second: Tensor, num: int, smoothness: float
) -> Tensor:
    """Which of the nodes, as rising indices into them [num], lie on the best way from first to second [*event].

    The best way has the least sum of costs and of its squared steps, these in units of the squared distance of the ends
    and times `smoothness`; it only goes forward in `places`. Found exactly, by dynamic programming (Viterbi 1967).

    Args:
        nodes: [M, *event].
        places: [M], of at least `num` different values.
        costs: [M].
        first, second: the ends.
        num: frames of the way, its ends not counted.
        smoothness: 0 or more.
    """
    flat, a, b = nodes.flatten(1), first.flatten(), second.flatten()
    unit = smoothness / (a - b).square().sum().clamp(min=1e-12)
    steps = unit * torch.cdist(flat, flat).square()
    steps = steps.masked_fill(places.unsqueeze(1) >= places, torch.inf)  # [from, to]
    best = costs + unit * (flat - a).square().sum(1)
    before = []
    for _ in range(num - 1):
        least, origin = (best.unsqueeze(1) + steps).min(0)
        before.append(origin)
        best = least + costs
    chosen = [(best + unit * (flat - b).square().sum(1)).argmin()]
    for origin in reversed(before):
        chosen.append(origin[chosen[-1]])
    return torch.stack(chosen[::-1])
