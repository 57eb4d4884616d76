"""What no score may take for data: noise, and what is left of data when they are averaged or mixed up.

A score beside which noise does as well as data says nothing of samples, and then none is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

MIXED = 8  # x that are averaged, at most
PASSED = 0.5  # share of what data reach that a floor may reach, at most


def noise(x: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """[num, *shape]: even noise in [-1, 1]; of x of two values such noise as often set as x are."""
    drawn = torch.rand(num, *x.shape[1:], generator=rng)
    if bool((x.abs() == 1).all()):
        return (drawn < (x > 0).float().mean()).float() * 2 - 1
    return drawn * 2 - 1


def averages(x: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """[num, *shape]: means of 2 to MIXED of x, each other ones; of two values the likeliest, as often set as x are."""
    rows = torch.randint(len(x), (num, MIXED), generator=rng)
    used = torch.arange(MIXED) < torch.randint(2, MIXED + 1, (num, 1), generator=rng)
    weights = (used / used.sum(1, keepdim=True)).view(num, MIXED, *[1] * (x.ndim - 1))
    mixed = torch.cat([(x[r] * w).sum(1) for r, w in zip(rows.split(64), weights.split(64), strict=True)])
    if not bool((x.abs() == 1).all()):
        return mixed
    flat = mixed.flatten(1) + 1e-3 * torch.rand(num, x[0].numel(), generator=rng)  # of as likely ones some
    rank = flat.argsort(1, descending=True).argsort(1)
    return (rank < round(float((x > 0).float().mean()) * flat.shape[1])).view_as(mixed).float() * 2 - 1


def shuffled(x: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """[num, C, H, W]: some of the pictures x, the pixels of each in another order."""
    flat = x[torch.randint(len(x), (num,), generator=rng)].flatten(2)
    order = torch.rand(num, 1, flat.shape[2], generator=rng).argsort(2)
    return flat.gather(2, order.expand_as(flat)).view(num, *x.shape[1:])


def random_phase(x: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """[num, C, H, W]: some of the pictures x, each with its colours and spectrum, and the phases of noise."""
    chosen = x[torch.randint(len(x), (num,), generator=rng)]
    mean = chosen.mean((2, 3), keepdim=True)
    phase = torch.fft.rfft2(torch.randn(num, 1, *x.shape[2:], generator=rng))
    turned = torch.fft.rfft2(chosen - mean) * phase / phase.abs().clamp(min=1e-12)
    return (mean + torch.fft.irfft2(turned, s=x.shape[2:])).clamp(-1, 1)


def blurred(x: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """[num, C, H, W]: some of the pictures x, an eighth as fine, but 2 pixels a side at least."""
    size = list(x.shape[2:])
    chosen = x[torch.randint(len(x), (num,), generator=rng)]
    small = F.interpolate(chosen, [max(2, side // 8) for side in size], mode="area")
    return F.interpolate(small, size, mode="bilinear").clamp(-1, 1)


PICTURES = {
    "noise": noise, "averages": averages, "shuffled": shuffled, "random phase": random_phase, "blurred": blurred,
}  # fmt: skip
"""Of pictures: what a judge learns to tell from data."""


def refusal(found: Mapping[str, Any], name: str, title: str) -> str | None:
    """Why a share, the more the better, judges nothing; None: it does. `found`: its rows real, noise and averages."""
    data = found["real"][name]
    for floor in ("noise", "averages"):
        reached = found[floor][name]
        if reached >= PASSED * data:
            words = {"noise": "noise", "averages": "averages of data"}[floor]
            return f"{title} is {reached:.2f} of {words} where it is {data:.2f} of data: it tells nothing"
    return None
