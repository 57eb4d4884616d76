"""What judges a recovery whose truth is unknown: seen elements that are held out, as like what is hidden as can be.

The mask is moved to other places, where the truth is seen. What an energy expects there is scored beside simple methods
that are given the same; nothing behind the mask itself is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from energies import Hidden, Noisy, Observation
from pipelines.examples import Examples
from pipelines.modalities.base import Modality
from pipelines.sampling.posterior import Seen
from pipelines.stage import Run

COPIES = 8  # of masks, in all
TRIES = 40  # moves of a mask that are compared
MOST = 0.5  # share of what is seen that is held out, at most
TELLING = 0.5  # how much held-out elements vary, at least, in units of what all that is seen does


@dataclass(frozen=True, eq=False)
class Trial:
    """The recovery of what is held out.

    Attributes:
        seen: what is left to see, a row for each copy of a mask.
        truth: what is measured, [n, *shape], 0 where nothing is.
        where: held-out elements, bool [n, 1, *size].
        hidden: elements that the measurement hides, likewise.
    """

    seen: Seen
    truth: Tensor
    where: Tensor
    hidden: Tensor

    def score(self, x: Tensor, modality: Modality) -> dict[str, float]:
        """How good x [n, *shape], decided, is on the held-out elements."""
        return modality.score(torch.where(self.hidden, 0.0, x.float()), self.truth, self.where)

    def decided(self, mean: Tensor, modality: Modality) -> Tensor:
        """The x that means [n, *shape] speak for."""
        return modality.decided(mean.float(), self.seen.observation, self.seen.y)

    def by(self, name: str, data: Examples, modality: Modality, run: Run) -> Tensor:
        """What a simple method makes of each row, [n, *shape]."""
        rows = [self.seen.rows([k]) for k in range(self.seen.num)]
        return torch.cat([methods_of(row.observation, row.y, data, modality, run)[name]() for row in rows])


def trial(observation: Observation, y: Tensor, shape: tuple[int, ...], run: Run) -> Trial | None:
    """What is held out of y [n, *shape], copies of the mask of the first few x; None: what is seen is not elements of
    x, or too few of them."""
    inner = observation.noiseless
    if not isinstance(inner, Hidden) or not bool(inner.mask.any()):
        return None
    masks = inner.mask.expand(len(y), 1, *shape[1:])
    rng = run.generator("held out")
    each = max(1, COPIES // len(y))
    moved = [(k, copy) for k in range(min(len(y), COPIES)) for copy in copies(masks[k], y[k].float(), each, rng)]
    if not moved:
        return None
    rows, where = [k for k, _ in moved], torch.stack([copy for _, copy in moved])
    truth, less = Hidden(masks[rows]).observe(y[rows].float()), Hidden(masks[rows] | where)
    seen = Noisy(less, observation.noise) if isinstance(observation, Noisy) else less
    return Trial(Seen(seen, less.observe(truth), len(rows), shape), truth, where, masks[rows])


def methods_of(
    observation: Observation, y: Tensor, data: Examples, modality: Modality, run: Run
) -> Mapping[str, Callable[[], Tensor]]:
    """The simple methods for what is seen, by name."""
    return modality.baselines(data, observation, y, partial(run.generator, "baseline"))


def scores(found: Trial, mean: Tensor, data: Examples, modality: Modality, run: Run) -> dict[str, Any]:
    """What held-out elements say of an energy's mean [n, *shape] of a trial, beside every simple method.

    Returns:
        elements, copies: how many are held out, of how many copies of masks.
        energy: scores of the mean.
        rivals: scores by name of the simple methods.
        best: name of the best simple method.
        gain: score of the energy less that of the best simple method.
    """
    ours, key = found.score(found.decided(mean, modality), modality), modality.score_name
    first = found.seen.rows([0])
    names = list(methods_of(first.observation, first.y, data, modality, run))
    rivals = {
        name: found.score(found.by(name, data, modality, run), modality)
        for name in run.progress(names, len(names), "simple methods on held-out elements")
    }
    best = max(rivals, key=lambda name: rivals[name][key])
    counts = {"elements": int(found.where.sum()), "copies": len(found.where)}
    return counts | {"energy": ours, "rivals": rivals, "best": best, "gain": ours[key] - rivals[best][key]}


# --------------------------------------------------------------------------------- copies of masks


def copies(hidden: Tensor, y: Tensor, num: int, rng: torch.Generator) -> list[Tensor]:
    """Up to `num` different sets of seen elements to hold out, bool [1, *size]: the mask moved, without what is hidden.

    Of many moves those are taken that keep most of the mask's form, that leave half of what is seen or more, and where
    what is held out varies: of a shape, both what is solid and what is empty.

    Args:
        hidden: the mask, bool [1, *size].
        y: what is seen, [C, *size]; hidden elements count for nothing.
        num: of sets.
        rng: gives the moves.
    """
    seen = ~hidden
    if int(seen.sum()) < 2 or not bool(hidden.any()):
        return []
    varies = float(y[seen.expand_as(y)].std())
    found: list[tuple[float, Tensor]] = []
    for attempt in range(TRIES):
        shifted = _shifted(hidden, rng) if attempt % 2 else None
        moved = _rolled(hidden, rng) if shifted is None else shifted
        held_out = moved & seen
        most = int(MOST * seen.sum())
        if int(held_out.sum()) > most:  # of these some at random, as a last resort
            order = (torch.rand(hidden.shape, generator=rng) * held_out).flatten().argsort(descending=True)
            held_out = torch.zeros(hidden.numel(), dtype=torch.bool).index_fill(0, order[:most], True).view_as(hidden)
        if not held_out.any() or any(torch.equal(held_out, known) for _, known in found):
            continue
        values = y[held_out.expand_as(y)]
        telling = len(values) > 1 and float(values.std()) >= TELLING * varies
        kept = float(held_out.sum() / hidden.sum())
        found.append((2 * telling + kept + 0.5 * (shifted is not None), held_out))
    found.sort(key=lambda pair: -pair[0])
    return [held_out for _, held_out in found[:num]]


def _shifted(hidden: Tensor, rng: torch.Generator) -> Tensor | None:
    """The mask [1, *size] as it is, at another place where all of it fits; None: there is none."""
    sides = hidden.shape[1:]
    inside = [hidden[0].movedim(axis, 0).flatten(1).any(1).nonzero()[:, 0] for axis in range(len(sides))]
    low = [int(found[0]) for found in inside]
    room = [side - int(found[-1]) + first for side, found, first in zip(sides, inside, low, strict=True)]
    if max(room) == 1:
        return None
    at = [int(torch.randint(places, (), generator=rng)) for places in room]
    return hidden.roll([new - old for new, old in zip(at, low, strict=True)], tuple(range(1, hidden.ndim)))


def _rolled(hidden: Tensor, rng: torch.Generator) -> Tensor:
    """The mask [1, *size] mirrored and moved at random, what leaves on one side coming back on the other."""
    axes = tuple(range(1, hidden.ndim))
    shifts = [int(torch.randint(side, (), generator=rng)) for side in hidden.shape[1:]]
    mirrored = [axis for axis in axes if torch.rand((), generator=rng) < 0.5]
    return hidden.roll(shifts, axes).flip(mirrored)
